/* SPDX-License-Identifier: MIT */
/* Loading a graph through the C API: batches of nodes and edges, indexes made over them, found by,
 * updated. A line for each: operations a second of CPU time, and of the clock.
 *   batch [nodes, 1000000] [path, :memory:]      The store at `path` must not exist; durability
 * off. */
#include "measure.h"
#include "sombra/sombra.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(sombra_err err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "%s: %s\n", what, sombra_err_message());
    exit(1);
}

static double cpu_begun, clock_begun;
static void start(void)
{
    cpu_begun = cpu_s();
    clock_begun = wall_s();
}
static void stop(const char *what, size_t count)
{
    double cpu = cpu_s() - cpu_begun;
    double wall = wall_s() - clock_begun;
    printf("| %-44s | %9.0f | %9.0f |\n", what, (double)count / cpu, (double)count / wall);
}

static sombra_slice text(const char *t)
{
    return (sombra_slice){ t, strlen(t) };
}

/* ---- data -------------------------------------------------------------------------------- */

static sombra_value_builder *builder;

static sombra_slice properties_of(size_t node, int count)
{
    static const char *const cities[] = { "Paris", "Lisboa", "Praha", "Wien" };
    char name[32];
    int bytes = snprintf(name, sizeof name, "user-%zu", node);
    sombra_slice encoded;
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_map(builder);
    (void)sombra_value_push_key(builder, "name", 4);
    (void)sombra_value_push_string(builder, name, (size_t)bytes);
    if (count > 1) {
        (void)sombra_value_push_key(builder, "born", 4);
        (void)sombra_value_push_integer(builder, 1900 + (int64_t)(node * 7919 % 120));
        (void)sombra_value_push_key(builder, "score", 5);
        (void)sombra_value_push_float(builder, (double)node * 0.5);
    }
    if (count > 3) {
        const char *city = cities[node % 4];
        (void)sombra_value_push_key(builder, "active", 6);
        (void)sombra_value_push_boolean(builder, node & 1);
        (void)sombra_value_push_key(builder, "city", 4);
        (void)sombra_value_push_string(builder, city, strlen(city));
    }
    (void)sombra_value_end_map(builder);
    check(sombra_value_finish(builder, &encoded), "value");
    return encoded;
}

enum { MAP_BYTES_MAX = 128 };

static sombra_slice *make_maps(size_t count, int properties, char *bytes)
{
    sombra_slice *maps = malloc(count * sizeof *maps);
    if (!maps)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        sombra_slice map = properties_of(i, properties);
        memcpy(bytes, map.data, map.bytes);
        maps[i] = (sombra_slice){ bytes, map.bytes };
        bytes += map.bytes;
    }
    return maps;
}

/* ---- work -------------------------------------------------------------------------------- */

static sombra_txn *begin(sombra_db *db)
{
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = true;
    check(sombra_txn_begin(db, &options, &txn), "begin");
    return txn;
}

static void commit(sombra_txn *txn)
{
    check(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT), "commit");
    sombra_txn_close(txn);
}

static sombra_rule rule_of(const char *label, const char *property, sombra_rule_kind kind)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = kind;
    rule.subject = text(label);
    rule.property_count = 1;
    rule.properties[0] = text(property);
    return rule;
}

static sombra_node_id load_nodes(sombra_db *db, const char *label, size_t count, int properties,
                                 bool is_unique, char *bytes)
{
    sombra_node_id first;
    uint32_t id;
    char what[64];
    sombra_slice *maps = make_maps(count, properties, bytes);
    sombra_slice name = text(label);
    if (is_unique) {
        sombra_rule rule = rule_of(label, "name", SOMBRA_RULE_UNIQUE);
        sombra_txn *txn = begin(db);
        check(sombra_rule_create(txn, &rule, NULL, &id), "rule");
        commit(txn);
    }
    snprintf(what, sizeof what, "nodes in one batch, %d properties%s", properties,
             is_unique ? ", a unique index" : "");
    start();
    sombra_txn *txn = begin(db);
    check(sombra_node_create_many(txn, &name, 1, maps, count, &first), "nodes");
    commit(txn);
    stop(what, count);
    free(maps);
    return first;
}

static uint64_t random_below(uint64_t bound)
{
    static uint64_t state = 1;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 33) % bound;
}

static void load_edges(sombra_db *db, sombra_node_id first, size_t count)
{
    sombra_edge_id edge;
    sombra_new_edge *edges = malloc(count * sizeof *edges);
    if (!edges)
        exit(1);
    for (size_t i = 0; i < count; i++)
        edges[i] = (sombra_new_edge){ first + random_below(count),
                                      first + random_below(count),
                                      { NULL, 0 } };
    start();
    sombra_txn *txn = begin(db);
    check(sombra_edge_create_many(txn, text("KNOWS"), edges, count, &edge), "edges");
    commit(txn);
    stop("edges in one batch, random ends", count);
    free(edges);
}

static void make_indexes(sombra_db *db, const char *label, size_t count)
{
    uint32_t id;
    sombra_rule rule = rule_of(label, "born", SOMBRA_RULE_INDEX);
    start();
    sombra_txn *txn = begin(db);
    check(sombra_rule_create(txn, &rule, NULL, &id), "rule");
    commit(txn);
    stop("an index over them in one transaction, nodes", count);
    rule = rule_of(label, "score", SOMBRA_RULE_INDEX);
    start();
    check(sombra_rule_create_online(db, &rule, NULL, &id), "rule");
    stop("an index made online, nodes", count);
}

static void find_and_update(sombra_db *db, const char *label, sombra_node_id first, size_t count)
{
    size_t times = count / 4;
    sombra_txn *txn = begin(db);
    start();
    for (size_t i = 0; i < times; i++) {
        sombra_node_id node, wanted = random_below(count);
        check(sombra_node_find(txn, text(label), properties_of(wanted, 1), &node), "find");
        if (node != first + wanted)
            exit(1);
    }
    stop("found by a unique index, random", times);
    start();
    for (size_t i = 0; i < times; i++) {
        sombra_node_id node = random_below(count);
        check(sombra_node_set(txn, first + node, properties_of(node, 1)), "set");
    }
    stop("updates that change no index, random", times);
    start();
    for (size_t i = 0; i < times; i++) {
        sombra_slice map = properties_of(count + i, 1);
        check(sombra_node_set(txn, first + random_below(count), map), "set");
    }
    stop("updates of the unique property, random", times);
    commit(txn);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 1000000;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    sombra_db *db;
    char *bytes = malloc(count * MAP_BYTES_MAX);
    if (!bytes || count < 4) {
        fprintf(stderr, "usage: batch [nodes >= 4 [path]]\n");
        return 2;
    }
    options.create = true;
    options.durability = SOMBRA_DURABILITY_OFF;
    check(sombra_open(argc > 2 ? argv[2] : ":memory:", &options, &db), "open");
    check(sombra_value_builder_new(&builder), "builder");
    printf("| %zu nodes | CPU/s | clock/s |\n|---|--:|--:|\n", count);
    (void)load_nodes(db, "One", count, 1, false, bytes);
    sombra_node_id first = load_nodes(db, "Three", count, 3, false, bytes);
    (void)load_nodes(db, "Five", count, 5, false, bytes);
    sombra_node_id named = load_nodes(db, "Named", count, 3, true, bytes);
    load_edges(db, first, count);
    make_indexes(db, "Three", count);
    find_and_update(db, "Named", named, count);
    sombra_value_builder_free(builder);
    check(sombra_close(db), "close");
    free(bytes);
    return 0;
}
