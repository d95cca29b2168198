-- SPDX-License-Identifier: MIT
-- Traversals as values: kept, gone on from, run again. What they say is in traversal_reference_spec.lua.
local helper = require "spec.helper"

describe("a traversal", function()
  local db, tx

  -- Nodes 1 to 9 of the label N, n = their id, unique; each linked to the next.
  before_each(function()
    db = helper.memory()
    db:write(function(write)
      for n = 1, 9 do write:create("N", { n = n, odd = n % 2 == 1, name = ("n"):rep(n) }) end
      for n = 1, 8 do write:link(n, "E", n + 1, { cost = n }) end
      write:create_index("N", "n", { unique = true })
    end)
    tx = db:begin("read")
  end)
  after_each(function() db:close() end)

  it("can be kept, run again and gone on from in any direction", function()
    local from = tx:from("N")
    local odd, even = from:where { odd = true }, from:where { odd = false }
    local limited = odd:limit(2)
    local next_ones, skipped = limited:out "E", limited:skip(1)
    for _ = 1, 3 do
      assert.same({ 1, 3, 5, 7, 9 }, odd:ids())
      assert.same({ 2, 4, 6, 8 }, even:ids())
      assert.same({ 2, 4 }, next_ones:ids())
      assert.same({ 3 }, skipped:ids())
      assert.same({ 1, 3 }, limited:ids())
      assert.equal(9, from:count())
    end
    assert.equal("sombra.traversal: label where limit out", tostring(next_ones))
  end)

  it("looks at whole records beside a hook that reads in the same transaction", function()
    local long = { "and", { n = { le = 7 } }, { name = { prefix = "n" } } }
    for i = 1, 300 do long[#long + 1] = { "not", { n = { eq = -i } } } end
    for _, mode in ipairs { "write", "read" } do
      local own = db:begin(mode)
      local calls, ids, costs = 0
      local function read_others()
        calls = calls + 1
        for id = 1, 9 do own:node(id) end
      end
      debug.sethook(read_others, "c", 1)
      local is_good, message = pcall(function()
        for _ = 1, 5 do
          ids = own:from("N"):out("E", { nodes = long }):ids()
          costs = own:from_edges("E"):where({ "or", { cost = { le = 3 } }, long }):ids()
        end
      end)
      debug.sethook()
      own:rollback()
      assert.is_true(is_good, message)
      assert.is_true(calls > 0)
      assert.same({ 2, 3, 4, 5, 6, 7 }, ids)
      assert.same({ 1, 2, 3 }, costs)
    end
  end)

  it("gives each time what its constants ask for", function()
    for _ = 1, 2 do
      for n = 1, 9 do
        assert.same({ n < 9 and n + 1 or nil }, tx:from("N"):where({ n = n }):out("E"):ids())
        assert.same({ n }, tx:from("N"):where({ name = ("n"):rep(n) }):ids())
        assert.same({ n }, tx:from(n):ids())
      end
      assert.same({ 2 }, tx:from("N"):where({ n = 1.0 }):out("E"):ids())
      assert.same({}, tx:from("N"):where({ n = "1" }):out("E"):ids())
      assert.same({}, tx:from("N"):where({ n = 1, odd = false }):out("E"):ids())
      assert.same({}, tx:from("N"):where({ n = 1 }):where({ n = 2 }):ids())
    end
  end)

  it("gives the same paths to a node as to a list of one, whatever was asked before", function()
    local graph = db:begin("write")
    for n = 1, 9 do graph:link(n, "F", n * 4 % 9 + 1) end
    local function text(paths)
      local found = {}
      for _, path in ipairs(paths:list()) do
        found[#found + 1] = table.concat(path.nodes, " ") .. "/" .. table.concat(path.edges, " ") .. "/" .. path.cost
      end
      return table.concat(found, ";")
    end
    for _, options in ipairs { {}, { types = "E" }, { direction = "both" }, { max = 2 } } do
      for from = 1, 9 do
        for _, to in ipairs { 1, 5, 9, 300, 70000, from } do
          assert.equal(text(graph:paths({ from }, { to }, options)), text(graph:paths(from, to, options)))
          assert.equal(
            text(graph:paths({ from }, { to }, options):all_shortest()),
            text(graph:paths(from, to, options):all_shortest())
          )
        end
      end
    end
    for from = 1, 9 do
      assert.equal(
        text(graph:from({ from, from }):repeat_out("E"):to(9):all_shortest()):gsub(";.*", ""),
        (text(graph:from(from):repeat_out("E"):to(9):all_shortest()))
      )
    end
    for _, none in ipairs { { 0 }, { -1 }, { "1" }, { 1.5 } } do
      local ok, err = pcall(function() return text(graph:from(none):repeat_out("E"):to(9)) end)
      assert.is_false(ok)
      assert.equal("invalid", err.code)
    end
    graph:rollback()
  end)

  it("takes no word for another that only begins with it", function()
    helper.misuse("a zero byte", tx.neighbours, tx, 1, "both\0x")
    helper.misuse("a zero byte", tx.degree, tx, 1, "out\0")
    helper.misuse("a zero byte", db.begin, db, "read\0x")
    helper.misuse("option 'where\\0x': unknown option", tx.match, tx, { "(a:N)", ["where\0x"] = { a = { n = 1 } } })
    local write = db:begin("write")
    helper.misuse("'kind'", write.create_constraint, write, "N", "n", { kind = "integer\0x" })
    helper.misuse("option 'on'", write.create_trigger, write, "N", "w", { on = "create\0x" })
    helper.misuse("option 'on'", write.create_trigger, write, "N", "w", { on = { "create\0x" } })
    write:rollback()
    for _, part in ipairs {
      "mode = 'write\\0x'",
      "params = { { 'a', 'integer\\0x' } }",
      "params = { { 'a', 'integer', ['optional\\0x'] = true } }",
      "limits = { ['time\\0x'] = 1 }",
    } do
      local source = "return { name = 'p', version = 1, %s, run = function() end }"
      assert(db:define(source:format((part:gsub("\\0x", "")))))
      assert.is_false((pcall(db.define, db, source:format(part))), part)
      db:undefine("p")
    end
  end)

  it("has what a step was given when it was called", function()
    local predicate, options, types, ids = { n = 1 }, { max = 2 }, { "E" }, { 1, 2 }
    local found = tx:from("N"):where(predicate):out(types, options)
    local given = tx:from(ids)
    predicate.n, predicate.odd, options.max, types[1], ids[1] = 5, false, 4, "F", 9
    assert.same({ 2, 3 }, found:ids())
    assert.same({ 1, 2 }, given:ids())
  end)

  it("sees what its own transaction writes between two runs", function()
    local write = db:begin("write")
    local late = write:from("N"):where { late = true }
    local over = write:from(1):out "LATE"
    local pinned = write:from("N"):where { n = 77 }
    assert.same({}, late:ids())
    assert.same({}, over:ids())
    assert.same({}, pinned:ids())
    local mark = write:savepoint()
    local node = write:create("N", { late = true, n = 77 })
    write:link(1, "LATE", node)
    assert.same({ node }, late:ids())
    assert.same({ node }, over:ids())
    assert.same({ node }, pinned:ids())
    write:rollback_to(mark)
    assert.same({}, late:ids())
    assert.same({}, over:ids())
    assert.same({}, pinned:ids())
    write:set(3, { other = true }) -- its name may have the id of the one that is undone
    assert.same({}, late:ids())
    assert.same({ 3 }, write:from("N"):where({ other = true }):ids())
    write:rollback()
  end)

  it("uses indexes that come and go", function()
    local function plan(transaction) return (transaction:from("N"):where({ name = "nn" }):explain()) end
    assert.truthy(plan(tx):find("scan", 1, true))
    db:write(function(write)
      write:create_index("N", "name", { unique = true })
      assert.truthy(plan(write):find("index name: equal", 1, true))
    end)
    assert.truthy(plan(tx):find("scan", 1, true))
    db:read(function(read)
      assert.equal("index name: equal  (estimate 1)", plan(read))
      assert.same({ 2 }, read:from("N"):where({ name = "nn" }):ids())
    end)
    db:write(function(write) write:drop_index("N", "name", { unique = true }) end)
    db:read(function(read)
      assert.truthy(plan(read):find("scan", 1, true))
      assert.same({ 2 }, read:from("N"):where({ name = "nn" }):ids())
    end)
  end)

  it("may have many steps, and long ones", function()
    local ids = {}
    for i = 1, 3000 do ids[i] = i end
    local found = tx:from(ids)
    assert.equal(9, found:count())
    for _ = 1, 100 do found = found:where { n = { ge = 2 } } end
    assert.same({ 2, 3, 4, 5, 6, 7, 8, 9 }, found:ids())
    assert.same({}, found:where({ name = ("x"):rep(100000) }):ids())
  end)

  it("shares its functions with those that go on from it", function()
    local seen = {}
    local function note(name, keeps)
      return function(id)
        seen[#seen + 1] = name .. id
        return keeps(id)
      end
    end
    local first = tx:from({ 1, 2, 3 }):filter(note("a", function(id) return id > 1 end))
    local second = first:filter(note("b", function(id) return id > 2 end))
    local third = first:optional(function(body) return body:out("E"):filter(note("c", function() return true end)) end)
    assert.same({ 2, 3 }, first:ids())
    assert.same({ 3 }, second:ids())
    assert.same({ 3, 4 }, third:ids())
    assert.equal("a1 a2 a3 a1 a2 a3 b2 b3 a1 a2 a3 c3 c4", table.concat(seen, " "))
  end)

  it("may be run by the functions of another", function()
    local found = tx:from({ 1, 2 }):filter(function(id)
      return tx:from(id):out("E"):filter(function(to) return tx:from(to):exists() end):count() == 1
    end)
    assert.same({ 1, 2 }, found:ids())
    local failing = tx:from({ 1, 2 }):filter(function(id) error("at " .. id, 0) end)
    for _ = 1, 3 do
      assert.same({ false, "at 1" }, { pcall(failing.ids, failing) })
      assert.same({ false, "at 1" }, { pcall(failing.count, failing) })
      assert.same({ 1, 2 }, found:ids())
    end
  end)

  it("refuses a value when the step is called, and says where it is", function()
    local from = tx:from(1)
    helper.misuse("where.f: functions cannot be stored", from.where, from, { f = print })
    helper.misuse("where.a.any_of[2]: functions cannot be stored", from.where, from, { a = { any_of = { 1, print } } })
    helper.misuse("out.max: functions cannot be stored", from.out, from, "E", { max = print })
    helper.misuse("types[1]: functions cannot be stored", from.out, from, { print })
    helper.misuse("option names are strings", from.out, from, "E", { 1 })
    -- A zero ended the name: it was left out as one that the step gives itself.
    local zero = from:out("E", { ["types\0"] = "F" })
    helper.raises("invalid", zero.count, zero)
    helper.misuse("ids: functions cannot be stored", from.except, from, { 1, print })
    local nested = {}
    for _ = 1, 70 do nested = { nested } end
    helper.misuse("nested more than", from.where, from, { a = nested })
    assert.same({ 2 }, from:out("E"):ids())
  end)

  it("takes no steps when its transaction is over", function()
    local kept
    local found = tx:from(1):optional(function(body)
      kept = body
      return body:out "E"
    end)
    helper.misuse("only the whole can run", kept.ids, kept)
    tx:rollback()
    helper.misuse("over", found.out, found, "E")
    helper.misuse("over", kept.out, kept, "E")
    helper.misuse("over", found.ids, found)
    assert.equal("sombra.traversal: ids optional", tostring(found))
  end)

  it("repeats without a bound on the hops", function()
    assert.same({ 2, 3, 4, 5, 6, 7, 8, 9 }, tx:from(1):repeat_out("E"):ids())
    assert.same({ 8, 7, 6 }, tx:from(9):repeat_into("E", { max = 3 }):ids())
    assert.equal(8, tx:from(5):repeat_both():count())
  end)

  it("becomes paths, with the options of the walk", function()
    local walk = tx:from(1):repeat_out("E")
    assert.equal(3, walk:to(4):shortest().length)
    assert.equal(6, walk:to(4):cheapest({ weight = "cost" }).cost)
    assert.equal(6, tx:from(1):repeat_out("E", { weight = "cost" }):to(4):cheapest().cost)
    assert.is_nil(tx:from(1):repeat_out("E", { max = 2 }):to(4):shortest())
    local by_function = tx:from(1):repeat_out("E", { weight = function(edge) return tx:edge(edge).props.cost * 2 end })
    assert.equal(12, by_function:to(4):cheapest().cost)
    assert.equal(3, by_function:to(4):cheapest({ weight = function() return 1 end }).cost)
    assert.equal(1, #tx:paths(1, 4, { from = 7, to = 8, types = { "E" } }):k_shortest(1):list())
  end)

  it("is bounded by the last bounds it was given", function()
    local bounded = tx:from("N"):bounded { rows = 3 }
    helper.raises("limit", bounded.ids, bounded)
    helper.raises("limit", function() return bounded:where({ n = { ge = 1 } }):ids() end)
    assert.equal(9, #bounded:bounded({ rows = 9 }):ids())
    assert.equal(9, #tx:from("N"):ids())
  end)

  it("has the steps that it was given, whatever steps of the same names were before", function()
    local long = ("L"):rep(33)
    local names = { "N", "", "N\0", "NN", "A", long, long .. "L" }
    for i = 1, 40 do names[#names + 1] = "N" .. i end
    db:write(function(write)
      for i, name in ipairs(names) do
        if name ~= "N" and name ~= "" then write:link(write:create(name), name, 1, { i = i }) end
      end
    end)
    local now <close> = db:begin("read")
    for _ = 1, 2 do
      for i, name in ipairs(names) do
        if name == "" then
          assert.is_false(pcall(function() return now:from(name):ids() end))
        elseif name ~= "N" then
          local from = now:from(name)
          assert.equal(1, from:count())
          assert.same({ 1 }, from:out(name):ids())
          assert.same({ 1 }, from:both(name):ids())
          assert.same({}, from:into(name):ids())
          assert.same({ i }, from:out_edges(name):values("i"))
          assert.same({ i }, now:from_edges(name):values("i"))
          assert.same({}, from:out(name, { min = 2, max = 2 }):ids())
          assert.same({ 1, 2 }, from:repeat_out({ name, "E" }, { max = 2 }):ids())
        end
      end
    end
  end)

  it("can be run by the functions of another, and after one of those has raised", function()
    for _ = 1, 3 do
      local seen = {}
      local list = tx:from("N"):filter(function(node)
        seen[#seen + 1] = tx:from(node):out("E"):ids()[1] or 0
        return tx:from("N"):where({ n = node }):filter(function(n) return n % 2 == 0 end):exists()
      end):list()
      assert.same({ 2, 4, 6, 8 }, list)
      assert.same({ 2, 3, 4, 5, 6, 7, 8, 9, 0 }, seen)
      helper.misuse("enough", function()
        return tx:from("N"):filter(function() error "enough" end):ids()
      end)
      assert.is_false(pcall(function() return tx:from("N"):where({ n = 1 }):bounded({ rows = 1 }):union(
        function(t) return t:out "E" end, function(t) return t end):ids() end))
      assert.same({ 3 }, tx:from("N"):where({ n = 2 }):out("E"):ids())
    end
  end)

  it("ends with its bound, its limit, or with the one row of a unique index, and no sooner", function()
    local one = tx:from("N"):where { n = 4 }
    assert.same({ 4 }, one:ids())
    assert.same({ 5 }, one:out("E"):ids())
    assert.same({ 5, 4 }, one:union(function(t) return t:out("E"):limit(1) end, function(t) return t end):ids())
    assert.same({ 1, 2 }, tx:from("N"):limit(2):ids())
    assert.same({ 2, 3, 4 }, tx:from({ 1, 2, 3 }):out("E"):ids())
    assert.same({ 4, 4 }, one:bounded({ rows = 2 }):union(function(t) return t end, function(t) return t end):ids())
    assert.is_false(pcall(function()
      return one:bounded({ rows = 1 }):union(function(t) return t end, function(t) return t end):ids()
    end))
    local page, position = tx:from("N"):limit(3):page { size = 3 }
    assert.same({ 1, 2, 3 }, page)
    assert.same({ 4, 5, 6 }, (tx:from("N"):limit(3):page { size = 3, after = position }))
  end)

  it("knows its functions however long it is, and wherever others go on from it", function()
    local calls
    local function counts(name)
      return function()
        calls[name] = (calls[name] or 0) + 1
        return true
      end
    end
    local kept, all = {}, tx:from("N"):limit(1)
    for i = 1, 140 do -- beyond several of those that know the first one themselves
      all = i % 7 == 0 and all:bounded { rows = 1000000 } or all:filter(counts(i))
      kept[i] = all
      if i % 20 == 0 then collectgarbage() end
    end
    local function check(t, ...)
      calls = {}
      assert.same({ 1 }, t:ids())
      local expected = {}
      for i = 1, select(1, ...) do
        if i % 7 ~= 0 then expected[i] = 1 end
      end
      for i = 2, select("#", ...) do expected[select(i, ...)] = 1 end
      assert.same(expected, calls)
    end
    for _, at in ipairs { 1, 29, 30, 31, 32, 33, 34, 63, 64, 65, 96, 140 } do
      check(kept[at], at)
      check(kept[at]:filter(counts "a"):filter(counts "b"), at, "a", "b")
      check(kept[at]:union(function(t) return t:filter(counts "inner") end), at, "inner")
    end
    check(all:optional(function(t) return t:filter(counts "last") end), 140, "last")
  end)

  it("leaves nothing behind that keeps a database alive", function()
    local gone = setmetatable({}, { __mode = "k" })
    do
      local other = helper.memory()
      gone[other] = true
      other:read(function(read)
        assert.same({}, read:from():ids())
        assert.is_false(pcall(function() return read:from():where({ n = {} }):ids() end))
      end)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
  end)
end)
