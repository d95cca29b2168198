-- SPDX-License-Identifier: MIT

---What commands print, and how they fail.
local output = {}

local plain = require "sombra.plain"
local sombra = require "sombra"

---Ends the command with a message and exit code 1.
function output.fail(message, ...)
  error({ failure = message:format(...) }, 0)
end

---Opens a database or ends the command.
---@return sombra.DB
function output.open(path, options)
  local db, err = sombra.open(path, options)
  if not db then
    error(err, 0)
  end
  return db
end

---Opens a database for writing, or read-only where that is not permitted.
---@return sombra.DB
function output.open_permitted(path)
  local db, err = sombra.open(path)
  if not db and err.code == "readonly" then
    db, err = sombra.open(path, { readonly = true })
  end
  return db or error(err, 0)
end

---For functions that return nil and an error object.
function output.check(result, err)
  if result == nil then
    error(err, 0)
  end
  return result
end

---Closes a database, which may fail.
function output.close(db)
  output.check(db:close())
end

function output.write(...)
  local done, message = io.stdout:write(...)
  if not done then
    output.fail("cannot write the output: %s", message)
  end
end

---Names and paths may be bytes that are not UTF-8.
function output.json(value)
  output.write(plain.encode(value), "\n")
end

---The keys of a table in the order that people look for them.
function output.sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

---Rows {name, value} in two columns. Names are texts for people: "page_size" is printed "page size".
function output.pairs(rows)
  local width = 0
  for _, row in ipairs(rows) do
    width = math.max(width, utf8.len(row[1]) or #row[1])
  end
  for _, row in ipairs(rows) do
    output.write(row[1], (" "):rep(width - (utf8.len(row[1]) or #row[1]) + 2), tostring(row[2]), "\n")
  end
end

local function escape_byte(byte)
  return ("\\x%02x"):format(byte:byte())
end

---Text on one line: control characters and bytes that are not UTF-8 as \xHH, backslashes doubled.
function output.escape(text)
  text = text:gsub("\\", "\\\\"):gsub("[%c]", escape_byte)
  if utf8.len(text) then
    return text
  end
  return (text:gsub("[\x80-\xff]", escape_byte))
end

return output
