/* SPDX-License-Identifier: MIT */
/* Memtables on their way into tables: when that begins, and the two threads that share a large one.
 */
#include "lsm/compaction.h"
#include "lsm/write_internal.h"
#include "lsm_store.h"

#include <limits.h>
#include <pthread.h>

static const struct kv_range all = { { 0 }, { 0 } };

static struct lsm_options options_of(uint64_t table_bytes)
{
    return (struct lsm_options){ .create = true,
                                 .memtable_bytes = 16 * KiB,
                                 .block_bytes = KiB,
                                 .table_bytes = table_bytes,
                                 .cache_bytes = 256 * KiB };
}

static void commit_numbers(struct kv *kv, uint64_t first, uint64_t last, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, 60, salt);
    kv_commit_ok(txn);
}

static sombra_err checkpoint(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    return kv_maintain(kv, &job);
}

static size_t tables_of(struct kv *kv)
{
    struct view *view = view_acquire(lsm_of(kv));
    size_t count = 0;
    for (size_t i = 0; i < view->version->count; i++)
        count += view->version->runs[i].count;
    view_release(view);
    return count;
}

/* The next transaction began it before, and there may be none. */
static void test_flush__begins_with_the_commit_that_fills_the_memtable(void **state)
{
    (void)state;
    enum { TRIES = 10000 };
    struct lsm_store store;
    struct lsm_options options = options_of(MiB);
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 10, 1);
    assert_int_equal(tables_of(store.kv), 0);
    struct kv_txn *before = kv_begin_read(store.kv);
    commit_numbers(store.kv, 0, 150, 2);
    for (unsigned i = 0; i < TRIES && tables_of(store.kv) == 0; i++)
        os_sleep_us(os_posix(), 1000);
    assert_true(tables_of(store.kv) > 0);
    uint64_t count = 0;
    expect_ok(kv_count(before, all, 0, &count));
    assert_int_equal(count, 10);
    kv_abort(before);
    kv_committed_digest(store.kv, &count);
    assert_int_equal(count, 150);
    lsm_store_release(&store);
}

static void test_flush__two_threads_share_what_one_transaction_filled(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(16 * MiB);
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 3000, 1);
    expect_ok(checkpoint(store.kv));
    struct view *view = view_acquire(lsm_of(store.kv));
    assert_int_equal(view->version->count, 1);
    const struct version_run *run = &view->version->runs[0];
    assert_int_equal(run->count, 2); /* which one thread would have made one */
    const struct table_meta *low = &run->tables[0]->meta, *high = &run->tables[1]->meta;
    assert_true(slice_compare(low->end, high->low) <= 0);
    assert_int_equal(low->entries + high->entries, 3000);
    assert_in_range(low->entries, 1000, 2000);
    view_release(view);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* Ranges that go over the place where the keys are cut; tables that are small; openings between. */
static void test_flush__parts_keep_what_was_written(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(8 * KiB);
    lsm_store_init_simulated(&store, &options);
    for (uint64_t round = 0; round < 12; round++) {
        uint8_t low[8], high[8];
        uint64_t entries, again, removed;
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, round * 100, round * 100 + 2000, 60, round);
        struct kv_range range = { kv_number_key(500 + round * 50, low),
                                  kv_number_key(2500 - round * 50, high) };
        if (round % 3 > 0)
            expect_ok(kv_delete_range(txn, range, &removed));
        kv_put_numbers(txn, round * 170, round * 170 + 100, 60, round + 1);
        uint64_t digest = kv_digest(txn, all, &entries);
        kv_commit_ok(txn);
        assert_int_equal(kv_committed_digest(store.kv, &again), digest); /* beside the flush */
        expect_ok(checkpoint(store.kv));
        assert_int_equal(kv_committed_digest(store.kv, &again), digest);
        assert_int_equal(again, entries);
        if (round % 4 == 3) {
            lsm_store_close(&store);
            lsm_store_open(&store);
            assert_int_equal(kv_committed_digest(store.kv, &again), digest);
        }
        kv_expect_sound(store.kv);
    }
    lsm_store_release(&store);
}

struct failing {
    _Atomic uint64_t writes;
    _Atomic uint64_t nth; /* of tables, and all behind it */
};

static bool is_table(const char *path)
{
    size_t bytes = path ? strlen(path) : 0;
    return bytes > 4 && strcmp(path + bytes - 4, ".sst") == 0;
}

static void fail_tables(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    static const struct os_sim_fault full = { .kind = OS_SIM_ENOSPC,
                                              .nth = 1,
                                              .calls = 1u << OS_SIM_WRITE };
    struct failing *failing = context;
    if (event->call == OS_SIM_WRITE)
        os_sim_fail(sim, is_table(event->path) &&
                                 atomic_fetch_add(&failing->writes, 1) + 1 >= failing->nth
                             ? &full
                             : NULL);
}

/* Those that it made are gone; it may be tried again just now. */
static void expect_no_files(const struct lsm_store *store)
{
    enum { TRIES = 10000 };
    unsigned files = 1;
    for (unsigned i = 0; i < TRIES && files > 0; i++) {
        files = names_of(store->os, lsm_of(store->kv)->directory).tables;
        if (files > 0)
            os_sleep_us(os_posix(), 1000);
    }
    assert_int_equal(files, 0);
}

/* Whichever part fails: nothing changes, and a later try makes tables of all. */
static void test_flush__of_which_a_part_fails_is_done_again(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 4; nth++) {
        struct lsm_store store;
        struct lsm_options options = options_of(16 * KiB);
        struct failing failing = { .nth = nth };
        uint64_t entries, again;
        lsm_store_init_simulated(&store, &options);
        os_sim_set_hook(store.sim, fail_tables, &failing);
        commit_numbers(store.kv, 0, 2000, nth);
        assert_int_not_equal(checkpoint(store.kv), SOMBRA_OK);
        assert_int_equal(tables_of(store.kv), 0);
        expect_no_files(&store);
        uint64_t digest = kv_committed_digest(store.kv, &entries);
        assert_int_equal(entries, 2000);
        failing.nth = UINT64_MAX;
        expect_ok(checkpoint(store.kv));
        os_sim_set_hook(store.sim, NULL, NULL);
        os_sim_fail(store.sim, NULL);
        assert_true(tables_of(store.kv) > 0);
        assert_int_equal(kv_committed_digest(store.kv, &again), digest);
        kv_expect_sound(store.kv);
        lsm_store_release(&store);
    }
}

/* ---- logs --------------------------------------------------------------------------------- */

/* A log is needed until the memtable that was begun with it is flushed, and not the one before. */
static void test_flush__keeps_the_log_of_the_memtable_behind_it(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = options_of(MiB);
    struct table_gate gate = { .free_thread = pthread_self() };
    options.memtables_max = 3;
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, table_gate_hook, &gate);
    for (uint64_t i = 0; i < 3; i++) /* each leaves a full memtable, and a new log */
        commit_numbers(store.kv, i * 150, i * 150 + 150, i);
    const uint64_t digest = kv_committed_digest(store.kv, NULL);
    table_gate_wait(&gate);
    assert_int_equal(names_of(store.os, lsm_of(store.kv)->directory).logs, 4);
    while (tables_of(store.kv) == 0) { /* then one was flushed, and the next one is not */
        atomic_fetch_add(&gate.most, 1);
        table_gate_wait(&gate);
    }
    struct os_sim *image = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    assert_int_equal(lsm_store_image_digest(image, &options), digest);
    os_sim_free(image);
    atomic_store(&gate.most, UINT_MAX);
    expect_ok(checkpoint(store.kv));
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_int_equal(kv_committed_digest(store.kv, NULL), digest);
    lsm_store_release(&store);
}

/* ---- commits that wait for their sync ---------------------------------------------------- */

struct waiting {
    pthread_t main;
    _Atomic(pthread_t) flusher; /* which syncs what KV_NORMAL left; 0 = it did not yet */
    _Atomic bool is_armed, is_synced, has_helper, is_late;
};

/* As long as it takes, or three seconds of its clock. */
static void wait_for(const struct os_sim_event *event, atomic_bool *what)
{
    enum { TRIES = 3000 };
    for (unsigned i = 0; i < TRIES && !atomic_load(what); i++) {
        os_sleep_us(event->process, 1000);
        os_sleep_us(os_posix(), 1000);
    }
}

/* Who comes first takes both parts of a small flush: the one that syncs leaves one to the other. */
static void hold_helper(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct waiting *waiting = context;
    pthread_t self = pthread_self(), flusher = atomic_load(&waiting->flusher);
    (void)sim;
    if (event->call == OS_SIM_SYNC && !is_table(event->path) && self != waiting->main) {
        atomic_store(&waiting->flusher, self);
        if (atomic_load(&waiting->is_armed))
            atomic_store(&waiting->is_synced, true);
    }
    if (event->call != OS_SIM_WRITE || !is_table(event->path))
        return;
    if (self == flusher) {
        wait_for(event, &waiting->has_helper);
        return;
    }
    if (atomic_exchange(&waiting->has_helper, true))
        return;
    wait_for(event, &waiting->is_synced);
    atomic_store(&waiting->is_late, !atomic_load(&waiting->is_synced));
}

/* The thread that flushes is the one that syncs: while the other part takes long, too. */
static void test_flush__syncs_while_it_waits_for_its_other_part(void **state)
{
    (void)state;
    enum { TRIES = 10000 };
    struct lsm_store store;
    struct lsm_options options = options_of(16 * MiB);
    struct waiting waiting = { .main = pthread_self() };
    options.sync_interval_ms = 1;
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, hold_helper, &waiting);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 10, 60, 1);
    expect_ok(kv_commit(txn, KV_NORMAL));
    for (unsigned i = 0; i < TRIES && !atomic_load(&waiting.flusher); i++) {
        os_sleep_us(store.os, 1000);
        os_sleep_us(os_posix(), 1000);
    }
    assert_true(atomic_load(&waiting.flusher));
    txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 3000, 60, 2);
    atomic_store(&waiting.is_armed, true);
    expect_ok(kv_commit(txn, KV_NORMAL));
    for (unsigned i = 0; i < TRIES && tables_of(store.kv) == 0; i++)
        os_sleep_us(os_posix(), 1000);
    assert_true(atomic_load(&waiting.has_helper));
    assert_false(atomic_load(&waiting.is_late));
    os_sim_set_hook(store.sim, NULL, NULL);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* ---- power cuts --------------------------------------------------------------------------- */

/* Between any two calls of the commit, of the threads that flush, and of a close beside them. */
static bool cut_once(struct random *random)
{
    struct lsm_store store;
    struct lsm_options options = options_of(random_below(random, 2) ? 8 * KiB : MiB);
    struct power_cut cut = { .variant =
                                 (enum os_sim_variant)random_below(random, OS_SIM_VARIANTS) };
    uint8_t low[8], high[8];
    uint64_t entries, removed, at = 1 + random_below(random, 60);
    if (random_below(random, 2))
        options.wal_bypass_bytes = 8 * KiB; /* the flush is the commit */
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 700, 1);
    expect_ok(checkpoint(store.kv));
    const uint64_t before = kv_committed_digest(store.kv, &entries);
    os_sim_set_hook(store.sim, power_cut_hook, &cut);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 300, 1800, 60, 2);
    struct kv_range range = { kv_number_key(500 + random_below(random, 500), low),
                              kv_number_key(1100 + random_below(random, 500), high) };
    expect_ok(kv_delete_range(txn, range, &removed));
    const uint64_t behind = kv_digest(txn, all, &entries);
    atomic_store(&cut.at, atomic_load(&cut.calls) + at);
    expect_ok(kv_commit(txn, KV_FULL));
    atomic_store(&cut.is_committed, true);
    if (random_below(random, 2))
        expect_ok(checkpoint(store.kv));
    lsm_store_close(&store);
    os_sim_set_hook(store.sim, NULL, NULL);
    lsm_store_open(&store);
    assert_int_equal(kv_committed_digest(store.kv, &entries), behind);
    const bool is_cut = power_cut_expect_whole(&cut, &options, before, behind);
    lsm_store_release(&store);
    return is_cut;
}

static void test_flush__power_cuts_beside_it_lose_nothing(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, kv_test_seed("flush"));
    const uint64_t rounds = kv_test_number("SOMBRA_CUTS", 60);
    uint64_t cuts = 0;
    for (uint64_t left = rounds; left > 0; left--)
        cuts += cut_once(&random);
    assert_true(cuts > rounds / 4);
}

/* ---- long transactions, whose commit is their flush --------------------------------------- */

static struct lsm_options bypassing(void)
{
    struct lsm_options options = options_of(MiB);
    options.wal_bypass_bytes = 8 * KiB;
    return options;
}

static uint64_t logged_bytes(struct kv *kv)
{
    return kv_metrics_count(kv->metrics, KV_COUNTER_LOG_BYTES);
}

static void test_flush__is_the_commit_of_a_long_transaction(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = bypassing();
    uint64_t count = 0;
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 10, 1);
    const uint64_t logged = logged_bytes(store.kv);
    struct kv_txn *before = kv_begin_read(store.kv);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 1000, 60, 2);
    const uint64_t digest = kv_digest(txn, all, &count);
    expect_ok(kv_commit(txn, KV_OFF));
    assert_int_equal(logged_bytes(store.kv), logged);
    assert_true(tables_of(store.kv) > 0);
    assert_int_equal(kv_committed_digest(store.kv, &count), digest);
    expect_ok(kv_count(before, all, 0, &count));
    assert_int_equal(count, 10);
    kv_abort(before);
    struct os_sim *image = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    assert_int_equal(lsm_store_image_digest(image, &options),
                     digest); /* durable, though it was not asked to */
    os_sim_free(image);
    commit_numbers(store.kv, 2000, 2010, 3);
    assert_true(logged_bytes(store.kv) > logged);
    kv_committed_digest(store.kv, &count);
    assert_int_equal(count, 1010);
    lsm_store_close(&store);
    lsm_store_open(&store);
    txn = kv_begin_write(store.kv); /* the first commit behind an open, which has no log */
    expect_ok(kv_expect(txn, MiB));
    kv_put_numbers(txn, 3000, 3001, 60, 4);
    expect_ok(kv_commit(txn, KV_FULL));
    assert_int_equal(logged_bytes(store.kv), 0);
    kv_committed_digest(store.kv, &count);
    assert_int_equal(count, 1011);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* What a long transaction took back is not flushed, and what it kept is. */
static void test_flush__has_no_part_of_a_long_transaction_that_was_taken_back(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = bypassing();
    uint64_t count = 0, mark = 0;
    lsm_store_init_simulated(&store, &options);
    for (uint64_t kept = 0; kept <= 10; kept += 10) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 0, kept, 60, 1);
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        kv_put_numbers(txn, 100, 1000, 60, 2);
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        kv_commit_ok(txn);
        assert_int_equal(tables_of(store.kv), kept > 0);
        kv_committed_digest(store.kv, &count);
        assert_int_equal(count, kept);
    }
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 100, 1000, 60, 2);
    kv_abort(txn);
    lsm_store_close(&store);
    lsm_store_open(&store);
    kv_committed_digest(store.kv, &count);
    assert_int_equal(count, 10);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* Whichever call of it fails: the transaction is whole or not there, and the store goes on, unless
 * nobody knows what its manifest has. */
static bool fail_once(uint64_t nth, enum os_sim_fault_kind kind)
{
    struct lsm_store store;
    struct lsm_options options = bypassing();
    uint64_t entries;
    options.no_background = true;
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 10, 1);
    const uint64_t before = kv_committed_digest(store.kv, &entries);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 5, 400, 60, 2);
    const uint64_t behind = kv_digest(txn, all, &entries);
    const uint64_t faults = os_sim_faults(store.sim);
    os_sim_fail(store.sim,
                &(struct os_sim_fault){
                    .kind = kind,
                    .nth = nth,
                    .calls = kind == OS_SIM_SHORT ? 1u << OS_SIM_WRITE | 1u << OS_SIM_SYNC : 0 });
    sombra_err err = kv_commit(txn, KV_FULL);
    const bool has_struck = os_sim_faults(store.sim) > faults;
    os_sim_fail(store.sim, NULL);
    assert_int_equal(kv_committed_digest(store.kv, &entries), err ? before : behind);
    const struct lsm *lsm = lsm_of(store.kv);
    const bool goes_on = !atomic_load(&lsm->is_failed) && !manifest_has_failed(lsm->manifest);
    if (goes_on) {
        txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 5, 400, 60, 2);
        kv_commit_ok(txn);
        err = SOMBRA_OK;
    }
    assert_int_equal(kv_close(store.kv) == SOMBRA_OK, goes_on);
    store.kv = NULL;
    store.os = os_sim_start(store.sim);
    lsm_store_open(&store);
    const uint64_t digest = kv_committed_digest(store.kv, &entries);
    assert_true(digest == behind || (err && digest == before));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
    return has_struck;
}

static void test_flush__that_commits_fails_as_a_whole(void **state)
{
    (void)state;
    static const enum os_sim_fault_kind kinds[] = { OS_SIM_ENOSPC, OS_SIM_EIO, OS_SIM_SHORT };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        unsigned struck = 0;
        for (uint64_t nth = 1; nth < 16; nth++)
            struck += fail_once(nth, kinds[i]);
        assert_true(struck > 4);
    }
}

/* It passes by, and nothing is lost by it: a flush in the background would be tried again. */
static void test_flush__of_an_older_memtable_that_fails_ends_one_commit_only(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = bypassing();
    uint64_t entries;
    options.no_background = true;
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 10, 1);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 400, 60, 2); /* fills the memtable of the commit before */
    kv_abort(txn);
    const uint64_t before = kv_committed_digest(store.kv, &entries);
    for (unsigned tries = 0; tries < 2; tries++) {
        txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 5, 400, 60, 3);
        const uint64_t behind = kv_digest(txn, all, &entries);
        if (tries == 0) {
            assert_int_equal(lsm_of(store.kv)->full_count, 1);
            os_sim_fail(store.sim, &(struct os_sim_fault){
                                       .kind = OS_SIM_EIO, .nth = 1, .calls = 1u << OS_SIM_WRITE });
            expect_err(SOMBRA_IO, kv_commit(txn, KV_FULL));
            os_sim_fail(store.sim, NULL);
            assert_int_equal(kv_committed_digest(store.kv, &entries), before);
        } else {
            kv_commit_ok(txn);
            assert_int_equal(kv_committed_digest(store.kv, &entries), behind);
        }
    }
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush__begins_with_the_commit_that_fills_the_memtable),
        cmocka_unit_test(test_flush__two_threads_share_what_one_transaction_filled),
        cmocka_unit_test(test_flush__parts_keep_what_was_written),
        cmocka_unit_test(test_flush__of_which_a_part_fails_is_done_again),
        cmocka_unit_test(test_flush__keeps_the_log_of_the_memtable_behind_it),
        cmocka_unit_test(test_flush__syncs_while_it_waits_for_its_other_part),
        cmocka_unit_test(test_flush__power_cuts_beside_it_lose_nothing),
        cmocka_unit_test(test_flush__is_the_commit_of_a_long_transaction),
        cmocka_unit_test(test_flush__has_no_part_of_a_long_transaction_that_was_taken_back),
        cmocka_unit_test(test_flush__that_commits_fails_as_a_whole),
        cmocka_unit_test(test_flush__of_an_older_memtable_that_fails_ends_one_commit_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
