/* SPDX-License-Identifier: MIT */
/* wal_replay: reads the chain of records from a position on.
 *
 * A header is believed only as far as needed to check it: epoch and offset first, the length
 * against the file's rest, then the checksum over all of it, and only then what it says. What is no
 * whole record there may be a short one, whose checksum holds only in this chain.
 */
#include "wal/wal_internal.h"

struct replay {
    struct wal_reader reader;
    struct wal_position at; /* of the next record */
    uint64_t last_lsn;
    uint64_t records;
    uint64_t durable_lsn;
};

static sombra_err checksum_check(struct wal_reader *reader, uint64_t offset, uint32_t crc,
                                 size_t header_bytes, const struct wal_header *header,
                                 sombra_slice *out_payload, bool *out_is_valid)
{
    const uint8_t *at;
    size_t from = header_bytes == WAL_HEADER_BYTES ? WAL_PAYLOAD_BYTES : header_bytes;
    size_t bytes = header_bytes + (size_t)header->payload_bytes;
    sombra_err err = wal_reader_view(reader, offset, bytes, &at);
    if (err)
        return err;
    *out_is_valid = crc32_update(crc, at + from, bytes - from) == header->crc;
    *out_payload = slice_of(at + header_bytes, header->payload_bytes);
    return SOMBRA_OK;
}

static sombra_err read_whole(struct wal_reader *reader, uint64_t epoch, uint64_t offset,
                             struct wal_header *out_header, sombra_slice *out_payload,
                             bool *out_is_valid)
{
    const uint8_t *at;
    *out_is_valid = false;
    if (offset > reader->file_bytes || reader->file_bytes - offset < WAL_HEADER_BYTES)
        return SOMBRA_OK;
    sombra_err err = wal_reader_view(reader, offset, WAL_HEADER_BYTES, &at);
    if (err)
        return err;
    *out_header = wal_header_get(at);
    if (!wal_header_fits(out_header, epoch, offset, reader->file_bytes))
        return SOMBRA_OK;
    return checksum_check(reader, offset, 0, WAL_HEADER_BYTES, out_header, out_payload,
                          out_is_valid);
}

static sombra_err read_short(struct wal_reader *reader, struct wal_position position,
                             uint64_t last_lsn, struct wal_header *out_header,
                             sombra_slice *out_payload, bool *out_is_valid)
{
    const uint8_t *at;
    uint8_t bytes[WAL_SHORT_HEADER_BYTES];
    uint64_t offset = position.offset;
    *out_is_valid = false;
    if (offset > reader->file_bytes || reader->file_bytes - offset < WAL_SHORT_HEADER_BYTES)
        return SOMBRA_OK;
    sombra_err err = wal_reader_view(reader, offset, WAL_SHORT_HEADER_BYTES, &at);
    if (err || !wal_short_get(at, position, last_lsn, reader->file_bytes, out_header))
        return err;
    return checksum_check(reader, offset, wal_short_put(bytes, out_header), WAL_SHORT_HEADER_BYTES,
                          out_header, out_payload, out_is_valid);
}

sombra_err wal_read_record(struct wal_reader *reader, struct wal_position at, uint64_t last_lsn,
                           struct wal_header *out_header, sombra_slice *out_payload,
                           bool *out_is_valid)
{
    sombra_err err = read_whole(reader, at.epoch, at.offset, out_header, out_payload, out_is_valid);
    if (!err && !*out_is_valid)
        err = read_short(reader, at, last_lsn, out_header, out_payload, out_is_valid);
    return err;
}

static bool is_known_kind(const struct wal_header *header)
{
    return header->is_short || header->kind == WAL_KIND_RECORD || header->kind == WAL_KIND_MARK ||
           header->kind == WAL_KIND_LEADER;
}

/* The checksum held, so these bytes were written like this, by something that is not this code. */
static sombra_err check_written(const struct replay *replay, const struct wal_header *header)
{
    const char *path = os_file_path(replay->reader.file);
    bool is_mark = header->kind == WAL_KIND_MARK;
    if (!is_known_kind(header))
        return diag_fail(SOMBRA_CORRUPT,
                         "log %s: record at offset %" PRIu64 " is of the unknown kind %" PRIu32,
                         path, header->offset, header->kind);
    if (header->durable_lsn > header->lsn || (!is_mark && header->durable_lsn == header->lsn) ||
        (is_mark && header->payload_bytes != 0))
        return diag_fail(SOMBRA_CORRUPT,
                         "log %s: record at offset %" PRIu64 " contradicts itself: lsn %" PRIu64
                         ", durable %" PRIu64 ", payload %" PRIu32,
                         path, header->offset, header->lsn, header->durable_lsn,
                         header->payload_bytes);
    return SOMBRA_OK;
}

/* Applies the record at replay->at if it continues the chain; *out_fits says so. */
static sombra_err step(struct replay *replay, wal_replay_fn each, void *context, bool *out_fits)
{
    struct wal_header header;
    sombra_slice payload;
    bool is_valid;
    *out_fits = false;
    sombra_err err = wal_read_record(&replay->reader, replay->at, replay->last_lsn, &header,
                                     &payload, &is_valid);
    if (err || !is_valid)
        return err;
    err = check_written(replay, &header);
    if (err)
        return err;
    bool is_mark = header.kind == WAL_KIND_MARK;
    if (header.link != replay->at.link || header.lsn != replay->last_lsn + (is_mark ? 0 : 1))
        return SOMBRA_OK;
    if (!is_mark) {
        struct wal_record record = { .lsn = header.lsn,
                                     .durable_lsn = header.durable_lsn,
                                     .payload = payload };
        err = each(context, &record);
        if (err)
            return err;
        replay->records++;
    }
    replay->last_lsn = header.lsn;
    replay->durable_lsn = u64_max(replay->durable_lsn, header.durable_lsn);
    replay->at.offset += wal_header_record_bytes(&header);
    replay->at.link = header.crc;
    *out_fits = true;
    return SOMBRA_OK;
}

static struct wal_replay_result result_of(const struct replay *replay)
{
    return (struct wal_replay_result){ .end = replay->at,
                                       .last_lsn = replay->last_lsn,
                                       .records = replay->records,
                                       .durable_lsn = replay->durable_lsn };
}

static sombra_err refuse_position(const struct wal *wal, struct wal_position from)
{
    if (from.epoch != 0 && from.offset % WAL_ALIGN_BYTES == 0)
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CORRUPT,
                     "log %s: epoch %" PRIu64 ", offset %" PRIu64 " is no place to replay from",
                     os_file_path(wal->file), from.epoch, from.offset);
}

sombra_err wal_replay(struct wal *wal, struct wal_position from, uint64_t after_lsn,
                      wal_replay_fn each, void *context, struct wal_replay_result *out_result)
{
    assert(wal && each && out_result);
    struct replay replay = { .at = from, .last_lsn = after_lsn };
    bool fits = true;
    sombra_err err = refuse_position(wal, from);
    if (err)
        return err;
    err = wal_reader_init(&replay.reader, wal->file);
    while (!err && fits)
        err = step(&replay, each, context, &fits);
    if (!err)
        err = wal_scan_behind(&replay.reader, replay.at, replay.last_lsn);
    wal_reader_release(&replay.reader);
    if (!err)
        *out_result = result_of(&replay);
    return err;
}

sombra_err wal_replay_range(struct wal *wal, struct wal_position from, uint64_t end_offset,
                            uint64_t after_lsn, wal_replay_fn each, void *context,
                            struct wal_replay_result *out_result)
{
    assert(wal && each && out_result);
    struct replay replay = { .at = from, .last_lsn = after_lsn };
    bool fits = true;
    sombra_err err = refuse_position(wal, from);
    if (err)
        return err;
    err = wal_reader_init(&replay.reader, wal->file);
    while (!err && fits && replay.at.offset < end_offset)
        err = step(&replay, each, context, &fits);
    wal_reader_release(&replay.reader);
    if (!err && replay.at.offset != end_offset)
        err = diag_fail(SOMBRA_CORRUPT,
                        "log %s: the record at offset %" PRIu64 ", after lsn %" PRIu64
                        ", is damaged; the log reaches to %" PRIu64,
                        os_file_path(wal->file), replay.at.offset, replay.last_lsn, end_offset);
    if (!err)
        *out_result = result_of(&replay);
    return err;
}

sombra_err wal_first_epoch(struct wal *wal, uint64_t *out_epoch)
{
    assert(wal && out_epoch);
    struct wal_reader reader;
    struct wal_header header;
    sombra_slice payload;
    const uint8_t *at;
    uint64_t epoch = 0;
    bool is_valid = false;
    sombra_err err = wal_reader_init(&reader, wal->file);
    if (!err && reader.file_bytes >= WAL_HEADER_BYTES) {
        err = wal_reader_view(&reader, 0, WAL_HEADER_BYTES, &at);
        if (!err)
            epoch = get_le64(at + WAL_EPOCH);
        if (!err && epoch != 0)
            err = read_whole(&reader, epoch, 0, &header, &payload, &is_valid);
    }
    wal_reader_release(&reader);
    if (!err)
        *out_epoch = is_valid ? epoch : 0;
    return err;
}
