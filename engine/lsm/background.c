/* SPDX-License-Identifier: MIT */
/* The threads of a store. One flushes full memtables, and syncs what KV_NORMAL left unsynced; as
 * many others as the options say compact, or do a part of another's compaction. Each starts with
 * the first need. A failure is kept for who waits, and the work tried again, later each time.
 */
#include "compaction.h"

enum {
    RETRY_MS = 50, /* after the first failure; doubled with each further one */
    RETRY_MS_MAX = 10 * 1000,
    LOOK_AGAIN_MS = 1000,
    PAY_SLICE_US = 20 * 1000, /* how long a paced compaction sleeps before it looks up */
};

/* ---- spans --------------------------------------------------------------------------------- */

void background_span_add(struct lsm *lsm, const struct compaction_span *span)
{
    struct lsm_background *background = lsm->background;
    assert(background->span_count < BACKGROUND_SPANS_MAX);
    background->spans[background->span_count++] = *span;
}

void background_span_remove(struct lsm *lsm, const void *owner)
{
    struct lsm_background *background = lsm->background;
    size_t i = 0;
    while (i < background->span_count && background->spans[i].owner != owner)
        i++;
    assert(i < background->span_count);
    background->spans[i] = background->spans[--background->span_count];
}

/* ---- failures ------------------------------------------------------------------------------ */

/* In real time: no machine is simulated in its threads. */
static uint64_t retry_at_ns(unsigned failures)
{
    uint64_t wait_ms = RETRY_MS;
    for (unsigned i = 1; i < failures && wait_ms < RETRY_MS_MAX; i++)
        wait_ms *= 2;
    return os_monotonic_ns(os_posix()) + u64_min(wait_ms, RETRY_MS_MAX) * 1000000;
}

void background_note_failure(struct background_failure *failure, sombra_err err)
{
    assert(err);
    diag_save(failure->text);
    failure->err = err;
    failure->in_row++;
    failure->at_ns = os_monotonic_ns(os_posix());
    failure->retry_ns = retry_at_ns(failure->in_row);
}

static bool may_try(const struct background_failure *failure)
{
    return failure->in_row == 0 || os_monotonic_ns(os_posix()) >= failure->retry_ns;
}

static void note_outcome(struct compaction_job *job, sombra_err err)
{
    struct lsm_background *background = job->lsm->background;
    if (!err) {
        background->compaction_failure.in_row = 0;
    } else if (err != SOMBRA_CANCELLED) {
        background_note_failure(&background->compaction_failure, err);
        background->corrupt += err == SOMBRA_CORRUPT;
    }
}

/* ---- rate ---------------------------------------------------------------------------------- */

void background_pay(struct lsm *lsm, uint64_t bytes)
{
    uint64_t rate = lsm->options.rate_bytes;
    if (rate == 0 || bytes == 0)
        return;
    struct lsm_background *background = lsm->background;
    os_mutex_lock(&lsm->mutex);
    uint64_t now_ns = os_monotonic_ns(lsm->os);
    uint64_t from_ns = u64_max(background->rate_next_ns, now_ns);
    from_ns += (uint64_t)((double)bytes * 1e9 / (double)rate);
    background->rate_next_ns = from_ns;
    os_mutex_unlock(&lsm->mutex);
    while (now_ns < from_ns && !atomic_load(&background->is_stopping)) {
        os_sleep_us(lsm->os, u64_min((from_ns - now_ns) / 1000 + 1, PAY_SLICE_US));
        now_ns = os_monotonic_ns(lsm->os);
    }
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void job_mark(const struct compaction_job *job, bool is_compacting)
{
    for (size_t i = 0; i < job->pick.input_count; i++) {
        const struct compaction_input *in = &job->pick.inputs[i];
        for (size_t j = in->first; j < in->first + in->count; j++)
            atomic_store(&job->version->runs[in->run].tables[j]->is_compacting, is_compacting);
    }
}

static void job_begin(struct compaction_job *job)
{
    struct lsm_background *background = job->lsm->background;
    unsigned first_level = job->version->runs[job->pick.inputs[0].run].level;
    job->span = (struct compaction_span){ .first_level = first_level,
                                          .level = job->pick.level,
                                          .low = job->pick.low,
                                          .end = job->pick.end,
                                          .owner = job };
    job_mark(job, true);
    background_span_add(job->lsm, &job->span);
    job->next = background->jobs;
    background->jobs = job;
}

static void job_end(struct compaction_job *job, sombra_err err)
{
    struct lsm *lsm = job->lsm;
    struct lsm_background *background = lsm->background;
    struct compaction_job **at = &background->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    background_span_remove(lsm, job);
    note_outcome(job, err);
    /* Damaged inputs stay marked: no job of this process takes them again. Those of a merge that
     * succeeded are in no newer version. */
    if (err ? err != SOMBRA_CORRUPT : job->pick.is_move)
        job_mark(job, false);
    atomic_store(&background->debt, policy_debt(lsm->view->version, &lsm->options));
    os_condition_broadcast(&lsm->changed);
    os_condition_broadcast(&background->wake);
}

/* Runs a job whose pick and version are set, and lets go of the version. Mutex held on
 * entry and return, free meanwhile. */
static sombra_err job_run(struct compaction_job *job)
{
    struct lsm *lsm = job->lsm;
    job_begin(job);
    os_mutex_unlock(&lsm->mutex);
    sombra_err err = compaction_run(job);
    os_mutex_lock(&lsm->mutex);
    job_end(job, err);
    os_mutex_unlock(&lsm->mutex);
    version_unref(job->version);
    lsm_memory_trim(lsm);
    os_mutex_lock(&lsm->mutex);
    return err;
}

bool background_compact_one(struct lsm *lsm, sombra_err *out_err)
{
    struct lsm_background *background = lsm->background;
    if (background->is_exclusive || atomic_load(&background->is_stopping) ||
        atomic_load(&lsm->is_failed) || !may_try(&background->compaction_failure))
        return false;
    struct policy_input input = { .version = lsm->view->version,
                                  .options = &lsm->options,
                                  .spans = background->spans,
                                  .span_count = background->span_count };
    struct compaction_job job = { .lsm = lsm, .ranges = RANGE_SET_INIT };
    if (!policy_pick(&input, &job.pick))
        return false;
    job.version = lsm->view->version;
    version_ref(job.version);
    *out_err = job_run(&job);
    return true;
}

/* A part of somebody's job. */
static bool help_one(struct lsm *lsm)
{
    struct compaction_job *job = lsm->background->jobs;
    while (job && (job->shards_left == 0 || job->shard_next == job->shard_count))
        job = job->next;
    if (!job)
        return false;
    size_t index = job->shard_next++;
    os_mutex_unlock(&lsm->mutex);
    compaction_run_shard(job, index, false);
    os_mutex_lock(&lsm->mutex);
    job->shards_left--; /* the owner may free the job once the mutex is free */
    os_condition_broadcast(&lsm->changed);
    return true;
}

/* ---- threads ------------------------------------------------------------------------------- */

static uint64_t until_ms(const struct background_failure *failure)
{
    if (failure->in_row == 0)
        return UINT64_MAX;
    uint64_t now_ns = os_monotonic_ns(os_posix());
    /* Past it, all was just tried that could be: no need to spin. */
    return failure->retry_ns > now_ns ? (failure->retry_ns - now_ns) / 1000000 + 1 : LOOK_AGAIN_MS;
}

static bool flush_is_due(struct lsm *lsm)
{
    struct lsm_background *background = lsm->background;
    return lsm->full_oldest && !background->is_flushing && !atomic_load(&lsm->is_failed) &&
           may_try(&background->flush_failure);
}

static void *compactor_main(void *argument)
{
    struct lsm *lsm = argument;
    struct lsm_background *background = lsm->background;
    os_mutex_lock(&lsm->mutex);
    while (!atomic_load(&background->is_stopping)) {
        sombra_err err;
        /* Failures are kept and tried again: they are nobody's to handle here. */
        if (help_one(lsm) || background_compact_one(lsm, &err))
            continue;
        os_condition_wait(&background->wake, &lsm->mutex,
                          until_ms(&background->compaction_failure));
    }
    os_mutex_unlock(&lsm->mutex);
    return NULL;
}

static bool compaction_is_due(struct lsm *lsm)
{
    struct policy_input input = { .version = lsm->view->version,
                                  .options = &lsm->options,
                                  .spans = lsm->background->spans,
                                  .span_count = lsm->background->span_count };
    struct pick pick;
    return policy_pick(&input, &pick);
}

/* A thread that cannot be started now is tried again at the next need; until then lsm_stall does
 * the work. */
static void start_compactors(struct lsm *lsm)
{
    struct lsm_background *background = lsm->background;
    unsigned wanted = lsm->options.threads;
    if (wanted > BACKGROUND_THREADS_MAX)
        wanted = BACKGROUND_THREADS_MAX;
    if (background->thread_count == wanted || atomic_load(&background->is_stopping) ||
        !compaction_is_due(lsm))
        return;
    while (background->thread_count < wanted &&
           os_thread_start(&background->threads[background->thread_count], compactor_main, lsm) ==
               SOMBRA_OK)
        background->thread_count++;
}

/* Flushes, and syncs what KV_NORMAL left unsynced. */
static void *flusher_main(void *argument)
{
    struct lsm *lsm = argument;
    struct lsm_background *background = lsm->background;
    os_mutex_lock(&lsm->mutex);
    while (!atomic_load(&background->is_stopping)) {
        if (flush_is_due(lsm)) {
            if (flush_oldest(lsm, true) == SOMBRA_OK) {
                start_compactors(lsm);
                os_condition_broadcast(&background->wake);
            }
            continue;
        }
        uint64_t wakes = background->wakes, wait_ms = UINT64_MAX, mark_ms = UINT64_MAX;
        os_mutex_unlock(&lsm->mutex);
        /* A failed sync or mark has made the store refuse writes: it will not be due again. */
        if (lsm_sync_due(lsm, &wait_ms) != SOMBRA_OK || lsm_mark_due(lsm, &mark_ms) != SOMBRA_OK)
            wait_ms = RETRY_MS;
        wait_ms = u64_min(wait_ms, mark_ms);
        os_mutex_lock(&lsm->mutex);
        if (wakes != background->wakes || flush_is_due(lsm) ||
            atomic_load(&background->is_stopping))
            continue;
        uint64_t retry_ms = lsm->full_oldest ? until_ms(&background->flush_failure) : UINT64_MAX;
        os_condition_wait(&background->wake, &lsm->mutex, u64_min(wait_ms, retry_ms));
    }
    os_mutex_unlock(&lsm->mutex);
    return NULL;
}

/* ---- start, stop --------------------------------------------------------------------------- */

/* Threads start with the first need: a short script pays nothing. */
sombra_err lsm_background_start(struct lsm *lsm)
{
    assert(!lsm->background);
    struct lsm_background *background = mem_zalloc(sizeof(*background));
    if (!background)
        return diag_nomem("background work", sizeof(*background));
    sombra_err err = os_condition_init(&background->wake);
    if (err) {
        mem_free(background);
        return err;
    }
    lsm->background = background;
    return SOMBRA_OK;
}

void lsm_background_stop(struct lsm *lsm)
{
    struct lsm_background *background = lsm->background;
    if (!background)
        return;
    os_mutex_lock(&lsm->mutex);
    atomic_store(&background->is_stopping, true);
    os_condition_broadcast(&background->wake);
    os_condition_broadcast(&lsm->changed);
    os_mutex_unlock(&lsm->mutex);
    if (background->has_flusher)
        os_thread_join(&background->flusher);
    for (unsigned i = 0; i < background->thread_count; i++)
        os_thread_join(&background->threads[i]);
    assert(!background->jobs && background->span_count == 0);
    lsm->background = NULL;
    os_condition_release(&background->wake);
    mem_free(background);
}

void lsm_background_wake(struct lsm *lsm)
{
    struct lsm_background *background = lsm->background;
    if (!background || lsm->options.no_background || lsm->options.is_readonly)
        return;
    os_mutex_lock(&lsm->mutex);
    background->wakes++;
    if (!background->has_flusher && !atomic_load(&background->is_stopping))
        background->has_flusher =
            os_thread_start(&background->flusher, flusher_main, lsm) == SOMBRA_OK;
    start_compactors(lsm);
    os_condition_broadcast(&background->wake);
    os_mutex_unlock(&lsm->mutex);
}

/* ---- compact everything -------------------------------------------------------------------- */

static sombra_err ask_progress(struct kv_maintenance *job)
{
    if (job->progress && !job->progress(job->context, 0, 1))
        return diag_fail(SOMBRA_CANCELLED, "the compaction was cancelled");
    return SOMBRA_OK;
}

static bool is_alone(const struct lsm_background *background)
{
    /* A flush on its way into a deeper level has a span and no job. */
    for (size_t i = 0; i < background->span_count; i++)
        if (background->spans[i].level > 0)
            return false;
    return !background->jobs;
}

/* Mutex held. Waits for the running jobs while none begins; the caller ends is_exclusive. */
static sombra_err wait_alone(struct lsm *lsm, struct kv_maintenance *job)
{
    struct lsm_background *background = lsm->background;
    sombra_err err = SOMBRA_OK;
    while (!err && background->is_exclusive) {
        os_condition_wait(&lsm->changed, &lsm->mutex, RETRY_MS);
        os_mutex_unlock(&lsm->mutex);
        err = ask_progress(job);
        os_mutex_lock(&lsm->mutex);
    }
    if (err)
        return err;
    background->is_exclusive = true;
    while (!err && !is_alone(background)) {
        os_condition_wait(&lsm->changed, &lsm->mutex, RETRY_MS);
        os_mutex_unlock(&lsm->mutex);
        err = ask_progress(job);
        os_mutex_lock(&lsm->mutex);
    }
    if (err)
        background->is_exclusive = false;
    return err;
}

static sombra_err compact_oldest(struct lsm *lsm, uint64_t newest_run,
                                 struct kv_maintenance *maintenance, bool *out_done)
{
    struct lsm_background *background = lsm->background;
    sombra_err err = wait_alone(lsm, maintenance);
    if (err)
        return err;
    struct compaction_job job = { .lsm = lsm,
                                  .maintenance = maintenance,
                                  .ranges = RANGE_SET_INIT };
    background->is_exclusive = false;
    if (!policy_pick_all(lsm->view->version, newest_run, &job.pick)) {
        *out_done = true;
        os_condition_broadcast(&background->wake);
        return SOMBRA_OK;
    }
    for (size_t i = 0; i < job.pick.input_count; i++) {
        const struct version_run *run = &lsm->view->version->runs[job.pick.inputs[i].run];
        for (size_t j = 0; j < run->count; j++)
            if (atomic_load(&run->tables[j]->is_compacting))
                return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " cannot be compacted: %s",
                                 run->tables[j]->meta.number, background->compaction_failure.text);
    }
    job.version = lsm->view->version;
    version_ref(job.version);
    return job_run(&job);
}

sombra_err lsm_compact_all(struct lsm *lsm, struct kv_maintenance *job)
{
    sombra_err err = lsm_flush_all(lsm, job);
    if (err)
        return err;
    bool is_done = false;
    os_mutex_lock(&lsm->mutex);
    uint64_t newest_run = lsm->next_run;
    while (!err && !is_done)
        err = compact_oldest(lsm, newest_run, job, &is_done);
    os_mutex_unlock(&lsm->mutex);
    return err;
}
