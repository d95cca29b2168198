/* SPDX-License-Identifier: MIT */
/* A path of least cost, by Dijkstra's algorithm from both ends.
 *
 * Each side settles nodes by ascending cost. Whenever a node gets a cost that has one on the other
 * side, too, the two make a path. A path that is not known yet has a node that neither side has
 * settled, and so costs at least what is least in the one heap and what is least in the other: when
 * those come to what the best path costs, it is the answer. Costs are compared together with the
 * number of edges, so that of equal paths one of fewest edges is found, and rounds of weight 0 do
 * not matter.
 */
#include "paths_internal.h"

enum { NONE = UINT32_MAX };

struct spot {
    uint64_t id;
    uint64_t edge; /* over which it was reached */
    double cost;   /* from this side's end */
    double weight; /* of the edge */
    uint32_t hops;
    uint32_t parent; /* NONE for the end itself */
    bool is_settled;
    bool is_refused; /* by walk->nodes */
};

struct flank {
    struct fan *fan;
    struct id_map seen; /* node -> index into spots */
    struct spot *spots;
    size_t count, capacity;
    struct cost_heap heap; /* of spots; some wait more than once, with an older cost */
};

struct meet {
    struct query_run *run;
    const struct walk *walk;
    const struct costs *costs;
    struct flank flanks[2]; /* from the start, from the end */
    bool has_best;
    double best_cost;
    uint32_t best_hops;
    uint32_t best[2]; /* spots of the node where the best path meets */
};

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err meet_new(struct query_run *run, const struct walk *walk, const struct costs *costs,
                    struct meet **out_meet)
{
    struct meet *meet = mem_zalloc(sizeof *meet);
    if (!meet)
        return diag_nomem("a search", sizeof *meet);
    meet->run = run;
    meet->walk = walk;
    meet->costs = costs;
    bool needs_records = costs->has_property && costs->property;
    sombra_err err = fan_new(run, walk, false, needs_records, &meet->flanks[0].fan);
    if (!err)
        err = fan_new(run, walk, true, needs_records, &meet->flanks[1].fan);
    if (err) {
        meet_free(meet);
        return err;
    }
    *out_meet = meet;
    return SOMBRA_OK;
}

void meet_free(struct meet *meet)
{
    if (!meet)
        return;
    for (size_t i = 0; i < COUNT_OF(meet->flanks); i++) {
        struct flank *flank = &meet->flanks[i];
        fan_free(flank->fan);
        id_map_release(meet->run, &flank->seen);
        run_free(meet->run, &flank->spots, &flank->capacity, sizeof *flank->spots);
        cost_heap_release(meet->run, &flank->heap);
    }
    mem_free(meet);
}

/* ---- flanks ------------------------------------------------------------------------------ */

static bool is_less(double cost, uint32_t hops, double than_cost, uint32_t than_hops)
{
    return cost < than_cost || (cost == than_cost && hops < than_hops);
}

static sombra_err add_spot(struct meet *meet, struct flank *flank, const struct spot *spot,
                           uint32_t *out_index)
{
    sombra_err err = run_room(meet->run, &flank->spots, flank->count, &flank->capacity,
                              sizeof *flank->spots, "a search by cost");
    if (!err)
        err = id_map_put(meet->run, &flank->seen, spot->id, (uint32_t)flank->count);
    if (err)
        return err;
    flank->spots[flank->count] = *spot;
    *out_index = (uint32_t)flank->count++;
    return SOMBRA_OK;
}

static sombra_err begin_flank(struct meet *meet, struct flank *flank, uint64_t node)
{
    const struct spot spot = { .id = node, .parent = NONE };
    uint32_t index = 0;
    id_map_clear(&flank->seen);
    flank->count = flank->heap.count = 0;
    sombra_err err = add_spot(meet, flank, &spot, &index);
    return err ? err : cost_heap_push(meet->run, &flank->heap, (struct waiting){ .index = index });
}

/* The spot has a new cost: does it make a better path with one of the other side? */
static void try_meeting(struct meet *meet, size_t side, uint32_t index)
{
    const struct spot *mine = &meet->flanks[side].spots[index], *other;
    uint32_t others;
    if (!id_map_find(&meet->flanks[1 - side].seen, mine->id, &others))
        return;
    other = &meet->flanks[1 - side].spots[others];
    double cost = mine->cost + other->cost;
    uint32_t hops = mine->hops + other->hops;
    if (other->is_refused ||
        (meet->has_best && !is_less(cost, hops, meet->best_cost, meet->best_hops)))
        return;
    meet->has_best = true;
    meet->best_cost = cost;
    meet->best_hops = hops;
    meet->best[side] = index;
    meet->best[1 - side] = others;
}

/* A node not seen from this side: the other side's end is taken whatever it is. */
static sombra_err find_new(struct meet *meet, size_t side, struct spot *spot, uint32_t *out_index)
{
    struct flank *flank = &meet->flanks[side];
    bool takes = true;
    sombra_err err = SOMBRA_OK;
    if (spot->id != meet->flanks[1 - side].spots[0].id)
        err = walk_takes_node(meet->walk, meet->run, spot->id, &takes);
    spot->is_refused = !takes;
    return err ? err : add_spot(meet, flank, spot, out_index);
}

static sombra_err walk_hop(struct meet *meet, size_t side, uint32_t from,
                           const struct graph_hop *hop, size_t index)
{
    struct flank *flank = &meet->flanks[side];
    const struct spot *at = &flank->spots[from];
    struct spot spot = { .id = hop->node, .edge = hop->edge, .hops = at->hops + 1, .parent = from };
    uint32_t known;
    sombra_err err = costs_of_hop(meet->costs, meet->run, flank->fan, hop, index, &spot.weight);
    spot.cost = at->cost + spot.weight;
    if (err)
        return err;
    if (!id_map_find(&flank->seen, hop->node, &known)) {
        err = find_new(meet, side, &spot, &known);
        if (err || spot.is_refused)
            return err;
    } else {
        struct spot *old = &flank->spots[known];
        if (old->is_refused || old->is_settled ||
            !is_less(spot.cost, spot.hops, old->cost, old->hops))
            return SOMBRA_OK;
        *old = spot;
    }
    try_meeting(meet, side, known);
    return cost_heap_push(meet->run, &flank->heap,
                          (struct waiting){ .rank = spot.cost, .hops = spot.hops, .index = known });
}

static sombra_err settle(struct meet *meet, size_t side, uint32_t from, const struct bans *bans)
{
    struct flank *flank = &meet->flanks[side];
    const uint64_t id = flank->spots[from].id;
    sombra_err err = SOMBRA_OK;
    flank->spots[from].is_settled = true;
    fan_open(flank->fan, &id, 1);
    while (!err) {
        const struct graph_hop *hops;
        size_t count;
        err = fan_next(flank->fan, &hops, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            uint32_t unused;
            err = run_tick(meet->run);
            if (!err && !(bans && (id_map_find(&bans->nodes, hops[i].node, &unused) ||
                                   id_map_find(&bans->edges, hops[i].edge, &unused))))
                err = walk_hop(meet, side, from, &hops[i], i);
        }
    }
    fan_open(flank->fan, NULL, 0); /* `id` ends here */
    return err;
}

/* ---- search ------------------------------------------------------------------------------ */

/* Drops what waits with a cost that is no longer the spot's. */
static void drop_old(struct flank *flank)
{
    while (flank->heap.count) {
        const struct waiting *top = &flank->heap.items[0];
        const struct spot *spot = &flank->spots[top->index];
        if (!spot->is_settled && top->rank == spot->cost && top->hops == spot->hops)
            return;
        (void)cost_heap_pop(&flank->heap);
    }
}

static bool is_decided(const struct meet *meet)
{
    const struct waiting *ahead = meet->flanks[0].heap.items, *back = meet->flanks[1].heap.items;
    return meet->has_best && !is_less(ahead->rank + back->rank, ahead->hops + back->hops,
                                      meet->best_cost, meet->best_hops);
}

/* The costs are added up from the start on, as they would be by a search from there alone. */
static sombra_err read_path(struct meet *meet, struct path *path)
{
    const struct flank *start = &meet->flanks[0], *end = &meet->flanks[1];
    size_t ids = path->count, costs = path->cost_count;
    double cost = path_cost(path);
    sombra_err err = SOMBRA_OK;
    for (uint32_t at = meet->best[0]; !err && start->spots[at].parent != NONE;
         at = start->spots[at].parent) {
        err = path_push(meet->run, path, start->spots[at].id);
        if (!err)
            err = path_push(meet->run, path, start->spots[at].edge);
        if (!err)
            err = path_push_cost(meet->run, path, start->spots[at].weight);
    }
    if (!err)
        path_reverse(path, ids, costs);
    for (uint32_t at = meet->best[1]; !err && end->spots[at].parent != NONE;
         at = end->spots[at].parent) {
        err = path_push(meet->run, path, end->spots[at].edge);
        if (!err)
            err = path_push(meet->run, path, end->spots[end->spots[at].parent].id);
        if (!err)
            err = path_push_cost(meet->run, path, end->spots[at].weight);
    }
    for (size_t i = costs; i < path->cost_count; i++)
        path->costs[i] = cost += path->costs[i];
    return err;
}

sombra_err meet_find(struct meet *meet, uint64_t to, const struct bans *bans, struct path *path,
                     bool *out_found)
{
    struct flank *start = &meet->flanks[0], *end = &meet->flanks[1];
    meet->has_best = false;
    *out_found = false;
    sombra_err err = begin_flank(meet, start, path->ids[path->count - 1]);
    if (!err)
        err = begin_flank(meet, end, to);
    while (!err) {
        drop_old(start);
        drop_old(end);
        if (start->heap.count == 0 || end->heap.count == 0 || is_decided(meet))
            break;
        size_t side = start->heap.count <= end->heap.count ? 0 : 1;
        err = run_tick(meet->run);
        if (!err)
            err = settle(meet, side, cost_heap_pop(&meet->flanks[side].heap).index, bans);
    }
    if (!err && meet->has_best)
        err = read_path(meet, path);
    *out_found = !err && meet->has_best;
    return err;
}
