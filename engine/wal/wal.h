/* SPDX-License-Identifier: MIT */
/* wal: one append-only, checksummed redo log file. It knows bytes, not keys.
 *
 * A log is a file of zeros, written ahead, that records fill from offset 0. Each record stands on
 * an 8-byte boundary and carries the log's epoch, its own log sequence number (lsn), its own file
 * offset, the highest lsn known durable when it was written, its predecessor's checksum, and one
 * checksum over all of it. A log is begun anew (`wal_restart`) under a greater epoch: what older
 * epochs left behind no longer counts. The first zero, foreign or damaged header ends the log.
 *
 * Who owns what: the caller numbers the records (lsns run on over restarts and files, each record's
 * is greater than the last), serialises restart, reserve, append and cut, and decides what a record
 * means. A sync may run beside appends.
 *
 * Failure: reserve may fail cleanly (disk full) and changes nothing. After a failed append or sync,
 * the sync of a growth included, the log is over (wal_has_failed): every later write and sync of it
 * is refused with IO, the caller stops writing, closes, and recovers at the next open.
 *
 * Threads: appends and all else from one thread at a time; wal_sync and wal_has_failed from any,
 * beside them. Another process may write the same log when this one does not: wal_cut (or
 * wal_restart) takes over from it.
 */
#ifndef WAL_H
#define WAL_H

#include "os/os.h"

#include "wal_group.h"

struct wal;

/* Where a log stands; what an engine's meta page keeps of it. */
struct wal_position {
    uint64_t epoch;
    uint64_t offset; /* bytes from the file's start; multiple of 8 */
    uint32_t link;   /* checksum of the record before it, of whichever epoch; 0 if there was none */
};

/* ---- lifecycle --------------------------------------------------------------------------- */

/* Makes a new log of `bytes` written zeros (rounded up to 4 KiB), synced, its name synced. EXISTS
 * if the file is there. No record can be appended before wal_restart. */
sombra_err wal_create(struct os *os, const char *path, unsigned mode, uint64_t bytes,
                      struct wal **out_wal) SOMBRA_MUST_CHECK;
/* The same, `bytes` may be 0, and nothing of it synced: quick enough for a writer in a hurry.
 * Growth and wal_sync see to the bytes. The caller sees to the name: before a record counts as
 * durable, or anything durable refers to the log, os_sync_directory_of. */
sombra_err wal_create_unsynced(struct os *os, const char *path, unsigned mode, uint64_t bytes,
                               struct wal **out_wal) SOMBRA_MUST_CHECK;
/* Opens an existing one; nothing is read yet. NOT_FOUND. */
sombra_err wal_open(struct os *os, const char *path, bool is_readonly,
                    struct wal **out_wal) SOMBRA_MUST_CHECK;
void wal_close(struct wal *wal); /* NULL is a no-op; never syncs, never unlinks */
/* Records may be appended with a header of 8 bytes instead of 48. All of this version replay both;
 * a build that knows none refuses the whole log as CORRUPT. */
void wal_use_short_records(struct wal *wal);

/* ---- write ------------------------------------------------------------------------------- */

/* Begins at offset 0 under `epoch` (greater than any before), linked to the record `link`.
 * Writes nothing by itself but a zeroed first header, so that an equal old record cannot count. */
sombra_err wal_restart(struct wal *wal, uint64_t epoch, uint32_t link) SOMBRA_MUST_CHECK;
/* Makes space for one record of `payload_bytes`, growing the file by zeros, written and synced, or
 * while wal_use_window is on by allocated space, neither written nor synced: by as much as there
 * is (8 MiB at most), or an eighth of it (1 MiB at most); 64 KiB at least, or the need; by the bare
 * need on a full disk. For a record of 1 MiB or more always by allocated space, and by no more than
 * it needs: its own sync saves that along. LIMIT when the disk is full, the file would pass
 * `file_bytes_max` or the payload 4 GiB - 1; IO. Unless wal_has_failed then says so, nothing
 * changed. */
sombra_err wal_reserve(struct wal *wal, uint64_t payload_bytes,
                       uint64_t file_bytes_max) SOMBRA_MUST_CHECK;

struct wal_record {
    uint64_t lsn;
    uint64_t durable_lsn; /* highest lsn known durable when the record was written */
    sombra_slice payload;
};
/* Parts of one record at most; more is INVALID and changes nothing. */
enum { WAL_PARTS_MAX = 30 };
/* Appends in one write; the space must have been reserved. The payload is given in parts.
 * `durable_lsn` < `lsn`. */
sombra_err wal_append(struct wal *wal, uint64_t lsn, uint64_t durable_lsn,
                      const struct os_iovec *parts, size_t part_count) SOMBRA_MUST_CHECK;
/* An empty record that says "everything up to durable_lsn is durable". Takes no lsn of its own: it
 * repeats the last one and replay skips it. Reserves its own space, within the `file_bytes_max`
 * last given to wal_reserve, and fails as that does. */
sombra_err wal_append_mark(struct wal *wal, uint64_t last_lsn,
                           uint64_t durable_lsn) SOMBRA_MUST_CHECK;
/* Appends go through a mapped window (no system call) instead of pwrite. For commits that wait for
 * no sync: syncing a mapped store costs twice as much as syncing a write. Only for logs whose file
 * system promises space (os_can_store_mapped): UNSUPPORTED otherwise. Switching is cheap after the
 * first time and may happen between any two appends; the bytes are the same. */
sombra_err wal_use_window(struct wal *wal, bool use) SOMBRA_MUST_CHECK;
/* Where memory is short, after appends: the system is told that what lies some megabytes behind
 * need not stay in its cache. What is recycled ahead comes back in time. Changes no byte. */
void wal_let_go(struct wal *wal);
/* fdatasync: saves every append that returned before the call, windowed ones too. Of a log
 * that is open read-only, what other processes appended. */
sombra_err wal_sync(struct wal *wal) SOMBRA_MUST_CHECK;
/* Takes `at`, behind the record `last_lsn`, for the log's end: zeroes the record header there, if
 * any, and those of the records chained behind it, so that they can never be replayed, and
 * continues there. Writes nothing where zeros are already. For taking over from a writer that died
 * while the system lived; what a crash of the system left behind a hole is outlived only by a new
 * epoch. CORRUPT if the file ends before. */
sombra_err wal_cut(struct wal *wal, struct wal_position at, uint64_t last_lsn) SOMBRA_MUST_CHECK;

/* Where the next record goes. */
struct wal_position wal_position(const struct wal *wal);
uint64_t wal_file_bytes(const struct wal *wal);
/* The log is over: an append, a sync or the sync of a growth failed through this handle. */
bool wal_has_failed(const struct wal *wal);
/* On disk, with header and padding; a short record takes less. */
uint64_t wal_record_bytes(uint64_t payload_bytes);

/* ---- read -------------------------------------------------------------------------------- */

typedef sombra_err (*wal_replay_fn)(void *context, const struct wal_record *record);

struct wal_replay_result {
    struct wal_position end; /* behind the last valid record */
    uint64_t last_lsn;       /* of the last record; `after_lsn` if there was none */
    uint64_t records;        /* replayed, marks not counted */
    uint64_t durable_lsn;    /* greatest mark seen */
};

/* Replays records of epoch `from.epoch` from `from.offset` on, whose lsns are after_lsn + 1, + 2,
 * ... and whose links hold. The first record that does not fit ends the log: that is the crash's
 * tail, unless any record behind it, to the end of the file, is valid in this epoch and knows an
 * lsn >= the missing one as durable: then bytes rotted and the answer is CORRUPT with the file and
 * offset. A payload slice lives until `each` returns. An error of `each` ends the replay and is
 * returned. */
sombra_err wal_replay(struct wal *wal, struct wal_position from, uint64_t after_lsn,
                      wal_replay_fn each, void *context,
                      struct wal_replay_result *out_result) SOMBRA_MUST_CHECK;
/* The same for a range whose end is known, of a log that lives: a bad record before `end_offset`
 * is CORRUPT, and nothing behind it is looked at. O(bytes of the range). */
sombra_err wal_replay_range(struct wal *wal, struct wal_position from, uint64_t end_offset,
                            uint64_t after_lsn, wal_replay_fn each, void *context,
                            struct wal_replay_result *out_result) SOMBRA_MUST_CHECK;
/* The epoch of the first record of the file; 0 when it holds none that is valid. */
sombra_err wal_first_epoch(struct wal *wal, uint64_t *out_epoch) SOMBRA_MUST_CHECK;

#endif
