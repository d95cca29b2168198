/* SPDX-License-Identifier: MIT */
/* The memtable beside its readers: nodes that are used again, threads that read while it is
 * written.
 */
#include "lsm_memtable_fixture.h"

#include <stdatomic.h>

/* ---- nodes used again -------------------------------------------------------------------- */

/* Commits of 50 new keys each, scattered over 8 * SPREAD places. */
enum { SPREAD = 1 << 16, NEW_PER_COMMIT = 50, UNDONE_KEYS = 4000 };

static uint64_t new_key(uint64_t commit, uint64_t i)
{
    return (commit * NEW_PER_COMMIT + i) * 40503 % SPREAD * 8;
}

static void commit_new_keys(struct memtable *memtable, uint64_t commit, uint64_t oldest_seq)
{
    if (memtable_has_waste(memtable))
        memtable_reuse_nodes(memtable, commit, oldest_seq);
    for (uint64_t i = 0; i < NEW_PER_COMMIT; i++)
        put_number(memtable, commit, new_key(commit, i), commit);
    memtable_settle(memtable);
}

/* Many other keys, taken back: nodes are split under a number that the next commit has again. */
static void split_and_undo(struct memtable *memtable, uint64_t commit)
{
    for (uint64_t i = 0; i < UNDONE_KEYS; i++)
        put_number(memtable, commit, new_key(commit, i) + 1 + commit % 7, commit);
    memtable_rollback(memtable, (struct memtable_mark){ 0 });
    assert_true(memtable_has_waste(memtable));
}

static size_t bytes_of_fill(uint64_t commits, bool is_asked, bool has_reader)
{
    struct memtable *memtable;
    assert_ok(memtable_new(&memtable));
    for (uint64_t commit = 1; commit <= commits; commit++)
        for (uint64_t i = 0; i < NEW_PER_COMMIT; i++) {
            put_number(memtable, commit, new_key(commit, i), commit);
            memtable_settle(memtable);
            if (is_asked && memtable_has_waste(memtable))
                memtable_reuse_nodes(memtable, commit + 1, has_reader ? 1 : UINT64_MAX);
        }
    size_t bytes = memtable_bytes(memtable);
    memtable_unref(memtable);
    return bytes;
}

static void test_memtable__dead_nodes_are_used_again_once_nobody_is_in_them(void **state)
{
    (void)state;
    enum { FILL_COMMITS = 1000 };
    size_t never = bytes_of_fill(FILL_COMMITS, false, false);
    size_t always = bytes_of_fill(FILL_COMMITS, true, false);
    size_t blocked = bytes_of_fill(FILL_COMMITS, true, true);
    assert_true(never > always + 20 * FILL_COMMITS * NEW_PER_COMMIT);
    assert_true(blocked >= never); /* a snapshot from before all of it */
}

/* A reader stands in a leaf, in the snapshot of commit `snapshot`, while `later` commits split
 * everything around it; then it goes on, to both sides. */
static void walk_beside_reuse(uint64_t snapshot, uint64_t later, bool is_forward)
{
    struct memtable *memtable;
    struct source *source;
    uint64_t commit = 0, walked = 0;
    assert_ok(memtable_new(&memtable));
    while (commit < snapshot)
        commit_new_keys(memtable, ++commit, UINT64_MAX);
    assert_ok(memtable_source(memtable, snapshot, &source));
    assert_ok((is_forward ? source->ops->seek_ge : source->ops->seek_lt)(source, slice_of("", 0)));
    while (source->is_valid) {
        if (walked++ % 500 == 0) {
            split_and_undo(memtable, commit + 1);
            for (uint64_t i = 0; i < later; i++)
                commit_new_keys(memtable, ++commit, snapshot);
        }
        assert_int_equal(number_of(source->entry.key) % 8, 0);
        assert_in_range(get_le64(source->entry.value.data), 1, snapshot);
        assert_ok((is_forward ? source->ops->next : source->ops->previous)(source));
    }
    assert_int_equal(walked, snapshot * NEW_PER_COMMIT);
    source_close(source);
    memtable_unref(memtable);
}

static void test_memtable__reader_in_a_dead_leaf_finds_all_of_its_snapshot(void **state)
{
    (void)state;
    walk_beside_reuse(40, 100, true);
    walk_beside_reuse(40, 100, false);
}

/* ---- threads ----------------------------------------------------------------------------- */

/* Commit n puts `value = n` under its keys, and each reader's snapshot S must show, of every key,
 * the newest commit <= S that touched it: recomputed from S alone. */
enum { SHARED_KEYS = 1000, READERS = 4, PER_COMMIT = 8, SNAPSHOTS = 500, COMMITS_MAX = 30000 };
struct shared {
    struct memtable *memtable;
    struct os_mutex mutex;
    uint64_t live[READERS]; /* guarded: snapshots that are read; UINT64_MAX: none */
    _Atomic uint64_t seq;
    _Atomic unsigned readers;
    _Atomic bool is_done;
    _Atomic uint64_t failures, snapshots;
};

static uint64_t touched(uint64_t commit, unsigned i)
{
    return hash_u64(commit * PER_COMMIT + i) % SHARED_KEYS;
}

/* newest[key] := the commit that wrote it, as of S; advanced from `from`. A commit divisible by 16
 * deletes the range of 40 keys before it puts. */
static void expect_advance(uint64_t *newest, uint64_t from, uint64_t to)
{
    for (uint64_t commit = from + 1; commit <= to; commit++) {
        if (commit % 16 == 0)
            for (uint64_t k = 0; k < 40; k++)
                newest[(commit * 31) % (SHARED_KEYS - 40) + k] = 0;
        for (unsigned i = 0; i < PER_COMMIT; i++)
            newest[touched(commit, i)] = commit;
    }
}

static uint64_t walk_failures(struct source *source, const uint64_t *newest, bool is_forward)
{
    uint64_t failures = 0;
    sombra_err err =
        (is_forward ? source->ops->seek_ge : source->ops->seek_lt)(source, slice_of("", 0));
    for (uint64_t i = 0; i < SHARED_KEYS && !err; i++) {
        uint64_t number = is_forward ? i : SHARED_KEYS - 1 - i;
        if (newest[number] == 0)
            continue;
        if (!source->is_valid || get_be64((const uint8_t *)source->entry.key.data + 8) != number ||
            get_le64(source->entry.value.data) != newest[number]) {
            failures++;
            break;
        }
        err = (is_forward ? source->ops->next : source->ops->previous)(source);
    }
    return failures + (source->is_valid || err);
}

static uint64_t snapshot_begin(struct shared *shared, unsigned reader)
{
    os_mutex_lock(&shared->mutex);
    uint64_t seq = atomic_load_explicit(&shared->seq, memory_order_acquire);
    shared->live[reader] = seq;
    os_mutex_unlock(&shared->mutex);
    return seq;
}

static void snapshot_end(struct shared *shared, unsigned reader)
{
    os_mutex_lock(&shared->mutex);
    shared->live[reader] = UINT64_MAX;
    os_mutex_unlock(&shared->mutex);
}

static uint64_t snapshot_oldest(struct shared *shared)
{
    uint64_t oldest = UINT64_MAX;
    os_mutex_lock(&shared->mutex);
    for (unsigned i = 0; i < READERS; i++)
        oldest = u64_min(oldest, shared->live[i]);
    os_mutex_unlock(&shared->mutex);
    return oldest;
}

static void *reader_run(void *argument)
{
    struct shared *shared = argument;
    unsigned reader = atomic_fetch_add(&shared->readers, 1);
    uint64_t *newest = calloc(SHARED_KEYS, sizeof *newest), seq = 0;
    struct random random;
    random_seed(&random, 99);
    for (bool is_last = false; newest && !is_last;) {
        is_last = atomic_load(&shared->is_done);
        uint64_t now = snapshot_begin(shared, reader);
        struct source *source;
        expect_advance(newest, seq, now);
        seq = now;
        if (memtable_source(shared->memtable, seq, &source)) {
            atomic_fetch_add(&shared->failures, 1);
            break;
        }
        uint64_t failures = walk_failures(source, newest, true);
        failures += walk_failures(source, newest, false);
        source_close(source);
        for (unsigned i = 0; i < 100; i++) {
            uint8_t key[16] = "prefix__";
            uint64_t number = random_below(&random, SHARED_KEYS);
            sombra_slice value;
            put_be64(key + 8, number);
            enum lookup got = memtable_get(shared->memtable, seq, slice_of(key, 16), &value);
            failures += (got == LOOKUP_FOUND) != (newest[number] > 0);
            if (got == LOOKUP_FOUND)
                failures += get_le64(value.data) != newest[number];
        }
        snapshot_end(shared, reader);
        atomic_fetch_add(&shared->failures, failures);
        atomic_fetch_add(&shared->snapshots, 1);
    }
    free(newest);
    return NULL;
}

static void writer_commit(struct shared *shared, uint64_t commit)
{
    struct memtable *memtable = shared->memtable;
    struct memtable_mark mark = memtable_mark(memtable);
    if (memtable_has_waste(memtable))
        memtable_reuse_nodes(memtable, commit, snapshot_oldest(shared));
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        if (commit % 16 == 0) {
            uint8_t low[16] = "prefix__", high[16] = "prefix__";
            uint64_t from = (commit * 31) % (SHARED_KEYS - 40);
            put_be64(low + 8, from);
            put_be64(high + 8, from + 40);
            assert_ok(
                memtable_delete_range(memtable, commit, slice_of(low, 16), slice_of(high, 16)));
        }
        for (unsigned i = 0; i < PER_COMMIT; i++)
            put_number(memtable, commit, touched(commit, i), commit);
        if (attempt == 0 && commit % 8 == 0) /* undone, then done again */
            memtable_rollback(memtable, mark);
        else
            break;
    }
    memtable_settle(memtable);
    atomic_store_explicit(&shared->seq, commit, memory_order_release);
}

static void test_memtable__readers_beside_the_writer_see_whole_snapshots(void **state)
{
    (void)state;
    struct shared shared = { .failures = 0 };
    struct os_thread threads[READERS];
    memset(shared.live, 0xFF, sizeof shared.live);
    assert_ok(os_mutex_init(&shared.mutex));
    assert_ok(memtable_new(&shared.memtable));
    for (unsigned i = 0; i < READERS; i++)
        assert_ok(os_thread_start(&threads[i], reader_run, &shared));
    for (uint64_t commit = 1; commit <= COMMITS_MAX && atomic_load(&shared.snapshots) < SNAPSHOTS;
         commit++) {
        writer_commit(&shared, commit);
        while (commit / 20 > atomic_load(&shared.snapshots) &&
               atomic_load(&shared.failures) == 0) /* readers keep pace with the writer */
            os_thread_yield();
    }
    atomic_store(&shared.is_done, true);
    for (unsigned i = 0; i < READERS; i++)
        os_thread_join(&threads[i]);
    assert_int_equal(atomic_load(&shared.failures), 0);
    memtable_unref(shared.memtable);
    os_mutex_release(&shared.mutex);
}

/* Keys 0, 1000, 2000, ... were there before; others come between them, and nodes split. */
enum { STEADY_KEYS = 300, STEADY_GAP = 1000, ADDED_KEYS = 12000 };

static void *steady_run(void *argument)
{
    struct shared *shared = argument;
    struct random random;
    uint64_t failures = 0;
    random_seed(&random, 5);
    while (!atomic_load_explicit(&shared->is_done, memory_order_relaxed)) {
        uint8_t key[16] = "prefix__";
        sombra_slice value;
        put_be64(key + 8, random_below(&random, STEADY_KEYS) * STEADY_GAP);
        failures += memtable_get(shared->memtable, 1, slice_of(key, 16), &value) != LOOKUP_FOUND;
    }
    atomic_fetch_add(&shared->failures, failures);
    return NULL;
}

/* A descent may meet a split between the order and the child word of a parent. */
static void test_memtable__descents_beside_splits_find_every_key(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, seed());
    for (unsigned round = 0; round < 8; round++) {
        struct shared shared = { .failures = 0 };
        struct os_thread threads[2];
        assert_ok(memtable_new(&shared.memtable));
        for (uint64_t i = 0; i < STEADY_KEYS; i++)
            put_number(shared.memtable, 1, i * STEADY_GAP, i);
        for (unsigned i = 0; i < COUNT_OF(threads); i++)
            assert_ok(os_thread_start(&threads[i], steady_run, &shared));
        for (unsigned i = 0; i < ADDED_KEYS / 2; i++)
            put_number(shared.memtable, 2, random_below(&random, STEADY_KEYS * STEADY_GAP), i);
        for (unsigned i = 0; i < STEADY_KEYS - 1; i++) /* runs behind a key that is there */
            put_ascending(shared.memtable, 3, i * STEADY_GAP + 1, 3, ADDED_KEYS / STEADY_KEYS);
        atomic_store(&shared.is_done, true);
        for (unsigned i = 0; i < COUNT_OF(threads); i++)
            os_thread_join(&threads[i]);
        assert_int_equal(atomic_load(&shared.failures), 0);
        memtable_unref(shared.memtable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memtable__dead_nodes_are_used_again_once_nobody_is_in_them),
        cmocka_unit_test(test_memtable__reader_in_a_dead_leaf_finds_all_of_its_snapshot),
        cmocka_unit_test(test_memtable__readers_beside_the_writer_see_whole_snapshots),
        cmocka_unit_test(test_memtable__descents_beside_splits_find_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
