-- SPDX-License-Identifier: MIT

---Nodes or edges as CSV. The first record names the columns:
---
---    ~id,~label,name:string,born:int      nodes      also :ID and :LABEL
---    ~id,~from,~to,~label,since:int       edges      also :START_ID, :END_ID and :TYPE
---
---An empty field is no property. Labels are separated by semicolons.
local format = {}

local csv = require "sombra.csv"
local interrupt = require "sombra.interrupt"
local values = require "sombra.transfer.values"

---- reading ----------------------------------------------------------------------------------------------------------

local roles = {
  ["~id"] = "id", ["~label"] = "label", ["~from"] = "from", ["~to"] = "to",
  ID = "id", LABEL = "label", TYPE = "label", START_ID = "from", END_ID = "to",
}

---One column by its heading: its role, or the property it is and how its text is read.
local function plan_column(heading, options)
  if roles[heading] and heading:sub(1, 1) == "~" then
    return { role = roles[heading] }
  end
  local name, suffix = heading:match("^(.*):([^:()]+)%(?[^()]*%)?$")
  if suffix and roles[suffix] and suffix:find("^%u") then
    return { role = roles[suffix], name = name ~= "" and name or nil, read = values.reader("string") }
  end
  local read = suffix and name ~= "" and values.reader(suffix)
  local column = { name = read and name or heading, read = read }
  local declared = options.types and options.types[column.name]
  if declared then
    column.read = values.reader(declared)
    options.found["types." .. column.name] = true
  end
  for _, role in ipairs { "id", "from", "to" } do
    if options[role] == column.name then
      column.role = role
      options.found[role] = true
    end
  end
  if column.role == "from" or column.role == "to" then
    column.name = nil
  end
  return column
end

local role_names = { id = "the id", label = "the label or type", from = "the source", to = "the target" }

---Of two columns for one thing, one would silently be lost.
local function check_once(headings, first, second, what, place)
  if first then
    values.fail("%s: columns %d ('%s') and %d ('%s') are both %s", place, first, headings[first], second,
      headings[second], what)
  end
end

local heading_bytes_max = 1000 -- of a name and a type

local function plan(headings, options, place)
  local columns, by_role, by_name = {}, {}, {}
  if headings[1]:find("^\xFF\xFE") or headings[1]:find("^\xFE\xFF") then
    values.fail("%s: the encoding is UTF-16; only UTF-8 is read", place)
  end
  if table.concat(headings):find("\0", 1, true) then
    values.fail("%s: zero bytes in the names of the columns: the encoding is UTF-16, or this is no text; "
      .. "only UTF-8 is read", place)
  end
  for index, heading in ipairs(headings) do
    if #heading > heading_bytes_max then
      values.fail("%s: column %d has a name of %d bytes, '%s'", place, index, #heading, values.shown(heading))
    end
    local column = plan_column(heading, options)
    local role, name = column.role, column.name
    if name == "" then
      values.fail("%s: column %d has no name", place, index)
    end
    if role then
      check_once(headings, by_role[role], index, role_names[role], place)
      by_role[role] = index
    end
    if name then
      check_once(headings, by_name[name], index, ("the property '%s'"):format(name), place)
      by_name[name] = index
    end
    columns[index] = column
  end
  if (by_role.from == nil) ~= (by_role.to == nil) then
    values.fail("%s: edges need two columns, ~from and ~to; there is one of them", place)
  end
  return columns, by_role
end

local function rows_of(input, options)
  local step = csv.rows(input, { header = false, separator = options.separator })
  ---Returns the fields and their line, or nil and the reason why the record is bad, or nothing at the end.
  return function()
    local is_good, fields, line = pcall(step)
    if not is_good then
      if type(fields) == "table" or interrupt.is(fields) then
        error(fields, 0)
      end
      return nil, fields:gsub("^csv:", "")
    end
    return fields, line
  end
end

local function place_of(input, line)
  return ("%s:%d"):format(input.name, line)
end

---Columns without a type get the narrowest that all their values have; this reads the whole file.
local function infer(input, options, columns)
  local missing = {}
  for index, column in ipairs(columns) do
    if column.name and not column.read then
      missing[#missing + 1] = index
    end
  end
  if #missing == 0 then
    return
  end
  local known = {}
  if input:rewind() then
    local keeps = input.keeps
    input.keeps = false
    local next_row = rows_of(input, options)
    next_row()
    while true do
      local fields, reason = next_row()
      if not fields and not reason then
        break
      end
      for _, index in ipairs(fields and #fields == #columns and missing or {}) do
        if fields[index] ~= "" and known[index] ~= "string" then
          known[index] = values.widen(known[index], values.guess(fields[index]))
        end
      end
    end
    input.keeps = keeps
  end
  for _, index in ipairs(missing) do
    columns[index].read = values.reader(known[index] or "string")
  end
end

local function read_props(columns, fields)
  local props = {}
  for index, column in ipairs(columns) do
    local text = fields[index]
    if column.name and text ~= "" then
      local value, why = column.read(text)
      if value == nil then
        return nil, ("column '%s': '%s' is %s"):format(column.name, values.shown(text), why)
      end
      props[column.name] = value
    end
  end
  return props
end

local function item_of(columns, by_role, fields)
  if #fields ~= #columns then
    return nil, ("%d fields where there are %d columns"):format(#fields, #columns)
  end
  local props, why = read_props(columns, fields)
  if not props then
    return nil, why
  end
  local label = by_role.label and fields[by_role.label] or ""
  if by_role.from then
    return {
      kind = "edge", from = fields[by_role.from], to = fields[by_role.to], props = props,
      type = label ~= "" and values.unescape_name(label) or nil,
    }
  end
  local id = by_role.id and fields[by_role.id] or nil
  return { kind = "node", id = id ~= "" and id or nil, labels = values.split_labels(label), props = props }
end

---Whether a file has edges, which are read after all nodes.
function format.has_edges_only(input, options)
  local fields, line = rows_of(input, options)()
  local is_edges = fields ~= nil and select(2, plan(fields, options, place_of(input, line))).from ~= nil
  input:rewind()
  return is_edges
end

---@return fun(): table?, string?, integer? # the next item; nil, the reason and the line of a bad one; or nothing
---@return string head of the file of rejects
function format.read(input, options)
  local next_row = rows_of(input, options)
  local headings, head_line = next_row() -- or nil and the reason
  if not headings then
    values.fail("%s: %s", input.name, head_line or "the first line, which names the columns, is missing")
  end
  local columns, by_role = plan(headings, options, place_of(input, head_line))
  if input.bytes == input.size and table.concat(headings):find("\r.") then
    values.fail("%s: lines end in CR alone, so that all is one; LF or CR LF must end them", place_of(input, head_line))
  end
  infer(input, options, columns)
  if input:rewind() then
    next_row = rows_of(input, options)
    next_row()
  end
  local head = input:take()
  return function()
    local fields, line = next_row()
    if not fields then
      if line then
        local at, text = line:match("^(%d+): (.*)$")
        return nil, text or line, at and math.tointeger(at)
      end
      return nil
    end
    local item, why = item_of(columns, by_role, fields)
    if not item then
      return nil, why, line
    end
    item.line = line
    return item
  end, head
end

---- writing ----------------------------------------------------------------------------------------------------------

local function quote(text)
  if text:find('[,"\r\n]') or text:find("^%s") or text:find("%s$") then
    return '"' .. text:gsub('"', '""') .. '"'
  end
  return text
end

---An empty field is no property, so an empty string is written as JSON.
local function holds(text)
  return text ~= ""
end

---@param out { write: fun(self, ...: string) }
---@param kind "node"|"edge"
---@param types table<string, string> of all properties
function format.writer(out, kind, types)
  local names = values.sorted_names(types)
  local headings = kind == "node" and { "~id", "~label" } or { "~id", "~from", "~to", "~label" }
  for _, name in ipairs(names) do
    headings[#headings + 1] = quote(name .. ":" .. types[name])
  end
  out:write(table.concat(headings, ","), "\n")
  return function(record)
    local fields = { tostring(record.id) }
    if kind == "node" then
      fields[2] = quote(values.join_labels(record.labels))
    else
      fields[2], fields[3] = tostring(record.src), tostring(record.dst)
      fields[4] = quote(values.escape_name(record.type))
    end
    local offset = #fields
    for index, name in ipairs(names) do
      local value = record.props[name]
      fields[offset + index] = value == nil and "" or quote(values.write(value, types[name]))
    end
    out:write(table.concat(fields, ","), "\n")
  end
end

format.holds = holds

return format
