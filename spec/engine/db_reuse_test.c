/* SPDX-License-Identifier: MIT */
/* Through the public API on the real engine: a loop of reads that has run once allocates nothing.
 */
#include "db_fixture.h"

enum { PEOPLE = 400, FRIENDS = 30, ENTRIES = 2000 };

static sombra_db *db;
static sombra_bucket_id bucket;

static void fill_people(sombra_txn *txn, sombra_value_builder *builder)
{
    sombra_slice label = slice_str("Person"), properties;
    for (unsigned i = 1; i <= PEOPLE; i++) {
        sombra_node_id node;
        sombra_value_builder_reset(builder);
        OK(sombra_value_begin_map(builder));
        OK(sombra_value_push_key(builder, "age", 3));
        OK(sombra_value_push_integer(builder, i));
        OK(sombra_value_end_map(builder));
        OK(sombra_value_finish(builder, &properties));
        OK(sombra_node_create(txn, &label, 1, properties, &node));
        assert_int_equal(node, i);
    }
    for (unsigned i = 1; i <= PEOPLE; i++) {
        for (unsigned k = 1; k <= FRIENDS; k++) {
            sombra_edge_id edge;
            OK(sombra_edge_create(txn, i, slice_str("KNOWS"), 1 + (i + k) % PEOPLE, NOTHING,
                                  &edge));
        }
    }
}

static int setup(void **state)
{
    (void)state;
    (void)mem_test_live();
    sombra_value_builder *builder;
    sombra_bucket_options options = SOMBRA_BUCKET_OPTIONS_INIT;
    sombra_slice value;
    OK(sombra_open(":memory:", NULL, &db));
    sombra_txn *txn = begin(db, true);
    OK(sombra_value_builder_new(&builder));
    fill_people(txn, builder);
    options.create = true;
    OK(sombra_bucket_open(txn, slice_str("entries"), &options, &bucket));
    for (int64_t i = 0; i < ENTRIES; i++) {
        sombra_key key = sombra_key_integer(i);
        sombra_value_builder_reset(builder);
        OK(sombra_value_push_integer(builder, i * i));
        OK(sombra_value_finish(builder, &value));
        OK(sombra_bucket_put(txn, bucket, &key, value));
    }
    sombra_value_builder_free(builder);
    commit(txn);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    OK(sombra_close(db));
    return 0;
}

static void read_points(sombra_txn *txn, unsigned round)
{
    for (unsigned i = 0; i < 20; i++) {
        sombra_slice value;
        sombra_key key = sombra_key_integer((round * 61 + i) % ENTRIES);
        OK(sombra_bucket_get(txn, bucket, &key, &value));
        OK(sombra_node_property(txn, 1 + (round * 7 + i) % PEOPLE, slice_str("age"), &value));
    }
}

static void read_ranges(sombra_txn *txn, unsigned round)
{
    sombra_neighbours_options options = SOMBRA_NEIGHBOURS_OPTIONS_INIT;
    sombra_slice type = slice_str("KNOWS");
    sombra_neighbours *neighbours;
    const sombra_neighbour *batch;
    size_t count, total = 0;
    options.types = &type;
    options.type_count = round % 2;
    options.direction = round % 3 ? SOMBRA_OUT : SOMBRA_BOTH;
    OK(sombra_neighbours_open(txn, 1 + round % PEOPLE, &options, &neighbours));
    do {
        OK(sombra_neighbours_next(neighbours, &batch, &count));
        total += count;
    } while (count);
    sombra_neighbours_close(neighbours);
    assert_int_equal(total, round % 3 ? FRIENDS : 2 * FRIENDS);

    sombra_scan *scan;
    sombra_key key;
    sombra_slice value;
    bool found;
    sombra_key_range range = SOMBRA_KEY_RANGE_INIT;
    sombra_key low = sombra_key_integer((round * 61) % (ENTRIES - 10));
    range.ge = &low;
    OK(sombra_scan_open(txn, bucket, &range, &scan));
    for (int64_t i = 0; i < 10; i++) {
        OK(sombra_scan_next(scan, &key, &value, &found));
        assert_true(found && key.is_integer && key.integer == low.integer + i);
    }
    sombra_scan_close(scan);
}

static void test_reads__a_loop_that_has_run_once_allocates_nothing(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (unsigned round = 0; round < 166; round++) {
        if (round == 66) /* all ages were read, and are kept */
            before = mem_test_allocations();
        sombra_txn *txn = begin(db, false);
        read_points(txn, round);
        read_ranges(txn, round);
        sombra_txn_close(txn);
    }
    sombra_txn *txn = begin(db, false);
    for (unsigned round = 0; round < 100; round++) {
        read_points(txn, round);
        read_ranges(txn, round);
    }
    sombra_txn_close(txn);
    assert_int_equal(mem_test_allocations(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads__a_loop_that_has_run_once_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
