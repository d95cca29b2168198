/* SPDX-License-Identifier: MIT */
/* sombra.iterator: the state of every `for` loop over a transaction.
 *
 * A loop over few neighbours of a node, in a transaction that only reads, has them all in its
 * iterator: no cursor is open, nothing is to be released. The others have a cursor.
 *
 * A loop gets four values: the step function (one for all kinds), the iterator, nil, and the
 * iterator again as the value to close. The engine's cursor is closed when the loop runs off the
 * end, by __close, by __gc, or with the transaction, whichever comes first; so a `break` that
 * closes nothing (Lua 5.4.4 has such a case) costs memory until the transaction ends, no more.
 */
#include "binding.h"

#include <string.h>

static const char class_name[] = ITERATOR_NAME;

enum { FEW = 16 }; /* fewer than this are kept in the iterator */

/* Of an edge, what a loop over neighbours gives. */
struct ends {
    uint64_t node, edge;
};

struct iterator;
typedef int (*step_fn)(lua_State *L, struct iterator *it);
static int step_neighbours(lua_State *L, struct iterator *it);

struct iterator {
    struct tx_handle *tx; /* kept alive by user value 1 */
    step_fn step;         /* NULL once it is at its end */
    sombra_ids *ids;      /* at most one of the three is open */
    sombra_neighbours *neighbours;
    sombra_scan *scan;
    size_t next; /* in the batch */
    size_t count;
    size_t ready;    /* neighbours before this one are given as they stand: nothing changes them */
    bool is_renewed; /* the batch before the last step */
    union {          /* live until the next call on the cursor, or its end */
        const uint64_t *ids;
        const sombra_neighbour *neighbours;
    } batch;
    sombra_name_kind name_kind;
    uint32_t name_id;  /* names: the last one given; edges: the type whose name is user value 2 */
    struct ends few[]; /* `count` of them, where no cursor is open */
};

static const char step_key = 's'; /* its address is the registry key */

void iterator_push_step(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &step_key);
}

static void release(struct iterator *it)
{
    it->step = NULL;
    it->ready = 0;
    sombra_ids_close(it->ids);
    sombra_neighbours_close(it->neighbours);
    sombra_scan_close(it->scan);
    it->ids = NULL;
    it->neighbours = NULL;
    it->scan = NULL;
}

/* Pushes an iterator at its end; `user_values` of 1 or 2. The transaction stands at `tx_index`. */
static struct iterator *push(lua_State *L, struct tx_handle *tx, int tx_index, int user_values)
{
    struct iterator *it = lua_newuserdatauv(L, sizeof *it, user_values);
    *it = (struct iterator){ .tx = tx };
    class_set(L, class_name);
    lua_pushvalue(L, tx_index);
    lua_setiuservalue(L, -2, 1);
    if (!tx_is_open(tx)) /* a finalizer may have ended it */
        tx_raise_over(L, tx);
    return it;
}

/* The iterator is on top: the four values of a loop. */
static int loop_values(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4;
}

/* The iterator of the transaction that was proved last is known by its address: it lives as long.
 */
static inline struct iterator *iterator_self(lua_State *L)
{
    const struct proof *proof = lua_touserdata(L, lua_upvalueindex(3));
    struct iterator *it = lua_touserdata(L, 1);
    if (LIKELY(it && proof->tx && proof->tx->iterator == it))
        return it;
    return self_check(L, ITERATOR_NAME);
}

/* The iterator on top belongs to the transaction at 1 and is that of its last loop. */
static void set_last(lua_State *L, struct iterator *it)
{
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 2);
    it->tx->iterator = it;
    ahead_forget(it->tx->db, it);
}

/* Any loop's next value but those that `step` gives itself. */
static int step_other(lua_State *L, struct iterator *it)
{
    if (!it->step) {
        lua_pushnil(L);
        return 1;
    }
    if (!tx_is_open(it->tx))
        return tx_raise_over(L, it->tx);
    return it->step(L, it);
}

/* The step function of all loops. Neighbours that are there already take no other way. */
static int step(lua_State *L)
{
    struct iterator *it = iterator_self(L);
    if (it->next >= it->ready || UNLIKELY(!tx_is_open(it->tx)))
        return step_other(L, it);
    const size_t at = it->next++;
    uint64_t node, edge;
    if (it->neighbours) {
        node = it->batch.neighbours[at].node;
        edge = it->batch.neighbours[at].edge;
    } else {
        node = it->few[at].node;
        edge = it->few[at].edge;
    }
    lua_pushinteger(L, (lua_Integer)node);
    lua_pushinteger(L, (lua_Integer)edge);
    return 2;
}

static int at_end(lua_State *L, struct iterator *it)
{
    release(it);
    lua_pushnil(L);
    return 1;
}

/* What the loop's body added or removed since shows: the rest of the batch is read again. */
static void drop_if_stale(lua_State *L, struct iterator *it, sombra_err err)
{
    if (err)
        error_raise(L, err);
    if (it->is_renewed)
        it->next = it->count = 0;
}

/* ---- ids --------------------------------------------------------------------------------- */

static int step_ids(lua_State *L, struct iterator *it)
{
    if (it->tx->is_write && it->next > 0)
        drop_if_stale(L, it, sombra_ids_renew(it->ids, it->next, &it->is_renewed));
    if (it->next == it->count) {
        sombra_err err = sombra_ids_next(it->ids, &it->batch.ids, &it->count);
        if (err)
            return error_raise(L, err);
        it->next = 0;
        if (it->count == 0)
            return at_end(L, it);
    }
    lua_pushinteger(L, (lua_Integer)it->batch.ids[it->next++]);
    return 1;
}

static const char *const ids_options[] = { "from", "to", "limit", "reverse", NULL };

/* False if the options ask for nothing: the engine's zero means "no limit". */
static bool read_ids_options(lua_State *L, int arg, sombra_ids_options *options)
{
    *options = (sombra_ids_options)SOMBRA_IDS_OPTIONS_INIT;
    if (!options_given(L, arg, ids_options))
        return true;
    options->from = option_count(L, arg, "from", 0, 0);
    options->to = option_count(L, arg, "to", 0, INT64_MAX);
    options->limit = option_count(L, arg, "limit", 0, UINT64_MAX);
    options->reverse = option_boolean(L, arg, "reverse", false);
    bool asks = options->limit > 0 && options->to > 0;
    if (options->limit == UINT64_MAX)
        options->limit = 0;
    return asks;
}

/* tx:nodes([label [, {from, to, limit, reverse}]]) -> iterator of ids */
static int tx_nodes(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice label = optional_name(L, 2);
    sombra_ids_options options;
    bool asks = read_ids_options(L, 3, &options);
    struct iterator *it = push(L, tx, 1, 1);
    if (asks) {
        sombra_err err = sombra_nodes_open(tx->txn, label, &options, &it->ids);
        if (err)
            return error_raise(L, err);
        it->step = step_ids;
    }
    return loop_values(L);
}

/* tx:edges([{from, to, limit, reverse}]) -> iterator of ids */
static int tx_edges(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    sombra_ids_options options;
    bool asks = read_ids_options(L, 2, &options);
    struct iterator *it = push(L, tx, 1, 1);
    if (asks) {
        sombra_err err = sombra_edges_open(tx->txn, &options, &it->ids);
        if (err)
            return error_raise(L, err);
        it->step = step_ids;
    }
    return loop_values(L);
}

/* The ids of at most n nodes with a label, from one end, as a list. */
static int list_nodes(lua_State *L, bool reverse)
{
    struct tx_handle *tx = tx_self(L);
    sombra_slice label = optional_name(L, 2);
    lua_Integer limit = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, limit >= 0, 3, "a number of nodes is at least 0");
    lua_newtable(L);
    value_mark_list(L);
    if (limit == 0)
        return 1;
    struct iterator *it = push(L, tx, 1, 1);
    sombra_ids_options options = SOMBRA_IDS_OPTIONS_INIT;
    options.limit = (uint64_t)limit;
    options.reverse = reverse;
    sombra_err err = sombra_nodes_open(tx->txn, label, &options, &it->ids);
    /* Nothing below runs a finalizer: lua_rawseti may allocate, but does not collect. */
    for (lua_Integer i = 1; !err;) {
        err = sombra_ids_next(it->ids, &it->batch.ids, &it->count);
        if (err || it->count == 0)
            break;
        for (size_t at = 0; at < it->count; at++) {
            lua_pushinteger(L, (lua_Integer)it->batch.ids[at]);
            lua_rawseti(L, -3, i++);
        }
    }
    release(it);
    if (err)
        return error_raise(L, err);
    lua_pop(L, 1);
    return 1;
}

/* tx:first([label [, n]]) -> list of the n lowest ids, lowest first */
static int tx_first(lua_State *L)
{
    return list_nodes(L, false);
}

/* tx:last([label [, n]]) -> list of the n highest ids, highest first */
static int tx_last(lua_State *L)
{
    return list_nodes(L, true);
}

/* ---- neighbours -------------------------------------------------------------------------- */

/* In a transaction that only reads the batch stays as it was read. */
static void set_batch(struct iterator *it, const sombra_neighbour *batch, size_t count)
{
    it->batch.neighbours = batch;
    it->count = count;
    it->ready = it->step == step_neighbours && !it->tx->is_write ? count : 0;
}

/* The next one; NULL at the end. */
static const sombra_neighbour *next_neighbour(lua_State *L, struct iterator *it)
{
    if (it->tx->is_write && it->next > 0)
        drop_if_stale(L, it, sombra_neighbours_renew(it->neighbours, it->next, &it->is_renewed));
    if (it->next == it->count) {
        const sombra_neighbour *batch;
        size_t count = 0;
        sombra_err err = sombra_neighbours_next(it->neighbours, &batch, &count);
        ahead_forget(it->tx->db, it);
        if (err)
            error_raise(L, err);
        it->next = 0;
        set_batch(it, batch, count);
        if (count == 0)
            return NULL;
    }
    return &it->batch.neighbours[it->next++];
}

static int step_neighbours(lua_State *L, struct iterator *it)
{
    const sombra_neighbour *at = next_neighbour(L, it);
    if (!at)
        return at_end(L, it);
    lua_pushinteger(L, (lua_Integer)at->node);
    lua_pushinteger(L, (lua_Integer)at->edge);
    return 2;
}

static int step_edges_of(lua_State *L, struct iterator *it)
{
    const sombra_neighbour *found = next_neighbour(L, it);
    if (!found)
        return at_end(L, it);
    sombra_neighbour at = *found;
    lua_pushinteger(L, (lua_Integer)at.edge);
    /* The edges come ordered by type: its name is pushed once and kept beside the iterator. */
    if (at.type != it->name_id) {
        sombra_name name;
        sombra_err err = sombra_name_by_id(it->tx->txn, SOMBRA_NAME_TYPE, at.type, &name);
        if (err)
            return error_raise(L, err);
        lua_pushlstring(L, name.text.data, name.text.bytes);
        lua_setiuservalue(L, 1, 2);
        it->name_id = at.type;
    }
    lua_getiuservalue(L, 1, 2);
    lua_pushinteger(L, (lua_Integer)at.node);
    if (at.is_out)
        lua_pushliteral(L, "out");
    else
        lua_pushliteral(L, "into");
    return 4;
}

/* What is asked of the edges of a node. */
struct neighbours_asked {
    struct tx_handle *tx;
    uint64_t node;
    sombra_neighbours_options options;
    sombra_slice types[NAMES_INLINE];
    bool asks; /* false: of none of them */
};

/* Arguments: id at 2, types at `types_arg`, options behind it. May leave a value on the stack. */
static void check_neighbours(lua_State *L, sombra_direction direction, int types_arg,
                             struct neighbours_asked *asked)
{
    static const char *const names[] = { "limit", "reverse", "other", NULL };
    sombra_neighbours_options *options = &asked->options;
    asked->tx = tx_self(L);
    asked->node = check_id(L, 2);
    asked->asks = true;
    *options = (sombra_neighbours_options)SOMBRA_NEIGHBOURS_OPTIONS_INIT;
    options->direction = direction;
    if (lua_gettop(L) < types_arg)
        return;
    lua_settop(L, types_arg + 1);
    if (options_given(L, types_arg + 1, names)) {
        options->limit = option_count(L, types_arg + 1, "limit", 0, UINT64_MAX);
        options->reverse = option_boolean(L, types_arg + 1, "reverse", false);
        options->other = option_count(L, types_arg + 1, "other", 1, 0);
        asked->asks = options->limit > 0;
        if (options->limit == UINT64_MAX)
            options->limit = 0;
    }
    options->types = check_names(L, types_arg, asked->types, &options->type_count);
    if (options->type_count == 0 && !lua_isnil(L, types_arg))
        asked->asks = false;    /* {}: none of the types, where nil is all */
    if (!tx_is_open(asked->tx)) /* a finalizer may have ended it */
        tx_raise_over(L, asked->tx);
}

/* Pushes the iterator with an open cursor. */
static struct iterator *push_neighbours(lua_State *L, const struct neighbours_asked *asked,
                                        step_fn step_one)
{
    struct iterator *it = push(L, asked->tx, 1, step_one == step_edges_of ? 2 : 1);
    if (asked->asks) {
        sombra_err err =
            sombra_neighbours_open(asked->tx->txn, asked->node, &asked->options, &it->neighbours);
        if (err)
            error_raise(L, err);
        it->step = step_one;
    }
    return it;
}

/* push_protected(tx) -> iterator */
static int push_protected(lua_State *L)
{
    (void)push(L, lua_touserdata(L, 1), 1, 1);
    return 1;
}

/* Pushes the iterator of a cursor that is open already, and closes that if memory ends. */
static struct iterator *push_opened(lua_State *L, sombra_neighbours *neighbours)
{
    lua_pushcfunction(L, push_protected);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        sombra_neighbours_close(neighbours);
        lua_error(L);
    }
    struct iterator *it = lua_touserdata(L, -1);
    it->neighbours = neighbours;
    return it;
}

/* Behind the last of them. */
static int step_few(lua_State *L, struct iterator *it)
{
    return at_end(L, it);
}

static uint64_t node_at(const struct iterator *it, size_t at)
{
    return it->step == step_few ? it->few[at].node : it->batch.neighbours[at].node;
}

bool iterator_is_at(const void *iterator, uint64_t node, size_t *out_at)
{
    const struct iterator *it = iterator;
    if ((it->step != step_few && it->step != step_neighbours) || it->next == 0)
        return false;
    *out_at = it->next - 1;
    return node_at(it, it->next - 1) == node;
}

size_t iterator_nodes(const void *iterator, size_t at, uint64_t *nodes, size_t most)
{
    const struct iterator *it = iterator;
    size_t count = it->count - at < most ? it->count - at : most;
    for (size_t i = 0; i < count; i++)
        nodes[i] = node_at(it, at + i);
    return count;
}

/* The values of a loop over so many, which nothing needs to close. */
static int loop_of_few(lua_State *L, struct tx_handle *tx, const struct ends *few, size_t count)
{
    struct iterator *it = lua_newuserdatauv(L, sizeof *it + count * sizeof *few, 1);
    *it = (struct iterator){ .tx = tx, .step = step_few, .count = count, .ready = count };
    memcpy(it->few, few, count * sizeof *few);
    class_set_known(L, PLAIN_ITERATOR);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    set_last(L, it);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, -2);
    return 2;
}

/* A loop in a transaction that only reads: what it has read stays as it is. */
static int open_unchanging(lua_State *L, const struct neighbours_asked *asked)
{
    sombra_neighbours *neighbours;
    const sombra_neighbour *batch;
    size_t count, more;
    struct ends few[FEW];
    sombra_err err =
        sombra_neighbours_open(asked->tx->txn, asked->node, &asked->options, &neighbours);
    if (err)
        return error_raise(L, err);
    err = sombra_neighbours_next(neighbours, &batch, &count);
    if (!err && count >= FEW) {
        struct iterator *it = push_opened(L, neighbours);
        it->step = step_neighbours;
        set_batch(it, batch, count);
        set_last(L, it);
        return loop_values(L);
    }
    for (size_t i = 0; !err && i < count; i++)
        few[i] = (struct ends){ batch[i].node, batch[i].edge };
    if (!err)
        err = sombra_neighbours_next(neighbours, &batch, &more);
    sombra_neighbours_close(neighbours);
    if (err)
        return error_raise(L, err);
    if (LIKELY(more == 0))
        return loop_of_few(L, asked->tx, few, count);
    struct iterator *it = push_neighbours(L, asked, step_neighbours); /* of several ranges */
    set_last(L, it);
    return loop_values(L);
}

static int open_neighbours(lua_State *L, sombra_direction direction, int types_arg,
                           step_fn step_one)
{
    struct neighbours_asked asked;
    check_neighbours(L, direction, types_arg, &asked);
    if (asked.asks && !asked.tx->is_write && step_one == step_neighbours)
        return open_unchanging(L, &asked);
    struct iterator *it = push_neighbours(L, &asked, step_one);
    set_last(L, it);
    return loop_values(L);
}

/* tx:out(id [, types [, {limit, reverse, other}]]) -> iterator of node, edge */
static int tx_out(lua_State *L)
{
    return open_neighbours(L, SOMBRA_OUT, 3, step_neighbours);
}
static int tx_into(lua_State *L)
{
    return open_neighbours(L, SOMBRA_IN, 3, step_neighbours);
}
static int tx_both(lua_State *L)
{
    return open_neighbours(L, SOMBRA_BOTH, 3, step_neighbours);
}

static sombra_direction check_direction(lua_State *L, int arg)
{
    static const char *const names[] = { "out", "into", "both", NULL };
    static const sombra_direction directions[] = { SOMBRA_OUT, SOMBRA_IN, SOMBRA_BOTH };
    return directions[check_choice(L, arg, "both", names)];
}

/* tx:edges_of(id [, direction [, types [, {limit, reverse, other}]]])
 * -> iterator of edge, type, node, "out" | "into" */
static int tx_edges_of(lua_State *L)
{
    (void)tx_self(L);
    return open_neighbours(L, check_direction(L, 3), 4, step_edges_of);
}

/* Pushes a list of nodes. */
static void push_nodes(lua_State *L, const uint64_t *nodes, size_t count)
{
    lua_createtable(L, (int)count, 0);
    class_set_known(L, KNOWN_LIST);
    for (size_t i = 0; i < count; i++) {
        lua_pushinteger(L, (lua_Integer)nodes[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* Appends the nodes of the batch and of all behind it to the list on top, and ends the iterator. */
static int append_rest(lua_State *L, struct iterator *it, lua_Integer count)
{
    if (!tx_is_open(it->tx)) /* a finalizer may have ended it, and with it the batch */
        return tx_raise_over(L, it->tx);
    sombra_err err = SOMBRA_OK;
    while (!err && it->count > 0) {
        /* Nothing here runs a finalizer. */
        for (size_t at = 0; at < it->count; at++) {
            lua_pushinteger(L, (lua_Integer)it->batch.neighbours[at].node);
            lua_rawseti(L, -2, ++count);
        }
        err = sombra_neighbours_next(it->neighbours, &it->batch.neighbours, &it->count);
    }
    release(it);
    return err ? error_raise(L, err) : 1;
}

enum { LIST_FIRST = 160 }; /* so many are counted before the list is made */

/* tx:neighbours(id [, direction [, types [, {limit, reverse, other}]]]) -> list of nodes */
static int tx_neighbours(lua_State *L)
{
    (void)tx_self(L);
    struct neighbours_asked asked;
    check_neighbours(L, check_direction(L, 3), 4, &asked);
    if (!asked.asks) {
        list_push(L);
        return 1;
    }
    uint64_t first[LIST_FIRST];
    sombra_neighbours *neighbours;
    const sombra_neighbour *batch = NULL;
    size_t count = 0, known = 0;
    sombra_err err = sombra_neighbours_open(asked.tx->txn, asked.node, &asked.options, &neighbours);
    if (err)
        return error_raise(L, err);
    while (!(err = sombra_neighbours_next(neighbours, &batch, &count)) && count > 0 &&
           count <= LIST_FIRST - known) {
        for (size_t i = 0; i < count; i++)
            first[known++] = batch[i].node;
    }
    if (err || count == 0) {
        sombra_neighbours_close(neighbours);
        if (err)
            return error_raise(L, err);
        push_nodes(L, first, known);
        return 1;
    }
    struct iterator *it = push_opened(L, neighbours);
    it->batch.neighbours = batch;
    it->count = count;
    push_nodes(L, first, known);
    return append_rest(L, it, (lua_Integer)known);
}

/* tx:degree(id [, direction [, type]]) -> number of edges */
static int tx_degree(lua_State *L)
{
    struct tx_handle *tx = tx_self(L);
    uint64_t node = check_id(L, 2);
    sombra_direction direction = check_direction(L, 3);
    uint64_t degree;
    sombra_err err = sombra_degree(tx->txn, node, direction, optional_name(L, 4), &degree);
    if (err)
        return error_raise(L, err);
    lua_pushinteger(L, (lua_Integer)degree);
    return 1;
}

/* ---- names ------------------------------------------------------------------------------- */

static int step_names(lua_State *L, struct iterator *it)
{
    sombra_txn *txn = it->tx->txn;
    for (;;) {
        sombra_name name;
        bool is_found;
        uint64_t count = 0;
        sombra_err err = sombra_name_next(txn, it->name_kind, it->name_id, &name, &is_found);
        if (!err && !is_found)
            return at_end(L, it);
        if (!err && it->name_kind == SOMBRA_NAME_LABEL)
            err = sombra_node_count(txn, name.text, &count);
        else if (!err)
            err = sombra_edge_count(txn, name.text, &count);
        if (err)
            return error_raise(L, err);
        it->name_id = name.id;
        if (count > 0) { /* names are never dropped; those that nothing carries are not shown */
            lua_pushlstring(L, name.text.data, name.text.bytes);
            lua_pushinteger(L, (lua_Integer)count);
            return 2;
        }
    }
}

static int open_names(lua_State *L, sombra_name_kind kind)
{
    struct iterator *it = push(L, tx_self(L), 1, 1);
    it->name_kind = kind;
    it->step = step_names;
    return loop_values(L);
}

/* tx:labels() -> iterator of label, number of nodes */
static int tx_labels(lua_State *L)
{
    return open_names(L, SOMBRA_NAME_LABEL);
}
/* tx:types() -> iterator of type, number of edges */
static int tx_types(lua_State *L)
{
    return open_names(L, SOMBRA_NAME_TYPE);
}

/* ---- buckets ----------------------------------------------------------------------------- */

/* The loop's own variable says where it is. */
static int step_buckets(lua_State *L, struct iterator *it)
{
    static const char internal[] = "sombra.";
    char own[SOMBRA_NAME_BYTES_MAX];
    sombra_slice after = optional_name(L, 2);
    sombra_slice name;
    sombra_bucket_id bucket;
    bool is_found;
    for (;;) {
        sombra_err err = sombra_bucket_next(it->tx->txn, after, &name, &bucket, &is_found);
        if (err)
            return error_raise(L, err);
        if (!is_found)
            return at_end(L, it);
        if (name.bytes < sizeof internal - 1 || name.bytes > sizeof own ||
            memcmp(name.data, internal, sizeof internal - 1) != 0)
            break;
        memcpy(own, name.data, name.bytes); /* the library's own: scripts do not see them */
        after = (sombra_slice){ own, name.bytes };
    }
    lua_pushlstring(L, name.data, name.bytes);
    return 1;
}

/* tx:buckets() -> iterator of names */
static int tx_buckets(lua_State *L)
{
    struct iterator *it = push(L, tx_self(L), 1, 1);
    it->step = step_buckets;
    return loop_values(L);
}

static int step_scan(lua_State *L, struct iterator *it)
{
    sombra_key key;
    sombra_slice value;
    bool is_found;
    char key_bytes[SOMBRA_KEY_BYTES_MAX];
    sombra_err err = sombra_scan_next(it->scan, &key, &value, &is_found);
    if (err)
        return error_raise(L, err);
    if (!is_found)
        return at_end(L, it);
    if (key.is_integer) {
        lua_pushinteger(L, key.integer);
        value_push(L, value);
        return 2;
    }
    /* Pushing one may run a finalizer that writes, which ends the life of the other. */
    if (key.string.bytes > sizeof key_bytes)
        return error_raise_text(L, SOMBRA_CORRUPT, "a key of a bucket is longer than keys can be");
    memcpy(key_bytes, key.string.data, key.string.bytes);
    value_push(L, value);
    lua_pushlstring(L, key_bytes, key.string.bytes);
    lua_insert(L, -2);
    return 2;
}

/* b:scan([{ge, gt, le, lt, prefix, reverse, limit}]) -> iterator of key, value */
int iterator_scan(lua_State *L)
{
    static const char *const names[] = {
        "ge", "gt", "le", "lt", "prefix", "limit", "reverse", NULL
    };
    struct bucket_handle *bucket = bucket_self(L);
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, 1);
    struct iterator *it = push(L, bucket->tx, 3, 1);
    sombra_key_range range = SOMBRA_KEY_RANGE_INIT;
    sombra_key keys[2];
    bool asks = true;
    if (options_given(L, 2, names)) {
        check_key_range(L, 2, &range, keys);
        range.limit = option_count(L, 2, "limit", 0, UINT64_MAX);
        range.reverse = option_boolean(L, 2, "reverse", false);
        asks = range.limit > 0;
        if (range.limit == UINT64_MAX)
            range.limit = 0;
    }
    if (asks) {
        sombra_err err = sombra_scan_open(bucket->tx->txn, bucket->id, &range, &it->scan);
        if (err)
            return error_raise(L, err);
        it->step = step_scan;
    }
    return loop_values(L);
}

/* ---- the class --------------------------------------------------------------------------- */

const luaL_Reg tx_iterator_methods[] = {
    { "nodes", tx_nodes },
    { "edges", tx_edges },
    { "first", tx_first },
    { "last", tx_last },
    { "out", tx_out },
    { "into", tx_into },
    { "both", tx_both },
    { "edges_of", tx_edges_of },
    { "neighbours", tx_neighbours },
    { "degree", tx_degree },
    { "labels", tx_labels },
    { "types", tx_types },
    { "buckets", tx_buckets },
    { NULL, NULL },
};

static int iterator_gc(lua_State *L)
{
    release(iterator_self(L));
    return 0;
}

static int iterator_tostring(lua_State *L)
{
    const struct iterator *it = iterator_self(L);
    lua_pushfstring(L, "%s: %s", ITERATOR_NAME,
                    !it->step            ? "at its end"
                    : tx_is_open(it->tx) ? "open"
                                         : "closed");
    return 1;
}

void iterator_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__gc", iterator_gc },
        { "__close", iterator_gc },
        { "__tostring", iterator_tostring },
        { NULL, NULL },
    };
    const luaL_Reg *const no_methods[] = { NULL };
    class_register(L, class_name, metamethods, no_methods);
    class_register_plain(L, class_name, PLAIN_ITERATOR);
    luaL_getmetatable(L, ITERATOR_NAME);
    lua_pushnil(L); /* the step function itself */
    proof_push(L);
    lua_pushcclosure(L, step, 3);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &step_key);
}
