/* SPDX-License-Identifier: MIT */
/* Metatables: hidden from scripts, with the methods in a table of their own. */
#include "binding.h"

#include <string.h>

static const char proof_key = 'p'; /* its address is the registry key */
static const char plain_key = 'l'; /* the same in a metatable: the one of plain userdata */

void proof_push(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &proof_key) == LUA_TUSERDATA)
        return;
    lua_pop(L, 1);
    struct proof *proof = lua_newuserdatauv(L, sizeof *proof, PROOF_VALUES);
    *proof = (struct proof){ .tx = NULL, .db = NULL };
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &proof_key);
}

/* Registers functions with the upvalues of methods in the table on top. */
static void set_functions(lua_State *L, const luaL_Reg *functions, int metatable)
{
    lua_pushvalue(L, metatable);
    iterator_push_step(L);
    proof_push(L);
    luaL_setfuncs(L, functions, 3);
}

void class_register(lua_State *L, const char *name, const luaL_Reg *metamethods,
                    const luaL_Reg *const *method_sets)
{
    luaL_newmetatable(L, name); /* sets __name */
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
    set_functions(L, metamethods, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    for (; *method_sets; method_sets++)
        set_functions(L, *method_sets, -2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void class_set(lua_State *L, const char *name)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, name);
    lua_setmetatable(L, -2);
}

void class_register_known(lua_State *L, enum known_class known)
{
    proof_push(L);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, (int)known);
    lua_pop(L, 1);
}

void class_register_plain(lua_State *L, const char *name, enum known_class plain)
{
    proof_push(L);
    luaL_getmetatable(L, name);
    /* If the module is loaded again, userdata of the first time are about. */
    if (lua_rawgetp(L, -1, &plain_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        bool is_gc = lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "__gc") == 0;
        if (lua_type(L, -2) != LUA_TSTRING || is_gc) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, -3, &plain_key);
    lua_setiuservalue(L, -3, (int)plain);
    lua_pop(L, 2);
}

void class_set_known(lua_State *L, enum known_class known)
{
    lua_getiuservalue(L, lua_upvalueindex(3), (int)known);
    lua_setmetatable(L, -2);
}

void *class_check(lua_State *L, const char *name)
{
    void *self = lua_touserdata(L, 1);
    if (self && lua_getmetatable(L, 1)) {
        luaL_getmetatable(L, name);
        lua_rawgetp(L, -1, &plain_key);
        bool is_same = lua_rawequal(L, -1, -3) || lua_rawequal(L, -2, -3);
        lua_pop(L, 3);
        if (is_same)
            return self;
    }
    return luaL_checkudata(L, 1, name);
}
