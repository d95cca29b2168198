/* SPDX-License-Identifier: MIT */
/* kept_values: what readers of one version have read, where it is small (decision 0024): values of
 * nodes' properties, and what they found by the values of an index. The first takes some 560
 * instructions in the store, the second 1,900; here 20 and 60.
 *
 * The two tables, and that of edges' ends (kept_ends.h), belong to a transaction's handle and
 * outlive its transactions, as the rules do: the next reader that sees the same version finds what
 * the ones before it read. Values of properties are direct-mapped by the node's id, so that nodes
 * made one after the other are neighbours here as well; what was found by an index is so by the
 * values that were looked for. A table grows while entries push each other out, to KEPT_BYTES_MAX;
 * all tables of a graph together have at most KEPT_BYTES_ALL.
 *
 * To keep one costs a twentieth of reading it. So the first KEPT_READS_BEFORE reads of a
 * version keep nothing, and where of KEPT_READS, of as many versions as it takes, less than one in
 * KEPT_PAYS was found here, the next ones do not either: as many, then twice as many each time, to
 * KEPT_PAUSE_MAX. Each table judges for itself.
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
    uint64_t node;     /* by value: the node or edge that was found; 0 = none */
    uint32_t property; /* by value: the id of the index */
    uint32_t generation;
    uint8_t bytes[KEPT_VALUE_BYTES]; /* encoded; by value: as in keys of the index */
    uint8_t length;                  /* bytes; 0 = the node has no such property, or is not there */
};
static_assert(sizeof(struct kept_value) == 32, "two of them in a line of the cache");

/* A reader begins; `version` is kv's, 0 = not known. */
void kept_values_begin(struct graph_txn *txn);
/* Gives the memory back. */
void kept_values_release(struct graph_txn *txn);

/* What the next reads do, after those that were thought of have been done. */
bool kept_values_think(struct graph *graph, struct kept_values *kept);

/* About to read so many: are they to be looked for in the table, which is the transaction's, and
 * kept there? Then there is one. */
static inline bool kept_values_wanted(struct graph_txn *txn, struct kept_values *kept, size_t count)
{
    if (txn->version == 0)
        return false;
    if (UNLIKELY(kept->left < count))
        return kept_values_think(txn->graph, kept);
    kept->left -= count;
    return kept->is_on;
}

static inline struct kept_value *kept_value_slot(const struct kept_values *kept,
                                                 sombra_node_id node, uint32_t property)
{
    /* Properties of a node are far from each other, those of all nodes equally. */
    struct kept_value *at = kept->at;
    return &at[(node + (uint64_t)property * 0x9e37) & kept->mask];
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

/* An entry is about to push another one out. The table may grow: places are others then. */
void kept_values_push(struct graph *graph, struct kept_values *kept);

/* A property was asked of nodes: kept_value_expect brings that of the next ones. */
static inline void kept_value_asked(struct kept_values *kept, uint32_t property)
{
    kept->asked = property;
}

/* A reader has come to this node and to those that come with it: true if the property that was
 * asked of those before is worth to be brought for each (kept_value_fetch). Whoever then does not
 * ask has had one look too many, and not one for each node. */
static inline bool kept_value_expect(struct kept_values *kept, uint32_t *out_property)
{
    *out_property = kept->asked;
    kept->asked = 0;
    return kept->is_on && *out_property;
}
static inline void kept_value_fetch(const struct kept_values *kept, sombra_node_id node,
                                    uint32_t property)
{
    __builtin_prefetch(kept_value_slot(kept, node, property));
}

/* At most KEPT_VALUE_BYTES, of a node and a property, or as they are called by value. */
static inline void kept_value_fill(struct kept_value *slot, uint32_t generation, uint64_t node,
                                   uint32_t property, sombra_slice bytes)
{
    assert(bytes.bytes <= KEPT_VALUE_BYTES);
    slot->node = node;
    slot->property = property;
    slot->generation = generation;
    slot->length = (uint8_t)bytes.bytes;
    if (bytes.bytes)
        bytes_put_few(slot->bytes, bytes.data, bytes.bytes);
}

/* What a reader that keeps values has read in the store; data NULL = nothing. Long ones are not
 * kept. */
static inline void kept_value_add(struct graph_txn *txn, sombra_node_id node, uint32_t property,
                                  sombra_slice value)
{
    struct kept_values *kept = &txn->kept;
    assert(kept->is_on && txn->version && txn->version == kept->version);
    if (UNLIKELY(value.bytes > KEPT_VALUE_BYTES))
        return;
    struct kept_value *slot = kept_value_slot(kept, node, property);
    if (UNLIKELY(slot->generation == kept->generation)) {
        kept_values_push(txn->graph, kept);
        slot = kept_value_slot(kept, node, property);
    }
    kept_value_fill(slot, kept->generation, node, property, value);
}

/* ---- what was found by the values of an index ---------------------------------------------- */

/* 1 to KEPT_VALUE_BYTES bytes as numbers, which are equal if the bytes are, and they are as many.
 */
struct kept_words {
    uint64_t first, rest;
};
static inline struct kept_words kept_words_of(const uint8_t *bytes, size_t count)
{
    assert(count >= 1 && count <= KEPT_VALUE_BYTES);
    return (struct kept_words){ word_load(bytes, size_min(count, 8)),
                                count > 8 ? word_load(bytes + 8, count - 8) : 0 };
}

/* In the same line for all indexes, so that it can be asked for before it is known by which is
 * found; of two that were made one after the other, each has its own half. */
static inline struct kept_value *kept_found_slot(const struct kept_values *kept, uint32_t index,
                                                 struct kept_words words)
{
    const uint64_t mixed = (words.first ^ words.first >> 29) * UINT64_C(0x9e3779b97f4a7c15) +
                           (words.rest ^ words.rest >> 29) * UINT64_C(0xc2b2ae3d27d4eb4f);
    struct kept_value *at = kept->at;
    return &at[((mixed >> 32) ^ (index & 1)) & kept->mask];
}

/* About to find by these values, which may be too long to be kept. */
static inline void kept_found_fetch(const struct kept_values *kept, sombra_slice values)
{
    if (kept->is_on && values.bytes - 1 < KEPT_VALUE_BYTES)
        __builtin_prefetch(kept_found_slot(kept, 0, kept_words_of(values.data, values.bytes)));
}

/* What an index has for values of at most KEPT_VALUE_BYTES; NULL: it is not kept. Lives until the
 * next one is kept. */
static inline const struct kept_value *kept_found(const struct kept_values *kept, uint32_t index,
                                                  sombra_slice values)
{
    const struct kept_words words = kept_words_of(values.data, values.bytes);
    const struct kept_value *found = kept_found_slot(kept, index, words);
    if (found->property != index || found->generation != kept->generation ||
        found->length != values.bytes)
        return NULL;
    const struct kept_words own = kept_words_of(found->bytes, found->length);
    return own.first == words.first && own.rest == words.rest ? found : NULL;
}

/* What a reader that keeps it has found; 0 = nothing. */
static inline void kept_found_add(struct graph_txn *txn, uint32_t index, sombra_slice values,
                                  uint64_t id)
{
    struct kept_values *kept = &txn->found;
    const struct kept_words words = kept_words_of(values.data, values.bytes);
    assert(kept->is_on && txn->version && txn->version == kept->version);
    struct kept_value *slot = kept_found_slot(kept, index, words);
    if (UNLIKELY(slot->generation == kept->generation)) {
        kept_values_push(txn->graph, kept);
        slot = kept_found_slot(kept, index, words);
    }
    kept_value_fill(slot, kept->generation, id, index, values);
}

#endif
