/* SPDX-License-Identifier: MIT */
/* Rules: made, listed, dropped, obeyed; refusals change nothing; online builds; upserts; batches.
 */
#include "graph_index_fixture.h"

#include "base/random.h"
#include "graph/index_internal.h"

#include <math.h>

/* ---- make, list, find, drop -------------------------------------------------------------- */

static void test_rule__is_listed_and_found_as_it_was_made(void **state)
{
    struct fixture *f = *state;
    sombra_rule rule = SOMBRA_RULE_INIT;
    uint32_t found_id;
    bool found;
    begin_write(f);
    uint32_t index = rule_new(f, SOMBRA_RULE_INDEX, "Person(name,born)");
    uint32_t unique = rule_new(f, SOMBRA_RULE_UNIQUE, ">KNOWS(key)");
    (void)person_new(f, map_of(f, "si", "name", "Ada", "born", 1815));
    commit(f);
    begin_read(f);
    assert_ok(graph_rule_next(&f->txn, 0, &rule, &found));
    assert_true(found && rule.id == index && rule.is_ready && !rule.is_edge);
    assert_int_equal(rule.kind, SOMBRA_RULE_INDEX);
    assert_int_equal(rule.entries, 1);
    assert_int_equal(rule.property_count, 2);
    assert_true(slice_equal(rule.subject, person) && slice_equal(rule.properties[1], text("born")));
    assert_ok(graph_rule_next(&f->txn, index, &rule, &found));
    assert_true(found && rule.id == unique && rule.is_edge);
    assert_ok(graph_rule_next(&f->txn, unique, &rule, &found));
    assert_false(found);
    rule = rule_from(SOMBRA_RULE_UNIQUE, ">KNOWS(key)");
    assert_ok(graph_rule_find(&f->txn, &rule, &found_id));
    assert_int_equal(found_id, unique);
    rule = rule_from(SOMBRA_RULE_INDEX, "Person(born,name)");
    assert_err(graph_rule_find(&f->txn, &rule, &found_id), SOMBRA_NOT_FOUND);
    rollback(f);
}

static void test_rule__made_twice_exists_and_says_which(void **state)
{
    struct fixture *f = *state;
    sombra_rule rule = rule_from(SOMBRA_RULE_UNIQUE, "Person(name)");
    uint32_t id = 0;
    begin_write(f);
    uint32_t first = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_EXISTS);
    assert_int_equal(id, first);
    uint32_t plain = rule_new(f, SOMBRA_RULE_INDEX, "Person(name)");
    assert_int_not_equal(plain, first);
    assert_sound(f);
    rollback(f);
}

static void test_rule__that_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t id;
    static const struct {
        sombra_rule_kind kind;
        const char *words;
    } rules[] = { { SOMBRA_RULE_INDEX, "Person()" },
                  { SOMBRA_RULE_REQUIRED, "Person(a,b)" },
                  { SOMBRA_RULE_INDEX, "Person(a,b,a)" },
                  { (sombra_rule_kind)9, "Person(a)" } };
    begin_write(f);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        sombra_rule rule = rule_from(rules[i].kind, rules[i].words);
        assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_INVALID);
    }
    sombra_rule rule = rule_from(SOMBRA_RULE_INDEX, "Person(a)");
    rule.subject = NOTHING;
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_INVALID);
    assert_sound(f);
    rollback(f);
    begin_read(f);
    rule = rule_from(SOMBRA_RULE_INDEX, "Person(a)");
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_READONLY);
    rollback(f);
}

static void test_rule__dropped_takes_its_entries_along(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    uint32_t unique = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    (void)person_new(f, map_of(f, "s", "name", "Ada"));
    commit(f);
    begin_write(f);
    assert_err(person_try(f, map_of(f, "s", "name", "Ada")), SOMBRA_UNIQUE);
    assert_ok(graph_rule_drop(&f->txn, unique));
    assert_err(graph_rule_drop(&f->txn, unique), SOMBRA_NOT_FOUND);
    assert_ok(person_try(f, map_of(f, "s", "name", "Ada")));
    assert_sound(f);
    sombra_rule rule = rule_from(SOMBRA_RULE_UNIQUE, "Person(name)");
    uint32_t again = 0;
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &again), SOMBRA_UNIQUE);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

static void test_rule__rolled_back_is_gone_for_all(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    begin_write(f);
    uint32_t kept = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    commit(f);
    begin_write(f);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    assert_ok(graph_rule_drop(&f->txn, kept));
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    (void)person_new(f, map_of(f, "si", "name", "Ada", "key", 1));
    (void)person_new(f, map_of(f, "si", "name", "Ada", "key", 2));
    assert_err(person_try(f, map_of(f, "i", "key", 2)), SOMBRA_UNIQUE);
    uint32_t other = rule_new(f, SOMBRA_RULE_REQUIRED, "Person(key)");
    assert_err(person_try(f, NOTHING), SOMBRA_CONSTRAINT);
    rollback(f);
    begin_write(f);
    (void)person_new(f, NOTHING);
    assert_err(graph_rule_drop(&f->txn, other), SOMBRA_NOT_FOUND);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

static void test_rule__of_a_snapshot_is_that_of_its_time(void **state)
{
    struct fixture *f = *state;
    struct graph_txn old = { 0 };
    struct kv_txn *kv;
    const struct graph_rule *rules;
    size_t count;
    uint32_t subject;
    begin_write(f);
    uint32_t id = rule_new(f, SOMBRA_RULE_INDEX, "Person(name)");
    commit(f);
    assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ 0 }, &kv));
    graph_txn_begin(&old, &f->graph, kv);
    begin_write(f);
    assert_ok(graph_rule_drop(&f->txn, id));
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(born)");
    (void)rule_new(f, SOMBRA_RULE_INDEX, "Person(died)");
    commit(f);
    begin_read(f);
    assert_ok(graph_name_find(&f->txn, SOMBRA_NAME_LABEL, person, &subject));
    assert_ok(graph_rules_of(&f->txn, false, subject, &rules, &count));
    assert_int_equal(count, 2);
    assert_ok(graph_rules_of(&old, false, subject, &rules, &count));
    assert_int_equal(count, 1);
    assert_int_equal(rules[0].id, id);
    rollback(f);
    kv_abort(old.kv);
    graph_txn_end(&old, false);
    graph_txn_release(&old);
}

/* ---- refusals ---------------------------------------------------------------------------- */

static void test_rule__unique_refuses_every_way_to_a_second(void **state)
{
    struct fixture *f = *state;
    bool changed;
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    uint64_t ada = person_new(f, map_of(f, "s", "name", "Ada"));
    uint64_t bob = person_new(f, map_of(f, "si", "name", "Bob", "born", 1900));
    uint64_t stray, nodes = nodes_of(f, NULL);
    assert_err(person_try(f, map_of(f, "s", "name", "Ada")), SOMBRA_UNIQUE);
    assert_violation(f, rule, "name", ada);
    assert_err(
        graph_node_change(&f->txn, bob, map_of(f, "si", "name", "Ada", "born", 1), GRAPH_MERGE),
        SOMBRA_UNIQUE);
    assert_err(graph_node_change(&f->txn, bob, map_of(f, "s", "name", "Ada"), GRAPH_REPLACE),
               SOMBRA_UNIQUE);
    assert_string_equal(node_text(f, bob), "name='Bob' born=1900");
    assert_int_equal(nodes_of(f, NULL), nodes);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map_of(f, "s", "name", "Bob"), &stray));
    assert_err(graph_node_add_label(&f->txn, stray, person, &changed), SOMBRA_UNIQUE);
    assert_violation(f, rule, "name", bob);
    assert_string_equal(labels_text(f, stray), "");
    assert_int_equal(nodes_of(f, "Person"), 2);
    assert_ok(graph_node_change(&f->txn, ada, map_of(f, "s", "name", "Ada"), GRAPH_MERGE));
    assert_ok(graph_node_delete(&f->txn, bob, false));
    assert_ok(graph_node_add_label(&f->txn, stray, person, &changed));
    assert_sound(f);
    rollback(f);
}

static void test_rule__unique_of_numbers_is_by_value(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    (void)person_new(f, map_of(f, "i", "key", 1));
    (void)person_new(f, map_of(f, "f", "key", 0.0));
    (void)person_new(f, map_of(f, "f", "key", 1.0 * (double)NAN));
    assert_err(person_try(f, map_of(f, "f", "key", 1.0)), SOMBRA_UNIQUE);
    assert_err(person_try(f, map_of(f, "f", "key", -0.0)), SOMBRA_UNIQUE);
    assert_err(person_try(f, map_of(f, "f", "key", -(double)NAN)), SOMBRA_UNIQUE);
    assert_ok(person_try(f, map_of(f, "s", "key", "1")));
    assert_sound(f);
    rollback(f);
}

static void test_rule__unique_composite_frees_what_misses_a_property(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name,born)");
    (void)person_new(f, map_of(f, "si", "name", "Ada", "born", 1815));
    (void)person_new(f, map_of(f, "s", "name", "Ada"));
    (void)person_new(f, map_of(f, "s", "name", "Ada"));
    (void)person_new(f, map_of(f, "i", "born", 1815));
    (void)person_new(f, map_of(f, "i", "born", 1815));
    (void)person_new(f, map_of(f, "si", "name", "Ada", "born", 1816));
    assert_err(person_try(f, map_of(f, "si", "name", "Ada", "born", 1815)), SOMBRA_UNIQUE);
    assert_int_equal(entries_of(f, rule), 4);
    assert_sound(f);
    rollback(f);
}

static void test_rule__unique_looks_at_all_of_a_long_string(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    uint64_t a = person_new(f, map_of(f, "s", "name", long_text('a')));
    uint64_t b = person_new(f, map_of(f, "s", "name", long_text('b')));
    assert_err(person_try(f, map_of(f, "s", "name", long_text('a'))), SOMBRA_UNIQUE);
    assert_int_equal(f->txn.violation.id, a);
    assert_int_equal(find(f, map_of(f, "s", "name", long_text('b'))), b);
    assert_int_equal(find(f, map_of(f, "s", "name", long_text('c'))), 0);
    assert_sound(f);
    rollback(f);
}

static void test_rule__unique_after_a_rollback_to_a_savepoint_is_free_again(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    (void)person_new(f, map_of(f, "s", "name", "Ada"));
    assert_err(person_try(f, map_of(f, "s", "name", "Ada")), SOMBRA_UNIQUE);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_ok(person_try(f, map_of(f, "s", "name", "Ada")));
    assert_sound(f);
    rollback(f);
}

static void test_rule__required_and_kind_are_kept_by_every_write(void **state)
{
    struct fixture *f = *state;
    bool changed;
    uint64_t stray;
    begin_write(f);
    uint32_t required = rule_new(f, SOMBRA_RULE_REQUIRED, "Person(name)");
    sombra_rule rule = rule_from(SOMBRA_RULE_KIND, "Person(name)");
    uint32_t kind, number;
    rule.value_kind = SOMBRA_STRING;
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &kind));
    rule = rule_from(SOMBRA_RULE_KIND, "Person(born)");
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &number));
    uint64_t ada = person_new(f, map_of(f, "sf", "name", "Ada", "born", 1815.5));
    assert_err(person_try(f, NOTHING), SOMBRA_CONSTRAINT);
    assert_violation(f, required, "name", 0);
    assert_err(person_try(f, map_of(f, "i", "name", 1)), SOMBRA_CONSTRAINT);
    assert_violation(f, kind, "name", 0);
    assert_err(graph_node_change(&f->txn, ada, map_of(f, "s", "born", "then"), GRAPH_MERGE),
               SOMBRA_CONSTRAINT);
    assert_violation(f, number, "born", ada);
    assert_err(graph_node_change(&f->txn, ada, map_of(f, "i", "born", 1), GRAPH_REPLACE),
               SOMBRA_CONSTRAINT);
    assert_err(graph_node_remove_property(&f->txn, ada, text("name")), SOMBRA_CONSTRAINT);
    assert_err(graph_node_change(&f->txn, ada, map_of(f, "n", "name"), GRAPH_MERGE),
               SOMBRA_CONSTRAINT);
    assert_ok(graph_node_remove_property(&f->txn, ada, text("born")));
    assert_ok(graph_node_create(&f->txn, NULL, 0, NOTHING, &stray));
    assert_err(graph_node_add_label(&f->txn, stray, person, &changed), SOMBRA_CONSTRAINT);
    assert_string_equal(node_text(f, ada), "name='Ada'");
    assert_ok(graph_node_remove_label(&f->txn, ada, person, &changed));
    assert_ok(graph_node_remove_property(&f->txn, ada, text("name")));
    assert_sound(f);
    rollback(f);
}

static void test_rule__what_is_there_must_obey_a_new_one(void **state)
{
    struct fixture *f = *state;
    uint32_t id;
    begin_write(f);
    (void)person_new(f, map_of(f, "s", "name", "Ada"));
    uint64_t other = person_new(f, map_of(f, "s", "name", "Ada"));
    uint64_t nameless = person_new(f, NOTHING);
    sombra_rule rule = rule_from(SOMBRA_RULE_UNIQUE, "Person(name)");
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_UNIQUE);
    rule = rule_from(SOMBRA_RULE_REQUIRED, "Person(name)");
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_CONSTRAINT);
    assert_int_equal(f->txn.violation.id, nameless);
    rule = rule_from(SOMBRA_RULE_KIND, "Person(name)");
    assert_err(graph_rule_create(&f->txn, &rule, NULL, &id), SOMBRA_CONSTRAINT);
    assert_no_rules(f);
    assert_ok(graph_node_delete(&f->txn, other, false));
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(name)");
    assert_sound(f);
    rollback(f);
}

static void test_rule__of_edges_is_kept_as_that_of_nodes(void **state)
{
    struct fixture *f = *state;
    uint64_t edge, second, unused;
    begin_write(f);
    uint64_t a = node_new(f, NULL), b = node_new(f, NULL);
    const struct graph_edge ends = { .src = a, .dst = b };
    assert_ok(graph_edge_create(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "key", 1), &edge));
    uint32_t rule = rule_new(f, SOMBRA_RULE_UNIQUE, ">KNOWS(key)");
    assert_int_equal(entries_of(f, rule), 1);
    assert_err(graph_edge_create(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "key", 1), &unused),
               SOMBRA_UNIQUE);
    assert_violation(f, rule, "key", edge);
    assert_int_equal(edges_of(f, "KNOWS"), 1);
    assert_ok(graph_edge_create(&f->txn, &ends, text("LIKES"), map_of(f, "i", "key", 1), &unused));
    assert_ok(graph_edge_create(&f->txn, &ends, text("KNOWS"), map_of(f, "i", "key", 2), &second));
    assert_err(graph_edge_change(&f->txn, second, map_of(f, "i", "key", 1), GRAPH_MERGE),
               SOMBRA_UNIQUE);
    assert_ok(graph_edge_remove_property(&f->txn, edge, text("key")));
    assert_int_equal(entries_of(f, rule), 1);
    assert_ok(graph_edge_change(&f->txn, second, map_of(f, "i", "key", 1), GRAPH_REPLACE));
    assert_sound(f);
    assert_ok(graph_node_delete(&f->txn, a, true));
    assert_int_equal(entries_of(f, rule), 0);
    assert_sound(f);
    rollback(f);
}

/* ---- making: cancelled, online ----------------------------------------------------------- */

static bool stop_at(void *context, uint64_t done, uint64_t total)
{
    uint64_t *limit = context;
    assert_true(done <= total);
    return done < *limit;
}

static void test_rule__cancelled_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t limit = 1000;
    uint32_t id;
    sombra_rule rule = rule_from(SOMBRA_RULE_INDEX, "Person(key)");
    begin_write(f);
    persons_new(f, 2000);
    assert_err(graph_rule_create(&f->txn, &rule, &(struct graph_job){ stop_at, &limit }, &id),
               SOMBRA_CANCELLED);
    assert_no_rules(f);
    assert_sound(f);
    limit = UINT64_MAX;
    assert_ok(graph_rule_create(&f->txn, &rule, &(struct graph_job){ stop_at, &limit }, &id));
    assert_int_equal(entries_of(f, id), 2000);
    assert_sound(f);
    rollback(f);
}

/* Steps with writes of others in between: of what was filled, of what was not, of new ones. */
static void test_rule__online_build_keeps_up_with_writes(void **state)
{
    struct fixture *f = *state;
    sombra_rule rule = rule_from(SOMBRA_RULE_INDEX, "Person(key)");
    struct graph_fill fill = { 0 };
    bool is_ready = false, changed;
    uint32_t id;
    unsigned steps = 0;
    begin_write(f);
    persons_new(f, 20000);
    commit(f);
    begin_write(f);
    assert_ok(graph_rule_begin(&f->txn, &rule, &id));
    commit(f);
    for (; !is_ready; steps++) {
        begin_write(f);
        assert_ok(graph_rule_fill(&f->txn, id, &fill, &is_ready));
        commit(f);
        begin_write(f);
        uint64_t at = 1 + steps * 700;
        for (uint64_t node = at; node < at + 100; node++) {
            assert_ok(graph_node_change(&f->txn, node, map_of(f, "i", "key", -1), GRAPH_MERGE));
            assert_ok(graph_node_change(&f->txn, 20001 - node, map_of(f, "n", "key"), GRAPH_MERGE));
        }
        assert_ok(graph_node_delete(&f->txn, at + 100, false));
        assert_ok(graph_node_delete(&f->txn, 20001 - at - 100, false));
        assert_ok(graph_node_remove_label(&f->txn, at + 101, person, &changed));
        (void)person_new(f, map_of(f, "i", "key", (int)steps));
        if (steps % 2)
            commit(f);
        else
            rollback(f);
        begin_read(f);
        assert_sound(f);
        rollback(f);
    }
    assert_true(steps > 2 && fill.done == fill.total);
    begin_read(f);
    assert_true(rule_get(f, id)->is_ready);
    assert_sound(f);
    rollback(f);
}

static void test_rule__unready_binds_writes_already(void **state)
{
    struct fixture *f = *state;
    sombra_rule unique = rule_from(SOMBRA_RULE_UNIQUE, "Person(key)");
    sombra_rule required = rule_from(SOMBRA_RULE_REQUIRED, "Person(name)");
    struct graph_fill fill = { 0 };
    bool is_ready = false;
    uint32_t id;
    uint64_t unused;
    begin_write(f);
    (void)person_new(f, map_of(f, "is", "key", 1, "name", "Ada"));
    assert_ok(graph_rule_begin(&f->txn, &unique, &id));
    (void)person_new(f, map_of(f, "is", "key", 2, "name", "Bob"));
    assert_err(person_try(f, map_of(f, "i", "key", 2)), SOMBRA_UNIQUE);
    assert_err(
        graph_node_upsert(&f->txn, person, map_of(f, "i", "key", 2), NOTHING, &unused, &is_ready),
        SOMBRA_INVALID);
    assert_ok(graph_rule_fill(&f->txn, id, &fill, &is_ready));
    assert_true(is_ready);
    assert_err(person_try(f, map_of(f, "i", "key", 1)), SOMBRA_UNIQUE);
    assert_ok(graph_rule_begin(&f->txn, &required, &id));
    assert_err(person_try(f, map_of(f, "i", "key", 3)), SOMBRA_CONSTRAINT);
    assert_ok(graph_rule_create(&f->txn, &required, NULL, &id)); /* goes on with it */
    assert_true(rule_get(f, id)->is_ready);
    assert_sound(f);
    rollback(f);
}

/* ---- damage ------------------------------------------------------------------------------ */

static void test_verify__finds_entries_missing_and_too_many(void **state)
{
    struct fixture *f = *state;
    struct index_key key;
    struct buf values = BUF_INIT;
    begin_write(f);
    uint32_t rule = rule_new(f, SOMBRA_RULE_UNIQUE, "Person(key)");
    uint64_t a = person_new(f, map_of(f, "i", "key", 1));
    (void)person_new(f, map_of(f, "i", "key", 2));
    commit(f);
    assert_ok(index_append(&values, value_of(f, "i", (int64_t)1)));
    index_key_of(rule, buf_slice(&values), a, &key);
    begin_write(f);
    assert_ok(kv_delete(f->txn.kv, index_key_slice(&key)));
    assert_int_equal(problems_of(f, NULL, 0), 1);
    index_key_of(rule, buf_slice(&values), a + 1, &key);
    assert_ok(kv_put(f->txn.kv, index_key_slice(&key), NOTHING));
    assert_true(problems_of(f, NULL, 0) >= 1);
    index_key_of(rule + 1, buf_slice(&values), a, &key);
    assert_ok(kv_put(f->txn.kv, index_key_slice(&key), NOTHING));
    assert_true(problems_of(f, NULL, 0) >= 2);
    assert_err(graph_node_delete(&f->txn, a, false), SOMBRA_CORRUPT);
    rollback(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
    buf_release(&values);
}

static void test_verify__finds_what_breaks_a_constraint(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    (void)rule_new(f, SOMBRA_RULE_REQUIRED, "Person(key)");
    uint64_t node = person_new(f, map_of(f, "i", "key", 1));
    struct graph_key key = key_1(TAG_NODE, node);
    assert_ok(kv_put(f->txn.kv, key_slice(&key), text("\x01\x01")));
    assert_int_equal(problems_of(f, NULL, 0), 1);
    key = key_1(TAG_RULE, 1);
    assert_ok(kv_put(f->txn.kv, key_slice(&key), text("\x09")));
    assert_true(problems_of(f, NULL, 0) >= 1);
    rollback(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_rule__is_listed_and_found_as_it_was_made),
        TEST(test_rule__made_twice_exists_and_says_which),
        TEST(test_rule__that_makes_no_sense_is_refused),
        TEST(test_rule__dropped_takes_its_entries_along),
        TEST(test_rule__rolled_back_is_gone_for_all),
        TEST(test_rule__of_a_snapshot_is_that_of_its_time),
        TEST(test_rule__unique_refuses_every_way_to_a_second),
        TEST(test_rule__unique_of_numbers_is_by_value),
        TEST(test_rule__unique_composite_frees_what_misses_a_property),
        TEST(test_rule__unique_looks_at_all_of_a_long_string),
        TEST(test_rule__unique_after_a_rollback_to_a_savepoint_is_free_again),
        TEST(test_rule__required_and_kind_are_kept_by_every_write),
        TEST(test_rule__what_is_there_must_obey_a_new_one),
        TEST(test_rule__of_edges_is_kept_as_that_of_nodes),
        TEST(test_rule__cancelled_leaves_nothing),
        TEST(test_rule__online_build_keeps_up_with_writes),
        TEST(test_rule__unready_binds_writes_already),
        TEST(test_verify__finds_entries_missing_and_too_many),
        TEST(test_verify__finds_what_breaks_a_constraint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
