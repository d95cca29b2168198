/* SPDX-License-Identifier: MIT */
/* Plans that a query keeps for the next one of the same steps: rows, counts and explanations are
 * those of a new query, whatever has changed. */
#include "query_fixture.h"

#include "base/mem.h"
#include "base/random.h"

enum { NODES = 12, NAMES = 9, RANDOM_ROUNDS = 4000, TEXT_BYTES = 8000 };

/* A unique index of `k`, so that a `where` is a look-up. */
static sombra_err try_index(struct fixture *f, sombra_rule_kind kind, size_t property_count)
{
    const sombra_rule rule = { .struct_bytes = sizeof rule,
                               .kind = kind,
                               .subject = text("A"),
                               .property_count = property_count,
                               .properties = { text("k"), text("g") } };
    uint32_t id;
    return graph_rule_create(&f->txn, &rule, NULL, &id);
}

static void create_index(struct fixture *f, sombra_rule_kind kind)
{
    assert_ok(try_index(f, kind, 1));
}

static void drop_index(struct fixture *f)
{
    const struct graph_rule *rules;
    size_t count;
    uint32_t label = 0;
    assert_ok(graph_name_find(&f->txn, SOMBRA_NAME_LABEL, text("A"), &label));
    assert_ok(graph_rules_of(&f->txn, false, label, &rules, &count));
    while (count--) {
        assert_ok(graph_rule_drop(&f->txn, rules[0].id));
        assert_ok(graph_rules_of(&f->txn, false, label, &rules, &(size_t){ 0 }));
    }
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

/* What the steps of a query are made of: %i is an id, %s a value, %n a name. */
static const char *const sources[] = {
    "{'ids', {%i}}",
    "{'ids', {%i}}",
    "{'ids', {1, %i}}",
    "{'edge_ids', {%i}}",
    "{'edges', 'T%n'}",
    "{'label', 'B%n'}, {'where', {k = %s}}",
    "{'label', 'A'}, {'where', {k = %s}}",
    "{'label', 'A'}, {'where', {k = %s}}",
    "{'label', 'A'}, {'where', {k = {eq = %s}}}",
    "{'label', 'A'}, {'where', {k = %s, g = %s}}",
    "{'label', 'A'}, {'where', {g = %s}}, {'where', {k = %s}}",
    "{'label', 'A'}, {'where', {k = %s}}, {'where', {k = %s}}",
    "{'label', 'A'}, {'where', {k = %s}}, {'order', {'#id'}}",
    "{'label', 'A'}, {'order', {'k'}}",
};
static const char *const others[] = {
    "{'out'}",
    "{'out'}",
    "{'both', {types = {'E', 'T%n'}}}",
    "{'out', {types = {'T%n'}}}",
    "{'out', {min = 0, max = 2}}",
    "{'out', {max = 2, unique = 'edges', where = {x = %s}}}",
    "{'out', {nodes = {g = %s}}}",
    "{'out', {edges = true}}",
    "{'into', {edges = true}}, {'source'}",
    "{'where', {g = %s}}",
    "{'where', {p%n = %s}}",
    "{'where', {k = {ge = %s}}}",
    "{'where', {'or', {g = %s}, {x = 1}}}",
    "{'limit', %i}",
    "{'limit', 0}",
    "{'limit', 1}",
    "{'skip', 1}",
    "{'skip', %i}",
    "{'order', {'#id'}}",
    "{'order', {'-#id'}}",
    "{'order', {'k'}}",
    "{'order', {'p%n'}}",
    "{'distinct'}",
    "{'except', {%i}}",
    "{'select', {'k', '#depth'}}",
    "{'path'}",
    "{'union', {{'out'}}, {{'where', {g = 1}}}}",
};
static const char *const values[] = { "10",
                                      "20",
                                      "30",
                                      "40",
                                      "50",
                                      "1",
                                      "0",
                                      "10.0",
                                      "20.5",
                                      "nan",
                                      "''",
                                      "'1'",
                                      "'a longer one than all'",
                                      "true",
                                      "{10, 20}",
                                      "[]",
                                      "9007199254740993",
                                      "-1" };

#define ONE_OF(list, source) (list)[random_below(source, COUNT_OF(list))]

/* Mostly what some node has. */
static const char *random_value(struct random *source)
{
    static char number[8];
    if (random_below(source, 4) == 0)
        return ONE_OF(values, source);
    snprintf(number, sizeof number, "%u", 10 * (1 + (unsigned)random_below(source, NODES)));
    return number;
}

/* With what stands for the %s in it. */
static void fill(struct random *source, const char *pattern, char *out, size_t bytes)
{
    size_t used = 0;
    for (const char *at = pattern; *at && used < bytes; at++) {
        if (*at != '%')
            used += (size_t)snprintf(out + used, bytes - used, "%c", *at);
        else if (*++at == 's')
            used += (size_t)snprintf(out + used, bytes - used, "%s", random_value(source));
        else
            used +=
                (size_t)snprintf(out + used, bytes - used, "%u",
                                 1 + (unsigned)random_below(source, *at == 'n' ? NAMES : NODES));
    }
    assert_true(used < bytes);
}

static void random_pattern(struct random *source, char *out, size_t bytes)
{
    size_t used = (size_t)snprintf(out, bytes, "{%s", ONE_OF(sources, source));
    for (uint64_t left = random_below(source, 3); left; left--)
        used += (size_t)snprintf(out + used, bytes - used, ", %s", ONE_OF(others, source));
    assert_true(used + 1 < bytes);
    snprintf(out + used, bytes - used, "}");
}

/* What it gives, in the way of `how`: rows, some rows, a count, an explanation; and where its rows
 * end. */
static sombra_err outcome(struct query *query, struct graph_txn *txn, sombra_slice steps,
                          unsigned how, char *out)
{
    const sombra_row *rows;
    size_t count = 1, used = 0;
    uint64_t all = 0;
    sombra_slice plan = NOTHING, position = NOTHING;
    const struct query_steps whole = { .whole = steps };
    sombra_err err = query_open_steps(query, txn, &whole, &query_options, &query_environment);
    if (!err && how == 0)
        err = query_count(query, &all);
    if (!err && how == 1)
        err = query_explain(query, &plan);
    if (!err && plan.bytes)
        used = (size_t)snprintf(out, TEXT_BYTES, "%s", text_of_value(plan));
    for (bool first = true; !err && count && how > 1 && (first || how > 2); first = false) {
        err = query_next(query, &rows, &count);
        for (size_t i = 0; !err && i < count && used < TEXT_BYTES / 2; i++)
            used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%" PRIu64 "@%u%s ", rows[i].id,
                                     rows[i].depth,
                                     rows[i].value.bytes ? text_of_value(rows[i].value) : "");
    }
    const sombra_err place = err ? err : query_position(query, &position);
    used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%" PRIu64 " %s, %s ", all,
                             sombra_err_name(err), sombra_err_name(place));
    for (size_t i = 0; i < position.bytes && used < TEXT_BYTES; i++)
        used += (size_t)snprintf(out + used, TEXT_BYTES - used, "%02x",
                                 ((const uint8_t *)position.data)[i]);
    query_close(query);
    return err ? err : place;
}

static void random_change(struct fixture *f, struct random *source)
{
    const unsigned what = (unsigned)random_below(source, 12);
    const uint64_t node = 1 + random_below(source, NODES);
    const struct graph_edge ends = { .src = node, .dst = 1 + random_below(source, NODES) };
    char name[8], filled[100];
    sombra_node_id made;
    sombra_edge_id edge;
    sombra_err err = SOMBRA_OK;
    if (f->txn.broken)
        return;
    snprintf(name, sizeof name, "%c%u", what < 6 ? 'T' : 'B',
             1 + (unsigned)random_below(source, NAMES));
    const sombra_slice label = text(name);
    if (what == 0) {
        drop_index(f);
        if (random_below(source, 2))
            create_index(f, SOMBRA_RULE_INDEX);
    } else if (what < 4)
        err = try_index(f, SOMBRA_RULE_UNIQUE, 1 + random_below(source, 2));
    else if (what < 6)
        err = graph_edge_create(&f->txn, &ends, random_below(source, 2) ? text("E") : label,
                                value_text("{x = 1}"), &edge);
    else if (what == 6)
        err =
            graph_node_create(&f->txn, &label, 1, value_text("{k = 10, p%c = 1}", name[1]), &made);
    else if (what == 7) {
        fill(source, random_below(source, 2) ? "{g = %s}" : "{k = %s}", filled, sizeof filled);
        err = graph_node_change(&f->txn, node, value_text("%s", filled), GRAPH_MERGE);
    } else
        err = graph_node_change(&f->txn, node, value_text("{k = %" PRIu64 "}", 10 * node),
                                GRAPH_MERGE);
    (void)err;
}

static void end(struct graph_txn *txn)
{
    if (!txn->kv)
        return;
    kv_abort(txn->kv);
    graph_txn_end(txn, false);
}

/* The transaction of f becomes another one; `older` stays where it is, now and then. */
static void next_transaction(struct fixture *f, struct graph_txn *older, struct random *source,
                             bool *is_write)
{
    if (*is_write && !f->txn.broken && random_below(source, 2))
        commit(f);
    else
        rollback(f);
    if (random_below(source, 3) == 0)
        end(older);
    if (!older->kv && random_below(source, 2)) {
        struct kv_txn *kv;
        assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = false }, &kv));
        graph_txn_begin(older, &f->graph, kv);
    }
    *is_write = random_below(source, 3) == 0;
    if (*is_write)
        begin_write(f);
    else
        begin_read(f);
}

static void test_random_queries__are_those_of_a_new_one(void **state)
{
    struct fixture *f = *state;
    static char have[TEXT_BYTES], wanted[TEXT_BYTES], patterns[6][400], filled[600];
    struct random source;
    struct graph_txn older = { .kv = NULL };
    struct query *kept = query_take();
    const uint64_t seed = test_seed();
    random_seed(&source, seed);
    bool is_write = false;
    for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
        struct query *fresh;
        if (random_below(&source, 12) == 0)
            next_transaction(f, &older, &source, &is_write);
        if (is_write && random_below(&source, 2) == 0)
            random_change(f, &source);
        char *pattern = ONE_OF(patterns, &source);
        if (!*pattern || random_below(&source, 30) == 0)
            random_pattern(&source, pattern, sizeof patterns[0]);
        fill(&source, pattern, filled, sizeof filled);
        const sombra_slice steps = value_text("%s", filled);
        struct graph_txn *txn = older.kv && random_below(&source, 4) == 0 ? &older : &f->txn;
        const unsigned how = (unsigned)random_below(&source, 10);
        query_options.profiles = how != 1 && random_below(&source, 30) == 0;
        query_options.rows_max = random_below(&source, 30) == 0;
        query_options.memory_max = random_below(&source, 30) == 0;
        const bool fails = !is_write && random_below(&source, 20) == 0;
        if (fails)
            mem_test_fail_at(1 + random_below(&source, 20), false);
        const sombra_err err = outcome(kept, txn, steps, how, have);
        mem_test_fail_at(0, false);
        assert_ok(query_new(&fresh));
        outcome(fresh, txn, steps, how, wanted);
        query_release(fresh);
        if (!(fails && err == SOMBRA_NOMEM) && strcmp(have, wanted) != 0)
            fail_msg("round %u, seed %" PRIu64 ": %s\nhave:   %s\nwanted: %s", round, seed, filled,
                     have, wanted);
        values_release();
    }
    query_options = (sombra_query_options)SOMBRA_QUERY_OPTIONS_INIT;
    query_end(kept);
    end(&older);
    graph_txn_release(&older);
}

int main(void)
{
    (void)mem_test_live();
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
