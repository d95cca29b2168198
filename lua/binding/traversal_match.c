/* SPDX-License-Identifier: MIT */
/* The patterns of tx:match: lines such as
 *
 *     (a:Person)-[k:KNOWS]->(b:Person)<-[:LIKES|LOVES]-(c)
 *
 * become the map of nodes and the list of edges that docs/query.md describes. `where` gives
 * predicates by name, `ids` ids by name.
 */
#include "traversal.h"

#include <ctype.h>
#include <string.h>

struct reader {
    lua_State *L;
    const char *line; /* of the pattern, for messages */
    const char *at, *end;
    int nodes, edges; /* stack indexes of what is made */
    int unnamed;      /* nodes without a name so far */
};

static void fail(struct reader *reader, const char *what)
{
    luaL_error(reader->L, "pattern '%s': %s at character %d", reader->line, what,
               (int)(reader->at - reader->line) + 1);
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && isspace((unsigned char)*reader->at))
        reader->at++;
}

static bool take(struct reader *reader, const char *text)
{
    size_t bytes = strlen(text);
    skip_space(reader);
    if ((size_t)(reader->end - reader->at) < bytes || memcmp(reader->at, text, bytes) != 0)
        return false;
    reader->at += bytes;
    return true;
}

/* Pushes a name: letters, digits, _ and bytes above 127, or anything between backquotes; nothing
 * is pushed if there is none. */
static bool take_name(struct reader *reader)
{
    skip_space(reader);
    const char *from = reader->at;
    if (from < reader->end && *from == '`') {
        const char *close = memchr(from + 1, '`', (size_t)(reader->end - from - 1));
        if (!close)
            fail(reader, "missing '`'");
        lua_pushlstring(reader->L, from + 1, (size_t)(close - from - 1));
        reader->at = close + 1;
        return true;
    }
    while (reader->at < reader->end && (isalnum((unsigned char)*reader->at) || *reader->at == '_' ||
                                        (unsigned char)*reader->at >= 0x80))
        reader->at++;
    if (reader->at == from)
        return false;
    lua_pushlstring(reader->L, from, (size_t)(reader->at - from));
    return true;
}

/* "(name:Label:Label)": pushes the name; the node is in reader->nodes. */
static void take_node(struct reader *reader)
{
    lua_State *L = reader->L;
    if (!take(reader, "("))
        fail(reader, "a node '(name:Label)' expected");
    if (!take_name(reader))
        lua_pushfstring(L, "#%d", ++reader->unnamed);
    int name = lua_gettop(L);
    lua_pushvalue(L, name);
    if (lua_rawget(L, reader->nodes) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, name);
        lua_pushvalue(L, -2);
        lua_rawset(L, reader->nodes);
    }
    while (take(reader, ":")) { /* stack: name, node */
        if (lua_getfield(L, -1, "label") == LUA_TNIL) {
            lua_pop(L, 1);
            list_push(L);
            lua_pushvalue(L, -1);
            lua_setfield(L, -3, "label");
        }
        if (!take_name(reader))
            fail(reader, "a label expected");
        list_append(L);
        lua_pop(L, 1);
    }
    if (!take(reader, ")"))
        fail(reader, "')' expected");
    lua_settop(L, name);
}

/* The inside of "[name:TYPE|TYPE]": pushes the list of types and the edge's options. */
static void take_edge_inside(struct reader *reader)
{
    lua_State *L = reader->L;
    list_push(L);
    lua_newtable(L);
    if (!take(reader, "["))
        return;
    if (take_name(reader))
        lua_setfield(L, -2, "as");
    if (take(reader, ":")) {
        do {
            if (!take_name(reader))
                fail(reader, "an edge type expected");
            lua_pushvalue(L, -3);
            lua_insert(L, -2);
            list_append(L);
            lua_pop(L, 1);
        } while (take(reader, "|"));
    }
    if (!take(reader, "]"))
        fail(reader, "']' expected");
}

/* One edge behind the node whose name is on top, and the node after it, whose name replaces it.
 * False at the line's end. */
static bool take_edge(struct reader *reader)
{
    lua_State *L = reader->L;
    int left = lua_gettop(L);
    skip_space(reader);
    if (reader->at == reader->end)
        return false;
    bool is_in = take(reader, "<-");
    if (!is_in && !take(reader, "-"))
        fail(reader, "'-[...]->', '<-[...]-' or '-[...]-' expected");
    take_edge_inside(reader); /* left + 1: types, left + 2: options */
    bool is_out = take(reader, "->");
    if (!is_out && !take(reader, "-"))
        fail(reader, "'->' or '-' expected");
    if (is_in && is_out)
        fail(reader, "an edge has one direction: '-[...]-' is any");
    lua_pushstring(L, is_out || is_in ? "out" : "both");
    lua_setfield(L, left + 2, "direction");
    take_node(reader); /* left + 3 */
    list_push(L);
    lua_pushvalue(L, is_in ? left + 3 : left);
    list_append(L);
    if (lua_rawlen(L, left + 1) == 0)
        lua_pushliteral(L, "");
    else
        lua_pushvalue(L, left + 1);
    list_append(L);
    lua_pushvalue(L, is_in ? left : left + 3);
    list_append(L);
    lua_pushvalue(L, left + 2);
    list_append(L);
    lua_rawseti(L, reader->edges, (lua_Integer)lua_rawlen(L, reader->edges) + 1);
    lua_replace(L, left);
    lua_settop(L, left);
    return true;
}

static void read_line(struct reader *reader, const char *line, size_t bytes)
{
    reader->line = reader->at = line;
    reader->end = line + bytes;
    take_node(reader);
    while (take_edge(reader))
        continue;
    lua_pop(reader->L, 1);
}

/* Puts `field` (where, ids) of the options at `index`, a table by name, into nodes and edges. */
static void distribute(struct reader *reader, int index, const char *field, bool edges_too)
{
    lua_State *L = reader->L;
    lua_pushstring(L, field);
    int type = lua_rawget(L, index);
    int top = lua_gettop(L);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        luaL_error(L, "match: '%s' must be a table by name", field);
    if (type == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, top)) {
            bool is_found = false;
            lua_pushvalue(L, -2);
            if (lua_rawget(L, reader->nodes) == LUA_TTABLE) {
                lua_pushvalue(L, -2);
                lua_setfield(L, -2, field);
                is_found = true;
            }
            lua_pop(L, 1);
            lua_Integer count = edges_too ? (lua_Integer)lua_rawlen(L, reader->edges) : 0;
            for (lua_Integer i = 1; i <= count; i++) {
                lua_rawgeti(L, reader->edges, i);
                lua_rawgeti(L, -1, 4);
                lua_getfield(L, -1, "as");
                if (lua_rawequal(L, -1, -5)) {
                    lua_pushvalue(L, -4);
                    lua_setfield(L, -3, field);
                    is_found = true;
                }
                lua_pop(L, 3);
            }
            if (!is_found)
                luaL_error(L, "match: '%s' names '%s', which is not in the pattern", field,
                           luaL_tolstring(L, -2, NULL));
            lua_pop(L, 1);
        }
    }
    lua_settop(L, top - 1);
}

void match_push_pattern(lua_State *L, int index)
{
    static const char *const names[] = { "where", "ids", "distinct", NULL };
    lua_Integer count = (lua_Integer)lua_rawlen(L, index);
    luaL_argcheck(L, count > 0, index, "at least one pattern line expected");
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t bytes = 0;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &bytes) : NULL;
        if (name && !option_is_among(name, bytes, names))
            option_unknown(L, index, name, bytes, names);
        lua_pop(L, 1);
    }
    lua_newtable(L);
    int pattern = lua_gettop(L);
    lua_newtable(L);
    list_push(L);
    struct reader reader = { .L = L, .nodes = pattern + 1, .edges = pattern + 2 };
    for (lua_Integer i = 1; i <= count; i++) {
        size_t bytes;
        if (lua_rawgeti(L, index, i) != LUA_TSTRING)
            luaL_argerror(L, index, "the lines of a pattern are strings");
        const char *line = lua_tolstring(L, -1, &bytes);
        read_line(&reader, line, bytes);
        lua_pop(L, 1);
    }
    distribute(&reader, index, "where", true);
    distribute(&reader, index, "ids", false);
    if (option_push(L, index, "distinct") != LUA_TNIL)
        lua_setfield(L, pattern, "distinct");
    else
        lua_pop(L, 1);
    lua_setfield(L, pattern, "edges");
    lua_setfield(L, pattern, "nodes");
}
