-- SPDX-License-Identifier: MIT
-- What somebody gets wrong, and what the library says to it: what, where, and what to do instead.
local sombra = require "sombra"
local helper = require "spec.helper"

describe("the answer to", function()
  local db, path, ada, bob, edge

  before_each(function()
    path = helper.path()
    db = assert(sombra.open(path, { create = true }))
    ada, bob, edge = db:write(function(tx)
      tx:create_index("Person", "born")
      tx:create_constraint("Person", "name", { required = true })
      tx:create_constraint("Person", "born", { kind = "integer" })
      local a, b = tx:create("Person", { name = "Ada" }), tx:create("Person", { name = "Bob" })
      return a, b, tx:link(a, "KNOWS", b, { w = -1 })
    end)
    db:define "return { name = 'writes', run = function(tx) tx:create('A') end }"
  end)

  after_each(function()
    db:close()
    helper.remove(path)
  end)

  local function answer(fn)
    local results = table.pack(pcall(fn))
    if results[1] then return tostring(results[3]) end
    return tostring(results[2])
  end

  local function says(name, text, fn)
    it(name, function() assert.truthy(answer(fn):find(text, 1, true), answer(fn)) end)
  end
  local function in_read(name, text, fn)
    says(name, text, function() return db:read(fn) end)
  end
  local function in_write(name, text, fn)
    says(name, text, function() return db:write(fn) end)
  end
  local function to_open(name, text, options, at)
    says(name, text, function() return sombra.open(at or path, options) end)
  end

  -- options and words
  to_open("an option of open that is misspelt", "option 'creat': unknown option; 'engine', 'create', 'readonly'",
    { creat = true })
  to_open("an option of a wrong type", "option 'create': boolean expected", { create = 1 })
  to_open("an unknown durability", "'full', 'group', 'normal' or 'off' expected", { sync = "fast" })
  in_read("an option of a loop that is misspelt", "option 'limt': unknown option; 'limit', 'reverse' or 'other'",
    function(tx) return tx:out(ada, "KNOWS", { limt = 1 }) end)
  in_read("an option that there is only elsewhere", "'from', 'to', 'limit' or 'reverse' expected",
    function(tx) return tx:nodes("Person", { order = "name" }) end)
  in_read("a direction that is none", "invalid option 'in'; 'out', 'into' or 'both' expected",
    function(tx) return tx:degree(ada, "in") end)
  says("a transaction of no kind", "invalid option 'writ'; 'read' or 'write' expected",
    function() return db:begin "writ" end)
  says("metrics in another format", "invalid option 'json'; 'table' or 'prometheus' expected",
    function() return db:metrics "json" end)
  in_read("an option of a pattern", "option 'were': unknown option; 'where', 'ids' or 'distinct' expected",
    function(tx) return tx:match { "(a)", were = {} } end)

  -- files
  to_open("a path whose directory is missing", "x.db: the directory for it is not there",
    { create = true, engine = "btree" }, "/no/such/directory/x.db")
  to_open("a directory for a file", "(option engine)", { create = true }, "spec")
  to_open("a file that is no database", "not a sombra database", {}, "README.md")
  to_open("a database that is missing", "option create makes one", {}, "/tmp/nothing.sombra")
  to_open("a memtable that is too small", "memtable size 1: it may be from 4096 to 17179869184",
    { create = true, engine = "lsm", memtable_size = 1 }, "/tmp/nothing.sombra")
  to_open("an option of the other engine", "cache size is an option of the engine \"lsm\"; this is \"btree\"",
    { create = true, engine = "btree", cache_size = 1 << 20 }, "/tmp/nothing.sombra")
  says("a copy onto what is there", "it is not replaced", function() return db:backup(path) end)

  it("a directory whose manifest is lost", function()
    local lost = helper.path()
    local other = assert(sombra.open(lost, { create = true, engine = "lsm" }))
    other:write(function(tx) tx:create("A") end)
    other:close()
    assert(os.remove(lost .. "/MANIFEST"))
    finally(function() helper.remove(lost) end)
    for _, options in ipairs { {}, { create = true }, { readonly = true } } do
      local _, err = sombra.open(lost, options)
      assert.equal("corrupt", err.code)
      assert.truthy(err.message:find("no MANIFEST: put that back, restore a backup or repair it", 1, true), err.message)
    end
  end)

  -- transactions
  it("a read transaction that is over", function()
    local kept
    db:read(function(tx) kept = tx end)
    helper.misuse("the transaction is over: ended", kept.count, kept)
  end)
  it("a write transaction that was undone", function()
    local tx = db:begin "write"
    tx:rollback()
    helper.misuse("the transaction is over: rolled back", tx.create, tx)
  end)
  in_read("a write in a read", "the transaction only reads; begin it for writing", function(tx) tx:create("A") end)
  in_write("a write inside a write", "end it, or do the work inside it", function() db:write(print) end)
  in_write("a commit inside db:write", "return to commit", function(tx) tx:commit() end)
  says("a write in a procedure that reads", "what runs now may only read: a procedure of mode \"read\"",
    function() return db:call "writes" end)
  it("a database that is closed", function()
    db:close()
    helper.misuse("the database is closed", db.read, db, print)
  end)

  -- records
  in_write("labels and properties in one", "a name, or a list of names, expected",
    function(tx) tx:create { name = "Ada" } end)
  in_write("a value that cannot be stored", "props.tags[2].x: functions cannot be stored",
    function(tx) tx:create("A", { tags = { 1, { x = print } } }) end)
  in_write("a property of another kind", "Person (born) must be of kind integer, not string",
    function(tx) tx:set(ada, { born = "1815" }) end)
  in_write("a property that is missing", "Person (name) is required and missing", function(tx) tx:create("Person") end)
  in_write("an edge to nothing", "the target, node 999, does not exist", function(tx) tx:link(ada, "KNOWS", 999) end)
  in_write("a node with edges that is deleted", "node 1 has 1 edges; pass detach", function(tx) tx:delete(ada) end)
  in_read("a search without an index", "\"Person\" has no index of just these properties that is ready; make one",
    function(tx) return tx:find("Person", "name", "Ada") end)
  in_write("an upsert without a unique index", "\"Person\" has no unique index of just these properties",
    function(tx) return tx:upsert("Person", { born = 1 }) end)
  in_write("an index that is there", "Person (born) is there already",
    function(tx) tx:create_index("Person", "born") end)
  in_write("columns of unequal length", "belong",
    function(tx) tx:create_many("C", { a = { 1 }, b = { 1, 2 } }) end)

  -- buckets
  in_write("a key that is too long", "a key of 1001 bytes; at most 1000",
    function(tx) tx:bucket("v", { create = true }):put(("k"):rep(1001), 1) end)
  in_write("a key of a wrong type", "string or integer expected, got boolean",
    function(tx) tx:bucket("v", { create = true }):get(true) end)
  in_write("no value", "nil cannot be stored: sombra.null can",
    function(tx) tx:bucket("v", { create = true }):put("a") end)
  in_write("a range of unknown bounds", "option 'from': unknown option; 'ge', 'gt', 'le', 'lt', 'prefix'",
    function(tx) return tx:bucket("v", { create = true }):scan { from = 1 } end)

  -- traversals
  in_read("an operator that is none", "there is no operator \"gte\"; there are eq, ne, lt, le, gt, ge",
    function(tx) return tx:from("Person"):where({ born = { gte = 1 } }):ids() end)
  in_read("a step behind the wrong rows", "step 2 (source): it does not take nodes, but edges",
    function(tx) return tx:from("Person"):source():ids() end)
  in_read("a column that is none", "unknown column '#name'; there are #id, #depth, #labels",
    function(tx) return tx:from("Person"):order("#name"):ids() end)
  in_read("an option of a step", "unknown option 'maxx'; it takes types, min, max",
    function(tx) return tx:from("Person"):out("KNOWS", { maxx = 3 }):ids() end)
  in_read("a pattern of another language", "a node '(name:Label)' expected at character 1",
    function(tx) return tx:match { "MATCH (a) RETURN a" }:list() end)
  in_read("a negative weight", "the weight of edge 1 is -1; give a finite number, not negative",
    function(tx) return edge and tx:paths(ada, bob):cheapest { weight = "w" } end)
end)
