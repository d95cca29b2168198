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
 *     6 write the maps, sync the file, whose pages are taken out of the writer's windows before
 *     7 write the meta record that is not the durable one, sync
 *     8 C is the durable checkpoint; the old one is no longer pinned
 *
 * A transaction too big for the log commits the same way, holding the turn throughout, unpublished
 * until step 8, and without a record: its log sequence number is covered by the meta. So does the
 * first of an open for which no log was made (docs/decisions/0025). A failure
 * from step 2 on poisons the store: the old checkpoint and the log still hold everything.
 */
#include "upkeep.h"

struct checkpoint {
    struct btree *btree;
    struct meta meta;        /* to be written */
    struct space_image maps; /* to be written */
    struct wal_position log; /* where the log of what follows begins */
    unsigned log_half;
    bool is_clean; /* no log belongs to it */
    /* Of the durable tree, in the slot that is not the durable record's: saved with the pages, it
     * is the durable record while the other is overwritten. Only where no record says "in use". */
    struct meta fallback;
    bool has_fallback;
    bool closes; /* nothing follows it: the free end of the file is cut off */
    const struct compact_report *report; /* of the compaction it belongs to; or NULL */
    uint64_t begin_ns;
};

/* ---- sealing ----------------------------------------------------------------------------- */

/* Seals the tree's pages newer than `durable_txn`; older subtrees were sealed by older checkpoints,
 * for a child is never newer than its parent. */
static sombra_err tree_seal(struct btree *btree, page_id id, unsigned level, uint64_t durable_txn)
{
    struct pager *pager = &btree->pager;
    /* Without the bit it would take a look at every child of every changed branch. */
    if (id >= pager->map_bytes >> pager->page_shift || !pager_bit(pager->unsealed, id))
        return SOMBRA_OK;
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
    return pager_seal(pager, id);
}

/* The images are written by os_write: what the writer prepared for these pages is not needed. */
static void maps_unprepare(struct checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->maps.count; i++)
        pager_dirty_drop(&checkpoint->btree->pager, checkpoint->maps.ids[i]);
}

/* ---- steps ------------------------------------------------------------------------------- */

/* What a compaction leaves in the meta record. One that gained little, or whose gain was eaten up
 * by the next commits, asks for more free pages before the next begins of itself; time heals. */
static void compact_fill(struct meta *meta, const struct compact_report *report)
{
    enum { RAISE_PPM = 100000, DECAY_PPM = 10000, MAX_PPM = 950000, GAIN_SHARE = 16 };
    uint64_t count = meta->snapshot.page_count;
    uint32_t watermark = meta->compact_watermark_ppm;
    if (watermark < COMPACT_WATERMARK_PPM)
        watermark = COMPACT_WATERMARK_PPM;
    if (report && report->is_whole) {
        uint64_t before = report->pages_before;
        meta->compact_txn = meta->snapshot.txn;
        meta->compact_moved = report->pages_moved;
        meta->compact_returned = before > count ? before - count : 0;
        bool is_lasting = meta->compact_returned >= before / GAIN_SHARE;
        if (!is_lasting && !report->is_resting && watermark < report->free_before_ppm)
            watermark = report->free_before_ppm;
        if (!report->is_resting)
            watermark = watermark + RAISE_PPM < MAX_PPM ? watermark + RAISE_PPM : MAX_PPM;
    } else if (!report && meta->pages_free * 1000000 / count < COMPACT_WATERMARK_PPM / 2 &&
               watermark > COMPACT_WATERMARK_PPM + DECAY_PPM) {
        watermark -= DECAY_PPM;
    }
    meta->compact_watermark_ppm = watermark;
}

/* Of the meta record that it will write. */
static uint64_t meta_sequence(const struct checkpoint *checkpoint)
{
    const struct meta *before =
        checkpoint->has_fallback ? &checkpoint->fallback : &checkpoint->btree->meta;
    return before->sequence + 1;
}

static void meta_fill(struct checkpoint *checkpoint, const struct snapshot *snapshot)
{
    struct btree *btree = checkpoint->btree;
    struct meta *meta = &checkpoint->meta;
    *meta = btree->meta;
    meta->sequence = meta_sequence(checkpoint);
    btree->space.meta_sequence = meta->sequence;
    meta->snapshot = *snapshot;
    meta->space_directory = checkpoint->maps.directory_count ? checkpoint->maps.ids[0] : 0;
    meta->pages_free = btree->space.free_count + btree->space.reserve_count;
    meta->pages_pending = btree->space.pending_count;
    if (checkpoint->closes) {
        /* Nobody reads: what is pending is free once this meta is durable, and the free end is cut
         * off. */
        meta->snapshot.page_count = space_trimmed_count(&btree->space);
        meta->pages_free = space_unused_below(&btree->space, meta->snapshot.page_count);
        meta->pages_pending = 0;
    }
    compact_fill(meta, checkpoint->report);
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

static void checkpoint_report(const struct checkpoint *checkpoint)
{
    struct btree *btree = checkpoint->btree;
    uint64_t ns = os_monotonic_ns(btree->os) - checkpoint->begin_ns;
    kv_metrics_add(&btree->metrics, KV_COUNTER_CHECKPOINTS, 1);
    kv_metrics_time(&btree->metrics, KV_HISTOGRAM_CHECKPOINT_NS, ns);
    kv_metrics_report(&btree->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_CHECKPOINT,
                                          .duration_ns = ns,
                                          .text = "everything committed before it is durable in "
                                                  "the main file" });
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
    pager_let_go(&btree->pager);
    if (!err)
        err = shared_sync(btree, btree->file);
    /* A failed sync is told once: of a dead process's it was told to whoever settled that, after
     * this checkpoint had begun, or to another one. The pages may be lost. */
    if (!err)
        err = head_check_writable(btree->head);
    if (!err && checkpoint->has_fallback)
        durable_meta_set(btree, &checkpoint->fallback, 1 - btree->meta_slot);
    unsigned slot = 1 - btree->meta_slot;
    if (!err)
        err = meta_save(btree, slot, meta);
    if (!err && checkpoint->closes) {
        /* Both records say the same: damage to either is survived. */
        meta->sequence++;
        slot = 1 - slot;
        err = meta_save(btree, slot, meta);
    }
    if (err) {
        head_poison(btree);
        return diag_wrap(err, "checkpoint");
    }
    durable_meta_set(btree, meta, slot);
    logs_raise_durable(&btree->logs, snapshot->lsn);
    checkpoint_report(checkpoint);
    return SOMBRA_OK;
}

/* Step 4. */
static sombra_err log_begin(struct checkpoint *checkpoint)
{
    struct logs *logs = &checkpoint->btree->logs;
    /* After a checkpoint that its process did not live to finish, the other half is still needed.
     */
    bool is_other_free = checkpoint->btree->meta.log.epoch == logs->epoch;
    sombra_err err = is_other_free ? logs_switch(logs) : SOMBRA_OK;
    checkpoint->log = logs_position(logs);
    checkpoint->log_half = logs->active;
    return err;
}

/* Step 1. The maps go to the lowest free pages where the file's end is to be cut off after them; a
 * compaction's checkpoint forgets the free end as well. */
static sombra_err space_settle(struct checkpoint *checkpoint, uint64_t stamp)
{
    struct space *space = &checkpoint->btree->space;
    const struct compact_report *report = checkpoint->report;
    if (report || checkpoint->closes) {
        space_reclaim(space);
        space_drop_reserve(space);
        space_forget_hints(space);
    }
    if (report)
        space_move_maps(space, report->maps_end);
    sombra_err err = space_plan(space, stamp, &checkpoint->maps);
    if (!err)
        err = space_commit_reserve(space);
    if (!err && report) {
        space_drop_reserve(space);
        space_shrink_to(space, space_free_end(space));
    }
    return err;
}

/* Has the slot: is it worth a look whether the file can be made smaller? */
static void compact_consider(struct btree *btree)
{
    const struct meta *meta = &btree->meta;
    /* What readers pin cannot be had by moving pages. */
    uint64_t read = atomic_load_explicit(&btree->pages_read, memory_order_relaxed);
    uint64_t unused = meta->pages_free + meta->pages_pending;
    unused -= u64_min(unused, read);
    if (atomic_load_explicit(&btree->compacts, memory_order_relaxed) ||
        btree->options.no_auto_compact ||
        unused << btree->pager.page_shift < COMPACT_UNUSED_BYTES_MIN)
        return;
    /* Who has done no more than this one commit has no thread yet, and a store that rests is made
     * smaller by nobody else. */
    background_start(btree);
    if (atomic_load(&btree->has_background) &&
        unused * 1000000 / meta->snapshot.page_count >= meta->compact_watermark_ppm) {
        os_mutex_lock(&btree->checkpoint_mutex);
        btree->compact_wanted = true;
        os_condition_broadcast(&btree->checkpoint_changed);
        os_mutex_unlock(&btree->checkpoint_mutex);
    }
}

/* Steps 1 to 4, as a write transaction that changes nothing but the page account. */
static sombra_err pin_newest(struct btree_txn *txn, struct checkpoint *checkpoint)
{
    struct btree *btree = checkpoint->btree;
    uint64_t page_count = btree->space.page_count;
    sombra_err err = space_settle(checkpoint, txn->stamp);
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
        /* Its arrays have the room that they had. */
        sombra_err grow_err = space_grow_to(&btree->space, page_count);
        assert(!grow_err);
        (void)grow_err;
        txn_undo_all(txn);
        return err;
    }
    head_intend(btree->head, btree->meta.sequence + 1, txn->stamp);
    txn_publish(txn, lsn);
    space_build(&btree->space, txn->stamp, &checkpoint->maps);
    maps_unprepare(checkpoint);
    err = log_begin(checkpoint);
    meta_fill(checkpoint, &txn->snapshot);
    /* The descriptor says where the log goes on, and that is the other half now. */
    snapshot_set_position(&txn->snapshot, checkpoint->log, checkpoint->log_half);
    account_publish(btree, &txn->snapshot);
    return err;
}

/* ---- one at a time ----------------------------------------------------------------------- */

static void local_slot_leave(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->checkpoint_runs = false;
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

static void checkpoint_slot_leave(struct btree *btree)
{
    shared_lock_leave(&btree->head->checkpoint);
    local_slot_leave(btree);
}

/* Has the slot: finishes what a dead owner of it left, and reads the meta that others may have
 * written. */
static sombra_err checkpoint_begin(struct btree *btree, owner_word dead)
{
    if (dead) {
        shared_check_inflight(btree, dead);
        sombra_err err = intent_finish(btree);
        if (err)
            return err;
    }
    return btree->file ? meta_refresh(btree) : SOMBRA_OK;
}

static sombra_err checkpoint_slot_enter(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    while (btree->checkpoint_runs)
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, UINT64_MAX);
    btree->checkpoint_runs = true;
    os_mutex_unlock(&btree->checkpoint_mutex);
    owner_word dead;
    const struct gate_wish wish = { .timeout_ms = UINT64_MAX };
    sombra_err err = shared_lock_enter(btree, &btree->head->checkpoint, &wish, &dead, NULL);
    if (!err)
        err = checkpoint_begin(btree, dead);
    if (err)
        checkpoint_slot_leave(btree);
    return err;
}

/* Has both, so that no checkpoint runs: what is intended was left by one that died, with the slot
 * or with the turn, as it made the first log. Nothing is built on it. */
static sombra_err intent_bury(struct btree *btree, owner_word dead)
{
    const struct head *head = btree->head;
    if (LIKELY(!btree->file || !atomic_load(&head->pinned_intent)))
        return SOMBRA_OK;
    if (dead)
        shared_check_inflight(btree, dead);
    return atomic_load(&head->poisoned) ? SOMBRA_OK : intent_finish(btree);
}

/* Another checkpoint is waited for as long as that takes; a write transaction or a verify, which
 * have the turn all the time, as long as the job says. */
static sombra_err wait_goes_on(struct btree *btree, struct kv_wait *wait)
{
    uint64_t now_ns = os_monotonic_ns(os_posix());
    sombra_err err = kv_wait_ask(wait, now_ns);
    if (!err && kv_wait_left_ms(wait, now_ns) == 0 && gate_is_held_long(btree))
        err = diag_fail(SOMBRA_BUSY,
                        "another thread was writing or verifying for %" PRIu64 " ms (busy timeout)",
                        wait->job->wait_ms_max);
    return err;
}

/* Until nobody in this process has the slot. */
static sombra_err local_slot_wait(struct btree *btree, struct kv_wait *wait)
{
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&btree->checkpoint_mutex);
    while (!err && btree->checkpoint_runs) {
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex,
                                kv_wait_nap_ms(wait, UINT64_MAX));
        os_mutex_unlock(&btree->checkpoint_mutex);
        err = wait_goes_on(btree, wait);
        os_mutex_lock(&btree->checkpoint_mutex);
    }
    os_mutex_unlock(&btree->checkpoint_mutex);
    return err;
}

/* Has the turn, and the slot in this process: takes it among processes. *out_is_mine false: another
 * process has it, or there was an error; then it is given back here, too. */
static sombra_err slot_try(struct btree *btree, owner_word turn_dead, bool *out_is_mine)
{
    owner_word dead;
    *out_is_mine = false;
    if (shared_lock_enter(btree, &btree->head->checkpoint, &(struct gate_wish){ 0 }, &dead, NULL)) {
        local_slot_leave(btree);
        return SOMBRA_OK;
    }
    sombra_err err = checkpoint_begin(btree, dead);
    if (!err)
        err = intent_bury(btree, turn_dead);
    if (err)
        checkpoint_slot_leave(btree);
    else
        *out_is_mine = true;
    return err;
}

/* The turn first, then the slot: who holds the slot needs no turn any more to finish. */
static sombra_err both_enter(struct btree *btree, bool is_brief, struct kv_wait *wait,
                             owner_word *out_dead)
{
    for (;;) {
        sombra_err err = local_slot_wait(btree, wait);
        if (err)
            return err;
        const struct gate_wish wish = {
            .timeout_ms = kv_wait_left_ms(wait, os_monotonic_ns(os_posix())),
            .is_brief = is_brief,
            .wait = wait,
        };
        err = gate_enter_as(btree, &wish, out_dead);
        if (err)
            return err;
        os_mutex_lock(&btree->checkpoint_mutex);
        bool is_free = !btree->checkpoint_runs, is_mine = false;
        if (is_free)
            btree->checkpoint_runs = true;
        os_mutex_unlock(&btree->checkpoint_mutex);
        if (is_free)
            err = slot_try(btree, *out_dead, &is_mine);
        if (is_mine)
            return SOMBRA_OK;
        gate_leave(btree);
        if (!err && is_free) {
            /* Another process's checkpoint: it is not waited for with the turn. */
            os_sleep_us(btree->os, 1000);
            err = wait_goes_on(btree, wait);
        }
        if (err)
            return err;
    }
}

sombra_err checkpoint_pause(struct btree *btree, const struct kv_maintenance *job)
{
    owner_word dead = 0;
    struct snapshot newest;
    struct kv_wait wait = kv_wait_begin(job, os_monotonic_ns(os_posix()));
    sombra_err err = both_enter(btree, false, &wait, &dead);
    if (err)
        return err;
    if (atomic_load(&btree->head->has_logs) && !head_check_writable(btree->head))
        err = turn_take(btree, dead, &newest);
    if (err)
        checkpoint_resume(btree);
    return err;
}

void checkpoint_resume(struct btree *btree)
{
    gate_leave(btree);
    checkpoint_slot_leave(btree);
}

/* Has the slot, and the newest commit is pinned: who wanted a checkpoint has one. Commits up to
 * that one may not have asked yet: they waited for a sync. */
static void wanted_forget(struct btree *btree, uint64_t newest_lsn)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->checkpoint_wanted = false;
    btree->checkpoint_lsn = newest_lsn;
    os_mutex_unlock(&btree->checkpoint_mutex);
}

static sombra_err run(struct btree *btree, bool closes, const struct compact_report *report,
                      const struct kv_maintenance *job)
{
    if (!btree->file || btree->options.is_readonly)
        return SOMBRA_OK;
    owner_word dead = 0;
    struct kv_wait wait = kv_wait_begin(job, os_monotonic_ns(os_posix()));
    sombra_err err = both_enter(btree, true, &wait, &dead);
    if (err)
        return diag_wrap(err, "checkpoint");
    struct checkpoint checkpoint = {
        .btree = btree,
        .is_clean = closes,
        .closes = closes,
        .report = report,
        .begin_ns = os_monotonic_ns(btree->os),
    };
    struct btree_txn *txn = NULL;
    struct snapshot newest;
    head_newest(btree->head, &newest);
    /* Nothing to do, unless a log is to be closed. */
    bool is_idle = newest.lsn == btree->meta.snapshot.lsn && !dead && !report &&
                   !(closes && (btree->went_beside || atomic_load(&btree->head->has_logs)));
    if (!is_idle)
        err = txn_start_write(btree, dead, &txn);
    if (!is_idle && !err)
        err = pin_newest(txn, &checkpoint);
    if (txn)
        txn_end_write(txn);
    else
        gate_leave(btree);
    wanted_forget(btree, newest.lsn);
    if (!is_idle && !err)
        err = make_durable(&checkpoint);
    if (!is_idle && !err)
        atomic_store(&btree->head->pinned_intent, 0);
    space_image_release(&checkpoint.maps);
    if (!is_idle && !err && !closes && !report)
        compact_consider(btree);
    checkpoint_slot_leave(btree);
    return err;
}

sombra_err checkpoint_run(struct btree *btree, const struct kv_maintenance *job)
{
    return run(btree, false, NULL, job);
}

sombra_err checkpoint_run_last(struct btree *btree)
{
    return run(btree, true, NULL, NULL);
}

sombra_err checkpoint_run_cutting(struct btree *btree, const struct compact_report *report,
                                  const struct kv_maintenance *job)
{
    assert(report);
    return run(btree, false, report, job);
}

/* Steps 3 to 8 of a transaction without a record. */
static sombra_err commit_unlogged(struct btree_txn *txn, struct checkpoint *checkpoint)
{
    struct btree *btree = txn->btree;
    struct snapshot snapshot = txn->snapshot;
    snapshot.txn = txn->stamp;
    snapshot.lsn++;
    snapshot.page_count = btree->space.page_count;
    snapshot_set_position(&snapshot, checkpoint->log, checkpoint->log_half);
    head_intend(btree->head, meta_sequence(checkpoint), txn->stamp);
    space_commit(&btree->space, txn->stamp);
    space_build(&btree->space, txn->stamp, &checkpoint->maps);
    maps_unprepare(checkpoint);
    meta_fill(checkpoint, &snapshot);
    sombra_err err = make_durable(checkpoint);
    if (err)
        return txn->is_replay ? err : diag_wrap(err, "outcome of the commit unknown");
    txn->snapshot = snapshot;
    filters_publish(&btree->pager, snapshot.txn);
    logs_cover(&btree->logs, snapshot.lsn);
    account_publish(btree, &snapshot);
    atomic_store(&btree->head->pinned_intent, 0); /* last: until then another may publish it */
    return SOMBRA_OK;
}

/* A commit of a store without logs. Damage to its record must not pass for the state before it: the
 * other one says that it may be there. The growth that it did not need is not kept. */
static sombra_err beside_begin(struct checkpoint *checkpoint)
{
    struct btree *btree = checkpoint->btree;
    struct space *space = &btree->space;
    checkpoint->fallback = btree->meta;
    checkpoint->fallback.sequence++;
    checkpoint->fallback.log_state = META_LOG_BESIDE;
    sombra_err err = name_sync(btree);
    if (!err)
        err = meta_write(btree->file, 1 - btree->meta_slot, &checkpoint->fallback);
    if (err)
        return err;
    checkpoint->has_fallback = true;
    space_drop_reserve(space);
    space_shrink_to(space, space_free_end(space));
    return SOMBRA_OK;
}

sombra_err checkpoint_repeat_meta(struct btree *btree)
{
    struct meta meta = btree->meta;
    unsigned slot = 1 - btree->meta_slot;
    assert(meta.log_state == META_LOG_CLEAN);
    meta.sequence++;
    sombra_err err = meta_save(btree, slot, &meta);
    if (err) {
        head_poison(btree);
        return diag_wrap(err, "save the second meta record");
    }
    durable_meta_set(btree, &meta, slot);
    return SOMBRA_OK;
}

sombra_err checkpoint_commit(struct btree_txn *txn)
{
    struct btree *btree = txn->btree;
    struct checkpoint checkpoint = { .btree = btree, .begin_ns = os_monotonic_ns(btree->os) };
    bool has_log = !txn->is_replay && !btree->is_beside;
    sombra_err err = checkpoint_slot_enter(btree);
    if (err)
        return err;
    err = space_refresh_maps(&btree->space);
    if (!err)
        err = space_plan(&btree->space, txn->stamp, &checkpoint.maps);
    if (!err)
        err = space_commit_reserve(&btree->space);
    if (!err)
        err = pager_dirty_flush(&btree->pager);
    if (!err && has_log)
        err = log_begin(&checkpoint);
    /* What recovery replayed is in the tree, and its logs are history once the meta is durable. */
    if (!err && !has_log) {
        checkpoint.is_clean = true;
        checkpoint.log = (struct wal_position){ .epoch = btree->meta.log.epoch + 1 };
    }
    if (!err && btree->is_beside)
        err = beside_begin(&checkpoint);
    if (!err)
        err = commit_unlogged(txn, &checkpoint);
    if (!err && btree->is_beside)
        btree->went_beside = true;
    if (!err && !txn->is_replay)
        compact_consider(btree);
    space_image_release(&checkpoint.maps);
    checkpoint_slot_leave(btree);
    return err;
}

/* ---- when -------------------------------------------------------------------------------- */

/* One that covers `lsn` is asked of the thread, unless it has begun. */
static void checkpoint_want(struct btree *btree, uint64_t lsn)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    if (lsn > btree->checkpoint_lsn) {
        btree->checkpoint_wanted = true;
        os_condition_broadcast(&btree->checkpoint_changed);
    }
    os_mutex_unlock(&btree->checkpoint_mutex);
}

/* Until a checkpoint that this process writes is over. */
static void checkpoint_wait(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    while (btree->checkpoint_runs)
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, UINT64_MAX);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

/* Random puts change every leaf between two checkpoints, however many these are: each writes the
 * tree, and keeps the pages that the tree had until the next. So it is worth a log as long as that.
 */
static uint64_t log_limit(const struct btree *btree)
{
    uint64_t tree_bytes = atomic_load_explicit(&btree->pages_used, memory_order_relaxed)
                          << btree->pager.page_shift;
    return u64_min(btree->checkpoint_log_max,
                   u64_max(btree->options.checkpoint_log_bytes, tree_bytes));
}

void checkpoint_consider(struct btree *btree, uint64_t lsn, uint64_t active_bytes)
{
    enum space_pressure pressure =
        (enum space_pressure)atomic_load_explicit(&btree->space_pressure, memory_order_relaxed);
    if (LIKELY(active_bytes < btree->options.checkpoint_log_bytes && pressure == SPACE_EASY))
        return;
    uint64_t limit = log_limit(btree);
    if (active_bytes < limit && pressure == SPACE_EASY)
        return;
    /* The commit is done and acknowledged. A checkpoint that fails has poisoned the store, and
     * every later write says so. Without a thread for it, or when that falls behind, the commit
     * that notices does the work. */
    os_mutex_lock(&btree->checkpoint_mutex);
    bool runs = btree->checkpoint_runs, has_begun = lsn <= btree->checkpoint_lsn;
    os_mutex_unlock(&btree->checkpoint_mutex);
    bool is_late = active_bytes >= 2 * limit && (!runs || active_bytes >= 3 * limit);
    if (has_begun || (runs && !is_late && active_bytes < limit)) {
        /* It frees pages that this commit still found needed. */
        if (pressure == SPACE_OUT)
            checkpoint_wait(btree);
        return;
    }
    if (!atomic_load(&btree->has_background) || is_late || pressure == SPACE_OUT) {
        sombra_err err = checkpoint_run(btree, NULL);
        (void)err;
        return;
    }
    checkpoint_want(btree, lsn);
}
