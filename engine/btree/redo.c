/* SPDX-License-Identifier: MIT */
/* Redo records: what a transaction did, in keys and values (redo_format.h). */
#include "btree_internal.h"
#include "redo_format.h"

/* ---- operations -------------------------------------------------------------------------- */

/* False when the transaction is (now) too big for the log: the bypass is for the rest of its life,
 * since what is dropped here cannot be logged after a rollback. */
static bool redo_is_wanted(struct btree_txn *txn, uint64_t more)
{
    if (txn->is_bypass || txn->is_replay || !txn->btree->file)
        return false;
    uint64_t bytes_max = txn->btree->options.wal_bypass_bytes;
    if (txn->redo.bytes <= bytes_max && more <= bytes_max - txn->redo.bytes)
        return true;
    txn->is_bypass = true;
    buf_release(&txn->redo);
    return false;
}

/* Room for `more` bytes. A long redo gets room for all that it may become at once, which costs
 * nothing before it is filled, and is never copied from one block to the next. */
static sombra_err redo_reserve(struct btree_txn *txn, size_t more)
{
    enum { LONG_BYTES = 512 << 10, ROOM_BYTES_MAX = 64 << 20 };
    struct buf *redo = &txn->redo;
    if (LIKELY(more <= redo->capacity - redo->bytes))
        return SOMBRA_OK;
    uint64_t room = u64_min(txn->btree->options.wal_bypass_bytes, ROOM_BYTES_MAX);
    if (redo->bytes >= LONG_BYTES && room > redo->bytes && more <= room - redo->bytes &&
        buf_reserve(redo, (size_t)room - redo->bytes) == SOMBRA_OK)
        return SOMBRA_OK;
    return buf_reserve(redo, more);
}

static sombra_err redo_append(struct btree_txn *txn, enum kv_redo_kind kind, sombra_slice a,
                              sombra_slice b)
{
    size_t bytes = kv_redo_bytes_max(a.bytes, b.bytes);
    if (!redo_is_wanted(txn, bytes))
        return SOMBRA_OK;
    sombra_err err = redo_reserve(txn, bytes);
    if (err)
        return err;
    uint8_t *at = kv_redo_write(txn->redo.data + txn->redo.bytes, (struct kv_redo){ kind, a, b });
    txn->redo.bytes = (size_t)(at - txn->redo.data);
    return SOMBRA_OK;
}

sombra_err redo_put(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    return redo_append(txn, KV_REDO_PUT, key, value);
}

sombra_err redo_put_many(struct btree_txn *txn, const struct kv_entry *entries, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += kv_redo_bytes_max(entries[i].key.bytes, entries[i].value.bytes);
    if (!redo_is_wanted(txn, bytes))
        return SOMBRA_OK;
    sombra_err err = redo_reserve(txn, bytes);
    if (err)
        return err;
    uint8_t *at = txn->redo.data + txn->redo.bytes;
    for (size_t i = 0; i < count; i++)
        at = kv_redo_write(at, (struct kv_redo){ KV_REDO_PUT, entries[i].key, entries[i].value });
    txn->redo.bytes = (size_t)(at - txn->redo.data);
    return SOMBRA_OK;
}

void redo_expect(struct btree_txn *txn, uint64_t bytes)
{
    (void)redo_is_wanted(txn, bytes);
}

sombra_err redo_delete(struct btree_txn *txn, sombra_slice key)
{
    return redo_append(txn, KV_REDO_DELETE, key, slice_of(NULL, 0));
}

sombra_err redo_delete_range(struct btree_txn *txn, struct kv_range range)
{
    return redo_append(txn, KV_REDO_DELETE_RANGE, range.low, range.high);
}

void redo_read_put(const struct btree_txn *txn, size_t at, sombra_slice *out_key,
                   sombra_slice *out_value)
{
    const struct buf *redo = &txn->redo;
    struct byte_reader reader = byte_reader_of(slice_of(redo->data + at, redo->bytes - at));
    struct kv_redo put;
    bool is_whole = kv_redo_read(&reader, &put);
    assert(is_whole && put.kind == KV_REDO_PUT && reader.at == reader.end);
    (void)is_whole;
    *out_key = put.a;
    *out_value = put.b;
}

sombra_err redo_move(struct btree_txn *txn)
{
    assert(txn->redo.bytes == 0 && !txn->is_bypass);
    sombra_err err = buf_reserve(&txn->redo, 1);
    if (!err)
        txn->redo.data[txn->redo.bytes++] = REDO_MOVE;
    return err;
}

/* ---- the record's head ------------------------------------------------------------------- */

/* The page list. Returns its end. */
static uint8_t *changes_put(const struct btree_txn *txn, uint8_t *at)
{
    const struct space *space = &txn->btree->space;
    at = varint_put(at, space->change_count);
    page_id before = 0;
    for (size_t i = 0; i < space->change_count; i++) {
        const struct space_change *change = &space->changes[i];
        at = varint_put(at, zigzag((int64_t)(change->id - before)));
        at = varint_put(at, change->pages << 2 | (uint64_t)change->action);
        if (change->action == SPACE_FREED)
            at = varint_put(at, txn->stamp - change->born);
        before = change->id;
    }
    return at;
}

sombra_err redo_head(struct btree_txn *txn)
{
    const struct space *space = &txn->btree->space;
    struct buf *record = &txn->record;
    buf_reset(record);
    sombra_err err = buf_reserve(record, 8 + (3 + 3 * space->change_count) * VARINT_BYTES_MAX);
    if (err)
        return err;
    uint64_t freed = 0;
    for (size_t i = 0; i < space->change_count; i++)
        freed += space->changes[i].action == SPACE_FREED ? space->changes[i].pages : 0;
    uint8_t *at = record->data;
    put_le64(at, txn->stamp);
    at = varint_put(at + 8, space->page_count);
    at = varint_put(at, space_unused(space) + freed);
    record->bytes = (size_t)(changes_put(txn, at) - record->data);
    return SOMBRA_OK;
}

/* ---- replay ------------------------------------------------------------------------------ */

static void skip_changes(struct byte_reader *reader)
{
    uint64_t count = byte_reader_varint(reader);
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        (void)byte_reader_varint(reader);
        if ((byte_reader_varint(reader) & 3) == SPACE_FREED)
            (void)byte_reader_varint(reader);
    }
}

static sombra_err op_apply(struct btree_txn *txn, struct byte_reader *reader)
{
    struct kv_redo redo;
    if (*reader->at == REDO_MOVE) {
        reader->at++;
        return SOMBRA_OK;
    }
    if (!kv_redo_read(reader, &redo))
        return diag_fail(SOMBRA_CORRUPT, "log record: operation %d is cut short or unknown",
                         (int)redo.kind);
    sombra_err err;
    if (redo.kind == KV_REDO_PUT)
        err = btree_put(&txn->kv, redo.a, redo.b);
    else if (redo.kind == KV_REDO_DELETE)
        err = btree_delete(&txn->kv, redo.a);
    else
        err = btree_delete_range(&txn->kv, (struct kv_range){ redo.a, redo.b }, NULL);
    if (err == SOMBRA_NOT_FOUND && txn->is_salvage)
        return SOMBRA_OK;
    if (err == SOMBRA_INVALID || err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_CORRUPT,
                         "log record: operation %d does not fit the database it is for",
                         (int)redo.kind);
    return err;
}

/* `are_maps`: the record is a checkpoint's, which takes pages for its maps and nothing else. */
static sombra_err changes_apply(struct space *space, struct byte_reader *reader, uint64_t txn,
                                bool are_maps)
{
    uint64_t count = byte_reader_varint(reader);
    page_id id = 0;
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        id += (uint64_t)unzigzag(byte_reader_varint(reader));
        uint64_t what = byte_reader_varint(reader);
        uint64_t pages = what >> 2;
        sombra_err err = SOMBRA_OK;
        if ((what & 3) == SPACE_TAKEN) {
            err = space_apply_taken(space, id, pages);
            if (!err && are_maps)
                err = space_adopt_orphan(space, id);
        } else if ((what & 3) == SPACE_RETURNED)
            err = space_apply_returned(space, id, pages);
        else if ((what & 3) == SPACE_FREED)
            err = space_apply_freed(space, id, pages, txn - byte_reader_varint(reader), txn);
        else
            reader->is_bad = true;
        if (err)
            return err;
    }
    if (!reader->is_bad)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT, "log record of txn %" PRIu64 ": its page list is cut short",
                     txn);
}

sombra_err redo_apply_space(struct space *space, sombra_slice payload)
{
    if (payload.bytes < 8)
        return diag_fail(SOMBRA_CORRUPT, "log record of %zu bytes", payload.bytes);
    struct byte_reader reader = byte_reader_of(payload);
    uint64_t txn = get_le64(reader.at);
    reader.at += 8;
    uint64_t page_count = byte_reader_varint(&reader);
    uint64_t unused = byte_reader_varint(&reader);
    if (reader.is_bad || page_count >> 48)
        return diag_fail(SOMBRA_CORRUPT,
                         "log record of txn %" PRIu64 ": %" PRIu64 " pages after %" PRIu64, txn,
                         page_count, space->page_count);
    sombra_err err = space_grow_to(space, page_count);
    if (!err) {
        struct byte_reader ahead = reader;
        skip_changes(&ahead);
        bool are_maps = !ahead.is_bad && ahead.at == ahead.end;
        if (are_maps && ahead.at - reader.at > 1)
            space_forget_maps(space);
        err = changes_apply(space, &reader, txn, are_maps);
    }
    if (!err)
        err = space_apply_cut(space, page_count);
    if (!err && space_unused(space) != unused)
        err = diag_fail(SOMBRA_CORRUPT,
                        "log record of txn %" PRIu64 ": %" PRIu64 " pages unused, %" PRIu64
                        " expected",
                        txn, space_unused(space), unused);
    return err;
}

sombra_err redo_apply(struct btree_txn *txn, sombra_slice payload, uint64_t *out_txn)
{
    if (payload.bytes < 8)
        return diag_fail(SOMBRA_CORRUPT, "log record of %zu bytes", payload.bytes);
    struct byte_reader reader = byte_reader_of(payload);
    uint64_t number = get_le64(reader.at);
    reader.at += 8;
    (void)byte_reader_varint(&reader);
    (void)byte_reader_varint(&reader);
    skip_changes(&reader);
    if (reader.is_bad)
        return diag_fail(SOMBRA_CORRUPT,
                         "log record of txn %" PRIu64 ": its page list is cut short", number);
    while (reader.at < reader.end) {
        sombra_err err = op_apply(txn, &reader);
        if (err)
            return diag_wrap(err, "replay txn %" PRIu64, number);
    }
    sombra_err err = tree_defer_settle(txn);
    if (err)
        return diag_wrap(err, "replay txn %" PRIu64, number);
    *out_txn = number;
    return SOMBRA_OK;
}
