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

static sombra_err count_poll(void *context)
{
    unsigned *polls = context;
    return ++*polls > 1000 ? SOMBRA_CANCELLED : SOMBRA_OK;
}

/* How often the caller was asked while all rows were counted. */
static unsigned polls_of(struct fixture *f, const char *steps)
{
    unsigned polls = 0;
    uint64_t rows;
    query_options.poll = count_poll;
    query_options.context = &polls;
    struct query *query = query_begin(f, value_text("%s", steps));
    assert_ok(query_count(query, &rows));
    assert_int_equal(rows, 0);
    query_end(query);
    query_options.poll = NULL;
    return polls;
}

static void test_poll__comes_where_no_row_does(void **state)
{
    struct fixture *f = *state;
    char long_where[8192] = "{{'all'}, {'where', {'or'";
    assert_true(polls_of(f, "{{'all'}, {'where', {i = {lt = 0}}}}") >= NODES / 256);
    assert_true(polls_of(f, "{{'all'}, {'except', {5}}, {'where', {i = {lt = 0}}}}") >=
                NODES / 256);
    /* Of a pattern, too, whose nodes come from a query of their own. */
    assert_true(polls_of(f, "{{'match', {nodes = {a = {where = {i = {lt = 0}}}}}}}") > NODES / 256);
    for (size_t i = 0; i < 160; i++)
        strcat(long_where, ", {i = {lt = 0}}");
    strcat(long_where, "}}}");
    assert_true(polls_of(f, long_where) >= NODES * (160 / 16) / 256);
    /* Steps that work for long before they give a row, or for each. */
    const char *const none = "{'where', {i = {lt = 0}}}";
    char steps[256];
    snprintf(steps, sizeof steps, "{{'all'}, {'order', {'g', 'i'}}, {'select', {'i'}}, %s}", none);
    assert_true(polls_of(f, steps) >= NODES * 9 / 256);
    snprintf(steps, sizeof steps, "{{'all'}, {'group', {'g'}, {{'i', 'count'}}}, %s}", none);
    assert_true(polls_of(f, steps) >= NODES / 256);
}

struct memory_asked {
    size_t bytes, bytes_max;
};

static sombra_err ask_memory(void *context, size_t bytes)
{
    struct memory_asked *asked = context;
    asked->bytes += bytes;
    return asked->bytes > asked->bytes_max ? SOMBRA_BUSY : SOMBRA_OK;
}

/* What a query asks its caller for while all rows are counted; the error of the count. */
static sombra_err memory_of(struct fixture *f, const char *steps, struct memory_asked *asked)
{
    uint64_t rows;
    query_options.memory = ask_memory;
    query_options.context = asked;
    struct query *query = query_begin(f, value_text("%s", steps));
    sombra_err err = query_count(query, &rows);
    query_end(query);
    query_options.memory = NULL;
    return err;
}

static void test_memory__is_asked_of_the_caller(void **state)
{
    static const char *const sorted = "{{'all'}, {'order', {'i'}}, {'where', {i = {lt = 0}}}}";
    struct memory_asked asked = { .bytes_max = SIZE_MAX };
    assert_ok(memory_of(*state, sorted, &asked));
    assert_true(asked.bytes >= NODES * sizeof(uint64_t) && asked.bytes < 1024 * (size_t)NODES);
    struct memory_asked less = { .bytes_max = asked.bytes - 1 };
    assert_err(memory_of(*state, sorted, &less), SOMBRA_BUSY);
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
                query_close(query);
            query_release(query);
            if (err && err != SOMBRA_NOMEM)
                fail_msg("%s: allocation %" PRIu64 ": %s: %s", all_kinds[i], nth,
                         sombra_err_name(err), sombra_err_message());
            /* The transaction keeps what it lends records in. */
            assert_in_range(mem_test_live(), live, live + 1);
        }
    }
}

/* What a query keeps of the one before is whole or gone. */
static void test_memory__that_is_out_spoils_nothing_that_is_kept(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 1; i < COUNT_OF(all_kinds); i++) {
        const sombra_slice before = value_text("%s", all_kinds[i - 1]);
        const sombra_slice steps = value_text("%s", all_kinds[i]);
        sombra_err err = SOMBRA_NOMEM;
        for (uint64_t nth = 1; err == SOMBRA_NOMEM; nth++) {
            const uint64_t live = mem_test_live();
            struct query *query;
            assert_ok(query_new(&query));
            assert_ok(query_open(query, &f->txn, before, &query_options, &query_environment));
            query_close(query);
            mem_test_fail_at(nth, false);
            err = query_open(query, &f->txn, steps, &query_options, &query_environment);
            mem_test_fail_at(0, false);
            query_close(query);
            assert_ok(query_open(query, &f->txn, steps, &query_options, &query_environment));
            query_close(query);
            query_release(query);
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

/* ---- records of a batch ------------------------------------------------------------------ */

/* Hands calls on to the store and counts them. Its own checks want its own table, so that it is put
 * back while a call lasts. */
static struct {
    const struct kv_ops *store;
    struct kv_ops counting;
    size_t gets, many;
} calls;

static sombra_err counting_get(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value)
{
    calls.gets++;
    txn->ops = calls.store;
    sombra_err err = kv_get(txn, key, out_value);
    txn->ops = &calls.counting;
    return err;
}

static sombra_err counting_get_many(struct kv_txn *txn, const sombra_slice *keys, size_t count,
                                    kv_value_fn each, void *context)
{
    calls.many++;
    txn->ops = calls.store;
    sombra_err err = kv_get_many(txn, keys, count, each, context);
    txn->ops = &calls.counting;
    return err;
}

static void calls_begin(struct kv_txn *txn)
{
    calls.store = txn->ops;
    calls.counting = *txn->ops;
    calls.counting.get = counting_get;
    calls.counting.get_many = counting_get_many;
    calls.gets = calls.many = 0;
    txn->ops = &calls.counting;
}

static sombra_slice steps_of_ids(const char *rest)
{
    char ids[NODES * 5], steps[sizeof ids + 200];
    size_t used = 0;
    for (unsigned i = 1; i <= 200; i++)
        used += (size_t)snprintf(ids + used, sizeof ids - used, "%u, ", i);
    assert_true(snprintf(steps, sizeof steps, "{{'ids', {%s}}, %s}", ids, rest) <
                (int)sizeof steps);
    return value_text("%s", steps);
}

static void test_records__of_a_batch_are_read_together(void **state)
{
    /* Without a condition or a column only whether each node exists is looked up. */
    static const struct {
        const char *rest;
        size_t rows, many;
    } cases[] = {
        { "{'limit', 300}", 200, 0 },
        { "{'where', {g = 3}}", 29, 4 },
        { "{'select', {'i', 'g'}}", 200, 4 },
        { "{'order', {'-i'}}", 200, 4 },
        { "{'where', {g = 3}}, {'select', {'i'}}", 29, 5 },
        { "{'group', {'g'}, {{'n', 'count'}}}", 7, 4 },
    };
    struct fixture *f = *state;
    size_t gets = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const sombra_row *rows;
        size_t count = 1, all = 0;
        struct query *query = query_begin(f, steps_of_ids(cases[i].rest));
        calls_begin(f->txn.kv);
        for (; count; all += count)
            assert_ok(query_next(query, &rows, &count));
        f->txn.kv->ops = calls.store;
        query_end(query);
        gets = i == 0 ? calls.gets : gets;
        assert_int_equal(all, cases[i].rows);
        assert_int_equal(calls.many, cases[i].many);
        assert_int_equal(calls.gets, gets);
    }
}

/* Of 64 that are read together the last ones find no room, and one alone has none either. */
static void test_records__of_many_bytes_are_read_one_by_one(void **state)
{
    struct fixture *f = *state;
    static char bytes[100001];
    for (unsigned i = 0; i < 20; i++) {
        size_t length = i == 7 ? 100000 : 9000;
        memset(bytes, 'a' + (int)i, length);
        bytes[length] = 0;
        const sombra_slice label = text("Long");
        sombra_node_id node;
        assert_ok(graph_node_create(&f->txn, &label, 1,
                                    map_of(f, "si", "bytes", bytes, "i", (int)i), &node));
    }
    assert_rows(f, "609 614", "{{'label', 'Long'}, {'where', {i = {any_of = {8, 13}}}}}");
    assert_int_equal(rows_count(f, "{{'label', 'Long'}, {'where', {bytes = {prefix = 'h'}}}}"), 1);
    assert_rows(f,
                "{i=7} {i=8} {i=9} {i=10} {i=11} {i=12} {i=13} {i=14} {i=15} {i=16} {i=17} "
                "{i=18} {i=19}",
                "{{'label', 'Long'}, {'where', {bytes = {ge = 'h'}}}, {'select', {'i'}}}");
    assert_rows(f, "620 619 618", "{{'label', 'Long'}, {'order', {'-bytes'}}, {'limit', 3}}");
}

static void test_records__of_nodes_deleted_meanwhile_are_not_there(void **state)
{
    static const struct {
        const char *rest;
        size_t rows;
    } cases[] = { { "{'select', {'i'}}", NODES }, { "{'where', {i = {gt = 0}}}", NODES - 1 } };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const sombra_row *rows;
        size_t count, all;
        uint64_t mark;
        struct query *query =
            query_begin(f, value_text("{{'all'}, {'order', {'-i'}}, %s}", cases[i].rest));
        assert_ok(graph_txn_savepoint(&f->txn, &mark));
        assert_ok(query_next(query, &rows, &count));
        all = count;
        assert_ok(graph_node_delete(&f->txn, 5, true));
        while (count) {
            assert_ok(query_next(query, &rows, &count));
            all += count;
            for (size_t j = 0; j < count && rows[j].kind == SOMBRA_ROW_RECORD; j++)
                if (all - count + j == NODES - 5)
                    assert_string_equal(text_of_value(rows[j].value), "{}");
        }
        query_end(query);
        assert_int_equal(all, cases[i].rows);
        assert_ok(graph_txn_rollback_to(&f->txn, mark));
    }
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
        TEST(test_memory__is_asked_of_the_caller),
        TEST(test_poll__comes_where_no_row_does),
        TEST(test_filter__asks_the_function_and_ends_with_its_error),
        TEST(test_writes__beside_a_query_show_from_the_next_batch_on),
        TEST(test_memory__that_is_out_leaks_nothing),
        TEST(test_memory__that_is_out_spoils_nothing_that_is_kept),
        TEST(test_explain__has_what_was_read_with_profiles),
        TEST(test_records__of_a_batch_are_read_together),
        TEST(test_records__of_many_bytes_are_read_one_by_one),
        TEST(test_records__of_nodes_deleted_meanwhile_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
