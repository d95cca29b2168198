/* SPDX-License-Identifier: MIT */
/* Each step of docs/query.md over a graph small enough to check by hand. */
#include "query_fixture.h"

/* People 1 ada, 2 bob, 3 cy, 4 dee; towns 5 rome, 6 oslo.
 * KNOWS: 1 1>2, 2 1>3, 3 2>3, 4 3>1, 5 3>4, 6 4>4; LIVES: 7 1>5, 8 2>5, 9 3>6. */
static int setup(void **state)
{
    static const struct {
        const char *label, *properties;
    } nodes[] = {
        { "Person", "{name = 'ada', age = 36, score = 4.5}" },
        { "Person", "{name = 'bob', age = 41}" },
        { "Person", "{name = 'cy', age = 36.0, score = 1.5}" },
        { "Person", "{name = 'dee', score = 9}" },
        { "Town", "{name = 'rome'}" },
        { "Town", "{name = 'oslo', age = 900}" },
    };
    static const struct {
        sombra_node_id src, dst;
        const char *type, *properties;
    } edges[] = {
        { 1, 2, "KNOWS", "{since = 2001}" },
        { 1, 3, "KNOWS", "{since = 2003}" },
        { 2, 3, "KNOWS", "{since = 2005}" },
        { 3, 1, "KNOWS", "{}" },
        { 3, 4, "KNOWS", "{since = 2001}" },
        { 4, 4, "KNOWS", "{since = 2009}" },
        { 1, 5, "LIVES", "{}" },
        { 2, 5, "LIVES", "{}" },
        { 3, 6, "LIVES", "{}" },
    };
    query_setup(state);
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(nodes); i++) {
        const sombra_slice label = text(nodes[i].label);
        sombra_node_id node;
        assert_ok(
            graph_node_create(&f->txn, &label, 1, value_text("%s", nodes[i].properties), &node));
        assert_int_equal(node, i + 1);
    }
    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        const struct graph_edge ends = { .src = edges[i].src, .dst = edges[i].dst };
        sombra_edge_id edge;
        assert_ok(graph_edge_create(&f->txn, &ends, text(edges[i].type),
                                    value_text("%s", edges[i].properties), &edge));
        assert_int_equal(edge, i + 1);
    }
    return 0;
}

/* ---- sources ----------------------------------------------------------------------------- */

static void test_sources__ids_come_as_given_without_those_missing(void **state)
{
    assert_rows(*state, "3 1 3", "{{'ids', {3, 99, 1, -4, 3}}}");
    assert_rows(*state, "", "{{'ids', {}}}");
    assert_rows(*state, "9 1", "{{'edge_ids', {9, 100, 1}}}");
}

static void test_sources__scans_come_by_id(void **state)
{
    assert_rows(*state, "1 2 3 4 5 6", "{{'all'}}");
    assert_rows(*state, "5 6", "{{'label', 'Town'}}");
    assert_rows(*state, "", "{{'label', 'Nobody'}}");
    assert_rows(*state, "1 2 3 4 5 6 7 8 9", "{{'edges'}}");
    assert_rows(*state, "7 8 9", "{{'edges', 'LIVES'}}");
    assert_rows(*state, "", "{{'edges', 'NONE'}}");
}

static void test_counts__are_those_of_the_rows(void **state)
{
    assert_int_equal(rows_count(*state, "{{'all'}}"), 6);
    assert_int_equal(rows_count(*state, "{{'label', 'Person'}, {'limit', 3}}"), 3);
    assert_int_equal(rows_count(*state, "{{'label', 'Person'}, {'skip', 3}}"), 1);
    assert_int_equal(rows_count(*state, "{{'edges', 'KNOWS'}}"), 6);
    assert_int_equal(rows_count(*state, "{{'ids', {1, 3}}, {'both'}}"), 9);
    assert_int_equal(rows_count(*state, "{{'ids', {1}}, {'out', {max = 2}}, {'distinct'}}"), 6);
    assert_int_equal(rows_count(*state, "{{'edges', 'KNOWS'}, {'target'}, {'select', {'name'}}}"),
                     6);
}

/* ---- walks ------------------------------------------------------------------------------- */

static void test_walks__one_hop_in_each_direction(void **state)
{
    assert_rows(*state, "2@1 3@1 5@1", "{{'ids', {1}}, {'out'}}");
    assert_rows(*state, "1@1 2@1", "{{'ids', {3}}, {'into'}}");
    assert_rows(*state, "1@1 4@1 6@1 1@1 2@1", "{{'ids', {3}}, {'both'}}");
    assert_rows(*state, "4@1 3@1", "{{'ids', {4}}, {'both'}}"); /* the loop once */
    assert_rows(*state, "5@1", "{{'ids', {1}}, {'out', {types = {'LIVES'}}}}");
    assert_rows(*state, "2@1 3@1 5@1", "{{'ids', {1}}, {'out', {types = {'LIVES', 'KNOWS'}}}}");
    assert_rows(*state, "", "{{'ids', {1}}, {'out', {types = {'NONE'}}}}");
}

static void test_walks__come_once_for_each_walk(void **state)
{
    assert_rows(*state, "3@2 5@2 1@2 4@2 6@2", "{{'ids', {1}}, {'out'}, {'out'}}");
    assert_rows(*state, "3@2 5@2 1@2 4@2 6@2", "{{'ids', {1}}, {'out', {min = 2, max = 2}}}");
    assert_rows(*state, "3@2 5@2 1@2 4@2 6@2", "{{'ids', {1}}, {'out', {min = 2}}}");
    assert_rows(*state, "2@1 3@1 5@1 3@2 5@2 1@2 4@2 6@2", "{{'ids', {1}}, {'out', {max = 2}}}");
    assert_rows(*state, "4", "{{'ids', {4}}, {'out', {min = 0, max = 0}}}");
    assert_rows(*state, "4 3@1 4@1", "{{'ids', {4}}, {'into', {min = 0}}}");
}

static void test_walks__with_unique_edges_use_none_twice(void **state)
{
    assert_rows(*state, "4@1", "{{'ids', {4}}, {'out', {max = 5, unique = 'edges'}}}");
    /* Eight that begin with 1>2, and eight with 1>3. */
    assert_int_equal(rows_count(*state, "{{'ids', {1}}, {'out', {types = {'KNOWS'}, max = 9, "
                                        "unique = 'edges'}}}"),
                     16);
}

static void test_walks__with_unique_nodes_are_breadth_first(void **state)
{
    assert_rows(*state, "2@1 3@1 5@1 4@2 6@2",
                "{{'ids', {1}}, {'out', {max = 9, unique = 'nodes'}}}");
    assert_rows(*state, "4@2 6@2", "{{'ids', {1}}, {'out', {min = 2, max = 9, unique = 'nodes'}}}");
    assert_rows(*state, "1 2@1 3@1 5@1 2 3@1 5@1",
                "{{'ids', {1, 2}}, {'out', {min = 0, max = 1, unique = 'nodes'}}}");
}

static void test_walks__obey_predicates_on_edges_and_nodes(void **state)
{
    assert_rows(*state, "2@1", "{{'ids', {1}}, {'out', {where = {since = 2001}}}}");
    assert_rows(*state, "2@1 5@1", "{{'ids', {1}}, {'out', {nodes = {name = {ne = 'cy'}}}}}");
    assert_rows(*state, "3@1 4@2 4@3",
                "{{'ids', {1}}, {'out', {max = 3, where = {since = {ge = 2001}}, "
                "nodes = {name = {any_of = {'cy', 'dee'}}}}}}");
    assert_rows(*state, "2@1 3@1 4@2",
                "{{'ids', {1}}, {'out', {max = 3, unique = 'nodes', where = {since = {exists = "
                "true}}}}}");
}

static void test_edges__are_rows_with_ends(void **state)
{
    assert_rows(*state, "1@1 2@1 7@1", "{{'ids', {1}}, {'out', {edges = true}}}");
    assert_rows(*state, "2@1 3@1 5@1", "{{'ids', {1}}, {'out', {edges = true}}, {'target'}}");
    assert_rows(*state, "1@1 1@1 1@1", "{{'ids', {1}}, {'out', {edges = true}}, {'source'}}");
    assert_rows(*state, "1@1 2@1", "{{'ids', {3}}, {'into', {edges = true}}, {'other'}}");
    assert_rows(*state, "4@1 3@1", "{{'ids', {4}}, {'both', {edges = true}}, {'other'}}");
    assert_rows(*state, "5", "{{'edge_ids', {8}}, {'other'}}"); /* walked from its source */
}

/* ---- rows passed on ---------------------------------------------------------------------- */

static void test_where__asks_nodes_edges_and_records(void **state)
{
    assert_rows(*state, "1 3", "{{'label', 'Person'}, {'where', {age = 36}}}");
    assert_rows(*state, "2 6", "{{'all'}, {'where', {age = {gt = 36}}}}");
    assert_rows(*state, "3 6", "{{'edges'}, {'where', {'or', {since = 2005}, {since = 2009}}}}");
    assert_rows(*state, "3@1 4@2",
                "{{'ids', {1}}, {'out', {max = 2}}, {'where', "
                "{'or', {'and', {name = 'cy'}, {['#depth'] = 1}}, "
                "{name = 'dee'}}}}");
    assert_rows(*state, "{name='bob'}",
                "{{'label', 'Person'}, {'select', {'name'}}, {'where', {name = {prefix = 'b'}}}}");
}

static void test_distinct__keeps_the_first_of_each(void **state)
{
    assert_rows(*state, "3 1", "{{'ids', {3, 1, 3, 1}}, {'distinct'}}");
    assert_int_equal(rows_count(*state, "{{'all'}, {'out'}, {'distinct'}}"), 6);
    assert_rows(*state, "1@1 2@1 3@1 4@1 5@1 6@1",
                "{{'all'}, {'out'}, {'distinct'}, {'order', {'#id'}}}");
    assert_rows(*state, "{age=36} {age=41} {age=36.0000} {}",
                "{{'label', 'Person'}, {'select', {'age'}}, {'distinct'}}");
    assert_rows(*state, "1@1 2@1 7@1 4@1",
                "{{'ids', {1, 1}}, {'both', {edges = true}}, {'distinct'}}");
}

static void test_except__leaves_out_the_ids(void **state)
{
    assert_rows(*state, "2 4 5", "{{'all'}, {'except', {6, 1, 3}}}");
    assert_rows(*state, "1 2 3 4 5 6", "{{'all'}, {'except', {}}}");
    assert_rows(*state, "2 9", "{{'edges'}, {'except', {1, 3, 4, 5, 6, 7, 8}}}");
}

static void test_bounds__add_up(void **state)
{
    assert_rows(*state, "3 4", "{{'all'}, {'skip', 1}, {'skip', 1}, {'limit', 3}, {'limit', 2}}");
    assert_rows(*state, "3", "{{'all'}, {'limit', 3}, {'skip', 2}}");
    assert_rows(*state, "", "{{'all'}, {'limit', 2}, {'skip', 3}}");
    assert_rows(*state, "", "{{'all'}, {'limit', 0}}");
}

static void test_order__is_by_keys_and_then_by_id(void **state)
{
    assert_rows(*state, "1 3 2 4", "{{'label', 'Person'}, {'order', {'age'}}}");
    assert_rows(*state, "4 2 1 3", "{{'label', 'Person'}, {'order', {'-age'}}}");
    assert_rows(*state, "3 1 2 4", "{{'label', 'Person'}, {'order', {'age', '-name'}}}");
    assert_rows(*state, "1 3", "{{'label', 'Person'}, {'order', {'age'}}, {'limit', 2}}");
    assert_rows(*state, "3 2",
                "{{'label', 'Person'}, {'order', {'age'}}, {'skip', 1}, "
                "{'limit', 2}}");
    assert_rows(*state, "6 5 4 3 2 1", "{{'all'}, {'order', {'-#id'}}}");
    assert_rows(*state, "5 6 2", "{{'ids', {2, 6, 5}}, {'order', {{'property', 'age', true}}}}");
    assert_rows(*state, "6 1", "{{'edge_ids', {1, 6}}, {'order', {'-since'}}}");
    assert_rows(*state, "{a=41} {a=36} {a=36.0000}",
                "{{'label', 'Person'}, {'select', {{'a', 'age'}}}, {'where', {a = {exists = "
                "true}}}, {'order', {'-a'}}}");
}

/* ---- records ----------------------------------------------------------------------------- */

static void test_select__makes_records_of_what_is_there(void **state)
{
    assert_rows(*state, "{name='dee'}", "{{'ids', {4}}, {'select', {'name', 'age'}}}");
    assert_rows(*state, "{a=36 b=1 c={'Person'} d=0}",
                "{{'ids', {1}}, {'select', {{'a', 'age'}, {'b', '#id'}, {'c', '#labels'}, "
                "{'d', '#depth'}}}}");
    assert_rows(*state, "{i=3 s=2 t=3 y='KNOWS'}",
                "{{'edge_ids', {3}}, {'select', {{'i', '#id'}, {'s', '#source'}, {'t', "
                "'#target'}, {'y', '#type'}}}}");
    assert_rows(*state, "{} {}", "{{'ids', {1, 2}}, {'select', {}}}");
}

static void test_group__aggregates_what_is_there(void **state)
{
    assert_rows(*state, "{age=36 n=2} {age=41 n=1} {n=1}",
                "{{'label', 'Person'}, {'group', {'age'}, {{'n', 'count'}}}}");
    assert_rows(*state,
                "{a=37.6667 c={36 41 36.0000} h=41 l=36 n=4 s=113.000 "
                "v=3}",
                "{{'label', 'Person'}, {'group', {}, {{'n', 'count'}, {'v', 'count', 'age'}, {'s', "
                "'sum', 'age'}, {'a', 'avg', 'age'}, {'l', 'min', 'age'}, {'h', 'max', 'age'}, "
                "{'c', 'collect', 'age'}}}}");
    assert_rows(*state, "{c={} n=0 s=0}",
                "{{'ids', {}}, {'group', {}, {{'n', 'count'}, {'s', 'sum', 'age'}, {'a', 'avg', "
                "'age'}, {'l', 'min', 'age'}, {'c', 'collect', 'age'}}}}");
    assert_rows(*state, "", "{{'ids', {}}, {'group', {'age'}, {{'n', 'count'}}}}");
    assert_rows(*state, "{n=6 t='KNOWS'} {n=3 t='LIVES'}",
                "{{'edges'}, {'group', {{'t', '#type'}}, {{'n', 'count'}}}}");
    assert_rows(*state, "{m=2 n=1} {m=1 n=2}",
                "{{'label', 'Person'}, {'group', {'age'}, {{'n', 'count'}}}, {'group', {'n'}, "
                "{{'m', 'count'}}}, {'order', {'-m'}}}");
}

/* ---- steps within steps ------------------------------------------------------------------ */

static void test_union__runs_each_list_over_all_rows(void **state)
{
    assert_rows(*state, "1 2 3 5@1 5@1 6@1",
                "{{'ids', {1, 2, 3}}, {'union', [], {{'out', {types = {'LIVES'}}}}}}");
    assert_rows(*state, "1 3", "{{'ids', {1, 2, 3}}, {'union', {{'limit', 1}}, {{'skip', 2}}}}");
    assert_rows(*state, "{name='ada'} {age=36}",
                "{{'ids', {1}}, {'union', {{'select', {'name'}}}, {{'select', {'age'}}}}}");
    assert_rows(*state, "{name='ada'} {name='ada'}",
                "{{'ids', {1}}, {'select', {'name'}}, {'union', [], []}}");
}

static void test_optional__gives_the_row_itself_for_none(void **state)
{
    assert_rows(*state, "5@1 5@1 6@1 4",
                "{{'label', 'Person'}, {'optional', {{'out', {types = {'LIVES'}}}}}}");
    assert_rows(*state, "2@1 3@1 5 6",
                "{{'ids', {1, 2, 5, 6}}, {'optional', {{'out', {types = {'KNOWS'}}}, {'limit', "
                "1}}}}");
}

static void test_repeat__goes_round_until_it_is_told(void **state)
{
    assert_rows(*state, "3@2 1@2 4@2",
                "{{'ids', {1}}, {'repeat', {{'out', {types = {'KNOWS'}}}}, {min = 2, max = 2}}}");
    assert_rows(*state, "2@1 3@1 3@2 1@2 4@2",
                "{{'ids', {1}}, {'repeat', {{'out', {types = {'KNOWS'}}}}, {max = 2, emit = "
                "'all'}}}");
    assert_rows(*state, "4@2",
                "{{'ids', {1}}, {'repeat', {{'out', {types = {'KNOWS'}}}}, {until = {name = "
                "'dee'}, unique = 'nodes'}}}");
    assert_rows(*state, "2@1 3@1 4@2",
                "{{'ids', {1}}, {'repeat', {{'out', {types = {'KNOWS'}}}}, {unique = 'nodes', emit "
                "= 'all'}}}");
    assert_rows(*state, "1 2@1 4@2",
                "{{'ids', {1}}, {'repeat', {{'out', {types = {'KNOWS'}}}}, {min = 0, unique = "
                "'nodes', emit = {'not', {name = 'cy'}}}}}");
    /* Each row by itself, and the body sees the rows of a round together. */
    assert_rows(*state, "1@2 4@2",
                "{{'ids', {2, 4}}, {'repeat', {{'out', {types = {'KNOWS'}}}, {'limit', 1}}, {min = "
                "2, max = 2}}}");
}

static void test_path__says_how_each_row_was_reached(void **state)
{
    assert_rows(*state, "{1 1 2 3 3} {1 2 3 4 1} {1 2 3 5 4}",
                "{{'ids', {1}}, {'out', {types = {'KNOWS'}, min = 2, max = 2}}, {'path'}}");
    assert_rows(*state, "{1 2 3 5 4}",
                "{{'ids', {1}}, {'out', {types = {'KNOWS'}, max = 4, unique = 'nodes'}}, {'where', "
                "{name = 'dee'}}, {'path'}}");
    assert_rows(*state, "{1}", "{{'ids', {1}}, {'path'}}");
    assert_rows(*state, "{2 8 5}", "{{'edge_ids', {8}}, {'target'}, {'path'}}");
    assert_rows(*state, "{1 7 5 8 2}",
                "{{'ids', {1}}, {'out', {types = {'LIVES'}}}, {'into', {edges = true, where = "
                "{'not', {['#id'] = 7}}}}, {'other'}, {'path'}}");
}

/* ---- pages ------------------------------------------------------------------------------- */

/* Reads in pages and joins them. */
static const char *pages_text(struct fixture *f, const char *steps, unsigned page_rows)
{
    static char all[1000];
    static sombra_value_builder *builder;
    char head[500];
    uint8_t position[500];
    size_t position_bytes = 0, used = 0;
    assert_ok(sombra_value_builder_new(&builder));
    all[0] = '\0';
    for (bool more = true; more;) {
        sombra_slice encoded, inner;
        sombra_value list;
        sombra_value_cursor cursor;
        bool found = true;
        snprintf(head, sizeof head, "{%s, {'limit', %u}}", steps, page_rows);
        assert_ok(sombra_value_decode(value_text("%s", head), &list));
        sombra_value_builder_reset(builder);
        (void)sombra_value_begin_list(builder);
        sombra_value_enter(&list, &cursor);
        for (;;) {
            assert_ok(value_next_encoded(&cursor, NULL, &inner, &found));
            if (!found)
                break;
            (void)sombra_value_push_encoded(builder, inner);
        }
        (void)sombra_value_begin_list(builder);
        (void)sombra_value_push_string(builder, "after", 5);
        (void)sombra_value_push_string(builder, position, position_bytes);
        (void)sombra_value_end_list(builder);
        (void)sombra_value_end_list(builder);
        assert_ok(sombra_value_finish(builder, &encoded));
        struct query *query = query_begin(f, encoded);
        more = false;
        for (;;) {
            const sombra_row *rows;
            size_t count;
            assert_ok(query_next(query, &rows, &count));
            if (count == 0)
                break;
            more = true;
            for (size_t i = 0; i < count; i++)
                used += (size_t)(rows[i].kind == SOMBRA_ROW_RECORD
                                     ? snprintf(all + used, sizeof all - used, "%s ",
                                                text_of_value(rows[i].value))
                                     : snprintf(all + used, sizeof all - used, "%" PRIu64 " ",
                                                rows[i].id));
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "| ");
        sombra_slice at;
        assert_ok(query_position(query, &at));
        assert_true(at.bytes < sizeof position);
        if (at.bytes)
            memcpy(position, at.data, at.bytes);
        position_bytes = at.bytes;
        query_end(query);
    }
    sombra_value_builder_free(builder);
    return all;
}

static void test_pages__follow_one_another(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(pages_text(f, "{'all'}", 4), "1 2 3 4 | 5 6 | | ");
    assert_string_equal(pages_text(f, "{'label', 'Person'}, {'order', {'-#id'}}", 3),
                        "4 3 2 | 1 | | ");
    assert_string_equal(pages_text(f, "{'label', 'Person'}, {'where', {age = 36}}", 1),
                        "1 | 3 | | ");
    assert_string_equal(pages_text(f, "{'label', 'Person'}, {'order', {'age'}}", 1),
                        "1 | 3 | 2 | 4 | | ");
    assert_string_equal(pages_text(f, "{'label', 'Person'}, {'order', {'-age'}}", 3),
                        "4 2 1 | 3 | | ");
    /* The same row more than once, and rows that have no id. */
    assert_string_equal(pages_text(f, "{'ids', {2, 1, 2, 2}}, {'order', {'name'}}", 2),
                        "1 2 | 2 2 | | ");
    assert_string_equal(
        pages_text(f, "{'label', 'Person'}, {'select', {'score'}}, {'order', {'-score'}}", 1),
        "{} | {score=9} | {score=4.50000} | {score=1.50000} | | ");
    assert_string_equal(pages_text(f, "{'edges'}, {'order', {'since'}}, {'select', {'since'}}", 6),
                        "{since=2001} {since=2001} {since=2003} {since=2005} {since=2009} {} | "
                        "{} {} {} | | ");
}

static void test_pages__need_an_order_and_a_position_of_it(void **state)
{
    assert_refused(*state, "step 3 (after): the rows before it are in no order",
                   "{{'ids', {2, 1}}, {'limit', 1}, {'after', 'x'}}");
    assert_refused(*state, "no position", "{{'all'}, {'after', 'x'}}");
    assert_refused(*state, "no position", "{{'all'}, {'order', {'age'}}, {'after', 'x'}}");
    assert_refused(*state, "step 2 (after): it must be the last",
                   "{{'all'}, {'after', 'x'}, {'limit', 1}}");
}

/* ---- refusals ---------------------------------------------------------------------------- */

static void test_refusals__name_the_step(void **state)
{
    static const struct {
        const char *steps, *text;
    } cases[] = {
        { "1", "steps are a integer; give a list" },
        { "[]", "there are no steps" },
        { "{1}", "step 1: a step is a list" },
        { "{{1}}", "step 1: the name must be a string, not a integer" },
        { "{{'al'}}", "step 1: unknown step 'al'" },
        { "{{'out'}}", "step 1 (out): the first step must be a source" },
        { "{{'all'}, {'all'}}", "step 2 (all): it is a source" },
        { "{{'all', 1}}", "step 1 (all): it has 1 arguments, and takes 0" },
        { "{{'label'}}", "step 1 (label): it has 0 arguments, and takes 1" },
        { "{{'label', ''}}", "step 1 (label): the name is empty" },
        { "{{'label', 5}}", "step 1 (label): a name must be a string" },
        { "{{'ids', 5}}", "step 1 (ids): ids must be a list" },
        { "{{'ids', {1, 'x'}}}", "step 1 (ids): id 2 must be an integer, not a string" },
        { "{{'edges'}, {'out'}}", "step 2 (out): it does not take edges" },
        { "{{'all'}, {'target'}}", "step 2 (target): it does not take nodes" },
        { "{{'all'}, {'out', {typs = 1}}}",
          "step 2 (out): unknown option 'typs'; it takes types, min, max" },
        { "{{'all'}, {'out', {min = 3, max = 2}}}", "step 2 (out): max 2 is less than min 3" },
        { "{{'all'}, {'out', {min = -1}}}", "step 2 (out): option 'min' must be an integer" },
        { "{{'all'}, {'out', {unique = 'all'}}}",
          "step 2 (out): option 'unique' must be one of none, edges, nodes" },
        { "{{'all'}, {'out', {edges = 1}}}", "step 2 (out): option 'edges' must be a boolean" },
        { "{{'all'}, {'out', {edges = true, max = 2}}}", "step 2 (out): edges = true" },
        { "{{'all'}, {'out', {edges = true, unique = 'nodes'}}}", "step 2 (out): edges = true" },
        { "{{'all'}, {'out', {types = 4}}}", "step 2 (out): option \"types\"" },
        { "{{'all'}, {'out', 4}}", "step 2 (out): options are a integer" },
        { "{{'all'}, {'where', 4}}", "step 2 (where): a predicate is" },
        { "{{'all'}, {'filter', 0}}", "step 2 (filter): the query was opened without" },
        { "{{'all'}, {'limit', -1}}", "step 2 (limit): it takes an integer from 0 on" },
        { "{{'all'}, {'limit', 1.5}}", "step 2 (limit): it takes an integer from 0 on" },
        { "{{'all'}, {'order', {}}}", "step 2 (order): give at least one key" },
        { "{{'all'}, {'order', {5}}}", "step 2 (order): key 1: a key is" },
        { "{{'all'}, {'order', {'#type'}}}", "step 2 (order): key 1: nodes have no column" },
        { "{{'all'}, {'order', {'#x'}}}", "step 2 (order): key 1: unknown column '#x'" },
        { "{{'all'}, {'order', {{'x', 'y'}}}}", "step 2 (order): key 1: a list as a key begins" },
        { "{{'all'}, {'select', {'a', {'a', 'b'}}}}", "step 2 (select): two columns are called" },
        { "{{'edges'}, {'select', {'#labels'}}}", "column 1: edges have no column '#labels'" },
        { "{{'all'}, {'group', {'a'}, {{'a', 'count'}}}}", "two columns are called 'a'" },
        { "{{'all'}, {'group', {}, {{'a', 'sum'}}}}", "aggregate 1: sum needs a property" },
        { "{{'all'}, {'group', {}, {{'a', 'total', 'x'}}}}", "unknown function 'total'" },
        { "{{'all'}, {'select', {'a'}}, {'out'}}", "step 3 (out): it does not take records" },
        { "{{'all'}, {'union'}}", "step 2 (union): it has 0 arguments, and takes 1 or more" },
        { "{{'all'}, {'union', {{'ot'}}}}", "step 2 (union): list 1: step 1: unknown step 'ot'" },
        { "{{'all'}, {'union', [], {{'select', {}}}}}", "list 2 gives records, list 1 nodes" },
        { "{{'all'}, {'optional', {{'path'}}}}", "step 2 (optional): its steps give paths" },
        { "{{'all'}, {'optional', {{'all'}}}}", "step 2 (optional): step 1 (all): it is a source" },
        { "{{'all'}, {'repeat', {{'out'}}}}", "step 2 (repeat): give max, until or unique" },
        { "{{'all'}, {'repeat', {{'out'}}, {unique = 'nodes'}}}", "no row is the last one" },
        { "{{'all'}, {'repeat', {{'out'}}, {max = 1, emit = 'some'}}}", "option 'emit'" },
        { "{{'all'}, {'repeat', {{'out'}}, {max = 1, min = 2}}}", "max 1 is less than min 2" },
        { "{{'all'}, {'union', {{'after', 'x'}}}}", "it cannot stand within a step" },
        { "{{'all'}, {'path'}, {'order', {'a'}}}", "step 3 (order): it does not take paths" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_refused(*state, cases[i].text, "%s", cases[i].steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sources__ids_come_as_given_without_those_missing,
                                        setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_sources__scans_come_by_id, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_counts__are_those_of_the_rows, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_walks__one_hop_in_each_direction, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_walks__come_once_for_each_walk, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_walks__with_unique_edges_use_none_twice, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_walks__with_unique_nodes_are_breadth_first, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_walks__obey_predicates_on_edges_and_nodes, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_edges__are_rows_with_ends, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_where__asks_nodes_edges_and_records, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_distinct__keeps_the_first_of_each, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_except__leaves_out_the_ids, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_bounds__add_up, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_order__is_by_keys_and_then_by_id, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_select__makes_records_of_what_is_there, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_group__aggregates_what_is_there, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_union__runs_each_list_over_all_rows, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_optional__gives_the_row_itself_for_none, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_repeat__goes_round_until_it_is_told, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_path__says_how_each_row_was_reached, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_pages__follow_one_another, setup, query_teardown),
        cmocka_unit_test_setup_teardown(test_pages__need_an_order_and_a_position_of_it, setup,
                                        query_teardown),
        cmocka_unit_test_setup_teardown(test_refusals__name_the_step, setup, query_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
