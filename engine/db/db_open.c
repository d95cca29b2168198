/* SPDX-License-Identifier: MIT */
/* Opening by path: which engine, and the options in its terms. */
#include "db_internal.h"

#include "btree/btree.h"
#include "lsm/lsm.h"

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

/* ---- engines ----------------------------------------------------------------------------- */

struct engine {
    const char *name;
    bool is_directory; /* what its databases are */
    sombra_err (*open)(const char *path, const sombra_options *options, uint64_t busy_ms,
                       struct kv **out_kv);
};

static sombra_err refuse_option(const char *option, const char *engine, const char *of)
{
    return diag_fail(SOMBRA_INVALID, "%s is an option of the engine \"%s\"; this is \"%s\"", option,
                     of, engine);
}

static sombra_err btree_check(const sombra_options *options)
{
    const struct {
        const char *name;
        bool is_given;
    } foreign[] = {
        { "cache size", options->cache_bytes },
        { "memtable size", options->memtable_bytes },
        { "block size", options->block_bytes },
        { "filter bits", options->filter_bits },
        { "codec", options->codec },
        { "bottom codec", options->bottom_codec },
        { "compaction", options->compaction },
        { "table size", options->table_bytes },
        { "level size", options->level_bytes },
        { "level ratio", options->level_ratio },
        { "compaction threads", options->compaction_threads },
        { "compaction rate", options->compaction_rate },
    };
    for (size_t i = 0; i < COUNT_OF(foreign); i++) {
        if (foreign[i].is_given)
            return refuse_option(foreign[i].name, "btree", "lsm");
    }
    return SOMBRA_OK;
}

static sombra_err open_btree(const char *path, const sombra_options *options, uint64_t busy_ms,
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
                                         .memory_bytes = options->memory_bytes,
                                         .allows_network = options->network_files,
                                         .no_auto_compact = options->no_auto_compact };
    sombra_err err = btree_check(options);
    if (err)
        return diag_wrap(err, "open %s", path); /* as the engine does */
    return btree_open(os_posix(), path, &btree, out_kv);
}

static sombra_err lsm_check(const char *path, const sombra_options *options)
{
    if (strcmp(path, BTREE_MEMORY) == 0)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "the engine \"lsm\" needs a directory; in memory there is \"btree\"");
    if (options->page_bytes)
        return refuse_option("page size", "lsm", "btree");
    if (options->wal_bypass_bytes)
        return refuse_option("wal_bypass_bytes", "lsm", "btree");
    if (options->no_auto_compact)
        return refuse_option("automatic compaction", "lsm", "btree");
    return SOMBRA_OK;
}

static sombra_err codec_read(const char *option, const char *name, enum lsm_codec *out_codec)
{
    static const struct {
        const char *name;
        enum lsm_codec codec;
    } codecs[] = { { "none", LSM_CODEC_NONE },
                   { "lz4", LSM_CODEC_LZ4 },
                   { "zlib", LSM_CODEC_ZLIB },
                   { "zstd", LSM_CODEC_ZSTD } };
    *out_codec = LSM_CODEC_DEFAULT;
    for (size_t i = 0; name && i < COUNT_OF(codecs); i++) {
        if (strcmp(name, codecs[i].name) == 0)
            *out_codec = codecs[i].codec;
    }
    if (name && *out_codec == LSM_CODEC_DEFAULT)
        return diag_fail(SOMBRA_INVALID, "%s \"%s\" is none of none, lz4, zlib, zstd", option,
                         name);
    return SOMBRA_OK;
}

static sombra_err style_read(const char *name, enum lsm_compaction_style *out_style)
{
    *out_style = name && strcmp(name, "tiered") == 0 ? LSM_TIERED : LSM_LEVELED;
    if (name && *out_style == LSM_LEVELED && strcmp(name, "leveled") != 0)
        return diag_fail(SOMBRA_INVALID, "compaction \"%s\" is neither leveled nor tiered", name);
    return SOMBRA_OK;
}

static sombra_err open_lsm(const char *path, const sombra_options *options, uint64_t busy_ms,
                           struct kv **out_kv)
{
    struct lsm_options lsm = { .create = options->create,
                               .is_readonly = options->readonly,
                               .mode = options->mode,
                               .durability = (enum kv_durability)options->durability,
                               .busy_timeout_ms = busy_ms,
                               .sync_interval_ms = options->sync_interval_ms,
                               .group_wait_us = options->group_wait_us,
                               .txn_memory_max = options->txn_memory_max,
                               .memtable_bytes = options->memtable_bytes,
                               .block_bytes = options->block_bytes,
                               .filter_bits = options->filter_bits == SOMBRA_NO_FILTER
                                                  ? LSM_NO_FILTER
                                                  : options->filter_bits,
                               .table_bytes = options->table_bytes,
                               .level_bytes = options->level_bytes,
                               .level_ratio = options->level_ratio,
                               .threads = options->compaction_threads,
                               .rate_bytes = options->compaction_rate,
                               .cache_bytes = options->cache_bytes,
                               .memory_bytes = options->memory_bytes,
                               .allows_network = options->network_files,
                               .prefix = DB_LSM_PREFIX };
    sombra_err err = lsm_check(path, options);
    if (!err)
        err = codec_read("codec", options->codec, &lsm.codec);
    if (!err)
        err = codec_read("bottom_codec", options->bottom_codec, &lsm.bottom_codec);
    if (!err)
        err = style_read(options->compaction, &lsm.style);
    if (err)
        return diag_wrap(err, "open %s", path); /* as the engine does */
    return lsm_open(os_posix(), path, &lsm, out_kv);
}

static const struct engine engines[] = { { "btree", false, open_btree },
                                         { "lsm", true, open_lsm } };

static sombra_err stop_listing(void *context, const char *name)
{
    (void)context;
    (void)name;
    return SOMBRA_CANCELLED;
}

enum db_place db_place_of(const char *path)
{
    struct os_identity identity;
    if (os_identify_path(os_posix(), path, &identity))
        return DB_NOTHING;
    sombra_err err = os_list_directory(os_posix(), path, stop_listing, NULL);
    if (err && err != SOMBRA_CANCELLED)
        return DB_FILE;
    return DB_DIRECTORY;
}

/* Tables without a manifest are what is left of a database, and say so. */
static sombra_err refuse_directory(const char *path)
{
    sombra_err err = lsm_remains_check(os_posix(), path);
    return err ? err
               : diag_fail(SOMBRA_INVALID, "it is a directory without a database; a new one there "
                                           "is of the engine \"lsm\" (option engine)");
}

/* What is at the path decides; the option only for what is new, and it must not contradict. */
static sombra_err engine_choose(const char *path, const char *given, const struct engine **out)
{
    enum db_place place = db_place_of(path);
    const struct engine *engine = NULL;
    bool is_tables = false; /* of lsm */
    for (size_t i = 0; given && i < COUNT_OF(engines); i++) {
        if (strcmp(given, engines[i].name) == 0)
            engine = &engines[i];
    }
    if (given && !engine)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "there is no engine \"%s\"; this build has \"btree\" and \"lsm\"", given);
    if (place == DB_DIRECTORY) {
        sombra_err err = lsm_is_at(os_posix(), path, &is_tables);
        if (err)
            return err;
    }
    if (!engine)
        engine = &engines[is_tables];
    if (place == DB_DIRECTORY && !is_tables && !engine->is_directory)
        return refuse_directory(path);
    if (is_tables && !engine->is_directory)
        return diag_fail(SOMBRA_INVALID, "the database is of the engine \"lsm\", not \"%s\"",
                         given);
    if (place == DB_FILE && engine->is_directory)
        return diag_fail(SOMBRA_INVALID, "it is a file; a database of the engine \"lsm\" is a "
                                         "directory");
    *out = engine;
    return SOMBRA_OK;
}

sombra_err sombra_open(const char *path, const sombra_options *given, sombra_db **out_db)
{
    sombra_options options;
    const struct engine *engine = NULL;
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
    err = engine_choose(path, options.engine, &engine);
    if (err)
        err = diag_wrap(err, "open %s", path);
    else
        err = engine->open(path, &options, busy_ms, &kv);
    if (!err)
        err = diag_wrap(db_wrap(kv, &db), "open %s", path);
    if (err) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        if (kv && kv_close(kv)) {
            /* The first failure is what the caller must know. */
        }
        diag_restore(text);
        mem_free(copy);
        return err;
    }
    db->path = copy;
    db->is_readonly = options.readonly;
    db->busy_timeout_ms = busy_ms;
    *out_db = db;
    return SOMBRA_OK;
}
