-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("the README", function()
  it("shows a program that runs", function()
    local directory = run.temporary_directory()
    run.write_file(directory .. "/taste.lua", run.read_file("README.md"):match("```lua\n(.-)```"))
    local command = ("cd %s && %s taste.lua 2>&1"):format(directory, run.absolute_binary())
    local output, code = run.shell(command)
    local again = run.shell(command)
    run.remove_directory(directory)
    assert.equal("Bob\t2026\t1\n2\t1\n", output)
    assert.equal("Bob\t2026\t1\n4\t1\n", again)
    assert.equal(0, code)
  end)
end)

describe("docs/testing.md", function()
  it("names only tests that are there", function()
    local sources = run.shell("cat spec/engine/*.c")
    for name, star in run.read_file("docs/testing.md"):gmatch("`([%w_]+__[%w_]*)(%*?)`") do
      local wanted = "test_" .. name .. (star == "*" and "" or "(")
      assert.is_truthy(sources:find(wanted, 1, true), name .. star .. " is no test")
    end
  end)
end)
