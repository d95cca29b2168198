/* SPDX-License-Identifier: MIT */
/* A set of ids: a hash table of 64-bit words, each of which stands for 64 ids in a row.
 *
 * Ids are given out from 1 on, so those of a dense set share words (under a byte an id); an id far
 * off all others costs one word with its number, no more. The word used last is remembered, since
 * ids come in runs.
 */
#include "search_internal.h"

enum { SLOTS_FIRST = 16 };

struct id_word {
    uint64_t number; /* the ids' upper bits */
    uint64_t bits;   /* 0 = a free slot */
};

struct id_set {
    struct query_run *run;
    struct id_word *words; /* open addressing */
    size_t capacity;       /* a power of two */
    size_t count;          /* of words in use */
    size_t last;           /* where the last id was found */
};

sombra_err id_set_new(struct query_run *run, struct id_set **out_set)
{
    size_t bytes = sizeof(struct id_set) + SLOTS_FIRST * sizeof(struct id_word);
    sombra_err err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    struct id_set *set = mem_zalloc(sizeof *set);
    struct id_word *words = mem_zalloc(SLOTS_FIRST * sizeof *words);
    if (!set || !words) {
        mem_free(set);
        mem_free(words);
        run_refund(run, bytes);
        return diag_nomem("a set of ids", bytes);
    }
    set->run = run;
    set->words = words;
    set->capacity = SLOTS_FIRST;
    *out_set = set;
    return SOMBRA_OK;
}

void id_set_free(struct id_set *set)
{
    if (!set)
        return;
    run_refund(set->run, sizeof *set + set->capacity * sizeof *set->words);
    mem_free(set->words);
    mem_free(set);
}

/* Where the word is or would be; there is always a free slot. */
static size_t slot_of(const struct id_set *set, uint64_t number)
{
    size_t mask = set->capacity - 1, at = (size_t)hash_u64(number) & mask;
    assert(set->count < set->capacity);
    while (set->words[at].bits && set->words[at].number != number)
        at = (at + 1) & mask;
    return at;
}

static sombra_err grow(struct id_set *set)
{
    size_t old_capacity = set->capacity, bytes = 2 * old_capacity * sizeof *set->words;
    struct id_word *old = set->words;
    sombra_err err = run_charge(set->run, (int64_t)bytes);
    if (err)
        return err;
    struct id_word *words = mem_zalloc(bytes);
    if (!words) {
        run_refund(set->run, bytes);
        return diag_nomem("a set of ids", bytes);
    }
    set->words = words;
    set->capacity = 2 * old_capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].bits)
            words[slot_of(set, old[i].number)] = old[i];
    }
    mem_free(old);
    run_refund(set->run, old_capacity * sizeof *old);
    return SOMBRA_OK;
}

sombra_err id_set_add(struct id_set *set, uint64_t id, bool *out_added)
{
    uint64_t number = id >> 6, bit = UINT64_C(1) << (id & 63);
    struct id_word *word = &set->words[set->last];
    if (word->number != number || !word->bits) {
        if (set->count >= set->capacity / 2) {
            sombra_err err = grow(set);
            if (err)
                return err;
        }
        set->last = slot_of(set, number);
        word = &set->words[set->last];
        set->count += !word->bits;
        word->number = number;
    }
    *out_added = !(word->bits & bit);
    word->bits |= bit;
    return SOMBRA_OK;
}

bool id_set_has(const struct id_set *set, uint64_t id)
{
    uint64_t number = id >> 6;
    const struct id_word *word = &set->words[set->last];
    if (word->number != number)
        word = &set->words[slot_of(set, number)];
    return word->bits >> (id & 63) & 1;
}
