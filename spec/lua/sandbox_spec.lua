-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
-- Attacks on the sandbox of stored procedures. Each is a text; what it must come to is said beside it:
--   "limit"   stopped by a limit, the transaction rolled back
--   "error"   an ordinary error
--   a value   what it returns: harmless
-- Nothing here asserts a duration: an attack that is not stopped makes the suite hang, and fail so.
local helper = require "spec.helper"

local function slurp(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local attacks = {
  -- loops, and what might swallow the error that ends them
  { "limit", "while true do end" },
  { "limit", "while true do pcall(function() while true do end end) end" },
  { "limit", "xpcall(function() while true do end end, function() while true do end end)" },
  { "limit", "while true do local co = coroutine.wrap(function() while true do end end) pcall(co) end" },
  { "limit", "while true do coroutine.resume(coroutine.create(function() local n = 0 for i = 1, 200 do n = n + i end end)) end" },
  { "limit", "local co = coroutine.create(function() while true do pcall(function() while true do end end) end end)"
    .. " while true do coroutine.resume(co) end" },
  { "limit", "local t <close> = setmetatable({}, { __close = function() while true do end end }) while true do end" },
  { "limit", "local t = setmetatable({}, { __index = function(t, k) while true do end end }) return t.x" },
  { "limit", "goto a ::a:: goto a" },
  { "limit", "table.sort({ 3, 2, 1 }, function() while true do end end)" },
  { "limit", "('x'):gsub('x', function() while true do end end)" },
  { "limit", "for i = 1, 1e12 do local s = ('x'):rep(100) end" },
  { "limit", "for i = 1, 1e12 do load('local a = 1 ' .. ('a = a '):rep(10000)) end" },
  { "limit", "local l = {} for i = 1, 10000 do l[i] = {} end while true do tx:create_many('Trace', l) end" },
  -- collections, which no hook ends: at the brink of the memory, and of weak keys that lead to one another
  { "limit", "local k, t = 65536, {} while collectgarbage('count') < k - 0.3 do t = { t } end while true do local x = {} end" },
  { "limit", "local k, w = {}, setmetatable({}, { __mode = 'k' }) for i = 1, 3e5 do k[i] = {} end"
    .. " for i = 1, 3e5 - 1 do w[k[i]] = k[i + 1] end local first = k[1] k = nil while true do local x = {} end" },
  { "strong", "local t = setmetatable({}, { __mode = 'v' }) t[1] = {} for i = 1, 1e5 do local x = {} end return t[1] and 'strong'" },
  { "limit", "local s = ('local function f() do ' .. ('goto e '):rep(30000) .. ' end ::e:: end '):rep(4) while true do load(s) end" },
  -- instructions that are long
  { "limit", "local s = ('\\0'):rep(10000000) local a, b = s .. 'a', s .. 'b' while true do local _ = a < b end" },
  { "limit", "coroutine.wrap(function() local s = '\\0' for i = 1, 20 do s = s .. s end local a, b = s .. 'a', s .. 'b'"
    .. " while true do local _ = a < b end end)()" },
  { "limit", "local s = ('x'):rep(10000000) while true do s = s .. 'y' end" },
  { "error", "return setmetatable({}, { __gc = function() while true do end end })" },
  { "error", "error(setmetatable({}, { __tostring = function() while true do end end }))" },
  -- loops in C
  { "limit", "return (('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30))" },
  { "limit", "return ('a'):rep(100000):find(('.-'):rep(20) .. 'b')" },
  { "limit", "return ('('):rep(1000000):find('%b()')" },
  { "limit", "for _ in ('a'):rep(100000):gmatch(('.-'):rep(20) .. 'b') do end" },
  { "limit", "return ('a'):rep(100000):gsub(('.-'):rep(20) .. 'b', '')" },
  { "limit", "local s = ('x'):rep(10000000) while true do s:find('y', 1, true) end" },
  { "limit", "local s = ('x'):rep(10000000) while true do s:reverse() end" },
  { "limit", "local s = ('x'):rep(10000000) while true do s:upper() end" },
  { "limit", "table.move({}, 1, 1 << 62, 2)" },
  { "limit", "table.insert(setmetatable({}, { __len = function() return 1 << 62 end }), 1, 5)" },
  { "limit", "table.remove(setmetatable({}, { __len = function() return 1 << 62 end }), 1)" },
  { "limit", "table.concat(setmetatable({}, { __index = function() return 'x' end, __len = function() return 1 << 62 end }))" },
  { "limit", "local t = {} for i = 1, 1000000 do t[i] = i * 7919 % 1000003 end while true do table.sort(t) end" },
  { "", "return #(('').rep('', 1 << 62)) == 0 and ''" },
  { "error", "return ('x'):rep(1 << 40)" },
  { "error", "return ('x'):rep(1 << 62, 'y')" },
  { "error", "return string.format('%99999999d', 1)" },
  { "error", "return table.unpack({}, 1, 100000000)" },
  { "error", "local n = 0 return (('x'):gsub('x', function() return ('x'):rep(30000000) end))" },
  { "limit", "return ('x'):rep(100000):gsub('x', ('y'):rep(300))" },
  { "error", "local s = ('('):rep(300) .. (')'):rep(300) return ('x'):find(s)" },
  { "error", "return ('x'):find('[a')" },
  { "error", "return ('x'):find('%')" },
  { "error", "return ('x'):gsub('x', '%2')" },
  { "ok", "table.sort({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 }, function() return true end) return 'ok'" },
  -- memory
  { "limit", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end" },
  { "limit", "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(1000) .. #t end end) end" },
  { "limit", "local x = {} while true do x = { x } end" },
  { "limit", "local s = 'x' while true do s = s .. s end" },
  { "limit", "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end" },
  { "limit", "local function f() return f() + 1 end return f()" },
  { "limit", "return table.concat({ ('x'):rep(20000000), ('y'):rep(20000000) }) .. ('z'):rep(20000000) .. ('a'):rep(20000000)" },
  { "false", "local function f() return pcall(f) end return tostring((f()) and false)" },
  -- keys that all collide, which only shows when the table has grown: one instruction of half a minute
  { "limit", "local t = {} for i = 1, (1 << 17) + 2 do t[i * ((1 << 18) - 1)] = true end" },
  { "limit", "local t = {} for i = 1, (1 << 17) + 2 do t[-i * ((1 << 18) - 1)] = true end" },
  { "limit", "local t = {} for i = 0, 20000 do t[(1 + (i % 5000) * 65535 / (1 << 30)) * 2.0 ^ (i // 5000)] = i end while true do end" },
  { "limit", "local t = {} for i = 1, 1000 do t[i * ((1 << 10) - 1)] = i end while true do t[1] = nil for i = 1, 1000 do t[i * ((1 << 10) - 1)] = i end end" },
  { "ok", "local t = {} for i = 1, 20000 do t[i * 65536] = i t[i + 0.5] = i t[-i * 7] = i t['k' .. i] = i end return 'ok'" },
  -- what must not be there
  { "nil", "return tostring(string.dump)" },
  { "nilnilnilnilnilnil", "return tostring(io) .. tostring(debug) .. tostring(package) .. tostring(dofile) .. tostring(loadfile) .. tostring(print)" },
  { "nilnilnilnil", "return tostring(os.execute) .. tostring(os.exit) .. tostring(os.getenv) .. tostring(os.remove)" },
  { "nil", "return tostring(math.randomseed)" },
  { "nil", "return tostring((load('\\27Lua')))" },
  { "error", "return load('return 1', 'x', 'b')" },
  { "error", "return collectgarbage('stop')" },
  { "error", "return string.format('%p', {})" },
  { "tabletable", "return tostring({}) .. string.format('%s', {})" },
  { "function", "return tostring(pairs)" },
  { "false", "return tostring(getmetatable(''))" },
  { "false", "return tostring(getmetatable(sombra.null))" },
  { "error", "string.rep = nil return ('x'):rep(2)" }, -- its own state's library, and nobody else's
  { "xx", "return ('x'):rep(2)" },
  { "error", "error()" },
  { "error", "error({})" },
  { "error", "return require 'io'" },
  { "error", "emit(1)" },
}

describe("the sandbox", function()
  local db
  setup(function() db = helper.memory() end)
  teardown(function() db:close() end)

  for number, attack in ipairs(attacks) do
    local expected, text = attack[1], attack[2]
    it("stands " .. text:sub(1, 70), function()
      local name = "attack" .. number
      db:define(("return { name = %q, mode = 'write', run = function(tx, p) tx:create('Trace'); %s end }")
        :format(name, text:find("^return") and "do " .. text .. " end" or text))
      local ok, result = pcall(db.call, db, name, nil, { time = expected == "limit" and 0.05 or 10 })
      if expected == "limit" then
        assert.is_false(ok)
        assert.equal("limit", result.code, tostring(result))
      elseif expected == "error" then
        assert.is_false(ok)
        assert.not_equal("limit", result.code)
      else
        assert.is_true(ok, tostring(result))
        assert.equal(expected, result)
      end
      if not ok then
        assert.equal(0, db:read(function(tx) return tx:count("Trace") end))
      else
        db:write(function(tx) for id in tx:nodes("Trace") do tx:delete(id) end end)
      end
    end)
  end

  -- Processor time: what others do on the machine is not counted.
  it("ends batches near their deadline", function()
    for _, batch in ipairs {
      "tx:create_many('Trace', list)", "tx:create_many('Trace', { a = list, b = list, c = list })",
      "tx:link_many('T', list, list)",
    } do
      db:define(("return { name = 'batch', mode = 'write', run = function(tx) local one = tx:create('Trace') local list, row = {}, "
        .. "%s for i = 1, 1000000 do list[i] = row end %s end }"):format(batch:find("'Trace', list") and "{ a = 1 }" or "one",
        batch))
      local begun = os.clock()
      local ok, err = pcall(db.call, db, "batch", nil, { time = 0.1 })
      assert.is_false(ok)
      assert.equal("limit", err.code)
      assert.is_true(os.clock() - begun < 0.3)
      assert.equal(0, db:read(function(tx) return tx:count("Trace") end))
      db:undefine("batch")
    end
  end)

  it("counts what queries keep as memory of the call", function()
    db:write(function(tx)
      local list = {}
      for i = 1, 2000 do list[i] = { n = i % 7 } end
      tx:create_many("Kept", list)
    end)
    -- Each of the loops keeps its rows, sorted; one by itself is far below the limit.
    db:define [[return { name = "nested", run = function(tx, p)
      local loops, rows = 0, 0
      local function nest(depth)
        for _ in tx:from("Kept"):order("n"):each() do
          loops = loops + 1
          if depth > 1 then nest(depth - 1) end
          break
        end
      end
      nest(p.depth)
      for _ = 1, p.again or 0 do -- what is left is garbage, and does not count for ever
        for _ in tx:from("Kept"):order("n"):each() do rows = rows + 1 break end
      end
      return loops, rows
    end, params = { { "depth", "integer" }, { "again", "integer", optional = true } } }]]
    local limits = { memory = 2 << 20, time = 20 }
    assert.equal(2, (db:call("nested", { depth = 2 }, limits)))
    assert.equal(100, select(2, db:call("nested", { depth = 1, again = 100 }, limits)))
    local ok, err = pcall(db.call, db, "nested", { depth = 100 }, limits)
    assert.is_false(ok)
    assert.equal("limit", err.code)
    assert.matches("needed more than its limit of 2097152 bytes of memory", err.message, 1, true)
    assert.equal(100, (db:call("nested", { depth = 100 }, { memory = 256 << 20, time = 20 })))
    db:write(function(tx) for id in tx:nodes("Kept") do tx:delete(id) end end)
  end)

  it("counts what a definition inside a call does", function()
    db:define [[return { name = "definer", mode = "write", run = function(tx)
      return tx:define("for i = 1, 100000 do end return { name = 'made', exports = {} }")
    end }]]
    local ok, err = pcall(db.call, db, "definer", nil, { instructions = 10000 })
    assert.is_false(ok)
    assert.equal("limit", err.code)
    assert.equal("made", (db:call("definer", nil, { instructions = 1000000 })))
  end)

  it("is asked by a query that gives no row", function()
    db:write(function(tx)
      local list = {}
      for i = 1, 20000 do list[i] = { n = i } end
      tx:create_many("Asked", list)
    end)
    for _, query in ipairs { [[tx:match { "(a:Asked)", where = { a = { n = 0 } } }]], [[tx:from("Asked"):where { n = 0 }]] } do
      db:define(("return { name = 'asked', version = %d, run = function(tx) return %s:count() end }"):format(#query, query))
      local ok, err = pcall(db.call, db, "asked@" .. #query, nil, { instructions = 1000 })
      assert.is_false(ok)
      assert.equal("limit", err.code)
    end
    db:write(function(tx) for id in tx:nodes("Asked") do tx:delete(id) end end)
  end)

  it("can reach what this list says, and nothing else", function()
    db:define [[return { name = "surface", run = function()
      local names = {}
      for name, value in pairs(_G) do
        if type(value) == "table" and name ~= "_G" then
          for field in pairs(value) do names[#names + 1] = name .. "." .. field end
        else
          names[#names + 1] = name
        end
      end
      table.sort(names)
      return table.concat(names, " ")
    end }]]
    assert.equal(slurp("spec/lua/sandbox_surface.txt"):gsub("%s+", " "):gsub(" $", ""), (db:call("surface")))
  end)

  it("keeps nothing from one call to the next", function()
    db:define [[return { name = "leave", run = function() leak = (leak or 0) + 1 string.leak = true return leak, string.leak end }]]
    assert.same({ 1, true }, { db:call("leave") })
    assert.same({ 1, true }, { db:call("leave") })
    assert.is_nil(string.leak) -- luacheck: ignore 143
  end)

  it("agrees with Lua about patterns", function()
    math.randomseed(helper.seed)
    db:define [[return { name = "patterns", params = { { "list", "list" } }, run = function(_, p)
      local results = {}
      for i, case in ipairs(p.list) do
        local found = table.pack(pcall(string.find, case[1], case[2], case[3]))
        local replaced = table.pack(pcall(string.gsub, case[1], case[2], "<%0>"))
        local all = {}
        pcall(function() for a, b in string.gmatch(case[1], case[2]) do all[#all + 1] = tostring(a) .. "," .. tostring(b) end end)
        local function flat(t) local s = {} for j = 1, t.n do s[j] = tostring(t[j]) end return table.concat(s, "|") end
        results[i] = (found[1] and flat(found) or "error") .. " " .. (replaced[1] and flat(replaced) or "error") .. " " .. table.concat(all, ";")
      end
      return results
    end }]]
    local pieces = { "a", "b", ".", "%a", "%d", "%w", "[ab]", "[^a]", "[a-c]", "%s", "()", "(a)", "(.)", "%1", "%b()", "%f[%a]", "%f[%w]", "$", "^" }
    local suffixes = { "", "", "", "*", "+", "-", "?" }
    local list = {}
    for i = 1, 3000 do
      local pattern, subject = {}, {}
      for j = 1, math.random(1, 5) do
        local piece = pieces[math.random(#pieces)]
        pattern[j] = piece .. (#piece <= 5 and not piece:find("[()$^%%1]") and suffixes[math.random(#suffixes)] or "")
      end
      for j = 1, math.random(0, 12) do subject[j] = ("abc1 ()"):sub(math.random(7)):sub(1, 1) end
      list[i] = { table.concat(subject), table.concat(pattern), math.random(-5, 8) }
    end
    local results = db:call("patterns", { list }, { time = 20 })
    local function flat(t)
      local s = {}
      for j = 1, t.n do s[j] = tostring(t[j]) end
      return table.concat(s, "|")
    end
    for i, case in ipairs(list) do
      local found = table.pack(pcall(string.find, case[1], case[2], case[3]))
      local replaced = table.pack(pcall(string.gsub, case[1], case[2], "<%0>"))
      local all = {}
      pcall(function()
        for a, b in string.gmatch(case[1], case[2]) do all[#all + 1] = tostring(a) .. "," .. tostring(b) end
      end)
      assert.equal((found[1] and flat(found) or "error") .. " " .. (replaced[1] and flat(replaced) or "error") .. " "
        .. table.concat(all, ";"), results[i], ("%q %q %d (seed %d)"):format(case[1], case[2], case[3], helper.seed))
    end
  end)

  it("sorts as Lua does", function()
    math.randomseed(helper.seed)
    db:define [[return { name = "sort", run = function(_, list)
      table.sort(list)
      local down = table.move(list, 1, #list, 1, {})
      table.sort(down, function(a, b) return a > b end)
      return list, down
    end }]]
    for _, count in ipairs { 1, 2, 3, 12, 13, 100, 3000 } do
      local list = {}
      for i = 1, count do list[i] = math.random(1, count) end
      local up, down = db:call("sort", list, { time = 20 })
      table.sort(list)
      for i = 1, count do
        assert.equal(list[i], up[i])
        assert.equal(list[i], down[count + 1 - i])
      end
    end
  end)
end)
