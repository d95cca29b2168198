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
external_dependencies = {
  DEFLATE = { header = "libdeflate.h" },
  JANSSON = { header = "jansson.h" },
  MD = { header = "sha2.h" },
  XXHASH = { header = "xxhash.h" },
}
build = {
  type = "command",
  build_command = "cmake -S . -B build/rock -DCMAKE_BUILD_TYPE=Release -DSOMBRA_TESTS=OFF"
    .. " && cmake --build build/rock --target sombra_module",
  install = {
    lib = { "build/rock/sombra.so" },
    lua = {
      ["sombra.cli"] = "lua/sombra/cli.lua",
      ["sombra.cli.commands"] = "lua/sombra/cli/commands.lua",
      ["sombra.cli.completions"] = "lua/sombra/cli/completions.lua",
      ["sombra.cli.help"] = "lua/sombra/cli/help.lua",
      ["sombra.cli.kv"] = "lua/sombra/cli/kv.lua",
      ["sombra.cli.maintenance"] = "lua/sombra/cli/maintenance.lua",
      ["sombra.cli.manual"] = "lua/sombra/cli/manual.lua",
      ["sombra.cli.migrate"] = "lua/sombra/cli/migrate.lua",
      ["sombra.cli.output"] = "lua/sombra/cli/output.lua",
      ["sombra.cli.proc"] = "lua/sombra/cli/proc.lua",
      ["sombra.cli.progress"] = "lua/sombra/cli/progress.lua",
      ["sombra.cli.prompt"] = "lua/sombra/cli/prompt.lua",
      ["sombra.cli.serve"] = "lua/sombra/cli/serve.lua",
      ["sombra.cli.shell"] = "lua/sombra/cli/shell.lua",
      ["sombra.cli.transfer"] = "lua/sombra/cli/transfer.lua",
      ["sombra.cli.words"] = "lua/sombra/cli/words.lua",
      ["sombra.csv"] = "lua/sombra/csv.lua",
      ["sombra.export"] = "lua/sombra/export.lua",
      ["sombra.import"] = "lua/sombra/import.lua",
      ["sombra.interrupt"] = "lua/sombra/interrupt.lua",
      ["sombra.literal"] = "lua/sombra/literal.lua",
      ["sombra.migrate"] = "lua/sombra/migrate.lua",
      ["sombra.plain"] = "lua/sombra/plain.lua",
      ["sombra.transfer.csv"] = "lua/sombra/transfer/csv.lua",
      ["sombra.transfer.graphml"] = "lua/sombra/transfer/graphml.lua",
      ["sombra.transfer.jsonl"] = "lua/sombra/transfer/jsonl.lua",
      ["sombra.transfer.source"] = "lua/sombra/transfer/source.lua",
      ["sombra.transfer.values"] = "lua/sombra/transfer/values.lua",
      ["sombra.transfer.xml"] = "lua/sombra/transfer/xml.lua",
    },
  },
}
test_dependencies = { "busted >= 2.0" }
test = { type = "busted" }
