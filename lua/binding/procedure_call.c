/* SPDX-License-Identifier: MIT */
/* tx:call, db:call and db:stream: finding the unit, checking arguments, one sandbox for each call,
 * and a savepoint below it, so that a call that fails leaves nothing behind.
 */
#include "procedure.h"

#include <string.h>

/* ---- limits ---------------------------------------------------------------------------------- */

/* A limit of a definition, in units of 1 / scale; those of older ones were less well looked at. */
static uint64_t limit_of(const sombra_value *value, double scale)
{
    double limit = 0;
    if (value->kind == SOMBRA_INTEGER && scale == 1)
        return value->as.integer > 0 ? (uint64_t)value->as.integer : 1;
    if (value->kind == SOMBRA_INTEGER)
        limit = (double)value->as.integer * scale;
    else if (value->kind == SOMBRA_FLOAT)
        limit = value->as.real * scale;
    return !(limit >= 1) ? 1 : limit < 9e18 ? (uint64_t)limit : INT64_MAX;
}

/* Those of the definition, then those of the caller's table at `arg`. */
static void read_limits(lua_State *L, const struct call *call, int arg,
                        struct sandbox_limits *limits)
{
    static const char *const names[] = { "time", "memory",       "instructions",
                                         "sync", "busy_timeout", NULL };
    sombra_value map;
    *limits = (struct sandbox_limits){ .time_us = 0 };
    if (member_value(bytes_slice(&call->definition), "limits", &map)) {
        sombra_value value;
        if (!sombra_value_member(&map, (sombra_slice){ "time", 4 }, &value))
            limits->time_us = limit_of(&value, 1e6);
        if (!sombra_value_member(&map, (sombra_slice){ "memory", 6 }, &value))
            limits->memory_bytes = limit_of(&value, 1);
        if (!sombra_value_member(&map, (sombra_slice){ "instructions", 12 }, &value))
            limits->instructions = limit_of(&value, 1);
    }
    if (!options_given(L, arg, names))
        return;
    uint64_t time_us = option_seconds(L, arg, "time", 1e6);
    if (time_us > 0)
        limits->time_us = time_us;
    limits->memory_bytes = option_count(L, arg, "memory", 1, limits->memory_bytes);
    limits->instructions = option_count(L, arg, "instructions", 1, limits->instructions);
}

void call_bound_limits(const struct call *outer, struct sandbox_limits *limits)
{
    struct sandbox_limits left;
    sandbox_left(outer->sandbox, &left);
    if (limits->time_us == 0 || limits->time_us > left.time_us)
        limits->time_us = left.time_us;
    if (left.instructions &&
        (limits->instructions == 0 || limits->instructions > left.instructions))
        limits->instructions = left.instructions;
    if (limits->memory_bytes == 0 || limits->memory_bytes > left.memory_bytes)
        limits->memory_bytes = left.memory_bytes;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool is_integral(lua_State *L, int index)
{
    int is_integer = 0;
    lua_tointegerx(L, index, &is_integer);
    return lua_type(L, index) == LUA_TNUMBER && is_integer;
}

/* {} is a map, and an empty list to whoever wants a list. */
static bool is_list_or_map(lua_State *L, bool wants_list)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        return false;
    bool is_marked = value_is_list(L, -1);
    bool has_items = lua_rawlen(L, -1) > 0;
    lua_pushnil(L);
    bool is_empty = !lua_next(L, -2);
    if (!is_empty)
        lua_pop(L, 2);
    return wants_list ? is_marked || has_items || is_empty : !is_marked && !has_items;
}

bool parameter_fits(lua_State *L, sombra_slice type)
{
    int given = lua_type(L, -1);
#define IS(name) (type.bytes == sizeof name - 1 && memcmp(type.data, name, type.bytes) == 0)
    if (IS("any"))
        return true;
    if (IS("boolean"))
        return given == LUA_TBOOLEAN;
    if (IS("string"))
        return given == LUA_TSTRING;
    if (IS("number"))
        return given == LUA_TNUMBER;
    if (IS("list") || IS("map"))
        return is_list_or_map(L, IS("list"));
    if (IS("float")) {
        if (given != LUA_TNUMBER)
            return false;
        lua_pushnumber(L, lua_tonumber(L, -1));
        lua_replace(L, -2);
        return true;
    }
    if (IS("integer") || IS("node") || IS("edge")) {
        if (!is_integral(L, -1))
            return false;
        lua_pushinteger(L, lua_tointeger(L, -1));
        lua_replace(L, -2);
        return true;
    }
#undef IS
    return false;
}

/* One parameter: by name, else by position, else its default; set in the table `to`. Returns
 * whether a positional value was used. */
static bool bind_parameter(lua_State *L, int given, int to, lua_Integer position,
                           const sombra_value *parameter)
{
    sombra_value name, type, other;
    bool is_positional = false;
    if (sombra_value_member(parameter, (sombra_slice){ "name", 4 }, &name) ||
        name.kind != SOMBRA_STRING ||
        sombra_value_member(parameter, (sombra_slice){ "type", 4 }, &type) ||
        type.kind != SOMBRA_STRING)
        error_raise_text(L, SOMBRA_CORRUPT, "a stored parameter has no name or type");
    lua_pushlstring(L, name.as.string.data, name.as.string.bytes);
    int name_index = lua_gettop(L);
    lua_pushvalue(L, name_index);
    if (lua_rawget(L, given) == LUA_TNIL) {
        lua_pop(L, 1);
        is_positional = lua_rawgeti(L, given, position) != LUA_TNIL;
    } else {
        lua_pushvalue(L, name_index);
        lua_pushnil(L);
        lua_rawset(L, given); /* our copy: what is left over was not asked for */
    }
    if (is_positional) {
        lua_pushnil(L);
        lua_rawseti(L, given, position);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        if (!sombra_value_member(parameter, (sombra_slice){ "default", 7 }, &other)) {
            lua_pushlstring(L, name.as.string.data, name.as.string.bytes);
            value_push_decoded(L, &other);
            lua_rawset(L, to);
        } else if (sombra_value_member(parameter, (sombra_slice){ "optional", 8 }, &other) ||
                   !other.as.boolean) {
            error_raise_text(
                L, SOMBRA_INVALID,
                lua_pushfstring(L, "parameter '%s' is missing", lua_tostring(L, name_index)));
        }
        lua_settop(L, name_index - 1);
        return is_positional;
    }
    if (!parameter_fits(L, type.as.string)) {
        lua_pushlstring(L, type.as.string.data, type.as.string.bytes);
        error_raise_text(L, SOMBRA_INVALID,
                         lua_pushfstring(L, "parameter '%s': %s expected, got %s",
                                         lua_tostring(L, name_index), lua_tostring(L, -1),
                                         luaL_typename(L, -2)));
    }
    lua_rawset(L, to);
    return is_positional;
}

static void refuse_rest(lua_State *L, const struct call *call, int given)
{
    lua_pushnil(L);
    if (!lua_next(L, given))
        return;
    lua_pop(L, 1);
    const char *what = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(by position)";
    error_raise_text(
        L, SOMBRA_INVALID,
        lua_pushfstring(L, "procedure '%s' has no parameter '%s'", call->unit.name, what));
}

/* The arguments at `arg`, as declared, encoded into the call. */
static void bind_arguments(lua_State *L, struct call *call, int arg)
{
    sombra_value list, parameter;
    sombra_value_cursor cursor;
    bool is_found;
    int top = lua_gettop(L);
    if (!member_value(bytes_slice(&call->definition), "params", &list)) {
        if (lua_isnoneornil(L, arg))
            return;
        if (!bytes_set(&call->arguments, value_encode(L, call->db, arg, "args")))
            error_raise_text(L, SOMBRA_NOMEM, "no memory for the arguments");
        return;
    }
    lua_newtable(L); /* a copy, without what was bound */
    int given = lua_gettop(L);
    if (!lua_isnoneornil(L, arg)) {
        luaL_checktype(L, arg, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, arg)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, given);
        }
    }
    lua_newtable(L);
    int to = lua_gettop(L);
    sombra_value_enter(&list, &cursor);
    for (lua_Integer position = 1;; position++) {
        sombra_err err = sombra_value_next(&cursor, NULL, &parameter, &is_found);
        if (err)
            error_raise(L, err);
        if (!is_found)
            break;
        (void)bind_parameter(L, given, to, position, &parameter);
    }
    refuse_rest(L, call, given);
    if (!bytes_set(&call->arguments, value_encode(L, call->db, to, "args")))
        error_raise_text(L, SOMBRA_NOMEM, "no memory for the arguments");
    lua_settop(L, top);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void load_definition(lua_State *L, struct call *call, int arg)
{
    bool has_run;
    sombra_value value;
    unit_check_id(L, arg, &call->unit);
    sombra_err err = unit_load(call->txn, &call->unit, &call->definition);
    if (err == SOMBRA_NOT_FOUND)
        error_raise_text(L, SOMBRA_NOT_FOUND,
                         lua_pushfstring(L, "there is no procedure '%s'", lua_tostring(L, arg)));
    if (err)
        error_raise(L, err);
    has_run = member_value(bytes_slice(&call->definition), "has_run", &value) &&
              value.kind == SOMBRA_BOOLEAN && value.as.boolean;
    if (!has_run)
        error_raise_text(
            L, SOMBRA_INVALID,
            lua_pushfstring(L, "'%s' is a library: other procedures require it", call->unit.name));
}

static bool is_write_mode(const struct call *call)
{
    sombra_slice mode;
    return member_string(bytes_slice(&call->definition), "mode", &mode) && mode.bytes == 5;
}

static struct call *push_call(lua_State *L, struct db_handle *db, sombra_txn *txn)
{
    struct call *call = lua_newuserdatauv(L, sizeof *call, 1);
    *call = (struct call){ .db = db, .txn = txn };
    luaL_setmetatable(L, CALL_NAME);
    return call;
}

/* What a procedure did is undone when it fails or says no. */
static void undo(lua_State *L, const struct call *call)
{
    if (!call->mark)
        return;
    sombra_err err = sombra_txn_rollback_to(call->txn, call->mark);
    if (!err)
        err = sombra_txn_release(call->txn, call->mark);
    if (err)
        error_raise(L, err);
}

static void check_depth(lua_State *L, struct call *call, const struct call *outer)
{
    call->depth = outer ? outer->depth + 1 : 0;
    if (call->depth >= CALL_DEPTH_MAX)
        error_raise_text(
            L, SOMBRA_LIMIT,
            lua_pushfstring(L, "procedures call each other more than %d deep", CALL_DEPTH_MAX));
}

/* tx:call(name [, args [, limits]]) -> the procedure's results */
int tx_call(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    struct call *outer = call_of(L);
    struct sandbox_limits limits;
    lua_settop(L, 4);
    struct call *call = push_call(L, tx->db, tx->txn);
    lua_toclose(L, -1);
    check_depth(L, call, outer);
    load_definition(L, call, 2);
    call->is_write = is_write_mode(call);
    if (call->is_write && !tx->is_write)
        return error_raise_text(L, SOMBRA_READONLY,
                                lua_pushfstring(L,
                                                "procedure '%s' writes: call it in a write "
                                                "transaction",
                                                call->unit.name));
    read_limits(L, call, 4, &limits);
    if (outer)
        call_bound_limits(outer, &limits);
    bind_arguments(L, call, 3);
    call_open_sandbox(L, call, &limits);
    if (!tx_is_open(tx)) /* a finalizer may have ended it */
        return tx_raise_over(L, tx);
    if (call->is_write) {
        sombra_err err = sombra_txn_savepoint(call->txn, &call->mark);
        if (err)
            return error_raise(L, err);
    }
    bool was_readonly = sombra_txn_set_readonly(call->txn, !call->is_write);
    int status = call_run(call);
    (void)sombra_txn_set_readonly(call->txn, was_readonly);
    if (outer)
        sandbox_tick(L, sandbox_work(call->sandbox));
    if (status != LUA_OK) {
        call_push_error(L, call, status);
        undo(L, call);
        return lua_error(L);
    }
    if (call->says_no) {
        undo(L, call);
    } else if (call->mark) {
        sombra_err err = sombra_txn_release(call->txn, call->mark);
        if (err)
            return error_raise(L, err);
    }
    return call_push_results(L, call);
}

/* The mode of the newest definition, or that of the version asked for. */
static const char *mode_of(lua_State *L)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    struct tx_handle *tx = tx_push(L, 1);
    tx_begin(L, tx, &options);
    struct call *call = push_call(L, tx->db, tx->txn);
    load_definition(L, call, 2);
    bool is_write = is_write_mode(call);
    call_close(call);
    tx_abort(tx);
    lua_pop(L, 2);
    return is_write ? "write" : "read";
}

/* Upvalues: name, args, limits. */
static int call_in_transaction(lua_State *L)
{
    lua_settop(L, 1);
    for (int i = 1; i <= 3; i++)
        lua_pushvalue(L, lua_upvalueindex(i));
    lua_getfield(L, 1, "call");
    lua_insert(L, 1);
    lua_call(L, 4, LUA_MULTRET);
    return lua_gettop(L);
}

/* db:call(name [, args [, limits]]): in a transaction of the procedure's mode */
int db_call(lua_State *L)
{
    static const char *const names[] = { "time", "memory",       "instructions",
                                         "sync", "busy_timeout", NULL };
    (void)db_self(L);
    lua_settop(L, 4);
    bool has_options = options_given(L, 4, names);
    const char *mode = mode_of(L);
    lua_getfield(L, 1, mode);
    lua_pushvalue(L, 1);
    for (int i = 2; i <= 4; i++)
        lua_pushvalue(L, i);
    lua_pushcclosure(L, call_in_transaction, 3);
    if (has_options && mode[0] == 'w') {
        lua_createtable(L, 0, 2);
        (void)option_push(L, 4, "sync");
        lua_setfield(L, -2, "sync");
        (void)option_push(L, 4, "busy_timeout");
        lua_setfield(L, -2, "busy_timeout");
    } else {
        lua_pushnil(L);
    }
    lua_call(L, 3, LUA_MULTRET);
    return lua_gettop(L) - 4;
}

/* ---- streams --------------------------------------------------------------------------------- */

static void stream_end(lua_State *L, struct call *call, int index)
{
    call_close(call);
    if (lua_getiuservalue(L, index, 1) == LUA_TUSERDATA)
        tx_abort(lua_touserdata(L, -1));
    lua_pop(L, 1);
}

/* The call as the loop's state. */
static int stream_next(lua_State *L)
{
    struct call *call = luaL_checkudata(L, 1, CALL_NAME);
    lua_settop(L, 1);
    if (!call->sandbox) {
        lua_pushnil(L);
        return 1;
    }
    lua_getiuservalue(L, 1, 1);
    if (!tx_is_open(lua_touserdata(L, 2))) {
        stream_end(L, call, 1);
        return luaL_error(L, "the stream's database is closed");
    }
    call->caller = L;
    int status = call_resume(call);
    if (status == LUA_OK && call->has_row) {
        value_push(L, bytes_slice(&call->results));
        return 1;
    }
    if (status != LUA_OK) {
        call_push_error(L, call, status);
        stream_end(L, call, 1);
        return lua_error(L);
    }
    stream_end(L, call, 1);
    lua_pushnil(L);
    return 1;
}

/* db:stream(name [, args [, limits]]) -> iterator of the rows that the procedure emits */
int db_stream(lua_State *L)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    struct sandbox_limits limits;
    struct db_handle *db = db_self(L);
    lua_settop(L, 4);
    lua_pushcfunction(L, stream_next);
    struct call *call = push_call(L, db, NULL);
    struct tx_handle *tx = tx_push(L, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, 1);
    tx_begin(L, tx, &options);
    call->txn = tx->txn;
    call->is_stream = call->is_opening = true;
    lua_toclose(L, 6); /* an error below must not leave the transaction to the collector */
    load_definition(L, call, 2);
    if (is_write_mode(call))
        return error_raise_text(L, SOMBRA_INVALID,
                                "a stream's procedure reads: one that writes is called by db:call");
    read_limits(L, call, 4, &limits);
    bind_arguments(L, call, 3);
    call_open_sandbox(L, call, &limits);
    sandbox_pause(call->sandbox);
    lua_pop(L, 1); /* tx: the call keeps it */
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4; /* next, call, nil, call to close */
}

/* ---- the class ------------------------------------------------------------------------------- */

/* db:stream's own closing, without an error, hands the call over to the loop. */
static int call_end(lua_State *L)
{
    struct call *call = luaL_checkudata(L, 1, CALL_NAME);
    if (!call->is_opening || !lua_isnil(L, 2))
        stream_end(L, call, 1);
    call->is_opening = false;
    return 0;
}

static int call_gc(lua_State *L)
{
    struct call *call = luaL_checkudata(L, 1, CALL_NAME);
    stream_end(L, call, 1);
    return 0;
}

void call_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__gc", call_gc },
                                            { "__close", call_end },
                                            { NULL, NULL } };
    const luaL_Reg *const sets[] = { NULL };
    class_register(L, CALL_NAME, metamethods, sets);
}
