-- SPDX-License-Identifier: MIT
-- A dependency graph: an order to build in, what a change touches, and a trigger that refuses whatever would close a
-- cycle, so that there always is an order.
--
--   sombra scripts/examples/dependencies.lua
local sombra = require "sombra"

local no_cycles = [[return { name = "no_cycles", doc = "refuses an edge that closes a cycle", run = function(tx, change)
  local edge = tx:edge(change.id)
  if not edge then return end -- deleted again
  local way = edge.src == edge.dst and { nodes = { edge.src } }
    or tx:from(edge.dst):repeat_out("NEEDS", { max = 1000000 }):to(edge.src):shortest()
  if not way then return end
  local names = {}
  for i, node in ipairs(way.nodes) do names[i] = tx:get(node, "name") end
  return nil, ("%s -> %s"):format(tx:get(edge.src, "name"), table.concat(names, " -> "))
end }]]

local needs = {
  { "app", "ui", "net" }, { "ui", "fonts", "base" }, { "net", "base" }, { "fonts", "base" }, { "tests", "app" },
}

local db <close> = assert(sombra.open(":memory:", { create = true }))
db:define(no_cycles)

local function unit(tx, name) return (tx:upsert("Unit", { name = name })) end

db:write(function(tx)
  tx:create_index("Unit", "name", { unique = true })
  tx:create_trigger("NEEDS", "no_cycles", { edge = true, on = "create" })
  for _, row in ipairs(needs) do
    for i = 2, #row do tx:link(unit(tx, row[1]), "NEEDS", unit(tx, row[i])) end
  end
end)

local function names(tx, ids)
  local list = {}
  for i, id in ipairs(ids) do list[i] = tx:get(id, "name") end
  return list
end

db:read(function(tx)
  local order = names(tx, tx:topological { types = "NEEDS" }:ids()) -- who needs comes first
  local build = {}
  for i = #order, 1, -1 do build[#build + 1] = order[i] end
  print("build: " .. table.concat(build, " "))
  local touched = names(tx, tx:from(tx:find("Unit", "name", "fonts")):repeat_into("NEEDS", { max = 1000000 }):ids())
  table.sort(touched)
  print("fonts changed: " .. table.concat(touched, " "))
end)

local ok, err = pcall(db.write, db, function(tx) tx:link(unit(tx, "base"), "NEEDS", unit(tx, "tests")) end)
print(ok and "linked" or "refused: " .. err.message:match("refused it: (.*)"))
