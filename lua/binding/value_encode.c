/* SPDX-License-Identifier: MIT */
/* From Lua values to encoded ones, with raw access only: no metamethod runs, nothing allocates, and
 * what cannot be stored is refused with its path ("props.tags[3]: functions cannot be stored").
 *
 * A table that carries sombra.list's metatable is a list; of the others, one with the keys 1..n is
 * a list, one with string keys a map, an empty one a map. Anything else is refused.
 */
#include "binding.h"

#include <string.h>

enum {
    BUILDER_KEEP_BYTES = 1 << 20, /* a scratch that grew beyond this is given back */
    SLOTS_PER_LEVEL = 6,          /* key, value, metatables, and two for the message */
};

/* Where the walk stands: one link for each list or map around the value. */
struct place {
    const struct place *up; /* NULL at the root */
    const char *root;       /* name of the argument, at the root only */
    int table;              /* stack index of the table this place is in */
    int key;                /* stack index of the map's key; 0 in a list */
    lua_Integer index;      /* in a list */
};

struct encoder {
    lua_State *L;
    sombra_value_builder *builder;
    int arg;
};

static void encode_any(const struct encoder *encoder, int index, const struct place *place,
                       unsigned depth);

static bool is_identifier(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return bytes > 0 && bytes <= 40;
}

/* Pushes "props.tags[3]". Slots for it are there: SLOTS_PER_LEVEL counts one for each level. */
static void push_path(lua_State *L, const struct place *place)
{
    if (!place->up) {
        lua_pushstring(L, place->root);
        return;
    }
    push_path(L, place->up);
    const char *prefix = lua_tostring(L, -1);
    if (!place->key) {
        lua_pushfstring(L, "%s[%I]", prefix, place->index);
    } else {
        size_t bytes = 0;
        const char *text = lua_tolstring(L, place->key, &bytes);
        if (is_identifier(text, bytes)) {
            lua_pushfstring(L, "%s.%s", prefix, text);
        } else {
            lua_pushlstring(L, text, bytes < 40 ? bytes : 40);
            lua_pushfstring(L, "%s[\"%s%s\"]", prefix, lua_tostring(L, -1),
                            bytes > 40 ? "..." : "");
            lua_replace(L, -2);
        }
    }
    lua_replace(L, -2);
}

static void refuse(const struct encoder *encoder, const struct place *place, const char *what)
{
    lua_State *L = encoder->L;
    luaL_checkstack(L, SLOTS_PER_LEVEL, "message");
    push_path(L, place);
    luaL_argerror(L, encoder->arg, lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), what));
}

/* The table is no map and not exactly 1..n: says which key is in the way. */
static void refuse_keys(const struct encoder *encoder, int index, const struct place *place)
{
    lua_State *L = encoder->L;
    bool has_string = false;
    bool has_integer = false;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING)
            has_string = true;
        else if (lua_isinteger(L, -1))
            has_integer = true;
        else
            refuse(encoder, place,
                   lua_type(L, -1) == LUA_TNUMBER
                       ? "floats cannot be keys"
                       : lua_pushfstring(L, "%ss cannot be keys", luaL_typename(L, -1)));
    }
    if (has_string && has_integer)
        refuse(encoder, place, "a table with both string keys and integer keys");
    if (has_string)
        refuse(encoder, place, "a list with string keys");
    refuse(encoder, place, "a list with holes: its keys are not 1 to n");
}

static void encode_list(const struct encoder *encoder, int index, const struct place *place,
                        unsigned depth)
{
    lua_State *L = encoder->L;
    lua_Unsigned length = lua_rawlen(L, index);
    lua_Unsigned keys = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        keys++;
    }
    if (keys != length)
        refuse_keys(encoder, index, place);
    (void)sombra_value_begin_list(encoder->builder);
    struct place inside = { .up = place, .table = index };
    for (lua_Unsigned i = 1; i <= length; i++) {
        inside.index = (lua_Integer)i;
        if (lua_rawgeti(L, index, inside.index) == LUA_TNIL)
            refuse_keys(encoder, index, place);
        encode_any(encoder, lua_gettop(L), &inside, depth + 1);
        lua_pop(L, 1);
    }
    (void)sombra_value_end_list(encoder->builder);
}

/* The first key and value are on the stack; they are popped. */
static void encode_map(const struct encoder *encoder, int index, const struct place *place,
                       unsigned depth)
{
    lua_State *L = encoder->L;
    const int top = lua_gettop(L);
    struct place inside = { .up = place, .table = index, .key = top - 1 };
    (void)sombra_value_begin_map(encoder->builder);
    do {
        if (UNLIKELY(lua_type(L, -2) != LUA_TSTRING)) {
            lua_pop(L, 2);
            refuse_keys(encoder, index, place);
        }
        size_t bytes = 0;
        const char *key = lua_tolstring(L, -2, &bytes);
        (void)sombra_value_push_key(encoder->builder, key, bytes);
        encode_any(encoder, top, &inside, depth + 1);
        lua_pop(L, 1);
    } while (lua_next(L, index));
    (void)sombra_value_end_map(encoder->builder);
}

static void refuse_depth(const struct encoder *encoder, int index, const struct place *place)
{
    for (const struct place *at = place; at->up; at = at->up) {
        if (lua_rawequal(encoder->L, index, at->table))
            refuse(encoder, place, "a table that contains itself");
    }
    refuse(encoder, place,
           lua_pushfstring(encoder->L, "nested more than %d deep", (int)SOMBRA_VALUE_DEPTH_MAX));
}

static void encode_table(const struct encoder *encoder, int index, const struct place *place,
                         unsigned depth)
{
    lua_State *L = encoder->L;
    luaL_checkstack(L, SLOTS_PER_LEVEL, "nested tables");
    if (depth >= SOMBRA_VALUE_DEPTH_MAX)
        refuse_depth(encoder, index, place);
    if (value_is_list(L, index)) {
        encode_list(encoder, index, place, depth);
        return;
    }
    lua_pushnil(L);
    if (UNLIKELY(!lua_next(L, index))) {
        (void)sombra_value_begin_map(encoder->builder);
        (void)sombra_value_end_map(encoder->builder);
    } else if (lua_type(L, -2) == LUA_TSTRING) {
        encode_map(encoder, index, place, depth);
    } else {
        lua_pop(L, 2);
        encode_list(encoder, index, place, depth);
    }
}

static void encode_any(const struct encoder *encoder, int index, const struct place *place,
                       unsigned depth)
{
    lua_State *L = encoder->L;
    sombra_value_builder *builder = encoder->builder;
    int type = lua_type(L, index);
    switch (type) {
    case LUA_TSTRING: {
        size_t bytes = 0;
        const char *data = lua_tolstring(L, index, &bytes);
        (void)sombra_value_push_string(builder, data, bytes);
        return;
    }
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            (void)sombra_value_push_integer(builder, lua_tointeger(L, index));
        else
            (void)sombra_value_push_float(builder, lua_tonumber(L, index));
        return;
    case LUA_TBOOLEAN:
        (void)sombra_value_push_boolean(builder, lua_toboolean(L, index));
        return;
    case LUA_TTABLE:
        encode_table(encoder, index, place, depth);
        return;
    default:
        if (type == LUA_TUSERDATA && value_is_null(L, index))
            (void)sombra_value_push_null(builder);
        else if (place_add(L, builder, index, PLACE_VALUE))
            return;
        else if (type == LUA_TNIL || type == LUA_TNONE)
            refuse(encoder, place, "nil cannot be stored: sombra.null can");
        else if (type == LUA_TUSERDATA || type == LUA_TLIGHTUSERDATA)
            refuse(encoder, place, "userdata cannot be stored");
        else
            refuse(encoder, place,
                   lua_pushfstring(L, "%ss cannot be stored", lua_typename(L, type)));
    }
}

static void renew_builder(lua_State *L, struct db_handle *db)
{
    if (db->encoded_bytes > BUILDER_KEEP_BYTES) {
        sombra_value_builder_free(db->builder);
        db->builder = NULL;
        db->encoded_bytes = 0;
    }
    if (!db->builder) {
        if (db->is_collected) /* nobody would free it */
            error_raise_text(L, SOMBRA_INVALID, "what this was prepared with was collected");
        sombra_err err = sombra_value_builder_new(&db->builder);
        if (err)
            error_raise(L, err);
    }
    sombra_value_builder_reset(db->builder);
}

sombra_slice value_encode(lua_State *L, struct db_handle *db, int arg, const char *root)
{
    return value_encode_part(L, db, arg, arg, root);
}

static struct encoder encoder_begin(lua_State *L, struct db_handle *db, int arg)
{
    if (UNLIKELY(!db->builder || db->encoded_bytes > BUILDER_KEEP_BYTES))
        renew_builder(L, db);
    else
        sombra_value_builder_reset(db->builder);
    return (struct encoder){ .L = L, .builder = db->builder, .arg = arg };
}

static sombra_slice encoder_end(const struct encoder *encoder, struct db_handle *db)
{
    sombra_slice encoded;
    sombra_err err = sombra_value_finish(encoder->builder, &encoded);
    if (err)
        error_raise(encoder->L, err);
    db->encoded_bytes = encoded.bytes;
    return encoded;
}

sombra_slice value_encode_part(lua_State *L, struct db_handle *db, int arg, int index,
                               const char *root)
{
    const struct encoder encoder = encoder_begin(L, db, arg);
    const struct place place = { .root = root };
    encode_any(&encoder, index, &place, 0);
    return encoder_end(&encoder, db);
}

sombra_slice value_encode_element(lua_State *L, struct db_handle *db, int arg, int index,
                                  const char *root)
{
    const struct encoder encoder = encoder_begin(L, db, arg);
    const struct place place = { .root = root };
    encode_any(&encoder, index, &place, 1);
    return encoder_end(&encoder, db);
}

bool value_look(lua_State *L, int index, sombra_value *out_value)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        if (LIKELY(lua_isinteger(L, index)))
            *out_value =
                (sombra_value){ .kind = SOMBRA_INTEGER, .as.integer = lua_tointeger(L, index) };
        else
            *out_value = (sombra_value){ .kind = SOMBRA_FLOAT, .as.real = lua_tonumber(L, index) };
        return true;
    case LUA_TSTRING:
        *out_value = (sombra_value){ .kind = SOMBRA_STRING };
        out_value->as.string.data = lua_tolstring(L, index, &out_value->as.string.bytes);
        return true;
    case LUA_TBOOLEAN:
        *out_value =
            (sombra_value){ .kind = SOMBRA_BOOLEAN, .as.boolean = lua_toboolean(L, index) };
        return true;
    default:
        return false;
    }
}

sombra_slice value_encode_pair(lua_State *L, struct db_handle *db, int key, int value)
{
    const struct encoder encoder = encoder_begin(L, db, value);
    const struct place place = { .root = "props" };
    const struct place inside = { .up = &place, .table = key, .key = key };
    size_t bytes = 0;
    const char *name = lua_tolstring(L, key, &bytes);
    (void)sombra_value_begin_map(encoder.builder);
    (void)sombra_value_push_key(encoder.builder, name, bytes);
    encode_any(&encoder, value, &inside, 1);
    (void)sombra_value_end_map(encoder.builder);
    return encoder_end(&encoder, db);
}

sombra_value_builder *value_begin(lua_State *L, struct db_handle *db)
{
    return encoder_begin(L, db, 0).builder;
}

void value_add(lua_State *L, sombra_value_builder *builder, int arg, int index, const char *root)
{
    const struct encoder encoder = { .L = L, .builder = builder, .arg = arg };
    const struct place place = { .root = root };
    luaL_checkstack(L, SLOTS_PER_LEVEL, "values");
    encode_any(&encoder, lua_absindex(L, index), &place, 2);
}

void value_add_members(lua_State *L, sombra_value_builder *builder, int arg, const char *root,
                       const char *const *without)
{
    const struct encoder encoder = { .L = L, .builder = builder, .arg = arg };
    const struct place place = { .root = root };
    struct place inside = { .up = &place, .table = arg };
    luaL_checkstack(L, SLOTS_PER_LEVEL, "options");
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        size_t bytes = 0;
        if (UNLIKELY(lua_type(L, -2) != LUA_TSTRING))
            luaL_argerror(L, arg, "option names are strings");
        const char *key = lua_tolstring(L, -2, &bytes);
        if (!option_is_among(key, bytes, without)) {
            inside.key = lua_gettop(L) - 1;
            (void)sombra_value_push_key(builder, key, bytes);
            encode_any(&encoder, inside.key + 1, &inside, 3);
        }
        lua_pop(L, 1);
    }
}

sombra_slice value_end(lua_State *L, struct db_handle *db)
{
    const struct encoder encoder = { .L = L, .builder = db->builder };
    return encoder_end(&encoder, db);
}

sombra_slice value_encode_props(lua_State *L, struct db_handle *db, int arg)
{
    sombra_slice none = { NULL, 0 };
    if (lua_isnoneornil(L, arg))
        return none;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_pushnil(L);
    if (!lua_next(L, arg))
        return none;
    bool is_map = lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 2);
    if (!is_map)
        luaL_argerror(L, arg, "props: the names of properties are strings");
    return value_encode(L, db, arg, "props");
}
