/* SPDX-License-Identifier: MIT */
/* Running traversals: rows as a loop, a list, a page, a number, or a plan.
 *
 * A running query is a sombra.cursor, which its transaction outlives or ends. A filter, weight or
 * heuristic function runs while the engine's query is running: protected, with its error kept until
 * the engine has returned, and with the transaction neither written nor ended meanwhile.
 */
#include "procedure.h"
#include "traversal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CURSOR_NAME "sombra.cursor"
static const char cursor_class[] = CURSOR_NAME;

enum {
    CURSOR_TRAVERSAL = 1,
    CURSOR_FUNCTIONS = 2,
    PLAN_DEPTH_MAX = 64,
    STEPS_INLINE = 16,
    POLL_WORK = 2000 /* of a query between two polls, in ticks of a sandbox */
};

static const char poll_key = 'p'; /* its address is the registry key of the polled function */

struct cursor {
    struct tx_handle *tx; /* kept alive by user value 1, or by the method that ends the cursor */
    sombra_query *query;  /* NULL = over */
    sombra_row_kind kind;
    bool is_taken;           /* by a method that ends it before it returns */
    bool has_functions;      /* user value 2 */
    struct sandbox *sandbox; /* of the procedure that runs it, whose memory it takes; or NULL */
    size_t taken;            /* bytes of that */
    const sombra_row *rows;  /* of the batch; live while the transaction does */
    size_t count, next;
    lua_State *L;  /* that runs it now, for the functions; NULL = it does not run */
    int at;        /* stack index there: itself */
    int functions; /* of its functions */
    int error;     /* stack index of what a function raised; 0 = nothing */
};

/* ---- functions that the engine calls ---------------------------------------------------- */

struct function_call {
    struct cursor *cursor;
    uint32_t number;
    const sombra_row *row; /* of a filter */
    uint64_t id;           /* of a cost */
    bool keeps;
    double cost;
};

static void push_row(lua_State *L, const sombra_row *row);

/* Protected. Arguments: the list of functions, the call. */
static int call_function(lua_State *L)
{
    struct function_call *call = lua_touserdata(L, 2);
    lua_rawgeti(L, 1, call->number);
    if (call->row) {
        push_row(L, call->row);
        lua_pushinteger(L, call->row->depth);
        lua_call(L, 2, 1);
        call->keeps = lua_toboolean(L, -1);
        return 0;
    }
    lua_pushinteger(L, (lua_Integer)call->id);
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TNUMBER)
        return luaL_error(L, "a cost must be a number, not a %s", luaL_typename(L, -1));
    call->cost = lua_tonumber(L, -1);
    return 0;
}

static sombra_err run_function(struct function_call *call)
{
    struct cursor *cursor = call->cursor;
    lua_State *L = cursor->L;
    assert(L && cursor->error == 0);
    if (!lua_checkstack(L, 8))
        return SOMBRA_NOMEM;
    lua_pushcfunction(L, call_function);
    lua_pushvalue(L, cursor->functions);
    lua_pushlightuserdata(L, call);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK)
        return SOMBRA_OK;
    cursor->error = lua_gettop(L);
    return SOMBRA_CANCELLED;
}

/* Protected, with nothing on the stack: gives what interrupts Lua code its chance, which is a hook,
 * or the limits of a sandbox. */
static int run_poll(lua_State *L)
{
    if (call_of(L)) {
        sandbox_tick(L, POLL_WORK);
        sandbox_look(L); /* what a row costs is not known here */
        return 0;
    }
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &poll_key) == LUA_TNIL) {
        lua_pop(L, 1);
        if (luaL_loadbuffer(L, "return", 6, "=traversal") != LUA_OK)
            return lua_error(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &poll_key);
    }
    lua_call(L, 0, 0);
    return 0;
}

static sombra_err poll(void *context)
{
    struct cursor *cursor = context;
    lua_State *L = cursor->L;
    assert(L && cursor->error == 0);
    if (!lua_checkstack(L, 4))
        return SOMBRA_NOMEM;
    if (LIKELY(!lua_gethook(L) && !cursor->tx->is_sandboxed)) /* nothing would be called */
        return SOMBRA_OK;
    lua_pushcfunction(L, run_poll);
    if (lua_pcall(L, 0, 0, 0) == LUA_OK)
        return SOMBRA_OK;
    cursor->error = lua_gettop(L);
    return SOMBRA_CANCELLED;
}

/* What the query takes counts as its procedure's memory. Queries that were left may be garbage that
 * has not been collected. */
static sombra_err take_memory(void *context, size_t bytes)
{
    struct cursor *cursor = context;
    if (!sandbox_has_memory(cursor->sandbox, bytes))
        lua_gc(cursor->L, LUA_GCCOLLECT);
    if (!sandbox_take_memory(cursor->sandbox, bytes)) {
        lua_pushliteral(cursor->L, "killed");
        cursor->error = lua_gettop(cursor->L);
        return SOMBRA_LIMIT;
    }
    cursor->taken += bytes;
    return SOMBRA_OK;
}

static sombra_err filter(void *context, uint32_t number, const sombra_row *row, bool *out_keep)
{
    struct function_call call = { .cursor = context, .number = number, .row = row };
    sombra_err err = run_function(&call);
    if (!err)
        *out_keep = call.keeps;
    return err;
}

static sombra_err cost(void *context, uint32_t number, uint64_t id, double *out_cost)
{
    struct function_call call = { .cursor = context, .number = number, .id = id };
    sombra_err err = run_function(&call);
    if (!err)
        *out_cost = call.cost;
    return err;
}

/* ---- cursors ---------------------------------------------------------------------------- */

static void close_cursor(struct cursor *cursor)
{
    sombra_query_close(cursor->query);
    if (UNLIKELY(cursor->taken))
        sandbox_give_memory(cursor->sandbox, cursor->taken);
    cursor->taken = 0;
    cursor->query = NULL;
    cursor->count = cursor->next = 0;
}

struct traversal *traversal_to_run(lua_State *L)
{
    struct traversal *traversal = traversal_self(L);
    if (traversal->is_body)
        luaL_argerror(L, 1, "this is a part of a traversal: only the whole can run");
    if (!tx_is_open(traversal->tx))
        tx_raise_over(L, traversal->tx);
    return traversal;
}

/* Before a call of the engine that may call functions, and after it. */
static void enter(lua_State *L, struct cursor *cursor, int index, bool *was_readonly)
{
    cursor->L = L;
    cursor->at = index;
    cursor->functions = lua_gettop(L) + 1;
    cursor->error = 0;
    if (UNLIKELY(cursor->has_functions))
        lua_getiuservalue(L, index, CURSOR_FUNCTIONS);
    cursor->tx->jobs++;
    cursor->tx->db->jobs++;
    *was_readonly = sombra_txn_set_readonly(cursor->tx->txn, true);
}

/* Closes the cursor at `index`, and lets go of what it keeps alive. */
static void end_cursor(lua_State *L, struct cursor *cursor, int index)
{
    close_cursor(cursor);
    if (!cursor->is_taken) {
        lua_pushnil(L);
        lua_setiuservalue(L, index, CURSOR_TRAVERSAL);
    }
    if (cursor->has_functions) {
        lua_pushnil(L);
        lua_setiuservalue(L, index, CURSOR_FUNCTIONS);
    }
    cursor->is_taken = false;
}

/* Raises what a function raised, or what the engine says. */
static void leave(lua_State *L, struct cursor *cursor, sombra_err err, bool was_readonly)
{
    (void)sombra_txn_set_readonly(cursor->tx->txn, was_readonly);
    cursor->tx->jobs--;
    cursor->tx->db->jobs--;
    cursor->L = NULL;
    if (LIKELY(!err && !cursor->has_functions))
        return;
    lua_settop(L, err && cursor->error ? cursor->error : cursor->functions - 1);
    if (!err)
        return;
    if (!cursor->error)
        error_push(L, err);
    end_cursor(L, cursor, cursor->at);
    lua_error(L);
}

/* The bounds of the traversal at `index`. */
static void read_bounds(lua_State *L, int index, sombra_query_options *options)
{
    const struct traversal_bounds *bounds = traversal_bounds(lua_touserdata(L, index));
    if (!bounds)
        return;
    options->rows_max = bounds->rows;
    options->memory_max = bounds->memory;
    options->time_max_ms = bounds->time_ms;
}

/* The steps of the traversal at `index`: in `inlined`, or in a userdata that is pushed. */
static const sombra_slice *read_steps(lua_State *L, int index, sombra_slice inlined[STEPS_INLINE])
{
    const struct traversal *traversal = lua_touserdata(L, index);
    sombra_slice *steps = inlined;
    if (UNLIKELY(traversal->count > STEPS_INLINE))
        steps = lua_newuserdatauv(L, traversal->count * sizeof *steps, 0);
    traversal_list_steps(traversal, steps);
    return steps;
}

static struct cursor *push_cursor(lua_State *L)
{
    struct cursor *cursor = lua_newuserdatauv(L, sizeof *cursor, CURSOR_FUNCTIONS);
    *cursor = (struct cursor){ .query = NULL };
    class_set(L, cursor_class);
    return cursor;
}

/* Pushes the one that is kept for methods that end it before they return, or, if it is taken,
 * another that is kept in its place: functions that a traversal calls, and finalizers, run others,
 * and a method that ran out of memory has not ended its own, which the collector does. */
static struct cursor *take_cursor(lua_State *L)
{
    const int proof = lua_upvalueindex(3);
    if (LIKELY(lua_getiuservalue(L, proof, PROOF_CURSOR) == LUA_TUSERDATA)) {
        struct cursor *kept = lua_touserdata(L, -1);
        if (LIKELY(!kept->is_taken))
            return kept;
    }
    lua_pop(L, 1);
    struct cursor *cursor = push_cursor(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, proof, PROOF_CURSOR);
    return cursor;
}

/* The cursor on top runs the traversal at `index`. */
static void open_cursor(lua_State *L, struct cursor *cursor, int index,
                        sombra_query_options *options)
{
    const struct traversal *traversal = lua_touserdata(L, index);
    struct tx_handle *tx = traversal->tx;
    sombra_slice inlined[STEPS_INLINE];
    bool was_readonly;
    const int at = lua_gettop(L);
    *cursor = (struct cursor){ .tx = tx, .is_taken = cursor->is_taken };
    if (!cursor->is_taken) {
        lua_pushvalue(L, index);
        lua_setiuservalue(L, at, CURSOR_TRAVERSAL);
    }
    if (traversal_has_functions(traversal)) {
        cursor->has_functions = true;
        traversal_push_functions(L, index, false);
        lua_setiuservalue(L, at, CURSOR_FUNCTIONS);
    }
    options->filter = filter;
    options->cost = cost;
    options->poll = poll;
    options->context = cursor;
    if (UNLIKELY(tx->is_sandboxed)) {
        cursor->sandbox = sandbox_of(L);
        options->memory = take_memory;
    }
    const sombra_slice *steps = read_steps(L, index, inlined);
    if (!tx_is_open(tx))
        tx_raise_over(L, tx);
    enter(L, cursor, at, &was_readonly);
    sombra_err err =
        sombra_query_open_steps(tx->txn, steps, traversal->count, options, &cursor->query);
    leave(L, cursor, err, was_readonly);
    lua_settop(L, at);
    cursor->kind = sombra_query_kind(cursor->query);
}

/* The next row, or NULL at the end. The cursor stands at `index`. */
static const sombra_row *next_row(lua_State *L, struct cursor *cursor, int index)
{
    bool was_readonly;
    if (!cursor->query)
        return NULL;
    if (!tx_is_open(cursor->tx)) {
        close_cursor(cursor);
        return NULL;
    }
    if (LIKELY(cursor->next < cursor->count))
        return &cursor->rows[cursor->next++];
    if (cursor->L)
        luaL_error(L, "a traversal cannot be read by a function of its own");
    enter(L, cursor, index, &was_readonly);
    sombra_err err = sombra_query_next(cursor->query, &cursor->rows, &cursor->count);
    cursor->next = 0;
    leave(L, cursor, err, was_readonly);
    if (cursor->count == 0) {
        close_cursor(cursor);
        return NULL;
    }
    return &cursor->rows[cursor->next++];
}

/* ---- rows as Lua values ---------------------------------------------------------------------- */

/* {nodes = list, edges = list, length = n, cost = c} of the list on top, which it replaces. */
static void push_path(lua_State *L, const sombra_row *row)
{
    double path_cost = row->cost;
    value_push(L, row->value);
    int steps = lua_gettop(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, steps);
    lua_createtable(L, 0, 4);
    lua_createtable(L, (int)(count / 2 + 1), 0);
    lua_createtable(L, (int)(count / 2), 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, steps, i);
        lua_rawseti(L, i % 2 ? steps + 2 : steps + 3, (i + 1) / 2);
    }
    lua_setfield(L, steps + 1, "edges");
    lua_setfield(L, steps + 1, "nodes");
    lua_pushinteger(L, count / 2);
    lua_setfield(L, steps + 1, "length");
    lua_pushnumber(L, path_cost);
    lua_setfield(L, steps + 1, "cost");
    lua_remove(L, steps);
}

static void push_row(lua_State *L, const sombra_row *row)
{
    switch (row->kind) {
    case SOMBRA_ROW_NODE:
    case SOMBRA_ROW_EDGE:
        lua_pushinteger(L, (lua_Integer)row->id);
        return;
    case SOMBRA_ROW_PATH:
        push_path(L, row);
        return;
    case SOMBRA_ROW_RECORD:
        value_push(L, row->value);
        return;
    }
}

/* Pushes the row, and the depth of a node or edge: how many values. */
static int push_row_values(lua_State *L, const sombra_row *row)
{
    uint32_t depth = row->depth;
    bool has_depth = row->kind == SOMBRA_ROW_NODE || row->kind == SOMBRA_ROW_EDGE;
    push_row(L, row);
    if (!has_depth)
        return 1;
    lua_pushinteger(L, depth);
    return 2;
}

/* ---- methods --------------------------------------------------------------------------------- */

static int cursor_step(lua_State *L)
{
    struct cursor *cursor = luaL_checkudata(L, 1, CURSOR_NAME);
    const sombra_row *row = next_row(L, cursor, 1);
    if (!row) {
        if (!cursor->query && !tx_is_open(cursor->tx))
            return tx_raise_over(L, cursor->tx);
        lua_pushnil(L);
        return 1;
    }
    return push_row_values(L, row);
}

/* t:each() -> loop over rows: id, depth of nodes and edges; paths; records */
static int run_each(lua_State *L)
{
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    (void)traversal_to_run(L);
    lua_settop(L, 1);
    read_bounds(L, 1, &options);
    lua_pushcfunction(L, cursor_step);
    open_cursor(L, push_cursor(L), 1, &options);
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4;
}

/* Puts the rows of the batch at the end of the list, at most `more`. Ids alone: nothing here runs a
 * finalizer, which could end the cursor. */
static void append_ids(lua_State *L, struct cursor *cursor, int list, lua_Integer *count,
                       uint64_t more)
{
    size_t end = cursor->count;
    if (end - cursor->next > more)
        end = cursor->next + (size_t)more;
    while (cursor->next < end) {
        lua_pushinteger(L, (lua_Integer)cursor->rows[cursor->next++].id);
        lua_rawseti(L, list, ++*count);
    }
}

/* Pushes a list of the rows of the cursor at `index`, at most `count_max` (0 = all). */
static lua_Integer push_rows(lua_State *L, struct cursor *cursor, int index, uint64_t count_max)
{
    const bool has_ids = cursor->kind == SOMBRA_ROW_NODE || cursor->kind == SOMBRA_ROW_EDGE;
    lua_Integer count = 0;
    size_t first = 0;
    if (next_row(L, cursor, index)) {
        first = cursor->count;
        cursor->next--;
    }
    lua_createtable(L, (int)first, 0); /* most have one batch */
    int list = lua_gettop(L);
    while (!count_max || (uint64_t)count < count_max) {
        const sombra_row *row = next_row(L, cursor, index);
        if (!row)
            break;
        if (has_ids) {
            cursor->next--;
            append_ids(L, cursor, list, &count, count_max ? count_max - (uint64_t)count : SIZE_MAX);
        } else {
            push_row(L, row);
            lua_rawseti(L, list, ++count);
        }
    }
    return count;
}

/* The cursor of a method that runs the traversal at 1, and no more: it stands at 2, and is ended by
 * run_end, or by whatever is raised meanwhile. */
static struct cursor *run_begin(lua_State *L)
{
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    (void)traversal_to_run(L);
    lua_settop(L, 1);
    read_bounds(L, 1, &options);
    struct cursor *cursor = take_cursor(L);
    cursor->is_taken = true;
    open_cursor(L, cursor, 1, &options);
    return cursor;
}

/* Ends the cursor; the results are on top. */
static int run_end(lua_State *L, struct cursor *cursor, int results)
{
    end_cursor(L, cursor, 2);
    return results;
}

/* A cursor on top, open, that is closed when the method ends. */
static struct cursor *run_closing(lua_State *L, int index, sombra_query_options *options)
{
    struct cursor *cursor = push_cursor(L);
    open_cursor(L, cursor, index, options);
    lua_toclose(L, -1);
    return cursor;
}

/* t:list() -> list of ids, paths or records */
static int run_list(lua_State *L)
{
    struct cursor *cursor = run_begin(L);
    (void)push_rows(L, cursor, 2, 0);
    return run_end(L, cursor, 1);
}

/* t:ids() -> list of ids */
static int run_ids(lua_State *L)
{
    struct cursor *cursor = run_begin(L);
    if (cursor->kind != SOMBRA_ROW_NODE && cursor->kind != SOMBRA_ROW_EDGE) {
        (void)run_end(L, cursor, 0);
        return error_raise_text(L, SOMBRA_INVALID,
                                "the rows of this traversal have no ids: list() gives them");
    }
    (void)push_rows(L, cursor, 2, 0);
    return run_end(L, cursor, 1);
}

/* Appends a property of each edge: edges have no read of many. */
static void append_of_edges(lua_State *L, struct tx_handle *tx, int list, lua_Integer count,
                            const uint64_t *edges, size_t edge_count, sombra_slice name)
{
    for (size_t i = 0; i < edge_count; i++) {
        sombra_slice value = { NULL, 0 };
        if (!tx_is_open(tx))
            tx_raise_over(L, tx);
        sombra_err err = sombra_edge_property(tx->txn, edges[i], name, &value);
        if (err && err != SOMBRA_NOT_FOUND)
            error_raise(L, err);
        if (err)
            value_push_null(L);
        else
            value_push(L, value);
        lua_rawseti(L, list, ++count);
    }
}

/* t:values(name) -> list of a property of each node or edge; sombra.null where there is none */
static int run_values(lua_State *L)
{
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    (void)traversal_to_run(L);
    sombra_slice name = check_name(L, 2);
    lua_settop(L, 2);
    read_bounds(L, 1, &options);
    struct cursor *cursor = run_closing(L, 1, &options); /* 3 */
    if (cursor->kind != SOMBRA_ROW_NODE && cursor->kind != SOMBRA_ROW_EDGE)
        return error_raise_text(L, SOMBRA_INVALID,
                                "the rows of this traversal have no properties: list() gives them");
    lua_newtable(L);
    value_mark_list(L);
    for (lua_Integer count = 0;;) {
        uint64_t ids[VALUES_CHUNK];
        size_t more = 0;
        /* Of one batch: to fetch another may call functions. */
        for (const sombra_row *row = next_row(L, cursor, 3); row; row = next_row(L, cursor, 3)) {
            ids[more++] = row->id;
            if (more == VALUES_CHUNK || cursor->next == cursor->count)
                break;
        }
        if (more == 0)
            return 1;
        if (cursor->kind == SOMBRA_ROW_NODE)
            values_append(L, cursor->tx, 4, count, ids, more, name);
        else
            append_of_edges(L, cursor->tx, 4, count, ids, more, name);
        count += (lua_Integer)more;
    }
}

/* t:first() -> the first row's values, or nil */
static int run_first(lua_State *L)
{
    struct cursor *cursor = run_begin(L);
    const sombra_row *row = next_row(L, cursor, 2);
    if (row)
        return run_end(L, cursor, push_row_values(L, row));
    lua_pushnil(L);
    return run_end(L, cursor, 1);
}

/* t:exists() -> boolean */
static int run_exists(lua_State *L)
{
    struct cursor *cursor = run_begin(L);
    lua_pushboolean(L, next_row(L, cursor, 2) != NULL);
    return run_end(L, cursor, 1);
}

/* t:count() -> number of rows */
static int run_count(lua_State *L)
{
    uint64_t count = 0;
    bool was_readonly;
    struct cursor *cursor = run_begin(L);
    enter(L, cursor, 2, &was_readonly);
    sombra_err err = sombra_query_count(cursor->query, &count);
    leave(L, cursor, err, was_readonly);
    lua_pushinteger(L, (lua_Integer)count);
    return run_end(L, cursor, 1);
}

/* t:page{size, after} -> list of rows, position of the next page or nil */
static int run_page(lua_State *L)
{
    static const char *const names[] = { "size", "after", NULL };
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    const struct traversal *traversal = traversal_to_run(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    (void)options_given(L, 2, names);
    uint64_t size = option_count(L, 2, "size", 1, 100);
    int type = option_push(L, 2, "after"); /* 3 */
    if (type != LUA_TNIL && type != LUA_TSTRING)
        option_error(L, 2, "after", "the position that an earlier page gave expected");
    if (type == LUA_TSTRING) {
        const struct step step = step_begin(L, traversal_db(L, traversal), "after");
        step_add(&step, 2, 3);
        (void)step_extend(&step); /* 4 */
    } else {
        lua_pushvalue(L, 1);
    }
    read_bounds(L, 4, &options);
    if (!options.rows_max || options.rows_max > size)
        options.rows_max = size;
    struct cursor *cursor = run_closing(L, 4, &options); /* 5 */
    lua_Integer count = push_rows(L, cursor, 5, size);   /* 6 */
    sombra_slice position;
    if ((uint64_t)count < size || !cursor->query)
        return 1;
    sombra_err err = sombra_query_position(cursor->query, &position);
    if (err)
        return error_raise(L, err);
    lua_pushlstring(L, position.data, position.bytes);
    return 2;
}

/* ---- plans ----------------------------------------------------------------------------------- */

static lua_Number number_field(lua_State *L, int index, const char *name, bool *out_has)
{
    lua_pushstring(L, name);
    *out_has = lua_rawget(L, index) == LUA_TNUMBER;
    lua_Number number = *out_has ? lua_tonumber(L, -1) : 0;
    lua_pop(L, 1);
    return number;
}

/* Appends a line for the operator at `index` to the list of lines at `lines`, then its inputs'. */
static void add_lines(lua_State *L, int index, int lines, int depth)
{
    char numbers[160];
    bool has_estimate, has_rows, has_pages, has_time;
    if (depth > PLAN_DEPTH_MAX)
        return;
    luaL_checkstack(L, 12, "plan");
    lua_Number estimate = number_field(L, index, "estimate", &has_estimate);
    lua_Number rows = number_field(L, index, "rows", &has_rows);
    lua_Number pages = number_field(L, index, "pages", &has_pages);
    lua_Number time_us = number_field(L, index, "time_us", &has_time);
    int length = snprintf(numbers, sizeof numbers, "  (estimate %.0f", estimate);
    if (has_rows)
        length += snprintf(numbers + length, sizeof numbers - (size_t)length,
                           ", rows %.0f, pages %.0f, %.0f us", rows, pages, time_us);
    (void)snprintf(numbers + length, sizeof numbers - (size_t)length, ")");
    for (int i = 0; i < depth; i++)
        lua_pushliteral(L, "  ");
    if (depth > 0)
        lua_concat(L, depth);
    else
        lua_pushliteral(L, "");
    lua_getfield(L, index, "operator");
    lua_getfield(L, index, "detail");
    bool has_detail = lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0;
    lua_pushfstring(L, "%s%s%s%s%s", lua_tostring(L, -3), lua_tostring(L, -2),
                    has_detail ? " " : "", has_detail ? lua_tostring(L, -1) : "", numbers);
    lua_rawseti(L, lines, (lua_Integer)lua_rawlen(L, lines) + 1);
    lua_pop(L, 3);
    if (lua_getfield(L, index, "inputs") == LUA_TTABLE) {
        int inputs = lua_gettop(L);
        for (lua_Integer i = 1; lua_rawgeti(L, inputs, i) == LUA_TTABLE; i++) {
            add_lines(L, lua_gettop(L), lines, depth + 1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Pushes the plan of the cursor as text and as a table. */
static int push_plan(lua_State *L, struct cursor *cursor)
{
    sombra_slice plan;
    sombra_err err = sombra_query_explain(cursor->query, &plan);
    if (err)
        return error_raise(L, err);
    value_push(L, plan);
    int table = lua_gettop(L);
    lua_newtable(L);
    add_lines(L, table, table + 1, 0);
    luaL_Buffer buffer;
    lua_Integer count = (lua_Integer)lua_rawlen(L, table + 1);
    luaL_buffinit(L, &buffer);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, table + 1, i);
        luaL_addvalue(&buffer);
        if (i < count)
            luaL_addchar(&buffer, '\n');
    }
    luaL_pushresult(&buffer);
    lua_replace(L, table + 1);
    lua_insert(L, table);
    return 2;
}

/* t:explain() -> the plan as text, and as a table; nothing runs */
static int run_explain(lua_State *L)
{
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    (void)traversal_to_run(L);
    lua_settop(L, 1);
    return push_plan(L, run_closing(L, 1, &options));
}

/* t:profile() -> as explain, after running it: rows, pages and time of each operator */
static int run_profile(lua_State *L)
{
    sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    bool was_readonly;
    (void)traversal_to_run(L);
    lua_settop(L, 1);
    read_bounds(L, 1, &options);
    options.profiles = true;
    struct cursor *cursor = run_closing(L, 1, &options); /* 2 */
    do {
        enter(L, cursor, 2, &was_readonly);
        sombra_err err = sombra_query_next(cursor->query, &cursor->rows, &cursor->count);
        leave(L, cursor, err, was_readonly);
    } while (cursor->count > 0);
    return push_plan(L, cursor);
}

const luaL_Reg traversal_run_methods[] = {
    { "each", run_each },       { "list", run_list },   { "ids", run_ids },
    { "values", run_values },   { "first", run_first }, { "exists", run_exists },
    { "count", run_count },     { "page", run_page },   { "explain", run_explain },
    { "profile", run_profile }, { NULL, NULL },
};

/* ---- classes --------------------------------------------------------------------------------- */

static int cursor_gc(lua_State *L)
{
    struct cursor *cursor = self_check(L, CURSOR_NAME);
    if (!cursor->L) /* else it is in the middle of a call, whose end closes it */
        close_cursor(cursor);
    return 0;
}

void cursor_register(lua_State *L)
{
    static const luaL_Reg cursor_metamethods[] = { { "__gc", cursor_gc },
                                                   { "__close", cursor_gc },
                                                   { NULL, NULL } };
    const luaL_Reg *const cursor_sets[] = { NULL };
    class_register(L, cursor_class, cursor_metamethods, cursor_sets);
}
