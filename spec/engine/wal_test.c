/* SPDX-License-Identifier: MIT */
/* The log on the real system: what it keeps, how it grows, what it refuses. */
#include "wal_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

struct fixture {
    struct log_place place;
    struct wal *wal; /* created, restarted in epoch 1 */
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    log_place_init(&fixture->place);
    assert_ok(wal_create(os_posix(), fixture->place.path, 0600, 64 * KiB, &fixture->wal));
    assert_ok(wal_restart(fixture->wal, 1, 0));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    wal_close(fixture->wal);
    log_place_release(&fixture->place);
    free(fixture);
    return 0;
}

static void reopen(struct fixture *fixture, bool is_readonly)
{
    wal_close(fixture->wal);
    fixture->wal = NULL;
    assert_ok(wal_open(os_posix(), fixture->place.path, is_readonly, &fixture->wal));
}

static void assert_position(struct wal_position got, struct wal_position want)
{
    assert_int_equal(got.epoch, want.epoch);
    assert_int_equal(got.offset, want.offset);
    assert_int_equal(got.link, want.link);
}

/* ---- lifecycle ---------------------------------------------------------------------------- */

static void test_wal__new_log_is_zeros_in_whole_blocks(void **state)
{
    struct fixture *fixture = *state;
    struct buf file = BUF_INIT;
    wal_close(fixture->wal);
    fixture->wal = NULL;
    assert_ok(os_unlink(os_posix(), fixture->place.path));
    assert_ok(wal_create(os_posix(), fixture->place.path, 0600, 5000, &fixture->wal));
    assert_int_equal(wal_file_bytes(fixture->wal), 8192);
    log_load(fixture->place.path, &file);
    assert_int_equal(file.bytes, 8192);
    for (size_t i = 0; i < file.bytes; i++)
        assert_int_equal(file.data[i], 0);
    uint64_t epoch = 7;
    assert_ok(wal_first_epoch(fixture->wal, &epoch));
    assert_int_equal(epoch, 0);
    buf_release(&file);
}

static void test_wal__create_leaves_an_existing_file_alone(void **state)
{
    struct fixture *fixture = *state;
    struct wal *other = NULL;
    log_append(fixture->wal, 1, 0);
    assert_fails(SOMBRA_EXISTS, wal_create(os_posix(), fixture->place.path, 0600, 4096, &other));
    assert_null(other);
    log_expect(fixture->wal, 1, 1);
}

static void test_wal__open_of_a_missing_file_is_not_found(void **state)
{
    struct fixture *fixture = *state;
    struct wal *other = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/none", fixture->place.directory);
    assert_fails(SOMBRA_NOT_FOUND, wal_open(os_posix(), path, false, &other));
    assert_null(other);
}

static void test_wal__close_of_null_is_a_no_op(void **state)
{
    (void)state;
    uint64_t live = mem_test_live();
    wal_close(NULL);
    assert_int_equal(mem_test_live(), live);
}

/* ---- round trip --------------------------------------------------------------------------- */

static void test_wal__replay_gives_back_what_was_appended(void **state)
{
    struct fixture *fixture = *state;
    struct wal_position middle = { 0 };
    for (uint64_t lsn = 1; lsn <= 2000; lsn++) {
        log_append(fixture->wal, lsn, lsn / 2);
        if (lsn % 7 == 0)
            assert_ok(wal_append_mark(fixture->wal, lsn, lsn - 1));
        if (lsn == 1234)
            middle = wal_position(fixture->wal);
    }
    struct wal_position end = wal_position(fixture->wal);
    for (int is_readonly = 0; is_readonly <= 1; is_readonly++) {
        struct wal_replay_result result;
        reopen(fixture, is_readonly);
        assert_ok(log_replay(fixture->wal, (struct wal_position){ .epoch = 1 }, 0, &result));
        assert_int_equal(result.records, 2000);
        assert_int_equal(result.durable_lsn, 1994); /* the mark behind 1995 = 7 * 285 */
        assert_position(result.end, end);
        assert_ok(log_replay(fixture->wal, middle, 1234, &result));
        assert_int_equal(result.records, 766);
        assert_position(result.end, end);
    }
}

static void test_wal__record_of_no_bytes_counts(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t lsn = 1; lsn <= 3; lsn++) {
        assert_ok(wal_reserve(fixture->wal, 0, LOG_BYTES_MAX));
        assert_ok(wal_append(fixture->wal, lsn, 0, NULL, 0));
    }
    assert_int_equal(wal_position(fixture->wal).offset, 3 * WAL_HEADER_BYTES);
    log_expect(fixture->wal, 1, 3);
}

static void test_wal__record_of_64_mib_comes_back_whole(void **state)
{
    struct fixture *fixture = *state;
    for (int uses_window = 0; uses_window <= 1; uses_window++) {
        uint64_t epoch = 2 + (uint64_t)uses_window;
        assert_ok(wal_restart(fixture->wal, epoch, 0));
        if (uses_window && wal_use_window(fixture->wal, true) == SOMBRA_UNSUPPORTED)
            return;
        log_append_bytes(fixture->wal, 1, 0, 100);
        log_append_bytes(fixture->wal, 2, 1, 64 * MiB + 5);
        log_append_bytes(fixture->wal, 3, 2, 100);
        log_expect(fixture->wal, epoch, 3);
    }
}

static void test_wal__thirty_parts_are_one_record_and_more_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct os_iovec parts[WAL_PARTS_MAX + 1];
    sombra_slice payload = log_payload(1, WAL_PARTS_MAX);
    for (size_t i = 0; i < WAL_PARTS_MAX; i++)
        parts[i] = (struct os_iovec){ .data = slice_from(payload, i).data, .bytes = 1 };
    parts[WAL_PARTS_MAX] = parts[0];
    assert_ok(wal_reserve(fixture->wal, 100, LOG_BYTES_MAX));
    assert_fails(SOMBRA_INVALID, wal_append(fixture->wal, 1, 0, parts, WAL_PARTS_MAX + 1));
    assert_false(wal_has_failed(fixture->wal));
    assert_ok(wal_append(fixture->wal, 1, 0, parts, WAL_PARTS_MAX));
    log_expect(fixture->wal, 1, 1);
}

static sombra_err refuse_third(void *context, const struct wal_record *record)
{
    uint64_t *count = context;
    ++*count;
    return record->lsn == 3 ? diag_fail(SOMBRA_CANCELLED, "enough") : SOMBRA_OK;
}

static void test_wal__replay_ends_with_the_error_of_its_callback(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    uint64_t count = 0;
    for (uint64_t lsn = 1; lsn <= 5; lsn++)
        log_append(fixture->wal, lsn, 0);
    assert_fails(SOMBRA_CANCELLED, wal_replay(fixture->wal, (struct wal_position){ .epoch = 1 }, 0,
                                              refuse_third, &count, &result));
    assert_int_equal(count, 3);
}

static sombra_err count_records(void *context, const struct wal_record *record)
{
    uint64_t *count = context;
    (void)record;
    ++*count;
    return SOMBRA_OK;
}

static void test_wal__range_replay_ends_where_told_or_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    struct wal_position ends[6];
    uint64_t count = 0;
    ends[0] = wal_position(fixture->wal);
    for (uint64_t lsn = 1; lsn <= 5; lsn++) {
        log_append(fixture->wal, lsn, 0);
        ends[lsn] = wal_position(fixture->wal);
    }
    assert_ok(
        wal_replay_range(fixture->wal, ends[1], ends[4].offset, 1, count_records, &count, &result));
    assert_int_equal(count, 3);
    assert_int_equal(result.last_lsn, 4);
    assert_position(result.end, ends[4]);
    assert_ok(
        wal_replay_range(fixture->wal, ends[2], ends[2].offset, 2, count_records, &count, &result));
    assert_int_equal(result.records, 0);
    /* An end inside a record, and one behind the log's. */
    assert_fails(SOMBRA_CORRUPT, wal_replay_range(fixture->wal, ends[1], ends[4].offset + 8, 1,
                                                  count_records, &count, &result));
    assert_fails(SOMBRA_CORRUPT, wal_replay_range(fixture->wal, ends[1], ends[5].offset + 48, 1,
                                                  count_records, &count, &result));
}

static void test_wal__windowed_and_written_appends_give_the_same_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct buf written = BUF_INIT, mapped = BUF_INIT;
    struct log_place place;
    struct wal *wal;
    log_place_init(&place);
    assert_ok(wal_create(os_posix(), place.path, 0600, 64 * KiB, &wal));
    assert_ok(wal_restart(wal, 1, 0));
    /* What older epochs left behind must not show through the padding. */
    log_append_bytes(fixture->wal, 1, 0, 2 * MiB);
    log_append_bytes(wal, 1, 0, 2 * MiB);
    assert_ok(wal_restart(fixture->wal, 2, 0));
    assert_ok(wal_restart(wal, 2, 0));
    sombra_err err = wal_use_window(wal, true);
    for (uint64_t lsn = 1; !err && lsn <= 3000; lsn++) {
        size_t bytes = lsn % 500 == 0 ? 3 * MiB + (size_t)lsn : log_payload_bytes(lsn);
        log_append_bytes(fixture->wal, lsn, lsn - 1, bytes);
        log_append_bytes(wal, lsn, lsn - 1, bytes);
        if (lsn % 11 == 0) {
            assert_ok(wal_append_mark(fixture->wal, lsn, lsn));
            assert_ok(wal_append_mark(wal, lsn, lsn));
        }
        if (lsn % 700 == 0) /* switching in the middle changes nothing */
            assert_ok(wal_use_window(wal, lsn % 1400 == 0));
    }
    if (!err) {
        assert_position(wal_position(wal), wal_position(fixture->wal));
        log_load(fixture->place.path, &written);
        log_load(place.path, &mapped);
        /* Zeros behind the records: they grow by other steps. */
        size_t bytes = (size_t)wal_position(wal).offset;
        assert_in_range(bytes, 1, size_min(written.bytes, mapped.bytes));
        assert_memory_equal(written.data, mapped.data, bytes);
        for (size_t i = bytes; i < mapped.bytes; i++)
            assert_int_equal(mapped.data[i], 0);
        log_expect(wal, 2, 3000);
    }
    buf_release(&written);
    buf_release(&mapped);
    wal_close(wal);
    log_place_release(&place);
    if (err) {
        assert_int_equal(err, SOMBRA_UNSUPPORTED);
        skip();
    }
}

/* ---- restart, gaps, links, cuts ----------------------------------------------------------- */

static void test_wal__restart_hides_older_epochs(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t lsn = 1; lsn <= 20; lsn++)
        log_append_bytes(fixture->wal, lsn, 0, 64);
    assert_ok(wal_restart(fixture->wal, 2, 0));
    log_expect(fixture->wal, 2, 0);
    log_expect(fixture->wal, 1, 0);
    /* The second record of epoch 1 would stand exactly behind this one, with the lsn that fits. */
    log_append_bytes(fixture->wal, 1, 0, 64);
    log_expect(fixture->wal, 2, 1);
    uint64_t epoch;
    assert_ok(wal_first_epoch(fixture->wal, &epoch));
    assert_int_equal(epoch, 2);
}

static void test_wal__restart_continues_the_chain_of_another_epoch(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    log_append(fixture->wal, 1, 0);
    struct wal_position end = wal_position(fixture->wal);
    assert_ok(wal_restart(fixture->wal, 9, end.link));
    log_append(fixture->wal, 2, 0);
    struct wal_position from = { .epoch = 9, .offset = 0, .link = end.link };
    assert_ok(log_replay(fixture->wal, from, 1, &result));
    assert_int_equal(result.records, 1);
}

static void test_wal__lsn_gap_ends_the_log(void **state)
{
    struct fixture *fixture = *state;
    log_append(fixture->wal, 1, 0);
    log_append(fixture->wal, 2, 0);
    log_append(fixture->wal, 4, 2);
    log_expect(fixture->wal, 1, 2);
}

static void test_wal__lsn_gap_below_a_durable_one_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    log_append(fixture->wal, 1, 0);
    log_append(fixture->wal, 2, 0);
    log_append(fixture->wal, 4, 3);
    assert_fails(SOMBRA_CORRUPT,
                 log_replay(fixture->wal, (struct wal_position){ .epoch = 1 }, 0, &result));
}

static void test_wal__link_mismatch_ends_the_log(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    log_append(fixture->wal, 1, 0);
    log_append(fixture->wal, 2, 0);
    struct wal_position from = { .epoch = 1, .offset = 0, .link = 1 };
    assert_ok(log_replay(fixture->wal, from, 0, &result));
    assert_int_equal(result.records, 0);
}

/* A record behind a cut must not be spliced behind one written there later: storage rule 3. */
static void test_wal__cut_records_cannot_be_spliced(void **state)
{
    struct fixture *fixture = *state;
    log_append(fixture->wal, 1, 0);
    struct wal_position tail = wal_position(fixture->wal);
    log_append_bytes(fixture->wal, 2, 0, 64);
    log_append_bytes(fixture->wal, 3, 0, 64);
    reopen(fixture, false);
    assert_ok(wal_cut(fixture->wal, tail, 1));
    assert_position(wal_position(fixture->wal), tail);
    log_expect(fixture->wal, 1, 1);
    log_append_bytes(fixture->wal, 2, 1, 64); /* same size: 3 would stand right behind */
    log_expect(fixture->wal, 1, 2);
    assert_ok(wal_cut(fixture->wal, tail, 1));
    log_append_bytes(fixture->wal, 2, 0, 64); /* the very same bytes as before the cut */
    log_expect(fixture->wal, 1, 2);
}

static void test_wal__cut_follows_a_file_that_another_handle_grew(void **state)
{
    struct fixture *fixture = *state;
    struct wal *other;
    assert_ok(wal_open(os_posix(), fixture->place.path, false, &other));
    log_append(fixture->wal, 1, 0);
    log_append_bytes(fixture->wal, 2, 0, MiB);
    assert_ok(wal_cut(other, wal_position(fixture->wal), 2));
    assert_int_equal(wal_file_bytes(other), wal_file_bytes(fixture->wal));
    log_append(other, 3, 2);
    assert_ok(wal_cut(fixture->wal, wal_position(other), 3));
    log_append(fixture->wal, 4, 3);
    log_expect(other, 1, 4);
    wal_close(other);
}

static void test_wal__restart_follows_a_file_that_another_handle_grew(void **state)
{
    struct fixture *fixture = *state;
    struct wal *other;
    assert_ok(wal_open(os_posix(), fixture->place.path, false, &other));
    log_append_bytes(fixture->wal, 1, 0, MiB);
    assert_ok(wal_restart(other, 2, 0));
    assert_int_equal(wal_file_bytes(other), wal_file_bytes(fixture->wal));
    log_append_bytes(other, 1, 0, 64);
    assert_int_equal(wal_file_bytes(other), wal_file_bytes(fixture->wal));
    log_expect(other, 2, 1);
    wal_close(other);
}

static void test_wal__cut_behind_the_file_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct wal_position at = { .epoch = 1, .offset = 64 * KiB + 8 };
    assert_fails(SOMBRA_CORRUPT, wal_cut(fixture->wal, at, 0));
    at.offset = 64 * KiB;
    assert_ok(wal_cut(fixture->wal, at, 0));
}

static void test_wal__impossible_positions_are_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    assert_fails(SOMBRA_CORRUPT,
                 log_replay(fixture->wal, (struct wal_position){ .epoch = 0 }, 0, &result));
    assert_fails(
        SOMBRA_CORRUPT,
        log_replay(fixture->wal, (struct wal_position){ .epoch = 1, .offset = 4 }, 0, &result));
    struct wal_position behind = { .epoch = 1, .offset = UINT64_MAX - 7 };
    assert_ok(log_replay(fixture->wal, behind, 5, &result));
    assert_int_equal(result.records, 0);
}

/* ---- growth ------------------------------------------------------------------------------- */

static void test_wal__grows_by_doubling_steps_up_to_8_mib(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before = wal_file_bytes(fixture->wal);
    uint64_t lsn = 0;
    while (before < 40 * MiB) {
        log_append_bytes(fixture->wal, ++lsn, 0, 100000);
        uint64_t bytes = wal_file_bytes(fixture->wal);
        if (bytes == before)
            continue;
        uint64_t step = u64_min(before, 8 * MiB);
        uint64_t need = u64_align_up(wal_position(fixture->wal).offset, 4096);
        assert_int_equal(bytes, u64_max(before + step, need));
        before = bytes;
    }
    log_expect(fixture->wal, 1, lsn);
}

static void test_wal__grows_by_eighths_up_to_1_mib_where_nothing_is_synced(void **state)
{
    struct fixture *fixture = *state;
    if (wal_use_window(fixture->wal, true) == SOMBRA_UNSUPPORTED)
        skip();
    uint64_t before = wal_file_bytes(fixture->wal);
    for (uint64_t lsn = 1; before < 12 * MiB; lsn++) {
        log_append_bytes(fixture->wal, lsn, 0, 10000);
        uint64_t bytes = wal_file_bytes(fixture->wal);
        uint64_t step = u64_align_up(u64_min(u64_max(before / 8, 64 * KiB), 1 * MiB), 4096);
        assert_true(bytes == before || bytes == before + step);
        before = bytes;
    }
}

static void test_wal__limit_of_the_file_is_exact_and_leaves_it_usable(void **state)
{
    struct fixture *fixture = *state;
    uint64_t limit = 100000; /* no multiple of 4096 */
    assert_ok(wal_reserve(fixture->wal, limit - WAL_HEADER_BYTES, limit));
    assert_int_equal(wal_file_bytes(fixture->wal), limit);
    assert_fails(SOMBRA_LIMIT, wal_reserve(fixture->wal, limit - WAL_HEADER_BYTES + 1, limit));
    assert_fails(SOMBRA_LIMIT, wal_reserve(fixture->wal, WAL_PAYLOAD_BYTES_MAX + 1, UINT64_MAX));
    assert_int_equal(wal_file_bytes(fixture->wal), limit);
    log_append_bytes(fixture->wal, 1, 0, limit - 2 * WAL_HEADER_BYTES);
    assert_int_equal(wal_file_bytes(fixture->wal), limit);
    assert_ok(wal_append_mark(fixture->wal, 1, 1));
    assert_ok(wal_reserve(fixture->wal, 0, LOG_BYTES_MAX)); /* grows */
    assert_true(wal_file_bytes(fixture->wal) > limit);
    log_expect(fixture->wal, 1, 1);
}

static void test_wal__full_disk_fails_the_reserve_and_no_more(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit saved, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    small = saved;
    small.rlim_cur = 96 * KiB; /* a step of 64 KiB does not fit, the bare need may */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    log_append(fixture->wal, 1, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sombra_err too_much = wal_reserve(fixture->wal, 100000, LOG_BYTES_MAX);
    sombra_err fits = wal_reserve(fixture->wal, 80000, LOG_BYTES_MAX);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(too_much, SOMBRA_LIMIT);
    assert_int_equal(fits, SOMBRA_OK);
    assert_false(wal_has_failed(fixture->wal));
    log_append_bytes(fixture->wal, 2, 1, 80000);
    log_append_bytes(fixture->wal, 3, 2, 100000);
    assert_ok(wal_sync(fixture->wal));
    log_expect(fixture->wal, 1, 3);
}

/* ---- memory, threads ---------------------------------------------------------------------- */

static void test_wal__failing_allocations_leak_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    for (uint64_t lsn = 1; lsn <= 5; lsn++)
        log_append_bytes(fixture->wal, lsn, 0, 9000);
    /* Damaged in the middle, so that the scan with its table runs too. */
    log_append_bytes(fixture->wal, 7, 6, 9000);
    struct wal_position from = { .epoch = 1 };
    uint64_t live = mem_test_live();
    bool is_done = false;
    for (uint64_t nth = 1; !is_done; nth++) {
        struct wal *other = NULL;
        assert_true(nth < 100);
        mem_test_fail_at(nth, false);
        sombra_err err = wal_open(os_posix(), fixture->place.path, true, &other);
        if (!err)
            err = log_replay(other, from, 0, &result);
        mem_test_fail_at(0, false);
        wal_close(other);
        assert_true(err == SOMBRA_CORRUPT || err == SOMBRA_NOMEM);
        assert_int_equal(mem_test_live(), live);
        is_done = err == SOMBRA_CORRUPT;
    }
}

struct syncer {
    struct wal *wal;
    atomic_bool is_over;
    uint64_t failures;
};

static void *sync_until_over(void *argument)
{
    struct syncer *syncer = argument;
    while (!atomic_load(&syncer->is_over))
        if (wal_sync(syncer->wal) != SOMBRA_OK || wal_has_failed(syncer->wal))
            syncer->failures++;
    return NULL;
}

static void test_wal__sync_runs_beside_appends(void **state)
{
    struct fixture *fixture = *state;
    struct syncer syncer = { .wal = fixture->wal };
    struct os_thread thread;
    sombra_err window = wal_use_window(fixture->wal, true);
    assert_true(window == SOMBRA_OK || window == SOMBRA_UNSUPPORTED);
    assert_ok(os_thread_start(&thread, sync_until_over, &syncer));
    for (uint64_t lsn = 1; lsn <= 4000; lsn++) {
        log_append(fixture->wal, lsn, 0);
        if (lsn == 2000)
            assert_ok(wal_use_window(fixture->wal, false));
    }
    atomic_store(&syncer.is_over, true);
    os_thread_join(&thread);
    assert_int_equal(syncer.failures, 0);
    log_expect(fixture->wal, 1, 4000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_wal__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_log_is_zeros_in_whole_blocks),
        TEST(create_leaves_an_existing_file_alone),
        TEST(open_of_a_missing_file_is_not_found),
        TEST(close_of_null_is_a_no_op),
        TEST(replay_gives_back_what_was_appended),
        TEST(record_of_no_bytes_counts),
        TEST(record_of_64_mib_comes_back_whole),
        TEST(thirty_parts_are_one_record_and_more_are_refused),
        TEST(replay_ends_with_the_error_of_its_callback),
        TEST(range_replay_ends_where_told_or_is_corrupt),
        TEST(windowed_and_written_appends_give_the_same_bytes),
        TEST(restart_hides_older_epochs),
        TEST(restart_continues_the_chain_of_another_epoch),
        TEST(lsn_gap_ends_the_log),
        TEST(lsn_gap_below_a_durable_one_is_corrupt),
        TEST(link_mismatch_ends_the_log),
        TEST(cut_records_cannot_be_spliced),
        TEST(cut_follows_a_file_that_another_handle_grew),
        TEST(restart_follows_a_file_that_another_handle_grew),
        TEST(cut_behind_the_file_is_corrupt),
        TEST(impossible_positions_are_corrupt),
        TEST(grows_by_doubling_steps_up_to_8_mib),
        TEST(grows_by_eighths_up_to_1_mib_where_nothing_is_synced),
        TEST(limit_of_the_file_is_exact_and_leaves_it_usable),
        TEST(full_disk_fails_the_reserve_and_no_more),
        TEST(failing_allocations_leak_nothing),
        TEST(sync_runs_beside_appends),
    };
    return cmocka_run_group_tests_name("wal", tests, NULL, NULL);
}
