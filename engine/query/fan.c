/* SPDX-License-Identifier: MIT */
/* The edges that a walk may take from a set of nodes.
 *
 * Where nobody looks at properties, one sweep reads the edges of all nodes; else each node's are
 * read with their properties, and where a predicate has a say, those that fail are squeezed out of
 * the batch.
 */
#include "search_internal.h"

enum { GENTLE_BATCH = 32 };

struct fan {
    struct query_run *run;
    const struct walk *walk;
    sombra_direction direction;
    const uint64_t *nodes;
    size_t node, node_count; /* with properties: the one that is read next */
    bool with_properties;
    bool is_open;                   /* `neighbours` */
    const struct graph_hop *unused; /* by fan_next_ends, of the last batch */
    size_t unused_count;
    /* with properties */
    sombra_slice *types; /* names */
    struct graph_neighbours *neighbours;
    struct graph_expand expand; /* from here on nothing is set before it is used but its head */
    struct graph_hop hops[GRAPH_BATCH];
    sombra_slice properties[GRAPH_BATCH];
    struct graph_ends ends;
    uint64_t edges[GRAPH_BATCH]; /* of the ends that were taken from a batch */
};

static sombra_err name_types(struct fan *fan)
{
    const struct walk *walk = fan->walk;
    size_t bytes = size_max(walk->type_count, 1) * sizeof *fan->types;
    fan->neighbours = mem_zalloc(sizeof *fan->neighbours);
    fan->types = mem_alloc(bytes);
    if (!fan->neighbours || !fan->types)
        return diag_nomem("the edges of a walk", bytes + sizeof *fan->neighbours);
    for (size_t i = 0; i < walk->type_count; i++) {
        sombra_name name;
        sombra_err err = graph_name_by_id(fan->run->txn, SOMBRA_NAME_TYPE, walk->types[i], &name);
        if (err)
            return err;
        fan->types[i] = name.text;
    }
    return SOMBRA_OK;
}

sombra_err fan_new(struct query_run *run, const struct walk *walk, bool is_turned,
                   bool with_properties, struct fan **out_fan)
{
    sombra_err err = run_charge(run, (int64_t)sizeof(struct fan));
    if (err)
        return err;
    struct fan *fan = arena_alloc(&run->arena, sizeof *fan);
    if (!fan) {
        run_refund(run, sizeof *fan);
        return diag_nomem("the edges of a walk", sizeof *fan);
    }
    memset(fan, 0, offsetof(struct fan, expand) + offsetof(struct graph_expand, batch));
    fan->run = run;
    fan->walk = walk;
    fan->direction = walk->direction;
    if (is_turned && walk->direction != SOMBRA_BOTH)
        fan->direction = walk->direction == SOMBRA_OUT ? SOMBRA_IN : SOMBRA_OUT;
    fan->with_properties = with_properties || (walk->where && predicate_needs_record(walk->where));
    const struct graph_expand_options options = {
        .arena = &run->arena,
        .direction = fan->direction,
        .has_types = walk->has_types,
        .types = walk->types,
        .type_count = walk->type_count,
    };
    err = fan->with_properties ? name_types(fan)
                               : graph_expand_open(&fan->expand, run->txn, &options);
    if (err) {
        fan_free(fan);
        return err;
    }
    *out_fan = fan;
    return SOMBRA_OK;
}

void fan_free(struct fan *fan)
{
    if (!fan)
        return;
    if (fan->expand.txn)
        graph_expand_close(&fan->expand);
    if (fan->neighbours) {
        graph_neighbours_close(fan->neighbours);
        graph_neighbours_release(fan->neighbours);
    }
    mem_free(fan->neighbours);
    mem_free(fan->types);
    run_refund(fan->run, sizeof *fan);
}

void fan_open(struct fan *fan, const uint64_t *nodes, size_t count)
{
    fan->nodes = nodes;
    fan->node_count = count;
    fan->node = 0;
    fan->unused_count = 0;
    if (fan->is_open)
        graph_neighbours_close(fan->neighbours);
    fan->is_open = false;
    if (fan->with_properties)
        return;
    graph_expand_sources(&fan->expand, nodes, count);
    fan->expand.batch_max = GRAPH_BATCH;
}

void fan_open_gently(struct fan *fan, const uint64_t *nodes, size_t count)
{
    fan_open(fan, nodes, count);
    if (!fan->with_properties)
        fan->expand.batch_max = GENTLE_BATCH;
}

/* ---- reading ----------------------------------------------------------------------------- */

static sombra_err open_neighbours(struct fan *fan)
{
    const sombra_neighbours_options options = {
        .struct_bytes = sizeof options,
        .direction = fan->direction,
        .types = fan->types,
        .type_count = fan->walk->type_count,
        .with_properties = true,
    };
    sombra_err err =
        graph_neighbours_open(fan->neighbours, fan->run->txn, fan->nodes[fan->node], &options);
    fan->is_open = !err;
    return err;
}

static sombra_err next_with_properties(struct fan *fan, const struct graph_hop **out_hops,
                                       size_t *out_count)
{
    const sombra_neighbour *batch;
    size_t count = 0;
    if (fan->walk->has_types && fan->walk->type_count == 0)
        fan->node = fan->node_count;
    while (count == 0 && fan->node < fan->node_count) {
        sombra_err err = fan->is_open ? SOMBRA_OK : open_neighbours(fan);
        if (!err)
            err = graph_neighbours_next(fan->neighbours, &batch, &count);
        if (err)
            return err;
        for (size_t i = 0; i < count; i++) {
            fan->hops[i] = (struct graph_hop){ .node = batch[i].node,
                                               .edge = batch[i].edge,
                                               .source = (uint32_t)fan->node,
                                               .type = batch[i].type,
                                               .is_out = batch[i].is_out };
            fan->properties[i] = batch[i].properties;
        }
        if (count == 0) {
            graph_neighbours_close(fan->neighbours);
            fan->is_open = false;
            fan->node++;
        }
    }
    *out_hops = fan->hops;
    *out_count = count;
    return SOMBRA_OK;
}

/* Batches grow while they are asked for. */
static sombra_err next_swept(struct fan *fan, const struct graph_hop **out_hops, size_t *out_count)
{
    sombra_err err = graph_expand_next(&fan->expand, out_hops, out_count);
    if (fan->expand.batch_max < GRAPH_BATCH)
        fan->expand.batch_max *= 2;
    return err;
}

sombra_err fan_record(const struct fan *fan, size_t index, sombra_record *out_record)
{
    assert(fan->with_properties && index < GRAPH_BATCH);
    return graph_record_open(fan->properties[index], false, out_record);
}

static sombra_err takes_hop(struct fan *fan, const struct graph_hop *hop, size_t index,
                            bool *out_takes)
{
    const struct predicate *where = fan->walk->where;
    uint64_t near = fan->nodes[hop->source];
    const struct row row = {
        .id = hop->edge,
        .src = hop->is_out ? near : hop->node,
        .dst = hop->is_out ? hop->node : near,
        .came_from = near,
        .type = hop->type,
    };
    sombra_record record;
    sombra_err err = run_tick(fan->run);
    if (!err)
        err = predicate_tick(where, fan->run);
    if (!err && fan->with_properties)
        err = fan_record(fan, index, &record);
    return err ? err
               : predicate_holds(where, fan->run, &row, false,
                                 fan->with_properties ? &record : NULL, out_takes);
}

sombra_err fan_next(struct fan *fan, const struct graph_hop **out_hops, size_t *out_count)
{
    for (;;) {
        const struct graph_hop *hops = NULL;
        size_t count = 0, kept = 0;
        sombra_err err = fan->with_properties ? next_with_properties(fan, &hops, &count)
                                              : next_swept(fan, &hops, &count);
        if (!err && (!fan->walk->where || count == 0)) {
            *out_hops = hops;
            *out_count = count;
            return SOMBRA_OK;
        }
        for (size_t i = 0; !err && i < count; i++) {
            bool takes = false;
            err = takes_hop(fan, &hops[i], i, &takes);
            if (err || !takes)
                continue;
            fan->hops[kept] = hops[i];
            fan->properties[kept++] = fan->properties[i];
        }
        if (err)
            return err;
        if (kept) {
            *out_hops = fan->hops;
            *out_count = kept;
            return SOMBRA_OK;
        }
    }
}

/* Of the batch's hops those of one node. */
static void take_unused(struct fan *fan)
{
    struct graph_ends *ends = &fan->ends;
    ends->count = 0;
    ends->node_bits = 0;
    ends->source = fan->unused_count ? fan->unused->source : 0;
    ends->form = GRAPH_EDGE_ID;
    ends->edges = fan->edges;
    for (; fan->unused_count && fan->unused->source == ends->source; fan->unused_count--) {
        ends->nodes[ends->count] = fan->unused->node;
        fan->edges[ends->count++] = fan->unused->edge;
        ends->node_bits |= fan->unused++->node;
    }
}

sombra_err fan_next_ends(struct fan *fan, const struct graph_ends **out_ends)
{
    sombra_err err = SOMBRA_OK;
    *out_ends = &fan->ends;
    if (LIKELY(!fan->with_properties && !fan->walk->where && fan->expand.has_words)) {
        err = graph_expand_ends(&fan->expand, &fan->ends);
        fan->expand.batch_max = (unsigned)size_min(2 * (size_t)fan->expand.batch_max, GRAPH_BATCH);
        return err;
    }
    if (fan->unused_count == 0)
        err = fan_next(fan, &fan->unused, &fan->unused_count);
    if (!err)
        take_unused(fan);
    return err;
}

sombra_err fan_each(struct fan *fan, const uint64_t *nodes, size_t count, fan_fn each,
                    void *context)
{
    const struct graph_hop *hops;
    size_t hop_count = 1;
    sombra_err err = SOMBRA_OK;
    fan_open(fan, nodes, count);
    while (!err && hop_count) {
        err = fan_next(fan, &hops, &hop_count);
        for (size_t i = 0; !err && i < hop_count; i++) {
            err = run_tick(fan->run);
            if (!err)
                err = each(context, &hops[i]);
        }
    }
    fan_open(fan, NULL, 0);
    return err;
}

sombra_err walk_takes_node(const struct walk *walk, struct query_run *run, uint64_t node,
                           bool *out_takes)
{
    const struct row row = { .id = node };
    *out_takes = true;
    return walk->nodes ? predicate_test(walk->nodes, run, &row, true, out_takes) : SOMBRA_OK;
}
