/* SPDX-License-Identifier: MIT */
/* kv_metrics: what a store counts and measures, in one registry, and the events it reports.
 *
 * The registry is a fixed list (below), so that counting is one relaxed addition. Each store has
 * one, kv->metrics. Names are Prometheus names without the "sombra_" before them; counters end in
 * _total, histograms of time are in seconds on export and nanoseconds here.
 *
 * Threads: safe. Counting takes no lock, and sums are exact once the counting threads are quiet;
 * events take one.
 */
#ifndef KV_METRICS_H
#define KV_METRICS_H

#include "base/base.h"

#include <assert.h>
#include <stdatomic.h>

/* X(NAME, "name", "what it is") */
#define KV_COUNTERS(X)                                                                            \
    X(COMMITS, "commits_total", "write transactions committed")                                   \
    X(COMMIT_BYTES, "commit_bytes_total", "keys and values given by writers")                     \
    X(LOG_BYTES, "log_bytes_total", "bytes appended to the log")                                  \
    X(LOG_SYNCS, "log_syncs_total", "syncs of the log")                                           \
    X(CHECKPOINTS, "checkpoints_total", "checkpoints ended")                                      \
    X(FLUSHES, "flushes_total", "memtables written as tables")                                    \
    X(FLUSH_BYTES, "flush_bytes_total", "bytes of tables written by flushes")                     \
    X(COMPACTIONS, "compactions_total", "compactions ended")                                      \
    X(COMPACTION_READ_BYTES, "compaction_read_bytes_total", "bytes of tables that they read")     \
    X(COMPACTION_WRITE_BYTES, "compaction_write_bytes_total", "bytes of tables that they wrote")  \
    X(TABLES_MOVED, "tables_moved_total", "tables moved to the next level as they were")          \
    X(STALLS, "stalls_total", "commits delayed or stopped by flushes or compactions")             \
    X(STALL_NS, "stall_nanoseconds_total", "time they waited")                                    \
    X(CACHE_HITS, "cache_hits_total", "blocks found in the cache")                                \
    X(CACHE_MISSES, "cache_misses_total", "blocks read from files")                               \
    X(CACHE_EVICTIONS, "cache_evictions_total", "blocks dropped from the cache")                  \
    X(FILTER_CHECKS, "filter_checks_total", "point lookups that asked a filter")                  \
    X(FILTER_SKIPS, "filter_skips_total", "of these, where the filter spared a block")            \
    X(FILTER_FALSE, "filter_false_positives_total", "of these, where it did not and should have") \
    X(PREFIX_CHECKS, "prefix_filter_checks_total", "range reads that asked a prefix filter")      \
    X(PREFIX_SKIPS, "prefix_filter_skips_total", "of these, where it spared a table")             \
    X(DELETES_PASSED, "deletes_passed_total", "deletes that reads of ranges went over")           \
    X(JOINS_TRIED, "joins_tried_total", "thin pages measured together with a neighbour")          \
    X(RECOVERIES, "recoveries_total", "opens that had to recover")                                \
    X(RECOVERED_RECORDS, "recovered_records_total", "log records replayed")

#define KV_GAUGES(X)                                                                              \
    X(ENTRIES, "entries", "keys (an estimate for engines that do not count)")                     \
    X(FILE_BYTES, "file_bytes", "bytes of the main file or of the tables")                        \
    X(LOG_FILE_BYTES, "log_file_bytes", "bytes of the log files")                                 \
    X(MEMORY_BYTES, "memory_bytes", "memory of the engine: memtables, cache, indexes, filters")   \
    X(CACHE_BYTES, "cache_bytes", "memory of the block cache")                                    \
    X(READERS, "readers", "open snapshots")                                                       \
    X(OLDEST_READER_SECONDS, "oldest_reader_seconds", "age of the oldest open snapshot")          \
    X(TABLES, "tables", "tables in use")                                                          \
    X(LEVEL0_RUNS, "level0_runs", "runs in level 0")                                              \
    X(COMPACTION_DEBT_BYTES, "compaction_debt_bytes", "bytes that compaction has yet to rewrite") \
    X(PAGES_FREE, "pages_free", "pages of the file that can be reused")                           \
    X(NEWEST_LSN, "newest_lsn", "number of the newest log record, of all processes")              \
    X(DURABLE_LSN, "durable_lsn", "number of the newest one known to be durable")                 \
    X(REFUSES_WRITES, "refuses_writes", "1 after a failure, until the database is reopened")

#define KV_HISTOGRAMS(X)                                           \
    X(COMMIT_NS, "commit_seconds", "time of a commit")             \
    X(SYNC_NS, "sync_seconds", "time of a sync of the log")        \
    X(CHECKPOINT_NS, "checkpoint_seconds", "time of a checkpoint") \
    X(FLUSH_NS, "flush_seconds", "time of a flush")                \
    X(COMPACTION_NS, "compaction_seconds", "time of a compaction") \
    X(STALL_WAIT_NS, "stall_seconds", "time that one commit was stalled")

enum kv_counter {
#define KV_METRIC_ENUM(name, text, help) KV_COUNTER_##name,
    KV_COUNTERS(KV_METRIC_ENUM)
#undef KV_METRIC_ENUM
        KV_COUNTER_COUNT
};
enum kv_gauge {
#define KV_METRIC_ENUM(name, text, help) KV_GAUGE_##name,
    KV_GAUGES(KV_METRIC_ENUM)
#undef KV_METRIC_ENUM
        KV_GAUGE_COUNT
};
enum kv_histogram {
#define KV_METRIC_ENUM(name, text, help) KV_HISTOGRAM_##name,
    KV_HISTOGRAMS(KV_METRIC_ENUM)
#undef KV_METRIC_ENUM
        KV_HISTOGRAM_COUNT
};

/* Buckets by powers of two: bucket i counts times of at most 2^(i + 10) ns that are in none before;
 * the last, all others. */
enum { KV_HISTOGRAM_BUCKETS = 28 };
static inline uint64_t kv_histogram_bound_ns(unsigned bucket)
{
    return bucket + 1 < KV_HISTOGRAM_BUCKETS ? UINT64_C(1) << (bucket + 10) : UINT64_MAX;
}

struct kv_histogram_cells {
    _Atomic uint64_t buckets[KV_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
};

#define KV_EVENTS(X)                                        \
    X(FLUSH, "flush") /* a memtable became a table */       \
    X(COMPACTION, "compaction")                             \
    X(CHECKPOINT, "checkpoint")                             \
    X(STALL, "stall") /* a commit was delayed or stopped */ \
    X(RECOVERY, "recovery")                                 \
    X(FAILURE, "failure") /* the store refuses writes from now */

enum kv_event_kind {
#define KV_EVENT_ENUM(name, text) KV_EVENT_##name,
    KV_EVENTS(KV_EVENT_ENUM)
#undef KV_EVENT_ENUM
        KV_EVENT_COUNT
};
struct kv_event {
    enum kv_event_kind kind;
    uint64_t duration_ns;
    uint64_t bytes_read, bytes_written; /* where the kind has them */
    uint64_t count;                     /* tables written; records recovered */
    unsigned level;                     /* COMPACTION: written to */
    const char *text;                   /* one line for people; lives until the call returns */
};
typedef void (*kv_event_fn)(void *context, const struct kv_event *event);

/* Whoever listens owns it, from kv_metrics_listen to kv_metrics_unlisten. */
struct kv_listener {
    kv_event_fn event;
    void *context;
    struct kv_listener *next; /* the registry's */
};

/* What every read counts stands in stripes, one for each thread as far as they go: readers in
 * several threads would hand one line of memory around. */
enum { KV_STRIPES = 16, KV_STRIPE_COUNTERS = 3 };
static inline unsigned kv_counter_in_stripe(enum kv_counter counter) /* KV_STRIPE_COUNTERS: none */
{
    return counter == KV_COUNTER_CACHE_HITS      ? 0
           : counter == KV_COUNTER_FILTER_CHECKS ? 1
           : counter == KV_COUNTER_FILTER_SKIPS  ? 2
                                                 : KV_STRIPE_COUNTERS;
}
struct kv_stripe {
    _Atomic uint64_t counters[KV_STRIPE_COUNTERS];
    uint8_t padding[128 - KV_STRIPE_COUNTERS * 8]; /* no two in a line, wherever the first begins */
};
unsigned kv_stripe_of_thread(void);

/* All zeros is a registry in which nothing was counted. */
struct kv_metrics {
    _Atomic uint64_t counters[KV_COUNTER_COUNT]; /* all but those in stripes */
    struct kv_stripe stripes[KV_STRIPES];
    _Atomic uint64_t gauges[KV_GAUGE_COUNT]; /* set by KV_STATS, or whenever they change */
    struct kv_histogram_cells histograms[KV_HISTOGRAM_COUNT];
    _Atomic uint32_t lock; /* of the rest: the id of the process that holds it, 0 = nobody */
    struct kv_listener *listeners;
    bool has_recovered; /* what happened before anybody could listen is told to who does */
    struct kv_event recovery;
};

static inline void kv_metrics_add(struct kv_metrics *metrics, enum kv_counter counter,
                                  uint64_t count)
{
    if (metrics)
        atomic_fetch_add_explicit(&metrics->counters[counter], count, memory_order_relaxed);
}
/* The same for the counters that stand in stripes, with which alone this may be called. */
static inline void kv_metrics_add_striped(struct kv_metrics *metrics, enum kv_counter counter,
                                          uint64_t count)
{
    assert(kv_counter_in_stripe(counter) < KV_STRIPE_COUNTERS);
    if (metrics)
        atomic_fetch_add_explicit(
            &metrics->stripes[kv_stripe_of_thread()].counters[kv_counter_in_stripe(counter)], count,
            memory_order_relaxed);
}
static inline void kv_metrics_set(struct kv_metrics *metrics, enum kv_gauge gauge, uint64_t value)
{
    if (metrics)
        atomic_store_explicit(&metrics->gauges[gauge], value, memory_order_relaxed);
}
/* The same where no two threads add to the counter at once: without a locked instruction. */
static inline void kv_metrics_add_alone(struct kv_metrics *metrics, enum kv_counter counter,
                                        uint64_t count)
{
    if (!metrics)
        return;
    uint64_t before = atomic_load_explicit(&metrics->counters[counter], memory_order_relaxed);
    atomic_store_explicit(&metrics->counters[counter], before + count, memory_order_relaxed);
}
uint64_t kv_metrics_count(const struct kv_metrics *metrics, enum kv_counter counter);
void kv_metrics_time(struct kv_metrics *metrics, enum kv_histogram histogram, uint64_t ns);

const char *kv_counter_name(enum kv_counter counter);
const char *kv_gauge_name(enum kv_gauge gauge);
const char *kv_histogram_name(enum kv_histogram histogram);

enum kv_metric_kind { KV_METRIC_COUNTER, KV_METRIC_GAUGE, KV_METRIC_HISTOGRAM };
/* One metric at one moment. `name` and `help` live for ever. */
struct kv_metric {
    enum kv_metric_kind kind;
    const char *name, *help;
    uint64_t value;                         /* of a counter, of a gauge */
    uint64_t buckets[KV_HISTOGRAM_BUCKETS]; /* of a histogram: how many in each */
    uint64_t count;                         /* sum of the buckets */
    uint64_t sum_ns;
};
enum { KV_METRIC_COUNT = KV_COUNTER_COUNT + KV_GAUGE_COUNT + KV_HISTOGRAM_COUNT };
/* Metric `index` of KV_METRIC_COUNT: counters, gauges, histograms. */
void kv_metrics_read(const struct kv_metrics *metrics, unsigned index, struct kv_metric *out);
/* All of it in Prometheus' text format 0.0.4, appended. NOMEM. */
sombra_err kv_metrics_text(const struct kv_metrics *metrics, struct buf *to) SOMBRA_MUST_CHECK;

/* ---- events ------------------------------------------------------------------------------ */

const char *kv_event_name(enum kv_event_kind kind);
/* The listener is called on the thread where it happens, one call at a time, while locks of the
 * engine may be held: it must return soon, and not use the store nor these functions. A recovery
 * that open ran is reported at once. When unlisten returns, no call is running any more. */
void kv_metrics_listen(struct kv_metrics *metrics, struct kv_listener *listener);
void kv_metrics_unlisten(struct kv_metrics *metrics, struct kv_listener *listener);
void kv_metrics_report(struct kv_metrics *metrics, const struct kv_event *event);

#endif
