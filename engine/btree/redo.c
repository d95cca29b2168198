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
    if (txn->redo.bytes + more <= txn->btree->options.wal_bypass_bytes)
        return true;
    txn->is_bypass = true;
    buf_release(&txn->redo);
    return false;
}

static sombra_err redo_append(struct btree_txn *txn, enum redo_op op, sombra_slice a, bool has_b,
                              sombra_slice b)
{
    size_t bytes = 1 + 2 * VARINT_BYTES_MAX + a.bytes + b.bytes;
    if (!redo_is_wanted(txn, bytes))
        return SOMBRA_OK;
    sombra_err err = buf_reserve(&txn->redo, bytes);
    if (err)
        return err;
    uint8_t *at = txn->redo.data + txn->redo.bytes;
    *at++ = (uint8_t)op;
    at = varint_put(at, a.bytes);
    if (has_b)
        at = varint_put(at, b.bytes);
    if (a.bytes)
        memcpy(at, a.data, a.bytes);
    at += a.bytes;
    if (b.bytes)
        memcpy(at, b.data, b.bytes);
    txn->redo.bytes = (size_t)(at + b.bytes - txn->redo.data);
    return SOMBRA_OK;
}

sombra_err redo_put(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    return redo_append(txn, REDO_PUT, key, true, value);
}

sombra_err redo_delete(struct btree_txn *txn, sombra_slice key)
{
    return redo_append(txn, REDO_DELETE, key, false, slice_of(NULL, 0));
}

sombra_err redo_delete_range(struct btree_txn *txn, struct kv_range range)
{
    return redo_append(txn, REDO_DELETE_RANGE, range.low, true, range.high);
}

/* ---- the record's head ------------------------------------------------------------------- */

static sombra_err runs_append(struct btree_txn *txn, enum space_action action, bool has_born)
{
    const struct space *space = &txn->btree->space;
    struct buf *record = &txn->record;
    uint64_t count = 0;
    for (size_t i = 0; i < space->change_count; i++)
        count += space->changes[i].action == action;
    sombra_err err = buf_reserve(record, (1 + 3 * (size_t)count) * VARINT_BYTES_MAX);
    if (err)
        return err;
    uint8_t *at = varint_put(record->data + record->bytes, count);
    page_id before = 0;
    for (size_t i = 0; i < space->change_count; i++) {
        const struct space_change *change = &space->changes[i];
        if (change->action != action)
            continue;
        at = varint_put(at, zigzag((int64_t)(change->id - before)));
        at = varint_put(at, change->pages);
        if (has_born)
            at = varint_put(at, txn->stamp - change->born);
        before = change->id;
    }
    record->bytes = (size_t)(at - record->data);
    return SOMBRA_OK;
}

sombra_err redo_head(struct btree_txn *txn)
{
    const struct space *space = &txn->btree->space;
    struct buf *record = &txn->record;
    buf_reset(record);
    uint8_t *at;
    sombra_err err = buf_extend(record, 8, &at);
    if (err)
        return err;
    put_le64(at, txn->stamp);
    uint64_t freed = 0;
    for (size_t i = 0; i < space->change_count; i++)
        freed += space->changes[i].action == SPACE_FREED ? space->changes[i].pages : 0;
    err = buf_append_varint(record, space->page_count);
    if (!err)
        err = buf_append_varint(record, space_unused(space) + freed);
    if (!err)
        err = runs_append(txn, SPACE_TAKEN, false);
    if (!err)
        err = runs_append(txn, SPACE_RETURNED, false);
    if (!err)
        err = runs_append(txn, SPACE_FREED, true);
    return err;
}

/* ---- replay ------------------------------------------------------------------------------ */

struct reader {
    const uint8_t *at, *end;
    bool is_bad;
};

static uint64_t read_varint(struct reader *reader)
{
    uint64_t value = 0;
    const uint8_t *at = reader->is_bad ? NULL : varint_get(reader->at, reader->end, &value);
    if (!at) {
        reader->is_bad = true;
        return 0;
    }
    reader->at = at;
    return value;
}

static sombra_slice read_bytes(struct reader *reader, uint64_t bytes)
{
    if (reader->is_bad || bytes > (uint64_t)(reader->end - reader->at)) {
        reader->is_bad = true;
        return slice_of(NULL, 0);
    }
    sombra_slice slice = slice_of(reader->at, (size_t)bytes);
    reader->at += bytes;
    return slice;
}

static void skip_runs(struct reader *reader, bool has_born)
{
    uint64_t count = read_varint(reader);
    for (uint64_t i = 0; i < count && !reader->is_bad; i++) {
        (void)read_varint(reader);
        (void)read_varint(reader);
        if (has_born)
            (void)read_varint(reader);
    }
}

static sombra_err op_apply(struct btree_txn *txn, struct reader *reader)
{
    enum redo_op op = (enum redo_op) * reader->at++;
    uint64_t a_bytes = read_varint(reader);
    uint64_t b_bytes = op == REDO_DELETE ? 0 : read_varint(reader);
    sombra_slice a = read_bytes(reader, a_bytes);
    sombra_slice b = read_bytes(reader, b_bytes);
    if (reader->is_bad || op < REDO_PUT || op > REDO_DELETE_RANGE)
        return diag_fail(SOMBRA_CORRUPT, "log record: operation %d is cut short or unknown",
                         (int)op);
    sombra_err err;
    if (op == REDO_PUT)
        err = btree_put(&txn->kv, a, b);
    else if (op == REDO_DELETE)
        err = btree_delete(&txn->kv, a);
    else
        err = btree_delete_range(&txn->kv, (struct kv_range){ a, b }, NULL);
    if (err == SOMBRA_NOT_FOUND && txn->is_salvage)
        return SOMBRA_OK;
    if (err == SOMBRA_INVALID || err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_CORRUPT,
                         "log record: operation %d does not fit the database it is for", (int)op);
    return err;
}

sombra_err redo_apply(struct btree_txn *txn, sombra_slice payload, uint64_t *out_txn)
{
    if (payload.bytes < 8)
        return diag_fail(SOMBRA_CORRUPT, "log record of %zu bytes", payload.bytes);
    struct reader reader = { .at = payload.data,
                             .end = (const uint8_t *)payload.data + payload.bytes };
    uint64_t number = get_le64(reader.at);
    reader.at += 8;
    (void)read_varint(&reader);
    (void)read_varint(&reader);
    skip_runs(&reader, false);
    skip_runs(&reader, false);
    skip_runs(&reader, true);
    if (reader.is_bad)
        return diag_fail(SOMBRA_CORRUPT,
                         "log record of txn %" PRIu64 ": its page lists are cut short", number);
    while (reader.at < reader.end) {
        sombra_err err = op_apply(txn, &reader);
        if (err)
            return diag_wrap(err, "replay txn %" PRIu64, number);
    }
    *out_txn = number;
    return SOMBRA_OK;
}
