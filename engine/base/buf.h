/* SPDX-License-Identifier: MIT */
/* buf: a growing byte buffer. BUF_INIT is releasable; reset keeps the capacity.
 *
 * Ownership: `data` belongs to the buffer and moves when it grows.
 * Threads: one at a time.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "slice.h"

struct buf {
    uint8_t *data;   /* NULL while capacity is 0 */
    size_t bytes;    /* in use */
    size_t capacity; /* allocated */
};

#define BUF_INIT                                \
    {                                           \
        .data = NULL, .bytes = 0, .capacity = 0 \
    }

void buf_release(struct buf *buf);
static inline void buf_reset(struct buf *buf)
{
    buf->bytes = 0;
}
static inline sombra_slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->bytes);
}

/* Makes room for `more` bytes behind the used ones; NOMEM, and then nothing changed. */
sombra_err buf_reserve(struct buf *buf, size_t more) SOMBRA_MUST_CHECK;
/* Like reserve, and counts them as used; *out_at points to the new, uninitialised bytes. */
sombra_err buf_extend(struct buf *buf, size_t more, uint8_t **out_at) SOMBRA_MUST_CHECK;
sombra_err buf_append(struct buf *buf, const void *data, size_t bytes) SOMBRA_MUST_CHECK;
sombra_err buf_append_slice(struct buf *buf, sombra_slice s) SOMBRA_MUST_CHECK;
sombra_err buf_append_u8(struct buf *buf, uint8_t value) SOMBRA_MUST_CHECK;
sombra_err buf_append_varint(struct buf *buf, uint64_t value) SOMBRA_MUST_CHECK; /* LEB128 */
/* Replaces the content. */
sombra_err buf_set(struct buf *buf, sombra_slice s) SOMBRA_MUST_CHECK;

#endif
