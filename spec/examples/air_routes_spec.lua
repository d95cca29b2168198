-- SPDX-License-Identifier: MIT
-- The example on its own sample, against answers worked out here from the CSV files without a database; and on the
-- full air routes data, where it is there, against that data's own statistics.
local csv = require("sombra.csv")
local run = require("spec.host.run")
local sombra = require("sombra")

local script = "scripts/examples/air_routes.lua"
local sample = "scripts/examples/data"

-- Sample rows, by code and by pair.
local function read_sample()
  local airports, distances, leads_to = {}, {}, {}
  for row in csv.rows(sample .. "/airports.csv", { convert = { latitude = tonumber, longitude = tonumber } }) do
    assert.is_nil(airports[row.code])
    airports[row.code] = row
    leads_to[row.code] = {}
  end
  for row in csv.rows(sample .. "/routes.csv", { convert = { km = math.tointeger } }) do
    local pair = row.from .. "-" .. row.to
    assert.is_nil(distances[pair])
    distances[pair] = row.km
    table.insert(leads_to[row.from], row.to)
  end
  return airports, distances, leads_to
end

local function great_circle_km(a, b)
  local latitude_a, latitude_b = math.rad(a.latitude), math.rad(b.latitude)
  local across = math.sin((latitude_b - latitude_a) / 2) ^ 2
    + math.cos(latitude_a) * math.cos(latitude_b) * math.sin(math.rad(b.longitude - a.longitude) / 2) ^ 2
  return 2 * 6371.0088 * math.asin(math.sqrt(across))
end

-- Number of fewest-hop ways to each airport and its distance in hops, by relaxing until nothing changes.
local function hops_and_ways(leads_to, start)
  local hops, ways = { [start] = 0 }, { [start] = 1 }
  for depth = 0, 20 do
    for from, list in pairs(leads_to) do
      for _, to in ipairs(hops[from] == depth and list or {}) do
        hops[to] = hops[to] or depth + 1
        if hops[to] == depth + 1 then
          ways[to] = (ways[to] or 0) + ways[from]
        end
      end
    end
  end
  return hops, ways
end

-- What the program printed.
local function levels_of(output)
  local levels = {}
  for count in output:match("flights +airports +in all\n(.-)\n  Within"):gmatch("%d+ +([%d,]+) +[%d,]+") do
    levels[#levels + 1] = math.tointeger((count:gsub(",", "")))
  end
  return levels
end

local function fewest_of(output)
  local hops = output:match("fewest flights (%d+)")
  local ways = output:match("as few flights: ([%d,]+)")
  return math.tointeger(hops), ways and math.tointeger((ways:gsub(",", "")))
end

describe("the sample of air routes", function()
  local airports, distances, leads_to = read_sample()

  it("has airports whose coordinates are on the globe", function()
    local count = 0
    for code, airport in pairs(airports) do
      count = count + 1
      assert.matches("^%u%u%u$", code)
      assert.is_true(math.abs(airport.latitude) <= 90 and math.abs(airport.longitude) <= 180, code)
    end
    assert.is_true(count >= 60)
  end)

  it("has every route in both directions, as long as the great circle", function()
    local count = 0
    for pair, km in pairs(distances) do
      count = count + 1
      local from, to = pair:match("(%u+)-(%u+)")
      assert.equal(km, distances[to .. "-" .. from], pair)
      assert.is_true(math.abs(km - great_circle_km(airports[from], airports[to])) <= 0.5001, pair)
    end
    assert.is_true(count >= 300)
  end)

  describe("in the example", function()
    local directory, path

    setup(function()
      directory = run.temporary_directory()
      path = directory .. "/air.sombra"
    end)
    teardown(function()
      run.remove_directory(directory)
    end)

    it("is imported and answered without arguments", function()
      local result = run.host({ script })
      assert.equal("", result.err)
      assert.equal(0, result.code)
      assert.matches("node  airport +92\n", result.out)
      assert.matches("edge  route +1,552\n", result.out)
    end)

    it("is reached as the routes say, from any airport to any other", function()
      local pairs_asked = { { "LYR", "PBH" }, { "HLE", "GOH" }, { "USH", "BRW" }, { "LHR", "JFK" }, { "MPN", "ZQN" } }
      for _, pair in ipairs(pairs_asked) do
        local result = run.host({ script, "-", path, pair[1], pair[2] })
        assert.equal(0, result.code, result.err)
        local hops, ways = hops_and_ways(leads_to, pair[1])
        local expected = {}
        for _, depth in pairs(hops) do
          expected[depth + 1] = (expected[depth + 1] or 0) + 1
        end
        assert.same(expected, levels_of(result.out))
        assert.same({ hops[pair[2]], ways[pair[2]] }, { fewest_of(result.out) })
      end
    end)

    it("prints a way that flies only routes there are, and its length", function()
      local out = run.host({ script, "-", path, "MPN", "ZQN" }).out
      local stops, total = {}, 0
      for code in out:match("stop +place +km\n(.-)\n  Ways"):gmatch("  (%u%u%u) ") do
        stops[#stops + 1] = code
      end
      for index = 2, #stops do
        total = total + assert(distances[stops[index - 1] .. "-" .. stops[index]])
      end
      assert.equal("MPN", stops[1])
      assert.equal("ZQN", stops[#stops])
      local printed = out:match("This one is ([%d,]+) km"):gsub(",", "")
      assert.equal(total, math.tointeger(printed))
    end)

    it("is imported once into a file that is kept", function()
      assert.matches("^The database holds the data already", run.host({ script, "-", path }).out)
    end)

    it("has the busiest airport that the routes say", function()
      local busiest
      for code, list in pairs(leads_to) do
        if not busiest or #list > #leads_to[busiest] then
          busiest = code
        end
      end
      local out = run.host({ script, "-", path }).out
      local rank, code, count = out:match("rank  code[^\n]*\n +(%d+)  (%u+) +.- +(%d+) ")
      assert.same({ "1", busiest, tostring(2 * #leads_to[busiest]) }, { rank, code, count })
    end)

    it("keeps every property", function()
      local db <close> = assert(sombra.open(path))
      db:read(function(tx)
        local count = 0
        for id in tx:nodes("airport") do
          local node = tx:node(id)
          assert.same(airports[node.props.code], node.props)
          for to, edge in tx:out(id, "route") do
            count = count + 1
            assert.equal(distances[node.props.code .. "-" .. tx:get(to, "code")], tx:edge_get(edge, "km"))
          end
        end
        assert.equal(1552, count)
      end)
    end)

    it("names an airport that is not there", function()
      local result = run.host({ script, "-", path, "XXX" })
      assert.equal(1, result.code)
      assert.matches('there is no airport "XXX"', result.err)
    end)

    it("leaves nothing of an import that failed", function()
      local data, broken = directory .. "/data", directory .. "/broken.sombra"
      run.shell(("cp -r %s %s && echo LHR,XXX,1 >>%s/routes.csv"):format(sample, data, data))
      local result = run.host({ script, data, broken })
      assert.equal(1, result.code)
      assert.matches('routes.csv:1554: no airport "XXX"', result.err)
      local db <close> = assert(sombra.open(broken))
      db:read(function(tx)
        assert.equal(0, tx:count())
        assert.equal(0, tx:count_edges())
      end)
    end)

    it("leaves nothing of an import that Ctrl-C ended, and exits with 130", function()
      local data, fifo, target = directory .. "/slow", directory .. "/slow/routes.csv", directory .. "/slow.sombra"
      run.shell(("mkdir %s && cp %s/airports.csv %s && mkfifo %s"):format(data, sample, data, fifo))
      -- The import reads routes from a pipe, so it stands in the middle of its transaction when the signal comes.
      local output, code = run.shell(([[
        %s %s %s %s 2>&1 & child=$!
        exec 3>%s; echo from,to,km >&3; echo LHR,JFK,5540 >&3; kill -INT $child; wait $child]])
        :format(run.absolute_binary(), script, data, target, fifo))
      assert.equal(130, code)
      assert.matches("interrupted!", output)
      local db <close> = assert(sombra.open(target))
      db:read(function(tx)
        assert.equal(0, tx:count())
      end)
    end)
  end)
end)

describe("the full air routes data", function()
  local shared = os.getenv("SOMBRA_SHARED") or "../shared/data"
  local data = shared .. "/air-routes"
  local probe = io.open(data .. "/air-routes-latest-nodes.csv")
  if not probe then
    pending("is not here: set SOMBRA_SHARED to the directory that has air-routes/")
    return
  end
  probe:close()

  local directory, path

  setup(function()
    directory = run.temporary_directory()
    path = directory .. "/full.sombra"
  end)
  teardown(function()
    run.remove_directory(directory)
  end)

  it("is imported whole, in one transaction", function()
    local result = run.host({ script, data, path, "AAA", "LHR" })
    assert.equal("", result.err)
    assert.equal(0, result.code)
    local db <close> = assert(sombra.open(path))
    db:read(function(tx)
      assert.equal(3749, tx:count())
      assert.equal(3504, tx:count("airport"))
      assert.equal(237, tx:count("country"))
      assert.equal(7, tx:count("continent"))
      assert.equal(1, tx:count("version"))
      assert.equal(57645, tx:count_edges())
      assert.equal(50637, tx:count_edges("route"))
      assert.equal(7008, tx:count_edges("contains"))
    end)
  end)

  it("is reached from AAA level by level as the reference says", function()
    local reference = run.read_file(shared .. "/air-routes.json")
    local expected = {}
    for count in reference:match('"bfs": %[(.-)%]'):gmatch("%d+") do
      expected[#expected + 1] = math.tointeger(count)
    end
    assert.equal(10, #expected)
    assert.same(expected, levels_of(run.host({ script, data, path, "AAA", "LHR" }).out))
  end)

  it("has the degrees of the author's own statistics", function()
    local statistics = run.read_file(data .. "/statistics-upstream.txt")
    local db <close> = assert(sombra.open(path))
    db:read(function(tx)
      local id_of, out_max = {}, 0
      for id in tx:nodes("airport") do
        id_of[tx:get(id, "code")] = id
        out_max = math.max(out_max, tx:degree(id, "out", "route"))
      end
      assert.equal(310, out_max)
      local checked = 0
      for code, total, out, into in statistics:gmatch("%d+%s+%d+%s+(%u%u%u)%s+%((%d+)%)%s+out:(%d+) in:(%d+)") do
        local id = id_of[code]
        local degrees = {}
        for index, direction in ipairs({ "both", "out", "into" }) do
          degrees[index] = tx:degree(id, direction, "route")
        end
        assert.same({ tonumber(total), tonumber(out), tonumber(into) }, degrees, code)
        checked = checked + 1
      end
      assert.equal(50, checked)
    end)
  end)

  it("gives the fewest hops, and the number of such paths, of the reference", function()
    local checked = 0
    local numbers = { fewest_hops = math.tointeger, number_of_fewest_hop_paths = math.tointeger }
    for row in csv.rows(shared .. "/air-routes-paths.csv", { convert = numbers }) do
      local result = run.host({ script, data, path, row.from, row.to })
      assert.equal(0, result.code, result.err)
      assert.same({ row.fewest_hops, row.number_of_fewest_hop_paths }, { fewest_of(result.out) }, row.from .. row.to)
      checked = checked + 1
    end
    assert.equal(15, checked)
  end)
end)
