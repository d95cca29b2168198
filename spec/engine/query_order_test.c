/* SPDX-License-Identifier: MIT */
#include "query_search_fixture.h"

/* ---- cycles by hand ---------------------------------------------------------------------- */

static const struct {
    const char *graph, *options, *cycles;
} cycle_cases[] = {
    { "A>B, B>C", "{}", "" },
    { "A>A", "{}", "A-1-A" },
    { "A>A, A>A", "{}", "A-1-A; A-2-A" },
    { "A>B, B>A", "{}", "A-1-B-2-A" },
    { "A>B, A>B, B>A", "{}", "A-1-B-3-A; A-2-B-3-A" },
    { "A>B, B>C, C>A", "{}", "A-1-B-2-C-3-A" },
    { "B>C, C>B, A>B", "{}", "B-1-C-2-B" },
    { "A>B, B>C, C>A, C>B", "{}", "A-1-B-2-C-3-A; B-2-C-4-B" },
    { "A>B, B>C, C>D, D>A", "{max = 3}", "" },
    { "A>B, B>C, C>D, D>A", "{max = 4}", "A-1-B-2-C-3-D-4-A" },
    { "A>B, B>C, C>A, A>D, D>A", "{max = 2}", "A-4-D-5-A" },
    { "A>B, B>B, B>A, A>A", "{}", "A-4-A; A-1-B-3-A; B-2-B" },
    { "A>A", "{max = 0}", "" },
    { "A>A, A>B, B>A", "{max = 1}", "A-1-A" },
    { "A>B:X, B>A:Y, B>A:X", "{types = {'X'}}", "A-1-B-3-A" },
    { "A>B:X, B>A:Y", "{types = {'X'}}", "" },
    { "A>B 1, B>A 2, B>A 1", "{where = {w = 1}}", "A-1-B-3-A" },
    { "A>B, B>A, B>C, C>B", "{nodes = {name = {ne = 'A'}}}", "B-3-C-4-B" },
};

static void test_cycles__are_those_by_hand(void **state)
{
    for (size_t i = 0; i < COUNT_OF(cycle_cases); i++) {
        search_teardown(state);
        search_setup(state);
        graph_of(*state, cycle_cases[i].graph);
        const char *have = search_text(cycles_new, "%s", cycle_cases[i].options);
        if (strcmp(have, cycle_cases[i].cycles) != 0)
            fail_msg("%s %s gives %s, not %s", cycle_cases[i].graph, cycle_cases[i].options, have,
                     cycle_cases[i].cycles);
    }
}

/* ---- random graphs against brute force --------------------------------------------------- */

enum { NODES_MAX = 7, EDGES_MAX = 15 };

struct small {
    size_t node_count, edge_count;
    size_t src[EDGES_MAX], dst[EDGES_MAX];
    sombra_node_id nodes[NODES_MAX];
    sombra_edge_id edges[EDGES_MAX];
};

struct brute {
    const struct small *g;
    size_t start, max, found;
    bool on_path[NODES_MAX];
    uint64_t hash; /* of all cycles, in any order */
};

static void make_small(struct fixture *f, struct random *random, struct small *g, bool is_acyclic)
{
    memset(g, 0, sizeof *g);
    g->node_count = 1 + random_below(random, NODES_MAX);
    g->edge_count = random_below(random, EDGES_MAX + 1);
    for (size_t i = 0; i < g->node_count; i++) {
        g->nodes[i] = node_new(f, NULL);
        if (random_below(random, 4) == 0) /* gaps between ids */
            assert_ok(graph_node_delete(&f->txn, node_new(f, NULL), false));
    }
    for (size_t i = 0; i < g->edge_count; i++) {
        g->src[i] = random_below(random, g->node_count);
        g->dst[i] = random_below(random, g->node_count);
        if (is_acyclic && g->src[i] >= g->dst[i]) {
            g->edge_count = i;
            break;
        }
        g->edges[i] = edge_new(f, g->nodes[g->src[i]], "E", g->nodes[g->dst[i]]);
    }
}

static uint64_t step_hash(uint64_t hash, uint64_t id)
{
    return hash_u64(hash + id);
}

static void walk_all(struct brute *b, size_t at, size_t edges, uint64_t hash)
{
    const struct small *g = b->g;
    b->on_path[at] = true;
    for (size_t e = 0; e < g->edge_count && edges < b->max; e++) {
        uint64_t next = step_hash(step_hash(hash, g->edges[e]), g->nodes[g->dst[e]]);
        if (g->src[e] != at || g->dst[e] < b->start)
            continue;
        if (g->dst[e] == b->start) {
            b->found++;
            b->hash += next;
        } else if (!b->on_path[g->dst[e]]) {
            walk_all(b, g->dst[e], edges + 1, next);
        }
    }
    b->on_path[at] = false;
}

static uint64_t hash_of_row(const struct search_row *row)
{
    sombra_value path, id;
    sombra_value_cursor cursor;
    uint64_t hash = 0;
    bool found;
    assert_ok(sombra_value_decode(row->value, &path));
    sombra_value_enter(&path, &cursor);
    for (uint32_t i = 0; i < path.count; i++) {
        assert_ok(sombra_value_next(&cursor, NULL, &id, &found));
        hash = step_hash(hash, (uint64_t)id.as.integer);
    }
    return hash;
}

static void test_cycles__are_those_of_brute_force(void **state)
{
    struct random random;
    random_seed(&random, test_seed());
    for (int round = 0; round < 150; round++) {
        struct small g;
        struct brute b = { .g = &g };
        const struct search_row *rows;
        uint64_t hash = 0;
        search_teardown(state);
        search_setup(state);
        make_small(*state, &random, &g, false);
        b.max = 1 + random_below(&random, NODES_MAX);
        for (b.start = 0; b.start < g.node_count; b.start++)
            walk_all(&b, b.start, 0, step_hash(0, g.nodes[b.start]));
        assert_int_equal(search_rows(cycles_new, &rows, "{max = %zu}", b.max), b.found);
        for (size_t i = 0; i < b.found; i++)
            hash += hash_of_row(&rows[i]);
        assert_true(hash == b.hash);
    }
}

/* ---- orders ------------------------------------------------------------------------------ */

static void test_topological__is_as_by_hand(void **state)
{
    static const struct {
        const char *graph, *options, *nodes;
    } cases[] = {
        { "A>B, B>C", "{}", "A; B; C" },
        { "C>B, B>A", "{}", "C; B; A" },
        { "A>B, C>B, D", "{}", "A; C; B" },
        { "A>B, A>B, B>C", "{}", "A; B; C" },
        { "A>B:X, B>A:Y", "{types = {'X'}}", "A; B" },
        { "A>B:X, C>D:Y", "{types = 'Y'}", "C; D" },
        { "A>B 1, B>A 2", "{where = {w = 2}}", "B; A" },
        { "A>B, B>C, C>A", "{nodes = {name = {ne = 'A'}}}", "B; C" },
        { "A, B", "{}", "" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        search_teardown(state);
        search_setup(state);
        graph_of(*state, cases[i].graph);
        assert_string_equal(search_text(topological_new, "%s", cases[i].options), cases[i].nodes);
    }
}

static void test_topological__names_the_cycle(void **state)
{
    static const struct {
        const char *graph, *message;
    } cases[] = {
        { "A>A", "1 -> 1" },
        { "A>B, B>A", "cycle of nodes" },
        { "C>A, A>B, B>D, D>A, B>E", "2 -> 3 -> 4 -> 2" }, /* C is node 1 */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        search_teardown(state);
        search_setup(state);
        graph_of(*state, cases[i].graph);
        assert_err(search_error(topological_new, "{}"), SOMBRA_INVALID);
        const char *have = sombra_err_message();
        bool is_turned =
            i == 2 && (strstr(have, "3 -> 4 -> 2 -> 3") || strstr(have, "4 -> 2 -> 3 -> 4"));
        if (!strstr(have, cases[i].message) && !is_turned)
            fail_msg("%s: %s", cases[i].graph, have);
    }
    search_teardown(state);
    search_setup(state);
    struct fixture *f = *state;
    sombra_node_id first = node_new(f, NULL), at = first;
    for (int i = 0; i < 30; i++) {
        sombra_node_id next = i == 29 ? first : node_new(f, NULL);
        edge_new(f, at, "E", next);
        at = next;
    }
    assert_err(search_error(topological_new, "{}"), SOMBRA_INVALID);
    assert_non_null(strstr(sombra_err_message(), "a cycle of 30 nodes, part of it"));
}

static void test_topological__orders_random_graphs(void **state)
{
    struct random random;
    random_seed(&random, test_seed());
    for (int round = 0; round < 100; round++) {
        struct small g;
        const struct search_row *rows;
        size_t places[NODES_MAX] = { 0 }, members = 0;
        bool is_member[NODES_MAX] = { false };
        search_teardown(state);
        search_setup(state);
        make_small(*state, &random, &g, true);
        for (size_t e = 0; e < g.edge_count; e++)
            is_member[g.src[e]] = is_member[g.dst[e]] = true;
        for (size_t i = 0; i < g.node_count; i++)
            members += is_member[i];
        size_t count = search_rows(topological_new, &rows, "{}");
        assert_int_equal(count, members);
        for (size_t r = 0; r < count; r++) {
            for (size_t i = 0; i < g.node_count; i++) {
                if (g.nodes[i] == rows[r].id)
                    places[i] = r + 1;
            }
        }
        for (size_t e = 0; e < g.edge_count; e++)
            assert_true(places[g.src[e]] > 0 && places[g.src[e]] < places[g.dst[e]]);
    }
}

/* ---- options and bounds ------------------------------------------------------------------ */

static void test_order__wrong_options_are_refused(void **state)
{
    (void)state;
    assert_err(search_error(cycles_new, "{max = -1}"), SOMBRA_INVALID);
    assert_err(search_error(cycles_new, "{direction = 'both'}"), SOMBRA_INVALID);
    assert_err(search_error(cycles_new, "{types = 5}"), SOMBRA_INVALID);
    assert_err(search_error(topological_new, "{max = 1}"), SOMBRA_INVALID);
    assert_err(search_error(topological_new, "{where = {a = {b = 1}}}"), SOMBRA_INVALID);
}

static void test_order__ids_may_lie_far_apart(void **state)
{
    struct fixture *f = *state;
    sombra_node_id a = node_new(f, NULL), last = 0;
    for (int i = 0; i < 100; i++)
        last = node_new(f, NULL);
    for (sombra_node_id i = a + 1; i < last; i++)
        assert_ok(graph_node_delete(&f->txn, i, false));
    edge_new(f, a, "E", last);
    assert_string_equal(search_text(topological_new, "{}"), "1; 101");
    edge_new(f, last, "E", a);
    assert_string_equal(search_text(cycles_new, "{}"), "1-1-101-2-1");
}

static void test_order__survives_every_failed_allocation(void **state)
{
    graph_of(*state, "A>B 1, B>C 1, C>A 1, C>D 1, D>C 1");
    search_survives_failed_allocations(cycles_new, "{nodes = {name = {ne = 'X'}}}");
    search_survives_failed_allocations(topological_new, "{where = {w = 2}}");
}

static void test_order__obeys_its_bounds(void **state)
{
    struct fixture *f = *state;
    graph_of(f, "A>B 1, B>C 1, C>A 1, C>D 1, D>C 1");
    search_obeys_its_bounds(cycles_new, "{}");
    search_teardown(state);
    search_setup(state);
    graph_of(*state, "A>B, B>C, C>D");
    search_obeys_its_bounds(topological_new, "{}");
}

/* All ways through 12 nodes would take years; the first is there at once. */
static void test_cycles__come_as_they_are_asked_for(void **state)
{
    struct fixture *f = *state;
    static struct row_batch batch;
    struct operator* op;
    sombra_node_id nodes[14];
    for (size_t i = 0; i < COUNT_OF(nodes); i++)
        nodes[i] = node_new(f, NULL);
    for (size_t i = 0; i < COUNT_OF(nodes); i++) {
        for (size_t j = 0; j < COUNT_OF(nodes); j++)
            edge_new(f, nodes[i], "E", nodes[j]);
    }
    sombra_value options = value_decoded("{max = 14}");
    assert_ok(cycles_new(&search_run, &options, &op));
    assert_ok(operator_next(op, &batch));
    assert_int_equal(batch.count, 1);
    op->ops->free(op);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, search_setup, search_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_cycles__are_those_by_hand),
        TEST(test_cycles__are_those_of_brute_force),
        TEST(test_topological__is_as_by_hand),
        TEST(test_topological__names_the_cycle),
        TEST(test_topological__orders_random_graphs),
        TEST(test_order__wrong_options_are_refused),
        TEST(test_order__ids_may_lie_far_apart),
        TEST(test_order__survives_every_failed_allocation),
        TEST(test_order__obeys_its_bounds),
        TEST(test_cycles__come_as_they_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
