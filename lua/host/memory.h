/* SPDX-License-Identifier: MIT */
/* The memory of the program's Lua state. */
#ifndef HOST_MEMORY_H
#define HOST_MEMORY_H

#include <lua.h>

/* luaL_newstate with an allocator for small blocks: Lua asks for, and gives back, most of them many
 * at once in few sizes, which malloc joins and cuts anew. One state a process; NULL: no memory. */
lua_State *memory_new_state(void);

/* A lua_Alloc, whose context is not used: `old_bytes` must be right, as Lua's manual says. For
 * tests. */
void *memory_allocate(void *context, void *block, size_t old_bytes, size_t bytes);

#endif
