-- SPDX-License-Identifier: MIT

---proc define, list, show, drop, call
local proc = {}

local interrupt = require "sombra.interrupt"
local json = require "sombra.json"
local output = require "sombra.cli.output"
local plain = require "sombra.plain"
local sombra = require "sombra"
local words = require "sombra.cli.words"

---Not every error of a definition says where it stands, and there may be several files.
local function define(tx, source, path)
  local done, name, version, is_new = pcall(tx.define, tx, source)
  if done then
    return { name = name, version = version, new = is_new }
  end
  local err = name
  if type(err) == "table" and type(err.message) == "string" and not err.message:find(path, 1, true) then
    err.message = ("%s: %s"):format(path, err.message)
  end
  error(err, 0)
end

---All files in one transaction: all of them, or none.
function proc.define(arguments, options)
  local sources = {}
  for index, path in ipairs(arguments.file) do
    local source, message = sombra.source(path)
    sources[index] = source or output.fail("cannot read %s", message)
  end
  local db <close> = output.open(arguments.db, { create = options.create })
  local rows = sombra.list {}
  db:write(function(tx)
    for index, source in ipairs(sources) do
      rows[index] = define(tx, source, arguments.file[index])
    end
  end)
  output.close(db)
  if options.json then
    return output.json(rows)
  end
  for _, row in ipairs(rows) do
    output.write(("%s@%d: %s\n"):format(row.name, row.version, row.new and "defined" or "was there"))
  end
end

local function kinds_of(info)
  return (info.has_run and info.mode or "") .. (info.has_run and info.has_exports and ", " or "")
    .. (info.has_exports and "library" or "")
end

function proc.list(arguments, options)
  local db <close> = output.open(arguments.db, { readonly = true })
  local list, rows = sombra.list {}, {}
  for name, info in db:procedures() do
    info.text = nil
    list[#list + 1] = info
    rows[#rows + 1] = {
      ("%s@%d"):format(name, info.version),
      ("%-12s %s  %s"):format(kinds_of(info), info.hash:sub(1, 12), output.escape(info.doc or "")):gsub("%s+$", ""),
    }
  end
  if options.json then
    output.json(list)
  else
    output.pairs(rows)
  end
end

---"name" is its newest version, "name@2" that one.
local function find(db, wanted)
  local base, version = wanted:match("^(.*)@(%d+)$")
  local found
  for name, info in db:procedures() do
    if name == (base or wanted) and (not version or info.version == math.tointeger(version))
      and (not found or info.version > found.version) then
      found = info
    end
  end
  return found or output.fail("there is no procedure '%s'", wanted)
end

function proc.show(arguments)
  local db <close> = output.open(arguments.db, { readonly = true })
  output.write((find(db, arguments.name).text:gsub("\n?$", "\n", 1)))
end

function proc.drop(arguments, options)
  if arguments.name:find("@", 1, true) then
    words.usage("NAME is without a version, not '%s': give it by --version", arguments.name)
  end
  local db <close> = output.open(arguments.db)
  local count = db:undefine(arguments.name, options.version and { version = options.version } or nil)
  output.close(db)
  if options.json then
    output.json { dropped = count }
  else
    output.write(count, "\n")
  end
  return count == 0 and 1 or 0
end

local function read_arguments(text)
  if text == nil then
    return nil
  end
  local value, message = json.decode(text == "-" and io.read("a") or text)
  if value == nil then
    words.usage("ARGUMENTS are %s", message)
  end
  return words.restore(value, "ARGUMENTS")
end

---A procedure as it is called: "name" or "name@version".
local function check_name(name)
  if not name:find("^[%w_.-]+$") and not name:find("^[%w_.-]+@%d+$") then
    words.usage("NAME is a name or name@version, of letters, digits and _ . -, not '%s'", name)
  end
end

local function write_line(value)
  output.write(plain.encode(value == nil and sombra.null or value), "\n")
end

---nil and a reason is how a procedure says no: nothing of it was kept.
local function refuse_no(name, results)
  local why = results[2]
  if results.n >= 2 and results[1] == nil and why ~= nil then
    output.fail("%s says no: %s", name, type(why) == "string" and why or plain.encode(why))
  end
end

function proc.call(arguments, options)
  check_name(arguments.name)
  local args = read_arguments(arguments.arguments)
  local limits = { time = options.time, memory = options.memory, instructions = options.instructions }
  local db <close> = output.open(arguments.db, { readonly = options.readonly })
  if options.stream then
    for row in words.checked("ARGUMENTS", db.stream, db, arguments.name, args, limits) do
      write_line(row)
    end
    return output.close(db)
  end
  local results = table.pack(words.checked("ARGUMENTS", db.call, db, arguments.name, args, limits))
  refuse_no(arguments.name, results)
  output.close(db)
  for index = 1, results.n do
    write_line(results[index])
  end
end

---What the units of the database are to plain Lua: its own `require` looks here first.
local function searcher(db)
  return function(name)
    local ok, text, chunk = interrupt.pcall(function()
      return db:read(function(tx)
        local newest
        for found, info in tx:procedures() do
          if found == name then newest = info end
        end
        return newest and newest.text, newest and (newest.chunk ~= "" and "@" .. newest.chunk or "=" .. name)
      end)
    end)
    if not ok or not text then
      return ("\n\tno unit '%s' in the database"):format(name)
    end
    return function()
      local unit = assert(load(text, chunk, "t"))()
      return unit.exports or unit
    end
  end
end

---As db:call binds them, without the checks of types: those are the definition's.
local function bind(unit, args)
  if not unit.params then
    return args
  elseif args ~= nil and type(args) ~= "table" then
    words.usage("ARGUMENTS are a map or a list")
  end
  local bound = {}
  for position, parameter in ipairs(unit.params) do
    local name = parameter[1]
    local value = args and args[name]
    if value == nil then value = args and args[position] end
    if value == nil then value = parameter.default end
    if value == nil and not parameter.optional then
      output.fail("parameter '%s' is missing", name)
    end
    bound[name] = value
  end
  return bound
end

function proc.run_file(arguments, options)
  local args = read_arguments(arguments.arguments)
  local chunk, message = loadfile(arguments.file, "t")
  if not chunk then
    output.fail("%s", message)
  end
  local db <close> = output.open(arguments.db)
  table.insert(package.searchers, 2, searcher(db))
  rawset(_G, "emit", write_line)
  local unit = chunk()
  if type(unit) ~= "table" or type(unit.run) ~= "function" then
    output.fail("%s does not return a table with a function 'run'", arguments.file)
  end
  local tx <close> = db:begin(unit.mode or "read")
  local results = table.pack(unit.run(tx, bind(unit, args)))
  refuse_no(unit.name or arguments.file, results)
  if unit.mode == "write" and not options.dry_run then
    tx:commit()
  end
  for index = 1, results.n do
    write_line(results[index])
  end
end

return proc
