/* SPDX-License-Identifier: MIT */
/* Many nodes or edges at once, by rows or by columns. */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char rows_key = 'r';    /* its address is the registry key of the metatable */
static const char columns_key = 'm'; /* the same of columns */

/* ---- encoded rows ------------------------------------------------------------------------ */

static int rows_gc(lua_State *L)
{
    struct rows *rows = lua_touserdata(L, 1);
    free(rows->data);
    free(rows->items);
    free(rows->argument);
    *rows = (struct rows){ 0 };
    return 0;
}

/* Pushes zeros, to be released at the latest when the calling function ends. The metatable is kept
 * under the address `key`. */
static void *push_released(lua_State *L, size_t bytes, lua_CFunction release, const char *key)
{
    void *memory = memset(lua_newuserdatauv(L, bytes, 0), 0, bytes);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 2);
        lua_pushcfunction(L, release);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, release);
        lua_setfield(L, -2, "__close");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, key);
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return memory;
}

struct rows *rows_push(lua_State *L)
{
    return push_released(L, sizeof(struct rows), rows_gc, &rows_key);
}

static void *grow(lua_State *L, void *memory, size_t bytes)
{
    void *grown = realloc(memory, bytes);
    if (!grown)
        error_raise_text(L, SOMBRA_NOMEM, "out of memory for a batch");
    return grown;
}

struct row *rows_add(lua_State *L, struct rows *rows, sombra_slice encoded)
{
    if (encoded.bytes > rows->capacity - rows->bytes) {
        size_t capacity = (rows->capacity + encoded.bytes) * 2;
        rows->data = grow(L, rows->data, capacity);
        rows->capacity = capacity;
    }
    if (rows->count == rows->item_capacity) {
        size_t capacity = rows->item_capacity * 2 + 16;
        rows->items = grow(L, rows->items, capacity * sizeof *rows->items);
        rows->item_capacity = capacity;
    }
    struct row *row = &rows->items[rows->count++];
    *row = (struct row){ .at = rows->bytes, .bytes = encoded.bytes };
    if (encoded.bytes)
        memcpy(rows->data + rows->bytes, encoded.data, encoded.bytes);
    rows->bytes += encoded.bytes;
    return row;
}

static sombra_slice row_bytes(const struct rows *rows, const struct row *row)
{
    return (sombra_slice){ rows->data ? rows->data + row->at : NULL, row->bytes };
}

/* "[12]", for messages; made for each row, so not by printf. */
enum { ROW_NAME_BYTES = 24 };
static const char *row_name(lua_Integer number, char to[ROW_NAME_BYTES])
{
    char *at = to + ROW_NAME_BYTES - 1;
    *at = 0;
    *--at = ']';
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    *--at = '[';
    return at;
}

/* The properties at `index`, which belong to entry `number` of the list `arg`; nil is none. */
static sombra_slice encode_row(lua_State *L, struct db_handle *db, int arg, int index,
                               lua_Integer number)
{
    sombra_slice none = { NULL, 0 };
    char root[ROW_NAME_BYTES];
    if (lua_isnil(L, index))
        return none;
    if (!lua_istable(L, index))
        luaL_argerror(L, arg, lua_pushfstring(L, "[%I]: a table of properties expected", number));
    lua_pushnil(L);
    if (!lua_next(L, index))
        return none;
    bool is_map = lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 2);
    if (!is_map)
        luaL_argerror(L, arg,
                      lua_pushfstring(L, "[%I]: the names of properties are strings", number));
    return value_encode_part(L, db, arg, index, row_name(number, root));
}

/* A long list takes its time: a procedure that has had its own ends in the middle, and Ctrl-C comes
 * through. */
static inline void look_at_row(lua_State *L, const struct tx_handle *tx, size_t row)
{
    enum { LOOK_ROWS = 1024 };
    if (LIKELY(row % LOOK_ROWS))
        return;
    if (tx->is_sandboxed)
        tx_sandbox_look(L);
    else if (hook_ends(L, "=batch"))
        lua_error(L);
}

static lua_Integer check_list(lua_State *L, int arg)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    return (lua_Integer)lua_rawlen(L, arg);
}

static int push_made(lua_State *L, uint64_t first, size_t count)
{
    if (count)
        lua_pushinteger(L, (lua_Integer)first);
    else
        lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)count);
    return 2;
}

/* ---- columns ------------------------------------------------------------------------------ */

/* The values of a column, and the bytes of those that are encoded. */
struct column_memory {
    void *values;
    char *bytes;
};
struct columns {
    sombra_columns argument;
    sombra_column *items;
    struct column_memory *memory;
    size_t count, capacity;      /* of both */
    uint64_t *sources, *targets; /* of edges */
};

static void columns_release(struct columns *columns)
{
    for (size_t i = 0; i < columns->count; i++) {
        free(columns->memory[i].values);
        free(columns->memory[i].bytes);
    }
    free(columns->items);
    free(columns->memory);
    free(columns->sources);
    free(columns->targets);
    *columns = (struct columns){ 0 };
}

static int columns_gc(lua_State *L)
{
    columns_release(lua_touserdata(L, 1));
    return 0;
}

/* A column without a value yet. */
static size_t columns_add(lua_State *L, struct columns *columns, sombra_slice name)
{
    if (columns->count == columns->capacity) {
        size_t capacity = columns->capacity * 2 + 8;
        columns->items = grow(L, columns->items, capacity * sizeof *columns->items);
        columns->memory = grow(L, columns->memory, capacity * sizeof *columns->memory);
        columns->capacity = capacity;
    }
    columns->items[columns->count] = (sombra_column){ .name = name };
    columns->memory[columns->count] = (struct column_memory){ NULL, NULL };
    return columns->count++;
}

/* So many values of a column stand on the stack at once. */
enum { FILL_VALUES = 32 };

/* The kind that a value alone asks for. */
static sombra_column_kind kind_of(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return SOMBRA_COLUMN_BOOLEAN;
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? SOMBRA_COLUMN_INTEGER : SOMBRA_COLUMN_FLOAT;
    case LUA_TSTRING:
        return SOMBRA_COLUMN_STRING;
    default:
        return SOMBRA_COLUMN_ENCODED;
    }
}

/* The values on the stack from `at` on, behind `from` that are there; false if one is of another
 * kind. Their types are those of the kind. */
static bool take_values(lua_State *L, int at, int count, const sombra_column *column, void *values,
                        size_t from)
{
    if (column->kind == SOMBRA_COLUMN_STRING) {
        sombra_slice *strings = (sombra_slice *)values + from;
        for (int i = 0; i < count; i++)
            strings[i].data = lua_tolstring(L, at + i, &strings[i].bytes);
    } else if (column->kind == SOMBRA_COLUMN_INTEGER) {
        int64_t *integers = (int64_t *)values + from;
        for (int i = 0; i < count; i++) {
            if (!lua_isinteger(L, at + i))
                return false;
            integers[i] = lua_tointeger(L, at + i);
        }
    } else if (column->kind == SOMBRA_COLUMN_FLOAT) {
        double *floats = (double *)values + from;
        for (int i = 0; i < count; i++) {
            if (lua_isinteger(L, at + i))
                return false;
            floats[i] = lua_tonumber(L, at + i);
        }
    } else {
        bool *booleans = (bool *)values + from;
        for (int i = 0; i < count; i++)
            booleans[i] = lua_toboolean(L, at + i);
    }
    return true;
}

/* The list at `index` as an array of the kind of its first value; false if not all are of it. The
 * strings are Lua's own: the list keeps them, and no Lua code runs until the engine has them. */
static bool fill_alike(lua_State *L, const struct tx_handle *tx, int index, sombra_column *column,
                       void *values, size_t count)
{
    int top = lua_gettop(L);
    int type = lua_rawgeti(L, index, 1);
    bool is_alike = true;
    column->kind = kind_of(L, -1);
    lua_settop(L, top);
    if (column->kind == SOMBRA_COLUMN_ENCODED)
        return count == 0;
    for (size_t from = 0; is_alike && from < count; from += FILL_VALUES) {
        int more = count - from < FILL_VALUES ? (int)(count - from) : FILL_VALUES;
        look_at_row(L, tx, from);
        for (int i = 0; is_alike && i < more; i++)
            is_alike = lua_rawgeti(L, index, (lua_Integer)from + i + 1) == type;
        is_alike = is_alike && take_values(L, top + 1, more, column, values, from);
        lua_settop(L, top);
    }
    return is_alike;
}

/* Values of any kinds, encoded one by one; of sombra.null nothing is there. */
static void fill_encoded(lua_State *L, const struct tx_handle *tx, int arg, int index,
                         const sombra_column *column, struct column_memory *memory, size_t count)
{
    char root[80];
    size_t used = 0, capacity = 0;
    sombra_slice *slices = memory->values;
    for (size_t i = 0; i < count; i++) {
        look_at_row(L, tx, i);
        lua_rawgeti(L, index, (lua_Integer)(i + 1));
        int value = lua_gettop(L);
        bool is_null = lua_type(L, value) == LUA_TUSERDATA && value_is_null(L, value);
        sombra_slice encoded = { NULL, 0 };
        if (!is_null) {
            snprintf(root, sizeof root, "%.*s[%zu]",
                     (int)(column->name.bytes < 40 ? column->name.bytes : 40),
                     (const char *)column->name.data, i + 1);
            encoded = value_encode_element(L, tx->db, arg, value, root);
        }
        if (encoded.bytes > capacity - used) {
            capacity = (capacity + encoded.bytes) * 2;
            memory->bytes = grow(L, memory->bytes, capacity);
        }
        if (encoded.bytes)
            memcpy(memory->bytes + used, encoded.data, encoded.bytes);
        used += encoded.bytes;
        slices[i].bytes = encoded.bytes;
        lua_pop(L, 1);
    }
    for (size_t i = 0, at = 0; i < count; at += slices[i++].bytes) /* they do not move any more */
        slices[i].data = slices[i].bytes ? memory->bytes + at : NULL;
}

/* The list on top of the stack, as the column `name`. */
static void column_read(lua_State *L, const struct tx_handle *tx, int arg, struct columns *columns,
                        sombra_slice name)
{
    size_t count = columns->argument.count;
    int index = lua_gettop(L);
    size_t at = columns_add(L, columns, name);
    sombra_column *column = &columns->items[at];
    struct column_memory *memory = &columns->memory[at];
    memory->values = grow(L, NULL, (count + 1) * sizeof(sombra_slice)); /* the widest kind */
    if (!fill_alike(L, tx, index, column, memory->values, count)) {
        column->kind = SOMBRA_COLUMN_ENCODED;
        fill_encoded(L, tx, arg, index, column, memory, count);
    }
    column->as.encoded = memory->values;
}

/* The table `arg` of lists by the names of properties; all of them have `count` values, of nodes as
 * many as the first one. */
static void columns_read(lua_State *L, const struct tx_handle *tx, int arg, struct columns *columns,
                         lua_Integer count)
{
    luaL_checkstack(L, 4 + FILL_VALUES, "columns");
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        sombra_slice name = { NULL, 0 };
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_argerror(L, arg, "columns: the names of properties are strings");
        name.data = lua_tolstring(L, -2, &name.bytes);
        if (!lua_istable(L, -1))
            luaL_argerror(L, arg, lua_pushfstring(L, "%s: a list of values expected", name.data));
        lua_Integer values = (lua_Integer)lua_rawlen(L, -1);
        if (count < 0)
            count = values;
        if (values != count)
            luaL_argerror(L, arg,
                          lua_pushfstring(L, "%s: a list of %I values, where %I belong", name.data,
                                          values, count));
        columns->argument.count = (size_t)count;
        column_read(L, tx, arg, columns, name);
        lua_pop(L, 1);
    }
    columns->argument.columns = columns->items;
    columns->argument.column_count = columns->count;
}

static struct columns *columns_push(lua_State *L)
{
    return push_released(L, sizeof(struct columns), columns_gc, &columns_key);
}

/* A table of columns, and not a list of rows? */
static bool is_columns(lua_State *L, int arg)
{
    lua_pushnil(L);
    if (!lua_next(L, arg))
        return false;
    bool is_named = lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 2);
    return is_named;
}

/* ---- rows that are columns ----------------------------------------------------------------- */

/* So many properties at most. */
enum { ALIKE_COLUMNS_MAX = 32 };

/* The value on top of the stack as number `row` of the column; false if it is of another kind. */
static bool take_value(lua_State *L, const sombra_column *column, void *values, size_t row)
{
    return kind_of(L, -1) == column->kind && take_values(L, lua_gettop(L), 1, column, values, row);
}

/* A column for each property of the row at `index`; false if one cannot be. */
static bool alike_begin(lua_State *L, int index, struct columns *columns)
{
    size_t count = columns->argument.count;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        sombra_slice name = { NULL, 0 };
        sombra_column_kind kind = kind_of(L, -1);
        if (lua_type(L, -2) == LUA_TSTRING)
            name.data = lua_tolstring(L, -2, &name.bytes);
        if (kind == SOMBRA_COLUMN_ENCODED || columns->count == ALIKE_COLUMNS_MAX ||
            name.bytes == 0 || name.bytes > SOMBRA_NAME_BYTES_MAX)
            return false;
        size_t at = columns_add(L, columns, name);
        columns->memory[at].values = grow(L, NULL, count * sizeof(sombra_slice));
        columns->items[at].kind = kind;
        columns->items[at].as.encoded = columns->memory[at].values;
        lua_pop(L, 1);
    }
    return columns->count > 0;
}

/* The column of a name, most often at `guess`. Equal names are the same string of Lua's, but for
 * long ones. */
static size_t alike_find(const struct columns *columns, const char *name, size_t guess)
{
    if (LIKELY(guess < columns->count && columns->items[guess].name.data == name))
        return guess;
    size_t at = 0;
    while (at < columns->count && columns->items[at].name.data != name)
        at++;
    return at;
}

static bool alike_add(lua_State *L, int index, struct columns *columns, size_t row)
{
    size_t seen = 0;
    lua_pushnil(L);
    for (; lua_next(L, index); seen++) {
        size_t at = columns->count;
        if (LIKELY(lua_type(L, -2) == LUA_TSTRING))
            at = alike_find(columns, lua_tostring(L, -2), seen);
        if (at == columns->count ||
            !take_value(L, &columns->items[at], columns->memory[at].values, row))
            return false;
        lua_pop(L, 1);
    }
    return seen == columns->count;
}

static int name_order(const void *a, const void *b)
{
    const sombra_slice *left = &((const sombra_column *)a)->name;
    const sombra_slice *right = &((const sombra_column *)b)->name;
    size_t bytes = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = memcmp(left->data, right->data, bytes);
    return order ? order : (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

/* The rows of the list `arg` as columns, which takes no map for each; false if they have not the
 * same properties, each of one kind. Then nothing is said: rows may be what these are not. The
 * strings are Lua's own. */
static bool rows_alike(lua_State *L, const struct tx_handle *tx, int arg, struct columns *columns,
                       size_t count)
{
    int top = lua_gettop(L);
    bool is_alike = count > 0 && lua_rawgeti(L, arg, 1) == LUA_TTABLE;
    columns->argument.count = count;
    is_alike = is_alike && alike_begin(L, top + 1, columns);
    lua_settop(L, top);
    for (size_t row = 0; is_alike && row < count; row++) {
        look_at_row(L, tx, row);
        is_alike = lua_rawgeti(L, arg, (lua_Integer)row + 1) == LUA_TTABLE &&
                   alike_add(L, top + 1, columns, row);
        lua_settop(L, top);
    }
    if (!is_alike) {
        columns_release(columns);
        return false;
    }
    /* New names get their ids in this order, as from maps. */
    qsort(columns->items, columns->count, sizeof *columns->items, name_order);
    columns->argument.columns = columns->items;
    columns->argument.column_count = columns->count;
    return true;
}

/* The ids of the list `arg`, into *out, which the columns release. */
static void ids_read(lua_State *L, const struct tx_handle *tx, int arg, size_t count,
                     uint64_t **out)
{
    uint64_t *ids = *out = grow(L, NULL, (count + 1) * sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        int is_integer = 0;
        look_at_row(L, tx, i);
        lua_rawgeti(L, arg, (lua_Integer)(i + 1));
        lua_Integer id = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
        if (!is_integer || id < 0)
            luaL_argerror(L, arg,
                          lua_pushfstring(L, "[%I]: an id is an integer of at least 1",
                                          (lua_Integer)(i + 1)));
        ids[i] = (uint64_t)id;
        lua_pop(L, 1);
    }
}

/* tx:create_many(labels, {name = list of values, ...}) -> first id, count */
static int create_columns(lua_State *L, struct tx_handle *tx, const struct columns *columns,
                          const sombra_slice *labels, size_t label_count)
{
    sombra_node_id first;
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err =
        sombra_node_create_columns(tx->txn, labels, label_count, &columns->argument, &first);
    watch_end(&watch);
    return err ? tx_raise(L, tx, err) : push_made(L, first, columns->argument.count);
}

/* tx:link_many(type, sources, targets [, {name = list of values, ...}]) -> first id, count */
static int link_columns(lua_State *L, sombra_slice type)
{
    lua_Integer count = check_list(L, 3);
    if (check_list(L, 4) != count)
        luaL_argerror(L, 4,
                      lua_pushfstring(L, "a list of %I ids, where %I belong",
                                      (lua_Integer)lua_rawlen(L, 4), count));
    if (!lua_isnil(L, 5))
        luaL_checktype(L, 5, LUA_TTABLE);
    struct columns *columns = columns_push(L);
    struct tx_handle *tx = tx_self(L); /* a finalizer may have ended it */
    columns->argument.count = (size_t)count;
    ids_read(L, tx, 3, (size_t)count, &columns->sources);
    ids_read(L, tx, 4, (size_t)count, &columns->targets);
    if (!lua_isnil(L, 5))
        columns_read(L, tx, 5, columns, count);
    sombra_edge_id first;
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err = sombra_edge_create_columns(tx->txn, type, columns->sources, columns->targets,
                                                &columns->argument, &first);
    watch_end(&watch);
    return err ? tx_raise(L, tx, err) : push_made(L, first, (size_t)count);
}

/* ---- methods ------------------------------------------------------------------------------ */

/* tx:create_many(labels, list of props) -> first id, count */
int tx_create_many(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice inlined[NAMES_INLINE];
    size_t label_count;
    lua_settop(L, 3);
    lua_Integer count = check_list(L, 3);
    const sombra_slice *labels = check_names(L, 2, inlined, &label_count);
    struct columns *columns = columns_push(L);
    tx = tx_self(L); /* a finalizer may have ended it */
    if (is_columns(L, 3))
        columns_read(L, tx, 3, columns, -1);
    if (columns->argument.columns || rows_alike(L, tx, 3, columns, (size_t)count))
        return create_columns(L, tx, columns, labels, label_count);
    struct rows *rows = rows_push(L);
    tx = tx_self(L); /* a finalizer may have ended it */
    for (lua_Integer i = 1; i <= count; i++) {
        look_at_row(L, tx, (size_t)i);
        lua_rawgeti(L, 3, i);
        (void)rows_add(L, rows, encode_row(L, tx->db, 3, lua_gettop(L), i));
        lua_pop(L, 1);
    }
    sombra_slice *properties = grow(L, NULL, (rows->count + 1) * sizeof *properties);
    rows->argument = properties;
    for (size_t i = 0; i < rows->count; i++)
        properties[i] = row_bytes(rows, &rows->items[i]);
    sombra_node_id first;
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err =
        sombra_node_create_many(tx->txn, labels, label_count, properties, rows->count, &first);
    watch_end(&watch);
    return err ? tx_raise(L, tx, err) : push_made(L, first, rows->count);
}

static uint64_t row_id(lua_State *L, int row, int field, lua_Integer number)
{
    int is_integer = 0;
    lua_rawgeti(L, row, field);
    lua_Integer id = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
    if (!is_integer || id < 0)
        luaL_argerror(
            L, 3, lua_pushfstring(L, "[%I][%d]: an id is an integer of at least 1", number, field));
    lua_pop(L, 1);
    return (uint64_t)id;
}

/* tx:link_many(type, list of {src, dst [, props]}) -> first id, count */
int tx_link_many(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    lua_settop(L, 5);
    sombra_slice type = check_name(L, 2);
    if (!lua_isnil(L, 4))
        return link_columns(L, type);
    luaL_argcheck(L, lua_isnil(L, 5), 5, "columns belong to a list of sources and one of targets");
    lua_Integer count = check_list(L, 3);
    struct rows *rows = rows_push(L);
    tx = tx_self(L); /* a finalizer may have ended it */
    for (lua_Integer i = 1; i <= count; i++) {
        look_at_row(L, tx, (size_t)i);
        if (lua_rawgeti(L, 3, i) != LUA_TTABLE)
            luaL_argerror(L, 3, lua_pushfstring(L, "[%I]: {src, dst, props} expected", i));
        int at = lua_gettop(L);
        uint64_t src = row_id(L, at, 1, i), dst = row_id(L, at, 2, i);
        lua_rawgeti(L, at, 3);
        struct row *row = rows_add(L, rows, encode_row(L, tx->db, 3, at + 1, i));
        row->src = src;
        row->dst = dst;
        lua_settop(L, at - 1);
    }
    sombra_new_edge *edges = grow(L, NULL, (rows->count + 1) * sizeof *edges);
    rows->argument = edges;
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->items[i];
        edges[i] = (sombra_new_edge){ row->src, row->dst, row_bytes(rows, row) };
    }
    sombra_edge_id first;
    struct watch watch;
    watch_begin(L, tx, &watch);
    sombra_err err = sombra_edge_create_many(tx->txn, type, edges, rows->count, &first);
    watch_end(&watch);
    return err ? tx_raise(L, tx, err) : push_made(L, first, rows->count);
}
