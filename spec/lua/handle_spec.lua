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
        helper.misuse("the transaction is over: ended", tx.count, kept)
        helper.misuse("the transaction is over: ended", step, state)
        assert.equal(402, tx:count())
        for _ in tx:out(small) do
          helper.misuse("the transaction is over: ended", step, state)
        end
      end)
      collectgarbage()
    end
    assert.equal("sombra.tx: read, ended", tostring(kept))
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

  it("of a database that was used last is refused when that is closed", function()
    local other <close> = helper.memory()
    for _ = 1, 3 do
      assert.equal(402, db:read(function(tx) return tx:count() end))
      assert.equal(0, other:read(function(tx) return tx:count() end))
    end
    assert.equal(402, db:read(function(tx) return tx:count() end))
    db:close()
    assert.error_matches(function() db:read(function() end) end, "the database is closed")
    assert.equal(0, other:read(function(tx) return tx:count() end))
    assert.error_matches(function() db:read(function() end) end, "the database is closed")
    local read = other.read
    other:close()
    assert.error_matches(function() read(other, function() end) end, "the database is closed")
    assert.error_matches(function() read(io.stdout, function() end) end, "sombra.db expected")
    for _ = 1, 200 do -- others come to stand where collected ones stood
      assert.equal(0, helper.memory():read(function(tx) return tx:count() end))
      collectgarbage()
    end
  end)

  it("ends a loop whose neighbours are all there when its database is closed", function()
    for _, node in ipairs { small, hub } do
      local own = helper.memory()
      local a = own:write(function(tx)
        local first = tx:create("Node")
        for _ = 1, node == small and 5 or 300 do tx:link(first, "TO", tx:create("Node")) end
        return first
      end)
      local message = select(2, pcall(own.read, own, function(tx)
        for _ in tx:out(a) do own:close() end
      end))
      assert.truthy(tostring(message):find("the transaction is over", 1, true), tostring(message))
    end
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

  -- They were of a class that was there no more: not even their end knew them, and the database stayed locked.
  it("is known and ends when the module was loaded again meanwhile", function()
    local function load_again()
      local kept = {}
      for name, module in pairs(package.loaded) do
        if name:find "^sombra" then kept[name], package.loaded[name] = module, nil end
      end
      local again = require "sombra"
      for name in pairs(package.loaded) do
        if name:find "^sombra" then package.loaded[name] = kept[name] end
      end
      local other <close> = again.open(":memory:")
      other:read(function(tx) assert.equal(0, tx:count()) end)
    end
    assert.equal(403, db:write(function(tx)
      load_again()
      tx:create("Node")
      return tx:count()
    end))
    assert.equal(13, db:read(function(tx)
      local count = 0
      for _ in tx:both(small) do
        load_again()
        count = count + 1
      end
      return count
    end))
    assert.equal(0, db:stats().transactions)
  end)

  -- Both took the one cursor of the state: the outer one went on with the transaction of the inner one, which was over.
  it("runs a traversal while a finalizer runs another", function()
    local runs = 0
    local function finalize()
      if not db then return end
      runs = runs + 1
      db:read(function(tx) tx:from(hub):out("ODD"):filter(function() return true end):list() end)
    end
    for _ = 1, 300 do setmetatable({}, { __gc = finalize }) end
    local pause, step = collectgarbage("setpause", 10), collectgarbage("setstepmul", 1000)
    local ok, why = pcall(db.read, db, function(tx)
      local t = tx:from(small):out():filter(function(id) return id % 2 == 0 end)
      for _ = 1, 40 do t = t:limit(1000) end
      local want, rounds = #t:list(), 0
      while runs < 100 and rounds < 200000 do
        assert(want == #t:list())
        rounds = rounds + 1
      end
    end)
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", step)
    local kept = db
    db = nil
    collectgarbage()
    db = kept
    assert(ok, why)
    assert.is_true(runs >= 100)
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

-- In a loop over neighbours tx:get may have been answered before it was asked: only its time may show that.
describe("a property that is asked for in a loop", function()
  local db, hub, values
  local text = ("x"):rep(3000)
  before_each(function()
    db = helper.memory()
    values = {}
    hub = db:write(function(tx)
      local a = tx:create("Node", { n = 0 })
      for i = 1, 300 do
        local kinds = { i, i + 0.5, "text " .. i, i % 2 == 0, { i, i }, { at = i }, text .. i }
        local value = kinds[i % 9 + 1] -- two of nine have none
        if i % 40 < 20 then value = i end
        local other = tx:create("Node", { n = i, value = value, ["a name that is long, longer than thirty-two"] = -i })
        values[other] = value
        tx:link(a, i <= 12 and "FEW" or "MANY", other)
      end
      return a
    end)
  end)
  after_each(function() db:close() end)

  it("is the one that a get outside gives", function()
    db:read(function(tx)
      for _, type in ipairs { "FEW", "MANY" } do
        local count = 0
        for node in tx:out(hub, type) do
          count = count + 1
          assert.same(values[node], tx:get(node, "value"))
          assert.is_nil(tx:get(node, "absent"))
        end
        for node in tx:out(hub, type) do
          assert.same(values[node], tx:get(node, "value"))
        end
        for node in tx:out(hub, type) do assert.is_nil(tx:get(node, "absent")) end
        for node in tx:out(hub, type) do
          assert.equal(hub - node, tx:get(node, "a name that is long, longer than thirty-two"))
        end
        for skipped = 3, 30 do -- the next batch begins at other places
          local at = 0
          for node in tx:out(hub, type) do
            at = at + 1
            if at <= 2 or at > skipped then assert.equal(node - hub, tx:get(node, "n")) end
            if at == 60 then break end
          end
        end
        for node in tx:out(hub, type) do
          assert.equal(node - hub, tx:get(node, "n"))
          assert.equal(0, tx:get(hub, "n"))
          assert.is_nil(tx:get(1000000, "n"))
        end
        assert.equal(type == "FEW" and 12 or 288, count)
      end
    end)
  end)

  it("is not that of an earlier loop whose iterator stood at the same place", function()
    local hubs = db:write(function(tx)
      local list = {}
      for i = 1, 3 do
        list[i] = tx:create()
        for j = 1, 9 do tx:link(list[i], "T", tx:create("Node", { n = 100 * i + j })) end
      end
      return list
    end)
    db:read(function(tx)
      for round = 1, 60 do
        local at = 0
        local own = round % 3 + 1
        for node in tx:out(hubs[own]) do
          at = at + 1
          if at > round % 2 * 3 then assert.equal(100 * own + at, tx:get(node, "n")) end
        end
        for _ in tx:out(hubs[(round + 1) % 3 + 1]) do at = at + 1 end
        collectgarbage()
      end
    end)
  end)

  it("is that of its own transaction and loop", function()
    local before <close> = db:begin("read")
    db:write(function(tx)
      for node in tx:out(hub) do
        tx:set(node, { n = -1 })
        assert.equal(-1, tx:get(node, "n"))
      end
    end)
    local after <close> = db:begin("read")
    local step, state = after:out(hub)
    for node in before:out(hub) do
      assert.equal(node - hub, before:get(node, "n"))
      assert.equal(-1, after:get(step(state), "n"))
      assert.equal(-1, after:get(node, "n"))
      for other in before:out(hub, "FEW") do
        assert.equal(other - hub, before:get(other, "n"))
      end
    end
    local other <close> = helper.memory()
    other:write(function(tx)
      for i = 1, 9 do tx:link(tx:create("Node", { n = "other" }), "T", i > 1 and 1 or tx:create()) end
    end)
    other:read(function(tx)
      for node in after:out(hub, "FEW") do
        assert.equal(-1, after:get(node, "n"))
        for source in tx:into(1) do
          if source ~= 1 then assert.equal("other", tx:get(source, "n")) end
          assert.equal(-1, after:get(node, "n"))
        end
      end
    end)
  end)
end)
