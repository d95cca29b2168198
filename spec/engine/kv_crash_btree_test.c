/* SPDX-License-Identifier: MIT */
/* The btree engine after power cuts, kills, failing calls and failing allocations.
 * SOMBRA_LONG=1 tries every one of them; else they are sampled by the printed seed.
 */
#include "btree/btree.h"
#include "kv_check.h"
#include "kv_crash.h"

static sombra_err open_store(void *context, struct os *os, struct kv **out_kv)
{
    return btree_open(os, "store", context, out_kv);
}

static struct btree_options by_default = {
    .create = true, .page_bytes = 4096, .no_background = true, .busy_timeout_ms = 5000
};
/* Checkpoints and commits beside the log all the time. */
static struct btree_options with_small_log = { .create = true,
                                               .page_bytes = 4096,
                                               .no_background = true,
                                               .busy_timeout_ms = 5000,
                                               .checkpoint_log_bytes = 128 * KiB,
                                               .wal_bypass_bytes = 48 * KiB };
static struct btree_options by_calls = { .create = true,
                                         .page_bytes = 8192,
                                         .no_background = true,
                                         .no_mapped_stores = true,
                                         .busy_timeout_ms = 5000,
                                         .checkpoint_log_bytes = 256 * KiB };
/* Pages spill in logged transactions and in those beside the log. */
static struct btree_options with_spill = { .create = true,
                                           .page_bytes = 4096,
                                           .no_background = true,
                                           .no_mapped_stores = true,
                                           .busy_timeout_ms = 5000,
                                           .checkpoint_log_bytes = 128 * KiB,
                                           .txn_memory_max = 88 * KiB };
static struct btree_options with_threads = { .create = true,
                                             .page_bytes = 4096,
                                             .busy_timeout_ms = 5000,
                                             .sync_interval_ms = 5,
                                             .checkpoint_log_bytes = 128 * KiB };

static const struct kv_crash_driver drivers[] = {
    { .name = "btree", .context = &by_default, .open = open_store },
    { .name = "btree, small log", .context = &with_small_log, .open = open_store },
    { .name = "btree, pages written by calls", .context = &by_calls, .open = open_store },
    { .name = "btree, machine without allocate and mapped stores",
      .context = &with_small_log,
      .open = open_store,
      .machine = { .lacks_allocate = true, .lacks_mapped_stores = true, .lacks_populate = true } },
    { .name = "btree, pages spill", .context = &with_spill, .open = open_store },
    { .name = "btree, background threads", .context = &with_threads, .open = open_store },
};
enum { DETERMINISTIC = COUNT_OF(drivers) - 1 }; /* those without threads */

static void test_btree__power_cuts_and_kills_leave_whole_commits(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    size_t failed = 0;
    for (size_t i = 0; i < COUNT_OF(drivers); i++)
        failed += !kv_crash_power_cuts(&drivers[i], seed + i);
    assert_int_equal(failed, 0);
}

static void test_btree__failing_calls_lose_nothing(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    size_t failed = 0;
    for (size_t i = 0; i < DETERMINISTIC; i++)
        failed += !kv_crash_faults(&drivers[i], seed + i);
    assert_int_equal(failed, 0);
}

static void test_btree__failing_allocations_are_survived(void **state)
{
    uint64_t seed = *(uint64_t *)*state;
    size_t failed = 0;
    for (size_t i = 0; i < DETERMINISTIC; i++)
        failed += !kv_crash_allocations(&drivers[i], seed + i);
    assert_int_equal(failed, 0);
}

int main(void)
{
    uint64_t seed = kv_test_seed("btree, crashes");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_btree__power_cuts_and_kills_leave_whole_commits, &seed),
        cmocka_unit_test_prestate(test_btree__failing_calls_lose_nothing, &seed),
        cmocka_unit_test_prestate(test_btree__failing_allocations_are_survived, &seed),
    };
    return cmocka_run_group_tests_name("btree, crashes", tests, NULL, NULL);
}
