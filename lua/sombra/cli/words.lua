-- SPDX-License-Identifier: MIT

---Reads the words of a command by its row in sombra.cli.commands.
local words = {}

local interrupt = require "sombra.interrupt"
local plain = require "sombra.plain"

---Raises wrong usage: sombra.cli prints it and ends with exit code 2.
function words.usage(message, ...)
  error({ usage = message:format(...) }, 0)
end

---What JSON of the command line stands for.
function words.restore(value, what)
  local restored, result = interrupt.pcall(plain.restore, value)
  if not restored then
    words.usage("%s: %s", what, result)
  end
  return result
end

---What a function of the library gives. It raises a text for what it cannot take as arguments, and these came from the
---command line.
---@param what string the word of the command line
function words.checked(what, fn, ...)
  local results = table.pack(pcall(fn, ...))
  local err = results[2]
  if not results[1] and type(err) == "string" and not interrupt.is(err) then
    words.usage("%s: %s", what, err:match("bad argument #%d+ to '[^']*' %((.*)%)") or err)
  elseif not results[1] then
    error(err, 0)
  end
  return table.unpack(results, 2, results.n)
end

---How many letters must be put in, taken out or changed to make one word of the other.
local function distance(a, b)
  local above = {}
  for j = 0, #b do
    above[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local changed = above[j - 1] + (a:byte(i) == b:byte(j) and 0 or 1)
      row[j] = math.min(changed, above[j] + 1, row[j - 1] + 1)
    end
    above = row
  end
  return above[#b]
end

---The name that a misspelt word may have meant, or nil.
---@param word string
---@param names string[]
function words.nearest(word, names)
  local nearest, least = nil, math.min(3, (#word + 2) // 2)
  for _, name in ipairs(#word <= 40 and names or {}) do
    local steps = distance(word, name)
    if steps < least then
      nearest, least = name, steps
    end
  end
  return nearest
end

local function find_option(command, word)
  local name = word:match("^%-%-(.+)$")
  for _, option in ipairs(command.options) do
    if option.name == name or (option.short and "-" .. option.short == word) then
      return option
    end
  end
  local names = {}
  for index, option in ipairs(command.options) do
    names[index] = "--" .. option.name
  end
  local near = words.nearest(word, names)
  words.usage("there is no option %s; %s", word,
    near and ("did you mean %s?"):format(near) or "see sombra help " .. command.name)
end

local function one_of(choices, word)
  for _, choice in ipairs(choices) do
    if choice == word then
      return true
    end
  end
  return false
end

local function check_value(option, text)
  if option.kind then
    local number = option.kind == "count" and text:match("^%d+$") and math.tointeger(text)
      or option.kind == "number" and text:match("^%d*%.?%d*$") and tonumber(text)
    if not number then
      words.usage("--%s needs a number, not '%s'", option.name, text)
    elseif option.kind == "number" and number == 0 then
      words.usage("--%s is a number above 0, not '%s'", option.name, text)
    elseif option.least and number < option.least then
      words.usage("--%s is at least %d, not '%s'", option.name, option.least, text)
    end
    return number
  end
  if option.choices and not one_of(option.choices, text) then
    words.usage("--%s is one of %s, not '%s'", option.name, table.concat(option.choices, ", "), text)
  end
  return text
end

local function keep(options, option, value)
  local name = option.name:gsub("-", "_")
  if option.repeats then
    options[name] = options[name] or {}
    table.insert(options[name], value)
  elseif options[name] ~= nil then
    words.usage("--%s is given twice", option.name)
  else
    options[name] = value
  end
end

---A word that begins with a dash is an option, but for "-" and what can only be a negative number.
local function is_option(word)
  return word:find("^%-.") and not word:find("^%-%d")
end

local function name_arguments(command, given)
  local arguments = {}
  for index, argument in ipairs(command.arguments) do
    local word = given[index]
    if word == nil and not argument.optional then
      words.usage("%s is missing: %s", argument.name, require("sombra.cli.commands").synopsis(command))
    end
    if word and argument.choices and not one_of(argument.choices, word) then
      words.usage("%s is one of %s, not '%s'", argument.name, table.concat(argument.choices, ", "), word)
    end
    arguments[argument.name:lower()] = argument.repeats and table.move(given, index, #given, 1, {}) or word
  end
  local last = command.arguments[#command.arguments]
  if #given > #command.arguments and not last.repeats then
    words.usage("'%s' is one word too many: %s", given[#command.arguments + 1],
      require("sombra.cli.commands").synopsis(command))
  end
  return arguments
end

---@param command sombra.cli.Command
---@param list string[]
---@param first integer the first word behind the command's name
---@return table arguments by name in lower case
---@return table options by name, "_" for "-"
function words.parse(command, list, first)
  local given, options = {}, {}
  local index = first
  while index <= #list do
    local word = list[index]
    if word == "--" then
      table.move(list, index + 1, #list, #given + 1, given)
      break
    elseif is_option(word) then
      local long, text = word:match("^(%-%-[^=]+)=(.*)$")
      local option = find_option(command, long or word)
      if not option.value then
        if text then
          words.usage("--%s takes no value", option.name)
        end
        keep(options, option, true)
      else
        if not text then
          index = index + 1
          text = list[index] or words.usage("--%s needs a value: --%s %s", option.name, option.name, option.value)
        end
        keep(options, option, check_value(option, text))
      end
    else
      given[#given + 1] = word
    end
    index = index + 1
  end
  return name_arguments(command, given), options
end

return words
