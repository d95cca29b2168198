/* SPDX-License-Identifier: MIT */
/* The graph benchmark's SQLite: prepared statements; recursive where it must be, nested sets where
 * they are faster, and for shortest paths a search from both ends by this program, which is several
 * times faster than a recursive query. "bare" has the primary keys (id; src, dst) and no others. */
#include "graph.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum statement {
    BEGIN,
    COMMIT,
    LOOKUP,
    HOP1,
    HOP2,
    HOP3,
    WITHIN3,
    INTO,
    INSERT,
    UPDATE,
    EDGE,
    UPSERT,
    STATEMENTS
};

#define IN_HOPS(inner) "SELECT dst FROM edges WHERE src IN (" inner ")"
#define FIRST_HOP      "SELECT dst FROM edges WHERE src = ?1"

static const char *const statement_texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [LOOKUP] = "SELECT name, age FROM nodes WHERE id = ?1",
    [HOP1] = FIRST_HOP,
    [HOP2] = "SELECT count(DISTINCT dst) FROM (" IN_HOPS(FIRST_HOP) ")",
    [HOP3] = "SELECT count(DISTINCT dst) FROM (" IN_HOPS(IN_HOPS(FIRST_HOP)) ")",
    [WITHIN3] = "WITH RECURSIVE reached(id, depth) AS (VALUES(?1, 0) UNION "
                "SELECT dst, depth + 1 FROM reached JOIN edges ON src = id WHERE depth < 3) "
                "SELECT count(DISTINCT id) FROM reached WHERE id <> ?1",
    [INTO] = "SELECT src FROM edges WHERE dst = ?1",
    [INSERT] = "INSERT INTO nodes VALUES(?1, ?2, ?3, ?4, ?5)",
    [UPDATE] = "UPDATE nodes SET age = ?2 WHERE id = ?1",
    [EDGE] = "INSERT INTO edges SELECT a.id, b.id, ?3, ?4 FROM nodes a, nodes b "
             "WHERE a.id = ?1 AND b.id = ?2",
    [UPSERT] = "INSERT INTO nodes(id, age) VALUES(?1, ?2) "
               "ON CONFLICT(id) DO UPDATE SET age = excluded.age",
};

struct store {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENTS];
    sqlite3_stmt *code_read, *code_update;
    /* The search: who reached a node (0, 1 forwards, 2 backwards), and the two queues. */
    uint8_t *reached;
    uint64_t *queues[2];
    size_t node_max;
};

static void check(sqlite3 *database, int rc, const char *what)
{
    if (UNLIKELY(rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW))
        die("sqlite: %s: %s", what, sqlite3_errmsg(database));
}

static void execute(sqlite3 *database, const char *text)
{
    check(database, sqlite3_exec(database, text, NULL, NULL, NULL), text);
}

static sqlite3_stmt *prepare(sqlite3 *database, const char *text)
{
    sqlite3_stmt *statement;
    check(database,
          sqlite3_prepare_v3(database, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL),
          text);
    return statement;
}

static sqlite3 *open_database(const char *path)
{
    sqlite3 *database;
    if (sqlite3_open(path, &database))
        die("sqlite: %s: cannot open", path);
    execute(database, "PRAGMA cache_size = -262144; PRAGMA mmap_size = 8589934592; "
                      "PRAGMA wal_autocheckpoint = 4000; PRAGMA synchronous = FULL");
    return database;
}

static void run(sqlite3 *database, sqlite3_stmt *statement)
{
    check(database, sqlite3_step(statement), sqlite3_sql(statement));
    check(database, sqlite3_reset(statement), sqlite3_sql(statement));
}

static void bind_text(sqlite3_stmt *statement, int at, sombra_slice text)
{
    sqlite3_bind_text(statement, at, text.data, (int)text.bytes, SQLITE_STATIC);
}

static void bind_node(sqlite3_stmt *statement, const struct node_row *row)
{
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)row->id);
    bind_text(statement, 2, row->name);
    sqlite3_bind_int64(statement, 3, row->age);
    bind_text(statement, 4, row->city);
    sqlite3_bind_double(statement, 5, row->score);
}

/* ---- load -------------------------------------------------------------------------------- */

/* One transaction with a rollback journal, which is empty for a new file: nothing is written
 * twice. The second indexes are made when the rows are in. */
static void load_tables(const char *path, const char *folder, bool is_bare)
{
    sqlite3 *database = open_database(path);
    struct csv csv;
    struct node_row node;
    struct edge_row edge;
    execute(database, "PRAGMA journal_mode = DELETE; BEGIN;"
                      "CREATE TABLE nodes(id INTEGER PRIMARY KEY, name TEXT, age INTEGER, "
                      "city TEXT, score REAL);"
                      "CREATE TABLE edges(src INTEGER, dst INTEGER, since INTEGER, weight REAL, "
                      "PRIMARY KEY(src, dst)) WITHOUT ROWID");
    sqlite3_stmt *insert = prepare(database, statement_texts[INSERT]);
    csv_open(&csv, folder, "nodes.csv");
    while (csv_node(&csv, &node)) {
        bind_node(insert, &node);
        run(database, insert);
    }
    csv_close(&csv);
    sqlite3_finalize(insert);
    insert = prepare(database, "INSERT INTO edges VALUES(?1, ?2, ?3, ?4)");
    csv_open(&csv, folder, "edges.csv");
    while (csv_edge(&csv, &edge)) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)edge.src);
        sqlite3_bind_int64(insert, 2, (sqlite3_int64)edge.dst);
        sqlite3_bind_int64(insert, 3, edge.since);
        sqlite3_bind_double(insert, 4, edge.weight);
        run(database, insert);
    }
    csv_close(&csv);
    sqlite3_finalize(insert);
    if (!is_bare)
        execute(database, "CREATE INDEX nodes_name ON nodes(name);"
                          "CREATE INDEX edges_dst ON edges(dst, src)");
    execute(database, "COMMIT");
    check(database, sqlite3_close(database), "close");
}

static void load(const char *path, const char *folder)
{
    load_tables(path, folder, false);
}

static void load_bare(const char *path, const char *folder)
{
    load_tables(path, folder, true);
}

static uint64_t integer_of(struct store *store, const char *text)
{
    sqlite3_stmt *statement = prepare(store->database, text);
    check(store->database, sqlite3_step(statement), text);
    uint64_t value = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void prepare_code(struct store *store)
{
    store->code_read = prepare(store->database, "SELECT * FROM code WHERE id = ?1");
    store->code_update = prepare(store->database, "UPDATE code SET startLine = ?2 WHERE id = ?1");
}

static void *open_store(const char *path)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        die("out of memory");
    store->database = open_database(path);
    execute(store->database, "PRAGMA journal_mode = WAL");
    if (integer_of(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'code'")) {
        prepare_code(store);
        return store;
    }
    for (size_t i = 0; i < STATEMENTS; i++)
        store->statements[i] = prepare(store->database, statement_texts[i]);
    store->node_max = integer_of(store, "SELECT max(id) FROM nodes") + 1;
    store->reached = calloc(store->node_max, 1);
    store->queues[0] = malloc(store->node_max * sizeof(uint64_t));
    store->queues[1] = malloc(store->node_max * sizeof(uint64_t));
    if (!store->reached || !store->queues[0] || !store->queues[1])
        die("out of memory");
    return store;
}

static void close_store(void *opaque)
{
    struct store *store = opaque;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_finalize(store->code_read);
    sqlite3_finalize(store->code_update);
    check(store->database, sqlite3_close(store->database), "close");
    free(store->reached);
    free(store->queues[0]);
    free(store->queues[1]);
    free(store);
}

/* ---- reads ------------------------------------------------------------------------------- */

static uint64_t lookup(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sqlite3_stmt *statement = store->statements[LOOKUP];
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)item->a);
    if (sqlite3_step(statement) != SQLITE_ROW || !sqlite3_column_text(statement, 0))
        die("sqlite: no node %" PRIu64, item->a);
    uint64_t age = (uint64_t)sqlite3_column_int64(statement, 1);
    sqlite3_reset(statement);
    return age;
}

static uint64_t hop1(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sqlite3_stmt *statement = store->statements[HOP1];
    uint64_t rows = 0, sum = 0;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)item->a);
    for (; sqlite3_step(statement) == SQLITE_ROW; rows++)
        sum += (uint64_t)sqlite3_column_int64(statement, 0);
    __asm__ volatile("" : : "r"(sum));
    sqlite3_reset(statement);
    return rows;
}

static uint64_t counted(struct store *store, enum statement which, const struct item *item)
{
    sqlite3_stmt *statement = store->statements[which];
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)item->a);
    check(store->database, sqlite3_step(statement), statement_texts[which]);
    uint64_t count = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return count;
}

static uint64_t hop2(void *opaque, const struct item *item)
{
    return counted(opaque, HOP2, item);
}

static uint64_t hop3(void *opaque, const struct item *item)
{
    return counted(opaque, HOP3, item);
}

static uint64_t within3(void *opaque, const struct item *item)
{
    return counted(opaque, WITHIN3, item);
}

/* Expands one level of a side; true if it met the other one. */
static bool search_level(struct store *store, unsigned side, size_t *at, size_t *count)
{
    sqlite3_stmt *statement = store->statements[side ? INTO : HOP1];
    uint64_t *queue = store->queues[side];
    bool met = false;
    for (size_t end = *count; !met && *at < end; ++*at) {
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)queue[*at]);
        while (!met && sqlite3_step(statement) == SQLITE_ROW) {
            uint64_t id = (uint64_t)sqlite3_column_int64(statement, 0);
            met = store->reached[id] == 2 - side;
            if (!store->reached[id]) {
                store->reached[id] = (uint8_t)(side + 1);
                queue[(*count)++] = id;
            }
        }
        sqlite3_reset(statement);
    }
    return met;
}

/* The smaller frontier goes on; in one snapshot. */
static uint64_t path(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    size_t at[2] = { 0, 0 }, count[2] = { 1, 1 };
    uint64_t length = 0;
    bool met = item->a == item->b;
    execute(store->database, "BEGIN");
    store->queues[0][0] = item->a;
    store->queues[1][0] = item->b;
    store->reached[item->a] = 1;
    store->reached[item->b] = 2;
    while (!met && at[0] < count[0] && at[1] < count[1]) {
        unsigned side = count[1] - at[1] < count[0] - at[0];
        met = search_level(store, side, &at[side], &count[side]);
        length++;
    }
    run(store->database, store->statements[COMMIT]);
    for (unsigned side = 0; side < 2; side++) {
        for (size_t i = 0; i < count[side]; i++)
            store->reached[store->queues[side][i]] = 0;
    }
    return met ? length : 0;
}

/* ---- writes ------------------------------------------------------------------------------ */

static void insert_row(struct store *store, const struct node_row *row)
{
    bind_node(store->statements[INSERT], row);
    run(store->database, store->statements[INSERT]);
}

static uint64_t insert_node(void *opaque, const struct item *item)
{
    struct node_row row = data_new_row(item->a, (int64_t)item->b);
    insert_row(opaque, &row);
    return 1;
}

static uint64_t set_age(struct store *store, enum statement which, const struct item *item)
{
    sqlite3_stmt *statement = store->statements[which];
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)item->a);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)item->b);
    run(store->database, statement);
    return 1;
}

static uint64_t upsert_node(void *opaque, const struct item *item)
{
    return set_age(opaque, UPSERT, item);
}

static uint64_t update_node(void *opaque, const struct item *item)
{
    return set_age(opaque, UPDATE, item);
}

static uint64_t insert_edge(void *opaque, const struct item *item)
{
    struct store *store = opaque;
    sqlite3_stmt *statement = store->statements[EDGE];
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)item->a);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)item->b);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)item->c);
    sqlite3_bind_double(statement, 4, 1.5);
    run(store->database, statement);
    if (sqlite3_changes(store->database) != 1)
        die("sqlite: an edge was not made");
    return 1;
}

static void bulk(void *opaque, const struct node_row *rows, size_t count)
{
    struct store *store = opaque;
    run(store->database, store->statements[BEGIN]);
    for (size_t i = 0; i < count; i++)
        insert_row(store, &rows[i]);
    run(store->database, store->statements[COMMIT]);
}

/* ---- the published workload -------------------------------------------------------------- */

static void *code_load(const char *path_text, const struct code_row *rows, size_t nodes,
                       size_t edges)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        die("out of memory");
    sqlite3 *database = open_database(path_text);
    execute(database, "PRAGMA journal_mode = DELETE; BEGIN;"
                      "CREATE TABLE code(id INTEGER PRIMARY KEY, name TEXT, filePath TEXT, "
                      "startLine INTEGER, endLine INTEGER, codeText TEXT, language TEXT, "
                      "metadata TEXT);"
                      "CREATE TABLE links(id INTEGER PRIMARY KEY, src INTEGER, dst INTEGER, "
                      "weight REAL, kind TEXT)");
    sqlite3_stmt *insert = prepare(database, "INSERT INTO code VALUES(?1,?2,?3,?4,?5,?6,?7,?8)");
    for (size_t i = 0; i < nodes; i++) {
        const struct code_row *row = &rows[i];
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)i);
        bind_text(insert, 2, row->name);
        bind_text(insert, 3, row->file_path);
        sqlite3_bind_int64(insert, 4, row->start_line);
        sqlite3_bind_int64(insert, 5, row->end_line);
        bind_text(insert, 6, row->code_text);
        bind_text(insert, 7, row->language);
        bind_text(insert, 8, row->metadata);
        run(database, insert);
    }
    sqlite3_finalize(insert);
    insert = prepare(database, "INSERT INTO links VALUES(?1,?2,?3,?4,?5)");
    for (size_t i = 0; i < edges; i++) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)i);
        sqlite3_bind_int64(insert, 2, (sqlite3_int64)(i % nodes));
        sqlite3_bind_int64(insert, 3, (sqlite3_int64)((13 * i + 7) % nodes));
        sqlite3_bind_double(insert, 4, (double)(i % 10) / 10);
        bind_text(insert, 5, (sombra_slice){ "calls", 5 });
        run(database, insert);
    }
    sqlite3_finalize(insert);
    execute(database, "CREATE INDEX links_src ON links(src, dst);"
                      "CREATE INDEX links_dst ON links(dst, src); COMMIT");
    store->database = database;
    prepare_code(store);
    return store;
}

static uint64_t code_read(void *opaque, uint64_t index)
{
    struct store *store = opaque;
    uint64_t bytes = 0;
    sqlite3_bind_int64(store->code_read, 1, (sqlite3_int64)index);
    if (sqlite3_step(store->code_read) != SQLITE_ROW)
        die("sqlite: no code %" PRIu64, index);
    for (int i = 1; i < 8; i++) {
        if (i == 3 || i == 4)
            bytes += (uint64_t)sqlite3_column_int64(store->code_read, i);
        else if (sqlite3_column_text(store->code_read, i))
            bytes += (uint64_t)sqlite3_column_bytes(store->code_read, i);
    }
    sqlite3_reset(store->code_read);
    return bytes;
}

static void code_update(void *opaque, size_t nodes, size_t count)
{
    struct store *store = opaque;
    execute(store->database, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < count; i++) {
        sqlite3_bind_int64(store->code_update, 1, (sqlite3_int64)(17 * i % nodes));
        sqlite3_bind_int64(store->code_update, 2, (sqlite3_int64)i);
        run(store->database, store->code_update);
    }
    execute(store->database, "COMMIT");
}

/* ---- kinds ------------------------------------------------------------------------------- */

const struct graph_kind kind_sqlite = {
    .name = "sqlite",
    .settings = "4 KiB pages, cache 256 MiB, mmap 8 GiB, synchronous FULL; loaded in one "
                "transaction, indexes last, then WAL; edges WITHOUT ROWID by (src, dst), indexes "
                "on (dst, src) and name; prepared statements",
    .load = load,
    .open = open_store,
    .close = close_store,
    .run = { [LINE_LOOKUP] = lookup,
             [LINE_HOP1] = hop1,
             [LINE_HOP1_IDS] = hop1,
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
};

/* No path: without an index each step backwards reads all edges. */
const struct graph_kind kind_sqlite_bare = {
    .name = "sqlite:bare",
    .settings = "the same without the two indexes: no reverse edges, no names",
    .load = load_bare,
    .open = open_store,
    .close = close_store,
    .run = { [LINE_LOOKUP] = lookup,
             [LINE_HOP1] = hop1,
             [LINE_HOP1_IDS] = hop1,
             [LINE_HOP2] = hop2,
             [LINE_HOP3] = hop3,
             [LINE_WITHIN3] = within3,
             [LINE_INSERT] = insert_node,
             [LINE_UPDATE] = update_node,
             [LINE_EDGE] = insert_edge,
             [LINE_UPSERT] = upsert_node },
    .bulk = bulk,
};
