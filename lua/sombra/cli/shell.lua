-- SPDX-License-Identifier: MIT

---`sombra shell DB`: opens the database; the program then shows its prompt.
local shell = {}

local output = require "sombra.cli.output"

function shell.shell(arguments, options)
  _G.db = output.open(arguments.db, { create = options.create, readonly = options.readonly })
  _G.sombra = require "sombra"
  return 0, true
end

return shell
