/* SPDX-License-Identifier: MIT */
/* wal_format: the bytes of a log file. All integers are little-endian; values are on disk: append
 * only.
 *
 * A log has no file header. It is a file of zeros in which records stand back to back from offset
 * 0, each on an 8-byte boundary:
 *
 *        0         4               8                               16
 *      0 +---------+---------------+-------------------------------+
 *        | crc     | payload_bytes | epoch                         |
 *     16 +---------+---------------+-------------------------------+
 *        | lsn                     | offset (of this record)       |
 *     32 +-------------------------+---------------+---------------+
 *        | durable_lsn             | link          | kind          |
 *     48 +-------------------------+---------------+---------------+
 *        | payload, payload_bytes bytes, then zeros to the next     |
 *        | multiple of 8                                            |
 *        +----------------------------------------------------------+
 *
 *   crc          CRC-32 of everything behind it: bytes 4 to 48 and the payload, not the padding
 *   epoch        of the log when it was written; never 0, so that zeros are no record
 *   lsn          one more than the record before (of whichever file); a mark repeats the last one
 *   offset       from the file's start: a record copied elsewhere does not count
 *   durable_lsn  greatest lsn known durable at that moment: below lsn; for a mark up to lsn
 *   link         crc of the record or mark before, across restarts and files; 0 if there was none
 *   kind         1 record, 2 mark (no payload)
 *
 * The log ends at the first header that does not fit: zeros, another epoch, another offset, more
 * payload than the file has left, a wrong crc, link or lsn. Whether that is a crash's tail or rot
 * is told by what stands behind it (wal_scan.c).
 *
 * A record is sought behind a bad one at every multiple of 8. User bytes cannot imitate one by
 * accident: they would have to hold the epoch, which begins with a random number, their own place
 * in the file, and the checksum over it all.
 */
#ifndef WAL_FORMAT_H
#define WAL_FORMAT_H

#include <assert.h>
#include <stdint.h>

enum wal_header_offset {
    WAL_CRC = 0,
    WAL_PAYLOAD_BYTES = 4,
    WAL_EPOCH = 8,
    WAL_LSN = 16,
    WAL_OFFSET = 24,
    WAL_DURABLE_LSN = 32,
    WAL_LINK = 40,
    WAL_KIND = 44,
    WAL_HEADER_BYTES = 48,
};

enum wal_kind {
    WAL_KIND_RECORD = 1,
    WAL_KIND_MARK = 2,
};

enum { WAL_ALIGN_BYTES = 8 };

static_assert(WAL_KIND + 4 == WAL_HEADER_BYTES, "the kind closes the header");
static_assert(WAL_HEADER_BYTES % WAL_ALIGN_BYTES == 0, "an empty record needs no padding");
static_assert(WAL_PAYLOAD_BYTES == WAL_CRC + 4, "crc and length share the word stored last");

#define WAL_PAYLOAD_BYTES_MAX ((uint64_t)UINT32_MAX)

#endif
