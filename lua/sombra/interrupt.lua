-- SPDX-License-Identifier: MIT

---Ctrl-C, as scripts see it.
local interrupt = {}

---Is the error what Ctrl-C raises (lua/host/interrupt.c)? That is nobody's mistake: who catches errors lets it go on.
function interrupt.is(err)
  return type(err) == "string" and err:find("interrupted!$") ~= nil
end

return interrupt
