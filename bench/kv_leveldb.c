/* SPDX-License-Identifier: MIT */
/* LevelDB as the benchmark's store, through its C API. A transaction of the benchmark is a write
 * batch. */
#include "kv.h"

#include <leveldb/c.h>
#include <stdlib.h>

struct store {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *write;
};

struct session {
    struct store *store;
    leveldb_writebatch_t *batch;
    leveldb_readoptions_t *read;
    const leveldb_snapshot_t *snapshot;
};

static void check(char *error, const char *what)
{
    if (UNLIKELY(error))
        die("leveldb: %s: %s", what, error);
}

static void *open_store(const char *folder, bool is_durable)
{
    char *error = NULL;
    struct store *store = malloc(sizeof *store);
    if (!store)
        die("out of memory");
    store->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(store->options, 1);
    leveldb_options_set_compression(store->options, leveldb_no_compression);
    leveldb_options_set_write_buffer_size(store->options, tuning.memtable_bytes);
    leveldb_options_set_max_file_size(store->options,
                                      tuning.table_bytes ? tuning.table_bytes : 8 * MiB);
    leveldb_options_set_block_size(store->options, BLOCK_BYTES);
    store->cache = leveldb_cache_create_lru(tuning.cache_bytes);
    leveldb_options_set_cache(store->options, store->cache);
    store->filter = leveldb_filterpolicy_create_bloom(FILTER_BITS);
    leveldb_options_set_filter_policy(store->options, store->filter);
    store->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(store->write, is_durable);
    store->db = leveldb_open(store->options, folder, &error);
    check(error, "open");
    return store;
}

static void close_store(void *opaque)
{
    struct store *store = opaque;
    leveldb_close(store->db);
    leveldb_writeoptions_destroy(store->write);
    leveldb_options_destroy(store->options);
    leveldb_cache_destroy(store->cache);
    leveldb_filterpolicy_destroy(store->filter);
    free(store);
}

static void settle(void *opaque)
{
    struct store *store = opaque;
    leveldb_compact_range(store->db, NULL, 0, NULL, 0);
}

static void *session_open(void *store)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        die("out of memory");
    *session = (struct session){ .store = store,
                                 .batch = leveldb_writebatch_create(),
                                 .read = leveldb_readoptions_create() };
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    leveldb_writebatch_destroy(session->batch);
    leveldb_readoptions_destroy(session->read);
    free(session);
}

static void write_begin(void *opaque)
{
    struct session *session = opaque;
    leveldb_writebatch_clear(session->batch);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    (void)is_append;
    leveldb_writebatch_put(session->batch, (const char *)key, KEY_BYTES, (const char *)value,
                           VALUE_BYTES);
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    leveldb_writebatch_delete(session->batch, (const char *)key, KEY_BYTES);
}

static void write_commit(void *opaque)
{
    struct session *session = opaque;
    char *error = NULL;
    leveldb_write(session->store->db, session->store->write, session->batch, &error);
    check(error, "write");
}

static void read_begin(void *opaque)
{
    struct session *session = opaque;
    session->snapshot = leveldb_create_snapshot(session->store->db);
    leveldb_readoptions_set_snapshot(session->read, session->snapshot);
}

static void read_end(void *opaque)
{
    struct session *session = opaque;
    leveldb_readoptions_set_snapshot(session->read, NULL);
    leveldb_release_snapshot(session->store->db, session->snapshot);
    session->snapshot = NULL;
}

static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    char *error = NULL;
    size_t bytes;
    char *value = leveldb_get(session->store->db, session->read, (const char *)key, KEY_BYTES,
                              &bytes, &error);
    check(error, "get");
    if (!value)
        return false;
    memcpy(to_value, value, size_min(bytes, VALUE_BYTES));
    leveldb_free(value);
    return true;
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    char *error = NULL;
    leveldb_iterator_t *at = leveldb_create_iterator(session->store->db, session->read);
    if (scan->from)
        leveldb_iter_seek(at, (const char *)scan->from, KEY_BYTES);
    else if (scan->is_backward)
        leveldb_iter_seek_to_last(at);
    else
        leveldb_iter_seek_to_first(at);
    while (scan->count < scan->count_max && leveldb_iter_valid(at)) {
        size_t key_bytes, value_bytes;
        const char *key = leveldb_iter_key(at, &key_bytes);
        const char *value = leveldb_iter_value(at, &value_bytes);
        if (key_bytes != KEY_BYTES)
            die("leveldb: a key has %zu bytes", key_bytes);
        scan_entry(scan, (const uint8_t *)key, (const uint8_t *)value, value_bytes);
        if (scan->is_backward)
            leveldb_iter_prev(at);
        else
            leveldb_iter_next(at);
    }
    leveldb_iter_get_error(at, &error);
    check(error, "scan");
    leveldb_iter_destroy(at);
}

const struct store_kind kind_leveldb = {
    .name = "leveldb",
    .settings = LSM_SETTINGS "; sync off / on",
    .open = open_store,
    .close = close_store,
    .session_open = session_open,
    .session_close = session_close,
    .write_begin = write_begin,
    .put = put,
    .remove = remove_key,
    .write_commit = write_commit,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .settle = settle,
};
