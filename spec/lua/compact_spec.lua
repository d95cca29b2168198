-- SPDX-License-Identifier: MIT
-- Compaction.
local sombra = require "sombra"
local helper = require "spec.helper"

describe("a compaction", function()
  local path, db
  before_each(function()
    path = helper.path()
    local of_btree = helper.engine == "btree"
    db = assert(sombra.open(path, {
      create = true,
      page_size = of_btree and 4096 or nil,
      auto_compact = not of_btree and nil,
    }))
    db:write(function(tx)
      for i = 1, 4000 do tx:create("Person", { number = i, text = ("x"):rep(i % 200) }) end
    end)
    db:checkpoint()
    db:write(function(tx)
      for i = 1, 4000 do
        if i % 20 ~= 0 then tx:delete(i) end
      end
    end)
  end)
  after_each(function()
    db:close()
    helper.remove(path)
  end)

  local function expect_content()
    local problems, count = db:verify()
    assert.same({}, problems)
    assert.equal(0, count)
    db:read(function(tx)
      assert.equal(200, tx:count("Person"))
      assert.equal(2000, tx:get(2000, "number"))
    end)
  end

  it("makes the file shorter and changes nothing", function()
    local before = db:stats()
    assert.equal(0, before.compact_txn)
    db:checkpoint()
    before.file_bytes = math.max(before.file_bytes, db:stats().file_bytes)
    assert.is_true(db:compact())
    local after = db:stats()
    assert.is_true(after.file_bytes < before.file_bytes / 4)
    if helper.engine == "btree" then
      assert.equal(after.pages * after.page_size, after.file_bytes)
      assert.is_true(after.compact_txn > 0 and after.compact_txn <= after.txn)
      assert.is_true(after.compact_pages_moved > 0 and after.compact_pages_returned > 0)
    end
    expect_content()
    db:close()
    db = assert(sombra.open(path))
    assert.equal(after.compact_txn, db:stats().compact_txn)
    expect_content()
  end)

  it("leaves a snapshot what it sees", function()
    db:write(function(tx) tx:set(20, { number = "new" }) end)
    local old <close> = db:snapshot()
    db:write(function(tx) tx:set(20, { number = "newer" }) end)
    assert.is_true(db:compact())
    assert.equal("new", old:get(20, "number"))
    old:rollback()
    expect_content()
  end)

  it("reports progress, and goes on beside what that writes", function()
    local calls, last = 0, -1
    assert.is_true(db:compact {
      progress = function(done, total)
        assert(done >= last and done <= total)
        calls, last = calls + 1, done
        db:write(function(tx) tx:set(20, { number = calls }) end)
      end,
    })
    assert.is_true(calls >= (helper.engine == "btree" and 4 or 1))
    assert.equal(calls, db:read(function(tx) return tx:get(20, "number") end))
    expect_content()
  end)

  it("is cancelled by false and keeps what it did", function()
    local ok, err = db:compact { progress = function() return false end }
    assert.is_nil(ok)
    assert.equal("cancelled", err.code)
    expect_content()
    local reason = {}
    ok, err = pcall(db.compact, db, { progress = function() error(reason) end })
    assert.is_false(ok)
    assert.equal(reason, err)
    assert.is_true(db:compact())
    expect_content()
  end)

  it("refuses where it cannot", function()
    local ok, err
    db:write(function() ok, err = db:compact() end)
    assert.is_nil(ok)
    assert.equal("busy", err.code)
    local memory <close> = helper.memory()
    assert.is_true(memory:compact())
    local told
    assert.is_true(db:compact { progress = function() told = select(2, pcall(db.close, db)) end })
    assert.truthy(told:find("cannot be closed", 1, true))
    db:close()
    db = assert(sombra.open(path, { readonly = true }))
    ok, err = db:compact()
    assert.is_nil(ok)
    assert.equal("readonly", err.code)
    helper.misuse("unknown option", db.compact, db, { limit = 1 })
    helper.misuse("option 'progress'", db.compact, db, { progress = 1 })
    helper.misuse("option 'auto_compact'", sombra.open, path, { auto_compact = 1 })
  end)
end)

-- Edges in five batches: dense leaves, some of them thin, and hardly a free page.
if helper.engine == "btree" then
  it("a compaction does not leave a dense file longer", function()
    local path = helper.path()
    local db = assert(sombra.open(path, { create = true }))
    local random = 1
    local function number(most)
      random = (random * 1103515245 + 12345) % 2147483648
      return 1 + (random // 65536) % most
    end
    db:write(function(tx)
      local ids = {}
      for i = 1, 1000 do ids[i] = i end
      tx:create_many("N", { id = ids })
      tx:create_index("N", "id", { unique = true })
      for _ = 1, 5 do
        local sources, targets = {}, {}
        for i = 1, 2000 do sources[i], targets[i] = number(1000), number(1000) end
        tx:link_many("L", sources, targets)
      end
    end)
    db:close()
    db = assert(sombra.open(path))
    local before = db:stats().file_bytes
    assert.is_true(db:compact())
    db:close()
    db = assert(sombra.open(path))
    assert.is_true(db:stats().file_bytes <= before)
    db:close()
    helper.remove(path)
  end)
end
