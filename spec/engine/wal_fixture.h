/* SPDX-License-Identifier: MIT */
/* wal_fixture: what the log's tests share: a log in a fresh directory, records whose payload
 * follows from their lsn, and a replay that checks them. Failures end the test. */
#ifndef WAL_FIXTURE_H
#define WAL_FIXTURE_H

#include "assert_err.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

#define LOG_BYTES_MAX ((uint64_t)1 << 30)

/* A directory of its own under TMPDIR or /tmp, and the path of a log in it. */
struct log_place {
    char directory[64];
    char path[96];
};
void log_place_init(struct log_place *place);
void log_place_release(struct log_place *place);

/* The payload of record `lsn` in the given size; lives until the next call. */
sombra_slice log_payload(uint64_t lsn, size_t bytes);
/* The size that log_append uses: 0 to 255 bytes. */
size_t log_payload_bytes(uint64_t lsn);
/* Reserves and appends record `lsn` in two parts. */
void log_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn);
void log_append_bytes(struct wal *wal, uint64_t lsn, uint64_t durable_lsn, size_t bytes);
/* The same without failing the test. */
sombra_err log_try_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn, size_t bytes);

/* wal_replay that compares every payload with log_payload. */
sombra_err log_replay(struct wal *wal, struct wal_position from, uint64_t after_lsn,
                      struct wal_replay_result *out_result);
/* A replay from {epoch, 0, link 0} after lsn 0 that must give `records`. */
void log_expect(struct wal *wal, uint64_t epoch, uint64_t records);

/* The whole file. */
void log_load(const char *path, struct buf *out);
void log_store(const char *path, sombra_slice bytes);
/* Gives the record at `offset` of a loaded log the checksum that its bytes ask for. */
void log_seal(struct buf *file, size_t offset);

uint64_t log_seed(void); /* SOMBRA_SEED or one of today's; printed */

#endif
