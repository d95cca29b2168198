/* SPDX-License-Identifier: MIT */
/* The graph benchmark's store of ours, through the public C API, every option at its default.
 * Nodes are found by their property `id` through a unique index, as a program would. */
#include "graph.h"

#include <sombra/sombra.h>

#include <stdio.h>
#include <stdlib.h>

struct store {
    sombra_db *db;
    sombra_value_builder *builder, *second;
};

/* Encoded maps, one behind the other. */
struct maps {
    uint8_t *bytes;
    size_t used;
    sombra_slice *slices;
    size_t count;
};

static const sombra_slice label = { "Node", 4 }, type = { "LINKS", 5 };

static const char *engine = "btree";

static void check(sombra_err err, const char *what)
{
    if (UNLIKELY(err))
        die("sombra: %s: %s: %s", what, sombra_err_name(err), sombra_err_message());
}

static void key(sombra_value_builder *builder, const char *name)
{
    (void)sombra_value_push_key(builder, name, strlen(name));
}

static void push_text(sombra_value_builder *builder, const char *name, sombra_slice text)
{
    key(builder, name);
    (void)sombra_value_push_string(builder, text.data, text.bytes);
}

static void push_integer(sombra_value_builder *builder, const char *name, int64_t value)
{
    key(builder, name);
    (void)sombra_value_push_integer(builder, value);
}

static void push_float(sombra_value_builder *builder, const char *name, double value)
{
    key(builder, name);
    (void)sombra_value_push_float(builder, value);
}

static void begin_map(sombra_value_builder *builder)
{
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_map(builder);
}

static sombra_slice end_map(sombra_value_builder *builder)
{
    sombra_slice encoded;
    (void)sombra_value_end_map(builder);
    check(sombra_value_finish(builder, &encoded), "encode");
    return encoded;
}

static sombra_slice encode_id(sombra_value_builder *builder, uint64_t id)
{
    begin_map(builder);
    push_integer(builder, "id", (int64_t)id);
    return end_map(builder);
}

static sombra_slice encode_node(sombra_value_builder *builder, const struct node_row *row)
{
    begin_map(builder);
    push_integer(builder, "age", row->age);
    push_text(builder, "city", row->city);
    push_integer(builder, "id", (int64_t)row->id);
    push_text(builder, "name", row->name);
    push_float(builder, "score", row->score);
    return end_map(builder);
}

static sombra_slice encode_edge(sombra_value_builder *builder, int64_t since, double weight)
{
    begin_map(builder);
    push_integer(builder, "since", since);
    push_float(builder, "weight", weight);
    return end_map(builder);
}

static void *open_store(const char *path)
{
    sombra_options options = SOMBRA_OPTIONS_INIT;
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        die("out of memory");
    options.create = true;
    options.engine = engine;
    check(sombra_open(path, &options, &store->db), "open");
    check(sombra_value_builder_new(&store->builder), "builder");
    check(sombra_value_builder_new(&store->second), "builder");
    return store;
}

static void close_store(void *opaque)
{
    struct store *store = opaque;
    sombra_value_builder_free(store->builder);
    sombra_value_builder_free(store->second);
    check(sombra_close(store->db), "close");
    free(store);
}

static sombra_txn *begin(struct store *store, bool is_write)
{
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    sombra_txn *txn;
    options.is_write = is_write;
    check(sombra_txn_begin(store->db, &options, &txn), "begin");
    return txn;
}

static void commit(sombra_txn *txn)
{
    check(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT), "commit");
    sombra_txn_close(txn);
}

static void maps_init(struct maps *maps, size_t count_max, size_t bytes_each)
{
    *maps = (struct maps){ .bytes = malloc(count_max * bytes_each),
                           .slices = malloc(count_max * sizeof *maps->slices) };
    if (!maps->bytes || !maps->slices)
        die("out of memory");
}

static void maps_add(struct maps *maps, sombra_slice map)
{
    memcpy(maps->bytes + maps->used, map.data, map.bytes);
    maps->slices[maps->count++] = (sombra_slice){ maps->bytes + maps->used, map.bytes };
    maps->used += map.bytes;
}

static void maps_release(struct maps *maps)
{
    free(maps->bytes);
    free(maps->slices);
}

/* ---- load -------------------------------------------------------------------------------- */

enum { LOAD_NODES_MAX = 1 << 20, LOAD_EDGES = 1 << 20 };

static void make_index(sombra_txn *txn, const char *property, bool is_unique)
{
    sombra_rule rule = SOMBRA_RULE_INIT;
    uint32_t id;
    rule.kind = is_unique ? SOMBRA_RULE_UNIQUE : SOMBRA_RULE_INDEX;
    rule.subject = label;
    rule.property_count = 1;
    rule.properties[0] = (sombra_slice){ property, strlen(property) };
    check(sombra_rule_create(txn, &rule, NULL, &id), "index");
}

/* Makes the nodes and writes the node of each id below LOAD_NODES_MAX to `nodes`. */
static void load_nodes(struct store *store, sombra_txn *txn, const char *folder, uint64_t *nodes)
{
    struct csv csv;
    struct node_row row;
    struct maps maps;
    sombra_node_id first;
    uint64_t *ids = malloc(LOAD_NODES_MAX * sizeof *ids);
    if (!ids)
        die("out of memory");
    csv_open(&csv, folder, "nodes.csv");
    maps_init(&maps, LOAD_NODES_MAX, 128);
    while (csv_node(&csv, &row)) {
        if (row.id >= LOAD_NODES_MAX)
            die("id %" PRIu64 " is too high for this program", row.id);
        ids[maps.count] = row.id;
        maps_add(&maps, encode_node(store->builder, &row));
    }
    csv_close(&csv);
    check(sombra_node_create_many(txn, &label, 1, maps.slices, maps.count, &first), "nodes");
    for (size_t i = 0; i < maps.count; i++)
        nodes[ids[i]] = first + i;
    maps_release(&maps);
    free(ids);
}

static void load_edges(struct store *store, sombra_txn *txn, const char *folder,
                       const uint64_t *nodes)
{
    struct csv csv;
    struct edge_row row;
    struct maps maps;
    sombra_edge_id first;
    bool is_more = true;
    sombra_new_edge *edges = malloc(LOAD_EDGES * sizeof *edges);
    if (!edges)
        die("out of memory");
    csv_open(&csv, folder, "edges.csv");
    maps_init(&maps, LOAD_EDGES, 64);
    while (is_more) {
        maps.used = maps.count = 0;
        while (maps.count < LOAD_EDGES && (is_more = csv_edge(&csv, &row))) {
            maps_add(&maps, encode_edge(store->builder, row.since, row.weight));
            edges[maps.count - 1] =
                (sombra_new_edge){ nodes[row.src], nodes[row.dst], maps.slices[maps.count - 1] };
        }
        if (maps.count)
            check(sombra_edge_create_many(txn, type, edges, maps.count, &first), "edges");
    }
    csv_close(&csv);
    maps_release(&maps);
    free(edges);
}

static void load(const char *path, const char *folder)
{
    struct store *store = open_store(path);
    uint64_t *nodes = malloc(LOAD_NODES_MAX * sizeof *nodes);
    if (!nodes)
        die("out of memory");
    sombra_txn *txn = begin(store, true);
    load_nodes(store, txn, folder, nodes);
    make_index(txn, "id", true);
    make_index(txn, "name", false);
    load_edges(store, txn, folder, nodes);
    commit(txn);
    close_store(store);
    free(nodes);
}

/* ---- reads ------------------------------------------------------------------------------- */

static sombra_node_id find(sombra_txn *txn, uint64_t id)
{
    const sombra_value value = { .kind = SOMBRA_INTEGER, .as.integer = (int64_t)id };
    sombra_node_id node;
    check(sombra_node_find_by(txn, label, (sombra_slice){ "id", 2 }, &value, &node), "find");
    return node;
}

static int64_t integer_of(sombra_slice encoded)
{
    sombra_value value;
    check(sombra_value_decode(encoded, &value), "value");
    return value.as.integer;
}

static uint64_t lookup(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sombra_record record;
    sombra_slice name, age;
    sombra_txn *txn = begin(store, false);
    check(sombra_node_get(txn, find(txn, item->a), &record), "get");
    check(sombra_record_property(&record, (sombra_slice){ "name", 4 }, &name), "name");
    check(sombra_record_property(&record, (sombra_slice){ "age", 3 }, &age), "age");
    uint64_t sum = (uint64_t)integer_of(age);
    sombra_txn_close(txn);
    return sum;
}

static uint64_t nodes_sum(const sombra_neighbour *batch, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += batch[i].node;
    return sum;
}

static uint64_t ids_sum(sombra_txn *txn, const sombra_neighbour *batch, size_t count)
{
    enum { MANY = 64 };
    sombra_node_id nodes[MANY];
    sombra_slice ids[MANY];
    uint64_t sum = 0;
    for (size_t at = 0, more; at < count; at += more) {
        more = size_min(count - at, MANY);
        for (size_t i = 0; i < more; i++)
            nodes[i] = batch[at + i].node;
        check(sombra_node_property_many(txn, nodes, more, (sombra_slice){ "id", 2 }, ids), "ids");
        for (size_t i = 0; i < more; i++)
            sum += (uint64_t)integer_of(ids[i]);
    }
    return sum;
}

static uint64_t neighbours(struct store *store, const struct item *item, bool with_ids)
{
    sombra_neighbours *neighbours;
    const sombra_neighbour *batch;
    size_t count;
    uint64_t rows = 0, sum = 0;
    sombra_txn *txn = begin(store, false);
    check(sombra_neighbours_open(txn, find(txn, item->a), NULL, &neighbours), "neighbours");
    do {
        check(sombra_neighbours_next(neighbours, &batch, &count), "neighbours");
        sum += with_ids ? ids_sum(txn, batch, count) : nodes_sum(batch, count);
        rows += count;
    } while (count);
    __asm__ volatile("" : : "r"(sum));
    sombra_neighbours_close(neighbours);
    sombra_txn_close(txn);
    return rows;
}

static uint64_t hop1(void *opaque, const struct item *item)
{
    return neighbours(opaque, item, false);
}

static uint64_t hop1_ids(void *opaque, const struct item *item)
{
    return neighbours(opaque, item, true);
}

static void push_name(sombra_value_builder *builder, const char *name)
{
    (void)sombra_value_push_string(builder, name, strlen(name));
}

/* {"ids", {node}}, {"out", {min, max, types, unique}}, {"distinct"}: how many rows. */
static uint64_t reached(struct store *store, const struct item *item, int64_t min, int64_t max,
                        bool is_search)
{
    sombra_value_builder *builder = store->second;
    sombra_slice steps;
    sombra_query *query;
    uint64_t count;
    sombra_txn *txn = begin(store, false);
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_list(builder);
    (void)sombra_value_begin_list(builder);
    push_name(builder, "ids");
    (void)sombra_value_begin_list(builder);
    (void)sombra_value_push_integer(builder, (int64_t)find(txn, item->a));
    (void)sombra_value_end_list(builder);
    (void)sombra_value_end_list(builder);
    (void)sombra_value_begin_list(builder);
    push_name(builder, "out");
    (void)sombra_value_begin_map(builder);
    push_integer(builder, "max", max);
    push_integer(builder, "min", min);
    push_text(builder, "types", type);
    push_text(builder, "unique",
              is_search ? (sombra_slice){ "nodes", 5 } : (sombra_slice){ "none", 4 });
    (void)sombra_value_end_map(builder);
    (void)sombra_value_end_list(builder);
    if (!is_search) {
        (void)sombra_value_begin_list(builder);
        push_name(builder, "distinct");
        (void)sombra_value_end_list(builder);
    }
    (void)sombra_value_end_list(builder);
    check(sombra_value_finish(builder, &steps), "steps");
    check(sombra_query_open(txn, steps, NULL, &query), "query");
    check(sombra_query_count(query, &count), "query");
    sombra_query_close(query);
    sombra_txn_close(txn);
    return count;
}

static uint64_t hop2(void *opaque, const struct item *item)
{
    return reached(opaque, item, 2, 2, false);
}

static uint64_t hop3(void *opaque, const struct item *item)
{
    return reached(opaque, item, 3, 3, false);
}

static uint64_t within3(void *opaque, const struct item *item)
{
    return reached(opaque, item, 1, 3, true);
}

/* {"paths", {from, to, kind = "shortest", types}}: the edges of the path. */
static uint64_t path(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sombra_value_builder *builder = store->second;
    sombra_slice steps;
    sombra_query *query;
    const sombra_row *rows;
    size_t count;
    sombra_txn *txn = begin(store, false);
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_list(builder);
    (void)sombra_value_begin_list(builder);
    push_name(builder, "paths");
    (void)sombra_value_begin_map(builder);
    push_integer(builder, "from", (int64_t)find(txn, item->a));
    push_text(builder, "kind", (sombra_slice){ "shortest", 8 });
    push_integer(builder, "to", (int64_t)find(txn, item->b));
    push_text(builder, "types", type);
    (void)sombra_value_end_map(builder);
    (void)sombra_value_end_list(builder);
    (void)sombra_value_end_list(builder);
    check(sombra_value_finish(builder, &steps), "steps");
    check(sombra_query_open(txn, steps, NULL, &query), "query");
    check(sombra_query_next(query, &rows, &count), "query");
    uint64_t length = count ? rows[0].depth : 0;
    sombra_query_close(query);
    sombra_txn_close(txn);
    return length;
}

/* ---- writes ------------------------------------------------------------------------------ */

static uint64_t insert_node(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    struct node_row row = data_new_row(item->a, (int64_t)item->b);
    sombra_node_id node;
    sombra_txn *txn = begin(store, true);
    check(sombra_node_create(txn, &label, 1, encode_node(store->builder, &row), &node), "create");
    commit(txn);
    return 1;
}

static sombra_slice encode_age(sombra_value_builder *builder, uint64_t age)
{
    begin_map(builder);
    push_integer(builder, "age", (int64_t)age);
    return end_map(builder);
}

static uint64_t update_node(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sombra_txn *txn = begin(store, true);
    sombra_node_id node = find(txn, item->a);
    check(sombra_node_set(txn, node, encode_age(store->builder, item->b)), "set");
    commit(txn);
    return 1;
}

static uint64_t insert_edge(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sombra_edge_id edge;
    sombra_txn *txn = begin(store, true);
    sombra_node_id src = find(txn, item->a), dst = find(txn, item->b);
    check(sombra_edge_create(txn, src, type, dst,
                             encode_edge(store->builder, (int64_t)item->c, 1.5), &edge),
          "edge");
    commit(txn);
    return 1;
}

static uint64_t upsert_node(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sombra_node_id node;
    bool created;
    sombra_slice id = encode_id(store->second, item->a);
    sombra_slice age = encode_age(store->builder, item->b);
    sombra_txn *txn = begin(store, true);
    check(sombra_node_upsert(txn, label, id, age, &node, &created), "upsert");
    commit(txn);
    return 1;
}

static void bulk(void *opaque, const struct node_row *rows, size_t count)
{
    struct store *store = opaque;
    sombra_node_id node;
    int64_t *ids = malloc(count * sizeof *ids), *ages = malloc(count * sizeof *ages);
    double *scores = malloc(count * sizeof *scores);
    sombra_slice *names = malloc(count * sizeof *names), *cities = malloc(count * sizeof *cities);
    if (!ids || !ages || !scores || !names || !cities)
        die("out of memory");
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)rows[i].id;
        ages[i] = rows[i].age;
        scores[i] = rows[i].score;
        names[i] = rows[i].name;
        cities[i] = rows[i].city;
    }
    const sombra_column columns[] = {
        { { "age", 3 }, SOMBRA_COLUMN_INTEGER, { .integers = ages } },
        { { "city", 4 }, SOMBRA_COLUMN_STRING, { .strings = cities } },
        { { "id", 2 }, SOMBRA_COLUMN_INTEGER, { .integers = ids } },
        { { "name", 4 }, SOMBRA_COLUMN_STRING, { .strings = names } },
        { { "score", 5 }, SOMBRA_COLUMN_FLOAT, { .floats = scores } },
    };
    const sombra_columns all = { columns, COUNT_OF(columns), count };
    sombra_txn *txn = begin(store, true);
    check(sombra_node_create_columns(txn, &label, 1, &all, &node), "bulk");
    commit(txn);
    free(ids);
    free(ages);
    free(scores);
    free(names);
    free(cities);
}

/* ---- the published workload -------------------------------------------------------------- */

/* Rows as columns, in the order of their names. */
static sombra_node_id code_nodes(sombra_txn *txn, const struct code_row *rows, size_t count)
{
    enum { TEXTS = 5, INTEGERS = 2 };
    sombra_slice *texts = malloc(TEXTS * count * sizeof *texts);
    int64_t *lines = malloc(INTEGERS * count * sizeof *lines);
    sombra_node_id first;
    if (!texts || !lines)
        die("out of memory");
    for (size_t i = 0; i < count; i++) {
        texts[i] = rows[i].code_text;
        texts[count + i] = rows[i].file_path;
        texts[2 * count + i] = rows[i].language;
        texts[3 * count + i] = rows[i].metadata;
        texts[4 * count + i] = rows[i].name;
        lines[i] = rows[i].end_line;
        lines[count + i] = rows[i].start_line;
    }
    const sombra_column columns[] = {
        { { "codeText", 8 }, SOMBRA_COLUMN_STRING, { .strings = texts } },
        { { "endLine", 7 }, SOMBRA_COLUMN_INTEGER, { .integers = lines } },
        { { "filePath", 8 }, SOMBRA_COLUMN_STRING, { .strings = texts + count } },
        { { "language", 8 }, SOMBRA_COLUMN_STRING, { .strings = texts + 2 * count } },
        { { "metadata", 8 }, SOMBRA_COLUMN_STRING, { .strings = texts + 3 * count } },
        { { "name", 4 }, SOMBRA_COLUMN_STRING, { .strings = texts + 4 * count } },
        { { "startLine", 9 }, SOMBRA_COLUMN_INTEGER, { .integers = lines + count } },
    };
    const sombra_columns all = { columns, COUNT_OF(columns), count };
    check(sombra_node_create_columns(txn, &label, 1, &all, &first), "nodes");
    free(texts);
    free(lines);
    return first;
}

static void code_edges(sombra_txn *txn, sombra_node_id first, size_t nodes, size_t count)
{
    sombra_node_id *ends = malloc(2 * count * sizeof *ends);
    sombra_slice *kinds = malloc(count * sizeof *kinds);
    double *weights = malloc(count * sizeof *weights);
    sombra_edge_id edge;
    if (!ends || !kinds || !weights)
        die("out of memory");
    for (size_t i = 0; i < count; i++) {
        ends[i] = first + i % nodes;
        ends[count + i] = first + (13 * i + 7) % nodes;
        kinds[i] = (sombra_slice){ "calls", 5 };
        weights[i] = (double)(i % 10) / 10;
    }
    const sombra_column columns[] = {
        { { "kind", 4 }, SOMBRA_COLUMN_STRING, { .strings = kinds } },
        { { "weight", 6 }, SOMBRA_COLUMN_FLOAT, { .floats = weights } },
    };
    const sombra_columns all = { columns, COUNT_OF(columns), count };
    check(sombra_edge_create_columns(txn, type, ends, ends + count, &all, &edge), "edges");
    free(ends);
    free(kinds);
    free(weights);
}

static void *code_load(const char *path_text, const struct code_row *rows, size_t nodes,
                       size_t edges)
{
    struct store *store = open_store(path_text);
    sombra_txn *txn = begin(store, true);
    code_edges(txn, code_nodes(txn, rows, nodes), nodes, edges);
    commit(txn);
    return store;
}

static uint64_t code_read(void *opaque, uint64_t index)
{
    struct store *store = opaque;
    sombra_record record;
    sombra_name name;
    sombra_slice encoded;
    sombra_value value;
    bool found = true;
    uint64_t bytes = 0;
    sombra_txn *txn = begin(store, false);
    check(sombra_node_get(txn, index + 1, &record), "get"); /* ids are given out from 1 */
    for (;;) {
        check(sombra_record_next_property(&record, &name, &encoded, &found), "property");
        if (!found)
            break;
        check(sombra_value_decode(encoded, &value), "value");
        bytes += value.kind == SOMBRA_STRING ? value.as.string.bytes : (uint64_t)value.as.integer;
    }
    sombra_txn_close(txn);
    return bytes;
}

static void code_update(void *opaque, size_t nodes, size_t count)
{
    struct store *store = opaque;
    sombra_txn *txn = begin(store, true);
    for (size_t i = 0; i < count; i++) {
        begin_map(store->builder);
        push_integer(store->builder, "startLine", (int64_t)i);
        check(sombra_node_set(txn, 1 + 17 * i % nodes, end_map(store->builder)), "set");
    }
    commit(txn);
}

static uint64_t log_bytes(void *opaque)
{
    struct store *store = opaque;
    sombra_stats stats = SOMBRA_STATS_INIT;
    check(sombra_db_stats(store->db, &stats), "stats");
    return stats.log_bytes;
}

void graph_engine(const char *name)
{
    engine = name;
}

const struct graph_kind kind_sombra = {
    .name = "sombra",
    .settings = "every option at its default; `id` in a unique index, `name` in another",
    .load = load,
    .open = open_store,
    .close = close_store,
    .run = { [LINE_LOOKUP] = lookup,
             [LINE_HOP1] = hop1,
             [LINE_HOP1_IDS] = hop1_ids,
             [LINE_HOP2] = hop2,
             [LINE_HOP3] = hop3,
             [LINE_WITHIN3] = within3,
             [LINE_PATH] = path,
             [LINE_INSERT] = insert_node,
             [LINE_UPDATE] = update_node,
             [LINE_EDGE] = insert_edge,
             [LINE_UPSERT] = upsert_node },
    .bulk = bulk,
    .code_load = code_load,
    .code_read = code_read,
    .code_update = code_update,
    .log_bytes = log_bytes,
};
