/* SPDX-License-Identifier: MIT */
/* The log of a damaged database, applied to the new one: the transactions behind the tree that was
 * read, as far as their records are sound.
 *
 * A deletion of what was lost is no contradiction here, unlike in a recovery.
 */
#include "salvage_internal.h"

#include <stdio.h>

static sombra_err record_apply(void *context, const struct wal_record *record)
{
    struct salvage *salvage = context;
    struct kv_txn *kv_txn;
    uint64_t number;
    sombra_err err = target_txn(&salvage->target, &kv_txn);
    if (!err) {
        struct btree_txn *txn = txn_of(kv_txn);
        uint64_t generation = txn->generation;
        txn->is_salvage = true;
        err = redo_apply(txn, record->payload, &number);
        txn->is_salvage = false;
        /* A checkpoint's own record changes nothing. */
        salvage->report.txns_replayed += !err && txn->generation != generation;
    }
    if (!err)
        err = target_wrote(&salvage->target, record->payload.bytes);
    if (err && err != SOMBRA_CORRUPT)
        salvage->write_err = err;
    return diag_wrap(err, "log record %" PRIu64, record->lsn);
}

/* Notes that the newest transactions are not in the new file. */
static void log_lost(struct salvage *salvage, sombra_err code)
{
    (void)diag_wrap(code, "newest transactions are lost");
    salvage->report.is_log_incomplete = true;
    salvage_problem(salvage, code, 0);
}

static char *log_path(const struct salvage *salvage, unsigned half)
{
    size_t bytes = strlen(salvage->path) + sizeof "-log0";
    char *path = mem_alloc(bytes);
    if (path)
        snprintf(path, bytes, "%s-log%u", salvage->path, half);
    return path;
}

static sombra_err halves_open(struct salvage *salvage, struct wal *halves[LOG_HALVES])
{
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        char *path = log_path(salvage, half);
        if (!path)
            return diag_nomem("the log's path", strlen(salvage->path));
        err = wal_open(salvage->os, path, true, &halves[half]);
        if (err == SOMBRA_NOT_FOUND)
            err = diag_fail(SOMBRA_CORRUPT, "%s is missing", path);
        mem_free(path);
    }
    return err;
}

/* As recovery does: the half that the meta names, then the other one under the next epoch. */
static sombra_err halves_replay(struct salvage *salvage, struct wal *halves[LOG_HALVES])
{
    const struct meta *meta = salvage->meta;
    struct wal_position from = meta->log;
    unsigned half = meta->log_half;
    uint64_t lsn = meta->snapshot.lsn;
    for (unsigned i = 0; i < LOG_HALVES; i++) {
        uint64_t epoch = 0;
        sombra_err err = wal_first_epoch(halves[i], &epoch);
        if (!err && epoch > meta->log.epoch + 1)
            err =
                diag_fail(SOMBRA_CORRUPT, "the log follows a newer meta record, which is damaged");
        if (err)
            return err;
    }
    for (unsigned i = 0; i < LOG_HALVES; i++) {
        struct wal_replay_result result;
        sombra_err err = wal_replay(halves[half], from, lsn, record_apply, salvage, &result);
        if (err)
            return err;
        lsn = result.last_lsn;
        from = (struct wal_position){ .epoch = from.epoch + 1, .link = result.end.link };
        half = 1 - half;
    }
    return SOMBRA_OK;
}

/* Without the meta record nobody knows where its part of the log begins. */
static sombra_err log_without_meta(struct salvage *salvage)
{
    struct os_identity identity;
    for (unsigned half = 0; half < LOG_HALVES; half++) {
        char *path = log_path(salvage, half);
        if (!path)
            return diag_nomem("the log's path", strlen(salvage->path));
        sombra_err err = os_identify_path(salvage->os, path, &identity);
        if (!err) {
            (void)diag_fail(SOMBRA_CORRUPT, "%s cannot be applied without the meta record", path);
            log_lost(salvage, SOMBRA_CORRUPT);
        }
        mem_free(path);
        if (!err)
            break;
    }
    return SOMBRA_OK;
}

sombra_err salvage_log(struct salvage *salvage)
{
    if (!salvage->meta)
        return log_without_meta(salvage);
    if (salvage->meta->log_state != META_LOG_IN_USE)
        return SOMBRA_OK;
    struct wal *halves[LOG_HALVES] = { NULL };
    sombra_err err = halves_open(salvage, halves);
    if (!err)
        err = halves_replay(salvage, halves);
    for (unsigned half = 0; half < LOG_HALVES; half++)
        wal_close(halves[half]);
    if (!err || salvage->write_err || !salvage_is_damage(err))
        return err;
    log_lost(salvage, err);
    return SOMBRA_OK;
}
