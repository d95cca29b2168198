/* SPDX-License-Identifier: MIT */
/* The searches behind the source "paths" (paths.c).
 */
#ifndef PATHS_INTERNAL_H
#define PATHS_INTERNAL_H

#include "search_internal.h"

/* Ids of node, edge, node ... node. */
struct path {
    uint64_t *ids;
    size_t count, capacity;
    double *costs; /* of weighted ones: up to each node */
    size_t cost_count, cost_capacity;
};
static inline size_t path_edges(const struct path *path)
{
    return path->count / 2;
}
static inline double path_cost(const struct path *path)
{
    return path->cost_count ? path->costs[path->cost_count - 1] : 0;
}
sombra_err path_push(struct query_run *run, struct path *path, uint64_t id) SOMBRA_MUST_CHECK;
sombra_err path_push_cost(struct query_run *run, struct path *path, double cost) SOMBRA_MUST_CHECK;
/* Only its first node. */
sombra_err path_begin(struct query_run *run, struct path *path, uint64_t node) SOMBRA_MUST_CHECK;
/* The ids and costs from these places on, turned round: searches find paths from their end. */
void path_reverse(struct path *path, size_t from, size_t costs_from);
void path_release(struct query_run *run, struct path *path);

/* ---- least edges (paths_bfs*.c) --------------------------------------------------------- */

struct bfs;
/* `collects`: all paths of least edges, else one. `max` edges at most. */
sombra_err bfs_new(struct query_run *run, const struct walk *walk, uint32_t max, bool collects,
                   struct bfs **out_bfs) SOMBRA_MUST_CHECK;
void bfs_free(struct bfs *bfs);
/* Two different nodes, here and below. */
sombra_err bfs_begin(struct bfs *bfs, uint64_t from, uint64_t to) SOMBRA_MUST_CHECK;
/* *out_found false = no more. The path is overwritten. */
sombra_err bfs_next(struct bfs *bfs, struct path *path, bool *out_found) SOMBRA_MUST_CHECK;

/* ---- least cost (paths_cost.c, paths_weighted.c) ---------------------------------------- */

enum heuristic_kind {
    HEURISTIC_NONE,
    HEURISTIC_FUNCTION,
    HEURISTIC_HAVERSINE,
    HEURISTIC_EUCLIDEAN
};

/* What an edge costs, and what the rest of the way costs at least. */
struct costs {
    bool has_property, has_function; /* the weight; with neither each edge costs the default */
    uint32_t property;               /* its id; 0 = no edge has it */
    uint32_t function;
    double default_cost;
    enum heuristic_kind heuristic;
    uint32_t heuristic_function;
    uint32_t axes[2]; /* property ids */
    double scale;
    double target[2]; /* set by costs_aim */
    bool has_target;
};
sombra_err costs_parse(struct query_run *run, const sombra_value *options,
                       struct costs *out_costs) SOMBRA_MUST_CHECK;
/* Paths end at this node from now on. */
sombra_err costs_aim(struct costs *costs, struct query_run *run, uint64_t to) SOMBRA_MUST_CHECK;
/* INVALID names the edge if its weight is no number, negative or not finite. */
sombra_err costs_of_hop(const struct costs *costs, struct query_run *run, const struct fan *fan,
                        const struct graph_hop *hop, size_t index,
                        double *out_cost) SOMBRA_MUST_CHECK;
sombra_err costs_estimate(const struct costs *costs, struct query_run *run, uint64_t node,
                          double *out_cost) SOMBRA_MUST_CHECK;

/* A heap of what is to be looked at, least cost first, of equal cost least edges (paths_heap.c). */
struct waiting {
    double rank; /* cost, or cost and estimate */
    uint32_t hops;
    uint32_t index; /* the search's own */
};
struct cost_heap {
    struct waiting *items;
    size_t count, capacity;
};
sombra_err cost_heap_push(struct query_run *run, struct cost_heap *heap,
                          struct waiting item) SOMBRA_MUST_CHECK;
struct waiting cost_heap_pop(struct cost_heap *heap); /* there is one */
void cost_heap_release(struct query_run *run, struct cost_heap *heap);

struct cheapest;
sombra_err cheapest_new(struct query_run *run, const struct walk *walk, struct costs *costs,
                        uint32_t max, struct cheapest **out_cheapest) SOMBRA_MUST_CHECK;
void cheapest_free(struct cheapest *cheapest);
/* What a search must not use. */
struct bans {
    struct id_map nodes, edges;
};
/* The way of least cost from the last node of *path, appended to it; without a heuristic, of those
 * of equal cost one of least edges. `max` counts all edges of the path. `bans` may be NULL. */
sombra_err cheapest_find(struct cheapest *cheapest, uint64_t to, const struct bans *bans,
                         struct path *path, bool *out_found) SOMBRA_MUST_CHECK;

/* From both ends at once (paths_meet.c): what cheapest_find does where it can. */
struct meet;
sombra_err meet_new(struct query_run *run, const struct walk *walk, const struct costs *costs,
                    struct meet **out_meet) SOMBRA_MUST_CHECK;
void meet_free(struct meet *meet);
sombra_err meet_find(struct meet *meet, uint64_t to, const struct bans *bans, struct path *path,
                     bool *out_found) SOMBRA_MUST_CHECK;

/* ---- the k of least cost (paths_yen.c) -------------------------------------------------- */

struct yen;
sombra_err yen_new(struct query_run *run, struct cheapest *cheapest, uint32_t k,
                   struct yen **out_yen) SOMBRA_MUST_CHECK;
void yen_free(struct yen *yen);
sombra_err yen_begin(struct yen *yen, uint64_t from, uint64_t to) SOMBRA_MUST_CHECK;
/* Ascending by cost. */
sombra_err yen_next(struct yen *yen, struct path *path, bool *out_found) SOMBRA_MUST_CHECK;

#endif
