/* SPDX-License-Identifier: MIT */
/* Puts of what stands there already: no page, no log record, no sync, and yet durable. */
#include "btree_fixture.h"

enum { ENTRIES = 2000, LONG_BYTES = 9000 };

static struct btree_options quiet(void)
{
    return (struct btree_options){ .page_bytes = 4096,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .sync_interval_ms = 3600 * 1000,
                                   .no_background = true };
}

static void put_numbered(struct kv_txn *txn, uint64_t number, uint64_t seed, size_t bytes)
{
    struct buf value = BUF_INIT;
    uint8_t key[8];
    expect_ok(kv_put(txn, kv_number_key(number, key), kv_pattern(&value, seed, bytes)));
    buf_release(&value);
}

/* The second entry has a run of its own. */
static size_t bytes_of(uint64_t number)
{
    return number == 1 ? LONG_BYTES : 50;
}

static void put_all(struct kv *kv, enum kv_durability durability)
{
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < ENTRIES; i++)
        put_numbered(txn, i, i, bytes_of(i));
    expect_ok(kv_commit(txn, durability));
}

static uint64_t counted(struct kv *kv, enum kv_counter counter)
{
    return kv_metrics_count(kv->metrics, counter);
}

static void expect_unchanged(struct kv *kv, const struct kv_stats *before, uint64_t log_bytes)
{
    struct kv_stats after = store_stats(kv, false);
    assert_int_equal(after.txn, before->txn);
    assert_int_equal(after.lsn, before->lsn);
    assert_int_equal(after.pages_free, before->pages_free);
    assert_int_equal(after.pages_pending, before->pages_pending);
    assert_int_equal(counted(kv, KV_COUNTER_LOG_BYTES), log_bytes);
    store_expect_exact(kv);
}

static void expect_puts_change_nothing(bool no_mapped_stores)
{
    struct store store;
    struct btree_options options = quiet();
    options.no_mapped_stores = no_mapped_stores;
    store_init(&store, &options);
    put_all(store.kv, KV_FULL);
    struct kv_stats before = store_stats(store.kv, false);
    uint64_t log_bytes = counted(store.kv, KV_COUNTER_LOG_BYTES);
    uint64_t syncs = counted(store.kv, KV_COUNTER_LOG_SYNCS);
    put_all(store.kv, KV_FULL);
    put_all(store.kv, KV_NORMAL);
    expect_unchanged(store.kv, &before, log_bytes);
    assert_int_equal(counted(store.kv, KV_COUNTER_LOG_SYNCS), syncs);
    store_release(&store);
}

static void test_put__of_what_is_there_changes_nothing(void **state)
{
    (void)state;
    expect_puts_change_nothing(false);
    expect_puts_change_nothing(true);
}

static void test_put__of_one_byte_else_is_a_change(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    struct buf value = BUF_INIT;
    uint8_t key[8];
    store_init(&store, &options);
    put_all(store.kv, KV_FULL);
    for (uint64_t i = 0; i < 2; i++) { /* the last byte, of a short value and of a long one */
        uint64_t lsn = store_stats(store.kv, false).lsn;
        struct kv_txn *txn = kv_begin_write(store.kv);
        (void)kv_pattern(&value, i, bytes_of(i));
        value.data[value.bytes - 1] ^= 1;
        expect_ok(kv_put(txn, kv_number_key(i, key), buf_slice(&value)));
        kv_commit_ok(txn);
        assert_int_equal(store_stats(store.kv, false).lsn, lsn + 1);
        txn = kv_begin_read(store.kv);
        kv_expect_value(txn, kv_number_key(i, key), buf_slice(&value));
        kv_abort(txn);
    }
    buf_release(&value);
    store_release(&store);
}

/* Nobody has read the runs since the file was opened. */
static void test_put__compares_long_values_that_were_never_read(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init(&store, &options);
    put_all(store.kv, KV_FULL);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        store_reopen(&store);
        uint64_t txn_before = store_stats(store.kv, false).txn;
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_numbered(txn, 1, seed, LONG_BYTES);
        kv_commit_ok(txn);
        bool is_changed = store_stats(store.kv, false).txn != txn_before;
        assert_int_equal(is_changed, seed != 1);
        store_expect_exact(store.kv);
    }
    store_release(&store);
}

static void test_put_many__of_what_is_there_changes_nothing(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    static struct kv_entry entries[ENTRIES];
    static struct buf values[ENTRIES];
    static uint8_t keys[ENTRIES][8];
    store_init(&store, &options);
    put_all(store.kv, KV_FULL);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        values[i] = (struct buf)BUF_INIT;
        entries[i].key = kv_number_key(i, keys[i]);
        entries[i].value = kv_pattern(&values[i], i, bytes_of(i));
    }
    struct kv_stats before = store_stats(store.kv, false);
    uint64_t log_bytes = counted(store.kv, KV_COUNTER_LOG_BYTES);
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(kv_put_many(txn, entries, ENTRIES));
    kv_commit_ok(txn);
    expect_unchanged(store.kv, &before, log_bytes);
    /* One other value among them, beside a long one that stays. */
    entries[2].value = kv_pattern(&values[2], 77, 50);
    txn = kv_begin_write(store.kv);
    expect_ok(kv_put_many(txn, entries, ENTRIES));
    kv_commit_ok(txn);
    assert_int_equal(store_stats(store.kv, false).lsn, before.lsn + 1);
    assert_int_equal(store_stats(store.kv, false).entries, ENTRIES);
    txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < ENTRIES; i++)
        kv_expect_value(txn, entries[i].key, entries[i].value);
    kv_abort(txn);
    store_expect_exact(store.kv);
    for (uint64_t i = 0; i < ENTRIES; i++)
        buf_release(&values[i]);
    store_release(&store);
}

/* What the writer has found there may not be durable yet: after its commit it is. */
static void test_commit__of_nothing_makes_durable_what_it_saw(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init_simulated(&store, &options);
    put_all(store.kv, KV_FULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_numbered(txn, 5, 500, 50);
    expect_ok(kv_commit(txn, KV_OFF));
    struct kv_stats stats = store_stats(store.kv, false);
    assert_true(stats.durable_lsn < stats.lsn);
    txn = kv_begin_write(store.kv);
    put_numbered(txn, 5, 500, 50);
    expect_ok(kv_commit(txn, KV_FULL));
    assert_int_equal(store_stats(store.kv, false).lsn, stats.lsn);
    assert_int_equal(store_stats(store.kv, false).durable_lsn, stats.lsn);
    store_release(&store);
}

static void test_put__back_to_what_a_savepoint_had_is_a_change(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    struct buf value = BUF_INIT;
    uint8_t key[8];
    uint64_t mark;
    store_init(&store, &options);
    put_all(store.kv, KV_FULL);
    struct kv_txn *txn = kv_begin_write(store.kv);
    put_numbered(txn, 7, 700, 50);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    put_numbered(txn, 7, 700, 50);
    put_numbered(txn, 7, 7, 50);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_expect_value(txn, kv_number_key(7, key), kv_pattern(&value, 700, 50));
    kv_commit_ok(txn);
    txn = kv_begin_read(store.kv);
    kv_expect_value(txn, kv_number_key(7, key), kv_pattern(&value, 700, 50));
    kv_abort(txn);
    store_expect_exact(store.kv);
    buf_release(&value);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put__of_what_is_there_changes_nothing),
        cmocka_unit_test(test_put__of_one_byte_else_is_a_change),
        cmocka_unit_test(test_put__compares_long_values_that_were_never_read),
        cmocka_unit_test(test_put_many__of_what_is_there_changes_nothing),
        cmocka_unit_test(test_commit__of_nothing_makes_durable_what_it_saw),
        cmocka_unit_test(test_put__back_to_what_a_savepoint_had_is_a_change),
    };
    return cmocka_run_group_tests_name("btree, same", tests, NULL, NULL);
}
