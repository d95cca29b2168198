/* SPDX-License-Identifier: MIT */
/* The benchmark's stores of ours: both engines behind kv/kv.h. Of btree every option is at its
 * default but the durability; of lsm those that its peers are given too are as theirs. */
#include "kv.h"

#include "btree/btree.h"
#include "lsm/lsm.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 128 };

struct session {
    struct kv *kv;
    struct kv_txn *txn;
};

static void check(sombra_err err, const char *what)
{
    if (UNLIKELY(err))
        die("sombra: %s: %s: %s", what, sombra_err_name(err), sombra_err_message());
}

static void *open_store(const char *folder, bool is_durable)
{
    char path[300];
    snprintf(path, sizeof path, "%s/bench.db", folder);
    struct btree_options options = { .create = true,
                                     .durability = is_durable ? KV_FULL : KV_OFF,
                                     .checkpoint_log_bytes = tuning.log_bytes };
    struct kv *kv;
    check(btree_open(os_posix(), path, &options, &kv), "open");
    return kv;
}

static void *open_lsm(const char *folder, bool is_durable)
{
    struct lsm_options options = {
        .create = true,
        .durability = is_durable ? KV_FULL : KV_OFF,
        .codec = LSM_CODEC_NONE,
        .memtable_bytes = tuning.memtable_bytes,
        .cache_bytes = tuning.cache_bytes,
        .filter_bits = FILTER_BITS,
        .block_bytes = BLOCK_BYTES,
        .table_bytes = tuning.table_bytes,
    };
    struct kv *kv;
    check(lsm_open(os_posix(), folder, &options, &kv), "open");
    return kv;
}

static void close_store(void *store)
{
    check(kv_close(store), "close");
}

static void settle(void *store)
{
    struct kv_maintenance flush = { .kind = KV_CHECKPOINT }, compact = { .kind = KV_COMPACT };
    check(kv_maintain(store, &flush), "checkpoint");
    check(kv_maintain(store, &compact), "compact");
}

static void *session_open(void *store)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        die("out of memory");
    *session = (struct session){ .kv = store };
    return session;
}

static void session_close(void *session)
{
    free(session);
}

static void begin(struct session *session, bool is_write)
{
    struct kv_begin_options options = { .is_write = is_write, .busy_timeout_ms = UINT64_MAX };
    check(kv_begin(session->kv, &options, &session->txn), "begin");
}

static void write_begin(void *session)
{
    begin(session, true);
}

static void put(void *opaque, const uint8_t *key, const uint8_t *value, bool is_append)
{
    struct session *session = opaque;
    (void)is_append;
    check(kv_put(session->txn, slice_of(key, KEY_BYTES), slice_of(value, VALUE_BYTES)), "put");
}

static void remove_key(void *opaque, const uint8_t *key)
{
    struct session *session = opaque;
    check(kv_delete(session->txn, slice_of(key, KEY_BYTES)), "delete");
}

static void end(void *opaque)
{
    struct session *session = opaque;
    check(kv_commit(session->txn, KV_DURABILITY_STORE), "commit");
    session->txn = NULL;
}

static void read_begin(void *session)
{
    begin(session, false);
}

static bool get(void *opaque, const uint8_t *key, uint8_t to_value[VALUE_BYTES])
{
    struct session *session = opaque;
    sombra_slice value;
    sombra_err err = kv_get(session->txn, slice_of(key, KEY_BYTES), &value);
    if (err == SOMBRA_NOT_FOUND)
        return false;
    check(err, "get");
    memcpy(to_value, value.data, size_min(value.bytes, VALUE_BYTES));
    return true;
}

static void batch_sum(const struct kv_batch *batch, struct scan *scan)
{
    uint8_t key[KEY_BYTES];
    size_t prefix_bytes = batch->prefix.bytes;
    if (prefix_bytes)
        memcpy(key, batch->prefix.data, prefix_bytes);
    for (size_t i = 0; i < batch->count; i++) {
        const struct kv_entry *entry = &batch->entries[i];
        if (prefix_bytes + entry->key.bytes != KEY_BYTES)
            die("sombra: a key has %zu bytes", prefix_bytes + entry->key.bytes);
        memcpy(key + prefix_bytes, entry->key.data, entry->key.bytes);
        scan_entry(scan, key, entry->value.data, entry->value.bytes);
    }
}

static void scan(void *opaque, struct scan *scan)
{
    struct session *session = opaque;
    bool has_snapshot = session->txn != NULL;
    if (!has_snapshot)
        read_begin(session);
    struct kv_entry entries[BATCH];
    struct kv_batch batch = { .entries = entries };
    struct kv_range range = { .low = slice_of(scan->from, scan->from ? KEY_BYTES : 0) };
    struct kv_cursor *cursor;
    check(kv_cursor_open(session->txn, range, &cursor), "open a cursor");
    while (scan->count < scan->count_max) {
        batch.capacity = (size_t)u64_min(BATCH, scan->count_max - scan->count);
        check(kv_cursor_read(cursor, scan->is_backward ? KV_PREVIOUS : KV_NEXT, &batch), "read");
        if (batch.count == 0)
            break;
        batch_sum(&batch, scan);
    }
    kv_cursor_close(cursor);
    if (!has_snapshot)
        end(session);
}

#define KIND(kind, text, opener, settler)                                                         \
    {                                                                                             \
        .name = kind, .settings = text, .open = opener, .close = close_store,                     \
        .session_open = session_open, .session_close = session_close, .write_begin = write_begin, \
        .put = put, .remove = remove_key, .write_commit = end, .read_begin = read_begin,          \
        .read_end = end, .get = get, .scan = scan, .settle = settler                              \
    }

const struct store_kind kind_sombra =
    KIND("sombra", "btree engine, all options at their defaults; durability off / full", open_store,
         NULL);
const struct store_kind kind_lsm =
    KIND("lsm", "lsm engine, " LSM_SETTINGS "; durability off / full", open_lsm, settle);
