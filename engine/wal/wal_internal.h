/* SPDX-License-Identifier: MIT */
/* wal_internal: what the files of this folder share: the open log, the decoded header, and a
 * reader of file ranges. */
#ifndef WAL_INTERNAL_H
#define WAL_INTERNAL_H

#include "wal/wal.h"
#include "wal/wal_format.h"

#include <inttypes.h>

struct wal {
    struct os *os;
    struct os_file *file; /* constant from open to close: a sync may use it beside appends */
    bool is_readonly;
    atomic_bool is_failed;      /* sticky; set by the thread that failed, read by all */
    struct os_mutex sync_mutex; /* a failed sync is told to one who asks: one at a time does */

    /* All below: the appending thread only. */
    struct wal_position next;      /* where the next record goes; epoch 0 before restart or cut */
    uint64_t last_lsn;             /* appended since the last cut; 0 if none: for asserts */
    bool has_short_records;        /* appends may be short */
    uint64_t leader_block;         /* in which the last whole record began; UINT64_MAX: none */
    uint64_t told_durable_lsn;     /* that whole records said since the last cut */
    uint64_t file_bytes;           /* as last seen; [next.offset, file_bytes) is written space */
    uint64_t reserved_bytes_limit; /* file_bytes_max of the last reserve */

    uint64_t let_go_bytes; /* wal_let_go has seen to the file up to here */

    bool uses_window;
    uint64_t written_bytes; /* the file was written up to here; behind, it is only allocated */
    bool is_backed;         /* the file system promised space for every byte: stores are safe */
    uint8_t *window;        /* writable mapping of [window_offset, + window_bytes), or NULL */
    uint64_t window_offset;
    size_t window_bytes;
};

struct wal_header {
    uint32_t crc;
    uint32_t payload_bytes;
    uint64_t epoch;
    uint64_t lsn;
    uint64_t offset;
    uint64_t durable_lsn;
    uint32_t link;
    uint32_t kind;
    bool is_short; /* only 8 bytes of it stand in the file; kind is WAL_KIND_SHORT */
};

struct wal_header wal_header_get(const uint8_t *at);
/* All but the crc, which needs the payload. */
void wal_header_put(uint8_t *at, const struct wal_header *header);
/* The header claims the epoch and to stand at `offset`, and its payload ends within the file:
 * what makes it worth a checksum. `offset` + WAL_HEADER_BYTES <= file_bytes. */
bool wal_header_fits(const struct wal_header *header, uint64_t epoch, uint64_t offset,
                     uint64_t file_bytes);

/* The header that the short record at `at` stands for, behind a record with `last_lsn` and the
 * checksum position.link. False: there is none that would fit the file's rest. */
bool wal_short_get(const uint8_t *at, struct wal_position position, uint64_t last_lsn,
                   uint64_t file_bytes, struct wal_header *out_header);
/* Writes a short record's 8 bytes but the crc. Gives the crc of the header that it stands for,
 * which the payload continues. */
uint32_t wal_short_put(uint8_t *at, const struct wal_header *header);

/* Bytes of the record on disk, with header and padding. */
static inline uint64_t wal_header_record_bytes(const struct wal_header *header)
{
    unsigned bytes = header->is_short ? WAL_SHORT_HEADER_BYTES : WAL_HEADER_BYTES;
    return bytes + u64_align_up(header->payload_bytes, WAL_ALIGN_BYTES);
}

/* Reads ranges of a file through a buffer, mostly forward: small reads first, so that a peek at a
 * short tail is cheap, then larger ones. Releasable when zeroed. */
struct wal_reader {
    struct os_file *file;
    uint64_t file_bytes;
    struct buf buf; /* the file's bytes from `base` on */
    uint64_t base;
    size_t ahead_bytes; /* the next read's least size */
};

sombra_err wal_reader_init(struct wal_reader *reader, struct os_file *file) SOMBRA_MUST_CHECK;
void wal_reader_release(struct wal_reader *reader);
/* The range must lie within the file. *out_at lives until the next view. */
sombra_err wal_reader_view(struct wal_reader *reader, uint64_t offset, size_t bytes,
                           const uint8_t **out_at) SOMBRA_MUST_CHECK;
/* The bytes that the reader holds from `offset` on, at least `bytes` of them. */
sombra_err wal_reader_view_some(struct wal_reader *reader, uint64_t offset, size_t bytes,
                                sombra_slice *out) SOMBRA_MUST_CHECK;

/* Reads the record at `at`, behind one with `last_lsn`. *out_is_valid: it stands there whole, in
 * the epoch, and if it is short with the link and the lsn that follow; then the header and the
 * payload (which lives until the reader's next view) are set. */
sombra_err wal_read_record(struct wal_reader *reader, struct wal_position at, uint64_t last_lsn,
                           struct wal_header *out_header, sombra_slice *out_payload,
                           bool *out_is_valid) SOMBRA_MUST_CHECK;

/* The log broke off at `end`, where the record after `last_lsn` should stand. CORRUPT if a valid
 * record of this epoch from there to the file's end knows that record as durable: it was there and
 * rotted. OK if none does: the tail of a crash. */
sombra_err wal_scan_behind(struct wal_reader *reader, struct wal_position end,
                           uint64_t last_lsn) SOMBRA_MUST_CHECK;

#endif
