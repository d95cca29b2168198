/* SPDX-License-Identifier: MIT */
/* What readers keep of what they found by the values of an index is what the store has for their
 * version: against a plain reference, with readers of several versions open at once. */
#include "graph_index_fixture.h"
#include "graph_readers.h"

#include "graph/kept_values.h"

enum { NODES = 120, VALUES = 400, INDEXES = 3, NONE = VALUES };

/* Two of one label, two of one property. */
static const struct {
    const char *words, *label, *property;
    unsigned key;
} indexes[INDEXES] = { { "A(p)", "A", "p", 0 }, { "A(q)", "A", "q", 1 }, { "B(p)", "B", "p", 0 } };

/* By id: which value each of two properties has; nodes of odd ids have the label B as well. */
struct reference {
    sombra_node_id next;
    unsigned values[NODES][2]; /* NONE = it has none */
};

/* Different ones for different numbers; some are longer than what is kept, some are alike but for
 * their last bytes, or their length. */
static sombra_value value_at(unsigned number, char room[64])
{
    const unsigned rest = number / 4;
    switch (number % 4) {
    case 0:
        return (sombra_value){ .kind = SOMBRA_INTEGER,
                               .as.integer = (int64_t)rest - 50 + ((int64_t)(rest % 7) << 40) };
    case 1:
        return (sombra_value){ .kind = SOMBRA_FLOAT, .as.real = (double)rest + 0.5 };
    case 2:
        snprintf(room, 64, "number %u", rest);
        break;
    default:
        snprintf(room, 64, "%.*s%u", (int)(rest % 13), "xxxxxxxxxxxxxxxx", rest);
    }
    return (sombra_value){ .kind = SOMBRA_STRING, .as.string = slice_str(room) };
}

static sombra_slice map_at(struct fixture *f, const char *key, unsigned number)
{
    char room[64];
    const sombra_value value = value_at(number, room);
    if (value.kind == SOMBRA_INTEGER) {
        sombra_value_builder_reset(f->builder);
        assert_ok(sombra_value_begin_map(f->builder));
        assert_ok(sombra_value_push_key(f->builder, key, strlen(key)));
        assert_ok(sombra_value_push_integer(f->builder, value.as.integer));
        assert_ok(sombra_value_end_map(f->builder));
        sombra_slice map;
        assert_ok(sombra_value_finish(f->builder, &map));
        return map;
    }
    return value.kind == SOMBRA_FLOAT ? map_of(f, "f", key, value.as.real)
                                      : map_of(f, "s", key, room);
}

/* ---- reading ------------------------------------------------------------------------------ */

static sombra_node_id expected(const struct reference *seen, unsigned index, unsigned value)
{
    for (sombra_node_id node = 1; node < seen->next; node++) {
        if (seen->values[node][indexes[index].key] == value &&
            (node % 2 || strcmp(indexes[index].label, "B") != 0))
            return node;
    }
    return 0;
}

/* NOMEM, or what is found is what must be. */
static sombra_err find_one(struct history *h, struct graph_txn *txn, const struct reference *seen)
{
    char room[64];
    const unsigned index = (unsigned)below(h, INDEXES), number = (unsigned)below(h, VALUES);
    const sombra_value value = value_at(number, room);
    sombra_node_id node = 0;
    sombra_err err = graph_node_find_by(txn, text(indexes[index].label),
                                        text(indexes[index].property), &value, &node);
    if (err == SOMBRA_NOMEM)
        return err;
    if (err != SOMBRA_NOT_FOUND)
        assert_ok(err);
    assert_int_equal(err ? 0 : node, expected(seen, index, number));
    return SOMBRA_OK;
}

static void find_some(struct history *h, struct graph_txn *txn, const struct reference *seen)
{
    for (uint64_t left = 1 + below(h, 300); left; left--)
        assert_ok(find_one(h, txn, seen));
}

/* ---- writing ------------------------------------------------------------------------------- */

static void make_indexes(struct fixture *f)
{
    begin_write(f);
    for (unsigned i = 0; i < INDEXES; i++)
        (void)rule_new(f, SOMBRA_RULE_INDEX, indexes[i].words);
    commit(f);
}

static void write_one(struct history *h)
{
    static const char *const keys[] = { "p", "q" };
    struct graph_txn *txn = &h->f->txn;
    const unsigned key = (unsigned)below(h, 2), value = (unsigned)below(h, VALUES);
    sombra_node_id node = 1 + below(h, h->now->next);
    if (node == NODES)
        return;
    if (node == h->now->next) {
        const sombra_slice labels[] = { text("A"), text("B") };
        sombra_node_id made;
        assert_ok(graph_node_create(txn, labels, 1 + node % 2, NOTHING, &made));
        assert_int_equal(made, node);
        h->now->values[node][0] = h->now->values[node][1] = NONE;
        h->now->next++;
    }
    if (below(h, 8) == 0) {
        assert_ok(graph_node_remove_property(txn, node, text(keys[key])));
        h->now->values[node][key] = NONE;
        return;
    }
    assert_ok(graph_node_change(txn, node, map_at(h->f, keys[key], value), GRAPH_MERGE));
    h->now->values[node][key] = value;
}

/* ---- tests --------------------------------------------------------------------------------- */

static unsigned used, grown;

static void count_reader(const struct graph_txn *txn)
{
    used += txn->found.at != NULL;
    grown += txn->found.mask >= KEPT_CAPACITY_MIN;
}

/* In a small table many have one place. */
static const struct history_work work = { .reference_bytes = sizeof(struct reference),
                                          .write_odds = 30,
                                          .writes_max = 20,
                                          .end_odds = 6,
                                          .makes_tables_again = true,
                                          .write_one = write_one,
                                          .read_some = find_some,
                                          .count_reader = count_reader };

static void history_begin(struct history *h, struct fixture *f)
{
    history_init(h, &work, f);
    make_indexes(f);
    h->now->next = h->committed->next = 1;
}

static void test_kept_finds__are_those_of_the_version_that_is_read(void **state)
{
    struct history h;
    history_begin(&h, *state);
    history_run(&h);
    print_message("of readers %u had a table, %u one that grew\n", used, grown);
    history_release(&h);
}

/* What was found in the store a moment ago is found without it, until a commit. */
static void test_kept_finds__are_found_again(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    char room[64];
    const sombra_value value = value_at(2 + 4, room), other = { .kind = SOMBRA_INTEGER };
    sombra_node_id node, made = 0;
    make_indexes(f);
    for (unsigned round = 0; round < 3; round++) {
        reader_begin(f, &txn);
        for (unsigned i = 0; i < 4 * KEPT_READS_BEFORE; i++) {
            sombra_err err = graph_node_find_by(&txn, text("A"), text("p"), &other, &node);
            assert_int_equal(err, made ? SOMBRA_OK : SOMBRA_NOT_FOUND);
            assert_int_equal(made ? node : 0, made);
            /* Longer than what is kept. */
            assert_err(graph_node_find_by(&txn, text("A"), text("p"), &value, &node),
                       SOMBRA_NOT_FOUND);
        }
        assert_int_equal(txn.found.hits > 2 * KEPT_READS_BEFORE, txn.version != 0);
        txn.found.hits = 0;
        reader_end(&txn);
        begin_write(f);
        made = made ? made : node_new(f, "A");
        assert_ok(graph_node_change(&f->txn, made, map_of(f, "i", "p", 0), GRAPH_MERGE));
        commit(f);
    }
    graph_txn_release(&txn);
}

/* An index that takes the place of another does not have what that had. */
static void test_kept_finds__are_of_one_index(void **state)
{
    struct fixture *f = *state;
    struct graph_txn txn = { 0 };
    const sombra_value value = { .kind = SOMBRA_INTEGER, .as.integer = 7 };
    sombra_node_id nodes[2], node;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "A(p)");
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "B(p)");
    for (unsigned i = 0; i < 2; i++) {
        nodes[i] = node_new(f, i ? "B" : "A");
        assert_ok(graph_node_change(&f->txn, nodes[i], map_of(f, "i", "p", 7), GRAPH_MERGE));
    }
    commit(f);
    reader_begin(f, &txn);
    for (unsigned i = 0; i < 4 * KEPT_READS_BEFORE; i++) {
        assert_ok(graph_node_find_by(&txn, text(i % 2 ? "B" : "A"), text("p"), &value, &node));
        assert_int_equal(node, nodes[i % 2]);
    }
    reader_end(&txn);
    graph_txn_release(&txn);
}

static void test_kept_finds__that_get_no_memory_are_not_missed(void **state)
{
    struct fixture *f = *state;
    struct history h;
    history_begin(&h, f);
    for (unsigned i = 0; i < 20; i++)
        write_some(&h);
    for (uint64_t nth = 1; nth < 4; nth++) {
        struct graph_txn txn = { 0 };
        reader_begin(f, &txn);
        find_some(&h, &txn, h.committed); /* rules and names are known */
        mem_test_fail_at(nth, true);
        for (unsigned i = 0; i < 4 * KEPT_READS_BEFORE; i++) /* lsm takes memory to read */
            (void)find_one(&h, &txn, h.committed);
        mem_test_fail_at(0, false);
        for (unsigned i = 0; i < 20; i++)
            find_some(&h, &txn, h.committed);
        reader_end(&txn);
        graph_txn_release(&txn);
    }
    assert_int_equal(f->graph.kept_bytes, 0);
    history_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept_finds__are_those_of_the_version_that_is_read,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_finds__are_found_again, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_finds__are_of_one_index, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_kept_finds__that_get_no_memory_are_not_missed,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
