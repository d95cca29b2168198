/* SPDX-License-Identifier: MIT */
/* The source "cycles": elementary cycles, each once, from its node of lowest id.
 *
 * Only components with a cycle are looked at. In each, from every node s in the order of ids: those
 * nodes above s from which it can be reached again in few enough edges are found backwards, with
 * their distance; then paths are walked forwards from s, and only to where the edges that are left
 * suffice for the way back. The walk stops at each cycle it closes and goes on from there when the
 * next row is asked for.
 */
#include "order_internal.h"

enum { MAX_DEFAULT = 16 };

/* An edge to walk from a node of the path. */
struct choice {
    uint64_t edge;
    uint32_t node;
};

struct place {
    uint32_t node;
    uint64_t edge;    /* over which it was reached; 0 for the start */
    size_t first, at; /* of its choices: the lowest on the stack, the next to take */
};

struct cycles {
    struct operator head;
    struct walk walk;
    uint32_t max;
    bool is_ready; /* nodes and components are known */
    struct node_table table;
    struct fan *ahead, *back;
    uint32_t *components;
    uint32_t *distances; /* of each node to the start, + 1; 0 = too far, or below it */
    uint8_t *is_on_path;
    uint32_t *near; /* nodes with a distance, breadth first */
    size_t near_count, near_capacity;
    uint64_t *level; /* their ids, of one level */
    size_t level_capacity;
    size_t next_start; /* index */
    uint32_t start;
    struct place *path;
    size_t path_count, path_capacity;
    struct choice *choices;
    size_t choice_count, choice_capacity;
    struct row_values values;
};

static struct cycles *cycles_of(struct operator* op)
{
    return container_of(op, struct cycles, head);
}

/* ---- what can come back ------------------------------------------------------------------ */

static sombra_err add_near(struct cycles *c, uint32_t node, uint32_t distance)
{
    sombra_err err = run_room(c->head.run, &c->near, c->near_count, &c->near_capacity,
                              sizeof *c->near, "nodes of cycles");
    if (err)
        return err;
    c->near[c->near_count++] = node;
    c->distances[node] = distance + 1;
    return SOMBRA_OK;
}

static sombra_err walk_back(struct cycles *c, size_t begin, size_t end, uint32_t distance)
{
    sombra_err err = SOMBRA_OK;
    while (!err && c->level_capacity < end - begin)
        err = run_room(c->head.run, &c->level, c->level_capacity, &c->level_capacity,
                       sizeof *c->level, "nodes of cycles");
    for (size_t i = begin; !err && i < end; i++)
        c->level[i - begin] = c->table.ids[c->near[i]];
    if (!err)
        fan_open(c->back, c->level, end - begin);
    while (!err) {
        const struct graph_hop *hops;
        size_t count;
        err = fan_next(c->back, &hops, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            uint32_t node;
            err = run_tick(c->head.run);
            if (!err && node_table_find(&c->table, hops[i].node, &node) && node > c->start &&
                c->components[node] == c->components[c->start] && c->distances[node] == 0)
                err = add_near(c, node, distance);
        }
    }
    return err;
}

/* Distances to the start, up to one edge less than a cycle may have. */
static sombra_err find_near(struct cycles *c)
{
    size_t begin = 0;
    for (size_t i = 0; i < c->near_count; i++)
        c->distances[c->near[i]] = 0;
    c->near_count = 0;
    sombra_err err = add_near(c, c->start, 0);
    for (uint32_t distance = 1; !err && distance < c->max && begin < c->near_count; distance++) {
        size_t end = c->near_count;
        err = walk_back(c, begin, end, distance);
        begin = end;
    }
    return err;
}

/* ---- paths ------------------------------------------------------------------------------- */

/* The edges of a node from whose other end the start can be reached in time. */
static sombra_err read_choices(struct cycles *c, uint32_t node, size_t edges)
{
    const uint64_t id = c->table.ids[node];
    sombra_err err = SOMBRA_OK;
    fan_open(c->ahead, &id, 1);
    while (!err) {
        const struct graph_hop *hops;
        size_t count;
        err = fan_next(c->ahead, &hops, &count);
        if (err || count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++) {
            struct choice choice = { .edge = hops[i].edge };
            err = run_tick(c->head.run);
            if (err || !node_table_find(&c->table, hops[i].node, &choice.node) ||
                c->distances[choice.node] == 0 || edges + c->distances[choice.node] > c->max ||
                c->is_on_path[choice.node] > 1)
                continue;
            err = run_room(c->head.run, &c->choices, c->choice_count, &c->choice_capacity,
                           sizeof *c->choices, "edges of cycles");
            if (!err)
                c->choices[c->choice_count++] = choice;
        }
    }
    fan_open(c->ahead, NULL, 0); /* `id` ends here */
    return err;
}

/* The start is marked 1, since it may be walked to; other nodes of the path 2. */
static sombra_err enter(struct cycles *c, uint32_t node, uint64_t edge)
{
    size_t first = c->choice_count;
    sombra_err err = run_room(c->head.run, &c->path, c->path_count, &c->path_capacity,
                              sizeof *c->path, "a cycle");
    c->is_on_path[node] = node == c->start ? 1 : 2; /* before its edges are read: loops */
    if (!err)
        err = read_choices(c, node, c->path_count);
    if (err)
        return err;
    c->path[c->path_count++] =
        (struct place){ .node = node, .edge = edge, .first = first, .at = first };
    return SOMBRA_OK;
}

static void leave(struct cycles *c)
{
    const struct place *place = &c->path[--c->path_count];
    c->is_on_path[place->node] = 0;
    c->choice_count = place->first;
}

static sombra_err next_start(struct cycles *c, bool *out_found)
{
    sombra_err err = SOMBRA_OK;
    *out_found = false;
    while (!err && c->next_start < c->table.count) {
        uint32_t start = (uint32_t)c->next_start++;
        err = run_tick(c->head.run);
        if (err || c->components[start] == 0)
            continue;
        c->start = start;
        err = find_near(c);
        if (!err)
            err = enter(c, start, 0);
        *out_found = !err;
        return err;
    }
    return err;
}

/* *out_closing: the edge back to the start that makes a cycle of the path; 0 = no more cycles. */
static sombra_err next_cycle(struct cycles *c, uint64_t *out_closing)
{
    *out_closing = 0;
    for (;;) {
        sombra_err err = run_tick(c->head.run);
        if (!err && c->path_count == 0) {
            bool found = false;
            err = next_start(c, &found);
            if (err || !found)
                return err;
        }
        if (err)
            return err;
        struct place *place = &c->path[c->path_count - 1];
        if (place->at == c->choice_count) {
            leave(c);
            continue;
        }
        const struct choice choice = c->choices[place->at++];
        if (choice.node == c->start) {
            *out_closing = choice.edge;
            return SOMBRA_OK;
        }
        err = enter(c, choice.node, choice.edge);
        if (err)
            return err;
    }
}

/* ---- operator ---------------------------------------------------------------------------- */

static sombra_err prepare(struct cycles *c)
{
    struct query_run *run = c->head.run;
    sombra_err err = node_table_fill(run, &c->walk, &c->table);
    if (!err)
        err = components_find(run, &c->table, c->ahead, &c->components);
    if (!err)
        err = node_array_new(run, &c->table, sizeof *c->distances, &c->distances);
    if (!err)
        err = node_array_new(run, &c->table, sizeof *c->is_on_path, &c->is_on_path);
    c->is_ready = !err;
    return err;
}

static sombra_err add_row(struct cycles *c, uint64_t closing, struct row_batch *batch)
{
    sombra_value_builder *builder = c->values.builder;
    const uint64_t start = c->table.ids[c->start];
    const struct row row = { .id = start, .depth = (uint32_t)c->path_count };
    /* A failure sticks to the builder and is said when the row is added. */
    (void)sombra_value_begin_list(builder);
    for (size_t i = 0; i < c->path_count; i++) {
        if (i > 0)
            (void)sombra_value_push_integer(builder, (int64_t)c->path[i].edge);
        (void)sombra_value_push_integer(builder, (int64_t)c->table.ids[c->path[i].node]);
    }
    (void)sombra_value_push_integer(builder, (int64_t)closing);
    (void)sombra_value_push_integer(builder, (int64_t)start);
    (void)sombra_value_end_list(builder);
    return row_values_add(&c->values, batch, &row);
}

static sombra_err cycles_next(struct operator* op, struct row_batch *out)
{
    struct cycles *c = cycles_of(op);
    sombra_err err = c->is_ready || c->max == 0 ? SOMBRA_OK : prepare(c);
    row_values_begin(&c->values, out);
    while (!err && c->max > 0 && out->count < c->values.batch_max) {
        uint64_t closing;
        err = next_cycle(c, &closing);
        if (err || closing == 0)
            break;
        err = add_row(c, closing, out);
    }
    if (!err)
        row_values_end(&c->values, out);
    return err;
}

static void cycles_free(struct operator* op)
{
    struct cycles *c = cycles_of(op);
    struct query_run *run = op->run;
    fan_free(c->ahead);
    fan_free(c->back);
    node_array_free(run, &c->table, sizeof *c->components, c->components);
    node_array_free(run, &c->table, sizeof *c->distances, c->distances);
    node_array_free(run, &c->table, sizeof *c->is_on_path, c->is_on_path);
    node_table_release(run, &c->table);
    run_free(run, &c->near, &c->near_capacity, sizeof *c->near);
    run_free(run, &c->level, &c->level_capacity, sizeof *c->level);
    run_free(run, &c->path, &c->path_capacity, sizeof *c->path);
    run_free(run, &c->choices, &c->choice_capacity, sizeof *c->choices);
    row_values_release(&c->values);
    walk_release(&c->walk);
    search_operator_free(op, sizeof *c);
}

sombra_err cycles_new(struct query_run *run, const sombra_value *options, struct operator** out)
{
    static const struct operator_ops ops = {
        .name = "cycles",
        .next = cycles_next,
        .free = cycles_free,
    };
    static const char *const names[] = { "types", "where", "nodes", "max", NULL };
    struct cycles *c;
    sombra_err err = search_operator_new(run, &ops, sizeof *c, SOMBRA_ROW_PATH, &c);
    if (err)
        return err;
    c->max = MAX_DEFAULT;
    err = row_values_init(&c->values, run);
    if (!err)
        err = options_check(options, names);
    if (!err)
        err = option_count(options, "max", UINT32_MAX - 1, &c->max);
    if (!err)
        err = walk_parse(run->txn, options, SOMBRA_OUT, &c->walk);
    if (!err)
        err = fan_new(run, &c->walk, false, false, &c->ahead);
    if (!err)
        err = fan_new(run, &c->walk, true, false, &c->back);
    if (err) {
        cycles_free(&c->head);
        return err;
    }
    operator_describe(&c->head, "up to %" PRIu32 " edges", c->max);
    *out = &c->head;
    return SOMBRA_OK;
}
