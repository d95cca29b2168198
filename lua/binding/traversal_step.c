/* SPDX-License-Identifier: MIT */
/* One step in the making: a list of its name and its arguments, written straight into the builder
 * of the database, from what stands on the stack.
 */
#include "traversal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct step step_begin(lua_State *L, struct db_handle *db, const char *name)
{
    struct step step = { .L = L, .db = db, .builder = value_begin(L, db), .name = name };
    (void)sombra_value_begin_list(step.builder);
    (void)sombra_value_push_string(step.builder, name, strlen(name));
    return step;
}

static void add(const struct step *step, int arg, int index, const char *root)
{
    size_t bytes = 0;
    const char *text =
        lua_type(step->L, index) == LUA_TSTRING ? lua_tolstring(step->L, index, &bytes) : NULL;
    if (LIKELY(text))
        (void)sombra_value_push_string(step->builder, text, bytes);
    else
        value_add(step->L, step->builder, arg, index, root);
}

void step_add(const struct step *step, int arg, int index)
{
    add(step, arg, index, step->name);
}

void step_add_ids(const struct step *step, int arg)
{
    lua_State *L = step->L;
    if (place_add(L, step->builder, arg, PLACE_IDS))
        return;
    (void)sombra_value_begin_list(step->builder);
    if (lua_type(L, arg) == LUA_TTABLE) {
        lua_Integer count = (lua_Integer)lua_rawlen(L, arg);
        for (lua_Integer i = 1; i <= count; i++) {
            if (lua_rawgeti(L, arg, i) != LUA_TNIL)
                value_add(L, step->builder, arg, -1, "ids");
            lua_pop(L, 1);
        }
    } else {
        (void)sombra_value_push_integer(step->builder, (int64_t)check_id(L, arg));
    }
    (void)sombra_value_end_list(step->builder);
}

/* ---- options ---------------------------------------------------------------------------- */

void members_add(struct members *members, const struct member *member)
{
    assert(members->count < MEMBERS_MAX);
    members->at[members->count++] = *member;
}

void members_add_functions(lua_State *L, struct members *members, int arg, int index)
{
    static const char *const names[] = { "weight", "heuristic", NULL };
    if (lua_type(L, arg) != LUA_TTABLE)
        return;
    for (const char *const *name = names; *name; name++) {
        lua_pushstring(L, *name);
        if (lua_rawget(L, arg) == LUA_TFUNCTION) {
            const struct member number = { .name = *name,
                                           .kind = MEMBER_INTEGER,
                                           .number = traversal_keep_function(L, index, -1) };
            members_add(members, &number);
        }
        lua_pop(L, 1);
    }
}

static void add_member(const struct step *step, const struct member *member)
{
    sombra_value_builder *builder = step->builder;
    if (member->kind == MEMBER_NONE)
        return;
    (void)sombra_value_push_key(builder, member->name, strlen(member->name));
    switch (member->kind) {
    case MEMBER_VALUE:
        add(step, member->index, member->index, member->name);
        return;
    case MEMBER_IDS: /* one as a number: a search between two nodes takes others so */
        if (lua_type(step->L, member->index) == LUA_TTABLE)
            step_add_ids(step, member->index);
        else if (!place_add(step->L, builder, member->index, PLACE_ENDS))
            (void)sombra_value_push_integer(builder, (int64_t)check_id(step->L, member->index));
        return;
    case MEMBER_INTEGER:
        (void)sombra_value_push_integer(builder, member->number);
        return;
    case MEMBER_TRUE:
        (void)sombra_value_push_boolean(builder, true);
        return;
    default:
        assert(member->kind == MEMBER_TEXT);
        (void)sombra_value_push_string(builder, member->text, strlen(member->text));
        return;
    }
}

void step_add_options(const struct step *step, int arg, const struct members *members)
{
    const char *names[MEMBERS_MAX + 1];
    for (size_t i = 0; i < members->count; i++)
        names[i] = members->at[i].name;
    names[members->count] = NULL;
    (void)sombra_value_begin_map(step->builder);
    for (size_t i = 0; i < members->count; i++)
        add_member(step, &members->at[i]);
    if (!lua_isnoneornil(step->L, arg)) {
        luaL_checktype(step->L, arg, LUA_TTABLE);
        value_add_members(step->L, step->builder, arg, step->name, names);
    }
    (void)sombra_value_end_map(step->builder);
}

/* ---- the end ---------------------------------------------------------------------------- */

struct traversal_part step_end(const struct step *step)
{
    (void)sombra_value_end_list(step->builder);
    return (struct traversal_part){ .name = step->name, .bytes = value_end(step->L, step->db) };
}

int step_extend(const struct step *step)
{
    const struct traversal_part part = step_end(step);
    traversal_push_next(step->L, 1, &part);
    return 1;
}

/* ---- steps that are known --------------------------------------------------------------- */

enum { KNOWN_STEPS = 8, KNOWN_TEXT = 32, KNOWN_BYTES = 80 }; /* of the text and 48 more */

struct known_step {
    const char *name; /* NULL: nothing is here */
    uint8_t text_bytes, bytes;
    char text[KNOWN_TEXT];
    unsigned char encoded[KNOWN_BYTES];
};

void steps_free(struct known_step *steps)
{
    free(steps);
}

/* The place that a step has. */
static size_t place_of(const char *name, sombra_slice text)
{
    const char *bytes = text.data;
    const unsigned first = (unsigned char)bytes[0], last = (unsigned char)bytes[text.bytes - 1];
    return ((unsigned char)name[0] + first + 3 * last + text.bytes) % KNOWN_STEPS;
}

bool step_recall(const struct db_handle *db, const char *name, sombra_slice text,
                 struct traversal_part *out_part)
{
    if (UNLIKELY(!db->steps || text.bytes == 0))
        return false;
    const struct known_step *known = &db->steps[place_of(name, text)];
    if (known->name != name || known->text_bytes != text.bytes ||
        memcmp(known->text, text.data, text.bytes) != 0)
        return false;
    *out_part = (struct traversal_part){ .name = name, .bytes = { known->encoded, known->bytes } };
    return true;
}

void step_note(struct db_handle *db, sombra_slice text, const struct traversal_part *part)
{
    if (text.bytes == 0 || text.bytes > KNOWN_TEXT || part->bytes.bytes > KNOWN_BYTES)
        return;
    if (!db->steps)
        db->steps = calloc(KNOWN_STEPS, sizeof *db->steps);
    if (!db->steps)
        return;
    struct known_step *known = &db->steps[place_of(part->name, text)];
    known->name = part->name;
    known->text_bytes = (uint8_t)text.bytes;
    known->bytes = (uint8_t)part->bytes.bytes;
    memcpy(known->text, text.data, text.bytes);
    memcpy(known->encoded, part->bytes.data, part->bytes.bytes);
}
