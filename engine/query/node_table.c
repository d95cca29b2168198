/* SPDX-License-Identifier: MIT */
#include "order_internal.h"

/* Ids are looked up by their offset while a table by offset costs no more than the hash: a slot of
 * that has 16 bytes and is at most half used. */
enum { SPREAD_MAX = 8 };

static sombra_err add_nodes(struct query_run *run, const struct walk *walk,
                            struct node_table *table, const uint64_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool takes = true;
        sombra_err err = run_tick(run);
        if (!err)
            err = walk_takes_node(walk, run, ids[i], &takes);
        if (!err && takes)
            err = run_room(run, &table->ids, table->count, &table->capacity, sizeof *table->ids,
                           "all nodes");
        if (err)
            return err;
        if (takes)
            table->ids[table->count++] = ids[i];
    }
    return SOMBRA_OK;
}

static sombra_err read_nodes(struct query_run *run, const struct walk *walk,
                             struct node_table *table)
{
    const sombra_ids_options options = SOMBRA_IDS_OPTIONS_INIT;
    struct graph_ids ids = { .txn = NULL };
    sombra_err err = graph_ids_open(&ids, run->txn, GRAPH_NODES, slice_of(NULL, 0), &options);
    while (!err) {
        const uint64_t *batch;
        size_t count;
        err = graph_ids_next(&ids, &batch, &count);
        if (err || count == 0)
            break;
        err = add_nodes(run, walk, table, batch, count);
    }
    graph_ids_close(&ids);
    return err;
}

static sombra_err number_nodes(struct query_run *run, struct node_table *table)
{
    sombra_err err = SOMBRA_OK;
    if (table->count == 0)
        return SOMBRA_OK;
    uint64_t spread = table->ids[table->count - 1] - table->ids[0] + 1;
    if (spread > (uint64_t)table->count * SPREAD_MAX) {
        for (size_t i = 0; !err && i < table->count; i++)
            err = id_map_put(run, &table->map, table->ids[i], (uint32_t)i);
        return err;
    }
    size_t bytes = (size_t)spread * sizeof *table->numbers;
    err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    table->numbers = mem_zalloc(bytes);
    if (!table->numbers) {
        run_refund(run, bytes);
        return diag_nomem("all nodes", bytes);
    }
    table->number_capacity = (size_t)spread;
    for (size_t i = 0; i < table->count; i++)
        table->numbers[table->ids[i] - table->ids[0]] = (uint32_t)i + 1;
    return SOMBRA_OK;
}

sombra_err node_table_fill(struct query_run *run, const struct walk *walk, struct node_table *table)
{
    assert(table->count == 0);
    sombra_err err = read_nodes(run, walk, table);
    return err ? err : number_nodes(run, table);
}

void node_table_release(struct query_run *run, struct node_table *table)
{
    run_free(run, &table->ids, &table->capacity, sizeof *table->ids);
    run_free(run, &table->numbers, &table->number_capacity, sizeof *table->numbers);
    id_map_release(run, &table->map);
    table->count = 0;
}

sombra_err node_array_new(struct query_run *run, const struct node_table *table, size_t item_bytes,
                          void *out_array)
{
    size_t bytes = table->count * item_bytes;
    sombra_err err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    void *array = mem_zalloc(bytes);
    if (!array) {
        run_refund(run, bytes);
        return diag_nomem("all nodes", bytes);
    }
    memcpy(out_array, &array, sizeof array);
    return SOMBRA_OK;
}

void node_array_free(struct query_run *run, const struct node_table *table, size_t item_bytes,
                     void *array)
{
    if (!array)
        return;
    run_refund(run, table->count * item_bytes);
    mem_free(array);
}
