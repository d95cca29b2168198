-- SPDX-License-Identifier: MIT
-- Runs docs/tour.md: files are written as they stand there, commands run, and what they print stands below them.
local run = require("spec.host.run")

-- Blocks in order: { language, text, name of the file if the line before says one }.
local function blocks(markdown)
  local list, name, block = {}, nil, nil
  for line in (markdown .. "\n"):gmatch("(.-)\n") do
    local language = line:match("^```(%w+)$")
    if block then
      if line == "```" then
        list[#list + 1], block, name = block, nil, nil
      else
        block.text = block.text .. line .. "\n"
      end
    elseif language then
      block = { language = language, text = "", name = name }
    else
      name = line:match("^`([%w_./-]+)`$") or (line ~= "" and nil or name)
    end
  end
  return list
end

-- Commands of a shell block, each with the lines that it is to print.
local function commands(text)
  local list = {}
  for line in text:gmatch("(.-)\n") do
    local printed = line:match("^#> ?(.*)$")
    if printed then
      list[#list].output = list[#list].output .. printed .. "\n"
    else
      list[#list + 1] = { command = line, output = "" }
    end
  end
  return list
end

describe("the tour", function()
  it("does what it says, from the first line to the last", function()
    local directory = run.temporary_directory()
    local path = run.absolute_binary():match("^(.*)/")
    run.shell("mkdir " .. directory .. "/migrations")
    local files, lines = 0, 0
    for _, block in ipairs(blocks(run.read_file("docs/tour.md"))) do
      if block.language == "sh" then
        for _, step in ipairs(commands(block.text)) do
          local script = ("cd %s && PATH=%s:$PATH; export PATH; %s"):format(directory, path, step.command)
          local output, code = run.shell(script)
          assert.same({ step.command, step.output, 0 }, { step.command, output, code })
          lines = lines + 1
        end
      else
        assert.is_string(block.name, "a block without a file's name:\n" .. block.text)
        run.write_file(directory .. "/" .. block.name, block.text)
        files = files + 1
      end
    end
    run.remove_directory(directory)
    assert.is_true(files >= 8 and lines >= 10)
  end)
end)
