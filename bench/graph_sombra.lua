-- SPDX-License-Identifier: MIT
-- sombra in bench/graph.lua. Nodes are found by their property `id`.

local data = require "graph_data"
local sombra = require "sombra"

local store = {}
store.__index = store

local EDGES_AT_ONCE = 200000

local function load_nodes(tx, folder)
  local ids, names, ages, cities, scores = {}, {}, {}, {}, {}
  for id, name, age, city, score in data.nodes(folder) do
    local at = #ids + 1
    ids[at], names[at], ages[at], cities[at], scores[at] = id, name, age, city, score
  end
  local first = tx:create_many("Node", { id = ids, name = names, age = ages, city = cities, score = scores })
  tx:create_index("Node", "id", { unique = true })
  tx:create_index("Node", "name")
  local nodes = {}
  for i, id in ipairs(ids) do
    nodes[id] = first + i - 1
  end
  return nodes
end

local function load_edges(tx, folder, nodes)
  local sources, targets, since, weights = {}, {}, {}, {}
  local count = 0
  local function link()
    tx:link_many("LINKS", sources, targets, { since = since, weight = weights })
    sources, targets, since, weights, count = {}, {}, {}, {}, 0
  end
  for src, dst, year, weight in data.edges(folder) do
    count = count + 1
    sources[count], targets[count], since[count], weights[count] = nodes[src], nodes[dst], year, weight
    if count == EDGES_AT_ONCE then
      link()
    end
  end
  link()
end

-- ---- lines --------------------------------------------------------------------------------------------------------

local lines = { read = {}, write = {} }
local read, write = lines.read, lines.write

function read.lookup(tx, case)
  local name, age = tx:get(tx:find("Node", "id", case[1]), "name", "age")
  return name and age
end

read["hop1"] = function(tx, case)
  local rows = 0
  for _ in tx:out(tx:find("Node", "id", case[1])) do
    rows = rows + 1
  end
  return rows
end

read["hop1, property id"] = function(tx, case)
  local rows = 0
  for node in tx:out(tx:find("Node", "id", case[1])) do
    rows = rows + (tx:get(node, "id") and 1)
  end
  return rows
end

read["hop1, list"] = function(tx, case)
  return #tx:neighbours(tx:find("Node", "id", case[1]), "out")
end

read["hop1, list of ids"] = function(tx, case)
  return #tx:get_many(tx:neighbours(tx:find("Node", "id", case[1]), "out"), "id")
end

read["hop1, traversal"] = function(tx, case)
  return #tx:from("Node"):where({ id = case[1] }):out("LINKS"):ids()
end

local linked = sombra.prepare(function(tx, id)
  return tx:from("Node"):where({ id = id }):out("LINKS")
end)

read["hop1, prepared"] = function(tx, case)
  return #linked(tx, case[1]):ids()
end

local function hops(count)
  return function(tx, case)
    local start = tx:find("Node", "id", case[1])
    return tx:from(start):out("LINKS", { min = count, max = count }):distinct():count()
  end
end

read.hop2 = hops(2)
read.hop3 = hops(3)

function read.within3(tx, case)
  local start = tx:find("Node", "id", case[1])
  return tx:from(start):out("LINKS", { max = 3, unique = "nodes" }):count()
end

function read.sp(tx, case)
  local from, to = tx:find("Node", "id", case[1]), tx:find("Node", "id", case[2])
  local found = tx:paths(from, to, { kind = "shortest", types = { "LINKS" } }):first()
  return found and found.length or 0
end

write["insert, durable"] = function(tx, case)
  tx:create("Node", data.new_row(case[1], case[2]))
  return 1
end

write["update, durable"] = function(tx, case)
  tx:set(tx:find("Node", "id", case[1]), { age = case[2] })
  return 1
end

write["edge, durable"] = function(tx, case)
  tx:link(tx:find("Node", "id", case[1]), "LINKS", tx:find("Node", "id", case[2]), { since = case[3], weight = 1.5 })
  return 1
end

write["upsert, durable"] = function(tx, case)
  tx:upsert("Node", { id = case[1] }, { age = case[2] })
  return 1
end

-- ---- many at once -------------------------------------------------------------------------------------------------

local bulk = {}

bulk["bulk insert"] = function(tx, nodes)
  tx:create_many("Node", nodes.columns)
end

bulk["bulk insert, rows"] = function(tx, nodes)
  tx:create_many("Node", nodes.rows)
end

local code_load = {}

function code_load.code(tx, columns, edges)
  local nodes = #columns.name
  local first = tx:create_many("Node", columns)
  local sources, targets, weights, kinds = {}, {}, {}, {}
  for i = 1, edges do
    local source, target
    source, target, weights[i], kinds[i] = data.code_link(i - 1, nodes)
    sources[i], targets[i] = first + source, first + target
  end
  tx:link_many("LINKS", sources, targets, { weight = weights, kind = kinds })
end

code_load["code, singly"] = function(tx, columns, edges)
  local c, nodes, ids = columns, #columns.name, {}
  for i = 1, nodes do
    ids[i - 1] = tx:create("Node", {
      name = c.name[i], filePath = c.filePath[i], startLine = c.startLine[i], endLine = c.endLine[i],
      codeText = c.codeText[i], language = c.language[i], metadata = c.metadata[i],
    })
  end
  for i = 0, edges - 1 do
    local source, target, weight, kind = data.code_link(i, nodes)
    tx:link(ids[source], "LINKS", ids[target], { weight = weight, kind = kind })
  end
end

-- The ids of a new database begin with 1.
local code_read = {}

code_read["code, nodes"] = function(tx, nodes, count)
  local sum = 0
  for i = 0, count - 1 do
    sum = sum + tx:node(17 * i % nodes + 1).props.startLine
  end
  return sum
end

code_read["code, gets"] = function(tx, nodes, count)
  local sum = 0
  for i = 0, count - 1 do
    sum = sum + tx:get(17 * i % nodes + 1, "startLine")
  end
  return sum
end

-- ---- the store ----------------------------------------------------------------------------------------------------

-- A function of a case for each line, in a transaction of its own.
local function open(path, options)
  local self = setmetatable({ db = assert(sombra.open(path, options)), run = {} }, store)
  for mode, functions in pairs(lines) do
    for line, body in pairs(functions) do
      local case
      local function in_transaction(tx)
        return body(tx, case)
      end
      self.run[line] = function(given)
        case = given
        return self.db[mode](self.db, in_transaction)
      end
    end
  end
  return self
end

function store:close()
  self.db:close()
end
store.__close = store.close

function store:bulk(line, nodes)
  local body = bulk[line]
  self.db:write(function(tx)
    body(tx, nodes)
  end)
end

function store:code_read(line, nodes, count)
  local body = code_read[line]
  return self.db:read(function(tx)
    return body(tx, nodes, count)
  end)
end

function store:code_update(nodes, count)
  self.db:write(function(tx)
    for i = 0, count - 1 do
      tx:set(17 * i % nodes + 1, { startLine = i })
    end
  end)
end

-- The kind of the engine `name`.
return function(name)
  local kind = {
    name = "sombra", open = open, endings = { "", "-log0", "-log1", "-lock" },
    can = { ["bulk insert"] = true, ["bulk insert, rows"] = true, code = true, ["code, singly"] = true },
  }
  local new = { create = true, engine = name }

  function kind.load(path, folder)
    local self <close> = open(path, new)
    self.db:write(function(tx)
      load_edges(tx, folder, load_nodes(tx, folder))
    end)
  end

  function kind.code_load(line, path, columns, edges)
    local self = open(path, new)
    local body = code_load[line]
    self.db:write(function(tx)
      body(tx, columns, edges)
    end)
    return self
  end

  return kind
end
