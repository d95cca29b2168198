-- SPDX-License-Identifier: MIT
-- What the pages show is run, and what they name is there. The README's program, the tour and the examples of
-- docs/lua-api.md have specs of their own.
local run = require("spec.host.run")
local commands = require("sombra.cli.commands")

local function pages()
  local list = {}
  for name in run.shell("find README.md bench docs engine lua scripts spec -name '*.md'"):gmatch("[^\n]+") do
    list[#list + 1] = name
  end
  return list
end

-- The anchors of a page, as GitHub makes them of its headings.
local function anchors_of(text)
  local set = {}
  for heading in ("\n" .. text:gsub("```.-```", "")):gmatch("\n#+ +([^\n]+)") do
    heading = heading:gsub("%[([^%]]*)%]%b()", "%1"):lower()
    set[heading:gsub("[^%w _\128-\255-]", ""):gsub(" ", "-")] = true
  end
  return set
end

describe("the documents", function()
  it("link only to files and headings that are there", function()
    local count = 0
    for _, name in ipairs(pages()) do
      local text = run.read_file(name)
      for target in text:gsub("```.-```", ""):gmatch("%]%(([^)%s]+)%)") do
        local path, anchor = target:match("^([^#]*)#?(.*)$")
        if not target:find("^https?:") then
          path = path == "" and name or (name:match("^.*/") or "") .. path
          assert.is_truthy(os.rename(path, path), name .. " links to " .. target)
          if anchor ~= "" then
            assert.is_true(anchors_of(run.read_file(path))[anchor], name .. " links to " .. target)
          end
          count = count + 1
        end
      end
    end
    assert.is_true(count >= 200)
  end)
end)

describe("the options of the build", function()
  it("are those that docs/dependencies.md lists", function()
    local listed, there = {}, {}
    for name in run.read_file("docs/dependencies.md"):gmatch("\n| `(SOMBRA_%u+)` |") do listed[name] = true end
    local cmake = run.read_file("CMakeLists.txt")
    for name in cmake:gmatch("\noption%((SOMBRA_%u+) ") do there[name] = true end
    for name in cmake:gmatch("\nset%((SOMBRA_%u+) [^\n]* CACHE ") do there[name] = true end
    assert.same(there, listed)
  end)
end)

describe("docs/benchmarks.md", function()
  it("and scripts/bench --help know the same parts and variables", function()
    local help = run.shell("scripts/bench --help")
    local known = run.read_file("scripts/bench"):match("%((kv lsm [^)]*)%)")
    local page = run.read_file("docs/benchmarks.md")
    for part in known:gmatch("%S+") do
      if part ~= "kv" then
        assert.truthy(help:find("--" .. part .. " ", 1, true), part .. " is not in scripts/bench --help")
        assert.truthy(page:find("%-%-" .. part .. "[` ]"), part .. " is not in docs/benchmarks.md")
      end
    end
    for name in run.read_file("scripts/bench"):gmatch("%$%{?(SOMBRA_BENCH_%u+)") do
      assert.truthy(help:find(name, 1, true), name .. " is not in scripts/bench --help")
    end
  end)

  it("shows plots of the tables that stand there", function()
    local lines, is_open, count = {}, false, 0
    for line in io.lines("docs/benchmarks.md") do
      local plot = line:match("^!%[.-%]%((.-%.svg)%)$")
      if line:find("^|") then
        lines = is_open and lines or {}
        lines[#lines + 1] = line
      elseif plot then
        local described = run.read_file("docs/" .. plot):match("<desc>\n(.-)\n</desc>")
        assert.equal(table.concat(lines, "\n"), described, plot
          .. " is older than its table: build/release/sombra bench/plot.lua page docs/benchmarks.md")
        count = count + 1
      end
      is_open = line:find("^|") ~= nil
    end
    assert.equal(tonumber((run.shell("ls docs/benchmarks/*.svg | wc -l"))), count)
  end)
end)

-- Blocks of a page that begin with the name of a file are that file; the others are one program, in their order, behind
-- `before`. `files` are what the program finds.
local require_line = 'local sombra = require "sombra"\n'
local open = require_line .. 'local db <close> = assert(sombra.open("test.sombra", { create = true }))\n'
local cases = {
  ["docs/csv.md"] = { files = { ["people.csv"] = "name,born\nAda,1815\n" }, output = "2\tAda\t1815\n" },
  ["docs/json.md"] = {
    output = '{"name":"Ada","scores":[1,1.5]}\n{"avatar":{"$bytes":"ff00"}}\n',
  },
  ["docs/import.md"] = {
    files = { ["nodes.csv"] = "~id,~label,name\n1,Person,Ada\n", ["edges.csv"] = "~from,~to,~label\n1,1,KNOWS\n" },
    before = open,
    after = 'file:flush() io.write(assert(io.open("air.jsonl")):read("a"))',
    output = "1\t1\t0\t0\t0\t0\t0\t1\n"
      .. '{"labels":["Person"],"node":1,"props":{"name":"Ada"}}\n'
      .. '{"edge":1,"from":1,"props":{},"to":1,"type":"KNOWS"}\n',
  },
  ["docs/procedures.md"] = {
    before = open .. [[
      local ada, bob = db:write(function(tx)
        return tx:create("Person", { name = "Ada", age = 36 }), tx:create("Person", { name = "Bob", age = 7 })
      end)]],
    after = [[
      print(edge, db:read(function(tx) return tx:edge_get(edge, "since") end))
      db:write(function(tx) tx:set(bob, { name = "BOB" }) end)
      print(db:read(function(tx) return tx:get(bob, "sort_name") end))
      local ok, err = pcall(db.write, db, function(tx) tx:create("Person") end)
      print(ok, err.code, err.trigger.event)
      db:write(function(tx) tx:delete(bob, { detach = true }) end)
      print(db:read(function(tx) return tx:bucket("deleted"):get(bob).name end))]],
    output = "1\tAda\n1\t2020\nbob\nfalse\tconstraint\tcreate\nBOB\n",
  },
  ["docs/migrations.md"] = {
    before = open,
    after = 'print(db:read(function(tx) return tx:get(tx:first("Person")[1], "name") end))',
    output = "1\tpeople\tup\n2\tupper_names\tup\nADA\n",
  },
  ["docs/engines.md"] = { before = require_line, after = "print(db:stats().engine)", output = "lsm\n" },
}

local function write_file(directory, name, text)
  run.shell(("mkdir -p $(dirname %s/%s)"):format(directory, name))
  run.write_file(directory .. "/" .. name, text)
end

describe("the examples of", function()
  for page, case in pairs(cases) do
    it(page .. " run, and print what they should", function()
      local directory, program = run.temporary_directory(), { case.before }
      for name, text in pairs(case.files or {}) do write_file(directory, name, text) end
      for block in run.read_file(page):gmatch("\n```lua\n(.-\n)```") do
        local name = block:match("^%-%- ([%w_/]+%.lua)\n")
        if name then
          write_file(directory, name, block)
        else
          program[#program + 1] = block
        end
      end
      program[#program + 1] = case.after
      run.write_file(directory .. "/program.lua", table.concat(program, "\n"))
      local output, code = run.shell(("cd %s && %s program.lua 2>&1"):format(directory, run.absolute_binary()))
      run.remove_directory(directory)
      assert.equal(case.output, output)
      assert.equal(0, code)
    end)
  end
end)

-- The words of command lines of sombra: indented lines, blocks of a shell, and what stands between backquotes.
local function command_lines(text)
  local list = {}
  for line in text:gmatch("\n    sombra ([^\n]+)") do list[#list + 1] = line end
  for line in text:gmatch("\nsombra ([^\n]+)") do list[#list + 1] = line end
  for line in text:gmatch("`sombra ([^`\n]+)`") do list[#list + 1] = line end
  return list
end

local by_name = {}
for _, command in ipairs(commands.list) do by_name[command.name] = command end

local function has_option(command, name)
  for _, option in ipairs(command.options or {}) do
    if ("--" .. option.name) == name then return true end
  end
  return name == "--help"
end

describe("the commands in the documents", function()
  it("are commands, with the options that they have", function()
    local count = 0
    for _, page in ipairs(pages()) do
      for _, line in ipairs(command_lines("\n" .. run.read_file(page))) do
        local first, second = line:match("^([%l-]+) ?([%l-]*)")
        local command = by_name[first] or by_name[(first or "") .. " " .. (second or "")]
        if command then
          for option in line:gmatch("%-%-%l[%l-]*") do
            assert.is_true(has_option(command, option), page .. ": sombra " .. line)
          end
          count = count + 1
        end
      end
    end
    assert.is_true(count >= 20)
  end)

  it("have the options that the table in docs/host.md says", function()
    for row in run.read_file("docs/host.md"):gmatch("\n| (`[^\n]+)") do
      local first, second = row:match("^`([%l-]+) ?([%l-]*)")
      local command = by_name[first or ""] or by_name[(first or "") .. " " .. (second or "")]
      for option in row:gmatch("`(%-%-%l[%l-]*)") do
        assert.is_true(command ~= nil and has_option(command, option), row)
      end
    end
  end)
end)

describe("docs/import.md", function()
  it("shows a command that imports plain files", function()
    local directory = run.temporary_directory()
    run.write_file(directory .. "/airports.csv", "code,city\nLHR,London\nOSL,Oslo\n")
    run.write_file(directory .. "/routes.csv", "from,to,km\nLHR,OSL,1200\n")
    local words = run.read_file("docs/import.md"):match("\n    sombra (import [^\n]+)")
    local output, code = run.shell(("cd %s && %s %s 2>&1"):format(directory, run.absolute_binary(), words))
    run.remove_directory(directory)
    assert.equal("2 nodes, 1 edges, 0 entries imported\n", output)
    assert.equal(0, code)
  end)
end)

-- What the fragments of docs/c-api.md take from the program around them.
local surroundings = [[
#include <inttypes.h>
#include <stdio.h>
#include "sombra/sombra.h"
#include "sombra/procedure.h"
void visit(sombra_node_id node, sombra_edge_id edge);
sombra_err on_change(sombra_txn *txn, const sombra_change *change);
void explain(sombra_slice values);
void print_problem(void *context, const sombra_problem *problem);
void http_reply(void *context, const char *text, size_t bytes);
void queue_put(void *context, int kind, uint64_t duration_ns, const char *text);
]]
local parameters = "sombra_err err, sombra_db *db, sombra_txn *txn, sombra_node_id ada, sombra_node_id node, "
  .. "bool is_new, sombra_slice email_map, sombra_slice other_properties, sombra_slice arguments, void *request, "
  .. "void *queue"

describe("docs/c-api.md", function()
  it("names every function of the headers, and no others", function()
    local headers = run.shell("cat engine/include/sombra/*.h lua/embed/sombra/procedure.h"):gsub("/%*.-%*/", "")
    local page, count = run.read_file("docs/c-api.md"), 0
    for declaration in headers:gmatch("\nSOMBRA_API ([^;]+);") do
      local name = declaration:match("(sombra_[%l_]+)%(")
      assert.truthy(page:find("`" .. name .. "`", 1, true), name .. " is not in docs/c-api.md")
      count = count + 1
    end
    for name in page:gmatch("`(sombra_[%l_]+)`") do
      assert.truthy(headers:find("%f[%w_]" .. name .. "%f[^%w_]"), name .. " is in no header")
    end
    assert.is_true(count >= 136)
  end)

  it("shows C that compiles, under strict warnings", function()
    local parts = { surroundings }
    for block in run.read_file("docs/c-api.md"):gmatch("\n```c\n(.-\n)```") do
      local functions, statements = block:match("^(static .-\n}\n)\n(.*)$")
      parts[#parts + 1] = functions
      parts[#parts + 1] = ("sombra_err fragment%d(%s);"):format(#parts, parameters)
      local unused = parameters:gsub("[%w_]+ %*?([%w_]+)", "(void)%1"):gsub(",", ";")
      parts[#parts + 1] = ("sombra_err fragment%d(%s)\n{\n%s;\n"):format(#parts - 1, parameters, unused)
      parts[#parts + 1] = (statements or block):gsub("sombra_db %*db;\n", ""):gsub("sombra_txn %*txn;\n", "")
        .. "return err;\n}"
    end
    local directory = run.temporary_directory()
    run.write_file(directory .. "/page.c", (table.concat(parts, "\n"):gsub("sombra_err err = ", "err = ")))
    local output, code = run.shell(
      "cc -std=c11 -fsyntax-only -Wall -Wextra -Werror -Wno-unused-parameter -Iengine/include -Ilua/embed "
        .. directory .. "/page.c 2>&1")
    run.remove_directory(directory)
    assert.equal("", output)
    assert.equal(0, code)
    assert.is_true(#parts >= 3 * 9)
  end)
end)
