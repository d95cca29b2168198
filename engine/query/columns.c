/* SPDX-License-Identifier: MIT */
/* Values of rows: properties, and what stands for the row's own. */
#include "plan_internal.h"

sombra_err columns_init(struct columns *columns, struct query_run *run, sombra_row_kind kind,
                        const struct column *items, size_t count)
{
    columns->run = run;
    columns->kind = kind;
    columns->items = items;
    columns->count = count;
    columns->needs_record = columns->needs_builder = false;
    columns->records = NULL;
    for (size_t i = 0; i < count; i++) {
        bool is_own = kind != SOMBRA_ROW_RECORD && items[i].kind != COLUMN_PROPERTY;
        columns->needs_builder |= is_own;
        columns->needs_record |= kind != SOMBRA_ROW_RECORD && (items[i].kind == COLUMN_PROPERTY ||
                                                               items[i].kind == COLUMN_LABELS);
    }
    columns->ends = arena_alloc(&run->arena, count * sizeof *columns->ends);
    if (!columns->ends)
        return diag_nomem("columns", count * sizeof *columns->ends);
    return columns->needs_builder ? sombra_value_builder_new(&columns->builder) : SOMBRA_OK;
}

void columns_release(struct columns *columns)
{
    sombra_value_builder_free(columns->builder);
    buf_release(&columns->own);
    if (columns->records)
        row_records_release(columns->records);
}

sombra_err columns_begin(struct columns *columns, const struct row_batch *batch)
{
    if (columns->kind != SOMBRA_ROW_NODE || !columns->needs_record)
        return SOMBRA_OK;
    if (!columns->records) {
        columns->records = arena_alloc(&columns->run->arena, sizeof *columns->records);
        if (!columns->records)
            return diag_nomem("records of rows", sizeof *columns->records);
        *columns->records = (struct row_records){ .rows = NULL };
    }
    row_records_begin(columns->records, batch->rows, batch->count);
    return SOMBRA_OK;
}

static sombra_err push_name(struct columns *columns, sombra_name_kind kind, uint32_t id)
{
    sombra_name name;
    sombra_err err = graph_name_by_id(columns->run->txn, kind, id, &name);
    if (err)
        return err;
    return sombra_value_push_string(columns->builder, name.text.data, name.text.bytes);
}

static sombra_err push_labels(struct columns *columns, const sombra_record *record)
{
    sombra_record walk = *record;
    uint32_t label = 0;
    bool found = true;
    sombra_err err = sombra_value_begin_list(columns->builder);
    while (!err && found) {
        err = graph_record_next_label(&walk, &label, &found);
        if (!err && found)
            err = push_name(columns, SOMBRA_NAME_LABEL, label);
    }
    return err ? err : sombra_value_end_list(columns->builder);
}

/* What is not a property, appended to `own`. */
static sombra_err read_own(struct columns *columns, enum column_kind kind, const struct row *row,
                           const sombra_record *record)
{
    sombra_slice encoded;
    sombra_err err;
    sombra_value_builder *builder = columns->builder;
    sombra_value_builder_reset(builder);
    switch (kind) {
    case COLUMN_LABELS:
        err = push_labels(columns, record);
        break;
    case COLUMN_TYPE:
        err = push_name(columns, SOMBRA_NAME_TYPE, row->type);
        break;
    case COLUMN_SOURCE:
        err = sombra_value_push_integer(builder, (int64_t)row->src);
        break;
    case COLUMN_TARGET:
        err = sombra_value_push_integer(builder, (int64_t)row->dst);
        break;
    case COLUMN_DEPTH:
        err = sombra_value_push_integer(builder, row->depth);
        break;
    default:
        err = sombra_value_push_integer(builder, (int64_t)row->id);
        break;
    }
    if (!err)
        err = sombra_value_finish(builder, &encoded);
    return err ? err : buf_append_slice(&columns->own, encoded);
}

static sombra_err read_record(struct columns *columns, const struct row *row,
                              sombra_record *out_record, bool *out_exists)
{
    struct graph_txn *txn = columns->run->txn;
    struct graph_edge edge;
    sombra_err err;
    if (columns->records)
        return row_records_get(columns->records, columns->run, row, out_record, out_exists);
    if (columns->kind == SOMBRA_ROW_NODE) {
        err = graph_node_get(txn, row->id, out_record);
    } else {
        err = graph_edge_ends(txn, row->id, &edge);
        if (!err)
            err = graph_edge_record(txn, &edge, out_record);
    }
    *out_exists = !err;
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

/* Members of a record, in one pass over it. */
static sombra_err read_members(const struct columns *columns, sombra_slice encoded,
                               sombra_slice *out_values)
{
    sombra_value map;
    sombra_value_cursor cursor;
    sombra_err err = sombra_value_decode(encoded, &map);
    if (err)
        return err;
    sombra_value_enter(&map, &cursor);
    for (;;) {
        sombra_slice key = { NULL, 0 }, value;
        bool found = false;
        err = value_next_encoded(&cursor, &key, &value, &found);
        if (err || !found)
            return err;
        for (size_t i = 0; i < columns->count; i++) {
            if (slice_equal(columns->items[i].name, key))
                out_values[i] = value;
        }
    }
}

sombra_err columns_read(struct columns *columns, const struct row *row, sombra_slice *out_values)
{
    sombra_record record;
    bool exists = true;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < columns->count; i++)
        out_values[i] = slice_of(NULL, 0);
    if (columns->kind == SOMBRA_ROW_RECORD)
        return read_members(columns, row->value, out_values);
    if (columns->needs_record)
        err = read_record(columns, row, &record, &exists);
    buf_reset(&columns->own);
    for (size_t i = 0; !err && exists && i < columns->count; i++) {
        const struct column *column = &columns->items[i];
        if (column->kind != COLUMN_PROPERTY)
            err = read_own(columns, column->kind, row, &record);
        else if (column->property)
            err = graph_record_find(&record, column->property, &out_values[i]);
        if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK;
        columns->ends[i] = columns->own.bytes;
    }
    for (size_t i = 0; !err && exists && i < columns->count; i++) { /* `own` moves no more */
        size_t begin = i ? columns->ends[i - 1] : 0;
        if (columns->ends[i] > begin)
            out_values[i] = slice_of(columns->own.data + begin, columns->ends[i] - begin);
    }
    return err;
}
