-- SPDX-License-Identifier: MIT
-- The definition of traversals and patterns, by brute force over Lua tables: docs/query.md as code. Slow and plain on
-- purpose; traversal_reference_spec.lua holds the engine against it.
local reference = {}

-- A graph: nodes = { [id] = { labels = {name = true}, props } }, edges = { [id] = { src, dst, type, props } }.
-- A row: { id =, depth =, path = { node, edge, node ... } } of nodes; edges have { id =, depth =, from = node }.

local kinds = { boolean = 1, number = 2, string = 3, table = 4 }

local function less(a, b)
  local ka, kb = kinds[type(a)], kinds[type(b)]
  if ka ~= kb then return ka < kb end
  if ka == 1 then return not a and b end
  return a < b
end

local function same_kind(a, b)
  return kinds[type(a)] == kinds[type(b)]
end

local operators = {
  eq = function(have, want) return same_kind(have, want) and have == want end,
  ne = function(have, want) return not (same_kind(have, want) and have == want) end,
  lt = function(have, want) return same_kind(have, want) and less(have, want) end,
  le = function(have, want) return same_kind(have, want) and not less(want, have) end,
  gt = function(have, want) return same_kind(have, want) and less(want, have) end,
  ge = function(have, want) return same_kind(have, want) and not less(have, want) end,
  any_of = function(have, list)
    for _, want in ipairs(list) do
      if same_kind(have, want) and have == want then return true end
    end
    return false
  end,
  prefix = function(have, want) return type(have) == "string" and have:sub(1, #want) == want end,
  suffix = function(have, want) return type(have) == "string" and want == (#want > 0 and have:sub(-#want) or "") end,
  contains = function(have, want) return type(have) == "string" and have:find(want, 1, true) ~= nil end,
}

--- Does the predicate hold for an item {props, labels}?
function reference.holds(predicate, item)
  local word = predicate[1]
  if word == "and" then
    for i = 2, #predicate do
      if not reference.holds(predicate[i], item) then return false end
    end
    return true
  elseif word == "or" then
    for i = 2, #predicate do
      if reference.holds(predicate[i], item) then return true end
    end
    return false
  elseif word == "not" then
    return not reference.holds(predicate[2], item)
  elseif word == "label" then
    return item.labels ~= nil and item.labels[predicate[2]] == true
  end
  for name, condition in pairs(predicate) do
    local have = item.props[name]
    if type(condition) ~= "table" then condition = { eq = condition } end
    for operator, want in pairs(condition) do
      if operator == "exists" then
        if (have ~= nil) ~= want then return false end
      elseif have == nil or not operators[operator](have, want) then
        return false
      end
    end
  end
  return true
end

local function sorted_keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local function type_fits(types, name)
  if not types then return true end
  for _, wanted in ipairs(types) do
    if wanted == name then return true end
  end
  return false
end

--- Calls fn(edge id, other node) for each edge of a node in a direction; a loop once.
local function each_edge(graph, node, direction, options, fn)
  for id, edge in pairs(graph.edges) do
    if type_fits(options.types, edge.type) and (not options.where or reference.holds(options.where, edge)) then
      if edge.src == node and direction ~= "into" then fn(id, edge.dst) end
      if edge.dst == node and direction ~= "out" and not (direction == "both" and edge.src == edge.dst) then
        fn(id, edge.src)
      end
    end
  end
end

local function extended(path, edge, node)
  local copy = table.move(path, 1, #path, 1, {})
  copy[#copy + 1], copy[#copy + 2] = edge, node
  return copy
end

local function path_has_edge(path, edge)
  for i = 2, #path, 2 do
    if path[i] == edge then return true end
  end
  return false
end

local function expand(graph, rows, direction, options)
  local min, max, unique = options.min or 1, options.max or 1, options.unique or "none"
  local result = {}
  local function node_fits(id)
    return not options.nodes or reference.holds(options.nodes, graph.nodes[id])
  end
  for _, row in ipairs(rows) do
    if unique == "nodes" then -- breadth first
      local seen, level = { [row.id] = true }, { row }
      if min == 0 then result[#result + 1] = row end
      for depth = 1, max do
        local next_level = {}
        for _, at in ipairs(level) do
          each_edge(graph, at.id, direction, options, function(edge, node)
            if not seen[node] and node_fits(node) then
              seen[node] = true
              local reached = { id = node, depth = row.depth + depth, path = extended(at.path, edge, node) }
              next_level[#next_level + 1] = reached
              if depth >= min then result[#result + 1] = reached end
            end
          end)
        end
        if #next_level == 0 then break end
        level = next_level
      end
    else
      local function walk(at, depth)
        if depth >= min then result[#result + 1] = at end
        if depth == max then return end
        each_edge(graph, at.id, direction, options, function(edge, node)
          local walked = table.move(at.path, #row.path, #at.path, 1, {})
          if node_fits(node) and not (unique == "edges" and path_has_edge(walked, edge)) then
            walk({ id = node, depth = at.depth + 1, path = extended(at.path, edge, node) }, depth + 1)
          end
        end)
      end
      walk(row, 0)
    end
    if #result > reference.rows_max then error(reference.too_many, 0) end
  end
  return result
end

local steps = {}

local function from_ids(graph, ids)
  local rows = {}
  for _, id in ipairs(ids) do
    if graph.nodes[id] then rows[#rows + 1] = { id = id, depth = 0, path = { id } } end
  end
  return rows
end

function steps.ids(graph, _, ids) return from_ids(graph, ids), "node" end
function steps.all(graph) return from_ids(graph, sorted_keys(graph.nodes)), "node" end

function steps.label(graph, _, label)
  local rows = {}
  for _, row in ipairs(from_ids(graph, sorted_keys(graph.nodes))) do
    if graph.nodes[row.id].labels[label] then rows[#rows + 1] = row end
  end
  return rows, "node"
end

function steps.edges(graph, _, name)
  local rows = {}
  for _, id in ipairs(sorted_keys(graph.edges)) do
    if not name or graph.edges[id].type == name then rows[#rows + 1] = { id = id, depth = 0 } end
  end
  return rows, "edge"
end

function steps.edge_ids(graph, _, ids)
  local rows = {}
  for _, id in ipairs(ids) do
    if graph.edges[id] then rows[#rows + 1] = { id = id, depth = 0 } end
  end
  return rows, "edge"
end

local function hop(direction)
  return function(graph, rows, options)
    if not options.edges then return expand(graph, rows, direction, options), "node" end
    local result = {}
    for _, row in ipairs(rows) do
      each_edge(graph, row.id, direction, options, function(edge, node)
        if not options.nodes or reference.holds(options.nodes, graph.nodes[node]) then
          result[#result + 1] = { id = edge, depth = row.depth + 1, from = row.id }
        end
      end)
    end
    return result, "edge"
  end
end
steps.out, steps.into, steps.both = hop "out", hop "into", hop "both"

local function ends(choose)
  return function(graph, rows)
    local result = {}
    for i, row in ipairs(rows) do
      local node = choose(graph.edges[row.id], row)
      result[i] = { id = node, depth = row.depth, path = { node } }
    end
    return result, "node"
  end
end
steps.source = ends(function(edge) return edge.src end)
steps.target = ends(function(edge) return edge.dst end)
steps.other = ends(function(edge, row) return edge.src == row.from and edge.dst or edge.src end)

local function item_of(graph, kind, row)
  if kind == "record" then return { props = row.record } end
  return kind == "edge" and graph.edges[row.id] or graph.nodes[row.id]
end

function steps.where(graph, rows, predicate, kind)
  local result = {}
  for _, row in ipairs(rows) do
    if reference.holds(predicate, item_of(graph, kind, row)) then result[#result + 1] = row end
  end
  return result, kind
end

function steps.filter(_, rows, fn, kind)
  local result = {}
  for _, row in ipairs(rows) do
    if fn(row.id) then result[#result + 1] = row end
  end
  return result, kind
end

function steps.distinct(_, rows, _, kind)
  local result, seen = {}, {}
  for _, row in ipairs(rows) do
    if not seen[row.id] then
      seen[row.id] = true
      result[#result + 1] = row
    end
  end
  return result, kind
end

function steps.except(_, rows, ids, kind)
  local excluded, result = {}, {}
  for _, id in ipairs(ids) do excluded[id] = true end
  for _, row in ipairs(rows) do
    if not excluded[row.id] then result[#result + 1] = row end
  end
  return result, kind
end

local function key_value(graph, kind, row, name)
  if name == "#id" then return row.id end
  if name == "#depth" then return row.depth end
  return item_of(graph, kind, row).props[name]
end
reference.key_value = key_value

function steps.order(graph, rows, keys, kind)
  local indexed = {}
  for i, row in ipairs(rows) do indexed[i] = { row = row, at = i } end
  table.sort(indexed, function(a, b)
    for _, key in ipairs(keys) do
      local descending = key:sub(1, 1) == "-"
      local name = descending and key:sub(2) or key
      local x, y = key_value(graph, kind, a.row, name), key_value(graph, kind, b.row, name)
      if descending then x, y = y, x end
      if x == nil and y ~= nil then return false end -- what is missing is the greatest
      if x ~= nil and y == nil then return true end
      if x ~= nil and (less(x, y) or less(y, x)) then return less(x, y) end
    end
    return a.at < b.at
  end)
  local result = {}
  for i, item in ipairs(indexed) do result[i] = item.row end
  return result, kind
end

function steps.skip(_, rows, count, kind) return table.move(rows, count + 1, #rows, 1, {}), kind end
function steps.limit(_, rows, count, kind) return table.move(rows, 1, math.min(count, #rows), 1, {}), kind end

function steps.union(graph, rows, bodies, kind)
  local result, result_kind = {}, nil
  for _, body in ipairs(bodies) do
    local more, its_kind = reference.run(graph, body, rows, kind)
    table.move(more, 1, #more, #result + 1, result)
    result_kind = its_kind
  end
  return result, result_kind
end

function steps.optional(graph, rows, body, kind)
  local result = {}
  for _, row in ipairs(rows) do
    local more = reference.run(graph, body, { row }, kind)
    if #more == 0 then more = { row } end
    table.move(more, 1, #more, #result + 1, result)
  end
  return result, "node"
end

steps["repeat"] = function(graph, rows, given, kind)
  local body, options = given.body, given.options
  local min, max = options.min or 1, options.max or math.huge
  local emit, result = options.emit or "last", {}
  for _, row in ipairs(rows) do
    local seen = { [row.id] = true }
    local function round(at, number)
      local stops = number >= min and options["until"] and reference.holds(options["until"], graph.nodes[at.id])
      local more = {}
      if not stops and number < max then
        for _, reached in ipairs(reference.run(graph, body, { at }, kind)) do
          if options.unique ~= "nodes" or not seen[reached.id] then more[#more + 1] = reached end
        end
      end
      local is_last = stops or number >= max
      if number >= min and (emit == "all" or emit == "last" and is_last
          or type(emit) == "table" and reference.holds(emit, graph.nodes[at.id])) then
        result[#result + 1] = at
      end
      return more
    end
    local level, number = { row }, 0
    while #level > 0 do
      local next_level = {}
      for _, at in ipairs(level) do
        for _, reached in ipairs(round(at, number)) do
          if options.unique ~= "nodes" or not seen[reached.id] then
            seen[reached.id] = true
            next_level[#next_level + 1] = reached
          end
        end
      end
      level, number = next_level, number + 1
    end
  end
  return result, "node"
end

--- Raised by run for what would take too long by brute force.
reference.too_many = {}
reference.rows_max = 300

--- Rows of a list of steps {name, argument}; and their kind.
function reference.run(graph, list, rows, kind)
  for _, step in ipairs(list) do
    rows, kind = steps[step[1]](graph, rows, step[2], kind)
    if #rows > reference.rows_max then error(reference.too_many, 0) end
  end
  return rows, kind
end

--- All ways a pattern fits: nodes = { name = { label =, where = } }, edges = { { from, types or nil, to, direction, as,
--- where } }, distinct. Rows are { name = id }.
function reference.match(graph, pattern)
  local names, result = sorted_keys(pattern.nodes), {}
  local bound, used = {}, {}
  local function edges_from(index)
    if index > #pattern.edges then
      local row = {}
      for _, name in ipairs(names) do row[name] = bound[name] end
      for i, edge in ipairs(pattern.edges) do
        if edge.as then row[edge.as] = used[i] end
      end
      result[#result + 1] = row
      return
    end
    local wanted = pattern.edges[index]
    local a, b = bound[wanted[1]], bound[wanted[3]]
    for id, edge in pairs(graph.edges) do
      local there = edge.src == a and edge.dst == b
      local back = wanted.direction == "both" and edge.src == b and edge.dst == a
      local is_free = true
      for i = 1, index - 1 do
        if pattern.distinct ~= "none" and used[i] == id then is_free = false end
      end
      if is_free and (there or back) and type_fits(wanted[2], edge.type)
        and (not wanted.where or reference.holds(wanted.where, edge)) then
        used[index] = id
        edges_from(index + 1)
        used[index] = nil
      end
    end
  end
  local function nodes_from(index)
    if index > #names then return edges_from(1) end
    local wanted = pattern.nodes[names[index]]
    for id, node in pairs(graph.nodes) do
      local fits = (not wanted.label or node.labels[wanted.label])
        and (not wanted.where or reference.holds(wanted.where, node))
      for i = 1, index - 1 do
        if pattern.distinct == "nodes" and bound[names[i]] == id then fits = false end
      end
      if fits then
        bound[names[index]] = id
        nodes_from(index + 1)
        bound[names[index]] = nil
      end
    end
  end
  nodes_from(1)
  return result
end

return reference
