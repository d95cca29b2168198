-- SPDX-License-Identifier: MIT

---Every storable value as JSON and back. JSON has no bytes that are not UTF-8, no NaN, no infinities and no key with a
---zero byte; these become maps with one key that begins with "$", and so does any map that has such a key itself:
---
---    {"$bytes": "ff00"}   {"$float": "nan"}   {"$map": [["$bytes", 1]]}
---@class sombra.plain
local plain = {}

local json = require "sombra.json"
local sombra = require "sombra"

local floats = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

local function hex(text)
  return (text:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end))
end

local function float_name(number)
  return number ~= number and "nan" or number > 0 and "inf" or "-inf"
end

local function is_plain_key(key)
  return key:sub(1, 1) ~= "$" and not key:find("\0", 1, true) and utf8.len(key)
end

local replace

local function replace_map(map)
  local copy, is_plain = {}, true
  for key, value in pairs(map) do
    is_plain = is_plain and is_plain_key(key)
    copy[key] = replace(value)
  end
  if is_plain then
    return copy
  end
  local members, keys = sombra.list {}, {}
  for key in pairs(copy) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for index, key in ipairs(keys) do
    members[index] = sombra.list { replace(key), copy[key] }
  end
  return { ["$map"] = members }
end

function replace(value)
  if type(value) == "string" then
    return utf8.len(value) and value or { ["$bytes"] = hex(value) }
  elseif math.type(value) == "float" then
    return (value ~= value or value == math.huge or value == -math.huge) and { ["$float"] = float_name(value) } or value
  elseif type(value) ~= "table" then
    return value
  elseif sombra.is_list(value) or #value > 0 then
    local copy = sombra.list {}
    for index, element in ipairs(value) do
      copy[index] = replace(element)
    end
    return copy
  end
  return replace_map(value)
end

---The value in terms of JSON only.
function plain.replace(value)
  return replace(value)
end

---@param value sombra.Value
---@return string
function plain.encode(value)
  return json.encode(replace(value))
end

local restorers = {
  ["$bytes"] = function(text)
    if type(text) == "string" and #text % 2 == 0 and not text:find("%X") then
      return (text:gsub("%x%x", function(digits)
        return string.char(tonumber(digits, 16))
      end))
    end
  end,
  ["$float"] = function(name)
    return floats[name]
  end,
  ["$map"] = function(members)
    if not sombra.is_list(members) then
      return nil
    end
    local map = {}
    for _, member in ipairs(members) do
      if not sombra.is_list(member) or #member ~= 2 then
        return nil
      end
      local key = plain.restore(member[1])
      if type(key) ~= "string" then
        return nil
      end
      map[key] = plain.restore(member[2])
    end
    return map
  end,
}

---The value that plain.encode was given, from what JSON says. Raises for a map with a "$" that means nothing.
function plain.restore(value)
  if type(value) ~= "table" then
    return value
  end
  local key, inner = next(value)
  if type(key) == "string" and key:sub(1, 1) == "$" then
    local restorer = restorers[key]
    local restored = restorer and next(value, key) == nil and restorer(inner)
    if restored == nil or restored == false then
      error(("a map with the key %q must be one of sombra.plain"):format(key), 0)
    end
    return restored
  end
  for name, element in pairs(value) do
    if type(name) == "string" and name:sub(1, 1) == "$" then
      error(("a map with the key %q must be one of sombra.plain"):format(name), 0)
    end
    value[name] = plain.restore(element)
  end
  return value
end

return plain
