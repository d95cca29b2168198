/* SPDX-License-Identifier: MIT */
/* byte_reader: reads varints and lengths of bytes from memory that may be damaged. After the first
 * thing that is cut short it is bad, and all that it gives is empty: callers ask once, at the end.
 *
 * Ownership: slices are of the memory that is read. Threads: one at a time.
 */
#ifndef BASE_BYTE_READER_H
#define BASE_BYTE_READER_H

#include "slice.h"
#include "varint.h"

struct byte_reader {
    const uint8_t *at, *end;
    bool is_bad;
};

static inline struct byte_reader byte_reader_of(sombra_slice bytes)
{
    const uint8_t *at = bytes.data;
    return (struct byte_reader){ .at = at, .end = at + bytes.bytes };
}

static inline uint64_t byte_reader_varint(struct byte_reader *reader)
{
    uint64_t value = 0;
    const uint8_t *next = reader->is_bad ? NULL : varint_get(reader->at, reader->end, &value);
    if (!next) {
        reader->is_bad = true;
        return 0;
    }
    reader->at = next;
    return value;
}

static inline sombra_slice byte_reader_bytes(struct byte_reader *reader, uint64_t bytes)
{
    if (reader->is_bad || bytes > (uint64_t)(reader->end - reader->at)) {
        reader->is_bad = true;
        return slice_of(NULL, 0);
    }
    sombra_slice slice = slice_of(reader->at, (size_t)bytes);
    reader->at += bytes;
    return slice;
}

#endif
