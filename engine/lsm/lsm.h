/* SPDX-License-Identifier: MIT */
/* lsm: the write-optimised storage engine behind kv/kv.h: a log-structured merge tree in a
 * directory (O'Neil et al. 1996; LevelDB's leveled form).
 *
 * Commits go to a log and to a memtable; full memtables are written as sorted tables, which
 * background threads merge into ever larger levels. See README.md for the files in reading order.
 *
 * Processes: one may write. Others may open the directory read-only, beside it or without it; what
 * they see stays as it was until they refresh (KV_REFRESH).
 *
 * Threads: as kv.h says; any number of readers beside one writer.
 */
#ifndef LSM_H
#define LSM_H

#include "kv/kv.h"
#include "os/os.h"
#include "lsm/table/prefix.h"

enum lsm_codec {
    LSM_CODEC_DEFAULT = 0, /* lz4 where the build has it, else none */
    LSM_CODEC_NONE,
    LSM_CODEC_ZLIB,
    LSM_CODEC_LZ4,
    LSM_CODEC_ZSTD,
};

enum lsm_compaction_style {
    LSM_LEVELED = 0, /* reads and space first; sizes of levels follow the last one */
    LSM_TIERED,      /* writes first: runs of like size are merged */
};

enum { LSM_LEVELS = 7 };

/* Everything 0 means the default. */
struct lsm_options {
    bool create;                   /* make the directory if it is missing */
    bool is_readonly;              /* nothing is written; commits of a writing process appear
                                      after KV_REFRESH */
    unsigned mode;                 /* of new files; 0600 (the directory gets x where r is) */
    enum kv_durability durability; /* of commits that do not say; KV_FULL */
    uint64_t busy_timeout_ms;      /* for opens; 0 = do not wait */
    uint64_t sync_interval_ms;     /* KV_NORMAL: longest time unsynced; 100 */
    uint64_t group_wait_us;        /* KV_GROUP: how long to wait for company; 100 */
    uint64_t memtable_bytes;       /* when a memtable is full; 32 MiB; >= 4 KiB */
    uint64_t wal_bypass_bytes;     /* keys and values of one transaction above which it is not
                                      logged: its commit puts its memtable into tables; half of
                                      memtable_bytes, at least 4 MiB */
    unsigned memtables_max;        /* full ones that wait for their flush; 2 */
    size_t txn_memory_max;         /* memory of one write transaction: above it LIMIT; 0 = only
                                      the machine's */
    size_t block_bytes;            /* of a data block before compression; 16 KiB; 1 KiB..1 MiB */
    unsigned filter_bits;          /* of the Bloom filters, for a key; 10; 1..32;
                                      LSM_NO_FILTER = no filters */
    enum lsm_codec codec;          /* of the levels before the last */
    enum lsm_codec bottom_codec;   /* of the last level; as `codec` */
    uint64_t table_bytes;          /* of a table, about; 16 MiB */
    uint64_t level_bytes;          /* at which the first level behind level 0 is full, at least;
                                      128 MiB */
    unsigned level_ratio;          /* how much larger each next level is; 10 */
    enum lsm_compaction_style style;
    unsigned level0_compact;  /* runs in level 0 that start a compaction; 4 */
    unsigned level0_slow;     /* from which writers are delayed; 12 */
    unsigned level0_stop;     /* at which they wait; 24 */
    unsigned threads;         /* that compact, beside the one that flushes (a memtable far beyond
                                 its bound: two); 1 */
    uint64_t rate_bytes;      /* written by compactions, a second; 0 = no bound */
    size_t cache_bytes;       /* of blocks, filters and indexes in memory; 64 MiB; less where
                                 memory is short */
    uint64_t memory_bytes;    /* that the cache and the tables' pages in the system's cache may
                                 take; 0 = what the system has for them */
    unsigned tables_open_max; /* files held open; 512 */
    bool allows_network;      /* open it on a network file system too */
    struct lsm_prefix prefix; /* .bytes NULL = no prefix filters */
    bool no_background;       /* no thread of its own: the commit that fills a memtable
                                 flushes it and compacts what is due */
};
#define LSM_NO_FILTER (~0U)

/* Opens or creates the store in the directory `path`, recovering it first if it was not closed. The
 * same directory opened twice in one process is one store: the options of the first opener hold.
 * NOT_FOUND without `create`; EXISTS or INVALID where `path` is something else; INVALID for an
 * option out of range; UNSUPPORTED for a newer format or a codec that this build lacks; CORRUPT;
 * BUSY when another process writes it; READONLY, IO, LIMIT, NOMEM. */
sombra_err lsm_open(struct os *os, const char *path, const struct lsm_options *options,
                    struct kv **out_kv) SOMBRA_MUST_CHECK;

/* ---- salvage ----------------------------------------------------------------------------- */

struct lsm_salvage_options {
    unsigned mode; /* of the new files; 0600 */
    struct lsm_prefix prefix;
    kv_progress_fn progress; /* may be NULL; counts files */
    void (*problem)(void *context, const struct kv_problem *problem); /* may be NULL */
    void *context;                                                    /* given to both */
};

struct lsm_salvage_report {
    uint64_t tables;            /* in the damaged store */
    uint64_t tables_damaged;    /* with at least one thing that could not be read */
    uint64_t blocks_lost;       /* of theirs */
    uint64_t entries;           /* in the new store */
    uint64_t entries_uncertain; /* of tables whose age is unknown: they may be older than they
                                   should be, or had been deleted */
    bool has_manifest;          /* else the tables' own numbers say which is newer */
    uint64_t txns_replayed;     /* from the logs, on top of the tables */
    bool is_log_incomplete;     /* newest transactions are lost */
    uint64_t problems;          /* findings, as given to problem */
};

/* Reads what can be read of the damaged store in the directory `path`, which is only read, and
 * writes it to a new one at `to`, which must not exist ("<to>-new" until it is whole). OK whatever
 * was lost: the report and the problems say what. BUSY if a process writes it; EXISTS; NOT_FOUND;
 * INVALID when nothing in it is of a store; CANCELLED, IO, LIMIT, NOMEM: then nothing is at `to`.
 */
sombra_err lsm_salvage(struct os *os, const char *path, const char *to,
                       const struct lsm_salvage_options *options,
                       struct lsm_salvage_report *out_report) SOMBRA_MUST_CHECK;

/* ---- dump -------------------------------------------------------------------------------- */

enum lsm_dump_what { LSM_DUMP_MANIFEST, LSM_DUMP_TABLE, LSM_DUMP_LOG, LSM_DUMP_TABLES };

/* Shows what stands in the files of the store at `path`, line by line, for people who look for a
 * fault. Opens no store and takes no lock: beside a writer the lines may contradict each other.
 * Damage is a line with `problem=`. `number` counts for LSM_DUMP_TABLE. NOT_FOUND, CORRUPT, IO,
 * NOMEM, CANCELLED. */
sombra_err lsm_dump(struct os *os, const char *path, enum lsm_dump_what what, uint64_t number,
                    kv_line_fn line, void *context) SOMBRA_MUST_CHECK;

/* *out_is_there: a store of this engine is in the directory `path`. NOMEM, IO. */
sombra_err lsm_is_at(struct os *os, const char *path, bool *out_is_there) SOMBRA_MUST_CHECK;
/* Of a directory where lsm_is_at finds none: CORRUPT, with what to do, if tables of one are there.
 * IO. */
sombra_err lsm_remains_check(struct os *os, const char *path) SOMBRA_MUST_CHECK;

#endif
