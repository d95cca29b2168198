-- SPDX-License-Identifier: MIT

---Reads XML token by token, in bounded memory: what GraphML needs of it. UTF-8 only; a document type with declarations
---of its own is refused, so that no entity can blow up.
local xml = {}

local values = require "sombra.transfer.values"

local chunk_bytes = 64 * 1024
local less, exclamation, question = ("<!?"):byte(1, 3)

local meta = {}
meta.__index = meta

function meta:fail(message, ...)
  values.fail("%s:%d: " .. message, self.input.name, self.line, ...)
end

local function more(reader)
  local chunk = reader.input:read(chunk_bytes)
  if not chunk then
    return false
  end
  reader.buffer = reader.buffer:sub(reader.at) .. chunk
  reader.at = 1
  return true
end

---The place of a plain text at or behind `offset` bytes from here, reading on until it is found.
local function find_plain(reader, text, offset)
  local from = offset
  while true do
    local at = reader.buffer:find(text, reader.at + from, true)
    if at then
      return at - reader.at
    end
    from = math.max(offset, #reader.buffer - reader.at + 1 - #text)
    if not more(reader) then
      reader:fail("'%s' is missing before the end of the file", text)
    end
  end
end

---The offset of the ">" that ends a tag, which may also stand inside quotes.
local function find_tag_end(reader)
  local offset = 1
  while true do
    local at = reader.buffer:find("[>\"']", reader.at + offset)
    if not at then
      offset = #reader.buffer - reader.at + 1
      if not more(reader) then
        reader:fail("a tag is never closed")
      end
    else
      local found = reader.buffer:sub(at, at)
      offset = at - reader.at
      if found == ">" then
        return offset
      end
      offset = find_plain(reader, found, offset + 1) + 1
    end
  end
end

local entities = { lt = "<", gt = ">", amp = "&", quot = '"', apos = "'" }

---Text with its references replaced.
local function decode(reader, text)
  if not text:find("&", 1, true) then
    return text
  end
  return (text:gsub("&([^;&]*);?", function(name)
    local digits, base = name:match("^#(%d+)$"), 10
    if not digits then
      digits, base = name:match("^#x(%x+)$"), 16
    end
    local code = digits and #digits < 8 and tonumber(digits, base)
    local is_surrogate = code and code >= 0xD800 and code <= 0xDFFF
    if code and code > 0 and code <= 0x10FFFF and not is_surrogate then
      return utf8.char(code)
    end
    return entities[name] or reader:fail("'&%s;' is not known", name)
  end))
end

local function attributes_of(reader, text)
  local attributes = {}
  local key = text:match('^ key="([^"&\t\r\n]*)"$') -- what most tags are
  if key or text == "" then
    attributes.key = key
    return attributes
  end
  local at = 1
  while text:find("%S", at) do
    local name, _, value, stop = text:match("^%s*([^%s=\"'<>/]+)%s*=%s*([\"'])(.-)%2()", at)
    if not name then
      reader:fail("a tag cannot be read near '%s'", values.shown(text:sub(at)))
    elseif attributes[name] then
      reader:fail("the attribute '%s' stands twice", name)
    end
    attributes[name] = decode(reader, (value:gsub("[\t\r\n]", " ")))
    at = stop
  end
  return attributes
end

---Takes `count` bytes and counts their lines.
local function take(reader, count)
  local text = reader.buffer:sub(reader.at, reader.at + count - 1)
  reader.at = reader.at + count
  local newline = text:find("\n", 1, true)
  while newline do
    reader.line = reader.line + 1
    newline = text:find("\n", newline + 1, true)
  end
  if reader.keeps then
    reader.kept[#reader.kept + 1] = text
  end
  return text
end

local function read_text(reader)
  local from = 0
  while true do
    local at = reader.buffer:find("<", reader.at + from, true)
    if at then
      local text = take(reader, at - reader.at)
      return { kind = "text", text = decode(reader, (text:gsub("\r\n?", "\n"))) }
    end
    from = #reader.buffer - reader.at + 1
    if not more(reader) then
      local text = take(reader, from)
      return text ~= "" and { kind = "text", text = text } or nil
    end
  end
end

local function read_tag(reader)
  local line = reader.line
  local text = take(reader, find_tag_end(reader) + 1)
  local name = text:match("^</([^%s>]+)%s*>$")
  if name then
    return { kind = "end", name = name:match("[^:]+$"), line = line }
  end
  local inner
  name, inner = text:match("^<([^%s/>]+)(.-)/?>$")
  if not name then
    reader:fail("'%s' is no tag", values.shown(text))
  end
  return {
    kind = "start", name = name:match("[^:]+$"), line = line, is_empty = text:sub(-2) == "/>",
    attributes = attributes_of(reader, inner),
  }
end

---What is skipped: instructions, comments, the document type.
local function skip(reader, head)
  if head:sub(1, 2) == "<?" then
    local text = take(reader, find_plain(reader, "?>", 2) + 2)
    local encoding = text:match("encoding%s*=%s*[\"']([^\"']*)")
    if encoding and encoding:lower() ~= "utf-8" and encoding:lower() ~= "us-ascii" then
      reader:fail("the encoding is %s; only UTF-8 is read", encoding)
    end
  elseif head:sub(1, 4) == "<!--" then
    take(reader, find_plain(reader, "-->", 4) + 3)
  elseif take(reader, find_tag_end(reader) + 1):find("[", 1, true) then
    reader:fail("a document type with declarations is not read")
  end
end

---The next token, nil at the end: {kind = "start", name, attributes, is_empty, line}, {kind = "end", name, line},
---{kind = "text", text}. Prefixes of names are dropped.
function meta:next()
  while true do
    while #self.buffer - self.at + 1 < 9 and more(self) do
    end
    local first, second = self.buffer:byte(self.at, self.at + 1)
    if not first then
      return nil
    elseif first ~= less then
      return read_text(self)
    elseif second ~= exclamation and second ~= question then
      return read_tag(self)
    end
    local head = self.buffer:sub(self.at, self.at + 8)
    if head == "<![CDATA[" then
      local text = take(self, find_plain(self, "]]>", 9) + 3)
      return { kind = "text", text = text:sub(10, -4) }
    end
    skip(self, head)
  end
end

---The source of the tokens since the last call, if the input keeps it.
function meta:source()
  local text = table.concat(self.kept)
  self.kept = {}
  return text
end

function xml.reader(input)
  local keeps = input.keeps
  input.keeps = false -- the tokens' own text is kept here
  return setmetatable({ input = input, buffer = "", at = 1, line = 1, kept = {}, keeps = keeps }, meta)
end

---Whether XML can hold the text: characters of UTF-8 without controls.
function xml.holds(text)
  return utf8.len(text) and not text:find("[\0-\8\11\12\14-\31]") and not text:find("\xEF\xBF[\xBE\xBF]")
end

local escapes = { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;", ['"'] = "&quot;",
  ["\r"] = "&#13;", ["\n"] = "&#10;", ["\t"] = "&#9;" }

function xml.escape(text)
  return (text:gsub('[<>&"\r\n\t]', escapes))
end

return xml
