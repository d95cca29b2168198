/* SPDX-License-Identifier: MIT */
#include "kv_metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

struct metric_text {
    const char *name, *help;
};

#define METRIC_TEXT(symbol, text, what) [INDEX(symbol)] = { text, what },
#define INDEX(symbol)                   KV_COUNTER_##symbol
static const struct metric_text counter_texts[] = { KV_COUNTERS(METRIC_TEXT) };
#undef INDEX
#define INDEX(symbol) KV_GAUGE_##symbol
static const struct metric_text gauge_texts[] = { KV_GAUGES(METRIC_TEXT) };
#undef INDEX
#define INDEX(symbol) KV_HISTOGRAM_##symbol
static const struct metric_text histogram_texts[] = { KV_HISTOGRAMS(METRIC_TEXT) };
#undef INDEX
#undef METRIC_TEXT

const char *kv_counter_name(enum kv_counter counter)
{
    assert((unsigned)counter < COUNT_OF(counter_texts));
    return counter_texts[counter].name;
}

const char *kv_gauge_name(enum kv_gauge gauge)
{
    assert((unsigned)gauge < COUNT_OF(gauge_texts));
    return gauge_texts[gauge].name;
}

const char *kv_histogram_name(enum kv_histogram histogram)
{
    assert((unsigned)histogram < COUNT_OF(histogram_texts));
    return histogram_texts[histogram].name;
}

/* ---- counting ---------------------------------------------------------------------------- */

void kv_metrics_time(struct kv_metrics *metrics, enum kv_histogram histogram, uint64_t ns)
{
    assert((unsigned)histogram < KV_HISTOGRAM_COUNT);
    if (!metrics)
        return;
    enum { FIRST_BITS = 10 };
    unsigned bits = ns <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(ns - 1);
    unsigned bucket = bits <= FIRST_BITS ? 0 : bits - FIRST_BITS;
    if (bucket >= KV_HISTOGRAM_BUCKETS)
        bucket = KV_HISTOGRAM_BUCKETS - 1;
    assert(ns <= kv_histogram_bound_ns(bucket));
    struct kv_histogram_cells *cells = &metrics->histograms[histogram];
    atomic_fetch_add_explicit(&cells->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cells->sum_ns, ns, memory_order_relaxed);
}

unsigned kv_stripe_of_thread(void)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned thread; /* 0 = not numbered yet */
    if (UNLIKELY(thread == 0))
        thread = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % KV_STRIPES + 1;
    return thread - 1;
}

uint64_t kv_metrics_count(const struct kv_metrics *metrics, enum kv_counter counter)
{
    unsigned at = kv_counter_in_stripe(counter);
    uint64_t count = atomic_load_explicit(&metrics->counters[counter], memory_order_relaxed);
    for (unsigned i = 0; i < KV_STRIPES && at < KV_STRIPE_COUNTERS; i++)
        count += atomic_load_explicit(&metrics->stripes[i].counters[at], memory_order_relaxed);
    return count;
}

static void histogram_read(const struct kv_histogram_cells *cells, struct kv_metric *out)
{
    for (unsigned i = 0; i < KV_HISTOGRAM_BUCKETS; i++) {
        out->buckets[i] = atomic_load_explicit(&cells->buckets[i], memory_order_relaxed);
        out->count += out->buckets[i];
    }
    out->sum_ns = atomic_load_explicit(&cells->sum_ns, memory_order_relaxed);
}

void kv_metrics_read(const struct kv_metrics *metrics, unsigned index, struct kv_metric *out)
{
    assert(index < KV_METRIC_COUNT);
    *out = (struct kv_metric){ .kind = KV_METRIC_COUNTER };
    const struct metric_text *text;
    if (index < KV_COUNTER_COUNT) {
        text = &counter_texts[index];
        out->value = kv_metrics_count(metrics, (enum kv_counter)index);
    } else if (index < KV_COUNTER_COUNT + KV_GAUGE_COUNT) {
        unsigned gauge = index - KV_COUNTER_COUNT;
        out->kind = KV_METRIC_GAUGE;
        text = &gauge_texts[gauge];
        out->value = atomic_load_explicit(&metrics->gauges[gauge], memory_order_relaxed);
    } else {
        unsigned histogram = index - KV_COUNTER_COUNT - KV_GAUGE_COUNT;
        out->kind = KV_METRIC_HISTOGRAM;
        text = &histogram_texts[histogram];
        histogram_read(&metrics->histograms[histogram], out);
    }
    out->name = text->name;
    out->help = text->help;
}

/* ---- text -------------------------------------------------------------------------------- */

enum { LINE_BYTES_MAX = 256 };

static sombra_err line_append(struct buf *to, const char *format, ...) SOMBRA_PRINTF(2, 3);
static sombra_err line_append(struct buf *to, const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert(bytes > 0 && (size_t)bytes < sizeof line);
    return buf_append(to, line, (size_t)bytes);
}

/* Nanoseconds as seconds, by integers: "%g" would write the decimal point of the program's locale.
 */
#define SECONDS        "%" PRIu64 ".%09" PRIu64
#define SECONDS_OF(ns) (ns) / 1000000000, (ns) % 1000000000

static sombra_err histogram_append(const struct kv_metric *metric, struct buf *to)
{
    sombra_err err = SOMBRA_OK;
    uint64_t below = 0;
    for (unsigned i = 0; i + 1 < KV_HISTOGRAM_BUCKETS && !err; i++) {
        below += metric->buckets[i];
        err = line_append(to, "sombra_%s_bucket{le=\"" SECONDS "\"} %" PRIu64 "\n", metric->name,
                          SECONDS_OF(kv_histogram_bound_ns(i)), below);
    }
    if (!err)
        err = line_append(to, "sombra_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", metric->name,
                          metric->count);
    if (!err)
        err = line_append(to, "sombra_%s_sum " SECONDS "\n", metric->name,
                          SECONDS_OF(metric->sum_ns));
    if (!err)
        err = line_append(to, "sombra_%s_count %" PRIu64 "\n", metric->name, metric->count);
    return err;
}

sombra_err kv_metrics_text(const struct kv_metrics *metrics, struct buf *to)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    sombra_err err = SOMBRA_OK;
    for (unsigned i = 0; i < KV_METRIC_COUNT && !err; i++) {
        struct kv_metric metric;
        kv_metrics_read(metrics, i, &metric);
        /* Backslashes and newlines would need an escape; spec/engine/kv_metrics_test.c sees to it
         * that no help text has any. */
        err = line_append(to, "# HELP sombra_%s %s\n# TYPE sombra_%s %s\n", metric.name,
                          metric.help, metric.name, kinds[metric.kind]);
        if (err)
            break;
        err = metric.kind == KV_METRIC_HISTOGRAM
                  ? histogram_append(&metric, to)
                  : line_append(to, "sombra_%s %" PRIu64 "\n", metric.name, metric.value);
    }
    return err;
}

/* ---- events ------------------------------------------------------------------------------ */

const char *kv_event_name(enum kv_event_kind kind)
{
#define EVENT_TEXT(symbol, text) [KV_EVENT_##symbol] = text,
    static const char *const names[] = { KV_EVENTS(EVENT_TEXT) };
#undef EVENT_TEXT
    assert((unsigned)kind < COUNT_OF(names));
    return names[kind];
}

/* A spin lock, so that zeros are a sound registry: it is wanted a few times a second at most. It
 * names its process: a lock that a parent held in fork() is nobody's in the child. */
static void lock_enter(struct kv_metrics *metrics)
{
    uint32_t self = (uint32_t)getpid();
    for (;;) {
        uint32_t holder = 0;
        if (atomic_compare_exchange_weak(&metrics->lock, &holder, self))
            return;
        if (holder == self)
            (void)sched_yield();
        else if (holder && atomic_compare_exchange_weak(&metrics->lock, &holder, self))
            return;
    }
}

static void lock_leave(struct kv_metrics *metrics)
{
    assert(atomic_load(&metrics->lock) == (uint32_t)getpid());
    atomic_store(&metrics->lock, 0);
}

void kv_metrics_listen(struct kv_metrics *metrics, struct kv_listener *listener)
{
    assert(metrics && listener && listener->event);
    lock_enter(metrics);
    listener->next = metrics->listeners;
    metrics->listeners = listener;
    if (metrics->has_recovered)
        listener->event(listener->context, &metrics->recovery);
    lock_leave(metrics);
}

void kv_metrics_unlisten(struct kv_metrics *metrics, struct kv_listener *listener)
{
    assert(metrics && listener);
    lock_enter(metrics);
    struct kv_listener **link = &metrics->listeners;
    while (*link && *link != listener)
        link = &(*link)->next;
    if (*link)
        *link = listener->next;
    lock_leave(metrics);
}

void kv_metrics_report(struct kv_metrics *metrics, const struct kv_event *event)
{
    assert((unsigned)event->kind < KV_EVENT_COUNT && event->text);
    if (!metrics)
        return;
    lock_enter(metrics);
    if (event->kind == KV_EVENT_RECOVERY) {
        metrics->has_recovered = true;
        metrics->recovery = *event;
        metrics->recovery.text = "the log of a store that was not closed was replayed";
    }
    for (struct kv_listener *at = metrics->listeners; at; at = at->next)
        at->event(at->context, event);
    lock_leave(metrics);
}
