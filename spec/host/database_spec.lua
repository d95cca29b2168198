-- SPDX-License-Identifier: MIT
-- Whatever way a script ends, what it did not commit is not there, and the next one can write at once.
local run = require("spec.host.run")
local sombra = require("sombra")

describe("a script that ends inside a write transaction", function()
  local directory, path, begin

  before_each(function()
    directory = run.temporary_directory()
    path = directory .. "/data.sombra"
    begin = ([[
      io.stdout:setvbuf("line")
      local sombra = require "sombra"
      local db = assert(sombra.open(%q, { create = true }))
      db:write(function(tx) tx:create("Kept") end)
    ]]):format(path)
  end)
  after_each(function()
    run.remove_directory(directory)
  end)

  local function assert_only_kept()
    local db <close> = assert(sombra.open(path))
    db:write(function(tx)
      assert.equal(1, tx:count("Kept"))
      assert.equal(1, tx:count())
    end, { busy_timeout = 0 })
  end

  local function run_script(text)
    run.write_file(directory .. "/script.lua", begin .. text)
    return run.host({ directory .. "/script.lua" })
  end

  it("by os.exit has rolled back", function()
    assert.equal(9, run_script("db:write(function(tx) tx:create('Lost') os.exit(9) end)").code)
    assert_only_kept()
  end)

  it("by os.exit in a coroutine has rolled back", function()
    local text = "coroutine.wrap(function() db:write(function(tx) tx:create('Lost') os.exit(9) end) end)()"
    assert.equal(9, run_script(text).code)
    assert_only_kept()
  end)

  it("by os.exit that closes nothing has not committed", function()
    assert.equal(9, run_script("db:write(function(tx) tx:create('Lost') os.exit(9, false) end)").code)
    assert_only_kept()
  end)

  it("by an error has rolled back, and shows where the error was", function()
    local result = run_script([[
      local function deep() error("lost it") end
      db:write(function(tx) tx:create("Lost") deep() end)]])
    assert.equal(1, result.code)
    assert.matches("lost it\nstack traceback:.*in upvalue 'deep'", result.err)
    assert_only_kept()
  end)

  it("by an error of the database has rolled back, and shows where the error was", function()
    local result = run_script([[
      local function deep(tx) tx:set(12345, {}) end
      coroutine.wrap(function() db:write(function(tx) tx:create("Lost") deep(tx) end) end)()]])
    assert.equal(1, result.code)
    assert.matches("%[not_found%]\nstack traceback:.*in upvalue 'deep'", result.err)
    assert_only_kept()
  end)

  it("without a word has rolled back", function()
    assert.equal(0, run_script("tx = db:begin('write') tx:create('Lost')").code)
    assert_only_kept()
  end)

  it("by Ctrl-C has rolled back", function()
    local result = run.interrupt(begin .. [[
      db:write(function(tx) tx:create("Lost") print("ready") while true do end end)]], 1)
    assert.equal(130, result.code)
    assert_only_kept()
  end)

  it("by Ctrl-C in a coroutine has rolled back", function()
    local result = run.interrupt(begin .. [[
      coroutine.wrap(function()
        db:write(function(tx) tx:create("Lost") print("ready") while true do tx:count() end end)
      end)()]], 1)
    assert.equal(130, result.code)
    assert.matches("interrupted!", result.err)
    assert_only_kept()
  end)

  it("by a second Ctrl-C has rolled back", function()
    local result = run.interrupt(begin .. [[
      local tx <close> = db:begin("write")
      tx:create("Lost")
      while true do pcall(function() print("ready") while true do end end) end]], 2)
    assert.equal(130, result.code)
    assert_only_kept()
  end)

  it("by a signal that kills has not committed", function()
    local text = begin .. [[db:write(function(tx) tx:create("Lost") print("ready") while true do end end)]]
    run.write_file(directory .. "/script.lua", text)
    run.shell(([[cd %s; mkfifo lines; %s script.lua >lines & child=$!; read line <lines; kill -KILL $child; wait]])
      :format(directory, run.absolute_binary()))
    assert_only_kept()
  end)
end)
