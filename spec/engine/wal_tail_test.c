/* SPDX-License-Identifier: MIT */
/* Where a log ends: torn tails are cut, rot below a durable mark is corruption. The file's bytes
 * are changed here by hand; crashes that make such files are in wal_crash_test.c. */
#include "wal_fixture.h"

#include <stdio.h>

enum { RECORDS = 6, FILE_BYTES = 8192 };

struct fixture {
    struct log_place place;
    struct buf file;                       /* the log's bytes, changed by the test */
    struct wal_position ends[RECORDS + 1]; /* behind record i */
    bool has_mark;                         /* behind the last */
};

/* A log of RECORDS records in epoch 1; each knows the one before the last as durable when
 * `knows_durable`. */
static void make_log(struct fixture *fixture, bool knows_durable, bool ends_with_mark,
                     size_t payload_bytes)
{
    struct wal *wal;
    assert_ok(wal_create(os_posix(), fixture->place.path, 0600, FILE_BYTES, &wal));
    assert_ok(wal_restart(wal, 1, 0));
    fixture->ends[0] = wal_position(wal);
    for (uint64_t lsn = 1; lsn <= RECORDS; lsn++) {
        log_append_bytes(wal, lsn, knows_durable && lsn > 1 ? lsn - 2 : 0, payload_bytes);
        fixture->ends[lsn] = wal_position(wal);
    }
    fixture->has_mark = ends_with_mark;
    if (ends_with_mark)
        assert_ok(wal_append_mark(wal, RECORDS, RECORDS));
    wal_close(wal);
    log_load(fixture->place.path, &fixture->file);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    log_place_init(&fixture->place);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    buf_release(&fixture->file);
    log_place_release(&fixture->place);
    free(fixture);
    return 0;
}

static sombra_err replay_bytes(struct fixture *fixture, sombra_slice bytes,
                               struct wal_replay_result *out_result)
{
    struct wal *wal;
    log_store(fixture->place.path, bytes);
    assert_ok(wal_open(os_posix(), fixture->place.path, true, &wal));
    sombra_err err = log_replay(wal, fixture->ends[0], 0, out_result);
    wal_close(wal);
    return err;
}

static void expect_records(struct fixture *fixture, uint64_t records)
{
    struct wal_replay_result result;
    assert_ok(replay_bytes(fixture, buf_slice(&fixture->file), &result));
    assert_int_equal(result.records, records);
    if (fixture->has_mark && result.end.offset != fixture->ends[records].offset)
        result.end.offset -= WAL_HEADER_BYTES; /* the mark was sound */
    else
        assert_int_equal(result.end.link, fixture->ends[records].link);
    assert_int_equal(result.end.offset, fixture->ends[records].offset);
}

static void expect_corrupt(struct fixture *fixture)
{
    struct wal_replay_result result;
    assert_fails(SOMBRA_CORRUPT, replay_bytes(fixture, buf_slice(&fixture->file), &result));
}

static uint8_t *byte_at(struct fixture *fixture, unsigned record, size_t offset)
{
    return fixture->file.data + fixture->ends[record - 1].offset + offset;
}

/* ---- tails -------------------------------------------------------------------------------- */

static void test_wal__torn_tail_is_ignored(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, false, 100);
    size_t start = (size_t)fixture->ends[RECORDS - 1].offset;
    size_t end = start + WAL_HEADER_BYTES + 100;
    for (size_t kept = end; kept-- > start;) {
        bool was_zero = fixture->file.data[kept] == 0;
        fixture->file.data[kept] = 0;
        if (!was_zero || kept < end - 8) /* its own zeros, torn off, are no loss */
            expect_records(fixture, RECORDS - 1);
    }
}

static void test_wal__file_cut_short_anywhere_in_the_last_record_loses_only_that(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    make_log(fixture, true, false, 96);
    size_t end = (size_t)fixture->ends[RECORDS].offset;
    for (size_t bytes = (size_t)fixture->ends[RECORDS - 1].offset; bytes <= end; bytes++) {
        assert_ok(replay_bytes(fixture, slice_of(fixture->file.data, bytes), &result));
        assert_int_equal(result.records, bytes == end ? RECORDS : RECORDS - 1);
    }
}

static void test_wal__tail_of_an_empty_file_is_its_start(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    uint64_t epoch = 5;
    struct wal *wal;
    fixture->ends[0].epoch = 1;
    assert_ok(replay_bytes(fixture, slice_of("", 0), &result));
    assert_int_equal(result.records, 0);
    assert_ok(wal_open(os_posix(), fixture->place.path, false, &wal));
    assert_ok(wal_first_epoch(wal, &epoch));
    assert_int_equal(epoch, 0);
    assert_ok(wal_restart(wal, 1, 0));
    log_append(wal, 1, 0);
    log_expect(wal, 1, 1);
    wal_close(wal);
}

/* ---- rot ---------------------------------------------------------------------------------- */

static void flip_each_byte(struct fixture *fixture, unsigned record, uint64_t left)
{
    uint64_t end = fixture->ends[record].offset;
    for (uint64_t at = fixture->ends[record - 1].offset; at < end; at++) {
        fixture->file.data[at] ^= 0x40;
        if (left == UINT64_MAX)
            expect_corrupt(fixture);
        else
            expect_records(fixture, left);
        fixture->file.data[at] ^= 0x40;
    }
    expect_records(fixture, RECORDS);
}

static void test_wal__flipped_byte_below_a_durable_mark_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, false, 64);
    flip_each_byte(fixture, 1, UINT64_MAX);
    flip_each_byte(fixture, 3, UINT64_MAX);
}

static void test_wal__flipped_byte_with_no_durable_mark_is_a_tail(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, false, false, 64);
    flip_each_byte(fixture, 3, 2);
}

static void test_wal__flipped_byte_above_the_last_durable_mark_is_a_tail(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, false, 64); /* the last record knows RECORDS - 2 */
    flip_each_byte(fixture, RECORDS - 1, RECORDS - 2);
    flip_each_byte(fixture, RECORDS, RECORDS - 1);
    flip_each_byte(fixture, RECORDS - 2, UINT64_MAX);
}

/* Storage rule 25: without the mark, rot of the last record before idle reads as a crash's tail. */
static void test_wal__mark_protects_the_last_record(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, true, 64);
    flip_each_byte(fixture, RECORDS, UINT64_MAX);
    /* Rot of the mark itself loses nothing. */
    for (size_t i = 0; i < WAL_HEADER_BYTES; i++) {
        fixture->file.data[fixture->ends[RECORDS].offset + i] ^= 1;
        expect_records(fixture, RECORDS);
        fixture->file.data[fixture->ends[RECORDS].offset + i] ^= 1;
    }
}

static void test_wal__mark_in_the_last_bytes_of_the_file_counts(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, true, 64);
    fixture->file.bytes = (size_t)fixture->ends[RECORDS].offset + WAL_HEADER_BYTES;
    expect_records(fixture, RECORDS);
    *byte_at(fixture, RECORDS, WAL_HEADER_BYTES) ^= 1;
    expect_corrupt(fixture);
    fixture->file.bytes--;
    expect_records(fixture, RECORDS - 1);
}

static void test_wal__padding_may_rot(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, true, 61);
    for (size_t i = 61; i < 64; i++)
        *byte_at(fixture, 2, WAL_HEADER_BYTES + i) ^= 0xff;
    expect_records(fixture, RECORDS);
}

static void test_wal__corruption_names_file_offset_and_lsn(void **state)
{
    struct fixture *fixture = *state;
    char want[160];
    make_log(fixture, true, true, 64);
    *byte_at(fixture, 2, 50) ^= 1;
    expect_corrupt(fixture);
    snprintf(want, sizeof want, "log %s: record 2 at offset 112 ", fixture->place.path);
    assert_non_null(strstr(diag_text(), want));
}

static void test_wal__zeroed_record_below_a_durable_mark_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, true, true, 64);
    memset(byte_at(fixture, 3, 0), 0, 112);
    expect_corrupt(fixture);
}

/* The scan's checksums come out of a table of prefixes: every alignment and size must work. */
static void test_wal__record_of_any_size_behind_a_bad_one_is_found(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    struct random random;
    random_seed(&random, log_seed());
    for (int run = 0; run < 300; run++) {
        struct wal *wal;
        size_t bytes = (size_t)random_below(&random, run % 10 ? 20000 : 3000000);
        assert_ok(wal_create(os_posix(), fixture->place.path, 0600, FILE_BYTES, &wal));
        assert_ok(wal_restart(wal, 1, 0));
        log_append_bytes(wal, 1, 0, (size_t)random_below(&random, 10000));
        struct wal_position second = wal_position(wal);
        log_append_bytes(wal, 2, 1, bytes);
        wal_close(wal);
        log_load(fixture->place.path, &fixture->file);
        fixture->ends[0] = (struct wal_position){ .epoch = 1 };
        fixture->file.data[random_below(&random, WAL_HEADER_BYTES)] ^= 0x10;
        expect_corrupt(fixture);
        /* It must be whole to count. */
        uint64_t in_second = random_below(&random, WAL_HEADER_BYTES + bytes);
        fixture->file.data[second.offset + in_second] ^= 0x20;
        assert_ok(replay_bytes(fixture, buf_slice(&fixture->file), &result));
        assert_int_equal(result.records, 0);
        assert_ok(os_unlink(os_posix(), fixture->place.path));
    }
}

/* ---- imitations and lies ------------------------------------------------------------------ */

static void test_wal__payload_that_imitates_a_record_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    uint8_t payload[4 * WAL_HEADER_BYTES] = { 0 };
    struct wal *wal;
    make_log(fixture, false, true, 64);
    /* A copy of the mark that ends the log: valid bytes at another place; then one that claims the
     * right place without the checksum for it. */
    memcpy(payload, fixture->file.data + fixture->ends[RECORDS].offset, WAL_HEADER_BYTES);
    memcpy(payload + 64, payload, WAL_HEADER_BYTES);
    put_le64(payload + 64 + WAL_OFFSET, WAL_HEADER_BYTES + 64);
    assert_ok(wal_open(os_posix(), fixture->place.path, false, &wal));
    assert_ok(wal_cut(wal, fixture->ends[0], 0));
    assert_ok(wal_reserve(wal, sizeof payload, LOG_BYTES_MAX));
    struct os_iovec part = { .data = payload, .bytes = sizeof payload };
    assert_ok(wal_append(wal, 1, 0, &part, 1));
    wal_close(wal);
    log_load(fixture->place.path, &fixture->file);
    fixture->file.data[WAL_HEADER_BYTES + 8 + WAL_CRC] ^= 1; /* the copy's neighbour: a torn one */
    expect_records(fixture, 0);
}

static void test_wal__length_beyond_the_file_ends_the_log(void **state)
{
    struct fixture *fixture = *state;
    make_log(fixture, false, false, 64);
    uint32_t rest = FILE_BYTES - (uint32_t)fixture->ends[2].offset - WAL_HEADER_BYTES;
    uint32_t lengths[] = { rest + 1, rest + 8, UINT32_MAX - 7, UINT32_MAX };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        put_le32(byte_at(fixture, 3, WAL_PAYLOAD_BYTES), lengths[i]);
        expect_records(fixture, 2);
    }
    /* One that fits and is sealed, in a file that then lost its last byte. */
    struct wal_replay_result result;
    put_le32(byte_at(fixture, 3, WAL_PAYLOAD_BYTES), rest);
    log_seal(&fixture->file, (size_t)fixture->ends[2].offset);
    assert_ok(replay_bytes(fixture, slice_of(fixture->file.data, FILE_BYTES - 1), &result));
    assert_int_equal(result.records, 2);
}

static void test_wal__sealed_nonsense_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    struct {
        size_t at;
        uint64_t value;
    } lies[] = {
        { WAL_KIND, 0 },        { WAL_KIND, WAL_KIND_SHORT }, { WAL_KIND, UINT32_MAX },
        { WAL_DURABLE_LSN, 3 }, { WAL_DURABLE_LSN, 99 },      { WAL_KIND, WAL_KIND_MARK },
    };
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        make_log(fixture, false, false, 64);
        if (lies[i].at == WAL_KIND)
            put_le32(byte_at(fixture, 3, lies[i].at), (uint32_t)lies[i].value);
        else
            put_le64(byte_at(fixture, 3, lies[i].at), lies[i].value);
        log_seal(&fixture->file, (size_t)fixture->ends[2].offset);
        expect_corrupt(fixture);
        assert_ok(os_unlink(os_posix(), fixture->place.path));
    }
}

static void test_wal__each_header_field_must_fit(void **state)
{
    struct fixture *fixture = *state;
    struct {
        size_t at;
        uint64_t more;
    } changes[] = { { WAL_EPOCH, 1 }, { WAL_LSN, 1 }, { WAL_OFFSET, 8 }, { WAL_LINK, 1 } };
    make_log(fixture, false, false, 64);
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct buf saved = BUF_INIT;
        assert_ok(buf_append_slice(&saved, buf_slice(&fixture->file)));
        uint8_t *at = byte_at(fixture, 3, changes[i].at);
        put_le64(at, get_le64(at) + changes[i].more);
        log_seal(&fixture->file, (size_t)fixture->ends[2].offset); /* the checksum holds */
        expect_records(fixture, 2);
        assert_ok(buf_set(&fixture->file, buf_slice(&saved)));
        buf_release(&saved);
    }
    expect_records(fixture, RECORDS);
}

/* A file in which every place claims to hold a record that reaches to the end: the scan stays
 * linear, or this test would take hours. */
static void test_wal__file_of_false_candidates_is_scanned_in_linear_time(void **state)
{
    struct fixture *fixture = *state;
    size_t bytes = 4 * MiB;
    uint8_t *at;
    fixture->ends[0] = (struct wal_position){ .epoch = 1 };
    assert_ok(buf_extend(&fixture->file, bytes, &at));
    memset(at, 0, bytes);
    for (size_t i = 0; i + WAL_HEADER_BYTES <= bytes; i += WAL_HEADER_BYTES) {
        put_le32(at + i + WAL_PAYLOAD_BYTES, (uint32_t)(bytes - i - WAL_HEADER_BYTES));
        put_le64(at + i + WAL_EPOCH, 1);
        put_le64(at + i + WAL_OFFSET, i);
        put_le64(at + i + WAL_DURABLE_LSN, 1000);
    }
    expect_records(fixture, 0);
}

/* ---- two files ---------------------------------------------------------------------------- */

/* The first half lost its tail, which the second half knows as durable. */
static void test_wal__hole_between_two_files_is_corrupt_if_it_was_durable(void **state)
{
    struct fixture *fixture = *state;
    struct log_place second;
    struct wal_replay_result result;
    struct wal *wal;
    make_log(fixture, false, false, 64);
    log_place_init(&second);
    assert_ok(wal_create(os_posix(), second.path, 0600, FILE_BYTES, &wal));
    assert_ok(wal_restart(wal, 2, fixture->ends[RECORDS].link));
    log_append(wal, RECORDS + 1, RECORDS - 1);
    struct wal_position whole = { .epoch = 2, .link = fixture->ends[RECORDS].link };
    assert_ok(log_replay(wal, whole, RECORDS, &result));
    assert_int_equal(result.records, 1);
    struct wal_position last_lost = { .epoch = 2, .link = fixture->ends[RECORDS - 1].link };
    assert_ok(log_replay(wal, last_lost, RECORDS - 1, &result));
    assert_int_equal(result.records, 0);
    struct wal_position two_lost = { .epoch = 2, .link = fixture->ends[RECORDS - 2].link };
    assert_fails(SOMBRA_CORRUPT, log_replay(wal, two_lost, RECORDS - 2, &result));
    wal_close(wal);
    log_place_release(&second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_wal__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(torn_tail_is_ignored),
        TEST(file_cut_short_anywhere_in_the_last_record_loses_only_that),
        TEST(tail_of_an_empty_file_is_its_start),
        TEST(flipped_byte_below_a_durable_mark_is_corrupt),
        TEST(flipped_byte_with_no_durable_mark_is_a_tail),
        TEST(flipped_byte_above_the_last_durable_mark_is_a_tail),
        TEST(mark_protects_the_last_record),
        TEST(mark_in_the_last_bytes_of_the_file_counts),
        TEST(padding_may_rot),
        TEST(corruption_names_file_offset_and_lsn),
        TEST(zeroed_record_below_a_durable_mark_is_corrupt),
        TEST(record_of_any_size_behind_a_bad_one_is_found),
        TEST(payload_that_imitates_a_record_is_not_believed),
        TEST(length_beyond_the_file_ends_the_log),
        TEST(sealed_nonsense_is_corrupt),
        TEST(each_header_field_must_fit),
        TEST(file_of_false_candidates_is_scanned_in_linear_time),
        TEST(hole_between_two_files_is_corrupt_if_it_was_durable),
    };
    return cmocka_run_group_tests_name("wal_tail", tests, NULL, NULL);
}
