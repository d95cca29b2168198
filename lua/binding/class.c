/* SPDX-License-Identifier: MIT */
/* Metatables: hidden from scripts, with the methods in a table of their own. */
#include "binding.h"

void class_register(lua_State *L, const char *name, const luaL_Reg *metamethods,
                    const luaL_Reg *const *method_sets)
{
    luaL_newmetatable(L, name); /* sets __name */
    luaL_setfuncs(L, metamethods, 0);
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
