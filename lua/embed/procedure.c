/* SPDX-License-Identifier: MIT */
/* sombra/procedure.h: the binding in a Lua state that only this file uses. Whatever may raise there
 * is done under lua_pcall; bytes leave it as copies.
 */
#include "sombra/procedure.h"

#include "binding/procedure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

struct sombra_procedures {
    lua_State *L;
    struct db_handle *db; /* a userdata of L; its database is borrowed */
    struct bytes values;  /* of the last result */
    char message[MESSAGE_BYTES];
};

/* What is done in the state: an argument of the functions that do it, as light userdata. */
struct work {
    sombra_procedures *procedures;
    sombra_txn *txn; /* NULL = one of its own */
    sombra_slice name, arguments;
    const sombra_procedure_options *options;
    struct tx_handle *lent; /* of `txn`, until it is cut off */
    bool is_refusal;
};

static const char db_key = 'd'; /* its address is the registry key of the database */

/* ---- errors ------------------------------------------------------------------------------- */

static sombra_err code_of(const char *name)
{
#define COMPARE(code, number, text, meaning) \
    if (strcmp(name, text) == 0)             \
        return SOMBRA_##code;
    SOMBRA_ERRORS(COMPARE)
#undef COMPARE
    return SOMBRA_INVALID; /* "procedure", or one of the procedure's own */
}

/* The error at 1; returns its code as a number. Lua's fields are read raw. */
static int keep_message(lua_State *L)
{
    sombra_procedures *procedures = lua_touserdata(L, 2);
    const char *code = "procedure", *message = lua_tostring(L, 1);
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_pushliteral(L, "code");
        if (lua_rawget(L, 1) == LUA_TSTRING)
            code = lua_tostring(L, -1);
        lua_pushliteral(L, "message");
        message = lua_rawget(L, 1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    }
    snprintf(procedures->message, sizeof procedures->message, "%s [%s]",
             message ? message : "an error without a text", code);
    sombra_err err = code_of(code);
    lua_pushinteger(L, err == SOMBRA_OK ? SOMBRA_INVALID : err);
    return 1;
}

static sombra_err fail(sombra_procedures *procedures, sombra_err err)
{
    snprintf(procedures->message, sizeof procedures->message, "%s [%s]", sombra_err_message(),
             sombra_err_name(err));
    return err;
}

static sombra_err no_memory(sombra_procedures *procedures)
{
    snprintf(procedures->message, sizeof procedures->message, "out of memory [nomem]");
    return SOMBRA_NOMEM;
}

/* Does a piece of work in the state, which is empty before and after. */
static sombra_err perform(struct work *work, lua_CFunction function)
{
    sombra_procedures *procedures = work->procedures;
    lua_State *L = procedures->L;
    sombra_err err = SOMBRA_OK;
    procedures->message[0] = '\0';
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, work);
    int status = lua_pcall(L, 1, 0, 0);
    if (work->lent)
        tx_lent_end(work->lent);
    work->lent = NULL;
    if (status == LUA_ERRMEM) {
        err = no_memory(procedures);
    } else if (status != LUA_OK) {
        lua_pushcfunction(L, keep_message);
        lua_insert(L, -2);
        lua_pushlightuserdata(L, procedures);
        err = lua_pcall(L, 2, 1, 0) == LUA_OK ? (sombra_err)lua_tointeger(L, -1)
                                              : no_memory(procedures);
    }
    lua_settop(L, 0);
    return err;
}

/* ---- in the state ------------------------------------------------------------------------- */

/* Pushes the method of the transaction, or else of the database, and its self. */
static void push_method(lua_State *L, struct work *work, const char *method)
{
    if (work->txn)
        work->lent =
            tx_push_lent(L, work->procedures->db, work->txn, sombra_txn_is_write(work->txn), 0);
    else
        lua_rawgetp(L, LUA_REGISTRYINDEX, &db_key);
    lua_getfield(L, -1, method);
    lua_insert(L, -2);
}

static void push_count(lua_State *L, const char *name, uint64_t count)
{
    if (count == 0)
        return;
    lua_pushinteger(L, count < LUA_MAXINTEGER ? (lua_Integer)count : LUA_MAXINTEGER);
    lua_setfield(L, -2, name);
}

static void push_options(lua_State *L, const sombra_procedure_options *options)
{
    if (!options) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 3);
    if (options->time_ms) {
        lua_pushnumber(L, (lua_Number)options->time_ms / 1000);
        lua_setfield(L, -2, "time");
    }
    push_count(L, "memory", options->memory_bytes);
    push_count(L, "instructions", options->instructions);
}

/* The results from `first` to the top, as one encoded list. */
static void keep_values(lua_State *L, struct work *work, int first)
{
    int count = lua_gettop(L) - first + 1;
    work->is_refusal = count >= 2 && lua_isnil(L, first) && !lua_isnil(L, first + 1);
    luaL_checkstack(L, 4, "results of a procedure");
    lua_createtable(L, count, 0);
    luaL_setmetatable(L, LIST_NAME);
    for (int i = 0; i < count; i++) {
        if (lua_isnil(L, first + i))
            value_push_null(L);
        else
            lua_pushvalue(L, first + i);
        lua_rawseti(L, -2, i + 1);
    }
    sombra_slice encoded = value_encode(L, work->procedures->db, lua_gettop(L), "results");
    if (!bytes_set(&work->procedures->values, encoded))
        error_raise_text(L, SOMBRA_NOMEM, "no memory for the results");
}

static int call(lua_State *L)
{
    struct work *work = lua_touserdata(L, 1);
    push_method(L, work, "call");
    lua_pushlstring(L, work->name.data, work->name.bytes);
    if (work->arguments.bytes)
        value_push(L, work->arguments);
    else
        lua_pushnil(L);
    push_options(L, work->options);
    lua_call(L, 4, LUA_MULTRET);
    keep_values(L, work, 2);
    return 0;
}

static int define(lua_State *L)
{
    struct work *work = lua_touserdata(L, 1);
    push_method(L, work, "define");
    lua_pushlstring(L, work->name.data, work->name.bytes);
    lua_call(L, 2, 0);
    return 0;
}

static int run_triggers(lua_State *L)
{
    struct work *work = lua_touserdata(L, 1);
    work->lent =
        tx_push_lent(L, work->procedures->db, work->txn, sombra_txn_is_write(work->txn), 0);
    tx_run_triggers(L, 2);
    return 0;
}

static int open_state(lua_State *L)
{
    struct work *work = lua_touserdata(L, 1);
    luaL_checkversion(L);
    binding_open_transactions(L);
    db_register(L);
    lua_newtable(L);
    value_register(L);
    struct db_handle *db = lua_newuserdatauv(L, sizeof *db, 0);
    *db = (struct db_handle){ .db = NULL };
    luaL_setmetatable(L, DB_NAME);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &db_key);
    work->procedures->db = db;
    return 0;
}

/* ---- the interface ------------------------------------------------------------------------ */

void sombra_procedures_close(sombra_procedures *procedures)
{
    if (!procedures)
        return;
    if (procedures->db) { /* its finalizer would close a database that is not ours */
        sombra_value_builder_free(procedures->db->builder);
        *procedures->db = (struct db_handle){ .db = NULL };
    }
    if (procedures->L)
        lua_close(procedures->L);
    free(procedures->values.data);
    free(procedures);
}

sombra_err sombra_procedures_open(sombra_db *db, sombra_procedures **out_procedures)
{
    sombra_procedures *procedures = calloc(1, sizeof *procedures);
    struct work work = { .procedures = procedures };
    if (!procedures)
        return SOMBRA_NOMEM;
    procedures->L = luaL_newstate();
    sombra_err err = procedures->L ? perform(&work, open_state) : SOMBRA_NOMEM;
    if (err) {
        sombra_procedures_close(procedures);
        return err;
    }
    procedures->db->db = db;
    *out_procedures = procedures;
    return SOMBRA_OK;
}

const char *sombra_procedures_message(const sombra_procedures *procedures)
{
    return procedures ? procedures->message : "out of memory [nomem]";
}

sombra_err sombra_procedure_define(sombra_procedures *procedures, sombra_txn *txn,
                                   sombra_slice source)
{
    struct work work = { .procedures = procedures, .txn = txn, .name = source };
    return perform(&work, define);
}

sombra_err sombra_procedure_call(sombra_procedures *procedures, sombra_txn *txn, sombra_slice name,
                                 sombra_slice arguments, const sombra_procedure_options *options,
                                 sombra_procedure_result *out_result)
{
    sombra_procedure_options own = SOMBRA_PROCEDURE_OPTIONS_INIT;
    sombra_procedure_result result = SOMBRA_PROCEDURE_RESULT_INIT;
    struct work work = {
        .procedures = procedures, .txn = txn, .name = name, .arguments = arguments
    };
    if (options) {
        size_t bytes = options->struct_bytes < sizeof own ? options->struct_bytes : sizeof own;
        memcpy(&own, options, bytes);
        work.options = &own;
    }
    sombra_err err = perform(&work, call);
    if (err || !out_result)
        return err;
    result.values = bytes_slice(&procedures->values);
    result.is_refusal = work.is_refusal;
    result.struct_bytes = out_result->struct_bytes;
    memcpy(out_result, &result,
           result.struct_bytes < sizeof result ? result.struct_bytes : sizeof result);
    return SOMBRA_OK;
}

sombra_err sombra_procedures_commit(sombra_procedures *procedures, sombra_txn *txn,
                                    sombra_durability durability)
{
    struct work work = { .procedures = procedures, .txn = txn };
    sombra_err err = perform(&work, run_triggers);
    if (err) {
        sombra_txn_abort(txn);
        return err;
    }
    err = sombra_txn_commit(txn, durability);
    return err ? fail(procedures, err) : SOMBRA_OK;
}
