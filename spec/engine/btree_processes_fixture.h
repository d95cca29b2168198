/* SPDX-License-Identifier: MIT */
/* What the tests of several processes on one btree file share: a history of steps that any process
 * may do, and a model that says what the store must hold after each.
 */
#ifndef BTREE_PROCESSES_FIXTURE_H
#define BTREE_PROCESSES_FIXTURE_H

#include "btree/btree.h"
#include "kv_check.h"

/* ---- steps ------------------------------------------------------------------------------- */

enum step_kind {
    STEP_SMALL,      /* a few puts and deletes */
    STEP_OVERFLOW,   /* values of many pages */
    STEP_RANGE,      /* delete_range */
    STEP_BYPASS,     /* too big for the log */
    STEP_SAVEPOINT,  /* a part is rolled back */
    STEP_CHECKPOINT, /* changes no entry */
    STEP_COMPACT,    /* changes no entry */
    STEP_ABORT,      /* changes no entry */
    STEP_KINDS,
};
const char *step_name(enum step_kind kind);
enum step_kind step_kind_of(uint64_t seed, uint64_t step);
/* The step's changes; the same ones for the same seed, whatever the store holds. */
sombra_err step_apply(struct kv_txn *txn, uint64_t seed, uint64_t step);

/* ---- accounts: money that moves, whose sum does not change -------------------------------- */

enum { ACCOUNTS = 500, ACCOUNT_START = 1000 };
/* Each process also counts its own commits, under its number. */
sombra_err accounts_make(struct kv *kv);
/* One transfer, or several that outgrow the log, and the counter: in one transaction. */
sombra_err accounts_transfer(struct kv_txn *txn, uint64_t *random, unsigned process,
                             uint64_t sequence, bool is_big);
/* The sum of all accounts, the counters of the processes: what one snapshot sees. */
sombra_err accounts_sum(struct kv_txn *txn, uint64_t *out_sum);
sombra_err counter_get(struct kv_txn *txn, unsigned process, uint64_t *out_sequence);

/* xorshift; *state is never 0. */
uint64_t random_next(uint64_t *state);

#endif
