-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
local helper = require "spec.helper"
local lfs = require "lfs"

local function write_file(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function summary(list)
  local parts = {}
  for i, item in ipairs(list) do parts[i] = item.number .. (item.direction or item.state) end
  return table.concat(parts, " ")
end

describe("migrations", function()
  local db, directory

  local function file(name, text)
    write_file(directory .. "/" .. name, text)
  end

  local function create(number, label)
    file(("%04d_%s.lua"):format(number, label:lower()), ([[return {
      up = function(tx) tx:create(%q) end,
      down = function(tx) for id in tx:nodes(%q) do tx:delete(id) end end,
    }]]):format(label, label))
  end

  local function count(label)
    return db:read(function(tx) return tx:count(label) end)
  end

  local function refused(text, ...)
    local ok, err = pcall(db.migrate, db, directory, ...)
    assert.is_false(ok)
    assert.truthy(tostring(err):find(text, 1, true), tostring(err))
  end

  before_each(function()
    db = helper.memory()
    directory = os.tmpname()
    os.remove(directory)
    assert(lfs.mkdir(directory))
  end)

  after_each(function()
    db:close()
    for name in lfs.dir(directory) do os.remove(directory .. "/" .. name) end
    lfs.rmdir(directory)
  end)

  it("run once, in number order, and say what they did", function()
    create(2, "B")
    create(1, "A")
    create(10, "C")
    assert.equal("1up 2up 10up", summary(db:migrate(directory)))
    assert.equal("", summary(db:migrate(directory)))
    assert.same({ 1, 1, 1 }, { count "A", count "B", count "C" })
    create(11, "D")
    assert.equal("1applied 2applied 10applied 11pending", summary(db:migrations(directory)))
    assert.equal("11up", summary(db:migrate(directory)))
  end)

  it("go up and down to a number", function()
    create(1, "A")
    create(2, "B")
    create(3, "C")
    assert.equal("1up 2up", summary(db:migrate(directory, { to = 2 })))
    assert.equal("3up", summary(db:migrate(directory, { to = 3 })))
    assert.equal("3down 2down", summary(db:migrate(directory, { to = 1 })))
    assert.same({ 1, 0, 0 }, { count "A", count "B", count "C" })
    assert.equal("1down", summary(db:migrate(directory, { to = 0 })))
    assert.equal(0, count())
    refused("there is no migration 7", { to = 7 })
  end)

  it("leave nothing of one that fails, and keep those before it", function()
    create(1, "A")
    file("0002_fails.lua", [[return { up = function(tx) tx:create("B") error("stop here") end }]])
    create(3, "C")
    refused("0002_fails.lua:1: stop here")
    assert.same({ 1, 0, 0 }, { count "A", count "B", count "C" })
    assert.equal("1applied 2pending 3pending", summary(db:migrations(directory)))
    file("0002_fails.lua", [[return { up = function(tx) tx:create("B") return nil, "not today" end }]])
    refused("not today")
    assert.equal(0, count "B")
    file("0002_fails.lua", [[return { up = function(tx) tx:set(999, {}) end }]])
    local _, err = pcall(db.migrate, db, directory)
    assert.equal("not_found", err.code)
    assert.equal(directory .. "/0002_fails.lua", err.migration)
  end)

  it("are tried by a dry run that leaves nothing", function()
    create(1, "A")
    create(2, "B")
    assert.equal("1up 2up", summary(db:migrate(directory, { dry_run = true })))
    assert.equal(0, count())
    assert.equal("1pending 2pending", summary(db:migrations(directory)))
    file("0003_fails.lua", "return { up = function() error('no') end }")
    refused("no", { dry_run = true })
    assert.equal(0, count())
  end)

  it("are refused when files were edited, are missing, late, double or misnamed", function()
    create(2, "B")
    db:migrate(directory)
    create(1, "A")
    refused("0001_a.lua comes before migration 2")
    assert.equal("1late 2applied", summary(db:migrations(directory)))
    os.remove(directory .. "/0001_a.lua")
    file("0002_b.lua", "return { up = function() end }")
    refused("0002_b.lua was changed after it was applied")
    assert.equal("2edited", summary(db:migrations(directory)))
    os.remove(directory .. "/0002_b.lua")
    refused("migration 2 (b) was applied, and its file is no longer")
    assert.equal("2missing", summary(db:migrations(directory)))
    create(2, "B")
    file("2_again.lua", "return { up = function() end }")
    refused("has the number of")
    os.remove(directory .. "/2_again.lua")
    file("helper.lua", "")
    refused("helper.lua is not named like a migration")
    os.remove(directory .. "/helper.lua")
    for text, message in pairs {
      ["return 1"] = "must return a table",
      ["return {}"] = "has no function 'up'",
      ["return { batched = true }"] = "has no function 'step'",
      ["return { up = print, down = 1 }"] = "'down' must be a function",
      ["return {"] = "expected",
    } do
      file("0003_bad.lua", text)
      refused(message)
    end
  end)

  it("that cannot be read are named", function()
    assert(lfs.mkdir(directory .. "/0001_a.lua"))
    refused("0001_a.lua: Is a directory")
    assert(lfs.rmdir(directory .. "/0001_a.lua"))
  end)

  it("that cannot be undone say so", function()
    file("0001_one_way.lua", "return { up = function(tx) tx:create('A') end }")
    db:migrate(directory)
    refused("0001_one_way.lua has no function 'down'", { to = 0 })
    assert.equal(1, count "A")
  end)

  it("in batches commit each step, and go on from the cursor after a failure", function()
    db:write(function(tx) for i = 1, 25 do tx:create("N", { i = i }) end end)
    _G.migration_steps = 0
    file("0001_batched.lua", [[return { batched = true, step = function(tx, from)
      migration_steps = migration_steps + 1
      if migration_steps == 3 then error("power cut") end
      local last
      for id in tx:nodes("N", { from = from or 1, limit = 10 }) do tx:set(id, { done = (tx:get(id, "done") or 0) + 1 }) last = id end
      return last and last + 1
    end }]])
    refused("power cut")
    assert.equal("1running", summary(db:migrations(directory)))
    assert.equal("1up", summary(db:migrate(directory)))
    assert.equal("1applied", summary(db:migrations(directory)))
    db:read(function(tx) for id in tx:nodes("N") do assert.equal(1, tx:get(id, "done")) end end)
    _G.migration_steps = nil
  end)

  -- Each file lets another run go first, when the plan is made and its transaction has not begun.
  it("that another process has run meanwhile are not run again", function()
    local race = "if another then local run = another another = nil run() end "
    file("0001_a.lua", race .. [[return {
      up = function(tx) tx:create("A") end,
      down = function(tx) for id in tx:nodes("A") do tx:delete(id) end end,
    }]])
    file("0002_b.lua", race .. [[return {
      batched = true,
      step = function(tx, from) tx:create("B") return (from or 0) < 2 and (from or 0) + 1 or nil end,
      down = function(tx) for id in tx:nodes("B") do tx:delete(id) end end,
    }]])
    local function migrate(to, other)
      _G.another = function() db:migrate(directory, { to = other or to }) end
      return summary(db:migrate(directory, { to = to }))
    end
    assert.equal("", migrate(1))
    assert.equal(1, count("A"))
    assert.equal("2up", migrate(2, 1))
    assert.equal("2down", migrate(1, 2))
    assert.equal("", migrate(2))
    assert.equal(3, count("B"))
    assert.equal("", migrate(0))
    assert.equal(0, count("A"))
  end)

  it("report progress", function()
    create(1, "A")
    create(2, "B")
    local seen = {}
    db:migrate(directory, { progress = function(step, done, total) seen[#seen + 1] = step.name .. done .. total end })
    assert.same({ "a12", "b22" }, seen)
  end)
end)
