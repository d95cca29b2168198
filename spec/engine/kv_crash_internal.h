/* SPDX-License-Identifier: MIT */
/* The history that the crash tests run, and the check of what a machine holds. */
#ifndef KV_CRASH_INTERNAL_H
#define KV_CRASH_INTERNAL_H

#include "kv_crash.h"

#include <stdatomic.h>

enum { CRASH_COMMITS_MAX = 64, CRASH_TEXT_BYTES = 400, REPORTS_MAX = 5 };

/* A history on one machine. The counters go up only; others may read them while it runs. */
struct crash_run {
    const struct kv_crash_driver *driver;
    uint64_t seed;
    uint64_t commits;                        /* how many the history makes */
    uint64_t digests[CRASH_COMMITS_MAX + 2]; /* content after commit n; one more than it makes */
    struct os *os;
    struct kv *kv;                 /* NULL = not open */
    uint64_t handle_commits;       /* the last commit acknowledged by this opening; 0 = none */
    struct kv_txn *reader;         /* held over some commits; NULL = none */
    _Atomic uint64_t begun;        /* the last commit asked for */
    _Atomic uint64_t acknowledged; /* the last that returned OK */
    _Atomic uint64_t durable;      /* the last promised to survive a power cut */
    _Atomic bool is_opening;       /* in open or close: another open may have to wait for it */
    uint64_t failures;             /* reported */
};

/* Prepares a run: computes the digests on the model. */
void crash_run_init(struct crash_run *run, const struct kv_crash_driver *driver, uint64_t seed,
                    uint64_t commits);
/* Forgets what happened on a machine, for the next one. */
void crash_run_restart(struct crash_run *run, struct os *os);

sombra_err crash_open(struct crash_run *run);
/* Ends the reader and closes the store, if it is open; it is gone then, unless this says BUSY,
 * which is never right: no transaction is open. */
sombra_err crash_close(struct crash_run *run);
/* Commit n and what the history does around it: readers, aborts, checkpoints, reopening. An error
 * is the first that any call gave; no transaction but the reader is open then. */
sombra_err crash_step(struct crash_run *run, uint64_t n);
/* Open to close. */
sombra_err crash_workload(struct crash_run *run);
/* How many mutating calls that makes on a machine of its own when nothing fails. */
uint64_t crash_count_calls(struct crash_run *run);

/* Which commit's content the store holds, proved by the digest of everything; CORRUPT with a text
 * if it is nobody's. */
sombra_err crash_content(const struct crash_run *run, struct kv *kv, uint64_t *out_commit);

/* Makes the commit behind the one that the store holds, with KV_FULL; *begun is set to its number
 * before. Nothing to do when that is behind the history's end. */
sombra_err crash_commit_next(struct crash_run *run, struct kv *kv, _Atomic uint64_t *begun);

struct crash_bounds {
    uint64_t low, high; /* commits that may be found */
    uint64_t durable;   /* that a power cut leaves, whatever was found; <= low */
};
/* A new process opens the machine's store and finds one of those commits and a sound store, which a
 * power cut then leaves at no less than what was durable. If `writes`, it makes a durable commit
 * first, and exactly that one must survive. Reports with `what` and returns false otherwise. */
bool crash_check_machine(struct crash_run *run, struct os_sim *sim, struct crash_bounds bounds,
                         bool writes, const char *what);
bool crash_report(struct crash_run *run, const char *format, ...) SOMBRA_PRINTF(2, 3);

/* True for about `wanted` of `total` numbers, of the shares that SOMBRA_SHARE and the driver say;
 * for all with SOMBRA_LONG=1. */
bool crash_is_sampled(const struct crash_run *run, uint64_t seed, uint64_t number, uint64_t wanted,
                      uint64_t total);

#endif
