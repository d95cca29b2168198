/* SPDX-License-Identifier: MIT */
/* manifest_format: the records of "MANIFEST". All integers are little-endian; values are on disk:
 * append only.
 *
 * The file is a log (wal_format.h) under a random epoch, its records numbered from lsn 1. The first
 * record lists a whole version as added to nothing; each further one is an edit. A payload is
 *
 *        0               4               8              12
 *      0 +---------------+---------------+---------------+---------------+
 *        | magic "SombraLM"              | format        | kind          |
 *     16 +---------------+---------------+---------------+---------------+
 *        | version                       | next_number                   |
 *     32 +-------------------------------+-------------------------------+
 *        | next_run                      | seq                           |
 *     48 +-------------------------------+---------------+---------------+
 *        | log_seq                       | flags         | zero          |
 *     64 +-------------------------------+---------------+---------------+
 *        | identity of the store                                         |
 *     80 +-------------------------------+-------------------------------+
 *        | removed_count                 | added_count                   |
 *     96 +-------------------------------+-------------------------------+
 *        | totals, 8 bytes each (manifest.h lists them)                  |
 *    160 +---------------------------------------------------------------+
 *        | numbers of removed tables, 8 bytes each                       |
 *        +---------------------------------------------------------------+
 *        | added tables, back to back, each of 72 bytes and its keys     |
 *        +---------------------------------------------------------------+
 *
 *        0               4               8              12
 *      0 +---------------+---------------+---------------+---------------+
 *        | number                        | file_bytes                    |
 *     16 +-------------------------------+-------------------------------+
 *        | entries                       | deletes                       |
 *     32 +-------------------------------+-------------------------------+
 *        | range_count                   | seq_max                       |
 *     48 +-------------------------------+---------------+---------------+
 *        | run                           | level         | low_bytes     |
 *     64 +---------------+---------------+---------------+---------------+
 *        | end_bytes     | zero          |
 *     72 +---------------+---------------+-------------------------------+
 *        | low, then end                                                 |
 *        +---------------------------------------------------------------+
 *
 *   version      one more with every record, the first may have any
 *   next_number  greater than the number of every table so far; never smaller than before
 *   next_run     greater than every run number so far; never smaller than before
 *   seq          newest commit in tables; never smaller than before
 *   log_seq      logs that begin before it are not needed; never smaller than before
 *   flags        bit 0: closed with every commit in tables
 *   identity     the same in all records
 *   totals       what all processes counted until the record; for people, nothing depends on them
 *
 * Commits are below 3 x 2^62, other numbers below 2^62. A number both removed and added is a table
 * that moved to another level.
 */
#ifndef MANIFEST_FORMAT_H
#define MANIFEST_FORMAT_H

#include <assert.h>
#include <stdint.h>

enum manifest_record_offset {
    MANIFEST_MAGIC = 0,
    MANIFEST_FORMAT = 8,
    MANIFEST_KIND = 12,
    MANIFEST_VERSION = 16,
    MANIFEST_NEXT_NUMBER = 24,
    MANIFEST_NEXT_RUN = 32,
    MANIFEST_SEQ = 40,
    MANIFEST_LOG_SEQ = 48,
    MANIFEST_FLAGS = 56,
    MANIFEST_ZERO = 60,
    MANIFEST_IDENTITY = 64,
    MANIFEST_REMOVED_COUNT = 80,
    MANIFEST_ADDED_COUNT = 88,
    MANIFEST_TOTALS = 96,
    MANIFEST_HEADER_BYTES = 160,
};

enum manifest_table_offset {
    MANIFEST_TABLE_NUMBER = 0,
    MANIFEST_TABLE_FILE_BYTES = 8,
    MANIFEST_TABLE_ENTRIES = 16,
    MANIFEST_TABLE_DELETES = 24,
    MANIFEST_TABLE_RANGE_COUNT = 32,
    MANIFEST_TABLE_SEQ_MAX = 40,
    MANIFEST_TABLE_RUN = 48,
    MANIFEST_TABLE_LEVEL = 56,
    MANIFEST_TABLE_LOW_BYTES = 60,
    MANIFEST_TABLE_END_BYTES = 64,
    MANIFEST_TABLE_PAD = 68,
    MANIFEST_TABLE_BYTES = 72,
};

enum { MANIFEST_FORMAT_VERSION = 1 };
enum manifest_kind { MANIFEST_KIND_WHOLE = 1, MANIFEST_KIND_EDIT = 2 };
enum { MANIFEST_FLAG_CLEAN = 1, MANIFEST_FLAGS_KNOWN = 1 };

#define MANIFEST_MAGIC_TEXT "SombraLM"
#define MANIFEST_NUMBER_MAX (UINT64_C(1) << 62) /* versions, files and runs are below */
#define MANIFEST_COMMIT_MAX (UINT64_C(3) << 62) /* commits are below: there are more to come */

static_assert(sizeof MANIFEST_MAGIC_TEXT - 1 == MANIFEST_FORMAT, "the magic fills its place");
static_assert(MANIFEST_ADDED_COUNT + 8 == MANIFEST_TOTALS, "the totals follow the counts");
static_assert(MANIFEST_TABLE_PAD + 4 == MANIFEST_TABLE_BYTES, "the padding closes a table");

#endif
