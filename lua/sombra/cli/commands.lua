-- SPDX-License-Identifier: MIT

---What the program `sombra` can be told to do: the one source of `--help`, `sombra help`, the manual page and the
---completions of shells. Nothing here does anything.
---@class sombra.cli.Option
---@field name string without the dashes
---@field short string? one letter
---@field value string? what stands for its value in texts; an option without one is a switch
---@field kind "count"|"number"? what the value must be; text unless told
---@field choices string[]? the only values
---@field least integer? of a number
---@field repeats boolean? may be given more than once: a list
---@field help string

---@class sombra.cli.Argument
---@field name string
---@field optional boolean?
---@field repeats boolean? the last one may: a list
---@field choices string[]?
---@field help string

---@class sombra.cli.Command
---@field name string one word, or two ("kv get")
---@field summary string a line without a full stop
---@field text string? paragraphs, for the page of the command
---@field arguments sombra.cli.Argument[]
---@field options sombra.cli.Option[]
---@field module string where the function is that runs it
---@field run string its name there

local json = { name = "json", help = "print JSON" }
local database = { name = "DB", help = "path of the database" }
local bucket = { name = "BUCKET", help = "name of the bucket" }
local key = { name = "KEY", help = "the key" }
local hex = { name = "hex", help = "keys and values are hexadecimal, given and printed" }
local integer = { name = "integer", help = "KEY is an integer, not text" }
local force_note = "A file that is there already is never replaced."

local procedure_arguments =
  { name = "ARGUMENTS", optional = true, help = "a JSON map or list; - reads the standard input" }
local call_arguments = { database, { name = "NAME", help = "its name, or name@version" }, procedure_arguments }
local call_options = {
  { name = "stream", help = "print the rows that it emits, as they come" },
  { name = "time", value = "SECONDS", kind = "number", help = "limit of its time" },
  { name = "memory", value = "BYTES", kind = "count", least = 1, help = "limit of its memory" },
  { name = "instructions", value = "N", kind = "count", least = 1, help = "limit of its instructions" },
  { name = "readonly", help = "open without the right to write" },
}

local maintenance = "sombra.cli.maintenance"
local kv = "sombra.cli.kv"
local proc = "sombra.cli.proc"
local transfer = "sombra.cli.transfer"
local formats = { "csv", "jsonl", "graphml" }

---@type sombra.cli.Command[]
local list = {
  {
    name = "stats",
    summary = "numbers of a database",
    text = [[
Prints what the database says of itself, and how many nodes each label, edges each type and entries each bucket has.
It opens the database read-only. With --walk it also reads every record, in one snapshot, and adds the names and kinds
of properties, the largest degree and the bytes of keys and text values in each bucket. A database that is a directory
also has levels, the bytes that compaction has yet to rewrite (debt), bytes of all tables for one of the last level
(space amplification), and of all processes since it was made: bytes written to logs and tables for one given (write
amplification), lookups that a filter should have spared (false positives), and stalls.]],
    arguments = { database },
    options = { { name = "walk", help = "read every record too" }, json },
    module = maintenance, run = "stats",
  },
  {
    name = "verify",
    summary = "check every page, key, count and record",
    text = [[
Prints the problems that are found, one on a line, and ends with exit code 5 if there are any. Writers wait while it
looks at the pages. With --readonly nobody waits, but it must not run beside a writer: see docs/operations.md.]],
    arguments = { database },
    options = {
      { name = "limit", value = "N", kind = "count", help = "print at most N problems (1000)" },
      { name = "readonly", help = "open without the right to write" },
      json,
    },
    module = maintenance, run = "verify",
  },
  {
    name = "repair",
    summary = "save what is readable of a damaged database",
    text = [[
Reads the closed database DB page by page, changes nothing there, and writes every entry that can be read to the new
database NEW. ]] .. force_note .. [[ Prints what was saved, what was lost and what is wrong in NEW; the exit code is 5
if anything was lost or is wrong.]],
    arguments = { database, { name = "NEW", help = "path of the new database" } },
    options = { { name = "limit", value = "N", kind = "count", help = "print at most N problems (1000)" }, json },
    module = maintenance, run = "repair",
  },
  {
    name = "backup",
    summary = "copy a database that is in use",
    text = [[
Copies what is committed now to the new file NEW, while readers and writers go on. The copy is compact, and has its name
only when it is whole and durable. ]] .. force_note,
    arguments = { database, { name = "NEW", help = "path of the copy" } },
    options = { json },
    module = maintenance, run = "backup",
  },
  {
    name = "copy",
    summary = "copy a database to another engine",
    text = [[
Copies what is committed in DB to the new database NEW, which may be of another engine ("btree": one file; "lsm": a
directory) or have other sizes or another codec. NEW refuses to open until the copy is whole. ]] .. force_note,
    arguments = { database, { name = "NEW", help = "path of the copy" } },
    options = {
      { name = "engine", value = "ENGINE", choices = { "btree", "lsm" }, help = "of NEW: btree or lsm (btree)" },
      { name = "page-size", value = "BYTES", kind = "count", help = "of NEW, btree: 4096 to 65536" },
      { name = "codec", value = "CODEC", choices = { "none", "lz4", "zlib", "zstd" },
        help = "of NEW, lsm: none, lz4, zlib or zstd" },
      json,
    },
    module = maintenance, run = "copy",
  },
  {
    name = "checkpoint",
    summary = "bring what is in the log into the main file",
    arguments = { database },
    options = { json },
    module = maintenance, run = "checkpoint",
  },
  {
    name = "compact",
    summary = "give space back to the system",
    text = [[
Makes the file smaller in its place, while it is in use. Of a directory all tables become one run without deleted
entries, which needs room for as much again.]],
    arguments = { database },
    options = { json },
    module = maintenance, run = "compact",
  },
  {
    name = "import",
    summary = "nodes and edges from CSV, JSON lines or GraphML",
    text = [[
Reads each FILE; - is the standard input. Files of CSV that have edges are read after the others. The first record of
CSV names the columns: ~id and ~label for nodes, ~from, ~to and ~label for edges (or Neo4j's :ID, :LABEL, :START_ID,
:END_ID, :TYPE); any other column is a property, and may have a type: born:int. Types are string, int, float, bool,
json, and lists such as int[]. A column without a type gets the narrowest one that all its values have; on the standard
input, which cannot be read twice, it is text. Empty fields are no properties.

Edges name nodes by the ids in the files. To import edges in a later run, keep these ids: --id names the property.

Every --batch records are one transaction, so an import that fails leaves whole batches; --batch 0 makes one of all. A
bad record ends the import, unless --rejects names a file for such records: they are put there as they are, the reasons
are printed, and the exit code is 0. With several files a number is put behind its name.]],
    arguments = { database, { name = "FILE", help = "what to import", repeats = true } },
    options = {
      { name = "format", value = "FORMAT", choices = formats, help = "csv, jsonl or graphml; else by their names" },
      { name = "create", help = "make the database if it is missing" },
      { name = "label", value = "NAME", help = "label of nodes that have none" },
      { name = "type", value = "NAME", help = "type of edges that have none" },
      { name = "id", value = "NAME", help = "property that keeps a node's id; in CSV also the column of ids" },
      { name = "from", value = "NAME", help = "CSV: column with the id an edge starts at" },
      { name = "to", value = "NAME", help = "CSV: column with the id an edge ends at" },
      { name = "types", value = "LIST", help = "CSV: types of columns: born:int,score:float" },
      { name = "separator", value = "BYTE", help = "CSV: what separates fields (a comma); \\t is a tab" },
      { name = "batch", value = "N", kind = "count", help = "records in each transaction (10000)" },
      { name = "rejects", value = "FILE", help = "skip bad records and write them there" },
      json,
    },
    module = transfer, run = "import",
  },
  {
    name = "export",
    summary = "everything as CSV, JSON lines or GraphML",
    text = [[
Writes one snapshot to FILE, or to the standard output. CSV makes two files: air.csv stands for air-nodes.csv and
air-edges.csv. A file gets its name when it is whole, in the place of an older one; a pipe or a device is written to.
Only jsonl has buckets, procedures, rules (indexes, constraints, triggers) and the history of migrations too. An import
of what was exported gives the same records; their ids are new.]],
    arguments = { database, { name = "FILE", help = "where to; else the standard output", optional = true } },
    options = {
      { name = "format", value = "FORMAT", choices = formats, help = "csv, jsonl or graphml; else by its name" },
      {
        name = "only", value = "WHAT", choices = { "nodes", "edges", "buckets", "procedures", "rules", "migrations" },
        help = "nodes, edges, buckets, procedures, rules or migrations",
      },
      json,
    },
    module = transfer, run = "export",
  },
  {
    name = "kv get",
    summary = "print the value of a key",
    text = [[
Prints the bytes of a text value as they are, with a line end only on a terminal. Any other value is printed as JSON.
The exit code is 1 if the key is not there.]],
    arguments = { database, bucket, key },
    options = { hex, integer, json },
    module = kv, run = "get",
  },
  {
    name = "kv put",
    summary = "set the value of a key",
    arguments = { database, bucket, key, { name = "VALUE", help = "the value's bytes; - reads the standard input" } },
    options = {
      hex, integer,
      { name = "json", help = "VALUE is JSON: a number, a list, a map ..." },
      { name = "create", help = "make the database and the bucket if they are missing" },
    },
    module = kv, run = "put",
  },
  {
    name = "kv del",
    summary = "delete keys",
    text = [[
Deletes KEY, or with --prefix every key that begins so, or with --all every key, and prints how many there were.]],
    arguments = { database, bucket, { name = "KEY", help = "the key", optional = true } },
    options = {
      { name = "prefix", value = "TEXT", help = "delete all keys that begin so" },
      { name = "all", help = "delete all keys" },
      hex, integer, json,
    },
    module = kv, run = "del",
  },
  {
    name = "kv scan",
    summary = "print keys and values in order",
    text = [[
Prints a key, a tab and its value on each line. Control characters and bytes that are not UTF-8 are printed as \xHH,
backslashes as \\; --hex and --json keep every byte apart. With --json each line is an object with "key" and "value".]],
    arguments = { database, bucket },
    options = {
      { name = "prefix", value = "TEXT", help = "only keys that begin so" },
      { name = "reverse", help = "from the last to the first" },
      { name = "limit", value = "N", kind = "count", help = "at most N" },
      { name = "keys", help = "no values" },
      hex, json,
    },
    module = kv, run = "scan",
  },
  {
    name = "proc define",
    summary = "store procedures and libraries",
    text = [[
Stores the Lua of each FILE, all of them or none. See docs/procedures.md.]],
    arguments = { database, { name = "FILE", repeats = true, help = "Lua that returns a table with name and run" } },
    options = { { name = "create", help = "make the database if it is missing" }, json },
    module = proc, run = "define",
  },
  {
    name = "proc list",
    summary = "the procedures of a database",
    arguments = { database },
    options = { json },
    module = proc, run = "list",
  },
  {
    name = "proc show",
    summary = "print the text of a procedure",
    arguments = { database, { name = "NAME", help = "its name, or name@version" } },
    options = {},
    module = proc, run = "show",
  },
  {
    name = "proc drop",
    summary = "remove a procedure",
    arguments = { database, { name = "NAME", help = "its name" } },
    options = { { name = "version", value = "N", kind = "count", least = 1, help = "only this version" }, json },
    module = proc, run = "drop",
  },
  {
    name = "proc call",
    summary = "run a procedure",
    text = [[
Prints each result as JSON on a line. A procedure that returns nil and a reason has changed nothing; the reason is
printed and the exit code is 1. A limit that is hit ends it with exit code 4.]],
    arguments = call_arguments,
    options = call_options,
    module = proc, run = "call",
  },
  {
    name = "call",
    summary = "run a procedure; the same as proc call",
    text = [[
Prints each result as JSON on a line. See `sombra help proc call`.]],
    arguments = call_arguments,
    options = call_options,
    module = proc, run = "call",
  },
  {
    name = "run-proc",
    summary = "run the file of a procedure, to debug it",
    text = [[
Runs the procedure in FILE as plain Lua, in a transaction of its mode: nothing is stored, there are no limits, and all
of Lua is there, `debug` and `print` too. `require` finds the units of the database, then modules. Results and rows of
`emit` are printed as JSON, one on a line.]],
    arguments = {
      database,
      { name = "FILE", help = "Lua that returns a table with name and run" },
      procedure_arguments,
    },
    options = { { name = "dry-run", help = "roll back what it did" } },
    module = proc, run = "run_file",
  },
  {
    name = "migrate",
    summary = "bring a database to the state of a directory of migrations",
    text = [[
Runs the migrations in DIRECTORY that are pending, each in a transaction of its own, and prints what was run. With
--status it prints the state of each and runs nothing. See docs/migrations.md.]],
    arguments = { database, { name = "DIRECTORY", help = "files named 0001_what_it_does.lua" } },
    options = {
      { name = "to", value = "N", kind = "count", help = "up or down to that number; 0 undoes all" },
      { name = "dry-run", help = "run everything, then roll it back" },
      { name = "status", help = "print the state of each migration" },
      { name = "create", help = "make the database if it is missing" },
      json,
    },
    module = "sombra.cli.migrate", run = "migrate",
  },
  {
    name = "shell",
    summary = "a prompt with the database open as `db`",
    text = [[
Starts the prompt with the globals db and sombra. LUA_INIT is run first.]],
    arguments = { database },
    options = {
      { name = "create", help = "make the database if it is missing" },
      { name = "readonly", help = "refuse write transactions" },
    },
    module = "sombra.cli.shell", run = "shell",
  },
  {
    name = "serve",
    summary = "answer /metrics and /health over HTTP",
    text = [[
Answers GET /metrics with the metrics of the database as Prometheus reads them, and GET /health with 200, or 503 when
the database refuses writes, until it is interrupted or terminated (SIGINT, SIGTERM). Prints the address of /metrics
once it listens; port 0 picks a free one. Counters are of this process; what other processes do shows in the gauges:
see docs/operations.md. A database that is a directory is opened read-only, unless --write is given.]],
    arguments = { database },
    options = {
      { name = "metrics", value = "ADDRESS", help = "IP address and port to listen on (127.0.0.1:9464)" },
      { name = "allow-remote", help = "ADDRESS may be one that other machines reach; nobody is asked for a password" },
      { name = "readonly", help = "open without the right to write" },
      { name = "write", help = "open a database that is a directory for writing" },
    },
    module = "sombra.cli.serve", run = "serve",
  },
  {
    name = "dump",
    summary = "how a database is stored, for people who look for a fault in the engine",
    text = [[
Prints the meta records, page N and what is on it, the records of the log behind the newest checkpoint, or each page of
the tree of that checkpoint; of a directory the manifest, table N and its entries, the logs, or all tables. A line is a
word and fields; keys and values are hexadecimal, values up to 64 bytes of them. The files are read as they are: damage
is a line with problem=, and beside a writer lines may contradict each other.]],
    arguments = {
      database,
      { name = "WHAT", choices = { "meta", "page", "log", "tree" }, help = "meta, page, log or tree" },
      { name = "N", optional = true, help = "number of the page" },
    },
    options = { { name = "json", help = "print an object for each line" } },
    module = maintenance, run = "dump",
  },
  {
    name = "completions",
    summary = "print the completions of a shell",
    text = [[
Prints a file for the shell: for bash, `sombra completions bash >~/.local/share/bash-completion/completions/sombra`.]],
    arguments = { { name = "SHELL", choices = { "bash", "zsh", "fish" }, help = "bash, zsh or fish" } },
    options = {},
    module = "sombra.cli.completions", run = "completions",
  },
  {
    name = "help",
    summary = "explain a command",
    arguments = {
      { name = "COMMAND", optional = true, help = "the command; without one, everything in short" },
      { name = "SUBCOMMAND", optional = true, help = "the second word of a command such as kv" },
    },
    options = { { name = "man", help = "print the source of the manual page" } },
    module = "sombra.cli.help", run = "help",
  },
}

local commands = {
  summary = "run Lua scripts with the sombra database built in",
  list = list,
  ---Of the interpreter, `sombra [options] [script [args]]`; lua/host/arguments.c reads them.
  ---@type { words: string[], value: string?, help: string }[]
  interpreter = {
    { words = { "-e" }, value = "stat", help = "run the string 'stat'" },
    { words = { "-i" }, help = "enter the prompt after running 'script'" },
    { words = { "-l" }, value = "mod", help = "require 'mod' into the global 'mod'" },
    { words = { "-l" }, value = "g=mod", help = "require 'mod' into the global 'g'" },
    { words = { "-v" }, help = "print the version" },
    { words = { "-E" }, help = "ignore the environment variables" },
    { words = { "-W" }, help = "turn warnings on" },
    { words = { "-h", "--help" }, help = "print this text and exit" },
    { words = { "--version" }, help = "print the version and exit" },
    { words = { "--" }, help = "stop handling options" },
    { words = { "-" }, help = "stop handling options and run the standard input" },
  },
  exit_codes = {
    { 0, "success" },
    { 1, "an error: in Lua, or of a command that found no such thing" },
    { 2, "wrong usage" },
    { 3, "a database cannot be opened or is damaged" },
    { 4, "a limit was reached" },
    { 5, "verify or repair found problems" },
    { 130, "interrupted by Ctrl-C" },
  },
  environment = {
    { { "LUA_INIT_5_4", "LUA_INIT" }, "run before anything else, the first of the two that is set; @file names a file. "
      .. "Of the commands only shell heeds it" },
    { { "LUA_PATH_5_4", "LUA_PATH", "LUA_CPATH_5_4", "LUA_CPATH" }, "where require looks for other modules; sombra "
      .. "itself is inside the program and is not looked for" },
    { { "SOMBRA_HISTORY" }, "file of the prompt's history; empty: none. Else it is sombra/history in XDG_STATE_HOME "
      .. "(~/.local/state)" },
    { { "PAGER" }, "shows results at the prompt that are longer than the screen (less -FRX); empty: none does" },
  },
  rule = [[
A command is the first word of the command line. A script of the same name is run by `sombra ./stats` or
`sombra -- stats`.]],
}

---@return sombra.cli.Command?
function commands.find(name)
  for _, command in ipairs(list) do
    if command.name == name then
      return command
    end
  end
end

---The commands whose first word this is.
---@return sombra.cli.Command[]
function commands.group(word)
  local found = {}
  for _, command in ipairs(list) do
    if command.name:match("^%S+") == word then
      found[#found + 1] = command
    end
  end
  return found
end

---The first words, in order, once each.
---@return string[]
function commands.first_words()
  local words, seen = {}, {}
  for _, command in ipairs(list) do
    local word = command.name:match("^%S+")
    if not seen[word] then
      seen[word] = true
      words[#words + 1] = word
    end
  end
  return words
end

---"sombra kv del [options] DB BUCKET [KEY]"
function commands.synopsis(command)
  local words = { "sombra", command.name }
  if #command.options > 0 then
    words[#words + 1] = "[options]"
  end
  for _, argument in ipairs(command.arguments) do
    local shown = argument.choices and table.concat(argument.choices, "|") or argument.name
    shown = argument.repeats and shown .. "..." or shown
    words[#words + 1] = argument.optional and "[" .. shown .. "]" or shown
  end
  return table.concat(words, " ")
end

return commands
