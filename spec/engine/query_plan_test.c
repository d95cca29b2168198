/* SPDX-License-Identifier: MIT */
/* Which operators are chosen, and what they touch: on the engine, since pages are counted. */
#include "query_fixture.h"

enum { NODES = 3000 };

/* 3,000 nodes A, i ascending, g = i mod 10, odd ones named; an index on g, and on (g, i). */
static int setup(void **state)
{
    query_setup(state);
    struct fixture *f = *state;
    const sombra_slice label = text("A");
    static const char *const properties[][2] = { { "i", NULL }, { "g", "i" } };
    for (uint64_t i = 1; i <= NODES; i++) {
        sombra_node_id node;
        assert_ok(graph_node_create(&f->txn, &label, 1,
                                    value_text(i % 2 ? "{i = %" PRIu64 ", g = %" PRIu64
                                                       ", name = 'n%03" PRIu64 "'}"
                                                     : "{i = %" PRIu64 ", g = %" PRIu64 "}",
                                               i, i % 10, i % 1000),
                                    &node));
        values_release();
    }
    for (uint64_t i = 1; i <= NODES; i++) {
        const struct graph_edge ends = { .src = i, .dst = i % NODES + 1 };
        sombra_edge_id edge;
        assert_ok(graph_edge_create(&f->txn, &ends, text("E"), NOTHING, &edge));
    }
    for (size_t i = 0; i < COUNT_OF(properties) + 1; i++) {
        sombra_rule rule = { .struct_bytes = sizeof rule,
                             .kind = SOMBRA_RULE_INDEX,
                             .subject = text("A") };
        uint32_t id;
        for (size_t j = 0; j < 2 && i < COUNT_OF(properties) && properties[i][j]; j++)
            rule.properties[rule.property_count++] = text(properties[i][j]);
        if (i == COUNT_OF(properties))
            rule.properties[rule.property_count++] = text("name");
        assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
    }
    commit(f);
    begin_read(f);
    return 0;
}

static void test_sources__take_the_index_that_leaves_least(void **state)
{
    static const struct {
        const char *steps, *plan;
    } cases[] = {
        { "{{'label', 'A'}}", "scan(nodes A)" },
        { "{{'label', 'A'}, {'where', {i = 7}}}", "where <- index(i: equal)" },
        { "{{'label', 'A'}, {'where', {g = 7}}}", "where <- index(g, i: equal, sorted by id)" },
        { "{{'label', 'A'}, {'where', {g = 7, i = {lt = 100}}}}",
          "where <- index(g, i: a range, sorted by id)" },
        { "{{'label', 'A'}, {'where', {i = {ge = 5, lt = 9}}}}",
          "where <- index(i: a range, sorted by id)" },
        { "{{'label', 'A'}, {'where', {i = {any_of = {5, 900}}}}}",
          "where <- index(i: any of a list, sorted by id)" },
        { "{{'label', 'A'}, {'where', {name = {prefix = 'n01'}}}}",
          "where <- index(name: a prefix, sorted by id)" },
        { "{{'label', 'A'}, {'where', {name = {exists = true}}}}",
          "where <- index(name: all that have it, sorted by id)" },
        { "{{'label', 'A'}, {'where', {i = {ge = 0}}}}", "where <- scan(nodes A)" },
        { "{{'label', 'A'}, {'where', {nobody = 7}}}", "where <- ids(0 nodes)" },
        { "{{'label', 'A'}, {'where', {'or', {i = 7}, {g = 1}}}}", "where <- scan(nodes A)" },
        /* By id the label has ten of them soon. */
        { "{{'label', 'A'}, {'where', {g = {ge = 5}}}, {'limit', 10}}",
          "limit(skip 0, limit 10) <- where <- scan(nodes A)" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(plan_text(*state, "%s", cases[i].steps), cases[i].plan);
}

static void test_orders__come_from_an_index_or_the_ids_where_they_can(void **state)
{
    static const struct {
        const char *steps, *plan;
    } cases[] = {
        { "{{'label', 'A'}, {'order', {'i'}}, {'limit', 5}}",
          "limit(skip 0, limit 5) <- index(i: all of it)" },
        { "{{'label', 'A'}, {'order', {'-i'}}, {'limit', 5}}",
          "limit(skip 0, limit 5) <- index(i: all of it)" },
        { "{{'label', 'A'}, {'where', {g = 3}}, {'order', {'-i'}}, {'limit', 5}}",
          "limit(skip 0, limit 5) <- where <- index(g, i: equal)" },
        { "{{'label', 'A'}, {'order', {'g', 'i'}}, {'limit', 5}}",
          "limit(skip 0, limit 5) <- index(g, i: all of it)" },
        /* Half of them have no name: they come too, last. */
        { "{{'label', 'A'}, {'order', {'name'}}, {'limit', 5}}",
          "limit(skip 0, limit 5) <- top(1 keys) <- scan(nodes A)" },
        { "{{'label', 'A'}, {'order', {'g', '-i'}}}", "sort(2 keys) <- scan(nodes A)" },
        { "{{'label', 'A'}, {'order', {'-#id'}}, {'limit', 2}}",
          "limit(skip 0, limit 2) <- scan(nodes A, highest id first)" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(plan_text(*state, "%s", cases[i].steps), cases[i].plan);
    assert_rows(*state, "3000 2999 2998", "{{'label', 'A'}, {'order', {'-i'}}, {'limit', 3}}");
    assert_rows(*state, "10 20 30", "{{'label', 'A'}, {'order', {'g', 'i'}}, {'limit', 3}}");
    assert_rows(*state, "2993 2983",
                "{{'label', 'A'}, {'where', {g = 3}}, {'order', {'-i'}}, "
                "{'limit', 2}}");
    assert_rows(*state, "2 4", "{{'label', 'A'}, {'order', {'-name'}}, {'limit', 2}}");
}

static void test_walks__are_sets_where_only_a_distinct_follows(void **state)
{
    assert_string_equal(plan_text(*state, "{{'ids', {1}}, {'out'}, {'out'}, {'distinct'}}"),
                        "expand_set(out) <- expand_set(out) <- ids(1 nodes)");
    assert_string_equal(plan_text(*state, "{{'ids', {1}}, {'out'}, {'limit', 3}, {'distinct'}}"),
                        "distinct <- limit(skip 0, limit 3) <- expand(out) <- ids(1 nodes)");
    assert_string_equal(plan_text(*state, "{{'ids', {1}}, {'out', {max = 3, unique = 'nodes'}}}"),
                        "search(out, 1 to 3 hops, unique nodes) <- ids(1 nodes)");
}

/* Pages that a query touches until it has all its rows, or their number. */
static uint64_t pages_of(struct fixture *f, const char *steps, bool counts)
{
    const sombra_row *rows;
    size_t count = 1;
    uint64_t number;
    const uint64_t before = f->txn.kv->pages;
    struct query *query = query_begin(f, value_text("%s", steps));
    if (counts)
        assert_ok(query_count(query, &number));
    while (!counts && count)
        assert_ok(query_next(query, &rows, &count));
    query_end(query);
    return f->txn.kv->pages - before;
}

static void test_pages__are_those_of_the_answer(void **state)
{
    struct fixture *f = *state;
    /* A descent is three pages or less; each choice of an index counts its ranges. */
    assert_in_range(pages_of(f, "{{'label', 'A'}, {'where', {i = 7}}}", false), 3, 60);
    assert_in_range(pages_of(f, "{{'label', 'A'}, {'order', {'i'}}, {'limit', 5}}", false), 3, 60);
    assert_in_range(pages_of(f, "{{'ids', {5}}, {'out'}}", false), 3, 12);
    assert_in_range(pages_of(f, "{{'label', 'A'}}", true), 2, 12);
    assert_in_range(pages_of(f, "{{'all'}, {'limit', 9}}", true), 2, 12);
    assert_in_range(pages_of(f, "{{'ids', {5}}, {'out'}}", true), 2, 16);
    /* And a whole scan touches more. */
    assert_true(pages_of(f, "{{'label', 'A'}, {'order', {'g', '-i'}}}", false) > 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, query_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sources__take_the_index_that_leaves_least),
        TEST(test_orders__come_from_an_index_or_the_ids_where_they_can),
        TEST(test_walks__are_sets_where_only_a_distinct_follows),
        TEST(test_pages__are_those_of_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
