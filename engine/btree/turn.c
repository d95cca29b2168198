/* SPDX-License-Identifier: MIT */
/* What a process does before it writes, when the last writer may have been another, or a dead one:
 *
 * - A dead writer's sync that nobody saw the end of is asked for again, through one's own files,
 *   and a failure poisons the store (docs/decisions/0007).
 * - A checkpoint that died with its process is undone: its meta slot is zeroed, and synced.
 * - The first writer of all makes the log and says so in a meta; the others open it.
 * - The published end of the log is its end: a record behind it was never published and is cut off.
 * - The page account is caught up with: from the log's page lists, or from a newer checkpoint's
 *   maps.
 *
 * The published head is the truth throughout: who died before publishing did nothing.
 */
#include "upkeep.h"

/* ---- metas ------------------------------------------------------------------------------- */

sombra_err meta_save(struct btree *btree, unsigned slot, const struct meta *meta)
{
    sombra_err err = meta_write(btree->file, slot, meta);
    return err ? err : shared_sync(btree, btree->file);
}

void durable_meta_set(struct btree *btree, const struct meta *meta, unsigned slot)
{
    struct head *head = btree->head;
    btree->meta = *meta;
    btree->meta_slot = slot;
    btree->settled_sequence = meta->sequence;
    atomic_store(&head->durable_meta, meta->sequence << 1 | slot);
    atomic_store(&head->pinned_meta, meta->snapshot.txn);
}

sombra_err meta_read_durable(struct btree *btree, struct meta *out, unsigned *out_slot)
{
    enum { TRIES = 1000 };
    /* Another process's checkpoint may make a newer one durable meanwhile, and the next begin to
     * overwrite this. */
    for (int i = 0; i < TRIES; i++) {
        uint64_t durable = atomic_load(&btree->head->durable_meta);
        unsigned slot = (unsigned)(durable & 1);
        uint8_t bytes[META_BYTES];
        struct meta meta;
        sombra_err err =
            os_read(btree->file, (uint64_t)slot * META_SLOT_BYTES, bytes, sizeof bytes);
        if (err)
            return err;
        err = meta_decode(bytes, &meta);
        if (!err && meta.sequence == durable >> 1) {
            *out = meta;
            *out_slot = slot;
            return SOMBRA_OK;
        }
        os_sleep_us(btree->os, 10);
    }
    return diag_fail(
        SOMBRA_CORRUPT,
        "%s: the durable meta record is not what the processes that have it open agreed on",
        btree->path);
}

sombra_err meta_refresh(struct btree *btree)
{
    if (head_meta_sequence(btree->head) == btree->meta.sequence)
        return SOMBRA_OK;
    return meta_read_durable(btree, &btree->meta, &btree->meta_slot);
}

/* Its meta was made durable, and its process died before it had told everybody. */
static sombra_err intent_adopt(struct btree *btree)
{
    struct head *head = btree->head;
    struct meta meta;
    unsigned slot;
    sombra_err err = meta_read_durable(btree, &meta, &slot);
    if (err)
        return err;
    atomic_store(&head->pinned_meta, meta.snapshot.txn);
    struct snapshot newest;
    head_newest(head, &newest);
    bool is_first = !atomic_load(&head->has_logs) && meta.log_state == META_LOG_IN_USE;
    if (newest.txn < meta.snapshot.txn || is_first) {
        logs_cover(&btree->logs, meta.snapshot.lsn);
        snapshot_set_position(&meta.snapshot, meta.log, meta.log_half);
        head_publish(head, &meta.snapshot);
        if (meta.log_state == META_LOG_IN_USE)
            atomic_store(&head->has_logs, 1);
    }
    return SOMBRA_OK;
}

/* The other record may be one that this disk never got, and of which only the tree is known to be
 * durable (base_restore): it is saved before the one that was begun goes. */
static sombra_err intent_undo(struct btree *btree)
{
    static const uint8_t zeros[META_BYTES];
    struct meta meta;
    unsigned slot;
    sombra_err err = meta_read_durable(btree, &meta, &slot);
    /* No newer one stands beside it any more, and an earlier version takes what says so for damage,
     * and finds no other. */
    if (!err && meta.log_state == META_LOG_BESIDE) {
        meta.log_state = META_LOG_CLEAN;
        /* Who read it before, as it came in the middle of that commit, may write it again. */
        if (btree->meta.sequence == meta.sequence)
            btree->meta.log_state = META_LOG_CLEAN;
    }
    if (!err)
        err = meta_save(btree, slot, &meta);
    if (!err)
        err = os_write(btree->file, (uint64_t)(1 - slot) * META_SLOT_BYTES, zeros, sizeof zeros);
    return err ? err : shared_sync(btree, btree->file);
}

sombra_err intent_finish(struct btree *btree)
{
    struct head *head = btree->head;
    if (!atomic_load(&head->pinned_intent))
        return SOMBRA_OK;
    uint64_t durable = atomic_load(&head->durable_meta);
    bool is_made = durable >> 1 >= atomic_load(&head->intent_sequence);
    sombra_err err = is_made ? intent_adopt(btree) : intent_undo(btree);
    if (!err)
        atomic_store(&head->pinned_intent, 0);
    return diag_wrap(err, "finish a checkpoint that its process did not");
}

/* ---- the first write of all -------------------------------------------------------------- */

static sombra_err meta_make_in_use(struct btree *btree)
{
    struct meta meta = btree->meta;
    meta.sequence++;
    meta.log_state = META_LOG_IN_USE;
    meta.log = logs_position(&btree->logs);
    meta.log_half = btree->logs.active;
    unsigned slot = 1 - btree->meta_slot;
    head_intend(btree->head, meta.sequence, meta.snapshot.txn);
    sombra_err err = meta_save(btree, slot, &meta);
    if (err) {
        head_poison(btree);
        return err;
    }
    durable_meta_set(btree, &meta, slot);
    btree->space.meta_sequence = meta.sequence;
    struct snapshot newest;
    head_newest(btree->head, &newest);
    snapshot_set_position(&newest, meta.log, meta.log_half);
    account_publish(btree, &newest);
    atomic_store(&btree->head->has_logs, 1);
    atomic_store(&btree->head->pinned_intent, 0);
    return SOMBRA_OK;
}

/* What open read may be page cache that the disk never got, after a failed sync: the meta is
 * written again, unless its tree is known to be durable, and the file is cut to what the meta
 * names, so that growing it anew is a change that the next sync saves. */
sombra_err base_restore(struct btree *btree)
{
    uint64_t used_bytes = btree->meta.snapshot.page_count * btree->meta.page_bytes;
    uint64_t file_bytes = 0;
    sombra_err err = SOMBRA_OK;
    if (!meta_is_settled(btree)) {
        err = meta_write(btree->file, btree->meta_slot, &btree->meta);
        if (err)
            return err; /* nothing was synced in vain: it may be tried again */
        err = shared_sync(btree, btree->file);
    }
    /* Not before: should this meta be lost, the one before it may need a longer file. */
    if (!err)
        err = os_size(btree->file, &file_bytes);
    if (!err && file_bytes > used_bytes)
        err = os_truncate(btree->file, used_bytes);
    return err;
}

sombra_err names_sync(struct btree *btree)
{
    sombra_err err = os_sync_directory_of(btree->os, btree->path);
    if (err && err != SOMBRA_NOMEM)
        head_poison(btree);
    return err;
}

sombra_err name_sync(struct btree *btree)
{
    bool is_new = memcmp(btree->meta.uuid, btree->created_uuid, sizeof btree->created_uuid) == 0;
    return is_new ? SOMBRA_OK : names_sync(btree);
}

static sombra_err account_load(struct btree *btree, const struct meta *meta, bool keeps_pending)
{
    space_release(&btree->space);
    space_init(&btree->space, btree);
    return space_load(&btree->space, meta, keeps_pending);
}

/* What is written is built on: the durable tree, and the account of its pages. */
static sombra_err base_begin(struct btree *btree)
{
    /* Renamed since it was opened, the log would get the old name, and the next open miss it. */
    bool is_replaced = false;
    sombra_err err = logs_check_name(btree, &is_replaced);
    if (err == SOMBRA_NOT_FOUND || is_replaced)
        return diag_fail(
            SOMBRA_CONFLICT,
            "%s was moved or replaced since it was opened: close it, and open it by its new name",
            btree->path);
    if (!err && !btree->went_beside)
        err = base_restore(btree);
    /* What is pending in the maps, snapshots may still read, if others came or a commit without a
     * log made them: this need not be the first transaction since the store is open. */
    bool is_first = !btree->went_beside && !atomic_load(&btree->head->joins);
    if (!err && !btree->space.is_loaded)
        err = account_load(btree, &btree->meta, !is_first);
    return err;
}

static sombra_err log_begin_first(struct btree *btree)
{
    sombra_err err = base_begin(btree);
    if (!err)
        err = logs_create(&btree->logs, btree->meta.log.epoch + 1);
    if (!err)
        err = names_sync(btree);
    if (!err)
        err = meta_make_in_use(btree);
    btree->has_turns = !err;
    return err;
}

sombra_err btree_prepare_write(struct btree *btree)
{
    sombra_err err = SOMBRA_OK;
    if (!btree->file) {
        err = space_set_page_count(&btree->space, btree->space.first_page);
    } else {
        err = meta_refresh(btree);
        /* Readers that wait for a sync look for the logs as well. */
        os_mutex_lock(&btree->logs.open_mutex);
        if (!err)
            err = atomic_load(&btree->head->has_logs) ? logs_open(&btree->logs)
                                                      : log_begin_first(btree);
        os_mutex_unlock(&btree->logs.open_mutex);
        if (!err)
            background_start(btree);
    }
    if (err)
        return diag_wrap(err, "prepare %s for writing", btree->path ? btree->path : BTREE_MEMORY);
    btree->is_prepared = true;
    return SOMBRA_OK;
}

/* Whoever writes in more than one transaction wants a log: its second commit makes it. So do those
 * who are not alone, or wait for no sync. */
static bool beside_is_wise(const struct btree *btree)
{
    const struct head *head = btree->head;
    enum kv_durability durability = btree->options.durability;
    return btree->file && !btree->is_prepared && !btree->went_beside &&
           (durability == KV_FULL || durability == KV_GROUP) && btree->attachment.is_first &&
           !atomic_load(&head->joins) && !atomic_load(&head->has_logs) &&
           !atomic_load(&head->pinned_intent);
}

sombra_err turn_begin_beside(struct btree *btree, owner_word dead)
{
    assert(!btree->is_beside);
    if (LIKELY(dead || !beside_is_wise(btree)))
        return SOMBRA_OK;
    sombra_err err = head_check_writable(btree->head);
    if (!err)
        err = meta_refresh(btree);
    if (!err)
        err = base_begin(btree);
    if (err)
        return diag_wrap(err, "prepare %s for writing", btree->path);
    btree->is_beside = btree->is_prepared = btree->has_turns = true;
    return SOMBRA_OK;
}

void turn_end_beside(struct btree *btree)
{
    if (LIKELY(!btree->is_beside))
        return;
    btree->is_beside = btree->is_prepared = btree->has_turns = false;
    if (btree->went_beside)
        return;
    /* Not committed: what it took of the file's end is nobody's, and is cut off by the next. Nor is
     * an image of a page kept that was prepared for it. */
    space_drop_reserve(&btree->space);
    btree->space.is_loaded = false;
    pager_forget_fresh(&btree->pager);
}

/* ---- taking the turn --------------------------------------------------------------------- */

/* Somebody died in a checkpoint, and who found that out could not finish it, or died as well. */
static bool intent_is_orphaned(struct btree *btree)
{
    if (LIKELY(!btree->file || !atomic_load(&btree->head->pinned_intent)))
        return false;
    owner_word owner = atomic_load(&btree->head->checkpoint.owner);
    return !owner || !shared_is_alive(btree, owner);
}

static sombra_err dead_bury(struct btree *btree, owner_word dead)
{
    struct head *head = btree->head;
    os_mutex_lock(&btree->logs.open_mutex);
    sombra_err err = atomic_load(&head->has_logs) ? logs_open(&btree->logs) : SOMBRA_OK;
    os_mutex_unlock(&btree->logs.open_mutex);
    if (err)
        return err;
    if (dead)
        shared_check_inflight(btree, dead);
    err = head_check_writable(head);
    owner_word owner = atomic_load(&head->checkpoint.owner);
    if (err || !atomic_load(&head->pinned_intent) || (owner && shared_is_alive(btree, owner)))
        return err;
    owner_word also_dead;
    err = shared_lock_enter(btree, &head->checkpoint, &(struct gate_wish){ 0 }, &also_dead, NULL);
    if (err)
        return err == SOMBRA_BUSY ? SOMBRA_OK : err; /* somebody else does it */
    if (also_dead)
        shared_check_inflight(btree, also_dead);
    err = head_check_writable(head);
    if (!err)
        err = intent_finish(btree);
    shared_lock_leave(&head->checkpoint);
    return err;
}

static sombra_err account_apply(void *context, const struct wal_record *record)
{
    struct space *space = context;
    sombra_err err = redo_apply_space(space, record->payload);
    if (!err)
        space->lsn = record->lsn;
    return diag_wrap(err, "log record %" PRIu64, record->lsn);
}

/* The commits between the account's and the newest, from one or two halves of the log. */
static sombra_err account_replay(struct btree *btree, const struct snapshot *newest)
{
    struct space *space = &btree->space;
    struct wal_position at = space->log;
    unsigned half = space->log_half;
    for (int i = 0; i < LOG_HALVES && space->lsn < newest->lsn; i++) {
        bool is_last = at.epoch == newest->log_epoch;
        uint64_t end = is_last ? newest->log_offset : atomic_load(&btree->head->half_end[half]);
        struct wal_replay_result result;
        sombra_err err = wal_replay_range(btree->logs.halves[half], at, end, space->lsn,
                                          account_apply, space, &result);
        if (err)
            return err;
        at = (struct wal_position){ .epoch = at.epoch + 1, .link = result.end.link };
        half = 1 - half;
    }
    if (space->lsn != newest->lsn || space->page_count != newest->page_count)
        return diag_fail(SOMBRA_CORRUPT,
                         "%s: the log leads to commit %" PRIu64 " with %" PRIu64
                         " pages, the newest is %" PRIu64 " with %" PRIu64,
                         btree->path, space->lsn, space->page_count, newest->lsn,
                         newest->page_count);
    account_note(btree, newest);
    return SOMBRA_OK;
}

static sombra_err account_catch_up(struct btree *btree, const struct snapshot *newest)
{
    struct space *space = &btree->space;
    space_drop_reserve(space);
    pager_forget_fresh(&btree->pager);
    /* A transaction that was aborted may have made the file longer, and nobody else heard of it. */
    if (space->is_loaded)
        space_shrink_to(space, space->noted_count);
    sombra_err err = SOMBRA_OK;
    if (!space->is_loaded || head_meta_sequence(btree->head) > space->meta_sequence) {
        struct meta meta;
        unsigned slot;
        err = meta_read_durable(btree, &meta, &slot);
        if (!err && (!space->is_loaded || space->lsn < meta.snapshot.lsn))
            err = account_load(btree, &meta, true);
        else if (!err) /* of this one: a checkpoint beside may be durable by now, and newer */
            err = space_read_maps(space, &meta);
        /* The same commit, but what follows it may be in logs that were made anew. */
        if (!err && space->lsn == meta.snapshot.lsn) {
            space->log = meta.log;
            space->log_half = meta.log_half;
        }
    }
    if (!err)
        err = account_replay(btree, newest);
    if (err)
        space->is_loaded = false; /* half caught up: the next turn begins from the maps */
    return err;
}

/* Nobody published anything since this process did. */
static bool is_newest(const struct btree *btree)
{
    return atomic_load_explicit(&btree->head->sequence, memory_order_relaxed) ==
           btree->newest_sequence;
}

static sombra_err catch_up(struct btree *btree, owner_word dead, const struct snapshot *newest)
{
    /* The position as well: another process's mark moves it, and is no commit. */
    bool is_mine = !dead && btree->has_turns && btree->space.is_loaded &&
                   newest->lsn == btree->space.lsn &&
                   newest->log_offset == btree->space.log.offset &&
                   newest->log_epoch == btree->space.log.epoch;
    if (LIKELY(is_mine && head_meta_sequence(btree->head) <= btree->space.meta_sequence))
        return SOMBRA_OK;
    sombra_err err = SOMBRA_OK;
    if (!is_mine)
        err = logs_take_turn(&btree->logs, newest);
    if (!err)
        err = account_catch_up(btree, newest);
    btree->has_turns = !err;
    return diag_wrap(err, "catch up with the other processes");
}

sombra_err turn_take(struct btree *btree, owner_word dead, struct snapshot *out_newest)
{
    sombra_err err = SOMBRA_OK;
    if (UNLIKELY(dead || intent_is_orphaned(btree)))
        err = dead_bury(btree, dead);
    if (!err && UNLIKELY(!btree->is_prepared))
        err = btree_prepare_write(btree);
    if (err)
        return err;
    struct snapshot newest;
    if (LIKELY(is_newest(btree)))
        newest = btree->newest;
    else
        head_newest(btree->head, &newest);
    if (btree->file)
        err = catch_up(btree, dead, &newest);
    if (!err)
        *out_newest = newest;
    return err;
}
