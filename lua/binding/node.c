/* SPDX-License-Identifier: MIT */
/* Methods of sombra.tx on nodes, their labels and properties. */
#include "binding.h"

#include <limits.h>

/* tx:create([labels [, props]]) -> id */
static int tx_create(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice inlined[NAMES_INLINE];
    size_t label_count;
    lua_settop(L, 3);
    const sombra_slice *labels = check_names(L, 2, inlined, &label_count);
    sombra_slice props = value_encode_props(L, tx->db, 3);
    sombra_node_id node;
    sombra_err err = sombra_node_create(tx->txn, labels, label_count, props, &node);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)node);
    return 1;
}

/* tx:node(id) -> {id, labels, props} or nil */
static int tx_node(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)node);
    lua_setfield(L, -2, "id");
    if (record_set_fields(L, tx, node, sombra_node_get, true))
        lua_pushnil(L);
    return 1;
}

/* The properties named by the arguments from 3 on, out of one read. */
static int get_several(lua_State *L, struct tx_handle *tx, uint64_t node)
{
    sombra_slice names[NAMES_INLINE], values[NAMES_INLINE];
    struct values_room room;
    int count = lua_gettop(L) - 2;
    luaL_argcheck(L, count <= NAMES_INLINE, 3 + NAMES_INLINE, "too many properties");
    for (int i = 0; i < count; i++)
        names[i] = check_name(L, 3 + i);
    luaL_checkstack(L, count + 8, "properties");
    sombra_err err = sombra_node_properties(tx->txn, node, names, (size_t)count, values);
    if (UNLIKELY(err && err != SOMBRA_NOT_FOUND))
        return tx_raise(L, tx, err);
    if (err) {
        lua_settop(L, 2);
        lua_settop(L, 2 + count); /* nil of each */
        return count;
    }
    values_copy(L, values, (size_t)count, &room);
    for (int i = 0; i < count; i++) {
        if (values[i].data)
            value_push(L, values[i]);
        else
            lua_pushnil(L);
    }
    return count;
}

/* tx:get(id, name, ...) -> value or nil, of each */
static int tx_get(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    sombra_slice value;
    if (lua_gettop(L) > 3)
        return get_several(L, tx, node);
    sombra_slice name = check_name(L, 3);
    sombra_err err = tx->iterator && !tx->is_write
                         ? ahead_get(tx, node, name, &value)
                         : sombra_node_property(tx->txn, node, name, &value);
    if (LIKELY(!err && value.data)) {
        value_push(L, value);
        return 1;
    }
    if (err && err != SOMBRA_NOT_FOUND)
        return tx_raise(L, tx, err);
    lua_pushnil(L);
    return 1;
}

/* tx:get_many(ids, name) -> list of values; sombra.null where there is none */
static int tx_get_many(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    sombra_slice name = check_name(L, 3);
    lua_settop(L, 3);
    size_t count = lua_rawlen(L, 2);
    luaL_argcheck(L, count <= INT_MAX, 2, "too many ids");
    lua_createtable(L, (int)count, 0);
    class_set_known(L, KNOWN_LIST);
    for (size_t first = 0; first < count; first += VALUES_CHUNK) {
        uint64_t nodes[VALUES_CHUNK];
        size_t more = count - first < VALUES_CHUNK ? count - first : VALUES_CHUNK;
        for (size_t i = 0; i < more; i++) {
            int is_integer = 0;
            int type = lua_rawgeti(L, 2, (lua_Integer)(first + i) + 1);
            lua_Integer id = lua_tointegerx(L, -1, &is_integer);
            if (UNLIKELY(!is_integer || id < 0 || type != LUA_TNUMBER))
                return luaL_argerror(L, 2, "an id is an integer of at least 1");
            nodes[i] = (uint64_t)id;
            lua_pop(L, 1);
        }
        values_append(L, tx, 4, (lua_Integer)first, nodes, more, name);
    }
    return 1;
}

/* tx:exists(id) -> boolean */
static int tx_exists(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    bool is_there;
    sombra_err err = sombra_node_exists(tx->txn, check_id(L, 2), &is_there);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, is_there);
    return 1;
}

/* tx:set(id, props): merges; sombra.null removes */
static int tx_set(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    sombra_err err = sombra_node_set(tx->txn, node, value_encode_props(L, tx->db, 3));
    return err ? tx_raise(L, tx, err) : 0;
}

/* tx:replace(id, props): overwrites all */
static int tx_replace(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    sombra_err err = sombra_node_replace(tx->txn, node, value_encode_props(L, tx->db, 3));
    return err ? tx_raise(L, tx, err) : 0;
}

/* tx:remove(id, name, ...): removes properties */
static int tx_remove(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    int last = lua_gettop(L);
    for (int arg = 3; arg <= last || arg == 3; arg++)
        (void)check_name(L, arg);
    for (int arg = 3; arg <= last; arg++) {
        sombra_err err = sombra_node_remove_property(tx->txn, node, check_name(L, arg));
        if (err)
            return tx_raise(L, tx, err);
    }
    return 0;
}

/* tx:delete(id [, {detach = true}]) -> whether it was there */
static int tx_delete(lua_State *L)
{
    static const char *const names[] = { "detach", NULL };
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    bool detach = options_given(L, 3, names) && option_boolean(L, 3, "detach", false);
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err = sombra_node_delete(tx->txn, node, detach);
    watch_end(&watch);
    if (err && err != SOMBRA_NOT_FOUND)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, !err);
    return 1;
}

/* tx:add_label(id, label) -> whether it is new there */
static int tx_add_label(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    bool is_changed;
    sombra_err err = sombra_node_add_label(tx->txn, node, check_name(L, 3), &is_changed);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, is_changed);
    return 1;
}

/* tx:remove_label(id, label) -> whether it was there */
static int tx_remove_label(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    bool is_changed;
    sombra_err err = sombra_node_remove_label(tx->txn, node, check_name(L, 3), &is_changed);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, is_changed);
    return 1;
}

/* tx:has_label(id, label) -> boolean; false for a node that does not exist */
static int tx_has_label(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    bool has = false;
    sombra_err err = sombra_node_has_label(tx->txn, node, check_name(L, 3), &has);
    if (err && err != SOMBRA_NOT_FOUND)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, !err && has);
    return 1;
}

/* tx:count([label]) -> number of nodes */
static int tx_count(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t count;
    sombra_err err = sombra_node_count(tx->txn, optional_name(L, 2), &count);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

const luaL_Reg tx_node_methods[] = {
    { "create", tx_create },
    { "node", tx_node },
    { "get", tx_get },
    { "get_many", tx_get_many },
    { "exists", tx_exists },
    { "set", tx_set },
    { "replace", tx_replace },
    { "remove", tx_remove },
    { "delete", tx_delete },
    { "add_label", tx_add_label },
    { "remove_label", tx_remove_label },
    { "has_label", tx_has_label },
    { "count", tx_count },
    { NULL, NULL },
};
