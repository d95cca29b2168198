-- SPDX-License-Identifier: MIT

---One JSON object on each line, with the values of sombra.plain:
---
---    {"node":1,"labels":["Person"],"props":{"name":"Ada"}}
---    {"edge":1,"from":1,"to":2,"type":"KNOWS","props":{"since":2026}}
---    {"bucket":"visits"}                               a bucket, also an empty one
---    {"bucket":"visits","key":"ada","value":3}
---    {"procedure":"person.check","version":1,"text":"return { name = ...","chunk":"procs/check.lua"}
---    {"index":["email"],"label":"Person","unique":true}
---    {"constraint":"born","label":"Person","kind":"number"}
---    {"trigger":"person.check","label":"Person","on":["create"]}
---    {"migration":1,"name":"0001_people.lua","hash":"9f86d0...","time":1793000000,"state":"applied"}
local format = {}

local interrupt = require "sombra.interrupt"
local json = require "sombra.json"
local plain = require "sombra.plain"
local sombra = require "sombra"

local function is_id(value)
  return type(value) == "string" or math.type(value) == "integer"
end

local function is_string(value)
  return type(value) == "string"
end

local function is_any()
  return true
end

local function is_integer(value)
  return math.type(value) == "integer"
end

local function is_boolean(value)
  return type(value) == "boolean"
end

local function is_map(value)
  return type(value) == "table" and not sombra.is_list(value)
end

local function is_names(value)
  if not sombra.is_list(value) then
    return false
  end
  for _, name in ipairs(value) do
    if type(name) ~= "string" then
      return false
    end
  end
  return true
end

local members = {
  node = { node = is_id, labels = is_names, props = is_map },
  edge = { edge = is_id, from = is_id, to = is_id, type = is_string, props = is_map },
  bucket = { bucket = is_string, key = is_id, value = is_any },
  procedure = { procedure = is_string, text = is_string, chunk = is_string, version = is_integer },
  index = { index = is_names, label = is_string, type = is_string, unique = is_boolean },
  constraint = { constraint = is_string, label = is_string, type = is_string, required = is_boolean, kind = is_string },
  trigger = { trigger = is_string, label = is_string, type = is_string, on = is_names },
  migration = { migration = is_integer, name = is_string, hash = is_string, time = is_integer, state = is_string,
    cursor = is_any },
}
local is_rule = { index = true, constraint = true, trigger = true }

local function kind_of(object)
  for kind in pairs(members) do
    if object[kind] ~= nil then
      return kind
    end
  end
  if object.from ~= nil then
    return "edge"
  end
  return (object.labels or object.props) and "node" or nil
end

local function item_of(text)
  local object, why = json.decode((text:gsub("%s+$", "")))
  if object == nil then
    return nil, (why:gsub("line 1, ", ""))
  end
  if not is_map(object) then
    return nil, "an object is expected"
  end
  local is_good
  is_good, object = interrupt.pcall(plain.restore, object)
  if not is_good then
    return nil, object
  end
  local kind = kind_of(object)
  if not kind then
    return nil, 'an object with "node", "edge", "bucket", "procedure", "index", "constraint", "trigger" or '
      .. '"migration" is expected'
  end
  for name, value in pairs(object) do
    local check = members[kind][name]
    if not check then
      return nil, ('there is no member "%s" of a %s'):format(name, kind)
    elseif not check(value) then
      return nil, ('the member "%s" has the wrong kind of value'):format(name)
    end
  end
  if kind == "edge" and (object.from == nil or object.to == nil) then
    return nil, 'an edge needs "from" and "to"'
  elseif kind == "bucket" and (object.key == nil) ~= (object.value == nil) then
    return nil, 'an entry needs "key" and "value"'
  elseif kind == "procedure" and object.text == nil then
    return nil, 'a procedure needs "text"'
  elseif is_rule[kind] and (object.label == nil) == (object.type == nil) then
    return nil, ('the rule needs a "label" or a "type": %s'):format(kind)
  end
  object.value_kind, object.kind = object.kind, kind
  object.id = object.node
  object.props = object.props or {}
  object.labels = object.labels or {}
  return object
end

function format.has_edges_only()
  return false
end

function format.read(input)
  local line = 0
  return function()
    while true do
      local text = input:read("L")
      if not text then
        return nil
      end
      line = line + 1
      if line == 1 then
        text = text:gsub("^\xEF\xBB\xBF", "") -- a byte order mark
      end
      if text:find("%S") then
        local item, why = item_of(text)
        if not item then
          return nil, why, line
        end
        item.line = line
        return item
      end
    end
  end, ""
end

function format.writer(out, kind)
  if kind == "node" then
    return function(node)
      out:write(plain.encode { node = node.id, labels = sombra.list(node.labels), props = node.props }, "\n")
    end
  end
  return function(edge)
    out:write(plain.encode {
      edge = edge.id, from = edge.src, to = edge.dst, type = edge.type, props = edge.props,
    }, "\n")
  end
end

function format.write_entry(out, bucket, key, value)
  out:write(plain.encode { bucket = bucket, key = key, value = value }, "\n")
end

function format.write_procedure(out, info)
  out:write(plain.encode {
    procedure = info.name, version = info.version, text = info.text, chunk = info.chunk ~= "" and info.chunk or nil,
  }, "\n")
end

---`kind` is that of the line: index, constraint, trigger.
function format.write_rule(out, kind, rule)
  local line = { label = rule.label, type = rule.type }
  if kind == "index" then
    line.index, line.unique = sombra.list(rule.properties), rule.unique or nil
  elseif kind == "constraint" then
    line.constraint, line.required, line.kind = rule.property, rule.required, rule.kind
  else
    line.trigger, line.on = rule.procedure, sombra.list(rule.on)
  end
  out:write(plain.encode(line), "\n")
end

function format.write_migration(out, row)
  out:write(plain.encode {
    migration = row.number, name = row.name, hash = row.hash, time = row.time, state = row.state, cursor = row.cursor,
  }, "\n")
end

return format
