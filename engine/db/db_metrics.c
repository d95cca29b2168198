/* SPDX-License-Identifier: MIT */
/* Metrics and events of the store behind a database, in the caller's terms. */
#include "db_internal.h"

static_assert((int)SOMBRA_METRIC_COUNTER == (int)KV_METRIC_COUNTER, "the same numbers");
static_assert((int)SOMBRA_METRIC_GAUGE == (int)KV_METRIC_GAUGE, "the same numbers");
static_assert((int)SOMBRA_METRIC_HISTOGRAM == (int)KV_METRIC_HISTOGRAM, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_FLUSH == (int)KV_EVENT_FLUSH, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_COMPACTION == (int)KV_EVENT_COMPACTION, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_CHECKPOINT == (int)KV_EVENT_CHECKPOINT, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_STALL == (int)KV_EVENT_STALL, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_RECOVERY == (int)KV_EVENT_RECOVERY, "the same numbers");
static_assert((int)SOMBRA_STORE_EVENT_FAILURE == (int)KV_EVENT_FAILURE, "the same numbers");

/* ---- gauges ------------------------------------------------------------------------------ */

static void set_levels(struct kv_metrics *metrics, const struct kv_stats *stats)
{
    uint64_t tables = 0;
    for (unsigned i = 0; i < stats->levels; i++)
        tables += stats->level[i].tables;
    kv_metrics_set(metrics, KV_GAUGE_TABLES, tables);
    kv_metrics_set(metrics, KV_GAUGE_LEVEL0_RUNS, stats->levels ? stats->level[0].runs : 0);
}

static sombra_err gauges_refresh(sombra_db *db)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    struct kv_metrics *metrics = db->kv->metrics;
    sombra_err err = kv_maintain(db->kv, &job);
    if (err)
        return err;
    const struct kv_stats *stats = &job.stats;
    assert(stats->levels <= KV_LEVELS_MAX);
    kv_metrics_set(metrics, KV_GAUGE_ENTRIES, stats->entries);
    kv_metrics_set(metrics, KV_GAUGE_FILE_BYTES, stats->file_bytes);
    kv_metrics_set(metrics, KV_GAUGE_LOG_FILE_BYTES, stats->log_bytes);
    kv_metrics_set(metrics, KV_GAUGE_MEMORY_BYTES, stats->memory_bytes);
    kv_metrics_set(metrics, KV_GAUGE_CACHE_BYTES, stats->cache_bytes);
    kv_metrics_set(metrics, KV_GAUGE_READERS, stats->readers);
    kv_metrics_set(metrics, KV_GAUGE_OLDEST_READER_SECONDS, stats->oldest_reader_age_ms / 1000);
    kv_metrics_set(metrics, KV_GAUGE_COMPACTION_DEBT_BYTES, stats->compaction_debt_bytes);
    kv_metrics_set(metrics, KV_GAUGE_PAGES_FREE, stats->pages_free);
    kv_metrics_set(metrics, KV_GAUGE_NEWEST_LSN, stats->lsn);
    kv_metrics_set(metrics, KV_GAUGE_DURABLE_LSN, stats->durable_lsn);
    kv_metrics_set(metrics, KV_GAUGE_REFUSES_WRITES, stats->refuses_writes);
    set_levels(metrics, stats);
    return SOMBRA_OK;
}

static_assert((int)KV_HISTOGRAM_BUCKETS <= (int)SOMBRA_METRIC_BUCKETS_MAX, "as promised");

/* ---- one by one -------------------------------------------------------------------------- */

static const char *public_name(unsigned index)
{
#define NAME(symbol, text, help) "sombra_" text,
    static const char *const names[] = { KV_COUNTERS(NAME) KV_GAUGES(NAME) KV_HISTOGRAMS(NAME) };
#undef NAME
    static_assert(COUNT_OF(names) == KV_METRIC_COUNT, "one for each");
    assert(index < COUNT_OF(names));
    return names[index];
}

static bool give(const struct kv_metrics *metrics, unsigned index, sombra_metric_fn each,
                 void *context)
{
    struct kv_metric read;
    kv_metrics_read(metrics, index, &read);
    sombra_metric metric = { .kind = (sombra_metric_kind)read.kind,
                             .name = public_name(index),
                             .help = read.help,
                             .value = read.value };
    sombra_metric_bucket buckets[KV_HISTOGRAM_BUCKETS];
    if (read.kind == KV_METRIC_HISTOGRAM) {
        for (unsigned i = 0; i < KV_HISTOGRAM_BUCKETS; i++)
            buckets[i] = (sombra_metric_bucket){ kv_histogram_bound_ns(i), read.buckets[i] };
        metric.value = read.count;
        metric.sum_ns = read.sum_ns;
        metric.buckets = buckets;
        metric.bucket_count = KV_HISTOGRAM_BUCKETS;
    }
    return each(context, &metric);
}

sombra_err sombra_db_metrics(sombra_db *db, sombra_metric_fn each, void *context)
{
    assert(db && each);
    sombra_err err = gauges_refresh(db);
    if (err)
        return diag_wrap(err, "metrics");
    for (unsigned i = 0; i < KV_METRIC_COUNT; i++)
        if (!give(db->kv->metrics, i, each, context))
            break;
    return SOMBRA_OK;
}

/* ---- text -------------------------------------------------------------------------------- */

/* The value of a label: backslash, quote and newline are escaped. */
static sombra_err label_append(struct buf *to, const char *value)
{
    sombra_err err = SOMBRA_OK;
    for (const char *at = value; *at && !err; at++) {
        if (*at == '\\' || *at == '"' || *at == '\n')
            err = buf_append_u8(to, '\\');
        if (!err)
            err = buf_append_u8(to, *at == '\n' ? 'n' : (uint8_t)*at);
    }
    return err;
}

static sombra_err info_append(const sombra_db *db, struct buf *to)
{
    static const char help[] = "# HELP sombra_info which database it is; always 1\n"
                               "# TYPE sombra_info gauge\n";
    const struct {
        const char *before, *value;
    } labels[] = { { "sombra_info{version=\"", sombra_version() },
                   { "\",engine=\"", sombra_db_engine(db) },
                   { "\",path=\"", sombra_db_path(db) } };
    sombra_err err = buf_append(to, help, strlen(help));
    for (size_t i = 0; i < COUNT_OF(labels) && !err; i++) {
        err = buf_append(to, labels[i].before, strlen(labels[i].before));
        if (!err)
            err = label_append(to, labels[i].value);
    }
    static const char end[] = "\"} 1\n";
    return err ? err : buf_append(to, end, strlen(end));
}

sombra_err sombra_db_metrics_text(sombra_db *db, sombra_metrics_text_fn text, void *context)
{
    assert(db && text);
    struct buf all = BUF_INIT;
    sombra_err err = gauges_refresh(db);
    if (!err)
        err = info_append(db, &all);
    if (!err)
        err = kv_metrics_text(db->kv->metrics, &all);
    if (!err)
        err = buf_append_u8(&all, 0);
    if (!err)
        text(context, (const char *)all.data, all.bytes - 1);
    buf_release(&all);
    return diag_wrap(err, "metrics");
}

/* ---- events ------------------------------------------------------------------------------ */

static void pass_on(void *context, const struct kv_event *event)
{
    const sombra_db *db = context;
    db->event(db->event_context,
              &(sombra_store_event){ .kind = (sombra_store_event_kind)event->kind,
                                     .duration_ns = event->duration_ns,
                                     .bytes_read = event->bytes_read,
                                     .bytes_written = event->bytes_written,
                                     .count = event->count,
                                     .level = event->level,
                                     .text = event->text });
}

void sombra_db_listen(sombra_db *db, sombra_store_event_fn event, void *context)
{
    assert(db);
    if (os_is_inherited(db->fork_number))
        return;
    os_mutex_lock(&db->mutex);
    if (db->event)
        kv_metrics_unlisten(db->kv->metrics, &db->listener);
    db->event = event;
    db->event_context = context;
    db->listener = (struct kv_listener){ .event = pass_on, .context = db };
    if (event)
        kv_metrics_listen(db->kv->metrics, &db->listener);
    os_mutex_unlock(&db->mutex);
}

const char *sombra_store_event_name(sombra_store_event_kind kind)
{
    return (unsigned)kind < KV_EVENT_COUNT ? kv_event_name((enum kv_event_kind)kind) : NULL;
}
