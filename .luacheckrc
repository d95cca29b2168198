-- SPDX-License-Identifier: MIT
std = "lua54"
max_line_length = 120
include_files = { "**/*.lua", ".luacheckrc", ".busted" }
exclude_files = { "build*" }
files["spec"] = { std = "+busted" }
-- Definitions for editors: functions without bodies.
files["lua/types"] = { ignore = { "111", "112", "113", "131", "211", "212", "241" } }
