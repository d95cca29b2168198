/* SPDX-License-Identifier: MIT */
/* Methods of sombra.tx on edges and their properties. */
#include "binding.h"

/* tx:link(src, type, dst [, props]) -> edge id */
static int tx_link(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t src = check_id(L, 2);
    sombra_slice type = check_name(L, 3);
    uint64_t dst = check_id(L, 4);
    sombra_slice props = value_encode_props(L, tx->db, 5);
    sombra_edge_id edge;
    sombra_err err = sombra_edge_create(tx->txn, src, type, dst, props, &edge);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)edge);
    return 1;
}

static sombra_err read_record(sombra_txn *txn, uint64_t edge, sombra_record *out_record)
{
    return sombra_edge_get(txn, edge, NULL, out_record);
}

/* tx:edge(id) -> {id, src, dst, type, props} or nil */
static int tx_edge(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_edge edge;
    sombra_err err = sombra_edge_get(tx->txn, check_id(L, 2), &edge, NULL);
    if (err == SOMBRA_NOT_FOUND) {
        lua_pushnil(L);
        return 1;
    }
    if (err)
        return tx_raise(L, tx, err);
    /* The type's text may die with the transaction, which a finalizer can end: copied first. */
    lua_pushlstring(L, edge.type.text.data, edge.type.text.bytes);
    lua_createtable(L, 0, 5);
    lua_insert(L, -2);
    lua_setfield(L, -2, "type");
    set_integer(L, "id", edge.id);
    set_integer(L, "src", edge.src);
    set_integer(L, "dst", edge.dst);
    if (record_set_fields(L, tx, edge.id, read_record, false))
        lua_pushnil(L);
    return 1;
}

/* tx:find_edge(src, type or nil, dst) -> lowest id of such an edge, or nil */
static int tx_find_edge(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t src = check_id(L, 2);
    sombra_slice type = optional_name(L, 3);
    sombra_edge_id edge;
    sombra_err err = sombra_edge_find(tx->txn, src, type, check_id(L, 4), &edge);
    if (err == SOMBRA_NOT_FOUND)
        lua_pushnil(L);
    else if (err)
        return tx_raise(L, tx, err);
    else
        lua_pushinteger(L, (lua_Integer)edge);
    return 1;
}

/* tx:unlink(src, type or nil, dst) -> number of edges deleted */
static int tx_unlink(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t src = check_id(L, 2);
    sombra_slice type = optional_name(L, 3);
    uint64_t dst = check_id(L, 4);
    lua_Integer deleted = 0;
    for (;;) {
        sombra_edge_id edge;
        sombra_err err = sombra_edge_find(tx->txn, src, type, dst, &edge);
        if (err == SOMBRA_NOT_FOUND)
            break;
        if (!err)
            err = sombra_edge_delete(tx->txn, edge);
        if (err)
            return tx_raise(L, tx, err);
        deleted++;
    }
    lua_pushinteger(L, deleted);
    return 1;
}

/* tx:delete_edge(id) -> whether it was there */
static int tx_delete_edge(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_err err = sombra_edge_delete(tx->txn, check_id(L, 2));
    if (err && err != SOMBRA_NOT_FOUND)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, !err);
    return 1;
}

/* tx:edge_exists(id) -> boolean */
static int tx_edge_exists(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    bool is_there;
    sombra_err err = sombra_edge_exists(tx->txn, check_id(L, 2), &is_there);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushboolean(L, is_there);
    return 1;
}

/* tx:edge_get(id, name) -> value or nil */
static int tx_edge_get(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t edge = check_id(L, 2);
    sombra_slice value;
    sombra_err err = sombra_edge_property(tx->txn, edge, check_name(L, 3), &value);
    if (err == SOMBRA_NOT_FOUND)
        lua_pushnil(L);
    else if (err)
        return tx_raise(L, tx, err);
    else
        value_push(L, value);
    return 1;
}

/* tx:edge_set(id, props): merges; sombra.null removes */
static int tx_edge_set(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t edge = check_id(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    sombra_err err = sombra_edge_set(tx->txn, edge, value_encode_props(L, tx->db, 3));
    return err ? tx_raise(L, tx, err) : 0;
}

/* tx:edge_replace(id, props): overwrites all */
static int tx_edge_replace(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t edge = check_id(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    sombra_err err = sombra_edge_replace(tx->txn, edge, value_encode_props(L, tx->db, 3));
    return err ? tx_raise(L, tx, err) : 0;
}

/* tx:edge_remove(id, name, ...): removes properties */
static int tx_edge_remove(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t edge = check_id(L, 2);
    int last = lua_gettop(L);
    for (int arg = 3; arg <= last || arg == 3; arg++)
        (void)check_name(L, arg);
    for (int arg = 3; arg <= last; arg++) {
        sombra_err err = sombra_edge_remove_property(tx->txn, edge, check_name(L, arg));
        if (err)
            return tx_raise(L, tx, err);
    }
    return 0;
}

/* tx:count_edges([type]) -> number of edges */
static int tx_count_edges(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t count;
    sombra_err err = sombra_edge_count(tx->txn, optional_name(L, 2), &count);
    if (err)
        return tx_raise(L, tx, err);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

const luaL_Reg tx_edge_methods[] = {
    { "link", tx_link },
    { "edge", tx_edge },
    { "find_edge", tx_find_edge },
    { "unlink", tx_unlink },
    { "delete_edge", tx_delete_edge },
    { "edge_exists", tx_edge_exists },
    { "edge_get", tx_edge_get },
    { "edge_set", tx_edge_set },
    { "edge_replace", tx_edge_replace },
    { "edge_remove", tx_edge_remove },
    { "count_edges", tx_count_edges },
    { NULL, NULL },
};
