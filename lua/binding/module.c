/* SPDX-License-Identifier: MIT */
/* luaopen_sombra: the only symbol the module exports. */
#include "procedure.h"
#include "traversal.h"

LUAMOD_API __attribute__((visibility("default"))) int luaopen_sombra(lua_State *L);

/* sombra.info() -> what runs here, and its limits */
static int info(lua_State *L)
{
    lua_createtable(L, 0, 8);
    lua_pushstring(L, sombra_version());
    lua_setfield(L, -2, "version");
    lua_pushliteral(L, LUA_RELEASE); /* the headers the module was built with */
    lua_setfield(L, -2, "lua");
    set_integer(L, "name_bytes_max", SOMBRA_NAME_BYTES_MAX);
    set_integer(L, "key_bytes_max", SOMBRA_KEY_BYTES_MAX);
    set_integer(L, "value_bytes_max", SOMBRA_VALUE_BYTES_MAX);
    set_integer(L, "value_depth_max", SOMBRA_VALUE_DEPTH_MAX);
    return 1;
}

void binding_open_transactions(lua_State *L)
{
    error_register(L);
    iterator_register(L); /* before the classes that have iterators */
    tx_register(L);
    bucket_register(L);
    call_register(L);
    traversal_register(L);
}

int luaopen_sombra(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "open", db_open }, { "repair", db_repair },        { "copy", db_copy },
        { "dump", db_dump }, { "source", procedure_source }, { "info", info },
        { NULL, NULL },
    };
    luaL_checkversion(L);
    binding_open_transactions(L);
    hook_register(L);
    db_register(L);
    luaL_newlib(L, functions);
    value_register(L);
    prepare_register(L);
    lua_pushfstring(L, "sombra %s", sombra_version());
    lua_setfield(L, -2, "_VERSION");
    return 1;
}
