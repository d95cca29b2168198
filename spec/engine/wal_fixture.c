/* SPDX-License-Identifier: MIT */
#include "wal_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

void log_place_init(struct log_place *place)
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > 40)
        base = "/tmp";
    snprintf(place->directory, sizeof place->directory, "%s/wal_XXXXXX", base);
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof place->path, "%s/log", place->directory);
}

void log_place_release(struct log_place *place)
{
    unlink(place->path);
    rmdir(place->directory);
}

struct memory {
    uint8_t *bytes; /* kept to the process's end */
    size_t capacity;
};

static sombra_slice fill(struct memory *memory, uint64_t lsn, size_t bytes)
{
    if (bytes + 8 > memory->capacity) {
        free(memory->bytes);
        memory->capacity = 2 * (bytes + 8);
        memory->bytes = malloc(memory->capacity);
        assert_non_null(memory->bytes);
    }
    for (size_t i = 0; i < bytes; i += 8)
        put_le64(memory->bytes + i, hash_u64(lsn * 1000003 + i));
    return slice_of(memory->bytes, bytes);
}

sombra_slice log_payload(uint64_t lsn, size_t bytes)
{
    static struct memory memory;
    return fill(&memory, lsn, bytes);
}

size_t log_payload_bytes(uint64_t lsn)
{
    return (size_t)(hash_u64(lsn) % 256);
}

sombra_err log_try_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn, size_t bytes)
{
    static struct memory memory; /* not that of log_payload: a hook may replay inside the append */
    sombra_slice payload = fill(&memory, lsn, bytes);
    size_t first = bytes / 3;
    struct os_iovec parts[] = {
        { .data = payload.data, .bytes = first },
        { .data = slice_from(payload, first).data, .bytes = bytes - first },
    };
    sombra_err err = wal_reserve(wal, bytes, LOG_BYTES_MAX);
    return err ? err : wal_append(wal, lsn, durable_lsn, parts, COUNT_OF(parts));
}

void log_append_bytes(struct wal *wal, uint64_t lsn, uint64_t durable_lsn, size_t bytes)
{
    assert_ok(log_try_append(wal, lsn, durable_lsn, bytes));
}

void log_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn)
{
    log_append_bytes(wal, lsn, durable_lsn, log_payload_bytes(lsn));
}

static sombra_err compare(void *context, const struct wal_record *record)
{
    uint64_t *next_lsn = context;
    assert_int_equal(record->lsn, *next_lsn);
    assert_true(record->durable_lsn < record->lsn);
    sombra_slice expected = log_payload(record->lsn, record->payload.bytes);
    assert_true(slice_equal(record->payload, expected));
    ++*next_lsn;
    return SOMBRA_OK;
}

sombra_err log_replay(struct wal *wal, struct wal_position from, uint64_t after_lsn,
                      struct wal_replay_result *out_result)
{
    uint64_t next_lsn = after_lsn + 1;
    sombra_err err = wal_replay(wal, from, after_lsn, compare, &next_lsn, out_result);
    if (!err) {
        assert_int_equal(out_result->last_lsn, next_lsn - 1);
        assert_int_equal(out_result->records, next_lsn - 1 - after_lsn);
        assert_int_equal(out_result->end.epoch, from.epoch);
    }
    return err;
}

void log_expect(struct wal *wal, uint64_t epoch, uint64_t records)
{
    struct wal_replay_result result;
    struct wal_position from = { .epoch = epoch, .offset = 0, .link = 0 };
    assert_ok(log_replay(wal, from, 0, &result));
    assert_int_equal(result.records, records);
}

void log_load(const char *path, struct buf *out)
{
    struct os_file *file;
    uint64_t bytes;
    uint8_t *at;
    assert_ok(os_open(os_posix(), path, OS_READ, 0, &file));
    assert_ok(os_size(file, &bytes));
    buf_reset(out);
    assert_ok(buf_extend(out, (size_t)bytes, &at));
    assert_ok(os_read(file, 0, at, (size_t)bytes));
    os_close(file);
}

void log_store(const char *path, sombra_slice bytes)
{
    struct os_file *file;
    assert_ok(os_open(os_posix(), path, OS_WRITE | OS_CREATE, 0600, &file));
    assert_ok(os_truncate(file, bytes.bytes));
    assert_ok(os_write(file, 0, bytes.data, bytes.bytes));
    os_close(file);
}

void log_seal(struct buf *file, size_t offset)
{
    uint8_t *at = file->data + offset;
    size_t bytes = WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + get_le32(at + WAL_PAYLOAD_BYTES);
    assert_true(offset + WAL_PAYLOAD_BYTES + bytes <= file->bytes);
    put_le32(at + WAL_CRC, crc32_update(0, at + WAL_PAYLOAD_BYTES, bytes));
}

uint64_t log_seed(void)
{
    const char *text = getenv("SOMBRA_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : hash_u64((uint64_t)time(NULL));
    printf("SOMBRA_SEED=%" PRIu64 "\n", seed);
    return seed;
}
