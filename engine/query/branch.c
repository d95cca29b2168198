/* SPDX-License-Identifier: MIT */
/* Steps within steps: union, optional, repeat. A body is a chain of operators behind a feed, which
 * gives it the rows that its owner says.
 */
#include "plan_internal.h"

/* ---- feeds and rows kept ----------------------------------------------------------------- */

struct feed {
    struct operator op;
    const struct row *rows; /* of the owner, until the body is at its end */
    size_t count, at;
};

static sombra_err feed_next(struct operator* op, struct row_batch *out)
{
    struct feed *feed = container_of(op, struct feed, op);
    out->count = size_min(QUERY_BATCH, feed->count - feed->at);
    if (out->count)
        memcpy(out->rows, feed->rows + feed->at, out->count * sizeof *out->rows);
    feed->at += out->count;
    return SOMBRA_OK;
}

static sombra_err feed_reset(struct operator* op)
{
    struct feed *feed = container_of(op, struct feed, op);
    feed->count = feed->at = 0;
    return SOMBRA_OK;
}

static const struct operator_ops feed_ops = { .name = "rows",
                                              .next = feed_next,
                                              .reset = feed_reset };

struct rows_kept {
    struct row *items;
    size_t count, capacity;
};

static sombra_err rows_add(struct query_run *run, struct rows_kept *rows, const struct row *row)
{
    if (rows->count == rows->capacity) {
        void *items = rows->items;
        sombra_err err = run_grow(run, &items, &rows->capacity, sizeof *row, "rows");
        rows->items = items;
        if (err)
            return err;
    }
    rows->items[rows->count++] = *row;
    return SOMBRA_OK;
}

struct body {
    struct feed *feed;
    struct operator* last;
};

/* Plans the steps behind a feed, and lists the body with its owner. */
static sombra_err body_new(struct plan *plan, struct operator* owner, struct step *steps,
                           sombra_row_kind kind, struct body *out_body)
{
    struct feed *feed;
    sombra_err err = operator_make(plan, &feed_ops, sizeof *feed, kind, NULL, &feed);
    if (err)
        return err;
    feed->op.estimate = 1;
    out_body->feed = feed;
    err = plan_body(plan, steps, &feed->op, &out_body->last);
    if (!err)
        owner->bodies[owner->body_count++] = out_body->last;
    return err;
}

static sombra_err bodies_make(struct operator* owner, size_t count)
{
    owner->bodies = arena_alloc(&owner->run->arena, count * sizeof *owner->bodies);
    return owner->bodies ? SOMBRA_OK
                         : diag_nomem("steps within a step", count * sizeof *owner->bodies);
}

/* From now on the body is about these rows. */
static sombra_err body_begin(struct body *body, const struct row *rows, size_t count)
{
    sombra_err err = operator_reset(body->last);
    body->feed->rows = rows;
    body->feed->count = count;
    body->feed->at = 0;
    return err;
}

/* ---- union ------------------------------------------------------------------------------- */

struct unite {
    struct operator op;
    struct body *bodies;
    size_t count, at; /* the body that is read now */
    struct rows_kept rows;
    struct arena arena; /* of what they hold */
    bool is_read;
    struct row_batch *input;
};

static sombra_err unite_read(struct unite *unite)
{
    struct query_run *run = unite->op.run;
    for (;;) {
        sombra_err err = operator_next(unite->op.inputs[0], unite->input);
        if (err)
            return err;
        if (unite->input->count == 0)
            break;
        for (size_t i = 0; !err && i < unite->input->count; i++) {
            struct row *row = &unite->input->rows[i];
            err = run_copy(run, &unite->arena, &row->value);
            if (!err)
                err = rows_add(run, &unite->rows, row);
        }
        if (err)
            return err;
    }
    unite->is_read = true;
    return body_begin(&unite->bodies[0], unite->rows.items, unite->rows.count);
}

static sombra_err unite_next(struct operator* op, struct row_batch *out)
{
    struct unite *unite = container_of(op, struct unite, op);
    sombra_err err = unite->is_read ? SOMBRA_OK : unite_read(unite);
    out->count = 0;
    while (!err && unite->at < unite->count) {
        err = operator_next(unite->bodies[unite->at].last, out);
        out->is_last = false; /* of this body */
        if (err || out->count)
            return err;
        if (++unite->at < unite->count)
            err = body_begin(&unite->bodies[unite->at], unite->rows.items, unite->rows.count);
    }
    return err;
}

static sombra_err unite_reset(struct operator* op)
{
    struct unite *unite = container_of(op, struct unite, op);
    run_refund(op->run, unite->arena.bytes_total);
    arena_release(&unite->arena);
    unite->rows.count = unite->at = 0;
    unite->is_read = false;
    return SOMBRA_OK;
}

static void unite_free(struct operator* op)
{
    struct unite *unite = container_of(op, struct unite, op);
    mem_free(unite->rows.items);
    arena_release(&unite->arena);
}

static const struct operator_ops unite_ops = {
    .name = "union", .next = unite_next, .reset = unite_reset, .free = unite_free
};

sombra_err union_new(struct plan *plan, const struct step *step)
{
    struct unite *unite;
    const size_t count = step->as.lists.count;
    sombra_err err = operator_make(plan, &unite_ops, sizeof *unite, step->to, plan->last, &unite);
    if (err)
        return err;
    unite->bodies = arena_alloc(&plan->run->arena, count * sizeof *unite->bodies);
    unite->input = batch_new(plan->run);
    if (!unite->bodies || !unite->input)
        return diag_nomem("a union", count * sizeof *unite->bodies);
    err = bodies_make(&unite->op, count);
    for (size_t i = 0; !err && i < count; i++, unite->count++)
        err = body_new(plan, &unite->op, step->as.lists.items[i], step->from, &unite->bodies[i]);
    plan->last = &unite->op;
    return err;
}

/* ---- optional ---------------------------------------------------------------------------- */

struct optional {
    struct operator op;
    struct body body;
    struct row_batch *input, *made;
    size_t input_at, made_at;
    bool is_active; /* the body is about row input_at - 1 */
    bool has_given;
};

static sombra_err optional_step(struct optional *optional, struct row_batch *out)
{
    sombra_err err = SOMBRA_OK;
    if (optional->is_active) {
        const struct row *row = &optional->input->rows[optional->input_at - 1];
        optional->made_at = 0;
        err = operator_next(optional->body.last, optional->made);
        if (err || optional->made->count) {
            optional->has_given = true;
            return err;
        }
        if (!optional->has_given)
            out->rows[out->count++] = *row;
        optional->is_active = false;
        return SOMBRA_OK;
    }
    err = body_begin(&optional->body, &optional->input->rows[optional->input_at], 1);
    optional->input_at++;
    optional->is_active = true;
    optional->has_given = false;
    return err;
}

static sombra_err optional_next(struct operator* op, struct row_batch *out)
{
    struct optional *optional = container_of(op, struct optional, op);
    sombra_err err = SOMBRA_OK;
    out->count = 0;
    while (!err && out->count < QUERY_BATCH) {
        if (optional->made_at < optional->made->count) {
            out->rows[out->count++] = optional->made->rows[optional->made_at++];
            continue;
        }
        if (!optional->is_active && optional->input_at == optional->input->count) {
            if (out->count) /* the next rows of the input only when they are asked for */
                break;
            optional->input_at = 0;
            err = operator_next(op->inputs[0], optional->input);
            if (err || optional->input->count == 0)
                break;
            err = rows_track(op->run, optional->input->rows, optional->input->count);
        }
        if (!err)
            err = optional_step(optional, out);
    }
    return err;
}

static sombra_err optional_reset(struct operator* op)
{
    struct optional *optional = container_of(op, struct optional, op);
    optional->input->count = optional->input_at = 0;
    optional->made->count = optional->made_at = 0;
    optional->is_active = false;
    return SOMBRA_OK;
}

static const struct operator_ops optional_ops = { .name = "optional",
                                                  .next = optional_next,
                                                  .reset = optional_reset };

sombra_err optional_new(struct plan *plan, const struct step *step)
{
    struct optional *optional;
    sombra_err err = operator_make(plan, &optional_ops, sizeof *optional, SOMBRA_ROW_NODE,
                                   plan->last, &optional);
    if (err)
        return err;
    optional->input = batch_new(plan->run);
    optional->made = batch_new(plan->run);
    if (!optional->input || !optional->made)
        return SOMBRA_NOMEM;
    err = bodies_make(&optional->op, 1);
    if (!err)
        err = body_new(plan, &optional->op, step->as.lists.items[0], step->from, &optional->body);
    plan->last = &optional->op;
    return err;
}

/* ---- repeat ------------------------------------------------------------------------------ */

/* Each row of the input is repeated by itself, round by round: all rows of a round that go on are
 * the body's rows of the next. */
struct repeat {
    struct operator op;
    const struct step *step;
    struct body body;
    struct row_batch *input, *made;
    size_t input_at, made_at;
    uint32_t round;         /* of the rows in `made` */
    struct rows_kept going; /* rows of this round that go on */
    struct rows_kept feed;  /* those of the round before, that the body is about */
    bool is_active;         /* the body has not come to its end */
    struct id_set *seen;
};

/* One row of this round: is it given out, does it go on? */
static sombra_err repeat_row(struct repeat *repeat, const struct row *row, struct row_batch *out)
{
    const struct step *step = repeat->step;
    struct query_run *run = repeat->op.run;
    const bool counts = repeat->round >= step->as.repeat.min;
    const bool is_last_round = repeat->round == step->as.repeat.max;
    bool stops = false, emits = counts;
    sombra_err err = SOMBRA_OK;
    if (counts && step->as.repeat.until)
        err = predicate_test(step->as.repeat.until, run, row, true, &stops);
    if (!err && counts && step->as.repeat.emit == EMIT_LAST)
        emits = stops || is_last_round;
    else if (!err && counts && step->as.repeat.emit == EMIT_WHERE)
        err = predicate_test(step->as.repeat.emits, run, row, true, &emits);
    if (!err && !stops && !is_last_round)
        err = rows_add(run, &repeat->going, row);
    if (!err && emits)
        out->rows[out->count++] = *row;
    return err;
}

static sombra_err repeat_round(struct repeat *repeat)
{
    struct rows_kept going = repeat->going;
    repeat->going = repeat->feed;
    repeat->going.count = 0;
    repeat->feed = going;
    repeat->is_active = going.count > 0;
    if (!repeat->is_active)
        return SOMBRA_OK;
    if (repeat->round == UINT32_MAX - 1)
        return diag_fail(SOMBRA_LIMIT, "more than %u rounds", UINT32_MAX - 1);
    repeat->round++;
    return body_begin(&repeat->body, going.items, going.count);
}

/* The next row of the input is round 0. */
static sombra_err repeat_begin(struct repeat *repeat, bool *out_more)
{
    struct operator* op = & repeat->op;
    bool unused;
    sombra_err err = SOMBRA_OK;
    if (repeat->input_at == repeat->input->count) {
        repeat->input_at = 0;
        err = operator_next(op->inputs[0], repeat->input);
        if (!err)
            err = rows_track(op->run, repeat->input->rows, repeat->input->count);
    }
    *out_more = !err && repeat->input->count > 0;
    if (!*out_more)
        return err;
    repeat->made->rows[0] = repeat->input->rows[repeat->input_at++];
    repeat->made->count = 1;
    repeat->made_at = 0;
    repeat->round = 0;
    repeat->going.count = 0;
    if (repeat->step->as.repeat.is_unique) {
        id_set_free(repeat->seen);
        repeat->seen = NULL;
        err = id_set_new(op->run, &repeat->seen);
        if (!err)
            err = id_set_add(repeat->seen, repeat->made->rows[0].id, &unused);
    }
    return err;
}

/* More rows of this round, each new if they must be. */
static sombra_err repeat_more(struct repeat *repeat)
{
    struct row_batch *made = repeat->made;
    size_t kept = 0;
    repeat->made_at = 0;
    sombra_err err = operator_next(repeat->body.last, made);
    if (err)
        return err;
    if (made->count == 0)
        return repeat_round(repeat);
    for (size_t i = 0; i < made->count; i++) {
        bool is_new = true;
        if (repeat->step->as.repeat.is_unique)
            err = id_set_add(repeat->seen, made->rows[i].id, &is_new);
        if (err)
            return err;
        if (is_new)
            made->rows[kept++] = made->rows[i];
    }
    made->count = kept;
    return SOMBRA_OK;
}

static sombra_err repeat_next(struct operator* op, struct row_batch *out)
{
    struct repeat *repeat = container_of(op, struct repeat, op);
    sombra_err err = SOMBRA_OK;
    bool more = true;
    out->count = 0;
    while (!err && more && out->count < QUERY_BATCH) {
        if (repeat->made_at < repeat->made->count) {
            err = repeat_row(repeat, &repeat->made->rows[repeat->made_at++], out);
            if (!err && repeat->made_at == repeat->made->count && repeat->round == 0)
                err = repeat_round(repeat);
        } else if (repeat->is_active) {
            err = repeat_more(repeat);
        } else {
            err = repeat_begin(repeat, &more);
        }
    }
    return err;
}

static sombra_err repeat_reset(struct operator* op)
{
    struct repeat *repeat = container_of(op, struct repeat, op);
    repeat->input->count = repeat->input_at = 0;
    repeat->made->count = repeat->made_at = 0;
    repeat->going.count = 0;
    repeat->is_active = false;
    return SOMBRA_OK;
}

static void repeat_free(struct operator* op)
{
    struct repeat *repeat = container_of(op, struct repeat, op);
    id_set_free(repeat->seen);
    mem_free(repeat->going.items);
    mem_free(repeat->feed.items);
}

static const struct operator_ops repeat_ops = {
    .name = "repeat", .next = repeat_next, .reset = repeat_reset, .free = repeat_free
};

sombra_err repeat_new(struct plan *plan, const struct step *step)
{
    struct repeat *repeat;
    sombra_err err =
        operator_make(plan, &repeat_ops, sizeof *repeat, SOMBRA_ROW_NODE, plan->last, &repeat);
    if (err)
        return err;
    repeat->step = step;
    repeat->input = batch_new(plan->run);
    repeat->made = batch_new(plan->run);
    if (!repeat->input || !repeat->made)
        return SOMBRA_NOMEM;
    err = bodies_make(&repeat->op, 1);
    if (!err)
        err = body_new(plan, &repeat->op, step->as.repeat.body, SOMBRA_ROW_NODE, &repeat->body);
    plan->last = &repeat->op;
    return err;
}
