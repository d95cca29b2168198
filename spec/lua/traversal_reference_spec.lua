-- SPDX-License-Identifier: MIT
-- luacheck: no max line length
-- Random traversals and patterns over small random graphs: the engine agrees with the definition in reference.lua.
-- SOMBRA_SEED repeats a run; SOMBRA_LONG=1 takes ten times as many cases.
local sombra = require "sombra"
local helper = require "spec.helper"
local reference = require "spec.lua.reference"

local CASES = helper.share(os.getenv("SOMBRA_LONG") and 220000 or 22000)
local GRAPHS = helper.share(os.getenv("SOMBRA_LONG") and 400 or 80)

local random = math.random
local function one_of(list) return list[random(#list)] end
local function chance(percent) return random(100) <= percent end

local LABELS, TYPES, NAMES = { "A", "B", "C" }, { "S", "T", "U" }, { "x", "y", "s" }

local function random_value(name)
  if name == "s" then return one_of { "", "a", "ab", "abc", "b", "ba" } end
  if chance(5) then return chance(50) end
  if chance(30) then return random(0, 4) + 0.5 end
  return chance(50) and random(0, 4) or random(0, 4) + 0.0
end

local function random_props()
  local props = {}
  for _, name in ipairs(NAMES) do
    if chance(70) then props[name] = random_value(name) end
  end
  return props
end

local function random_graph(db)
  local graph = { nodes = {}, edges = {}, node_ids = {}, edge_ids = {} }
  db:write(function(tx)
    for id in tx:nodes() do tx:delete(id, { detach = true }) end
    for _ = 1, random(1, 9) do
      local labels, list = {}, {}
      for _, label in ipairs(LABELS) do
        if chance(45) then
          labels[label] = true
          list[#list + 1] = label
        end
      end
      local props = random_props()
      local id = tx:create(list, props)
      graph.nodes[id] = { labels = labels, props = props }
      graph.node_ids[#graph.node_ids + 1] = id
    end
    for _ = 1, random(0, 16) do
      local src, dst, name, props = one_of(graph.node_ids), one_of(graph.node_ids), one_of(TYPES), random_props()
      local id = tx:link(src, name, dst, props)
      graph.edges[id] = { src = src, dst = dst, type = name, props = props }
      graph.edge_ids[#graph.edge_ids + 1] = id
    end
  end)
  return graph
end

local function random_condition(name)
  local function value() return random_value(name) end
  local kind = random(10)
  if kind == 1 then return value() end
  if kind == 2 then return { any_of = { value(), value() } } end
  if kind == 3 then return { exists = chance(50) } end
  if kind == 4 then return { ge = value(), lt = value() } end
  if kind == 5 and name == "s" then return { [one_of { "prefix", "suffix", "contains" }] = one_of { "", "a", "b", "bc" } } end
  return { [one_of { "eq", "ne", "lt", "le", "gt", "ge" }] = value() }
end

local function random_predicate(depth, is_node)
  local kind = depth > 0 and random(10) or 10
  if kind == 1 then return { "and", random_predicate(depth - 1, is_node), random_predicate(depth - 1, is_node) } end
  if kind == 2 then return { "or", random_predicate(depth - 1, is_node), random_predicate(depth - 1, is_node) } end
  if kind == 3 then return { "not", random_predicate(depth - 1, is_node) } end
  if kind == 4 and is_node then return { "label", one_of(LABELS) } end
  local map = {}
  for _ = 1, random(2) do
    local name = one_of(NAMES)
    map[name] = random_condition(name)
  end
  return map
end

local function random_types()
  if chance(40) then return nil end
  local types = {}
  for i = 1, random(2) do types[i] = one_of(TYPES) end
  if chance(5) then types[#types + 1] = "NONE" end
  return types
end

local function copy(options)
  local result = {}
  for name, value in pairs(options) do result[name] = value end
  return result
end

-- A builder of random traversals: `steps` for the reference, `traversal` for the engine, in step with each other.
local Case = {}
Case.__index = Case

function Case:add(method, step, ...)
  self.steps[#self.steps + 1] = step
  self.traversal = self.traversal[method](self.traversal, ...)
  self.text[#self.text + 1] = method
end

function Case:hop()
  local method = one_of { "out", "into", "both" }
  local types, options = random_types(), {}
  if chance(30) then options.where = random_predicate(1, false) end
  if chance(30) then options.nodes = random_predicate(1, true) end
  if chance(40) then
    options.max = random(1, 3)
    options.min = random(0, options.max)
    options.unique = one_of { "none", "edges", "nodes" }
  end
  local given = copy(options)
  options.types = types
  self:add(method, { method, options }, types, given)
  if options.max and options.max > 1 or options.min == 0 then self.mixed = true end
end

function Case:hop_edges()
  local direction = one_of { "out", "into", "both" }
  local types, options = random_types(), {}
  if chance(30) then options.where = random_predicate(1, false) end
  local given = copy(options)
  options.types, options.edges = types, true
  self:add(direction .. "_edges", { direction, options }, types, given)
  self.kind, self.walked = "edge", true
end

function Case:body(hops)
  local steps
  local function build(t)
    local inner = setmetatable({ steps = {}, traversal = t, kind = "node", text = self.text, graph = self.graph }, Case)
    for _ = 1, hops do inner:node_step(true) end
    steps = inner.steps
    if inner.mixed then self.mixed = true end
    return inner.traversal
  end
  return build, function() return steps end
end

function Case:node_step(is_inner)
  local kind = random(is_inner and 8 or 14)
  if kind <= 4 then return self:hop() end
  if kind == 5 then
    local predicate = random_predicate(2, true)
    return self:add("where", { "where", predicate }, predicate)
  end
  if kind == 6 then
    local ids = { one_of(self.graph.node_ids), one_of(self.graph.node_ids) }
    return self:add("except", { "except", ids }, ids)
  end
  if kind == 7 then
    local fn = function(id) return id % 3 ~= 0 end
    return self:add("filter", { "filter", fn }, fn)
  end
  if kind == 8 then
    if is_inner then return self:hop() end
    self:add("distinct", { "distinct" })
    if self.mixed then self.depth_unknown = true end
    return
  end
  if kind == 9 then return self:hop_edges() end
  if kind == 10 then
    local build, steps = self:body(random(2))
    local before = #self.steps
    self.traversal = self.traversal:optional(build)
    self.steps[before + 1] = { "optional", steps() }
    self.text[#self.text + 1], self.mixed = "optional", true
    return
  end
  if kind == 11 then
    local builds, list = {}, {}
    for i = 1, random(2) do
      local build, steps = self:body(1)
      builds[i] = function(t)
        local result = build(t)
        list[i] = steps()
        return result
      end
    end
    self.traversal = self.traversal:union(table.unpack(builds))
    self.steps[#self.steps + 1] = { "union", list }
    self.text[#self.text + 1], self.mixed = "union", true
    return
  end
  if kind == 12 then
    local options = { max = random(1, 3), min = chance(50) and random(0, 1) or nil }
    if options.min and options.min > options.max then options.min = nil end
    if chance(40) then options["until"] = random_predicate(1, true) end
    local choice = random(4)
    if choice == 1 then options.emit = "all" end
    if choice == 2 then options.emit = random_predicate(1, true) end
    if chance(30) then options.unique = "nodes" end
    local steps
    self.traversal = self.traversal:repeating(function(t)
      local types = random_types()
      steps = { { "out", { types = types } } }
      return t:out(types)
    end, options)
    self.steps[#self.steps + 1] = { "repeat", { body = steps, options = options } }
    self.text[#self.text + 1], self.mixed = "repeating", true
    return
  end
  return self:order()
end

function Case:order()
  local keys = {}
  for i = 1, random(0, 2) do keys[i] = (chance(50) and "-" or "") .. one_of(NAMES) end
  keys[#keys + 1] = chance(50) and "#id" or "-#id"
  if not self.depth_unknown then keys[#keys + 1] = "#depth" end
  self:add("order", { "order", keys }, table.unpack(keys))
  if chance(50) then
    local count = random(0, 5)
    self:add("limit", { "limit", count }, count)
  end
  if chance(30) then
    local count = random(0, 3)
    self:add("skip", { "skip", count }, count)
  end
  self.ordered = true
end

function Case:edge_step()
  local kind = random(8)
  if kind <= 2 then
    local predicate = random_predicate(2, false)
    return self:add("where", { "where", predicate }, predicate)
  end
  if kind == 3 then
    if self.mixed then self.depth_unknown = true end
    return self:add("distinct", { "distinct" })
  end
  if kind == 4 then return self:order() end
  local method = one_of { "source", "target", self.walked and "other" or "source" }
  -- after a distinct the end that an edge was walked from is that of its first row, which is not defined
  if method == "other" then
    for _, step in ipairs(self.steps) do
      if step[1] == "distinct" then method = "target" end
    end
  end
  self:add(method, { method })
  self.kind = "node"
end

local function random_case(tx, graph)
  local case = setmetatable({ steps = {}, kind = "node", text = {}, graph = graph }, Case)
  local kind = random(10)
  if kind <= 4 then
    local ids = {}
    for i = 1, random(3) do ids[i] = chance(95) and one_of(graph.node_ids) or 999999 end
    case.traversal, case.steps[1] = tx:from(ids), { "ids", ids }
  elseif kind <= 6 then
    local label = one_of(LABELS)
    case.traversal, case.steps[1] = tx:from(label), { "label", label }
  elseif kind <= 8 then
    case.traversal, case.steps[1] = tx:from(), { "all" }
  else
    local name = chance(60) and one_of(TYPES) or nil
    case.traversal, case.steps[1], case.kind = tx:from_edges(name), { "edges", name }, "edge"
  end
  for _ = 1, random(0, 4) do
    case.ordered = false
    if case.kind == "edge" then case:edge_step() else case:node_step() end
  end
  return case
end

local function key_of(row, with_depth)
  return with_depth and row.id .. "@" .. row.depth or tostring(row.id)
end

local function keys_of(rows, with_depth, ordered)
  local keys = {}
  for i, row in ipairs(rows) do keys[i] = key_of(row, with_depth) end
  if not ordered then table.sort(keys) end
  return table.concat(keys, " ")
end

local function text_of(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = (type(key) == "number" and "" or tostring(key) .. "=") .. text_of(item)
  end
  return "{" .. table.concat(parts, " ") .. "}"
end

local function describe_case(case, number)
  return ("case %d (SOMBRA_SEED=%d): %s"):format(number, helper.seed, text_of(case.steps))
end

-- As the rows came: what else than their order is defined was compared.
local function check_values(graph, case, number, expected)
  local name, rows = one_of(NAMES), case.traversal:ids()
  local values = case.traversal:values(name)
  assert.equal(#expected, #values, "values of " .. describe_case(case, number))
  for i, id in ipairs(rows) do
    local want = (case.kind == "edge" and graph.edges[id] or graph.nodes[id]).props[name]
    if want == nil then want = sombra.null end
    if values[i] ~= want then
      assert.equal(want, values[i], ("value %d, %s, of %s"):format(i, name, describe_case(case, number)))
    end
  end
end

local function check_case(graph, case, number)
  local ok, expected = pcall(reference.run, graph, case.steps, nil, nil)
  if not ok then
    if expected == reference.too_many then return false end
    error(expected, 0)
  end
  local with_depth = not case.depth_unknown
  local found = {}
  for id, depth in case.traversal:each() do found[#found + 1] = { id = id, depth = depth } end
  local want, have = keys_of(expected, with_depth, case.ordered), keys_of(found, with_depth, case.ordered)
  if want ~= have then assert.equal(want, have, describe_case(case, number)) end
  if case.traversal:count() ~= #expected then
    assert.equal(#expected, case.traversal:count(), "count of " .. describe_case(case, number))
  end
  if case.traversal:exists() ~= (#expected > 0) then
    assert.equal(#expected > 0, case.traversal:exists(), "exists of " .. describe_case(case, number))
  end
  if number % 4 == 0 then check_values(graph, case, number, expected) end
  return true
end

local function random_pattern()
  local pattern = { nodes = {}, edges = {}, distinct = chance(60) and "edges" or one_of { "nodes", "none" } }
  local names = { "a", "b", "c", "d" }
  local count = random(1, 3)
  for i = 1, count do
    pattern.nodes[names[i]] = { label = chance(40) and one_of(LABELS) or nil,
      where = chance(30) and random_predicate(1, true) or nil }
  end
  for i = 1, random(0, 3) do
    pattern.edges[i] = { names[random(count)], chance(60) and { one_of(TYPES) } or nil, names[random(count)],
      direction = chance(25) and "both" or "out", as = chance(50) and "e" .. i or nil }
    if pattern.edges[i].as and chance(30) then pattern.edges[i].where = random_predicate(1, false) end
  end
  return pattern
end

-- The same pattern as tx:match takes it.
local function pattern_lines(pattern)
  local lines, where = { distinct = pattern.distinct }, {}
  for name, node in pairs(pattern.nodes) do
    lines[#lines + 1] = ("(%s%s)"):format(name, node.label and ":" .. node.label or "")
    where[name] = node.where
  end
  for _, edge in ipairs(pattern.edges) do
    local inside = (edge.as or "") .. (edge[2] and ":" .. edge[2][1] or "")
    local turned = edge.direction == "out" and chance(40)
    local from, to = turned and edge[3] or edge[1], turned and edge[1] or edge[3]
    lines[#lines + 1] = ("(%s)%s-[%s]-%s(%s)"):format(from, turned and "<" or "", inside,
      edge.direction == "out" and not turned and ">" or "", to)
    if edge.as then where[edge.as] = edge.where end
  end
  lines.where = where
  return lines
end

local function records_text(rows)
  local list = {}
  for i, row in ipairs(rows) do
    local parts = {}
    for name, id in pairs(row) do parts[#parts + 1] = name .. "=" .. id end
    table.sort(parts)
    list[i] = table.concat(parts, ",")
  end
  table.sort(list)
  return table.concat(list, " ")
end

describe("traversals, held against their definition", function()
  local db

  before_each(function()
    math.randomseed(helper.seed)
    db = helper.memory()
  end)
  after_each(function() db:close() end)

  local function indexed(yes)
    if not yes then return end
    db:write(function(tx)
      tx:create_index("A", { "x" })
      tx:create_index("B", { "s", "y" })
      tx:create_index("T", { "x" }, { edge = true })
    end)
  end

  for _, with_index in ipairs { false, true } do
    it(("give the same rows, %s indexes (seed %d)"):format(with_index and "with" or "without", helper.seed), function()
      indexed(with_index)
      local number = 0
      for _ = 1, GRAPHS / 2 do
        local graph = random_graph(db)
        db:read(function(tx)
          local left = CASES / GRAPHS
          while left > 0 do
            number = number + 1
            if check_case(graph, random_case(tx, graph), number) then left = left - 1 end
          end
        end)
      end
    end)

    it(("match the same patterns, %s indexes (seed %d)"):format(with_index and "with" or "without", helper.seed), function()
      indexed(with_index)
      for _ = 1, GRAPHS / 2 do
        local graph = random_graph(db)
        db:read(function(tx)
          for _ = 1, 25 do
            local pattern = random_pattern()
            local lines = pattern_lines(pattern)
            local want, have = records_text(reference.match(graph, pattern)), records_text(tx:match(lines):list())
            if want ~= have then
              assert.equal(want, have, ("SOMBRA_SEED=%d: %s"):format(helper.seed, table.concat(lines, ", ")))
            end
          end
        end)
      end
    end)
  end
end)
