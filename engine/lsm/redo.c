/* SPDX-License-Identifier: MIT */
/* The payload of a log record: made by the writing transaction, applied by the next open. */
#include "write_internal.h"
#include "log_format.h"

/* What a log record holds. */
#define REDO_BYTES_MAX ((size_t)UINT32_C(0xFEFFFFFF))

/* ---- make -------------------------------------------------------------------------------- */

sombra_err lsm_redo_reserve(struct buf *redo, size_t bytes)
{
    size_t need = bytes < REDO_BYTES_MAX ? kv_redo_bytes_max(bytes, 0) : bytes;
    assert(redo->bytes <= REDO_BYTES_MAX);
    if (UNLIKELY(need > REDO_BYTES_MAX - redo->bytes))
        return diag_fail(SOMBRA_LIMIT,
                         "the transaction has %zu bytes, and %zu more are more than a log record "
                         "holds: commit in smaller parts",
                         redo->bytes, bytes);
    if (LIKELY(redo->capacity - redo->bytes >= need))
        return SOMBRA_OK;
    return buf_reserve(redo, need);
}

static void append(struct buf *redo, enum kv_redo_kind kind, sombra_slice a, sombra_slice b)
{
    assert(redo->capacity - redo->bytes >= kv_redo_bytes_max(a.bytes, b.bytes));
    uint8_t *end = kv_redo_write(redo->data + redo->bytes, (struct kv_redo){ kind, a, b });
    redo->bytes = (size_t)(end - redo->data);
}

void lsm_redo_put(struct buf *redo, sombra_slice key, sombra_slice value)
{
    append(redo, KV_REDO_PUT, key, value);
}

void lsm_redo_delete(struct buf *redo, sombra_slice key)
{
    append(redo, KV_REDO_DELETE, key, slice_of(NULL, 0));
}

void lsm_redo_delete_range(struct buf *redo, struct kv_range range)
{
    append(redo, KV_REDO_DELETE_RANGE, range.low, range.high);
}

/* ---- apply ------------------------------------------------------------------------------- */

static bool is_key(sombra_slice key)
{
    return key.bytes >= 1 && key.bytes <= KV_KEY_BYTES_MAX;
}

static bool is_range(sombra_slice low, sombra_slice high)
{
    return low.bytes <= KV_KEY_BYTES_MAX && high.bytes <= KV_KEY_BYTES_MAX &&
           (high.bytes == 0 || slice_compare(low, high) < 0);
}

static sombra_err op_apply(struct byte_reader *reader, uint64_t seq, struct memtable *to)
{
    struct kv_redo redo;
    bool is_whole = kv_redo_read(reader, &redo);
    sombra_slice a = redo.a, b = redo.b;
    if (is_whole && redo.kind == KV_REDO_PUT && is_key(a) && b.bytes <= KV_VALUE_BYTES_MAX)
        return memtable_put(to, seq, ENTRY_PUT, a, b);
    if (is_whole && redo.kind == KV_REDO_DELETE && is_key(a))
        return memtable_put(to, seq, ENTRY_DELETE, a, slice_of(NULL, 0));
    if (is_whole && redo.kind == KV_REDO_DELETE_RANGE && is_range(a, b))
        return memtable_delete_range(to, seq, a, b);
    return diag_fail(SOMBRA_CORRUPT, "operation %d is cut short, unknown or makes no sense",
                     (int)redo.kind);
}

sombra_err lsm_redo_apply(sombra_slice payload, uint64_t seq, struct memtable *to)
{
    assert(seq > 0);
    struct byte_reader reader = byte_reader_of(payload);
    if (payload.bytes == 0)
        return diag_fail(SOMBRA_CORRUPT, "log record of commit %" PRIu64 " is empty", seq);
    sombra_err err = SOMBRA_OK;
    while (!err && reader.at < reader.end)
        err = op_apply(&reader, seq, to);
    memtable_settle(to);
    return diag_wrap(err, "log record of commit %" PRIu64, seq);
}
