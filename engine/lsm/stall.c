/* SPDX-License-Identifier: MIT */
/* Writers are slowed before they are stopped: the delay grows with the square of how far level 0,
 * or the debt, has come on the way to where nothing goes any more.
 */
#include "compaction.h"

#include <stdio.h>

enum {
    DELAY_US_MAX = 1000,
    DEBT_LEVELS_SLOW = 32, /* debts of so many level_bytes begin to delay */
    DEBT_LEVELS_FULL = 128,
    WAIT_MS = 100,      /* between two looks while stopped */
    RETRY_SOON_MS = 50, /* after a failure, where a writer waits */
};

struct pressure {
    bool is_stopped;
    bool is_flush; /* by flushes, not compactions */
    uint64_t delay_us;
    const char *reason;
    size_t runs;
};

static double fraction(double value, double from, double to)
{
    if (value < from)
        return 0;
    return to > from && value < to ? (value - from + 1) / (to - from + 1) : 1;
}

/* Mutex held. */
static struct pressure measure(struct lsm *lsm)
{
    const struct lsm_options *options = &lsm->options;
    const struct view *view = lsm->view;
    struct pressure pressure = { .reason = "compactions" };
    while (pressure.runs < view->version->count && view->version->runs[pressure.runs].level == 0)
        pressure.runs++;
    /* While the active memtable has room for long, waiting for a flush would gain nothing. */
    bool is_filling = memtable_bytes(view->memtables[0]) < options->memtable_bytes / 2;
    if (lsm->full_count > options->memtables_max ||
        (lsm->full_count == options->memtables_max && !is_filling)) {
        pressure.is_stopped = pressure.is_flush = true;
        pressure.reason = "flushes of memtables";
    } else if (options->no_background) {
        pressure.delay_us = 0; /* what is due was tried just now */
    } else if (pressure.runs >= options->level0_stop) {
        pressure.is_stopped = true;
    } else {
        double level_bytes = (double)options->level_bytes;
        double runs = fraction((double)pressure.runs, options->level0_slow, options->level0_stop);
        double debt = fraction((double)atomic_load(&lsm->background->debt),
                               DEBT_LEVELS_SLOW * level_bytes, DEBT_LEVELS_FULL * level_bytes);
        double most = runs > debt ? runs : debt;
        pressure.delay_us = (uint64_t)(most * most * DELAY_US_MAX);
    }
    return pressure;
}

static void report_stall(struct lsm *lsm, const struct pressure *pressure, uint64_t waited_ns)
{
    kv_metrics_add(&lsm->metrics, KV_COUNTER_STALLS, 1);
    kv_metrics_add(&lsm->metrics, KV_COUNTER_STALL_NS, waited_ns);
    kv_metrics_time(&lsm->metrics, KV_HISTOGRAM_STALL_WAIT_NS, waited_ns);
    uint64_t now_ns = os_coarse_ns(lsm->os);
    uint64_t last_ns = atomic_load(&lsm->background->stall_event_ns);
    if (last_ns != 0 && now_ns - last_ns < 1000000000)
        return;
    atomic_store(&lsm->background->stall_event_ns, now_ns);
    char text[120];
    snprintf(text, sizeof text, "a write %s for %s: %zu runs in level 0",
             pressure->is_stopped ? "waited" : "was delayed", pressure->reason, pressure->runs);
    struct kv_event event = { .kind = KV_EVENT_STALL, .duration_ns = waited_ns, .text = text };
    kv_metrics_report(&lsm->metrics, &event);
}

/* All that is due, on this thread. Mutex held on entry and return. What compactions fail with is
 * kept and tried again: it is not this writer's. */
static sombra_err work_inline(struct lsm *lsm)
{
    sombra_err err = SOMBRA_OK, ignored;
    while (!err && lsm->full_oldest && !lsm->background->is_flushing)
        err = flush_oldest(lsm, false);
    while (!err && background_compact_one(lsm, &ignored))
        ;
    return err;
}

static struct background_failure *failure_of(struct lsm *lsm, const struct pressure *pressure)
{
    struct lsm_background *background = lsm->background;
    return pressure->is_flush ? &background->flush_failure : &background->compaction_failure;
}

static sombra_err busy(struct lsm *lsm, const struct pressure *pressure)
{
    const struct background_failure *failure = failure_of(lsm, pressure);
    return diag_fail(SOMBRA_BUSY, "%zu full memtables and %zu runs in level 0 wait for %s%s%s",
                     lsm->full_count, pressure->runs, pressure->reason,
                     failure->text[0] ? "; the last failed: " : "", failure->text);
}

/* Where what a writer waits for fails (the disk is full), waiting longer does not help: it is tried
 * soon, whatever the time of the next try was to be, and then the writer is told why. */
static sombra_err refuse_if_failing(struct lsm *lsm, const struct pressure *pressure,
                                    uint64_t begun_ns)
{
    struct lsm_background *background = lsm->background;
    struct background_failure *failure = failure_of(lsm, pressure);
    bool is_running = pressure->is_flush ? background->is_flushing : background->jobs != NULL;
    if (LIKELY(failure->in_row == 0) || is_running || failure->err == SOMBRA_CORRUPT)
        return SOMBRA_OK;
    if (failure->at_ns >= begun_ns)
        return diag_fail(failure->err,
                         "writes wait for %s, and these fail: %s; they go on by themselves when "
                         "that is mended",
                         pressure->reason, failure->text);
    uint64_t soon_ns = failure->at_ns + UINT64_C(1000000) * RETRY_SOON_MS;
    if (failure->retry_ns > soon_ns) {
        failure->retry_ns = soon_ns;
        background->wakes++;
        os_condition_broadcast(&background->wake);
    }
    return SOMBRA_OK;
}

/* Mutex held. *waited_ms grows. */
static sombra_err wait_stopped(struct lsm *lsm, uint64_t timeout_ms, struct pressure *pressure,
                               uint64_t *waited_ms)
{
    struct lsm_background *background = lsm->background;
    /* Threads wait in real time, whatever the machine. */
    uint64_t begun_ns = os_monotonic_ns(os_posix());
    sombra_err err = SOMBRA_OK;
    while (!err && pressure->is_stopped) {
        *waited_ms = (os_monotonic_ns(os_posix()) - begun_ns) / 1000000;
        /* Damaged tables in the way do not go away by waiting. */
        bool is_hopeless = background->corrupt > 0 && !background->jobs && !lsm->full_oldest;
        if (atomic_load(&lsm->is_failed) || atomic_load(&background->is_stopping))
            return lsm_check_writable(lsm);
        err = refuse_if_failing(lsm, pressure, begun_ns);
        if (err)
            return err;
        if (*waited_ms >= timeout_ms || is_hopeless)
            return busy(lsm, pressure);
        /* Where threads could not be started the waiting one does the work. */
        if (!background->has_flusher || (background->thread_count == 0 && !lsm->full_oldest))
            err = work_inline(lsm);
        struct pressure now = measure(lsm);
        if (!err && now.is_stopped) {
            os_condition_wait(&lsm->changed, &lsm->mutex,
                              u64_min(timeout_ms - *waited_ms, WAIT_MS));
            now = measure(lsm);
        }
        *pressure = now;
    }
    return err;
}

sombra_err lsm_stall(struct lsm *lsm, bool *out_is_stopped)
{
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&lsm->mutex);
    if (lsm->options.no_background) {
        err = work_inline(lsm);
        /* Another thread may be at the flush, for a checkpoint: memtables must not pile up. */
        *out_is_stopped = !err && measure(lsm).is_stopped;
        os_mutex_unlock(&lsm->mutex);
        return err;
    }
    struct pressure pressure = measure(lsm);
    os_mutex_unlock(&lsm->mutex);
    *out_is_stopped = pressure.is_stopped;
    if (LIKELY(pressure.is_stopped || pressure.delay_us == 0))
        return SOMBRA_OK;
    uint64_t begun_ns = os_monotonic_ns(lsm->os);
    lsm_background_wake(lsm);
    os_sleep_us(lsm->os, pressure.delay_us);
    report_stall(lsm, &pressure, os_monotonic_ns(lsm->os) - begun_ns);
    return SOMBRA_OK;
}

sombra_err lsm_stall_wait(struct lsm *lsm, uint64_t *timeout_ms)
{
    uint64_t begun_ns = os_monotonic_ns(lsm->os), waited_ms = 0;
    lsm_background_wake(lsm);
    os_mutex_lock(&lsm->mutex);
    struct pressure pressure = measure(lsm), before = pressure;
    sombra_err err = wait_stopped(lsm, *timeout_ms, &pressure, &waited_ms);
    os_mutex_unlock(&lsm->mutex);
    if (before.is_stopped)
        report_stall(lsm, &before, os_monotonic_ns(lsm->os) - begun_ns);
    if (!err && *timeout_ms != UINT64_MAX)
        *timeout_ms -= u64_min(*timeout_ms, waited_ms);
    return err;
}

uint64_t lsm_compaction_debt(struct lsm *lsm, const struct version *version)
{
    return policy_debt(version, &lsm->options);
}
