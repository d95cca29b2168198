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

#include <stdlib.h>

/* ---- make, drop -------------------------------------------------------------------------- */

sombra_err lsm_log_create(struct lsm *lsm, uint64_t base_seq, uint64_t bytes,
                          struct lsm_log **out_log)
{
    struct lsm_log *log = mem_zalloc(sizeof *log);
    char *path = lsm_log_path(lsm, base_seq);
    sombra_err err = SOMBRA_OK;
    if (!log || !path)
        err = diag_nomem("a log", sizeof *log + strlen(lsm->directory));
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
        return diag_wrap(err, "make a log");
    }
    wal_use_short_records(log->wal);
    log->base_seq = base_seq;
    log->can_map = true;
    atomic_store(&log->bytes, wal_file_bytes(log->wal));
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
    sombra_err err = lsm_log_create(lsm, base_seq, first_bytes, &log);
    if (err == SOMBRA_IO) /* see lsm_memtable_retire */
        return lsm_fail(lsm, err);
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
        err = lsm_log_create(lsm, seq, 0, &log);
    /* A sync of the directory may be what failed, and with it are lost the names of tables that a
     * flush or a compaction is about to commit: its own sync would not say so. */
    if (err == SOMBRA_IO)
        err = lsm_fail(lsm, err);
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

/* ---- names ------------------------------------------------------------------------------- */

struct log_names {
    uint64_t *bases;
    size_t count, capacity;
};

static bool name_parse(const char *name, uint64_t *out_base)
{
    enum { DIGITS = 20 };
    uint64_t base = 0;
    for (size_t i = 0; i < DIGITS; i++) {
        unsigned digit = (unsigned)name[i] - '0';
        if (digit > 9 || base > (UINT64_MAX - digit) / 10)
            return false;
        base = base * 10 + digit;
    }
    if (strcmp(name + DIGITS, ".log") != 0 || base == UINT64_MAX)
        return false;
    *out_base = base;
    return true;
}

static sombra_err name_note(void *context, const char *name)
{
    struct log_names *names = context;
    uint64_t base;
    if (!name_parse(name, &base))
        return SOMBRA_OK;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 16;
        uint64_t *grown = mem_realloc(names->bases, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("names of logs", capacity * sizeof *grown);
        names->bases = grown;
        names->capacity = capacity;
    }
    names->bases[names->count++] = base;
    return SOMBRA_OK;
}

static int base_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static sombra_err names_list(struct lsm *lsm, struct log_names *out)
{
    sombra_err err = os_list_directory(lsm->os, lsm->directory, name_note, out);
    if (!err && out->count)
        qsort(out->bases, out->count, sizeof *out->bases, base_compare);
    return err;
}

/* ---- replay ------------------------------------------------------------------------------ */

struct replay {
    struct lsm *lsm;
    struct memtable *into; /* NULL: nothing is applied, and */
    bool resumes;          /* the logs are made such that commits can follow: lsm_logs_resume */
    struct lsm_replay done;
    struct wal_position end;             /* of the last log that was taken */
    uint64_t broken_base, broken_offset; /* where the chain of commits ended, if is_broken */
    bool is_broken;
};

/* What stands in tables is passed by: an unsynced log may have lost its end to a crash, and older
 * commits must not come to lie over newer ones. */
static sombra_err record_apply(void *context, const struct wal_record *record)
{
    struct replay *replay = context;
    if (!replay->into || record->lsn <= replay->lsm->state.seq)
        return SOMBRA_OK;
    return lsm_redo_apply(record->payload, record->lsn, replay->into);
}

static sombra_err record_ignore(void *context, const struct wal_record *record)
{
    (void)context;
    (void)record;
    return SOMBRA_OK;
}

/* The log that begins behind `base`. */
static sombra_err log_replay(struct replay *replay, uint64_t base, wal_replay_fn each,
                             struct wal_replay_result *out_result)
{
    struct lsm *lsm = replay->lsm;
    char *path = lsm_log_path(lsm, base);
    if (!path)
        return diag_nomem("a log's path", strlen(lsm->directory));
    struct wal *wal = NULL;
    sombra_err err = wal_open(lsm->os, path, true, &wal);
    if (!err)
        err = wal_replay(wal, (struct wal_position){ .epoch = base + 1 }, base, each, replay,
                         out_result);
    wal_close(wal);
    if (err && err != SOMBRA_NOT_FOUND)
        err = diag_wrap(err, "replay %s", path);
    mem_free(path);
    return err;
}

/* ---- logs that are used again ------------------------------------------------------------ */

/* What was read may be page cache that the disk never got, after a sync that failed: the records
 * are written once more, and zeros over all that lies behind them. Every byte lies in the file as
 * it is, so that most file systems need no space for it. */
static sombra_err log_rewrite(struct os_file *file, uint64_t end_offset, struct buf *chunk)
{
    enum { CHUNK_BYTES = 1 << 18 };
    uint64_t bytes;
    sombra_err err = os_size(file, &bytes);
    if (!err)
        err = buf_reserve(chunk, CHUNK_BYTES);
    for (uint64_t at = 0; !err && at < end_offset;) {
        size_t count = (size_t)u64_min(end_offset - at, CHUNK_BYTES);
        err = os_read(file, at, chunk->data, count);
        if (!err)
            err = os_write(file, at, chunk->data, count);
        at += count;
    }
    if (!err && bytes > end_offset)
        err = os_write_zeros(file, end_offset, bytes - end_offset);
    return err ? err : os_sync(file);
}

static sombra_err log_save_again(struct lsm *lsm, uint64_t base, uint64_t end_offset)
{
    char *path = lsm_log_path(lsm, base);
    if (!path)
        return diag_nomem("a log's path", strlen(lsm->directory));
    struct os_file *file = NULL;
    struct buf chunk = BUF_INIT;
    sombra_err err = os_open(lsm->os, path, OS_WRITE, 0, &file);
    if (!err)
        err = log_rewrite(file, end_offset, &chunk);
    buf_release(&chunk);
    os_close(file);
    mem_free(path);
    return err;
}

/* A log behind the end of the chain: commits that are to come would meet its numbers. */
static sombra_err log_remove(struct lsm *lsm, uint64_t base)
{
    char *path = lsm_log_path(lsm, base);
    sombra_err err = path ? os_unlink(lsm->os, path) : diag_nomem("a log's path", 1);
    mem_free(path);
    return err;
}

/* ---- the chain of logs ------------------------------------------------------------------- */

/* A log behind the place where the chain of commits ended: the rest of what a crash cut off, unless
 * it knows that the missing commits were durable. */
static sombra_err log_judge(struct replay *replay, uint64_t base)
{
    struct wal_replay_result result;
    sombra_err err = log_replay(replay, base, record_ignore, &result);
    if (err)
        return err;
    replay->done.seq_seen = u64_max(replay->done.seq_seen, result.last_lsn);
    if (result.durable_lsn > replay->done.seq)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s/%020" PRIu64 ".log: commit %" PRIu64 " at offset %" PRIu64
                         " is damaged or missing, but a later log knows %" PRIu64
                         " as durable; restore a backup or salvage",
                         replay->lsm->directory, replay->broken_base, replay->done.seq + 1,
                         replay->broken_offset, result.durable_lsn);
    return replay->resumes ? log_remove(replay->lsm, base) : SOMBRA_OK;
}

/* A log in the middle of an older one: made for a new memtable by a call that then failed, and
 * could not even remove it. No commit went there. */
static sombra_err log_pass_by(struct replay *replay, uint64_t base)
{
    struct wal_replay_result result;
    sombra_err err = log_replay(replay, base, record_ignore, &result);
    if (!err && result.records > 0)
        err =
            diag_fail(SOMBRA_CORRUPT,
                      "%s/%020" PRIu64 ".log begins before the end of the log before it, %" PRIu64,
                      replay->lsm->directory, base, replay->done.seq);
    return err;
}

static sombra_err log_take(struct replay *replay, uint64_t base)
{
    struct wal_replay_result result;
    sombra_err err = log_replay(replay, base, record_apply, &result);
    if (err)
        return err;
    if (replay->resumes && replay->done.logs > 0 && result.records == 0)
        return log_remove(replay->lsm, base); /* the one before it has more space */
    if (replay->resumes)
        err = log_save_again(replay->lsm, base, result.end.offset);
    if (err)
        return err;
    replay->done.logs++;
    replay->end = result.end;
    replay->done.records += result.records;
    replay->done.seq = u64_max(replay->done.seq, result.last_lsn);
    replay->done.seq_seen = u64_max(replay->done.seq_seen, result.last_lsn);
    replay->broken_base = base;
    replay->broken_offset = result.end.offset;
    return SOMBRA_OK;
}

static sombra_err names_replay(struct replay *replay, const struct log_names *names)
{
    struct lsm *lsm = replay->lsm;
    uint64_t log_seq = lsm->state.log_seq;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < names->count && !err; i++) {
        uint64_t base = names->bases[i];
        if (base < log_seq)
            continue;
        if (replay->done.logs == 0 && base != log_seq)
            break;
        if (replay->done.logs > 0 && base < replay->done.seq) {
            err = log_pass_by(replay, base);
            continue;
        }
        if (replay->done.logs > 0 && base > replay->done.seq)
            replay->is_broken = true;
        err = replay->is_broken ? log_judge(replay, base) : log_take(replay, base);
    }
    if (!err && replay->done.logs == 0)
        err = diag_fail(SOMBRA_CORRUPT,
                        "%s/%020" PRIu64 ".log is missing: the store was not closed, and its "
                        "newest commits are in that log; put it back",
                        lsm->directory, log_seq);
    return err;
}

sombra_err lsm_logs_recover(struct lsm *lsm, struct memtable *into, struct lsm_replay *out_replay)
{
    assert(into && memtable_is_empty(into));
    struct replay replay = { .lsm = lsm,
                             .into = into,
                             .done = { .seq = u64_max(lsm->state.seq, lsm->state.log_seq) } };
    replay.done.seq_seen = replay.done.seq;
    struct log_names names = { 0 };
    sombra_err err = SOMBRA_OK;
    if (!lsm->state.is_clean) {
        err = names_list(lsm, &names);
        if (!err)
            err = names_replay(&replay, &names);
    }
    mem_free(names.bases);
    if (!err)
        *out_replay = replay.done;
    return err;
}

sombra_err lsm_logs_replay(struct lsm *lsm, struct memtable *into, uint64_t *out_seq,
                           uint64_t *out_records)
{
    struct lsm_replay replay;
    sombra_err err = lsm_logs_recover(lsm, into, &replay);
    if (err)
        return err;
    *out_seq = replay.seq;
    *out_records = replay.records;
    return SOMBRA_OK;
}

/* ---- resume ------------------------------------------------------------------------------ */

static sombra_err log_reopen(const struct replay *replay, struct lsm_log **out_log)
{
    struct lsm *lsm = replay->lsm;
    uint64_t base_seq = replay->broken_base;
    struct lsm_log *log = mem_zalloc(sizeof *log);
    char *path = lsm_log_path(lsm, base_seq);
    sombra_err err = SOMBRA_OK;
    if (!log || !path)
        err = diag_nomem("a log", sizeof *log + strlen(lsm->directory));
    if (!err)
        err = wal_open(lsm->os, path, false, &log->wal);
    if (!err)
        err = wal_cut(log->wal, replay->end, replay->done.seq);
    mem_free(path);
    if (err) {
        lsm_log_free(log);
        return err;
    }
    wal_use_short_records(log->wal);
    log->base_seq = base_seq;
    log->can_map = true;
    atomic_store(&log->is_named, true);
    atomic_store(&log->bytes, wal_file_bytes(log->wal));
    *out_log = log;
    return SOMBRA_OK;
}

/* Before the first commit, all that it will stand behind is durable; and nothing is left that a
 * replay could take for what follows it. */
static sombra_err chain_save(struct lsm *lsm, struct replay *replay)
{
    struct log_names names = { 0 };
    sombra_err err = names_list(lsm, &names);
    if (!err)
        err = names_replay(replay, &names);
    mem_free(names.bases);
    /* After an earlier try the system may have dropped what it could not save. */
    if (!err && replay->done.seq != atomic_load(&lsm->seq))
        err = diag_fail(SOMBRA_IO,
                        "the logs end at commit %" PRIu64 ", and ended at %" PRIu64
                        " when the store was opened",
                        replay->done.seq, atomic_load(&lsm->seq));
    return err ? err : lsm_sync_names(lsm);
}

sombra_err lsm_logs_resume(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    assert(writer->resumes && !writer->log && !lsm->logs && !lsm->full_oldest);
    struct replay replay = { .lsm = lsm,
                             .resumes = true,
                             .done = { .seq = u64_max(lsm->state.seq, lsm->state.log_seq) } };
    struct lsm_log *log = NULL;
    sombra_err err = lsm_check_place(lsm);
    if (!err)
        err = chain_save(lsm, &replay);
    if (!err)
        err = log_reopen(&replay, &log);
    /* On a full disk, or without memory, the next try begins anew. */
    if (err && err != SOMBRA_LIMIT && err != SOMBRA_NOMEM)
        err = lsm_fail(lsm, err);
    if (err)
        return diag_wrap(err, "go on in the log of before the open");
    os_mutex_lock(&lsm->mutex);
    lsm_logs_add(lsm, log);
    os_mutex_unlock(&lsm->mutex);
    writer->log = log;
    writer->resumes = false;
    return SOMBRA_OK;
}
