/* SPDX-License-Identifier: MIT */
/* What is left behind by a close: a file about as long as its tree, where much was written to it;
 * and when checkpoints begin before that, which decides how long it was.
 */
#include "btree_fixture.h"

#include "btree/upkeep.h"

#include <inttypes.h>

static struct btree_options small_options(void)
{
    return (struct btree_options){
        .page_bytes = 4096, .map_bytes_max = GiB, .no_background = true, .durability = KV_OFF
    };
}

static uint64_t file_bytes(const struct store *store)
{
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(store->os, store->path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return bytes;
}

static sombra_slice key_of(uint64_t number, uint8_t to[8])
{
    put_be64(to, number * UINT64_C(0x9e3779b97f4a7c15));
    return slice_of(to, 8);
}

/* Puts `count` records in no order, 500 a transaction. */
static void fill(struct kv *kv, uint64_t count, size_t value_bytes, uint64_t salt)
{
    struct buf value = BUF_INIT;
    uint8_t key[8];
    for (uint64_t number = 0; number < count;) {
        struct kv_txn *txn = kv_begin_write(kv);
        for (uint64_t i = 0; i < 500 && number < count; i++, number++) {
            kv_pattern(&value, number + salt, value_bytes);
            expect_ok(kv_put(txn, key_of(number, key), buf_slice(&value)));
        }
        kv_commit_ok(txn);
    }
    buf_release(&value);
}

static void checkpoint(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(kv, &job));
}

static uint64_t tree_bytes(struct kv *kv)
{
    struct kv_stats stats = store_stats(kv, false);
    return (stats.pages_total - stats.pages_free - stats.pages_pending) * stats.page_bytes;
}

/* The file has two trees: the second put of each record goes to a page that the checkpoint does not
 * need. */
static void fill_twice(struct kv *kv, uint64_t count, size_t value_bytes)
{
    fill(kv, count, value_bytes, 0);
    checkpoint(kv);
    fill(kv, count, value_bytes, 1);
}

/* ---- the length of the file --------------------------------------------------------------- */

enum { MANY = 80000, VALUE_BYTES = 300 };

static void test_close__much_was_written_and_the_file_is_as_long_as_its_tree(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_background = false;
    for (int is_off = 0; is_off < 2; is_off++) {
        options.no_auto_compact = is_off;
        struct store store;
        store_init(&store, &options);
        fill_twice(store.kv, MANY, VALUE_BYTES);
        uint64_t tree = tree_bytes(store.kv), before, after;
        assert_true(file_bytes(&store) - tree > COMPACT_UNUSED_BYTES_MIN);
        expect_ok(content_digest(store.kv, &before));
        store_close(&store);
        printf("tree %" PRIu64 " KiB, file %" PRIu64 " KiB\n", tree / 1024,
               file_bytes(&store) / 1024);
        assert_true((file_bytes(&store) <= tree + tree / 16) == !is_off);
        store_open(&store);
        expect_ok(content_digest(store.kv, &after));
        assert_true(before == after);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* However much of the file is free: it is not for a short script to wait. */
static void test_close__little_was_written_and_the_file_stays(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill_twice(store.kv, MANY, VALUE_BYTES);
    store_close(&store);
    uint64_t bytes = file_bytes(&store);
    store.options.no_background = false;
    store_open(&store);
    fill(store.kv, 600, VALUE_BYTES, 2);
    store_close(&store);
    assert_true(file_bytes(&store) >= bytes);
    store_open(&store);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- crashes and failures ----------------------------------------------------------------- */

enum { FEW = 1500 };

static void store_init_twice(struct store *store, struct btree_options options)
{
    options.durability = KV_FULL;
    store_init_simulated(store, &options);
    fill_twice(store->kv, FEW, 100);
}

static void test_close__power_cut_at_any_call_changes_no_content(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct btree_options options = small_options();
        options.no_mapped_stores = i == 1;
        struct store store;
        store_init_twice(&store, options);
        struct power_cuts cuts;
        uint64_t tree = tree_bytes(store.kv);
        power_cuts_begin(&cuts, &store, (uint64_t)i);
        expect_ok(compact_closing(btree_of(store.kv)));
        store_close(&store);
        power_cuts_end(&cuts);
        assert_true(file_bytes(&store) <= tree + tree / 8);
        store_open(&store);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* One call fails. What was committed is there when the store is open again. */
static bool fault_try(enum os_sim_fault_kind kind, uint64_t nth)
{
    struct store store;
    store_init_twice(&store, small_options());
    uint64_t before, after;
    expect_ok(content_digest(store.kv, &before));
    os_sim_fail_at(store.sim, nth, kind, false);
    sombra_err err = compact_closing(btree_of(store.kv));
    assert_true(!err || err == SOMBRA_IO || err == SOMBRA_LIMIT);
    struct kv *kv = store.kv;
    store.kv = NULL;
    err = kv_close(kv);
    assert_true(!err || err == SOMBRA_IO || err == SOMBRA_LIMIT);
    bool has_struck = os_sim_faults(store.sim) > 0;
    os_sim_fail(store.sim, NULL);
    store_open(&store);
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    store_expect_exact(store.kv);
    store_release(&store);
    return has_struck;
}

static void test_close__failing_call_loses_nothing(void **state)
{
    (void)state;
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_EIO, OS_SIM_ENOSPC };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        uint64_t nth = 1;
        while (fault_try(kinds[i], nth))
            nth += 1 + nth / 16;
        printf("%" PRIu64 " calls\n", nth);
    }
}

/* ---- when checkpoints begin --------------------------------------------------------------- */

/* Without a thread the commit that finds the log long enough does it. */
static void test_close__log_becomes_as_long_as_the_tree_before_a_checkpoint(void **state)
{
    (void)state;
    enum { RECORDS = 100000, BYTES = 700 };
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill(store.kv, RECORDS, BYTES, 0);
    struct kv_stats stats = store_stats(store.kv, false);
    assert_true(stats.log_bytes > 64 * MiB && stats.checkpoints == 0);
    fill(store.kv, RECORDS, BYTES, 1);
    assert_true(store_stats(store.kv, false).checkpoints == 1);
    store_release(&store);
    /* What was asked for is done. */
    options.checkpoint_log_bytes = 64 * MiB;
    store_init(&store, &options);
    fill(store.kv, RECORDS, BYTES, 0);
    assert_true(store_stats(store.kv, false).checkpoints == 1);
    store_release(&store);
}

/* A commit that waited for its sync asks late: the log that it saw is history. */
static void test_close__checkpoint_that_has_begun_is_not_asked_for_again(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.checkpoint_log_bytes = 64 * KiB;
    struct store store;
    store_init(&store, &options);
    store_use_log(store.kv);
    fill(store.kv, 10, 100, 0);
    uint64_t lsn = store_stats(store.kv, false).lsn;
    checkpoint(store.kv);
    fill(store.kv, 10, 100, 1);
    uint64_t done = store_stats(store.kv, false).checkpoints;
    checkpoint_consider(btree_of(store.kv), lsn, MiB);
    assert_true(store_stats(store.kv, false).checkpoints == done);
    checkpoint_consider(btree_of(store.kv), store_stats(store.kv, false).lsn, MiB);
    assert_true(store_stats(store.kv, false).checkpoints == done + 1);
    store_release(&store);
}

/* The log of one that begins checkpoints late is longer than another, who begins them early, may
 * make it: it could commit nothing then. */
static void test_close__early_checkpoints_beside_late_ones_refuse_no_commit(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init_simulated(&store, &options);
    store_use_log(store.kv);
    const struct logs *logs = &btree_of(store.kv)->logs;
    uint64_t offset = 0;
    for (uint64_t i = 0; offset < MiB || wal_file_bytes(logs->halves[logs->active]) > offset + 4096;
         i++) {
        fill(store.kv, 1, 1000, i);
        offset = logs_position(logs).offset;
    }
    options.checkpoint_log_bytes = 8 * KiB;
    options.wal_bypass_bytes = 16 * KiB;
    struct store other = store;
    other.options = options;
    other.os = os_sim_start(store.sim);
    other.kv = NULL;
    store_open(&other);
    fill(other.kv, 10, 1000, 1);
    assert_true(store_stats(other.kv, false).checkpoints == 1);
    store_close(&other);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close__much_was_written_and_the_file_is_as_long_as_its_tree),
        cmocka_unit_test(test_close__little_was_written_and_the_file_stays),
        cmocka_unit_test(test_close__power_cut_at_any_call_changes_no_content),
        cmocka_unit_test(test_close__failing_call_loses_nothing),
        cmocka_unit_test(test_close__log_becomes_as_long_as_the_tree_before_a_checkpoint),
        cmocka_unit_test(test_close__checkpoint_that_has_begun_is_not_asked_for_again),
        cmocka_unit_test(test_close__early_checkpoints_beside_late_ones_refuse_no_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
