/* SPDX-License-Identifier: MIT */
/* kv_serial_work: random transactions on lists in a store, recorded for kv_serial.h.
 *
 * A key is a big-endian number, its value a list of 8-byte elements. There are SERIAL_SLOTS lists
 * in use at a time; a list that is long enough is left for a new one.
 *
 * Ownership: a log of records is made before threads or processes are started, lies in memory that
 * forked children share, and is read when they have ended. A session's part is written by that
 * session only.
 */
#ifndef KV_SERIAL_WORK_H
#define KV_SERIAL_WORK_H

#include "kv/kv.h"
#include "kv_serial.h"

#include <stdatomic.h>

enum { SERIAL_SLOTS = 5, SERIAL_OPS_MAX = 16, SERIAL_TEXT_BYTES = 300 };

struct serial_log {
    struct serial_txn *txns; /* all sessions' parts, one behind the other */
    struct serial_op *ops;   /* SERIAL_OPS_MAX of each transaction */
    uint32_t sessions;
    uint32_t txns_each;                         /* at most, of a session */
    uint32_t elements_max;                      /* of a list */
    _Atomic uint32_t generations[SERIAL_SLOTS]; /* of the lists in use */
    _Atomic uint32_t failures;                  /* calls that gave an error */
    char failure[SERIAL_TEXT_BYTES];            /* what the first one was */
    _Atomic uint32_t counts[];                  /* transactions begun, by session */
};

struct serial_log *serial_log_new(uint32_t sessions, uint32_t txns_each, uint32_t elements_max);
void serial_log_free(struct serial_log *log);

/* One session's transactions, `count` of them, and checkpoints now and then. False after an error,
 * which the log notes. */
bool serial_work(struct serial_log *log, struct kv *kv, uint32_t session, uint32_t count,
                 uint64_t seed);

/* How many keys there may be. */
uint32_t serial_log_keys(const struct serial_log *log);
/* The content of the store, as lists; freed with serial_lists_free. */
struct serial_list *serial_lists_read(struct kv *kv, uint32_t keys);
void serial_lists_free(struct serial_list *lists, uint32_t keys);
/* A transaction that read those lists; ops from malloc. */
struct serial_txn serial_lists_txn(const struct serial_list *lists, uint32_t keys);

/* Checks what the sessions recorded, and `extra` transactions, against the final lists. Prints what
 * is wrong and returns false. */
bool serial_log_check(const struct serial_log *log, const struct serial_txn *extra,
                      size_t extra_count, struct serial_list *lists);

#endif
