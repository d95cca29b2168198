/* SPDX-License-Identifier: MIT */
/* edge_block: the ends of 64 edges whose ids follow one another, encoded (graph_format.h) and not.
 *
 * Threads: plain data.
 */
#ifndef GRAPH_EDGE_BLOCK_H
#define GRAPH_EDGE_BLOCK_H

#include "graph_internal.h"

enum edge_column { EDGE_SRC, EDGE_TYPE, EDGE_DST, EDGE_COLUMNS };

/* Ids 64 n - 63 to 64 n stand in block n, slots 0 to 63. */
static inline uint64_t edge_block_of(sombra_edge_id edge)
{
    return (edge - 1) / EDGE_BLOCK_EDGES + 1;
}
static inline unsigned edge_slot_of(sombra_edge_id edge)
{
    return (unsigned)((edge - 1) % EDGE_BLOCK_EDGES);
}
static inline sombra_edge_id edge_id_at(uint64_t block, unsigned slot)
{
    return (block - 1) * EDGE_BLOCK_EDGES + slot + 1;
}

struct edge_block {
    uint64_t number;  /* 0 = it is none */
    uint64_t present; /* a bit for each slot that has an edge */
    bool is_dirty;    /* differs from what the store has */
    uint64_t ends[EDGE_COLUMNS][EDGE_BLOCK_EDGES];
};

static inline void edge_block_set(struct edge_block *block, unsigned slot,
                                  const struct graph_edge *edge)
{
    block->present |= UINT64_C(1) << slot;
    block->ends[EDGE_SRC][slot] = edge->src;
    block->ends[EDGE_TYPE][slot] = edge->type;
    block->ends[EDGE_DST][slot] = edge->dst;
}

/* The record of a block that has an edge; returns its bytes. */
size_t edge_block_write(const struct edge_block *block, uint8_t to[EDGE_BLOCK_BYTES_MAX]);
/* Reads `present` and `ends`. CORRUPT, and then they are of no use. */
sombra_err edge_block_read(sombra_slice value, struct edge_block *block) SOMBRA_MUST_CHECK;

/* The same in place: whose bytes it is shows is proved, but for the ends. */
struct edge_block_view {
    unsigned count; /* slots */
    uint64_t present;
    unsigned widths[EDGE_COLUMNS]; /* bits */
    uint64_t bases[EDGE_COLUMNS];
    const uint8_t *bits[EDGE_COLUMNS], *end;
};
sombra_err edge_block_open(sombra_slice value, struct edge_block_view *out_view) SOMBRA_MUST_CHECK;
/* Of a slot that has an edge; sets all but the id. CORRUPT. */
sombra_err edge_block_get(const struct edge_block_view *view, unsigned slot,
                          struct graph_edge *out_edge) SOMBRA_MUST_CHECK;

#endif
