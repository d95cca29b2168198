/* SPDX-License-Identifier: MIT */
#include "query_search_fixture.h"

#include "query/query.h"

#include <math.h>

/* ---- cases by hand ----------------------------------------------------------------------- */

struct path_case {
    const char *graph, *options, *paths; /* $X in options is the id of node X */
};

static const char *filled(const char *options)
{
    static char text[1000];
    size_t used = 0;
    for (; *options; options++) {
        if (*options == '$')
            used += (size_t)snprintf(text + used, sizeof text - used, "%" PRIu64,
                                     node_named(++options));
        else
            text[used++] = *options;
    }
    text[used] = 0;
    return text;
}

#define DIAMOND "A>B, B>D, A>C, C>D"
static const struct path_case cases[] = {
    { "A>B", "{from = $A, to = $B}", "A-1-B" },
    { "A>B", "{from = $B, to = $A}", "" },
    { "A>B", "{from = $B, to = $A, direction = 'into'}", "B-1-A" },
    { "A>B", "{from = $B, to = $A, direction = 'both'}", "B-1-A" },
    { "A>B", "{from = $A, to = $A}", "A" },
    { "A>A", "{from = $A, to = $A}", "A" },
    { "A>B", "{from = 77, to = 77}", "" },
    { "A>B", "{from = $A, to = 77}", "" },
    { "A>B", "{from = 77, to = $A}", "" },
    { "A>B", "{from = $A, to = $A, kind = 'all_shortest'}", "A" },
    { "A>B", "{from = $A, to = $A, kind = 'weighted'}", "A" },
    { "A>B", "{from = $A, to = $A, kind = 'k_shortest', k = 3}", "A" },
    { "A>B, B>C, C>D", "{from = $A, to = $D}", "A-1-B-2-C-3-D" },
    { "A>B, B>C, C>D", "{from = $A, to = $D, max = 3}", "A-1-B-2-C-3-D" },
    { "A>B, B>C, C>D", "{from = $A, to = $D, max = 2}", "" },
    { "A>B, B>C, C>D", "{from = $A, to = $D, max = 0}", "" },
    { "A>B, B>C, A>C", "{from = $A, to = $C}", "A-3-C" },
    { "A>B:X, B>C:X, A>C:Y", "{from = $A, to = $C, types = {'X'}}", "A-1-B-2-C" },
    { "A>B:X, B>C:X, A>C:Y", "{from = $A, to = $C, types = {'X', 'Y'}}", "A-3-C" },
    { "A>B:X, B>C:X, A>C:Y", "{from = $A, to = $C, types = {'Z'}}", "" },
    { "A>B:X, B>C:X, A>C:Y", "{from = $A, to = $C, types = {}}", "" },
    { DIAMOND, "{from = $A, to = $D, nodes = {name = 'C'}}", "A-3-C-4-D" },
    { DIAMOND, "{from = $A, to = $D, nodes = {name = 'X'}}", "" },
    { "A>B", "{from = $A, to = $B, nodes = {name = 'X'}}", "A-1-B" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, where = {w = {lt = 5}}}", "A-1-B-2-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $C, to = $A, where = {w = {lt = 5}}, direction = 'into'}",
      "C-2-B-1-A" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, where = {['#target'] = $C}}", "A-3-C" },
    { DIAMOND, "{from = $A, to = $D, kind = 'all_shortest', direction = 'out', max = 1}", "" },
    /* A node that is not taken, met from both sides; reached again, and cheaper. */
    { "S>A, S>B, A>V, B>V, V>T", "{from = $S, to = $T, nodes = {name = {ne = 'V'}}}", "" },
    { "S>A, S>B, A>V, B>V, V>T",
      "{from = $S, to = $T, kind = 'all_shortest', nodes = {name = {ne = 'V'}}}", "" },
    { "A>V 5, A>B 1, B>V 1, V>T 1, A>T 9",
      "{from = $A, to = $T, kind = 'weighted', weight = 'w', nodes = {name = {ne = 'V'}}}",
      "A-5-T" },
    { "A>B, B>C, A>C, C>D, B>D", "{from = $A, to = $D, kind = 'all_shortest'}",
      "A-1-B-5-D; A-3-C-4-D" },
    /* Several ends: each from with each to, in their order. */
    { "A>B, B>C", "{from = {$A, $B}, to = {$C, $B}}", "A-1-B-2-C; A-1-B; B-2-C; B" },
    { "A>B, B>C", "{from = {$C, $A, $A}, to = {$B}}", "A-1-B; A-1-B" },
    { "A>B", "{from = {}, to = {$B}}", "" },
    { "A>B", "{from = {$A}, to = []}", "" },
    /* By cost. */
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'weighted', weight = 'w'}", "A-1-B-2-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'weighted', weight = 'w', max = 1}",
      "A-3-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'weighted'}", "A-3-C" },
    { "A>B 1, B>C 1, A>C", "{from = $A, to = $C, kind = 'weighted', weight = 'w'}", "A-3-C" },
    { "A>B 1, B>C 1, A>C",
      "{from = $A, to = $C, kind = 'weighted', weight = 'w', weight_default = 2.5}", "A-1-B-2-C" },
    { "A>B 1, B>C 1, A>C 2", "{from = $A, to = $C, kind = 'weighted', weight = 'w'}", "A-3-C" },
    { "A>B 0, B>A 0, B>C 0", "{from = $A, to = $C, kind = 'weighted', weight = 'w'}", "A-1-B-3-C" },
    { "A>B 0.5, B>C 0.25, A>C 0.8", "{from = $A, to = $C, kind = 'weighted', weight = 'w'}",
      "A-1-B-2-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'weighted', weight = 'none'}", "A-3-C" },
    { "A>B 1, C>B 1, A>C 5",
      "{from = $A, to = $C, kind = 'weighted', weight = 'w', direction = 'both'}", "A-1-B-2-C" },
    /* The cheap way to B has no edges left to reach C; the dear one has. */
    { "A>X 1, X>B 1, A>B 9, B>C 1",
      "{from = $A, to = $C, kind = 'weighted', weight = 'w', max = 2}", "A-3-B-4-C" },
    /* k of them. */
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'k_shortest', k = 1, weight = 'w'}",
      "A-1-B-2-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'k_shortest', k = 9, weight = 'w'}",
      "A-1-B-2-C; A-3-C" },
    { "A>B 1, B>C 1, A>C 5", "{from = $A, to = $C, kind = 'k_shortest', k = 0, weight = 'w'}", "" },
    { "A>B 1, A>B 2, A>B 1.5", "{from = $A, to = $B, kind = 'k_shortest', k = 5, weight = 'w'}",
      "A-1-B; A-3-B; A-2-B" },
    { "A>B 1, B>A 1, B>C 1", "{from = $A, to = $C, kind = 'k_shortest', k = 5, weight = 'w'}",
      "A-1-B-3-C" },
};

static void test_paths__are_those_by_hand(void **state)
{
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        search_teardown(state);
        search_setup(state);
        graph_of(*state, cases[i].graph);
        const char *have = search_text(paths_new, "%s", filled(cases[i].options));
        if (strcmp(have, cases[i].paths) != 0)
            fail_msg("%s %s gives %s, not %s", cases[i].graph, cases[i].options, have,
                     cases[i].paths);
    }
}

static void test_paths__rows_say_end_edges_and_cost(void **state)
{
    const struct search_row *rows;
    graph_of(*state, "A>B 1.5, B>C 2, A>C 5");
    assert_int_equal(search_rows(paths_new, &rows, "%s",
                                 filled("{from = $A, to = $C, kind = 'k_shortest', k = 2, weight "
                                        "= 'w'}")),
                     2);
    assert_int_equal(rows[0].id, node_named("C"));
    assert_int_equal(rows[0].depth, 2);
    assert_true(rows[0].cost == 3.5);
    assert_int_equal(rows[1].depth, 1);
    assert_true(rows[1].cost == 5);
    assert_int_equal(search_rows(paths_new, &rows, "%s", filled("{from = $A, to = $C}")), 1);
    assert_int_equal(rows[0].id, node_named("C"));
    assert_true(rows[0].cost == 0);
}

static void test_paths__wrong_options_are_refused(void **state)
{
    static const struct {
        const char *options, *message;
    } wrong[] = {
        { "{}", "'from' is missing" },
        { "{from = 1}", "'to' is missing" },
        { "{from = 'a', to = 1}", "'from'" },
        { "{from = {1, 'a'}, to = 1}", "'from'" },
        { "{from = 0, to = 1}", "'from'" },
        { "{from = 1, to = -1}", "'to'" },
        { "{from = 1, to = 2, kind = 'long'}", "'kind'" },
        { "{from = 1, to = 2, colour = 'red'}", "'colour'" },
        { "{from = 1, to = 2, max = -1}", "'max'" },
        { "{from = 1, to = 2, max = 1.5}", "'max'" },
        { "{from = 1, to = 2, k = 2}", "'k' is for" },
        { "{from = 1, to = 2, kind = 'k_shortest'}", "'k' is missing" },
        { "{from = 1, to = 2, weight = 'w'}", "'weight' is for" },
        { "{from = 1, to = 2, kind = 'all_shortest', scale = 1}", "'scale' is for" },
        { "{from = 1, to = 2, kind = 'weighted', weight = true}", "'weight' is a boolean" },
        { "{from = 1, to = 2, kind = 'weighted', weight = 1}", "'weight' is a function" },
        { "{from = 1, to = 2, kind = 'weighted', weight_default = -1}", "'weight_default'" },
        { "{from = 1, to = 2, kind = 'weighted', weight_default = 'x'}", "'weight_default'" },
        { "{from = 1, to = 2, kind = 'weighted', weight_default = inf}", "'weight_default'" },
        { "{from = 1, to = 2, kind = 'weighted', heuristic = 1}", "'heuristic' is a function" },
        { "{from = 1, to = 2, kind = 'weighted', heuristic = {'haversine'}}", "'heuristic' takes" },
        { "{from = 1, to = 2, kind = 'weighted', heuristic = {'manhattan', 'x', 'y'}}",
          "'heuristic' takes" },
        { "{from = 1, to = 2, kind = 'weighted', heuristic = {'euclidean', 'x', 1}}",
          "'heuristic' takes" },
        { "{from = 1, to = 2, kind = 'weighted', scale = -1}", "'scale'" },
        { "{from = 1, to = 2, where = {a = {x = 1}}}", "\"where\"" },
        { "{from = 1, to = 2, direction = 'up'}", "direction" },
        { "5", "options are a integer" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_err(search_error(paths_new, "%s", wrong[i].options), SOMBRA_INVALID);
        if (!strstr(sombra_err_message(), wrong[i].message))
            fail_msg("%s: %s", wrong[i].options, sombra_err_message());
    }
}

static void test_paths__wrong_weights_name_the_edge(void **state)
{
    struct fixture *f = *state;
    static const char *const weights[] = { "-1", "-0.5", "nan", "inf", "'far'", "true" };
    for (size_t i = 0; i < COUNT_OF(weights); i++) {
        char message[60];
        sombra_edge_id edge;
        sombra_node_id a = node_new(f, NULL), b = node_new(f, NULL);
        struct graph_edge ends = { .src = a, .dst = b };
        assert_ok(graph_edge_create(&f->txn, &ends, text("E"), value_text("{w = %s}", weights[i]),
                                    &edge));
        assert_err(search_error(paths_new,
                                "{from = %" PRIu64 ", to = %" PRIu64
                                ", kind = 'weighted', weight = 'w'}",
                                a, b),
                   SOMBRA_INVALID);
        snprintf(message, sizeof message, "weight of edge %" PRIu64 " is ", edge);
        assert_non_null(strstr(sombra_err_message(), message));
    }
}

/* ---- functions --------------------------------------------------------------------------- */

/* Function 1: the edge's id; 2: negative; 3: fails; 4: 0, an estimate. */
static sombra_err cost_of(void *context, uint32_t number, uint64_t id, double *out_cost)
{
    assert_ptr_equal(context, &search_run);
    switch (number) {
    case 1:
        *out_cost = (double)id;
        return SOMBRA_OK;
    case 2:
        *out_cost = -1;
        return SOMBRA_OK;
    case 3:
        return diag_fail(SOMBRA_NOT_FOUND, "no idea");
    default:
        *out_cost = 0;
        return SOMBRA_OK;
    }
}

static void test_paths__functions_give_weights_and_estimates(void **state)
{
    graph_of(*state, "A>C, A>B, B>C");
    search_run.options.cost = cost_of;
    search_run.options.context = &search_run;
    assert_string_equal(
        search_text(paths_new, "%s",
                    filled("{from = $A, to = $C, kind = 'weighted', weight = 1, heuristic = 4}")),
        "A-1-C");
    assert_err(search_error(paths_new, "%s",
                            filled("{from = $A, to = $C, kind = 'weighted', weight = 2}")),
               SOMBRA_INVALID);
    assert_non_null(strstr(sombra_err_message(), "the weight of edge 1 is -1"));
    assert_err(search_error(paths_new, "%s",
                            filled("{from = $A, to = $C, kind = 'weighted', weight = 3}")),
               SOMBRA_NOT_FOUND);
    assert_non_null(strstr(sombra_err_message(), "weight of edge 1: no idea"));
    assert_err(search_error(paths_new, "%s",
                            filled("{from = $A, to = $C, kind = 'weighted', heuristic = 2}")),
               SOMBRA_INVALID);
}

/* ---- random graphs against brute force --------------------------------------------------- */

enum { NODES_MAX = 7, EDGES_MAX = 22, PATHS_MAX = 20000 };

struct small {
    size_t node_count, edge_count;
    struct {
        size_t src, dst;
        int weight;
        bool is_x;       /* its type */
        bool is_blocked; /* by `where` */
    } edges[EDGES_MAX];
    bool is_closed[NODES_MAX]; /* to inner nodes, by `nodes` */
    int x[NODES_MAX], y[NODES_MAX];
    sombra_node_id nodes[NODES_MAX];
    sombra_edge_id ids[EDGES_MAX];
};

struct brute {
    const struct small *g;
    sombra_direction direction;
    bool only_x, has_where, has_nodes;
    size_t to, max;
    uint64_t path[2 * NODES_MAX + 1];
    bool on_path[NODES_MAX];
    struct {
        uint64_t ids[2 * NODES_MAX + 1];
        size_t edges;
        int cost;
        bool was_given;
    } found[PATHS_MAX];
    size_t found_count;
};

static void walk_all(struct brute *b, size_t at, size_t edges, int cost)
{
    const struct small *g = b->g;
    b->path[2 * edges] = g->nodes[at];
    if (at == b->to) {
        assert_true(b->found_count < PATHS_MAX);
        memcpy(b->found[b->found_count].ids, b->path, sizeof b->path);
        b->found[b->found_count].edges = edges;
        b->found[b->found_count].cost = cost;
        b->found[b->found_count++].was_given = false;
        return;
    }
    if (edges == b->max || (edges > 0 && b->has_nodes && g->is_closed[at]))
        return;
    b->on_path[at] = true;
    for (size_t e = 0; e < g->edge_count; e++) {
        for (int turned = 0; turned < 2; turned++) {
            size_t near = turned ? g->edges[e].dst : g->edges[e].src;
            size_t far = turned ? g->edges[e].src : g->edges[e].dst;
            if (near != at || b->on_path[far] ||
                !(b->direction & (turned ? SOMBRA_IN : SOMBRA_OUT)))
                continue;
            if ((b->only_x && !g->edges[e].is_x) || (b->has_where && g->edges[e].is_blocked))
                continue;
            b->path[2 * edges + 1] = g->ids[e];
            walk_all(b, far, edges + 1, cost + g->edges[e].weight);
        }
    }
    b->on_path[at] = false;
}

static void make_small(struct fixture *f, struct random *random, struct small *g)
{
    memset(g, 0, sizeof *g);
    g->node_count = 2 + random_below(random, NODES_MAX - 1);
    g->edge_count = random_below(random, EDGES_MAX + 1);
    for (size_t i = 0; i < g->node_count; i++) {
        g->is_closed[i] = random_below(random, 4) == 0;
        g->x[i] = (int)random_below(random, 10);
        g->y[i] = (int)random_below(random, 10);
        assert_ok(
            graph_node_create(&f->txn, NULL, 0,
                              value_text("{closed = %s, x = %d, y = %d}",
                                         g->is_closed[i] ? "true" : "false", g->x[i], g->y[i]),
                              &g->nodes[i]));
    }
    for (size_t i = 0; i < g->edge_count; i++) {
        size_t src = random_below(random, g->node_count), dst = random_below(random, g->node_count);
        /* Never cheaper than the way through the air, so that it never overestimates. */
        double air = hypot(g->x[src] - g->x[dst], g->y[src] - g->y[dst]);
        g->edges[i].src = src;
        g->edges[i].dst = dst;
        g->edges[i].weight = (int)ceil(air) + (int)random_below(random, 6);
        g->edges[i].is_x = random_below(random, 3) != 0;
        g->edges[i].is_blocked = random_below(random, 4) == 0;
        struct graph_edge ends = { .src = g->nodes[src], .dst = g->nodes[dst] };
        assert_ok(graph_edge_create(&f->txn, &ends, text(g->edges[i].is_x ? "X" : "Y"),
                                    value_text("{w = %d, blocked = %s}", g->edges[i].weight,
                                               g->edges[i].is_blocked ? "true" : "false"),
                                    &g->ids[i]));
    }
}

static size_t least_edges(const struct brute *b)
{
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < b->found_count; i++)
        least = size_min(least, b->found[i].edges);
    return least;
}

/* The row must be one of the paths there are, and not given before. */
static size_t find_path(struct brute *b, const struct search_row *row)
{
    sombra_value path, id;
    sombra_value_cursor cursor;
    uint64_t ids[2 * NODES_MAX + 1];
    assert_ok(sombra_value_decode(row->value, &path));
    assert_in_range(path.count, 1, COUNT_OF(ids));
    sombra_value_enter(&path, &cursor);
    for (uint32_t i = 0; i < path.count; i++) {
        bool found;
        assert_ok(sombra_value_next(&cursor, NULL, &id, &found));
        ids[i] = (uint64_t)id.as.integer;
    }
    for (size_t i = 0; i < b->found_count; i++) {
        if (b->found[i].edges == row->depth && path.count == 2 * row->depth + 1 &&
            memcmp(b->found[i].ids, ids, path.count * sizeof *ids) == 0) {
            assert_false(b->found[i].was_given);
            b->found[i].was_given = true;
            return i;
        }
    }
    fail_msg("a path that is none: %s", text_of_value(row->value));
    return 0;
}

static void check_least_edges(struct brute *b, const char *options)
{
    const struct search_row *rows;
    size_t least = least_edges(b), all = 0;
    for (size_t i = 0; i < b->found_count; i++)
        all += b->found[i].edges == least;
    size_t count = search_rows(paths_new, &rows, "{%s, kind = 'all_shortest'}", options);
    assert_int_equal(count, all);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(b->found[find_path(b, &rows[i])].edges, least);
    for (size_t i = 0; i < b->found_count; i++)
        b->found[i].was_given = false;
    count = search_rows(paths_new, &rows, "{%s}", options);
    assert_int_equal(count, b->found_count > 0);
    if (count)
        assert_int_equal(b->found[find_path(b, &rows[0])].edges, least);
    for (size_t i = 0; i < b->found_count; i++)
        b->found[i].was_given = false;
}

static int by_cost(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void check_costs(struct brute *b, const char *options, const char *heuristic)
{
    static int costs[PATHS_MAX];
    const struct search_row *rows;
    for (size_t i = 0; i < b->found_count; i++)
        costs[i] = b->found[i].cost;
    qsort(costs, b->found_count, sizeof *costs, by_cost);
    size_t count = search_rows(paths_new, &rows, "{%s, kind = 'weighted', weight = 'w'%s}", options,
                               heuristic);
    assert_int_equal(count, b->found_count > 0);
    if (count) {
        assert_true(rows[0].cost == costs[0]);
        b->found[find_path(b, &rows[0])].was_given = false;
    }
    count = search_rows(paths_new, &rows, "{%s, kind = 'k_shortest', k = 12, weight = 'w'%s}",
                        options, heuristic);
    assert_int_equal(count, size_min(b->found_count, 12));
    for (size_t i = 0; i < count; i++) {
        size_t at = find_path(b, &rows[i]);
        assert_true(rows[i].cost == costs[i]);
        assert_true(rows[i].cost == b->found[at].cost);
    }
    for (size_t i = 0; i < b->found_count; i++)
        b->found[i].was_given = false;
}

static void check_pair(struct small *g, struct random *random)
{
    static struct brute b;
    static const char *const directions[] = { "", "out", "into", "both" };
    char options[500];
    size_t from = random_below(random, g->node_count), to = random_below(random, g->node_count);
    memset(b.on_path, 0, sizeof b.on_path);
    b.g = g;
    b.direction = (sombra_direction)(1 + random_below(random, 3));
    b.only_x = random_below(random, 2);
    b.has_where = random_below(random, 3) == 0;
    b.has_nodes = random_below(random, 3) == 0;
    b.to = to;
    b.max = random_below(random, 2) ? random_below(random, 5) : NODES_MAX;
    b.found_count = 0;
    walk_all(&b, from, 0, 0);
    snprintf(options, sizeof options,
             "from = %" PRIu64 ", to = %" PRIu64 ", direction = '%s', max = %zu%s%s%s",
             g->nodes[from], g->nodes[to], directions[b.direction], b.max,
             b.only_x ? ", types = {'X'}" : "", b.has_where ? ", where = {blocked = false}" : "",
             b.has_nodes ? ", nodes = {closed = false}" : "");
    check_least_edges(&b, options);
    check_costs(&b, options, "");
    check_costs(&b, options, ", heuristic = {'euclidean', 'x', 'y'}");
    if (b.max == NODES_MAX) { /* without a bound costs alone decide: another way through the code */
        *strstr(options, "max = ") = 0;
        snprintf(options + strlen(options), 200, "weight_default = 1%s%s%s",
                 b.only_x ? ", types = {'X'}" : "",
                 b.has_where ? ", where = {blocked = false}" : "",
                 b.has_nodes ? ", nodes = {closed = false}" : "");
        check_costs(&b, options, "");
        check_costs(&b, options, ", heuristic = {'euclidean', 'x', 'y'}");
    }
}

static void test_paths__are_those_of_brute_force(void **state)
{
    static struct small g;
    struct random random;
    random_seed(&random, test_seed());
    for (int i = 0; i < 300; i++) {
        make_small(*state, &random, &g);
        for (int pair = 0; pair < 6; pair++)
            check_pair(&g, &random);
    }
}

/* ---- estimates --------------------------------------------------------------------------- */

static void test_paths__haversine_is_in_kilometres(void **state)
{
    struct fixture *f = *state;
    sombra_node_id city[3];
    static const char *const places[] = { "{lat = 52.52, lon = 13.405}",   /* Berlin */
                                          "{lat = 48.8566, lon = 2.3522}", /* Paris, 877.5 km */
                                          "{lat = 50.0}" };
    const struct search_row *rows;
    for (size_t i = 0; i < 3; i++)
        assert_ok(graph_node_create(&f->txn, NULL, 0, value_text("%s", places[i]), &city[i]));
    struct graph_edge direct = { .src = city[0], .dst = city[1] };
    struct graph_edge half = { .src = city[0], .dst = city[2] };
    struct graph_edge rest = { .src = city[2], .dst = city[1] };
    sombra_edge_id edge;
    assert_ok(graph_edge_create(&f->txn, &direct, text("E"), value_text("{w = 879}"), &edge));
    assert_ok(graph_edge_create(&f->txn, &half, text("E"), value_text("{w = 439}"), &edge));
    assert_ok(graph_edge_create(&f->txn, &rest, text("E"), value_text("{w = 439.5}"), &edge));
    assert_int_equal(search_rows(paths_new, &rows,
                                 "{from = %" PRIu64 ", to = %" PRIu64
                                 ", kind = 'weighted', weight = 'w', heuristic = {'haversine', "
                                 "'lat', 'lon'}}",
                                 city[0], city[1]),
                     1);
    assert_true(rows[0].cost == 878.5);
}

/* ---- as steps of a query ----------------------------------------------------------------- */

static const char *query_text(struct fixture *f, const char *steps)
{
    static char text[1000];
    size_t used = 0, count;
    struct query *query;
    const sombra_row *rows;
    const sombra_query_options options = SOMBRA_QUERY_OPTIONS_INIT;
    assert_ok(query_new(&query));
    assert_ok(
        query_open(query, &f->txn, value_text("%s", steps), &options, &search_run.environment));
    text[0] = 0;
    do {
        assert_ok(query_next(query, &rows, &count));
        for (size_t i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "; " : "",
                                     rows[i].value.bytes ? text_of_value(rows[i].value) : "row");
    } while (count);
    query_close(query);
    query_release(query);
    return text;
}

static void test_searches__are_sources_of_queries(void **state)
{
    static const struct {
        const char *steps, *rows;
    } queries[] = {
        { "{{'paths', {from = $A, to = $C}}}", "{1 1 2 2 3}" },
        { "{{'paths', {from = $A, to = {$C, $B}}}, {'skip', 1}, {'limit', 1}}", "{1 1 2}" },
        { "{{'cycles', {max = 2}}}", "{3 3 4 4 3}" },
        { "{{'cycles'}, {'limit', 1}}", "{3 3 4 4 3}" },
        { "{{'topological', {where = {w = 1}}}, {'out'}, {'distinct'}}", "row; row; row" },
        { "{{'subgraph', {roots = $B, depth = 1}}}", "{edges={2} nodes={2 3}}" },
        { "{{'statistics', {of = 'hubs', k = 1}}}", "{degree=3 id=3}" },
    };
    graph_of(*state, "A>B 1, B>C 1, C>D 1, D>C 2");
    for (size_t i = 0; i < COUNT_OF(queries); i++)
        assert_string_equal(query_text(*state, filled(queries[i].steps)), queries[i].rows);
}

/* ---- ids of all sizes -------------------------------------------------------------------- */

enum { SPREAD_NODES = 36, SPREAD_EDGES = 70 };

struct spread {
    sombra_node_id nodes[SPREAD_NODES];
    unsigned distances[SPREAD_NODES][SPREAD_NODES]; /* SPREAD_NODES = there is no path */
};

/* Ids from the first ones to far apart: small ones are kept in a table of bits, which grows and is
 * left when a large one is met, in the middle of a search. */
static void make_spread(struct fixture *f, struct random *random, struct spread *s)
{
    static const uint64_t firsts[] = { 1, 16380, 32764, 262140, UINT64_C(1) << 40 };
    for (size_t i = 0; i < SPREAD_NODES; i++) {
        s->nodes[i] = node_new(f, NULL);
        if (i % 8 == 7)
            f->txn.next_node = firsts[(i + 1) / 8];
        for (size_t j = 0; j < SPREAD_NODES; j++)
            s->distances[i][j] = i == j ? 0 : SPREAD_NODES;
    }
    for (size_t i = 0; i < SPREAD_EDGES; i++) {
        size_t src = random_below(random, SPREAD_NODES), dst = random_below(random, SPREAD_NODES);
        if (i % 16 == 15)
            f->txn.next_edge = firsts[(i + 1) / 16];
        edge_new(f, s->nodes[src], "E", s->nodes[dst]);
        s->distances[src][dst] = src == dst ? 0 : 1;
    }
    for (size_t via = 0; via < SPREAD_NODES; via++)
        for (size_t i = 0; i < SPREAD_NODES; i++)
            for (size_t j = 0; j < SPREAD_NODES; j++)
                if (s->distances[i][via] + s->distances[via][j] < s->distances[i][j])
                    s->distances[i][j] = s->distances[i][via] + s->distances[via][j];
}

/* A path's edges lead from each of its nodes to the next one. */
static void expect_path(struct fixture *f, const struct search_row *row)
{
    sombra_value path, id;
    sombra_value_cursor cursor;
    uint64_t ids[2 * SPREAD_NODES];
    size_t count = 0;
    bool found = true;
    assert_ok(sombra_value_decode(row->value, &path));
    sombra_value_enter(&path, &cursor);
    while (assert_ok(sombra_value_next(&cursor, NULL, &id, &found)), found)
        ids[count++] = (uint64_t)id.as.integer;
    assert_int_equal(count, 2 * row->depth + 1);
    for (size_t i = 1; i < count; i += 2) {
        struct graph_edge edge;
        assert_ok(graph_edge_ends(&f->txn, ids[i], &edge));
        assert_int_equal(edge.src, ids[i - 1]);
        assert_int_equal(edge.dst, ids[i + 1]);
    }
}

/* One search over a list of pairs: the table is used again. */
static void test_paths__are_found_among_ids_of_all_sizes(void **state)
{
    struct random random;
    static struct spread s;
    random_seed(&random, test_seed());
    for (unsigned round = 0; round < 8; round++) {
        search_teardown(state);
        search_setup(state);
        make_spread(*state, &random, &s);
        for (size_t i = 0; i < SPREAD_NODES; i++) {
            const struct search_row *rows;
            char to[SPREAD_NODES * 16];
            size_t used = 0, row = 0;
            for (size_t j = 0; j < SPREAD_NODES; j++)
                used += (size_t)snprintf(to + used, sizeof to - used, "%" PRIu64 ", ", s.nodes[j]);
            size_t count = search_rows(paths_new, &rows, "{from = %" PRIu64 ", to = {%s}%s}",
                                       s.nodes[i], to, round % 2 ? ", types = 'E'" : "");
            for (size_t j = 0; j < SPREAD_NODES; j++) {
                if (s.distances[i][j] == SPREAD_NODES)
                    continue;
                assert_true(row < count);
                assert_int_equal(rows[row].id, s.nodes[j]);
                expect_path(*state, &rows[row]);
                assert_int_equal(rows[row++].depth, s.distances[i][j]);
            }
            assert_int_equal(row, count);
        }
    }
}

/* ---- failed searches --------------------------------------------------------------------- */

static sombra_err search_all(const sombra_value *options, size_t *out_rows)
{
    static struct row_batch batch;
    struct operator* op;
    *out_rows = 0;
    sombra_err err = paths_new(&search_run, options, &op);
    if (err)
        return err;
    do {
        err = operator_next(op, &batch);
        *out_rows += err ? 0 : batch.count;
    } while (!err && batch.count);
    op->ops->free(op);
    return err;
}

static void expect_no_marks(void)
{
    const struct marks *marks = &search_run.marks;
    for (size_t i = 0; i < marks->capacity; i++)
        assert_int_equal(marks->of_ids[i], 0);
}

enum { FAIL_ALLOCATION, FAIL_MEMORY, FAIL_CANCELLED, FAIL_KINDS };

/* Whatever ends a search in the middle, the next one of the handle finds what it would have. */
static void test_paths__that_fail_leave_nothing_to_the_next_search(void **state)
{
    static const sombra_err codes[] = { SOMBRA_NOMEM, SOMBRA_LIMIT, SOMBRA_CANCELLED };
    enum { BOUND_STEP = 300, TICKS = 256, SEARCHES = 400 };
    struct random random;
    static struct spread s;
    random_seed(&random, test_seed());
    make_spread(*state, &random, &s);
    char ends[SPREAD_NODES * 16];
    size_t used = 0, wanted, count;
    for (size_t i = 0; i < SPREAD_NODES; i++)
        used += (size_t)snprintf(ends + used, sizeof ends - used, "%" PRIu64 ", ", s.nodes[i]);
    const sombra_value options = value_decoded("{from = {%s}, to = {%s}}", ends, ends);
    assert_ok(search_all(&options, &wanted));
    size_t failures[FAIL_KINDS] = { 0 };
    for (uint64_t n = 1; n < SEARCHES; n++) {
        unsigned kind = (unsigned)(n % FAIL_KINDS);
        if (n % 2) /* the marks are made anew */
            run_release(&search_run);
        mem_test_fail_at(kind == FAIL_ALLOCATION ? n / FAIL_KINDS + 1 : 0, false);
        search_run.options.memory_max = kind == FAIL_MEMORY ? n * BOUND_STEP : 0;
        search_is_cancelled = kind == FAIL_CANCELLED;
        search_run.ticks = (uint32_t)random_below(&random, TICKS);
        sombra_err err = search_all(&options, &count);
        mem_test_fail_at(0, false);
        search_run.options.memory_max = 0;
        search_is_cancelled = 0;
        assert_true(!err || err == codes[kind]);
        failures[kind] += err != SOMBRA_OK;
        expect_no_marks();
        assert_ok(search_all(&options, &count));
        assert_int_equal(count, wanted);
        expect_no_marks();
    }
    for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
        assert_true(failures[kind] > 5);
}

/* ---- bounds ------------------------------------------------------------------------------ */

static const char *const all_kinds[] = {
    "{from = $A, to = $F, kind = 'weighted', weight = 'w', nodes = {name = {ne = 'X'}}}",
    "{from = $A, to = $F, kind = 'k_shortest', k = 5, weight = 'w', where = {w = {ge = 0}}}",
    "{from = {$A, $B}, to = {$F, $D}}",
    "{from = {$A, $B}, to = {$F, $D}, kind = 'all_shortest', nodes = {name = {ne = 'X'}}}",
    "{from = $A, to = $F, kind = 'weighted', weight = 'w', where = {w = {ge = 0}}, max = 5}",
    ("{from = $A, to = $F, kind = 'k_shortest', k = 5, weight = 'w', types = {'E'}, heuristic = "
     "{'euclidean', 'x', 'y'}}"),
};

static void test_paths__survive_every_failed_allocation(void **state)
{
    graph_of(*state, "A>B 1, B>C 2, A>C 2, C>D 1, B>D 5, D>F 1, C>F 3");
    for (size_t i = 0; i < COUNT_OF(all_kinds); i++)
        search_survives_failed_allocations(paths_new, filled(all_kinds[i]));
}

static void test_paths__obey_their_bounds(void **state)
{
    struct fixture *f = *state;
    graph_of(f, "A>B 1, B>C 2, A>C 2, C>D 1, B>D 5, D>F 1, C>F 3");
    for (int i = 0; i < 300; i++)
        edge_new(f, node_named("A"), "E", node_new(f, NULL));
    for (size_t i = 0; i < COUNT_OF(all_kinds); i++)
        search_obeys_its_bounds(paths_new, filled(all_kinds[i]));
}

/* 2^40 paths: they are made as they are asked for. */
static void test_paths__are_made_one_by_one(void **state)
{
    struct fixture *f = *state;
    static struct row_batch batch;
    struct operator* op;
    sombra_node_id first = node_new(f, NULL), at = first;
    size_t count = 0;
    for (int i = 0; i < 40; i++) {
        sombra_node_id next = node_new(f, NULL);
        edge_new(f, at, "E", next);
        edge_new(f, at, "E", next);
        at = next;
    }
    sombra_value options =
        value_decoded("{from = %" PRIu64 ", to = %" PRIu64 ", kind = 'all_shortest'}", first, at);
    assert_ok(paths_new(&search_run, &options, &op));
    assert_ok(operator_next(op, &batch));
    assert_int_equal(batch.count, 1); /* no more than what was asked for */
    for (; count < 2000; count += batch.count)
        assert_ok(operator_next(op, &batch));
    op->ops->free(op);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, search_setup, search_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_paths__are_those_by_hand),
        TEST(test_paths__rows_say_end_edges_and_cost),
        TEST(test_paths__wrong_options_are_refused),
        TEST(test_paths__wrong_weights_name_the_edge),
        TEST(test_paths__functions_give_weights_and_estimates),
        TEST(test_paths__are_those_of_brute_force),
        TEST(test_paths__haversine_is_in_kilometres),
        TEST(test_paths__are_found_among_ids_of_all_sizes),
        TEST(test_searches__are_sources_of_queries),
        TEST(test_paths__that_fail_leave_nothing_to_the_next_search),
        TEST(test_paths__survive_every_failed_allocation),
        TEST(test_paths__obey_their_bounds),
        TEST(test_paths__are_made_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
