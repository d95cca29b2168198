/* SPDX-License-Identifier: MIT */
/* wal_reader: ranges of a log file through one growing buffer, by reads and not by a mapping: an
 * error of the medium is an error here, and a file cut short is no signal. */
#include "wal/wal_internal.h"

enum { AHEAD_BYTES_FIRST = 4096, AHEAD_BYTES_MAX = 1024 * 1024 };

sombra_err wal_reader_init(struct wal_reader *reader, struct os_file *file)
{
    *reader =
        (struct wal_reader){ .file = file, .buf = BUF_INIT, .ahead_bytes = AHEAD_BYTES_FIRST };
    return os_size(file, &reader->file_bytes);
}

void wal_reader_release(struct wal_reader *reader)
{
    buf_release(&reader->buf);
}

sombra_err wal_reader_view_some(struct wal_reader *reader, uint64_t offset, size_t bytes,
                                sombra_slice *out)
{
    assert(offset <= reader->file_bytes && bytes <= reader->file_bytes - offset);
    assert(bytes > 0);
    uint64_t skip = offset - reader->base;
    if (offset < reader->base || skip > reader->buf.bytes || bytes > reader->buf.bytes - skip) {
        size_t want =
            (size_t)u64_min(size_max(bytes, reader->ahead_bytes), reader->file_bytes - offset);
        uint8_t *at;
        buf_reset(&reader->buf); /* holds nothing if the read below fails */
        sombra_err err = buf_extend(&reader->buf, want, &at);
        if (!err)
            err = os_read(reader->file, offset, at, want);
        if (err) {
            buf_reset(&reader->buf);
            return err;
        }
        reader->base = offset;
        reader->ahead_bytes = size_min(reader->ahead_bytes * 2, AHEAD_BYTES_MAX);
        skip = 0;
    }
    *out = slice_from(buf_slice(&reader->buf), (size_t)skip);
    assert(out->bytes >= bytes);
    return SOMBRA_OK;
}

sombra_err wal_reader_view(struct wal_reader *reader, uint64_t offset, size_t bytes,
                           const uint8_t **out_at)
{
    sombra_slice slice;
    sombra_err err = wal_reader_view_some(reader, offset, bytes, &slice);
    if (!err)
        *out_at = slice.data;
    return err;
}
