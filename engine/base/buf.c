/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>

enum { CAPACITY_MIN = 64 };

/* From LARGE_BYTES on memory is pages that the system gives when they are touched: room that is not
 * used costs nothing but addresses, and a copy costs all pages anew. So there is more of it. */
enum { LARGE_BYTES = 2 << 20, LARGE_TIMES = 8, LARGE_MORE_BYTES = 256 << 20 };

static void check(const struct buf *buf)
{
    assert(buf->bytes <= buf->capacity);
    assert((buf->data == NULL) == (buf->capacity == 0));
}

void buf_release(struct buf *buf)
{
    check(buf);
    mem_free(buf->data);
    *buf = (struct buf)BUF_INIT;
}

static size_t with_large_room(size_t capacity)
{
    if (LIKELY(capacity < LARGE_BYTES) || capacity > SIZE_MAX / LARGE_TIMES)
        return capacity;
    return size_min(capacity * LARGE_TIMES, capacity + LARGE_MORE_BYTES);
}

static sombra_err grow(struct buf *buf, size_t more)
{
    size_t needed;
    if (__builtin_add_overflow(buf->bytes, more, &needed))
        return diag_nomem("a buffer", SIZE_MAX);
    size_t doubled = buf->capacity > SIZE_MAX / 2 ? needed : buf->capacity * 2;
    size_t capacity = size_max(size_max(needed, doubled), CAPACITY_MIN);
    size_t roomy = needed <= doubled ? with_large_room(capacity) : capacity;
    uint8_t *data = roomy > capacity ? mem_grow(buf->data, buf->capacity, roomy) : NULL;
    if (data)
        capacity = roomy;
    else
        data = mem_grow(buf->data, buf->capacity, capacity);
    if (!data)
        return diag_nomem("a buffer", capacity);
    buf->data = data;
    buf->capacity = capacity;
    return SOMBRA_OK;
}

sombra_err buf_reserve(struct buf *buf, size_t more)
{
    check(buf);
    if (LIKELY(more <= buf->capacity - buf->bytes))
        return SOMBRA_OK;
    return grow(buf, more);
}

sombra_err buf_extend(struct buf *buf, size_t more, uint8_t **out_at)
{
    sombra_err err = buf_reserve(buf, more);
    if (err)
        return err;
    *out_at = buf->data ? buf->data + buf->bytes : NULL;
    buf->bytes += more;
    return SOMBRA_OK;
}

sombra_err buf_append(struct buf *buf, const void *data, size_t bytes)
{
    sombra_err err = buf_reserve(buf, bytes);
    if (err)
        return err;
    if (bytes)
        memcpy(buf->data + buf->bytes, data, bytes);
    buf->bytes += bytes;
    return SOMBRA_OK;
}

sombra_err buf_append_slice(struct buf *buf, sombra_slice s)
{
    return buf_append(buf, s.data, s.bytes);
}

sombra_err buf_append_u8(struct buf *buf, uint8_t value)
{
    return buf_append(buf, &value, 1);
}

sombra_err buf_append_varint(struct buf *buf, uint64_t value)
{
    sombra_err err = buf_reserve(buf, VARINT_BYTES_MAX);
    if (err)
        return err;
    buf->bytes = (size_t)(varint_put(buf->data + buf->bytes, value) - buf->data);
    return SOMBRA_OK;
}

/* The slice may lie in the buffer itself: it then fits without growing, and memmove copes. */
sombra_err buf_set(struct buf *buf, sombra_slice s)
{
    check(buf);
    if (s.bytes > buf->capacity) {
        sombra_err err = grow(buf, s.bytes - buf->bytes);
        if (err)
            return err;
    }
    if (s.bytes)
        memmove(buf->data, s.data, s.bytes);
    buf->bytes = s.bytes;
    return SOMBRA_OK;
}
