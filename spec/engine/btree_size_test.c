/* SPDX-License-Identifier: MIT */
/* How small a file is after loads: nothing free in it, and full pages. */
#include "btree_fixture.h"

#include <inttypes.h>

enum { BATCH_MAX = 100000 };

static struct btree_options quiet(void)
{
    return (
        struct btree_options){ .map_bytes_max = GiB, .no_background = true, .durability = KV_OFF };
}

/* Puts `count` numbers from `first` on, `stride` apart, in one call. */
static void put_together(struct kv_txn *txn, uint64_t first, uint64_t stride, size_t count,
                         sombra_slice value)
{
    static struct kv_entry entries[BATCH_MAX];
    static uint8_t keys[BATCH_MAX][8];
    assert_true(count <= BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        entries[i] =
            (struct kv_entry){ .key = kv_number_key(first + stride * i, keys[i]), .value = value };
    expect_ok(kv_put_many(txn, entries, count));
}

/* ---- nothing free ------------------------------------------------------------------------ */

static void test_size__a_load_leaves_nothing_free(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init(&store, &options);
    for (uint64_t batch = 0; batch < 2; batch++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_together(txn, batch * BATCH_MAX, 1, BATCH_MAX, slice_str("a value of some bytes"));
        kv_commit_ok(txn);
    }
    store_reopen(&store);
    struct kv_stats stats = store_stats(store.kv, false);
    print_message("%" PRIu64 " of %" PRIu64 " pages are free\n", stats.pages_free,
                  stats.pages_total);
    assert_true(stats.pages_total > 500);
    /* What the second batch copied of the first one's. */
    assert_true(stats.pages_free + stats.pages_pending <= 4);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- full pages -------------------------------------------------------------------------- */

static uint64_t tree_percent(struct kv *kv)
{
    struct kv_stats stats = store_stats(kv, true);
    uint64_t pages = stats.pages_leaf + stats.pages_leaf_dense + stats.pages_branch;
    return stats.bytes_used * 100 / (pages * stats.page_bytes);
}

/* Each batch goes between the entries of those before, as edges of a graph do that come in batches.
 * Leaf by leaf, they would be 60 to 80 % full. */
static void test_size__batches_between_others_fill_their_pages(void **state)
{
    (void)state;
    enum { BATCHES = 7, BATCH = 20000 };
    struct store store;
    struct btree_options options = quiet();
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t batch = 0; batch < BATCHES; batch++)
        put_together(txn, batch, BATCHES, BATCH, slice_str("and a value"));
    kv_commit_ok(txn);
    assert_int_equal(store_stats(store.kv, false).entries, BATCHES * BATCH);
    assert_true(tree_percent(store.kv) >= 93);
    store_expect_exact(store.kv);
    store_release(&store);
}

static uint64_t leaves_of(const struct kv_stats *stats)
{
    return stats->pages_leaf + stats->pages_leaf_dense;
}

/* A row of sparse leaves becomes fewer leaves, and a root of one child is no root. */
static void test_size__a_batch_joins_sparse_leaves(void **state)
{
    (void)state;
    enum { STRIDE = 80, SPARSE = 64, LEFT = 25 };
    static const size_t counts[] = { 1200, 6000 };
    for (size_t size = 0; size < COUNT_OF(counts); size++) {
        struct store store;
        struct btree_options options = quiet();
        uint8_t key[8];
        store_init(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_together(txn, 0, STRIDE, counts[size], slice_str("and a value"));
        for (uint64_t i = 0; i < counts[size]; i++)
            if (i % SPARSE >= LEFT)
                expect_ok(kv_delete(txn, kv_number_key(i * STRIDE, key)));
        kv_commit_ok(txn);
        struct kv_stats before = store_stats(store.kv, true);
        txn = kv_begin_write(store.kv);
        put_together(txn, 1, STRIDE * 10, counts[size] / 10, slice_str("and a value"));
        kv_commit_ok(txn);
        struct kv_stats after = store_stats(store.kv, true);
        assert_int_equal(after.entries, before.entries + counts[size] / 10);
        assert_true(leaves_of(&after) < leaves_of(&before));
        assert_int_equal(after.depth, size == 0 ? 1 : 2);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* What a compaction packs is nearly full: it was 89 % when a leaf to be filled was measured as if
 * its runs were of 16 entries. */
static void test_size__compaction_fills_pages(void **state)
{
    (void)state;
    enum { ENTRIES = 60000, STRIDE = 7919 };
    struct store store;
    struct btree_options options = quiet();
    uint8_t key[8];
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < ENTRIES; i++)
        expect_ok(kv_put(txn, kv_number_key(i * STRIDE % ENTRIES, key), slice_str("and a value")));
    kv_commit_ok(txn);
    assert_true(tree_percent(store.kv) < 90);
    struct kv_maintenance job = { .kind = KV_COMPACT };
    expect_ok(kv_maintain(store.kv, &job));
    print_message("%" PRIu64 " %% full\n", tree_percent(store.kv));
    assert_true(tree_percent(store.kv) >= 93);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- thin pages --------------------------------------------------------------------------- */

enum { THINNED = 60000, STRIDE = 7919 };
enum order { UP, DOWN, SCATTERED };

static uint64_t in_order(enum order order, uint64_t i)
{
    return order == UP ? i : order == DOWN ? THINNED - 1 - i : i * STRIDE % THINNED;
}

/* Deletes all but each `kept`-th; 0: all. */
static void delete_in_order(struct kv *kv, enum order order, uint64_t kept)
{
    struct kv_txn *txn = kv_begin_write(kv);
    uint8_t key[8];
    for (uint64_t i = 0; i < THINNED; i++) {
        uint64_t number = in_order(order, i);
        if (kept == 0 || number % kept != 0)
            expect_ok(kv_delete(txn, kv_number_key(number, key)));
    }
    kv_commit_ok(txn);
}

/* A leaf that was emptied entry by entry was measured together with its full neighbour at each of
 * the last ones: of the edges of a hub that was deleted, each took 70 us where it now takes 1. */
static void test_size__a_leaf_that_thins_tries_few_times_to_join(void **state)
{
    (void)state;
    enum { TRIES_MAX = 6 }; /* of each leaf */
    const char *values[] = { "", "and a value",
                             "a value that is too long for any leaf that is dense" };
    for (size_t i = 0; i < COUNT_OF(values) * (SCATTERED + 1); i++) {
        const enum order order = i % (SCATTERED + 1);
        struct store store;
        struct btree_options options = quiet();
        store_init(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_together(txn, 0, 1, THINNED, slice_str(values[i / (SCATTERED + 1)]));
        kv_commit_ok(txn);
        struct kv_stats stats = store_stats(store.kv, true);
        delete_in_order(store.kv, order, 0);
        uint64_t tries = kv_metrics_count(store.kv->metrics, KV_COUNTER_JOINS_TRIED);
        print_message("%" PRIu64 " tries of %" PRIu64 " leaves\n", tries, leaves_of(&stats));
        assert_true(tries > 0 && tries <= TRIES_MAX * leaves_of(&stats));
        assert_int_equal(store_stats(store.kv, false).entries, 0);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* And what is left is not in thin pages. Deleted from above, each page was left with its sixteenth
 * when only the neighbour below was asked, which was full then: 9 % were used. */
static void test_size__leaves_that_thin_are_joined(void **state)
{
    (void)state;
    enum { KEPT = 16 };
    static const uint64_t percents[] = { [UP] = 75, [DOWN] = 75, [SCATTERED] = 40 };
    for (enum order order = UP; order <= SCATTERED; order++) {
        struct store store;
        struct btree_options options = quiet();
        store_init(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_together(txn, 0, 1, THINNED, slice_str("and a value"));
        kv_commit_ok(txn);
        delete_in_order(store.kv, order, KEPT);
        assert_int_equal(store_stats(store.kv, false).entries, THINNED / KEPT);
        print_message("%" PRIu64 " %% full\n", tree_percent(store.kv));
        assert_true(tree_percent(store.kv) >= percents[order]);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* ---- new space ---------------------------------------------------------------------------- */

/* Writes to the database's own file. */
struct fresh_watch {
    uint64_t writes, bytes, bytes_max;
};

static void fresh_note(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct fresh_watch *watch = context;
    (void)sim;
    if (event->call != OS_SIM_WRITE || strchr(event->path, '-'))
        return;
    watch->writes++;
    watch->bytes += event->bytes;
    watch->bytes_max = u64_max(watch->bytes_max, event->bytes);
}

/* Its pages are stored through a mapping; what is written before is their zeros. */
static void test_size__new_space_is_zeroed_as_the_transaction_is_large(void **state)
{
    (void)state;
    enum { FEW = 20, MANY = 40000, RECORD_BYTES = 1000 };
    struct store store;
    struct btree_options options = quiet();
    store_init_simulated(&store, &options);
    kv_put_one(store.kv, "first", "1", KV_OFF);
    struct fresh_watch small = { 0 }, large = { 0 };
    os_sim_set_hook(store.sim, fresh_note, &small);
    for (uint64_t i = 0; i < FEW; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, i, i + 1, RECORD_BYTES, 0);
        kv_commit_ok(txn);
    }
    os_sim_set_hook(store.sim, fresh_note, &large);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, FEW, MANY, RECORD_BYTES, 0);
    kv_commit_ok(txn);
    os_sim_set_hook(store.sim, NULL, NULL);
    print_message("%" PRIu64 " bytes in %" PRIu64 " writes of up to %" PRIu64 "\n", large.bytes,
                  large.writes, large.bytes_max);
    assert_int_equal(small.bytes_max, 8 * KiB);
    assert_int_equal(large.bytes_max, 64 * KiB);
    assert_true(large.bytes > 16 * MiB && large.bytes / large.writes > 12 * KiB);
    /* The file grows by no more than before. */
    assert_true(large.bytes < MANY * (uint64_t)RECORD_BYTES * 3 / 2);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* What is expected counts from the first page on, and for its own transaction only. */
static void test_size__new_space_is_zeroed_as_much_is_expected(void **state)
{
    (void)state;
    enum { FEW = 400, RECORD_BYTES = 1000 };
    struct store store;
    struct btree_options options = quiet();
    store_init_simulated(&store, &options);
    kv_put_one(store.kv, "first", "1", KV_OFF);
    for (uint64_t i = 0; i < 3; i++) {
        bool is_long = i == 1;
        struct fresh_watch watch = { 0 };
        os_sim_set_hook(store.sim, fresh_note, &watch);
        struct kv_txn *txn = kv_begin_write(store.kv);
        if (is_long)
            expect_ok(kv_expect(txn, 32 * MiB));
        kv_put_numbers(txn, i * FEW, (i + 1) * FEW, RECORD_BYTES, 0);
        kv_commit_ok(txn);
        os_sim_set_hook(store.sim, NULL, NULL);
        print_message("%" PRIu64 " bytes in %" PRIu64 " writes of up to %" PRIu64 "\n", watch.bytes,
                      watch.writes, watch.bytes_max);
        assert_int_equal(watch.bytes_max, is_long ? 64 * KiB : 8 * KiB);
    }
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Each a transaction: what was put in one piece. */
static uint64_t stretch_of_puts(struct store *store, uint64_t first, uint64_t stride,
                                uint64_t count, uint64_t salt)
{
    enum { RECORD_BYTES = 1000, PUTS = 20 };
    struct fresh_watch watch = { 0 };
    os_sim_set_hook(store->sim, fresh_note, &watch);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n = first + i * stride;
        struct kv_txn *txn = kv_begin_write(store->kv);
        kv_put_numbers(txn, n, n + (salt ? 1 : PUTS), RECORD_BYTES, salt);
        kv_commit_ok(txn);
    }
    os_sim_set_hook(store->sim, NULL, NULL);
    return watch.bytes_max;
}

static void test_size__puts_in_key_order_take_long_stretches_until_others_come(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init_simulated(&store, &options);
    assert_int_equal(stretch_of_puts(&store, 0, 20, 5, 0), 8 * KiB);
    (void)stretch_of_puts(&store, 100, 20, 15, 0);
    assert_int_equal(stretch_of_puts(&store, 400, 20, 180, 0), 64 * KiB);
    struct kv_txn *reader = kv_begin_read(store.kv); /* so that no page is used again */
    /* Overwrites split no leaf: the first few may take what the load would have taken. */
    (void)stretch_of_puts(&store, 5, 20, 60, 1);
    assert_int_equal(stretch_of_puts(&store, 1205, 20, 60, 1), 8 * KiB);
    /* One leaf more in order makes no load. */
    (void)stretch_of_puts(&store, 4000, 20, 1, 0);
    assert_int_equal(stretch_of_puts(&store, 2405, 20, 30, 1), 8 * KiB);
    (void)stretch_of_puts(&store, 4020, 20, 15, 0);
    assert_int_equal(stretch_of_puts(&store, 4320, 20, 10, 0), 64 * KiB);
    kv_abort(reader);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* What was put before, alone, is still in the log's buffer only (decision 0021). */
static void test_size__what_is_expected_to_be_long_is_not_logged(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    options.wal_bypass_bytes = MiB;
    store_init(&store, &options);
    kv_put_one(store.kv, "first", "1", KV_OFF);
    for (unsigned i = 0; i < 2; i++) {
        bool is_long = i == 1;
        uint64_t checkpoints = store_stats(store.kv, false).checkpoints;
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_text(txn, "first", is_long ? "3" : "2");
        expect_ok(kv_expect(txn, is_long ? MiB : KiB));
        kv_put_numbers(txn, 100, 110, 10, i);
        kv_commit_ok(txn);
        assert_int_equal(store_stats(store.kv, false).checkpoints - checkpoints, is_long);
        store_reopen(&store);
        kv_expect_one(store.kv, "first", is_long ? "3" : "2");
    }
    /* It is advice, and what is not put after it need not be. */
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(kv_expect(txn, UINT64_MAX));
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size__a_load_leaves_nothing_free),
        cmocka_unit_test(test_size__batches_between_others_fill_their_pages),
        cmocka_unit_test(test_size__a_batch_joins_sparse_leaves),
        cmocka_unit_test(test_size__compaction_fills_pages),
        cmocka_unit_test(test_size__a_leaf_that_thins_tries_few_times_to_join),
        cmocka_unit_test(test_size__leaves_that_thin_are_joined),
        cmocka_unit_test(test_size__new_space_is_zeroed_as_the_transaction_is_large),
        cmocka_unit_test(test_size__new_space_is_zeroed_as_much_is_expected),
        cmocka_unit_test(test_size__puts_in_key_order_take_long_stretches_until_others_come),
        cmocka_unit_test(test_size__what_is_expected_to_be_long_is_not_logged),
    };
    return cmocka_run_group_tests_name("btree, size", tests, NULL, NULL);
}
