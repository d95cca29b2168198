-- SPDX-License-Identifier: MIT
-- Triggers: procedures that run before a commit, for what the transaction changed.
local sombra = require "sombra"
local helper = require "spec.helper"

-- Writes down each change it is called for, and what the node or edge has now.
local witness = [[return { name = "witness", mode = "write", run = function(tx, change)
  local now = change.label and tx:node(change.id) or tx:edge(change.id)
  local log = tx:bucket("log", { create = true })
  log:put(log:count() + 1, { what = { change.event, change.label or change.type, change.id },
    old = change.old or sombra.null, now = now and now.props or sombra.null })
end }]]

-- Takes down what was written, and forgets it.
local function told(db)
  return db:write(function(tx)
    local lines = {}
    local log = tx:bucket("log")
    if log then
      for _, entry in log:scan() do lines[#lines + 1] = entry end
      log:drop()
    end
    return lines
  end)
end

local function short(entries)
  local words = {}
  for i, entry in ipairs(entries) do words[i] = ("%s %s %d"):format(table.unpack(entry.what or entry)) end
  return words
end

describe("a trigger", function()
  local db
  before_each(function()
    db = helper.memory()
    db:define(witness)
  end)
  after_each(function() db:close() end)

  local function watch(label, options)
    return db:write(function(tx) return tx:create_trigger(label, "witness", options) end)
  end

  it("hears of creations, changes and deletions of nodes, with what was there before", function()
    watch("Person")
    local ada = db:write(function(tx)
      tx:create("Other", { name = "nobody asks" })
      return tx:create("Person", { name = "Ada", list = { 1, 2.5 } })
    end)
    local entries = told(db)
    assert.equal(1, #entries)
    assert.same({ "create Person " .. ada }, short(entries))
    assert.equal(sombra.null, entries[1].old)
    assert.is_true(helper.same({ name = "Ada", list = { 1, 2.5 } }, entries[1].now))
    db:write(function(tx) tx:set(ada, { name = "Lovelace" }) end)
    entries = told(db)
    assert.same({ "update Person " .. ada }, short(entries))
    assert.equal("Ada", entries[1].old.name)
    assert.equal("Lovelace", entries[1].now.name)
    db:write(function(tx) tx:delete(ada) end)
    entries = told(db)
    assert.same({ "delete Person " .. ada }, short(entries))
    assert.is_true(helper.same({ name = "Lovelace", list = { 1, 2.5 } }, entries[1].old))
    assert.equal(sombra.null, entries[1].now)
  end)

  it("takes a label that is gained or lost for a creation or a deletion", function()
    watch("Person")
    local id = db:write(function(tx) return tx:create({ "A", "B" }, { x = 1 }) end)
    assert.same({}, told(db))
    db:write(function(tx) tx:add_label(id, "Person") end)
    assert.same({ "create Person " .. id }, short(told(db)))
    db:write(function(tx) tx:add_label(id, "Person") end) -- has it already
    db:write(function(tx)
      tx:add_label(id, "C")
      tx:set(id, { x = 1 }) -- is it already
    end)
    assert.same({}, told(db))
    db:write(function(tx) tx:remove_label(id, "Person") end)
    local entries = told(db)
    assert.same({ "delete Person " .. id }, short(entries))
    assert.same({ x = 1 }, entries[1].old)
    assert.same({ x = 1 }, entries[1].now) -- the node is still there
  end)

  it("hears of edges by their type, those of a detached node too", function()
    watch("KNOWS", { edge = true })
    local a, b, edge = db:write(function(tx)
      local a, b = tx:create("KNOWS"), tx:create() -- the label is another thing than the type
      tx:link(a, "LIKES", b)
      return a, b, tx:link(a, "KNOWS", b, { since = 1 })
    end)
    assert.same({ "create KNOWS " .. edge }, short(told(db)))
    db:write(function(tx) tx:edge_set(edge, { since = 2 }) end)
    local entries = told(db)
    assert.same({ "update KNOWS " .. edge }, short(entries))
    assert.same({ { since = 1 }, { since = 2 } }, { entries[1].old, entries[1].now })
    db:write(function(tx) tx:delete(b, { detach = true }) end)
    assert.same({ "delete KNOWS " .. edge }, short(told(db)))
    edge = db:write(function(tx)
      local other = tx:create()
      tx:link(a, "KNOWS", other)
      tx:unlink(a, "KNOWS", other)
      return (tx:link_upsert(a, "KNOWS", other, { since = 3 }))
    end)
    assert.same({ "create KNOWS " .. edge - 1, "delete KNOWS " .. edge - 1, "create KNOWS " .. edge }, short(told(db)))
  end)

  it("hears of each one of a batch", function()
    watch("Person")
    watch("KNOWS", { edge = true })
    db:write(function(tx) tx:create_index("Person", "key", { unique = true }) end)
    local first = db:write(function(tx)
      local first = tx:create_many("Person", { { key = 1 }, { key = 2 }, { key = 3 } })
      tx:link_many("KNOWS", { { first, first + 1 }, { first + 1, first + 2, { since = 1 } } })
      tx:upsert("Person", { key = 2 }, { name = "two" })
      tx:upsert("Person", { key = 4 })
      return first
    end)
    local words = short(told(db))
    assert.same({ "create Person " .. first, "create Person " .. first + 1, "create Person " .. first + 2 },
      { words[1], words[2], words[3] })
    assert.truthy(words[4]:find "^create KNOWS" and words[5]:find "^create KNOWS")
    assert.equal("update Person " .. first + 1, words[6])
    assert.equal("create Person " .. first + 3, words[7])
    db:write(function(tx) -- a batch that is refused sets off nothing
      assert.is_false((pcall(tx.create_many, tx, "Person", { { key = 5 }, { key = 1 } })))
    end)
    assert.same({}, told(db))
  end)

  it("runs for its events only, in the order of the writes and then of the triggers", function()
    for i, name in ipairs { "b", "a", "c" } do
      db:define(([[return { name = %q, mode = "write", run = function(tx, change)
        local log = tx:bucket("log", { create = true })
        log:put(log:count() + 1, { change.event, %q, change.id })
      end }]]):format(name, name))
      db:write(function(tx)
        tx:create_trigger("T", name, { on = ({ "create", { "create", "update" }, nil })[i] })
      end)
    end
    local one, two = db:write(function(tx)
      local one = tx:create("T", { n = 1 })
      local two = tx:create("T")
      tx:set(one, { n = 2 })
      tx:delete(two)
      return one, two
    end)
    assert.same({ "create b " .. one, "create a " .. one, "create c " .. one,
      "create b " .. two, "create a " .. two, "create c " .. two,
      "update a " .. one, "update c " .. one, "delete c " .. two }, short(told(db)))
  end)

  it("that says no, or raises, undoes the whole transaction", function()
    db:define [[return { name = "guard", run = function(tx, change)
      local name = tx:get(change.id, "name")
      if not name then return nil, "it has no name" end
      if name == "table" then error { code = "named", message = "not this name", name = name } end
      if name == "text" then error("broken") end
      if name == "spin" then while true do end end
    end, limits = { time = 0.05 } }]]
    db:write(function(tx) tx:create_trigger("Person", "guard") end)
    local function try(name)
      return helper.raises(({ table = "named", text = "procedure", spin = "limit" })[name] or "constraint",
        db.write, db, function(tx)
          tx:create("Trace")
          tx:create("Person", { name = name })
        end)
    end
    local err = try(nil)
    assert.truthy(err.message:find("on create of Person %d+: trigger 'guard' refused it: it has no name"), err.message)
    assert.same({ "create", "Person", "guard" }, { err.trigger.event, err.trigger.label, err.trigger.procedure })
    err = try("table")
    assert.equal("table", err.cause.name)
    assert.truthy(err.message:find("procedure 'guard': not this name", 1, true), err.message)
    assert.truthy(try("text").trace:find("guard@1:5", 1, true))
    try("spin")
    assert.same({ 0, 0 }, { db:read(function(tx) return tx:count(), tx:count("Trace") end) })
    db:write(function(tx) tx:create("Person", { name = "Ada" }) end)
    assert.equal(1, db:read(function(tx) return tx:count("Person") end))
  end)

  it("that refuses ends an explicit transaction, which cannot be committed after all", function()
    db:define [[return { name = "never", run = function() return nil, "never" end }]]
    db:write(function(tx) tx:create_trigger("T", "never") end)
    local tx = db:begin("write")
    tx:create("T")
    helper.raises("constraint", tx.commit, tx)
    assert.is_false(tx:is_open())
    helper.misuse("rolled back", tx.commit, tx)
    local thread = coroutine.create(function()
      local inner = db:begin("write")
      inner:create("T")
      inner:commit()
    end)
    assert.is_false(coroutine.resume(thread))
    local written = coroutine.wrap(function() return pcall(db.write, db, function(t) t:create("T") end) end)
    assert.is_false((written()))
    assert.equal(0, db:stats().transactions)
    assert.equal(0, db:read(function(t) return t:count() end))
  end)

  it("runs at the commit of explicit transactions, and of procedures called from outside", function()
    watch("T")
    local tx = db:begin("write")
    local id = tx:create("T")
    assert.is_nil(tx:bucket("log"))
    tx:commit()
    assert.same({ "create T " .. id }, short(told(db)))
    db:define [[return { name = "make", mode = "write", run = function(tx) return tx:create("T") end }]]
    id = db:call("make")
    assert.same({ "create T " .. id }, short(told(db)))
    tx = db:begin("write")
    tx:create("T")
    tx:rollback()
    assert.same({ nil, "no" }, { db:write(function(t) t:create("T") return nil, "no" end) })
    assert.same({}, told(db))
  end)

  it("does not hear of what was rolled back to a savepoint", function()
    watch("T")
    local kept, last = db:write(function(tx)
      local kept = tx:create("T")
      local mark = tx:savepoint()
      tx:create("T")
      tx:set(kept, { n = 1 })
      tx:rollback_to(mark)
      tx:release(mark)
      local failed = pcall(tx.call, tx, "witness", { event = "create", label = "T", id = "no id" })
      assert.is_false(failed)
      return kept, tx:create("T")
    end)
    assert.same({ "create T " .. kept, "create T " .. last }, short(told(db)))
  end)

  it("is set off by what other triggers do, to a bounded depth", function()
    db:define [[return { name = "chain", mode = "write", run = function(tx, change)
      local left = tx:get(change.id, "left")
      if left > 0 then tx:create("Link", { left = left - 1 }) end
    end }]]
    db:write(function(tx) tx:create_trigger("Link", "chain") end)
    db:write(function(tx) tx:create("Link", { left = 10 }) end)
    assert.equal(11, db:read(function(tx) return tx:count("Link") end))
    local err = helper.raises("limit", db.write, db, function(tx) tx:create("Link", { left = 1000 }) end)
    assert.truthy(err.message:find("16 deep", 1, true), err.message)
    assert.equal(11, db:read(function(tx) return tx:count("Link") end))
    db:write(function(tx) -- one write after the other is not deep
      for _ = 1, 50 do tx:create("Link", { left = 1 }) end
    end)
    assert.equal(111, db:read(function(tx) return tx:count("Link") end))
  end)

  it("whose change a refused call made hears nothing of it", function()
    watch("T")
    db:define [[return { name = "half", mode = "write", run = function(tx)
      tx:create("T")
      return nil, "not this time"
    end }]]
    db:write(function(tx)
      tx:call("half")
      tx:create("Other")
    end)
    assert.same({}, told(db))
  end)

  it("that is dropped before the commit does not run", function()
    watch("T")
    db:write(function(tx)
      tx:create("T")
      assert.is_true(tx:drop_trigger("T", "witness"))
      assert.is_false(tx:drop_trigger("T", "witness"))
    end)
    assert.same({}, told(db))
    assert.same({}, db:schema().triggers)
    db:write(function(tx) -- and one made after a write has not seen that
      tx:create("T")
      tx:create_trigger("T", "witness")
    end)
    assert.same({}, told(db))
  end)

  it("without its procedure refuses, and says what is missing", function()
    db:write(function(tx) tx:create_trigger("T", "gone") end)
    local err = helper.raises("not_found", db.write, db, function(tx) tx:create("T") end)
    assert.truthy(err.message:find("on create of T %d+: there is no procedure 'gone'"), err.message)
    db:define [[return { name = "gone", exports = {} }]]
    err = helper.raises("invalid", db.write, db, function(tx) tx:create("T") end)
    assert.truthy(err.message:find("is a library", 1, true), err.message)
    db:write(function(tx)
      tx:drop_trigger("T", "gone")
      tx:create("T")
    end)
    assert.equal(1, db:read(function(tx) return tx:count("T") end))
  end)

  it("may name one version, and takes the newest otherwise", function()
    local unit = [[return { name = "v", version = %d, mode = "write", run = function(tx, change)
      tx:set(change.id, { v%d = true })
    end }]]
    for i = 1, 3 do db:define(unit:format(i, i)) end
    db:write(function(tx)
      tx:create_trigger("T", "v@1", { on = "create" })
      tx:create_trigger("T", "v", { on = "create" })
    end)
    local id = db:write(function(tx) return tx:create("T") end)
    assert.same({ v1 = true, v3 = true }, db:read(function(tx) return tx:node(id).props end))
  end)

  it("is not run in a database that was opened with triggers = false", function()
    local path = helper.path()
    do
      local first <close> = assert(sombra.open(path, { create = true }))
      first:write(function(tx) tx:create_trigger("T", "missing") end)
    end
    do
      local second <close> = assert(sombra.open(path, { triggers = false }))
      second:write(function(tx) tx:create("T") end)
      local tx = second:begin("write")
      tx:create("T")
      tx:commit()
    end
    do
      local third <close> = assert(sombra.open(path)) -- survives closing, and is obeyed again
      helper.raises("not_found", third.write, third, function(tx) tx:create("T") end)
      assert.equal(2, third:read(function(tx) return tx:count("T") end))
      assert.same({}, (third:verify()))
      assert.same({
        { id = 1, label = "T", procedure = "missing", on = { "create", "update", "delete" }, ready = true },
      }, third:schema().triggers)
    end
    helper.remove(path)
  end)

  it("is listed in the schema, apart from indexes and constraints", function()
    local node = watch("T", { on = { "delete", "create" } })
    local edge = watch("E", { edge = true, on = "update" })
    local schema = db:schema()
    assert.same({
      { id = node, label = "T", procedure = "witness", on = { "create", "delete" }, ready = true },
      { id = edge, type = "E", procedure = "witness", on = { "update" }, ready = true },
    }, schema.triggers)
    assert.same({ {}, {} }, { schema.indexes, schema.constraints })
    helper.raises("exists", db.write, db, function(tx) tx:create_trigger("T", "witness") end)
    for text, options in pairs {
      ["'create', 'update' or 'delete'"] = { on = "never" },
      ["a list of them"] = { on = {} },
      ["unknown option"] = { when = "create" },
    } do
      helper.misuse(text, db.write, db, function(tx) tx:create_trigger("T", "witness", options) end)
    end
    helper.raises("readonly", db.read, db, function(tx) tx:create_trigger("T", "witness") end)
  end)

  it("cannot end the transaction that it runs in, nor see what is gone", function()
    db:define [[return { name = "grab", mode = "write", run = function(tx, change)
      local ended = pcall(tx.commit, tx) or pcall(tx.rollback, tx)
      if ended then return end
      tx:create("Proof", { seen = tx:exists(change.id) })
    end }]]
    db:write(function(tx) tx:create_trigger("T", "grab", { on = "delete" }) end)
    local id = db:write(function(tx) return tx:create("T") end)
    db:write(function(tx) tx:delete(id) end)
    db:read(function(tx) assert.is_false(tx:get(tx:first("Proof")[1], "seen")) end)
  end)
end)
