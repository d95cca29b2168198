/* SPDX-License-Identifier: MIT */
/* upkeep: what is done beside transactions, so that logs and the file stay short: checkpoints, the
 * thread that runs them, compactions. Private to the folder.
 */
#ifndef BTREE_UPKEEP_H
#define BTREE_UPKEEP_H

#include "btree_internal.h"

/* ---- checkpoint.c -------------------------------------------------------------------------- */

/* Brings the newest commit into the file and empties the log. Does nothing if there is nothing to
 * do. `job`, which may be NULL, says how long it waits for others, and is asked meanwhile: BUSY,
 * CANCELLED; the same with the others that take one. */
sombra_err checkpoint_run(struct btree *btree, const struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* The last of all, for a close. */
sombra_err checkpoint_run_last(struct btree *btree) SOMBRA_MUST_CHECK;
/* What a compaction did, for the meta record. */
struct compact_report {
    page_id maps_end;         /* space maps that lie behind are written anew */
    bool is_whole;            /* a round is done: the meta record says what follows */
    bool is_resting;          /* the store rested: it says nothing of the work that goes on else */
    uint64_t pages_before;    /* that the file had */
    uint64_t pages_moved;     /* of them */
    uint32_t free_before_ppm; /* share of the file that was free */
};
/* A checkpoint, whatever there is to do, and the pages at the end of the file that nobody needs are
 * no longer part of the committed state. */
sombra_err checkpoint_run_cutting(struct btree *btree, const struct compact_report *report,
                                  const struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* Commits the write transaction by a checkpoint, without the log; the gate is held throughout. */
sombra_err checkpoint_commit(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* The last process, whose only commit went beside the log: makes the second meta record say the
 * same. */
sombra_err checkpoint_repeat_meta(struct btree *btree) SOMBRA_MUST_CHECK;
/* Called after each commit, outside the gate: starts a checkpoint when the log half that the commit
 * `lsn` went to is long, unless one has begun since. */
void checkpoint_consider(struct btree *btree, uint64_t lsn, uint64_t active_bytes);
/* Holds off writers and checkpoints until resume. */
sombra_err checkpoint_pause(struct btree *btree,
                            const struct kv_maintenance *job) SOMBRA_MUST_CHECK;
void checkpoint_resume(struct btree *btree);

/* ---- background.c -------------------------------------------------------------------------- */

/* After a commit: an idle log gets a mark. */
void background_want_mark(struct btree *btree);
/* A KV_NORMAL commit: the background thread syncs it within the interval. */
void background_want_sync(struct btree *btree, uint64_t lsn);
/* Starts the thread, unless it runs, or must not. Without it, commits run the checkpoints. */
void background_start(struct btree *btree);
void background_stop(struct btree *btree);
/* The same at the end of an open, and as a transaction begins: who is alone and does little has no
 * thread. */
void background_begin(struct btree *btree);
void background_approach(struct btree *btree);

/* ---- compact.c ----------------------------------------------------------------------------- */

enum {
    /* Random writes keep up to three trees in the file, and need the room of two again. */
    COMPACT_WATERMARK_PPM = 750000,
    COMPACT_UNUSED_BYTES_MIN = 16 << 20,
    COMPACT_REST_PPM = 500000, /* of a store that rests */
    COMPACT_REST_MS = 2000,    /* which is to say, so long after its last commit */
};

/* What the background thread knows of the store's rest. */
struct compact_rest {
    uint64_t commits;  /* of this process, and */
    uint64_t leaves;   /* leaves_read, */
    uint64_t since_ns; /* when one of them was new */
    uint64_t next_ns;  /* nothing before */
    uint64_t pins;     /* space_pins at the last look */
};

sombra_err btree_compact(struct btree *btree, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* The background thread's: if enough of the file is free; gives way when `job` says so. */
sombra_err compact_automatic(struct btree *btree, struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* The background thread's, when it has nothing else to do: true = this process wrote last, nobody
 * has committed for a while, nor read much where memory is short, and half of the file is free or
 * about to be. */
bool compact_rest_is_due(struct btree *btree, struct compact_rest *rest);
/* That compaction. It gives way to commits of this process as well, and where memory is short to
 * its readers. */
sombra_err compact_resting(struct btree *btree, struct compact_rest *rest,
                           struct kv_maintenance *job) SOMBRA_MUST_CHECK;
/* At the close: this process wrote last, much of the file is free or about to be, and this open has
 * written about as much as it takes to make the file shorter. */
bool compact_closing_is_due(const struct btree *btree);
/* Nobody else has the store open, and nobody can: what lies at the end of the file is moved into
 * the gaps, and the checkpoint that closes the store cuts it off. */
sombra_err compact_closing(struct btree *btree) SOMBRA_MUST_CHECK;

#endif
