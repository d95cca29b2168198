/* SPDX-License-Identifier: MIT */
/* sombra.prepare(fn): a function that gives the same traversals as fn, with less work.
 *
 * fn runs once, with a transaction that takes steps and nothing else, and with a place for each
 * other parameter. What it returns is a chain of encoded steps, where a place is a NaN that no
 * arithmetic makes: so it lies wherever its value will, however deep. Steps without places are kept
 * as bytes, those with places as what must be said to a builder to write them anew. Neither knows a
 * database: the engine gets the steps that fn would have made, and plans them as those.
 *
 * The function that prepare returns is a closure with the upvalues of methods of transactions, but
 * for the second, which is the struct prepared.
 */
#include "traversal.h"

#include <assert.h>
#include <string.h>

#define PLACE_NAME    "sombra.place"
#define RECORDER_NAME "sombra.recorder"
static const char place_class[] = PLACE_NAME;
static const char recorder_class[] = RECORDER_NAME;

enum { PARAMETERS_MAX = 64, STEPS_MAX = 64, ROOM_BYTES = 512, UPVALUE_PREPARED = 2 };

/* ---- places ----------------------------------------------------------------------------- */

/* Keeps the recorder alive by user value 1. */
struct place {
    const struct db_handle *recorder; /* whose builder takes it, and no other */
    unsigned number;                  /* of the parameter, from 0 */
};

static const uint64_t MARK = UINT64_C(0x7ff8706c61630000); /* a quiet NaN; kind and number follow */

static double mark_of(enum place_kind kind, unsigned number)
{
    const uint64_t bits = MARK | (uint64_t)kind << 8 | number;
    double mark;
    memcpy(&mark, &bits, sizeof mark);
    return mark;
}

static bool is_mark(double real, enum place_kind *out_kind, unsigned *out_number)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    if ((bits & ~(uint64_t)0xffff) != MARK || (bits >> 8 & 0xff) > PLACE_ROWS)
        return false;
    *out_kind = (enum place_kind)(bits >> 8 & 0xff);
    *out_number = (unsigned)(bits & 0xff);
    return true;
}

static const struct place *place_at(lua_State *L, int index)
{
    const struct place *place = lua_touserdata(L, index);
    if (!place || !lua_getmetatable(L, index))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, place_class);
    const bool is_same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_same ? place : NULL;
}

bool place_add(lua_State *L, sombra_value_builder *builder, int index, enum place_kind kind)
{
    const int type = lua_type(L, index);
    if (type == LUA_TNUMBER && !lua_isinteger(L, index)) { /* of a step that is read again */
        enum place_kind old;
        unsigned number;
        if (!is_mark(lua_tonumber(L, index), &old, &number))
            return false;
        (void)sombra_value_push_float(builder, mark_of(kind, number));
        return true;
    }
    const struct place *place = type == LUA_TUSERDATA ? place_at(L, index) : NULL;
    if (!place || place->recorder->builder != builder)
        return false;
    (void)sombra_value_push_float(builder, mark_of(kind, place->number));
    return true;
}

/* ---- what is prepared ------------------------------------------------------------------- */

enum op_kind { OP_VALUE, OP_KEY, OP_LIST, OP_MAP, OP_END_LIST, OP_END_MAP, OP_PLACE };

/* One thing that is said to a builder. */
struct op {
    enum op_kind kind;
    enum place_kind place; /* OP_PLACE */
    unsigned number;       /* OP_PLACE: of the parameter */
    sombra_value value;    /* OP_VALUE; OP_KEY: a string */
};

struct prepared_step {
    struct traversal_part part; /* its bytes are those with marks */
    const struct op *ops;
    size_t op_count; /* 0: it has no places */
};

/* User value 1: the list of the parameters' names. Steps, operations and bytes lie behind it. */
struct prepared {
    unsigned parameters;
    size_t count; /* of steps */
    struct prepared_step steps[];
};

struct reader {
    lua_State *L;
    unsigned parameters;
    uint64_t used;    /* parameters, a bit each */
    const char *step; /* its name */
    struct op *ops;   /* NULL: they are only counted */
    size_t op_count, places;
};

static void emit(struct reader *reader, const struct op *op)
{
    if (reader->ops)
        reader->ops[reader->op_count] = *op;
    reader->op_count++;
}

static bool step_is_among(const char *step, const char *const *names)
{
    return option_is_among(step, strlen(step), names);
}

static bool read_place(struct reader *reader, const sombra_value *value)
{
    static const char *const of_names[] = { "order", "select", "group", NULL };
    struct op op = { .kind = OP_PLACE };
    if (value->kind != SOMBRA_FLOAT || !is_mark(value->as.real, &op.place, &op.number) ||
        op.number >= reader->parameters)
        return false;
    if (step_is_among(reader->step, of_names))
        luaL_error(reader->L,
                   "step '%s' takes names, which are no values: no parameter can stand there",
                   reader->step);
    reader->used |= UINT64_C(1) << op.number;
    reader->places++;
    emit(reader, &op);
    return true;
}

/* Where a value stands. A list in a predicate is a predicate itself (`{"or", p, q}`), and an
 * argument may be a list: so none may stand there, or it would be one. */
enum standing {
    IN_STEP, /* or in a list of steps: a step is a list that begins with its name */
    IN_OPTIONS,
    IN_NODES, /* of a pattern: the keys are names that somebody has given them */
    IN_PREDICATE,
    IN_CONSTANT
};

/* Of a member of a map, by its key. */
static enum standing standing_in_map(const struct reader *reader, enum standing map,
                                     sombra_slice key)
{
    static const char *const nodes[] = { "nodes", NULL };
    static const char *const predicates[] = { "where", "until", "emit", "nodes", NULL };
    if (map == IN_PREDICATE || map == IN_CONSTANT)
        return IN_CONSTANT;
    if (map == IN_NODES)
        return IN_OPTIONS;
    if (strcmp(reader->step, "match") == 0 && option_is_among(key.data, key.bytes, nodes))
        return IN_NODES;
    return option_is_among(key.data, key.bytes, predicates) ? IN_PREDICATE : IN_OPTIONS;
}

/* Of the elements behind the first one of a list. */
static enum standing standing_behind(enum standing list, const sombra_value *first)
{
    static const char *const where[] = { "where", NULL };
    const bool is_where = first->kind == SOMBRA_STRING &&
                          option_is_among(first->as.string.data, first->as.string.bytes, where);
    return list == IN_STEP && is_where ? IN_PREDICATE : list;
}

static void read_value(struct reader *reader, const sombra_value *value, enum standing standing)
{
    const bool is_map = value->kind == SOMBRA_MAP;
    if (!is_map && value->kind != SOMBRA_LIST) {
        if (!read_place(reader, value))
            emit(reader, &(struct op){ .kind = OP_VALUE, .value = *value });
        else if (standing == IN_PREDICATE)
            luaL_error(reader->L,
                       "step '%s': a parameter stands for a constant in a predicate, not for a "
                       "predicate or a label",
                       reader->step);
        return;
    }
    sombra_value_cursor cursor;
    sombra_value element, key = { .kind = SOMBRA_STRING };
    bool is_found = true, is_first = true;
    emit(reader, &(struct op){ .kind = is_map ? OP_MAP : OP_LIST });
    sombra_value_enter(value, &cursor);
    for (;;) {
        sombra_err err = sombra_value_next(&cursor, &key.as.string, &element, &is_found);
        if (err)
            error_raise(reader->L, err);
        if (!is_found)
            break;
        if (is_map)
            emit(reader, &(struct op){ .kind = OP_KEY, .value = key });
        read_value(reader, &element,
                   is_map ? standing_in_map(reader, standing, key.as.string) : standing);
        if (!is_map && is_first)
            standing = standing_behind(standing, &element);
        is_first = false;
    }
    emit(reader, &(struct op){ .kind = is_map ? OP_END_MAP : OP_END_LIST });
}

/* Writes the operations that write the step to `ops`; NULL: counts them. */
static void read_step(struct reader *reader, const struct traversal_part *part, struct op *ops)
{
    sombra_value value;
    reader->ops = ops;
    reader->op_count = reader->places = 0;
    reader->step = part->name;
    sombra_err err = sombra_value_decode(part->bytes, &value);
    if (err)
        error_raise(reader->L, err);
    read_value(reader, &value, IN_STEP);
}

/* 0: the step has no places, or is none. */
static size_t count_ops(struct reader *reader, const struct traversal_part *part)
{
    if (!part->name)
        return 0;
    read_step(reader, part, NULL);
    return reader->places ? reader->op_count : 0;
}

/* The steps and bounds of the traversal in their order; how many they are. */
static size_t list_parts(lua_State *L, const struct traversal *traversal,
                         struct traversal_part parts[STEPS_MAX])
{
    size_t count = 0;
    for (const struct traversal *at = traversal; at; at = at->before)
        count += at->name || at->is_bounds;
    if (count > STEPS_MAX)
        luaL_error(L, "a prepared traversal has at most %d steps", STEPS_MAX);
    size_t left = count;
    for (const struct traversal *at = traversal; at; at = at->before) {
        if (at->name || at->is_bounds)
            parts[--left] = (struct traversal_part){ .name = at->name,
                                                     .bytes = { at->step, at->bytes },
                                                     .is_bounds = at->is_bounds };
    }
    return count;
}

static size_t aligned(size_t bytes)
{
    return (bytes + _Alignof(struct op) - 1) / _Alignof(struct op) * _Alignof(struct op);
}

/* Pushes what the traversal at `index` becomes; `used` are the parameters that stand in it. */
static void push_prepared(lua_State *L, int index, unsigned parameters, uint64_t *out_used)
{
    struct traversal_part parts[STEPS_MAX];
    size_t op_counts[STEPS_MAX], ops = 0, bytes = 0;
    struct reader reader = { .L = L, .parameters = parameters };
    const size_t count = list_parts(L, lua_touserdata(L, index), parts);
    for (size_t i = 0; i < count; i++) {
        op_counts[i] = count_ops(&reader, &parts[i]);
        ops += op_counts[i];
        bytes += aligned(parts[i].bytes.bytes);
    }
    const size_t head = aligned(sizeof(struct prepared) + count * sizeof(struct prepared_step));
    struct prepared *prepared = lua_newuserdatauv(L, head + ops * sizeof(struct op) + bytes, 1);
    struct op *op = (void *)((unsigned char *)prepared + head);
    unsigned char *copy = (unsigned char *)(op + ops);
    *prepared = (struct prepared){ .parameters = parameters, .count = count };
    for (size_t i = 0; i < count; i++) {
        struct prepared_step *step = &prepared->steps[i];
        *step = (struct prepared_step){ .part = parts[i], .ops = op, .op_count = op_counts[i] };
        memcpy(copy, parts[i].bytes.data, parts[i].bytes.bytes);
        step->part.bytes.data = copy;
        if (step->op_count)
            read_step(&reader, &step->part, op);
        copy += aligned(parts[i].bytes.bytes);
        op += step->op_count;
    }
    *out_used = reader.used;
}

/* ---- preparing -------------------------------------------------------------------------- */

static void recorder_end(struct db_handle *recorder)
{
    steps_free(recorder->steps);
    sombra_value_builder_free(recorder->builder);
    *recorder = (struct db_handle){ .db = NULL };
}

/* Pushes what the builder of the steps lies in, and the transaction that takes them. */
static struct db_handle *push_recorder(lua_State *L)
{
    struct db_handle *recorder = lua_newuserdatauv(L, sizeof *recorder, 0);
    *recorder = (struct db_handle){ .db = NULL };
    class_set(L, recorder_class);
    struct tx_handle *tx = tx_push(L, -1);
    tx->state = TX_PREPARES;
    return recorder;
}

static void push_place(lua_State *L, int recorder, unsigned number)
{
    struct place *place = lua_newuserdatauv(L, sizeof *place, 1);
    *place = (struct place){ .recorder = lua_touserdata(L, recorder), .number = number };
    class_set(L, place_class);
    lua_pushvalue(L, recorder);
    lua_setiuservalue(L, -2, 1);
}

/* The number of parameters behind the transaction. */
static unsigned check_function(lua_State *L)
{
    lua_Debug about;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_getinfo(L, ">u", &about);
    luaL_argcheck(L, !about.isvararg && about.nparams > 0, 1,
                  "a function (tx, parameter, ...) of a fixed number of parameters expected");
    luaL_argcheck(L, about.nparams <= PARAMETERS_MAX, 1, "too many parameters");
    return about.nparams - 1U;
}

/* Pushes a list of their names. */
static void push_names(lua_State *L, unsigned parameters)
{
    lua_createtable(L, (int)parameters, 0);
    for (unsigned i = 1; i <= parameters; i++) {
        lua_pushvalue(L, 1);
        const char *name = lua_getlocal(L, NULL, (int)i + 1); /* NULL: no names were kept */
        if (name)
            lua_pushstring(L, name);
        else
            lua_pushfstring(L, "#%d", (int)i + 1);
        lua_rawseti(L, -3, (lua_Integer)i);
        lua_pop(L, 1);
    }
}

/* What the function at 1 returned, on top. */
static void check_traversal(lua_State *L, const struct db_handle *recorder)
{
    const struct traversal *traversal = luaL_testudata(L, -1, TRAVERSAL_NAME);
    if (!traversal || traversal->is_body || traversal->tx->db != recorder)
        luaL_argerror(L, 1,
                      "the function must return a traversal of the transaction that it was given");
}

static void check_used(lua_State *L, unsigned parameters, uint64_t used, int names)
{
    for (unsigned i = 0; i < parameters; i++) {
        if (used >> i & 1)
            continue;
        lua_rawgeti(L, names, (lua_Integer)i + 1);
        luaL_argerror(L, 1,
                      lua_pushfstring(L, "its parameter '%s' stands nowhere in the traversal",
                                      lua_tostring(L, -1)));
    }
}

static int prepared_call(lua_State *L);

/* sombra.prepare(fn) -> function */
static int prepare(lua_State *L)
{
    enum { RECORDER = 2, TX = 3, NAMES = 4, TRAVERSAL = 5 };
    uint64_t used;
    const unsigned parameters = check_function(L);
    luaL_checkstack(L, (int)parameters + LUA_MINSTACK, "parameters");
    struct db_handle *recorder = push_recorder(L);
    push_names(L, parameters);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, TX);
    for (unsigned i = 0; i < parameters; i++)
        push_place(L, RECORDER, i);
    lua_call(L, (int)parameters + 1, 1);
    check_traversal(L, recorder);
    luaL_getmetatable(L, TX_NAME);
    push_prepared(L, TRAVERSAL, parameters, &used);
    check_used(L, parameters, used, NAMES);
    lua_pushvalue(L, NAMES);
    lua_setiuservalue(L, -2, 1);
    recorder_end(recorder);
    proof_push(L);
    lua_pushcclosure(L, prepared_call, 3);
    return 1;
}

/* ---- running ---------------------------------------------------------------------------- */

/* A value that holds no others. */
static void add_value(sombra_value_builder *builder, const sombra_value *value)
{
    switch (value->kind) {
    case SOMBRA_BOOLEAN:
        (void)sombra_value_push_boolean(builder, value->as.boolean);
        return;
    case SOMBRA_INTEGER:
        (void)sombra_value_push_integer(builder, value->as.integer);
        return;
    case SOMBRA_FLOAT:
        (void)sombra_value_push_float(builder, value->as.real);
        return;
    case SOMBRA_STRING:
        (void)sombra_value_push_string(builder, value->as.string.data, value->as.string.bytes);
        return;
    default:
        assert(value->kind == SOMBRA_NULL);
        (void)sombra_value_push_null(builder);
        return;
    }
}

/* Pushes the name of the parameter that argument `arg` is for. */
static const char *push_name(lua_State *L, int arg)
{
    lua_getiuservalue(L, lua_upvalueindex(UPVALUE_PREPARED), 1);
    lua_rawgeti(L, -1, arg - 1);
    lua_replace(L, -2);
    return lua_tostring(L, -1);
}

static void refuse(lua_State *L, int arg, const char *wanted)
{
    const char *name = push_name(L, arg);
    if (lua_isnoneornil(L, arg))
        luaL_argerror(L, arg, lua_pushfstring(L, "'%s' is missing: %s expected", name, wanted));
    luaL_argerror(
        L, arg,
        lua_pushfstring(L, "'%s': %s expected, got %s", name, wanted, luaL_typename(L, arg)));
}

/* A table of names is a condition, or options: what is given for a constant must not become one. */
static void check_constant(lua_State *L, int arg)
{
    const int type = lua_type(L, arg);
    const bool is_null = type == LUA_TUSERDATA && value_is_null(L, arg);
    const bool is_list = type == LUA_TTABLE && (value_is_list(L, arg) || lua_rawlen(L, arg) > 0);
    if (!is_null && !is_list)
        refuse(L, arg, "a number, a string, a boolean, sombra.null or a list");
}

static void add_constant(lua_State *L, sombra_value_builder *builder, int arg)
{
    sombra_value value;
    if (LIKELY(value_look(L, arg, &value))) {
        add_value(builder, &value);
    } else {
        check_constant(L, arg);
        const char *name = push_name(L, arg);
        value_add(L, builder, arg, arg, name);
        lua_pop(L, 1);
    }
}

static int64_t check_whole(lua_State *L, int arg, int index, const char *wanted)
{
    int is_integer = 0;
    const lua_Integer number =
        lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &is_integer) : 0;
    if (UNLIKELY(!is_integer || number < 0))
        refuse(L, arg, wanted);
    return number;
}

static void add_ids(lua_State *L, sombra_value_builder *builder, int arg, bool is_list)
{
    static const char wanted[] = "an id or a list of ids";
    const bool is_table = lua_type(L, arg) == LUA_TTABLE;
    if (is_list || is_table)
        (void)sombra_value_begin_list(builder);
    const lua_Integer count = is_table ? (lua_Integer)lua_rawlen(L, arg) : 0;
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, arg, i);
        if (UNLIKELY(!lua_isinteger(L, -1))) /* as the engine wants those of lists */
            refuse(L, arg, wanted);
        (void)sombra_value_push_integer(builder, check_whole(L, arg, -1, wanted));
        lua_pop(L, 1);
    }
    if (!is_table)
        (void)sombra_value_push_integer(builder, check_whole(L, arg, arg, wanted));
    if (is_list || is_table)
        (void)sombra_value_end_list(builder);
}

static void add_place(lua_State *L, sombra_value_builder *builder, const struct op *op)
{
    const int arg = (int)op->number + 2;
    if (op->place == PLACE_VALUE)
        add_constant(L, builder, arg);
    else if (op->place == PLACE_IDS || op->place == PLACE_ENDS)
        add_ids(L, builder, arg, op->place == PLACE_IDS);
    else
        (void)sombra_value_push_integer(builder,
                                        check_whole(L, arg, arg, "a number of rows, at least 0,"));
}

static void add_op(lua_State *L, sombra_value_builder *builder, const struct op *op)
{
    switch (op->kind) {
    case OP_VALUE:
        add_value(builder, &op->value);
        return;
    case OP_KEY:
        (void)sombra_value_push_key(builder, op->value.as.string.data, op->value.as.string.bytes);
        return;
    case OP_LIST:
        (void)sombra_value_begin_list(builder);
        return;
    case OP_MAP:
        (void)sombra_value_begin_map(builder);
        return;
    case OP_END_LIST:
        (void)sombra_value_end_list(builder);
        return;
    case OP_END_MAP:
        (void)sombra_value_end_map(builder);
        return;
    case OP_PLACE:
        add_place(L, builder, op);
        return;
    }
}

/* The bytes of a step with what the arguments say; they live until the next encoding. */
static sombra_slice bind_step(lua_State *L, struct db_handle *db, const struct prepared_step *step)
{
    sombra_value_builder *builder = value_begin(L, db);
    for (size_t i = 0; i < step->op_count; i++)
        add_op(L, builder, &step->ops[i]);
    return value_end(L, db);
}

/* prepared(tx, argument, ...) -> traversal */
static int prepared_call(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    const struct prepared *prepared = lua_touserdata(L, lua_upvalueindex(UPVALUE_PREPARED));
    struct traversal_part parts[STEPS_MAX];
    unsigned char room[ROOM_BYTES];
    size_t used = 0;
    const int top = (int)prepared->parameters + 1;
    if (UNLIKELY(lua_gettop(L) > top))
        luaL_argerror(L, top + 1, lua_pushfstring(L, "there are %d parameters", top - 1));
    lua_settop(L, top);
    luaL_checkstack(L, (int)prepared->count + LUA_MINSTACK, "steps");
    for (size_t i = 0; i < prepared->count; i++) {
        const struct prepared_step *step = &prepared->steps[i];
        parts[i] = step->part;
        if (step->op_count == 0)
            continue;
        sombra_slice bytes = bind_step(L, tx->db, step);
        if (LIKELY(bytes.bytes <= sizeof room - used)) {
            memcpy(room + used, bytes.data, bytes.bytes);
            parts[i].bytes = (sombra_slice){ room + used, bytes.bytes };
            used += bytes.bytes;
        } else {
            parts[i].bytes =
                (sombra_slice){ lua_pushlstring(L, bytes.data, bytes.bytes), bytes.bytes };
        }
    }
    traversal_push_chain(L, 1, parts, prepared->count);
    return 1;
}

/* ---- the classes ------------------------------------------------------------------------ */

static int recorder_gc(lua_State *L)
{
    struct db_handle *recorder = self_check(L, RECORDER_NAME);
    recorder_end(recorder);
    recorder->is_collected = true; /* a finalizer may still have its transaction */
    return 0;
}

/* A field of nothing would be nil, and its condition none. */
static int place_index(lua_State *L)
{
    return luaL_error(L, "a parameter of sombra.prepare has no fields: give each value as one");
}

void prepare_register(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg recorder_metamethods[] = { { "__gc", recorder_gc }, { NULL, NULL } };
    const luaL_Reg *const no_methods[] = { NULL };
    class_register(L, place_class, none, no_methods);
    luaL_getmetatable(L, PLACE_NAME);
    lua_pushcfunction(L, place_index);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    class_register(L, recorder_class, recorder_metamethods, no_methods);
    lua_pushcfunction(L, prepare);
    lua_setfield(L, -2, "prepare");
}
