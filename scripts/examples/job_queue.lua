-- SPDX-License-Identifier: MIT
-- A job queue for any number of processes: jobs wait in a bucket under growing numbers, a worker takes the oldest one
-- with a lease, and a job whose lease ran out (its worker died) is taken again.
--
--   sombra scripts/examples/job_queue.lua [DB]        puts three jobs in and works them off
--   local queue = require("job_queue")                for programs of your own
local sombra = require "sombra"

local queue = {}

--- Puts a job (any value) in; its number.
function queue.push(db, job)
  return db:write(function(tx)
    local jobs = tx:bucket("jobs", { create = true })
    local counters = tx:bucket("counters", { create = true })
    local number = (counters:get("jobs") or 0) + 1
    counters:put("jobs", number)
    jobs:put(number, { job = job, tries = 0, due = 0 })
    return number
  end)
end

--- Takes the oldest job that is due: its number, the job, how often it was tried; nil if there is none. Others may have
--- it after `lease` seconds unless it is done by then.
function queue.take(db, lease, now)
  now = now or os.time()
  return db:write(function(tx)
    local jobs = tx:bucket("jobs", { create = true })
    for number, entry in jobs:scan() do
      if entry.due <= now then
        entry.due, entry.tries = now + lease, entry.tries + 1
        jobs:put(number, entry)
        return number, entry.job, entry.tries
      end
    end
  end)
end

--- The job is done: whether it was still there.
function queue.done(db, number)
  return db:write(function(tx) return tx:bucket("jobs"):delete(number) end)
end

--- How many wait or are being worked on.
function queue.length(db)
  return db:read(function(tx)
    local jobs = tx:bucket("jobs")
    return jobs and jobs:count() or 0
  end)
end

if ... == "job_queue" then return queue end

local db <close> = assert(sombra.open((...) or ":memory:", { create = true }))
for _, name in ipairs { "wash", "rinse", "dry" } do queue.push(db, { what = name }) end
local number, job = queue.take(db, 60)
while number do
  print(number, job.what)
  queue.done(db, number)
  number, job = queue.take(db, 60)
end
print(queue.length(db) .. " left")
