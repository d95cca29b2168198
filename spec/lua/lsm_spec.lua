-- SPDX-License-Identifier: MIT
-- What only the engine lsm has. The rest of the library is tested on it by SOMBRA_TEST_ENGINE=lsm.
local sombra = require "sombra"
local helper = require "spec.helper"
local lfs = require "lfs"

local host = os.getenv("SOMBRA_BIN") or (os.getenv("SOMBRA_BUILD") or "build/dev") .. "/sombra"

describe("the engine lsm", function()
  local path, other

  before_each(function() path, other = helper.path(), helper.path() end)
  after_each(function()
    helper.remove(path)
    helper.remove(other)
  end)

  local function open(options, at)
    local given = { create = true, engine = "lsm", sync = "off" }
    for name, value in pairs(options or {}) do given[name] = value end
    return assert(sombra.open(at or path, given))
  end

  local function put(db, first, last, text)
    db:write(function(tx)
      local bucket = tx:bucket("b", { create = true })
      for i = first, last do bucket:put(i, text or ("value %d "):format(i):rep(8)) end
    end)
  end

  local function expect_sound(db)
    local problems, count = db:verify()
    assert.same({}, problems)
    assert.equal(0, count)
  end

  local function entries(db)
    return db:read(function(tx) return tx:bucket("b"):count() end)
  end

  local function refused(code, text, options, at)
    local db, err = sombra.open(at or path, options)
    assert.is_nil(db)
    assert.equal(code, err.code)
    assert.truthy(err.message:find(text, 1, true), err.message)
  end

  describe("opens", function()
    local cases = {
      { codec = "none" }, { codec = "zlib" }, { codec = "lz4" }, { codec = "lz4", bottom_codec = "zstd" },
      { block_size = 1024 }, { block_size = 1 << 20 }, { filter_bits = 0 }, { filter_bits = 32 },
      { compaction = "tiered" },
      { compaction = "leveled", level_ratio = 4, level_size = 1 << 16, table_size = 1 << 14 },
      { compaction_threads = 2 }, { compaction_rate = 100 << 20 }, { cache_size = 1 << 20 },
      { sync = "full" }, { sync = "group", group_wait = 1e-6 }, { sync = "normal", sync_interval = 0.01 },
      { txn_memory_max = 64 << 20 }, { file_mode = 0x1a0 },
    }
    for _, case in ipairs(cases) do
      local names = {}
      for name, value in pairs(case) do names[#names + 1] = ("%s = %s"):format(name, value) end
      table.sort(names)
      it("with " .. table.concat(names, ", "), function()
        case.memtable_size = 1 << 16
        local db = open(case)
        for round = 0, 3 do put(db, round * 500 + 1, round * 500 + 1000) end
        expect_sound(db)
        assert.is_true(db:metrics().counters.flushes_total > 0)
        db:close()
        db = assert(sombra.open(path))
        assert.equal("lsm", db:stats().engine)
        assert.equal(2500, entries(db))
        expect_sound(db)
        db:close()
      end)
    end

    it("not with what is out of range, unknown or of the other engine", function()
      local function bad(text, options)
        options.create, options.engine = true, "lsm"
        refused("invalid", text, options)
      end
      bad("block size", { block_size = 100 })
      bad("filter bits", { filter_bits = 33 })
      bad("memtable size", { memtable_size = 1 })
      bad("codec", { codec = "brotli" })
      bad("codec", { bottom_codec = "gzip" })
      bad("compaction", { compaction = "none" })
      bad("is an option of the engine \"btree\"", { page_size = 4096 })
      bad("is an option of the engine \"btree\"", { auto_compact = false })
      refused("invalid", "is an option of the engine \"lsm\"", { create = true, engine = "btree", codec = "lz4" })
      refused("unsupported", "memory", { engine = "lsm" }, ":memory:")
      refused("not_found", "option create makes one", { engine = "lsm" })
    end)

    it("what is there, whatever engine is asked for by mistake", function()
      open():close()
      refused("invalid", "lsm", { engine = "btree" })
      assert(sombra.open(path)):close()
      assert(sombra.open(other, { create = true, engine = "btree" })):close()
      refused("invalid", "it is a file", { engine = "lsm" }, other)
    end)
  end)

  it("has its levels in stats", function()
    local db <close> = open { memtable_size = 1 << 20 }
    put(db, 1, 2000)
    local stats = db:stats()
    assert.is_false(stats.entries_exact)
    assert.is_true(stats.memtable_bytes > 100000)
    db:checkpoint()
    stats = db:stats()
    assert.equal(1, stats.levels[1].runs + stats.levels[7].runs)
    assert.is_true(db:compact())
    stats = db:stats()
    local last = stats.levels[#stats.levels]
    assert.equal(7, #stats.levels)
    assert.equal(0, stats.levels[1].runs)
    assert.equal(0, last.deletes)
    assert.equal(stats.file_bytes, last.bytes)
    assert.is_true(last.entries >= 2000 and last.tables == 1)
    assert.equal(0, stats.compaction_debt_bytes)
  end)

  it("compacts: what was deleted or overwritten gives its space back", function()
    local db <close> = open()
    put(db, 1, 3000, "first")
    db:compact()
    local full = db:stats().file_bytes
    put(db, 1, 3000, "other")
    db:checkpoint()
    db:write(function(tx)
      for i = 1, 3000 do
        if i % 3 ~= 0 then tx:bucket("b"):delete(i) end
      end
    end)
    db:checkpoint()
    local calls = 0
    assert.is_true(db:compact { progress = function(done, total)
      assert(done <= total)
      calls = calls + 1
    end })
    assert.is_true(calls > 0)
    assert.is_true(db:stats().file_bytes < full * 0.7)
    assert.equal(1000, entries(db))
    expect_sound(db)
  end)

  it("is copied to btree and back", function()
    local back <const> = helper.path()
    local db = open { codec = "none" }
    db:write(function(tx)
      local a, b = tx:create("Person", { name = "Ada" }), tx:create("Person", { name = "Bob" })
      tx:link(a, "KNOWS", b)
      tx:bucket("b", { create = true }):put("k", { deep = { 1, 2.5, "x" } })
    end)
    db:close()
    assert.is_number(assert(sombra.copy(path, other, { engine = "btree" })))
    assert.is_number(assert(sombra.copy(other, back, { engine = "lsm", codec = "zlib" })))
    for at, engine in pairs { [other] = "btree", [back] = "lsm" } do
      local copy <close> = assert(sombra.open(at))
      assert.equal(engine, copy:stats().engine)
      expect_sound(copy)
      copy:read(function(tx)
        assert.same({ 2 }, helper.column(tx:out(1, "KNOWS")))
        assert.equal("Bob", tx:get(2, "name"))
        assert.same({ deep = { 1, 2.5, "x" } }, tx:bucket("b"):get("k"))
      end)
    end
    local done, err = sombra.copy(path, other)
    assert.is_nil(done)
    assert.equal("exists", err.code)
    helper.remove(back)
  end)

  describe("beside another process", function()
    local function in_other(script)
      local file <close> = assert(io.open(other, "w"))
      file:write(script)
      file:flush()
      local pipe = assert(io.popen(("'%s' '%s' '%s' 2>&1"):format(host, other, path)))
      local out = pipe:read("a")
      pipe:close()
      return out
    end

    it("keeps a second writer out, and lets readers in", function()
      local db <close> = open()
      put(db, 1, 10)
      assert.equal("busy\n", in_other [[
        print(select(2, require("sombra").open(arg[1], { busy_timeout = 0 })).code)]])
      assert.equal("10 readonly\n", in_other [[
        local db = assert(require("sombra").open(arg[1], { readonly = true }))
        print(db:read(function(tx) return tx:bucket("b"):count() end) .. " " ..
          select(2, pcall(db.write, db, print)).code)]])
    end)

    it("readers see what is new after refresh, and no sooner", function()
      local writer = open()
      put(writer, 1, 10)
      writer:close()
      local db <close> = assert(sombra.open(path, { readonly = true }))
      assert.equal(10, entries(db))
      local old <close> = db:snapshot()
      local out = in_other [[
        local db = assert(require("sombra").open(arg[1]))
        db:write(function(tx) for i = 11, 20 do tx:bucket("b"):put(i, "new") end end)
        db:compact()
        print(db:close())]]
      assert.equal("true\n", out)
      assert.equal(10, entries(db))
      db:refresh()
      assert.equal(20, entries(db))
      assert.equal(10, old:bucket("b"):count())
    end)

    -- The numbers of tables are given a second time then, to others, while blocks of the first are in the cache.
    it("readers refuse a copy that was put back and written since", function()
      local function write_more(first, text)
        assert.equal("true\n", in_other(([[
          local db = assert(require("sombra").open(arg[1]))
          for i = %d, %d do
            db:write(function(tx) for k = 1, 100 do tx:bucket("b"):put(k, %q .. i) end end)
            db:compact()
          end
          print(db:close())]]):format(first, first + 2, text)))
      end
      local writer = open()
      put(writer, 1, 100)
      writer:close()
      os.execute(("cp -r '%s' '%s-kept'"):format(path, path))
      write_more(1, "lost")
      local db <close> = assert(sombra.open(path, { readonly = true }))
      local function first() return db:read(function(tx) return tx:bucket("b"):get(1) end) end
      assert.equal("lost3", first())
      os.execute(("cd %s && rm -f *.sst MANIFEST && cp %s-kept/*.sst %s-kept/MANIFEST ."):format(path, path, path))
      write_more(1, "something else ")
      local ok, err = pcall(db.refresh, db)
      assert.is_false(ok)
      assert.equal("conflict", err.code)
      assert.equal("lost3", first())
      helper.remove(path .. "-kept")
    end)
  end)

  it("is repaired: what damaged tables still have is in the new one", function()
    local db = open { codec = "none", table_size = 1 << 16, block_size = 1024 }
    put(db, 1, 2000)
    db:compact()
    db:close()
    local report = assert(sombra.repair(path, other))
    assert.equal(0, report.entries_lost + report.damage + report.damage_left)
    helper.remove(other)

    local table_path
    for name in lfs.dir(path) do
      if name:find("%.sst$") then table_path = path .. "/" .. name end
    end
    local file = assert(io.open(table_path, "r+b"))
    file:seek("set", 3000)
    file:write(("damage"):rep(10))
    file:close()
    db = assert(sombra.open(path))
    assert.is_true(#db:verify() > 0)
    db:close()
    report = assert(sombra.repair(path, other))
    assert.is_true(report.damage > 0)
    assert.equal("corrupt", report.problems[1].code)
    local saved <close> = assert(sombra.open(other))
    assert.equal("lsm", saved:stats().engine)
    assert.is_true(saved:stats().entries > 1000)
  end)

  it("is dumped: the manifest, the tables, one table, the log", function()
    local db = open { codec = "none" }
    put(db, 1, 10)
    db:checkpoint()
    put(db, 11, 12)
    local function lines(what, number)
      local list = {}
      assert(sombra.dump(path, what, function(line) list[#list + 1] = line end, number))
      return table.concat(list, "\n")
    end
    assert.matches("^manifest uuid=%x+ version=%d+ .* clean=false", lines("meta"))
    assert.matches("\ntable number=%d+ level=%d ", lines("tree"))
    local number = math.tointeger(lines("tree"):match("\ntable number=(%d+)"))
    assert.matches("^table number=%d+ .*\nentry kind=put ", lines("page", number))
    assert.matches("record", lines("log"))
    db:close()
  end)

  it("is backed up beside writers, and the backup is restored by opening it", function()
    local db <close> = open()
    put(db, 1, 1000)
    assert.is_true(db:backup(other, { progress = function() put(db, 2000, 2001) end }))
    put(db, 3000, 3001)
    local copy <close> = assert(sombra.open(other))
    assert.equal(1000, entries(copy))
    put(copy, 1001, 1002)
    expect_sound(copy)
    local done, err = db:backup(other)
    assert.is_nil(done)
    assert.equal("exists", err.code)
  end)

  it("counts flushes, compactions, filters and the cache", function()
    local db = open { memtable_size = 1 << 16, level_size = 1 << 16, table_size = 1 << 14 }
    for round = 0, 9 do put(db, round * 100 + 1, round * 100 + 1000) end
    db:compact()
    db:close()
    db = assert(sombra.open(path))
    db:read(function(tx)
      for i = 1, 1900 do assert.truthy(tx:bucket("b"):get(i)) end
      for i = 5000, 7000 do assert.is_nil(tx:bucket("b"):get(i)) end
      for i = 100, 110 do assert.is_nil(tx:bucket("b"):get(("%d"):format(i))) end
    end)
    put(db, 1, 2)
    db:checkpoint()
    db:compact()
    local m = db:metrics()
    local counters = m.counters
    assert.equal(1, counters.flushes_total)
    assert.is_true(counters.flush_bytes_total > 0)
    assert.is_true(counters.compactions_total >= 1)
    assert.is_true(counters.compaction_read_bytes_total > 0 and counters.compaction_write_bytes_total > 0)
    assert.is_true(counters.filter_checks_total >= counters.filter_skips_total + counters.filter_false_positives_total)
    assert.is_true(counters.filter_false_positives_total <= counters.filter_checks_total / 10)
    assert.is_true(counters.cache_hits_total + counters.cache_misses_total > 0)
    assert.equal(0, counters.stalls_total)
    assert.is_true(m.gauges.tables > 0)
    assert.equal(0, m.gauges.level0_runs)
    assert.equal(1, m.histograms.flush_seconds.count)

    -- In stats they are of all processes: this one, and what the manifest has of those before.
    local totals = db:stats().totals
    assert.is_true(totals.flush_bytes > counters.flush_bytes_total)
    assert.is_true(totals.commit_bytes > counters.commit_bytes_total)
    assert.equal(counters.filter_false_positives_total, totals.filter_false_positives)
    assert.equal(counters.filter_skips_total, totals.filter_skips)
    db:close()
    local reader <close> = assert(sombra.open(path, { readonly = true }))
    assert.same(totals, reader:stats().totals)
  end)

  it("tells of flushes, compactions and a recovery", function()
    local heard = {}
    local function hear(event) heard[event.kind] = event end
    local db <close> = open()
    db:on_event(hear)
    put(db, 1, 500)
    db:checkpoint()
    put(db, 200, 700)
    db:compact()
    db:poll_events()
    assert.is_true(heard.flush.bytes_written > 0 and heard.flush.count == 1)
    assert.is_true(heard.compaction.bytes_read > 0 and heard.compaction.level == 6)
    put(db, 800, 801)
    helper.copy_files(path, other)
    local copy <close> = assert(sombra.open(other))
    copy:on_event(hear)
    copy:poll_events()
    assert.equal(1, heard.recovery.count)
    assert.equal(702, entries(copy))
  end)
end)
