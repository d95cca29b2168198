-- SPDX-License-Identifier: MIT
-- How the binaries are linked. Two copies of Lua in one process work until they do not, so this
-- is checked on the files themselves.
local run = require("spec.host.run")

describe("the host binary", function()
  it("exports Lua's API for C modules", function()
    local symbols = run.shell("nm -D " .. run.quote(run.binary))
    for _, name in ipairs({ "lua_newstate", "lua_callk", "luaL_checkudata", "luaL_openlibs", "lua_resetthread" }) do
      assert.matches(" T " .. name .. "\n", symbols)
    end
  end)

  it("does not need a shared Lua", function()
    local needed, code = run.shell("readelf -d " .. run.quote(run.binary))
    assert.equal(0, code)
    assert.not_matches("NEEDED[^\n]*liblua", needed)
  end)

  it("loads a C module that was built for lua5.4", function()
    local result = run.host({ "-e", "print(require('lfs').currentdir())" })
    assert.equal(0, result.code)
    assert.matches("^/", result.out)
  end)

  it("finds the library inside itself, from any directory", function()
    local text = "print(type(require('sombra').open), type(require('sombra.csv').rows))"
    local output = run.shell(("cd / && env -u LUA_PATH -u LUA_CPATH %s -E -e %s")
      :format(run.absolute_binary(), run.quote(text)))
    assert.equal("function\tfunction\n", output)
  end)
end)

describe("the module", function()
  local path = run.binary:gsub("[^/]*$", "") .. "sombra.so"

  it("does not need a shared Lua", function()
    local needed, code = run.shell("readelf -d " .. run.quote(path))
    assert.equal(0, code)
    assert.not_matches("NEEDED[^\n]*liblua", needed)
  end)

  it("exports its entry points and nothing else", function()
    local symbols = run.shell("nm -D --defined-only " .. run.quote(path))
    assert.matches(" T luaopen_sombra\n", symbols)
    for name in symbols:gmatch(" %u ([%w_]+)\n") do
      assert.is_true(name:find("^luaopen_sombra") ~= nil or name:find("asan") ~= nil, name)
    end
  end)
end)
