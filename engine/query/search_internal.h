/* SPDX-License-Identifier: MIT */
/* What the searches over the whole graph share: paths, cycles, orders, subgraphs, statistics.
 */
#ifndef SEARCH_INTERNAL_H
#define SEARCH_INTERNAL_H

#include "plan_internal.h"

/* ---- a map from ids to small numbers (id_map.c) --------------------------------------------- */

struct id_map_slot {
    uint64_t id; /* 0 = free */
    uint32_t value;
};
/* Zeroed, used, released; charged to the run. */
struct id_map {
    struct id_map_slot *slots; /* open addressing, at most half full */
    size_t capacity;           /* a power of two, or 0 */
    size_t count;
};

static inline bool id_map_find(const struct id_map *map, uint64_t id, uint32_t *out_value)
{
    if (UNLIKELY(map->count == 0))
        return false;
    size_t mask = map->capacity - 1;
    for (size_t at = (size_t)hash_u64(id) & mask; map->slots[at].id; at = (at + 1) & mask) {
        if (map->slots[at].id == id) {
            *out_value = map->slots[at].value;
            return true;
        }
    }
    return false;
}
/* Adds or replaces; the id is not 0. LIMIT, NOMEM. */
sombra_err id_map_put(struct query_run *run, struct id_map *map, uint64_t id,
                      uint32_t value) SOMBRA_MUST_CHECK;
void id_map_clear(struct id_map *map); /* keeps the memory */
void id_map_release(struct query_run *run, struct id_map *map);

/* ---- growing arrays of a run ----------------------------------------------------------------- */

/* Room for one more item behind `count`. `array` is the address of the pointer to the items. */
sombra_err run_room_slow(struct query_run *run, void *array, size_t *capacity, size_t item_bytes,
                         const char *what) SOMBRA_MUST_CHECK;
static inline sombra_err run_room(struct query_run *run, void *array, size_t count,
                                  size_t *capacity, size_t item_bytes, const char *what)
{
    return LIKELY(count < *capacity) ? SOMBRA_OK
                                     : run_room_slow(run, array, capacity, item_bytes, what);
}
/* Frees it and sets the pointer to NULL. */
void run_free(struct query_run *run, void *array, size_t *capacity, size_t item_bytes);

/* ---- the edges that a walk may take (fan.c) --------------------------------------------- */

/* Given one set of nodes after another, with its memory kept. The edges are those of walk->types,
 * in its direction, that walk->where lets through; walk->nodes is for the caller. */
struct fan;
/* The walk must outlive it. `is_turned`: edges are walked from their far ends. `with_properties`:
 * the caller reads them. */
sombra_err fan_new(struct query_run *run, const struct walk *walk, bool is_turned,
                   bool with_properties, struct fan **out_fan) SOMBRA_MUST_CHECK;
/* NULL is a no-op. Its memory is the run's until the end. */
void fan_free(struct fan *fan);
/* `nodes` must live until all their edges were read, or others are given. */
void fan_open(struct fan *fan, const uint64_t *nodes, size_t count);
/* The same for who may stop soon: its first batches are small. */
void fan_open_gently(struct fan *fan, const uint64_t *nodes, size_t count);
/* Edges in the order of the nodes; count 0 = no more. They live until the next call. */
sombra_err fan_next(struct fan *fan, const struct graph_hop **out_hops,
                    size_t *out_count) SOMBRA_MUST_CHECK;
/* The same as ends, those of one node a call. A set of nodes is read by either, or by fan_next. */
sombra_err fan_next_ends(struct fan *fan, const struct graph_ends **out_ends) SOMBRA_MUST_CHECK;
typedef sombra_err (*fan_fn)(void *context, const struct graph_hop *hop);
/* `each` for every edge of the nodes, until it fails; neither is used afterwards. A hop ticks. */
sombra_err fan_each(struct fan *fan, const uint64_t *nodes, size_t count, fan_fn each,
                    void *context) SOMBRA_MUST_CHECK;
/* The properties of one of the batch (with_properties). */
sombra_err fan_record(const struct fan *fan, size_t index,
                      sombra_record *out_record) SOMBRA_MUST_CHECK;
/* Does walk->nodes let the node through? */
sombra_err walk_takes_node(const struct walk *walk, struct query_run *run, uint64_t node,
                           bool *out_takes) SOMBRA_MUST_CHECK;

/* ---- rows with values of their own (search.c) ------------------------------------------- */

/* The values of one batch of rows: appended while the batch is filled, addressed when it is full,
 * since the memory moves. Batches begin with one row and double: what is not asked for is not
 * searched. */
struct row_values {
    sombra_value_builder *builder; /* for the maker of rows, of one after the other; the run's */
    struct buf bytes;
    size_t batch_max; /* rows wanted in this batch */
};
sombra_err row_values_init(struct row_values *values, struct query_run *run) SOMBRA_MUST_CHECK;
void row_values_release(struct row_values *values);
void row_values_begin(struct row_values *values, struct row_batch *batch);
/* Adds a row with what was built; resets the builder. */
sombra_err row_values_add(struct row_values *values, struct row_batch *batch,
                          const struct row *row) SOMBRA_MUST_CHECK;
/* Sets the addresses. */
void row_values_end(struct row_values *values, struct row_batch *batch);

/* An operator in the run's arena, zeroed and charged, with its head filled in. */
sombra_err search_operator_new(struct query_run *run, const struct operator_ops *ops, size_t bytes,
                               sombra_row_kind kind, void *out_operator) SOMBRA_MUST_CHECK;
void search_operator_free(struct operator* op, size_t bytes); /* the charge */

/* ---- options ---------------------------------------------------------------------------- */

/* A list of ids, or one; *out_ids is the run's. `name` is the option's. */
struct id_list {
    uint64_t *items;
    size_t count, capacity;
};
sombra_err option_ids(struct query_run *run, const sombra_value *options, const char *name,
                      struct id_list *out_ids, bool *out_found) SOMBRA_MUST_CHECK;
void id_list_release(struct query_run *run, struct id_list *ids);
sombra_err id_list_add(struct query_run *run, struct id_list *ids, uint64_t id) SOMBRA_MUST_CHECK;
/* A finite number of any kind; out parameter left alone if there is none. */
sombra_err option_number(const sombra_value *options, const char *name,
                         double *out_number) SOMBRA_MUST_CHECK;

#endif
