-- SPDX-License-Identifier: MIT

---Values as text of a declared type, for formats that know text only (CSV, GraphML); and how these fail.
local values = {}

local interrupt = require "sombra.interrupt"
local json = require "sombra.json"
local plain = require "sombra.plain"
local sombra = require "sombra"

local failure_meta = {
  __tostring = function(err)
    return err.failure
  end,
}

---Raises what ends an import or an export: bad options, a file that cannot be read.
function values.fail(message, ...)
  error(setmetatable({ failure = message:format(...) }, failure_meta), 0)
end

---- names ------------------------------------------------------------------------------------------------------------

local function hex_byte(byte)
  return ("\\x%02x"):format(byte:byte())
end

---A name without control characters and bytes that are not UTF-8; backslashes are doubled.
function values.escape_name(name)
  name = name:gsub("\\", "\\\\"):gsub("%c", hex_byte)
  return utf8.len(name) and name or (name:gsub("[\x80-\xff]", hex_byte))
end

local shown_bytes = 60

---A text of a file, for a message.
function values.shown(text)
  local is_long = #text > shown_bytes
  return values.escape_name(is_long and text:sub(1, shown_bytes) or text) .. (is_long and "..." or "")
end

local function unescape(text)
  return (text:gsub("\\(x?)(.)(%x?)", function(x, first, second)
    if x == "x" and second ~= "" and first:find("%x") then
      return string.char(tonumber(first .. second, 16))
    elseif x == "" and (first == "\\" or first == ";") then
      return first .. second
    end
  end))
end

function values.unescape_name(text)
  return text:find("\\", 1, true) and unescape(text) or text
end

---"Person;Poet", with "\;" for a semicolon that is part of a label.
function values.join_labels(labels)
  local parts = {}
  for index, label in ipairs(labels) do
    parts[index] = values.escape_name(label):gsub(";", "\\;")
  end
  return table.concat(parts, ";")
end

---@return string[]
function values.split_labels(text)
  if not text:find("[;\\]") then
    return text ~= "" and { text } or {}
  end
  local labels = {}
  local part, at = "", 1
  while at <= #text do
    local stop = text:find("[;\\]", at) or #text + 1
    part = part .. text:sub(at, stop - 1)
    if text:sub(stop, stop) == "\\" then
      part = part .. text:sub(stop, stop + 1)
      at = stop + 2
    else
      labels[#labels + 1] = part
      part, at = "", stop + 1
    end
  end
  labels[#labels + 1] = part
  local kept = {}
  for _, label in ipairs(labels) do
    kept[#kept + 1] = label ~= "" and values.unescape_name(label) or nil
  end
  return kept
end

---- from text --------------------------------------------------------------------------------------------------------

local special_floats = {
  nan = 0 / 0, inf = math.huge, ["+inf"] = math.huge, ["-inf"] = -math.huge,
  infinity = math.huge, ["-infinity"] = -math.huge,
}

---What Lua reads as a number, but for hexadecimal ones.
local function is_decimal(text)
  return not text:find("[^%d.eE+-]") and tonumber(text) ~= nil
end

local booleans = { ["true"] = true, ["false"] = false, ["1"] = true, ["0"] = false }

local function trim(text)
  return text:match("^%s*(.-)%s*$")
end

---Each gives the value, or nil and why there is none.
local scalars = {
  string = function(text)
    return text
  end,
  int = function(text)
    text = trim(text)
    local value = text:find("^[-+]?%d+$") and math.tointeger((text:gsub("^%+", "")))
    if value then
      return value
    end
    return nil, "no 64-bit integer"
  end,
  float = function(text)
    text = trim(text)
    local number = is_decimal(text) and tonumber(text)
    if number then
      return math.type(number) == "float" and number or number + 0.0 -- not of a float: -0.0 + 0.0 is 0.0
    end
    local value = special_floats[text:lower()]
    if value then
      return value
    end
    return nil, "no number"
  end,
  bool = function(text)
    local value = booleans[trim(text):lower()]
    if value == nil then
      return nil, "neither true nor false"
    end
    return value
  end,
  json = function(text)
    local value, message = json.decode(text)
    if value == nil then
      return nil, message
    end
    local is_good, restored = interrupt.pcall(plain.restore, value)
    if not is_good then
      return nil, restored
    end
    return restored
  end,
}

local aliases = {
  string = "string", char = "string", text = "string",
  int = "int", integer = "int", long = "int", short = "int", byte = "int",
  float = "float", double = "float",
  bool = "bool", boolean = "bool",
  json = "json",
}

local function list_of(read)
  return function(text)
    local list = sombra.list {}
    for part in (text .. ";"):gmatch("(.-);") do
      local value, why = read(part)
      if value == nil then
        return nil, ("%s: '%s'"):format(why, part)
      end
      list[#list + 1] = value
    end
    return list
  end
end

---The function that reads values of a type ("int", "string[]" ...), or nil if there is no such type.
---@return (fun(text: string): any, string?)?
function values.reader(type_name)
  local base, brackets = type_name:lower():match("^(%a+)(%[?%]?)$")
  local read = base and scalars[aliases[base]]
  if not read or (brackets ~= "" and brackets ~= "[]") then
    return nil
  end
  return brackets == "[]" and list_of(read) or read
end

values.type_names = "string, int, float, bool, json, and lists of them such as int[]"

---- inferred types ---------------------------------------------------------------------------------------------------

---What a text could be read as: "int" is also a "float", anything is a "string".
function values.guess(text)
  if text:find("^-?[1-9]%d*$") or text == "0" then
    return math.tointeger(text) and "int" or "string"
  elseif text:find("^-?%d") and not text:find("^-?0%d") and is_decimal(text) then
    return "float"
  elseif text == "true" or text == "false" then
    return "bool"
  end
  return "string"
end

---The type of a column that had `known` values so far and now has one of `guessed`.
function values.widen(known, guessed)
  if known == nil or known == guessed then
    return guessed
  elseif (known == "int" and guessed == "float") or (known == "float" and guessed == "int") then
    return "float"
  end
  return "string"
end

---- to text ----------------------------------------------------------------------------------------------------------

---The type a stored value is written as.
function values.type_of(value)
  local kind = math.type(value) or type(value)
  if kind == "integer" then
    return "int"
  elseif kind == "boolean" then
    return "bool"
  elseif kind == "float" or kind == "string" then
    return kind
  end
  return "json"
end

function values.write(value, type_name)
  if type_name == "json" then
    return plain.encode(value)
  elseif type_name ~= "float" then
    return tostring(value)
  elseif value ~= value then
    return "NaN"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and "INF" or "-INF"
  end
  return json.encode(value)
end

---Adds the types of a record's properties to `known`, which has one for each name: "json" where they differ, and for
---strings that the format cannot hold as they are.
function values.note_types(known, props, holds)
  for name, value in pairs(props) do
    local type_name = values.type_of(value)
    if type_name == "string" and not holds(value) then
      type_name = "json"
    end
    if known[name] == nil then
      known[name] = type_name
    elseif known[name] ~= type_name then
      known[name] = "json"
    end
  end
end

---The names of a table of types, in order.
function values.sorted_names(known)
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

return values
