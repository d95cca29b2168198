-- SPDX-License-Identifier: MIT

---Reads comma-separated values as RFC 4180 has them: fields may stand in double quotes and then hold separators,
---line ends and doubled quotes. Lines end with LF or CRLF; empty lines are skipped; a byte order mark is too.
---
---    local csv = require "sombra.csv"
---    for row, line in csv.rows("people.csv", { convert = { born = math.tointeger } }) do
---      print(line, row.name, row.born)
---    end
---@class sombra.csv
local csv = {}

---@class sombra.csv.Options
---@field separator string? one byte, "," unless told
---@field header boolean|string[]? true (the default): the first record names the columns; a list: these do;
---false: rows are lists of fields
---@field convert table<string, fun(text: string): any>? called with the text of these columns; a field that becomes
---nil is left out of its row

local option_names = { separator = true, header = true, convert = true }
local byte_order_mark = "\xEF\xBB\xBF"
local quote = '"'

---Raises at the line of the file. `reader.line` is the last one read.
local function fail(reader, message, ...)
  error(("%s:%d: " .. message):format(reader.name, reader.line, ...), 0)
end

local function next_line(reader)
  local text, message = reader.source:read("L")
  if text then
    reader.line = reader.line + 1
  elseif message then
    fail(reader, "%s", message)
  end
  return text
end

---A line without a quote, which most are.
local function split_plain(text, separator)
  local find, sub = string.find, string.sub
  local fields, count, start = {}, 0, 1
  while true do
    local stop = find(text, separator, start, true)
    count = count + 1
    if not stop then
      fields[count] = sub(text, start)
      return fields, count
    end
    fields[count] = sub(text, start, stop - 1)
    start = stop + 1
  end
end

---A field in quotes that opens before `start`. Returns its text, the text it ended in (later lines if it spans some)
---and the place behind the closing quote.
local function read_quoted(reader, text, start)
  local parts = {}
  local opened_at = reader.line
  while true do
    local stop = text:find(quote, start, true)
    if not stop then
      parts[#parts + 1] = text:sub(start)
      local more = next_line(reader)
      if not more then
        reader.line = opened_at
        fail(reader, "a quoted field is never closed")
      end
      text, start = more, 1
    elseif text:sub(stop + 1, stop + 1) == quote then
      parts[#parts + 1] = text:sub(start, stop)
      start = stop + 2
    else
      parts[#parts + 1] = text:sub(start, stop - 1)
      return table.concat(parts), text, stop + 1
    end
  end
end

---A record with quotes, from its first line on. `text` still has its line end.
local function split_quoted(reader, text)
  local separator = reader.separator
  local fields, count, start = {}, 0, 1
  while true do
    local field
    if text:sub(start, start) == quote then
      field, text, start = read_quoted(reader, text, start + 1)
    else
      local stop = text:find("[" .. reader.separator_class .. "\r\n]", start) or #text + 1
      field = text:sub(start, stop - 1)
      if field:find(quote, 1, true) then
        fail(reader, "a quote inside a field that does not start with one; quote the field and double the quote")
      end
      start = stop
    end
    count = count + 1
    fields[count] = field
    if text:sub(start, start) ~= separator then
      if not text:find("^\r?\n?$", start) then
        fail(reader, "text behind a closing quote")
      end
      return fields, count
    end
    start = start + 1
  end
end

---The next record as a list, its number of fields and the line it starts at; nil at the end.
local function next_record(reader)
  while true do
    local text = next_line(reader)
    if not text then
      return nil
    end
    local starts_at = reader.line
    if starts_at == 1 and text:sub(1, 3) == byte_order_mark then
      text = text:sub(4)
    end
    if text:find(quote, 1, true) then
      local fields, count = split_quoted(reader, text)
      return fields, count, starts_at
    end
    text = text:gsub("\r?\n$", "")
    if text ~= "" then
      local fields, count = split_plain(text, reader.separator)
      return fields, count, starts_at
    end
  end
end

local function check_columns(reader, columns)
  local seen = {}
  for _, name in ipairs(columns) do
    if seen[name] then
      fail(reader, "the column %q is named twice", name)
    end
    seen[name] = true
  end
  for name in pairs(reader.convert) do
    if not seen[name] then
      fail(reader, "there is no column %q to convert", name)
    end
  end
  return columns
end

local function named_row(reader, columns, fields, count)
  if count ~= #columns then
    fail(reader, "%d fields where there are %d columns", count, #columns)
  end
  local row = {}
  local convert = reader.convert
  for index = 1, count do
    local name, value = columns[index], fields[index]
    local converter = convert[name]
    if converter then
      value = converter(value)
    end
    row[name] = value
  end
  return row
end

local function check_options(options)
  for name in pairs(options) do
    if not option_names[name] then
      error(("unknown option %q"):format(tostring(name)), 3)
    end
  end
  local separator = options.separator or ","
  if type(separator) ~= "string" or #separator ~= 1 or separator:find('["\r\n]') then
    error("the separator must be one byte, and neither a quote nor a line end", 3)
  end
  if options.convert and options.header == false then
    error("columns without names cannot be converted", 3)
  end
  return separator
end

---Opens a path; anything else must have a method `read` as files have.
local function open_source(source)
  if type(source) ~= "string" then
    return source, "csv"
  end
  local file, message = io.open(source, "rb")
  if not file then
    error(message, 3)
  end
  return file, source
end

---Iterates over the records of a file: `for row, line in csv.rows(path) do`. Raises for a file that cannot be opened
---and, with its name and line, for a record that is malformed or does not fit the columns.
---@param source string|file* a path, which the loop closes, or an open file, which it does not
---@param options sombra.csv.Options?
---@return fun(): table<string, any>|string[]|nil, integer
---@return nil
---@return nil
---@return file*? # closed when the loop ends
function csv.rows(source, options)
  options = options or {}
  local separator = check_options(options)
  local file, name = open_source(source)
  local reader = {
    source = file,
    name = name,
    line = 0,
    separator = separator,
    separator_class = "%" .. separator,
    convert = options.convert or {},
  }
  if separator:find("%w") then
    reader.separator_class = separator
  end

  local columns = type(options.header) == "table" and check_columns(reader, options.header) or nil
  local function step()
    local fields, count, line = next_record(reader)
    if fields and options.header ~= false and not columns then
      columns = check_columns(reader, fields)
      fields, count, line = next_record(reader)
    end
    if not fields then
      return nil
    end
    return columns and named_row(reader, columns, fields, count) or fields, line
  end
  return step, nil, nil, file ~= source and file or nil
end

return csv
