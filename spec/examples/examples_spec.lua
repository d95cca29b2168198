-- SPDX-License-Identifier: MIT
-- Each example as its reader would run it.
local helper = require "spec.helper"
local run = require "spec.host.run"
local sombra = require "sombra"

local function example(name, ...)
  local result = run.host { "scripts/examples/" .. name .. ".lua", ... }
  assert.equal(0, result.code, result.err)
  return result.out
end

local function lines(...)
  return table.concat({ ... }, "\n") .. "\n"
end

describe("the example", function()
  it("key_value keeps what it is given", function()
    local path = helper.path()
    assert.equal("", example("key_value", path, "put", "city", "Paris"))
    example("key_value", path, "put", "cite", "proof")
    example("key_value", path, "put", "town", "Ulm")
    assert.equal("Paris\n", example("key_value", path, "get", "city"))
    assert.equal("cite\tproof\ncity\tParis\n", example("key_value", path, "list", "cit"))
    assert.equal("deleted\n", example("key_value", path, "delete", "city"))
    assert.equal("was not there\n", example("key_value", path, "delete", "city"))
    local missing = run.host { "scripts/examples/key_value.lua", path, "get", "city" }
    assert.same({ 1, "" }, { missing.code, missing.out })
    assert.truthy(missing.err:find("there is no city", 1, true))
    helper.remove(path)
  end)

  it("job_queue gives a job to one worker, and again when its lease ran out", function()
    assert.equal(lines("1\twash", "2\trinse", "3\tdry", "0 left"), example "job_queue")
    local queue = assert(loadfile "scripts/examples/job_queue.lua")("job_queue")
    local db <close> = assert(sombra.open(":memory:"))
    assert.equal(0, queue.length(db))
    assert.is_nil(queue.take(db, 10, 100))
    queue.push(db, "a")
    queue.push(db, "b")
    assert.same({ 1, "a", 1 }, { queue.take(db, 10, 100) })
    assert.same({ 2, "b", 1 }, { queue.take(db, 10, 105) })
    assert.is_nil(queue.take(db, 10, 109))
    assert.same({ 1, "a", 2 }, { queue.take(db, 10, 110) })
    assert.is_true(queue.done(db, 1))
    assert.is_false(queue.done(db, 1))
    assert.equal(1, queue.length(db))
    assert.equal(3, queue.push(db, "c")) -- numbers are not used again
  end)

  it("config_store refuses what does not fit, and keeps a history", function()
    assert.equal(lines("port = 8080: revision 1", "log_level = info: revision 2",
      "port = 80000: port must be a port number", "port = 9090: revision 3", "log_level\tinfo", "port\t9090",
      "1\tada\tport\t-\t8080", "2\tada\tlog_level\t-\tinfo", "3\tbob\tport\t8080\t9090"), example "config_store")
  end)

  it("social suggests friends of friends, and nobody knows themselves", function()
    local refused = "on create of KNOWS 9: trigger 'other_people' refused it: nobody knows themselves"
    assert.equal(lines("Dan: 2 in common", "Eve: 1 in common", "Fay: 1 in common", refused), example "social")
    assert.equal(lines("Bob: 1 in common", "Cleo: 1 in common", "Eve: 1 in common", refused), example("social", "Gil"))
  end)

  it("recommend streams what others bought", function()
    assert.equal(lines("pot    1.00", "honey  0.83", "cake   0.33"), example "recommend")
    assert.equal(lines("tea    0.33", "cups   0.33", "honey  0.33"), example("recommend", "Eve"))
  end)

  it("dependencies builds in an order and refuses a cycle", function()
    local out = example "dependencies"
    local place, i = {}, 0
    for name in out:match("build: ([^\n]+)"):gmatch("%S+") do
      i = i + 1
      place[name] = i
    end
    assert.equal(6, i)
    for _, pair in ipairs { { "base", "net" }, { "base", "fonts" }, { "fonts", "ui" }, { "ui", "app" },
      { "net", "app" }, { "app", "tests" } } do
      assert.is_true(place[pair[1]] < place[pair[2]])
    end
    assert.truthy(out:find("fonts changed: app tests ui\n", 1, true))
    assert.truthy(out:find "refused: base %-> tests %-> app %-> %a+ %-> base\n")
  end)

  it("event_log reads a minute, drops what is old and is compressed", function()
    local path = helper.path()
    local out = example("event_log", path)
    assert.truthy(out:find(lines("one minute: 300 events, at most 23.0 degrees", "expired: 9000"), 1, true), out)
    local left, bytes = out:match "\nleft: (%d+) entries, fewer than (%d+) bytes each\n$"
    assert.equal(9000, math.tointeger(left) // 100 * 100)
    assert.is_true(math.tointeger(bytes) < 16) -- a key alone has 12 bytes and more
    helper.remove(path)
  end)

  it("migrate goes up, back and up again", function()
    assert.equal(lines("state: pending 1 people, pending 2 first_people, pending 3 family_names",
      "would run: up 1 people, up 2 first_people, up 3 family_names", "ran: up 1 people, up 2 first_people",
      "undone: down 2 first_people", "ran: up 2 first_people, up 3 family_names", "ran: nothing",
      "index on Person(email): 2", "index on Person(family, given): 2", "2 people"), example "migrate")
  end)
end)
