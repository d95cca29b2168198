-- SPDX-License-Identifier: MIT
-- The commands import and export; what they do to data is in spec/lua/transfer_spec.lua.
local json = require("sombra.json")
local run = require("spec.host.run")
local sombra = require("sombra")

local ok, fails = run.ok, run.fails

local sample = "scripts/examples/data"

describe("the commands import and export", function()
  local directory, path

  before_each(function()
    directory = run.temporary_directory()
    path = directory .. "/air.db"
  end)
  after_each(function()
    run.remove_directory(directory)
  end)

  local function import_sample()
    return ok({ "import", path, "--create", "--id=code", "--from=from", "--to=to", "--label=airport", "--type=route",
      sample .. "/airports.csv", sample .. "/routes.csv" })
  end

  it("carry a database through every format", function()
    assert.equal("92 nodes, 1552 edges, 0 entries imported\n", import_sample())
    local previous = path
    for _, file in ipairs({ "air.graphml", "air.jsonl", "air.csv" }) do
      local target, copy = directory .. "/" .. file, directory .. "/" .. file .. ".db"
      assert.equal("92 nodes, 1552 edges, 0 entries exported\n", ok({ "export", previous, target }))
      local stem = target:gsub("%.csv$", "")
      local from = stem ~= target and { stem .. "-edges.csv", stem .. "-nodes.csv" } or { target }
      assert.matches("^92 nodes, 1552 edges", ok({ "import", copy, "--create", table.unpack(from) }))
      previous = copy
    end
    -- The same text in the end: ids are the same in databases that were never deleted from.
    local text = ok({ "export", path, "--format", "jsonl" })
    assert.equal(text, ok({ "export", previous, "--format", "jsonl" }))
    assert.equal(text, run.read_file(directory .. "/air.jsonl"))
    assert.equal("", (run.shell("ls " .. directory .. " | grep part")))
  end)

  it("read and write the standard streams", function()
    local lines = '{"node":"a","labels":["A"]}\n{"edge":1,"from":"a","to":"a","type":"T"}\n'
      .. '{"bucket":"b","key":1,"value":2}\n'
    assert.equal('{"commits":1,"edges":1,"entries":1,"migrations":0,"nodes":1,"procedures":0,"rejected":0,"rules":0}\n',
      ok({ "import", path, "-", "--format=jsonl", "--create", "--json" }, { input = lines }))
    assert.equal('{"labels":["A"],"node":1,"props":{}}\n', ok({ "export", path, "--format=jsonl", "--only=nodes" }))
    assert.equal('{"bucket":"b"}\n{"bucket":"b","key":1,"value":2}\n',
      ok({ "export", path, "-", "--format=jsonl", "--only=buckets" }))
    assert.equal("~id,~from,~to,~label\n1,1,1,T\n", ok({ "export", path, "--format=csv", "--only=edges" }))
    local result = run.host({ "export", path, directory .. "/x.graphml" })
    assert.equal("1 buckets are left out: of the formats only jsonl has them\n", result.err)
    assert.equal(0, result.code)
  end)

  it("make no database when words are wrong", function()
    run.write_file(directory .. "/a.csv", "~id\n1\n")
    fails(2, "separator is one byte", { "import", path, directory .. "/a.csv", "--create", "--separator", "::" })
    fails(2, "'born' is none of its parts", { "import", path, directory .. "/a.csv", "--create", "--types", "born" })
    assert.is_nil(io.open(path))
  end)

  it("end at a bad record, with its place", function()
    run.write_file(directory .. "/bad.csv", "~id,n\n1,1\n1,2\n")
    local result = run.host({ "import", path, directory .. "/bad.csv", "--create" })
    assert.equal("sombra import: " .. directory .. "/bad.csv:3: a node with the id '1' is there already; "
      .. "nothing was imported\n", result.err)
    assert.equal(1, result.code)
    result = run.host({ "import", path, directory .. "/bad.csv", "--batch", "1" })
    assert.matches("the 1 records before it that were committed stay", result.err)
  end)

  it("count lines of the standard input, too, whose columns are text", function()
    local result = run.host({ "import", path, "-", "--format=csv", "--create", "--rejects", directory .. "/rejects" },
      { input = "~id,n,m:int\n1,7,7\n2,8\n" })
    assert.equal("standard input:3: 2 fields where there are 3 columns\n", result.err)
    assert.equal("~id,n,m:int\n2,8\n", run.read_file(directory .. "/rejects"))
    assert.matches('"props":{"m":7,"n":"7"}', ok({ "export", path, "--format=jsonl" }))
  end)

  it("keep whole batches when Ctrl-C ends an import, and nothing of the last one", function()
    local output, code = run.shell(([[
      cd %s; mkfifo rows; %s import air.db rows --format=jsonl --create --batch 2 2>&1 & child=$!
      exec 3>rows; for i in 1 2 3; do echo '{"node":'$i'}' >&3; done
      for i in $(seq 200); do sleep 0.05; %s dump air.db log 2>/dev/null | grep -q puts && break; done
      kill -INT $child; exec 3>&-; wait $child]]):format(directory, run.absolute_binary(), run.absolute_binary()))
    assert.equal("sombra import: interrupted; the 2 records before it that were committed stay\n", output)
    assert.equal(130, code)
    assert.equal(2, json.decode(ok({ "stats", path, "--json" })).database.nodes)
  end)

  it("put bad records aside and say why", function()
    run.write_file(directory .. "/bad.csv", "~id;n:int\n1;1\n2;two\n3\n")
    local result = run.host({ "import", path, directory .. "/bad.csv", "--create", "--separator=;",
      "--rejects", directory .. "/rejects" })
    assert.equal("1 nodes, 0 edges, 0 entries imported, 2 records rejected\n", result.out)
    assert.matches("bad.csv:3: column 'n': 'two' is no 64%-bit integer\n.*bad.csv:4: 1 fields where", result.err)
    assert.equal(0, result.code)
    assert.equal("~id;n:int\n2;two\n3\n", run.read_file(directory .. "/rejects"))
  end)

  it("take types by option", function()
    run.write_file(directory .. "/nodes.csv", "~id,a,b\n1,1,1\n")
    ok({ "import", path, directory .. "/nodes.csv", "--create", "--types", "a:float,b:string" })
    assert.matches('"props":{"a":1.0,"b":"1"}', ok({ "export", path, "--format=jsonl" }))
    assert.equal(2, run.host({ "import", path, "x.csv", "--types", "a" }).code)
    assert.matches("the type 'date'; there are string", run.host({ "import", path, "x.csv", "--types=a:date" }).err)
  end)

  it("refuse what they cannot do", function()
    import_sample()
    fails(2, "FILE is missing", { "import", path })
    fails(1, "cannot open .*nothing.csv: No such file", { "import", path, "nothing.csv" })
    local new = path .. ".new"
    fails(1, "cannot open .*nothing.csv: No such file", { "import", "--create", new, "nothing.csv" })
    assert.is_nil(io.open(new))
    fails(1, "the format of the standard input is not known", { "import", path, "-" })
    fails(2, "the standard output has no name that tells a format", { "export", path })
    fails(2, "the standard output has no name that tells a format", { "export", path, "-" })
    fails(1, "the format of x is not known by its name: name it", { "export", path, "x" })
    fails(2, "%-%-format is one of csv, jsonl, graphml, not 'xls'", { "export", path, "--format=xls" })
    fails(2, "CSV has nodes and edges in a file each", { "export", path, "--format=csv" })
    fails(1, "cannot write .*No such file", { "export", path, directory .. "/no/where.jsonl" })
    fails(3, "no such database", { "export", directory .. "/none", "x.jsonl" })
  end)

  it("keep an older file until the new one is whole", function()
    local target = directory .. "/old.csv"
    run.write_file(target, "old")
    local db <close> = assert(sombra.open(path, { create = true }))
    db:write(function(tx)
      tx:create("A", { x = 1 })
    end)
    -- The disk is full: a link in the place of the unfinished file stands for it.
    run.shell(("ln -s /dev/full %s.part"):format(target))
    local result = run.host({ "export", path, target, "--only=nodes" })
    assert.matches("cannot write .*No space left on device", result.err)
    assert.equal(1, result.code)
    assert.equal("old", run.read_file(target))
    ok({ "export", path, target, "--only=nodes" })
    assert.equal("~id,~label,x:int\n1,A,1\n", run.read_file(target))
  end)

  it("write into pipes and devices, behind links, and never over the database", function()
    do
      local db <close> = assert(sombra.open(path, { create = true }))
      db:write(function(tx) tx:create("A") end)
    end
    local line = '{"labels":["A"],"node":1,"props":{}}\n'
    run.write_file(directory .. "/old.jsonl", "old")
    local output, code = run.shell(([[
      cd %s; sombra=%s; mkfifo pipe.jsonl
      cat pipe.jsonl & $sombra export air.db pipe.jsonl >&2; wait; test -p pipe.jsonl || echo gone
      ln -s old.jsonl link.jsonl; $sombra export air.db link.jsonl; test -L link.jsonl || echo gone; cat old.jsonl
      $sombra export air.db --format jsonl ./air.db 2>&1; echo $?; $sombra export air.db --format jsonl /dev/full 2>&1
      test -c /dev/full || echo gone; ls *.part /dev/*.part]]):format(directory, run.absolute_binary()))
    assert.equal(line .. "1 nodes, 0 edges, 0 entries exported\n" .. line
      .. "sombra export: FILE is the database itself: ./air.db\n2\n"
      .. "sombra export: cannot write /dev/full: No space left on device\n", output)
    assert.equal(2, code)
    assert.equal("air.db: sound\n", (run.shell(("cd %s; %s verify air.db"):format(directory, run.absolute_binary()))))
    fails(1, "it is a directory", { "export", path, directory, "--format=jsonl" })
  end)

  it("show progress on a terminal", function()
    local out = run.shell(("script -qec %s /dev/null"):format(run.quote(("%s import %s %s/airports.csv --create")
      :format(run.absolute_binary(), path, sample))))
    assert.matches("import %[=+%] 100%%  92 records  [%d.]+k?/s  in [%d.]+ s", out)
    assert.matches("92 nodes, 0 edges", out)
    assert.equal(92, json.decode(ok({ "stats", path, "--json" })).database.nodes)
  end)
end)
