/* SPDX-License-Identifier: MIT */
/* Compaction: the file becomes about as long as a fresh copy, whatever it looked like; no entry
 * changes; everybody goes on meanwhile; and the page account is exact after each.
 */
#include "btree_fixture.h"

#include "btree/upkeep.h"

#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

static struct btree_options small_options(void)
{
    return (struct btree_options){
        .page_bytes = 4096, .map_bytes_max = GiB, .no_background = true, .durability = KV_OFF
    };
}

static sombra_err compact(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_COMPACT };
    return kv_maintain(kv, &job);
}

static void checkpoint(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(kv, &job));
}

static uint64_t file_bytes(struct kv *kv)
{
    return store_stats(kv, false).file_bytes;
}

/* Size of a backup. */
static uint64_t copy_bytes(struct store *store)
{
    char path[112];
    snprintf(path, sizeof path, "%s.copy", store->path);
    struct kv_maintenance job = { .kind = KV_BACKUP, .path = path };
    expect_ok(kv_maintain(store->kv, &job));
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(store->os, path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    expect_ok(os_unlink(store->os, path));
    return bytes;
}

/* ---- content ----------------------------------------------------------------------------- */

typedef size_t (*size_fn)(uint64_t number);

static size_t size_small(uint64_t number)
{
    return number % 3 ? 40 + number % 60 : 0;
}

static size_t size_of_values(uint64_t number)
{
    return number % 4 == 0 ? 3000 + (size_t)(number * 7919 % 40000) : (size_t)(number % 300);
}

static size_t size_empty(uint64_t number)
{
    (void)number;
    return 0;
}

static sombra_slice key_of(uint64_t number, uint8_t to[24])
{
    memcpy(to, "a prefix of keys", 16);
    for (int i = 0; i < 8; i++)
        to[16 + i] = (uint8_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> (56 - 8 * i));
    return slice_of(to, 24);
}

static void fill(struct kv *kv, uint64_t first, uint64_t last, size_fn size, uint64_t salt)
{
    struct buf value = BUF_INIT;
    uint8_t key[24];
    for (uint64_t number = first; number < last;) {
        struct kv_txn *txn = kv_begin_write(kv);
        for (uint64_t i = 0; i < 1000 && number < last; i++, number++) {
            kv_pattern(&value, number + salt, size(number));
            expect_ok(kv_put(txn, key_of(number, key), buf_slice(&value)));
        }
        kv_commit_ok(txn);
    }
    buf_release(&value);
}

/* All but one of `share` numbers, which are random keys. */
static void thin(struct kv *kv, uint64_t first, uint64_t last, uint64_t share)
{
    uint8_t key[24];
    for (uint64_t number = first; number < last;) {
        struct kv_txn *txn = kv_begin_write(kv);
        for (uint64_t i = 0; i < 1000 && number < last; i++, number++)
            if (number % share)
                expect_ok(kv_delete(txn, key_of(number, key)));
        kv_commit_ok(txn);
    }
}

/* Compacts and expects the same content, a sound store, and a file of no more than 1.2 copies. */
static void compact_and_check(struct store *store, const char *what)
{
    uint64_t before, after;
    uint64_t bytes_before = file_bytes(store->kv);
    expect_ok(content_digest(store->kv, &before));
    expect_ok(compact(store->kv));
    expect_ok(content_digest(store->kv, &after));
    assert_true(before == after);
    store_expect_exact(store->kv);
    struct kv_stats stats = store_stats(store->kv, false);
    uint64_t bytes = stats.file_bytes;
    uint64_t copy = copy_bytes(store);
    printf("%s: %" PRIu64 " KiB, compacted %" PRIu64 " KiB, a copy %" PRIu64 " KiB\n", what,
           bytes_before / 1024, bytes / 1024, copy / 1024);
    assert_true(bytes == stats.pages_total * stats.page_bytes);
    assert_true(bytes <= copy + copy / 5);
    store_reopen(store);
    expect_ok(content_digest(store->kv, &after));
    assert_true(before == after);
    store_expect_exact(store->kv);
}

static void thinned(const char *what, uint64_t count, size_fn size, struct btree_options options)
{
    struct store store;
    store_init(&store, &options);
    fill(store.kv, 0, count, size, 0);
    compact_and_check(&store, what); /* random inserts leave pages some 70 % full */
    thin(store.kv, 0, count, 10);
    compact_and_check(&store, what);
    /* Nothing left to gain: nothing is done to speak of. */
    uint64_t moved = file_bytes(store.kv);
    expect_ok(compact(store.kv));
    assert_true(file_bytes(store.kv) <= moved + moved / 16);
    store_release(&store);
}

static void test_compact__file_is_as_long_as_a_copy(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    thinned("small values", 30000, size_small, options);
    thinned("keys alone", 40000, size_empty, options);
    thinned("overflow values", 2500, size_of_values, options);
    options.no_mapped_stores = true;
    options.page_bytes = 8192;
    thinned("written by calls", 20000, size_small, options);
    thinned("overflow values written by calls", 1500, size_of_values, options);
}

static void test_compact__small_and_empty_stores_are_fine(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    expect_ok(compact(store.kv));
    store_expect_exact(store.kv);
    /* A tree of one leaf, with values behind. */
    fill(store.kv, 0, 20, size_of_values, 0);
    thin(store.kv, 0, 16, 16);
    compact_and_check(&store, "one leaf");
    fill(store.kv, 0, 3000, size_of_values, 1);
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    kv_commit_ok(txn);
    expect_ok(compact(store.kv));
    store_expect_exact(store.kv);
    assert_true(file_bytes(store.kv) <= 64 * 4096);
    store_release(&store);
    struct kv *memory;
    expect_ok(btree_open(os_posix(), BTREE_MEMORY, &options, &memory));
    expect_ok(compact(memory));
    expect_ok(kv_close(memory));
}

/* Tree pages alone are free in front, and values that need long gaps lie behind. */
static void test_compact__values_find_room_among_scattered_gaps(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill(store.kv, 0, 20000, size_small, 0);
    fill(store.kv, 100000, 100400, size_of_values, 0);
    thin(store.kv, 0, 20000, 10);
    compact_and_check(&store, "values behind small gaps");
    store_release(&store);
}

/* Inserts may need the room again: each asks for more free pages before the next begins of itself.
 */
static void test_compact__asks_for_more_free_pages_before_the_next(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    uint32_t before = COMPACT_WATERMARK_PPM;
    store_init(&store, &options);
    for (int i = 0; i < 2; i++) {
        fill(store.kv, 0, 4000, size_small, 0);
        thin(store.kv, 0, 4000, 10);
        expect_ok(compact(store.kv));
        uint32_t asked = btree_of(store.kv)->meta.compact_watermark_ppm;
        assert_true(asked > before && asked < 1000000);
        before = asked;
    }
    store_release(&store);
}

/* ---- readers ----------------------------------------------------------------------------- */

static void test_compact__snapshot_keeps_what_it_sees(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill(store.kv, 0, 15000, size_small, 0);
    struct kv_txn *reader = kv_begin_read(store.kv);
    uint64_t entries, digest = kv_digest(reader, (struct kv_range){ 0 }, &entries);
    thin(store.kv, 0, 15000, 10);
    checkpoint(store.kv);
    uint64_t before = file_bytes(store.kv);
    for (int i = 0; i < 3; i++) {
        expect_ok(compact(store.kv));
        store_expect_exact(store.kv);
        assert_true(kv_digest(reader, (struct kv_range){ 0 }, &entries) == digest);
        assert_int_equal(entries, 15000);
    }
    /* It could give nothing back, and took no more than the room it works in. */
    assert_true(file_bytes(store.kv) <= before + before / 8 + MiB * 2);
    kv_abort(reader);
    compact_and_check(&store, "after a long reader");
    store_release(&store);
}

struct follower {
    struct kv *kv;
    struct kv_txn *reader;
};

/* A reader of what is the newest tree then. */
static bool reader_follows(void *context, uint64_t done, uint64_t total)
{
    struct follower *follower = context;
    (void)done;
    (void)total;
    if (follower->reader)
        kv_abort(follower->reader);
    follower->reader = kv_begin_read(follower->kv);
    return true;
}

/* A reader that began before a round's checkpoint keeps it from cutting the file, though it has no
 * page behind the end. The next round has nothing to move, and cuts it all the same. */
static void test_compact__file_is_cut_when_there_is_nothing_to_move(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill(store.kv, 0, 15000, size_small, 0);
    thin(store.kv, 0, 15000, 10);
    struct follower follower = { .kv = store.kv };
    struct kv_maintenance job = { .kind = KV_COMPACT,
                                  .progress = reader_follows,
                                  .context = &follower };
    expect_ok(kv_maintain(store.kv, &job));
    struct kv_stats stats = store_stats(store.kv, false);
    assert_int_equal(stats.file_bytes, stats.pages_total * stats.page_bytes);
    kv_abort(follower.reader);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* A file that has no free page grows while it is packed. */
static void test_compact__no_run_leaves_the_file_longer(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    uint8_t key[24];
    for (uint64_t number = 0; number < 40000; number++)
        expect_ok(kv_put(txn, key_of(number, key), slice_of("a value of 19 bytes", 19)));
    kv_commit_ok(txn);
    checkpoint(store.kv);
    uint64_t before = file_bytes(store.kv);
    for (int i = 0; i < 4; i++) {
        expect_ok(compact(store.kv));
        uint64_t after = file_bytes(store.kv);
        if (after > before)
            fail_msg("run %d: %" PRIu64 " bytes, %" PRIu64 " before", i, after, before);
        before = after;
    }
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Free pages run out many times: those of the steps before come back by checkpoints. */
static void test_compact__file_without_free_pages_is_packed(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct buf value = BUF_INIT;
    uint8_t key[24];
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t number = 0; number < 60000; number++) {
        kv_pattern(&value, number, size_small(number));
        expect_ok(kv_put(txn, key_of(number, key), buf_slice(&value)));
    }
    kv_commit_ok(txn);
    checkpoint(store.kv);
    uint64_t bytes = file_bytes(store.kv);
    compact_and_check(&store, "one load in no order");
    assert_true(file_bytes(store.kv) < bytes - bytes / 8);
    buf_release(&value);
    store_release(&store);
}

/* ---- steady work -------------------------------------------------------------------------- */

static void test_compact__steady_work_needs_no_more_file(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.checkpoint_log_bytes = 512 * KiB;
    struct store store;
    store_init(&store, &options);
    uint64_t largest = 0;
    struct kv_txn *reader = NULL;
    for (uint64_t round = 0; round < 24; round++) {
        /* A window of numbers moves on; a reader holds some rounds. */
        fill(store.kv, round * 1000, round * 1000 + 4000, size_small, round);
        thin(store.kv, round * 1000, round * 1000 + 1000, 100);
        if (round % 8 == 3)
            reader = kv_begin_read(store.kv);
        if (round % 8 == 6)
            kv_abort(reader);
        if (round % 4 == 3)
            expect_ok(compact(store.kv));
        if (round == 11)
            largest = file_bytes(store.kv);
        if (round > 11 && round % 8 == 7)
            assert_true(file_bytes(store.kv) <= largest + largest / 4);
    }
    compact_and_check(&store, "after steady work");
    store_release(&store);
}

/* ---- cancel, misuse ----------------------------------------------------------------------- */

struct cancel {
    uint64_t calls, last, calls_max;
};

static bool count_and_cancel(void *context, uint64_t done, uint64_t total)
{
    struct cancel *cancel = context;
    assert_true(done >= cancel->last && done <= total);
    cancel->last = done;
    return ++cancel->calls < cancel->calls_max;
}

static void test_compact__cancelled_run_leaves_a_sound_store(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    fill(store.kv, 0, 8000, size_small, 0);
    thin(store.kv, 0, 8000, 10);
    uint64_t before, after;
    expect_ok(content_digest(store.kv, &before));
    struct cancel cancel = { .calls_max = 1 };
    struct kv_maintenance job = { .kind = KV_COMPACT,
                                  .progress = count_and_cancel,
                                  .context = &cancel };
    sombra_err err;
    for (;;) {
        cancel.calls = cancel.last = 0;
        err = kv_maintain(store.kv, &job);
        store_expect_exact(store.kv);
        expect_ok(content_digest(store.kv, &after));
        assert_true(before == after);
        if (!err)
            break;
        expect_err(SOMBRA_CANCELLED, err);
        cancel.calls_max++;
    }
    assert_true(cancel.calls_max > 2);
    compact_and_check(&store, "after cancelled ones");
    /* The thread that has the write transaction would wait for itself. */
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_err(SOMBRA_BUSY, compact(store.kv));
    kv_abort(txn);
    store_close(&store);
    store.options.is_readonly = true;
    store.options.create = false;
    store_open(&store);
    expect_err(SOMBRA_READONLY, compact(store.kv));
    store_release(&store);
}

/* ---- by itself ---------------------------------------------------------------------------- */

static void test_compact__runs_by_itself_when_much_is_free(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_background = false;
    for (int is_off = 0; is_off < 2; is_off++) {
        options.no_auto_compact = is_off;
        struct store store;
        store_init(&store, &options);
        fill(store.kv, 0, 3500, size_of_values, 0);
        thin(store.kv, 0, 3500, 20);
        uint64_t before, after;
        expect_ok(content_digest(store.kv, &before));
        uint64_t bytes = file_bytes(store.kv);
        assert_true(bytes > COMPACT_UNUSED_BYTES_MIN);
        checkpoint(store.kv);
        for (int i = 0; i < 200 && !is_off && file_bytes(store.kv) > bytes / 4; i++)
            usleep(20000);
        if (is_off)
            usleep(50000);
        assert_true((file_bytes(store.kv) <= bytes / 4) == !is_off);
        expect_ok(content_digest(store.kv, &after));
        assert_true(before == after);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

static bool shrinks_within(struct kv *kv, uint64_t bytes, unsigned ms)
{
    for (unsigned i = 0; i < ms / 20 && file_bytes(kv) > bytes; i++)
        usleep(20000);
    return file_bytes(kv) <= bytes;
}

/* The log is far from asking for a checkpoint, and a reader has what is not the newest tree. When
 * it ends, nothing is written any more, and the file becomes shorter all the same. */
static void test_compact__resting_store_shrinks_when_its_reader_ends(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_background = false;
    struct store store;
    store_init(&store, &options);
    struct btree *btree = container_of(store.kv, struct btree, kv);
    btree->rest_ms = 100;
    fill(store.kv, 0, 3500, size_of_values, 0);
    struct kv_txn *reader = kv_begin_read(store.kv);
    fill(store.kv, 0, 3500, size_of_values, 1);
    thin(store.kv, 0, 3500, 3);
    uint64_t bytes = file_bytes(store.kv), before, after;
    expect_ok(content_digest(store.kv, &before));
    assert_true(bytes / 2 > COMPACT_UNUSED_BYTES_MIN);
    /* The pages are the reader's: there is nothing to win by moving any. */
    assert_false(shrinks_within(store.kv, bytes / 2, 1300));
    kv_abort(reader);
    assert_true(shrinks_within(store.kv, bytes / 2, 20000));
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* Pages that are moved would drive out what the reader comes for; it ends, and the file becomes
 * shorter. */
static void test_compact__where_memory_is_short_a_store_that_is_read_does_not_rest(void **state)
{
    (void)state;
    enum { REST_MS = 700, LOOKS = 200, LOOK_MS = 20, GETS = 100 };
    struct btree_options options = small_options();
    options.no_background = false;
    options.memory_bytes = 8 * MiB;
    struct store store;
    store_init(&store, &options);
    container_of(store.kv, struct btree, kv)->rest_ms = REST_MS;
    fill(store.kv, 0, 3500, size_of_values, 0);
    struct kv_txn *reader = kv_begin_read(store.kv);
    fill(store.kv, 0, 3500, size_of_values, 1);
    thin(store.kv, 0, 3500, 3);
    kv_abort(reader);
    uint64_t bytes = file_bytes(store.kv), before, after;
    expect_ok(content_digest(store.kv, &before));
    for (unsigned i = 0; i < LOOKS; i++) {
        reader = kv_begin_read(store.kv);
        uint8_t key[24];
        sombra_slice value;
        for (uint64_t number = 0; number < GETS; number++) {
            sombra_err err = kv_get(reader, key_of(number, key), &value);
            assert_true(!err || err == SOMBRA_NOT_FOUND);
        }
        kv_abort(reader);
        usleep(LOOK_MS * 1000);
        assert_int_equal(file_bytes(store.kv), bytes);
    }
    assert_true(shrinks_within(store.kv, bytes / 2, 20000));
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    store_expect_exact(store.kv);
    store_release(&store);
}

/* ---- everybody goes on --------------------------------------------------------------------- */

struct crowd {
    struct kv *kv;
    _Atomic bool stops;
    _Atomic uint64_t commits, snapshots, wrong;
};

enum { CROWD_KEYS = 6000 };

/* Every commit puts one round's number under the key and its mirror: a snapshot sees both. */
static void crowd_put(struct kv_txn *txn, uint64_t number, uint64_t round)
{
    uint8_t key[24];
    struct buf value = BUF_INIT;
    kv_pattern(&value, round, 8 + (round % 50 == 0 ? 9000 : round % 100));
    expect_ok(kv_put(txn, key_of(number, key), buf_slice(&value)));
    expect_ok(kv_put(txn, key_of(number + CROWD_KEYS, key), buf_slice(&value)));
    buf_release(&value);
}

static void *crowd_write(void *argument)
{
    struct crowd *crowd = argument;
    for (uint64_t round = 1; !atomic_load(&crowd->stops); round++) {
        struct kv_txn *txn = kv_begin_write(crowd->kv);
        for (uint64_t i = 0; i < 8; i++)
            crowd_put(txn, (round * 8 + i) * 31 % CROWD_KEYS, round);
        kv_commit_ok(txn);
        atomic_fetch_add(&crowd->commits, 1);
        usleep(100); /* the turn is not handed out in order */
    }
    return NULL;
}

static void *crowd_read(void *argument)
{
    struct crowd *crowd = argument;
    while (!atomic_load(&crowd->stops)) {
        struct kv_txn *txn = kv_begin_read(crowd->kv);
        for (uint64_t number = atomic_load(&crowd->snapshots) % 7; number < CROWD_KEYS;
             number += 11) {
            uint8_t keys[2][24];
            sombra_slice left = { 0 }, right = { 0 };
            sombra_err err = kv_get(txn, key_of(number, keys[0]), &left);
            uint64_t digest = err ? 0 : kv_entry_digest(0, slice_of("", 0), left);
            sombra_err other = kv_get(txn, key_of(number + CROWD_KEYS, keys[1]), &right);
            if (err != other || (!err && digest != kv_entry_digest(0, slice_of("", 0), right)))
                atomic_fetch_add(&crowd->wrong, 1);
        }
        kv_abort(txn);
        atomic_fetch_add(&crowd->snapshots, 1);
    }
    return NULL;
}

static void crowd_run(struct btree_options options)
{
    enum { READERS = 2, COMPACTIONS = 3 };
    struct store store;
    store_init(&store, &options);
    struct crowd crowd = { .kv = store.kv };
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (uint64_t number = 0; number < CROWD_KEYS; number++)
        crowd_put(txn, number, number);
    kv_commit_ok(txn);
    pthread_t threads[READERS + 1];
    assert_int_equal(pthread_create(&threads[0], NULL, crowd_write, &crowd), 0);
    for (int i = 1; i <= READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_read, &crowd), 0);
    for (int i = 0; i < COMPACTIONS; i++)
        expect_ok(compact(store.kv));
    atomic_store(&crowd.stops, true);
    for (int i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    printf("%d compactions beside %" PRIu64 " commits and %" PRIu64 " snapshots\n", COMPACTIONS,
           atomic_load(&crowd.commits), atomic_load(&crowd.snapshots));
    assert_int_equal(atomic_load(&crowd.wrong), 0);
    store_expect_exact(store.kv);
    compact_and_check(&store, "after the crowd");
    store_release(&store);
}

static void test_compact__readers_and_writers_go_on(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    options.no_background = false;
    options.durability = KV_NORMAL;
    options.checkpoint_log_bytes = 256 * KiB;
    crowd_run(options);
    options.no_mapped_stores = true;
    crowd_run(options);
}

/* ---- crashes and failures ----------------------------------------------------------------- */

/* A store on a simulated machine, with everything that a compaction does before it. */
static void store_init_sparse(struct store *store, struct btree_options options)
{
    options.durability = KV_FULL;
    store_init_simulated(store, &options);
    fill(store->kv, 0, 4000, size_small, 0);
    fill(store->kv, 50000, 50060, size_of_values, 0);
    thin(store->kv, 0, 4000, 8);
    thin(store->kv, 50000, 50060, 3);
}

static void test_compact__power_cut_at_any_call_changes_no_content(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct btree_options options = small_options();
        options.no_mapped_stores = i == 1;
        struct store store;
        store_init_sparse(&store, options);
        struct power_cuts cuts;
        uint64_t before = file_bytes(store.kv);
        power_cuts_begin(&cuts, &store, (uint64_t)i);
        expect_ok(compact(store.kv));
        power_cuts_end(&cuts);
        assert_true(file_bytes(store.kv) < before / 2);
        store_expect_exact(store.kv);
        store_release(&store);
    }
}

/* One call fails. Either the store goes on, or it refuses writes and the next open finds it all. */
static bool fault_try(enum os_sim_fault_kind kind, uint64_t nth)
{
    struct store store;
    store_init_sparse(&store, small_options());
    uint64_t before, after;
    expect_ok(content_digest(store.kv, &before));
    os_sim_fail_at(store.sim, nth, kind, false);
    sombra_err err = compact(store.kv);
    assert_true(!err || err == SOMBRA_IO || err == SOMBRA_LIMIT);
    bool has_struck = os_sim_faults(store.sim) > 0;
    os_sim_fail(store.sim, NULL);
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    if (!head_check_writable(btree_of(store.kv)->head)) {
        store_expect_exact(store.kv);
        expect_ok(compact(store.kv));
    }
    struct kv *kv = store.kv;
    store.kv = NULL;
    err = kv_close(kv);
    assert_true(!err || err == SOMBRA_IO);
    store_open(&store);
    expect_ok(content_digest(store.kv, &after));
    assert_true(before == after);
    store_expect_exact(store.kv);
    expect_ok(compact(store.kv));
    store_expect_exact(store.kv);
    store_release(&store);
    return has_struck;
}

static void test_compact__failing_call_loses_nothing(void **state)
{
    (void)state;
    uint64_t stride = test_is_long() ? 1 : u64_max(1, 500 / (test_share_percent() + 1));
    for (int i = 0; i < 2; i++) {
        uint64_t nth = 1;
        while (fault_try(i ? OS_SIM_ENOSPC : OS_SIM_EIO, nth))
            nth += stride;
        printf("%s at up to %" PRIu64 " calls\n", i ? "ENOSPC" : "EIO", nth);
        assert_true(nth > 10);
    }
}

/* ---- who may cut the file ------------------------------------------------------------------ */

struct calls {
    uint64_t punches, cuts;
};

static void calls_count(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct calls *calls = context;
    (void)sim;
    calls->punches += event->call == OS_SIM_PUNCH;
    calls->cuts += event->call == OS_SIM_TRUNCATE && strcmp(event->path, "/store") == 0;
}

static void test_compact__file_is_punched_while_others_have_it_open(void **state)
{
    (void)state;
    struct store store;
    store_init_sparse(&store, small_options());
    struct os *other_os = os_sim_start(store.sim);
    struct kv *other;
    uint64_t before, after;
    struct calls calls = { 0 };
    expect_ok(btree_open(other_os, store.path, &store.options, &other));
    fill(other, 90000, 90010, size_small, 0); /* its page account is of before */
    expect_ok(content_digest(other, &before));
    uint64_t bytes = file_bytes(store.kv);
    os_sim_set_hook(store.sim, calls_count, &calls);
    expect_ok(compact(store.kv));
    assert_true(calls.punches > 0 && calls.cuts == 0);
    struct kv_stats stats = store_stats(store.kv, false);
    assert_true(stats.file_bytes >= bytes && stats.pages_total * stats.page_bytes < bytes / 2);
    expect_ok(content_digest(other, &after));
    assert_true(before == after);
    store_expect_exact(other);
    /* The other needs the space again, and then leaves. */
    fill(other, 100000, 102000, size_small, 0);
    store_expect_exact(other);
    expect_ok(content_digest(store.kv, &before));
    expect_ok(kv_close(other));
    /* An older snapshot keeps the file as it is; without it the file is cut. */
    thin(store.kv, 100000, 102000, 10);
    struct kv_txn *reader = kv_begin_read(store.kv);
    thin(store.kv, 90000, 90010, 10);
    expect_ok(compact(store.kv));
    assert_int_equal(calls.cuts, 0);
    kv_abort(reader);
    expect_ok(compact(store.kv));
    assert_true(calls.cuts > 0);
    stats = store_stats(store.kv, false);
    assert_int_equal(stats.file_bytes, stats.pages_total * stats.page_bytes);
    os_sim_set_hook(store.sim, NULL, NULL);
    store_expect_exact(store.kv);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact__file_is_as_long_as_a_copy),
        cmocka_unit_test(test_compact__small_and_empty_stores_are_fine),
        cmocka_unit_test(test_compact__values_find_room_among_scattered_gaps),
        cmocka_unit_test(test_compact__asks_for_more_free_pages_before_the_next),
        cmocka_unit_test(test_compact__snapshot_keeps_what_it_sees),
        cmocka_unit_test(test_compact__file_is_cut_when_there_is_nothing_to_move),
        cmocka_unit_test(test_compact__no_run_leaves_the_file_longer),
        cmocka_unit_test(test_compact__file_without_free_pages_is_packed),
        cmocka_unit_test(test_compact__steady_work_needs_no_more_file),
        cmocka_unit_test(test_compact__cancelled_run_leaves_a_sound_store),
        cmocka_unit_test(test_compact__runs_by_itself_when_much_is_free),
        cmocka_unit_test(test_compact__resting_store_shrinks_when_its_reader_ends),
        cmocka_unit_test(test_compact__where_memory_is_short_a_store_that_is_read_does_not_rest),
        cmocka_unit_test(test_compact__readers_and_writers_go_on),
        cmocka_unit_test(test_compact__power_cut_at_any_call_changes_no_content),
        cmocka_unit_test(test_compact__failing_call_loses_nothing),
        cmocka_unit_test(test_compact__file_is_punched_while_others_have_it_open),
    };
    return cmocka_run_group_tests_name("btree, compaction", tests, NULL, NULL);
}
