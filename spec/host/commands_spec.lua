-- SPDX-License-Identifier: MIT
local commands = require("sombra.cli.commands")
local json = require("sombra.json")
local run = require("spec.host.run")
local sombra = require("sombra")

local ok, fails = run.ok, run.fails

describe("the commands", function()
  local directory, path

  setup(function()
    directory = run.temporary_directory()
    path = directory .. "/data.sombra"
    local db <close> = assert(sombra.open(path, { create = true }))
    db:write(function(tx)
      local ada = tx:create("Person", { name = "Ada", score = 1.5 })
      local bob = tx:create({ "Person", "Poet" }, { name = "Bob", score = 2 })
      tx:link(ada, "KNOWS", bob, { since = 2026 })
      local bucket = tx:bucket("things", { create = true })
      bucket:put("a1", "one")
      bucket:put("a2", { n = 2 })
      bucket:put("b\0\xff", "x\ty\n")
      bucket:put(-7, "minus seven")
    end)
  end)
  teardown(function()
    run.remove_directory(directory)
  end)

  describe("are told from scripts:", function()
    it("a file of the same name runs with ./ and with --", function()
      run.write_file(directory .. "/stats", "print('the file', ...)")
      local at = "cd " .. directory .. " && " .. run.absolute_binary()
      assert.equal("the file\tx\n", (run.shell(at .. " ./stats x")))
      assert.equal("the file\tx\n", (run.shell(at .. " -- stats x")))
      assert.equal("the file\tx\n", (run.shell(at .. " -W stats x")))
      assert.matches("DB is missing", (run.shell(at .. " stats 2>&1")))
    end)

    it("a script of another name needs neither", function()
      run.write_file(directory .. "/statistics", "print('mine')")
      assert.equal("mine\n", (run.shell("cd " .. directory .. " && " .. run.absolute_binary() .. " statistics")))
    end)
  end)

  it("are told apart from words misspelt", function()
    fails(2, "^sombra: there is no command and no file 'stat'; did you mean stats%?\n", { "stat", "x" })
    fails(2, "^sombra: there is no command and no file 'restore'; see sombra %-%-help\n", { "restore", "x" })
  end)

  it("name the option that makes a database only if they have it", function()
    fails(3, "^sombra stats: open nothing.db: no such database: ", { "stats", "nothing.db" })
    fails(3, "no such database %(%-%-create makes one%)", { "import", "nothing.db", "x.csv" })
  end)

  describe("refuse wrong words with exit code 2:", function()
    for _, case in ipairs({
      { "DB is missing: sombra stats", { "stats" } },
      { "'z' is one word too many", { "stats", "x", "z" } },
      { "there is no option %-%-jsom; did you mean %-%-json%?", { "stats", "x", "--jsom" } },
      { "%-%-json takes no value", { "stats", "x", "--json=1" } },
      { "%-%-json is given twice", { "stats", "x", "--json", "--json" } },
      { "%-%-limit needs a value", { "verify", "x", "--limit" } },
      { "%-%-limit needs a number, not 'many'", { "verify", "x", "--limit", "many" } },
      { "%-%-limit needs a number, not '%-1'", { "verify", "x", "--limit=-1" } },
      { "%-%-memory is at least 1, not '0'", { "call", "x", "y", "--memory", "0" } },
      { "%-%-time is a number above 0, not '0.0'", { "call", "x", "y", "--time=0.0" } },
      { "%-%-version is at least 1, not '0'", { "proc", "drop", "x", "y", "--version=0" } },
      { "page needs a number", { "dump", "x", "page", "-1" } },
      { "one of get, put, del, scan", { "kv" } },
      { "one of bash, zsh, fish, not 'csh'", { "completions", "csh" } },
      { "there is no command 'nothing'", { "help", "nothing" } },
      { "KEY is not an integer", { "kv", "get", "x", "y", "seven", "--integer" } },
      { "KEY is not hexadecimal", { "kv", "get", "x", "y", "abc", "--hex" } },
      { "one of KEY, %-%-prefix and %-%-all", { "kv", "del", "x", "y" } },
      { "one of KEY, %-%-prefix and %-%-all", { "kv", "del", "x", "y", "z", "--all" } },
      { "%-%-prefix is empty", { "kv", "del", "x", "y", "--prefix", "" } },
      { "BUCKET is empty", { "kv", "scan", "x", "" } },
      { 'VALUE: a map with the key "$x" must be one of', { "kv", "put", "x", "y", "z", '{"$x":1}', "--json" } },
      { 'ARGUMENTS: a map with the key "$x" must be one of', { "call", "x", "y", '{"$x":1}' } },
      { "NAME is a name or name@version, .*not 'y@z'", { "call", "x", "y@z" } },
      { "NAME is without a version, not 'y@2': give it by %-%-version", { "proc", "drop", "x", "y@2" } },
    }) do
      it("sombra " .. table.concat(case[2], " "), function()
        fails(2, "^sombra " .. case[2][1] .. ".*" .. case[1], case[2])
      end)
    end
  end)

  describe("say at once, and once, what is wrong with a path:", function()
    it("a pipe, whose open would wait for a writer", function()
      local pipe = directory .. "/pipe"
      local name = pipe:gsub("%p", "%%%0") -- as a pattern
      run.shell("mkfifo " .. pipe)
      for _, command in ipairs({ "stats", "checkpoint" }) do
        fails(3, "^sombra " .. command .. ": open " .. name .. ": [^:]*pipe: not a sombra database", { command, pipe })
      end
      fails(3, "^sombra dump: dump: " .. name .. ": read", { "dump", pipe, "meta" })
    end)

    it("a place where no lock file can be made", function()
      fails(3, "%-lock: open for writing: No such file", { "stats", "/proc/self/status" })
    end)

    it("a file that is no database", function()
      local foreign = directory .. "/foreign"
      run.write_file(foreign, ("not a database "):rep(2000))
      local name = foreign:gsub("%p", "%%%0") -- as a pattern
      fails(3, "^sombra stats: open " .. name .. ": " .. name .. ": not a sombra database", { "stats", foreign })
    end)
  end)

  it("are explained from one table", function()
    local overview = ok({ "--help" })
    local manual = ok({ "help", "--man" })
    for _, command in ipairs(commands.list) do
      assert.truthy(overview:find("  " .. command.name .. " ", 1, true), command.name)
      local words = { "help" }
      for word in command.name:gmatch("%S+") do
        words[#words + 1] = word
      end
      local page = ok(words)
      assert.equal("usage: " .. commands.synopsis(command), page:match("^[^\n]*"))
      assert.truthy(manual:find(commands.synopsis(command):gsub("%-", "\\-"), 1, true), command.name)
      for _, option in ipairs(command.options) do
        assert.truthy(page:find("--" .. option.name, 1, true), option.name)
      end
      table.remove(words, 1)
      words[#words + 1] = "--help"
      assert.equal(page, ok(words))
    end
    assert.matches("sombra kv scan %[options%] DB BUCKET", ok({ "help", "kv" }))
  end)

  it("have a row in docs/host.md each", function()
    local manual = run.read_file("docs/host.md")
    for _, command in ipairs(commands.list) do
      assert.truthy(manual:find("`" .. command.name:gsub("%-", "%%-") .. "[ `]"), command.name)
    end
  end)

  it("make a manual page without a warning", function()
    run.write_file(directory .. "/sombra.1", ok({ "help", "--man" }))
    local output, code = run.shell("man --warnings=w -l " .. directory .. "/sombra.1 2>&1 >/dev/null")
    if code ~= 127 then -- there is a `man`
      assert.equal("", output)
    end
  end)

  it("make completions that know commands, options and choices", function()
    local script = [[
      source %s
      compopt() { :; }
      try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _sombra; echo "${COMPREPLY[*]}"; }
      try sombra st
      try sombra kv s
      try sombra kv scan --pre
      try sombra completions f
      try sombra help check]]
    run.write_file(directory .. "/completions", ok({ "completions", "bash" }))
    run.write_file(directory .. "/try", script:format(directory .. "/completions"))
    assert.equal("stats\nscan\n--prefix\nfish\ncheckpoint\n", (run.shell("bash " .. directory .. "/try 2>&1")))
    assert.matches("^#compdef sombra\n", ok({ "completions", "zsh" }))
    assert.matches("complete %-c sombra .* %-a stats ", ok({ "completions", "fish" }))
  end)

  describe("stats", function()
    it("prints numbers, labels, types and buckets", function()
      local out = ok({ "stats", path })
      assert.matches("\nnodes +2\n", out)
      assert.matches("\nnodes with label\n  Person  2\n  Poet    1\n", out)
      assert.matches("\nedges of type\n  KNOWS  1\n", out)
      assert.matches("\nentries in bucket\n  things  4\n", out)
      assert.not_matches("properties", out)
    end)

    it("walks every record", function()
      local out = ok({ "stats", path, "--walk" })
      assert.matches("largest degree +1, node 1\n", out)
      assert.matches("  things  4, 15 bytes of keys, 18 of text\n", out)
      assert.matches("properties of nodes\n  name   string 2\n  score  float 1, integer 1\n", out)
      assert.matches("properties of edges\n  since  integer 1\n", out)
    end)

    it("prints JSON", function()
      local result = assert(json.decode(ok({ "stats", "--json", path, "--walk" })))
      assert.equal(2, result.database.nodes)
      assert.equal(0, result.database.readers)
      assert.same({ { name = "Person", count = 2 }, { name = "Poet", count = 1 } }, result.labels)
      assert.same({ name = "things", count = 4, key_bytes = 15, text_bytes = 18 }, result.buckets[1])
      assert.same({ float = 1, integer = 1 }, result.nodes.properties.score)
    end)

    it("prints JSON of names and paths that are not UTF-8", function()
      local odd = directory .. "/odd\xff"
      do
        local db <close> = assert(sombra.open(odd, { create = true }))
        db:write(function(tx) tx:create("\xff", { ["\xff"] = 1 }) end)
      end
      local out = ok({ "stats", odd, "--json", "--walk" })
      assert.matches('"labels":[{"count":1,"name":{"$bytes":"ff"}}]', out, 1, true)
      assert.matches('"nodes":{"degree_max":0,"properties":{"$map":[[{"$bytes":"ff"},{"integer":1}]]}}', out, 1, true)
      assert.matches('"path":{"$bytes":"2f', ok({ "verify", odd, "--json" }), 1, true)
    end)

    it("fails with exit code 3 where no database is", function()
      fails(3, "^sombra stats: .*no such database", { "stats", directory .. "/nothing" })
      run.write_file(directory .. "/text", ("no database\n"):rep(1000))
      fails(3, "^sombra stats: ", { "stats", directory .. "/text" })
    end)
  end)

  describe("verify and repair", function()
    it("say that a sound database is sound", function()
      assert.equal(path .. ": sound\n", ok({ "verify", path }))
      assert.same({ path = path, problems = {}, total = 0 }, json.decode(ok({ "verify", "--json", path })))
      assert.same(0, run.host({ "verify", "--readonly", path }).code)
      local saved = directory .. "/saved.sombra"
      assert.matches("entries lost +0\n", ok({ "repair", path, saved }))
      assert.equal(path:gsub("data", "saved") .. ": sound\n", ok({ "verify", saved }))
      fails(1, "^sombra repair: .*exists", { "repair", path, saved })
    end)

    it("end with exit code 5 if there is damage", function()
      local damaged, saved = directory .. "/damaged.sombra", directory .. "/mended.sombra"
      do
        local db <close> = assert(sombra.open(damaged, { create = true }))
        db:write(function(tx)
          for i = 1, 5000 do
            tx:create("Filler", { name = ("node %d "):format(i):rep(8) })
          end
        end)
      end
      local text = run.read_file(damaged)
      local place = assert(text:find("node 2500 ", 1, true))
      run.write_file(damaged, text:sub(1, place - 1) .. "NODE" .. text:sub(place + 4))

      local result = run.host({ "verify", damaged })
      assert.equal("", result.err)
      assert.matches("^corrupt: page %d+: .*\n" .. damaged:gsub("%p", "%%%0") .. ": %d+ problem", result.out)
      assert.equal(5, result.code)
      local as_json = run.host({ "verify", damaged, "--json", "--limit", "1" })
      assert.equal(5, as_json.code)
      assert.equal(1, #json.decode(as_json.out).problems)

      result = run.host({ "repair", damaged, saved, "--limit=2" })
      assert.equal("", result.err)
      assert.matches("\npages damaged +1\n", result.out)
      assert.matches("more are not shown; see %-%-limit\n", result.out)
      assert.equal(5, result.code)
      assert.matches("\nlosses that were mended +%d+\n", result.out)
      assert.equal(0, run.host({ "verify", saved }).code)
    end)
  end)

  describe("backup, checkpoint and compact", function()
    it("copy what is committed, also while it is written", function()
      local copy = directory .. "/copy.sombra"
      do
        local db <close> = assert(sombra.open(path))
        local tx <close> = db:begin("write")
        tx:create("Uncommitted")
        assert.equal("", ok({ "backup", path, copy }))
      end
      local db <close> = assert(sombra.open(copy, { readonly = true }))
      db:read(function(tx)
        assert.equal(2, tx:count())
        assert.equal("one", tx:bucket("things"):get("a1"))
      end)
      fails(1, "^sombra backup: .*exists", { "backup", path, copy })
      assert.matches('"bytes":%d+', ok({ "backup", path, directory .. "/copy2.sombra", "--json" }))
    end)

    -- As a user who may not write: root may, whatever the modes say.
    local function as_reader(command)
      local id = run.shell("id -u")
      local prefix = id == "0\n" and "setpriv --reuid 65534 --regid 65534 --clear-groups " or ""
      return run.shell(prefix .. command .. " 2>&1")
    end

    for _, engine in ipairs { "btree", "lsm" } do
      it("read what the user may only read: " .. engine, function()
        local binary = run.absolute_binary()
        local place = run.temporary_directory() -- for everybody
        run.shell(("chmod 755 %s && mkdir -m 777 %s/to %s/from"):format(place, place, place))
        do
          local db <close> = assert(sombra.open(place .. "/from/db", { create = true, engine = engine }))
          db:write(function(tx) tx:bucket("things", { create = true }):put("a", "one") end)
        end
        run.shell(("cd %s && chmod 555 from from/db && find from -type f -exec chmod 444 {} +"):format(place))
        local output, code = as_reader(("%s backup %s/from/db %s/to/copy"):format(binary, place, place))
        assert.same({ "", 0 }, { output, code })
        assert.equal("one", (run.shell(("%s kv get %s/to/copy things a"):format(binary, place))))
        output, code = as_reader(("%s verify %s/from/db"):format(binary, place))
        assert.same({ place .. "/from/db: sound\n", 0 }, { output, code })
        run.shell("chmod -R u+w " .. place)
        run.remove_directory(place)
      end)
    end

    it("copy a directory that another process writes", function()
      local tree = directory .. "/written"
      local db <close> = assert(sombra.open(tree, { create = true, engine = "lsm" }))
      db:write(function(tx) tx:bucket("things", { create = true }):put("a", "one") end)
      assert.equal("", ok({ "backup", tree, tree .. "-copy" }))
      assert.equal("one", ok({ "kv", "get", tree .. "-copy", "things", "a" }))
    end)

    it("show progress on a terminal only", function()
      local command = ("%s backup %s %s/copy"):format(run.absolute_binary(), path, directory)
      local out = run.shell(("script -qec %s /dev/null"):format(run.quote(command .. "3.sombra")))
      assert.matches("^\rbackup %[=+%] 100%%  %d+ entries  [%d.]+k?/s  in [%d.]+ s%s+$", out)
      assert.equal("", (run.shell(command .. "4.sombra 2>&1")))
    end)

    it("empty the log", function()
      assert.equal("", ok({ "checkpoint", path }))
      assert.matches('"txn":%d+', ok({ "checkpoint", path, "--json" }))
    end)

    it("compact in place, where the engine can", function()
      local db <close> = assert(sombra.open(":memory:", { create = true }))
      if db.compact then
        assert.matches("%d+ bytes, %d+ before\n$", ok({ "compact", path }))
        assert.equal(path .. ": sound\n", ok({ "verify", path }))
      else
        fails(3, "^sombra compact: .*sombra backup writes a compact copy", { "compact", path })
      end
    end)
  end)

  describe("dump", function()
    it("shows the meta records, the tree and its pages", function()
      local newest
      for line in ok({ "dump", path, "meta", "--json" }):gmatch("[^\n]+") do
        local meta = assert(json.decode(line))
        newest = meta.newest and meta or newest
      end
      assert.equal(8192, newest.page_bytes)
      assert.equal(32, #newest.uuid)
      local tree = ok({ "dump", path, "tree" })
      assert.matches(("^tree root=%d "):format(newest.root), tree)
      local page = ok({ "dump", path, "page", tostring(newest.root) })
      assert.matches(("^page number=%d depth=0 kind=%%l+ level=0 "):format(newest.root), page)
      assert.equal(newest.entries, select(2, page:gsub("\nentry index=", "")))
      assert.matches("^log state=%l+", ok({ "dump", path, "log" }))
    end)

    it("shows the log of a database that is open", function()
      local other = directory .. "/open.sombra"
      local db <close> = assert(sombra.open(other, { create = true }))
      for _ = 1, 2 do -- the first needs no log
        db:write(function(tx)
          tx:create("A")
        end)
      end
      local record = ok({ "dump", other, "log", "--json" }):match("[^\n]*\"record\"[^\n]*")
      assert.is_true(json.decode(record).puts > 0)
    end)

    it("refuses what is not there", function()
      fails(2, "page needs a number", { "dump", path, "page" })
      fails(2, "one word too many", { "dump", path, "tree", "1" })
      fails(2, "WHAT is one of meta, page, log, tree", { "dump", path, "leaf" })
      fails(1, "no page 99999", { "dump", path, "page", "99999" })
      fails(1, "No such file", { "dump", directory .. "/none", "meta" })
    end)

    it("is ended, and cleaned up, by its function", function()
      local lines = 0
      local done, err = sombra.dump(path, "meta", function()
        lines = lines + 1
        return false
      end)
      assert.is_nil(done)
      assert.equal("cancelled", err.code)
      assert.equal(1, lines)
      assert.has_error(function()
        sombra.dump(path, "meta", function()
          error("mine", 0)
        end)
      end, "mine")
    end)
  end)

  it("fail where what they print cannot be written, and never print into the database", function()
    for _, command in ipairs { "stats", "verify", "kv scan" } do
      local words = ("%s %s %s"):format(run.binary, command, path) .. (command == "kv scan" and " things" or "")
      for _, to in ipairs { "/dev/full", "&-" } do
        local output, code = run.shell(words .. " 2>&1 >" .. to)
        assert.matches("^sombra " .. command .. ": cannot write the output: ", output)
        assert.equal(1, code)
      end
    end
    assert.equal(path .. ": sound\n", ok { "verify", path })
  end)

  describe("on a directory of the engine lsm", function()
    local tree

    setup(function()
      tree = directory .. "/tree"
      assert.equal("", ok({ "copy", path, tree, "--engine", "lsm", "--codec", "zlib" }))
    end)

    it("stats has levels, bytes, debt, amplification and what the writer counted", function()
      local out = ok({ "stats", tree })
      assert.matches("\nengine +lsm\n", out)
      assert.matches("\nlevels\n  %d  %d+ bytes in %d tables of %d runs, %d+ entries, 0 of them deletes\n", out)
      assert.matches("\ncompaction debt +0\n", out)
      assert.matches("\nwrite amplification +%d+%.%d%d\nfilters false positives +-\nstalls +0, 0.000 s\n", out)
      assert.matches("\nspace amplification +%d+%.%d%d\n", out)
      assert.not_matches("\npages", out)
      assert.matches("\nentries in bucket\n  things  4\n", out)
      local result = assert(json.decode(ok({ "stats", tree, "--json" })))
      assert.equal(7, #result.database.levels)
      assert.is_false(result.database.entries_exact)
    end)

    it("copy makes either engine of the other", function()
      local report = json.decode(ok({ "copy", tree, directory .. "/again.sombra", "--json" }))
      assert.is_true(report.entries > 0 and report.bytes > 0)
      assert.equal(directory .. "/again.sombra: sound\n", ok({ "verify", directory .. "/again.sombra" }))
      local pages = directory .. "/pages.sombra" -- this option was taken and forgotten
      assert.equal("", ok({ "copy", path, pages, "--page-size", "16384" }))
      assert.equal(16384, json.decode(ok({ "stats", pages, "--json" })).database.page_size)
      fails(1, "page size 5: a power of two", { "copy", path, directory .. "/none.sombra", "--page-size", "5" })
      fails(1, "^sombra copy: .*exists", { "copy", path, tree, "--engine", "lsm" })
      fails(2, "one of btree, lsm, not 'heap'", { "copy", path, tree, "--engine", "heap" })
    end)

    it("verify, compact, checkpoint, backup and repair do what they do for a file", function()
      assert.equal("", ok({ "kv", "put", tree, "things", "new", "value" }))
      assert.equal("", ok({ "checkpoint", tree }))
      assert.matches("/tree: %d+ bytes, %d+ before\n$", ok({ "compact", tree }))
      assert.equal(tree .. ": sound\n", ok({ "verify", tree }))
      assert.equal(tree .. ": sound\n", ok({ "verify", "--readonly", tree }))
      assert.equal("", ok({ "backup", tree, tree .. "-backup" }))
      assert.equal("value", ok({ "kv", "get", tree .. "-backup", "things", "new" }))
      assert.matches("entries lost +0\n", ok({ "repair", tree, tree .. "-repaired" }))
      assert.equal("value", ok({ "kv", "get", tree .. "-repaired", "things", "new" }))
      assert.equal("1\n", ok({ "kv", "del", tree, "things", "new" }))
    end)

    it("dump shows the manifest, the tables, one of them and the log", function()
      assert.matches("^manifest uuid=%x+ .*clean=true\n$", ok({ "dump", tree, "meta" }))
      local number = ok({ "dump", tree, "tree" }):match("\ntable number=(%d+) level=%d ")
      assert.matches("^table number=" .. number .. " .*\nentry kind=%l+ ", ok({ "dump", tree, "page", number }))
      assert.equal("", ok({ "dump", tree, "log" }))
      fails(1, "999", { "dump", tree, "page", "999" })
    end)
  end)

  describe("kv", function()
    local function kv(word, ...)
      return { "kv", word, path, "things", ... }
    end

    it("get prints the bytes of text, and JSON of anything else", function()
      assert.equal("one", ok(kv("get", "a1")))
      assert.equal("x\ty\n", ok(kv("get", "6200ff", "--hex")):gsub("%x%x", function(digits)
        return string.char(tonumber(digits, 16))
      end):sub(1, -2))
      assert.equal('{"n":2}\n', ok(kv("get", "a2")))
      assert.equal('"one"\n', ok(kv("get", "a1", "--json")))
      assert.equal("minus seven", ok(kv("get", "-7", "--integer")))
    end)

    it("get fails with exit code 1 if there is no such thing", function()
      fails(1, "^sombra kv get: there is no key 'zz' in bucket 'things'", kv("get", "zz"))
      fails(1, "there is no bucket 'other'", { "kv", "get", path, "other", "zz" })
    end)

    it("put takes bytes, JSON and the standard input", function()
      ok(kv("put", "p", "plain"))
      assert.equal("plain", ok(kv("get", "p")))
      ok(kv("put", "p", "-"), { input = "from\0stdin\n" })
      assert.equal("from\0stdin\n", ok(kv("get", "p")))
      ok(kv("put", "70", "00ff", "--hex"))
      assert.equal("\0\xff", ok(kv("get", "p")))
      ok(kv("put", "p", '{"list": [1, 1.0, null]}', "--json"))
      assert.equal('{"list":[1,1.0,null]}\n', ok(kv("get", "p")))
      ok(kv("put", "--integer", "12", "twelve"))
      assert.equal("twelve", ok(kv("get", "12", "--integer")))
      fails(2, "VALUE is not JSON at line 1", kv("put", "p", "{", "--json"))
      assert.equal("1\n", ok(kv("del", "12", "--integer")))
      assert.equal("1\n", ok(kv("del", "p")))
      ok(kv("put", "p", "x"))
      assert.equal("1\n", ok(kv("del", "--prefix", "p")))
      assert.equal("0\n", run.host(kv("del", "p")).out)
      assert.equal(1, run.host(kv("del", "p")).code)
      for _, key in ipairs { "a", "b" } do ok({ "kv", "put", path, "gone", key, "1", "--create" }) end
      assert.equal("2\n", ok({ "kv", "del", path, "gone", "--all" }))
      assert.equal("", run.host({ "kv", "scan", path, "gone" }).out)
      fails(2, "VALUE: .*nested more than 64 deep", kv("put", "deep", ("["):rep(66) .. ("]"):rep(66), "--json"))
    end)

    it("put makes a bucket and a database only when told to", function()
      local new = directory .. "/new.sombra"
      fails(3, "no such database", { "kv", "put", new, "b", "k", "v" })
      ok({ "kv", "put", new, "b", "k", "v", "--create" })
      fails(1, "there is no bucket 'c'; %-%-create makes it", { "kv", "put", new, "c", "k", "v" })
      assert.equal("k\tv\n", ok({ "kv", "scan", new, "b" }))
    end)

    it("scan prints in order, whole or in part", function()
      assert.equal("-7\tminus seven\na1\tone\na2\t{\"n\":2}\nb\\x00\\xff\tx\\x09y\\x0a\n", ok(kv("scan")))
      assert.equal("a2\na1\n", ok(kv("scan", "--prefix", "a", "--reverse", "--keys")))
      assert.equal("-7\tminus seven\n", ok(kv("scan", "--limit", "1")))
      assert.equal("6200ff\t7809790a\n", ok(kv("scan", "--hex", "--prefix=62")))
      assert.equal('{"key":-7,"value":"minus seven"}\n{"key":"a1","value":"one"}\n',
        ok(kv("scan", "--json", "--limit=2")))
      assert.equal('{"key":{"$bytes":"6200ff"}}\n', ok(kv("scan", "--json", "--keys", "--prefix", "b")))
    end)

    it("scan prints the value false, too", function()
      local new = directory .. "/false.sombra"
      ok({ "kv", "put", new, "b", "k", "false", "--json", "--create" })
      assert.equal('{"key":"k","value":false}\n', ok({ "kv", "scan", new, "b", "--json" }))
      assert.equal("k\tfalse\n", ok({ "kv", "scan", new, "b" }))
    end)
  end)

  describe("proc", function()
    local file, base

    setup(function()
      file, base = directory .. "/add.lua", directory .. "/procedures.sombra"
      run.write_file(file, [[return { name = "add", version = 2, mode = "write", doc = "makes nodes",
        params = { { "label", "string" }, { "n", "integer", default = 1 } },
        run = function(tx, p)
          if p.n < 0 then return nil, "fewer than none" end
          for i = 1, p.n do tx:create(p.label) end
          return tx:count(p.label), { "\xff" }
        end }]])
      run.write_file(directory .. "/rows.lua", [[return { name = "rows", run = function()
        for i = 1, 3 do emit { i = i } end end }]])
      run.write_file(directory .. "/loop.lua", [[return { name = "loop", run = function() while true do end end }]])
      run.write_file(directory .. "/bad.lua", "return 1")
    end)

    it("stores files, all or none", function()
      fails(3, "no such database", { "proc", "define", base, file })
      assert.equal(1, run.host({ "proc", "define", base, file, directory .. "/bad.lua", "--create" }).code)
      assert.equal("", ok({ "proc", "list", base }))
      assert.equal("add@2: defined\nrows@1: defined\nloop@1: defined\n",
        ok({ "proc", "define", base, file, directory .. "/rows.lua", directory .. "/loop.lua" }))
      assert.equal("add@2: was there\n", ok({ "proc", "define", base, file }))
      fails(1, "cannot read .*none.lua", { "proc", "define", base, directory .. "/none.lua" })
    end)

    it("lists and shows them", function()
      assert.matches("^add@2 +write +%x+  makes nodes\n", ok({ "proc", "list", base }))
      local list = json.decode(ok({ "proc", "list", base, "--json" }))
      assert.equal("add", list[1].name)
      assert.is_nil(list[1].text)
      assert.equal(run.read_file(file) .. "\n", ok({ "proc", "show", base, "add" }))
      assert.equal(run.read_file(file) .. "\n", ok({ "proc", "show", base, "add@2" }))
      fails(1, "there is no procedure 'add@1'", { "proc", "show", base, "add@1" })
    end)

    it("runs them", function()
      assert.equal('3\n[{"$bytes":"ff"}]\n', ok({ "proc", "call", base, "add", '{"label": "A", "n": 3}' }))
      assert.equal('4\n[{"$bytes":"ff"}]\n', ok({ "proc", "call", base, "add", "-" }, { input = '["A"]' }))
      fails(1, "add says no: fewer than none", { "proc", "call", base, "add", '["A", -1]' })
      fails(1, "^sombra proc call: .*label", { "proc", "call", base, "add" })
      fails(2, "ARGUMENTS are not JSON", { "proc", "call", base, "add", "A" })
      assert.equal('{"i":1}\n{"i":2}\n{"i":3}\n', ok({ "proc", "call", base, "rows", "--stream", "--readonly" }))
      fails(4, "^sombra proc call: ", { "proc", "call", base, "loop", "--time", "0.1" })
      fails(2, "%-%-time needs a number", { "proc", "call", base, "loop", "--time", "soon" })
    end)

    it("removes them", function()
      assert.equal("0\n", run.host({ "proc", "drop", base, "rows", "--version", "7" }).out)
      assert.equal("1\n", ok({ "proc", "drop", base, "rows" }))
      assert.equal(1, run.host({ "proc", "drop", base, "rows" }).code)
    end)
  end)

  it("shell opens the database as db", function()
    local out = ok({ "shell", path }, { input = "db:read(function(tx) return tx:count() end)\nsombra._VERSION\n" })
    assert.matches("^> 2\n> \"sombra [%d.]+\"\n> \n$", out)
    fails(3, "^sombra shell: .*no such database", { "shell", directory .. "/none" })
    assert.matches("readonly", run.host({ "shell", path, "--readonly" }, { input = "db:begin('write')\n" }).err)
    local environment = { LUA_INIT = "x = 'from LUA_INIT'" }
    assert.matches("from LUA_INIT", ok({ "shell", path }, { input = "x\n", environment = environment }))
  end)

  it("end with 130 on Ctrl-C", function()
    local large = directory .. "/large.sombra"
    do
      local db <close> = assert(sombra.open(large, { create = true }))
      db:write(function(tx)
        local bucket = tx:bucket("large", { create = true })
        for i = 1, 5000 do
          bucket:put(i, ("x"):rep(100))
        end
      end)
    end
    -- More than a pipe holds, so that it stands in the middle when the signal comes.
    local output, code = run.shell(([[
      cd %s; mkfifo lines; %s kv scan large.sombra large >lines 2>err & child=$!
      exec 3<lines; read line <&3; kill -INT $child; cat <&3 >rest; wait $child; code=$?; cat err; exit $code]])
      :format(directory, run.absolute_binary()))
    assert.equal("sombra kv scan: interrupted\n", output)
    assert.equal(130, code)
  end)

  it("run under any Lua 5.4, through the module", function()
    local cli = require("sombra.cli")
    assert.equal(0, cli.main({ "checkpoint", path }))
    assert.is_true(cli.is_command("kv"))
    assert.is_false(cli.is_command("README.md"))
  end)
end)
