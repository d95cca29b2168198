-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

describe("nodes", function()
  local db, tx

  before_each(function()
    db = helper.memory()
    tx = db:begin("write")
  end)
  after_each(function() db:close() end)

  local function sorted(list)
    table.sort(list)
    return { table.unpack(list) }
  end

  it("are made with a label, several, or none", function()
    assert.same({ "Person" }, sorted(tx:node(tx:create("Person")).labels))
    assert.same({ "A", "B" }, sorted(tx:node(tx:create({ "B", "A", "B" })).labels))
    assert.same({}, sorted(tx:node(tx:create()).labels))
    assert.same({}, sorted(tx:node(tx:create({})).labels))
    assert.same({}, sorted(tx:node(tx:create(nil, { a = 1 })).labels))
    local many = {}
    for i = 1, 40 do many[i] = ("L%02d"):format(i) end
    assert.same(many, sorted(tx:node(tx:create(many)).labels))
  end)

  it("are integers that grow", function()
    local a, b = tx:create(), tx:create()
    assert.equal("integer", math.type(a))
    assert.truthy(a >= 1 and b > a)
  end)

  it("read as plain records", function()
    local id = tx:create("Person", { name = "Ada", born = 1815, score = 4.0, tags = { "math" }, map = { a = {} } })
    local node = tx:node(id)
    assert.equal(id, node.id)
    assert.equal("Ada", node.props.name)
    assert.equal("integer", math.type(node.props.born))
    assert.equal("float", math.type(node.props.score))
    assert.same({ "math" }, { table.unpack(node.props.tags) })
    assert.same({ a = {} }, node.props.map)
    assert.is_nil(getmetatable(node))
    tx:commit()
    assert.equal("Ada", node.props.name)
  end)

  it("read one property", function()
    local id = tx:create("L", { a = 1, b = "x", c = { 1, { d = 2 } }, f = false })
    assert.equal(1, tx:get(id, "a"))
    assert.equal("x", tx:get(id, "b"))
    assert.equal(2, tx:get(id, "c")[2].d)
    assert.is_false(tx:get(id, "f"))
    assert.is_nil(tx:get(id, "missing"))
    assert.is_nil(tx:get(id + 1, "a"))
    assert.equal(1, select("#", tx:get(id, "missing")))
  end)

  it("read several properties at once", function()
    local id = tx:create("L", { a = 1, b = "x", c = { 1, { d = 2 } }, f = false, long = ("y"):rep(3000) })
    assert.same({ 1, "x", false }, { tx:get(id, "a", "b", "f") })
    local long, missing, c, a = tx:get(id, "long", "missing", "c", "a")
    assert.same({ 3000, 2, 1 }, { #long, c[2].d, a })
    assert.is_nil(missing)
    assert.equal(2, select("#", tx:get(id + 1, "a", "b")))
    assert.equal(2, select("#", tx:get(id, "missing", "absent")))
    helper.misuse("string expected", tx.get, tx, id, "a", 1)
    helper.misuse("too many properties", tx.get, tx, id, table.unpack({ "a", "a", "a", "a", "a", "a", "a", "a", "a",
      "a", "a", "a", "a", "a", "a", "a", "a" }))
  end)

  it("read one property of many", function()
    local ids, want = {}, {}
    for i = 1, 300 do
      want[i] = i % 7 == 0 and sombra.null or i % 11 == 0 and { i } or i % 13 == 0 and ("s"):rep(i * 9) or i
      ids[i] = tx:create(i % 2 == 0 and "L" or nil, { a = i % 7 ~= 0 and want[i] or nil, b = -i })
    end
    local function check(open)
      assert.same(want, { table.unpack(open:get_many(ids, "a")) })
      local back, mirrored = {}, {}
      for i = 1, #ids do back[i], mirrored[i] = ids[#ids + 1 - i], want[#ids + 1 - i] end
      assert.same(mirrored, { table.unpack(open:get_many(back, "a")) })
      local some = { ids[3], ids[1], ids[3], ids[300] + 9 }
      assert.same({ -3, -1, -3, sombra.null }, { table.unpack(open:get_many(some, "b")) })
      assert.same({ sombra.null }, { table.unpack(open:get_many({ ids[1] }, "nothing")) })
      assert.equal(0, #open:get_many({}, "a"))
    end
    check(tx)
    tx:commit()
    db:read(check)
    db:read(function(open)
      helper.misuse("an id is an integer", open.get_many, open, { 1, "2" }, "a")
      helper.misuse("an id is an integer", open.get_many, open, { 1.5 }, "a")
      helper.misuse("table expected", open.get_many, open, 1, "a")
      helper.misuse("string expected", open.get_many, open, { 1 })
    end)
  end)

  it("are nil where there is none", function()
    assert.is_nil(tx:node(1))
    assert.is_nil(tx:node(0))
    assert.is_nil(tx:node(math.maxinteger))
    assert.is_false(tx:exists(1))
    assert.is_true(tx:exists(tx:create()))
    assert.is_true(tx:exists(1.0))
  end)

  it("merge properties with set, and lose those that are null", function()
    local id = tx:create("L", { a = 1, b = 2 })
    tx:set(id, { b = 3, c = 4, nothing = sombra.null })
    assert.same({ a = 1, b = 3, c = 4 }, tx:node(id).props)
    tx:set(id, { a = sombra.null })
    assert.same({ b = 3, c = 4 }, tx:node(id).props)
    tx:set(id, {})
    assert.same({ b = 3, c = 4 }, tx:node(id).props)
  end)

  it("lose all others with replace", function()
    local id = tx:create("L", { a = 1, b = 2 })
    tx:replace(id, { c = 3, d = sombra.null })
    assert.same({ c = 3 }, tx:node(id).props)
    tx:replace(id, {})
    assert.same({}, tx:node(id).props)
    assert.same({ "L" }, { table.unpack(tx:node(id).labels) })
  end)

  it("lose properties by name", function()
    local id = tx:create("L", { a = 1, b = 2, c = 3 })
    tx:remove(id, "a", "c", "never")
    assert.same({ b = 2 }, tx:node(id).props)
    helper.misuse("string expected", tx.remove, tx, id)
    helper.misuse("string expected", tx.remove, tx, id, "b", 1)
    assert.equal(2, tx:get(id, "b"))
  end)

  it("gain and lose labels", function()
    local id = tx:create("A")
    assert.is_true(tx:add_label(id, "B"))
    assert.is_false(tx:add_label(id, "B"))
    assert.is_true(tx:has_label(id, "B"))
    assert.equal(1, tx:count("B"))
    assert.is_true(tx:remove_label(id, "A"))
    assert.is_false(tx:remove_label(id, "A"))
    assert.is_false(tx:has_label(id, "A"))
    assert.is_false(tx:has_label(id + 1, "A"))
    assert.equal(0, tx:count("A"))
  end)

  it("are deleted, with their edges if asked", function()
    local a, b = tx:create("L"), tx:create("L")
    local edge = tx:link(a, "T", b)
    local err = helper.raises("conflict", tx.delete, tx, a)
    assert.truthy(#err.message > 0)
    helper.raises("conflict", tx.delete, tx, b, { detach = false })
    assert.is_true(tx:delete(a, { detach = true }))
    assert.is_false(tx:edge_exists(edge))
    assert.is_true(tx:delete(b))
    assert.is_false(tx:delete(b))
    assert.equal(0, tx:count())
    helper.misuse("unknown option", tx.delete, tx, a, { force = true })
    helper.misuse("boolean expected", tx.delete, tx, a, { detach = 1 })
  end)

  it("raise not_found when what does not exist is changed", function()
    helper.raises("not_found", tx.set, tx, 99, { a = 1 })
    helper.raises("not_found", tx.replace, tx, 99, {})
    helper.raises("not_found", tx.remove, tx, 99, "a")
    helper.raises("not_found", tx.add_label, tx, 99, "L")
    helper.raises("not_found", tx.remove_label, tx, 99, "L")
    assert.is_true(tx:is_open())
  end)

  it("are counted by label", function()
    for i = 1, 30 do tx:create(i % 3 == 0 and { "Third", "All" } or "All") end
    tx:create()
    assert.equal(31, tx:count())
    assert.equal(30, tx:count("All"))
    assert.equal(10, tx:count("Third"))
    assert.equal(0, tx:count("None"))
  end)

  describe("in a loop", function()
    local ids
    before_each(function()
      ids = {}
      for i = 1, 500 do
        local id = tx:create("All")
        ids[i] = id
        if i % 100 == 0 then tx:add_label(id, "Rare") end
      end
    end)

    it("come in order of their ids", function()
      assert.same(ids, helper.column(tx:nodes()))
      assert.same(ids, helper.column(tx:nodes("All")))
      assert.same({ ids[100], ids[200], ids[300], ids[400], ids[500] }, helper.column(tx:nodes("Rare")))
      assert.same({}, helper.column(tx:nodes("None")))
    end)

    it("come from a range, at most so many, from either end", function()
      local function column(...) return helper.column(tx:nodes(...)) end
      assert.same({ ids[10], ids[11], ids[12] }, column(nil, { from = ids[10], to = ids[12] }))
      assert.same({ ids[500], ids[499] }, column("All", { reverse = true, limit = 2 }))
      assert.same({ ids[12], ids[11] }, column("All", { reverse = true, limit = 2, to = ids[12] }))
      assert.same({ ids[400], ids[300] }, column("Rare", { reverse = true, from = ids[300], to = ids[499] }))
      assert.same({}, column(nil, { from = ids[12], to = ids[10] }))
      assert.same({}, column(nil, { limit = 0 }))
      assert.same({}, column(nil, { to = 0 }))
      assert.same({ ids[1] }, column(nil, { from = 0, limit = 1 }))
      assert.same({}, column(nil, { from = math.maxinteger }))
    end)

    it("are the first and the last", function()
      local function list(values) return { table.unpack(values) } end
      assert.same({ ids[1] }, list(tx:first()))
      assert.same({ ids[1], ids[2], ids[3] }, list(tx:first("All", 3)))
      assert.same({ ids[500], ids[499] }, list(tx:last(nil, 2)))
      assert.same({ ids[500], ids[400] }, list(tx:last("Rare", 2)))
      assert.equal(500, #tx:first(nil, 1000000))
      assert.equal(0, #tx:first("None", 5))
      assert.equal(0, #tx:last(nil, 0))
      assert.is_true(sombra.is_list(tx:first()))
      helper.misuse("at least 0", tx.first, tx, nil, -1)
    end)

    it("may be deleted as they come", function()
      for id in tx:nodes("All") do tx:delete(id) end
      assert.equal(0, tx:count())
    end)

    it("stop at a break, and the transaction goes on", function()
      for id in tx:nodes() do
        if id == ids[3] then break end
      end
      assert.equal(500, tx:count())
      tx:commit()
    end)

    it("are at their end for good", function()
      local step, state, control, closing = tx:nodes("Rare")
      assert.is_nil(control)
      assert.equal(state, closing)
      assert.equal("sombra.iterator: open", tostring(state))
      for _ = 1, 5 do assert.truthy(step(state)) end
      assert.is_nil(step(state))
      assert.is_nil(step(state))
      assert.equal("sombra.iterator: at its end", tostring(state))
      tx:commit()
      assert.is_nil(step(state))
      helper.misuse("sombra.iterator expected", step, {})
      helper.misuse("sombra.iterator expected", step)
    end)

    it("give memory back when they are closed early", function()
      do
        local step, state, _, closing = tx:nodes()
        local guard <close> = closing -- luacheck: ignore 211
        step(state)
      end
      local step, state = tx:nodes()
      step(state)
      state = nil -- luacheck: ignore 311
      collectgarbage()
      assert.equal(500, tx:count())
    end)

    it("refuse wrong options", function()
      helper.misuse("unknown option", tx.nodes, tx, nil, { where = {} })
      helper.misuse("integer of at least 0", tx.nodes, tx, nil, { limit = -1 })
      helper.misuse("integer of at least 0", tx.nodes, tx, nil, { from = "1" })
      helper.misuse("boolean expected", tx.nodes, tx, nil, { reverse = 1 })
      helper.misuse("string expected", tx.nodes, tx, 1)
    end)
  end)

  it("list the labels in use, and how many have them", function()
    local a = tx:create({ "A", "B" })
    tx:create("B")
    local gone = tx:create("Gone")
    tx:delete(gone)
    local counts = {}
    for label, count in tx:labels() do counts[label] = count end
    assert.same({ A = 1, B = 2 }, counts)
    tx:remove_label(a, "A")
    assert.same({ { "B", 2 } }, helper.collect(tx:labels()))
  end)

  it("refuse wrong arguments", function()
    helper.misuse("id expected, got string", tx.node, tx, "1")
    helper.misuse("id expected, got no value", tx.node, tx)
    helper.misuse("integer of at least 1", tx.node, tx, 1.5)
    helper.misuse("integer of at least 1", tx.node, tx, -1)
    helper.misuse("integer of at least 1", tx.node, tx, 2 ^ 63)
    helper.misuse("the name is empty", tx.create, tx, "")
    helper.misuse("string expected", tx.create, tx, 1)
    helper.misuse("a list of names", tx.create, tx, { name = "Ada" })
    helper.misuse("a name is a string", tx.create, tx, { "A", 1 })
    helper.misuse("a name is a string", tx.create, tx, { "" })
    helper.misuse("string expected", tx.get, tx, 1)
    helper.misuse("string expected", tx.get, tx, 1, 2)
    helper.misuse("table expected", tx.set, tx, 1)
    helper.misuse("table expected", tx.replace, tx, 1, "x")
    helper.misuse("string expected", tx.count, tx, 1)
    helper.misuse("the name is empty", tx.count, tx, "")
    helper.misuse("string expected", tx.add_label, tx, 1)
    helper.misuse("string expected", tx.has_label, tx, 1)
    helper.misuse("string expected", tx.remove_label, tx, 1)
  end)

  it("refuse names that are too long", function()
    local long = ("n"):rep(256)
    for _, call in ipairs {
      function() tx:create(long) end,
      function() tx:create("L", { [long] = 1 }) end,
    } do
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.truthy(err.code == "limit" or err.code == "invalid")
    end
    local most = ("n"):rep(255)
    local id = tx:create(most, { [most] = 1 })
    assert.equal(1, tx:get(id, most))
  end)

  it("carry large properties", function()
    local props = {}
    for i = 1, 100 do props["p" .. i] = ("v"):rep(i * 50) end
    local id = tx:create("L", props)
    assert.same(props, tx:node(id).props)
  end)

  -- A batch looks for hooks, and stops the collector meanwhile.
  it("are made in a batch beside a hook that has not to run", function()
    local values, calls = {}, 0
    for i = 1, 50000 do values[i] = i end
    debug.sethook(function() calls = calls + 1 end, "", 1000000000)
    local is_good, message = pcall(tx.create_many, tx, "L", { i = values })
    debug.sethook()
    assert.is_true(is_good, message)
    assert.equal(0, calls)
    assert.is_true(collectgarbage("isrunning"))
  end)

  helper.on("btree", "it", "are read together where a traversal asks for what they have", "it counts pages", function()
    local count = 3000 -- in a tree of two levels: one by one that is two pages each
    local values = {}
    for i = 1, count do values[i] = i end
    tx:create_many("L", { i = values })
    local traversals = {
      tx:from("L"):where { i = { gt = count - 2 } },
      tx:from("L"):order("-i"):limit(2),
      tx:from("L"):select("i"):order("-i"):limit(2),
    }
    for _, traversal in ipairs(traversals) do
      local _, plan = traversal:profile()
      local pages = 0
      local function add(part)
        pages = math.max(pages, part.pages)
        for _, input in ipairs(part.inputs or {}) do add(input) end
      end
      add(plan)
      assert.is_true(pages > count and pages < 1.5 * count, ("%d pages"):format(pages))
    end
  end)
end)
