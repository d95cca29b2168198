/* SPDX-License-Identifier: MIT */
/* Transactions: begin, end, savepoints, and the calls that write.
 *
 * The write transaction writes into the active memtable at once, under the number that its commit
 * will publish, and beside that keeps the operations for the log record. Whatever may fail for want
 * of memory is asked for before the memtable changes, so that a failed call changed nothing.
 */
#include "write_internal.h"

/* ---- the writer's parts ------------------------------------------------------------------ */

sombra_err lsm_writer_new(struct lsm *lsm)
{
    struct lsm_writer *writer = mem_zalloc(sizeof *writer);
    if (!writer)
        return diag_nomem("a store", sizeof *writer);
    sombra_err err = wal_group_init(&writer->group, &lsm_group_ops, lsm);
    if (err) {
        mem_free(writer);
        return err;
    }
    err = lsm_readers_new(lsm);
    if (err) {
        wal_group_release(&writer->group);
        mem_free(writer);
        return err;
    }
    writer->txn.txn = (struct kv_txn){ .ops = &lsm_ops, .kv = &lsm->kv, .is_write = true };
    writer->txn.write = &writer->write;
    atomic_store(&writer->last_sync_ns, os_coarse_ns(lsm->os));
    lsm->writer = writer;
    return SOMBRA_OK;
}

void lsm_writer_free(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    lsm_readers_free(lsm);
    if (!writer)
        return;
    view_release(atomic_exchange(&writer->view, NULL));
    memtable_unref(writer->active);
    lsm_cursor_free_spare(&writer->txn);
    buf_release(&writer->txn.large);
    buf_release(&writer->write.redo);
    mem_free(writer->write.savepoints);
    wal_group_release(&writer->group);
    mem_free(writer);
    lsm->writer = NULL;
}

void lsm_writer_begin_with(struct lsm *lsm, struct memtable *active)
{
    assert(active);
    memtable_unref(lsm->writer->active);
    lsm->writer->active = active;
    lsm->writer->memtable_bytes_max = lsm->options.memtable_bytes;
}

/* ---- begin ------------------------------------------------------------------------------- */

/* For a reader, who has no turn. */
static sombra_err opened_save(struct lsm *lsm)
{
    if (LIKELY(!atomic_load_explicit(&lsm->writer->is_unsaved, memory_order_relaxed)))
        return SOMBRA_OK;
    sombra_err err = lsm_turn_take(lsm, lsm->options.busy_timeout_ms);
    if (err)
        return err;
    err = lsm_check_writable(lsm);
    if (!err)
        err = lsm_opened_save(lsm);
    lsm_turn_give(lsm);
    return err;
}

static sombra_err begin_read(struct lsm *lsm, const struct kv_begin_options *options,
                             struct kv_txn **out_txn)
{
    struct lsm_txn *txn = NULL;
    sombra_err err = lsm_readers_begin(lsm, &txn);
    if (err)
        return err;
    if (options->needs_durable) {
        err = lsm->options.is_readonly ? lsm_seen_save(lsm, txn->seq) : opened_save(lsm);
        if (!err)
            err = lsm_commit_sync(lsm, txn->seq);
        if (err) {
            lsm_readers_end(txn);
            return err;
        }
    }
    *out_txn = &txn->txn;
    return SOMBRA_OK;
}

/* The turn is held, and the memtable stays the active one until it is given back. */
static void write_start(struct lsm *lsm)
{
    struct lsm_writer *writer = lsm->writer;
    struct lsm_txn *txn = &writer->txn;
    struct view *view = atomic_exchange(&writer->view, NULL);
    if (UNLIKELY(!view || view->number != atomic_load(&lsm->view_number))) {
        view_release(view);
        view = view_acquire(lsm);
    }
    assert(view->memtables[0] == writer->active);
    assert(txn->write->redo.bytes == 0 && txn->write->savepoint_count == 0);
    txn->view = view;
    txn->seq = atomic_load_explicit(&lsm->seq, memory_order_relaxed) + 1;
    if (UNLIKELY(memtable_has_waste(writer->active)))
        memtable_reuse_nodes(writer->active, txn->seq, lsm_readers_oldest(lsm));
    txn->changes = txn->undone = 0;
    txn->txn.pages = 0;
    txn->is_failed = false;
    txn->write->is_unlogged = false;
    txn->write->given_bytes = 0;
    txn->write->memtable_bytes = memtable_bytes(writer->active);
}

/* The turn, when writers need not wait for flushes or compactions. Who waits for them does not have
 * it: maintenance and the end of that wait must not meet a closed door. */
static sombra_err turn_take(struct lsm *lsm, const struct kv_begin_options *options)
{
    struct lsm_writer *writer = lsm->writer;
    struct kv_wait wait = kv_wait_of_txn(options);
    uint64_t timeout_ms = options->busy_timeout_ms;
    bool is_stopped = false;
    sombra_err err;
    do {
        err = is_stopped ? lsm_stall_wait(lsm, &timeout_ms) : SOMBRA_OK;
        if (!err)
            err = lsm_turn_take_asking(lsm, timeout_ms, &wait);
        if (is_stopped)
            atomic_fetch_sub(&writer->stalled, 1);
        if (err)
            return err;
        is_stopped = false;
        err = lsm_check_writable(lsm);
        if (!err)
            err = lsm_stall(lsm, &is_stopped);
        if (is_stopped) /* known as one who waits before the turn is free */
            atomic_fetch_add(&writer->stalled, 1);
        if (UNLIKELY(err || is_stopped))
            lsm_turn_give(lsm);
    } while (UNLIKELY(!err && is_stopped));
    return err;
}

static sombra_err begin_write(struct lsm *lsm, const struct kv_begin_options *options,
                              struct kv_txn **out_txn)
{
    if (lsm->options.is_readonly)
        return diag_fail(SOMBRA_READONLY, "%s was opened read-only", lsm->directory);
    sombra_err err = turn_take(lsm, options);
    if (err)
        return err;
    struct lsm_writer *writer = lsm->writer;
    if (UNLIKELY(memtable_bytes(writer->active) >= writer->memtable_bytes_max))
        err = lsm_switch_memtable(lsm);
    if (err) {
        lsm_turn_give(lsm);
        return err;
    }
    write_start(lsm);
    if (options->needs_durable) {
        err = lsm_opened_save(lsm);
        if (!err)
            err = lsm_commit_sync(lsm, writer->txn.seq - 1);
    }
    if (err) {
        lsm_txn_end_write(&writer->txn);
        return err;
    }
    *out_txn = &writer->txn.txn;
    return SOMBRA_OK;
}

sombra_err lsm_begin(struct kv *kv, const struct kv_begin_options *options, struct kv_txn **out_txn)
{
    struct lsm *lsm = lsm_of(kv);
    if (UNLIKELY(atomic_load_explicit(&lsm->is_forked, memory_order_relaxed)))
        return lsm_check_fork(lsm);
    return options->is_write ? begin_write(lsm, options, out_txn)
                             : begin_read(lsm, options, out_txn);
}

/* ---- end --------------------------------------------------------------------------------- */

void lsm_txn_undo(struct lsm_txn *txn)
{
    memtable_rollback(lsm_of(txn->txn.kv)->writer->active, (struct memtable_mark){ 0 });
}

/* Gives the view back, or keeps it for the next transaction. */
static void view_keep(struct lsm *lsm, struct view *view)
{
    struct lsm_writer *writer = lsm->writer;
    uint64_t number = view->number; /* once it is stored, a sweep may free it */
    atomic_store(&writer->view, view);
    /* A sweep that came before the store did not see it. */
    if (UNLIKELY(number != atomic_load(&lsm->view_number)))
        view_release(atomic_exchange(&writer->view, NULL));
}

/* All that the transaction has but the turn. */
static void write_release(struct lsm_txn *txn)
{
    enum { REDO_KEEP_BYTES = 1 << 20, LARGE_KEEP_BYTES = 1 << 16 };
    struct lsm *lsm = lsm_of(txn->txn.kv);
    struct lsm_write *write = txn->write;
    if (UNLIKELY(write->early))
        lsm_early_end(txn);
    if (UNLIKELY(txn->got.block))
        cache_release(lsm->cache, txn->got.block);
    txn->got = (struct table_value){ 0 };
    if (UNLIKELY(txn->large.capacity > LARGE_KEEP_BYTES))
        buf_release(&txn->large);
    if (UNLIKELY(write->redo.capacity > REDO_KEEP_BYTES))
        buf_release(&write->redo);
    buf_reset(&write->redo);
    write->savepoint_count = 0;
    struct view *view = txn->view;
    txn->view = NULL;
    view_keep(lsm, view);
}

void lsm_txn_end_write(struct lsm_txn *txn)
{
    write_release(txn);
    lsm_turn_give(lsm_of(txn->txn.kv));
}

/* The memtable is flushed while the commit waits for its sync, and what follows need not wait for
 * it. A failure is nothing of this commit's: the next transaction tries again. */
static void memtable_leave(struct lsm *lsm)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    if (lsm_switch_memtable(lsm) != SOMBRA_OK)
        diag_restore(text);
}

void lsm_txn_end_commit(struct lsm_txn *txn)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    struct lsm_writer *writer = lsm->writer;
    write_release(txn);
    if (UNLIKELY(memtable_bytes(writer->active) >= writer->memtable_bytes_max))
        memtable_leave(lsm);
    lsm_turn_give(lsm);
}

sombra_err lsm_commit(struct kv_txn *kv_txn, enum kv_durability durability)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    struct lsm *lsm = lsm_of(kv_txn->kv);
    /* In a child of fork() everything is the parent's. */
    if (UNLIKELY(atomic_load_explicit(&lsm->is_forked, memory_order_relaxed)))
        return kv_txn->is_write ? lsm_check_fork(lsm) : SOMBRA_OK;
    if (kv_txn->is_write)
        return lsm_commit_write(txn, durability);
    lsm_readers_end(txn);
    return SOMBRA_OK;
}

void lsm_abort(struct kv_txn *kv_txn)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (atomic_load(&lsm_of(kv_txn->kv)->is_forked))
        return;
    if (!kv_txn->is_write) {
        lsm_readers_end(txn);
        return;
    }
    lsm_txn_undo(txn);
    lsm_txn_end_write(txn);
}

/* ---- savepoints -------------------------------------------------------------------------- */

static sombra_err savepoint_set(struct lsm_txn *txn, uint64_t *mark)
{
    struct lsm_write *write = txn->write;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (write->savepoint_count == write->savepoint_capacity) {
        size_t capacity = write->savepoint_capacity ? write->savepoint_capacity * 2 : 8;
        struct lsm_savepoint *grown = mem_realloc(write->savepoints, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("savepoints", capacity * sizeof *grown);
        write->savepoints = grown;
        write->savepoint_capacity = capacity;
    }
    write->savepoints[write->savepoint_count++] = (struct lsm_savepoint){
        .number = ++write->next_savepoint,
        .mark = memtable_mark(lsm_of(txn->txn.kv)->writer->active),
        .redo_bytes = write->redo.bytes,
        .given_bytes = write->given_bytes,
    };
    *mark = write->next_savepoint;
    return SOMBRA_OK;
}

/* The redo as it was when it had so many bytes. */
static void redo_cut(struct lsm_write *write, size_t bytes)
{
    assert(write->is_unlogged || bytes <= write->redo.bytes);
    write->redo.bytes = write->is_unlogged ? 0 : bytes;
}

static void savepoint_rollback(struct lsm_txn *txn, size_t index)
{
    struct lsm_write *write = txn->write;
    const struct lsm_savepoint *point = &write->savepoints[index];
    write->savepoint_count = index + 1;
    lsm_early_forget(txn);
    memtable_rollback(lsm_of(txn->txn.kv)->writer->active, point->mark);
    redo_cut(write, point->redo_bytes);
    write->given_bytes = point->given_bytes;
    txn->is_failed = false;
    txn->changes++;
    txn->undone++;
}

sombra_err lsm_savepoint(struct kv_txn *kv_txn, enum kv_savepoint_action action, uint64_t *mark)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (!kv_txn->is_write)
        return diag_fail(SOMBRA_READONLY, "savepoints are for write transactions");
    sombra_err err = lsm_check_fork(lsm_of(kv_txn->kv));
    if (err)
        return err;
    if (action == KV_SAVEPOINT_SET)
        return savepoint_set(txn, mark);
    struct lsm_write *write = txn->write;
    size_t index = write->savepoint_count;
    while (index > 0 && write->savepoints[index - 1].number != *mark)
        index--;
    if (index == 0)
        return diag_fail(SOMBRA_INVALID,
                         "savepoint %" PRIu64 " is not set: it was released, or an outer one was "
                         "rolled back",
                         *mark);
    if (action == KV_SAVEPOINT_ROLLBACK)
        savepoint_rollback(txn, index - 1);
    else
        write->savepoint_count = index - 1;
    return SOMBRA_OK;
}

/* ---- write ------------------------------------------------------------------------------- */

static sombra_err readonly_refuse(void)
{
    return diag_fail(SOMBRA_READONLY, "this is a read transaction: begin one that writes");
}

/* After an error that may come of a damaged store or a lack of memory the transaction goes no
 * further, for its maker may have done half of what belongs together (kv.h). */
static sombra_err write_failed(struct lsm_txn *txn, sombra_err err)
{
    if (err == SOMBRA_IO || err == SOMBRA_NOMEM || err == SOMBRA_CORRUPT)
        txn->is_failed = true;
    return err;
}

bool lsm_write_is_empty(const struct lsm_txn *txn)
{
    return txn->write->is_unlogged ? memtable_mark(lsm_of(txn->txn.kv)->writer->active).changes == 0
                                   : txn->write->redo.bytes == 0;
}

/* With so many bytes more, is it still a transaction for the log? If not, never again: what a log
 * record would have held is forgotten. A memtable of that many bytes is on its way into tables
 * already, and to write, sync and remove a log of as many more helps nobody. */
static inline bool write_is_logged(struct lsm_txn *txn, uint64_t bytes)
{
    struct lsm_write *write = txn->write;
    uint64_t most = lsm_of(txn->txn.kv)->options.wal_bypass_bytes;
    if (LIKELY(!write->is_unlogged && bytes <= most && write->redo.bytes <= most - bytes))
        return true;
    write->is_unlogged = true;
    buf_release(&write->redo);
    return false;
}

/* Room for an operation, within what one transaction may take. */
static sombra_err write_reserve(struct lsm_txn *txn, size_t bytes)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    struct lsm_write *write = txn->write;
    size_t max = lsm->options.txn_memory_max;
    if (UNLIKELY(max != 0)) {
        size_t taken =
            memtable_bytes(lsm->writer->active) - write->memtable_bytes + write->redo.bytes;
        /* The bytes are held twice: in the memtable and for the log. */
        if (taken > max || bytes > (max - taken) / 2)
            return diag_fail(SOMBRA_LIMIT,
                             "the transaction takes %zu bytes of memory, and %zu more would pass "
                             "its limit of %zu (option txn_memory_max)",
                             taken, 2 * bytes, max);
    }
    return write_is_logged(txn, bytes) ? lsm_redo_reserve(&write->redo, bytes) : SOMBRA_OK;
}

sombra_err lsm_expect(struct kv_txn *kv_txn, uint64_t bytes)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (UNLIKELY(!kv_txn->is_write))
        return readonly_refuse();
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (!write_is_logged(txn, bytes))
        lsm_early_begin(txn);
    return SOMBRA_OK;
}

/* `follows`: the key is above the one that was put last. */
static inline __attribute__((always_inline)) sombra_err
put_one(struct lsm_txn *txn, bool follows, sombra_slice key, sombra_slice value)
{
    struct lsm_write *write = txn->write;
    struct memtable *memtable = lsm_of(txn->txn.kv)->writer->active;
    sombra_err err = write_reserve(txn, key.bytes + value.bytes);
    if (!err)
        err = follows ? memtable_put_next(memtable, txn->seq, key, value)
                      : memtable_put(memtable, txn->seq, ENTRY_PUT, key, value);
    if (UNLIKELY(err))
        return write_failed(txn, err);
    if (LIKELY(!write->is_unlogged))
        lsm_redo_put(&write->redo, key, value);
    write->given_bytes += key.bytes + value.bytes;
    txn->changes++;
    return SOMBRA_OK;
}

sombra_err lsm_put(struct kv_txn *kv_txn, sombra_slice key, sombra_slice value)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (UNLIKELY(!kv_txn->is_write))
        return readonly_refuse();
    if (UNLIKELY(key.bytes - 1 >= KV_KEY_BYTES_MAX))
        return kv_check_key(key);
    if (UNLIKELY(value.bytes > KV_VALUE_BYTES_MAX))
        return kv_check_value(value);
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (UNLIKELY(txn->write->early))
        lsm_early_touch(txn, key, key);
    return put_one(txn, false, key, value);
}

sombra_err lsm_put_many(struct kv_txn *kv_txn, const struct kv_entry *entries, size_t count)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (UNLIKELY(!kv_txn->is_write))
        return readonly_refuse();
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (UNLIKELY(count == 0))
        return SOMBRA_OK;
    sombra_slice low = entries[0].key, high = entries[count - 1].key;
    uint64_t given_bytes = txn->write->given_bytes;
    sombra_err err = SOMBRA_OK;
    if (UNLIKELY(txn->write->early))
        lsm_early_touch(txn, low, high);
    for (size_t i = 0; i < count && !err; i++)
        err = put_one(txn, i > 0, entries[i].key, entries[i].value);
    if (!err && UNLIKELY(txn->write->is_unlogged))
        lsm_early_put(txn, low, high, count, txn->write->given_bytes - given_bytes);
    return err;
}

static sombra_err key_delete(struct lsm_txn *txn, sombra_slice key)
{
    struct lsm_write *write = txn->write;
    if (UNLIKELY(write->early))
        lsm_early_touch(txn, key, key);
    sombra_err err = write_reserve(txn, key.bytes);
    if (!err)
        err = memtable_put(lsm_of(txn->txn.kv)->writer->active, txn->seq, ENTRY_DELETE, key,
                           slice_of(NULL, 0));
    if (err)
        return err;
    if (LIKELY(!write->is_unlogged))
        lsm_redo_delete(&write->redo, key);
    write->given_bytes += key.bytes;
    txn->changes++;
    return SOMBRA_OK;
}

sombra_err lsm_remove(struct kv_txn *kv_txn, sombra_slice key)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (!kv_txn->is_write)
        return readonly_refuse();
    if (UNLIKELY(key.bytes - 1 >= KV_KEY_BYTES_MAX))
        return kv_check_key(key);
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    /* The key may lie in what the last get gave, which the look-up lets go. */
    uint8_t copy[KV_KEY_BYTES_MAX];
    memcpy(copy, key.data, key.bytes);
    key.data = copy;
    bool has = false;
    sombra_err err = lsm_has(txn, key, &has);
    if (!err && !has)
        return SOMBRA_NOT_FOUND;
    if (!err)
        err = key_delete(txn, key);
    return err ? write_failed(txn, err) : SOMBRA_OK;
}

/* ---- ranges ------------------------------------------------------------------------------ */

enum { POINT_DELETES_MAX = 64 };

/* Copies the keys of the range, each behind its length, unless there are more than
 * POINT_DELETES_MAX. */
static sombra_err keys_collect(struct lsm_txn *txn, struct kv_range range, struct buf *keys,
                               size_t *out_count)
{
    struct kv_cursor *cursor = NULL;
    sombra_err err = lsm_cursor_open(&txn->txn, range, &cursor);
    size_t count = 0;
    bool found = !err;
    while (!err && found && count <= POINT_DELETES_MAX) {
        err = lsm_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (err || !found)
            break;
        count++;
        err = buf_append_varint(keys, cursor->entry.key.bytes);
        if (!err)
            err = buf_append_slice(keys, cursor->entry.key);
    }
    kv_cursor_close(cursor);
    if (!err)
        *out_count = count;
    return err;
}

/* All of the keys or none. */
static sombra_err keys_delete(struct lsm_txn *txn, const struct buf *keys)
{
    struct memtable *active = lsm_of(txn->txn.kv)->writer->active;
    struct lsm_write *write = txn->write;
    struct memtable_mark mark = memtable_mark(active);
    size_t redo_bytes = write->redo.bytes;
    uint64_t given_bytes = write->given_bytes;
    const uint8_t *at = keys->data;
    const uint8_t *end = at ? at + keys->bytes : NULL;
    sombra_err err = SOMBRA_OK;
    while (!err && at < end) {
        uint64_t bytes = 0;
        at = varint_get(at, end, &bytes);
        assert(at && bytes <= (uint64_t)(end - at));
        err = key_delete(txn, slice_of(at, (size_t)bytes));
        at += bytes;
    }
    if (err) {
        memtable_rollback(active, mark);
        redo_cut(write, redo_bytes);
        write->given_bytes = given_bytes;
        txn->changes++;
        txn->undone++;
    }
    return err;
}

static sombra_err range_hide(struct lsm_txn *txn, struct kv_range range)
{
    struct lsm_write *write = txn->write;
    size_t bytes = range.low.bytes + range.high.bytes;
    lsm_early_forget(txn);
    sombra_err err = write_reserve(txn, bytes);
    if (!err)
        err = memtable_delete_range(lsm_of(txn->txn.kv)->writer->active, txn->seq, range.low,
                                    range.high);
    if (err)
        return err;
    if (LIKELY(!write->is_unlogged))
        lsm_redo_delete_range(&write->redo, range);
    write->given_bytes += bytes;
    txn->changes++;
    return SOMBRA_OK;
}

/* A hidden range costs every later read of its surroundings a little, and a few deletes do not. */
static sombra_err range_remove(struct lsm_txn *txn, struct kv_range range, bool counts,
                               uint64_t *out_removed)
{
    struct buf keys = BUF_INIT;
    size_t collected = 0;
    uint64_t removed = 0;
    sombra_err err = keys_collect(txn, range, &keys, &collected);
    if (!err && collected <= POINT_DELETES_MAX) {
        removed = collected;
        err = keys_delete(txn, &keys);
    } else if (!err) {
        if (counts)
            err = lsm_count(&txn->txn, range, 0, &removed);
        if (!err)
            err = range_hide(txn, range);
    }
    buf_release(&keys);
    if (!err)
        *out_removed = removed;
    return err;
}

sombra_err lsm_remove_range(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_removed)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (!kv_txn->is_write)
        return readonly_refuse();
    struct kv_bounds bounds; /* those given may lie in what the last get gave */
    sombra_err err = kv_bounds_set(&bounds, range);
    if (err)
        return err;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    uint64_t removed = 0;
    if (range.high.bytes == 0 || slice_compare(range.low, range.high) < 0) {
        err = range_remove(txn, kv_bounds_range(&bounds), out_removed != NULL, &removed);
        if (err)
            return write_failed(txn, err);
    }
    if (out_removed)
        *out_removed = removed;
    return SOMBRA_OK;
}
