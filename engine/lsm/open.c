/* SPDX-License-Identifier: MIT */
/* The life of a store: creation, recovery, open, close.
 *
 * What a writer does at open, in this order:
 *
 *   1 lock: one process writes
 *   2 read the manifest, or find that there is none, and the directory empty
 *   3 note which files it does not name, and which logs there are
 *
 * Of a store that was closed that is all: nothing is written before there is something to write.
 * The first commit makes a log, then (or before that the first compaction) the manifest is written
 * again, whole: what was read may be page cache that the disk never got. Only then may anything be
 * removed that the disk's manifest could name. Of a store that was not closed:
 *
 *   4 replay the logs that the manifest says are needed
 *   5 make the new log; its base is above every number that any trace was seen of, so that numbers
 *     of lost commits are never given again
 *   6 flush what was replayed to a table, in the first edit: a whole manifest, which says that only
 *     the new log is needed
 *   7 remove the old logs
 *
 * A crash between any two leaves what the next open does again. Where the disk is full for 5 or 6,
 * they are put off: what was replayed stays in the active memtable, the logs stay in use, written
 * once more as they are, and commits follow in the last of them (lsm_logs_resume).
 */
#include "write_internal.h"
#include "paths.h"

#include <stdio.h>

enum {
    SEQ_GAP = 1 << 20, /* numbers burnt by a recovery: lost commits may have used them */
};

/* ---- the parts in memory ----------------------------------------------------------------- */

static void fulls_free(struct lsm *lsm)
{
    while (lsm->full_oldest) {
        struct lsm_full *full = lsm->full_oldest;
        lsm->full_oldest = full->next;
        memtable_unref(full->memtable);
        mem_free(full);
    }
    lsm->full_newest = NULL;
    lsm->full_count = 0;
}

static void logs_free(struct lsm *lsm)
{
    while (lsm->logs) {
        struct lsm_log *log = lsm->logs;
        lsm->logs = log->next;
        lsm_log_free(log);
    }
}

/* A child of fork() that has not run yet shares the file, whose locks would stay with it. */
static void lock_give(struct lsm *lsm)
{
    if (lsm->lock)
        os_unlock(lsm->lock, 0, INT64_MAX);
    os_close(lsm->lock);
}

static void store_free(struct lsm *lsm)
{
    fulls_free(lsm);
    lsm_writer_free(lsm);
    view_release(lsm->view);
    lsm->view = NULL;
    lsm_purge(lsm, true);
    logs_free(lsm);
    manifest_close(lsm->manifest);
    mem_free(lsm->strays.files);
    table_cache_free(lsm->tables);
    if (lsm->cache)
        cache_free(lsm->cache);
    lock_give(lsm);
    os_condition_release(&lsm->changed);
    os_mutex_release(&lsm->names_mutex);
    os_mutex_release(&lsm->manifest_mutex);
    os_mutex_release(&lsm->mutex);
    mem_free(lsm->directory);
    mem_free(lsm);
}

static sombra_err locks_init(struct lsm *lsm)
{
    sombra_err err = os_mutex_init(&lsm->mutex);
    if (err)
        return err;
    err = os_mutex_init(&lsm->manifest_mutex);
    if (err)
        goto no_manifest_mutex;
    err = os_mutex_init(&lsm->names_mutex);
    if (err)
        goto no_names_mutex;
    err = os_condition_init(&lsm->changed);
    if (!err)
        return SOMBRA_OK;
    os_mutex_release(&lsm->names_mutex);
no_names_mutex:
    os_mutex_release(&lsm->manifest_mutex);
no_manifest_mutex:
    os_mutex_release(&lsm->mutex);
    return err;
}

static sombra_err store_new(struct os *os, const struct lsm_options *options, struct lsm **out_lsm)
{
    struct lsm *lsm = mem_zalloc(sizeof *lsm);
    if (!lsm)
        return diag_nomem("a store", sizeof *lsm);
    lsm->kv = (struct kv){ .ops = &lsm_ops, .metrics = &lsm->metrics };
    lsm->os = os;
    sombra_err err = lsm_options_complete(options, &lsm->options, &lsm->codec, &lsm->bottom_codec);
    if (!err)
        err = locks_init(lsm);
    if (err) {
        mem_free(lsm);
        return err;
    }
    *out_lsm = lsm;
    return SOMBRA_OK;
}

static sombra_err caches_new(struct lsm *lsm)
{
    sombra_err err = cache_new(lsm->options.cache_bytes, &lsm->metrics, &lsm->cache);
    if (err)
        return err;
    const struct table_context context = {
        .os = lsm->os, .cache = lsm->cache, .metrics = &lsm->metrics, .prefix = lsm->options.prefix
    };
    err = table_cache_new(&context, lsm->directory, lsm->options.tables_open_max, &lsm->tables);
    if (!err && !lsm->options.is_readonly)
        table_cache_on_obsolete(lsm->tables, lsm_table_obsolete, lsm);
    return err;
}

/* ---- the directory ----------------------------------------------------------------------- */

static sombra_err name_ignore(void *context, const char *name)
{
    (void)context;
    (void)name;
    return SOMBRA_OK;
}

/* Something has the name: is it a directory? */
static sombra_err directory_check(struct os *os, const char *path)
{
    sombra_err err = os_list_directory(os, path, name_ignore, NULL);
    if (!err || err == SOMBRA_NOT_FOUND)
        return err;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    struct os_file *file = NULL;
    uint8_t byte;
    size_t bytes;
    bool is_file = os_open(os, path, OS_READ, 0, &file) == SOMBRA_OK &&
                   os_read_some(file, 0, &byte, 1, &bytes) == SOMBRA_OK;
    os_close(file);
    diag_restore(text);
    if (is_file)
        return diag_fail(SOMBRA_INVALID, "%s is a file: a store of this engine is a directory",
                         path);
    return err;
}

static sombra_err directory_make(struct os *os, const char *path, const struct lsm_options *options)
{
    unsigned mode = options->mode | (options->mode & 0444) >> 2; /* x where r is */
    sombra_err err = os_make_directory(os, path, mode);
    if (err == SOMBRA_EXISTS)
        return SOMBRA_OK;
    if (err)
        return err;
    err = os_sync_directory_of(os, path);
    if (!err)
        return SOMBRA_OK;
    /* No later sync would say that the name was lost. */
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err remove_err = os_remove_directory(os, path);
    (void)remove_err;
    diag_restore(text);
    return err;
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t bytes = strlen(name), suffix_bytes = strlen(suffix);
    return bytes > suffix_bytes && strcmp(name + bytes - suffix_bytes, suffix) == 0;
}

/* There is no manifest: what may be there all the same is what a crash in the creation left. */
static sombra_err name_judge(void *context, const char *name)
{
    const char *directory = context;
    if (strcmp(name, "LOCK") == 0 || strcmp(name, "MANIFEST-new") == 0 ||
        strcmp(name, "00000000000000000000.log") == 0)
        return SOMBRA_OK;
    if (has_suffix(name, ".sst") || has_suffix(name, ".log"))
        return diag_fail(SOMBRA_CORRUPT,
                         "%s has %s and no MANIFEST: put that back, restore a backup or repair it",
                         directory, name);
    return diag_fail(SOMBRA_EXISTS, "%s has other files in it (%s), and is no store", directory,
                     name);
}

/* Before anything is written, LOCK too. Who makes a store at this moment may come to its end
 * between two looks. */
static sombra_err place_check(struct lsm *lsm)
{
    bool is_there;
    sombra_err err = lsm_is_at(lsm->os, lsm->directory, &is_there);
    if (err || is_there)
        return err;
    sombra_err judged = os_list_directory(lsm->os, lsm->directory, name_judge, lsm->directory);
    if (judged) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        err = lsm_is_at(lsm->os, lsm->directory, &is_there);
        if (err || is_there)
            return err;
        diag_restore(text);
    }
    bool may_make = lsm->options.create && !lsm->options.is_readonly;
    if (judged ? may_make || judged != SOMBRA_EXISTS : may_make || lsm->options.is_readonly)
        return judged; /* beside a reader one may be in the making */
    return diag_fail(SOMBRA_NOT_FOUND, "no store is here (option create makes one)");
}

/* Makes it if asked; resolved and identified. */
static sombra_err directory_find(struct lsm *lsm, const char *path)
{
    const struct lsm_options *options = &lsm->options;
    sombra_err err = os_identify_path(lsm->os, path, &lsm->identity);
    if (err == SOMBRA_NOT_FOUND && options->create && !options->is_readonly) {
        err = directory_make(lsm->os, path, options);
        if (!err)
            err = os_identify_path(lsm->os, path, &lsm->identity);
    }
    if (err == SOMBRA_NOT_FOUND && !options->create)
        return diag_wrap(err, "no such store (option create makes one)");
    if (!err)
        err = directory_check(lsm->os, path);
    if (!err)
        err = os_resolve(lsm->os, path, &lsm->directory);
    return err ? err : place_check(lsm);
}

/* Locks and renames of other machines' processes are not to be relied on there. */
static sombra_err network_refuse(const struct lsm *lsm)
{
    if (!lsm->lock || lsm->options.allows_network || !os_is_network(lsm->lock))
        return SOMBRA_OK;
    return diag_fail(
        SOMBRA_UNSUPPORTED,
        "%s is on a network file system: locks do not keep other machines out, and two "
        "of them destroy it. Move it to a local one, or set the option network_files "
        "if no other machine ever opens it",
        lsm->directory);
}

static sombra_err lock_take(struct lsm *lsm)
{
    bool is_readonly = lsm->options.is_readonly;
    char *path = lsm_path(lsm->directory, "LOCK");
    if (!path)
        return diag_nomem("a path", strlen(lsm->directory));
    sombra_err err = os_open(lsm->os, path, is_readonly ? OS_READ : OS_WRITE | OS_CREATE,
                             lsm->options.mode, &lsm->lock);
    mem_free(path);
    if (err && is_readonly) /* a read-only medium: nobody writes it */
        return err == SOMBRA_NOT_FOUND || err == SOMBRA_READONLY ? SOMBRA_OK : err;
    if (!err)
        err = network_refuse(lsm);
    if (!err && !is_readonly)
        err = os_lock_wait(lsm->lock, LOCK_WRITER, 1, OS_LOCK_EXCLUSIVE,
                           lsm->options.busy_timeout_ms);
    if (err == SOMBRA_BUSY)
        return diag_fail(SOMBRA_BUSY,
                         "%s is being written by another process (waited %" PRIu64
                         " ms); read-only opens need not wait",
                         lsm->directory, lsm->options.busy_timeout_ms);
    return err;
}

/* ---- creation ---------------------------------------------------------------------------- */

/* The log that a creation leaves has no commit in it: the first comes behind the manifest. */
static sombra_err leftover_remove(struct lsm *lsm)
{
    char *path = lsm_log_path(lsm, 0);
    if (!path)
        return diag_nomem("a path", strlen(lsm->directory));
    struct wal *wal = NULL;
    uint64_t epoch = 0;
    sombra_err err = wal_open(lsm->os, path, true, &wal);
    if (!err)
        err = wal_first_epoch(wal, &epoch);
    wal_close(wal);
    if (!err && epoch != 0)
        err = diag_fail(SOMBRA_CORRUPT,
                        "%s has commits, and there is no MANIFEST: put that back, restore a backup "
                        "or repair it",
                        path);
    if (!err)
        err = os_unlink(lsm->os, path);
    mem_free(path);
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

static sombra_err store_make(struct lsm *lsm, struct version **out_version)
{
    sombra_err err = os_list_directory(lsm->os, lsm->directory, name_judge, lsm->directory);
    if (!err)
        err = leftover_remove(lsm);
    if (!err) /* who made the directory may have got no further */
        err = os_sync_directory_of(lsm->os, lsm->directory);
    lsm->state = (struct manifest_state){ .next_number = 1, .next_run = 1, .is_clean = true };
    if (!err)
        err = os_random(lsm->os, lsm->state.identity, sizeof lsm->state.identity);
    if (!err)
        err = version_empty(lsm->tables, 0, out_version);
    return err;
}

/* ---- recovery ---------------------------------------------------------------------------- */

/* The first view: what is in tables, and an empty memtable, which it gives. */
static sombra_err view_begin(struct lsm *lsm, struct version *version,
                             struct memtable **out_memtable)
{
    struct memtable *memtable = NULL;
    sombra_err err = memtable_new(&memtable);
    if (err)
        return err;
    os_mutex_lock(&lsm->mutex);
    lsm->next_number = lsm->state.next_number;
    lsm->next_run = lsm->state.next_run;
    memcpy(lsm->totals_before, lsm->state.totals, sizeof lsm->totals_before);
    err = view_publish(lsm, &memtable, 1, version);
    os_mutex_unlock(&lsm->mutex);
    if (err) {
        memtable_unref(memtable);
        return err;
    }
    lsm_memory_adapt(lsm, version);
    *out_memtable = memtable;
    return SOMBRA_OK;
}

/* A clean end may be page cache that the disk never got: the manifest of the disk may still need
 * the logs that are there. So no log of this open takes one of their names. Takes `memtable` over.
 */
static void start_clean(struct lsm *lsm, struct memtable *memtable)
{
    uint64_t base_seq = u64_max(lsm->state.seq, lsm->state.log_seq), newest;
    if (lsm_strays_newest_log(lsm, &newest) && newest >= base_seq)
        base_seq = newest + 1;
    lsm_seq_begin(lsm, base_seq);
    lsm_writer_begin_with(lsm, memtable);
}

static void recovery_report(struct lsm *lsm, const struct lsm_replay *replay, uint64_t begun_ns)
{
    char text[128];
    (void)snprintf(text, sizeof text, "recovered %" PRIu64 " commits from %" PRIu64 " logs%s",
                   replay->records, replay->logs,
                   lsm->writer->kept_seq ? ", which stay: the disk is full" : "");
    kv_metrics_add(&lsm->metrics, KV_COUNTER_RECOVERIES, 1);
    kv_metrics_add(&lsm->metrics, KV_COUNTER_RECOVERED_RECORDS, replay->records);
    kv_metrics_report(&lsm->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_RECOVERY,
                                          .duration_ns = os_monotonic_ns(lsm->os) - begun_ns,
                                          .count = replay->records,
                                          .text = text });
}

/* Steps 5 to 7. The active memtable has what was replayed, and no log so far. */
static sombra_err replayed_flush(struct lsm *lsm, uint64_t base_seq)
{
    if (memtable_is_empty(lsm->writer->active))
        return lsm_log_begin(lsm);
    sombra_err err = lsm_memtable_retire(lsm, base_seq, true);
    return err ? err : lsm_flush_full(lsm);
}

/* What is shown is durable before, where the disk takes what lies in the files already; else it is
 * before anything is promised of it. */
static sombra_err found_save(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    atomic_store(&writer->is_unsaved, true);
    sombra_err err = writer->resumes ? lsm_logs_resume(lsm) : lsm_manifest_save_again(lsm);
    if (!err)
        atomic_store(&writer->is_unsaved, false);
    bool is_full = (err == SOMBRA_LIMIT || err == SOMBRA_NOMEM) && !atomic_load(&lsm->is_failed);
    return is_full ? SOMBRA_OK : err;
}

/* Steps 5 and 6 failed for want of space, and left the store as after 4, or a full memtable behind
 * an empty one. */
static sombra_err replayed_keep(struct lsm *lsm, uint64_t seq)
{
    struct lsm_writer *writer = lsm->writer;
    struct lsm_full *full = lsm->full_oldest;
    if (!full && memtable_is_empty(writer->active))
        return found_save(lsm); /* the first commit tries again to make a log */
    if (full) {
        struct view *old = view_acquire(lsm);
        os_mutex_lock(&lsm->mutex);
        assert(lsm->full_count == 1);
        sombra_err err = view_publish(lsm, &full->memtable, 1, old->version);
        if (!err) {
            lsm->full_oldest = lsm->full_newest = NULL;
            lsm->full_count = 0;
        }
        os_mutex_unlock(&lsm->mutex);
        view_release(old);
        if (err)
            return err;
        lsm_logs_unlink_all(lsm);
        writer->log = NULL;
        lsm_writer_begin_with(lsm, full->memtable);
        mem_free(full);
    }
    lsm_seq_begin(lsm, seq);
    writer->resumes = true;
    writer->kept_seq = seq;
    writer->memtable_bytes_max += memtable_bytes(writer->active);
    return found_save(lsm);
}

static sombra_err start_unclean(struct lsm *lsm, struct memtable *memtable)
{
    uint64_t begun_ns = os_monotonic_ns(lsm->os);
    struct lsm_replay replay;
    lsm_writer_begin_with(lsm, memtable);
    sombra_err err = lsm_logs_recover(lsm, memtable, &replay);
    if (!err && replay.seq_seen > UINT64_MAX / 2)
        err = diag_fail(SOMBRA_CORRUPT, "commit number %" PRIu64, replay.seq_seen);
    if (err)
        return err;
    uint64_t base_seq = replay.seq_seen + SEQ_GAP;
    lsm_seq_begin(lsm, base_seq);
    err = replayed_flush(lsm, base_seq);
    if (err == SOMBRA_LIMIT && !atomic_load(&lsm->is_failed))
        err = replayed_keep(lsm, replay.seq);
    if (!err)
        recovery_report(lsm, &replay, begun_ns);
    return diag_wrap(err, "recover %s", lsm->directory);
}

/* `is_new`: nothing is on the disk so far. Takes `memtable` over. */
static sombra_err start_with(struct lsm *lsm, const struct version *version,
                             struct memtable *memtable, bool is_new)
{
    if (is_new) {
        lsm->state.version = version->number;
        sombra_err err = manifest_rewrite(lsm->manifest, &lsm->state, version);
        if (err) {
            memtable_unref(memtable);
            return err;
        }
    }
    if (!lsm->state.is_clean)
        return start_unclean(lsm, memtable);
    start_clean(lsm, memtable);
    return SOMBRA_OK;
}

static sombra_err writer_start(struct lsm *lsm)
{
    struct version *version = NULL;
    struct memtable *memtable = NULL;
    bool is_new = false;
    sombra_err err = manifest_read(lsm->os, lsm->directory, lsm->tables, &lsm->state, &version);
    if (err == SOMBRA_NOT_FOUND && lsm->options.create) {
        is_new = true;
        err = store_make(lsm, &version);
    }
    if (err == SOMBRA_NOT_FOUND)
        return diag_wrap(err, "no store is here (option create makes one)");
    if (!err)
        err = manifest_new(lsm->os, lsm->directory, lsm->options.mode, &lsm->manifest);
    if (!err)
        err = view_begin(lsm, version, &memtable);
    if (!err)
        err = lsm_strays_find(lsm);
    if (!err)
        err = start_with(lsm, version, memtable, is_new);
    else
        memtable_unref(memtable);
    version_unref(version);
    return err;
}

/* ---- open -------------------------------------------------------------------------------- */

static sombra_err store_start(struct lsm *lsm)
{
    sombra_err err = lock_take(lsm);
    if (!err)
        err = caches_new(lsm);
    if (!err)
        err = lsm_writer_new(lsm);
    if (err)
        return err;
    if (lsm->options.is_readonly)
        return lsm_refresh(lsm);
    err = lsm_background_start(lsm); /* no thread yet; what was replayed is flushed by it */
    return err ? err : writer_start(lsm);
}

static void open_undo(struct lsm *lsm)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    lsm_background_stop(lsm);
    store_free(lsm);
    diag_restore(text);
}

/* So that the background keeps off the log, the last handle has the writer's turn from here on. */
static sombra_err check_idle(struct os_registered *entry)
{
    /* The background has the turn for a moment when it marks the log of an idle store. */
    enum { MARK_WAIT_MS = 200 };
    struct lsm *lsm = container_of(entry, struct lsm, registered);
    if (lsm_turn_take(lsm, MARK_WAIT_MS) != SOMBRA_OK)
        return diag_fail(SOMBRA_BUSY, "%s has an open write transaction: end it first",
                         entry->path);
    if (atomic_load(&lsm->writer->stalled) == 0 && lsm_readers_count(lsm) == 0)
        return SOMBRA_OK;
    lsm_turn_give(lsm);
    return diag_fail(SOMBRA_BUSY, "%s has open transactions: end them first", entry->path);
}

static void fork_child(struct os_registered *entry)
{
    struct lsm *lsm = container_of(entry, struct lsm, registered);
    atomic_store(&lsm->is_forked, true);
    if (lsm->os != os_posix())
        return;
    os_close(lsm->lock);
    lsm->lock = NULL;
}

/* The directory is not held open: once removed, a new one may get its number. */
static bool is_gone(struct os_registered *entry)
{
    return lsm_was_replaced(container_of(entry, struct lsm, registered));
}

static struct os_registered *as_registered(struct lsm *lsm)
{
    lsm->registered = (struct os_registered){ .os = lsm->os,
                                              .path = lsm->directory,
                                              .identity = &lsm->identity,
                                              .is_readonly = lsm->options.is_readonly,
                                              .check_idle = check_idle,
                                              .is_gone = is_gone,
                                              .fork_child = fork_child };
    return &lsm->registered;
}

/* *out_shared is the store of the same directory, if this process has it open. */
static sombra_err open_claimed(struct lsm *lsm, struct os_claim *claim,
                               struct os_registered **out_shared)
{
    bool waited = true;
    sombra_err err = SOMBRA_OK;
    while (!err && waited)
        err = os_claim_identity(claim, &lsm->identity, !lsm->options.is_readonly, out_shared,
                                &waited);
    return err || *out_shared ? err : store_start(lsm);
}

sombra_err lsm_open(struct os *os, const char *path, const struct lsm_options *options,
                    struct kv **out_kv)
{
    assert(os && path && out_kv);
    struct lsm *lsm = NULL;
    sombra_err err = os_registry_watch_fork();
    if (!err)
        err = store_new(os, options, &lsm);
    if (err)
        return diag_wrap(err, "open %s", path);
    struct os_registered *shared = NULL;
    struct os_claim claim;
    os_claim_begin(&claim, os, NULL);
    err = directory_find(lsm, path);
    if (!err)
        err = open_claimed(lsm, &claim, &shared);
    if (err || shared)
        open_undo(lsm);
    os_claim_end(&claim, err || shared ? NULL : as_registered(lsm));
    if (err)
        return diag_wrap(err, "open %s", path);
    *out_kv = shared ? &container_of(shared, struct lsm, registered)->kv : &lsm->kv;
    return SOMBRA_OK;
}

/* Names of tables alone: a directory of anything may have logs. */
static sombra_err table_judge(void *context, const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return digits < 6 || strcmp(name + digits, ".sst") != 0 ? SOMBRA_OK : name_judge(context, name);
}

sombra_err lsm_remains_check(struct os *os, const char *path)
{
    assert(os && path);
    return os_list_directory(os, path, table_judge, (void *)path);
}

sombra_err lsm_is_at(struct os *os, const char *path, bool *out_is_there)
{
    assert(os && path && out_is_there);
    struct os_identity identity;
    char *manifest = lsm_path(path, "MANIFEST");
    if (!manifest)
        return diag_nomem("a path", strlen(path));
    sombra_err err = os_identify_path(os, manifest, &identity);
    mem_free(manifest);
    *out_is_there = err == SOMBRA_OK;
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

/* ---- close ------------------------------------------------------------------------------- */

/* Everything is in tables: no log is needed, and the next open has nothing to replay. */
static sombra_err mark_clean(struct lsm *lsm)
{
    uint64_t seq = atomic_load(&lsm->seq);
    struct edit edit = { .log_seq = seq, .seq = seq };
    struct manifest_state state = lsm->state;
    state.version++;
    state.next_number = lsm->next_number;
    state.next_run = lsm->next_run;
    state.seq = state.log_seq = seq;
    state.is_clean = true;
    lsm_totals(lsm, state.totals);
    return manifest_commit(lsm->manifest, &edit, &state);
}

/* Beside compactions, which change the state. */
static bool was_written(struct lsm *lsm)
{
    os_mutex_lock(&lsm->manifest_mutex);
    bool is_clean = lsm->state.is_clean;
    os_mutex_unlock(&lsm->manifest_mutex);
    return !is_clean;
}

/* Nothing was committed since the open found a full disk, which may still be. */
static bool logs_have_all(struct lsm *lsm)
{
    const struct lsm_writer *writer = lsm->writer;
    return writer->resumes || (writer->kept_seq && !memtable_is_empty(writer->active) &&
                               writer->kept_seq == atomic_load(&lsm->seq));
}

/* After a failure nothing is written: the logs and the manifest hold everything. */
static sombra_err store_finish(struct lsm *lsm)
{
    if (lsm->options.is_readonly)
        return SOMBRA_OK;
    sombra_err err = lsm_check_writable(lsm);
    if (!err && was_written(lsm))
        err = lsm_check_place(lsm);
    if (!err && logs_have_all(lsm)) {
        lsm_background_stop(lsm);
        return SOMBRA_OK;
    }
    if (!err && lsm->writer->log && !memtable_is_empty(lsm->writer->active))
        err = lsm_memtable_retire(lsm, atomic_load(&lsm->seq), false);
    if (!err)
        err = lsm_flush_full(lsm);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    lsm_background_stop(lsm); /* no edit may follow the last */
    diag_restore(text);
    if (!err)
        err = lsm_check_writable(lsm);
    /* Clean or unwritten: nothing was committed since the open, for which no log could be made on a
     * full disk, or none was wanted. */
    if (!err && !lsm->state.is_clean && manifest_is_written(lsm->manifest))
        err = mark_clean(lsm);
    if (!err)
        lsm_logs_unlink_all(lsm);
    return err;
}

sombra_err lsm_close(struct lsm *lsm)
{
    /* In a child of the process that opened it everything is the parent's: nothing is touched. */
    if (atomic_load(&lsm->is_forked))
        return SOMBRA_OK;
    struct os_claim claim;
    bool is_last;
    sombra_err err = os_claim_close(&claim, &lsm->registered, &is_last);
    if (err || !is_last)
        return err;
    err = diag_wrap(store_finish(lsm), "close %s", lsm->directory);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    store_free(lsm);
    os_claim_end(&claim, NULL);
    diag_restore(text);
    return err;
}
