/* SPDX-License-Identifier: MIT */
/* The benchmark's SQLite: a connection and its prepared statements for each session. Writers wait
 * for each other at a mutex, not in SQLite's busy handler, which sleeps. */
#include "kv.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum statement {
    BEGIN,
    BEGIN_WRITE,
    COMMIT,
    PUT,
    REMOVE,
    GET,
    SCAN,
    SCAN_FROM,
    SCAN_BACK,
    STATEMENTS
};

static const char *const statement_texts[STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [PUT] = "REPLACE INTO kv(key, value) VALUES(?1, ?2)",
    [REMOVE] = "DELETE FROM kv WHERE key = ?1",
    [GET] = "SELECT value FROM kv WHERE key = ?1",
    [SCAN] = "SELECT key, value FROM kv ORDER BY key",
    [SCAN_FROM] = "SELECT key, value FROM kv WHERE key >= ?1 ORDER BY key",
    [SCAN_BACK] = "SELECT key, value FROM kv ORDER BY key DESC",
};

struct store {
    char path[300];
    bool is_durable;
    pthread_mutex_t writer;
};

struct session {
    struct store *store;
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENTS];
    bool is_reading;
};

static void check(const struct session *session, int rc, const char *what)
{
    if (UNLIKELY(rc != SQLITE_OK && rc != SQLITE_DONE && rc != SQLITE_ROW))
        die("sqlite: %s: %s", what, sqlite3_errmsg(session->database));
}

static void execute(const struct session *session, const char *text)
{
    check(session, sqlite3_exec(session->database, text, NULL, NULL, NULL), text);
}

/* A statement without a result. */
static void run(const struct session *session, enum statement which)
{
    sqlite3_stmt *statement = session->statements[which];
    int rc = sqlite3_step(statement);
    check(session, rc == SQLITE_ROW ? SQLITE_OK : rc, statement_texts[which]);
    check(session, sqlite3_reset(statement), statement_texts[which]);
}

static void bind(const struct session *session, enum statement which, int at, const uint8_t *bytes,
                 int count)
{
    check(session, sqlite3_bind_blob(session->statements[which], at, bytes, count, SQLITE_STATIC),
          "bind");
}

static void *open_store(const char *folder, bool is_durable)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        die("out of memory");
    snprintf(store->path, sizeof store->path, "%s/bench.sqlite", folder);
    store->is_durable = is_durable;
    pthread_mutex_init(&store->writer, NULL);
    return store;
}

static void *session_open(void *opaque)
{
    struct store *store = opaque;
    char text[64];
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die("out of memory");
    session->store = store;
    check(session, sqlite3_open(store->path, &session->database), "open");
    sqlite3_busy_timeout(session->database, 60000);
    execute(session, "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; "
                     "PRAGMA mmap_size = 8589934592; "
                     "PRAGMA wal_autocheckpoint = 4000");
    snprintf(text, sizeof text, "PRAGMA cache_size = -%zu", tuning.cache_bytes / KiB);
    execute(session, text);
    execute(session,
            store->is_durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    execute(session, "CREATE TABLE IF NOT EXISTS kv(key BLOB PRIMARY KEY, value BLOB NOT NULL) "
                     "WITHOUT ROWID");
    for (size_t i = 0; i < STATEMENTS; i++)
        check(session,
              sqlite3_prepare_v3(session->database, statement_texts[i], -1,
                                 SQLITE_PREPARE_PERSISTENT, &session->statements[i], NULL),
              statement_texts[i]);
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(session->statements[i]);
    check(session, sqlite3_close(session->database), "close");
    free(session);
}

/* The last connection's close has checkpointed and removed the log. */
static void close_store(void *opaque)
{
    struct store *store = opaque;
    pthread_mutex_destroy(&store->writer);
    free(store);
}

static void write_begin(void *opaque)
{
    struct session *session = opaque;
    pthread_mutex_lock(&session->store->writer);
    run(session, BEGIN_WRITE);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    (void)is_append;
    bind(session, PUT, 1, key, KEY_BYTES);
    bind(session, PUT, 2, value, VALUE_BYTES);
    run(session, PUT);
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    bind(session, REMOVE, 1, key, KEY_BYTES);
    run(session, REMOVE);
}

static void write_commit(void *opaque)
{
    struct session *session = opaque;
    run(session, COMMIT);
    pthread_mutex_unlock(&session->store->writer);
}

static void read_begin(void *opaque)
{
    struct session *session = opaque;
    run(session, BEGIN);
    session->is_reading = true;
}

static void read_end(void *opaque)
{
    struct session *session = opaque;
    run(session, COMMIT);
    session->is_reading = false;
}

static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    sqlite3_stmt *statement = session->statements[GET];
    bind(session, GET, 1, key, KEY_BYTES);
    int rc = sqlite3_step(statement);
    check(session, rc, "get");
    if (rc == SQLITE_ROW)
        memcpy(to_value, sqlite3_column_blob(statement, 0),
               size_min((size_t)sqlite3_column_bytes(statement, 0), VALUE_BYTES));
    check(session, sqlite3_reset(statement), "get");
    return rc == SQLITE_ROW;
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    enum statement which = scan->from ? SCAN_FROM : scan->is_backward ? SCAN_BACK : SCAN;
    sqlite3_stmt *statement = session->statements[which];
    if (scan->from)
        bind(session, which, 1, scan->from, KEY_BYTES);
    int rc = SQLITE_DONE;
    while (scan->count < scan->count_max && (rc = sqlite3_step(statement)) == SQLITE_ROW)
        scan_entry(scan, sqlite3_column_blob(statement, 0), sqlite3_column_blob(statement, 1),
                   (size_t)sqlite3_column_bytes(statement, 1));
    check(session, rc, "scan");
    check(session, sqlite3_reset(statement), "scan");
}

const struct store_kind kind_sqlite = {
    .name = "sqlite",
    .settings = "WAL, WITHOUT ROWID, prepared statements, 4 KiB pages, mmap 8 GiB, "
                "autocheckpoint 4000 pages, a mutex between writers; synchronous NORMAL / FULL",
    .open = open_store,
    STORE_KIND_CALLS,
};
