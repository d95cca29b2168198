-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

describe("values", function()
  local db, tx, bucket

  before_each(function()
    db = helper.memory()
    tx = db:begin("write")
    bucket = tx:bucket("values", { create = true })
  end)
  after_each(function() db:close() end)

  local function round_trip(value)
    bucket:put("k", value)
    return bucket:get("k")
  end

  local function assert_kept(value)
    local back = round_trip(value)
    local ok, where = helper.same(value, back)
    assert(ok, ("differs at %s"):format(where))
  end

  it("keep the subtype of numbers", function()
    assert.equal("integer", math.type(round_trip(1)))
    assert.equal("float", math.type(round_trip(1.0)))
    assert.equal("float", math.type(round_trip(2 ^ 53)))
  end)

  it("reach the limits of integers and floats", function()
    for _, value in ipairs {
      math.maxinteger, math.mininteger, 0, -1, 127, 128, -128, -129, 1 << 32, 0.0, -0.0, 1 / 0, -1 / 0, 0 / 0, 2 ^ 63,
      -2 ^ 63, 5e-324, 1.7976931348623157e308,
    } do
      assert_kept(value)
    end
    assert.equal(-1 / 0, 1 / round_trip(-0.0))
  end)

  it("are strings of any bytes", function()
    local all = {}
    for byte = 0, 255 do
      all[#all + 1] = string.char(byte)
      assert_kept(string.char(byte))
    end
    assert_kept(table.concat(all))
    assert_kept("")
    assert_kept(("\0"):rep(100000))
  end)

  it("are booleans, false too", function()
    assert.is_true(round_trip(true))
    assert.is_false(round_trip(false))
  end)

  it("tell a list from a map when both are empty", function()
    assert.is_false(sombra.is_list(round_trip({})))
    assert.is_true(sombra.is_list(round_trip(sombra.list {})))
  end)

  it("mark decoded lists, so that they are lists again when written back", function()
    local list = round_trip({ 1, 2 })
    assert.is_true(sombra.is_list(list))
    list[1], list[2] = nil, nil
    assert.is_true(sombra.is_list(round_trip(list)))
  end)

  it("keep null inside lists and maps, and as a value of a bucket", function()
    assert.equal(sombra.null, round_trip(sombra.null))
    assert.equal(sombra.null, round_trip({ 1, sombra.null, 3 })[2])
    assert.equal(sombra.null, round_trip({ a = sombra.null }).a)
  end)

  it("nest 64 deep and no deeper", function()
    local function nested(levels, leaf)
      local value = leaf
      for _ = 1, levels do value = { value } end
      return value
    end
    assert_kept(nested(64, 1))
    helper.misuse("nested more than 64 deep", round_trip, nested(65, 1))
    local map = 1
    for _ = 1, 64 do map = { m = map } end
    assert_kept(map)
    helper.misuse("nested more than 64 deep", round_trip, { m = map })
  end)

  it("are read without metamethods", function()
    local function fail() error("a metamethod ran") end
    local watched = setmetatable({ a = 1 }, { __index = fail, __pairs = fail, __len = fail, __newindex = fail })
    assert.same({ a = 1 }, round_trip(watched))
  end)

  it("refuse what cannot be stored and say where it is", function()
    local function refused(message, value)
      helper.misuse("value" .. message, bucket.put, bucket, "k", value)
    end
    refused(": functions cannot be stored", print)
    refused(": threads cannot be stored", coroutine.create(print))
    refused(": userdata cannot be stored", io.stdout)
    refused(".tags[3]: functions cannot be stored", { tags = { 1, 2, print } })
    refused("[1].a.b[2]: userdata cannot be stored", { { a = { b = { 1, io.stdout } } } })
    refused('["a b"]: functions cannot be stored', { ["a b"] = print })
    refused('["' .. ("x"):rep(40) .. '..."]: functions cannot be stored', { [("x"):rep(100)] = print })
    refused('[""]: functions cannot be stored', { [""] = print })
    refused(": a table with both string keys and integer keys", { 1, a = 2 })
    refused(".m: a table with both string keys and integer keys", { m = { a = 2, [7] = 1 } })
    refused(": a list with holes", { [2] = 1 })
    refused(": a list with holes", { 1, 2, nil, 4 })
    refused(": a list with holes", { [0] = 1, 2 })
    refused(": a list with string keys", sombra.list { a = 1 })
    refused(": floats cannot be keys", { [1.5] = 1 })
    refused(": booleans cannot be keys", { [true] = 1 })
    refused(": tables cannot be keys", { a = 1, [{}] = 1 })
    helper.misuse("nil cannot be stored", bucket.put, bucket, "k", nil)
    helper.misuse("nil cannot be stored", bucket.put, bucket, "k")
  end)

  it("refuse tables that contain themselves", function()
    local loop = {}
    loop.self = loop
    helper.misuse("a table that contains itself", round_trip, loop)
    local a, b = {}, {}
    a[1], b[1] = b, a
    helper.misuse("a table that contains itself", round_trip, { x = a })
  end)

  it("may share a table that is no cycle", function()
    local shared = { 1 }
    assert_kept({ a = shared, b = shared })
  end)

  it("leave the transaction as it was when they are refused", function()
    bucket:put("k", "before")
    pcall(bucket.put, bucket, "k", { a = { print } })
    assert.equal("before", bucket:get("k"))
    assert.equal("after", round_trip("after"))
  end)

  it("name the argument of properties", function()
    helper.misuse("props.a[1]: functions cannot be stored", tx.create, tx, "L", { a = { print } })
    helper.misuse("names of properties are strings", tx.create, tx, "L", { 1, 2 })
    helper.misuse("table expected", tx.create, tx, "L", 7)
  end)

  it("survive a finalizer that uses the transaction while they are read", function()
    local node = tx:create("L", { list = { ("a"):rep(900), ("b"):rep(900), ("c"):rep(900) }, n = 1 })
    local other = tx:create("L", { text = ("z"):rep(3000) })
    local function litter()
      return setmetatable({}, { __gc = function()
        if tx:is_open() then
          tx:node(other)
          bucket:put("gc", ("g"):rep(200))
          assert(bucket:get("gc"))
        end
      end })
    end
    local mode = collectgarbage("incremental")
    local pause = collectgarbage("setpause", 100)
    for i = 1, 80 do
      litter()
      assert.equal(("c"):rep(900), tx:node(node).props.list[3])
      bucket:put(i, { ("v"):rep(i * 40), i })
      assert.equal(i, bucket:get(i)[2])
    end
    for key, value in bucket:scan { ge = 1, le = 80 } do
      litter()
      assert.equal(key, value[2])
    end
    collectgarbage("setpause", pause)
    collectgarbage(mode)
  end)

  it(("come back as they were, whatever they are (seed %d)"):format(helper.seed), function()
    math.randomseed(helper.seed)
    for i = 1, 3000 do
      local value = helper.random_value(5)
      bucket:put(i, value)
      local ok, where = helper.same(value, bucket:get(i))
      assert(ok, ("value %d of seed %d differs at %s"):format(i, helper.seed, where))
    end
  end)

  it(("come back as properties of nodes and edges (seed %d)"):format(helper.seed), function()
    math.randomseed(helper.seed + 1)
    for i = 1, 1000 do
      local props = {}
      for p = 1, math.random(0, 8) do
        local value = helper.random_value(3)
        if value ~= sombra.null then props["p" .. math.random(1, 40) .. ("_"):rep(p)] = value end
      end
      local node = tx:create("L", props)
      local edge = tx:link(node, "T", node, props)
      local ok, where = helper.same(props, tx:node(node).props)
      assert(ok, ("node %d of seed %d differs at %s"):format(i, helper.seed, where))
      ok, where = helper.same(props, tx:edge(edge).props)
      assert(ok, ("edge %d of seed %d differs at %s"):format(i, helper.seed, where))
      for name, value in pairs(props) do
        assert(helper.same(value, tx:get(node, name)), name)
        assert(helper.same(value, tx:edge_get(edge, name)), name)
      end
    end
  end)

  it("are large if they must be", function()
    local large = ("0123456789abcdef"):rep(1 << 17)
    assert.equal(large, round_trip(large))
    local back = round_trip({ large, { large } })
    assert.equal(large, back[2][1])
    assert.equal(1, round_trip(1))
  end)
end)
