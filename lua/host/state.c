/* SPDX-License-Identifier: MIT */
#include "state.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "interrupt.h"
#include "serve.h"

#ifdef SOMBRA_WITH_BINDING
int luaopen_sombra(lua_State *L);
int luaopen_sombra_json(lua_State *L);
int luaopen_sombra_terminal(lua_State *L);
#endif

/* os.exit([code [, close]]) with `close` true by default: a transaction that is open when a script
 * leaves is rolled back, and its database closed, rather than left to the next recovery. */
static int os_exit(lua_State *L)
{
    int code = EXIT_SUCCESS;

    if (lua_isboolean(L, 1))
        code = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    else
        code = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    (void)interrupt_end(L);
    if (lua_isnoneornil(L, 2) || lua_toboolean(L, 2))
        lua_close(L);
    exit(code);
}

/* os.execute, which is the upvalue. The system has SIGINT ignored while the command runs: one that
 * ended the command was meant for the script as well, or a loop of commands would know no end. */
static int os_execute(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (lua_gettop(L) == 3 && lua_isnil(L, 1) && lua_tointeger(L, 3) == SIGINT &&
        strcmp(lua_tostring(L, 2), "signal") == 0)
        (void)raise(SIGINT);
    return lua_gettop(L);
}

static int load_embedded(lua_State *L)
{
    const struct embedded_chunk *chunk = lua_touserdata(L, lua_upvalueindex(1));

    if (luaL_loadbufferx(L, (const char *)chunk->text, chunk->bytes, chunk->name, "t") != LUA_OK)
        return lua_error(L);
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static void open_preload(lua_State *L)
{
#ifdef SOMBRA_WITH_BINDING
    static const luaL_Reg modules[] = {
        { "sombra", luaopen_sombra },
        { "sombra.json", luaopen_sombra_json },
        { "sombra.terminal", luaopen_sombra_terminal },
        { "sombra.serve", luaopen_sombra_serve },
        { NULL, NULL },
    };
#endif

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
#ifdef SOMBRA_WITH_BINDING
    luaL_setfuncs(L, modules, 0);
#endif
    for (size_t index = 0; index < embedded_chunk_count; index++) {
        /* Light userdata cannot point to const; load_embedded only reads. */
        lua_pushlightuserdata(L, (void *)(uintptr_t)&embedded_chunks[index]);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, embedded_chunks[index].module);
    }
    lua_pop(L, 1);
}

void state_open_libraries(lua_State *L, bool ignores_environment)
{
    if (ignores_environment) {
        lua_pushboolean(L, 1); /* read by the package library when it opens */
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    interrupt_open_coroutines(L);
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_pushcfunction(L, os_exit);
    lua_setfield(L, -2, "exit");
    lua_getfield(L, -1, "execute");
    lua_pushcclosure(L, os_execute, 1);
    lua_setfield(L, -2, "execute");
    lua_pop(L, 1);
    open_preload(L);
}
