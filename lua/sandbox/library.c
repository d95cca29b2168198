/* SPDX-License-Identifier: MIT */
/* The allow-list: what a sandboxed script can reach, and nothing else.
 *
 * Taken from Lua as it is: functions that do a bounded piece of work and tell no addresses.
 * Replaced: what loops in C, makes blocks of any size, takes bytecode, shows addresses, marks
 * finalizers (hooks are off in them), or runs a script's handler while the hook is off.
 */
#include "sandbox_internal.h"

#include <string.h>
#include <sys/random.h>

#include <lauxlib.h>
#include <lualib.h>

/* ---- base -------------------------------------------------------------------------------- */

void sandbox_tostring(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) {
        lua_pop(L, 1);
        luaL_tolstring(L, index, NULL);
        return;
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
        luaL_tolstring(L, index, NULL);
        return;
    default:
        break;
    }
    int name = luaL_getmetafield(L, index, "__name");
    if (name == LUA_TSTRING)
        return;
    if (name != LUA_TNIL)
        lua_pop(L, 1);
    lua_pushstring(L, luaL_typename(L, index));
}

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    sandbox_tostring(L, 1);
    return 1;
}

/* A finalizer is marked only here, and hooks are off while it runs. */
static int base_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    if (type == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "finalizers (__gc) are not available here");
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* The script's handler as upvalue 1. When the sandbox was killed, hooks are off here. */
static int call_handler(lua_State *L)
{
    if (sandbox_is_killed(L))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int protected_results(lua_State *L, int status, lua_KContext under)
{
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_pushboolean(L, 0);
        lua_pushvalue(L, -2);
        return 2;
    }
    return lua_gettop(L) - (int)under;
}

static int base_xpcall(lua_State *L)
{
    int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    sandbox_tick(L, 100);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, call_handler, 1);
    lua_replace(L, 2);     /* function, handler, arguments */
    lua_pushboolean(L, 1); /* the first result */
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    int status = lua_pcallk(L, arguments, LUA_MULTRET, 2, 2, protected_results);
    return protected_results(L, status, 2);
}

static int base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    sandbox_tick(L, 100);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, protected_results);
    return protected_results(L, status, 0);
}

/* load(text [, name [, "t" [, env]]]) */
static int base_load(lua_State *L)
{
    size_t bytes;
    const char *text = luaL_checklstring(L, 1, &bytes);
    const char *name = luaL_optstring(L, 2, "=(load)");
    const char *mode = luaL_optstring(L, 3, "t");
    bool has_env = !lua_isnone(L, 4);
    if (!strchr(mode, 't'))
        return luaL_argerror(L, 3, "only text can be loaded here");
    if (bytes > SANDBOX_SOURCE_BYTES_MAX)
        return luaL_argerror(L, 1, "the source is too long");
    sandbox_tick(L, 1000 + bytes * 50);
    if (sandbox_compile(L, text, bytes, name) != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (has_env) {
        lua_pushvalue(L, 4);
        if (!lua_setupvalue(L, -2, 1))
            lua_pop(L, 1);
    }
    return 1;
}

static int base_collectgarbage(lua_State *L)
{
    const char *option = luaL_optstring(L, 1, "count");
    if (strcmp(option, "count") != 0)
        return luaL_argerror(L, 1, "only \"count\" is available here");
    lua_pushnumber(L, (double)sandbox_memory(sandbox_of(L)) / 1024.0);
    return 1;
}

static const luaL_Reg base_own[] = {
    { "tostring", base_tostring },
    { "setmetatable", base_setmetatable },
    { "xpcall", base_xpcall },
    { "pcall", base_pcall },
    { "load", base_load },
    { "collectgarbage", base_collectgarbage },
    { NULL, NULL },
};
static const char *const base_taken[] = {
    "assert", "error",  "getmetatable", "ipairs",   "next", "pairs",    "rawequal", "rawget",
    "rawlen", "rawset", "select",       "tonumber", "type", "_VERSION", NULL,
};

/* ---- other libraries --------------------------------------------------------------------- */

/* The function as upvalue 1. */
static int tick_and_call(lua_State *L)
{
    uint64_t bytes = 50;
    for (int i = 1; i <= lua_gettop(L); i++) {
        if (lua_type(L, i) == LUA_TSTRING)
            bytes += lua_rawlen(L, i);
    }
    sandbox_tick(L, bytes);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

void sandbox_tick_strings(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, tick_and_call, 1);
    lua_setfield(L, -2, name);
}

/* The library that `open` makes, of which only `names` are copied; pushes the copy. */
static void take(lua_State *L, lua_CFunction open, const char *library, const char *const *names)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, library);
    lua_call(L, 1, 1);
    lua_newtable(L);
    for (; *names; names++) {
        lua_getfield(L, -2, *names);
        if (lua_isnil(L, -1)) /* of a newer Lua */
            lua_pop(L, 1);
        else
            lua_setfield(L, -2, *names);
    }
    lua_remove(L, -2);
}

/* A new thread has its maker's hook, and a count of instructions of its own, from 0. */
static int note_and_call(lua_State *L)
{
    sandbox_note_thread(L);
    return tick_and_call(L);
}

static void open_coroutine(lua_State *L)
{
    static const char *const names[] = { "close",  "create", "isyieldable", "resume", "running",
                                         "status", "wrap",   "yield",       NULL };
    take(L, luaopen_coroutine, LUA_COLIBNAME, names);
    for (const char *const *name = (const char *const[]){ "create", "wrap", NULL }; *name; name++) {
        lua_getfield(L, -1, *name);
        lua_pushcclosure(L, note_and_call, 1);
        lua_setfield(L, -2, *name);
    }
}

const char sandbox_seed_key = 's';

static void open_math(lua_State *L, uint64_t seed)
{
    static const char *const names[] = { "abs",        "acos", "asin", "atan",       "ceil",
                                         "cos",        "deg",  "exp",  "floor",      "fmod",
                                         "huge",       "log",  "max",  "maxinteger", "min",
                                         "mininteger", "modf", "pi",   "rad",        "random",
                                         "randomseed", "sin",  "sqrt", "tan",        "tointeger",
                                         "type",       "ult",  NULL };
    take(L, luaopen_math, LUA_MATHLIBNAME, names);
    /* Without arguments it would take an address for a seed. */
    lua_getfield(L, -1, "randomseed");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sandbox_seed_key);
    lua_pushinteger(L, (lua_Integer)seed);
    lua_pushinteger(L, (lua_Integer)(seed >> 32));
    lua_call(L, 2, 0);
    lua_pushnil(L);
    lua_setfield(L, -2, "randomseed");
}

static void open_utf8(lua_State *L)
{
    static const char *const names[] = { "char", "charpattern", "codepoint", "codes",
                                         "len",  "offset",      NULL };
    take(L, luaopen_utf8, LUA_UTF8LIBNAME, names);
    sandbox_tick_strings(L, "codepoint");
    sandbox_tick_strings(L, "len");
    sandbox_tick_strings(L, "offset");
}

static void open_os(lua_State *L)
{
    static const char *const names[] = { "clock", "date", "difftime", "time", NULL };
    take(L, luaopen_os, LUA_OSLIBNAME, names);
    sandbox_tick_strings(L, "date");
}

/* The collector takes time in the square of the number of keys for weak tables whose values lead to
 * other keys, some hours in 64 MiB, and no hook ends it. It knows a weak table by the one string
 * "__mode" of the state. That becomes another text here, which nobody can guess; a script's own
 * "__mode" is then another string, that means nothing. */
static void forget_weak_tables(lua_State *L)
{
    uint64_t secret = 0;
    if (getrandom(&secret, sizeof secret, GRND_NONBLOCK) < 0)
        secret = (uintptr_t)L * UINT64_C(0x9e3779b97f4a7c15);
    lua_pushliteral(L, "__mode");
    memcpy((char *)(uintptr_t)lua_tostring(L, -1), &secret, strlen("__mode"));
    lua_pop(L, 1);
}

void sandbox_open_libraries(lua_State *L, uint64_t seed, bool has_clock)
{
    luaL_checkversion(L);
    forget_weak_tables(L);
    lua_pushglobaltable(L);
    take(L, luaopen_base, LUA_GNAME, base_taken);
    /* luaopen_base writes into the globals themselves: begin again with what was taken. */
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, -5);
    }
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, base_own, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, LUA_GNAME);
    sandbox_open_string(L);
    lua_setfield(L, -2, LUA_STRLIBNAME);
    sandbox_open_table(L);
    lua_setfield(L, -2, LUA_TABLIBNAME);
    open_coroutine(L);
    lua_setfield(L, -2, LUA_COLIBNAME);
    open_math(L, seed);
    lua_setfield(L, -2, LUA_MATHLIBNAME);
    open_utf8(L);
    lua_setfield(L, -2, LUA_UTF8LIBNAME);
    if (has_clock) {
        open_os(L);
        lua_setfield(L, -2, LUA_OSLIBNAME);
    }
    lua_pop(L, 1);
}
