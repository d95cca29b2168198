/* SPDX-License-Identifier: MIT */
/* Metatables: hidden from scripts, with the methods in a table of their own. */
#include "binding.h"

void class_register(lua_State *L, const char *name, const luaL_Reg *metamethods,
                    const luaL_Reg *const *method_sets)
{
    luaL_newmetatable(L, name); /* sets __name */
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
    lua_pushvalue(L, -1);
    luaL_setfuncs(L, metamethods, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    for (; *method_sets; method_sets++) {
        lua_pushvalue(L, -2);
        iterator_push_step(L);
        luaL_setfuncs(L, *method_sets, 2);
    }
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void class_set(lua_State *L, const char *name)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, name);
    lua_setmetatable(L, -2);
}
