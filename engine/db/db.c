/* SPDX-License-Identifier: MIT */
#include "db_internal.h"

static_assert((int)SOMBRA_LEVELS_MAX == (int)KV_LEVELS_MAX, "the same in both headers");

const char *sombra_version(void)
{
#define TEXT_OF(number)              #number
#define VERSION(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)
    return VERSION(SOMBRA_VERSION_MAJOR, SOMBRA_VERSION_MINOR, SOMBRA_VERSION_PATCH);
#undef VERSION
#undef TEXT_OF
}

sombra_err options_read(const void *from, void *to, size_t bytes)
{
    size_t given;
    memset(to, 0, bytes);
    memcpy(to, &bytes, sizeof bytes);
    if (!from)
        return SOMBRA_OK;
    memcpy(&given, from, sizeof given);
    if (given < sizeof given)
        return diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    for (size_t i = bytes; i < given; i++) {
        if (((const uint8_t *)from)[i])
            return diag_fail(SOMBRA_UNSUPPORTED, "an option that version %s does not know is set",
                             sombra_version());
    }
    memcpy(to, from, size_min(given, bytes));
    return SOMBRA_OK;
}

/* ---- life -------------------------------------------------------------------------------- */

static sombra_err check_format(struct kv *kv)
{
    struct kv_txn *txn;
    sombra_err err = kv_begin(kv, &(struct kv_begin_options){ .is_write = false }, &txn);
    if (err)
        return err;
    err = graph_check_format(txn);
    kv_abort(txn);
    return err;
}

sombra_err db_wrap(struct kv *kv, sombra_db **out_db)
{
    assert(kv && out_db);
    sombra_err err = check_format(kv);
    if (err)
        return err;
    sombra_db *db = mem_zalloc(sizeof *db);
    if (!db)
        return diag_nomem("a database handle", sizeof *db);
    db->kv = kv;
    db->busy_timeout_ms = DB_BUSY_TIMEOUT_MS;
    db->fork_number = atomic_load(&os_fork_number);
    err = os_mutex_init(&db->mutex);
    if (err)
        goto no_mutex;
    err = graph_init(&db->graph);
    if (err)
        goto no_graph;
    *out_db = db;
    return SOMBRA_OK;
no_graph:
    os_mutex_release(&db->mutex);
no_mutex:
    mem_free(db);
    return err;
}

sombra_err sombra_close(sombra_db *db)
{
    if (!db || os_is_inherited(db->fork_number))
        return SOMBRA_OK;
    txn_unready(db);
    while (db->txns)
        txn_orphan(db->txns);
    while (db->spare_txns) {
        sombra_txn *spare = db->spare_txns;
        db->spare_txns = spare->next;
        txn_free(spare);
    }
    sombra_db_listen(db, NULL, NULL);
    sombra_err err = kv_close(db->kv);
    assert(err != SOMBRA_BUSY); /* no transaction is left */
    graph_release(&db->graph);
    os_mutex_release(&db->mutex);
    mem_free(db->path);
    mem_free(db);
    return diag_wrap(err, "close");
}

const char *sombra_db_path(const sombra_db *db)
{
    return db->path ? db->path : "";
}

const char *sombra_db_engine(const sombra_db *db)
{
    return db->kv->ops->name;
}

bool sombra_db_is_readonly(const sombra_db *db)
{
    return db->is_readonly;
}

/* ---- statistics -------------------------------------------------------------------------- */

static sombra_err count_graph(sombra_db *db, sombra_stats *stats)
{
    sombra_txn *txn;
    sombra_err err = sombra_txn_begin(db, NULL, &txn);
    if (err)
        return err;
    err = sombra_node_count(txn, (sombra_slice){ NULL, 0 }, &stats->nodes);
    if (!err)
        err = sombra_edge_count(txn, (sombra_slice){ NULL, 0 }, &stats->edges);
    sombra_txn_close(txn);
    return err;
}

static unsigned count_open(sombra_db *db)
{
    return atomic_load_explicit(&db->txn_count, memory_order_relaxed);
}

static void stats_of_levels(const struct kv_stats *kv, sombra_stats *out)
{
    out->is_entries_estimate = !kv->is_entries_exact;
    out->levels = kv->levels;
    for (unsigned i = 0; i < kv->levels; i++) {
        const struct kv_level_stats *level = &kv->level[i];
        out->level[i] = (sombra_level_stats){ .runs = level->runs,
                                              .tables = level->tables,
                                              .bytes = level->bytes,
                                              .entries = level->entries,
                                              .deletes = level->deletes };
    }
    out->memtable_bytes = kv->memtable_bytes;
    out->cache_bytes = kv->cache_bytes;
    out->compaction_debt_bytes = kv->compaction_debt_bytes;
    out->total_commit_bytes = kv->totals.commit_bytes;
    out->total_log_bytes = kv->totals.log_bytes;
    out->total_flush_bytes = kv->totals.flush_bytes;
    out->total_compaction_bytes = kv->totals.compaction_bytes;
    out->total_filter_skips = kv->totals.filter_skips;
    out->total_filter_false_positives = kv->totals.filter_false_positives;
    out->total_stalls = kv->totals.stalls;
    out->total_stall_ns = kv->totals.stall_ns;
}

sombra_err sombra_db_stats(sombra_db *db, sombra_stats *stats)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    sombra_stats out = { 0 };
    assert(db && stats);
    if (stats->struct_bytes < sizeof stats->struct_bytes)
        return diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    out.txns_open = count_open(db);
    sombra_err err = kv_maintain(db->kv, &job);
    if (!err)
        err = count_graph(db, &out);
    if (err)
        return diag_wrap(err, "statistics");
    const struct kv_stats *kv = &job.stats;
    out.entries = kv->entries;
    out.txn = kv->txn;
    out.lsn = kv->lsn;
    out.durable_lsn = kv->durable_lsn;
    out.depth = kv->depth;
    out.page_bytes = kv->page_bytes;
    out.pages_total = kv->pages_total;
    out.pages_free = kv->pages_free;
    out.pages_pending = kv->pages_pending;
    out.pages_read = kv->pages_read;
    out.file_bytes = kv->file_bytes;
    out.log_bytes = kv->log_bytes;
    out.memory_bytes = kv->memory_bytes;
    out.readers = kv->readers;
    out.oldest_reader_txn = kv->oldest_reader_txn;
    out.oldest_reader_age_ms = kv->oldest_reader_age_ms;
    out.oldest_reader_process = kv->oldest_reader_process;
    out.checkpoints = kv->checkpoints;
    out.commits = kv->commits;
    out.compact_txn = kv->compact_txn;
    out.compact_pages_moved = kv->compact_pages_moved;
    out.compact_pages_returned = kv->compact_pages_returned;
    stats_of_levels(kv, &out);
    out.refuses_writes = kv->refuses_writes;
    out.struct_bytes = stats->struct_bytes;
    memcpy(stats, &out, size_min(stats->struct_bytes, sizeof out));
    return SOMBRA_OK;
}

/* ---- maintenance ------------------------------------------------------------------------- */

/* The engine's findings and the graph's, in the caller's form. */
void db_finding(void *context, const struct kv_problem *problem)
{
    const sombra_job *job = context;
    if (job->problem)
        job->problem(job->context, &(sombra_problem){ .code = problem->code,
                                                      .page = problem->page,
                                                      .message = problem->message });
}

static void graph_finding(void *context, sombra_err code, const char *message)
{
    const sombra_job *job = context;
    if (job->problem)
        job->problem(job->context, &(sombra_problem){ .code = code, .message = message });
}

bool db_progress(void *context, uint64_t done, uint64_t total)
{
    const sombra_job *job = context;
    return !job->progress || job->progress(job->context, done, total);
}

/* What the handle's writers wait, in the terms of jobs. Compactions, which step aside for everybody
 * all the time, wait as long as it takes. */
static uint64_t wait_ms_max(const sombra_db *db, enum kv_maintenance_kind kind)
{
    bool is_bounded = kind == KV_CHECKPOINT || kind == KV_VERIFY;
    return is_bounded ? u64_max(db->busy_timeout_ms, 1) : UINT64_MAX;
}

static sombra_err maintain(sombra_db *db, enum kv_maintenance_kind kind, const sombra_job *given,
                           const char *path)
{
    sombra_job job;
    assert(db);
    sombra_err err = options_read(given, &job, sizeof job);
    if (err)
        return err;
    return kv_maintain(db->kv, &(struct kv_maintenance){ .kind = kind,
                                                         .progress = db_progress,
                                                         .context = &job,
                                                         .wait_ms_max = wait_ms_max(db, kind),
                                                         .path = path });
}

sombra_err sombra_db_checkpoint(sombra_db *db, const sombra_job *job)
{
    return diag_wrap(maintain(db, KV_CHECKPOINT, job, NULL), "checkpoint");
}

sombra_err sombra_db_compact(sombra_db *db, const sombra_job *job)
{
    return diag_wrap(maintain(db, KV_COMPACT, job, NULL), "compact");
}

sombra_err sombra_db_backup(sombra_db *db, const char *path, const sombra_job *job)
{
    if (!path || !*path)
        return diag_fail(SOMBRA_INVALID, "backup: no path is given");
    return diag_wrap(maintain(db, KV_BACKUP, job, path), "backup to %s", path);
}

sombra_err sombra_db_refresh(sombra_db *db)
{
    return diag_wrap(maintain(db, KV_REFRESH, NULL, NULL), "refresh");
}

static sombra_err verify_graph(sombra_db *db, sombra_job *job, uint64_t *out_problems)
{
    struct graph_check check = { .problem = graph_finding,
                                 .progress = db_progress,
                                 .context = job };
    sombra_txn *txn;
    sombra_err err = sombra_txn_begin(db, NULL, &txn);
    if (err)
        return err;
    err = graph_verify(&txn->graph, &check);
    sombra_txn_close(txn);
    if (!err)
        *out_problems = check.problems;
    return err;
}

sombra_err sombra_db_verify(sombra_db *db, const sombra_job *given, uint64_t *out_problems)
{
    sombra_job job;
    uint64_t in_graph = 0;
    struct kv_maintenance in_store = { .kind = KV_VERIFY,
                                       .progress = db_progress,
                                       .context = &job,
                                       .wait_ms_max = wait_ms_max(db, KV_VERIFY),
                                       .problem = db_finding };
    assert(db && out_problems);
    sombra_err err = options_read(given, &job, sizeof job);
    if (!err)
        err = kv_maintain(db->kv, &in_store);
    if (!err)
        err = verify_graph(db, &job, &in_graph);
    if (err)
        return diag_wrap(err, "verify");
    *out_problems = in_store.problems + in_graph;
    return SOMBRA_OK;
}
