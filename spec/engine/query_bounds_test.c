/* SPDX-License-Identifier: MIT */
/* What ends a query early: bounds, cancelling, failed filters, memory that is out; and writes of
 * its own transaction beside it. */
#include "query_fixture.h"

enum { NODES = 600 };

/* A ring of 600 with a chord from each node to the one 7 further on. */
static int setup(void **state)
{
    query_setup(state);
    struct fixture *f = *state;
    const sombra_slice label = text("N");
    for (uint64_t i = 1; i <= NODES; i++) {
        sombra_node_id node;
        assert_ok(graph_node_create(
            &f->txn, &label, 1, value_text("{i = %" PRIu64 ", g = %" PRIu64 "}", i, i % 7), &node));
    }
    for (uint64_t i = 0; i < NODES; i++) {
        for (unsigned step = 1; step <= 7; step += 6) {
            const struct graph_edge ends = { .src = i + 1, .dst = (i + step) % NODES + 1 };
            sombra_edge_id edge;
            assert_ok(graph_edge_create(&f->txn, &ends, text("E"), NOTHING, &edge));
        }
    }
    return 0;
}

static void test_rows__are_delivered_up_to_the_bound(void **state)
{
    struct fixture *f = *state;
    const sombra_row *rows;
    size_t count;
    query_options.rows_max = 300;
    struct query *query = query_begin(f, value_text("{{'all'}}"));
    assert_ok(query_next(query, &rows, &count));
    assert_int_equal(count, 256);
    assert_ok(query_next(query, &rows, &count));
    assert_int_equal(count, 44);
    assert_err(query_next(query, &rows, &count), SOMBRA_LIMIT);
    assert_non_null(strstr(sombra_err_message(), "300 rows"));
    assert_err(query_next(query, &rows, &count), SOMBRA_LIMIT); /* and stays so */
    query_end(query);
    query_options.rows_max = NODES; /* exactly as many */
    assert_int_equal(query_error(f, "{{'all'}}"), SOMBRA_OK);
    query_options.rows_max = 256;
    assert_int_equal(query_error(f, "{{'all'}, {'limit', 256}}"), SOMBRA_OK);
}

static void test_memory__is_bounded_in_each_step_that_keeps_rows(void **state)
{
    static const char *const steps[] = {
        "{{'all'}, {'order', {'-i'}}}",
        "{{'all'}, {'group', {'i'}, {{'n', 'count'}}}}",
        "{{'all'}, {'select', {'i'}}, {'distinct'}}",
        "{{'all'}, {'union', [], []}}",
        "{{'all'}, {'out', {max = 3}}, {'distinct'}}",
        "{{'all'}, {'repeat', {{'out'}}, {max = 30}}}",
        "{{'ids', {1}}, {'out', {max = 300}}}",
        "{{'all'}, {'out', {max = 4}}, {'path'}}",
    };
    query_options.memory_max = 12000;
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        sombra_err err = query_error(*state, "%s", steps[i]);
        if (err != SOMBRA_LIMIT)
            fail_msg("%s: %s", steps[i], sombra_err_name(err));
    }
}

static void test_time__is_bounded(void **state)
{
    query_options.time_max_ms = 1;
    assert_int_equal(query_error(*state, "{{'all'}, {'out', {max = 60}}}"), SOMBRA_LIMIT);
    assert_non_null(strstr(sombra_err_message(), "longer than 1 ms"));
}

static void test_cancel__ends_the_next_step_of_work(void **state)
{
    struct fixture *f = *state;
    const sombra_row *rows;
    size_t count;
    struct query *query = query_begin(f, value_text("{{'all'}, {'out', {max = 60}}}"));
    assert_ok(query_next(query, &rows, &count));
    query_is_cancelled = 1;
    assert_err(query_next(query, &rows, &count), SOMBRA_CANCELLED);
    query_end(query);
    query_is_cancelled = 1;
    uint64_t unused;
    query = query_begin(f, value_text("{{'all'}, {'out', {max = 60}}}"));
    assert_err(query_count(query, &unused), SOMBRA_CANCELLED);
    query_end(query);
}

static sombra_err keep_even(void *context, uint32_t number, const sombra_row *row, bool *out_keep)
{
    unsigned *calls = context;
    if (++*calls == 100 && number == 1)
        return SOMBRA_CONFLICT;
    *out_keep = row->id % 2 == 0;
    return SOMBRA_OK;
}

static void test_filter__asks_the_function_and_ends_with_its_error(void **state)
{
    unsigned calls = 0;
    query_options.filter = keep_even;
    query_options.context = &calls;
    assert_rows(*state, "2 4 6", "{{'all'}, {'limit', 7}, {'filter', 0}}");
    assert_int_equal(calls, 7);
    assert_int_equal(query_error(*state, "{{'all'}, {'filter', 1}}"), SOMBRA_CONFLICT);
}

static void test_writes__beside_a_query_show_from_the_next_batch_on(void **state)
{
    struct fixture *f = *state;
    const sombra_row *rows;
    size_t count, total = 0;
    uint64_t seen = 0;
    struct query *query =
        query_begin(f, value_text("{{'all'}, {'out', {edges = true}}, {'target'}}"));
    for (bool is_first = true;; is_first = false) {
        assert_ok(query_next(query, &rows, &count));
        if (count == 0)
            break;
        total += count;
        seen = rows[count - 1].id;
        if (is_first) /* with its edges, those read ahead as well */
            assert_ok(graph_node_delete(&f->txn, 500, true));
    }
    assert_true(seen > 0);
    assert_int_equal(total, 2 * NODES - 4);
    query_end(query);
}

static const char *const all_kinds[] = {
    "{{'label', 'N'}, {'where', {g = 3}}, {'order', {'-i'}}, {'limit', 5}}",
    "{{'label', 'N'}, {'order', {'g', '-i'}}, {'select', {'i', '#labels', '#id'}}, {'limit', 9}}",
    "{{'all'}, {'limit', 20}, {'group', {'g'}, {{'n', 'count'}, {'c', 'collect', 'i'}, {'m', "
    "'max', 'i'}}}}",
    "{{'ids', {1, 2}}, {'out', {max = 3}}, {'path'}, {'distinct'}}",
    "{{'ids', {1, 2}}, {'both', {max = 2}}, {'distinct'}, {'except', {3}}}",
    "{{'ids', {1}}, {'out', {max = 4, unique = 'nodes', types = {'E'}, where = {w = {exists = "
    "false}}}}}",
    "{{'ids', {1, 9}}, {'union', {{'out'}}, {{'into', {edges = true}}, {'source'}}}}",
    "{{'ids', {1, 9}}, {'optional', {{'out'}, {'where', {g = 1}}}}}",
    "{{'ids', {1}}, {'repeat', {{'out'}}, {max = 4, unique = 'nodes', emit = {g = 2}}}}",
    "{{'edges', 'E'}, {'limit', 3}, {'order', {'-#target'}}}",
};

static void test_memory__that_is_out_leaks_nothing(void **state)
{
    struct fixture *f = *state;
    const sombra_rule rule = { .struct_bytes = sizeof rule,
                               .kind = SOMBRA_RULE_INDEX,
                               .subject = text("N"),
                               .property_count = 1,
                               .properties = { text("g") } };
    uint32_t id;
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
    for (size_t i = 0; i < COUNT_OF(all_kinds); i++) {
        const sombra_slice steps = value_text("%s", all_kinds[i]);
        sombra_err err = SOMBRA_NOMEM;
        for (uint64_t nth = 1; err == SOMBRA_NOMEM; nth++) {
            struct query *query = NULL;
            const sombra_row *rows;
            sombra_slice plan;
            size_t count = 1;
            const uint64_t live = mem_test_live();
            mem_test_fail_at(nth, false);
            err = query_new(&query);
            if (!err)
                err = query_open(query, &f->txn, steps, &query_options, &query_environment);
            if (!err)
                err = query_explain(query, &plan);
            while (!err && count)
                err = query_next(query, &rows, &count);
            mem_test_fail_at(0, false);
            if (query)
                query_end(query);
            if (err && err != SOMBRA_NOMEM)
                fail_msg("%s: allocation %" PRIu64 ": %s: %s", all_kinds[i], nth,
                         sombra_err_name(err), sombra_err_message());
            /* The transaction keeps what it lends records in. */
            assert_in_range(mem_test_live(), live, live + 1);
        }
    }
}

static void test_explain__has_what_was_read_with_profiles(void **state)
{
    struct fixture *f = *state;
    const sombra_row *rows;
    size_t count;
    sombra_slice plan;
    sombra_value map, value;
    query_options.profiles = true;
    struct query *query = query_begin(f, value_text("{{'label', 'N'}, {'limit', 3}}"));
    assert_ok(query_next(query, &rows, &count));
    assert_ok(query_explain(query, &plan));
    assert_ok(sombra_value_decode(plan, &map));
    assert_ok(sombra_value_member(&map, text("rows"), &value));
    assert_int_equal(value.as.integer, 3);
    assert_ok(sombra_value_member(&map, text("pages"), &value));
    assert_ok(sombra_value_member(&map, text("time_us"), &value));
    assert_ok(sombra_value_member(&map, text("inputs"), &value));
    query_end(query);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, query_teardown)
int main(void)
{
    (void)mem_test_allocations(); /* counting begins before the first block */
    const struct CMUnitTest tests[] = {
        TEST(test_rows__are_delivered_up_to_the_bound),
        TEST(test_memory__is_bounded_in_each_step_that_keeps_rows),
        TEST(test_time__is_bounded),
        TEST(test_cancel__ends_the_next_step_of_work),
        TEST(test_filter__asks_the_function_and_ends_with_its_error),
        TEST(test_writes__beside_a_query_show_from_the_next_batch_on),
        TEST(test_memory__that_is_out_leaks_nothing),
        TEST(test_explain__has_what_was_read_with_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
