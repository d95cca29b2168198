/* SPDX-License-Identifier: MIT */
/* Checked steps -> operators: a source by exact counts, orders that come for nothing, sets instead
 * of walks where nothing tells the difference, pages that begin where the last one ended.
 */
#include "plan_internal.h"

/* ---- pages ------------------------------------------------------------------------------- */

static bool is_bound(const struct step *step)
{
    return step->kind == STEP_SKIP || step->kind == STEP_LIMIT;
}

/* Skips and limits right before `after` count from the position on. */
static void find_after(struct plan *plan, const struct step *first)
{
    for (const struct step *step = first; step; step = step->next) {
        if (step->kind == STEP_AFTER) {
            if (!plan->tail)
                plan->tail = step;
            /* An empty position is the beginning. */
            plan->after = step->as.position.bytes ? step : NULL;
        } else if (!is_bound(step)) {
            plan->tail = NULL;
        } else if (!plan->tail) {
            plan->tail = step;
        }
    }
    if (!plan->after)
        plan->tail = NULL;
}

static sombra_err read_after(struct plan *plan, const struct step *order,
                             struct position **out_position)
{
    struct position *position = arena_alloc(&plan->run->arena, sizeof *position);
    if (!position)
        return diag_nomem("a position", sizeof *position);
    sombra_err err = position_read(plan->run, plan->after->as.position, order, position);
    if (!err)
        *out_position = position;
    return err;
}

/* What is left of `after` when its tail is reached: rows are compared with the position. */
static sombra_err plan_after(struct plan *plan)
{
    struct position *position;
    sombra_err err;
    if (!plan->order && !plan->is_by_id)
        return diag_fail(SOMBRA_INVALID,
                         "the rows before it are in no order that a position names; put an order "
                         "step there");
    err = read_after(plan, plan->order, &position);
    if (!err)
        err = behind_new(plan, plan->order, position);
    plan->after = NULL;
    return err;
}

/* Between a source and the tail: do all steps pass rows on as they come? */
static bool passes_to_tail(const struct plan *plan, const struct step *step)
{
    for (; step && step != plan->tail; step = step->next) {
        if (step->kind != STEP_WHERE && step->kind != STEP_FILTER && step->kind != STEP_EXCEPT &&
            step->kind != STEP_DISTINCT && step->kind != STEP_SELECT)
            return false;
    }
    return step != NULL;
}

/* ---- sources ----------------------------------------------------------------------------- */

static const struct step *behind_where(const struct step *step)
{
    while (step && step->kind == STEP_WHERE)
        step = step->next;
    return step;
}

/* Is it an order by nothing but the id? */
static bool is_id_order(const struct step *step)
{
    return step && step->kind == STEP_ORDER && step->as.columns.count == 1 &&
           step->as.columns.items[0].kind == COLUMN_ID;
}

/* A source by id: backwards if that is asked for, and from a position on. *out_is_over: nothing
 * lies behind it. */
static sombra_err plan_id_range(struct plan *plan, const struct step *source,
                                struct scan_range *range, bool *out_is_over)
{
    const struct step *order = behind_where(source->next);
    const struct step *rest = source->next;
    struct position *position;
    *out_is_over = false;
    *range = (struct scan_range){ .from = 0 };
    plan->is_by_id = true;
    if (is_id_order(order)) {
        range->reverse = order->as.columns.items[0].descending;
        plan->is_by_id = !range->reverse;
        plan->order = order;
        rest = order->next;
    }
    if (!plan->after || !passes_to_tail(plan, rest))
        return SOMBRA_OK;
    sombra_err err = read_after(plan, plan->order, &position);
    plan->after = NULL;
    if (err)
        return err;
    range->from = range->reverse ? position->id - 1 : position->id + 1;
    *out_is_over = range->from == 0 || position->id == 0;
    return SOMBRA_OK;
}

/* In the order of an index, from a position on: the range begins at its value, if it is one that a
 * bound can be; the rows of that value are compared. */
static sombra_err plan_index_page(struct plan *plan, const struct step *source,
                                  struct index_choice *choice)
{
    const struct step *order = choice->order;
    struct graph_index_range *range = &choice->ranges[0];
    struct position *position;
    if (!plan->after || order->as.columns.count != 1 || range->has_prefix ||
        behind_where(source->next) != order || !passes_to_tail(plan, order->next))
        return SOMBRA_OK;
    sombra_err err = read_after(plan, order, &position);
    if (err || position->keys[0].kind < SOMBRA_BOOLEAN || position->keys[0].kind > SOMBRA_STRING ||
        (position->keys[0].kind == SOMBRA_FLOAT &&
         position->keys[0].as.real != position->keys[0].as.real))
        return err;
    if (range->low.bytes == 0 && range->high.bytes == 0)
        return SOMBRA_OK; /* a bound would leave out other kinds of values */
    if (choice->reverse) {
        range->high = position->encoded[0];
        range->excludes_high = false;
    } else {
        range->low = position->encoded[0];
        range->excludes_low = false;
    }
    return SOMBRA_OK;
}

static sombra_err plan_empty(struct plan *plan, const struct step *source)
{
    const struct step none = { .to = source->to };
    return ids_source_new(plan, &none);
}

/* By an index, if one helps. */
static sombra_err search_subject(struct plan *plan, const struct step *step,
                                 struct index_search *search)
{
    const bool is_edge = step->to == SOMBRA_ROW_EDGE;
    uint32_t subject = 0;
    uint64_t count = 0;
    sombra_err err = graph_name_find(plan->run->txn, is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL,
                                     step->as.subject, &subject);
    if (err || subject == 0)
        return err;
    err = index_choose_unique(plan->run, step, subject, search);
    if (err || search->choice || search->is_empty)
        return err;
    err = is_edge ? graph_edge_count(plan->run->txn, step->as.subject, &count)
                  : graph_node_count(plan->run->txn, step->as.subject, &count);
    return err ? err : index_choose(plan->run, step, subject, count, search);
}

static sombra_err plan_scan(struct plan *plan, const struct step *step)
{
    struct scan_range range;
    bool is_over;
    sombra_err err = plan_id_range(plan, step, &range, &is_over);
    if (err)
        return err;
    return is_over ? plan_empty(plan, step) : scan_source_new(plan, step, &range);
}

/* A label or a type: an index if one helps, else a scan. */
static sombra_err plan_subject(struct plan *plan, const struct step *step)
{
    struct index_search search = { .choice = NULL };
    struct scan_range range;
    bool is_over = false;
    const struct step *next = step->next;
    bool may_help = next && (next->kind == STEP_WHERE || next->kind == STEP_ORDER);
    if (step->as.subject.bytes == 0 || !may_help)
        return plan_scan(plan, step);
    sombra_err err = search_subject(plan, step, &search);
    if (err)
        return err;
    if (!search.choice && !search.is_empty)
        return plan_scan(plan, step);
    if (!search.is_empty && search.choice->order) {
        plan->order = search.choice->order;
        err = plan_index_page(plan, step, search.choice);
    } else {
        const struct step *order = behind_where(next);
        bool is_unordered = order && order->kind == STEP_ORDER && !is_id_order(order);
        if (!is_unordered || search.is_empty)
            err = plan_id_range(plan, step, &range, &is_over);
        if (!err && search.choice && !is_unordered) {
            search.choice->from_id = range.from;
            search.choice->id_reverse = range.reverse;
            if (range.from || range.reverse || is_id_order(order))
                search.choice->sorts = true;
        }
    }
    if (err)
        return err;
    if (search.is_empty || is_over)
        return plan_empty(plan, step);
    plan->proved = search.choice->proved;
    plan->index = search.choice;
    return index_source_new(plan, step, search.choice);
}

static sombra_err plan_source(struct plan *plan, struct step *step)
{
    sombra_err err;
    switch (step->kind) {
    case STEP_IDS:
    case STEP_EDGE_IDS:
        return ids_source_new(plan, step);
    case STEP_OTHER_SOURCE:
        err = step->as.source.pair
                  ? paths_pair_new(plan->run, step->as.source.pair, &plan->last)
                  : step->as.source.make(plan->run, &step->as.source.options, &plan->last);
        if (!err) {
            plan->last->made_before = plan->newest;
            plan->newest = plan->last;
        }
        return err;
    case STEP_LABEL:
    case STEP_EDGES:
        return plan_subject(plan, step);
    default:
        return plan_scan(plan, step);
    }
}

/* ---- sets -------------------------------------------------------------------------------- */

/* Do the rows of a source all have one depth, and does the step leave it so? */
static bool keeps_depth(const struct step *step)
{
    if (step->kind == STEP_EXPAND)
        return step->as.expand.min == step->as.expand.max;
    return step->kind != STEP_UNION && step->kind != STEP_OPTIONAL && step->kind != STEP_REPEAT &&
           step->kind != STEP_OTHER_SOURCE;
}

/* Is what follows the same if each node comes once, in any order: is there a distinct before
 * anything that would tell? A predicate might, by the depth, unless all rows have the same. */
static bool leads_to_distinct(const struct step *step, bool same_depth)
{
    for (; step; step = step->next) {
        switch (step->kind) {
        case STEP_DISTINCT:
            return true;
        case STEP_WHERE:
            if (!same_depth)
                return false;
            break;
        case STEP_EXPAND:
            same_depth = same_depth && keeps_depth(step);
            if ((step->as.expand.walk.where || step->as.expand.walk.nodes) && !same_depth)
                return false;
            break;
        case STEP_END:
        case STEP_EXCEPT:
            break;
        default:
            return false;
        }
    }
    return false;
}

/* Which expansions may work on sets of nodes instead of walks. */
static void mark_sets(struct step *first, bool same_depth)
{
    for (struct step *step = first; step; step = step->next) {
        same_depth = same_depth && keeps_depth(step);
        if (step->kind != STEP_EXPAND || step->as.expand.gives_edges || step->as.expand.min == 0)
            continue;
        if (step->as.expand.unique == UNIQUE_NODES ||
            (step->as.expand.unique == UNIQUE_EDGES && step->as.expand.max > 1))
            continue;
        bool asks = step->as.expand.walk.where || step->as.expand.walk.nodes;
        step->as.expand.is_set = (same_depth || !asks) && leads_to_distinct(step->next, same_depth);
    }
}

/* ---- steps ------------------------------------------------------------------------------- */

struct bounds {
    uint64_t skip, limit;
};

/* A run of skips and limits is one; *step moves to its last. */
static struct bounds read_bounds(struct step **step)
{
    struct bounds bounds = { 0, UINT64_MAX };
    for (struct step *at = *step; at && is_bound(at); at = at->next) {
        uint64_t number = at->as.number;
        if (at->kind == STEP_LIMIT) {
            bounds.limit = u64_min(bounds.limit, number);
        } else {
            bounds.skip = number > UINT64_MAX - bounds.skip ? UINT64_MAX : bounds.skip + number;
            if (bounds.limit != UINT64_MAX)
                bounds.limit -= u64_min(bounds.limit, number);
        }
        *step = at;
    }
    return bounds;
}

static sombra_err plan_order(struct plan *plan, const struct step *step)
{
    struct position *after = NULL;
    struct step *next = step->next;
    sombra_err err = SOMBRA_OK;
    if (plan->order == step)
        return SOMBRA_OK;
    if (plan->after && plan->tail == next) {
        err = read_after(plan, step, &after);
        plan->after = NULL;
    }
    const struct bounds bounds = read_bounds(&next);
    uint64_t keep_max =
        bounds.limit > UINT64_MAX - bounds.skip ? UINT64_MAX : bounds.limit + bounds.skip;
    if (!err)
        err = sort_new(plan, step, keep_max, after);
    plan->order = step;
    plan->is_by_id = false;
    return err;
}

static sombra_err plan_where(struct plan *plan, const struct step *step)
{
    if (!plan->proved)
        return where_new(plan, step->as.predicate);
    if (plan->proved == step)
        plan->proved = NULL;
    return SOMBRA_OK;
}

static sombra_err plan_step(struct plan *plan, struct step **at)
{
    struct step *step = *at;
    switch (step->kind) {
    case STEP_EXPAND:
        if (step->as.expand.unique == UNIQUE_NODES || step->as.expand.is_set)
            return levels_new(plan, step);
        return expand_new(plan, step);
    case STEP_END:
        return ends_new(plan, step);
    case STEP_WHERE:
        return plan_where(plan, step);
    case STEP_FILTER:
        return filter_new(plan, (uint32_t)step->as.number);
    case STEP_DISTINCT:
        return plan->is_distinct ? SOMBRA_OK : distinct_new(plan);
    case STEP_EXCEPT:
        return except_new(plan, step);
    case STEP_ORDER:
        return plan_order(plan, step);
    case STEP_SKIP:
    case STEP_LIMIT: {
        const struct bounds bounds = read_bounds(at);
        return bound_new(plan, bounds.skip, bounds.limit);
    }
    case STEP_SELECT:
        return select_new(plan, step);
    case STEP_GROUP:
        return group_step_new(plan, step);
    case STEP_UNION:
        return union_new(plan, step);
    case STEP_OPTIONAL:
        return optional_new(plan, step);
    case STEP_REPEAT:
        return repeat_new(plan, step);
    case STEP_PATH:
        return path_new(plan);
    case STEP_AFTER:
        return SOMBRA_OK;
    default:
        return plan_source(plan, step);
    }
}

/* What is known of the rows behind a step. */
static void note_step(struct plan *plan, const struct step *step)
{
    switch (step->kind) {
    case STEP_ALL:
    case STEP_LABEL:
    case STEP_EDGES:
    case STEP_DISTINCT:
        plan->is_distinct = true;
        break;
    case STEP_WHERE:
    case STEP_FILTER:
    case STEP_EXCEPT:
    case STEP_ORDER:
    case STEP_SKIP:
    case STEP_LIMIT:
    case STEP_AFTER:
        break;
    case STEP_SELECT:
        plan->is_distinct = false;
        break;
    default:
        plan->is_distinct = step->kind == STEP_EXPAND && step->as.expand.is_set;
        plan->is_by_id = false;
        plan->order = NULL;
        break;
    }
}

static sombra_err plan_steps(struct plan *plan, struct step *first)
{
    sombra_err err = SOMBRA_OK;
    for (struct step *step = first; !err && step; step = step->next) {
        const struct step *begun = step;
        if (plan->after && step == plan->tail) {
            const unsigned number = plan->after->number; /* plan_after is done with it */
            err = diag_wrap(plan_after(plan), "step %u (after)", number);
        }
        if (!err)
            err = diag_wrap(plan_step(plan, &step), "step %u (%s)", begun->number, begun->name);
        note_step(plan, step);
    }
    return err;
}

sombra_err plan_body(struct plan *plan, struct step *first, struct operator* feed,
                     struct operator** out_last)
{
    struct plan body = { .run = plan->run, .last = feed, .newest = plan->newest };
    mark_sets(first, false);
    sombra_err err = plan_steps(&body, first);
    plan->newest = body.newest;
    if (!err)
        *out_last = body.last;
    return err;
}

sombra_err plan_make(struct plan *plan, struct step *first)
{
    mark_sets(first, true);
    find_after(plan, first);
    return plan_steps(plan, first);
}
