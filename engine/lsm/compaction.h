/* SPDX-License-Identifier: MIT */
/* compaction: what flush.c, compaction.c, policy.c, background.c and stall.c share.
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

#endif
