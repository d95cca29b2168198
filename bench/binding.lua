-- SPDX-License-Identifier: MIT
-- What the binding costs: the loops of bench/binding.c from Lua, beside it.
--
--   sombra bench/binding.lua BINDING_PROGRAM [rounds]
--
-- A figure is the least of the rounds, CPU nanoseconds an operation. The sums of both must agree.

local sombra = require "sombra"

local program, rounds = arg[1], tonumber(arg[2] or 5)
assert(program, "usage: sombra bench/binding.lua BINDING_PROGRAM [rounds]")

local NODES, EDGES, OPERATIONS, WALKS = 10000, 50000, 200000, 20000
local db <close> = assert(sombra.open(":memory:", { create = true }))

local function fill(tx)
  for i = 0, NODES - 1 do
    tx:create("Person", { age = i % 80, city = "Wien", id = i, name = "user" .. i, score = i / 4 })
  end
  for i = 0, EDGES - 1 do
    tx:link(1 + i % NODES, "KNOWS", 1 + (13 * i + 7) % NODES)
  end
  local bucket = tx:bucket("bench", { create = true })
  for i = 0, NODES - 1 do
    bucket:put(i, ("value%015d"):format(i))
  end
end

local function empty_reads()
  local function nothing() end
  for _ = 1, OPERATIONS do
    db:read(nothing)
  end
  return 0
end

local function property(tx)
  local sum = 0
  for i = 0, OPERATIONS - 1 do
    sum = sum + tx:get(1 + i * 7919 % NODES, "age")
  end
  return sum
end

local function whole_node(tx)
  local sum = 0
  for i = 0, OPERATIONS - 1 do
    local props = tx:node(1 + i * 7919 % NODES).props
    sum = sum + props.age + props.id
  end
  return sum
end

local function neighbours(tx)
  local sum = 0
  for i = 0, WALKS - 1 do
    for node in tx:out(1 + i * 7919 % NODES) do
      sum = sum + node
    end
  end
  return sum
end

local function bucket_get(tx)
  local bucket, sum = tx:bucket "bench", 0
  for i = 0, OPERATIONS - 1 do
    sum = sum + #bucket:get(i * 7919 % NODES)
  end
  return sum
end

local function set(tx)
  for i = 0, OPERATIONS - 1 do
    tx:set(1 + i * 7919 % NODES, { age = i % 80 })
  end
  return OPERATIONS
end

local function bucket_put(tx)
  local bucket = tx:bucket "bench"
  for i = 0, OPERATIONS - 1 do
    bucket:put(i * 7919 % NODES, ("value%015d"):format(i))
  end
  return OPERATIONS
end

local loops = {
  { "empty read transaction", empty_reads, OPERATIONS },
  { "one property", property, OPERATIONS, "read" },
  { "all properties of a node", whole_node, OPERATIONS, "read" },
  { "neighbours, 5 a node", neighbours, WALKS * 5, "read" },
  { "bucket get", bucket_get, OPERATIONS, "read" },
  { "set a property", set, OPERATIONS, "write" },
  { "bucket put", bucket_put, OPERATIONS, "write" },
}

local function measure(run, operations, mode)
  local least, sum = math.huge, nil
  for _ = 1, rounds do
    collectgarbage()
    local begun = os.clock()
    sum = mode and db[mode](db, run) or run()
    least = math.min(least, (os.clock() - begun) * 1e9 / operations)
  end
  return least, sum
end

local of_c = {}
local pipe <close> = assert(io.popen(("'%s' %d"):format(program, rounds)))
for line in pipe:lines() do
  local name, ns, sum = line:match "^(.-)\t(.-)\t(%d+)$"
  of_c[name] = { ns = tonumber(ns), sum = math.tointeger(sum) }
end

db:write(fill)
print "| CPU ns an operation      |     C |   Lua | Lua - C |"
print "|--------------------------|------:|------:|--------:|"
for _, loop in ipairs(loops) do
  local name, run, operations, mode = table.unpack(loop)
  local ns, sum = measure(run, operations, mode)
  local c = assert(of_c[name], program .. " has not measured: " .. name)
  assert(c.sum == sum, name .. ": C and Lua saw different data")
  print(("| %-24s | %5.0f | %5.0f | %7.0f |"):format(name, c.ns, ns, ns - c.ns))
end
