/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"
#include "query/query_internal.h"
#include "value_fixture.h"

#include <inttypes.h>

static struct query_run run;

static sombra_node_id node_of(struct fixture *f, const char *label, const char *properties)
{
    sombra_node_id node;
    sombra_slice name = text(label);
    assert_ok(
        graph_node_create(&f->txn, &name, label[0] ? 1 : 0, value_text("%s", properties), &node));
    return node;
}

static sombra_edge_id edge_of(struct fixture *f, sombra_node_id src, const char *type,
                              sombra_node_id dst, const char *properties)
{
    sombra_edge_id edge;
    struct graph_edge ends = { .src = src, .dst = dst };
    assert_ok(graph_edge_create(&f->txn, &ends, text(type), value_text("%s", properties), &edge));
    return edge;
}

static int setup(void **state)
{
    fixture_setup(state);
    struct fixture *f = *state;
    run = (struct query_run){ .txn = &f->txn };
    begin_write(f);
    return 0;
}

static int teardown(void **state)
{
    values_release();
    return fixture_teardown(state);
}

static struct predicate *compile(struct fixture *f, const char *predicate)
{
    struct predicate *p = NULL;
    assert_ok(predicate_new(&f->txn, value_text("%s", predicate), &p));
    return p;
}

static bool holds(struct fixture *f, const char *predicate, const struct row *row, bool is_node)
{
    bool holds = false;
    struct predicate *p = compile(f, predicate);
    assert_ok(predicate_test(p, &run, row, is_node, &holds));
    predicate_free(p);
    return holds;
}

static bool node_holds(struct fixture *f, sombra_node_id node, const char *predicate)
{
    return holds(f, predicate, &(struct row){ .id = node, .depth = 3 }, true);
}

/* ---- what holds -------------------------------------------------------------------------- */

struct truth {
    const char *predicate;
    bool holds;
};

static const char *const ada = "{name = 'Ada', born = 1815, height = 1.65, zero = -0.0, "
                               "nan = nan, big = 9007199254740993, dead = true, "
                               "tags = {'poet', 1, 2.5}, nested = {1, {2}}, none = [], "
                               "empty = '', place = {city = 'London'}}";
static const struct truth truths[] = {
    { "{}", true },
    { "[]", true },
    { "{name = 'Ada'}", true },
    { "{name = 'ada'}", false },
    { "{name = 'Ada', born = 1815}", true },
    { "{name = 'Ada', born = 1816}", false },
    { "{born = 1815.0}", true },
    { "{height = 1.65}", true },
    { "{zero = 0}", true },
    { "{zero = {ge = 0.0, le = 0}}", true },
    { "{big = 9007199254740992.0}", false },
    { "{big = {gt = 9007199254740992.0}}", true },
    { "{dead = true}", true },
    { "{dead = false}", false },
    { "{dead = {gt = false}}", true },
    { "{dead = {lt = 1}}", false },
    { "{dead = 1}", false },
    { "{tags = {'poet', 1, 2.5}}", true },
    { "{tags = {'poet', 1.0, 2.5}}", true },
    { "{tags = {'poet', 1}}", false },
    { "{tags = {gt = {'poet', 1}}}", true },
    { "{nested = {1, {2}}}", true },
    { "{none = {eq = []}}", true },
    { "{none = {ne = []}}", false },
    { "{place = {eq = {city = 'London'}}}", true },
    { "{place = {eq = {city = 'Paris'}}}", false },
    { "{missing = 1}", false },
    { "{missing = {ne = 1}}", false },
    { "{missing = {lt = 1}}", false },
    { "{missing = {any_of = {1}}}", false },
    { "{missing = {exists = false}}", true },
    { "{missing = {exists = true}}", false },
    { "{missing = {contains = ''}}", false },
    { "{name = {exists = true}}", true },
    { "{name = {exists = false}}", false },
    /* Another kind: only ne holds. */
    { "{name = {lt = 5}}", false },
    { "{name = {ge = 5}}", false },
    { "{name = {ne = 5}}", true },
    { "{born = {ge = 'a'}}", false },
    { "{born = {lt = 'a'}}", false },
    /* NaN is there, and equal to nothing. */
    { "{nan = {exists = true}}", true },
    { "{nan = {eq = nan}}", false },
    { "{nan = {ne = nan}}", true },
    { "{nan = {ne = 1}}", true },
    { "{nan = {ge = 1}}", false },
    { "{nan = {le = nan}}", false },
    { "{nan = {any_of = {nan, 1}}}", false },
    { "{born = {ne = nan}}", true },
    { "{born = {lt = nan}}", false },
    { "{born = {lt = 1816, ge = 1815}}", true },
    { "{born = {lt = 1815}}", false },
    { "{born = {le = 1815}}", true },
    { "{born = {gt = 1815}}", false },
    { "{born = {gt = 1814.5, lt = 1815.5}}", true },
    { "{name = {gt = 'A', lt = 'B'}}", true },
    { "{name = {any_of = {'Bob', 'Ada', 3}}}", true },
    { "{name = {any_of = {'Bob', 3}}}", false },
    { "{born = {any_of = {1, 2, 1815.0, 3}}}", true },
    { "{tags = {any_of = {{'poet', 1, 2.5}, 1}}}", true },
    { "{name = {any_of = {}}}", false },
    { "{name = {any_of = []}}", false },
    { "{name = {prefix = 'A'}}", true },
    { "{name = {prefix = 'Ada'}}", true },
    { "{name = {prefix = 'Adam'}}", false },
    { "{name = {prefix = ''}}", true },
    { "{born = {prefix = '1'}}", false },
    { "{name = {suffix = 'da'}}", true },
    { "{name = {suffix = 'Ad'}}", false },
    { "{name = {suffix = 'xAda'}}", false },
    { "{name = {contains = 'd'}}", true },
    { "{name = {contains = 'da'}}", true },
    { "{name = {contains = 'dA'}}", false },
    { "{name = {contains = ''}}", true },
    { "{name = {contains = 'Adas'}}", false },
    { "{empty = {contains = ''}}", true },
    { "{empty = {contains = 'a'}}", false },
    { "{name = {contains = 1}}", false },
    { "{tags = {contains = 'poet'}}", true },
    { "{tags = {contains = 'poe'}}", false },
    { "{tags = {contains = 1.0}}", true },
    { "{nested = {contains = {2}}}", true },
    { "{nested = {contains = 2}}", false },
    { "{'and'}", true },
    { "{'or'}", false },
    { "{'and', {name = 'Ada'}, {born = 1815}}", true },
    { "{'and', {name = 'Ada'}, {born = 1}}", false },
    { "{'or', {name = 'Bob'}, {born = 1815}}", true },
    { "{'or', {name = 'Bob'}, {born = 1}}", false },
    { "{'not', {name = 'Bob'}}", true },
    { "{'not', {missing = {lt = 1}}}", true },
    { "{'not', {'not', {nan = nan}}}", false },
    { "{'not', {}}", false },
    { "{'not', {'or', {name = 'Bob'}, {'and', {dead = true}, {born = 1815}}}}", false },
    { "{'label', 'Person'}", true },
    { "{'label', 'Robot'}", false },
    { "{'and', {'label', 'Person'}, {name = 'Ada'}}", true },
    { "{['#labels'] = {contains = 'Person'}}", true },
    { "{['#labels'] = {contains = 'Robot'}}", false },
    { "{['#labels'] = {exists = true}}", true },
    { "{['#labels'] = {exists = false}}", false },
    { "{['#depth'] = 3}", true },
    { "{['#depth'] = {gt = 3}}", false },
    { "{['#id'] = {ge = 1, any_of = {1, 2}}}", true },
    { "{['#id'] = 77}", false },
    { "{['#type'] = 'KNOWS'}", false },
    { "{['#type'] = {exists = false}}", true },
    { "{['#source'] = {exists = true}}", false },
};

static void test_predicate__holds_as_documented(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node = node_of(f, "Person", ada);
    assert_int_equal(node, 1);
    for (size_t i = 0; i < COUNT_OF(truths); i++) {
        if (node_holds(f, node, truths[i].predicate) != truths[i].holds)
            fail_msg("%s is %s", truths[i].predicate, truths[i].holds ? "false" : "true");
    }
}

/* The same, of a record row: a map. Labels, ids and depths are the node's alone. */
static void test_predicate__holds_for_maps_as_for_nodes(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(truths); i++) {
        bool holds = false;
        if (strstr(truths[i].predicate, "#") || strstr(truths[i].predicate, "'label'"))
            continue;
        struct predicate *p = compile(f, truths[i].predicate);
        assert_ok(predicate_holds_map(p, &run, value_text("%s", ada), &holds));
        predicate_free(p);
        if (holds != truths[i].holds)
            fail_msg("%s is %s", truths[i].predicate, truths[i].holds ? "false" : "true");
    }
    bool holds = false;
    struct predicate *p = compile(f, "{['#id'] = 4}");
    assert_ok(predicate_holds_map(p, &run, value_text("{['#id'] = 4}"), &holds));
    assert_true(holds);
    predicate_free(p);
}

static void test_predicate__looks_at_edges(void **state)
{
    static const struct truth cases[] = {
        { "{since = 1990}", true },
        { "{since = {lt = 1990}}", false },
        { "{['#type'] = 'KNOWS'}", true },
        { "{['#type'] = {any_of = {'LIKES', 'KNOWS'}}}", true },
        { "{['#type'] = {prefix = 'LIK'}}", false },
        { "{['#source'] = 1, ['#target'] = 2}", true },
        { "{['#source'] = 2}", false },
        { "{'label', 'Person'}", false },
        { "{['#labels'] = {exists = true}}", false },
        { "{['#depth'] = 1, since = {exists = true}}", true },
    };
    struct fixture *f = *state;
    sombra_node_id a = node_of(f, "Person", "{}"), b = node_of(f, "Person", "{}");
    sombra_edge_id edge = edge_of(f, a, "KNOWS", b, "{since = 1990}");
    struct graph_edge ends;
    assert_ok(graph_edge_ends(&f->txn, edge, &ends));
    struct row row = { .id = edge, .src = a, .dst = b, .type = ends.type, .depth = 1 };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (holds(f, cases[i].predicate, &row, false) != cases[i].holds)
            fail_msg("%s is %s", cases[i].predicate, cases[i].holds ? "false" : "true");
    }
}

/* More properties than one pass over the record keeps. */
static void test_predicate__has_any_number_of_conditions(void **state)
{
    struct fixture *f = *state;
    char properties[4000] = "{", *at = properties + 1;
    for (int i = 0; i < 90; i++)
        at += snprintf(at, 40, "p%d = %d,", i, i);
    memcpy(at, "}", 2);
    sombra_node_id node = node_of(f, "", properties);
    assert_true(node_holds(f, node, properties));
    memcpy(strstr(properties, "p71 = 71"), "p71 = 72", 8);
    assert_false(node_holds(f, node, properties));
}

/* ---- what is refused --------------------------------------------------------------------- */

static void test_predicate__says_what_is_wrong_with_it(void **state)
{
    static const struct {
        const char *predicate, *message;
    } cases[] = {
        { "5", "not a integer" },
        { "'x'", "not a string" },
        { "{5}", "not with a integer" },
        { "{'nor', {}}", "\"nor\"" },
        { "{'not'}", "takes one predicate, not 0" },
        { "{'not', {}, {}}", "takes one predicate, not 2" },
        { "{'label'}", "\"label\"" },
        { "{'label', 5}", "\"label\"" },
        { "{'label', ''}", "empty" },
        { "{'and', 1}", "not a integer" },
        { "{born = {}}", "property \"born\"" },
        { "{born = {between = 1}}", "property \"born\": there is no operator \"between\"" },
        { "{born = {any_of = 1}}", "property \"born\": operator any_of takes a list" },
        { "{born = {any_of = {1, null}}}", "property \"born\": operator any_of" },
        { "{born = {exists = 1}}", "operator exists takes true or false, not a integer" },
        { "{born = {prefix = 1}}", "property \"born\": operator prefix takes a string" },
        { "{born = {suffix = true}}", "operator suffix takes a string, not a boolean" },
        { "{born = null}", "property \"born\": operator eq" },
        { "{born = {lt = null}}", "operator lt takes a value (see exists), not a null" },
        { "{['#what'] = 1}", "property \"#what\"" },
        { "{['#labels'] = 'Person'}", "\"#labels\"" },
        { "{['#labels'] = {contains = 5}}", "the name of a label" },
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct predicate *p = NULL;
        assert_err(predicate_new(&f->txn, value_text("%s", cases[i].predicate), &p),
                   SOMBRA_INVALID);
        if (!strstr(sombra_err_message(), cases[i].message))
            fail_msg("%s: %s", cases[i].predicate, sombra_err_message());
    }
    struct predicate *p = NULL;
    assert_err(predicate_new(&f->txn, slice_str("\x51\x05"), &p), SOMBRA_INVALID);
    assert_err(predicate_new(&f->txn, NOTHING, &p), SOMBRA_INVALID);
}

static void test_predicate__nests_as_deep_as_values_do(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node = node_of(f, "", "{x = 1}");
    char predicate[2000] = "", *at = predicate;
    for (int i = 0; i < 62; i++)
        at += snprintf(at, 40, "{'not',");
    at += snprintf(at, 40, "{x = 1}");
    memset(at, '}', 62);
    assert_true(node_holds(f, node, predicate));
}

/* ---- for the planner --------------------------------------------------------------------- */

static const char *conditions_text(struct fixture *f, const char *predicate)
{
    static const char *const names[] = { "equal", "any_of", "range", "prefix", "exists" };
    static char out[1000];
    const struct condition *conditions;
    struct predicate *p = compile(f, predicate);
    size_t count = predicate_conditions(p, &conditions), used = 0;
    out[0] = 0;
    for (size_t i = 0; i < count; i++) {
        const struct condition *c = &conditions[i];
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%.*s%s %s", i ? "; " : "",
                                 (int)c->property.bytes, (const char *)c->property.data,
                                 c->property_id ? "" : "?", names[c->kind]);
        for (size_t v = 0; v < 2; v++) {
            if (c->values[v].bytes)
                used += (size_t)snprintf(out + used, sizeof out - used, " %s%s",
                                         v ? (c->excludes[v] ? "<" : "<=")
                                           : (c->excludes[v]               ? ">"
                                              : c->kind == CONDITION_RANGE ? ">="
                                                                           : ""),
                                         text_of_value(c->values[v]));
        }
    }
    predicate_free(p);
    return out;
}

static void test_predicate__tells_what_it_implies(void **state)
{
    static const struct {
        const char *predicate, *conditions;
    } cases[] = {
        { "{}", "" },
        { "{a = 1}", "a equal 1" },
        { "{a = 1, b = 'x'}", "a equal 1; b equal 'x'" },
        { "{nothing = 1}", "nothing? equal 1" },
        { "{a = {ge = 1, lt = 5}}", "a range >=1 <5" },
        { "{a = {gt = 1}}", "a range >1" },
        { "{a = {le = 1.5, ge = 1}}", "a range >=1 <=1.50000" },
        { "{a = {ge = 1, lt = 'x'}}", "a range >=1; a range <'x'" },
        { "{a = {gt = 1, ge = 1}}", "a range >=1; a range >1" },
        { "{'and', {a = {gt = 1}}, {b = 2}, {a = {lt = 3}}}", "a range >1 <3; b equal 2" },
        { "{'or', {a = 1}, {b = 2}}", "" },
        { "{'not', {a = 1}}", "" },
        { "{'and', {'or', {a = 1}, {a = 2}}, {b = 1}}", "b equal 1" },
        { "{'and', {'not', {'and', {a = 1}}}, {b = {exists = true}}}", "b exists" },
        { "{a = {exists = false}}", "" },
        { "{a = {any_of = {1, 2}}}", "a any_of {1 2}" },
        { "{a = {prefix = 'x'}}", "a prefix 'x'" },
        { "{a = {ne = 1}}", "a exists" },
        { "{a = {suffix = 'x'}}", "a exists" },
        { "{a = {contains = 'x'}}", "a exists" },
        { "{a = nan}", "" },
        { "{a = {lt = nan}}", "" },
        { "{['#id'] = 5}", "" },
        { "{'label', 'Person'}", "" },
    };
    struct fixture *f = *state;
    node_of(f, "", "{a = 1, b = 2}");
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(conditions_text(f, cases[i].predicate), cases[i].conditions);
}

static void test_predicate__knows_whether_it_needs_the_record(void **state)
{
    static const struct truth cases[] = {
        { "{}", false },
        { "{['#id'] = 5, ['#depth'] = 1}", false },
        { "{['#type'] = 'x'}", false },
        { "{'label', 'Person'}", false },
        { "{['#labels'] = {contains = 'Person'}}", false },
        { "{['#labels'] = {exists = true}}", true },
        { "{a = 1}", true },
        { "{'or', {'label', 'Person'}, {'not', {a = 1}}}", true },
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct predicate *p = compile(f, cases[i].predicate);
        assert_int_equal(predicate_needs_record(p), cases[i].holds);
        predicate_free(p);
    }
}

/* ---- beside writes ----------------------------------------------------------------------- */

static void test_predicate__finds_names_made_after_it(void **state)
{
    struct fixture *f = *state;
    bool holds = false;
    struct predicate *p = compile(f, "{'and', {later = 1}, {'label', 'Later'}}");
    sombra_node_id node = node_of(f, "Later", "{later = 1}");
    assert_ok(predicate_test(p, &run, &(struct row){ .id = node }, true, &holds));
    assert_true(holds);
    predicate_free(p);
}

static void test_predicate__holds_for_nothing_that_is_gone(void **state)
{
    struct fixture *f = *state;
    sombra_node_id a = node_of(f, "", "{}"), b = node_of(f, "", "{}");
    sombra_edge_id edge = edge_of(f, a, "KNOWS", b, "{}");
    struct graph_edge ends;
    assert_ok(graph_edge_ends(&f->txn, edge, &ends));
    struct row row = { .id = edge, .src = a, .dst = b, .type = ends.type };
    assert_true(node_holds(f, a, "{x = {exists = false}}"));
    assert_true(holds(f, "{x = {exists = false}}", &row, false));
    assert_ok(graph_node_delete(&f->txn, a, true));
    assert_false(node_holds(f, a, "{x = {exists = false}}"));
    assert_false(node_holds(f, a, "{}"));
    assert_false(holds(f, "{x = {exists = false}}", &row, false));
    assert_false(holds(f, "{['#source'] = 1}", &row, false));
}

/* ---- memory ------------------------------------------------------------------------------ */

static void test_predicate__survives_every_failed_allocation(void **state)
{
    struct fixture *f = *state;
    sombra_slice encoded = value_text("{'or', {a = 1, b = {ge = 1, lt = 5}}, {'not', {c = {any_of "
                                      "= {1, 2}}}}, {'label', 'x'}, {d = 1, e = 2, f = 3}}");
    struct predicate *p = NULL;
    uint64_t live = mem_test_live();
    sombra_err err = SOMBRA_NOMEM;
    for (uint64_t n = 1; err; n++) {
        mem_test_fail_at(n, false);
        err = predicate_new(&f->txn, encoded, &p);
        mem_test_fail_at(0, false);
        if (err) {
            assert_err(err, SOMBRA_NOMEM);
            assert_int_equal(mem_test_live(), live);
        }
        assert_in_range(n, 1, 50);
    }
    predicate_free(p);
    assert_int_equal(mem_test_live(), live);
}

/* ---- walk options ------------------------------------------------------------------------ */

static void test_walk__options_are_read(void **state)
{
    struct fixture *f = *state;
    struct walk walk;
    sombra_node_id a = node_of(f, "", "{}");
    edge_of(f, a, "A", a, "{}");
    edge_of(f, a, "B", a, "{}");
    sombra_value options = value_decoded("{types = {'B', 'none', 'A', 'B'}, direction = 'both', "
                                         "where = {a = 1}, nodes = {b = 1}, other = 5}");
    assert_ok(walk_parse(&f->txn, &options, SOMBRA_OUT, &walk));
    assert_int_equal(walk.direction, SOMBRA_BOTH);
    assert_true(walk.has_types);
    assert_int_equal(walk.type_count, 2);
    assert_true(walk.types[0] < walk.types[1]);
    assert_non_null(walk.where);
    assert_non_null(walk.nodes);
    walk_release(&walk);
    options = value_decoded("{types = 'A'}");
    assert_ok(walk_parse(&f->txn, &options, SOMBRA_IN, &walk));
    assert_int_equal(walk.direction, SOMBRA_IN);
    assert_int_equal(walk.type_count, 1);
    walk_release(&walk);
    options = value_decoded("{types = {}}");
    assert_ok(walk_parse(&f->txn, &options, SOMBRA_OUT, &walk));
    assert_true(walk.has_types && walk.type_count == 0);
    walk_release(&walk);
    options = value_decoded("[]");
    assert_ok(walk_parse(&f->txn, &options, SOMBRA_OUT, &walk));
    assert_false(walk.has_types);
    walk_release(&walk);
}

static void test_walk__wrong_options_are_refused(void **state)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        { "5", "options are a integer" },
        { "{direction = 'up'}", "\"direction\" is \"up\"" },
        { "{direction = 1}", "\"direction\" is a integer" },
        { "{types = 5}", "\"types\" is a integer" },
        { "{types = {5}}", "\"types\" holds a integer" },
        { "{types = {''}}", "\"types\"" },
        { "{where = {a = {x = 1}}}", "\"where\": property \"a\"" },
        { "{nodes = 5}", "\"nodes\"" },
        { "{types = 'A', where = {a = 1}, nodes = 5}", "\"nodes\"" },
    };
    struct fixture *f = *state;
    uint64_t live = mem_test_live();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct walk walk;
        sombra_value options = value_decoded("%s", cases[i].options);
        live = mem_test_live();
        assert_err(walk_parse(&f->txn, &options, SOMBRA_OUT, &walk), SOMBRA_INVALID);
        if (!strstr(sombra_err_message(), cases[i].message))
            fail_msg("%s: %s", cases[i].options, sombra_err_message());
        assert_int_equal(mem_test_live(), live);
    }
}

/* ---- sets of ids ------------------------------------------------------------------------- */

static void test_id_set__has_what_was_added(void **state)
{
    (void)state;
    enum { IDS = 4000, SPAN = 3000 };
    static uint64_t ids[IDS];
    struct random random;
    struct id_set *set;
    size_t memory = run.memory_used;
    random_seed(&random, test_seed());
    assert_ok(id_set_new(&run, &set));
    assert_false(id_set_has(set, 1));
    for (size_t i = 0; i < IDS; i++) {
        /* Dense ones, sparse ones, the ends of the range. */
        uint64_t id = random_below(&random, SPAN);
        if (i % 8 == 0)
            id = random_below(&random, 40) << (16 + random_below(&random, 40));
        if (i % 100 == 0)
            id = INT64_MAX - random_below(&random, 3);
        bool added = false, is_new = true;
        for (size_t j = 0; j < i; j++)
            is_new = is_new && ids[j] != id;
        assert_int_equal(id_set_has(set, id), !is_new);
        assert_ok(id_set_add(set, id, &added));
        assert_int_equal(added, is_new);
        ids[i] = id;
    }
    for (size_t i = 0; i < IDS; i++)
        assert_true(id_set_has(set, ids[i]));
    assert_true(run.memory_used > memory);
    id_set_free(set);
    assert_int_equal(run.memory_used, memory);
}

/* Free slots look like those of the lowest ids. */
static void test_id_set__begins_with_low_ids(void **state)
{
    (void)state;
    struct id_set *set;
    bool added;
    assert_ok(id_set_new(&run, &set));
    assert_false(id_set_has(set, 5));
    assert_ok(id_set_add(set, 5, &added));
    assert_true(added);
    for (uint64_t id = 1000; id < 5000; id += 100)
        assert_ok(id_set_add(set, id, &added));
    assert_true(id_set_has(set, 5));
    assert_false(id_set_has(set, 6));
    assert_ok(id_set_add(set, 5, &added));
    assert_false(added);
    id_set_free(set);
}

static void test_id_set__is_bounded_by_the_run(void **state)
{
    (void)state;
    struct id_set *set;
    bool added;
    sombra_err err = SOMBRA_OK;
    run.options.memory_max = 3000;
    assert_ok(id_set_new(&run, &set));
    for (uint64_t i = 0; !err && i < 100; i++)
        err = id_set_add(set, i << 20, &added);
    assert_err(err, SOMBRA_LIMIT);
    assert_true(run.memory_used <= 3000);
    id_set_free(set);
    assert_int_equal(run.memory_used, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_predicate__holds_as_documented),
        TEST(test_predicate__holds_for_maps_as_for_nodes),
        TEST(test_predicate__looks_at_edges),
        TEST(test_predicate__has_any_number_of_conditions),
        TEST(test_predicate__says_what_is_wrong_with_it),
        TEST(test_predicate__nests_as_deep_as_values_do),
        TEST(test_predicate__tells_what_it_implies),
        TEST(test_predicate__knows_whether_it_needs_the_record),
        TEST(test_predicate__finds_names_made_after_it),
        TEST(test_predicate__holds_for_nothing_that_is_gone),
        TEST(test_predicate__survives_every_failed_allocation),
        TEST(test_walk__options_are_read),
        TEST(test_walk__wrong_options_are_refused),
        TEST(test_id_set__has_what_was_added),
        TEST(test_id_set__begins_with_low_ids),
        TEST(test_id_set__is_bounded_by_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
