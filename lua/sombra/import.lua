-- SPDX-License-Identifier: MIT

---Nodes and edges from files: CSV, JSON lines, GraphML.
---
---    local import = require "sombra.import"
---    local report = import.run(db, { "nodes.csv", "edges.csv" })
---@class sombra.import
local import = {}

local interrupt = require "sombra.interrupt"
local sombra = require "sombra"
local source = require "sombra.transfer.source"
local terminal = require "sombra.terminal"
local values = require "sombra.transfer.values"

---@class sombra.import.Options
---@field format "csv"|"jsonl"|"graphml"? by the ends of the files' names unless told
---@field label string? of nodes that name none
---@field type string? of edges that name none
---@field id string? the property that keeps each node's id in the files; in CSV the column of this name is the id
---@field from string? CSV: the column with the id an edge starts at
---@field to string? CSV: the column with the id it ends at
---@field types table<string, string>? CSV: types of columns
---@field separator string? CSV: one byte
---@field batch integer? records in each transaction (10000); 0: all in one
---@field rejects string? a file for bad records, which are skipped; without it the first one ends the import
---@field on_reject fun(file: string, line: integer?, reason: string)? called for each
---@field progress fun(records: integer, bytes: integer, bytes_total: integer?)? called now and then

---@class sombra.import.Report
---@field nodes integer
---@field edges integer
---@field entries integer of buckets
---@field procedures integer versions that were not there already
---@field rules integer indexes, constraints and triggers that were not there already
---@field migrations integer rows of their history that were not there already
---@field rejected integer
---@field commits integer

local option_names = {
  format = true, label = true, type = true, id = true, from = true, to = true, types = true, separator = true,
  batch = true, rejects = true, on_reject = true, progress = true,
}

import.formats = {
  csv = "sombra.transfer.csv", jsonl = "sombra.transfer.jsonl", graphml = "sombra.transfer.graphml",
}
local by_ending = { csv = "csv", jsonl = "jsonl", ndjson = "jsonl", graphml = "graphml", xml = "graphml" }

---The module of a format, by its name or by the end of a file's.
function import.format_of(path, name)
  name = name or by_ending[(path:match("%.(%a+)$") or ""):lower()]
  if not name then
    values.fail("the format of %s is not known by its name: name it (csv, jsonl or graphml)",
      path == "-" and "the standard input" or path)
  end
  if not import.formats[name] then
    values.fail("there is no format '%s'; there are csv, jsonl and graphml", name)
  end
  return require(import.formats[name]), name
end

local batch_default = 10000
local progress_records = 512

---- one record -------------------------------------------------------------------------------------------------------

---The same id as text and as an integer is one id.
local function id_key(id)
  if type(id) == "string" and #id < 20 then
    local number = math.tointeger(id)
    return number and tostring(number) == id and number or id
  end
  return id
end

---Errors that are about the record, and leave the transaction good.
local rule_codes = { exists = true, unique = true, constraint = true }
local row_codes = {
  invalid = true, conflict = true, exists = true, not_found = true, procedure = true, unique = true, constraint = true,
}

---Calls a method of the transaction; returns its result, or nil and why the record is bad.
local function try(fn, ...)
  local is_good, result = pcall(fn, ...)
  if is_good then
    return result
  elseif type(result) == "table" and row_codes[result.code] then
    return nil, result.message
  elseif type(result) == "string" and not interrupt.is(result) then
    return nil, result:match("^bad argument #%d+ to '[^']*' %((.*)%)$") or result
  end
  error(result, 0)
end

local function add_node(state, item)
  local options, props = state.options, item.props
  local id = item.id
  if options.id then
    if id == nil then
      id = props[options.id]
    elseif props[options.id] == nil then
      props[options.id] = id
    end
  end
  local key = id ~= nil and id_key(id) or nil
  if key ~= key then
    return "the id is NaN"
  elseif key ~= nil and state.ids[key] then
    return ("a node with the id '%s' is there already"):format(id)
  end
  local labels = #item.labels > 0 and item.labels or options.label
  local node, why = try(state.tx.create, state.tx, labels, props)
  if not node then
    return why
  end
  if key ~= nil then
    state.ids[key] = node
  end
  state.report.nodes = state.report.nodes + 1
end

local function add_edge(state, item)
  local src, dst = state.ids[id_key(item.from)], state.ids[id_key(item.to)]
  local type_name = item.type or state.options.type
  if not src or not dst then
    return ("there is no node with the id '%s'; nodes come before their edges"):format(src and item.to or item.from)
  elseif not type_name then
    return "the edge has no type, and none is given for such edges"
  end
  local edge, why = try(state.tx.link, state.tx, src, type_name, dst, item.props)
  if not edge then
    return why
  end
  state.report.edges = state.report.edges + 1
end

local function add_entry(state, item)
  local bucket, why = try(state.tx.bucket, state.tx, item.bucket, { create = true })
  if bucket and item.key ~= nil then
    why = select(2, try(bucket.put, bucket, item.key, item.value))
    if not why then
      state.report.entries = state.report.entries + 1
    end
  end
  return why
end

---Its text says what it is; what the record says of it is only compared.
local function add_procedure(state, item)
  local is_new
  local name, version = try(function()
    local is_good, name, version, new = pcall(state.tx.define, state.tx,
      item.chunk and { text = item.text, name = item.chunk } or item.text)
    if not is_good then -- also a text that ran into a limit is only a bad text
      error(type(name) == "table" and name.code == "limit" and name.message or name, 0)
    end
    is_new = new
    if name == item.procedure and (not item.version or version == item.version) then
      return name
    end
    if new then
      state.tx:undefine(name, { version = version })
    end
    error(("the text is that of procedure '%s' version %d"):format(name, version), 0)
  end)
  if not name then
    return version
  end
  state.report.procedures = state.report.procedures + (is_new and 1 or 0)
end

---Calls a method that makes a rule over what is there. One that exists is no change.
local function add_rule(state, make, subject, what, options)
  local is_good, err = pcall(make, state.tx, subject, what, options)
  if is_good then
    state.report.rules = state.report.rules + 1
  elseif type(err) == "table" and rule_codes[err.code] then
    return err.code ~= "exists" and err.message or nil
  else
    return select(2, try(error, err, 0))
  end
end

local function add_index(state, item)
  return add_rule(state, state.tx.create_index, item.label or item.type, item.index,
    { unique = item.unique, edge = item.type ~= nil })
end

local function add_constraint(state, item)
  return add_rule(state, state.tx.create_constraint, item.label or item.type, item.constraint,
    { required = item.required, kind = item.value_kind, edge = item.type ~= nil })
end

local function add_trigger(state, item)
  return add_rule(state, state.tx.create_trigger, item.label or item.type, item.trigger,
    { on = item.on, edge = item.type ~= nil })
end

local function add_migration(state, item)
  local is_new, why = try(state.tx.adopt_migration, state.tx, {
    number = item.migration, name = item.name, hash = item.hash, time = item.time, state = item.state,
    cursor = item.cursor,
  })
  state.report.migrations = state.report.migrations + (is_new and 1 or 0)
  return why
end

local adders = {
  node = add_node, edge = add_edge, bucket = add_entry, procedure = add_procedure,
  index = add_index, constraint = add_constraint, trigger = add_trigger, migration = add_migration,
}

---Whether the record has a name or a key that no database can hold.
local function is_too_long(item)
  local info = sombra.info()
  local function exceeds(name)
    return type(name) == "string" and #name > info.name_bytes_max
  end
  for _, label in ipairs(item.labels or {}) do
    if exceeds(label) then
      return true
    end
  end
  for name in pairs(item.props or {}) do
    if exceeds(name) then
      return true
    end
  end
  return exceeds(item.type) or exceeds(item.bucket) or (type(item.key) == "string" and #item.key > info.key_bytes_max)
end

---Returns why the record is bad, if it is.
local function add(state, item)
  local is_good, result = pcall(adders[item.kind], state, item)
  if is_good then
    return result
  elseif type(result) == "table" and result.code == "limit" and is_too_long(item) then
    return result.message
  end
  error(result, 0)
end

---- rejects ----------------------------------------------------------------------------------------------------------

local function rejects_of(state, number)
  return state.options.rejects .. (#state.paths > 1 and "." .. number or "")
end

---Rejects that were mended are imported again, and their own file must not be what is written.
local function check_rejects(state)
  local inputs = {}
  for _, path in ipairs(state.paths) do
    inputs[select(2, terminal.place(path)) or path] = true
  end
  for number in ipairs(state.paths) do
    local path = rejects_of(state, number)
    if inputs[select(2, terminal.place(path)) or path] then
      values.fail("%s is imported: rejects need another file", path)
    end
  end
end

local function open_rejects(state, path, head)
  local file, message = io.open(rejects_of(state, state.path_number), "wb")
  if not file then
    values.fail("cannot write the rejects of %s: %s", path, message)
  end
  file:write(head)
  return file
end

local function describe(input, line, why)
  return ("%s%s: %s"):format(input.name, line and ":" .. line or "", why)
end

---Ends the import, or puts the record aside.
local function reject(state, input, file, line, why)
  local report = state.report
  if not state.options.rejects then
    values.fail("%s", describe(input, line, why))
  end
  report.rejected = report.rejected + 1
  file.rejects = file.rejects or open_rejects(state, input.name, file.head)
  local done, message = file.rejects:write(input:take())
  if not done then
    values.fail("cannot write the rejects of %s: %s", input.name, message)
  end
  if state.options.on_reject then
    state.options.on_reject(input.name, line, why)
  end
end

---- files ------------------------------------------------------------------------------------------------------------

local function commit(state)
  state.tx:commit()
  state.tx = state.db:begin("write")
  state.in_batch = 0
  state.report.commits = state.report.commits + 1
end

local function after_record(state, input)
  state.in_batch = state.in_batch + 1
  state.records = state.records + 1
  if state.in_batch == state.batch then
    commit(state)
  end
  if state.options.progress and state.records % progress_records == 0 then
    state.options.progress(state.records, state.bytes_before + input.bytes, state.bytes_total)
  end
end

---A column that is asked for and is in no file is a slip: edges would become nodes, numbers text.
local function check_found(options)
  local function check(name, option, found)
    if name and not found then
      values.fail("there is no column '%s', which %s asks for", name, option)
    end
  end
  check(options.from, "from", options.found.from)
  check(options.to, "to", options.found.to)
  for name in pairs(options.types or {}) do
    check(name, "types", options.found["types." .. name])
  end
end

local function run_file(state, path)
  local input <close> = source.open(path, state.options.rejects ~= nil)
  if #state.paths == 1 then
    state.bytes_total = input.size
  end
  local format, format_name = import.format_of(path, state.options.format)
  local next_item, head, tail = format.read(input, state.options)
  if #state.paths == 1 and format_name == "csv" then
    check_found(state.options)
  end
  local file = { head = head }
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    if file.rejects then
      file.rejects:write(tail or "")
      file.rejects:close()
    end
  end })
  while true do
    local item, why, line = next_item()
    if not item and not why then
      break
    end
    if item then
      line, why = item.line, add(state, item)
    end
    if why then
      reject(state, input, file, line, why)
    else
      after_record(state, input)
    end
    if input.keeps then
      input:take()
    end
  end
  state.bytes_before = state.bytes_before + input.bytes
end

local function run_files(state)
  for number, path in ipairs(state.paths) do
    state.path_number = number
    run_file(state, path)
  end
  if state.in_batch > 0 then
    state.report.commits = state.report.commits + 1
  end
  state.tx:commit()
end

---Whatever ends an import, a bad record or a full disk: what was committed before stays, and the error says so.
local function with_what_stays(state, err)
  local kept = state.records - state.in_batch
  local text = kept == 0 and "; nothing was imported"
    or ("; the %d records before it that were committed stay"):format(kept)
  local member = type(err) == "table" and (err.failure and "failure" or type(err.message) == "string" and "message")
  if member then
    err[member] = err[member] .. text
  elseif interrupt.is(err) then -- which it stays
    err = text:sub(3) .. ": " .. err
  end
  return err
end

---Files with edges go last. Returns the sum of the sizes too, if all have one. A single file is not opened here: a
---pipe can be opened only once.
local function ordered(paths, options)
  local nodes, edges, total = {}, {}, 0
  for _, path in ipairs(paths) do
    local format = import.format_of(path, options.format)
    local is_last = false
    if #paths == 1 or path == "-" then
      total = nil
    else
      local input <close> = source.open(path)
      if not input.size then
        values.fail("%s is no regular file: import it alone", path)
      end
      total = total and total + input.size
      is_last = format.has_edges_only(input, options)
    end
    table.insert(is_last and edges or nodes, path)
  end
  table.move(edges, 1, #edges, #nodes + 1, nodes)
  return nodes, total
end

---Of several files the headings are known before the first is read; not that of the standard input.
local function check_all_found(paths, options)
  local has_csv = false
  for _, path in ipairs(paths) do
    if path == "-" then
      return
    end
    has_csv = has_csv or select(2, import.format_of(path, options.format)) == "csv"
  end
  if has_csv and #paths > 1 then
    check_found(options)
  end
end

---The ids of nodes that are there already, by the property that keeps them.
local function known_ids(tx, property)
  local ids = {}
  for node in tx:nodes() do
    local id = tx:get(node, property)
    if id ~= nil and id == id then -- NaN is nobody's id
      ids[id_key(id)] = node
    end
  end
  return ids
end

local function check_options(options)
  for name in pairs(options) do
    if not option_names[name] then
      error(("unknown option %q"):format(tostring(name)), 3)
    end
  end
  for name, type_name in pairs(options.types or {}) do
    if not values.reader(type_name) then
      values.fail("the column '%s' has the type '%s'; there are %s", name, type_name, values.type_names)
    end
  end
end

---Imports files into a database. Raises for a bad record, unless there is a file for the rejects: then what was
---committed in earlier batches stays. Other failures raise too.
---@param db sombra.DB
---@param paths string[] "-" is the standard input
---@param options sombra.import.Options?
---@return sombra.import.Report
function import.run(db, paths, options)
  options = options or {}
  check_options(options)
  options = setmetatable({ found = {} }, { __index = options })
  local state = {
    db = db,
    options = options,
    batch = options.batch or batch_default,
    report = {
      nodes = 0, edges = 0, entries = 0, procedures = 0, rules = 0, migrations = 0, rejected = 0, commits = 0,
    },
    ids = {},
    in_batch = 0,
    records = 0,
    bytes_before = 0,
  }
  state.paths, state.bytes_total = ordered(paths, options)
  check_all_found(paths, options)
  if options.rejects then
    check_rejects(state)
  end
  state.tx = db:begin("write")
  local guard <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    if state.tx:is_open() then
      state.tx:rollback()
    end
  end })
  if options.id then
    state.ids = known_ids(state.tx, options.id)
  end
  local is_good, err = pcall(run_files, state)
  if not is_good then
    error(with_what_stays(state, err), 0)
  end
  return state.report
end

return import
