/* SPDX-License-Identifier: MIT */
/* What the files of this folder share, in the order in which they stand on each other:
 * pager and space (pages_internal.h), head (head.h: snapshots), logs (durability), tree, cursor,
 * txn, checkpoint, open.
 */
#ifndef BTREE_INTERNAL_H
#define BTREE_INTERNAL_H

#include "btree.h"
#include "head.h"
#include "meta_format.h"
#include "pages_internal.h"
#include "waiting.h"

/* ---- create.c: a new file ----------------------------------------------------------------- */

/* `path` with `suffix` behind it: mem_* memory; NULL = out of memory. */
char *path_with(const char *path, const char *suffix);
/* Makes the file at btree->path. EXISTS when somebody else was faster; INVALID when another file
 * has the name that it is built under. */
sombra_err file_create(struct btree *btree) SOMBRA_MUST_CHECK;

/* UNSUPPORTED on a network file system, unless that is allowed. */
sombra_err network_refuse(const struct btree *btree, struct os_file *file) SOMBRA_MUST_CHECK;

/* ---- shared.c: the lock file and its processes --------------------------------------------- */

/* Bytes of the lock file that are locked; they lie behind its content. */
#define LOCK_OPEN    (UINT64_C(1) << 61)
#define LOCK_ENTRIES (LOCK_OPEN + 1)
#define LOCK_SLOTS   (LOCK_ENTRIES + HEAD_ENTRIES) /* while the file grows for slots */
/* Bytes of the database file: processes that may write, and readers that have no slot to be seen
 * by, exclude each other. */
#define LOCK_WRITERS  (UINT64_C(1) << 61)
#define LOCK_SLOTLESS (LOCK_WRITERS + 1)
/* And of a file that is being made, under whatever name. */
#define LOCK_CREATION (UINT64_C(1) << 62)
/* Of the database file again, one of so many: each process holds the one that its lock file's
 * identity leads to. Another one held is another lock file, so another name of the database. */
#define LOCK_NAMES     (LOCK_CREATION + 1)
#define LOCK_NAME_BITS 32

struct attachment {
    struct os_file *file; /* the lock file; NULL without a database file, or without a slot */
    unsigned entry;
    owner_word self;
    uint64_t name_byte; /* held in LOCK_NAMES; 0 = none */
    bool is_first;      /* nobody else was attached: recovery may run */
    struct os_mutex blocks_mutex;
    _Atomic uint32_t block_count; /* blocks of reader slots that this process owns */
    uint16_t blocks[HEAD_BLOCKS];
    uint64_t last_sweep_ns;
};

/* Opens the lock file of btree->path, takes the open lock (released by shared_open_done), maps the
 * head and claims an entry. BUSY after the timeout. */
sombra_err shared_attach(struct btree *btree, uint64_t timeout_ms) SOMBRA_MUST_CHECK;
void shared_open_done(struct btree *btree);
/* Under the open lock again: is any other process attached? */
sombra_err shared_begin_close(struct btree *btree, bool *out_is_last) SOMBRA_MUST_CHECK;
/* Is this the only process that is attached, and can none attach before shared_open_done? Does not
 * wait. */
sombra_err shared_hold_alone(struct btree *btree, bool *out_is_alone) SOMBRA_MUST_CHECK;
/* Gives the entry and its slots back, unmaps, closes; removes the lock file if told. */
void shared_detach(struct btree *btree, bool removes_file);
/* Memory without a file: one process, one entry. */
sombra_err shared_private(struct btree *btree) SOMBRA_MUST_CHECK;
/* Does the owner of the word still live? One's own word always does. */
bool shared_is_alive(struct btree *btree, owner_word owner);
/* The id of the owner's process, for people. */
uint32_t shared_process_id(const struct btree *btree, owner_word owner);
/* How somebody waits for the turn, or for another word of the head. */
struct gate_wish {
    uint64_t timeout_ms;  /* UINT64_MAX: as long as it takes */
    bool is_brief;        /* the hold is one of microseconds, which nobody is told is BUSY */
    struct kv_wait *wait; /* whose user is asked meanwhile; NULL = nobody */
};
/* gate.c. CANCELLED, if the user does not want to wait on. */
sombra_err gate_wish_ask(const struct gate_wish *wish) SOMBRA_MUST_CHECK;
/* How long to sleep of `left_ms` before he is asked again. */
uint64_t gate_wish_nap_ms(const struct gate_wish *wish, uint64_t left_ms);
/* BUSY after the timeout. *out_dead is the word of a dead owner it was taken from, or 0. Sets
 * *out_has_waited, which may be NULL, if it slept. CANCELLED. */
sombra_err shared_lock_enter(struct btree *btree, struct shared_lock *lock,
                             const struct gate_wish *wish, owner_word *out_dead,
                             bool *out_has_waited) SOMBRA_MUST_CHECK;
void shared_lock_leave(struct shared_lock *lock);
/* Is there another process that is attached and has no thread to see to the dead? */
bool shared_beside_threadless(struct btree *btree);
/* A sync that a dead process began and nobody saw the end of may have lost data: asks the system,
 * and poisons if it has. */
void shared_check_inflight(struct btree *btree, owner_word dead);
/* The newest KV_NORMAL commit of this process that nobody has synced yet; 0 = none. */
static inline _Atomic uint64_t *shared_normal_lsn(const struct btree *btree);
/* It was committed as KV_NORMAL. Returns what was noted before. */
uint64_t shared_note_normal(struct btree *btree, uint64_t lsn);
/* The newest such commit of a dead process. */
uint64_t shared_dead_normal_lsn(struct btree *btree);
/* Clears the slots of dead processes; at most every few milliseconds. */
void shared_sweep(struct btree *btree);
/* A block of slots for this process, or LIMIT. */
sombra_err shared_claim_block(struct btree *btree) SOMBRA_MUST_CHECK;
/* os_sync, with the mark that makes its failure known even if this process dies of it. */
sombra_err shared_sync(struct btree *btree, struct os_file *file) SOMBRA_MUST_CHECK;
void shared_sync_begin(struct btree *btree);
void shared_sync_end(struct btree *btree, sombra_err err);

/* ---- logs.c: two log files, one active ---------------------------------------------------- */

enum { LOG_HALVES = 2, LOG_FIRST_BYTES = 256 << 10 };

struct logs {
    struct btree *btree;
    struct wal *halves[LOG_HALVES]; /* NULL until this process needs them */
    struct os_mutex open_mutex;     /* guards the opening of halves */
    struct wal_group group;         /* one sync for all threads that wait for one */
    unsigned active;                /* the writer's view, right while it has the turn */
    uint64_t epoch;
    _Atomic uint64_t last_sync_ns;
    _Atomic uint64_t bytes; /* of both files, as this process last saw them; for stats */
};

sombra_err logs_init(struct logs *logs, struct btree *btree) SOMBRA_MUST_CHECK;
void logs_release(struct logs *logs);
char *logs_path(const struct btree *btree, unsigned half); /* mem_* memory; NULL = out of memory */
/* Opens the files of a log that exists. CORRUPT when one is missing. */
sombra_err logs_open(struct logs *logs) SOMBRA_MUST_CHECK;
/* Another process may have written: takes the published end for the end, and makes what lies behind
 * it harmless. */
sombra_err logs_take_turn(struct logs *logs, const struct snapshot *newest) SOMBRA_MUST_CHECK;
/* Opens the files if the log exists and this process has not opened them yet. */
sombra_err logs_open_if_any(struct logs *logs) SOMBRA_MUST_CHECK;
bool logs_are_open(struct logs *logs);
/* New log files, empty under a fresh epoch. names_sync saves their names, and the sync of the first
 * record that must be durable its half's bytes and length: until then a log that is shorter, or
 * empty, says the same. */
sombra_err logs_create(struct logs *logs, uint64_t epoch) SOMBRA_MUST_CHECK;
/* Does the store's name stand for another file by now? NOT_FOUND: for none. */
sombra_err logs_check_name(const struct btree *btree, bool *out_is_replaced) SOMBRA_MUST_CHECK;
/* CONFLICT: the name stands for another file, and the logs beside it are that one's. */
sombra_err logs_unlink(struct logs *logs) SOMBRA_MUST_CHECK;
/* At open: all processes may make the log as long as the options of this one allow. */
void logs_allow(struct logs *logs);
/* `syncs_soon`: a commit waits for the record's sync. Else it is stored through a mapping where the
 * file system allows that: no system call, but a sync that costs twice as much. */
sombra_err logs_reserve(struct logs *logs, uint64_t payload_bytes,
                        bool syncs_soon) SOMBRA_MUST_CHECK;
sombra_err logs_append(struct logs *logs, uint64_t lsn, const struct os_iovec *parts,
                       size_t count) SOMBRA_MUST_CHECK;
/* Everything up to `lsn` is durable when it returns OK. A failure poisons the store. */
sombra_err logs_sync(struct logs *logs, uint64_t lsn) SOMBRA_MUST_CHECK;
/* The other half becomes active, empty, under the next epoch. */
sombra_err logs_switch(struct logs *logs) SOMBRA_MUST_CHECK;
void logs_raise_durable(struct logs *logs, uint64_t lsn);
struct wal_position logs_position(const struct logs *logs);
sombra_err logs_append_mark(struct logs *logs, uint64_t last_lsn,
                            uint64_t durable_lsn) SOMBRA_MUST_CHECK;
/* A commit without a record has this number. */
void logs_cover(struct logs *logs, uint64_t lsn);
uint64_t logs_bytes(const struct logs *logs);

/* ---- meta.c ------------------------------------------------------------------------------- */

struct meta {
    uint8_t uuid[16];
    uint32_t page_bytes;
    uint64_t sequence;
    struct snapshot snapshot;
    enum meta_log_state log_state;
    struct wal_position log; /* where the log of what follows begins */
    unsigned log_half;
    page_id space_directory;
    uint64_t pages_free, pages_pending;
    uint64_t created_ns;
    uint64_t compact_txn, compact_moved, compact_returned; /* of the last compaction */
    uint32_t compact_watermark_ppm; /* free share that starts the next; 0 = the default */
};

void meta_encode(const struct meta *meta, uint8_t out_bytes[META_BYTES]);
/* INVALID: not a database; UNSUPPORTED: newer; CORRUPT. */
sombra_err meta_decode(const uint8_t bytes[META_BYTES], struct meta *out) SOMBRA_MUST_CHECK;
/* The newest valid of the two, and its slot. */
/* What a checkpoint or the first write made durable, in memory and for all processes. */
void durable_meta_set(struct btree *btree, const struct meta *meta, unsigned slot);
/* The durable meta as the head names it. */
sombra_err meta_read_durable(struct btree *btree, struct meta *out,
                             unsigned *out_slot) SOMBRA_MUST_CHECK;
sombra_err meta_choose(struct os_file *file, struct meta *out, unsigned *out_slot,
                       bool *out_is_settled) SOMBRA_MUST_CHECK;
sombra_err meta_write(struct os_file *file, unsigned slot,
                      const struct meta *meta) SOMBRA_MUST_CHECK; /* not synced */

/* ---- the store ---------------------------------------------------------------------------- */

/* The turn of the one writer among this process's threads. */
/* How often the first of those that wait for the turn is passed over. */
enum { GATE_PASSES_MAX = 64 };
struct writer_gate {
    struct os_mutex mutex;
    struct gate_waiter *waiters; /* in the order in which they came */
    unsigned waiter_count;
    unsigned passes; /* turns that others took while the first of them waited */
    unsigned
        patience; /* the owner's: how often other processes are passed over before it stands back */
    bool is_held;
    bool is_brief; /* by a checkpoint's first steps: everybody waits for that, whatever its timeout
                    */
    pthread_t owner;
};

struct path_level {
    page_id id;
    const uint8_t *page; /* the writer's are writable once touched */
    unsigned index;      /* of the child taken, or of the entry in the leaf */
};

/* Level 0 is the leaf, depth - 1 the root. */
struct tree_path {
    unsigned depth;
    unsigned steps;   /* from leaf to leaf since the descent */
    unsigned fetched; /* leaves behind this one, under the same branch, that were asked for */
    /* The leaf that a walk comes to next: NULL = not known, or not to be asked for. */
    const uint8_t *ahead;
    size_t ahead_bytes; /* of it, from its front, that were not asked for yet */
    struct path_level at[PAGE_LEVEL_MAX + 1];
};

/* Where the last put went: the next one to the same leaf needs no descent. It holds while nothing
 * else was written (the generation) and no savepoint was set (the stamp), and only where pages stay
 * where they are in memory. */
struct put_finger {
    uint64_t stamp; /* 0 = leads nowhere; no transaction has it */
    uint64_t generation;
    struct tree_path path;        /* all of it the transaction's own */
    unsigned run;                 /* entries put there last, each right behind the one before */
    unsigned run_index;           /* of the last of them */
    bool has_bounds;              /* of the leaf; looked for when two puts in turn go there */
    size_t low_bytes, high_bytes; /* 0 = the leaf is the first, the last */
    uint8_t low[KV_KEY_BYTES_MAX], high[KV_KEY_BYTES_MAX];
};

/* Where the writer's last get of a leaf of general form went: a put of the same key, as of who
 * changes what he has read, needs no descent. It holds as long as a finger. */
struct get_trail {
    uint64_t stamp; /* 0 = leads nowhere */
    uint64_t generation;
    struct tree_path path; /* as it was read */
    bool is_there;         /* the path leads to the key's entry; else to where it belongs */
    size_t key_bytes;
    uint8_t key[64]; /* longer ones leave no trail */
};

#define CHECKPOINT_LOG_BYTES_MAX (128 * MiB) /* log that starts a checkpoint, by default */

enum { SCRATCH_PAGES = 5, READERS_KEPT_MAX = 64 };

struct btree {
    struct kv kv;
    struct kv_metrics metrics;
    struct os *os;
    char *path; /* NULL without a file */
    struct os_file *file;
    struct attachment attachment;
    struct os_identity identity;
    struct btree_options options;
    struct os_registered registered; /* as this process's registry has it */
    struct pager pager;
    struct space space; /* the writer's */
    struct head *head;
    struct logs logs;
    struct writer_gate gate;
    struct btree_txn *writer; /* the open write transaction; reused by the next */
    /* Read transactions, with their spare cursors, kept for the next in the same reader slot. Who
     * holds slot i of the head owns entry i, from the claim to the release: no lock, no atomics. */
    struct btree_txn *readers[HEAD_SLOTS];
    _Atomic uint32_t reader_count; /* of them; above READERS_KEPT_MAX an ending one is freed */
    uint64_t newest_sequence; /* of the last commit this process published, 0 = none, and that */
    struct snapshot newest;   /* commit; the writer's */
    uint8_t *scratch[SCRATCH_PAGES]; /* the writer's page images for splits and merges */
    struct leaf_split *split;        /* the writer's */
    struct put_finger finger;        /* the writer's */
    struct get_trail trail;          /* the writer's */
    struct edits edits;              /* the writer's */
    /* The durable meta; changed by checkpoints, one at a time. */
    struct meta meta;
    unsigned meta_slot;
    bool is_beside;            /* the open write transaction is to commit without a log, and none is
                                  made for it (txn.c) */
    bool went_beside;          /* one of this open did */
    uint8_t created_uuid[16];  /* of the file that this open made and synced, and its name; zeros =
                                  none */
    uint64_t settled_sequence; /* of a meta whose tree this process knows to be durable; 0 = none */
    bool is_prepared;          /* this process has synced what it read, and has the logs open */
    bool has_turns; /* this process had the writer's turn: its account may be caught up with */
    uint64_t checkpoint_log_max; /* log that starts a checkpoint, however large the tree */
    /* Checkpoints: one at a time, and only under this. */
    struct os_mutex checkpoint_mutex;
    struct os_condition checkpoint_changed;
    bool checkpoint_runs, checkpoint_wanted;
    uint64_t checkpoint_lsn; /* that the last one of this process began with */
    bool background_stops;
    struct os_thread background;
    _Atomic uint32_t has_background; /* the thread above runs */
    /* Transactions that may begin before it does; 0 = it runs, or never will, or waits for the
     * first write. */
    _Atomic uint32_t background_after;
    _Atomic uint64_t
        transactions_open;        /* from the first step of begin to the last of commit or abort */
    _Atomic uint32_t mark_wanted; /* commits since the log's last idle mark */
    _Atomic uint32_t is_forked;   /* this is a child of the process that opened it */
    _Atomic uint64_t pages_free, pages_pending; /* as of the newest commit, for stats */
    _Atomic uint64_t pages_read;                /* of the pending ones: readers need them */
    _Atomic uint64_t pages_used;                /* by that commit's tree and the space maps */
    _Atomic uint32_t space_pressure;            /* enum space_pressure, as of that commit */
    /* Compactions: one at a time in a process; the automatic one gives way. Under
     * checkpoint_mutex, but for reading `compacts`. */
    _Atomic uint32_t compacts;
    unsigned compact_waiters;
    bool compact_wanted;          /* a checkpoint found much of the file free */
    uint64_t rest_ms;             /* COMPACT_REST_MS, but in tests */
    _Atomic uint64_t leaves_read; /* by this process's read transactions while memory was short */
};

/* ---- txn.c -------------------------------------------------------------------------------- */

struct savepoint {
    uint64_t mark;
    uint64_t stamp; /* pages written before have at most this */
    struct snapshot snapshot;
    size_t change_count;
    size_t redo_bytes;
    bool is_changed;
};

struct btree_txn {
    struct kv_txn kv;
    struct btree *btree;
    struct snapshot snapshot;           /* what a reader sees; the writer's working state */
    unsigned slot;                      /* a reader's */
    struct btree_cursor *spare_cursors; /* closed ones, kept for the next cursors of the like */
    unsigned spare_count;
    unsigned open_cursors;
    uint64_t newest_page_txn; /* no page of this tree is newer */
    uint64_t sealed_txn;      /* pages of this tree that are no newer have their checksums */
    /* The writer's: */
    uint64_t stamp;       /* written into its pages; pages of other stamps are copied first */
    uint64_t generation;  /* raised by each write: cursors re-seek */
    uint64_t given_bytes; /* keys and values of its puts and deletes */
    unsigned care;        /* enum txn_care */
    bool is_changed;
    bool is_bypass; /* commits as a checkpoint: too big for the log, or there is none (is_beside) */
    bool is_replay; /* recovery's own: nothing is logged */
    bool is_salvage;   /* redo_apply passes by deletes of what is not there */
    struct buf redo;   /* operations, as in redo_format.h */
    struct buf lent;   /* a copy of arguments that point into pages */
    struct buf record; /* head of the log record */
    struct deferred deferred;
    struct held_put held;
    struct held_many many;
    struct savepoint *savepoints;
    size_t savepoint_count, savepoint_capacity;
    uint64_t next_mark;
};

static inline _Atomic uint64_t *shared_normal_lsn(const struct btree *btree)
{
    return &btree->head->entries[btree->attachment.entry].normal_lsn;
}

static inline struct btree *btree_of(struct kv *kv)
{
    return container_of(kv, struct btree, kv);
}
static inline struct btree_txn *txn_of(struct kv_txn *txn)
{
    return container_of(txn, struct btree_txn, kv);
}

extern const struct kv_ops btree_ops;

/* Before each call but puts: deferred ones are put. INVALID after a write that broke off in the
 * middle, and in a child of the process that began it. */
sombra_err txn_attend(struct btree_txn *txn) SOMBRA_MUST_CHECK;
static inline bool txn_is_plain(const struct btree_txn *txn)
{
    return txn->care == 0 && !atomic_load_explicit(&txn->btree->is_forked, memory_order_relaxed);
}
static inline SOMBRA_MUST_CHECK sombra_err txn_check(struct btree_txn *txn)
{
    return LIKELY(txn_is_plain(txn)) ? SOMBRA_OK : txn_attend(txn);
}

sombra_err btree_begin(struct kv *kv, const struct kv_begin_options *options,
                       struct kv_txn **out_txn) SOMBRA_MUST_CHECK;
sombra_err btree_commit(struct kv_txn *txn, enum kv_durability durability) SOMBRA_MUST_CHECK;
void btree_abort(struct kv_txn *txn);
sombra_err btree_savepoint(struct kv_txn *txn, enum kv_savepoint_action action,
                           uint64_t *mark) SOMBRA_MUST_CHECK;
/* gate.c. */
sombra_err gate_init(struct writer_gate *gate) SOMBRA_MUST_CHECK;
void gate_release(struct writer_gate *gate);
/* The turn among threads, then among processes; *out_dead is the dead owner it was taken from, or
 * 0. BUSY, CANCELLED. */
sombra_err gate_enter_as(struct btree *btree, const struct gate_wish *wish,
                         owner_word *out_dead) SOMBRA_MUST_CHECK;
/* Nobody is asked. */
sombra_err gate_enter(struct btree *btree, uint64_t timeout_ms,
                      owner_word *out_dead) SOMBRA_MUST_CHECK;
sombra_err gate_enter_brief(struct btree *btree, uint64_t timeout_ms,
                            owner_word *out_dead) SOMBRA_MUST_CHECK;
/* Is it held in this process by who may hold it long? */
bool gate_is_held_long(struct btree *btree);
void gate_leave(struct btree *btree);
/* Under the gate: makes the working state of a write transaction. */
sombra_err txn_start_write(struct btree *btree, owner_word dead,
                           struct btree_txn **out_txn) SOMBRA_MUST_CHECK;
void txn_end_write(struct btree_txn *txn);
/* Frees a transaction that is over, with everything it kept. NULL is a no-op. */
void btree_txn_free(struct btree_txn *txn);
void txn_undo_all(struct btree_txn *txn);
/* The page account of this process is that of the snapshot. */
void account_note(struct btree *btree, const struct snapshot *snapshot);
/* And the snapshot is the newest commit, for everybody. */
void account_publish(struct btree *btree, const struct snapshot *snapshot);
/* Commits it through the log, without a sync. */
sombra_err txn_commit_logged(struct btree_txn *txn, bool syncs_soon) SOMBRA_MUST_CHECK;
/* Makes the transaction the newest state; the page account and numbers move on. */
void txn_publish(struct btree_txn *txn, uint64_t lsn);
/* What of a commit can fail before its record is appended: room in the page account, the record's
 * head, room in the log. */
sombra_err txn_reserve(struct btree_txn *txn, bool syncs_soon) SOMBRA_MUST_CHECK;
/* Appends the record that txn_reserve made room for. */
sombra_err txn_append(struct btree_txn *txn, uint64_t lsn) SOMBRA_MUST_CHECK;

/* ---- redo.c ------------------------------------------------------------------------------- */

sombra_err redo_put(struct btree_txn *txn, sombra_slice key, sombra_slice value) SOMBRA_MUST_CHECK;
sombra_err redo_put_many(struct btree_txn *txn, const struct kv_entry *entries,
                         size_t count) SOMBRA_MUST_CHECK;
/* So many bytes more are about to be put: if that is too much for the log, now is the time. */
void redo_expect(struct btree_txn *txn, uint64_t bytes);
sombra_err redo_delete(struct btree_txn *txn, sombra_slice key) SOMBRA_MUST_CHECK;
sombra_err redo_delete_range(struct btree_txn *txn, struct kv_range range) SOMBRA_MUST_CHECK;
/* What its last operation puts, which begins at `at`; the slices are of the redo. */
void redo_read_put(const struct btree_txn *txn, size_t at, sombra_slice *out_key,
                   sombra_slice *out_value);
/* The transaction changes pages and no entry. */
sombra_err redo_move(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* Forgets the operations behind the first `bytes`; of a bypass there are none to forget. */
static inline void redo_rewind(struct btree_txn *txn, size_t bytes)
{
    if (!txn->is_bypass)
        txn->redo.bytes = bytes;
}
/* The record's head: numbers and page lists. */
sombra_err redo_head(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* Applies a record's operations to the transaction. CORRUPT for bytes that make no sense. */
sombra_err redo_apply(struct btree_txn *txn, sombra_slice payload,
                      uint64_t *out_txn) SOMBRA_MUST_CHECK;
/* Applies a record's page list to the account, and proves that the result is what the record says.
 */
sombra_err redo_apply_space(struct space *space, sombra_slice payload) SOMBRA_MUST_CHECK;

/* ---- tree.c, tree_write.c, tree_split.c, tree_delete.c ---------------------------------- */

/* The page at `id`, proved, of the level it must have. */
sombra_err tree_page_slow(struct btree_txn *txn, page_id id, unsigned level,
                          const uint8_t **out_page) SOMBRA_MUST_CHECK;

/* A page of this snapshot that was proved, and is in the map for everybody. */
static inline bool tree_page_is_near(const struct btree_txn *txn, page_id id)
{
    const struct pager *pager = &txn->btree->pager;
    return id < txn->snapshot.page_count &&
           atomic_load_explicit(&pager->modes, memory_order_relaxed) == 0 &&
           pager_bit(pager->sound_trees, id);
}

/* Copy-on-write makes these exact, and they stop cycles and reused pages. */
static inline bool tree_page_fits(const struct btree_txn *txn, const uint8_t *page, page_id id,
                                  unsigned level)
{
    uint64_t word = get_le64(page + PAGE_NUMBER);
    return (word & UINT64_C(0xffffffffffff)) == id && (word >> 56) == level &&
           get_le64(page + PAGE_TXN) <= txn->newest_page_txn;
}

/* Most pages: proved before, and where neither a transaction's image nor little memory wants care.
 * NULL: tree_page_slow gets it, or tells what is wrong. */
static inline const uint8_t *tree_page_at_hand(const struct btree_txn *txn, page_id id,
                                               unsigned level)
{
    if (LIKELY(tree_page_is_near(txn, id))) {
        const uint8_t *page = pager_page(&txn->btree->pager, id);
        if (LIKELY(tree_page_fits(txn, page, id, level)))
            return page;
    }
    return NULL;
}

static inline sombra_err tree_page(struct btree_txn *txn, page_id id, unsigned level,
                                   const uint8_t **out_page)
{
    txn->kv.pages++;
    const uint8_t *page = tree_page_at_hand(txn, id, level);
    if (UNLIKELY(!page))
        return tree_page_slow(txn, id, level, out_page);
    *out_page = page;
    return SOMBRA_OK;
}

/* gcc 12 takes a function that only fetches ahead for one without effect, and leaves calls of it
 * out unless they are inlined first. */
#define PREFETCHER static inline __attribute__((always_inline)) void

/* The heads of a page about to be searched, together with its header: they would be asked for one
 * after the other. Any number may be given, also one from a page that was not proved. */
PREFETCHER tree_prefetch(const struct btree_txn *txn, page_id id)
{
    enum { LINE_BYTES = 64, LINES = 5 };
    const struct pager *pager = &txn->btree->pager;
    if (UNLIKELY(id >= txn->snapshot.page_count))
        return;
    const uint8_t *page = pager_page(pager, id);
#pragma GCC unroll 8
    for (size_t i = 0; i < LINES; i++)
        __builtin_prefetch(page + i * LINE_BYTES);
}
/* The same of a leaf, whose prefix stands at its end: that is compared first of all. */
PREFETCHER tree_prefetch_leaf(const struct btree_txn *txn, page_id id)
{
    enum { LINE_BYTES = 64, LINES = 8 };
    const struct pager *pager = &txn->btree->pager;
    if (UNLIKELY(id >= txn->snapshot.page_count))
        return;
    const uint8_t *page = pager_page(pager, id);
    __builtin_prefetch(page + pager->page_bytes - 1);
#pragma GCC unroll 8
    for (size_t i = 0; i < LINES; i++)
        __builtin_prefetch(page + i * LINE_BYTES);
}

sombra_err tree_descend(struct btree_txn *txn, sombra_slice key,
                        struct tree_path *out_path) SOMBRA_MUST_CHECK;
/* The same for who will change the leaf, in two steps, so that there is something to do while the
 * leaf comes: no user may be lent what is read through this path. The first finds the leaf and asks
 * for it, and for most of what a copy of it reads; the path leads to its branches. */
sombra_err tree_approach_writing(struct btree_txn *txn, sombra_slice key,
                                 struct tree_path *out_path) SOMBRA_MUST_CHECK;
sombra_err tree_arrive_writing(struct btree_txn *txn, struct tree_path *path) SOMBRA_MUST_CHECK;
/* Does the trail lead to where the key is or belongs? Then *out_path is that of both steps, with
 * its entry, and *out_is_there says whether there is one. */
bool tree_trail_leads(struct btree_txn *txn, sombra_slice key, struct tree_path *out_path,
                      bool *out_is_there);
/* To the first or last leaf; the leaf's index is that of its first or last entry. */
sombra_err tree_descend_edge(struct btree_txn *txn, bool to_last,
                             struct tree_path *out_path) SOMBRA_MUST_CHECK;
/* To the neighbouring leaf; *out_found false when there is none (the path is then unchanged). After
 * a failure the path leads nowhere. */
sombra_err tree_step_leaf(struct btree_txn *txn, struct tree_path *path, bool forward,
                          bool *out_found) SOMBRA_MUST_CHECK;
/* Who reads the `left` entries that the path's leaf still has, and then those of the next one, lets
 * that come meanwhile: asks for a part of it after each few entries. The first says how many these
 * are, at least one, the second asks. Neither fails: what is not known is not asked for. */
unsigned tree_ahead_pace(const struct btree_txn *txn, struct tree_path *path, bool forward,
                         unsigned left);
void tree_ahead_fetch(const struct btree_txn *txn, struct tree_path *path);
/* Is the key in the leaf, child of `branch`, as far as that is known without it? Nothing is, but
 * where memory is short. And the rest of a get: the value's bytes, or NOT_FOUND. */
enum filter_answer tree_ask_filter(struct btree_txn *txn, const uint8_t *branch, page_id leaf,
                                   sombra_slice key);
sombra_err tree_get_asked(struct btree_txn *txn, page_id leaf, enum filter_answer answer,
                          sombra_slice key, sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* Number of entries with keys < key. */
sombra_err tree_rank(struct btree_txn *txn, sombra_slice key, uint64_t *out_rank) SOMBRA_MUST_CHECK;
/* The value's bytes, wherever they are. */
sombra_err tree_value(struct btree_txn *txn, const struct leaf_value *value,
                      sombra_slice *out) SOMBRA_MUST_CHECK;

/* For who changes pages and no entries (tree_pack.c). Makes levels [from, depth) of the path this
 * transaction's own; pages were reserved. */
void tree_touch(struct btree_txn *txn, struct tree_path *path, unsigned from);
/* Puts an image built elsewhere into a page of this transaction. */
void tree_put_image(struct btree_txn *txn, uint8_t *to, page_id id, const uint8_t *image);
/* CORRUPT if the account has pages as unused that the tree uses. */
sombra_err tree_check_used(const struct btree_txn *txn, page_id id,
                           uint64_t pages) SOMBRA_MUST_CHECK;
/* Frees the value's run, if it has one. */
void tree_free_value(struct btree_txn *txn, const struct leaf_value *value);
/* Entries below a page of that level. */
uint64_t tree_entries(const struct btree_txn *txn, const uint8_t *page, unsigned level);
/* A root of one child is no root. */
sombra_err tree_shrink_root(struct btree_txn *txn) SOMBRA_MUST_CHECK;

/* ---- tree_defer.c -------------------------------------------------------------------------- */

/* Logs the put and notes it for later, unless it is one to be put at once, by the caller. After a
 * failure nothing has happened, or the transaction has failed. */
sombra_err tree_defer_put(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                          bool *out_is_deferred) SOMBRA_MUST_CHECK;
/* Puts what is deferred; a failure is the transaction's. */
sombra_err tree_defer_settle(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* They are rolled back. */
void tree_defer_forget(struct btree_txn *txn);
void tree_defer_release(struct btree_txn *txn);

/* ---- tree_pack.c --------------------------------------------------------------------------- */

/* Where a pass over one level of the tree stands: before the child that has `key`. */
struct pack_place {
    unsigned level; /* of the pages looked at */
    bool is_done;
    size_t key_bytes; /* 0 = at the beginning */
    uint8_t key[KV_KEY_BYTES_MAX];
};

/* Packing the tree: fewer, fuller pages, and none of them far behind in the file. */
struct pack {
    page_id tree_end, run_end; /* tree pages and values that lie behind are moved before */
    unsigned gain_share; /* neighbours are packed when that saves one page of so many; 0: never */
    uint64_t page_count_max; /* the file may grow to it for that */
    bool is_starved;         /* what finds no room is passed by: waiting brings none */
    /* Out: */
    uint64_t pages_seen;  /* of the tree */
    uint64_t pages_saved; /* by packing */
    uint64_t pages_moved; /* copied, for whatever reason */
    uint64_t runs_stuck;  /* values that found no lower place */
    bool is_short;        /* stopped: there are not enough free pages */
};

/* Works on from `place`, for a bounded time. After an error the transaction is to be undone. */
sombra_err tree_pack_step(struct btree_txn *txn, struct pack *pack,
                          struct pack_place *place) SOMBRA_MUST_CHECK;

sombra_err btree_get(struct kv_txn *txn, sombra_slice key,
                     sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* get_many.c */
sombra_err btree_get_many(struct kv_txn *txn, const sombra_slice *keys, size_t count,
                          kv_value_fn each, void *context) SOMBRA_MUST_CHECK;
sombra_err btree_count(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                       uint64_t *out_count) SOMBRA_MUST_CHECK;
sombra_err btree_estimate(struct kv_txn *txn, struct kv_range range,
                          uint64_t *out_count) SOMBRA_MUST_CHECK;
sombra_err btree_put(struct kv_txn *txn, sombra_slice key, sombra_slice value) SOMBRA_MUST_CHECK;
sombra_err btree_put_many(struct kv_txn *txn, const struct kv_entry *entries,
                          size_t count) SOMBRA_MUST_CHECK;
sombra_err btree_expect(struct kv_txn *txn, uint64_t bytes) SOMBRA_MUST_CHECK;
sombra_err btree_delete(struct kv_txn *txn, sombra_slice key) SOMBRA_MUST_CHECK;
sombra_err btree_delete_range(struct kv_txn *txn, struct kv_range range,
                              uint64_t *out_removed) SOMBRA_MUST_CHECK;

/* ---- cursor.c ------------------------------------------------------------------------------ */

sombra_err btree_cursor_open(struct kv_txn *txn, struct kv_range range,
                             struct kv_cursor **out_cursor) SOMBRA_MUST_CHECK;
sombra_err btree_cursor_move(struct kv_cursor *cursor, enum kv_motion motion, sombra_slice key,
                             bool *out_found) SOMBRA_MUST_CHECK;
sombra_err btree_cursor_read(struct kv_cursor *cursor, enum kv_motion direction,
                             struct kv_batch *batch) SOMBRA_MUST_CHECK;
sombra_err btree_cursor_words(struct kv_cursor *cursor, struct kv_words *words) SOMBRA_MUST_CHECK;
void btree_cursor_close(struct kv_cursor *cursor);
/* Frees the closed cursors that the transaction keeps. */
void cursors_free_spare(struct btree_txn *txn);

/* ---- open.c, check.c ----------------------------------------------------------------------- */

/* Writes the chosen meta again, syncs it, cuts the file to it. */
sombra_err base_restore(struct btree *btree) SOMBRA_MUST_CHECK;
/* Saves the names of the store's files: its maker may have died before it had. */
sombra_err names_sync(struct btree *btree) SOMBRA_MUST_CHECK;
/* Alone with an unclean file: see recover.c. */
sombra_err btree_recover(struct btree *btree) SOMBRA_MUST_CHECK;
/* A clean database's logs, if any were left, must be its own and empty. */
sombra_err logs_check_clean(const struct btree *btree) SOMBRA_MUST_CHECK;
/* Before the first write after an open: the chosen meta is written again and synced (what recovery
 * read may be page cache that the disk never got; not if this very open made the file), the space
 * maps are loaded, the log is made. Under the gate. */
sombra_err btree_prepare_write(struct btree *btree) SOMBRA_MUST_CHECK;
/* Is the tree of the meta that this process has known to be durable? */
static inline bool meta_is_settled(const struct btree *btree)
{
    return btree->meta.sequence == btree->settled_sequence;
}
/* Writes a meta record, and syncs it. */
sombra_err meta_save(struct btree *btree, unsigned slot, const struct meta *meta) SOMBRA_MUST_CHECK;
/* Has the writer's turn: everything that another process may have changed since the last turn is
 * caught up with. */
sombra_err turn_take(struct btree *btree, owner_word dead,
                     struct snapshot *out_newest) SOMBRA_MUST_CHECK;
/* Has the turn, taken from the `dead` or 0, and begins a user's transaction: where it may well be
 * the only one of this open, everything is made ready for it but a log. `is_beside` says so, until
 * turn_end_beside. */
sombra_err turn_begin_beside(struct btree *btree, owner_word dead) SOMBRA_MUST_CHECK;
void turn_end_beside(struct btree *btree);
/* Saves the name of the database, unless this open has. */
sombra_err name_sync(struct btree *btree) SOMBRA_MUST_CHECK;
/* A checkpoint that was cut short by its process's death: makes it whole, or as if it never was. */
sombra_err intent_finish(struct btree *btree) SOMBRA_MUST_CHECK;
/* Another process may have written a newer durable meta: reads it. */
sombra_err meta_refresh(struct btree *btree) SOMBRA_MUST_CHECK;
sombra_err btree_close(struct kv *kv) SOMBRA_MUST_CHECK;
sombra_err btree_maintain(struct kv *kv, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err btree_verify(struct btree *btree, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err btree_backup(struct btree *btree, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
sombra_err btree_walk_stats(struct btree *btree, struct kv_stats *stats) SOMBRA_MUST_CHECK;

#endif
