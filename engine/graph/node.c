/* SPDX-License-Identifier: MIT */
#include "graph_internal.h"
#include "index_internal.h"
#include "kept_values.h"

#include <stdlib.h>

/* ---- read -------------------------------------------------------------------------------- */

/* Writers remember nodes they saw, since loading edges asks for the same ones again and again. */
sombra_err graph_node_exists(struct graph_txn *txn, sombra_node_id node, bool *out_exists)
{
    sombra_err err = txn_check_read(txn);
    if (err)
        return err;
    if (txn->kv->is_write && txn_knows_node(txn, node)) {
        *out_exists = true;
        return SOMBRA_OK;
    }
    struct graph_key key = key_1(TAG_NODE, node);
    bool exists = false;
    err = txn_has(txn, &key, &exists);
    if (err)
        return err;
    if (exists && txn->kv->is_write)
        txn_know_node(txn, node);
    *out_exists = exists;
    return SOMBRA_OK;
}

/* Of a record that is walked: its lines come together, and not each when the walk is there. */
static inline __attribute__((always_inline)) void record_prefetch(sombra_slice record)
{
    enum { LINE_BYTES = 64, BYTES_MAX = 16 * LINE_BYTES };
    const char *at = record.data;
    for (size_t i = LINE_BYTES; i < size_min(record.bytes, BYTES_MAX); i += LINE_BYTES)
        __builtin_prefetch(at + i);
}

sombra_err graph_node_get(struct graph_txn *txn, sombra_node_id node, sombra_record *out_record)
{
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_slice value;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = kv_get(txn->kv, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    if (!err) {
        record_prefetch(value);
        err = txn_lend_value(txn, value, &value);
    }
    if (!err)
        err = graph_record_open(value, true, out_record);
    return diag_wrap(err, "node %" PRIu64, node);
}

/* NOT_FOUND: there is no such node, or it has no such property. As the store lends it. */
static sombra_err stored_property(struct graph_txn *txn, sombra_node_id node, uint32_t property,
                                  sombra_slice *out_value)
{
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_slice record;
    sombra_err err = kv_get(txn->kv, key_slice(&key), &record);
    return err ? err : graph_record_value(record, true, property, out_value);
}

sombra_err graph_node_property(struct graph_txn *txn, sombra_node_id node, sombra_slice name,
                               sombra_slice *out_value)
{
    sombra_slice value = { NULL, 0 };
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &id);
    if (!err && id == 0)
        return SOMBRA_NOT_FOUND;
    const bool keeps = !err && kept_values_wanted(txn, &txn->kept, 1);
    kept_value_asked(&txn->kept, id);
    const struct kept_value *kept = keeps ? kept_value_find(&txn->kept, node, id) : NULL;
    if (kept) {
        txn->kept.hits++;
        sombra_slice bytes = slice_of(kept->bytes, kept->length);
        return bytes.bytes ? txn_lend(txn, bytes, out_value) : SOMBRA_NOT_FOUND;
    }
    if (!err)
        err = stored_property(txn, node, id, &value);
    if (keeps && (!err || err == SOMBRA_NOT_FOUND))
        kept_value_add(txn, node, id, value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    if (!err)
        err = txn_lend_value(txn, value, out_value);
    return diag_wrap(err, "node %" PRIu64, node);
}

sombra_err graph_node_properties(struct graph_txn *txn, sombra_node_id node,
                                 const sombra_slice *names, size_t count, sombra_slice *out_values)
{
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_slice record;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = kv_get(txn->kv, key_slice(&key), &record);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    if (!err)
        err = txn_lend_value(txn, record, &record); /* names may be read from the store, too */
    for (size_t i = 0; !err && i < count; i++) {
        uint32_t id = 0;
        out_values[i] = slice_of(NULL, 0);
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, names[i], &id);
        if (LIKELY(!err && id != 0))
            err = graph_record_value(record, true, id, &out_values[i]);
        if (err == SOMBRA_NOT_FOUND) {
            out_values[i] = slice_of(NULL, 0);
            err = SOMBRA_OK;
        }
    }
    return err ? diag_wrap(err, "node %" PRIu64, node) : SOMBRA_OK;
}

/* Values of a property of many nodes, one behind the other, also where the engine keeps them:
 * callers copy them as one. They are read by chunks; of each those that are kept come first. */
enum { PROPERTY_CHUNK = 64 };

struct property_read {
    struct graph_txn *txn;
    struct buf *to; /* the transaction's, as the finder is */
    uint32_t property;
    bool keeps;          /* values of this reader are kept */
    const uint8_t *base; /* where `to` was when the pointers in `out` were made */
    const sombra_node_id *nodes;
    sombra_slice *out;
    size_t first, end; /* the chunk: of `nodes` and of `out` */
    size_t missed;     /* of the chunk, by `places`: not kept */
    uint8_t places[PROPERTY_CHUNK];
};

/* The buffer grew, and moved; the first `count` values are made. */
static void values_move(struct property_read *read, size_t count)
{
    const uint8_t *base = read->to->data;
    for (size_t i = 0; i < count; i++) {
        if (read->out[i].data)
            read->out[i].data = base + ((uintptr_t)read->out[i].data - (uintptr_t)read->base);
    }
    read->base = base;
}

/* The value at `at`; those from `made` on are not made yet. NOT_FOUND leaves it alone. */
static inline __attribute__((always_inline)) sombra_err
take_value(struct property_read *read, sombra_slice record, size_t at, size_t made)
{
    struct buf *to = read->to;
    sombra_slice value;
    sombra_err err = record_finder_value(&read->txn->finder, record, &value);
    if (err)
        return err;
    if (LIKELY(value.bytes - 1 < KEPT_VALUE_BYTES && to->capacity - to->bytes >= value.bytes)) {
        bytes_put_few(to->data + to->bytes, value.data, value.bytes);
        to->bytes += value.bytes;
    } else {
        err = buf_append_slice(to, value);
        if (err)
            return err;
        if (to->data != read->base)
            values_move(read, made);
    }
    read->out[at] = slice_of(to->data + to->bytes - value.bytes, value.bytes);
    return SOMBRA_OK;
}

/* Of a reader that keeps nothing, or of a writer: all of the chunk. */
static sombra_err property_each(void *context, size_t index, const sombra_slice *value)
{
    struct property_read *read = context;
    const size_t at = read->first + index;
    sombra_err err = value ? take_value(read, *value, at, at) : SOMBRA_NOT_FOUND;
    if (LIKELY(!err))
        return SOMBRA_OK;
    read->out[at] = slice_of(NULL, 0);
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : diag_wrap(err, "node %" PRIu64, read->nodes[at]);
}

/* What was not kept, and is from now on. */
static sombra_err property_missed(void *context, size_t index, const sombra_slice *value)
{
    struct property_read *read = context;
    const size_t at = read->first + read->places[index];
    sombra_err err = value ? take_value(read, *value, at, read->end) : SOMBRA_NOT_FOUND;
    if (UNLIKELY(err && err != SOMBRA_NOT_FOUND))
        return diag_wrap(err, "node %" PRIu64, read->nodes[at]);
    kept_value_add(read->txn, read->nodes[at], read->property, read->out[at]);
    return SOMBRA_OK;
}

/* Of the chunk what is kept; what is not is noted, and nothing until it is read. */
static void chunk_take_kept(struct property_read *read)
{
    struct kept_values *kept = &read->txn->kept;
    const size_t count = read->end - read->first;
    const sombra_node_id *nodes = read->nodes + read->first;
    sombra_slice *out = read->out + read->first;
    uint8_t *at = read->to->data + read->to->bytes;
    size_t missed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct kept_value *value = kept_value_find(kept, nodes[i], read->property);
        out[i] = slice_of(NULL, 0);
        if (!value) {
            read->places[missed++] = (uint8_t)i;
        } else if (value->length) {
            memcpy(at, value->bytes, sizeof value->bytes);
            out[i] = slice_of(at, value->length);
            at += value->length;
        }
    }
    read->to->bytes = (size_t)(at - read->to->data);
    read->missed = missed;
    kept->hits += count - missed;
}

/* The values of the first `count` of `nodes`, which are the chunk's, or of those in `places`. */
static sombra_err chunk_read_stored(struct property_read *read, const uint8_t *places, size_t count)
{
    uint8_t keys[PROPERTY_CHUNK][1 + ORDERED_BYTES_MAX];
    sombra_slice slices[PROPERTY_CHUNK];
    const sombra_node_id *nodes = read->nodes + read->first;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *end = key_put_1(keys[i], TAG_NODE, nodes[places ? places[i] : i]);
        slices[i] = slice_of(keys[i], (size_t)(end - keys[i]));
    }
    return kv_get_many(read->txn->kv, slices, count, places ? property_missed : property_each,
                       read);
}

static sombra_err chunk_read(struct property_read *read)
{
    const size_t count = read->end - read->first;
    sombra_err err = buf_reserve(read->to, count * KEPT_VALUE_BYTES);
    if (err)
        return err;
    if (UNLIKELY(read->to->data != read->base))
        values_move(read, read->first);
    if (!read->keeps)
        return chunk_read_stored(read, NULL, count);
    chunk_take_kept(read);
    return read->missed ? chunk_read_stored(read, read->places, read->missed) : SOMBRA_OK;
}

sombra_err graph_node_property_many(struct graph_txn *txn, const sombra_node_id *nodes,
                                    size_t count, sombra_slice name, sombra_slice *out_values)
{
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &id);
    if (err)
        return err;
    txn->lent++;
    buf_reset(&txn->read);
    record_finder_set(&txn->finder, true, id);
    kept_value_asked(&txn->kept, id);
    struct property_read read = { .txn = txn,
                                  .to = &txn->read,
                                  .property = id,
                                  .keeps = kept_values_wanted(txn, &txn->kept, count),
                                  .base = txn->read.data,
                                  .nodes = nodes,
                                  .out = out_values };
    for (size_t i = 0; id == 0 && i < count; i++)
        out_values[i] = slice_of(NULL, 0);
    for (; id && !err && read.first < count; read.first = read.end) {
        read.end = size_min(count, read.first + PROPERTY_CHUNK);
        err = chunk_read(&read);
    }
    return err;
}

struct records_read {
    struct buf *to;
    sombra_slice *out; /* offsets and lengths, until all are there */
};

static sombra_err record_each(void *context, size_t index, const sombra_slice *value)
{
    const struct records_read *read = context;
    sombra_slice *out = &read->out[index];
    *out = slice_of(NULL, 0);
    if (!value)
        return SOMBRA_OK;
    if (value->bytes == 0)
        return diag_fail(SOMBRA_CORRUPT, "the record of a node has no bytes");
    *out = slice_of(NULL, 1);
    if (read->to->bytes + value->bytes > GRAPH_RECORDS_BYTES)
        return SOMBRA_OK;
    sombra_err err = buf_append_slice(read->to, *value);
    out->bytes = err ? 1 : value->bytes + 1; /* one more than it has: it was read */
    return err;
}

sombra_err graph_node_records(struct graph_txn *txn, const sombra_node_id *nodes, size_t count,
                              struct buf *to, sombra_slice *out_records)
{
    struct graph_key keys[GRAPH_RECORDS];
    sombra_slice slices[GRAPH_RECORDS];
    struct records_read read = { to, out_records };
    sombra_err err = txn_check_read(txn);
    assert(count <= GRAPH_RECORDS);
    buf_reset(to);
    if (err || count == 0)
        return err;
    for (size_t i = 0; i < count; i++) {
        keys[i] = key_1(TAG_NODE, nodes[i]);
        slices[i] = key_slice(&keys[i]);
    }
    err = kv_get_many(txn->kv, slices, count, record_each, &read);
    for (size_t i = 0, offset = 0; !err && i < count; i++) { /* the buffer moves no more */
        if (out_records[i].bytes <= 1)
            continue;
        out_records[i] = slice_of(to->data + offset, out_records[i].bytes - 1);
        offset += out_records[i].bytes;
    }
    return err;
}

sombra_err graph_node_has_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                bool *out_has)
{
    uint32_t id = 0;
    bool has = false;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_LABEL, label, &id);
    if (!err && id) {
        struct graph_key key = key_2(TAG_LABEL, id, node);
        err = txn_has(txn, &key, &has);
    }
    if (!err)
        *out_has = has;
    return err;
}

sombra_err graph_node_count(struct graph_txn *txn, sombra_slice label, uint64_t *out_count)
{
    struct graph_key prefix = key_begin(TAG_NODE);
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && label.bytes) {
        err = graph_name_find(txn, SOMBRA_NAME_LABEL, label, &id);
        if (!err && id == 0)
            *out_count = 0;
        if (err || id == 0)
            return err;
        prefix = key_1(TAG_LABEL, id);
    }
    return err ? err : txn_count(txn, &prefix, 0, out_count);
}

/* ---- create ------------------------------------------------------------------------------ */

static int id_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

sombra_err node_labels(struct graph_txn *txn, const sombra_slice *labels, size_t count,
                       uint32_t *ids, size_t *out_count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        sombra_err err = graph_name_intern(txn, SOMBRA_NAME_LABEL, labels[i], &ids[i]);
        if (err)
            return diag_wrap(err, "label");
    }
    if (count > 1)
        qsort(ids, count, sizeof *ids, id_order);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || ids[kept - 1] != ids[i])
            ids[kept++] = ids[i];
    }
    *out_count = kept;
    return SOMBRA_OK;
}

static sombra_err put_empty(struct graph_txn *txn, struct graph_key key)
{
    return kv_put(txn->kv, key_slice(&key), slice_of(NULL, 0));
}

/* txn->record, and an entry for each label. */
static sombra_err write_new(struct graph_txn *txn, sombra_node_id node, const uint32_t *labels,
                            size_t label_count)
{
    struct graph_key key = key_1(TAG_NODE, node);
    txn->writes++;
    txn->counters_dirty = true;
    sombra_err err = kv_put(txn->kv, key_slice(&key), buf_slice(&txn->record));
    for (size_t i = 0; !err && i < label_count; i++)
        err = put_empty(txn, key_2(TAG_LABEL, labels[i], node));
    if (!err)
        err = plan_apply(txn);
    if (err)
        return txn_break(txn, err);
    txn_know_node(txn, node);
    return SOMBRA_OK;
}

sombra_err node_create_built(struct graph_txn *txn, const uint32_t *labels, size_t label_count,
                             sombra_node_id *out_node)
{
    sombra_node_id node = 0;
    sombra_err err = plan_record(txn, (struct subject_change){ .id = txn->next_node });
    if (!err)
        err = txn_take_id(&txn->next_node, "nodes", &node);
    if (!err)
        err = write_new(txn, node, labels, label_count);
    if (!err)
        *out_node = node;
    return err;
}

enum { LABELS_ON_STACK = 16 };

sombra_err graph_node_create(struct graph_txn *txn, const sombra_slice *labels, size_t label_count,
                             sombra_slice properties, sombra_node_id *out_node)
{
    uint32_t few[LABELS_ON_STACK], *ids = few;
    sombra_node_id node = 0;
    assert(labels || label_count == 0);
    sombra_err err = txn_check_write(txn);
    if (err)
        return err;
    if (label_count > LABELS_ON_STACK) {
        ids = mem_alloc(label_count * sizeof *ids);
        if (!ids)
            return diag_nomem("labels", label_count * sizeof *ids);
    }
    err = node_labels(txn, labels, label_count, ids, &label_count);
    if (!err)
        err = record_begin_labels(txn, ids, label_count);
    if (!err)
        err = record_build(txn, NULL, true, properties, GRAPH_REPLACE);
    if (!err)
        err = node_create_built(txn, ids, label_count, &node);
    if (ids != few)
        mem_free(ids);
    if (!err)
        *out_node = node;
    return diag_wrap(err, "create a node");
}

/* ---- change ------------------------------------------------------------------------------ */

static sombra_err missing(sombra_node_id node)
{
    return diag_fail(SOMBRA_NOT_FOUND, "there is no node %" PRIu64, node);
}

/* The record as it is, in memory that writes do not disturb. NOT_FOUND. */
static sombra_err load_old(struct graph_txn *txn, sombra_node_id node, sombra_record *out_old)
{
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_slice value;
    sombra_err err = kv_get(txn->kv, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND)
        return missing(node);
    if (!err)
        err = buf_set(&txn->old, value);
    return err ? err : graph_record_open(buf_slice(&txn->old), true, out_old);
}

/* txn->record in the place of the one whose bytes are txn->old. */
static sombra_err store_record(struct graph_txn *txn, sombra_node_id node)
{
    struct graph_key key = key_1(TAG_NODE, node);
    return plan_store_record(txn, &key, (struct subject_change){ .id = node });
}

sombra_err graph_node_change(struct graph_txn *txn, sombra_node_id node, sombra_slice properties,
                             enum graph_change change)
{
    sombra_record old;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = load_old(txn, node, &old);
    if (!err)
        err = record_build(txn, &old, true, properties, change);
    if (!err)
        err = store_record(txn, node);
    return diag_wrap(err, "set properties of node %" PRIu64, node);
}

sombra_err graph_node_remove_property(struct graph_txn *txn, sombra_node_id node, sombra_slice name)
{
    sombra_record old;
    uint32_t id = 0;
    sombra_slice unused;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &id);
    if (!err)
        err = load_old(txn, node, &old);
    if (err)
        return err;
    err = graph_record_find(&old, id, &unused);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err = record_build_without(txn, &old, true, id);
    if (!err)
        err = store_record(txn, node);
    return diag_wrap(err, "remove a property of node %" PRIu64, node);
}

/* The record with `label` added or removed: other labels, the same bytes behind them. */
static sombra_err rebuild_labels(struct graph_txn *txn, sombra_record *old, uint32_t label,
                                 bool adds)
{
    const uint8_t *properties = NULL;
    bool is_added = !adds;
    buf_reset(&txn->record);
    sombra_err err =
        buf_append_varint(&txn->record, adds ? old->label_count + 1u : old->label_count - 1u);
    while (!err) {
        uint32_t at = 0;
        bool found = false;
        err = graph_record_next_label(old, &at, &found);
        if (!err && !is_added && (!found || at > label)) {
            err = buf_append_varint(&txn->record, label);
            is_added = true;
        }
        if (err || !found)
            break;
        if (adds || at != label)
            err = buf_append_varint(&txn->record, at);
    }
    properties = old->label_at; /* the reader stands behind the last label */
    return err ? err : buf_append(&txn->record, properties, (size_t)(old->end - properties));
}

/* Adds or removes one label. */
static sombra_err change_label(struct graph_txn *txn, sombra_node_id node, uint32_t label,
                               bool adds)
{
    sombra_record old;
    struct graph_key key = key_2(TAG_LABEL, label, node);
    sombra_err err = load_old(txn, node, &old);
    if (!err && !adds && old.label_count == 0)
        err = diag_fail(SOMBRA_CORRUPT, "node %" PRIu64 " has a label entry and no labels", node);
    if (!err)
        err = rebuild_labels(txn, &old, label, adds);
    if (!err)
        err = store_record(txn, node);
    if (err)
        return err;
    txn->writes++;
    err = adds ? put_empty(txn, key) : kv_delete(txn->kv, key_slice(&key));
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

static sombra_err set_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                            bool is_wanted, bool *out_changed)
{
    uint32_t id = 0;
    bool has = false, exists = false;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_node_exists(txn, node, &exists);
    if (!err && !exists)
        return missing(node);
    if (!err)
        err = graph_node_has_label(txn, node, label, &has);
    bool changes = has != is_wanted;
    if (!err && changes)
        err = graph_name_intern(txn, SOMBRA_NAME_LABEL, label, &id);
    if (!err && changes)
        err = change_label(txn, node, id, is_wanted);
    if (!err && out_changed)
        *out_changed = changes;
    return err;
}

sombra_err graph_node_add_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                bool *out_changed)
{
    return diag_wrap(set_label(txn, node, label, true, out_changed), "add a label to node %" PRIu64,
                     node);
}

sombra_err graph_node_remove_label(struct graph_txn *txn, sombra_node_id node, sombra_slice label,
                                   bool *out_changed)
{
    return diag_wrap(set_label(txn, node, label, false, out_changed),
                     "remove a label of node %" PRIu64, node);
}

/* ---- delete ------------------------------------------------------------------------------ */

/* CONFLICT if it has edges. */
static sombra_err refuse_edges(struct graph_txn *txn, sombra_node_id node)
{
    uint64_t edges = 0;
    sombra_err err = graph_degree(txn, node, SOMBRA_BOTH, slice_of(NULL, 0), &edges);
    if (!err && edges > 0)
        err = diag_fail(SOMBRA_CONFLICT, "node %" PRIu64 " has %" PRIu64 " edges; pass detach",
                        node, edges);
    return err;
}

static sombra_err delete_edges(struct graph_txn *txn, sombra_node_id node)
{
    struct graph_neighbours *edges = mem_zalloc(sizeof *edges);
    if (!edges)
        return diag_nomem("edges of a node", sizeof *edges);
    sombra_err err = graph_neighbours_open(
        edges, txn, node, &(sombra_neighbours_options){ .direction = SOMBRA_BOTH });
    while (!err) {
        const sombra_neighbour *batch;
        size_t count;
        err = txn_ask(txn);
        if (!err)
            err = graph_neighbours_next(edges, &batch, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            struct graph_edge edge = { .id = batch[i].edge,
                                       .src = batch[i].is_out ? node : batch[i].node,
                                       .dst = batch[i].is_out ? batch[i].node : node,
                                       .type = batch[i].type };
            err = edge_delete(txn, &edge);
        }
    }
    graph_neighbours_close(edges);
    graph_neighbours_release(edges);
    mem_free(edges);
    return err;
}

sombra_err graph_node_delete(struct graph_txn *txn, sombra_node_id node, bool detach)
{
    sombra_record old;
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = load_old(txn, node, &old);
    if (!err)
        err = detach ? delete_edges(txn, node) : refuse_edges(txn, node);
    const struct subject_change change = { .id = node, .before = &old };
    if (!err)
        err = plan_change(txn, &change);
    if (err && detach && err != SOMBRA_NOT_FOUND && !txn->broken) /* some edges may be gone */
        err = txn_break(txn, err);
    if (err)
        return diag_wrap(err, "delete node %" PRIu64, node);
    txn->writes++;
    txn_forget_node(txn, node);
    err = kv_delete(txn->kv, key_slice(&key));
    if (!err)
        err = plan_apply(txn);
    while (!err) {
        uint32_t label = 0;
        bool found = false;
        err = graph_record_next_label(&old, &label, &found);
        if (err || !found)
            break;
        struct graph_key member = key_2(TAG_LABEL, label, node);
        err = kv_delete(txn->kv, key_slice(&member));
        if (err == SOMBRA_NOT_FOUND)
            err = diag_fail(SOMBRA_CORRUPT, "label %" PRIu32 " has no entry", label);
    }
    return err ? diag_wrap(txn_break(txn, err), "delete node %" PRIu64, node) : SOMBRA_OK;
}
