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
 *   kind         1 record, 2 mark (no payload), 3 record in a log that has short ones
 *
 * A SHORT record has no more than what does not follow from the one before it:
 *
 *        0         4               6         7         8
 *      0 +---------+---------------+---------+---------+
 *        | crc     | payload_bytes | lsn     | 255     |
 *      8 +---------+---------------+---------+---------+
 *        | payload, then zeros to the next multiple of 8
 *
 *   lsn          the low byte of it
 *   crc          of the header of 48 bytes that it stands for, and the payload: bytes 4 to 8 as
 *                here, the log's epoch, the lsn after that of the record before, this offset,
 *                durable_lsn 0, the crc of the record before, kind 4
 *
 * So what protects a record protects a short one: it counts only in its epoch, at its place, behind
 * the very record that it was written behind. It knows nothing as durable. For what scans a log
 * whose chain is broken, writers see to it that in each block of 4 KiB in which records begin the
 * first of them is whole, and that a whole one tells each rise of durable_lsn: with or without
 * short records, what is left of a log behind the loss of a block knows the same as durable.
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
    WAL_KIND_LEADER = 3, /* builds that know no short records refuse it, and with it the log */
    WAL_KIND_SHORT = 4,  /* only in the header that a short record stands for */
};

enum wal_short_offset {
    /* WAL_CRC = 0 */
    WAL_SHORT_PAYLOAD_BYTES = 4,
    WAL_SHORT_LSN = 6,
    WAL_SHORT_TAG = 7,
    WAL_SHORT_HEADER_BYTES = 8,
};

enum {
    WAL_ALIGN_BYTES = 8,
    WAL_SHORT_TAG_VALUE = 255,
    WAL_SHORT_PAYLOAD_BYTES_MAX = 4096, /* of those that are written */
    WAL_BLOCK_BYTES = 4096,             /* the first record that begins in one is whole */
};

static_assert(WAL_KIND + 4 == WAL_HEADER_BYTES, "the kind closes the header");
static_assert(WAL_HEADER_BYTES % WAL_ALIGN_BYTES == 0, "an empty record needs no padding");
static_assert(WAL_PAYLOAD_BYTES == WAL_CRC + 4, "crc and length share the word stored last");

static_assert(WAL_SHORT_TAG == WAL_PAYLOAD_BYTES + 3, "no length of a whole record has the tag");

/* Records of 2^32 - 2^24 bytes and more would look like short ones. */
#define WAL_PAYLOAD_BYTES_MAX ((uint64_t)UINT32_C(0xFEFFFFFF))

#endif
