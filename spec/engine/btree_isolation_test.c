/* SPDX-License-Identifier: MIT */
/* The anomalies of Hermitage on the btree engine: between the threads of one process, whose handles
 * are one store, and between two processes of a simulated machine.
 */
#include "btree_fixture.h"
#include "kv_isolation.h"

struct place {
    struct store store;
    struct btree_options options;
};

static void one_handle_open(void *context, struct kv *out_kvs[2])
{
    struct place *place = context;
    store_init(&place->store, &place->options);
    out_kvs[0] = out_kvs[1] = place->store.kv;
}

static void two_processes_open(void *context, struct kv *out_kvs[2])
{
    struct place *place = context;
    store_init_simulated(&place->store, &place->options);
    struct store *store = &place->store;
    out_kvs[0] = store->kv;
    expect_ok(btree_open(os_sim_start(store->sim), store->path, &store->options, &out_kvs[1]));
    assert_ptr_not_equal(out_kvs[0], out_kvs[1]);
}

static void close_both(void *context, struct kv *kvs[2])
{
    struct place *place = context;
    kv_expect_sound(kvs[0]);
    if (kvs[1] != kvs[0])
        expect_ok(kv_close(kvs[1]));
    store_release(&place->store);
}

static void test_isolation__threads_with_one_handle(void **state)
{
    (void)state;
    struct place place = { .options = { .page_bytes = 4096, .map_bytes_max = TEST_MAP_BYTES } };
    kv_isolation_check(
        &(struct kv_isolation_driver){ "btree, one handle", &place, one_handle_open, close_both });
}

static void test_isolation__two_processes(void **state)
{
    (void)state;
    struct place place = {
        .options = { .page_bytes = 4096, .map_bytes_max = TEST_MAP_BYTES, .busy_timeout_ms = 5000 },
    };
    kv_isolation_check(&(struct kv_isolation_driver){ "btree, two processes", &place,
                                                      two_processes_open, close_both });
}

/* Every commit beside the log, so that pages are freed and used again at once. */
static void test_isolation__two_processes_whose_commits_bypass_the_log(void **state)
{
    (void)state;
    struct place place = {
        .options = { .page_bytes = 4096,
                     .map_bytes_max = TEST_MAP_BYTES,
                     .busy_timeout_ms = 5000,
                     .no_mapped_stores = true,
                     .wal_bypass_bytes = 1 },
    };
    kv_isolation_check(&(struct kv_isolation_driver){ "btree, two processes, no log", &place,
                                                      two_processes_open, close_both });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isolation__threads_with_one_handle),
        cmocka_unit_test(test_isolation__two_processes),
        cmocka_unit_test(test_isolation__two_processes_whose_commits_bypass_the_log),
    };
    return cmocka_run_group_tests_name("btree, isolation", tests, NULL, NULL);
}
