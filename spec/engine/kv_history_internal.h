/* SPDX-License-Identifier: MIT */
/* kv_history_internal: a history of kv_history as its two files share it: kv_history.c runs, tells
 * and shortens it, kv_history_steps.c has the operations.
 */
#ifndef KV_HISTORY_INTERNAL_H
#define KV_HISTORY_INTERNAL_H

#include "kv_history.h"

enum {
    CURSORS_MAX = 4,
    READERS_MAX = 6,
    MARKS_MAX = 8,
    LOG_LINES = 48,
    LOG_BYTES = 160,
};

/* A cursor of the store and the same of the model. */
struct twin_cursor {
    struct kv_cursor *store, *model; /* NULL = not open */
    bool is_off;                     /* the last motion found nothing */
    bool is_lost; /* off, and written since: kv.h does not say what next and previous find */
};

struct twin_txn {
    struct kv_txn *store, *model; /* NULL = not open */
    struct twin_cursor cursors[CURSORS_MAX];
};

struct twin_mark {
    uint64_t store, model;
};

struct history {
    const struct kv_driver *driver;
    uint64_t seed, ops;
    const bool *is_skipped; /* by operation; NULL = none */
    struct kv *store, *model;
    struct twin_txn writer;
    struct twin_txn readers[READERS_MAX];
    struct twin_mark marks[MARKS_MAX];
    unsigned mark_count;
    struct random random; /* of the operation */
    uint64_t op;
    struct buf key, other_key, value;
    bool has_failed;
    uint64_t commits, most_entries; /* how far it came */
    uint64_t logged;
    char log[LOG_LINES][LOG_BYTES];
};

/* A line of the log. */
void history_log(struct history *h, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* Logs a difference, with which the history has failed; always false. */
bool history_differs(struct history *h, const char *format, ...) SOMBRA_PRINTF(2, 3);

/* The operation h->op. False: store and model differ. */
bool history_step(struct history *h);
/* Ends what is open, and closes the store and the model. */
void history_end(struct history *h);

#endif
