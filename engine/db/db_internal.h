/* SPDX-License-Identifier: MIT */
/* The handles behind the public API.
 *
 * A database lists its transactions, a transaction its open iterators ("children"). Whoever ends
 * first tells the others: an ended transaction closes the cursors of its children and cuts them
 * off, a closed database ends its transactions and cuts them off. What was cut off is only freed by
 * its owner, and answers INVALID until then.
 *
 * In a child of fork() all of it is the parent's: other threads may have been half way through a
 * change, with a mutex that nobody will give back. Every call refuses, and what is closed there is
 * left as it is, its memory too.
 *
 * Closed children are kept by their transaction, closed transactions by their database, for reuse:
 * steady work allocates nothing here.
 */
#ifndef DB_INTERNAL_H
#define DB_INTERNAL_H

#include "db.h"
#include "graph/graph.h"
#include "os/os.h"
#include "query/query.h"

#include <assert.h>
#include <inttypes.h>

enum child_kind { CHILD_NEIGHBOURS, CHILD_IDS, CHILD_SCAN, CHILD_QUERY, CHILD_KINDS };

struct child {
    enum child_kind kind;
    sombra_txn *txn; /* NULL = the transaction is over */
    struct child *next, **link;
};

struct sombra_neighbours {
    struct child child;
    struct graph_neighbours graph;
};
struct sombra_ids {
    struct child child;
    struct graph_ids graph;
};
struct sombra_scan {
    struct child child;
    struct graph_scan graph;
};
struct sombra_query {
    struct child child;
    struct query *query; /* NULL before it was first opened */
    sombra_row_kind kind;
    _Atomic uint32_t is_cancelled;
};

enum { SPARE_CHILDREN_MAX = 4, SPARE_TXNS_MAX = 8, DB_BUSY_TIMEOUT_MS = 5000 };

struct sombra_txn {
    struct graph_txn graph; /* its kv is NULL when the transaction is over */
    sombra_db *db;          /* NULL = closed */
    bool is_write;
    uint32_t fork_number;     /* of its database */
    sombra_txn *next, **link; /* of db->txns or db->spare_txns, under its mutex */
    struct child *children;
    struct child *spare[CHILD_KINDS]; /* closed ones, by kind */
    unsigned spare_count[CHILD_KINDS];
};

struct sombra_db {
    struct kv *kv;
    struct graph graph;
    char *path;
    bool is_readonly;
    uint32_t fork_number;        /* os_is_inherited */
    uint64_t busy_timeout_ms;    /* in kv's terms: 0 = not at all */
    _Atomic(sombra_txn *) ready; /* a spare one that stays among `txns`: who takes it, and who
                                    leaves it, needs no mutex; NULL = none */
    struct os_mutex mutex;       /* guards the rest */
    sombra_txn *txns;            /* handles not closed yet, open or over, and the ready one */
    sombra_txn *spare_txns;
    unsigned spare_count;
    _Atomic unsigned txn_count;  /* open ones; for stats, not under the mutex */
    struct kv_listener listener; /* db_metrics.c; while `event` is set */
    sombra_store_event_fn event; /* the caller's; NULL = nobody */
    void *event_context;
};

/* INVALID: the transaction is over, or the parent's. */
sombra_err txn_refuse(const sombra_txn *txn);
static inline sombra_err txn_live(const sombra_txn *txn)
{
    return LIKELY(txn && txn->graph.kv && !os_is_inherited(txn->fork_number)) ? SOMBRA_OK
                                                                              : txn_refuse(txn);
}

/* Ends an open transaction from the outside, by abort, and cuts it off its database. */
void txn_orphan(sombra_txn *txn);
void txn_free(sombra_txn *txn);
/* At the end of a database: the ready one joins the other spare ones. */
void txn_unready(sombra_db *db);

/* A child of an open transaction, new or used before; its graph part is closed. NOMEM. */
sombra_err child_new(sombra_txn *txn, enum child_kind kind, void **out_child) SOMBRA_MUST_CHECK;
void child_close(struct child *child);
/* Closes the cursors of all, before the kv transaction ends. */
void children_cut(sombra_txn *txn);
void children_free_spare(sombra_txn *txn);

/* Copies an options struct of the caller's `struct_bytes` to `to`, zeroing what the caller does not
 * know. INVALID without a size; UNSUPPORTED if the caller sets what this library does not know. */
sombra_err options_read(const void *from, void *to, size_t bytes) SOMBRA_MUST_CHECK;

/* The prefix filters of the engine lsm: nodes that have no edges are not looked for in tables. */
#define DB_LSM_PREFIX ((struct lsm_prefix){ "sombra-edges-1", graph_key_prefix })

/* What is at a path; DB_FILE for anything that is no directory. */
enum db_place { DB_NOTHING, DB_FILE, DB_DIRECTORY };
enum db_place db_place_of(const char *path);

/* Callbacks of the engine's jobs; the context is a complete sombra_job. */
void db_finding(void *context, const struct kv_problem *problem);
bool db_progress(void *context, uint64_t done, uint64_t total);

#endif
