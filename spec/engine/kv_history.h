/* SPDX-License-Identifier: MIT */
/* kv_history: random operations on a store and on the model in lockstep; every answer must be
 * equal.
 *
 * Each operation draws from its own random stream, of the seed and its number, so that a failing
 * history is shortened by leaving operations out and running it again.
 */
#ifndef KV_HISTORY_H
#define KV_HISTORY_H

#include "kv_contract.h"

#include <stdio.h>

/* True if the store agreed with the model to the end. Else the seed, the operation and the last
 * operations of the shortest failing history found are written to `report`. SOMBRA_SHRINK=0 leaves
 * it long. */
bool kv_history_run(const struct kv_driver *driver, uint64_t seed, uint64_t ops, FILE *report);

#endif
