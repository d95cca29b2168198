-- SPDX-License-Identifier: MIT
rockspec_format = "3.0"
package = "sombra"
version = "scm-1"
-- For `luarocks make` in a checkout; released rockspecs name their archive.
source = { url = "git+file://." }
description = {
  summary = "An embedded graph and key-value database",
  detailed = [[
A property graph and ordered key-value buckets in one file, in the same transactions, from Lua 5.4: snapshot reads,
serializable writes, crash safety, several processes.
]],
  license = "MIT",
  labels = { "database", "graph", "key-value", "embedded" },
}
dependencies = { "lua >= 5.4, < 5.6" }
external_dependencies = { DEFLATE = { header = "libdeflate.h" } }
build = {
  type = "command",
  build_command = "cmake -S . -B build/rock -DCMAKE_BUILD_TYPE=Release -DSOMBRA_TESTS=OFF"
    .. " && cmake --build build/rock --target sombra_module",
  install = {
    lib = { "build/rock/sombra.so" },
    lua = { ["sombra.csv"] = "lua/sombra/csv.lua" },
  },
}
test_dependencies = { "busted >= 2.0" }
test = { type = "busted" }
