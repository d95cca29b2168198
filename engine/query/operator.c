/* SPDX-License-Identifier: MIT */
/* What all operators do alike: being made, asked, counted, reset, freed. */
#include "plan_internal.h"

#include <stdio.h>

#include <stdarg.h>

sombra_err operator_make(struct plan *plan, const struct operator_ops *ops, size_t bytes,
                         sombra_row_kind kind, struct operator* input, void *out_operator)
{
    assert(bytes >= sizeof(struct operator));
    struct operator* op = arena_alloc(plan->run->planned, bytes);
    if (!op)
        return diag_nomem("an operator", bytes);
    memset(op, 0, bytes);
    op->ops = ops;
    op->run = plan->run;
    op->kind = kind;
    if (input)
        op->inputs[op->input_count++] = input;
    op->made_before = plan->newest;
    plan->newest = op;
    memcpy(out_operator, &op, sizeof op);
    return SOMBRA_OK;
}

struct row_batch *batch_new(struct query_run *run)
{
    struct row_batch *batch = arena_alloc(&run->arena, sizeof *batch);
    if (!batch) {
        (void)diag_nomem("a batch of rows", sizeof *batch);
        return NULL;
    }
    batch->count = 0;
    batch->is_last = false;
    return batch;
}

void operator_describe(struct operator* op, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(op->detail, sizeof op->detail, format, arguments);
    va_end(arguments);
}

sombra_err operator_explain(struct operator* op)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < op->input_count; i++)
        err = operator_explain(op->inputs[i]);
    for (size_t i = 0; !err && i < op->body_count; i++)
        err = operator_explain(op->bodies[i]);
    if (!err && op->ops->describe)
        err = op->ops->describe(op);
    else if (!err && op->input_count && op->estimate == 0)
        op->estimate = op->inputs[0]->estimate;
    return err;
}

static sombra_err next_profiled(struct operator* op, struct row_batch *out)
{
    struct query_run *run = op->run;
    uint64_t began_ns = run->environment.now_ns();
    uint64_t pages = run->txn->kv->pages;
    sombra_err err = op->ops->next(op, out);
    op->pages += run->txn->kv->pages - pages;
    op->time_ns += run->environment.now_ns() - began_ns;
    if (!err)
        op->rows += out->count;
    return err;
}

sombra_err operator_next(struct operator* op, struct row_batch *out)
{
    sombra_err err = run_tick(op->run);
    op->is_started = true;
    out->count = 0;
    out->is_last = false;
    if (err)
        return err;
    err = UNLIKELY(op->run->options.profiles) ? next_profiled(op, out) : op->ops->next(op, out);
    assert(err || out->count <= QUERY_BATCH);
    return err;
}

sombra_err operator_count(struct operator* op, uint64_t *out_count)
{
    uint64_t count = 0;
    if (op->ops->count && !op->is_started) {
        op->is_started = true;
        return op->ops->count(op, out_count);
    }
    struct row_batch *batch = batch_new(op->run);
    if (!batch)
        return SOMBRA_NOMEM;
    for (;;) {
        sombra_err err = operator_next(op, batch);
        if (err)
            return err;
        if (batch->count == 0)
            break;
        count += batch->count;
    }
    *out_count = count;
    return SOMBRA_OK;
}

sombra_err operator_reset(struct operator* op)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < op->input_count; i++)
        err = operator_reset(op->inputs[i]);
    op->is_started = false;
    assert(op->ops->reset);
    return err ? err : op->ops->reset(op);
}
