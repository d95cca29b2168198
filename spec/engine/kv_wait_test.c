/* SPDX-License-Identifier: MIT */
/* How long a job waits for others, and how often it asks its user. */
#include "kv_check.h"

enum { MS = 1000000, BEGUN = 500 * MS };

struct user {
    unsigned asked;
    bool goes_on;
};

static bool ask(void *context, uint64_t done, uint64_t total)
{
    struct user *user = context;
    assert_true(done < total);
    user->asked++;
    return user->goes_on;
}

static void test_wait__without_a_job_lasts_and_asks_nobody(void **state)
{
    (void)state;
    struct kv_wait wait = kv_wait_begin(NULL, BEGUN);
    const struct kv_wait zeros = { 0 };
    assert_memory_equal(&wait, &zeros, sizeof wait);
    assert_true(kv_wait_left_ms(&wait, UINT64_MAX) == UINT64_MAX);
    assert_true(kv_wait_nap_ms(&wait, UINT64_MAX) == UINT64_MAX);
    assert_int_equal(kv_wait_nap_ms(&wait, 7), 7);
    expect_ok(kv_wait_ask(&wait, BEGUN));
}

static void test_wait__lasts_as_long_as_the_job_says(void **state)
{
    (void)state;
    static const struct {
        uint64_t most_ms, passed_ns, left_ms;
    } cases[] = {
        { 100, 0, 100 },
        { 100, MS - 1, 100 }, /* whole milliseconds have passed */
        { 100, MS, 99 },
        { 100, 99 * MS, 1 },
        { 100, 100 * MS, 0 },
        { 100, UINT64_C(1000000) * MS, 0 },
        { 0, UINT64_C(1000000) * MS, UINT64_MAX },
        { UINT64_MAX, UINT64_C(1000000) * MS, UINT64_MAX },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct kv_maintenance job = { .wait_ms_max = cases[i].most_ms };
        struct kv_wait wait = kv_wait_begin(&job, BEGUN);
        assert_true(kv_wait_left_ms(&wait, BEGUN + cases[i].passed_ns) == cases[i].left_ms);
    }
    /* Clocks of two processors may differ a little. */
    struct kv_maintenance job = { .wait_ms_max = 100 };
    struct kv_wait wait = kv_wait_begin(&job, BEGUN);
    assert_int_equal(kv_wait_left_ms(&wait, BEGUN - 1), 100);
}

/* It may have to ask, and to see that it has waited long enough. */
static void test_wait__of_a_job_sleeps_no_longer_than_until_its_next_look(void **state)
{
    (void)state;
    struct kv_maintenance job = { .wait_ms_max = 1000 };
    struct kv_wait wait = kv_wait_begin(&job, BEGUN);
    assert_int_equal(kv_wait_nap_ms(&wait, UINT64_MAX), KV_WAIT_LOOK_MS);
    assert_int_equal(kv_wait_nap_ms(&wait, KV_WAIT_LOOK_MS + 1), KV_WAIT_LOOK_MS);
    assert_int_equal(kv_wait_nap_ms(&wait, KV_WAIT_LOOK_MS - 1), KV_WAIT_LOOK_MS - 1);
}

static void test_wait__asks_at_once_and_then_now_and_again(void **state)
{
    (void)state;
    struct user user = { .goes_on = true };
    struct kv_maintenance job = { .progress = ask, .context = &user };
    struct kv_wait wait = kv_wait_begin(&job, BEGUN);
    const uint64_t look_ns = (uint64_t)KV_WAIT_LOOK_MS * MS;
    for (unsigned times = 0; times < 3; times++) {
        const uint64_t now_ns = BEGUN + times * look_ns;
        expect_ok(kv_wait_ask(&wait, now_ns));
        assert_int_equal(user.asked, times + 1);
        expect_ok(kv_wait_ask(&wait, now_ns + look_ns - 1));
        assert_int_equal(user.asked, times + 1);
    }
    job.progress = NULL;
    expect_ok(kv_wait_ask(&wait, UINT64_MAX));
}

static void test_wait__ends_when_the_user_wants_it(void **state)
{
    (void)state;
    struct user user = { .goes_on = true };
    struct kv_maintenance job = { .progress = ask, .context = &user };
    struct kv_wait wait = kv_wait_begin(&job, BEGUN);
    expect_ok(kv_wait_ask(&wait, BEGUN));
    user.goes_on = false;
    expect_err(SOMBRA_CANCELLED, kv_wait_ask(&wait, BEGUN + (uint64_t)KV_WAIT_LOOK_MS * MS));
    assert_int_equal(user.asked, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait__without_a_job_lasts_and_asks_nobody),
        cmocka_unit_test(test_wait__lasts_as_long_as_the_job_says),
        cmocka_unit_test(test_wait__of_a_job_sleeps_no_longer_than_until_its_next_look),
        cmocka_unit_test(test_wait__asks_at_once_and_then_now_and_again),
        cmocka_unit_test(test_wait__ends_when_the_user_wants_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
