/* SPDX-License-Identifier: MIT */
/* kv_contract: what kv.h promises, sentence by sentence, as tests of any store behind it.
 *
 * A test program names its store by a driver and runs the contract; every fact begins with a fresh,
 * empty store. The random histories (kv_history.h) are facts of the contract too.
 */
#ifndef KV_CONTRACT_H
#define KV_CONTRACT_H

#include "kv/kv.h"

struct kv_driver {
    const char *name;
    void *context;                                         /* the driver's own */
    sombra_err (*open)(void *context, struct kv **out_kv); /* a new, empty store */
    /* Opens the closed store again; NULL where content does not outlive close. */
    sombra_err (*reopen)(void *context, struct kv **out_kv);
    void (*remove)(void *context); /* forgets a closed store; may be NULL */
    bool is_counted;               /* estimate is exact */
};

/* Runs every fact; returns how many failed. `history_ops` is the length of the random history
 * unless SOMBRA_OPS says otherwise. */
int kv_contract_run(const struct kv_driver *driver, uint64_t history_ops);

/* ---- for the parts of the suite ---------------------------------------------------------- */

/* cmocka's state in every fact. */
struct kv_contract {
    const struct kv_driver *driver;
    struct kv *kv;
    uint64_t history_ops;
};

struct kv_fact {
    const char *name;
    void (*test)(void **state);
};
/* Lists of facts end with one without a name. */
#define KV_FACT(function)   \
    {                       \
#function, function \
    }
extern const struct kv_fact kv_contract_points[];
extern const struct kv_fact kv_contract_cursors[];
extern const struct kv_fact kv_contract_words[];
extern const struct kv_fact kv_contract_txns[];
extern const struct kv_fact kv_contract_histories[];

/* Closes the store and opens it again; false where the driver cannot. */
bool kv_contract_reopen(struct kv_contract *contract);

#endif
