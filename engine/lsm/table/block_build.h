/* SPDX-License-Identifier: MIT */
/* block_build: builds sorted blocks (table_format.h): data, index, ranges.
 *
 * Ownership: INIT is releasable; reset keeps memory and the last key.
 * Threads: one at a time.
 */
#ifndef LSM_BLOCK_BUILD_H
#define LSM_BLOCK_BUILD_H

#include "source.h"
#include "table_format.h"

struct block_builder {
    struct buf bytes; /* entries; after finish the whole block */
    uint32_t *places; /* of the restarts */
    size_t places_capacity;
    uint32_t restarts, entries;
    uint32_t interval;
    size_t last_bytes; /* of the last key added, also before the last reset */
    uint8_t last[TABLE_BOUND_BYTES_MAX];
};

void block_builder_init(struct block_builder *builder, uint32_t interval);
void block_builder_release(struct block_builder *builder);
/* Begins the next block. Keys go on ascending. */
void block_builder_reset(struct block_builder *builder);
/* `shared`: the key's first bytes that it has in common with the last one (block_builder_shared).
 * NOMEM: nothing changed. */
sombra_err block_builder_add(struct block_builder *builder, size_t shared, sombra_slice key,
                             enum entry_kind kind, sombra_slice value) SOMBRA_MUST_CHECK;
/* How long the block is if it ends now. */
size_t block_builder_bytes(const struct block_builder *builder);
/* Puts heads, places and trailer behind the entries (at least one). *out_block lives until reset.
 */
sombra_err block_builder_finish(struct block_builder *builder,
                                sombra_slice *out_block) SOMBRA_MUST_CHECK;

static inline sombra_slice block_builder_last(const struct block_builder *builder)
{
    return slice_of(builder->last, builder->last_bytes);
}

/* The first bytes that a key shares with the last one, or -1 where it does not ascend. */
static inline ptrdiff_t block_builder_shared(const struct block_builder *builder, sombra_slice key)
{
    sombra_slice last = block_builder_last(builder);
    size_t shared = slice_common_prefix(last, key);
    if (shared == key.bytes)
        return -1;
    if (shared < last.bytes && ((const uint8_t *)key.data)[shared] < builder->last[shared])
        return -1;
    return (ptrdiff_t)shared;
}

#endif
