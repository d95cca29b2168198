/* SPDX-License-Identifier: MIT */
/* The bytes that every page begins with. Values are on disk: append only.
 *
 *   0        4        8              14    15     16               24
 *   +--------+--------+--------------+-----+------+----------------+----------------
 *   | crc32  | sealed | page number  |kind |level | txn            | by kind ...
 *   +--------+--------+--------------+-----+------+----------------+----------------
 *
 * crc32 covers bytes 8 to the page's end, and so the page's own number. crc32 and sealed share one
 * aligned 8-byte word that is stored at once. sealed: PAGE_SEALED or 0 (the checksum is not yet
 * there: legal only for pages newer than the durable checkpoint).
 */
#ifndef BTREE_PAGE_FORMAT_H
#define BTREE_PAGE_FORMAT_H

#include <assert.h>

enum {
    PAGE_CRC = 0,
    PAGE_SEAL = 4,
    PAGE_NUMBER = 8,
    PAGE_KIND = 14,
    PAGE_LEVEL = 15,
    PAGE_TXN = 16,
    PAGE_HEADER_BYTES = 24,

    PAGE_SEALED = 0x4c414553, /* "SEAL" */
    PAGE_BYTES_MIN = 4096,
    PAGE_BYTES_MAX = 65536,
    PAGE_LEVEL_MAX = 24,
};

enum page_kind {
    PAGE_NONE = 0,
    PAGE_LEAF = 1,      /* general leaf: leaf_format.h */
    PAGE_DENSE = 2,     /* dense leaf: dense_format.h */
    PAGE_BRANCH = 3,    /* branch_format.h */
    PAGE_OVERFLOW = 4,  /* first page of a run of whole pages that hold one value */
    PAGE_SPACE = 5,     /* directory of the space maps: space_format.h */
    PAGE_SPACE_MAP = 6, /* a chunk of a space map */
};

static_assert(PAGE_TXN + 8 == PAGE_HEADER_BYTES, "the common header is 24 bytes");

#endif
