/* SPDX-License-Identifier: MIT */
/* Transactions: begin, commit, abort, savepoints.
 *
 * The order of a logged commit (any failure before step 4 is an ordinary error and rolls back; a
 * failure at or after it poisons the store, for the record may or may not be in the log):
 *
 *   1 reserve: the page account's arrays, the record's head, the space of the record in the log
 *   2 write the pages (only where stores are not mapped), unsynced
 *   3 (nothing may fail cleanly any more)
 *   4 append the record
 *   5 publish the head
 *   6 give the writer's turn away
 *   7 sync the log, as the durability says
 *
 * A transaction of puts, or of deletes, may skip 2, and change pages that are in use between 4
 * and 5 (edit.c, edit_many.c).
 *
 * A savepoint is a sub-transaction number: the stamp rises, so that pages written before are copied
 * and not changed, and rolling back is to take up the old root and undo the page account.
 */
#include "upkeep.h"
#include "edit.h"

static void transaction_leave(struct btree *btree)
{
    atomic_fetch_sub(&btree->transactions_open, 1);
}

/* ---- begin ------------------------------------------------------------------------------- */

static sombra_err settle(struct btree_txn *txn)
{
    sombra_err err = txn->care & TXN_HELD   ? tree_held_settle(txn)
                     : txn->care & TXN_MANY ? edit_many_break_off(txn)
                                            : SOMBRA_OK;
    return err ? err : tree_defer_settle(txn);
}

sombra_err txn_attend(struct btree_txn *txn)
{
    if (atomic_load(&txn->btree->is_forked))
        return diag_fail(SOMBRA_INVALID,
                         "%s was opened before fork(): the child must open it again",
                         txn->btree->path ? txn->btree->path : BTREE_MEMORY);
    if (txn->care & TXN_FAILED)
        return diag_fail(SOMBRA_INVALID,
                         "an earlier write of this transaction failed in the middle: "
                         "abort it or roll back to a savepoint");
    return settle(txn);
}

void btree_txn_free(struct btree_txn *txn)
{
    if (!txn)
        return;
    cursors_free_spare(txn);
    buf_release(&txn->redo);
    buf_release(&txn->record);
    buf_release(&txn->lent);
    tree_defer_release(txn);
    edit_many_release(txn);
    mem_free(txn->savepoints);
    mem_free(txn);
}

/* The slot is this thread's. */
static sombra_err reader_new(struct btree *btree, unsigned slot, struct btree_txn **out_txn)
{
    struct btree_txn *txn = mem_zalloc(sizeof *txn);
    if (!txn)
        return diag_nomem("a transaction", sizeof *txn);
    /* Values stand in pages of the snapshot, which nobody writes to while it is pinned. */
    txn->kv = (struct kv_txn){ .ops = &btree_ops, .kv = &btree->kv, .keeps_values = true };
    txn->btree = btree;
    txn->slot = slot;
    btree->readers[slot] = txn;
    atomic_fetch_add_explicit(&btree->reader_count, 1, memory_order_relaxed);
    *out_txn = txn;
    return SOMBRA_OK;
}

static sombra_err begin_read(struct btree *btree, const struct kv_begin_options *options,
                             struct kv_txn **out_txn)
{
    /* A checkpoint seals its own tree: a page that this snapshot has and a later checkpoint has not
     * stays as it is. So the one that counts is that before the snapshot. */
    uint64_t sealed_txn = atomic_load(&btree->head->pinned_meta);
    struct snapshot snapshot;
    unsigned slot;
    sombra_err err = head_pin(btree, os_coarse_ns(btree->os), &slot, &snapshot);
    if (err)
        return err;
    struct btree_txn *txn = btree->readers[slot];
    if (UNLIKELY(!txn))
        err = reader_new(btree, slot, &txn);
    if (!err && options->needs_durable && btree->file)
        err = logs_sync(&btree->logs, snapshot.lsn);
    if (err) {
        head_unpin(btree->head, slot);
        return err;
    }
    txn->snapshot = snapshot;
    txn->kv.version = snapshot.txn;
    txn->newest_page_txn = txn->snapshot.txn;
    /* A commit that is a checkpoint is durable a moment before it is published. */
    txn->sealed_txn = sealed_txn <= txn->snapshot.txn ? sealed_txn : 0;
    *out_txn = &txn->kv;
    return SOMBRA_OK;
}

static void stamp_next(struct btree_txn *txn)
{
    /* Only who has the turn changes it. */
    _Atomic uint64_t *next_txn = &txn->btree->head->next_txn;
    txn->stamp = atomic_load_explicit(next_txn, memory_order_relaxed);
    atomic_store_explicit(next_txn, txn->stamp + 1, memory_order_relaxed);
    txn->newest_page_txn = txn->stamp;
}

sombra_err txn_start_write(struct btree *btree, owner_word dead, struct btree_txn **out_txn)
{
    sombra_err err = head_check_writable(btree->head);
    struct snapshot newest;
    if (!err)
        err = turn_take(btree, dead, &newest);
    if (err)
        return err;
    struct btree_txn *txn = btree->writer;
    assert(btree->space.change_count == 0 && txn->savepoint_count == 0);
    memory_settle_writes(btree, &newest);
    btree->space.expected_changes = 0;
    txn->kv = (struct kv_txn){ .ops = &btree_ops, .kv = &btree->kv, .is_write = true };
    txn->btree = btree;
    txn->snapshot = newest;
    txn->sealed_txn = atomic_load(&btree->head->pinned_meta);
    btree->edits.writes_last = txn->generation; /* each has raised it */
    txn->generation = txn->given_bytes = 0;
    txn->is_changed = txn->is_replay = false;
    txn->is_bypass = btree->is_beside;
    txn->care = 0;
    tree_defer_forget(txn);
    edit_many_forget(txn);
    txn->many.state = MANY_NEW;
    buf_reset(&txn->redo);
    stamp_next(txn);
    *out_txn = txn;
    return SOMBRA_OK;
}

static sombra_err begin_write(struct btree *btree, const struct kv_begin_options *options,
                              struct kv_txn **out_txn)
{
    if (btree->options.is_readonly)
        return diag_fail(SOMBRA_READONLY, "%s was opened read-only", btree->path);
    owner_word dead;
    struct kv_wait wait = kv_wait_of_txn(options);
    const struct gate_wish wish = { .timeout_ms = options->busy_timeout_ms, .wait = &wait };
    sombra_err err = gate_enter_as(btree, &wish, &dead);
    if (err)
        return err;
    struct btree_txn *txn;
    err = turn_begin_beside(btree, dead);
    if (!err)
        err = txn_start_write(btree, dead, &txn);
    if (err) {
        turn_end_beside(btree);
        gate_leave(btree);
        return err;
    }
    if (options->needs_durable && btree->file)
        err = logs_sync(&btree->logs, txn->snapshot.lsn);
    if (err) {
        txn_end_write(txn);
        return err;
    }
    *out_txn = &txn->kv;
    return SOMBRA_OK;
}

sombra_err btree_begin(struct kv *kv, const struct kv_begin_options *options,
                       struct kv_txn **out_txn)
{
    struct btree *btree = btree_of(kv);
    if (UNLIKELY(atomic_load_explicit(&btree->is_forked, memory_order_relaxed)))
        return diag_fail(SOMBRA_INVALID,
                         "%s was opened before fork(): the child must open it again",
                         btree->path ? btree->path : BTREE_MEMORY);
    /* Counted from the first step to the last, so that close never frees a store in use. */
    atomic_fetch_add(&btree->transactions_open, 1);
    if (UNLIKELY(atomic_load_explicit(&btree->background_after, memory_order_relaxed)))
        background_approach(btree);
    sombra_err err = options->is_write ? begin_write(btree, options, out_txn)
                                       : begin_read(btree, options, out_txn);
    if (err)
        transaction_leave(btree);
    return err;
}

/* ---- end --------------------------------------------------------------------------------- */

void txn_undo_all(struct btree_txn *txn)
{
    space_undo(&txn->btree->space, 0);
}

void txn_end_write(struct btree_txn *txn)
{
    enum { REDO_KEEP_BYTES = 1 << 20 };
    assert(txn->btree->space.change_count == 0);
    txn->savepoint_count = 0;
    if (txn->redo.capacity > REDO_KEEP_BYTES)
        buf_release(&txn->redo);
    turn_end_beside(txn->btree);
    gate_leave(txn->btree);
}

static sombra_err end_read(struct btree_txn *txn)
{
    struct btree *btree = txn->btree;
    unsigned slot = txn->slot;
    assert(btree->readers[slot] == txn && txn->open_cursors == 0);
    /* In a child of fork() the slot is the parent's. */
    if (!atomic_load_explicit(&btree->is_forked, memory_order_relaxed)) {
        if (UNLIKELY(atomic_load_explicit(&btree->reader_count, memory_order_relaxed) >
                     READERS_KEPT_MAX)) {
            btree->readers[slot] = NULL;
            atomic_fetch_sub_explicit(&btree->reader_count, 1, memory_order_relaxed);
            btree_txn_free(txn);
        }
        head_unpin(btree->head, slot);
    }
    transaction_leave(btree);
    return SOMBRA_OK;
}

void btree_abort(struct kv_txn *kv_txn)
{
    struct btree_txn *txn = txn_of(kv_txn);
    struct btree *btree = txn->btree;
    if (!kv_txn->is_write) {
        (void)end_read(txn);
        return;
    }
    if (!atomic_load(&btree->is_forked)) {
        txn_undo_all(txn);
        txn_end_write(txn);
    }
    transaction_leave(btree);
}

/* The account of this process is that of the snapshot. */
void account_note(struct btree *btree, const struct snapshot *snapshot)
{
    uint64_t free = btree->space.free_count + btree->space.reserve_count;
    uint64_t pending = btree->space.pending_count;
    atomic_store_explicit(&btree->pages_free, free, memory_order_relaxed);
    atomic_store_explicit(&btree->pages_pending, pending, memory_order_relaxed);
    atomic_store_explicit(&btree->pages_used, snapshot->page_count - free - pending,
                          memory_order_relaxed);
    btree->space.lsn = snapshot->lsn;
    btree->space.noted_count = snapshot->page_count;
    btree->space.log = snapshot_position(snapshot);
    btree->space.log_half = snapshot_half(snapshot);
}

void account_publish(struct btree *btree, const struct snapshot *snapshot)
{
    account_note(btree, snapshot);
    head_publish(btree->head, snapshot);
    btree->newest = *snapshot;
    btree->newest_sequence = atomic_load_explicit(&btree->head->sequence, memory_order_relaxed);
}

void txn_publish(struct btree_txn *txn, uint64_t lsn)
{
    struct btree *btree = txn->btree;
    memory_forget_freed(btree);
    filters_publish(&btree->pager, txn->stamp);
    space_commit(&btree->space, txn->stamp);
    txn->snapshot.txn = txn->stamp;
    txn->snapshot.lsn = lsn;
    txn->snapshot.page_count = btree->space.page_count;
    if (btree->file)
        snapshot_set_position(&txn->snapshot, logs_position(&btree->logs), btree->logs.active);
    account_publish(btree, &txn->snapshot);
}

sombra_err txn_append(struct btree_txn *txn, uint64_t lsn)
{
    struct os_iovec parts[] = { { txn->record.data, txn->record.bytes },
                                { txn->redo.data, txn->redo.bytes } };
    return logs_append(&txn->btree->logs, lsn, parts, txn->redo.bytes ? 2 : 1);
}

sombra_err txn_reserve(struct btree_txn *txn, bool syncs_soon)
{
    struct btree *btree = txn->btree;
    sombra_err err = space_commit_reserve(&btree->space);
    if (!err && btree->file)
        err = redo_head(txn);
    if (!err && btree->file)
        err = logs_reserve(&btree->logs, txn->record.bytes + txn->redo.bytes, syncs_soon);
    return err;
}

/* Steps 1 to 5. */
sombra_err txn_commit_logged(struct btree_txn *txn, bool syncs_soon)
{
    struct btree *btree = txn->btree;
    uint64_t lsn = txn->snapshot.lsn + 1;
    sombra_err err = txn_reserve(txn, syncs_soon);
    if (!err && btree->file)
        err = pager_dirty_flush(&btree->pager);
    if (!err && btree->file)
        err = txn_append(txn, lsn);
    if (!err)
        txn_publish(txn, lsn);
    return err;
}

/* A transaction of puts, or of deletes, may be able to change the pages where they are. */
static sombra_err commit_record(struct btree_txn *txn, bool syncs_soon)
{
    bool is_done = false;
    sombra_err err = SOMBRA_OK;
    if (txn->care & TXN_HELD) {
        /* A sync is so much longer than a copy that readers need not wait for an append to it. */
        if (!syncs_soon)
            err = edit_commit(txn, &is_done);
        if (!err && !is_done)
            err = tree_held_settle(txn);
    } else if (txn->care & TXN_MANY) {
        err = syncs_soon ? edit_many_break_off(txn) : edit_many_commit(txn, &is_done);
        if (!err && !is_done)
            err = edit_many_settle(txn);
    }
    return err || is_done ? err : txn_commit_logged(txn, syncs_soon);
}

/* Step 7. */
static sombra_err commit_sync(struct btree *btree, uint64_t lsn, enum kv_durability durability)
{
    if (!btree->file || atomic_load(&btree->head->durable_lsn) >= lsn)
        return SOMBRA_OK;
    switch (durability) {
    case KV_DURABILITY_STORE:
    case KV_FULL:
        return logs_sync(&btree->logs, lsn);
    case KV_GROUP:
        os_sleep_us(btree->os, btree->options.group_wait_us);
        return logs_sync(&btree->logs, lsn);
    case KV_NORMAL: {
        if (UNLIKELY(shared_beside_threadless(btree)))
            return logs_sync(&btree->logs, lsn);
        if (atomic_load(&btree->has_background)) {
            background_want_sync(btree, lsn);
            return SOMBRA_OK;
        }
        (void)shared_note_normal(btree, lsn);
        uint64_t since_ns = os_monotonic_ns(btree->os) - btree->logs.last_sync_ns;
        return since_ns / 1000000 >= btree->options.sync_interval_ms ? logs_sync(&btree->logs, lsn)
                                                                     : SOMBRA_OK;
    }
    case KV_OFF:
        break;
    }
    return SOMBRA_OK;
}

/* With the turn: no two threads do it at once. */
static void commit_count(struct btree_txn *txn)
{
    struct kv_metrics *metrics = &txn->btree->metrics;
    kv_metrics_add_alone(metrics, KV_COUNTER_COMMITS, 1);
    kv_metrics_add_alone(metrics, KV_COUNTER_COMMIT_BYTES, txn->given_bytes);
}

static sombra_err commit_write(struct btree_txn *txn, enum kv_durability durability)
{
    struct btree *btree = txn->btree;
    if (durability == KV_DURABILITY_STORE)
        durability = btree->options.durability;
    /* Commits that wait for a sync are timed; the others are too short to look at the clock twice.
     */
    bool is_timed = btree->file && (durability == KV_FULL || durability == KV_GROUP);
    uint64_t begin_ns = is_timed ? os_monotonic_ns(btree->os) : 0;
    sombra_err err = txn->care == TXN_DEFERRED ? tree_defer_settle(txn) : SOMBRA_OK;
    if (!err && txn->care & TXN_FAILED)
        err = diag_fail(SOMBRA_INVALID,
                        "nothing was committed: a write of this transaction failed in the middle");
    if (err || !txn->is_changed) {
        txn_undo_all(txn);
        uint64_t lsn = txn->snapshot.lsn;
        txn_end_write(txn);
        /* An empty commit still promises that what it read is as durable as it says. */
        return err ? err : commit_sync(btree, lsn, durability);
    }
    err = head_check_writable(btree->head);
    if (!err)
        err = txn->is_bypass ? checkpoint_commit(txn)
                             : commit_record(txn, durability == KV_FULL || durability == KV_GROUP);
    if (err)
        txn_undo_all(txn);
    else
        commit_count(txn);
    uint64_t lsn = txn->snapshot.lsn;
    bool is_bypass = txn->is_bypass;
    uint64_t active_bytes =
        btree->file && btree->logs.halves[0] ? logs_position(&btree->logs).offset : 0;
    txn_end_write(txn);
    if (err)
        return err;
    if (!is_bypass)
        err = commit_sync(btree, lsn, durability);
    if (!err && is_timed)
        kv_metrics_time(&btree->metrics, KV_HISTOGRAM_COMMIT_NS,
                        os_monotonic_ns(btree->os) - begin_ns);
    if (!err) {
        checkpoint_consider(btree, lsn, active_bytes);
        background_want_mark(btree);
    }
    return err;
}

sombra_err btree_commit(struct kv_txn *kv_txn, enum kv_durability durability)
{
    struct btree_txn *txn = txn_of(kv_txn);
    struct btree *btree = txn->btree;
    if (!kv_txn->is_write)
        return end_read(txn);
    if (UNLIKELY(atomic_load(&btree->is_forked))) {
        sombra_err err = txn_attend(txn);
        transaction_leave(btree);
        return err;
    }
    sombra_err err = commit_write(txn, durability);
    transaction_leave(btree);
    return err;
}

/* ---- savepoints -------------------------------------------------------------------------- */

static sombra_err savepoint_set(struct btree_txn *txn, uint64_t *mark)
{
    if (txn->care & TXN_FAILED)
        return diag_fail(SOMBRA_INVALID,
                         "no savepoint in a transaction whose write failed in the middle");
    sombra_err err = settle(txn);
    if (err)
        return err;
    if (txn->savepoint_count == txn->savepoint_capacity) {
        size_t capacity = txn->savepoint_capacity ? txn->savepoint_capacity * 2 : 8;
        struct savepoint *grown = mem_realloc(txn->savepoints, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("savepoints", capacity * sizeof *grown);
        txn->savepoints = grown;
        txn->savepoint_capacity = capacity;
    }
    txn->savepoints[txn->savepoint_count++] = (struct savepoint){
        .mark = ++txn->next_mark,
        .snapshot = txn->snapshot,
        .change_count = txn->btree->space.change_count,
        .redo_bytes = txn->redo.bytes,
        .is_changed = txn->is_changed,
    };
    stamp_next(txn);
    *mark = txn->next_mark;
    return SOMBRA_OK;
}

static void savepoint_rollback(struct btree_txn *txn, size_t index)
{
    const struct savepoint *point = &txn->savepoints[index];
    txn->savepoint_count = index + 1;
    space_undo(&txn->btree->space, point->change_count);
    txn->snapshot = point->snapshot;
    txn->is_changed = point->is_changed;
    txn->care = 0;
    tree_defer_forget(txn);
    edit_many_forget(txn);
    /* A dropped redo buffer cannot come back: the transaction stays a bypass. */
    redo_rewind(txn, point->redo_bytes);
    txn->generation++;
    stamp_next(txn);
}

sombra_err btree_savepoint(struct kv_txn *kv_txn, enum kv_savepoint_action action, uint64_t *mark)
{
    struct btree_txn *txn = txn_of(kv_txn);
    if (!kv_txn->is_write)
        return diag_fail(SOMBRA_READONLY, "savepoints are for write transactions");
    if (UNLIKELY(atomic_load(&txn->btree->is_forked)))
        return txn_attend(txn);
    if (action == KV_SAVEPOINT_SET)
        return savepoint_set(txn, mark);
    size_t index = txn->savepoint_count;
    while (index > 0 && txn->savepoints[index - 1].mark != *mark)
        index--;
    if (index == 0)
        return diag_fail(SOMBRA_INVALID,
                         "savepoint %" PRIu64 " is not set: it was released, or an outer one was "
                         "rolled back",
                         *mark);
    if (action == KV_SAVEPOINT_ROLLBACK)
        savepoint_rollback(txn, index - 1);
    else
        txn->savepoint_count = index - 1;
    return SOMBRA_OK;
}
