/* SPDX-License-Identifier: MIT */
/* Strongly connected components (Tarjan 1972), with the recursion written out: a frame for each
 * node that is being visited, whose edges stand on a stack of their own. */
#include "order_internal.h"

struct frame {
    uint32_t node;
    size_t first, at; /* of its targets: the lowest on the stack, the next to look at */
};

struct tarjan {
    struct query_run *run;
    const struct node_table *table;
    struct fan *fan;
    uint32_t *numbers; /* of each node, in the order of visits; 0 = not visited */
    uint32_t *lows;    /* the lowest number it is known to reach */
    uint32_t *components;
    uint8_t *is_waiting; /* on `waiting` */
    uint32_t next_number, next_component;
    uint32_t *waiting; /* nodes whose component is not known yet */
    size_t waiting_count, waiting_capacity;
    uint32_t *targets;
    size_t target_count, target_capacity;
    struct frame *frames;
    size_t frame_count, frame_capacity;
};

static sombra_err add_target(void *context, const struct graph_hop *hop)
{
    struct tarjan *t = context;
    uint32_t target;
    if (!node_table_find(t->table, hop->node, &target))
        return SOMBRA_OK;
    sombra_err err = run_room(t->run, &t->targets, t->target_count, &t->target_capacity,
                              sizeof *t->targets, "edges of a search");
    if (!err)
        t->targets[t->target_count++] = target;
    return err;
}

static sombra_err visit(struct tarjan *t, uint32_t node)
{
    size_t first = t->target_count;
    sombra_err err = run_room(t->run, &t->frames, t->frame_count, &t->frame_capacity,
                              sizeof *t->frames, "a search");
    if (!err)
        err = run_room(t->run, &t->waiting, t->waiting_count, &t->waiting_capacity,
                       sizeof *t->waiting, "a search");
    if (!err)
        err = fan_each(t->fan, &t->table->ids[node], 1, add_target, t);
    if (err)
        return err;
    t->numbers[node] = t->lows[node] = ++t->next_number;
    t->waiting[t->waiting_count++] = node;
    t->is_waiting[node] = 1;
    t->frames[t->frame_count++] = (struct frame){ .node = node, .first = first, .at = first };
    return SOMBRA_OK;
}

/* All that was visited since `node` and still waits is its component. */
static void close_component(struct tarjan *t, uint32_t node, const struct frame *frame)
{
    bool is_cyclic = t->waiting[t->waiting_count - 1] != node;
    for (size_t i = frame->first; !is_cyclic && i < t->target_count; i++)
        is_cyclic = t->targets[i] == node; /* a loop */
    uint32_t component = is_cyclic ? ++t->next_component : 0, member;
    do {
        assert(t->waiting_count > 0);
        member = t->waiting[--t->waiting_count];
        t->is_waiting[member] = 0;
        t->components[member] = component;
    } while (member != node);
}

static sombra_err visit_from(struct tarjan *t, uint32_t root)
{
    sombra_err err = visit(t, root);
    while (!err && t->frame_count > 0) {
        struct frame *frame = &t->frames[t->frame_count - 1];
        uint32_t node = frame->node;
        if (frame->at < t->target_count) {
            uint32_t target = t->targets[frame->at++];
            if (t->numbers[target] == 0)
                err = visit(t, target);
            else if (t->is_waiting[target] && t->numbers[target] < t->lows[node])
                t->lows[node] = t->numbers[target];
            continue;
        }
        if (t->lows[node] == t->numbers[node])
            close_component(t, node, frame);
        t->target_count = frame->first;
        t->frame_count--;
        if (t->frame_count > 0) {
            uint32_t parent = t->frames[t->frame_count - 1].node;
            if (t->lows[node] < t->lows[parent])
                t->lows[parent] = t->lows[node];
        }
    }
    return err;
}

static void release(struct tarjan *t)
{
    node_array_free(t->run, t->table, sizeof *t->numbers, t->numbers);
    node_array_free(t->run, t->table, sizeof *t->lows, t->lows);
    node_array_free(t->run, t->table, sizeof *t->components, t->components);
    node_array_free(t->run, t->table, sizeof *t->is_waiting, t->is_waiting);
    run_free(t->run, &t->waiting, &t->waiting_capacity, sizeof *t->waiting);
    run_free(t->run, &t->targets, &t->target_capacity, sizeof *t->targets);
    run_free(t->run, &t->frames, &t->frame_capacity, sizeof *t->frames);
}

sombra_err components_find(struct query_run *run, const struct node_table *table, struct fan *fan,
                           uint32_t **out_components)
{
    struct tarjan t = { .run = run, .table = table, .fan = fan };
    sombra_err err = node_array_new(run, table, sizeof *t.numbers, &t.numbers);
    if (!err)
        err = node_array_new(run, table, sizeof *t.lows, &t.lows);
    if (!err)
        err = node_array_new(run, table, sizeof *t.components, &t.components);
    if (!err)
        err = node_array_new(run, table, sizeof *t.is_waiting, &t.is_waiting);
    for (size_t i = 0; !err && i < table->count; i++) {
        if (t.numbers[i] == 0)
            err = visit_from(&t, (uint32_t)i);
    }
    if (!err) {
        *out_components = t.components;
        t.components = NULL;
    }
    release(&t);
    return err;
}
