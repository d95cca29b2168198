/* SPDX-License-Identifier: MIT */
/* From encoded values to Lua ones. sombra.null and the metatable of lists are here too.
 *
 * A push may run a finalizer of a script, which may use the transaction whose bytes are being read.
 * So a list or map is decoded from a copy: on the C stack if it is small, else a Lua string.
 */
#include "binding.h"

#include <string.h>

enum { COPY_INLINE_BYTES = 1024 };

static void push_any(lua_State *L, const sombra_value *value);

/* Bytes that the engine gave are damaged: raises CORRUPT. */
static void raise_if(lua_State *L, sombra_err err)
{
    if (UNLIKELY(err))
        error_raise(L, err);
}

static int presize(uint32_t count)
{
    /* The count is the file's word: a wrong one must not cost memory. */
    return count < 4096 ? (int)count : 4096;
}

static void push_list(lua_State *L, const sombra_value *list)
{
    sombra_value_cursor cursor;
    sombra_value element;
    bool is_found;
    lua_createtable(L, presize(list->count), 0);
    value_mark_list(L);
    sombra_value_enter(list, &cursor);
    for (lua_Integer i = 1;; i++) {
        raise_if(L, sombra_value_next(&cursor, NULL, &element, &is_found));
        if (!is_found)
            break;
        push_any(L, &element);
        lua_rawseti(L, -2, i);
    }
}

static void push_map(lua_State *L, const sombra_value *map)
{
    sombra_value_cursor cursor;
    sombra_value member;
    sombra_slice key;
    bool is_found;
    lua_createtable(L, 0, presize(map->count));
    sombra_value_enter(map, &cursor);
    for (;;) {
        raise_if(L, sombra_value_next(&cursor, &key, &member, &is_found));
        if (!is_found)
            break;
        lua_pushlstring(L, key.data, key.bytes);
        push_any(L, &member);
        lua_rawset(L, -3);
    }
}

/* Pushes a value for which nothing is allocated; false for all else. */
static inline bool push_plain(lua_State *L, const sombra_value *value)
{
    switch (value->kind) {
    case SOMBRA_NULL:
        value_push_null(L);
        return true;
    case SOMBRA_BOOLEAN:
        lua_pushboolean(L, value->as.boolean);
        return true;
    case SOMBRA_INTEGER:
        lua_pushinteger(L, value->as.integer);
        return true;
    case SOMBRA_FLOAT:
        lua_pushnumber(L, value->as.real);
        return true;
    default:
        return false;
    }
}

static void push_any(lua_State *L, const sombra_value *value)
{
    if (push_plain(L, value))
        return;
    switch (value->kind) {
    case SOMBRA_STRING:
        lua_pushlstring(L, value->as.string.data, value->as.string.bytes);
        return;
    case SOMBRA_LIST:
        luaL_checkstack(L, 4, "nested lists");
        push_list(L, value);
        return;
    case SOMBRA_MAP:
        luaL_checkstack(L, 4, "nested maps");
        push_map(L, value);
        return;
    default:
        break;
    }
    error_raise_text(L, SOMBRA_UNSUPPORTED, "the value is of a kind that this version cannot read");
}

void value_push_decoded(lua_State *L, const sombra_value *value)
{
    push_any(L, value);
}

void value_push(lua_State *L, sombra_slice encoded)
{
    sombra_value value;
    raise_if(L, sombra_value_decode(encoded, &value));
    if (LIKELY(push_plain(L, &value)))
        return;
    if (value.kind != SOMBRA_LIST && value.kind != SOMBRA_MAP) {
        push_any(L, &value);
    } else if (encoded.bytes <= COPY_INLINE_BYTES) {
        unsigned char copy[COPY_INLINE_BYTES];
        memcpy(copy, encoded.data, encoded.bytes);
        encoded.data = copy;
        raise_if(L, sombra_value_decode(encoded, &value));
        push_any(L, &value);
    } else {
        encoded.data = lua_pushlstring(L, encoded.data, encoded.bytes);
        raise_if(L, sombra_value_decode(encoded, &value));
        push_any(L, &value);
        lua_replace(L, -2);
    }
}

/* ---- many at once ------------------------------------------------------------------------ */

void values_copy(lua_State *L, sombra_slice *values, size_t count, struct values_room *room)
{
    const char *begin = NULL, *end = NULL, *copy = room->bytes;
    for (size_t i = 0; i < count; i++) {
        const char *at = values[i].data;
        if (!at)
            continue;
        if (!begin || at < begin)
            begin = at;
        if (!end || at + values[i].bytes > end)
            end = at + values[i].bytes;
    }
    size_t bytes = begin ? (size_t)(end - begin) : 0;
    if (bytes <= sizeof room->bytes) {
        if (bytes)
            memcpy(room->bytes, begin, bytes);
        lua_pushnil(L);
    } else { /* copied before the push can run a finalizer that reads */
        copy = lua_pushlstring(L, begin, bytes);
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i].data)
            values[i].data = copy + ((const char *)values[i].data - begin);
    }
}

void value_push_or_null(lua_State *L, sombra_slice encoded)
{
    if (encoded.data)
        value_push(L, encoded);
    else
        value_push_null(L);
}

/* The same of an encoded one, or sombra.null for one that is not there. */
static bool push_plain_or_null(lua_State *L, sombra_slice encoded)
{
    sombra_value value;
    if (encoded.data)
        return !sombra_value_decode(encoded, &value) && push_plain(L, &value);
    value_push_null(L);
    return true;
}

void values_append(lua_State *L, struct tx_handle *tx, int list, lua_Integer count,
                   const uint64_t *nodes, size_t node_count, sombra_slice name)
{
    sombra_slice values[VALUES_CHUNK];
    struct values_room room;
    if (UNLIKELY(!tx_is_open(tx))) /* a finalizer may have ended it */
        tx_raise_over(L, tx);
    sombra_err err = sombra_node_property_many(tx->txn, nodes, node_count, name, values);
    if (err)
        error_raise(L, err);
    size_t at = 0;
    for (; at < node_count && push_plain_or_null(L, values[at]); at++)
        lua_rawseti(L, list, ++count);
    if (at == node_count)
        return;
    values_copy(L, values + at, node_count - at, &room);
    for (; at < node_count; at++) {
        value_push_or_null(L, values[at]);
        lua_rawseti(L, list, ++count);
    }
    lua_pop(L, 1);
}

/* ---- sombra.null ------------------------------------------------------------------------- */

static const char null_key = 'n'; /* its address is the registry key */

void value_push_null(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key);
}

bool value_is_null(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    value_push_null(L);
    bool is_null = lua_rawequal(L, index, -1);
    lua_pop(L, 1);
    return is_null;
}

static int null_tostring(lua_State *L)
{
    lua_pushliteral(L, NULL_NAME);
    return 1;
}

/* ---- lists' metatable -------------------------------------------------------------------- */

static const char list_key = 'l'; /* its address is the registry key of the metatable */

void value_mark_list(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
    lua_setmetatable(L, -2);
}

bool value_is_list(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
    bool is_marked = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_marked;
}

/* ---- sombra.list ------------------------------------------------------------------------- */

/* sombra.list{...}: marks the table as a list and returns it. */
static int list_new(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getmetatable(L, 1)) {
        luaL_getmetatable(L, LIST_NAME);
        luaL_argcheck(L, lua_rawequal(L, -1, -2), 1, "the table has a metatable already");
    }
    lua_settop(L, 1);
    value_mark_list(L);
    return 1;
}

static int is_list(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, value_is_list(L, 1));
    return 1;
}

void value_register(lua_State *L)
{
    static const luaL_Reg null_metamethods[] = {
        { "__tostring", null_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "list", list_new },
        { "is_list", is_list },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);

    luaL_newmetatable(L, LIST_NAME);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    class_register_known(L, KNOWN_LIST);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);

    luaL_newmetatable(L, NULL_NAME);
    luaL_setfuncs(L, null_metamethods, 0);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_newuserdatauv(L, 0, 0);
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &null_key);
    lua_setfield(L, -2, "null");
}
