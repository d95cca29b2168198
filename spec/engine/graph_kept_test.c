/* SPDX-License-Identifier: MIT */
/* What readers keep of the values that they read is what the store has for their version: against
 * a plain reference, with readers of several versions open at once. */
#include "graph_readers.h"

#include "graph/kept_values.h"

enum { NODES = 200, KEYS = 3, VALUE_BYTES = 160, BATCH = 150 };

static const char *const key_names[KEYS] = { "p", "q", "r" };

/* Encoded; no bytes = the node has none, or there is no such node. */
struct rvalue {
    size_t bytes;
    uint8_t data[VALUE_BYTES];
};
/* By id; 0 and those above the newest are never there. */
struct reference {
    sombra_node_id next;
    bool exists[NODES];
    struct rvalue values[NODES][KEYS];
};

/* ---- reading ------------------------------------------------------------------------------ */

static void assert_value(sombra_slice have, const struct reference *want, sombra_node_id node,
                         unsigned key)
{
    const struct rvalue *value = &want->values[node][key];
    assert_int_equal(have.data != NULL, value->bytes != 0);
    assert_int_equal(have.bytes, value->bytes);
    if (value->bytes)
        assert_memory_equal(have.data, value->data, value->bytes);
}

static void read_many(struct history *h, struct graph_txn *txn, const struct reference *want)
{
    sombra_node_id nodes[BATCH];
    sombra_slice values[BATCH];
    size_t count = below(h, BATCH + 1);
    unsigned key = (unsigned)below(h, KEYS);
    for (size_t i = 0; i < count; i++)
        nodes[i] = below(h, 3) && i ? u64_min(nodes[i - 1] + 1, NODES - 1) : below(h, NODES);
    assert_ok(graph_node_property_many(txn, nodes, count, text(key_names[key]), values));
    for (size_t i = 0; i < count; i++) {
        assert_value(values[i], want, nodes[i], key);
        if (values[i].data) /* callers copy them as one */
            assert_in_range((uintptr_t)values[i].data, (uintptr_t)txn->read.data,
                            (uintptr_t)txn->read.data + txn->read.bytes - values[i].bytes);
    }
}

static void read_one(struct history *h, struct graph_txn *txn, const struct reference *want)
{
    sombra_node_id node = below(h, NODES);
    unsigned key = (unsigned)below(h, KEYS);
    sombra_slice value = NOTHING;
    sombra_err err = graph_node_property(txn, node, text(key_names[key]), &value);
    if (err != SOMBRA_NOT_FOUND)
        assert_ok(err);
    assert_value(value, want, node, key);
}

static void read_some(struct history *h, struct graph_txn *txn, const struct reference *want)
{
    for (uint64_t left = 1 + below(h, 8); left; left--) {
        if (below(h, 2))
            read_many(h, txn, want);
        else
            read_one(h, txn, want);
    }
}

/* ---- writing ------------------------------------------------------------------------------- */

/* A map of one property with any value, of the kinds that are kept and of those that are not. */
static sombra_slice any_map(struct history *h, const char *key, struct rvalue *out_value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    char many[VALUE_BYTES - 9];
    sombra_slice map;
    switch (below(h, 6)) {
    case 0:
        map = map_of(h->f, "i", key, (int)below(h, 100000));
        break;
    case 1:
        map = map_of(h->f, "f", key, (double)below(h, 1000) / 7);
        break;
    case 2:
        map = map_of(h->f, "s", key, letters + below(h, 26)); /* of 1 to 26 letters */
        break;
    case 3:
        memset(many, 'x', sizeof many);
        many[sizeof many - 1 - below(h, 10)] = 0;
        map = map_of(h->f, "s", key, many);
        break;
    case 4:
        map = map_of(h->f, "b", key, (int)below(h, 2));
        break;
    default:
        map = map_of(h->f, "l", key);
    }
    sombra_value_cursor cursor;
    sombra_slice name, value;
    bool found;
    assert_ok(value_open_map(map, &cursor));
    assert_ok(value_next_encoded(&cursor, &name, &value, &found));
    assert_true(found && value.bytes <= VALUE_BYTES);
    out_value->bytes = value.bytes;
    memcpy(out_value->data, value.data, value.bytes);
    return map;
}

static void write_one(struct history *h)
{
    struct graph_txn *txn = &h->f->txn;
    sombra_node_id node = 1 + below(h, h->now->next);
    unsigned key = (unsigned)below(h, KEYS);
    if (node == h->now->next) {
        if (node == NODES)
            return;
        assert_int_equal(node_new(h->f, NULL), node);
        h->now->next++;
        h->now->exists[node] = true;
    }
    if (!h->now->exists[node])
        return;
    switch (below(h, 8)) {
    case 0:
        assert_ok(graph_node_delete(txn, node, true));
        h->now->exists[node] = false;
        memset(h->now->values[node], 0, sizeof h->now->values[node]);
        break;
    case 1:
        assert_ok(graph_node_remove_property(txn, node, text(key_names[key])));
        h->now->values[node][key].bytes = 0;
        break;
    default: {
        struct rvalue value;
        sombra_slice map = any_map(h, key_names[key], &value);
        assert_ok(graph_node_change(txn, node, map, GRAPH_MERGE));
        h->now->values[node][key] = value;
    }
    }
}

/* ---- tests --------------------------------------------------------------------------------- */

static uint64_t used;

static void count_reader(const struct graph_txn *txn)
{
    used += txn->kept.at != NULL;
}

static const struct history_work work = { .reference_bytes = sizeof(struct reference),
                                          .write_odds = 20,
                                          .writes_max = 10,
                                          .end_odds = 6,
                                          .write_one = write_one,
                                          .read_some = read_some,
                                          .count_reader = count_reader };

static void test_kept_values__are_those_of_the_version_that_is_read(void **state)
{
    struct history h;
    history_init(&h, &work, *state);
    h.now->next = h.committed->next = 1;
    history_run(&h);
    print_message("of readers %u had a table\n", (unsigned)used);
    history_release(&h);
}

/* Nodes 1 to NODES - 1 get p = `value` in one commit. */
static void commit_all(struct fixture *f, int value)
{
    begin_write(f);
    for (sombra_node_id node = 1; node < NODES; node++) {
        bool exists;
        assert_ok(graph_node_exists(&f->txn, node, &exists));
        if (!exists)
            assert_int_equal(node_new(f, NULL), node);
        assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "p", value), GRAPH_MERGE));
    }
    commit(f);
}

/* All of them, `times` over. */
static void assert_all(struct graph_txn *txn, int value, unsigned times)
{
    for (; times; times--) {
        sombra_node_id nodes[NODES - 1];
        sombra_slice values[NODES - 1];
        for (size_t i = 0; i < NODES - 1; i++)
            nodes[i] = i + 1;
        assert_ok(graph_node_property_many(txn, nodes, NODES - 1, text("p"), values));
        for (size_t i = 0; i < NODES - 1; i++) {
            sombra_value decoded;
            assert_ok(sombra_value_decode(values[i], &decoded));
            assert_int_equal(decoded.as.integer, value);
        }
    }
}

static void test_kept_values__of_one_version_are_not_those_of_the_next(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 }, held = { 0 };
    commit_all(f, 0);
    reader_begin(f, &held);
    assert_all(&held, 0, 4);
    for (int version = 1; version < 20; version++) {
        if (version == 2) /* the next generation is the first again, and so is the one behind */
            txn.kept.generation = UINT32_MAX;
        commit_all(f, version);
        for (int again = 0; again < 3; again++) {
            reader_begin(f, &txn);
            assert_all(&txn, version, 4);
            assert_all(&held, 0, 1);
            reader_end(&txn);
        }
    }
    reader_end(&held);
    graph_txn_release(&txn);
    graph_txn_release(&held);
}

/* Their places are as far from each other as the smallest table is large. */
static void test_kept_values__are_of_one_property(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    begin_write(f);
    sombra_node_id node = node_new(f, NULL);
    for (int i = 0; i < 2 * KEPT_CAPACITY_MIN; i++) {
        char name[24];
        snprintf(name, sizeof name, "n%d", i);
        assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", name, i), GRAPH_MERGE));
    }
    commit(f);
    reader_begin(f, &txn);
    for (int i = 0; i < 4 * KEPT_CAPACITY_MIN; i++) {
        char name[24];
        sombra_slice value;
        sombra_value decoded;
        int wanted = i / 2 % KEPT_CAPACITY_MIN + i % 2 * KEPT_CAPACITY_MIN;
        snprintf(name, sizeof name, "n%d", wanted);
        assert_ok(graph_node_property(&txn, node, text(name), &value));
        assert_ok(sombra_value_decode(value, &decoded));
        assert_int_equal(decoded.as.integer, wanted);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

/* A record with lengths shows that it lacks a name by one that is behind it. */
static void test_kept_values__of_long_records_are_not_those_of_other_names(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    char many[2 * COMPACT_BYTES_MAX] = "";
    sombra_slice value;
    memset(many, 'x', sizeof many - 1);
    begin_write(f);
    sombra_node_id other = node_new(f, NULL), node = node_new(f, NULL);
    assert_ok(graph_node_change(&f->txn, other, map_of(f, "i", "p", 1), GRAPH_MERGE));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "q", 2), GRAPH_MERGE));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "s", "r", many), GRAPH_MERGE));
    commit(f);
    reader_begin(f, &txn);
    for (int i = 0; i < 2 * KEPT_READS_BEFORE; i++)
        assert_err(graph_node_property(&txn, node, text("p"), &value), SOMBRA_NOT_FOUND);
    assert_ok(graph_node_property_many(&txn, &node, 1, text("p"), &value));
    assert_null(value.data);
    reader_end(&txn);
    graph_txn_release(&txn);
}

/* Of long values between kept ones, which move while they are read. */
static void test_kept_values__lie_with_those_that_are_read(void **state)
{
    struct fixture *f = *state;
    static char longest[4096];
    sombra_node_id nodes[NODES - 1];
    sombra_slice values[NODES - 1];
    commit_all(f, 7);
    begin_write(f);
    memset(longest, 'x', sizeof longest - 1);
    for (sombra_node_id node = 2; node < NODES; node += 2)
        assert_ok(graph_node_change(&f->txn, node, map_of(f, "s", "p", longest), GRAPH_MERGE));
    commit(f);
    struct graph_txn txn = { 0 };
    reader_begin(f, &txn);
    for (unsigned i = 0; i < 2 * KEPT_READS_BEFORE; i++)
        assert_ok(graph_node_property(&txn, 1 + 2 * (i % (NODES / 2)), text("p"), &values[0]));
    buf_release(&txn.read);
    for (size_t i = 0; i < NODES - 1; i++)
        nodes[i] = i + 1;
    assert_ok(graph_node_property_many(&txn, nodes, NODES - 1, text("p"), values));
    for (size_t i = 0; i < NODES - 1; i++) {
        sombra_value decoded;
        assert_in_range((uintptr_t)values[i].data, (uintptr_t)txn.read.data,
                        (uintptr_t)txn.read.data + txn.read.bytes - values[i].bytes);
        assert_ok(sombra_value_decode(values[i], &decoded));
        assert_int_equal(decoded.kind, i % 2 ? SOMBRA_STRING : SOMBRA_INTEGER);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

static void test_kept_values__that_find_no_memory_are_not_missed(void **state)
{
    struct fixture *f = *state;
    commit_all(f, 7);
    for (uint64_t nth = 1; nth < 4; nth++) {
        struct graph_txn txn = { 0 };
        reader_begin(f, &txn);
        assert_all(&txn, 7, 1); /* its buffers have grown */
        uint64_t before = f->graph.kept_bytes;
        mem_test_fail_at(nth, true);
        assert_all(&txn, 7, 8);
        mem_test_fail_at(0, false);
        assert_true(nth > 1 || f->graph.kept_bytes == before);
        assert_all(&txn, 7, 8);
        reader_end(&txn);
        graph_txn_release(&txn);
    }
    assert_int_equal(f->graph.kept_bytes, 0);
}

static void test_kept_values__have_little_memory_all_together(void **state)
{
    enum { HANDLES = 12, NONE = 200000 };
    struct fixture *f = *state;
    static struct graph_txn txns[HANDLES];
    commit_all(f, 7);
    for (size_t i = 0; i < HANDLES; i++) {
        reader_begin(f, &txns[i]);
        for (sombra_node_id first = 1; txns[i].version && first < NONE; first += BATCH) {
            sombra_node_id nodes[BATCH];
            sombra_slice values[BATCH];
            for (size_t k = 0; k < BATCH; k++)
                nodes[k] = first + k;
            for (int again = 0; again < 2; again++) /* that it pays */
                assert_ok(graph_node_property_many(&txns[i], nodes, BATCH, text("p"), values));
            assert_true(f->graph.kept_bytes <= KEPT_BYTES_ALL);
        }
        assert_all(&txns[i], 7, 2);
        assert_true(i || !txns[i].version ||
                    (txns[i].kept.mask + 1) * sizeof(struct kept_value) == KEPT_BYTES_MAX);
        reader_end(&txns[i]);
    }
    for (size_t i = 0; i < HANDLES; i++)
        graph_txn_release(&txns[i]);
    assert_int_equal(f->graph.kept_bytes, 0);
}

/* Nothing is kept of a version that is read a few times only. */
static void read_none(struct graph_txn *txn, sombra_node_id first)
{
    sombra_node_id nodes[BATCH];
    sombra_slice values[BATCH];
    for (size_t i = 0; i < BATCH; i++)
        nodes[i] = first + i;
    assert_ok(graph_node_property_many(txn, nodes, BATCH, text("p"), values));
}

/* As long as every value is another one, or its version is; they are tried again now and then. */
static void test_kept_values__are_not_kept_where_that_does_not_pay(void **state)
{
    enum { BATCHES = 16 * KEPT_READS / BATCH };
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    unsigned on = 0;
    commit_all(f, 7);
    reader_begin(f, &txn);
    for (unsigned i = 0; i < BATCHES; i++) {
        read_none(&txn, 1 + i * BATCH);
        on += txn.kept.is_on;
        if (i % 100 == 99 && i < BATCHES / 2) {
            reader_end(&txn);
            commit_all(f, 7 + (int)i);
            reader_begin(f, &txn);
        }
    }
    assert_in_range(on, txn.version ? BATCHES / 8 : 0, BATCHES / 3);
    for (unsigned i = 0; i < (KEPT_PAUSE_MAX + 3 * KEPT_READS) / BATCH; i++)
        read_none(&txn, 1);
    assert_int_equal(txn.kept.is_on, txn.version != 0);
    assert_int_equal(txn.kept.pause, 0);
    reader_end(&txn);
    graph_txn_release(&txn);
}

static void test_kept_values__begin_with_many_reads(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    for (int version = 0; version < 10; version++) {
        commit_all(f, version);
        reader_begin(f, &txn);
        assert_all(&txn, version, 1);
        assert_null(txn.kept.at);
        reader_end(&txn);
    }
    reader_begin(f, &txn);
    assert_all(&txn, 9, 3);
    assert_int_equal(txn.kept.at != NULL, txn.version != 0);
    reader_end(&txn);
    graph_txn_release(&txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_values__are_those_of_the_version_that_is_read,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__of_one_version_are_not_those_of_the_next,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__are_of_one_property, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_kept_values__of_long_records_are_not_those_of_other_names, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__lie_with_those_that_are_read,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__that_find_no_memory_are_not_missed,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__have_little_memory_all_together,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__are_not_kept_where_that_does_not_pay,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_values__begin_with_many_reads, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
