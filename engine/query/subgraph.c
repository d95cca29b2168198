/* SPDX-License-Identifier: MIT */
/* The source "subgraph": what is reached from some nodes within a number of edges, as one record of
 * the ids of its nodes and edges, both ascending. */
#include "search_internal.h"

#include <stdlib.h>

/* Of a list of integers in a value: its tag, and up to 8 bytes. */
enum { ENCODED_ID_BYTES = 9 };

struct subgraph {
    struct operator head;
    struct walk walk;
    struct walk everything; /* induced: all edges */
    uint32_t depth;
    bool is_induced, is_done;
    struct id_list roots, nodes, edges;
    struct id_list level; /* a copy of a part of nodes, since those move */
    struct id_set *seen_nodes, *seen_edges;
    struct row_values values;
    size_t value_bytes; /* charged for it */
};

static struct subgraph *subgraph_of(struct operator* op)
{
    return container_of(op, struct subgraph, head);
}

static sombra_err add_roots(struct subgraph *s)
{
    struct query_run *run = s->head.run;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < s->roots.count; i++) {
        bool exists = false, is_new = false;
        err = graph_node_exists(run->txn, s->roots.items[i], &exists);
        if (!err && exists)
            err = id_set_add(s->seen_nodes, s->roots.items[i], &is_new);
        if (!err && is_new)
            err = id_list_add(run, &s->nodes, s->roots.items[i]);
    }
    return err;
}

/* A node that walk->nodes does not take is asked again each time it is met: it is in no set. */
static sombra_err take_hop(void *context, const struct graph_hop *hop)
{
    struct subgraph *s = context;
    struct query_run *run = s->head.run;
    bool is_new = false, takes = true;
    sombra_err err = SOMBRA_OK;
    if (!id_set_has(s->seen_nodes, hop->node)) {
        err = walk_takes_node(&s->walk, run, hop->node, &takes);
        if (err || !takes)
            return err;
        err = id_set_add(s->seen_nodes, hop->node, &is_new);
        if (!err)
            err = id_list_add(run, &s->nodes, hop->node);
    }
    if (err || s->is_induced)
        return err;
    err = id_set_add(s->seen_edges, hop->edge, &is_new);
    return err || !is_new ? err : id_list_add(run, &s->edges, hop->edge);
}

static sombra_err walk_level(struct subgraph *s, struct fan *fan, size_t begin, size_t end)
{
    sombra_err err = SOMBRA_OK;
    s->level.count = 0;
    for (size_t i = begin; !err && i < end; i++)
        err = id_list_add(s->head.run, &s->level, s->nodes.items[i]);
    return err ? err : fan_each(fan, s->level.items, s->level.count, take_hop, s);
}

static sombra_err walk_levels(struct subgraph *s)
{
    struct fan *fan = NULL;
    size_t begin = 0;
    sombra_err err = fan_new(s->head.run, &s->walk, false, false, &fan);
    for (uint32_t depth = 0; !err && depth < s->depth && begin < s->nodes.count; depth++) {
        size_t end = s->nodes.count;
        err = walk_level(s, fan, begin, end);
        begin = end;
    }
    fan_free(fan);
    return err;
}

static int id_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static sombra_err take_inner(void *context, const struct graph_hop *hop)
{
    struct subgraph *s = context;
    return id_set_has(s->seen_nodes, hop->node) ? id_list_add(s->head.run, &s->edges, hop->edge)
                                                : SOMBRA_OK;
}

/* Every edge between the nodes, seen from its source. */
static sombra_err read_induced(struct subgraph *s)
{
    struct fan *fan = NULL;
    s->everything.direction = SOMBRA_OUT;
    sombra_err err = fan_new(s->head.run, &s->everything, false, false, &fan);
    if (!err)
        err = fan_each(fan, s->nodes.items, s->nodes.count, take_inner, s);
    fan_free(fan);
    return err;
}

/* ---- operator ---------------------------------------------------------------------------- */

static void push_ids(sombra_value_builder *builder, const char *name, const struct id_list *ids)
{
    (void)sombra_value_push_key(builder, name, strlen(name));
    (void)sombra_value_begin_list(builder);
    for (size_t i = 0; i < ids->count; i++)
        (void)sombra_value_push_integer(builder, (int64_t)ids->items[i]);
    (void)sombra_value_end_list(builder);
}

static sombra_err add_row(struct subgraph *s, struct row_batch *out)
{
    sombra_value_builder *builder = s->values.builder;
    const struct row row = { .id = 0 };
    /* In the builder, and in the row. */
    size_t bytes = 2 * ENCODED_ID_BYTES * (s->nodes.count + s->edges.count);
    sombra_err err = run_charge(s->head.run, (int64_t)bytes);
    if (err)
        return err;
    s->value_bytes = bytes;
    if (s->edges.count)
        qsort(s->edges.items, s->edges.count, sizeof *s->edges.items, id_order);
    /* A failure sticks to the builder and is said when the row is added. */
    (void)sombra_value_begin_map(builder);
    push_ids(builder, "edges", &s->edges);
    push_ids(builder, "nodes", &s->nodes);
    (void)sombra_value_end_map(builder);
    return row_values_add(&s->values, out, &row);
}

static sombra_err subgraph_next(struct operator* op, struct row_batch *out)
{
    struct subgraph *s = subgraph_of(op);
    row_values_begin(&s->values, out);
    if (s->is_done)
        return SOMBRA_OK;
    s->is_done = true;
    sombra_err err = add_roots(s);
    if (!err)
        err = walk_levels(s);
    if (!err && s->nodes.count) /* ascending, so that the sweep reads on */
        qsort(s->nodes.items, s->nodes.count, sizeof *s->nodes.items, id_order);
    if (!err && s->is_induced)
        err = read_induced(s);
    if (!err)
        err = add_row(s, out);
    if (!err)
        row_values_end(&s->values, out);
    return err;
}

static void subgraph_free(struct operator* op)
{
    struct subgraph *s = subgraph_of(op);
    struct query_run *run = op->run;
    id_list_release(run, &s->roots);
    id_list_release(run, &s->nodes);
    id_list_release(run, &s->edges);
    id_list_release(run, &s->level);
    id_set_free(s->seen_nodes);
    id_set_free(s->seen_edges);
    row_values_release(&s->values);
    run_refund(run, s->value_bytes);
    walk_release(&s->walk);
    search_operator_free(op, sizeof *s);
}

static sombra_err parse(struct subgraph *s, const sombra_value *options)
{
    static const char *const names[] = { "roots", "depth", "direction", "types",
                                         "where", "nodes", "induced",   NULL };
    struct query_run *run = s->head.run;
    bool has_roots = false;
    s->depth = UINT32_MAX;
    sombra_err err = options_check(options, names);
    if (!err)
        err = option_ids(run, options, "roots", &s->roots, &has_roots);
    if (!err && !has_roots)
        err = diag_fail(SOMBRA_INVALID, "option 'roots' is missing; give ids of nodes");
    if (!err)
        err = option_count(options, "depth", UINT32_MAX - 1, &s->depth);
    if (!err)
        err = option_boolean(options, "induced", &s->is_induced);
    if (!err)
        err = walk_parse(run->txn, options, SOMBRA_OUT, &s->walk);
    return err;
}

sombra_err subgraph_new(struct query_run *run, const sombra_value *options, struct operator** out)
{
    static const struct operator_ops ops = {
        .name = "subgraph",
        .next = subgraph_next,
        .free = subgraph_free,
    };
    struct subgraph *s;
    sombra_err err = search_operator_new(run, &ops, sizeof *s, SOMBRA_ROW_RECORD, &s);
    if (err)
        return err;
    err = row_values_init(&s->values, run);
    if (!err)
        err = parse(s, options);
    if (!err)
        err = id_set_new(run, &s->seen_nodes);
    if (!err)
        err = id_set_new(run, &s->seen_edges);
    if (err) {
        subgraph_free(&s->head);
        return err;
    }
    s->head.estimate = 1;
    operator_describe(&s->head, "%zu roots%s", s->roots.count, s->is_induced ? ", induced" : "");
    *out = &s->head;
    return SOMBRA_OK;
}
