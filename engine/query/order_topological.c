/* SPDX-License-Identifier: MIT */
/* The source "topological": every node behind all those that have an edge to it (Kahn 1962). The
 * whole order is made before its first row is given, since only then it is known that there is one.
 */
#include "order_internal.h"

#include <stdio.h>

enum { NAMED_MAX = 8 }; /* nodes of a cycle in a text */

struct topological {
    struct operator head;
    struct walk walk;
    struct node_table table;
    struct fan *fan;
    bool is_ready;
    uint32_t *incoming; /* of each node: edges whose source is not in the order yet */
    uint8_t *is_member; /* an edge begins or ends there */
    uint32_t *order;
    size_t order_count, member_count;
    size_t next; /* of the order: the next row */
};

static struct topological *topological_of(struct operator* op)
{
    return container_of(op, struct topological, head);
}

static void add_member(struct topological *t, uint32_t node)
{
    t->member_count += t->is_member[node] ? 0 : 1;
    t->is_member[node] = 1;
}

static sombra_err count_edge(void *context, const struct graph_hop *hop)
{
    struct topological *t = context;
    uint32_t target;
    if (!node_table_find(&t->table, hop->node, &target))
        return SOMBRA_OK;
    t->incoming[target]++;
    add_member(t, target);
    add_member(t, hop->source);
    return SOMBRA_OK;
}

/* The edge's source is in the order: its target waits for one edge less. */
static sombra_err pass_edge(void *context, const struct graph_hop *hop)
{
    struct topological *t = context;
    uint32_t target;
    if (node_table_find(&t->table, hop->node, &target) && t->incoming[target] > 0 &&
        --t->incoming[target] == 0)
        t->order[t->order_count++] = target;
    return SOMBRA_OK;
}

/* ---- a cycle to name --------------------------------------------------------------------- */

struct wait {
    const struct topological *t;
    bool found;
    uint32_t before;
};

static sombra_err wait_take(void *context, const struct graph_hop *hop)
{
    struct wait *wait = context;
    if (!wait->found)
        wait->found = node_table_find(&wait->t->table, hop->node, &wait->before) &&
                      wait->t->incoming[wait->before] > 0;
    return SOMBRA_OK;
}

/* A node before this one that is not in the order either; there is one. */
static sombra_err waits_for(const struct topological *t, struct fan *back, uint32_t node,
                            uint32_t *out_before)
{
    const uint64_t id = t->table.ids[node];
    struct wait wait = { .t = t };
    sombra_err err = fan_each(back, &id, 1, wait_take, &wait);
    if (!err && !wait.found)
        err = diag_fail(SOMBRA_CORRUPT, "node %" PRIu64 " has an edge into it that it has not", id);
    if (!err)
        *out_before = wait.before;
    return err;
}

/* `node` is on the cycle that `before` (index + 1) leads around, against the edges. */
static sombra_err say_cycle(const struct topological *t, const uint32_t *before, uint32_t node)
{
    char text[NAMED_MAX * 24 + 40];
    uint32_t at = node;
    size_t used = 0, named = 0;
    uint64_t ids[NAMED_MAX];
    size_t length = 0;
    do {
        if (length < NAMED_MAX)
            ids[length] = t->table.ids[at];
        length++;
        at = before[at] - 1;
    } while (at != node);
    named = size_min(length, NAMED_MAX);
    for (size_t i = named; i-- > 0;)
        used += (size_t)snprintf(text + used, sizeof text - used, "%" PRIu64 " -> ", ids[i]);
    if (length > named)
        return diag_fail(SOMBRA_INVALID,
                         "there is no order: a cycle of %zu nodes, part of it %s...", length, text);
    return diag_fail(SOMBRA_INVALID, "there is no order: a cycle of nodes %s%" PRIu64, text,
                     ids[named - 1]);
}

/* Every node that is left waits for another one that is left; so going back meets itself. */
static sombra_err name_cycle(struct topological *t)
{
    struct query_run *run = t->head.run;
    struct fan *back = NULL;
    uint32_t *before = NULL; /* index + 1 */
    uint32_t node = 0;
    while (t->incoming[node] == 0)
        node++;
    sombra_err err = fan_new(run, &t->walk, true, false, &back);
    if (!err)
        err = node_array_new(run, &t->table, sizeof *before, &before);
    while (!err && before[node] == 0) {
        uint32_t next = 0;
        err = waits_for(t, back, node, &next);
        if (!err) {
            before[node] = next + 1;
            node = next;
        }
    }
    if (!err)
        err = say_cycle(t, before, node);
    node_array_free(run, &t->table, sizeof *before, before);
    fan_free(back);
    return err;
}

/* ---- operator ---------------------------------------------------------------------------- */

static sombra_err prepare(struct topological *t)
{
    struct query_run *run = t->head.run;
    sombra_err err = node_table_fill(run, &t->walk, &t->table);
    if (!err)
        err = node_array_new(run, &t->table, sizeof *t->incoming, &t->incoming);
    if (!err)
        err = node_array_new(run, &t->table, sizeof *t->is_member, &t->is_member);
    if (!err)
        err = node_array_new(run, &t->table, sizeof *t->order, &t->order);
    if (!err)
        err = fan_each(t->fan, t->table.ids, t->table.count, count_edge, t);
    for (size_t i = 0; !err && i < t->table.count; i++) {
        if (t->is_member[i] && t->incoming[i] == 0)
            t->order[t->order_count++] = (uint32_t)i;
    }
    for (size_t i = 0; !err && i < t->order_count; i++)
        err = fan_each(t->fan, &t->table.ids[t->order[i]], 1, pass_edge, t);
    if (!err && t->order_count < t->member_count)
        err = name_cycle(t);
    t->is_ready = !err;
    return err;
}

static sombra_err topological_next(struct operator* op, struct row_batch *out)
{
    struct topological *t = topological_of(op);
    sombra_err err = t->is_ready ? SOMBRA_OK : prepare(t);
    out->count = 0;
    while (!err && out->count < QUERY_BATCH && t->next < t->order_count)
        out->rows[out->count++] = (struct row){ .id = t->table.ids[t->order[t->next++]] };
    return err;
}

static void topological_free(struct operator* op)
{
    struct topological *t = topological_of(op);
    struct query_run *run = op->run;
    fan_free(t->fan);
    node_array_free(run, &t->table, sizeof *t->incoming, t->incoming);
    node_array_free(run, &t->table, sizeof *t->is_member, t->is_member);
    node_array_free(run, &t->table, sizeof *t->order, t->order);
    node_table_release(run, &t->table);
    walk_release(&t->walk);
    search_operator_free(op, sizeof *t);
}

sombra_err topological_new(struct query_run *run, const sombra_value *options,
                           struct operator** out)
{
    static const struct operator_ops ops = {
        .name = "topological",
        .next = topological_next,
        .free = topological_free,
    };
    static const char *const names[] = { "types", "where", "nodes", NULL };
    struct topological *t;
    sombra_err err = search_operator_new(run, &ops, sizeof *t, SOMBRA_ROW_NODE, &t);
    if (err)
        return err;
    err = options_check(options, names);
    if (!err)
        err = walk_parse(run->txn, options, SOMBRA_OUT, &t->walk);
    if (!err)
        err = fan_new(run, &t->walk, false, false, &t->fan);
    if (err) {
        topological_free(&t->head);
        return err;
    }
    *out = &t->head;
    return SOMBRA_OK;
}
