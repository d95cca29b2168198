-- SPDX-License-Identifier: MIT
---@meta sombra

-- Traversals, patterns and paths: the rest of sombra.Tx.

---@class sombra.Tx
local Tx = {}

---@class sombra.Path
---@field nodes integer[]
---@field edges integer[]
---@field length integer edges
---@field cost number

---@alias sombra.Predicate table

---@class sombra.WalkOptions
---@field min? integer hops
---@field max? integer hops
---@field where? sombra.Predicate on edges
---@field nodes? sombra.Predicate on nodes reached
---@field unique? "none"|"edges"|"nodes"

---@class sombra.PathOptions
---@field kind? "shortest"|"all_shortest"|"k_shortest"|"weighted"
---@field k? integer
---@field types? string[]
---@field direction? "out"|"into"|"both"
---@field where? sombra.Predicate on edges
---@field nodes? sombra.Predicate on inner nodes
---@field max? integer edges
---@field weight? string|fun(edge: integer): number
---@field weight_default? number
---@field heuristic? table|fun(node: integer): number
---@field scale? number

---@class sombra.PageOptions
---@field size? integer
---@field after? string

---@class sombra.Bounds
---@field rows? integer
---@field memory? integer bytes
---@field time? number seconds

---All nodes; nodes by id; or nodes with a label.
---@param what? integer|integer[]|string
---@return sombra.Traversal
function Tx:from(what) end

---@param what? string|integer[]
---@return sombra.Traversal
function Tx:from_edges(what) end

---@param pattern table lines, and where, ids, distinct
---@return sombra.Traversal
function Tx:match(pattern) end

---@param from integer|integer[]
---@param to integer|integer[]
---@param options? sombra.PathOptions
---@return sombra.Traversal
function Tx:paths(from, to, options) end

---@param options? table
---@return sombra.Traversal
function Tx:cycles(options) end

---@param options? table
---@return sombra.Traversal
function Tx:topological(options) end

---@param roots integer|integer[]
---@param options? table
---@return sombra.Traversal
function Tx:subgraph(roots, options) end

---@param of "labels"|"types"|"degrees"|"hubs"|"isolated"
---@param options? table
---@return sombra.Traversal
function Tx:statistics(of, options) end

---A question about the graph; every method gives a new one.
---@class sombra.Traversal
local Traversal = {}

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:out(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:into(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:both(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:out_edges(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:into_edges(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:both_edges(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:repeat_out(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:repeat_into(types, options) end

---@param types? sombra.Types
---@param options? sombra.WalkOptions
---@return sombra.Traversal
function Traversal:repeat_both(types, options) end

---@return sombra.Traversal
function Traversal:source() end

---@return sombra.Traversal
function Traversal:target() end

---@return sombra.Traversal
function Traversal:other() end

---@return sombra.Traversal
function Traversal:distinct() end

---@return sombra.Traversal
function Traversal:path() end

---@param predicate sombra.Predicate
---@return sombra.Traversal
function Traversal:where(predicate) end

---@param fn fun(row: any, depth: integer): boolean?
---@return sombra.Traversal
function Traversal:filter(fn) end

---@param ids integer|integer[]
---@return sombra.Traversal
function Traversal:except(ids) end

---@param key string
---@param ... string
---@return sombra.Traversal
function Traversal:order(key, ...) end

---@param n integer
---@return sombra.Traversal
function Traversal:skip(n) end

---@param n integer
---@return sombra.Traversal
function Traversal:limit(n) end

---@param column string|string[]
---@param ... string|string[]
---@return sombra.Traversal
function Traversal:select(column, ...) end

---@param columns? string|table
---@param aggregates? table<string, string|string[]>
---@return sombra.Traversal
function Traversal:group(columns, aggregates) end

---@param fn fun(t: sombra.Traversal): sombra.Traversal
---@return sombra.Traversal
function Traversal:optional(fn) end

---@param fn fun(t: sombra.Traversal): sombra.Traversal
---@param ... fun(t: sombra.Traversal): sombra.Traversal
---@return sombra.Traversal
function Traversal:union(fn, ...) end

---@param fn fun(t: sombra.Traversal): sombra.Traversal
---@param options? table
---@return sombra.Traversal
function Traversal:repeating(fn, options) end

---@param bounds sombra.Bounds
---@return sombra.Traversal
function Traversal:bounded(bounds) end

---@param id integer|integer[]
---@return sombra.Traversal
function Traversal:to(id) end

---@param options? sombra.PathOptions
---@return sombra.Path?
function Traversal:shortest(options) end

---@param options? sombra.PathOptions
---@return sombra.Path?
function Traversal:cheapest(options) end

---@param options? sombra.PathOptions
---@return sombra.Traversal
function Traversal:all_shortest(options) end

---@param k integer
---@param options? sombra.PathOptions
---@return sombra.Traversal
function Traversal:k_shortest(k, options) end

---@return fun(): any, integer?
function Traversal:each() end

---@return any[]
function Traversal:list() end

---@return integer[]
function Traversal:ids() end

---One property of each node or edge; `sombra.null` where it is missing.
---@param name string
---@return sombra.Value[]
function Traversal:values(name) end

---@return any
---@return integer? depth
function Traversal:first() end

---@return boolean
function Traversal:exists() end

---@return integer
function Traversal:count() end

---@param options sombra.PageOptions
---@return any[] rows
---@return string? position
function Traversal:page(options) end

---@return string text
---@return table plan
function Traversal:explain() end

---@return string text
---@return table plan
function Traversal:profile() end
