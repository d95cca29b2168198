/* SPDX-License-Identifier: MIT */
/* Commits and their syncs. The order of a commit (a failure before step 2 is an ordinary error and
 * undoes the transaction; one at or after it ends writing, for the record may or may not be in the
 * log):
 *
 *   1 reserve the space of the record in the log
 *   2 append the record
 *   3 publish: store the commit's number, so that new snapshots see what the memtable has already
 *   4 give the writer's turn away; a memtable that is full begins its way into tables
 *   5 sync the log, as the durability says: one thread for all who wait
 *
 * A transaction that is too long for the log (lsm_write, is_unlogged) puts its memtable into tables
 * instead of 1, 2 and 5: the edit that names them is what commits it, and publishes it.
 */
#include "write_internal.h"

/* ---- sync -------------------------------------------------------------------------------- */

static void raise_durable(struct lsm *lsm, uint64_t seq)
{
    uint64_t seen = atomic_load(&lsm->durable_seq);
    while (seen < seq && !atomic_compare_exchange_weak(&lsm->durable_seq, &seen, seq))
        ;
}

/* What is committed is sampled before the sync, never after. */
static sombra_err sync_all(struct lsm *lsm)
{
    uint64_t begun_ns = os_monotonic_ns(lsm->os);
    uint64_t seq = atomic_load(&lsm->seq);
    sombra_err err = lsm_logs_sync(lsm, atomic_load(&lsm->durable_seq), seq);
    if (err)
        return lsm_fail(lsm, diag_wrap(err, "sync the log"));
    raise_durable(lsm, seq);
    kv_metrics_time(&lsm->metrics, KV_HISTOGRAM_SYNC_NS, os_monotonic_ns(lsm->os) - begun_ns);
    return SOMBRA_OK;
}

/* The log's last record has no later one that says it was durable: see lsm_mark_due. */
static void mark_want(struct lsm *lsm)
{
    if (LIKELY(atomic_load_explicit(&lsm->writer->mark_wanted, memory_order_relaxed)) ||
        lsm->options.no_background)
        return;
    atomic_store(&lsm->writer->mark_wanted, true);
    lsm_background_wake(lsm);
}

static uint64_t durable_seq(void *context)
{
    struct lsm *lsm = context;
    return atomic_load(&lsm->durable_seq);
}

static uint64_t newest_seq(void *context)
{
    struct lsm *lsm = context;
    return atomic_load(&lsm->seq);
}

static sombra_err sync_check(void *context)
{
    return lsm_check_writable(context);
}

static sombra_err sync_run(void *context)
{
    struct lsm *lsm = context;
    sombra_err err = sync_all(lsm);
    if (!err)
        mark_want(lsm);
    atomic_store(&lsm->writer->last_sync_ns, os_coarse_ns(lsm->os));
    return err;
}

const struct wal_group_ops lsm_group_ops = {
    .durable_lsn = durable_seq,
    .newest_lsn = newest_seq,
    .check = sync_check,
    .sync = sync_run,
};

sombra_err lsm_commit_sync(struct lsm *lsm, uint64_t seq)
{
    return diag_wrap(wal_group_sync(&lsm->writer->group, seq), "outcome of the commit unknown");
}

sombra_err lsm_opened_save(struct lsm *lsm)
{
    if (LIKELY(!atomic_load_explicit(&lsm->writer->is_unsaved, memory_order_relaxed)))
        return SOMBRA_OK;
    return diag_wrap(lsm_log_begin(lsm), "what a full disk had when it was opened may be lost");
}

/* ---- KV_NORMAL --------------------------------------------------------------------------- */

static uint64_t unsynced_ms(struct lsm *lsm)
{
    uint64_t last_ns = atomic_load(&lsm->writer->last_sync_ns);
    uint64_t now_ns = os_coarse_ns(lsm->os);
    return now_ns > last_ns ? (now_ns - last_ns) / 1000000 : 0;
}

sombra_err lsm_sync_due(struct lsm *lsm, uint64_t *out_wait_ms)
{
    uint64_t seq = atomic_load(&lsm->writer->normal_seq);
    if (seq <= atomic_load(&lsm->durable_seq) || atomic_load(&lsm->is_failed)) {
        *out_wait_ms = UINT64_MAX;
        return SOMBRA_OK;
    }
    uint64_t since_ms = unsynced_ms(lsm);
    if (since_ms < lsm->options.sync_interval_ms) {
        *out_wait_ms = lsm->options.sync_interval_ms - since_ms;
        return SOMBRA_OK;
    }
    sombra_err err = lsm_commit_sync(lsm, seq);
    if (!err)
        *out_wait_ms = atomic_load(&lsm->writer->normal_seq) <= atomic_load(&lsm->durable_seq)
                           ? UINT64_MAX
                           : lsm->options.sync_interval_ms;
    return err;
}

/* ---- marks ------------------------------------------------------------------------------- */

/* By who has the turn. */
static sombra_err mark_append(struct lsm *lsm)
{
    struct lsm_log *log = lsm->writer->log;
    assert(log);
    atomic_store(&lsm->writer->mark_wanted, false); /* first: what is synced later asks again */
    uint64_t durable_seq = atomic_load(&lsm->durable_seq);
    sombra_err err = lsm_check_writable(lsm);
    if (err)
        return err;
    err = wal_append_mark(log->wal, atomic_load(&lsm->seq), durable_seq);
    if (err && wal_has_failed(log->wal))
        return lsm_fail(lsm, diag_wrap(err, "mark the log"));
    atomic_store_explicit(&log->bytes, wal_file_bytes(log->wal), memory_order_relaxed);
    return SOMBRA_OK; /* on a full disk there is no mark */
}

sombra_err lsm_mark_due(struct lsm *lsm, uint64_t *out_wait_ms)
{
    enum { MARK_IDLE_MS = 1000 };
    *out_wait_ms = UINT64_MAX;
    if (!atomic_load(&lsm->writer->mark_wanted) || atomic_load(&lsm->is_failed))
        return SOMBRA_OK;
    uint64_t idle_ms = unsynced_ms(lsm);
    if (idle_ms < MARK_IDLE_MS) {
        *out_wait_ms = MARK_IDLE_MS - idle_ms;
        return SOMBRA_OK;
    }
    sombra_err err = lsm_turn_take(lsm, 0);
    if (err) {
        *out_wait_ms = MARK_IDLE_MS; /* a writer is at work: its record will say it */
        return err == SOMBRA_BUSY ? SOMBRA_OK : err;
    }
    err = mark_append(lsm);
    lsm_turn_give(lsm);
    return err;
}

static sombra_err normal_note(struct lsm *lsm, uint64_t seq)
{
    struct lsm_writer *writer = lsm->writer;
    uint64_t before = atomic_load(&writer->normal_seq);
    while (before < seq && !atomic_compare_exchange_weak(&writer->normal_seq, &before, seq))
        ;
    if (lsm->options.no_background)
        return unsynced_ms(lsm) >= lsm->options.sync_interval_ms ? lsm_commit_sync(lsm, seq)
                                                                 : SOMBRA_OK;
    if (before <= atomic_load(&lsm->durable_seq))
        lsm_background_wake(lsm); /* it had nothing to sync */
    return SOMBRA_OK;
}

/* ---- commit ------------------------------------------------------------------------------ */

/* Step 5. */
static sombra_err durability_wait(struct lsm *lsm, uint64_t seq, enum kv_durability durability)
{
    if (atomic_load(&lsm->durable_seq) >= seq)
        return SOMBRA_OK;
    switch (durability) {
    case KV_DURABILITY_STORE:
    case KV_FULL:
        return lsm_commit_sync(lsm, seq);
    case KV_GROUP:
        os_sleep_us(lsm->os, lsm->options.group_wait_us);
        return lsm_commit_sync(lsm, seq);
    case KV_NORMAL:
        return normal_note(lsm, seq);
    case KV_OFF:
        break;
    }
    return SOMBRA_OK;
}

/* Steps 1 and 2. */
static sombra_err record_append(struct lsm *lsm, const struct lsm_txn *txn, bool syncs_soon)
{
    /* The need is bounded by what a record holds, and one memtable's records by its own bound. */
    enum { LOG_BYTES_MAX_SHIFT = 48 };
    assert(!txn->write->is_unlogged);
    const struct buf *redo = &txn->write->redo;
    sombra_err err = SOMBRA_OK;
    if (UNLIKELY(!lsm->writer->log))
        err = lsm_log_begin(lsm);
    if (err)
        return err;
    struct lsm_log *log = lsm->writer->log;
    if (log->can_map)
        err = wal_use_window(log->wal, !syncs_soon);
    if (err == SOMBRA_UNSUPPORTED) {
        log->can_map = false; /* appends are writes, the bytes are the same */
        err = SOMBRA_OK;
    }
    if (!err)
        err = wal_reserve(log->wal, redo->bytes, UINT64_C(1) << LOG_BYTES_MAX_SHIFT);
    if (err)
        return wal_has_failed(log->wal) ? lsm_fail(lsm, err) : err;
    atomic_store_explicit(&log->bytes, wal_file_bytes(log->wal), memory_order_relaxed);
    struct os_iovec part = { redo->data, redo->bytes };
    uint64_t from = wal_position(log->wal).offset;
    err = wal_append(log->wal, txn->seq, atomic_load(&lsm->durable_seq), &part, 1);
    if (err)
        return lsm_fail(lsm, diag_wrap(err, "append to the log, outcome unknown"));
    kv_metrics_add(&lsm->metrics, KV_COUNTER_LOG_BYTES, wal_position(log->wal).offset - from);
    if (UNLIKELY(cache_is_short(lsm->cache)))
        wal_let_go(log->wal);
    return SOMBRA_OK;
}

static void commit_count(struct lsm *lsm, const struct lsm_write *write)
{
    kv_metrics_add(&lsm->metrics, KV_COUNTER_COMMITS, 1);
    kv_metrics_add(&lsm->metrics, KV_COUNTER_COMMIT_BYTES, write->given_bytes);
}

/* Nothing was written, or a write broke off. */
static sombra_err commit_nothing(struct lsm_txn *txn, enum kv_durability durability)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    uint64_t seq = txn->seq - 1;
    sombra_err err = SOMBRA_OK;
    if (txn->is_failed)
        err = diag_fail(SOMBRA_INVALID,
                        "nothing was committed: a write of this transaction failed in the middle");
    lsm_txn_undo(txn);
    /* An empty commit still promises that what it read is as durable as it says. */
    if (!err && (durability == KV_FULL || durability == KV_GROUP))
        err = lsm_opened_save(lsm);
    lsm_txn_end_write(txn);
    return err ? err : durability_wait(lsm, seq, durability);
}

sombra_err lsm_commit_write(struct lsm_txn *txn, enum kv_durability durability)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    if (durability == KV_DURABILITY_STORE)
        durability = lsm->options.durability;
    const struct lsm_write *write = txn->write;
    if (txn->is_failed || lsm_write_is_empty(txn))
        return commit_nothing(txn, durability);
    bool is_durable = durability == KV_FULL || durability == KV_GROUP;
    uint64_t begun_ns = is_durable ? os_monotonic_ns(lsm->os) : 0;
    uint64_t seq = txn->seq;
    sombra_err err = lsm_check_writable(lsm);
    if (!err)
        err = write->is_unlogged ? lsm_memtable_commit(lsm, seq)
                                 : record_append(lsm, txn, is_durable);
    if (err) {
        lsm_txn_undo(txn);
        lsm_txn_end_write(txn);
        return err;
    }
    if (LIKELY(!write->is_unlogged)) {
        memtable_settle(lsm->writer->active);
        assert(atomic_load(&lsm->seq) == seq - 1);
        atomic_store_explicit(&lsm->seq, seq, memory_order_release);
    }
    commit_count(lsm, write);
    lsm_txn_end_commit(txn);
    err = durability_wait(lsm, seq, durability);
    if (!err && is_durable)
        kv_metrics_time(&lsm->metrics, KV_HISTOGRAM_COMMIT_NS, os_monotonic_ns(lsm->os) - begun_ns);
    return err;
}
