/* SPDX-License-Identifier: MIT */
/* What the files of lsm/ share: the open store, views, logs, transactions.
 *
 * A VIEW is what one snapshot reads from: the memtable, the full ones that wait for their flush,
 * and a version. Views are immutable lists, counted; the newest is lsm->view. A snapshot is a view
 * and, read after it, a commit number S. That alone makes it stable: flushes and compactions
 * publish new views and never change what an older one holds. So tables need one version of each
 * key (decision 0011), and a kept snapshot keeps the tables and memtables of its view.
 *
 * Locks, in order: lsm->turn (the writing transaction) < lsm->manifest_mutex < lsm->mutex < those
 * of cache and table cache. No file is read or written under lsm->mutex.
 *
 * Sequence numbers: lsm->seq is the newest commit. The writing transaction writes into the active
 * memtable under lsm->seq + 1 and publishes by storing lsm->seq. A commit is one log record, whose
 * lsn is its sequence number. A log is named after the number before its first record.
 */
#ifndef LSM_INTERNAL_H
#define LSM_INTERNAL_H

#include "lsm.h"
#include "manifest.h"
#include "memtable.h"
#include "version.h"

#include <assert.h>

struct lsm;

/* ---- views ------------------------------------------------------------------------------- */

enum { VIEW_MEMTABLES_MAX = 64 };

struct view {
    _Atomic uint32_t refs;
    uint64_t number; /* greater = newer */
    struct version *version;
    size_t count;                 /* memtables, newest first; [0] is the active one */
    struct memtable *memtables[]; /* each referenced */
};
/* The newest, referenced. Wait-free but for a short mutex. */
struct view *view_acquire(struct lsm *lsm);
void view_ref(struct view *view);
void view_release(struct view *view); /* NULL is a no-op */
/* Builds the view of these parts (references taken) and publishes it. lsm->mutex is held. NOMEM,
 * LIMIT (more than VIEW_MEMTABLES_MAX): nothing changed. Who publishes another version than that
 * of lsm->view, or leaves out a memtable, holds a reference to the old view until it has let go of
 * the mutex: its last one may close and unlink files. */
sombra_err view_publish(struct lsm *lsm, struct memtable *const *memtables, size_t count,
                        struct version *version) SOMBRA_MUST_CHECK;
/* The two halves of it. An empty one, with room for VIEW_MEMTABLES_MAX; released unpublished with
 * view_release. */
sombra_err view_new(struct view **out_view) SOMBRA_MUST_CHECK;
/* Fills and publishes it. lsm->mutex is held. Never fails: count <= VIEW_MEMTABLES_MAX. */
void view_put(struct lsm *lsm, struct view *view, struct memtable *const *memtables, size_t count,
              struct version *version);

/* ---- logs -------------------------------------------------------------------------------- */

/* The log of one memtable. */
struct lsm_log {
    struct wal *wal;
    uint64_t base_seq;      /* its first record is base_seq + 1; names the file */
    _Atomic uint64_t bytes; /* of the file */
    _Atomic bool is_named;  /* its name is known to be durable */
    bool can_map;           /* appends may go through a mapping: the turn's holder */
    unsigned syncs;         /* running through `wal`: it is closed after them */
    bool is_dropped;        /* not in the list any more: the last sync closes it */
    struct lsm_log *next;   /* newer; the records of this one are base_seq + 1 .. next->base_seq */
};
/* A full memtable and its place in the queue of flushes. Guarded by lsm->mutex. */
struct lsm_full {
    struct memtable *memtable;
    uint64_t seq_max; /* newest commit in it; logs up to here are not needed once it is flushed */
    struct lsm_full *next; /* newer */
    /* Of the active memtable, whose flush is the commit of seq_max: what begins with the edit. Else
     * NULL, for they did when it was queued. */
    struct memtable *successor;
    struct lsm_log *successor_log;
    struct lsm_early *early; /* what of it is in tables already; NULL = nothing */
};

/* ---- files of a crash --------------------------------------------------------------------- */

/* A table that no version names, or a log: of the time before this open. */
struct lsm_stray {
    uint64_t number; /* of the table, or base_seq of the log */
    bool is_log;
};
struct lsm_strays {
    struct lsm_stray *files;
    size_t count, capacity;
};

/* ---- the store --------------------------------------------------------------------------- */

struct lsm {
    struct kv kv;
    struct kv_metrics metrics;
    struct os *os;
    char *directory;            /* resolved */
    struct lsm_options options; /* with every default filled in */
    enum codec_id codec, bottom_codec;
    struct os_identity identity;     /* of the directory: one store for each, in a process */
    struct os_registered registered; /* as this process's registry has it */
    struct os_file *lock;            /* "LOCK"; NULL on a read-only medium */
    struct cache *cache;
    struct table_cache *tables;

    _Atomic uint64_t seq;         /* newest commit */
    _Atomic uint64_t durable_seq; /* newest known durable */
    _Atomic bool is_failing;      /* somebody writes the text of the failure */
    _Atomic bool is_failed; /* refuses writes until it is opened again; failure has the text */
    char failure[DIAG_TEXT_BYTES]; /* written once, before is_failed */
    _Atomic bool is_forked;        /* this is a child of the process that opened it */
    _Atomic uint64_t view_number;  /* of `view`: stored by view_publish after it has set that */

    struct os_mutex mutex; /* guards what follows */
    struct view *view;
    struct lsm_full *full_oldest, *full_newest;
    size_t full_count;
    uint64_t next_number, next_run; /* of files, of runs */
    uint64_t version_number;
    struct lsm_obsolete *obsolete; /* files that readers of other processes may need: files.c */
    struct lsm_log *logs;          /* oldest first; the last is the active one */
    uint64_t totals_before[TOTAL_COUNT]; /* what the manifest had at open, or at a refresh */
    struct os_condition changed;         /* a flush or a compaction ended, or is_closing */

    struct os_mutex manifest_mutex; /* one edit at a time: lsm_edit */
    struct os_mutex names_mutex;    /* one sync of the directory at a time; the last of all */
    struct manifest *manifest;      /* written with the first edit */
    uint64_t
        saved_seq; /* under it; of a read-only store: what lsm_seen_save has saved; 0 = never */
    struct manifest_state state; /* as of the manifest; is_clean until a log is in use */
    struct lsm_strays strays;    /* found at open, removed with the first edit */
    uint64_t pinned_first;       /* read-only stores: the versions that are pinned, */
    uint64_t pinned_last;        /* of those that there were */
    bool has_pin;

    struct lsm_writer *writer;         /* txn.c: the turn, the active log, group commit */
    struct lsm_background *background; /* background.c: threads, jobs, rate limit */
    struct lsm_readers *pool;          /* txn.c: read transactions kept for reuse */
};

extern const struct kv_ops lsm_ops; /* lsm.c */
static inline struct lsm *lsm_of(struct kv *kv)
{
    assert(kv->ops == &lsm_ops);
    return container_of(kv, struct lsm, kv);
}

/* OK, or the failure that ended writing. */
sombra_err lsm_check_writable(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Makes the store refuse writes; keeps the thread's text. Returns `err`. */
sombra_err lsm_fail(struct lsm *lsm, sombra_err err);

/* ---- files (files.c) --------------------------------------------------------------------- */

/* Has another file, or none, the name of the lock file that is held? Then the directory was moved,
 * or made anew, and the files in the one that has its name are not ours. Keeps the thread's text.
 */
bool lsm_was_replaced(const struct lsm *lsm);
/* CONFLICT, for good, if so. Before anything is made there. */
sombra_err lsm_check_place(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Removes a file of the store; a name in the place of another store is left alone. */
sombra_err lsm_unlink(struct lsm *lsm, const char *path) SOMBRA_MUST_CHECK;

enum { LSM_PATH_BYTES_EXTRA = 32 };
/* "<directory>/<number>.sst" and "<directory>/<base_seq>.log", mem_alloc'ed; NULL when memory is
 * out. */
char *lsm_table_path(const struct lsm *lsm, uint64_t number);
char *lsm_log_path(const struct lsm *lsm, uint64_t base_seq);
/* Next file number; never given twice, not even after a crash. */
uint64_t lsm_take_number(struct lsm *lsm);
/* The one way to change the tables. It takes manifest_mutex (then mutex): makes the version,
 * commits it to the manifest, then publishes a view with it, without `flushed` (may be NULL) among
 * its memtables, or with its successor instead, and then its seq_max is the newest commit, and
 * durable; marks removed tables obsolete; drops logs that are no longer needed. The added
 * tables are synced; this syncs their directory, for the log of log_seq as well. On an error
 * nothing changed; where the manifest's state is unknown the store has failed, and the added tables
 * must stay: the manifest may name them. The queue of full memtables is the caller's. */
sombra_err lsm_edit(struct lsm *lsm, const struct edit *edit,
                    const struct lsm_full *flushed) SOMBRA_MUST_CHECK;
/* What all processes counted, this one until now; takes lsm->mutex. */
void lsm_totals(struct lsm *lsm, uint64_t out_totals[TOTAL_COUNT]);
/* Makes every name in the directory durable. A failure but for want of memory is the store's. Any
 * thread. */
sombra_err lsm_sync_names(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* At open by a writer, when lsm->view is set and before any table or log is made: raises
 * next_number above that of every table file, and notes tables that are in no version, and all
 * logs. Other names are left alone. */
sombra_err lsm_strays_find(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* The greatest base among the logs that were found; false without any. */
bool lsm_strays_newest_log(const struct lsm *lsm, uint64_t *out_base_seq);
/* lsm_edit's part: removes what was found, logs once they are not needed. Not before the manifest
 * is written: what was read may be page cache that the disk never got, and after a power cut an
 * older manifest would miss what was removed. manifest_mutex is held, or nobody else has the
 * store. */
void lsm_strays_remove(struct lsm *lsm);
/* What table_cache_on_obsolete calls, with the store as context: unlinks the file, now or when
 * readers of other processes let it go. */
void lsm_table_obsolete(void *lsm, const struct version_table *table);
/* Tries again for files that were kept for readers. At close, after the last view, with `is_end`:
 * the next open finds what still must stay. */
void lsm_purge(struct lsm *lsm, bool is_end);

/* The bytes of "LOCK". A reader of another process holds LOCK_VERSIONS shared while it reads the
 * manifest, and so keeps every table; then LOCK_VERSIONS + 1 + the number of its version, which
 * keeps the tables of that one. */
#define LOCK_WRITER   ((uint64_t)0)       /* exclusive: the one that writes */
#define LOCK_VERSIONS (UINT64_C(1) << 32) /* shared, as said above */
/* Before the manifest is read; ended by lsm_version_pin_end, when the version is pinned. Not to be
 * nested. Nothing without a lock file. */
sombra_err lsm_version_pin_begin(struct lsm *lsm) SOMBRA_MUST_CHECK;
void lsm_version_pin_end(struct lsm *lsm);
/* Pins are not counted: one unpin ends all of the numbers [first, end). */
sombra_err lsm_version_pin(struct lsm *lsm, uint64_t number) SOMBRA_MUST_CHECK;
void lsm_version_unpin(struct lsm *lsm, uint64_t first, uint64_t end);

/* ---- write path (txn.c, commit.c, logs.c) ------------------------------------------------ */

struct lsm_txn {
    struct kv_txn txn;
    struct view *view;
    uint64_t seq;             /* reader: its snapshot; writer: the number it writes under */
    uint64_t changes;         /* grows with every write; cursors compare */
    uint64_t undone;          /* grows when writes are taken back */
    bool is_failed;           /* a write broke off: only abort and rollback are left */
    struct table_value got;   /* holds the last slice of get */
    uint32_t trusted;         /* lookups since a filter would have helped: lsm_is_trusted */
    struct buf large;         /* the last value out of line */
    struct lsm_cursor *spare; /* closed cursors, for reuse; lsm_cursor_free_spare frees them */
    struct lsm_txn *next;     /* pool */
    uint64_t begun_ns;
    struct lsm_write *write; /* the writer's part: redo, savepoints; NULL for readers */
};
static inline struct lsm_txn *lsm_txn_of(struct kv_txn *txn)
{
    assert(txn->ops == &lsm_ops);
    return container_of(txn, struct lsm_txn, txn);
}
sombra_err lsm_begin(struct kv *kv, const struct kv_begin_options *options,
                     struct kv_txn **out_txn);
sombra_err lsm_commit(struct kv_txn *txn, enum kv_durability durability);
void lsm_abort(struct kv_txn *txn);
sombra_err lsm_savepoint(struct kv_txn *txn, enum kv_savepoint_action action, uint64_t *mark);
sombra_err lsm_put(struct kv_txn *txn, sombra_slice key, sombra_slice value);
sombra_err lsm_put_many(struct kv_txn *txn, const struct kv_entry *entries, size_t count);
sombra_err lsm_expect(struct kv_txn *txn, uint64_t bytes);
sombra_err lsm_remove(struct kv_txn *txn, sombra_slice key);
sombra_err lsm_remove_range(struct kv_txn *txn, struct kv_range range, uint64_t *out_removed);

sombra_err lsm_writer_new(struct lsm *lsm); /* fills lsm->writer and lsm->pool */
void lsm_writer_free(struct lsm *lsm);
/* For the background thread, and cheap: syncs KV_NORMAL commits that have waited long enough.
 * *out_wait_ms := when to ask again at the latest; UINT64_MAX while nothing waits for a sync
 * (lsm_background_wake is called when that changes). */
sombra_err lsm_sync_due(struct lsm *lsm, uint64_t *out_wait_ms) SOMBRA_MUST_CHECK;
/* For the background thread, likewise: when nothing was synced for a while, an empty record behind
 * the last one says that it was durable, or rot there would pass for a crash's tail. */
sombra_err lsm_mark_due(struct lsm *lsm, uint64_t *out_wait_ms) SOMBRA_MUST_CHECK;
/* lsm_edit's part: closes and unlinks the logs that begin before `log_seq`. No lock is held. */
void lsm_logs_drop(struct lsm *lsm, uint64_t log_seq);
/* Under lsm->mutex: the newest. */
void lsm_logs_add(struct lsm *lsm, struct lsm_log *log);
uint64_t lsm_logs_bytes(struct lsm *lsm);
/* See kv_close. */
sombra_err lsm_close(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* SOMBRA_INVALID in a child of the process that opened the store. */
sombra_err lsm_check_fork(const struct lsm *lsm) SOMBRA_MUST_CHECK;
/* The transaction answers nothing any more: a write of it broke off, or this is a child of the
 * process that opened the store. */
static inline bool lsm_txn_is_unusable(const struct lsm_txn *txn)
{
    bool is_forked = atomic_load_explicit(&lsm_of(txn->txn.kv)->is_forked, memory_order_relaxed);
    return UNLIKELY((unsigned)txn->is_failed | (unsigned)is_forked);
}
/* INVALID with the reason. */
sombra_err lsm_txn_refuse(const struct lsm_txn *txn) SOMBRA_MUST_CHECK;
/* Takes the writer's turn for work outside transactions (checkpoint, verify, backup). BUSY. */
sombra_err lsm_turn_take(struct lsm *lsm, uint64_t timeout_ms) SOMBRA_MUST_CHECK;
/* The same; whoever waits is asked whether to go on. BUSY, CANCELLED. */
sombra_err lsm_turn_take_asking(struct lsm *lsm, uint64_t timeout_ms,
                                struct kv_wait *wait) SOMBRA_MUST_CHECK;
/* The same as long as the job says, which is asked meanwhile; NULL: as long as it takes. BUSY,
 * CANCELLED. */
sombra_err lsm_turn_take_for(struct lsm *lsm, const struct kv_maintenance *job) SOMBRA_MUST_CHECK;
void lsm_turn_give(struct lsm *lsm);
/* Begins a new memtable with a new log and puts the active one, unless it is empty, into the queue
 * of flushes. The turn is held. */
sombra_err lsm_switch_memtable(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* At open: replays the logs behind state.log_seq into a memtable and gives what was found; cuts the
 * crash's tail by never reading it again (the caller flushes and starts a new log).
 * CORRUPT where durable records are damaged. */
sombra_err lsm_logs_replay(struct lsm *lsm, struct memtable *into, uint64_t *out_seq,
                           uint64_t *out_records) SOMBRA_MUST_CHECK;
/* Idle read transactions let their views go, so that they keep no table of an old one. */
void lsm_pool_sweep(struct lsm *lsm);
/* Sets the fields about readers. */
void lsm_readers_measure(struct lsm *lsm, struct kv_stats *stats);

/* ---- read path (get.c, get_many.c, merge.c, cursor.c, count.c) -------------------------- */

sombra_err lsm_get(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value);
sombra_err lsm_get_many(struct kv_txn *txn, const sombra_slice *keys, size_t count,
                        kv_value_fn each, void *context);
sombra_err lsm_count(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                     uint64_t *out_count);
sombra_err lsm_estimate(struct kv_txn *txn, struct kv_range range, uint64_t *out_count);
sombra_err lsm_cursor_open(struct kv_txn *txn, struct kv_range range, struct kv_cursor **out);
sombra_err lsm_cursor_move(struct kv_cursor *cursor, enum kv_motion motion, sombra_slice key,
                           bool *out_found);
sombra_err lsm_cursor_read(struct kv_cursor *cursor, enum kv_motion direction,
                           struct kv_batch *batch);
sombra_err lsm_cursor_words(struct kv_cursor *cursor, struct kv_words *words) SOMBRA_MUST_CHECK;
void lsm_cursor_close(struct kv_cursor *cursor);
/* Frees the cursors that the transaction keeps for reuse. They hold nothing of its view, so that
 * the next transaction in its place may have them. */
void lsm_cursor_free_spare(struct lsm_txn *txn);
/* Lookups in a row that found their keys in the last place there was: the next ones do not ask its
 * filter. Keys that are there are sought far more often than others, and a filter is a cache line
 * of its own; a key that is not there costs one block in vain, then filters are asked again. */
enum { LSM_TRUSTED_MIN = 16 };
static inline bool lsm_is_trusted(const struct lsm_txn *txn)
{
    return txn->trusted >= LSM_TRUSTED_MIN;
}
static inline void lsm_trust(struct lsm_txn *txn, bool was_there)
{
    txn->trusted = was_there ? txn->trusted + (txn->trusted < LSM_TRUSTED_MIN) : 0;
}
/* All that the transaction sees is in one run: for ranges, where "the last place" is not known. */
static inline bool lsm_has_one_run(const struct lsm_txn *txn)
{
    const struct view *view = txn->view;
    return view->version->count == 1 && view->count == 1 && memtable_is_empty(view->memtables[0]);
}
/* The live entries that the transaction sees, as a source: those in `range`, and maybe others
 * outside of it. Not to be sought outside of the range, which is not empty. A range that the
 * transaction removes later is seen by sources made after that. */
sombra_err lsm_range_source(struct lsm_txn *txn, struct kv_range range,
                            struct source **out_source) SOMBRA_MUST_CHECK;
/* Tables [*out_first, *out_end) of the run may have keys or hidden ranges in the range. */
void lsm_run_overlap(const struct version_run *run, struct kv_range range, size_t *out_first,
                     size_t *out_end);
static inline bool lsm_range_is_empty(struct kv_range range)
{
    return range.high.bytes && slice_compare(range.low, range.high) >= 0;
}
/* Is there a live entry with this key? As get, without the value; what get gave stays. */
sombra_err lsm_has(struct lsm_txn *txn, sombra_slice key, bool *out_has) SOMBRA_MUST_CHECK;

/* A merge of sources, newest first, which it owns from now on, also when it fails. As a source it
 * gives each key once, from the newest source that has it, deletes included unless
 * `drops_deletes`; ranges hidden by newer sources are left out of older ones. `hides` of the merge
 * answers for all its sources together. It may end where only deletes are left `within` the range,
 * of which it keeps a copy: those that lie behind would be passed by in vain. */
sombra_err merge_open(struct source **sources, size_t count, bool drops_deletes,
                      struct kv_range within, struct source **out_source) SOMBRA_MUST_CHECK;
/* For a merge that drops deletes: only its first `count` sources are asked what they hide. The
 * others could, but have nothing to hide. */
void merge_limit_hiding(struct source *source, size_t count);
/* Deletes that it passes by are counted there. */
void merge_count_deletes(struct source *source, struct kv_metrics *metrics);
/* The newest source is one that its reader writes to: seeks find what was written. Where writes
 * were taken back, the merge must be made anew. */
void merge_follow_writes(struct source *source);

/* ---- background (background.c, flush.c, compaction.c, policy.c, stall.c) ------------------ */

sombra_err lsm_background_start(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Stops the threads; a running compaction is given up (its outputs are removed). */
void lsm_background_stop(struct lsm *lsm);
/* Something may be due: a full memtable, a level. Never waits. */
void lsm_background_wake(struct lsm *lsm);
/* Before a write transaction begins, with the turn: delays it while flushes or compactions are
 * behind. *out_is_stopped: so far behind that it must give the turn away and wait. With
 * no_background it does the work. */
sombra_err lsm_stall(struct lsm *lsm, bool *out_is_stopped) SOMBRA_MUST_CHECK;
/* Waits without the turn until lsm_stall may be asked again, up to *timeout_ms, then BUSY that says
 * what it waited for. *timeout_ms := what is left of it. */
sombra_err lsm_stall_wait(struct lsm *lsm, uint64_t *timeout_ms) SOMBRA_MUST_CHECK;
/* Flushes all full memtables now, on the calling thread or by waiting for the flusher. */
sombra_err lsm_flush_full(struct lsm *lsm) SOMBRA_MUST_CHECK;
/* Flushes the active memtable, which is in no queue, and no other waits in one: its successors take
 * its place. The turn is held. */
sombra_err lsm_flush_active(struct lsm *lsm, struct lsm_full *full) SOMBRA_MUST_CHECK;
/* Everything into the last level: one run without deletes. With progress; CANCELLED. */
sombra_err lsm_compact_all(struct lsm *lsm, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
uint64_t lsm_compaction_debt(struct lsm *lsm, const struct version *version);

/* ---- memory.c ---------------------------------------------------------------------------- */

/* These tables are the newest: is memory short for them, and what follows from that? */
void lsm_memory_adapt(struct lsm *lsm, const struct version *version);
/* After much was freed: where memory is short the system gets it back. No lock is held. */
void lsm_memory_trim(struct lsm *lsm);

/* ---- maintenance (maintain.c, stats.c, verify.c, backup.c) -------------------------------- */

sombra_err lsm_maintain(struct kv *kv, struct kv_maintenance *job);
/* Puts what is committed by now into tables. Waits for the turn as the job says. */
sombra_err lsm_flush_all(struct lsm *lsm, const struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err lsm_stats(struct lsm *lsm, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err lsm_verify(struct lsm *lsm, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err lsm_backup(struct lsm *lsm, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* Read-only stores, at open as well: new transactions see what is committed by now. */
sombra_err lsm_refresh(struct lsm *lsm) SOMBRA_MUST_CHECK;

#endif
