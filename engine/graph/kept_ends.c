/* SPDX-License-Identifier: MIT */
#include "kept_ends.h"

struct kept_ends *kept_ends_add(struct graph_txn *txn, sombra_node_id node, uint32_t asked)
{
    struct kept_values *kept = &txn->ends;
    assert(asked && kept->is_on && txn->version && txn->version == kept->version);
    if (UNLIKELY(kept_ends_slot(kept, node, asked)->generation == kept->generation))
        kept_values_push(txn->graph, kept);
    struct kept_ends *entry = kept_ends_slot(kept, node, asked);
    entry->node = node;
    entry->asked = asked;
    entry->generation = kept->generation;
    entry->type = entry->count = 0;
    return entry;
}

bool kept_ends_put(struct kept_ends *entry, sombra_node_id node, sombra_edge_id edge, uint32_t type)
{
    const uint32_t at = entry->count;
    if (UNLIKELY(at == KEPT_ENDS_MAX || (node | edge) > UINT32_MAX ||
                 (at && type != entry->type))) {
        entry->generation = 0;
        return false;
    }
    entry->type = type;
    entry->ends[at].node = (uint32_t)node;
    entry->ends[at].edge = (uint32_t)edge;
    entry->count = at + 1;
    return true;
}
