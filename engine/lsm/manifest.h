/* SPDX-License-Identifier: MIT */
/* manifest: the append-only log of edits, in the file "MANIFEST" (a wal file). manifest_format.h
 * draws its records.
 *
 * The first record is a whole version; each further record is an edit. Replaced by writing
 * "MANIFEST-new", sync, rename, sync of the directory: with the first edit after an open (what was
 * read may be page cache that the disk never got) and when it has outgrown its version. A failed
 * append or sync ends the file for ever.
 *
 * Order on every change, kept by manifest_commit's callers: tables written and synced, directory
 * synced, then manifest_commit (append, sync), only then anything unlinked.
 *
 * Threads: one at a time.
 */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include "version.h"
#include "wal/wal.h"

struct manifest;

/* Counters that are kept when a process closes, from the first one that had the store; on disk:
 * append only. */
enum manifest_total {
    TOTAL_COMMIT_BYTES,
    TOTAL_LOG_BYTES,
    TOTAL_FLUSH_BYTES,
    TOTAL_COMPACTION_BYTES, /* written by them */
    TOTAL_FILTER_SKIPS,
    TOTAL_FILTER_FALSE,
    TOTAL_STALLS,
    TOTAL_STALL_NS,
    TOTAL_COUNT,
};

/* What it says beside the tables. */
struct manifest_state {
    uint64_t version;     /* number of the version */
    uint64_t next_number; /* for files: greater than any in it */
    uint64_t next_run;
    uint64_t seq;         /* newest commit in tables */
    uint64_t log_seq;     /* logs that begin before it are not needed */
    bool is_clean;        /* closed after everything was flushed, no log is needed */
    uint8_t identity[16]; /* of the store, random */
    uint64_t totals[TOTAL_COUNT];
};

/* Reads it; changes nothing. NOT_FOUND when there is none: no store is here. UNSUPPORTED for a
 * newer format, CORRUPT. Another process may be writing it. */
sombra_err manifest_read(struct os *os, const char *directory, struct table_cache *cache,
                         struct manifest_state *out_state,
                         struct version **out_version) SOMBRA_MUST_CHECK;
/* One of which this process has written nothing so far: manifest_rewrite comes before any commit.
 */
sombra_err manifest_new(struct os *os, const char *directory, unsigned mode,
                        struct manifest **out_manifest) SOMBRA_MUST_CHECK;
/* The same, written with this content. */
sombra_err manifest_create(struct os *os, const char *directory, unsigned mode,
                           const struct manifest_state *state, const struct version *version,
                           struct manifest **out_manifest) SOMBRA_MUST_CHECK;
void manifest_close(struct manifest *manifest); /* NULL is a no-op; writes nothing */
/* Appends and syncs one edit; `state` is what holds after it (its version = the new one's, the
 * other numbers not below the last ones). LIMIT and NOMEM leave it usable and the edit undone;
 * manifest_has_failed tells where the edit may have reached the disk. */
sombra_err manifest_commit(struct manifest *manifest, const struct edit *edit,
                           const struct manifest_state *state) SOMBRA_MUST_CHECK;
/* Puts a new file with this content in its place. Where the old one is still in place after an
 * error, nothing changed; else the manifest has failed. */
sombra_err manifest_rewrite(struct manifest *manifest, const struct manifest_state *state,
                            const struct version *version) SOMBRA_MUST_CHECK;
/* Its edits have outgrown the version: a rewrite is due. */
bool manifest_has_outgrown(const struct manifest *manifest);
uint64_t manifest_bytes(const struct manifest *manifest);
bool manifest_has_failed(const struct manifest *manifest);
/* This process has written it, and may commit to it. */
bool manifest_is_written(const struct manifest *manifest);

#endif
