/* SPDX-License-Identifier: MIT */
/* sombra.tx: a transaction. What it does to nodes, edges and buckets is in their files.
 *
 *   empty --begin--> open --commit--> committed | failed
 *                     |---rollback, __close, __gc, end of the database--> rolled back
 *
 * The handle outlives the transaction; what is called on it then says how it ended.
 */
#include "procedure.h"
#include "traversal.h"

#include <assert.h>
#include <string.h>

static const char class_name[] = TX_NAME;

enum { USER_VALUES = 2 }; /* the database, the iterator of the last loop */

/* Pushes an empty handle, which has no metatable yet. */
static struct tx_handle *push_bare(lua_State *L, int db_index)
{
    struct tx_handle *tx = lua_newuserdatauv(L, sizeof *tx, USER_VALUES);
    *tx = (struct tx_handle){ .db = lua_touserdata(L, db_index), .state = TX_EMPTY };
    lua_pushvalue(L, db_index);
    lua_setiuservalue(L, -2, 1);
    return tx;
}

struct tx_handle *tx_push(lua_State *L, int db_index)
{
    struct tx_handle *tx = push_bare(L, lua_absindex(L, db_index));
    class_set(L, class_name);
    return tx;
}

struct tx_handle *tx_push_scoped(lua_State *L, int db_index)
{
    struct tx_handle *tx = push_bare(L, lua_absindex(L, db_index));
    class_set_known(L, PLAIN_TX);
    return tx;
}

static sombra_err begin(lua_State *L, struct tx_handle *tx, const sombra_txn_options *given)
{
    struct watch watch = { .L = L };
    sombra_txn_options options = *given;
    /* Lua code may have run since the caller looked: finalizers, which can close the database. */
    if (!tx->db->db)
        error_raise_text(L, SOMBRA_INVALID, "the database is closed");
    if (options.is_write) {
        options.waits_on = hook_waits_on;
        options.context = &watch;
    }
    sombra_err err = sombra_txn_begin(tx->db->db, &options, &tx->txn);
    if (UNLIKELY(watch.is_raised && err))
        lua_error(L);
    return err;
}

/* Ctrl-C that came during the wait, but after the last look: raised by Lua itself, it would be so
 * between this call and the <close> of its result, and the transaction would stay open. */
static void look_again(lua_State *L, struct tx_handle *tx)
{
    if (!hook_ends(L, "=database"))
        return;
    tx_abort(tx);
    lua_error(L);
}

void tx_begin(lua_State *L, struct tx_handle *tx, const sombra_txn_options *options)
{
    assert(tx->state == TX_EMPTY);
    sombra_err err = begin(L, tx, options);
    if (err == SOMBRA_BUSY && tx->db->writers > 0 && !tx->db->has_collected) {
        /* The writer is ours: perhaps one that its script forgot and nobody collected yet. Once for
         * each writer, because a collection is dear and the writer may well be in use. */
        tx->db->has_collected = true;
        lua_gc(L, LUA_GCCOLLECT);
        err = begin(L, tx, options);
    }
    if (err)
        error_raise(L, err);
    tx->is_write = options->is_write;
    tx->state = TX_OPEN;
    if (tx->is_write) {
        tx->db->writers++;
        tx->db->has_collected = false;
        if (UNLIKELY(lua_gethook(L)))
            look_again(L, tx);
    }
}

struct tx_handle *tx_push_lent(lua_State *L, struct db_handle *db, sombra_txn *txn, bool is_write,
                               uint64_t mark_least)
{
    struct tx_handle *tx = lua_newuserdatauv(L, sizeof *tx, USER_VALUES);
    *tx = (struct tx_handle){ .txn = txn,
                              .db = db,
                              .state = TX_OPEN,
                              .is_write = is_write,
                              .is_managed = true,
                              .is_lent = true,
                              .mark_least = mark_least };
    class_set(L, class_name);
    return tx;
}

/* It may be freed from now on. */
static void forget_proof(const struct tx_handle *tx)
{
    if (tx->proof && tx->proof->tx == tx)
        tx->proof->tx = NULL;
}

void tx_lent_end(struct tx_handle *tx)
{
    assert(tx->is_lent);
    forget_proof(tx);
    tx->txn = NULL;
    tx->state = TX_COMMITTED;
}

static void end(struct tx_handle *tx, enum tx_state state)
{
    sombra_txn *txn = tx->txn;
    forget_proof(tx);
    tx->txn = NULL;
    tx->state = state;
    if (tx->is_write && tx->db->writers > 0) /* the end of the database has set it to 0 */
        tx->db->writers--;
    sombra_txn_close(txn);
}

void tx_abort(struct tx_handle *tx)
{
    if (tx->txn && tx->is_lent)
        tx_lent_end(tx);
    else if (tx->txn)
        end(tx, TX_ROLLED_BACK);
}

sombra_err tx_commit(struct tx_handle *tx, sombra_durability durability)
{
    sombra_err err = sombra_txn_commit(tx->txn, durability);
    end(tx, err ? TX_FAILED : TX_COMMITTED);
    return err;
}

static const char *state_text(const struct tx_handle *tx)
{
    if (tx_is_open(tx))
        return "open";
    switch (tx->state) {
    case TX_EMPTY:
    case TX_PREPARES:
        return "never begun";
    case TX_COMMITTED:
        return "committed";
    case TX_FAILED:
        return "failed to commit";
    case TX_OPEN: /* the engine ended it, with its database */
    case TX_ROLLED_BACK:
        break;
    }
    return !tx->db->db ? "the database is closed" : tx->is_write ? "rolled back" : "ended";
}

int tx_raise_over(lua_State *L, const struct tx_handle *tx)
{
    if (tx->state == TX_PREPARES)
        return luaL_argerror(L, 1,
                             "sombra.prepare runs nothing: its function makes a traversal and "
                             "returns it");
    return luaL_argerror(L, 1, lua_pushfstring(L, "the transaction is over: %s", state_text(tx)));
}

/* The engine's names are copied before the first call that may run a finalizer: those may end the
 * transaction, and the names with it. */
int tx_raise(lua_State *L, struct tx_handle *tx, sombra_err code)
{
    char text[2][SOMBRA_NAME_BYTES_MAX];
    sombra_violation violation = SOMBRA_VIOLATION_INIT;
    bool is_refusal = code == SOMBRA_UNIQUE || code == SOMBRA_CONSTRAINT;
    if (!is_refusal || !tx_is_open(tx) || sombra_txn_violation(tx->txn, &violation) ||
        violation.rule == 0)
        return error_raise(L, code);
    memcpy(text[0], violation.subject.data, violation.subject.bytes);
    memcpy(text[1], violation.property.data, violation.property.bytes);
    error_push(L, code);
    lua_pushlstring(L, text[0], violation.subject.bytes);
    lua_setfield(L, -2, violation.is_edge ? "type" : "label");
    lua_pushlstring(L, text[1], violation.property.bytes);
    lua_setfield(L, -2, "property");
    if (violation.id) {
        lua_pushinteger(L, (lua_Integer)violation.id);
        lua_setfield(L, -2, "id");
    }
    return lua_error(L);
}

static void refuse_managed(lua_State *L, const struct tx_handle *tx)
{
    if (tx->jobs)
        error_raise_text(L, SOMBRA_INVALID,
                         "a function of a running traversal cannot end its transaction");
    if (tx->is_managed)
        error_raise_text(L, SOMBRA_INVALID,
                         tx->is_write
                             ? "db:write ends this transaction: return to commit, raise or return "
                               "nil and a reason to roll back"
                             : "db:read ends this transaction: return from its function");
}

/* What happened in the database, when the transaction at 1 has ended. */
static void deliver(lua_State *L)
{
    if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA)
        events_deliver(L, -1);
    lua_pop(L, 1);
}

/* tx:commit([{sync = ...}]) */
static int tx_method_commit(lua_State *L)
{
    static const char *const names[] = { "sync", NULL };
    struct tx_handle *tx = tx_self(L);
    sombra_durability durability = SOMBRA_DURABILITY_DEFAULT;
    if (options_given(L, 2, names))
        durability = option_sync(L, 2);
    refuse_managed(L, tx);
    tx_run_triggers(L, 1);
    if (!tx_is_open(tx))
        return tx_raise_over(L, tx);
    sombra_err err = tx_commit(tx, durability);
    if (err)
        return error_raise(L, err);
    deliver(L);
    return 0;
}

/* tx:rollback() */
static int tx_method_rollback(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    refuse_managed(L, tx);
    tx_abort(tx);
    deliver(L);
    return 0;
}

/* tx:savepoint() -> mark */
static int tx_savepoint(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t mark;
    sombra_err err = sombra_txn_savepoint(tx->txn, &mark);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, (lua_Integer)mark);
    return 1;
}

/* A procedure has its own savepoints, not its caller's. */
static void check_mark(lua_State *L, const struct tx_handle *tx)
{
    if (tx->is_lent && (uint64_t)luaL_checkinteger(L, 2) <= tx->mark_least)
        error_raise_text(L, SOMBRA_INVALID, "there is no such savepoint");
}

/* tx:rollback_to(mark) */
static int tx_rollback_to(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    check_mark(L, tx);
    sombra_err err = sombra_txn_rollback_to(tx->txn, (uint64_t)luaL_checkinteger(L, 2));
    return err ? error_raise(L, err) : 0;
}

/* tx:release(mark) */
static int tx_release(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    check_mark(L, tx);
    sombra_err err = sombra_txn_release(tx->txn, (uint64_t)luaL_checkinteger(L, 2));
    return err ? error_raise(L, err) : 0;
}

/* tx:is_open() -> boolean; never raises */
static int tx_method_is_open(lua_State *L)
{
    lua_pushboolean(L, tx_is_open(tx_any(L)));
    return 1;
}

static int tx_gc(lua_State *L)
{
    tx_abort(tx_any(L));
    return 0;
}

static int tx_tostring(lua_State *L)
{
    const struct tx_handle *tx = tx_any(L);
    const char *kind = tx->is_write ? "write" : tx->is_snapshot ? "snapshot" : "read";
    lua_pushfstring(L, "%s: %s, %s", TX_NAME, kind, state_text(tx));
    return 1;
}

void tx_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__gc", tx_gc },
        { "__close", tx_gc },
        { "__tostring", tx_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "commit", tx_method_commit },
        { "rollback", tx_method_rollback },
        { "savepoint", tx_savepoint },
        { "rollback_to", tx_rollback_to },
        { "release", tx_release },
        { "is_open", tx_method_is_open },
        { NULL, NULL },
    };
    const luaL_Reg *const sets[] = { methods,
                                     tx_node_methods,
                                     tx_edge_methods,
                                     tx_iterator_methods,
                                     tx_bucket_methods,
                                     tx_index_methods,
                                     tx_procedure_methods,
                                     tx_traversal_methods,
                                     tx_trigger_methods,
                                     tx_migration_methods,
                                     NULL };
    class_register(L, class_name, metamethods, sets);
    class_register_plain(L, class_name, PLAIN_TX);
}
