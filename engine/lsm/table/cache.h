/* SPDX-License-Identifier: MIT */
/* cache: blocks of tables in memory, decompressed and checked, within a bound.
 *
 * Sharded by the hash of (table, offset); a shard is a hash table with a clock hand (CLOCK:
 * Corbato 1968, as second chance) under a lock held for a few instructions. Blocks in use are
 * counted and never evicted; pinned memory (indexes and filters of open tables) is counted against
 * the same bound, but a quarter of it is the blocks' own: however much is pinned, what is asked for
 * again and again is not read again and again. When what is in use exceeds the bound, reads still
 * work: the excess goes when it is released.
 *
 * Ownership: a block is referenced by who got it, until cache_release.
 * Threads: safe.
 */
#ifndef LSM_CACHE_H
#define LSM_CACHE_H

#include "kv/kv.h"
#include "os/os.h"

struct cache;

struct cache_block {
    const uint8_t *data;
    size_t bytes;
    /* the rest is the cache's */
};

sombra_err cache_new(size_t bytes_max, struct kv_metrics *metrics,
                     struct cache **out_cache) SOMBRA_MUST_CHECK;
void cache_free(struct cache *cache); /* nothing may be in use */

/* NULL where it is not there. */
struct cache_block *cache_get(struct cache *cache, uint64_t table, uint64_t offset);
/* Memory for a block that is not in the cache yet, with one reference: filled by the caller, then
 * given to cache_add, or released. */
sombra_err cache_block_new(struct cache *cache, size_t bytes, uint8_t **out_data,
                           struct cache_block **out_block) SOMBRA_MUST_CHECK;
/* Puts it under its name; if another is there by now, that one is given back instead, and the new
 * one dropped. The caller's reference stays. Never fails: without memory the block is just not
 * kept. */
struct cache_block *cache_add(struct cache *cache, uint64_t table, uint64_t offset,
                              struct cache_block *block);
/* The same for a block that a lookup wants. A full cache keeps it only if it was offered before,
 * and not long ago: what is read once and not again makes no room for itself, and to take a block
 * in and another out costs as much as the reading. A block that is not kept is not counted. */
struct cache_block *cache_offer(struct cache *cache, uint64_t table, uint64_t offset,
                                struct cache_block *block);
/* For who will get many blocks soon: first all of them `slot`, then all of them `entry`; what
 * cache_get waits for comes meanwhile. */
void cache_fetch_slot(const struct cache *cache, uint64_t table, uint64_t offset);
void cache_fetch_entry(struct cache *cache, uint64_t table, uint64_t offset);
/* Would an offer of a block that takes about `bytes` be declined? Then this was one. */
bool cache_declines(struct cache *cache, uint64_t table, uint64_t offset, size_t bytes);
/* A block that will not be added is not counted any more. */
void cache_disown(struct cache *cache, struct cache_block *block);
void cache_release(struct cache *cache, struct cache_block *block); /* NULL is a no-op */
/* Is it there? Takes no reference and counts as no use. */
bool cache_has(struct cache *cache, uint64_t table, uint64_t offset);
/* Forgets the blocks of a table that is gone. May leave some to the clock. */
void cache_drop_table(struct cache *cache, uint64_t table);

/* Counts `bytes` that somebody holds outside (may be negative when given back). */
void cache_charge(struct cache *cache, int64_t bytes);
size_t cache_bytes(const struct cache *cache);
size_t cache_bytes_max(const struct cache *cache);

/* Memory of CACHE_SPARE_BYTES to read into, given back with cache_spare_give: mostly the one that
 * was given back before, for memory of that size comes fresh from the system otherwise, page by
 * page. NULL: NOMEM. */
enum { CACHE_SPARE_BYTES = 128 * 1024 };
uint8_t *cache_spare_take(struct cache *cache);
void cache_spare_give(struct cache *cache, uint8_t *memory); /* NULL is a no-op */

/* Another bound; what is known of memory. */
void cache_limit(struct cache *cache, size_t bytes_max, bool is_short);
bool cache_is_short(const struct cache *cache);

/* A block that is not here is about to be read: how many windows that begin with its own may be
 * fetched along? With `was_read_around` that was done before, for another block: it paid, and none
 * is. It begins with one, and takes more at once as reads go on: one access of the medium for all
 * of them. Where reads go all over a store that is larger than memory it does not pay, and after
 * some windows there are no more. */
enum { CACHE_AROUND_MAX = 8 };
unsigned cache_may_read_around(struct cache *cache, bool was_read_around);

#endif
