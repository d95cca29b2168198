/* SPDX-License-Identifier: MIT */
/* metrics: what a store counted and measured, and events as they happen.
 *
 * Counters and histograms count what this process did since it opened the store (handles on the
 * same path share one store, and its counters); other processes count for themselves. Gauges are of
 * the store, whoever wrote it. Names are those of Prometheus; they and their meaning stay, new ones
 * may come. docs/operations.md lists them.
 *
 * Threads: any, at any time; reading does not wait for transactions.
 */
#ifndef SOMBRA_METRICS_H
#define SOMBRA_METRICS_H

#include "db.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are part of the ABI: append only. */
typedef enum sombra_metric_kind {
    SOMBRA_METRIC_COUNTER = 0,   /* only grows */
    SOMBRA_METRIC_GAUGE = 1,     /* as it is now */
    SOMBRA_METRIC_HISTOGRAM = 2, /* of times */
} sombra_metric_kind;

enum { SOMBRA_METRIC_BUCKETS_MAX = 64 }; /* no histogram has more */

typedef struct sombra_metric_bucket {
    uint64_t bound_ns; /* times up to this that are in no bucket before; UINT64_MAX = all others */
    uint64_t count;
} sombra_metric_bucket;

typedef struct sombra_metric {
    sombra_metric_kind kind;
    const char *name; /* "sombra_commits_total"; lives for ever, as does `help` */
    const char *help; /* a line */
    uint64_t value;   /* of a counter or a gauge; of a histogram the count */
    uint64_t sum_ns;  /* of a histogram */
    const sombra_metric_bucket *buckets; /* of a histogram, bounds ascend; NULL else */
    size_t bucket_count;
} sombra_metric;

/* Return false to end it: no error. Must not use the database. What it is given lives until it
 * returns. */
typedef bool (*sombra_metric_fn)(void *context, const sombra_metric *metric);

/* Gives each metric to `each`: counters, gauges, histograms. IO. */
SOMBRA_API sombra_err sombra_db_metrics(sombra_db *db, sombra_metric_fn each,
                                        void *context) SOMBRA_MUST_CHECK;

/* `text` ends with a zero byte behind `bytes`; it lives until the function returns. */
typedef void (*sombra_metrics_text_fn)(void *context, const char *text, size_t bytes);

/* All of them in Prometheus' text format 0.0.4, with a gauge sombra_info whose labels say which
 * database it is. Content type: SOMBRA_METRICS_CONTENT_TYPE. IO, NOMEM. */
SOMBRA_API sombra_err sombra_db_metrics_text(sombra_db *db, sombra_metrics_text_fn text,
                                             void *context) SOMBRA_MUST_CHECK;
#define SOMBRA_METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* ---- events ------------------------------------------------------------------------------ */

/* Numbers are part of the ABI: append only; be ready for unknown ones. */
typedef enum sombra_store_event_kind {
    SOMBRA_STORE_EVENT_FLUSH = 0,      /* a memtable became tables */
    SOMBRA_STORE_EVENT_COMPACTION = 1, /* the file was packed, tables were merged */
    SOMBRA_STORE_EVENT_CHECKPOINT = 2, /* what was in the log is in the main file */
    SOMBRA_STORE_EVENT_STALL = 3,    /* a commit was delayed or stopped by flushes or compactions */
    SOMBRA_STORE_EVENT_RECOVERY = 4, /* the open had to replay the log */
    SOMBRA_STORE_EVENT_FAILURE = 5,  /* a write or sync failed: writes are refused from now */
} sombra_store_event_kind;

typedef struct sombra_store_event {
    sombra_store_event_kind kind;
    uint64_t duration_ns;
    uint64_t bytes_read, bytes_written; /* where the kind has them, else 0 */
    uint64_t count;                     /* flush, compaction: tables; recovery: log records */
    unsigned level;                     /* compaction: the level written to, if there are levels */
    const char *text;                   /* one line for people */
} sombra_store_event;

/* Called on the thread where it happens, one call at a time, while locks of the engine may be held:
 * must return soon, and not call this library. The event lives until it returns. */
typedef void (*sombra_store_event_fn)(void *context, const sombra_store_event *event);

/* From now `event` is told what happens in the store of this handle, instead of the one before;
 * NULL: nobody is. A recovery that the open ran is told at once. When it returns no call to the one
 * before is running. The end of the handle ends it, before the last checkpoint. */
SOMBRA_API void sombra_db_listen(sombra_db *db, sombra_store_event_fn event, void *context);

/* "flush", "compaction", "checkpoint", "stall", "recovery", "failure"; NULL for an unknown one. */
SOMBRA_API const char *sombra_store_event_name(sombra_store_event_kind kind);

#ifdef __cplusplus
}
#endif

#endif
