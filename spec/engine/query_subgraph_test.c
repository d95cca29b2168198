/* SPDX-License-Identifier: MIT */
/* Subgraphs and statistics. */
#include "query_search_fixture.h"

/* ---- subgraphs by hand ------------------------------------------------------------------- */

static void test_subgraph__is_as_by_hand(void **state)
{
    /* Nodes have the ids 1, 2, ... as A, B, ... appear. */
    static const struct {
        const char *graph, *options, *row;
    } cases[] = {
        { "A>B, B>C, C>D", "{roots = 1}", "{edges={1 2 3} nodes={1 2 3 4}}" },
        { "A>B, B>C, C>D", "{roots = 1, depth = 2}", "{edges={1 2} nodes={1 2 3}}" },
        { "A>B, B>C, C>D", "{roots = 1, depth = 0}", "{edges={} nodes={1}}" },
        { "A>B, B>C, C>D", "{roots = {3, 1, 3}, depth = 1}", "{edges={1 3} nodes={1 2 3 4}}" },
        { "A>B, B>C, C>D", "{roots = {3}, direction = 'into'}", "{edges={1 2} nodes={1 2 3}}" },
        { "A>B, B>C, C>D", "{roots = {3}, direction = 'both'}", "{edges={1 2 3} nodes={1 2 3 4}}" },
        { "A>B, B>C, C>D", "{roots = {77, 4}}", "{edges={} nodes={4}}" },
        { "A>B, B>C, C>D", "{roots = {}}", "{edges={} nodes={}}" },
        { "A>B, B>A, A>A, A>B", "{roots = 1}", "{edges={1 2 3 4} nodes={1 2}}" },
        { "A>A", "{roots = 1, direction = 'both'}", "{edges={1} nodes={1}}" },
        { "A>B:X, A>C:Y, C>B:X", "{roots = 1, types = 'X'}", "{edges={1} nodes={1 2}}" },
        { "A>B:X, A>C:Y, C>B:X", "{roots = 1, types = {}}", "{edges={} nodes={1}}" },
        { "A>B 1, A>C 2, C>B 1", "{roots = 1, where = {w = 2}}", "{edges={2} nodes={1 3}}" },
        { "A>B, B>C, A>C", "{roots = 1, nodes = {name = {ne = 'B'}}}", "{edges={3} nodes={1 3}}" },
        { "A>B, B>C", "{roots = 1, nodes = {name = 'X'}}", "{edges={} nodes={1}}" },
        /* Edges that were not walked: at the bound, of other types, against the direction. */
        { "A>B, A>C, B>C", "{roots = 1, depth = 1}", "{edges={1 2} nodes={1 2 3}}" },
        { "A>B, A>C, B>C", "{roots = 1, depth = 1, induced = true}",
          "{edges={1 2 3} nodes={1 2 3}}" },
        { "A>B:X, B>A:Y, B>C:Y", "{roots = 1, types = 'X', induced = true}",
          "{edges={1 2} nodes={1 2}}" },
        { "A>B, B>B, A>A", "{roots = {1, 2}, depth = 0, induced = true}",
          "{edges={1 2 3} nodes={1 2}}" },
        { "A>B", "{roots = {2}, induced = false}", "{edges={} nodes={2}}" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        search_teardown(state);
        search_setup(state);
        graph_of(*state, cases[i].graph);
        const char *have = search_text(subgraph_new, "%s", cases[i].options);
        if (strcmp(have, cases[i].row) != 0)
            fail_msg("%s %s gives %s, not %s", cases[i].graph, cases[i].options, have,
                     cases[i].row);
    }
}

/* ---- statistics by hand ------------------------------------------------------------------ */

static void label(struct fixture *f, const char *node, const char *name)
{
    assert_ok(graph_node_add_label(&f->txn, node_named(node), text(name), NULL));
}

static void test_statistics__are_as_by_hand(void **state)
{
    static const struct {
        const char *options, *rows;
    } cases[] = {
        { "{of = 'labels'}", "{label='Red' nodes=2}; {label='Blue' nodes=1}" },
        { "{of = 'types'}", "{edges=4 type='E'}; {edges=1 type='X'}" },
        { "{of = 'degrees'}", "{degree=0 nodes=2}; {degree=1 nodes=1}; {degree=3 nodes=3}" },
        { "{of = 'degrees', direction = 'out'}",
          "{degree=0 nodes=3}; {degree=1 nodes=2}; {degree=3 nodes=1}" },
        { "{of = 'degrees', types = {'X'}}", "{degree=0 nodes=4}; {degree=1 nodes=2}" },
        { "{of = 'degrees', types = {'Z'}}", "{degree=0 nodes=6}" },
        { "{of = 'hubs'}", "{degree=3 id=1}; {degree=3 id=2}; {degree=3 id=3}; {degree=1 id=4}" },
        { "{of = 'hubs', k = 2}", "{degree=3 id=1}; {degree=3 id=2}" },
        { "{of = 'hubs', k = 0}", "" },
        { "{of = 'hubs', k = 3, direction = 'into'}",
          "{degree=2 id=2}; {degree=2 id=3}; {degree=1 id=4}" },
        { "{of = 'hubs', direction = 'out', types = 'X'}", "{degree=1 id=3}" },
        { "{of = 'isolated'}", "{id=5}; {id=6}" },
        { "{of = 'isolated', direction = 'out'}", "{id=4}; {id=5}; {id=6}" },
        { "{of = 'isolated', types = 'X'}", "{id=1}; {id=4}; {id=5}; {id=6}" },
    };
    struct fixture *f = *state;
    /* Out: A 3, B 1, C 1. In: B 2, C 2, D 1. */
    graph_of(f, "A>B, A>C, A>D, B>C, C>B:X, F, G");
    label(f, "A", "Red");
    label(f, "B", "Red");
    label(f, "B", "Blue");
    label(f, "A", "Green");
    assert_ok(graph_node_remove_label(&f->txn, node_named("A"), text("Green"), NULL));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *have = search_text(statistics_new, "%s", cases[i].options);
        if (strcmp(have, cases[i].rows) != 0)
            fail_msg("%s gives %s, not %s", cases[i].options, have, cases[i].rows);
    }
}

/* A loop is one edge, of all directions and types. */
static void test_statistics__count_a_loop_once(void **state)
{
    graph_of(*state, "A>A");
    assert_string_equal(search_text(statistics_new, "{of = 'hubs'}"), "{degree=1 id=1}");
    assert_string_equal(search_text(statistics_new, "{of = 'hubs', types = 'E'}"),
                        "{degree=1 id=1}");
    assert_string_equal(search_text(statistics_new, "{of = 'isolated'}"), "");
}

/* More nodes than a batch of rows has, against counts kept beside. */
static void test_statistics__are_right_for_many_nodes(void **state)
{
    enum { NODES = 700, EDGES = 900 };
    struct fixture *f = *state;
    static sombra_node_id nodes[NODES];
    static uint64_t degrees[NODES], counts[EDGES + 1];
    const struct search_row *rows;
    struct random random;
    random_seed(&random, test_seed());
    memset(degrees, 0, sizeof degrees);
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < NODES; i++)
        nodes[i] = node_new(f, NULL);
    for (size_t i = 0; i < EDGES; i++) {
        size_t src = random_below(&random, NODES / 3), dst = random_below(&random, NODES);
        edge_new(f, nodes[src], "E", nodes[dst]);
        degrees[src]++;
        degrees[dst] += src != dst;
    }
    size_t isolated = 0, different = 0;
    for (size_t i = 0; i < NODES; i++) {
        different += counts[degrees[i]]++ == 0;
        isolated += degrees[i] == 0;
    }
    assert_true(isolated > QUERY_BATCH / 4);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'isolated'}"), isolated);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'degrees'}"), different);
    for (size_t i = 0; i < different; i++) {
        sombra_value row, degree, count;
        assert_ok(sombra_value_decode(rows[i].value, &row));
        assert_ok(sombra_value_member(&row, text("degree"), &degree));
        assert_ok(sombra_value_member(&row, text("nodes"), &count));
        assert_int_equal(counts[degree.as.integer], count.as.integer);
    }
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'hubs', k = 600}"),
                     size_min(600, NODES - isolated));
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < size_min(600, NODES - isolated); i++) {
        sombra_value row, degree, id;
        assert_ok(sombra_value_decode(rows[i].value, &row));
        assert_ok(sombra_value_member(&row, text("degree"), &degree));
        assert_ok(sombra_value_member(&row, text("id"), &id));
        assert_true((uint64_t)degree.as.integer <= last);
        last = (uint64_t)degree.as.integer;
        assert_int_equal(degrees[id.as.integer - (int64_t)nodes[0]], last);
    }
}

/* ---- options and bounds ------------------------------------------------------------------ */

static void test_subgraph__wrong_options_are_refused(void **state)
{
    static const struct {
        source_fn source;
        const char *options, *message;
    } cases[] = {
        { subgraph_new, "{}", "'roots' is missing" },
        { subgraph_new, "{roots = 'A'}", "'roots'" },
        { subgraph_new, "{roots = 1, depth = -1}", "'depth'" },
        { subgraph_new, "{roots = 1, induced = 1}", "'induced'" },
        { subgraph_new, "{roots = 1, max = 1}", "'max'" },
        { statistics_new, "{}", "'of' is missing" },
        { statistics_new, "{of = 'love'}", "'of'" },
        { statistics_new, "{of = 'labels', direction = 'out'}", "'direction'" },
        { statistics_new, "{of = 'degrees', k = 1}", "'k'" },
        { statistics_new, "{of = 'hubs', k = -1}", "'k'" },
        { statistics_new, "{of = 'hubs', where = {}}", "'where'" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_err(search_error(cases[i].source, "%s", cases[i].options), SOMBRA_INVALID);
        if (!strstr(sombra_err_message(), cases[i].message))
            fail_msg("%s: %s", cases[i].options, sombra_err_message());
    }
}

static const struct {
    source_fn source;
    const char *options;
} sources[] = {
    { subgraph_new, "{roots = {1, 2}, nodes = {name = {ne = 'X'}}, direction = 'both'}" },
    { subgraph_new, "{roots = {1, 2}, where = {w = 1}, induced = true}" },
    { statistics_new, "{of = 'labels'}" },
    { statistics_new, "{of = 'types'}" },
    { statistics_new, "{of = 'degrees'}" },
    { statistics_new, "{of = 'hubs', types = {'E'}}" },
    { statistics_new, "{of = 'isolated'}" },
};

static void test_subgraph__survives_every_failed_allocation(void **state)
{
    graph_of(*state, "A>B 1, B>C 2, C>A 1, D");
    label(*state, "A", "Red");
    for (size_t i = 0; i < COUNT_OF(sources); i++)
        search_survives_failed_allocations(sources[i].source, sources[i].options);
}

static void test_subgraph__obeys_its_bounds(void **state)
{
    graph_of(*state, "A>B 1, B>C 2, C>A 1, D");
    label(*state, "A", "Red");
    for (size_t i = 0; i < COUNT_OF(sources); i++)
        search_obeys_its_bounds(sources[i].source, sources[i].options);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, search_setup, search_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_subgraph__is_as_by_hand),
        TEST(test_statistics__are_as_by_hand),
        TEST(test_statistics__count_a_loop_once),
        TEST(test_statistics__are_right_for_many_nodes),
        TEST(test_subgraph__wrong_options_are_refused),
        TEST(test_subgraph__survives_every_failed_allocation),
        TEST(test_subgraph__obeys_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
