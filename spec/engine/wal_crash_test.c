/* SPDX-License-Identifier: MIT */
/* The log on the simulated machine: power cuts at every call, kills with takeover, failing calls.
 */
#include "wal_fixture.h"

#include "os/os_sim.h"

#include <inttypes.h>
#include <stdio.h>

#define LOG_PATH "/log"

/* What the writer knows, for the one who looks at the wreck. */
struct history {
    struct os_sim *sim;
    struct random random;
    struct wal *wal;
    struct wal_position start; /* of the epoch: epoch, 0, link */
    uint64_t start_lsn;        /* the last before it */
    uint64_t appended_lsn;     /* begun: may be there */
    uint64_t published_lsn;    /* append returned */
    uint64_t synced_lsn;       /* must be there after any power cut */
    bool is_ready;             /* the first restart returned */
    bool uses_window;
    uint64_t cuts;
};

/* ---- power cuts --------------------------------------------------------------------------- */

static void check_image(struct history *history, enum os_sim_variant variant, uint64_t seed)
{
    struct os_sim *after = os_sim_crash(history->sim, variant, seed);
    struct os *os = os_sim_start(after);
    struct wal *wal = NULL;
    sombra_err err = wal_open(os, LOG_PATH, true, &wal);
    if (!history->is_ready) {
        assert_true(err == SOMBRA_OK || err == SOMBRA_NOT_FOUND);
    } else {
        struct wal_replay_result result;
        assert_ok(err);
        err = log_replay(wal, history->start, history->start_lsn, &result);
        if (err)
            fail_msg("%s: %s", os_sim_variant_name(variant), diag_text());
        if (result.last_lsn < history->synced_lsn || result.last_lsn > history->appended_lsn)
            fail_msg("%s: %" PRIu64 " is not in [%" PRIu64 ", %" PRIu64 "]",
                     os_sim_variant_name(variant), result.last_lsn, history->synced_lsn,
                     history->appended_lsn);
    }
    wal_close(wal);
    os_sim_free(after);
    history->cuts++;
}

static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct history *history = context;
    (void)sim;
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++)
        check_image(history, (enum os_sim_variant)variant, event->number);
}

static void history_append(struct history *history)
{
    uint64_t lsn = history->published_lsn + 1;
    size_t bytes = random_below(&history->random, 8) ? log_payload_bytes(lsn)
                                                     : 1 + (size_t)(hash_u64(lsn) % 3000);
    assert_ok(wal_reserve(history->wal, bytes, LOG_BYTES_MAX));
    history->appended_lsn = lsn;
    log_append_bytes(history->wal, lsn, history->synced_lsn, bytes);
    history->published_lsn = lsn;
}

/* The store behind the log became durable up to here, as a checkpoint would make it. */
static void history_restart(struct history *history)
{
    struct wal_position old = wal_position(history->wal);
    assert_ok(wal_sync(history->wal));
    history->synced_lsn = history->published_lsn;
    history->start = (struct wal_position){ .epoch = old.epoch + 1, .link = old.link };
    history->start_lsn = history->published_lsn;
    assert_ok(wal_restart(history->wal, history->start.epoch, history->start.link));
}

static void history_step(struct history *history)
{
    switch (random_below(&history->random, 10)) {
    case 0:
    case 1: {
        uint64_t lsn = history->published_lsn;
        assert_ok(wal_sync(history->wal));
        history->synced_lsn = lsn;
        break;
    }
    case 2:
        assert_ok(wal_append_mark(history->wal, history->published_lsn, history->synced_lsn));
        break;
    case 3:
        if (random_below(&history->random, 4) == 0)
            history_restart(history);
        break;
    default:
        history_append(history);
    }
}

static void run_history(uint64_t seed, bool uses_window, bool has_short_records)
{
    struct os_sim_options options = { .seed = seed };
    struct history history = { .sim = os_sim_new(&options), .start = { .epoch = 1 } };
    struct os *os = os_sim_start(history.sim);
    random_seed(&history.random, seed);
    os_sim_set_hook(history.sim, cut, &history);
    assert_ok(wal_create(os, LOG_PATH, 0600, 4096, &history.wal));
    if (uses_window)
        assert_ok(wal_use_window(history.wal, true));
    if (has_short_records)
        wal_use_short_records(history.wal);
    history.is_ready = true;
    assert_ok(wal_restart(history.wal, 1, 0));
    for (int i = 0; i < 60; i++) {
        history_step(&history);
        if (uses_window) /* stores make no calls: look at the machine after each step */
            check_image(&history, OS_SIM_RANDOM_SECTORS, (uint64_t)i);
    }
    wal_close(history.wal);
    os_sim_set_hook(history.sim, NULL, NULL);
    os_sim_free(history.sim);
    assert_true(history.cuts > 60);
}

static void test_wal__any_power_cut_leaves_a_prefix_with_all_that_was_synced(void **state)
{
    (void)state;
    uint64_t seed = log_seed();
    for (uint64_t run = 0; run < 10; run++)
        run_history(seed + run, false, run % 2);
}

static void test_wal__any_power_cut_of_a_windowed_log_leaves_such_a_prefix(void **state)
{
    (void)state;
    uint64_t seed = log_seed();
    for (uint64_t run = 0; run < 10; run++)
        run_history(seed + run, true, run % 2);
}

struct counted {
    struct history *history;
    unsigned calls[OS_SIM_CALLS];
};

static void cut_counted(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct counted *counted = context;
    counted->calls[event->call]++;
    cut(counted->history, sim, event);
}

static void append_and_sync(struct history *history, size_t bytes)
{
    uint64_t lsn = history->published_lsn + 1;
    assert_ok(wal_reserve(history->wal, bytes, LOG_BYTES_MAX));
    history->appended_lsn = lsn;
    log_append_bytes(history->wal, lsn, history->synced_lsn, bytes);
    history->published_lsn = lsn;
    assert_ok(wal_sync(history->wal));
    history->synced_lsn = lsn;
}

/* Space that is only allocated: no zeros are written for it, and none synced. */
static void test_wal__a_long_record_is_saved_by_one_write_and_one_sync(void **state)
{
    (void)state;
    struct history history = { .sim = os_sim_new(NULL), .start = { .epoch = 1 } };
    struct os *os = os_sim_start(history.sim);
    struct counted counted = { .history = &history };
    assert_ok(wal_create(os, LOG_PATH, 0600, 4096, &history.wal));
    assert_ok(wal_restart(history.wal, 1, 0));
    history.is_ready = true;
    append_and_sync(&history, 100);
    os_sim_set_hook(history.sim, cut_counted, &counted);
    append_and_sync(&history, 1 * MiB + 3);
    assert_int_equal(counted.calls[OS_SIM_ALLOCATE], 1);
    assert_int_equal(counted.calls[OS_SIM_WRITE], 1);
    assert_int_equal(counted.calls[OS_SIM_SYNC], 1);
    assert_in_range(wal_file_bytes(history.wal) - wal_position(history.wal).offset, 0, 4095);
    append_and_sync(&history, 100);
    append_and_sync(&history, 100);
    wal_close(history.wal);
    os_sim_set_hook(history.sim, NULL, NULL);
    os_sim_free(history.sim);
}

/* ---- kill and takeover -------------------------------------------------------------------- */

/* The first process appends and is killed before its n-th call, with its last record published or
 * not. The second takes over at the published tail, with records of its own. Then the power fails.
 */
static bool take_over_at(uint64_t nth, bool is_last_published, bool has_short_records)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct os *first = os_sim_start(sim), *second = os_sim_start(sim);
    struct wal *wal, *heir;
    struct wal_position start = { .epoch = 1 }, published = start, tail = start;
    struct wal_replay_result result;
    uint64_t lsn = 0;
    assert_ok(wal_create(first, LOG_PATH, 0600, 4096, &wal));
    assert_ok(wal_restart(wal, 1, 0));
    if (has_short_records)
        wal_use_short_records(wal);
    os_sim_stop_at(first, nth);
    for (; lsn < 30 && log_try_append(wal, lsn + 1, 0, 200) == SOMBRA_OK; lsn++) {
        published = tail;
        tail = wal_position(wal);
    }
    bool was_killed = os_sim_is_dead(first);
    os_sim_kill(first);
    wal_close(wal);
    uint64_t count = lsn;
    if (is_last_published)
        published = tail;
    else if (lsn > 0)
        count--;

    assert_ok(wal_open(second, LOG_PATH, false, &heir));
    if (has_short_records)
        wal_use_short_records(heir);
    assert_ok(log_replay(heir, start, 0, &result));
    assert_int_equal(result.records, lsn);
    assert_ok(wal_cut(heir, published, count));
    assert_ok(log_replay(heir, start, 0, &result));
    assert_int_equal(result.records, count);
    assert_ok(log_try_append(heir, count + 1, 0, 10));
    assert_ok(wal_sync(heir));
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct os_sim *after = os_sim_crash(sim, (enum os_sim_variant)variant, nth);
        struct wal *wreck;
        assert_ok(wal_open(os_sim_start(after), LOG_PATH, true, &wreck));
        assert_ok(log_replay(wreck, start, 0, &result));
        assert_int_equal(result.records, count + 1);
        wal_close(wreck);
        os_sim_free(after);
    }
    wal_close(heir);
    os_sim_free(sim);
    return was_killed;
}

static void test_wal__takeover_after_a_kill_at_any_call_keeps_what_was_published(void **state)
{
    (void)state;
    uint64_t nth = 0;
    bool was_killed = true;
    while (was_killed) {
        nth++;
        was_killed = take_over_at(nth, true, true);
        assert_int_equal(take_over_at(nth, false, true), was_killed);
        if (nth <= 40) { /* a log without short ones grows twice as often */
            take_over_at(nth, true, false);
            take_over_at(nth, false, false);
        }
    }
    assert_true(nth > 30);
}

/* ---- failing calls ------------------------------------------------------------------------ */

struct rig {
    struct os_sim *sim;
    struct wal *wal;
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->sim = os_sim_new(NULL);
    assert_ok(wal_create(os_sim_start(rig->sim), LOG_PATH, 0600, 4096, &rig->wal));
    assert_ok(wal_restart(rig->wal, 1, 0));
    log_append(rig->wal, 1, 0);
    assert_ok(wal_sync(rig->wal));
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    wal_close(rig->wal);
    os_sim_free(rig->sim);
    free(rig);
    return 0;
}

static void fail_next(struct rig *rig, enum os_sim_call call, enum os_sim_fault_kind kind)
{
    struct os_sim_fault fault = { .kind = kind, .nth = 1, .calls = 1u << call };
    os_sim_fail(rig->sim, &fault);
}

static void expect_over(struct rig *rig)
{
    os_sim_fail(rig->sim, NULL);
    assert_true(wal_has_failed(rig->wal));
    assert_fails(SOMBRA_IO, wal_sync(rig->wal));
    assert_non_null(strstr(diag_text(), "log /log failed before"));
    assert_fails(SOMBRA_IO, wal_reserve(rig->wal, 1, LOG_BYTES_MAX));
    assert_fails(SOMBRA_IO, wal_append_mark(rig->wal, 9, 1));
    assert_fails(SOMBRA_IO, wal_append(rig->wal, 9, 1, NULL, 0));
    assert_fails(SOMBRA_IO, wal_restart(rig->wal, 99, 0));
    assert_fails(SOMBRA_IO, wal_cut(rig->wal, wal_position(rig->wal), 1));
    log_expect(rig->wal, 1, 1);
}

static void test_wal__failed_append_ends_the_log(void **state)
{
    struct rig *rig = *state;
    fail_next(rig, OS_SIM_WRITE, OS_SIM_EIO);
    assert_fails(SOMBRA_IO, log_try_append(rig->wal, 2, 1, 100));
    expect_over(rig);
}

static void test_wal__failed_sync_ends_the_log(void **state)
{
    struct rig *rig = *state;
    fail_next(rig, OS_SIM_SYNC, OS_SIM_EIO);
    assert_fails(SOMBRA_IO, wal_sync(rig->wal));
    expect_over(rig);
}

/* A growth's sync covers earlier appends: if it fails, a later one must not succeed. */
static void test_wal__failed_sync_of_a_growth_ends_the_log(void **state)
{
    struct rig *rig = *state;
    fail_next(rig, OS_SIM_SYNC, OS_SIM_EIO);
    assert_fails(SOMBRA_IO, wal_reserve(rig->wal, 100000, LOG_BYTES_MAX));
    expect_over(rig);
}

struct beside {
    struct rig *rig;
    struct os_thread thread;
    atomic_bool is_begun, is_over;
    sombra_err err;
};

static void *grow_beside(void *argument)
{
    struct beside *beside = argument;
    beside->err = wal_reserve(beside->rig->wal, 100000, LOG_BYTES_MAX);
    atomic_store(&beside->is_over, true);
    return NULL;
}

/* Before the sync of the test's thread: another one grows the log, and the first sync fails. */
static void begin_beside(void *context, struct os_sim *sim, const struct os_sim_event *event)
{
    struct beside *beside = context;
    (void)sim;
    if (event->call != OS_SIM_SYNC || atomic_exchange(&beside->is_begun, true))
        return;
    fail_next(beside->rig, OS_SIM_SYNC, OS_SIM_EIO);
    assert_ok(os_thread_start(&beside->thread, grow_beside, beside));
    for (int i = 0; i < 200 && !atomic_load(&beside->is_over); i++)
        os_sleep_us(os_posix(), 1000);
}

/* What is lost is told to one of two that sync at once: the other must not take its records for
 * saved. */
static void test_wal__a_sync_beside_one_that_failed_fails(void **state)
{
    struct rig *rig = *state;
    struct beside beside = { .rig = rig };
    os_sim_set_hook(rig->sim, begin_beside, &beside);
    assert_fails(SOMBRA_IO, wal_sync(rig->wal));
    os_thread_join(&beside.thread);
    os_sim_set_hook(rig->sim, NULL, NULL);
    assert_int_equal(beside.err, SOMBRA_IO);
    expect_over(rig);
}

static void test_wal__disk_too_full_to_grow_leaves_the_log_usable(void **state)
{
    struct rig *rig = *state;
    enum os_sim_fault_kind kinds[] = { OS_SIM_ENOSPC, OS_SIM_EIO };
    sombra_err codes[] = { SOMBRA_LIMIT, SOMBRA_IO };
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct os_sim_fault fault = {
            .kind = kinds[i], .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_WRITE
        };
        uint64_t bytes = wal_file_bytes(rig->wal);
        os_sim_fail(rig->sim, &fault);
        assert_fails(codes[i], wal_reserve(rig->wal, 100000, LOG_BYTES_MAX));
        os_sim_fail(rig->sim, NULL);
        assert_false(wal_has_failed(rig->wal));
        assert_int_equal(wal_file_bytes(rig->wal), bytes);
    }
    log_append(rig->wal, 2, 1);
    log_append_bytes(rig->wal, 3, 1, 100000);
    assert_ok(wal_sync(rig->wal));
    log_expect(rig->wal, 1, 3);
}

static void test_wal__interrupted_and_short_calls_do_not_show(void **state)
{
    struct rig *rig = *state;
    enum os_sim_fault_kind kinds[] = { OS_SIM_EINTR, OS_SIM_SHORT };
    for (uint64_t lsn = 2; lsn <= 41; lsn++) {
        fail_next(rig, OS_SIM_WRITE, kinds[lsn % 2]);
        log_append_bytes(rig->wal, lsn, 1, lsn % 10 == 0 ? 50000 : 77);
        assert_int_equal(os_sim_faults(rig->sim), lsn - 1);
    }
    os_sim_fail(rig->sim, NULL);
    log_expect(rig->wal, 1, 41);
}

static void test_wal__failed_creation_leaves_no_file(void **state)
{
    struct rig *rig = *state;
    struct os *os = os_sim_start(rig->sim);
    struct os_identity identity;
    struct wal *wal = NULL;
    bool is_done = false;
    for (uint64_t nth = 1; !is_done; nth++) {
        os_sim_fail_at(rig->sim, nth, OS_SIM_EIO, false);
        sombra_err err = wal_create(os, "/other", 0600, 200000, &wal);
        os_sim_fail(rig->sim, NULL);
        is_done = err == SOMBRA_OK;
        if (!is_done) {
            assert_int_equal(err, SOMBRA_IO);
            assert_fails(SOMBRA_NOT_FOUND, os_identify_path(os, "/other", &identity));
        }
        assert_true(nth < 50);
    }
    wal_close(wal);
}

static void test_wal__new_log_is_whole_after_any_power_cut(void **state)
{
    struct rig *rig = *state;
    struct wal *wal;
    assert_ok(wal_create(os_sim_start(rig->sim), "/other", 0600, 200000, &wal));
    wal_close(wal);
    for (int variant = 0; variant < OS_SIM_VARIANTS; variant++) {
        struct os_sim *after = os_sim_crash(rig->sim, (enum os_sim_variant)variant, 1);
        assert_ok(wal_open(os_sim_start(after), "/other", true, &wal));
        assert_int_equal(wal_file_bytes(wal), 200704);
        wal_close(wal);
        os_sim_free(after);
    }
}

static void test_wal__unreadable_medium_is_an_error_and_no_tail(void **state)
{
    struct rig *rig = *state;
    struct wal_replay_result result;
    uint64_t epoch;
    assert_true(os_sim_break(rig->sim, LOG_PATH, 64, 16));
    assert_fails(SOMBRA_IO, log_replay(rig->wal, (struct wal_position){ .epoch = 1 }, 0, &result));
    assert_fails(SOMBRA_IO, wal_first_epoch(rig->wal, &epoch));
}

static void test_wal__window_is_refused_where_stores_are_not_safe(void **state)
{
    (void)state;
    struct os_sim_options options = { .lacks_mapped_stores = true };
    struct os_sim *sim = os_sim_new(&options);
    struct wal *wal;
    assert_ok(wal_create(os_sim_start(sim), LOG_PATH, 0600, 4096, &wal));
    assert_ok(wal_restart(wal, 1, 0));
    assert_fails(SOMBRA_UNSUPPORTED, wal_use_window(wal, true));
    log_append(wal, 1, 0);
    log_expect(wal, 1, 1);
    wal_close(wal);
    os_sim_free(sim);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_wal__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wal__any_power_cut_leaves_a_prefix_with_all_that_was_synced),
        cmocka_unit_test(test_wal__any_power_cut_of_a_windowed_log_leaves_such_a_prefix),
        cmocka_unit_test(test_wal__a_long_record_is_saved_by_one_write_and_one_sync),
        cmocka_unit_test(test_wal__takeover_after_a_kill_at_any_call_keeps_what_was_published),
        TEST(failed_append_ends_the_log),
        TEST(failed_sync_ends_the_log),
        TEST(failed_sync_of_a_growth_ends_the_log),
        TEST(a_sync_beside_one_that_failed_fails),
        TEST(disk_too_full_to_grow_leaves_the_log_usable),
        TEST(interrupted_and_short_calls_do_not_show),
        TEST(failed_creation_leaves_no_file),
        TEST(new_log_is_whole_after_any_power_cut),
        TEST(unreadable_medium_is_an_error_and_no_tail),
        cmocka_unit_test(test_wal__window_is_refused_where_stores_are_not_safe),
    };
    return cmocka_run_group_tests_name("wal_crash", tests, NULL, NULL);
}
