/* SPDX-License-Identifier: MIT */
/* The handles of the public API, on the model store: who may end before whom, and what is told to
 * those who come late. */
#include "db/db.h"
#include "db_fixture.h"
#include "kv_model.h"

#include <limits.h>

static sombra_db *db;

static int setup(void **state)
{
    struct kv *kv;
    (void)state;
    OK(kv_model_open(NULL, &kv));
    OK(db_wrap(kv, &db));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    OK(sombra_close(db));
    db = NULL;
    return 0;
}

static sombra_node_id node_new(sombra_txn *txn)
{
    sombra_node_id node;
    sombra_slice label = slice_str("L");
    OK(sombra_node_create(txn, &label, 1, NOTHING, &node));
    return node;
}

static uint64_t count_nodes(void)
{
    uint64_t count;
    sombra_txn *txn = begin(db, false);
    OK(sombra_node_count(txn, NOTHING, &count));
    sombra_txn_close(txn);
    return count;
}

static void test_txn__what_is_committed_is_seen_and_the_rest_is_not(void **state)
{
    (void)state;
    sombra_txn *txn = begin(db, true);
    node_new(txn);
    assert_int_equal(count_nodes(), 0);
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    assert_false(sombra_txn_is_open(txn));
    assert_true(sombra_txn_is_write(txn));
    ERR(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT), SOMBRA_INVALID);
    sombra_txn_abort(txn);
    sombra_txn_close(txn);
    assert_int_equal(count_nodes(), 1);
    txn = begin(db, true);
    node_new(txn);
    sombra_txn_close(txn); /* is a rollback */
    assert_int_equal(count_nodes(), 1);
}

static void test_txn__a_second_writer_in_the_thread_is_busy(void **state)
{
    (void)state;
    sombra_txn *txn = begin(db, true), *second = NULL;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = true;
    ERR(sombra_txn_begin(db, &options, &second), SOMBRA_BUSY);
    assert_null(second);
    sombra_txn_close(txn);
    OK(sombra_txn_begin(db, &options, &second));
    sombra_txn_close(second);
}

static void test_txn__options_without_a_size_are_refused(void **state)
{
    (void)state;
    sombra_txn *txn;
    sombra_txn_options options = { .is_write = true };
    ERR(sombra_txn_begin(db, &options, &txn), SOMBRA_INVALID);
    struct {
        sombra_txn_options known;
        uint64_t newer;
    } later = { .known = SOMBRA_TXN_OPTIONS_INIT, .newer = 0 };
    later.known.struct_bytes = sizeof later;
    OK(sombra_txn_begin(db, &later.known, &txn));
    sombra_txn_close(txn);
    later.newer = 1;
    ERR(sombra_txn_begin(db, &later.known, &txn), SOMBRA_UNSUPPORTED);
}

/* All iterators of a transaction that has just ended by `end`. */
static void check_iterators(void (*end)(sombra_txn *txn), bool close_first)
{
    const sombra_neighbour *neighbours;
    const uint64_t *ids;
    size_t count;
    sombra_key key;
    sombra_slice value;
    bool found;
    sombra_txn *txn = begin(db, true);
    sombra_node_id node = node_new(txn);
    sombra_edge_id edge;
    sombra_bucket_id bucket;
    sombra_record record;
    sombra_neighbours *n;
    sombra_ids *i;
    sombra_scan *s;
    sombra_bucket_options create = SOMBRA_BUCKET_OPTIONS_INIT;
    create.create = true;
    OK(sombra_edge_create(txn, node, slice_str("T"), node, NOTHING, &edge));
    OK(sombra_bucket_open(txn, slice_str("b"), &create, &bucket));
    OK(sombra_neighbours_open(txn, node, NULL, &n));
    OK(sombra_neighbours_next(n, &neighbours, &count));
    assert_int_equal(count, 1);
    OK(sombra_nodes_open(txn, slice_str("L"), NULL, &i));
    OK(sombra_scan_open(txn, bucket, NULL, &s));
    OK(sombra_node_get(txn, node, &record));
    end(txn);
    ERR(sombra_record_next_property(&record, NULL, NULL, &found), SOMBRA_INVALID);
    if (close_first)
        sombra_txn_close(txn);
    ERR(sombra_neighbours_next(n, &neighbours, &count), SOMBRA_INVALID);
    ERR(sombra_ids_next(i, &ids, &count), SOMBRA_INVALID);
    ERR(sombra_scan_next(s, &key, &value, &found), SOMBRA_INVALID);
    assert_string_equal(sombra_err_message(), "the transaction is over");
    sombra_neighbours_close(n);
    sombra_ids_close(i);
    sombra_scan_close(s);
    if (!close_first) {
        ERR(sombra_node_exists(txn, node, &found), SOMBRA_INVALID);
        sombra_txn_close(txn);
    }
}

static void end_by_commit(sombra_txn *txn)
{
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_OFF));
}

static void test_txn__iterators_outlive_it_and_say_that_it_is_over(void **state)
{
    (void)state;
    check_iterators(end_by_commit, true);
    check_iterators(end_by_commit, false);
    check_iterators(sombra_txn_abort, true);
    check_iterators(sombra_txn_abort, false);
}

static void end_database(sombra_txn *txn)
{
    (void)txn;
    OK(sombra_close(db));
}

static void test_db__closing_ends_transactions_and_their_iterators(void **state)
{
    check_iterators(end_database, true);
    setup(state);
    check_iterators(end_database, false);
    setup(state);
}

/* More of them than are kept, closed in several orders; some of them are left for later. */
static void test_db__closing_finds_handles_that_are_open_over_closed_and_ready(void **state)
{
    enum { HANDLES = 12 };
    (void)state;
    OK(sombra_close(db));
    for (unsigned step = 1; step < HANDLES; step += 2) {
        const uint64_t live = mem_test_live();
        sombra_txn *txns[HANDLES];
        setup(state);
        for (unsigned round = 0; round < 3; round++) {
            for (unsigned i = 0; i < HANDLES; i++)
                txns[i] = begin(db, false);
            for (unsigned i = 0; i < HANDLES; i++) {
                sombra_txn *txn = txns[(i * 5 + step) % HANDLES];
                assert_true(sombra_txn_is_open(txn));
                if (round < 2 || i < step)
                    sombra_txn_close(txn);
                else if (i % 2)
                    sombra_txn_abort(txn); /* over, and not closed */
            }
        }
        OK(sombra_close(db));
        for (unsigned i = step; i < HANDLES; i++) {
            sombra_txn *txn = txns[(i * 5 + step) % HANDLES];
            assert_false(sombra_txn_is_open(txn));
            sombra_txn_close(txn);
        }
        assert_int_equal(live, mem_test_live());
    }
    setup(state);
}

static void test_db__handles_are_used_again_without_new_memory(void **state)
{
    (void)state;
    uint64_t before = mem_test_allocations(); /* counting begins with the first question */
    sombra_txn *txn = begin(db, true);
    sombra_node_id node = node_new(txn);
    end_by_commit(txn);
    sombra_txn_close(txn);
    for (int i = 0; i < 20; i++) {
        sombra_neighbours *n;
        sombra_record record;
        const sombra_neighbour *batch;
        size_t count;
        if (i == 2)
            before = mem_test_allocations();
        txn = begin(db, i % 2);
        OK(sombra_node_get(txn, node, &record));
        OK(sombra_neighbours_open(txn, node, NULL, &n));
        OK(sombra_neighbours_next(n, &batch, &count));
        sombra_neighbours_close(n);
        if (i % 2)
            node_new(txn);
        end_by_commit(txn);
        sombra_txn_close(txn);
    }
    assert_true(before > 0);
    assert_int_equal(mem_test_allocations(), before);
}

static void test_record__a_later_read_ends_it(void **state)
{
    (void)state;
    bool found;
    sombra_record first, second;
    sombra_name name;
    sombra_txn *txn = begin(db, true);
    sombra_node_id a = node_new(txn), b = node_new(txn);
    OK(sombra_node_get(txn, a, &first));
    OK(sombra_record_next_label(&first, &name, &found));
    assert_true(found && slice_equal(name.text, slice_str("L")));
    OK(sombra_node_get(txn, b, &second));
    ERR(sombra_record_next_label(&first, &name, &found), SOMBRA_INVALID);
    OK(sombra_record_next_label(&second, &name, &found));
    sombra_txn_close(txn);
}

static void test_savepoint__undoes_names_nodes_and_buckets_together(void **state)
{
    (void)state;
    uint64_t mark, count;
    sombra_bucket_id bucket;
    sombra_bucket_options create = SOMBRA_BUCKET_OPTIONS_INIT;
    create.must_create = true;
    sombra_txn *txn = begin(db, true);
    node_new(txn);
    OK(sombra_txn_savepoint(txn, &mark));
    node_new(txn);
    OK(sombra_bucket_open(txn, slice_str("b"), &create, &bucket));
    OK(sombra_txn_rollback_to(txn, mark));
    OK(sombra_bucket_open(txn, slice_str("b"), &create, &bucket));
    OK(sombra_txn_release(txn, mark));
    ERR(sombra_txn_rollback_to(txn, mark), SOMBRA_INVALID);
    OK(sombra_node_count(txn, NOTHING, &count));
    assert_int_equal(count, 1);
    end_by_commit(txn);
    sombra_txn_close(txn);
    assert_int_equal(count_nodes(), 1);
}

struct patience {
    unsigned asked, last; /* times; the last one that is answered OK */
};
static sombra_err ask(void *context)
{
    struct patience *patience = context;
    return patience->asked++ < patience->last ? SOMBRA_OK : SOMBRA_CANCELLED;
}

enum { MANY = 20000 };

/* Nodes with an index to look into, and edges between them. */
static sombra_err create_many(sombra_txn *txn, const int64_t *keys)
{
    sombra_slice label = slice_str("Many"), type = slice_str("NEXT");
    const sombra_column column = { .name = slice_str("key"),
                                   .kind = SOMBRA_COLUMN_INTEGER,
                                   .as.integers = keys };
    const sombra_columns columns = { &column, 1, MANY };
    static sombra_node_id ends[MANY];
    sombra_node_id first;
    sombra_edge_id first_edge;
    sombra_err err = sombra_node_create_columns(txn, &label, 1, &columns, &first);
    for (size_t i = 0; i < MANY && !err; i++)
        ends[i] = first + i;
    return err ? err : sombra_edge_create_columns(txn, type, ends, ends, &columns, &first_edge);
}

static void test_poll__ends_a_batch_wherever_it_says_so(void **state)
{
    (void)state;
    static int64_t keys[MANY];
    struct patience patience = { 0, UINT_MAX };
    uint64_t mark;
    uint32_t id;
    for (int64_t i = 0; i < MANY; i++)
        keys[i] = i;
    sombra_txn *txn = begin(db, true);
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = SOMBRA_RULE_UNIQUE;
    rule.subject = slice_str("Many");
    rule.properties[0] = slice_str("key");
    rule.property_count = 1;
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    OK(sombra_txn_savepoint(txn, &mark));
    const sombra_txn_poll poll = { ask, &patience };
    assert_null(sombra_txn_set_poll(txn, poll).ask);
    OK(create_many(txn, keys));
    const unsigned times = patience.asked;
    assert_in_range(times, 2 * MANY / 4096 * 2, 20 * MANY / 4096);
    for (unsigned last = 0; last < times; last++) {
        patience = (struct patience){ 0, last };
        OK(sombra_txn_rollback_to(txn, mark));
        ERR(create_many(txn, keys), SOMBRA_CANCELLED);
        assert_int_equal(patience.asked, last + 1);
    }
    OK(sombra_txn_rollback_to(txn, mark));
    assert_ptr_equal(sombra_txn_set_poll(txn, (sombra_txn_poll){ 0 }).context, &patience);
    OK(create_many(txn, keys));
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    assert_int_equal(count_nodes(), MANY);
}

static void test_poll__ends_rules_and_deletes_of_many_edges(void **state)
{
    (void)state;
    static int64_t keys[MANY];
    static sombra_node_id hubs[MANY], nobody[MANY];
    struct patience patience = { 0, 1 };
    uint64_t mark;
    uint32_t id;
    sombra_edge_id first;
    sombra_txn *txn = begin(db, true);
    OK(create_many(txn, keys));
    const sombra_node_id hub = node_new(txn);
    for (size_t i = 0; i < MANY; i++)
        hubs[i] = hub, nobody[i] = hub + 1;
    const sombra_columns none = { NULL, 0, MANY };
    OK(sombra_edge_create_columns(txn, slice_str("HUB"), hubs, hubs, &none, &first));
    OK(sombra_txn_savepoint(txn, &mark));
    (void)sombra_txn_set_poll(txn, (sombra_txn_poll){ ask, &patience });
    /* As the ends are gathered, before they are sorted: nothing has been written, and the
     * transaction goes on. */
    for (patience.last = 0; patience.last < 2 * ((MANY + 4095) / 4096); patience.last++) {
        patience.asked = 0;
        ERR(sombra_edge_create_columns(txn, slice_str("HUB"), hubs, nobody, &none, &first),
            SOMBRA_CANCELLED);
    }
    patience = (struct patience){ 0, UINT_MAX };
    ERR(sombra_edge_create_columns(txn, slice_str("HUB"), hubs, nobody, &none, &first),
        SOMBRA_NOT_FOUND);
    patience = (struct patience){ 0, 1 };
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = SOMBRA_RULE_INDEX;
    rule.subject = slice_str("Many");
    rule.properties[0] = slice_str("key");
    rule.property_count = 1;
    ERR(sombra_rule_create(txn, &rule, NULL, &id), SOMBRA_CANCELLED);
    ERR(sombra_rule_find(txn, &rule, &id), SOMBRA_NOT_FOUND); /* it undoes itself */
    patience.asked = 0;
    ERR(sombra_node_delete(txn, hub, true), SOMBRA_CANCELLED);
    OK(sombra_txn_rollback_to(txn, mark));
    patience = (struct patience){ 0, UINT_MAX };
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    OK(sombra_node_delete(txn, hub, true));
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    assert_int_equal(count_nodes(), MANY);
}

static void test_commit__that_fails_leaves_nothing(void **state)
{
    (void)state;
    sombra_txn *txn = begin(db, true);
    node_new(txn);
    ERR(sombra_txn_commit(txn, (sombra_durability)9), SOMBRA_INVALID);
    assert_false(sombra_txn_is_open(txn));
    sombra_txn_close(txn);
    assert_int_equal(count_nodes(), 0);
}

static void test_edge__is_read_whole(void **state)
{
    (void)state;
    sombra_edge edge;
    sombra_edge_id id;
    sombra_record record;
    bool exists, found;
    sombra_name name;
    sombra_slice value, props;
    sombra_value v;
    sombra_value_builder *builder;
    OK(sombra_value_builder_new(&builder));
    sombra_value_begin_map(builder);
    sombra_value_push_key(builder, "since", 5);
    sombra_value_push_integer(builder, 2026);
    sombra_value_end_map(builder);
    OK(sombra_value_finish(builder, &props));
    sombra_txn *txn = begin(db, true);
    sombra_node_id a = node_new(txn), b = node_new(txn);
    OK(sombra_edge_create(txn, a, slice_str("T"), b, props, &id));
    OK(sombra_edge_get(txn, id, &edge, &record));
    assert_int_equal(edge.src, a);
    assert_int_equal(edge.dst, b);
    assert_true(slice_equal(edge.type.text, slice_str("T")));
    assert_int_equal(record.property_count, 1);
    OK(sombra_record_property(&record, slice_str("since"), &value));
    OK(sombra_value_decode(value, &v));
    assert_int_equal(v.as.integer, 2026);
    ERR(sombra_record_property(&record, slice_str("nope"), &value), SOMBRA_NOT_FOUND);
    OK(sombra_record_next_property(&record, &name, &value, &found));
    assert_true(found && slice_equal(name.text, slice_str("since")));
    OK(sombra_record_next_property(&record, &name, &value, &found));
    assert_false(found);
    sombra_neighbours_options options = SOMBRA_NEIGHBOURS_OPTIONS_INIT;
    options.direction = SOMBRA_IN;
    options.with_properties = true;
    sombra_neighbours *n;
    const sombra_neighbour *batch;
    size_t count;
    OK(sombra_neighbours_open(txn, b, &options, &n));
    OK(sombra_neighbours_next(n, &batch, &count));
    assert_int_equal(count, 1);
    OK(sombra_neighbour_record(n, batch, &record));
    OK(sombra_record_next_property(&record, &name, &value, &found));
    assert_true(found && slice_equal(name.text, slice_str("since")));
    sombra_neighbours_close(n);
    OK(sombra_edge_exists(txn, id, &exists));
    assert_true(exists);
    OK(sombra_edge_delete(txn, id));
    OK(sombra_edge_exists(txn, id, &exists));
    assert_false(exists);
    ERR(sombra_edge_get(txn, id, &edge, NULL), SOMBRA_NOT_FOUND);
    sombra_txn_close(txn);
    sombra_value_builder_free(builder);
}

static void test_db__statistics_and_checks_are_told(void **state)
{
    (void)state;
    sombra_stats stats = SOMBRA_STATS_INIT;
    uint64_t problems = 99;
    sombra_txn *txn = begin(db, true);
    sombra_edge_id edge;
    sombra_node_id node = node_new(txn);
    OK(sombra_edge_create(txn, node, slice_str("T"), node, NOTHING, &edge));
    end_by_commit(txn);
    OK(sombra_db_stats(db, &stats));
    assert_int_equal(stats.nodes, 1);
    assert_int_equal(stats.edges, 1);
    assert_int_equal(stats.txns_open, 0);
    assert_true(stats.entries > 5);
    assert_string_equal(sombra_db_engine(db), "model");
    OK(sombra_db_verify(db, NULL, &problems));
    assert_int_equal(problems, 0);
    sombra_txn_close(txn);
    sombra_stats unsized = { 0 };
    ERR(sombra_db_stats(db, &unsized), SOMBRA_INVALID);
}

static void test_db__memory_that_runs_out_is_an_error_and_no_leak(void **state)
{
    (void)state;
    OK(sombra_close(db));
    uint64_t live = mem_test_live();
    for (uint64_t nth = 1;; nth++) {
        struct kv *kv;
        sombra_txn *txn = NULL;
        sombra_node_id node;
        sombra_neighbours *n = NULL;
        uint64_t mark, made = mem_test_allocations();
        OK(kv_model_open(NULL, &kv));
        mem_test_fail_at(nth, false);
        db = NULL;
        sombra_err err = db_wrap(kv, &db);
        sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
        options.is_write = true;
        if (!err)
            err = sombra_txn_begin(db, &options, &txn);
        if (!err)
            err = sombra_txn_savepoint(txn, &mark);
        sombra_slice label = slice_str("L");
        if (!err)
            err = sombra_node_create(txn, &label, 1, NOTHING, &node);
        sombra_edge_id edge;
        if (!err)
            err = sombra_edge_create(txn, node, slice_str("T"), node, NOTHING, &edge);
        if (!err)
            err = sombra_neighbours_open(txn, node, NULL, &n);
        if (!err)
            err = sombra_txn_rollback_to(txn, mark);
        sombra_neighbours_close(n);
        sombra_txn_close(txn);
        bool is_past = mem_test_allocations() - made < nth;
        mem_test_fail_at(0, false);
        OK(db ? sombra_close(db) : kv_close(kv));
        assert_int_equal(err, is_past ? SOMBRA_OK : SOMBRA_NOMEM);
        assert_int_equal(mem_test_live(), live);
        if (is_past) {
            assert_true(nth > 5);
            break;
        }
    }
    setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_txn__what_is_committed_is_seen_and_the_rest_is_not),
        TEST(test_txn__a_second_writer_in_the_thread_is_busy),
        TEST(test_txn__options_without_a_size_are_refused),
        TEST(test_txn__iterators_outlive_it_and_say_that_it_is_over),
        TEST(test_db__closing_finds_handles_that_are_open_over_closed_and_ready),
        TEST(test_db__closing_ends_transactions_and_their_iterators),
        TEST(test_db__handles_are_used_again_without_new_memory),
        TEST(test_record__a_later_read_ends_it),
        TEST(test_savepoint__undoes_names_nodes_and_buckets_together),
        TEST(test_poll__ends_a_batch_wherever_it_says_so),
        TEST(test_poll__ends_rules_and_deletes_of_many_edges),
        TEST(test_commit__that_fails_leaves_nothing),
        TEST(test_edge__is_read_whole),
        TEST(test_db__statistics_and_checks_are_told),
        TEST(test_db__memory_that_runs_out_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
