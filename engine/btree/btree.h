/* SPDX-License-Identifier: MIT */
/* btree: the single-file storage engine behind kv/kv.h.
 *
 * A counted copy-on-write B+tree, read through a read-only memory map, with a logical redo log
 * beside it
 * (`<path>-log0`, `<path>-log1`). See README.md for the files in reading order.
 *
 * Threads: as kv.h says; any number of readers beside one writer, readers take no lock.
 */
#ifndef BTREE_H
#define BTREE_H

#include "kv/kv.h"
#include "os/os.h"

/* Everything 0 means the default. */
struct btree_options {
    bool create;                   /* make the file if it is missing */
    bool is_readonly;              /* nothing is written but the lock file, not even a recovery */
    unsigned mode;                 /* of new files; 0600 */
    size_t page_bytes;             /* of a new file: 4096 ... 65536, a power of two; 8192 */
    enum kv_durability durability; /* of commits that do not say; KV_FULL */
    uint64_t busy_timeout_ms;      /* for opens and closes of others; 0 = do not wait */
    uint64_t sync_interval_ms;     /* KV_NORMAL: longest time unsynced; 100 */
    uint64_t group_wait_us;        /* KV_GROUP: how long to wait for company; 100 */
    uint64_t checkpoint_log_bytes; /* log that starts a checkpoint; as much as the tree has, from
                                      64 to 128 MiB */
    uint64_t wal_bypass_bytes;     /* redo of one transaction above which it commits as a checkpoint
                                      instead of through the log; 16 MiB */
    uint64_t txn_memory_max;       /* changed pages that a write transaction keeps in memory where
                                      they are not stored through a mapping: more are spilled to
                                      the file; 64 MiB. If given, it bounds the redo as well, as
                                      wal_bypass_bytes does. The pages of one operation come on
                                      top */
    uint64_t memory_bytes;         /* that the file's pages in the system's cache may take; 0 = what
                                      the system has for them. If the file is larger, memory is
                                      short: decision 0018 says what follows */
    uint64_t map_bytes_max;        /* address space reserved for the file; 1 TiB, less if refused */
    bool allows_network;           /* open files of network file systems: only one machine may */
    bool no_mapped_stores;         /* write pages by system calls, not through a writable mapping */
    bool no_auto_compact;          /* compact on request only */
    bool no_background;            /* no thread of its own: checkpoints run in the commit that
                                      triggers them, KV_NORMAL commits sync when the interval passed,
                                      nothing is compacted but on request */
};

/* The name of a database without a file. */
#define BTREE_MEMORY ":memory:"

/* Opens or creates the file at `path` (or BTREE_MEMORY), recovering it first if it was not closed.
 * The same file opened twice in one process is one store: the options of the first opener hold.
 * NOT_FOUND without `create`; INVALID for an option out of range or a file that is no database;
 * UNSUPPORTED for a newer format, or beside a process of another version; CORRUPT; BUSY when
 * another process opens or closes it for longer than the timeout, or when writers and a reader that
 * may not write the lock file exclude each other; CONFLICT when it was moved while others have it
 * open; READONLY, IO, LIMIT, NOMEM. */
sombra_err btree_open(struct os *os, const char *path, const struct btree_options *options,
                      struct kv **out_kv) SOMBRA_MUST_CHECK;

/* ---- salvage ----------------------------------------------------------------------------- */

struct btree_salvage_options {
    unsigned mode;           /* of the new file; 0600 */
    kv_progress_fn progress; /* may be NULL; counts pages */
    void (*problem)(void *context, const struct kv_problem *problem); /* may be NULL */
    void *context;                                                    /* given to both */
};

struct btree_salvage_report {
    size_t page_bytes;
    uint64_t pages;             /* of the damaged file */
    uint64_t pages_damaged;     /* that were needed and could not be read */
    uint64_t entries;           /* taken from its tree */
    uint64_t entries_unreached; /* of these, from leaves that no sound branch leads to */
    uint64_t entries_uncertain; /* of these, where no space map says that the leaf was in use: some
                                   may be older than they should be, or had been deleted */
    uint64_t entries_lost;      /* known to have been there and not found */
    bool is_lost_exact;         /* else there may be more */
    uint64_t values_lost;       /* of these, the key was there and its value damaged */
    uint64_t ranges_lost;       /* of keys, with at least one lost entry; named by problem */
    uint64_t txns_replayed;     /* from the log, on top of the tree */
    bool is_log_incomplete;     /* newest transactions are lost */
    uint64_t problems;          /* findings, as given to problem */
};

/* Reads what can be read of the damaged database at `path`, which is only read, and writes it to a
 * new one at `to`, which must not exist. OK whatever was lost: the report and the problems say
 * what. BUSY if it is open for writing; EXISTS; INVALID when nothing in it is of a database;
 * UNSUPPORTED for a newer format; CANCELLED; IO and LIMIT of the new file; NOMEM. Nothing is at
 * `to` then. */
sombra_err btree_salvage(struct os *os, const char *path, const char *to,
                         const struct btree_salvage_options *options,
                         struct btree_salvage_report *out_report) SOMBRA_MUST_CHECK;

/* ---- dump -------------------------------------------------------------------------------- */

enum btree_dump_what { BTREE_DUMP_META, BTREE_DUMP_PAGE, BTREE_DUMP_LOG, BTREE_DUMP_TREE };

/* Shows what stands in the files of the database at `path`, line by line, for people who look for a
 * fault (kv_lines.h has the form). Opens no store and takes no lock: beside a writer the lines may
 * contradict each other. Damage is a line with `problem=`. `page` counts for BTREE_DUMP_PAGE.
 * NOT_FOUND, also for a page that is not there; CORRUPT without a sound meta record, but for
 * BTREE_DUMP_META; IO, NOMEM, CANCELLED. */
sombra_err btree_dump(struct os *os, const char *path, enum btree_dump_what what, uint64_t page,
                      kv_line_fn line, void *context) SOMBRA_MUST_CHECK;

#endif
