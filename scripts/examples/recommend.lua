-- SPDX-License-Identifier: MIT
-- A stored recommendation: what others bought who bought what you bought, weighted so that a buyer of everything says
-- little. It streams: the loop takes as many rows as it wants, and the procedure goes no further.
--
--   sombra scripts/examples/recommend.lua [NAME]
local sombra = require "sombra"

local recommend = [[return {
  name = "recommend", params = { { "buyer", "node" } }, doc = "emits {name, score}, best first",
  limits = { time = 0.5 },
  run = function(tx, p)
    local mine, scores = {}, {}
    for item in tx:out(p.buyer, "BOUGHT") do mine[item] = true end
    for item in pairs(mine) do
      for other in tx:into(item, "BOUGHT") do
        local weight = 1 / tx:degree(other, "out", "BOUGHT")
        for candidate in tx:out(other, "BOUGHT") do
          if not mine[candidate] then scores[candidate] = (scores[candidate] or 0) + weight end
        end
      end
    end
    local order = {}
    for item in pairs(scores) do order[#order + 1] = item end
    table.sort(order, function(a, b)
      if scores[a] ~= scores[b] then return scores[a] > scores[b] end
      return a < b
    end)
    for _, item in ipairs(order) do emit { name = tx:get(item, "name"), score = scores[item] } end
  end,
}]]

local bought = {
  { "Ada", "tea", "cups" }, { "Bob", "tea", "honey" }, { "Cleo", "tea", "cups", "pot" },
  { "Dan", "tea", "cups", "pot", "honey", "cake", "knife" }, { "Eve", "cake", "knife" },
}

local db <close> = assert(sombra.open(":memory:", { create = true }))
db:define(recommend)
db:write(function(tx)
  tx:create_index("Buyer", "name", { unique = true })
  tx:create_index("Item", "name", { unique = true })
  for _, row in ipairs(bought) do
    local buyer = tx:upsert("Buyer", { name = row[1] })
    for i = 2, #row do tx:link_upsert(buyer, "BOUGHT", (tx:upsert("Item", { name = row[i] }))) end
  end
end)

local name = (...) or "Ada"
local buyer = db:read(function(tx) return tx:find("Buyer", "name", name) end) or error("who is " .. name .. "?", 0)
local shown = 0
for row in db:stream("recommend", { buyer }) do
  print(("%-6s %.2f"):format(row.name, row.score))
  shown = shown + 1
  if shown == 3 then break end
end
