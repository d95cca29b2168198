/* SPDX-License-Identifier: MIT */
/* Reading an index in its order.
 *
 * The bounds of a range are bytes of values; keys are compared with as much of them as keys hold.
 * Entries whose values are cut stand together if the parts in their keys are equal (a clump): its
 * members' values are read from their records, sorted, and compared with the whole bounds. */
#include "index_internal.h"

#include <stdlib.h>

/* ---- bounds ------------------------------------------------------------------------------ */

/* Values v with low <= v, and v < high unless that is empty: no bound. Comparisons are of bytes. */
struct bounds {
    struct buf low, high;
};

static void bounds_release(struct bounds *bounds)
{
    buf_release(&bounds->low);
    buf_release(&bounds->high);
}

/* Makes `bytes` the end of all values that begin with it. Its first byte is a head, so there is
 * one. */
static void raise_above(struct buf *bytes)
{
    while (bytes->bytes && bytes->data[bytes->bytes - 1] == 0xff)
        bytes->bytes--;
    assert(bytes->bytes > 0);
    bytes->data[bytes->bytes - 1]++;
}

/* Heads of the kind that a bound is of: [first, end). What is compared with a number is no NaN. */
static void heads_of(uint8_t head, uint8_t *out_first, uint8_t *out_end)
{
    static const uint8_t ends[] = { INDEX_FALSE, INDEX_NUMBER_LOW, INDEX_NAN,  INDEX_STRING,
                                    INDEX_LIST,  INDEX_MAP,        INDEX_NULL, INDEX_MISSING };
    size_t i = 1;
    while (i + 1 < COUNT_OF(ends) && head >= ends[i])
        i++;
    *out_first = ends[i - 1];
    *out_end = ends[i];
}

static sombra_err bound_values(const struct graph_index_range *range, struct bounds *bounds)
{
    size_t shared = bounds->low.bytes; /* what must be equal */
    uint8_t head, first, end;
    bool has_low = range->low.bytes > 0, has_high = range->high.bytes > 0;
    sombra_err err = has_low ? index_append(&bounds->low, range->low) : SOMBRA_OK;
    if (!err && has_high)
        err = index_append(&bounds->high, range->high);
    if (err)
        return err;
    head = has_low ? bounds->low.data[shared] : bounds->high.data[shared];
    heads_of(head, &first, &end);
    if (!has_low)
        err = buf_append_u8(&bounds->low, first);
    else if (range->excludes_low)
        raise_above(&bounds->low);
    if (!err && !has_high)
        err = buf_append_u8(&bounds->high, end);
    else if (!err && !range->excludes_high)
        raise_above(&bounds->high);
    return err;
}

static sombra_err bounds_make(const struct graph_rule *index, const struct graph_index_range *range,
                              struct bounds *bounds)
{
    sombra_err err = SOMBRA_OK;
    bool has_bounds = range->low.bytes || range->high.bytes;
    if (range->equal_count > index->property_count ||
        (range->equal_count == index->property_count &&
         (has_bounds || range->has_prefix || range->has_property)))
        return diag_fail(SOMBRA_INVALID, "a range of %zu properties of an index of %zu",
                         range->equal_count + 1, index->property_count);
    for (size_t i = 0; !err && i < range->equal_count; i++)
        err = index_append(&bounds->low, range->equal[i]);
    if (!err)
        err = buf_set(&bounds->high, buf_slice(&bounds->low));
    if (err)
        return err;
    if (has_bounds)
        return bound_values(range, bounds);
    if (range->has_prefix) {
        err = index_append_prefix(&bounds->low, range->prefix);
        if (!err)
            err = buf_set(&bounds->high, buf_slice(&bounds->low));
        if (!err)
            raise_above(&bounds->high);
    } else if (range->has_property) {
        err = buf_append_u8(&bounds->high, INDEX_MISSING);
    } else if (bounds->high.bytes) {
        raise_above(&bounds->high);
    }
    return err;
}

/* The keys that bounds leave, and memory for them. */
struct bound_keys {
    struct index_key low, high;
};

/* A cut bound's keys are those of its clump, whole. */
static bool bounds_keys(const struct graph_rule *index, const struct bounds *bounds,
                        struct bound_keys *keys, struct kv_range *out_range)
{
    struct graph_key prefix = key_of_index(index->id);
    bool is_low_cut = bounds->low.bytes > INDEX_CUT_BYTES;
    bool is_high_cut = bounds->high.bytes > INDEX_CUT_BYTES;
    size_t low = is_low_cut ? INDEX_CUT_BYTES : bounds->low.bytes;
    size_t high = is_high_cut ? INDEX_CUT_BYTES : bounds->high.bytes;
    memcpy(keys->low.bytes, prefix.bytes, prefix.length);
    if (low)
        memcpy(keys->low.bytes + prefix.length, bounds->low.data, low);
    keys->low.length = prefix.length + low;
    memcpy(keys->high.bytes, prefix.bytes, prefix.length);
    if (high)
        memcpy(keys->high.bytes + prefix.length, bounds->high.data, high);
    keys->high.length = prefix.length + high;
    if (is_high_cut || high == 0) {
        struct buf end = { keys->high.bytes, keys->high.length, sizeof keys->high.bytes };
        raise_above(&end);
        keys->high.length = end.bytes;
    }
    *out_range = (struct kv_range){ index_key_slice(&keys->low), index_key_slice(&keys->high) };
    return slice_compare(out_range->low, out_range->high) < 0;
}

sombra_err graph_index_count(struct graph_txn *txn, const struct graph_rule *index,
                             const struct graph_index_range *range, uint64_t *out_count)
{
    struct bounds bounds = { BUF_INIT, BUF_INIT };
    struct bound_keys keys;
    struct kv_range between;
    uint64_t count = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = bounds_make(index, range, &bounds);
    if (!err && bounds_keys(index, &bounds, &keys, &between))
        err = kv_count(txn->kv, between, 0, &count);
    bounds_release(&bounds);
    if (!err)
        *out_count = count;
    return err;
}

/* ---- scans ------------------------------------------------------------------------------- */

struct clump_item {
    uint64_t id;
    const uint8_t *rest; /* of the values, behind what the key has */
    size_t at;           /* of it, while it is collected: the bytes still move */
    size_t bytes;
};

struct graph_index_scan {
    struct graph_txn *txn;
    struct graph_rule index;
    struct kv_cursor *cursor; /* NULL = nothing is in the range */
    size_t prefix_bytes;      /* of the keys: tag and rule */
    bool reverse;
    bool is_at_end;
    unsigned capacity; /* of the next batch of the store */
    struct bounds bounds;
    struct buf key;    /* one whole key */
    struct buf values; /* of one member */
    /* Ids that were read; at most GRAPH_BATCH are given at once. */
    uint64_t *ids;
    size_t id_at, id_count, id_capacity;
    /* The clump that is collected: what its keys have, its members, what their keys have not. */
    struct buf clump;
    struct buf rests;
    struct clump_item *items;
    size_t item_count, item_capacity;
    struct kv_entry entries[GRAPH_BATCH];
};

/* A scan that has no bounds yet, and is at its end. */
static sombra_err scan_new(struct graph_txn *txn, const struct graph_rule *index,
                           struct graph_index_scan **out_scan)
{
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    if (!rule_is_index(index) || !index->is_ready)
        return diag_fail(SOMBRA_INVALID, "rule %" PRIu32 " is no index that is ready", index->id);
    struct graph_index_scan *scan = mem_zalloc(sizeof *scan);
    if (!scan)
        return diag_nomem("the scan of an index", sizeof *scan);
    scan->txn = txn;
    scan->index = *index;
    scan->prefix_bytes = key_of_index(index->id).length;
    scan->capacity = GRAPH_BATCH_FIRST;
    scan->is_at_end = true;
    *out_scan = scan;
    return SOMBRA_OK;
}

/* What it reads, when its bounds are made. On an error it is closed. */
static sombra_err scan_begin(struct graph_index_scan *scan, sombra_err err)
{
    struct bound_keys keys;
    struct kv_range between;
    if (!err && bounds_keys(&scan->index, &scan->bounds, &keys, &between))
        err = kv_cursor_open(scan->txn->kv, between, &scan->cursor);
    if (err)
        graph_index_close(scan);
    else
        scan->is_at_end = scan->cursor == NULL;
    return err;
}

sombra_err graph_index_open(struct graph_txn *txn, const struct graph_rule *index,
                            const struct graph_index_range *range, bool reverse,
                            struct graph_index_scan **out_scan)
{
    struct graph_index_scan *scan;
    sombra_err err = scan_new(txn, index, &scan);
    if (err)
        return err;
    scan->reverse = reverse;
    err = scan_begin(scan, bounds_make(index, range, &scan->bounds));
    if (!err)
        *out_scan = scan;
    return err;
}

sombra_err index_open_equal(struct graph_txn *txn, const struct graph_rule *index,
                            sombra_slice values, struct graph_index_scan **out_scan)
{
    struct graph_index_scan *scan;
    sombra_err err = scan_new(txn, index, &scan);
    if (err)
        return err;
    err = buf_set(&scan->bounds.low, values);
    if (!err)
        err = buf_set(&scan->bounds.high, values);
    if (!err)
        raise_above(&scan->bounds.high);
    err = scan_begin(scan, err);
    if (!err)
        *out_scan = scan;
    return err;
}

void graph_index_close(struct graph_index_scan *scan)
{
    if (!scan)
        return;
    kv_cursor_close(scan->cursor);
    bounds_release(&scan->bounds);
    buf_release(&scan->key);
    buf_release(&scan->values);
    buf_release(&scan->clump);
    buf_release(&scan->rests);
    mem_free(scan->ids);
    mem_free(scan->items);
    mem_free(scan);
}

static sombra_err id_add(struct graph_index_scan *scan, uint64_t id)
{
    if (scan->id_count == scan->id_capacity) {
        size_t capacity = size_max(2 * GRAPH_BATCH, scan->id_capacity * 2);
        uint64_t *grown = mem_realloc(scan->ids, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("ids of an index", capacity * sizeof *grown);
        scan->ids = grown;
        scan->id_capacity = capacity;
    }
    scan->ids[scan->id_count++] = id;
    return SOMBRA_OK;
}

/* Do the whole values lie within the bounds? The part that keys hold is known to. */
static bool is_within(const struct graph_index_scan *scan, sombra_slice values)
{
    return slice_compare(values, buf_slice(&scan->bounds.low)) >= 0 &&
           (scan->bounds.high.bytes == 0 ||
            slice_compare(values, buf_slice(&scan->bounds.high)) < 0);
}

static sombra_err clump_add(struct graph_index_scan *scan, uint64_t id)
{
    sombra_record record;
    enum index_membership membership;
    sombra_err err = member_record(scan->txn, scan->index.is_edge, id, &record);
    if (!err)
        err = index_values(&scan->index, &record, &scan->values, &membership);
    if (err)
        return err;
    sombra_slice values = buf_slice(&scan->values);
    if (values.bytes <= INDEX_CUT_BYTES || membership == INDEX_OUTSIDE)
        return diag_fail(SOMBRA_CORRUPT, "index %" PRIu32 " has a wrong entry for %" PRIu64,
                         scan->index.id, id);
    if (!is_within(scan, values))
        return SOMBRA_OK;
    if (scan->item_count == scan->item_capacity) {
        size_t capacity = size_max(64, scan->item_capacity * 2);
        struct clump_item *grown = mem_realloc(scan->items, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("entries of an index", capacity * sizeof *grown);
        scan->items = grown;
        scan->item_capacity = capacity;
    }
    sombra_slice rest = slice_from(values, INDEX_CUT_BYTES);
    scan->items[scan->item_count] =
        (struct clump_item){ .id = id, .at = scan->rests.bytes, .bytes = rest.bytes };
    err = buf_append_slice(&scan->rests, rest);
    if (!err)
        scan->item_count++;
    return err;
}

static int clump_order(const void *a, const void *b)
{
    const struct clump_item *left = a, *right = b;
    int order =
        slice_compare(slice_of(left->rest, left->bytes), slice_of(right->rest, right->bytes));
    return order ? order : (left->id > right->id) - (left->id < right->id);
}

/* The clump is whole: its ids go out in order. */
static sombra_err clump_end(struct graph_index_scan *scan)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < scan->item_count; i++)
        scan->items[i].rest = scan->rests.data + scan->items[i].at;
    if (scan->item_count > 1)
        qsort(scan->items, scan->item_count, sizeof *scan->items, clump_order);
    for (size_t i = 0; !err && i < scan->item_count; i++)
        err = id_add(scan, scan->items[scan->reverse ? scan->item_count - 1 - i : i].id);
    scan->item_count = 0;
    buf_reset(&scan->rests);
    buf_reset(&scan->clump);
    return err;
}

static sombra_err entry_take(struct graph_index_scan *scan, sombra_slice key)
{
    struct index_entry entry;
    sombra_err err = index_entry_read(key, scan->prefix_bytes, &entry);
    if (!err && scan->clump.bytes &&
        (!entry.is_cut || !slice_equal(entry.values, buf_slice(&scan->clump))))
        err = clump_end(scan);
    if (err)
        return err;
    if (LIKELY(!entry.is_cut))
        return id_add(scan, entry.id);
    if (scan->clump.bytes == 0)
        err = buf_set(&scan->clump, entry.values);
    return err ? err : clump_add(scan, entry.id);
}

/* One batch of the store. */
static sombra_err batch_take(struct graph_index_scan *scan)
{
    struct kv_batch batch = { .entries = scan->entries, .capacity = scan->capacity };
    sombra_err err = kv_cursor_read(scan->cursor, scan->reverse ? KV_PREVIOUS : KV_NEXT, &batch);
    if (err)
        return err;
    scan->capacity = GRAPH_BATCH;
    if (batch.count == 0) {
        scan->is_at_end = true;
        return scan->clump.bytes ? clump_end(scan) : SOMBRA_OK;
    }
    err = buf_set(&scan->key, batch.prefix);
    for (size_t i = 0; !err && i < batch.count; i++) {
        scan->key.bytes = batch.prefix.bytes;
        err = buf_append_slice(&scan->key, batch.entries[i].key);
        if (!err)
            err = entry_take(scan, buf_slice(&scan->key));
    }
    return err;
}

sombra_err graph_index_next(struct graph_index_scan *scan, const uint64_t **out_ids,
                            size_t *out_count)
{
    sombra_err err = txn_check_read(scan->txn);
    if (!err && scan->id_at == scan->id_count)
        scan->id_at = scan->id_count = 0;
    /* A clump that has begun is read to its end: its first id may stand last. */
    while (!err && !scan->is_at_end && (scan->id_at == scan->id_count || scan->clump.bytes))
        err = batch_take(scan);
    if (err)
        return err;
    size_t count = size_min(scan->id_count - scan->id_at, GRAPH_BATCH);
    *out_ids = count ? scan->ids + scan->id_at : scan->ids;
    *out_count = count;
    scan->id_at += count;
    return SOMBRA_OK;
}
