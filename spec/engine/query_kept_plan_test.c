/* SPDX-License-Identifier: MIT */
/* Plans that a query keeps for the next one of the same steps: rows, counts and explanations are
 * those of a new query, whatever has changed. */
#include "query_fixture.h"

#include "base/random.h"

enum { NODES = 12, RANDOM_ROUNDS = 3000, TEXT_BYTES = 8000 };

/* A unique index of `k`, so that a `where` is a look-up. */
static void create_index(struct fixture *f, sombra_rule_kind kind)
{
    const sombra_rule rule = { .struct_bytes = sizeof rule,
                               .kind = kind,
                               .subject = text("A"),
                               .property_count = 1,
                               .properties = { text("k") } };
    uint32_t id;
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
}

static void drop_index(struct fixture *f)
{
    const struct graph_rule *rules;
    size_t count;
    uint32_t label = 0;
    assert_ok(graph_name_find(&f->txn, SOMBRA_NAME_LABEL, text("A"), &label));
    assert_ok(graph_rules_of(&f->txn, false, label, &rules, &count));
    if (count)
        assert_ok(graph_rule_drop(&f->txn, rules[0].id));
}

/* Nodes A 1 to 12, `k` ten times their number; edges E to the next and the one behind it. */
static int setup(void **state)
{
    query_setup(state);
    struct fixture *f = *state;
    const sombra_slice label = text("A");
    for (uint64_t i = 1; i <= NODES; i++) {
        sombra_node_id node;
        assert_ok(graph_node_create(&f->txn, &label, 1,
                                    value_text("{k = %" PRIu64 ", g = %" PRIu64 "}", 10 * i, i % 2),
                                    &node));
        values_release();
    }
    for (uint64_t i = 1; i <= NODES; i++) {
        for (uint64_t j = i + 1; j <= i + 2 && j <= NODES; j++) {
            const struct graph_edge ends = { .src = i, .dst = j };
            sombra_edge_id edge;
            assert_ok(graph_edge_create(&f->txn, &ends, text("E"), NOTHING, &edge));
        }
    }
    create_index(f, SOMBRA_RULE_UNIQUE);
    commit(f);
    begin_read(f);
    return 0;
}

static const char steps_1[] = "{{'label', 'A'}, {'where', {k = %d}}, {'out', {types = 'E'}}}";

static void test_a_plan__takes_other_constants(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        assert_rows(f, "2@1 3@1", steps_1, 10);
        assert_rows(f, "6@1 7@1", steps_1, 50);
        assert_rows(f, "", steps_1, 55);
        assert_int_equal(rows_count(f, steps_1, 110), 1);
        assert_rows(f, "3@1", "{{'ids', {2}}, {'out'}, {'limit', 1}}");
        assert_rows(f, "6@1", "{{'ids', {5}}, {'out'}, {'limit', 1}}");
        assert_rows(f, "7@1", "{{'ids', {5}}, {'out'}, {'where', {k = 70}}}");
        assert_rows(f, "", "{{'ids', {6}}, {'out'}, {'where', {k = 60}}}");
        assert_rows(f, "3@2 4@2 4@2 5@2", "{{'ids', {1}}, {'out', {min = 2, max = 2}}}");
        rollback(f);
        begin_read(f);
    }
}

static void test_a_plan__goes_with_its_index(void **state)
{
    struct fixture *f = *state;
    assert_rows(f, "2@1 3@1", steps_1, 10);
    rollback(f);
    begin_write(f);
    drop_index(f);
    assert_ok(graph_node_change(&f->txn, 5, value_text("{k = 10}"), GRAPH_MERGE));
    assert_rows(f, "2@1 3@1 6@1 7@1", steps_1, 10);
    commit(f);
    begin_read(f);
    assert_rows(f, "2@1 3@1 6@1 7@1", steps_1, 10);
    rollback(f);
    begin_write(f);
    create_index(f, SOMBRA_RULE_INDEX);
    commit(f);
    begin_read(f);
    assert_rows(f, "2@1 3@1 6@1 7@1", steps_1, 10);
    assert_rows(f, "6@1 7@1 7@1 8@1", "{{'ids', {5, 6}}, {'out'}}");
}

/* Eight places keep their steps; the ninth step is in none of them. */
static void test_a_plan__is_not_that_of_the_first_steps_of_more(void **state)
{
    struct fixture *f = *state;
    static const char eight[] = "{'ids', {1}}, {'out'}, {'limit', 9}, {'limit', 8}, {'limit', 7}, "
                                "{'limit', 6}, {'limit', 5}, {'limit', 4}";
    for (int i = 0; i < 2; i++) {
        assert_rows(f, "2@1 3@1", "{%s}", eight);
        assert_rows(f, "3@2 4@2 4@2 5@2", "{%s, {'out'}}", eight);
        assert_rows(f, "2@1", "{%s, {'limit', 1}}", eight);
    }
}

static void test_a_plan__that_failed_or_was_left_begins_anew(void **state)
{
    struct fixture *f = *state;
    static const char steps[] = "{{'ids', {1}}, {'out'}, {'where', {k = {ge = 0}}}, {'limit', 2}}";
    const sombra_row *rows;
    size_t count;
    for (int i = 0; i < 3; i++) {
        assert_rows(f, "2@1 3@1", "%s", steps);
        query_options.rows_max = 1;
        assert_int_equal(query_error(f, "%s", steps), SOMBRA_LIMIT);
        query_options.rows_max = 0;
        assert_rows(f, "2@1 3@1", "%s", steps);
        struct query *query = query_begin(f, value_text("%s", steps));
        query_end(query); /* never read */
        query = query_begin(f, value_text("%s", steps));
        assert_ok(query_next(query, &rows, &count));
        query_end(query); /* not to its end */
        query_is_cancelled = 1;
        assert_int_equal(query_error(f, "%s", steps), SOMBRA_CANCELLED);
        query_is_cancelled = 0;
        assert_int_equal(rows_count(f, "%s", steps), 2);
        query_options.memory_max = 1;
        assert_int_equal(query_error(f, "%s", steps), SOMBRA_LIMIT);
        query_options.memory_max = 0;
    }
}

/* A type that nobody has made is no plan: it may be made. */
static void test_a_plan__is_not_kept_for_a_type_that_is_missing(void **state)
{
    struct fixture *f = *state;
    const struct graph_edge ends = { .src = 1, .dst = 2 };
    sombra_edge_id edge;
    assert_rows(f, "", "{{'edges', 'new'}}");
    assert_rows(f, "", "{{'edges', 'new'}, {'limit', 3}}");
    rollback(f);
    begin_write(f);
    assert_ok(graph_edge_create(&f->txn, &ends, text("new"), NOTHING, &edge));
    commit(f);
    begin_read(f);
    assert_rows(f, "22", "{{'edges', 'new'}}");
    assert_rows(f, "22", "{{'edges', 'new'}, {'limit', 3}}");
}

/* One row is in the order of ids, forwards and backwards. */
static void test_a_plan__in_the_order_of_ids_is_read_again(void **state)
{
    struct fixture *f = *state;
    static const char steps[] = "{{'label', 'A'}, {'where', {k = %d}}, {'order', %s}}";
    for (int i = 0; i < 3; i++) {
        assert_rows(f, "1", steps, 10, "{'#id'}");
        assert_rows(f, "5", steps, 50, "{'#id'}");
        assert_rows(f, "", steps, 55, "{'#id'}");
        assert_rows(f, "1", steps, 10, "{'-#id'}");
        assert_rows(f, "7", steps, 70, "{'-#id'}");
    }
}

/* ---- random ------------------------------------------------------------------------------- */

static const char *random_steps(struct random *source)
{
    static const char *const shapes[] = {
        "{{'label', 'A'}, {'where', {k = %u}}, {'out', {types = 'E'}}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'out'}, {'out'}}",
        "{{'label', 'A'}, {'where', {g = %u}}}",
        "{{'label', 'A'}, {'where', {k = %u, g = 1}}, {'both'}}",
        "{{'ids', {%u}}, {'out'}}",
        "{{'ids', {%u}}, {'out', {max = 3}}, {'where', {g = 0}}}",
        "{{'ids', {%u}}, {'both'}, {'skip', 1}, {'limit', 2}}",
        "{{'ids', {1}}, {'out'}, {'limit', %u}}",
        "{{'ids', {%u}}, {'out_edges'}}",
        "{{'ids', {%u}}, {'out', {where = {x = 1}}}, {'distinct'}}",
        "{{'ids', {%u}}, {'out'}, {'order', {'g'}}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'where', {g = 1}}}",
        "{{'label', 'A'}, {'order', {'k'}}, {'limit', %u}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'order', {'#id'}}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'order', {'-#id'}}, {'limit', 1}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'order', {'k'}}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'limit', 1}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'where', {k = 30}}}",
        "{{'edges', 'T%u'}}",
        "{{'edges', 'T%u'}, {'limit', 2}}",
        "{{'label', 'B%u'}, {'limit', 2}}",
        "{{'label', 'B%u'}, {'where', {k = 10}}}",
        "{{'label', 'B%u'}, {'where', {k = 10}}, {'order', {'k'}}}",
        "{{'ids', {1, 2, 3}}, {'where', {g = %u}}, {'out', {types = {'E', 'T1'}}}}",
        "{{'ids', {1, 2}}, {'out', {types = {'T%u'}}}}",
        "{{'ids', {1, 2}}, {'out', {types = {'T1'}, max = 2, where = {x = %u}}}}",
        "{{'ids', {1, 2}}, {'where', {p%u = 1}}}",
        "{{'ids', {1, 2}}, {'where', {k = {eq = %u}}}}",
        "{{'ids', {1, 2}}, {'limit', 0}, {'where', {k = {eq = %u}}}}",
        "{{'edge_ids', {1, %u}}, {'target'}}",
        "{{'edge_ids', {%u}}, {'where', {x = 1}}}",
        "{{'edge_ids', {%u}}, {'limit', 1}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'out', {min = 0, max = 2}}, {'skip', 1}}",
        "{{'label', 'A'}, {'where', {k = %u}}, {'out'}, {'path'}}",
    };
    static char made[400];
    const unsigned shape = (unsigned)random_below(source, COUNT_OF(shapes));
    const unsigned number = (unsigned)random_below(source, NODES + 2);
    const bool is_key = strstr(shapes[shape], "k = %u") != NULL;
    char with[10];
    snprintf(with, sizeof with, "%u", is_key ? 10 * number : number);
    const char *at = strstr(shapes[shape], "%u");
    snprintf(made, sizeof made, "%.*s%s%s", (int)(at - shapes[shape]), shapes[shape], with, at + 2);
    return made;
}

/* What it gives, in the way of `how`: rows, some rows, a count, an explanation; and where its rows
 * end. */
static void outcome(struct query *query, struct fixture *f, const char *steps, unsigned how,
                    char *out)
{
    const sombra_row *rows;
    size_t count = 1, used = 0;
    uint64_t all = 0;
    sombra_slice plan = NOTHING;
    const struct query_steps whole = { .whole = value_text("%s", steps) };
    sombra_err err = query_open_steps(query, &f->txn, &whole, &query_options, &query_environment);
    if (!err && how == 0)
        err = query_count(query, &all);
    if (!err && how == 1)
        err = query_explain(query, &plan);
    if (!err && plan.bytes)
        used = (size_t)snprintf(out, TEXT_BYTES, "%s", text_of_value(plan));
    for (bool first = true; !err && count && how > 1 && (first || how > 2); first = false) {
        err = query_next(query, &rows, &count);
        for (size_t i = 0; !err && i < count; i++)
            used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%" PRIu64 "@%u ", rows[i].id,
                                     rows[i].depth);
    }
    sombra_slice position = NOTHING;
    const sombra_err place = err ? err : query_position(query, &position);
    used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%" PRIu64 " %s, %s ", all,
                             sombra_err_name(err), sombra_err_name(place));
    for (size_t i = 0; i < position.bytes; i++)
        used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%02x",
                                 ((const uint8_t *)position.data)[i]);
    query_close(query);
    values_release();
}

static void random_change(struct fixture *f, struct random *source)
{
    const uint64_t node = 1 + random_below(source, NODES);
    const struct graph_edge ends = { .src = node, .dst = 1 + random_below(source, NODES) };
    const unsigned what = (unsigned)random_below(source, 12);
    const unsigned number = (unsigned)random_below(source, NODES + 2);
    char name[8];
    sombra_node_id made;
    sombra_edge_id edge;
    sombra_err err = SOMBRA_OK;
    if (what == 0)
        drop_index(f);
    else if (what == 1 && !f->txn.broken) {
        drop_index(f);
        create_index(f, random_below(source, 2) ? SOMBRA_RULE_INDEX : SOMBRA_RULE_UNIQUE);
    } else if (what < 8)
        err = graph_edge_create(&f->txn, &ends, text("E"), value_text("{x = 1}"), &edge);
    else if (what == 8) {
        snprintf(name, sizeof name, "T%u", number);
        err = graph_edge_create(&f->txn, &ends, text(name), value_text("{x = 1}"), &edge);
    } else if (what == 9) {
        snprintf(name, sizeof name, "B%u", number);
        const sombra_slice label = text(name);
        err = graph_node_create(&f->txn, &label, 1, value_text("{k = 10, p%u = 1}", number), &made);
    } else
        err = graph_node_change(&f->txn, node, value_text("{g = 1}"), GRAPH_MERGE);
    (void)err;
}

static void test_random_queries__are_those_of_a_new_one(void **state)
{
    struct fixture *f = *state;
    static char have[TEXT_BYTES], wanted[TEXT_BYTES];
    struct random source;
    struct query *kept = query_take();
    const uint64_t seed = test_seed();
    random_seed(&source, seed);
    bool is_write = false;
    for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
        struct query *fresh;
        if (random_below(&source, 20) == 0) {
            if (is_write && random_below(&source, 2))
                commit(f);
            else
                rollback(f);
            is_write = random_below(&source, 4) == 0;
            if (is_write)
                begin_write(f);
            else
                begin_read(f);
        }
        if (is_write && random_below(&source, 2) == 0)
            random_change(f, &source);
        const char *steps = random_steps(&source);
        const unsigned how = (unsigned)random_below(&source, 6);
        query_options.profiles = random_below(&source, 20) == 0;
        query_options.rows_max = random_below(&source, 20) == 0;
        query_options.profiles = query_options.profiles && how != 1;
        outcome(kept, f, steps, how, have);
        assert_ok(query_new(&fresh));
        outcome(fresh, f, steps, how, wanted);
        query_release(fresh);
        if (strcmp(have, wanted) != 0)
            fail_msg("round %u, seed %" PRIu64 ": %s\nhave:   %s\nwanted: %s", round, seed, steps,
                     have, wanted);
    }
    query_options.profiles = false;
    query_options.rows_max = 0;
    query_end(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, query_teardown)
        TEST(test_a_plan__takes_other_constants),
        TEST(test_a_plan__goes_with_its_index),
        TEST(test_a_plan__is_not_that_of_the_first_steps_of_more),
        TEST(test_a_plan__that_failed_or_was_left_begins_anew),
        TEST(test_a_plan__is_not_kept_for_a_type_that_is_missing),
        TEST(test_a_plan__in_the_order_of_ids_is_read_again),
        TEST(test_random_queries__are_those_of_a_new_one),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
