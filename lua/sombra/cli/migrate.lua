-- SPDX-License-Identifier: MIT

---migrate
local migrate = {}

local interrupt = require "sombra.interrupt"
local output = require "sombra.cli.output"
local sombra = require "sombra"

local function print_states(db, directory, options)
  local list = db:migrations(directory)
  if options.json then
    return output.json(sombra.list(list))
  end
  for _, item in ipairs(list) do
    output.write(("%04d_%s: %s%s\n"):format(item.number, item.name, item.state,
      item.time and os.date(" %Y-%m-%d %H:%M:%S", item.time) or ""))
  end
end

---What is wrong with the files is said in words, which say where: no trace of this program is wanted then.
local function in_words(ok, ...)
  if ok then
    return ...
  end
  local err = ...
  if type(err) == "string" and not interrupt.is(err) then
    output.fail("%s", err)
  end
  error(err, 0)
end

function migrate.migrate(arguments, options)
  local db <close> = options.status and not options.create and output.open_permitted(arguments.db)
    or output.open(arguments.db, { create = options.create })
  if options.status then
    in_words(pcall(print_states, db, arguments.directory, options))
    return output.close(db)
  end
  local done = in_words(pcall(db.migrate, db, arguments.directory, {
    to = options.to,
    dry_run = options.dry_run,
    progress = not options.json and function(step)
      output.write(("%04d_%s: %s%s\n"):format(step.number, step.name, step.direction,
        options.dry_run and " (rolled back)" or ""))
    end or nil,
  }))
  output.close(db)
  if options.json then
    output.json(sombra.list(done))
  elseif #done == 0 then
    output.write("nothing to do\n")
  end
end

return migrate
