-- SPDX-License-Identifier: MIT
-- What the stores of bench/graph.lua are loaded from and asked for: the files of bench/graph, and the rows it makes.
-- The texts and numbers are those of bench/graph_data.c.

local data = {}

-- id, name, age, city, score of each node in turn.
function data.nodes(folder)
  local next_line = io.lines(folder .. "/nodes.csv")
  next_line() -- the head
  return function()
    local line = next_line()
    if line then
      local id, name, age, city, score = line:match "(%d+),([^,]*),(%d+),([^,]*),(.*)"
      return math.tointeger(id), name, math.tointeger(age), city, tonumber(score)
    end
  end
end

-- src, dst, since, weight of each edge in turn.
function data.edges(folder)
  local next_line = io.lines(folder .. "/edges.csv")
  next_line()
  return function()
    local line = next_line()
    if line then
      local src, dst, since, weight = line:match "(%d+),(%d+),(%d+),(.*)"
      return math.tointeger(src), math.tointeger(dst), math.tointeger(since), tonumber(weight)
    end
  end
end

-- The first `count` cases of a line: lists of integers.
function data.cases(folder, name, count)
  local rows = {}
  for line in io.lines(("%s/w_%s.txt"):format(folder, name)) do
    local row = {}
    for number in line:gmatch "%d+" do
      row[#row + 1] = math.tointeger(number)
    end
    rows[#rows + 1] = row
    if #rows == count then
      break
    end
  end
  return rows
end

-- Half of the nodes are there, half are new.
function data.upsert_cases(updates, inserts)
  local list = {}
  for i, case in ipairs(updates) do
    list[i] = { i % 2 == 0 and inserts[i][1] + 5000 or case[1], case[2] }
  end
  return list
end

-- The node that insert and bulk make for an id.
function data.new_row(id, age)
  return { id = id, name = ("user%07d"):format(id), age = age, city = "city00", score = id % 100 / 4 }
end

-- The nodes that bulk makes: a list for each property, and the same as a table for each node.
function data.new_nodes(first, count)
  local columns, rows = { id = {}, name = {}, age = {}, city = {}, score = {} }, {}
  for i = 1, count do
    rows[i] = data.new_row(first + i, 18 + i % 63)
    for name, values in pairs(columns) do
      values[i] = rows[i][name]
    end
  end
  return { columns = columns, rows = rows }
end

local code_text = ("local value = compute(1, 2)\n"):rep(15)

-- The records of the published workload: a list for each property.
function data.code_columns(count)
  local names, paths, starts, ends, texts, languages, metadata = {}, {}, {}, {}, {}, {}, {}
  for i = 0, count - 1 do
    local at = i + 1
    names[at], paths[at] = "function_" .. i, ("src/module_%d/file_%d.lua"):format(i % 97, i % 1009)
    starts[at], ends[at] = i % 5000, i % 5000 + 20
    texts[at], languages[at], metadata[at] = code_text, "lua", ('{"complexity":%d}'):format(i % 23)
  end
  return {
    name = names, filePath = paths, startLine = starts, endLine = ends, codeText = texts, language = languages,
    metadata = metadata,
  }
end

-- source, target (from 0 on), weight, kind of its edge `i`.
function data.code_link(i, nodes)
  return i % nodes, (13 * i + 7) % nodes, i % 10 / 10, "calls"
end

return data
