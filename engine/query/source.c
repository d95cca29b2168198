/* SPDX-License-Identifier: MIT */
/* Sources: given ids, and scans by id over all nodes, the nodes of a label, all edges. */
#include "plan_internal.h"

sombra_err row_of_node(struct query_run *run, uint64_t node, struct row *out_row)
{
    struct row row = { .id = node };
    sombra_err err =
        run->keeps_tracks ? run_track(run, TRACK_NONE, node, 0, &row.track) : SOMBRA_OK;
    if (!err)
        *out_row = row;
    return err;
}

sombra_err rows_track(struct query_run *run, struct row *rows, size_t count)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; run->keeps_tracks && !err && i < count; i++) {
        if (rows[i].track == TRACK_NONE)
            err = run_track(run, TRACK_NONE, rows[i].id, 0, &rows[i].track);
    }
    return err;
}

sombra_err row_of_edge(struct query_run *run, uint64_t id, struct row *out_row)
{
    struct graph_edge edge;
    sombra_err err = graph_edge_ends(run->txn, id, &edge);
    if (!err)
        *out_row = (struct row){ .id = id, .src = edge.src, .dst = edge.dst, .type = edge.type };
    return err;
}

/* ---- ids --------------------------------------------------------------------------------- */

struct ids_source {
    struct operator op;
    const uint64_t *ids;
    size_t count, at;
};

static sombra_err ids_next(struct operator* op, struct row_batch *out)
{
    struct ids_source *source = container_of(op, struct ids_source, op);
    sombra_err err = SOMBRA_OK;
    out->count = 0;
    while (!err && out->count < QUERY_BATCH && source->at < source->count) {
        uint64_t id = source->ids[source->at++];
        struct row *row = &out->rows[out->count];
        bool exists = true;
        if (op->kind == SOMBRA_ROW_EDGE) {
            err = row_of_edge(op->run, id, row);
            exists = !err;
            if (err == SOMBRA_NOT_FOUND)
                err = SOMBRA_OK;
        } else {
            err = graph_node_exists(op->run->txn, id, &exists);
            if (!err && exists)
                err = row_of_node(op->run, id, row);
        }
        out->count += !err && exists;
    }
    out->is_last = source->at == source->count;
    return err;
}

static sombra_err ids_describe(struct operator* op)
{
    const struct ids_source *source = container_of(op, struct ids_source, op);
    op->estimate = (double)source->count;
    operator_describe(op, "%zu %s", source->count, op->kind == SOMBRA_ROW_EDGE ? "edges" : "nodes");
    return SOMBRA_OK;
}

static void ids_rewind(struct operator* op)
{
    container_of(op, struct ids_source, op)->at = 0;
}

static const struct operator_ops ids_ops = {
    .name = "ids", .next = ids_next, .rewind = ids_rewind, .describe = ids_describe
};

sombra_err ids_source_new(struct plan *plan, const struct step *step)
{
    struct ids_source *source;
    sombra_err err = operator_make(plan, &ids_ops, sizeof *source, step->to, NULL, &source);
    if (err)
        return err;
    source->ids = step->as.ids.items;
    source->count = step->as.ids.count;
    plan->last = &source->op;
    return SOMBRA_OK;
}

/* ---- scans ------------------------------------------------------------------------------- */

struct scan_source {
    struct operator op;
    struct graph_ids ids;
    sombra_ids_options options;
    sombra_slice label, subject;
    uint32_t type; /* of edges; 0 = all */
    bool is_open;
    const uint64_t *batch; /* of ids, those not given yet */
    size_t left;
};

static sombra_err scan_open(struct scan_source *scan)
{
    enum graph_ids_kind kind = scan->op.kind == SOMBRA_ROW_EDGE ? GRAPH_EDGES : GRAPH_NODES;
    sombra_err err =
        graph_ids_open(&scan->ids, scan->op.run->txn, kind, scan->label, &scan->options);
    scan->is_open = !err;
    return err;
}

static sombra_err scan_next(struct operator* op, struct row_batch *out)
{
    struct scan_source *scan = container_of(op, struct scan_source, op);
    sombra_err err = scan->is_open ? SOMBRA_OK : scan_open(scan);
    out->count = 0;
    while (!err && out->count < QUERY_BATCH) {
        if (scan->left == 0) {
            err = run_tick(op->run);
            if (!err)
                err = graph_ids_next(&scan->ids, &scan->batch, &scan->left);
            if (err || scan->left == 0)
                break;
        }
        struct row *row = &out->rows[out->count];
        if (op->kind == SOMBRA_ROW_NODE) {
            err = row_of_node(op->run, *scan->batch, row);
            out->count++;
        } else {
            err = row_of_edge(op->run, *scan->batch, row);
            out->count += !err && (scan->type == 0 || row->type == scan->type);
            if (err == SOMBRA_NOT_FOUND)
                err = SOMBRA_OK; /* deleted since its id was read */
        }
        scan->batch++;
        scan->left--;
    }
    return err;
}

static sombra_err scan_count(struct operator* op, uint64_t *out_count)
{
    struct scan_source *scan = container_of(op, struct scan_source, op);
    sombra_name type;
    if (op->kind == SOMBRA_ROW_NODE)
        return graph_node_count(op->run->txn, scan->label, out_count);
    if (scan->type == 0)
        return graph_edge_count(op->run->txn, slice_of(NULL, 0), out_count);
    sombra_err err = graph_name_by_id(op->run->txn, SOMBRA_NAME_TYPE, scan->type, &type);
    return err ? err : graph_edge_count(op->run->txn, type.text, out_count);
}

static void scan_free(struct operator* op)
{
    struct scan_source *scan = container_of(op, struct scan_source, op);
    if (scan->is_open)
        graph_ids_close(&scan->ids);
}

static sombra_err scan_describe(struct operator* op)
{
    const struct scan_source *scan = container_of(op, struct scan_source, op);
    const bool is_part = scan->options.from || scan->options.to;
    uint64_t count = 0;
    sombra_err err = scan_count(op, &count);
    op->estimate = (double)count;
    operator_describe(op, "%s%s%.*s%s%s", op->kind == SOMBRA_ROW_EDGE ? "edges" : "nodes",
                      scan->subject.bytes ? " " : "", (int)size_min(scan->subject.bytes, 80),
                      (const char *)scan->subject.data,
                      scan->options.reverse ? ", highest id first" : "",
                      is_part ? ", from a position on" : "");
    return err;
}

/* From somewhere on, its count is no longer that of all. */
static const struct operator_ops scan_ops = { .name = "scan",
                                              .next = scan_next,
                                              .count = scan_count,
                                              .free = scan_free,
                                              .describe = scan_describe };
static const struct operator_ops scan_part_ops = {
    .name = "scan", .next = scan_next, .free = scan_free, .describe = scan_describe
};

/* A type that does not exist has no edges. */
static sombra_err scan_empty(struct plan *plan, const struct step *step)
{
    const struct step none = { .to = step->to };
    return ids_source_new(plan, &none);
}

sombra_err scan_source_new(struct plan *plan, const struct step *step,
                           const struct scan_range *range)
{
    struct scan_source *scan;
    uint32_t type = 0;
    sombra_err err = SOMBRA_OK;
    if (step->kind == STEP_EDGES && step->as.subject.bytes) {
        err = graph_name_find(plan->run->txn, SOMBRA_NAME_TYPE, step->as.subject, &type);
        if (!err && type == 0)
            return scan_empty(plan, step);
    }
    bool is_part = range->from != 0;
    if (!err)
        err = operator_make(plan, is_part ? &scan_part_ops : &scan_ops, sizeof *scan, step->to,
                            NULL, &scan);
    if (err)
        return err;
    scan->options.reverse = range->reverse;
    if (range->reverse)
        scan->options.to = range->from;
    else
        scan->options.from = range->from;
    scan->type = type;
    if (step->kind == STEP_LABEL)
        scan->label = step->as.subject;
    scan->subject = step->kind == STEP_ALL ? slice_of(NULL, 0) : step->as.subject;
    plan->last = &scan->op;
    return SOMBRA_OK;
}
