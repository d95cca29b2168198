/* SPDX-License-Identifier: MIT */
/* The calls of LevelDB's C interface that RocksDB took over, under each store's own prefix: the
 * session, the batch, snapshots, scans. For a file that has defined STORE_NAME, API(name) and
 * struct store with `db` and `write`; included once. A transaction is a write batch.
 */
#ifndef BENCH_KV_LEVEL_CALLS_H
#define BENCH_KV_LEVEL_CALLS_H

struct session {
    struct store *store;
    API(writebatch_t) * batch;
    API(readoptions_t) * read;
    const API(snapshot_t) * snapshot;
};

static void check(char *error, const char *what)
{
    if (UNLIKELY(error))
        die(STORE_NAME ": %s: %s", what, error);
}

static void *session_open(void *store)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        die("out of memory");
    *session = (struct session){ .store = store,
                                 .batch = API(writebatch_create)(),
                                 .read = API(readoptions_create)() };
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    API(writebatch_destroy)(session->batch);
    API(readoptions_destroy)(session->read);
    free(session);
}

static void write_begin(void *opaque)
{
    struct session *session = opaque;
    API(writebatch_clear)(session->batch);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    (void)is_append;
    API(writebatch_put)
    (session->batch, (const char *)key, KEY_BYTES, (const char *)value, VALUE_BYTES);
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    API(writebatch_delete)(session->batch, (const char *)key, KEY_BYTES);
}

static void write_commit(void *opaque)
{
    struct session *session = opaque;
    char *error = NULL;
    API(write)(session->store->db, session->store->write, session->batch, &error);
    check(error, "write");
}

static void read_begin(void *opaque)
{
    struct session *session = opaque;
    session->snapshot = API(create_snapshot)(session->store->db);
    API(readoptions_set_snapshot)(session->read, session->snapshot);
}

static void read_end(void *opaque)
{
    struct session *session = opaque;
    API(readoptions_set_snapshot)(session->read, NULL);
    API(release_snapshot)(session->store->db, session->snapshot);
    session->snapshot = NULL;
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    char *error = NULL;
    API(iterator_t) *at = API(create_iterator)(session->store->db, session->read);
    if (scan->from)
        API(iter_seek)(at, (const char *)scan->from, KEY_BYTES);
    else if (scan->is_backward)
        API(iter_seek_to_last)(at);
    else
        API(iter_seek_to_first)(at);
    while (scan->count < scan->count_max && API(iter_valid)(at)) {
        size_t key_bytes, value_bytes;
        const char *key = API(iter_key)(at, &key_bytes);
        const char *value = API(iter_value)(at, &value_bytes);
        if (key_bytes != KEY_BYTES)
            die(STORE_NAME ": a key has %zu bytes", key_bytes);
        scan_entry(scan, (const uint8_t *)key, (const uint8_t *)value, value_bytes);
        if (scan->is_backward)
            API(iter_prev)(at);
        else
            API(iter_next)(at);
    }
    API(iter_get_error)(at, &error);
    check(error, "scan");
    API(iter_destroy)(at);
}

#endif
