/* SPDX-License-Identifier: MIT */
/* db:read(fn) and db:write(fn): transactions that end with a function.
 *
 * On the main thread the function runs unprotected and the handle is closed as its error passes by,
 * so that a traceback made further up still shows the script's own frames. In a coroutine an error
 * may kill the coroutine and close nothing, so there the function runs protected. A reader may
 * yield, a writer may not: it would keep every other writer waiting for as long as it likes.
 */
#include "binding.h"

#include <string.h>

enum { SLOT_DB = 1, SLOT_FUNCTION = 2, SLOT_TX = 3, SLOT_RESULTS = 4 };

static bool is_main_thread(lua_State *L)
{
    bool is_main = lua_pushthread(L);
    lua_pop(L, 1);
    return is_main;
}

/* nil and a reason: how a Lua function says no. */
static bool says_no(lua_State *L)
{
    return lua_gettop(L) > SLOT_RESULTS && lua_isnil(L, SLOT_RESULTS) &&
           !lua_isnil(L, SLOT_RESULTS + 1);
}

/* The function returned, and its transaction was over before: its own __close ends it, too. */
static int refuse_ended(lua_State *L, const struct tx_handle *tx)
{
    return error_raise_text(L, SOMBRA_INVALID,
                            tx->db->db ? "nothing was committed: a variable with <close> ended the "
                                         "transaction inside db:write, which ends it itself; make "
                                         "it a plain local"
                                       : "nothing was committed: the database was closed inside "
                                         "db:write");
}

/* Ends a transaction whose function returned; its results stand from SLOT_RESULTS on. */
static int finish(lua_State *L, sombra_durability durability)
{
    struct tx_handle *tx = lua_touserdata(L, SLOT_TX);
    if (!tx->is_write || says_no(L)) {
        tx_abort(tx);
    } else if (!tx_is_open(tx)) {
        refuse_ended(L, tx);
    } else {
        tx_run_triggers(L, SLOT_TX);
        if (!tx_is_open(tx))
            tx_raise_over(L, tx);
        sombra_err err = tx_commit(tx, durability);
        if (err)
            error_raise(L, err);
    }
    events_deliver(L, SLOT_DB);
    return lua_gettop(L) - SLOT_TX;
}

static int read_continue(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    tx_abort(lua_touserdata(L, SLOT_TX));
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    events_deliver(L, SLOT_DB);
    return lua_gettop(L) - SLOT_TX;
}

/* Lua says only that a C call is in the way of the yield. */
static int explain_yield(lua_State *L)
{
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
    if (strstr(text, "attempt to yield across a C-call boundary")) {
        error_push_text(L, SOMBRA_INVALID, "cannot yield in a write transaction");
        lua_pushvalue(L, 1);
        lua_setfield(L, -2, "cause");
    }
    return 1;
}

/* Stack: db, function. Opens the handle at SLOT_TX, which is marked to be closed before that: it
 * may be one that the collector does not end. */
static struct tx_handle *prepare(lua_State *L, const sombra_txn_options *options, bool is_main)
{
    lua_settop(L, SLOT_FUNCTION);
    struct tx_handle *tx = is_main ? tx_push_scoped(L, SLOT_DB) : tx_push(L, SLOT_DB);
    lua_toclose(L, SLOT_TX);
    tx_begin(L, tx, options);
    tx->is_managed = true;
    tx_set_proved(L, tx);
    return tx;
}

int db_method_read(lua_State *L)
{
    static const char *const names[] = { "durable", NULL };
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    (void)db_self(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (options_given(L, 3, names))
        options.needs_durable = option_boolean(L, 3, "durable", false);
    bool is_main = is_main_thread(L);
    (void)prepare(L, &options, is_main);
    lua_pushvalue(L, SLOT_FUNCTION);
    lua_pushvalue(L, SLOT_TX);
    if (is_main) {
        lua_call(L, 1, LUA_MULTRET);
        const struct db_handle *db = lua_touserdata(L, SLOT_DB);
        if (UNLIKELY(db->listens))
            return read_continue(L, LUA_OK, 0);
        return lua_gettop(L) - SLOT_TX; /* the end of this call closes the handle */
    }
    return read_continue(L, lua_pcallk(L, 1, LUA_MULTRET, 0, 0, read_continue), 0);
}

int db_method_write(lua_State *L)
{
    static const char *const names[] = { "sync", "busy_timeout", NULL };
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    sombra_durability durability = SOMBRA_DURABILITY_DEFAULT;
    (void)db_self(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (options_given(L, 3, names)) {
        durability = option_sync(L, 3);
        options.busy_timeout_ms = option_wait_ms(L, 3, "busy_timeout");
    }
    options.is_write = true;
    bool is_main = is_main_thread(L);
    struct tx_handle *tx = prepare(L, &options, is_main);
    if (is_main) {
        lua_pushvalue(L, SLOT_FUNCTION);
        lua_pushvalue(L, SLOT_TX);
        lua_call(L, 1, LUA_MULTRET);
        return finish(L, durability);
    }
    lua_pushcfunction(L, explain_yield);
    lua_pushvalue(L, SLOT_FUNCTION);
    lua_pushvalue(L, SLOT_TX);
    int status = lua_pcall(L, 1, LUA_MULTRET, SLOT_RESULTS);
    lua_remove(L, SLOT_RESULTS);
    if (status != LUA_OK) {
        tx_abort(tx);
        return lua_error(L);
    }
    return finish(L, durability);
}
