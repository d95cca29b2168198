/* SPDX-License-Identifier: MIT */
/* Edges. An edge stands three times in the store: in its source's and its target's adjacency, and
 * among the ends by id; its properties stand in the source's entry. */
#include "graph_internal.h"
#include "index_internal.h"

/* ---- read -------------------------------------------------------------------------------- */

sombra_err edge_stored_record(struct graph_txn *txn, const struct graph_edge *edge,
                              sombra_slice *out_value)
{
    struct graph_key key = key_out(edge);
    sombra_err err = kv_get(txn->kv, key_slice(&key), out_value);
    if (err == SOMBRA_NOT_FOUND)
        err = diag_fail(SOMBRA_CORRUPT, "edge %" PRIu64 " is not among those of node %" PRIu64,
                        edge->id, edge->src);
    return err;
}

sombra_err graph_edge_record(struct graph_txn *txn, const struct graph_edge *edge,
                             sombra_record *out_record)
{
    sombra_slice value;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = edge_stored_record(txn, edge, &value);
    if (!err)
        err = txn_lend_value(txn, value, &value);
    if (!err)
        err = graph_record_open(value, false, out_record);
    return diag_wrap(err, "edge %" PRIu64, edge->id);
}

sombra_err graph_edge_property(struct graph_txn *txn, sombra_edge_id edge, sombra_slice name,
                               sombra_slice *out_value)
{
    struct graph_edge ends;
    sombra_slice value;
    uint32_t id = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &id);
    if (!err)
        err = graph_edge_ends(txn, edge, &ends);
    if (!err)
        err = edge_stored_record(txn, &ends, &value);
    if (err)
        return err;
    err = graph_record_value(value, false, id, &value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    return err ? err : txn_lend_value(txn, value, out_value);
}

/* The first key of a range; *out_edge 0 = it is empty. */
static sombra_err first_edge(struct graph_txn *txn, const struct graph_key *prefix,
                             sombra_edge_id *out_edge)
{
    struct key_span span;
    struct kv_cursor *cursor;
    bool found = false;
    sombra_edge_id edge = 0;
    sombra_err err = kv_cursor_open(txn->kv, span_of(prefix, &span), &cursor);
    if (err)
        return err;
    err = kv_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found);
    if (!err && found) {
        sombra_slice key = cursor->entry.key;
        const uint8_t *end = (const uint8_t *)key.data + key.bytes;
        if (ordered_read((const uint8_t *)key.data + prefix->length, end, &edge) != end)
            err = corrupt_key(key, "source, type, target, edge");
    }
    kv_cursor_close(cursor);
    if (!err)
        *out_edge = edge;
    return err;
}

/* Among all types, the one made first that has such an edge. */
static sombra_err find_any_type(struct graph_txn *txn, sombra_node_id src, sombra_node_id dst,
                                sombra_edge_id *out_edge)
{
    uint32_t *types = NULL;
    size_t count = 0, capacity = 0;
    sombra_edge_id edge = 0;
    sombra_err err = node_types(txn, src, TAG_OUT, &types, &count, &capacity);
    for (size_t i = 0; !err && edge == 0 && i < count; i++) {
        struct graph_key prefix = key_3(TAG_OUT, src, types[i], dst);
        err = first_edge(txn, &prefix, &edge);
    }
    mem_free(types);
    if (!err)
        *out_edge = edge;
    return err;
}

sombra_err graph_edge_find(struct graph_txn *txn, sombra_node_id src, sombra_slice type,
                           sombra_node_id dst, sombra_edge_id *out_edge)
{
    uint32_t id = 0;
    sombra_edge_id edge = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && type.bytes == 0) {
        err = find_any_type(txn, src, dst, &edge);
    } else if (!err) {
        err = graph_name_find(txn, SOMBRA_NAME_TYPE, type, &id);
        struct graph_key prefix = key_3(TAG_OUT, src, id, dst);
        if (!err && id)
            err = first_edge(txn, &prefix, &edge);
    }
    if (err)
        return err;
    if (edge == 0)
        return SOMBRA_NOT_FOUND;
    *out_edge = edge;
    return SOMBRA_OK;
}

/* Of all types: their counts, and what the transaction adds to them. */
static sombra_err count_all(struct graph_txn *txn, uint64_t *out_count)
{
    struct graph_key prefix = key_begin(TAG_TYPE_COUNT);
    struct key_span span;
    struct kv_cursor *cursor;
    uint64_t total = 0;
    sombra_err err = kv_cursor_open(txn->kv, span_of(&prefix, &span), &cursor);
    if (err)
        return err;
    for (;;) {
        uint64_t count = 0;
        bool found = false;
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        if (!err && found)
            err = type_count_read(cursor->entry.value, &count);
        if (err || !found)
            break;
        total += count;
    }
    kv_cursor_close(cursor);
    for (uint32_t type = 0; txn->types_dirty && type < txn->type_capacity; type++)
        total += (uint64_t)txn->type_deltas[type];
    if (!err)
        *out_count = total;
    return err;
}

sombra_err graph_edge_count(struct graph_txn *txn, sombra_slice type, uint64_t *out_count)
{
    uint32_t id = 0;
    uint64_t stored = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && type.bytes == 0)
        return count_all(txn, out_count);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_TYPE, type, &id);
    if (!err && id)
        err = txn_type_stored(txn, id, &stored);
    if (!err)
        *out_count = stored + (uint64_t)txn_type_delta(txn, id);
    return err;
}

/* ---- create ------------------------------------------------------------------------------ */

static sombra_err check_ends(struct graph_txn *txn, const struct graph_edge *ends)
{
    bool exists = false;
    sombra_err err = graph_node_exists(txn, ends->src, &exists);
    if (!err && !exists)
        return diag_fail(SOMBRA_NOT_FOUND, "the source, node %" PRIu64 ", does not exist",
                         ends->src);
    if (!err)
        err = graph_node_exists(txn, ends->dst, &exists);
    if (!err && !exists)
        return diag_fail(SOMBRA_NOT_FOUND, "the target, node %" PRIu64 ", does not exist",
                         ends->dst);
    return err;
}

/* txn->record and the three entries. */
static sombra_err write_new(struct graph_txn *txn, const struct graph_edge *edge)
{
    struct graph_key out = key_out(edge), in = key_in(edge);
    txn->writes++;
    txn->counters_dirty = true;
    sombra_err err = kv_put(txn->kv, key_slice(&out), buf_slice(&txn->record));
    if (!err)
        err = kv_put(txn->kv, key_slice(&in), slice_of(NULL, 0));
    if (!err)
        err = edge_ends_add(txn, edge);
    if (!err)
        err = txn_type_add(txn, edge->type, 1);
    if (!err)
        err = plan_apply(txn);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

static struct subject_change change_of(const struct graph_edge *edge)
{
    return (struct subject_change){ .is_edge = true, .id = edge->id, .type = edge->type };
}

sombra_err graph_edge_create(struct graph_txn *txn, const struct graph_edge *ends,
                             sombra_slice type, sombra_slice properties, sombra_edge_id *out_edge)
{
    struct graph_edge edge = *ends;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = check_ends(txn, ends);
    if (!err)
        err = diag_wrap(graph_name_intern(txn, SOMBRA_NAME_TYPE, type, &edge.type), "type");
    if (!err)
        err = record_build(txn, NULL, false, properties, GRAPH_REPLACE);
    edge.id = txn->next_edge;
    if (!err)
        err = plan_record(txn, change_of(&edge));
    if (!err)
        err = txn_take_id(&txn->next_edge, "edges", &edge.id);
    if (!err)
        err = write_new(txn, &edge);
    if (err)
        return diag_wrap(err, "create an edge");
    *out_edge = edge.id;
    return SOMBRA_OK;
}

/* ---- change ------------------------------------------------------------------------------ */

static sombra_err missing(sombra_edge_id edge)
{
    return diag_fail(SOMBRA_NOT_FOUND, "there is no edge %" PRIu64, edge);
}

static sombra_err load_old(struct graph_txn *txn, sombra_edge_id id, struct graph_edge *out_edge,
                           sombra_record *out_old)
{
    sombra_slice value;
    sombra_err err = graph_edge_ends(txn, id, out_edge);
    if (err == SOMBRA_NOT_FOUND)
        return missing(id);
    if (!err)
        err = edge_stored_record(txn, out_edge, &value);
    if (!err)
        err = buf_set(&txn->old, value);
    return err ? err : graph_record_open(buf_slice(&txn->old), false, out_old);
}

/* txn->record in the place of the one whose bytes are txn->old. */
static sombra_err store_record(struct graph_txn *txn, const struct graph_edge *edge)
{
    struct graph_key key = key_out(edge);
    return plan_store_record(txn, &key, change_of(edge));
}

sombra_err graph_edge_change(struct graph_txn *txn, sombra_edge_id id, sombra_slice properties,
                             enum graph_change change)
{
    struct graph_edge edge;
    sombra_record old;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = load_old(txn, id, &edge, &old);
    if (!err)
        err = record_build(txn, &old, false, properties, change);
    if (!err)
        err = store_record(txn, &edge);
    return diag_wrap(err, "set properties of edge %" PRIu64, id);
}

sombra_err graph_edge_remove_property(struct graph_txn *txn, sombra_edge_id id, sombra_slice name)
{
    struct graph_edge edge;
    sombra_record old;
    sombra_slice unused;
    uint32_t name_id = 0;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, name, &name_id);
    if (!err)
        err = load_old(txn, id, &edge, &old);
    if (err)
        return err;
    err = graph_record_find(&old, name_id, &unused);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err = record_build_without(txn, &old, false, name_id);
    if (!err)
        err = store_record(txn, &edge);
    return diag_wrap(err, "remove a property of edge %" PRIu64, id);
}

/* ---- delete ------------------------------------------------------------------------------ */

/* What is deleted must be there. */
static sombra_err absent(sombra_err err, const char *where)
{
    return err == SOMBRA_NOT_FOUND ? diag_fail(SOMBRA_CORRUPT, "it is not among the %s", where)
                                   : err;
}

/* Nothing that is planned for a deletion is refused, and nothing of it reads the store. */
static sombra_err plan_delete(struct graph_txn *txn, const struct graph_edge *edge)
{
    const struct graph_rule *rules;
    size_t count;
    sombra_slice value;
    sombra_record record;
    rules_of(txn, true, edge->type, &rules, &count);
    plan_drop(txn);
    if (count == 0)
        return SOMBRA_OK;
    sombra_err err = edge_stored_record(txn, edge, &value);
    if (!err)
        err = graph_record_open(value, false, &record);
    const struct subject_change change = {
        .is_edge = true, .id = edge->id, .type = edge->type, .before = &record
    };
    return err ? err : plan_change(txn, &change);
}

sombra_err edge_delete(struct graph_txn *txn, const struct graph_edge *edge)
{
    struct graph_key out = key_out(edge), in = key_in(edge);
    sombra_err err = txn->rules->count ? plan_delete(txn, edge) : SOMBRA_OK;
    if (err)
        return diag_wrap(err, "delete edge %" PRIu64, edge->id);
    txn->writes++;
    err = absent(edge_ends_delete(txn, edge->id), "edges");
    if (!err)
        err = absent(kv_delete(txn->kv, key_slice(&out)), "edges of its source");
    if (!err)
        err = absent(kv_delete(txn->kv, key_slice(&in)), "edges of its target");
    if (!err)
        err = txn_type_add(txn, edge->type, -1);
    if (!err)
        err = plan_apply(txn);
    return err ? diag_wrap(txn_break(txn, err), "delete edge %" PRIu64, edge->id) : SOMBRA_OK;
}

sombra_err graph_edge_delete(struct graph_txn *txn, sombra_edge_id id)
{
    struct graph_edge edge;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_edge_ends(txn, id, &edge);
    if (err == SOMBRA_NOT_FOUND)
        return missing(id);
    return err ? err : edge_delete(txn, &edge);
}
