/* SPDX-License-Identifier: MIT */
/* What random histories are made of: keys, ranges and values drawn from a random stream. Keys come
 * from small sets, so that they meet again: short alike ones as the graph makes them, decimal
 * numbers, words with a common beginning, long random ones, and long ones alike to the last bytes.
 */
#ifndef KV_HISTORY_KEYS_H
#define KV_HISTORY_KEYS_H

#include "kv/kv.h"

/* The slices live in the bufs. */
sombra_slice history_key(struct random *random, struct buf *to);
sombra_slice history_value(struct random *random, struct buf *to);
/* All keys of a prefix, between two keys, or open on a side; seldom inverted. */
struct kv_range history_range(struct random *random, struct buf *low, struct buf *high);

#endif
