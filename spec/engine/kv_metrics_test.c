/* SPDX-License-Identifier: MIT */
/* The registry of metrics: sums, buckets, the text that Prometheus reads, listeners. */
#include "kv/kv_metrics.h"
#include "kv_check.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- a reader of the text format 0.0.4 ----------------------------------------------------- */

struct sample {
    char name[96], le[32]; /* le is empty without that label */
    double value;
};
struct scrape {
    struct sample samples[1024];
    size_t count;
    size_t helps, types;
};

static bool is_name(const char *name)
{
    for (const char *at = name; *at; at++)
        if (!(*at == '_' || (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9' && at > name)))
            return false;
    return strncmp(name, "sombra_", 7) == 0;
}

/* A comment names what the next samples belong to, HELP before TYPE. */
static void comment_parse(struct scrape *scrape, const char *line, char family[96], char kind[16])
{
    char name[96];
    if (sscanf(line, "# HELP %95s", name) == 1) {
        assert_true(is_name(name));
        assert_non_null(strchr(line + 7, ' '));
        assert_null(strchr(line, '\\'));
        strcpy(family, name);
        scrape->helps++;
    } else {
        assert_int_equal(sscanf(line, "# TYPE %95s %15s", name, kind), 2);
        assert_string_equal(name, family);
        scrape->types++;
    }
}

static void sample_parse(struct scrape *scrape, const char *line, const char *family)
{
    struct sample *sample = &scrape->samples[scrape->count++];
    char rest[160];
    assert_true(scrape->count <= COUNT_OF(scrape->samples));
    size_t name_bytes = strcspn(line, "{ ");
    assert_true(name_bytes < sizeof sample->name);
    memcpy(sample->name, line, name_bytes);
    sample->name[name_bytes] = 0;
    assert_true(is_name(sample->name));
    assert_int_equal(strncmp(sample->name, family, strlen(family)), 0);
    sample->le[0] = 0;
    strcpy(rest, line + name_bytes);
    char *value = rest;
    if (rest[0] == '{') {
        assert_int_equal(sscanf(rest, "{le=\"%31[^\"]\"}", sample->le), 1);
        value = strchr(rest, '}') + 1;
    }
    assert_int_equal(value[0], ' ');
    char *end;
    sample->value = strtod(value + 1, &end);
    assert_true(end > value + 1 && *end == 0);
}

static void scrape_metrics(const struct kv_metrics *metrics, struct scrape *scrape)
{
    struct buf text = BUF_INIT;
    char family[96] = "", kind[16] = "";
    *scrape = (struct scrape){ .count = 0 };
    expect_ok(kv_metrics_text(metrics, &text));
    assert_int_equal(text.data[text.bytes - 1], '\n'); /* the last line has to end, too */
    expect_ok(buf_append_u8(&text, 0));
    for (char *line = strtok((char *)text.data, "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] == '#')
            comment_parse(scrape, line, family, kind);
        else
            sample_parse(scrape, line, family);
    }
    buf_release(&text);
}

static double value_of(const struct scrape *scrape, const char *name, const char *le)
{
    for (size_t i = 0; i < scrape->count; i++)
        if (!strcmp(scrape->samples[i].name, name) && !strcmp(scrape->samples[i].le, le))
            return scrape->samples[i].value;
    fail_msg("no sample %s{le=%s}", name, le);
    return 0;
}

/* ---- facts --------------------------------------------------------------------------------- */

static struct kv_metrics *metrics_new(void **state)
{
    struct kv_metrics *metrics = mem_zalloc(sizeof *metrics);
    assert_non_null(metrics);
    *state = metrics;
    return metrics;
}

static int metrics_free(void **state)
{
    mem_free(*state);
    return 0;
}

static void test_metrics__text_has_each_metric_once(void **state)
{
    struct kv_metrics *metrics = metrics_new(state);
    struct scrape scrape;
    kv_metrics_add(metrics, KV_COUNTER_COMMITS, 3);
    kv_metrics_add_alone(metrics, KV_COUNTER_LOG_BYTES, UINT64_C(1) << 40);
    kv_metrics_set(metrics, KV_GAUGE_READERS, 7);
    scrape_metrics(metrics, &scrape);
    assert_int_equal(scrape.helps, KV_METRIC_COUNT);
    assert_int_equal(scrape.types, KV_METRIC_COUNT);
    assert_int_equal(scrape.count, KV_COUNTER_COUNT + KV_GAUGE_COUNT +
                                       KV_HISTOGRAM_COUNT * (KV_HISTOGRAM_BUCKETS + 2));
    assert_true(value_of(&scrape, "sombra_commits_total", "") == 3);
    assert_true(value_of(&scrape, "sombra_log_bytes_total", "") == (double)(UINT64_C(1) << 40));
    assert_true(value_of(&scrape, "sombra_readers", "") == 7);
    for (size_t i = 0; i < scrape.count; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(strcmp(scrape.samples[i].name, scrape.samples[j].name) != 0 ||
                        strcmp(scrape.samples[i].le, scrape.samples[j].le) != 0);
}

static void test_metrics__counters_end_in_total_and_times_in_seconds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KV_COUNTER_COUNT; i++) {
        const char *name = kv_counter_name((enum kv_counter)i);
        assert_string_equal(name + strlen(name) - 6, "_total");
    }
    for (unsigned i = 0; i < KV_HISTOGRAM_COUNT; i++) {
        const char *name = kv_histogram_name((enum kv_histogram)i);
        assert_string_equal(name + strlen(name) - 8, "_seconds");
    }
    for (unsigned i = 0; i < KV_GAUGE_COUNT; i++)
        assert_null(strstr(kv_gauge_name((enum kv_gauge)i), "_total"));
}

static void test_metrics__buckets_hold_their_upper_bounds(void **state)
{
    struct kv_metrics *metrics = metrics_new(state);
    struct kv_metric metric;
    const unsigned commit = KV_COUNTER_COUNT + KV_GAUGE_COUNT + KV_HISTOGRAM_COMMIT_NS;
    for (unsigned i = 0; i + 1 < KV_HISTOGRAM_BUCKETS; i++) {
        kv_metrics_time(metrics, KV_HISTOGRAM_COMMIT_NS, kv_histogram_bound_ns(i));
        kv_metrics_time(metrics, KV_HISTOGRAM_COMMIT_NS, kv_histogram_bound_ns(i) + 1);
    }
    kv_metrics_time(metrics, KV_HISTOGRAM_COMMIT_NS, 0);
    kv_metrics_time(metrics, KV_HISTOGRAM_COMMIT_NS, UINT64_MAX / 4);
    kv_metrics_read(metrics, commit, &metric);
    assert_string_equal(metric.name, "commit_seconds");
    assert_int_equal(metric.count, 2 * KV_HISTOGRAM_BUCKETS);
    for (unsigned i = 0; i < KV_HISTOGRAM_BUCKETS; i++)
        assert_int_equal(metric.buckets[i], 2);
}

static void test_metrics__histogram_text_is_cumulative_seconds(void **state)
{
    struct kv_metrics *metrics = metrics_new(state);
    struct scrape scrape;
    kv_metrics_time(metrics, KV_HISTOGRAM_SYNC_NS, 1000);                       /* 1 us */
    kv_metrics_time(metrics, KV_HISTOGRAM_SYNC_NS, 1500);                       /* 1.5 us */
    kv_metrics_time(metrics, KV_HISTOGRAM_SYNC_NS, UINT64_C(200) * 1000000000); /* 200 s */
    scrape_metrics(metrics, &scrape);
    assert_true(value_of(&scrape, "sombra_sync_seconds_bucket", "0.000001024") == 1);
    assert_true(value_of(&scrape, "sombra_sync_seconds_bucket", "0.000002048") == 2);
    assert_true(value_of(&scrape, "sombra_sync_seconds_bucket", "68.719476736") == 2);
    assert_true(value_of(&scrape, "sombra_sync_seconds_bucket", "+Inf") == 3);
    assert_true(value_of(&scrape, "sombra_sync_seconds_count", "") == 3);
    assert_true(value_of(&scrape, "sombra_sync_seconds_sum", "") == 200.0000025);
    double before = 0, bound = 0;
    for (size_t i = 0; i < scrape.count; i++)
        if (!strcmp(scrape.samples[i].name, "sombra_sync_seconds_bucket")) {
            assert_true(scrape.samples[i].value >= before);
            assert_true(strtod(scrape.samples[i].le, NULL) > bound);
            before = scrape.samples[i].value;
            bound = strtod(scrape.samples[i].le, NULL);
        }
}

/* ---- threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 20000 };

struct hearing {
    struct kv_listener listener;
    uint64_t heard, recovered, levels; /* plain: calls come one at a time */
};

static void hear(void *context, const struct kv_event *event)
{
    struct hearing *hearing = context;
    assert_non_null(event->text);
    hearing->heard++;
    hearing->levels += event->level;
    if (event->kind == KV_EVENT_RECOVERY)
        hearing->recovered += event->count;
}

static struct hearing *hearing_new(void)
{
    struct hearing *hearing = mem_zalloc(sizeof *hearing);
    assert_non_null(hearing);
    hearing->listener = (struct kv_listener){ .event = hear, .context = hearing };
    return hearing;
}

static void *count_much(void *context)
{
    struct kv_metrics *metrics = context;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        kv_metrics_add(metrics, KV_COUNTER_COMMITS, 1);
        kv_metrics_add_striped(metrics, KV_COUNTER_CACHE_HITS, 1);
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_SKIPS, i % 2);
        kv_metrics_time(metrics, KV_HISTOGRAM_COMMIT_NS, i);
        if (i % 64 == 0)
            kv_metrics_report(metrics,
                              &(struct kv_event){ .kind = KV_EVENT_FLUSH, .level = 1, .text = "" });
    }
    return NULL;
}

static void test_metrics__sums_of_threads_are_exact(void **state)
{
    struct kv_metrics *metrics = metrics_new(state);
    struct hearing *steady = hearing_new();
    pthread_t threads[THREADS];
    kv_metrics_listen(metrics, &steady->listener);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, metrics), 0);
    /* Listeners come and go; after unlisten their memory is theirs again. */
    for (int i = 0; i < 200; i++) {
        struct hearing *brief = hearing_new();
        kv_metrics_listen(metrics, &brief->listener);
        kv_metrics_unlisten(metrics, &brief->listener);
        assert_int_equal(brief->heard, brief->levels);
        mem_free(brief);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kv_metrics_unlisten(metrics, &steady->listener);
    struct kv_metric metric;
    kv_metrics_read(metrics, KV_COUNTER_COUNT + KV_GAUGE_COUNT + KV_HISTOGRAM_COMMIT_NS, &metric);
    assert_int_equal(kv_metrics_count(metrics, KV_COUNTER_COMMITS), THREADS * ROUNDS);
    assert_int_equal(kv_metrics_count(metrics, KV_COUNTER_CACHE_HITS), THREADS * ROUNDS);
    assert_int_equal(kv_metrics_count(metrics, KV_COUNTER_FILTER_SKIPS), THREADS * ROUNDS / 2);
    assert_int_equal(kv_metrics_count(metrics, KV_COUNTER_FILTER_CHECKS), 0);
    assert_int_equal(metric.count, THREADS * ROUNDS);
    assert_int_equal(metric.sum_ns, (uint64_t)THREADS * ROUNDS * (ROUNDS - 1) / 2);
    assert_int_equal(steady->heard, THREADS * ((ROUNDS + 63) / 64));
    mem_free(steady);
}

static void test_metrics__recovery_is_told_to_who_comes_later(void **state)
{
    struct kv_metrics *metrics = metrics_new(state);
    struct hearing *hearing = hearing_new();
    char text[] = "gone when the report is over";
    kv_metrics_report(metrics,
                      &(struct kv_event){ .kind = KV_EVENT_RECOVERY, .count = 12, .text = text });
    kv_metrics_report(metrics, &(struct kv_event){ .kind = KV_EVENT_CHECKPOINT, .text = text });
    memset(text, 'x', sizeof text);
    kv_metrics_listen(metrics, &hearing->listener);
    assert_int_equal(hearing->heard, 1);
    assert_int_equal(hearing->recovered, 12);
    kv_metrics_unlisten(metrics, &hearing->listener);
    kv_metrics_unlisten(metrics, &hearing->listener);
    kv_metrics_report(metrics, &(struct kv_event){ .kind = KV_EVENT_STALL, .text = "" });
    assert_int_equal(hearing->heard, 1);
    mem_free(hearing);
}

static void test_metrics__events_have_names(void **state)
{
    (void)state;
    assert_string_equal(kv_event_name(KV_EVENT_FLUSH), "flush");
    assert_string_equal(kv_event_name(KV_EVENT_FAILURE), "failure");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_metrics__text_has_each_metric_once, metrics_free),
        cmocka_unit_test(test_metrics__counters_end_in_total_and_times_in_seconds),
        cmocka_unit_test_teardown(test_metrics__buckets_hold_their_upper_bounds, metrics_free),
        cmocka_unit_test_teardown(test_metrics__histogram_text_is_cumulative_seconds, metrics_free),
        cmocka_unit_test_teardown(test_metrics__sums_of_threads_are_exact, metrics_free),
        cmocka_unit_test_teardown(test_metrics__recovery_is_told_to_who_comes_later, metrics_free),
        cmocka_unit_test(test_metrics__events_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
