-- SPDX-License-Identifier: MIT
-- Handles of transactions and loops are proved by their address where it is known, and have no finalizer where the
-- language is sure to close them: what was refused before is refused still.
local sombra = require "sombra"
local helper = require "spec.helper"

describe("a handle", function()
  local db, hub, small
  before_each(function()
    db = helper.memory()
    hub, small = db:write(function(tx)
      local a, b = tx:create("Node", { n = 0 }), tx:create("Node", { n = 0 })
      for i = 1, 400 do
        local other = tx:create("Node", { n = i })
        tx:link(a, i % 2 == 0 and "EVEN" or "ODD", other)
        if i <= 9 then tx:link(b, i % 3 == 0 and "THIRD" or "OTHER", other) end
        if i <= 4 then tx:link(other, "BACK", b) end
      end
      return a, b
    end)
  end)
  after_each(function() db:close() end)

  local function ends(tx, ...)
    local found = {}
    for node, edge in tx:both(...) do found[#found + 1] = node .. "-" .. edge end
    return found
  end

  it("is refused in a later db:read if an earlier one gave it", function()
    local kept, state
    local step = db:read(function(tx)
      local own, its = tx:out(small)
      kept, state = tx, its
      assert.truthy(own(its))
      return own
    end)
    for _ = 1, 50 do
      db:read(function(tx)
        assert.equal(402, tx:count())
        helper.misuse("the transaction is over: rolled back", tx.count, kept)
        helper.misuse("the transaction is over: rolled back", step, state)
        assert.equal(402, tx:count())
        for _ in tx:out(small) do
          helper.misuse("the transaction is over: rolled back", step, state)
        end
      end)
      collectgarbage()
    end
    assert.equal("sombra.tx: read, rolled back", tostring(kept))
    assert.is_false(kept:is_open())
    db:close()
    helper.misuse("the transaction is over: the database is closed", db.read and kept.count, kept)
  end)

  it("is the right one where reads are inside one another", function()
    local other <close> = helper.memory()
    other:write(function(tx) tx:create("Node") end)
    db:read(function(outer)
      local outside = outer:out(small)
      for node in outer:out(small) do
        other:read(function(inner)
          assert.equal(1, inner:count())
          assert.equal(402, outer:count())
          for _ in inner:out(1) do error "it has none" end
          assert.truthy(outer:exists(node))
          assert.equal(1, inner:count())
        end)
        assert.equal(402, outer:count())
      end
      assert.equal("function", type(outside))
    end)
  end)

  it("takes no other userdata", function()
    db:read(function(tx)
      local step, state = tx:out(small)
      for _, wrong in ipairs { io.stdout, db, tx, sombra.null, {}, 1 } do
        if wrong ~= tx then helper.misuse("sombra.tx expected", tx.count, wrong) end
        helper.misuse("sombra.iterator expected", step, wrong)
      end
      helper.misuse("sombra.tx expected", tx.count, state)
      assert.equal("sombra.iterator: open", tostring(state))
      for _ = 1, 9 do assert.truthy(step(state)) end
      assert.is_nil(step(state))
      assert.is_nil(step(state))
      assert.equal("sombra.iterator: at its end", tostring(state))
    end)
  end)

  it("ends with an error, and with a coroutine that is dropped", function()
    local function open() return db:stats().transactions end
    local before = open()
    for _ = 1, 5 do
      assert.is_false(pcall(db.read, db, function(tx)
        for _ in tx:out(hub) do error "no" end
      end))
      assert.equal(before, open())
    end
    local dropped = coroutine.create(function()
      db:read(function(tx)
        for node in tx:out(small) do coroutine.yield(node) end
      end)
    end)
    assert.is_true(coroutine.resume(dropped))
    dropped = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(before, open())
  end)

  it("gives the same few and many, of one range and of several, as a writer does", function()
    local asked = {
      { hub }, { small }, { hub, "EVEN" }, { small, "THIRD" }, { small, { "THIRD", "BACK" } },
      { hub, { "EVEN", "ODD" } }, { small, {} }, { small, nil, { limit = 3 } }, { hub, nil, { limit = 16 } },
      { hub, nil, { limit = 15, reverse = true } }, { hub, nil, { limit = 0 } }, { small, nil, { reverse = true } },
      { hub + 5 }, { 1000000 }, { small, nil, { other = small + 1 } },
    }
    local wanted, lists = {}, {}
    db:write(function(tx)
      for i, arguments in ipairs(asked) do
        local list = {}
        wanted[i] = {}
        for edge, _, node in tx:edges_of(arguments[1], "both", arguments[2], arguments[3]) do
          wanted[i][#wanted[i] + 1], list[#list + 1] = node .. "-" .. edge, node
        end
        lists[i] = sombra.list(list)
        assert.same(wanted[i], ends(tx, table.unpack(arguments, 1, 3)))
      end
    end)
    assert.equal(400, #wanted[1])
    assert.equal(13, #wanted[2])
    db:read(function(tx)
      for i, arguments in ipairs(asked) do
        assert.same(wanted[i], ends(tx, table.unpack(arguments, 1, 3)))
        assert.same(lists[i], tx:neighbours(arguments[1], "both", arguments[2], arguments[3]))
      end
    end)
  end)
end)
