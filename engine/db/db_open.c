/* SPDX-License-Identifier: MIT */
/* Opening by path: which engine, and the options in its terms. */
#include "db_internal.h"

#include "btree/btree.h"

static_assert((int)SOMBRA_DURABILITY_DEFAULT == (int)KV_DURABILITY_STORE, "the same numbers");
static_assert((int)SOMBRA_DURABILITY_FULL == (int)KV_FULL, "the same numbers");
static_assert((int)SOMBRA_DURABILITY_GROUP == (int)KV_GROUP, "the same numbers");
static_assert((int)SOMBRA_DURABILITY_NORMAL == (int)KV_NORMAL, "the same numbers");
static_assert((int)SOMBRA_DURABILITY_OFF == (int)KV_OFF, "the same numbers");

static uint64_t timeout_of(uint64_t timeout_ms, uint64_t default_ms)
{
    if (timeout_ms == 0)
        return default_ms;
    return timeout_ms == SOMBRA_WAIT_NOT ? 0 : timeout_ms;
}

static sombra_err check_options(const sombra_options *options)
{
    if (options->engine && strcmp(options->engine, "btree") != 0)
        return diag_fail(SOMBRA_UNSUPPORTED, "there is no engine \"%s\"; this build has \"btree\"",
                         options->engine);
    if (options->durability > SOMBRA_DURABILITY_OFF)
        return diag_fail(SOMBRA_INVALID, "durability %d is none of full, group, normal, off",
                         (int)options->durability);
    if (options->create && options->readonly)
        return diag_fail(SOMBRA_INVALID, "create and readonly exclude each other");
    enum { TXN_MEMORY_MIN = 1 << 20 };
    if (options->txn_memory_max && options->txn_memory_max < TXN_MEMORY_MIN)
        return diag_fail(SOMBRA_INVALID, "txn_memory_max %zu: at least %d bytes are needed",
                         options->txn_memory_max, TXN_MEMORY_MIN);
    return SOMBRA_OK;
}

static sombra_err open_store(const char *path, const sombra_options *options, uint64_t busy_ms,
                             struct kv **out_kv)
{
    const struct btree_options btree = { .create = options->create,
                                         .is_readonly = options->readonly,
                                         .mode = options->mode,
                                         .page_bytes = options->page_bytes,
                                         .durability = (enum kv_durability)options->durability,
                                         .busy_timeout_ms = busy_ms,
                                         .sync_interval_ms = options->sync_interval_ms,
                                         .group_wait_us = options->group_wait_us,
                                         .wal_bypass_bytes = options->wal_bypass_bytes,
                                         .txn_memory_max = options->txn_memory_max,
                                         .allows_network = options->network_files,
                                         .no_auto_compact = options->no_auto_compact };
    return btree_open(os_posix(), path, &btree, out_kv);
}

sombra_err sombra_open(const char *path, const sombra_options *given, sombra_db **out_db)
{
    sombra_options options;
    struct kv *kv = NULL;
    sombra_db *db = NULL;
    char *copy = NULL;
    assert(out_db);
    if (!path || !*path)
        return diag_fail(SOMBRA_INVALID, "open: no path is given");
    sombra_err err = options_read(given, &options, sizeof options);
    if (!err)
        err = check_options(&options);
    if (err)
        return diag_wrap(err, "open %s", path);
    uint64_t busy_ms = timeout_of(options.busy_timeout_ms, DB_BUSY_TIMEOUT_MS);
    copy = mem_alloc(strlen(path) + 1);
    if (!copy)
        return diag_nomem("a path", strlen(path) + 1);
    memcpy(copy, path, strlen(path) + 1);
    err = open_store(path, &options, busy_ms, &kv);
    if (!err)
        err = db_wrap(kv, &db);
    if (err) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        if (kv && kv_close(kv)) {
            /* The first failure is what the caller must know. */
        }
        diag_restore(text);
        mem_free(copy);
        return diag_wrap(err, "open %s", path);
    }
    db->path = copy;
    db->is_readonly = options.readonly;
    db->busy_timeout_ms = busy_ms;
    *out_db = db;
    return SOMBRA_OK;
}
