/* SPDX-License-Identifier: MIT */
/* What the store does where memory is short (decision 0018): its tables and its cache do not fit
 * into what the system could keep of them together. A block in the cache then costs one in the
 * system's, which has it too, and as it is stored, compressed. So the cache is made small, and what
 * is freed goes back to the system. Nothing is fetched but what is asked for.
 */
#include "lsm_internal.h"

enum {
    CACHE_SHARE = 16, /* of memory, that the cache keeps where it is short */
    CACHE_MIN_BYTES = 1 << 20,
    EASE_PERCENT = 90,    /* it is short no more when all needs so much of it */
    FEW_BYTES = 32 << 20, /* of these nobody asks what memory there is */
};

static uint64_t tables_bytes(const struct version *version)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < version->count; i++)
        bytes += version->runs[i].bytes;
    return bytes;
}

/* For the tables' pages and the cache. */
static uint64_t memory_bytes(struct lsm *lsm)
{
    if (lsm->options.memory_bytes)
        return lsm->options.memory_bytes;
    uint64_t bytes = os_memory_bytes(lsm->os), used = cache_bytes(lsm->cache);
    return bytes < UINT64_MAX - used ? bytes + used : UINT64_MAX;
}

void lsm_memory_adapt(struct lsm *lsm, const struct version *version)
{
    uint64_t wanted = tables_bytes(version) + lsm->options.cache_bytes;
    bool was_short = cache_is_short(lsm->cache);
    if (wanted < FEW_BYTES && !lsm->options.memory_bytes && !was_short)
        return;
    uint64_t memory = memory_bytes(lsm);
    bool is_short = wanted > (was_short ? memory / 100 * EASE_PERCENT : memory);
    if (!is_short && !was_short)
        return;
    uint64_t bytes_max = lsm->options.cache_bytes;
    if (is_short)
        bytes_max = u64_min(bytes_max, u64_max(memory / CACHE_SHARE, CACHE_MIN_BYTES));
    cache_limit(lsm->cache, (size_t)bytes_max, is_short);
}

void lsm_memory_trim(struct lsm *lsm)
{
    if (cache_is_short(lsm->cache))
        mem_trim();
}
