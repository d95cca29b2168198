-- SPDX-License-Identifier: MIT

---stats, verify, repair, backup, copy, checkpoint, compact, dump
local maintenance = {}

local output = require "sombra.cli.output"
local plain = require "sombra.plain"
local progress = require "sombra.cli.progress"
local sombra = require "sombra"
local terminal = require "sombra.terminal"
local words = require "sombra.cli.words"

local found_problems = 5

---- stats ------------------------------------------------------------------------------------------------------------

---{name, count}, ... of a loop over names and counts.
local function counts(...)
  local rows = {}
  for name, count in ... do
    rows[#rows + 1] = { name = name, count = count }
  end
  return rows
end

local function bucket_counts(tx)
  local rows = {}
  for name in tx:buckets() do
    rows[#rows + 1] = { name = name, count = tx:bucket(name):count() }
  end
  return rows
end

local function kind_of(value)
  if value == sombra.null then
    return "null"
  elseif sombra.is_list(value) then
    return "list"
  end
  return math.type(value) or (type(value) == "table" and "map") or type(value)
end

---Adds the properties of one record to sums[name][kind].
local function add_properties(sums, props)
  for name, value in pairs(props) do
    local kinds = sums[name]
    if not kinds then
      kinds = {}
      sums[name] = kinds
    end
    local kind = kind_of(value)
    kinds[kind] = (kinds[kind] or 0) + 1
  end
end

local function walk_nodes(tx)
  local sums, degree_max, degree_id = {}, 0, nil
  for id in tx:nodes() do
    add_properties(sums, tx:node(id).props)
    local degree = tx:degree(id)
    if degree > degree_max then
      degree_max, degree_id = degree, id
    end
  end
  return { properties = sums, degree_max = degree_max, degree_max_node = degree_id }
end

local function walk_edges(tx)
  local sums = {}
  for id in tx:edges() do
    add_properties(sums, tx:edge(id).props)
  end
  return { properties = sums }
end

local function walk_buckets(tx, rows)
  for _, row in ipairs(rows) do
    row.key_bytes, row.text_bytes = 0, 0
    for key, value in tx:bucket(row.name):scan() do
      row.key_bytes = row.key_bytes + (type(key) == "string" and #key or 8)
      row.text_bytes = row.text_bytes + (type(value) == "string" and #value or 0)
    end
  end
end

---Everything `sombra stats` prints, as one table.
function maintenance.collect(db, walks)
  local stats = db:stats() -- before the snapshot, which is not to be among the readers
  local tx <close> = db:snapshot()
  local result = {
    database = stats,
    labels = sombra.list(counts(tx:labels())),
    types = sombra.list(counts(tx:types())),
    buckets = sombra.list(bucket_counts(tx)),
  }
  if walks then
    result.nodes, result.edges = walk_nodes(tx), walk_edges(tx)
    walk_buckets(tx, result.buckets)
  end
  return result
end

local database_fields = {
  "path", "engine", "nodes", "edges", "entries", "page_size", "pages", "pages_free", "pages_pending", "pages_read",
  "depth", "file_bytes", "log_bytes", "txn", "lsn", "durable_lsn", "readers",
}
local level_fields = {
  "path", "engine", "nodes", "edges", "entries", "depth", "file_bytes", "log_bytes", "memtable_bytes", "cache_bytes",
  "compaction_debt", "space_amplification", "write_amplification", "filters_false_positives", "stalls",
  "txn", "lsn", "durable_lsn", "readers",
}

---What was written to logs and tables for one byte that writers gave; with the log, which its own sync needs.
local function write_amplification(totals)
  local written = totals.log_bytes + totals.flush_bytes + totals.compaction_bytes
  return totals.commit_bytes > 0 and ("%.2f"):format(written / totals.commit_bytes) or "-"
end

local function false_positive_rate(totals)
  local asked = totals.filter_skips + totals.filter_false_positives
  return asked > 0 and ("%.2f %% of %d lookups"):format(100 * totals.filter_false_positives / asked, asked) or "-"
end

---Bytes of all tables for one of the last level, which is about what a compaction would leave.
local function space_amplification(stats)
  local last = 0
  for _, level in ipairs(stats.levels) do
    last = level.bytes > 0 and level.bytes or last
  end
  return last > 0 and ("%.2f"):format(stats.file_bytes / last) or "-"
end

local function print_section(title, rows)
  if #rows > 0 then
    output.write("\n", title, "\n")
    output.pairs(rows)
  end
end

local function property_rows(sums)
  local rows = {}
  for _, name in ipairs(output.sorted_keys(sums)) do
    local kinds = {}
    for _, kind in ipairs(output.sorted_keys(sums[name])) do
      kinds[#kinds + 1] = ("%s %d"):format(kind, sums[name][kind])
    end
    rows[#rows + 1] = { "  " .. output.escape(name), table.concat(kinds, ", ") }
  end
  return rows
end

local function count_rows(list)
  local rows = {}
  for index, row in ipairs(list) do
    local text = tostring(row.count)
    if row.key_bytes then
      text = ("%s, %d bytes of keys, %d of text"):format(text, row.key_bytes, row.text_bytes)
    end
    rows[index] = { "  " .. output.escape(row.name), text }
  end
  return rows
end

local function level_rows(levels)
  local rows = {}
  for index, level in ipairs(levels) do
    if level.tables > 0 then
      local text = ("%d bytes in %d tables of %d runs, %d entries, %d of them deletes"):format(
        level.bytes, level.tables, level.runs, level.entries, level.deletes)
      rows[#rows + 1] = { ("  %d"):format(index - 1), text }
    end
  end
  return rows
end

local function print_stats(result)
  local rows, stats = {}, result.database
  local shown = setmetatable({ compaction_debt = stats.compaction_debt_bytes }, { __index = stats })
  if stats.levels then
    shown.space_amplification = space_amplification(stats)
    shown.write_amplification = write_amplification(stats.totals)
    shown.filters_false_positives = false_positive_rate(stats.totals)
    shown.stalls = ("%d, %.3f s"):format(stats.totals.stalls, stats.totals.stall_seconds)
  end
  for _, name in ipairs(stats.levels and level_fields or database_fields) do
    rows[#rows + 1] = { (name:gsub("_", " ")), shown[name] }
  end
  if result.nodes and result.nodes.degree_max_node then
    local nodes = result.nodes
    rows[#rows + 1] = { "largest degree", ("%d, node %d"):format(nodes.degree_max, nodes.degree_max_node) }
  end
  output.pairs(rows)
  print_section("levels", level_rows(result.database.levels or {}))
  print_section("nodes with label", count_rows(result.labels))
  print_section("edges of type", count_rows(result.types))
  print_section("entries in bucket", count_rows(result.buckets))
  if result.nodes then
    print_section("properties of nodes", property_rows(result.nodes.properties))
    print_section("properties of edges", property_rows(result.edges.properties))
  end
end

function maintenance.stats(arguments, options)
  local db <close> = output.open(arguments.db, { readonly = true })
  local result = maintenance.collect(db, options.walk)
  if options.json then
    output.json(result)
  else
    print_stats(result)
  end
end

---- verify and repair ------------------------------------------------------------------------------------------------

local function print_problems(problems, total)
  for _, problem in ipairs(problems) do
    local place = problem.page and (" page %d:"):format(problem.page) or ""
    output.write(problem.code, ":", place, " ", problem.message, "\n")
  end
  if total > #problems then
    output.write(("%d more are not shown; see --limit\n"):format(total - #problems))
  end
end

function maintenance.verify(arguments, options)
  local db <close> = options.readonly and output.open(arguments.db, { readonly = true })
    or output.open_permitted(arguments.db)
  local problems, total = db:verify { limit = options.limit }
  if options.json then
    output.json { path = arguments.db, problems = sombra.list(problems), total = total }
  else
    print_problems(problems, total)
    output.write(("%s: %s\n"):format(arguments.db, total == 0 and "sound"
      or total == 1 and "1 problem" or ("%d problems"):format(total)))
  end
  return total == 0 and 0 or found_problems
end

local repair_rows = {
  { "entries", "entries saved" },
  { "entries_unreached", "of these, in pages nothing led to" },
  { "entries_uncertain", "of these, possibly old or deleted" },
  { "entries_lost", "entries lost" },
  { "values_lost", "of these, with only the value lost" },
  { "ranges_lost", "ranges of keys with losses" },
  { "transactions_replayed", "transactions taken from the log" },
  { "pages", "pages read" },
  { "pages_damaged", "pages damaged" },
  { "damage", "damage found" },
  { "entries_rebuilt", "entries put again from others" },
  { "entries_dropped", "entries dropped with what they belong to" },
  { "edges_bare", "edges kept without their properties" },
  { "names_made", "names made in place of lost ones" },
  { "indexes_rebuilt", "indexes and constraints rebuilt" },
  { "indexes_dropped", "indexes and constraints dropped" },
  { "damage_mended", "losses that were mended" },
  { "damage_left", "problems in the new database" },
}

local function print_report(report, path)
  print_problems(report.problems, report.damage + report.damage_mended + report.damage_left)
  local rows = {}
  for index, row in ipairs(repair_rows) do
    rows[index] = { row[2], report[row[1]] }
  end
  output.pairs(rows)
  if not report.lost_exact then
    output.write("More entries may be lost than are known to be.\n")
  end
  if report.log_incomplete then
    output.write("The log is not whole: the newest transactions are lost.\n")
  end
  output.write(("What was saved is in %s.\n"):format(path))
end

---A callback for the jobs of the library, which count what is done of a total.
local function job_progress(bar)
  return function(done, total)
    bar.done = done
    bar:update(done, total > 0 and done / total or 0)
  end
end

function maintenance.repair(arguments, options)
  local bar <close> = progress.new("repair", "pages")
  local report = output.check(sombra.repair(arguments.db, arguments.new, {
    limit = options.limit,
    progress = job_progress(bar),
  }))
  bar:finish(report.pages, true)
  if options.json then
    report.problems = sombra.list(report.problems)
    output.json(report)
  else
    print_report(report, arguments.new)
  end
  local is_whole = report.entries_lost == 0 and report.lost_exact and not report.log_incomplete
  return is_whole and report.damage + report.damage_mended + report.damage_left == 0 and 0 or found_problems
end

---- backup, copy, checkpoint, compact --------------------------------------------------------------------------------

---Of the closed database at a path: the file, or all tables in the directory.
local function file_bytes(path)
  local db <close> = output.open(path, { readonly = true })
  return db:stats().file_bytes
end

function maintenance.backup(arguments, options)
  -- Read-only, a file that was not closed is refused, for its log has to be applied. A directory's is read with it, and
  -- another process may be writing there.
  local db <close> = terminal.place(arguments.db) == "directory" and output.open(arguments.db, { readonly = true })
    or output.open_permitted(arguments.db)
  local bar <close> = progress.new("backup", "entries")
  output.check(db:backup(arguments.new, { progress = job_progress(bar) }))
  bar:finish(bar.done or 0, true)
  if options.json then
    output.json { path = arguments.new, bytes = file_bytes(arguments.new), from_bytes = db:stats().file_bytes }
  end
  output.close(db)
end

function maintenance.copy(arguments, options)
  local bar <close> = progress.new("copy", "entries")
  local entries = output.check(sombra.copy(arguments.db, arguments.new, {
    engine = options.engine,
    page_size = options.page_size,
    codec = options.codec,
  }, { progress = job_progress(bar) }))
  bar:finish(entries, true)
  if options.json then
    output.json { path = arguments.new, entries = entries, bytes = file_bytes(arguments.new) }
  end
end

function maintenance.checkpoint(arguments, options)
  local db <close> = output.open(arguments.db)
  db:checkpoint()
  if options.json then
    local stats = db:stats()
    output.json { path = arguments.db, txn = stats.txn, durable_lsn = stats.durable_lsn }
  end
  output.close(db)
end

function maintenance.compact(arguments, options)
  local db <close> = output.open(arguments.db)
  local before = db:stats().file_bytes
  local bar <close> = progress.new("compact", "pages")
  output.check(db:compact { progress = job_progress(bar) })
  bar:finish(bar.done or 0, true)
  output.close(db)
  local after = file_bytes(arguments.db)
  if options.json then
    output.json { path = arguments.db, bytes_before = before, bytes_after = after }
  else
    output.write(("%s: %d bytes, %d before\n"):format(arguments.db, after, before))
  end
end

---- dump -------------------------------------------------------------------------------------------------------------

---Fields that are text, whatever they look like.
local text_fields = { uuid = true, log_link = true, key = true, value = true, separator = true, kind = true }
local words_of = { ["true"] = true, ["false"] = false }

---"page number=12 kind=leaf" as a table.
local function parse_line(line)
  local object = { line = line:match("^%S+") }
  local fields, problem = line:match("^(.-) problem=(.*)$")
  object.problem = problem
  for name, value in (fields or line):gmatch("([%w_]+)=(%S*)") do
    if words_of[value] ~= nil then
      object[name] = words_of[value]
    else
      object[name] = not text_fields[name] and math.tointeger(value) or value
    end
  end
  return object
end

function maintenance.dump(arguments, options)
  local page
  if arguments.what == "page" then
    page = math.tointeger(arguments.n)
    if not page or page < 0 then
      words.usage("page needs a number: sombra dump DB page N")
    end
  elseif arguments.n then
    words.usage("'%s' is one word too many: only page has a number", arguments.n)
  end
  output.check(sombra.dump(arguments.db, arguments.what, function(line)
    if options.json then
      output.write(plain.encode(parse_line(line)), "\n")
    else
      output.write(line, "\n")
    end
  end, page))
end

return maintenance
