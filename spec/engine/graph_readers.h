/* SPDX-License-Identifier: MIT */
/* Readers of several versions beside one writer, in random steps: each must find what the store had
 * when it began. A test says what is written, what is read and how often; its reference, which is
 * copied as bytes, is what the store has at one version. */
#ifndef GRAPH_READERS_H
#define GRAPH_READERS_H

#include "graph_fixture.h"

#include "base/random.h"

struct reference; /* the test's own */
struct history;

/* What one test does in a history. */
struct history_work {
    size_t reference_bytes;
    uint64_t write_odds;     /* 1 step in so many is a transaction that writes */
    uint64_t writes_max;     /* of write_one, in such a transaction */
    uint64_t end_odds;       /* 1 step in so many of a reader that is open is its end */
    bool makes_tables_again; /* a reader that ended has a small table again, 1 time in 4 */
    void (*write_one)(struct history *h);
    void (*read_some)(struct history *h, struct graph_txn *txn, const struct reference *seen);
    void (*count_reader)(const struct graph_txn *txn); /* called before it ends */
};

struct history {
    const struct history_work *work;
    struct fixture *f;
    struct random random;
    struct reference *now, *committed; /* with what the open transaction wrote; without */
};

/* Seeded by test_seed; the references are all zeros. */
void history_init(struct history *h, const struct history_work *work, struct fixture *f);
void history_release(struct history *h);

static inline uint64_t below(struct history *h, uint64_t bound)
{
    return random_below(&h->random, bound);
}

/* Begins, writes, reads what it wrote, and commits or, 1 time in 5, rolls back. */
void write_some(struct history *h);
/* Commits what the test wrote itself. */
void history_commit(struct history *h);
/* SOMBRA_OPS steps; in the end no reader is open, and nothing is kept. */
void history_run(struct history *h);

void reader_begin(struct fixture *f, struct graph_txn *txn);
void reader_end(struct graph_txn *txn);

#endif
