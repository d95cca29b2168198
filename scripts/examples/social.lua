-- SPDX-License-Identifier: MIT
-- A social graph with a stored "people you may know": friends of friends by the number of friends in common, found by
-- one traversal that runs in C, and a trigger that keeps anybody from knowing themselves.
--
--   sombra scripts/examples/social.lua [NAME]
local sombra = require "sombra"

local suggest = [[return {
  name = "suggest", doc = "people you may know: {name, common} by friends in common",
  params = { { "person", "node" }, { "limit", "integer", default = 5 } },
  run = function(tx, p)
    local known = tx:from(p.person):both("KNOWS"):ids()
    known[#known + 1] = p.person
    return tx:from(p.person):both("KNOWS"):both("KNOWS"):except(known)
      :group({ "name" }, { common = "count" }):order("-common", "name"):limit(p.limit):list()
  end,
}]]

local other_people = [[return { name = "other_people", run = function(tx, change)
  local edge = tx:edge(change.id)
  if edge and edge.src == edge.dst then return nil, "nobody knows themselves" end
end }]]

local friends = {
  Ada = { "Bob", "Cleo" }, Bob = { "Dan", "Eve" }, Cleo = { "Dan", "Fay" }, Dan = { "Gil" }, Eve = { "Dan" },
}

local db <close> = assert(sombra.open(":memory:", { create = true }))
db:define(suggest)
db:define(other_people)
db:write(function(tx)
  tx:create_index("Person", "name", { unique = true })
  tx:create_trigger("KNOWS", "other_people", { edge = true, on = "create" })
  for name, others in pairs(friends) do
    local person = tx:upsert("Person", { name = name })
    for _, other in ipairs(others) do
      tx:link(person, "KNOWS", (tx:upsert("Person", { name = other })))
    end
  end
end)

local name = (...) or "Ada"
local person = db:read(function(tx) return tx:find("Person", "name", name) end) or error("who is " .. name .. "?", 0)
for _, row in ipairs(db:call("suggest", { person })) do
  print(("%s: %d in common"):format(row.name, row.common))
end
print(select(2, pcall(db.write, db, function(tx) tx:link(person, "KNOWS", person) end)).message)
