/* SPDX-License-Identifier: MIT */
/* All nodes, nodes of a label, all edges: a range of keys whose last field is the id. */
#include "graph_internal.h"

sombra_err graph_ids_open(struct graph_ids *ids, struct graph_txn *txn, enum graph_ids_kind kind,
                          sombra_slice label, const sombra_ids_options *options)
{
    struct graph_key prefix = key_begin(kind == GRAPH_NODES ? TAG_NODE : TAG_EDGE);
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    ids->txn = txn;
    ids->cursor = NULL;
    ids->left = options->limit ? options->limit : UINT64_MAX;
    ids->reverse = options->reverse;
    ids->capacity = GRAPH_BATCH_FIRST;
    assert(kind == GRAPH_NODES || label.bytes == 0);
    if (label.bytes) {
        err = graph_name_find(txn, SOMBRA_NAME_LABEL, label, &id);
        if (err || id == 0)
            return err;
        prefix = key_1(TAG_LABEL, id);
    }
    if (options->to && options->from > options->to)
        return SOMBRA_OK;
    ids->prefix_bytes = prefix.length;
    struct key_span span;
    struct kv_range range = span_of(&prefix, &span);
    struct graph_key from = prefix, to = prefix;
    if (options->from) {
        key_add(&from, options->from);
        range.low = key_slice(&from);
    }
    if (options->to && options->to < UINT64_MAX) {
        key_add(&to, options->to + 1);
        range.high = key_slice(&to);
    }
    return kv_cursor_open(txn->kv, range, &ids->cursor);
}

void graph_ids_close(struct graph_ids *ids)
{
    kv_cursor_close(ids->cursor);
    ids->cursor = NULL;
}

static sombra_err decode(struct graph_ids *ids, const struct kv_batch *from)
{
    struct batch_keys keys;
    sombra_err err = batch_keys_begin(&keys, from->prefix, ids->prefix_bytes, 1);
    if (err)
        return err;
    for (size_t i = 0; i < from->count; i++) {
        uint64_t id = keys.fields[0];
        sombra_slice suffix = from->entries[i].key;
        uint64_t word;
        size_t left;
        if (UNLIKELY(keys.known || !batch_key_word(&keys, suffix, &word, &left) ||
                     !word_take(&word, &left, &id) || left != 0) &&
            !batch_key_read_slow(&keys, suffix, 1 - keys.known, &id))
            return corrupt_key(suffix, "the end of an id");
        if (UNLIKELY(id == 0))
            return corrupt_key(suffix, "an id above 0");
        ids->batch[i] = id;
    }
    return SOMBRA_OK;
}

sombra_err graph_ids_next(struct graph_ids *ids, const uint64_t **out_batch, size_t *out_count)
{
    struct kv_batch batch = { .entries = ids->entries };
    sombra_err err = txn_check_read(ids->txn);
    if (!err && ids->cursor && ids->left > 0) {
        batch.capacity = (size_t)u64_min(ids->capacity, ids->left);
        err = kv_cursor_read(ids->cursor, ids->reverse ? KV_PREVIOUS : KV_NEXT, &batch);
        if (!err)
            err = decode(ids, &batch);
    }
    if (err)
        return err;
    ids->capacity = GRAPH_BATCH;
    ids->left -= batch.count;
    *out_batch = ids->batch;
    *out_count = batch.count;
    return SOMBRA_OK;
}
