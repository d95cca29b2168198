-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
-- sombra.prepare: a function that gives the traversals of the function it was made of.
local sombra = require "sombra"
local helper = require "spec.helper"

describe("a prepared traversal", function()
  local db

  -- Nodes 1 to 9 of the label N, n = their id, unique; each linked to the next.
  local function fill(into)
    into:write(function(tx)
      for n = 1, 9 do tx:create("N", { n = n, odd = n % 2 == 1, name = ("n"):rep(n), tags = { n, n + 1 } }) end
      for n = 1, 8 do tx:link(n, "E", n + 1, { cost = n }) end
      tx:create_index("N", "n", { unique = true })
    end)
  end

  before_each(function()
    db = helper.memory()
    fill(db)
  end)
  after_each(function() db:close() end)

  local next_of = sombra.prepare(function(tx, n) return tx:from("N"):where({ n = n }):out("E") end)

  local function refused(text, fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.truthy(tostring(message):find(text, 1, true), tostring(message))
  end

  it("is a traversal like any other", function()
    db:read(function(tx)
      for n = 1, 8 do assert.same({ n + 1 }, next_of(tx, n):ids()) end
      local one = next_of(tx, 3)
      assert.equal("sombra.traversal: label where out", tostring(one))
      assert.equal(1, one:count())
      assert.equal(4, (one:first()))
      assert.is_true(one:exists())
      assert.same({ 4 }, one:list())
      assert.same({ 4.0 }, next_of(tx, 3.0):values("n"))
      assert.same({ { 4, 1 } }, helper.collect(one:each()))
      assert.same({ 6 }, one:out("E"):out("E"):ids())
      assert.same({ 5 }, one:union(function(t) return t:out("E") end):ids())
      assert.same({ 5 }, one:out("E"):filter(function(id) return id == 5 end):ids())
      assert.same({}, one:limit(0):ids())
      assert.same({ { n = 4 } }, one:select("n"):list())
      assert.same({}, next_of(tx, 77):ids())
      assert.same({}, next_of(tx, "3"):ids())
      assert.equal(tx:from("N"):where({ n = 3 }):out("E"):explain(), one:explain())
      assert.truthy(one:profile():find("rows 1", 1, true))
      local long = one
      for _ = 1, 100 do long = long:where({ n = 4 }) end
      assert.same({ 4 }, long:filter(function() return true end):ids())
    end)
  end)

  it("takes ids, lists, numbers of rows and constants anywhere", function()
    local prepared = sombra.prepare(function(tx, from, without, least, some, skip, limit)
      return tx:from(from):repeat_out("E", { max = 8 }):where({ "or", { n = { ge = least } }, { n = { any_of = some } } })
        :except(without):distinct():order("n"):skip(skip):limit(limit)
    end)
    db:read(function(tx)
      assert.same({ 2, 6, 7 }, prepared(tx, 1, { 5 }, 5, { 2, 2 }, 0, 3):ids())
      assert.same({ 7, 8, 9 }, prepared(tx, { 1, 4 }, 6, 5, sombra.list {}, 1, 10):ids())
      assert.same({}, prepared(tx, sombra.list {}, 6, 5, { 1 }, 1, 10):ids())
    end)
    local walk = sombra.prepare(function(tx, from, max, cost)
      return tx:from(from):out("E", { max = max, where = { cost = { lt = cost } } })
    end)
    local edge = sombra.prepare(function(tx, id, cost) return tx:from_edges(id):where({ cost = cost }):target() end)
    local body = sombra.prepare(function(tx, id, n)
      return tx:from(id):union(function(t) return t:out("E"):where({ n = n }) end, function(t) return t end)
    end)
    -- One id is a list of it in a body as well: it was a number, which the engine refused.
    local inner = sombra.prepare(function(tx, id, without)
      return tx:from({ 1, 2, 3, 4 }):union(function(t) return t:except(id):except(without):out("E"):except(without) end)
    end)
    local pattern = sombra.prepare(function(tx, n) return tx:match { "(a:N)-[:E]->(b)", where = { a = { n = n } } } end)
    local paths = sombra.prepare(function(tx, a, b) return tx:paths(a, b, { kind = "shortest" }) end)
    local to = sombra.prepare(function(tx, a, b) return tx:from(a):repeat_out("E", { max = 9 }):to(b):all_shortest() end)
    db:read(function(tx)
      assert.same({ 3, 4, 5 }, walk(tx, 2, 5, 5):order("n"):ids())
      assert.same({ 3, 4 }, walk(tx, 2, 2, 5):order("n"):ids())
      local first = tx:from_edges("E"):where({ cost = 1 }):ids()
      assert.same({ 2 }, edge(tx, first, 1):ids())
      assert.same({ 2 }, edge(tx, first[1], 1):ids())
      assert.same({ 3, 4 }, body(tx, 3, 4):order("n"):ids())
      assert.same({ 3 }, body(tx, 3, 5):order("n"):ids())
      assert.same({ 2 }, inner(tx, 2, { 3, 4 }):order("n"):ids())
      assert.same({ 3 }, inner(tx, { 1, 3 }, 4):ids())
      assert.same({ { a = 3, b = 4 } }, pattern(tx, 3):list())
      assert.equal(4, paths(tx, 2, 6):first().length)
      assert.same(tx:paths({ 2, 3 }, 6, { kind = "shortest" }):list(), paths(tx, { 2, 3 }, 6):list())
      assert.equal(3, to(tx, 2, 5):first().length)
      assert.equal(2, paths(tx, 2, 4):shortest().length)
      assert.equal(tx:paths(2, 6, { kind = "shortest" }):explain(), paths(tx, 2, 6):explain())
      assert.equal(tx:from(2):repeat_out("E", { max = 9 }):to(5):all_shortest():explain(), to(tx, 2, 5):explain())
    end)
  end)

  it("keeps its bounds", function()
    local all = sombra.prepare(function(tx, n) return tx:from("N"):where({ n = { ge = n } }):bounded { rows = 3 } end)
    db:read(function(tx)
      assert.equal(3, #all(tx, 7):ids())
      refused("more than 3 rows", function() return all(tx, 5):ids() end)
    end)
  end)

  it("needs no parameters", function()
    local all = sombra.prepare(function(tx) return tx:from("N") end)
    db:read(function(tx) assert.equal(9, all(tx):count()) end)
  end)

  it("works in any transaction of any database", function()
    local other <close> = helper.memory()
    other:write(function(tx)
      tx:create("M")
      tx:create("N", { n = 5 })
      tx:link(2, "F", 1)
      tx:link(2, "E", 1)
    end)
    for _ = 1, 3 do
      assert.same({ 6 }, db:read(function(tx) return next_of(tx, 5):ids() end))
      assert.same({ 1 }, other:read(function(tx) return next_of(tx, 5):ids() end))
    end
    db:write(function(tx)
      tx:link(5, "E", 1)
      assert.same({ 1, 6 }, next_of(tx, 5):order("n"):ids())
      local mark = tx:savepoint()
      tx:link(5, "E", 2)
      tx:set(5, { n = 50 })
      assert.same({ 1, 2, 6 }, next_of(tx, 50):order("n"):ids())
      assert.same({}, next_of(tx, 5):ids())
      tx:rollback_to(mark)
      assert.same({ 1, 6 }, next_of(tx, 5):order("n"):ids())
      assert.same({ 6 }, db:read(function(old) return next_of(old, 5):ids() end))
    end)
    local empty <close> = helper.memory()
    assert.same({}, empty:read(function(tx) return next_of(tx, 5):ids() end))
    empty:write(function(tx)
      local id = tx:create("N", { n = 5 })
      tx:link(id, "E", id)
      assert.same({ id }, next_of(tx, 5):ids())
    end)
  end)

  it("is planned anew by each run", function()
    local function plan() return db:read(function(tx) return (next_of(tx, 5):explain()) end) end
    assert.truthy(plan():find("index", 1, true))
    db:write(function(tx) tx:drop_index("N", "n", { unique = true }) end)
    assert.is_nil(plan():find("index", 1, true))
    assert.same({ 6 }, db:read(function(tx) return next_of(tx, 5):ids() end))
    db:write(function(tx)
      tx:create_index("N", "n")
      assert.truthy(next_of(tx, 5):explain():find("index", 1, true))
    end)
    assert.truthy(plan():find("index", 1, true))
    assert.same({ 6 }, db:read(function(tx) return next_of(tx, 5):ids() end))
  end)

  it("runs inside its own loop", function()
    db:read(function(tx)
      local seen = {}
      for a in next_of(tx, 1):each() do
        for b in next_of(tx, a):each() do
          for c in next_of(tx, b):filter(function(id) return next_of(tx, id):count() == 1 end):each() do
            seen[#seen + 1] = a * 100 + b * 10 + c
          end
        end
      end
      assert.same({ 234 }, seen)
    end)
  end)

  it("keeps neither databases nor transactions alive", function()
    local gone = setmetatable({}, { __mode = "k" })
    local from = sombra.prepare(function(tx, id)
      gone[tx] = true
      return tx:from(id):out("E")
    end)
    do
      local own = helper.memory()
      fill(own)
      local tx = own:begin "read"
      gone[own], gone[tx] = true, true
      assert.same({ 2 }, from(tx, 1):ids())
      tx:rollback()
      own:close()
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
    assert.same({ 3 }, db:read(function(tx) return from(tx, 2):ids() end))
    local left = from(db:begin "read", 2) -- the traversal keeps its transaction
    collectgarbage()
    assert.same({ 3 }, left:ids())
  end)

  it("says which arguments are wrong", function()
    local many = sombra.prepare(function(tx, start, name, rows) return tx:from(start):where({ name = name }):limit(rows) end)
    db:read(function(tx)
      refused("'n' is missing", function() return next_of(tx) end)
      refused("'n' is missing", function() return next_of(tx, nil) end)
      refused("'name' is missing", function() return many(tx, 1, nil, 1) end)
      refused("there are 1 parameters", function() return next_of(tx, 1, 2) end)
      refused("'start': an id or a list of ids expected, got string", function() return many(tx, "N", "a", 1) end)
      refused("'start': an id or a list of ids expected", function() return many(tx, { 1, -1 }, "a", 1) end)
      refused("'start': an id or a list of ids expected", function() return many(tx, 1.5, "a", 1) end)
      refused("'start': an id or a list of ids expected", function() return many(tx, { 1, 2.0 }, "a", 1) end)
      refused("'rows': a number of rows", function() return many(tx, 1, "a", -1) end)
      refused("'rows': a number of rows", function() return many(tx, 1, "a", "1") end)
      refused("'name': a number, a string", function() return many(tx, 1, { ne = "a" }, 1) end)
      refused("'name': a number, a string", function() return many(tx, 1, {}, 1) end)
      refused("'name': a number, a string", function() return many(tx, 1, print, 1) end)
      refused("name[2]: functions cannot be stored", function() return many(tx, 1, { 1, print }, 1) end)
      assert.same({}, many(tx, 1, { { ne = "a" } }, 1):ids())
    end)
    refused("sombra.tx expected", next_of, db, 1)
    refused("sombra.tx expected", next_of)
    local over = db:begin "read"
    over:rollback()
    refused("the transaction is over", next_of, over, 1)
    local kept = db:read(function(tx) return next_of(tx, 1) end)
    refused("the transaction is over", kept.ids, kept)
  end)

  it("says what cannot be prepared", function()
    refused("function expected", sombra.prepare)
    refused("function expected", sombra.prepare, { 1 })
    refused("a fixed number of parameters", sombra.prepare, function(...) return ... end)
    refused("a fixed number of parameters", sombra.prepare, function(tx, n, ...) return tx:from(n, ...) end)
    refused("a fixed number of parameters", sombra.prepare, function() end)
    refused("a fixed number of parameters", sombra.prepare, print)
    refused("must return a traversal", sombra.prepare, function(_) end)
    refused("must return a traversal", sombra.prepare, function(tx) return tx end)
    refused("must return a traversal", sombra.prepare, function(_) return db:begin("read"):from(1) end)
    refused("its parameter 'b' stands nowhere", sombra.prepare, function(tx, a, b) -- luacheck: ignore 212
      return tx:from(a)
    end)
    refused("boom", sombra.prepare, function(_) error "boom" end)
    refused("takes no functions", sombra.prepare, function(tx) return tx:from():filter(print) end)
    refused("takes no functions", sombra.prepare, function(tx) return tx:paths(1, 2, { weight = function() return 1 end }) end)
    refused("runs nothing", sombra.prepare, function(tx) return tx:create("N") end)
    refused("runs nothing", sombra.prepare, function(tx) return tx:from():ids() end)
    refused("runs nothing", sombra.prepare, function(tx, n) return next_of(tx, n) end)
    refused("takes names", sombra.prepare, function(tx, n) return tx:from():select({ "a", n }) end)
    refused("sombra.place", sombra.prepare, function(tx, n) return tx:from():out(n) end)
    refused("sombra.place", sombra.prepare, function(tx, n) return tx:from():where(n) end)
    refused("sombra.place", sombra.prepare, function(tx, n) return tx:from():where({ n = n + 1 }) end)
    refused("has no fields", sombra.prepare, function(tx, p) return tx:from():where({ n = p.n, m = p }) end)
    refused("cannot be keys", sombra.prepare, function(tx, n) return tx:from():where({ [n] = 1 }) end)
  end)

  it("lets go of its places", function()
    local place, recorder, left
    sombra.prepare(function(tx, n)
      place, recorder, left = n, tx, tx:from(n)
      return left
    end)
    db:write(function(tx)
      refused("userdata cannot be stored", tx.create, tx, "N", { n = place })
      refused("userdata cannot be stored", function() return tx:from("N"):where({ n = place }) end)
      refused("id expected", tx.from, tx, place)
    end)
    refused("runs nothing", left.ids, left)
    refused("runs nothing", left.count, left:out("E"))
    refused("runs nothing", recorder.commit, recorder)
    assert.is_false(recorder:is_open())
    sombra.prepare(function(tx, n)
      db:write(function(write) refused("userdata cannot be stored", write.create, write, "N", { n = n }) end)
      refused("userdata cannot be stored", tx.from, tx, { place })
      return tx:from(n)
    end)
    assert.same({}, db:verify())
  end)

  it("takes no argument for a predicate", function()
    local walks = {
      function(tx, p) return tx:from("N"):where({ "or", p }) end,
      function(tx, p) return tx:from("N"):where({ "and", { n = 1 }, { "not", p } }) end,
      function(tx, p) return tx:from("N"):where({ "label", p }) end,
      function(tx, p) return tx:from("N"):out("E", { where = p }) end,
      function(tx, p) return tx:from("N"):out("E", { where = { "or", p } }) end,
      function(tx, p) return tx:from("N"):out("E", { nodes = { "not", p } }) end,
      function(tx, p) return tx:from("N"):union(function(t) return t:out():where({ "or", p }) end) end,
      function(tx, p) return tx:from("N"):repeat_out("E", { max = 2, where = { "or", p } }) end,
      function(tx, p) return tx:match({ "(a:N)-[:E]->(b:N)", where = { a = { "or", p } } }) end,
      -- Names that are those of steps and options, too.
      function(tx, p) return tx:match({ "(where:N)-[:E]->(b:N)", where = { where = { "or", p } } }) end,
      function(tx, p) return tx:match({ "(where:N)-[k:E]->(b:N)", where = { k = { "or", p } } }) end,
      function(tx, p) return tx:match({ "(a:N)-[k:where]->(b:N)", where = { k = { "not", p } } }) end,
      function(tx, p) return tx:match({ "(nodes:N)-[:E]->(b:N)", where = { nodes = { "or", p } } }) end,
    }
    for _, walk in ipairs(walks) do refused("not for a predicate", sombra.prepare, walk) end
    -- Lists stand for lists.
    local among = sombra.prepare(function(tx, p, q) return tx:from("N"):where({ "or", { n = { any_of = p } }, { n = q } }) end)
    local where = sombra.prepare(function(tx, p) return tx:from("N"):where({ where = p }) end)
    db:read(function(tx)
      assert.same(tx:from("N"):where({ "or", { n = { any_of = { 1, 3 } } }, { n = 2 } }):ids(), among(tx, { 1, 3 }, 2):ids())
      assert.same({}, among(tx, { "or", "not" }, { "or", "x" }):ids())
      assert.same({}, where(tx, { "or", "x" }):ids())
    end)
  end)

  it("is over for finalizers that come behind its own", function()
    local seen = {}
    do
      local probe = setmetatable({}, { __gc = function(own)
        seen = { pcall(own.left.out, own.left, "E") }
      end }) -- marked before what it holds, so called after it
      sombra.prepare(function(tx, n)
        probe.left = tx:from(n)
        return probe.left
      end)
    end
    collectgarbage()
    collectgarbage()
    assert.is_false(seen[1])
    assert.matches("was collected", tostring(seen[2]))
  end)

  it("is there in procedures", function()
    db:define [[return { name = "reach", params = { { "n", "integer" } }, run = function(tx, p)
      local next_of = sombra.prepare(function(t, n) return t:from("N"):where({ n = n }):out("E") end)
      local sum = 0
      for n = 1, p.n do
        for _, id in ipairs(next_of(tx, n):ids()) do sum = sum + id end
      end
      return sum
    end }]]
    assert.equal(2 + 3 + 4, db:call("reach", { n = 3 }))
    assert.equal(2, db:call("reach", { n = 1 }))
    db:define [[return { name = "twist", run = function(tx)
      local place, left
      sombra.prepare(function(t, n) place, left = n, t:from(n) return left end)
      return pcall(tx.from, tx, place), pcall(left.ids, left), (pcall(left.out, left, place))
    end }]]
    assert.same({ false, false, false }, { db:call("twist") })
    assert.same({}, db:verify())
  end)
end)

-- Random traversals as lists of methods and arguments, with places among these.
describe("prepared traversals", function()
  local random = math.random
  local function one_of(list) return list[random(#list)] end
  local function chance(percent) return random(100) <= percent end
  local CASES, RUNS = helper.share(400), 4

  local case -- parameters: a function each that makes an argument

  -- A constant, or a place for one.
  local function value(make)
    if chance(50) and #case.makers < 40 then
      case.makers[#case.makers + 1] = make
      return { place = #case.makers }
    end
    return { constant = make() }
  end

  local function any_value()
    local kind = random(12)
    if kind == 1 then return chance(50) end
    if kind == 2 then return random(0, 4) + 0.5 end
    if kind == 3 then return one_of { "", "a", "ab", ("a"):rep(random(300)) } end
    if kind == 4 then return random(0, 4) + 0.0 end
    if kind == 5 then return one_of { 127, 128, 8191, 8192, 1 << 40, -1, math.mininteger } end
    return random(0, 4)
  end
  local function some_values()
    local list = sombra.list {}
    for i = 1, one_of { 0, 1, 2, 3, 120 } do list[i] = any_value() end
    return list
  end
  local function some_ids()
    if chance(60) then return random(12) end
    local list = sombra.list {}
    for i = 1, one_of { 0, 1, 2, 70 } do list[i] = random(12) end
    return list
  end
  local function hops() return random(0, 2) end
  local function rows() return random(0, 30) end

  local function condition()
    local kind = random(6)
    if kind == 1 then return { map = { any_of = value(some_values) } } end
    if kind == 2 then return { map = { ge = value(any_value), lt = value(any_value) } } end
    if kind == 3 then return { map = { ne = value(any_value) } } end
    return value(any_value)
  end

  local function predicate(depth)
    if depth > 0 and chance(30) then
      return { list = { { constant = one_of { "and", "or" } }, predicate(depth - 1), predicate(depth - 1) } }
    end
    local map = {}
    for _, name in ipairs(one_of { { "x" }, { "y" }, { "x", "y" } }) do map[name] = condition() end
    return { map = map }
  end

  -- What a description stands for, with these arguments.
  local function realize(given, arguments)
    if given.place then return arguments[given.place] end
    if given.constant ~= nil then return given.constant end
    local made = {}
    for key, inner in pairs(given.map or given.list) do made[key] = realize(inner, arguments) end
    return made
  end

  local function add(method, ...)
    case.steps[#case.steps + 1] = { method = method, ... }
  end

  local function random_case()
    case = { makers = {}, steps = {} }
    local kind = random(3)
    if kind == 1 then add("from", value(some_ids))
    elseif kind == 2 then add("from", { constant = one_of { "A", "B" } })
    else add("from") end
    for _ = 1, random(0, 5) do
      kind = random(7)
      if kind <= 2 then add("where", predicate(2))
      elseif kind == 3 then add("out", { constant = one_of { "S", "T" } })
      elseif kind == 4 then add("both", { constant = one_of { "S", "T" } }, { map = { where = predicate(1), max = { constant = 2 },
        min = value(hops) } })
      elseif kind == 5 then add("except", value(some_ids))
      elseif kind == 6 then add("distinct")
      else add("union", { body = predicate(1) }, { body = predicate(0) }) end
    end
    add("order", { constant = "#id" }, { constant = "#depth" })
    if chance(50) then add("skip", value(rows)) end
    if chance(50) then add("limit", value(rows)) end
    return case
  end

  local function build(made, tx, arguments)
    local traversal = tx
    for _, step in ipairs(made.steps) do
      local given = {}
      for i, argument in ipairs(step) do
        given[i] = argument.body and function(t) return t:out():where(realize(argument.body, arguments)) end
          or realize(argument, arguments)
      end
      traversal = traversal[step.method](traversal, table.unpack(given))
    end
    return traversal
  end

  local function prepare(made)
    local names = {}
    for i = 1, #made.makers do names[i] = "p" .. i end
    local list = table.concat(names, ", ")
    local text = ("local build, made = ... return function(tx%s) return build(made, tx, { %s }) end")
      :format(#names > 0 and ", " .. list or "", list)
    return sombra.prepare(load(text)(build, made))
  end

  local function rows_of(traversal)
    local found = {}
    for id, depth in traversal:each() do found[#found + 1] = id .. "@" .. depth end
    return table.concat(found, " ")
  end

  local function compare(made, prepared, tx, number)
    local arguments = {}
    for i, make in ipairs(made.makers) do arguments[i] = make() end
    local plain, own = build(made, tx, arguments), prepared(tx, table.unpack(arguments))
    local about = ("case %d, SOMBRA_SEED=%d"):format(number, helper.seed)
    assert.equal(tostring(plain), tostring(own), about)
    local ok, want = pcall(rows_of, plain)
    local own_ok, have = pcall(rows_of, own)
    assert.equal(ok, own_ok, about)
    assert.equal(tostring(want), tostring(have), about)
    if ok then
      assert.equal(plain:explain(), own:explain(), about)
      assert.equal(plain:count(), own:count(), about)
      assert.same(plain:ids(), own:ids(), about)
    end
  end

  local function change(tx)
    if chance(30) then tx:create(one_of { "A", "B" }, { x = any_value(), y = any_value() }) end
    if chance(30) then tx:link(random(12), one_of { "S", "T", "U" }, random(12), { x = any_value() }) end
    if chance(30) then tx:set(random(12), { x = any_value() }) end
    if chance(30) then
      local label, name = one_of { "A", "B" }, one_of { "x", "y" }
      if not pcall(tx.create_index, tx, label, name) then tx:drop_index(label, name) end
    end
  end

  it(("give the rows and plans of the same with constants, whatever changes (seed %d)"):format(helper.seed), function()
    math.randomseed(helper.seed)
    local dbs = {}
    for i = 1, 2 do
      dbs[i] = helper.memory()
      dbs[i]:write(function(tx)
        for _ = 1, 12 do tx:create(one_of { "A", "B" }, { x = any_value(), y = any_value() }) end
        for _ = 1, 25 do tx:link(random(12), one_of { "S", "T" }, random(12), { x = any_value() }) end
      end)
    end
    local kept = {}
    for number = 1, CASES do
      local made = random_case()
      kept[(number - 1) % 20 + 1] = { made, prepare(made) }
      for _ = 1, RUNS do
        local db = one_of(dbs)
        local chosen = one_of(kept)
        if chance(70) then
          db:read(function(tx) compare(chosen[1], chosen[2], tx, number) end)
        else
          db:write(function(tx)
            change(tx)
            local mark = tx:savepoint()
            change(tx)
            compare(chosen[1], chosen[2], tx, number)
            if chance(50) then tx:rollback_to(mark) end
            compare(chosen[1], chosen[2], tx, number)
            if chance(40) then return nil, "rolled back" end
          end)
        end
      end
    end
    for _, db in ipairs(dbs) do db:close() end
  end)
end)
