-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("the host's command line", function()
  local directory

  setup(function()
    directory = run.temporary_directory()
  end)
  teardown(function()
    run.remove_directory(directory)
  end)

  local function script(text)
    local path = directory .. "/script.lua"
    run.write_file(path, text)
    return path
  end

  it("gives a script its words as arg and as ...", function()
    local path = script("print(arg[0]) print(arg[-1], arg[-2]) print(#arg, ...)")
    local result = run.host({ "-W", path, "a", "b c", "" })
    assert.equal(("%s\n%s\t%s\n3\ta\tb c\t\n"):format(path, "-W", run.binary), result.out)
    assert.equal(0, result.code)
  end)

  it("skips a first line that starts with #", function()
    assert.equal("1\n", run.host({ script("#!/usr/bin/env sombra\nprint(1)") }).out)
  end)

  it("runs a script named by a #! line", function()
    local path = script("#!" .. run.absolute_binary() .. "\nprint('direct', ...)")
    local output = run.shell("chmod +x " .. path .. " && " .. path .. " x")
    assert.equal("direct\tx\n", output)
  end)

  it("runs -e, -l and the script in the order given", function()
    local result = run.host({ "-e", "x = 1", "-ex = x + 1", "-l", "fs=lfs", script("print(x, fs._VERSION)") })
    assert.matches("^2\tLuaFileSystem", result.out)
  end)

  it("requires a module into a global of its name", function()
    assert.equal("table\n", run.host({ "-llfs", "-e", "print(type(lfs))" }).out)
  end)

  it("reports a module that is not there", function()
    local result = run.host({ "-l", "no.such.module" })
    assert.equal(1, result.code)
    assert.matches("^sombra: module 'no.such.module' not found", result.err)
  end)

  it("stops handling options after --", function()
    run.write_file(directory .. "/-e", "print('a file called -e')")
    local result = run.shell(("cd %s && %s -- -e"):format(directory, run.absolute_binary()))
    assert.equal("a file called -e\n", result)
  end)

  it("runs the standard input for - and without a script", function()
    assert.equal("x\n", run.host({ "-", "x" }, { input = "print(...)" }).out)
    assert.equal("5\n", run.host({}, { input = "print(5)" }).out)
  end)

  it("turns warnings on with -W", function()
    assert.equal("", run.host({ "-e", "warn 'look'" }).err)
    assert.matches("look", run.host({ "-W", "-e", "warn 'look'" }).err)
  end)

  it("writes a warning of several parts as one line, and takes @on and @off as orders", function()
    local text = "warn('@on', 'a', '@off') warn('@off') warn('b') warn('@on') warn('@other') warn('c', 'd')"
    assert.equal("Lua warning: @ona@off\nLua warning: cd\n", run.host({ "-W", "-e", text }).err)
  end)

  it("prints its version", function()
    for _, option in ipairs({ "-v", "--version" }) do
      local result = run.host({ option })
      assert.matches("^sombra %d+%.%d+%.%d+  %(Lua 5%.4", result.out)
      assert.equal(0, result.code)
    end
  end)

  it("runs LUA_INIT_5_4 before LUA_INIT, and neither under -E", function()
    local environment = { LUA_INIT = "print('plain')", LUA_INIT_5_4 = "print('versioned')" }
    assert.equal("versioned\n", run.host({ "-e", "" }, { environment = environment }).out)
    assert.equal("", run.host({ "-E", "-e", "" }, { environment = environment }).out)
    environment.LUA_INIT_5_4 = nil
    assert.equal("plain\n", run.host({ "-e", "" }, { environment = environment }).out)
  end)

  it("runs the file that LUA_INIT names after @", function()
    local environment = { LUA_INIT = "@" .. script("print('from a file')") }
    assert.equal("from a file\n", run.host({ "-e", "" }, { environment = environment }).out)
  end)

  it("ignores LUA_PATH under -E", function()
    local environment = { LUA_PATH = "/nowhere/?.lua", LUA_PATH_5_4 = "/nowhere/?.lua" }
    local show = "print(package.path)"
    assert.equal("/nowhere/?.lua\n", run.host({ "-e", show }, { environment = environment }).out)
    assert.not_matches("nowhere", run.host({ "-E", "-e", show }, { environment = environment }).out)
  end)

  it("refuses what it does not know", function()
    for _, word in ipairs({ "-x", "--nothing", "-iv", "-e", "-l" }) do
      local result = run.host({ word })
      assert.equal(2, result.code)
      assert.matches("^sombra: .*'" .. word:gsub("%-", "%%-") .. "'", result.err)
    end
  end)

  it("takes the options of its own table, and no others", function()
    local listed = {}
    for _, option in ipairs(require("sombra.cli.commands").interpreter) do
      for _, word in ipairs(option.words) do
        listed[word] = true
      end
    end
    for byte = ("A"):byte(), ("z"):byte() do
      local word = "-" .. string.char(byte)
      if word:match("%a") then
        local code = run.host({ word, "os.exit(0)" }).code
        assert.equal(listed[word] == true, code ~= 2, word)
      end
    end
    assert.is_true(listed["--help"] and listed["--version"])
  end)

  it("prints its help with -h and --help, whatever else is asked", function()
    local help = run.host({ "--help" })
    assert.matches("^usage: sombra ", help.out)
    assert.equal(0, help.code)
    assert.equal(help.out, run.host({ "-v", "-h", "nothing.lua" }).out)
  end)

  it("documents its exit codes", function()
    local listed = {}
    for code in run.read_file("docs/host.md"):match("## Exit codes\n(.-)\n## "):gmatch("\n| (%d+) |") do
      listed[#listed + 1] = math.tointeger(code)
    end
    local known = {}
    for index, row in ipairs(require("sombra.cli.commands").exit_codes) do
      known[index] = row[1]
    end
    assert.same({ 0, 1, 2, 3, 4, 5, 130 }, known)
    assert.same(known, listed)
  end)
end)
