/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"
#include "kv_model.h"

static void test_node__keeps_labels_and_properties(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    begin_write(f);
    sombra_slice labels[] = { text("Person"), text("Admin"), text("Person") };
    assert_ok(graph_node_create(&f->txn, labels, 3,
                                map_of(f, "sifblmn", "name", "Ada", "born", 1815, "score", 4.0,
                                       "active", 1, "tags", "meta", "gone"),
                                &node));
    assert_int_equal(node, 1);
    commit(f);
    begin_read(f);
    assert_string_equal(labels_text(f, node), "Person,Admin");
    /* Names get their ids as the map gives them: in byte order of the keys. */
    assert_string_equal(node_text(f, node),
                        "active=true born=1815 meta=map(0) name='Ada' score=4.00000 tags=list(0)");
    assert_sound(f);
}

static void test_node__one_property_is_read_alone(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    sombra_slice value;
    sombra_value v;
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "iii", "a", 1, "b", 2, "c", 3), &node));
    node_new(f, NULL);
    assert_ok(graph_node_property(&f->txn, node, text("b"), &value));
    assert_ok(sombra_value_decode(value, &v));
    assert_int_equal(v.as.integer, 2);
    assert_err(graph_node_property(&f->txn, node, text("zz"), &value), SOMBRA_NOT_FOUND);
    assert_err(graph_node_property(&f->txn, node + 1, text("b"), &value), SOMBRA_NOT_FOUND);
    /* Many at once: what is missing is NULL. */
    sombra_node_id nodes[] = { node + 1, node, node };
    sombra_slice values[COUNT_OF(nodes)];
    assert_ok(graph_node_property(&f->txn, node, text("b"), &value));
    uint8_t copy[64];
    assert_true(value.bytes <= sizeof copy);
    memcpy(copy, value.data, value.bytes);
    sombra_slice want = slice_of(copy, value.bytes);
    assert_ok(graph_node_property_many(&f->txn, nodes, COUNT_OF(nodes), text("b"), values));
    assert_null(values[0].data);
    assert_true(slice_equal(values[1], want) && slice_equal(values[2], want));
    assert_ok(graph_node_property_many(&f->txn, nodes, COUNT_OF(nodes), text("zz"), values));
    assert_null(values[0].data);
    assert_null(values[1].data);
    /* Several of one node: what is missing is NULL. */
    const sombra_slice names[] = { text("b"), text("zz"), text("b") }, none = NOTHING;
    assert_ok(graph_node_properties(&f->txn, node, names, COUNT_OF(names), values));
    assert_true(slice_equal(values[0], want) && slice_equal(values[2], want));
    assert_null(values[1].data);
    assert_ok(graph_node_properties(&f->txn, node, names, 0, values));
    assert_err(graph_node_properties(&f->txn, 99, names, 1, values), SOMBRA_NOT_FOUND);
    assert_err(graph_node_properties(&f->txn, node, &none, 1, values), SOMBRA_INVALID);
    assert_err(graph_node_property(&f->txn, 99, text("b"), &value), SOMBRA_NOT_FOUND);
    assert_err(graph_node_property(&f->txn, node, NOTHING, &value), SOMBRA_INVALID);
}

/* Records that begin alike, and between them others: other labels and names, too long, too short.
 */
static sombra_slice unlike_map(struct fixture *f, int i)
{
    static char longer[200];
    memset(longer, 'x', sizeof longer);
    longer[i % 199] = 0;
    switch (i % 7) {
    case 3:
        return map_of(f, "siii", "a", "t", "b", i * i, "d", 5, "e", 1);
    case 4:
        return map_of(f, "sis", "a", longer, "b", i, "c", longer);
    case 5:
        return map_of(f, "i", "b", i);
    case 6:
        return map_of(f, "ii", "a", 1, "c", i);
    default:
        return map_of(f, "sisi", "a", "text", "b", i * i * i, "c", i % 3 ? "short" : longer, "d",
                      -70000);
    }
}

static void test_node__one_property_of_many_is_that_of_each(void **state)
{
    enum { MANY = 300 };
    struct fixture *f = *state;
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    const sombra_slice labels[] = { text("L1"), text("L2"), text("L3"), text("L4"),
                                    text("L5"), text("L6"), text("L7") };
    sombra_node_id nodes[MANY];
    sombra_slice values[MANY];
    begin_write(f);
    for (int i = 0; i < MANY; i++) {
        size_t label_count = i % 10 < 8 ? 1 : (size_t)i % COUNT_OF(labels);
        assert_ok(graph_node_create(&f->txn, labels, label_count, unlike_map(f, i), &nodes[i]));
    }
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        assert_ok(graph_node_property_many(&f->txn, nodes, MANY, text(names[n]), values));
        /* Read one by one they replace each other: those that were read together are kept. */
        static uint8_t kept[MANY][256];
        for (size_t i = 0; i < MANY; i++) {
            assert_true(values[i].bytes <= sizeof kept[i]);
            if (values[i].bytes)
                memcpy(kept[i], values[i].data, values[i].bytes);
            values[i].data = kept[i];
        }
        for (size_t i = 0; i < MANY; i++) {
            sombra_slice value = { NULL, 0 };
            sombra_err err = graph_node_property(&f->txn, nodes[i], text(names[n]), &value);
            assert_true(!err || err == SOMBRA_NOT_FOUND);
            assert_true(slice_equal(values[i], value));
        }
    }
}

static void test_node__set_merges_and_null_removes(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "iii", "a", 1, "b", 2, "c", 3), &node));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "snin", "b", "x", "c", "d", 4, "never"),
                                GRAPH_MERGE));
    assert_string_equal(node_text(f, node), "a=1 b='x' d=4");
    assert_ok(graph_node_change(&f->txn, node, NOTHING, GRAPH_MERGE));
    assert_string_equal(node_text(f, node), "a=1 b='x' d=4");
    assert_err(graph_node_change(&f->txn, 99, NOTHING, GRAPH_MERGE), SOMBRA_NOT_FOUND);
    /* A name that was only ever removed is not made. */
    sombra_name name;
    assert_err(graph_name_by_text(&f->txn, SOMBRA_NAME_PROPERTY, text("never"), &name),
               SOMBRA_NOT_FOUND);
    assert_sound(f);
}

static void test_node__replace_overwrites_all_properties_and_keeps_labels(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    sombra_slice label = text("L");
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, &label, 1, map_of(f, "ii", "a", 1, "b", 2), &node));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "c", 3), GRAPH_REPLACE));
    assert_string_equal(node_text(f, node), "c=3");
    assert_ok(graph_node_change(&f->txn, node, NOTHING, GRAPH_REPLACE));
    assert_string_equal(node_text(f, node), "");
    assert_string_equal(labels_text(f, node), "L");
    assert_sound(f);
}

static void test_node__a_property_is_removed_by_name(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "ii", "a", 1, "b", 2), &node));
    assert_ok(graph_node_remove_property(&f->txn, node, text("a")));
    assert_ok(graph_node_remove_property(&f->txn, node, text("a")));
    assert_ok(graph_node_remove_property(&f->txn, node, text("unknown")));
    assert_string_equal(node_text(f, node), "b=2");
    assert_err(graph_node_remove_property(&f->txn, 99, text("a")), SOMBRA_NOT_FOUND);
}

static void test_node__properties_that_are_no_map_are_refused(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    begin_write(f);
    assert_err(graph_node_create(&f->txn, NULL, 0, slice_of("\x11\x05", 2), &node), SOMBRA_INVALID);
    assert_err(graph_node_create(&f->txn, NULL, 0, slice_of("\x51\xff", 2), &node), SOMBRA_INVALID);
    assert_int_equal(nodes_of(f, NULL), 0);
    assert_int_equal(node_new(f, NULL), 1); /* and no id was used up */
}

static void test_node__labels_come_and_go_with_their_counts(void **state)
{
    struct fixture *f = *state;
    bool changed, has;
    begin_write(f);
    sombra_node_id node = node_new(f, "B"), other = node_new(f, "B");
    assert_ok(graph_node_add_label(&f->txn, node, text("A"), &changed));
    assert_true(changed);
    assert_ok(graph_node_add_label(&f->txn, node, text("A"), &changed));
    assert_false(changed);
    assert_string_equal(labels_text(f, node), "B,A");
    assert_int_equal(nodes_of(f, "A"), 1);
    assert_int_equal(nodes_of(f, "B"), 2);
    assert_int_equal(nodes_of(f, "C"), 0);
    assert_ok(graph_node_remove_label(&f->txn, node, text("B"), &changed));
    assert_true(changed);
    assert_ok(graph_node_remove_label(&f->txn, node, text("B"), NULL));
    assert_ok(graph_node_remove_label(&f->txn, node, text("unknown"), &changed));
    assert_false(changed);
    assert_string_equal(labels_text(f, node), "A");
    assert_int_equal(nodes_of(f, "B"), 1);
    assert_ok(graph_node_has_label(&f->txn, other, text("B"), &has));
    assert_true(has);
    assert_ok(graph_node_has_label(&f->txn, node, text("B"), &has));
    assert_false(has);
    assert_err(graph_node_add_label(&f->txn, 99, text("A"), NULL), SOMBRA_NOT_FOUND);
    assert_err(graph_node_remove_label(&f->txn, 99, text("A"), NULL), SOMBRA_NOT_FOUND);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
}

static void test_node__labels_keep_properties_untouched(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "is", "a", 1, "b", "two"), &node));
    for (char label = 'p'; label > 'a'; label--) {
        char name[2] = { label, 0 };
        assert_ok(graph_node_add_label(&f->txn, node, text(name), NULL));
    }
    assert_ok(graph_node_remove_label(&f->txn, node, text("h"), NULL));
    assert_string_equal(labels_text(f, node), "p,o,n,m,l,k,j,i,g,f,e,d,c,b");
    assert_string_equal(node_text(f, node), "a=1 b='two'");
    assert_sound(f);
}

static void test_node__with_edges_is_deleted_only_with_detach(void **state)
{
    struct fixture *f = *state;
    bool exists;
    begin_write(f);
    sombra_node_id hub = node_new(f, "Hub"), other = node_new(f, NULL);
    edge_new(f, hub, "A", other);
    edge_new(f, other, "A", hub);
    edge_new(f, hub, "B", hub);
    sombra_edge_id kept = edge_new(f, other, "A", other);
    assert_err(graph_node_delete(&f->txn, hub, false), SOMBRA_CONFLICT);
    assert_non_null(strstr(sombra_err_message(), "has 3 edges; pass detach"));
    assert_int_equal(degree_of(f, hub, SOMBRA_BOTH, NULL), 3);
    assert_ok(graph_node_delete(&f->txn, hub, true));
    assert_ok(graph_node_exists(&f->txn, hub, &exists));
    assert_false(exists);
    assert_int_equal(nodes_of(f, "Hub"), 0);
    assert_int_equal(edges_of(f, NULL), 1);
    assert_int_equal(edges_of(f, "A"), 1);
    assert_int_equal(edges_of(f, "B"), 0);
    struct graph_edge ends;
    assert_ok(graph_edge_ends(&f->txn, kept, &ends));
    assert_err(graph_node_delete(&f->txn, hub, true), SOMBRA_NOT_FOUND);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
}

static void test_node__a_hub_with_many_edges_is_detached_whole(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id hub = node_new(f, NULL);
    for (int i = 0; i < 1000; i++) {
        sombra_node_id leaf = node_new(f, "Leaf");
        edge_new(f, hub, i % 3 ? "A" : "B", leaf);
        if (i % 2)
            edge_new(f, leaf, "C", hub);
        if (i % 100 == 0)
            edge_new(f, hub, "A", hub);
    }
    assert_ok(graph_node_delete(&f->txn, hub, true));
    assert_int_equal(edges_of(f, NULL), 0);
    assert_int_equal(nodes_of(f, "Leaf"), 1000);
    assert_sound(f);
}

static void test_node__ids_are_never_used_twice(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    assert_int_equal(node_new(f, NULL), 1);
    assert_int_equal(node_new(f, NULL), 2);
    commit(f);
    begin_write(f);
    assert_ok(graph_node_delete(&f->txn, 2, false));
    commit(f);
    begin_write(f);
    assert_int_equal(node_new(f, NULL), 3);
    commit(f);
}

static void test_node__ids_of_a_rolled_back_savepoint_are_not_given_again(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    begin_write(f);
    node_new(f, NULL);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    assert_int_equal(node_new(f, NULL), 2);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_int_equal(node_new(f, NULL), 3);
    commit(f);
    begin_write(f);
    assert_int_equal(node_new(f, NULL), 4);
    assert_sound(f);
}

static void test_node__writes_in_a_reader_are_refused(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    uint64_t mark;
    begin_read(f);
    assert_err(graph_node_create(&f->txn, NULL, 0, NOTHING, &node), SOMBRA_READONLY);
    assert_err(graph_node_delete(&f->txn, 1, true), SOMBRA_READONLY);
    assert_err(graph_txn_savepoint(&f->txn, &mark), SOMBRA_READONLY);
}

static uint64_t ids_sum(struct fixture *f, const char *label, sombra_ids_options options,
                        size_t *out_count, uint64_t *out_first)
{
    struct graph_ids *ids = calloc(1, sizeof *ids);
    uint64_t sum = 0, before = 0;
    *out_count = 0;
    *out_first = 0;
    assert_ok(graph_ids_open(ids, &f->txn, GRAPH_NODES, label ? text(label) : NOTHING, &options));
    for (;;) {
        const uint64_t *batch;
        size_t count;
        assert_ok(graph_ids_next(ids, &batch, &count));
        for (size_t i = 0; i < count; i++) {
            if (*out_count + i == 0)
                *out_first = batch[i];
            else
                assert_true(options.reverse ? batch[i] < before : batch[i] > before);
            before = batch[i];
            sum += batch[i];
        }
        *out_count += count;
        if (count == 0)
            break;
    }
    graph_ids_close(ids);
    free(ids);
    return sum;
}

static void test_node__ids_are_listed_by_label_range_and_limit(void **state)
{
    struct fixture *f = *state;
    size_t count;
    uint64_t first;
    begin_write(f);
    for (int i = 1; i <= 1000; i++)
        node_new(f, i % 2 ? "Odd" : "Even");
    const sombra_ids_options all = { 0 };
    assert_int_equal(ids_sum(f, NULL, all, &count, &first), 500500);
    assert_int_equal(count, 1000);
    assert_int_equal(ids_sum(f, "Odd", all, &count, &first), 250000);
    assert_int_equal(count, 500);
    const sombra_ids_options last = { .reverse = true, .limit = 3 };
    assert_int_equal(ids_sum(f, "Even", last, &count, &first), 1000 + 998 + 996);
    assert_int_equal(first, 1000);
    const sombra_ids_options middle = { .from = 126, .to = 130 };
    assert_int_equal(ids_sum(f, NULL, middle, &count, &first), 126 + 127 + 128 + 129 + 130);
    const sombra_ids_options middle_back = { .from = 126, .to = 130, .reverse = true };
    assert_int_equal(ids_sum(f, "Odd", middle_back, &count, &first), 127 + 129);
    assert_int_equal(first, 129);
    const sombra_ids_options none = { .from = 130, .to = 126 };
    assert_int_equal(ids_sum(f, NULL, none, &count, &first), 0);
    assert_int_equal(ids_sum(f, "Unknown", all, &count, &first), 0);
    const sombra_ids_options beyond = { .from = 999, .to = UINT64_MAX };
    assert_int_equal(ids_sum(f, NULL, beyond, &count, &first), 1999);
}

/* A record whose bytes came back to life as another one: lent memory is the transaction's own. */
static void test_node__a_record_outlives_writes(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    sombra_record record;
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "s", "name", "Ada"), &node));
    assert_ok(graph_node_get(&f->txn, node, &record));
    assert_ok(graph_node_change(&f->txn, node, map_of(f, "s", "name", "Bob"), GRAPH_MERGE));
    node_new(f, "X");
    assert_string_equal(record_text(f, &record), "name='Ada'");
}

static void test_node__a_call_that_failed_half_way_needs_a_rollback(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    sombra_slice label = text("L");
    sombra_node_id node = 0;
    begin_write(f);
    node_new(f, "L");
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    kv_model_fail_at(f->kv, 2, SOMBRA_IO); /* the label's entry, behind the record */
    assert_err(graph_node_create(&f->txn, &label, 1, NOTHING, &node), SOMBRA_IO);
    assert_int_equal(node, 0);
    assert_err(graph_node_create(&f->txn, &label, 1, NOTHING, &node), SOMBRA_INVALID);
    assert_non_null(strstr(sombra_err_message(), "roll it back"));
    uint64_t count;
    assert_err(graph_node_count(&f->txn, NOTHING, &count), SOMBRA_INVALID);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_int_equal(nodes_of(f, NULL), 1);
    node_new(f, "L");
    assert_sound(f);
    commit(f);
}

/* Whatever call of the store fails: the error arrives, and after the rollback nothing of it is
 * left. */
static void test_node__any_failed_call_of_the_store_is_undone(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_node_id hub = node_new(f, "Hub"), other = node_new(f, "Hub");
    edge_new(f, hub, "A", other);
    edge_new(f, other, "B", hub);
    commit(f);
    for (uint64_t nth = 1;; nth++) {
        uint64_t mark, calls;
        sombra_node_id node;
        struct graph_edge ends = { .src = hub, .dst = other };
        sombra_edge_id edge;
        begin_write(f);
        assert_ok(graph_txn_savepoint(&f->txn, &mark));
        calls = kv_model_calls(f->kv);
        kv_model_fail_at(f->kv, nth, SOMBRA_IO);
        sombra_slice labels[] = { text("Hub"), text("New") };
        sombra_err err = graph_node_create(&f->txn, labels, 2, map_of(f, "i", "p", 1), &node);
        if (!err)
            err = graph_node_add_label(&f->txn, other, text("More"), NULL);
        if (!err)
            err = graph_edge_create(&f->txn, &ends, text("C"), map_of(f, "i", "q", 1), &edge);
        if (!err)
            err = graph_edge_change(&f->txn, edge, map_of(f, "i", "r", 1), GRAPH_MERGE);
        if (!err)
            err = graph_node_delete(&f->txn, hub, true);
        bool is_past = kv_model_calls(f->kv) - calls < nth;
        kv_model_fail_at(f->kv, 0, SOMBRA_OK);
        assert_int_equal(err, is_past ? SOMBRA_OK : SOMBRA_IO);
        if (is_past) {
            assert_sound(f);
            rollback(f);
            assert_true(nth > 20);
            return;
        }
        assert_ok(graph_txn_rollback_to(&f->txn, mark));
        assert_int_equal(nodes_of(f, NULL), 2);
        assert_int_equal(nodes_of(f, "Hub"), 2);
        assert_int_equal(edges_of(f, NULL), 2);
        assert_sound(f);
        rollback(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(test_node__keeps_labels_and_properties),
        TEST(test_node__one_property_is_read_alone),
        TEST(test_node__one_property_of_many_is_that_of_each),
        TEST(test_node__set_merges_and_null_removes),
        TEST(test_node__replace_overwrites_all_properties_and_keeps_labels),
        TEST(test_node__a_property_is_removed_by_name),
        TEST(test_node__properties_that_are_no_map_are_refused),
        TEST(test_node__labels_come_and_go_with_their_counts),
        TEST(test_node__labels_keep_properties_untouched),
        TEST(test_node__with_edges_is_deleted_only_with_detach),
        TEST(test_node__a_hub_with_many_edges_is_detached_whole),
        TEST(test_node__ids_are_never_used_twice),
        TEST(test_node__ids_of_a_rolled_back_savepoint_are_not_given_again),
        TEST(test_node__writes_in_a_reader_are_refused),
        TEST(test_node__ids_are_listed_by_label_range_and_limit),
        TEST(test_node__a_record_outlives_writes),
        TEST(test_node__a_call_that_failed_half_way_needs_a_rollback),
        TEST(test_node__any_failed_call_of_the_store_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
