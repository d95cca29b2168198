/* SPDX-License-Identifier: MIT */
/* Rules of the lsm's files and logs that no random history comes near often enough: what a disk may
 * hold at any call, what may be unlinked, what a replay may bring back, what an idle store owes.
 */
#include "lsm/write_internal.h"
#include "lsm_store.h"
#include "wal/wal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct lsm_options quiet(void)
{
    return (struct lsm_options){ LSM_STORE_SMALL(4 * KiB), .no_background = true,
                                 .busy_timeout_ms = 5000 };
}

/* All that a test writes is in one memtable. */
static struct lsm_options roomy(void)
{
    struct lsm_options options = quiet();
    options.memtable_bytes = 1 * MiB;
    return options;
}

static void fill(struct kv *kv, uint64_t first, uint64_t last, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, 40, salt);
    expect_ok(kv_commit(txn, KV_OFF));
}

static void maintain(struct kv *kv, enum kv_maintenance_kind kind)
{
    struct kv_maintenance job = { .kind = kind };
    expect_ok(kv_maintain(kv, &job));
}

static bool has_suffix(const char *path, const char *suffix)
{
    size_t bytes = strlen(path), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(path + bytes - suffix_bytes, suffix) == 0;
}

/* ---- what a disk holds ------------------------------------------------------------------- */

struct disk {
    struct manifest_state state;
    struct version *version; /* NULL: no manifest */
    struct cache *cache;
    struct table_cache *tables;
};

static struct disk disk_read(struct os *os)
{
    struct disk disk = { .version = NULL };
    expect_ok(cache_new(1 * MiB, NULL, &disk.cache));
    const struct table_context context = { .os = os, .cache = disk.cache };
    expect_ok(table_cache_new(&context, "data", 16, &disk.tables));
    sombra_err err = manifest_read(os, "data", disk.tables, &disk.state, &disk.version);
    if (err != SOMBRA_NOT_FOUND)
        expect_ok(err);
    return disk;
}

static void disk_release(struct disk *disk)
{
    version_unref(disk->version);
    table_cache_free(disk->tables);
    cache_free(disk->cache);
}

static uint64_t file_bytes(struct os *os, const char *path)
{
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(os, path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return bytes;
}

/* All that the disk's manifest names is there, whole. */
static void expect_whole(struct os *os, const struct disk *disk)
{
    char path[96];
    for (size_t i = 0; i < disk->version->count; i++) {
        const struct version_run *run = &disk->version->runs[i];
        for (size_t k = 0; k < run->count; k++) {
            const struct table_meta *meta = &run->tables[k]->meta;
            snprintf(path, sizeof path, "data/%06" PRIu64 ".sst", meta->number);
            assert_int_equal(file_bytes(os, path), meta->file_bytes);
        }
    }
    snprintf(path, sizeof path, "data/%020" PRIu64 ".log", disk->state.log_seq);
    if (!disk->state.is_clean)
        (void)file_bytes(os, path); /* it is there; it has no bytes before its first sync */
}

struct watch {
    uint64_t calls, unlinked_tables, unlinked_logs;
};

/* What goes must not be needed by the manifest that a power cut at this moment would leave. */
static void expect_not_needed(struct watch *watch, const struct disk *disk, const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    uint64_t number = strtoull(name, NULL, 10);
    if (has_suffix(name, ".sst")) {
        watch->unlinked_tables++;
        assert_false(version_find(disk->version, number, NULL, NULL));
    }
    if (has_suffix(name, ".log")) {
        watch->unlinked_logs++;
        assert_true(disk->state.is_clean || number < disk->state.log_seq);
    }
}

static void watch_call(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    static const enum os_sim_variant variants[] = { OS_SIM_NOTHING, OS_SIM_NAMES_ONLY,
                                                    OS_SIM_ALL_BUT_LAST };
    struct watch *watch = context;
    watch->calls++;
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        struct os_sim *cut = os_sim_crash(sim, variants[i], event->number);
        struct os *os = os_sim_start(cut);
        struct disk disk = disk_read(os);
        if (disk.version)
            expect_whole(os, &disk);
        if (disk.version && event->call == OS_SIM_UNLINK)
            expect_not_needed(watch, &disk, event->path);
        disk_release(&disk);
        os_sim_free(cut);
    }
}

static void work_on_files(struct lsm_store *store)
{
    for (uint64_t round = 0; round < 6; round++) {
        fill(store->kv, round * 30, round * 30 + 90, round);
        struct kv_txn *txn = kv_begin_write(store->kv);
        uint8_t low[8], high[8];
        struct kv_range range = { kv_number_key(round * 25, low),
                                  kv_number_key(round * 25 + 20, high) };
        expect_ok(kv_delete_range(txn, range, NULL));
        expect_ok(kv_commit(txn, round % 2 ? KV_FULL : KV_OFF));
        maintain(store->kv, round % 3 == 2 ? KV_COMPACT : KV_CHECKPOINT);
        if (round % 3 == 1) {
            lsm_store_close(store);
            lsm_store_open(store);
        }
    }
}

/* data, sync, names, manifest, sync, and only then unlink: seen from the disk, at every call. */
static void expect_whole_disk(struct lsm_options options)
{
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    struct watch watch = { .calls = 0 };
    os_sim_set_hook(store.sim, watch_call, &watch);
    work_on_files(&store);
    lsm_store_close(&store);
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_true(watch.calls > 100 && watch.unlinked_tables > 5 && watch.unlinked_logs > 5);
    lsm_store_release(&store);
}

static void test_rules__a_disk_is_whole_at_every_call(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    expect_whole_disk(options);
    options.wal_bypass_bytes = 600; /* most transactions are flushed instead */
    expect_whole_disk(options);
}

/* ---- edits whose outcome is unknown ------------------------------------------------------ */

static void count_unlinks(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    *(unsigned *)context += event->call == OS_SIM_UNLINK;
}

/* The record of the edit may be on the disk: what it names stays, for the next open to judge. */
static void test_rules__a_failed_edit_leaves_its_tables(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (uint64_t nth = 1; nth <= 12; nth++) {
        struct lsm_options options = quiet();
        struct lsm_store store;
        lsm_store_init_simulated(&store, &options);
        fill(store.kv, 0, 60, 1);
        maintain(store.kv, KV_CHECKPOINT);
        fill(store.kv, 30, 90, 2);
        unsigned unlinks = 0;
        os_sim_fail(store.sim, &(struct os_sim_fault){
                                   .kind = OS_SIM_SHORT, .nth = nth, .calls = 1U << OS_SIM_SYNC });
        struct kv_maintenance job = { .kind = KV_COMPACT };
        sombra_err err = kv_maintain(store.kv, &job);
        os_sim_fail(store.sim, NULL);
        os_sim_set_hook(store.sim, count_unlinks, &unlinks);
        bool has_failed = lsm_check_writable(lsm_of(store.kv)) != SOMBRA_OK;
        sombra_err close_err = kv_close(store.kv);
        store.kv = NULL;
        os_sim_set_hook(store.sim, NULL, NULL);
        assert_int_equal(has_failed, close_err != SOMBRA_OK);
        tried += err && has_failed;
        if (has_failed)
            assert_int_equal(unlinks, 0);
        store.os = os_sim_start(store.sim);
        lsm_store_open(&store);
        struct kv_txn *txn = kv_begin_read(store.kv);
        uint64_t entries;
        kv_digest(txn, (struct kv_range){ { 0 }, { 0 } }, &entries);
        kv_abort(txn);
        assert_int_equal(entries, 90);
        kv_expect_sound(store.kv);
        lsm_store_release(&store);
    }
    assert_true(tried >= 2); /* the flush's edit, the compaction's */
}

/* ---- strays ------------------------------------------------------------------------------ */

static bool is_there(struct os *os, const char *path)
{
    struct os_identity identity;
    return os_identify_path(os, path, &identity) == SOMBRA_OK;
}

static void expect_strays_go(struct lsm_store *store)
{
    static const char *const strays[] = { "data/000900.sst", "data/MANIFEST-new",
                                          "data/00000000000000000000.log" };
    for (size_t i = 0; i < COUNT_OF(strays); i++)
        if (!is_there(store->os, strays[i]))
            lsm_store_file_make(store->os, strays[i], "stray");
    lsm_store_file_make(store->os, "data/notes.txt", "stray");
    lsm_store_open(store);
    assert_true(lsm_of(store->kv)->next_number > 900);
    kv_put_one(store->kv, "more", "value", KV_FULL); /* writes the manifest, if the open did not */
    for (size_t i = 0; i < COUNT_OF(strays); i++)
        assert_false(is_there(store->os, strays[i]));
    assert_true(is_there(store->os, "data/notes.txt"));
    kv_expect_one(store->kv, "key", "value");
}

static void test_rules__strays_go_once_the_manifest_is_written_again(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "key", "value", KV_FULL);
    lsm_store_close(&store);
    expect_strays_go(&store); /* after a clean end */
    struct kv *killed = store.kv;
    os_sim_kill(store.os);
    store.kv = NULL;
    store.os = os_sim_start(store.sim);
    expect_strays_go(&store); /* after a kill */
    lsm_store_close(&store);
    if (kv_close(killed) == SOMBRA_OK)
        fail_msg("a killed process closed its store");
    lsm_store_release(&store);
}

/* ---- the end of a store ------------------------------------------------------------------ */

enum { IMAGES_MAX = 400 };

struct images {
    struct os_sim *list[IMAGES_MAX];
    size_t count;
};

static void image_take(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct images *images = context;
    for (int variant = 0; variant < OS_SIM_VARIANTS && images->count < IMAGES_MAX; variant++)
        images->list[images->count++] =
            os_sim_crash(sim, (enum os_sim_variant)variant, event->number);
}

static void images_check(struct images *images, const struct lsm_options *options, const char *key,
                         const char *value)
{
    assert_true(images->count > 0);
    for (size_t i = 0; i < images->count; i++) {
        struct kv *kv;
        expect_ok(lsm_open(os_sim_start(images->list[i]), "data", options, &kv));
        kv_expect_one(kv, key, value);
        expect_ok(kv_close(kv));
        os_sim_free(images->list[i]);
    }
    images->count = 0;
}

/* The mark of a clean end was written and its sync failed: the next open sees it, the disk does
 * not, and still needs the empty log behind the last commit. The first commit behind that open took
 * the log away to make its own of that name. */
static void test_rules__a_clean_end_that_is_only_cached_is_not_built_on(void **state)
{
    (void)state;
    struct lsm_options options = roomy();
    struct lsm_store store;
    static struct images images;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "key", "value", KV_FULL);
    maintain(store.kv, KV_CHECKPOINT); /* a log of that name, and nothing to flush at the end */
    os_sim_fail(store.sim, &(struct os_sim_fault){ .kind = OS_SIM_ENOSPC,
                                                   .nth = 1,
                                                   .is_sticky = true,
                                                   .calls = 1U << OS_SIM_SYNC });
    struct kv *kv = store.kv;
    store.kv = NULL;
    expect_err(SOMBRA_LIMIT, kv_close(kv));
    os_sim_set_hook(store.sim, image_take, &images);
    store.os = os_sim_start(store.sim);
    lsm_store_open(&store);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_text(txn, "more", "lost");
    expect_err(SOMBRA_LIMIT, kv_commit(txn, KV_OFF));
    os_sim_fail(store.sim, NULL);
    lsm_store_close(&store);
    lsm_store_open(&store);
    kv_put_one(store.kv, "more", "value", KV_OFF);
    os_sim_set_hook(store.sim, NULL, NULL);
    images_check(&images, &options, "key", "value");
    kv_expect_one(store.kv, "key", "value");
    lsm_store_release(&store);
}

/* The first change behind a clean open: a commit, or a compaction that comes before it. Whatever a
 * crash at any call leaves is the store before it, or with it. */
static void begin_and_cut(bool compacts_first)
{
    struct lsm_options options = quiet();
    struct lsm_store store;
    static struct images images;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "key", "value", KV_OFF);
    lsm_store_close(&store);
    for (uint64_t i = 0; i < 2; i++) { /* three tables, so that there is something to compact */
        lsm_store_open(&store);
        fill(store.kv, i, 30 + i, i);
        lsm_store_close(&store);
    }
    lsm_store_open(&store);
    os_sim_set_hook(store.sim, image_take, &images);
    if (compacts_first)
        maintain(store.kv, KV_COMPACT);
    assert_true(lsm_of(store.kv)->state.is_clean);
    kv_put_one(store.kv, "new", "one", KV_FULL);
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_false(lsm_of(store.kv)->state.is_clean);
    images_check(&images, &options, "key", "value");
    struct os_sim *cut = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    images = (struct images){ .list = { cut }, .count = 1 };
    images_check(&images, &options, "new", "one");
    lsm_store_release(&store);
}

static void test_rules__a_cut_before_the_first_commit_of_an_open_changes_nothing(void **state)
{
    (void)state;
    begin_and_cut(false);
    begin_and_cut(true);
}

/* The first commit fails at each of its calls; where the store goes on, the next one works. */
static void test_rules__a_failed_first_commit_can_be_tried_again(void **state)
{
    (void)state;
    unsigned again = 0;
    for (uint64_t nth = 1; nth <= 12; nth++) {
        struct lsm_options options = roomy();
        struct lsm_store store;
        lsm_store_init_simulated(&store, &options);
        kv_put_one(store.kv, "key", "value", KV_OFF);
        lsm_store_close(&store);
        lsm_store_open(&store);
        os_sim_fail(store.sim, &(struct os_sim_fault){ .kind = OS_SIM_ENOSPC, .nth = nth });
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_text(txn, "key", "other");
        sombra_err err = kv_commit(txn, KV_OFF);
        os_sim_fail(store.sim, NULL);
        if (err && !atomic_load(&lsm_of(store.kv)->is_failed)) {
            again++;
            kv_expect_one(store.kv, "key", "value");
            kv_put_one(store.kv, "key", "third", KV_FULL);
        }
        struct kv *kv = store.kv;
        store.kv = NULL;
        sombra_err close_err = kv_close(kv);
        assert_true(!close_err || err);
        lsm_store_open(&store);
        txn = kv_begin_read(store.kv);
        sombra_slice value;
        expect_ok(kv_get(txn, slice_of("key", 3), &value));
        kv_abort(txn);
        lsm_store_release(&store);
    }
    assert_true(again >= 3);
}

static void image_take_bare(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct images *images = context;
    if (images->count < IMAGES_MAX)
        images->list[images->count++] = os_sim_crash(sim, OS_SIM_NOTHING, event->number);
}

/* The flush at the end is durable, the log's own end is not, and the mark is not there yet: what is
 * left of the log is older than the tables. It was replayed over them. */
static void test_rules__a_log_that_lost_its_end_does_not_hide_newer_tables(void **state)
{
    (void)state;
    struct lsm_options options = roomy();
    struct lsm_store store;
    struct images images = { .count = 0 };
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "key", "old", KV_FULL);
    kv_put_one(store.kv, "key", "new", KV_OFF);
    kv_put_one(store.kv, "other", "newer", KV_OFF);
    os_sim_set_hook(store.sim, image_take_bare, &images);
    lsm_store_close(&store);
    os_sim_set_hook(store.sim, NULL, NULL);
    unsigned whole = 0;
    for (size_t i = 0; i < images.count; i++) {
        struct kv *kv;
        sombra_slice other;
        expect_ok(lsm_open(os_sim_start(images.list[i]), "data", &options, &kv));
        struct kv_txn *txn = kv_begin_read(kv);
        bool is_whole = kv_get(txn, slice_of("other", 5), &other) == SOMBRA_OK;
        kv_expect_text(txn, "key", is_whole ? "new" : "old");
        kv_abort(txn);
        expect_ok(kv_close(kv));
        os_sim_free(images.list[i]);
        whole += is_whole;
    }
    assert_true(whole > 0 && whole < images.count);
    lsm_store_release(&store);
}

/* ---- numbers, marks ---------------------------------------------------------------------- */

static void test_rules__numbers_of_lost_commits_are_not_used_again(void **state)
{
    (void)state;
    struct lsm_options options = roomy();
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "kept", "value", KV_FULL);
    for (int i = 0; i < 5; i++)
        kv_put_one(store.kv, "lost", "value", KV_OFF);
    uint64_t lost = atomic_load(&lsm_of(store.kv)->seq);
    for (int i = 0; i < 3; i++) { /* the recovery is cut as well */
        struct os_sim *cut = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
        struct kv *kv;
        expect_ok(lsm_open(os_sim_start(cut), "data", &options, &kv));
        struct kv_txn *txn = kv_begin_read(kv);
        kv_expect_missing(txn, "lost");
        kv_abort(txn);
        assert_true(atomic_load(&lsm_of(kv)->seq) > lost);
        expect_ok(kv_close(kv));
        os_sim_free(cut);
    }
    lsm_store_release(&store);
}

/* Flips a byte of what the log says of `text`. */
static void log_flip(struct os_sim *sim, uint64_t base_seq, const char *text)
{
    char path[64];
    struct os_file *file;
    struct buf content = BUF_INIT;
    uint8_t *to;
    snprintf(path, sizeof path, "data/%020" PRIu64 ".log", base_seq);
    struct os *os = os_sim_start(sim);
    size_t bytes = (size_t)file_bytes(os, path);
    expect_ok(buf_extend(&content, bytes, &to));
    expect_ok(os_open(os, path, OS_READ, 0, &file));
    expect_ok(os_read(file, 0, to, bytes));
    os_close(file);
    const uint8_t *at = memmem(to, bytes, text, strlen(text));
    assert_non_null(at);
    assert_true(os_sim_flip(sim, path, (uint64_t)(at - to), 1));
    buf_release(&content);
}

/* Rot of the newest durable record looks like a crash's tail, unless something behind it says that
 * it was durable: an idle store appends that. */
static void test_rules__who_promises_what_he_read_syncs_what_others_left(void **state)
{
    (void)state;
    struct lsm_options options = roomy();
    for (unsigned way = 0; way < KV_DURABLE_WAYS; way++) {
        struct lsm_store store;
        lsm_store_init_simulated(&store, &options);
        kv_put_one(store.kv, "made", "durable", KV_FULL);
        kv_put_one(store.kv, "left", "in the page cache", KV_OFF);
        const uint64_t digest = kv_committed_digest(store.kv, NULL);
        kv_make_durable(store.kv, way);
        struct os_sim *image = os_sim_crash(store.sim, OS_SIM_NOTHING, 0);
        assert_int_equal(lsm_store_image_digest(image, &options), digest);
        os_sim_free(image);
        lsm_store_release(&store);
    }
}

static void test_rules__rot_of_the_last_record_before_idle_is_found(void **state)
{
    (void)state;
    enum { TRIES = 400 };
    struct lsm_options options = roomy();
    options.no_background = false;
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "first", "value", KV_FULL);
    uint64_t base_seq = lsm_of(store.kv)->writer->log->base_seq;
    kv_put_one(store.kv, "last", "the last value", KV_FULL);
    sombra_err err = SOMBRA_OK;
    for (int i = 0; i < TRIES && err != SOMBRA_CORRUPT; i++) {
        os_sleep_us(store.os, 100000); /* the machine's clock, and the threads' */
        os_sleep_us(os_posix(), 50000);
        struct os_sim *killed = os_sim_clone(store.sim);
        struct kv *after = NULL;
        log_flip(killed, base_seq, "the last value");
        err = lsm_open(os_sim_start(killed), "data", &options, &after);
        if (!err)
            expect_ok(kv_close(after));
        os_sim_free(killed);
    }
    assert_int_equal(err, SOMBRA_CORRUPT);
    kv_put_one(store.kv, "next", "behind the mark", KV_FULL);
    struct os_sim *cut = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    struct kv *after = NULL;
    expect_ok(lsm_open(os_sim_start(cut), "data", &options, &after));
    kv_expect_one(after, "next", "behind the mark");
    expect_ok(kv_close(after));
    os_sim_free(cut);
    lsm_store_release(&store);
}

/* What is appended cannot be taken back: nothing behind it may fail for want of memory, neither the
 * sync of the name of a new log nor a new memtable, which the next transaction can make. */
static void test_rules__a_durable_commit_needs_no_memory(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    kv_put_one(store.kv, "first", "makes the log before its record", KV_FULL);
    for (uint64_t i = 0; i < 5; i++) { /* each fills a memtable */
        struct kv_txn *txn = kv_begin_write(store.kv);
        kv_put_numbers(txn, i, i + 1, 5000, 1);
        mem_test_fail_at(1, true);
        sombra_err err = kv_commit(txn, KV_FULL);
        mem_test_fail_at(0, false);
        expect_ok(err);
    }
    assert_int_equal(lsm_store_count(store.kv), 6);
    lsm_store_release(&store);
}

/* ---- a table that rots -------------------------------------------------------------------- */

/* The number of a table of level 0, which a compaction takes. */
static uint64_t some_table(struct kv *kv)
{
    const struct version *version = lsm_of(kv)->view->version;
    assert_true(version->count > 0);
    return version->runs[0].tables[0]->meta.number;
}

/* A compaction that meets a damaged table says so to who asked for it, changes nothing, and leaves
 * the rest of the store at work. */
static void test_rules__a_damaged_table_ends_its_compaction_and_no_more(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    options.level0_compact = 8;
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    for (uint64_t i = 0; i < 4; i++) {
        fill(store.kv, 0, 60, i);
        maintain(store.kv, KV_CHECKPOINT);
    }
    fill(store.kv, 1000, 1060, 1);
    maintain(store.kv, KV_CHECKPOINT);
    char path[64];
    snprintf(path, sizeof path, "data/%06" PRIu64 ".sst", some_table(store.kv));
    lsm_store_close(&store);
    assert_true(os_sim_flip(store.sim, path, 40, 0x10)); /* in its first block */
    store.options.level0_compact = 2;
    lsm_store_open(&store);
    struct kv_maintenance job = { .kind = KV_COMPACT };
    expect_err(SOMBRA_CORRUPT, kv_maintain(store.kv, &job));
    for (uint64_t i = 0; i < 6; i++) { /* flushes, and compactions that are tried again */
        fill(store.kv, 2000, 2060, i);
        maintain(store.kv, KV_CHECKPOINT);
    }
    struct kv_txn *txn = kv_begin_read(store.kv);
    uint8_t low[8];
    uint64_t found;
    expect_ok(
        kv_count(txn, (struct kv_range){ kv_number_key(2000, low), { 0 } }, UINT64_MAX, &found));
    assert_int_equal(found, 60);
    kv_abort(txn);
    job = (struct kv_maintenance){ .kind = KV_VERIFY };
    sombra_err err = kv_maintain(store.kv, &job);
    assert_true(err == SOMBRA_CORRUPT || job.problems > 0);
    lsm_store_close(&store);
    lsm_store_open(&store);
    kv_put_one(store.kv, "more", "value", KV_FULL);
    kv_expect_one(store.kv, "more", "value");
    lsm_store_release(&store);
}

/* ---- the turn ---------------------------------------------------------------------------- */

/* A flush that hangs. */
struct gate {
    _Atomic bool is_shut, is_reached;
};

static void gate_wait(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    (void)sim;
    struct gate *gate = context;
    if (event->call != OS_SIM_CREATE || !has_suffix(event->path, ".sst"))
        return;
    atomic_store(&gate->is_reached, true);
    while (atomic_load(&gate->is_shut))
        os_sleep_us(os_posix(), 1000);
}

static void *put_patiently(void *kv)
{
    return (void *)(uintptr_t)lsm_store_try_put(kv, 1000000, 60000);
}

/* Who waits for a flush does not hold what others want: they learn at once what it is about, and
 * the store cannot be closed under the one that waits. */
static void test_rules__who_waits_for_a_flush_does_not_have_the_turn(void **state)
{
    (void)state;
    struct lsm_options options = quiet();
    options.no_background = false;
    options.memtables_max = 1;
    struct lsm_store store;
    struct gate gate = { .is_shut = true };
    lsm_store_init_simulated(&store, &options);
    os_sim_set_hook(store.sim, gate_wait, &gate);
    uint64_t count = 0;
    while (lsm_store_try_put(store.kv, count, 20) == SOMBRA_OK)
        count++;
    while (!atomic_load(&gate.is_reached)) /* on a busy machine the flush comes late */
        os_sleep_us(os_posix(), 1000);
    struct os_thread thread;
    expect_ok(os_thread_start(&thread, put_patiently, store.kv));
    while (atomic_load(&lsm_of(store.kv)->writer->stalled) == 0)
        os_sleep_us(os_posix(), 1000);
    expect_err(SOMBRA_BUSY, lsm_store_try_put(store.kv, count, 20));
    assert_non_null(strstr(sombra_err_message(), "wait for flushes"));
    expect_ok(lsm_turn_take(lsm_of(store.kv), 10000));
    lsm_turn_give(lsm_of(store.kv));
    expect_err(SOMBRA_BUSY, kv_close(store.kv));
    atomic_store(&gate.is_shut, false);
    void *result;
    pthread_join(thread.handle, &result);
    assert_int_equal((uintptr_t)result, SOMBRA_OK);
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_int_equal(lsm_store_count(store.kv), count + 1);
    lsm_store_release(&store);
}

/* ---- two syncs of the directory at once ----------------------------------------------------- */

struct beside {
    struct lsm *lsm;
    pthread_t thread;
    _Atomic bool is_begun, is_over;
    sombra_err err;
};

static void *sync_beside(void *argument)
{
    struct beside *beside = argument;
    beside->err = lsm_sync_names(beside->lsm);
    atomic_store(&beside->is_over, true);
    return NULL;
}

/* Before the sync of the test's thread: another one begins, and the first fails. */
static void begin_beside(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct beside *beside = context;
    if (event->call != OS_SIM_SYNC_DIRECTORY || atomic_exchange(&beside->is_begun, true))
        return;
    os_sim_fail(sim, &(struct os_sim_fault){
                         .kind = OS_SIM_EIO, .nth = 1, .calls = 1U << OS_SIM_SYNC_DIRECTORY });
    assert_int_equal(pthread_create(&beside->thread, NULL, sync_beside, beside), 0);
    for (int i = 0; i < 200 && !atomic_load(&beside->is_over); i++)
        os_sleep_us(os_posix(), 1000);
}

/* The names that the other waited for may be what was lost. */
static void test_rules__a_sync_of_names_beside_one_that_failed_fails(void **state)
{
    (void)state;
    struct lsm_options options = roomy();
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    fill(store.kv, 0, 10, 1);
    struct beside beside = { .lsm = lsm_of(store.kv) };
    os_sim_set_hook(store.sim, begin_beside, &beside);
    expect_err(SOMBRA_IO, lsm_sync_names(beside.lsm));
    pthread_join(beside.thread, NULL);
    os_sim_set_hook(store.sim, NULL, NULL);
    assert_int_equal(beside.err, SOMBRA_IO);
    struct kv *kv = store.kv;
    store.kv = NULL;
    expect_err(SOMBRA_IO, kv_close(kv));
    lsm_store_release(&store);
}

/* ---- reads of a read-only store ------------------------------------------------------------- */

/* What a process that writes has not synced is page cache. */
static void test_rules__a_durable_read_of_a_read_only_store_is_durable(void **state)
{
    (void)state;
    struct lsm_options options = quiet(), reads = quiet();
    struct lsm_store store;
    lsm_store_init_simulated(&store, &options);
    reads.is_readonly = true;
    struct kv *reader;
    expect_ok(lsm_open(os_sim_start(store.sim), store.path, &reads, &reader));
    for (unsigned round = 1; round <= 12; round++) {
        /* Beside logs, and tables made of them. */
        fill(store.kv, 0, 8 * round, round);
        kv_put_one(store.kv, "round", "b", KV_OFF);
        maintain(reader, KV_REFRESH);
        struct kv_txn *txn;
        uint64_t entries, kept;
        expect_ok(kv_begin(reader, &(struct kv_begin_options){ .needs_durable = true }, &txn));
        uint64_t digest = kv_digest(txn, (struct kv_range){ 0 }, &entries);
        kv_abort(txn);
        struct os_sim *after = os_sim_crash(store.sim, OS_SIM_NOTHING, round);
        struct kv *kv;
        expect_ok(lsm_open(os_sim_start(after), store.path, &options, &kv));
        txn = kv_begin_read(kv);
        assert_true(kv_digest(txn, (struct kv_range){ 0 }, &kept) == digest);
        assert_int_equal(kept, entries);
        kv_abort(txn);
        expect_ok(kv_close(kv));
        os_sim_free(after);
    }
    expect_ok(kv_close(reader));
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules__a_disk_is_whole_at_every_call),
        cmocka_unit_test(test_rules__a_failed_edit_leaves_its_tables),
        cmocka_unit_test(test_rules__who_promises_what_he_read_syncs_what_others_left),
        cmocka_unit_test(test_rules__strays_go_once_the_manifest_is_written_again),
        cmocka_unit_test(test_rules__a_clean_end_that_is_only_cached_is_not_built_on),
        cmocka_unit_test(test_rules__a_cut_before_the_first_commit_of_an_open_changes_nothing),
        cmocka_unit_test(test_rules__a_failed_first_commit_can_be_tried_again),
        cmocka_unit_test(test_rules__a_log_that_lost_its_end_does_not_hide_newer_tables),
        cmocka_unit_test(test_rules__numbers_of_lost_commits_are_not_used_again),
        cmocka_unit_test(test_rules__rot_of_the_last_record_before_idle_is_found),
        cmocka_unit_test(test_rules__a_durable_commit_needs_no_memory),
        cmocka_unit_test(test_rules__a_damaged_table_ends_its_compaction_and_no_more),
        cmocka_unit_test(test_rules__who_waits_for_a_flush_does_not_have_the_turn),
        cmocka_unit_test(test_rules__a_sync_of_names_beside_one_that_failed_fails),
        cmocka_unit_test(test_rules__a_durable_read_of_a_read_only_store_is_durable),
    };
    return cmocka_run_group_tests_name("lsm, rules of crashes", tests, NULL, NULL);
}
