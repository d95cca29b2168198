-- SPDX-License-Identifier: MIT
--- Migrations: numbered files that bring a database from one state to the next, each in one transaction with the row
--- that says so. `db:migrate` and `db:migrations` call this module; docs/migrations.md is for its users.
local migrate = {}

local interrupt = require "sombra.interrupt"

local HISTORY = "sombra.migrations"

--- @class sombra.migrate.System what the C half gives: `files(directory)` -> sorted names, or nil and a message;
--- `sha256(text)`; `bucket(tx, name, create)` -> an internal bucket or nil.

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text, why = file:read("a")
  file:close()
  return text, why and path .. ": " .. why
end

local function fail(text, ...)
  error(text:format(...), 0)
end

--- The files of the directory, by number.
local function read_directory(system, directory)
  local names, message = system.files(directory)
  if not names then fail("%s", message) end
  local list, by_number = {}, {}
  for _, name in ipairs(names) do
    local digits, title = name:match("^(%d+)_([%w_-]+)%.lua$")
    if digits then
      local number = math.tointeger(tonumber(digits))
      if not number or number < 1 then fail("%s/%s: the number must be from 1 up", directory, name) end
      if by_number[number] then
        fail("%s/%s has the number of %s: give one of them another", directory, name, by_number[number].file)
      end
      local path = directory .. "/" .. name
      local text, why = read_file(path)
      if not text then fail("%s", why) end
      local item = { number = number, name = title, file = name, path = path, text = text, hash = system.sha256(text) }
      by_number[number] = item
      list[#list + 1] = item
    elseif name:find("%.lua$") then
      fail("%s/%s is not named like a migration (0001_what_it_does.lua)", directory, name)
    end
  end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list, by_number
end

local function read_history(system, tx)
  local list, by_number = {}, {}
  local bucket = system.bucket(tx, HISTORY, false)
  if bucket then
    for number, row in bucket:scan() do
      row.number = number
      list[#list + 1] = row
      by_number[number] = row
    end
  end
  return list, by_number
end

local function check_unchanged(file, row)
  if file.hash ~= row.hash then
    fail("%s was changed after it was applied: undo the change, and put it into a new migration", file.path)
  end
end

--- What stands in the way of running anything: edited, missing and late files.
local function check(directory, files, by_number, history)
  local last = 0
  for _, row in ipairs(history) do
    local file = by_number[row.number]
    if not file then
      fail("migration %d (%s) was applied, and its file is no longer in %s", row.number, row.name, directory)
    end
    check_unchanged(file, row)
    last = row.number
  end
  local applied = {}
  for _, row in ipairs(history) do applied[row.number] = true end
  for _, file in ipairs(files) do
    if file.number < last and not applied[file.number] then
      fail("%s comes before migration %d, which was applied already: give it a number above that", file.path, last)
    end
  end
end

local function load_unit(file)
  local chunk, message = load(file.text, "@" .. file.path, "t")
  if not chunk then fail("%s", message) end
  local unit = chunk()
  if type(unit) ~= "table" then fail("%s must return a table: { up = ..., down = ... }", file.path) end
  local first = unit.batched and "step" or "up"
  if type(unit[first]) ~= "function" then fail("%s has no function '%s'", file.path, first) end
  if unit.down ~= nil and type(unit.down) ~= "function" then fail("%s: 'down' must be a function", file.path) end
  return unit
end

--- Runs a function of a migration. Its error says which file it was; `nil, reason` is one, too.
local function run(file, fn, ...)
  local results = table.pack(xpcall(fn, function(err)
    if type(err) == "table" or interrupt.is(err) then return err end
    return debug.traceback(tostring(err), 2)
  end, ...))
  if not results[1] then
    local err = results[2]
    if interrupt.is(err) then error(err, 0) end
    if type(err) == "table" and err.code then
      err.migration = file.path
      error(err, 0)
    end
    fail("%s: %s", file.path, tostring(err))
  end
  if results[2] == nil and results[3] ~= nil then fail("%s: %s", file.path, tostring(results[3])) end
  return results[2]
end

local function row_of(file, state, cursor)
  return { name = file.name, hash = file.hash, time = os.time(), state = state, cursor = cursor }
end

--- The row of a file as its own transaction sees it. Another process may have run the file since the plan was made,
--- while this one waited for its turn to write.
local function row_now(bucket, file)
  local row = bucket:get(file.number)
  if row then check_unchanged(file, row) end
  return row
end

--- Runs one step where the last one ended; returns the cursor of the next.
local function step_in(bucket, tx, file, unit)
  local row = row_now(bucket, file)
  if row and row.state == "applied" then return nil, false end
  local cursor = run(file, unit.step, tx, row and row.cursor)
  bucket:put(file.number, row_of(file, cursor == nil and "applied" or "running", cursor))
  return cursor, true
end

--- `write(fn)` runs a function in the transaction that is meant for it. Returns whether anything ran here.
local function up(system, write, file)
  local unit = load_unit(file)
  local has_run = false
  if not unit.batched then
    write(function(tx)
      local bucket = system.bucket(tx, HISTORY, true)
      if row_now(bucket, file) then return end
      run(file, unit.up, tx)
      bucket:put(file.number, row_of(file, "applied"))
      has_run = true
    end)
    return has_run
  end
  local cursor, is_step
  repeat
    write(function(tx) cursor, is_step = step_in(system.bucket(tx, HISTORY, true), tx, file, unit) end)
    has_run = has_run or is_step
  until cursor == nil
  return has_run
end

local function down(system, write, file)
  local unit = load_unit(file)
  local has_run = false
  if not unit.down then fail("%s has no function 'down': it cannot be undone", file.path) end
  write(function(tx)
    local bucket = system.bucket(tx, HISTORY, true)
    if not row_now(bucket, file) then return end
    run(file, unit.down, tx)
    bucket:delete(file.number)
    has_run = true
  end)
  return has_run
end

--- What has to run to come to `to` (nil: the newest): a list of {file, direction}.
local function plan(files, by_number, history, to)
  local list, rows = {}, {}
  for _, row in ipairs(history) do rows[row.number] = row end
  for i = #history, 1, -1 do
    local row = history[i]
    if to and row.number > to then list[#list + 1] = { file = by_number[row.number], direction = "down" } end
  end
  for _, file in ipairs(files) do
    local row = rows[file.number]
    if (not to or file.number <= to) and (not row or row.state == "running") then
      list[#list + 1] = { file = file, direction = "up" }
    end
  end
  return list
end

local function perform(system, write, item)
  return (item.direction == "up" and up or down)(system, write, item.file)
end

local rolled_back = {}

--- @param db sombra.DB
--- @param directory string
--- @param options { to: integer?, dry_run: boolean? }
--- @return { number: integer, name: string, direction: "up"|"down" }[]
function migrate.run(system, db, directory, options)
  local to = options.to
  local files, by_number = read_directory(system, directory)
  if to and to ~= 0 and not by_number[to] then fail("there is no migration %d in %s", to, directory) end
  local history = db:read(function(tx) return (read_history(system, tx)) end)
  check(directory, files, by_number, history)
  local list, done = plan(files, by_number, history, to), {}
  local function each(write)
    for _, item in ipairs(list) do
      if perform(system, write, item) then
        done[#done + 1] = { number = item.file.number, name = item.file.name, direction = item.direction }
        if options.progress then options.progress(done[#done], #done, #list) end
      end
    end
  end
  if options.dry_run then
    local ok, err = pcall(db.write, db, function(tx)
      each(function(fn) fn(tx) end)
      error(rolled_back, 0)
    end)
    if not ok and err ~= rolled_back then error(err, 0) end
  else
    each(function(fn) db:write(fn) end)
  end
  return done
end

--- @return { number: integer, name: string, state: string, time: integer?, file: string? }[]
function migrate.status(system, db, directory)
  local files = read_directory(system, directory)
  local history, rows = db:read(function(tx) return read_history(system, tx) end)
  local list, seen, last = {}, {}, #history > 0 and history[#history].number or 0
  for _, file in ipairs(files) do
    local row = rows[file.number]
    local state = not row and (file.number < last and "late" or "pending")
      or row.hash ~= file.hash and "edited" or row.state
    seen[file.number] = true
    list[#list + 1] = {
      number = file.number, name = file.name, file = file.file, state = state, time = row and row.time,
    }
  end
  for _, row in ipairs(history) do
    if not seen[row.number] then
      list[#list + 1] = { number = row.number, name = row.name, state = "missing", time = row.time }
    end
  end
  table.sort(list, function(a, b) return a.number < b.number end)
  return list
end

--- The history as a transaction sees it.
--- @return { number: integer, name: string, hash: string, time: integer, state: string, cursor: any }[]
function migrate.rows(system, tx)
  return (read_history(system, tx))
end

local row_members = { number = "integer", name = "string", hash = "string", time = "integer", state = "string" }

--- Takes a row of another database's history over, as an import does. Returns whether it was new.
function migrate.adopt(system, tx, row)
  for name, kind in pairs(row_members) do
    local value = row[name]
    if (math.type(value) or type(value)) ~= kind then fail("a migration's '%s' is a %s", name, kind) end
  end
  for name in pairs(row) do
    if not row_members[name] and name ~= "cursor" then fail("a migration has no '%s'", tostring(name)) end
  end
  if row.number < 1 then fail("a migration's number is from 1 up") end
  if not row.hash:find("^%x+$") or #row.hash ~= 64 then fail("a migration's 'hash' is a SHA-256 of 64 digits") end
  if row.state ~= "applied" and row.state ~= "running" then fail("a migration's state is 'applied' or 'running'") end
  local bucket = system.bucket(tx, HISTORY, true)
  local known = bucket:get(row.number)
  if known and known.hash ~= row.hash then
    fail("migration %d (%s) was applied here from another file", row.number, known.name)
  end
  if known then return false end
  bucket:put(row.number, {
    name = row.name, hash = row.hash, time = row.time, state = row.state, cursor = row.cursor,
  })
  return true
end

return migrate
