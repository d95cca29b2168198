-- SPDX-License-Identifier: MIT
-- A tiny key-value store on the command line: a bucket, and that is all.
--
--   sombra scripts/examples/key_value.lua DB put KEY VALUE | get KEY | delete KEY | list [PREFIX]
local sombra = require "sombra"

local path, command, key, value = ...
local commands = {}

function commands.put(bucket) bucket:put(key, value) end
function commands.get(bucket) print(bucket:get(key) or error("there is no " .. key, 0)) end
function commands.delete(bucket) print(bucket:delete(key) and "deleted" or "was not there") end
function commands.list(bucket)
  for name, text in bucket:scan { prefix = key } do print(name .. "\t" .. text) end
end

if not commands[command] then
  error("usage: sombra key_value.lua DB put KEY VALUE | get KEY | delete KEY | list [PREFIX]", 0)
end
local db <close> = assert(sombra.open(path, { create = true }))
db:write(function(tx) commands[command](tx:bucket("store", { create = true })) end)
