/* SPDX-License-Identifier: MIT */
/* A query from open to close: steps parsed, planned, and its rows handed out. */
#include "plan_internal.h"

enum { KEPT_BYTES_MAX = 1 << 20 };

struct query {
    /* What stays from query to query; of the run some does. */
    struct kept_steps steps;
    struct kept_plans plans;
    sombra_value_builder *builder; /* of plans */
    struct buf last_value;
    struct query_run run; /* this and all behind it are zero while it is closed, but for that */
    struct plan plan;
    struct row_batch *batch;
    sombra_row *rows; /* of the batch, as they are shown */
    size_t shown;     /* of the batch: delivered, the last rows so far; 0 = `last` is that */
    uint64_t delivered;
    struct row last; /* its value in last_value, for positions */
    bool has_last;
    bool is_open;
    bool is_explained;  /* its operators say what they are */
    sombra_slice began; /* the position it goes on behind; empty = none */
    bool is_over;       /* rows_max rows were delivered, and there are more */
    sombra_err failed;  /* with what an earlier call ended */
};

/* The elements of the list that `whole` must be; what is in them is not proved. */
static sombra_err split(struct query *query, sombra_slice whole, struct query_steps *out_steps)
{
    sombra_value list;
    sombra_value_cursor cursor;
    sombra_slice *items;
    bool found = true;
    if (sombra_value_decode(whole, &list))
        return diag_fail(SOMBRA_INVALID, "steps: %s", diag_text());
    if (list.kind != SOMBRA_LIST)
        return diag_fail(SOMBRA_INVALID, "steps are a %s; give a list",
                         sombra_kind_name(list.kind));
    items = arena_alloc(&query->run.arena, list.count * sizeof *items);
    if (!items)
        return diag_nomem("the steps of a query", list.count * sizeof *items);
    sombra_err err = SOMBRA_OK;
    sombra_value_enter(&list, &cursor);
    for (size_t i = 0; !err && i <= list.count; i++) /* and once more, to see that it ends there */
        err = value_next_encoded(&cursor, NULL, i < list.count ? &items[i] : NULL, &found);
    if (err)
        return diag_fail(SOMBRA_INVALID, "steps: %s", diag_text());
    *out_steps = (struct query_steps){ .items = items, .count = list.count };
    return SOMBRA_OK;
}

static bool has_path(const struct step *all)
{
    while (all && all->kind != STEP_PATH)
        all = all->made_before;
    return all != NULL;
}

static bool needs_tracks(const struct kept_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        if (has_path(steps->places[i].now->all))
            return true;
    }
    return has_path(steps->others);
}

static sombra_err open_steps(struct query *query, const struct query_steps *given)
{
    struct query_steps steps = *given;
    struct step *first = NULL;
    bool is_found = false;
    sombra_err err = given->items ? SOMBRA_OK : split(query, given->whole, &steps);
    if (!err)
        err = kept_steps_read(&query->steps, &query->run, steps.items, steps.count, &first);
    if (!err)
        err = kept_plans_find(&query->plans, &query->steps, &query->plan, &is_found);
    if (err || is_found)
        return err;
    for (const struct step *step = first; step; step = step->next) {
        if (step->kind == STEP_AFTER)
            query->began = step->as.position;
    }
    query->run.keeps_tracks = needs_tracks(&query->steps);
    return plan_make(&query->plan, first);
}

sombra_err query_new(struct query **out_query)
{
    struct query *query = mem_zalloc(sizeof *query);
    if (!query)
        return diag_nomem("a query", sizeof *query);
    *out_query = query;
    return SOMBRA_OK;
}

sombra_err query_open_steps(struct query *query, struct graph_txn *txn,
                            const struct query_steps *steps, const sombra_query_options *options,
                            const struct query_environment *environment)
{
    assert(!query->run.txn && !query->plan.newest && !query->steps.count && !query->steps.others);
    query->run.txn = txn;
    query->run.options = *options;
    query->run.environment = *environment;
    query->plan.run = &query->run;
    if (options->time_max_ms)
        query->run.deadline_ns =
            environment->now_ns() + u64_min(options->time_max_ms, UINT32_MAX) * 1000000;
    sombra_err err = open_steps(query, steps);
    query->is_open = !err;
    if (err)
        query_close(query);
    return err;
}

/* One chunk as large as all of them were, so that the next query of its kind takes none. */
static void arena_keep(struct arena *arena)
{
    size_t bytes = arena->bytes_total;
    arena_reset(arena);
    if (arena->bytes_total == bytes)
        return;
    arena_release(arena);
    if (bytes <= KEPT_BYTES_MAX && arena_alloc(arena, bytes))
        arena_reset(arena);
}

/* A plan that was not made, that failed, or whose operators have been given numbers, is not for
 * others. */
static bool may_keep_plan(const struct query *query)
{
    return query->is_open && !query->failed && !query->is_explained && !query->run.options.profiles;
}

void query_close(struct query *query)
{
    kept_plans_close(&query->plans, &query->steps, &query->plan, may_keep_plan(query));
    kept_steps_close(&query->steps);
    mem_free(query->run.tracks);
    if (query->run.values && value_builder_bytes(query->run.values) > KEPT_BYTES_MAX) {
        sombra_value_builder_free(query->run.values);
        query->run.values = NULL;
    }
    arena_keep(&query->run.arena);
    const struct query_run run = { .arena = query->run.arena,
                                   .marks = query->run.marks,
                                   .values = query->run.values };
    memset(&query->run, 0, sizeof *query - offsetof(struct query, run));
    query->run = run;
}

void query_release(struct query *query)
{
    if (!query)
        return;
    assert(!query->run.txn);
    kept_plans_release(&query->plans);
    kept_steps_release(&query->steps);
    sombra_value_builder_free(query->builder);
    buf_release(&query->last_value);
    run_release(&query->run);
    mem_free(query);
}

sombra_row_kind query_kind(const struct query *query)
{
    return query->plan.last->kind;
}

/* ---- rows -------------------------------------------------------------------------------- */

/* Before operators run again: the last row delivered so far is theirs. */
static sombra_err keep_last(struct query *query)
{
    if (query->shown == 0)
        return SOMBRA_OK;
    const struct row *row = &query->batch->rows[query->shown - 1];
    sombra_err err = buf_set(&query->last_value, row->value);
    query->last = *row;
    query->last.value = buf_slice(&query->last_value);
    query->has_last = true;
    query->shown = 0;
    return err;
}

static sombra_err next_batch(struct query *query)
{
    if (query->batch && query->batch->is_last) {
        query->batch->count = 0;
        return SOMBRA_OK;
    }
    sombra_err err = keep_last(query);
    if (err)
        return err;
    if (!query->batch) {
        query->batch = batch_new(&query->run);
        query->rows = arena_alloc(&query->run.arena, QUERY_BATCH * sizeof *query->rows);
        if (!query->batch || !query->rows)
            return diag_nomem("rows", QUERY_BATCH * sizeof *query->rows);
    }
    err = run_tick_slow(&query->run);
    return err ? err : operator_next(query->plan.last, query->batch);
}

static sombra_err failed_before(const struct query *query)
{
    return diag_fail(query->failed, "the query has failed before");
}

/* Of the batch, what rows_max lets through; if it has more, the next call says so. */
static size_t rows_allowed(struct query *query)
{
    const uint64_t max = query->run.options.rows_max;
    size_t count = query->batch->count;
    if (max && count > max - query->delivered) {
        count = (size_t)(max - query->delivered);
        query->is_over = true;
    }
    return count;
}

static void show_rows(struct query *query, sombra_row_kind kind, size_t count)
{
    const struct row *rows = query->batch->rows;
    sombra_row *shown = query->rows;
    if (kind >= SOMBRA_ROW_PATH) {
        for (size_t i = 0; i < count; i++)
            shown[i] = row_public(kind, &rows[i]);
        return;
    }
    for (size_t i = 0; i < count; i++)
        shown[i] = (sombra_row){
            .kind = kind, .depth = rows[i].depth, .id = rows[i].id, .cost = rows[i].cost
        };
}

sombra_err query_next(struct query *query, const sombra_row **out_rows, size_t *out_count)
{
    const sombra_row_kind kind = query->plan.last->kind;
    sombra_err err = query->failed ? failed_before(query) : SOMBRA_OK;
    if (!err && !query->is_over)
        err = next_batch(query);
    const size_t count = err || query->is_over ? 0 : rows_allowed(query);
    if (!err && query->is_over && count == 0)
        return diag_fail(SOMBRA_LIMIT, "the query has more than %" PRIu64 " rows",
                         query->run.options.rows_max);
    if (err) {
        query->failed = err;
        return err;
    }
    show_rows(query, kind, count);
    if (count)
        query->shown = count;
    query->delivered += count;
    *out_rows = query->rows;
    *out_count = count;
    return SOMBRA_OK;
}

sombra_err query_count(struct query *query, uint64_t *out_count)
{
    sombra_err err = query->failed ? failed_before(query) : run_tick_slow(&query->run);
    if (!err)
        err = keep_last(query);
    if (!err)
        err = operator_count(query->plan.last, out_count);
    if (err)
        query->failed = err;
    return err;
}

sombra_err query_position(struct query *query, sombra_slice *out_position)
{
    const struct plan *plan = &query->plan;
    const struct row *last = query->shown      ? &query->batch->rows[query->shown - 1]
                             : query->has_last ? &query->last
                                               : NULL;
    if (!plan->order && !plan->is_by_id)
        return diag_fail(SOMBRA_INVALID, "the query's rows are in no order that a position names; "
                                         "end it with an order step");
    if (!last) { /* none was delivered: where it begins */
        *out_position = query->began;
        return SOMBRA_OK;
    }
    sombra_err err = query->builder ? SOMBRA_OK : sombra_value_builder_new(&query->builder);
    if (!err)
        err = position_write(&query->run, query->builder, last, plan->order, out_position);
    return err;
}

/* ---- explain ----------------------------------------------------------------------------- */

static void push_text(sombra_value_builder *builder, const char *key, const char *text)
{
    (void)sombra_value_push_key(builder, key, strlen(key));
    (void)sombra_value_push_string(builder, text, strlen(text));
}

static void push_count(sombra_value_builder *builder, const char *key, uint64_t count)
{
    (void)sombra_value_push_key(builder, key, strlen(key));
    (void)sombra_value_push_integer(builder, (int64_t)count);
}

static void push_operator(sombra_value_builder *builder, const struct operator* op)
{
    (void)sombra_value_begin_map(builder);
    push_text(builder, "operator", op->ops->name);
    if (op->detail[0])
        push_text(builder, "detail", op->detail);
    (void)sombra_value_push_key(builder, "estimate", strlen("estimate"));
    (void)sombra_value_push_float(builder, op->estimate);
    if (op->run->options.profiles) {
        push_count(builder, "rows", op->rows);
        push_count(builder, "pages", op->pages);
        push_count(builder, "time_us", op->time_ns / 1000);
    }
    if (op->input_count) {
        (void)sombra_value_push_key(builder, "inputs", strlen("inputs"));
        (void)sombra_value_begin_list(builder);
        for (size_t i = 0; i < op->input_count; i++)
            push_operator(builder, op->inputs[i]);
        (void)sombra_value_end_list(builder);
    }
    if (op->body_count) {
        (void)sombra_value_push_key(builder, "steps", strlen("steps"));
        (void)sombra_value_begin_list(builder);
        for (size_t i = 0; i < op->body_count; i++)
            push_operator(builder, op->bodies[i]);
        (void)sombra_value_end_list(builder);
    }
    (void)sombra_value_end_map(builder);
}

sombra_err query_explain(struct query *query, sombra_slice *out_plan)
{
    sombra_err err = query->builder ? SOMBRA_OK : sombra_value_builder_new(&query->builder);
    query->is_explained = true;
    if (!err)
        err = operator_explain(query->plan.last);
    if (err)
        return err;
    sombra_value_builder_reset(query->builder);
    push_operator(query->builder, query->plan.last);
    return sombra_value_finish(query->builder, out_plan); /* failures of the pushes stick */
}
