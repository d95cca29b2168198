-- SPDX-License-Identifier: MIT

---GraphML: nodes and edges as XML. Labels and types are the data "labelV" and "labelE", as in TinkerPop's files; the
---attributes `labels` and `label` of Neo4j's are read too. What GraphML has no type for (lists, maps, text that XML
---cannot hold) is JSON, marked by the attribute `sombra.type` of its key.
local format = {}

local values = require "sombra.transfer.values"
local xml = require "sombra.transfer.xml"

---- reading ----------------------------------------------------------------------------------------------------------

local label_keys = { labelV = true, labels = true, labelE = true, label = true }

---The text up to the end of an element whose start was read.
local function inner_text(reader, name)
  local parts = {}
  while true do
    local token = reader:next() or reader:fail("<%s> is never closed", name)
    if token.kind == "text" then
      parts[#parts + 1] = token.text
    elseif token.kind == "start" then
      reader:fail("<%s> inside <%s> is not read", token.name, name)
    elseif token.name == name then
      return table.concat(parts)
    else
      reader:fail("</%s> ends <%s>", token.name, name)
    end
  end
end

local function name_of(attributes)
  local name = attributes["attr.name"] or attributes.id
  if attributes["sombra.name"] == "escaped" then
    name = values.unescape_name(name)
  end
  return name
end

local function read_key(reader, token, keys)
  local attributes = token.attributes
  local type_name = attributes["sombra.type"] or attributes["attr.type"] or "string"
  local key = { name = name_of(attributes), domain = attributes["for"] or "all", read = values.reader(type_name) }
  if not attributes.id then
    reader:fail("a <key> without id")
  elseif not key.read then
    reader:fail("the key '%s' has the type '%s', which is none of GraphML", attributes.id, type_name)
  end
  key.is_label = label_keys[attributes.id] or false
  local other = keys[attributes.id]
  -- Neo4j's files have one for nodes and one for edges.
  if other and (other.domain == key.domain or other.domain == "all" or key.domain == "all") then
    reader:fail("the key '%s' stands twice", attributes.id)
  end
  keys[attributes.id] = key
  if token.is_empty then
    return
  end
  while true do
    local inner = reader:next() or reader:fail("<key> is never closed")
    if inner.kind == "start" then
      local text = inner.is_empty and "" or inner_text(reader, inner.name)
      if inner.name == "default" then
        key.default = text
      end
    elseif inner.kind == "end" then
      return
    end
  end
end

local function set_data(item, key, text)
  if key.is_label then
    local is_second = item.label_text ~= nil
    item.label_text = text
    return is_second and "the label stands twice" or nil
  elseif item.props[key.name] ~= nil then
    return ("the property '%s' stands twice"):format(key.name)
  end
  local value, why = key.read(text)
  if value == nil then
    return ("'%s': '%s' is %s"):format(key.name, values.shown(text), why)
  end
  item.props[key.name] = value
end

---Elements that a node or an edge may hold and that say nothing here.
local skipped = { desc = true, locator = true }

---The content of a node or an edge, up to its end. Returns why it is bad, if it is.
local function read_content(reader, name, item, keys)
  local why
  while true do
    local token = reader:next() or reader:fail("<%s> is never closed", name)
    if token.kind == "end" then
      if token.name ~= name then
        reader:fail("</%s> ends <%s>", token.name, name)
      end
      return why
    elseif token.kind == "start" and token.name == "data" then
      local key = keys[token.attributes.key or ""]
      local text = token.is_empty and "" or inner_text(reader, "data")
      if key then
        why = set_data(item, key, text) or why
      else
        why = ("there is no key '%s'"):format(token.attributes.key)
      end
    elseif token.kind == "start" and skipped[token.name] then
      if not token.is_empty then
        inner_text(reader, token.name)
      end
    elseif token.kind == "start" then
      reader:fail("<%s> inside <%s> is not read", token.name, name)
    end
  end
end

local function add_defaults(item, keys)
  for _, key in pairs(keys) do
    if key.default and not key.is_label and item.props[key.name] == nil
      and (key.domain == item.kind or key.domain == "all") then
      local why = set_data(item, key, key.default)
      if why then
        return why
      end
    end
  end
end

local function read_item(reader, token, keys)
  local attributes = token.attributes
  local item = { kind = token.name, props = {}, line = token.line }
  local why = not token.is_empty and read_content(reader, token.name, item, keys) or nil
  why = why or add_defaults(item, keys)
  if item.kind == "node" then
    item.id = attributes.id
    local colons = attributes.labels and attributes.labels:match("^:(.*)$") -- ":Person:Poet"
    item.labels = values.split_labels(colons and colons:gsub(":", ";") or item.label_text or attributes.labels or "")
  else
    item.from, item.to = attributes.source, attributes.target
    local label = attributes.label or item.label_text
    item.type = label and label ~= "" and values.unescape_name(label) or nil
    if not item.from or not item.to then
      why = "an edge needs source and target"
    end
  end
  return item, why
end

function format.has_edges_only()
  return false
end

function format.read(input)
  local reader = xml.reader(input)
  local keys = {}
  local function find_graph()
    local is_graphml = false
    for token in reader.next, reader do
      if token.kind == "start" then
        if not is_graphml and token.name ~= "graphml" then
          reader:fail("this is no GraphML: it begins with <%s>", token.name)
        end
        is_graphml = true
        if token.name == "key" then
          read_key(reader, token, keys)
        elseif token.name == "graph" then
          return not token.is_empty
        end
      end
    end
    reader:fail("there is no <graph>")
  end
  local is_open = find_graph()
  local head = reader:source()
  return function()
    while is_open do
      reader:source()
      local token = reader:next() or reader:fail("<graph> is never closed")
      if token.kind == "end" and token.name == "graph" then
        is_open = false
      elseif token.kind == "start" and (token.name == "node" or token.name == "edge") then
        local item, why = read_item(reader, token, keys)
        if input.kept then
          input.kept = { reader:source(), "\n" }
        end
        if why then
          return nil, why, token.line
        end
        return item
      elseif token.kind == "start" and (token.name == "data" or skipped[token.name]) then
        if not token.is_empty then
          inner_text(reader, token.name)
        end
      elseif token.kind == "start" then
        reader:fail("<%s> is not read", token.name)
      end
    end
  end, head .. "\n", "</graph>\n</graphml>\n"
end

---- writing ----------------------------------------------------------------------------------------------------------

local xml_types = { int = "long", float = "double", bool = "boolean", string = "string", json = "string" }

local function key_line(id, domain, name, type_name)
  local marks = type_name == "json" and ' sombra.type="json"' or ""
  if not xml.holds(name) or name:find("\\", 1, true) then
    name = values.escape_name(name)
    marks = marks .. ' sombra.name="escaped"'
  end
  return ('  <key id="%s" for="%s" attr.name="%s" attr.type="%s"%s/>\n'):format(id, domain, xml.escape(name),
    xml_types[type_name], marks)
end

---Everything before the nodes. Returns the ids of the keys: ids.node[name], ids.edge[name].
function format.write_head(out, types)
  local ids = { node = {}, edge = {} }
  out:write('<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
  out:write(key_line("labelV", "node", "labelV", "string"), key_line("labelE", "edge", "labelE", "string"))
  for _, domain in ipairs { "node", "edge" } do
    for index, name in ipairs(values.sorted_names(types[domain])) do
      ids[domain][name] = domain:sub(1, 1) .. index
      out:write(key_line(ids[domain][name], domain, name, types[domain][name]))
    end
  end
  out:write('  <graph edgedefault="directed">\n')
  return ids
end

function format.write_tail(out)
  out:write("  </graph>\n</graphml>\n")
end

local function data_line(key, text)
  return ('<data key="%s">%s</data>'):format(key, xml.escape(text))
end

function format.writer(out, kind, types, ids)
  local names = values.sorted_names(types)
  return function(record)
    local parts
    if kind == "node" then
      parts = { ('    <node id="%d">'):format(record.id) }
      if #record.labels > 0 then
        parts[2] = data_line("labelV", values.join_labels(record.labels))
      end
    else
      parts = {
        ('    <edge id="%d" source="%d" target="%d">'):format(record.id, record.src, record.dst),
        data_line("labelE", values.escape_name(record.type)),
      }
    end
    for _, name in ipairs(names) do
      local value = record.props[name]
      if value ~= nil then
        parts[#parts + 1] = data_line(ids[kind][name], values.write(value, types[name]))
      end
    end
    parts[#parts + 1] = "</" .. kind .. ">\n"
    out:write(table.concat(parts))
  end
end

format.holds = xml.holds

return format
