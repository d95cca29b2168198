/* SPDX-License-Identifier: MIT */
/* sombra/bucket.h: each call checks the handle and hands on to graph/. */
#include "db_internal.h"

sombra_err sombra_bucket_open(sombra_txn *txn, sombra_slice name,
                              const sombra_bucket_options *given, sombra_bucket_id *out_bucket)
{
    sombra_bucket_options options;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &options, sizeof options);
    return err ? err : graph_bucket_open(&txn->graph, name, &options, out_bucket);
}

sombra_err sombra_bucket_next(sombra_txn *txn, sombra_slice after, sombra_slice *out_name,
                              sombra_bucket_id *out_bucket, bool *out_found)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_next(&txn->graph, after, out_name, out_bucket, out_found);
}

sombra_err sombra_bucket_drop(sombra_txn *txn, sombra_bucket_id bucket)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_drop(&txn->graph, bucket);
}

sombra_err sombra_bucket_get(sombra_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                             sombra_slice *out_value)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_get(&txn->graph, bucket, key, out_value);
}

sombra_err sombra_bucket_get_many(sombra_txn *txn, sombra_bucket_id bucket, const sombra_key *keys,
                                  size_t count, sombra_slice *out_values)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_get_many(&txn->graph, bucket, keys, count, out_values);
}

sombra_err sombra_bucket_put(sombra_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                             sombra_slice value)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_put(&txn->graph, bucket, key, value);
}

sombra_err sombra_bucket_delete(sombra_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                                bool *out_deleted)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_bucket_delete(&txn->graph, bucket, key, out_deleted);
}

sombra_err sombra_bucket_count(sombra_txn *txn, sombra_bucket_id bucket,
                               const sombra_key_range *given, uint64_t *out_count)
{
    sombra_key_range range;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &range, sizeof range);
    return err ? err : graph_bucket_count(&txn->graph, bucket, &range, out_count);
}

sombra_err sombra_bucket_delete_range(sombra_txn *txn, sombra_bucket_id bucket,
                                      const sombra_key_range *given, uint64_t *out_deleted)
{
    sombra_key_range range;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &range, sizeof range);
    return err ? err : graph_bucket_delete_range(&txn->graph, bucket, &range, out_deleted);
}

/* ---- scans ------------------------------------------------------------------------------- */

sombra_err sombra_scan_open(sombra_txn *txn, sombra_bucket_id bucket, const sombra_key_range *given,
                            sombra_scan **out_scan)
{
    sombra_key_range range;
    void *child;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &range, sizeof range);
    if (!err)
        err = child_new(txn, CHILD_SCAN, &child);
    if (err)
        return err;
    sombra_scan *scan = child;
    err = graph_scan_open(&scan->graph, &txn->graph, bucket, &range);
    if (err)
        child_close(&scan->child);
    else
        *out_scan = scan;
    return err;
}

sombra_err sombra_scan_next(sombra_scan *scan, sombra_key *out_key, sombra_slice *out_value,
                            bool *out_found)
{
    sombra_err err = txn_live(scan->child.txn);
    return err ? err : graph_scan_next(&scan->graph, out_key, out_value, out_found);
}

void sombra_scan_close(sombra_scan *scan)
{
    if (scan)
        child_close(&scan->child);
}
