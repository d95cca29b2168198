/* SPDX-License-Identifier: MIT */
/* Recovery, by a process that is alone with the file: the newest valid meta record is written again
 * and synced (it may be page cache that the disk never got); the log's valid prefix is replayed
 * into pages that are free in it; a full checkpoint into the other slot, which needs no log; only
 * then is the log removed. Interrupted anywhere, it begins again from the same meta.
 */
#include "upkeep.h"

enum { TXN_GAP = 1 << 20 /* numbers burnt: pages of lost transactions carry lower ones */ };

struct replay {
    struct btree_txn *txn;
    uint64_t newest_txn;
    uint64_t records;
};

static sombra_err replay_record(void *context, const struct wal_record *record)
{
    struct replay *replay = context;
    uint64_t txn = 0;
    sombra_err err = redo_apply(replay->txn, record->payload, &txn);
    if (!err && (txn <= replay->newest_txn || txn >> 62))
        err =
            diag_fail(SOMBRA_CORRUPT, "log record %" PRIu64 ": txn %" PRIu64 " after txn %" PRIu64,
                      record->lsn, txn, replay->newest_txn);
    if (err)
        return err;
    replay->newest_txn = txn;
    replay->records++;
    replay->txn->snapshot.lsn = record->lsn;
    return SOMBRA_OK;
}

/* Does the log fit the chosen meta record? What does not fit is never applied, and never taken for
 * an empty log. Epochs of other databases begin with another random number. */
static sombra_err log_check(const struct btree *btree, unsigned half, struct wal *log)
{
    const struct meta *meta = &btree->meta;
    bool is_in_use = meta->log_state == META_LOG_IN_USE;
    uint64_t newest = meta->log.epoch + (is_in_use ? 1 : 0);
    uint64_t epoch = 0;
    sombra_err err = wal_first_epoch(log, &epoch);
    if (err || epoch == 0)
        return err;
    if (epoch > newest + (UINT64_C(1) << 31) || epoch + (UINT64_C(1) << 31) < newest)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64 ", the database of %" PRIu64
                         ": it belongs to another database; move it away",
                         btree->path, half, epoch, meta->log.epoch);
    if (epoch > newest)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64
                         ", and the newest sound meta record knows of %" PRIu64
                         ": a newer meta record was damaged, or the file is an older copy",
                         btree->path, half, epoch, meta->log.epoch);
    bool is_active = half == meta->log_half;
    if (is_in_use && epoch >= meta->log.epoch && (epoch == meta->log.epoch) != is_active)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s-log%u: the log is of epoch %" PRIu64
                         ", which belongs into the other half: the two were swapped",
                         btree->path, half, epoch);
    return SOMBRA_OK;
}

/* A clean database has no log, but for one that was emptied and not yet taken away. */
sombra_err logs_check_clean(const struct btree *btree)
{
    sombra_err err = SOMBRA_OK;
    for (unsigned half = 0; half < LOG_HALVES && !err; half++) {
        struct wal *log = NULL;
        char *path = logs_path(btree, half);
        if (!path)
            return diag_nomem("the log's path", strlen(btree->path));
        err = wal_open(btree->os, path, true, &log);
        mem_free(path);
        if (!err)
            err = log_check(btree, half, log);
        else if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK;
        wal_close(log);
    }
    return err;
}

static sombra_err logs_open_checked(struct btree *btree)
{
    sombra_err err = logs_open(&btree->logs);
    for (unsigned half = 0; half < LOG_HALVES && !err; half++)
        err = log_check(btree, half, btree->logs.halves[half]);
    return err;
}

/* The halves after the meta's position, in the order of epochs. */
static sombra_err logs_replay(struct btree *btree, struct replay *replay)
{
    struct wal_position from = btree->meta.log;
    unsigned half = btree->meta.log_half;
    uint64_t lsn = btree->meta.snapshot.lsn;
    for (unsigned i = 0; i < LOG_HALVES; i++) {
        struct wal_replay_result result;
        sombra_err err =
            wal_replay(btree->logs.halves[half], from, lsn, replay_record, replay, &result);
        if (err)
            return err;
        lsn = result.last_lsn;
        from = (struct wal_position){ .epoch = from.epoch + 1, .link = result.end.link };
        half = 1 - half;
    }
    return SOMBRA_OK;
}

static sombra_err replay_all(struct btree *btree, uint64_t *out_records)
{
    struct btree_txn *txn;
    sombra_err err = txn_start_write(btree, 0, &txn);
    if (err) {
        gate_leave(btree);
        return err;
    }
    txn->is_replay = true;
    struct replay replay = { .txn = txn, .newest_txn = btree->meta.snapshot.txn };
    err = logs_replay(btree, &replay);
    /* Numbers are burnt: pages of lost transactions carry numbers up to some way above the newest
     * found. */
    if (!err && replay.newest_txn + TXN_GAP > txn->stamp) {
        atomic_store(&btree->head->next_txn, replay.newest_txn + 2 * TXN_GAP + 1);
        txn->stamp = txn->newest_page_txn = replay.newest_txn + 2 * TXN_GAP;
    }
    if (!err)
        err = checkpoint_commit(txn);
    if (err)
        txn_undo_all(txn);
    txn_end_write(txn);
    if (!err)
        *out_records = replay.records;
    return err;
}

static void recovery_report(struct btree *btree, uint64_t records, uint64_t ns)
{
    kv_metrics_add(&btree->metrics, KV_COUNTER_RECOVERIES, 1);
    kv_metrics_add(&btree->metrics, KV_COUNTER_RECOVERED_RECORDS, records);
    kv_metrics_report(&btree->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_RECOVERY,
                                          .duration_ns = ns,
                                          .count = records,
                                          .text = "the log was replayed: the database had not been "
                                                  "closed" });
}

sombra_err btree_recover(struct btree *btree)
{
    uint64_t begin_ns = os_monotonic_ns(btree->os);
    uint64_t records = 0;
    sombra_err err = base_restore(btree);
    if (!err)
        err = names_sync(btree);
    if (!err)
        err = logs_open_checked(btree);
    if (!err)
        err = space_load(&btree->space, &btree->meta, false);
    if (err)
        return err;
    btree->is_prepared = btree->has_turns = true; /* for this one transaction */
    atomic_store(&btree->head->next_txn, btree->meta.snapshot.txn + TXN_GAP);
    owner_word dead;
    err = gate_enter(btree, 0, &dead);
    if (!err)
        err = replay_all(btree, &records);
    /* The first write makes new logs and says so in a meta, as after a clean close. */
    btree->is_prepared = btree->has_turns = false;
    if (!err)
        err = logs_unlink(&btree->logs);
    if (!err)
        recovery_report(btree, records, os_monotonic_ns(btree->os) - begin_ns);
    return err;
}
