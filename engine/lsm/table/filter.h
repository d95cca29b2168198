/* SPDX-License-Identifier: MIT */
/* filter: which keys a table may have: a Bloom filter whose probes for a key all fall into one
 * cache line (blocked Bloom filter: Putze, Sanders, Singler 2007). table_format.h draws its bytes.
 *
 * A key's hash is XXH3 of it with 64 bits and seed 0: the high half picks the line, the low half,
 * multiplied by an odd constant from probe to probe, the bits in it (the upper 9 bits of each
 * product; bit b of a line is bit b % 8 of its byte b / 8). All of it is part of the format.
 *
 * Ownership: a filter borrows its bytes.
 * Threads: a builder is one thread's; a filter any number's.
 */
#ifndef LSM_FILTER_H
#define LSM_FILTER_H

#include "table_format.h"

#include "base/base.h"

enum { FILTER_BITS_MAX = 32, FILTER_PROBES_MAX = 16 };
#define FILTER_STEP UINT32_C(0x9E3779B9) /* 2^32 by the golden ratio */

uint64_t filter_hash(sombra_slice key);

/* ---- build ------------------------------------------------------------------------------- */

struct filter_builder {
    uint64_t *hashes;
    size_t count, capacity;
};
#define FILTER_BUILDER_INIT                       \
    {                                             \
        .hashes = NULL, .count = 0, .capacity = 0 \
    }
void filter_builder_release(struct filter_builder *builder);
/* Room for `count` hashes, as far as that is modest. */
sombra_err filter_builder_reserve(struct filter_builder *builder, uint64_t count) SOMBRA_MUST_CHECK;
sombra_err filter_builder_grow(struct filter_builder *builder) SOMBRA_MUST_CHECK;
static inline sombra_err filter_builder_add(struct filter_builder *builder, uint64_t hash)
{
    if (UNLIKELY(builder->count == builder->capacity)) {
        sombra_err err = filter_builder_grow(builder);
        if (err)
            return err;
    }
    builder->hashes[builder->count++] = hash;
    return SOMBRA_OK;
}
/* How long the filter will be: lines and tail. At most TABLE_META_BYTES_MAX, by fewer bits for a
 * key if need be. `bits` for a key, 1 to FILTER_BITS_MAX. */
size_t filter_builder_bytes(const struct filter_builder *builder, unsigned bits);
/* Fills `to`, of that length. */
void filter_builder_finish(const struct filter_builder *builder, unsigned bits, uint8_t *to);

/* ---- read -------------------------------------------------------------------------------- */

struct filter {
    const uint8_t *lines; /* aligned to TABLE_FILTER_LINE_BYTES, a lookup touches one cache line */
    uint32_t count;       /* of lines, >= 1 */
    uint32_t probes;      /* 1 to FILTER_PROBES_MAX */
};
/* The filter in a block's raw bytes, which must live as long. CORRUPT. */
sombra_err filter_open(sombra_slice raw, struct filter *out_filter) SOMBRA_MUST_CHECK;

static inline const uint8_t *filter_line(const struct filter *filter, uint64_t hash)
{
    uint64_t line = ((hash >> 32) * filter->count) >> 32;
    return filter->lines + line * TABLE_FILTER_LINE_BYTES;
}

/* False: the key was not added. */
static inline bool filter_has(const struct filter *filter, uint64_t hash)
{
    const uint8_t *line = filter_line(filter, hash);
    uint32_t bits = (uint32_t)hash;
    for (uint32_t i = 0; i < filter->probes; i++, bits *= FILTER_STEP) {
        uint32_t bit = bits >> 23;
        if (!(line[bit / 8] >> bit % 8 & 1))
            return false;
    }
    return true;
}

#endif
