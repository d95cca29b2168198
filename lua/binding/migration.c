/* SPDX-License-Identifier: MIT */
/* Migrations: what lua/sombra/migrate.lua needs and plain Lua has not (names in a
 * directory, a hash, the library's own bucket), and the calls into it.
 */
#include "procedure.h"

#include <dirent.h>
#include <errno.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

#define MODULE "sombra.migrate"

/* An open directory that a raise does not lose. */
static int directory_gc(lua_State *L)
{
    DIR **directory = lua_touserdata(L, 1);
    if (*directory)
        closedir(*directory);
    *directory = NULL;
    return 0;
}

static DIR **push_directory(lua_State *L)
{
    DIR **directory = lua_newuserdatauv(L, sizeof *directory, 0);
    *directory = NULL;
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, directory_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, directory_gc);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    return directory;
}

/* files(directory) -> names, sorted; or nil and a message */
static int files(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    DIR **directory = push_directory(L);
    lua_toclose(L, -1);
    *directory = opendir(path);
    if (!*directory)
        return luaL_fileresult(L, 0, path);
    lua_newtable(L);
    lua_Integer count = 0;
    struct dirent *entry;
    while ((entry = readdir(*directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++count);
    }
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_pushvalue(L, -3);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
    return 1;
}

/* sha256(text) -> hexadecimal digits */
static int sha256(lua_State *L)
{
    size_t bytes;
    char digits[SHA256_DIGEST_STRING_LENGTH];
    const char *text = luaL_checklstring(L, 1, &bytes);
    SHA256Data((const uint8_t *)text, bytes, digits);
    lua_pushstring(L, digits);
    return 1;
}

/* bucket(tx, name, create) -> one of the library's own buckets, or nil */
static int bucket(lua_State *L)
{
    size_t bytes;
    struct tx_handle *tx = class_check(L, TX_NAME);
    const char *name = luaL_checklstring(L, 2, &bytes);
    sombra_bucket_options options = SOMBRA_BUCKET_OPTIONS_INIT;
    options.create = lua_toboolean(L, 3);
    options.is_internal = true;
    if (!tx_is_open(tx))
        return tx_raise_over(L, tx);
    lua_settop(L, 3);
    sombra_err err = bucket_push(L, 1, (sombra_slice){ name, bytes }, &options);
    if (err == SOMBRA_NOT_FOUND)
        lua_pushnil(L);
    else if (err)
        return error_raise(L, err);
    return 1;
}

/* Pushes a function of the module, and its first argument: what is above. */
static void push_call(lua_State *L, const char *function)
{
    static const luaL_Reg system[] = {
        { "files", files }, { "sha256", sha256 }, { "bucket", bucket }, { NULL, NULL }
    };
    lua_getglobal(L, "require");
    lua_pushliteral(L, MODULE);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, function);
    lua_remove(L, -2);
    luaL_newlib(L, system);
}

/* db:migrate(directory [, {to, dry_run, progress}]) -> list of what was run */
static int db_migrate(lua_State *L)
{
    static const char *const names[] = { "to", "dry_run", "progress", NULL };
    (void)db_self(L);
    luaL_checkstring(L, 2);
    lua_settop(L, 3);
    if (options_given(L, 3, names)) {
        (void)option_count(L, 3, "to", 0, 0);
        (void)option_boolean(L, 3, "dry_run", false);
        if (option_push(L, 3, "progress") != LUA_TNIL && !lua_isfunction(L, -1))
            option_error(L, 3, "progress", "function expected");
        lua_pop(L, 1);
    } else {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    push_call(L, "run");
    for (int i = 1; i <= 3; i++)
        lua_pushvalue(L, i);
    lua_call(L, 4, 1);
    return 1;
}

/* db:migrations(directory) -> list of {number, name, state, time, file} */
static int db_migrations(lua_State *L)
{
    (void)db_self(L);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    push_call(L, "status");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 3, 1);
    return 1;
}

/* The history is for who has the files. */
static struct tx_handle *tx_outside(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    if (call_of(L))
        error_raise_text(L, SOMBRA_INVALID, "procedures have no migrations");
    return tx;
}

/* tx:migrations() -> list of {number, name, hash, time, state, cursor} */
static int tx_migrations(lua_State *L)
{
    (void)tx_outside(L);
    lua_settop(L, 1);
    push_call(L, "rows");
    lua_pushvalue(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* tx:adopt_migration(row) -> whether it was new */
static int tx_adopt_migration(lua_State *L)
{
    (void)tx_outside(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    push_call(L, "adopt");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 3, 1);
    return 1;
}

const luaL_Reg tx_migration_methods[] = {
    { "migrations", tx_migrations },
    { "adopt_migration", tx_adopt_migration },
    { NULL, NULL },
};

const luaL_Reg db_migration_methods[] = {
    { "migrate", db_migrate },
    { "migrations", db_migrations },
    { NULL, NULL },
};
