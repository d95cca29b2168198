/* SPDX-License-Identifier: MIT */
/* All nodes, nodes of a label: a range of keys whose last field is the id. All edges: a range of
 * blocks, and before it one of the entries that older formats wrote. */
#include "edge_block.h"

/* ---- ranges ------------------------------------------------------------------------------ */

/* Keys of the prefix whose last field is from `from` to `to`; 0 = no bound. */
static sombra_err open_range(struct graph_ids *ids, const struct graph_key *prefix, uint64_t from,
                             uint64_t to, struct kv_cursor **out_cursor)
{
    struct key_span span;
    struct kv_range range = span_of(prefix, &span);
    struct graph_key low = *prefix, high = *prefix;
    if (from) {
        key_add(&low, from);
        range.low = key_slice(&low);
    }
    if (to && to < UINT64_MAX) {
        key_add(&high, to + 1);
        range.high = key_slice(&high);
    }
    return kv_cursor_open(ids->txn->kv, range, out_cursor);
}

/* Of all keys that have ids of the iterator; of edges, those in entries of their own. */
static struct graph_key entries_prefix(const struct graph_ids *ids, bool is_edges)
{
    return ids->label ? key_1(TAG_LABEL, ids->label) : key_begin(is_edges ? TAG_EDGE : TAG_NODE);
}

static sombra_err open_edges(struct graph_ids *ids)
{
    const struct graph_key older = entries_prefix(ids, true), blocks = key_begin(TAG_EDGE_BLOCK);
    ids->prefix_bytes = older.length;
    ids->writes = ids->txn->writes;
    sombra_err err = open_range(ids, &older, ids->from, ids->to, &ids->cursor);
    if (!err)
        err = open_range(ids, &blocks, ids->from ? edge_block_of(ids->from) : 0,
                         ids->to ? edge_block_of(ids->to) : 0, &ids->blocks);
    if (err)
        graph_ids_close(ids);
    return err;
}

sombra_err graph_ids_open(struct graph_ids *ids, struct graph_txn *txn, enum graph_ids_kind kind,
                          sombra_slice label, const sombra_ids_options *options)
{
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    ids->txn = txn;
    ids->cursor = ids->blocks = NULL;
    ids->left = options->limit ? options->limit : UINT64_MAX;
    ids->from = options->from;
    ids->to = options->to;
    ids->reverse = options->reverse;
    ids->capacity = GRAPH_BATCH_FIRST;
    ids->count = 0;
    ids->label = 0;
    assert(kind == GRAPH_NODES || label.bytes == 0);
    if (label.bytes) {
        err = graph_name_find(txn, SOMBRA_NAME_LABEL, label, &id);
        if (err || id == 0)
            return err;
        ids->label = id;
    }
    if (options->to && options->from > options->to)
        return SOMBRA_OK;
    if (kind == GRAPH_EDGES)
        return open_edges(ids);
    const struct graph_key prefix = entries_prefix(ids, false);
    ids->prefix_bytes = prefix.length;
    return open_range(ids, &prefix, ids->from, ids->to, &ids->cursor);
}

void graph_ids_close(struct graph_ids *ids)
{
    kv_cursor_close(ids->cursor);
    kv_cursor_close(ids->blocks);
    ids->cursor = ids->blocks = NULL;
}

/* ---- batches ----------------------------------------------------------------------------- */

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

/* Of the cursor's range; none: it is at its end. */
static sombra_err read_entries(struct graph_ids *ids, size_t *out_count)
{
    struct kv_batch batch = { .entries = ids->entries };
    batch.capacity = (size_t)u64_min(ids->capacity, ids->left);
    sombra_err err = kv_cursor_read(ids->cursor, ids->reverse ? KV_PREVIOUS : KV_NEXT, &batch);
    if (!err)
        err = decode(ids, &batch);
    *out_count = batch.count;
    return err;
}

/* The edges of a block that are asked for. */
static sombra_err take_block(struct graph_ids *ids, const struct kv_entry *entry, size_t *count)
{
    struct key_fields f;
    struct edge_block_view view = { 0 };
    sombra_err err = key_fields_read(entry->key, 1, &f);
    if (!err && f.at[0] > INT64_MAX / EDGE_BLOCK_EDGES + 1)
        err = corrupt_key(entry->key, "a block of edges");
    if (!err)
        err = edge_block_open(entry->value, &view);
    uint64_t present = view.present;
    while (!err && present && *count < ids->left) {
        unsigned slot =
            (unsigned)(ids->reverse ? 63 - __builtin_clzll(present) : __builtin_ctzll(present));
        sombra_edge_id id = edge_id_at(f.at[0], slot);
        present &= ~(UINT64_C(1) << slot);
        if (id >= ids->from && (ids->to == 0 || id <= ids->to))
            ids->batch[(*count)++] = id;
    }
    return err;
}

/* To the first block that may have what comes next, after a write: it may have got more edges. */
static sombra_err seek_block(struct graph_ids *ids, bool *out_found)
{
    struct graph_key key = key_begin(TAG_EDGE_BLOCK);
    uint64_t bound = ids->reverse ? ids->to : ids->from;
    enum kv_motion motion = ids->reverse ? KV_LAST : KV_FIRST;
    if (bound) {
        key_add(&key, edge_block_of(bound));
        motion = ids->reverse ? KV_SEEK_LE : KV_SEEK_GE;
    }
    return kv_cursor_move(ids->blocks, motion, key_slice(&key), out_found);
}

/* Whole blocks: so that the next batch begins behind one, or anew. */
static sombra_err read_blocks(struct graph_ids *ids, size_t *out_count)
{
    size_t count = 0, want = (size_t)u64_min(ids->capacity, ids->left);
    sombra_err err = edge_ends_flush(ids->txn);
    bool is_moved = ids->writes != ids->txn->writes;
    ids->writes = ids->txn->writes;
    while (!err && count < want && count + EDGE_BLOCK_EDGES <= GRAPH_BATCH) {
        bool found = false;
        if (is_moved)
            err = seek_block(ids, &found);
        else
            err = kv_cursor_move(ids->blocks, ids->reverse ? KV_PREVIOUS : KV_NEXT,
                                 slice_of(NULL, 0), &found);
        is_moved = false;
        if (err || !found)
            break;
        err = take_block(ids, &ids->blocks->entry, &count);
    }
    *out_count = count;
    return err;
}

/* Edges that are asked for from now on. */
static void ids_pass(struct graph_ids *ids, sombra_edge_id last)
{
    if (!ids->reverse)
        ids->from = last + 1;
    else if (last > 1)
        ids->to = last - 1;
    else
        ids->left = 0;
}

sombra_err graph_ids_next(struct graph_ids *ids, const uint64_t **out_batch, size_t *out_count)
{
    size_t count = 0;
    sombra_err err = txn_check_read(ids->txn);
    bool is_blocks_first = ids->blocks && ids->reverse;
    if (!err && is_blocks_first && ids->left > 0)
        err = read_blocks(ids, &count);
    if (!err && count == 0 && ids->cursor && ids->left > 0)
        err = read_entries(ids, &count);
    if (!err && count == 0 && ids->blocks && !is_blocks_first && ids->left > 0)
        err = read_blocks(ids, &count);
    if (err)
        return err;
    ids->capacity = GRAPH_BATCH;
    ids->left -= count;
    if (ids->blocks && count)
        ids_pass(ids, ids->batch[count - 1]);
    ids->count = count;
    ids->shape = txn_shape(ids->txn);
    *out_batch = ids->batch;
    *out_count = count;
    return SOMBRA_OK;
}

/* Behind the last id that was used. The range is opened anew: to seek that id, which may be gone
 * like many before it, would pass all of their deletes by. */
static sombra_err reopen_behind(struct graph_ids *ids, uint64_t last)
{
    const struct graph_key prefix = entries_prefix(ids, ids->blocks != NULL);
    ids_pass(ids, last);
    ids->writes = ids->txn->writes - 1; /* the next batch seeks its block */
    kv_cursor_close(ids->cursor);
    ids->cursor = NULL;
    return ids->left ? open_range(ids, &prefix, ids->from, ids->to, &ids->cursor) : SOMBRA_OK;
}

sombra_err graph_ids_renew(struct graph_ids *ids, size_t used, bool *out_is_renewed)
{
    bool is_stale = false;
    sombra_err err = txn_check_shape(ids->txn, ids->shape, used, ids->count, &is_stale);
    if (err)
        return err;
    if (is_stale) {
        ids->left += ids->count - used; /* first: at the lowest id nothing is left */
        err = reopen_behind(ids, ids->batch[used - 1]);
        ids->count = used;
        ids->capacity = GRAPH_BATCH_FIRST;
        ids->shape = txn_shape(ids->txn);
    }
    if (!err)
        *out_is_renewed = is_stale;
    return err;
}
