-- SPDX-License-Identifier: MIT
-- Backup and repair.
local sombra = require "sombra"
local helper = require "spec.helper"

describe("a backup", function()
  local path, copy, db
  before_each(function()
    path, copy = helper.path(), helper.path()
    db = assert(sombra.open(path, { create = true }))
    db:write(function(tx)
      for i = 1, 500 do
        local a, b = tx:create("Person", { number = i }), tx:create("Person", { text = ("x"):rep(i * 10) })
        tx:link(a, "KNOWS", b)
      end
    end)
  end)
  after_each(function()
    db:close()
    helper.remove(path)
    helper.remove(copy)
  end)

  local function expect_copy()
    local saved <close> = assert(sombra.open(copy))
    local problems, count = saved:verify()
    assert.same({}, problems)
    assert.equal(0, count)
    saved:read(function(tx)
      assert.equal(1000, tx:count("Person"))
      assert.equal(500, tx:count_edges("KNOWS"))
      assert.equal(500, tx:get(tx:last()[1] - 1, "number"))
    end)
  end

  it("is the database", function()
    assert.is_true(db:backup(copy))
    expect_copy()
    assert.equal(1000, db:read(function(tx) return tx:count() end))
  end)

  it("saves a database without a file", function()
    local memory <close> = helper.memory()
    memory:write(function(tx) tx:create("L") end)
    assert.is_true(memory:backup(copy))
    local saved <close> = assert(sombra.open(copy))
    assert.equal(1, saved:read(function(tx) return tx:count("L") end))
  end)

  it("reports progress to the end", function()
    local calls, last = 0, -1
    assert.is_true(db:backup(copy, {
      progress = function(done, total)
        assert(done >= last and done <= total and (total == db:stats().entries or not db:stats().entries_exact))
        calls, last = calls + 1, done
      end,
    }))
    if db:stats().entries_exact then assert.equal(db:stats().entries, last) end
    assert.is_true(calls > 5)
    expect_copy()
  end)

  it("is one snapshot, whatever is written meanwhile", function()
    assert.is_true(db:backup(copy, {
      progress = function() db:write(function(tx) tx:create("Person") end) end,
    }))
    expect_copy()
    assert.is_true(db:read(function(tx) return tx:count() end) > 1000)
  end)

  it("is cancelled by false and leaves nothing", function()
    local ok, err = db:backup(copy, { progress = function(done) return done < 300 end })
    assert.is_nil(ok)
    assert.equal("cancelled", err.code)
    assert.is_false(helper.exists(copy))
    assert.is_true(db:backup(copy))
  end)

  it("raises what its progress function raises, and leaves nothing", function()
    local reason = {}
    local ok, err = pcall(db.backup, db, copy, { progress = function() error(reason) end })
    assert.is_false(ok)
    assert.equal(reason, err)
    assert.is_false(helper.exists(copy))
    helper.misuse("yield", coroutine.wrap(function() db:backup(copy, { progress = coroutine.yield }) end))
    assert.equal(0, db:stats().readers)
    assert.is_true(db:backup(copy))
  end)

  it("cannot close what it copies", function()
    local told
    assert.is_true(db:backup(copy, {
      progress = function() told = select(2, pcall(db.close, db)) end,
    }))
    assert.truthy(told:find("cannot be closed", 1, true))
    assert.equal(1000, db:read(function(tx) return tx:count() end))
    expect_copy()
  end)

  it("never replaces a file", function()
    assert.is_true(db:backup(copy))
    for _, at in ipairs { copy, path } do
      local ok, err = db:backup(at)
      assert.is_nil(ok)
      assert.equal("exists", err.code)
    end
    expect_copy()
  end)

  it("checks its arguments", function()
    helper.misuse("string expected", db.backup, db)
    helper.misuse("string expected", db.backup, db, 7)
    helper.misuse("the path is empty", db.backup, db, "")
    helper.misuse("zero byte", db.backup, db, "a\0b")
    helper.misuse("option 'progress'", db.backup, db, copy, { progress = true })
    helper.misuse("unknown option", db.backup, db, copy, { limit = 1 })
    db:close()
    helper.misuse("the database is closed", db.backup, db, copy)
  end)
end)

helper.on("btree", "describe", "a repair", "pages are damaged", function()
  local path, to
  before_each(function()
    path, to = helper.path(), helper.path()
    local db <close> = assert(sombra.open(path, { create = true, page_size = 4096 }))
    db:write(function(tx)
      local first = tx:create("Person", { name = "first" })
      for i = 1, 2000 do
        local node = tx:create("Person", { number = i })
        tx:link(first, "KNOWS", node)
      end
    end)
  end)
  after_each(function()
    helper.remove(path)
    helper.remove(to)
  end)

  local function damage(offset, bytes)
    local file = assert(io.open(path, "r+b"))
    file:seek("set", offset)
    file:write(bytes)
    file:close()
  end

  -- The kind of a page is its byte 14; leaves are 1 and 2.
  local function first_leaf()
    local file = assert(io.open(path, "rb"))
    local bytes = file:read("a")
    file:close()
    for page = 2, #bytes // 4096 - 1 do
      local kind = bytes:byte(page * 4096 + 15)
      if kind == 1 or kind == 2 then return page end
    end
  end

  it("of a sound database is a copy", function()
    local report = assert(sombra.repair(path, to))
    assert.equal(0, report.entries_lost + report.damage + report.damage_left)
    assert.same({}, report.problems)
    assert.is_true(report.lost_exact)
    assert.equal(4096, report.page_size)
    local db <close> = assert(sombra.open(to))
    assert.equal(2001, db:read(function(tx) return tx:count() end))
  end)

  it("finds everything when both meta records are gone", function()
    damage(0, ("\0"):rep(8192))
    assert.is_nil(sombra.open(path))
    local calls = 0
    local report = assert(sombra.repair(path, to, { progress = function() calls = calls + 1 end }))
    assert.is_true(calls > 0)
    assert.is_true(report.damage > 0)
    assert.equal(#report.problems, report.damage)
    assert.equal(0, report.damage_left)
    local db <close> = assert(sombra.open(to))
    db:read(function(tx)
      assert.equal(2001, tx:count())
      assert.equal(2000, tx:degree(1, "out"))
      assert.equal("first", tx:get(1, "name"))
    end)
  end)

  it("says what is lost, and mends what that broke", function()
    local total = assert(sombra.repair(path, to))
    helper.remove(to)
    local page = first_leaf()
    damage(4096 * page + 50, ("damage"):rep(600))
    local report = assert(sombra.repair(path, to, { limit = 3 }))
    assert.is_true(report.entries_lost > 0 and report.pages_damaged > 0)
    assert.equal(total.entries, report.entries + report.entries_lost)
    assert.is_true(report.ranges_lost > 0)
    assert.is_true(report.damage_mended > 0)
    assert.equal(0, report.damage_left)
    assert.equal(3, #report.problems)
    assert.equal("corrupt", report.problems[1].code)
    assert.equal(page, report.problems[1].page)
    local db <close> = assert(sombra.open(to))
    assert.same({}, (db:verify()))
  end)

  it("refuses what it cannot do, and leaves nothing", function()
    local function refused(code, from, at, options)
      local report, err = sombra.repair(from, at, options)
      assert.is_nil(report)
      assert.equal(code, err.code)
    end
    refused("exists", path, path)
    refused("not_found", to, to .. "2")
    refused("cancelled", path, to, { progress = function() return false end })
    do
      local db <close> = assert(sombra.open(path))
      refused("busy", path, to)
      assert.is_true(db:stats().entries > 0)
    end
    local ok, err = pcall(sombra.repair, path, to, { progress = function() error("why", 0) end })
    assert.is_false(ok)
    assert.equal("why", err)
    damage(0, ("no database "):rep(200000))
    refused("invalid", path, to)
    assert.is_false(helper.exists(to))
    helper.misuse("unknown option", sombra.repair, path, to, { dry = true })
    helper.misuse("string expected", sombra.repair, path)
  end)

  it("has the fields of the definition file", function()
    local file = assert(io.open("lua/types/sombra.lua"))
    local types = file:read("a")
    file:close()
    local block = types:match("%-%-%-@class sombra%.RepairReport\n(.-)\n\n")
    local defined = {}
    for name in block:gmatch("%-%-%-@field ([%w_]+)") do defined[name] = true end
    local report = assert(sombra.repair(path, to))
    for name in pairs(report) do
      assert.is_true(defined[name], name)
      defined[name] = nil
    end
    assert.same({}, defined)
  end)
end)
