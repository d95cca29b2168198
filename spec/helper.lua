-- SPDX-License-Identifier: MIT
-- What the specs of the Lua side share.
local lfs = require "lfs"
local busted = require "busted"
local sombra = require "sombra"

local helper = {}

--- SOMBRA_SEED repeats a run; random specs put the seed in their names.
helper.seed = math.tointeger(os.getenv("SOMBRA_SEED")) or os.time()

--- SOMBRA_TEST_ENGINE=lsm runs the specs on that engine: new databases are made by it, those without a file too, in
--- directories that go when the run ends.
helper.engine = os.getenv "SOMBRA_TEST_ENGINE" or "btree"

--- What is sampled takes so much of its cases: SOMBRA_SHARE is in percent.
function helper.share(cases)
  return math.max(1, cases * (math.tointeger(os.getenv "SOMBRA_SHARE") or 100) // 100)
end

local function remove_tree(path)
  os.execute("rm -rf '" .. path .. "'")
end

--- A path that nothing is at, in TMPDIR; os.tmpname knows only /tmp.
function helper.path()
  local path = os.tmpname()
  os.remove(path)
  local directory = os.getenv "TMPDIR"
  return (directory and directory .. path:match("/[^/]*$") or path) .. ".sombra"
end

if helper.engine ~= "btree" then
  local open, root, count = sombra.open, helper.path(), 0
  assert(lfs.mkdir(root))
  helper.cleaner = setmetatable({}, { __gc = function() remove_tree(root) end })
  function sombra.open(path, options)
    local made = {}
    for name, value in pairs(options or {}) do made[name] = value end
    if path == ":memory:" and not made.engine then
      count = count + 1
      path = root .. "/" .. count
      if made.create == nil then made.create = true end
      made.sync = made.sync or "off"
    end
    if made.create == true and not lfs.attributes(path) then made.engine = made.engine or helper.engine end
    return open(path, made)
  end
end

--- `helper.on("btree", "it", "has pages", "only it has", function() ... end)`: a block that only one engine's run has;
--- in the others it is pending, with the reason.
function helper.on(engine, block, name, reason, fn)
  if helper.engine == engine then return busted[block](name, fn) end
  busted.pending(("%s (only %s: %s)"):format(name, engine, reason), fn)
end

--- A new database without a file; on an engine that needs files, in a directory that goes when the run ends.
function helper.memory(options)
  return assert(sombra.open(":memory:", options))
end

local suffixes = { "", "-lock", "-log0", "-log1", "-log" }

--- Whether anything is at the path.
function helper.exists(path)
  return lfs.attributes(path) ~= nil
end

function helper.remove(path)
  if lfs.attributes(path, "mode") == "directory" then remove_tree(path) end
  for _, suffix in ipairs(suffixes) do os.remove(path .. suffix) end
end

--- Copies the files of a database as they are, while it is open.
function helper.copy_files(path, to)
  assert(os.execute(("cp -r '%s' '%s'"):format(path, to)))
  for _, suffix in ipairs { "-log0", "-log1" } do
    if helper.exists(path .. suffix) then
      assert(os.execute(("cp '%s' '%s'"):format(path .. suffix, to .. suffix)))
    end
  end
end

--- The methods of a userdata's class, from the registry: its metatable is hidden from scripts.
function helper.methods(class)
  return debug.getregistry()["sombra." .. class].__index
end

--- All values that a loop gives, each as a list of its variables.
function helper.collect(...)
  local rows = {}
  local fn, state, control, closing = ...
  local guard <close> = closing -- luacheck: ignore 211
  while true do
    local row = table.pack(fn(state, control))
    control = row[1]
    if control == nil then return rows end
    row.n = nil
    rows[#rows + 1] = row
  end
end

--- The first values only.
function helper.column(...)
  local values = {}
  for i, row in ipairs(helper.collect(...)) do values[i] = row[1] end
  return values
end

local function same_table(a, b, path)
  for key, value in pairs(a) do
    local ok, where = helper.same(value, b[key], path .. "." .. tostring(key))
    if not ok then return false, where end
  end
  for key in pairs(b) do
    if a[key] == nil then return false, path .. "." .. tostring(key) end
  end
  return true
end

--- Whether two values are the same value: 1 is not 1.0, -0.0 is not 0.0, NaN is NaN, and a list is not a map. If not,
--- the path of the difference.
function helper.same(a, b, path)
  path = path or "value"
  if math.type(a) ~= math.type(b) or type(a) ~= type(b) then return false, path end
  if math.type(a) == "float" then
    return string.pack("<d", a) == string.pack("<d", b) or (a ~= a and b ~= b), path
  end
  if type(a) ~= "table" then return a == b, path end
  local a_is_list = sombra.is_list(a) or #a > 0
  local b_is_list = sombra.is_list(b) or #b > 0
  if a_is_list ~= b_is_list then return false, path end
  return same_table(a, b, path)
end

local special = {
  math.maxinteger, math.mininteger, 0, -1, 0.0, -0.0, 1 / 0, -1 / 0, 0 / 0, 2 ^ 53, 2 ^ 63, 5e-324, 1.79769313486e308,
  true, false, "", "\0", ("x"):rep(40), ("y"):rep(41), ("\xff"):rep(300), sombra.null,
}

local function random_string()
  local length = math.random(0, 3) == 0 and math.random(0, 2000) or math.random(0, 20)
  local bytes = {}
  for i = 1, length do bytes[i] = string.char(math.random(0, 255)) end
  return table.concat(bytes)
end

--- A random value, nested at most `depth` deep, from math.random's stream.
function helper.random_value(depth)
  local kind = math.random(1, depth > 0 and 8 or 5)
  if kind == 1 then return special[math.random(#special)] end
  if kind == 2 then return math.random(0) >> math.random(0, 63) end
  if kind == 3 then return (math.random() - 0.5) * 10.0 ^ math.random(-300, 300) end
  if kind == 4 then return random_string() end
  if kind == 5 then return math.random(2) == 1 end
  local value = kind == 6 and sombra.list {} or {}
  for i = 1, math.random(0, 6) do
    local inner = helper.random_value(depth - 1)
    if kind == 6 then value[i] = inner else value[random_string()] = inner end
  end
  return value
end

--- Calls fn, which must raise an error object with the code, and returns the object.
function helper.raises(code, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error("nothing was raised; expected " .. code, 2) end
  if type(err) ~= "table" or err.code ~= code then
    error(("expected %s, got: %s"):format(code, tostring(err)), 2)
  end
  return err
end

--- Calls fn, which must raise a string (a misuse) that contains the text.
function helper.misuse(text, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error("nothing was raised; expected: " .. text, 2) end
  if type(err) ~= "string" or not err:find(text, 1, true) then
    error(("expected a string with '%s', got: %s"):format(text, tostring(err)), 2)
  end
  return err
end

return helper
