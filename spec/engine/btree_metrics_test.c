/* SPDX-License-Identifier: MIT */
/* What a btree store counts and tells, on files and on the simulated machine. */
#include "btree_fixture.h"

struct told {
    struct kv_listener listener;
    unsigned kinds[KV_EVENT_COUNT];
    struct kv_event last[KV_EVENT_COUNT];
};

static void tell(void *context, const struct kv_event *event)
{
    struct told *told = context;
    told->kinds[event->kind]++;
    told->last[event->kind] = *event;
}

static void listen(struct told *told, struct kv *kv)
{
    *told = (struct told){ .listener = { .event = tell, .context = told } };
    kv_metrics_listen(kv->metrics, &told->listener);
}

static uint64_t counted(struct kv *kv, enum kv_counter counter)
{
    return kv_metrics_count(kv->metrics, counter);
}

static struct kv_metric timed(struct kv *kv, enum kv_histogram histogram)
{
    struct kv_metric metric;
    kv_metrics_read(kv->metrics, KV_COUNTER_COUNT + KV_GAUGE_COUNT + (unsigned)histogram, &metric);
    return metric;
}

/* Values of five bytes, no two alike. */
static void commit_one(struct kv *kv, const char *key, enum kv_durability durability)
{
    static unsigned count;
    char value[6];
    struct kv_txn *txn = kv_begin_write(kv);
    snprintf(value, sizeof value, "v%04u", count++ % 10000);
    kv_put_text(txn, key, value);
    expect_ok(kv_commit(txn, durability));
}

static struct btree_options quiet(void)
{
    return (struct btree_options){ .map_bytes_max = TEST_MAP_BYTES, .no_background = true };
}

static void test_btree__metrics_count_commits_and_time_durable_ones(void **state)
{
    (void)state;
    struct store store;
    struct btree_options options = quiet();
    store_init(&store, &options);
    for (int i = 0; i < 5; i++)
        commit_one(store.kv, "no sync", KV_OFF);
    assert_int_equal(counted(store.kv, KV_COUNTER_COMMITS), 5);
    assert_int_equal(counted(store.kv, KV_COUNTER_COMMIT_BYTES), 5 * (7 + 5));
    assert_int_equal(timed(store.kv, KV_HISTOGRAM_COMMIT_NS).count, 0);
    assert_int_equal(counted(store.kv, KV_COUNTER_LOG_SYNCS), 0);
    uint64_t log_bytes = counted(store.kv, KV_COUNTER_LOG_BYTES);
    assert_true(log_bytes > 5 * (7 + 5));

    commit_one(store.kv, "synced", KV_FULL);
    struct kv_metric commit = timed(store.kv, KV_HISTOGRAM_COMMIT_NS);
    struct kv_metric sync = timed(store.kv, KV_HISTOGRAM_SYNC_NS);
    assert_int_equal(commit.count, 1);
    assert_int_equal(sync.count, 1);
    assert_true(commit.sum_ns >= sync.sum_ns);
    assert_int_equal(counted(store.kv, KV_COUNTER_LOG_SYNCS), 1);
    assert_true(counted(store.kv, KV_COUNTER_LOG_BYTES) > log_bytes);

    struct kv_txn *txn = kv_begin_write(store.kv); /* nothing is changed: no commit */
    expect_ok(kv_commit(txn, KV_FULL));
    txn = kv_begin_write(store.kv);
    kv_put_text(txn, "undone", "value");
    kv_abort(txn);
    assert_int_equal(counted(store.kv, KV_COUNTER_COMMITS), 6);
    assert_int_equal(store_stats(store.kv, false).commits, 6);
    store_release(&store);
}

static void test_btree__metrics_tell_checkpoints_and_compactions(void **state)
{
    (void)state;
    struct store store;
    struct told told;
    struct btree_options options = quiet();
    store_init(&store, &options);
    listen(&told, store.kv);
    struct kv_txn *txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < 4000; i++) {
        char key[24];
        snprintf(key, sizeof key, "key %06u", i);
        put_sized(txn, key, i, 200);
    }
    expect_ok(kv_commit(txn, KV_FULL));
    expect_ok(kv_maintain(store.kv, &(struct kv_maintenance){ .kind = KV_CHECKPOINT }));
    assert_int_equal(told.kinds[KV_EVENT_CHECKPOINT], counted(store.kv, KV_COUNTER_CHECKPOINTS));
    assert_int_equal(timed(store.kv, KV_HISTOGRAM_CHECKPOINT_NS).count,
                     counted(store.kv, KV_COUNTER_CHECKPOINTS));
    assert_true(told.kinds[KV_EVENT_CHECKPOINT] > 0);
    assert_int_equal(told.kinds[KV_EVENT_COMPACTION], 0);

    txn = kv_begin_write(store.kv);
    for (unsigned i = 0; i < 4000; i++)
        if (i % 8) {
            char key[24];
            snprintf(key, sizeof key, "key %06u", i);
            expect_ok(kv_delete(txn, slice_str(key)));
        }
    expect_ok(kv_commit(txn, KV_FULL));
    expect_ok(kv_maintain(store.kv, &(struct kv_maintenance){ .kind = KV_COMPACT }));
    assert_int_equal(told.kinds[KV_EVENT_COMPACTION], 1);
    assert_int_equal(counted(store.kv, KV_COUNTER_COMPACTIONS), 1);
    assert_int_equal(timed(store.kv, KV_HISTOGRAM_COMPACTION_NS).count, 1);
    assert_int_equal(told.last[KV_EVENT_COMPACTION].bytes_written,
                     counted(store.kv, KV_COUNTER_COMPACTION_WRITE_BYTES));
    assert_true(told.last[KV_EVENT_COMPACTION].bytes_written > 0);
    kv_metrics_unlisten(store.kv->metrics, &told.listener);
    store_release(&store);
}

static void test_btree__metrics_tell_a_recovery_to_who_opens(void **state)
{
    (void)state;
    struct store store, copy = { 0 };
    struct told told;
    struct btree_options options = quiet();
    store_init(&store, &options);
    store_use_log(store.kv);
    for (int i = 0; i < 7; i++)
        commit_one(store.kv, i % 2 ? "a" : "b", KV_FULL);
    listen(&told, store.kv);
    assert_int_equal(told.kinds[KV_EVENT_RECOVERY], 0); /* a new file needs none */
    kv_metrics_unlisten(store.kv->metrics, &told.listener);
    store_copy(&store, &copy); /* as if it were killed */
    store_open(&copy);
    listen(&told, copy.kv);
    assert_int_equal(told.kinds[KV_EVENT_RECOVERY], 1);
    assert_int_equal(told.last[KV_EVENT_RECOVERY].count, 7);
    assert_int_equal(counted(copy.kv, KV_COUNTER_RECOVERIES), 1);
    assert_int_equal(counted(copy.kv, KV_COUNTER_RECOVERED_RECORDS), 7);
    kv_metrics_unlisten(copy.kv->metrics, &told.listener);
    store_reopen(&copy);
    assert_int_equal(counted(copy.kv, KV_COUNTER_RECOVERIES), 0);
    store_release(&copy);
    store_release(&store);
}

static void test_btree__metrics_tell_a_failure_once(void **state)
{
    (void)state;
    struct store store;
    struct told told;
    struct btree_options options = quiet();
    store_init_simulated(&store, &options);
    store_use_log(store.kv);
    commit_one(store.kv, "key", KV_FULL);
    listen(&told, store.kv);
    assert_false(store_stats(store.kv, false).refuses_writes);
    struct os_sim_fault fault = { .kind = OS_SIM_EIO, .nth = 1, .calls = 1u << OS_SIM_SYNC };
    os_sim_fail(store.sim, &fault);
    struct kv_txn *txn = kv_begin_write(store.kv);
    kv_put_text(txn, "unknown", "outcome");
    expect_err(SOMBRA_IO, kv_commit(txn, KV_FULL));
    assert_non_null(strstr(sombra_err_message(), "outcome of the commit unknown"));
    os_sim_fail(store.sim, NULL);
    struct kv_begin_options write = { .is_write = true };
    for (int i = 0; i < 3; i++)
        expect_err(SOMBRA_IO, kv_begin(store.kv, &write, &txn));
    assert_int_equal(told.kinds[KV_EVENT_FAILURE], 1);
    assert_true(store_stats(store.kv, false).refuses_writes);
    kv_metrics_unlisten(store.kv->metrics, &told.listener);
    expect_err(SOMBRA_IO, kv_close(store.kv));
    store.kv = NULL;
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_btree__metrics_count_commits_and_time_durable_ones),
        cmocka_unit_test(test_btree__metrics_tell_checkpoints_and_compactions),
        cmocka_unit_test(test_btree__metrics_tell_a_recovery_to_who_opens),
        cmocka_unit_test(test_btree__metrics_tell_a_failure_once),
    };
    return cmocka_run_group_tests_name("btree, metrics", tests, NULL, NULL);
}
