/* SPDX-License-Identifier: MIT */
/* What writer and reader of tables share. */
#ifndef LSM_TABLE_INTERNAL_H
#define LSM_TABLE_INTERNAL_H

#include "table.h"
#include "table_format.h"

/* The checksum that belongs into `header` when the block stands at `offset`. */
static inline uint32_t table_block_crc(const uint8_t *header, uint64_t offset, sombra_slice stored)
{
    uint8_t covered[TABLE_BLOCK_CRC + 8];
    memcpy(covered, header, TABLE_BLOCK_CRC);
    put_le64(covered + TABLE_BLOCK_CRC, offset);
    return crc32_update(crc32_update(0, covered, sizeof covered), stored.data, stored.bytes);
}

/* A value block as it stands on disk, still compressed. */
struct table_piece {
    uint32_t raw_bytes;
    enum codec_id codec;
    sombra_slice stored; /* without the header; lives during the call */
};

/* The blocks of a value out of line, first to last, checked (checksum, lengths against the
 * reference) and not decompressed, for copying into another table. An error of `each` ends it and
 * is returned as it is. CORRUPT, IO, NOMEM. */
sombra_err table_copy_large(struct table *table, sombra_slice reference,
                            sombra_err (*each)(void *context, const struct table_piece *piece),
                            void *context) SOMBRA_MUST_CHECK;

#endif
