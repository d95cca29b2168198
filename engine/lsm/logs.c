/* SPDX-License-Identifier: MIT */
/* The logs: one for each memtable, named after the commit before its first (log_format.h).
 *
 * A log is needed until what is in it stands in tables. The manifest says from where on logs are
 * needed (log_seq), and a log of just that base is there unless it says that the store was closed.
 * The first commit behind an open makes the first log: who only reads writes nothing.
 *
 * Logs are made without any sync, so that no commit waits for one. The name of a log is durable
 * before one of its commits counts as that (lsm_logs_sync), and before the manifest says that the
 * logs before it are not needed (lsm_edit). Names lost in a power cut are then those of logs
 * without a durable commit.
 */
#include "write_internal.h"
#include "log_format.h"

/* ---- make, drop -------------------------------------------------------------------------- */

sombra_err lsm_log_new(const struct lsm *lsm, uint64_t base_seq, struct lsm_log **out_log,
                       char **out_path)
{
    struct lsm_log *log = mem_zalloc(sizeof *log);
    char *path = lsm_log_path(lsm, base_seq);
    if (!log || !path) {
        mem_free(log);
        mem_free(path);
        return diag_nomem("a log", sizeof *log + strlen(lsm->directory));
    }
    log->base_seq = base_seq;
    *out_log = log;
    *out_path = path;
    return SOMBRA_OK;
}

void lsm_log_ready(struct lsm_log *log)
{
    wal_use_short_records(log->wal);
    log->can_map = true;
    atomic_store(&log->bytes, wal_file_bytes(log->wal));
}

/* A new, empty log behind `base_seq`, with zeros written ahead; a leftover of that name is
 * replaced. Its name is durable only once is_named says so. IO fails the store: a sync of the
 * directory may be what failed, and with it are lost the names of tables that a flush or a
 * compaction is about to commit, whose own sync would not say so. */
static sombra_err log_create(struct lsm *lsm, uint64_t base_seq, uint64_t bytes,
                             struct lsm_log **out_log)
{
    struct lsm_log *log = NULL;
    char *path = NULL;
    sombra_err err = lsm_log_new(lsm, base_seq, &log, &path);
    if (!err)
        err = lsm_check_place(lsm);
    if (!err)
        err = wal_create_unsynced(lsm->os, path, lsm->options.mode, bytes, &log->wal);
    if (err == SOMBRA_EXISTS) {
        /* Left by a switch of memtables that failed and could not remove it: no manifest ever named
         * it, and nothing was committed to it. The name must be that of the new file before
         * anything is in it. */
        err = os_unlink(lsm->os, path);
        if (!err)
            err = wal_create(lsm->os, path, lsm->options.mode, bytes, &log->wal);
        if (!err)
            atomic_store(&log->is_named, true);
    }
    if (!err)
        err = wal_restart(log->wal, base_seq + 1, 0);
    mem_free(path);
    if (err) {
        lsm_log_free(log);
        err = diag_wrap(err, "make a log");
        return err == SOMBRA_IO ? lsm_fail(lsm, err) : err;
    }
    lsm_log_ready(log);
    *out_log = log;
    return SOMBRA_OK;
}

void lsm_log_free(struct lsm_log *log)
{
    if (!log)
        return;
    assert(log->syncs == 0);
    wal_close(log->wal);
    mem_free(log);
}

void lsm_logs_add(struct lsm *lsm, struct lsm_log *log)
{
    struct lsm_log **at = &lsm->logs;
    while (*at)
        at = &(*at)->next;
    *at = log;
}

static void log_unlink(struct lsm *lsm, uint64_t base_seq)
{
    char *path = lsm_log_path(lsm, base_seq);
    /* Nothing needs it: a log that stays is removed by the next open. */
    sombra_err err = path ? lsm_unlink(lsm, path) : SOMBRA_NOMEM;
    (void)err;
    mem_free(path);
}

void lsm_logs_drop(struct lsm *lsm, uint64_t log_seq)
{
    for (;;) {
        os_mutex_lock(&lsm->mutex);
        struct lsm_log *log = lsm->logs;
        if (!log || !log->next || log->base_seq >= log_seq) {
            os_mutex_unlock(&lsm->mutex);
            return;
        }
        assert(log->next->base_seq <= log_seq);
        lsm->logs = log->next;
        bool is_free = log->syncs == 0;
        log->is_dropped = true;
        uint64_t base_seq = log->base_seq;
        os_mutex_unlock(&lsm->mutex);
        log_unlink(lsm, base_seq);
        if (is_free)
            lsm_log_free(log);
    }
}

void lsm_logs_unlink_all(struct lsm *lsm)
{
    while (lsm->logs) {
        struct lsm_log *log = lsm->logs;
        lsm->logs = log->next;
        log_unlink(lsm, log->base_seq);
        lsm_log_free(log);
    }
}

uint64_t lsm_logs_bytes(struct lsm *lsm)
{
    uint64_t bytes = 0;
    os_mutex_lock(&lsm->mutex);
    for (const struct lsm_log *log = lsm->logs; log; log = log->next)
        bytes += atomic_load_explicit(&log->bytes, memory_order_relaxed);
    os_mutex_unlock(&lsm->mutex);
    return bytes;
}

/* ---- sync -------------------------------------------------------------------------------- */

/* The oldest log with commits behind `durable_seq`, kept open; *out_end := its newest commit, for
 * the newest log `seq`. What dropped logs had is in tables. */
static struct lsm_log *log_hold(struct lsm *lsm, uint64_t durable_seq, uint64_t seq,
                                uint64_t *out_end)
{
    os_mutex_lock(&lsm->mutex);
    struct lsm_log *log = lsm->logs;
    while (log && (log->next ? log->next->base_seq : seq) <= durable_seq)
        log = log->next;
    if (log) {
        *out_end = log->next ? log->next->base_seq : seq;
        log->syncs++;
    }
    os_mutex_unlock(&lsm->mutex);
    return log;
}

static void log_let_go(struct lsm *lsm, struct lsm_log *log)
{
    os_mutex_lock(&lsm->mutex);
    bool is_last = --log->syncs == 0 && log->is_dropped;
    os_mutex_unlock(&lsm->mutex);
    if (is_last)
        lsm_log_free(log);
}

/* A file that has no name after a power cut saves nothing. */
static sombra_err log_sync(struct lsm *lsm, struct lsm_log *log)
{
    sombra_err err = wal_sync(log->wal);
    if (LIKELY(err || atomic_load(&log->is_named)))
        return err;
    err = lsm_sync_names(lsm);
    if (!err)
        atomic_store(&log->is_named, true);
    return err;
}

sombra_err lsm_logs_sync(struct lsm *lsm, uint64_t durable_seq, uint64_t seq)
{
    sombra_err err = SOMBRA_OK;
    while (!err && durable_seq < seq) {
        uint64_t end = seq;
        struct lsm_log *log = log_hold(lsm, durable_seq, seq, &end);
        if (!log)
            break;
        err = log_sync(lsm, log);
        kv_metrics_add(&lsm->metrics, KV_COUNTER_LOG_SYNCS, 1);
        log_let_go(lsm, log);
        durable_seq = end;
    }
    return err;
}

/* ---- the first --------------------------------------------------------------------------- */

sombra_err lsm_log_begin(struct lsm *lsm)
{
    /* What is written ahead here is synced with the first record. */
    const uint64_t first_bytes =
        u64_min(lsm->options.memtable_bytes + lsm->options.memtable_bytes / 4, 64 * KiB);
    uint64_t base_seq = atomic_load(&lsm->seq);
    struct lsm_log *log = NULL;
    if (UNLIKELY(lsm->writer->resumes))
        return lsm_logs_resume(lsm);
    assert(!lsm->writer->log && !lsm->logs);
    sombra_err err = log_create(lsm, base_seq, first_bytes, &log);
    if (err)
        return err;
    err = lsm_edit(lsm, &(struct edit){ .log_seq = base_seq, .seq = base_seq, .begins_log = true },
                   NULL);
    if (err) {
        if (!atomic_load(&lsm->is_failed)) /* or the manifest may name it */
            log_unlink(lsm, base_seq);
        lsm_log_free(log);
        return diag_wrap(err, "begin a log");
    }
    atomic_store(&log->is_named, true); /* the edit saw to it */
    os_mutex_lock(&lsm->mutex);
    lsm_logs_add(lsm, log);
    os_mutex_unlock(&lsm->mutex);
    lsm->writer->log = log;
    atomic_store(&lsm->writer->is_unsaved, false);
    return SOMBRA_OK;
}

/* ---- switch ------------------------------------------------------------------------------ */

/* Under lsm->mutex: a view whose memtable is `active`; the one that was active stays in it, if it
 * is queued. */
static sombra_err publish_active(struct lsm *lsm, struct memtable *active, bool keeps_old)
{
    struct memtable *memtables[VIEW_MEMTABLES_MAX];
    const struct view *view = lsm->view;
    size_t from = keeps_old ? 0 : 1;
    size_t count = 0;
    assert(view->count >= 1);
    if (view->count - from >= VIEW_MEMTABLES_MAX) /* many checkpoints at once, and none gets on */
        return diag_fail(SOMBRA_LIMIT, "%zu memtables wait for their flush", view->count);
    memtables[count++] = active;
    for (size_t i = from; i < view->count; i++)
        memtables[count++] = view->memtables[i];
    return view_publish(lsm, memtables, count, view->version);
}

static void full_add(struct lsm *lsm, struct lsm_full *full)
{
    full->next = NULL;
    if (lsm->full_newest)
        lsm->full_newest->next = full;
    else
        lsm->full_oldest = full;
    lsm->full_newest = full;
    lsm->full_count++;
}

/* Nothing was committed to the active one: what it holds was undone. Its log goes on. */
static sombra_err memtable_replace(struct lsm *lsm)
{
    struct memtable *fresh = NULL;
    sombra_err err = memtable_new(&fresh);
    if (err)
        return err;
    os_mutex_lock(&lsm->mutex);
    err = publish_active(lsm, fresh, false);
    os_mutex_unlock(&lsm->mutex);
    if (err)
        memtable_unref(fresh);
    else
        lsm_writer_begin_with(lsm, fresh);
    lsm_pool_sweep(lsm);
    return err;
}

sombra_err lsm_memtable_retire(struct lsm *lsm, uint64_t seq, bool with_log)
{
    struct lsm_full *full = mem_zalloc(sizeof *full);
    struct memtable *fresh = NULL;
    struct lsm_log *log = NULL;
    sombra_err err = full ? memtable_new(&fresh) : diag_nomem("a full memtable", sizeof *full);
    if (!err && with_log)
        err = log_create(lsm, seq, 0, &log);
    if (!err) {
        full->memtable = lsm->writer->active;
        full->seq_max = seq;
        os_mutex_lock(&lsm->mutex);
        err = publish_active(lsm, fresh, true);
        if (!err) {
            full_add(lsm, full);
            if (log)
                lsm_logs_add(lsm, log);
        }
        os_mutex_unlock(&lsm->mutex);
    }
    if (err) {
        if (log)
            log_unlink(lsm, seq);
        lsm_log_free(log);
        memtable_unref(fresh);
        mem_free(full);
        return diag_wrap(err, "begin a memtable");
    }
    lsm->writer->active = fresh; /* the reference to the old one is the queue's now */
    lsm->writer->memtable_bytes_max = lsm->options.memtable_bytes;
    lsm->writer->log = log;
    lsm_pool_sweep(lsm);
    return SOMBRA_OK;
}

/* ---- a flush that commits ---------------------------------------------------------------- */

/* What is left of a try that failed: the manifest names neither, or the store has failed. */
static void successor_drop(struct lsm *lsm, struct lsm_full *full)
{
    memtable_unref(full->successor);
    if (full->successor_log && !atomic_load(&lsm->is_failed))
        log_unlink(lsm, full->seq_max);
    lsm_log_free(full->successor_log);
}

sombra_err lsm_memtable_commit(struct lsm *lsm, uint64_t seq)
{
    struct lsm_writer *writer = lsm->writer;
    struct lsm_full full = { .memtable = writer->active,
                             .seq_max = seq,
                             .early = writer->write.early };
    sombra_err err = UNLIKELY(writer->resumes) ? lsm_logs_resume(lsm) : SOMBRA_OK;
    if (!err)
        err = lsm_flush_full(lsm); /* older ones first */
    if (!err)
        err = memtable_new(&full.successor);
    if (!err)
        err = log_create(lsm, seq, 0, &full.successor_log);
    if (!err)
        err = lsm_flush_active(lsm, &full);
    if (err) {
        successor_drop(lsm, &full);
        return diag_wrap(err, "commit a memtable as tables");
    }
    atomic_store(&full.successor_log->is_named, true); /* the edit saw to it */
    atomic_store(&writer->is_unsaved, false);
    memtable_settle(full.memtable);
    lsm_writer_begin_with(lsm, full.successor);
    writer->log = full.successor_log;
    lsm_memory_trim(lsm);
    lsm_background_wake(lsm); /* a level has grown */
    return SOMBRA_OK;
}

sombra_err lsm_switch_memtable(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    assert(!writer->txn.view); /* between transactions */
    uint64_t seq = atomic_load_explicit(&lsm->seq, memory_order_relaxed);
    if (UNLIKELY(writer->resumes)) {
        sombra_err err = lsm_logs_resume(lsm);
        if (err)
            return err;
    }
    bool is_untouched =
        !writer->log || (memtable_is_empty(writer->active) && writer->log->base_seq == seq);
    if (is_untouched && memtable_bytes(writer->active) < lsm->options.memtable_bytes)
        return SOMBRA_OK;
    if (is_untouched)
        return diag_wrap(memtable_replace(lsm), "begin a memtable");
    sombra_err err = lsm_memtable_retire(lsm, seq, true);
    if (!err)
        lsm_background_wake(lsm);
    return err;
}
