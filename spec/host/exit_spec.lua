-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("how the host ends", function()
  local function code_of(text)
    return run.host({ "-e", text }).code
  end

  it("is 0 after success and 1 after an error, with a traceback", function()
    assert.equal(0, code_of("local x = 1"))
    local result = run.host({ "-e", "local function inner() error('oops') end inner()" })
    assert.equal(1, result.code)
    assert.matches("^sombra: %(command line%):1: oops\nstack traceback:\n", result.err)
    assert.matches("in local 'inner'", result.err)
  end)

  it("is an error, and not a signal, when a file may not grow (ulimit -f)", function()
    local directory = run.temporary_directory()
    run.write_file(directory .. "/grow.lua", ([[
      local sombra = require "sombra"
      local db <close> = assert(sombra.open(%q, { create = true }))
      local ok, err
      repeat ok, err = pcall(db.write, db, function(tx) tx:create("N", { x = ("x"):rep(100000) }) end) until not ok
      print(err.code, (db:verify()) [1])
    ]]):format(directory .. "/data.sombra"))
    local output, code = run.shell(("ulimit -f 2000; %s %s/grow.lua 2>&1"):format(run.binary, directory))
    run.remove_directory(directory)
    assert.equal("limit\tnil\n", output)
    assert.equal(0, code)
  end)

  it("is 1 after a syntax error and for a missing script", function()
    local result = run.host({ "-e", "x x" })
    assert.equal(1, result.code)
    assert.matches("^sombra: %(command line%):1: syntax error near 'x'", result.err)
    result = run.host({ "/no/such/script.lua" })
    assert.equal(1, result.code)
    assert.matches("cannot open /no/such/script.lua", result.err)
  end)

  it("is 3 when the error object says the database is out of reach or damaged", function()
    for _, code in ipairs({ "io", "corrupt", "unsupported" }) do
      assert.equal(3, code_of(("error({ code = '%s' })"):format(code)))
    end
  end)

  it("is 3 for every error of sombra.open, which has a path", function()
    assert.equal(3, code_of("error({ code = 'not_found', path = 'x' })"))
    assert.equal(1, code_of("error({ code = 'not_found' })"))
    assert.equal(1, code_of("error({ path = 'x' })"))
  end)

  it("is 3 for a database that is missing or is none", function()
    local result = run.host({ "-e", "assert(require('sombra').open('/no/such/file', { create = false }))" })
    assert.equal(3, result.code)
    assert.matches("^sombra: [^\n]*/no/such/file.*stack traceback:", result.err)
    assert.equal(3, code_of("assert(require('sombra').open('README.md'))"))
  end)

  it("is 4 when the error object says that a limit was hit", function()
    assert.equal(4, code_of("error({ code = 'limit' })"))
  end)

  it("is 1 for error objects that say something else", function()
    for _, value in ipairs({ "{ code = 'conflict' }", "{ code = 3 }", "{}", "nil", "io.stdout", "'corrupt'" }) do
      assert.equal(1, code_of("error(" .. value .. ")"))
    end
  end)

  it("shows an error object by its __tostring", function()
    local result = run.host({ "-e", "error(setmetatable({}, { __tostring = function() return 'as told' end }))" })
    assert.matches("^sombra: as told\n", result.err)
    assert.matches("^sombra: %(error object is a table value%)\n", run.host({ "-e", "error({})" }).err)
  end)

  it("shows the stack that an error object brings, rather than that of the throw", function()
    local result = run.host({ "-e", "error({ trace = 'stack traceback:\\n\\tfar away' })" })
    assert.equal("sombra: (error object is a table value)\nstack traceback:\n\tfar away\n", result.err)
  end)

  it("survives an error inside the error's own methods", function()
    local result = run.host({ "-e", "error(setmetatable({}, { __tostring = function() error('again') end }))" })
    assert.equal(1, result.code)
    assert.matches("^sombra: ", result.err)
  end)

  it("follows os.exit, which closes the state by default", function()
    local guard = "local guard <close> = setmetatable({}, { __close = function() print('closed') end }) "
    local result = run.host({ "-e", guard .. "os.exit(7)" })
    assert.equal(7, result.code)
    assert.equal("closed\n", result.out)
    result = run.host({ "-e", guard .. "os.exit(false, true)" })
    assert.equal(1, result.code)
    assert.equal("closed\n", result.out)
    result = run.host({ "-e", guard .. "os.exit(true, false)" })
    assert.equal(0, result.code)
    assert.equal("", result.out)
  end)

  it("runs finalizers when os.exit is called in a coroutine", function()
    local result = run.host({
      "-e",
      "local guard = setmetatable({}, { __gc = function() print('collected') end }) "
        .. "coroutine.wrap(function() os.exit(5) end)() print(guard)",
    })
    assert.equal(5, result.code)
    assert.equal("collected\n", result.out)
  end)

  it("stops at the first option that fails", function()
    local result = run.host({ "-e", "error('first')", "-e", "print('second')" })
    assert.equal(1, result.code)
    assert.equal("", result.out)
  end)
end)
