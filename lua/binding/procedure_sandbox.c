/* SPDX-License-Identifier: MIT */
/* The inside of a call: what a unit can reach beside Lua's libraries (sombra, require, emit, and
 * the transaction it is given), and the C functions that run it, each under sandbox_call.
 */
#include "procedure.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    DOC_BYTES_MAX = 1 << 16,
    PARAMETERS_MAX = 64,
    RESULTS_MAX = 250,
};

static const char call_key = 'c';  /* its address is the registry key of the call */
static const char units_key = 'u'; /* and of the units that were required */

struct call *call_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &call_key);
    struct call *call = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return call;
}

/* ---- units ----------------------------------------------------------------------------------- */

/* Loads and runs a text; its table is pushed. */
static void run_unit(lua_State *L, sombra_slice text, const char *chunk)
{
    if (sandbox_load(L, text.data, text.bytes, chunk) != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "%s: the source must return a table, not a %s", chunk + 1,
                   luaL_typename(L, -1));
}

static void chunk_name(sombra_slice definition, const struct unit_id *id, char *to, size_t bytes)
{
    sombra_slice chunk;
    if (member_string(definition, "chunk", &chunk) && chunk.bytes > 0 && chunk.bytes < 256)
        snprintf(to, bytes, "@%.*s", (int)chunk.bytes, (const char *)chunk.data);
    else
        snprintf(to, bytes, "=%s@%u", id->name, (unsigned)id->version);
}

/* require(name): the `exports` of another unit, or its table; run once a call. */
static int unit_require(lua_State *L)
{
    struct call *call = call_of(L);
    struct unit_id id;
    char chunk[300];
    sombra_slice text;
    unit_check_id(L, 1, &id);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &units_key);
    lua_pushvalue(L, 1);
    int type = lua_rawget(L, 2);
    if (type == LUA_TBOOLEAN)
        return luaL_error(L, "'%s' requires itself, by way of others perhaps", lua_tostring(L, 1));
    if (type != LUA_TNIL)
        return 1;
    lua_pop(L, 1);
    struct bytes definition = { .data = NULL };
    sombra_err err = unit_load(call->txn, &id, &definition);
    bool is_bare = !err && !member_string(bytes_slice(&definition), "text", &text);
    if (is_bare)
        err = SOMBRA_CORRUPT;
    if (!err) {
        chunk_name(bytes_slice(&definition), &id, chunk, sizeof chunk);
        /* Lua's copy outlives ours, which a raise would lose. */
        call->results.count = 0;
        if (bytes_append(&call->results, text)) {
            free(definition.data);
        } else {
            free(definition.data);
            err = SOMBRA_NOMEM;
        }
    } else {
        free(definition.data);
    }
    if (err == SOMBRA_NOT_FOUND)
        return luaL_error(L, "there is no procedure or library '%s'", lua_tostring(L, 1));
    if (is_bare)
        return error_raise_text(L, err, "a stored procedure has no text");
    if (err)
        return error_raise(L, err);
    lua_pushlstring(L, (const char *)call->results.data, call->results.count);
    call->results.count = 0;
    lua_pushvalue(L, 1);
    lua_pushboolean(L, 1); /* being loaded */
    lua_rawset(L, 2);
    text.data = lua_tolstring(L, 3, &text.bytes);
    run_unit(L, text, chunk);
    lua_pushliteral(L, "exports");
    if (lua_rawget(L, -2) == LUA_TNIL)
        lua_pop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
    return 1;
}

/* ---- rows of a stream ------------------------------------------------------------------------ */

static int emit_continue(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

/* emit(row): hands a row to db:stream, which asks for the next one when it wants it. */
static int unit_emit(lua_State *L)
{
    struct call *call = call_of(L);
    lua_settop(L, 1);
    if (!call->is_stream)
        return luaL_error(L, "emit gives rows to db:stream; this is a call: return them");
    if (L != call->thread)
        return luaL_error(L, "emit must not be called in a coroutine");
    sombra_slice row = value_encode(L, call->db, 1, "row");
    if (!bytes_set(&call->results, row))
        return luaL_error(L, "not enough memory");
    call->has_row = true;
    return lua_yieldk(L, 0, 0, emit_continue);
}

/* ---- the state ------------------------------------------------------------------------------- */

/* The same for every call; whose call it is comes later. */
static int prepare_state(lua_State *L)
{
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &call_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &units_key);
    binding_open_transactions(L);
    lua_newtable(L);
    value_register(L);
    prepare_register(L);
    lua_setglobal(L, "sombra");
    lua_pushcfunction(L, unit_require);
    lua_setglobal(L, "require");
    lua_pushcfunction(L, unit_emit);
    lua_setglobal(L, "emit");
    return 0;
}

/* The random numbers of a procedure are no secret, and differ from call to call. */
static uint64_t new_seed(void)
{
    static _Atomic uint64_t calls;
    uint64_t count = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (count == 0) {
        uint64_t first = 0;
        if (getrandom(&first, sizeof first, GRND_NONBLOCK) < 0)
            first = (uintptr_t)&first;
        atomic_fetch_add_explicit(&calls, first, memory_order_relaxed);
    }
    return count * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* ---- interrupts ------------------------------------------------------------------------- */

/* A sandbox's watch: Ctrl-C sets a hook on the state that runs, and that is the caller's, as far as
 * its signal handler knows. What the hook raises ends the call. */
static bool is_interrupted(void *context)
{
    struct call *call = context;
    lua_State *L = call->caller;
    if (call->outer)
        return sandbox_is_interrupted(call->outer->sandbox);
    bool is_raised = hook_ends(L, "=procedure");
    if (is_raised)
        call->raised = lua_gettop(L);
    return is_raised;
}

void call_open_sandbox(lua_State *L, struct call *call, const struct sandbox_limits *limits)
{
    call->sandbox = sandbox_new_prepared(limits, new_seed(), prepare_state);
    lua_State *inner = call->sandbox ? sandbox_state(call->sandbox) : NULL;
    if (!inner)
        error_raise_text(L, SOMBRA_NOMEM, "no memory for a procedure's state");
    lua_pushlightuserdata(inner, call); /* the key is there: this allocates nothing */
    lua_rawsetp(inner, LUA_REGISTRYINDEX, &call_key);
    call->caller = L;
    call->outer = call_of(L);
    sandbox_set_watch(call->sandbox, is_interrupted, call);
    sandbox_start(call->sandbox);
}

void tx_sandbox_look(lua_State *L)
{
    sandbox_look(L);
}

void call_close(struct call *call)
{
    if (call->lent) {
        tx_lent_end(call->lent);
        call->lent = NULL;
    }
    sandbox_free(call->sandbox);
    call->sandbox = NULL;
    call->thread = NULL;
    free(call->definition.data);
    free(call->arguments.data);
    free(call->results.data);
    call->definition = call->arguments = call->results = (struct bytes){ .data = NULL };
}

/* ---- describing a unit ----------------------------------------------------------------------- */

/* The field of the unit at index 1, copied to the description at index 2 if it is of the type. */
static int copy_field(lua_State *L, const char *name, int type, const char *what)
{
    lua_pushstring(L, name);
    int found = lua_rawget(L, 1);
    if (found == LUA_TNIL) {
        lua_pop(L, 1);
        return LUA_TNIL;
    }
    if (found != type)
        luaL_error(L, "the unit's '%s' must be %s, not a %s", name, what, luaL_typename(L, -1));
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_rawset(L, 2);
    return found;
}

static bool is_type_name(const char *name)
{
    static const char *const names[] = { "any",  "boolean", "integer", "number", "float", "string",
                                         "list", "map",     "node",    "edge",   NULL };
    return option_is_among(name, strlen(name), names);
}

static bool word_is_among(lua_State *L, int index, const char *const *names)
{
    const char *word = word_at(L, index);
    return option_is_among(word, strlen(word), names);
}

/* A key that means nothing is a word misspelt. */
static void check_parameter_keys(lua_State *L, int given, lua_Integer number)
{
    static const char *const names[] = { "default", "optional", "doc", NULL };
    lua_pushnil(L);
    while (lua_next(L, given)) {
        lua_pop(L, 1);
        bool is_place = lua_isinteger(L, -1) && (lua_Unsigned)lua_tointeger(L, -1) - 1 < 2;
        if (!is_place && !word_is_among(L, -1, names))
            luaL_error(L, "parameter %I is {name, type, default =, optional =, doc =}, not more",
                       number);
    }
}

/* The default on top, of the parameter described below it. Null is one of every type. */
static void check_default(lua_State *L, lua_Integer number)
{
    sombra_slice type;
    lua_getfield(L, -2, "type");
    type.data = lua_tolstring(L, -1, &type.bytes);
    lua_insert(L, -2);
    if (!value_is_null(L, -1) && !parameter_fits(L, type))
        luaL_error(L, "the default of parameter %I is no %s", number, lua_tostring(L, -2));
    lua_remove(L, -2);
}

/* The parameter at the top, {name, type, default =, optional =, doc =}, as a map. */
static void describe_parameter(lua_State *L, lua_Integer number)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "parameter %I must be a table: {name, type}", number);
    int given = lua_gettop(L);
    check_parameter_keys(L, given, number);
    lua_createtable(L, 0, 5);
    if (lua_rawgeti(L, given, 1) != LUA_TSTRING)
        luaL_error(L, "parameter %I has no name", number);
    lua_setfield(L, -2, "name");
    int type = lua_rawgeti(L, given, 2);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushliteral(L, "any");
    } else if (type != LUA_TSTRING || !is_type_name(word_at(L, -1))) {
        luaL_error(L,
                   "the type of parameter %I must be any, boolean, integer, number, float, string, "
                   "list, map, node or edge",
                   number);
    }
    lua_setfield(L, -2, "type");
    lua_pushliteral(L, "default");
    if (lua_rawget(L, given) == LUA_TNIL) {
        lua_pop(L, 1);
    } else {
        check_default(L, number);
        lua_setfield(L, -2, "default");
    }
    lua_pushliteral(L, "optional");
    lua_rawget(L, given);
    lua_pushboolean(L, lua_toboolean(L, -1));
    lua_setfield(L, -3, "optional");
    lua_pop(L, 1);
    lua_pushliteral(L, "doc");
    if (lua_rawget(L, given) == LUA_TSTRING)
        lua_setfield(L, -2, "doc");
    else
        lua_pop(L, 1);
    lua_replace(L, given);
    lua_settop(L, given);
}

static void describe_parameters(lua_State *L)
{
    lua_pushliteral(L, "params");
    int type = lua_rawget(L, 1);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (type != LUA_TTABLE)
        luaL_error(L, "the unit's 'params' must be a list of {name, type}");
    lua_Unsigned count = lua_rawlen(L, -1);
    if (count > PARAMETERS_MAX)
        luaL_error(L, "a procedure has at most %d parameters", PARAMETERS_MAX);
    lua_newtable(L);
    lua_newtable(L); /* the names so far */
    for (lua_Integer i = 1; i <= (lua_Integer)count; i++) {
        lua_rawgeti(L, -3, i);
        describe_parameter(L, i);
        lua_getfield(L, -1, "name");
        if (lua_rawget(L, -3) != LUA_TNIL)
            luaL_error(L, "parameter %I has the name of an earlier one", i);
        lua_pop(L, 1);
        lua_getfield(L, -1, "name");
        lua_pushboolean(L, true);
        lua_rawset(L, -4);
        lua_rawseti(L, -3, i);
    }
    lua_pop(L, 1);
    value_mark_list(L);
    lua_setfield(L, 2, "params");
    lua_pop(L, 1);
}

static void describe_limits(lua_State *L)
{
    static const char *const names[] = { "time", "memory", "instructions", NULL };
    if (copy_field(L, "limits", LUA_TTABLE, "a table") == LUA_TNIL)
        return;
    lua_getfield(L, 2, "limits");
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (!word_is_among(L, -2, names) || lua_type(L, -1) != LUA_TNUMBER ||
            !(lua_tonumber(L, -1) > 0))
            luaL_error(L, "the unit's limits are time (seconds), memory (bytes), instructions: "
                          "numbers above 0");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void describe_kind(lua_State *L)
{
    lua_pushliteral(L, "run");
    int run = lua_rawget(L, 1);
    if (run != LUA_TNIL && run != LUA_TFUNCTION)
        luaL_error(L, "the unit's 'run' must be a function");
    lua_pushliteral(L, "exports");
    int exports = lua_rawget(L, 1);
    if (run == LUA_TNIL && exports == LUA_TNIL)
        luaL_error(L, "the unit has neither 'run' (a procedure) nor 'exports' (a library)");
    lua_pop(L, 2);
    lua_pushboolean(L, run != LUA_TNIL);
    lua_setfield(L, 2, "has_run");
    lua_pushboolean(L, exports != LUA_TNIL);
    lua_setfield(L, 2, "has_exports");
    if (copy_field(L, "mode", LUA_TSTRING, "\"read\" or \"write\"") == LUA_TNIL) {
        lua_pushliteral(L, "read");
        lua_setfield(L, 2, "mode");
    }
    lua_getfield(L, 2, "mode");
    const char *mode = word_at(L, -1);
    if (strcmp(mode, "read") != 0 && strcmp(mode, "write") != 0)
        luaL_error(L, "the unit's 'mode' must be \"read\" or \"write\"");
    lua_pop(L, 1);
}

/* Upvalue-free, under sandbox_call. Argument: the text as light userdata. */
struct description {
    struct call *call;
    sombra_slice text;
    const char *chunk;
};

static int describe(lua_State *L)
{
    const struct description *wanted = lua_touserdata(L, 1);
    struct call *call = wanted->call;
    run_unit(L, wanted->text, wanted->chunk);
    lua_replace(L, 1);
    lua_newtable(L);
    if (copy_field(L, "name", LUA_TSTRING, "a string") == LUA_TNIL)
        luaL_error(L, "the unit has no 'name'");
    lua_pushliteral(L, "version");
    if (lua_rawget(L, 1) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushinteger(L, 1);
    }
    int is_integer = 0;
    lua_Integer version = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || version < 1 || version > UNIT_VERSION_MAX)
        luaL_error(L, "the unit's 'version' must be an integer from 1 to %d", UNIT_VERSION_MAX);
    lua_pop(L, 1);
    lua_pushinteger(L, version);
    lua_setfield(L, 2, "version");
    if (copy_field(L, "doc", LUA_TSTRING, "a string") != LUA_TNIL) {
        lua_getfield(L, 2, "doc");
        if (lua_rawlen(L, -1) > DOC_BYTES_MAX)
            luaL_error(L, "the unit's 'doc' is longer than %d bytes", DOC_BYTES_MAX);
        lua_pop(L, 1);
    }
    describe_kind(L);
    describe_parameters(L);
    describe_limits(L);
    sombra_slice encoded = value_encode(L, call->db, 2, "procedure");
    if (!bytes_set(&call->results, encoded))
        luaL_error(L, "not enough memory");
    return 0;
}

int call_describe(struct call *call, sombra_slice text, const char *chunk)
{
    lua_State *L = sandbox_state(call->sandbox);
    struct description wanted = { call, text, chunk };
    lua_pushcfunction(L, describe);
    lua_pushlightuserdata(L, &wanted);
    return sandbox_call(call->sandbox, 1, 0);
}

/* ---- running --------------------------------------------------------------------------------- */

/* Results are kept as one length and one encoded value each; no value for nil. */
static void keep_result(lua_State *L, struct call *call, int index)
{
    uint64_t length = 0;
    sombra_slice encoded = { NULL, 0 };
    if (!lua_isnil(L, index)) {
        char name[32];
        snprintf(name, sizeof name, "result %d", call->result_count + 1);
        encoded = value_encode(L, call->db, index, name);
        length = encoded.bytes;
    }
    if (!bytes_append(&call->results, (sombra_slice){ &length, sizeof length }) ||
        !bytes_append(&call->results, encoded))
        luaL_error(L, "not enough memory");
    call->result_count++;
}

static int keep_results(lua_State *L, int status, lua_KContext context)
{
    struct call *call = call_of(L);
    int first = (int)context, count = lua_gettop(L) - first + 1;
    (void)status;
    if (call->is_stream)
        return 0;
    if (count > RESULTS_MAX)
        luaL_error(L, "a procedure returns at most %d values", RESULTS_MAX);
    call->results.count = 0;
    call->says_no = count >= 2 && lua_isnil(L, first) && !lua_isnil(L, first + 1);
    for (int i = 0; i < count; i++)
        keep_result(L, call, first + i);
    return 0;
}

/* Under sandbox_call, or as the body of a stream's thread. */
static int run(lua_State *L)
{
    struct call *call = call_of(L);
    char chunk[300];
    sombra_slice text;
    lua_settop(L, 0);
    if (!member_string(bytes_slice(&call->definition), "text", &text))
        luaL_error(L, "the stored procedure is damaged: it has no text");
    chunk_name(bytes_slice(&call->definition), &call->unit, chunk, sizeof chunk);
    if (sandbox_load(L, text.data, text.bytes, chunk) != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
    if (lua_type(L, 1) != LUA_TTABLE)
        luaL_error(L, "the source did not return a table this time");
    lua_pushliteral(L, "run");
    if (lua_rawget(L, 1) != LUA_TFUNCTION)
        luaL_error(L, "'%s' is a library: it has no 'run'", call->unit.name);
    call->lent = tx_push_lent(L, call->db, call->txn, call->is_write, call->mark);
    call->lent->is_sandboxed = true;
    lua_pushvalue(L, -1); /* the handle is cut off at the end: the script must not lose it */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &call->lent);
    if (call->arguments.count)
        value_push(L, bytes_slice(&call->arguments));
    else
        lua_pushnil(L);
    lua_callk(L, 2, LUA_MULTRET, 2, keep_results);
    return keep_results(L, LUA_OK, 2);
}

/* In the middle of a batch that the procedure writes. */
static sombra_err poll(void *context)
{
    struct call *call = context;
    if (sandbox_is_over(call->sandbox))
        return SOMBRA_CANCELLED;
    return call->around.ask ? call->around.ask(call->around.context) : SOMBRA_OK;
}

int call_run(struct call *call)
{
    lua_pushcfunction(sandbox_state(call->sandbox), run);
    call->around = sombra_txn_set_poll(call->txn, (sombra_txn_poll){ poll, call });
    int status = sandbox_call(call->sandbox, 0, 0);
    (void)sombra_txn_set_poll(call->txn, call->around);
    return status;
}

/* Makes the stream's thread; the registry keeps it. */
static int open_thread(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);
    lua_State *thread = lua_newthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, call);
    lua_pushcfunction(thread, run);
    call->thread = thread;
    return 0;
}

int call_resume(struct call *call)
{
    lua_State *L = sandbox_state(call->sandbox);
    int count = 0;
    call->has_row = false;
    if (!call->thread) {
        lua_pushcfunction(L, open_thread);
        lua_pushlightuserdata(L, call);
        int status = sandbox_call(call->sandbox, 1, 0);
        if (status != LUA_OK)
            return status;
    }
    sandbox_go_on(call->sandbox);
    int status = lua_resume(call->thread, L, 0, &count);
    sandbox_pause(call->sandbox);
    if (sandbox_end_of(call->sandbox) != SANDBOX_LIVES)
        return LUA_ERRRUN;
    if (status == LUA_YIELD && !call->has_row) { /* not by emit: it would look like the end */
        lua_settop(call->thread, 0);
        lua_pushliteral(call->thread, "a stream's procedure gives rows by emit, and cannot yield");
        return LUA_ERRRUN;
    }
    return status == LUA_YIELD ? LUA_OK : status;
}

/* ---- results and errors, in the caller's state ------------------------------------------ */

int call_push_results(lua_State *L, struct call *call)
{
    size_t at = 0;
    luaL_checkstack(L, call->result_count + 4, "results of a procedure");
    for (int i = 0; i < call->result_count; i++) {
        uint64_t length;
        memcpy(&length, call->results.data + at, sizeof length);
        at += sizeof length;
        if (length)
            value_push(L, (sombra_slice){ call->results.data + at, (size_t)length });
        else
            lua_pushnil(L);
        at += (size_t)length;
    }
    return call->result_count;
}

/* In the sandbox, with an error value at 1: keeps what can be said of it. */
static int keep_error(lua_State *L)
{
    struct call *call = call_of(L);
    if (lua_type(L, 1) == LUA_TSTRING || lua_type(L, 1) == LUA_TTABLE) {
        sombra_slice encoded = value_encode(L, call->db, 1, "error");
        call->has_row = bytes_set(&call->results, encoded);
    }
    return 0;
}

/* Who an error is of. A source that is defined has no name before it has run. */
static void push_subject(lua_State *L, const struct call *call)
{
    if (call->unit.name[0])
        lua_pushfstring(L, "procedure '%s'", call->unit.name);
    else
        lua_pushliteral(L, "definition of a procedure");
}

/* The text at the top as message and trace. */
static void push_error_text(lua_State *L, const struct call *call, const char *message)
{
    const char *trace = strstr(message, "\nstack traceback:");
    lua_pushlstring(L, message, trace ? (size_t)(trace - message) : strlen(message));
    push_subject(L, call);
    lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), lua_tostring(L, -2));
    lua_remove(L, -2);
    error_push_text(L, SOMBRA_INVALID, lua_tostring(L, -1));
    if (trace) {
        lua_pushstring(L, trace + 1);
        lua_setfield(L, -2, "trace");
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
    lua_pushliteral(L, "procedure");
    lua_setfield(L, -2, "code");
}

/* An error table of the procedure: its code and message, and itself as the cause. */
static void push_error_table(lua_State *L, const struct call *call)
{
    int cause = lua_gettop(L);
    lua_pushliteral(L, "message");
    if (lua_rawget(L, cause) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "raised a table");
    }
    push_error_text(L, call, lua_tostring(L, -1));
    lua_replace(L, -2);
    lua_pushliteral(L, "code");
    if (lua_rawget(L, cause) == LUA_TSTRING)
        lua_setfield(L, -2, "code");
    else
        lua_pop(L, 1);
    lua_pushvalue(L, cause);
    lua_setfield(L, -2, "cause");
    lua_replace(L, cause);
}

void call_push_error(lua_State *L, struct call *call, int status)
{
    lua_State *inner = call->thread ? call->thread : sandbox_state(call->sandbox);
    if (call->raised) {
        lua_pushvalue(L, call->raised);
        return;
    }
    if (sandbox_end_of(call->sandbox) != SANDBOX_LIVES) {
        char text[UNIT_NAME_BYTES_MAX + 160];
        push_subject(L, call);
        sandbox_explain(call->sandbox, lua_tostring(L, -1), text, sizeof text);
        lua_pop(L, 1);
        error_push_text(L, SOMBRA_LIMIT, text);
        return;
    }
    if (status == LUA_ERRMEM) {
        error_push_text(L, SOMBRA_LIMIT, "a procedure ran out of memory");
        return;
    }
    call->has_row = false;
    if (call->thread) /* its stack may be in any state: the value goes to the main thread */
        lua_xmove(inner, sandbox_state(call->sandbox), 1);
    inner = sandbox_state(call->sandbox);
    lua_pushcfunction(inner, keep_error);
    lua_insert(inner, -2);
    if (sandbox_call(call->sandbox, 1, 0) != LUA_OK || !call->has_row) {
        push_error_text(L, call, "raised a value that cannot be shown");
        return;
    }
    value_push(L, bytes_slice(&call->results));
    if (lua_type(L, -1) == LUA_TTABLE) {
        push_error_table(L, call);
        return;
    }
    push_error_text(L, call, lua_tostring(L, -1));
    lua_replace(L, -2);
}
