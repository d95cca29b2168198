-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

local function failure(...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  return err
end

local add = [[
return {
  name = "add", version = 1, mode = "write", doc = "adds a sum",
  params = { { "a", "integer" }, { "b", "integer", default = 5 }, { "label", "string", optional = true } },
  run = function(tx, p)
    local id = tx:create(p.label or "Sum", { value = p.a + p.b })
    return id, nil, { p.a, p.b }, sombra.null
  end,
}]]

describe("a stored procedure", function()
  local db
  before_each(function() db = helper.memory() end)
  after_each(function() db:close() end)

  it("is defined once for each version", function()
    assert.same({ "add", 1, true }, { db:define(add) })
    assert.same({ "add", 1, false }, { db:define(add) })
    local err = failure(db.define, db, add .. " ")
    assert.equal("exists", err.code)
    assert.same({ "add", 2, true }, { db:define((add:gsub("version = 1", "version = 2"))) })
    local versions = {}
    for name, info in db:procedures() do
      versions[#versions + 1] = name .. info.version
      assert.equal("write", info.mode)
      assert.equal(64, #info.hash)
      assert.equal("a", info.params[1].name)
    end
    assert.same({ "add1", "add2" }, versions)
    assert.equal(1, db:undefine("add", { version = 2 }))
    assert.equal(0, db:undefine("add@2"))
    assert.equal(1, db:undefine("add"))
    assert.equal("not_found", failure(db.call, db, "add").code)
  end)

  it("is refused with parameters or limits that cannot be meant", function()
    for parameters, text in pairs {
      ["{{'a','integer',default='x'}}"] = "the default of parameter 1 is no integer",
      ["{{'a'},{'b','list',default={x=1}}}"] = "the default of parameter 2 is no list",
      ["{{'a','integer'},{'a','string'}}"] = "parameter 2 has the name of an earlier one",
      ["{{'a','integer',defualt=1}}"] = "parameter 1 is {name, type, default =, optional =, doc =}, not more",
      ["{{'a','integer',1}}"] = "parameter 1 is {name, type, default =, optional =, doc =}, not more",
    } do
      local err = failure(db.define, db, ("return { name = 'p', params = %s, run = type }"):format(parameters))
      assert.truthy(err.message:find(text, 1, true), err.message)
    end
    for _, limit in ipairs { "time = 0/0", "memory = 0/0", "instructions = 0", "time = -1", "tiem = 1" } do
      local err = failure(db.define, db, ("return { name = 'p', limits = { %s }, run = type }"):format(limit))
      assert.truthy(err.message:find("the unit's limits are", 1, true), err.message)
    end
    for i, limit in ipairs { "memory = 1e300", "memory = 2e7", "instructions = 1e300", "time = math.huge" } do
      local text = ("return { name = 'p%d', limits = { %s }, run = function() return 1 end }"):format(i, limit)
      assert.equal(1, db:call((db:define(text))))
    end
  end)

  it("tells lists from maps", function()
    db:define [[return { name = "p", params = { { "l", "list", default = {} }, { "m", "map", default = {} } },
      run = function(_, p) return #p.l, next(p.m) end }]]
    assert.same({ 0 }, { db:call("p") })
    assert.same({ 0 }, { db:call("p", { l = {}, m = {} }) })
    assert.same({ 2, "a", 1 }, { db:call("p", { l = { 1, 2 }, m = { a = 1 } }) })
    assert.equal("parameter 'l': list expected, got table", failure(db.call, db, "p", { l = { a = 1 } }).message)
    assert.equal("parameter 'm': map expected, got table", failure(db.call, db, "p", { m = { 1 } }).message)
    assert.equal("parameter 'm': map expected, got table", failure(db.call, db, "p", { m = sombra.list {} }).message)
  end)

  it("has no name yet when its text does not load, and the message says so", function()
    local err = failure(db.define, db, { name = "bad.lua", text = "return {" })
    assert.matches("^definition of a procedure: bad.lua:1:", err.message)
    err = failure(db.define, db, "while true do end")
    assert.matches("^definition of a procedure ", err.message)
    assert.equal("limit", err.code)
  end)

  it("takes arguments by name and by position, with types and defaults", function()
    db:define(add)
    local id, none, list, null = db:call("add", { 1, b = 2, label = "Other" })
    assert.is_nil(none)
    assert.same({ 1, 2 }, { list[1], list[2] })
    assert.equal(sombra.null, null)
    db:read(function(tx)
      assert.equal(3, tx:get(id, "value"))
      assert.is_true(tx:has_label(id, "Other"))
    end)
    assert.equal(6.0, db:read(function(tx) return tx:get(id, "value") end) + 3)
    assert.equal(2.0, (select(3, db:call("add", { 2.0 })))[1])
    for args, text in pairs {
      [{}] = "parameter 'a' is missing",
      [{ "x" }] = "parameter 'a': integer expected, got string",
      [{ 1.5 }] = "parameter 'a': integer expected",
      [{ 1, c = 2 }] = "has no parameter 'c'",
      [{ 1, 2, "x", 4 }] = "has no parameter '(by position)'",
      [{ 1, label = 7 }] = "parameter 'label': string expected, got number",
    } do
      local err = failure(db.call, db, "add", args)
      assert.equal("invalid", err.code)
      assert.truthy(err.message:find(text, 1, true), err.message)
    end
  end)

  it("without declared parameters gets the one argument as it is", function()
    db:define [[return { name = "same", run = function(_, p) return p, math.type(p) end }]]
    assert.same({ 7, "integer" }, { db:call("same", 7) })
    assert.same({ 7.0, "float" }, { db:call("same", 7.0) })
    assert.same({}, { db:call("same") })
    assert.same({ x = { 1, 2 } }, (db:call("same", { x = { 1, 2 } })))
  end)

  it("that fails, or says no, leaves nothing", function()
    db:define [[return { name = "f", mode = "write", run = function(tx, how)
      tx:create("T", {})
      if how == "no" then return nil, "not today" end
      if how == "table" then error { code = "stock", message = "none left", left = 3 } end
      if how == "text" then error("broken") end
      if how == "engine" then tx:set(4711, { a = 1 }) end
      return tx:count("T")
    end }]]
    assert.same({ nil, "not today" }, { db:call("f", "no") })
    local err = failure(db.call, db, "f", "table")
    assert.equal("stock", err.code)
    assert.equal("procedure 'f': none left", err.message)
    assert.equal(3, err.cause.left)
    err = failure(db.call, db, "f", "text")
    assert.equal("procedure", err.code)
    assert.truthy(err.message:find("f@1:5: broken", 1, true), err.message)
    assert.truthy(err.trace:find("f@1:5:", 1, true), err.trace)
    err = failure(db.call, db, "f", "engine")
    assert.equal("not_found", err.code)
    assert.equal(0, db:read(function(tx) return tx:count("T") end))
    db:write(function(tx) -- inside a transaction the rest of it stays
      tx:create("T")
      assert.same({ nil, "not today" }, { tx:call("f", "no") })
      assert.is_false((pcall(tx.call, tx, "f", "text")))
      assert.equal(1, tx:count("T"))
      assert.equal(2, tx:call("f", "yes"))
    end)
    assert.equal(2, db:read(function(tx) return tx:count("T") end))
  end)

  it("keeps to its mode", function()
    db:define(add)
    db:define [[return { name = "sneak", run = function(tx) tx:create("X") end }]]
    assert.equal("readonly", failure(db.read, db, function(tx) tx:call("add", { 1 }) end).code)
    assert.equal("readonly", failure(db.call, db, "sneak").code)
    db:write(function(tx) -- a reader's handle does not write, whatever the transaction around it may
      assert.equal("readonly", failure(tx.call, tx, "sneak").code)
      assert.equal(0, tx:count("X"))
    end)
  end)

  it("cannot end, or reach behind, the transaction of its caller", function()
    db:define [[return { name = "reach", mode = "write", run = function(tx, p)
      local results = {}
      for i, name in ipairs { "commit", "rollback" } do results[i] = pcall(tx[name], tx) end
      results[3] = pcall(tx.rollback_to, tx, p)
      results[4] = pcall(tx.release, tx, p)
      local mark = tx:savepoint()
      tx:create("T")
      tx:rollback_to(mark)
      return table.unpack(results)
    end }]]
    db:write(function(tx)
      tx:create("T")
      local mark = tx:savepoint()
      assert.same({ false, false, false, false }, { tx:call("reach", mark) })
      assert.equal(1, tx:count("T"))
    end)
    assert.equal(1, db:read(function(tx) return tx:count("T") end))
  end)

  it("uses libraries, and calls others, within limits", function()
    db:define [[return { name = "lib", version = 1, exports = { f = function(x) return x + 1 end } }]]
    db:define [[return { name = "lib", version = 2, exports = { f = function(x) return x + 2 end } }]]
    db:define [[local one, two = require "lib@1", require "lib"
      return { name = "use", run = function(tx, x) return one.f(x), two.f(x), require "lib" == two end }]]
    assert.same({ 11, 12, true }, { db:call("use", 10) })
    assert.equal("invalid", failure(db.call, db, "lib").code)
    db:define [[return { name = "outer", run = function(tx, n)
      if n == 0 then return "deep" end
      return tx:call("outer", n - 1)
    end }]]
    assert.equal("deep", db:call("outer", 7))
    assert.equal("limit", failure(db.call, db, "outer", 8).code)
    db:define [[return { name = "slow", run = function() while true do end end }]]
    db:define [[return { name = "hides", run = function(tx) while true do pcall(tx.call, tx, "slow") end end }]]
    assert.equal("limit", failure(db.call, db, "hides", nil, { time = 0.05 }).code)
    helper.misuse("seconds above 0 expected", db.call, db, "slow", nil, { time = 0 }) -- it was the default
    db:read(function(tx) helper.misuse("seconds above 0 expected", tx.from(tx).bounded, tx:from(), { time = 0.0 }) end)
    db:define [[return { name = "a", run = function() return require "b" end }]]
    db:define [[return { name = "c", exports = {} }]]
    assert.truthy(failure(db.call, db, "a").message:find("there is no procedure or library 'b'", 1, true))
    db:undefine("c")
    assert.truthy(failure(db.define, db, [[return { name = "c", exports = require "c" }]]).message
      :find("there is no procedure or library 'c'", 1, true))
  end)

  it("is refused when the text is not a unit", function()
    for source, text in pairs {
      ["return 1"] = "must return a table",
      ["return {}"] = "has no 'name'",
      ["return { name = 'a b', exports = {} }"] = "name is not made of letters",
      ["return { name = 'x' }"] = "neither 'run'",
      ["return { name = 'x', run = 1 }"] = "'run' must be a function",
      ["return { name = 'x', run = print, version = 0, exports = {} }"] = "'version' must be",
      ["return { name = 'x', exports = {}, mode = 'both' }"] = "'mode' must be",
      ["return { name = 'x', exports = {}, params = { 'a' } }"] = "parameter 1 must be a table",
      ["return { name = 'x', exports = {}, params = { { 'a', 'int' } } }"] = "type of parameter 1",
      ["return { name = 'x', exports = {}, limits = { speed = 1 } }"] = "limits are time",
      ["return {"] = "expected",
      ["while true do end"] = "longer than its limit",
      ["\27Lua"] = "binary",
    } do
      local err = failure(db.define, db, source)
      assert.truthy(err.message:find(text, 1, true), err.message)
    end
    assert.is_nil((db:procedures()()))
  end)

  it("streams what is emitted, and ends nothing at a yield", function()
    db:define [[return { name = "yields", run = function() emit(1) coroutine.yield(2) emit(3) end }]]
    local seen = 0
    local err = failure(function() for _ in db:stream("yields") do seen = seen + 1 end end)
    assert.equal(1, seen)
    assert.equal("procedure", err.code)
    assert.matches("gives rows by emit", err.message)
  end)

  it("leaves no transaction open when a stream does not begin", function()
    db:define [[return { name = "writes", mode = "write", run = function() emit(1) end }]]
    db:define [[return { name = "typed", params = { { "n", "integer" } }, run = function() emit(1) end }]]
    collectgarbage("stop")
    assert.is_false((pcall(db.stream, db, "nothing")))
    assert.is_false((pcall(db.stream, db, "writes")))
    assert.is_false((pcall(db.stream, db, "typed", { n = "x" })))
    assert.is_false((pcall(db.stream, db, "typed", { n = 1 }, { time = -1 })))
    collectgarbage("restart")
    assert.equal(0, db:stats().transactions)
  end)

  it("streams rows one at a time", function()
    db:define [[return { name = "rows", params = { { "n", "integer" } }, run = function(tx, p)
      for i = 1, p.n do emit { i = i, nodes = tx:count() } end
    end }]]
    local sum = 0
    for row in db:stream("rows", { 1000 }) do sum = sum + row.i end
    assert.equal(500500, sum)
    for row in db:stream("rows", { 1000 }) do
      if row.i == 3 then break end
    end
    collectgarbage()
    assert.equal(0, db:stats().transactions)
    assert.equal("procedure", failure(db.call, db, "rows", { 1 }).code)
    local seen = 0
    db:define [[return { name = "fails", run = function() emit(1) error("later") end }]]
    local err = failure(function() for _ in db:stream("fails") do seen = seen + 1 end end)
    assert.truthy(err.message:find("later", 1, true))
    assert.equal(1, seen)
    db:define(add)
    assert.equal("invalid", failure(db.stream, db, "add", { 1 }).code)
    local step, state = db:stream("rows", { 10 })
    assert.equal(1, step(state).i)
    db:close()
    assert.is_false((pcall(step, state)))
  end)

  it("is read from a file, with the file's name in its messages", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("return { name = 'filed',\n  run = function()\n    error('here') end }")
    file:close()
    db:define(assert(sombra.source(path)))
    os.remove(path)
    local err = failure(db.call, db, "filed")
    assert.truthy(err.message:find(":3: here", 1, true), err.message)
    assert.truthy(err.message:find(path:match("[^/]+$"), 1, true), err.message)
    assert.is_nil((sombra.source(path)))
  end)

  it("lives in a bucket that scripts do not see", function()
    db:define(add)
    db:write(function(tx) tx:bucket("a", { create = true }) tx:bucket("z", { create = true }) end)
    db:read(function(tx)
      assert.same({ "a", "z" }, helper.column(tx:buckets()))
      assert.is_false((pcall(tx.bucket, tx, "sombra.procedures")))
    end)
  end)

  it("survives closing, and travels with a backup", function()
    local path, copy = helper.path(), helper.path()
    local filed = assert(sombra.open(path, { create = true }))
    filed:define(add)
    filed:close()
    filed = assert(sombra.open(path))
    assert.equal(1, filed:call("add", { 1 }))
    assert(filed:backup(copy))
    filed:close()
    local second <close> = assert(sombra.open(copy))
    assert.equal(2, second:call("add", { 1 }))
    helper.remove(path)
    helper.remove(copy)
  end)
end)
