/* SPDX-License-Identifier: MIT */
/* sombra.bucket: an ordered map of keys to values; and the methods of sombra.tx that find one. The
 * scan is in iterator.c. */
#include "binding.h"

#include <limits.h>

struct bucket_handle *bucket_self(lua_State *L)
{
    struct bucket_handle *bucket = self_check(L, BUCKET_NAME);
    tx_check(L, bucket->tx);
    return bucket;
}

sombra_err bucket_push(lua_State *L, int tx_index, sombra_slice name,
                       const sombra_bucket_options *options)
{
    struct tx_handle *tx = lua_touserdata(L, tx_index);
    struct bucket_handle *bucket = lua_newuserdatauv(L, sizeof *bucket, 1);
    *bucket = (struct bucket_handle){ .tx = tx };
    luaL_setmetatable(L, BUCKET_NAME);
    lua_pushvalue(L, tx_index);
    lua_setiuservalue(L, -2, 1);
    if (!tx_is_open(tx))
        tx_raise_over(L, tx);
    sombra_err err = sombra_bucket_open(tx->txn, name, options, &bucket->id);
    if (err)
        lua_pop(L, 1);
    return err;
}

/* tx:bucket(name [, {create = true}]) -> bucket, or nil if there is none */
static int tx_bucket(lua_State *L)
{
    static const char *const names[] = { "create", NULL };
    (void)tx_self(L);
    sombra_slice name = check_name(L, 2);
    sombra_bucket_options options = SOMBRA_BUCKET_OPTIONS_INIT;
    if (options_given(L, 3, names))
        options.create = option_boolean(L, 3, "create", false);

    sombra_err err = bucket_push(L, 1, name, &options);
    if (err == SOMBRA_NOT_FOUND)
        lua_pushnil(L);
    else if (err)
        return error_raise(L, err);
    return 1;
}

const luaL_Reg tx_bucket_methods[] = {
    { "bucket", tx_bucket },
    { NULL, NULL },
};

/* b:get(key) -> value or nil */
static int bucket_get(lua_State *L)
{
    struct bucket_handle *bucket = bucket_self(L);
    sombra_key key = check_key(L, 2);
    sombra_slice value;
    sombra_err err = sombra_bucket_get(bucket->tx->txn, bucket->id, &key, &value);
    if (LIKELY(!err)) {
        value_push(L, value);
        return 1;
    }
    if (err != SOMBRA_NOT_FOUND)
        return error_raise(L, err);
    lua_pushnil(L);
    return 1;
}

/* b:get_many(keys) -> a table of those that are there, by key */
static int bucket_get_many(lua_State *L)
{
    (void)bucket_self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    size_t count = lua_rawlen(L, 2);
    luaL_argcheck(L, count <= INT_MAX / sizeof(sombra_key), 2, "too many keys");
    /* All is the collector's, so that an error leaves nothing behind. */
    sombra_key *keys = lua_newuserdatauv(L, count * sizeof *keys + 1, 0);
    sombra_slice *values = lua_newuserdatauv(L, count * sizeof *values + 1, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        if (UNLIKELY(!to_key(L, -1, &keys[i])))
            luaL_argerror(L, 2, "a key is a string or an integer");
        lua_pop(L, 1); /* the list keeps strings alive */
    }
    struct bucket_handle *bucket = bucket_self(L); /* a finalizer may have ended it */
    sombra_err err = sombra_bucket_get_many(bucket->tx->txn, bucket->id, keys, count, values);
    if (err)
        return error_raise(L, err);
    struct values_room room;
    values_copy(L, values, count, &room);
    lua_newtable(L);
    for (size_t i = 0; i < count; i++) {
        if (!values[i].data)
            continue;
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        value_push(L, values[i]);
        lua_rawset(L, -3);
    }
    return 1;
}

/* b:put(key, value) */
static int bucket_put(lua_State *L)
{
    struct bucket_handle *bucket = bucket_self(L);
    sombra_key key = check_key(L, 2);
    lua_settop(L, 3);
    sombra_slice value = value_encode(L, bucket->tx->db, 3, "value");
    sombra_err err = sombra_bucket_put(bucket->tx->txn, bucket->id, &key, value);
    return err ? error_raise(L, err) : 0;
}

/* b:delete(key) -> whether it was there */
static int bucket_delete(lua_State *L)
{
    struct bucket_handle *bucket = bucket_self(L);
    sombra_key key = check_key(L, 2);
    bool is_deleted;
    sombra_err err = sombra_bucket_delete(bucket->tx->txn, bucket->id, &key, &is_deleted);
    if (err)
        return error_raise(L, err);
    lua_pushboolean(L, is_deleted);
    return 1;
}

/* b:count([range]) -> number of keys */
static int bucket_count(lua_State *L)
{
    static const char *const names[] = { "ge", "gt", "le", "lt", "prefix", NULL };
    struct bucket_handle *bucket = bucket_self(L);
    sombra_key_range range = SOMBRA_KEY_RANGE_INIT;
    sombra_key keys[2];
    if (options_given(L, 2, names))
        check_key_range(L, 2, &range, keys);
    uint64_t count;
    sombra_err err = sombra_bucket_count(bucket->tx->txn, bucket->id, &range, &count);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

/* b:delete_range(range) -> number of keys deleted */
static int bucket_delete_range(lua_State *L)
{
    static const char *const names[] = { "ge", "gt", "le", "lt", "prefix", NULL };
    struct bucket_handle *bucket = bucket_self(L);
    sombra_key_range range;
    sombra_key keys[2];
    luaL_checktype(L, 2, LUA_TTABLE); /* all of a bucket is said with {} */
    (void)options_given(L, 2, names);
    check_key_range(L, 2, &range, keys);
    uint64_t deleted;
    sombra_err err = sombra_bucket_delete_range(bucket->tx->txn, bucket->id, &range, &deleted);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, (lua_Integer)deleted);
    return 1;
}

/* b:drop(): the bucket and all that is in it */
static int bucket_drop(lua_State *L)
{
    struct bucket_handle *bucket = bucket_self(L);
    sombra_err err = sombra_bucket_drop(bucket->tx->txn, bucket->id);
    return err ? error_raise(L, err) : 0;
}

static int bucket_tostring(lua_State *L)
{
    const struct bucket_handle *bucket = luaL_checkudata(L, 1, BUCKET_NAME);
    lua_pushfstring(L, "%s: %I, %s", BUCKET_NAME, (lua_Integer)bucket->id,
                    tx_is_open(bucket->tx) ? "open" : "closed");
    return 1;
}

void bucket_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__tostring", bucket_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "get", bucket_get },
        { "get_many", bucket_get_many },
        { "put", bucket_put },
        { "delete", bucket_delete },
        { "scan", iterator_scan },
        { "count", bucket_count },
        { "delete_range", bucket_delete_range },
        { "drop", bucket_drop },
        { NULL, NULL },
    };
    const luaL_Reg *const sets[] = { methods, NULL };
    class_register(L, BUCKET_NAME, metamethods, sets);
}
