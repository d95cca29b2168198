-- SPDX-License-Identifier: MIT
-- The prompt on a terminal: a program (typist.c) types at it.
local run = require("spec.host.run")
local sombra = require("sombra")

local typist = run.binary:gsub("[^/]*$", "") .. "typist"

describe("the prompt on a terminal", function()
  local directory, path

  setup(function()
    directory = run.temporary_directory()
    path = directory .. "/data.sombra"
    local db <close> = assert(sombra.open(path, { create = true }))
    db:write(function(tx)
      for index = 1, 50 do
        tx:create("Person", { surname = "name " .. index })
      end
      tx:bucket("visits", { create = true })
    end)
  end)
  teardown(function()
    run.remove_directory(directory)
  end)

  ---Types the lines; returns what was printed and the exit code.
  local function session(lines, environment)
    run.write_file(directory .. "/script", table.concat(lines, "\n") .. "\n")
    local settings = "HOME=" .. directory .. " SOMBRA_HISTORY=" .. directory .. "/state/history " .. (environment or "")
    local output, code = run.shell(("env LC_ALL=C.UTF-8 %s %s %s/script %s shell %s 2>&1"):format(settings,
      run.quote(typist), directory, run.absolute_binary(), path))
    assert.not_matches("typist: ", output)
    return output, code
  end

  it("edits lines, recalls entries of several lines whole, and keeps them in a file", function()
    local _, code = session({
      "prompt > ", "send 40 + 3\\x02\\x042\\n", "expect \\n42", -- left, delete, 2
      "prompt > ", "send x = {\\n", "prompt >> ", "send 'first', 'last'}\\n",
      "prompt > ", "send #x\\n", "expect \\n2",
      "prompt > ", "send \\x10\\x10\\n", -- the entry before the last one
      "prompt > ", "send x[1]\\n", "expect \"first\"",
      "prompt > ", "send '\u{E4}' .. \\xe2\\x82\\x02\\x05\\x15'\u{20AC}'\\n", "expect \"\u{20AC}\"",
      "prompt > ", "send \\x04",
    })
    assert.equal(0, code)
    session({
      "prompt > ", "send \\x10\\x10\\x10\\n", "prompt > ", "send x[2]\\n", "expect \"last\"",
      "prompt > ", "send .quit\\n",
    })
    local history = run.read_file(directory .. "/state/history")
    assert.matches("\nx\\040=\\040{\\012'first'", history)
  end)

  it("completes commands, methods, fields and the names in the database", function()
    session({
      "prompt > ", "send .sc\\t\\n", "expect (:Person) surname",
      "prompt > ", "send db:chec\\t()\\n", "prompt > ",
      "send db:read(function(tx) return tx:coun\\t\\t", "expect count_edges", "send ('Per\\t') end)\\n", "expect \\n50",
      "prompt > ", "send math.ty\\t(1)\\n", "expect \"integer\"",
      "prompt > ", "send #'vis\\t'\\n", "expect \\n6",
      "prompt > ", "send #'surn\\t'\\n", "expect \\n7",
      "prompt > ", "send string.re\\t\\t", "expect rep", "expect reverse", "send \\x15.quit\\n",
    })
  end)

  it("drops what was typed on Ctrl-C, also when more was to come", function()
    local out, code = session({
      "prompt > ", "send error('typed')\\x03", "prompt > ", "send 1 + 1\\n", "expect \\n2",
      "prompt > ", "send do\\n", "prompt >> ", "send \\x03", "prompt > ", "send 'alive'\\n", "expect \"alive\"",
      "prompt > ", "send .quit\\n",
    })
    assert.not_matches("traceback", out)
    assert.equal(0, code)
  end)

  it("cancels what runs on Ctrl-C, and rolls back", function()
    session({
      "prompt > ", "send db:write(function(tx) tx:create('Lost') print('run'..'ning') while true do end end)\\n",
      "expect running", "send \\x03", "expect interrupted!",
      "prompt > ", "send db:read(function(tx) return tx:count('Lost') end)\\n", "expect \\n0",
      "prompt > ", "send db:write(function(tx) return tx:count() end)\\n", "expect \\n50",
      "prompt > ", "send .quit\\n",
    })
  end)

  it("shows long results through a pager, and goes on when it is left early", function()
    run.write_file(directory .. "/pager", "#!/bin/sh\nhead -n 1\necho paged\n")
    run.shell("chmod +x " .. directory .. "/pager")
    session({
      "prompt > ", "send 7\\n", "expect \\n7",
      "prompt > ", "send t = {} for i = 1, 50000 do t[i] = i end\\n", "prompt > ", "send t\\n", "expect paged",
      "prompt > ", "send 'alive'\\n", "expect \"alive\"",
      "prompt > ", "send .quit\\n",
    }, "PAGER=" .. directory .. "/pager")
    session({
      "prompt > ", "send ('x'):rep(3000)\\n", "expect xxx\"", "prompt > ", "send .quit\\n",
    }, "PAGER=")
    session({
      "prompt > ", "send ('x'):rep(3000)\\n", "expect xxx\"", "prompt > ", "send .quit\\n",
    }, "PAGER=/no/such/pager")
  end)

  it("does without a history where none can be written", function()
    local lines = { "prompt > ", "send 3 * 3\\n", "expect 9", "prompt > ", "send .quit\\n" }
    session(lines, "SOMBRA_HISTORY=/proc/no/history")
    run.write_file(directory .. "/other", "not a history\n")
    session(lines, "SOMBRA_HISTORY=" .. directory .. "/other")
    assert.equal("not a history\n", run.read_file(directory .. "/other"))
  end)
end)
