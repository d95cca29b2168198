-- SPDX-License-Identifier: MIT

---Ctrl-C, as scripts see it.
local interrupt = {}

---Is the error what Ctrl-C raises (lua/host/interrupt.c)? That is nobody's mistake: who catches errors lets it go on.
function interrupt.is(err)
  return type(err) == "string" and err:find("interrupted!$") ~= nil
end

local function pass(is_good, result, ...)
  if not is_good and interrupt.is(result) then
    error(result, 0)
  end
  return is_good, result, ...
end

---pcall of what may be given bad data: it catches all errors but Ctrl-C, which is not about them.
function interrupt.pcall(fn, ...)
  return pass(pcall(fn, ...))
end

return interrupt
