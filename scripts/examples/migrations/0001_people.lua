-- SPDX-License-Identifier: MIT
-- People have a name, and an address of their own.
return {
  up = function(tx)
    tx:create_constraint("Person", "name", { required = true })
    tx:create_index("Person", "email", { unique = true })
  end,
  down = function(tx)
    tx:drop_index("Person", "email", { unique = true })
    tx:drop_constraint("Person", "name", { required = true })
  end,
}
