/* SPDX-License-Identifier: MIT */
/* WiredTiger as the benchmark's store: a B-tree table with a log, as its own users run it. */
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <wiredtiger.h>

struct session {
    WT_SESSION *session;
    WT_CURSOR *cursor;
    bool has_txn;
};

static void check(int error, const char *what)
{
    if (UNLIKELY(error))
        die("wiredtiger: %s: %s", what, wiredtiger_strerror(error));
}

static void *open_store(const char *folder, bool is_durable)
{
    char config[256];
    WT_CONNECTION *connection;
    WT_SESSION *session;
    snprintf(config, sizeof config,
             "create,cache_size=%zu,log=(enabled=true),transaction_sync=(enabled=%s,method=fsync)",
             tuning.cache_bytes, is_durable ? "true" : "false");
    check(wiredtiger_open(folder, NULL, config, &connection), "open");
    check(connection->open_session(connection, NULL, NULL, &session), "open a session");
    check(session->create(session, "table:bench", "key_format=u,value_format=u,leaf_page_max=16KB"),
          "create the table");
    check(session->close(session, NULL), "close a session");
    return connection;
}

static void close_store(void *store)
{
    WT_CONNECTION *connection = store;
    check(connection->close(connection, NULL), "close");
}

static void *session_open(void *store)
{
    WT_CONNECTION *connection = store;
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die("out of memory");
    check(connection->open_session(connection, NULL, "isolation=snapshot", &session->session),
          "open a session");
    check(session->session->open_cursor(session->session, "table:bench", NULL, NULL,
                                        &session->cursor),
          "open a cursor");
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    check(session->session->close(session->session, NULL), "close a session");
    free(session);
}

static void begin(void *opaque)
{
    struct session *session = opaque;
    check(session->session->begin_transaction(session->session, NULL), "begin");
    session->has_txn = true;
}

static void end(void *opaque)
{
    struct session *session = opaque;
    check(session->session->commit_transaction(session->session, NULL), "commit");
    session->has_txn = false;
}

static void set_key(WT_CURSOR *cursor, const uint8_t *key)
{
    const WT_ITEM item = { .data = key, .size = KEY_BYTES };
    cursor->set_key(cursor, &item);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    const WT_ITEM item = { .data = value, .size = VALUE_BYTES };
    (void)is_append;
    set_key(session->cursor, key);
    session->cursor->set_value(session->cursor, &item);
    check(session->cursor->insert(session->cursor), "put");
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    set_key(session->cursor, key);
    check(session->cursor->remove(session->cursor), "remove");
}

static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    WT_ITEM value;
    set_key(session->cursor, key);
    int error = session->cursor->search(session->cursor);
    if (error == WT_NOTFOUND)
        return false;
    check(error, "get");
    check(session->cursor->get_value(session->cursor, &value), "get");
    memcpy(to_value, value.data, size_min(value.size, VALUE_BYTES));
    check(session->cursor->reset(session->cursor), "get");
    return true;
}

static void entry_scan(WT_CURSOR *cursor, struct scan *scan)
{
    WT_ITEM key, value;
    check(cursor->get_key(cursor, &key), "scan");
    check(cursor->get_value(cursor, &value), "scan");
    if (key.size != KEY_BYTES)
        die("wiredtiger: a key has %zu bytes", key.size);
    scan_entry(scan, key.data, value.data, value.size);
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    WT_CURSOR *cursor = session->cursor;
    bool has_txn = session->has_txn;
    int error = 0, side = 0;
    if (!has_txn)
        begin(session);
    if (scan->from) {
        set_key(cursor, scan->from);
        error = cursor->search_near(cursor, &side);
        if (!error && side < 0)
            error = cursor->next(cursor);
    } else {
        error = scan->is_backward ? cursor->prev(cursor) : cursor->next(cursor);
    }
    while (!error && scan->count < scan->count_max) {
        entry_scan(cursor, scan);
        error = scan->is_backward ? cursor->prev(cursor) : cursor->next(cursor);
    }
    if (error != WT_NOTFOUND)
        check(error, "scan");
    check(cursor->reset(cursor), "scan");
    if (!has_txn)
        end(session);
}

const struct store_kind kind_wiredtiger = {
    .name = "wiredtiger",
    .settings = "B-tree table, log on, leaves of 16 KiB; sync off / fsync",
    .open = open_store,
    .close = close_store,
    .session_open = session_open,
    .session_close = session_close,
    .write_begin = begin,
    .put = put,
    .remove = remove_key,
    .write_commit = end,
    .read_begin = begin,
    .read_end = end,
    .get = get,
    .scan = scan,
};
