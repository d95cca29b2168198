/* SPDX-License-Identifier: MIT */
/* Tables that are made while a long transaction goes on: what it puts, changes and takes back
 * meanwhile is what is there afterwards, and nothing else is left. */
#include "lsm/lsm_internal.h"
#include "lsm/write_internal.h"
#include "lsm_store.h"

#include <limits.h>

enum { KEY_BYTES = 5, VALUE_BYTES = 60, ROW_MAX = 100 };

static const struct kv_range all = { { 0 }, { 0 } };

static struct lsm_options options_of(bool has_background)
{
    return (struct lsm_options){ LSM_STORE_SMALL(16 * KiB), .wal_bypass_bytes = 8 * KiB,
                                 .no_background = !has_background };
}

static sombra_slice key_of(uint8_t kind, uint64_t number, uint8_t to[KEY_BYTES])
{
    to[0] = kind;
    put_be32(to + 1, (uint32_t)number);
    return slice_of(to, KEY_BYTES);
}

/* Puts keys `first`, `first` + step, ... of a kind, many at once. */
static sombra_err put_row(struct kv_txn *txn, uint8_t kind, uint64_t first, uint64_t step,
                          size_t count, uint64_t salt)
{
    struct kv_entry entries[ROW_MAX];
    uint8_t keys[ROW_MAX][KEY_BYTES], values[ROW_MAX][VALUE_BYTES];
    assert(count <= ROW_MAX);
    for (size_t i = 0; i < count; i++) {
        memset(values[i], (int)((salt + i) * 37), sizeof values[i]);
        entries[i].key = key_of(kind, first + i * step, keys[i]);
        entries[i].value = slice_of(values[i], (salt + i) % VALUE_BYTES);
    }
    return kv_put_many(txn, entries, count);
}

static sombra_err put_rows(struct kv_txn *txn, uint8_t kind, uint64_t first, uint64_t last,
                           uint64_t salt)
{
    sombra_err err = SOMBRA_OK;
    for (; !err && first < last; first += ROW_MAX)
        err = put_row(txn, kind, first, 1, ROW_MAX, salt + first);
    return err;
}

static unsigned files_of(const struct lsm_store *store)
{
    return names_of(store->os, lsm_of(store->kv)->directory).tables;
}

static unsigned tables_of(struct kv *kv)
{
    struct view *view = view_acquire(lsm_of(kv));
    size_t count = 0;
    for (size_t i = 0; i < view->version->count; i++)
        count += view->version->runs[i].count;
    view_release(view);
    return (unsigned)count;
}

static void wait_for_files(const struct lsm_store *store, unsigned count)
{
    for (unsigned i = 0; i < 10000 && files_of(store) < count; i++)
        os_sleep_us(os_posix(), 1000);
    assert_true(files_of(store) >= count);
}

/* Compactions in the background come to their end. */
static void expect_no_strays(const struct lsm_store *store)
{
    for (unsigned i = 0; i < 10000 && files_of(store) != tables_of(store->kv); i++)
        os_sleep_us(os_posix(), 1000);
    assert_int_equal(files_of(store), tables_of(store->kv));
}

static struct kv_txn *begin_long(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    expect_ok(kv_expect(txn, MiB));
    return txn;
}

/* What the transaction had is what is there, in `entries` entries; no table is left over. */
static void commit_and_compare(struct lsm_store *store, struct kv_txn *txn, uint64_t entries)
{
    uint64_t found;
    const uint64_t digest = kv_digest(txn, all, &found);
    assert_int_equal(found, entries);
    kv_commit_ok(txn);
    assert_int_equal(kv_committed_digest(store->kv, NULL), digest);
    expect_no_strays(store);
    kv_expect_sound(store->kv);
}

/* Of the last commit: without a manifest that is how old they are. */
static void expect_newest(struct kv *kv)
{
    struct view *view = view_acquire(lsm_of(kv));
    unsigned count = 0;
    for (size_t i = 0; i < view->version->count; i++)
        for (size_t k = 0; k < view->version->runs[i].count; k++, count++)
            assert_int_equal(view->version->runs[i].tables[k]->meta.seq_max,
                             atomic_load(&lsm_of(kv)->seq));
    assert_true(count > 0);
    view_release(view);
}

/* ---- when ---------------------------------------------------------------------------------- */

static void test_early__rows_are_in_tables_before_the_commit(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(put_rows(txn, 1, 0, 3000, 1));
    wait_for_files(&store, 2);
    assert_int_equal(tables_of(store.kv), 0);
    commit_and_compare(&store, txn, 3000);
    expect_newest(store.kv);
    lsm_store_release(&store);
}

/* A row that ended is in tables, however short it was. */
static void test_early__a_row_that_was_left_is_not_waited_with(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(put_rows(txn, 1, 0, 100, 1));
    assert_int_equal(files_of(&store), 0);
    expect_ok(put_rows(txn, 2, 0, 100, 1));
    wait_for_files(&store, 1);
    commit_and_compare(&store, txn, 200);
    lsm_store_release(&store);
}

/* Before it is known to be long, in another order, and beside what others committed. */
static void test_early__what_was_there_is_cut_by_kind(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    options.wal_bypass_bytes = MiB;
    options.memtable_bytes = MiB;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(put_rows(txn, 3, 500, 1000, 1));
    kv_commit_ok(txn);
    txn = kv_begin_write(store.kv);
    expect_ok(put_rows(txn, 9, 0, 1000, 1));
    expect_ok(put_rows(txn, 3, 0, 700, 2));
    assert_int_equal(files_of(&store), 0);
    expect_ok(kv_expect(txn, 2 * MiB));
    expect_ok(put_rows(txn, 5, 0, 100, 2));
    wait_for_files(&store, 2);
    expect_ok(put_rows(txn, 5, 100, 200, 2));
    commit_and_compare(&store, txn, 2200);
    lsm_store_release(&store);
}

static void test_early__nothing_is_left_of_a_transaction_that_was_taken_back(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    lsm_store_init_simulated(&store, &options);
    const uint64_t digest = kv_committed_digest(store.kv, NULL);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(put_rows(txn, 1, 0, 3000, 1));
    wait_for_files(&store, 1);
    kv_abort(txn);
    assert_int_equal(files_of(&store), 0);
    assert_int_equal(kv_committed_digest(store.kv, NULL), digest);
    lsm_store_release(&store);
}

static void test_early__what_is_changed_later_is_not_what_was_first(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    uint64_t mark;
    uint8_t key[KEY_BYTES];
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(put_rows(txn, 1, 0, 2000, 1));
    expect_ok(put_rows(txn, 2, 0, 2000, 1));
    wait_for_files(&store, 2);
    expect_ok(kv_put(txn, key_of(1, 100, key), slice_str("changed")));
    expect_ok(kv_delete(txn, key_of(2, 100, key)));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    expect_ok(put_rows(txn, 4, 0, 2000, 1));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    commit_and_compare(&store, txn, 3999);
    lsm_store_release(&store);
}

/* Also of the first and the last that are in a table. */
static void test_early__a_change_of_any_one_key_is_not_lost(void **state)
{
    (void)state;
    uint8_t key[KEY_BYTES];
    for (uint64_t number = 0; number < 600; number += number % 100 ? 1 : 99) {
        struct lsm_store store;
        struct lsm_options options = options_of(true);
        lsm_store_init_simulated(&store, &options);
        struct kv_txn *txn = begin_long(store.kv);
        expect_ok(put_rows(txn, 1, 0, 600, 1));
        expect_ok(put_rows(txn, 2, 0, 300, 1));
        wait_for_files(&store, 3); /* the first two are whole */
        if (number % 2)
            expect_ok(kv_delete(txn, key_of(1, number, key)));
        else
            expect_ok(kv_put(txn, key_of(1, number, key), slice_str("changed")));
        commit_and_compare(&store, txn, 900 - number % 2);
        lsm_store_release(&store);
    }
}

static void test_early__rows_before_and_behind_a_table_are_not_one(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(put_rows(txn, 2, 1000, 2000, 1));
    wait_for_files(&store, 1);
    expect_ok(put_rows(txn, 2, 0, 100, 2));
    expect_ok(put_rows(txn, 2, 3000, 4000, 3));
    expect_ok(put_rows(txn, 3, 0, 100, 3));
    commit_and_compare(&store, txn, 2200);
    lsm_store_release(&store);
}

/* Who goes back to what is in tables already does so again. */
static void test_early__what_was_made_in_vain_twice_is_not_made_again(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    uint8_t key[KEY_BYTES];
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    for (uint8_t kind = 1; kind < 3; kind++) {
        expect_ok(put_rows(txn, kind, 0, 300, 1));
        wait_for_files(&store, 1);
        expect_ok(kv_put(txn, key_of(kind, 7, key), slice_str("changed")));
        for (unsigned i = 0; i < 10000 && files_of(&store) > 0; i++)
            os_sleep_us(os_posix(), 1000); /* it may be in the making */
        assert_int_equal(files_of(&store), 0);
    }
    expect_ok(put_rows(txn, 3, 0, 3000, 1));
    os_sleep_us(os_posix(), 50000);
    assert_int_equal(files_of(&store), 0);
    commit_and_compare(&store, txn, 3600);
    lsm_store_release(&store);
}

/* Deletes are dropped where nothing older is below: what is to be flushed before is older. */
static void test_early__beside_a_memtable_that_waits_no_tables_are_made(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    struct table_gate gate = { .free_thread = pthread_self() };
    uint8_t key[KEY_BYTES];
    options.wal_bypass_bytes = MiB;
    options.memtables_max = 2;
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, table_gate_hook, &gate);
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(put_rows(txn, 1, 0, 1000, 1));
    kv_commit_ok(txn);
    table_gate_wait(&gate);
    txn = kv_begin_write(store.kv);
    expect_ok(put_rows(txn, 1, 1000, 2000, 1));
    for (uint64_t number = 0; number < 100; number++)
        expect_ok(kv_delete(txn, key_of(1, number * 10, key)));
    expect_ok(kv_expect(txn, 2 * MiB));
    expect_ok(put_rows(txn, 2, 0, 100, 1));
    os_sleep_us(os_posix(), 50000);
    assert_true(atomic_load(&gate.made) <= 2); /* by the two threads that share the flush */
    atomic_store(&gate.most, UINT_MAX);
    commit_and_compare(&store, txn, 2000);
    os_sim_set_hook(store.sim, NULL, NULL);
    lsm_store_release(&store);
}

/* The disk may have no room for tables that are not used beside those that are. */
static void test_early__what_was_taken_back_leaves_the_disk_at_once(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    uint64_t mark;
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    expect_ok(put_rows(txn, 1, 0, 3000, 1));
    wait_for_files(&store, 2);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    for (unsigned i = 0; i < 10000 && files_of(&store) > 0; i++)
        os_sleep_us(os_posix(), 1000); /* one may be in the making */
    assert_int_equal(files_of(&store), 0);
    kv_abort(txn);
    lsm_store_release(&store);
}

static void test_early__what_was_taken_back_in_the_making_leaves_the_disk_too(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    struct table_gate gate = { .free_thread = pthread_self() };
    uint64_t mark;
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, table_gate_hook, &gate);
    struct kv_txn *txn = begin_long(store.kv);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    expect_ok(put_rows(txn, 1, 0, 300, 1));
    table_gate_wait(&gate);
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    atomic_store(&gate.most, 1);
    expect_ok(put_rows(txn, 2, 0, 300, 1));
    table_gate_wait(&gate); /* the next one is about to be made */
    assert_int_equal(files_of(&store), 0);
    atomic_store(&gate.most, UINT_MAX);
    kv_abort(txn);
    os_sim_set_hook(store.sim, NULL, NULL);
    lsm_store_release(&store);
}

static void test_early__beside_a_hidden_range_no_tables_are_made(void **state)
{
    (void)state;
    for (int is_known_late = 0; is_known_late < 2; is_known_late++) {
        struct lsm_store store;
        struct lsm_options options = options_of(true);
        struct kv_range range = { .low = slice_str("\x01"), .high = slice_str("\x02") };
        options.wal_bypass_bytes = options.memtable_bytes = MiB;
        lsm_store_init_simulated(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        if (!is_known_late)
            expect_ok(kv_expect(txn, 2 * MiB));
        expect_ok(put_rows(txn, 1, 0, 100, 1));
        expect_ok(kv_delete_range(txn, range, NULL));
        expect_ok(put_rows(txn, 2, 0, 3000, 1));
        if (is_known_late)
            expect_ok(kv_expect(txn, 2 * MiB));
        expect_ok(put_rows(txn, 3, 0, 3000, 1));
        os_sleep_us(os_posix(), 50000);
        assert_int_equal(files_of(&store), 0);
        commit_and_compare(&store, txn, 6000);
        lsm_store_release(&store);
    }
}

static sombra_err put_scattered(struct kv_txn *txn, uint8_t kind, uint64_t count)
{
    uint8_t key[KEY_BYTES], value[VALUE_BYTES] = { 0 };
    sombra_err err = SOMBRA_OK;
    for (uint64_t i = 0; !err && i < count; i++)
        err = kv_put(txn, key_of(kind, i * 7919 % count, key), slice_of(value, i % VALUE_BYTES));
    return err;
}

/* Two threads share it. */
static void test_early__what_lies_around_a_small_piece_is_flushed_with_it(void **state)
{
    (void)state;
    struct lsm_store store;
    for (uint8_t kind = 1; kind < 6; kind += 2) {
        struct lsm_options options = options_of(true);
        lsm_store_init_simulated(&store, &options);
        struct kv_txn *txn = begin_long(store.kv);
        expect_ok(put_rows(txn, kind, 0, 500, 1));
        wait_for_files(&store, 1);
        expect_ok(put_scattered(txn, 2, 2000));
        expect_ok(put_scattered(txn, 4, 2000));
        commit_and_compare(&store, txn, 4500);
        lsm_store_release(&store);
    }
}

/* ---- histories ----------------------------------------------------------------------------- */

/* One operation; what it does depends on the random numbers alone. */
static sombra_err step(struct random *random, struct kv_txn *txn, uint64_t mark)
{
    uint8_t kind = (uint8_t)random_below(random, 3), low[KEY_BYTES], high[KEY_BYTES];
    uint64_t number = random_below(random, 3000), salt = random_below(random, 1000);
    sombra_err err = SOMBRA_OK;
    switch (random_below(random, 40)) {
    case 0:
        err = kv_delete(txn, key_of(kind, number, low));
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    case 1:
        return kv_put(txn, key_of(kind, number, low), slice_of(low, salt % KEY_BYTES));
    case 2:
        if (random_below(random, 8))
            return SOMBRA_OK;
        return kv_delete_range(
            txn, (struct kv_range){ key_of(kind, number, low), key_of(kind, number + salt, high) },
            NULL);
    case 3:
        if (random_below(random, 4))
            return SOMBRA_OK;
        return kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark);
    case 4:
        return put_row(txn, kind, number, 1 + salt % 50, ROW_MAX / 2, salt);
    default:
        return put_rows(txn, kind, number, number + 1 + salt, salt);
    }
}

static struct kv_txn *work(struct kv *kv, uint64_t seed)
{
    struct random random;
    uint64_t mark;
    random_seed(&random, seed);
    struct kv_txn *txn = kv_begin_write(kv);
    if (random_below(&random, 2))
        expect_ok(put_rows(txn, 1, 0, 100, seed));
    if (random_below(&random, 2))
        expect_ok(kv_expect(txn, MiB));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    for (uint64_t left = 2 + random_below(&random, 25); left > 0; left--)
        expect_ok(step(&random, txn, mark));
    return txn;
}

static void test_early__random_histories_are_those_of_a_store_without_threads(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, kv_test_seed("early"));
    for (uint64_t round = kv_test_number("SOMBRA_EARLY_ROUNDS", 8); round > 0; round--) {
        struct lsm_store store, model;
        struct lsm_options options = options_of(true), plain = options_of(false);
        lsm_store_init_simulated(&store, &options);
        lsm_store_init_simulated(&model, &plain);
        for (unsigned i = 0; i < 8; i++) {
            uint64_t seed = random_below(&random, UINT64_MAX), entries, others;
            bool is_kept = random_below(&random, 4) > 0;
            struct kv_txn *txn = work(store.kv, seed), *other = work(model.kv, seed);
            assert_int_equal(kv_digest(txn, all, &entries), kv_digest(other, all, &others));
            if (is_kept) {
                kv_commit_ok(txn);
                kv_commit_ok(other);
            } else {
                kv_abort(txn);
                kv_abort(other);
            }
            assert_int_equal(kv_committed_digest(store.kv, NULL),
                             kv_committed_digest(model.kv, NULL));
        }
        kv_expect_sound(store.kv);
        lsm_store_close(&store);
        lsm_store_open(&store);
        assert_int_equal(kv_committed_digest(store.kv, NULL), kv_committed_digest(model.kv, NULL));
        expect_no_strays(&store);
        lsm_store_release(&store);
        lsm_store_release(&model);
    }
}

/* ---- failures and power cuts --------------------------------------------------------------- */

static struct kv_txn *load(struct kv *kv, sombra_err *out_err)
{
    struct kv_txn *txn = begin_long(kv);
    *out_err = put_rows(txn, 1, 0, 1500, 1);
    if (!*out_err)
        *out_err = put_rows(txn, 3, 0, 1500, 2);
    return txn;
}

static void test_early__a_call_that_fails_loses_no_more_than_the_transaction(void **state)
{
    (void)state;
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_ENOSPC, OS_SIM_EIO, OS_SIM_SHORT };
    for (uint64_t nth = 1; nth < 40; nth += 2) {
        struct lsm_store store;
        struct lsm_options options = options_of(true);
        sombra_err err;
        uint64_t entries;
        lsm_store_init_simulated(&store, &options);
        const uint64_t before = kv_committed_digest(store.kv, NULL);
        os_sim_fail(store.sim, &(struct os_sim_fault){ .kind = kinds[nth / 2 % COUNT_OF(kinds)],
                                                       .nth = nth,
                                                       .is_sticky = nth % 3 == 0 });
        struct kv_txn *txn = load(store.kv, &err);
        expect_ok(err);
        const uint64_t behind = kv_digest(txn, all, &entries);
        err = kv_commit(txn, KV_FULL);
        os_sim_fail(store.sim, NULL);
        assert_int_equal(kv_committed_digest(store.kv, NULL), err ? before : behind);
        (void)!kv_close(store.kv);
        store.kv = NULL;
        store.os = os_sim_start(store.sim);
        lsm_store_open(&store);
        const uint64_t digest = kv_committed_digest(store.kv, NULL);
        assert_true(digest == behind || (err && digest == before));
        kv_expect_sound(store.kv);
        expect_ok(put_rows(txn = kv_begin_write(store.kv), 7, 0, 100, 1));
        kv_commit_ok(txn); /* its first edit removes what a failure left */
        lsm_store_release(&store);
    }
}

/* The disk was full for a moment, say. */
static void test_early__a_table_that_could_not_be_made_is_made_by_the_commit(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(true);
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = begin_long(store.kv);
    os_sim_fail_at(store.sim, 1, OS_SIM_ENOSPC, false);
    expect_ok(put_rows(txn, 1, 0, 300, 1));
    for (unsigned i = 0; i < 10000 && os_sim_faults(store.sim) == 0; i++)
        os_sleep_us(os_posix(), 1000);
    assert_int_equal(os_sim_faults(store.sim), 1);
    os_sim_fail(store.sim, NULL);
    expect_ok(put_rows(txn, 2, 0, 300, 1));
    wait_for_files(&store, 1); /* they are made one after the other: the first has failed */
    commit_and_compare(&store, txn, 600);
    lsm_store_release(&store);
}

static void test_early__a_power_cut_leaves_all_of_it_or_nothing(void **state)
{
    (void)state;
    struct random random;
    unsigned cuts = 0;
    random_seed(&random, kv_test_seed("early cuts"));
    for (uint64_t round = kv_test_number("SOMBRA_CUTS", 40); round > 0; round--) {
        struct lsm_store store;
        struct lsm_options options = options_of(true);
        struct power_cut cut = { .variant =
                                     (enum os_sim_variant)random_below(&random, OS_SIM_VARIANTS),
                                 .at = 1 + random_below(&random, 50) };
        sombra_err err;
        uint64_t entries;
        lsm_store_init_simulated(&store, &options);
        const uint64_t before = kv_committed_digest(store.kv, NULL);
        os_sim_set_hook(store.sim, power_cut_hook, &cut);
        struct kv_txn *txn = load(store.kv, &err);
        expect_ok(err);
        const uint64_t behind = kv_digest(txn, all, &entries);
        kv_commit_ok(txn);
        atomic_store(&cut.is_committed, true);
        lsm_store_close(&store);
        os_sim_set_hook(store.sim, NULL, NULL);
        cuts += power_cut_expect_whole(&cut, &options, before, behind);
        lsm_store_open(&store);
        assert_int_equal(kv_committed_digest(store.kv, NULL), behind);
        lsm_store_release(&store);
    }
    assert_true(cuts > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early__rows_are_in_tables_before_the_commit),
        cmocka_unit_test(test_early__a_row_that_was_left_is_not_waited_with),
        cmocka_unit_test(test_early__what_was_there_is_cut_by_kind),
        cmocka_unit_test(test_early__nothing_is_left_of_a_transaction_that_was_taken_back),
        cmocka_unit_test(test_early__what_is_changed_later_is_not_what_was_first),
        cmocka_unit_test(test_early__a_change_of_any_one_key_is_not_lost),
        cmocka_unit_test(test_early__rows_before_and_behind_a_table_are_not_one),
        cmocka_unit_test(test_early__what_was_made_in_vain_twice_is_not_made_again),
        cmocka_unit_test(test_early__beside_a_memtable_that_waits_no_tables_are_made),
        cmocka_unit_test(test_early__what_was_taken_back_leaves_the_disk_at_once),
        cmocka_unit_test(test_early__what_was_taken_back_in_the_making_leaves_the_disk_too),
        cmocka_unit_test(test_early__beside_a_hidden_range_no_tables_are_made),
        cmocka_unit_test(test_early__what_lies_around_a_small_piece_is_flushed_with_it),
        cmocka_unit_test(test_early__random_histories_are_those_of_a_store_without_threads),
        cmocka_unit_test(test_early__a_call_that_fails_loses_no_more_than_the_transaction),
        cmocka_unit_test(test_early__a_table_that_could_not_be_made_is_made_by_the_commit),
        cmocka_unit_test(test_early__a_power_cut_leaves_all_of_it_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
