-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
-- Random programs in the sandbox. What they come to does not matter: the host must live, the database be sound, and an
-- error be an error object. Under AddressSanitizer (the specs of scripts/test run so) every block is watched.
-- SOMBRA_SEED repeats a run, SOMBRA_LONG=1 makes it long.
local helper = require "spec.helper"

local PROGRAMS = os.getenv("SOMBRA_LONG") and 20000 or 400

---- the grammar ------------------------------------------------------------------------------------------------------

local random = math.random
local function pick(list) return list[random(#list)] end

local names = { "a", "b", "c", "t", "s", "f", "tx" }
local constants = {
  "nil", "true", "false", "0", "1", "-1", "2.5", "1e308", "0/0", "1/0", "1 << 62", "math.mininteger", "math.maxinteger",
  "''", "'x'", "'%d+'", "'(a*)%1'", "('x'):rep(300)", "'%b()'", "'.-b'", "'\\0\\255'", "{}", "{ 1, 2, 3 }",
  "{ n = 1, [2] = 'b' }", "sombra.null", "sombra.list {}", "setmetatable({}, m)", "_G", "string", "N", "('n'):rep(20)",
}
local functions = {
  "string.format", "string.rep", "string.find", "string.gsub", "string.gmatch", "string.match", "string.pack",
  "string.unpack", "string.byte", "string.char", "string.sub", "string.reverse", "table.concat", "table.insert",
  "table.remove", "table.sort", "table.move", "table.unpack", "table.pack", "math.random", "math.tointeger", "math.fmod",
  "utf8.char", "utf8.codepoint", "utf8.len", "utf8.offset", "utf8.codes", "next", "pairs", "ipairs", "select", "tonumber",
  "tostring", "rawset", "rawget", "rawlen", "rawequal", "setmetatable", "getmetatable", "pcall", "xpcall", "error",
  "assert", "load", "type", "coroutine.wrap", "coroutine.create", "coroutine.resume", "coroutine.close",
  "coroutine.yield", "coroutine.status", "coroutine.running", "os.date", "collectgarbage", "require", "emit",
  "sombra.list", "sombra.is_list",
}
local methods = {
  "create", "node", "get", "set", "replace", "remove", "delete", "exists", "add_label", "remove_label", "has_label",
  "count", "nodes", "first", "last", "labels", "link", "edge", "find_edge", "edge_get", "edge_set", "delete_edge",
  "unlink", "edges", "types", "out", "into", "both", "edges_of", "degree", "bucket", "buckets", "find", "upsert",
  "link_upsert", "create_many", "link_many", "create_index", "drop_index", "create_constraint", "create_trigger",
  "drop_trigger", "savepoint", "rollback_to", "release", "commit", "rollback", "call", "define", "undefine",
  "procedures", "from", "match", "paths", "cycles", "topological", "subgraph", "statistics", "is_open",
}
local handle_methods = {
  "get", "put", "delete", "scan", "count", "delete_range", "drop", "out", "into", "both", "where", "filter", "limit",
  "distinct", "except", "order", "select", "group", "ids", "list", "each", "first", "exists", "page", "explain",
  "shortest", "to", "repeat_out", "rep", "find",
}
local operators = { "+", "-", "*", "/", "//", "%", "^", "..", "==", "<", "<=", "~=", "and", "or", "&", "|", "~", "<<", ">>" }

local expression

local function arguments(depth)
  local list = {}
  for i = 1, random(0, 4) do list[i] = expression(depth - 1) end
  return table.concat(list, ", ")
end

local block

function expression(depth)
  if depth <= 0 then return random(2) == 1 and pick(names) or pick(constants) end
  local kind = random(11)
  if kind == 1 then return "(" .. expression(depth - 1) .. " " .. pick(operators) .. " " .. expression(depth - 1) .. ")" end
  if kind == 2 then return pick(functions) .. "(" .. arguments(depth) .. ")" end
  if kind <= 5 then return "tx:" .. pick(methods) .. "(" .. arguments(depth) .. ")" end
  if kind == 6 then return "(" .. expression(depth - 1) .. "):" .. pick(handle_methods) .. "(" .. arguments(depth) .. ")" end
  if kind == 7 then return "function(a, b, ...) " .. block(depth - 1) .. " end" end
  if kind == 8 then return "{ n = " .. expression(depth - 1) .. ", " .. arguments(depth) .. " }" end
  if kind == 9 then return pick { "#", "-", "not ", "~" } .. "(" .. expression(depth - 1) .. ")" end
  if kind == 10 then return "(" .. expression(depth - 1) .. ")[" .. expression(depth - 1) .. "]" end
  return pick(functions)
end

local function statement(depth)
  local kind = random(10)
  if kind <= 3 then return pick(names) .. " = " .. expression(depth) end
  if kind == 4 then return "pcall(function() " .. block(depth - 1) .. " end)" end
  if kind == 5 then return "for a in pairs(" .. expression(depth - 1) .. ") do " .. block(depth - 1) .. " end" end
  if kind == 6 then return "for i = 1, 10 do " .. block(depth - 1) .. " end" end
  if kind == 7 then return "if " .. expression(depth - 1) .. " then " .. block(depth - 1) .. " end" end
  if kind == 8 then return "for a, b in " .. expression(depth - 1) .. " do " .. block(depth - 1) .. " break end" end
  if kind == 9 then return "pcall(" .. pick(functions) .. ", " .. expression(depth - 1) .. ", " .. expression(depth - 1) .. ")" end
  return "pcall(tx." .. pick(methods) .. ", tx, " .. expression(depth - 1) .. ", " .. expression(depth - 1) .. ")"
end

function block(depth)
  if depth <= 0 then return "" end
  local list = {}
  for i = 1, random(1, 4) do list[i] = statement(depth) end
  return table.concat(list, "; ")
end

local function program()
  -- each statement by itself: most raise, and the next ones are to run, too
  local list = {}
  for i = 1, random(3, 12) do list[i] = "pcall(function() " .. statement(random(1, 4)) .. " end)" end
  return ([[
return { name = "fuzz", mode = "write", run = function(tx, N)
  local a, b, c, t, s, f = 1, "b", {}, { 3, 1, 2 }, "some text (a(b))", function(...) return ... end
  local m = { __index = function() return f end, __len = function() return 5 end, __eq = f, __lt = f, __call = f,
    __concat = f, __close = f, __tostring = function() return s end, __pairs = function() return next, t end }
  %s
  return a, b
end }]]):format(table.concat(list, "\n  "))
end

---- the runs ---------------------------------------------------------------------------------------------------------

describe("random programs", function()
  it(("leave the host alive and the database sound (seed %d)"):format(helper.seed), function()
    math.randomseed(helper.seed)
    local db = helper.memory()
    local root = db:write(function(tx)
      local first = tx:create_many("N", { { n = 1 }, { n = 2 }, { n = 3 }, { n = "x" } })
      tx:link_many("E", { { first, first + 1 }, { first + 1, first + 2 }, { first + 2, first } })
      tx:bucket("b", { create = true }):put("k", { 1, 2 })
      return first
    end)
    local ended = { ok = 0, failed = 0, refused = 0 }
    for number = 1, PROGRAMS do
      local text = program()
      local tx <close> = db:begin("write") -- rolled back: each begins with the same
      tx:undefine("fuzz")
      local defined = pcall(tx.define, tx, text)
      if not defined then
        ended.refused = ended.refused + 1
      else
        local ok, err = pcall(tx.call, tx, "fuzz", root, { time = 0.02, memory = 8 << 20 })
        ended[ok and "ok" or "failed"] = ended[ok and "ok" or "failed"] + 1
        if not ok then assert.is_string(err.code, text) end
        assert.is_true(tx:is_open(), text)
        if number % 50 == 0 then pcall(tx.commit, tx) end -- a trigger that it made may refuse
      end
    end
    assert.same({}, (db:verify()))
    assert.is_true(ended.ok > PROGRAMS / 10, "the generator makes too few programs that run: " .. ended.ok)
    assert.is_true(ended.refused < PROGRAMS / 2, "and too many that do not compile: " .. ended.refused)
    assert.equal(0, db:stats().transactions)
    db:close()
  end)
end)
