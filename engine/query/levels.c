/* SPDX-License-Identifier: MIT */
/* Walks as sets: each node once, level by level, by sweeps over sorted levels. The work is that of
 * the edges of the nodes reached, not of the walks that reach them.
 *
 * Two uses. With unique = "nodes" each row of the input is searched from by itself, and it counts
 * as reached with no edge. As a set (plan.c: what follows asks for each node once) all rows of the
 * input are the first level; levels below `min` are exact sets, each by itself; from `min` on a
 * node seen once is never looked at again, since what it leads to was or will be reached no later.
 */
#include "plan_internal.h"

struct member {
    uint64_t id;
    uint32_t track;
    uint32_t depth; /* of the row it came from, and the edges since */
};

struct members {
    struct member *items;
    size_t count, capacity;
};

struct levels {
    struct operator op;
    const struct step *step;
    struct graph_expand *sweep;
    bool is_open;
    bool is_reading; /* a level is being expanded */
    bool is_done;    /* a set: the input was read to its end and searched from */
    uint32_t hop;    /* edges from the source to what is found now */
    struct members from, found, spare;
    uint64_t *ids; /* of `from` */
    size_t ids_capacity;
    struct id_set *seen; /* of this level, or of all from `min` on */
    struct row_batch *input;
    size_t input_at;
};

/* ---- members ----------------------------------------------------------------------------- */

static sombra_err members_add(struct query_run *run, struct members *members, struct member member)
{
    if (UNLIKELY(members->count == members->capacity)) {
        void *items = members->items;
        sombra_err err = run_grow(run, &items, &members->capacity, sizeof member, "a level");
        if (err)
            return err;
        members->items = items;
    }
    members->items[members->count++] = member;
    return SOMBRA_OK;
}

static void sort_few(struct member *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct member moved = items[i];
        size_t at = i;
        for (; at > 0 && items[at - 1].id > moved.id; at--)
            items[at] = items[at - 1];
        items[at] = moved;
    }
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, FEW = 48 };

/* By id, stable, digit by digit through `spare`. */
static sombra_err members_sort(struct levels *levels, struct members *members)
{
    uint64_t all = 0;
    bool is_sorted = true;
    for (size_t i = 0; i < members->count; i++) {
        all |= members->items[i].id;
        is_sorted &= i == 0 || members->items[i - 1].id <= members->items[i].id;
    }
    if (is_sorted)
        return SOMBRA_OK;
    if (members->count <= FEW) {
        sort_few(members->items, members->count);
        return SOMBRA_OK;
    }
    while (levels->spare.capacity < members->count) {
        void *items = levels->spare.items;
        sombra_err err = run_grow(levels->op.run, &items, &levels->spare.capacity,
                                  sizeof *members->items, "a level");
        if (err)
            return err;
        levels->spare.items = items;
    }
    for (unsigned shift = 0; shift < 64 && all >> shift; shift += DIGIT_BITS) {
        size_t starts[DIGITS] = { 0 }, at = 0;
        for (size_t i = 0; i < members->count; i++)
            starts[members->items[i].id >> shift & (DIGITS - 1)]++;
        for (size_t i = 0; i < DIGITS; i++) {
            size_t count = starts[i];
            starts[i] = at;
            at += count;
        }
        for (size_t i = 0; i < members->count; i++)
            levels->spare.items[starts[members->items[i].id >> shift & (DIGITS - 1)]++] =
                members->items[i];
        struct member *items = members->items;
        size_t capacity = members->capacity;
        members->items = levels->spare.items;
        members->capacity = levels->spare.capacity;
        levels->spare.items = items;
        levels->spare.capacity = capacity;
    }
    return SOMBRA_OK;
}

/* ---- levels ------------------------------------------------------------------------------ */

static bool is_search(const struct levels *levels)
{
    return levels->step->as.expand.unique == UNIQUE_NODES;
}

static sombra_err new_set(struct levels *levels)
{
    id_set_free(levels->seen);
    levels->seen = NULL;
    return id_set_new(levels->op.run, &levels->seen);
}

static void give(struct row_batch *out, struct member member)
{
    out->rows[out->count++] =
        (struct row){ .id = member.id, .depth = member.depth, .track = member.track };
}

/* `from` holds a level: its edges come next. */
static sombra_err begin_level(struct levels *levels)
{
    struct query_run *run = levels->op.run;
    sombra_err err = members_sort(levels, &levels->from);
    while (!err && levels->ids_capacity < levels->from.count) {
        void *ids = levels->ids;
        err = run_grow(run, &ids, &levels->ids_capacity, sizeof *levels->ids, "a level");
        levels->ids = ids;
    }
    if (!err && !levels->is_open)
        err = walk_open(&levels->step->as.expand.walk, run, levels->sweep);
    if (err)
        return err;
    levels->is_open = true;
    for (size_t i = 0; i < levels->from.count; i++)
        levels->ids[i] = levels->from.items[i].id;
    graph_expand_sources(levels->sweep, levels->ids, levels->from.count);
    levels->hop++;
    levels->found.count = 0;
    levels->is_reading = true;
    /* A search and the levels from `min` on share one set; each level before has its own. */
    if (!is_search(levels) && levels->hop <= levels->step->as.expand.min)
        err = new_set(levels);
    return err;
}

/* What was found is the next level, if there is one. */
static sombra_err end_level(struct levels *levels)
{
    struct members found = levels->found;
    levels->is_reading = false;
    levels->found = levels->from;
    levels->from = found;
    if (found.count == 0 || levels->hop >= levels->step->as.expand.max)
        return SOMBRA_OK;
    return begin_level(levels);
}

/* Is the node reached at this level, and not before? */
static sombra_err is_new(struct levels *levels, const struct graph_hop *hop, bool *out_new)
{
    const struct walk *walk = &levels->step->as.expand.walk;
    sombra_err err = SOMBRA_OK;
    bool allowed = true;
    if (walk->where || walk->nodes) {
        *out_new = false;
        if (id_set_has(levels->seen, hop->node))
            return SOMBRA_OK;
        const struct member *member = &levels->from.items[hop->source];
        const struct row from = { .id = member->id, .depth = member->depth };
        err = walk_allows(walk, levels->op.run, &from, hop, &allowed);
        if (err || !allowed)
            return err;
    }
    return id_set_add(levels->seen, hop->node, out_new);
}

static sombra_err take_hop(struct levels *levels, const struct graph_hop *hop,
                           struct row_batch *out)
{
    struct query_run *run = levels->op.run;
    const struct member *from = &levels->from.items[hop->source];
    bool fresh = false;
    sombra_err err = is_new(levels, hop, &fresh);
    if (err || !fresh)
        return err;
    struct member member = { .id = hop->node, .depth = from->depth + 1 };
    if (run->keeps_tracks)
        err = run_track(run, from->track, hop->node, hop->edge, &member.track);
    if (!err && levels->hop < levels->step->as.expand.max)
        err = members_add(run, &levels->found, member);
    if (!err && levels->hop >= levels->step->as.expand.min)
        give(out, member);
    return err;
}

/* A batch of hops of the level read now. */
static sombra_err take_hops(struct levels *levels, struct row_batch *out)
{
    const struct graph_hop *hops;
    size_t count;
    sombra_err err = run_tick(levels->op.run);
    if (!err)
        err = graph_expand_next(levels->sweep, &hops, &count);
    if (!err && count == 0)
        return end_level(levels);
    for (size_t i = 0; !err && i < count; i++)
        err = take_hop(levels, &hops[i], out);
    return err;
}

/* ---- the input --------------------------------------------------------------------------- */

static sombra_err read_batch(struct levels *levels)
{
    levels->input_at = 0;
    sombra_err err = operator_next(levels->op.inputs[0], levels->input);
    return err ? err : rows_track(levels->op.run, levels->input->rows, levels->input->count);
}

/* One row of the input, to search from. */
static sombra_err begin_search(struct levels *levels, struct row_batch *out, bool *out_more)
{
    bool unused;
    sombra_err err = SOMBRA_OK;
    if (levels->input_at == levels->input->count)
        err = read_batch(levels);
    *out_more = !err && levels->input->count > 0;
    if (!*out_more)
        return err;
    const struct row *row = &levels->input->rows[levels->input_at++];
    const struct member source = { .id = row->id, .track = row->track, .depth = row->depth };
    levels->from.count = 0;
    levels->hop = 0;
    err = members_add(levels->op.run, &levels->from, source);
    if (!err)
        err = new_set(levels);
    if (!err)
        err = id_set_add(levels->seen, row->id, &unused);
    if (!err && levels->step->as.expand.min == 0)
        give(out, source);
    return err || levels->step->as.expand.max == 0 ? err : begin_level(levels);
}

/* All of the input, each node once. */
static sombra_err begin_set(struct levels *levels, bool *out_more)
{
    struct query_run *run = levels->op.run;
    sombra_err err = new_set(levels);
    *out_more = !levels->is_done;
    levels->from.count = 0;
    levels->hop = 0;
    while (!err && !levels->is_done) {
        err = read_batch(levels);
        levels->is_done = levels->input->count == 0;
        for (size_t i = 0; !err && i < levels->input->count; i++) {
            const struct row *row = &levels->input->rows[i];
            bool fresh = false;
            err = id_set_add(levels->seen, row->id, &fresh);
            if (!err && fresh)
                err = members_add(run, &levels->from,
                                  (struct member){ row->id, row->track, row->depth });
        }
    }
    return err || !*out_more ? err : begin_level(levels);
}

static sombra_err levels_next(struct operator* op, struct row_batch *out)
{
    struct levels *levels = container_of(op, struct levels, op);
    sombra_err err = SOMBRA_OK;
    bool more = true;
    out->count = 0;
    while (!err && more && out->count + GRAPH_BATCH <= QUERY_BATCH) {
        if (levels->is_reading)
            err = take_hops(levels, out);
        else if (is_search(levels))
            err = begin_search(levels, out, &more);
        else
            err = begin_set(levels, &more);
    }
    return err;
}

/* ---- life -------------------------------------------------------------------------------- */

static sombra_err levels_reset(struct operator* op)
{
    struct levels *levels = container_of(op, struct levels, op);
    levels->is_reading = levels->is_done = false;
    levels->input->count = levels->input_at = 0;
    return SOMBRA_OK;
}

static void levels_free(struct operator* op)
{
    struct levels *levels = container_of(op, struct levels, op);
    if (levels->sweep)
        graph_expand_close(levels->sweep);
    id_set_free(levels->seen);
    mem_free(levels->from.items);
    mem_free(levels->found.items);
    mem_free(levels->spare.items);
    mem_free(levels->ids);
}

static sombra_err levels_describe(struct operator* op)
{
    return walk_describe(op, container_of(op, struct levels, op)->step);
}

static const struct operator_ops search_ops = { .name = "search",
                                                .next = levels_next,
                                                .reset = levels_reset,
                                                .free = levels_free,
                                                .describe = levels_describe };
static const struct operator_ops set_ops = { .name = "expand_set",
                                             .next = levels_next,
                                             .reset = levels_reset,
                                             .free = levels_free,
                                             .describe = levels_describe };

sombra_err levels_new(struct plan *plan, struct step *step)
{
    struct levels *levels;
    bool is_one = step->as.expand.unique == UNIQUE_NODES;
    sombra_err err = operator_make(plan, is_one ? &search_ops : &set_ops, sizeof *levels,
                                   SOMBRA_ROW_NODE, plan->last, &levels);
    if (err)
        return err;
    assert(is_one || step->as.expand.min > 0);
    levels->step = step;
    levels->sweep = arena_alloc(&plan->run->arena, sizeof *levels->sweep);
    if (!levels->sweep)
        return diag_nomem("walks", sizeof *levels->sweep);
    memset(levels->sweep, 0, offsetof(struct graph_expand, batch)); /* which is long */
    levels->input = batch_new(plan->run);
    if (!levels->input)
        return SOMBRA_NOMEM;
    plan->last = &levels->op;
    return SOMBRA_OK;
}
