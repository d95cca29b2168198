/* SPDX-License-Identifier: MIT */
/* Metrics and events of the public API, on the real engine. */
#include "db_fixture.h"

#include <unistd.h>

static char directory[64];
static char path[96];

static int setup(void **state)
{
    (void)state;
    if (folder_make(directory, sizeof directory, "db_metrics_test"))
        return -1;
    snprintf(path, sizeof path, "%s/a\"quote\\and\nline.sombra", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return folder_remove(directory);
}

static sombra_db *open_it(void)
{
    sombra_db *db;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.create = true;
    OK(sombra_open(path, &options, &db));
    return db;
}

static void commit_node(sombra_db *db)
{
    sombra_txn *txn;
    sombra_node_id node;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = true;
    OK(sombra_txn_begin(db, &options, &txn));
    OK(sombra_node_create(txn, NULL, 0, (sombra_slice){ NULL, 0 }, &node));
    commit(txn);
}

/* ---- metrics ----------------------------------------------------------------------------- */

struct seen {
    uint64_t metrics, commits, commit_times, bucket_sum, file_bytes, stop_after;
};

static bool see(void *context, const sombra_metric *metric)
{
    struct seen *seen = context;
    assert_memory_equal(metric->name, "sombra_", 7);
    assert_true(strlen(metric->help) > 0);
    assert_int_equal(metric->buckets != NULL, metric->kind == SOMBRA_METRIC_HISTOGRAM);
    seen->metrics++;
    if (!strcmp(metric->name, "sombra_commits_total")) {
        assert_int_equal(metric->kind, SOMBRA_METRIC_COUNTER);
        seen->commits = metric->value;
    }
    if (!strcmp(metric->name, "sombra_file_bytes")) {
        assert_int_equal(metric->kind, SOMBRA_METRIC_GAUGE);
        seen->file_bytes = metric->value;
    }
    if (!strcmp(metric->name, "sombra_commit_seconds")) {
        seen->commit_times = metric->value;
        assert_true(metric->buckets[metric->bucket_count - 1].bound_ns == UINT64_MAX);
        for (size_t i = 0; i < metric->bucket_count; i++) {
            seen->bucket_sum += metric->buckets[i].count;
            assert_true(i == 0 || metric->buckets[i - 1].bound_ns < metric->buckets[i].bound_ns);
        }
    }
    return seen->metrics != seen->stop_after;
}

static void test_db__metrics_come_one_by_one(void **state)
{
    (void)state;
    sombra_db *db = open_it();
    commit_node(db);
    commit_node(db);
    struct seen seen = { 0 };
    OK(sombra_db_metrics(db, see, &seen));
    assert_int_equal(seen.commits, 2);
    assert_int_equal(seen.commit_times, 2);
    assert_int_equal(seen.bucket_sum, 2);
    assert_true(seen.file_bytes > 0);
    struct seen few = { .stop_after = 3 };
    OK(sombra_db_metrics(db, see, &few));
    assert_int_equal(few.metrics, 3);
    /* Handles of one process share the store, and what it counts. */
    sombra_db *second = open_it();
    commit_node(second);
    struct seen more = { 0 };
    OK(sombra_db_metrics(db, see, &more));
    assert_int_equal(more.commits, 3);
    assert_int_equal(more.metrics, seen.metrics);
    OK(sombra_close(second));
    OK(sombra_close(db));
}

static void keep_text(void *context, const char *text, size_t bytes)
{
    struct buf *kept = context;
    assert_int_equal(strlen(text), bytes);
    OK(buf_append(kept, text, bytes + 1));
}

static void test_db__metrics_text_names_the_database(void **state)
{
    (void)state;
    struct buf kept = BUF_INIT;
    char line[256];
    sombra_db *db = open_it();
    commit_node(db);
    OK(sombra_db_metrics_text(db, keep_text, &kept));
    const char *text = (const char *)kept.data;
    snprintf(line, sizeof line,
             "\nsombra_info{version=\"%s\",engine=\"btree\",path=\"%s/a\\\"quote\\\\and\\n"
             "line.sombra\"} 1\n",
             sombra_version(), directory);
    assert_non_null(strstr(text, line));
    assert_non_null(
        strstr(text, "\n# TYPE sombra_commits_total counter\nsombra_commits_total 1\n"));
    assert_non_null(strstr(text, "\nsombra_commit_seconds_count 1\n"));
    assert_non_null(strstr(text, "\nsombra_refuses_writes 0\n"));
    buf_release(&kept);
    OK(sombra_close(db));
}

/* ---- events ------------------------------------------------------------------------------ */

struct told {
    unsigned checkpoints, others;
};

static void tell(void *context, const sombra_store_event *event)
{
    struct told *told = context;
    assert_true(strlen(event->text) > 0);
    if (event->kind == SOMBRA_STORE_EVENT_CHECKPOINT)
        told->checkpoints++;
    else
        told->others++;
}

static void test_db__each_handle_has_its_listener(void **state)
{
    (void)state;
    struct told first = { 0 }, second = { 0 };
    sombra_db *db = open_it(), *other = open_it();
    sombra_db_listen(db, tell, &second);
    sombra_db_listen(db, tell, &first); /* instead of the one before */
    sombra_db_listen(other, tell, &second);
    commit_node(db);
    OK(sombra_db_checkpoint(db, NULL));
    assert_int_equal(first.checkpoints, 1);
    assert_int_equal(second.checkpoints, 1);
    OK(sombra_close(other)); /* ends its listener, too */
    commit_node(db);
    OK(sombra_db_checkpoint(db, NULL));
    assert_int_equal(first.checkpoints, 2);
    assert_int_equal(second.checkpoints, 1);
    sombra_db_listen(db, NULL, NULL);
    commit_node(db);
    OK(sombra_db_checkpoint(db, NULL));
    assert_int_equal(first.checkpoints, 2);
    assert_int_equal(first.others + second.others, 0);
    OK(sombra_close(db));
}

static void test_db__store_events_have_names(void **state)
{
    (void)state;
    assert_string_equal(sombra_store_event_name(SOMBRA_STORE_EVENT_RECOVERY), "recovery");
    assert_string_equal(sombra_store_event_name(SOMBRA_STORE_EVENT_FAILURE), "failure");
    assert_null(sombra_store_event_name((sombra_store_event_kind)(SOMBRA_STORE_EVENT_FAILURE + 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_db__metrics_come_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db__metrics_text_names_the_database, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db__each_handle_has_its_listener, setup, teardown),
        cmocka_unit_test(test_db__store_events_have_names),
    };
    return cmocka_run_group_tests_name("db, metrics", tests, NULL, NULL);
}
