/* SPDX-License-Identifier: MIT */
/* group: one record for each combination of the columns' values, with aggregates over its rows.
 * Numbers that are equal are one value here, integer or float; the record has the first that came.
 */
#include "plan_internal.h"

#include <math.h>

struct total {
    uint64_t count;      /* rows, or values */
    int64_t integer;     /* sum so far, while all were integers and it fits */
    double real;         /* sum so far, in any case */
    bool is_real;        /* `integer` no longer holds */
    sombra_slice value;  /* min, max: encoded */
    struct buf elements; /* collect: encoded, one behind the other */
};

struct group {
    sombra_slice key;     /* for comparison */
    sombra_slice *values; /* of the columns, as they came first */
    struct total *totals;
};

struct grouping {
    struct operator op;
    const struct aggregate *aggregates;
    size_t column_count, aggregate_count;
    struct columns columns; /* those of the groups, then those of aggregates */
    sombra_slice *values;   /* of one row */
    size_t *places;         /* of each aggregate's column in `values` */
    struct arena arena;
    struct buf key;
    struct group **groups; /* by first appearance */
    size_t group_count, group_capacity;
    uint32_t *slots; /* indexes of groups + 1, open addressing; 0 = free */
    size_t slot_count;
    size_t charged; /* bytes of elements */
    bool is_read;
    size_t at; /* groups given out */
    struct row_batch *input;
    sombra_value_builder *builder;
    struct buf bytes; /* of the records given out */
};

/* ---- groups ------------------------------------------------------------------------------ */

/* Equal values get equal bytes: a float that is a whole number is written as that integer. */
static sombra_err key_add(struct grouping *grouping, sombra_slice encoded)
{
    sombra_value value;
    sombra_err err = SOMBRA_OK;
    if (encoded.bytes) {
        err = sombra_value_decode(encoded, &value);
        /* cppcheck-suppress incorrectLogicOperator ; it takes the hexadecimal floats for 0 */
        if (!err && value.kind == SOMBRA_FLOAT && value.as.real >= -0x1p63 &&
            value.as.real < 0x1p63 && trunc(value.as.real) == value.as.real) {
            sombra_value_builder_reset(grouping->builder);
            (void)sombra_value_push_integer(grouping->builder, (int64_t)value.as.real);
            err = sombra_value_finish(grouping->builder, &encoded);
        } else if (!err) {
            err = value_canonical(grouping->builder, encoded, &encoded);
        }
    }
    if (!err)
        err = buf_append_varint(&grouping->key, encoded.bytes);
    return err ? err : buf_append_slice(&grouping->key, encoded);
}

static size_t slot_of(const struct grouping *grouping, sombra_slice key)
{
    size_t mask = grouping->slot_count - 1, at = (size_t)hash_bytes(key.data, key.bytes, 0) & mask;
    while (grouping->slots[at] && !slice_equal(grouping->groups[grouping->slots[at] - 1]->key, key))
        at = (at + 1) & mask;
    return at;
}

static sombra_err grow_slots(struct grouping *grouping)
{
    size_t count = size_max(64, grouping->slot_count * 2), bytes = count * sizeof *grouping->slots;
    sombra_err err = run_charge(
        grouping->op.run, (int64_t)((count - grouping->slot_count) * sizeof *grouping->slots));
    if (err)
        return err;
    uint32_t *slots = mem_zalloc(bytes);
    if (!slots)
        return diag_nomem("groups", bytes);
    mem_free(grouping->slots);
    grouping->slots = slots;
    grouping->slot_count = count;
    for (size_t i = 0; i < grouping->group_count; i++)
        slots[slot_of(grouping, grouping->groups[i]->key)] = (uint32_t)(i + 1);
    return SOMBRA_OK;
}

static sombra_err arena_take(struct grouping *grouping, size_t bytes, void *out)
{
    size_t before = grouping->arena.bytes_total;
    void *memory = arena_alloc(&grouping->arena, bytes);
    if (!memory)
        return diag_nomem("groups", bytes);
    memset(memory, 0, bytes);
    memcpy(out, &memory, sizeof memory);
    return run_charge(grouping->op.run, (int64_t)(grouping->arena.bytes_total - before));
}

static sombra_err group_new(struct grouping *grouping, sombra_slice key, struct group **out_group)
{
    struct query_run *run = grouping->op.run;
    struct group *group = NULL;
    sombra_err err = arena_take(grouping, sizeof *group, &group);
    if (!err)
        err = arena_take(grouping, grouping->column_count * sizeof *group->values, &group->values);
    if (!err)
        err =
            arena_take(grouping, grouping->aggregate_count * sizeof *group->totals, &group->totals);
    for (size_t i = 0; !err && i < grouping->column_count; i++) {
        group->values[i] = grouping->values[i];
        err = run_copy(run, &grouping->arena, &group->values[i]);
    }
    if (!err)
        err = run_copy(run, &grouping->arena, &key);
    if (!err && grouping->group_count == grouping->group_capacity) {
        void *groups = grouping->groups;
        err = run_grow(run, &groups, &grouping->group_capacity, sizeof *grouping->groups, "groups");
        grouping->groups = groups;
    }
    if (!err && grouping->group_count == UINT32_MAX - 1)
        err = diag_fail(SOMBRA_LIMIT, "more than %u groups", UINT32_MAX - 1);
    if (err)
        return err;
    group->key = key;
    grouping->groups[grouping->group_count++] = group;
    *out_group = group;
    return SOMBRA_OK;
}

/* The group of the row whose values were read. */
static sombra_err group_find(struct grouping *grouping, struct group **out_group)
{
    sombra_err err = SOMBRA_OK;
    buf_reset(&grouping->key);
    for (size_t i = 0; !err && i < grouping->column_count; i++)
        err = key_add(grouping, grouping->values[i]);
    if (!err && grouping->group_count >= grouping->slot_count / 2)
        err = grow_slots(grouping);
    if (err)
        return err;
    size_t at = slot_of(grouping, buf_slice(&grouping->key));
    if (grouping->slots[at]) {
        *out_group = grouping->groups[grouping->slots[at] - 1];
        return SOMBRA_OK;
    }
    err = group_new(grouping, buf_slice(&grouping->key), out_group);
    if (!err)
        grouping->slots[at] = (uint32_t)grouping->group_count;
    return err;
}

/* ---- aggregates -------------------------------------------------------------------------- */

static void add_number(struct total *total, const sombra_value *value)
{
    if (value->kind == SOMBRA_INTEGER) {
        total->real += (double)value->as.integer;
        if (!total->is_real &&
            __builtin_add_overflow(total->integer, value->as.integer, &total->integer))
            total->is_real = true;
    } else {
        total->real += value->as.real;
        total->is_real = true;
    }
    total->count++;
}

/* Keeps the lesser, or with `wants_max` the greater. */
static sombra_err keep_extreme(struct grouping *grouping, struct total *total, sombra_slice encoded,
                               const sombra_value *value, bool wants_max)
{
    sombra_value kept;
    int order = -1;
    sombra_err err = SOMBRA_OK;
    if (total->value.bytes) {
        err = sombra_value_decode(total->value, &kept);
        if (!err)
            err = value_order(value, &kept, &order);
        if (wants_max)
            order = -order;
    }
    if (err || order >= 0)
        return err;
    if (encoded.bytes <= total->value.bytes) { /* in the place of the other */
        memcpy((uint8_t *)(uintptr_t)total->value.data, encoded.data, encoded.bytes);
        total->value.bytes = encoded.bytes;
        return SOMBRA_OK;
    }
    total->value = encoded;
    return run_copy(grouping->op.run, &grouping->arena, &total->value);
}

static sombra_err collect(struct grouping *grouping, struct total *total, sombra_slice encoded)
{
    sombra_err err = run_charge(grouping->op.run, (int64_t)encoded.bytes);
    if (err)
        return err;
    grouping->charged += encoded.bytes;
    total->count++;
    return buf_append_slice(&total->elements, encoded);
}

static sombra_err aggregate_add(struct grouping *grouping, const struct aggregate *aggregate,
                                struct total *total, sombra_slice encoded)
{
    sombra_value value;
    if (!aggregate->has_column) {
        total->count++;
        return SOMBRA_OK;
    }
    if (encoded.bytes == 0)
        return SOMBRA_OK;
    sombra_err err = sombra_value_decode(encoded, &value);
    if (err || value.kind == SOMBRA_NULL)
        return err;
    switch (aggregate->kind) {
    case AGGREGATE_COUNT:
        total->count++;
        return SOMBRA_OK;
    case AGGREGATE_SUM:
    case AGGREGATE_AVG:
        if (value.kind == SOMBRA_INTEGER || value.kind == SOMBRA_FLOAT)
            add_number(total, &value);
        return SOMBRA_OK;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        return keep_extreme(grouping, total, encoded, &value, aggregate->kind == AGGREGATE_MAX);
    default:
        return collect(grouping, total, encoded);
    }
}

/* ---- the input --------------------------------------------------------------------------- */

static sombra_err add_row(struct grouping *grouping, const struct row *row)
{
    enum { PARTS_OF_TICK = 16 };
    struct group *group = NULL;
    const size_t parts = grouping->column_count + grouping->aggregate_count;
    sombra_err err = run_ticks(grouping->op.run, (uint32_t)(1 + parts / PARTS_OF_TICK));
    if (!err)
        err = columns_read(&grouping->columns, row, grouping->values);
    if (!err)
        err = group_find(grouping, &group);
    for (size_t i = 0; !err && i < grouping->aggregate_count; i++) {
        const struct aggregate *aggregate = &grouping->aggregates[i];
        sombra_slice value = { NULL, 0 };
        if (aggregate->has_column)
            value = grouping->values[grouping->places[i]];
        err = aggregate_add(grouping, aggregate, &group->totals[i], value);
    }
    return err;
}

static sombra_err read_input(struct grouping *grouping)
{
    struct group *unused;
    for (;;) {
        sombra_err err = operator_next(grouping->op.inputs[0], grouping->input);
        if (!err)
            err = columns_begin(&grouping->columns, grouping->input);
        for (size_t i = 0; !err && i < grouping->input->count; i++)
            err = add_row(grouping, &grouping->input->rows[i]);
        if (err)
            return err;
        if (grouping->input->count == 0)
            break;
    }
    grouping->is_read = true;
    /* Without columns there is one group, also of nothing. */
    if (grouping->column_count == 0 && grouping->group_count == 0)
        return group_new(grouping, slice_of(NULL, 0), &unused);
    return SOMBRA_OK;
}

/* ---- records ----------------------------------------------------------------------------- */

static void push_total(struct grouping *grouping, const struct aggregate *aggregate,
                       const struct total *total)
{
    sombra_value_builder *builder = grouping->builder;
    const bool is_missing = aggregate->kind == AGGREGATE_AVG ? total->count == 0
                            : aggregate->kind == AGGREGATE_MIN || aggregate->kind == AGGREGATE_MAX
                                ? total->value.bytes == 0
                                : false;
    if (is_missing)
        return;
    (void)sombra_value_push_key(builder, aggregate->as.data, aggregate->as.bytes);
    switch (aggregate->kind) {
    case AGGREGATE_COUNT:
        (void)sombra_value_push_integer(builder, (int64_t)total->count);
        break;
    case AGGREGATE_SUM:
        if (total->is_real)
            (void)sombra_value_push_float(builder, total->real);
        else
            (void)sombra_value_push_integer(builder, total->integer);
        break;
    case AGGREGATE_AVG:
        (void)sombra_value_push_float(builder, total->real / (double)total->count);
        break;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        (void)sombra_value_push_encoded(builder, total->value);
        break;
    case AGGREGATE_COLLECT: {
        size_t bytes = 0;
        sombra_value unused;
        (void)sombra_value_begin_list(builder);
        for (size_t at = 0; at < total->elements.bytes; at += bytes) {
            sombra_slice rest = slice_from(buf_slice(&total->elements), at);
            if (value_read(rest, 0, &unused, &bytes))
                break; /* it was proved when it was read */
            (void)sombra_value_push_encoded(builder, slice_of(rest.data, bytes));
        }
        (void)sombra_value_end_list(builder);
        break;
    }
    }
}

static sombra_err make_record(struct grouping *grouping, const struct group *group)
{
    sombra_value_builder *builder = grouping->builder;
    sombra_slice encoded;
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_map(builder);
    for (size_t i = 0; i < grouping->column_count; i++) {
        sombra_slice as = grouping->columns.items[i].as;
        if (group->values[i].bytes == 0)
            continue;
        (void)sombra_value_push_key(builder, as.data, as.bytes);
        (void)sombra_value_push_encoded(builder, group->values[i]);
    }
    for (size_t i = 0; i < grouping->aggregate_count; i++)
        push_total(grouping, &grouping->aggregates[i], &group->totals[i]);
    (void)sombra_value_end_map(builder);
    sombra_err err = sombra_value_finish(builder, &encoded); /* failures of the pushes stick */
    return err ? err : buf_append_slice(&grouping->bytes, encoded);
}

static sombra_err group_next(struct operator* op, struct row_batch *out)
{
    struct grouping *grouping = container_of(op, struct grouping, op);
    size_t ends[QUERY_BATCH];
    sombra_err err = grouping->is_read ? SOMBRA_OK : read_input(grouping);
    buf_reset(&grouping->bytes);
    out->count = 0;
    while (!err && out->count < QUERY_BATCH && grouping->at < grouping->group_count) {
        err = make_record(grouping, grouping->groups[grouping->at++]);
        ends[out->count++] = grouping->bytes.bytes;
    }
    for (size_t i = 0; !err && i < out->count; i++) { /* now that the buffer moves no more */
        size_t begin = i ? ends[i - 1] : 0;
        out->rows[i] =
            (struct row){ .value = slice_of(grouping->bytes.data + begin, ends[i] - begin) };
    }
    return err;
}

/* ---- life -------------------------------------------------------------------------------- */

static void drop_elements(struct grouping *grouping)
{
    for (size_t i = 0; i < grouping->group_count; i++) {
        for (size_t j = 0; j < grouping->aggregate_count; j++)
            buf_release(&grouping->groups[i]->totals[j].elements);
    }
    grouping->group_count = 0;
}

static sombra_err group_reset(struct operator* op)
{
    struct grouping *grouping = container_of(op, struct grouping, op);
    drop_elements(grouping);
    run_refund(op->run, grouping->arena.bytes_total + grouping->charged);
    arena_release(&grouping->arena);
    grouping->charged = 0;
    if (grouping->slots)
        memset(grouping->slots, 0, grouping->slot_count * sizeof *grouping->slots);
    grouping->is_read = false;
    grouping->at = 0;
    return SOMBRA_OK;
}

static void group_free(struct operator* op)
{
    struct grouping *grouping = container_of(op, struct grouping, op);
    drop_elements(grouping);
    columns_release(&grouping->columns);
    arena_release(&grouping->arena);
    buf_release(&grouping->key);
    buf_release(&grouping->bytes);
    mem_free(grouping->groups);
    mem_free(grouping->slots);
    sombra_value_builder_free(grouping->builder);
}

static const struct operator_ops group_ops = {
    .name = "group", .next = group_next, .reset = group_reset, .free = group_free
};

sombra_err group_step_new(struct plan *plan, const struct step *step)
{
    struct grouping *grouping;
    struct query_run *run = plan->run;
    const sombra_row_kind from = plan->last->kind;
    const size_t columns = step->as.columns.count, aggregates = step->as.columns.aggregate_count;
    sombra_err err =
        operator_make(plan, &group_ops, sizeof *grouping, SOMBRA_ROW_RECORD, plan->last, &grouping);
    if (err)
        return err;
    plan->last = &grouping->op;
    const size_t most = columns + aggregates;
    struct column *items = arena_alloc(&run->arena, most * sizeof *items);
    grouping->values = arena_alloc(&run->arena, most * sizeof *grouping->values);
    grouping->places = arena_alloc(&run->arena, most * sizeof *grouping->places);
    grouping->input = batch_new(run);
    if (!items || !grouping->values || !grouping->places || !grouping->input)
        return diag_nomem("groups", most * sizeof *items);
    grouping->aggregates = step->as.columns.aggregates;
    grouping->column_count = columns;
    grouping->aggregate_count = aggregates;
    size_t count = columns;
    if (columns)
        memcpy(items, step->as.columns.items, columns * sizeof *items);
    for (size_t i = 0; i < aggregates; i++) {
        grouping->places[i] = count;
        if (grouping->aggregates[i].has_column)
            items[count++] = grouping->aggregates[i].column;
    }
    err = columns_init(&grouping->columns, run, from, items, count);
    return err ? err : sombra_value_builder_new(&grouping->builder);
}
