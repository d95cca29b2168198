-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

-- What a write transaction raised.
local function refused(db, fn)
  local ok, err = pcall(db.write, db, fn)
  assert.is_false(ok)
  return err
end

describe("an index", function()
  local db

  before_each(function() db = helper.memory() end)
  after_each(function() db:close() end)

  it("finds nodes by one property or several", function()
    db:write(function(tx)
      tx:create_index("Person", "name")
      tx:create_index("Person", { "born", "name" })
      local ada = tx:create("Person", { name = "Ada", born = 1815 })
      tx:create("Person", { name = "Ada", born = 1900 })
      tx:create("Dog", { name = "Rex" })
      assert.equal(ada, tx:find("Person", "name", "Ada"))
      assert.equal(ada + 1, tx:find("Person", { name = "Ada", born = 1900.0 }))
      assert.is_nil(tx:find("Person", "name", "Rex"))
      assert.is_nil(tx:find("Person", { name = "Ada", born = 1901 }))
    end)
  end)

  it("is needed to find", function()
    local err = refused(db, function(tx) return tx:find("Person", "name", "Ada") end)
    assert.equal("invalid", err.code)
    assert.truthy(err.message:find("index", 1, true))
  end)

  it("holds values of every kind and length", function()
    local values = { true, false, 1, 1.5, -0.0, math.huge, math.mininteger, "", ("x"):rep(5000), ("x"):rep(5000) .. "y",
      sombra.list { 1, "a" }, { a = 1 }, sombra.list {}, {} }
    db:write(function(tx)
      tx:create_index("Thing", "value")
      for i, value in ipairs(values) do
        assert.equal(i, tx:create("Thing", { value = value }))
      end
      for i, value in ipairs(values) do
        assert.equal(i, tx:find("Thing", { value = value }))
      assert.equal(i, tx:find("Thing", "value", value))
      end
    end)
    local problems = db:verify()
    assert.same({}, problems)
  end)

  it("that is unique refuses a second, and says who is in the way", function()
    local ada = db:write(function(tx)
      tx:create_index("Person", "name", { unique = true })
      return tx:create("Person", { name = "Ada" })
    end)
    local err = refused(db, function(tx) tx:create({ "Person", "Author" }, { name = "Ada" }) end)
    assert.equal("unique", err.code)
    assert.equal("Person", err.label)
    assert.is_nil(err.type)
    assert.equal("name", err.property)
    assert.equal(ada, err.id)
    assert.is_false(err.retryable)
    db:write(function(tx)
      local bob = tx:create("Person", { name = "Bob" })
      assert.is_false(pcall(tx.set, tx, bob, { name = "Ada" }))
      assert.equal("Bob", tx:get(bob, "name")) -- nothing was changed, and the transaction goes on
      assert.is_false(pcall(tx.add_label, tx, tx:create(nil, { name = "Ada" }), "Person"))
      tx:set(ada, { name = "Ada", born = 1815 })
    end)
    assert.same({}, (db:verify()))
  end)

  it("of edges is asked for by `edge`", function()
    db:write(function(tx)
      tx:create_index("KNOWS", "key", { edge = true, unique = true })
      local a, b = tx:create(), tx:create()
      local edge = tx:link(a, "KNOWS", b, { key = 1 })
      local ok, err = pcall(tx.link, tx, b, "KNOWS", a, { key = 1 })
      assert.is_false(ok)
      assert.same({ "unique", "KNOWS", "key", edge }, { err.code, err.type, err.property, err.id })
      assert.is_nil(err.label)
      tx:link(b, "LIKES", a, { key = 1 })
    end)
  end)

  it("is dropped, made again, and refused when it is there", function()
    db:write(function(tx)
      local id = tx:create_index("Person", { "name", "born" })
      assert.is_true(math.type(id) == "integer")
      local ok, err = pcall(tx.create_index, tx, "Person", { "name", "born" })
      assert.is_false(ok)
      assert.equal("exists", err.code)
      assert.is_false(tx:drop_index("Person", { "name", "born" }, { unique = true }))
      assert.is_true(tx:drop_index("Person", { "name", "born" }))
      assert.is_false(tx:drop_index("Person", { "name", "born" }))
      assert.is_true(tx:create_index("Person", { "name", "born" }) > id)
    end)
  end)

  it("is not made over what breaks it", function()
    db:write(function(tx)
      tx:create_many("Person", { { name = "Ada" }, { name = "Ada" } })
      local ok, err = pcall(tx.create_index, tx, "Person", "name", { unique = true })
      assert.is_false(ok)
      assert.same({ "unique", "Person", "name" }, { err.code, err.label, err.property })
    end)
    assert.same({}, db:schema().indexes)
    local id, err = db:create_index("Person", "name", { unique = true })
    assert.is_nil(id)
    assert.equal("unique", err.code)
    assert.same({}, db:schema().indexes)
  end)

  it("takes its arguments apart", function()
    db:write(function(tx)
      for _, arguments in ipairs {
        { "Person" }, { "", "name" }, { "Person", "" }, { "Person", {} }, { "Person", { "name", 1 } }, { 1, "name" },
        { "Person", "name", { uniqe = true } }, { "Person", "name", { unique = 1 } },
        { "Person", { "a", "b", "c", "d", "e", "f", "g", "h", "i" } },
      } do
        assert.is_false(pcall(tx.create_index, tx, table.unpack(arguments)))
      end
      assert.is_false(pcall(tx.create_index, tx, "Person", { "a", "a" }))
    end)
    assert.same({}, db:schema().indexes)
  end)
end)

describe("an index made online", function()
  local db

  before_each(function()
    db = helper.memory()
    db:write(function(tx)
      local list = {}
      for i = 1, 20000 do list[i] = { key = i, even = i % 2 == 0 } end
      tx:create_many("Person", list)
    end)
  end)
  after_each(function() db:close() end)

  it("is ready when the call returns", function()
    local calls, last = 0, -1
    local id = assert(db:create_index("Person", "key", { unique = true, progress = function(done, total)
      assert.is_true(done >= last and done <= total)
      calls, last = calls + 1, done
    end }))
    assert.is_true(calls >= 3)
    local index = db:schema().indexes[1]
    assert.same({ id = id, label = "Person", properties = { "key" }, unique = true, ready = true, entries = 20000 },
      index)
    db:read(function(tx) assert.equal(777, tx:find("Person", "key", 777)) end)
    assert.same({}, (db:verify()))
    local again, err = db:create_index("Person", "key", { unique = true })
    assert.is_nil(again)
    assert.equal("exists", err.code)
  end)

  it("that was stopped goes on where it was, with what was written in between", function()
    local id, err = db:create_index("Person", "key", { progress = function(done) return done < 5000 end })
    assert.is_nil(id)
    assert.equal("cancelled", err.code)
    local index = db:schema().indexes[1]
    assert.is_false(index.ready)
    assert.is_true(index.entries > 0 and index.entries < 20000)
    db:write(function(tx)
      tx:set(1, { key = -1 })
      tx:set(20000, { key = -2 })
      tx:delete(2)
      tx:create("Person", { key = 30000 })
      assert.is_false(pcall(tx.find, tx, "Person", "key", 1)) -- not yet
    end)
    assert.same({}, (db:verify()))
    local seen
    assert.equal(index.id, db:create_index("Person", "key", { progress = function(done, total)
      seen = seen or total
      return true, done
    end }))
    assert.is_true(seen <= 20000)
    db:read(function(tx)
      assert.equal(1, tx:find("Person", "key", -1))
      assert.equal(20000, tx:find("Person", "key", -2))
      assert.equal(20001, tx:find("Person", "key", 30000))
      assert.is_nil(tx:find("Person", "key", 2))
    end)
    assert.same({}, (db:verify()))
  end)

  it("raises what its progress function raises, and may be made at once", function()
    local ok, err = pcall(db.create_index, db, "Person", "key", { progress = function() error("no", 0) end })
    assert.is_false(ok)
    assert.equal("no", err)
    assert.is_true(db:write(function(tx) return tx:drop_index("Person", "key") end))
    assert.is_truthy(db:create_index("Person", { "even", "key" }, { online = false }))
    assert.equal(20000, db:schema().indexes[1].entries)
  end)
end)

describe("a constraint", function()
  local db

  before_each(function() db = helper.memory() end)
  after_each(function() db:close() end)

  it("requires a property, or its kind", function()
    db:write(function(tx)
      tx:create_constraint("Person", "name", { required = true })
      tx:create_constraint("Person", "name", { kind = "string" })
      tx:create_constraint("KNOWS", "since", { kind = "number", edge = true })
    end)
    local err = refused(db, function(tx) tx:create("Person", { born = 1815 }) end)
    assert.same({ "constraint", "Person", "name" }, { err.code, err.label, err.property })
    assert.equal("constraint", refused(db, function(tx) tx:create("Person", { name = 1 }) end).code)
    db:write(function(tx)
      local ada = tx:create("Person", { name = "Ada" })
      local edge = tx:link(ada, "KNOWS", ada, { since = 1.5 })
      tx:edge_set(edge, { since = 1 })
      local ok, why = pcall(tx.edge_set, tx, edge, { since = "then" })
      assert.is_false(ok)
      assert.same({ "constraint", "KNOWS", "since", edge }, { why.code, why.type, why.property, why.id })
      assert.is_false(pcall(tx.remove, tx, ada, "name"))
      assert.is_true(tx:drop_constraint("Person", "name", { required = true }))
      assert.is_false(tx:drop_constraint("Person", "name", { required = true }))
      tx:remove(ada, "name")
    end)
    assert.same({}, (db:verify()))
  end)

  it("is one of the two", function()
    db:write(function(tx)
      for _, options in ipairs { {}, { required = true, kind = "string" }, { kind = "text" }, { kind = 1 }, false } do
        assert.is_false(pcall(tx.create_constraint, tx, "Person", "name", options or nil))
      end
    end)
  end)
end)

describe("upserts and batches", function()
  local db

  before_each(function() db = helper.memory() end)
  after_each(function() db:close() end)

  it("upsert makes a node once, and sets then", function()
    db:write(function(tx)
      tx:create_index("Person", "name", { unique = true })
      local ada, is_new = tx:upsert("Person", { name = "Ada" }, { born = 1815, x = 1 })
      assert.is_true(is_new)
      assert.same({ name = "Ada", born = 1815, x = 1 }, tx:node(ada).props)
      local again, is_new_again = tx:upsert("Person", { name = "Ada" }, { born = 1816, x = sombra.null })
      assert.equal(ada, again)
      assert.is_false(is_new_again)
      assert.same({ name = "Ada", born = 1816 }, tx:node(ada).props)
      assert.equal(ada, (tx:upsert("Person", { name = "Ada" })))
      local ok, err = pcall(tx.upsert, tx, "Person", { born = 1816 })
      assert.is_false(ok)
      assert.equal("invalid", err.code)
    end)
  end)

  it("link_upsert makes an edge once", function()
    db:write(function(tx)
      local a, b = tx:create(), tx:create()
      local edge, is_new = tx:link_upsert(a, "KNOWS", b, { since = 1 })
      assert.is_true(is_new)
      assert.same({ edge, false }, { tx:link_upsert(a, "KNOWS", b, { weight = 2 }) })
      assert.same({ since = 1, weight = 2 }, tx:edge(edge).props)
      assert.same({ edge + 1, true }, { tx:link_upsert(b, "KNOWS", a) })
    end)
  end)

  it("create_many makes nodes that follow one another", function()
    db:write(function(tx)
      local list = {}
      for i = 1, 3000 do list[i] = { key = i, name = "n" .. i } end
      list[7] = {}
      local first, count = tx:create_many({ "Person", "Author" }, list)
      assert.same({ 1, 3000 }, { first, count })
      assert.same({ id = 3000, labels = { "Person", "Author" }, props = { key = 3000, name = "n3000" } }, tx:node(3000))
      assert.same({}, tx:node(7).props)
      assert.equal(3000, tx:count("Author"))
      assert.same({ nil, 0, n = 2 }, table.pack(tx:create_many("Person", {})))
    end)
    assert.same({}, (db:verify()))
  end)

  it("link_many makes edges in any order", function()
    db:write(function(tx)
      tx:create_many(nil, { {}, {}, {} })
      local first, count = tx:link_many("KNOWS", { { 3, 1, { since = 1 } }, { 1, 2 }, { 3, 1 }, { 2, 2, {} } })
      assert.same({ 1, 4 }, { first, count })
      assert.same({ id = 1, src = 3, dst = 1, type = "KNOWS", props = { since = 1 } }, tx:edge(1))
      assert.same({ id = 4, src = 2, dst = 2, type = "KNOWS", props = {} }, tx:edge(4))
      assert.equal(4, tx:count_edges("KNOWS"))
    end)
    assert.same({}, (db:verify()))
  end)

  it("create_many takes columns, too", function()
    db:write(function(tx)
      tx:create_index("Person", "key", { unique = true })
      tx:create_index("Person", "mixed")
      local columns = { key = {}, name = {}, score = {}, ok = {}, mixed = {} }
      for i = 1, 3000 do
        columns.key[i], columns.name[i], columns.score[i], columns.ok[i] = i, "n" .. i, i / 4, i % 2 == 0
        columns.mixed[i] = i % 3 == 0 and sombra.null or i % 3 == 1 and i + 0.5 or { tag = "t" .. i, list = { 1, 2 } }
      end
      assert.same({ 1, 3000 }, { tx:create_many({ "Person", "Author" }, columns) })
      assert.same({ key = 3000, name = "n3000", score = 750.0, ok = true }, tx:node(3000).props)
      assert.equal("float", math.type(tx:get(4, "score")))
      assert.equal(1.5, tx:get(1, "mixed"))
      assert.same({ tag = "t2", list = { 1, 2 } }, tx:node(2).props.mixed)
      assert.equal(2999, tx:find("Person", "key", 2999))
      assert.same({ nil, 0, n = 2 }, table.pack(tx:create_many("Person", { key = {} })))
    end)
    assert.same({}, (db:verify()))
  end)

  it("columns may turn to another kind at any place", function()
    local rows = 70
    for _, kinds in ipairs { { 1, 2.5 }, { 2.5, 1 }, { true, "x" }, { "x", 7 }, { 7, sombra.null }, { "x", { 1 } } } do
      for turn = 1, rows, 3 do
        db:write(function(tx)
          local columns = { a = {}, b = {} }
          for i = 1, rows do
            columns.a[i], columns.b[i] = kinds[i < turn and 1 or 2], i
          end
          local first = tx:create_many(nil, columns)
          for i = 1, rows do
            local expected = columns.a[i]
            if expected == sombra.null then expected = nil end
            assert.same({ a = expected, b = i }, tx:node(first + i - 1).props)
            assert.equal(math.type(expected), math.type(tx:get(first + i - 1, "a")))
          end
        end)
      end
    end
  end)

  it("rows of a list may differ from any place on", function()
    local others = {
      { a = 1, b = "x", c = 1.5, d = true }, { a = 2.5, b = "x", c = 1.5, d = true },
      { a = 1, b = 7, c = 1.5, d = true },
      { a = 1, b = "x", c = 1, d = true }, { a = 1, b = "x", c = 1.5, d = "no" }, { a = 1, b = "x", c = 1.5 },
      { a = 1, b = "x", c = 1.5, e = true }, { a = 1, b = "x", c = 1.5, d = true, e = 1 }, {},
      { a = sombra.null, b = "x", c = 1.5, d = true }, { a = { 1, 2 }, b = "x", c = 1.5, d = true },
    }
    for _, repeats in ipairs { 1, 60 } do -- two strings of 60 bytes are not one, to Lua
      for _, other in ipairs(others) do
        for _, turn in ipairs { 1, 2, 9, 10, 11 } do
          local list = {}
          for i = 1, 10 do
            local row = { a = i, b = "b" .. i, c = i + 0.25, [("d"):rep(repeats)] = i % 2 == 0 }
            if i >= turn then row = other end
            list[i] = row
          end
          db:write(function(tx)
            local first, count = tx:create_many("Row", list)
            assert.equal(10, count)
            for i = 1, 10 do
              local props = tx:node(first + i - 1).props
              local expected = {}
              for key, value in pairs(list[i]) do
                if value ~= sombra.null then expected[key] = value end
              end
              assert.same(expected, props)
              assert.equal(math.type(expected.a), math.type(props.a))
            end
          end)
        end
      end
    end
    assert.same({}, (db:verify()))
  end)

  it("link_many takes lists of sources and targets, and columns", function()
    db:write(function(tx)
      tx:create_many(nil, { {}, {}, {} })
      assert.same({ 1, 3 }, { tx:link_many("KNOWS", { 3, 1, 1 }, { 1, 2, 1 }, { since = { 7, 8, 9 } }) })
      assert.same({ id = 3, src = 1, dst = 1, type = "KNOWS", props = { since = 9 } }, tx:edge(3))
      assert.same({ 4, 2 }, { tx:link_many("LIKES", { 1, 2 }, { 2, 3 }) })
      assert.same({ id = 5, src = 2, dst = 3, type = "LIKES", props = {} }, tx:edge(5))
      assert.same({ nil, 0, n = 2 }, table.pack(tx:link_many("KNOWS", {}, {}, {})))
    end)
    assert.same({}, (db:verify()))
  end)

  it("columns that do not go together are refused, with their names", function()
    db:write(function(tx)
      tx:create("Person", { key = 1 })
      tx:create_index("Person", "key", { unique = true })
      local function refuses(text, call, ...)
        local ok, message = pcall(tx[call], tx, ...)
        assert.is_false(ok)
        assert.truthy(tostring(message):find(text, 1, true), tostring(message))
      end
      refuses(" values, where ", "create_many", "Person", { a = { 1, 2 }, b = { 1, 2, 3 } })
      refuses("a: a list of values expected", "create_many", "Person", { a = 1 })
      refuses("names of properties are strings", "create_many", "Person", { a = { 1 }, [1] = { 1 } })
      refuses("a[2]: functions cannot be stored", "create_many", "Person", { a = { 1, print } })
      refuses("a[2][1]: functions cannot be stored", "create_many", "Person", { a = { 1, { print } } })
      refuses("a[1]: nil cannot be stored", "create_many", "Person", { a = { nil, 2 } })
      refuses("[unique]", "create_many", "Person", { key = { 2, 1 } })
      refuses("a list of 1 ids, where 2 belong", "link_many", "KNOWS", { 1, 1 }, { 1 })
      refuses("[2]: an id is", "link_many", "KNOWS", { 1, 1 }, { 1, "1" })
      refuses("since: a list of 1 values, where 2 belong", "link_many", "KNOWS", { 1, 1 }, { 1, 1 }, { since = { 1 } })
      refuses("belong to a list of sources", "link_many", "KNOWS", { { 1, 1 } }, nil, { since = { 1 } })
      refuses("does not exist", "link_many", "KNOWS", { 1, 9 }, { 1, 1 })
      assert.equal(1, tx:count())
      assert.equal(0, tx:count_edges())
    end)
    assert.same({}, (db:verify()))
  end)

  it("batches are made as a whole or not at all", function()
    db:write(function(tx)
      tx:create_index("Person", "key", { unique = true })
      assert.is_false(pcall(tx.create_many, tx, "Person", { { key = 1 }, { key = 2 }, { key = 1.0 } }))
      local ok, message = pcall(tx.create_many, tx, "Person", { { key = 1 }, { tags = { 1, print } } })
      assert.is_false(ok)
      assert.truthy(tostring(message):find("[2].tags[2]: functions cannot be stored", 1, true))
      assert.is_false(pcall(tx.create_many, tx, "Person", { { key = 1 }, 2 }))
      assert.is_false(pcall(tx.create_many, tx, "Person", { { key = 1 }, { 1, 2 } }))
      assert.equal(0, tx:count())
      tx:create("Person", { key = 1 })
      for _, list in ipairs { { { 1, 1 }, { 1, 9 } }, { { 1 } }, { { 1, 1, 1 } }, { 1 }, { { 1, 1.5 } } } do
        assert.is_false(pcall(tx.link_many, tx, "KNOWS", list))
      end
      assert.equal(0, tx:count_edges())
    end)
    assert.same({}, (db:verify()))
  end)

  it("cannot be made in a read transaction", function()
    db:read(function(tx)
      for _, call in ipairs {
        function() tx:create_many("Person", { {} }) end,
        function() tx:link_many("KNOWS", { { 1, 1 } }) end,
        function() tx:link_upsert(1, "KNOWS", 1) end,
        function() tx:create_index("Person", "name") end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.equal("readonly", err.code)
      end
    end)
  end)
end)

describe("the schema", function()
  it("lists what there is, and is kept in the file", function()
    local path = helper.path()
    local db = assert(sombra.open(path, { create = true }))
    db:write(function(tx)
      tx:create_index("Person", { "name", "born" })
      tx:create_index("KNOWS", "since", { edge = true, unique = true })
      tx:create_constraint("Person", "name", { kind = "string" })
      tx:create_constraint("KNOWS", "since", { required = true, edge = true })
      local ada = tx:create("Person", { name = "Ada" })
      tx:link(ada, "KNOWS", ada, { since = 1 })
    end)
    db:close()
    db = assert(sombra.open(path))
    local schema = db:schema()
    assert.same({ { name = "Person", nodes = 1 } }, schema.labels)
    assert.same({ { name = "KNOWS", edges = 1 } }, schema.types)
    assert.same({ "name", "born", "since" }, schema.properties)
    local ids = {}
    for _, list in ipairs { schema.indexes, schema.constraints } do
      for _, rule in ipairs(list) do
        ids[#ids + 1], rule.id = rule.id, nil
      end
    end
    assert.equal(4, #ids)
    assert.same({
      { label = "Person", properties = { "name", "born" }, unique = false, ready = true, entries = 1 },
      { type = "KNOWS", properties = { "since" }, unique = true, ready = true, entries = 1 },
    }, schema.indexes)
    assert.same({
      { label = "Person", property = "name", kind = "string", ready = true },
      { type = "KNOWS", property = "since", required = true, ready = true },
    }, schema.constraints)
    assert.same({}, (db:verify()))
    db:close()
    helper.remove(path)
  end)
end)
