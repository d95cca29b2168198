/* SPDX-License-Identifier: MIT */
/* The two meta records: slot 0 at file offset 0, slot 1 at 4096; each is 256 bytes, the rest of its
 * block is zero. The valid record of the greater sequence is the database. Values are on disk:
 * append only.
 *
 *   0   magic "sombra\x1a\n"       8   u32 format version     12  u32 page bytes
 *   16  16 bytes: uuid            32  u64 sequence (of meta writes)
 *   40  u64 txn   48 u64 root page (0 = empty)   56 u64 entries   64 u32 depth   68 u32 log state
 *   72  u64 page count            80  u64 covered lsn
 *   88  u64 log epoch   96 u64 log offset   104 u32 log link   108 u32 log half
 *   112 u64 space directory page  120 u64 free pages          128 u64 pending pages
 *   136 u64 created (wall clock ns)
 *   144 u64 txn of the last compaction          152 u64 pages it moved
 *   160 u32 free share of the file that starts the next, parts per million (0 = the default)
 *   164 u32 zero                                168 u64 pages by which it made the file shorter
 *   176 zeros ...                               252 u32 crc-32 of bytes 0 to 251
 *
 * magic, version, page bytes, uuid and created never change and are equal in both slots. A newer
 * format keeps magic, version, page bytes and crc where they are.
 */
#ifndef BTREE_META_FORMAT_H
#define BTREE_META_FORMAT_H

#include <assert.h>

enum {
    META_MAGIC = 0,
    META_VERSION = 8,
    META_PAGE_BYTES = 12,
    META_UUID = 16,
    META_SEQUENCE = 32,
    META_TXN = 40,
    META_ROOT = 48,
    META_ENTRIES = 56,
    META_DEPTH = 64,
    META_LOG_STATE = 68,
    META_PAGE_COUNT = 72,
    META_COVERED_LSN = 80,
    META_LOG_EPOCH = 88,
    META_LOG_OFFSET = 96,
    META_LOG_LINK = 104,
    META_LOG_HALF = 108,
    META_SPACE_DIRECTORY = 112,
    META_PAGES_FREE = 120,
    META_PAGES_PENDING = 128,
    META_CREATED_NS = 136,
    META_COMPACT_TXN = 144,
    META_COMPACT_MOVED = 152,
    META_COMPACT_WATERMARK = 160,
    META_COMPACT_RETURNED = 168,
    META_ZEROS = 176,
    META_CRC = 252,
    META_BYTES = 256,

    META_SLOTS = 2,
    META_SLOT_BYTES = 4096,
    META_AREA_BYTES = META_SLOTS * META_SLOT_BYTES,

    META_FORMAT_VERSION = 1,
};

/* META_LOG_STATE */
enum meta_log_state {
    META_LOG_CLEAN = 0, /* closed: the tree is everything, no log belongs to it */
    META_LOG_IN_USE =
        1, /* commits behind covered lsn are in the log; a missing log is corruption */
    META_LOG_BESIDE = 2, /* the tree is everything, as in a clean one; but a commit without a log is
                            being written to the other record, which may be newer: damage to that
                            one is corruption */
};

#define META_MAGIC_BYTES "sombra\x1a\n"

static_assert(META_CRC + 4 == META_BYTES, "the crc closes the record");
static_assert(META_BYTES <= 512, "a meta record is one sector: it does not tear");

#endif
