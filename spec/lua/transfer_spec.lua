-- SPDX-License-Identifier: MIT
-- sombra.import and sombra.export: what goes out comes back.
local export = require("sombra.export")
local helper = require("spec.helper")
local import = require("sombra.import")
local sombra = require("sombra")

---All that a database holds, with the nodes numbered by their order.
local function contents(db)
  return db:read(function(tx)
    local all, number_of = { nodes = {}, edges = {}, buckets = {} }, {}
    for id in tx:nodes() do
      local node = tx:node(id)
      table.sort(node.labels)
      all.nodes[#all.nodes + 1] = { labels = node.labels, props = node.props }
      number_of[id] = #all.nodes
    end
    for id in tx:edges() do
      local edge = tx:edge(id)
      all.edges[#all.edges + 1] =
        { src = number_of[edge.src], dst = number_of[edge.dst], type = edge.type, props = edge.props }
    end
    for name in tx:buckets() do
      all.buckets[name] = {}
      for key, value in tx:bucket(name):scan() do
        table.insert(all.buckets[name], { key, value })
      end
    end
    return all
  end)
end

local endings = { csv = { "-nodes.csv", "-edges.csv" }, jsonl = { ".jsonl" }, graphml = { ".graphml" } }

describe("import and export", function()
  local stem

  before_each(function()
    stem = os.tmpname()
  end)
  after_each(function()
    os.remove(stem)
    for _, list in pairs(endings) do
      for _, ending in ipairs(list) do
        os.remove(stem .. ending)
      end
    end
  end)

  local function write(ending, text)
    local file = assert(io.open(stem .. ending, "wb"))
    file:write(text)
    file:close()
    return stem .. ending
  end

  -- It may come while a value is looked at, which no bad value raises.
  it("are not bad records when Ctrl-C ends them", function()
    local plain = require("sombra.plain")
    local restore = plain.restore
    plain.restore = function()
      error("plain.lua:1: interrupted!", 0)
    end
    local db <close> = helper.memory()
    for ending, text in pairs { [".jsonl"] = '{"node":1}\n', ["-nodes.csv"] = "~id,p:json\n1,[2]\n" } do
      local ok, err = pcall(import.run, db, { write(ending, text) }, { rejects = stem })
      assert.is_false(ok)
      assert.equal("nothing was imported: plain.lua:1: interrupted!", err)
    end
    plain.restore = restore
  end)

  local function round_trip(db, format)
    local paths, files = {}, {}
    for index, ending in ipairs(endings[format]) do
      paths[index] = stem .. ending
      files[index] = assert(io.open(paths[index], "wb"))
    end
    export.run(db, files[2] and { nodes = files[1], edges = files[2] } or files[1], { format = format })
    for _, file in ipairs(files) do
      file:close()
    end
    local copy = helper.memory()
    import.run(copy, paths)
    return copy
  end

  local function assert_same(db, copy, has_buckets)
    local before, after = contents(db), contents(copy)
    if not has_buckets then
      before.buckets = {}
    end
    local is_same, where = helper.same(before, after)
    assert.is_true(is_same, where)
  end

  for format in pairs(endings) do
    it(("keep odd names and values in %s"):format(format), function()
      local db <close> = helper.memory()
      db:write(function(tx)
        local a = tx:create({ "Person", "semi;colon", 'quo"te,', "\xff\0<&>\\x41" }, {
          text = "a,\"b\"\r\n<&>]]> \t", empty = "", mixed = 1, int = 1, float = -0.0, flag = true, bytes = "\xff\0",
          list = { 1, 2.5, sombra.null }, none = sombra.list {}, map = { ["$x"] = { a = "" } }, mild = " b ",
          ["na:me:int"] = "x", ["~id"] = "y", ["sp ace,\"\n"] = 1, ["\1\xff"] = 2, labelV = "z", ["\\x"] = "back",
        })
        local b = tx:create(nil, { mixed = 1.0, int = math.mininteger, float = 0 / 0, flag = false })
        local c = tx:create("Person", { mixed = "1", float = -math.huge, int = math.maxinteger })
        tx:create()
        tx:delete(b)
        b = tx:create("Later", { float = 0.1, text = "null" })
        tx:link(a, "KNOWS", a, { since = 1 })
        tx:link(a, "KNOWS", b)
        tx:link(a, "KNOWS", b, { since = 2.0, why = { "x" } })
        tx:link(c, "\xfe;\\;\n", a, { since = "3" })
        local bucket = tx:bucket("b\xff", { create = true })
        tx:bucket("empty", { create = true })
        bucket:put(1, { a = 1.0 })
        bucket:put("\0\xff", sombra.null)
        bucket:put("f", false)
      end)
      local copy <close> = round_trip(db, format)
      assert_same(db, copy, format == "jsonl")
    end)

    it(("keep random graphs in %s (seed %d)"):format(format, helper.seed), function()
      math.randomseed(helper.seed)
      local db <close> = helper.memory()
      db:write(function(tx)
        local ids = {}
        for index = 1, 40 do
          local props = {}
          for _ = 1, math.random(0, 5) do
            local value = helper.random_value(3)
            props["p" .. math.random(1, 9)] = value ~= sombra.null and value or nil
          end
          ids[index] = tx:create(math.random(2) == 1 and "A" or { "B", "C" }, props)
        end
        for _ = 1, 80 do
          tx:link(ids[math.random(40)], "T" .. math.random(3), ids[math.random(40)], { weight = math.random() })
        end
      end)
      local copy <close> = round_trip(db, format)
      assert_same(db, copy, true)
    end)

    it(("keep the sample of air routes in %s"):format(format), function()
      local db <close> = helper.memory()
      local report = import.run(db, {
        "scripts/examples/data/routes.csv", "scripts/examples/data/airports.csv",
      }, { id = "code", from = "from", to = "to", label = "airport", type = "route", batch = 100 })
      local none = { entries = 0, procedures = 0, rules = 0, rejected = 0 }
      assert.same({ 92, 1552, 17 }, { report.nodes, report.edges, report.commits })
      for name, count in pairs(none) do assert.equal(count, report[name]) end
      db:read(function(tx)
        local first = tx:node(tx:first("airport")[1])
        assert.equal("float", math.type(first.props.latitude))
        for edge in tx:edges { limit = 1 } do
          assert.equal("integer", math.type(tx:edge_get(edge, "km")))
        end
      end)
      local copy <close> = round_trip(db, format)
      assert_same(db, copy, true)
    end)

    it(("keep an empty database in %s"):format(format), function()
      local db <close> = helper.memory()
      local copy <close> = round_trip(db, format)
      assert_same(db, copy, true)
    end)
  end

  local shared = (os.getenv("SOMBRA_SHARED") or "../shared/data") .. "/air-routes/air-routes-latest-"
  local probe = os.getenv("SOMBRA_LONG") and io.open(shared .. "nodes.csv")
  if probe then
    probe:close()
    it("keep the full air routes in every format", function()
      local db <close> = helper.memory()
      local report = import.run(db, { shared .. "nodes.csv", shared .. "edges.csv" })
      assert.same({ 3749, 57645 }, { report.nodes, report.edges })
      for format in pairs(endings) do
        local copy <close> = round_trip(db, format)
        assert_same(db, copy, true)
      end
    end)
  else
    pending("keep the full air routes: set SOMBRA_LONG=1, and SOMBRA_SHARED to the directory that has air-routes/")
  end

  local function props_of(text, options, ending)
    local db <close> = helper.memory()
    import.run(db, { write(ending or "-nodes.csv", text) }, options)
    return db:read(function(tx)
      local list = {}
      for id in tx:nodes() do
        list[#list + 1] = tx:node(id).props
      end
      return list
    end)
  end

  describe("procedures", function()
    local text = [[return { name = "twice", version = 2, params = { { "n", "integer" } }, ]]
      .. "run = function(tx, p) return 2 * p.n end }"
    local old = [[return { name = "twice", version = 1, run = function() return "\\u{ff} old" end }]]

    it("keep all versions in jsonl, and are told of in other formats", function()
      local db <close> = helper.memory()
      db:define(old)
      db:define { text = text, name = "procs/twice.lua" }
      local copy <close> = round_trip(db, "jsonl")
      assert.equal(42, copy:call("twice", { n = 21 }))
      assert.equal(db:call("twice@1"), copy:call("twice@1"))
      local chunks = {}
      for _, info in copy:procedures() do
        chunks[#chunks + 1] = info.version .. info.chunk
      end
      assert.same({ "1", "2procs/twice.lua" }, chunks)
      local file <close> = assert(io.tmpfile())
      assert.equal(2, export.run(db, file, { format = "graphml" }).procedures_left)
      assert.equal(0, export.run(db, file, { format = "jsonl", only = "nodes" }).procedures)
      assert.same({ 0, 2 }, (function(r) return { r.nodes, r.procedures } end)(
        export.run(db, file, { format = "jsonl", only = "procedures" })))
    end)

    it("are bad records if their text is not what the line says", function()
      local json = require "sombra.json"
      local function try_line(line)
        local db <close> = helper.memory()
        db:define(text)
        local path = write(".jsonl", json.encode(line) .. "\n")
        local report = import.run(db, { path }, { rejects = path .. ".bad" })
        os.remove(path .. ".bad")
        local count = 0
        for _ in db:procedures() do count = count + 1 end
        return report.rejected, report.procedures, count
      end
      assert.same({ 0, 0, 1 }, { try_line { procedure = "twice", version = 2, text = text } })
      assert.same({ 0, 1, 2 }, { try_line { procedure = "twice", text = old } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice", version = 3, text = old } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "thrice", text = old } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice", text = text .. " " } }) -- another text of a version
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice", text = "return (" } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice", text = "error {}" } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice", text = "while true do end" } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = "twice" } })
      assert.same({ 1, 0, 1 }, { try_line { procedure = 7, text = text } })
    end)
  end)

  describe("rules", function()
    local check = [[return { name = "check", version = 1, mode = "write", params = { { "event", "string" }, ]]
      .. [[{ "id", "integer" }, { "label", "string", default = "" }, { "type", "string", default = "" }, ]]
      .. [[{ "old", "map", default = {} } }, run = function(tx, p) tx:set(p.id, { checked = true }) end }]]

    local function with_rules()
      local db = helper.memory()
      db:define(check)
      db:write(function(tx)
        local ada = tx:create("Person", { name = "Ada", email = "a@b", born = 1815 })
        tx:link(ada, "KNOWS", ada, { since = 1 })
        tx:create_index("Person", "email", { unique = true })
        tx:create_index("Person", { "name", "born" })
        tx:create_index("KNOWS", "since", { edge = true })
        tx:create_constraint("Person", "name", { required = true })
        tx:create_constraint("KNOWS", "since", { kind = "integer", edge = true })
      end)
      db:write(function(tx) tx:create_trigger("Person", "check", { on = { "create" } }) end)
      return db
    end

    local function rules_of(db)
      local schema = db:schema()
      for _, group in ipairs { "indexes", "constraints", "triggers" } do
        for _, rule in ipairs(schema[group]) do rule.id = nil end
      end
      return { schema.indexes, schema.constraints, schema.triggers }
    end

    it("are made again in jsonl, and are told of in other formats", function()
      local db <close> = with_rules()
      local copy <close> = round_trip(db, "jsonl")
      assert.same(rules_of(db), rules_of(copy))
      assert.is_false((pcall(copy.write, copy, function(tx) tx:create("Person", { name = "Eve", email = "a@b" }) end)))
      local node = copy:write(function(tx) return tx:create("Person", { name = "Eve" }) end)
      copy:read(function(tx)
        assert.is_true(tx:get(node, "checked"))
        assert.is_nil(tx:get(1, "checked"))
      end)
      local file <close> = assert(io.tmpfile())
      assert.equal(6, export.run(db, file, { format = "graphml" }).rules_left)
      local report = export.run(db, file, { format = "jsonl", only = "rules" })
      assert.same({ 0, 0, 6 }, { report.nodes, report.procedures, report.rules })
    end)

    it("that are there are no change, and bad ones are bad records", function()
      local json = require "sombra.json"
      local db <close> = with_rules()
      db:write(function(tx) tx:create("Poet", { name = "Ada" }) tx:create("Poet", { name = "Ada" }) end)
      local before = rules_of(db)
      local function try_line(line)
        local path = write(".jsonl", json.encode(line) .. "\n")
        local report = import.run(db, { path }, { rejects = path .. ".bad" })
        os.remove(path .. ".bad")
        return { report.rejected, report.rules }
      end
      local list = require("sombra").list
      assert.same({ 0, 0 }, try_line { index = list { "email" }, label = "Person", unique = true })
      assert.same({ 0, 0 }, try_line { constraint = "name", label = "Person", required = true })
      assert.same({ 0, 0 }, try_line { trigger = "check", label = "Person", on = list { "create" } })
      assert.same({ 1, 0 }, try_line { index = list { "name" }, label = "Poet", unique = true })
      assert.same({ 1, 0 }, try_line { constraint = "born", label = "Poet", required = true })
      assert.same({ 1, 0 }, try_line { constraint = "name", label = "Poet", kind = "colour" })
      assert.same({ 1, 0 }, try_line { constraint = "name", label = "Poet" })
      assert.same({ 1, 0 }, try_line { trigger = "check", label = "Poet", on = list { "sleep" } })
      assert.same({ 1, 0 }, try_line { index = list { "name" } })
      assert.same({ 1, 0 }, try_line { index = list { "name" }, label = "Poet", type = "Poet" })
      assert.same({ 1, 0 }, try_line { index = "name", label = "Poet" })
      assert.same({ 1, 0 }, try_line { index = list {}, label = "Poet" })
      assert.same(before, rules_of(db))
      assert.same({ 0, 1 }, try_line { index = list { "name" }, label = "Poet" })
    end)
  end)

  it("the history of migrations goes along in jsonl", function()
    local json = require "sombra.json"
    local directory = os.tmpname()
    os.remove(directory)
    os.execute("mkdir " .. directory)
    local file <close> = assert(io.open(directory .. "/0001_people.lua", "wb"))
    file:write "return { up = function(tx) tx:create 'A' end }"
    file:close()
    local db <close> = helper.memory()
    db:migrate(directory)
    local copy <close> = round_trip(db, "jsonl")
    assert.same({}, copy:migrate(directory))
    local function rows(of) return of:read(function(tx) return tx:migrations() end) end
    assert.same(rows(db), rows(copy))
    assert.equal(1, copy:read(function(tx) return tx:count "A" end))
    local row = rows(db)[1]
    local function try_row(changes)
      local line = { migration = row.number, name = row.name, hash = row.hash, time = row.time, state = row.state }
      for name, value in pairs(changes) do line[name] = value end
      local path = write(".jsonl", json.encode(line) .. "\n")
      local report = import.run(copy, { path }, { rejects = path .. ".bad" })
      os.remove(path .. ".bad")
      return { report.rejected, report.migrations }
    end
    assert.same({ 0, 0 }, try_row {})
    assert.same({ 0, 1 }, try_row { migration = 2, name = "0002_b.lua" })
    assert.same({ 1, 0 }, try_row { hash = ("0"):rep(64) })
    assert.same({ 1, 0 }, try_row { migration = 3, hash = "x" })
    assert.same({ 1, 0 }, try_row { migration = 0 })
    assert.same({ 1, 0 }, try_row { migration = 3, state = "late" })
    assert.equal(2, #rows(copy))
    db:define [[return { name = "peek", version = 1, run = function(tx) return tx:migrations() end }]]
    assert.is_false((pcall(db.call, db, "peek")))
    local out <close> = assert(io.tmpfile())
    assert.equal(1, export.run(db, out, { format = "graphml" }).migrations_left)
    os.execute("rm -r " .. directory)
  end)

  it("infer the types of columns from all rows", function()
    local props = props_of("a,b,c,d,e,f,g\n1,1,true,007,9223372036854775808,,1e3\n-2,2.5,false,1,1,x,nan\n")
    assert.is_true(helper.same({ a = 1, b = 1.0, c = true, d = "007", e = "9223372036854775808", g = "1e3" }, props[1]))
    assert.is_true(helper.same({ a = -2, b = 2.5, c = false, d = "1", e = "1", f = "x", g = "nan" }, props[2]))
  end)

  it("take declared types, in the header and by option", function()
    local props = props_of("~id,a:float,b:string,c:int[],d:bool,e,f:strange,g\n1,1,1,1;2,TRUE,5,6,[1]\n",
      { types = { e = "string", g = "json" } })
    local expected = { a = 1.0, b = "1", c = { 1, 2 }, d = true, e = "5", ["f:strange"] = 6, g = { 1 } }
    assert.is_true(helper.same(expected, props[1]))
  end)

  it("take the headings of Neo4j", function()
    local nodes = write("-nodes.csv", "key:ID(People),name,:LABEL\na1,Ada,Person;Poet\nb1,Bob,Person\n")
    local edges = write("-edges.csv", ":START_ID,:END_ID,:TYPE,since:int\na1,b1,KNOWS,2026\n")
    local db <close> = helper.memory()
    import.run(db, { nodes, edges })
    local all = contents(db)
    assert.same({ labels = { "Person", "Poet" }, props = { key = "a1", name = "Ada" } }, all.nodes[1])
    assert.same({ { src = 1, dst = 2, type = "KNOWS", props = { since = 2026 } } }, all.edges)
  end)

  it("take other programs' GraphML", function()
    local path = write(".graphml", [==[
<?xml version='1.0' encoding='utf-8'?><!DOCTYPE graphml><!-- <node id="no"/> -->
<g:graphml xmlns:g="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="node" attr.name="color" attr.type="string"><desc>x</desc><default>yellow</default></key>
  <key id="d1" for="edge" attr.name="weight" attr.type="double"/>
  <key id="n" for="node" attr.name="n" attr.type="int"/>
  <graph id="G" edgedefault="undirected"><desc>a graph</desc>
    <node id="n0" labels=":A:B"><data key="d0">gr<![CDATA[<ee>]]>n&#x21;</data><data key="n"> 7 </data></node>
    <node id="n1"/>
    <edge id="e" source="n0" target="n1" label='T&gt;'><data key="d1">1</data></edge>
  </graph>
</g:graphml>]==])
    local db <close> = helper.memory()
    import.run(db, { path })
    assert.is_true(helper.same({
      nodes = {
        { labels = { "A", "B" }, props = { color = "gr<ee>n!", n = 7 } },
        { labels = sombra.list {}, props = { color = "yellow" } },
      },
      edges = { { src = 1, dst = 2, type = "T>", props = { weight = 1.0 } } },
      buckets = {},
    }, contents(db)))
  end)

  it("read XML the same in pieces of any size", function()
    local xml = require("sombra.transfer.xml")
    local text = "<?xml version='1.0'?><!-- a > b --><a x='1>2' y=\"'\">t&lt;<![CDATA[]]x]]>]]>\n<b/></a >\r\n"
    local function tokens(piece_bytes)
      local at = 1
      local reader = xml.reader({ name = "x", read = function()
        local piece = text:sub(at, at + piece_bytes - 1)
        at = at + piece_bytes
        return piece ~= "" and piece or nil
      end })
      local list, run = {}, ""
      for token in reader.next, reader do
        if token.kind == "text" then
          run = run .. token.text
        else
          list[#list + 1] = { run, token }
          run = ""
        end
      end
      return list, run, reader.line
    end
    local whole = table.pack(tokens(1000))
    assert.same({ x = "1>2", y = "'" }, whole[1][1][2].attributes)
    assert.equal("t<]]x]]>\n", whole[1][2][1])
    for piece_bytes = 1, 20 do
      assert.same(whole, table.pack(tokens(piece_bytes)))
    end
  end)

  it("find nodes of an earlier run by the property that keeps their ids", function()
    local db <close> = helper.memory()
    import.run(db, { write("-nodes.csv", "~id,name\nx,Ada\n7,Bob\n") }, { id = "key" })
    import.run(db, { write("-edges.csv", "~from,~to\nx,7\n7,x\n") }, { id = "key", type = "T" })
    assert.equal(2, #contents(db).edges)
    local is_good, err = pcall(import.run, db, { write("-nodes.csv", "~id\nx\n") }, { id = "key" })
    assert.is_false(is_good)
    assert.matches("%-nodes.csv:2: a node with the id 'x' is there already; nothing was imported", tostring(err))
  end)

  local bad = {
    { "-nodes.csv", "~id,n:int\n1,one\n", "nodes.csv:2: column 'n': 'one' is no 64%-bit integer" },
    { "-nodes.csv", "~id,n\n1,2,3\n", "nodes.csv:2: 3 fields where there are 2 columns" },
    { "-nodes.csv", '~id,n\n1,"x\n', "nodes.csv:2: a quoted field is never closed" },
    { "-nodes.csv", "~id,n\n1,x\n1,y\n", "nodes.csv:3: a node with the id '1'" },
    { "-nodes.csv", "", "the first line, which names the columns, is missing" },
    { "-nodes.csv", "a,b,a\n", "nodes.csv:1: columns 1 %('a'%) and 3 %('a'%) are both the property 'a'" },
    { "-nodes.csv", "\na:int,a:float\n1,2\n",
      "nodes.csv:2: columns 1 %('a:int'%) and 2 %('a:float'%) are both the property 'a'" },
    { "-nodes.csv", "~id,n,:ID\n", "nodes.csv:1: columns 1 %('~id'%) and 3 %(':ID'%) are both the id" },
    { "-nodes.csv", "a:ID,n,b:ID\n1,2,3\n", "nodes.csv:1: columns 1 %('a:ID'%) and 3 %('b:ID'%) are both the id" },
    { "-nodes.csv", "a:ID(X),:ID\n1,2\n", "columns 1 %('a:ID%(X%)'%) and 2 %(':ID'%) are both the id" },
    { "-nodes.csv", "~id,:LABEL,kind:LABEL\n1,2,3\n",
      "columns 2 %(':LABEL'%) and 3 %('kind:LABEL'%) are both the label" },
    { "-edges.csv", "~from,~to,:TYPE,~label\n", "columns 3 %(':TYPE'%) and 4 %('~label'%) are both the label or type" },
    { "-edges.csv", "~from,a:START_ID,~to\n", "columns 1 %('~from'%) and 2 %('a:START_ID'%) are both the source" },
    { "-edges.csv", "~from,:END_ID,~to\n", "columns 2 %(':END_ID'%) and 3 %('~to'%) are both the target" },
    { "-nodes.csv", "~id,n,\n1,2,\n", "nodes.csv:1: column 3 has no name" },
    { "-nodes.csv", "~id," .. ("x"):rep(256) .. "\n1,2\n", "nodes.csv:2: .*a name has 256 bytes" },
    { ".jsonl", '{"node":1,"labels":["' .. ("x"):rep(256) .. '"]}\n', "jsonl:1: .*a name has 256 bytes" },
    { ".jsonl", '{"bucket":"b","key":"' .. ("x"):rep(1001) .. '","value":1}\n', "jsonl:1: a key of 1001 bytes" },
    -- Which took minutes, for patterns that went back and forth.
    { "-nodes.csv", "n:float\n" .. ("1"):rep(20000) .. "x\n", "nodes.csv:2: column 'n': '1+%.%.%.' is no number" },
    { "-nodes.csv", "a:" .. ("b"):rep(100000) .. ")(\n1\n",
      "nodes.csv:1: column 1 has a name of 100004 bytes, 'a:b+%.%.%.'" },
    { ".graphml", "<graphml " .. ("b"):rep(200000) .. ">", "a tag cannot be read near ' b+%.%.%.'" },
    { "-nodes.csv", "\xFF\xFE~\0i\0d\0\n\0", "nodes.csv:1: the encoding is UTF%-16" },
    { "-nodes.csv", "~id,n\r1,2\r3,4\r", "nodes.csv:1: lines end in CR alone" },
    { "-edges.csv", "~from,x\n", "edges need two columns" },
    { "-edges.csv", "~from,~to,~label\n1,2,T\n", "edges.csv:2: there is no node with the id '1'" },
    { ".jsonl", '{"node":1}\n\n{"node":2\n', "jsonl:3: not JSON at column" },
    { ".jsonl", "[]\n", "jsonl:1: an object is expected" },
    { ".jsonl", '{"x":1}\n', 'an object with "node", "edge", "bucket", "procedure", "index"' },
    { ".jsonl", '{"node":1.5}\n', 'the member "node" has the wrong kind' },
    { ".jsonl", '{"node":1,"to":2}\n', 'there is no member "to" of a node' },
    { ".jsonl", '{"node":1,"labels":["A",1]}\n', 'the member "labels" has the wrong kind' },
    { ".jsonl", '{"node":1,"props":{"":1}}\n', "jsonl:1: " },
    { ".jsonl", '{"node":1}\n{"edge":1,"from":1,"to":1}\n', "jsonl:2: the edge has no type" },
    { ".jsonl", '{"edge":1,"from":1}\n', 'needs "from" and "to"' },
    { ".jsonl", '{"bucket":"b","key":1}\n', 'needs "key" and "value"' },
    { ".graphml", "<html/>", "this is no GraphML" },
    { ".graphml", "<graphml>", "there is no <graph>" },
    { ".graphml", "<graphml><graph>", "<graph> is never closed" },
    { ".graphml", "<graphml><graph><node id='1'", "a tag is never closed" },
    { ".graphml", "<graphml><graph>\n<node id='1' id='2'/>", "graphml:2: the attribute 'id' stands twice" },
    { ".graphml", "<graphml><graph><node id='&x;'/>", "'&x;' is not known" },
    { ".graphml", "<graphml><graph><node id='&#xD800;'/>", "'&#xD800;' is not known" },
    { ".graphml", "<graphml><graph><node id='&#0;'/>", "'&#0;' is not known" },
    { ".graphml", "<graphml><graph><node id='1'/><node id='2'>", "<node> is never closed; nothing was imported" },
    { ".graphml", "<!DOCTYPE x [<!ENTITY a 'b'>]><graphml/>", "a document type with declarations is not read" },
    { ".graphml", "<?xml version='1.0' encoding='latin1'?><graphml/>", "the encoding is latin1" },
    { ".graphml", "<graphml><key id='a' attr.type='date'/><graph/></graphml>", "the type 'date'" },
    { ".graphml", "<graphml><graph>\n<node id='1'><data key='z'>1</data></node>", "graphml:2: there is no key 'z'" },
    { ".graphml", "<graphml><key id='a'/><key id='b' attr.name='a'/><graph>\n<node id='1'><data key='a'>1</data>"
      .. "<data key='b'>2</data></node>", "graphml:2: the property 'a' stands twice" },
    { ".graphml", "<graphml><key id='labelV'/><graph>\n<node id='1'><data key='labelV'>A</data>"
      .. "<data key='labelV'>B</data></node>", "graphml:2: the label stands twice" },
    { ".graphml", "<graphml><key id='a'/>\n<key id='a' for='node'/><graph/>", "graphml:2: the key 'a' stands twice" },
    { ".graphml", "<graphml><graph><hyperedge/>", "<hyperedge> is not read" },
    { ".strange", "", "the format of .* is not known by its name" },
  }
  for _, case in ipairs(bad) do
    it(("say where and why: %s"):format(case[3]), function()
      local db <close> = helper.memory()
      local path = write(case[1], case[2])
      local is_good, err = pcall(import.run, db, { path })
      os.remove(path)
      assert.is_false(is_good)
      assert.matches(case[3], tostring(err))
      db:read(function(tx)
        assert.equal(0, tx:count())
      end)
    end)
  end

  it("refuse names of columns that no file has", function()
    local db <close> = helper.memory()
    local nodes, edges = write("-nodes.csv", "id,n\na,1\n"), write("-edges.csv", "src,dst\na,a\n")
    local function refuses(pattern, paths, options)
      local is_good, err = pcall(import.run, db, paths, options)
      assert.is_false(is_good)
      assert.matches(pattern, tostring(err))
      assert.equal(0, db:read(function(tx) return tx:count() end))
    end
    refuses("there is no column 'm', which types asks for", { nodes }, { types = { m = "int" } })
    refuses("there is no column 'scr', which from asks for", { edges }, { from = "scr", to = "dts", type = "T" })
    refuses("there is no column 'scr', which from asks for", { nodes, edges }, { id = "id", from = "scr", to = "dts",
      type = "T" })
    refuses("there is no column 'from', which types asks for", { nodes, edges }, { id = "id", from = "src", to = "dst",
      type = "T", types = { from = "int" } })
    local report = import.run(db, { edges, nodes }, { id = "id", from = "src", to = "dst", type = "T",
      types = { n = "float" } })
    assert.same({ 1, 1 }, { report.nodes, report.edges })
  end)

  it("keep the batches before a bad record, or nothing with one batch for all", function()
    local rows = { "~id" }
    for index = 1, 25 do
      rows[#rows + 1] = tostring(index)
    end
    rows[#rows + 1] = "25\n"
    local path = write("-nodes.csv", table.concat(rows, "\n"))
    for batch, kept in pairs { [10] = 20, [0] = 0, [1000] = 0 } do
      local db <close> = helper.memory()
      local is_good, err = pcall(import.run, db, { path }, { batch = batch })
      assert.is_false(is_good)
      assert.matches("nodes.csv:27: .*; " .. (kept > 0 and "the 20 records" or "nothing was imported"), tostring(err))
      assert.equal(kept, db:read(function(tx)
        return tx:count()
      end))
    end
  end)

  it("skip a byte order mark in every format", function()
    for ending, text in pairs {
      ["-nodes.csv"] = "~id\n1\n",
      [".jsonl"] = '{"node":1}\n',
      [".graphml"] = "<graphml><graph><node id='1'/></graph></graphml>",
    } do
      local db <close> = helper.memory()
      assert.equal(1, import.run(db, { write(ending, "\xEF\xBB\xBF" .. text) }).nodes)
    end
  end)

  it("refuse CSV in UTF-16, with a byte order mark or without", function()
    local text = "~id,name\r\n1,Ann\r\n"
    local little, big = text:gsub(".", "%0\0"), text:gsub(".", "\0%0")
    for _, bytes in ipairs { "\xFF\xFE" .. little, "\xFE\xFF" .. big, little, big, (little:gsub("\r", "")) } do
      local db <close> = helper.memory()
      local is_good, err = pcall(import.run, db, { write("-nodes.csv", bytes) })
      assert.is_false(is_good)
      assert.matches("nodes.csv:1: .*the encoding is UTF%-16", tostring(err))
      assert.equal(0, db:read(function(tx) return tx:count() end))
    end
  end)

  it("say what stays when something else than a record ends them", function()
    local db <close> = helper.memory()
    local path = write("-nodes.csv", "~id,n\n1,1\n2,1\n3,1\n4,1\n5,1\n")
    db:define [[return { name = "few", run = function(_, change)
      if change.id > 3 then return nil, "too many" end
    end }]]
    db:write(function(tx) tx:create_trigger("P", "few") end)
    local is_good, err = pcall(import.run, db, { path }, { batch = 2, label = "P" })
    assert.is_false(is_good)
    assert.equal("constraint", err.code)
    assert.matches("too many; the 2 records before it that were committed stay", tostring(err), 1, true)
    assert.equal(2, db:read(function(tx) return tx:count("P") end))
  end)

  it("count records of every kind when they say what stays", function()
    local unit = '{"procedure":"p%d","version":1,"text":"return { name = \\"p%d\\", exports = {} }"}\n'
    local path = write(".jsonl", '{"node":1}\n' .. unit:format(1, 1) .. unit:format(2, 2) .. "x\n")
    for batch, text in pairs { [1] = "the 3 records before it", [2] = "the 2 records", [4] = "nothing was imported" } do
      local db <close> = helper.memory()
      local is_good, err = pcall(import.run, db, { path }, { batch = batch })
      assert.is_false(is_good)
      assert.matches(text, tostring(err), 1, true)
    end
  end)

  it("put bad records aside, as they are, to be mended and imported", function()
    local cases = {
      { "-nodes.csv", '~id,n:int\n1,1\n2,two\n"3",3\n3,"a\nb"\n4,4,4\n', { 3, 5, 7 },
        '~id,n:int\n2,two\n3,"a\nb"\n4,4,4\n' },
      { ".jsonl", '{"node":1}\n{"node":1}\nx\n{"node":2}\n', { 2, 3 }, '{"node":1}\nx\n' },
      { ".graphml", '<graphml><key id="n" attr.type="int"/><graph>\n<node id="1"/>\n<node id="2"><data key="n">x</data>'
        .. '</node>\n<edge source="1" target="9" label="T"/></graph></graphml>', { 3, 4 },
        '<graphml><key id="n" attr.type="int"/><graph>\n<node id="2"><data key="n">x</data></node>\n'
        .. '<edge source="1" target="9" label="T"/>\n</graph>\n</graphml>\n' },
    }
    for _, case in ipairs(cases) do
      local db <close> = helper.memory()
      local lines = {}
      local report = import.run(db, { write(case[1], case[2]) }, {
        rejects = stem,
        on_reject = function(_, line)
          lines[#lines + 1] = line
        end,
      })
      assert.same(case[3], lines)
      assert.equal(#lines, report.rejected)
      local file <close> = assert(io.open(stem, "rb"))
      assert.equal(case[4], file:read("a"))
    end
  end)

  it("put aside what breaks an index or a constraint", function()
    local db <close> = helper.memory()
    db:write(function(tx)
      tx:create_index("P", "email", { unique = true })
      tx:create_constraint("P", "born", { kind = "integer" })
    end)
    local reasons = {}
    local path = write(".jsonl", [[
{"node":1,"labels":["P"],"props":{"email":"a","born":1}}
{"node":2,"labels":["P"],"props":{"email":"a","born":1}}
{"node":3,"labels":["P"],"props":{"email":"b","born":"x"}}
{"node":4,"labels":["P"],"props":{"email":"b","born":2}}
]])
    local report = import.run(db, { path }, {
      rejects = stem,
      on_reject = function(_, line, why)
        reasons[#reasons + 1] = line .. ": " .. why
      end,
    })
    assert.equal(2, report.nodes)
    assert.equal(2, report.rejected)
    assert.matches("^2: .*email", reasons[1])
    assert.matches("^3: .*born", reasons[2])
    local is_good, err = pcall(import.run, db, { path }, { id = "email" })
    assert.is_false(is_good)
    assert.matches("jsonl:1: .*; nothing was imported", tostring(err))
    assert.equal(0, #db:verify())
  end)

  it("know no node by NaN", function()
    local db <close> = helper.memory()
    local path = write(".jsonl", '{"props":{"x":{"$float":"nan"}}}\n')
    assert.equal(1, import.run(db, { path }).nodes)
    local is_good, err = pcall(import.run, db, { path }, { id = "x" })
    assert.is_false(is_good)
    assert.matches("jsonl:1: the id is NaN", tostring(err))
  end)

  it("do not write rejects over what is imported", function()
    local db <close> = helper.memory()
    local path = write("-nodes.csv", "~id\n1\n1\n2\n")
    local odd = path:gsub("/([^/]*)$", "/./%1")
    local is_good, err = pcall(import.run, db, { path }, { rejects = odd })
    assert.is_false(is_good)
    assert.matches("is imported: rejects need another file", tostring(err))
    local file <close> = assert(io.open(path, "rb"))
    assert.equal("~id\n1\n1\n2\n", file:read("a"))
  end)

  it("refuse options that they do not know", function()
    local db <close> = helper.memory()
    helper.misuse('unknown option "labels"', import.run, db, {}, { labels = "x" })
    helper.misuse('unknown option "to"', export.run, db, io.stdout, { format = "csv", to = 1 })
    assert.is_false((pcall(export.run, db, io.stdout, { format = "csv" })))
    assert.is_false((pcall(import.run, db, {}, { types = { a = "date" } })))
  end)
end)
