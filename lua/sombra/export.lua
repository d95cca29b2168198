-- SPDX-License-Identifier: MIT

---Everything in a database as text: CSV, JSON lines, GraphML. One snapshot, in bounded memory.
---
---    local export = require "sombra.export"
---    export.run(db, file, { format = "jsonl" })
---@class sombra.export
local export = {}

local import = require "sombra.import"
local values = require "sombra.transfer.values"

---@class sombra.export.Options
---@field format "csv"|"jsonl"|"graphml"
---@field only "nodes"|"edges"|"buckets"|"procedures"|"rules"|"migrations"? nothing else; needed by CSV, unless there
---are two files
---@field progress fun(records: integer, total: integer)? called now and then

---@class sombra.export.Report
---@field nodes integer
---@field edges integer
---@field entries integer of buckets
---@field procedures integer versions of stored procedures
---@field rules integer indexes, constraints, triggers
---@field migrations integer rows of their history
---@field buckets_left integer buckets that the format cannot hold
---@field procedures_left integer versions of procedures that it cannot hold
---@field rules_left integer rules that it cannot hold
---@field migrations_left integer rows of the migrations' history that it cannot hold

local option_names = { format = true, only = true, progress = true }
local progress_records = 512

local out_meta = {}
out_meta.__index = out_meta

function out_meta:write(...)
  local done, message = self.file:write(...)
  if not done then
    values.fail("cannot write: %s", message)
  end
end

local function out_of(file)
  return setmetatable({ file = file }, out_meta)
end

local function tick(state)
  state.records = state.records + 1
  if state.progress and state.records % progress_records == 0 then
    state.progress(state.records, state.total)
  end
end

local function wants(options, what)
  return options.only == nil or options.only == what
end

---The types of all properties, for formats that declare them first.
local function collect_types(state, format)
  local types = { node = {}, edge = {} }
  if not format.holds then
    return types
  end
  local tx = state.tx
  if wants(state.options, "nodes") then
    for id in tx:nodes() do
      values.note_types(types.node, tx:node(id).props, format.holds)
      tick(state)
    end
  end
  if wants(state.options, "edges") then
    for id in tx:edges() do
      values.note_types(types.edge, tx:edge(id).props, format.holds)
      tick(state)
    end
  end
  return types
end

local function write_nodes(state, write)
  for id in state.tx:nodes() do
    write(state.tx:node(id))
    state.report.nodes = state.report.nodes + 1
    tick(state)
  end
end

local function write_edges(state, write)
  for id in state.tx:edges() do
    write(state.tx:edge(id))
    state.report.edges = state.report.edges + 1
    tick(state)
  end
end

local function write_buckets(state, format, out)
  for name in state.tx:buckets() do
    if not format.write_entry then
      state.report.buckets_left = state.report.buckets_left + 1
    else
      format.write_entry(out, name)
      for key, value in state.tx:bucket(name):scan() do
        format.write_entry(out, name, key, value)
        state.report.entries = state.report.entries + 1
        tick(state)
      end
    end
  end
end

---Writes and counts one thing by `write`, or counts it as left where the format has no such function.
local function write_one(state, counter, write, ...)
  if write then
    write(...)
  else
    counter = counter .. "_left"
  end
  state.report[counter] = state.report[counter] + 1
end

local function write_procedures(state, format, out)
  for _, info in state.tx:procedures() do
    write_one(state, "procedures", format.write_procedure, out, info)
  end
end

---Behind all that they are about: so they are made over it at once.
local function write_rules(state, format, out)
  local schema = state.tx:schema()
  for _, kind in ipairs { "index", "constraint", "trigger" } do
    for _, rule in ipairs(schema[kind == "index" and "indexes" or kind .. "s"]) do
      write_one(state, "rules", format.write_rule, out, kind, rule)
    end
  end
end

local function write_migrations(state, format, out)
  for _, row in ipairs(state.tx:migrations()) do
    write_one(state, "migrations", format.write_migration, out, row)
  end
end

local function total_of(tx, options, format)
  local total = 0
  if wants(options, "nodes") then
    total = total + tx:count()
  end
  if wants(options, "edges") then
    total = total + tx:count_edges()
  end
  if format.holds then
    return 2 * total -- the first pass collects the types
  end
  for name in tx:buckets() do
    total = total + tx:bucket(name):count()
  end
  return total
end

---Writes everything to open files; the caller closes them.
---@param db sombra.DB
---@param files file*|{ nodes: file*, edges: file* } two files for CSV
---@param options sombra.export.Options
---@return sombra.export.Report
function export.run(db, files, options)
  for name in pairs(options) do
    if not option_names[name] then
      error(("unknown option %q"):format(tostring(name)), 2)
    end
  end
  local format, name = import.format_of("", options.format)
  local is_pair = type(files) == "table" and files.nodes ~= nil
  if name == "csv" and not is_pair and options.only ~= "nodes" and options.only ~= "edges" then
    values.fail("CSV has nodes and edges in a file each: name two files, or export only one of both")
  end
  local tx <close> = db:snapshot()
  local state = {
    tx = tx,
    options = options,
    progress = options.progress,
    records = 0,
    total = total_of(tx, options, format),
    report = {
      nodes = 0, edges = 0, entries = 0, procedures = 0, rules = 0, migrations = 0,
      buckets_left = 0, procedures_left = 0, rules_left = 0, migrations_left = 0,
    },
  }
  local nodes_out, edges_out = out_of(is_pair and files.nodes or files), out_of(is_pair and files.edges or files)
  local types = collect_types(state, format)
  local ids = format.write_head and format.write_head(nodes_out, types)
  if wants(options, "nodes") then
    write_nodes(state, format.writer(nodes_out, "node", types.node, ids))
  end
  if wants(options, "edges") then
    write_edges(state, format.writer(edges_out, "edge", types.edge, ids))
  end
  if format.write_tail then
    format.write_tail(nodes_out)
  end
  if wants(options, "buckets") then
    write_buckets(state, format, nodes_out)
  end
  if wants(options, "procedures") then
    write_procedures(state, format, nodes_out)
  end
  if wants(options, "rules") then
    write_rules(state, format, nodes_out)
  end
  if wants(options, "migrations") then
    write_migrations(state, format, nodes_out)
  end
  return state.report
end

return export
