-- SPDX-License-Identifier: MIT
-- A configuration store with history: settings in a bucket, each change kept under its revision, and a stored procedure
-- that refuses what does not fit the setting's rule, whichever program sets it.
--
--   sombra scripts/examples/config_store.lua [DB]
local sombra = require "sombra"

local set = [[
local rules = {
  port = function(v) return math.type(v) == "integer" and v > 0 and v < 65536, "a port number" end,
  log_level = function(v) return v == "debug" or v == "info" or v == "error", "debug, info or error" end,
}
return {
  name = "config.set", mode = "write", doc = "changes one setting; returns the revision",
  params = { { "name", "string" }, { "value", "any" }, { "by", "string" } },
  run = function(tx, p)
    local fits, expected = true, nil
    if rules[p.name] then fits, expected = rules[p.name](p.value) end
    if not fits then return nil, p.name .. " must be " .. expected end
    local settings = tx:bucket("settings", { create = true })
    local history = tx:bucket("history", { create = true })
    local revision = history:count() + 1
    local old = settings:get(p.name)
    history:put(revision, { name = p.name, by = p.by, old = old, new = p.value })
    settings:put(p.name, p.value)
    return revision
  end,
}]]

local db <close> = assert(sombra.open((...) or ":memory:", { create = true }))
db:define(set)

for _, change in ipairs {
  { name = "port", value = 8080, by = "ada" },
  { name = "log_level", value = "info", by = "ada" },
  { name = "port", value = 80000, by = "bob" },
  { name = "port", value = 9090, by = "bob" },
} do
  local revision, why = db:call("config.set", change)
  print(("%s = %s: %s"):format(change.name, change.value, revision and "revision " .. revision or why))
end

db:read(function(tx)
  for name, value in tx:bucket("settings"):scan() do print(name, value) end
  for revision, change in tx:bucket("history"):scan() do
    print(revision, change.by, change.name, change.old or "-", change.new)
  end
end)
