-- SPDX-License-Identifier: MIT
---@meta sombra

---An embedded graph and key-value database. `require "sombra"` returns this table and sets no global.
---@class sombra
---@field _VERSION string "sombra 0.1.0"
---@field null sombra.Null removes a property in `set`, and stands for "nothing" inside lists and maps
local sombra = {}

---The one value that stands for "nothing" where nil cannot.
---@class sombra.Null: userdata

---What can be stored: booleans, integers, floats, strings (any bytes), `sombra.null`, and lists and string-keyed maps
---of them, up to 64 deep. `{}` is a map; `sombra.list{}` is an empty list.
---@alias sombra.Value boolean|integer|number|string|sombra.Null|sombra.Value[]|table<string, sombra.Value>
---@alias sombra.Props table<string, sombra.Value>
---@alias sombra.Columns table<string, sombra.Value[]> a list of values for each property
---@alias sombra.Key string|integer
---@alias sombra.Sync "full"|"group"|"normal"|"off"
---@alias sombra.Direction "out"|"into"|"both"
---One name, or any of several; nil is all.
---@alias sombra.Types string|string[]|nil

---Raised inside transactions; the second result of `sombra.open` and `db:close`. `tostring` gives
---"file:line: message [code]"; `..` works with text on either side.
---@class sombra.Error
---@field code sombra.ErrorCode
---@field message string what failed, where, and what to do
---@field where string "file:line: " of the caller, or ""
---@field label string? of "unique" and "constraint": what the rule is about
---@field type string? the same, of edges
---@field property string? of "unique" and "constraint"
---@field id integer? of "unique": the node or edge that is in the way; of "constraint": the one that is refused
---@field retryable boolean true if the same call may succeed later
---@field trace string the stack where it was raised
---@field cause any the error it stands for, if there is one
---@field trigger sombra.Change? set when a trigger refused or failed
---@field path string? of the database, from `sombra.open`

---@alias sombra.ErrorCode
---| "not_found" # no such record
---| "exists" # the record exists already
---| "invalid" # wrong argument or wrong state
---| "conflict" # something else stands in the way: edges of a node that is deleted
---| "busy" # another transaction or process holds what is needed
---| "readonly" # the database or the transaction is read-only
---| "limit" # a configured or built-in limit was reached
---| "nomem" # out of memory
---| "io" # the operating system failed the operation
---| "corrupt" # stored bytes are damaged
---| "unsupported" # not supported by this build, format or file system
---| "procedure" # a stored procedure raised
---| "cancelled" # cancelled on request
---| "unique" # a unique constraint has the values already
---| "constraint" # a constraint refuses the value, or that it is missing

---@class sombra.OpenOptions
---@field create boolean? make the database if it is missing (default false)
---@field readonly boolean? refuse write transactions (default false)
---@field sync sombra.Sync? when a commit is durable (default "full")
---@field busy_timeout number? seconds a writer waits for its turn (default 5); 0 not at all, math.huge for ever
---@field engine "btree"|"lsm"|nil what is there decides; of a new database the default is "btree"
---@field page_size integer? bytes, of a new database only: a power of two, 4096 to 65536
---@field sync_interval number? seconds between syncs with sync = "normal" (default 0.1)
---@field group_wait number? seconds a commit waits for company with sync = "group"
---@field wal_bypass_bytes integer? a transaction that logs more commits as a checkpoint instead
---@field txn_memory_max integer? bytes of changes a writer keeps before it spills to the file (default 64 MiB)
---@field memory_size integer? bytes the files' pages may take in the system's cache (default: what it has for them)
---@field network_files boolean? open it on a network file system, which is else refused (default false)
---@field triggers boolean? false: triggers do not run (default true)
---@field file_mode integer? permission bits of new files (default 0x180, that is 0600)
---@field auto_compact boolean? make the file shorter when much of it is free (default true); btree only
---@field cache_size integer? bytes in memory for blocks, indexes and filters (default 64 MiB); lsm only, as all below
---@field memtable_size integer? bytes of changes in memory before they become a table (default 32 MiB)
---@field block_size integer? bytes of a block before compression (default 16 KiB)
---@field filter_bits integer? bits of the filters for a key (default 10); 0 for no filters
---@field codec "none"|"lz4"|"zlib"|"zstd"|nil how blocks are compressed (default "lz4")
---@field bottom_codec "none"|"lz4"|"zlib"|"zstd"|nil of the last level (default as codec)
---@field compaction "leveled"|"tiered"|nil (default "leveled"); tiered writes less, reads and stores more
---@field table_size integer? bytes of one table, about (default 16 MiB)
---@field level_size integer? bytes of the first level behind level 0 (default 128 MiB)
---@field level_ratio integer? of the sizes of two levels (default 10)
---@field compaction_threads integer? (default 1)
---@field compaction_rate integer? bytes a second that compactions write at most (default: no bound)

---@class sombra.Info
---@field version string of the library
---@field lua string the Lua release it was built for
---@field name_bytes_max integer
---@field key_bytes_max integer
---@field value_bytes_max integer
---@field value_depth_max integer

---Opens the database at `path`; ":memory:" is a new one without a file. On failure nil and an error.
---@param path string
---@param options sombra.OpenOptions?
---@return sombra.DB? db
---@return sombra.Error? err
---@nodiscard
function sombra.open(path, options) end

---Marks a table as a list (needed for an empty one only) and returns it; decoded lists are marked.
---@generic T
---@param items T[]?
---@return T[]
function sombra.list(items) end

---Whether `value` is a table marked by `sombra.list` or read from the database as a list.
---@param value any
---@return boolean
---@nodiscard
function sombra.is_list(value) end

---A function that gives the traversals of `fn`, whose steps are made only once. `fn` runs now, with a transaction
---that takes steps and nothing else and with a place for each further parameter: where an id, a list of ids, a number
---of rows or a constant would stand.
---@generic F: fun(tx: sombra.Tx, ...: any): sombra.Traversal
---@param fn F
---@return F
---@nodiscard
function sombra.prepare(fn) end

---What runs here, and its limits.
---@return sombra.Info
---@nodiscard
function sombra.info() end

---@class sombra.Source
---@field text string
---@field name string

---Reads a file for `define`.
---@param path string
---@return sombra.Source? source
---@return string? message
function sombra.source(path) end

---@class sombra.RepairOptions
---@field progress sombra.Progress? counts pages
---@field limit integer? how many problems are listed (default 1000)

---What a repair found. Entries are keys of the store, of which a node or an edge has several.
---@class sombra.RepairReport
---@field pages integer of the damaged file
---@field page_size integer bytes
---@field pages_damaged integer that were needed and could not be read
---@field entries integer taken from the damaged file
---@field entries_unreached integer of these, from pages that nothing leads to any more
---@field entries_uncertain integer of these, from pages that may have been out of use: some may be old, or were deleted
---@field entries_lost integer known to have been there and not found
---@field lost_exact boolean false: more may be lost
---@field values_lost integer of the lost, those whose key was found and value damaged
---@field ranges_lost integer of keys, with lost entries
---@field transactions_replayed integer taken from the log beside the file
---@field log_incomplete boolean true: the newest transactions are lost
---@field damage integer problems of the damaged file
---@field entries_rebuilt integer put again in the new one, as other entries tell: of labels, names, ends of edges
---@field entries_dropped integer taken out of it, for what they belong to is lost
---@field edges_bare integer edges that are there and lost their properties
---@field names_made integer "lost-label-7", "lost-bucket-2" ... in place of lost names
---@field indexes_rebuilt integer indexes made anew, constraints proved again
---@field indexes_dropped integer of both, those that what is left breaks, or that are lost themselves
---@field damage_mended integer problems that this made an end of; what they cost is in their texts
---@field damage_left integer what verify finds in the new one after all
---@field problems sombra.Problem[] damage, damage_mended and damage_left, in that order

---Writes all that can be read of the damaged database at `path`, which is not changed, to a new one at `to`, which must
---not exist. What `progress` raises is raised; otherwise nil and an error, and then nothing is at `to`.
---@param path string
---@param to string
---@param options sombra.RepairOptions?
---@return sombra.RepairReport? report
---@return sombra.Error? err
function sombra.repair(path, to, options) end

---Copies a database, opened read-only, to a new one made with `options`: so it changes its engine, its page size or its
---codec. `to` must not exist, and refuses to open until the copy is whole. On failure nil and an error.
---@param path string
---@param to string
---@param options sombra.OpenOptions? of the new database
---@param job {progress: sombra.Progress?}?
---@return integer? keys how many were copied
---@return sombra.Error? err
function sombra.copy(path, to, options, job) end

---Shows how a database is stored, line by line, for people who look for a fault in the engine. `fn` may return false
---to end it.
---@param path string
---@param what "meta"|"page"|"log"|"tree"
---@param fn fun(line: string): boolean?
---@param page integer? the number of the page, with "page"
---@return true?
---@return sombra.Error?
function sombra.dump(path, what, fn, page) end

---An open database. It is closed by `close`, at the end of a `<close>` scope, or when it is collected; its open
---transactions are then rolled back.
---@class sombra.DB
local DB = {}

---@class sombra.ReadOptions
---@field durable boolean? see only what is durable already; may wait for a sync

---@class sombra.WriteOptions
---@field busy_timeout number? seconds to wait for the turn; the default is the database's

---@class sombra.ManagedWriteOptions: sombra.WriteOptions
---@field sync sombra.Sync? when this commit is durable; the default is the database's

---Calls `fn(tx)` on a snapshot and returns its results. It may yield.
---@param fn fun(tx: sombra.Tx): ...
---@param options sombra.ReadOptions?
---@return any ...
function DB:read(fn, options) end

---Calls `fn(tx)` in a write transaction and returns its results. Commits when `fn` returns; rolls back when it raises,
---or returns nil and a reason. It cannot yield.
---@param fn fun(tx: sombra.Tx): ...
---@param options sombra.ManagedWriteOptions?
---@return any ...
function DB:write(fn, options) end

---A transaction that the caller ends: `local tx <close> = db:begin("write")` rolls back unless `tx:commit()` ran.
---@overload fun(self: sombra.DB, mode: "read", options?: sombra.ReadOptions): sombra.Tx
---@param mode "write"
---@param options sombra.WriteOptions?
---@return sombra.Tx
---@nodiscard
function DB:begin(mode, options) end

---A read transaction to be kept for long. It never blocks a writer, but what it can see is not reused.
---@return sombra.Tx
---@nodiscard
function DB:snapshot() end

---@class sombra.ProcedureInfo
---@field name string
---@field version integer
---@field mode "read"|"write"
---@field doc? string
---@field params? { name: string, type: string, default: any, optional: boolean, doc: string? }[]
---@field limits? sombra.Limits
---@field has_run boolean it can be called
---@field has_exports boolean it can be required
---@field text string
---@field hash string SHA-256 of the text
---@field chunk string name of the file it came from, or ""
---@field defined integer time

---@class sombra.Limits
---@field time? number seconds
---@field memory? integer bytes
---@field instructions? integer

---@class sombra.CallOptions: sombra.Limits
---@field sync? sombra.Sync
---@field busy_timeout? number

---Stores a procedure or library: docs/procedures.md.
---@param source string|sombra.Source
---@return string name
---@return integer version
---@return boolean is_new
function DB:define(source) end

---@param name string
---@param options? { version: integer }
---@return integer removed versions
function DB:undefine(name, options) end

---@return fun(): string?, sombra.ProcedureInfo?
function DB:procedures() end

---Runs a stored procedure in a transaction of its mode.
---@param name string "name" or "name@version"
---@param args? any
---@param options? sombra.CallOptions
---@return any ...
function DB:call(name, args, options) end

---Rows that a stored procedure emits, as they are asked for.
---@param name string
---@param args? any
---@param limits? sombra.Limits
---@return fun(): any
function DB:stream(name, args, limits) end

---@class sombra.MigrateOptions
---@field to? integer up or down to this number; 0 undoes all
---@field dry_run? boolean run everything, and roll it back
---@field progress? fun(step: sombra.MigrationStep, done: integer, total: integer)

---@class sombra.MigrationStep
---@field number integer
---@field name string
---@field direction "up"|"down"

---@class sombra.MigrationState
---@field number integer
---@field name string
---@field file? string
---@field state "applied"|"running"|"pending"|"late"|"edited"|"missing"
---@field time? integer

---Runs pending migrations of a directory: docs/migrations.md.
---@param directory string
---@param options? sombra.MigrateOptions
---@return sombra.MigrationStep[]
function DB:migrate(directory, options) end

---@param directory string
---@return sombra.MigrationState[]
function DB:migrations(directory) end

---@class sombra.OldestReader
---@field txn integer number of the transaction it sees
---@field age number seconds
---@field process integer id of its process

---@class sombra.Stats
---@field path string
---@field engine string
---@field readonly boolean
---@field nodes integer
---@field edges integer
---@field entries integer keys of the store, all structures together
---@field txn integer number of the newest committed transaction
---@field lsn integer newest log record
---@field durable_lsn integer newest log record known to be durable
---@field depth integer levels of the tree
---@field page_size integer bytes; 0 for engines without pages
---@field pages integer
---@field pages_free integer reusable now
---@field pages_pending integer freed, but a snapshot or the last checkpoint needs them
---@field pages_read integer of these, what open snapshots need
---@field file_bytes integer
---@field log_bytes integer
---@field memory_bytes integer
---@field readers integer open snapshots, of all processes
---@field oldest_reader sombra.OldestReader? nil without a reader
---@field checkpoints integer since this process opened it
---@field commits integer since this process opened it
---@field transactions integer open ones, of this handle
---@field compact_txn integer newest transaction when the last compaction ended; 0 if there was none
---@field compact_pages_moved integer by the last compaction
---@field compact_pages_returned integer by which it made the file shorter
---@field entries_exact boolean false: `entries` is an estimate, as of the engine lsm
---@field levels sombra.LevelStats[]? level 0 first; of engines with levels, as all below
---@field memtable_bytes integer?
---@field cache_bytes integer?
---@field compaction_debt_bytes integer? what compaction has yet to rewrite
---@field totals sombra.Totals? of all processes since the database was made

---@class sombra.Totals
---@field commit_bytes integer keys and values given by writers
---@field log_bytes integer written for them to logs,
---@field flush_bytes integer by flushes,
---@field compaction_bytes integer by compactions
---@field filter_skips integer lookups of a table that its filter spared
---@field filter_false_positives integer lookups that it should have spared
---@field stalls integer commits that waited for flushes or compactions
---@field stall_seconds number how long, all together

---@class sombra.LevelStats
---@field runs integer
---@field tables integer
---@field bytes integer
---@field entries integer
---@field deletes integer of the entries

---@return sombra.Stats
---@nodiscard
function DB:stats() end

---@class sombra.MetricBucket
---@field le number seconds; math.huge in the last one
---@field count integer of times up to that, those of the buckets before among them

---@class sombra.Histogram
---@field count integer
---@field sum number seconds
---@field buckets sombra.MetricBucket[]

---@class sombra.Metrics
---@field counters table<string, integer> since this process opened the database, of this process
---@field gauges table<string, integer> as it is now
---@field histograms table<string, sombra.Histogram> as counters

---What the store counted and measured; names are in docs/operations.md. "prometheus" gives the text that Prometheus
---scrapes.
---@overload fun(self: sombra.DB, format: "prometheus"): string
---@param format "table"?
---@return sombra.Metrics
---@nodiscard
function DB:metrics(format) end

---@class sombra.Event
---@field kind "flush"|"compaction"|"checkpoint"|"stall"|"recovery"|"failure"|"unknown"
---@field text string a line for people
---@field duration number seconds
---@field bytes_read integer
---@field bytes_written integer
---@field count integer flush, compaction: tables; recovery: log records
---@field level integer compaction: the level written to
---@field dropped integer events before this one that were lost, because nobody took them

---From now `handler` is told what happens in the store, when a transaction of this handle has ended, and in `metrics`
---and `poll_events`; nil: nobody is. Its errors are warnings.
---@param handler fun(event: sombra.Event)?
function DB:on_event(handler) end

---Calls the handler of `on_event` for what has happened; raises what that raises.
---@return integer delivered
function DB:poll_events() end

---Brings everything committed into the main file, durably, and empties the log. Raises "busy" where others write for
---longer than `busy_timeout`.
function DB:checkpoint() end

---A database of the engine lsm that is open read-only does not follow the writing process: what begins from now on sees
---what is committed by now. Elsewhere nothing happens.
function DB:refresh() end

---@class sombra.Problem
---@field code sombra.ErrorCode
---@field page integer? nil if it is not about one page
---@field message string

---@class sombra.VerifyOptions
---@field limit integer? how many problems are listed (default 1000)

---Walks the whole database. The list is empty when it is sound; the count is exact also beyond the limit.
---@param options sombra.VerifyOptions?
---@return sombra.Problem[] problems
---@return integer count
---@nodiscard
function DB:verify(options) end

---Called as `progress(done, total)`; returning false cancels. It may use the database, but not close it.
---@alias sombra.Progress fun(done: integer, total: integer): boolean?

---@class sombra.BackupOptions
---@field progress sombra.Progress? counts entries of the store

---Writes what is committed now to a new database at `path`, which must not exist; writers go on. The copy is compact,
---and one file. What `progress` raises is raised; otherwise nil and an error ("exists", "cancelled", ...), and then
---nothing is at `path`.
---@param path string
---@param options sombra.BackupOptions?
---@return boolean? ok
---@return sombra.Error? err
function DB:backup(path, options) end

---@class sombra.CompactOptions
---@field progress sombra.Progress? counts pages looked at; `total` is a guess

---Makes the file about as long as a backup would be, in short write transactions: readers and writers go on. What
---`progress` raises is raised; otherwise nil and an error ("cancelled", "busy", "readonly", ...). What was done stays.
---@param options sombra.CompactOptions?
---@return boolean? ok
---@return sombra.Error? err
function DB:compact(options) end

---@class sombra.LabelCount
---@field name string
---@field nodes integer

---@class sombra.TypeCount
---@field name string
---@field edges integer

---@class sombra.Index
---@field id integer
---@field label string? nil for edges
---@field type string? nil for nodes
---@field properties string[]
---@field unique boolean
---@field ready boolean false while it is being made
---@field entries integer

---@class sombra.Constraint
---@field id integer
---@field label string? nil for edges
---@field type string? nil for nodes
---@field property string
---@field required boolean? true, or nil
---@field kind sombra.Kind? nil for `required`
---@field ready boolean

---@alias sombra.Kind "boolean"|"integer"|"float"|"number"|"string"|"list"|"map"

---@alias sombra.Event "create"|"update"|"delete"

---@class sombra.Trigger
---@field id integer
---@field label string? nil for edges
---@field type string? nil for nodes
---@field procedure string
---@field on sombra.Event[]
---@field ready boolean

---The argument of a trigger's procedure.
---@class sombra.Change
---@field event sombra.Event
---@field id integer
---@field label string? nil for edges
---@field type string? nil for nodes
---@field old sombra.Props? the properties before; nil for a creation
---@field procedure string? in the field `trigger` of an error

---@class sombra.Schema
---@field labels sombra.LabelCount[]
---@field types sombra.TypeCount[]
---@field properties string[]
---@field indexes sombra.Index[]
---@field constraints sombra.Constraint[]
---@field triggers sombra.Trigger[]

---@return sombra.Schema
---@nodiscard
function DB:schema() end

---@class sombra.MakeIndexOptions
---@field unique boolean? refuse a second node or edge with the same values
---@field edge boolean? `label` is a type of edges
---@field online boolean? default true: in many short transactions; false: in one
---@field progress (fun(done: integer, total: integer): boolean?)? return false to stop; then the unready index stays

---Makes an index while others write. The same call goes on with one that was stopped.
---@param label string
---@param names string|string[]
---@param options sombra.MakeIndexOptions?
---@return integer? id
---@return sombra.Error? err
function DB:create_index(label, names, options) end

---Rolls back open transactions and closes. A second call does nothing.
---@return boolean? ok
---@return sombra.Error? err what could not be written; the database is closed all the same
function DB:close() end

---A transaction. Reads see one snapshot, and a writer its own changes. Everything raises on failure; misses are nil.
---@class sombra.Tx
local Tx = {}

---@param source string|sombra.Source
---@return string name
---@return integer version
---@return boolean is_new
function Tx:define(source) end

---@param name string
---@param options? { version: integer }
---@return integer removed versions
function Tx:undefine(name, options) end

---@return fun(): string?, sombra.ProcedureInfo?
function Tx:procedures() end

---Runs a stored procedure inside this transaction.
---@param name string "name" or "name@version"
---@param args? any
---@param limits? sombra.Limits
---@return any ...
function Tx:call(name, args, limits) end

---@class sombra.TriggerOptions
---@field on sombra.Event|sombra.Event[]|nil default all
---@field edge boolean? `label` is a type of edges

---Runs a procedure before each commit that changed nodes with the label, or edges of the type: docs/procedures.md.
---@param label string
---@param procedure string "name" or "name@version"
---@param options sombra.TriggerOptions?
---@return integer id
function Tx:create_trigger(label, procedure, options) end

---@param label string
---@param procedure string
---@param options sombra.TriggerOptions?
---@return boolean dropped false if it was not there
function Tx:drop_trigger(label, procedure, options) end

---@class sombra.Node
---@field id integer
---@field labels string[]
---@field props sombra.Props

---@class sombra.Edge
---@field id integer
---@field src integer
---@field dst integer
---@field type string
---@field props sombra.Props

---@class sombra.CommitOptions
---@field sync sombra.Sync? when this commit is durable; the default is the database's

---Commits and ends the transaction. Only for those of `db:begin`.
---@param options sombra.CommitOptions?
function Tx:commit(options) end

---Undoes and ends the transaction. Only for those of `db:begin`.
function Tx:rollback() end

---@return boolean
---@nodiscard
function Tx:is_open() end

---Sets a mark to roll back to. Marks nest.
---@return integer mark
---@nodiscard
function Tx:savepoint() end

---Undoes what came after the mark. The mark stays; later ones are gone.
---@param mark integer
function Tx:rollback_to(mark) end

---Forgets the mark and later ones; what was done since stays.
---@param mark integer
function Tx:release(mark) end

---Makes a node.
---@param labels string|string[]|nil
---@param props sombra.Props?
---@return integer id
function Tx:create(labels, props) end

---@param id integer
---@return sombra.Node?
---@nodiscard
function Tx:node(id) end

---@class sombra.IndexOptions
---@field unique boolean? refuse a second node or edge with the same values
---@field edge boolean? `label` is a type of edges

---Makes an index over what is there, in this transaction.
---@param label string
---@param names string|string[] one property, or up to 8
---@param options sombra.IndexOptions?
---@return integer id
function Tx:create_index(label, names, options) end

---@param label string
---@param names string|string[]
---@param options sombra.IndexOptions?
---@return boolean dropped false if it was not there
function Tx:drop_index(label, names, options) end

---@class sombra.ConstraintOptions
---@field required boolean? every node or edge has the property
---@field kind sombra.Kind? or: where the property is there, it is of this kind
---@field edge boolean? `label` is a type of edges

---@param label string
---@param property string
---@param options sombra.ConstraintOptions
---@return integer id
function Tx:create_constraint(label, property, options) end

---@param label string
---@param property string
---@param options sombra.ConstraintOptions
---@return boolean dropped false if it was not there
function Tx:drop_constraint(label, property, options) end

---The node with the label and these values, by an index of just these properties; of several the lowest id.
---@param label string
---@param property string
---@param value sombra.Value
---@return integer? id
---@overload fun(self: sombra.Tx, label: string, values: sombra.Props): integer?
---@nodiscard
function Tx:find(label, property, value) end

---Finds the node by a unique index, or makes it; then sets `props`.
---@param label string
---@param key sombra.Props
---@param props sombra.Props?
---@return integer id
---@return boolean created
function Tx:upsert(label, key, props) end

---Finds the edge between the two, or makes it; then sets `props`.
---@param src integer
---@param type string
---@param dst integer
---@param props sombra.Props?
---@return integer id
---@return boolean created
function Tx:link_upsert(src, type, dst, props) end

---A row of the history of migrations.
---@class sombra.MigrationRow
---@field number integer
---@field name string of the file
---@field hash string SHA-256 of the file
---@field time integer
---@field state "applied"|"running"
---@field cursor any of a batched one that runs: what its last step returned

---The history of migrations, by number; of what the transaction sees.
---@return sombra.MigrationRow[]
---@nodiscard
function Tx:migrations() end

---Writes a row of another database's history. Nothing is run. A row of another file under its number is an error.
---@param row sombra.MigrationRow
---@return boolean is_new
function Tx:adopt_migration(row) end

---As `db:schema`, of what the transaction sees.
---@return sombra.Schema
---@nodiscard
function Tx:schema() end

---Makes a node for each table of properties, all or none. Ids follow one another. Or by columns: a
---list of values for each property, all of one length (`sombra.null`: it has none).
---@param labels string|string[]|nil
---@param list sombra.Props[]|sombra.Columns
---@return integer? first nil if the list is empty
---@return integer count
function Tx:create_many(labels, list) end

---Makes an edge for each `{src, dst}` or `{src, dst, props}`, all or none. Ids follow one another. Or by columns: a
---list of sources, one of targets, and a list of values for each property, all of one length.
---@param type string
---@param list table[]
---@return integer? first nil if the list is empty
---@return integer count
---@overload fun(self: sombra.Tx, type: string, src: integer[], dst: integer[], columns?: sombra.Columns): integer?
function Tx:link_many(type, list) end

---One property, without reading the others; nil if the node or the property is missing. Of several
---names, as many values, out of one read.
---@param id integer
---@param name string
---@param ... string
---@return sombra.Value? ...
---@nodiscard
function Tx:get(id, name, ...) end

---One property of each node, in the order of the list; `sombra.null` where the node or the property is missing.
---@param ids integer[]
---@param name string
---@return sombra.Value[]
---@nodiscard
function Tx:get_many(ids, name) end

---@param id integer
---@return boolean
---@nodiscard
function Tx:exists(id) end

---Sets the given properties and keeps the others; `sombra.null` removes one.
---@param id integer
---@param props sombra.Props
function Tx:set(id, props) end

---Makes `props` all the properties there are.
---@param id integer
---@param props sombra.Props
function Tx:replace(id, props) end

---Removes properties; those that are missing are no error.
---@param id integer
---@param name string
---@param ... string
function Tx:remove(id, name, ...) end

---@class sombra.DeleteOptions
---@field detach boolean? delete its edges too; without it a node with edges is a "conflict"

---@param id integer
---@param options sombra.DeleteOptions?
---@return boolean deleted false if it was not there
function Tx:delete(id, options) end

---@param id integer
---@param label string
---@return boolean added false if it had the label already
function Tx:add_label(id, label) end

---@param id integer
---@param label string
---@return boolean removed false if it did not have the label
function Tx:remove_label(id, label) end

---@param id integer
---@param label string
---@return boolean has false also for a node that does not exist
---@nodiscard
function Tx:has_label(id, label) end

---Number of nodes, or of those with a label. Exact, O(log n).
---@param label string?
---@return integer
---@nodiscard
function Tx:count(label) end

---@class sombra.IdOptions
---@field from integer? lowest id wanted
---@field to integer? highest id wanted
---@field limit integer?
---@field reverse boolean? highest first

---Ids of all nodes, or of those with a label, in order.
---@param label string?
---@param options sombra.IdOptions?
---@return fun(): integer?
---@nodiscard
function Tx:nodes(label, options) end

---The `n` (default 1) lowest ids of nodes, lowest first.
---@param label string?
---@param n integer?
---@return integer[]
---@nodiscard
function Tx:first(label, n) end

---The `n` (default 1) highest ids of nodes, highest first.
---@param label string?
---@param n integer?
---@return integer[]
---@nodiscard
function Tx:last(label, n) end

---Names of the labels that nodes have, and how many nodes each.
---@return fun(): string?, integer
---@nodiscard
function Tx:labels() end

---Makes an edge.
---@param src integer
---@param type string
---@param dst integer
---@param props sombra.Props?
---@return integer id
function Tx:link(src, type, dst, props) end

---@param id integer
---@return sombra.Edge?
---@nodiscard
function Tx:edge(id) end

---The edge from `src` to `dst` (the one with the lowest id, of parallel ones); a nil type is any type.
---@param src integer
---@param type string?
---@param dst integer
---@return integer? id
---@nodiscard
function Tx:find_edge(src, type, dst) end

---Deletes all edges of a type (nil: of any) from `src` to `dst`.
---@param src integer
---@param type string?
---@param dst integer
---@return integer deleted how many
function Tx:unlink(src, type, dst) end

---@param id integer
---@return boolean deleted false if it was not there
function Tx:delete_edge(id) end

---@param id integer
---@return boolean
---@nodiscard
function Tx:edge_exists(id) end

---One property of an edge; nil if the edge or the property is missing.
---@param id integer
---@param name string
---@return sombra.Value?
---@nodiscard
function Tx:edge_get(id, name) end

---Sets the given properties of an edge and keeps the others; `sombra.null` removes one.
---@param id integer
---@param props sombra.Props
function Tx:edge_set(id, props) end

---Makes `props` all the properties of an edge.
---@param id integer
---@param props sombra.Props
function Tx:edge_replace(id, props) end

---Removes properties of an edge; those that are missing are no error.
---@param id integer
---@param name string
---@param ... string
function Tx:edge_remove(id, name, ...) end

---Number of edges, or of those of a type. Exact, O(log n).
---@param type string?
---@return integer
---@nodiscard
function Tx:count_edges(type) end

---Ids of all edges, in order.
---@param options sombra.IdOptions?
---@return fun(): integer?
---@nodiscard
function Tx:edges(options) end

---Names of the types that edges have, and how many edges each.
---@return fun(): string?, integer
---@nodiscard
function Tx:types() end

---@class sombra.NeighbourOptions
---@field limit integer?
---@field reverse boolean?
---@field other integer? only edges to or from this node

---Nodes that edges from `id` lead to, and the edges.
---@param id integer
---@param types sombra.Types
---@param options sombra.NeighbourOptions?
---@return fun(): integer?, integer
---@nodiscard
function Tx:out(id, types, options) end

---Nodes that edges to `id` come from, and the edges.
---@param id integer
---@param types sombra.Types
---@param options sombra.NeighbourOptions?
---@return fun(): integer?, integer
---@nodiscard
function Tx:into(id, types, options) end

---Nodes at the other end of edges from or to `id`, and the edges; the outgoing ones first, a loop once.
---@param id integer
---@param types sombra.Types
---@param options sombra.NeighbourOptions?
---@return fun(): integer?, integer
---@nodiscard
function Tx:both(id, types, options) end

---Edges of a node: edge, type, node at the other end, "out" or "into". The direction defaults to "both".
---@param id integer
---@param direction sombra.Direction?
---@param types sombra.Types
---@param options sombra.NeighbourOptions?
---@return fun(): integer?, string, integer, "out"|"into"
---@nodiscard
function Tx:edges_of(id, direction, types, options) end

---The nodes at the other ends of a node's edges, one for each edge. The direction defaults to "both".
---@param id integer
---@param direction sombra.Direction?
---@param types sombra.Types
---@param options sombra.NeighbourOptions?
---@return integer[]
---@nodiscard
function Tx:neighbours(id, direction, types, options) end

---Number of edges of a node. The direction defaults to "both", where a loop counts once.
---@param id integer
---@param direction sombra.Direction?
---@param type string?
---@return integer
---@nodiscard
function Tx:degree(id, direction, type) end

---@class sombra.BucketOptions
---@field create boolean? make it if it is missing

---A bucket of key-value pairs; nil if it is missing and `create` is not set.
---@param name string
---@param options sombra.BucketOptions?
---@return sombra.Bucket?
function Tx:bucket(name, options) end

---Names of the buckets, in byte order.
---@return fun(): string?
---@nodiscard
function Tx:buckets() end

---State of a `for` loop: the fourth value of every function that returns an iterator. It has no methods.
---@class sombra.Iterator

return sombra
