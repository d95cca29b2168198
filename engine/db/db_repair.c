/* SPDX-License-Identifier: MIT */
/* Repair: what the engine salvages, and what verify says of the result. */
#include "db_internal.h"

#include "btree/btree.h"

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

/* The new database is there and whole as a store; that its graph cannot be read is a finding. */
static void verify_new(const char *path, const sombra_job *given, uint64_t *out_problems)
{
    /* Cancelling is over: the work is done. */
    sombra_job job = SOMBRA_JOB_INIT;
    job.problem = given->problem;
    job.context = given->context;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.readonly = true;
    sombra_db *db = NULL;
    sombra_err err = sombra_open(path, &options, &db);
    if (!err)
        err = sombra_db_verify(db, &job, out_problems);
    if (err) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        *out_problems = 1;
        db_finding(&job, &(struct kv_problem){ .code = err, .message = text });
    }
    sombra_err closed = sombra_close(db);
    (void)closed; /* it was only read */
}

sombra_err sombra_repair(const char *path, const char *to, const sombra_job *given,
                         sombra_repair_report *report)
{
    sombra_job job;
    struct btree_salvage_report salvage;
    sombra_repair_report out = { 0 };
    assert(report);
    if (!path || !*path || !to || !*to)
        return diag_fail(SOMBRA_INVALID, "repair: no path is given");
    if (report->struct_bytes < sizeof report->struct_bytes)
        return diag_fail(SOMBRA_INVALID, "struct_bytes is not set; begin from the INIT macro");
    sombra_err err = options_read(given, &job, sizeof job);
    if (err)
        return err;
    const struct btree_salvage_options options = { .progress = db_progress,
                                                   .problem = db_finding,
                                                   .context = &job };
    err = btree_salvage(os_posix(), path, to, &options, &salvage);
    if (err)
        return err;
    report_fill(&salvage, &out);
    verify_new(to, &job, &out.problems_left);
    out.struct_bytes = report->struct_bytes;
    memcpy(report, &out, size_min(report->struct_bytes, sizeof out));
    return SOMBRA_OK;
}
