/* SPDX-License-Identifier: MIT */
/* sombra.serve: a small HTTP server for what `sombra serve` answers. Part of the program only.
 *
 *   serve.start(db, address, allow_remote) -> server; nil, message, is_usage
 *   server:address() -> "127.0.0.1:9464"    server:wait() -> "SIGTERM"    server:close()
 *   serve.is_directory(path)
 *
 * From start to close SIGINT and SIGTERM are blocked, and wait takes them.
 *
 * Threads: requests are answered on a thread of the server's; it uses the database by the public C
 * API and never the Lua state.
 */
#ifndef HOST_SERVE_H
#define HOST_SERVE_H

#include <lua.h>

int luaopen_sombra_serve(lua_State *L);

#endif
