/* SPDX-License-Identifier: MIT */
#include "filter.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    CAPACITY_MIN = 1024,
    RESERVE_MAX = 1 << 20, /* hashes reserved on somebody's word */
};

uint64_t filter_hash(sombra_slice key)
{
    return XXH3_64bits(key.data, key.bytes);
}

/* ---- build ------------------------------------------------------------------------------- */

void filter_builder_release(struct filter_builder *builder)
{
    mem_free(builder->hashes);
    *builder = (struct filter_builder)FILTER_BUILDER_INIT;
}

static sombra_err builder_resize(struct filter_builder *builder, size_t capacity)
{
    assert(capacity > builder->count);
    uint64_t *hashes = NULL;
    if (capacity <= SIZE_MAX / sizeof *hashes)
        hashes = mem_grow(builder->hashes, builder->capacity * sizeof *hashes,
                          capacity * sizeof *hashes);
    if (!hashes)
        return diag_nomem("a filter", capacity);
    builder->hashes = hashes;
    builder->capacity = capacity;
    return SOMBRA_OK;
}

sombra_err filter_builder_reserve(struct filter_builder *builder, uint64_t count)
{
    size_t capacity = (size_t)u64_min(count, RESERVE_MAX);
    return capacity > builder->capacity ? builder_resize(builder, capacity) : SOMBRA_OK;
}

sombra_err filter_builder_grow(struct filter_builder *builder)
{
    return builder_resize(builder, size_max(builder->capacity * 2, CAPACITY_MIN));
}

static uint32_t line_count(const struct filter_builder *builder, unsigned bits)
{
    const uint64_t line_bits = 8 * TABLE_FILTER_LINE_BYTES;
    const uint64_t most =
        (TABLE_META_BYTES_MAX - TABLE_FILTER_TAIL_BYTES) / TABLE_FILTER_LINE_BYTES;
    uint64_t lines = ((uint64_t)builder->count * bits + line_bits - 1) / line_bits;
    return (uint32_t)u64_min(lines > 0 ? lines : 1, most);
}

/* ln 2 times the bits for a key is best for a filter without lines. Lines that got more keys than
 * others want fewer. */
static uint8_t probe_count(unsigned bits)
{
    unsigned probes = (bits * 6 + 5) / 10;
    return (uint8_t)size_min(size_max(probes, 1), FILTER_PROBES_MAX);
}

size_t filter_builder_bytes(const struct filter_builder *builder, unsigned bits)
{
    assert(bits >= 1 && bits <= FILTER_BITS_MAX);
    return (size_t)line_count(builder, bits) * TABLE_FILTER_LINE_BYTES + TABLE_FILTER_TAIL_BYTES;
}

void filter_builder_finish(const struct filter_builder *builder, unsigned bits, uint8_t *to)
{
    assert(bits >= 1 && bits <= FILTER_BITS_MAX);
    struct filter filter = { to, line_count(builder, bits), probe_count(bits) };
    uint8_t *tail = to + (size_t)filter.count * TABLE_FILTER_LINE_BYTES;
    memset(to, 0, (size_t)(tail - to) + TABLE_FILTER_TAIL_BYTES);
    for (size_t i = 0; i < builder->count; i++) {
        uint8_t *line = to + (filter_line(&filter, builder->hashes[i]) - to);
        uint32_t bits_left = (uint32_t)builder->hashes[i];
        for (uint32_t probe = 0; probe < filter.probes; probe++, bits_left *= FILTER_STEP)
            line[bits_left >> 26] |= (uint8_t)(1u << (bits_left >> 23 & 7));
    }
    tail[TABLE_FILTER_KIND] = TABLE_FILTER_BLOOM;
    tail[TABLE_FILTER_PROBES] = (uint8_t)filter.probes;
    put_le32(tail + TABLE_FILTER_LINES, filter.count);
}

/* ---- read -------------------------------------------------------------------------------- */

sombra_err filter_open(sombra_slice raw, struct filter *out_filter)
{
    if (raw.bytes < TABLE_FILTER_LINE_BYTES + TABLE_FILTER_TAIL_BYTES)
        return diag_fail(SOMBRA_CORRUPT, "a filter of %zu bytes", raw.bytes);
    size_t line_bytes = raw.bytes - TABLE_FILTER_TAIL_BYTES;
    const uint8_t *tail = (const uint8_t *)raw.data + line_bytes;
    uint64_t lines = get_le32(tail + TABLE_FILTER_LINES);
    unsigned probes = tail[TABLE_FILTER_PROBES];
    if (tail[TABLE_FILTER_KIND] != TABLE_FILTER_BLOOM || get_le16(tail + TABLE_FILTER_ZERO) != 0 ||
        probes < 1 || probes > FILTER_PROBES_MAX || lines * TABLE_FILTER_LINE_BYTES != line_bytes)
        return diag_fail(SOMBRA_CORRUPT, "a filter's tail: kind %u, %u probes, %u lines",
                         tail[TABLE_FILTER_KIND], probes, (unsigned)lines);
    *out_filter = (struct filter){ raw.data, (uint32_t)lines, probes };
    return SOMBRA_OK;
}
