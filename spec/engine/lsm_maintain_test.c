/* SPDX-License-Identifier: MIT */
/* Maintenance: checkpoint, compact, verify, backup, statistics, dump. On the simulated machine. */
#include "lsm/lsm_internal.h"
#include "lsm/manifest_format.h"
#include "lsm_store.h"
#include "wal/wal_format.h"

#include <pthread.h>
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

static void commit_numbers(struct kv *kv, uint64_t first, uint64_t last, uint64_t salt)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, first, last, 100, salt);
    kv_commit_ok(txn);
}

static void delete_numbers(struct kv *kv, uint64_t first, uint64_t last)
{
    struct kv_txn *txn = kv_begin_write(kv);
    uint8_t low[8], high[8];
    struct kv_range range = { kv_number_key(first, low), kv_number_key(last, high) };
    expect_ok(kv_delete_range(txn, range, NULL));
    kv_commit_ok(txn);
}

static struct kv_stats stats_of(struct kv *kv, bool walk)
{
    struct kv_maintenance job = { .kind = KV_STATS, .walk = walk };
    expect_ok(kv_maintain(kv, &job));
    return job.stats;
}

/* Several levels, deletes, hidden ranges, values out of line. */
static void store_begin(struct lsm_store *store)
{
    struct lsm_options options = quiet();
    lsm_store_init_simulated(store, &options);
    for (uint64_t i = 0; i < 30; i++)
        commit_numbers(store->kv, 37 * i % 500, 37 * i % 500 + 120, i);
    delete_numbers(store->kv, 100, 110);
    delete_numbers(store->kv, 200, 330);
    struct kv_txn *txn = kv_begin_write(store->kv);
    struct buf value = BUF_INIT;
    for (uint64_t i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "large %u", (unsigned)i);
        expect_ok(kv_put(txn, slice_str(key), kv_pattern(&value, i, 20000 + i)));
    }
    buf_release(&value);
    kv_commit_ok(txn);
}

/* ---- checkpoint -------------------------------------------------------------------------- */

static sombra_err count_logs(void *context, const char *name)
{
    *(unsigned *)context += strstr(name, ".log") != NULL;
    return SOMBRA_OK;
}

static void test_lsm_maintain__after_a_checkpoint_no_log_is_needed(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_numbers(txn, 0, 50, 10, 0);
    expect_ok(kv_commit(txn, KV_OFF));
    uint64_t entries, digest = kv_committed_digest(store.kv, &entries);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    expect_ok(kv_maintain(store.kv, &job)); /* with nothing to do */
    struct kv_stats stats = stats_of(store.kv, false);
    assert_int_equal(stats.checkpoints, 2);
    uint64_t tables = 0;
    for (unsigned i = 0; i < stats.levels; i++)
        tables += stats.level[i].tables;
    assert_int_equal(tables, 1);
    unsigned logs = 0;
    expect_ok(os_list_directory(store.os, store.path, count_logs, &logs));
    assert_int_equal(logs, 1);

    /* What was never synced as a commit is in tables that are. */
    struct os_sim *after = os_sim_crash(store.sim, OS_SIM_NOTHING, 1);
    struct kv *kv;
    expect_ok(lsm_open(os_sim_start(after), store.path, &store.options, &kv));
    assert_int_equal(kv_committed_digest(kv, &entries), digest);
    expect_ok(kv_close(kv));
    os_sim_free(after);
    lsm_store_release(&store);
}

/* ---- compact ----------------------------------------------------------------------------- */

struct watch {
    uint64_t calls, cancel_at, done, total;
    bool is_backward;
};

static bool watch_progress(void *context, uint64_t done, uint64_t total)
{
    struct watch *watch = context;
    watch->is_backward |= done < watch->done;
    watch->done = done;
    watch->total = total;
    return ++watch->calls != watch->cancel_at;
}

static void test_lsm_maintain__compact_makes_one_run_without_deletes(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct watch watch = { .calls = 0 };
    uint64_t entries, digest = kv_committed_digest(store.kv, &entries);
    struct kv_maintenance job = { .kind = KV_COMPACT,
                                  .progress = watch_progress,
                                  .context = &watch };
    expect_ok(kv_maintain(store.kv, &job));
    assert_true(watch.calls > 0);
    assert_false(watch.is_backward);
    struct kv_stats stats = stats_of(store.kv, true);
    uint64_t runs = 0, deletes = 0, in_tables = 0;
    for (unsigned i = 0; i < stats.levels; i++) {
        runs += stats.level[i].runs;
        deletes += stats.level[i].deletes;
        in_tables += stats.level[i].entries;
    }
    assert_int_equal(runs, 1);
    assert_int_equal(deletes, 0);
    assert_int_equal(in_tables, entries);
    assert_int_equal(stats.entries, entries);
    assert_int_equal(kv_committed_digest(store.kv, &entries), digest);
    kv_expect_sound(store.kv);

    delete_numbers(store.kv, 0, UINT64_MAX); /* all of it goes */
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    kv_commit_ok(txn);
    job.progress = NULL;
    expect_ok(kv_maintain(store.kv, &job));
    stats = stats_of(store.kv, true);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.file_bytes, 0);
    lsm_store_release(&store);
}

static void test_lsm_maintain__a_cancelled_compaction_leaves_a_sound_store(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    uint64_t entries, digest = kv_committed_digest(store.kv, &entries), cancelled = 0;
    for (uint64_t at = 1; at < 200; at += 2) {
        struct watch watch = { .cancel_at = at };
        struct kv_maintenance job = { .kind = KV_COMPACT,
                                      .progress = watch_progress,
                                      .context = &watch };
        sombra_err err = kv_maintain(store.kv, &job);
        if (!err)
            break;
        assert_int_equal(err, SOMBRA_CANCELLED);
        cancelled++;
        assert_int_equal(kv_committed_digest(store.kv, &entries), digest);
        kv_expect_sound(store.kv);
    }
    assert_true(cancelled > 0);
    lsm_store_release(&store);
}

/* ---- verify ------------------------------------------------------------------------------ */

struct findings {
    uint64_t count;
    sombra_err code;
    uint64_t number;
    char text[DIAG_TEXT_BYTES];
};

static void finding_note(void *context, const struct kv_problem *problem)
{
    struct findings *findings = context;
    if (findings->count++)
        return;
    findings->code = problem->code;
    findings->number = problem->page;
    snprintf(findings->text, sizeof findings->text, "%s", problem->message);
}

/* Of the store of a machine, read-only; a store that does not open is a finding too. */
static struct findings verify_of(struct os_sim *sim)
{
    struct findings findings = { .count = 0 };
    struct lsm_options options = quiet();
    struct kv *kv;
    options.is_readonly = true;
    sombra_err err = lsm_open(os_sim_start(sim), "data", &options, &kv);
    if (err) {
        findings.count = 1;
        findings.code = err;
        return findings;
    }
    struct kv_maintenance job = { .kind = KV_VERIFY,
                                  .problem = finding_note,
                                  .context = &findings };
    expect_ok(kv_maintain(kv, &job));
    assert_int_equal(job.problems, findings.count);
    expect_ok(kv_close(kv));
    return findings;
}

struct table_names {
    char paths[64][40];
    unsigned count;
};

static sombra_err note_table(void *context, const char *name)
{
    struct table_names *names = context;
    if (strstr(name, ".sst") && names->count < 64)
        snprintf(names->paths[names->count++], 40, "data/%s", name);
    return SOMBRA_OK;
}

static struct table_names tables_of(struct os_sim *sim)
{
    struct table_names names = { .count = 0 };
    expect_ok(os_list_directory(os_sim_start(sim), "data", note_table, &names));
    assert_true(names.count > 2);
    return names;
}

static uint64_t file_bytes(struct os_sim *sim, const char *path)
{
    struct os_file *file;
    uint64_t bytes;
    expect_ok(os_open(os_sim_start(sim), path, OS_READ, 0, &file));
    expect_ok(os_size(file, &bytes));
    os_close(file);
    return bytes;
}

static void test_lsm_maintain__verify_is_quiet_on_sound_stores(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    kv_expect_sound(store.kv); /* with memtables */
    struct watch watch = { .cancel_at = 2 };
    struct kv_maintenance job = { .kind = KV_VERIFY,
                                  .progress = watch_progress,
                                  .context = &watch };
    expect_err(SOMBRA_CANCELLED, kv_maintain(store.kv, &job));
    lsm_store_close(&store);
    assert_int_equal(verify_of(store.sim).count, 0);
    lsm_store_open(&store);
    expect_ok(kv_maintain(store.kv, &(struct kv_maintenance){ .kind = KV_COMPACT }));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

static void test_lsm_maintain__verify_finds_every_flipped_byte_of_a_table(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    lsm_store_close(&store);
    struct table_names names = tables_of(store.sim);
    for (unsigned i = 0; i < names.count; i++) {
        uint64_t bytes = file_bytes(store.sim, names.paths[i]);
        for (uint64_t k = 0; k < 12; k++) {
            uint64_t offset = k < 4 ? bytes - 1 - 17 * k : bytes * (k - 4) / 8;
            assert_true(os_sim_flip(store.sim, names.paths[i], offset, 0x10));
            struct findings findings = verify_of(store.sim);
            if (findings.count == 0)
                fail_msg("%s: byte %u of %u", names.paths[i], (unsigned)offset, (unsigned)bytes);
            assert_int_equal(findings.code, SOMBRA_CORRUPT);
            assert_int_equal(findings.number, strtoull(names.paths[i] + 5, NULL, 10));
            assert_true(os_sim_flip(store.sim, names.paths[i], offset, 0x10));
        }
    }
    assert_int_equal(verify_of(store.sim).count, 0);
    lsm_store_release(&store);
}

static void test_lsm_maintain__verify_finds_missing_and_exchanged_tables(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    lsm_store_close(&store);
    struct table_names names = tables_of(store.sim);
    struct os *os = os_sim_start(store.sim);
    expect_ok(os_rename(os, names.paths[0], "data/aside"));
    struct findings findings = verify_of(store.sim);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.code, SOMBRA_NOT_FOUND);
    assert_non_null(strstr(findings.text, names.paths[0]));

    expect_ok(os_rename(os, names.paths[1], names.paths[0]));
    expect_ok(os_rename(os, "data/aside", names.paths[1]));
    findings = verify_of(store.sim);
    assert_int_equal(findings.count, 2);
    assert_int_equal(findings.code, SOMBRA_CORRUPT);
    lsm_store_release(&store);
}

/* Changes the last byte of the manifest's first record, which is of the last table's end, and
 * seals it again. */
static void manifest_patch(struct os_sim *sim, int back)
{
    struct os_file *file;
    expect_ok(os_open(os_sim_start(sim), "data/MANIFEST", OS_WRITE, 0, &file));
    uint64_t bytes;
    expect_ok(os_size(file, &bytes));
    uint8_t *all = malloc(bytes);
    assert_non_null(all);
    expect_ok(os_read(file, 0, all, bytes));
    uint32_t payload_bytes = get_le32(all + WAL_PAYLOAD_BYTES);
    all[WAL_HEADER_BYTES + payload_bytes - (uint32_t)back] += 1;
    put_le32(all + WAL_CRC, crc32_update(0, all + WAL_PAYLOAD_BYTES,
                                         WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + payload_bytes));
    expect_ok(os_write(file, 0, all, WAL_HEADER_BYTES + payload_bytes));
    os_close(file);
    free(all);
}

static void test_lsm_maintain__verify_finds_bounds_that_a_table_does_not_have(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 10, 0);
    lsm_store_close(&store);
    /* The next writer begins with a manifest of one record, of which the last bytes are a bound. */
    lsm_store_open(&store);
    struct os_sim *sim = os_sim_clone(store.sim);
    lsm_store_release(&store);
    assert_int_equal(verify_of(sim).count, 0);
    manifest_patch(sim, 2);
    struct findings findings = verify_of(sim);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.code, SOMBRA_CORRUPT);
    os_sim_free(sim);
}

/* ---- backup ------------------------------------------------------------------------------ */

static void expect_copy(struct lsm_store *store, const char *path, uint64_t digest)
{
    struct lsm_options options = quiet();
    struct kv *kv;
    uint64_t entries;
    options.create = false;
    for (unsigned readonly = 2; readonly-- > 0;) {
        options.is_readonly = readonly;
        expect_ok(lsm_open(store->os, path, &options, &kv));
        assert_int_equal(kv_committed_digest(kv, &entries), digest);
        kv_expect_sound(kv);
        expect_ok(kv_close(kv));
    }
}

static void test_lsm_maintain__a_backup_is_a_store_with_the_same_content(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    uint64_t entries, digest = kv_committed_digest(store.kv, &entries);
    struct watch watch = { .calls = 0 };
    struct kv_maintenance job = {
        .kind = KV_BACKUP, .path = "copy", .progress = watch_progress, .context = &watch
    };
    expect_ok(kv_maintain(store.kv, &job));
    assert_true(watch.calls > 1);
    expect_copy(&store, "copy", digest);
    expect_err(SOMBRA_EXISTS, kv_maintain(store.kv, &job));
    expect_text("copy");
    job.path = NULL;
    expect_err(SOMBRA_INVALID, kv_maintain(store.kv, &job));

    /* Of an empty store, and by a reader. */
    struct kv_txn *txn = kv_begin_write(store.kv);
    expect_ok(kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
    kv_commit_ok(txn);
    job.path = "nothing";
    expect_ok(kv_maintain(store.kv, &job));
    uint64_t none = kv_committed_digest(store.kv, &entries);
    assert_int_equal(entries, 0);
    expect_copy(&store, "nothing", none);
    lsm_store_close(&store);
    struct lsm_options options = quiet();
    options.is_readonly = true;
    expect_ok(lsm_open(store.os, "copy", &options, &store.kv));
    job.path = "of the copy";
    expect_ok(kv_maintain(store.kv, &job));
    expect_ok(kv_close(store.kv));
    store.kv = NULL;
    expect_copy(&store, "of the copy", digest);
    lsm_store_release(&store);
}

static void test_lsm_maintain__a_cancelled_backup_leaves_nothing(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    char path[32];
    unsigned cancelled = 0;
    for (uint64_t at = 1;; at++) {
        struct watch watch = { .cancel_at = at };
        struct kv_maintenance job = {
            .kind = KV_BACKUP, .path = path, .progress = watch_progress, .context = &watch
        };
        snprintf(path, sizeof path, "copy %u", (unsigned)at);
        sombra_err err = kv_maintain(store.kv, &job);
        if (!err)
            break;
        assert_int_equal(err, SOMBRA_CANCELLED);
        struct os_identity identity;
        expect_err(SOMBRA_NOT_FOUND, os_identify_path(store.os, path, &identity));
        cancelled++;
    }
    assert_true(cancelled > 1);
    lsm_store_release(&store);
}

/* A fault anywhere leaves no store there, or a whole one. */
static void test_lsm_maintain__a_failed_backup_is_no_store(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = quiet();
    lsm_store_init_simulated(&store, &options);
    commit_numbers(store.kv, 0, 400, 0);
    unsigned failures = 0, removed = 0;
    for (uint64_t nth = 1;; nth++) {
        char path[32];
        snprintf(path, sizeof path, "copy %u", (unsigned)nth);
        struct kv_maintenance job = { .kind = KV_BACKUP, .path = path };
        os_sim_fail_at(store.sim, nth, OS_SIM_EIO, false);
        sombra_err err = kv_maintain(store.kv, &job);
        os_sim_fail_at(store.sim, 0, OS_SIM_EIO, false);
        if (!err)
            break;
        failures++;
        assert_int_equal(err, SOMBRA_IO);
        struct os_identity identity;
        assert_false(lsm_store_is_at(store.os, path));
        removed += os_identify_path(store.os, path, &identity) == SOMBRA_NOT_FOUND;
    }
    assert_true(removed > 5);
    assert_true(failures > 5);
    commit_numbers(store.kv, 0, 1, 1); /* the store itself is none the worse */
    lsm_store_release(&store);
}

struct sideline {
    struct kv *kv;
    _Atomic bool is_over;
    sombra_err err;
};

static void *sideline_write(void *context)
{
    struct sideline *side = context;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 10000 };
    for (uint64_t round = 1; !side->err && !atomic_load(&side->is_over); round++) {
        struct kv_txn *txn;
        struct buf value = BUF_INIT;
        uint8_t key[8];
        side->err = kv_begin(side->kv, &options, &txn);
        if (side->err)
            break;
        for (uint64_t i = 0; i < 100 && !side->err; i++)
            side->err = kv_put(txn, kv_number_key(i, key), kv_pattern(&value, round, 100));
        buf_release(&value);
        if (!side->err)
            side->err = kv_commit(txn, KV_OFF);
        else
            kv_abort(txn);
    }
    return NULL;
}

static void test_lsm_maintain__a_backup_beside_a_writer_is_one_moment(void **state)
{
    (void)state;
    struct lsm_store store;
    struct lsm_options options = { LSM_STORE_SMALL(16 * KiB) };
    lsm_store_init_simulated(&store, &options);
    struct sideline side = { .kv = store.kv };
    struct os_thread thread;
    expect_ok(os_thread_start(&thread, sideline_write, &side));
    for (unsigned i = 0; i < 8; i++) {
        char path[32];
        snprintf(path, sizeof path, "copy %u", i);
        struct kv_maintenance job = { .kind = KV_BACKUP, .path = path };
        expect_ok(kv_maintain(store.kv, &job));
        struct lsm_options readonly = quiet();
        readonly.is_readonly = true;
        struct kv *kv;
        expect_ok(lsm_open(store.os, path, &readonly, &kv));
        struct kv_txn *txn = kv_begin_read(kv);
        uint8_t key[8];
        uint64_t count;
        expect_ok(kv_count(txn, (struct kv_range){ 0 }, 0, &count));
        assert_true(count == 0 || count == 100);
        sombra_slice value;
        uint8_t first[100];
        for (uint64_t k = 0; k < count; k++) { /* all of one round */
            expect_ok(kv_get(txn, kv_number_key(k, key), &value));
            assert_int_equal(value.bytes, sizeof first);
            if (k == 0)
                memcpy(first, value.data, sizeof first);
            assert_memory_equal(first, value.data, sizeof first);
        }
        kv_abort(txn);
        expect_ok(kv_close(kv));
    }
    atomic_store(&side.is_over, true);
    os_thread_join(&thread);
    expect_ok(side.err);
    lsm_store_release(&store);
}

/* ---- statistics -------------------------------------------------------------------------- */

static void test_lsm_maintain__statistics_add_up(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    uint64_t entries;
    kv_committed_digest(store.kv, &entries);
    struct kv_stats quick = stats_of(store.kv, false), walked = stats_of(store.kv, true);
    assert_false(quick.is_entries_exact);
    assert_true(walked.is_entries_exact);
    assert_int_equal(walked.entries, entries);
    assert_int_equal(quick.levels, LSM_LEVELS);
    assert_int_equal(quick.txn, 33);
    assert_int_equal(quick.commits, 33);
    assert_true(quick.durable_lsn <= quick.lsn);
    assert_true(quick.memtable_bytes > 0 && quick.log_bytes > 0);
    assert_int_equal(quick.memory_bytes, quick.memtable_bytes + quick.cache_bytes);
    assert_int_equal(quick.readers, 0);
    struct kv_txn *reader = kv_begin_read(store.kv);
    commit_numbers(store.kv, 0, 1, 9);
    quick = stats_of(store.kv, false);
    assert_int_equal(quick.readers, 1);
    assert_int_equal(quick.oldest_reader_txn, 33);
    assert_int_equal(quick.oldest_reader_process, os_process_id());
    kv_abort(reader);
    lsm_store_close(&store);

    uint64_t bytes = 0;
    struct table_names names = tables_of(store.sim);
    for (unsigned i = 0; i < names.count; i++)
        bytes += file_bytes(store.sim, names.paths[i]);
    lsm_store_open(&store);
    quick = stats_of(store.kv, false);
    uint64_t tables = 0, level_bytes = 0;
    for (unsigned i = 0; i < quick.levels; i++) {
        tables += quick.level[i].tables;
        level_bytes += quick.level[i].bytes;
        assert_true(quick.level[i].deletes <= quick.level[i].entries);
        assert_true(quick.level[i].runs <= quick.level[i].tables);
        assert_true(i == 0 || quick.level[i].runs <= 1);
        if (quick.level[i].tables)
            assert_true(quick.depth > i);
    }
    assert_int_equal(tables, names.count);
    assert_int_equal(level_bytes, bytes);
    assert_int_equal(quick.file_bytes, bytes);
    lsm_store_release(&store);
}

/* ---- dump -------------------------------------------------------------------------------- */

struct lines {
    unsigned count, cancel_at, tables, entries, records, problems;
    uint64_t last_table; /* the oldest run's last one */
    char first[256];
};

static bool line_note(void *context, const char *line)
{
    struct lines *lines = context;
    if (lines->count++ == 0)
        snprintf(lines->first, sizeof lines->first, "%s", line);
    unsigned long long number;
    if (sscanf(line, "table number=%llu", &number) == 1 && number != 0) {
        lines->tables++;
        lines->last_table = number;
    }
    lines->entries += strncmp(line, "entry ", 6) == 0;
    lines->records += strncmp(line, "record ", 7) == 0;
    lines->problems += strstr(line, "problem=") != NULL;
    return lines->count != lines->cancel_at;
}

static struct lines dump_of(struct os *os, enum lsm_dump_what what, uint64_t number)
{
    struct lines lines = { .count = 0 };
    expect_ok(lsm_dump(os, "data", what, number, line_note, &lines));
    return lines;
}

static void test_lsm_maintain__a_dump_shows_the_files_and_their_damage(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct lines lines = dump_of(store.os, LSM_DUMP_LOG, 0); /* beside the writer */
    assert_true(lines.records > 0);
    lsm_store_close(&store);
    lines = dump_of(store.os, LSM_DUMP_MANIFEST, 0);
    assert_int_equal(lines.count, 1);
    assert_non_null(strstr(lines.first, "clean=true"));
    lines = dump_of(store.os, LSM_DUMP_TABLES, 0);
    struct table_names names = tables_of(store.sim);
    assert_int_equal(lines.tables, names.count);
    assert_int_equal(lines.problems, 0);
    uint64_t number = lines.last_table;
    lines = dump_of(store.os, LSM_DUMP_TABLE, number);
    assert_true(lines.entries > 0);
    assert_int_equal(lines.problems, 0);
    struct lines few = { .cancel_at = 2 };
    expect_err(SOMBRA_CANCELLED,
               lsm_dump(store.os, "data", LSM_DUMP_TABLE, number, line_note, &few));
    assert_int_equal(few.count, 2);
    expect_err(SOMBRA_NOT_FOUND,
               lsm_dump(store.os, "data", LSM_DUMP_TABLE, 999999, line_note, &few));
    expect_err(SOMBRA_NOT_FOUND,
               lsm_dump(store.os, "nowhere", LSM_DUMP_TABLES, 0, line_note, &few));

    char path[40];
    snprintf(path, sizeof path, "data/%06u.sst", (unsigned)number);
    assert_true(os_sim_flip(store.sim, path, 20, 1));
    lines = dump_of(store.os, LSM_DUMP_TABLE, number);
    assert_int_equal(lines.problems, 1);
    /* Tables are shown without the manifest, which is what one wants to know then. */
    assert_true(os_sim_flip(store.sim, "data/MANIFEST", 60, 1));
    expect_err(SOMBRA_CORRUPT, lsm_dump(store.os, "data", LSM_DUMP_TABLES, 0, line_note, &few));
    assert_int_equal(dump_of(store.os, LSM_DUMP_TABLE, number).problems, 2);
    expect_ok(os_unlink(store.os, "data/MANIFEST"));
    assert_int_equal(dump_of(store.os, LSM_DUMP_TABLE, number).problems, 2);
    dump_of(store.os, LSM_DUMP_LOG, 0);
    lsm_store_release(&store);
}

/* ---- beside a writer ---------------------------------------------------------------------- */

static bool never(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return false;
}

struct waiting {
    struct kv *kv;
    struct kv_maintenance job;
    sombra_err expected;
};

static void *waiting_main(void *argument)
{
    struct waiting *waiting = argument;
    expect_err(waiting->expected, kv_maintain(waiting->kv, &waiting->job));
    return NULL;
}

/* What waits for another's write transaction is asked whether it waits on, and a checkpoint waits
 * no longer than it was told. */
static void test_lsm_maintain__a_job_that_waits_can_be_ended(void **state)
{
    (void)state;
    struct lsm_store store;
    store_begin(&store);
    struct waiting waitings[] = {
        { store.kv, { .kind = KV_CHECKPOINT, .progress = never }, SOMBRA_CANCELLED },
        { store.kv, { .kind = KV_COMPACT, .progress = never }, SOMBRA_CANCELLED },
        { store.kv, { .kind = KV_CHECKPOINT, .wait_ms_max = 20 }, SOMBRA_BUSY },
    };
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (size_t i = 0; i < COUNT_OF(waitings); i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, waiting_main, &waitings[i]), 0);
        pthread_join(thread, NULL);
    }
    kv_abort(txn);
    struct kv_maintenance job = { .kind = KV_CHECKPOINT };
    expect_ok(kv_maintain(store.kv, &job));
    kv_expect_sound(store.kv);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm_maintain__after_a_checkpoint_no_log_is_needed),
        cmocka_unit_test(test_lsm_maintain__compact_makes_one_run_without_deletes),
        cmocka_unit_test(test_lsm_maintain__a_cancelled_compaction_leaves_a_sound_store),
        cmocka_unit_test(test_lsm_maintain__a_job_that_waits_can_be_ended),
        cmocka_unit_test(test_lsm_maintain__verify_is_quiet_on_sound_stores),
        cmocka_unit_test(test_lsm_maintain__verify_finds_every_flipped_byte_of_a_table),
        cmocka_unit_test(test_lsm_maintain__verify_finds_missing_and_exchanged_tables),
        cmocka_unit_test(test_lsm_maintain__verify_finds_bounds_that_a_table_does_not_have),
        cmocka_unit_test(test_lsm_maintain__a_backup_is_a_store_with_the_same_content),
        cmocka_unit_test(test_lsm_maintain__a_cancelled_backup_leaves_nothing),
        cmocka_unit_test(test_lsm_maintain__a_failed_backup_is_no_store),
        cmocka_unit_test(test_lsm_maintain__a_backup_beside_a_writer_is_one_moment),
        cmocka_unit_test(test_lsm_maintain__statistics_add_up),
        cmocka_unit_test(test_lsm_maintain__a_dump_shows_the_files_and_their_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
