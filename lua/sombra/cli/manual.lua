-- SPDX-License-Identifier: MIT

---The manual page sombra(1), made of sombra.cli.commands: `sombra help --man`.
local manual = {}

local commands = require "sombra.cli.commands"
local help = require "sombra.cli.help"

---Text as troff has it: no line begins a request, dashes stay dashes.
local function escape(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("`", "\\(ga"):gsub("~", "\\(ti"):gsub("'", "\\(aq")
  return (text:gsub("^%.", "\\&."):gsub("\n%.", "\n\\&."))
end

local function paragraphs(text)
  return (escape(text):gsub("\n\n+", "\n.PP\n"))
end

local function item(head, text)
  return ".TP\n.B " .. head .. "\n" .. escape(text)
end

local function quoted(text)
  return '"' .. escape(text) .. '"'
end

local description = [[
sombra is a Lua 5.4 interpreter in which require("sombra") opens an embedded graph and key-value database. Everything
else is as in lua(1): the command line, the global arg, the variables of the environment, a first line that starts with
#.

Without a script it shows a prompt when the standard input is a terminal, and runs the standard input otherwise. A
script named - is the standard input too.

It differs from lua(1) in four things. Ctrl-C works inside coroutines: the first raises the error "interrupted!", the
second ends every loop that catches it, the third ends the process. os.exit closes the Lua state unless its second
argument is false, so that open transactions are rolled back. The exit status says what kind of error it was. The
garbage collector stays in incremental mode.]]

local function command_section(command)
  local lines = {
    ".SS " .. quoted(commands.synopsis(command)),
    paragraphs(command.summary:gsub("^%l", string.upper) .. "."),
  }
  if command.text then
    lines[#lines + 1] = ".PP\n" .. paragraphs(command.text)
  end
  for _, argument in ipairs(command.arguments) do
    lines[#lines + 1] = ".TP\n.I " .. argument.name .. "\n" .. escape(argument.help)
  end
  for _, option in ipairs(command.options) do
    lines[#lines + 1] = item(quoted(help.option_words(option)), option.help)
  end
  return table.concat(lines, "\n")
end

function manual.page()
  local version = require("sombra")._VERSION
  local lines = {
    '.\\" SPDX-License-Identifier: MIT',
    '.\\" Made by `sombra help --man`.',
    ('.TH SOMBRA 1 "" "%s" "User Commands"'):format(version),
    ".SH NAME\nsombra \\- " .. commands.summary,
    ".SH SYNOPSIS\n.B sombra\n.RI [ options ]\n.RI [ script\n.RI [ args ]]",
    ".br\n.B sombra\n.I command\n.RI [ options ]\n.RI [ arguments ]",
    ".SH DESCRIPTION\n" .. paragraphs(description),
    ".PP\n" .. paragraphs(commands.rule),
    ".SH OPTIONS",
  }
  for _, option in ipairs(commands.interpreter) do
    local head = table.concat(option.words, ", ")
    lines[#lines + 1] = item(quoted(option.value and head .. " " .. option.value or head), option.help)
  end
  lines[#lines + 1] = ".SH COMMANDS\nOptions of a command may stand anywhere behind its name. "
    .. "A word \\-\\- ends them; \\-\\-help explains the command."
  for _, command in ipairs(commands.list) do
    lines[#lines + 1] = command_section(command)
  end
  lines[#lines + 1] = '.SH "EXIT STATUS"'
  for _, row in ipairs(commands.exit_codes) do
    lines[#lines + 1] = item(tostring(row[1]), row[2])
  end
  lines[#lines + 1] = ".SH ENVIRONMENT"
  for _, row in ipairs(commands.environment) do
    lines[#lines + 1] = item(quoted(table.concat(row[1], ", ")), row[2])
  end
  lines[#lines + 1] = '.SH "SEE ALSO"\n.BR lua (1)\n'
  return table.concat(lines, "\n")
end

return manual
