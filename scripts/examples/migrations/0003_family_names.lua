-- SPDX-License-Identifier: MIT
-- `name` becomes `given` and `family`; there is no way back from what was one name.
return {
  up = function(tx)
    for id in tx:nodes("Person") do
      local given, family = tx:get(id, "name"):match("^(.-)%s*(%S+)$")
      tx:set(id, { given = given, family = family })
    end
    tx:create_index("Person", { "family", "given" })
  end,
}
