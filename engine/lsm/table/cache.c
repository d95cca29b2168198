/* SPDX-License-Identifier: MIT */
/* A shard is an open hash table of pointers with linear probing; its slots are also the clock's
 * face. The lock of a shard is a word that spins: it is held for a probe and a count, never over an
 * allocation of a block, a free or I/O, and waiting on the kernel would cost more than it takes.
 *
 * A block in the table has one reference of the cache. References are added under the shard's lock
 * or by who has one already, so that a count of 1 seen under the lock stays 1: such a block can be
 * evicted. Releasing takes no lock: the count reaches 0 only after the cache gave its own up.
 */
#include "cache.h"

#include <assert.h>

enum {
    SHARD_BITS = 6,
    SHARDS = 1 << SHARD_BITS,
    SLOTS_MIN = 64,
    SPINS_MAX = 64,
    LINES_AHEAD = 3,     /* of a block that was found, brought in at once */
    HAND_STEPS = 16,     /* of a clock hand in one visit of its shard */
    AROUND_FIRST = 1024, /* windows that are read around on trust */
    AROUND_EARNED = 32,  /* for each block found in one */
    AROUND_MAX = 8192,
    AROUND_STEPS = 2, /* one window more at once for so many calls */
    BLOCKS_SHARE = 4, /* of the bound, that blocks have whatever open tables take */
};

struct entry {
    struct cache_block block; /* first: what the callers see */
    _Atomic uint32_t refs;
    bool was_used; /* since the hand was here; shard's lock */
    uint64_t table, offset;
    uint64_t hash;
    size_t bytes_charged;
};
static_assert(offsetof(struct entry, block) == 0, "an entry is found by its block");

struct slot {
    uint64_t hash;
    struct entry *entry; /* NULL = empty */
};

struct shard {
    _Alignas(64) _Atomic uint32_t lock;
    uint32_t hand; /* slot */
    size_t count;
    size_t mask; /* slots - 1 */
    struct slot *slots;
    uint16_t *offered; /* as many as slots, behind them: marks of blocks that were not kept */
    _Atomic(const struct slot *) fetched; /* `slots`, for who only fetches and has no lock */
    _Atomic size_t fetched_mask;
};

struct cache {
    struct shard shards[SHARDS];
    _Atomic size_t bytes_max;
    _Atomic int64_t block_bytes_max; /* what is charged leaves so much of it */
    _Atomic int64_t charged;
    _Atomic bool is_short;
    struct kv_metrics *metrics;
    /* Lines of their own: what follows changes with every miss, the above never. */
    _Alignas(64) _Atomic int64_t bytes; /* of blocks */
    _Atomic uint32_t hand;              /* shard that gives next */
    _Atomic int64_t around;             /* windows that may be read: cache_may_read_around */
    _Atomic uint32_t around_steps;      /* calls since there were none, up to some */
    _Atomic(uint8_t *) spare;           /* cache_spare_take; NULL: none, or in use */
    _Atomic bool is_drained;            /* over its bound, and all blocks that it has are in use */
};

static struct entry *entry_of(struct cache_block *block)
{
    return (struct entry *)(void *)block;
}

/* ---- shards ------------------------------------------------------------------------------ */

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* The holder may have lost its core: after a few turns it gets this one. */
static void lock_slow(struct shard *shard)
{
    unsigned spins = 0;
    do {
        while (atomic_load_explicit(&shard->lock, memory_order_relaxed)) {
            pause_briefly();
            if (++spins > SPINS_MAX)
                os_thread_yield();
        }
    } while (atomic_exchange_explicit(&shard->lock, 1, memory_order_acquire));
}

static inline void shard_lock(struct shard *shard)
{
    if (UNLIKELY(atomic_exchange_explicit(&shard->lock, 1, memory_order_acquire)))
        lock_slow(shard);
}

static inline void shard_unlock(struct shard *shard)
{
    assert(atomic_load_explicit(&shard->lock, memory_order_relaxed));
    atomic_store_explicit(&shard->lock, 0, memory_order_release);
}

static inline uint64_t name_hash(uint64_t table, uint64_t offset)
{
    return hash_u64(offset ^ (table * UINT64_C(0x9E3779B97F4A7C15)));
}

static inline struct shard *shard_of(struct cache *cache, uint64_t hash)
{
    return &cache->shards[hash >> (64 - SHARD_BITS)];
}

static struct entry *shard_find(struct shard *shard, uint64_t hash, uint64_t table, uint64_t offset)
{
    for (size_t at = hash & shard->mask; shard->slots[at].entry; at = (at + 1) & shard->mask) {
        struct entry *entry = shard->slots[at].entry;
        if (shard->slots[at].hash != hash)
            continue;
        /* What a search in the block begins with comes together with the entry. */
        for (size_t line = 1; line <= LINES_AHEAD; line++)
            __builtin_prefetch((const char *)entry + 64 * line);
        if (entry->table == table && entry->offset == offset)
            return entry;
    }
    return NULL;
}

static void shard_put(struct shard *shard, struct entry *entry)
{
    size_t at = entry->hash & shard->mask;
    assert(shard->count < shard->mask); /* at least one slot stays empty: probes end */
    while (shard->slots[at].entry)
        at = (at + 1) & shard->mask;
    shard->slots[at] = (struct slot){ .hash = entry->hash, .entry = entry };
    shard->count++;
}

/* Empties a slot and closes the gap: whoever behind it may stand nearer to its own place moves. */
static void shard_take_out(struct shard *shard, size_t gap)
{
    assert(shard->slots[gap].entry && shard->count > 0);
    for (size_t at = (gap + 1) & shard->mask; shard->slots[at].entry; at = (at + 1) & shard->mask) {
        size_t home = shard->slots[at].hash & shard->mask;
        if (((at - home) & shard->mask) >= ((at - gap) & shard->mask)) {
            shard->slots[gap] = shard->slots[at];
            gap = at;
        }
    }
    shard->slots[gap].entry = NULL;
    shard->count--;
}

/* Empty slots, a power of two; false where memory is out. */
static bool slots_new(struct shard *shard, size_t count)
{
    shard->slots = mem_zalloc(count * (sizeof *shard->slots + sizeof *shard->offered));
    if (!shard->slots)
        return false;
    shard->offered = (uint16_t *)(void *)(shard->slots + count);
    shard->mask = count - 1;
    return true;
}

static void slots_publish(struct shard *shard)
{
    atomic_store_explicit(&shard->fetched, shard->slots, memory_order_relaxed);
    atomic_store_explicit(&shard->fetched_mask, shard->mask, memory_order_relaxed);
}

/* Room for one more; false where memory is out. */
static bool shard_reserve(struct shard *shard)
{
    struct shard grown = { .count = 0 };
    if (shard->count + 1 <= shard->mask - shard->mask / 4)
        return true;
    if (!slots_new(&grown, 2 * (shard->mask + 1)))
        return false;
    for (size_t at = 0; at <= shard->mask; at++)
        if (shard->slots[at].entry)
            shard_put(&grown, shard->slots[at].entry);
    assert(grown.count == shard->count);
    mem_free(shard->slots);
    shard->slots = grown.slots;
    shard->offered = grown.offered;
    shard->mask = grown.mask;
    shard->hand = 0;
    slots_publish(shard);
    return true;
}

/* Was a block of this name, most likely, offered since about as many others were as there are
 * slots? From now on it was. */
static bool shard_was_offered(struct shard *shard, uint64_t hash)
{
    uint16_t *mark = &shard->offered[hash & shard->mask];
    uint16_t wanted = (uint16_t)(hash >> (64 - SHARD_BITS - 16)) | 1; /* 0 is none */
    bool was = *mark == wanted;
    *mark = wanted;
    return was;
}

/* ---- the bound --------------------------------------------------------------------------- */

static bool is_over(const struct cache *cache)
{
    return atomic_load_explicit(&cache->bytes, memory_order_relaxed) >
           atomic_load_explicit(&cache->block_bytes_max, memory_order_relaxed);
}

static bool is_drained(const struct cache *cache)
{
    return atomic_load_explicit(&cache->is_drained, memory_order_relaxed);
}

/* Without any room for blocks each read would fetch and unpack its own, however often they are
 * asked for. */
static void block_bytes_adapt(struct cache *cache)
{
    int64_t max = (int64_t)atomic_load(&cache->bytes_max), charged;
    do { /* until nobody charged meanwhile */
        charged = atomic_load(&cache->charged);
        int64_t left = max - charged, least = max / BLOCKS_SHARE;
        atomic_store(&cache->block_bytes_max, left > least ? left : least);
    } while (atomic_load(&cache->charged) != charged);
    atomic_store_explicit(&cache->is_drained, false, memory_order_relaxed);
}

static void blocks_count(struct cache *cache, int64_t bytes)
{
    int64_t before = atomic_fetch_add_explicit(&cache->bytes, bytes, memory_order_relaxed);
    assert(before + bytes >= 0);
    (void)before;
    if (bytes < 0 && UNLIKELY(is_drained(cache)) && !is_over(cache))
        atomic_store_explicit(&cache->is_drained, false, memory_order_relaxed);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err cache_new(size_t bytes_max, struct kv_metrics *metrics, struct cache **out_cache)
{
    struct cache *cache = mem_alloc_aligned(_Alignof(struct cache), sizeof *cache);
    if (!cache)
        return diag_nomem("a block cache", sizeof *cache);
    memset(cache, 0, sizeof *cache);
    atomic_store_explicit(&cache->bytes_max, size_min(bytes_max, INT64_MAX), memory_order_relaxed);
    block_bytes_adapt(cache);
    cache->metrics = metrics;
    atomic_store_explicit(&cache->around, AROUND_FIRST, memory_order_relaxed);
    for (size_t i = 0; i < SHARDS; i++) {
        if (!slots_new(&cache->shards[i], SLOTS_MIN)) {
            cache_free(cache);
            return diag_nomem("a block cache", SLOTS_MIN * sizeof(struct slot));
        }
        slots_publish(&cache->shards[i]);
    }
    *out_cache = cache;
    return SOMBRA_OK;
}

static void entry_discharge(struct cache *cache, struct entry *entry)
{
    blocks_count(cache, -(int64_t)entry->bytes_charged);
    entry->bytes_charged = 0;
}

static void entry_free(struct cache *cache, struct entry *entry)
{
    if (entry->bytes_charged > 0)
        entry_discharge(cache, entry);
    mem_free(entry);
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        for (size_t at = 0; shard->slots && at <= shard->mask; at++) {
            struct entry *entry = shard->slots[at].entry;
            if (!entry)
                continue;
            assert(atomic_load(&entry->refs) == 1); /* nothing is in use */
            entry_free(cache, entry);
        }
        mem_free(shard->slots);
    }
    mem_free(atomic_load(&cache->spare));
    mem_free(cache);
}

/* ---- eviction ---------------------------------------------------------------------------- */

/* Moves the hand over a few slots to the next block that nobody uses and that was not used since it
 * was last here; NULL if there is none among them. *left counts the slots that are worth looking
 * at. */
static struct entry *shard_evict(struct shard *shard, size_t *left)
{
    struct entry *victim = NULL;
    shard_lock(shard);
    *left = size_min(*left, 2 * (shard->mask + 1));
    for (size_t step = 0; step<HAND_STEPS && * left> 0 && shard->count > 0 && !victim; step++) {
        size_t at = shard->hand & shard->mask;
        struct entry *entry = shard->slots[at].entry;
        --*left;
        if (!entry || entry->was_used ||
            atomic_load_explicit(&entry->refs, memory_order_acquire) > 1) {
            if (entry)
                entry->was_used = false;
            shard->hand = (uint32_t)((at + 1) & shard->mask);
            continue;
        }
        shard_take_out(shard, at); /* another may stand in this slot now: the hand stays */
        victim = entry;
    }
    if (shard->count == 0)
        *left = 0;
    shard_unlock(shard);
    return victim;
}

/* Evicts until the bound holds or all that is left is in use. The shards give in turn, one visit
 * each, so that together they behave as one clock. Where all is in use, or what open tables take
 * passes the bound alone, nobody looks again: who lets go of a block gives it up (block_give_up).
 */
static void evict(struct cache *cache)
{
    uint64_t evicted = 0;
    if (is_drained(cache))
        return;
    size_t left[SHARDS];
    size_t idle = 0; /* shards in a row that have nothing to give */
    memset(left, 0xff, sizeof left);
    while (idle < SHARDS && is_over(cache)) {
        uint32_t turn = atomic_fetch_add_explicit(&cache->hand, 1, memory_order_relaxed) % SHARDS;
        struct entry *victim =
            left[turn] > 0 ? shard_evict(&cache->shards[turn], &left[turn]) : NULL;
        idle = left[turn] > 0 || victim ? 0 : idle + 1;
        if (victim) {
            entry_free(cache, victim);
            evicted++;
        }
    }
    if (idle == SHARDS && is_over(cache))
        atomic_store_explicit(&cache->is_drained, true, memory_order_relaxed);
    if (evicted > 0)
        kv_metrics_add(cache->metrics, KV_COUNTER_CACHE_EVICTIONS, evicted);
}

/* Takes the block out if it is in the table and nobody but the cache and the caller, who has a
 * reference, uses it. The cache's reference is the caller's then. */
static bool block_give_up(struct cache *cache, const struct entry *entry)
{
    struct shard *shard = shard_of(cache, entry->hash);
    bool is_out = false;
    shard_lock(shard);
    size_t at = entry->hash & shard->mask;
    while (shard->slots[at].entry && shard->slots[at].entry != entry)
        at = (at + 1) & shard->mask;
    if (shard->slots[at].entry && atomic_load_explicit(&entry->refs, memory_order_acquire) == 2) {
        shard_take_out(shard, at);
        is_out = true;
    }
    shard_unlock(shard);
    if (is_out)
        kv_metrics_add(cache->metrics, KV_COUNTER_CACHE_EVICTIONS, 1);
    return is_out;
}

/* ---- blocks ------------------------------------------------------------------------------ */

struct cache_block *cache_get(struct cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = name_hash(table, offset);
    struct shard *shard = shard_of(cache, hash);
    shard_lock(shard);
    struct entry *entry = shard_find(shard, hash, table, offset);
    if (entry) {
        entry->was_used = true;
        atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    }
    shard_unlock(shard);
    if (UNLIKELY(!entry)) {
        kv_metrics_add(cache->metrics, KV_COUNTER_CACHE_MISSES, 1);
        return NULL;
    }
    kv_metrics_add_striped(cache->metrics, KV_COUNTER_CACHE_HITS, 1);
    return &entry->block;
}

bool cache_has(struct cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = name_hash(table, offset);
    struct shard *shard = shard_of(cache, hash);
    shard_lock(shard);
    bool has = shard_find(shard, hash, table, offset) != NULL;
    shard_unlock(shard);
    return has;
}

sombra_err cache_block_new(struct cache *cache, size_t bytes, uint8_t **out_data,
                           struct cache_block **out_block)
{
    size_t total;
    struct entry *entry =
        __builtin_add_overflow(sizeof *entry, bytes, &total) ? NULL : mem_alloc(total);
    if (!entry)
        return diag_nomem("a block", bytes);
    *entry = (struct entry){ .bytes_charged = total };
    atomic_init(&entry->refs, 1);
    entry->block.data = (uint8_t *)(entry + 1);
    entry->block.bytes = bytes;
    blocks_count(cache, (int64_t)total);
    *out_data = (uint8_t *)(entry + 1);
    *out_block = &entry->block;
    return SOMBRA_OK;
}

static struct cache_block *add(struct cache *cache, uint64_t table, uint64_t offset,
                               struct cache_block *block, bool is_offer)
{
    struct entry *entry = entry_of(block);
    uint64_t hash = name_hash(table, offset);
    struct shard *shard = shard_of(cache, hash);
    assert(atomic_load(&entry->refs) == 1); /* no one else knows it yet */
    entry->table = table;
    entry->offset = offset;
    entry->hash = hash;

    bool is_declined = false;
    shard_lock(shard);
    struct entry *there = shard_find(shard, hash, table, offset);
    if (there) {
        atomic_fetch_add_explicit(&there->refs, 1, memory_order_relaxed);
    } else if (is_offer && is_over(cache) && !shard_was_offered(shard, hash)) {
        is_declined = true;
    } else if (shard_reserve(shard)) {
        atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
        shard_put(shard, entry);
    }
    shard_unlock(shard);

    if (there)
        entry_free(cache, entry);
    else if (is_declined) /* nothing is evicted for it */
        entry_discharge(cache, entry);
    if (is_over(cache))
        evict(cache);
    return there ? &there->block : block;
}

struct cache_block *cache_add(struct cache *cache, uint64_t table, uint64_t offset,
                              struct cache_block *block)
{
    return add(cache, table, offset, block, false);
}

struct cache_block *cache_offer(struct cache *cache, uint64_t table, uint64_t offset,
                                struct cache_block *block)
{
    return add(cache, table, offset, block, true);
}

void cache_fetch_slot(const struct cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = name_hash(table, offset);
    const struct shard *shard = &cache->shards[hash >> (64 - SHARD_BITS)];
    /* Both may be of different times: an address that is only fetched may be any. */
    size_t at = hash & atomic_load_explicit(&shard->fetched_mask, memory_order_relaxed);
    uintptr_t slots = (uintptr_t)atomic_load_explicit(&shard->fetched, memory_order_relaxed);
    __builtin_prefetch((const void *)(slots + at * sizeof(struct slot)));
}

void cache_fetch_entry(struct cache *cache, uint64_t table, uint64_t offset)
{
    uint64_t hash = name_hash(table, offset);
    struct shard *shard = shard_of(cache, hash);
    shard_lock(shard);
    for (size_t at = hash & shard->mask; shard->slots[at].entry; at = (at + 1) & shard->mask) {
        if (shard->slots[at].hash != hash)
            continue;
        for (size_t line = 0; line <= LINES_AHEAD; line++)
            __builtin_prefetch((const char *)shard->slots[at].entry + 64 * line);
        break;
    }
    shard_unlock(shard);
}

bool cache_declines(struct cache *cache, uint64_t table, uint64_t offset, size_t bytes)
{
    int64_t block_bytes = atomic_load_explicit(&cache->bytes, memory_order_relaxed);
    if (block_bytes + (int64_t)bytes <=
        atomic_load_explicit(&cache->block_bytes_max, memory_order_relaxed))
        return false;
    uint64_t hash = name_hash(table, offset);
    struct shard *shard = shard_of(cache, hash);
    shard_lock(shard);
    bool was_offered = shard_was_offered(shard, hash);
    shard_unlock(shard);
    return !was_offered;
}

void cache_disown(struct cache *cache, struct cache_block *block)
{
    assert(atomic_load(&entry_of(block)->refs) == 1);
    entry_discharge(cache, entry_of(block));
}

void cache_release(struct cache *cache, struct cache_block *block)
{
    if (!block)
        return;
    struct entry *entry = entry_of(block);
    uint32_t count = 1;
    if (UNLIKELY(is_drained(cache)) && block_give_up(cache, entry))
        count = 2;
    uint32_t before = atomic_fetch_sub_explicit(&entry->refs, count, memory_order_acq_rel);
    assert(before >= count);
    if (before == count) {
        entry_free(cache, entry);
    } else if (before == 2 && UNLIKELY(is_over(cache))) {
        /* Two let go of it at once, and neither was the last for block_give_up. */
        atomic_store_explicit(&cache->is_drained, false, memory_order_relaxed);
        evict(cache);
    }
}

void cache_drop_table(struct cache *cache, uint64_t table)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        for (size_t at = 0;; at++) {
            struct entry *gone = NULL;
            shard_lock(shard);
            while (at <= shard->mask &&
                   !(shard->slots[at].entry && shard->slots[at].entry->table == table))
                at++;
            if (at <= shard->mask) {
                gone = shard->slots[at].entry;
                shard_take_out(shard, at);
            }
            shard_unlock(shard);
            if (!gone)
                break;
            cache_release(cache, &gone->block); /* the cache's reference */
            at--;                               /* the next one may have moved here */
        }
    }
}

void cache_charge(struct cache *cache, int64_t bytes)
{
    int64_t before = atomic_fetch_add(&cache->charged, bytes);
    assert(before + bytes >= 0);
    (void)before;
    block_bytes_adapt(cache);
    if (bytes > 0 && is_over(cache))
        evict(cache);
}

size_t cache_bytes(const struct cache *cache)
{
    int64_t bytes = atomic_load_explicit(&cache->bytes, memory_order_relaxed) +
                    atomic_load_explicit(&cache->charged, memory_order_relaxed);
    return bytes > 0 ? (size_t)bytes : 0;
}

size_t cache_bytes_max(const struct cache *cache)
{
    return cache->bytes_max;
}

void cache_limit(struct cache *cache, size_t bytes_max, bool is_short)
{
    atomic_store_explicit(&cache->bytes_max, size_min(bytes_max, INT64_MAX), memory_order_relaxed);
    atomic_store_explicit(&cache->is_short, is_short, memory_order_relaxed);
    block_bytes_adapt(cache);
    if (is_over(cache))
        evict(cache);
}

bool cache_is_short(const struct cache *cache)
{
    return atomic_load_explicit(&cache->is_short, memory_order_relaxed);
}

uint8_t *cache_spare_take(struct cache *cache)
{
    uint8_t *memory = atomic_exchange_explicit(&cache->spare, NULL, memory_order_acquire);
    return memory ? memory : mem_alloc(CACHE_SPARE_BYTES);
}

void cache_spare_give(struct cache *cache, uint8_t *memory)
{
    if (memory)
        mem_free(atomic_exchange_explicit(&cache->spare, memory, memory_order_acq_rel));
}

/* ---- read-around ------------------------------------------------------------------------- */

unsigned cache_may_read_around(struct cache *cache, bool was_read_around)
{
    /* Races lose or find some windows: no matter. */
    int64_t left = atomic_load_explicit(&cache->around, memory_order_relaxed);
    uint32_t steps = atomic_load_explicit(&cache->around_steps, memory_order_relaxed);
    if (steps < CACHE_AROUND_MAX * AROUND_STEPS)
        atomic_store_explicit(&cache->around_steps, steps + 1, memory_order_relaxed);
    if (was_read_around) {
        if (left < AROUND_MAX)
            atomic_store_explicit(&cache->around, left + AROUND_EARNED, memory_order_relaxed);
        return 0;
    }
    if (left <= 0) {
        atomic_store_explicit(&cache->around_steps, 0, memory_order_relaxed);
        return 0;
    }
    unsigned windows = (unsigned)u64_min(1 + steps / AROUND_STEPS, CACHE_AROUND_MAX);
    atomic_store_explicit(&cache->around, left - windows, memory_order_relaxed);
    return windows;
}
