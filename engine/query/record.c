/* SPDX-License-Identifier: MIT */
/* select: rows become records. */
#include "plan_internal.h"

struct select {
    struct operator op;
    struct columns columns;
    sombra_slice *values; /* of one row */
    sombra_value_builder *builder;
    struct buf bytes; /* of the batch's records */
};

static sombra_err make_record(struct select *select, const struct row *row)
{
    enum { COLUMNS_OF_TICK = 16 };
    sombra_slice encoded;
    sombra_err err =
        run_ticks(select->op.run, (uint32_t)(1 + select->columns.count / COLUMNS_OF_TICK));
    if (!err)
        err = columns_read(&select->columns, row, select->values);
    if (err)
        return err;
    sombra_value_builder_reset(select->builder);
    (void)sombra_value_begin_map(select->builder);
    for (size_t i = 0; i < select->columns.count; i++) {
        sombra_slice as = select->columns.items[i].as;
        if (select->values[i].bytes == 0)
            continue;
        (void)sombra_value_push_key(select->builder, as.data, as.bytes);
        (void)sombra_value_push_encoded(select->builder, select->values[i]);
    }
    (void)sombra_value_end_map(select->builder);
    err = sombra_value_finish(select->builder, &encoded); /* failures of the pushes stick */
    return err ? err : buf_append_slice(&select->bytes, encoded);
}

static sombra_err select_next(struct operator* op, struct row_batch *out)
{
    struct select *select = container_of(op, struct select, op);
    size_t ends[QUERY_BATCH];
    sombra_err err = operator_next(op->inputs[0], out);
    buf_reset(&select->bytes);
    if (!err)
        err = columns_begin(&select->columns, out);
    for (size_t i = 0; !err && i < out->count; i++) {
        err = make_record(select, &out->rows[i]);
        ends[i] = select->bytes.bytes;
    }
    for (size_t i = 0; !err && i < out->count; i++) { /* now that the buffer moves no more */
        size_t begin = i ? ends[i - 1] : 0;
        out->rows[i].value = slice_of(select->bytes.data + begin, ends[i] - begin);
    }
    return err;
}

static sombra_err select_count(struct operator* op, uint64_t *out_count)
{
    return operator_count(op->inputs[0], out_count);
}

static sombra_err select_reset(struct operator* op)
{
    (void)op;
    return SOMBRA_OK;
}

static void select_free(struct operator* op)
{
    struct select *select = container_of(op, struct select, op);
    columns_release(&select->columns);
    sombra_value_builder_free(select->builder);
    buf_release(&select->bytes);
}

static const struct operator_ops select_ops = { .name = "select",
                                                .next = select_next,
                                                .count = select_count,
                                                .reset = select_reset,
                                                .free = select_free };

sombra_err select_new(struct plan *plan, const struct step *step)
{
    struct select *select;
    const size_t count = step->as.columns.count;
    sombra_err err =
        operator_make(plan, &select_ops, sizeof *select, SOMBRA_ROW_RECORD, plan->last, &select);
    if (err)
        return err;
    const sombra_row_kind from = plan->last->kind;
    plan->last = &select->op;
    select->values = arena_alloc(&plan->run->arena, count * sizeof *select->values);
    if (!select->values)
        return diag_nomem("columns", count * sizeof *select->values);
    err = columns_init(&select->columns, plan->run, from, step->as.columns.items, count);
    return err ? err : sombra_value_builder_new(&select->builder);
}
