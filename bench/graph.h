/* SPDX-License-Identifier: MIT */
/* graph: what the graph benchmark's files share: the graph, the stores, the lines of the table.
 *
 * Every store is loaded from the same two CSV files and answers the same cases, and the sums of
 * what they return must agree. Any failure ends the program: a benchmark has nothing to recover.
 */
#ifndef BENCH_GRAPH_H
#define BENCH_GRAPH_H

#include "base/base.h"
#include "measure.h"

#include <inttypes.h>

enum { ROUNDS_MAX = 9, KINDS_MAX = 3 };

/* ---- graph_data.c: the graph, its files and its cases ------------------------------------ */

struct pair {
    uint64_t src, dst;
};

/* One operation; what the fields are is up to the line. */
struct item {
    uint64_t a, b, c;
};

struct items {
    struct item *items;
    size_t count;
};

struct graph_data {
    uint64_t *ids; /* ascending */
    struct pair *edges;
    size_t id_count, edge_count;
    struct items lookup, hop1, hop2, hop3, pairs, update, insert, edge;
};

enum { RMAT_EDGES = 1000000, RMAT_EDGES_MIN = 10000 };
/* So many edges and a tenth of that of nodes by R-MAT with a fixed seed; or those of an edge list
 * ("src dst" lines, '#' begins a comment). malloc's memory, for the whole run. */
void data_rmat(struct graph_data *data, size_t edge_count);
void data_snap(struct graph_data *data, const char *path);
/* The cases, chosen by fixed seeds; then nodes.csv, edges.csv and w_<line>.txt into the folder. */
void data_write(struct graph_data *data, const char *folder);

struct node_row {
    uint64_t id;
    sombra_slice name, city;
    int64_t age;
    double score;
};

struct edge_row {
    uint64_t src, dst;
    int64_t since;
    double weight;
};

/* A CSV file that is read from start to end. */
struct csv {
    char *bytes;
    const char *at, *end;
};

void csv_open(struct csv *csv, const char *folder, const char *name);
bool csv_node(struct csv *csv, struct node_row *out_row);
bool csv_edge(struct csv *csv, struct edge_row *out_row);
void csv_close(struct csv *csv);

/* The row that insert and upsert write for an id; its name lives until the next call. */
struct node_row data_new_row(uint64_t id, int64_t age);
/* The rows that bulk writes: ids from `first` on. malloc's memory, texts included: one block. */
struct node_row *data_new_rows(uint64_t first, size_t count);

/* A record of the published workload: seven properties, about 600 bytes. */
struct code_row {
    sombra_slice name, file_path, code_text, language, metadata;
    int64_t start_line, end_line;
};

/* The first `count` of them. malloc's memory, texts included: one block. */
struct code_row *data_code_rows(size_t count);

/* ---- stores ------------------------------------------------------------------------------ */

enum line {
    LINE_LOAD,
    LINE_FILE,
    LINE_MEMORY,
    LINE_LOOKUP,
    LINE_HOP1,
    LINE_HOP1_IDS,
    LINE_HOP2,
    LINE_HOP3,
    LINE_WITHIN3,
    LINE_PATH,
    LINE_INSERT,
    LINE_UPDATE,
    LINE_EDGE,
    LINE_UPSERT,
    LINE_BULK,
    LINE_CODE_SMALL,
    LINE_CODE_SMALL_WARM,
    LINE_CODE_SMALL_READ,
    LINE_CODE_SMALL_FILE,
    LINE_CODE,
    LINE_CODE_WARM,
    LINE_CODE_READ,
    LINE_CODE_FILE,
    LINE_CODE_UPDATE,
    LINE_CODE_READERS,
    LINES
};

struct graph_kind {
    const char *name;
    const char *settings; /* for the report */
    /* Makes `path`, loads the CSV files of `folder` into it, closes it. */
    void (*load)(const char *path, const char *folder);
    void *(*open)(const char *path);
    void (*close)(void *store);
    /* One operation of a line, in a transaction of its own: what adds to the line's sum. NULL =
     * this kind does not take part in it. */
    uint64_t (*run[LINES])(void *store, const struct item *item);
    /* These nodes in one transaction. */
    void (*bulk)(void *store, const struct node_row *rows, size_t count);
    /* The published workload: makes `path` with so many nodes and edges, in one transaction; the
     * store is open. */
    void *(*code_load)(const char *path, const struct code_row *rows, size_t nodes, size_t edges);
    uint64_t (*code_read)(void *store, uint64_t index);
    /* Its property-update loop: startLine of record 17 i % nodes, in one transaction. */
    void (*code_update)(void *store, size_t nodes, size_t count);
    /* How long the log is; NULL = nobody compares its records with raw ones. */
    uint64_t (*log_bytes)(void *store);
};

/* "btree" or "lsm": of the stores of ours from now on. */
void graph_engine(const char *name);

extern const struct graph_kind kind_sombra, kind_sqlite, kind_sqlite_bare;

/* ---- graph_memory.c: the peak memory of the reads -------------------------------------------- */

/* Runs this program again with `arguments`, which lead to memory_child there. */
double memory_bytes(const char *const *arguments, uint64_t *out_sum);
/* Runs the read lines on the loaded store and prints the peak. `data` has the cases. */
int memory_child(const struct graph_kind *kind, const char *path, const char *data);

#endif
