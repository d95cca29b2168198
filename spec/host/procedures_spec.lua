-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("sombra call, run-proc and migrate", function()
  local directory

  local function sombra(arguments)
    return run.shell(("cd %s && %s %s 2>&1"):format(directory, run.absolute_binary(), arguments))
  end

  before_each(function()
    directory = run.temporary_directory()
    run.shell("mkdir " .. directory .. "/migrations")
    run.write_file(directory .. "/migrations/0001_people.lua", [[return {
      up = function(tx) tx:create("Person", { name = "Ada" }) end,
      down = function(tx) for id in tx:nodes("Person") do tx:delete(id) end end,
    }]])
    run.write_file(directory .. "/add.lua", [[
      local twice = require("twice").twice
      return { name = "add", mode = "write", params = { { "name", "string" }, { "n", "integer", default = 2 } },
        run = function(tx, p)
          if p.name == "" then return nil, "a name is needed" end
          emit { before = tx:count("Person") }
          tx:create("Person", { name = p.name })
          return tx:count("Person"), twice(p.n)
        end }]])
    run.write_file(directory .. "/twice.lua",
      "return { name = 'twice', exports = { twice = function(n) return 2 * n end } }")
    run.write_file(directory .. "/count.lua",
      "return { name = 'count', run = function(tx) return tx:count('Person') end }")
  end)
  after_each(function() run.remove_directory(directory) end)

  it("define names the file that is wrong", function()
    run.write_file(directory .. "/binary.lua", string.dump(assert(load("return { name = 'binary' }"))))
    run.write_file(directory .. "/nameless.lua", "return { run = print }")
    run.write_file(directory .. "/unfinished.lua", "return {")
    for _, name in ipairs { "binary", "nameless", "unfinished" } do
      local output, code = sombra(("proc define --create a.sombra count.lua %s.lua twice.lua"):format(name))
      assert.equal(1, code)
      assert.matches("^sombra proc define: .*" .. name .. "%.lua", output)
      local _, mentions = output:gsub(name .. "%.lua", "")
      assert.equal(1, mentions)
    end
    assert.equal("", (sombra("proc list a.sombra")))
  end)

  it("call ends at the first Ctrl-C", function()
    run.write_file(directory .. "/loop.lua", [[return { name = "loop", mode = "write",
      run = function(tx) tx:create("N") while true do end end }]])
    sombra("migrate --create a.sombra migrations")
    sombra("proc define a.sombra loop.lua")
    local output, code = run.shell(([[cd %s; %s call a.sombra loop --time 50 2>&1 & child=$!
      sleep 0.5; kill -INT $child; wait $child]]):format(directory, run.absolute_binary()))
    assert.same({ "sombra call: interrupted\n", 130 }, { output, code })
    assert.matches("\nnodes +1\n", (sombra("stats a.sombra"))) -- what the migration made
  end)

  it("migrate a database, and back", function()
    assert.same({ "0001_people: up (rolled back)\n", 0 }, { sombra("migrate --create --dry-run a.sombra migrations") })
    assert.same({ "0001_people: up\n", 0 }, { sombra("migrate a.sombra migrations") })
    assert.same({ "nothing to do\n", 0 }, { sombra("migrate a.sombra migrations") })
    assert.truthy(sombra("migrate --status a.sombra migrations"):find("^0001_people: applied 20"))
    assert.same({ '[{"direction":"down","name":"people","number":1}]\n', 0 },
      { sombra("migrate --to 0 --json a.sombra migrations") })
    assert.same({ "0001_people: pending\n", 0 }, { sombra("migrate --status a.sombra migrations") })
    run.write_file(directory .. "/migrations/0002_bad.lua", "return { up = function() error('stop') end }")
    local output, code = sombra("migrate a.sombra migrations")
    assert.equal(1, code)
    assert.truthy(output:find("migrations/0002_bad.lua:1: stop", 1, true), output)
  end)

  it("migrate says what is wrong with the files in words", function()
    assert.same({ "sombra migrate: there is no migration 7 in migrations\n", 1 },
      { sombra("migrate --create --to 7 a.sombra migrations") })
    assert.same({ "sombra migrate: nowhere: No such file or directory\n", 1 }, { sombra("migrate a.sombra nowhere") })
    assert.same({ "sombra migrate: nowhere: No such file or directory\n", 1 },
      { sombra("migrate --status a.sombra nowhere") })
    run.write_file(directory .. "/migrations/0001_people.lua", "return { up = 5 }")
    assert.same({ "sombra migrate: migrations/0001_people.lua has no function 'up'\n", 1 },
      { sombra("migrate a.sombra migrations") })
  end)

  it("migrate names the file of an error of the database", function()
    run.write_file(directory .. "/migrations/0001_people.lua", "return { up = function(tx) tx:delete_edge('x') end }")
    local output, code = sombra("migrate --create a.sombra migrations")
    assert.equal(1, code)
    assert.matches("^sombra migrate: migrations/0001_people.lua: ", output)
    run.write_file(directory .. "/migrations/0001_people.lua", "return { up = function(tx) tx:set(7, { n = 1 }) end }")
    assert.matches("^sombra migrate: migrations/0001_people.lua: set .*7", (sombra("migrate a.sombra migrations")))
  end)

  it("migrate ends with 130 on Ctrl-C", function()
    run.write_file(directory .. "/migrations/0001_people.lua",
      "return { up = function(tx) tx:create('Person') print('begun') io.stdout:flush() while true do end end }")
    local output, code = run.shell(([[
      cd %s; mkfifo lines; %s migrate --create a.sombra migrations >lines 2>err & child=$!
      exec 3<lines; read line <&3; kill -INT $child; wait $child; code=$?; cat err; exit $code]])
      :format(directory, run.absolute_binary()))
    assert.same({ "sombra migrate: interrupted\n", 130 }, { output, code })
    assert.equal(0, (select(2, sombra("proc define a.sombra count.lua"))))
    assert.same({ "0\n", 0 }, { sombra("call a.sombra count") })
  end)

  it("call what is stored, and run what is not", function()
    sombra("migrate --create a.sombra migrations")
    run.write_file(directory .. "/one.lua",
      "return { name = 'one', params = { { 'a' } }, run = function(tx, p) return p.a end }")
    assert.equal(0, (select(2, sombra("proc define a.sombra twice.lua count.lua one.lua"))))
    assert.same({ "1\n", 0 }, { sombra("call a.sombra count") })
    assert.same({ '{"before":1}\n2\n14\n', 0 },
      { sombra([[run-proc --dry-run a.sombra add.lua '{"name":"Bob","n":7}']]) })
    assert.same({ "1\n", 0 }, { sombra("call a.sombra count") })
    assert.same({ '{"before":1}\n2\n4\n', 0 }, { sombra([[run-proc a.sombra add.lua '["Bob"]']]) })
    assert.same({ "2\n", 0 }, { sombra("call a.sombra count") })
    local output, code = sombra([[run-proc a.sombra add.lua '[""]']])
    assert.equal(1, code)
    assert.truthy(output:find("add says no: a name is needed", 1, true), output)
    output, code = sombra("run-proc a.sombra add.lua")
    assert.equal(1, code)
    assert.truthy(output:find("parameter 'name' is missing", 1, true), output)
    assert.equal(1, (select(2, sombra("call a.sombra nothing"))))
    for _, command in ipairs { "call a.sombra one", "call --stream a.sombra one", "run-proc a.sombra one.lua" } do
      output, code = sombra(command .. " 5")
      assert.equal(2, code)
      assert.matches("^sombra [%a-]+: ARGUMENTS", output)
      assert.not_matches("traceback", output)
    end
  end)
end)
