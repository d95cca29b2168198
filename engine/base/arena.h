/* SPDX-License-Identifier: MIT */
/* arena: many small blocks that die together. Blocks are 16-byte aligned and never move.
 *
 * Ownership: everything belongs to the arena until reset or release.
 * Threads: one at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *next;              /* free bytes of the newest chunk */
    size_t left;                /* how many */
    size_t bytes_total;         /* allocated from mem_*, for limits and statistics */
};

#define ARENA_INIT                                                \
    {                                                             \
        .chunks = NULL, .next = NULL, .left = 0, .bytes_total = 0 \
    }

void arena_release(struct arena *arena);
/* Forgets every block and keeps the newest chunk for reuse. */
void arena_reset(struct arena *arena);
/* NULL when memory is out (no text is set: use diag_nomem). */
void *arena_alloc(struct arena *arena, size_t bytes);
/* A copy of `s` that lives as long as the arena; data is NULL when memory is out. */
sombra_slice arena_copy(struct arena *arena, sombra_slice s);

#endif
