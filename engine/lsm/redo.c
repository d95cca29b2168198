/* SPDX-License-Identifier: MIT */
/* The payload of a log record: made by the writing transaction, applied by the next open. */
#include "write_internal.h"
#include "log_format.h"

/* What a log record holds. */
#define REDO_BYTES_MAX ((size_t)UINT32_C(0xFEFFFFFF))

enum { OP_HEAD_BYTES_MAX = 1 + 2 * VARINT_BYTES_MAX };

/* ---- make -------------------------------------------------------------------------------- */

sombra_err lsm_redo_reserve(struct buf *redo, size_t bytes)
{
    assert(redo->bytes <= REDO_BYTES_MAX);
    if (UNLIKELY(bytes > REDO_BYTES_MAX - OP_HEAD_BYTES_MAX ||
                 redo->bytes > REDO_BYTES_MAX - OP_HEAD_BYTES_MAX - bytes))
        return diag_fail(SOMBRA_LIMIT,
                         "the transaction has %zu bytes, and %zu more are more than a log record "
                         "holds: commit in smaller parts",
                         redo->bytes, bytes);
    if (LIKELY(redo->capacity - redo->bytes >= bytes + OP_HEAD_BYTES_MAX))
        return SOMBRA_OK;
    return buf_reserve(redo, bytes + OP_HEAD_BYTES_MAX);
}

static void append(struct buf *redo, enum lsm_log_op op, sombra_slice a, bool has_b, sombra_slice b)
{
    assert(redo->capacity - redo->bytes >= OP_HEAD_BYTES_MAX + a.bytes + b.bytes);
    uint8_t *at = redo->data + redo->bytes;
    *at++ = (uint8_t)op;
    at = varint_put(at, a.bytes);
    if (has_b)
        at = varint_put(at, b.bytes);
    if (a.bytes)
        memcpy(at, a.data, a.bytes);
    at += a.bytes;
    if (b.bytes)
        memcpy(at, b.data, b.bytes);
    redo->bytes = (size_t)(at + b.bytes - redo->data);
}

void lsm_redo_put(struct buf *redo, sombra_slice key, sombra_slice value)
{
    append(redo, LSM_LOG_PUT, key, true, value);
}

void lsm_redo_delete(struct buf *redo, sombra_slice key)
{
    append(redo, LSM_LOG_DELETE, key, false, slice_of(NULL, 0));
}

void lsm_redo_delete_range(struct buf *redo, struct kv_range range)
{
    append(redo, LSM_LOG_DELETE_RANGE, range.low, true, range.high);
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
    unsigned op = *reader->at++;
    uint64_t a_bytes = byte_reader_varint(reader);
    uint64_t b_bytes = op == LSM_LOG_DELETE ? 0 : byte_reader_varint(reader);
    sombra_slice a = byte_reader_bytes(reader, a_bytes);
    sombra_slice b = byte_reader_bytes(reader, b_bytes);
    bool is_bad = reader->is_bad;
    if (op == LSM_LOG_PUT && !is_bad && is_key(a) && b.bytes <= KV_VALUE_BYTES_MAX)
        return memtable_put(to, seq, ENTRY_PUT, a, b);
    if (op == LSM_LOG_DELETE && !is_bad && is_key(a))
        return memtable_put(to, seq, ENTRY_DELETE, a, slice_of(NULL, 0));
    if (op == LSM_LOG_DELETE_RANGE && !is_bad && is_range(a, b))
        return memtable_delete_range(to, seq, a, b);
    return diag_fail(SOMBRA_CORRUPT, "operation %u is cut short, unknown or makes no sense", op);
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
