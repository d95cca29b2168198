/* SPDX-License-Identifier: MIT */
/* The page account: savepoints give back exactly what they took, steady work needs no more file,
 * close gives the free end back, and a full disk or failing memory costs nothing but the call.
 */
#include "btree_fixture.h"

#include "btree/btree_internal.h"

#include <inttypes.h>
#include <pthread.h>

enum { PAGE_BYTES = 4096 };

static struct btree_options small_options(void)
{
    return (struct btree_options){
        .page_bytes = PAGE_BYTES, .map_bytes_max = GiB, .no_background = true, .durability = KV_OFF
    };
}

static void checkpoint(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(kv, &job));
}

/* ---- savepoints -------------------------------------------------------------------------- */

/* What the transaction sees, and what it costs. */
struct state {
    uint64_t digest, entries;
};

static struct state state_of(struct kv_txn *txn)
{
    struct state state;
    state.digest = kv_digest(txn, (struct kv_range){ 0 }, &state.entries);
    return state;
}

static void expect_state(struct kv_txn *txn, struct state want)
{
    struct state now = state_of(txn);
    assert_int_equal(now.entries, want.entries);
    assert_true(now.digest == want.digest);
}

/* Splits, overflow values, replaced ones, a delete_range: everything that moves pages. */
static void work(struct kv_txn *txn, struct random *random)
{
    unsigned count = 1 + (unsigned)random_below(random, 40);
    for (unsigned i = 0; i < count; i++) {
        char key[40];
        snprintf(key, sizeof key, "%04u some key", (unsigned)random_below(random, 600));
        uint64_t kind = random_below(random, 20);
        if (kind < 12) {
            put_sized(txn, key, random_u64(random), (size_t)random_below(random, 600));
        } else if (kind < 15) {
            put_sized(txn, key, random_u64(random), 900 + (size_t)random_below(random, 20000));
        } else if (kind < 19) {
            sombra_err err = kv_delete(txn, slice_str(key));
            assert_true(err == SOMBRA_OK || err == SOMBRA_NOT_FOUND);
        } else {
            char high[40];
            snprintf(high, sizeof high, "%.2s%02u", key, 99u);
            expect_ok(kv_delete_range(txn, kv_text_range(key, high), NULL));
        }
    }
}

/* Random walks over nested savepoints, with the state at each mark remembered. */
static void nest(struct kv *kv, struct random *random, bool commits)
{
    enum { MARKS = 12 };
    uint64_t marks[MARKS];
    struct state states[MARKS];
    unsigned count = 0;
    struct kv_txn *txn = kv_begin_write(kv);
    struct state before = state_of(txn);
    for (unsigned step = 0; step < 60; step++) {
        uint64_t kind = random_below(random, 8);
        unsigned at = count ? (unsigned)random_below(random, count) : 0;
        if (kind < 3 && count < MARKS) {
            states[count] = state_of(txn);
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &marks[count]));
            count++;
        } else if (kind == 3 && count) {
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[at]));
            expect_state(txn, states[at]);
            for (unsigned i = at + 1; i < count; i++)
                expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &marks[i]));
            count = at + 1;
        } else if (kind == 4 && count) {
            struct state now = state_of(txn);
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &marks[at]));
            expect_err(SOMBRA_INVALID, kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &marks[at]));
            expect_state(txn, now);
            count = at;
        } else {
            work(txn, random);
        }
    }
    struct state after = state_of(txn);
    if (commits)
        kv_commit_ok(txn);
    else
        kv_abort(txn);
    txn = kv_begin_read(kv);
    expect_state(txn, commits ? after : before);
    kv_abort(txn);
}

static void savepoints_run(uint64_t seed, bool is_simulated, struct btree_options options)
{
    struct store store;
    struct random random;
    random_seed(&random, seed);
    if (is_simulated)
        store_init_simulated(&store, &options);
    else
        store_init(&store, &options);
    unsigned rounds = test_is_long() ? 400 : 25;
    for (unsigned round = 0; round < rounds; round++) {
        nest(store.kv, &random, round % 3 != 0);
        store_expect_exact(store.kv);
        if (round % 4 == 0)
            checkpoint(store.kv);
        if (round % 8 == 7) {
            uint64_t before, after;
            expect_ok(content_digest(store.kv, &before));
            store_reopen(&store);
            expect_ok(content_digest(store.kv, &after));
            assert_true(before == after);
            store_expect_exact(store.kv);
        }
    }
    store_release(&store);
}

static void test_btree__savepoints_account_for_every_page(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    struct btree_options options = small_options();
    savepoints_run(seed, false, options);
    options.no_mapped_stores = true;
    savepoints_run(seed + 1, false, options);
    /* Everything beside the log, and small steps between. */
    options.wal_bypass_bytes = 20000;
    options.checkpoint_log_bytes = 100000;
    savepoints_run(seed + 2, true, options);
}

static void test_btree__rolled_back_work_takes_no_pages(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 2000, 100, 0);
    kv_commit_ok(txn);
    checkpoint(store.kv);
    uint64_t file_bytes = 0;
    for (unsigned round = 0; round < 20; round++) {
        uint64_t mark;
        txn = kv_begin_write(store.kv);
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        kv_put_numbers(txn, 1000, 4000, 150, round);
        put_sized(txn, "large", round, 500000);
        expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        if (round % 2)
            kv_commit_ok(txn);
        else
            kv_abort(txn);
        /* What the first round took is enough for all of them. */
        struct kv_stats stats = store_stats(store.kv, false);
        if (round == 0)
            file_bytes = stats.file_bytes;
        assert_int_equal(stats.file_bytes, file_bytes);
        assert_int_equal(stats.entries, 2000);
    }
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- full disks, failing memory ------------------------------------------------------------ */

/* A call that grows the file, by the number of its pages. */
static sombra_err grow_some(struct kv_txn *txn, unsigned round)
{
    struct buf value = BUF_INIT;
    sombra_err err = SOMBRA_OK;
    for (unsigned i = 0; i < 40 && !err; i++) {
        char key[32];
        snprintf(key, sizeof key, "%u/%u", round, i);
        kv_pattern(&value, round * 100 + i, i % 4 == 3 ? 60000 : 700);
        err = kv_put(txn, slice_str(key), buf_slice(&value));
    }
    buf_release(&value);
    return err;
}

static void expect_usable_after(struct kv *kv, struct kv_txn *txn, uint64_t *mark,
                                struct state before)
{
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, mark));
    expect_state(txn, before);
    put_sized(txn, "after", 1, 50);
    kv_commit_ok(txn);
    store_expect_exact(kv);
}

static void test_btree__full_disk_fails_the_call_and_no_more(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    /* Growing is one call or, on the second machine, many. */
    for (unsigned machine = 0; machine < 2; machine++) {
        unsigned struck = 0;
        for (uint64_t nth = 1; nth < 12; nth++) {
            struct os_sim_options lacking = { .lacks_allocate = machine == 1,
                                              .lacks_mapped_stores = machine == 1 };
            struct store store = { .sim = os_sim_new(&lacking), .options = options };
            store.options.create = true;
            store.os = os_sim_start(store.sim);
            snprintf(store.path, sizeof store.path, "store");
            store_open(&store);
            struct kv_txn *txn = kv_begin_write(store.kv);
            expect_ok(grow_some(txn, 0));
            kv_commit_ok(txn);
            txn = kv_begin_write(store.kv);
            put_sized(txn, "kept", 1, 2000);
            struct state before = state_of(txn);
            uint64_t mark;
            expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
            struct os_sim_fault fault = { .kind = OS_SIM_ENOSPC, .nth = nth, .is_sticky = true };
            os_sim_fail(store.sim, &fault);
            sombra_err err = SOMBRA_OK;
            for (unsigned round = 1; round < 4 && !err; round++)
                err = grow_some(txn, round);
            os_sim_fail(store.sim, NULL);
            assert_true(err == SOMBRA_OK || err == SOMBRA_LIMIT);
            struck += err == SOMBRA_LIMIT;
            if (err == SOMBRA_LIMIT && nth % 2) /* not even a rollback is needed */
                put_sized(txn, "at once", 1, 50);
            expect_usable_after(store.kv, txn, &mark, before);
            store_release(&store);
        }
        assert_true(struck > 2);
    }
}

/* kv.h: only IO, NOMEM and CORRUPT may leave a transaction that must be rolled back. The free pages
 * are used up one put after the other, and a range over many leaves is tried before each. */
static void test_btree__full_disk_undoes_a_whole_delete_range(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 20000, 200, 0);
    kv_commit_ok(txn);
    assert_int_equal(store_stats(store.kv, false).depth, 3);
    struct os_sim_fault fault = { .kind = OS_SIM_ENOSPC, .nth = 1, .is_sticky = true };
    os_sim_fail(store.sim, &fault);
    txn = kv_begin_write(store.kv);
    unsigned struck = 0;
    sombra_err err = SOMBRA_OK;
    for (uint64_t i = 0; !err && i < 10000; i++) {
        uint8_t low[8], high[8];
        uint64_t mark, before, after;
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        /* From the middle of a leaf to the middle of another, both below other branches. */
        struct kv_range range = { kv_number_key(107, low), kv_number_key(17311, high) };
        expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &before));
        sombra_err range_err = kv_delete_range(txn, range, NULL);
        assert_true(range_err == SOMBRA_OK || range_err == SOMBRA_LIMIT);
        expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &after));
        assert_int_equal(after, range_err ? before : before - (17311 - 107));
        struck += range_err == SOMBRA_LIMIT;
        if (range_err) {
            sombra_err again = kv_delete_range(txn, range, NULL);
            if (again != SOMBRA_LIMIT)
                fail_msg("after LIMIT: %s: %s", sombra_err_name(again), sombra_err_message());
        }
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_RELEASE, &mark));
        err = kv_put(txn, kv_number_key(i * 181 % 20000, low), slice_str("a short one"));
    }
    assert_int_equal(err, SOMBRA_LIMIT);
    assert_true(struck > 0);
    os_sim_fail(store.sim, NULL);
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Whatever would make a file longer fails. */
static void refuse_growth(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct os *reader = context; /* another process */
    struct os_sim_fault fault = { .kind = OS_SIM_ENOSPC, .nth = 1 };
    bool takes_space = event->call == OS_SIM_WRITE || event->call == OS_SIM_ALLOCATE;
    uint64_t bytes = 0;
    struct os_file *file = NULL;
    if (takes_space) {
        expect_ok(os_open(reader, event->path, OS_READ, 0, &file));
        expect_ok(os_size(file, &bytes));
        os_close(file);
    }
    os_sim_fail(sim, takes_space && event->offset + event->bytes > bytes ? &fault : NULL);
}

/* A bug: the other half of the log was empty until the first switch, and a switch on a full disk
 * left a log without room, for deletes, for compaction and for the close. */
static void test_btree__full_disk_is_made_room_on_by_deletes_and_compaction(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    uint8_t key[8];
    store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 5000, 100, 1);
    kv_commit_ok(txn);
    os_sim_set_hook(store.sim, refuse_growth, os_sim_start(store.sim));
    for (uint64_t i = 0; i < 400; i++) {
        if (i % 100 == 0)
            checkpoint(store.kv);
        txn = kv_begin_write(store.kv);
        expect_ok(kv_delete(txn, kv_number_key(i, key)));
        expect_ok(kv_commit(txn, KV_FULL));
    }
    struct kv_maintenance job = { .kind = KV_COMPACT };
    expect_ok(kv_maintain(store.kv, &job));
    expect_ok(kv_close(store.kv));
    store.kv = NULL;
    os_sim_set_hook(store.sim, NULL, NULL);
    os_sim_fail(store.sim, NULL);
    store_open(&store);
    store_expect_exact(store.kv);
    store_release(&store);
}

static void test_btree__failing_memory_is_rolled_back_to_a_savepoint(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_mapped_stores = true; /* page images are allocations too */
    unsigned struck = 0;
    for (uint64_t nth = 1; nth < 120; nth++) {
        struct store store;
        store_init_simulated(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        expect_ok(grow_some(txn, 0));
        kv_commit_ok(txn);
        txn = kv_begin_write(store.kv);
        put_sized(txn, "kept", 1, 2000);
        struct state before = state_of(txn);
        uint64_t mark;
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        char key[] = "0/0";
        struct buf value = BUF_INIT;
        kv_pattern(&value, nth, 700);
        mem_test_fail_at(nth, true);
        sombra_err err = SOMBRA_OK;
        for (unsigned i = 0; i < 1000 && !err; i++) {
            key[0] = (char)('0' + i % 75);
            key[2] = (char)('0' + i / 75);
            err = i % 50 == 49 ? kv_delete_range(txn, kv_text_range("0/5", key), NULL)
                               : kv_put(txn, slice_str(key), slice_of(value.data, 100 + i % 600));
        }
        mem_test_fail_at(0, false);
        buf_release(&value);
        assert_true(err == SOMBRA_OK || err == SOMBRA_NOMEM);
        struck += err == SOMBRA_NOMEM;
        expect_usable_after(store.kv, txn, &mark, before);
        store_release(&store);
    }
    assert_true(struck > 20);
}

/* ---- churn ------------------------------------------------------------------------------- */

/* Pages that a store may hold beside those of the newest tree: the trees of `snapshots` others,
 * what one transaction copies, the maps of two checkpoints, and the step the file grows by. */
static uint64_t pages_bound(const struct kv_stats *walked, uint64_t snapshots, uint64_t txn_pages)
{
    uint64_t tree = walked->pages_branch + walked->pages_leaf + walked->pages_leaf_dense +
                    walked->pages_overflow;
    uint64_t need = (tree + txn_pages) * (1 + snapshots) + txn_pages + 12 + 64;
    uint64_t step = u64_max(256 * KiB / walked->page_bytes, need / 8);
    return need + step;
}

static void churn_commit(struct kv *kv, struct random *random, uint64_t keys)
{
    struct kv_txn *txn = kv_begin_write(kv);
    uint8_t key[8];
    struct buf value = BUF_INIT;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t number = random_below(random, keys);
        kv_pattern(&value, random_u64(random), 100);
        expect_ok(kv_put(txn, kv_number_key(number, key), buf_slice(&value)));
    }
    /* And an overflow value that comes and goes. */
    if (random_below(random, 8) == 0)
        put_sized(txn, "large", random_u64(random), 30000);
    else if (random_below(random, 8) == 0)
        expect_ok(kv_delete_range(txn, kv_text_range("large", "largf"), NULL));
    kv_commit_ok(txn);
    buf_release(&value);
}

/* 4 random puts copy at most 4 paths; the large value has 8 pages and is replaced by 8 others. */
enum { CHURN_KEYS = 3000, CHURN_TXN_PAGES = 4 * 4 + 2 * 8 + 8 };

static void test_btree__steady_work_needs_no_more_file(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    struct btree_options options = small_options();
    options.checkpoint_log_bytes = 200000;
    for (unsigned mapped = 0; mapped < 2; mapped++) {
        options.no_mapped_stores = !mapped;
        struct store store;
        struct random random;
        random_seed(&random, seed);
        store_init(&store, &options);
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 0, CHURN_KEYS, 100, 0);
        kv_commit_ok(txn);
        uint64_t commits = test_is_long() ? 100000 : 6000;
        for (uint64_t i = 0; i < commits; i++)
            churn_commit(store.kv, &random, CHURN_KEYS);
        struct kv_stats stats = store_stats(store.kv, true);
        assert_true(stats.checkpoints >= 3);
        /* The newest tree, and that of the durable checkpoint. */
        uint64_t bound = pages_bound(&stats, 1, CHURN_TXN_PAGES);
        print_message("%" PRIu64 " commits: %" PRIu64 " pages, bound %" PRIu64 "\n", commits,
                      stats.pages_total, bound);
        assert_true(stats.pages_total <= bound);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* The map pages that checkpoints replace are nothing that a reader needs. */
static void test_btree__long_reader_pins_its_tree_and_no_more(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    struct btree_options options = small_options();
    options.checkpoint_log_bytes = 100000;
    struct store store;
    struct random random;
    random_seed(&random, seed);
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, CHURN_KEYS, 100, 0);
    kv_commit_ok(txn);
    struct kv_txn *reader = kv_begin_read(store.kv);
    struct state seen = state_of(reader);
    uint64_t commits = test_is_long() ? 100000 : 10000;
    for (uint64_t i = 0; i < commits; i++) {
        churn_commit(store.kv, &random, CHURN_KEYS);
        if (i % (commits / 8) == 0)
            expect_state(reader, seen);
    }
    expect_state(reader, seen);
    struct kv_stats stats = store_stats(store.kv, true);
    assert_true(stats.checkpoints >= 20);
    /* The newest tree, the durable checkpoint's, and the reader's. */
    uint64_t bound = pages_bound(&stats, 2, CHURN_TXN_PAGES);
    print_message("%" PRIu64 " commits and %" PRIu64 " checkpoints under one reader: %" PRIu64
                  " pages, bound %" PRIu64 "\n",
                  commits, stats.checkpoints, stats.pages_total, bound);
    assert_true(stats.pages_total <= bound);
    kv_abort(reader);
    /* It ended: the file does not grow any more. */
    uint64_t file_bytes = stats.file_bytes;
    for (uint64_t i = 0; i < commits / 10; i++)
        churn_commit(store.kv, &random, CHURN_KEYS);
    assert_int_equal(store_stats(store.kv, false).file_bytes, file_bytes);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* What an open transaction that is gone pinned comes back without a write of its size. */
static void test_btree__pages_of_an_ended_reader_are_used_again(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 20000, 100, 0);
    kv_commit_ok(txn);
    struct kv_txn *reader = kv_begin_read(store.kv);
    txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 20000, 100, 1);
    kv_commit_ok(txn);
    uint64_t pending = store_stats(store.kv, false).pages_pending;
    assert_true(pending > 500);
    kv_abort(reader);
    checkpoint(store.kv);
    uint64_t file_bytes = store_stats(store.kv, false).file_bytes;
    txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 20000, 100, 2);
    kv_commit_ok(txn);
    assert_int_equal(store_stats(store.kv, false).file_bytes, file_bytes);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- fill, and an old tree beside the new one --------------------------------------------- */

static void random_commit(struct kv *kv, struct random *random, unsigned keys, unsigned count)
{
    struct kv_txn *txn = kv_begin_write(kv);
    for (unsigned i = 0; i < count; i++) {
        char key[40];
        uint64_t number = random_below(random, keys);
        snprintf(key, sizeof key, "%016" PRIx64, hash_u64(number));
        put_sized(txn, key, random_u64(random), 100);
    }
    kv_commit_ok(txn);
}

/* A full leaf passes entries to a neighbour until both are nearly full: 70 % of a page each is what
 * splits alone come to, 77 % what neighbours gave that shared only when they were 70 % full. */
static void test_btree__random_inserts_fill_four_fifths_of_their_pages(void **state)
{
    struct random random;
    random_seed(&random, *(uint64_t *)*state);
    struct btree_options options = small_options();
    options.page_bytes = 8192;
    struct store store;
    store_init_simulated(&store, &options);
    for (unsigned i = 0; i < 400; i++)
        random_commit(store.kv, &random, 1000000, 100);
    struct kv_stats stats = store_stats(store.kv, true);
    uint64_t pages = stats.pages_leaf + stats.pages_leaf_dense + stats.pages_branch;
    uint64_t percent = stats.bytes_used * 100 / (pages * stats.page_bytes);
    print_message("%" PRIu64 " pages, %" PRIu64 " %% full\n", pages, percent);
    assert_true(stats.pages_leaf > 500);
    assert_true(percent >= 80);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* The log alone would ask for a checkpoint when every page of the tree has been written several
 * times: the file would hold the reader's tree, the durable one and the newest. */
static void test_btree__checkpoints_keep_the_file_small_beside_an_old_reader(void **state)
{
    enum { KEYS = 20000, COMMITS = 2500, COMMIT_KEYS = 20 };
    struct random random;
    random_seed(&random, *(uint64_t *)*state);
    struct btree_options options = small_options();
    options.checkpoint_log_bytes = 4 * MiB;
    struct store store;
    store_init_simulated(&store, &options);
    for (unsigned i = 0; i < 500; i++)
        random_commit(store.kv, &random, KEYS, 100);
    checkpoint(store.kv);
    struct kv_txn *reader = kv_begin_read(store.kv);
    struct state seen = state_of(reader);
    for (unsigned i = 0; i < COMMITS; i++)
        random_commit(store.kv, &random, KEYS, COMMIT_KEYS);
    struct kv_stats stats = store_stats(store.kv, true);
    uint64_t tree = stats.pages_leaf + stats.pages_branch;
    print_message("%" PRIu64 " pages in the file, %" PRIu64 " in the tree, %" PRIu64
                  " checkpoints\n",
                  stats.pages_total, tree, stats.checkpoints);
    assert_true(stats.pages_total * 10 <= tree * 26);
    assert_true(stats.pages_read * 10 >= tree * 9 && stats.pages_read <= stats.pages_pending);
    expect_state(reader, seen);
    kv_abort(reader);
    /* It ended: they are as rare as the log asks for, and nothing is pinned by readers. */
    uint64_t checkpoints = stats.checkpoints;
    for (unsigned i = 0; i < 500; i++)
        random_commit(store.kv, &random, KEYS, COMMIT_KEYS);
    stats = store_stats(store.kv, false);
    assert_true(stats.checkpoints <= checkpoints + 2);
    assert_int_equal(stats.pages_read, 0);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- the end of the file ------------------------------------------------------------------- */

static void test_btree__close_cuts_the_free_end_off(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 100, 100, 0);
    kv_commit_ok(txn);
    store_reopen(&store);
    uint64_t small_bytes = store_stats(store.kv, false).file_bytes;
    txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 100, 30000, 100, 0);
    put_sized(txn, "large", 1, 4 * MiB);
    kv_commit_ok(txn);
    checkpoint(store.kv);
    uint64_t large_bytes = store_stats(store.kv, false).file_bytes;
    uint8_t low[8];
    txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ kv_number_key(100, low), { 0 } }, NULL));
    kv_commit_ok(txn);
    store_reopen(&store);
    struct kv_stats stats = store_stats(store.kv, false);
    assert_int_equal(stats.entries, 100);
    assert_int_equal(stats.file_bytes, stats.pages_total * stats.page_bytes);
    assert_true(stats.file_bytes < large_bytes);
    /* What is in use may stand at the end; it moves into the free pages as it is written. */
    for (unsigned i = 0; i < 4; i++) {
        txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, 0, 100, 100, i + 1);
        kv_commit_ok(txn);
        store_reopen(&store);
    }
    stats = store_stats(store.kv, false);
    assert_int_equal(stats.file_bytes, stats.pages_total * stats.page_bytes);
    assert_true(stats.file_bytes <= 2 * small_bytes);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* A map page covers 127 MiB of 4 KiB pages. A file that shrinks over that border at close has maps
 * of more chunks than it has now. */
static void test_btree__file_may_shrink_over_the_border_of_a_map(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_mapped_stores = true;
    struct store store;
    store_init(&store, &options);
    for (unsigned round = 0; round < 3; round++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_sized(txn, "small", round, 100);
        kv_commit_ok(txn);
        for (unsigned i = 0; i < 5; i++) {
            char key[16];
            snprintf(key, sizeof key, "large %u", i);
            txn = kv_begin_write(store.kv);
            put_sized(txn, key, i, 30 * MiB);
            kv_commit_ok(txn);
        }
        assert_true(store_stats(store.kv, false).file_bytes > 140 * MiB);
        txn = kv_begin_write(store.kv);
        expect_ok(kv_delete_range(txn, kv_text_range("large", "largf"), NULL));
        kv_commit_ok(txn);
        checkpoint(store.kv);
        /* The maps move off the end with the checkpoints. */
        for (unsigned i = 0; i < 4; i++) {
            store_reopen(&store);
            kv_expect_sound(store.kv);
            txn = kv_begin_write(store.kv);
            put_sized(txn, "smaller", i, 10);
            kv_commit_ok(txn);
        }
        assert_true(store_stats(store.kv, false).file_bytes < 100 * MiB);
        txn = kv_begin_read(store.kv);
        expect_sized(txn, "small", round, 100);
        kv_abort(txn);
    }
    store_release(&store);
}

/* ---- pins -------------------------------------------------------------------------------- */

/* The checkpoint thread raises the durable checkpoint and then drops its intent, while the writer
 * asks what is pinned: the checkpoint must not fall between the two looks. */
struct pin_race {
    struct head *head;
    _Atomic uint64_t go, done;
    uint64_t rounds;
};

static void *pins_move(void *argument)
{
    struct pin_race *race = argument;
    for (uint64_t txn = 2; txn <= race->rounds; txn++) {
        while (atomic_load(&race->go) < txn)
            ;
        atomic_store(&race->head->pinned_meta, txn);
        atomic_store(&race->head->pinned_intent, 0);
        atomic_store(&race->done, txn);
    }
    return NULL;
}

static void test_btree__checkpoint_stays_pinned_while_it_becomes_durable(void **state)
{
    (void)state;
    void *memory;
    expect_ok(os_reserve_anonymous(sizeof(struct head), &memory));
    struct pin_race race = { .head = memory, .rounds = test_is_long() ? 3000000 : 200000 };
    atomic_store(&race.head->pinned_meta, 1);
    static uint64_t txns[HEAD_SLOTS + 2];
    pthread_t thread;
    uint64_t missed = 0;
    assert_int_equal(pthread_create(&thread, NULL, pins_move, &race), 0);
    for (uint64_t txn = 2; txn <= race.rounds; txn++) {
        atomic_store(&race.head->pinned_intent, txn);
        atomic_store(&race.go, txn);
        bool is_done;
        do {
            is_done = atomic_load(&race.done) == txn;
            size_t count = head_pinned(race.head, txns);
            missed += count == 0 || txns[count - 1] != txn;
        } while (!is_done);
    }
    pthread_join(thread, NULL);
    assert_int_equal(missed, 0);
    os_release_anonymous(memory, sizeof(struct head));
}

/* ---- sequential loads -------------------------------------------------------------------- */

/* Pages that so many ascending keys take, above or below the ten that are there. */
static uint64_t pages_of_load(const char *first)
{
    enum { ENTRIES = 20000 };
    struct store store;
    struct btree_options options = small_options();
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < 10; i++) {
        char key[40];
        snprintf(key, sizeof key, "m%04u", i);
        put_sized(txn, key, i, 20);
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        char key[40];
        snprintf(key, sizeof key, "%s%08u", first, i);
        put_sized(txn, key, i, 20);
    }
    kv_commit_ok(txn);
    store_expect_exact(store.kv);
    struct kv_stats stats = store_stats(store.kv, false);
    uint64_t pages = stats.pages_total - stats.pages_free - stats.pages_pending;
    store_release(&store);
    return pages;
}

static void test_btree__sequential_load_fills_pages_wherever_it_goes(void **state)
{
    uint64_t above = pages_of_load("z"), below = pages_of_load("a");
    (void)state;
    assert_true(below <= above + above / 20);
}

int main(void)
{
    /* Blocks are counted from the first on. */
    (void)mem_test_live();
    uint64_t seed = kv_test_seed("btree, space");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_btree__savepoints_account_for_every_page, &seed),
        cmocka_unit_test(test_btree__rolled_back_work_takes_no_pages),
        cmocka_unit_test(test_btree__full_disk_fails_the_call_and_no_more),
        cmocka_unit_test(test_btree__full_disk_undoes_a_whole_delete_range),
        cmocka_unit_test(test_btree__full_disk_is_made_room_on_by_deletes_and_compaction),
        cmocka_unit_test(test_btree__failing_memory_is_rolled_back_to_a_savepoint),
        cmocka_unit_test_prestate(test_btree__steady_work_needs_no_more_file, &seed),
        cmocka_unit_test_prestate(test_btree__long_reader_pins_its_tree_and_no_more, &seed),
        cmocka_unit_test(test_btree__pages_of_an_ended_reader_are_used_again),
        cmocka_unit_test_prestate(test_btree__random_inserts_fill_four_fifths_of_their_pages,
                                  &seed),
        cmocka_unit_test_prestate(test_btree__checkpoints_keep_the_file_small_beside_an_old_reader,
                                  &seed),
        cmocka_unit_test(test_btree__sequential_load_fills_pages_wherever_it_goes),
        cmocka_unit_test(test_btree__close_cuts_the_free_end_off),
        cmocka_unit_test(test_btree__file_may_shrink_over_the_border_of_a_map),
        cmocka_unit_test(test_btree__checkpoint_stays_pinned_while_it_becomes_durable),
    };
    return cmocka_run_group_tests_name("btree, space", tests, NULL, NULL);
}
