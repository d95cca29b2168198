/* SPDX-License-Identifier: MIT */
/* Which index answers a source and the `where` steps behind it, by exact counts: the one that
 * leaves the fewest rows to be looked at, or one whose order is the one asked for.
 *
 * An index does not decide alone: the predicates are asked of every row it gives, so that a range
 * may be wider than they are, and never narrower. But where a unique one is asked for the values
 * that a predicate names, and it names nothing else, there is nothing left to ask.
 */
#include "plan_internal.h"

#include <stdio.h>

struct search {
    struct query_run *run;
    const struct condition *conditions[CONDITIONS_MAX];
    size_t condition_count;
    const struct step *order; /* right behind; NULL = by id */
    uint64_t wanted;          /* rows that a limit lets through; UINT64_MAX = all */
    uint64_t subject_count;   /* rows of the label or type */
};

/* ---- conditions -------------------------------------------------------------------------- */

static void gather(struct search *search, const struct step *step)
{
    for (; step && step->kind == STEP_WHERE; step = step->next) {
        const struct condition *conditions;
        size_t count = predicate_conditions(step->as.predicate, &conditions);
        for (size_t i = 0; i < count && search->condition_count < CONDITIONS_MAX; i++)
            search->conditions[search->condition_count++] = &conditions[i];
    }
}

static const struct condition *condition_on(const struct search *search, uint32_t property,
                                            enum condition_kind kind)
{
    for (size_t i = 0; i < search->condition_count; i++) {
        if (search->conditions[i]->property_id == property && search->conditions[i]->kind == kind)
            return search->conditions[i];
    }
    return NULL;
}

static bool is_conditioned(const struct search *search, uint32_t property)
{
    for (size_t i = 0; i < search->condition_count; i++) {
        if (search->conditions[i]->property_id == property)
            return true;
    }
    return false;
}

/* ---- ranges of one index ----------------------------------------------------------------- */

static sombra_err choice_alloc(struct search *search, size_t bytes, void *out)
{
    void *memory = arena_alloc(search->run->planned, bytes);
    if (!memory)
        return diag_nomem("the choice of an index", bytes);
    memset(memory, 0, bytes);
    memcpy(out, &memory, sizeof memory);
    return SOMBRA_OK;
}

/* Range, prefix or presence of the property behind those that are equal. */
static sombra_err narrow(const struct search *search, uint32_t property,
                         struct index_choice *choice)
{
    struct graph_index_range *range = &choice->ranges[0];
    const struct condition *found = condition_on(search, property, CONDITION_PREFIX);
    if (found) {
        sombra_value text;
        sombra_err err = sombra_value_decode(found->values[0], &text);
        range->has_prefix = true;
        range->prefix = text.as.string;
        choice->what = "a prefix";
        return err;
    }
    found = condition_on(search, property, CONDITION_RANGE);
    if (found) {
        range->low = found->values[0];
        range->high = found->values[1];
        range->excludes_low = found->excludes[0];
        range->excludes_high = found->excludes[1];
        choice->what = "a range";
    } else if (is_conditioned(search, property)) {
        range->has_property = true;
        if (range->equal_count == 0)
            choice->what = "all that have it";
    }
    return SOMBRA_OK;
}

/* One range for each value of the list. */
static sombra_err spread(struct search *search, const struct condition *any_of,
                         struct index_choice *choice)
{
    sombra_value list;
    sombra_value_cursor cursor;
    const struct graph_index_range first = choice->ranges[0];
    sombra_err err = sombra_value_decode(any_of->values[0], &list);
    if (!err)
        err = choice_alloc(search, size_max(list.count, 1) * sizeof first, &choice->ranges);
    if (err)
        return err;
    sombra_value_enter(&list, &cursor);
    choice->range_count = 0;
    for (uint32_t i = 0; !err && i < list.count; i++) {
        struct graph_index_range *range = &choice->ranges[choice->range_count++];
        sombra_slice *equal = NULL;
        bool found = false;
        err = choice_alloc(search, (first.equal_count + 1) * sizeof *equal, &equal);
        if (err)
            break;
        if (first.equal_count)
            memcpy(equal, first.equal, first.equal_count * sizeof *equal);
        err = value_next_encoded(&cursor, NULL, &equal[first.equal_count], &found);
        *range = (struct graph_index_range){ .equal = equal, .equal_count = first.equal_count + 1 };
    }
    choice->what = "any of a list";
    return err;
}

static sombra_err count_ranges(struct search *search, struct index_choice *choice)
{
    choice->count = 0;
    for (size_t i = 0; i < choice->range_count; i++) {
        uint64_t count = 0;
        sombra_err err =
            graph_index_count(search->run->txn, &choice->index, &choice->ranges[i], &count);
        if (err)
            return err;
        choice->count += count;
    }
    return SOMBRA_OK;
}

/* What of the index the conditions leave. */
static sombra_err fit(struct search *search, const struct graph_rule *index,
                      struct index_choice *choice)
{
    sombra_slice *equal = NULL;
    struct graph_index_range *range = NULL;
    *choice = (struct index_choice){ .index = *index, .range_count = 1, .what = "all of it" };
    sombra_err err = choice_alloc(search, sizeof *range, &range);
    if (!err)
        err = choice_alloc(search, index->property_count * sizeof *equal, &equal);
    if (!err)
        err = choice_alloc(search, index->property_count * sizeof *choice->conditions,
                           &choice->conditions);
    if (err)
        return err;
    choice->ranges = range;
    range->equal = choice->values = equal;
    const struct condition *any_of = NULL;
    size_t at = 0;
    for (; at < index->property_count && !any_of; at++) {
        const struct condition *found =
            condition_on(search, index->properties[at], CONDITION_EQUAL);
        if (found) {
            choice->conditions[range->equal_count] = found;
            equal[range->equal_count++] = found->values[0];
            choice->what = "equal";
            continue;
        }
        any_of = condition_on(search, index->properties[at], CONDITION_ANY_OF);
        if (!any_of)
            break;
    }
    if (any_of)
        err = spread(search, any_of, choice);
    else if (at < index->property_count)
        err = narrow(search, index->properties[at], choice);
    return err;
}

/* ---- order ------------------------------------------------------------------------------- */

/* Does the index, as far as the choice reads it, come in the order asked for, complete? */
static bool gives_order(const struct search *search, struct index_choice *choice)
{
    const struct graph_rule *index = &choice->index;
    const struct graph_index_range *range = &choice->ranges[0];
    const struct step *order = search->order;
    if (!order || choice->range_count != 1 ||
        index->property_count != range->equal_count + order->as.columns.count)
        return false;
    const bool reverse = order->as.columns.items[0].descending;
    for (size_t i = 0; i < order->as.columns.count; i++) {
        const struct column *key = &order->as.columns.items[i];
        if (key->kind != COLUMN_PROPERTY || key->descending != reverse ||
            key->property != index->properties[range->equal_count + i])
            return false;
    }
    /* Without the first property a row is in no index: there must be none, or none wanted. */
    if (range->equal_count == 0 && !is_conditioned(search, index->properties[0]) &&
        choice->count != search->subject_count)
        return false;
    choice->reverse = reverse;
    choice->order = order;
    return true;
}

/* By id: only where every property is equal to one value. */
static void sort_by_id(struct index_choice *choice)
{
    choice->sorts =
        choice->range_count != 1 || choice->ranges[0].equal_count != choice->index.property_count;
}

/* Rows that are looked at until those wanted are found, if `left` of `of` rows fit evenly. */
static double looked_at(const struct search *search, uint64_t of, uint64_t left)
{
    double all = (double)of;
    double needed = (double)search->wanted * all / (double)u64_max(left, 1);
    return needed < all ? needed : all;
}

/* ---- choice ------------------------------------------------------------------------------ */

enum { SORT_COST = 3 }; /* of a row that is kept and sorted, in rows looked at */

struct best {
    struct index_choice *fewest, *ordered; /* NULL = none */
};

static sombra_err try_index(struct search *search, const struct graph_rule *index,
                            struct best *best)
{
    struct index_choice *choice = NULL;
    sombra_err err = choice_alloc(search, sizeof *choice, &choice);
    if (!err)
        err = fit(search, index, choice);
    if (!err)
        err = count_ranges(search, choice);
    if (err)
        return err;
    const size_t used = choice->ranges ? choice->ranges[0].equal_count : 0;
    if (gives_order(search, choice) && (!best->ordered || choice->count < best->ordered->count))
        best->ordered = choice;
    /* Rows without its first property are not in the index. */
    if (!is_conditioned(search, index->properties[0]))
        return SOMBRA_OK;
    if (!best->fewest || choice->count < best->fewest->count ||
        (choice->count == best->fewest->count && used > best->fewest->ranges[0].equal_count))
        best->fewest = choice;
    return SOMBRA_OK;
}

/* The cheaper of both, or neither. */
static struct index_choice *decide(const struct search *search, const struct best *best)
{
    struct index_choice *fewest = best->fewest;
    const uint64_t all = search->subject_count;
    const uint64_t left = fewest ? fewest->count : all;
    const double rows = (double)left;
    if (best->ordered) {
        double ordered = looked_at(search, best->ordered->count, left);
        double sorted = rows * (search->wanted == UINT64_MAX ? SORT_COST : 1);
        if (best->ordered->count == left || ordered <= sorted)
            return best->ordered;
    }
    if (!fewest || left >= all)
        return NULL;
    if (search->order) {
        fewest->reverse = false;
        fewest->order = NULL;
        fewest->sorts = fewest->range_count != 1; /* two values may be equal: 1 and 1.0 */
        return fewest;
    }
    if (looked_at(search, all, left) < rows)
        return NULL; /* by id, the label soon has what the limit wants */
    sort_by_id(fewest);
    return fewest;
}

/* Names that do not exist: then the condition holds nowhere. */
static bool is_impossible(const struct search *search)
{
    for (size_t i = 0; i < search->condition_count; i++) {
        if (search->conditions[i]->property_id == 0)
            return true;
    }
    return false;
}

/* Is each of its properties equal to one value? */
static bool pins_one(const struct search *search, const struct graph_rule *index)
{
    bool pins = index->kind == SOMBRA_RULE_UNIQUE && index->is_ready;
    for (size_t i = 0; pins && i < index->property_count; i++)
        pins = condition_on(search, index->properties[i], CONDITION_EQUAL) != NULL;
    return pins;
}

/* Of the where steps right behind the source the last up to which all hold for what the index
 * gives: they say nothing but that its properties are equal to the values it is asked for. */
static const struct step *proved_by(const struct search *search, const struct graph_rule *index,
                                    const struct step *source)
{
    const struct step *last = NULL;
    for (const struct step *step = source->next; step && step->kind == STEP_WHERE;
         step = step->next) {
        const struct condition *conditions;
        const size_t count = predicate_conditions(step->as.predicate, &conditions);
        if (!predicate_is_equalities(step->as.predicate))
            return last;
        for (size_t i = 0; i < count; i++) {
            const uint32_t property = conditions[i].property_id;
            size_t at = 0;
            while (at < index->property_count && index->properties[at] != property)
                at++;
            if (at == index->property_count ||
                condition_on(search, property, CONDITION_EQUAL) != &conditions[i])
                return last;
        }
        last = step;
    }
    return last;
}

void index_choice_bind(const struct index_choice *choice)
{
    const struct graph_index_range *range = &choice->ranges[0];
    assert(choice->is_one && range->equal_count == choice->index.property_count);
    for (size_t i = 0; i < range->equal_count; i++)
        choice->values[i] = choice->conditions[i]->values[0];
}

sombra_err index_choose_unique(struct query_run *run, const struct step *source, uint32_t subject,
                               struct index_search *out)
{
    struct search search = { .run = run };
    const struct graph_rule *rules;
    size_t count = 0;
    gather(&search, source->next);
    out->choice = NULL;
    out->is_empty = is_impossible(&search);
    if (out->is_empty || search.condition_count == 0)
        return SOMBRA_OK;
    sombra_err err =
        graph_rules_of(run->txn, source->to == SOMBRA_ROW_EDGE, subject, &rules, &count);
    for (size_t i = 0; !err && i < count && !out->choice; i++) {
        struct index_choice *choice = NULL;
        if (!pins_one(&search, &rules[i]))
            continue;
        err = choice_alloc(&search, sizeof *choice, &choice);
        if (!err)
            err = fit(&search, &rules[i], choice);
        if (err)
            break;
        /* cppcheck-suppress nullPointerRedundantCheck ; set where there was no error */
        choice->is_one = true;
        choice->proved = proved_by(&search, &rules[i], source);
        out->choice = choice;
    }
    return err;
}

sombra_err index_choose(struct query_run *run, const struct step *source, uint32_t subject,
                        uint64_t subject_count, struct index_search *out)
{
    struct search search = { .run = run, .wanted = UINT64_MAX, .subject_count = subject_count };
    struct best best = { NULL, NULL };
    const struct graph_rule *rules;
    size_t count = 0;
    gather(&search, source->next);
    const struct step *step = source->next;
    while (step && step->kind == STEP_WHERE)
        step = step->next;
    if (step && step->kind == STEP_ORDER) {
        search.order = step;
        step = step->next;
    }
    for (uint64_t skipped = 0; step && (step->kind == STEP_SKIP || step->kind == STEP_LIMIT);
         step = step->next) {
        if (step->kind == STEP_SKIP)
            skipped += u64_min(step->as.number, UINT32_MAX);
        else
            search.wanted =
                u64_min(search.wanted, u64_min(step->as.number, UINT64_MAX - skipped) + skipped);
    }
    out->is_empty = is_impossible(&search);
    out->choice = NULL;
    if (out->is_empty || (search.condition_count == 0 && !search.order))
        return SOMBRA_OK;
    sombra_err err =
        graph_rules_of(run->txn, source->to == SOMBRA_ROW_EDGE, subject, &rules, &count);
    for (size_t i = 0; !err && i < count; i++) {
        bool is_index = rules[i].kind == SOMBRA_RULE_INDEX || rules[i].kind == SOMBRA_RULE_UNIQUE;
        if (is_index && rules[i].is_ready)
            err = try_index(&search, &rules[i], &best);
    }
    if (!err)
        out->choice = decide(&search, &best);
    return err;
}
