/* SPDX-License-Identifier: MIT */
/* waiting: what a write transaction keeps of puts and deletes that it has taken and not made yet
 * (tree_defer.c, edit.c, edit_many.c). Part of btree_internal.h. Private to the folder.
 */
#ifndef BTREE_WAITING_H
#define BTREE_WAITING_H

#include "pages_internal.h"

/* Puts that were logged and wait for their leaves: tree_defer.c. */
struct deferred_put {
    size_t at; /* of the key in `bytes`; the value follows */
    uint32_t key_bytes, value_bytes;
    page_id leaf, left, right; /* the key's, and those beside it under its branch; 0 = none */
};
struct deferred {
    struct buf bytes;
    struct deferred_put *puts;
    size_t count;
    bool is_settling; /* their leaves were asked for */
};

/* What is to be looked after before the next call. */
enum txn_care {
    TXN_FAILED = 1,   /* a write broke off in the middle: only abort and rollback are left */
    TXN_DEFERRED = 2, /* puts are deferred */
    TXN_HELD = 4,     /* its only put is found its place, and not made yet (edit.h) */
    TXN_MANY = 8,     /* many puts, or deletes, are, likewise (edit_many.c) */
};

/* That put: the finger's path leads to its place. */
struct held_put {
    size_t redo_at; /* its operation in the redo */
    page_id before; /* the leaf of the put before, or 0 */
    bool replaces;
};

/* What does the transaction hold? Its first write says so; OVER: nothing any more. */
enum many_state { MANY_NEW, MANY_DELETES, MANY_PUTS, MANY_OVER };

/* Words that are found by a part of them. */
struct held_table {
    uint64_t *words;
    uint16_t *slots;   /* that are taken */
    size_t slot_count; /* of them */
};

/* Deletes, or puts, of different keys. */
struct held_many {
    uint32_t *redo_ats; /* their operations in the redo */
    size_t count;
    struct held_table keys;    /* which they are */
    struct held_table leaves;  /* what they take of each */
    struct edit_place *places; /* where they were found */
    enum many_state state;
};

/* What edit.c knows; the writer's. */
struct edits {
    uint64_t joins;       /* of the head, when this process was known to be alone; or UINT64_MAX */
    unsigned looks;       /* whether it is again */
    unsigned pause;       /* commits before the next try */
    unsigned pause_last;  /* as long as it was in the beginning */
    unsigned since_pause; /* edits */
    uint32_t waits_seen;  /* of the head */
    uint64_t floor;       /* pages of this transaction, and older ones, were pinned by somebody */
    unsigned many_pause;  /* transactions before the next that holds more than one change */
    uint64_t writes_last; /* of the transaction before */
    bool is_likely;       /* the last commit that could be was one */
};

#endif
