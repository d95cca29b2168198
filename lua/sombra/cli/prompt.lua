-- SPDX-License-Identifier: MIT

---What the prompt of the program shows, completes, and does for .help and its like. The program (lua/host/repl.c)
---reads lines and runs Lua.
local prompt = {}

local literal = require "sombra.literal"
local output = require "sombra.cli.output"
local terminal = require "sombra.terminal"

---- results ----------------------------------------------------------------------------------------------------------

---The values of an expression as Lua, with commas between.
function prompt.show(...)
  local width = terminal.size(io.stdout) or 80
  local parts = {}
  for index = 1, select("#", ...) do
    parts[index] = literal.format((select(index, ...)), width)
  end
  return table.concat(parts, ", ") .. "\n"
end

---- the database -----------------------------------------------------------------------------------------------------

local classes = { "db", "tx", "bucket" }

---The class of one of the library's userdata; their metatables are hidden from scripts.
local function class_of(value)
  local meta = type(value) == "userdata" and debug.getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name:match("^sombra%.(%a+)$")
end

local function is_open(db)
  return class_of(db) == "db" and pcall(db.stats, db)
end

---The database of the shell: the global db, or any other.
local function find_db()
  if is_open(rawget(_G, "db")) then
    return rawget(_G, "db")
  end
  for _, value in next, _G do
    if is_open(value) then
      return value
    end
  end
end

local sample_records = 100

local function note(sums, props)
  for name in pairs(props) do
    sums[name] = (sums[name] or 0) + 1
  end
end

---Labels, types and buckets, and the properties of the first nodes of each label and of the first edges.
local function schema_of(db)
  local schema = { labels = {}, types = {}, buckets = {}, edge_properties = {} }
  db:read(function(tx)
    for label, count in tx:labels() do
      local properties = {}
      for id in tx:nodes(label, { limit = sample_records }) do
        note(properties, tx:node(id).props)
      end
      schema.labels[#schema.labels + 1] = { name = label, count = count, properties = properties }
    end
    for type_name, count in tx:types() do
      schema.types[#schema.types + 1] = { name = type_name, count = count }
    end
    for id in tx:edges { limit = sample_records } do
      note(schema.edge_properties, tx:edge(id).props)
    end
    for name in tx:buckets() do
      schema.buckets[#schema.buckets + 1] = { name = name, count = tx:bucket(name):count() }
    end
  end)
  return schema
end

---- commands ---------------------------------------------------------------------------------------------------------

local function shown_names(map)
  local names = output.sorted_keys(map)
  for index, name in ipairs(names) do
    names[index] = output.escape(name)
  end
  return table.concat(names, ", ")
end

local function add_counts(lines, title, rows)
  for _, row in ipairs(rows) do
    lines[#lines + 1] = ("%-7s %-30s %d"):format(title, output.escape(row.name), row.count)
  end
end

local commands
commands = {
  help = { "this text", function()
    local lines = {}
    for _, name in ipairs(output.sorted_keys(commands)) do
      lines[#lines + 1] = (".%-8s %s"):format(name, commands[name][1])
    end
    lines[#lines + 1] = "Anything else is Lua: an expression, whose values are shown, or a statement. Tab completes"
    lines[#lines + 1] = "names, inside quotes those of labels, types, buckets and properties. Ctrl-C drops what was"
    lines[#lines + 1] = "typed, or cancels what runs: db:write then rolls back."
    return lines
  end },
  quit = { "leave, as Ctrl-D does", function()
    return {}
  end },
  schema = { "labels with their properties, types, buckets", function(db)
    local schema, lines = schema_of(db), {}
    for _, label in ipairs(schema.labels) do
      lines[#lines + 1] = ("(:%s) %s"):format(output.escape(label.name), shown_names(label.properties))
    end
    for _, row in ipairs(schema.types) do
      lines[#lines + 1] = ("-[:%s]->"):format(output.escape(row.name))
    end
    if next(schema.edge_properties) then
      lines[#lines + 1] = "properties of edges: " .. shown_names(schema.edge_properties)
    end
    for _, row in ipairs(schema.buckets) do
      lines[#lines + 1] = "bucket " .. output.escape(row.name)
    end
    lines[#lines + 1] = ("Properties are those of the first %d nodes of each label and edges."):format(sample_records)
    return lines
  end },
  stats = { "what db:stats() says", function(db)
    local stats, lines = db:stats(), {}
    for _, name in ipairs(output.sorted_keys(stats)) do
      lines[#lines + 1] = ("%-14s %s"):format(name:gsub("_", " "), literal.format(stats[name]))
    end
    return lines
  end },
  tables = { "labels, types and buckets, and how much each has", function(db)
    local schema, lines = schema_of(db), {}
    add_counts(lines, "label", schema.labels)
    add_counts(lines, "type", schema.types)
    add_counts(lines, "bucket", schema.buckets)
    return lines
  end },
}

local needs_db = { schema = true, stats = true, tables = true }

---The text that a line such as ".schema" asks for.
function prompt.command(line)
  local name = line:match("^%.(%a+)%s*$")
  local command = commands[name]
  if not command then
    return ("there is no command %s; .help lists them\n"):format(line)
  end
  local db = needs_db[name] and find_db()
  if needs_db[name] and not db then
    return "no database is open: db = assert(sombra.open(path))\n"
  end
  local lines = command[2](db)
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

---- completion -------------------------------------------------------------------------------------------------------

local keywords = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
  "not", "or", "repeat", "return", "then", "true", "until", "while",
}

local function methods_of(class)
  local meta = debug.getregistry()["sombra." .. class]
  return meta and meta.__index or {}
end

local function add_keys(found, map)
  for key in next, map do
    if type(key) == "string" and literal.is_name(key) then
      found[key] = true
    end
  end
end

---The names that may stand behind a value and a dot or a colon, without running any code.
local function members_of(value)
  local found = {}
  local class = class_of(value)
  if class then
    add_keys(found, methods_of(class))
  end
  for _ = 1, 10 do
    if type(value) == "table" then
      add_keys(found, value)
    end
    local meta = debug.getmetatable(value)
    local index = not class and type(meta) == "table" and rawget(meta, "__index")
    if type(index) ~= "table" then
      break
    end
    value = index
  end
  return found
end

---The value of "a.b.c" by plain fields; nil if it is not known.
local function value_of(path)
  local value = _G
  for name in path:gmatch("[^.]+") do
    if type(value) ~= "table" then
      return nil
    end
    value = rawget(value, name)
  end
  return value
end

---What variables are usually called; any class may be meant by others.
local usual_names = { db = { "db" }, tx = { "tx" }, b = { "bucket" }, bucket = { "bucket" } }

local function property_names(found)
  local db = find_db()
  local schema = db and schema_of(db) or { labels = {}, edge_properties = {} }
  for _, label in ipairs(schema.labels) do
    add_keys(found, label.properties)
  end
  add_keys(found, schema.edge_properties)
end

---Names in quotes: labels, types, buckets, properties.
local function quoted_names()
  local found = {}
  local db = find_db()
  if db then
    local schema = schema_of(db)
    for _, list in ipairs { schema.labels, schema.types, schema.buckets } do
      for _, row in ipairs(list) do
        found[row.name] = true
      end
    end
    for _, label in ipairs(schema.labels) do
      note(found, label.properties)
    end
    note(found, schema.edge_properties)
  end
  return found
end

---The text behind an open quote, or nil.
local function open_quote(text)
  local quote, start
  local at = 1
  while at <= #text do
    local byte = text:sub(at, at)
    if byte == "\\" and quote then
      at = at + 1
    elseif byte == quote then
      quote = nil
    elseif not quote and (byte == '"' or byte == "'") then
      quote, start = byte, at + 1
    end
    at = at + 1
  end
  return quote and text:sub(start)
end

---Candidates for the end of the text, and the part of it that they begin with.
local function candidates(text)
  local found = {}
  local word = text:match("^%.%a*$")
  if word then
    for name in pairs(commands) do
      found["." .. name] = true
    end
    return found, word
  end
  word = open_quote(text)
  if word then
    return quoted_names(), word
  end
  local path, mark
  path, mark, word = text:match("([%a_][%w_.]*)([.:])([%w_]*)$")
  if path then
    local value = value_of(path)
    if value ~= nil then
      return members_of(value), word
    elseif mark == ":" then
      for _, class in ipairs(usual_names[path] or classes) do
        add_keys(found, methods_of(class))
      end
    else
      property_names(found)
    end
    return found, word
  end
  word = text:match("[%w_]*$")
  add_keys(found, _G)
  for _, keyword in ipairs(keywords) do
    found[keyword] = true
  end
  if text:find("[{,]%s*[%w_]*$") then
    property_names(found)
  end
  return found, word
end

local function common_prefix(list)
  local prefix = list[1]
  for _, name in ipairs(list) do
    while name:sub(1, #prefix) ~= prefix do
      prefix = prefix:sub(1, -2)
    end
  end
  return prefix
end

local function in_columns(list)
  local columns = terminal.size(io.stdout) or 80
  local width = 0
  for _, name in ipairs(list) do
    width = math.max(width, #name)
  end
  local per_line = math.max(1, columns // (width + 2))
  local lines = {}
  for first = 1, #list, per_line do
    local parts = {}
    for index = first, math.min(first + per_line - 1, #list) do
      parts[#parts + 1] = list[index] .. (" "):rep(width - #list[index])
    end
    lines[#lines + 1] = table.concat(parts, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

local listed_max = 200

---@param text string before the cursor
---@return string? inserted
---@return string? listed what it could be, if it is not clear
function prompt.complete(text)
  local found, word = candidates(text)
  local list = {}
  for name in pairs(found) do
    if name:sub(1, #word) == word and (name ~= word) then
      list[#list + 1] = output.escape(name) == name and name or nil
    end
  end
  if #list == 0 then
    return nil
  end
  table.sort(list)
  local inserted = common_prefix(list):sub(#word + 1)
  if found[word] then
    inserted = ""
  end
  if inserted ~= "" then
    return inserted
  end
  if #list > listed_max then
    return nil, ("%d names"):format(#list)
  end
  return nil, in_columns(list)
end

return prompt
