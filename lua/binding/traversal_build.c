/* SPDX-License-Identifier: MIT */
/* Building traversals: one method, one step. What a step may say is checked by the engine when the
 * traversal runs; here only what Lua's own types say is refused.
 */
#include "traversal.h"

#include <string.h>

/* ---- parts of steps ----------------------------------------------------------------------- */

/* Pushes a step with its name as the first element. */
static void push_step(lua_State *L, const char *name)
{
    lua_createtable(L, 3, 0);
    value_mark_list(L);
    lua_pushstring(L, name);
    lua_rawseti(L, -2, 1);
}

/* Finishes a method: the step is on top, the traversal at 1. */
static int extend(lua_State *L)
{
    traversal_extend(L, 1);
    return 1;
}

/* Pushes a shallow copy of the options table at `arg`, or an empty map. */
static void push_options(lua_State *L, int arg)
{
    lua_newtable(L);
    if (lua_isnoneornil(L, arg))
        return;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_argerror(L, arg, "option names are strings");
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

/* Sets field `types` of the table on top from argument `arg`: nil, a name or a list of names. */
static void set_types(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return;
    if (lua_type(L, arg) != LUA_TSTRING)
        luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushvalue(L, arg);
    lua_setfield(L, -2, "types");
}

/* Pushes the ids of argument `arg`: an integer, or a list of them. */
static void push_ids(lua_State *L, int arg)
{
    if (lua_type(L, arg) == LUA_TTABLE) {
        list_push(L);
        lua_Integer count = (lua_Integer)lua_rawlen(L, arg);
        for (lua_Integer i = 1; i <= count; i++) {
            lua_rawgeti(L, arg, i);
            list_append(L);
        }
        return;
    }
    uint64_t id = check_id(L, arg);
    list_push(L);
    lua_pushinteger(L, (lua_Integer)id);
    list_append(L);
}

/* ---- sources --------------------------------------------------------------------------------- */

static int source(lua_State *L)
{
    int step = lua_gettop(L);
    traversal_push_empty(L, 1, 0);
    lua_insert(L, step);
    traversal_extend(L, step);
    return 1;
}

/* tx:from() all nodes; tx:from(id), tx:from{id, ...}; tx:from("Label") */
static int tx_from(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        push_step(L, "all");
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        push_step(L, "label");
        lua_pushvalue(L, 2);
        list_append(L);
    } else {
        push_step(L, "ids");
        push_ids(L, 2);
        list_append(L);
    }
    return source(L);
}

/* tx:from_edges(), tx:from_edges("TYPE"), tx:from_edges{id, ...} */
static int tx_from_edges(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        push_step(L, "edges");
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        push_step(L, "edges");
        lua_pushvalue(L, 2);
        list_append(L);
    } else {
        push_step(L, "edge_ids");
        push_ids(L, 2);
        list_append(L);
    }
    return source(L);
}

/* tx:match{ "(a)-[:T]->(b)", ..., where = {...} } */
static int tx_match(lua_State *L)
{
    (void)tx_self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    push_step(L, "match");
    match_push_pattern(L, 2);
    list_append(L);
    return source(L);
}

/* The options of paths: functions in `weight` and `heuristic` become numbers in the traversal's
 * list. Stack: options copy on top; the traversal's functions at `functions`. */
static void number_functions(lua_State *L, int functions)
{
    static const char *const names[] = { "weight", "heuristic", NULL };
    for (const char *const *name = names; *name; name++) {
        if (lua_getfield(L, -1, *name) == LUA_TFUNCTION) {
            lua_pushinteger(L, traversal_keep_function(L, functions, -1));
            lua_setfield(L, -3, *name);
        }
        lua_pop(L, 1);
    }
}

/* Steps whose one element is an options table that may hold functions. */
static int source_with_options(lua_State *L, const char *name, int arg)
{
    traversal_push_empty(L, 1, 0);
    int traversal = lua_gettop(L);
    push_step(L, name);
    lua_getiuservalue(L, traversal, TRAVERSAL_FUNCTIONS);
    push_options(L, arg);
    number_functions(L, traversal + 2);
    lua_remove(L, traversal + 2);
    list_append(L);
    traversal_extend(L, traversal);
    return 1;
}

/* tx:paths(from, to [, options]) */
static int tx_paths(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 4);
    push_options(L, 4);
    push_ids(L, 2);
    lua_setfield(L, -2, "from");
    push_ids(L, 3);
    lua_setfield(L, -2, "to");
    lua_replace(L, 4);
    return source_with_options(L, "paths", 4);
}

static int tx_cycles(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 2);
    return source_with_options(L, "cycles", 2);
}

static int tx_topological(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 2);
    return source_with_options(L, "topological", 2);
}

/* tx:subgraph(roots [, options]) */
static int tx_subgraph(lua_State *L)
{
    (void)tx_self(L);
    lua_settop(L, 3);
    push_options(L, 3);
    push_ids(L, 2);
    lua_setfield(L, -2, "roots");
    lua_replace(L, 3);
    return source_with_options(L, "subgraph", 3);
}

/* tx:statistics(of [, options]) */
static int tx_statistics(lua_State *L)
{
    (void)tx_self(L);
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 3);
    push_options(L, 3);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "of");
    lua_replace(L, 3);
    return source_with_options(L, "statistics", 3);
}

const luaL_Reg tx_traversal_methods[] = {
    { "from", tx_from },         { "from_edges", tx_from_edges }, { "match", tx_match },
    { "paths", tx_paths },       { "cycles", tx_cycles },         { "topological", tx_topological },
    { "subgraph", tx_subgraph }, { "statistics", tx_statistics }, { NULL, NULL },
};

/* ---- steps ----------------------------------------------------------------------------------- */

/* t:out([types [, options]]) */
static int expand(lua_State *L, const char *name, bool gives_edges)
{
    (void)traversal_self(L);
    lua_settop(L, 3);
    push_step(L, name);
    push_options(L, 3);
    set_types(L, 2);
    if (gives_edges) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "edges");
    }
    list_append(L);
    return extend(L);
}

static int step_out(lua_State *L)
{
    return expand(L, "out", false);
}
static int step_into(lua_State *L)
{
    return expand(L, "into", false);
}
static int step_both(lua_State *L)
{
    return expand(L, "both", false);
}
static int step_out_edges(lua_State *L)
{
    return expand(L, "out", true);
}
static int step_into_edges(lua_State *L)
{
    return expand(L, "into", true);
}
static int step_both_edges(lua_State *L)
{
    return expand(L, "both", true);
}

/* A hop range of its own: min 1, no upper bound but `max`, every node once. */
static int repeat_hops(lua_State *L, const char *name)
{
    (void)traversal_self(L);
    lua_settop(L, 3);
    push_step(L, name);
    push_options(L, 3);
    set_types(L, 2);
    if (lua_getfield(L, -1, "unique") == LUA_TNIL) {
        lua_pushliteral(L, "nodes");
        lua_setfield(L, -3, "unique");
    }
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "max") == LUA_TNIL) {
        lua_pushinteger(L, UINT32_MAX);
        lua_setfield(L, -3, "max");
    }
    lua_pop(L, 1);
    list_append(L);
    return extend(L);
}

static int step_repeat_out(lua_State *L)
{
    return repeat_hops(L, "out");
}
static int step_repeat_into(lua_State *L)
{
    return repeat_hops(L, "into");
}
static int step_repeat_both(lua_State *L)
{
    return repeat_hops(L, "both");
}

static int step_plain(lua_State *L, const char *name)
{
    (void)traversal_self(L);
    lua_settop(L, 1);
    push_step(L, name);
    return extend(L);
}

static int step_source(lua_State *L)
{
    return step_plain(L, "source");
}
static int step_target(lua_State *L)
{
    return step_plain(L, "target");
}
static int step_other(lua_State *L)
{
    return step_plain(L, "other");
}
static int step_distinct(lua_State *L)
{
    return step_plain(L, "distinct");
}
static int step_path(lua_State *L)
{
    return step_plain(L, "path");
}

/* t:where(predicate) */
static int step_where(lua_State *L)
{
    (void)traversal_self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    push_step(L, "where");
    lua_pushvalue(L, 2);
    list_append(L);
    return extend(L);
}

/* t:filter(function(row, depth) -> boolean) */
static int step_filter(lua_State *L)
{
    (void)traversal_self(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, TRAVERSAL_FUNCTIONS);
    lua_Integer number = traversal_keep_function(L, 3, 2);
    push_step(L, "filter");
    lua_pushinteger(L, number);
    list_append(L);
    return extend(L);
}

/* t:except(id) or t:except{id, ...} */
static int step_except(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 2);
    push_step(L, "except");
    push_ids(L, 2);
    list_append(L);
    return extend(L);
}

/* Steps with all arguments in one list: names, or tables. */
static int step_list(lua_State *L, const char *name)
{
    (void)traversal_self(L);
    int top = lua_gettop(L);
    luaL_argcheck(L, top >= 2, 2, "at least one name expected");
    push_step(L, name);
    list_push(L);
    for (int i = 2; i <= top; i++) {
        if (lua_type(L, i) != LUA_TSTRING && lua_type(L, i) != LUA_TTABLE)
            luaL_argerror(L, i, "a name expected");
        lua_pushvalue(L, i);
        list_append(L);
    }
    list_append(L);
    return extend(L);
}

static int step_order(lua_State *L)
{
    return step_list(L, "order");
}
static int step_select(lua_State *L)
{
    return step_list(L, "select");
}

static int step_number(lua_State *L, const char *name)
{
    (void)traversal_self(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    luaL_argcheck(L, number >= 0, 2, "a number of rows, at least 0, expected");
    lua_settop(L, 1);
    push_step(L, name);
    lua_pushinteger(L, number);
    list_append(L);
    return extend(L);
}

static int step_skip(lua_State *L)
{
    return step_number(L, "skip");
}
static int step_limit(lua_State *L)
{
    return step_number(L, "limit");
}

/* The keys of the table at `index`, which must be strings, sorted into a list that is pushed. */
static void push_sorted_names(lua_State *L, int index)
{
    list_push(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_argerror(L, index, "a table of name = aggregate expected");
        lua_Integer at = (lua_Integer)lua_rawlen(L, -2) + 1;
        const char *name = lua_tostring(L, -1);
        for (; at > 1; at--) { /* insertion: aggregates are few */
            lua_rawgeti(L, -2, at - 1);
            bool is_behind = strcmp(lua_tostring(L, -1), name) > 0;
            if (!is_behind) {
                lua_pop(L, 1);
                break;
            }
            lua_rawseti(L, -3, at);
        }
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, at);
    }
}

/* Pushes the list of aggregates {as, function, property} of the table at `index`. */
static void push_aggregates(lua_State *L, int index)
{
    push_sorted_names(L, index);
    int names = lua_gettop(L);
    list_push(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, names);
    for (lua_Integer i = 1; i <= count; i++) {
        list_push(L);
        lua_rawgeti(L, names, i);
        list_append(L);
        lua_rawgeti(L, names, i);
        int type = lua_rawget(L, index);
        if (type == LUA_TSTRING) {
            list_append(L);
        } else if (type == LUA_TTABLE) {
            int given = lua_gettop(L);
            if (lua_rawgeti(L, given, 1) != LUA_TSTRING || lua_rawgeti(L, given, 2) != LUA_TSTRING)
                luaL_argerror(L, index, "an aggregate is \"count\" or {function, property}");
            lua_rawseti(L, given - 1, 3);
            lua_rawseti(L, given - 1, 2);
            lua_pop(L, 1);
        } else {
            luaL_argerror(L, index, "an aggregate is \"count\" or {function, property}");
        }
        list_append(L);
    }
    lua_remove(L, names);
}

/* t:group([columns [, aggregates]]) */
static int step_group(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 3);
    push_step(L, "group");
    if (lua_type(L, 2) == LUA_TSTRING) {
        list_push(L);
        lua_pushvalue(L, 2);
        list_append(L);
    } else if (lua_isnil(L, 2)) {
        list_push(L);
    } else {
        luaL_checktype(L, 2, LUA_TTABLE);
        list_push(L);
        for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++)
            list_append(L);
        lua_pop(L, 1);
    }
    list_append(L);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_pushliteral(L, "count");
        lua_setfield(L, -2, "count");
        lua_replace(L, 3);
    }
    luaL_checktype(L, 3, LUA_TTABLE);
    push_aggregates(L, 3);
    list_append(L);
    return extend(L);
}

/* t:bounded{rows, memory, time}: bounds of each run */
static int step_bounded(lua_State *L)
{
    static const char *const names[] = { "rows", "memory", "time", NULL };
    (void)traversal_self(L);
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    (void)options_given(L, 2, names);
    (void)option_count(L, 2, "rows", 1, 1);
    (void)option_count(L, 2, "memory", 1, 1);
    (void)option_seconds(L, 2, "time", 1000);
    push_options(L, 2);
    traversal_push_bounded(L, 1, 3);
    return 1;
}

/* ---- steps with bodies ----------------------------------------------------------------------- */

/* Pushes the steps that the function at `index` adds to the empty traversal it is given. */
static void push_body(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TFUNCTION);
    lua_getiuservalue(L, 1, TRAVERSAL_FUNCTIONS);
    int functions = lua_gettop(L);
    lua_pushvalue(L, index);
    traversal_push_empty(L, 0, functions);
    lua_call(L, 1, 1);
    if (!luaL_testudata(L, -1, TRAVERSAL_NAME))
        luaL_argerror(L, index,
                      "the function must return the traversal that it was given, "
                      "with steps added");
    struct traversal *body = lua_touserdata(L, -1);
    lua_getiuservalue(L, -1, TRAVERSAL_FUNCTIONS);
    if (body->tx || !lua_rawequal(L, -1, functions))
        luaL_argerror(L, index, "the function must go on from the traversal that it was given");
    lua_pop(L, 1);
    traversal_push_steps(L, lua_gettop(L));
    lua_replace(L, functions);
    lua_settop(L, functions);
}

/* t:optional(function(t) return t:out("T") end) */
static int step_optional(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 2);
    push_step(L, "optional");
    push_body(L, 2);
    list_append(L);
    return extend(L);
}

/* t:union(function(t) ... end, ...) */
static int step_union(lua_State *L)
{
    (void)traversal_self(L);
    int top = lua_gettop(L);
    luaL_argcheck(L, top >= 2, 2, "a function expected");
    push_step(L, "union");
    for (int i = 2; i <= top; i++) {
        push_body(L, i);
        list_append(L);
    }
    return extend(L);
}

/* t:repeating(function(t) ... end [, options]) */
static int step_repeating(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 3);
    push_step(L, "repeat");
    push_body(L, 2);
    list_append(L);
    push_options(L, 3);
    list_append(L);
    return extend(L);
}

/* ---- paths as the end of a chain ----------------------------------------------------------------
 */

/* t:to(id or ids): tx:from(a):repeat_out("T", {max = 6}):to(b) is tx:paths(a, b, ...). */
static int step_to(lua_State *L)
{
    bool fits = traversal_self(L)->count == 2;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, TRAVERSAL_STEPS); /* 3 */
    if (fits) {
        lua_rawgeti(L, 3, 1); /* 4: {"ids", {...}} */
        lua_rawgeti(L, 4, 1); /* 5 */
        lua_rawgeti(L, 3, 2); /* 6: {"out", {...}} */
        lua_rawgeti(L, 6, 1); /* 7 */
        const char *first = lua_tostring(L, 5), *second = lua_tostring(L, 7);
        fits = first && second && strcmp(first, "ids") == 0 &&
               (strcmp(second, "out") == 0 || strcmp(second, "into") == 0 ||
                strcmp(second, "both") == 0);
    }
    if (!fits)
        return luaL_argerror(L, 1,
                             "to(id) follows tx:from(id):repeat_out(...), repeat_into or "
                             "repeat_both");
    lua_rawgeti(L, 6, 2); /* 8: options of the walk */
    push_options(L, 8);   /* 9 */
    static const char *const dropped[] = { "unique", "min", "edges", NULL };
    for (const char *const *name = dropped; *name; name++) {
        lua_pushnil(L);
        lua_setfield(L, 9, *name);
    }
    if (lua_getfield(L, 9, "max") == LUA_TNUMBER && lua_tointeger(L, -1) == UINT32_MAX) {
        lua_pushnil(L);
        lua_setfield(L, 9, "max");
    }
    lua_pop(L, 1);
    lua_pushvalue(L, 7);
    lua_setfield(L, 9, "direction");
    lua_rawgeti(L, 4, 2);
    lua_setfield(L, 9, "from");
    push_ids(L, 2);
    lua_setfield(L, 9, "to");
    lua_getiuservalue(L, 1, TRAVERSAL_TX);        /* 10 */
    lua_getiuservalue(L, 1, TRAVERSAL_FUNCTIONS); /* 11 */
    traversal_push_empty(L, 10, 11);
    push_step(L, "paths");
    lua_pushvalue(L, 9);
    list_append(L);
    traversal_extend(L, -2);
    return 1;
}

/* Pushes the traversal at 1, whose one step is "paths", with the options of argument 2 merged. */
static void push_paths_with(lua_State *L, const char *kind)
{
    bool fits = traversal_self(L)->count == 1;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, TRAVERSAL_STEPS); /* 3 */
    lua_rawgeti(L, 3, 1);                     /* 4 */
    fits = fits && lua_type(L, 4) == LUA_TTABLE;
    if (fits) {
        lua_rawgeti(L, 4, 1);
        fits = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "paths") == 0;
        lua_pop(L, 1);
    }
    if (!fits)
        luaL_argerror(L, 1,
                      "this needs paths: tx:paths(from, to) or "
                      "tx:from(from):repeat_out(...):to(to)");
    lua_rawgeti(L, 4, 2); /* 5 */
    push_options(L, 5);   /* 6 */
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, 2)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, 6);
        }
    }
    lua_pushstring(L, kind);
    lua_setfield(L, 6, "kind");
    lua_getiuservalue(L, 1, TRAVERSAL_TX);        /* 7 */
    lua_getiuservalue(L, 1, TRAVERSAL_FUNCTIONS); /* 8 */
    lua_pushvalue(L, 6);
    number_functions(L, 8);
    lua_pop(L, 1);
    traversal_push_empty(L, 7, 8);
    push_step(L, "paths");
    lua_pushvalue(L, 6);
    list_append(L);
    traversal_extend(L, -2);
}

/* The first path of the kind, or nil. */
static int first_path(lua_State *L, const char *kind)
{
    push_paths_with(L, kind);
    lua_getfield(L, -1, "first");
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return 1;
}

/* t:shortest([options]) -> path or nil */
static int step_shortest(lua_State *L)
{
    return first_path(L, "shortest");
}
/* t:cheapest([{weight, heuristic, ...}]) -> path or nil */
static int step_cheapest(lua_State *L)
{
    return first_path(L, "weighted");
}
/* t:all_shortest([options]) -> traversal of paths */
static int step_all_shortest(lua_State *L)
{
    push_paths_with(L, "all_shortest");
    return 1;
}
/* t:k_shortest(k [, options]) -> traversal of paths, cheapest first */
static int step_k_shortest(lua_State *L)
{
    lua_Integer k = luaL_checkinteger(L, 2);
    luaL_argcheck(L, k >= 1, 2, "a number of paths expected");
    lua_settop(L, 3);
    push_options(L, 3);
    lua_pushinteger(L, k);
    lua_setfield(L, -2, "k");
    lua_replace(L, 2);
    push_paths_with(L, "k_shortest");
    return 1;
}

const luaL_Reg traversal_step_methods[] = {
    { "out", step_out },
    { "into", step_into },
    { "both", step_both },
    { "out_edges", step_out_edges },
    { "into_edges", step_into_edges },
    { "both_edges", step_both_edges },
    { "repeat_out", step_repeat_out },
    { "repeat_into", step_repeat_into },
    { "repeat_both", step_repeat_both },
    { "source", step_source },
    { "target", step_target },
    { "other", step_other },
    { "where", step_where },
    { "filter", step_filter },
    { "distinct", step_distinct },
    { "except", step_except },
    { "order", step_order },
    { "skip", step_skip },
    { "limit", step_limit },
    { "select", step_select },
    { "group", step_group },
    { "bounded", step_bounded },
    { "optional", step_optional },
    { "union", step_union },
    { "repeating", step_repeating },
    { "path", step_path },
    { "to", step_to },
    { "shortest", step_shortest },
    { "cheapest", step_cheapest },
    { "all_shortest", step_all_shortest },
    { "k_shortest", step_k_shortest },
    { NULL, NULL },
};
