/* SPDX-License-Identifier: MIT */
/* Random histories of a graph against a plain reference in memory: every call's answer is compared,
 * savepoints and aborts restore a copy of the reference, and the whole is compared and verified
 * again and again. */
#include "graph_fixture.h"

#include <inttypes.h>

enum { NODES_MAX = 400, EDGES_MAX = 1500, LABELS = 4, TYPES = 3, KEYS = 5, MARKS_MAX = 4 };

static const char *const label_names[LABELS] = { "A", "B", "C", "D" };
static const char *const type_names[TYPES] = { "T", "U", "V" };
static const char *const key_names[KEYS] = { "p", "q", "r", "s", "t" };

struct rnode {
    bool exists;
    bool labels[LABELS];
    int values[KEYS]; /* 0 = absent */
};
struct redge {
    bool exists;
    uint64_t src, dst;
    int type;
    int values[KEYS];
};
/* By id; ids are never used twice, so a slot is written once. */
struct reference {
    struct rnode nodes[NODES_MAX];
    struct redge edges[EDGES_MAX];
};

struct history {
    struct fixture *f;
    struct random random;
    struct reference now, committed, marked[MARKS_MAX];
    uint64_t marks[MARKS_MAX];
    unsigned mark_count;
    uint64_t node_next, edge_next; /* one above the highest id given out */
};

static uint64_t below(struct history *h, uint64_t bound)
{
    return random_below(&h->random, bound);
}

/* Mostly one that exists, sometimes any. */
static uint64_t some_node(struct history *h)
{
    for (int tries = 0; tries < 20; tries++) {
        uint64_t id = 1 + below(h, h->node_next);
        if (h->now.nodes[id].exists)
            return id;
    }
    return 1 + below(h, h->node_next);
}

static uint64_t some_edge(struct history *h)
{
    for (int tries = 0; tries < 20; tries++) {
        uint64_t id = 1 + below(h, h->edge_next);
        if (h->now.edges[id].exists)
            return id;
    }
    return 1 + below(h, h->edge_next);
}

/* A random property map, applied to *values as the operation does. */
static sombra_slice some_properties(struct history *h, int *values, bool replaces)
{
    sombra_value_builder *b = h->f->builder;
    sombra_slice encoded;
    if (replaces)
        memset(values, 0, KEYS * sizeof *values);
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    for (int key = KEYS - 1; key >= 0; key--) {
        uint64_t what = below(h, 4);
        if (what == 0) {
            sombra_value_push_key(b, key_names[key], 1);
            sombra_value_push_null(b);
            values[key] = 0;
        } else if (what == 1) {
            values[key] = 1 + (int)below(h, 100000);
            sombra_value_push_key(b, key_names[key], 1);
            sombra_value_push_integer(b, values[key]);
        }
    }
    sombra_value_end_map(b);
    assert_ok(sombra_value_finish(b, &encoded));
    return encoded;
}

/* ---- compare ----------------------------------------------------------------------------- */

static void compare_values(struct history *h, sombra_record *record, const int *values)
{
    uint32_t seen = 0, want = 0;
    for (;;) {
        uint32_t id;
        sombra_slice value;
        sombra_value v;
        sombra_name name;
        bool found;
        assert_ok(graph_record_next_property(record, &id, &value, &found));
        if (!found)
            break;
        assert_ok(graph_name_by_id(&h->f->txn, SOMBRA_NAME_PROPERTY, id, &name));
        assert_ok(sombra_value_decode(value, &v));
        assert_int_equal(v.as.integer, values[*(const char *)name.text.data - 'p']);
        seen++;
    }
    for (int key = 0; key < KEYS; key++)
        want += values[key] != 0;
    assert_int_equal(seen, want);
}

static void compare_node(struct history *h, uint64_t id)
{
    const struct rnode *node = &h->now.nodes[id];
    sombra_record record;
    sombra_err err = graph_node_get(&h->f->txn, id, &record);
    if (!node->exists) {
        assert_err(err, SOMBRA_NOT_FOUND);
        return;
    }
    assert_ok(err);
    compare_values(h, &record, node->values);
    for (int label = 0; label < LABELS; label++) {
        bool has;
        assert_ok(graph_node_has_label(&h->f->txn, id, text(label_names[label]), &has));
        assert_int_equal(has, node->labels[label]);
    }
}

static void compare_edge(struct history *h, uint64_t id)
{
    const struct redge *edge = &h->now.edges[id];
    struct graph_edge ends;
    sombra_record record;
    sombra_err err = graph_edge_ends(&h->f->txn, id, &ends);
    if (!edge->exists) {
        assert_err(err, SOMBRA_NOT_FOUND);
        return;
    }
    assert_ok(err);
    assert_int_equal(ends.src, edge->src);
    assert_int_equal(ends.dst, edge->dst);
    assert_ok(graph_edge_record(&h->f->txn, &ends, &record));
    compare_values(h, &record, edge->values);
}

/* Which edges of `node` a question asks for. */
static bool is_wanted(const struct redge *edge, uint64_t node, sombra_direction direction, int type)
{
    return edge->exists && (type < 0 || edge->type == type) &&
           (((direction & SOMBRA_OUT) && edge->src == node) ||
            ((direction & SOMBRA_IN) && edge->dst == node));
}

static void compare_neighbours(struct history *h, uint64_t node)
{
    static bool seen[EDGES_MAX];
    static struct graph_neighbours n;
    int type = (int)below(h, TYPES + 1) - 1;
    sombra_slice type_name = type < 0 ? NOTHING : text(type_names[type]);
    sombra_neighbours_options options = { .direction = (sombra_direction)(1 + below(h, 3)),
                                          .types = &type_name,
                                          .type_count = type >= 0,
                                          .reverse = below(h, 2),
                                          .with_properties = below(h, 2) };
    uint64_t want = 0, have = 0, degree;
    size_t count;
    memset(seen, 0, sizeof seen);
    for (uint64_t id = 1; id < h->edge_next; id++)
        want += is_wanted(&h->now.edges[id], node, options.direction, type);
    assert_ok(graph_neighbours_open(&n, &h->f->txn, node, &options));
    do {
        const sombra_neighbour *batch;
        assert_ok(graph_neighbours_next(&n, &batch, &count));
        for (size_t i = 0; i < count; i++, have++) {
            const struct redge *edge = &h->now.edges[batch[i].edge];
            assert_true(is_wanted(edge, node, options.direction, type));
            assert_int_equal(batch[i].node, batch[i].is_out ? edge->dst : edge->src);
            assert_false(seen[batch[i].edge]);
            seen[batch[i].edge] = true;
            if (options.with_properties) {
                sombra_record record;
                assert_ok(graph_record_open(batch[i].properties, false, &record));
                compare_values(h, &record, edge->values);
            }
        }
    } while (count);
    graph_neighbours_close(&n);
    graph_neighbours_release(&n);
    memset(&n, 0, sizeof n);
    assert_int_equal(have, want);
    assert_ok(graph_degree(&h->f->txn, node, options.direction, type_name, &degree));
    assert_int_equal(degree, want);
}

static void compare_counts(struct history *h)
{
    uint64_t nodes = 0, edges = 0, labels[LABELS] = { 0 }, types[TYPES] = { 0 };
    for (uint64_t id = 1; id < h->node_next; id++) {
        nodes += h->now.nodes[id].exists;
        for (int label = 0; label < LABELS; label++)
            labels[label] += h->now.nodes[id].exists && h->now.nodes[id].labels[label];
    }
    for (uint64_t id = 1; id < h->edge_next; id++) {
        edges += h->now.edges[id].exists;
        if (h->now.edges[id].exists)
            types[h->now.edges[id].type]++;
    }
    assert_int_equal(nodes_of(h->f, NULL), nodes);
    assert_int_equal(edges_of(h->f, NULL), edges);
    for (int label = 0; label < LABELS; label++)
        assert_int_equal(nodes_of(h->f, label_names[label]), labels[label]);
    for (int type = 0; type < TYPES; type++)
        assert_int_equal(edges_of(h->f, type_names[type]), types[type]);
}

static void compare_all(struct history *h)
{
    compare_counts(h);
    for (uint64_t id = 1; id < h->node_next; id++)
        compare_node(h, id);
    for (uint64_t id = 1; id < h->edge_next; id++)
        compare_edge(h, id);
    for (int i = 0; i < 20; i++)
        compare_neighbours(h, some_node(h));
    assert_sound(h->f);
}

/* ---- operations -------------------------------------------------------------------------- */

static void do_create_node(struct history *h)
{
    struct rnode node = { .exists = true };
    sombra_slice labels[2 * LABELS];
    size_t count = 0;
    sombra_node_id id;
    if (h->node_next == NODES_MAX - 1)
        return;
    for (int i = 0; i < 2 * LABELS; i++) {
        if (below(h, 4) == 0) {
            node.labels[i / 2] = true;
            labels[count++] = text(label_names[i / 2]);
        }
    }
    sombra_slice properties = some_properties(h, node.values, true);
    assert_ok(graph_node_create(&h->f->txn, labels, count, properties, &id));
    assert_int_equal(id, h->node_next);
    h->now.nodes[h->node_next++] = node;
}

static void do_change_node(struct history *h)
{
    uint64_t id = some_node(h);
    struct rnode node = h->now.nodes[id];
    enum graph_change change = below(h, 2) ? GRAPH_MERGE : GRAPH_REPLACE;
    sombra_slice properties = some_properties(h, node.values, change == GRAPH_REPLACE);
    sombra_err err = graph_node_change(&h->f->txn, id, properties, change);
    assert_err(err, node.exists ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    if (node.exists)
        h->now.nodes[id] = node;
}

static void do_label(struct history *h)
{
    uint64_t id = some_node(h);
    struct rnode *node = &h->now.nodes[id];
    int label = (int)below(h, LABELS);
    bool adds = below(h, 2), changed = false;
    sombra_slice name = text(label_names[label]);
    sombra_err err = adds ? graph_node_add_label(&h->f->txn, id, name, &changed)
                          : graph_node_remove_label(&h->f->txn, id, name, &changed);
    assert_err(err, node->exists ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    if (!node->exists)
        return;
    assert_int_equal(changed, node->labels[label] != adds);
    node->labels[label] = adds;
}

static void do_delete_node(struct history *h)
{
    uint64_t id = some_node(h), edges = 0;
    struct rnode *node = &h->now.nodes[id];
    bool detach = below(h, 3) == 0;
    for (uint64_t edge = 1; edge < h->edge_next; edge++)
        edges += is_wanted(&h->now.edges[edge], id, SOMBRA_BOTH, -1);
    sombra_err err = graph_node_delete(&h->f->txn, id, detach);
    if (!node->exists) {
        assert_err(err, SOMBRA_NOT_FOUND);
        return;
    }
    if (edges && !detach) {
        assert_err(err, SOMBRA_CONFLICT);
        return;
    }
    assert_ok(err);
    memset(node, 0, sizeof *node);
    for (uint64_t edge = 1; edge < h->edge_next; edge++) {
        if (is_wanted(&h->now.edges[edge], id, SOMBRA_BOTH, -1))
            h->now.edges[edge].exists = false;
    }
}

static void do_create_edge(struct history *h)
{
    sombra_edge_id id;
    struct redge edge = { .exists = true,
                          .src = below(h, 3) ? some_node(h) : 1, /* node 1 is a hub */
                          .dst = below(h, 10) ? some_node(h) : 0,
                          .type = (int)below(h, TYPES) };
    if (h->edge_next == EDGES_MAX - 1)
        return;
    if (edge.dst == 0)
        edge.dst = edge.src;
    struct graph_edge ends = { .src = edge.src, .dst = edge.dst };
    sombra_slice properties = some_properties(h, edge.values, true);
    sombra_err err =
        graph_edge_create(&h->f->txn, &ends, text(type_names[edge.type]), properties, &id);
    bool may = h->now.nodes[edge.src].exists && h->now.nodes[edge.dst].exists;
    assert_err(err, may ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    if (!may)
        return;
    assert_int_equal(id, h->edge_next);
    h->now.edges[h->edge_next++] = edge;
}

static void do_change_edge(struct history *h)
{
    uint64_t id = some_edge(h);
    struct redge edge = h->now.edges[id];
    enum graph_change change = below(h, 2) ? GRAPH_MERGE : GRAPH_REPLACE;
    sombra_slice properties = some_properties(h, edge.values, change == GRAPH_REPLACE);
    sombra_err err = graph_edge_change(&h->f->txn, id, properties, change);
    assert_err(err, edge.exists ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    if (edge.exists)
        h->now.edges[id] = edge;
}

static void do_delete_edge(struct history *h)
{
    uint64_t id = some_edge(h);
    sombra_err err = graph_edge_delete(&h->f->txn, id);
    assert_err(err, h->now.edges[id].exists ? SOMBRA_OK : SOMBRA_NOT_FOUND);
    h->now.edges[id].exists = false;
}

static void do_savepoint(struct history *h)
{
    if (h->mark_count == MARKS_MAX)
        return;
    assert_ok(graph_txn_savepoint(&h->f->txn, &h->marks[h->mark_count]));
    h->marked[h->mark_count++] = h->now;
}

static void do_rollback_or_release(struct history *h)
{
    if (h->mark_count == 0)
        return;
    unsigned at = (unsigned)below(h, h->mark_count);
    if (below(h, 2)) {
        assert_ok(graph_txn_rollback_to(&h->f->txn, h->marks[at]));
        h->now = h->marked[at];
        h->mark_count = at + 1;
        compare_counts(h);
    } else {
        assert_ok(graph_txn_forget(&h->f->txn, h->marks[at]));
        h->mark_count = at;
    }
}

/* After an abort ids are given out again: nobody else saw them. */
static void do_end(struct history *h, uint64_t *node_next, uint64_t *edge_next)
{
    if (below(h, 4)) {
        commit(h->f);
        h->committed = h->now;
        *node_next = h->node_next;
        *edge_next = h->edge_next;
    } else {
        rollback(h->f);
        h->now = h->committed;
        h->node_next = *node_next;
        h->edge_next = *edge_next;
    }
    h->mark_count = 0;
    begin_read(h->f);
    compare_all(h);
    rollback(h->f);
    begin_write(h->f);
}

static void test_graph__random_histories_agree_with_the_reference(void **state)
{
    static void (*const operations[])(struct history * h) = {
        do_create_node, do_create_node, do_change_node, do_change_node, do_label,
        do_label,       do_create_edge, do_create_edge, do_create_edge, do_create_edge,
        do_change_edge, do_change_edge, do_delete_edge, do_savepoint,   do_rollback_or_release,
    };
    struct history *h = calloc(1, sizeof *h);
    uint64_t node_next = 1, edge_next = 1;
    h->f = *state;
    h->node_next = h->edge_next = 1;
    random_seed(&h->random, test_seed());
    begin_write(h->f);
    for (int step = 0; step < 6000; step++) {
        if (step % 37 == 0)
            do_delete_node(h);
        else
            operations[below(h, COUNT_OF(operations))](h);
        if (step % 20 == 0)
            compare_neighbours(h, below(h, 2) ? 1 : some_node(h));
        if (step % 150 == 149)
            do_end(h, &node_next, &edge_next);
    }
    compare_all(h);
    rollback(h->f);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_graph__random_histories_agree_with_the_reference,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
