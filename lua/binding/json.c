/* SPDX-License-Identifier: MIT */
/* luaopen_sombra_json: JSON text to the values that can be stored, and back.
 *
 * Integers are 64-bit and stay integers; floats are printed with the fewest digits that give the
 * same float, and always with a point or an exponent. Lists, maps and null are sombra's. Reading is
 * jansson's work; writing is done here, for it needs no tree and jansson's floats are long.
 *
 * What is allocated in C stands in a userdata that is closed with the calling function, since any
 * Lua call may longjmp.
 */
#include "binding.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LUAMOD_API __attribute__((visibility("default"))) int luaopen_sombra_json(lua_State *L);

enum { DEPTH_MAX = 200, FLOAT_TEXT_BYTES = 40 };

/* ---- writing ----------------------------------------------------------------------------- */

struct writer {
    lua_State *L;
    char *text;
    size_t bytes;
    size_t capacity;
};

static void encode_any(struct writer *writer, int index, unsigned depth);

static int writer_gc(lua_State *L)
{
    struct writer *writer = lua_touserdata(L, 1);
    free(writer->text);
    writer->text = NULL;
    return 0;
}

/* Makes the userdata on top of the stack end with the calling function. */
static void close_with_function(lua_State *L, lua_CFunction release)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__close");
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
}

/* Room for `bytes` more. */
static char *reserve(struct writer *writer, size_t bytes)
{
    if (writer->capacity - writer->bytes < bytes) {
        size_t capacity = writer->capacity ? writer->capacity : 256;
        while (capacity - writer->bytes < bytes)
            capacity *= 2;
        char *text = realloc(writer->text, capacity);
        if (!text)
            luaL_error(writer->L, "not enough memory for JSON text");
        writer->text = text;
        writer->capacity = capacity;
    }
    return writer->text + writer->bytes;
}

static void add(struct writer *writer, const char *text, size_t bytes)
{
    memcpy(reserve(writer, bytes), text, bytes);
    writer->bytes += bytes;
}

static void add_char(struct writer *writer, char c)
{
    add(writer, &c, 1);
}

/* Length of the well-formed UTF-8 sequence at `text`, 0 if it is none. */
static size_t sequence_bytes(const unsigned char *text, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t bytes = text[0] < 0x80   ? 1
                   : text[0] < 0xC2 ? 0
                   : text[0] < 0xE0 ? 2
                   : text[0] < 0xF0 ? 3
                   : text[0] < 0xF5 ? 4
                                    : 0;
    if (bytes < 2)
        return bytes;
    if (bytes > left)
        return 0;
    uint32_t code = text[0] & (0x7Fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3F);
    }
    bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < least[bytes] || code > 0x10FFFF || is_surrogate ? 0 : bytes;
}

static void add_escaped(struct writer *writer, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    char text[8];
    int bytes = at ? snprintf(text, sizeof text, "\\%c", to[at - from])
                   : snprintf(text, sizeof text, "\\u%04x", c);
    add(writer, text, (size_t)bytes);
}

static void encode_string(struct writer *writer, const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t plain = 0; /* bytes before `i` that are not written yet */
    add_char(writer, '"');
    for (size_t i = 0; i < bytes;) {
        bool is_plain = at[i] >= 0x20 && at[i] != '"' && at[i] != '\\';
        if (!is_plain) {
            add(writer, text + i - plain, plain);
            add_escaped(writer, at[i]);
            plain = 0;
            i++;
            continue;
        }
        size_t step = sequence_bytes(at + i, bytes - i);
        if (!step)
            luaL_error(writer->L, "a string that is not UTF-8 cannot be written as JSON");
        plain += step;
        i += step;
    }
    add(writer, text + bytes - plain, plain);
    add_char(writer, '"');
}

static void encode_float(struct writer *writer, double number)
{
    char text[FLOAT_TEXT_BYTES];
    if (!isfinite(number))
        luaL_error(writer->L, "NaN and infinities cannot be written as JSON");
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    /* A locale may have put something else where the point belongs. */
    char *point = text + strspn(text, "-0123456789e+");
    if (*point)
        *point = '.';
    else if (!strchr(text, 'e'))
        strcat(text, ".0");
    add(writer, text, strlen(text));
}

/* Whether the table is a list: marked so, or with the keys 1..n and no other. */
static bool is_list(lua_State *L, int index)
{
    if (lua_getmetatable(L, index)) {
        luaL_getmetatable(L, LIST_NAME);
        bool is_marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (is_marked)
            return true;
    }
    lua_Unsigned count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        count++;
    }
    return count > 0 && count == lua_rawlen(L, index);
}

static void encode_list(struct writer *writer, int index, unsigned depth)
{
    lua_State *L = writer->L;
    lua_Unsigned count = lua_rawlen(L, index);
    add_char(writer, '[');
    for (lua_Unsigned i = 1; i <= count; i++) {
        if (i > 1)
            add_char(writer, ',');
        lua_rawgeti(L, index, (lua_Integer)i);
        encode_any(writer, lua_gettop(L), depth + 1);
        lua_pop(L, 1);
    }
    add_char(writer, ']');
}

struct member {
    const char *key; /* the table keeps it alive */
    size_t bytes;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *left = a;
    const struct member *right = b;
    size_t common = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = memcmp(left->key, right->key, common);
    return order ? order : left->bytes < right->bytes ? -1 : left->bytes > right->bytes;
}

/* Keys are sorted, so that the same map is always the same text. */
static void encode_map(struct writer *writer, int index, unsigned depth)
{
    lua_State *L = writer->L;
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "a map with a key that is no string cannot be written as JSON");
        count++;
    }
    struct member *members = lua_newuserdatauv(L, (count ? count : 1) * sizeof *members, 0);
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), i++)
        members[i].key = lua_tolstring(L, -2, &members[i].bytes);
    qsort(members, count, sizeof *members, compare_members);
    add_char(writer, '{');
    for (i = 0; i < count; i++) {
        if (i > 0)
            add_char(writer, ',');
        encode_string(writer, members[i].key, members[i].bytes);
        add_char(writer, ':');
        lua_pushlstring(L, members[i].key, members[i].bytes);
        lua_rawget(L, index);
        encode_any(writer, lua_gettop(L), depth + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    add_char(writer, '}');
}

static void encode_any(struct writer *writer, int index, unsigned depth)
{
    lua_State *L = writer->L;
    size_t bytes;
    const char *text;
    char number[FLOAT_TEXT_BYTES];
    luaL_checkstack(L, 10, "JSON");
    if (depth > DEPTH_MAX)
        luaL_error(L, "the value is nested more than %d deep", DEPTH_MAX);
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        text = lua_toboolean(L, index) ? "true" : "false";
        add(writer, text, strlen(text));
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            int length = snprintf(number, sizeof number, LUA_INTEGER_FMT, lua_tointeger(L, index));
            add(writer, number, (size_t)length);
        } else {
            encode_float(writer, lua_tonumber(L, index));
        }
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &bytes);
        encode_string(writer, text, bytes);
        break;
    case LUA_TTABLE:
        if (is_list(L, index))
            encode_list(writer, index, depth);
        else
            encode_map(writer, index, depth);
        break;
    default:
        if (!value_is_null(L, index))
            luaL_error(L, "a %s cannot be written as JSON", luaL_typename(L, index));
        add(writer, "null", 4);
    }
}

/* json.encode(value) -> text; raises for what JSON has not */
static int encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct writer *writer = lua_newuserdatauv(L, sizeof *writer, 0);
    *writer = (struct writer){ .L = L };
    close_with_function(L, writer_gc);
    encode_any(writer, 1, 0);
    lua_pushlstring(L, writer->text, writer->bytes);
    return 1;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int tree_gc(lua_State *L)
{
    json_t **tree = lua_touserdata(L, 1);
    json_decref(*tree);
    *tree = NULL;
    return 0;
}

static void push_tree(lua_State *L, json_t *tree)
{
    luaL_checkstack(L, 6, "JSON");
    switch (json_typeof(tree)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *member;
        lua_createtable(L, 0, (int)json_object_size(tree));
        json_object_foreach(tree, key, member)
        {
            lua_pushstring(L, key);
            push_tree(L, member);
            lua_rawset(L, -3);
        }
        break;
    }
    case JSON_ARRAY: {
        size_t count = json_array_size(tree);
        lua_createtable(L, (int)count, 0);
        value_mark_list(L);
        for (size_t i = 0; i < count; i++) {
            push_tree(L, json_array_get(tree, i));
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    }
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(tree), json_string_length(tree));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(tree));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(tree));
        break;
    case JSON_TRUE:
        lua_pushboolean(L, 1);
        break;
    case JSON_FALSE:
        lua_pushboolean(L, 0);
        break;
    case JSON_NULL:
        value_push_null(L);
        break;
    }
}

/* json.decode(text) -> value, or nil and a message */
static int decode(lua_State *L)
{
    size_t bytes;
    const char *text = luaL_checklstring(L, 1, &bytes);
    lua_settop(L, 1);
    json_t **tree = lua_newuserdatauv(L, sizeof(json_t *), 0);
    *tree = NULL;
    close_with_function(L, tree_gc);
    json_error_t error;
    *tree =
        json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (*tree) {
        push_tree(L, *tree);
        return 1;
    }
    luaL_pushfail(L);
    lua_pushfstring(L, "not JSON at line %d, column %d: %s", error.line, error.column, error.text);
    return 2;
}

int luaopen_sombra_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "encode", encode },
        { "decode", decode },
        { NULL, NULL },
    };
    luaL_checkversion(L);
    lua_getglobal(L, "require"); /* null and lists are the module's */
    lua_pushliteral(L, "sombra");
    lua_call(L, 1, 0);
    luaL_newlib(L, functions);
    return 1;
}
