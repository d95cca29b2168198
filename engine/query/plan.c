/* SPDX-License-Identifier: MIT */
/* Checked steps -> operators. */
#include "plan_internal.h"

static sombra_err plan_source(struct plan *plan, struct step *step)
{
    const struct scan_range all = { .from = 0 };
    sombra_err err;
    switch (step->kind) {
    case STEP_IDS:
    case STEP_EDGE_IDS:
        return ids_source_new(plan, step);
    case STEP_OTHER_SOURCE:
        err = step->as.source.make(plan->run, &step->as.source.options, &plan->last);
        if (!err) {
            plan->last->made_before = plan->newest;
            plan->newest = plan->last;
        }
        return err;
    default:
        return scan_source_new(plan, step, &all);
    }
}

/* A run of skips and limits is one. */
static sombra_err plan_bound(struct plan *plan, struct step **step)
{
    uint64_t skip = 0, limit = UINT64_MAX;
    struct step *at = *step;
    for (; at && (at->kind == STEP_SKIP || at->kind == STEP_LIMIT); at = at->next) {
        uint64_t number = at->as.number;
        if (at->kind == STEP_LIMIT) {
            limit = u64_min(limit, number);
        } else {
            skip = number > UINT64_MAX - skip ? UINT64_MAX : skip + number;
            if (limit != UINT64_MAX)
                limit -= u64_min(limit, number);
        }
        *step = at;
    }
    return bound_new(plan, skip, limit);
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
        return where_new(plan, step->as.predicate);
    case STEP_FILTER:
        return filter_new(plan, (uint32_t)step->as.number);
    case STEP_DISTINCT:
        return plan->is_distinct ? SOMBRA_OK : distinct_new(plan);
    case STEP_EXCEPT:
        return except_new(plan, step);
    case STEP_SKIP:
    case STEP_LIMIT:
        return plan_bound(plan, at);
    case STEP_PATH:
        return path_new(plan);
    default:
        return plan_source(plan, step);
    }
}

/* ---- sets -------------------------------------------------------------------------------- */

/* Of what a step gives: is each row different from the others, if those before it were? */
static bool keeps_distinct(const struct step *step, bool was_distinct)
{
    switch (step->kind) {
    case STEP_ALL:
    case STEP_LABEL:
    case STEP_EDGES:
    case STEP_DISTINCT:
        return true;
    case STEP_EXPAND:
        return step->as.expand.is_set;
    case STEP_WHERE:
    case STEP_FILTER:
    case STEP_EXCEPT:
    case STEP_ORDER:
    case STEP_SKIP:
    case STEP_LIMIT:
    case STEP_AFTER:
        return was_distinct;
    default:
        return false;
    }
}

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
static void mark_sets(struct step *first)
{
    bool same_depth = true;
    for (struct step *step = first; step; step = step->next) {
        same_depth = same_depth && keeps_depth(step);
        if (step->kind != STEP_EXPAND || step->as.expand.gives_edges || step->as.expand.min == 0)
            continue;
        bool is_walk = step->as.expand.unique == UNIQUE_NONE || step->as.expand.max == 1;
        if (step->as.expand.unique == UNIQUE_NODES || !is_walk)
            continue;
        bool asks = step->as.expand.walk.where || step->as.expand.walk.nodes;
        step->as.expand.is_set =
            (same_depth || !asks) && leads_to_distinct(step->next, same_depth);
    }
}

static bool needs_tracks(const struct step *all)
{
    for (; all; all = all->made_before) {
        if (all->kind == STEP_PATH)
            return true;
    }
    return false;
}

sombra_err plan_make(struct plan *plan, struct step *all, struct step *first)
{
    sombra_err err = SOMBRA_OK;
    plan->run->keeps_tracks = needs_tracks(all);
    mark_sets(first);
    for (struct step *step = first; !err && step; step = step->next) {
        const struct step *begun = step;
        err = diag_wrap(plan_step(plan, &step), "step %u (%s)", begun->number, begun->name);
        plan->is_distinct = keeps_distinct(step, plan->is_distinct);
    }
    return err;
}
