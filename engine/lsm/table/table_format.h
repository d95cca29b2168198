/* SPDX-License-Identifier: MIT */
/* table_format: the bytes of a table ("NNNNNN.sst"). All integers are little-endian, varints are
 * LEB128; values are on disk: append only.
 *
 * A table is blocks back to back from offset 0, then a footer. The blocks' order:
 *
 *   +------+------+-----+--------+--------+--------+-------+------------+--------+
 *   | data and value    | ranges | filter | prefix | index | properties | footer |
 *   | blocks, as added  |        |        | filter |       |            |        |
 *   +------+------+-----+--------+--------+--------+-------+------------+--------+
 *                          if hidden   if asked for                       64 bytes
 *                          ranges                                         to the end
 *
 * No byte lies between blocks: each begins where the one before ends, so that a table whose end
 * is damaged can be walked from its front.
 *
 * EVERY BLOCK
 *
 *        0               4               8       9       10      12              16
 *        +---------------+---------------+-------+-------+-------+---------------+------------
 *        | raw_bytes     | stored_bytes  | codec | kind  | zero  | crc           | stored ...
 *        +---------------+---------------+-------+-------+-------+---------------+------------
 *
 *   raw_bytes     after decompression: 1 to the maximum of its kind
 *   stored_bytes  = raw_bytes with CODEC_NONE; less with any other codec
 *   codec         enum codec_id; NONE for ranges, filters, index, properties
 *   kind          enum table_block_kind
 *   crc           CRC-32 over bytes 0 to 12 of the header, the block's file offset as u64, and the
 *                 stored bytes: a block copied elsewhere does not count
 *
 * A HANDLE is {offset u64, bytes u64}, of header and stored bytes together; 0, 0 = there is none.
 *
 * SORTED BLOCKS: data, ranges, index (raw)
 *
 *   +---------+---------+-----+---------+---------------------+---------------------+----------+
 *   | entry 0 | entry 1 | ... | entry n | heads: restarts x 8 | places: restarts x 4| trailer  |
 *   +---------+---------+-----+---------+---------------------+---------------------+----------+
 *
 *   entry     shared varint    first bytes of the key that it shares with the key before
 *             unshared varint  bytes of the key that follow
 *             packed varint    value_bytes << 2 | enum entry_kind
 *             the unshared bytes of the key, then the value
 *   restart   entry i, where i is divisible by the interval: TABLE_RESTART_ENTRIES in data blocks,
 *             1 in ranges and index blocks. It has shared = 0.
 *   place     u32: where the entry of the restart begins
 *   head      the 8 bytes of that entry's key behind the block's prefix, zeros where the key ends
 *             before. As big-endian numbers heads never descend, and where two differ they order
 *             the keys: a search touches one array.
 *   prefix    that all keys of the block have: the first and the last key's common bytes
 *   trailer   restarts u32, entries u32, prefix bytes u32
 *
 * Keys ascend strictly, within a block and from block to block.
 *
 * data    key -> value. ENTRY_DELETE: value_bytes = 0. ENTRY_LARGE: the value is a reference:
 *         {offset u64, value_bytes u64, stored u64}: where its first value block begins, bytes of
 *         the value, bytes of its value blocks on disk with their headers. The value blocks stand
 *         back to back before the data block that refers to them; each is referred to once, and
 *         those of a later key stand behind those of an earlier one.
 * value   a piece of a large value: TABLE_VALUE_PIECE bytes, the last piece what is left (>= 1).
 *         Values longer than table_inline_bytes() of the block size in the properties are large;
 *         one copied from another table may be shorter (>= 1).
 * ranges  low -> high, PUT: keys hidden in older sources. low < high; disjoint, and no two touch.
 *         Both up to TABLE_BOUND_BYTES_MAX; the first low may be empty.
 * index   one entry, PUT, for each data block: a separator s, last key of the block <= s < first
 *         key of the next block (in the last entry s is the last key), up to KV_KEY_BYTES_MAX
 *         -> {offset u64, bytes u64 (a handle), entries before the block in this table u64}
 *
 * FILTERS (raw; filter.h): lines of 64 bytes, then the tail {kind u8 = 1, probes u8, zero u16,
 * lines u32}. The prefix filter has the distinct prefixes of the keys that have one.
 *
 * PROPERTIES (raw): the fields of enum table_property_offset, then low, end and the name of the
 * prefix extractor ("" = none), each with its length as varint before it; no byte behind them.
 *
 * FOOTER: enum table_footer_offset. The crc covers all of it before. Properties end where the
 * footer begins.
 *
 * A table without any entry has no data block and an absent index (it hides ranges).
 */
#ifndef LSM_TABLE_FORMAT_H
#define LSM_TABLE_FORMAT_H

#include "kv/kv.h"

#include <assert.h>

enum table_block_kind {
    TABLE_BLOCK_DATA = 1,
    TABLE_BLOCK_VALUE = 2,
    TABLE_BLOCK_RANGES = 3,
    TABLE_BLOCK_FILTER = 4,
    TABLE_BLOCK_PREFIX_FILTER = 5,
    TABLE_BLOCK_INDEX = 6,
    TABLE_BLOCK_PROPERTIES = 7,
};

enum table_block_offset {
    TABLE_BLOCK_RAW_BYTES = 0,
    TABLE_BLOCK_STORED_BYTES = 4,
    TABLE_BLOCK_CODEC = 8,
    TABLE_BLOCK_KIND = 9,
    TABLE_BLOCK_ZERO = 10,
    TABLE_BLOCK_CRC = 12,
    TABLE_BLOCK_HEADER_BYTES = 16,
};

enum table_limit {
    TABLE_RESTART_ENTRIES = 16,                   /* interval in data blocks */
    TABLE_VALUE_PIECE = 1 << 20,                  /* raw bytes of a value block */
    TABLE_DATA_BYTES_MAX = 4 << 20,               /* raw bytes of a data block */
    TABLE_DATA_KEYS_MAX = 16 << 20,               /* keys of a data block, each whole: what bounds
                                                     its size in memory */
    TABLE_META_BYTES_MAX = 1 << 28,               /* raw bytes of ranges, filter and index blocks */
    TABLE_PROPERTIES_MAX = 16 << 10,              /* raw bytes of the properties */
    TABLE_BOUND_BYTES_MAX = KV_KEY_BYTES_MAX + 1, /* of a range's bounds, low and end: a key and a
                                                     zero byte */
    TABLE_PREFIX_NAME_MAX = 255,                  /* bytes of an extractor's name */
    TABLE_BLOCK_BYTES_MIN = 1 << 10,              /* of the block size asked for */
    TABLE_BLOCK_BYTES_MAX = 1 << 20,
    TABLE_INLINE_BYTES_MIN = 512, /* values up to this length are never out of line */
};

/* Longer values are out of line. */
static inline uint32_t table_inline_bytes(uint32_t block_bytes)
{
    uint32_t quarter = block_bytes / 4;
    return quarter > TABLE_INLINE_BYTES_MIN ? quarter : TABLE_INLINE_BYTES_MIN;
}

/* ---- sorted blocks ----------------------------------------------------------------------- */

/* From where the trailer begins: the block's end less TABLE_TRAILER_BYTES. */
enum table_trailer_offset {
    TABLE_TRAILER_RESTARTS = 0,
    TABLE_TRAILER_ENTRIES = 4,
    TABLE_TRAILER_PREFIX_BYTES = 8,
    TABLE_TRAILER_BYTES = 12,
};
enum { TABLE_HEAD_BYTES = 8, TABLE_PLACE_BYTES = 4, TABLE_ENTRY_BYTES_MIN = 3 };

enum table_large_offset {
    TABLE_LARGE_OFFSET = 0,
    TABLE_LARGE_VALUE_BYTES = 8,
    TABLE_LARGE_STORED = 16,
    TABLE_LARGE_BYTES = 24,
};

enum table_handle_offset {
    TABLE_HANDLE_OFFSET = 0,
    TABLE_HANDLE_SIZE = 8,
    TABLE_HANDLE_BYTES = 16,
};

/* In the value of an index entry. */
enum table_index_offset {
    TABLE_INDEX_HANDLE = 0,
    TABLE_INDEX_ENTRIES_BEFORE = 16,
    TABLE_INDEX_BYTES = 24,
};

/* ---- filters ----------------------------------------------------------------------------- */

/* From where the tail begins. */
enum table_filter_offset {
    TABLE_FILTER_KIND = 0,
    TABLE_FILTER_PROBES = 1,
    TABLE_FILTER_ZERO = 2,
    TABLE_FILTER_LINES = 4,
    TABLE_FILTER_TAIL_BYTES = 8,
};
enum { TABLE_FILTER_LINE_BYTES = 64, TABLE_FILTER_BLOOM = 1 };

/* ---- properties and footer --------------------------------------------------------------- */

enum table_property_offset {
    TABLE_PROPERTY_NUMBER = 0,
    TABLE_PROPERTY_ENTRIES = 8, /* puts, large ones too, and deletes */
    TABLE_PROPERTY_DELETES = 16,
    TABLE_PROPERTY_LARGE = 24, /* entries with a value out of line */
    TABLE_PROPERTY_RANGES = 32,
    TABLE_PROPERTY_SEQ_MAX = 40,
    TABLE_PROPERTY_KEY_BYTES = 48,   /* of all keys, in full */
    TABLE_PROPERTY_VALUE_BYTES = 56, /* of all values, large ones too, as the user gave them */
    TABLE_PROPERTY_DATA_BLOCKS = 64, /* counts */
    TABLE_PROPERTY_VALUE_BLOCKS = 72,
    TABLE_PROPERTY_BODY_BYTES = 80,     /* where the last data or value block ends */
    TABLE_PROPERTY_RANGES_HANDLE = 88,  /* handles */
    TABLE_PROPERTY_FILTER_HANDLE = 104, /* over whole keys */
    TABLE_PROPERTY_PREFIX_HANDLE = 120, /* filter over prefixes */
    TABLE_PROPERTY_BLOCK_BYTES = 136,   /* u32, as asked for */
    TABLE_PROPERTY_FILTER_BITS = 140,   /* u32, as asked for; 0 = none */
    TABLE_PROPERTY_CODEC = 144,         /* u32: enum codec_id, as asked for */
    TABLE_PROPERTY_ZERO = 148,
    TABLE_PROPERTY_FIXED_BYTES = 152,
};

enum table_footer_offset {
    TABLE_FOOTER_MAGIC = 0,
    TABLE_FOOTER_VERSION = 8,
    TABLE_FOOTER_ZERO = 12,
    TABLE_FOOTER_NUMBER = 16,
    TABLE_FOOTER_INDEX = 24,
    TABLE_FOOTER_PROPERTIES = 40,
    TABLE_FOOTER_ZERO_TOO = 56,
    TABLE_FOOTER_CRC = 60,
    TABLE_FOOTER_BYTES = 64,
};
enum { TABLE_VERSION = 1 };
#define TABLE_MAGIC       "sombsst\n"
#define TABLE_MAGIC_BYTES ((size_t)8)

static_assert(TABLE_BLOCK_CRC + 4 == TABLE_BLOCK_HEADER_BYTES, "the crc closes the header");
static_assert(TABLE_FOOTER_CRC + 4 == TABLE_FOOTER_BYTES, "the crc closes the footer");
static_assert(TABLE_PROPERTY_PREFIX_HANDLE + TABLE_HANDLE_BYTES == TABLE_PROPERTY_BLOCK_BYTES,
              "handles stand back to back");
static_assert(TABLE_INDEX_HANDLE + TABLE_HANDLE_BYTES == TABLE_INDEX_ENTRIES_BEFORE,
              "the count stands behind the handle");
static_assert(TABLE_PROPERTY_ZERO + 4 == TABLE_PROPERTY_FIXED_BYTES, "whole words");
static_assert(2 * TABLE_BLOCK_BYTES_MAX + KV_KEY_BYTES_MAX < TABLE_DATA_BYTES_MAX,
              "a block that ends with the largest entry is below the maximum");
static_assert(TABLE_PROPERTY_FIXED_BYTES + 2 * TABLE_BOUND_BYTES_MAX + TABLE_PREFIX_NAME_MAX + 30 <
                  TABLE_PROPERTIES_MAX,
              "properties always fit");

#endif
