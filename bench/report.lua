-- SPDX-License-Identifier: MIT
-- Tables out of the JSON files of bench/kv and bench/graph.
--
--   sombra bench/report.lua merge OUT.json IN.json ...   one file out of many: runs of one store each, or more rounds
--                                                        of the same; what they returned must agree. Prints the table
--   sombra bench/report.lua io IN.json ...               what was read and written for an operation, of one store each
--   sombra bench/report.lua growth IN.json ...           how rates change with the size: a table, and the slope

local json = require "sombra.json"

local function read(path)
  local file <close> = assert(io.open(path))
  return assert(json.decode(file:read "a"))
end

local function median(list)
  table.sort(list)
  local middle = #list // 2
  return #list % 2 == 1 and list[middle + 1] or (list[middle] + list[middle + 1]) / 2
end

local function amount(value)
  if value >= 1e6 then
    return ("%.2fM"):format(value / 1e6)
  elseif value >= 1e5 then
    return ("%.0fk"):format(value / 1e3)
  elseif value >= 1e3 then
    return ("%.1fk"):format(value / 1e3)
  end
  return (value < 100 and "%.2f" or "%.0f"):format(value)
end

-- ---- merge --------------------------------------------------------------------------------------------------------

local function figure(line, round)
  return line.unit == "operations/s" and round.operations / round.wall_s or round.operations
end

local function add_line(into, line, path)
  for name, store in pairs(line.stores) do
    local target = into.stores[name] or { rounds = {} }
    into.stores[name] = target
    for _, round in ipairs(store.rounds) do
      into.sum = into.sum or round.sum
      assert(round.is_cut or round.sum == into.sum,
        ("%s: %s: %s returned different data"):format(path, line.name, name))
      target.is_cut = target.is_cut or round.is_cut
      target.rounds[#target.rounds + 1] = round
    end
  end
end

local function summarise(line, stores)
  local ours = line.stores[stores[1].name]
  for _, store in pairs(line.stores) do
    local values, ratios, cpu = {}, {}, {}
    for i, round in ipairs(store.rounds) do
      values[i] = figure(line, round)
      cpu[i] = round.cpu_s / round.operations * 1e9
      if ours and ours.rounds[i] then
        ratios[#ratios + 1] = figure(line, ours.rounds[i]) / values[i]
      end
    end
    store.median, store.cpu_ns = median(values), median(cpu)
    store.spread = (values[#values] - values[1]) / 2 / store.median
    store.ratio = #ratios > 0 and store ~= ours and median(ratios) or nil
  end
  line.sum = nil
end

local function merge(paths)
  local whole, lines, stores = nil, {}, {}
  for _, path in ipairs(paths) do
    local part = read(path)
    whole = whole or { records = part.records, cache_bytes = part.cache_bytes, stores = {}, lines = {} }
    for _, store in ipairs(part.stores) do
      if not stores[store.name] then
        stores[store.name] = true
        table.insert(whole.stores, store)
      end
    end
    for _, line in ipairs(part.lines) do
      if not lines[line.name] then
        lines[line.name] = { name = line.name, unit = line.unit, stores = {} }
        table.insert(whole.lines, lines[line.name])
      end
      add_line(lines[line.name], line, path)
    end
  end
  for _, line in ipairs(whole.lines) do
    summarise(line, whole.stores)
  end
  return whole
end

local function print_table(whole)
  io.write("| workload             |")
  for i, store in ipairs(whole.stores) do
    io.write((" %-12s |%s"):format(store.name, i > 1 and " ratio |" or ""))
  end
  io.write("\n|---|" .. ("--:|"):rep(2 * #whole.stores - 1) .. "\n")
  for _, line in ipairs(whole.lines) do
    io.write(("| %-20s |"):format(line.name))
    for i, store in ipairs(whole.stores) do
      local cell = line.stores[store.name]
      local mark = cell and cell.is_cut and "*" or ""
      io.write(cell and (" %6s%s ±%3.0f%% |"):format(amount(cell.median), mark, cell.spread * 100) or "              |")
      if i > 1 then
        io.write(cell and cell.ratio and (" %5.2f |"):format(cell.ratio) or "       |")
      end
    end
    io.write "\n"
  end
  io.write "\n"
  for _, store in ipairs(whole.stores) do
    print(("- %s: %s"):format(store.name, store.settings))
  end
end

-- ---- what the system did ------------------------------------------------------------------------------------------

local function print_io(paths)
  print "\n| workload             | store       | bytes read | bytes written | major faults | CPU us |"
  print "|---|---|--:|--:|--:|--:|"
  local order, lines = {}, {}
  for _, path in ipairs(paths) do
    for _, line in ipairs(read(path).lines) do
      if not lines[line.name] then
        order[#order + 1], lines[line.name] = line.name, {}
      end
      for name, store in pairs(line.stores) do
        table.insert(lines[line.name], { name = name, round = store.rounds[1] })
      end
    end
  end
  for _, name in ipairs(order) do
    for _, store in ipairs(lines[name]) do
      local round, count = store.round, store.round.operations
      print(("| %-20s | %-11s | %10.0f | %13.0f | %12.4f | %6.2f |"):format(name, store.name, round.read_bytes / count,
        round.written_bytes / count, round.major_faults / count, round.cpu_s / count * 1e6))
    end
  end
  print "\nFor an operation: bytes fetched from the medium, bytes of pages that became dirty."
end

-- ---- growth -------------------------------------------------------------------------------------------------------

-- Of each line and store: the rates at the sizes, and the factor for ten times the data between the first and the last.
local function growth(paths)
  local parts = {}
  for i, path in ipairs(paths) do
    parts[i] = read(path)
  end
  table.sort(parts, function(a, b)
    return a.records < b.records
  end)
  io.write("| workload             | store       |")
  for _, part in ipairs(parts) do
    io.write((" %9.0e |"):format(part.records))
  end
  print " x 10 |"
  print("|---|---|" .. ("--:|"):rep(#parts + 1))
  for _, line in ipairs(parts[1].lines) do
    if line.unit == "operations/s" then
      for _, store in ipairs(parts[1].stores) do
        local values = {}
        for i, part in ipairs(parts) do
          for _, other in ipairs(part.lines) do
            if other.name == line.name and other.stores[store.name] then
              values[i] = other.stores[store.name].median
            end
          end
        end
        if #values == #parts then
          io.write(("| %-20s | %-11s |"):format(line.name, store.name))
          for _, value in ipairs(values) do
            io.write((" %9s |"):format(amount(value)))
          end
          local tens = math.log(parts[#parts].records / parts[1].records, 10)
          print((" %4.2f |"):format((values[#values] / values[1]) ^ (1 / tens)))
        end
      end
    end
  end
end

-- ---- the command --------------------------------------------------------------------------------------------------

local command = arg[1]
if command == "merge" and arg[3] then
  local whole = merge { table.unpack(arg, 3) }
  local file <close> = assert(io.open(arg[2], "w"))
  file:write(json.encode(whole), "\n")
  print_table(whole)
elseif command == "io" and arg[2] then
  print_io { table.unpack(arg, 2) }
elseif command == "growth" and arg[3] then
  growth { table.unpack(arg, 2) }
else
  io.stderr:write "usage: report.lua merge OUT.json IN.json ... | io IN.json ... | growth IN.json IN.json ...\n"
  os.exit(2)
end
