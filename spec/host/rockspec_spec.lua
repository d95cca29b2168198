-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("the rockspec", function()
  it("installs every Lua file of the library", function()
    local rock = {}
    assert(loadfile("sombra-scm-1.rockspec", "t", rock))()
    local found = {}
    for path in run.shell("find lua/sombra -name '*.lua'"):gmatch("[^\n]+") do
      found[path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/", ".")] = path
    end
    assert.same(found, rock.build.install.lua)
  end)
end)
