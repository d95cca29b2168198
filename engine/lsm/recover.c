/* SPDX-License-Identifier: MIT */
/* The logs that an open finds: their chain of commits is replayed into a memtable, and on a full
 * disk, where no table can be made of that, the chain goes on where it ends (lsm_logs_resume).
 *
 * A log that ends before the base of the next ends the chain: that is the tail of a crash, unless a
 * log behind it knows a missing commit as durable.
 */
#include "write_internal.h"
#include "log_format.h"
#include "paths.h"

#include <inttypes.h>
#include <stdlib.h>

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

/* What was read may be page cache that the disk never got, after a sync that failed: it is written
 * once more, and zeros over all that lies behind `end_offset`. Every byte lies in the file as it
 * is, so that most file systems need no space for it. */
static sombra_err file_rewrite(struct os_file *file, uint64_t end_offset, struct buf *chunk)
{
    enum { CHUNK_BYTES = 1 << 18 };
    uint64_t bytes;
    sombra_err err = os_size(file, &bytes);
    if (!err)
        err = buf_reserve(chunk, CHUNK_BYTES);
    end_offset = u64_min(end_offset, bytes);
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

/* Takes the path, which may be NULL. */
static sombra_err file_save_again(struct lsm *lsm, char *path, uint64_t end_offset)
{
    if (!path)
        return diag_nomem("a path", strlen(lsm->directory));
    struct os_file *file = NULL;
    struct buf chunk = BUF_INIT;
    sombra_err err = os_open(lsm->os, path, OS_WRITE, 0, &file);
    if (!err)
        err = file_rewrite(file, end_offset, &chunk);
    buf_release(&chunk);
    os_close(file);
    mem_free(path);
    return err;
}

sombra_err lsm_manifest_save_again(struct lsm *lsm)
{
    assert(!manifest_is_written(lsm->manifest));
    sombra_err err = lsm_check_place(lsm);
    if (!err)
        err = file_save_again(lsm, lsm_path(lsm->directory, "MANIFEST"), UINT64_MAX);
    return err ? err : lsm_sync_names(lsm);
}

/* ---- what a read-only store saw ---------------------------------------------------------------
 */

/* Takes the path, which may be NULL. What is gone has its commits in tables, which are durable. */
static sombra_err file_sync(struct lsm *lsm, char *path)
{
    if (!path)
        return diag_nomem("a path", strlen(lsm->directory));
    struct os_file *file = NULL;
    sombra_err err = os_open(lsm->os, path, OS_READ, 0, &file);
    if (err == SOMBRA_NOT_FOUND)
        err = SOMBRA_OK;
    else if (!err)
        err = os_sync(file);
    os_close(file);
    mem_free(path);
    return err;
}

static sombra_err files_sync(struct lsm *lsm)
{
    struct log_names names = { 0 };
    sombra_err err = names_list(lsm, &names);
    for (size_t i = 0; !err && i < names.count; i++)
        err = file_sync(lsm, lsm_log_path(lsm, names.bases[i]));
    mem_free(names.bases);
    if (!err)
        err = file_sync(lsm, lsm_path(lsm->directory, "MANIFEST"));
    if (err == SOMBRA_IO) /* a later one would prove nothing */
        err = lsm_fail(lsm, err);
    return err;
}

sombra_err lsm_seen_save(struct lsm *lsm, uint64_t seq)
{
    assert(lsm->options.is_readonly);
    os_mutex_lock(&lsm->manifest_mutex); /* no refresh meanwhile, and one at a time */
    sombra_err err = SOMBRA_OK;
    if (seq > lsm->saved_seq || !lsm->saved_seq) {
        uint64_t seen_seq = atomic_load(&lsm->seq);
        err = lsm_check_writable(lsm);
        if (!err)
            err = files_sync(lsm);
        if (!err)
            err = lsm_sync_names(lsm);
        if (!err)
            lsm->saved_seq = seen_seq;
    }
    os_mutex_unlock(&lsm->manifest_mutex);
    return diag_wrap(err, "save what was read");
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
                         " as durable; restore a backup or repair it",
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
        err = file_save_again(replay->lsm, lsm_log_path(replay->lsm, base), result.end.offset);
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
    struct lsm_log *log = NULL;
    char *path = NULL;
    sombra_err err = lsm_log_new(lsm, replay->broken_base, &log, &path);
    if (!err)
        err = wal_open(lsm->os, path, false, &log->wal);
    if (!err)
        err = wal_cut(log->wal, replay->end, replay->done.seq);
    mem_free(path);
    if (err) {
        lsm_log_free(log);
        return err;
    }
    lsm_log_ready(log);
    atomic_store(&log->is_named, true);
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
    /* Of a manifest that this process has written nothing need be saved. */
    sombra_err err =
        manifest_is_written(lsm->manifest) ? lsm_check_place(lsm) : lsm_manifest_save_again(lsm);
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
    atomic_store(&writer->is_unsaved, false);
    return SOMBRA_OK;
}
