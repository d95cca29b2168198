-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

describe("db:metrics", function()
  local db, path

  before_each(function()
    path = helper.path()
    db = assert(sombra.open(path, { create = true }))
  end)
  after_each(function()
    db:close()
    helper.remove(path)
  end)

  local function write(count)
    for n = 1, count or 1 do
      db:write(function(tx) tx:bucket("b", { create = true }):put(n, "value") end)
    end
  end

  it("counts commits and times the durable ones", function()
    write(3)
    db:write(function(tx) tx:bucket("b"):put(0, "unsynced") end, { sync = "off" })
    local m = db:metrics()
    assert.equal(4, m.counters.commits_total)
    assert.equal(3, m.histograms.commit_seconds.count)
    assert.is_true(m.histograms.commit_seconds.sum > 0)
    assert.is_true(m.counters.commit_bytes_total > 0)
    assert.is_true(m.gauges.file_bytes + m.gauges.log_file_bytes > 0)
    assert.equal("integer", math.type(m.gauges.readers))
    assert.equal(0, m.gauges.refuses_writes)
  end)

  it("has cumulative buckets in seconds", function()
    write(5)
    local commit = db:metrics("table").histograms.commit_seconds
    local before, bound = 0, 0
    for _, bucket in ipairs(commit.buckets) do
      assert.is_true(bucket.count >= before and bucket.le > bound)
      before, bound = bucket.count, bucket.le
    end
    assert.equal(math.huge, bound)
    assert.equal(commit.count, before)
  end)

  it("says the same as text", function()
    write(2)
    local m, text = db:metrics(), db:metrics("prometheus")
    local seen = 0
    for line in text:gmatch("([^\n]*)\n") do
      local name, value = line:match("^sombra_([%w_]+) (%d+)$")
      if m.counters[name] then
        assert.equal(m.counters[name], math.tointeger(value), name)
        seen = seen + 1
      end
    end
    local counters = 0
    for name in pairs(m.counters) do
      assert.matches("_total$", name)
      counters = counters + 1
    end
    assert.equal(counters, seen)
    assert.matches("# TYPE sombra_commit_seconds histogram\n", text, 1, true)
    assert.matches('sombra_commit_seconds_bucket{le="+Inf"} 2\n', text, 1, true)
    assert.matches('sombra_info{version="' .. sombra._VERSION:match("%S+$"), text, 1, true)
  end)

  it("refuses other formats and a closed database", function()
    assert.error_matches(function() db:metrics("xml") end, "invalid option 'xml'")
    assert.error_matches(function() db:metrics {} end, "string expected")
    db:close()
    assert.error_matches(function() db:metrics() end, "closed")
    assert.error_matches(function() db:on_event(print) end, "closed")
    assert.error_matches(function() db:poll_events() end, "closed")
  end)
end)

describe("db:on_event", function()
  local db, path, heard

  local function hear(event) heard[#heard + 1] = event end

  before_each(function()
    path = helper.path()
    db = assert(sombra.open(path, { create = true }))
    db:write(function(tx) tx:create("L") end)
    heard = {}
  end)
  after_each(function()
    db:close()
    helper.remove(path)
  end)

  local function change_and_checkpoint()
    db:write(function(tx) tx:create("L") end)
    db:checkpoint()
  end

  it("tells when a transaction has ended, not before", function()
    db:on_event(hear)
    change_and_checkpoint()
    assert.equal(0, #heard)
    db:read(function() assert.equal(0, #heard) end)
    assert.equal(1, #heard)
    assert.equal(helper.engine == "btree" and "checkpoint" or "flush", heard[1].kind)
    assert.is_true(heard[1].duration > 0)
    assert.equal("string", type(heard[1].text))
    assert.equal(0, heard[1].dropped)
  end)

  it("tells after tx:commit and tx:rollback, never inside a write transaction", function()
    db:on_event(hear)
    change_and_checkpoint()
    local tx = db:begin("write")
    db:read(function() end)
    assert.equal(0, #heard)
    tx:rollback()
    assert.equal(1, #heard)
    change_and_checkpoint()
    tx = db:begin("read")
    tx:commit()
    assert.equal(2, #heard)
  end)

  it("tells in poll_events and in metrics", function()
    db:on_event(hear)
    change_and_checkpoint()
    assert.equal(1, db:poll_events())
    assert.equal(0, db:poll_events())
    change_and_checkpoint()
    db:metrics()
    assert.equal(2, #heard)
  end)

  it("keeps the results of the transaction", function()
    db:on_event(hear)
    change_and_checkpoint()
    assert.same({ 1, nil, 3 }, { db:read(function() return 1, nil, 3 end) })
    change_and_checkpoint()
    assert.same({ "a", "b" }, { coroutine.wrap(function() return db:write(function() return "a", "b" end) end)() })
    assert.equal(2, #heard)
  end)

  it("lets the handler use the database, without end", function()
    db:on_event(function(event)
      hear(event)
      db:write(function(tx) tx:create("Event") end)
      if #heard < 1000 then
        db:checkpoint()
      end
    end)
    change_and_checkpoint()
    db:poll_events()
    assert.equal(64, #heard)
    db:on_event(nil)
  end)

  it("lets the handler close the database", function()
    db:on_event(function() db:close() end)
    change_and_checkpoint()
    assert.equal(5, db:read(function() return 5 end))
    assert.error_matches(function() db:stats() end, "closed")
  end)

  it("survives errors of the handler", function()
    db:on_event(function() error("in the handler") end)
    change_and_checkpoint()
    assert.equal(7, db:write(function() return 7 end))
    change_and_checkpoint()
    assert.error_matches(function() db:poll_events() end, "in the handler")
    change_and_checkpoint()
    assert.equal("table", type(db:metrics()))
    db:on_event(function() coroutine.yield() end)
    change_and_checkpoint()
    coroutine.wrap(function() db:read(function() end) end)()
    assert.equal(0, #db:verify())
  end)

  it("loses the oldest of too many, and says how many", function()
    db:on_event(hear)
    local other = assert(sombra.open(path))
    for _ = 1, 70 do
      other:write(function(tx) tx:create("L") end)
      other:checkpoint()
    end
    assert.equal(64, db:poll_events())
    assert.is_true(heard[1].dropped >= 6)
    assert.equal(0, heard[2].dropped)
    other:close()
  end)

  it("stops with nil", function()
    db:on_event(hear)
    change_and_checkpoint()
    db:on_event(nil)
    change_and_checkpoint()
    assert.equal(0, db:poll_events())
    db:on_event(hear)
    assert.equal(0, db:poll_events())
    change_and_checkpoint()
    assert.equal(1, db:poll_events())
    assert.equal(1, #heard)
    assert.error_matches(function() db:on_event(3) end, "function expected")
  end)

  it("tells of the recovery of a copy that was not closed", function()
    db:write(function(tx) tx:create("L") end) -- the first write of an open may need no log, and so no recovery
    local copy = helper.path()
    helper.copy_files(path, copy)
    local other <close> = assert(sombra.open(copy))
    other:on_event(hear)
    assert.equal(1, other:poll_events())
    assert.equal("recovery", heard[1].kind)
    assert.is_true(heard[1].count > 0)
    assert.equal(1, other:metrics().counters.recoveries_total)
    other:close()
    helper.remove(copy)
  end)
end)
