-- SPDX-License-Identifier: MIT
-- SQLite in bench/graph.lua, by Debian's LuaDBI: tables, settings and queries of bench/graph_sqlite.c, prepared once.

local data = require "graph_data"

local is_there, dbi = pcall(require, "DBI")
if not is_there or not pcall(require, "dbd.sqlite3") then
  return nil
end

local FIRST_HOP = "SELECT dst FROM edges WHERE src = ?1"

local function in_hops(inner)
  return ("SELECT dst FROM edges WHERE src IN (%s)"):format(inner)
end

local texts = {
  lookup = "SELECT name, age FROM nodes WHERE id = ?1",
  hop1 = FIRST_HOP,
  hop2 = ("SELECT count(DISTINCT dst) FROM (%s)"):format(in_hops(FIRST_HOP)),
  hop3 = ("SELECT count(DISTINCT dst) FROM (%s)"):format(in_hops(in_hops(FIRST_HOP))),
  within3 = "WITH RECURSIVE reached(id, depth) AS (VALUES(?1, 0) UNION "
    .. "SELECT dst, depth + 1 FROM reached JOIN edges ON src = id WHERE depth < 3) "
    .. "SELECT count(DISTINCT id) FROM reached WHERE id <> ?1",
  into = "SELECT src FROM edges WHERE dst = ?1",
  begin = "BEGIN",
  commit = "COMMIT",
  insert = "INSERT INTO nodes VALUES(?1, ?2, ?3, ?4, ?5)",
  update = "UPDATE nodes SET age = ?2 WHERE id = ?1",
  edge = "INSERT INTO edges SELECT a.id, b.id, ?3, ?4 FROM nodes a, nodes b WHERE a.id = ?1 AND b.id = ?2",
  upsert = "INSERT INTO nodes(id, age) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET age = excluded.age",
}

local code_texts = {
  record = "SELECT * FROM code WHERE id = ?1",
  start_line = "SELECT startLine FROM code WHERE id = ?1",
  set_line = "UPDATE code SET startLine = ?2 WHERE id = ?1",
  begin = "BEGIN",
  commit = "COMMIT",
}

local function execute(db, ...)
  for _, text in ipairs { ... } do
    local statement = assert(db:prepare(text))
    assert(statement:execute())
    statement:close() -- a pragma's row would be left in it
  end
end

local function connect(path)
  local db = assert(dbi.Connect("SQLite3", path))
  db:autocommit(true)
  execute(db, "PRAGMA cache_size = -262144", "PRAGMA mmap_size = 8589934592", "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA synchronous = FULL")
  return db
end

local store = {}
store.__index = store

-- The first row's first value; the statement comes to its end, and its read transaction with it.
local function value_of(statement, ...)
  local value
  assert(statement:execute(...))
  for row in statement:rows() do
    value = row[1]
  end
  return value
end

-- ---- lines --------------------------------------------------------------------------------------------------------

local lines = {}

function lines.lookup(self, case)
  local found = self.lookup
  local age
  assert(found:execute(case[1]))
  for row in found:rows() do
    age = row[1] and row[2]
  end
  return age
end

function lines.hop1(self, case)
  local rows, found = 0, self.hop1
  assert(found:execute(case[1]))
  for _ in found:rows() do
    rows = rows + 1
  end
  return rows
end

for _, line in ipairs { "hop1, property id", "hop1, list", "hop1, list of ids", "hop1, traversal", "hop1, prepared" } do
  lines[line] = lines.hop1
end

for _, line in ipairs { "hop2", "hop3", "within3" } do
  lines[line] = function(self, case)
    return value_of(self[line], case[1])
  end
end

-- Expands one level of a side; nil if it met the other one.
local function search_level(statement, mine, others, frontier)
  local following = {}
  for i = 1, #frontier do
    assert(statement:execute(frontier[i]))
    for row in statement:rows() do
      local id = row[1]
      if others[id] then
        return nil
      end
      if not mine[id] then
        mine[id] = true
        following[#following + 1] = id
      end
    end
  end
  return following
end

-- A search from both ends, of which the smaller one goes on; in one snapshot.
function lines.sp(self, case)
  local reached = { { [case[1]] = true }, { [case[2]] = true } }
  local frontiers = { { case[1] }, { case[2] } }
  local length = 0
  if case[1] == case[2] then
    return 0
  end
  assert(self.begin:execute())
  while #frontiers[1] > 0 and #frontiers[2] > 0 do
    local side = #frontiers[2] < #frontiers[1] and 2 or 1
    local following =
      search_level(side == 1 and self.hop1 or self.into, reached[side], reached[3 - side], frontiers[side])
    length = length + 1
    if not following then
      assert(self.commit:execute())
      return length
    end
    frontiers[side] = following
  end
  assert(self.commit:execute())
  return 0
end

lines["insert, durable"] = function(self, case)
  local row = data.new_row(case[1], case[2])
  assert(self.insert:execute(row.id, row.name, row.age, row.city, row.score))
  return 1
end

lines["update, durable"] = function(self, case)
  assert(self.update:execute(case[1], case[2]))
  return 1
end

lines["edge, durable"] = function(self, case)
  assert(self.edge:execute(case[1], case[2], case[3], 1.5))
  return 1
end

lines["upsert, durable"] = function(self, case)
  assert(self.upsert:execute(case[1], case[2]))
  return 1
end

-- ---- the store ----------------------------------------------------------------------------------------------------

local function prepare_all(db, list)
  local self = setmetatable({ db = db, run = {} }, store)
  for name, text in pairs(list) do
    self[name] = assert(db:prepare(text))
  end
  return self
end

local kind = {
  name = "sqlite",
  endings = { "", "-wal", "-shm", "-journal" },
  can = { ["bulk insert"] = true, code = true },
}

-- One transaction with a rollback journal, which is empty for a new file; the second indexes when the rows are in.
function kind.load(path, folder)
  local db = connect(path)
  execute(db, "PRAGMA journal_mode = DELETE", "BEGIN",
    "CREATE TABLE nodes(id INTEGER PRIMARY KEY, name TEXT, age INTEGER, city TEXT, score REAL)",
    "CREATE TABLE edges(src INTEGER, dst INTEGER, since INTEGER, weight REAL, PRIMARY KEY(src, dst)) WITHOUT ROWID")
  local into = assert(db:prepare(texts.insert))
  for id, name, age, city, score in data.nodes(folder) do
    assert(into:execute(id, name, age, city, score))
  end
  into = assert(db:prepare "INSERT INTO edges VALUES(?1, ?2, ?3, ?4)")
  for src, dst, since, weight in data.edges(folder) do
    assert(into:execute(src, dst, since, weight))
  end
  execute(db, "CREATE INDEX nodes_name ON nodes(name)", "CREATE INDEX edges_dst ON edges(dst, src)", "COMMIT")
  db:close()
end

function kind.open(path)
  local db = connect(path)
  execute(db, "PRAGMA journal_mode = WAL")
  local is_code = value_of(assert(db:prepare "SELECT count(*) FROM sqlite_schema WHERE name = 'code'")) == 1
  local self = prepare_all(db, is_code and code_texts or texts)
  for line, body in pairs(lines) do
    self.run[line] = function(case)
      return body(self, case)
    end
  end
  return self
end

function store:close()
  self.db:close()
end
store.__close = store.close

function store:bulk(_, nodes)
  local c, into = nodes.columns, self.insert
  assert(self.begin:execute())
  for i = 1, #c.id do
    assert(into:execute(c.id[i], c.name[i], c.age[i], c.city[i], c.score[i]))
  end
  assert(self.commit:execute())
end

function kind.code_load(_, path, columns, edges)
  local db, c = connect(path), columns
  local nodes = #c.name
  execute(db, "PRAGMA journal_mode = DELETE", "BEGIN",
    "CREATE TABLE code(id INTEGER PRIMARY KEY, name TEXT, filePath TEXT, startLine INTEGER, endLine INTEGER, "
      .. "codeText TEXT, language TEXT, metadata TEXT)",
    "CREATE TABLE links(id INTEGER PRIMARY KEY, src INTEGER, dst INTEGER, weight REAL, kind TEXT)")
  local into = assert(db:prepare "INSERT INTO code VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
  for i = 1, nodes do
    assert(into:execute(i - 1, c.name[i], c.filePath[i], c.startLine[i], c.endLine[i], c.codeText[i], c.language[i],
      c.metadata[i]))
  end
  into = assert(db:prepare "INSERT INTO links VALUES(?1, ?2, ?3, ?4, ?5)")
  for i = 0, edges - 1 do
    assert(into:execute(i, data.code_link(i, nodes)))
  end
  execute(db, "CREATE INDEX links_src ON links(src, dst)", "CREATE INDEX links_dst ON links(dst, src)", "COMMIT")
  return prepare_all(db, code_texts)
end

function store:code_read(line, nodes, count)
  local sum = 0
  if line == "code, gets" then
    for i = 0, count - 1 do
      sum = sum + value_of(self.start_line, 17 * i % nodes)
    end
    return sum
  end
  for i = 0, count - 1 do
    assert(self.record:execute(17 * i % nodes))
    for row in self.record:rows(true) do
      sum = sum + row.startLine
    end
  end
  return sum
end

function store:code_update(nodes, count)
  assert(self.begin:execute())
  for i = 0, count - 1 do
    assert(self.set_line:execute(17 * i % nodes, i))
  end
  assert(self.commit:execute())
end

return kind
