/* SPDX-License-Identifier: MIT */
/* Edges. An edge stands three times in the store: in its source's and its target's adjacency, and
 * under its id; its properties stand in the source's entry. */
#include "graph_internal.h"
#include "index_internal.h"

/* ---- read -------------------------------------------------------------------------------- */

static const unsigned type_bits[] = { 0, 3, 6, 16 };

static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

size_t edge_ends_write(const struct graph_edge *edge, uint8_t to[ENDS_BYTES_MAX])
{
    unsigned source = bits_of(edge->src), target = bits_of(edge->dst), code = 0;
    uint8_t *at = to;
    assert(source > 0 && target > 0 && edge->type > 0);
    while (code < COUNT_OF(type_bits) && (edge->type - 1) >> type_bits[code])
        code++;
    if (code == COUNT_OF(type_bits) || source > ENDS_SOURCE_BITS_MAX ||
        source + type_bits[code] + target > 64) {
        at = varint_put(at, edge->src);
        at = varint_put(at, edge->type);
        return (size_t)(varint_put(at, edge->dst) - to);
    }
    unsigned low = source + type_bits[code];
    uint64_t number = edge->src | (uint64_t)(edge->type - 1) << source | edge->dst << low;
    for (; number; number >>= 8)
        *at++ = (uint8_t)number;
    *at++ = (uint8_t)(ENDS_PACKED | code << ENDS_TYPE_SHIFT | (source - 1));
    return (size_t)(at - to);
}

/* Of 1 to 8 bytes and the one that says what they are; src 0 = they are damaged. */
static struct graph_edge unpack_ends(const uint8_t *at, size_t bytes)
{
    unsigned head = at[bytes - 1], source = (head & (ENDS_SOURCE_BITS_MAX - 1)) + 1;
    unsigned low = source + type_bits[head >> ENDS_TYPE_SHIFT & 3];
    uint64_t number = 0;
    for (size_t i = 0; i < bytes - 1; i++)
        number |= (uint64_t)at[i] << (8 * i);
    uint64_t lowest = number & ((UINT64_C(1) << low) - 1);
    return (struct graph_edge){ .src = lowest & ((UINT64_C(1) << source) - 1),
                                .type = (uint32_t)(lowest >> source) + 1,
                                .dst = number >> low };
}

sombra_err edge_ends_read(sombra_slice value, struct graph_edge *out_edge)
{
    const uint8_t *at = value.data, *end = at + value.bytes;
    uint64_t src = 0, type = 0, dst = 0;
    if (value.bytes > 1 && value.bytes <= 9 && end[-1] >= ENDS_PACKED) {
        struct graph_edge ends = unpack_ends(at, value.bytes);
        src = ends.src;
        type = ends.type;
        dst = ends.dst;
    } else {
        at = at ? varint_get(at, end, &src) : NULL;
        at = at ? varint_get(at, end, &type) : NULL;
        at = at ? varint_get(at, end, &dst) : NULL;
        if (at != end)
            at = NULL;
    }
    if (!at || src == 0 || dst == 0 || type == 0 || type > UINT32_MAX)
        return diag_fail(SOMBRA_CORRUPT, "the entry of an edge is not (source, type, target)");
    out_edge->src = src;
    out_edge->type = (uint32_t)type;
    out_edge->dst = dst;
    return SOMBRA_OK;
}

sombra_err graph_edge_ends(struct graph_txn *txn, sombra_edge_id edge, struct graph_edge *out_edge)
{
    struct graph_key key = key_1(TAG_EDGE, edge);
    sombra_slice value;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = kv_get(txn->kv, key_slice(&key), &value);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_NOT_FOUND;
    struct graph_edge found = { .id = edge };
    if (!err)
        err = edge_ends_read(value, &found);
    if (err)
        return diag_wrap(err, "edge %" PRIu64, edge);
    *out_edge = found;
    return SOMBRA_OK;
}

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
        err = txn_lend(txn, value, &value);
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
    return err ? err : txn_lend(txn, value, out_value);
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

sombra_err graph_edge_count(struct graph_txn *txn, sombra_slice type, uint64_t *out_count)
{
    struct graph_key prefix = key_begin(TAG_EDGE);
    uint32_t id = 0;
    uint64_t stored = 0;
    sombra_err err = txn_check_read(txn);
    if (!err && type.bytes == 0)
        return txn_count(txn, &prefix, 0, out_count);
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
    struct graph_key by_id = key_1(TAG_EDGE, edge->id);
    struct graph_key out = key_out(edge), in = key_in(edge);
    uint8_t value[ENDS_BYTES_MAX];
    size_t value_bytes = edge_ends_write(edge, value);
    txn->writes++;
    txn->counters_dirty = true;
    sombra_err err = kv_put(txn->kv, key_slice(&out), buf_slice(&txn->record));
    if (!err)
        err = kv_put(txn->kv, key_slice(&in), slice_of(NULL, 0));
    if (!err)
        err = kv_put(txn->kv, key_slice(&by_id), slice_of(value, value_bytes));
    if (!err)
        err = txn_type_add(txn, edge->type, 1);
    if (!err)
        err = plan_apply(txn);
    return err ? txn_break(txn, err) : SOMBRA_OK;
}

/* What txn->record, which replaces `before` (NULL = it is new), does to indexes. */
static sombra_err plan_record(struct graph_txn *txn, const struct graph_edge *edge,
                              const sombra_record *before)
{
    sombra_record after;
    if (LIKELY(txn->rules->count == 0))
        return SOMBRA_OK;
    sombra_err err = graph_record_open(buf_slice(&txn->record), false, &after);
    const struct subject_change change = {
        .is_edge = true, .id = edge->id, .type = edge->type, .before = before, .after = &after
    };
    return err ? err : plan_change(txn, &change);
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
        err = plan_record(txn, &edge, NULL);
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
    sombra_err err = SOMBRA_OK;
    if (UNLIKELY(txn->rules->count)) { /* the old one was walked while the new one was built */
        sombra_record old;
        err = graph_record_open(buf_slice(&txn->old), false, &old);
        if (!err)
            err = plan_record(txn, edge, &old);
    }
    if (err)
        return err;
    txn->writes++;
    err = kv_put(txn->kv, key_slice(&key), buf_slice(&txn->record));
    if (!err)
        err = plan_apply(txn);
    return err ? txn_break(txn, err) : SOMBRA_OK;
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

static sombra_err delete_key(struct graph_txn *txn, const struct graph_key *key, const char *where)
{
    sombra_err err = kv_delete(txn->kv, key_slice(key));
    if (err == SOMBRA_NOT_FOUND)
        err = diag_fail(SOMBRA_CORRUPT, "it is not among the %s", where);
    return err;
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
    struct graph_key by_id = key_1(TAG_EDGE, edge->id);
    struct graph_key out = key_out(edge), in = key_in(edge);
    sombra_err err = txn->rules->count ? plan_delete(txn, edge) : SOMBRA_OK;
    if (err)
        return diag_wrap(err, "delete edge %" PRIu64, edge->id);
    txn->writes++;
    err = delete_key(txn, &by_id, "edges");
    if (!err)
        err = delete_key(txn, &out, "edges of its source");
    if (!err)
        err = delete_key(txn, &in, "edges of its target");
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
