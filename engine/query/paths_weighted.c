/* SPDX-License-Identifier: MIT */
/* Paths of least cost with a bound on their edges, or a heuristic: Dijkstra's algorithm and A*.
 * (With neither: paths_meet.c.)
 *
 * A label is one way to a node: its cost, its edges, the label it came from. A node keeps those of
 * its labels that no other is better than: one, unless the number of edges is bounded; then a
 * dearer way of fewer edges may be the one that still gets there. Labels wait in a heap, least cost
 * and estimate first; the first label of the target that comes off it is the answer. A node whose
 * label came off may get a cheaper one later (a heuristic need not be consistent); it is then
 * walked again.
 */
#include "paths_internal.h"

enum { NONE = 0 };

struct label {
    double cost;
    uint64_t edge;   /* over which it came */
    uint32_t node;   /* index into nodes */
    uint32_t parent; /* label; NONE for the first */
    uint32_t hops;   /* of the whole path */
    uint32_t next;   /* of the same node; NONE = the last */
    bool is_beaten;
};

struct labelled {
    uint64_t id;
    double estimate; /* of the way on from here */
    uint32_t label;  /* the first of those not beaten */
    bool is_refused; /* by walk->nodes */
};

struct cheapest {
    struct query_run *run;
    const struct walk *walk;
    struct costs *costs;
    uint32_t max; /* UINT32_MAX = none */
    uint64_t to;
    struct fan *fan;
    struct id_map seen; /* node -> index */
    struct labelled *nodes;
    size_t node_count, node_capacity;
    struct label *labels; /* index 0 is unused */
    size_t label_count, label_capacity;
    struct cost_heap heap; /* of labels */
    struct meet *meet;     /* where nothing speaks against it: from both ends */
};

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err cheapest_new(struct query_run *run, const struct walk *walk, struct costs *costs,
                        uint32_t max, struct cheapest **out_cheapest)
{
    struct cheapest *c = mem_zalloc(sizeof *c);
    if (!c)
        return diag_nomem("a search", sizeof *c);
    c->run = run;
    c->walk = walk;
    c->costs = costs;
    c->max = max;
    bool needs_records = costs->has_property && costs->property;
    bool is_plain = max == UINT32_MAX && costs->heuristic == HEURISTIC_NONE;
    sombra_err err = is_plain ? meet_new(run, walk, costs, &c->meet)
                              : fan_new(run, walk, false, needs_records, &c->fan);
    if (err) {
        cheapest_free(c);
        return err;
    }
    *out_cheapest = c;
    return SOMBRA_OK;
}

void cheapest_free(struct cheapest *c)
{
    if (!c)
        return;
    fan_free(c->fan);
    id_map_release(c->run, &c->seen);
    run_free(c->run, &c->nodes, &c->node_capacity, sizeof *c->nodes);
    run_free(c->run, &c->labels, &c->label_capacity, sizeof *c->labels);
    cost_heap_release(c->run, &c->heap);
    meet_free(c->meet);
    mem_free(c);
}

/* ---- labels ------------------------------------------------------------------------------ */

/* Without a bound on edges fewer of them only settle a tie. */
static bool is_as_good(const struct cheapest *c, const struct label *a, const struct label *b)
{
    if (c->max != UINT32_MAX)
        return a->cost <= b->cost && a->hops <= b->hops;
    return a->cost < b->cost || (a->cost == b->cost && a->hops <= b->hops);
}

static sombra_err find_node(struct cheapest *c, uint64_t id, uint32_t *out_index)
{
    bool takes = true;
    struct labelled node = { .id = id };
    if (id_map_find(&c->seen, id, out_index))
        return SOMBRA_OK;
    sombra_err err = run_room(c->run, &c->nodes, c->node_count, &c->node_capacity, sizeof *c->nodes,
                              "a search by cost");
    if (!err && id != c->to && c->node_count)
        err = walk_takes_node(c->walk, c->run, id, &takes);
    if (!err && takes && id != c->to && c->costs->heuristic)
        err = costs_estimate(c->costs, c->run, id, &node.estimate);
    if (!err)
        err = id_map_put(c->run, &c->seen, id, (uint32_t)c->node_count);
    if (err)
        return err;
    node.is_refused = !takes;
    c->nodes[c->node_count] = node;
    *out_index = (uint32_t)c->node_count++;
    return SOMBRA_OK;
}

static sombra_err add_label(struct cheapest *c, struct label label)
{
    struct labelled *node = &c->nodes[label.node];
    uint32_t *link = &node->label;
    while (*link) {
        struct label *known = &c->labels[*link];
        if (is_as_good(c, known, &label))
            return SOMBRA_OK;
        if (is_as_good(c, &label, known)) {
            known->is_beaten = true;
            *link = known->next;
        } else {
            link = &known->next;
        }
    }
    label.next = node->label;
    sombra_err err = run_room(c->run, &c->labels, c->label_count, &c->label_capacity,
                              sizeof *c->labels, "a search by cost");
    if (err)
        return err;
    uint32_t index = (uint32_t)c->label_count++;
    c->labels[index] = label;
    node->label = index;
    return cost_heap_push(c->run, &c->heap,
                          (struct waiting){ .rank = label.cost + node->estimate,
                                            .hops = label.hops,
                                            .index = index });
}

static sombra_err walk_hop(struct cheapest *c, uint32_t from, const struct graph_hop *hop,
                           size_t index, const struct bans *bans)
{
    const struct label at = c->labels[from];
    struct label label = { .edge = hop->edge, .parent = from, .hops = at.hops + 1 };
    uint32_t unused;
    double cost = 0;
    if (bans && (id_map_find(&bans->nodes, hop->node, &unused) ||
                 id_map_find(&bans->edges, hop->edge, &unused)))
        return SOMBRA_OK;
    sombra_err err = costs_of_hop(c->costs, c->run, c->fan, hop, index, &cost);
    if (!err)
        err = find_node(c, hop->node, &label.node);
    if (err || c->nodes[label.node].is_refused)
        return err;
    label.cost = at.cost + cost;
    return add_label(c, label);
}

static sombra_err walk_node(struct cheapest *c, uint32_t from, const struct bans *bans)
{
    uint64_t id = c->nodes[c->labels[from].node].id;
    sombra_err err = SOMBRA_OK;
    fan_open(c->fan, &id, 1);
    while (!err) {
        const struct graph_hop *hops;
        size_t count;
        err = fan_next(c->fan, &hops, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            err = run_tick(c->run);
            if (!err)
                err = walk_hop(c, from, &hops[i], i, bans);
        }
    }
    fan_open(c->fan, NULL, 0); /* `id` ends here */
    return err;
}

/* ---- search ------------------------------------------------------------------------------ */

static sombra_err read_way(struct cheapest *c, uint32_t label, struct path *path)
{
    size_t end = path->count, costs = path->cost_count;
    sombra_err err = SOMBRA_OK;
    for (; !err && c->labels[label].parent != NONE; label = c->labels[label].parent) {
        const struct label *at = &c->labels[label];
        err = path_push(c->run, path, c->nodes[at->node].id);
        if (!err)
            err = path_push(c->run, path, at->edge);
        if (!err)
            err = path_push_cost(c->run, path, at->cost);
    }
    if (err) {
        path->count = end;
        path->cost_count = costs;
        return err;
    }
    path_reverse(path, end, costs);
    return SOMBRA_OK;
}

static sombra_err find_ahead(struct cheapest *c, uint64_t to, const struct bans *bans,
                             struct path *path, bool *out_found)
{
    struct label first = { .cost = path_cost(path), .hops = (uint32_t)path_edges(path) };
    id_map_clear(&c->seen);
    c->node_count = c->heap.count = 0;
    c->label_count = 1;
    c->to = to;
    *out_found = false;
    sombra_err err =
        run_room(c->run, &c->labels, 0, &c->label_capacity, sizeof *c->labels, "a search by cost");
    if (!err)
        err = find_node(c, path->ids[path->count - 1], &first.node);
    if (!err)
        err = add_label(c, first);
    while (!err && c->heap.count) {
        uint32_t label = cost_heap_pop(&c->heap).index;
        if (c->labels[label].is_beaten)
            continue;
        if (c->nodes[c->labels[label].node].id == to) {
            err = read_way(c, label, path);
            *out_found = !err;
            return err;
        }
        err = run_tick(c->run);
        if (!err && c->labels[label].hops < c->max)
            err = walk_node(c, label, bans);
    }
    return err;
}

sombra_err cheapest_find(struct cheapest *c, uint64_t to, const struct bans *bans,
                         struct path *path, bool *out_found)
{
    assert(path->count > 0 && path->ids[path->count - 1] != to);
    return c->meet ? meet_find(c->meet, to, bans, path, out_found)
                   : find_ahead(c, to, bans, path, out_found);
}
