-- SPDX-License-Identifier: MIT

---import and export
local transfer = {}

local export = require "sombra.export"
local import = require "sombra.import"
local output = require "sombra.cli.output"
local progress = require "sombra.cli.progress"
local terminal = require "sombra.terminal"
local words = require "sombra.cli.words"

---What is there seldom is named only when it is.
local function rest_of(report)
  return (report.procedures > 0 and (", %d procedures"):format(report.procedures) or "")
    .. (report.rules > 0 and (", %d rules"):format(report.rules) or "")
    .. (report.migrations > 0 and (", %d migrations"):format(report.migrations) or "")
end

---- import -----------------------------------------------------------------------------------------------------------

---"name:int,born:int" as a table.
local function parse_types(text)
  local types = {}
  for part in (text .. ","):gmatch("(.-),") do
    local name, type_name = part:match("^(.+):([^:]+)$")
    if not name then
      words.usage("--types is a list such as born:int,score:float; '%s' is none of its parts", part)
    end
    types[name] = type_name
  end
  return types
end

local function print_reject(file, line, reason)
  io.stderr:write(file, line and ":" .. line or "", ": ", reason, "\n")
end

local function parse_separator(text)
  local separator = text == "\\t" and "\t" or text
  if separator and (#separator ~= 1 or separator:find('["\r\n]')) then
    words.usage("--separator is one byte, and neither a quote nor a line end, not '%s'", text)
  end
  return separator
end

function transfer.import(arguments, options)
  local types, separator = options.types and parse_types(options.types), parse_separator(options.separator)
  for _, path in ipairs(arguments.file) do
    if options.create and path ~= "-" and not terminal.place(path) then -- no database is made for it
      output.fail("cannot open %s: No such file or directory", path)
    end
  end
  local db <close> = output.open(arguments.db, { create = options.create })
  local bar <close> = progress.new("import", "records")
  local report = import.run(db, arguments.file, {
    format = options.format,
    label = options.label,
    type = options.type,
    id = options.id,
    from = options.from,
    to = options.to,
    types = types,
    separator = separator,
    batch = options.batch,
    rejects = options.rejects,
    on_reject = print_reject,
    progress = function(records, bytes, total)
      bar:update(records, total and total > 0 and bytes / total or nil)
    end,
  })
  bar:finish(report.nodes + report.edges + report.entries, true)
  output.close(db)
  if options.json then
    output.json(report)
  else
    output.write(("%d nodes, %d edges, %d entries%s imported"):format(report.nodes, report.edges, report.entries,
      rest_of(report)))
    output.write(report.rejected > 0 and (", %d records rejected\n"):format(report.rejected) or "\n")
  end
end

---- export -----------------------------------------------------------------------------------------------------------

---What is neither file nor directory, a device or a pipe, is written to: nothing may take its place. Behind a symbolic
---link it is the file there that is replaced, and not the link.
local function open_file(path)
  local kind, _, real = terminal.place(path)
  if kind == "directory" then
    output.fail("cannot write %s: it is a directory", path)
  end
  local target = kind == "file" and real or path
  local part = kind ~= "other" and target .. ".part" or nil
  local file, message = io.open(part or path, "wb")
  if not file then
    output.fail("cannot write %s", message)
  end
  return { file = file, part = part, path = target }
end

local function remove_part(entry)
  if entry.part then
    os.remove(entry.part)
  end
end

---Files that have their names when they are whole: a failure leaves none of them, and what was there before stays.
local function open_files(paths)
  local files = {}
  local guard = setmetatable({ files = files }, {
    __close = function()
      for _, entry in ipairs(files) do
        if entry.file then
          entry.file:close()
          remove_part(entry)
        end
      end
    end,
  })
  for index, path in ipairs(paths) do
    files[index] = open_file(path)
  end
  return guard
end

local function finish_files(files)
  for _, entry in ipairs(files) do
    local done, message = entry.file:close()
    entry.file = nil
    if done and entry.part then
      done, message = os.rename(entry.part, entry.path)
    end
    if not done then
      remove_part(entry)
      output.fail("cannot write %s: %s", entry.path, message)
    end
  end
end

---"air.csv" as "air-nodes.csv" and "air-edges.csv".
local function pair_of(path)
  local stem, ending = path:match("^(.*)(%.%w+)$")
  stem, ending = stem or path, ending or ""
  return { stem .. "-nodes" .. ending, stem .. "-edges" .. ending }
end

---A slip of the hand must not cost the database.
local function check_other_than(database, paths)
  local _, identity = terminal.place(database)
  for _, path in ipairs(paths) do
    if identity and select(2, terminal.place(path)) == identity then
      words.usage("FILE is the database itself: %s", path)
    end
  end
end

function transfer.export(arguments, options)
  local path = arguments.file or "-"
  if path == "-" and not options.format then
    words.usage("the standard output has no name that tells a format: give --format csv, jsonl or graphml")
  end
  local _, format = import.format_of(path, options.format)
  local is_pair = format == "csv" and not options.only
  if is_pair and path == "-" then
    words.usage("CSV has nodes and edges in a file each: name FILE, or give --only nodes or --only edges")
  end
  local paths = path == "-" and {} or is_pair and pair_of(path) or { path }
  check_other_than(arguments.db, paths)
  local db <close> = output.open(arguments.db, { readonly = true })
  local bar <close> = progress.new("export", "records")
  local guard <close> = open_files(paths)
  local files = guard.files
  local report = export.run(db, is_pair and { nodes = files[1].file, edges = files[2].file }
    or files[1] and files[1].file or io.stdout, {
    format = format,
    only = options.only,
    progress = function(records, total)
      bar:update(records, records / total)
    end,
  })
  finish_files(files)
  bar:finish(report.nodes + report.edges + report.entries, true)
  if report.buckets_left > 0 then
    io.stderr:write(("%d buckets are left out: of the formats only jsonl has them\n"):format(report.buckets_left))
  end
  if report.procedures_left > 0 then
    io.stderr:write(("%d procedures are left out: of the formats only jsonl has them\n"):format(report.procedures_left))
  end
  if report.rules_left > 0 then
    io.stderr:write(("%d indexes, constraints and triggers are left out: of the formats only jsonl has them\n"):format(
      report.rules_left))
  end
  if report.migrations_left > 0 then
    io.stderr:write(("what is known of %d migrations is left out: of the formats only jsonl has it\n"):format(
      report.migrations_left))
  end
  if path ~= "-" and options.json then
    output.json(report)
  elseif path ~= "-" then
    output.write(("%d nodes, %d edges, %d entries%s exported\n"):format(report.nodes, report.edges, report.entries,
      rest_of(report)))
  end
end

return transfer
