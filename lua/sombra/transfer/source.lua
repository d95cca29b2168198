-- SPDX-License-Identifier: MIT

---A file that is read for an import: counts its bytes, and keeps the text of the record at hand for the rejects.
local source = {}

local values = require "sombra.transfer.values"

local meta = {}
meta.__index = meta

function meta:read(format)
  local text, message = self.file:read(format)
  if text then
    self.bytes = self.bytes + #text
    if self.keeps then
      self.kept[#self.kept + 1] = text
    end
  elseif message then
    values.fail("cannot read %s: %s", self.name, message)
  end
  return text
end

---The text read since the last call.
function meta:take()
  local text = table.concat(self.kept)
  self.kept = {}
  return text
end

---Back to the beginning; false for what can be read only once. The standard input counts as such: a part of it may have
---been read by others.
function meta:rewind()
  if self.file == io.stdin or not self.file:seek("set", 0) then
    return false
  end
  self.bytes, self.kept = 0, {}
  return true
end

function meta:close()
  if self.file ~= io.stdin then
    self.file:close()
  end
end
meta.__close = meta.close

---@param path string "-" is the standard input
---@param keeps boolean? keep the text of records
function source.open(path, keeps)
  local file = io.stdin
  if path ~= "-" then
    local opened, message = io.open(path, "rb")
    if not opened then
      values.fail("cannot open %s", message)
    end
    file = opened
  end
  local size = path ~= "-" and file:seek("end") or nil
  if size then
    file:seek("set", 0)
  end
  return setmetatable({
    file = file,
    name = path == "-" and "standard input" or path,
    size = size,
    bytes = 0,
    keeps = keeps,
    kept = {},
  }, meta)
end

return source
