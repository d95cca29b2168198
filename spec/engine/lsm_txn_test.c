/* SPDX-License-Identifier: MIT */
/* Write transactions where the engine's own parts show: memtables that are switched around them,
 * the limit of their memory, memory that is out, failed ones. What holds for every engine is in the
 * contract (kv_contract.c). */
#include "lsm_store.h"

#include <stdlib.h>

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(16 * KiB), .no_background = true };
}

static void expect_text(const char *part)
{
    if (!strstr(sombra_err_message(), part))
        fail_msg("\"%s\" is not in: %s", part, sombra_err_message());
}

/* Numbers [0, 100) of the oldest commit, [100, 200) of the transaction's kept part. */
static void expect_kept(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_read(kv);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    uint64_t count;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, 190);
    for (uint64_t i = 0; i < 200; i++) {
        sombra_slice found, number = kv_number_key(i, key);
        if (i >= 40 && i < 50)
            expect_err(SOMBRA_NOT_FOUND, kv_get(txn, number, &found));
        else
            kv_expect_value(txn, number, kv_pattern(&value, i + (i < 100 ? 0 : 7), 300));
    }
    kv_abort(txn);
    buf_release(&value);
}

static void test_lsm_txn__savepoints_hold_in_transactions_larger_than_memtables(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 100, 300, 0); /* fills a memtable: the next one begins with a switch */
    kv_commit_ok(txn);

    txn = kv_begin_write(store.kv);
    uint64_t outer = 0, inner = 0, removed = 0;
    kv_put_numbers(txn, 100, 200, 300, 7);
    uint8_t low[8], high[8];
    struct kv_range range = { kv_number_key(40, low), kv_number_key(50, high) };
    expect_ok(kv_delete_range(txn, range, &removed));
    assert_int_equal(removed, 10);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &outer));
    kv_put_numbers(txn, 40, 400, 300, 1);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &inner));
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, &removed));
    assert_int_equal(removed, 400);
    kv_put_numbers(txn, 0, 10, 3000, 2);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &inner));
    uint64_t count;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
    assert_int_equal(count, 400);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &outer));
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &inner));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &outer));
    kv_commit_ok(txn);
    expect_kept(store.kv);

    txn = kv_begin_write(store.kv); /* switches: what was rolled back must not be flushed */
    kv_abort(txn);
    expect_kept(store.kv);
    os_sim_kill(store.os); /* nor be in the log */
    assert_int_not_equal(kv_close(store.kv), SOMBRA_OK);
    store.kv = NULL;
    store.os = os_sim_start(store.sim);
    lsm_store_open(&store);
    expect_kept(store.kv);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* Transactions that are all undone fill memtables too; no log grows for them. */
static void test_lsm_txn__aborted_transactions_fill_no_level(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_words(txn, "a b c");
    kv_commit_ok(txn);
    struct kv_maintenance job = { .kind = KV_STATS };
    for (unsigned i = 0; i < 20; i++) {
        txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 0, 200, 300, i);
        kv_abort(txn);
    }
    expect_ok(kv_maintain(store.kv, &job));
    assert_true(job.stats.level[0].tables <= 1);
    assert_true(job.stats.memtable_bytes < 400 * KiB);
    txn = kv_begin_read(store.kv);
    kv_expect_words(txn, NULL, NULL, "a b c");
    kv_abort(txn);
    lsm_store_release(&store);
}

/* ---- memory ------------------------------------------------------------------------------ */

static void test_lsm_txn__the_limit_of_memory_is_named_and_undoes_only_the_call(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.memtable_bytes = MiB;
    options.txn_memory_max = 256 * KiB;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    uint64_t fits = 0;
    sombra_err err = SOMBRA_OK;
    while (!err && fits < 10000) {
        err = kv_put(txn, kv_number_key(fits, key), kv_pattern(&value, fits, 1000));
        fits += !err;
    }
    assert_int_equal(err, SOMBRA_LIMIT);
    expect_text("txn_memory_max");
    expect_text("262144");
    assert_in_range(fits, 32, 260);
    expect_err(SOMBRA_LIMIT, kv_put(txn, slice_str("large"), kv_pattern(&value, 0, 200 * KiB)));
    uint64_t count;
    expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count)); /* it is usable */
    assert_int_equal(count, fits);
    kv_commit_ok(txn);

    txn = kv_begin_write(store.kv); /* the limit is of each, not of the memtable */
    for (uint64_t i = 0; i < fits; i++)
        expect_ok(kv_put(txn, kv_number_key(i, key), kv_pattern(&value, i, 1000)));
    kv_commit_ok(txn);
    uint64_t entries;
    kv_committed_digest(store.kv, &entries);
    assert_int_equal(entries, fits);

    txn = kv_begin_write(store.kv); /* it is held twice: in the memtable and for the log */
    expect_err(SOMBRA_LIMIT, kv_put(txn, slice_str("large"), kv_pattern(&value, 0, 130 * KiB)));
    expect_ok(kv_put(txn, slice_str("large"), kv_pattern(&value, 0, 120 * KiB)));
    kv_abort(txn);
    buf_release(&value);
    lsm_store_release(&store);
}

/* Nor by a replay: there is room for some of its keys, and what they said to the log is taken back
 * too. */
static void test_lsm_txn__a_range_that_meets_the_limit_is_not_deleted(void **state)
{
    (void)state;
    enum { FEW = 60, LONG_KEY = 1000 };
    struct lsm_store store;
    struct lsm_options options = quiet();
    uint8_t key[LONG_KEY] = { 0 };
    options.memtable_bytes = MiB;
    options.txn_memory_max = 32 * KiB;
    options.wal_bypass_bytes = MiB;
    lsm_store_init_simulated(&store, &options);
    for (uint8_t i = 0; i < FEW; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        key[0] = i;
        expect_ok(kv_put(txn, slice_of(key, sizeof key), slice_str("value")));
        kv_commit_ok(txn);
    }
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_text(txn, "key", "value");
    expect_err(SOMBRA_LIMIT, kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    expect_ok(kv_commit(txn, KV_FULL));
    uint64_t entries;
    const uint64_t digest = kv_committed_digest(store.kv, &entries);
    assert_int_equal(entries, FEW + 1);
    struct os_sim *image = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    assert_int_equal(lsm_store_image_digest(image, &options), digest);
    os_sim_free(image);
    lsm_store_release(&store);
}

static void test_lsm_txn__what_was_taken_back_is_not_counted(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    uint64_t mark;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_text(txn, "key", "value");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_put_text(txn, "another", "and longer");
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_put_text(txn, "k", "v");
    kv_commit_ok(txn);
    assert_int_equal(kv_metrics_count(store.kv->metrics, KV_COUNTER_COMMIT_BYTES), 3 + 5 + 2);
    lsm_store_release(&store);
}

/* One of each kind of write, with a value that needs memory of its own. */
static sombra_err write_some(struct kv_txn *txn, sombra_slice value)
{
    uint8_t low[8], high[8];
    struct kv_range range = { kv_number_key(10, low), kv_number_key(150, high) };
    sombra_err err = kv_put(txn, slice_str("put"), value);
    if (!err)
        err = kv_delete(txn, kv_number_key(5, low));
    kv_number_key(10, low);
    if (!err)
        err = kv_delete_range(txn, range, NULL);
    if (!err)
        err = kv_put(txn, kv_number_key(20, high), value);
    return err;
}

/* After a want of memory the transaction refuses all but its end; nothing of it stays. */
static void test_lsm_txn__without_memory_a_transaction_fails_whole(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.memtable_bytes = 64 * MiB;
    mem_test_fail_at(0, false);
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 200, 100, 0);
    kv_commit_ok(txn);
    struct buf value = BUF_INIT;
    sombra_slice large = kv_pattern(&value, 1, 200 * KiB);
    uint64_t entries, digest = kv_committed_digest(store.kv, &entries);
    unsigned failures = 0;
    for (uint64_t nth = 1;; nth++) {
        txn = kv_begin_write(store.kv);
        mem_test_fail_at(nth, true);
        sombra_err err = write_some(txn, large);
        mem_test_fail_at(0, false);
        if (!err) {
            kv_abort(txn);
            break;
        }
        failures++;
        assert_int_equal(err, SOMBRA_NOMEM);
        sombra_slice found;
        uint64_t count;
        struct kv_cursor *cursor;
        expect_err(SOMBRA_INVALID, kv_get(txn, slice_str("put"), &found));
        expect_text("failed in the middle");
        expect_err(SOMBRA_INVALID, kv_put(txn, slice_str("put"), slice_str("again")));
        expect_err(SOMBRA_INVALID, kv_count(txn, (struct kv_range){ 0 }, 0, &count));
        expect_err(SOMBRA_INVALID, kv_estimate(txn, (struct kv_range){ 0 }, &count));
        expect_err(SOMBRA_INVALID, kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
        if (nth % 2) {
            expect_err(SOMBRA_INVALID, kv_commit(txn, KV_FULL));
            expect_text("nothing was committed");
        } else {
            kv_abort(txn);
        }
        assert_int_equal(kv_committed_digest(store.kv, &entries), digest);
        assert_int_equal(entries, 200);
    }
    assert_true(failures > 2);
    buf_release(&value);
    lsm_store_release(&store);
}

static void test_lsm_txn__a_rollback_makes_a_failed_transaction_usable(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.memtable_bytes = 64 * MiB;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    struct buf value = BUF_INIT;
    sombra_slice large = kv_pattern(&value, 1, 4 * MiB);
    struct kv_cursor *cursor;
    uint64_t mark = 0;
    bool found;
    kv_put_words(txn, "a b");
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    expect_ok(kv_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_put_text(txn, "c", "undone");
    mem_test_fail_at(1, true);
    sombra_err err = kv_put(txn, slice_str("d"), large);
    mem_test_fail_at(0, false);
    assert_int_equal(err, SOMBRA_NOMEM);
    expect_err(SOMBRA_INVALID, kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, slice_str("b")));
    kv_cursor_close(cursor);
    kv_put_text(txn, "d", "d");
    kv_commit_ok(txn);
    txn = kv_begin_read(store.kv);
    kv_expect_words(txn, NULL, NULL, "a b d");
    kv_abort(txn);
    buf_release(&value);
    lsm_store_release(&store);
}

/* ---- readers ----------------------------------------------------------------------------- */

/* A snapshot is what it was, whatever became of the memtables and tables since. */
static void test_lsm_txn__snapshots_outlive_switches_flushes_and_compactions(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    struct kv_txn *readers[6];
    uint64_t digests[6], entries;
    lsm_store_init_simulated(&store, &options);
    for (unsigned i = 0; i < 6; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 20 * i, 20 * i + 100, 300, i);
        if (i > 2)
            expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        kv_put_text(txn, "round", "here");
        kv_commit_ok(txn);
        readers[i] = kv_begin_read(store.kv);
        digests[i] = kv_digest(readers[i], (struct kv_range){ 0 }, &entries);
        if (i == 3) {
            struct kv_maintenance job = { .kind = KV_COMPACT };
            expect_ok(kv_maintain(store.kv, &job));
        }
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(kv_digest(readers[i], (struct kv_range){ 0 }, &entries), digests[i]);
        kv_abort(readers[i]);
    }
    lsm_store_release(&store);
}

static uint64_t estimate_of(struct kv_txn *txn, uint64_t first, uint64_t last)
{
    uint8_t low[8], high[8];
    uint64_t count;
    expect_ok(kv_estimate(
        txn, (struct kv_range){ kv_number_key(first, low), kv_number_key(last, high) }, &count));
    return count;
}

static void expect_estimates(struct kv_txn *txn)
{
    uint64_t all;
    assert_int_equal(estimate_of(txn, 1000, 3000), 0);
    assert_int_equal(estimate_of(txn, 1500, 2500), 0);
    assert_in_range(estimate_of(txn, 1000, 4000), 700, 1300);
    assert_in_range(estimate_of(txn, 2000, 4000), 700, 1300);
    assert_in_range(estimate_of(txn, 0, 4000), 1600, 2400); /* in the middle */
    assert_in_range(estimate_of(txn, 500, 3500), 700, 1300);
    assert_in_range(estimate_of(txn, 500, 2500), 300, 700);
    expect_ok(kv_estimate(txn, (struct kv_range){ 0 }, &all));
    assert_in_range(all, 1600, 2400);
}

/* More holes than an estimate looks at, in memory and in a table: never too few are found. */
static void test_lsm_txn__estimates_know_of_many_holes(void **state)
{
    (void)state;
    enum { COUNT = 20000, STEP = 200, HOLE = 150 };
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.level0_compact = options.level0_slow = options.level0_stop = 30;
    options.memtable_bytes = 64 * MiB;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, COUNT, 30, 0);
    kv_commit_ok(txn);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    for (uint64_t from = 0; from < COUNT; from += STEP) {
        uint8_t low[8], high[8];
        struct kv_range hole = { kv_number_key(from, low), kv_number_key(from + HOLE, high) };
        txn = kv_begin_write(store.kv);
        expect_ok(kv_delete_range(txn, hole, NULL));
        kv_commit_ok(txn);
        if (from == COUNT / 2) /* half of them are in a table then */
            expect_ok(kv_maintain(store.kv, &job));
    }
    txn = kv_begin_read(store.kv);
    for (uint64_t from = 0; from + 20 * STEP <= COUNT; from += 7 * STEP)
        assert_in_range(estimate_of(txn, from, from + 20 * STEP), 600, 1500);
    uint64_t all;
    expect_ok(kv_estimate(txn, (struct kv_range){ 0 }, &all));
    assert_in_range(all, COUNT / 4 - 500, COUNT);
    kv_abort(txn);
    lsm_store_release(&store);
}

/* A planner would read a removed range for a full one, and a full one for the larger. */
static void test_lsm_txn__estimates_know_what_is_removed(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    options.level0_compact = options.level0_slow = options.level0_stop =
        30; /* the tables stay as they are */
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 4000, 30, 0);
    kv_commit_ok(txn);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    txn = kv_begin_read(store.kv);
    assert_in_range(estimate_of(txn, 1000, 3000), 1500, 2500);
    struct kv_txn *writer = kv_begin_write(store.kv);
    uint8_t low[8], high[8];
    for (uint64_t at = 1000; at < 3000; at += 1000) { /* two ranges that touch */
        struct kv_range range = { kv_number_key(at, low), kv_number_key(at + 1000, high) };
        expect_ok(kv_delete_range(writer, range, NULL));
    }
    expect_estimates(writer);
    assert_in_range(estimate_of(txn, 1000, 3000), 1500, 2500); /* an older snapshot */
    kv_commit_ok(writer);
    kv_abort(txn);
    expect_ok(kv_maintain(store.kv, &job));
    txn = kv_begin_read(store.kv);
    expect_estimates(txn); /* from a table that hides */
    kv_abort(txn);
    txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    uint64_t all;
    expect_ok(kv_estimate(txn, (struct kv_range){ 0 }, &all));
    assert_int_equal(all, 0);
    kv_abort(txn);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_txn__without_memory_a_transaction_fails_whole),
        cmocka_unit_test(test_lsm_txn__savepoints_hold_in_transactions_larger_than_memtables),
        cmocka_unit_test(test_lsm_txn__aborted_transactions_fill_no_level),
        cmocka_unit_test(test_lsm_txn__the_limit_of_memory_is_named_and_undoes_only_the_call),
        cmocka_unit_test(test_lsm_txn__a_range_that_meets_the_limit_is_not_deleted),
        cmocka_unit_test(test_lsm_txn__what_was_taken_back_is_not_counted),
        cmocka_unit_test(test_lsm_txn__a_rollback_makes_a_failed_transaction_usable),
        cmocka_unit_test(test_lsm_txn__snapshots_outlive_switches_flushes_and_compactions),
        cmocka_unit_test(test_lsm_txn__estimates_know_what_is_removed),
        cmocka_unit_test(test_lsm_txn__estimates_know_of_many_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
