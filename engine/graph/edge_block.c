/* SPDX-License-Identifier: MIT */
/* The ends of 64 edges whose ids follow one another, as bits (graph_format.h). */
#include "edge_block.h"

/* ---- bits -------------------------------------------------------------------------------- */

static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

static size_t bits_bytes(unsigned count, unsigned width)
{
    return ((size_t)count * width + 7) / 8;
}

/* `width` bits of each, the lowest first; returns where they end. */
static uint8_t *bits_put(uint8_t *to, const uint64_t *values, unsigned count, unsigned width)
{
    uint64_t word = 0;
    unsigned used = 0;
    for (unsigned i = 0; i < count; i++) {
        assert(width == 0 || bits_of(values[i]) <= width);
        word |= values[i] << used;
        used += width;
        if (used < 64)
            continue;
        put_le64(to, word);
        to += 8;
        used -= 64;
        word = used ? values[i] >> (width - used) : 0;
    }
    for (; used; used -= used < 8 ? used : 8, word >>= 8)
        *to++ = (uint8_t)word;
    return to;
}

/* Number `index` of those that begin at `at`; nothing from `end` on is read. */
static uint64_t bits_get(const uint8_t *at, const uint8_t *end, unsigned index, unsigned width)
{
    size_t bit = (size_t)index * width;
    uint64_t word = 0;
    at += bit / 8;
    unsigned shift = bit % 8;
    if (LIKELY(end - at >= 8)) {
        word = get_le64(at);
    } else {
        for (ptrdiff_t i = 0; i < end - at; i++)
            word |= (uint64_t)at[i] << (8 * i);
    }
    word >>= shift;
    if (UNLIKELY(shift + width > 64))
        word |= (uint64_t)at[8] << (64 - shift);
    return word & ((UINT64_C(1) << width) - 1);
}

/* ---- encode ------------------------------------------------------------------------------ */

/* Numbers of the slots as what is above the least of them; returns the bits of the greatest. */
static unsigned column_of(const struct edge_block *block, enum edge_column column, unsigned count,
                          uint64_t *out_base, uint64_t values[EDGE_BLOCK_EDGES])
{
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!(block->present >> i & 1))
            continue;
        least = u64_min(least, block->ends[column][i]);
        most = u64_max(most, block->ends[column][i]);
    }
    for (unsigned i = 0; i < count; i++)
        values[i] = block->present >> i & 1 ? block->ends[column][i] - least : 0;
    *out_base = least;
    return bits_of(most - least);
}

size_t edge_block_write(const struct edge_block *block, uint8_t to[EDGE_BLOCK_BYTES_MAX])
{
    uint64_t values[EDGE_COLUMNS][EDGE_BLOCK_EDGES];
    unsigned widths[EDGE_COLUMNS];
    unsigned count = bits_of(block->present);
    bool has_gaps = block->present & (block->present + 1);
    uint8_t *at = to;
    assert(count > 0);
    *at++ = (uint8_t)((count - 1) | (has_gaps ? EDGE_BLOCK_GAPS : 0));
    for (unsigned i = 0; has_gaps && i < count; i += 8)
        *at++ = (uint8_t)(block->present >> i);
    for (unsigned i = 0; i < EDGE_COLUMNS; i++) {
        uint64_t base;
        widths[i] = column_of(block, (enum edge_column)i, count, &base, values[i]);
        *at++ = (uint8_t)widths[i];
        at = varint_put(at, base);
    }
    for (unsigned i = 0; i < EDGE_COLUMNS; i++)
        at = bits_put(at, values[i], count, widths[i]);
    assert((size_t)(at - to) <= EDGE_BLOCK_BYTES_MAX);
    return (size_t)(at - to);
}

/* ---- decode ------------------------------------------------------------------------------ */

static sombra_err damaged(const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "a block of edges: %s", what);
}

sombra_err edge_block_open(sombra_slice value, struct edge_block_view *out_view)
{
    const uint8_t *at = value.data, *end = value.bytes ? at + value.bytes : at;
    struct edge_block_view view = { .end = end };
    if (at == end)
        return damaged("it is empty");
    unsigned head = *at++;
    view.count = (head & (EDGE_BLOCK_EDGES - 1)) + 1;
    view.present = UINT64_MAX >> (64 - view.count);
    if (head & ~(unsigned)(EDGE_BLOCK_GAPS | (EDGE_BLOCK_EDGES - 1)))
        return damaged("its head has unknown bits");
    if (head & EDGE_BLOCK_GAPS) {
        size_t bytes = (view.count + 7) / 8;
        if ((size_t)(end - at) < bytes)
            return damaged("it is cut short");
        view.present = 0;
        for (size_t i = 0; i < bytes; i++)
            view.present |= (uint64_t)*at++ << (8 * i);
        if (bits_of(view.present) != view.count)
            return damaged("the last edge is not there, or more than there are");
    }
    for (unsigned i = 0; i < EDGE_COLUMNS; i++) {
        if (at == end)
            return damaged("it is cut short");
        view.widths[i] = *at++;
        at = varint_get(at, end, &view.bases[i]);
        if (!at || view.widths[i] > EDGE_WIDTH_MAX || view.bases[i] > INT64_MAX)
            return damaged("a column is not well formed");
    }
    for (unsigned i = 0; i < EDGE_COLUMNS; i++) {
        size_t bytes = bits_bytes(view.count, view.widths[i]);
        if ((size_t)(end - at) < bytes)
            return damaged("it is cut short");
        view.bits[i] = at;
        at += bytes;
    }
    if (at != end)
        return damaged("it is longer than its edges");
    *out_view = view;
    return SOMBRA_OK;
}

sombra_err edge_block_get(const struct edge_block_view *view, unsigned slot,
                          struct graph_edge *out_edge)
{
    uint64_t ends[EDGE_COLUMNS];
    assert(slot < view->count && view->present >> slot & 1);
    for (unsigned i = 0; i < EDGE_COLUMNS; i++)
        ends[i] = view->bases[i] + bits_get(view->bits[i], view->end, slot, view->widths[i]);
    if (ends[EDGE_SRC] - 1 >= INT64_MAX || ends[EDGE_DST] - 1 >= INT64_MAX ||
        ends[EDGE_TYPE] - 1 >= UINT32_MAX)
        return damaged("a source, type or target is out of bounds");
    out_edge->src = ends[EDGE_SRC];
    out_edge->type = (uint32_t)ends[EDGE_TYPE];
    out_edge->dst = ends[EDGE_DST];
    return SOMBRA_OK;
}

sombra_err edge_block_read(sombra_slice value, struct edge_block *block)
{
    struct edge_block_view view;
    sombra_err err = edge_block_open(value, &view);
    for (unsigned i = 0; !err && i < view.count; i++) {
        struct graph_edge edge;
        if (!(view.present >> i & 1))
            continue;
        err = edge_block_get(&view, i, &edge);
        if (!err)
            edge_block_set(block, i, &edge);
    }
    if (!err)
        block->present = view.present;
    return err;
}
