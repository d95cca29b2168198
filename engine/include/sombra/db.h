/* SPDX-License-Identifier: MIT */
/* db: databases, transactions, savepoints, maintenance.
 *
 * Ownership: who opens closes, in any order. Closing a database aborts its open transactions;
 * ending a transaction closes what was opened from it. Handles of what is over stay valid memory,
 * answer INVALID ("the transaction is over"), and are still freed by their own close or free.
 *
 * Transactions: any number of readers, each on a snapshot, beside one writer; serializable.
 * Readers never wait. A call that fails leaves the transaction as it was before the call, unless
 * the text says that it must be rolled back (after IO, NOMEM or CORRUPT in a write): then it
 * refuses everything but abort, close and rollback to a savepoint.
 *
 * Processes: up to 256 of one machine may have a file open, by paths that lead to one directory;
 * not over a network. The one writer is one among all of them. After fork() the child's handles
 * answer INVALID; it may open the file again.
 *
 * Threads: any thread may use a database; closing it needs that no other thread is in a call on it
 * or on its transactions, and with an open writer it is for the writer's thread. A transaction: one
 * thread at a time; a writer stays on its thread.
 */
#ifndef SOMBRA_DB_H
#define SOMBRA_DB_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sombra_db sombra_db;
typedef struct sombra_txn sombra_txn;

typedef enum sombra_durability {
    SOMBRA_DURABILITY_DEFAULT = 0, /* open: full; commit: as the database was opened */
    SOMBRA_DURABILITY_FULL = 1,    /* durable when commit returns; committers share one sync */
    SOMBRA_DURABILITY_GROUP = 2,   /* waits all of group_wait_us for company, then as full */
    SOMBRA_DURABILITY_NORMAL = 3,  /* synced in the background every sync_interval_ms */
    SOMBRA_DURABILITY_OFF = 4,     /* synced by checkpoints, others' syncs and the last close */
} sombra_durability;

/* Timeouts in milliseconds; 0 in an options struct means the default. */
#define SOMBRA_WAIT_FOREVER UINT64_MAX
#define SOMBRA_WAIT_NOT     (UINT64_MAX - 1)

typedef struct sombra_options {
    size_t struct_bytes;
    const char *engine; /* "btree" or "lsm"; NULL: what is there, for a new database "btree" */
    bool create;        /* make it if it is missing */
    bool readonly;      /* write transactions are refused; the lock file alone is written */
    sombra_durability durability;
    uint64_t busy_timeout_ms;  /* a writer's wait for its turn, a checkpoint's and a verify's for
                                  writers, an open's for others; 5,000 */
    size_t page_bytes;         /* new databases only: a power of two, 4,096 to 65,536 */
    uint64_t sync_interval_ms; /* durability normal; default 100 */
    uint64_t group_wait_us;    /* durability group */
    size_t txn_memory_max;     /* bytes of changes a writer keeps before it spills to the file, and
                                  of its redo before it commits as a checkpoint; 64 MiB */
    size_t wal_bypass_bytes;   /* a transaction that logs more commits as a checkpoint instead */
    unsigned mode;             /* of new files, logs and lock file too; default 0600 */
    bool network_files;        /* open it on a network file system, which is else refused: nobody on
                                  another machine may have it open meanwhile */
    bool no_auto_compact;      /* the file is made shorter on request only (sombra_db_compact) */
    /* Of the engine lsm alone: INVALID with another. 0 and NULL are the defaults. */
    size_t cache_bytes;          /* memory for blocks, indexes and filters; 64 MiB */
    size_t memtable_bytes;       /* changes kept in memory before they become a table; 32 MiB */
    size_t block_bytes;          /* of a block before compression, 1 KiB to 1 MiB; 16 KiB. Larger:
                                    denser and faster to scan, slower point reads */
    unsigned filter_bits;        /* of the filters, for a key; 10. SOMBRA_NO_FILTER for none */
    const char *codec;           /* "none", "lz4", "zlib", "zstd"; lz4 where the build has it */
    const char *bottom_codec;    /* of the last level, where most of the data is; as codec */
    const char *compaction;      /* "leveled" or "tiered" (writes less, reads and stores more) */
    uint64_t table_bytes;        /* of one table, about; 16 MiB */
    uint64_t level_bytes;        /* of the first level behind level 0; 128 MiB */
    unsigned level_ratio;        /* of the sizes of two levels; 10 */
    unsigned compaction_threads; /* 1 */
    uint64_t compaction_rate;    /* bytes a second that compactions write at most; 0 = no bound */
    /* Of both. */
    uint64_t memory_bytes; /* that the database may count on for its files' pages in the system's
                              cache; 0 = what the system has. Larger files: memory is short, and
                              they are read and written in other ways (operations.md) */
} sombra_options;
#define SOMBRA_NO_FILTER (~0U)

#define SOMBRA_OPTIONS_INIT                    \
    {                                          \
        .struct_bytes = sizeof(sombra_options) \
    }

/* ---- databases --------------------------------------------------------------------------- */

/* Opens the database at `path`; ":memory:" is a new one without a file. `options` may be NULL. The
 * same path opened twice in a process shares one store. A directory that holds a database is one of
 * the engine lsm, a file one of btree: `engine` counts for new ones. NOT_FOUND (missing, and create
 * is not set), CORRUPT, BUSY, READONLY, UNSUPPORTED, INVALID (an option), IO, LIMIT, NOMEM. */
SOMBRA_API sombra_err sombra_open(const char *path, const sombra_options *options,
                                  sombra_db **out_db) SOMBRA_MUST_CHECK;

/* Aborts its open transactions, closes and frees it; NULL is a no-op. The last process to close
 * brings everything into the one file. An error is about what that had to write (nothing
 * acknowledged as durable is at stake); the handle is gone all the same. */
SOMBRA_API sombra_err sombra_close(sombra_db *db);

/* As given to sombra_open; lives as long as the handle. */
SOMBRA_API const char *sombra_db_path(const sombra_db *db);
SOMBRA_API const char *sombra_db_engine(const sombra_db *db); /* "btree" or "lsm" */
SOMBRA_API bool sombra_db_is_readonly(const sombra_db *db);

/* ---- transactions ------------------------------------------------------------------------ */

typedef struct sombra_txn_options {
    size_t struct_bytes;
    bool is_write;
    bool needs_durable;       /* readers: see only what is durable already; may wait for a sync */
    uint64_t busy_timeout_ms; /* writers; default: the database's */
    /* Writers: asked now and then while they wait for their turn; false gives CANCELLED. It must
     * not use the database. NULL = nobody is asked. */
    bool (*waits_on)(void *context);
    void *context;
} sombra_txn_options;

#define SOMBRA_TXN_OPTIONS_INIT                    \
    {                                              \
        .struct_bytes = sizeof(sombra_txn_options) \
    }

/* `options` NULL is a reader. BUSY: the timeout passed, or this thread has the write transaction
 * already; READONLY. The handle is freed by sombra_txn_close. */
SOMBRA_API sombra_err sombra_txn_begin(sombra_db *db, const sombra_txn_options *options,
                                       sombra_txn **out_txn) SOMBRA_MUST_CHECK;
/* Ends it, whatever is returned; on an error nothing of it is visible, unless the text says that
 * the outcome is unknown. A reader just ends. INVALID if it is over already. */
SOMBRA_API sombra_err sombra_txn_commit(sombra_txn *txn,
                                        sombra_durability durability) SOMBRA_MUST_CHECK;
/* Ends it and undoes it; nothing happens if it is over. */
SOMBRA_API void sombra_txn_abort(sombra_txn *txn);
/* Aborts it if it is open, and frees the handle; NULL is a no-op. */
SOMBRA_API void sombra_txn_close(sombra_txn *txn);

SOMBRA_API bool sombra_txn_is_open(const sombra_txn *txn);
SOMBRA_API bool sombra_txn_is_write(const sombra_txn *txn); /* also when it is over */

/* While it is set, writes of this transaction give READONLY: for code that may read in a writer's
 * transaction. Returns what was set before. */
SOMBRA_API bool sombra_txn_set_readonly(sombra_txn *txn, bool is_readonly);

typedef struct sombra_txn_poll {
    sombra_err (*ask)(void *context); /* NULL = nobody is asked */
    void *context;
} sombra_txn_poll;

/* Until it is set again or the transaction ends, it is asked now and then by what writes many at
 * once (batches, new indexes, the edges of a node that goes), and must not use the transaction.
 * What it returns but OK ends that; if something was written by then, only a rollback, whole or to
 * a savepoint, is left. Returns what was set before. */
SOMBRA_API sombra_txn_poll sombra_txn_set_poll(sombra_txn *txn, sombra_txn_poll poll);

/* ---- savepoints (writers) ---------------------------------------------------------------- */

/* Marks nest; a mark is a number of this transaction only. */
SOMBRA_API sombra_err sombra_txn_savepoint(sombra_txn *txn, uint64_t *out_mark) SOMBRA_MUST_CHECK;
/* Undoes what came after the mark; the mark stays, later ones are gone. Open iterators go on from
 * where they stand. INVALID for a mark that is not set (any more). */
SOMBRA_API sombra_err sombra_txn_rollback_to(sombra_txn *txn, uint64_t mark) SOMBRA_MUST_CHECK;
/* Forgets the mark and later ones; what was done since stays. */
SOMBRA_API sombra_err sombra_txn_release(sombra_txn *txn, uint64_t mark) SOMBRA_MUST_CHECK;

/* ---- statistics and maintenance ---------------------------------------------------------- */

enum { SOMBRA_LEVELS_MAX = 8 };
typedef struct sombra_level_stats {
    uint64_t runs, tables, bytes, entries, deletes;
} sombra_level_stats;

typedef struct sombra_stats {
    size_t struct_bytes; /* in: as compiled */
    uint64_t nodes, edges;
    uint64_t entries;          /* keys of the store, all structures together */
    uint64_t txn;              /* number of the newest committed transaction */
    uint64_t lsn, durable_lsn; /* newest log record, newest one known durable */
    uint64_t depth;            /* levels of the tree */
    uint64_t page_bytes;       /* 0 for engines without pages */
    uint64_t pages_total, pages_free, pages_pending;
    uint64_t file_bytes, log_bytes, memory_bytes;
    uint64_t readers; /* open snapshots, of all processes */
    uint64_t oldest_reader_txn;
    uint64_t oldest_reader_age_ms;
    uint64_t checkpoints, commits;  /* since this process opened it */
    uint64_t txns_open;             /* of this handle */
    uint64_t oldest_reader_process; /* its process id; 0 if there is none */
    uint64_t compact_txn;           /* newest txn when the last compaction ended; 0 = none yet */
    uint64_t compact_pages_moved, compact_pages_returned; /* by it; what it made the file shorter */
    bool is_entries_estimate; /* `entries` is not exact: engines that do not count */
    unsigned levels;          /* engines with levels: how many there are; else 0 */
    sombra_level_stats level[SOMBRA_LEVELS_MAX];
    uint64_t memtable_bytes, cache_bytes;
    uint64_t compaction_debt_bytes; /* what compaction has yet to rewrite */
    bool refuses_writes;            /* a write or sync failed: until every process has closed it */
    /* Engines with levels: what all processes counted since the database was made. Bytes given by
     * writers, and written for them; lookups that a filter spared, and that it should have; commits
     * that waited for flushes or compactions, and how long. */
    uint64_t total_commit_bytes, total_log_bytes, total_flush_bytes, total_compaction_bytes;
    uint64_t total_filter_skips, total_filter_false_positives;
    uint64_t total_stalls, total_stall_ns;
    uint64_t pages_read; /* of pages_pending, what open snapshots need; the rest, checkpoints */
} sombra_stats;

#define SOMBRA_STATS_INIT                    \
    {                                        \
        .struct_bytes = sizeof(sombra_stats) \
    }

SOMBRA_API sombra_err sombra_db_stats(sombra_db *db, sombra_stats *stats) SOMBRA_MUST_CHECK;

/* Return false to cancel; the job then gives CANCELLED. Called on the caller's thread; must not
 * use the database, and must return (no longjmp). `total` is 0 while unknown. */
typedef bool (*sombra_progress_fn)(void *context, uint64_t done, uint64_t total);

/* One finding of verify; the text lives until the callback returns. */
typedef struct sombra_problem {
    sombra_err code;
    uint64_t page;       /* 0 if it is not about one page */
    const char *message; /* what is wrong, and where */
} sombra_problem;
typedef void (*sombra_problem_fn)(void *context, const sombra_problem *problem);

typedef struct sombra_job {
    size_t struct_bytes;
    sombra_progress_fn progress; /* may be NULL */
    sombra_problem_fn problem;   /* verify; may be NULL */
    void *context;               /* given to both */
} sombra_job;

#define SOMBRA_JOB_INIT                    \
    {                                      \
        .struct_bytes = sizeof(sombra_job) \
    }

/* `job` may be NULL in each of them. */

/* Brings everything committed into the main file, durably, and empties the log. Nothing happens
 * where the database is readonly. BUSY when another's write transaction lasts longer than the
 * database's busy timeout; CANCELLED, if `job` says so while it waits for that. */
SOMBRA_API sombra_err sombra_db_checkpoint(sombra_db *db, const sombra_job *job) SOMBRA_MUST_CHECK;
/* Walks the store and the graph and reports what is wrong. OK when the walk was done, whatever it
 * found. Writers of all processes wait while the store is walked (not for a database that is
 * readonly: then nobody may write meanwhile), and go on while the graph is. BUSY and CANCELLED as
 * of a checkpoint; CANCELLED also in the middle. */
SOMBRA_API sombra_err sombra_db_verify(sombra_db *db, const sombra_job *job,
                                       uint64_t *out_problems) SOMBRA_MUST_CHECK;
/* Makes the file about as long as a backup of it would be: packs sparse pages, moves the last ones
 * into gaps, cuts the end off (or punches a hole there while other processes have it open). In
 * short write transactions, so that everybody goes on; a snapshot that is kept open keeps what it
 * sees. It waits for write transactions of others however long they are, and asks `job` meanwhile.
 * Progress counts pages looked at, and `total` is a guess. CANCELLED: what was done stays.
 * BUSY when this thread has the write transaction; READONLY. */
SOMBRA_API sombra_err sombra_db_compact(sombra_db *db, const sombra_job *job) SOMBRA_MUST_CHECK;
/* Writes a consistent copy to `path`, which must not exist (EXISTS); writers go on. */
SOMBRA_API sombra_err sombra_db_backup(sombra_db *db, const char *path,
                                       const sombra_job *job) SOMBRA_MUST_CHECK;

/* Databases that were opened read-only beside a writing process and do not follow it by themselves
 * (engine lsm): what begins from now on sees what is committed by now. Else nothing happens. After
 * an error it sees what it saw: CONFLICT or CORRUPT where somebody put older files there. */
SOMBRA_API sombra_err sombra_db_refresh(sombra_db *db) SOMBRA_MUST_CHECK;

/* ---- copies between engines -------------------------------------------------------------- */

/* Copies the database at `path`, which is opened read-only, to a new one at `to`, which must not
 * exist (EXISTS), made with `options` (`create` is understood): so a database changes its engine,
 * its page size or its codec. What is at `to` refuses to open until the copy is whole and durable;
 * after a failure, remove it. *out_entries, if given: how many keys there are. CANCELLED. */
SOMBRA_API sombra_err sombra_copy(const char *path, const char *to, const sombra_options *options,
                                  const sombra_job *job, uint64_t *out_entries) SOMBRA_MUST_CHECK;

/* ---- repair ------------------------------------------------------------------------------ */

/* What a repair found. Entries are keys of the store, of which a node or an edge has several. */
typedef struct sombra_repair_report {
    size_t struct_bytes;        /* in: as compiled */
    uint64_t pages;             /* of the damaged file */
    uint64_t page_bytes;        /* of each */
    uint64_t pages_damaged;     /* that were needed and could not be read */
    uint64_t entries;           /* taken from the damaged file */
    uint64_t entries_unreached; /* of these, from pages that nothing leads to any more */
    uint64_t entries_uncertain; /* of these, nothing says that the page was still in use: some may
                                   be older than the others, or had been deleted */
    uint64_t entries_lost;      /* known to have been there and not found */
    bool is_lost_exact;         /* else more may be lost */
    bool is_log_incomplete;     /* the newest transactions are lost */
    uint64_t values_lost;       /* of entries_lost, those whose key was found and value damaged */
    uint64_t ranges_lost;       /* of keys; each is a problem that names its bounds */
    uint64_t txns_replayed;     /* taken from the log beside the file */
    uint64_t problems;          /* damage of the old file, as given to the job's problem */
    uint64_t problems_left;     /* what verify finds in the new one after all, given to it too */
    /* What was done so that the new one is sound. */
    uint64_t
        entries_rebuilt; /* put again, as other entries tell: of labels, names, ends of edges */
    uint64_t entries_dropped; /* left without what they belong to, and taken out */
    uint64_t edges_bare;      /* that are there, and their properties lost */
    uint64_t names_made;      /* "lost-label-7", "lost-bucket-2" ... in place of lost ones */
    uint64_t rules_rebuilt;   /* indexes made anew, constraints proved again */
    uint64_t rules_dropped;   /* that what is left breaks, or that are lost themselves */
    uint64_t problems_mended; /* given to the job's problem: each thing lost by the above */
} sombra_repair_report;

#define SOMBRA_REPAIR_REPORT_INIT                    \
    {                                                \
        .struct_bytes = sizeof(sombra_repair_report) \
    }

/* Reads all that can be read of the damaged database at `path`, which is not changed, and writes it
 * to a new one at `to`, which must not exist. Then what the loss broke is mended there: what other
 * entries tell is put again, indexes are made anew, and what is left without its node, say, is
 * taken out. OK when that was done, whatever was lost: `report` says what. BUSY if it is open for
 * writing; EXISTS; NOT_FOUND; INVALID when nothing of a database is in it; UNSUPPORTED, CANCELLED,
 * IO, LIMIT, NOMEM: then nothing is at `to`. */
SOMBRA_API sombra_err sombra_repair(const char *path, const char *to, const sombra_job *job,
                                    sombra_repair_report *report) SOMBRA_MUST_CHECK;

/* ---- dump -------------------------------------------------------------------------------- */

typedef enum sombra_dump_what {
    SOMBRA_DUMP_META = 0, /* the records that say where everything is; lsm: the manifest */
    SOMBRA_DUMP_PAGE = 1, /* one page and what is on it; lsm: one table */
    SOMBRA_DUMP_LOG = 2,  /* the records behind the newest checkpoint */
    SOMBRA_DUMP_TREE = 3  /* each page of the tree of the newest checkpoint; lsm: all tables */
} sombra_dump_what;

/* One line of text; it lives until the function returns. False cancels: CANCELLED. */
typedef bool (*sombra_dump_fn)(void *context, const char *line);

/* Shows how the database at `path` is stored, for people who look for a fault in the engine. A line
 * is a word and fields, "page number=12 kind=leaf"; keys and values are hexadecimal; `problem=` is
 * the last field of its line. The form may change in any version. Reads the files alone, without a
 * lock: beside a writer lines may contradict each other. `page` counts for SOMBRA_DUMP_PAGE.
 * NOT_FOUND, CORRUPT if no meta record is sound, IO, NOMEM. */
SOMBRA_API sombra_err sombra_dump(const char *path, sombra_dump_what what, uint64_t page,
                                  sombra_dump_fn line, void *context) SOMBRA_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
