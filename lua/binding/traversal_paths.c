/* SPDX-License-Identifier: MIT */
/* Paths as the end of a chain: what its steps say becomes the options of one step "paths". */
#include "traversal.h"

#include <string.h>

/* Pushes the options of the step, as a table that is the script's own; an empty one if it has none.
 */
static void push_options_of(lua_State *L, const struct traversal *at)
{
    sombra_value list, value;
    sombra_value_cursor cursor;
    bool found = false;
    sombra_err err = sombra_value_decode((sombra_slice){ at->step, at->bytes }, &list);
    if (!err)
        sombra_value_enter(&list, &cursor);
    for (int i = 0; !err && i < 2; i++) /* its name first */
        err = sombra_value_next(&cursor, NULL, &value, &found);
    if (err)
        error_raise(L, err);
    if (found)
        value_push_decoded(L, &value);
    else
        lua_newtable(L);
}

/* The ids at `index`, on top: one alone gives way to its number; what is none the engine refuses.
 */
static void unwrap_one(lua_State *L, int index)
{
    if (lua_rawlen(L, index) != 1)
        return;
    lua_rawgeti(L, index, 1);
    if (lua_isinteger(L, -1) && lua_tointeger(L, -1) > 0)
        lua_replace(L, index);
    lua_settop(L, index);
}

static bool is_step(const struct traversal *at, const char *name)
{
    return at && strcmp(at->name, name) == 0;
}

/* The traversal at 1 gives way to one step "paths". */
static int become_paths(lua_State *L, int options, const struct members *members)
{
    const struct step step = step_begin(L, traversal_db(L, lua_touserdata(L, 1)), "paths");
    step_add_options(&step, options, members);
    const struct traversal_part part = step_end(&step);
    traversal_push_instead(L, 1, &part);
    return 1;
}

/* t:to(id or ids): tx:from(a):repeat_out("T", {max = 6}):to(b) is tx:paths(a, b, ...). */
static int step_to(lua_State *L)
{
    const struct traversal *self = traversal_self(L), *walk = traversal_last_step(self);
    const struct traversal *from = walk ? traversal_last_step(walk->before) : NULL;
    lua_settop(L, 2);
    if (self->count != 2 || !is_step(from, "ids") ||
        !(is_step(walk, "out") || is_step(walk, "into") || is_step(walk, "both")))
        return luaL_argerror(L, 1,
                             "to(id) follows tx:from(id):repeat_out(...), repeat_into or "
                             "repeat_both");
    push_options_of(L, walk); /* 3 */
    push_options_of(L, from); /* 4: the ids */
    unwrap_one(L, 4);
    struct members members = {
        .count = 6,
        .at = { { .name = "unique" },
                { .name = "min" },
                { .name = "edges" },
                { .name = "direction", .kind = MEMBER_TEXT, .text = walk->name },
                { .name = "from", .kind = MEMBER_IDS, .index = 4 },
                { .name = "to", .kind = MEMBER_IDS, .index = 2 } },
    };
    if (lua_getfield(L, 3, "max") == LUA_TNUMBER && lua_tonumber(L, -1) == TRAVERSAL_HOPS_MAX)
        members_add(&members, &(const struct member){ .name = "max" });
    lua_pop(L, 1);
    return become_paths(L, 3, &members);
}

/* Pushes the traversal at 1, whose one step is "paths", with the options of argument 2 merged, and
 * a number `k` unless it is 0. */
static void push_paths_with(lua_State *L, const char *kind, lua_Integer k)
{
    const struct traversal *self = traversal_self(L), *paths = traversal_last_step(self);
    lua_settop(L, 2);
    if (self->count != 1 || !is_step(paths, "paths"))
        luaL_argerror(L, 1,
                      "this needs paths: tx:paths(from, to) or "
                      "tx:from(from):repeat_out(...):to(to)");
    push_options_of(L, paths); /* 3 */
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, 2)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, 3);
        }
    }
    struct members members = { .count = 1,
                               .at = { { .name = "kind", .kind = MEMBER_TEXT, .text = kind } } };
    if (k)
        members_add(&members,
                    &(const struct member){ .name = "k", .kind = MEMBER_INTEGER, .number = k });
    members_add_functions(L, &members, 3, 1);
    (void)become_paths(L, 3, &members);
}

/* The first path of the kind, or nil. */
static int first_path(lua_State *L, const char *kind)
{
    push_paths_with(L, kind, 0);
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
    push_paths_with(L, "all_shortest", 0);
    return 1;
}
/* t:k_shortest(k [, options]) -> traversal of paths, cheapest first */
static int step_k_shortest(lua_State *L)
{
    lua_Integer k = luaL_checkinteger(L, 2);
    luaL_argcheck(L, k >= 1, 2, "a number of paths expected");
    lua_remove(L, 2);
    push_paths_with(L, "k_shortest", k);
    return 1;
}

const luaL_Reg traversal_paths_methods[] = {
    { "to", step_to },
    { "shortest", step_shortest },
    { "cheapest", step_cheapest },
    { "all_shortest", step_all_shortest },
    { "k_shortest", step_k_shortest },
    { NULL, NULL },
};
