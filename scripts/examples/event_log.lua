-- SPDX-License-Identifier: MIT
-- An event log on the engine lsm: many small writes, kept compressed, read by time. Keys are the time and a number, so
-- that a range of time is a range of keys; what is old goes as one range.
--
--   sombra scripts/examples/event_log.lua DIRECTORY        writes events, then says what is there
--   local log = require("event_log")                       for programs of your own
local sombra = require "sombra"

local log = {}

-- Big-endian: keys sort as times do.
local function key(time, number)
  return string.pack(">I8I4", time, number)
end

function log.open(path)
  return sombra.open(path, {
    create = true,
    engine = "lsm",
    sync = "normal", -- a crash of the machine may take the last tenth of a second
    bottom_codec = "zstd",
    memtable_size = 16 << 20,
  })
end

--- Appends events, each a table with `time` (seconds), in one transaction.
function log.append(db, events)
  db:write(function(tx)
    local bucket, counters = tx:bucket("events", { create = true }), tx:bucket("counters", { create = true })
    local number = counters:get("next") or 0
    for _, event in ipairs(events) do
      bucket:put(key(event.time, number & 0xffffffff), event)
      number = number + 1
    end
    counters:put("next", number)
  end)
end

--- Calls fn(event) for all events with first <= time < last, in order.
function log.read(db, first, last, fn)
  db:read(function(tx)
    for _, event in tx:bucket("events"):scan { ge = key(first, 0), lt = key(last, 0) } do fn(event) end
  end)
end

--- Drops what is older; how many events went.
function log.expire(db, time)
  return db:write(function(tx) return tx:bucket("events"):delete_range { lt = key(time, 0) } end)
end

if ... == "event_log" then return log end

local path = assert((...), "usage: event_log.lua DIRECTORY")
local db <close> = assert(log.open(path))
local begun = 1700000000
for minute = 0, 59 do
  local events = {}
  for second = 0, 59 do
    local time = begun + minute * 60 + second
    for sensor = 1, 5 do
      events[#events + 1] = { time = time, sensor = "sensor " .. sensor, celsius = 20 + (second + sensor) % 7 / 2 }
    end
  end
  log.append(db, events)
end
local count, warmest = 0, 0
log.read(db, begun + 600, begun + 660, function(event)
  count, warmest = count + 1, math.max(warmest, event.celsius)
end)
print(("one minute: %d events, at most %.1f degrees"):format(count, warmest))
print(("expired: %d"):format(log.expire(db, begun + 1800)))
db:compact()
local stats = db:stats()
local last = stats.levels[#stats.levels]
print(("left: %d entries, fewer than %d bytes each"):format(last.entries, last.bytes // last.entries + 1))
