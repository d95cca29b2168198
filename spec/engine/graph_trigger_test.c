/* SPDX-License-Identifier: MIT */
/* Triggers: what is noted for them, what is forgotten, what a commit needs, and every allocation
 * failing in turn. What they look like from Lua is in spec/lua/trigger_spec.lua.
 */
#include "graph_index_fixture.h"

static const sombra_slice person_label = { "Person", 6 };
enum { ALL = SOMBRA_EVENT_CREATE | SOMBRA_EVENT_UPDATE | SOMBRA_EVENT_DELETE };

static sombra_err trigger_try(struct fixture *f, const char *words, uint32_t events)
{
    uint32_t unused;
    sombra_rule rule = rule_from(SOMBRA_RULE_TRIGGER, words);
    rule.events = events;
    return graph_rule_create(&f->txn, &rule, NULL, &unused);
}

static sombra_node_id new_person(struct fixture *f, int number)
{
    sombra_node_id node;
    assert_ok(graph_node_create(&f->txn, &person_label, 1, map_of(f, "i", "n", number), &node));
    return node;
}

static sombra_err node_set(struct fixture *f, sombra_node_id node, sombra_slice properties)
{
    return graph_node_change(&f->txn, node, properties, GRAPH_MERGE);
}

/* "c Person 1 {n=1}" of the next change, or "": its event, subject, id, and what was before. */
static const char *next_text(struct fixture *f)
{
    static char to[200];
    sombra_change change = SOMBRA_CHANGE_INIT;
    sombra_value map, value;
    bool found;
    assert_ok(graph_change_next(&f->txn, &change, &found));
    if (!found)
        return "";
    char event = change.event == SOMBRA_EVENT_CREATE   ? 'c'
                 : change.event == SOMBRA_EVENT_UPDATE ? 'u'
                                                       : 'd';
    int used = snprintf(to, sizeof to, "%c %.*s %d", event, (int)change.subject.bytes,
                        (const char *)change.subject.data, (int)change.id);
    assert_true(slice_equal(change.procedure, text("run")));
    if (change.event == SOMBRA_EVENT_CREATE) {
        assert_int_equal(change.before.bytes, 0);
        return to;
    }
    assert_ok(sombra_value_decode(change.before, &map));
    if (!sombra_value_member(&map, text("n"), &value))
        snprintf(to + used, sizeof to - (size_t)used, " n=%d", (int)value.as.integer);
    return to;
}

static void test_trigger__changes_come_in_the_order_of_the_writes(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    assert_ok(trigger_try(f, "Person(run)", ALL));
    assert_ok(trigger_try(f, ">KNOWS(run)", SOMBRA_EVENT_CREATE));
    sombra_node_id a = new_person(f, 1), b = new_person(f, 2);
    (void)edge_new(f, a, "KNOWS", b);
    (void)edge_new(f, a, "LIKES", b);
    assert_ok(node_set(f, b, map_of(f, "i", "n", 3)));
    assert_ok(node_set(f, b, map_of(f, "i", "n", 3))); /* is it already */
    assert_ok(graph_node_delete(&f->txn, b, true));
    assert_int_equal(graph_changes_left(&f->txn), 5);
    assert_string_equal(next_text(f), "c Person 1");
    assert_string_equal(next_text(f), "c Person 2");
    assert_string_equal(next_text(f), "c KNOWS 1");
    assert_string_equal(next_text(f), "u Person 2 n=2");
    assert_string_equal(next_text(f), "d Person 2 n=3");
    assert_string_equal(next_text(f), "");
    assert_int_equal(graph_changes_left(&f->txn), 0);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_sound(f);
    rollback(f);
}

static void test_trigger__a_rollback_takes_its_changes_back(void **state)
{
    struct fixture *f = *state;
    uint64_t outer, inner;
    begin_write(f);
    assert_ok(trigger_try(f, "Person(run)", ALL));
    (void)new_person(f, 1);
    assert_ok(graph_txn_savepoint(&f->txn, &outer));
    assert_ok(node_set(f, 1, map_of(f, "i", "n", 2)));
    assert_ok(graph_txn_savepoint(&f->txn, &inner));
    (void)new_person(f, 3);
    assert_ok(graph_txn_rollback_to(&f->txn, inner));
    assert_int_equal(graph_changes_left(&f->txn), 2);
    assert_ok(graph_txn_rollback_to(&f->txn, outer));
    assert_int_equal(graph_changes_left(&f->txn), 1);
    assert_ok(node_set(f, 1, map_of(f, "i", "n", 4)));
    assert_string_equal(next_text(f), "c Person 1");
    assert_string_equal(next_text(f), "u Person 1 n=1");
    assert_ok(graph_txn_rollback_to(&f->txn, outer)); /* behind what was taken */
    assert_string_equal(next_text(f), "");
    rollback(f);
    begin_write(f);
    assert_string_equal(next_text(f), "");
    rollback(f);
}

static void test_trigger__a_refused_write_is_not_noted(void **state)
{
    struct fixture *f = *state;
    sombra_node_id unused;
    begin_write(f);
    assert_ok(trigger_try(f, "Person(run)", ALL));
    (void)rule_new(f, SOMBRA_RULE_UNIQUE, "Person(n)");
    (void)new_person(f, 1);
    assert_err(graph_node_create(&f->txn, &person_label, 1, map_of(f, "i", "n", 1), &unused),
               SOMBRA_UNIQUE);
    sombra_slice maps[2] = { value_keep(map_of(f, "i", "n", 2)),
                             value_keep(map_of(f, "i", "n", 1)) };
    assert_err(graph_node_create_many(&f->txn, &person_label, 1, maps, 2, &unused), SOMBRA_UNIQUE);
    assert_int_equal(graph_changes_left(&f->txn), 1);
    assert_ok(graph_node_create_many(&f->txn, &person_label, 1, maps, 1, &unused));
    assert_int_equal(graph_changes_left(&f->txn), 2);
    assert_string_equal(next_text(f), "c Person 1");
    assert_string_equal(next_text(f), "c Person 2");
    rollback(f);
}

/* Writes between two calls belong to the change that was taken: 16 of them deep is the end. */
static void test_trigger__that_sets_itself_off_is_stopped(void **state)
{
    struct fixture *f = *state;
    sombra_change change = SOMBRA_CHANGE_INIT;
    bool found;
    begin_write(f);
    assert_ok(trigger_try(f, "Person(run)", SOMBRA_EVENT_CREATE));
    (void)new_person(f, 0);
    for (int i = 1; i <= 16; i++) {
        assert_ok(graph_change_next(&f->txn, &change, &found));
        assert_true(found);
        (void)new_person(f, i);
    }
    assert_err(graph_change_next(&f->txn, &change, &found), SOMBRA_LIMIT);
    assert_err(graph_change_next(&f->txn, &change, &found), SOMBRA_LIMIT);
    assert_int_equal(graph_changes_left(&f->txn), 1);
    rollback(f);
}

static void test_trigger__needs_events(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    assert_err(trigger_try(f, "Person(run)", 0), SOMBRA_INVALID);
    assert_err(trigger_try(f, "Person(run)", 8), SOMBRA_INVALID);
    assert_err(trigger_try(f, "Person(run,more)", ALL), SOMBRA_INVALID);
    assert_ok(trigger_try(f, "Person(run)", ALL));
    assert_err(trigger_try(f, "Person(run)", SOMBRA_EVENT_CREATE), SOMBRA_EXISTS);
    (void)new_person(f, 1);
    assert_ok(graph_rule_drop(&f->txn, 1));
    assert_string_equal(next_text(f), ""); /* of a trigger that is gone */
    rollback(f);
}

static sombra_err history(struct fixture *f, sombra_slice properties, sombra_slice others)
{
    sombra_node_id node = 0;
    bool found = true;
    sombra_change change = SOMBRA_CHANGE_INIT;
    sombra_err err = trigger_try(f, "Person(run)", ALL);
    for (int i = 0; !err && i < 3; i++) {
        err = graph_node_create(&f->txn, &person_label, 1, properties, &node);
        if (!err)
            err = node_set(f, node, others);
        if (!err)
            err = graph_node_delete(&f->txn, node, false);
    }
    while (!err && found)
        err = graph_change_next(&f->txn, &change, &found);
    return err;
}

static void test_trigger__no_memory_is_an_error_and_nothing_leaks(void **state)
{
    struct fixture *f = *state;
    sombra_err err = SOMBRA_NOMEM;
    sombra_slice properties = value_keep(map_of(f, "is", "n", 1, "name", "Ada"));
    sombra_slice others = value_keep(map_of(f, "i", "n", 2));
    uint64_t n;
    (void)mem_test_live();
    for (n = 1; err; n++) {
        begin_write(f);
        mem_test_fail_at(n, false);
        err = history(f, properties, others);
        mem_test_fail_at(0, false);
        if (err)
            assert_err(err, SOMBRA_NOMEM);
        rollback(f);
        assert_in_range(n, 1, 5000);
    }
    assert_true(n > 5);
    begin_write(f);
    assert_ok(history(f, properties, others));
    assert_sound(f);
    rollback(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_trigger__changes_come_in_the_order_of_the_writes),
        T(test_trigger__a_rollback_takes_its_changes_back),
        T(test_trigger__a_refused_write_is_not_noted),
        T(test_trigger__that_sets_itself_off_is_stopped),
        T(test_trigger__needs_events),
        T(test_trigger__no_memory_is_an_error_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
