-- SPDX-License-Identifier: MIT

---`sombra completions SHELL`: files made of sombra.cli.commands.
local completions = {}

local commands = require "sombra.cli.commands"

local function option_list(options)
  local list = {}
  for _, option in ipairs(options) do
    list[#list + 1] = "--" .. option.name
  end
  list[#list + 1] = "--help"
  return list
end

local function interpreter_words()
  local list, seen = {}, {}
  for _, option in ipairs(commands.interpreter) do
    for _, word in ipairs(option.words) do
      if not seen[word] and word ~= "-" then
        seen[word] = true
        list[#list + 1] = word
      end
    end
  end
  return list
end

---The second words of a group, or nil for a command of one word.
local function second_words(word)
  if commands.find(word) then
    return nil
  end
  local list = {}
  for _, command in ipairs(commands.group(word)) do
    list[#list + 1] = command.name:match("%S+$")
  end
  return list
end

---Values of the options that have a list of them, as "pattern" and "values".
local function option_choices(command)
  local rows = {}
  for _, option in ipairs(command.options) do
    if option.choices then
      rows[#rows + 1] = { "--" .. option.name, option.choices }
    end
  end
  return rows
end

local function argument_choices(command)
  local list = {}
  for _, argument in ipairs(command.arguments) do
    table.move(argument.choices or {}, 1, #(argument.choices or {}), #list + 1, list)
  end
  return list
end

---- bash and zsh -----------------------------------------------------------------------------------------------------

local bash_frame = [=[
# Completions of sombra for bash; made by `sombra completions bash`.
_sombra() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words= command=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        case $word in
            -*) words="$interpreter" ;;
            *) words="$commands"; compopt -o default ;;
        esac
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        return
    fi
    command=${COMP_WORDS[1]}
    case $command in
$groups    esac
    case "$command $previous" in
$choices    esac
    case $command in
$options        *) compopt -o default; return ;;
    esac
    [[ $word == -* ]] || { words="$plain"; compopt -o default; }
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _sombra sombra
]=]

local function bash()
  local groups, choices, options = {}, {}, {}
  for _, word in ipairs(commands.first_words()) do
    local seconds = second_words(word)
    if seconds then
      groups[#groups + 1] = ([[
        %s)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "%s" -- "$word"))
                return
            fi
            command="%s ${COMP_WORDS[2]}" ;;
]]):format(word, table.concat(seconds, " "), word)
    end
  end
  for _, command in ipairs(commands.list) do
    for _, row in ipairs(option_choices(command)) do
      choices[#choices + 1] = ('        "%s %s") COMPREPLY=($(compgen -W "%s" -- "$word")); return ;;\n')
        :format(command.name, row[1], table.concat(row[2], " "))
    end
    options[#options + 1] = ('        "%s") words="%s"; plain="%s" ;;\n'):format(command.name,
      table.concat(option_list(command.options), " "),
      command.name == "help" and table.concat(commands.first_words(), " ")
        or table.concat(argument_choices(command), " "))
  end
  local text = bash_frame:gsub("%$(%l+)", {
    interpreter = table.concat(interpreter_words(), " "),
    commands = table.concat(commands.first_words(), " "),
    groups = table.concat(groups),
    choices = table.concat(choices),
    options = table.concat(options),
  })
  return (text:gsub("words= command=", "words= command= plain="))
end

---zsh runs the completions of bash.
local function zsh()
  return "#compdef sombra\n# Completions of sombra for zsh; made by `sombra completions zsh`.\n"
    .. "autoload -U +X bashcompinit && bashcompinit\n" .. bash():gsub("^[^\n]*\n", "")
end

---- fish -------------------------------------------------------------------------------------------------------------

local function fish_quote(text)
  return "'" .. text:gsub("\\", "\\\\"):gsub("'", "\\'") .. "'"
end

local function fish()
  local lines = {
    "# Completions of sombra for fish; made by `sombra completions fish`.",
    "function __sombra_at",
    "    set -l words (commandline -opc)",
    '    test "$words[2..-1]" = "$argv"',
    "end",
    "function __sombra_in",
    "    set -l words (commandline -opc)",
    '    string match -q -- "$argv" "$words[2]"; or string match -q -- "$argv" "$words[2..3]"',
    "end",
  }
  local function add(condition, rest)
    lines[#lines + 1] = ("complete -c sombra -n %s %s"):format(fish_quote(condition), rest)
  end
  for _, word in ipairs(commands.first_words()) do
    local command = commands.find(word)
    add("__sombra_at ''", ("-a %s -d %s"):format(word, fish_quote(command and command.summary or "several commands")))
  end
  for _, command in ipairs(commands.list) do
    local first, second = command.name:match("^(%S+) (%S+)$")
    if second then
      add("__sombra_at " .. first, ("-f -a %s -d %s"):format(second, fish_quote(command.summary)))
    end
    local inside = "__sombra_in " .. fish_quote(command.name)
    for _, option in ipairs(command.options) do
      local value = option.choices and " -x -a " .. fish_quote(table.concat(option.choices, " "))
        or option.value and " -r" or ""
      add(inside, ("-l %s%s -d %s"):format(option.name, value, fish_quote(option.help)))
    end
    local choices = argument_choices(command)
    if command.name == "help" then
      choices = commands.first_words()
    end
    if #choices > 0 then
      add(inside, "-f -a " .. fish_quote(table.concat(choices, " ")))
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

local writers = { bash = bash, zsh = zsh, fish = fish }

function completions.completions(arguments)
  io.write((writers[arguments.shell]()))
end

return completions
