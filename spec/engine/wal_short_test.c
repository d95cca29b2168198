/* SPDX-License-Identifier: MIT */
/* Short records: what they spare, and that they are protected as others are. Crashes of logs that
 * have them are in wal_crash_test.c. */
#include "wal_fixture.h"

#include <stdio.h>

enum { RECORDS_MAX = 2000, FILE_BYTES = 64 * KiB };

struct fixture {
    struct log_place place;
    struct wal *wal; /* created, restarted in epoch 1; its records may be short */
    struct buf file;
    struct wal_position ends[RECORDS_MAX + 1]; /* behind record i */
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    log_place_init(&fixture->place);
    assert_ok(wal_create(os_posix(), fixture->place.path, 0600, FILE_BYTES, &fixture->wal));
    assert_ok(wal_restart(fixture->wal, 1, 0));
    wal_use_short_records(fixture->wal);
    fixture->ends[0] = wal_position(fixture->wal);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    wal_close(fixture->wal);
    buf_release(&fixture->file);
    log_place_release(&fixture->place);
    free(fixture);
    return 0;
}

/* Records up to `last`, behind those there are, of `payload_bytes` each. */
static void append_to(struct fixture *fixture, uint64_t first, uint64_t last, uint64_t durable_lsn,
                      size_t payload_bytes)
{
    for (uint64_t lsn = first; lsn <= last; lsn++) {
        log_append_bytes(fixture->wal, lsn, durable_lsn, payload_bytes);
        fixture->ends[lsn] = wal_position(fixture->wal);
    }
}

static void load(struct fixture *fixture)
{
    log_load(fixture->place.path, &fixture->file);
}

static sombra_err replay_file(struct fixture *fixture, struct wal_position from, uint64_t after_lsn,
                              struct wal_replay_result *out_result)
{
    struct wal *wal;
    log_store(fixture->place.path, buf_slice(&fixture->file));
    assert_ok(wal_open(os_posix(), fixture->place.path, true, &wal));
    sombra_err err = log_replay(wal, from, after_lsn, out_result);
    wal_close(wal);
    return err;
}

static void expect_records(struct fixture *fixture, uint64_t records)
{
    struct wal_replay_result result;
    assert_ok(replay_file(fixture, fixture->ends[0], 0, &result));
    assert_int_equal(result.records, records);
}

static void expect_corrupt(struct fixture *fixture)
{
    struct wal_replay_result result;
    assert_fails(SOMBRA_CORRUPT, replay_file(fixture, fixture->ends[0], 0, &result));
}

static bool is_short(const struct fixture *fixture, uint64_t lsn)
{
    return fixture->file.data[fixture->ends[lsn - 1].offset + WAL_SHORT_TAG] == WAL_SHORT_TAG_VALUE;
}

static uint8_t *record_at(struct fixture *fixture, uint64_t lsn)
{
    return fixture->file.data + fixture->ends[lsn - 1].offset;
}

/* ---- what is short ------------------------------------------------------------------------ */

static void test_wal__short_records_take_8_bytes_and_their_payload(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 20, 0, 100);
    assert_int_equal(fixture->ends[1].offset, 48 + 104);
    assert_int_equal(fixture->ends[20].offset, 48 + 104 + 19 * (8 + 104));
    log_expect(fixture->wal, 1, 20);
}

/* So that the loss of one block leaves as much knowledge as without short records. */
static void test_wal__first_record_that_begins_in_a_block_is_whole(void **state)
{
    struct fixture *fixture = *state;
    uint64_t block = UINT64_MAX;
    unsigned whole = 0;
    for (uint64_t lsn = 1; lsn <= 1000; lsn++)
        append_to(fixture, lsn, lsn, 0, log_payload_bytes(lsn));
    load(fixture);
    for (uint64_t lsn = 1; lsn <= 1000; lsn++) {
        uint64_t begins_in = fixture->ends[lsn - 1].offset / WAL_BLOCK_BYTES;
        assert_int_equal(is_short(fixture, lsn), begins_in == block);
        whole += begins_in != block;
        block = begins_in;
    }
    assert_in_range(whole, 20, 60);
    log_expect(fixture->wal, 1, 1000);
}

static void test_wal__large_records_and_those_that_know_more_are_whole(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 1, 0, 8);
    append_to(fixture, 2, 2, 0, 8);
    append_to(fixture, 3, 3, 2, 8); /* it says that 2 is durable */
    append_to(fixture, 4, 4, 2, 8);
    append_to(fixture, 5, 5, 1, 8); /* nothing new */
    assert_ok(wal_append_mark(fixture->wal, 5, 5));
    fixture->ends[5] = wal_position(fixture->wal);
    append_to(fixture, 6, 6, 5, 8); /* the mark said so */
    append_to(fixture, 7, 7, 5, 1000);
    append_to(fixture, 8, 8, 5, WAL_SHORT_PAYLOAD_BYTES_MAX + 1);
    append_to(fixture, 9, 9, 5, WAL_SHORT_PAYLOAD_BYTES_MAX); /* first of its block */
    load(fixture);
    for (uint64_t lsn = 1; lsn <= 9; lsn++)
        assert_int_equal(is_short(fixture, lsn),
                         lsn == 2 || lsn == 4 || lsn == 5 || lsn == 6 || lsn == 7);
    struct wal_replay_result result;
    assert_ok(replay_file(fixture, fixture->ends[0], 0, &result));
    assert_int_equal(result.records, 9);
    assert_int_equal(result.durable_lsn, 5);
}

/* What was told before it is not there any more. */
static void test_wal__record_behind_a_restart_says_anew_what_is_durable(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    append_to(fixture, 1, 9, 0, 8);
    append_to(fixture, 10, 10, 9, 8);
    assert_ok(wal_restart(fixture->wal, 2, 0));
    fixture->ends[0] = wal_position(fixture->wal);
    append_to(fixture, 1, 4, 0, 8);
    append_to(fixture, 5, 5, 3, 8);
    load(fixture);
    assert_true(is_short(fixture, 4));
    assert_false(is_short(fixture, 5));
    assert_ok(replay_file(fixture, fixture->ends[0], 0, &result));
    assert_int_equal(result.records, 5);
    assert_int_equal(result.durable_lsn, 3);
}

static void test_wal__short_record_behind_a_gap_of_lsns_does_not_count(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 3, 0, 8);
    log_append_bytes(fixture->wal, 5, 0, 8);
    log_append_bytes(fixture->wal, 6, 0, 8);
    log_expect(fixture->wal, 1, 3);
    assert_ok(wal_cut(fixture->wal, fixture->ends[3], 3));
    log_append_bytes(fixture->wal, 5, 0, 8);
    log_expect(fixture->wal, 1, 3);
}

static void test_wal__short_record_of_4096_bytes_is_written_and_read(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 1, 0, 8);
    append_to(fixture, 2, 2, 0, WAL_SHORT_PAYLOAD_BYTES_MAX);
    load(fixture);
    assert_true(is_short(fixture, 2));
    expect_records(fixture, 2);
}

/* By takeover, and by an open that goes on. */
static void test_wal__log_of_whole_records_is_continued_by_short_ones(void **state)
{
    struct fixture *fixture = *state;
    struct wal *old;
    assert_ok(wal_open(os_posix(), fixture->place.path, false, &old));
    assert_ok(wal_restart(old, 1, 0));
    for (uint64_t lsn = 1; lsn <= 5; lsn++)
        log_append_bytes(old, lsn, lsn - 1, 64);
    assert_ok(wal_cut(fixture->wal, wal_position(old), 5));
    append_to(fixture, 6, 15, 5, 64);
    wal_close(old);
    load(fixture);
    assert_int_equal(get_le32(fixture->file.data + WAL_KIND), WAL_KIND_RECORD);
    fixture->ends[5] = (struct wal_position){ .offset = 5 * (48 + 64) };
    assert_false(is_short(fixture, 6));
    assert_true(is_short(fixture, 7));
    log_expect(fixture->wal, 1, 15);
}

static void test_wal__replay_begins_at_a_short_record_too(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    append_to(fixture, 1, 30, 0, 64);
    for (uint64_t lsn = 0; lsn <= 30; lsn++) {
        assert_ok(log_replay(fixture->wal, fixture->ends[lsn], lsn, &result));
        assert_int_equal(result.records, 30 - lsn);
        assert_int_equal(result.end.link, fixture->ends[30].link);
    }
}

static void test_wal__windowed_and_written_short_records_are_the_same_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct log_place place;
    struct buf mapped = BUF_INIT;
    struct wal *wal;
    log_place_init(&place);
    assert_ok(wal_create(os_posix(), place.path, 0600, FILE_BYTES, &wal));
    assert_ok(wal_restart(wal, 1, 0));
    wal_use_short_records(wal);
    sombra_err err = wal_use_window(wal, true);
    for (uint64_t lsn = 1; !err && lsn <= RECORDS_MAX; lsn++) {
        log_append(fixture->wal, lsn, lsn / 100);
        log_append(wal, lsn, lsn / 100);
    }
    size_t bytes = (size_t)wal_position(fixture->wal).offset;
    if (!err) {
        assert_int_equal(wal_position(wal).offset, bytes);
        load(fixture);
        log_load(place.path, &mapped);
        assert_memory_equal(fixture->file.data, mapped.data, bytes);
        log_expect(wal, 1, RECORDS_MAX);
    }
    buf_release(&mapped);
    wal_close(wal);
    log_place_release(&place);
    if (err)
        skip();
}

/* ---- tails and rot ------------------------------------------------------------------------ */

static void test_wal__torn_short_tail_is_ignored(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 6, 0, 100);
    load(fixture);
    size_t start = (size_t)fixture->ends[5].offset;
    size_t end = start + WAL_SHORT_HEADER_BYTES + 100;
    for (size_t kept = end; kept-- > start;) {
        bool was_zero = fixture->file.data[kept] == 0;
        fixture->file.data[kept] = 0;
        if (!was_zero)
            expect_records(fixture, 5);
    }
}

static void test_wal__short_record_in_the_last_bytes_of_the_file_counts(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 3, 0, 16); /* less than a whole header */
    load(fixture);
    for (fixture->file.bytes = (size_t)fixture->ends[3].offset;
         fixture->file.bytes > (size_t)fixture->ends[2].offset; fixture->file.bytes--)
        expect_records(fixture, fixture->file.bytes == fixture->ends[3].offset ? 3 : 2);
}

static void flip_each_byte(struct fixture *fixture, uint64_t lsn, bool is_corrupt)
{
    for (uint64_t at = fixture->ends[lsn - 1].offset; at < fixture->ends[lsn].offset; at++) {
        fixture->file.data[at] ^= 0x04;
        if (is_corrupt)
            expect_corrupt(fixture);
        else
            expect_records(fixture, lsn - 1);
        fixture->file.data[at] ^= 0x04;
    }
}

static void test_wal__flipped_byte_of_a_short_record_ends_the_log_or_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 6, 0, 64);
    load(fixture);
    flip_each_byte(fixture, 4, false);
    log_store(fixture->place.path, buf_slice(&fixture->file));
    append_to(fixture, 7, 7, 5, 64); /* it knows 5 as durable */
    append_to(fixture, 8, 8, 5, 64);
    load(fixture);
    flip_each_byte(fixture, 5, true);
    flip_each_byte(fixture, 6, false);
    flip_each_byte(fixture, 8, false);
}

/* Zeros instead of any one block: what had been durable is missed, as far as any later block has
 * a record. */
static void test_wal__lost_block_below_a_durable_record_is_corrupt(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 600, DURABLE = 500 };
    append_to(fixture, 1, DURABLE, 0, 100);
    append_to(fixture, DURABLE + 1, COUNT, DURABLE, 100);
    load(fixture);
    uint64_t blocks = fixture->ends[COUNT].offset / WAL_BLOCK_BYTES;
    assert_true(blocks > fixture->ends[DURABLE].offset / WAL_BLOCK_BYTES + 1);
    for (uint64_t block = 0, lsn = 1; block < blocks; block++) {
        uint8_t saved[WAL_BLOCK_BYTES], *at = fixture->file.data + block * WAL_BLOCK_BYTES;
        while (fixture->ends[lsn].offset <= block * WAL_BLOCK_BYTES)
            lsn++; /* the first that has bytes there */
        memcpy(saved, at, sizeof saved);
        memset(at, 0, sizeof saved);
        if (lsn <= DURABLE)
            expect_corrupt(fixture);
        else
            expect_records(fixture, lsn - 1);
        memcpy(at, saved, sizeof saved);
    }
    expect_records(fixture, COUNT);
}

/* ---- what must fit ------------------------------------------------------------------------ */

/* Gives record `lsn`, a short one, the checksum of the header that is said. */
static void seal_short(struct fixture *fixture, uint64_t lsn, struct wal_position stands,
                       uint64_t says_lsn, uint64_t durable_lsn, uint32_t kind)
{
    uint8_t header[WAL_HEADER_BYTES] = { 0 }, *at = record_at(fixture, lsn);
    memcpy(header + WAL_PAYLOAD_BYTES, at + WAL_PAYLOAD_BYTES, 4);
    put_le64(header + WAL_EPOCH, stands.epoch);
    put_le64(header + WAL_LSN, says_lsn);
    put_le64(header + WAL_OFFSET, stands.offset);
    put_le64(header + WAL_DURABLE_LSN, durable_lsn);
    put_le32(header + WAL_LINK, stands.link);
    put_le32(header + WAL_KIND, kind);
    uint32_t crc = crc32_update(0, header + WAL_PAYLOAD_BYTES, sizeof header - WAL_PAYLOAD_BYTES);
    crc = crc32_update(crc, at + WAL_SHORT_HEADER_BYTES, get_le16(at + WAL_SHORT_PAYLOAD_BYTES));
    put_le32(at + WAL_CRC, crc);
}

/* The bytes that stand in the file are the same in all of them: only the checksum tells. */
static void test_wal__short_record_counts_only_where_it_was_written(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 6, 0, 64);
    load(fixture);
    struct wal_position at = fixture->ends[3];
    seal_short(fixture, 4, at, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 6); /* what the test reckons is what is written */
    struct wal_position epoch = at, offset = at, link = at;
    epoch.epoch++;
    offset.offset += 8;
    link.link++;
    seal_short(fixture, 4, epoch, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    seal_short(fixture, 4, offset, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    seal_short(fixture, 4, link, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    seal_short(fixture, 4, at, 4 + 256, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    seal_short(fixture, 4, at, 4, 3, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    seal_short(fixture, 4, at, 4, 0, WAL_KIND_LEADER);
    expect_records(fixture, 3);
    seal_short(fixture, 4, at, 4, 0, WAL_KIND_SHORT);
    struct wal_replay_result result;
    assert_ok(replay_file(fixture, at, 3 + 256, &result)); /* the same low byte */
    assert_int_equal(result.records, 0);
    record_at(fixture, 4)[WAL_SHORT_LSN]++; /* the low byte itself, sealed */
    seal_short(fixture, 4, at, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
    record_at(fixture, 4)[WAL_SHORT_LSN]--;
    record_at(fixture, 4)[WAL_SHORT_TAG]--;
    seal_short(fixture, 4, at, 4, 0, WAL_KIND_SHORT);
    expect_records(fixture, 3);
}

static void test_wal__short_record_that_reaches_beyond_the_file_ends_the_log(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 3, 0, 64);
    load(fixture);
    fixture->file.bytes = (size_t)fixture->ends[3].offset;
    static const uint16_t lengths[] = { 65, 72, UINT16_MAX };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        put_le16(record_at(fixture, 3) + WAL_SHORT_PAYLOAD_BYTES, lengths[i]);
        expect_records(fixture, 2);
    }
}

/* The same records under the next epoch: each short one of the old epoch stands exactly behind, and
 * even the low byte of its lsn fits. */
static void test_wal__short_records_of_an_older_epoch_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    struct wal_replay_result result;
    append_to(fixture, 1, 30, 0, 64);
    struct wal_position end = wal_position(fixture->wal);
    for (uint64_t epoch = 2; epoch <= 20; epoch++) {
        uint64_t after = (epoch - 1) * 256;
        assert_ok(wal_restart(fixture->wal, epoch, end.link));
        struct wal_position from = { .epoch = epoch, .link = end.link };
        for (uint64_t count = 1; count <= 20; count++) {
            log_append_bytes(fixture->wal, after + count, 0, 64);
            assert_ok(log_replay(fixture->wal, from, after, &result));
            assert_int_equal(result.records, count);
        }
        end = wal_position(fixture->wal);
    }
}

/* Storage rule 3: what is written first behind a cut is whole, and so may be the very bytes that
 * stood there; the short ones behind it must not come back. */
static void test_wal__cut_short_records_cannot_be_spliced(void **state)
{
    struct fixture *fixture = *state;
    for (size_t payload_bytes = 0; payload_bytes <= 64; payload_bytes += 8) {
        assert_ok(wal_restart(fixture->wal, 2 + payload_bytes, 0));
        append_to(fixture, 1, 3, 0, payload_bytes);
        struct wal_position tail = fixture->ends[1];
        for (int round = 0; round < 2; round++) {
            assert_ok(wal_cut(fixture->wal, tail, 1));
            log_expect(fixture->wal, tail.epoch, 1);
            append_to(fixture, 2, 12, 0, payload_bytes);
            log_expect(fixture->wal, tail.epoch, 12);
        }
        assert_ok(wal_cut(fixture->wal, tail, 1));
        load(fixture);
        for (uint64_t lsn = 2; lsn <= 12; lsn++)
            assert_int_equal(get_le64(record_at(fixture, lsn)), 0);
        append_to(fixture, 2, 2, 0, payload_bytes);
        log_expect(fixture->wal, tail.epoch, 2);
    }
}

/* Bytes that a user puts, in a record that rotted: not taken for records. */
static void test_wal__payload_of_short_headers_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    append_to(fixture, 1, 2, 0, 64);
    load(fixture);
    uint8_t payload[256];
    for (size_t i = 0; i < sizeof payload; i += 8)
        memcpy(payload + i, record_at(fixture, 2), 8);
    struct os_iovec part = { .data = payload, .bytes = sizeof payload };
    assert_ok(wal_reserve(fixture->wal, sizeof payload, LOG_BYTES_MAX));
    assert_ok(wal_append(fixture->wal, 3, 0, &part, 1));
    load(fixture);
    for (size_t from = 0; from < 4; from++) { /* the copies come to stand at the log's end */
        memmove(record_at(fixture, 3), record_at(fixture, 3) + 8, 248);
        expect_records(fixture, 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_wal__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(short_records_take_8_bytes_and_their_payload),
        TEST(first_record_that_begins_in_a_block_is_whole),
        TEST(large_records_and_those_that_know_more_are_whole),
        TEST(record_behind_a_restart_says_anew_what_is_durable),
        TEST(short_record_behind_a_gap_of_lsns_does_not_count),
        TEST(short_record_of_4096_bytes_is_written_and_read),
        TEST(log_of_whole_records_is_continued_by_short_ones),
        TEST(replay_begins_at_a_short_record_too),
        TEST(windowed_and_written_short_records_are_the_same_bytes),
        TEST(torn_short_tail_is_ignored),
        TEST(short_record_in_the_last_bytes_of_the_file_counts),
        TEST(flipped_byte_of_a_short_record_ends_the_log_or_is_corrupt),
        TEST(lost_block_below_a_durable_record_is_corrupt),
        TEST(short_record_counts_only_where_it_was_written),
        TEST(short_record_that_reaches_beyond_the_file_ends_the_log),
        TEST(short_records_of_an_older_epoch_do_not_count),
        TEST(cut_short_records_cannot_be_spliced),
        TEST(payload_of_short_headers_is_not_believed),
    };
    return cmocka_run_group_tests_name("wal_short", tests, NULL, NULL);
}
