/* SPDX-License-Identifier: MIT */
/* A log of any bytes: replay answers OK or CORRUPT, never crashes, and what it accepts can be cut,
 * continued and replayed again.
 *
 * The first byte of the input says what the rest is:
 *   r  the log file itself
 *   s  the log file, whose records are then given the place, epoch, link and checksum that fit, so
 *      that mutations get past the checks; those with the tag of short records as such
 *   otherwise a recipe, in pairs of an operation and an argument (make_by_recipe), which a seed
 *      corpus of plain text can hold; w: of a log with short records
 */
#include "wal/wal.h"
#include "wal/wal_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { RECIPE_FILE_BYTES = 16384, FILE_BYTES_MAX = 1 << 20 };

static void require(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "wal_fuzz: not so: %s (%s)\n", what, diag_text());
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

struct target {
    int fd;
    char path[64];
    struct wal *wal;
};

/* ---- making the log ----------------------------------------------------------------------- */

static void put(const struct target *target, uint64_t offset, const void *bytes, size_t count)
{
    REQUIRE(pwrite(target->fd, bytes, count, (off_t)offset) == (ssize_t)count);
}

static void crc_of_short(uint8_t *at, size_t offset, uint64_t lsn, uint32_t link)
{
    uint8_t header[WAL_HEADER_BYTES] = { 0 };
    at[WAL_SHORT_LSN] = (uint8_t)lsn;
    memcpy(header + WAL_PAYLOAD_BYTES, at + WAL_PAYLOAD_BYTES, 4);
    put_le64(header + WAL_EPOCH, 1);
    put_le64(header + WAL_LSN, lsn);
    put_le64(header + WAL_OFFSET, offset);
    put_le32(header + WAL_LINK, link);
    put_le32(header + WAL_KIND, WAL_KIND_SHORT);
    uint32_t crc = crc32_update(0, header + WAL_PAYLOAD_BYTES, sizeof header - WAL_PAYLOAD_BYTES);
    put_le32(at + WAL_CRC, crc32_update(crc, at + WAL_SHORT_HEADER_BYTES,
                                        get_le16(at + WAL_SHORT_PAYLOAD_BYTES)));
}

static void crc_of_whole(uint8_t *at, size_t offset, uint32_t link)
{
    put_le64(at + WAL_EPOCH, 1);
    put_le64(at + WAL_OFFSET, offset);
    put_le32(at + WAL_LINK, link);
    put_le32(at + WAL_KIND, get_le32(at + WAL_KIND) % 5);
    put_le32(at + WAL_CRC,
             crc32_update(0, at + WAL_PAYLOAD_BYTES,
                          WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + get_le32(at + WAL_PAYLOAD_BYTES)));
}

/* Makes the records of raw bytes valid as far as their lengths and lsns allow. */
static void seal(uint8_t *file, size_t bytes)
{
    uint32_t link = 0;
    uint64_t lsn = 0;
    for (size_t at = 0; bytes - at >= WAL_HEADER_BYTES;) {
        uint8_t *header = file + at;
        bool is_short = at > 0 && header[WAL_SHORT_TAG] == WAL_SHORT_TAG_VALUE;
        size_t header_bytes = is_short ? WAL_SHORT_HEADER_BYTES : WAL_HEADER_BYTES;
        size_t rest = bytes - at - header_bytes;
        uint32_t payload_bytes = is_short ? get_le16(header + WAL_SHORT_PAYLOAD_BYTES)
                                          : get_le32(header + WAL_PAYLOAD_BYTES);
        if (payload_bytes > rest)
            payload_bytes %= 512;
        if (payload_bytes > rest)
            return;
        if (is_short) {
            put_le16(header + WAL_SHORT_PAYLOAD_BYTES, (uint16_t)payload_bytes);
            crc_of_short(header, at, ++lsn, link);
        } else {
            put_le32(header + WAL_PAYLOAD_BYTES, payload_bytes);
            crc_of_whole(header, at, link);
            lsn = get_le64(header + WAL_LSN);
        }
        link = get_le32(header + WAL_CRC);
        uint64_t record_bytes = header_bytes + u64_align_up(payload_bytes, WAL_ALIGN_BYTES);
        if (record_bytes > bytes - at)
            return;
        at += (size_t)record_bytes;
    }
}

struct recipe {
    uint64_t epoch;
    uint64_t lsn;
    struct wal_position kept; /* where a cut goes back to */
    uint64_t kept_lsn;
    bool has_short_records;
};

static void append(struct target *target, struct recipe *recipe, uint8_t size)
{
    static const uint8_t text[2048] = "the payload of every record";
    struct os_iovec part = { .data = text, .bytes = (size_t)size * 8 + size % 8 };
    if (wal_reserve(target->wal, part.bytes, UINT64_MAX) != SOMBRA_OK)
        return;
    recipe->lsn++;
    uint64_t durable_lsn = recipe->lsn - 1 - size % u64_min(4, recipe->lsn);
    if (recipe->has_short_records) /* it seldom rises */
        durable_lsn -= durable_lsn % 8;
    REQUIRE(wal_append(target->wal, recipe->lsn, durable_lsn, &part, 1) == SOMBRA_OK);
}

static void step(struct target *target, struct recipe *recipe, uint8_t operation, uint8_t argument)
{
    switch (operation % 8) {
    case 0: /* h p x */
        REQUIRE(wal_reserve(target->wal, 0, UINT64_MAX) == SOMBRA_OK);
        REQUIRE(wal_append_mark(target->wal, recipe->lsn, recipe->lsn - recipe->lsn % 2) ==
                SOMBRA_OK);
        break;
    case 1: /* a i q y */
    case 2: /* b j r z */
        append(target, recipe, argument);
        break;
    case 3: /* c k s: the log goes back to where the last keep was */
        if (recipe->kept.epoch == recipe->epoch) {
            REQUIRE(wal_cut(target->wal, recipe->kept, recipe->kept_lsn) == SOMBRA_OK);
            recipe->lsn = recipe->kept_lsn;
        }
        break;
    case 4: /* d l t: keep */
        recipe->kept = wal_position(target->wal);
        recipe->kept_lsn = recipe->lsn;
        break;
    case 5: /* e m u: damage a byte anywhere up to the tail */
    {
        uint64_t tail = wal_position(target->wal).offset;
        put(target, tail * argument / 256, &argument, 1);
        break;
    }
    case 6: /* f n v: a restart */
        REQUIRE(wal_restart(target->wal, ++recipe->epoch, wal_position(target->wal).link) ==
                SOMBRA_OK);
        break;
    default: /* g o w: lsns go missing */
        recipe->lsn += argument % 4;
        break;
    }
}

static void make_by_recipe(struct target *target, const uint8_t *data, size_t bytes,
                           bool has_short_records)
{
    struct recipe recipe = { .epoch = 1, .lsn = 0, .has_short_records = has_short_records };
    REQUIRE(ftruncate(target->fd, RECIPE_FILE_BYTES) == 0);
    REQUIRE(wal_open(os_posix(), target->path, false, &target->wal) == SOMBRA_OK);
    REQUIRE(wal_restart(target->wal, 1, 0) == SOMBRA_OK);
    if (has_short_records)
        wal_use_short_records(target->wal);
    for (size_t i = 0; i + 1 < bytes; i += 2)
        step(target, &recipe, data[i], data[i + 1]);
}

static void make_raw(struct target *target, const uint8_t *data, size_t bytes, bool is_sealed)
{
    uint8_t *file = malloc(bytes + 1);
    REQUIRE(file != NULL);
    memcpy(file, data, bytes);
    if (is_sealed)
        seal(file, bytes);
    put(target, 0, file, bytes);
    free(file);
    REQUIRE(wal_open(os_posix(), target->path, false, &target->wal) == SOMBRA_OK);
}

/* ---- reading it --------------------------------------------------------------------------- */

struct digest {
    uint64_t records;
    uint32_t crc;
};

static sombra_err add(void *context, const struct wal_record *record)
{
    struct digest *digest = context;
    digest->records++;
    if (record->payload.bytes)
        digest->crc = crc32_update(digest->crc, record->payload.data, record->payload.bytes);
    return SOMBRA_OK;
}

static void check_accepted(struct target *target, struct wal_position from, uint64_t after_lsn,
                           struct wal_replay_result result, struct digest digest)
{
    struct digest again = { 0, 0 };
    struct wal_replay_result second;
    REQUIRE(digest.records == result.records);
    REQUIRE(result.last_lsn == after_lsn + result.records);
    REQUIRE(wal_replay_range(target->wal, from, result.end.offset, after_lsn, add, &again,
                             &second) == SOMBRA_OK);
    REQUIRE(again.records == digest.records && again.crc == digest.crc);
    REQUIRE(second.end.link == result.end.link);
    if (result.last_lsn == UINT64_MAX || result.end.offset > wal_file_bytes(target->wal))
        return;
    REQUIRE(wal_cut(target->wal, result.end, result.last_lsn) == SOMBRA_OK);
    /* A payload of its own: the very bytes of a lost record would bring back its successors, which
     * is why a store goes on under a new epoch after a crash. */
    struct os_iovec part = { .data = "behind the cut", .bytes = 14 };
    REQUIRE(wal_reserve(target->wal, part.bytes, UINT64_MAX) == SOMBRA_OK);
    REQUIRE(wal_append(target->wal, result.last_lsn + 1, 0, &part, 1) == SOMBRA_OK);
    REQUIRE(wal_replay(target->wal, from, after_lsn, add, &again, &second) == SOMBRA_OK);
    REQUIRE(second.records == result.records + 1);
}

static void read_log(struct target *target)
{
    uint8_t header[WAL_HEADER_BYTES] = { 0 };
    uint64_t epoch = 0;
    ssize_t got = pread(target->fd, header, sizeof header, 0);
    REQUIRE(got >= 0);
    REQUIRE(wal_first_epoch(target->wal, &epoch) == SOMBRA_OK);
    REQUIRE(epoch == 0 || epoch == get_le64(header + WAL_EPOCH));
    struct wal_position from = { .epoch = epoch ? epoch : 1,
                                 .offset = 0,
                                 .link = get_le32(header + WAL_LINK) };
    bool is_mark = get_le32(header + WAL_KIND) == WAL_KIND_MARK;
    uint64_t after_lsn = get_le64(header + WAL_LSN) - (is_mark ? 0 : 1);
    struct digest digest = { 0, 0 };
    struct wal_replay_result result;
    sombra_err err = wal_replay(target->wal, from, after_lsn, add, &digest, &result);
    REQUIRE(err == SOMBRA_OK || err == SOMBRA_CORRUPT);
    if (!err)
        check_accepted(target, from, after_lsn, result, digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct target target = { .wal = NULL };
    if (bytes == 0 || bytes > FILE_BYTES_MAX)
        return 0;
    target.fd = memfd_create("log", MFD_CLOEXEC);
    REQUIRE(target.fd >= 0);
    snprintf(target.path, sizeof target.path, "/proc/self/fd/%d", target.fd);
    if (data[0] == 'r' || data[0] == 's')
        make_raw(&target, data + 1, bytes - 1, data[0] == 's');
    else
        make_by_recipe(&target, data + 1, bytes - 1, data[0] == 'w');
    read_log(&target);
    wal_close(target.wal);
    close(target.fd);
    return 0;
}
