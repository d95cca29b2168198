-- SPDX-License-Identifier: MIT
-- The people everything begins with.
return {
  up = function(tx)
    tx:create_many("Person", {
      { name = "Ada Lovelace", email = "ada@example.org" },
      { name = "Charles Babbage", email = "charles@example.org" },
    })
  end,
  down = function(tx)
    for _, name in ipairs { "ada", "charles" } do
      tx:delete(tx:find("Person", "email", name .. "@example.org"), { detach = true })
    end
  end,
}
