-- SPDX-License-Identifier: MIT
-- Plots out of the JSON files of bench/kv and bench/graph, or of the tables of docs/benchmarks.md, by gnuplot, as SVG.
--
--   sombra bench/plot.lua bars OUT.svg TITLE IN.json         for each workload how many times better ours is than each
--                                                            peer, on a logarithmic axis
--   sombra bench/plot.lua growth OUT.svg TITLE WORKLOAD,... IN.json ...   rates against the size
--   sombra bench/plot.lua page PAGE.md                       each plot that the page shows, of the table before it; the
--                                                            table is the plot's description, by which a spec finds
--                                                            those that are older than theirs

local json = require "sombra.json"

local COLORS = { "#1b6ca8", "#e07b39", "#5a9e6f", "#8d5a97", "#c44e52" }

local function read(path)
  local file <close> = assert(io.open(path))
  return assert(json.decode(file:read "a"))
end

local function gnuplot(script)
  local pipe = assert(io.popen("gnuplot", "w"))
  pipe:write(script)
  assert(pipe:close())
end

local function quote(text)
  return ("'%s'"):format(text:gsub("'", "''"))
end

local function head(out, title, width, height)
  return {
    ("set terminal svg size %d,%d font 'sans-serif,12' background '#ffffff'"):format(width, height),
    "set output " .. quote(out),
    "set title " .. quote(title) .. " noenhanced",
    "set grid y lc rgb '#dddddd'",
    "set border 3",
  }
end

-- Names in gnuplot's data blocks must not have spaces or quotes.
local function block(name, rows)
  return ("$%s << EOD\n%s\nEOD"):format(name, table.concat(rows, "\n"))
end

-- Better is above 1, whatever the unit.
local function advantage(line, store)
  local ratio = line.stores[store] and line.stores[store].ratio
  return ratio and (line.unit == "operations/s" and ratio or 1 / ratio)
end

local function bars(out, title, data)
  local rows, low, high = {}, 0.5, 2
  for _, line in ipairs(data.lines) do
    local row = { ('"%s"'):format(line.name) }
    for i = 2, #data.stores do
      local value = advantage(line, data.stores[i].name)
      row[#row + 1] = value and ("%.3f"):format(value) or "NaN"
      low, high = math.min(low, value or low), math.max(high, value or high)
    end
    rows[#rows + 1] = table.concat(row, " ")
  end
  local script = head(out, title, math.max(640, 200 + 18 * #rows * (#data.stores - 1)), 430)
  table.insert(script, block("data", rows))
  table.insert(script, "set style data histogram\nset style histogram clustered gap 1\nset style fill solid noborder")
  table.insert(script, ("set logscale y\nset yrange [%g:%g]"):format(low * 0.8, high * 1.4))
  table.insert(script, "set ylabel 'times better than the peer'\nset xtics rotate by -50 noenhanced nomirror")
  table.insert(script, "set key outside top right horizontal noenhanced")
  table.insert(script, "set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 2")
  local plots = {}
  for i = 2, #data.stores do
    plots[#plots + 1] = ("$data using %d:xtic(1) title %s lc rgb '%s'"):format(
      i, quote("against " .. data.stores[i].name), COLORS[i])
  end
  table.insert(script, "plot " .. table.concat(plots, ", "))
  gnuplot(table.concat(script, "\n") .. "\n")
end

-- `parts` are as of a JSON file each, one for each size.
local function growth(out, title, workloads, parts)
  table.sort(parts, function(a, b)
    return a.records < b.records
  end)
  local names = {}
  for name in workloads:gmatch "[^,]+" do
    names[#names + 1] = name
  end
  local across = math.min(#names, 3)
  local down = (#names + across - 1) // across
  local script = head(out, title, 360 * across, 40 + 300 * down)
  table.insert(script, "unset title\nset logscale xy\nset format y '%.0s%c'")
  table.insert(script, "set xtics format '10^{%L}'\nset key outside bottom center horizontal samplen 2 noenhanced")
  table.insert(script, ("set multiplot layout %d,%d title %s noenhanced"):format(down, across, quote(title)))
  for at, name in ipairs(names) do
    local plots = {}
    for i, store in ipairs(parts[1].stores) do
      local rows = {}
      for _, part in ipairs(parts) do
        for _, line in ipairs(part.lines) do
          if line.name == name and line.stores[store.name] then
            rows[#rows + 1] = ("%d %.6g"):format(part.records, line.stores[store.name].median)
          end
        end
      end
      if #rows > 0 then
        local id = ("d%d_%d"):format(at, i)
        table.insert(script, block(id, rows))
        plots[#plots + 1] = ("$%s with linespoints lw 2 pt 7 ps 0.6 lc rgb '%s' title %s"):format(
          id, COLORS[i], quote(store.name))
      end
    end
    table.insert(script, ("set title %s noenhanced"):format(quote(name .. ", operations/s")))
    table.insert(script, "plot " .. table.concat(plots, ", "))
  end
  table.insert(script, "unset multiplot")
  gnuplot(table.concat(script, "\n") .. "\n")
end

-- ---- tables of a page -----------------------------------------------------------------------------------------------

local function cells_of(line)
  local cells = {}
  for cell in line:match("^|(.*)|%s*$"):gmatch "[^|]*" do
    cells[#cells + 1] = cell:match "^%s*(.-)%s*$"
  end
  return cells
end

local UNITS = { k = 1e3, M = 1e6, G = 1e9 }

-- "2.25M ± 1%": 2250000; nil where no number stands.
local function number_of(cell)
  local digits, unit = cell:match "^%**([%d.]+)([kMG]?)"
  return tonumber(digits) and tonumber(digits) * (UNITS[unit] or 1)
end

-- Sizes and bytes written are better if they are less.
local function is_less_better(name, unit)
  return unit == "bytes" or name:find "^size_" ~= nil or name:find "^written_" ~= nil
end

-- Of a table "| workload | ours | peer | ratio | peer | ratio |", a column of units may be the second.
local function data_of_ratios(lines)
  local head_cells = cells_of(lines[1])
  local at = head_cells[2] == "unit" and 3 or 2
  local data = { stores = { { name = head_cells[at] } }, lines = {} }
  for i = at + 1, #head_cells, 2 do
    data.stores[#data.stores + 1] = { name = head_cells[i] }
  end
  for i = 3, #lines do
    local cells = cells_of(lines[i])
    local unit = is_less_better(cells[1], cells[2]) and "bytes" or "operations/s"
    local line = { name = cells[1], unit = unit, stores = {} }
    for peer = 2, #data.stores do
      local ratio = number_of(cells[at + 2 * (peer - 1)] or "")
      line.stores[data.stores[peer].name] = ratio and ratio > 0 and { ratio = ratio } or nil
    end
    data.lines[#data.lines + 1] = line
  end
  return data
end

-- Of a table "| workload | store | 1e5 | 1e6 | ... |": parts as of JSON files, and the workloads.
local function parts_of_growth(lines)
  local head_cells, parts, names, seen = cells_of(lines[1]), {}, {}, {}
  for i, cell in ipairs(head_cells) do
    local records = tonumber(cell:match "^1e%d$")
    if records then
      parts[#parts + 1] = { records = records, column = i, stores = {}, lines = {} }
    end
  end
  for i = 3, #lines do
    local cells = cells_of(lines[i])
    if not seen[cells[1]] then
      names[#names + 1], seen[cells[1]] = cells[1], true
    end
    for _, part in ipairs(parts) do
      part.lines[#part.lines + 1] =
        { name = cells[1], stores = { [cells[2]] = { median = number_of(cells[part.column]) } } }
      if cells[1] == names[1] then
        part.stores[#part.stores + 1] = { name = cells[2] }
      end
    end
  end
  return parts, table.concat(names, ",")
end

-- Puts the table in the place of gnuplot's own name.
local function describe(out, lines)
  local file = assert(io.open(out))
  local text = file:read "a"
  file:close()
  local table_text = table.concat(lines, "\n"):gsub("&", "&amp;"):gsub("<", "&lt;")
  file = assert(io.open(out, "w"))
  file:write((text:gsub("<desc>.-</desc>", function()
    return "<desc>\n" .. table_text .. "\n</desc>"
  end, 1)))
  assert(file:close())
end

local function page(path)
  local directory, lines, is_open = path:match "^(.*/)" or "", {}, false
  for line in io.lines(path) do
    local title, out = line:match "^!%[(.-)%]%((.-%.svg)%)$"
    if line:find "^|" then
      lines = is_open and lines or {}
      lines[#lines + 1] = line
    elseif out then
      if lines[1]:find "ratio" then
        bars(directory .. out, title, data_of_ratios(lines))
      else
        local parts, names = parts_of_growth(lines)
        growth(directory .. out, title, names, parts)
      end
      describe(directory .. out, lines)
    end
    is_open = line:find "^|" ~= nil
  end
end

if arg[1] == "bars" and arg[4] then
  bars(arg[2], arg[3], read(arg[4]))
elseif arg[1] == "growth" and arg[5] then
  local parts = {}
  for i = 5, #arg do
    parts[#parts + 1] = read(arg[i])
  end
  growth(arg[2], arg[3], arg[4], parts)
elseif arg[1] == "page" and arg[2] then
  page(arg[2])
else
  io.stderr:write("usage: plot.lua bars OUT.svg TITLE IN.json | growth OUT.svg TITLE WORKLOADS IN.json ... |",
    " page PAGE.md\n")
  os.exit(2)
end
