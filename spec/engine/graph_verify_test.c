/* SPDX-License-Identifier: MIT */
/* Each kind of damage is made with the store's own calls, and must be found. */
#include "graph_fixture.h"
#include "graph/graph_internal.h"

/* Two nodes, two edges, a bucket: committed; then a writer is open. */
static void make_graph(struct fixture *f)
{
    sombra_bucket_id bucket;
    sombra_key key = sombra_key_integer(1);
    const sombra_bucket_options create = { .create = true };
    sombra_node_id a;
    sombra_slice label = text("L");
    begin_write(f);
    assert_ok(graph_node_create(&f->txn, &label, 1, map_of(f, "i", "p", 1), &a));
    sombra_node_id b = node_new(f, NULL);
    edge_new(f, a, "T", b);
    edge_new(f, b, "T", b);
    assert_ok(graph_bucket_open(&f->txn, text("b"), &create, &bucket));
    assert_ok(graph_bucket_put(&f->txn, bucket, &key, slice_of("\x00", 1)));
    commit(f);
    begin_write(f);
    assert_sound(f);
}

static void test_verify__finds_missing_entries(void **state)
{
    struct fixture *f = *state;
    const struct graph_edge first = { .id = 1, .src = 1, .dst = 2, .type = 1 };
    make_graph(f);
    const struct {
        struct graph_key key;
        const char *want;
    } cases[] = {
        { key_1(TAG_NODE, 1), "the node of a label is missing" },
        { key_2(TAG_LABEL, 1, 1), "node 1: the entry of a label is missing" },
        { key_1(TAG_EDGE_BLOCK, 1), "is not (an entry of the edge it names)" },
        { key_out(&first), "edge 1: its entry at the source is missing" },
        { key_in(&first), "edge 1: its entry at the target is missing" },
        { key_1(TAG_TYPE_COUNT, 1), "the count of a type: 0 where 2 belong" },
        { key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 1), "name 1 of kind 1 does not exist" },
        { key_begin(TAG_COUNTERS), "is not below the next id" },
        { key_1(TAG_BUCKET, 1), "an entry of a bucket that exists" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char first_found[DIAG_TEXT_BYTES];
        struct kv_txn *kv;
        rollback(f);
        assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = true }, &kv));
        assert_ok(kv_delete(kv, key_slice(&cases[i].key)));
        graph_txn_begin(&f->txn, &f->graph, kv);
        assert_true(problems_of(f, first_found, sizeof first_found) > 0);
        if (!strstr(first_found, cases[i].want))
            fail_msg("case %zu: %s", i, first_found);
    }
}

static void test_verify__finds_entries_too_many_and_damaged_values(void **state)
{
    struct fixture *f = *state;
    const struct graph_edge none = { .id = 7, .src = 1, .dst = 2, .type = 1 };
    const struct graph_edge other = { .id = 1, .src = 1, .dst = 1, .type = 1 };
    make_graph(f);
    const struct {
        struct graph_key key;
        sombra_slice value;
    } cases[] = {
        { key_1(TAG_NODE, 99), slice_of("\0", 1) },                /* above the next id */
        { key_1(TAG_NODE, 1), slice_of("\x09", 1) },               /* labels cut short */
        { key_1(TAG_NODE, 1), slice_of("\x01\x05", 2) },           /* a label without a name */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\x09\x01\0", 5) },   /* a property without a name */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\x01\x01\xee", 5) }, /* an unsound value */
        { key_1(TAG_NODE, 2), slice_of("\0\x01\x01\x01\0\0", 6) }, /* bytes behind the end */
        { key_1(TAG_NODE, 2), slice_of("\0\x80", 2) },             /* a head without its value */
        { key_1(TAG_NODE, 2), slice_of("\0\x81\x01", 3) },         /* one value of two */
        { key_1(TAG_NODE, 2), slice_of("\0\x80\x01\x01", 4) },     /* one value too many */
        { key_1(TAG_NODE, 2), slice_of("\0\x80\x12\x01", 4) },     /* a value cut short */
        { key_1(TAG_NODE, 2), slice_of("\0\x80\x05", 3) },         /* an unknown tag */
        { key_1(TAG_NODE, 2), slice_of("\0\x80\x87\0\0\0\0\0\0\0", 10) },
        { key_1(TAG_NODE, 2), slice_of("\0\x84\x01", 3) },     /* a head names no property */
        { key_1(TAG_NODE, 2), slice_of("\0\xc0", 2) },         /* a head without its mask */
        { key_1(TAG_NODE, 2), slice_of("\0\xff\0\0\x01", 5) }, /* the name 0 */
        { key_1(TAG_NODE, 2), slice_of("\0\xff\xff\xff\xff\xff\x0f\0\x01", 9) },
        { key_2(TAG_NODE, 1, 1), slice_of("\0", 1) }, /* one number too many */
        { key_2(TAG_LABEL, 1, 2), NOTHING },          /* the record does not say so */
        { key_2(TAG_LABEL, 1, 1), slice_of("x", 1) },
        { key_out(&none), NOTHING },
        { key_in(&none), NOTHING },
        { key_out(&other), NOTHING },
        { key_in(&other), NOTHING },
        { key_1(TAG_EDGE, 1), slice_of("\x01\x01", 2) },
        { key_1(TAG_EDGE, 1), slice_of("\x01\x01\x02", 3) },               /* in a block as well */
        { key_1(TAG_EDGE, 9), slice_of("\x01\x01\x02", 3) },               /* above the blocks */
        { key_1(TAG_EDGE_BLOCK, 1), NOTHING },                             /* no head */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\x80\0\1\0\1\0\2", 7) },     /* an unknown bit */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\0\0\1\0\1\0\2", 7) },       /* one edge less */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\1\0\1", 7) },       /* other targets */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\2\0\1\0\1\0\2", 7) },       /* an edge too many */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\0\0\2", 7) },       /* the type 0 */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\0\0\1\0\2", 7) },       /* the source 0 */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\1\0", 6) },         /* no third column */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\1\1\1", 7) },       /* no bits */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\0\1\0\1\0\2\0", 8) },     /* a byte too many */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\1\100\1\0\1\0\2\0", 8) },   /* 64 bits wide */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\x41\x01\0\1\0\1\0\2", 8) }, /* no last edge */
        { key_1(TAG_EDGE_BLOCK, 1), slice_of("\x41\x07\0\1\0\1\0\2", 8) }, /* more than slots */
        { key_1(TAG_EDGE_BLOCK, 2), slice_of("\0\0\1\0\1\0\2", 7) },       /* above the next id */
        { key_1(TAG_EDGE_BLOCK, UINT64_MAX), slice_of("\0\0\1\0\1\0\2", 7) },
        { key_1(TAG_TYPE_COUNT, 1), slice_of("\x03", 1) },
        { key_1(TAG_TYPE_COUNT, 2), slice_of("\x01", 1) },
        { key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 3), slice_of("x", 1) },
        { key_2(TAG_NAME_BY_ID, SOMBRA_NAME_LABEL, 2), slice_of("x", 1) },
        { key_1(TAG_BUCKET, 9), slice_of("x", 1) },
        { key_2(TAG_ENTRY, 1, 5), slice_of("\0", 1) }, /* no entry key */
        { key_begin((enum graph_tag)0x70), NOTHING },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct kv_txn *kv;
        rollback(f);
        assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = true }, &kv));
        assert_ok(kv_put(kv, key_slice(&cases[i].key), cases[i].value));
        graph_txn_begin(&f->txn, &f->graph, kv);
        if (problems_of(f, NULL, 0) == 0)
            fail_msg("case %zu was not found", i);
    }
}

static bool refuse(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_true(done <= total);
    return false;
}
static void test_verify__can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct graph_check check = { .progress = refuse };
    make_graph(f);
    assert_err(graph_verify(&f->txn, &check), SOMBRA_CANCELLED);
}

static void test_graph__reads_of_damaged_records_are_corrupt(void **state)
{
    struct fixture *f = *state;
    struct graph_key node = key_1(TAG_NODE, 1), edge = key_1(TAG_EDGE_BLOCK, 1);
    struct graph_key out = key_3(TAG_OUT, 1, 1, 2), counters = key_begin(TAG_COUNTERS);
    sombra_record record;
    sombra_slice value;
    struct graph_edge ends;
    struct graph_neighbours n = { 0 };
    const sombra_neighbour *batch;
    sombra_node_id id;
    size_t count;
    make_graph(f);
    assert_ok(kv_put(f->txn.kv, key_slice(&node), slice_of("\xff", 1)));
    assert_err(graph_node_get(&f->txn, 1, &record), SOMBRA_CORRUPT);
    assert_err(graph_node_property(&f->txn, 1, text("p"), &value), SOMBRA_CORRUPT);
    assert_err(graph_node_change(&f->txn, 1, NOTHING, GRAPH_MERGE), SOMBRA_CORRUPT);
    assert_ok(kv_put(f->txn.kv, key_slice(&edge), slice_of("\x01", 1)));
    assert_err(graph_edge_ends(&f->txn, 1, &ends), SOMBRA_CORRUPT);
    assert_ok(kv_put(f->txn.kv, key_slice(&out), NOTHING));
    assert_ok(graph_neighbours_open(&n, &f->txn, 1, &(sombra_neighbours_options){ 0 }));
    assert_err(graph_neighbours_next(&n, &batch, &count), SOMBRA_CORRUPT);
    graph_neighbours_close(&n);
    graph_neighbours_release(&n);
    rollback(f);
    begin_write(f);
    assert_ok(kv_put(f->txn.kv, key_slice(&counters), slice_of("\x01", 1)));
    assert_err(graph_node_create(&f->txn, NULL, 0, NOTHING, &id), SOMBRA_CORRUPT);
    assert_ok(kv_put(f->txn.kv, key_slice(&counters), slice_of("\x05\x01\x01\x01\0", 5)));
    assert_err(graph_node_create(&f->txn, NULL, 0, NOTHING, &id), SOMBRA_UNSUPPORTED);
    assert_err(graph_check_format(f->txn.kv), SOMBRA_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(test_verify__finds_missing_entries),
        TEST(test_verify__finds_entries_too_many_and_damaged_values),
        TEST(test_verify__can_be_cancelled),
        TEST(test_graph__reads_of_damaged_records_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
