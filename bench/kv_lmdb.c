/* SPDX-License-Identifier: MIT */
/* The benchmark's LMDB, without and with MDB_WRITEMAP. A session keeps its read transaction and
 * renews it, which is LMDB's fast way. */
#include "kv.h"

#include <lmdb.h>
#include <stdlib.h>

struct session {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *write;
    MDB_txn *read;
    bool is_reading;
};

static void check(int rc, const char *what)
{
    if (UNLIKELY(rc != MDB_SUCCESS))
        die("lmdb: %s: %s", what, mdb_strerror(rc));
}

static MDB_env *env_open(const char *folder, bool is_durable, unsigned flags)
{
    MDB_env *env;
    flags |= MDB_NOTLS | MDB_NORDAHEAD | (is_durable ? 0 : MDB_NOSYNC);
    check(mdb_env_create(&env), "create");
    check(mdb_env_set_mapsize(env, 64 * GiB), "set map size");
    check(mdb_env_set_maxreaders(env, 512), "set readers");
    check(mdb_env_open(env, folder, flags, 0600), "open");
    return env;
}

static void *open_store(const char *folder, bool is_durable)
{
    return env_open(folder, is_durable, 0);
}

static void *open_writemap(const char *folder, bool is_durable)
{
    return env_open(folder, is_durable, MDB_WRITEMAP);
}

static void close_store(void *store)
{
    mdb_env_close(store);
}

static void *session_open(void *store)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die("out of memory");
    session->env = store;
    MDB_txn *txn;
    check(mdb_txn_begin(store, NULL, 0, &txn), "begin");
    check(mdb_dbi_open(txn, NULL, 0, &session->dbi), "open database");
    check(mdb_txn_commit(txn), "commit");
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    if (session->read)
        mdb_txn_abort(session->read);
    free(session);
}

static void write_begin(void *opaque)
{
    struct session *session = opaque;
    check(mdb_txn_begin(session->env, NULL, 0, &session->write), "begin");
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    MDB_val mdb_key = { KEY_BYTES, (void *)(uintptr_t)key };
    MDB_val mdb_value = { VALUE_BYTES, (void *)(uintptr_t)value };
    check(mdb_put(session->write, session->dbi, &mdb_key, &mdb_value, is_append ? MDB_APPEND : 0),
          "put");
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    MDB_val mdb_key = { KEY_BYTES, (void *)(uintptr_t)key };
    check(mdb_del(session->write, session->dbi, &mdb_key, NULL), "delete");
}

static void write_commit(void *opaque)
{
    struct session *session = opaque;
    check(mdb_txn_commit(session->write), "commit");
    session->write = NULL;
}

static void read_begin(void *opaque)
{
    struct session *session = opaque;
    if (session->read)
        check(mdb_txn_renew(session->read), "renew");
    else
        check(mdb_txn_begin(session->env, NULL, MDB_RDONLY, &session->read), "begin");
    session->is_reading = true;
}

static void read_end(void *opaque)
{
    struct session *session = opaque;
    mdb_txn_reset(session->read);
    session->is_reading = false;
}

static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    MDB_val mdb_key = { KEY_BYTES, (void *)(uintptr_t)key };
    MDB_val value;
    int rc = mdb_get(session->read, session->dbi, &mdb_key, &value);
    if (rc == MDB_NOTFOUND)
        return false;
    check(rc, "get");
    memcpy(to_value, value.mv_data, size_min(value.mv_size, VALUE_BYTES));
    return true;
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    bool has_snapshot = session->is_reading;
    if (!has_snapshot)
        read_begin(session);
    MDB_cursor *cursor;
    check(mdb_cursor_open(session->read, session->dbi, &cursor), "open a cursor");
    MDB_val key = { KEY_BYTES, (void *)(uintptr_t)scan->from }, value;
    MDB_cursor_op first = scan->from ? MDB_SET_RANGE : scan->is_backward ? MDB_LAST : MDB_FIRST;
    MDB_cursor_op step = scan->is_backward ? MDB_PREV : MDB_NEXT;
    int rc = mdb_cursor_get(cursor, &key, &value, first);
    while (rc == MDB_SUCCESS) {
        scan_entry(scan, key.mv_data, value.mv_data, value.mv_size);
        if (scan->count == scan->count_max)
            break;
        rc = mdb_cursor_get(cursor, &key, &value, step);
    }
    if (rc != MDB_NOTFOUND)
        check(rc, "scan");
    mdb_cursor_close(cursor);
    if (!has_snapshot)
        read_end(session);
}

const struct store_kind kind_lmdb = {
    .name = "lmdb",
    .settings = "NOTLS, NORDAHEAD, renewed read transactions; NOSYNC / synchronous",
    .open = open_store,
    STORE_KIND_CALLS,
};

const struct store_kind kind_lmdb_writemap = {
    .name = "lmdb:wm",
    .settings = "as lmdb, and WRITEMAP",
    .open = open_writemap,
    STORE_KIND_CALLS,
};
