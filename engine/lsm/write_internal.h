/* SPDX-License-Identifier: MIT */
/* What the files of the write path share: the writer's turn, the write transaction, group commit,
 * the pool of readers; and what opening asks of the logs.
 *
 * Lock order: turn < the mutex of writer->group; turn < lsm->mutex; the mutex of a shard is the
 * last.
 */
#ifndef LSM_WRITE_INTERNAL_H
#define LSM_WRITE_INTERNAL_H

#include "lsm_internal.h"

/* ---- the write transaction --------------------------------------------------------------- */

struct lsm_savepoint {
    uint64_t number; /* what the caller knows it by */
    struct memtable_mark mark;
    size_t redo_bytes;
    uint64_t given_bytes;
};

struct lsm_write {
    struct buf redo;  /* operations, as in log_format.h: the payload of the log record */
    bool is_unlogged; /* there are too many for one: its commit is the flush of its memtable */
    struct lsm_savepoint *savepoints;
    size_t savepoint_count, savepoint_capacity;
    uint64_t next_savepoint;
    uint64_t given_bytes;    /* of keys and values */
    size_t memtable_bytes;   /* that the memtable had when the transaction began */
    struct lsm_early *early; /* NULL until something is worth it */
};

struct lsm_writer {
    _Atomic uint32_t turn;        /* 0 free, 1 taken, 2 taken and waited for */
    _Atomic uintptr_t turn_owner; /* names the thread that has the turn; 0 = nobody */
    _Atomic uint32_t stalled;     /* who waits in lsm_stall_wait: the store may not be closed */

    /* All below, up to the group: who has the turn. */
    struct lsm_txn txn; /* the one write transaction */
    struct lsm_write write;
    struct memtable *active;     /* the view's first, referenced */
    size_t memtable_bytes_max;   /* of it: then the next write transaction begins another */
    struct lsm_log *log;         /* its log; NULL until the first commit behind an open */
    bool resumes;                /* it has what was replayed, and its log goes on: see
                                    lsm_logs_resume */
    uint64_t kept_seq;           /* the newest commit of what a full disk kept from becoming tables
                                    at open, which the logs have; else 0 */
    _Atomic bool is_unsaved;     /* what was found then may be page cache that the disk never got:
                                    before it is promised to be durable, lsm_log_begin */
    _Atomic(struct view *) view; /* of the last transaction, kept while it is the newest */

    struct wal_group group;        /* one sync of the log for all threads that wait for one */
    _Atomic uint64_t last_sync_ns; /* coarse clock */
    _Atomic uint64_t normal_seq;   /* newest KV_NORMAL commit: the background syncs it */
    _Atomic bool mark_wanted;      /* something was synced that no mark in the log is behind */
};

/* Makes the memtable the one that transactions write to; the reference is taken over. The turn is
 * held, or nobody else has the store. */
void lsm_writer_begin_with(struct lsm *lsm, struct memtable *active);

/* ---- commit.c ---------------------------------------------------------------------------- */

extern const struct wal_group_ops lsm_group_ops; /* of writer->group; its context is the store */
/* What the open found is durable when it returns. The turn is held. LIMIT, on a full disk. */
sombra_err lsm_opened_save(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Commits up to `seq` are durable when it returns, if those before the open are. */
sombra_err lsm_commit_sync(struct lsm *lsm, uint64_t seq) SOMBRA_MUST_CHECK;
sombra_err lsm_commit_write(struct lsm_txn *txn, enum kv_durability durability) SOMBRA_MUST_CHECK;

/* ---- txn.c ------------------------------------------------------------------------------- */

/* It has put and deleted nothing, or took all of that back. */
bool lsm_write_is_empty(const struct lsm_txn *txn);
/* Takes what the transaction wrote off the memtable again. */
void lsm_txn_undo(struct lsm_txn *txn);
/* Ends the write transaction and gives the turn away. */
void lsm_txn_end_write(struct lsm_txn *txn);
/* The same behind a commit, which may have filled the memtable: then another takes its place, and
 * its flush begins. */
void lsm_txn_end_commit(struct lsm_txn *txn);

/* ---- early.c ----------------------------------------------------------------------------- */

/* The keys [low, high], both included, are about to be written by the transaction, which is in no
 * log: tables of them are not good any more. */
void lsm_early_touch(struct lsm_txn *txn, sombra_slice low, sombra_slice high);
/* The transaction, which is in no log, has more to put: what it and others have put until now may
 * go into tables. Never fails. */
void lsm_early_begin(struct lsm_txn *txn);
/* The transaction has put `count` entries, of ascending keys from `low` up to `high` and `bytes` in
 * all. Never fails: what cannot be made now is made by the commit. */
void lsm_early_put(struct lsm_txn *txn, sombra_slice low, sombra_slice high, size_t count,
                   uint64_t bytes);
/* Writes were taken back, or a range hidden: nothing that was made is good. */
void lsm_early_forget(struct lsm_txn *txn);
/* The transaction ends: removes what was not kept. */
void lsm_early_end(struct lsm_txn *txn);

/* ---- readers.c --------------------------------------------------------------------------- */

sombra_err lsm_readers_new(struct lsm *lsm) SOMBRA_MUST_CHECK;
void lsm_readers_free(struct lsm *lsm);
sombra_err lsm_readers_begin(struct lsm *lsm, struct lsm_txn **out_txn) SOMBRA_MUST_CHECK;
void lsm_readers_end(struct lsm_txn *txn);
uint64_t lsm_readers_count(struct lsm *lsm);
/* The oldest snapshot of a read transaction; UINT64_MAX: there is none. Who begins later is not
 * counted, and reads what was written before the call. */
uint64_t lsm_readers_oldest(struct lsm *lsm);

/* ---- redo.c ------------------------------------------------------------------------------ */

/* Makes room for an operation of that many bytes of keys and value. LIMIT, NOMEM. */
sombra_err lsm_redo_reserve(struct buf *redo, size_t bytes) SOMBRA_MUST_CHECK;
/* Append what room was made for. */
void lsm_redo_put(struct buf *redo, sombra_slice key, sombra_slice value);
void lsm_redo_delete(struct buf *redo, sombra_slice key);
void lsm_redo_delete_range(struct buf *redo, struct kv_range range);
/* Applies the operations of a record to the memtable under `seq`. CORRUPT, NOMEM. */
sombra_err lsm_redo_apply(sombra_slice payload, uint64_t seq,
                          struct memtable *to) SOMBRA_MUST_CHECK;

/* ---- logs.c ------------------------------------------------------------------------------ */

/* A log without a file yet, and the path of its file, which is the caller's. NOMEM. */
sombra_err lsm_log_new(const struct lsm *lsm, uint64_t base_seq, struct lsm_log **out_log,
                       char **out_path) SOMBRA_MUST_CHECK;
/* Its file stands: commits may follow. */
void lsm_log_ready(struct lsm_log *log);
/* The first log of this open, and the edit that says that it is in use: before the first commit is
 * appended. What was found at open is durable then, in any case. The turn is held, or nobody else
 * has the store. Where it fails nothing changed, or the store has failed. */
sombra_err lsm_log_begin(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Closes it, does not unlink it; NULL is a no-op. */
void lsm_log_free(struct lsm_log *log);
/* Syncs, oldest first, what the logs have of commits behind `durable_seq` up to `seq`. */
sombra_err lsm_logs_sync(struct lsm *lsm, uint64_t durable_seq, uint64_t seq) SOMBRA_MUST_CHECK;
/* Puts the active memtable, which has commits up to `seq`, into the queue of flushes, and an empty
 * one in its place: with a log that begins behind `seq`, or, at close, without. */
sombra_err lsm_memtable_retire(struct lsm *lsm, uint64_t seq, bool with_log) SOMBRA_MUST_CHECK;
/* Puts the active memtable into tables, with what the write transaction has put under `seq`; that
 * is then committed, and durable, and an empty memtable with a log behind `seq` takes the place.
 * Where it fails nothing changed, or the store has failed. The turn is held. */
sombra_err lsm_memtable_commit(struct lsm *lsm, uint64_t seq) SOMBRA_MUST_CHECK;
/* The store was closed with nothing left in them: closes and unlinks all. */
void lsm_logs_unlink_all(struct lsm *lsm);

/* ---- recover.c --------------------------------------------------------------------------- */

struct lsm_replay {
    uint64_t seq;      /* newest commit applied */
    uint64_t seq_seen; /* newest of which there is any trace */
    uint64_t records, logs;
};
/* See lsm_logs_replay. NOT_FOUND where a log vanished meanwhile (for read-only openers). */
sombra_err lsm_logs_recover(struct lsm *lsm, struct memtable *into,
                            struct lsm_replay *out_replay) SOMBRA_MUST_CHECK;
/* Where the disk was full at open, what was replayed stays in the active memtable, and the logs in
 * use (writer->resumes): makes them and the manifest durable, and the last of them writer->log, so
 * that commits go into what space it has. The open sees to it; if the disk takes not even that,
 * lsm_log_begin and lsm_switch_memtable. The turn is held, or nobody else has the store. LIMIT,
 * NOMEM: nothing changed. */
sombra_err lsm_logs_resume(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* The same where there is nothing in the logs that is not in tables: the manifest is saved. */
sombra_err lsm_manifest_save_again(struct lsm *lsm) SOMBRA_MUST_CHECK;

/* Of a read-only store: commits up to `seq` are durable when it returns, unless a sync of theirs
 * has failed in another process. Any thread. */
sombra_err lsm_seen_save(struct lsm *lsm, uint64_t seq) SOMBRA_MUST_CHECK;

/* ---- refresh.c --------------------------------------------------------------------------- */

/* The newest commit is `seq`, and it is durable. */
void lsm_seq_begin(struct lsm *lsm, uint64_t seq);

/* ---- options.c --------------------------------------------------------------------------- */

/* Fills in the defaults. INVALID names the option, its value and its limits; UNSUPPORTED. */
sombra_err lsm_options_complete(const struct lsm_options *given, struct lsm_options *out,
                                enum codec_id *out_codec,
                                enum codec_id *out_bottom_codec) SOMBRA_MUST_CHECK;

#endif
