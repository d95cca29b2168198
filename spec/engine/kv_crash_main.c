/* SPDX-License-Identifier: MIT */
/* The tests of an engine's crash program. */
#include "kv_check.h"
#include "kv_crash.h"

struct crashes {
    const struct kv_crash_driver *drivers;
    size_t count;
    uint64_t seed;
};

static void test_store__power_cuts_and_kills_leave_whole_commits(void **state)
{
    const struct crashes *crashes = *state;
    size_t failed = 0;
    for (size_t i = 0; i < crashes->count; i++)
        failed += !kv_crash_power_cuts(&crashes->drivers[i], crashes->seed + i);
    assert_int_equal(failed, 0);
}

static void test_store__failing_calls_lose_nothing(void **state)
{
    const struct crashes *crashes = *state;
    size_t failed = 0;
    for (size_t i = 0; i < crashes->count; i++)
        if (!crashes->drivers[i].has_threads)
            failed += !kv_crash_faults(&crashes->drivers[i], crashes->seed + i);
    assert_int_equal(failed, 0);
}

static void test_store__failing_allocations_are_survived(void **state)
{
    const struct crashes *crashes = *state;
    size_t failed = 0;
    for (size_t i = 0; i < crashes->count; i++)
        if (!crashes->drivers[i].has_threads)
            failed += !kv_crash_allocations(&crashes->drivers[i], crashes->seed + i);
    assert_int_equal(failed, 0);
}

int kv_crash_main(const char *engine, const struct kv_crash_driver *drivers, size_t count)
{
    struct crashes crashes = { .drivers = drivers, .count = count, .seed = kv_test_seed(engine) };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_store__power_cuts_and_kills_leave_whole_commits, &crashes),
        cmocka_unit_test_prestate(test_store__failing_calls_lose_nothing, &crashes),
        cmocka_unit_test_prestate(test_store__failing_allocations_are_survived, &crashes),
    };
    return cmocka_run_group_tests_name(engine, tests, NULL, NULL);
}
