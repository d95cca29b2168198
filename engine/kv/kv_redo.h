/* SPDX-License-Identifier: MIT */
/* kv_redo: operations as they stand in logs (kv_redo_format.h), written and read. */
#ifndef KV_REDO_H
#define KV_REDO_H

#include "base/base.h"
#include "kv_redo_format.h"

/* `b` is empty where the operation has one part. */
struct kv_redo {
    enum kv_redo_kind kind;
    sombra_slice a, b;
};

static inline size_t kv_redo_bytes_max(size_t a_bytes, size_t b_bytes)
{
    return 1 + 2 * VARINT_BYTES_MAX + a_bytes + b_bytes;
}

/* At most kv_redo_bytes_max. Returns where it ends. */
static inline uint8_t *kv_redo_write(uint8_t *at, struct kv_redo redo)
{
    *at++ = (uint8_t)redo.kind;
    at = varint_put(at, redo.a.bytes);
    if (redo.kind != KV_REDO_DELETE)
        at = varint_put(at, redo.b.bytes);
    if (redo.a.bytes)
        memcpy(at, redo.a.data, redo.a.bytes);
    at += redo.a.bytes;
    if (redo.b.bytes)
        memcpy(at, redo.b.data, redo.b.bytes);
    return at + redo.b.bytes;
}

/* There is at least a byte. False: cut short, or of an unknown kind. What the parts say is not
 * looked at. */
static inline bool kv_redo_read(struct byte_reader *reader, struct kv_redo *out)
{
    unsigned kind = *reader->at++;
    *out = (struct kv_redo){ .kind = (enum kv_redo_kind)kind };
    if (kind < KV_REDO_PUT || kind > KV_REDO_DELETE_RANGE)
        return false;
    uint64_t a_bytes = byte_reader_varint(reader);
    uint64_t b_bytes = kind == KV_REDO_DELETE ? 0 : byte_reader_varint(reader);
    out->a = byte_reader_bytes(reader, a_bytes);
    out->b = byte_reader_bytes(reader, b_bytes);
    return !reader->is_bad;
}

#endif
