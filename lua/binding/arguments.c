/* SPDX-License-Identifier: MIT */
/* Arguments that many methods take: ids, names, lists of names, bucket keys. */
#include "binding.h"

#include <string.h>

uint64_t check_id(lua_State *L, int arg)
{
    int is_integer = 0;
    lua_Integer id = 0;
    if (LIKELY(lua_type(L, arg) == LUA_TNUMBER))
        id = lua_tointegerx(L, arg, &is_integer);
    else
        luaL_typeerror(L, arg, "id");
    if (UNLIKELY(!is_integer || id < 0))
        luaL_argerror(L, arg, "an id is an integer of at least 1");
    return (uint64_t)id;
}

sombra_slice check_name(lua_State *L, int arg)
{
    if (UNLIKELY(lua_type(L, arg) != LUA_TSTRING))
        luaL_typeerror(L, arg, lua_typename(L, LUA_TSTRING));
    sombra_slice name;
    name.data = lua_tolstring(L, arg, &name.bytes);
    if (UNLIKELY(name.bytes == 0))
        luaL_argerror(L, arg, "the name is empty");
    return name;
}

sombra_slice optional_name(lua_State *L, int arg)
{
    sombra_slice none = { NULL, 0 };
    return lua_isnoneornil(L, arg) ? none : check_name(L, arg);
}

bool to_key(lua_State *L, int index, sombra_key *out_key)
{
    int is_key = 0;
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t bytes = 0;
        const char *data = lua_tolstring(L, index, &bytes);
        *out_key = sombra_key_string(data, bytes);
        is_key = 1;
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        /* 1.0 is the key 1; 1.5, inf and NaN are none. */
        *out_key = sombra_key_integer(lua_tointegerx(L, index, &is_key));
    }
    return is_key;
}

sombra_key check_key(lua_State *L, int arg)
{
    sombra_key key;
    if (UNLIKELY(!to_key(L, arg, &key)))
        luaL_typeerror(L, arg, "string or integer");
    return key;
}

static sombra_key option_key(lua_State *L, int arg, const char *name)
{
    sombra_key key;
    if (!to_key(L, -1, &key))
        option_error(L, arg, name, "a key is a string or an integer");
    return key;
}

const sombra_slice *check_names(lua_State *L, int arg, sombra_slice inlined[NAMES_INLINE],
                                size_t *out_count)
{
    if (lua_type(L, arg) != LUA_TTABLE) {
        inlined[0] = optional_name(L, arg);
        *out_count = inlined[0].bytes > 0;
        return inlined;
    }
    size_t count = lua_rawlen(L, arg);
    size_t keys = 0;
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        lua_pop(L, 1);
        keys++;
    }
    if (keys != count)
        luaL_argerror(L, arg, "a name, or a list of names, expected");
    sombra_slice *names = inlined;
    if (count > NAMES_INLINE)
        names = lua_newuserdatauv(L, count * sizeof *names, 0);
    for (size_t i = 0; i < count; i++) {
        if (lua_rawgeti(L, arg, (lua_Integer)(i + 1)) != LUA_TSTRING || lua_rawlen(L, -1) == 0)
            luaL_argerror(L, arg,
                          lua_pushfstring(L, "[%I]: a name is a string of at least one byte",
                                          (lua_Integer)(i + 1)));
        names[i].data = lua_tolstring(L, -1, &names[i].bytes);
        lua_pop(L, 1);
    }
    *out_count = count;
    return names;
}

void check_key_range(lua_State *L, int arg, sombra_key_range *range, sombra_key keys[2])
{
    static const struct {
        const char *name;
        bool is_low;
        size_t offset;
    } bounds[] = {
        { "ge", true, offsetof(sombra_key_range, ge) },
        { "gt", true, offsetof(sombra_key_range, gt) },
        { "le", false, offsetof(sombra_key_range, le) },
        { "lt", false, offsetof(sombra_key_range, lt) },
    };
    *range = (sombra_key_range)SOMBRA_KEY_RANGE_INIT;
    bool is_bound[2] = { false, false };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (option_push(L, arg, bounds[i].name) != LUA_TNIL) {
            bool is_low = bounds[i].is_low;
            if (is_bound[is_low])
                option_error(L, arg, bounds[i].name, "the range has two bounds on this side");
            is_bound[is_low] = true;
            keys[is_low] = option_key(L, arg, bounds[i].name);
            const sombra_key *key = &keys[is_low];
            memcpy((char *)range + bounds[i].offset, &key, sizeof key);
        }
        lua_pop(L, 1);
    }
    if (option_push(L, arg, "prefix") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            option_error(L, arg, "prefix", "string expected");
        range->prefix.data = lua_tolstring(L, -1, &range->prefix.bytes);
    }
    lua_pop(L, 1);
}
