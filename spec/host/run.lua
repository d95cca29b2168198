-- SPDX-License-Identifier: MIT
-- Runs the host as a child process and reports what it printed and how it ended.
local run = {}

local assert = require "luassert"

-- The binary under test: SOMBRA_BIN, or the one in SOMBRA_BUILD, or that of the preset dev.
run.binary = os.getenv("SOMBRA_BIN") or (os.getenv("SOMBRA_BUILD") or "build/dev") .. "/sombra"

local function quote(word)
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end
run.quote = quote

function run.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

function run.read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- A new empty directory; remove it with run.remove_directory.
function run.temporary_directory()
  local pipe = assert(io.popen("mktemp -d"))
  local path = pipe:read("l")
  pipe:close()
  return path
end

function run.remove_directory(path)
  os.execute("rm -rf " .. quote(path))
end

-- Runs a shell script text under a time limit. Returns its output and exit code.
function run.shell(text)
  local pipe = assert(io.popen("timeout 60 sh -c " .. quote(text), "r"))
  local output = pipe:read("a")
  local _, kind, code = pipe:close()
  return output, kind == "exit" and code or 128 + code
end

-- What a child left in its directory, which goes.
local function collect(directory, code)
  local result = {
    out = run.read_file(directory .. "/out"),
    err = run.read_file(directory .. "/err"),
    code = code,
  }
  run.remove_directory(directory)
  return result
end

-- run.host({ "-e", "print(1)" }, { input = "...", environment = { LUA_INIT = "x" } })
-- returns { out =, err =, code = }.
function run.host(words, options)
  options = options or {}
  local directory = run.temporary_directory()
  local command = {}
  for name, value in pairs(options.environment or {}) do
    command[#command + 1] = name .. "=" .. quote(value)
  end
  command[#command + 1] = quote(run.binary)
  for _, word in ipairs(words) do
    command[#command + 1] = quote(word)
  end
  run.write_file(directory .. "/in", options.input or "")
  command[#command + 1] = ("<%s/in >%s/out 2>%s/err"):format(directory, directory, directory)
  local _, code = run.shell(table.concat(command, " "))
  return collect(directory, code)
end

-- run.host that must go well and say nothing else: what it printed.
function run.ok(words, options)
  local result = run.host(words, options)
  assert.equal("", result.err)
  assert.equal(0, result.code)
  return result.out
end

-- run.host that must end with this exit code and message, for people.
function run.fails(code, pattern, words, options)
  local result = run.host(words, options)
  assert.matches(pattern, result.err)
  assert.not_matches("traceback", result.err)
  assert.equal(code, result.code)
  return result
end

-- Runs a script and sends SIGINT each time it has printed a line, `count` times in all.
function run.interrupt(script, count)
  local directory = run.temporary_directory()
  run.write_file(directory .. "/script.lua", script)
  local text = {
    "cd " .. quote(directory),
    "mkfifo lines",
    ("%s script.lua >lines 2>err & child=$!"):format(quote(run.absolute_binary())),
    "exec 3<lines",
  }
  for _ = 1, count do
    text[#text + 1] = "read line <&3; kill -INT $child"
  end
  text[#text + 1] = "cat <&3 >out; wait $child"
  local _, code = run.shell(table.concat(text, "\n"))
  return collect(directory, code)
end

function run.absolute_binary()
  local pipe = assert(io.popen("realpath " .. quote(run.binary)))
  local path = pipe:read("l")
  pipe:close()
  return path
end

return run
