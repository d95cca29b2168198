/* SPDX-License-Identifier: MIT */
/* The source "match": all assignments of nodes to the names of a pattern such that its edges are
 * there.
 *
 * The pattern becomes a list of stages, chosen greedily by estimated rows: the first gives the
 * nodes of one name by themselves (a query of its own, so an index may serve it); each further one
 * either walks an edge from a bound node to one that it binds, or proves an edge between two bound
 * ones, or begins a part that hangs together with nothing bound. Stages are nested loops: the last
 * advances, and when it has no more the one before it does. Every edge of the pattern is a stage,
 * so those that close a cycle are proved like any other.
 */
#include "match_internal.h"

#include <stdio.h>

enum stage_kind { STAGE_NODES, STAGE_WALK, STAGE_PROVE };

struct stage {
    enum stage_kind kind;
    unsigned node;  /* that it binds: NODES, WALK */
    unsigned edge;  /* WALK, PROVE */
    bool is_turned; /* the edge is walked from its `to` */
    /* NODES */
    struct query *query;
    struct query_run *run; /* that this query's memory is charged to */
    size_t charged;        /* bytes */
    const sombra_row *rows;
    /* WALK */
    struct fan *fan;
    struct walk turned; /* the edge's walk from the other end; shares its memory */
    const struct graph_hop *hops;
    /* PROVE */
    struct graph_neighbours *neighbours;
    const sombra_neighbour *found;
    /* of the batch of whichever it is */
    size_t at, count;
    bool is_open;
};

struct match {
    struct operator head;
    struct pattern pattern;
    struct stage *stages;
    unsigned stage_count;
    int level; /* the stage that advances next; -1 = done */
    bool is_begun;
    uint64_t nodes[MATCH_NODES_MAX], edges[MATCH_EDGES_MAX]; /* bound by the stages below level */
    struct row_values values;
};

/* ---- plan -------------------------------------------------------------------------------- */

static const struct stage *stage_of_node(const struct match *match, unsigned node)
{
    for (unsigned i = 0; i < match->stage_count; i++) {
        if (match->stages[i].kind != STAGE_PROVE && match->stages[i].node == node)
            return &match->stages[i];
    }
    return NULL;
}

static bool is_planned(const struct match *match, unsigned edge)
{
    for (unsigned i = 0; i < match->stage_count; i++) {
        if (match->stages[i].kind != STAGE_NODES && match->stages[i].edge == edge)
            return true;
    }
    return false;
}

/* The edge to go on with: one between bound nodes, else that which leads to the fewest. */
static bool choose_edge(const struct match *match, struct stage *out)
{
    const struct pattern *pattern = &match->pattern;
    double least = 0;
    bool found = false;
    uint64_t total = pattern->node_total;
    for (unsigned i = 0; i < pattern->edge_count; i++) {
        const struct match_edge *edge = &pattern->edges[i];
        bool has_from = stage_of_node(match, edge->from), has_to = stage_of_node(match, edge->to);
        if (is_planned(match, i) || (!has_from && !has_to))
            continue;
        if (has_from && has_to) {
            *out = (struct stage){ .kind = STAGE_PROVE, .edge = i };
            return true;
        }
        unsigned other = has_from ? edge->to : edge->from;
        double rows = edge->fan * pattern->nodes[other].estimate / (double)(total ? total : 1);
        if (!found || rows < least) {
            least = rows;
            found = true;
            *out = (struct stage){
                .kind = STAGE_WALK, .edge = i, .node = other, .is_turned = !has_from
            };
        }
    }
    return found;
}

static struct stage choose_start(const struct match *match)
{
    const struct pattern *pattern = &match->pattern;
    struct stage stage = { .kind = STAGE_NODES };
    double least = 0;
    bool found = false;
    for (unsigned i = 0; i < pattern->node_count; i++) {
        if (stage_of_node(match, i))
            continue;
        if (!found || pattern->nodes[i].estimate < least) {
            least = pattern->nodes[i].estimate;
            stage.node = i;
            found = true;
        }
    }
    assert(found);
    return stage;
}

static bool has_unbound(const struct match *match)
{
    for (unsigned i = 0; i < match->pattern.node_count; i++) {
        if (!stage_of_node(match, i))
            return true;
    }
    return false;
}

static sombra_err plan_stages(struct match *match)
{
    struct query_run *run = match->head.run;
    size_t count = match->pattern.node_count + match->pattern.edge_count;
    double rows = 1;
    match->stages = arena_alloc(&run->arena, count * sizeof *match->stages);
    if (!match->stages)
        return diag_nomem("the stages of a pattern", count * sizeof *match->stages);
    for (;;) {
        struct stage stage;
        if (choose_edge(match, &stage)) {
            if (stage.kind == STAGE_WALK)
                rows *= match->pattern.edges[stage.edge].fan;
        } else if (has_unbound(match)) {
            stage = choose_start(match);
            rows *= match->pattern.nodes[stage.node].estimate;
        } else {
            break;
        }
        assert(match->stage_count < count);
        match->stages[match->stage_count++] = stage;
    }
    match->head.estimate = rows;
    return SOMBRA_OK;
}

/* ---- stages ------------------------------------------------------------------------------ */

static sombra_direction turned(sombra_direction direction)
{
    return direction == SOMBRA_OUT ? SOMBRA_IN : direction == SOMBRA_IN ? SOMBRA_OUT : direction;
}

/* What ends the query ends the one inside of it, which may walk for long without a row. */
static sombra_err poll_outer(void *context)
{
    struct stage *stage = context;
    return run_tick_slow(stage->run);
}

static sombra_err charge_outer(void *context, size_t bytes)
{
    struct stage *stage = context;
    sombra_err err = run_charge(stage->run, (int64_t)bytes);
    if (!err)
        stage->charged += bytes;
    return err;
}

static sombra_err open_nodes(struct match *match, struct stage *stage)
{
    struct query_run *run = match->head.run;
    sombra_query_options options = { .struct_bytes = sizeof options };
    sombra_err err = stage->query ? SOMBRA_OK : query_new(&stage->query);
    if (err)
        return err;
    options.memory_max = run->options.memory_max;
    options.poll = poll_outer;
    options.memory = charge_outer;
    options.context = stage;
    stage->run = run;
    err = query_open(stage->query, run->txn, match->pattern.nodes[stage->node].steps, &options,
                     &run->environment);
    stage->is_open = !err;
    return err;
}

static sombra_err open_walk(struct match *match, struct stage *stage)
{
    const struct match_edge *edge = &match->pattern.edges[stage->edge];
    sombra_err err = SOMBRA_OK;
    if (!stage->fan) {
        stage->turned = edge->walk;
        if (stage->is_turned)
            stage->turned.direction = turned(edge->walk.direction);
        err = fan_new(match->head.run, &stage->turned, false, false, &stage->fan);
    }
    if (err)
        return err;
    fan_open(stage->fan, &match->nodes[stage->is_turned ? edge->to : edge->from], 1);
    stage->is_open = true;
    return SOMBRA_OK;
}

static sombra_err open_prove(struct match *match, struct stage *stage)
{
    const struct match_edge *edge = &match->pattern.edges[stage->edge];
    sombra_neighbours_options options = SOMBRA_NEIGHBOURS_OPTIONS_INIT;
    if (edge->walk.has_types && edge->type_count == 0)
        return SOMBRA_OK; /* no such type: no edges */
    if (!stage->neighbours)
        stage->neighbours = mem_zalloc(sizeof *stage->neighbours);
    if (!stage->neighbours)
        return diag_nomem("edges of a node", sizeof *stage->neighbours);
    options.direction = edge->walk.direction;
    options.types = edge->types;
    options.type_count = edge->type_count;
    options.other = match->nodes[edge->to];
    sombra_err err = graph_neighbours_open(stage->neighbours, match->head.run->txn,
                                           match->nodes[edge->from], &options);
    stage->is_open = !err;
    return err;
}

static sombra_err stage_open(struct match *match, struct stage *stage)
{
    stage->at = stage->count = 0;
    switch (stage->kind) {
    case STAGE_NODES:
        return open_nodes(match, stage);
    case STAGE_WALK:
        return open_walk(match, stage);
    case STAGE_PROVE:
        break;
    }
    return open_prove(match, stage);
}

static void stage_close(struct stage *stage)
{
    if (stage->is_open && stage->kind == STAGE_NODES) {
        query_close(stage->query);
        run_refund(stage->run, stage->charged);
        stage->charged = 0;
    }
    if (stage->is_open && stage->kind == STAGE_PROVE)
        graph_neighbours_close(stage->neighbours);
    stage->is_open = false;
    stage->at = stage->count = 0;
}

static void stage_release(struct stage *stage)
{
    stage_close(stage);
    query_release(stage->query);
    fan_free(stage->fan);
    if (stage->neighbours)
        graph_neighbours_release(stage->neighbours);
    mem_free(stage->neighbours);
}

/* The next batch of a stage whose last one is used up; count 0 = no more. */
static sombra_err stage_read(struct stage *stage)
{
    stage->at = stage->count = 0;
    if (!stage->is_open)
        return SOMBRA_OK;
    switch (stage->kind) {
    case STAGE_NODES:
        return query_next(stage->query, &stage->rows, &stage->count);
    case STAGE_WALK:
        return fan_next(stage->fan, &stage->hops, &stage->count);
    case STAGE_PROVE:
        break;
    }
    return graph_neighbours_next(stage->neighbours, &stage->found, &stage->count);
}

/* ---- what a candidate must be ---------------------------------------------------------------- */

static bool is_node_taken(const struct match *match, const struct stage *stage, uint64_t node)
{
    if (match->pattern.distinct != MATCH_DISTINCT_NODES)
        return false;
    for (const struct stage *at = match->stages; at < stage; at++) {
        if (at->kind != STAGE_PROVE && match->nodes[at->node] == node)
            return true;
    }
    return false;
}

static bool is_edge_taken(const struct match *match, const struct stage *stage, uint64_t edge)
{
    if (match->pattern.distinct == MATCH_DISTINCT_NONE)
        return false;
    for (const struct stage *at = match->stages; at < stage; at++) {
        if (at->kind != STAGE_NODES && match->edges[at->edge] == edge)
            return true;
    }
    return false;
}

static bool has_id(const struct match_node *node, uint64_t id)
{
    size_t low = 0, high = node->ids.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (node->ids.items[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < node->ids.count && node->ids.items[low] == id;
}

static sombra_err node_fits(struct match *match, const struct stage *stage, uint64_t id,
                            bool *out_fits)
{
    const struct match_node *node = &match->pattern.nodes[stage->node];
    struct row row = { .id = id };
    *out_fits = false;
    if (is_node_taken(match, stage, id) || (node->has_ids && !has_id(node, id)))
        return SOMBRA_OK;
    if (!node->fits) {
        *out_fits = true;
        return SOMBRA_OK;
    }
    return predicate_test(node->fits, match->head.run, &row, true, out_fits);
}

static sombra_err take_walked(struct match *match, struct stage *stage, bool *out_taken)
{
    const struct graph_hop *hop = &stage->hops[stage->at++];
    *out_taken = false;
    if (is_edge_taken(match, stage, hop->edge))
        return SOMBRA_OK;
    sombra_err err = node_fits(match, stage, hop->node, out_taken);
    if (!err && *out_taken) {
        match->nodes[stage->node] = hop->node;
        match->edges[stage->edge] = hop->edge;
    }
    return err;
}

static sombra_err take_proved(struct match *match, struct stage *stage, bool *out_taken)
{
    const struct match_edge *edge = &match->pattern.edges[stage->edge];
    const sombra_neighbour found = stage->found[stage->at++];
    uint64_t from = match->nodes[edge->from], to = match->nodes[edge->to];
    *out_taken = false;
    if (is_edge_taken(match, stage, found.edge))
        return SOMBRA_OK;
    *out_taken = true;
    match->edges[stage->edge] = found.edge;
    if (!edge->walk.where)
        return SOMBRA_OK;
    struct row row = { .id = found.edge,
                       .src = found.is_out ? from : to,
                       .dst = found.is_out ? to : from,
                       .came_from = from,
                       .type = found.type };
    return predicate_test(edge->walk.where, match->head.run, &row, false, out_taken);
}

/* Binds the next candidate that fits; *out_found false = the stage has no more. */
static sombra_err stage_advance(struct match *match, struct stage *stage, bool *out_found)
{
    sombra_err err = SOMBRA_OK;
    *out_found = false;
    while (!err && !*out_found) {
        if (stage->at == stage->count) {
            err = stage_read(stage);
            if (err || stage->count == 0)
                break;
        }
        err = run_tick(match->head.run);
        if (err)
            break;
        if (stage->kind == STAGE_NODES) {
            uint64_t id = stage->rows[stage->at++].id;
            *out_found = !is_node_taken(match, stage, id);
            if (*out_found)
                match->nodes[stage->node] = id;
        } else {
            err = stage->kind == STAGE_WALK ? take_walked(match, stage, out_found)
                                            : take_proved(match, stage, out_found);
        }
    }
    return err;
}

/* ---- rows -------------------------------------------------------------------------------- */

static void push_member(sombra_value_builder *builder, sombra_slice name, uint64_t id)
{
    (void)sombra_value_push_key(builder, name.data, name.bytes);
    (void)sombra_value_push_integer(builder, (int64_t)id);
}

static sombra_err add_row(struct match *match, struct row_batch *batch)
{
    const struct pattern *pattern = &match->pattern;
    sombra_value_builder *builder = match->values.builder;
    (void)sombra_value_begin_map(builder);
    for (unsigned i = 0; i < pattern->node_count; i++) {
        if (!pattern->nodes[i].is_hidden)
            push_member(builder, pattern->nodes[i].name, match->nodes[i]);
    }
    for (unsigned i = 0; i < pattern->edge_count; i++) {
        if (pattern->edges[i].as.bytes)
            push_member(builder, pattern->edges[i].as, match->edges[i]);
    }
    (void)sombra_value_end_map(builder);
    struct row row = { .depth = pattern->edge_count };
    return row_values_add(&match->values, batch, &row);
}

/* The loops: until one more assignment is whole. *out_found false = there is none. */
static sombra_err next_match(struct match *match, bool *out_found)
{
    sombra_err err = SOMBRA_OK;
    *out_found = false;
    if (!match->is_begun) {
        match->is_begun = true;
        err = stage_open(match, &match->stages[0]);
    }
    while (!err && match->level >= 0) {
        struct stage *stage = &match->stages[match->level];
        bool found;
        err = stage_advance(match, stage, &found);
        if (err)
            break;
        if (!found) {
            stage_close(stage);
            match->level--;
        } else if ((unsigned)match->level + 1 == match->stage_count) {
            *out_found = true;
            break;
        } else {
            err = stage_open(match, &match->stages[++match->level]);
        }
    }
    return err;
}

static sombra_err match_next(struct operator* op, struct row_batch *out)
{
    struct match *match = container_of(op, struct match, head);
    sombra_err err = SOMBRA_OK;
    row_values_begin(&match->values, out);
    while (!err && out->count < match->values.batch_max) {
        bool found;
        err = next_match(match, &found);
        if (err || !found)
            break;
        err = add_row(match, out);
    }
    row_values_end(&match->values, out);
    return err;
}

static void match_free(struct operator* op)
{
    struct match *match = container_of(op, struct match, head);
    for (unsigned i = 0; i < match->stage_count; i++)
        stage_release(&match->stages[i]);
    pattern_release(op->run, &match->pattern);
    row_values_release(&match->values);
    search_operator_free(op, sizeof *match);
}

/* "a (estimate), a->b, b-c proved": the order of the stages. */
static void describe(struct match *match)
{
    char text[sizeof match->head.detail];
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < match->stage_count && used < sizeof text; i++) {
        const struct stage *stage = &match->stages[i];
        const struct match_edge *edge = &match->pattern.edges[stage->edge];
        unsigned first = stage->kind == STAGE_NODES ? stage->node
                         : stage->is_turned         ? edge->to
                                                    : edge->from;
        sombra_slice from = match->pattern.nodes[first].name;
        sombra_slice to = stage->kind == STAGE_NODES
                              ? slice_of("", 0)
                              : match->pattern.nodes[stage->is_turned ? edge->from : edge->to].name;
        int length = snprintf(text + used, sizeof text - used, "%s%.*s%s%.*s%s", i ? ", " : "",
                              (int)size_min(from.bytes, 20), (const char *)from.data,
                              stage->kind == STAGE_NODES ? "" : " to ", (int)size_min(to.bytes, 20),
                              (const char *)to.data, stage->kind == STAGE_PROVE ? " proved" : "");
        used += length > 0 ? (size_t)length : 0;
    }
    operator_describe(&match->head, "%s", text);
}

sombra_err match_new(struct query_run *run, const sombra_value *pattern, struct operator** out)
{
    static const struct operator_ops ops = { .name = "match",
                                             .next = match_next,
                                             .free = match_free };
    struct match *match;
    sombra_err err = search_operator_new(run, &ops, sizeof *match, SOMBRA_ROW_RECORD, &match);
    if (err)
        return err;
    err = row_values_init(&match->values, run);
    if (!err)
        err = pattern_parse(run, pattern, &match->pattern);
    if (!err)
        err = plan_stages(match);
    if (err) {
        match_free(&match->head);
        return err;
    }
    describe(match);
    *out = &match->head;
    return SOMBRA_OK;
}
