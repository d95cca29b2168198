/* SPDX-License-Identifier: MIT */
/* kv_model: the kv contract in its simplest form: a sorted map in memory that every engine is
 * compared with, and that folders above kv can be tested on.
 *
 * It is strict. Bytes it lends are copies that are overwritten and freed the moment their promise
 * ends (kv.h, "Lifetime of bytes"; a cursor's calls count as calls on its transaction), so that
 * holding them longer shows at once under a sanitizer and soon without. Wrong use (cursors left
 * open at the end of a transaction, a writer that changes threads) is an assert. Arguments are read
 * before anything is invalidated: a cursor's own key may be given to delete.
 *
 * It allocates from malloc and ends the program when memory is out: an allocation failed by a test
 * (mem_test_fail_at) is always the failure of what is under test.
 *
 * Threads: as kv.h says.
 */
#ifndef KV_MODEL_H
#define KV_MODEL_H

#include "kv/kv.h"

/* What a store built on the model hears of. */
enum kv_model_event {
    KV_MODEL_COMMIT,       /* a writer is about to commit; an error makes the commit fail with it */
    KV_MODEL_CHECKPOINT,   /* an error is that of the job */
    KV_MODEL_DURABLE_READ, /* a durable reader begins; an error refuses it */
    KV_MODEL_CLOSE,        /* an error is that of kv_close; the store is closed all the same */
};
/* `txn` and `durability` are those of the commit. */
typedef sombra_err (*kv_model_hook_fn)(void *context, enum kv_model_event event, struct kv_txn *txn,
                                       enum kv_durability durability);

struct kv_model_options {
    size_t batch_entries_max; /* batches are cut to this, as engines cut them; 0 = no limit */
    kv_model_hook_fn hook;    /* may be NULL */
    void *context;            /* of the hook */
};

/* `options` may be NULL. Always succeeds. The store is empty and lives until kv_close. */
sombra_err kv_model_open(const struct kv_model_options *options, struct kv **out_kv);

/* The nth call from now (1 = the next) that can fail, but for begin, fails with `code` and without
 * effect, once; 0 switches it off. A commit that fails with IO makes the store refuse writes. */
void kv_model_fail_at(struct kv *kv, uint64_t nth, sombra_err code);
/* Failable calls since the store was opened. */
uint64_t kv_model_calls(struct kv *kv);

#endif
