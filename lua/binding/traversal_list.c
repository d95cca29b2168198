/* SPDX-License-Identifier: MIT */
/* The lists of steps that traversals are. Every method gives a new traversal, but the table of its
 * steps is shared with the one it goes on from: a traversal knows how many of them are its own, and
 * only one that is gone on from twice is copied. Tables of steps never lose or change an element.
 */
#include "traversal.h"

static const char class_name[] = TRAVERSAL_NAME;

struct traversal *traversal_self(lua_State *L)
{
    return self_check(L, TRAVERSAL_NAME);
}

/* Pushes one with its user values not set. */
static struct traversal *push(lua_State *L, struct tx_handle *tx, lua_Integer count)
{
    struct traversal *traversal = lua_newuserdatauv(L, sizeof *traversal, 4);
    *traversal = (struct traversal){ .tx = tx, .count = count };
    class_set(L, class_name);
    return traversal;
}

void traversal_push_empty(lua_State *L, int tx_index, int functions)
{
    (void)push(L, tx_index ? lua_touserdata(L, tx_index) : NULL, 0);
    if (tx_index) {
        lua_pushvalue(L, tx_index);
        lua_setiuservalue(L, -2, TRAVERSAL_TX);
    }
    lua_newtable(L);
    lua_setiuservalue(L, -2, TRAVERSAL_STEPS);
    if (functions)
        lua_pushvalue(L, functions);
    else
        lua_newtable(L);
    lua_setiuservalue(L, -2, TRAVERSAL_FUNCTIONS);
}

/* Pushes a table of the first `count` elements of the one at `steps`, with room for one more. */
static void push_copy(lua_State *L, int steps, lua_Integer count)
{
    steps = lua_absindex(L, steps);
    lua_createtable(L, (int)count + 1, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, steps, i);
        lua_rawseti(L, -2, i);
    }
}

/* Pushes one with the user values of the one at `index`, but the steps. */
static struct traversal *push_like(lua_State *L, int index, lua_Integer count)
{
    const struct traversal *from = lua_touserdata(L, index);
    struct traversal *to = push(L, from->tx, count);
    lua_getiuservalue(L, index, TRAVERSAL_TX);
    lua_setiuservalue(L, -2, TRAVERSAL_TX);
    lua_getiuservalue(L, index, TRAVERSAL_FUNCTIONS);
    lua_setiuservalue(L, -2, TRAVERSAL_FUNCTIONS);
    if (lua_getiuservalue(L, index, TRAVERSAL_BOUNDS) == LUA_TNIL)
        lua_pop(L, 1);
    else
        lua_setiuservalue(L, -2, TRAVERSAL_BOUNDS);
    return to;
}

void traversal_extend(lua_State *L, int index)
{
    int step = lua_gettop(L);
    index = lua_absindex(L, index);
    const lua_Integer count = ((struct traversal *)lua_touserdata(L, index))->count;
    (void)push_like(L, index, count + 1);
    lua_getiuservalue(L, index, TRAVERSAL_STEPS);
    if ((lua_Integer)lua_rawlen(L, -1) != count) { /* another one has gone on from it */
        push_copy(L, -1, count);
        lua_replace(L, -2);
    }
    lua_pushvalue(L, step);
    lua_rawseti(L, -2, count + 1);
    lua_setiuservalue(L, -2, TRAVERSAL_STEPS);
    lua_replace(L, step);
}

void traversal_push_bounded(lua_State *L, int index, int bounds)
{
    const lua_Integer count = ((struct traversal *)lua_touserdata(L, index))->count;
    (void)push_like(L, index, count);
    lua_getiuservalue(L, index, TRAVERSAL_STEPS);
    lua_setiuservalue(L, -2, TRAVERSAL_STEPS);
    lua_pushvalue(L, bounds);
    lua_setiuservalue(L, -2, TRAVERSAL_BOUNDS);
}

void traversal_push_steps(lua_State *L, int index)
{
    const lua_Integer count = ((struct traversal *)lua_touserdata(L, index))->count;
    lua_getiuservalue(L, index, TRAVERSAL_STEPS);
    push_copy(L, -1, count);
    lua_replace(L, -2);
    value_mark_list(L);
}

sombra_slice traversal_encode(lua_State *L, int index)
{
    const struct traversal *traversal = lua_touserdata(L, index);
    const int top = lua_gettop(L), count = (int)traversal->count;
    lua_getiuservalue(L, index, TRAVERSAL_STEPS);
    luaL_checkstack(L, count, "steps");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, top + 1, i);
    sombra_slice steps = value_encode_steps(L, traversal->tx->db, top + 2, count);
    lua_settop(L, top);
    return steps;
}

lua_Integer traversal_keep_function(lua_State *L, int functions, int index)
{
    index = lua_absindex(L, index);
    functions = lua_absindex(L, functions);
    lua_Integer number = (lua_Integer)lua_rawlen(L, functions) + 1;
    lua_pushvalue(L, index);
    lua_rawseti(L, functions, number);
    return number;
}

static int traversal_tostring(lua_State *L)
{
    const struct traversal *traversal = luaL_checkudata(L, 1, TRAVERSAL_NAME);
    lua_getiuservalue(L, 1, TRAVERSAL_STEPS);
    int steps = lua_gettop(L);
    lua_pushliteral(L, TRAVERSAL_NAME ":");
    for (lua_Integer i = 1; i <= traversal->count; i++) {
        lua_rawgeti(L, steps, i);
        lua_rawgeti(L, -1, 1);
        lua_pushfstring(L, "%s %s", lua_tostring(L, -3), lua_tostring(L, -1));
        lua_replace(L, -4);
        lua_pop(L, 2);
    }
    return 1;
}

void traversal_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__tostring", traversal_tostring }, { NULL, NULL } };
    const luaL_Reg *const sets[] = { traversal_step_methods, traversal_run_methods, NULL };
    cursor_register(L);
    class_register(L, class_name, metamethods, sets);
}
