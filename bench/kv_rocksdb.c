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

#define STORE_NAME "rocksdb"
#define API(name)  rocksdb_##name
#include "kv_level_calls.h"

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

const struct store_kind kind_rocksdb = {
    .name = "rocksdb",
    .settings = LSM_SETTINGS
    ", leveled with dynamic level sizes, 4 memtables, 2 background jobs; sync off / on",
    .open = open_store,
    STORE_KIND_CALLS,
    .settle = settle,
};
