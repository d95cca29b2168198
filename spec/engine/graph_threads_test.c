/* SPDX-License-Identifier: MIT */
/* Readers in several threads look names up, by text and by id, while a writer makes new ones and
 * aborts some: what they get is what their snapshot says, and the shared set holds no name that was
 * never committed. */
#include "graph_fixture.h"

#include <pthread.h>

enum { READERS = 3, ROUNDS = 60 };

/* Is what the snapshot shows right? *out_reads: how much was looked at. */
typedef bool (*look_fn)(struct graph_txn *txn, unsigned *out_reads);

struct shared {
    struct fixture *f;
    look_fn look;
    atomic_bool is_over;
    atomic_uint wrong, reads;
    pthread_t threads[READERS];
};

static void *read_main(void *argument)
{
    struct shared *shared = argument;
    struct graph_txn txn = { 0 };
    while (!atomic_load(&shared->is_over)) {
        struct kv_txn *kv;
        unsigned reads = 0;
        if (kv_begin(shared->f->kv, &(struct kv_begin_options){ 0 }, &kv)) {
            atomic_fetch_add(&shared->wrong, 1);
            break;
        }
        graph_txn_begin(&txn, &shared->f->graph, kv);
        if (!shared->look(&txn, &reads))
            atomic_fetch_add(&shared->wrong, 1);
        atomic_fetch_add(&shared->reads, reads);
        kv_abort(kv);
        graph_txn_end(&txn, false);
    }
    graph_txn_release(&txn);
    return NULL;
}

static void readers_begin(struct shared *shared)
{
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&shared->threads[i], NULL, read_main, shared), 0);
}

/* They have looked at something, and all of it was right. */
static void readers_end(struct shared *shared)
{
    while (atomic_load(&shared->reads) == 0 && atomic_load(&shared->wrong) == 0)
        sched_yield();
    atomic_store(&shared->is_over, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(shared->threads[i], NULL);
    assert_int_equal(atomic_load(&shared->wrong), 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The label of each node n is "Ln", however the ids of names fell. */
static bool node_is_right(struct graph_txn *txn, sombra_node_id node)
{
    sombra_record record;
    uint32_t label;
    bool found, has;
    sombra_name name;
    char want[24];
    int bytes = snprintf(want, sizeof want, "L%d", (int)node);
    sombra_slice text_wanted = slice_of(want, (size_t)bytes);
    return graph_node_get(txn, node, &record) == SOMBRA_OK &&
           graph_record_next_label(&record, &label, &found) == SOMBRA_OK && found &&
           graph_name_by_id(txn, SOMBRA_NAME_LABEL, label, &name) == SOMBRA_OK &&
           slice_equal(name.text, text_wanted) &&
           graph_node_has_label(txn, node, text_wanted, &has) == SOMBRA_OK && has;
}

static bool names_are_right(struct graph_txn *txn, unsigned *out_reads)
{
    uint64_t count = 0;
    uint32_t ghost = 0;
    bool is_right = graph_node_count(txn, NOTHING, &count) == SOMBRA_OK;
    for (uint64_t node = 1; is_right && node <= count; node++)
        is_right = node_is_right(txn, node);
    *out_reads = (unsigned)count;
    return is_right && !graph_name_find(txn, SOMBRA_NAME_LABEL, text("Ghost"), &ghost) && !ghost;
}

static void test_names__are_shared_by_threads_as_committed(void **state)
{
    struct shared shared = { .f = *state, .look = names_are_right };
    readers_begin(&shared);
    for (int node = 1; node <= ROUNDS; node++) {
        char label[24];
        snprintf(label, sizeof label, "L%d", node);
        begin_write(shared.f);
        node_new(shared.f, "Ghost");
        rollback(shared.f);
        begin_write(shared.f);
        assert_int_equal(node_new(shared.f, label), node);
        commit(shared.f);
    }
    readers_end(&shared);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* There is one rule of the label "Ruled" for each node that has the label. */
static bool rules_are_right(struct graph_txn *txn, unsigned *out_reads)
{
    uint64_t nodes = 0;
    uint32_t label = 0;
    const struct graph_rule *rules;
    size_t count = 0;
    sombra_err err = graph_node_count(txn, text("Ruled"), &nodes);
    if (!err)
        err = graph_name_find(txn, SOMBRA_NAME_LABEL, text("Ruled"), &label);
    if (!err && label)
        err = graph_rules_of(txn, false, label, &rules, &count);
    *out_reads = (unsigned)count;
    return !err && count == nodes;
}

static void rule_of(struct fixture *f, int number)
{
    char property[24];
    uint32_t id;
    sombra_rule rule = SOMBRA_RULE_INIT;
    snprintf(property, sizeof property, "p%d", number);
    rule.kind = SOMBRA_RULE_INDEX;
    rule.subject = text("Ruled");
    rule.property_count = 1;
    rule.properties[0] = text(property);
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
}

static void test_rules__are_shared_by_threads_as_committed(void **state)
{
    struct shared shared = { .f = *state, .look = rules_are_right };
    readers_begin(&shared);
    for (int round = 1; round <= ROUNDS; round++) {
        begin_write(shared.f);
        rule_of(shared.f, -round);
        rollback(shared.f);
        begin_write(shared.f);
        rule_of(shared.f, round);
        node_new(shared.f, "Ruled");
        commit(shared.f);
    }
    readers_end(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names__are_shared_by_threads_as_committed,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_rules__are_shared_by_threads_as_committed,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
