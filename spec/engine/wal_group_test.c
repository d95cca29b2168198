/* SPDX-License-Identifier: MIT */
/* Group commit, on a log that is two numbers: whose sync covers whom, who leads, who hears of a
 * failure. Who is where is waited for, never timed. */
#include "wal_fixture.h"

#include "wal/wal.h"

#include <stdio.h>

enum { THREADS = 8, COMMITS = 300 };

struct fake_log {
    struct wal_group group;
    _Atomic uint64_t newest_lsn, durable_lsn;
    _Atomic uint32_t syncs;   /* begun */
    _Atomic uint32_t running; /* of them, now */
    _Atomic uint32_t is_held; /* a sync does not end while this is set */
    _Atomic bool fails, is_failed, has_overlapped;
};

struct member {
    struct fake_log *log;
    struct os_thread thread;
    uint64_t lsn;
    sombra_err err;
    char text[200];
};

static uint64_t fake_durable(void *context)
{
    struct fake_log *log = context;
    return atomic_load(&log->durable_lsn);
}

static uint64_t fake_newest(void *context)
{
    struct fake_log *log = context;
    return atomic_load(&log->newest_lsn);
}

static sombra_err fake_check(void *context)
{
    struct fake_log *log = context;
    return atomic_load(&log->is_failed) ? diag_fail(SOMBRA_IO, "a sync has failed") : SOMBRA_OK;
}

static sombra_err fake_sync(void *context)
{
    struct fake_log *log = context;
    uint64_t lsn = atomic_load(&log->newest_lsn);
    atomic_fetch_add(&log->syncs, 1);
    if (atomic_fetch_add(&log->running, 1))
        atomic_store(&log->has_overlapped, true);
    while (atomic_load(&log->is_held))
        os_word_wait(&log->is_held, 1, 100);
    atomic_fetch_sub(&log->running, 1);
    if (atomic_load(&log->fails)) {
        atomic_store(&log->is_failed, true);
        return diag_fail(SOMBRA_IO, "this sync failed");
    }
    atomic_store(&log->durable_lsn, lsn);
    return SOMBRA_OK;
}

static const struct wal_group_ops fake_ops = {
    .durable_lsn = fake_durable,
    .newest_lsn = fake_newest,
    .check = fake_check,
    .sync = fake_sync,
};

static void log_init(struct fake_log *log)
{
    *log = (struct fake_log){ 0 };
    assert_ok(wal_group_init(&log->group, &fake_ops, log));
}

static void log_let_sync_end(struct fake_log *log)
{
    atomic_store(&log->is_held, 0);
    os_word_wake(&log->is_held, 1);
}

static void *member_main(void *argument)
{
    struct member *member = argument;
    member->err = wal_group_sync(&member->log->group, member->lsn);
    snprintf(member->text, sizeof member->text, "%s", member->err ? sombra_err_message() : "");
    return NULL;
}

static void member_start(struct member *member, struct fake_log *log, uint64_t lsn)
{
    *member = (struct member){ .log = log, .lsn = lsn };
    assert_ok(os_thread_start(&member->thread, member_main, member));
}

/* So many of the round that runs, so many of the next. */
static void members_await(struct fake_log *log, uint32_t running, uint32_t next)
{
    for (;;) {
        os_mutex_lock(&log->group.mutex);
        uint64_t round = atomic_load(&log->group.ended) + 1;
        bool are_there = log->group.is_syncing && log->group.members[round % 2] == running &&
                         log->group.members[(round + 1) % 2] == next;
        os_mutex_unlock(&log->group.mutex);
        if (are_there)
            return;
        os_sleep_us(os_posix(), 100);
    }
}

static void test_wal_group__one_thread_syncs_once_for_each_commit(void **state)
{
    (void)state;
    struct fake_log log;
    log_init(&log);
    for (uint64_t lsn = 1; lsn <= 10; lsn++) {
        atomic_store(&log.newest_lsn, lsn);
        assert_ok(wal_group_sync(&log.group, lsn));
        assert_ok(wal_group_sync(&log.group, lsn)); /* durable: no sync */
        assert_int_equal(atomic_load(&log.syncs), lsn);
        assert_int_equal(log.group.company, 1);
    }
    wal_group_release(&log.group);
}

static void test_wal_group__who_is_covered_leaves_with_the_sync_that_runs(void **state)
{
    (void)state;
    struct fake_log log;
    struct member members[3];
    log_init(&log);
    atomic_store(&log.newest_lsn, 3);
    atomic_store(&log.is_held, 1);
    member_start(&members[0], &log, 1);
    members_await(&log, 1, 0);
    member_start(&members[1], &log, 2);
    member_start(&members[2], &log, 3);
    members_await(&log, 3, 0);
    log_let_sync_end(&log);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        os_thread_join(&members[i].thread);
        assert_int_equal(members[i].err, SOMBRA_OK);
    }
    assert_int_equal(atomic_load(&log.syncs), 1);
    assert_int_equal(log.group.company, 3);
    wal_group_release(&log.group);
}

static void test_wal_group__those_not_covered_share_the_next_sync(void **state)
{
    (void)state;
    struct fake_log log;
    struct member members[4];
    log_init(&log);
    atomic_store(&log.newest_lsn, 1);
    atomic_store(&log.is_held, 1);
    member_start(&members[0], &log, 1);
    members_await(&log, 1, 0);
    atomic_store(&log.newest_lsn, 4);
    for (size_t i = 1; i < COUNT_OF(members); i++)
        member_start(&members[i], &log, i + 1);
    members_await(&log, 1, 3);
    log_let_sync_end(&log);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        os_thread_join(&members[i].thread);
        assert_int_equal(members[i].err, SOMBRA_OK);
    }
    assert_int_equal(atomic_load(&log.syncs), 2);
    assert_int_equal(atomic_load(&log.durable_lsn), 4);
    wal_group_release(&log.group);
}

static void test_wal_group__a_failure_reaches_all_who_waited_and_nobody_syncs_again(void **state)
{
    (void)state;
    struct fake_log log;
    struct member members[4];
    log_init(&log);
    atomic_store(&log.newest_lsn, 2);
    atomic_store(&log.is_held, 1);
    atomic_store(&log.fails, true);
    member_start(&members[0], &log, 1);
    members_await(&log, 1, 0);
    member_start(&members[1], &log, 2);
    members_await(&log, 2, 0);
    atomic_store(&log.newest_lsn, 4);
    member_start(&members[2], &log, 3);
    members_await(&log, 2, 1);
    member_start(&members[3], &log, 4);
    members_await(&log, 2, 2);
    log_let_sync_end(&log);
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        os_thread_join(&members[i].thread);
        assert_int_equal(members[i].err, SOMBRA_IO);
        assert_string_equal(members[i].text, i ? "a sync has failed" : "this sync failed");
    }
    assert_int_equal(atomic_load(&log.syncs), 1);
    assert_int_equal(atomic_load(&log.durable_lsn), 0);
    wal_group_release(&log.group);
}

/* Company that does not come back is not waited for again and again. */
static void test_wal_group__a_wait_in_vain_is_followed_by_a_pause(void **state)
{
    (void)state;
    struct fake_log log;
    log_init(&log);
    uint64_t lsn = 0;
    for (uint32_t pause = 1; pause < 64; pause = pause * 2 + 1) {
        log.group.company = 2; /* somebody was here */
        log.group.sync_ns = 1000;
        atomic_store(&log.newest_lsn, ++lsn);
        assert_ok(wal_group_sync(&log.group, lsn));
        assert_int_equal(log.group.pause, pause);
        for (uint32_t i = 0; i < pause; i++) {
            log.group.company = 2;
            atomic_store(&log.newest_lsn, ++lsn);
            assert_ok(wal_group_sync(&log.group, lsn));
        }
        assert_int_equal(log.group.pause, 0);
    }
    assert_int_equal(atomic_load(&log.syncs), lsn);
    wal_group_release(&log.group);
}

static void *commit_many(void *argument)
{
    struct member *member = argument;
    struct fake_log *log = member->log;
    for (int i = 0; i < COMMITS && !member->err; i++) {
        uint64_t lsn = atomic_fetch_add(&log->newest_lsn, 1) + 1;
        member->err = wal_group_sync(&log->group, lsn);
        if (!member->err && atomic_load(&log->durable_lsn) < lsn)
            member->err = SOMBRA_CORRUPT;
        if (i % 7 == 0)
            os_thread_yield();
    }
    return NULL;
}

static void test_wal_group__every_commit_of_many_threads_is_durable_when_it_returns(void **state)
{
    (void)state;
    struct fake_log log;
    struct member members[THREADS];
    log_init(&log);
    for (size_t i = 0; i < THREADS; i++) {
        members[i] = (struct member){ .log = &log };
        assert_ok(os_thread_start(&members[i].thread, commit_many, &members[i]));
    }
    for (size_t i = 0; i < THREADS; i++) {
        os_thread_join(&members[i].thread);
        assert_int_equal(members[i].err, SOMBRA_OK);
    }
    assert_int_equal(atomic_load(&log.durable_lsn), THREADS * COMMITS);
    assert_true(atomic_load(&log.syncs) <= THREADS * COMMITS);
    assert_false(atomic_load(&log.has_overlapped));
    wal_group_release(&log.group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wal_group__one_thread_syncs_once_for_each_commit),
        cmocka_unit_test(test_wal_group__who_is_covered_leaves_with_the_sync_that_runs),
        cmocka_unit_test(test_wal_group__those_not_covered_share_the_next_sync),
        cmocka_unit_test(test_wal_group__a_failure_reaches_all_who_waited_and_nobody_syncs_again),
        cmocka_unit_test(test_wal_group__a_wait_in_vain_is_followed_by_a_pause),
        cmocka_unit_test(test_wal_group__every_commit_of_many_threads_is_durable_when_it_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
