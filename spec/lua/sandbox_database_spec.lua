-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
-- Attacks of a procedure on the database: through the functions it hands in, the handles it is given, and time.
local helper = require "spec.helper"

describe("a procedure", function()
  local db, root
  before_each(function()
    db = helper.memory()
    root = db:write(function(tx)
      local first = tx:create_many("N", (function()
        local list = {}
        for i = 1, 100 do list[i] = { n = i } end
        return list
      end)())
      for i = 1, 99 do tx:link(first, "E", first + i) end
      return first
    end)
  end)
  after_each(function() db:close() end)

  -- Runs the body as a procedure that writes.
  local function run(body, args, limits)
    db:undefine("attack")
    db:define(("return { name = 'attack', mode = 'write', run = function(tx, p) %s end }"):format(body))
    return pcall(db.call, db, "attack", args, limits or { time = 0.1 })
  end

  local function sound()
    local problems = db:verify()
    assert.same({}, problems)
    assert.equal(0, db:stats().transactions)
  end

  it("cannot end the transaction in a filter of a traversal", function()
    local ok, ended = run([[
      local tried = 0
      local list = tx:from(p):out("E"):filter(function()
        if pcall(tx.commit, tx) or pcall(tx.rollback, tx) then tried = tried + 1 end
        return true
      end):ids()
      return tried]], root)
    assert.same({ true, 0 }, { ok, ended })
    sound()
  end)

  it("may write in a filter, and what the traversal gives stays within what there is", function()
    local ok, result = run([[
      local list = tx:from(p):out("E"):filter(function(id)
        if id % 2 == 0 then tx:delete(id, { detach = true }) end
        tx:link(p, "E", tx:create("More"))
        return true
      end):limit(500):ids()
      return #list]], root)
    if not ok then assert.is_string(result.code) end
    sound()
  end)

  it("cannot hang, raise through or yield across a filter", function()
    local ok, err = run([[tx:from(p):out("E"):filter(function() while true do end end):ids()]], root)
    assert.same({ false, "limit" }, { ok, err.code })
    ok, err = run([[while true do pcall(function() tx:from(p):out("E"):filter(function() while true do end end):ids() end) end]], root)
    assert.same({ false, "limit" }, { ok, err.code })
    ok, err = run([[tx:from(p):out("E"):filter(function() error { code = "mine", message = "no" } end):ids()]], root)
    assert.same({ false, "mine" }, { ok, err.code })
    ok, err = run([[
      local co = coroutine.wrap(function() return #tx:from(p):out("E"):filter(function() coroutine.yield(1) return true end):ids() end)
      return co()]], root)
    assert.is_false(ok)
    assert.truthy(err.message:find("yield", 1, true), err.message)
    sound()
  end)

  it("cannot nest traversals in filters without end", function()
    local ok, err = run([[
      local function dig(id)
        return #tx:from(p):out("E"):filter(function(other) return dig(other) >= 0 end):ids()
      end
      return dig(p)]], root, { time = 0.3 })
    assert.is_false(ok)
    assert.is_string(err.code)
    sound()
  end)

  it("cannot keep its transaction beyond the call", function()
    for _, body in ipairs {
      "kept = tx kept_next = tx:nodes() return kept == nil",
      "string.kept = tx return true",
      "getmetatable(sombra).kept = tx",
    } do run(body) end
    local ok, left = run "return tostring(kept) .. tostring(kept_next) .. tostring(string.kept)"
    assert.same({ true, "nilnilnil" }, { ok, left })
    ok = run "return tx" -- a handle is no value
    assert.is_false(ok)
    ok = run "return tx:call('attack', tx)"
    assert.is_false(ok)
    ok = run "return function() return tx end"
    assert.is_false(ok)
    sound()
  end)

  it("cannot be handed its caller's handles", function()
    db:write(function(tx)
      assert.is_false((pcall(tx.call, tx, "attack", tx)))
      assert.is_false((pcall(tx.call, tx, "attack", { tx:nodes() })))
    end)
  end)

  it("cannot use another thing as its transaction", function()
    for _, body in ipairs {
      "tx.create({}, 'T')", "tx.create(sombra.null, 'T')", "tx.create(nil)", "tx.create(tx:nodes(), 'T')",
      "tx.get(tx:bucket('b', { create = true }), 1, 'n')", "local b = tx:bucket('b', { create = true }) b.put(tx, 1, 1)",
      "getmetatable(tx).__gc(tx)", "getmetatable(tx).__index = nil", "tx.create = 1", "setmetatable(tx, {})",
    } do
      local ok = run(body)
      assert.is_false(ok, body)
    end
    sound()
  end)

  it("cannot loop over what it writes without end", function()
    local ok, err = run [[for id in tx:nodes() do tx:create("More") end]]
    assert.same({ false, "limit" }, { ok, err.code })
    ok, err = run [[local b = tx:bucket("b", { create = true }) b:put(1, 1) for k in b:scan() do b:put(k + 1, 1) end]]
    assert.same({ false, "limit" }, { ok, err.code })
    ok, err = run [[while true do tx:rollback_to(tx:savepoint()) end]]
    assert.same({ false, "limit" }, { ok, err.code })
    assert.equal(0, db:read(function(tx) return tx:count("More") end))
    sound()
  end)

  it("cannot escape limits by calls of calls, or by options with metamethods", function()
    db:define [[return { name = "spin", run = function() while true do end end }]]
    local ok, err = run [[while true do pcall(tx.call, tx, "spin", nil, { time = 1000, memory = 1 << 40 }) end]]
    assert.same({ false, "limit" }, { ok, err.code })
    ok, err = run [[
      local never = setmetatable({}, { __index = function() while true do end end, __pairs = function() while true do end end })
      tx:call("spin", never, never)
      for id in tx:nodes("N", never) do return id end]]
    assert.same({ false, "limit" }, { ok, err.code })
    ok = run [[tx:create("T", setmetatable({}, { __pairs = function() while true do end end })) return true]]
    assert.is_true(ok)
    sound()
  end)

  it("that emits rows cannot do so out of a filter or a coroutine", function()
    for _, body in ipairs {
      "tx:from(p):out('E'):filter(function(id) emit(id) return true end):ids()",
      "coroutine.wrap(function() emit(1) end)()",
      "table.sort({ 3, 2, 1 }, function(a, b) emit(a) return a < b end)",
    } do
      db:undefine("rows")
      db:define(("return { name = 'rows', run = function(tx, p) %s end }"):format(body))
      local ok, err = pcall(function() for _ in db:stream("rows", root) do end end)
      assert.is_false(ok, body)
      assert.equal("procedure", err.code)
    end
    sound()
  end)
end)
