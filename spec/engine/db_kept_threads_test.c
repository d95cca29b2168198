/* SPDX-License-Identifier: MIT */
/* Readers in several threads pass the same few handles on to each other, with what those keep of
 * the values that were read, while a writer gives all nodes another value in one commit: each
 * reader sees one value everywhere, and none that is older than what it saw before. */
#include "db_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum { NODES = 150, READERS = 3, COMMITS = 150, READS = 8 };

static char folder[64];

struct shared {
    sombra_db *db;
    sombra_node_id nodes[NODES];
    atomic_int newest; /* committed */
    atomic_uint wrong, reads;
};

static sombra_slice map_of(sombra_value_builder *builder, int value)
{
    sombra_slice map;
    sombra_value_builder_reset(builder);
    OK(sombra_value_begin_map(builder));
    OK(sombra_value_push_key(builder, "p", 1));
    OK(sombra_value_push_integer(builder, value));
    OK(sombra_value_end_map(builder));
    OK(sombra_value_finish(builder, &map));
    return map;
}

/* The value that all nodes have in this transaction; -1: they have different ones. */
static int value_of_all(struct shared *shared, sombra_txn *txn)
{
    sombra_slice values[NODES];
    int64_t all = -1;
    if (sombra_node_property_many(txn, shared->nodes, NODES, slice_str("p"), values))
        return -1;
    for (size_t i = 0; i < NODES; i++) {
        sombra_value value;
        if (!values[i].data || sombra_value_decode(values[i], &value) ||
            (i && value.as.integer != all))
            return -1;
        all = value.as.integer;
    }
    return (int)all;
}

static void *read_values(void *argument)
{
    struct shared *shared = argument;
    while (atomic_load(&shared->newest) < COMMITS && !atomic_load(&shared->wrong)) {
        sombra_txn *txn;
        int before = atomic_load(&shared->newest);
        sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
        bool is_right = sombra_txn_begin(shared->db, &options, &txn) == SOMBRA_OK;
        int first = is_right ? value_of_all(shared, txn) : -1;
        is_right = is_right && first >= before;
        for (int i = 0; is_right && i < READS; i++)
            is_right = value_of_all(shared, txn) == first;
        sombra_txn_close(txn);
        atomic_fetch_add(is_right ? &shared->reads : &shared->wrong, 1);
    }
    return NULL;
}

static void check(const char *engine)
{
    struct shared shared = { .db = NULL };
    sombra_value_builder *builder;
    pthread_t threads[READERS];
    sombra_options options = SOMBRA_OPTIONS_INIT;
    char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, engine);
    options.engine = engine;
    options.create = true;
    options.durability = SOMBRA_DURABILITY_OFF;
    OK(sombra_open(path, &options, &shared.db));
    OK(sombra_value_builder_new(&builder));
    sombra_txn *txn = begin(shared.db, true);
    for (size_t i = 0; i < NODES; i++)
        OK(sombra_node_create(txn, NULL, 0, map_of(builder, 0), &shared.nodes[i]));
    commit(txn);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_values, &shared), 0);
    for (int value = 1; value <= COMMITS; value++) {
        unsigned reads = atomic_load(&shared.reads);
        txn = begin(shared.db, true);
        for (size_t i = 0; i < NODES; i++)
            OK(sombra_node_set(txn, shared.nodes[i], map_of(builder, value)));
        commit(txn);
        while (value < COMMITS && atomic_load(&shared.reads) < reads + READERS &&
               !atomic_load(&shared.wrong))
            sched_yield();
        atomic_store(&shared.newest, value);
    }
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&shared.wrong), 0);
    sombra_value_builder_free(builder);
    OK(sombra_close(shared.db));
}

static void test_kept_values__go_from_thread_to_thread_on_btree(void **state)
{
    (void)state;
    check("btree");
}

static void test_kept_values__go_from_thread_to_thread_on_lsm(void **state)
{
    (void)state;
    check("lsm");
}

static int setup(void **state)
{
    (void)state;
    return folder_make(folder, sizeof folder, "db_kept_threads_test");
}

static int teardown(void **state)
{
    (void)state;
    return folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_values__go_from_thread_to_thread_on_btree),
        cmocka_unit_test(test_kept_values__go_from_thread_to_thread_on_lsm),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
