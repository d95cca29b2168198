-- SPDX-License-Identifier: MIT
---@meta sombra

---An ordered map: integers first, in numeric order, then strings, in byte order. It ends with its transaction.
---@class sombra.Bucket
local Bucket = {}

---@param key sombra.Key
---@return sombra.Value?
---@nodiscard
function Bucket:get(key) end

---The values of all these keys that are there, by key, in one sweep over the bucket.
---@param keys sombra.Key[]
---@return table<sombra.Key, sombra.Value>
---@nodiscard
function Bucket:get_many(keys) end

---Inserts or replaces.
---@param key sombra.Key
---@param value sombra.Value
function Bucket:put(key, value) end

---@param key sombra.Key
---@return boolean deleted false if it was not there
function Bucket:delete(key) end

---@class sombra.KeyRange
---@field ge sombra.Key?
---@field gt sombra.Key?
---@field le sombra.Key?
---@field lt sombra.Key?
---@field prefix string? string keys that begin with it

---@class sombra.ScanOptions: sombra.KeyRange
---@field limit integer?
---@field reverse boolean? highest first

---Keys and values in order. The loop sees what is written behind the key it stands on.
---@param range sombra.ScanOptions?
---@return fun(): sombra.Key?, sombra.Value
---@nodiscard
function Bucket:scan(range) end

---Exact, O(log n).
---@param range sombra.KeyRange?
---@return integer
---@nodiscard
function Bucket:count(range) end

---Deletes a range; `{}` is everything.
---@param range sombra.KeyRange
---@return integer deleted how many
function Bucket:delete_range(range) end

---Removes the bucket and all that is in it.
function Bucket:drop() end
