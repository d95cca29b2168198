/* SPDX-License-Identifier: MIT */
/* What all searches need: arrays, rows with values, operators, options. */
#include "search_internal.h"

/* ---- arrays ------------------------------------------------------------------------------ */

/* Pointers go through memcpy, because `array` may be the address of a pointer of any type. */
sombra_err run_room_slow(struct query_run *run, void *array, size_t *capacity, size_t item_bytes,
                         const char *what)
{
    void *memory;
    memcpy(&memory, array, sizeof memory);
    if (*capacity >= UINT32_MAX / 2)
        return diag_fail(SOMBRA_LIMIT, "a search of more than %zu steps", *capacity);
    sombra_err err = run_grow(run, &memory, capacity, item_bytes, what);
    memcpy(array, &memory, sizeof memory);
    return err;
}

void run_free(struct query_run *run, void *array, size_t *capacity, size_t item_bytes)
{
    void *memory, *none = NULL;
    memcpy(&memory, array, sizeof memory);
    run_refund(run, *capacity * item_bytes);
    mem_free(memory);
    memcpy(array, &none, sizeof none);
    *capacity = 0;
}

/* ---- rows -------------------------------------------------------------------------------- */

sombra_err row_values_init(struct row_values *values, struct query_run *run)
{
    *values = (struct row_values){ .bytes = BUF_INIT, .batch_max = 1 };
    sombra_err err = run->values ? SOMBRA_OK : sombra_value_builder_new(&run->values);
    values->builder = run->values;
    return err;
}

void row_values_release(struct row_values *values)
{
    buf_release(&values->bytes);
}

void row_values_begin(struct row_values *values, struct row_batch *batch)
{
    batch->count = 0;
    buf_reset(&values->bytes);
    sombra_value_builder_reset(values->builder);
}

sombra_err row_values_add(struct row_values *values, struct row_batch *batch, const struct row *row)
{
    sombra_slice encoded;
    assert(batch->count < QUERY_BATCH);
    sombra_err err = sombra_value_finish(values->builder, &encoded);
    if (!err)
        err = buf_append_slice(&values->bytes, encoded);
    if (err)
        return err;
    sombra_value_builder_reset(values->builder);
    struct row *to = &batch->rows[batch->count++];
    *to = *row;
    to->value = slice_of(NULL, encoded.bytes);
    return SOMBRA_OK;
}

void row_values_end(struct row_values *values, struct row_batch *batch)
{
    const uint8_t *at = values->bytes.data;
    for (size_t i = 0; i < batch->count; i++) {
        batch->rows[i].value.data = at;
        at += batch->rows[i].value.bytes;
    }
    values->batch_max = size_min(values->batch_max * 2, QUERY_BATCH);
}

/* ---- operators --------------------------------------------------------------------------- */

sombra_err search_operator_new(struct query_run *run, const struct operator_ops *ops, size_t bytes,
                               sombra_row_kind kind, void *out_operator)
{
    sombra_err err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    struct operator* op = arena_alloc(&run->arena, bytes);
    if (!op) {
        run_refund(run, bytes);
        return diag_nomem("an operator", bytes);
    }
    memset(op, 0, bytes);
    op->ops = ops;
    op->run = run;
    op->kind = kind;
    memcpy(out_operator, &op, sizeof op);
    return SOMBRA_OK;
}

void search_operator_free(struct operator* op, size_t bytes)
{
    run_refund(op->run, bytes);
}

/* ---- options ----------------------------------------------------------------------------- */

sombra_err id_list_add(struct query_run *run, struct id_list *ids, uint64_t id)
{
    sombra_err err =
        run_room(run, &ids->items, ids->count, &ids->capacity, sizeof *ids->items, "ids");
    if (!err)
        ids->items[ids->count++] = id;
    return err;
}

void id_list_release(struct query_run *run, struct id_list *ids)
{
    run_free(run, &ids->items, &ids->capacity, sizeof *ids->items);
    ids->count = 0;
}

static sombra_err add_id(struct query_run *run, const char *name, const sombra_value *value,
                         struct id_list *ids)
{
    if (value->kind != SOMBRA_INTEGER || value->as.integer <= 0)
        return diag_fail(SOMBRA_INVALID, "option '%s' takes the id of a node, or a list of ids",
                         name);
    return id_list_add(run, ids, (uint64_t)value->as.integer);
}

sombra_err option_ids(struct query_run *run, const sombra_value *options, const char *name,
                      struct id_list *out_ids, bool *out_found)
{
    sombra_value value;
    sombra_value_cursor cursor;
    struct id_list ids = { .items = NULL };
    sombra_err err = options->kind == SOMBRA_MAP
                         ? sombra_value_member(options, slice_str(name), &value)
                         : SOMBRA_NOT_FOUND;
    *out_found = !err && value.kind != SOMBRA_NULL;
    if (!*out_found)
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    if (value.kind != SOMBRA_LIST && !(value.kind == SOMBRA_MAP && value.count == 0)) {
        err = add_id(run, name, &value, &ids);
    } else {
        sombra_value_enter(&value, &cursor);
        while (!err) {
            bool found = false;
            err = sombra_value_next(&cursor, NULL, &value, &found);
            if (err || !found)
                break;
            err = add_id(run, name, &value, &ids);
        }
    }
    if (err) {
        id_list_release(run, &ids);
        return err;
    }
    *out_ids = ids;
    return SOMBRA_OK;
}

sombra_err option_number(const sombra_value *options, const char *name, double *out_number)
{
    sombra_value value;
    sombra_err err = options->kind == SOMBRA_MAP
                         ? sombra_value_member(options, slice_str(name), &value)
                         : SOMBRA_NOT_FOUND;
    if (err || value.kind == SOMBRA_NULL)
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    if (value.kind != SOMBRA_INTEGER && value.kind != SOMBRA_FLOAT)
        return diag_fail(SOMBRA_INVALID, "option '%s' is a %s; give a number", name,
                         sombra_kind_name(value.kind));
    double number = value.kind == SOMBRA_INTEGER ? (double)value.as.integer : value.as.real;
    if (!(number - number == 0))
        return diag_fail(SOMBRA_INVALID, "option '%s' is not a finite number", name);
    *out_number = number;
    return SOMBRA_OK;
}
