/* SPDX-License-Identifier: MIT */
/* Option tables: one trailing table, read without metamethods, whose unknown keys are errors. */
#include "binding.h"

#include <string.h>

bool option_is_among(const char *name, size_t bytes, const char *const *names)
{
    while (*names && (strlen(*names) != bytes || memcmp(name, *names, bytes) != 0))
        names++;
    return *names != NULL;
}

/* Pushes "a, b or c". */
static void push_words(lua_State *L, const char *const *names)
{
    luaL_Buffer shown;
    luaL_buffinit(L, &shown);
    for (size_t i = 0; names[i]; i++) {
        if (i)
            luaL_addstring(&shown, names[i + 1] ? ", " : " or ");
        luaL_addchar(&shown, '\'');
        luaL_addstring(&shown, names[i]);
        luaL_addchar(&shown, '\'');
    }
    luaL_pushresult(&shown);
}

/* Says the whole name: zero bytes in it would hide what stands behind them. */
void option_unknown(lua_State *L, int arg, const char *name, size_t bytes, const char *const *names)
{
    luaL_Buffer shown;
    luaL_buffinit(L, &shown);
    for (size_t i = 0; i < bytes; i++) {
        if (name[i])
            luaL_addchar(&shown, name[i]);
        else
            luaL_addstring(&shown, "\\0");
    }
    luaL_pushresult(&shown);
    push_words(L, names);
    const char *refused = lua_tostring(L, -2), *expected = lua_tostring(L, -1);
    option_error(L, arg, refused, lua_pushfstring(L, "unknown option; %s expected", expected));
}

const char *word_at(lua_State *L, int index)
{
    size_t bytes;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &bytes) : NULL;
    return text && strlen(text) == bytes ? text : "";
}

int check_choice(lua_State *L, int arg, const char *otherwise, const char *const *names)
{
    if (LIKELY(lua_type(L, arg) == LUA_TSTRING)) {
        size_t bytes;
        const char *given = lua_tolstring(L, arg, &bytes);
        for (int i = 0; names[i]; i++) {
            if (strlen(names[i]) == bytes && memcmp(given, names[i], bytes) == 0)
                return i;
        }
        if (strlen(given) != bytes)
            return luaL_argerror(L, arg, "invalid option: it has a zero byte");
        push_words(L, names);
        const char *words = lua_tostring(L, -1);
        return luaL_argerror(L, arg,
                             lua_pushfstring(L, "invalid option '%s'; %s expected", given, words));
    }
    return luaL_checkoption(L, arg, otherwise, names);
}

bool options_given(lua_State *L, int arg, const char *const *names)
{
    if (lua_isnoneornil(L, arg))
        return false;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_argerror(L, arg, "option names are strings");
        size_t bytes;
        const char *name = lua_tolstring(L, -1, &bytes);
        if (UNLIKELY(!option_is_among(name, bytes, names)))
            option_unknown(L, arg, name, bytes, names);
    }
    return true;
}

int option_error(lua_State *L, int arg, const char *name, const char *what)
{
    return luaL_argerror(L, arg, lua_pushfstring(L, "option '%s': %s", name, what));
}

int option_push(lua_State *L, int arg, const char *name)
{
    lua_pushstring(L, name);
    return lua_rawget(L, arg);
}

bool option_boolean(lua_State *L, int arg, const char *name, bool otherwise)
{
    int type = option_push(L, arg, name);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        option_error(L, arg, name, "boolean expected");
    bool value = type == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

uint64_t option_count(lua_State *L, int arg, const char *name, uint64_t least, uint64_t otherwise)
{
    uint64_t value = otherwise;
    int type = option_push(L, arg, name);
    if (type != LUA_TNIL) {
        int is_integer = 0;
        lua_Integer given = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
        if (!is_integer || given < (lua_Integer)least)
            option_error(L, arg, name,
                         lua_pushfstring(L, "integer of at least %I expected", (lua_Integer)least));
        value = (uint64_t)given;
    }
    lua_pop(L, 1);
    return value;
}

/* False: it is not given. */
static bool seconds_read(lua_State *L, int arg, const char *name, double units, uint64_t *out)
{
    int type = option_push(L, arg, name);
    if (type != LUA_TNIL) {
        lua_Number seconds = type == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (!(seconds >= 0))
            option_error(L, arg, name, "seconds of at least 0 expected");
        lua_Number scaled = seconds * units;
        *out = scaled < 0x1p63 ? (uint64_t)scaled : SOMBRA_WAIT_FOREVER;
        *out += (lua_Number)*out < scaled && *out < SOMBRA_WAIT_FOREVER; /* up, never to 0 */
    }
    lua_pop(L, 1);
    return type != LUA_TNIL;
}

uint64_t option_seconds(lua_State *L, int arg, const char *name, double units)
{
    uint64_t value = 0;
    if (seconds_read(L, arg, name, units, &value) && value == 0)
        option_error(L, arg, name, "seconds above 0 expected");
    return value;
}

uint64_t option_wait_ms(lua_State *L, int arg, const char *name)
{
    uint64_t wait_ms = 0;
    if (seconds_read(L, arg, name, 1000, &wait_ms) && wait_ms == 0)
        return SOMBRA_WAIT_NOT;
    return wait_ms;
}

sombra_durability option_sync(lua_State *L, int arg)
{
    static const struct {
        const char *name;
        sombra_durability durability;
    } choices[] = {
        { "full", SOMBRA_DURABILITY_FULL },
        { "group", SOMBRA_DURABILITY_GROUP },
        { "normal", SOMBRA_DURABILITY_NORMAL },
        { "off", SOMBRA_DURABILITY_OFF },
    };
    sombra_durability durability = SOMBRA_DURABILITY_DEFAULT;
    if (option_push(L, arg, "sync") != LUA_TNIL) {
        const char *given = word_at(L, -1);
        for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
            if (strcmp(given, choices[i].name) == 0)
                durability = choices[i].durability;
        }
        if (durability == SOMBRA_DURABILITY_DEFAULT)
            option_error(L, arg, "sync", "'full', 'group', 'normal' or 'off' expected");
    }
    lua_pop(L, 1);
    return durability;
}
