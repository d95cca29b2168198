/* SPDX-License-Identifier: MIT */
/* The options of a store: defaults and limits. */
#include "write_internal.h"

/* A number of the options: what 0 means, and what it may be. */
struct limits {
    const char *name; /* in words: the options of C and of Lua are called by different ones */
    uint64_t if_zero, min, max;
};

static sombra_err number_check(const struct limits *limits, uint64_t value)
{
    if (value >= limits->min && value <= limits->max)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_INVALID, "%s %" PRIu64 ": it may be from %" PRIu64 " to %" PRIu64,
                     limits->name, value, limits->min, limits->max);
}

static sombra_err complete_u64(struct limits limits, uint64_t *value)
{
    if (*value == 0)
        *value = limits.if_zero;
    return number_check(&limits, *value);
}

static sombra_err complete_size(struct limits limits, size_t *value)
{
    if (*value == 0)
        *value = (size_t)limits.if_zero;
    return number_check(&limits, *value);
}

static sombra_err complete_unsigned(struct limits limits, unsigned *value)
{
    if (*value == 0)
        *value = (unsigned)limits.if_zero;
    return number_check(&limits, *value);
}

#define LIMITS(name, if_zero, min, max) ((struct limits){ name, if_zero, min, max })

static sombra_err times_complete(struct lsm_options *out)
{
    enum { HOUR_MS = 3600000, SECOND_US = 1000000 };
    sombra_err err =
        complete_u64(LIMITS("sync interval in ms", 100, 1, HOUR_MS), &out->sync_interval_ms);
    if (!err)
        err = complete_u64(LIMITS("group wait in us", 100, 1, SECOND_US), &out->group_wait_us);
    if (out->durability == KV_DURABILITY_STORE)
        out->durability = KV_FULL;
    if (!err && (out->durability < KV_FULL || out->durability > KV_OFF))
        err = diag_fail(SOMBRA_INVALID, "option durability is %d: no such durability",
                        (int)out->durability);
    return err;
}

static sombra_err memory_complete(struct lsm_options *out)
{
    sombra_err err =
        complete_u64(LIMITS("memtable size", 32 * MiB, 4 * KiB, 16 * GiB), &out->memtable_bytes);
    if (!err)
        err = complete_u64(
            LIMITS("wal_bypass_bytes", u64_max(out->memtable_bytes / 2, 4 * MiB), 1, UINT64_MAX),
            &out->wal_bypass_bytes);
    /* The active one, one being made active and the one being flushed are in a view as well. */
    if (!err)
        err = complete_unsigned(LIMITS("memtables_max", 2, 1, VIEW_MEMTABLES_MAX - 4),
                                &out->memtables_max);
    if (!err)
        err = complete_size(LIMITS("cache size", 64 * MiB, 64 * KiB, SIZE_MAX / 2),
                            &out->cache_bytes);
    if (!err)
        err = complete_unsigned(LIMITS("tables_open_max", 512, 8, 1000000), &out->tables_open_max);
    return err;
}

static sombra_err tables_complete(struct lsm_options *out)
{
    sombra_err err = complete_size(LIMITS("block size", 16 * KiB, KiB, MiB), &out->block_bytes);
    if (!err && out->filter_bits != LSM_NO_FILTER)
        err = complete_unsigned(LIMITS("filter bits", 10, 1, 32), &out->filter_bits);
    if (!err)
        err = complete_u64(LIMITS("table size", 16 * MiB, 4 * KiB, 16 * GiB), &out->table_bytes);
    if (!err && out->prefix.bytes && (!out->prefix.name || !out->prefix.name[0]))
        err = diag_fail(SOMBRA_INVALID, "option prefix has no name: tables keep it");
    return err;
}

static sombra_err compaction_complete(struct lsm_options *out)
{
    sombra_err err =
        complete_u64(LIMITS("level size", 128 * MiB, 4 * KiB, UINT64_MAX >> 8), &out->level_bytes);
    if (!err)
        err = complete_unsigned(LIMITS("level ratio", 10, 2, 100), &out->level_ratio);
    if (!err)
        err = complete_unsigned(LIMITS("level0_compact", 4, 1, 1000), &out->level0_compact);
    if (!err)
        err = complete_unsigned(LIMITS("level0_slow", 12, 1, 10000), &out->level0_slow);
    if (!err)
        err = complete_unsigned(LIMITS("level0_stop", 24, 2, 10000), &out->level0_stop);
    if (!err)
        err = complete_unsigned(LIMITS("compaction threads", 1, 1, 64), &out->threads);
    if (!err && out->style != LSM_LEVELED && out->style != LSM_TIERED)
        err = diag_fail(SOMBRA_INVALID, "option style is %d: leveled is %d, tiered %d",
                        (int)out->style, (int)LSM_LEVELED, (int)LSM_TIERED);
    if (!err && (out->level0_slow < out->level0_compact || out->level0_stop < out->level0_slow))
        err = diag_fail(SOMBRA_INVALID,
                        "options level0_compact %u, level0_slow %u and level0_stop %u: each may be "
                        "no less than the one before",
                        out->level0_compact, out->level0_slow, out->level0_stop);
    return err;
}

/* What an option of codecs means in this build. */
static sombra_err codec_complete(const char *name, enum lsm_codec option, enum codec_id *out_codec)
{
    static const enum codec_id codecs[] = {
        [LSM_CODEC_NONE] = CODEC_NONE,
        [LSM_CODEC_ZLIB] = CODEC_ZLIB,
        [LSM_CODEC_LZ4] = CODEC_LZ4,
        [LSM_CODEC_ZSTD] = CODEC_ZSTD,
    };
    if ((unsigned)option >= COUNT_OF(codecs))
        return diag_fail(SOMBRA_INVALID, "option %s: there is no codec %u", name, (unsigned)option);
    enum codec_id codec = codecs[option];
    if (option == LSM_CODEC_DEFAULT)
        codec = codec_is_there(CODEC_LZ4) ? CODEC_LZ4 : CODEC_NONE;
    sombra_err err = diag_wrap(codec_check(codec), "option %s", name);
    if (!err)
        *out_codec = codec;
    return err;
}

sombra_err lsm_options_complete(const struct lsm_options *given, struct lsm_options *out,
                                enum codec_id *out_codec, enum codec_id *out_bottom_codec)
{
    struct lsm_options options = given ? *given : (struct lsm_options){ 0 };
    if (!options.mode)
        options.mode = 0600;
    if (options.bottom_codec == LSM_CODEC_DEFAULT)
        options.bottom_codec = options.codec;
    sombra_err err = times_complete(&options);
    if (!err)
        err = memory_complete(&options);
    if (!err)
        err = tables_complete(&options);
    if (!err)
        err = compaction_complete(&options);
    if (!err)
        err = codec_complete("codec", options.codec, out_codec);
    if (!err)
        err = codec_complete("bottom_codec", options.bottom_codec, out_bottom_codec);
    if (!err)
        *out = options;
    return err;
}
