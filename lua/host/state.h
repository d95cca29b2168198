/* SPDX-License-Identifier: MIT */
/* What the host's Lua state holds beyond the standard libraries. */
#ifndef HOST_STATE_H
#define HOST_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

/* One Lua file of the library, compiled into the program (embed.cmake makes the table). */
struct embedded_chunk {
    const char *module; /* "sombra.csv" */
    const char *name;   /* "@sombra/csv.lua", for messages */
    const unsigned char *text;
    size_t bytes;
};
extern const struct embedded_chunk embedded_chunks[];
extern const size_t embedded_chunk_count;

/* Opens the standard libraries and changes three things: the coroutine functions note what runs
 * (interrupt.h), os.exit closes the state unless told not to, and require finds sombra and its
 * Lua half inside the program. May raise; call it protected. */
void state_open_libraries(lua_State *L, bool ignores_environment);

#endif
