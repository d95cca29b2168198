-- SPDX-License-Identifier: MIT
-- Plots out of the JSON files of bench/kv and bench/graph, by gnuplot, as SVG.
--
--   sombra bench/plot.lua bars OUT.svg TITLE IN.json         for each workload how many times better ours is than each
--                                                            peer, on a logarithmic axis
--   sombra bench/plot.lua growth OUT.svg TITLE WORKLOAD,... IN.json ...   rates against the size

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

local function bars(out, title, path)
  local data = read(path)
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

local function growth(out, title, workloads, paths)
  local parts = {}
  for i, path in ipairs(paths) do
    parts[i] = read(path)
  end
  table.sort(parts, function(a, b)
    return a.records < b.records
  end)
  local names = {}
  for name in workloads:gmatch "[^,]+" do
    names[#names + 1] = name
  end
  local script = head(out, title, 320 * #names, 340)
  table.insert(script, "unset title\nset logscale xy\nset format y '%.0s%c'")
  table.insert(script, "set xtics format '10^{%L}'\nset key bottom left noenhanced")
  table.insert(script, ("set multiplot layout 1,%d title %s noenhanced"):format(#names, quote(title)))
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

if arg[1] == "bars" and arg[4] then
  bars(arg[2], arg[3], arg[4])
elseif arg[1] == "growth" and arg[5] then
  growth(arg[2], arg[3], arg[4], { table.unpack(arg, 5) })
else
  io.stderr:write "usage: plot.lua bars OUT.svg TITLE IN.json | growth OUT.svg TITLE WORKLOAD,... IN.json ...\n"
  os.exit(2)
end
