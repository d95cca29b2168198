/* SPDX-License-Identifier: MIT */
/* The chains that traversals are: each is a step behind the one that it goes on from, which it
 * keeps alive. None is ever changed, so that any number may go on from one.
 */
#include "traversal.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const char class_name[] = TRAVERSAL_NAME;

enum { COPY_INLINE_BYTES = 512 };
static_assert(offsetof(struct traversal, step) == sizeof(struct traversal),
              "a head is copied whole");

struct traversal *traversal_self(lua_State *L)
{
    return self_check(L, TRAVERSAL_NAME);
}

struct db_handle *traversal_db(lua_State *L, const struct traversal *traversal)
{
    const struct tx_handle *tx = traversal->tx;
    if (UNLIKELY(!tx_is_open(tx)) && tx->state != TX_PREPARES) /* its database may be gone */
        tx_raise_over(L, tx);
    return tx->db;
}

/* ---- making them ------------------------------------------------------------------------ */

/* Pushes one with what `head` and `part` say, its user values not set; of the class of the one at
 * `like`, 0: none is at hand. */
static void push(lua_State *L, const struct traversal *head, const struct traversal_part *part,
                 int values, int like)
{
    unsigned char room[COPY_INLINE_BYTES];
    const size_t bytes = part->bytes.bytes;
    const void *data = room;
    const bool is_long = bytes > sizeof room;
    /* The allocation may run a finalizer, which may encode something else. */
    if (UNLIKELY(is_long))
        data = lua_pushlstring(L, part->bytes.data, bytes);
    else if (bytes)
        memcpy(room, part->bytes.data, bytes);
    struct traversal *traversal =
        lua_newuserdatauv(L, offsetof(struct traversal, step) + bytes, values);
    *traversal = *head;
    traversal->name = part->name;
    traversal->count += part->name != NULL;
    traversal->is_bounds = part->is_bounds;
    traversal->bytes = bytes;
    if (!traversal->before)
        traversal->first = traversal;
    if (bytes)
        memcpy(traversal->step, data, bytes);
    if (like && lua_getmetatable(L, like))
        lua_setmetatable(L, -2);
    else
        class_set_known(L, KNOWN_TRAVERSAL);
    if (UNLIKELY(is_long))
        lua_remove(L, -2);
}

void traversal_push_first(lua_State *L, int tx, const struct traversal_part *part)
{
    const struct traversal head = { .tx = lua_touserdata(L, tx) };
    push(L, &head, part, TRAVERSAL_FUNCTIONS, 0);
    lua_pushvalue(L, tx);
    lua_setiuservalue(L, -2, TRAVERSAL_BEFORE);
}

static bool is_anchor(const struct traversal *traversal)
{
    return traversal->before && traversal->place % CHAIN_ANCHORS == 0;
}

/* Pushes the first one of the chain of the one at `index`. */
static void push_first_of(lua_State *L, int index)
{
    const struct traversal *at = lua_touserdata(L, index);
    lua_pushvalue(L, index);
    while (at->first != at) {
        lua_getiuservalue(L, -1, is_anchor(at) ? TRAVERSAL_FIRST : TRAVERSAL_BEFORE);
        lua_replace(L, -2);
        at = is_anchor(at) ? at->first : at->before;
    }
}

void traversal_push_next(lua_State *L, int index, const struct traversal_part *part)
{
    const struct traversal *before = lua_touserdata(L, index);
    const struct traversal head = { .tx = before->tx,
                                    .before = before,
                                    .first = before->first,
                                    .count = before->count,
                                    .place = before->place + 1,
                                    .is_body = before->is_body };
    index = lua_absindex(L, index);
    push(L, &head, part, is_anchor(&head) ? TRAVERSAL_FIRST : TRAVERSAL_BEFORE, index);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, TRAVERSAL_BEFORE);
    if (UNLIKELY(is_anchor(&head))) {
        push_first_of(L, index);
        lua_setiuservalue(L, -2, TRAVERSAL_FIRST);
    }
}

static void push_beside(lua_State *L, int index, const struct traversal_part *part, bool is_body)
{
    const struct traversal *other = lua_touserdata(L, index);
    const struct traversal head = { .tx = other->tx,
                                    .is_body = is_body,
                                    .has_functions = traversal_has_functions(other) };
    index = lua_absindex(L, index);
    push(L, &head, part, TRAVERSAL_FUNCTIONS, index);
    push_first_of(L, index);
    lua_getiuservalue(L, -1, TRAVERSAL_BEFORE);
    lua_setiuservalue(L, -3, TRAVERSAL_BEFORE);
    lua_getiuservalue(L, -1, TRAVERSAL_FUNCTIONS);
    lua_setiuservalue(L, -3, TRAVERSAL_FUNCTIONS);
    lua_pop(L, 1);
}

void traversal_push_instead(lua_State *L, int index, const struct traversal_part *part)
{
    push_beside(L, index, part, ((const struct traversal *)lua_touserdata(L, index))->is_body);
}

static size_t room_of(const struct traversal_part *part)
{
    const size_t bytes = sizeof(struct traversal) + part->bytes.bytes;
    return (bytes + _Alignof(struct traversal) - 1) / _Alignof(struct traversal) *
           _Alignof(struct traversal);
}

void traversal_push_chain(lua_State *L, int tx, const struct traversal_part *parts, size_t count)
{
    size_t bytes = 0;
    assert(count > 0);
    for (size_t i = 0; i < count; i++)
        bytes += room_of(&parts[i]);
    unsigned char *room = lua_newuserdatauv(L, bytes, TRAVERSAL_FUNCTIONS);
    unsigned char *at = room + room_of(&parts[count - 1]);
    const struct traversal *before = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct traversal_part *part = &parts[i];
        struct traversal *own = (void *)(i + 1 < count ? at : room);
        *own = (struct traversal){ .tx = lua_touserdata(L, tx),
                                   .before = before,
                                   .first = (void *)room,
                                   .name = part->name,
                                   .count = (before ? before->count : 0) + (part->name != NULL),
                                   .is_bounds = part->is_bounds,
                                   .bytes = part->bytes.bytes };
        memcpy(own->step, part->bytes.data, part->bytes.bytes);
        at += room_of(part);
        before = own;
    }
    class_set_known(L, KNOWN_TRAVERSAL);
    lua_pushvalue(L, tx);
    lua_setiuservalue(L, -2, TRAVERSAL_BEFORE);
}

void traversal_push_body(lua_State *L, int index)
{
    static const struct traversal_part empty = { .name = NULL };
    traversal_push_functions(L, index, true); /* the body's list is that of the whole */
    lua_pop(L, 1);
    push_beside(L, index, &empty, true);
}

/* ---- looking at them -------------------------------------------------------------------- */

const struct traversal *traversal_last_step(const struct traversal *traversal)
{
    while (traversal && !traversal->name)
        traversal = traversal->before;
    return traversal;
}

void traversal_list_steps(const struct traversal *traversal, sombra_slice *out_steps)
{
    uint32_t left = traversal->count;
    for (; traversal; traversal = traversal->before) {
        if (traversal->name)
            out_steps[--left] = (sombra_slice){ traversal->step, traversal->bytes };
    }
    assert(left == 0);
}

const struct traversal_bounds *traversal_bounds(const struct traversal *traversal)
{
    while (traversal && !traversal->is_bounds)
        traversal = traversal->before;
    return traversal ? (const void *)traversal->step : NULL;
}

/* ---- functions -------------------------------------------------------------------------- */

void traversal_push_functions(lua_State *L, int index, bool makes)
{
    push_first_of(L, index);
    if (lua_getiuservalue(L, -1, TRAVERSAL_FUNCTIONS) == LUA_TNIL && makes) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, TRAVERSAL_FUNCTIONS);
        ((struct traversal *)lua_touserdata(L, -2))->has_functions = true;
    }
    lua_replace(L, -2);
}

lua_Integer traversal_keep_function(lua_State *L, int index, int function)
{
    const struct traversal *traversal = lua_touserdata(L, index);
    function = lua_absindex(L, function);
    if (UNLIKELY(traversal->tx->state == TX_PREPARES))
        luaL_error(L, "a prepared traversal takes no functions: they would be left with the "
                      "places and the transaction of its making");
    traversal_push_functions(L, index, true);
    lua_Integer number = (lua_Integer)lua_rawlen(L, -1) + 1;
    lua_pushvalue(L, function);
    lua_rawseti(L, -2, number);
    lua_pop(L, 1);
    return number;
}

/* ---- the class -------------------------------------------------------------------------- */

static int traversal_tostring(lua_State *L)
{
    const struct traversal *traversal = luaL_checkudata(L, 1, TRAVERSAL_NAME);
    lua_settop(L, 1);
    lua_pushliteral(L, "");
    for (; traversal; traversal = traversal->before) {
        if (!traversal->name)
            continue;
        lua_pushfstring(L, " %s%s", traversal->name, lua_tostring(L, 2));
        lua_replace(L, 2);
    }
    lua_pushfstring(L, TRAVERSAL_NAME ":%s", lua_tostring(L, 2));
    return 1;
}

void traversal_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = { { "__tostring", traversal_tostring }, { NULL, NULL } };
    const luaL_Reg *const sets[] = { traversal_step_methods, traversal_paths_methods,
                                     traversal_run_methods, NULL };
    cursor_register(L);
    class_register(L, class_name, metamethods, sets);
    luaL_getmetatable(L, class_name);
    class_register_known(L, KNOWN_TRAVERSAL);
    lua_pop(L, 1);
}
