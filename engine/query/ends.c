/* SPDX-License-Identifier: MIT */
/* From edges to their nodes, and from nodes to the paths that led there. */
#include "plan_internal.h"

struct ends {
    struct operator op;
    enum edge_end end;
};

static sombra_err end_of(struct ends *ends, struct row *row)
{
    struct query_run *run = ends->op.run;
    const uint64_t src = row->src, dst = row->dst;
    const uint64_t from = row->came_from ? row->came_from : ends->end == END_SOURCE ? dst : src;
    uint64_t node = ends->end == END_SOURCE ? src : dst;
    if (ends->end == END_OTHER)
        node = from == src ? dst : src;
    struct row made = { .id = node, .depth = row->depth };
    sombra_err err = SOMBRA_OK;
    if (run->keeps_tracks) {
        uint32_t parent = row->track;
        if (parent == TRACK_NONE)
            err = run_track(run, TRACK_NONE, from, 0, &parent);
        if (!err)
            err = run_track(run, parent, node, row->id, &made.track);
    }
    if (!err)
        *row = made;
    return err;
}

static sombra_err ends_next(struct operator* op, struct row_batch *out)
{
    struct ends *ends = container_of(op, struct ends, op);
    sombra_err err = operator_next(op->inputs[0], out);
    for (size_t i = 0; !err && i < out->count; i++)
        err = end_of(ends, &out->rows[i]);
    return err;
}

/* As many as there are edges. */
static sombra_err input_count(struct operator* op, uint64_t *out_count)
{
    return operator_count(op->inputs[0], out_count);
}

static sombra_err reset_nothing(struct operator* op)
{
    (void)op;
    return SOMBRA_OK;
}

static sombra_err ends_describe(struct operator* op)
{
    static const char *const names[] = { "source", "target", "other" };
    op->estimate = op->inputs[0]->estimate;
    operator_describe(op, "%s", names[container_of(op, struct ends, op)->end]);
    return SOMBRA_OK;
}

static const struct operator_ops ends_ops = { .name = "ends",
                                              .next = ends_next,
                                              .count = input_count,
                                              .reset = reset_nothing,
                                              .describe = ends_describe };

sombra_err ends_new(struct plan *plan, const struct step *step)
{
    struct ends *ends;
    sombra_err err =
        operator_make(plan, &ends_ops, sizeof *ends, SOMBRA_ROW_NODE, plan->last, &ends);
    if (err)
        return err;
    ends->end = step->as.end;
    plan->last = &ends->op;
    return SOMBRA_OK;
}

/* ---- paths ------------------------------------------------------------------------------- */

struct path {
    struct operator op;
    struct buf bytes;
};

static sombra_err path_next(struct operator* op, struct row_batch *out)
{
    struct path *path = container_of(op, struct path, op);
    size_t ends[QUERY_BATCH];
    sombra_err err = operator_next(op->inputs[0], out);
    if (!err)
        err = rows_track(op->run, out->rows, out->count);
    buf_reset(&path->bytes);
    for (size_t i = 0; !err && i < out->count; i++) {
        err = run_track_path(op->run, out->rows[i].track, &path->bytes);
        ends[i] = path->bytes.bytes;
    }
    for (size_t i = 0; !err && i < out->count; i++) { /* now that the buffer moves no more */
        size_t offset = i ? ends[i - 1] : 0;
        out->rows[i].value = slice_of(path->bytes.data + offset, ends[i] - offset);
    }
    return err;
}

static void path_free(struct operator* op)
{
    buf_release(&container_of(op, struct path, op)->bytes);
}

static const struct operator_ops path_ops = { .name = "path",
                                              .next = path_next,
                                              .count = input_count,
                                              .reset = reset_nothing,
                                              .free = path_free };

sombra_err path_new(struct plan *plan)
{
    struct path *path;
    assert(plan->run->keeps_tracks);
    sombra_err err =
        operator_make(plan, &path_ops, sizeof *path, SOMBRA_ROW_PATH, plan->last, &path);
    if (!err)
        plan->last = &path->op;
    return err;
}
