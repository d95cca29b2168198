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

#define STORE_NAME "leveldb"
#define API(name)  leveldb_##name
#include "kv_level_calls.h"

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

const struct store_kind kind_leveldb = {
    .name = "leveldb",
    .settings = LSM_SETTINGS "; sync off / on",
    .open = open_store,
    STORE_KIND_CALLS,
    .settle = settle,
};
