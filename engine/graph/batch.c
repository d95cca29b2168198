/* SPDX-License-Identifier: MIT */
/* Many nodes, or many edges, at once: written in the order of their keys, one kind of key after the
 * other, so that the store goes from page to page. All or none by a savepoint. */
#include "index_internal.h"

#include <stdlib.h>

/* ---- rules ------------------------------------------------------------------------------- */

/* What the rules of some subjects ask of each new member. */
struct batch_rules {
    const struct graph_rule **checks; /* REQUIRED and KIND */
    size_t check_count;
    struct index_batch *indexes;
    size_t index_count;
};

static void rules_release_batch(struct batch_rules *rules)
{
    for (size_t i = 0; i < rules->index_count; i++)
        index_batch_release(&rules->indexes[i]);
    mem_free(rules->indexes);
    mem_free(rules->checks);
}

static sombra_err rules_gather(struct graph_txn *txn, bool is_edge, const uint32_t *subjects,
                               size_t subject_count, struct batch_rules *out_rules)
{
    size_t total = 0;
    *out_rules = (struct batch_rules){ 0 };
    for (size_t i = 0; i < subject_count; i++) {
        const struct graph_rule *rules;
        size_t count;
        rules_of(txn, is_edge, subjects[i], &rules, &count);
        total += count;
    }
    if (total == 0)
        return SOMBRA_OK;
    out_rules->checks = mem_zalloc(total * sizeof *out_rules->checks);
    out_rules->indexes = mem_zalloc(total * sizeof *out_rules->indexes);
    if (!out_rules->checks || !out_rules->indexes)
        return diag_nomem("rules of a batch", total * sizeof *out_rules->indexes);
    for (size_t i = 0; i < subject_count; i++) {
        const struct graph_rule *rules;
        size_t count;
        rules_of(txn, is_edge, subjects[i], &rules, &count);
        for (size_t j = 0; j < count; j++) {
            if (rule_is_index(&rules[j]))
                out_rules->indexes[out_rules->index_count++].rule = &rules[j];
            else
                out_rules->checks[out_rules->check_count++] = &rules[j];
        }
    }
    return SOMBRA_OK;
}

/* txn->record is the new member's. */
static sombra_err rules_add(struct graph_txn *txn, struct batch_rules *rules, uint64_t id,
                            bool is_node)
{
    sombra_record record;
    if (rules->check_count + rules->index_count == 0)
        return SOMBRA_OK;
    sombra_err err = graph_record_open(buf_slice(&txn->record), is_node, &record);
    for (size_t i = 0; !err && i < rules->check_count; i++)
        err = constraint_check(txn, rules->checks[i], 0, NULL, &record);
    for (size_t i = 0; !err && i < rules->index_count; i++)
        err = index_batch_add(&rules->indexes[i], id, &record);
    return err;
}

static sombra_err rules_write(struct graph_txn *txn, struct batch_rules *rules)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < rules->index_count; i++)
        err = index_batch_write(&rules->indexes[i], txn);
    return err;
}

/* ---- nodes ------------------------------------------------------------------------------- */

static sombra_err put_empty(struct graph_txn *txn, struct graph_key key)
{
    return kv_put(txn->kv, key_slice(&key), slice_of(NULL, 0));
}

static sombra_err put_nodes(struct graph_txn *txn, const uint32_t *labels, size_t label_count,
                            const sombra_slice *properties, size_t count, struct batch_rules *rules)
{
    sombra_node_id first = txn->next_node;
    sombra_err err = SOMBRA_OK;
    txn->counters_dirty = true;
    for (size_t i = 0; !err && i < count; i++) {
        sombra_node_id node = 0;
        err = record_begin_labels(txn, labels, label_count);
        if (!err)
            err = record_build(txn, NULL, true, properties[i], GRAPH_REPLACE);
        if (!err)
            err = txn_take_id(&txn->next_node, "nodes", &node);
        if (!err)
            err = rules_add(txn, rules, node, true);
        struct graph_key key = key_1(TAG_NODE, node);
        txn->writes++;
        if (!err)
            err = kv_put(txn->kv, key_slice(&key), buf_slice(&txn->record));
        if (err)
            err = diag_wrap(err, "number %zu of the batch", i + 1);
    }
    for (size_t label = 0; label < label_count; label++) {
        for (size_t i = 0; !err && i < count; i++)
            err = put_empty(txn, key_2(TAG_LABEL, labels[label], first + i));
    }
    return err ? err : rules_write(txn, rules);
}

static sombra_err create_nodes(struct graph_txn *txn, const sombra_slice *labels,
                               size_t label_count, const sombra_slice *properties, size_t count)
{
    struct batch_rules rules = { 0 };
    uint32_t *ids = mem_alloc((label_count + 1) * sizeof *ids);
    if (!ids)
        return diag_nomem("labels", label_count * sizeof *ids);
    sombra_err err = node_labels(txn, labels, label_count, ids, &label_count);
    if (!err)
        err = rules_gather(txn, false, ids, label_count, &rules);
    if (!err)
        err = put_nodes(txn, ids, label_count, properties, count, &rules);
    rules_release_batch(&rules);
    mem_free(ids);
    return err;
}

sombra_err graph_node_create_many(struct graph_txn *txn, const sombra_slice *labels,
                                  size_t label_count, const sombra_slice *properties, size_t count,
                                  sombra_node_id *out_first)
{
    uint64_t mark = 0;
    assert(labels || label_count == 0);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_txn_savepoint(txn, &mark);
    if (err)
        return diag_wrap(err, "create nodes");
    sombra_node_id first = txn->next_node;
    err = create_nodes(txn, labels, label_count, properties, count);
    if (err)
        txn->next_node = first; /* ids of the batch exist for nobody */
    err = txn_end_mark(txn, mark, err);
    if (!err)
        *out_first = first;
    return diag_wrap(err, "create nodes");
}

/* ---- edges ------------------------------------------------------------------------------- */

struct place {
    uint64_t node, other; /* source and target, or the other way round */
    size_t index;         /* in the batch */
};

static int place_order(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->node != right->node)
        return left->node < right->node ? -1 : 1;
    if (left->other != right->other)
        return left->other < right->other ? -1 : 1;
    return (left->index > right->index) - (left->index < right->index);
}

static void places_sort(struct place *places, size_t count)
{
    bool is_sorted = true;
    for (size_t i = 1; is_sorted && i < count; i++)
        is_sorted = place_order(&places[i - 1], &places[i]) < 0;
    if (!is_sorted)
        qsort(places, count, sizeof *places, place_order);
}

static sombra_err nodes_exist(struct graph_txn *txn, const struct place *places, size_t count,
                              const char *end)
{
    for (size_t i = 0; i < count; i++) {
        bool exists = false;
        if (i > 0 && places[i].node == places[i - 1].node)
            continue;
        sombra_err err = graph_node_exists(txn, places[i].node, &exists);
        if (!err && !exists)
            err = diag_fail(SOMBRA_NOT_FOUND, "the %s, node %" PRIu64 ", does not exist", end,
                            places[i].node);
        if (err)
            return diag_wrap(err, "number %zu of the batch", places[i].index + 1);
    }
    return SOMBRA_OK;
}

struct edge_batch {
    uint32_t type;
    sombra_edge_id first;
    const sombra_new_edge *edges;
    size_t count;
    struct place *places;
    struct batch_rules rules;
};

static struct graph_edge edge_at(const struct edge_batch *batch, size_t index)
{
    return (struct graph_edge){ .id = batch->first + index,
                                .src = batch->edges[index].src,
                                .dst = batch->edges[index].dst,
                                .type = batch->type };
}

static void places_set(struct edge_batch *batch, bool is_out)
{
    for (size_t i = 0; i < batch->count; i++) {
        const sombra_new_edge *edge = &batch->edges[i];
        batch->places[i] = (struct place){ .node = is_out ? edge->src : edge->dst,
                                           .other = is_out ? edge->dst : edge->src,
                                           .index = i };
    }
    places_sort(batch->places, batch->count);
}

static sombra_err put_ids(struct graph_txn *txn, struct edge_batch *batch)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < batch->count; i++) {
        struct graph_edge edge = { 0 };
        uint8_t value[3 * VARINT_BYTES_MAX], *at = value;
        err = txn_take_id(&txn->next_edge, "edges", &edge.id);
        at = varint_put(at, batch->edges[i].src);
        at = varint_put(at, batch->type);
        at = varint_put(at, batch->edges[i].dst);
        struct graph_key key = key_1(TAG_EDGE, edge.id);
        if (!err)
            err = kv_put(txn->kv, key_slice(&key), slice_of(value, (size_t)(at - value)));
    }
    return err;
}

static sombra_err put_outs(struct graph_txn *txn, struct edge_batch *batch)
{
    places_set(batch, true);
    sombra_err err = nodes_exist(txn, batch->places, batch->count, "source");
    for (size_t i = 0; !err && i < batch->count; i++) {
        size_t index = batch->places[i].index;
        struct graph_edge edge = edge_at(batch, index);
        err = record_build(txn, NULL, false, batch->edges[index].properties, GRAPH_REPLACE);
        if (!err)
            err = rules_add(txn, &batch->rules, edge.id, false);
        struct graph_key key = key_out(&edge);
        if (!err)
            err = kv_put(txn->kv, key_slice(&key), buf_slice(&txn->record));
        if (err)
            err = diag_wrap(err, "number %zu of the batch", index + 1);
    }
    return err;
}

static sombra_err put_ins(struct graph_txn *txn, struct edge_batch *batch)
{
    places_set(batch, false);
    sombra_err err = nodes_exist(txn, batch->places, batch->count, "target");
    for (size_t i = 0; !err && i < batch->count; i++) {
        struct graph_edge edge = edge_at(batch, batch->places[i].index);
        struct graph_key key = key_in(&edge);
        err = kv_put(txn->kv, key_slice(&key), slice_of(NULL, 0));
    }
    return err;
}

static sombra_err create_edges(struct graph_txn *txn, struct edge_batch *batch)
{
    size_t bytes = (batch->count + 1) * sizeof *batch->places;
    batch->places = mem_alloc(bytes);
    sombra_err err = batch->places ? SOMBRA_OK : diag_nomem("a batch of edges", bytes);
    if (!err)
        err = rules_gather(txn, true, &batch->type, 1, &batch->rules);
    txn->writes++;
    txn->counters_dirty = true;
    if (!err)
        err = put_outs(txn, batch);
    if (!err)
        err = put_ins(txn, batch);
    if (!err)
        err = put_ids(txn, batch);
    if (!err)
        err = txn_type_add(txn, batch->type, (int64_t)batch->count);
    if (!err)
        err = rules_write(txn, &batch->rules);
    rules_release_batch(&batch->rules);
    mem_free(batch->places);
    return err;
}

sombra_err graph_edge_create_many(struct graph_txn *txn, sombra_slice type,
                                  const sombra_new_edge *edges, size_t count,
                                  sombra_edge_id *out_first)
{
    uint64_t mark = 0;
    struct edge_batch batch = { .edges = edges, .count = count };
    assert(edges || count == 0);
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = graph_txn_savepoint(txn, &mark);
    if (err)
        return diag_wrap(err, "create edges");
    batch.first = txn->next_edge;
    err = diag_wrap(graph_name_intern(txn, SOMBRA_NAME_TYPE, type, &batch.type), "type");
    if (!err)
        err = create_edges(txn, &batch);
    if (err)
        txn->next_edge = batch.first; /* ids of the batch exist for nobody */
    err = txn_end_mark(txn, mark, err);
    if (!err)
        *out_first = batch.first;
    return diag_wrap(err, "create edges");
}
