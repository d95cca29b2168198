/* SPDX-License-Identifier: MIT */
/* Walks over edges, row by row: one hop, or min to max of them.
 *
 * Depth first in chunks: a level holds up to a batch of rows and sweeps over their edges
 * (graph_expand); what it reaches is given out and becomes the next level, which is done before
 * this one goes on. Memory is levels times a chunk, however many walks there are.
 */
#include "plan_internal.h"

#include <stdio.h>

enum { LEVELS_FIRST = 8 };

struct level {
    struct graph_expand sweep;
    bool is_open;
    size_t count;
    uint64_t ids[QUERY_BATCH];
    struct row rows[QUERY_BATCH];
    uint64_t edges[QUERY_BATCH];   /* over which each row was reached */
    uint16_t parents[QUERY_BATCH]; /* its row in the level above */
};

struct expand {
    struct operator op;
    const struct step *step;
    const struct walk *walk;
    struct level **levels; /* [0] holds rows of the input */
    size_t level_count;    /* made */
    size_t level_capacity;
    size_t depth;            /* of the level read now; SIZE_MAX = none */
    struct row_batch *input; /* NULL before it was asked */
};

/* ---- one edge ---------------------------------------------------------------------------- */

/* The row at the other end of a hop, or the edge itself. */
static struct row row_reached(const struct row *from, const struct graph_hop *hop, bool gives_edges)
{
    struct row row = { .id = hop->node, .depth = from->depth + 1, .track = from->track };
    if (gives_edges) {
        row.id = hop->edge;
        row.src = hop->is_out ? from->id : hop->node;
        row.dst = hop->is_out ? hop->node : from->id;
        row.came_from = from->id;
        row.type = hop->type;
    }
    return row;
}

sombra_err walk_allows(const struct walk *walk, struct query_run *run, const struct row *from,
                       const struct graph_hop *hop, bool *out_allowed)
{
    sombra_err err = SOMBRA_OK;
    bool holds = true;
    if (walk->where) {
        const struct row edge = row_reached(from, hop, true);
        err = predicate_test(walk->where, run, &edge, false, &holds);
    }
    if (!err && holds && walk->nodes) {
        const struct row node = row_reached(from, hop, false);
        err = predicate_test(walk->nodes, run, &node, true, &holds);
    }
    if (!err)
        *out_allowed = holds;
    return err;
}

/* ---- levels ------------------------------------------------------------------------------ */

/* In the arena: most walks have one level, and a level is a thousand times its pointer. */
static sombra_err levels_grow(struct expand *expand)
{
    const size_t capacity = size_max(LEVELS_FIRST, 2 * expand->level_capacity);
    struct level **levels = arena_alloc(&expand->op.run->arena, capacity * sizeof *levels);
    if (!levels)
        return diag_nomem("walks", capacity * sizeof *levels);
    if (expand->level_count)
        memcpy(levels, expand->levels, expand->level_count * sizeof *levels);
    expand->levels = levels;
    expand->level_capacity = capacity;
    return SOMBRA_OK;
}

static sombra_err level_at(struct expand *expand, size_t depth, struct level **out_level)
{
    struct query_run *run = expand->op.run;
    sombra_err err = SOMBRA_OK;
    if (depth == expand->level_capacity)
        err = levels_grow(expand);
    if (!err && depth == expand->level_count) {
        err = run_charge(run, (int64_t)sizeof(struct level));
        struct level *level = err ? NULL : arena_alloc(&run->arena, sizeof *level);
        if (!err && !level)
            err = diag_nomem("walks", sizeof *level);
        if (err)
            return err;
        memset(&level->sweep, 0, offsetof(struct graph_expand, batch));
        level->is_open = false;
        expand->levels[expand->level_count++] = level;
    }
    if (!err)
        *out_level = expand->levels[depth];
    return err;
}

sombra_err walk_open(const struct walk *walk, struct query_run *run, struct graph_expand *sweep)
{
    const struct graph_expand_options options = { .arena = &run->arena,
                                                  .direction = walk->direction,
                                                  .has_types = walk->has_types,
                                                  .types = walk->types,
                                                  .type_count = walk->type_count };
    return graph_expand_open(sweep, run->txn, &options);
}

static sombra_err level_begin(struct expand *expand, struct level *level)
{
    sombra_err err = SOMBRA_OK;
    if (!level->is_open)
        err = walk_open(expand->walk, expand->op.run, &level->sweep);
    if (err)
        return err;
    level->is_open = true;
    for (size_t i = 0; i < level->count; i++)
        level->ids[i] = level->rows[i].id;
    graph_expand_sources(&level->sweep, level->ids, level->count);
    return SOMBRA_OK;
}

/* Is the edge on the walk that ends in row `at` of the level? */
static bool is_walked(const struct expand *expand, size_t depth, size_t at, uint64_t edge)
{
    for (; depth > 0; depth--) {
        const struct level *level = expand->levels[depth];
        if (level->edges[at] == edge)
            return true;
        at = level->parents[at];
    }
    return false;
}

/* Room for rows of the input. */
static sombra_err input_begin(struct expand *expand)
{
    if (!expand->input)
        expand->input = batch_new(expand->op.run);
    return expand->input ? SOMBRA_OK : SOMBRA_NOMEM;
}

/* The next rows of the input; those that need no hop are given out. */
static sombra_err read_input(struct expand *expand, struct row_batch *out)
{
    struct level *level = NULL;
    sombra_err err = input_begin(expand);
    if (!err)
        err = operator_next(expand->op.inputs[0], expand->input);
    if (!err && expand->input->count)
        err = level_at(expand, 0, &level);
    if (err || !level)
        return err;
    level->count = expand->input->count;
    memcpy(level->rows, expand->input->rows, level->count * sizeof *level->rows);
    err = rows_track(expand->op.run, level->rows, level->count);
    if (err)
        return err;
    if (expand->step->as.expand.min == 0) {
        memcpy(out->rows, level->rows, level->count * sizeof *out->rows);
        out->count = level->count;
    }
    expand->depth = expand->step->as.expand.max ? 0 : SIZE_MAX;
    return level_begin(expand, level);
}

/* Nothing is asked of the hops, and none leads on. */
static void give_hops(const struct level *level, const struct graph_hop *hops, size_t count,
                      bool gives_edges, struct row_batch *out)
{
    struct row *to = &out->rows[out->count];
    out->count += count;
    if (gives_edges) {
        for (size_t i = 0; i < count; i++)
            to[i] = row_reached(&level->rows[hops[i].source], &hops[i], true);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct row *from = &level->rows[hops[i].source];
        to[i] = (struct row){ .id = hops[i].node, .depth = from->depth + 1, .track = from->track };
    }
}

/* Takes up to a batch of hops from the level; what they reach goes to the level below, if the walk
 * may go on, and out. */
static sombra_err take_hops(struct expand *expand, struct row_batch *out)
{
    struct query_run *run = expand->op.run;
    const size_t depth = expand->depth;
    struct level *level = expand->levels[depth], *below = NULL;
    const struct graph_hop *hops;
    size_t hop_count;
    const bool gives_edges = expand->step->as.expand.gives_edges;
    const bool gives = depth + 1 >= expand->step->as.expand.min;
    const bool has_predicates = expand->walk->where || expand->walk->nodes;
    const bool is_simple = expand->step->as.expand.unique == UNIQUE_EDGES;
    sombra_err err = run_tick(run);
    if (!err)
        err = graph_expand_next(&level->sweep, &hops, &hop_count);
    if (!err && hop_count == 0)
        expand->depth = depth == 0 ? SIZE_MAX : depth - 1;
    if (!err && hop_count && depth + 1 < expand->step->as.expand.max)
        err = level_at(expand, depth + 1, &below);
    if (err || hop_count == 0)
        return err;
    if (!below && gives && !has_predicates && (gives_edges || !run->keeps_tracks) &&
        (depth == 0 || !is_simple)) {
        give_hops(level, hops, hop_count, gives_edges, out);
        return SOMBRA_OK;
    }
    if (below)
        below->count = 0;
    for (size_t i = 0; i < hop_count; i++) {
        const struct graph_hop *hop = &hops[i];
        const struct row *from = &level->rows[hop->source];
        bool allowed = true;
        if (is_simple && is_walked(expand, depth, hop->source, hop->edge))
            continue;
        if (has_predicates)
            err = walk_allows(expand->walk, run, from, hop, &allowed);
        if (err)
            return err;
        if (!allowed)
            continue;
        struct row row = row_reached(from, hop, gives_edges);
        if (run->keeps_tracks && !gives_edges) {
            err = run_track(run, from->track, hop->node, hop->edge, &row.track);
            if (err)
                return err;
        }
        if (gives)
            out->rows[out->count++] = row;
        if (below) {
            below->rows[below->count] = row;
            below->edges[below->count] = hop->edge;
            below->parents[below->count++] = (uint16_t)hop->source;
        }
    }
    if (below && below->count) {
        expand->depth = depth + 1;
        err = level_begin(expand, below);
    }
    return err;
}

static sombra_err expand_next(struct operator* op, struct row_batch *out)
{
    struct expand *expand = container_of(op, struct expand, op);
    sombra_err err = SOMBRA_OK;
    out->count = 0;
    /* Either gives less than a batch of hops, so that the room is enough. */
    while (!err && out->count + GRAPH_BATCH <= QUERY_BATCH) {
        if (expand->depth != SIZE_MAX) {
            err = take_hops(expand, out);
            continue;
        }
        if (out->count) {
            out->is_last = expand->input->is_last;
            break;
        }
        err = read_input(expand, out);
        if (err || expand->input->count == 0)
            break;
    }
    return err;
}

/* ---- counting ---------------------------------------------------------------------------- */

/* One hop without conditions: degrees tell. */
static sombra_err expand_count(struct operator* op, uint64_t *out_count)
{
    struct expand *expand = container_of(op, struct expand, op);
    const struct walk *walk = expand->walk;
    uint64_t count = 0;
    sombra_err err = input_begin(expand);
    if (err)
        return err;
    for (;;) {
        err = operator_next(op->inputs[0], expand->input);
        if (err)
            return err;
        if (expand->input->count == 0)
            break;
        for (size_t i = 0; !err && i < expand->input->count; i++) {
            uint64_t degree = 0;
            err = graph_degree_by(op->run->txn, expand->input->rows[i].id, walk->direction,
                                  walk->types, walk->type_count, walk->has_types, &degree);
            count += degree;
        }
        if (err)
            return err;
    }
    *out_count = count;
    return SOMBRA_OK;
}

/* ---- life -------------------------------------------------------------------------------- */

static sombra_err expand_reset(struct operator* op)
{
    struct expand *expand = container_of(op, struct expand, op);
    expand->depth = SIZE_MAX;
    return SOMBRA_OK;
}

static void expand_free(struct operator* op)
{
    struct expand *expand = container_of(op, struct expand, op);
    for (size_t i = 0; i < expand->level_count; i++)
        graph_expand_close(&expand->levels[i]->sweep);
}

/* Levels and rows lie in the arena of the run. */
static void expand_rewind(struct operator* op)
{
    struct expand *expand = container_of(op, struct expand, op);
    expand_free(op);
    expand->levels = NULL;
    expand->level_count = expand->level_capacity = 0;
    expand->depth = SIZE_MAX;
    expand->input = NULL;
}

static void describe_step(struct operator* op, const struct step *step)
{
    static const char *const uniques[] = { "", ", unique edges", ", unique nodes" };
    const struct walk *walk = &step->as.expand.walk;
    char types[24] = "", hops[40] = "";
    if (walk->has_types)
        (void)snprintf(types, sizeof types, ", %zu types", walk->type_count);
    if (step->as.expand.min != 1 || step->as.expand.max != 1)
        (void)snprintf(hops, sizeof hops, ", %" PRIu32 " to %" PRIu32 " hops", step->as.expand.min,
                       step->as.expand.max);
    operator_describe(op, "%s%s%s%s%s%s%s", step->name, types, hops,
                      uniques[step->as.expand.unique], walk->where ? ", where" : "",
                      walk->nodes ? ", nodes" : "", step->as.expand.gives_edges ? ", edges" : "");
}

/* Rows by the mean degree; a guess about what predicates leave. */
static sombra_err estimate(struct query_run *run, const struct step *step, double rows,
                           double *out_rows)
{
    uint64_t nodes = 0, edges = 0;
    sombra_err err = graph_node_count(run->txn, slice_of(NULL, 0), &nodes);
    if (!err)
        err = graph_edge_count(run->txn, slice_of(NULL, 0), &edges);
    double degree = nodes ? (double)edges / (double)nodes : 0;
    if (step->as.expand.walk.direction == SOMBRA_BOTH)
        degree *= 2;
    for (uint32_t i = 0; i < step->as.expand.min && i < 16; i++)
        rows *= degree;
    *out_rows = rows;
    return err;
}

sombra_err walk_describe(struct operator* op, const struct step *step)
{
    describe_step(op, step);
    return estimate(op->run, step, op->inputs[0]->estimate, &op->estimate);
}

static sombra_err expand_describe(struct operator* op)
{
    return walk_describe(op, container_of(op, struct expand, op)->step);
}

static const struct operator_ops expand_ops = { .name = "expand",
                                                .next = expand_next,
                                                .reset = expand_reset,
                                                .free = expand_free,
                                                .rewind = expand_rewind,
                                                .describe = expand_describe };
static const struct operator_ops expand_counted_ops = { .name = "expand",
                                                        .next = expand_next,
                                                        .count = expand_count,
                                                        .reset = expand_reset,
                                                        .free = expand_free,
                                                        .rewind = expand_rewind,
                                                        .describe = expand_describe };

sombra_err expand_new(struct plan *plan, struct step *step)
{
    struct expand *expand;
    const bool is_counted = step->as.expand.min == 1 && step->as.expand.max == 1 &&
                            !step->as.expand.walk.where && !step->as.expand.walk.nodes;
    sombra_err err = operator_make(plan, is_counted ? &expand_counted_ops : &expand_ops,
                                   sizeof *expand, step->to, plan->last, &expand);
    if (err)
        return err;
    expand->step = step;
    expand->walk = &step->as.expand.walk;
    expand->depth = SIZE_MAX;
    plan->last = &expand->op;
    return SOMBRA_OK;
}
