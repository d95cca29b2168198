-- SPDX-License-Identifier: MIT

---Values as Lua that can be pasted back.
---
---    require("sombra.literal").format { name = "Ada", tags = { 1, 2.0 } }   --> { name = "Ada", tags = { 1, 2.0 } }
---@class sombra.literal
local literal = {}

local json = require "sombra.json"
local sombra = require "sombra"

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escape_byte(byte)
  return escapes[byte] or ("\\x%02x"):format(byte:byte())
end

local function quote(text)
  local quoted = text:gsub('[%c"\\]', escape_byte)
  if not utf8.len(quoted) then
    quoted = quoted:gsub("[\x80-\xff]", escape_byte)
  end
  return '"' .. quoted .. '"'
end

local function format_float(number)
  if number ~= number then
    return "0/0"
  elseif number == math.huge or number == -math.huge then
    return number > 0 and "math.huge" or "-math.huge"
  end
  return json.encode(number)
end

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]):gmatch("%a+") do
  keywords[word] = true
end

---Whether `t.name` and `{ name = 1 }` can be written.
function literal.is_name(text)
  return text:find("^[%a_][%w_]*$") ~= nil and not keywords[text]
end

local format

local function format_key(key, state)
  if type(key) == "string" and literal.is_name(key) then
    return key
  end
  return "[" .. format(key, state, "") .. "]"
end

---Numbers before strings before the rest.
local function before(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a == kind_b and (kind_a == "number" or kind_a == "string") then
    return a < b
  end
  if kind_a ~= kind_b then
    return kind_a < kind_b
  end
  return tostring(a) < tostring(b)
end

local function sorted_keys(value, count)
  local keys = {}
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= count) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, before)
  return keys
end

local function format_table(value, state, indent)
  local inner = indent .. "  "
  local parts = {}
  local count = rawlen(value)
  for index = 1, count do
    parts[index] = format(rawget(value, index), state, inner)
  end
  for _, key in ipairs(sorted_keys(value, count)) do
    parts[#parts + 1] = format_key(key, state) .. " = " .. format(rawget(value, key), state, inner)
  end
  if #parts == 0 then
    return sombra.is_list(value) and "sombra.list {}" or "{}"
  end
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + #line <= state.width and not line:find("\n", 1, true) then
    return line
  end
  return "{\n" .. inner .. table.concat(parts, ",\n" .. inner) .. ",\n" .. indent .. "}"
end

function format(value, state, indent)
  local kind = type(value)
  if kind == "string" then
    return quote(value)
  elseif value == math.mininteger and math.type(value) == "integer" then
    return "math.mininteger"
  elseif math.type(value) == "float" then
    return format_float(value)
  elseif rawequal(value, sombra.null) then
    return "sombra.null"
  elseif kind ~= "table" then
    return (kind == "number" or kind == "boolean" or kind == "nil") and tostring(value) or "<" .. tostring(value) .. ">"
  elseif state.open[value] then
    return "<cycle>"
  end
  local meta = debug.getmetatable(value)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    return "<" .. tostring(value) .. ">"
  end
  state.open[value] = true
  local text = format_table(value, state, indent)
  state.open[value] = nil
  return text
end

---Functions, userdata and tables with __tostring have no such form: they stand in angle brackets.
---@param value any
---@param width integer? of a line, 80 unless told
---@return string
function literal.format(value, width)
  return format(value, { width = width or 80, open = {} }, "")
end

return literal
