/* SPDX-License-Identifier: MIT */
/* table_cache: which tables are open.
 *
 * An open table has one reference of the cache, kept in version_table.table, and those of its
 * readers. A reader of an open one takes no lock:
 *
 *     reader                              eviction (under the mutex)
 *     entering + 1                        table := NULL, was T
 *     T := table                          wait until entering = 0
 *     if T: reference T                   give the cache's reference of T back
 *     entering - 1
 *
 * All of it is sequentially consistent. A reader that still got T read it before the NULL, so it
 * had entered before as well, and the eviction waits for it: the cache's reference holds T until
 * the reader has its own. Who enters later sees NULL. Readers wait for nobody, the eviction only
 * for few instructions of others.
 *
 * Files are opened and closed without the mutex. Two threads may open the same one at once: the
 * second to come finds the first's table and closes its own. A file that readers hold stays open
 * after its eviction until they are done, so there may be as many more as readers are busy.
 */
#include "lsm/version.h"
#include "paths.h"

#include <assert.h>

struct table_cache {
    struct table_context context;
    const char *directory; /* the owner's */
    unsigned open_max;
    void (*obsolete)(void *context, const struct version_table *table);
    void *obsolete_context;

    struct os_mutex mutex;       /* guards what follows, and who is open */
    struct version_table **ring; /* the open ones; room for open_max + 1 */
    size_t count, hand;
    size_t memory_bytes; /* of the open ones */
};

/* ---- lifecycle ---------------------------------------------------------------------------- */

sombra_err table_cache_new(const struct table_context *context, const char *directory,
                           unsigned open_max, struct table_cache **out_cache)
{
    assert(context && directory && out_cache);
    assert(open_max > 0);
    struct table_cache *cache = mem_zalloc(sizeof *cache);
    size_t ring_bytes = ((size_t)open_max + 1) * sizeof *cache->ring;
    if (!cache)
        return diag_nomem("table cache", sizeof *cache);
    cache->context = *context;
    cache->directory = directory;
    cache->open_max = open_max;
    cache->ring = mem_alloc(ring_bytes);
    sombra_err err =
        cache->ring ? os_mutex_init(&cache->mutex) : diag_nomem("table cache", ring_bytes);
    if (err) {
        mem_free(cache->ring);
        mem_free(cache);
        return err;
    }
    *out_cache = cache;
    return SOMBRA_OK;
}

void table_cache_free(struct table_cache *cache)
{
    if (!cache)
        return;
    assert(cache->count == 0); /* the last version closed them */
    os_mutex_release(&cache->mutex);
    mem_free(cache->ring);
    mem_free(cache);
}

size_t table_cache_memory_bytes(struct table_cache *cache)
{
    os_mutex_lock(&cache->mutex);
    size_t bytes = cache->memory_bytes;
    os_mutex_unlock(&cache->mutex);
    return bytes;
}

size_t table_cache_open_count(struct table_cache *cache)
{
    os_mutex_lock(&cache->mutex);
    size_t count = cache->count;
    os_mutex_unlock(&cache->mutex);
    return count;
}

unsigned table_cache_open_max(const struct table_cache *cache)
{
    return cache->open_max;
}

void table_cache_on_obsolete(struct table_cache *cache,
                             void (*obsolete)(void *context, const struct version_table *table),
                             void *context)
{
    cache->obsolete = obsolete;
    cache->obsolete_context = context;
}

/* ---- the ring ----------------------------------------------------------------------------- */

/* Takes the cache's reference off `slot`, which is open. The mutex is held. The caller gives it
 * back without the mutex: that may close a file. */
static struct table *ring_take(struct table_cache *cache, struct version_table *slot)
{
    assert(slot->place < cache->count && cache->ring[slot->place] == slot);
    struct version_table *last = cache->ring[--cache->count];
    cache->ring[slot->place] = last;
    last->place = slot->place;
    struct table *table = atomic_exchange(&slot->table, NULL);
    while (atomic_load(&slot->entering) != 0)
        os_thread_yield();
    size_t bytes = table_memory_bytes(table);
    assert(cache->memory_bytes >= bytes);
    cache->memory_bytes -= bytes;
    return table;
}

/* The one that was not used since the hand came by last. The mutex is held. */
static struct version_table *ring_choose(struct table_cache *cache)
{
    assert(cache->count > 0);
    for (;;) {
        if (cache->hand >= cache->count)
            cache->hand = 0;
        struct version_table *slot = cache->ring[cache->hand++];
        if (atomic_exchange_explicit(&slot->used, 0, memory_order_relaxed) == 0)
            return slot;
    }
}

/* Makes `table` the open one of `slot`, unless there is one by now. *out_evicted: give it back
 * without the mutex. Returns the open one, referenced for the caller. */
static struct table *ring_add(struct table_cache *cache, struct version_table *slot,
                              struct table *table, struct table **out_evicted)
{
    struct table *open = atomic_load(&slot->table);
    *out_evicted = NULL;
    if (open) {
        table_ref(open); /* cannot go: evictions hold the mutex */
        *out_evicted = table;
        return open;
    }
    if (cache->count == cache->open_max)
        *out_evicted = ring_take(cache, ring_choose(cache));
    size_t bytes = table_memory_bytes(table);
    cache->memory_bytes += bytes;
    slot->place = cache->count;
    cache->ring[cache->count++] = slot;
    table_ref(table); /* one is the cache's, one the caller's */
    atomic_store(&slot->table, table);
    assert(cache->count <= cache->open_max);
    return table;
}

/* ---- open --------------------------------------------------------------------------------- */

static sombra_err open_file(const struct version_table *slot, struct table **out_table)
{
    const struct table_cache *cache = slot->cache;
    char *path = lsm_path_of_table(cache->directory, slot->meta.number);
    if (!path)
        return diag_nomem("path of a table", strlen(cache->directory));
    sombra_err err = table_open(&cache->context, path, &slot->meta, out_table);
    mem_free(path);
    return diag_wrap(err, "open table %06" PRIu64, slot->meta.number);
}

/* The process may hold fewer files than open_max: closes one. False if none is open. */
static bool evict_one(struct table_cache *cache)
{
    struct table *table = NULL;
    os_mutex_lock(&cache->mutex);
    if (cache->count > 0)
        table = ring_take(cache, ring_choose(cache));
    os_mutex_unlock(&cache->mutex);
    table_unref(table);
    return table != NULL;
}

static sombra_err open_slow(struct version_table *slot, struct table **out_table)
{
    struct table_cache *cache = slot->cache;
    struct table *table = NULL, *evicted = NULL;
    sombra_err err = open_file(slot, &table);
    while (err == SOMBRA_LIMIT && evict_one(cache))
        err = open_file(slot, &table);
    if (err)
        return err;
    os_mutex_lock(&cache->mutex);
    *out_table = ring_add(cache, slot, table, &evicted);
    os_mutex_unlock(&cache->mutex);
    table_unref(evicted);
    return SOMBRA_OK;
}

sombra_err version_table_open(struct version_table *slot, struct table **out_table)
{
    assert(slot && out_table);
    atomic_fetch_add(&slot->entering, 1);
    struct table *table = atomic_load(&slot->table);
    if (LIKELY(table))
        table_ref(table);
    atomic_fetch_sub(&slot->entering, 1);
    if (!atomic_load_explicit(&slot->used, memory_order_relaxed))
        atomic_store_explicit(&slot->used, 1, memory_order_relaxed);
    if (UNLIKELY(!table))
        return open_slow(slot, out_table);
    *out_table = table;
    return SOMBRA_OK;
}

sombra_err version_table_borrow(const struct version_run *run, size_t at, struct table **out_table,
                                struct table **out_owned)
{
    struct table *table = NULL;
    assert(at < run->count);
    if (LIKELY(run->held)) {
        table = atomic_load_explicit(&run->held[at], memory_order_acquire);
        if (LIKELY(table)) {
            *out_table = table;
            *out_owned = NULL;
            return SOMBRA_OK;
        }
    }
    sombra_err err = version_table_open(run->tables[at], &table);
    if (err)
        return err;
    struct table *held = NULL;
    bool is_held = run->held && atomic_compare_exchange_strong(&run->held[at], &held, table);
    *out_table = table;
    *out_owned = is_held ? NULL : table;
    return SOMBRA_OK;
}

/* ---- the end of a table ------------------------------------------------------------------- */

void table_cache_forget(struct version_table *slot)
{
    struct table_cache *cache = slot->cache;
    struct table *table = NULL;
    os_mutex_lock(&cache->mutex);
    if (atomic_load(&slot->table))
        table = ring_take(cache, slot);
    os_mutex_unlock(&cache->mutex);
    table_unref(table);
}

void table_cache_tell_obsolete(const struct version_table *slot)
{
    const struct table_cache *cache = slot->cache;
    cache_drop_table(cache->context.cache, slot->meta.number);
    if (cache->obsolete)
        cache->obsolete(cache->obsolete_context, slot);
}
