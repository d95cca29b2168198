/* SPDX-License-Identifier: MIT */
/* Write transactions that are larger than the memory they may use, where pages are written by
 * calls: the pages spill to the file, and nothing else may be different.
 */
#include "btree_fixture.h"

#include "base/random.h"

enum { PAGE_BYTES = 4096, MEMORY_MAX = 1 << 20 };

static struct btree_options spilling(uint64_t txn_memory_max)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .durability = KV_OFF,
                                   .no_mapped_stores = true,
                                   .no_background = true,
                                   .map_bytes_max = GiB,
                                   .txn_memory_max = txn_memory_max };
}

static uint64_t images_bytes(const struct store *store)
{
    return store_stats(store->kv, false).memory_bytes;
}

/* Keys in an order that touches a leaf far away with each. */
static void put_scattered(struct kv_txn *txn, uint64_t number, uint64_t salt)
{
    uint8_t key[8];
    uint8_t value[40];
    memset(value, (int)(number + salt), sizeof value);
    expect_ok(kv_put(txn, kv_number_key(hash_u64(number), key), slice_of(value, sizeof value)));
}

static void expect_scattered(struct kv_txn *txn, uint64_t number, uint64_t salt)
{
    uint8_t key[8];
    uint8_t value[40];
    memset(value, (int)(number + salt), sizeof value);
    kv_expect_value(txn, kv_number_key(hash_u64(number), key), slice_of(value, sizeof value));
}

/* ---- memory ------------------------------------------------------------------------------ */

/* The pages of one operation come on top of the limit: copies of the path and of two splits. */
enum { OPERATION_BYTES = 64 * PAGE_BYTES };

static void test_spill__a_transactions_memory_is_bounded_by_the_option(void **state)
{
    (void)state;
    const uint64_t count = test_is_long() ? 1000000 : 50000;
    struct btree_options options = spilling(MEMORY_MAX);
    struct store store;
    store_init(&store, &options);
    for (int round = 0; round < 2; round++) { /* the first is given up */
        struct kv_txn *txn = kv_begin_write(store.kv);
        for (uint64_t i = 0; i < count; i++) {
            put_scattered(txn, i, 0);
            if (i % 64 == 0)
                assert_true(images_bytes(&store) <= MEMORY_MAX + OPERATION_BYTES);
            if (i % 512 == 0)
                expect_scattered(txn, i / 3, 0);
        }
        if (round == 0)
            kv_abort(txn);
        else
            kv_commit_ok(txn);
        assert_int_equal(store_stats(store.kv, false).entries, round ? count : 0);
        store_expect_exact(store.kv);
    }
    assert_true(store_stats(store.kv, false).file_bytes > 2 * MEMORY_MAX);
    store_reopen(&store);
    struct kv_txn *txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < count; i += 7)
        expect_scattered(txn, i, 0);
    kv_abort(txn);
    store_release(&store);
}

/* The log has the operations, the file the pages: the transaction is no checkpoint. */
static void test_spill__a_logged_transaction_survives_a_kill(void **state)
{
    (void)state;
    enum { COUNT = 20000, CHANGED = 1200 };
    struct btree_options options = spilling(256 * KiB);
    struct store store, copy;
    store_init(&store, &options);
    for (uint64_t i = 0; i < COUNT;) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        for (uint64_t end = i + 2000; i < end; i++)
            put_scattered(txn, i, 0);
        kv_commit_ok(txn);
    }
    uint64_t checkpoints = store_stats(store.kv, false).checkpoints;
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < CHANGED; i++)
        put_scattered(txn, i * 16, 1);
    assert_true(images_bytes(&store) <= 256 * KiB + OPERATION_BYTES);
    kv_commit_ok(txn);
    txn = kv_begin_write(store.kv); /* and one that is never committed */
    for (uint64_t i = 0; i < CHANGED; i++)
        put_scattered(txn, i * 16, 2);
    assert_int_equal(store_stats(store.kv, false).checkpoints, checkpoints);
    store_copy(&store, &copy);
    kv_abort(txn);
    struct store *stores[] = { &store, &copy };
    store_open(&copy);
    for (size_t s = 0; s < COUNT_OF(stores); s++) {
        store_expect_exact(stores[s]->kv);
        txn = kv_begin_read(stores[s]->kv);
        for (uint64_t i = 0; i < COUNT; i++)
            expect_scattered(txn, i, i % 16 == 0 && i < CHANGED * 16 ? 1 : 0);
        kv_abort(txn);
    }
    store_release(&copy);
    store_release(&store);
}

/* ---- savepoints -------------------------------------------------------------------------- */

static uint64_t digest_of(struct kv_txn *txn)
{
    uint64_t entries;
    return kv_digest(txn, (struct kv_range){ 0 }, &entries);
}

/* With no memory at all every operation spills what the one before changed. */
static void test_spill__a_rollback_brings_spilled_pages_back(void **state)
{
    (void)state;
    enum { DEPTH = 5, COUNT = 400 };
    struct btree_options options = spilling(1);
    options.wal_bypass_bytes = GiB;
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    uint64_t marks[DEPTH];
    uint64_t digests[DEPTH];
    for (uint64_t level = 0; level < DEPTH; level++) {
        for (uint64_t i = 0; i < COUNT; i++)
            put_scattered(txn, i * (level + 1), level);
        uint8_t low[8];
        uint8_t high[8];
        struct kv_range range = { kv_number_key(level << 60, low),
                                  kv_number_key((level << 60) + (UINT64_C(1) << 58), high) };
        expect_ok(kv_delete_range(txn, range, NULL));
        digests[level] = digest_of(txn);
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &marks[level]));
    }
    for (uint64_t level = DEPTH; level-- > 0;) {
        for (uint64_t i = 0; i < COUNT; i++)
            put_scattered(txn, i * 3, 77);
        assert_int_not_equal(digest_of(txn), digests[level]);
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[level]));
        assert_int_equal(digest_of(txn), digests[level]);
        assert_true(images_bytes(&store) <= OPERATION_BYTES * 5);
    }
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_reopen(&store);
    txn = kv_begin_read(store.kv);
    assert_int_equal(digest_of(txn), digests[0]);
    kv_abort(txn);
    store_release(&store);
}

/* ---- lifetimes --------------------------------------------------------------------------- */

static void test_spill__bytes_that_the_store_lent_may_be_given_back_to_it(void **state)
{
    (void)state;
    struct btree_options options = spilling(1);
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    char name[16];
    char words[600];
    memset(words, 'w', sizeof words - 1);
    words[sizeof words - 1] = 0;
    kv_put_text(txn, "w000", words);
    for (unsigned i = 1; i < 300; i++) {
        sombra_slice lent;
        snprintf(name, sizeof name, "w%03u", i - 1);
        expect_ok(kv_get(txn, slice_str(name), &lent));
        snprintf(name, sizeof name, "w%03u", i);
        expect_ok(kv_put(txn, slice_str(name), lent));
    }
    kv_expect_text(txn, "w299", words);
    /* A value that is a key, and one that is the bound of a range. */
    kv_put_text(txn, "to delete", "w100");
    kv_put_text(txn, "up to", "w250");
    sombra_slice lent;
    uint64_t removed;
    expect_ok(kv_get(txn, slice_str("to delete"), &lent));
    expect_ok(kv_delete(txn, lent));
    kv_expect_missing(txn, "w100");
    /* Every page is copied then, into memory that others had before. */
    uint64_t mark;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    expect_ok(kv_get(txn, slice_str("up to"), &lent));
    expect_ok(kv_delete_range(txn, (struct kv_range){ slice_str("w150"), lent }, &removed));
    assert_int_equal(removed, 100);
    kv_expect_missing(txn, "w249");
    kv_expect_text(txn, "w250", words);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_spill__a_cursor_goes_on_over_pages_that_spill_under_it(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct btree_options options = spilling(1);
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, COUNT, 30, 1);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (uint64_t i = 0; i < COUNT; i++) {
        bool found;
        uint8_t key[8];
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, kv_number_key(i, key)));
        if (i % 3 == 0)
            expect_ok(kv_delete(txn, cursor->entry.key));
        else
            expect_ok(kv_put(txn, cursor->entry.key, cursor->entry.key));
    }
    kv_cursor_close(cursor);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- failures ---------------------------------------------------------------------------- */

/* A spill that fails is the failure of the operation that it went before, which did nothing. */
static void test_spill__a_full_disk_fails_the_operation_and_loses_nothing(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    struct btree_options options = spilling(16 * PAGE_BYTES);
    struct store store;
    store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t i = 0; i < COUNT; i++)
        put_scattered(txn, i, 0);
    kv_commit_ok(txn);
    txn = kv_begin_write(store.kv);
    struct os_sim_fault fault = {
        .kind = OS_SIM_ENOSPC, .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_WRITE
    };
    os_sim_fail(store.sim, &fault);
    uint64_t done = 0;
    uint8_t key[8];
    sombra_err err = SOMBRA_OK;
    for (; done < COUNT && !err; done += !err)
        err = kv_put(txn, kv_number_key(hash_u64(done), key), slice_str("changed"));
    assert_int_equal(err, SOMBRA_LIMIT);
    assert_true(done > 0);
    expect_scattered(txn, done, 0);
    os_sim_fail(store.sim, NULL);
    /* With room again the transaction goes on where it was. */
    for (uint64_t i = done; i < COUNT; i++)
        expect_ok(kv_put(txn, kv_number_key(hash_u64(i), key), slice_str("changed")));
    kv_commit_ok(txn);
    txn = kv_begin_read(store.kv);
    for (uint64_t i = 0; i < COUNT; i++)
        kv_expect_value(txn, kv_number_key(hash_u64(i), key), slice_str("changed"));
    kv_abort(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spill__a_transactions_memory_is_bounded_by_the_option),
        cmocka_unit_test(test_spill__a_logged_transaction_survives_a_kill),
        cmocka_unit_test(test_spill__a_rollback_brings_spilled_pages_back),
        cmocka_unit_test(test_spill__bytes_that_the_store_lent_may_be_given_back_to_it),
        cmocka_unit_test(test_spill__a_cursor_goes_on_over_pages_that_spill_under_it),
        cmocka_unit_test(test_spill__a_full_disk_fails_the_operation_and_loses_nothing),
    };
    return cmocka_run_group_tests_name("btree, spill", tests, NULL, NULL);
}
