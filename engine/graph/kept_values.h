/* SPDX-License-Identifier: MIT */
/* kept_values: small values of nodes' properties that readers of one version have read (decision
 * 0024). To find one in the store takes some 560 instructions, here 20.
 *
 * The table belongs to a transaction's handle and outlives its transactions, as the rules do: the
 * next reader that sees the same version finds what the ones before it read. It is direct-mapped
 * by the node's id, so that nodes made one after the other are neighbours here as well. It grows
 * while values push each other out, to KEPT_BYTES_MAX; all tables of a graph together have at most
 * KEPT_BYTES_ALL.
 *
 * To keep a value costs a twentieth of reading it. So the first KEPT_READS_BEFORE reads of a
 * version keep nothing, and where of KEPT_READS, of as many versions as it takes, less than one in
 * KEPT_PAYS was found here, the next ones do not either: as many, then twice as many each time, to
 * KEPT_PAUSE_MAX.
 *
 * Invariants: an entry whose generation is the table's holds what a reader of kept_version found
 * in the store. Generation 0 is that of no table: an entry of zeros is empty. Writers never touch a
 * table.
 * Failure: none. Where there is no memory, less is kept.
 */
#ifndef GRAPH_KEPT_VALUES_H
#define GRAPH_KEPT_VALUES_H

#include "graph_internal.h"

enum {
    KEPT_VALUE_BYTES = 15,
    KEPT_READS_BEFORE = 256,
    KEPT_READS = 32 * KiB, /* so many fill half a table */
    KEPT_PAYS = 16,
    KEPT_PAUSE_MAX = 8 * KEPT_READS,
    KEPT_CAPACITY_MIN = 256, /* entries, a power of two as all capacities */
    KEPT_GROWS = 4,          /* times */
    KEPT_BYTES_MAX = 2 * MiB,
    KEPT_BYTES_ALL = 8 * MiB,
};

struct kept_value {
    uint64_t node;
    uint32_t property;
    uint32_t generation;
    uint8_t bytes[KEPT_VALUE_BYTES]; /* encoded */
    uint8_t length;                  /* bytes; 0 = the node has no such property, or is not there */
};
static_assert(sizeof(struct kept_value) == 32, "two of them in a line of the cache");

/* A reader begins; `version` is kv's, 0 = not known. */
void kept_values_begin(struct graph_txn *txn);
/* Gives the memory back. */
void kept_values_release(struct graph_txn *txn);

/* What the next reads do, after those that were thought of have been done. */
bool kept_values_think(struct graph_txn *txn);

/* About to read so many: are they to be looked for, and kept? Then there is a table. */
static inline bool kept_values_wanted(struct graph_txn *txn, size_t count)
{
    struct kept_values *kept = &txn->kept;
    if (txn->version == 0)
        return false;
    if (UNLIKELY(kept->left < count))
        return kept_values_think(txn);
    kept->left -= count;
    return kept->is_on;
}

static inline struct kept_value *kept_value_slot(const struct kept_values *kept,
                                                 sombra_node_id node, uint32_t property)
{
    /* Properties of a node are far from each other, those of all nodes equally. */
    return &kept->at[(node + (uint64_t)property * 0x9e37) & kept->mask];
}

/* NULL: it is not kept. Lives until the next value is kept. */
static inline const struct kept_value *kept_value_find(const struct kept_values *kept,
                                                       sombra_node_id node, uint32_t property)
{
    const struct kept_value *value = kept_value_slot(kept, node, property);
    bool is_kept =
        value->node == node && value->property == property && value->generation == kept->generation;
    return is_kept ? value : NULL;
}

/* The place of a value that pushes another one out; the table may have grown. */
struct kept_value *kept_value_push(struct graph_txn *txn, sombra_node_id node, uint32_t property);

/* What a reader that keeps values has read in the store; data NULL = nothing. Long ones are not
 * kept. */
static inline void kept_value_add(struct graph_txn *txn, sombra_node_id node, uint32_t property,
                                  sombra_slice value)
{
    const struct kept_values *kept = &txn->kept;
    assert(kept->is_on && txn->version && txn->version == kept->version);
    if (UNLIKELY(value.bytes > KEPT_VALUE_BYTES))
        return;
    struct kept_value *slot = kept_value_slot(kept, node, property);
    if (UNLIKELY(slot->generation == kept->generation))
        slot = kept_value_push(txn, node, property);
    slot->node = node;
    slot->property = property;
    slot->generation = kept->generation;
    slot->length = (uint8_t)value.bytes;
    if (value.bytes)
        bytes_put_few(slot->bytes, value.data, value.bytes);
}

#endif
