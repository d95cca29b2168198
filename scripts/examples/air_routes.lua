-- SPDX-License-Identifier: MIT
-- Airports and the routes between them: a CSV import in one transaction, then three questions.
--
--   sombra scripts/examples/air_routes.lua [DIR [DB [FROM TO]]]
--
-- DIR holds airports.csv and routes.csv, or the two files of github.com/krlawrence/graph (sample-data/
-- air-routes-latest-nodes.csv and -edges.csv); left out or "-", it is the sample beside this script. DB is kept, and
-- not imported into again; left out or "-", a temporary file is used. FROM and TO are the codes of two airports.
local sombra = require "sombra"
local csv = require "sombra.csv"

---- tables of text ---------------------------------------------------------------------------------------------------

local function thousands(number)
  local text = tostring(number):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return text
end

-- Numbers stand right, texts left; widths are in characters, not bytes.
local function print_table(headings, rows)
  local texts, widths = { headings }, {}
  for index, row in ipairs(rows) do
    texts[index + 1] = {}
    for column, value in ipairs(row) do
      texts[index + 1][column] = math.type(value) and thousands(value) or value
    end
  end
  for _, row in ipairs(texts) do
    for column, text in ipairs(row) do
      widths[column] = math.max(widths[column] or 0, utf8.len(text) or #text)
    end
  end
  for index, row in ipairs(texts) do
    local cells = {}
    for column, text in ipairs(row) do
      local padding = (" "):rep(widths[column] - (utf8.len(text) or #text))
      local is_number = math.type((rows[math.max(index - 1, 1)] or {})[column]) ~= nil
      cells[column] = is_number and padding .. text or text .. padding
    end
    print("  " .. table.concat(cells, "  "):gsub("%s+$", ""))
  end
end

-- Runs fn and prints what it took, in processor time.
local function timed(title, fn)
  local begun = os.clock()
  local results = table.pack(fn())
  print(("\n%s (%.1f ms)"):format(title:gsub("%$", tostring(results[1])), (os.clock() - begun) * 1000))
  return table.unpack(results, 1, results.n)
end

---- import -----------------------------------------------------------------------------------------------------------

local function is_file(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function import_sample(tx, directory)
  local id_of = {}
  local degrees = { latitude = tonumber, longitude = tonumber }
  for airport in csv.rows(directory .. "/airports.csv", { convert = degrees }) do
    id_of[airport.code] = tx:create("airport", airport)
  end
  for route, line in csv.rows(directory .. "/routes.csv", { convert = { km = math.tointeger } }) do
    local from = id_of[route.from] or error(("routes.csv:%d: no airport %q"):format(line, route.from))
    local to = id_of[route.to] or error(("routes.csv:%d: no airport %q"):format(line, route.to))
    tx:link(from, "route", to, { km = route.km })
  end
end

-- "~id,~from,~label,code:string,lat:double": a name and a type for each column; an empty field is no property.
local function text_or_nil(text)
  return text ~= "" and text or nil
end
local converters = { int = math.tointeger, double = tonumber, string = text_or_nil }

-- Iterates over the columns without a type and those with one, as two tables.
local function typed_rows(path)
  local next_fields, _, _, file = csv.rows(path, { header = false })
  local columns = {}
  for index, heading in ipairs(next_fields() or error(path .. " is empty")) do
    local name, type_name = heading:match("^([^~:]+):(%w+)$")
    columns[index] = { name = name or heading, convert = converters[type_name] }
  end
  local function step()
    local fields = next_fields()
    if not fields then
      return nil
    end
    local system, props = {}, {}
    for index, column in ipairs(columns) do
      if column.convert then
        props[column.name] = column.convert(fields[index])
      else
        system[column.name] = fields[index]
      end
    end
    return system, props
  end
  return step, nil, nil, file
end

local function import_air_routes(tx, directory)
  local id_of = {}
  for row, props in typed_rows(directory .. "/air-routes-latest-nodes.csv") do
    id_of[row["~id"]] = tx:create(row["~label"], props)
  end
  for row, props in typed_rows(directory .. "/air-routes-latest-edges.csv") do
    tx:link(id_of[row["~from"]], row["~label"], id_of[row["~to"]], props)
  end
end

-- Everything or nothing: an error in the last row leaves the file without the first one.
local function import(db, directory)
  local run = is_file(directory .. "/airports.csv") and import_sample or import_air_routes
  local begun = os.clock()
  db:write(function(tx)
    run(tx, directory)
  end)
  return os.clock() - begun
end

---- questions --------------------------------------------------------------------------------------------------------

-- Breadth first from `start`. Returns the levels (lists of ids; levels[1] is the start) and, by id, how many fewest-hop
-- ways lead there and one airport that is the last stop before. Ends once a level has `target`.
local function search(tx, start, target)
  local levels, ways, previous, depth_of = { { start } }, { [start] = 1 }, {}, { [start] = 1 }
  while not (target and depth_of[target]) do
    local depth = #levels + 1
    local level = {}
    for _, id in ipairs(levels[depth - 1]) do
      for neighbour in tx:out(id, "route") do
        if not depth_of[neighbour] then
          depth_of[neighbour], ways[neighbour], previous[neighbour] = depth, 0, id
          level[#level + 1] = neighbour
        end
        if depth_of[neighbour] == depth then
          ways[neighbour] = ways[neighbour] + ways[id]
        end
      end
    end
    if #level == 0 then
      break
    end
    levels[depth] = level
  end
  return levels, ways, previous
end

local function print_reach(tx, code, start)
  local levels = timed("Where flights from " .. code .. " lead", function()
    return (search(tx, start))
  end)
  local rows, total = {}, 0
  for depth, level in ipairs(levels) do
    total = total + #level
    rows[depth] = { depth - 1, #level, total }
  end
  print_table({ "flights", "airports", "in all" }, rows)
  local within = rows[math.min(3, #rows)][3] - 1
  print(("  Within 2 flights: %s other airports."):format(thousands(within)))
end

local function distance_of(tx, edge)
  local km = tx:edge_get(edge, "km")
  return km or tx:edge_get(edge, "dist"), km and "km" or "miles"
end

local function place_of(tx, id)
  return tx:get(id, "city") or tx:get(id, "desc") or "?"
end

local function print_fewest(tx, from, to, start, target)
  local title = ("From %s to %s: fewest flights $"):format(from, to)
  local _, ways, previous = timed(title, function()
    local levels, ways, previous = search(tx, start, target)
    return ways[target] and #levels - 1 or "unknown", ways, previous
  end)
  if not ways[target] then
    print("  There is no way.")
    return
  end
  local stops = { target }
  while stops[1] ~= start do
    table.insert(stops, 1, previous[stops[1]])
  end
  local rows, total, unit = { { tx:get(start, "code"), place_of(tx, start), 0 } }, 0, "km"
  for index = 2, #stops do
    local distance
    distance, unit = distance_of(tx, tx:find_edge(stops[index - 1], "route", stops[index]))
    total = total + distance
    rows[index] = { tx:get(stops[index], "code"), place_of(tx, stops[index]), distance }
  end
  print_table({ "stop", "place", unit }, rows)
  print(("  Ways with as few flights: %s. This one is %s %s long."):format(
    thousands(ways[target]), thousands(total), unit))
end

local function print_busiest(tx, count)
  local airports = timed("The busiest airports", function()
    local list = {}
    for id in tx:nodes("airport") do
      list[#list + 1] = { id = id, out = tx:degree(id, "out", "route"), into = tx:degree(id, "into", "route") }
    end
    table.sort(list, function(a, b)
      return a.out + a.into > b.out + b.into or a.out + a.into == b.out + b.into and a.id < b.id
    end)
    return list
  end)
  local rows = {}
  for index = 1, math.min(count, #airports) do
    local airport = airports[index]
    local code, place = tx:get(airport.id, "code"), place_of(tx, airport.id)
    rows[index] = { index, code, place, airport.out + airport.into, airport.out, airport.into }
  end
  print_table({ "rank", "code", "place", "routes", "out", "in" }, rows)
end

---- the program ------------------------------------------------------------------------------------------------------

local function argument(index, otherwise)
  local word = arg[index]
  return word and word ~= "-" and word or otherwise
end

local function print_counts(tx)
  local rows = {}
  for label, count in tx:labels() do
    rows[#rows + 1] = { "node", label, count }
  end
  for type_name, count in tx:types() do
    rows[#rows + 1] = { "edge", type_name, count }
  end
  print_table({ "kind", "name", "count" }, rows)
end

local function main(directory, path, from, to)
  local db <close> = assert(sombra.open(path, { create = true }))
  local is_new = db:read(function(tx) return tx:count() == 0 end)
  if is_new then
    local seconds = import(db, directory)
    print(("Imported %s in one transaction (%.1f ms)"):format(directory, seconds * 1000))
  else
    print("The database holds the data already: " .. path)
  end

  db:read(function(tx)
    print_counts(tx)
    local id_of = {}
    for id in tx:nodes("airport") do
      id_of[tx:get(id, "code")] = id
    end
    local start = id_of[from] or error(("there is no airport %q"):format(from))
    local target = id_of[to] or error(("there is no airport %q"):format(to))
    print_reach(tx, from, start)
    print_fewest(tx, from, to, start, target)
    print_busiest(tx, 20)
  end)
end

local directory = argument(1, (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/data")
local path = argument(2)
local scratch <close> = not path and setmetatable({}, {
  __close = function(self)
    os.remove(self.path)
  end,
}) or nil
if scratch then
  local name = os.tmpname()
  os.remove(name) -- a database is made under a name that is free
  scratch.path, path = name, name
end
main(directory, path, argument(3, "LYR"), argument(4, "PBH"))
