-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

-- Each script prints a line when it is ready for the next Ctrl-C.
local ready = "io.stdout:setvbuf('line') local function ready(word) print(word or 'ready') end "

describe("Ctrl-C", function()
  local function interrupted(script, count)
    local result = run.interrupt(ready .. script, count or 1)
    assert.equal(130, result.code)
    assert.matches("^sombra: .*interrupted!", result.err)
    return result
  end

  it("ends a loop in the main chunk, naming the line", function()
    local result = interrupted("\nready()\nwhile true do end")
    assert.matches("^sombra: script.lua:%d: interrupted!\nstack traceback:", result.err)
  end)

  it("ends a loop inside nested coroutines", function()
    interrupted([[
      local function nest(depth)
        if depth == 0 then ready() while true do end end
        local co = coroutine.create(nest)
        assert(coroutine.resume(co, depth - 1))
      end
      nest(5)]])
  end)

  it("ends a loop inside an iterator made by coroutine.wrap", function()
    interrupted([[
      for n in coroutine.wrap(function()
        coroutine.yield(1)
        ready()
        while true do end
      end) do io.stderr:write("") end]])
  end)

  it("ends a loop that goes from coroutine to coroutine", function()
    interrupted([[
      local function forever() while true do coroutine.yield() end end
      local a, b = coroutine.create(forever), coroutine.wrap(forever)
      ready()
      while true do assert(coroutine.resume(a)) b() end]])
  end)

  it("ends a loop in a coroutine's to-be-closed variable", function()
    interrupted([[
      local co = coroutine.create(function()
        local guard <close> = setmetatable({}, { __close = function() ready() while true do end end })
        coroutine.yield()
      end)
      coroutine.resume(co)
      assert(coroutine.close(co))]])
  end)

  it("reaches the main chunk after a coroutine has returned", function()
    interrupted([[
      coroutine.wrap(function() return 1 end)()
      ready()
      while true do end]])
  end)

  it("lets a script that catches the first one finish in peace", function()
    local result = run.interrupt(ready .. [[
      local ok, message = pcall(function() ready() while true do end end)
      local sum = 0
      for i = 1, 100000 do sum = sum + i end
      print(ok, message:match("interrupted!"), sum)]], 1)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.equal("false\tinterrupted!\t5000050000\n", result.out)
  end)

  it("closes what is to be closed", function()
    local result = interrupted([[
      local guard <close> = setmetatable({}, { __close = function(_, err)
        print("closed", err:match("interrupted!")) end })
      ready()
      while true do end]])
    assert.equal("closed\tinterrupted!\n", result.out)
  end)

  it("ends a loop of pcalls the second time", function()
    interrupted("local word = 'first' while true do pcall(function() ready(word) while true do end end) end", 2)
  end)

  it("runs what C code does on closing, the second time too", function()
    local result = interrupted([[
      local file <close> = io.tmpfile()
      local witness = setmetatable({}, { __gc = function() print(io.type(file)) end })
      while true do pcall(function() ready() while true do end end) end]], 2)
    assert.equal("closed file\n", result.out)
  end)

  it("ends a loop of pcalls in a coroutine the second time", function()
    interrupted([[
      coroutine.wrap(function()
        while true do pcall(function() ready() while true do end end) end
      end)()]], 2)
  end)

  it("ends a loop of resumed coroutines the second time", function()
    interrupted([[
      while true do
        coroutine.resume(coroutine.create(function() ready() while true do end end))
      end]], 2)
  end)

  it("ends the process the third time when Lua's hooks are off", function()
    local result = run.interrupt(ready .. [[
      setmetatable({}, { __gc = function()
        ready()
        for _ = 1, 2 do -- the handler's hook shows that a signal has come, but never runs here
          while not debug.gethook() do end
          debug.sethook()
          ready()
        end
        while true do end
      end })
      collectgarbage()]], 3)
    assert.equal(130, result.code) -- killed by the signal itself
    assert.equal("", result.err)
  end)

  -- A procedure has a state of its own, which the signal handler does not know.
  local call = [[
    local sombra = require "sombra"
    local db = assert(sombra.open(":memory:", { create = true }))
    local function define(name, text)
      db:define(("return { name = %q, mode = 'write', limits = { time = 50 }, run = function(tx) %s end }"):format(name,
        text))
    end
    define("inner", "tx:create('N') while true do pcall(function() while true do end end) end")
    define("outer", "tx:create('N') tx:call('inner')")
    local function soon() os.execute("(sleep 0.2; kill -INT $PPID) &") end
  ]]

  local function interrupted_call(script)
    local result = run.host { "-e", call .. script }
    assert.matches("^sombra: .*procedure:1: interrupted!\nstack traceback:", result.err)
    assert.equal(130, result.code)
  end

  it("ends a procedure, and undoes what it did", function()
    for _, name in ipairs { "inner", "outer" } do
      assert.equal("false\tprocedure:1: interrupted!\t0\n", run.ok { "-e", call .. ([[
        soon()
        local ok, err = pcall(db.call, db, %q)
        print(ok, err, db:read(function(tx) return tx:count() end))]]):format(name) })
    end
  end)

  it("ends a procedure in a coroutine, in a transaction, in a stream and in a trigger", function()
    interrupted_call "coroutine.wrap(function() soon() db:call('inner') end)()"
    interrupted_call "db:write(function(tx) soon() tx:call('outer') end)"
    interrupted_call [[db:define "return { name = 'rows', run = function() emit(1) while true do end end }"
      for row in db:stream('rows', nil, { time = 50 }) do soon() end]]
    interrupted_call [[define("slow", "while true do end")
      db:write(function(tx) tx:create_trigger("N", "slow") end)
      db:write(function(tx) tx:create("N") soon() end)]]
  end)

  it("lets a hook of the script's own wait until the procedure has ended", function()
    assert.equal("1\tfalse\n", run.ok { "-e", call .. [[
      db:define "return { name = 'one', run = function() for _ = 1, 100000 do end return 1 end }"
      local inside = false
      debug.sethook(function() inside = inside or debug.getinfo(2, "S").source == "=procedure" end, "", 1)
      print(db:call("one"), inside)]] })
  end)

  -- One may end the transaction, and a batch of it may be in the middle.
  -- Ctrl-C takes the place of that hook.
  it("ends a batch of a script that has set a hook", function()
    local output = run.ok { "-e", [[
      local sombra = require "sombra"
      local db = assert(sombra.open(":memory:", { create = true }))
      local rows = {}
      for i = 1, 200000 do rows[i] = { i = i } end
      local ends
      for _ = 1, 20 do
        debug.sethook(function() end, "", 1000000)
        os.execute("(sleep 0.03; kill -INT $PPID) &")
        local ok, err = pcall(function()
          db:write(function(tx) while true do tx:create_many("N", rows) end end)
        end)
        ends = not ok and err
        if ends == "batch:1: interrupted!" then break end
      end
      print(ends)]] }
    assert.equal("batch:1: interrupted!\n", output)
  end)

  it("runs no finalizers of the script before the procedure has ended", function()
    assert.equal("false\tprocedure:1: interrupted!\tnil\n", run.ok { "-e", call .. [[
      local tx <close> = db:begin("write")
      local called_at, early = math.huge, nil
      local function leave()
        setmetatable({}, { __gc = function()
          if os.clock() > called_at + 0.02 then early = true end
          leave()
        end })
      end
      leave()
      soon()
      collectgarbage("incremental", 1, 100, 100) -- all of it, at each allocation
      collectgarbage()
      called_at = os.clock()
      local ok, err = pcall(tx.call, tx, "inner")
      local was_early = early
      called_at = math.huge
      print(ok, err, was_early)]] })
  end)

  -- One process keeps its write transaction open for long; the other waits for it.
  local function beside_writer(engine, waits)
    local directory = run.temporary_directory()
    run.write_file(directory .. "/writer.lua", ([[
      local db = assert(require("sombra").open("store", { create = true, engine = %q, sync = "off" }))
      db:write(function(tx) tx:create("N") end)
      local tx <close> = db:begin("write")
      io.open("ready", "w"):close()
      io.read()]]):format(engine))
    run.write_file(directory .. "/waits.lua", waits)
    local binary = run.absolute_binary()
    local output, code = run.shell(([[cd %s; mkfifo never; exec 4<>never; %s writer.lua <&4 & writer=$!
      while [ ! -e ready ]; do sleep 0.05; done
      begun=$(date +%%s); %s waits.lua 2>&1 & child=$!
      sleep 0.7; [ -e silent ] || kill -INT $child; wait $child; code=$?
      [ $(($(date +%%s) - begun)) -lt 10 ] || echo late
      kill -9 $writer; wait $writer 2>/dev/null; exit $code]]):format(directory, binary, binary))
    run.remove_directory(directory)
    assert.not_matches("late", output)
    return output, code
  end

  it("ends a checkpoint, a verify and a compaction that wait for another process", function()
    for _, what in ipairs { "checkpoint", "verify", "compact" } do
      local output, code = beside_writer("btree", ([[
        local db = assert(require("sombra").open("store", { busy_timeout = math.huge }))
        print(db:%s())]]):format(what))
      assert.matches("interrupted!", output)
      assert.equal(130, code)
    end
  end)

  it("ends a writer that waits for another process, and leaves nothing open", function()
    for _, what in ipairs { "db:begin('write')", "db:write(print)", "coroutine.wrap(db.write)(db, print)",
      "assert(db:create_index('N', 'i'))", "assert(db:create_index('N', 'i', { online = false }))",
      "db:define 'return { name = [[p]], run = print }'" } do
      local output, code = beside_writer("btree", ([[
        local db = assert(require("sombra").open("store", { busy_timeout = math.huge }))
        print(pcall(function() %s end))
        print(pcall(db.write, db, print, { busy_timeout = 0.01 }))]]):format(what))
      assert.matches("^false\t.*database:1: interrupted!\nfalse\t.*another process %(%d+%) was writing", output)
      assert.equal(0, code)
    end
  end)

  it("is not needed where these wait longer than busy_timeout", function()
    for _, what in ipairs { "checkpoint", "verify" } do
      local output, code = beside_writer("btree", ([[
        io.open("silent", "w"):close()
        local db = assert(require("sombra").open("store", { busy_timeout = 0.2 }))
        local ok, err = pcall(db.%s, db)
        print(ok, err.code)]]):format(what))
      assert.equal("false\tbusy\n", output)
      assert.equal(0, code)
    end
  end)

  -- The list is long enough for some seconds of the engine's work, which goes on in one call.
  local batch = [[
    local sombra = require "sombra"
    local db = assert(sombra.open(":memory:", { create = true }))
    local n = 200000
    local ids, names, rows = {}, {}, {}
    for i = 1, n do
      ids[i], names[i], rows[i] = i % 1000 + 1, "name " .. i * 7919 % n, { number = i, name = "n" .. i }
    end
    db:write(function(tx) for i = 1, 1000 do tx:create("Start", { i = i }) end end)
    local function soon() os.execute("(sleep 0.03; kill -INT $PPID) &") end
    local function many(tx) tx:create("Before") soon() CALL end
  ]]

  -- The signal may come before the call or behind it: then it is tried again.
  it("ends a batch in the middle, and undoes it", function()
    for _, batch_call in ipairs {
      "tx:create_many('N', rows)", "tx:create_many('N', { name = names, other = names, third = ids })",
      "tx:link_many('T', ids, ids, { name = names })", "tx:link_many('T', ids, ids)",
    } do
      assert.equal("true\t1000\n", run.ok { "-e", batch:gsub("CALL", batch_call) .. [[
        local ends = false
        for _ = 1, 20 do
          local ok, err = pcall(function() db:write(many) while true do end end)
          assert(not ok and tostring(err):match("interrupted!$"), err)
          ends = tostring(err):match("^batch:1: interrupted!") ~= nil
          if ends then break end
          db:write(function(tx) for id in tx:nodes("N") do tx:delete(id, { detach = true }) end end)
        end
        print(ends, db:read(function(tx) return tx:count("Start") + tx:count("Before") end))]] })
    end
    local forever = batch:gsub("CALL", "while true do tx:create_many('N', rows) end")
    local result = run.host { "-e", forever .. "db:write(many)" }
    assert.matches("interrupted!\nstack traceback:", result.err)
    assert.equal(130, result.code)
  end)

  -- What comes before the command's first line asks whether the word is one.
  it("ends a command that has hardly begun", function()
    local directory = run.temporary_directory()
    local output = run.shell(([[cd %s; mkfifo never; exec 4<>never
      for i in $(seq 100); do
        timeout --preserve-status -s INT -k 1 $(printf 0.%%03d $((i %% 20 + 1))) \
          %s import new.db - --format=csv --create <never >/dev/null 2>&1
        code=$?; [ $code = 130 ] || echo $code
      done]]):format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.equal("", output)
  end)

  it("between two lines at the prompt ends what the first prints, and no more", function()
    local directory = run.temporary_directory()
    local output, code = run.shell(([[cd %s; mkfifo in out; exec 4<>in 5<>out
      env --default-signal=INT %s -i <in >out 2>&1 & child=$!
      echo 'kept = 42 return ("x"):rep(1e6)' >in
      sleep 0.5; kill -INT $child; sleep 0.1
      cat <&5 >/dev/null & reader=$!
      echo 'io.open("said", "w"):write(kept):close() os.exit(7)' >in
      wait $child; code=$?; kill $reader; cat said; exit $code]]):format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.equal("42", output)
    assert.equal(7, code)
  end)

  -- The terminal sends it to both; the script's process has it ignored while the command runs.
  it("ends a script whose command it has ended", function()
    local result = run.host { "-e", "for _ = 1, 100 do os.execute('kill -INT $$') end" }
    assert.matches("interrupted!\nstack traceback:", result.err)
    assert.equal(130, result.code)
    assert.equal("nil\tsignal\t15\tnil\texit\t3\ttrue\ttrue\n", run.ok { "-e", [[
      local a, b, c = os.execute("kill -TERM $$")
      local d, e, f = os.execute("exit 3")
      print(a, b, c, d, e, f, (os.execute()), (os.execute("true")))]] })
  end)

  -- No instruction of Lua's lies between the two: gsub calls io.read itself, when it has found the mark.
  it("that comes just before a read blocks wakes it", function()
    local directory = run.temporary_directory()
    run.write_file(directory .. "/script.lua", [[
      local text = ("x"):rep(1e7) .. "!"
      io.open("ready", "w"):close()
      print(pcall(function() text:gsub("()!", io.read) end))
      print(pcall(io.read))]])
    local output, code = run.shell(([[cd %s; mkfifo never; exec 4<>never
      timeout -s KILL 20 %s script.lua <&4 2>&1 & child=$!
      while [ ! -e ready ]; do sleep 0.01; done
      sleep 0.1; kill -INT $(ps -o pid= --ppid $child); sleep 3; echo line >&4; wait $child]])
      :format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.matches("^false\t.*interrupted!\ntrue\tline\n$", output)
    assert.equal(0, code)
  end)

  it("wakes a blocked read", function()
    local directory = run.temporary_directory()
    run.write_file(directory .. "/script.lua", ready .. "ready() io.read() while true do end")
    local output, code = run.shell(([[cd %s; mkfifo lines input
      %s script.lua <input >lines 2>err & child=$!
      exec 4>input 3<lines; read line <&3; kill -INT $child; wait $child; code=$?
      cat err; exit $code]]):format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.equal(130, code)
    assert.matches("interrupted!", output)
  end)
end)

describe("the host's coroutine functions", function()
  -- The same program under the host and under the stock interpreter.
  it("behave as those of lua5.4", function()
    local program = [[
      local function show(...) print(select("#", ...), ...) end
      local function message(ok, text) return ok, (tostring(text):gsub("0x%x+", "ADDRESS")) end
      local co = coroutine.create(function(...) show(...) show(coroutine.yield(1, nil, 3)) return "end", nil end)
      show(coroutine.resume(co, "a", nil))
      show(coroutine.resume(co, nil, nil))
      show(coroutine.resume(co))
      show(coroutine.status(co), coroutine.close(co))
      show(message(pcall(coroutine.resume, 5)))
      show(message(pcall(coroutine.close, 5)))
      show(message(pcall(coroutine.close, coroutine.running())))
      show(message(pcall(coroutine.wrap, 5)))
      local wrapped = coroutine.wrap(function(a) local b = coroutine.yield(a) error("bad " .. b) end)
      show(wrapped("x"))
      show(pcall(wrapped, "y"))
      show(pcall(wrapped))
      show(pcall(coroutine.wrap(function() error({}, 0) end)) )
      show(pcall(coroutine.wrap(function() error() end)))
      local function where() return coroutine.isyieldable(), select(2, coroutine.running()) end
      show(coroutine.resume(coroutine.create(where)))
      local log = {}
      local function guard(name, fails)
        return setmetatable({}, { __close = function(_, err)
          log[#log + 1] = name .. ":" .. tostring(err)
          if fails then error("closing " .. name, 0) end
        end })
      end
      local pending = coroutine.create(function() local g <close> = guard("a") coroutine.yield() end)
      coroutine.resume(pending)
      show(coroutine.close(pending))
      local failing = coroutine.create(function() local g <close> = guard("b", true) coroutine.yield() end)
      coroutine.resume(failing)
      show(coroutine.close(failing))
      show(pcall(coroutine.wrap(function() local g <close> = guard("c", true) error("body", 0) end)))
      show(table.concat(log, " "))
      local outer
      outer = coroutine.create(function()
        show(coroutine.resume(coroutine.create(function() return pcall(coroutine.close, outer) end)))
        show(coroutine.resume(outer))
      end)
      show(coroutine.resume(outer))
      local function deep(n) if n == 0 then return "bottom" end return coroutine.wrap(deep)(n - 1) end
      show(deep(100))
      show(select(2, pcall(deep, 1000)):match("C stack overflow"))
    ]]
    local directory = run.temporary_directory()
    run.write_file(directory .. "/p.lua", program)
    local command = "cd %s && %s p.lua 2>&1 | sed 's/table: 0x[0-9a-f]*/table/'"
    local expected = run.shell(command:format(directory, "lua5.4"))
    local actual = run.shell(command:format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.matches("closing c", expected)
    assert.equal(expected, actual)
  end)
end)
