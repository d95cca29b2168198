/* SPDX-License-Identifier: MIT */
/* Statistics, from what is in memory: no file is read, but with `walk` all keys are counted. */
#include "lsm_internal.h"

/* Puts less deletes, as if each delete met a put of another table: an estimate. */
static uint64_t entries_estimate(const struct view *view)
{
    uint64_t puts = 0, deletes = 0;
    for (size_t i = 0; i < view->count; i++)
        puts += memtable_entries(view->memtables[i]);
    for (size_t i = 0; i < view->version->count; i++) {
        const struct version_run *run = &view->version->runs[i];
        for (size_t k = 0; k < run->count; k++) {
            puts += run->tables[k]->meta.entries - run->tables[k]->meta.deletes;
            deletes += run->tables[k]->meta.deletes;
        }
    }
    return puts > deletes ? puts - deletes : 0;
}

static sombra_err entries_count(struct lsm *lsm, uint64_t *out_entries)
{
    struct kv_txn *txn;
    sombra_err err = lsm_begin(&lsm->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    err = lsm_count(txn, (struct kv_range){ 0 }, 0, out_entries);
    lsm_abort(txn);
    return err;
}

static void view_measure(struct lsm *lsm, const struct view *view, struct kv_stats *stats)
{
    version_levels(view->version, stats->level);
    stats->levels = LSM_LEVELS;
    for (unsigned i = 0; i < LSM_LEVELS; i++) {
        stats->file_bytes += stats->level[i].bytes;
        if (stats->level[i].tables)
            stats->depth = i + 1;
    }
    for (size_t i = 0; i < view->count; i++)
        stats->memtable_bytes += memtable_bytes(view->memtables[i]);
    stats->entries = entries_estimate(view);
    stats->compaction_debt_bytes = lsm_compaction_debt(lsm, view->version);
}

static void counters_read(struct lsm *lsm, struct kv_stats *stats)
{
    stats->commits = kv_metrics_count(&lsm->metrics, KV_COUNTER_COMMITS);
    stats->checkpoints = kv_metrics_count(&lsm->metrics, KV_COUNTER_CHECKPOINTS);
    stats->txn = atomic_load(&lsm->seq);
    stats->lsn = stats->txn;
    stats->durable_lsn = atomic_load(&lsm->durable_seq);
    stats->cache_bytes = cache_bytes(lsm->cache);
    stats->refuses_writes = atomic_load(&lsm->is_failed);
}

static void totals_read(struct lsm *lsm, struct kv_totals *to)
{
    uint64_t totals[TOTAL_COUNT];
    lsm_totals(lsm, totals);
    *to = (struct kv_totals){ .commit_bytes = totals[TOTAL_COMMIT_BYTES],
                              .log_bytes = totals[TOTAL_LOG_BYTES],
                              .flush_bytes = totals[TOTAL_FLUSH_BYTES],
                              .compaction_bytes = totals[TOTAL_COMPACTION_BYTES],
                              .filter_skips = totals[TOTAL_FILTER_SKIPS],
                              .filter_false_positives = totals[TOTAL_FILTER_FALSE],
                              .stalls = totals[TOTAL_STALLS],
                              .stall_ns = totals[TOTAL_STALL_NS] };
}

sombra_err lsm_stats(struct lsm *lsm, struct kv_maintenance *job)
{
    struct kv_stats stats = { 0 };
    if (job->walk) {
        sombra_err err = entries_count(lsm, &stats.entries);
        if (err)
            return err;
    }
    uint64_t counted = stats.entries;
    struct view *view = view_acquire(lsm);
    view_measure(lsm, view, &stats);
    view_release(view);
    if (job->walk) {
        stats.entries = counted;
        stats.is_entries_exact = true;
    }
    counters_read(lsm, &stats);
    totals_read(lsm, &stats.totals);
    stats.log_bytes = lsm_logs_bytes(lsm);
    lsm_readers_measure(lsm, &stats);
    /* The memory of indexes and filters is charged to the cache. */
    stats.memory_bytes = stats.memtable_bytes + stats.cache_bytes;
    job->stats = stats;
    return SOMBRA_OK;
}
