/* SPDX-License-Identifier: MIT */
/* Repair: what the engine salvages, mended as a graph, and what verify says of the result. */
#include "db_internal.h"

#include "btree/btree.h"
#include "lsm/lsm.h"

static void report_fill(const struct btree_salvage_report *from, sombra_repair_report *to)
{
    to->pages = from->pages;
    to->page_bytes = from->page_bytes;
    to->pages_damaged = from->pages_damaged;
    to->entries = from->entries;
    to->entries_unreached = from->entries_unreached;
    to->entries_uncertain = from->entries_uncertain;
    to->entries_lost = from->entries_lost;
    to->is_lost_exact = from->is_lost_exact;
    to->is_log_incomplete = from->is_log_incomplete;
    to->values_lost = from->values_lost;
    to->ranges_lost = from->ranges_lost;
    to->txns_replayed = from->txns_replayed;
    to->problems = from->problems;
}

/* A table is what a page is there; what is lost with a block is not known. */
static sombra_err repair_tables(const char *path, const char *to, sombra_job *job,
                                sombra_repair_report *out)
{
    const struct lsm_salvage_options options = {
        .prefix = DB_LSM_PREFIX, .progress = db_progress, .problem = db_finding, .context = job
    };
    struct lsm_salvage_report salvage;
    sombra_err err = lsm_salvage(os_posix(), path, to, &options, &salvage);
    if (err)
        return err;
    out->pages = salvage.tables;
    out->pages_damaged = salvage.tables_damaged;
    out->entries = salvage.entries;
    out->entries_uncertain = salvage.entries_uncertain;
    out->is_lost_exact = salvage.tables_damaged == 0 && salvage.has_manifest;
    out->is_log_incomplete = salvage.is_log_incomplete;
    out->txns_replayed = salvage.txns_replayed;
    out->problems = salvage.problems;
    return SOMBRA_OK;
}

static sombra_err repair_pages(const char *path, const char *to, sombra_job *job,
                               sombra_repair_report *out)
{
    const struct btree_salvage_options options = { .progress = db_progress,
                                                   .problem = db_finding,
                                                   .context = job };
    struct btree_salvage_report salvage;
    sombra_err err = btree_salvage(os_posix(), path, to, &options, &salvage);
    if (!err)
        report_fill(&salvage, out);
    return err;
}

static void finding_left(const sombra_job *job, sombra_err err, sombra_repair_report *out)
{
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    out->problems_left++;
    db_finding((void *)(uintptr_t)job, &(struct kv_problem){ .code = err, .message = text });
}

static void problem_told(void *context, sombra_err code, const char *message)
{
    db_finding(context, &(struct kv_problem){ .code = code, .message = message });
}

/* Its graph as far as it can be told. A failure leaves a database, only less sound. */
static sombra_err mend_new(const char *path, sombra_job *job, sombra_repair_report *out)
{
    struct graph_mend mend = { .problem = problem_told, .context = job };
    sombra_options options = SOMBRA_OPTIONS_INIT;
    sombra_db *db = NULL;
    options.no_auto_compact = db_place_of(path) == DB_FILE;
    sombra_err err = sombra_open(path, &options, &db);
    if (!err)
        err = graph_mend(db->kv, &mend);
    out->entries_rebuilt = mend.rebuilt;
    out->entries_dropped = mend.dropped;
    out->edges_bare = mend.bare_edges;
    out->names_made = mend.names_made;
    out->rules_rebuilt = mend.rules_rebuilt;
    out->rules_dropped = mend.rules_dropped;
    out->problems_mended = mend.problems;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err closed = sombra_close(db);
    if (err)
        diag_restore(text);
    return err ? err : closed;
}

/* The new database is there and whole as a store; that its graph cannot be read is a finding. */
static sombra_err verify_new(const char *path, const sombra_job *job, sombra_repair_report *out)
{
    uint64_t problems = 0;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.readonly = true;
    sombra_db *db = NULL;
    sombra_err err = sombra_open(path, &options, &db);
    if (!err)
        err = sombra_db_verify(db, job, &problems);
    out->problems_left += problems;
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    sombra_err closed = sombra_close(db);
    (void)closed; /* it was only read */
    diag_restore(text);
    return err;
}

sombra_err sombra_repair(const char *path, const char *to, const sombra_job *given,
                         sombra_repair_report *report)
{
    sombra_job job;
    sombra_repair_report out = { 0 };
    assert(report);
    if (!path || !*path || !to || !*to)
        return diag_fail(SOMBRA_INVALID, "repair: no path is given");
    if (report->struct_bytes < sizeof report->struct_bytes)
        return diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    sombra_err err = options_read(given, &job, sizeof job);
    if (err)
        return err;
    enum db_place place = db_place_of(path);
    err = place == DB_DIRECTORY ? repair_tables(path, to, &job, &out)
                                : repair_pages(path, to, &job, &out);
    if (err)
        return err;
    job.progress = NULL; /* cancelling is over: the work is done */
    err = mend_new(to, &job, &out);
    if (err)
        finding_left(&job, err, &out);
    err = verify_new(to, &job, &out);
    if (err)
        finding_left(&job, err, &out);
    out.struct_bytes = report->struct_bytes;
    memcpy(report, &out, size_min(report->struct_bytes, sizeof out));
    return SOMBRA_OK;
}
