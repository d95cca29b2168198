/* SPDX-License-Identifier: MIT */
/* Checkpoints: the newest commit becomes the durable tree of the file, and the log before it
 * history.
 *
 *   under the writer's turn, for microseconds:
 *     1 take pages for the changed space maps          (fails cleanly)
 *     2 append a record of that, publish it            (this is C)
 *     3 pin C, build the maps
 *     4 switch the halves of the log: what follows C is in the next epoch
 *   outside it:
 *     5 seal the pages of C that no checkpoint had     (checksums)
 *     6 write the maps, sync the file
 *     7 write the meta record that is not the durable one, sync
 *     8 C is the durable checkpoint; the old one is no longer pinned
 *
 * A transaction too big for the log commits the same way, holding the turn throughout, unpublished
 * until step 8, and without a record: its log sequence number is covered by the meta. A failure
 * from step 2 on poisons the store: the old checkpoint and the log still hold everything.
 */
#include "btree_internal.h"

struct checkpoint {
    struct btree *btree;
    struct meta meta;        /* to be written */
    struct space_image maps; /* to be written */
    struct wal_position log; /* where the log of what follows begins */
    unsigned log_half;
    bool is_clean; /* no log belongs to it */
    bool closes;   /* nothing follows it: the free end of the file is cut off */
};

/* ---- sealing ----------------------------------------------------------------------------- */

/* Seals the tree's pages newer than `durable_txn`; older subtrees were sealed by older checkpoints,
 * for a child is never newer than its parent. */
static sombra_err tree_seal(struct btree *btree, page_id id, unsigned level, uint64_t durable_txn)
{
    struct pager *pager = &btree->pager;
    const uint8_t *page = pager_page(pager, id);
    if (page_txn(page) <= durable_txn)
        return SOMBRA_OK;
    assert(page_number(page) == id && page_level(page) == level);
    for (unsigned i = 0; level && i < page_count(page); i++) {
        sombra_err err =
            tree_seal(btree, branch_child(page, pager->page_bytes, i), level - 1, durable_txn);
        if (err)
            return err;
    }
    if (!pager->is_buffered) /* else it was sealed when it was written */
        page_seal(pager_writable(pager, id), pager->page_bytes);
    return SOMBRA_OK;
}

/* The images are written by os_write: what the writer prepared for these pages is not needed. */
static void maps_unprepare(struct checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->maps.count; i++)
        pager_dirty_drop(&checkpoint->btree->pager, checkpoint->maps.ids[i]);
}

/* ---- steps ------------------------------------------------------------------------------- */

static void meta_fill(struct checkpoint *checkpoint, const struct snapshot *snapshot)
{
    struct btree *btree = checkpoint->btree;
    struct meta *meta = &checkpoint->meta;
    *meta = btree->meta;
    meta->sequence++;
    meta->snapshot = *snapshot;
    meta->space_directory = checkpoint->maps.directory_count ? checkpoint->maps.ids[0] : 0;
    meta->pages_free =
        space_unused_below(&btree->space, meta->snapshot.page_count) - btree->space.pending_count;
    meta->pages_pending = btree->space.pending_count;
    if (checkpoint->closes) {
        /* Nobody reads: what is pending is free once this meta is durable, and the free end is cut
         * off. */
        meta->snapshot.page_count = space_trimmed_count(&btree->space);
        meta->pages_free = space_unused_below(&btree->space, meta->snapshot.page_count);
        meta->pages_pending = 0;
    }
    meta->log_state = checkpoint->is_clean ? META_LOG_CLEAN : META_LOG_IN_USE;
    meta->log = checkpoint->log;
    meta->log_half = checkpoint->log_half;
}

static sombra_err maps_write(struct checkpoint *checkpoint)
{
    struct pager *pager = &checkpoint->btree->pager;
    const struct space_image *maps = &checkpoint->maps;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < maps->count && !err; i++)
        err = os_write(pager->file, maps->ids[i] << pager->page_shift,
                       maps->images + i * pager->page_bytes, pager->page_bytes);
    return diag_wrap(err, "write the space maps");
}

/* Steps 5 to 8. */
static sombra_err make_durable(struct checkpoint *checkpoint)
{
    struct btree *btree = checkpoint->btree;
    struct meta *meta = &checkpoint->meta;
    const struct snapshot *snapshot = &meta->snapshot;
    sombra_err err = SOMBRA_OK;
    if (snapshot->root)
        err = tree_seal(btree, snapshot->root, (unsigned)snapshot->depth - 1,
                        btree->meta.snapshot.txn);
    if (!err)
        err = maps_write(checkpoint);
    if (!err)
        err = os_sync(btree->file);
    unsigned slot = 1 - btree->meta_slot;
    if (!err)
        err = meta_write(btree->file, slot, meta);
    if (!err)
        err = os_sync(btree->file);
    if (!err && checkpoint->closes) {
        /* Both records say the same: damage to either is survived. */
        meta->sequence++;
        err = meta_write(btree->file, 1 - slot, meta);
        if (!err)
            err = os_sync(btree->file);
        slot = 1 - slot;
    }
    if (err) {
        head_poison(btree->head);
        return diag_wrap(err, "checkpoint");
    }
    btree->meta = *meta;
    btree->meta_slot = slot;
    atomic_store(&btree->head->pinned_meta, snapshot->txn);
    atomic_store(&btree->head->pinned_intent, 0);
    atomic_store_explicit(&btree->pager.durable_txn, snapshot->txn, memory_order_relaxed);
    logs_raise_durable(&btree->logs, snapshot->lsn);
    atomic_fetch_add_explicit(&btree->checkpoints, 1, memory_order_relaxed);
    return SOMBRA_OK;
}

/* Step 4. */
static sombra_err log_begin(struct checkpoint *checkpoint)
{
    struct logs *logs = &checkpoint->btree->logs;
    sombra_err err = logs_switch(logs);
    checkpoint->log = logs_position(logs);
    checkpoint->log_half = logs->active;
    return err;
}

/* Steps 1 to 4, as a write transaction that changes nothing but the page account. */
static sombra_err pin_newest(struct btree_txn *txn, struct checkpoint *checkpoint)
{
    struct btree *btree = checkpoint->btree;
    sombra_err err = space_plan(&btree->space, txn->stamp, &checkpoint->maps);
    if (!err)
        err = space_commit_reserve(&btree->space);
    if (!err)
        err = redo_head(txn);
    if (!err)
        err = logs_reserve(&btree->logs, txn->record.bytes, true);
    uint64_t lsn = txn->snapshot.lsn + 1;
    if (!err) {
        struct os_iovec part = { txn->record.data, txn->record.bytes };
        err = logs_append(&btree->logs, lsn, &part, 1);
    }
    if (err) {
        txn_undo_all(txn);
        return err;
    }
    txn_publish(txn, lsn);
    atomic_store(&btree->head->pinned_intent, txn->stamp);
    space_build(&btree->space, txn->stamp, &checkpoint->maps);
    maps_unprepare(checkpoint);
    err = log_begin(checkpoint);
    meta_fill(checkpoint, &txn->snapshot);
    return err;
}

/* ---- one at a time ----------------------------------------------------------------------- */

static void checkpoint_slot_enter(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    while (btree->checkpoint_runs)
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, UINT64_MAX);
    btree->checkpoint_runs = true;
    os_mutex_unlock(&btree->checkpoint_mutex);
}

static void checkpoint_slot_leave(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->checkpoint_runs = false;
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

/* The turn first, then the slot: who holds the slot needs no turn any more to finish. */
static sombra_err both_enter(struct btree *btree, bool is_brief)
{
    for (;;) {
        os_mutex_lock(&btree->checkpoint_mutex);
        while (btree->checkpoint_runs)
            (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex,
                                    UINT64_MAX);
        os_mutex_unlock(&btree->checkpoint_mutex);
        sombra_err err = is_brief ? gate_enter_brief(btree) : gate_enter(btree, UINT64_MAX);
        if (err)
            return err;
        os_mutex_lock(&btree->checkpoint_mutex);
        bool is_mine = !btree->checkpoint_runs;
        if (is_mine)
            btree->checkpoint_runs = true;
        os_mutex_unlock(&btree->checkpoint_mutex);
        if (is_mine)
            return SOMBRA_OK;
        gate_leave(btree);
    }
}

sombra_err checkpoint_pause(struct btree *btree)
{
    return both_enter(btree, false);
}

void checkpoint_resume(struct btree *btree)
{
    gate_leave(btree);
    checkpoint_slot_leave(btree);
}

sombra_err checkpoint_run(struct btree *btree, bool closes)
{
    if (!btree->file || btree->options.is_readonly)
        return SOMBRA_OK;
    sombra_err err = both_enter(btree, true);
    if (err)
        return diag_wrap(err, "checkpoint");
    struct checkpoint checkpoint = { .btree = btree, .is_clean = closes, .closes = closes };
    struct btree_txn *txn = NULL;
    struct snapshot newest;
    head_newest(btree->head, &newest);
    /* Nothing to do, unless a log is to be closed. */
    bool is_idle = newest.lsn == btree->meta.snapshot.lsn && !(closes && btree->is_prepared);
    if (!is_idle)
        err = txn_start_write(btree, &txn);
    if (!is_idle && !err)
        err = pin_newest(txn, &checkpoint);
    if (txn)
        txn_end_write(txn);
    else
        gate_leave(btree);
    if (!is_idle && !err)
        err = make_durable(&checkpoint);
    space_image_release(&checkpoint.maps);
    checkpoint_slot_leave(btree);
    return err;
}

/* Steps 3 to 8 of a transaction without a record. */
static sombra_err commit_unlogged(struct btree_txn *txn, struct checkpoint *checkpoint)
{
    struct btree *btree = txn->btree;
    struct snapshot snapshot = txn->snapshot;
    snapshot.txn = txn->stamp;
    snapshot.lsn++;
    snapshot.page_count = btree->space.page_count;
    atomic_store(&btree->head->pinned_intent, txn->stamp);
    space_commit(&btree->space, txn->stamp);
    space_build(&btree->space, txn->stamp, &checkpoint->maps);
    maps_unprepare(checkpoint);
    meta_fill(checkpoint, &snapshot);
    sombra_err err = make_durable(checkpoint);
    if (err)
        return err;
    txn->snapshot = snapshot;
    logs_cover(&btree->logs, snapshot.lsn);
    head_publish(btree->head, &snapshot);
    account_publish(btree);
    return SOMBRA_OK;
}

sombra_err checkpoint_commit(struct btree_txn *txn)
{
    struct btree *btree = txn->btree;
    struct checkpoint checkpoint = { .btree = btree };
    checkpoint_slot_enter(btree);
    sombra_err err = space_plan(&btree->space, txn->stamp, &checkpoint.maps);
    if (!err)
        err = space_commit_reserve(&btree->space);
    if (!err)
        err = pager_dirty_flush(&btree->pager);
    if (!err && !txn->is_replay)
        err = log_begin(&checkpoint);
    /* What recovery replayed is in the tree, and its logs are history once the meta is durable. */
    if (!err && txn->is_replay) {
        checkpoint.is_clean = true;
        checkpoint.log = (struct wal_position){ .epoch = btree->meta.log.epoch + 1 };
    }
    if (!err)
        err = commit_unlogged(txn, &checkpoint);
    space_image_release(&checkpoint.maps);
    checkpoint_slot_leave(btree);
    return err;
}

/* ---- when -------------------------------------------------------------------------------- */

void checkpoint_consider(struct btree *btree, uint64_t active_bytes)
{
    uint64_t limit = btree->options.checkpoint_log_bytes;
    if (LIKELY(active_bytes < limit))
        return;
    /* The commit is done and acknowledged. A checkpoint that fails has poisoned the store, and
     * every later write says so. Without a thread for it, or when that falls behind, the commit
     * that notices does the work. */
    if (!btree->has_background || active_bytes >= 2 * limit) {
        sombra_err err = checkpoint_run(btree, false);
        (void)err;
        return;
    }
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->checkpoint_wanted = true;
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

void background_want_sync(struct btree *btree, uint64_t lsn)
{
    /* Only the first commit of an interval wakes the thread. */
    if (atomic_exchange(&btree->normal_lsn, lsn) != 0)
        return;
    os_mutex_lock(&btree->checkpoint_mutex);
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

/* Under checkpoint_mutex: sleeps until there is work or the end. */
static void background_wait(struct btree *btree)
{
    while (!btree->background_stops && !btree->checkpoint_wanted &&
           !atomic_load(&btree->normal_lsn))
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, UINT64_MAX);
    if (!btree->background_stops && !btree->checkpoint_wanted)
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex,
                                btree->options.sync_interval_ms);
}

/* The store's own thread: syncs what normal commits left unsynced, and runs the checkpoints. It
 * never holds the writer's turn but inside a checkpoint. A failure poisons the store: the next
 * write reports it. */
static void *background_main(void *argument)
{
    struct btree *btree = argument;
    os_mutex_lock(&btree->checkpoint_mutex);
    for (;;) {
        background_wait(btree);
        if (btree->background_stops)
            break;
        bool wants_checkpoint = btree->checkpoint_wanted;
        btree->checkpoint_wanted = false;
        os_mutex_unlock(&btree->checkpoint_mutex);
        uint64_t lsn = atomic_exchange(&btree->normal_lsn, 0);
        sombra_err err = lsn ? logs_sync(&btree->logs, lsn) : SOMBRA_OK;
        if (!err && wants_checkpoint)
            err = checkpoint_run(btree, false);
        (void)err;
        os_mutex_lock(&btree->checkpoint_mutex);
    }
    os_mutex_unlock(&btree->checkpoint_mutex);
    return NULL;
}

sombra_err background_start(struct btree *btree)
{
    if (!btree->file || btree->options.no_background || btree->has_background)
        return SOMBRA_OK;
    sombra_err err = os_thread_start(&btree->background, background_main, btree);
    if (!err)
        btree->has_background = true;
    return diag_wrap(err, "start the background thread");
}

void background_stop(struct btree *btree)
{
    if (!btree->has_background)
        return;
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->background_stops = true;
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
    os_thread_join(&btree->background);
    btree->has_background = false;
    btree->background_stops = false;
}
