/* SPDX-License-Identifier: MIT */
/* Handles of queries: what they outlive, and who may cancel them. */
#include "assert_err.h"
#include "sombra/sombra.h"
#include "value_fixture.h"

#include <pthread.h>
#include <stdio.h>

static sombra_db *db;
static sombra_txn *txn;

static int setup(void **state)
{
    (void)state;
    const sombra_txn_options options = { .struct_bytes = sizeof options, .is_write = true };
    assert_ok(sombra_open(":memory:", NULL, &db));
    assert_ok(sombra_txn_begin(db, &options, &txn));
    for (unsigned i = 0; i < 300; i++) {
        sombra_node_id node;
        sombra_edge_id edge;
        assert_ok(sombra_node_create(txn, NULL, 0, (sombra_slice){ NULL, 0 }, &node));
        assert_ok(sombra_edge_create(txn, node, (sombra_slice){ "E", 1 }, 1,
                                     (sombra_slice){ NULL, 0 }, &edge));
        assert_ok(sombra_edge_create(txn, 1, (sombra_slice){ "E", 1 }, node,
                                     (sombra_slice){ NULL, 0 }, &edge));
    }
    assert_ok(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    assert_ok(sombra_txn_begin(db, NULL, &txn));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sombra_txn_close(txn);
    assert_ok(sombra_close(db));
    values_release();
    return 0;
}

static sombra_query *open_query(const char *steps)
{
    sombra_query *query;
    assert_ok(sombra_query_open(txn, value_text("%s", steps), NULL, &query));
    return query;
}

static size_t read_all(sombra_query *query)
{
    size_t total = 0, count = 1;
    const sombra_row *rows;
    for (; count; total += count)
        assert_ok(sombra_query_next(query, &rows, &count));
    return total;
}

static void test_query__of_steps_given_one_by_one_is_the_same(void **state)
{
    (void)state;
    sombra_query *query;
    const sombra_slice steps[] = { value_text("{'all'}"), value_text("{'out'}"),
                                   value_text("{'distinct'}") };
    const sombra_slice bad[] = { value_text("{'all'}"), { "\x41\x09", 2 } };
    sombra_query *as_one = open_query("{{'all'}, {'out'}, {'distinct'}}");
    const size_t whole = read_all(as_one);
    sombra_query_close(as_one);
    assert_true(whole > 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(sombra_query_open_steps(txn, steps, COUNT_OF(steps), NULL, &query));
        assert_int_equal(read_all(query), whole);
        sombra_query_close(query);
        assert_int_equal(sombra_query_open_steps(txn, bad, 2, NULL, &query), SOMBRA_INVALID);
        assert_int_equal(sombra_query_open_steps(txn, steps + 1, 2, NULL, &query), SOMBRA_INVALID);
        assert_non_null(strstr(sombra_err_message(), "step 1 (out)"));
        assert_int_equal(sombra_query_open_steps(txn, steps, 0, NULL, &query), SOMBRA_INVALID);
        assert_int_equal(sombra_query_open_steps(txn, NULL, 0, NULL, &query), SOMBRA_INVALID);
    }
}

static void test_query__gives_rows_again_and_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12; i++) { /* with handles used before, and several at once */
        sombra_query *a = open_query("{{'all'}, {'out'}, {'distinct'}}");
        sombra_query *b = open_query("{{'ids', {1, 2}}}");
        assert_int_equal(sombra_query_kind(b), SOMBRA_ROW_NODE);
        assert_int_equal(read_all(b), 2);
        assert_int_equal(read_all(a), 300);
        sombra_query_close(b);
        sombra_query_close(a);
    }
    sombra_query_close(NULL);
}

static void test_query__ends_with_its_transaction(void **state)
{
    (void)state;
    const sombra_row *rows;
    size_t count;
    uint64_t number;
    sombra_slice bytes;
    sombra_query *query = open_query("{{'all'}, {'out'}}");
    assert_ok(sombra_query_next(query, &rows, &count));
    sombra_txn_close(txn);
    assert_int_equal(sombra_query_next(query, &rows, &count), SOMBRA_INVALID);
    assert_int_equal(sombra_query_count(query, &number), SOMBRA_INVALID);
    assert_int_equal(sombra_query_explain(query, &bytes), SOMBRA_INVALID);
    assert_int_equal(sombra_query_position(query, &bytes), SOMBRA_INVALID);
    assert_int_equal(sombra_query_kind(query), SOMBRA_ROW_NODE);
    sombra_query_cancel(query);
    sombra_query_close(query);
    assert_ok(sombra_txn_begin(db, NULL, &txn));
}

static void test_query__that_is_refused_leaves_nothing_behind(void **state)
{
    (void)state;
    sombra_query *query;
    const sombra_query_options newer = { .struct_bytes = 4 };
    assert_int_equal(sombra_query_open(txn, value_text("{{'nothing'}}"), NULL, &query),
                     SOMBRA_INVALID);
    assert_int_equal(sombra_query_open(txn, value_text("{{'all'}}"), &newer, &query),
                     SOMBRA_INVALID);
    query = open_query("{{'all'}}");
    assert_int_equal(read_all(query), 300);
    sombra_query_close(query);
}

static void *cancel(void *query)
{
    sombra_query_cancel(query);
    return NULL;
}

static void test_query__is_cancelled_by_another_thread(void **state)
{
    (void)state;
    pthread_t thread;
    const sombra_row *rows;
    size_t count = 1;
    sombra_err err = SOMBRA_OK;
    sombra_query *query = open_query("{{'all'}, {'out', {max = 90}}}"); /* without end */
    assert_int_equal(pthread_create(&thread, NULL, cancel, query), 0);
    while (!err && count)
        err = sombra_query_next(query, &rows, &count);
    assert_int_equal(err, SOMBRA_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sombra_query_close(query);
    query = open_query("{{'all'}}"); /* the same handle, perhaps */
    assert_int_equal(read_all(query), 300);
    sombra_query_close(query);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_query__of_steps_given_one_by_one_is_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_query__gives_rows_again_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_query__ends_with_its_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_query__that_is_refused_leaves_nothing_behind, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_query__is_cancelled_by_another_thread, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
