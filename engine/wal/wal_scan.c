/* SPDX-License-Identifier: MIT */
/* wal_scan: was the record that is missing at a log's end ever durable?
 *
 * Every multiple of 8 from the end to the end of the file is looked at; a valid record there that
 * knows the missing lsn as durable says yes. Most positions fail on one compare (the epoch). For
 * the checksum of a candidate its bytes are not read again: a table holds the running CRC every
 * 4 KiB, and CRC-32 is linear, so the CRC of a range follows from those of two prefixes,
 *
 *     crc(range) = crc(prefix to its end) ^ shift(crc(prefix to its start), range bytes)
 *
 * where shift multiplies by x^(8 n) modulo the polynomial. So the cost stays linear in the file
 * even if each of its positions claims to hold a record that reaches to the end. The table is
 * built when the first candidate turns up: seldom.
 */
#include "wal/wal_internal.h"

enum { BLOCK_BYTES = 4096 };

static const uint32_t polynomial = UINT32_C(0xEDB88320); /* zlib's, bits reflected */
static const uint32_t x_to_0 = UINT32_C(1) << 31;
static const uint32_t x_to_8 = UINT32_C(1) << 23;

/* CRCs of the prefixes of [start, file's end). */
struct prefixes {
    struct wal_reader reader; /* its own: the caller walks with another */
    uint64_t start;
    uint32_t *crcs; /* [i]: of the first i blocks; NULL until built */
};

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        if (a & x_to_0)
            product ^= b;
        b = (b >> 1) ^ (b & 1 ? polynomial : 0);
    }
    return product;
}

static uint32_t shift(uint32_t crc, uint64_t bytes)
{
    for (uint32_t power = x_to_8; bytes != 0; bytes >>= 1) {
        if (bytes & 1)
            crc = multiply(power, crc);
        power = multiply(power, power);
    }
    return crc;
}

static sombra_err prefixes_build(struct prefixes *prefixes, uint64_t start)
{
    assert(!prefixes->crcs);
    uint64_t bytes = prefixes->reader.file_bytes - start;
    uint64_t count = bytes / BLOCK_BYTES + 1;
    if (count > SIZE_MAX / sizeof *prefixes->crcs)
        return diag_nomem("checksums of the log's tail", SIZE_MAX);
    prefixes->crcs = mem_alloc((size_t)count * sizeof *prefixes->crcs);
    if (!prefixes->crcs)
        return diag_nomem("checksums of the log's tail", (size_t)count * sizeof *prefixes->crcs);
    prefixes->start = start;
    prefixes->crcs[0] = 0;
    for (uint64_t i = 1; i < count; i++) {
        const uint8_t *at;
        sombra_err err =
            wal_reader_view(&prefixes->reader, start + (i - 1) * BLOCK_BYTES, BLOCK_BYTES, &at);
        if (err)
            return err;
        prefixes->crcs[i] = crc32_update(prefixes->crcs[i - 1], at, BLOCK_BYTES);
    }
    return SOMBRA_OK;
}

static sombra_err prefix_crc(struct prefixes *prefixes, uint64_t end, uint32_t *out_crc)
{
    assert(end >= prefixes->start && end <= prefixes->reader.file_bytes);
    uint64_t block = (end - prefixes->start) / BLOCK_BYTES;
    size_t rest = (size_t)((end - prefixes->start) % BLOCK_BYTES);
    uint32_t crc = prefixes->crcs[block];
    if (rest) {
        const uint8_t *at;
        sombra_err err =
            wal_reader_view(&prefixes->reader, prefixes->start + block * BLOCK_BYTES, rest, &at);
        if (err)
            return err;
        crc = crc32_update(crc, at, rest);
    }
    *out_crc = crc;
    return SOMBRA_OK;
}

static sombra_err checksum_holds(struct prefixes *prefixes, const struct wal_header *header,
                                 bool *out_holds)
{
    uint64_t start = header->offset + WAL_PAYLOAD_BYTES;
    uint64_t end = header->offset + WAL_HEADER_BYTES + header->payload_bytes;
    uint32_t before = 0, through = 0;
    sombra_err err = SOMBRA_OK;
    if (!prefixes->crcs)
        err = prefixes_build(prefixes, header->offset);
    if (!err)
        err = prefix_crc(prefixes, start, &before);
    if (!err)
        err = prefix_crc(prefixes, end, &through);
    if (!err)
        *out_holds = (through ^ shift(before, end - start)) == header->crc;
    return err;
}

/* Looks at the headers that begin in [offset, offset + slice.bytes - WAL_HEADER_BYTES]. */
static sombra_err scan_slice(struct prefixes *prefixes, sombra_slice slice, uint64_t offset,
                             struct wal_position end, uint64_t missing_lsn)
{
    const uint8_t *at = slice.data;
    uint64_t file_bytes = prefixes->reader.file_bytes;
    for (size_t i = 0; i + WAL_HEADER_BYTES <= slice.bytes; i += WAL_ALIGN_BYTES) {
        if (LIKELY(get_le64(at + i + WAL_EPOCH) != end.epoch))
            continue;
        struct wal_header header = wal_header_get(at + i);
        if (header.durable_lsn < missing_lsn ||
            !wal_header_fits(&header, end.epoch, offset + i, file_bytes))
            continue;
        bool holds = false;
        sombra_err err = checksum_holds(prefixes, &header, &holds);
        if (err)
            return err;
        if (holds)
            return diag_fail(SOMBRA_CORRUPT,
                             "log %s: record %" PRIu64 " at offset %" PRIu64
                             " is damaged or missing, but the record at %" PRIu64 " knows %" PRIu64
                             " as durable; restore a backup or repair it",
                             os_file_path(prefixes->reader.file), missing_lsn, end.offset,
                             header.offset, header.durable_lsn);
    }
    return SOMBRA_OK;
}

sombra_err wal_scan_behind(struct wal_reader *reader, struct wal_position end, uint64_t last_lsn)
{
    assert(end.epoch != 0 && end.offset % WAL_ALIGN_BYTES == 0);
    if (last_lsn == UINT64_MAX)
        return SOMBRA_OK; /* no lsn follows */
    struct prefixes prefixes = { 0 };
    uint64_t offset = end.offset;
    sombra_err err = wal_reader_init(&prefixes.reader, reader->file);
    prefixes.reader.file_bytes = reader->file_bytes;
    while (!err && offset <= reader->file_bytes &&
           reader->file_bytes - offset >= WAL_HEADER_BYTES) {
        sombra_slice slice;
        err = wal_reader_view_some(reader, offset, WAL_HEADER_BYTES, &slice);
        if (err)
            break;
        err = scan_slice(&prefixes, slice, offset, end, last_lsn + 1);
        size_t positions = (slice.bytes - WAL_HEADER_BYTES) / WAL_ALIGN_BYTES + 1;
        offset += positions * WAL_ALIGN_BYTES;
    }
    wal_reader_release(&prefixes.reader);
    mem_free(prefixes.crcs);
    return err;
}
