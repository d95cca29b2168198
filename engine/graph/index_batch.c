/* SPDX-License-Identifier: MIT */
/* Many entries of one index, put in the order of their keys, so that the store writes page after
 * page instead of looking each one up. */
#include "index_internal.h"

#include <stdlib.h>

struct index_item {
    uint64_t id;
    uint64_t front; /* when all are collected: the first 8 bytes of the values, as a number, where
                     * most comparisons end */
    union {
        const uint8_t *values;
        size_t at; /* while they are collected: the bytes still move */
    };
    uint32_t bytes;
    bool is_complete;
};
static_assert(sizeof(struct index_item) == 32, "there are as many as new members");

/* As many bytes as there are, zeros behind them. */
static uint64_t front_of(const uint8_t *values, size_t bytes)
{
    uint64_t front = 0;
    if (bytes >= 8)
        return get_be64(values);
    for (size_t i = 0; i < bytes; i++)
        front |= (uint64_t)values[i] << (56 - 8 * i);
    return front;
}

static sombra_err items_grow(struct index_batch *batch, size_t capacity)
{
    const size_t bytes = sizeof *batch->items;
    struct index_item *grown = mem_grow(batch->items, batch->capacity * bytes, capacity * bytes);
    if (!grown)
        return diag_nomem("entries of an index", capacity * bytes);
    batch->items = grown;
    batch->capacity = capacity;
    return SOMBRA_OK;
}

sombra_err index_batch_reserve(struct index_batch *batch, size_t count)
{
    enum { COUNT_MAX = 1 << 24 };
    count = size_min(count, COUNT_MAX);
    return count > batch->capacity ? items_grow(batch, count) : SOMBRA_OK;
}

/* The values of the item stand behind `at`; those of one that is outside are taken back. */
static sombra_err item_add(struct index_batch *batch, uint64_t id, size_t at,
                           enum index_membership membership)
{
    if (membership == INDEX_OUTSIDE) {
        batch->values.bytes = at;
        return SOMBRA_OK;
    }
    if (UNLIKELY(batch->count == batch->capacity)) {
        sombra_err err = items_grow(batch, size_max(256, batch->capacity * 2));
        if (err)
            return err;
    }
    size_t bytes = batch->values.bytes - at;
    assert(bytes <= UINT32_MAX); /* a record has 1 GiB at most, and its strings double at worst */
    batch->items[batch->count++] = (struct index_item){
        .id = id, .at = at, .bytes = (uint32_t)bytes, .is_complete = membership == INDEX_COMPLETE
    };
    return SOMBRA_OK;
}

sombra_err index_batch_add(struct index_batch *batch, uint64_t id, const sombra_record *record)
{
    enum index_membership membership;
    size_t at = batch->values.bytes;
    sombra_err err = index_append_values(batch->rule, record, &batch->values, &membership);
    return err ? err : item_add(batch, id, at, membership);
}

sombra_err index_batch_add_row(struct index_batch *batch, uint64_t id,
                               const struct record_columns *columns, size_t row)
{
    const struct graph_rule *rule = batch->rule;
    enum index_membership membership = INDEX_COMPLETE;
    size_t at = batch->values.bytes;
    for (size_t i = 0; i < rule->property_count && membership != INDEX_OUTSIDE; i++) {
        sombra_value value;
        bool has = false;
        sombra_err err = record_columns_value(columns, rule->properties[i], row, &value, &has);
        if (!err && has) {
            err = index_append_value(&batch->values, &value);
        } else if (!err) {
            membership = i == 0 ? INDEX_OUTSIDE : INDEX_PARTIAL;
            err = buf_append_u8(&batch->values, INDEX_MISSING);
        }
        if (err)
            return err;
    }
    return item_add(batch, id, at, membership);
}

/* ---- columns ------------------------------------------------------------------------------- */

/* The entries of an index over one property that each row has: no kind is asked for, and no item is
 * refused, row by row. */
static sombra_err fill_strings(struct index_batch *batch, uint64_t first,
                               const sombra_slice *strings, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += strings[i].bytes + 3;
    sombra_err err = buf_reserve(&batch->values, bytes);
    for (size_t i = 0; !err && i < count; i++) {
        size_t at = batch->values.bytes;
        err = index_append_string(&batch->values, strings[i]);
        batch->items[i] = (struct index_item){ .id = first + i,
                                               .at = at,
                                               .bytes = (uint32_t)(batch->values.bytes - at),
                                               .is_complete = true };
    }
    return err;
}

static sombra_err fill_integers(struct index_batch *batch, uint64_t first, const int64_t *integers,
                                size_t count)
{
    sombra_err err = buf_reserve(&batch->values, count * INDEX_NUMBER_BYTES_MAX);
    if (err)
        return err;
    uint8_t *to = batch->values.data + batch->values.bytes;
    for (size_t i = 0; i < count; i++) {
        uint8_t *end = index_put_integer(to, integers[i]);
        batch->items[i] = (struct index_item){ .id = first + i,
                                               .at = (size_t)(to - batch->values.data),
                                               .bytes = (uint32_t)(end - to),
                                               .is_complete = true };
        to = end;
    }
    batch->values.bytes = (size_t)(to - batch->values.data);
    return SOMBRA_OK;
}

sombra_err index_batch_fill(struct index_batch *batch, uint64_t first,
                            const struct record_columns *columns, size_t count)
{
    const struct graph_rule *rule = batch->rule;
    const sombra_column *column =
        rule->property_count == 1 ? record_columns_find(columns, rule->properties[0]) : NULL;
    assert(batch->count == 0 && batch->values.bytes == 0);
    sombra_err err = index_batch_reserve(batch, count);
    if (err)
        return err;
    if (column && batch->capacity >= count && column->kind == SOMBRA_COLUMN_STRING)
        err = fill_strings(batch, first, column->as.strings, count);
    else if (column && batch->capacity >= count && column->kind == SOMBRA_COLUMN_INTEGER)
        err = fill_integers(batch, first, column->as.integers, count);
    else
        column = NULL;
    if (column && !err)
        batch->count = count;
    for (size_t i = 0; !column && !err && i < count; i++)
        err = index_batch_add_row(batch, first + i, columns, i);
    return err;
}

void index_batch_take_memory(struct index_batch *batch, struct index_batch *done)
{
    if (batch->items || done->count > 0)
        return;
    batch->items = done->items;
    batch->capacity = done->capacity;
    batch->values = done->values;
    buf_reset(&batch->values);
    done->items = NULL;
    done->capacity = 0;
    done->values = (struct buf)BUF_INIT;
}

/* ---- their order --------------------------------------------------------------------------- */

static sombra_slice item_values(const struct index_item *item)
{
    return slice_of(item->values, item->bytes);
}

static int item_order(const void *a, const void *b)
{
    const struct index_item *left = a, *right = b;
    if (left->front != right->front)
        return left->front < right->front ? -1 : 1;
    int order = slice_compare(item_values(left), item_values(right));
    return order ? order : (left->id > right->id) - (left->id < right->id);
}

/* They often come in order. */
static void items_sort(struct index_batch *batch)
{
    for (size_t i = 1; i < batch->count; i++) {
        if (item_order(&batch->items[i - 1], &batch->items[i]) > 0) {
            qsort(batch->items, batch->count, sizeof *batch->items, item_order);
            return;
        }
    }
}

/* Where the search for one item ended: its key, or the first behind it. Items come in order, so
 * that the next one often needs no search. */
struct search {
    struct kv_cursor *cursor; /* on the whole index; NULL: that is empty */
    bool is_on;               /* the cursor stands on what the item before was looked for with */
    bool is_at_end;           /* nothing is left there */
};

static sombra_err search_move(struct search *search, sombra_slice prefix)
{
    if (search->is_at_end ||
        (search->is_on && slice_compare(search->cursor->entry.key, prefix) >= 0))
        return SOMBRA_OK;
    sombra_err err = kv_cursor_move(search->cursor, KV_SEEK_GE, prefix, &search->is_on);
    search->is_at_end = !err && !search->is_on;
    return err;
}

/* Is another member with these values in the store? */
static sombra_err conflict_stored(struct index_batch *batch, struct graph_txn *txn,
                                  struct search *search, const struct index_item *item,
                                  uint64_t *out_other)
{
    struct index_key prefix;
    struct index_entry entry;
    struct kv_cursor *cursor = search->cursor;
    if (item->bytes > INDEX_CUT_BYTES)
        return unique_conflict(txn, batch->rule, item_values(item), item->id, out_other);
    *out_other = 0;
    if (search->is_at_end)
        return SOMBRA_OK;
    index_key_values(batch->rule->id, item_values(item), &prefix);
    sombra_err err = search_move(search, index_key_slice(&prefix));
    if (err || !search->is_on || !slice_has_prefix(cursor->entry.key, index_key_slice(&prefix)))
        return err;
    err = index_entry_read(cursor->entry.key, key_of_index(batch->rule->id).length, &entry);
    if (!err && entry.id != item->id)
        *out_other = entry.id;
    else if (!err) /* its own, from an earlier run of filling: there may be another */
        err = unique_conflict(txn, batch->rule, item_values(item), item->id, out_other);
    return err;
}

static sombra_err check_unique(struct index_batch *batch, struct graph_txn *txn,
                               struct search *search, size_t at)
{
    const struct index_item *item = &batch->items[at];
    uint64_t other = 0;
    sombra_err err = SOMBRA_OK;
    if (!item->is_complete)
        return SOMBRA_OK;
    if (at > 0 && item->front == item[-1].front &&
        slice_equal(item_values(item), item_values(item - 1)))
        other = item[-1].id;
    if (!other && search->cursor)
        err = conflict_stored(batch, txn, search, item, &other);
    if (!err && other)
        err = unique_refuse(txn, batch->rule, other);
    return err;
}

sombra_err index_batch_check(struct index_batch *batch, struct graph_txn *txn)
{
    struct graph_key prefix = key_of_index(batch->rule->id);
    struct key_span span;
    struct kv_range range = span_of(&prefix, &span);
    struct search search = { 0 };
    uint64_t stored = 0;
    if (batch->count == 0)
        return SOMBRA_OK;
    for (size_t i = 0; i < batch->count; i++) {
        struct index_item *item = &batch->items[i];
        item->values = batch->values.data + item->at;
        item->front = front_of(item->values, item->bytes);
    }
    items_sort(batch);
    if (batch->rule->kind != SOMBRA_RULE_UNIQUE)
        return SOMBRA_OK;
    sombra_err err = kv_count(txn->kv, range, 1, &stored);
    if (!err && stored)
        err = kv_cursor_open(txn->kv, range, &search.cursor);
    for (size_t i = 0; !err && i < batch->count; i++) {
        err = txn_poll(txn, i);
        if (!err)
            err = check_unique(batch, txn, &search, i);
    }
    kv_cursor_close(search.cursor);
    return err;
}

sombra_err index_batch_put(struct index_batch *batch, struct put_run *run)
{
    sombra_err err = SOMBRA_OK;
    run->txn->writes++;
    for (size_t i = 0; !err && i < batch->count; i++) {
        const struct index_item *item = &batch->items[i];
        uint8_t *key;
        assert(item->values);
        if (item->bytes > INDEX_CUT_BYTES) /* among those that are cut, hashes order */
            err = put_run_flush(run);
        if (!err)
            err = put_run_begin(run, &key);
        if (!err)
            put_run_end(run, index_key_put(key, batch->rule->id, item_values(item), item->id),
                        slice_of(NULL, 0));
    }
    if (!err)
        err = put_run_flush(run);
    batch->count = 0;
    buf_reset(&batch->values);
    return err;
}

void index_batch_release(struct index_batch *batch)
{
    mem_free(batch->items);
    buf_release(&batch->values);
}
