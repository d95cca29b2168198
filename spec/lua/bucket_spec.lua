-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

describe("a bucket", function()
  local db, tx, bucket

  before_each(function()
    db = helper.memory()
    tx = db:begin("write")
    bucket = tx:bucket("things", { create = true })
  end)
  after_each(function() db:close() end)

  it("is nil if it is missing, and made if asked", function()
    assert.is_nil(tx:bucket("missing"))
    assert.is_nil(tx:bucket("missing", { create = false }))
    assert.truthy(tx:bucket("things"))
    helper.misuse("unknown option", tx.bucket, tx, "x", { make = true })
    helper.misuse("string expected", tx.bucket, tx)
    helper.misuse("the name is empty", tx.bucket, tx, "")
  end)

  it("is one of several, listed by name", function()
    for _, name in ipairs { "b", "a", "z\0", "z" } do tx:bucket(name, { create = true }) end
    assert.same({ "a", "b", "things", "z", "z\0" }, helper.column(tx:buckets()))
    tx:bucket("a"):put(1, "in a")
    assert.is_nil(tx:bucket("b"):get(1))
  end)

  it("keeps the library's own names to the library", function()
    local ok, err = pcall(tx.bucket, tx, "sombra.private", { create = true })
    assert.is_false(ok)
    assert.equal("invalid", err.code)
  end)

  it("puts, gets and deletes", function()
    bucket:put("k", "v")
    bucket:put(42, { hits = 1 })
    assert.equal("v", bucket:get("k"))
    assert.equal(1, bucket:get(42).hits)
    assert.is_nil(bucket:get("nope"))
    assert.equal(1, select("#", bucket:get("nope")))
    bucket:put("k", "w")
    assert.equal("w", bucket:get("k"))
    assert.is_true(bucket:delete("k"))
    assert.is_false(bucket:delete("k"))
    assert.is_nil(bucket:get("k"))
    assert.equal(1, bucket:count())
  end)

  it("gets many keys at once, in any order", function()
    local want = {}
    for i = 1, 300 do
      local key = i % 3 == 0 and "k" .. i or i
      local value = i % 7 == 0 and { n = i, text = ("x"):rep(i * 10) } or "v" .. i
      bucket:put(key, value)
      want[key] = value
    end
    local keys = { "missing", 0, -5, 1.0, "", "k3", 1 }
    for key in pairs(want) do keys[#keys + 1] = key end
    assert.same(want, bucket:get_many(keys))
    bucket:delete("k3")
    assert.same({ [2] = "v2", k6 = "v6" }, bucket:get_many { "k6", "k3", 2, 2, "k6" })
    assert.same({}, bucket:get_many {})
    assert.same({}, tx:bucket("empty", { create = true }):get_many { 1, "a" })
    helper.misuse("a key is a string or an integer", bucket.get_many, bucket, { 1, 1.5 })
    helper.misuse("a key is a string or an integer", bucket.get_many, bucket, { true })
    helper.misuse("table expected", bucket.get_many, bucket, 1)
    helper.raises("limit", bucket.get_many, bucket, { ("k"):rep(1001) })
  end)

  it("tells the key 1 from the key \"1\", and takes 1.0 for 1", function()
    bucket:put(1, "integer")
    bucket:put("1", "string")
    assert.equal("integer", bucket:get(1))
    assert.equal("string", bucket:get("1"))
    assert.equal("integer", bucket:get(1.0))
    assert.equal("integer", math.type(helper.column(bucket:scan())[1]))
  end)

  it("has integers in order, then strings in order", function()
    local keys = {
      math.mininteger, -65536, -256, -1, 0, 1, 255, 256, 1 << 40, math.maxinteger,
      "", "\0", "\0\0", "a", "a\0", "a\0b", "a\xff", "b", "\xff", "\xff\xff",
    }
    for i = #keys, 1, -1 do bucket:put(keys[i], i) end
    local rows = helper.collect(bucket:scan())
    assert.equal(#keys, #rows)
    for i, row in ipairs(rows) do
      assert.equal(keys[i], row[1])
      assert.equal(i, row[2])
    end
    local back = helper.column(bucket:scan { reverse = true })
    for i = 1, #keys do assert.equal(keys[#keys + 1 - i], back[i]) end
  end)

  it("takes every byte in keys, up to the limit", function()
    for byte = 0, 255 do bucket:put(string.char(byte), byte) end
    local at = 0
    for key, value in bucket:scan() do
      assert.equal(string.char(at), key)
      assert.equal(at, value)
      at = at + 1
    end
    assert.equal(256, at)
    local longest = ("\0"):rep(1000)
    local ok, err = pcall(bucket.put, bucket, longest .. "x", 1)
    assert.is_false(ok)
    assert.truthy(err.code == "limit" or err.code == "invalid")
    bucket:put(("k"):rep(1000), 1)
    assert.equal(1, bucket:get(("k"):rep(1000)))
    assert.equal(("k"):rep(1000), helper.column(bucket:scan { prefix = "kkk" })[1])
  end)

  describe("scan", function()
    before_each(function()
      for i = 1, 9 do bucket:put(i, i * 10) end
      for _, key in ipairs { "u:1", "u:2", "u:3", "v:1" } do bucket:put(key, key) end
    end)

    local function keys(range) return helper.column(bucket:scan(range)) end

    it("has bounds, inclusive and exclusive", function()
      assert.same({ 3, 4, 5 }, keys { ge = 3, le = 5 })
      assert.same({ 4 }, keys { gt = 3, lt = 5 })
      assert.same({ 4, 5 }, keys { gt = 3, le = 5 })
      assert.same({ "u:3", "v:1" }, keys { ge = "u:3" })
      assert.same({ 9, "u:1" }, keys { ge = 9, le = "u:1" })
      assert.same({}, keys { gt = 5, lt = 5 })
      assert.same({}, keys { ge = 7, le = 3 })
    end)

    it("has a prefix, a limit, and a direction", function()
      assert.same({ "u:1", "u:2", "u:3" }, keys { prefix = "u:" })
      assert.same({ "u:3", "u:2" }, keys { prefix = "u:", reverse = true, limit = 2 })
      assert.same({ "u:2" }, keys { prefix = "u:", gt = "u:1", lt = "u:3" })
      assert.same({}, keys { prefix = "w" })
      assert.same({}, keys { limit = 0 })
      assert.equal(13, #keys {})
      assert.equal(13, #keys())
    end)

    it("may change what it walks", function()
      for key in bucket:scan { le = 5 } do bucket:delete(key) end
      assert.same({ 6, 7, 8, 9 }, keys { le = 100 })
      for key, value in bucket:scan { le = 100 } do bucket:put(key, value + 1) end
      assert.equal(61, bucket:get(6))
    end)

    it("closes itself at a break", function()
      for key in bucket:scan() do
        if key == 3 then break end
      end
      tx:commit()
    end)

    it("refuses wrong ranges", function()
      helper.misuse("two bounds on this side", bucket.scan, bucket, { ge = 1, gt = 1 })
      helper.misuse("two bounds on this side", bucket.scan, bucket, { le = 1, lt = 1 })
      helper.misuse("option 'ge': a key is", bucket.scan, bucket, { ge = {} })
      helper.misuse("option 'lt': a key is", bucket.scan, bucket, { lt = 0 / 0 })
      helper.misuse("option 'prefix': string", bucket.scan, bucket, { prefix = 1 })
      helper.misuse("unknown option", bucket.scan, bucket, { from = 1 })
      helper.misuse("table expected", bucket.scan, bucket, "u:")
    end)

    it("is counted without being walked", function()
      assert.equal(13, bucket:count())
      assert.equal(3, bucket:count { ge = 3, le = 5 })
      assert.equal(3, bucket:count { prefix = "u:" })
      assert.equal(0, bucket:count { prefix = "w" })
      helper.misuse("unknown option", bucket.count, bucket, { limit = 1 })
    end)

    it("is deleted as a range", function()
      assert.equal(3, bucket:delete_range { ge = 3, le = 5 })
      assert.equal(3, bucket:delete_range { prefix = "u:" })
      assert.equal(0, bucket:delete_range { prefix = "u:" })
      assert.equal(7, bucket:count())
      helper.misuse("table expected", bucket.delete_range, bucket)
      helper.misuse("unknown option", bucket.delete_range, bucket, { reverse = true })
      assert.equal(7, bucket:delete_range {})
      assert.equal(0, bucket:count())
    end)
  end)

  it("is dropped with all that is in it", function()
    bucket:put(1, 1)
    bucket:drop()
    assert.is_nil(tx:bucket("things"))
    helper.raises("not_found", bucket.put, bucket, 1, 1)
    helper.raises("not_found", bucket.drop, bucket)
    assert.is_nil(tx:bucket("things", { create = true }):get(1))
  end)

  it("shares the transaction with the graph", function()
    tx:rollback()
    db:write(function(w)
      w:create("L")
      w:bucket("b", { create = true }):put(1, "x")
      return nil, "no"
    end)
    db:read(function(r)
      assert.is_nil(r:bucket("b"))
      assert.equal(0, r:count())
    end)
  end)

  it("is read-only in a reader", function()
    bucket:put(1, sombra.null)
    tx:commit()
    db:read(function(r)
      local b = r:bucket("things")
      assert.equal(sombra.null, b:get(1))
      helper.raises("readonly", b.put, b, 1, 1)
      helper.raises("readonly", b.delete, b, 1)
      helper.raises("readonly", b.delete_range, b, {})
      helper.raises("readonly", b.drop, b)
    end)
  end)

  it("refuses what cannot be a key", function()
    for _, key in ipairs { 1.5, 0 / 0, 1 / 0, 2 ^ 63, true, {}, print } do
      helper.misuse("string or integer expected", bucket.put, bucket, key, 1)
      helper.misuse("string or integer expected", bucket.get, bucket, key)
      helper.misuse("string or integer expected", bucket.delete, bucket, key)
    end
    helper.misuse("string or integer expected", bucket.get, bucket)
  end)

  it("says what it is", function()
    assert.truthy(tostring(bucket):match("^sombra%.bucket: %d+, open$"))
  end)

  it(("agrees with a sorted table (seed %d)"):format(helper.seed), function()
    math.randomseed(helper.seed)
    local model = {}
    for _ = 1, 3000 do
      local key = math.random(2) == 1 and math.random(-50, 50) or ("k"):rep(math.random(0, 3)) .. math.random(0, 50)
      if math.random(3) > 1 then
        local value = helper.random_value(1)
        bucket:put(key, value)
        model[key] = value
      else
        assert.equal(model[key] ~= nil, bucket:delete(key))
        model[key] = nil
      end
    end
    local count = 0
    for key, value in pairs(model) do
      count = count + 1
      assert(helper.same(value, bucket:get(key)), tostring(key))
    end
    assert.equal(count, bucket:count())
    local last
    for key, value in bucket:scan() do
      assert(helper.same(value, model[key]))
      if math.type(last) == math.type(key) and last then assert.truthy(last < key) end
      last, count = key, count - 1
    end
    assert.equal(0, count)
  end)
end)
