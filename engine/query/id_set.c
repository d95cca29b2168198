/* SPDX-License-Identifier: MIT */
/* A set of ids: a bitmap in chunks of 2^16 ids, which a hash table finds by the upper bits.
 *
 * Ids are given out from 1 on, so that those of one graph share few chunks; an id far off costs one
 * chunk (8 KiB) and no more. The chunk used last is remembered: neighbours come in runs.
 */
#include "query_internal.h"

enum { CHUNK_BITS = 16, CHUNK_WORDS = (1 << CHUNK_BITS) / 64, SLOTS_FIRST = 16 };

struct id_chunk {
    uint64_t number; /* the ids' upper bits */
    uint64_t words[CHUNK_WORDS];
};

struct id_set {
    struct query_run *run;
    struct id_chunk *last;   /* the one found last; NULL while empty */
    struct id_chunk **slots; /* open addressing, a power of two; NULL = free */
    size_t slot_count, chunk_count;
};

/* What is given back cannot reach the limit. */
static void give_back(struct query_run *run, size_t bytes)
{
    sombra_err err = run_charge(run, -(int64_t)bytes);
    assert(!err);
    (void)err;
}

sombra_err id_set_new(struct query_run *run, struct id_set **out_set)
{
    sombra_err err = run_charge(run, (int64_t)sizeof(struct id_set));
    if (err)
        return err;
    struct id_set *set = mem_zalloc(sizeof *set);
    if (!set) {
        give_back(run, sizeof *set);
        return diag_nomem("a set of ids", sizeof *set);
    }
    set->run = run;
    *out_set = set;
    return SOMBRA_OK;
}

void id_set_free(struct id_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->slot_count; i++)
        mem_free(set->slots[i]);
    mem_free(set->slots);
    give_back(set->run, sizeof *set + set->slot_count * sizeof *set->slots +
                            set->chunk_count * sizeof **set->slots);
    mem_free(set);
}

/* Where the chunk is or would be; there is always a free slot. */
static size_t slot_of(const struct id_set *set, uint64_t number)
{
    size_t mask = set->slot_count - 1, at = (size_t)hash_u64(number) & mask;
    assert(set->slot_count && set->chunk_count < set->slot_count);
    while (set->slots[at] && set->slots[at]->number != number)
        at = (at + 1) & mask;
    return at;
}

static sombra_err grow_slots(struct id_set *set)
{
    size_t count = set->slot_count ? set->slot_count * 2 : SLOTS_FIRST;
    size_t bytes = count * sizeof *set->slots;
    sombra_err err = run_charge(set->run, (int64_t)bytes);
    if (err)
        return err;
    struct id_chunk **slots = mem_zalloc(bytes), **old = set->slots;
    if (!slots) {
        give_back(set->run, bytes);
        return diag_nomem("a set of ids", bytes);
    }
    size_t old_count = set->slot_count;
    set->slots = slots;
    set->slot_count = count;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i])
            slots[slot_of(set, old[i]->number)] = old[i];
    }
    mem_free(old);
    give_back(set->run, old_count * sizeof *old);
    return SOMBRA_OK;
}

static sombra_err add_chunk(struct id_set *set, uint64_t number)
{
    sombra_err err = SOMBRA_OK;
    if (set->chunk_count + 1 > set->slot_count / 2)
        err = grow_slots(set);
    if (!err)
        err = run_charge(set->run, (int64_t)sizeof(struct id_chunk));
    if (err)
        return err;
    struct id_chunk *chunk = mem_zalloc(sizeof *chunk);
    if (!chunk) {
        give_back(set->run, sizeof *chunk);
        return diag_nomem("a set of ids", sizeof *chunk);
    }
    chunk->number = number;
    set->slots[slot_of(set, number)] = chunk;
    set->chunk_count++;
    set->last = chunk;
    return SOMBRA_OK;
}

sombra_err id_set_add(struct id_set *set, uint64_t id, bool *out_added)
{
    uint64_t number = id >> CHUNK_BITS;
    if (UNLIKELY(!set->last || set->last->number != number)) {
        struct id_chunk *chunk = set->slot_count ? set->slots[slot_of(set, number)] : NULL;
        sombra_err err = SOMBRA_OK;
        if (chunk)
            set->last = chunk;
        else
            err = add_chunk(set, number);
        if (err)
            return err;
    }
    uint64_t *word = &set->last->words[(id >> 6) & (CHUNK_WORDS - 1)];
    uint64_t bit = UINT64_C(1) << (id & 63);
    *out_added = !(*word & bit);
    *word |= bit;
    return SOMBRA_OK;
}

bool id_set_has(const struct id_set *set, uint64_t id)
{
    uint64_t number = id >> CHUNK_BITS;
    const struct id_chunk *chunk = set->last;
    if (!chunk)
        return false;
    if (UNLIKELY(chunk->number != number))
        chunk = set->slots[slot_of(set, number)];
    return chunk && (chunk->words[(id >> 6) & (CHUNK_WORDS - 1)] >> (id & 63) & 1);
}
