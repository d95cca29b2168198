/* SPDX-License-Identifier: MIT */
/* kv_contract_store: the contract on stores that have a path, in a directory of the program's or on
 * simulated machines. Every fact gets a path, or a machine, of its own.
 */
#ifndef KV_CONTRACT_STORE_H
#define KV_CONTRACT_STORE_H

#include "kv_contract.h"
#include "os/os.h"

struct kv_contract_engine {
    sombra_err (*open)(struct os *os, const char *path, const void *options, struct kv **out_kv);
    void (*remove)(const char *path); /* what is at the path, also of a store that was not closed */
    bool is_counted;
};

/* kv_contract_run; `options` are the engine's. */
int kv_contract_run_file(const struct kv_contract_engine *engine, const char *name,
                         const void *options, uint64_t history_ops);
int kv_contract_run_simulated(const struct kv_contract_engine *engine, const char *name,
                              const void *options, uint64_t history_ops);

/* Runs `run`, which returns how many facts failed, with a directory for its files. */
int kv_contract_main(int (*run)(void));

#endif
