/* SPDX-License-Identifier: MIT */
/* kv: THE SEAM. An ordered, transactional key-value store, whatever engine is behind it.
 *
 * Keys are byte strings in memcmp order, 1 to KV_KEY_BYTES_MAX bytes; values 0 to
 * KV_VALUE_BYTES_MAX bytes. There is one keyspace per store; everything above gives it structure by
 * key prefixes.
 *
 * Transactions: any number of read snapshots and one writer at a time, serializable. Readers never
 * wait for the writer, nor it for them. A writer reads its own writes. A write transaction that
 * waits longer than busy_timeout_ms for its turn gets BUSY; a thread that holds the write
 * transaction and begins a second one gets BUSY at once.
 *
 * Durability: see enum kv_durability. After any crash every commit acknowledged as durable is
 * there, no transaction is there in part, and what survives is a prefix of the order of commits.
 *
 * Failure: an error of get, put, delete, cursor calls leaves the transaction usable, with the
 * failed call undone, unless the code is IO, NOMEM or CORRUPT inside a write: then the transaction
 * refuses everything but abort and rollback to a savepoint. A commit that fails with IO after its
 * record may have reached the log says "outcome unknown" and the store refuses writes until it is
 * reopened (reads go on): a second fsync after a failed one proves nothing.
 *
 * Threads: the store may be used by any thread; a transaction and its cursors by one at a time. A
 * write transaction stays on the thread that began it.
 *
 * Lifetime of bytes: a slice from kv_get lives until the next call on that transaction, or its end
 * where it `keeps_values`; a cursor's slices until it moves, closes, or its transaction writes or
 * ends.
 */
#ifndef KV_H
#define KV_H

#include "base/base.h"

#include "kv_lines.h"
#include "kv_metrics.h"
#include "kv_redo.h"
#include "kv_wait.h"

enum {
    KV_KEY_BYTES_MAX = 1024,
    KV_VALUE_BYTES_MAX = 1 << 30,
};

enum kv_durability {
    KV_DURABILITY_STORE = 0, /* as the store was opened */
    KV_FULL,                 /* durable when commit returns; concurrent committers share one sync */
    KV_GROUP,                /* as full, after waiting all of group_wait_us for company */
    KV_NORMAL,               /* synced in the background every sync_interval_ms */
    KV_OFF,                  /* synced when the system likes; order and atomicity still hold */
};

struct kv;        /* an open store */
struct kv_txn;    /* a transaction */
struct kv_cursor; /* a position in a range, of one transaction */

/* Keys in [low, high). An empty slice (bytes == 0) is no bound on that side. */
struct kv_range {
    sombra_slice low;
    sombra_slice high;
};

struct kv_begin_options {
    bool is_write;
    bool needs_durable;       /* read only what is durable already: waits for a sync if it must */
    uint64_t busy_timeout_ms; /* for writers; UINT64_MAX waits for ever, 0 not at all */
    /* Writers: asked while they wait for others; false gives CANCELLED. NULL = nobody. */
    bool (*waits_on)(void *context);
    void *context;
};

enum kv_motion {
    KV_FIRST,    /* first key of the range */
    KV_LAST,     /* last key of the range */
    KV_NEXT,     /* the one after; a fresh cursor stands before the first */
    KV_PREVIOUS, /* the one before; a fresh cursor stands behind the last */
    KV_SEEK_GE,  /* first key >= the given one, within the range */
    KV_SEEK_LE,  /* last key <= the given one, within the range */
};

struct kv_entry {
    sombra_slice key; /* in a kv_batch: the part behind the batch's prefix */
    sombra_slice value;
};

/* Filled by a batch read. The caller owns `entries`; the bytes are the cursor's. */
struct kv_batch {
    struct kv_entry *entries;
    size_t capacity;     /* >= 1 */
    size_t count;        /* entries filled; 0 = the range is at its end */
    sombra_slice prefix; /* common to all keys of this batch */
    sombra_slice before; /* a hint, forward: of entries from this key on at most the first is read;
                            empty = none */
    bool is_before_next; /* out: no key is left before `before`. False says nothing */
};

/* Keys as numbers: of those that begin with `within`, what stands behind it, most significant byte
 * first, zeros behind it. For keys of which few bytes are left; values are not asked for. */
enum { KV_WORD_BYTES = 8 };
struct kv_words {
    sombra_slice within; /* at least one byte; all keys that begin with it are in the range */
    bool seeks;      /* from the first of them on; else behind the last one given, or moved to */
    size_t capacity; /* >= 1 */
    uint64_t *words; /* the caller's, so many */
    uint8_t *bytes;  /* of each: how many stand behind `within`; the caller's */
    size_t count;    /* out */
    bool is_last;    /* out: no further key begins with it */
    bool is_long;    /* out: the next one has more than KV_WORD_BYTES behind it: move there */
};

enum kv_savepoint_action {
    KV_SAVEPOINT_SET,      /* *mark := a new savepoint, nested in those before */
    KV_SAVEPOINT_ROLLBACK, /* undo what came after *mark; the mark stays, later ones are gone */
    KV_SAVEPOINT_RELEASE,  /* forget *mark and later ones; their work joins the outer one */
};

enum kv_maintenance_kind {
    KV_STATS,
    KV_CHECKPOINT, /* bring everything durable into the main files and empty the log */
    KV_COMPACT,    /* make the files shorter, in short write transactions; cancelled, what was done
                      stays */
    KV_VERIFY,     /* walk everything; report what is wrong. May keep writers waiting throughout */
    KV_BACKUP,     /* write a consistent copy to `path`, which must not exist */
    KV_REFRESH,    /* read-only stores that do not follow a writing process by themselves: new
                      transactions see what is committed by now. Elsewhere nothing happens */
};

enum { KV_LEVELS_MAX = 8 };
struct kv_level_stats {
    uint64_t runs, tables, bytes, entries, deletes;
};

/* What all processes counted since the store was made; engines without levels keep none. */
struct kv_totals {
    uint64_t commit_bytes;                             /* given by writers */
    uint64_t log_bytes, flush_bytes, compaction_bytes; /* written */
    uint64_t filter_skips,
        filter_false_positives; /* of lookups of keys that a table did not have */
    uint64_t stalls, stall_ns;
};

struct kv_stats {
    uint64_t entries;
    uint64_t txn;              /* newest committed transaction */
    uint64_t lsn, durable_lsn; /* newest log number, newest known durable */
    uint64_t depth;            /* levels of the tree, 0 = empty */
    uint64_t page_bytes;       /* 0 for engines without pages */
    uint64_t pages_total;      /* size of the file in pages */
    uint64_t pages_free;       /* reusable now */
    uint64_t pages_pending;    /* freed, but a snapshot or the checkpoint still needs them */
    uint64_t pages_read;       /* of these, what readers' snapshots need */
    uint64_t pages_branch, pages_leaf, pages_leaf_dense, pages_overflow; /* only after `walk` */
    uint64_t bytes_used; /* only after `walk`: bytes of entries and headers in tree pages */
    uint64_t file_bytes, log_bytes, memory_bytes;
    uint64_t readers;           /* open snapshots, of all processes */
    uint64_t oldest_reader_txn; /* 0 if none */
    uint64_t oldest_reader_age_ms;
    uint64_t oldest_reader_process; /* its id, as that process sees it; 0 if none */
    uint64_t checkpoints, commits;  /* since this process opened the store */
    uint64_t compact_txn;           /* newest when the last compaction ended; 0 = there was none */
    uint64_t compact_pages_moved, compact_pages_returned; /* by it; what it made the file shorter */
    bool is_entries_exact;                                /* else `entries` is an estimate */
    bool refuses_writes; /* after a failure, until it is reopened */
    unsigned levels;     /* engines with levels: how many are listed */
    struct kv_level_stats level[KV_LEVELS_MAX];
    uint64_t memtable_bytes, cache_bytes; /* engines that have them */
    uint64_t compaction_debt_bytes;       /* what compaction has yet to rewrite */
    struct kv_totals totals;
};

/* One finding of verify. The strings live until the callback returns. */
struct kv_problem {
    sombra_err code;
    uint64_t page; /* 0 if it is not about one page */
    const char *message;
};

/* Common to all long jobs: return false to cancel (the job gives CANCELLED). It is 0 of 1 while
 * they wait for others. */
typedef bool (*kv_progress_fn)(void *context, uint64_t done, uint64_t total);

struct kv_maintenance {
    enum kv_maintenance_kind kind;
    kv_progress_fn progress; /* may be NULL */
    void *context;           /* given to both callbacks */
    /* KV_CHECKPOINT, KV_VERIFY: BUSY when it has waited so long for the write transactions of
     * others; 0 and UINT64_MAX: it waits as long as they take. Whoever waits, asks `progress`. */
    uint64_t wait_ms_max;
    bool walk;        /* KV_STATS: count pages by kind, O(data) */
    const char *path; /* KV_BACKUP: where to */
    void (*problem)(void *context, const struct kv_problem *problem); /* KV_VERIFY; may be NULL */
    struct kv_stats stats;                                            /* out: KV_STATS */
    uint64_t problems;                                                /* out: KV_VERIFY */
};

/* One key of kv_get_many; NULL = it is not there. The bytes live until it returns, or longer
 * (keeps_values). An error ends
 * the call and is what that returns. */
typedef sombra_err (*kv_value_fn)(void *context, size_t index, const sombra_slice *value);

/* What an engine implements: 16 operations and three that may be missing (decisions 0016, 0017);
 * none named after an engine. */
struct kv_ops {
    const char *name;
    sombra_err (*close)(struct kv *kv);
    sombra_err (*begin)(struct kv *kv, const struct kv_begin_options *options,
                        struct kv_txn **out_txn);
    sombra_err (*commit)(struct kv_txn *txn, enum kv_durability durability);
    void (*abort)(struct kv_txn *txn);
    sombra_err (*savepoint)(struct kv_txn *txn, enum kv_savepoint_action action, uint64_t *mark);
    sombra_err (*get)(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value);
    /* NULL: by `get`. */
    sombra_err (*get_many)(struct kv_txn *txn, const sombra_slice *keys, size_t count,
                           kv_value_fn each, void *context);
    sombra_err (*put)(struct kv_txn *txn, sombra_slice key, sombra_slice value);
    /* Of what kv_put_many has checked. NULL: put does it, one by one. */
    sombra_err (*put_many)(struct kv_txn *txn, const struct kv_entry *entries, size_t count);
    /* NULL: nobody wants to know. */
    sombra_err (*expect)(struct kv_txn *txn, uint64_t bytes);
    sombra_err (*remove)(struct kv_txn *txn, sombra_slice key);
    sombra_err (*remove_range)(struct kv_txn *txn, struct kv_range range, uint64_t *out_removed);
    sombra_err (*count)(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                        uint64_t *out_count);
    sombra_err (*estimate)(struct kv_txn *txn, struct kv_range range, uint64_t *out_count);
    sombra_err (*cursor_open)(struct kv_txn *txn, struct kv_range range,
                              struct kv_cursor **out_cursor);
    sombra_err (*cursor_move)(struct kv_cursor *cursor, enum kv_motion motion, sombra_slice key,
                              bool *out_found);
    sombra_err (*cursor_read)(struct kv_cursor *cursor, enum kv_motion direction,
                              struct kv_batch *batch);
    /* NULL: by moves. */
    sombra_err (*cursor_words)(struct kv_cursor *cursor, struct kv_words *words);
    void (*cursor_close)(struct kv_cursor *cursor);
    sombra_err (*maintain)(struct kv *kv, struct kv_maintenance *job);
};

/* The heads of every engine's own structures. */
struct kv {
    const struct kv_ops *ops;
    struct kv_metrics *metrics; /* the engine's; never NULL in an open store */
};
struct kv_txn {
    const struct kv_ops *ops;
    struct kv *kv;
    bool is_write;
    bool keeps_values; /* what get and get_many give lives until the transaction ends */
    uint64_t version;  /* of readers: equal for those of one open store that see the same, and for
                          no others; 0 = not known */
    uint64_t pages;    /* looked at so far, as often as they were; 0 for engines without pages */
};
struct kv_cursor {
    const struct kv_ops *ops;
    struct kv_txn *txn;
    struct kv_entry entry; /* where it stands; valid while is_positioned */
    bool is_positioned;
};

/* ---- lifecycle --------------------------------------------------------------------------- */

/* Stores are opened by their engines. Open transactions must have ended; else BUSY and nothing
 * changed. Any other error is about what close wrote (the last checkpoint); the store is closed all
 * the same. */
static inline sombra_err kv_close(struct kv *kv)
{
    return kv->ops->close(kv);
}

/* ---- transactions ------------------------------------------------------------------------ */

static inline sombra_err kv_begin(struct kv *kv, const struct kv_begin_options *options,
                                  struct kv_txn **out_txn)
{
    return kv->ops->begin(kv, options, out_txn);
}
/* Ends the transaction whatever it returns; its cursors are invalid and must still be closed
 * before. For a reader it just ends it. */
static inline sombra_err kv_commit(struct kv_txn *txn, enum kv_durability durability)
{
    return txn->ops->commit(txn, durability);
}
static inline void kv_abort(struct kv_txn *txn)
{
    txn->ops->abort(txn);
}

/* INVALID for a mark that is not set (any more). Cursors survive a rollback and re-seek. */
static inline sombra_err kv_savepoint(struct kv_txn *txn, enum kv_savepoint_action action,
                                      uint64_t *mark)
{
    return txn->ops->savepoint(txn, action, mark);
}

/* ---- read -------------------------------------------------------------------------------- */

/* NOT_FOUND sets no text that costs: a miss is an answer. */
static inline sombra_err kv_get(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value)
{
    return txn->ops->get(txn, key, out_value);
}
/* `each` for every key, in their order. Keys that ascend are found faster than others. `each` may
 * not call the transaction. */
sombra_err kv_get_many(struct kv_txn *txn, const sombra_slice *keys, size_t count, kv_value_fn each,
                       void *context) SOMBRA_MUST_CHECK;
/* Exact, unless `limit` (0 = none) is reached: then it may stop there and return `limit`. */
static inline sombra_err kv_count(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                                  uint64_t *out_count)
{
    return txn->ops->count(txn, range, limit, out_count);
}
/* O(log n) on every engine; for planners. Exact on counted engines. */
static inline sombra_err kv_estimate(struct kv_txn *txn, struct kv_range range, uint64_t *out_count)
{
    return txn->ops->estimate(txn, range, out_count);
}

/* ---- write ------------------------------------------------------------------------------- */

/* Inserts or replaces. INVALID for key or value outside the limits; READONLY in a read transaction.
 * An engine that finds the value there may change nothing; a commit that changed nothing writes
 * nothing, and waits only until what the transaction saw is as durable as it says. */
static inline sombra_err kv_put(struct kv_txn *txn, sombra_slice key, sombra_slice value)
{
    return txn->ops->put(txn, key, value);
}
/* Advice: this transaction is about to put so many bytes of keys and values, or more. An engine
 * that commits long transactions in another way need not find that out, and undo, halfway. Puts
 * nothing; fails as a put does. */
static inline sombra_err kv_expect(struct kv_txn *txn, uint64_t bytes)
{
    return txn->ops->expect ? txn->ops->expect(txn, bytes) : SOMBRA_OK;
}
/* Puts entries whose keys ascend, each above the one before: INVALID if they do not, or one is
 * outside the limits, and then nothing was put. After any other error the first of them may be
 * there. No slice may be one that this transaction lent. */
sombra_err kv_put_many(struct kv_txn *txn, const struct kv_entry *entries,
                       size_t count) SOMBRA_MUST_CHECK;
/* NOT_FOUND if it was not there. */
static inline sombra_err kv_delete(struct kv_txn *txn, sombra_slice key)
{
    return txn->ops->remove(txn, key);
}
/* Removes every key of the range; *out_removed may be NULL. */
static inline sombra_err kv_delete_range(struct kv_txn *txn, struct kv_range range,
                                         uint64_t *out_removed)
{
    return txn->ops->remove_range(txn, range, out_removed);
}

/* ---- cursors ----------------------------------------------------------------------------- */

/* A cursor holds a copy of its bounds. It stays usable in its own transaction across writes: after
 * its key was deleted, next is the successor of that key and previous its predecessor. */
static inline sombra_err kv_cursor_open(struct kv_txn *txn, struct kv_range range,
                                        struct kv_cursor **out_cursor)
{
    return txn->ops->cursor_open(txn, range, out_cursor);
}
/* *out_found false = no such key: the end of a cursor is not an error. After running off an end,
 * the opposite motion finds the last key on that side again. On success cursor->entry holds it. */
static inline sombra_err kv_cursor_move(struct kv_cursor *cursor, enum kv_motion motion,
                                        sombra_slice key, bool *out_found)
{
    return cursor->ops->cursor_move(cursor, motion, key, out_found);
}
/* Reads up to batch->capacity entries after (KV_NEXT) or before (KV_PREVIOUS) the position and
 * leaves the cursor on the last one read; count 0 = none left. A batch may be shorter than its
 * capacity without being the last. The bytes live until the cursor's next call. */
static inline sombra_err kv_cursor_read(struct kv_cursor *cursor, enum kv_motion direction,
                                        struct kv_batch *batch)
{
    return cursor->ops->cursor_read(cursor, direction, batch);
}
/* At least one key a call, unless `is_last` or `is_long`. Between two calls for one `within` the
 * cursor may be moved to a key with it, and nowhere else; the transaction may write. The cursor's
 * entry is not set. */
sombra_err kv_cursor_words(struct kv_cursor *cursor, struct kv_words *words) SOMBRA_MUST_CHECK;
/* Is that faster than reading entries? */
static inline bool kv_has_words(const struct kv_txn *txn)
{
    return txn->ops->cursor_words != NULL;
}
static inline void kv_cursor_close(struct kv_cursor *cursor)
{
    if (cursor)
        cursor->ops->cursor_close(cursor);
}

/* ---- maintenance ------------------------------------------------------------------------- */

/* UNSUPPORTED where an engine has no such job. */
static inline sombra_err kv_maintain(struct kv *kv, struct kv_maintenance *job)
{
    return kv->ops->maintain(kv, job);
}

/* ---- helpers ----------------------------------------------------------------------------- */

/* The end of the range of all keys with `prefix`: the prefix with its last byte below 0xff raised
 * and the rest cut, written to `to` (KV_KEY_BYTES_MAX bytes); empty slice when there is none (all
 * 0xff). */
sombra_slice kv_prefix_end(sombra_slice prefix, uint8_t *to);
/* INVALID with a text for keys and values outside the limits. */
sombra_err kv_check_key(sombra_slice key) SOMBRA_MUST_CHECK;
sombra_err kv_check_value(sombra_slice value) SOMBRA_MUST_CHECK;
/* INVALID for bounds that are longer than a key. */
sombra_err kv_check_range(struct kv_range range) SOMBRA_MUST_CHECK;

/* The bounds of a cursor, its own. */
struct kv_bounds {
    size_t low_bytes, high_bytes; /* 0 = no bound */
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
};
/* INVALID. */
sombra_err kv_bounds_set(struct kv_bounds *bounds, struct kv_range range) SOMBRA_MUST_CHECK;
static inline struct kv_range kv_bounds_range(const struct kv_bounds *bounds)
{
    return (struct kv_range){ slice_of(bounds->low, bounds->low_bytes),
                              slice_of(bounds->high, bounds->high_bytes) };
}

#endif
