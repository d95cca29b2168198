/* SPDX-License-Identifier: MIT */
/* The anomalies of Hermitage on the lsm engine, between threads of the one writing process. */
#include "kv_isolation.h"
#include "lsm_store.h"

struct place {
    struct lsm_store store;
    struct lsm_options options;
};

static void open_both(void *context, struct kv *out_kvs[2])
{
    struct place *place = context;
    lsm_store_init(&place->store, &place->options);
    out_kvs[0] = place->store.kv;
    expect_ok(lsm_open(place->store.os, place->store.path, &place->store.options, &out_kvs[1]));
}

static void close_both(void *context, struct kv *kvs[2])
{
    struct place *place = context;
    kv_expect_sound(kvs[0]);
    expect_ok(kv_close(kvs[1]));
    lsm_store_release(&place->store);
}

static void test_isolation__threads(void **state)
{
    (void)state;
    struct place place = { .options = { LSM_STORE_SMALL(16 * KiB) } };
    kv_isolation_check(
        &(struct kv_isolation_driver){ "lsm, threads", &place, open_both, close_both });
}

/* Every commit finds its memtable full, so that each is flushed and compacted at once. */
static void test_isolation__everything_is_flushed_at_once(void **state)
{
    (void)state;
    struct place place = { .options = { LSM_STORE_SMALL(16 * KiB), .no_background = true } };
    kv_isolation_check(
        &(struct kv_isolation_driver){ "lsm, inline work", &place, open_both, close_both });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isolation__threads),
        cmocka_unit_test(test_isolation__everything_is_flushed_at_once),
    };
    return cmocka_run_group_tests_name("lsm, isolation", tests, NULL, NULL);
}
