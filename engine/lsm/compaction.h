/* SPDX-License-Identifier: MIT */
/* compaction: what flush.c, early.c, compaction.c, policy.c, background.c and stall.c share.
 *
 * policy.c decides, from a version and the running jobs alone, what is to be merged next: a PICK.
 * compaction.c carries a pick out, flush.c writes a memtable; both write through an OUTPUT, which
 * cuts tables. background.c owns threads, jobs and retries; stall.c holds writers back.
 *
 * Invariants:
 * - The inputs of a pick are neighbours in age: no source between them overlaps their keys. So the
 *   output, put in the place of the newest (a level-0 run number) or below all of them (a level),
 *   keeps the order of ages.
 * - A running job has a SPAN: levels and keys. Two spans that share both never run at once, so
 *   outputs into a level overlap nothing there, and what lies below an input cannot become newer.
 * - A delete is dropped when no older run, of the version that the job began with, has a table over
 *   its key. Older tables only move deeper or go away while the job runs, so that stays true.
 *
 * Threads: everything marked "mutex" needs lsm->mutex held; the rest needs it free.
 */
#ifndef COMPACTION_H
#define COMPACTION_H

#include "lsm_internal.h"

/* ---- policy (pure) ------------------------------------------------------------------------- */

/* Where a running job works. Merges within level 0 have level 0 and meet no other job: their inputs
 * are marked, and nobody reaches over marked ones. */
struct compaction_span {
    unsigned first_level, level; /* newest and oldest level it touches */
    sombra_slice low, end;       /* bytes live as long as the job */
    const void *owner;           /* tells it from others */
};
struct compaction_input {
    size_t run;          /* index in version->runs */
    size_t first, count; /* of the run's tables */
};
enum { COMPACTION_INPUTS_MAX = 64 };
struct pick {
    struct compaction_input inputs[COMPACTION_INPUTS_MAX]; /* newest first */
    size_t input_count;
    unsigned level; /* of the output */
    uint64_t run;   /* its run number; 0 but in level 0 */
    bool is_move;   /* the tables change their level as they are */
    double score;   /* >= 1: due; below: useful */
    uint64_t bytes; /* of all inputs */
    sombra_slice low, end;
};
struct policy_input {
    const struct version *version;
    const struct lsm_options *options;
    const struct compaction_span *spans; /* of running jobs */
    size_t span_count;
};
struct policy_levels {
    unsigned base; /* where level 0 goes */
    uint64_t bytes[LSM_LEVELS];
    uint64_t target[LSM_LEVELS]; /* 0: to be emptied */
    size_t runs;                 /* in level 0 */
};
void policy_levels(const struct version *version, const struct lsm_options *options,
                   struct policy_levels *out);
/* What is most urgent; false when nothing is due or all of it must wait for running jobs. The
 * pick's slices are the version's. */
bool policy_pick(const struct policy_input *input, struct pick *out);
/* All of the oldest runs, at most COMPACTION_INPUTS_MAX, with a run number <= newest_run, into the
 * last level. False when they are one run there already, without deletes. */
bool policy_pick_all(const struct version *version, uint64_t newest_run, struct pick *out);
/* The level that a new table over [low, end), newer than all, of about `bytes`, can be put into. */
unsigned policy_flush_level(const struct policy_input *input, sombra_slice low, sombra_slice end,
                            uint64_t bytes);
uint64_t policy_debt(const struct version *version, const struct lsm_options *options);
/* Tables of the run that overlap [low, end): *out_first and how many. */
size_t policy_overlap(const struct version_run *run, sombra_slice low, sombra_slice end,
                      size_t *out_first);

/* ---- output -------------------------------------------------------------------------------- */

/* Writes entries and hidden ranges, both ascending, as tables of one run. */
struct table_output {
    struct lsm *lsm;
    unsigned level;
    uint64_t run;
    enum codec_id codec;
    uint64_t seq_max;
    uint64_t entries_hint;         /* of one table */
    const struct version *version; /* older runs: from `older` on; kept by the caller */
    size_t older;
    size_t *places;                  /* in each of the version's runs: no older table before */
    const struct range_set *ranges;  /* hidden in older sources; may be NULL */
    size_t range;                    /* next one */
    struct buf from;                 /* ranges begin here at the earliest */
    const struct version_run *below; /* run two levels down, or NULL: limits a table's overlap */
    size_t below_place;
    uint64_t below_bytes;        /* passed by the table that is written */
    struct table_writer *writer; /* NULL between tables */
    struct edit_table *tables;   /* finished; owns their bounds */
    size_t count, capacity;
    uint64_t bytes; /* of finished tables */
};
/* `low`: where the output begins (empty = no bound). */
sombra_err table_output_init(struct table_output *output, sombra_slice low) SOMBRA_MUST_CHECK;
/* Deletes with nothing older below are left out. */
sombra_err table_output_add(struct table_output *output,
                            const struct lsm_entry *entry) SOMBRA_MUST_CHECK;
/* Ends the last table; ranges go up to `end` (empty = all). */
sombra_err table_output_finish(struct table_output *output, sombra_slice end) SOMBRA_MUST_CHECK;
uint64_t table_output_bytes(const struct table_output *output);
/* Removes the files unless they are `kept`. */
void table_output_release(struct table_output *output, bool is_kept);

/* ---- jobs ---------------------------------------------------------------------------------- */

/* What a thread came to that shared a job with others. */
struct share_outcome {
    sombra_err err;
    char text[DIAG_TEXT_BYTES]; /* of err */
};
/* Notes an error, whose text is the thread's; then the others' shares are given up. */
void share_note(struct share_outcome *outcome, sombra_err err, _Atomic bool *is_given_up);
/* Which of two to tell: the failure that the others were given up for. */
const struct share_outcome *share_worse(const struct share_outcome *a,
                                        const struct share_outcome *b);
/* Its error, and the text is this thread's. */
sombra_err share_tell(const struct share_outcome *outcome) SOMBRA_MUST_CHECK;

/* Some of a memtable's keys, put into tables by one thread. */
struct flush_part {
    struct lsm *lsm;
    sombra_slice low, high; /* empty = no bound; not its own */
    struct source *source;  /* over the memtable */
    struct table_output output;
    _Atomic bool *is_given_up; /* shared with other parts; true: this one ends soon */
    struct share_outcome outcome;
};
/* Sets its outcome. With `syncs` what KV_NORMAL left is synced meanwhile. Mutex free. */
void flush_part_run(struct flush_part *part, bool syncs);

/* A part of a job's keys, done by one thread. */
struct compaction_shard {
    sombra_slice low, high; /* empty = no bound */
    struct table_output output;
    struct share_outcome outcome;
};
struct compaction_job {
    struct lsm *lsm;
    struct version *version; /* referenced */
    struct pick pick;
    struct compaction_span span;
    struct kv_maintenance *maintenance; /* asked for progress; or NULL */
    struct range_set ranges;            /* that the inputs hide */
    struct compaction_shard *shards;
    size_t shard_count;
    size_t shard_next, shards_left; /* mutex */
    uint64_t entries;               /* of all inputs */
    _Atomic uint64_t entries_done;
    _Atomic bool is_given_up;
    struct compaction_job *next; /* running ones; mutex */
};
/* Carries the pick out, with the help of idle threads. On an error nothing changed. */
sombra_err compaction_run(struct compaction_job *job) SOMBRA_MUST_CHECK;
/* For helpers: shard number `index` was taken by the caller. */
void compaction_run_shard(struct compaction_job *job, size_t index, bool is_owner);

/* ---- tables made early (early.c), seen by the flush that names them ------------------------- */

/* Nothing is put any more. Leaves out what has changed since, and gives the rest, by key; not all
 * of it need be done. It stays the transaction's. */
void lsm_early_settle(struct lsm_early *early, struct flush_part *const **out_parts,
                      size_t *out_count);
/* Does, or waits for, what is not done yet. */
sombra_err lsm_early_finish(struct lsm_early *early) SOMBRA_MUST_CHECK;
/* The manifest names their tables, or may. */
void lsm_early_keep(struct lsm_early *early);

/* ---- background ---------------------------------------------------------------------------- */

enum { BACKGROUND_THREADS_MAX = 64, BACKGROUND_SPANS_MAX = BACKGROUND_THREADS_MAX + 4 };

/* Flushes, or compactions, that failed one after the other. */
struct background_failure {
    unsigned in_row;          /* 0: the last one succeeded */
    uint64_t at_ns, retry_ns; /* of the last; not before */
    sombra_err err;           /* of the last */
    char text[DIAG_TEXT_BYTES];
};

struct lsm_background {
    struct os_condition wake; /* work may be there; with lsm->mutex */
    struct os_thread flusher;
    struct os_thread threads[BACKGROUND_THREADS_MAX];
    /* The rest: mutex, but for the atomics. */
    bool has_flusher;
    unsigned thread_count; /* started */
    _Atomic bool is_stopping;
    bool is_flushing;  /* somebody flushes the oldest memtable */
    uint64_t wakes;    /* calls of lsm_background_wake: none is missed */
    bool is_exclusive; /* lsm_compact_all waits for the jobs' end: none begins */
    struct compaction_job *jobs;
    struct compaction_span spans[BACKGROUND_SPANS_MAX];
    size_t span_count;
    struct background_failure flush_failure, compaction_failure;
    unsigned corrupt;                /* jobs whose tables are not picked again */
    uint64_t rate_next_ns;           /* when what was written so far is paid for */
    _Atomic uint64_t debt;           /* as of the last job */
    _Atomic uint64_t stall_event_ns; /* last reported */
};

/* Flushes the oldest full memtable. Mutex held on entry and return, free meanwhile; nobody is
 * flushing. With `syncs` what KV_NORMAL left is synced meanwhile. */
sombra_err flush_oldest(struct lsm *lsm, bool syncs) SOMBRA_MUST_CHECK;
/* Takes what is most urgent and does it. False when nothing is due. Mutex held on entry and return,
 * free meanwhile. */
bool background_compact_one(struct lsm *lsm, sombra_err *out_err);
/* Sleeps as options.rate_bytes wants it. Mutex free. */
void background_pay(struct lsm *lsm, uint64_t bytes);
void background_span_add(struct lsm *lsm, const struct compaction_span *span); /* mutex */
void background_span_remove(struct lsm *lsm, const void *owner);               /* mutex */
/* Counts the failure, whose text is the thread's; kept for who waits. Mutex. */
void background_note_failure(struct background_failure *failure, sombra_err err);

#endif
