-- SPDX-License-Identifier: MIT

---The commands of the program `sombra`, for any Lua 5.4: `require("sombra.cli").main{ "stats", "social.sombra" }`.
---@class sombra.cli
local cli = {}

local commands = require "sombra.cli.commands"
local interrupt = require "sombra.interrupt"
local words = require "sombra.cli.words"

---Whether a word at the beginning of the command line is a command, and not the name of a script. What is neither is
---a command misspelt: `main` says so.
---@param word string
---@return boolean
function cli.is_command(word)
  local file = #commands.group(word) == 0 and io.open(word)
  if file then
    file:close()
  end
  return not file
end

local function refuse(word)
  local near = words.nearest(word, commands.first_words())
  words.usage("there is no command and no file '%s'; %s", word,
    near and ("did you mean %s?"):format(near) or "see sombra --help")
end

---The command that a command line begins with, and the index of the first word behind its name.
local function find(list)
  local first, second = list[1], list[2]
  local command = commands.find(first)
  if command then
    return command, 2
  end
  command = second and commands.find(first .. " " .. second)
  if command then
    return command, 3
  end
  local names = {}
  for _, member in ipairs(commands.group(first)) do
    names[#names + 1] = member.name:match("%S+$")
  end
  if #names == 0 then
    refuse(first)
  end
  words.usage("the next word must be one of %s; see sombra help %s", table.concat(names, ", "), first)
end

---`sombra stats --help` is `sombra help stats`.
local function asks_for_help(list)
  for _, word in ipairs(list) do
    if word == "--help" or word == "-h" then
      return true
    elseif word == "--" then
      return false
    end
  end
end

local function run(list)
  if asks_for_help(list) then
    local first, second = list[1], list[2]
    list = { "help", first, commands.find(first .. " " .. tostring(second)) and second or nil }
  end
  local command, first = find(list)
  local arguments, options = words.parse(command, list, first)
  return require(command.module)[command.run](arguments, options)
end

---The exit code that an error object stands for; docs/host.md lists them.
local function exit_code_of(err)
  if err.code == "limit" then
    return 4
  elseif err.code == "io" or err.code == "corrupt" or err.code == "unsupported" or err.path then
    return 3
  end
  return 1
end

---Message handler. What is not a failure of the database, of the user's words or of files is one of this program,
---and shows where.
local function explain(err)
  if type(err) == "table" and err.usage then
    return { text = err.usage, code = 2 }
  elseif type(err) == "table" and err.code then
    return { text = (err.migration and err.migration .. ": " or "") .. tostring(err.message), code = exit_code_of(err) }
  elseif type(err) == "table" and err.failure then
    return { text = err.failure, code = 1 }
  elseif interrupt.is(err) then -- behind what an import says of it
    local kept = err:match("^(the %d+ records [%l ]+): ") or err:match("^(nothing was imported): ")
    return { text = kept and "interrupted; " .. kept or "interrupted", code = 130 }
  end
  return { text = debug.traceback(tostring(err)), code = 1 }
end

---The library tells of its option `create`, which is one of few commands.
local function in_options(command, text)
  for _, option in ipairs(command and command.options or {}) do
    if option.name == "create" then
      return (text:gsub("%(option create makes one%)", "(--create makes one)"))
    end
  end
  return (text:gsub(" %(option create makes one%)", ""))
end

---Runs a command line and prints why it failed, if it does.
---@param list string[] the words behind the program's name
---@return integer code for the process to exit with
---@return boolean? wants_prompt the caller is to show a prompt
function cli.main(list)
  local done, code, wants_prompt = xpcall(run, explain, list)
  local is_written, why = io.stdout:flush()
  if done and not is_written then -- the end of it was still in the buffer
    done, code = false, { text = "cannot write the output: " .. tostring(why), code = 1 }
  end
  if done then
    return code or 0, wants_prompt
  end
  local command = commands.find(list[1]) or commands.find(list[1] .. " " .. tostring(list[2]))
  if #commands.group(list[1]) == 0 then
    io.stderr:write("sombra: ", code.text, "\n")
  else
    io.stderr:write("sombra ", command and command.name or list[1], ": ", in_options(command, code.text), "\n")
  end
  return code.code
end

return cli
