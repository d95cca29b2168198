/* SPDX-License-Identifier: MIT */
/* A store that was not closed, opened where the disk is full: no table can be made of what its logs
 * hold. All can be read, and commits go on in the space that the last log has. And one whose disk
 * becomes full while it is open.
 */
#include "lsm/compaction.h"
#include "lsm/write_internal.h"
#include "lsm_store.h"

#include <inttypes.h>
#include <stdatomic.h>

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(64 * KiB), .memtables_max = 8,
                                 .no_background = true, .busy_timeout_ms = 5000 };
}

enum { NEW_NUMBER = 100000, ENTRIES_A_COMMIT = 5 };

static sombra_err commit_numbers(struct kv *kv, uint64_t first, enum kv_durability durability)
{
    struct kv_txn *txn;
    sombra_err err =
        kv_begin(kv, &(struct kv_begin_options){ .is_write = true, .busy_timeout_ms = 20 }, &txn);
    if (err)
        return err;
    kv_put_numbers(txn, first, first + ENTRIES_A_COMMIT, 40, 1);
    return kv_commit(txn, durability);
}

static void delete_all(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ { 0 }, { 0 } }, NULL));
    expect_ok(kv_commit(txn, KV_FULL));
}

/* ---- a disk without space ------------------------------------------------------------------ */

static bool takes_space(struct os_sim *sim, const struct os_sim_event *event)
{
    struct os_file *file = NULL;
    uint64_t bytes = 0;
    if (event->call == OS_SIM_CREATE)
        return true;
    if (event->call != OS_SIM_WRITE && event->call != OS_SIM_ALLOCATE)
        return false;
    expect_ok(os_open(os_sim_start(sim), event->path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return event->offset + event->bytes > bytes;
}

/* What lies within files can be written. */
static void fail_growth(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    static const struct os_sim_fault full = { .kind = OS_SIM_ENOSPC, .nth = 1 };
    (void)context;
    os_sim_fail(sim, takes_space(sim, event) ? &full : NULL);
}

static void fill_disk(struct lsm_store *store)
{
    os_sim_set_hook(store->sim, fail_growth, NULL);
}

static void free_disk(struct lsm_store *store)
{
    os_sim_set_hook(store->sim, NULL, NULL);
    os_sim_fail(store->sim, NULL);
}

/* The process dies; its successor finds the page cache as it was. */
static void kill_process(struct lsm_store *store)
{
    os_sim_kill(store->os);
    struct kv *kv = store->kv;
    store->kv = NULL;
    sombra_err err = kv ? kv_close(kv) : SOMBRA_OK;
    (void)err;
    store->os = os_sim_start(store->sim);
}

/* The next process finds a full disk. */
static void open_on_full_disk(struct lsm_store *store)
{
    kill_process(store);
    fill_disk(store);
    lsm_store_open(store);
}

/* The machine goes on after a power cut. */
static void cut_power(struct lsm_store *store, enum os_sim_variant variant, uint64_t seed)
{
    struct os_sim *cut = os_sim_crash(store->sim, variant, seed);
    kill_process(store);
    os_sim_free(store->sim);
    store->sim = cut;
    store->os = os_sim_start(cut);
}

/* ---- opened on a full disk ------------------------------------------------------------------ */

static void fill_store(struct lsm_store *store, const struct lsm_options *options, uint64_t commits)
{
    lsm_store_init_simulated(store, options);
    for (uint64_t i = 0; i < commits; i++)
        expect_ok(commit_numbers(store->kv, i * ENTRIES_A_COMMIT, KV_FULL));
}

static void test_full_disk__a_store_opens_and_takes_commits(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 10);
    open_on_full_disk(&store);
    assert_true(lsm_of(store.kv)->writer->kept_seq != 0);
    assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_err(SOMBRA_LIMIT, kv_maintain(store.kv, &job));
    expect_ok(commit_numbers(store.kv, NEW_NUMBER, KV_FULL));
    delete_all(store.kv);
    assert_int_equal(lsm_store_count(store.kv), 0);
    expect_ok(commit_numbers(store.kv, NEW_NUMBER, KV_OFF));
    kill_process(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), ENTRIES_A_COMMIT);
    free_disk(&store);
    expect_ok(kv_maintain(store.kv, &job));
    expect_ok(commit_numbers(store.kv, 0, KV_FULL));
    assert_int_equal(lsm_store_count(store.kv), 2 * ENTRIES_A_COMMIT);
    kv_expect_sound(store.kv);
    lsm_store_close(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), 2 * ENTRIES_A_COMMIT);
    lsm_store_release(&store);
}

static void count_calls(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    (void)event;
    ++*(unsigned *)context;
}

static void expect_unsaved(struct kv *kv)
{
    struct kv_txn *txn;
    expect_err(SOMBRA_LIMIT,
               kv_begin(kv, &(struct kv_begin_options){ .needs_durable = true }, &txn));
    expect_err(
        SOMBRA_LIMIT,
        kv_begin(kv, &(struct kv_begin_options){ .is_write = true, .needs_durable = true }, &txn));
    expect_err(SOMBRA_LIMIT, kv_commit(kv_begin_write(kv), KV_FULL));
    expect_ok(kv_commit(kv_begin_write(kv), KV_OFF));
}

/* Nor is the store changed by who only reads in it; and the logs go with the next open that has
 * space. */
static void test_full_disk__where_no_byte_can_be_written_all_can_be_read(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 10);
    kill_process(&store);
    for (int round = 0; round < 2; round++) {
        os_sim_fail_at(store.sim, 1, OS_SIM_ENOSPC, true);
        lsm_store_open(&store);
        assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
        expect_unsaved(store.kv);
        for (int i = 0; i < 2; i++) {
            expect_err(SOMBRA_LIMIT, commit_numbers(store.kv, NEW_NUMBER, KV_FULL));
            assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
        }
        lsm_store_close(&store);
    }
    os_sim_fail(store.sim, NULL);
    lsm_store_open(&store);
    assert_false(lsm_of(store.kv)->writer->resumes);
    assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
    lsm_store_close(&store);
    unsigned calls = 0;
    os_sim_set_hook(store.sim, count_calls, &calls);
    lsm_store_open(&store);
    assert_int_equal(calls, 0); /* it was closed */
    os_sim_set_hook(store.sim, NULL, NULL);
    lsm_store_release(&store);
}

/* There is nothing to replay, and no log could be made: the close has nothing to say. */
static void test_full_disk__a_store_without_commits_is_closed(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 10);
    kill_process(&store);
    lsm_store_open(&store);
    open_on_full_disk(&store);
    assert_false(lsm_of(store.kv)->writer->resumes);
    assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
    lsm_store_close(&store);
    free_disk(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
    expect_ok(commit_numbers(store.kv, NEW_NUMBER, KV_FULL));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* With space again a store goes on without being opened again, and the close makes the tables. */
static void test_full_disk__a_store_goes_on_with_space(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 10);
    open_on_full_disk(&store);
    uint64_t count = 10, refused = 0;
    while (refused == 0 && count < 10000)
        if (commit_numbers(store.kv, count * ENTRIES_A_COMMIT, KV_OFF) == SOMBRA_OK)
            count++;
        else
            refused++;
    assert_true(count > 10 && refused == 1);
    assert_int_equal(lsm_store_count(store.kv), count * ENTRIES_A_COMMIT);
    free_disk(&store);
    for (int i = 0; i < 50; i++)
        expect_ok(commit_numbers(store.kv, count++ * ENTRIES_A_COMMIT, KV_OFF));
    assert_int_equal(lsm_store_count(store.kv), count * ENTRIES_A_COMMIT);
    kv_expect_sound(store.kv);
    lsm_store_close(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), count * ENTRIES_A_COMMIT);
    lsm_store_release(&store);
}

/* A power cut that takes all that is not saved would leave so many entries. */
static void expect_on_disk(struct lsm_store *store, uint64_t count)
{
    struct os_sim *cut = os_sim_crash(store->sim, OS_SIM_NOTHING, 1);
    struct kv *kv = NULL;
    expect_ok(lsm_open(os_sim_start(cut), "data", &store->options, &kv));
    assert_int_equal(lsm_store_count(kv), count);
    expect_ok(kv_close(kv));
    os_sim_free(cut);
}

/* What a sync that failed has lost is still in the page cache, and read by the next process: it is
 * durable before anything stands behind it. */
static void test_full_disk__commits_stand_behind_what_is_durable(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 4);
    for (uint64_t i = 4; i < 24; i++) /* more than a sector */
        expect_ok(commit_numbers(store.kv, i * ENTRIES_A_COMMIT, KV_OFF));
    os_sim_fail(store.sim,
                &(struct os_sim_fault){ .kind = OS_SIM_EIO, .nth = 1, .calls = 1U << OS_SIM_SYNC });
    expect_err(SOMBRA_IO, commit_numbers(store.kv, 24 * ENTRIES_A_COMMIT, KV_FULL));
    os_sim_fail(store.sim, NULL);
    kill_process(&store);
    expect_on_disk(&store, 4 * ENTRIES_A_COMMIT);
    fill_disk(&store);
    lsm_store_open(&store);
    uint64_t found = lsm_store_count(store.kv);
    assert_true(found >= 24 * ENTRIES_A_COMMIT);
    expect_ok(commit_numbers(store.kv, NEW_NUMBER, KV_FULL));
    cut_power(&store, OS_SIM_NOTHING, 1);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), found + ENTRIES_A_COMMIT);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* What an open shows is durable by then: the commits of logs whose sync failed, and one without a
 * log, whose edit of the manifest failed. */
static void shown_is_durable(bool is_long)
{
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 4);
    if (is_long)
        lsm_of(store.kv)->options.wal_bypass_bytes = 1;
    else
        expect_ok(commit_numbers(store.kv, 4 * ENTRIES_A_COMMIT, KV_OFF));
    for (uint64_t nth = 1; is_long && nth < 8; nth++) {
        os_sim_fail(store.sim, &(struct os_sim_fault){
                                   .kind = OS_SIM_ENOSPC, .nth = nth, .calls = 1U << OS_SIM_SYNC });
        sombra_err err = commit_numbers(store.kv, 4 * ENTRIES_A_COMMIT, KV_FULL);
        if (err == SOMBRA_LIMIT && !atomic_load(&lsm_of(store.kv)->is_failed))
            continue; /* the sync of the table */
        assert_true(atomic_load(&lsm_of(store.kv)->is_failed));
        break;
    }
    os_sim_fail(store.sim, NULL);
    kill_process(&store);
    expect_on_disk(&store, 4 * ENTRIES_A_COMMIT);
    fill_disk(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), 5 * ENTRIES_A_COMMIT);
    free_disk(&store);
    expect_on_disk(&store, 5 * ENTRIES_A_COMMIT);
    struct kv_txn *txn;
    expect_ok(kv_begin(store.kv, &(struct kv_begin_options){ .needs_durable = true }, &txn));
    kv_abort(txn);
    expect_ok(kv_commit(kv_begin_write(store.kv), KV_FULL));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

static void test_full_disk__what_is_shown_is_durable(void **state)
{
    (void)state;
    shown_is_durable(false);
    shown_is_durable(true);
}

enum { LOGS = 4, COMMITS_A_LOG = 8, DURABLE_COMMITS = 3 };

/* Commits in several logs, of which all but the first are unsynced. No flush comes between. */
static void several_logs(struct lsm_store *store, const struct lsm_options *options)
{
    fill_store(store, options, DURABLE_COMMITS);
    struct lsm *lsm = lsm_of(store->kv);
    uint64_t number = DURABLE_COMMITS;
    for (unsigned log = 0; log < LOGS; log++) {
        for (unsigned i = 0; i < COMMITS_A_LOG; i++)
            expect_ok(commit_numbers(store->kv, number++ * ENTRIES_A_COMMIT, KV_OFF));
        os_mutex_lock(&lsm->mutex);
        lsm->background->is_flushing = true;
        os_mutex_unlock(&lsm->mutex);
        expect_ok(lsm_turn_take(lsm, UINT64_MAX));
        expect_ok(lsm_memtable_retire(lsm, atomic_load(&lsm->seq), true));
        lsm_turn_give(lsm);
    }
    expect_ok(commit_numbers(store->kv, number * ENTRIES_A_COMMIT, KV_OFF));
    lsm->background->is_flushing = false;
}

static void test_full_disk__a_broken_chain_of_logs_is_ended(void **state)
{
    (void)state;
    static const enum os_sim_variant variants[] = { OS_SIM_ALL, OS_SIM_NEWER_HALF,
                                                    OS_SIM_RANDOM_FILES, OS_SIM_RANDOM_SECTORS,
                                                    OS_SIM_RANDOM_WRITES };
    struct lsm_options options = quiet();
    unsigned lost = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (size_t i = 0; i < COUNT_OF(variants); i++) {
            struct lsm_store store;
            several_logs(&store, &options);
            cut_power(&store, variants[i], seed);
            fill_disk(&store);
            lsm_store_open(&store);
            uint64_t found = lsm_store_count(store.kv);
            assert_true(found >= DURABLE_COMMITS * ENTRIES_A_COMMIT);
            assert_int_equal(found % ENTRIES_A_COMMIT, 0);
            assert_true(lsm_of(store.kv)->writer->kept_seq != 0);
            lost += found < (DURABLE_COMMITS + LOGS * COMMITS_A_LOG + 1) * ENTRIES_A_COMMIT;
            for (uint64_t k = 0; k < 20; k++) /* over the numbers of the lost ones */
                expect_ok(commit_numbers(store.kv, NEW_NUMBER + k * ENTRIES_A_COMMIT, KV_FULL));
            cut_power(&store, seed % 2 ? OS_SIM_NOTHING : OS_SIM_ALL, seed);
            lsm_store_open(&store);
            assert_int_equal(lsm_store_count(store.kv), found + 20 * ENTRIES_A_COMMIT);
            kv_expect_sound(store.kv);
            lsm_store_release(&store);
        }
    }
    assert_true(lost > 5);
}

/* ---- a power cut at every call ------------------------------------------------------------- */

struct cuts {
    const struct lsm_options *options;
    uint64_t acknowledged; /* entries that must be there */
    unsigned cuts;
};

static void cut_here(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct cuts *cuts = context;
    fail_growth(NULL, sim, event);
    for (enum os_sim_variant variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct os_sim *after = os_sim_crash(sim, variant, event->number);
        struct kv *kv = NULL;
        expect_ok(lsm_open(os_sim_start(after), "data", cuts->options, &kv));
        uint64_t found = lsm_store_count(kv);
        assert_true(found >= cuts->acknowledged && found % ENTRIES_A_COMMIT == 0);
        expect_ok(kv_close(kv));
        os_sim_free(after);
        cuts->cuts++;
    }
}

static void test_full_disk__a_power_cut_loses_nothing_acknowledged(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    fill_store(&store, &options, 6);
    struct cuts cuts = { .options = &options, .acknowledged = 6 * ENTRIES_A_COMMIT };
    kill_process(&store);
    os_sim_set_hook(store.sim, cut_here, &cuts);
    lsm_store_open(&store);
    for (uint64_t i = 6; i < 10; i++) {
        expect_ok(commit_numbers(store.kv, i * ENTRIES_A_COMMIT, i % 2 ? KV_OFF : KV_FULL));
        if (i % 2 == 0)
            cuts.acknowledged = (i + 1) * ENTRIES_A_COMMIT;
    }
    assert_true(cuts.cuts > 50);
    free_disk(&store);
    assert_int_equal(lsm_store_count(store.kv), 10 * ENTRIES_A_COMMIT);
    lsm_store_release(&store);
}

/* ---- a disk that becomes full ------------------------------------------------------------ */

/* A few puts fill a memtable. */
static struct lsm_options small(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(4 * KiB), .no_background = true,
                                 .busy_timeout_ms = 5000 };
}

static void maintain(struct kv *kv, enum kv_maintenance_kind kind)
{
    struct kv_maintenance job = { .kind = kind };
    expect_ok(kv_maintain(kv, &job));
}

/* Flushes fail, then writers do; what was acknowledged is read all the time. With space again the
 * store goes on, without being opened again. */
static void full_disk(bool no_background)
{
    struct lsm_options options = small();
    options.memtable_bytes =
        16 * KiB; /* some tens of puts: a commit that fills one begins its flush */
    options.no_background = no_background;
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    uint64_t count = 0;
    while (count < 30)
        expect_ok(lsm_store_try_put(store.kv, count++, 5000));
    maintain(store.kv, KV_COMPACT); /* an edit on its way would fail in its sync, and the store */
    expect_ok(
        lsm_store_try_put(store.kv, count++, 5000)); /* for the checkpoint: it fills no memtable */
    os_sim_fail_at(store.sim, 1, OS_SIM_ENOSPC, true);
    sombra_err err = SOMBRA_OK;
    for (int i = 0; i < 1000 && !err; i++) {
        err = lsm_store_try_put(store.kv, count, 20);
        count += !err;
    }
    assert_true(err == SOMBRA_LIMIT || err == SOMBRA_BUSY);
    assert_int_equal(lsm_store_count(store.kv), count);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_err(SOMBRA_LIMIT, kv_maintain(store.kv, &job));
    os_sim_fail(store.sim, NULL);
    for (int i = 0; i < 100; i++)
        expect_ok(lsm_store_try_put(store.kv, count++, 60000));
    maintain(store.kv, KV_CHECKPOINT);
    assert_int_equal(lsm_store_count(store.kv), count);
    kv_expect_sound(store.kv);
    lsm_store_close(&store);
    lsm_store_open(&store);
    assert_int_equal(lsm_store_count(store.kv), count);
    lsm_store_release(&store);
}

static void test_full_disk__stops_writers_until_there_is_space(void **state)
{
    (void)state;
    full_disk(true);
    full_disk(false);
}

/* No space for tables; logs have theirs. */
static void fail_tables(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    static const struct os_sim_fault full = { .kind = OS_SIM_ENOSPC, .nth = 1 };
    const atomic_bool *is_full = context;
    os_sim_fail(sim, atomic_load(is_full) && strstr(event->path, ".sst") ? &full : NULL);
}

/* A writer does not wait for its whole time where flushes fail: it hears why, each one. Nor does it
 * wait for the time of the next try once there is space. */
static void test_full_disk__writers_hear_of_it(void **state)
{
    (void)state;
    struct lsm_options options = small();
    options.no_background = false;
    struct lsm_store store;
    atomic_bool is_full;
    atomic_init(&is_full, false);
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, fail_tables, &is_full);
    uint64_t count = 0;
    for (int round = 0; round < 3; round++) {
        sombra_err err = SOMBRA_OK;
        atomic_store(&is_full, true);
        while (!err && count < 100000) {
            err = lsm_store_try_put(store.kv, count, UINT64_MAX);
            count += !err;
        }
        for (int i = 0; i < 5; i++) {
            assert_int_equal(err, SOMBRA_LIMIT);
            assert_non_null(strstr(diag_text(), "the disk is full"));
            err = lsm_store_try_put(store.kv, count, UINT64_MAX);
        }
        assert_int_equal(lsm_store_count(store.kv), count);
        atomic_store(&is_full, false);
        for (int i = 0; i < 100; i++)
            expect_ok(lsm_store_try_put(store.kv, count++, UINT64_MAX));
    }
    os_sim_set_hook(store.sim, NULL, NULL);
    maintain(store.kv, KV_CHECKPOINT);
    assert_int_equal(lsm_store_count(store.kv), count);
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

/* A close on a full disk says so, and nothing is lost. */
static void test_full_disk__a_close_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 12; nth++) {
        struct lsm_options options = small();
        struct lsm_store store;
        lsm_store_init_simulated(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 0, 20, 40, 1);
        expect_ok(kv_commit(txn, KV_OFF));
        os_sim_fail_at(store.sim, nth, OS_SIM_ENOSPC, true);
        struct kv *kv = store.kv;
        store.kv = NULL;
        sombra_err err = kv_close(kv);
        assert_true(err == SOMBRA_OK || err == SOMBRA_LIMIT || err == SOMBRA_IO);
        os_sim_fail(store.sim, NULL);
        store.os = os_sim_start(store.sim);
        lsm_store_open(&store);
        assert_int_equal(lsm_store_count(store.kv), 20);
        lsm_store_release(&store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk__a_store_opens_and_takes_commits),
        cmocka_unit_test(test_full_disk__where_no_byte_can_be_written_all_can_be_read),
        cmocka_unit_test(test_full_disk__a_store_without_commits_is_closed),
        cmocka_unit_test(test_full_disk__a_store_goes_on_with_space),
        cmocka_unit_test(test_full_disk__commits_stand_behind_what_is_durable),
        cmocka_unit_test(test_full_disk__what_is_shown_is_durable),
        cmocka_unit_test(test_full_disk__a_broken_chain_of_logs_is_ended),
        cmocka_unit_test(test_full_disk__a_power_cut_loses_nothing_acknowledged),
        cmocka_unit_test(test_full_disk__stops_writers_until_there_is_space),
        cmocka_unit_test(test_full_disk__writers_hear_of_it),
        cmocka_unit_test(test_full_disk__a_close_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
