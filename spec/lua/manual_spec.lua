-- SPDX-License-Identifier: MIT
-- The examples of docs/lua-api.md run, in their order, as one program: the first opens the database and makes `ada`;
-- the others are blocks inside it, with `tx` a read transaction unless they begin their own.
local helper = require "spec.helper"
local lfs = require "lfs"

local function program(directory)
  local file <close> = assert(io.open("docs/lua-api.md"))
  local parts, count = {}, 0
  for block in file:read("a"):gmatch "\n```lua\n(.-)\n```" do
    count = count + 1
    parts[count] = count == 1 and block or ('do local tx <close> = db:begin "read"\n%s\nend'):format(block)
  end
  return table.concat(parts, "\n"):gsub('"social', '"' .. directory .. "/social"), count
end

describe("the manual", function()
  it("shows examples that run", function()
    local directory = helper.path()
    assert(lfs.mkdir(directory))
    finally(function() helper.remove(directory) end)
    local text, count = program(directory)
    local lines = {}
    local quiet = setmetatable({ write = function() end }, { __index = io.stderr })
    local environment = setmetatable({
      print = function(...)
        local values = table.pack(...)
        for i = 1, values.n do values[i] = tostring(values[i]) end
        lines[#lines + 1] = table.concat(values, " ")
      end,
      io = setmetatable({ stderr = quiet }, { __index = io }),
    }, { __index = _G })
    assert(load(text, "=docs/lua-api.md", "t", environment))()
    assert.is_true(count >= 9)
    assert.equal("Bob 2026", lines[1])
    local printed = table.concat(lines, "\n") .. "\n"
    for _, line in ipairs { "Ada 1815 1 Bob Bob", "3 Oslo" } do
      assert.truthy(printed:find("\n" .. line .. "\n", 1, true), line .. " is missing in:\n" .. printed)
    end
    assert.truthy(printed:find("[conflict]", 1, true))
  end)
end)
