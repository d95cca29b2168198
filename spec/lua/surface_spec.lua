-- SPDX-License-Identifier: MIT
-- Every method is defined for editors and documented, and nothing else is.
local sombra = require "sombra"
local helper = require "spec.helper"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local types = read("lua/types/sombra.lua") .. read("lua/types/bucket.lua") .. read("lua/types/traversal.lua")
local manual = read("docs/lua-api.md")

local function names_in(text, pattern)
  local names = {}
  for name in text:gmatch(pattern) do names[name] = true end
  return names
end

local function keys(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local classes = {
  db = { type = "DB", variable = "db" },
  tx = { type = "Tx", variable = "tx" },
  bucket = { type = "Bucket", variable = "b" },
  traversal = { type = "Traversal", variable = "t" },
}

describe("the surface", function()
  for class, names in pairs(classes) do
    it(("of sombra.%s is what the definition file says"):format(class), function()
      assert.same(keys(helper.methods(class)), keys(names_in(types, "function " .. names.type .. ":([%w_]+)%(")))
    end)

    it(("of sombra.%s is what the manual lists"):format(class), function()
      assert.same(keys(helper.methods(class)), keys(names_in(manual, "| `" .. names.variable .. ":([%w_]+)%(")))
    end)
  end

  it("of the module is what the definition file says", function()
    local defined = names_in(types, "function sombra%.([%w_]+)%(")
    defined._VERSION, defined.null = true, true
    assert.same(keys(sombra), keys(defined))
    for _, field in ipairs { "_VERSION", "null" } do
      assert.truthy(types:find("---@field " .. field .. " ", 1, true))
    end
  end)

  it("of the module is what the manual lists", function()
    local listed = names_in(manual, "| `sombra%.([%w_]+)")
    listed.null = true -- also a value in the table of values
    assert.same(keys(sombra), keys(listed))
  end)

  it("of iterators has no methods", function()
    assert.same({}, helper.methods("iterator"))
  end)

  it("of stats and info has the fields of the definition file", function()
    local db <close> = helper.memory()
    local snapshot <close> = db:snapshot()
    assert.is_true(snapshot:is_open())
    local function fields(class)
      local block = types:match("%-%-%-@class " .. class:gsub("%.", "%%.") .. "\n(.-)\n\n")
      return keys(names_in(block, "%-%-%-@field ([%w_]+)"))
    end
    local path = helper.path()
    local other = assert(sombra.open(path, { create = true, engine = "lsm" }))
    local stats = other:stats()
    other:close()
    helper.remove(path)
    assert.same(keys(stats.levels[1]), fields("sombra.LevelStats"))
    assert.same(keys(stats.totals), fields("sombra.Totals"))
    for name, value in pairs(db:stats()) do stats[name] = value end
    assert.same(keys(stats), fields("sombra.Stats"))
    assert.same(keys(db:stats().oldest_reader), fields("sombra.OldestReader"))
    assert.same(keys(sombra.info()), fields("sombra.Info"))
    for name in pairs(stats) do
      assert.truthy(manual:find("`" .. name .. "`", 1, true), name)
    end
  end)

  it("of error codes is the same everywhere", function()
    local defined = names_in(types, '%-%-%-| "([%w_]+)"')
    local listed = names_in(manual:match("\n## Errors\n.*"), "\n| `([%w_]+)` |")
    assert.same(keys(defined), keys(listed))
  end)

  it("of open's options is the same everywhere", function()
    local block = types:match("%-%-%-@class sombra%.OpenOptions\n(.-)\n\n")
    local defined = names_in(block, "%-%-%-@field ([%w_]+)")
    local listed = names_in(manual:match("Options of `open`:(.-)\n## "), "\n| `([%w_]+)` |")
    assert.same(keys(defined), keys(listed))
    for name in pairs(defined) do
      local _, message = pcall(sombra.open, ":memory:", { [name] = print })
      assert.truthy(tostring(message):find("option '" .. name .. "'", 1, true))
      assert.is_nil(tostring(message):find("unknown option", 1, true))
    end
  end)
end)
