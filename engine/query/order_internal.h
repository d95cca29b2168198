/* SPDX-License-Identifier: MIT */
/* Searches that number all nodes: cycles, topological order.
 */
#ifndef ORDER_INTERNAL_H
#define ORDER_INTERNAL_H

#include "search_internal.h"

/* ---- all nodes, numbered by id (node_table.c) ------------------------------------------- */

/* Those that walk->nodes takes. Zeroed, filled, released. */
struct node_table {
    uint64_t *ids; /* ascending */
    size_t count, capacity;
    uint32_t
        *numbers; /* of ids[0] + i: its index + 1; 0 = none. NULL where ids lie too far apart */
    size_t number_capacity;
    struct id_map map; /* then this: id -> index */
};
sombra_err node_table_fill(struct query_run *run, const struct walk *walk,
                           struct node_table *table) SOMBRA_MUST_CHECK;
void node_table_release(struct query_run *run, struct node_table *table);
static inline bool node_table_find(const struct node_table *table, uint64_t id, uint32_t *out_index)
{
    if (!table->numbers)
        return id_map_find(&table->map, id, out_index);
    uint64_t offset = id - table->ids[0];
    if (offset >= table->number_capacity || table->numbers[offset] == 0)
        return false;
    *out_index = table->numbers[offset] - 1;
    return true;
}
/* An array with one item for each node, zeroed and charged; freed by node_array_free. */
sombra_err node_array_new(struct query_run *run, const struct node_table *table, size_t item_bytes,
                          void *out_array) SOMBRA_MUST_CHECK;
void node_array_free(struct query_run *run, const struct node_table *table, size_t item_bytes,
                     void *array); /* NULL is a no-op */

/* ---- strongly connected components (components.c) --------------------------------------- */

/* *out_components (node_array_new) has for each node the number of its component, 0 for a node that
 * is on no cycle. */
sombra_err components_find(struct query_run *run, const struct node_table *table, struct fan *fan,
                           uint32_t **out_components) SOMBRA_MUST_CHECK;

#endif
