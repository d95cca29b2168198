/* SPDX-License-Identifier: MIT */
/* A store behind the tracing wrapper keeps the contract, and every call leaves its line. */
#include "kv/kv_trace.h"
#include "kv_check.h"
#include "kv_contract.h"
#include "kv_model.h"

#include <stdatomic.h>

static _Atomic uint64_t lines_told;

static void count_line(void *context, const char *line)
{
    (void)context;
    atomic_fetch_add(&lines_told, *line != 0);
}

static sombra_err open_traced(void *context, struct kv **out_kv)
{
    struct kv *model;
    sombra_err err = kv_model_open(NULL, &model);
    return err ? err : kv_trace_open(model, count_line, context, out_kv);
}

static void append_line(void *context, const char *line)
{
    struct buf *lines = context;
    if (buf_append_slice(lines, slice_str(line)) != SOMBRA_OK ||
        buf_append_u8(lines, '\n') != SOMBRA_OK)
        fail();
}

static const char *const expected_lines =
    "txn 1: begin write: ok\n"
    "txn 1: put \"a\\x00\\xff\\x22\" = 3 bytes: ok\n"
    "txn 1: get \"b\": not_found 0 bytes\n"
    "txn 1: open cursor on [\"\", \"z\"): ok 1\n"
    "cursor 1 of txn 1: next: ok \"a\\x00\\xff\\x22\"\n"
    "txn 1: delete \"a\\x00\\xff\\x22\": ok\n"
    "cursor 1 of txn 1: seek >= \"b\": ok none\n"
    "cursor 1 of txn 1: close\n"
    "txn 1: set savepoint 1: ok\n"
    "txn 1: delete [\"kkkkkkkkkkkkkkkkkkkkkkkk...\" (30 bytes), \"\"): ok 0\n"
    "txn 1: put \"\" = 1 bytes: invalid\n"
    "store: close: busy\n"
    "txn 1: commit full: ok\n"
    "store: verify: ok\n"
    "store: close: ok\n";

static void test_trace__every_call_is_a_line(void **state)
{
    (void)state;
    struct buf lines = BUF_INIT;
    struct kv *model, *kv;
    expect_ok(kv_model_open(NULL, &model));
    expect_ok(kv_trace_open(model, append_line, &lines, &kv));
    struct kv_txn *txn = kv_begin_write(kv);
    sombra_slice value;
    expect_ok(kv_put(txn, slice_of("a\x00\xff\"", 4), slice_str("ada")));
    expect_err(SOMBRA_NOT_FOUND, kv_get(txn, slice_str("b"), &value));
    struct kv_cursor *cursor;
    bool found;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, "z"), &cursor));
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    expect_ok(kv_delete(txn, cursor->entry.key));
    assert_false(cursor->is_positioned);
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, slice_str("b"), &found));
    kv_cursor_close(cursor);
    uint64_t mark, removed = 9;
    expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
    struct kv_range range = { slice_str("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"), slice_of(NULL, 0) };
    expect_ok(kv_delete_range(txn, range, &removed));
    assert_int_equal(removed, 0);
    expect_err(SOMBRA_INVALID, kv_put(txn, slice_of(NULL, 0), slice_str("v")));
    expect_err(SOMBRA_BUSY, kv_close(kv));
    expect_ok(kv_commit(txn, KV_FULL));
    struct kv_maintenance job = { .kind = KV_VERIFY };
    expect_ok(kv_maintain(kv, &job));
    expect_ok(kv_close(kv));
    expect_ok(buf_append_u8(&lines, 0));
    assert_string_equal((const char *)lines.data, expected_lines);
    buf_release(&lines);
}

static void test_trace__failed_allocations_reach_nobody_below(void **state)
{
    (void)state;
    struct kv *model, *kv;
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    expect_ok(kv_model_open(NULL, &model));
    mem_test_fail_at(1, false);
    expect_err(SOMBRA_NOMEM, kv_trace_open(model, count_line, NULL, &kv));
    expect_ok(kv_trace_open(model, count_line, NULL, &kv));
    struct kv_begin_options options = { .is_write = true };
    mem_test_fail_at(1, false);
    expect_err(SOMBRA_NOMEM, kv_begin(kv, &options, &txn));
    txn = kv_begin_write(kv);
    mem_test_fail_at(1, false);
    expect_err(SOMBRA_NOMEM, kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    mem_test_fail_at(0, false);
    kv_put_words(txn, "a");
    kv_commit_ok(txn);
    expect_ok(kv_close(kv));
}

int main(void)
{
    const struct kv_driver driver = { .name = "traced model",
                                      .open = open_traced,
                                      .is_counted = true };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace__every_call_is_a_line),
        cmocka_unit_test(test_trace__failed_allocations_reach_nobody_below),
    };
    int failed = cmocka_run_group_tests_name("kv_trace", tests, NULL, NULL);
    failed += kv_contract_run(&driver, 5000);
    return failed || atomic_load(&lines_told) == 0;
}
