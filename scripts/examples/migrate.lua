-- SPDX-License-Identifier: MIT
-- A set of migrations: what there is to do, a dry run, the run, and one step back.
--
--   sombra scripts/examples/migrate.lua [DIRECTORY [DB]]     default: the directory `migrations` beside this file
local sombra = require "sombra"

local directory, path = ...
directory = directory or arg[0]:gsub("[^/]*$", "") .. "migrations"
local db <close> = assert(sombra.open(path or ":memory:", { create = true }))

local function show(what, steps)
  local words = {}
  for i, step in ipairs(steps) do
    words[i] = ("%s %d %s"):format(step.direction or step.state, step.number, step.name)
  end
  print(what .. ": " .. (#words > 0 and table.concat(words, ", ") or "nothing"))
end

show("state", db:migrations(directory))
show("would run", db:migrate(directory, { dry_run = true }))
show("ran", db:migrate(directory, { to = 2 }))
show("undone", db:migrate(directory, { to = 1 }))
show("ran", db:migrate(directory))
show("ran", db:migrate(directory))
db:read(function(tx)
  for _, index in ipairs(db:schema().indexes) do
    print(("index on %s(%s): %d"):format(index.label, table.concat(index.properties, ", "), index.entries))
  end
  print(tx:count("Person") .. " people")
end)
