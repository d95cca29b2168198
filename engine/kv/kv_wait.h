/* SPDX-License-Identifier: MIT */
/* kv_wait: the patience of a job that waits for what others do: how long it lasts, and whether its
 * user wants to wait on. The clock is the engine's.
 *
 * Threads: one at a time.
 */
#ifndef KV_WAIT_H
#define KV_WAIT_H

#include "base/base.h"

struct kv_begin_options;
struct kv_maintenance;

/* So often somebody who waits looks up, if he may give up. */
enum { KV_WAIT_LOOK_MS = 50 };

/* All zeros: waits as long as it takes, and asks nobody. */
struct kv_wait {
    const struct kv_maintenance *job;
    const struct kv_begin_options *begin; /* of a transaction, which has no job */
    uint64_t begun_ns, asked_ns;
};

/* `job` NULL: all zeros. */
struct kv_wait kv_wait_begin(const struct kv_maintenance *job, uint64_t now_ns);
/* For a writer's turn; its timeout is the caller's matter. */
struct kv_wait kv_wait_of_txn(const struct kv_begin_options *options);
/* How long others' write transactions may still take; UINT64_MAX: as long as they like. */
uint64_t kv_wait_left_ms(const struct kv_wait *wait, uint64_t now_ns);
/* How long to sleep of `left_ms` before the next look. */
uint64_t kv_wait_nap_ms(const struct kv_wait *wait, uint64_t left_ms);
/* Asks the job's user, but no more often than he wants to be. The job's callback runs: no lock may
 * be held that it could want. CANCELLED. */
sombra_err kv_wait_ask(struct kv_wait *wait, uint64_t now_ns) SOMBRA_MUST_CHECK;

#endif
