/* SPDX-License-Identifier: MIT */
/* Nodes of a label, or edges of a type, by an index: one range of it, or one for each of a list of
 * values.
 *
 * By id: all ids are read first and sorted, each once, unless the range pins every property, and
 * then they come so. In the order of the index: as it has them; backwards, rows of equal values are
 * turned round, so that they come by id as they do everywhere.
 */
#include "plan_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct index_source {
    struct operator op;
    const struct index_choice *choice;
    struct graph_index_scan *scan;
    size_t range; /* the next to be opened */
    const uint64_t *batch;
    size_t left; /* of it */
    /* By id: all of them. Backwards: those of equal values. */
    uint64_t *ids;
    size_t count, capacity, at;
    bool is_read;
    /* Backwards: the values of the first of `ids`, and the id that has others. */
    struct columns columns;
    sombra_slice *values;
    struct buf equal; /* encoded, one behind the other */
    uint64_t next_id; /* 0 = none */
};

static sombra_err ids_add(struct index_source *source, uint64_t id)
{
    if (source->count == source->capacity) {
        void *ids = source->ids;
        sombra_err err =
            run_grow(source->op.run, &ids, &source->capacity, sizeof id, "ids of an index");
        source->ids = ids;
        if (err)
            return err;
    }
    source->ids[source->count++] = id;
    return SOMBRA_OK;
}

/* The next id of the ranges, 0 at their end. */
static sombra_err next_id(struct index_source *source, uint64_t *out_id)
{
    const struct index_choice *choice = source->choice;
    struct graph_txn *txn = source->op.run->txn;
    sombra_err err = SOMBRA_OK;
    *out_id = 0;
    if (choice->is_one)
        return source->range++
                   ? SOMBRA_OK
                   : graph_index_find(txn, &choice->index, choice->ranges[0].equal, out_id);
    while (!err && source->left == 0) {
        if (!source->scan) {
            if (source->range == choice->range_count)
                break;
            err = graph_index_open(txn, &choice->index, &choice->ranges[source->range],
                                   choice->reverse, &source->scan);
            source->range++;
        }
        if (!err)
            err = run_tick(source->op.run);
        if (!err)
            err = graph_index_next(source->scan, &source->batch, &source->left);
        if (!err && source->left == 0) {
            graph_index_close(source->scan);
            source->scan = NULL;
        }
    }
    if (err)
        return err;
    if (source->left) {
        *out_id = *source->batch++;
        source->left--;
    }
    return SOMBRA_OK;
}

/* ---- by id ------------------------------------------------------------------------------- */

static int id_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static bool is_wanted(const struct index_choice *choice, uint64_t id)
{
    return choice->from_id == 0 ||
           (choice->id_reverse ? id <= choice->from_id : id >= choice->from_id);
}

static sombra_err read_sorted(struct index_source *source)
{
    uint64_t id = 1;
    size_t kept = 0;
    sombra_err err = SOMBRA_OK;
    while (!err && id != 0) {
        err = next_id(source, &id);
        if (!err && id && is_wanted(source->choice, id))
            err = ids_add(source, id);
    }
    if (err)
        return err;
    if (source->count > 1)
        qsort(source->ids, source->count, sizeof *source->ids, id_order);
    for (size_t i = 0; i < source->count; i++) {
        if (kept == 0 || source->ids[kept - 1] != source->ids[i])
            source->ids[kept++] = source->ids[i];
    }
    source->count = kept;
    for (size_t i = 0; source->choice->id_reverse && i < kept / 2; i++) {
        uint64_t moved = source->ids[i];
        source->ids[i] = source->ids[kept - 1 - i];
        source->ids[kept - 1 - i] = moved;
    }
    source->is_read = true;
    return SOMBRA_OK;
}

static sombra_err next_sorted(struct index_source *source, uint64_t *out_id)
{
    sombra_err err = source->is_read ? SOMBRA_OK : read_sorted(source);
    if (!err)
        *out_id = source->at < source->count ? source->ids[source->at++] : 0;
    return err;
}

/* ---- backwards --------------------------------------------------------------------------- */

/* The order's values of a row, appended to nothing else; a missing one is a byte 0 of its own. */
static sombra_err values_of(struct index_source *source, uint64_t id, struct buf *out)
{
    struct row row = { .id = id };
    sombra_err err = columns_read(&source->columns, &row, source->values);
    buf_reset(out);
    for (size_t i = 0; !err && i < source->columns.count; i++)
        err = source->values[i].bytes ? buf_append_slice(out, source->values[i])
                                      : buf_append_u8(out, 0);
    return err;
}

static sombra_err are_equal(struct index_source *source, uint64_t id, bool *out_equal)
{
    struct row row = { .id = id };
    sombra_slice rest = buf_slice(&source->equal);
    sombra_err err = columns_read(&source->columns, &row, source->values);
    bool equal = true;
    for (size_t i = 0; !err && equal && i < source->columns.count; i++) {
        sombra_value mine = { .kind = SOMBRA_NULL }, first;
        size_t bytes = 0;
        int order = 0;
        if (source->values[i].bytes)
            err = sombra_value_decode(source->values[i], &mine);
        if (!err)
            err = value_read(rest, 0, &first, &bytes);
        if (!err)
            err = value_order(&mine, &first, &order);
        if (!err)
            rest = slice_from(rest, bytes);
        equal = order == 0;
    }
    *out_equal = equal;
    return err;
}

/* Collects the ids of the next value; they are given from the last to the first. */
static sombra_err read_equal(struct index_source *source)
{
    uint64_t id = source->next_id;
    bool equal = true;
    sombra_err err = id ? SOMBRA_OK : next_id(source, &id);
    source->count = 0;
    source->next_id = 0;
    if (err || id == 0)
        return err;
    err = values_of(source, id, &source->equal);
    while (!err && equal && id) {
        err = ids_add(source, id);
        if (!err)
            err = next_id(source, &id);
        if (!err && id)
            err = are_equal(source, id, &equal);
    }
    source->next_id = id;
    return err;
}

static sombra_err next_backwards(struct index_source *source, uint64_t *out_id)
{
    sombra_err err = source->count ? SOMBRA_OK : read_equal(source);
    if (!err)
        *out_id = source->count ? source->ids[--source->count] : 0;
    return err;
}

/* ---- rows -------------------------------------------------------------------------------- */

static sombra_err source_next(struct operator* op, struct row_batch *out)
{
    struct index_source *source = container_of(op, struct index_source, op);
    const size_t most = source->choice->is_one ? 1 : QUERY_BATCH;
    sombra_err err = SOMBRA_OK;
    out->count = 0;
    while (!err && out->count < most) {
        uint64_t id = 0;
        if (source->choice->sorts)
            err = next_sorted(source, &id);
        else if (source->choice->reverse)
            err = next_backwards(source, &id);
        else
            err = next_id(source, &id);
        if (err || id == 0)
            break;
        if (op->kind == SOMBRA_ROW_NODE)
            err = row_of_node(op->run, id, &out->rows[out->count]);
        else
            err = row_of_edge(op->run, id, &out->rows[out->count]);
        out->count += !err;
        if (err == SOMBRA_NOT_FOUND)
            err = SOMBRA_OK; /* deleted since its id was read */
    }
    out->is_last = source->choice->is_one;
    return err;
}

static void source_free(struct operator* op)
{
    struct index_source *source = container_of(op, struct index_source, op);
    graph_index_close(source->scan);
    mem_free(source->ids);
    columns_release(&source->columns);
    buf_release(&source->equal);
}

static sombra_err source_describe(struct operator* op)
{
    const struct index_source *source = container_of(op, struct index_source, op);
    const struct index_choice *choice = source->choice;
    struct graph_txn *txn = source->op.run->txn;
    char names[100] = "";
    size_t used = 0;
    for (size_t i = 0; i < choice->index.property_count; i++) {
        sombra_name name;
        size_t left = sizeof names - used;
        if (graph_name_by_id(txn, SOMBRA_NAME_PROPERTY, choice->index.properties[i], &name))
            break;
        int added = snprintf(names + used, left, "%s%.*s", i ? ", " : "",
                             (int)size_min(name.text.bytes, 30), (const char *)name.text.data);
        if (added < 0 || (size_t)added >= left)
            break;
        used += (size_t)added;
    }
    uint64_t count = choice->count;
    sombra_err err = choice->is_one
                         ? graph_index_count(txn, &choice->index, &choice->ranges[0], &count)
                         : SOMBRA_OK;
    if (err)
        return err;
    op->estimate = (double)count;
    operator_describe(op, "%s: %s%s", names, choice->what, choice->sorts ? ", sorted by id" : "");
    return SOMBRA_OK;
}

/* Of a choice that is_one; no other is kept. */
static void source_rewind(struct operator* op)
{
    struct index_source *source = container_of(op, struct index_source, op);
    assert(source->choice->is_one && !source->scan && !source->choice->reverse);
    mem_free(source->ids); /* sorted by id: what is charged to the run goes with it */
    source->ids = NULL;
    source->count = source->capacity = source->at = 0;
    source->is_read = false;
    source->range = 0;
}

static const struct operator_ops index_ops = { .name = "index",
                                               .next = source_next,
                                               .free = source_free,
                                               .rewind = source_rewind,
                                               .describe = source_describe };

sombra_err index_source_new(struct plan *plan, const struct step *step,
                            const struct index_choice *choice)
{
    struct index_source *source;
    sombra_err err = operator_make(plan, &index_ops, sizeof *source, step->to, NULL, &source);
    if (err)
        return err;
    source->choice = choice;
    plan->last = &source->op;
    if (!choice->order || !choice->reverse)
        return SOMBRA_OK;
    const size_t count = choice->order->as.columns.count;
    source->values = arena_alloc(&plan->run->arena, count * sizeof *source->values);
    if (!source->values)
        return diag_nomem("the scan of an index", count * sizeof *source->values);
    return columns_init(&source->columns, plan->run, step->to, choice->order->as.columns.items,
                        count);
}
