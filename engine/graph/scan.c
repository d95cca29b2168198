/* SPDX-License-Identifier: MIT */
/* Entries of a bucket in order, read in batches and given one by one. A write in the transaction
 * ends the life of a batch; the scan then goes on with a new cursor behind the key it gave last. */
#include "graph_internal.h"

static sombra_err open_cursor(struct graph_scan *scan)
{
    struct kv_range range = { buf_slice(&scan->low), buf_slice(&scan->high) };
    assert(!scan->cursor);
    scan->at = scan->count = 0;
    scan->writes = scan->txn->writes;
    return kv_cursor_open(scan->txn->kv, range, &scan->cursor);
}

sombra_err graph_scan_open(struct graph_scan *scan, struct graph_txn *txn, sombra_bucket_id bucket,
                           const sombra_key_range *range)
{
    struct entry_key low, high;
    bool is_empty = false;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_range(bucket, range, &low, &high, &is_empty);
    if (err)
        return err;
    scan->txn = txn;
    scan->cursor = NULL;
    scan->left = range->limit ? range->limit : UINT64_MAX;
    scan->prefix_bytes = key_of_bucket(bucket).length;
    scan->capacity = GRAPH_BATCH_FIRST;
    scan->reverse = range->reverse;
    scan->at = scan->count = 0;
    buf_reset(&scan->key);
    if (is_empty)
        return SOMBRA_OK;
    err = buf_set(&scan->low, slice_of(low.bytes, low.length));
    if (!err)
        err = buf_set(&scan->high, slice_of(high.bytes, high.length));
    if (!err)
        err = buf_reserve(&scan->key, sizeof low.bytes);
    return err ? err : open_cursor(scan);
}

void graph_scan_close(struct graph_scan *scan)
{
    kv_cursor_close(scan->cursor);
    scan->cursor = NULL;
    scan->at = scan->count = 0;
}

void graph_scan_release(struct graph_scan *scan)
{
    assert(!scan->cursor);
    buf_release(&scan->low);
    buf_release(&scan->high);
    buf_release(&scan->key);
}

/* The bound moves past the key given last (none yet: it stays). */
static sombra_err reopen(struct graph_scan *scan)
{
    sombra_err err = SOMBRA_OK;
    kv_cursor_close(scan->cursor);
    scan->cursor = NULL;
    if (scan->key.bytes && scan->reverse)
        err = buf_set(&scan->high, buf_slice(&scan->key));
    else if (scan->key.bytes)
        err = buf_set(&scan->low, buf_slice(&scan->key));
    if (!err && scan->key.bytes && !scan->reverse)
        err = buf_append_u8(&scan->low, 0);
    if (!err && slice_compare(buf_slice(&scan->low), buf_slice(&scan->high)) >= 0)
        return SOMBRA_OK; /* nothing can follow: the cursor stays closed */
    return err ? err : open_cursor(scan);
}

static sombra_err read_batch(struct graph_scan *scan)
{
    struct kv_batch batch = { .entries = scan->entries,
                              .capacity = (size_t)u64_min(scan->capacity, scan->left) };
    scan->at = scan->count = 0;
    sombra_err err = kv_cursor_read(scan->cursor, scan->reverse ? KV_PREVIOUS : KV_NEXT, &batch);
    if (err)
        return err;
    scan->count = batch.count;
    scan->prefix = batch.prefix;
    scan->capacity = GRAPH_BATCH;
    return SOMBRA_OK;
}

sombra_err graph_scan_next(struct graph_scan *scan, sombra_key *out_key, sombra_slice *out_value,
                           bool *out_found)
{
    sombra_err err = txn_check_read(scan->txn);
    if (!err && scan->cursor && UNLIKELY(scan->writes != scan->txn->writes))
        err = reopen(scan);
    if (!err && scan->cursor && scan->left && scan->at == scan->count)
        err = read_batch(scan);
    if (err)
        return err;
    if (!scan->cursor || scan->left == 0 || scan->count == 0) {
        *out_found = false;
        return SOMBRA_OK;
    }
    const struct kv_entry *entry = &scan->entries[scan->at];
    buf_reset(&scan->key);
    err = buf_append_slice(&scan->key, scan->prefix);
    if (!err)
        err = buf_append_slice(&scan->key, entry->key);
    if (!err && scan->key.bytes < scan->prefix_bytes)
        err = corrupt_key(buf_slice(&scan->key), "bucket, entry");
    sombra_key key;
    if (!err)
        err = entry_key_read(slice_from(buf_slice(&scan->key), scan->prefix_bytes), &key);
    if (err)
        return err;
    scan->at++;
    scan->left--;
    *out_key = key;
    *out_value = entry->value;
    *out_found = true;
    return SOMBRA_OK;
}
