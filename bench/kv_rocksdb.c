/* SPDX-License-Identifier: MIT */
/* RocksDB as the benchmark's store, through its C API. A transaction of the benchmark is a write
 * batch. */
#include "kv.h"

#include <rocksdb/c.h>
#include <stdlib.h>

struct store {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_block_based_table_options_t *table;
    rocksdb_writeoptions_t *write;
};

struct session {
    struct store *store;
    rocksdb_writebatch_t *batch;
    rocksdb_readoptions_t *read;
    const rocksdb_snapshot_t *snapshot;
};

static void check(char *error, const char *what)
{
    if (UNLIKELY(error))
        die("rocksdb: %s: %s", what, error);
}

static void *open_store(const char *folder, bool is_durable)
{
    char *error = NULL;
    struct store *store = malloc(sizeof *store);
    if (!store)
        die("out of memory");
    store->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(store->options, 1);
    rocksdb_options_set_compression(store->options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(store->options, tuning.memtable_bytes);
    if (tuning.table_bytes)
        rocksdb_options_set_target_file_size_base(store->options, tuning.table_bytes);
    rocksdb_options_set_max_write_buffer_number(store->options, 4);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(store->options, 1);
    rocksdb_options_increase_parallelism(store->options, 2);
    store->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(store->table, BLOCK_BYTES);
    store->cache = rocksdb_cache_create_lru(tuning.cache_bytes);
    rocksdb_block_based_options_set_block_cache(store->table, store->cache);
    rocksdb_block_based_options_set_filter_policy(
        store->table, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
    rocksdb_options_set_block_based_table_factory(store->options, store->table);
    store->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write, is_durable);
    store->db = rocksdb_open(store->options, folder, &error);
    check(error, "open");
    return store;
}

static void close_store(void *opaque)
{
    struct store *store = opaque;
    rocksdb_close(store->db);
    rocksdb_writeoptions_destroy(store->write);
    rocksdb_options_destroy(store->options);
    rocksdb_block_based_options_destroy(store->table);
    rocksdb_cache_destroy(store->cache);
    free(store);
}

static void settle(void *opaque)
{
    struct store *store = opaque;
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush(store->db, options, &error);
    check(error, "flush");
    rocksdb_flushoptions_destroy(options);
    rocksdb_compact_range(store->db, NULL, 0, NULL, 0);
}

static void *session_open(void *store)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        die("out of memory");
    *session = (struct session){ .store = store,
                                 .batch = rocksdb_writebatch_create(),
                                 .read = rocksdb_readoptions_create() };
    return session;
}

static void session_close(void *opaque)
{
    struct session *session = opaque;
    rocksdb_writebatch_destroy(session->batch);
    rocksdb_readoptions_destroy(session->read);
    free(session);
}

static void write_begin(void *opaque)
{
    struct session *session = opaque;
    rocksdb_writebatch_clear(session->batch);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    (void)is_append;
    rocksdb_writebatch_put(session->batch, (const char *)key, KEY_BYTES, (const char *)value,
                           VALUE_BYTES);
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    rocksdb_writebatch_delete(session->batch, (const char *)key, KEY_BYTES);
}

static void write_commit(void *opaque)
{
    struct session *session = opaque;
    char *error = NULL;
    rocksdb_write(session->store->db, session->store->write, session->batch, &error);
    check(error, "write");
}

static void read_begin(void *opaque)
{
    struct session *session = opaque;
    session->snapshot = rocksdb_create_snapshot(session->store->db);
    rocksdb_readoptions_set_snapshot(session->read, session->snapshot);
}

static void read_end(void *opaque)
{
    struct session *session = opaque;
    rocksdb_readoptions_set_snapshot(session->read, NULL);
    rocksdb_release_snapshot(session->store->db, session->snapshot);
    session->snapshot = NULL;
}

/* Pinned: the value is copied once, as RocksDB's own users avoid a second copy. */
static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    char *error = NULL;
    size_t bytes;
    rocksdb_pinnableslice_t *pinned =
        rocksdb_get_pinned(session->store->db, session->read, (const char *)key, KEY_BYTES, &error);
    check(error, "get");
    if (!pinned)
        return false;
    const char *value = rocksdb_pinnableslice_value(pinned, &bytes);
    memcpy(to_value, value, size_min(bytes, VALUE_BYTES));
    rocksdb_pinnableslice_destroy(pinned);
    return true;
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    char *error = NULL;
    rocksdb_iterator_t *at = rocksdb_create_iterator(session->store->db, session->read);
    if (scan->from)
        rocksdb_iter_seek(at, (const char *)scan->from, KEY_BYTES);
    else if (scan->is_backward)
        rocksdb_iter_seek_to_last(at);
    else
        rocksdb_iter_seek_to_first(at);
    while (scan->count < scan->count_max && rocksdb_iter_valid(at)) {
        size_t key_bytes, value_bytes;
        const char *key = rocksdb_iter_key(at, &key_bytes);
        const char *value = rocksdb_iter_value(at, &value_bytes);
        if (key_bytes != KEY_BYTES)
            die("rocksdb: a key has %zu bytes", key_bytes);
        scan_entry(scan, (const uint8_t *)key, (const uint8_t *)value, value_bytes);
        if (scan->is_backward)
            rocksdb_iter_prev(at);
        else
            rocksdb_iter_next(at);
    }
    rocksdb_iter_get_error(at, &error);
    check(error, "scan");
    rocksdb_iter_destroy(at);
}

const struct store_kind kind_rocksdb = {
    .name = "rocksdb",
    .settings = LSM_SETTINGS
    ", leveled with dynamic level sizes, 4 memtables, 2 background jobs; sync off / on",
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
