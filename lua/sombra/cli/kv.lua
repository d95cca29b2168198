-- SPDX-License-Identifier: MIT

---kv get, put, del, scan
local kv = {}

local json = require "sombra.json"
local output = require "sombra.cli.output"
local plain = require "sombra.plain"
local terminal = require "sombra.terminal"
local words = require "sombra.cli.words"

local function to_hex(text)
  return (text:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end))
end

local function from_hex(text, what)
  if #text % 2 ~= 0 or text:find("%X") then
    words.usage("%s is not hexadecimal: an even number of digits is needed", what)
  end
  return (text:gsub("%x%x", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

local function key_of(text, options)
  if options.integer then
    return text:match("^%-?%d+$") and math.tointeger(text) or words.usage("KEY is not an integer: '%s'", text)
  end
  return options.hex and from_hex(text, "KEY") or text
end

---Before anything is opened or made.
local function check_bucket(name)
  if name == "" then
    words.usage("BUCKET is empty")
  end
end

local function open_bucket(tx, name)
  return tx:bucket(name) or output.fail("there is no bucket '%s'", name)
end

function kv.get(arguments, options)
  check_bucket(arguments.bucket)
  local key = key_of(arguments.key, options)
  local db <close> = output.open(arguments.db, { readonly = true })
  local value = db:read(function(tx)
    return open_bucket(tx, arguments.bucket):get(key)
  end)
  if value == nil then
    output.fail("there is no key '%s' in bucket '%s'", arguments.key, arguments.bucket)
  end
  if options.json or type(value) ~= "string" then
    output.write(plain.encode(value), "\n")
  elseif options.hex then
    output.write(to_hex(value), "\n")
  else
    output.write(value, terminal.is_terminal(io.stdout) and "\n" or "")
  end
end

local function read_value(text, options)
  if text == "-" then
    text = io.read("a") or ""
  end
  if options.json then
    local value, message = json.decode(text)
    if value == nil then
      words.usage("VALUE is %s", message)
    end
    return words.restore(value, "VALUE")
  end
  return options.hex and from_hex(text:gsub("%s+$", ""), "VALUE") or text
end

function kv.put(arguments, options)
  check_bucket(arguments.bucket)
  local key = key_of(arguments.key, options)
  if options.json and options.hex then
    words.usage("--json and --hex do not go together")
  end
  local value = read_value(arguments.value, options)
  local db <close> = output.open(arguments.db, { create = options.create })
  db:write(function(tx)
    local bucket = tx:bucket(arguments.bucket, { create = options.create })
      or output.fail("there is no bucket '%s'; --create makes it", arguments.bucket)
    words.checked("VALUE", bucket.put, bucket, key, value)
  end)
  output.close(db)
end

function kv.del(arguments, options)
  check_bucket(arguments.bucket)
  local given = (arguments.key and 1 or 0) + (options.prefix and 1 or 0) + (options.all and 1 or 0)
  if given ~= 1 then
    words.usage("give one of KEY, --prefix and --all")
  elseif options.prefix == "" then -- perhaps of a variable that is not set
    words.usage("--prefix is empty, as every key begins: --all deletes every key")
  end
  local key = arguments.key and key_of(arguments.key, options)
  local prefix = options.prefix and (options.hex and from_hex(options.prefix, "--prefix") or options.prefix)
  local db <close> = output.open(arguments.db)
  local count = db:write(function(tx)
    local bucket = open_bucket(tx, arguments.bucket)
    if key then
      return bucket:delete(key) and 1 or 0
    end
    return bucket:delete_range { prefix = prefix }
  end)
  output.close(db)
  if options.json then
    output.json { deleted = count }
  else
    output.write(count, "\n")
  end
  return count == 0 and 1 or 0
end

local function shown(value, options)
  if type(value) ~= "string" then
    return plain.encode(value)
  end
  return options.hex and to_hex(value) or output.escape(value)
end

local function print_entry(key, value, options)
  if options.json then
    local entry = { key = key }
    if not options.keys then -- the value may be false
      entry.value = value
    end
    output.write(plain.encode(entry), "\n")
  elseif options.keys then
    output.write(shown(key, options), "\n")
  else
    output.write(shown(key, options), "\t", shown(value, options), "\n")
  end
end

function kv.scan(arguments, options)
  check_bucket(arguments.bucket)
  local prefix = options.prefix and (options.hex and from_hex(options.prefix, "--prefix") or options.prefix)
  local db <close> = output.open(arguments.db, { readonly = true })
  db:read(function(tx)
    local range = { prefix = prefix, reverse = options.reverse, limit = options.limit }
    for key, value in open_bucket(tx, arguments.bucket):scan(range) do
      print_entry(key, value, options)
    end
  end)
end

return kv
