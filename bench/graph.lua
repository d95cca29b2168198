-- SPDX-License-Identifier: MIT
-- The lines of bench/graph.c through the Lua API, on the same CSV files and cases:
--
--   sombra bench/graph.lua DATA_FOLDER STORE_PATH [rounds] [engine]
--
-- DATA_FOLDER is what `graph --make --data DATA_FOLDER` wrote. Prints a table: operations a second of the clock, and
-- CPU nanoseconds of one (all threads), each the median of the rounds. Nodes are found by their property `id`.

local sombra = require "sombra"

local data, path, rounds = arg[1], arg[2], tonumber(arg[3] or 3)
assert(path, "usage: sombra bench/graph.lua DATA_FOLDER STORE_PATH [rounds] [engine]")
local new = { create = true, engine = arg[4] }

local BULK, DURABLE, CODE_READS, CODE_OPENS = 100000, 200, 10000, 10

-- /proc/uptime has hundredths of a second: enough for whole lines, and for the sum of many short ones.
local function wall()
  local file <close> = assert(io.open "/proc/uptime")
  return file:read "n"
end

local function cases(name, count)
  local rows = {}
  for line in io.lines(("%s/w_%s.txt"):format(data, name)) do
    local row = {}
    for number in line:gmatch "%d+" do
      row[#row + 1] = math.tointeger(number)
    end
    rows[#rows + 1] = row
    if #rows == count then
      break
    end
  end
  return rows
end

-- ---- measuring ----------------------------------------------------------------------------------------------------

local order, results = {}, {}

local function timed(run)
  collectgarbage()
  local wall_from, cpu_from = wall(), os.clock()
  local sum = run()
  return wall() - wall_from, os.clock() - cpu_from, sum
end

local function note(line, operations, clock, cpu, sum)
  clock = math.max(clock, 0.01)
  if not results[line] then
    order[#order + 1] = line
    results[line] = { rates = {}, cpu = {} }
  end
  local result = results[line]
  result.rates[#result.rates + 1] = operations / clock
  result.cpu[#result.cpu + 1] = cpu * 1e9 / operations
  result.sum = sum
end

local function measure(line, operations, run)
  note(line, operations, timed(run))
end

-- Reads just after an open, whose pages nobody has looked at; the open is not measured.
local function measure_opened(line, reads, read)
  local clock, cpu, sum = 0, 0, 0
  for _ = 1, CODE_OPENS do
    local db <close> = assert(sombra.open(path))
    local more_clock, more_cpu, more = timed(function()
      return db:read(read)
    end)
    clock, cpu, sum = clock + more_clock, cpu + more_cpu, sum + more
  end
  note(line, reads * CODE_OPENS, clock, cpu, sum // CODE_OPENS)
end

-- One case in a transaction of its own, again and again; what the functions return is summed.
-- Reads go twice, so that what a line needs is in memory.
local function measure_cases(line, db, mode, list, run)
  local function all()
    local sum, case = 0, nil
    local function body(tx)
      return run(tx, case)
    end
    for i = 1, #list do
      case = list[i]
      sum = sum + db[mode](db, body)
    end
    return sum
  end
  if mode == "read" then
    all()
  end
  measure(line, #list, all)
end

-- ---- lines --------------------------------------------------------------------------------------------------------

local function load()
  local db <close> = assert(sombra.open(path, new))
  db:write(function(tx)
    local ids, names, ages, cities, scores, nodes = {}, {}, {}, {}, {}, {}
    local count = -1
    for line in io.lines(data .. "/nodes.csv") do
      count = count + 1
      if count > 0 then
        local id, name, age, city, score = line:match "(%d+),([^,]*),(%d+),([^,]*),(.*)"
        ids[count], names[count], ages[count] = math.tointeger(id), name, math.tointeger(age)
        cities[count], scores[count] = city, tonumber(score)
      end
    end
    local first = tx:create_many("Node", { id = ids, name = names, age = ages, city = cities, score = scores })
    for i, id in ipairs(ids) do
      nodes[id] = first + i - 1
    end
    tx:create_index("Node", "id", { unique = true })
    tx:create_index("Node", "name")
    local sources, targets, since, weights
    count = -1
    local function link()
      if count > 0 then
        tx:link_many("LINKS", sources, targets, { since = since, weight = weights })
      end
      sources, targets, since, weights, count = {}, {}, {}, {}, 0
    end
    for line in io.lines(data .. "/edges.csv") do
      if count == -1 then
        link()
      else
        local src, dst, year, weight = line:match "(%d+),(%d+),(%d+),(.*)"
        count = count + 1
        sources[count], targets[count] = nodes[math.tointeger(src)], nodes[math.tointeger(dst)]
        since[count], weights[count] = math.tointeger(year), tonumber(weight)
        if count == 200000 then
          link()
        end
      end
    end
    link()
  end)
  return 1
end

local function lookup(tx, case)
  local name, age = tx:get(tx:find("Node", "id", case[1]), "name", "age")
  return name and age
end

local function hop1(tx, case)
  local rows = 0
  for _ in tx:out(tx:find("Node", "id", case[1])) do
    rows = rows + 1
  end
  return rows
end

local function hop1_ids(tx, case)
  local rows = 0
  for node in tx:out(tx:find("Node", "id", case[1])) do
    rows = rows + (tx:get(node, "id") and 1)
  end
  return rows
end

local function hop1_list(tx, case)
  return #tx:neighbours(tx:find("Node", "id", case[1]), "out")
end

local function hop1_ids_list(tx, case)
  return #tx:get_many(tx:neighbours(tx:find("Node", "id", case[1]), "out"), "id")
end

local function hop1_query(tx, case)
  return #tx:from("Node"):where({ id = case[1] }):out("LINKS"):ids()
end

local function hops(count)
  return function(tx, case)
    local start = tx:find("Node", "id", case[1])
    return tx:from(start):out("LINKS", { min = count, max = count }):distinct():count()
  end
end

local function within3(tx, case)
  local start = tx:find("Node", "id", case[1])
  return tx:from(start):out("LINKS", { max = 3, unique = "nodes" }):count()
end

local function shortest(tx, case)
  local from, to = tx:find("Node", "id", case[1]), tx:find("Node", "id", case[2])
  local found = tx:paths(from, to, { kind = "shortest", types = { "LINKS" } }):first()
  return found and found.length or 0
end

local function new_row(id, age)
  return { id = id, name = ("user%07d"):format(id), age = age, city = "city00", score = id % 100 / 4 }
end

local function insert(tx, case)
  tx:create("Node", new_row(case[1], case[2]))
  return 1
end

local function update(tx, case)
  tx:set(tx:find("Node", "id", case[1]), { age = case[2] })
  return 1
end

local function edge(tx, case)
  tx:link(tx:find("Node", "id", case[1]), "LINKS", tx:find("Node", "id", case[2]), { since = case[3], weight = 1.5 })
  return 1
end

local function upsert(tx, case)
  tx:upsert("Node", { id = case[1] }, { age = case[2] })
  return 1
end

-- Half of the nodes are there, half are new.
local function upsert_cases(updates, inserts)
  local list = {}
  for i, case in ipairs(updates) do
    list[i] = { i % 2 == 0 and inserts[i][1] + 5000 or case[1], case[2] }
  end
  return list
end

local function bulk_rows(db, first)
  return db:write(function(tx)
    local rows = {}
    for i = 1, BULK do
      rows[i] = new_row(first + i, 18 + i % 63)
    end
    tx:create_many("Node", rows)
    return BULK
  end)
end

local function bulk(db, first)
  return db:write(function(tx)
    local ids, names, ages, cities, scores = {}, {}, {}, {}, {}
    for i = 1, BULK do
      local id = first + i
      ids[i], names[i], ages[i] = id, ("user%07d"):format(id), 18 + i % 63
      cities[i], scores[i] = "city00", id % 100 / 4
    end
    tx:create_many("Node", { id = ids, name = names, age = ages, city = cities, score = scores })
    return BULK
  end)
end

local code_text = ("local value = compute(1, 2)\n"):rep(15)

local function code_row(i)
  return {
    name = "function_" .. i,
    filePath = ("src/module_%d/file_%d.lua"):format(i % 97, i % 1009),
    startLine = i % 5000,
    endLine = i % 5000 + 20,
    codeText = code_text,
    language = "lua",
    metadata = ('{"complexity":%d}'):format(i % 23),
  }
end

-- The published workload, in one transaction, by columns; the database that has it.
local function code_load(nodes, edges)
  local db = assert(sombra.open(path, new))
  db:write(function(tx)
    local columns = {}
    for name in pairs(code_row(0)) do
      columns[name] = {}
    end
    local names, paths, starts, ends = columns.name, columns.filePath, columns.startLine, columns.endLine
    local texts, languages, metadata = columns.codeText, columns.language, columns.metadata
    for i = 0, nodes - 1 do
      local at = i + 1
      names[at], paths[at] = "function_" .. i, ("src/module_%d/file_%d.lua"):format(i % 97, i % 1009)
      starts[at], ends[at], texts[at], languages[at] = i % 5000, i % 5000 + 20, code_text, "lua"
      metadata[at] = ('{"complexity":%d}'):format(i % 23)
    end
    local first = tx:create_many("Node", columns)
    local sources, targets, weights, kinds = {}, {}, {}, {}
    for i = 0, edges - 1 do
      local at = i + 1
      sources[at], targets[at] = first + i % nodes, first + (13 * i + 7) % nodes
      weights[at], kinds[at] = i % 10 / 10, "calls"
    end
    tx:link_many("LINKS", sources, targets, { weight = weights, kind = kinds })
  end)
  return db
end

-- The same, nodes and edges made one by one.
local function code_load_singly(nodes, edges)
  local db <close> = assert(sombra.open(path, new))
  db:write(function(tx)
    local ids = {}
    for i = 0, nodes - 1 do
      ids[i] = tx:create("Node", code_row(i))
    end
    for i = 0, edges - 1 do
      tx:link(ids[i % nodes], "LINKS", ids[(13 * i + 7) % nodes], { weight = i % 10 / 10, kind = "calls" })
    end
  end)
  return 1
end

local function code_read(nodes)
  return function(tx)
    local sum = 0
    for i = 0, CODE_READS - 1 do
      sum = sum + tx:node(17 * i % nodes + 1).props.startLine
    end
    return sum
  end
end

-- One property of each of the same nodes.
local function code_get(nodes)
  return function(tx)
    local sum = 0
    for i = 0, CODE_READS - 1 do
      sum = sum + tx:get(17 * i % nodes + 1, "startLine")
    end
    return sum
  end
end

local function code_update(nodes)
  local db <close> = assert(sombra.open(path))
  return db:write(function(tx)
    for i = 0, CODE_READS - 1 do
      tx:set(17 * i % nodes + 1, { startLine = i })
    end
    return CODE_READS
  end)
end

local function remove()
  os.execute(("rm -rf -- '%s'"):format(path))
  for _, ending in ipairs { "-log0", "-log1", "-lock" } do
    os.remove(path .. ending)
  end
end

local function run_code(name, nodes, edges)
  remove()
  measure(("code %s singly"):format(name), nodes + edges, function()
    return code_load_singly(nodes, edges)
  end)
  remove()
  -- The reads that were published are those of the handle that has just committed.
  local clock, cpu, db = timed(function()
    return code_load(nodes, edges)
  end)
  measure(("code %s warm"):format(name), CODE_READS, function()
    return db:read(code_read(nodes))
  end)
  measure(("code %s warm gets"):format(name), CODE_READS, function()
    return db:read(code_get(nodes))
  end)
  local more_clock, more_cpu = timed(function()
    return db:close()
  end)
  note("code " .. name, nodes + edges, clock + more_clock, cpu + more_cpu, 1)
  measure_opened(("code %s reads"):format(name), CODE_READS, code_read(nodes))
  measure_opened(("code %s gets"):format(name), CODE_READS, code_get(nodes))
end

-- ---- rounds -------------------------------------------------------------------------------------------------------

local function run_graph()
  measure("load", 1, load)
  local db <close> = assert(sombra.open(path))
  local hop1_cases, hop3_cases = cases("hop1", 2000), cases("hop3", 100)
  local updates, inserts = cases("update", DURABLE), cases("insert", DURABLE)
  measure_cases("lookup", db, "read", cases("lookup", 10000), lookup)
  measure_cases("hop1", db, "read", hop1_cases, hop1)
  measure_cases("hop1, property id", db, "read", hop1_cases, hop1_ids)
  measure_cases("hop1, list", db, "read", hop1_cases, hop1_list)
  measure_cases("hop1, list of ids", db, "read", hop1_cases, hop1_ids_list)
  measure_cases("hop1, traversal", db, "read", hop1_cases, hop1_query)
  measure_cases("hop2", db, "read", cases("hop2", 300), hops(2))
  measure_cases("hop3", db, "read", hop3_cases, hops(3))
  measure_cases("within3", db, "read", hop3_cases, within3)
  measure_cases("sp", db, "read", cases("pairs", 100), shortest)
  measure_cases("insert, durable", db, "write", inserts, insert)
  measure_cases("update, durable", db, "write", updates, update)
  measure_cases("edge, durable", db, "write", cases("edge", DURABLE), edge)
  measure_cases("upsert, durable", db, "write", upsert_cases(updates, inserts), upsert)
  measure("bulk insert", BULK, function()
    return bulk(db, 100000000)
  end)
  measure("bulk insert, rows", BULK, function()
    return bulk_rows(db, 200000000)
  end)
end

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

for _ = 1, rounds do
  remove()
  run_graph()
  run_code("5k/20k", 5000, 20000)
  run_code("50k/200k", 50000, 200000)
  measure("code updates", CODE_READS, function()
    return code_update(50000)
  end)
end
remove()

print "| line, from Lua          | operations/s | CPU ns an operation | sum      |"
print "|-------------------------|-------------:|--------------------:|---------:|"
for _, line in ipairs(order) do
  local result = results[line]
  print(("| %-23s | %12.1f | %19.0f | %8d |"):format(line, median(result.rates), median(result.cpu), result.sum))
end
