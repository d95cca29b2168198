/* SPDX-License-Identifier: MIT */
/* sombra/index.h: each call checks the handle and hands on to graph/; the online build is a
 * sequence of transactions. */
#include "db_internal.h"

/* ---- rules ------------------------------------------------------------------------------- */

static sombra_err rule_given(const sombra_rule *given, sombra_rule *out_rule)
{
    if (!given)
        return diag_fail(SOMBRA_INVALID, "no rule is given");
    return options_read(given, out_rule, sizeof *out_rule);
}

sombra_err sombra_rule_create(sombra_txn *txn, const sombra_rule *given,
                              const sombra_job *given_job, uint32_t *out_id)
{
    sombra_rule rule;
    sombra_job job;
    sombra_err err = txn_live(txn);
    if (!err)
        err = rule_given(given, &rule);
    if (!err)
        err = options_read(given_job, &job, sizeof job);
    const struct graph_job graph_job = { .progress = db_progress, .context = &job };
    return err ? err : graph_rule_create(&txn->graph, &rule, &graph_job, out_id);
}

sombra_err sombra_rule_drop(sombra_txn *txn, uint32_t id)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_rule_drop(&txn->graph, id);
}

sombra_err sombra_rule_next(sombra_txn *txn, uint32_t after, sombra_rule *out_rule, bool *out_found)
{
    sombra_rule rule = { 0 };
    bool found = false;
    sombra_err err = txn_live(txn);
    if (!err && out_rule->struct_bytes < sizeof out_rule->struct_bytes)
        err = diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    if (!err)
        err = graph_rule_next(&txn->graph, after, &rule, &found);
    if (err)
        return err;
    if (found) {
        rule.struct_bytes = out_rule->struct_bytes;
        memcpy(out_rule, &rule, size_min(rule.struct_bytes, sizeof rule));
    }
    *out_found = found;
    return SOMBRA_OK;
}

sombra_err sombra_rule_find(sombra_txn *txn, const sombra_rule *given, uint32_t *out_id)
{
    sombra_rule rule;
    sombra_err err = txn_live(txn);
    if (!err)
        err = rule_given(given, &rule);
    return err ? err : graph_rule_find(&txn->graph, &rule, out_id);
}

sombra_err sombra_txn_violation(sombra_txn *txn, sombra_violation *out_violation)
{
    sombra_err err = txn_live(txn);
    if (!err && out_violation->struct_bytes < sizeof out_violation->struct_bytes)
        err = diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    if (err)
        return err;
    sombra_violation violation = txn->graph.violation;
    violation.struct_bytes = out_violation->struct_bytes;
    memcpy(out_violation, &violation, size_min(violation.struct_bytes, sizeof violation));
    return SOMBRA_OK;
}

sombra_err sombra_change_next(sombra_txn *txn, sombra_change *out_change, bool *out_found)
{
    sombra_change change = { 0 };
    bool found = false;
    sombra_err err = txn_live(txn);
    if (!err && out_change->struct_bytes < sizeof out_change->struct_bytes)
        err = diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    if (!err)
        err = graph_change_next(&txn->graph, &change, &found);
    if (err)
        return err;
    if (found) {
        change.struct_bytes = out_change->struct_bytes;
        memcpy(out_change, &change, size_min(change.struct_bytes, sizeof change));
    }
    *out_found = found;
    return SOMBRA_OK;
}

/* ---- the online build -------------------------------------------------------------------- */

struct build {
    const sombra_job *job; /* whose user is asked; NULL = nobody */
    sombra_db *db;
    sombra_rule rule;
    uint32_t id;
    struct graph_fill fill;
    bool is_ready;
};

static sombra_err build_begin(struct build *build, struct graph_txn *txn)
{
    return graph_rule_begin(txn, &build->rule, &build->id);
}

static sombra_err build_step(struct build *build, struct graph_txn *txn)
{
    return graph_rule_fill(txn, build->id, &build->fill, &build->is_ready);
}

static sombra_err build_drop(struct build *build, struct graph_txn *txn)
{
    return graph_rule_drop(txn, build->id);
}

static bool build_goes_on(void *context)
{
    const struct build *build = context;
    return db_progress((void *)(uintptr_t)build->job, build->fill.done, build->fill.total);
}

/* One part in a transaction of its own. Only the last need be durable when its commit returns: the
 * order of commits is that of the log. */
static sombra_err in_txn(struct build *build,
                         sombra_err (*part)(struct build *build, struct graph_txn *txn))
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    sombra_txn *txn;
    options.is_write = true;
    options.waits_on = build->job ? build_goes_on : NULL;
    options.context = build;
    sombra_err err = sombra_txn_begin(build->db, &options, &txn);
    if (err)
        return err;
    err = part(build, &txn->graph);
    if (!err)
        err = sombra_txn_commit(txn, build->is_ready ? SOMBRA_DURABILITY_DEFAULT
                                                     : SOMBRA_DURABILITY_OFF);
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_txn_close(txn);
    diag_restore(text);
    return err;
}

/* What is there breaks the rule: then nothing of it stays. */
static sombra_err build_refuse(struct build *build, sombra_err err)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    build->is_ready = true; /* the drop is to be durable */
    build->job = NULL;      /* and to be done */
    sombra_err dropped = in_txn(build, build_drop);
    if (dropped && dropped != SOMBRA_NOT_FOUND)
        return diag_wrap(dropped, "drop the rule that was refused (%s)", text);
    diag_restore(text);
    return err;
}

sombra_err sombra_rule_create_online(sombra_db *db, const sombra_rule *given,
                                     const sombra_job *given_job, uint32_t *out_id)
{
    struct build build = { .db = db };
    sombra_job job;
    assert(db);
    sombra_err err = rule_given(given, &build.rule);
    if (!err)
        err = options_read(given_job, &job, sizeof job);
    build.job = &job;
    if (!err)
        err = in_txn(&build, build_begin);
    if (!err || err == SOMBRA_EXISTS)
        *out_id = build.id;
    while (!err && !build.is_ready) {
        if (!build_goes_on(&build))
            err = diag_fail(SOMBRA_CANCELLED, "making the rule was cancelled; it is not ready");
        else
            err = in_txn(&build, build_step);
    }
    if (err == SOMBRA_UNIQUE || err == SOMBRA_CONSTRAINT)
        err = build_refuse(&build, err);
    return diag_wrap(err, "make a rule online");
}

/* ---- find, upsert, batches --------------------------------------------------------------- */

sombra_err sombra_node_find(sombra_txn *txn, sombra_slice label, sombra_slice values,
                            sombra_node_id *out_node)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_find(&txn->graph, label, values, out_node);
}

sombra_err sombra_node_find_by(sombra_txn *txn, sombra_slice label, sombra_slice property,
                               const sombra_value *value, sombra_node_id *out_node)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_node_find_by(&txn->graph, label, property, value, out_node);
}

sombra_err sombra_node_upsert(sombra_txn *txn, sombra_slice label, sombra_slice key,
                              sombra_slice properties, sombra_node_id *out_node, bool *out_created)
{
    sombra_err err = txn_live(txn);
    return err ? err
               : graph_node_upsert(&txn->graph, label, key, properties, out_node, out_created);
}

sombra_err sombra_edge_upsert(sombra_txn *txn, sombra_node_id src, sombra_slice type,
                              sombra_node_id dst, sombra_slice properties, sombra_edge_id *out_edge,
                              bool *out_created)
{
    const struct graph_edge ends = { .src = src, .dst = dst };
    sombra_err err = txn_live(txn);
    return err ? err
               : graph_edge_upsert(&txn->graph, &ends, type, properties, out_edge, out_created);
}

sombra_err sombra_node_create_many(sombra_txn *txn, const sombra_slice *labels, size_t label_count,
                                   const sombra_slice *properties, size_t count,
                                   sombra_node_id *out_first)
{
    sombra_err err = txn_live(txn);
    return err ? err
               : graph_node_create_many(&txn->graph, labels, label_count, properties, count,
                                        out_first);
}

sombra_err sombra_edge_create_many(sombra_txn *txn, sombra_slice type, const sombra_new_edge *edges,
                                   size_t count, sombra_edge_id *out_first)
{
    sombra_err err = txn_live(txn);
    return err ? err : graph_edge_create_many(&txn->graph, type, edges, count, out_first);
}

sombra_err sombra_node_create_columns(sombra_txn *txn, const sombra_slice *labels,
                                      size_t label_count, const sombra_columns *columns,
                                      sombra_node_id *out_first)
{
    sombra_err err = txn_live(txn);
    return err ? err
               : graph_node_create_columns(&txn->graph, labels, label_count, columns, out_first);
}

sombra_err sombra_edge_create_columns(sombra_txn *txn, sombra_slice type,
                                      const sombra_node_id *sources, const sombra_node_id *targets,
                                      const sombra_columns *columns, sombra_edge_id *out_first)
{
    sombra_err err = txn_live(txn);
    return err ? err
               : graph_edge_create_columns(&txn->graph, type, sources, targets, columns, out_first);
}
