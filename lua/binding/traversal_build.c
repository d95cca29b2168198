/* SPDX-License-Identifier: MIT */
/* Building traversals: one method, one step. What a step may say is checked by the engine when the
 * traversal runs; here only what Lua's own types say is refused.
 */
#include "traversal.h"

#include <string.h>

/* ---- sources --------------------------------------------------------------------------------- */

/* Argument 1 as a transaction, or as what sombra.prepare gives for one. */
static struct tx_handle *source_tx(lua_State *L)
{
    struct tx_handle *tx = tx_any(L);
    return UNLIKELY(tx->state == TX_PREPARES) ? tx : tx_self(L);
}

/* The transaction at 1 gets a first step. */
static int source(const struct step *step)
{
    const struct traversal_part part = step_end(step);
    traversal_push_first(step->L, 1, &part);
    return 1;
}

/* The rows of a name. */
static int source_named(lua_State *L, struct db_handle *db, const char *name)
{
    struct traversal_part part;
    sombra_slice text;
    text.data = lua_tolstring(L, 2, &text.bytes);
    if (!step_recall(db, name, text, &part)) {
        const struct step step = step_begin(L, db, name);
        step_add(&step, 2, 2);
        part = step_end(&step);
        step_note(db, text, &part);
    }
    traversal_push_first(L, 1, &part);
    return 1;
}

/* A name, or a list of ids; nil: neither. */
static int source_of(lua_State *L, const char *all, const char *named, const char *ids)
{
    const struct tx_handle *tx = source_tx(L);
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING)
        return source_named(L, tx->db, named);
    const bool is_all = lua_isnil(L, 2);
    const struct step step = step_begin(L, tx->db, is_all ? all : ids);
    if (!is_all)
        step_add_ids(&step, 2);
    return source(&step);
}

/* tx:from() all nodes; tx:from(id), tx:from{id, ...}; tx:from("Label") */
static int tx_from(lua_State *L)
{
    return source_of(L, "all", "label", "ids");
}

/* tx:from_edges(), tx:from_edges("TYPE"), tx:from_edges{id, ...} */
static int tx_from_edges(lua_State *L)
{
    return source_of(L, "edges", "edges", "edge_ids");
}

/* tx:match{ "(a)-[:T]->(b)", ..., where = {...} } */
static int tx_match(lua_State *L)
{
    const struct tx_handle *tx = source_tx(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    match_push_pattern(L, 2); /* 3 */
    const struct step step = step_begin(L, tx->db, "match");
    step_add(&step, 2, 3);
    return source(&step);
}

/* Sources whose one argument is a map of options, the table at `arg`, in which may be functions. */
static int source_with_options(lua_State *L, const char *name, int arg, struct members *members)
{
    static const struct traversal_part empty = { .name = NULL };
    const struct tx_handle *tx = source_tx(L);
    lua_settop(L, arg);
    traversal_push_first(L, 1, &empty);
    members_add_functions(L, members, arg, arg + 1);
    const struct step step = step_begin(L, tx->db, name);
    step_add_options(&step, arg, members);
    const struct traversal_part part = step_end(&step);
    traversal_push_next(L, arg + 1, &part);
    return 1;
}

/* tx:paths(from, to [, options]) */
static int tx_paths(lua_State *L)
{
    struct members members = { .count = 2,
                               .at = { { .name = "from", .kind = MEMBER_IDS, .index = 2 },
                                       { .name = "to", .kind = MEMBER_IDS, .index = 3 } } };
    return source_with_options(L, "paths", 4, &members);
}

static int tx_cycles(lua_State *L)
{
    struct members members = { .count = 0 };
    return source_with_options(L, "cycles", 2, &members);
}

static int tx_topological(lua_State *L)
{
    struct members members = { .count = 0 };
    return source_with_options(L, "topological", 2, &members);
}

/* tx:subgraph(roots [, options]) */
static int tx_subgraph(lua_State *L)
{
    struct members members = { .count = 1,
                               .at = { { .name = "roots", .kind = MEMBER_IDS, .index = 2 } } };
    return source_with_options(L, "subgraph", 3, &members);
}

/* tx:statistics(of [, options]) */
static int tx_statistics(lua_State *L)
{
    struct members members = { .count = 1,
                               .at = { { .name = "of", .kind = MEMBER_VALUE, .index = 2 } } };
    (void)source_tx(L);
    luaL_checktype(L, 2, LUA_TSTRING);
    return source_with_options(L, "statistics", 3, &members);
}

const luaL_Reg tx_traversal_methods[] = {
    { "from", tx_from },         { "from_edges", tx_from_edges }, { "match", tx_match },
    { "paths", tx_paths },       { "cycles", tx_cycles },         { "topological", tx_topological },
    { "subgraph", tx_subgraph }, { "statistics", tx_statistics }, { NULL, NULL },
};

/* ---- steps ----------------------------------------------------------------------------------- */

/* A step behind the traversal at 1. */
static struct step begin(lua_State *L, const char *name)
{
    return step_begin(L, traversal_db(L, lua_touserdata(L, 1)), name);
}

/* The types of edges: nil, a name or a list of names. */
static void members_add_types(lua_State *L, struct members *members, int arg)
{
    const struct member types = { .name = "types", .kind = MEMBER_VALUE, .index = arg };
    if (lua_isnil(L, arg))
        return;
    if (lua_type(L, arg) != LUA_TSTRING)
        luaL_checktype(L, arg, LUA_TTABLE);
    members_add(members, &types);
}

static int expand_with(lua_State *L, const char *name, struct members *members)
{
    members_add_functions(L, members, 3, 1);
    const struct step step = begin(L, name);
    step_add_options(&step, 3, members);
    return step_extend(&step);
}

/* Over the edges of the one type at 2, with no options. */
static int expand_type(lua_State *L, const char *name)
{
    struct db_handle *db = traversal_db(L, lua_touserdata(L, 1));
    struct traversal_part part;
    sombra_slice type;
    type.data = lua_tolstring(L, 2, &type.bytes);
    if (!step_recall(db, name, type, &part)) {
        struct members members = { .count = 0 };
        const struct step step = step_begin(L, db, name);
        members_add_types(L, &members, 2);
        step_add_options(&step, 3, &members);
        part = step_end(&step);
        step_note(db, type, &part);
    }
    traversal_push_next(L, 1, &part);
    return 1;
}

/* t:out([types [, options]]) */
static int expand(lua_State *L, const char *name, bool gives_edges)
{
    static const struct member edges = { .name = "edges", .kind = MEMBER_TRUE };
    (void)traversal_self(L);
    lua_settop(L, 3);
    if (!gives_edges && lua_type(L, 2) == LUA_TSTRING && lua_isnil(L, 3))
        return expand_type(L, name);
    struct members members = { .count = 0 };
    if (gives_edges)
        members_add(&members, &edges);
    members_add_types(L, &members, 2);
    return expand_with(L, name, &members);
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

/* Is the option given, to other than nil? */
static bool has_option(lua_State *L, int arg, const char *name)
{
    if (lua_type(L, arg) != LUA_TTABLE)
        return false;
    lua_pushstring(L, name);
    const bool has = lua_rawget(L, arg) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

/* A hop range of its own: min 1, no upper bound but `max`, every node once. */
static int repeat_hops(lua_State *L, const char *name)
{
    static const struct member max = { .name = "max",
                                       .kind = MEMBER_INTEGER,
                                       .number = TRAVERSAL_HOPS_MAX };
    static const struct member unique = { .name = "unique", .kind = MEMBER_TEXT, .text = "nodes" };
    struct members members = { .count = 0 };
    (void)traversal_self(L);
    lua_settop(L, 3);
    if (!has_option(L, 3, "max"))
        members_add(&members, &max);
    members_add_types(L, &members, 2);
    if (!has_option(L, 3, "unique"))
        members_add(&members, &unique);
    return expand_with(L, name, &members);
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
    const struct step step = begin(L, name);
    return step_extend(&step);
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
    const struct step step = begin(L, "where");
    step_add(&step, 2, 2);
    return step_extend(&step);
}

/* t:filter(function(row, depth) -> boolean) */
static int step_filter(lua_State *L)
{
    (void)traversal_self(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    const lua_Integer number = traversal_keep_function(L, 1, 2);
    const struct step step = begin(L, "filter");
    (void)sombra_value_push_integer(step.builder, number);
    return step_extend(&step);
}

/* t:except(id) or t:except{id, ...} */
static int step_except(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 2);
    const struct step step = begin(L, "except");
    step_add_ids(&step, 2);
    return step_extend(&step);
}

/* Steps with all arguments in one list: names, or tables. */
static int step_list(lua_State *L, const char *name)
{
    (void)traversal_self(L);
    int top = lua_gettop(L);
    luaL_argcheck(L, top >= 2, 2, "at least one name expected");
    const struct step step = begin(L, name);
    (void)sombra_value_begin_list(step.builder);
    for (int i = 2; i <= top; i++) {
        if (lua_type(L, i) != LUA_TSTRING && lua_type(L, i) != LUA_TTABLE)
            luaL_argerror(L, i, "a name expected");
        step_add(&step, i, i);
    }
    (void)sombra_value_end_list(step.builder);
    return step_extend(&step);
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
    lua_settop(L, 2);
    const struct step step = begin(L, name);
    if (!place_add(L, step.builder, 2, PLACE_ROWS)) {
        const lua_Integer number = luaL_checkinteger(L, 2);
        luaL_argcheck(L, number >= 0, 2, "a number of rows, at least 0, expected");
        (void)sombra_value_push_integer(step.builder, number);
    }
    return step_extend(&step);
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
    if (!lua_isnil(L, 2) && lua_type(L, 2) != LUA_TSTRING)
        luaL_checktype(L, 2, LUA_TTABLE);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_pushliteral(L, "count");
        lua_setfield(L, -2, "count");
        lua_replace(L, 3);
    }
    luaL_checktype(L, 3, LUA_TTABLE);
    push_aggregates(L, 3); /* 4 */
    const struct step step = begin(L, "group");
    (void)sombra_value_begin_list(step.builder);
    if (lua_type(L, 2) == LUA_TSTRING)
        step_add(&step, 2, 2);
    for (lua_Integer i = 1; lua_type(L, 2) == LUA_TTABLE && lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
        step_add(&step, 2, 5);
        lua_pop(L, 1);
    }
    (void)sombra_value_end_list(step.builder);
    step_add(&step, 3, 4);
    return step_extend(&step);
}

/* t:bounded{rows, memory, time}: bounds of each run */
static int step_bounded(lua_State *L)
{
    static const char *const names[] = { "rows", "memory", "time", NULL };
    (void)traversal_self(L);
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    (void)options_given(L, 2, names);
    const struct traversal_bounds bounds = { .rows = option_count(L, 2, "rows", 1, 0),
                                             .memory = option_count(L, 2, "memory", 1, 0),
                                             .time_ms = option_seconds(L, 2, "time", 1000) };
    const struct traversal_part part = { .bytes = { &bounds, sizeof bounds }, .is_bounds = true };
    traversal_push_next(L, 1, &part);
    return 1;
}

/* ---- steps with bodies ----------------------------------------------------------------------- */

/* The function at `index` becomes the traversal that it makes of the empty one it is given. */
static void make_body(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TFUNCTION);
    lua_pushvalue(L, index);
    traversal_push_body(L, 1);
    traversal_push_functions(L, -1, false);
    int functions = lua_gettop(L);
    lua_insert(L, functions - 2); /* below the function and its argument */
    lua_call(L, 1, 1);
    if (!luaL_testudata(L, -1, TRAVERSAL_NAME))
        luaL_argerror(L, index,
                      "the function must return the traversal that it was given, "
                      "with steps added");
    traversal_push_functions(L, -1, false);
    const struct traversal *body = lua_touserdata(L, -2);
    if (!body->is_body || !lua_rawequal(L, -1, -3))
        luaL_argerror(L, index, "the function must go on from the traversal that it was given");
    lua_pop(L, 1);
    lua_replace(L, index);
    lua_pop(L, 1);
}

/* A step of the lists of steps of the bodies at 2 to `last`, and of the options at `options`. */
static int extend_by_bodies(lua_State *L, const char *name, int last, int options)
{
    static const struct members none = { .count = 0 };
    size_t count = 0, at = 0;
    for (int i = 2; i <= last; i++)
        count += ((const struct traversal *)lua_touserdata(L, i))->count;
    sombra_slice *steps = lua_newuserdatauv(L, (count + 1) * sizeof *steps, 0);
    const struct step step = begin(L, name);
    for (int i = 2; i <= last; i++) {
        const struct traversal *body = lua_touserdata(L, i);
        traversal_list_steps(body, steps);
        (void)sombra_value_begin_list(step.builder);
        for (at = 0; at < body->count; at++)
            (void)sombra_value_push_encoded(step.builder, steps[at]);
        (void)sombra_value_end_list(step.builder);
    }
    if (options)
        step_add_options(&step, options, &none);
    return step_extend(&step);
}

/* t:optional(function(t) return t:out("T") end) */
static int step_optional(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 2);
    make_body(L, 2);
    return extend_by_bodies(L, "optional", 2, 0);
}

/* t:union(function(t) ... end, ...) */
static int step_union(lua_State *L)
{
    (void)traversal_self(L);
    int top = lua_gettop(L);
    luaL_argcheck(L, top >= 2, 2, "a function expected");
    luaL_checkstack(L, 8, "bodies");
    for (int i = 2; i <= top; i++)
        make_body(L, i);
    return extend_by_bodies(L, "union", top, 0);
}

/* t:repeating(function(t) ... end [, options]) */
static int step_repeating(lua_State *L)
{
    (void)traversal_self(L);
    lua_settop(L, 3);
    make_body(L, 2);
    return extend_by_bodies(L, "repeat", 2, 3);
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
    { NULL, NULL },
};
