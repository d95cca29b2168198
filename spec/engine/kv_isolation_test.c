/* SPDX-License-Identifier: MIT */
/* The anomalies of Hermitage on the model, and that a schedule which goes otherwise is noticed. */
#include "kv_check.h"
#include "kv_isolation.h"
#include "kv_model.h"

static void model_open(void *context, struct kv *out_kvs[2])
{
    (void)context;
    expect_ok(kv_model_open(NULL, &out_kvs[0]));
    out_kvs[1] = out_kvs[0];
}

static void model_close(void *context, struct kv *kvs[2])
{
    (void)context;
    expect_ok(kv_close(kvs[0]));
}

static void test_isolation__model_has_no_anomaly(void **state)
{
    (void)state;
    const struct kv_isolation_driver driver = { "model", NULL, model_open, model_close };
    kv_isolation_check(&driver);
}

/* What a schedule that expects an anomaly says. */
static void expect_report(const char *schedule, const char *wanted)
{
    struct kv *kvs[2];
    char report[300];
    model_open(NULL, kvs);
    struct kv_txn *txn = kv_begin_write(kvs[0]);
    kv_put_text(txn, "x", "10");
    kv_put_text(txn, "y", "20");
    kv_commit_ok(txn);
    assert_true(kv_isolation_run(kvs, "1r 1x:10 1%1:xy 1c", report, sizeof report));
    assert_false(kv_isolation_run(kvs, schedule, report, sizeof report));
    assert_non_null(strstr(report, wanted));
    model_close(NULL, kvs);
}

static void test_isolation__schedules_notice_what_goes_otherwise(void **state)
{
    (void)state;
    expect_report("1r 1x:11", "step 1x:11: x is 10");
    expect_report("1r 1z:11", "step 1z:11: get");
    expect_report("1r 1x:-", "step 1x:-");
    expect_report("1r 1%1:xyz", "the keys are 'xy'");
    expect_report("1w 1x#", "step 1x#");
    expect_report("1w!", "step 1w!");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isolation__model_has_no_anomaly),
        cmocka_unit_test(test_isolation__schedules_notice_what_goes_otherwise),
    };
    return cmocka_run_group_tests_name("isolation", tests, NULL, NULL);
}
