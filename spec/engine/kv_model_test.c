/* SPDX-License-Identifier: MIT */
/* The model keeps the contract; the helpers of kv.h; and the suite finds a model that errs. */
#include "kv_check.h"
#include "kv_contract.h"
#include "kv_history.h"
#include "kv_model.h"

static sombra_err open_model(void *context, struct kv **out_kv)
{
    return kv_model_open(context, out_kv);
}

static struct kv_model_options short_batches = { .batch_entries_max = 3 };

static const struct kv_driver model_driver = { .name = "model",
                                               .open = open_model,
                                               .is_counted = true };
static const struct kv_driver short_driver = { .name = "model, short batches",
                                               .context = &short_batches,
                                               .open = open_model,
                                               .is_counted = true };

/* ---- helpers of kv.h --------------------------------------------------------------------- */

struct end_case {
    const char *prefix;
    size_t prefix_bytes;
    const char *end;
    size_t end_bytes;
};

static void test_kv__prefix_end_is_the_first_key_behind_the_prefix(void **state)
{
    (void)state;
    static const struct end_case cases[] = {
        { "a", 1, "b", 1 },
        { "ab", 2, "ac", 2 },
        { "", 0, "", 0 },
        { "\xff", 1, "", 0 },
        { "\xff\xff", 2, "", 0 },
        { "a\xff", 2, "b", 1 },
        { "a\xff\xff", 3, "b", 1 },
        { "\x00", 1, "\x01", 1 },
        { "\xfe\xff", 2, "\xff", 1 },
        { "a\x00\xff", 3, "a\x01", 2 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t to[KV_KEY_BYTES_MAX];
        sombra_slice end = kv_prefix_end(slice_of(cases[i].prefix, cases[i].prefix_bytes), to);
        assert_true(slice_equal(end, slice_of(cases[i].end, cases[i].end_bytes)));
    }
    uint8_t most[KV_KEY_BYTES_MAX];
    memset(most, 0xff, sizeof most);
    assert_int_equal(kv_prefix_end(slice_of(most, sizeof most), most).bytes, 0);
    most[sizeof most - 1] = 7;
    assert_int_equal(kv_prefix_end(slice_of(most, sizeof most), most).bytes, sizeof most);
    assert_int_equal(most[sizeof most - 1], 8);
}

static void test_kv__limits_are_named_in_the_text(void **state)
{
    (void)state;
    static const uint8_t key[KV_KEY_BYTES_MAX + 1];
    expect_ok(kv_check_key(slice_of(key, 1)));
    expect_ok(kv_check_key(slice_of(key, KV_KEY_BYTES_MAX)));
    expect_err(SOMBRA_INVALID, kv_check_key(slice_of(key, 0)));
    assert_non_null(strstr(sombra_err_message(), "1 to 1024 bytes"));
    expect_err(SOMBRA_INVALID, kv_check_key(slice_of(key, sizeof key)));
    assert_non_null(strstr(sombra_err_message(), "key of 1025 bytes"));
    expect_ok(kv_check_value(slice_of(NULL, 0)));
    expect_ok(kv_check_value(slice_of(key, KV_VALUE_BYTES_MAX)));
    expect_err(SOMBRA_INVALID, kv_check_value(slice_of(key, (size_t)KV_VALUE_BYTES_MAX + 1)));
    assert_non_null(strstr(sombra_err_message(), "0 to 1073741824 bytes"));
}

/* ---- what the model adds ----------------------------------------------------------------- */

static void test_model__injected_failure_of_a_write_ends_the_transaction(void **state)
{
    (void)state;
    struct kv *kv;
    expect_ok(kv_model_open(NULL, &kv));
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_words(txn, "a");
    uint64_t mark;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    kv_model_fail_at(kv, 2, SOMBRA_NOMEM);
    kv_put_words(txn, "b");
    expect_err(SOMBRA_NOMEM, kv_put(txn, slice_str("c"), slice_str("c")));
    sombra_slice value;
    expect_err(SOMBRA_NOMEM, kv_get(txn, slice_str("a"), &value));
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
    kv_expect_words(txn, NULL, NULL, "a");
    kv_model_fail_at(kv, 1, SOMBRA_IO);
    expect_err(SOMBRA_IO, kv_commit(txn, KV_FULL));
    struct kv_begin_options options = { .is_write = true };
    expect_err(SOMBRA_IO, kv_begin(kv, &options, &txn));
    txn = kv_begin_read(kv);
    kv_expect_words(txn, NULL, NULL, "");
    kv_abort(txn);
    expect_ok(kv_close(kv));
}

static void test_model__jobs_without_a_file_are_unsupported(void **state)
{
    (void)state;
    struct kv *kv;
    expect_ok(kv_model_open(NULL, &kv));
    struct kv_maintenance compact = { .kind = KV_COMPACT };
    struct kv_maintenance backup = { .kind = KV_BACKUP, .path = "copy" };
    expect_err(SOMBRA_UNSUPPORTED, kv_maintain(kv, &compact));
    expect_err(SOMBRA_UNSUPPORTED, kv_maintain(kv, &backup));
    expect_ok(kv_close(kv));
}

/* ---- the histories find faults ----------------------------------------------------------- */

static sombra_err open_faulty(void *context, struct kv **out_kv)
{
    (void)context;
    sombra_err err = kv_model_open(NULL, out_kv);
    if (!err)
        kv_model_fail_at(*out_kv, 40, SOMBRA_LIMIT);
    return err;
}

static void test_history__reports_a_fault_with_its_seed_and_shortens_it(void **state)
{
    (void)state;
    const struct kv_driver faulty = { .name = "faulty model", .open = open_faulty };
    FILE *report = tmpfile();
    assert_non_null(report);
    assert_false(kv_history_run(&faulty, 12345, 3000, report));
    char text[20000];
    rewind(report);
    text[fread(text, 1, sizeof text - 1, report)] = 0;
    fclose(report);
    assert_non_null(strstr(text, "SOMBRA_SEED=12345"));
    assert_non_null(strstr(text, "store says limit (model: failure injected by the test)"));
    unsigned long operations;
    const char *shortened = strstr(text, "shortened to ");
    assert_non_null(shortened);
    assert_int_equal(sscanf(shortened, "shortened to %lu operations", &operations), 1);
    assert_in_range(operations, 1, 45);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kv__prefix_end_is_the_first_key_behind_the_prefix),
        cmocka_unit_test(test_kv__limits_are_named_in_the_text),
        cmocka_unit_test(test_model__injected_failure_of_a_write_ends_the_transaction),
        cmocka_unit_test(test_model__jobs_without_a_file_are_unsupported),
        cmocka_unit_test(test_history__reports_a_fault_with_its_seed_and_shortens_it),
    };
    int failed = cmocka_run_group_tests_name("kv", tests, NULL, NULL);
    failed += kv_contract_run(&model_driver, 20000);
    failed += kv_contract_run(&short_driver, 20000);
    return failed;
}
