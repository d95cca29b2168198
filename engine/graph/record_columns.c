/* SPDX-License-Identifier: MIT */
/* Records of a batch whose properties are given by columns: the names are looked up once, and of a
 * record that has all of them and is short the head is known. */
#include "graph_internal.h"

#include <stdlib.h>

/* An empty slice, or a null. */
static bool is_missing(sombra_slice encoded)
{
    return encoded.bytes == 0 || *(const uint8_t *)encoded.data == VALUE_NULL;
}

static bool has_value(const sombra_column *column, size_t row)
{
    return column->kind != SOMBRA_COLUMN_ENCODED || !is_missing(column->as.encoded[row]);
}

/* No more than so many bytes. */
static size_t value_bytes_max(const sombra_column *column, size_t row)
{
    switch (column->kind) {
    case SOMBRA_COLUMN_STRING:
        return value_string_bytes(column->as.strings[row].bytes);
    case SOMBRA_COLUMN_ENCODED:
        return column->as.encoded[row].bytes;
    case SOMBRA_COLUMN_BOOLEAN:
    case SOMBRA_COLUMN_INTEGER:
    case SOMBRA_COLUMN_FLOAT:
        break;
    }
    return VALUE_NUMBER_BYTES_MAX;
}

/* Returns where the next one goes. */
static uint8_t *value_put(const sombra_column *column, size_t row, uint8_t *to)
{
    switch (column->kind) {
    case SOMBRA_COLUMN_BOOLEAN:
        *to = column->as.booleans[row] ? VALUE_TRUE : VALUE_FALSE;
        return to + 1;
    case SOMBRA_COLUMN_INTEGER:
        return to + value_put_integer(to, column->as.integers[row]);
    case SOMBRA_COLUMN_FLOAT:
        return to + value_put_float(to, column->as.floats[row]);
    case SOMBRA_COLUMN_STRING:
        return to + value_put_string(to, column->as.strings[row]);
    case SOMBRA_COLUMN_ENCODED:
        break;
    }
    const sombra_slice encoded = column->as.encoded[row];
    memcpy(to, encoded.data, encoded.bytes);
    return to + encoded.bytes;
}

/* ---- the set ----------------------------------------------------------------------------- */

/* What the values of a column take. */
struct column_size {
    bool is_used;     /* some row has one */
    size_t bytes_max; /* none takes more */
    size_t bytes_all; /* together, about */
};

static sombra_err column_check(const sombra_column *column, size_t count,
                               struct column_size *out_size)
{
    bool is_used = false;
    size_t longest = 0, all = 0; /* of strings and encoded values */
    if (column->kind > SOMBRA_COLUMN_STRING)
        return diag_fail(SOMBRA_INVALID, "%d is no kind of column", (int)column->kind);
    if (!column->as.encoded && count)
        return diag_fail(SOMBRA_INVALID, "there are no values");
    if (column->kind == SOMBRA_COLUMN_STRING) {
        for (size_t row = 0; row < count; row++) {
            longest = size_max(longest, column->as.strings[row].bytes);
            all += column->as.strings[row].bytes;
        }
        if (longest > SOMBRA_VALUE_BYTES_MAX)
            return diag_fail(SOMBRA_LIMIT, "value: longer than %d bytes", SOMBRA_VALUE_BYTES_MAX);
        *out_size = (struct column_size){ count > 0, value_string_bytes(longest), all };
        return SOMBRA_OK;
    }
    if (column->kind != SOMBRA_COLUMN_ENCODED) {
        *out_size = (struct column_size){ count > 0, VALUE_NUMBER_BYTES_MAX, count };
        return SOMBRA_OK;
    }
    for (size_t row = 0; row < count; row++) {
        const sombra_slice encoded = column->as.encoded[row];
        is_used = is_used || !is_missing(encoded);
        longest = size_max(longest, encoded.bytes);
        all += encoded.bytes;
        if (encoded.bytes && sombra_value_validate(encoded))
            return diag_fail(SOMBRA_INVALID, "number %zu: %s", row + 1, diag_text());
    }
    *out_size = (struct column_size){ is_used, longest, all };
    return SOMBRA_OK;
}

static int column_order(const void *a, const void *b)
{
    uint32_t left = ((const struct record_column *)a)->name;
    uint32_t right = ((const struct record_column *)b)->name;
    return (left > right) - (left < right);
}

/* Names are made when all columns are known to be sound. */
static sombra_err columns_intern(struct graph_txn *txn, struct record_columns *columns)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < columns->count; i++)
        err = graph_name_intern(txn, SOMBRA_NAME_PROPERTY, columns->at[i].column->name,
                                &columns->at[i].name);
    if (!err && columns->count)
        qsort(columns->at, columns->count, sizeof *columns->at, column_order);
    txn->property_count = 0;
    for (size_t i = 0; !err && i < columns->count; i++) {
        const struct record_column *at = &columns->at[i];
        const struct graph_property property = { .name = at->name };
        if (i && at[-1].name == at->name)
            err = diag_fail(SOMBRA_INVALID, "two columns have the name \"%.*s\"",
                            (int)size_min(at->column->name.bytes, 64),
                            (const char *)at->column->name.data);
        else
            err = record_property_add(txn, &property);
    }
    if (err)
        return err;
    columns->head_bytes = record_head(txn, columns->head);
    columns->are_whole = columns->head_bytes > 0 && columns->bytes_max <= COMPACT_BYTES_MAX;
    for (size_t i = 0; i < columns->count; i++)
        columns->are_whole &= columns->at[i].column->kind != SOMBRA_COLUMN_ENCODED;
    return SOMBRA_OK;
}

sombra_err record_columns_init(struct record_columns *columns, struct graph_txn *txn,
                               const sombra_columns *given)
{
    *columns = (struct record_columns){ .bytes_max = VARINT_BYTES_MAX };
    columns->at = mem_alloc((given->column_count + 1) * sizeof *columns->at);
    if (!columns->at)
        return diag_nomem("columns", given->column_count * sizeof *columns->at);
    for (size_t i = 0; i < given->column_count; i++) {
        const sombra_column *column = &given->columns[i];
        struct column_size size = { 0 };
        sombra_err err = column_check(column, given->count, &size);
        if (err)
            return diag_wrap(err, "column \"%.*s\"", (int)size_min(column->name.bytes, 64),
                             (const char *)column->name.data);
        if (!size.is_used)
            continue;
        columns->at[columns->count++] = (struct record_column){ .column = column };
        columns->bytes_max += 2 * VARINT_BYTES_MAX + size.bytes_max; /* name, length, value */
        columns->bytes_all += size.bytes_all;
    }
    return columns_intern(txn, columns);
}

void record_columns_release(struct record_columns *columns)
{
    mem_free(columns->at);
    buf_release(&columns->values);
}

/* ---- records ----------------------------------------------------------------------------- */

/* Some are missing, or the record is long. */
static sombra_err append_any(struct graph_txn *txn, struct record_columns *columns, size_t row,
                             size_t bytes_max)
{
    txn->property_count = 0;
    buf_reset(&columns->values);
    sombra_err err = buf_reserve(&columns->values, bytes_max);
    uint8_t *to = columns->values.data;
    for (size_t i = 0; !err && i < columns->count; i++) {
        const struct record_column *at = &columns->at[i];
        if (!has_value(at->column, row))
            continue;
        uint8_t *end = value_put(at->column, row, to);
        struct graph_property property = { .name = at->name,
                                           .value = slice_of(to, (size_t)(end - to)) };
        err = record_property_add(txn, &property);
        to = end;
    }
    return err ? err : record_append_properties(txn);
}

/* Does the row have all properties, and is it short? *out_bytes_max: no more than so many. */
static bool row_is_whole(const struct record_columns *columns, size_t row, size_t *out_bytes_max)
{
    *out_bytes_max = columns->bytes_max;
    if (columns->are_whole)
        return true;
    size_t bytes_max = columns->head_bytes;
    bool has_all = columns->head_bytes > 0;
    for (size_t i = 0; i < columns->count; i++) {
        const sombra_column *column = columns->at[i].column;
        has_all = has_all && has_value(column, row);
        bytes_max += value_bytes_max(column, row);
    }
    *out_bytes_max = bytes_max;
    return has_all && bytes_max <= COMPACT_BYTES_MAX;
}

/* All properties of a row. Returns their end. */
static uint8_t *row_put(const struct record_columns *columns, size_t row, uint8_t *to)
{
    memcpy(to, columns->head, columns->head_bytes);
    to += columns->head_bytes;
    for (size_t i = 0; i < columns->count; i++)
        to = value_put(columns->at[i].column, row, to);
    return to;
}

sombra_err record_columns_append(struct graph_txn *txn, struct record_columns *columns, size_t row)
{
    struct buf *record = &txn->record;
    size_t bytes_max;
    if (!row_is_whole(columns, row, &bytes_max))
        return append_any(txn, columns, row, bytes_max);
    sombra_err err = buf_reserve(record, bytes_max);
    if (!err)
        record->bytes =
            (size_t)(row_put(columns, row, record->data + record->bytes) - record->data);
    return err;
}

sombra_err record_columns_write(struct graph_txn *txn, struct record_columns *columns, size_t row,
                                size_t label_bytes, uint8_t *to, uint8_t **out_end)
{
    struct buf *record = &txn->record;
    size_t bytes_max;
    assert(label_bytes <= record->bytes);
    record->bytes = label_bytes;
    if (!row_is_whole(columns, row, &bytes_max)) {
        sombra_err err = append_any(txn, columns, row, bytes_max);
        assert(err || record->bytes - label_bytes <= columns->bytes_max);
        if (!err && record->bytes)
            memcpy(to, record->data, record->bytes);
        *out_end = to + (err ? 0 : record->bytes);
        return err;
    }
    for (size_t i = 0; i < label_bytes; i++) /* two, most often */
        to[i] = record->data[i];
    *out_end = row_put(columns, row, to + label_bytes);
    return SOMBRA_OK;
}

const sombra_column *record_columns_find(const struct record_columns *columns, uint32_t name)
{
    size_t at = 0;
    while (at < columns->count && columns->at[at].name < name)
        at++;
    return at < columns->count && columns->at[at].name == name ? columns->at[at].column : NULL;
}

sombra_err record_columns_value(const struct record_columns *columns, uint32_t name, size_t row,
                                sombra_value *out_value, bool *out_has)
{
    const sombra_column *column = record_columns_find(columns, name);
    *out_has = column && has_value(column, row);
    if (!*out_has)
        return SOMBRA_OK;
    *out_value = (sombra_value){ .kind = SOMBRA_BOOLEAN };
    switch (column->kind) {
    case SOMBRA_COLUMN_BOOLEAN:
        out_value->as.boolean = column->as.booleans[row];
        break;
    case SOMBRA_COLUMN_INTEGER:
        out_value->kind = SOMBRA_INTEGER;
        out_value->as.integer = column->as.integers[row];
        break;
    case SOMBRA_COLUMN_FLOAT:
        out_value->kind = SOMBRA_FLOAT;
        out_value->as.real = column->as.floats[row];
        break;
    case SOMBRA_COLUMN_STRING:
        out_value->kind = SOMBRA_STRING;
        out_value->as.string = column->as.strings[row];
        break;
    case SOMBRA_COLUMN_ENCODED:
        return sombra_value_decode(column->as.encoded[row], out_value);
    }
    return SOMBRA_OK;
}
