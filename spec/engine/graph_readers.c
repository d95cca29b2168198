/* SPDX-License-Identifier: MIT */
#include "graph_readers.h"

enum { READERS = 4 };

struct reader {
    struct graph_txn txn; /* used again and again, as handles are */
    struct reference *seen;
};

static struct reference *reference_new(const struct history *h)
{
    struct reference *reference = calloc(1, h->work->reference_bytes);
    assert_non_null(reference);
    return reference;
}

static void reference_copy(const struct history *h, struct reference *to,
                           const struct reference *from)
{
    memcpy(to, from, h->work->reference_bytes);
}

void history_init(struct history *h, const struct history_work *work, struct fixture *f)
{
    *h = (struct history){ .work = work, .f = f };
    random_seed(&h->random, test_seed());
    h->now = reference_new(h);
    h->committed = reference_new(h);
}

void history_release(struct history *h)
{
    free(h->now);
    free(h->committed);
}

void history_commit(struct history *h)
{
    commit(h->f);
    reference_copy(h, h->committed, h->now);
}

void write_some(struct history *h)
{
    begin_write(h->f);
    for (uint64_t left = 1 + below(h, h->work->writes_max); left; left--)
        h->work->write_one(h);
    h->work->read_some(h, &h->f->txn, h->now);
    if (below(h, 5)) {
        history_commit(h);
    } else { /* ids that were given out are given again */
        rollback(h->f);
        reference_copy(h, h->now, h->committed);
    }
}

void reader_begin(struct fixture *f, struct graph_txn *txn)
{
    struct kv_txn *kv;
    assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ 0 }, &kv));
    graph_txn_begin(txn, &f->graph, kv);
}

void reader_end(struct graph_txn *txn)
{
    kv_abort(txn->kv);
    graph_txn_end(txn, false);
}

static void step(struct history *h, struct reader *reader)
{
    const struct history_work *work = h->work;
    if (below(h, work->write_odds) == 0) {
        write_some(h);
    } else if (!reader->txn.kv) {
        reader_begin(h->f, &reader->txn);
        reference_copy(h, reader->seen, h->committed);
    } else if (below(h, work->end_odds) == 0) {
        work->count_reader(&reader->txn);
        reader_end(&reader->txn);
        if (work->makes_tables_again && below(h, 4) == 0) {
            graph_txn_release(&reader->txn);
            reader->txn = (struct graph_txn){ .kv = NULL };
        }
    } else {
        work->read_some(h, &reader->txn, reader->seen);
    }
}

void history_run(struct history *h)
{
    struct reader *readers = calloc(READERS, sizeof *readers);
    const char *ops = getenv("SOMBRA_OPS");
    uint64_t steps = ops ? strtoull(ops, NULL, 10) : 3000;
    assert_non_null(readers);
    for (unsigned i = 0; i < READERS; i++)
        readers[i].seen = reference_new(h);
    for (; steps; steps--)
        step(h, &readers[below(h, READERS)]);
    for (unsigned i = 0; i < READERS; i++) {
        if (readers[i].txn.kv)
            reader_end(&readers[i].txn);
        graph_txn_release(&readers[i].txn);
        free(readers[i].seen);
    }
    free(readers);
    assert_int_equal(h->f->graph.kept_bytes, 0);
}
