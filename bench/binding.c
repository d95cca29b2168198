/* SPDX-License-Identifier: MIT */
/* binding: the loops of bench/binding.lua through the public C API, so that the two tell what the
 * binding costs. A line for each loop: its name, CPU nanoseconds an operation, the sum of what was
 * returned, which both must agree on.
 *
 *   binding [rounds]
 *
 * In memory: 10,000 nodes with five properties, 50,000 edges, a bucket of 10,000 strings. The least
 * of the rounds counts: a loop does the same each time.
 */
#include "measure.h"
#include "sombra/sombra.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 10000, EDGES = 50000, OPERATIONS = 200000, WALKS = 20000 };

struct bench {
    sombra_db *db;
    sombra_txn *txn;
    sombra_value_builder *builder;
    sombra_bucket_id bucket;
};

static void check(sombra_err err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "binding: %s: %s\n", what, sombra_err_message());
    exit(1);
}

static sombra_slice text(const char *t)
{
    return (sombra_slice){ t, strlen(t) };
}

static void begin(struct bench *bench, bool is_write)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = is_write;
    check(sombra_txn_begin(bench->db, &options, &bench->txn), "begin");
}

static void commit(struct bench *bench)
{
    check(sombra_txn_commit(bench->txn, SOMBRA_DURABILITY_DEFAULT), "commit");
    sombra_txn_close(bench->txn);
}

/* Which of `count` is number `i`'s; binding.lua has the same. */
static uint64_t chosen(uint64_t i, uint64_t count)
{
    return i * 7919 % count;
}

/* ---- data -------------------------------------------------------------------------------- */

static void integer(sombra_value_builder *builder, const char *name, int64_t value)
{
    (void)sombra_value_push_key(builder, name, strlen(name));
    (void)sombra_value_push_integer(builder, value);
}

static void string(sombra_value_builder *builder, const char *name, const char *value)
{
    (void)sombra_value_push_key(builder, name, strlen(name));
    (void)sombra_value_push_string(builder, value, strlen(value));
}

static sombra_slice finish(sombra_value_builder *builder)
{
    sombra_slice encoded;
    check(sombra_value_finish(builder, &encoded), "encode");
    return encoded;
}

static sombra_slice age_map(sombra_value_builder *builder, uint64_t age)
{
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_map(builder);
    integer(builder, "age", (int64_t)age);
    (void)sombra_value_end_map(builder);
    return finish(builder);
}

static sombra_slice string_value(sombra_value_builder *builder, uint64_t i)
{
    char value[32];
    int bytes = snprintf(value, sizeof value, "value%015" PRIu64, i);
    sombra_value_builder_reset(builder);
    (void)sombra_value_push_string(builder, value, (size_t)bytes);
    return finish(builder);
}

static void fill(struct bench *bench)
{
    sombra_slice label = text("Person");
    sombra_bucket_options options = SOMBRA_BUCKET_OPTIONS_INIT;
    options.create = true;
    begin(bench, true);
    for (uint64_t i = 0; i < NODES; i++) {
        sombra_node_id node;
        char name[32];
        snprintf(name, sizeof name, "user%" PRIu64, i);
        sombra_value_builder_reset(bench->builder);
        (void)sombra_value_begin_map(bench->builder);
        integer(bench->builder, "age", (int64_t)(i % 80));
        string(bench->builder, "city", "Wien");
        integer(bench->builder, "id", (int64_t)i);
        string(bench->builder, "name", name);
        (void)sombra_value_push_key(bench->builder, "score", 5);
        (void)sombra_value_push_float(bench->builder, (double)i / 4);
        (void)sombra_value_end_map(bench->builder);
        check(sombra_node_create(bench->txn, &label, 1, finish(bench->builder), &node), "node");
    }
    for (uint64_t i = 0; i < EDGES; i++) {
        sombra_edge_id edge;
        check(sombra_edge_create(bench->txn, 1 + i % NODES, text("KNOWS"), 1 + (13 * i + 7) % NODES,
                                 (sombra_slice){ NULL, 0 }, &edge),
              "edge");
    }
    check(sombra_bucket_open(bench->txn, text("bench"), &options, &bench->bucket), "bucket");
    for (uint64_t i = 0; i < NODES; i++) {
        sombra_key key = sombra_key_integer((int64_t)i);
        check(sombra_bucket_put(bench->txn, bench->bucket, &key, string_value(bench->builder, i)),
              "put");
    }
    commit(bench);
}

/* ---- loops: what each returns is summed -------------------------------------------------- */

static uint64_t empty_reads(struct bench *bench)
{
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        begin(bench, false);
        sombra_txn_close(bench->txn);
    }
    return 0;
}

static uint64_t property(struct bench *bench)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        sombra_slice encoded;
        sombra_value value;
        check(sombra_node_property(bench->txn, 1 + chosen(i, NODES), text("age"), &encoded),
              "property");
        check(sombra_value_decode(encoded, &value), "decode");
        sum += (uint64_t)value.as.integer;
    }
    return sum;
}

/* All properties, each decoded and its name looked at, as a table of them needs. */
static uint64_t whole_node(struct bench *bench)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        sombra_record record;
        sombra_name name;
        sombra_slice encoded;
        sombra_value value;
        bool found = true;
        check(sombra_node_get(bench->txn, 1 + chosen(i, NODES), &record), "get");
        for (;;) {
            check(sombra_record_next_property(&record, &name, &encoded, &found), "property");
            if (!found)
                break;
            check(sombra_value_decode(encoded, &value), "decode");
            if (value.kind == SOMBRA_INTEGER)
                sum += (uint64_t)value.as.integer;
        }
    }
    return sum;
}

static uint64_t neighbours(struct bench *bench)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < WALKS; i++) {
        sombra_neighbours *neighbours;
        const sombra_neighbour *batch;
        size_t count;
        check(sombra_neighbours_open(bench->txn, 1 + chosen(i, NODES), NULL, &neighbours),
              "neighbours");
        do {
            check(sombra_neighbours_next(neighbours, &batch, &count), "neighbours");
            for (size_t j = 0; j < count; j++)
                sum += batch[j].node;
        } while (count);
        sombra_neighbours_close(neighbours);
    }
    return sum;
}

static uint64_t bucket_get(struct bench *bench)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        sombra_slice encoded;
        sombra_value value;
        sombra_key key = sombra_key_integer((int64_t)chosen(i, NODES));
        check(sombra_bucket_get(bench->txn, bench->bucket, &key, &encoded), "get");
        check(sombra_value_decode(encoded, &value), "decode");
        sum += value.as.string.bytes;
    }
    return sum;
}

static uint64_t set(struct bench *bench)
{
    for (uint64_t i = 0; i < OPERATIONS; i++)
        check(sombra_node_set(bench->txn, 1 + chosen(i, NODES), age_map(bench->builder, i % 80)),
              "set");
    return OPERATIONS;
}

static uint64_t bucket_put(struct bench *bench)
{
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        sombra_key key = sombra_key_integer((int64_t)chosen(i, NODES));
        check(sombra_bucket_put(bench->txn, bench->bucket, &key, string_value(bench->builder, i)),
              "put");
    }
    return OPERATIONS;
}

/* ---- the program ------------------------------------------------------------------------- */

enum around { NO_TXN, READ_TXN, WRITE_TXN };

struct loop {
    const char *name;
    uint64_t (*run)(struct bench *bench);
    uint64_t operations;
    enum around around;
};

static const struct loop loops[] = {
    { "empty read transaction", empty_reads, OPERATIONS, NO_TXN },
    { "one property", property, OPERATIONS, READ_TXN },
    { "all properties of a node", whole_node, OPERATIONS, READ_TXN },
    { "neighbours, 5 a node", neighbours, WALKS * 5, READ_TXN },
    { "bucket get", bucket_get, OPERATIONS, READ_TXN },
    { "set a property", set, OPERATIONS, WRITE_TXN },
    { "bucket put", bucket_put, OPERATIONS, WRITE_TXN },
};

static uint64_t loop_run(struct bench *bench, const struct loop *loop)
{
    if (loop->around != NO_TXN)
        begin(bench, loop->around == WRITE_TXN);
    uint64_t sum = loop->run(bench);
    if (loop->around == WRITE_TXN)
        commit(bench);
    else if (loop->around == READ_TXN)
        sombra_txn_close(bench->txn);
    return sum;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5;
    if (rounds == 0) {
        fprintf(stderr, "usage: binding [rounds]\n");
        return 2;
    }
    sombra_options options = SOMBRA_OPTIONS_INIT;
    struct bench bench = { 0 };
    options.create = true;
    check(sombra_open(":memory:", &options, &bench.db), "open");
    check(sombra_value_builder_new(&bench.builder), "builder");
    fill(&bench);
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        double least = 0;
        uint64_t sum = 0;
        for (unsigned long round = 0; round < rounds; round++) {
            double begun = cpu_s();
            sum = loop_run(&bench, &loops[i]);
            double taken = (cpu_s() - begun) * 1e9 / (double)loops[i].operations;
            least = round == 0 || taken < least ? taken : least;
        }
        printf("%s\t%.1f\t%" PRIu64 "\n", loops[i].name, least, sum);
    }
    sombra_value_builder_free(bench.builder);
    check(sombra_close(bench.db), "close");
    return 0;
}
