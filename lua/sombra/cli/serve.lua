-- SPDX-License-Identifier: MIT

---`sombra serve DB`: metrics over HTTP.
local serve = {}

local output = require "sombra.cli.output"
local words = require "sombra.cli.words"

---A database that is a directory has one writing process, which this one should not be unless told.
local function opens_readonly(http, path, options)
  if options.readonly and options.write then
    words.usage("--readonly and --write exclude each other")
  end
  return options.readonly or (http.is_directory(path) and not options.write) or false
end

function serve.serve(arguments, options)
  local is_there, http = pcall(require, "sombra.serve")
  if not is_there then
    output.fail("only the program sombra can serve, not another Lua")
  end
  local db = output.open(arguments.db, { readonly = opens_readonly(http, arguments.db, options) })
  local server, message, is_usage = http.start(db, options.metrics or "127.0.0.1", options.allow_remote)
  if not server then
    (is_usage and words.usage or output.fail)("%s", message)
  end
  local closing <close> = server -- luacheck: ignore 211
  output.write("http://", server:address(), "/metrics\n")
  io.stdout:flush()
  server:wait()
  server:close()
  output.close(db)
end

return serve
