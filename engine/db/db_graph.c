/* SPDX-License-Identifier: MIT */
/* sombra/graph.h: each call checks the handle and hands on to graph/. */
#include "db_internal.h"

/* ---- names ------------------------------------------------------------------------------- */

sombra_err sombra_name_next(sombra_txn *txn, sombra_name_kind kind, uint32_t after,
                            sombra_name *out_name, bool *out_found)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_name_next(&txn->graph, kind, after, out_name, out_found);
}

sombra_err sombra_name_by_id(sombra_txn *txn, sombra_name_kind kind, uint32_t id,
                             sombra_name *out_name)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_name_by_id(&txn->graph, kind, id, out_name);
}

sombra_err sombra_name_by_text(sombra_txn *txn, sombra_name_kind kind, sombra_slice text,
                               sombra_name *out_name)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_name_by_text(&txn->graph, kind, text, out_name);
}

/* ---- records ----------------------------------------------------------------------------- */

/* Records of neighbours have generation 0: their bytes live with the iterator's batch. */
static sombra_err record_live(const sombra_record *record)
{
    sombra_err err = txn_live(record->txn);
    if (!err && record->generation && record->generation != record->txn->graph.lent)
        err = diag_fail(SOMBRA_INVALID, "a later read has replaced the record");
    return err;
}

static void record_bind(sombra_record *record, sombra_txn *txn)
{
    record->txn = txn;
    record->generation = txn->graph.lent;
}

sombra_err sombra_record_next_label(sombra_record *record, sombra_name *out_label, bool *out_found)
{
    uint32_t label = 0;
    bool found = false;
    sombra_err err = record_live(record);
    if (!err)
        err = graph_record_next_label(record, &label, &found);
    if (!err && found)
        err = graph_name_of_record(&record->txn->graph, SOMBRA_NAME_LABEL, label, out_label);
    if (!err)
        *out_found = found;
    return err;
}

sombra_err sombra_record_next_property(sombra_record *record, sombra_name *out_name,
                                       sombra_slice *out_value, bool *out_found)
{
    sombra_err err = record_live(record);
    return err ? err
               : graph_record_next_named(&record->txn->graph, record, out_name, out_value,
                                         out_found);
}

sombra_err sombra_record_property(const sombra_record *record, sombra_slice name,
                                  sombra_slice *out_value)
{
    uint32_t id = 0;
    sombra_err err = record_live(record);
    if (!err)
        err = graph_name_find(&record->txn->graph, SOMBRA_NAME_PROPERTY, name, &id);
    if (!err && id == 0)
        return SOMBRA_NOT_FOUND;
    return err ? err : graph_record_find(record, id, out_value);
}

/* ---- nodes ------------------------------------------------------------------------------- */

sombra_err sombra_node_create(sombra_txn *txn, const sombra_slice *labels, size_t label_count,
                              sombra_slice properties, sombra_node_id *out_node)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_create(&txn->graph, labels, label_count, properties, out_node);
}

sombra_err sombra_node_set(sombra_txn *txn, sombra_node_id node, sombra_slice properties)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_change(&txn->graph, node, properties, GRAPH_MERGE);
}

sombra_err sombra_node_replace(sombra_txn *txn, sombra_node_id node, sombra_slice properties)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_change(&txn->graph, node, properties, GRAPH_REPLACE);
}

sombra_err sombra_node_remove_property(sombra_txn *txn, sombra_node_id node, sombra_slice name)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_remove_property(&txn->graph, node, name);
}

sombra_err sombra_node_add_label(sombra_txn *txn, sombra_node_id node, sombra_slice label,
                                 bool *out_changed)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_add_label(&txn->graph, node, label, out_changed);
}

sombra_err sombra_node_remove_label(sombra_txn *txn, sombra_node_id node, sombra_slice label,
                                    bool *out_changed)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_remove_label(&txn->graph, node, label, out_changed);
}

sombra_err sombra_node_delete(sombra_txn *txn, sombra_node_id node, bool detach)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_delete(&txn->graph, node, detach);
}

sombra_err sombra_node_exists(sombra_txn *txn, sombra_node_id node, bool *out_exists)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_exists(&txn->graph, node, out_exists);
}

sombra_err sombra_node_get(sombra_txn *txn, sombra_node_id node, sombra_record *out_record)
{
    sombra_err err = txn_live(txn);
    if (!err)
        err = graph_node_get(&txn->graph, node, out_record);
    if (!err)
        record_bind(out_record, txn);
    return err;
}

sombra_err sombra_node_property(sombra_txn *txn, sombra_node_id node, sombra_slice name,
                                sombra_slice *out_value)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_property(&txn->graph, node, name, out_value);
}

sombra_err sombra_node_properties(sombra_txn *txn, sombra_node_id node, const sombra_slice *names,
                                  size_t count, sombra_slice *out_values)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_properties(&txn->graph, node, names, count, out_values);
}

sombra_err sombra_node_property_many(sombra_txn *txn, const sombra_node_id *nodes, size_t count,
                                     sombra_slice name, sombra_slice *out_values)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_property_many(&txn->graph, nodes, count, name, out_values);
}

sombra_err sombra_node_has_label(sombra_txn *txn, sombra_node_id node, sombra_slice label,
                                 bool *out_has)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_has_label(&txn->graph, node, label, out_has);
}

sombra_err sombra_node_count(sombra_txn *txn, sombra_slice label, uint64_t *out_count)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_count(&txn->graph, label, out_count);
}

/* ---- edges ------------------------------------------------------------------------------- */

sombra_err sombra_edge_create(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                              sombra_node_id dst, sombra_slice properties, sombra_edge_id *out_edge)
{
    sombra_err err = txn_live(txn);
    const struct graph_edge ends = { .src = src, .dst = dst };
    return err ? err : graph_edge_create(&txn->graph, &ends, type, properties, out_edge);
}

sombra_err sombra_edge_set(sombra_txn *txn, sombra_edge_id edge, sombra_slice properties)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_change(&txn->graph, edge, properties, GRAPH_MERGE);
}

sombra_err sombra_edge_replace(sombra_txn *txn, sombra_edge_id edge, sombra_slice properties)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_change(&txn->graph, edge, properties, GRAPH_REPLACE);
}

sombra_err sombra_edge_remove_property(sombra_txn *txn, sombra_edge_id edge, sombra_slice name)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_remove_property(&txn->graph, edge, name);
}

sombra_err sombra_edge_delete(sombra_txn *txn, sombra_edge_id edge)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_delete(&txn->graph, edge);
}

sombra_err sombra_edge_exists(sombra_txn *txn, sombra_edge_id edge, bool *out_exists)
{
    struct graph_edge unused;
    sombra_err err = txn_live(txn);
    if (!err)
        err = graph_edge_ends(&txn->graph, edge, &unused);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    *out_exists = !err;
    return SOMBRA_OK;
}

sombra_err sombra_edge_get(sombra_txn *txn, sombra_edge_id edge, sombra_edge *out_edge,
                           sombra_record *out_record)
{
    struct graph_edge ends;
    sombra_name type = { 0 };
    sombra_record record = { 0 };
    sombra_err err = txn_live(txn);
    if (!err)
        err = graph_edge_ends(&txn->graph, edge, &ends);
    if (!err && out_edge)
        err = graph_name_of_record(&txn->graph, SOMBRA_NAME_TYPE, ends.type, &type);
    if (!err && out_record)
        err = graph_edge_record(&txn->graph, &ends, &record);
    if (err)
        return err;
    if (out_edge)
        *out_edge = (sombra_edge){ .id = edge, .src = ends.src, .dst = ends.dst, .type = type };
    if (out_record) {
        record_bind(&record, txn);
        *out_record = record;
    }
    return SOMBRA_OK;
}

sombra_err sombra_edge_property(sombra_txn *txn, sombra_edge_id edge, sombra_slice name,
                                sombra_slice *out_value)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_property(&txn->graph, edge, name, out_value);
}

sombra_err sombra_edge_find(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                            sombra_node_id dst, sombra_edge_id *out_edge)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_find(&txn->graph, src, type, dst, out_edge);
}

sombra_err sombra_edge_count(sombra_txn *txn, sombra_slice type, uint64_t *out_count)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_count(&txn->graph, type, out_count);
}

sombra_err sombra_degree(sombra_txn *txn, sombra_node_id node, sombra_direction direction,
                         sombra_slice type, uint64_t *out_degree)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_degree(&txn->graph, node, direction, type, out_degree);
}

/* ---- neighbours -------------------------------------------------------------------------- */

sombra_err sombra_neighbours_open(sombra_txn *txn, sombra_node_id node,
                                  const sombra_neighbours_options *given,
                                  sombra_neighbours **out_neighbours)
{
    sombra_neighbours_options options;
    void *child;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &options, sizeof options);
    if (!err)
        err = child_new(txn, CHILD_NEIGHBOURS, &child);
    if (err)
        return err;
    sombra_neighbours *neighbours = child;
    err = graph_neighbours_open(&neighbours->graph, &txn->graph, node, &options);
    if (err)
        child_close(&neighbours->child);
    else
        *out_neighbours = neighbours;
    return err;
}

sombra_err sombra_neighbours_next(sombra_neighbours *neighbours, const sombra_neighbour **out_batch,
                                  size_t *out_count)
{
    sombra_err err = txn_live(neighbours->child.txn);
    return err ? err : graph_neighbours_next(&neighbours->graph, out_batch, out_count);
}

sombra_err sombra_neighbours_renew(sombra_neighbours *neighbours, size_t used, bool *out_is_renewed)
{
    sombra_err err = txn_live(neighbours->child.txn);
    return err ? err : graph_neighbours_renew(&neighbours->graph, used, out_is_renewed);
}

sombra_err sombra_neighbour_record(sombra_neighbours *neighbours, const sombra_neighbour *neighbour,
                                   sombra_record *out_record)
{
    sombra_record record;
    sombra_err err = txn_live(neighbours->child.txn);
    if (!err && !neighbours->graph.with_properties)
        err = diag_fail(SOMBRA_INVALID, "the neighbours were opened without with_properties");
    if (!err)
        err = graph_record_open(neighbour->properties, false, &record);
    if (err)
        return err;
    record.txn = neighbours->child.txn;
    record.generation = 0;
    *out_record = record;
    return SOMBRA_OK;
}

void sombra_neighbours_close(sombra_neighbours *neighbours)
{
    if (neighbours)
        child_close(&neighbours->child);
}

/* ---- ids --------------------------------------------------------------------------------- */

static sombra_err ids_open(sombra_txn *txn, enum graph_ids_kind kind, sombra_slice label,
                           const sombra_ids_options *given, sombra_ids **out_ids)
{
    sombra_ids_options options;
    void *child;
    sombra_err err = txn_live(txn);
    if (!err)
        err = options_read(given, &options, sizeof options);
    if (!err)
        err = child_new(txn, CHILD_IDS, &child);
    if (err)
        return err;
    sombra_ids *ids = child;
    err = graph_ids_open(&ids->graph, &txn->graph, kind, label, &options);
    if (err)
        child_close(&ids->child);
    else
        *out_ids = ids;
    return err;
}

sombra_err sombra_nodes_open(sombra_txn *txn, sombra_slice label, const sombra_ids_options *options,
                             sombra_ids **out_ids)
{
    return ids_open(txn, GRAPH_NODES, label, options, out_ids);
}

sombra_err sombra_edges_open(sombra_txn *txn, const sombra_ids_options *options,
                             sombra_ids **out_ids)
{
    return ids_open(txn, GRAPH_EDGES, slice_of(NULL, 0), options, out_ids);
}

sombra_err sombra_ids_next(sombra_ids *ids, const uint64_t **out_batch, size_t *out_count)
{
    sombra_err err = txn_live(ids->child.txn);
    return err ? err : graph_ids_next(&ids->graph, out_batch, out_count);
}

sombra_err sombra_ids_renew(sombra_ids *ids, size_t used, bool *out_is_renewed)
{
    sombra_err err = txn_live(ids->child.txn);
    return err ? err : graph_ids_renew(&ids->graph, used, out_is_renewed);
}

void sombra_ids_close(sombra_ids *ids)
{
    if (ids)
        child_close(&ids->child);
}
