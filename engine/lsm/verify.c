/* SPDX-License-Identifier: MIT */
/* Verify: every table of a view, by itself and against what the version says of it, and the order
 * of all keys as a reader sees them. What the view has stays, so that writers go on. */
#include "lsm_internal.h"

struct verify {
    struct kv_maintenance *job;
    struct lsm *lsm;
    uint64_t done, total; /* tables */
};

static void finding(struct verify *verify, const struct version_table *table, sombra_err code,
                    const char *message)
{
    verify->job->problems++;
    if (verify->job->problem)
        verify->job->problem(verify->job->context,
                             &(struct kv_problem){ .code = code,
                                                   .page = table ? table->meta.number : 0,
                                                   .message = message });
}

static sombra_err progress(struct verify *verify)
{
    const struct kv_maintenance *job = verify->job;
    if (!job->progress || job->progress(job->context, verify->done, verify->total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " tables",
                     verify->done, verify->total);
}

/* Damage is a finding; what says nothing of the table (memory, an I/O error) ends the walk. */
static sombra_err table_check(struct verify *verify, struct version_table *listed)
{
    struct table *table;
    uint64_t problems = 0;
    sombra_err err = version_table_open(listed, &table);
    if (!err) {
        err = table_verify(table, verify->job->problem, verify->job->context, &problems);
        verify->job->problems += problems;
        table_unref(table);
    }
    if (err == SOMBRA_CORRUPT || err == SOMBRA_NOT_FOUND) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        finding(verify, listed, err, text);
        err = SOMBRA_OK;
    }
    verify->done++;
    return err ? err : progress(verify);
}

static sombra_err run_check(struct verify *verify, const struct version_run *run)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < run->count && !err; i++) {
        const struct table_meta *meta = &run->tables[i]->meta;
        if (i > 0 && slice_compare(run->tables[i - 1]->meta.end, meta->low) > 0)
            finding(verify, run->tables[i], SOMBRA_CORRUPT,
                    "the table overlaps the one before it in its run");
        err = table_check(verify, run->tables[i]);
    }
    return err;
}

/* What a reader sees, end to end: it must ascend and each key must be found by itself. */
static sombra_err keys_check(struct verify *verify)
{
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    struct buf last = BUF_INIT;
    bool found = true;
    sombra_err err = lsm_begin(&verify->lsm->kv, &(struct kv_begin_options){ 0 }, &txn);
    if (err)
        return err;
    err = lsm_cursor_open(txn, (struct kv_range){ 0 }, &cursor);
    if (err)
        goto no_cursor;
    while (!(err = lsm_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found)) && found) {
        bool has;
        if (last.bytes && slice_compare(buf_slice(&last), cursor->entry.key) >= 0)
            finding(verify, NULL, SOMBRA_CORRUPT, "keys do not ascend over the tables");
        err = buf_set(&last, cursor->entry.key);
        if (!err)
            err = lsm_has(lsm_txn_of(txn), buf_slice(&last), &has);
        if (err)
            break;
        if (!has)
            finding(verify, NULL, SOMBRA_CORRUPT, "a key that a scan gives is not found by itself");
    }
    lsm_cursor_close(cursor);
no_cursor:
    lsm_abort(txn);
    buf_release(&last);
    return err;
}

sombra_err lsm_verify(struct lsm *lsm, struct kv_maintenance *job)
{
    struct verify verify = { .job = job, .lsm = lsm };
    sombra_err err;
    job->problems = 0;
    struct view *view = view_acquire(lsm);
    const struct version *version = view->version;
    for (size_t i = 0; i < version->count; i++)
        verify.total += version->runs[i].count;
    err = progress(&verify); /* there may be no table */
    for (size_t i = 0; i < version->count && !err; i++)
        err = run_check(&verify, &version->runs[i]);
    view_release(view);
    if (!err && job->problems == 0)
        err = keys_check(&verify);
    return err;
}
