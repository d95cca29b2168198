/* SPDX-License-Identifier: MIT */
/* Operators that pass some of their input's rows on: where, filter, distinct, except, skip and
 * limit. They work in place, in the batch that is asked for. */
#include "plan_internal.h"

/* Asks the input until something is kept. `keep` decides on one row. */
typedef sombra_err (*keep_fn)(struct operator* op, const struct row *row, bool *out_keep);
/* Told of each batch before that; may be NULL. */
typedef void (*begin_fn)(struct operator* op, const struct row_batch *batch);

static sombra_err keep_rows(struct operator* op, struct row_batch *out, keep_fn keep,
                            begin_fn begin)
{
    for (;;) {
        sombra_err err = operator_next(op->inputs[0], out);
        size_t count = out->count, kept = 0;
        if (!err && begin)
            begin(op, out);
        out->count = 0;
        if (err || count == 0)
            return err;
        for (size_t i = 0; i < count; i++) {
            bool keeps = false;
            err = keep(op, &out->rows[i], &keeps);
            if (err)
                return err;
            if (keeps && kept != i)
                out->rows[kept] = out->rows[i];
            kept += keeps;
        }
        out->count = kept;
        err = run_ticks(op->run, (uint32_t)count);
        if (err || kept)
            return err;
    }
}

static sombra_err reset_nothing(struct operator* op)
{
    (void)op;
    return SOMBRA_OK;
}

/* ---- where, filter ----------------------------------------------------------------------- */

struct where {
    struct operator op;
    const struct predicate *predicate;
    struct row_records records;
};

static sombra_err where_keep(struct operator* op, const struct row *row, bool *out_keep)
{
    struct where *where = container_of(op, struct where, op);
    if (op->kind == SOMBRA_ROW_RECORD)
        return predicate_holds_map(where->predicate, op->run, row->value, out_keep);
    if (op->kind == SOMBRA_ROW_NODE)
        return predicate_test_node(where->predicate, op->run, &where->records, row, out_keep);
    return predicate_test(where->predicate, op->run, row, false, out_keep);
}

static void where_begin(struct operator* op, const struct row_batch *batch)
{
    row_records_begin(&container_of(op, struct where, op)->records, batch->rows, batch->count);
}

static void where_free(struct operator* op)
{
    row_records_release(&container_of(op, struct where, op)->records);
}

static sombra_err where_next(struct operator* op, struct row_batch *out)
{
    return keep_rows(op, out, where_keep, where_begin);
}

/* A guess. */
static sombra_err where_describe(struct operator* op)
{
    op->estimate = op->inputs[0]->estimate / 3;
    return SOMBRA_OK;
}

static void where_rewind(struct operator* op)
{
    struct where *where = container_of(op, struct where, op);
    row_records_release(&where->records);
    where->records = (struct row_records){ .rows = NULL };
}

static const struct operator_ops where_ops = {
    .name = "where",
    .next = where_next,
    .reset = reset_nothing,
    .free = where_free,
    .rewind = where_rewind,
    .describe = where_describe,
};

sombra_err where_new(struct plan *plan, const struct predicate *predicate)
{
    struct where *where;
    sombra_err err =
        operator_make(plan, &where_ops, sizeof *where, plan->last->kind, plan->last, &where);
    if (err)
        return err;
    where->predicate = predicate;
    plan->last = &where->op;
    return SOMBRA_OK;
}

struct filter {
    struct operator op;
    uint32_t number;
};

static sombra_err filter_keep(struct operator* op, const struct row *row, bool *out_keep)
{
    const struct filter *filter = container_of(op, struct filter, op);
    const sombra_query_options *options = &op->run->options;
    sombra_row shown = row_public(op->kind, row);
    return options->filter(options->context, filter->number, &shown, out_keep);
}

static sombra_err filter_next(struct operator* op, struct row_batch *out)
{
    return keep_rows(op, out, filter_keep, NULL);
}

static sombra_err filter_describe(struct operator* op)
{
    op->estimate = op->inputs[0]->estimate / 3;
    operator_describe(op, "function %" PRIu32, container_of(op, struct filter, op)->number);
    return SOMBRA_OK;
}

static const struct operator_ops filter_ops = {
    .name = "filter", .next = filter_next, .reset = reset_nothing, .describe = filter_describe
};

sombra_err filter_new(struct plan *plan, uint32_t number)
{
    struct filter *filter;
    sombra_err err =
        operator_make(plan, &filter_ops, sizeof *filter, plan->last->kind, plan->last, &filter);
    if (err)
        return err;
    filter->number = number;
    plan->last = &filter->op;
    return SOMBRA_OK;
}

/* ---- distinct ---------------------------------------------------------------------------- */

/* Values already seen, for paths and records: open addressing over copies. */
struct value_set {
    struct arena arena;
    sombra_slice *slots; /* data NULL = free */
    size_t count, capacity;
};

struct distinct {
    struct operator op;
    struct id_set *ids;
    struct value_set values;
    sombra_value_builder *builder; /* of records' canonical bytes */
};

static size_t value_slot(const struct value_set *set, sombra_slice value)
{
    size_t at = (size_t)hash_bytes(value.data, value.bytes, 0) & (set->capacity - 1);
    while (set->slots[at].data && !slice_equal(set->slots[at], value))
        at = (at + 1) & (set->capacity - 1);
    return at;
}

static sombra_err value_set_grow(struct query_run *run, struct value_set *set)
{
    size_t capacity = size_max(64, set->capacity * 2);
    sombra_slice *old = set->slots;
    size_t old_capacity = set->capacity;
    sombra_err err = run_charge(run, (int64_t)((capacity - old_capacity) * sizeof *old));
    if (err)
        return err;
    sombra_slice *slots = mem_zalloc(capacity * sizeof *slots);
    if (!slots)
        return diag_nomem("distinct rows", capacity * sizeof *slots);
    set->slots = slots;
    set->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].data)
            slots[value_slot(set, old[i])] = old[i];
    }
    mem_free(old);
    return SOMBRA_OK;
}

static sombra_err value_set_add(struct query_run *run, struct value_set *set, sombra_slice value,
                                bool *out_added)
{
    sombra_err err = SOMBRA_OK;
    assert(value.bytes > 0);
    if (set->count >= set->capacity / 2)
        err = value_set_grow(run, set);
    if (err)
        return err;
    size_t at = value_slot(set, value);
    *out_added = !set->slots[at].data;
    if (!*out_added)
        return SOMBRA_OK;
    err = run_copy(run, &set->arena, &value);
    if (!err) {
        set->slots[at] = value;
        set->count++;
    }
    return err;
}

static void value_set_clear(struct query_run *run, struct value_set *set)
{
    run_refund(run, set->capacity * sizeof *set->slots + set->arena.bytes_total);
    mem_free(set->slots);
    arena_release(&set->arena);
    *set = (struct value_set){ .arena = ARENA_INIT };
}

static sombra_err distinct_keep(struct operator* op, const struct row *row, bool *out_keep)
{
    struct distinct *distinct = container_of(op, struct distinct, op);
    sombra_slice value = row->value;
    if (op->kind < SOMBRA_ROW_PATH)
        return id_set_add(distinct->ids, row->id, out_keep);
    sombra_err err = SOMBRA_OK;
    if (!distinct->builder)
        err = sombra_value_builder_new(&distinct->builder);
    if (!err)
        err = value_canonical(distinct->builder, value, &value);
    return err ? err : value_set_add(op->run, &distinct->values, value, out_keep);
}

static sombra_err distinct_next(struct operator* op, struct row_batch *out)
{
    struct distinct *distinct = container_of(op, struct distinct, op);
    sombra_err err = SOMBRA_OK;
    if (!distinct->ids && op->kind < SOMBRA_ROW_PATH)
        err = id_set_new(op->run, &distinct->ids);
    return err ? err : keep_rows(op, out, distinct_keep, NULL);
}

static sombra_err distinct_reset(struct operator* op)
{
    struct distinct *distinct = container_of(op, struct distinct, op);
    id_set_free(distinct->ids);
    distinct->ids = NULL;
    value_set_clear(op->run, &distinct->values);
    return SOMBRA_OK;
}

static void distinct_free(struct operator* op)
{
    struct distinct *distinct = container_of(op, struct distinct, op);
    id_set_free(distinct->ids);
    mem_free(distinct->values.slots);
    arena_release(&distinct->values.arena);
    sombra_value_builder_free(distinct->builder);
}

static const struct operator_ops distinct_ops = {
    .name = "distinct", .next = distinct_next, .reset = distinct_reset, .free = distinct_free
};

sombra_err distinct_new(struct plan *plan)
{
    struct distinct *distinct;
    sombra_err err = operator_make(plan, &distinct_ops, sizeof *distinct, plan->last->kind,
                                   plan->last, &distinct);
    if (!err)
        plan->last = &distinct->op;
    return err;
}

/* ---- except ------------------------------------------------------------------------------ */

struct except {
    struct operator op;
    const uint64_t *ids; /* ascending */
    size_t count;
};

static sombra_err except_keep(struct operator* op, const struct row *row, bool *out_keep)
{
    const struct except *except = container_of(op, struct except, op);
    size_t low = 0, high = except->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (except->ids[middle] < row->id)
            low = middle + 1;
        else
            high = middle;
    }
    *out_keep = low == except->count || except->ids[low] != row->id;
    return SOMBRA_OK;
}

static sombra_err except_next(struct operator* op, struct row_batch *out)
{
    return keep_rows(op, out, except_keep, NULL);
}

static sombra_err except_describe(struct operator* op)
{
    op->estimate = op->inputs[0]->estimate;
    operator_describe(op, "%zu ids", container_of(op, struct except, op)->count);
    return SOMBRA_OK;
}

static const struct operator_ops except_ops = {
    .name = "except", .next = except_next, .reset = reset_nothing, .describe = except_describe
};

sombra_err except_new(struct plan *plan, const struct step *step)
{
    struct except *except;
    sombra_err err =
        operator_make(plan, &except_ops, sizeof *except, plan->last->kind, plan->last, &except);
    if (err)
        return err;
    except->ids = step->as.ids.items;
    except->count = step->as.ids.count;
    plan->last = &except->op;
    return SOMBRA_OK;
}

/* ---- skip and limit ---------------------------------------------------------------------- */

struct bound {
    struct operator op;
    uint64_t skip, limit;           /* as given */
    uint64_t skip_left, limit_left; /* of this run */
};

static sombra_err bound_next(struct operator* op, struct row_batch *out)
{
    struct bound *bound = container_of(op, struct bound, op);
    while (bound->limit_left > 0) {
        sombra_err err = operator_next(op->inputs[0], out);
        if (err || out->count == 0)
            return err;
        if (bound->skip_left >= out->count) {
            bound->skip_left -= out->count;
            continue;
        }
        size_t skip = (size_t)bound->skip_left;
        bound->skip_left = 0;
        out->count = (size_t)u64_min(out->count - skip, bound->limit_left);
        if (skip)
            memmove(out->rows, out->rows + skip, out->count * sizeof *out->rows);
        bound->limit_left -= out->count;
        out->is_last = out->is_last || bound->limit_left == 0;
        return SOMBRA_OK;
    }
    out->count = 0;
    return SOMBRA_OK;
}

static sombra_err bound_count(struct operator* op, uint64_t *out_count)
{
    struct bound *bound = container_of(op, struct bound, op);
    struct operator* input = op->inputs[0];
    uint64_t count = 0;
    if (bound->limit == 0) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    sombra_err err = SOMBRA_OK;
    if (input->ops->count && !input->is_started) {
        err = operator_count(input, &count);
        count -= u64_min(count, bound->skip);
        count = u64_min(count, bound->limit);
    } else { /* no further than the limit */
        struct row_batch *batch = batch_new(op->run);
        err = batch ? operator_next(op, batch) : SOMBRA_NOMEM;
        while (!err && batch->count > 0) {
            count += batch->count;
            err = operator_next(op, batch);
        }
    }
    if (!err)
        *out_count = count;
    return err;
}

static void bound_rewind(struct operator* op)
{
    struct bound *bound = container_of(op, struct bound, op);
    bound->skip_left = bound->skip;
    bound->limit_left = bound->limit;
}

static sombra_err bound_reset(struct operator* op)
{
    bound_rewind(op);
    return SOMBRA_OK;
}

static sombra_err bound_describe(struct operator* op)
{
    const struct bound *bound = container_of(op, struct bound, op);
    op->estimate = op->inputs[0]->estimate;
    if (op->estimate > (double)bound->limit)
        op->estimate = (double)bound->limit;
    if (bound->limit == UINT64_MAX)
        operator_describe(op, "skip %" PRIu64, bound->skip);
    else
        operator_describe(op, "skip %" PRIu64 ", limit %" PRIu64, bound->skip, bound->limit);
    return SOMBRA_OK;
}

static const struct operator_ops bound_ops = { .name = "limit",
                                               .next = bound_next,
                                               .count = bound_count,
                                               .reset = bound_reset,
                                               .rewind = bound_rewind,
                                               .describe = bound_describe };

sombra_err bound_new(struct plan *plan, uint64_t skip, uint64_t limit)
{
    struct bound *bound;
    sombra_err err =
        operator_make(plan, &bound_ops, sizeof *bound, plan->last->kind, plan->last, &bound);
    if (err)
        return err;
    bound->skip = bound->skip_left = skip;
    bound->limit = bound->limit_left = limit;
    plan->last = &bound->op;
    return SOMBRA_OK;
}
