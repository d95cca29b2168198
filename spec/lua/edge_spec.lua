-- SPDX-License-Identifier: MIT
local sombra = require "sombra"
local helper = require "spec.helper"

describe("edges", function()
  local db, tx, a, b, c

  before_each(function()
    db = helper.memory()
    tx = db:begin("write")
    a, b, c = tx:create("L"), tx:create("L"), tx:create("L")
  end)
  after_each(function() db:close() end)

  it("read as plain records", function()
    local id = tx:link(a, "FOLLOWS", b, { since = 2026, w = 1.0, tags = { "x" } })
    assert.same({ id = id, src = a, dst = b, type = "FOLLOWS" },
      { id = tx:edge(id).id, src = tx:edge(id).src, dst = tx:edge(id).dst, type = tx:edge(id).type })
    local props = tx:edge(id).props
    assert.equal(2026, props.since)
    assert.equal("float", math.type(props.w))
    assert.equal("x", props.tags[1])
    assert.same({}, tx:edge(tx:link(a, "FOLLOWS", b)).props)
  end)

  it("are nil where there is none", function()
    assert.is_nil(tx:edge(77))
    assert.is_nil(tx:edge_get(77, "a"))
    assert.is_false(tx:edge_exists(77))
    assert.is_nil(tx:find_edge(a, "T", b))
  end)

  it("need both nodes", function()
    helper.raises("not_found", tx.link, tx, a, "T", 999)
    helper.raises("not_found", tx.link, tx, 999, "T", a)
    assert.equal(0, tx:count_edges())
  end)

  it("set, replace and remove properties", function()
    local id = tx:link(a, "T", b, { x = 1, y = 2 })
    tx:edge_set(id, { y = 3, z = 4, nothing = sombra.null })
    assert.same({ x = 1, y = 3, z = 4 }, tx:edge(id).props)
    tx:edge_set(id, { x = sombra.null })
    assert.equal(3, tx:edge_get(id, "y"))
    assert.is_nil(tx:edge_get(id, "x"))
    tx:edge_remove(id, "y", "never")
    assert.same({ z = 4 }, tx:edge(id).props)
    tx:edge_replace(id, { q = true })
    assert.same({ q = true }, tx:edge(id).props)
    helper.raises("not_found", tx.edge_set, tx, 999, { a = 1 })
    helper.raises("not_found", tx.edge_replace, tx, 999, {})
    helper.raises("not_found", tx.edge_remove, tx, 999, "a")
  end)

  it("are found by their ends, the oldest first", function()
    local first = tx:link(a, "T", b)
    local second = tx:link(a, "T", b)
    assert.equal(first, tx:find_edge(a, "T", b))
    assert.equal(first, tx:find_edge(a, nil, b))
    assert.is_nil(tx:find_edge(b, "T", a))
    assert.is_nil(tx:find_edge(a, "U", b))
    assert.is_true(tx:delete_edge(first))
    assert.is_false(tx:delete_edge(first))
    assert.equal(second, tx:find_edge(a, "T", b))
  end)

  it("are unlinked by their ends, all of a type or of any", function()
    for _ = 1, 3 do tx:link(a, "T", b) end
    local other = tx:link(a, "U", b)
    tx:link(b, "T", a)
    assert.equal(3, tx:unlink(a, "T", b))
    assert.equal(0, tx:unlink(a, "T", b))
    assert.is_true(tx:edge_exists(other))
    tx:link(a, "V", b)
    assert.equal(2, tx:unlink(a, nil, b))
    assert.equal(1, tx:count_edges())
  end)

  it("are counted, by type too, and their types listed", function()
    tx:link(a, "T", b)
    tx:link(b, "T", c)
    local gone = tx:link(b, "U", c)
    assert.equal(3, tx:count_edges())
    assert.equal(2, tx:count_edges("T"))
    assert.equal(0, tx:count_edges("None"))
    tx:delete_edge(gone)
    assert.same({ { "T", 2 } }, helper.collect(tx:types()))
  end)

  it("come in a loop in order of their ids", function()
    local ids = {}
    for i = 1, 300 do ids[i] = tx:link(a, "T" .. i % 3, b) end
    assert.same(ids, helper.column(tx:edges()))
    assert.same({ ids[300], ids[299] }, helper.column(tx:edges { reverse = true, limit = 2 }))
    assert.same({ ids[7], ids[8] }, helper.column(tx:edges { from = ids[7], to = ids[8] }))
    assert.same({}, helper.column(tx:edges { limit = 0 }))
  end)

  describe("of a node", function()
    local t_ab, t_ac, u_ab, t_ba, loop

    before_each(function()
      t_ab = tx:link(a, "T", b)
      t_ac = tx:link(a, "T", c)
      u_ab = tx:link(a, "U", b)
      t_ba = tx:link(b, "T", a)
      loop = tx:link(a, "U", a)
    end)

    it("lead out, into and both ways", function()
      assert.same({ { b, t_ab }, { c, t_ac }, { a, loop }, { b, u_ab } }, helper.collect(tx:out(a)))
      assert.same({ { b, t_ba }, { a, loop } }, helper.collect(tx:into(a)))
      assert.same({ { b, t_ab }, { c, t_ac }, { a, loop }, { b, u_ab }, { b, t_ba } }, helper.collect(tx:both(a)))
    end)

    it("are chosen by type", function()
      assert.same({ { b, t_ab }, { c, t_ac } }, helper.collect(tx:out(a, "T")))
      assert.equal(4, #helper.collect(tx:out(a, { "U", "T" })))
      assert.equal(2, #helper.collect(tx:out(a, { "U", "None" })))
      assert.same({}, helper.collect(tx:out(a, "None")))
      assert.same({}, helper.collect(tx:out(a, {})))
      local many = {}
      for i = 1, 40 do many[i] = "N" .. i end
      many[40] = "T"
      assert.same({ { b, t_ba } }, helper.collect(tx:into(a, many)))
    end)

    it("are limited, reversed, and chosen by the other node", function()
      assert.same({ { b, t_ab } }, helper.collect(tx:out(a, "T", { limit = 1 })))
      assert.same({ { c, t_ac } }, helper.collect(tx:out(a, "T", { limit = 1, reverse = true })))
      assert.same({}, helper.collect(tx:out(a, "T", { limit = 0 })))
      assert.same({ { b, t_ab }, { b, u_ab } }, helper.collect(tx:out(a, nil, { other = b })))
      helper.misuse("unknown option", tx.out, tx, a, nil, { min = 1 })
      helper.misuse("integer of at least 1", tx.out, tx, a, nil, { other = 0 })
    end)

    it("say type and direction with edges_of", function()
      local outgoing = {
        { t_ab, "T", b, "out" }, { t_ac, "T", c, "out" }, { loop, "U", a, "out" }, { u_ab, "U", b, "out" },
      }
      assert.same(outgoing, helper.collect(tx:edges_of(a, "out")))
      local rows = helper.collect(tx:edges_of(a))
      assert.equal(5, #rows)
      assert.same({ t_ba, "T", b, "into" }, rows[5])
      assert.same({ { u_ab, "U", a, "into" } }, helper.collect(tx:edges_of(b, "into", "U")))
      assert.same({ { t_ab, "T", b, "out" } }, helper.collect(tx:edges_of(a, "out", nil, { limit = 1 })))
      helper.misuse("invalid option", tx.edges_of, tx, a, "in")
    end)

    it("give their other ends as a list", function()
      assert.same({ b, c, a, b }, { table.unpack(tx:neighbours(a, "out")) })
      assert.same({ b, c, a, b, b }, { table.unpack(tx:neighbours(a)) })
      assert.same({ b, a }, { table.unpack(tx:neighbours(a, "into")) })
      assert.same({ b, c }, { table.unpack(tx:neighbours(a, "out", "T")) })
      assert.same({ c }, { table.unpack(tx:neighbours(a, "out", "T", { limit = 1, reverse = true })) })
      assert.same({}, { table.unpack(tx:neighbours(a, "out", {})) })
      assert.same({}, { table.unpack(tx:neighbours(999)) })
      for i = 1, 500 do tx:link(c, "T", i % 2 == 0 and a or b) end
      assert.equal(500, #tx:neighbours(c, "out"))
      helper.misuse("invalid option", tx.neighbours, tx, a, "in")
    end)

    it("are counted as degree", function()
      assert.equal(5, tx:degree(a))
      assert.equal(4, tx:degree(a, "out"))
      assert.equal(2, tx:degree(a, "into"))
      assert.equal(5, tx:degree(a, "both"))
      assert.equal(2, tx:degree(a, "out", "T"))
      assert.equal(1, tx:degree(a, "both", "U") - 1)
      assert.equal(0, tx:degree(999))
      assert.equal(0, tx:degree(a, "out", "None"))
      helper.misuse("invalid option", tx.degree, tx, a, "sideways")
    end)

    it("of a node that does not exist are none", function()
      assert.same({}, helper.collect(tx:out(999)))
      assert.same({}, helper.collect(tx:edges_of(999)))
    end)

    it("may be deleted as they come", function()
      for _, edge in tx:both(a) do tx:delete_edge(edge) end
      assert.equal(0, tx:degree(a))
      assert.equal(0, tx:count_edges())
    end)

    it("come in full from a node with very many", function()
      local hub = tx:create()
      for _ = 1, 2000 do tx:link(hub, "SPOKE", tx:create()) end
      local last, n = 0, 0
      for other, edge in tx:out(hub, "SPOKE") do
        assert.truthy(other > last)
        assert.equal("integer", math.type(edge))
        last, n = other, n + 1
      end
      assert.equal(2000, n)
      assert.equal(2000, tx:degree(hub, "out"))
    end)
  end)

  it("refuse wrong arguments", function()
    helper.misuse("string expected", tx.link, tx, a, nil, b)
    helper.misuse("the name is empty", tx.link, tx, a, "", b)
    helper.misuse("id expected", tx.link, tx, a, "T")
    helper.misuse("id expected", tx.link, tx, {}, "T", b)
    helper.misuse("table expected", tx.link, tx, a, "T", b, 1)
    helper.misuse("id expected", tx.edge, tx, "x")
    helper.misuse("string expected", tx.edge_get, tx, 1)
    helper.misuse("table expected", tx.edge_set, tx, 1)
    helper.misuse("table expected", tx.edge_replace, tx, 1)
    helper.misuse("string expected", tx.edge_remove, tx, 1)
    helper.misuse("id expected", tx.find_edge, tx, a, "T")
    helper.misuse("id expected", tx.unlink, tx, a)
    helper.misuse("id expected", tx.out, tx)
    helper.misuse("string expected", tx.out, tx, a, 1)
    helper.misuse("a name is a string", tx.out, tx, a, { 1 })
    helper.misuse("string expected", tx.count_edges, tx, {})
  end)
end)
