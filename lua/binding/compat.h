/* SPDX-License-Identifier: MIT */
/* compat: what differs between the Lua versions the module builds against (5.4.0 to 5.5).
 *
 * Only names live here, so that the other files read as plain Lua 5.4.
 */
#ifndef BINDING_COMPAT_H
#define BINDING_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 504
#error "sombra needs Lua 5.4 or newer"
#endif

/* luaL_pushfail arrived with 5.4.0 as nil; kept under one name should that change. */
#ifndef luaL_pushfail
#define luaL_pushfail(L) lua_pushnil(L)
#endif

#endif
