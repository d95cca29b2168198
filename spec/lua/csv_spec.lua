-- SPDX-License-Identifier: MIT
local csv = require("sombra.csv")

-- A source that gives `text` line by line, as a file does.
local function source_of(text)
  local lines = text:gmatch("[^\n]*\n?")
  return {
    read = function()
      local line = lines()
      return line ~= "" and line or nil
    end,
  }
end

local function read_all(text, options)
  local rows, lines = {}, {}
  for row, line in csv.rows(source_of(text), options) do
    rows[#rows + 1] = row
    lines[#lines + 1] = line
  end
  return rows, lines
end

local function message_of(text, options)
  local ok, message = pcall(read_all, text, options)
  assert.is_false(ok)
  return message
end

describe("csv.rows", function()
  it("names the fields by the first record", function()
    assert.same({ { a = "1", b = "2" }, { a = "3", b = "" } }, (read_all("a,b\n1,2\n3,\n")))
  end)

  it("gives lists when there is no header", function()
    assert.same({ { "a", "b" }, { "", "" } }, (read_all("a,b\n,\n", { header = false })))
  end)

  it("takes the names it is given", function()
    assert.same({ { x = "a", y = "b" } }, (read_all("a,b\n", { header = { "x", "y" } })))
  end)

  it("reads quoted fields with separators, quotes and line ends", function()
    local rows, lines = read_all('"a,b","say ""hi""","two\nlines"\nx,"",z\n', { header = false })
    assert.same({ { "a,b", 'say "hi"', "two\nlines" }, { "x", "", "z" } }, rows)
    assert.same({ 1, 3 }, lines)
  end)

  it("keeps the line ends inside quotes and drops those outside", function()
    assert.same({ { "a\r\nb", "c" }, { "d", "e" } }, (read_all('"a\r\nb",c\r\nd,"e"\r\n', { header = false })))
  end)

  it("does not need a line end at the end of the file", function()
    assert.same({ { "a" }, { "b" } }, (read_all("a\nb", { header = false })))
    assert.same({ { "a" }, { "b" } }, (read_all('a\n"b"', { header = false })))
  end)

  it("skips empty lines and a byte order mark", function()
    assert.same({ { a = "1" } }, (read_all("\xEF\xBB\xBFa\n\n1\n\r\n")))
    assert.same({ { a = "1" } }, (read_all('\xEF\xBB\xBF"a"\n1\n')))
  end)

  it("keeps a record of one empty quoted field", function()
    assert.same({ { "" } }, (read_all('""\n', { header = false })))
  end)

  it("converts columns, and leaves out what becomes nil", function()
    local rows = read_all("n,s\n7,7\nx,y\n", { convert = { n = tonumber } })
    assert.same({ { n = 7, s = "7" }, { s = "y" } }, rows)
    assert.equal("integer", math.type(rows[1].n))
  end)

  it("splits at other separators, magic ones too", function()
    for _, separator in ipairs({ ";", "\t", "|", ".", "%", "]", "^", "-", "x", " " }) do
      local text = ('1%s"2%s"%s\n'):format(separator, separator, separator)
      assert.same({ { "1", "2" .. separator, "" } }, (read_all(text, { header = false, separator = separator })))
    end
  end)

  it("says the line where a quote is never closed", function()
    assert.equal("csv:2: a quoted field is never closed", message_of('a\n"x\ny\nz'))
  end)

  it("says the line where a field is malformed", function()
    assert.matches('^csv:2: text behind a closing quote', message_of('a\n"x"y\n'))
    assert.matches('^csv:3: a quote inside a field', message_of('a\nx\ny"z\n'))
  end)

  it("refuses a record that does not fit the columns", function()
    assert.equal("csv:3: 1 fields where there are 2 columns", message_of("a,b\n1,2\n3\n"))
    assert.equal("csv:2: 3 fields where there are 2 columns", message_of("a,b\n1,2,3\n"))
  end)

  it("refuses a column named twice and a conversion of none", function()
    assert.equal('csv:1: the column "a" is named twice', message_of("a,a\n"))
    assert.equal('csv:1: there is no column "b" to convert', message_of("a\n", { convert = { b = tonumber } }))
  end)

  it("refuses options it does not know", function()
    assert.matches('unknown option "headers"', message_of("a\n", { headers = true }))
    assert.matches("the separator must be one byte", message_of("a\n", { separator = "::" }))
    assert.matches("the separator must be one byte", message_of("a\n", { separator = '"' }))
    assert.matches("cannot be converted", message_of("a\n", { header = false, convert = {} }))
  end)

  it("closes a file that it opened when the loop is left", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write("a\n1\n2\n")
    file:close()
    local _, _, _, opened = csv.rows(path)
    assert.equal("file", io.type(opened))
    opened:close()
    for row in csv.rows(path) do -- luacheck: ignore 512
      assert.equal("1", row.a)
      break
    end
    os.remove(path)
  end)

  it("leaves open a file that it was given", function()
    local file = assert(io.tmpfile())
    file:write("a\n1\n")
    file:seek("set")
    local rows = {}
    for row in csv.rows(file) do
      rows[#rows + 1] = row
    end
    assert.same({ { a = "1" } }, rows)
    assert.equal("file", io.type(file))
    file:close()
  end)

  it("does not take a failed read for the end", function()
    local ok, message = pcall(csv.rows({ read = function() return nil, "Input/output error", 5 end }))
    assert.is_false(ok)
    assert.equal("csv:0: Input/output error", message)
  end)

  it("raises for a file that is not there", function()
    local ok, message = pcall(csv.rows, "/no/such/file.csv")
    assert.is_false(ok)
    assert.matches("/no/such/file.csv: No such file", message)
  end)

  -- What is written by the rules is read back, whatever the text.
  it("reads back every record of random fields", function()
    local seed = tonumber(os.getenv("SOMBRA_SEED")) or os.time()
    math.randomseed(seed)
    local alphabet = { "a", ",", '"', "\n", "\r\n", " ", "é", "\0", ";" }
    for _ = 1, 300 do
      local width, records, text = math.random(1, 4), {}, {}
      for record = 1, math.random(1, 5) do
        local fields, written = {}, {}
        for index = 1, width do
          local parts = {}
          for part = 1, math.random(0, 5) do
            parts[part] = alphabet[math.random(#alphabet)]
          end
          fields[index] = table.concat(parts)
          written[index] = '"' .. fields[index]:gsub('"', '""') .. '"'
          if not fields[index]:find('[,"\r\n]') and fields[index] ~= "" and math.random(2) == 1 then
            written[index] = fields[index]
          end
        end
        records[record], text[record] = fields, table.concat(written, ",")
      end
      local rows = read_all(table.concat(text, "\n"), { header = false })
      assert.same(records, rows, "SOMBRA_SEED=" .. seed)
    end
  end)
end)
