/* SPDX-License-Identifier: MIT */
/* order: rows sorted by keys, or the first few of them by a heap. Rows with equal keys come by id,
 * and then as they came, so that a position can say where a page ended.
 */
#include "plan_internal.h"

struct sorted {
    struct row row;
    uint64_t sequence;
    sombra_value *keys; /* null = missing */
};

struct sort {
    struct operator op;
    struct columns columns;
    sombra_slice *values; /* of one row */
    uint64_t keep_max;    /* rows wanted; UINT64_MAX = all */
    struct arena arena;   /* of what rows hold */
    size_t live_bytes;    /* of it, in use by rows kept */
    struct sorted **rows; /* a heap with the last row on top, or all; then sorted */
    size_t count, capacity, at;
    bool is_sorted;
    uint64_t sequence;
    const struct sorted *after; /* rows up to this one are left out; NULL = none */
    struct sorted place;        /* that of the position */
    struct sorted probe;        /* the row looked at, not copied yet */
    uint64_t after_left;        /* rows at its place that are still to be left out */
    struct row_batch *input;
};

/* ---- order ------------------------------------------------------------------------------- */

static sombra_err keys_order(const struct columns *columns, const sombra_value *a,
                             const sombra_value *b, int *out_order)
{
    int order = 0;
    for (size_t i = 0; order == 0 && i < columns->count; i++) {
        const sombra_value *left = &a[i], *right = &b[i];
        if (left->kind == SOMBRA_INTEGER && right->kind == SOMBRA_INTEGER) {
            order = (left->as.integer > right->as.integer) - (left->as.integer < right->as.integer);
        } else {
            sombra_err err = value_order(left, right, &order);
            if (err)
                return err;
        }
        if (columns->items[i].descending)
            order = -order;
    }
    *out_order = order;
    return SOMBRA_OK;
}

/* By keys and id. */
static sombra_err place_order(const struct sort *sort, const struct sorted *a,
                              const struct sorted *b, int *out_order)
{
    int order = 0;
    sombra_err err = keys_order(&sort->columns, a->keys, b->keys, &order);
    if (order == 0 && sort->op.kind != SOMBRA_ROW_RECORD)
        order = (a->row.id > b->row.id) - (a->row.id < b->row.id);
    *out_order = order;
    return err;
}

/* Missing values are null, which comes behind all. */
static sombra_err keys_decode(const struct columns *columns, const sombra_slice *values,
                              sombra_value *keys)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < columns->count; i++) {
        keys[i] = (sombra_value){ .kind = SOMBRA_NULL };
        if (values[i].bytes)
            err = sombra_value_decode(values[i], &keys[i]);
    }
    return err;
}

static sombra_err rows_order(const struct sort *sort, const struct sorted *a,
                             const struct sorted *b, int *out_order)
{
    int order = 0;
    sombra_err err = place_order(sort, a, b, &order);
    if (order == 0)
        order = (a->sequence > b->sequence) - (a->sequence < b->sequence);
    *out_order = order;
    return err;
}

/* From [from, middle) and [middle, to) of `rows` to `merged`. */
static sombra_err merge_runs(const struct sort *sort, struct sorted **rows, size_t from,
                             size_t middle, size_t to, struct sorted **merged)
{
    size_t left = from, right = middle;
    for (size_t at = from; at < to; at++) {
        int order = left == middle ? 1 : -1;
        if (left < middle && right < to) {
            sombra_err err = run_tick(sort->op.run); /* the keys may be long lists */
            if (!err)
                err = rows_order(sort, rows[left], rows[right], &order);
            if (err)
                return err;
        }
        merged[at] = order <= 0 ? rows[left++] : rows[right++];
    }
    return SOMBRA_OK;
}

static sombra_err sort_rows(struct sort *sort)
{
    struct query_run *run = sort->op.run;
    size_t bytes = sort->count * sizeof *sort->rows;
    sombra_err err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    struct sorted **spare = mem_alloc(bytes), **rows = sort->rows;
    if (!spare)
        return diag_nomem("rows in order", bytes);
    for (size_t width = 1; !err && width < sort->count; width *= 2) {
        for (size_t from = 0; !err && from < sort->count; from += 2 * width) {
            size_t middle = size_min(from + width, sort->count);
            err =
                merge_runs(sort, rows, from, middle, size_min(middle + width, sort->count), spare);
        }
        struct sorted **merged = spare;
        spare = rows;
        rows = merged;
        if (!err)
            err = run_tick_slow(run);
    }
    if (rows != sort->rows) { /* the capacity is that of sort->rows */
        memcpy(sort->rows, rows, bytes);
        spare = rows;
    }
    mem_free(spare);
    run_refund(run, bytes);
    return err;
}

/* ---- rows kept --------------------------------------------------------------------------- */

static sombra_err arena_take(struct sort *sort, struct arena *arena, size_t bytes, void *out)
{
    size_t before = arena->bytes_total;
    void *memory = arena_alloc(arena, bytes);
    if (!memory)
        return diag_nomem("rows in order", bytes);
    memcpy(out, &memory, sizeof memory);
    return run_charge(sort->op.run, (int64_t)(arena->bytes_total - before));
}

static size_t bytes_of(const struct sort *sort, const struct sorted *from)
{
    size_t bytes = sizeof *from + sort->columns.count * sizeof *from->keys + from->row.value.bytes;
    for (size_t i = 0; i < sort->columns.count; i++) {
        if (from->keys[i].kind >= SOMBRA_STRING)
            bytes += from->keys[i].as.string.bytes;
    }
    return bytes;
}

/* The row with all it holds. */
static sombra_err copy_row(struct sort *sort, struct arena *arena, const struct sorted *from,
                           struct sorted **out_row)
{
    uint8_t *memory = NULL;
    size_t keys_bytes = sort->columns.count * sizeof *from->keys;
    sombra_err err = arena_take(sort, arena, bytes_of(sort, from), &memory);
    if (err)
        return err;
    struct sorted *row = (struct sorted *)(void *)memory;
    *row = *from;
    row->keys = (sombra_value *)(void *)(memory + sizeof *row);
    memcpy(row->keys, from->keys, keys_bytes);
    memory += sizeof *row + keys_bytes;
    for (size_t i = 0; i < sort->columns.count; i++) {
        sombra_slice *bytes = &row->keys[i].as.string; /* body of lists and maps, likewise */
        if (row->keys[i].kind < SOMBRA_STRING || bytes->bytes == 0)
            continue;
        memcpy(memory, bytes->data, bytes->bytes);
        *bytes = slice_of(memory, bytes->bytes);
        memory += bytes->bytes;
    }
    if (row->row.value.bytes) {
        memcpy(memory, from->row.value.data, from->row.value.bytes);
        row->row.value = slice_of(memory, from->row.value.bytes);
    }
    *out_row = row;
    return SOMBRA_OK;
}

/* A heap lets rows go: once most of the arena is theirs, the others move to a new one. */
static sombra_err compact(struct sort *sort)
{
    enum { SLACK_BYTES = 1 << 18 };
    if (sort->arena.bytes_total < 2 * sort->live_bytes + SLACK_BYTES)
        return SOMBRA_OK;
    struct arena fresh = ARENA_INIT;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < sort->count; i++)
        err = copy_row(sort, &fresh, sort->rows[i], &sort->rows[i]);
    /* On failure the rows lie in both; the query is over, and frees both. */
    struct arena old = sort->arena;
    sort->arena = fresh;
    if (err) {
        arena_release(&old);
        sort->count = 0;
        return err;
    }
    run_refund(sort->op.run, old.bytes_total);
    arena_release(&old);
    return SOMBRA_OK;
}

/* The row at `at` goes up while it comes behind those above it. */
static sombra_err heap_up(struct sort *sort, size_t at)
{
    while (at > 0) {
        size_t above = (at - 1) / 2;
        int order;
        sombra_err err = rows_order(sort, sort->rows[at], sort->rows[above], &order);
        if (err || order <= 0)
            return err;
        struct sorted *moved = sort->rows[at];
        sort->rows[at] = sort->rows[above];
        sort->rows[above] = moved;
        at = above;
    }
    return SOMBRA_OK;
}

static sombra_err heap_down(struct sort *sort)
{
    for (size_t at = 0, below; (below = 2 * at + 1) < sort->count; at = below) {
        int order;
        sombra_err err = SOMBRA_OK;
        if (below + 1 < sort->count) {
            err = rows_order(sort, sort->rows[below + 1], sort->rows[below], &order);
            below += !err && order > 0;
        }
        if (!err)
            err = rows_order(sort, sort->rows[below], sort->rows[at], &order);
        if (err || order <= 0)
            return err;
        struct sorted *moved = sort->rows[at];
        sort->rows[at] = sort->rows[below];
        sort->rows[below] = moved;
    }
    return SOMBRA_OK;
}

/* Keeps the probe, unless all that are wanted come before it. */
static sombra_err keep_row(struct sort *sort)
{
    struct query_run *run = sort->op.run;
    const bool is_full = sort->count == sort->keep_max;
    int order = -1;
    sombra_err err = SOMBRA_OK;
    if (is_full)
        err = rows_order(sort, &sort->probe, sort->rows[0], &order);
    if (err || order > 0)
        return err;
    if (sort->count == sort->capacity && !is_full) {
        void *rows = sort->rows;
        err = run_grow(run, &rows, &sort->capacity, sizeof *sort->rows, "rows in order");
        sort->rows = rows;
    }
    struct sorted *row = NULL;
    if (!err)
        err = copy_row(sort, &sort->arena, &sort->probe, &row);
    if (err)
        return err;
    sort->live_bytes += bytes_of(sort, row);
    if (is_full) {
        sort->live_bytes -= bytes_of(sort, sort->rows[0]);
        sort->rows[0] = row;
        err = heap_down(sort);
        return err ? err : compact(sort);
    }
    sort->rows[sort->count++] = row;
    return sort->keep_max == UINT64_MAX ? SOMBRA_OK : heap_up(sort, sort->count - 1);
}

/* ---- the input --------------------------------------------------------------------------- */

/* The probe becomes the row with its keys; they live until the next read. */
static sombra_err probe_row(struct sort *sort, const struct row *row)
{
    sombra_err err = columns_read(&sort->columns, row, sort->values);
    if (!err)
        err = keys_decode(&sort->columns, sort->values, sort->probe.keys);
    sort->probe.row = *row;
    sort->probe.sequence = sort->sequence++;
    return err;
}

static sombra_err read_input(struct sort *sort)
{
    for (;;) {
        sombra_err err = operator_next(sort->op.inputs[0], sort->input);
        if (!err)
            err = columns_begin(&sort->columns, sort->input);
        if (err)
            return err;
        if (sort->input->count == 0)
            return SOMBRA_OK;
        for (size_t i = 0; i < sort->input->count; i++) {
            int order = 1;
            err = probe_row(sort, &sort->input->rows[i]);
            if (!err && sort->after)
                err = place_order(sort, &sort->probe, sort->after, &order);
            /* Of several of that place, as many as were delivered before are left out. */
            if (!err && order == 0 && sort->after_left > 0) {
                sort->after_left--;
                order = -1;
            }
            if (!err && order >= 0)
                err = keep_row(sort);
            if (err)
                return err;
        }
    }
}

/* How many rows before it stand at the same place: for positions. */
static sombra_err set_ordinal(struct sort *sort, struct sorted *row, const struct sorted *before)
{
    int order = 1;
    sombra_err err = SOMBRA_OK;
    row->row.ordinal = 0;
    if (before) {
        err = place_order(sort, row, before, &order);
        if (order == 0)
            row->row.ordinal = before->row.ordinal + 1;
    } else if (sort->after) {
        err = place_order(sort, row, sort->after, &order);
        if (order == 0)
            row->row.ordinal = sort->after->row.ordinal + 1;
    }
    return err;
}

static sombra_err sort_next(struct operator* op, struct row_batch *out)
{
    struct sort *sort = container_of(op, struct sort, op);
    sombra_err err = SOMBRA_OK;
    if (!sort->is_sorted && sort->keep_max > 0) {
        err = read_input(sort);
        if (!err)
            err = sort_rows(sort);
    }
    sort->is_sorted = true;
    out->count = 0;
    while (!err && out->count < QUERY_BATCH && sort->at < sort->count) {
        struct sorted *row = sort->rows[sort->at];
        err = set_ordinal(sort, row, sort->at ? sort->rows[sort->at - 1] : NULL);
        sort->at++;
        out->rows[out->count++] = row->row;
    }
    return err;
}

/* ---- life -------------------------------------------------------------------------------- */

static sombra_err sort_reset(struct operator* op)
{
    struct sort *sort = container_of(op, struct sort, op);
    run_refund(op->run, sort->arena.bytes_total);
    arena_release(&sort->arena);
    sort->count = sort->at = 0;
    sort->live_bytes = 0;
    sort->sequence = 0;
    sort->is_sorted = false;
    return SOMBRA_OK;
}

static void sort_free(struct operator* op)
{
    struct sort *sort = container_of(op, struct sort, op);
    columns_release(&sort->columns);
    arena_release(&sort->arena);
    mem_free(sort->rows);
}

static const struct operator_ops sort_ops = {
    .name = "sort", .next = sort_next, .reset = sort_reset, .free = sort_free
};
static const struct operator_ops top_ops = {
    .name = "top", .next = sort_next, .reset = sort_reset, .free = sort_free
};

sombra_err sort_new(struct plan *plan, const struct step *step, uint64_t keep_max,
                    const struct position *after)
{
    struct sort *sort;
    struct query_run *run = plan->run;
    const size_t count = step->as.columns.count;
    sombra_err err = operator_make(plan, keep_max == UINT64_MAX ? &sort_ops : &top_ops,
                                   sizeof *sort, plan->last->kind, plan->last, &sort);
    if (err)
        return err;
    plan->last = &sort->op;
    sort->keep_max = keep_max;
    sort->input = batch_new(run);
    sort->values = arena_alloc(&run->arena, count * sizeof *sort->values);
    sort->probe.keys = arena_alloc(&run->arena, count * sizeof *sort->probe.keys);
    if (!sort->input || !sort->values || !sort->probe.keys)
        return diag_nomem("an order", count * sizeof *sort->values);
    if (after) {
        sort->place = (struct sorted){ .row.id = after->id,
                                       .row.ordinal = after->ordinal,
                                       .keys = after->keys };
        sort->after = &sort->place;
        sort->after_left = (uint64_t)after->ordinal + 1;
    }
    operator_describe(&sort->op, "%zu keys%s", count, after ? ", behind a position" : "");
    return columns_init(&sort->columns, run, sort->op.kind, step->as.columns.items, count);
}

/* ---- behind a position ------------------------------------------------------------------- */

struct behind {
    struct operator op;
    struct columns columns; /* of the rows as they were when they were ordered */
    sombra_slice *values;
    sombra_value *keys;
    const struct position *after;
    bool is_there; /* all further rows are behind it */
};

static sombra_err is_behind(struct behind *behind, const struct row *row, bool *out_behind)
{
    const struct position *after = behind->after;
    int order = 0;
    sombra_err err = columns_read(&behind->columns, row, behind->values);
    if (!err)
        err = keys_decode(&behind->columns, behind->values, behind->keys);
    if (!err)
        err = keys_order(&behind->columns, behind->keys, after->keys, &order);
    if (order == 0 && behind->columns.kind != SOMBRA_ROW_RECORD)
        order = (row->id > after->id) - (row->id < after->id);
    *out_behind = order > 0 || (order == 0 && row->ordinal > after->ordinal);
    return err;
}

static sombra_err behind_next(struct operator* op, struct row_batch *out)
{
    struct behind *behind = container_of(op, struct behind, op);
    for (;;) {
        sombra_err err = operator_next(op->inputs[0], out);
        if (err || out->count == 0 || behind->is_there)
            return err;
        err = columns_begin(&behind->columns, out);
        size_t at = 0;
        for (; !err && at < out->count; at++) {
            err = is_behind(behind, &out->rows[at], &behind->is_there);
            if (behind->is_there)
                break;
        }
        if (err)
            return err;
        out->count -= at;
        memmove(out->rows, out->rows + at, out->count * sizeof *out->rows);
        if (out->count)
            return SOMBRA_OK;
    }
}

static void behind_free(struct operator* op)
{
    columns_release(&container_of(op, struct behind, op)->columns);
}

static const struct operator_ops behind_ops = { .name = "behind",
                                                .next = behind_next,
                                                .free = behind_free };

sombra_err behind_new(struct plan *plan, const struct step *step, const struct position *after)
{
    struct behind *behind;
    struct query_run *run = plan->run;
    const size_t count = step ? step->as.columns.count : 0;
    sombra_err err =
        operator_make(plan, &behind_ops, sizeof *behind, plan->last->kind, plan->last, &behind);
    if (err)
        return err;
    plan->last = &behind->op;
    behind->after = after;
    behind->values = arena_alloc(&run->arena, count * sizeof *behind->values);
    behind->keys = arena_alloc(&run->arena, count * sizeof *behind->keys);
    if (!behind->values || !behind->keys)
        return diag_nomem("a position", count * sizeof *behind->keys);
    operator_describe(&behind->op, "a position");
    return columns_init(&behind->columns, run, step ? step->from : SOMBRA_ROW_NODE,
                        step ? step->as.columns.items : NULL, count);
}
