/* SPDX-License-Identifier: MIT */
/* Which keys a leaf may hold, known without the leaf: a small Bloom filter for each leaf that this
 * process has read or written while memory was short, so that a key that is not there costs no read
 * of the medium (decision 0018).
 *
 * A page number is used again for other content, and by other processes. So a filter is that of one
 * version, (page, born), and says up to which transaction, `seen`, no later version of that page
 * was committed. A snapshot s that comes to the page from a branch of transaction p may ask it if
 *
 *     born <= s and p <= seen.
 *
 * For what it would read is the newest version not above s, and no newer than p, since a child is
 * never newer than its parent: so it was there at `seen`, and none between `born` and `seen` is.
 * `seen` is, of a leaf that was read, the snapshot that it was read in, which pinned it; of one
 * that was written, its own transaction; and all that has been committed since, if this process
 * alone did that, for every leaf that it writes takes the page's place here before it is published.
 * This is what `since` and `through` are: the commits in (since, through] are this process's own,
 * and a filter with since <= seen is good for all of them. The turn of a process that finds commits
 * of others begins anew with both.
 *
 * Places may be fewer than pages: then page numbers share them, and the last that came has it.
 */
#include "btree_internal.h"

enum {
    PLACE_SEQUENCE, /* odd: somebody writes it; raised by each write */
    PLACE_PAGE,     /* its number, 0 = none, below the bytes of the prefix of its keys */
    PLACE_BORN,
    PLACE_SEEN,
    PLACE_BITS, /* to its end */

    PLACE_BYTES_MIN = 64,
    MEMORY_SHARE = 8, /* of memory, for all of them */
    /* So little that pages share places in the small stores of the tests, too. */
    TABLE_BYTES_MIN = 4 << 10,
    KEY_BITS = 12, /* wanted for a key */
    PAGE_BITS = 48,
    KEY_BITS_MIN = 2, /* with fewer a filter says next to nothing */
};
static_assert(KV_KEY_BYTES_MAX < 1 << (64 - PAGE_BITS), "a prefix is told in the rest of a word");
static const uint64_t page_mask = (UINT64_C(1) << PAGE_BITS) - 1;
static const uint64_t table_bytes_max = UINT64_C(1) << 32;

/* All words are written with release and read with acquire: a reader that saw any word of a write
 * sees that the sequence has moved. */
struct filters {
    _Atomic uint64_t *words;
    size_t place_words;
    uint64_t place_count;
    uint64_t bit_words; /* of each */
    _Atomic uint64_t since, through;
    _Atomic uint64_t used; /* places */
    bool follows;          /* the write transaction's leaves all come by here; the writer's */
};

static uint64_t word_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void word_set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* ---- lifecycle ---------------------------------------------------------------------------- */

static uint64_t power_of_two_from(uint64_t least)
{
    uint64_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

/* Enough for the leaves as they are on average, of which some of the file's pages are none, or will
 * be in a store that has few yet. */
static size_t place_bytes(const struct pager *pager, uint64_t entries, uint64_t page_count)
{
    uint64_t leaf_entries = entries / (page_count / 3 * 2 + 1) + 1;
    uint64_t bytes = PLACE_BITS * sizeof(uint64_t) + leaf_entries * KEY_BITS / 8;
    uint64_t least = u64_max(pager->page_bytes / 64, PLACE_BYTES_MIN);
    uint64_t most = u64_max(pager->page_bytes / 16, least);
    return (size_t)u64_min(u64_max(power_of_two_from(bytes), least), most);
}

void filters_make(struct pager *pager, uint64_t entries, uint64_t page_count)
{
    if (LIKELY(atomic_load_explicit(&pager->filters, memory_order_acquire)) || !pager->file)
        return;
    struct filters *filters = mem_zalloc(sizeof *filters);
    if (!filters)
        return;
    uint64_t memory = atomic_load(&pager->weighed_bytes) / MEMORY_SHARE;
    memory = u64_min(u64_max(memory, TABLE_BYTES_MIN), table_bytes_max);
    size_t bytes = place_bytes(pager, entries, page_count);
    filters->place_words = bytes / sizeof(uint64_t);
    filters->bit_words = filters->place_words - PLACE_BITS;
    filters->place_count = memory / bytes;
    void *words = NULL;
    struct filters *none = NULL;
    /* What is not used of it costs nothing. */
    if (os_reserve_anonymous((size_t)filters->place_count * bytes, &words)) {
        mem_free(filters);
        return;
    }
    filters->words = words;
    if (!atomic_compare_exchange_strong(&pager->filters, &none, filters))
        filters_free(filters);
}

void filters_free(struct filters *filters)
{
    if (!filters)
        return;
    os_release_anonymous((void *)filters->words,
                         (size_t)filters->place_count * filters->place_words * sizeof(uint64_t));
    mem_free(filters);
}

uint64_t filters_bytes(const struct pager *pager)
{
    const struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_acquire);
    return filters ? atomic_load_explicit(&filters->used, memory_order_relaxed) *
                         filters->place_words * sizeof(uint64_t)
                   : 0;
}

/* ---- bits --------------------------------------------------------------------------------- */

/* Where a key's bits are: three in each of two words. Six anywhere would cost more, and a leaf is
 * written for nearly each random put. */
struct spots {
    uint64_t first, second; /* words */
    uint64_t first_bits, second_bits;
};

/* Of most suffixes without a loop. */
static uint64_t hash_of(sombra_slice suffix)
{
    const uint8_t *data = suffix.data, *end = data + suffix.bytes;
    if (suffix.bytes - 8 <= 8)
        return hash_u64(hash_u64(get_le64(data)) ^ get_le64(end - 8));
    if (suffix.bytes - 4 < 4)
        return hash_u64((uint64_t)get_le32(data) << 32 | get_le32(end - 4));
    return hash_bytes(data, suffix.bytes, 0);
}

static uint64_t bit_of(uint64_t hash)
{
    return UINT64_C(1) << (hash & 63);
}

/* Of what a key has behind the prefix of all keys of its leaf. */
static struct spots spots_of(const struct filters *filters, sombra_slice suffix)
{
    uint64_t hash = hash_of(suffix);
    return (struct spots){
        .first = ((hash >> 32) * filters->bit_words) >> 32,
        .second = ((uint32_t)hash * filters->bit_words) >> 32,
        .first_bits = bit_of(hash) | bit_of(hash >> 6) | bit_of(hash >> 12),
        .second_bits = bit_of(hash >> 18) | bit_of(hash >> 32) | bit_of(hash >> 38),
    };
}

static bool bits_have(const struct filters *filters, const _Atomic uint64_t *bits,
                      sombra_slice suffix)
{
    struct spots spots = spots_of(filters, suffix);
    return (word_get(&bits[spots.first]) & spots.first_bits) == spots.first_bits &&
           (word_get(&bits[spots.second]) & spots.second_bits) == spots.second_bits;
}

static void bits_add(const struct filters *filters, _Atomic uint64_t *bits, sombra_slice suffix)
{
    struct spots spots = spots_of(filters, suffix);
    uint64_t first = atomic_load_explicit(&bits[spots.first], memory_order_relaxed);
    word_set(&bits[spots.first], first | spots.first_bits);
    uint64_t second = atomic_load_explicit(&bits[spots.second], memory_order_relaxed);
    word_set(&bits[spots.second], second | spots.second_bits);
}

/* Returns the bytes of that prefix. */
static size_t bits_fill(const struct filters *filters, _Atomic uint64_t *bits, const uint8_t *leaf,
                        size_t page_bytes)
{
    for (size_t i = 0; i < filters->bit_words; i++)
        word_set(&bits[i], 0);
    if (page_count(leaf) == 0)
        return 0;
    struct leaf_iter iter;
    leaf_iter_seek(&iter, leaf, page_bytes, 0);
    do
        bits_add(filters, bits, iter.suffix);
    while (leaf_iter_next(&iter));
    return iter.prefix.bytes;
}

/* ---- places ------------------------------------------------------------------------------- */

static _Atomic uint64_t *place_of(const struct filters *filters, page_id id)
{
    return filters->words + id % filters->place_count * filters->place_words;
}

/* False: somebody else writes it now. Who gives up then leaves nothing wrong: whoever leaves a
 * place leaves it to the page that it came with, or to none; and that is another page, or this very
 * version of it, for the writer takes no page that is read. */
static bool place_enter(struct filters *filters, _Atomic uint64_t *place)
{
    uint64_t sequence = atomic_load_explicit(&place[PLACE_SEQUENCE], memory_order_relaxed);
    if (sequence % 2 ||
        !atomic_compare_exchange_strong(&place[PLACE_SEQUENCE], &sequence, sequence + 1))
        return false;
    if (sequence == 0)
        atomic_fetch_add_explicit(&filters->used, 1, memory_order_relaxed);
    return true;
}

static void place_leave(_Atomic uint64_t *place)
{
    uint64_t sequence = atomic_load_explicit(&place[PLACE_SEQUENCE], memory_order_relaxed);
    assert(sequence % 2 == 1);
    word_set(&place[PLACE_SEQUENCE], sequence + 1);
}

/* Entered. */
static void place_write(const struct filters *filters, _Atomic uint64_t *place, const uint8_t *leaf,
                        size_t page_bytes, uint64_t seen)
{
    bool is_worth_it = (uint64_t)page_count(leaf) * KEY_BITS_MIN <= filters->bit_words * 64;
    word_set(&place[PLACE_PAGE], 0);
    if (!is_worth_it)
        return;
    uint64_t prefix_bytes = bits_fill(filters, place + PLACE_BITS, leaf, page_bytes);
    word_set(&place[PLACE_PAGE], page_number(leaf) | prefix_bytes << PAGE_BITS);
    word_set(&place[PLACE_BORN], page_txn(leaf));
    word_set(&place[PLACE_SEEN], seen);
}

/* `through` was read before the place. */
static uint64_t seen_through(const struct filters *filters, uint64_t seen, uint64_t through)
{
    return seen >= word_get(&filters->since) ? u64_max(seen, through) : seen;
}

enum filter_answer filters_ask(const struct pager *pager, page_id id, uint64_t branch_txn,
                               uint64_t snapshot_txn, sombra_slice key)
{
    const struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_acquire);
    /* A branch that a write transaction has changed has leaves that no snapshot has. */
    if (!filters || id == 0 || branch_txn > snapshot_txn)
        return FILTER_UNKNOWN;
    uint64_t through = word_get(&filters->through);
    const _Atomic uint64_t *place = place_of(filters, id);
    uint64_t sequence = word_get(&place[PLACE_SEQUENCE]);
    uint64_t page = word_get(&place[PLACE_PAGE]);
    if (sequence % 2 || (page & page_mask) != id || word_get(&place[PLACE_BORN]) > snapshot_txn ||
        branch_txn > seen_through(filters, word_get(&place[PLACE_SEEN]), through))
        return FILTER_UNKNOWN;
    size_t prefix_bytes = page >> PAGE_BITS;
    bool has = key.bytes >= prefix_bytes &&
               bits_have(filters, place + PLACE_BITS, slice_from(key, prefix_bytes));
    if (atomic_load_explicit(&place[PLACE_SEQUENCE], memory_order_relaxed) != sequence)
        return FILTER_UNKNOWN;
    return has ? FILTER_MAYBE : FILTER_NO;
}

void filters_note_read(struct pager *pager, const uint8_t *leaf, uint64_t snapshot_txn)
{
    struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_acquire);
    assert(page_level(leaf) == 0 && page_txn(leaf) <= snapshot_txn);
    if (!filters)
        return;
    uint64_t through = word_get(&filters->through);
    _Atomic uint64_t *place = place_of(filters, page_number(leaf));
    /* A glance, which may see halves of two: then nothing is noted, or the place is entered. */
    bool is_same = (word_get(&place[PLACE_PAGE]) & page_mask) == page_number(leaf) &&
                   word_get(&place[PLACE_BORN]) == page_txn(leaf);
    uint64_t seen = word_get(&place[PLACE_SEEN]);
    if ((is_same && seen_through(filters, seen, through) >= snapshot_txn) ||
        !place_enter(filters, place))
        return;
    is_same = (word_get(&place[PLACE_PAGE]) & page_mask) == page_number(leaf) &&
              word_get(&place[PLACE_BORN]) == page_txn(leaf);
    if (is_same)
        word_set(&place[PLACE_SEEN], u64_max(word_get(&place[PLACE_SEEN]), snapshot_txn));
    else
        place_write(filters, place, leaf, pager->page_bytes, snapshot_txn);
    place_leave(place);
}

/* ---- the writer --------------------------------------------------------------------------- */

void filters_note_written(struct pager *pager, const uint8_t *leaf)
{
    struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_relaxed);
    assert(page_level(leaf) == 0);
    if (!filters || !filters->follows)
        return;
    _Atomic uint64_t *place = place_of(filters, page_number(leaf));
    if (!place_enter(filters, place))
        return;
    place_write(filters, place, leaf, pager->page_bytes, page_txn(leaf));
    place_leave(place);
}

void filters_begin(struct pager *pager, uint64_t newest_txn, bool follows)
{
    struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_relaxed);
    if (!filters)
        return;
    filters->follows = follows;
    if (!follows || word_get(&filters->through) == newest_txn)
        return;
    /* In this order: who sees the second sees the first. */
    word_set(&filters->since, newest_txn);
    word_set(&filters->through, newest_txn);
}

void filters_publish(struct pager *pager, uint64_t txn)
{
    struct filters *filters = atomic_load_explicit(&pager->filters, memory_order_relaxed);
    if (filters && filters->follows)
        word_set(&filters->through, txn);
}
