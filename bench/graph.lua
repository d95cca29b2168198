-- SPDX-License-Identifier: MIT
-- The lines of bench/graph.c through the Lua API, on the same CSV files and cases, beside SQLite through Debian's
-- LuaDBI (lua-dbi-sqlite3) where that is there:
--
--   sombra bench/graph.lua DATA_FOLDER STORE_PATH [rounds] [engine]
--
-- DATA_FOLDER is what `graph --make --data DATA_FOLDER` wrote. In each round both stores are loaded anew, then run line
-- after line, in turns; their sums must agree. Prints a table: CPU nanoseconds of an operation (all threads), and
-- operations a second of the clock, each the median of the rounds.

package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local data = require "graph_data"

local folder, path, rounds = arg[1], arg[2], tonumber(arg[3] or 3)
assert(path, "usage: sombra bench/graph.lua DATA_FOLDER STORE_PATH [rounds] [engine]")
local kinds = { require "graph_sombra"(arg[4] or "btree"), require "graph_sqlite" or nil }

local BULK, DURABLE, CODE_READS, CODE_OPENS = 100000, 500, 10000, 10
local CODE_SIZES = { { "5k/20k", 5000, 20000 }, { "50k/200k", 50000, 200000 } }
local READ_SECONDS = 0.3 -- a line of reads goes over its cases until so much time is gone

-- /proc/uptime has hundredths of a second: enough for whole lines.
local function wall()
  local file <close> = assert(io.open "/proc/uptime")
  return file:read "n"
end

-- ---- results ------------------------------------------------------------------------------------------------------

local order, results = {}, {}

-- `sum` is what the operations returned; the same of all stores in all rounds.
local function note(line, kind, operations, clock, cpu, sum)
  if not results[line] then
    order[#order + 1] = line
    results[line] = { sum = sum }
  end
  local result = results[line]
  if result.sum ~= sum then
    error(("%s: %s sums up to %s, not to %s"):format(line, kind.name, sum, result.sum))
  end
  result[kind.name] = result[kind.name] or { rates = {}, cpu = {} }
  local own = result[kind.name]
  own.rates[#own.rates + 1] = operations / math.max(clock, 0.01)
  own.cpu[#own.cpu + 1] = cpu * 1e9 / operations
end

-- Clock seconds, CPU seconds, what it returned.
local function timed(run)
  collectgarbage()
  local wall_from, cpu_from = wall(), os.clock()
  local sum = run()
  return wall() - wall_from, os.clock() - cpu_from, sum
end

-- ---- lines --------------------------------------------------------------------------------------------------------

local function path_of(kind)
  return ("%s.%s"):format(path, kind.name)
end

local function remove(kind)
  os.execute(("rm -rf -- '%s'"):format(path_of(kind)))
  for _, ending in ipairs(kind.endings) do
    os.remove(path_of(kind) .. ending)
  end
end

-- Each kind in turn.
local function measure(line, operations, run)
  for _, kind in ipairs(kinds) do
    local clock, cpu, sum = timed(function()
      return run(kind)
    end)
    note(line, kind, operations, clock, cpu, sum)
  end
end

local function sum_of(run, list)
  local sum = 0
  for i = 1, #list do
    sum = sum + run(list[i])
  end
  return sum
end

-- Once before, so that what a line needs is in memory.
local function measure_reads(line, stores, list)
  for _, kind in ipairs(kinds) do
    local run, passes = stores[kind].run[line], 0
    local sum = sum_of(run, list)
    local clock, cpu = timed(function()
      local from = wall()
      repeat
        sum_of(run, list)
        passes = passes + 1
      until wall() - from > READ_SECONDS
    end)
    note(line, kind, passes * #list, clock, cpu, sum)
  end
end

local function measure_writes(line, stores, list)
  measure(line, #list, function(kind)
    return sum_of(stores[kind].run[line], list)
  end)
end

local function measure_bulk(line, stores, first)
  local nodes = data.new_nodes(first, BULK)
  for _, kind in ipairs(kinds) do
    if kind.can[line] then
      collectgarbage()
      local clock, cpu = timed(function()
        stores[kind]:bulk(line, nodes)
      end)
      note(line, kind, BULK, clock, cpu, BULK)
    end
  end
end

local function run_graph()
  measure("load", 1, function(kind)
    kind.load(path_of(kind), folder)
    return 1
  end)
  local stores = {}
  for _, kind in ipairs(kinds) do
    stores[kind] = kind.open(path_of(kind))
  end
  local hop1, hop3 = data.cases(folder, "hop1", 2000), data.cases(folder, "hop3", 100)
  local updates, inserts = data.cases(folder, "update", DURABLE), data.cases(folder, "insert", DURABLE)
  measure_reads("lookup", stores, data.cases(folder, "lookup", 10000))
  for _, line in ipairs { "hop1", "hop1, property id", "hop1, list", "hop1, list of ids", "hop1, traversal",
    "hop1, prepared" } do
    measure_reads(line, stores, hop1)
  end
  measure_reads("hop2", stores, data.cases(folder, "hop2", 300))
  measure_reads("hop3", stores, hop3)
  measure_reads("within3", stores, hop3)
  measure_reads("sp", stores, data.cases(folder, "pairs", 100))
  measure_writes("insert, durable", stores, inserts)
  measure_writes("update, durable", stores, updates)
  measure_writes("edge, durable", stores, data.cases(folder, "edge", DURABLE))
  measure_writes("upsert, durable", stores, data.upsert_cases(updates, inserts))
  measure_bulk("bulk insert", stores, 100000000)
  measure_bulk("bulk insert, rows", stores, 200000000)
  for _, store in pairs(stores) do
    store:close()
  end
end

-- ---- the published workload ---------------------------------------------------------------------------------------

-- The reads that were published are those of the handle that has just committed (`warm`); the others are of one that
-- was just opened, whose pages nobody has looked at. The open is not measured.
local function run_code_of(kind, columns, name, nodes, edges)
  local where, load_line = path_of(kind), "code " .. name
  if kind.can["code, singly"] then
    remove(kind)
    local clock, cpu = timed(function()
      kind.code_load("code, singly", where, columns, edges):close()
    end)
    note(load_line .. " singly", kind, nodes + edges, clock, cpu, 1)
  end
  remove(kind)
  local store
  local clock, cpu = timed(function()
    store = kind.code_load("code", where, columns, edges)
  end)
  for _, line in ipairs { "code, nodes", "code, gets" } do
    local warm_clock, warm_cpu, sum = timed(function()
      return store:code_read(line, nodes, CODE_READS)
    end)
    note(load_line .. line:gsub("code,", " warm"), kind, CODE_READS, warm_clock, warm_cpu, sum)
  end
  local more_clock, more_cpu = timed(function()
    store:close()
  end)
  note(load_line, kind, nodes + edges, clock + more_clock, cpu + more_cpu, 1)
  for _, line in ipairs { "code, nodes", "code, gets" } do
    local read_clock, read_cpu, sum = 0, 0, 0
    for _ = 1, CODE_OPENS do
      local opened <close> = kind.open(where)
      local a, b, more = timed(function()
        return opened:code_read(line, nodes, CODE_READS)
      end)
      read_clock, read_cpu, sum = read_clock + a, read_cpu + b, sum + more
    end
    note(load_line .. line:gsub("code,", " opened"), kind, CODE_READS * CODE_OPENS, read_clock, read_cpu, sum)
  end
end

local function run_code()
  for _, size in ipairs(CODE_SIZES) do
    local columns = data.code_columns(size[2])
    for _, kind in ipairs(kinds) do
      run_code_of(kind, columns, table.unpack(size))
    end
  end
  measure("code updates", CODE_READS, function(kind)
    local store <close> = kind.open(path_of(kind))
    store:code_update(50000, CODE_READS)
    return CODE_READS
  end)
end

-- ---- the table ----------------------------------------------------------------------------------------------------

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

for _ = 1, rounds do
  for _, kind in ipairs(kinds) do
    remove(kind)
  end
  run_graph()
  run_code()
end
for _, kind in ipairs(kinds) do
  remove(kind)
end

local row = "| %-26s | %14s | %14s | %5s | %10s | %10s | %5s | %9s |"
local function dashes(bytes)
  return ("-"):rep(bytes)
end
print(row:format("line, from Lua", "sombra, CPU ns", "sqlite, CPU ns", "ratio", "sombra, /s", "sqlite, /s", "ratio",
  "sum"))
print((row:format(dashes(26), dashes(14), dashes(14), dashes(5), dashes(10), dashes(10), dashes(5), dashes(9))))
local function number(format, value)
  return value and format:format(value) or ""
end
for _, line in ipairs(order) do
  local ours, theirs = results[line].sombra, results[line].sqlite
  local cpu, rate = median(ours.cpu), median(ours.rates)
  local peer_cpu, peer_rate = theirs and median(theirs.cpu), theirs and median(theirs.rates)
  print(row:format(line, number("%.0f", cpu), number("%.0f", peer_cpu), number("%.2f", theirs and peer_cpu / cpu),
    number("%.1f", rate), number("%.1f", peer_rate), number("%.2f", theirs and rate / peer_rate),
    results[line].sum))
end
