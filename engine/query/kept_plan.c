/* SPDX-License-Identifier: MIT */
/* Plans that a query keeps when it is closed, for the next one of the same steps. */
#include "plan_internal.h"

enum { KEPT_PLAN_BYTES_MAX = 8 << 10 };

static void operators_free(struct operator* newest)
{
    for (struct operator* op = newest; op; op = op->made_before) {
        if (op->ops->free)
            op->ops->free(op);
    }
}

/* Its operators are freed. */
static void forget(struct kept_plan *kept)
{
    arena_reset(&kept->arena);
    if (kept->arena.bytes_total > KEPT_PLAN_BYTES_MAX)
        arena_release(&kept->arena);
    *kept = (struct kept_plan){ .arena = kept->arena };
}

/* ---- taking one -------------------------------------------------------------------------- */

static bool is_of(const struct kept_plan *kept, const struct kept_steps *steps)
{
    if (kept->count != steps->count)
        return false;
    for (size_t i = 0; i < kept->count; i++) {
        if (kept->steps[i] != steps->places[i].now->number)
            return false;
    }
    return true;
}

/* Do steps tell each other apart by their making, and names stay? Then a plan of them may be kept.
 */
static bool are_kept(const struct kept_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        if (!steps->places[i].now->lasts)
            return false;
    }
    return !steps->others;
}

/* NULL: there is none. */
static struct kept_plan *free_way(struct kept_plans *kept)
{
    for (size_t i = 0; i < COUNT_OF(kept->ways); i++) {
        if (!kept->ways[i].count)
            return &kept->ways[i];
    }
    return NULL;
}

/* `now` has a plan: another one goes, if none is free, so that queries whose plans are not kept
 * push none out. */
static void make_free(struct kept_plans *kept, const struct kept_plan *now)
{
    if (free_way(kept))
        return;
    struct kept_plan *oldest = &kept->ways[kept->oldest++ % COUNT_OF(kept->ways)];
    if (oldest == now)
        oldest = &kept->ways[kept->oldest++ % COUNT_OF(kept->ways)];
    operators_free(oldest->plan.newest);
    forget(oldest);
}

sombra_err kept_plans_find(struct kept_plans *kept, const struct kept_steps *steps,
                           struct plan *plan, bool *out_found)
{
    struct query_run *run = plan->run;
    struct kept_plan *found = NULL;
    *out_found = false;
    const bool may = run->txn->version && !steps->others;
    for (size_t i = 0; may && !found && i < COUNT_OF(kept->ways); i++) {
        if (is_of(&kept->ways[i], steps))
            found = &kept->ways[i];
    }
    if (found && found->plan.index) {
        uint64_t rules = 0;
        sombra_err err = graph_rules_version(run->txn, &rules);
        if (err)
            return err;
        if (rules != found->rules) {
            operators_free(found->plan.newest);
            forget(found);
            found = NULL;
        } else {
            index_choice_bind(found->plan.index);
        }
    }
    kept->now = found ? found : free_way(kept);
    assert(kept->now);
    run->planned = &kept->now->arena;
    kept->missed = run->txn->names_missed;
    if (found) {
        assert(found->plan.run == run);
        *plan = found->plan;
        *out_found = true;
    }
    return SOMBRA_OK;
}

/* ---- keeping one ------------------------------------------------------------------------- */

/* Nothing but steps and rules have said what it is, and all of it can be wound back. Scans by id,
 * which counts decide on, cannot. */
static bool can_rewind(const struct plan *plan)
{
    for (const struct operator* op = plan->newest; op; op = op->made_before) {
        if (!op->ops->rewind)
            return false;
    }
    return !plan->index || plan->index->is_one;
}

/* `missed` are the names that were missing before it was made: what there is none of may come. */
static bool note(struct kept_plan *kept, const struct kept_steps *steps, const struct plan *plan,
                 uint64_t missed)
{
    if (kept->arena.bytes_total > KEPT_PLAN_BYTES_MAX || !can_rewind(plan) || !are_kept(steps) ||
        plan->run->txn->names_missed != missed)
        return false;
    if (plan->index && graph_rules_version(plan->run->txn, &kept->rules))
        return false;
    kept->plan = *plan;
    kept->count = steps->count;
    for (size_t i = 0; i < steps->count; i++)
        kept->steps[i] = steps->places[i].now->number;
    return true;
}

void kept_plans_close(struct kept_plans *kept, const struct kept_steps *steps,
                      const struct plan *plan, bool may_keep)
{
    struct kept_plan *now = kept->now;
    kept->now = NULL;
    if (!now)
        return;
    const bool is_new = !now->count;
    if (!may_keep || !plan->run->txn->version ||
        (is_new && !note(now, steps, plan, kept->missed))) {
        operators_free(plan->newest);
        forget(now);
        return;
    }
    for (struct operator* op = plan->newest; op; op = op->made_before) {
        op->is_started = false;
        op->ops->rewind(op);
    }
    if (is_new)
        make_free(kept, now);
}

void kept_plans_release(struct kept_plans *kept)
{
    assert(!kept->now);
    for (size_t i = 0; i < COUNT_OF(kept->ways); i++) {
        operators_free(kept->ways[i].plan.newest);
        arena_release(&kept->ways[i].arena);
        kept->ways[i] = (struct kept_plan){ .count = 0 };
    }
}
