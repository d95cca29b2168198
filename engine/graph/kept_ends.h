/* SPDX-License-Identifier: MIT */
/* kept_ends: the edges of nodes that have few, as readers of one version have read them (decision
 * 0024). To read them in the store takes a descent and the search of a leaf, some 2,500
 * instructions and a miss or two of the processor's cache; here it is a copy.
 *
 * A table of the kind of kept_values.h, whose judgement, growth and memory it shares. An entry has
 * all that was asked of a node: its edges of one direction, of all types or of one. They are of one
 * type, at most KEPT_ENDS_MAX, and their numbers fit in 32 bits; what does not is not kept.
 *
 * Invariants: as in kept_values.h.
 * Failure: none.
 */
#ifndef GRAPH_KEPT_ENDS_H
#define GRAPH_KEPT_ENDS_H

#include "kept_values.h"

enum { KEPT_ENDS_MAX = 29 };

struct kept_ends {
    uint64_t node;
    uint32_t asked; /* kept_ends_asked */
    uint32_t generation;
    uint32_t type; /* of all of them */
    uint32_t count;
    struct {
        uint32_t node, edge;
    } ends[KEPT_ENDS_MAX]; /* as the store orders them */
};
static_assert(sizeof(struct kept_ends) == 256, "four lines of the cache");

static inline struct kept_ends *kept_ends_slot(const struct kept_values *kept, sombra_node_id node,
                                               uint32_t asked)
{
    struct kept_ends *at = kept->at;
    return &at[(node + (uint64_t)asked * 0x9e37) & kept->mask];
}

/* The direction and the type (0 = all) that are asked for, as one number; 0: not what is kept. */
static inline uint32_t kept_ends_asked(sombra_direction direction, bool has_types,
                                       const uint32_t *types, size_t type_count)
{
    if (direction == SOMBRA_BOTH || (has_types && type_count != 1))
        return 0;
    const uint32_t type = has_types ? types[0] : 0;
    return type <= UINT32_MAX >> 2 ? type << 2 | (uint32_t)direction : 0;
}

/* A reader has found this node: what was asked of the one before is likely to be asked of it. Most
 * have so few edges that they are in the first lines. */
static inline void kept_ends_fetch(struct kept_values *kept, sombra_node_id node)
{
    enum { LINE_BYTES = 64 };
    if (!kept->is_on || !kept->asked)
        return;
    const char *entry = (const void *)kept_ends_slot(kept, node, kept->asked);
    kept->asked = 0;
    __builtin_prefetch(entry);
    __builtin_prefetch(entry + LINE_BYTES);
}

/* NULL: they are not kept. Of a reader that keeps them; lives until the next are added. */
static inline const struct kept_ends *kept_ends_find(struct graph_txn *txn, sombra_node_id node,
                                                     uint32_t asked)
{
    struct kept_values *kept = &txn->ends;
    const struct kept_ends *entry = kept_ends_slot(kept, node, asked);
    kept->asked = asked;
    if (entry->node != node || entry->asked != asked || entry->generation != kept->generation)
        return NULL;
    kept->hits++;
    return entry;
}

/* An entry without edges, to which all are put. Of a reader that keeps them. */
struct kept_ends *kept_ends_add(struct graph_txn *txn, sombra_node_id node, uint32_t asked);
/* False: it cannot have this edge, and is gone. */
bool kept_ends_put(struct kept_ends *entry, sombra_node_id node, sombra_edge_id edge,
                   uint32_t type);

#endif
