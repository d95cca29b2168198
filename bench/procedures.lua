-- SPDX-License-Identifier: MIT
-- What stored procedures cost: a call, reads in one, rows of a stream, and the limits on code of three kinds.
--   build/release/sombra bench/procedures.lua [seconds for each figure, default 0.5]
local sombra = require "sombra"

local seconds = tonumber(arg and arg[1]) or 0.5
local db <close> = assert(sombra.open(":memory:", { create = true }))

-- Runs fn(count) with growing counts until it takes long enough; microseconds for each.
local function measure(fn)
  local count = 1
  while true do
    local begun = os.clock()
    fn(count)
    local taken = os.clock() - begun
    if taken >= seconds then return taken / count * 1e6 end
    count = taken < seconds / 100 and count * 10 or math.ceil(count * seconds * 1.2 / taken)
  end
end

local function report(what, us, note)
  print(("%-34s %10.2f us%s"):format(what, us, note and "  " .. note or ""))
end

local kinds = {
  numbers = "local n = 0 for i = 1, 100000 do n = n + i % 7 * 3 end return n",
  calls = "local function f(n) if n < 2 then return n end return f(n - 1) + f(n - 2) end return f(20)",
  ["strings and tables"] = [[
    local t = {}
    for i = 1, 5000 do t[i] = ("%d:%s"):format(i, ("x"):rep(i % 9)) end
    table.sort(t)
    local s = table.concat(t, ",")
    local n = 0
    for word in s:gmatch("%d+") do n = n + #word end
    return n]],
}

local ids = db:write(function(tx)
  local first, count = tx:create_many("N", (function()
    local list = {}
    for i = 1, 1000 do list[i] = { n = i } end
    return list
  end)())
  return { first = first, count = count }
end)

db:define [[return { name = "empty", run = function() end }]]
db:define [[return { name = "reads", params = { { "first", "integer" } }, run = function(tx, p)
  local sum = 0
  for i = 0, 9 do sum = sum + tx:get(p.first + i, "n") end
  return sum
end }]]
db:define [[return { name = "scan", params = { { "count", "integer" } }, run = function(tx, p)
  local sum = 0
  for id in tx:nodes("N", { limit = p.count }) do sum = sum + tx:get(id, "n") end
  return sum
end }]]
db:define [[return { name = "rows", params = { { "count", "integer" } }, run = function(tx, p)
  for i = 1, p.count do emit { id = i, name = "a row" } end
end }]]

local function calls(name, args)
  return function(count)
    for _ = 1, count do db:call(name, args) end
  end
end

report("empty db:call", measure(calls "empty"))
db:read(function(tx)
  report("empty tx:call", measure(function(count)
    for _ = 1, count do tx:call("empty") end
  end))
end)
local inside = measure(calls("reads", { ids.first }))
local outside = measure(function(count)
  for _ = 1, count do
    db:read(function(tx)
      local sum = 0
      for i = 0, 9 do sum = sum + tx:get(ids.first + i, "n") end
      return sum
    end)
  end
end)
report("db:call with 10 reads", inside, ("db:read with the same: %.2f us"):format(outside))
report("db:call with a loop over 10 nodes", measure(calls("scan", { 10 })))
report("a row of db:stream", measure(function(count)
  for _ in db:stream("rows", { count }, { time = 1000 }) do end
end))

for _, name in ipairs { "numbers", "calls", "strings and tables" } do
  local id = name:gsub(" ", "_")
  db:define(("return { name = %q, run = function() %s end }"):format(id, kinds[name]))
  local plain = assert(load(kinds[name]))
  local free = measure(function(count)
    for _ = 1, count do plain() end
  end)
  local limited = measure(calls(id))
  report(name .. ", limited", limited, ("plain: %.2f us, x %.2f"):format(free, limited / free))
end
