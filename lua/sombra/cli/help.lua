-- SPDX-License-Identifier: MIT

---`sombra help`: texts made of sombra.cli.commands.
local help = {}

local commands = require "sombra.cli.commands"
local words = require "sombra.cli.words"

local width = 80

---Breaks text at spaces. Blank lines stay; `indent` stands before every line.
function help.wrap(text, indent, columns)
  local lines = {}
  for paragraph in (text .. "\n\n"):gmatch("(.-)\n\n+") do
    local line
    for word in paragraph:gmatch("%S+") do
      if line and #indent + #line + 1 + #word > columns then
        lines[#lines + 1] = indent .. line
        line = nil
      end
      line = line and line .. " " .. word or word
    end
    lines[#lines + 1] = line and indent .. line or nil
    lines[#lines + 1] = ""
  end
  lines[#lines] = nil
  return table.concat(lines, "\n")
end

---Two columns; the second one is wrapped.
local function table_of(rows)
  local left_width = 0
  for _, row in ipairs(rows) do
    left_width = math.max(left_width, #row[1])
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local right = help.wrap(row[2], (" "):rep(left_width + 4), width)
    lines[#lines + 1] = ("  %-" .. left_width .. "s"):format(row[1]) .. right:sub(left_width + 3)
  end
  return table.concat(lines, "\n")
end

function help.option_words(option)
  local text = (option.short and "-" .. option.short .. ", " or "") .. "--" .. option.name
  return option.value and text .. " " .. option.value or text
end

local function exit_codes()
  local rows = {}
  for index, row in ipairs(commands.exit_codes) do
    rows[index] = { ("%d"):format(row[1]), row[2] }
  end
  return table_of(rows)
end

---`sombra --help`
function help.overview()
  local options, summaries, environment = {}, {}, {}
  for index, option in ipairs(commands.interpreter) do
    local shown = table.concat(option.words, ", ")
    options[index] = { option.value and shown .. " " .. option.value or shown, option.help }
  end
  for index, command in ipairs(commands.list) do
    summaries[index] = { command.name, command.summary }
  end
  for index, row in ipairs(commands.environment) do
    environment[index] = { table.concat(row[1], ", "), row[2] }
  end
  local parts = {
    "usage: sombra [options] [script [args]]\n       sombra command [options] [arguments]",
    help.wrap([[
Runs a Lua 5.4 script, with require("sombra") built in. Without a script: a prompt when the input is a terminal,
otherwise the input is run.]], "", width),
    "options:\n" .. table_of(options),
    "commands (sombra help COMMAND explains one):\n" .. table_of(summaries),
    help.wrap(commands.rule, "", width),
    "exit codes:\n" .. exit_codes(),
  }
  local lines = {}
  for index, row in ipairs(environment) do
    lines[index] = "  " .. row[1] .. "\n" .. help.wrap(row[2], "      ", width)
  end
  parts[#parts + 1] = "environment:\n" .. table.concat(lines, "\n")
  return table.concat(parts, "\n\n") .. "\n"
end

---`sombra help kv get`
---@param command sombra.cli.Command
function help.page(command)
  local arguments, options = {}, {}
  for index, argument in ipairs(command.arguments) do
    arguments[index] = { argument.name, argument.help }
  end
  for index, option in ipairs(command.options) do
    options[index] = { help.option_words(option), option.help }
  end
  options[#options + 1] = { "--help", "print this text" }
  local parts = {
    "usage: " .. commands.synopsis(command),
    command.summary:gsub("^%l", string.upper) .. ".",
    command.text and help.wrap(command.text, "", width) or nil,
  }
  if #arguments > 0 then
    parts[#parts + 1] = "arguments:\n" .. table_of(arguments)
  end
  parts[#parts + 1] = "options:\n" .. table_of(options)
  return table.concat(parts, "\n\n") .. "\n"
end

---A first word that several commands share.
local function group_page(group)
  local lines = { "usage:" }
  local rows = {}
  for index, command in ipairs(group) do
    lines[#lines + 1] = "  " .. commands.synopsis(command)
    rows[index] = { command.name, command.summary }
  end
  return table.concat(lines, "\n") .. "\n\n" .. table_of(rows) .. "\n"
end

function help.help(arguments, options)
  local first, second = arguments.command, arguments.subcommand
  if options.man then
    io.write(require("sombra.cli.manual").page())
  elseif not first then
    io.write(help.overview())
  else
    local name = second and first .. " " .. second or first
    local command = commands.find(name)
    local group = commands.group(first)
    if command then
      io.write(help.page(command))
    elseif second or #group == 0 then
      words.usage("there is no command '%s'; see sombra --help", name)
    else
      io.write(group_page(group))
    end
  end
end

return help
