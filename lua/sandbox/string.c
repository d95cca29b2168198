/* SPDX-License-Identifier: MIT */
/* The string library: Lua's own functions where one pass over the arguments is all they do, with
 * that pass counted; our own where C loops, sizes or addresses are at stake. Patterns are in
 * pattern.c.
 */
#include "sandbox.h"

#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

enum { COPY_BYTES_OF_WORK = 16 };

static int string_rep(lua_State *L)
{
    size_t bytes, separator_bytes;
    luaL_Buffer buffer;
    const char *text = luaL_checklstring(L, 1, &bytes);
    lua_Integer count = luaL_checkinteger(L, 2);
    const char *separator = luaL_optlstring(L, 3, "", &separator_bytes);
    if (count <= 0 || bytes + separator_bytes == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    uint64_t total;
    if (__builtin_mul_overflow((uint64_t)count, (uint64_t)(bytes + separator_bytes), &total))
        total = UINT64_MAX;
    else
        total -= separator_bytes;
    sandbox_check_block(L, total, "rep");
    if (total > LUA_MAXINTEGER)
        return luaL_error(L, "rep: the result would be too long");
    /* One-byte pieces cost more than their copies. */
    sandbox_tick(L, total / COPY_BYTES_OF_WORK + (uint64_t)count);
    char *to = luaL_buffinitsize(L, &buffer, (size_t)total);
    for (;;) {
        memcpy(to, text, bytes);
        to += bytes;
        if (--count == 0)
            break;
        memcpy(to, separator, separator_bytes);
        to += separator_bytes;
    }
    luaL_pushresultsize(&buffer, (size_t)total);
    return 1;
}

/* The end of one conversion that begins behind its '%'; its letter. */
static const char *conversion_end(const char *at, const char *end)
{
    while (at < end && (strchr("-+ #0.", *at) || (*at >= '0' && *at <= '9')))
        at++;
    return at;
}

/* Lua's format, with what %s shows made before, without addresses. */
static int string_format(lua_State *L)
{
    size_t bytes;
    const char *text = luaL_checklstring(L, 1, &bytes), *end = text + bytes;
    uint64_t total = bytes;
    int argument = 1, top = lua_gettop(L);
    for (const char *at = text; at < end; at++) {
        if (*at != '%')
            continue;
        if (++at < end && *at == '%')
            continue;
        at = conversion_end(at, end);
        if (at == end)
            break;
        if (*at == 'p')
            return luaL_error(L, "format: addresses (%%p) are not available here");
        if (++argument > top)
            break; /* Lua says what is missing */
        if (*at == 's') {
            sandbox_tostring(L, argument);
            lua_replace(L, argument);
        }
        /* A float of %f has up to 310 digits, a quoted byte up to 4. */
        total += lua_type(L, argument) == LUA_TSTRING ? (uint64_t)lua_rawlen(L, argument) * 4 + 100
                                                      : 512;
    }
    sandbox_tick(L, total);
    if (total > (uint64_t)1 << 20)
        sandbox_check_block(L, total / 4, "format");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, top, 1);
    return 1;
}

void sandbox_open_string(lua_State *L)
{
    static const char *const taken[] = { "byte", "char",    "len",    "lower", "pack",   "packsize",
                                         "sub",  "reverse", "unpack", "upper", "format", NULL };
    static const char *const ticking[] = { "byte",    "char",   "lower", "pack", "packsize",
                                           "reverse", "unpack", "upper", NULL };
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0); /* sets the metatable of strings, too */
    lua_newtable(L);
    for (const char *const *name = taken; *name; name++) {
        lua_getfield(L, -2, *name);
        lua_setfield(L, -2, *name);
    }
    lua_remove(L, -2);
    for (const char *const *name = ticking; *name; name++)
        sandbox_tick_strings(L, *name);
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, string_format, 1);
    lua_setfield(L, -2, "format");
    lua_pushcfunction(L, string_rep);
    lua_setfield(L, -2, "rep");
    sandbox_open_pattern(L);
    lua_pushnil(L); /* Lua's whole library is not to be found in the registry */
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushliteral(L, "");
    if (!lua_getmetatable(L, -1))
        luaL_error(L, "strings have no metatable");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}
