/* SPDX-License-Identifier: MIT */
/* Reading dense leaves; dense_format.h draws them. A lookup finds the run by its heads and then
 * walks it without decoding keys: of each entry it needs only how much it shares with its
 * neighbour. What is read as words is in dense_words.c.
 */
#include "dense_internal.h"

size_t dense_arrays_end(const uint8_t *page)
{
    return CELLS_HEADS + DENSE_SLOT_BYTES * (size_t)dense_runs(page);
}

/* ---- search ------------------------------------------------------------------------------ */

static sombra_slice first_suffix(const uint8_t *page, unsigned runs, unsigned run)
{
    struct dense_entry entry;
    dense_parse(page + slot_at(page, runs, run), dense_flags(page), &entry);
    return slice_of(entry.suffix, entry.suffix_bytes);
}

/* How many runs begin at or before `suffix`, whose head the run `low` has, the first that does. */
static __attribute__((noinline)) unsigned
runs_among_equals(const uint8_t *page, sombra_slice suffix, uint32_t head, unsigned low)
{
    const unsigned runs = dense_runs(page);
    const uint8_t *heads = page + CELLS_HEADS;
    unsigned high = low + 1;
    if (high < runs && head_at(heads, high) == head)
        high = head == UINT32_MAX
                   ? runs
                   : low + heads_below(heads + 4 * (size_t)low, runs - low, head + 1);
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (slice_compare(first_suffix(page, runs, middle), suffix) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many runs begin at or before `suffix`. */
static inline unsigned runs_up_to(const uint8_t *page, sombra_slice suffix)
{
    const unsigned runs = dense_runs(page);
    const uint8_t *heads = page + CELLS_HEADS;
    const uint32_t head = head_of(suffix.data, suffix.bytes);
    const unsigned low = heads_below(heads, runs, head);
    if (LIKELY(low == runs || head_at(heads, low) != head))
        return low;
    return runs_among_equals(page, suffix, head, low);
}

/* What is looked for in a run: a key behind the page's prefix. */
struct wanted {
    const uint8_t *data;
    size_t bytes;
    bool is_padded; /* with zeros, so that 8 bytes are readable from each byte on */
};

enum { PADDED_MAX = 24 };

static inline struct wanted wanted_of(sombra_slice suffix, uint8_t padded[PADDED_MAX + 8])
{
    if (UNLIKELY(suffix.bytes > PADDED_MAX))
        return (struct wanted){ suffix.data, suffix.bytes, false };
    memset(padded, 0, PADDED_MAX + 8);
    if (suffix.bytes)
        memcpy(padded, suffix.data, suffix.bytes);
    return (struct wanted){ padded, suffix.bytes, true };
}

/* A walk through a run. `matched` is how many bytes the entry before has in common with what is
 * wanted; that entry is smaller. */
struct run_walk {
    const uint8_t *at;    /* the entry `index`, encoded */
    unsigned index, last; /* of it; behind the run */
    size_t matched;       /* by the entry before `index` */
    unsigned flags;       /* of the page */
    bool is_inside;       /* 8 bytes are readable from each byte of the run on */
};

/* One entry: is it below what is wanted? Then on to the next. An entry that shares more than is
 * matched with its neighbour differs where the neighbour did: still smaller. One that shares less
 * is greater there. */
static bool run_pass(struct run_walk *walk, const struct wanted *wanted, bool *out_found)
{
    struct dense_entry entry;
    const uint8_t *next = dense_parse(walk->at, walk->flags, &entry);
    if (entry.shared < walk->matched)
        return false;
    if (entry.shared == walk->matched) {
        const uint8_t *rest = wanted->data + walk->matched;
        size_t left = wanted->bytes - walk->matched, equal = 0;
        size_t most = size_min(entry.suffix_bytes, left);
        while (equal < most && entry.suffix[equal] == rest[equal])
            equal++;
        *out_found = equal == left && equal == entry.suffix_bytes;
        if (equal == left || (equal < entry.suffix_bytes && entry.suffix[equal] > rest[equal]))
            return false;
        walk->matched += equal;
    }
    walk->at = next;
    walk->index++;
    return true;
}

/* Does this byte, with which an entry begins, tell both lengths? Else look closer. */
#define PLAIN_16                                       \
    {                                                  \
        0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 \
    }
static const uint8_t entry_plain[16][16] = {
    PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16,
    PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, PLAIN_16, { 0 },
};

/* Past entries whose first byte tells that they are below what is wanted: most are so. */
static inline __attribute__((always_inline)) void run_skip(struct run_walk *walk, uint8_t first,
                                                           const enum dense_lengths lengths)
{
    const uint8_t *at = walk->at, *is_plain = entry_plain[0];
    const size_t matched = walk->matched;
    const size_t usual = lengths == LENGTHS_USUAL ? dense_usual_bytes(walk->flags) : 0;
    unsigned left = walk->last - walk->index;
    for (; left > 0; left--) {
        size_t form = *at, shared = form >> 4;
        if (lengths == LENGTHS_USUAL && UNLIKELY(form == DENSE_UNUSUAL)) {
            form = at[2];
            shared = form >> 4;
            if (!is_plain[form] || shared < matched || (shared == matched && at[3] >= first))
                break;
            at += DENSE_UNUSUAL_BYTES + 1 + (form & 15) + at[1];
            continue;
        }
        if (UNLIKELY(!is_plain[form]) || shared < matched ||
            (shared == matched && at[lengths == LENGTHS_EACH ? 2 : 1] >= first))
            break;
        /* Not by a table: where the next entry begins is what the loop waits for. */
        at += (lengths == LENGTHS_EACH ? 2 + (size_t)at[1] : 1 + usual) + (form & 15);
    }
    walk->index = walk->last - left;
    walk->at = at;
}

/* As run_pass again and again, by words: true when the entry that is wanted or one above it was
 * met, or the run's end. Short suffixes as words with zeros behind them are in the order of the
 * suffixes, unless they are equal. */
static inline __attribute__((always_inline)) bool run_pass_words(struct run_walk *walk,
                                                                 const struct wanted *wanted,
                                                                 const enum dense_lengths lengths,
                                                                 bool *out_found)
{
    uint64_t rest = get_be64(wanted->data + walk->matched);
    for (;;) {
        run_skip(walk, (uint8_t)(rest >> 56), lengths);
        if (walk->index == walk->last)
            return true;
        const uint8_t *at = walk->at, *suffix = at + (lengths == LENGTHS_EACH ? 2 : 1);
        const size_t shared = *at >> 4, bytes = *at & 15;
        if (UNLIKELY(shared == DENSE_NIBBLE_MAX || bytes - 1 >= 8))
            return false;
        if (shared < walk->matched)
            return true;
        if (shared == walk->matched) {
            uint64_t own = get_be64(suffix) & UINT64_MAX << (8 * (8 - bytes));
            if (own >= rest) {
                *out_found = own == rest && walk->matched + bytes == wanted->bytes;
                return own > rest || *out_found;
            }
            walk->matched += size_min(bytes, (size_t)__builtin_clzll(own ^ rest) / 8);
            rest = get_be64(wanted->data + walk->matched);
        }
        suffix += bytes;
        if (lengths == LENGTHS_EACH)
            suffix += at[1];
        if (lengths == LENGTHS_USUAL)
            suffix += dense_usual_bytes(walk->flags);
        walk->at = suffix;
        walk->index++;
    }
}

static inline __attribute__((always_inline)) bool
run_find_by(struct run_walk *walk, const struct wanted *wanted, const enum dense_lengths lengths)
{
    const bool has_words = wanted->is_padded && walk->is_inside;
    bool is_found = false;
    while (walk->index < walk->last) {
        if (has_words && run_pass_words(walk, wanted, lengths, &is_found))
            break;
        if (!run_pass(walk, wanted, &is_found))
            break;
    }
    return is_found;
}

/* Functions of their own, so that the loops have the registers. */
static __attribute__((noinline)) bool run_find_bare(struct run_walk *walk,
                                                    const struct wanted *wanted)
{
    return run_find_by(walk, wanted, LENGTHS_NONE);
}

static __attribute__((noinline)) bool run_find_told(struct run_walk *walk,
                                                    const struct wanted *wanted)
{
    return run_find_by(walk, wanted, LENGTHS_EACH);
}

static __attribute__((noinline)) bool run_find_usual(struct run_walk *walk,
                                                     const struct wanted *wanted)
{
    return run_find_by(walk, wanted, LENGTHS_USUAL);
}

/* To the first entry that is not below what is wanted; true if it is that. */
static inline bool run_find(struct run_walk *walk, const struct wanted *wanted)
{
    switch (dense_lengths_of(walk->flags)) {
    case LENGTHS_NONE:
        return run_find_bare(walk, wanted);
    case LENGTHS_EACH:
        return run_find_told(walk, wanted);
    default:
        return run_find_usual(walk, wanted);
    }
}

/* The run whose first key is <= `suffix`, from its beginning. */
static inline struct run_walk run_begin(const uint8_t *page, size_t page_bytes, unsigned run)
{
    unsigned runs = dense_runs(page);
    const uint8_t *at = page + slot_at(page, runs, run);
    dense_run_prefetch(at, page + dense_run_end(page, page_bytes, runs, run));
    return (struct run_walk){
        .at = at,
        .index = dense_ordinal(page, runs, run),
        .last = dense_run_last(page, runs, run),
        .flags = dense_flags(page),
        .is_inside = dense_run_end(page, page_bytes, runs, run) + 8 <= page_bytes,
    };
}

bool dense_find(const uint8_t *page, size_t page_bytes, sombra_slice key, unsigned *out_index)
{
    struct leaf_place place;
    bool is_found = dense_find_place(page, page_bytes, key, &place);
    *out_index = place.index;
    return is_found;
}

bool dense_find_place(const uint8_t *page, size_t page_bytes, sombra_slice key,
                      struct leaf_place *out_place)
{
    uint8_t padded[PADDED_MAX + 8];
    sombra_slice prefix = cells_prefix(page, page_bytes);
    *out_place = (struct leaf_place){ .index = 0 };
    if (UNLIKELY(!cells_key_has_prefix(key, prefix))) {
        out_place->index = slice_compare(key, prefix) < 0 ? 0 : cells_count(page);
        return false;
    }
    sombra_slice suffix = slice_from(key, prefix.bytes);
    unsigned before = runs_up_to(page, suffix);
    if (before == 0)
        return false;
    const struct wanted wanted = wanted_of(suffix, padded);
    struct run_walk walk = run_begin(page, page_bytes, before - 1);
    bool is_found = run_find(&walk, &wanted);
    out_place->index = walk.index;
    if (walk.index < walk.last) {
        out_place->at = walk.at;
        out_place->run = before - 1;
        out_place->matched = walk.matched;
    }
    return is_found;
}

unsigned dense_find_end(const uint8_t *page, size_t page_bytes, const struct leaf_place *low,
                        sombra_slice low_key, sombra_slice high_key)
{
    uint8_t padded[PADDED_MAX + 8];
    unsigned index;
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (LIKELY(low->at && cells_key_has_prefix(high_key, prefix))) {
        sombra_slice from = slice_from(low_key, prefix.bytes);
        const struct wanted wanted = wanted_of(slice_from(high_key, prefix.bytes), padded);
        struct run_walk walk = run_begin(page, page_bytes, low->run);
        /* What the entry before has of the low key it has of the high one, as far as both agree. */
        size_t most = size_min(low->matched, wanted.bytes);
        const uint8_t *low_bytes = from.data;
        while (walk.matched < most && low_bytes[walk.matched] == wanted.data[walk.matched])
            walk.matched++;
        walk.at = low->at;
        walk.index = low->index;
        (void)run_find(&walk, &wanted);
        if (walk.index < walk.last || walk.last == cells_count(page))
            return walk.index;
    }
    (void)dense_find(page, page_bytes, high_key, &index);
    return index;
}

bool dense_get(const uint8_t *page, size_t page_bytes, sombra_slice key, struct leaf_value *out)
{
    uint8_t padded[PADDED_MAX + 8];
    sombra_slice prefix = cells_prefix(page, page_bytes);
    if (UNLIKELY(!cells_key_has_prefix(key, prefix)))
        return false;
    sombra_slice suffix = slice_from(key, prefix.bytes);
    unsigned before = runs_up_to(page, suffix);
    if (before == 0)
        return false;
    const struct wanted wanted = wanted_of(suffix, padded);
    struct run_walk walk = run_begin(page, page_bytes, before - 1);
    if (!run_find(&walk, &wanted))
        return false;
    struct dense_entry entry;
    (void)dense_parse(walk.at, walk.flags, &entry);
    *out = (struct leaf_value){
        .bytes = walk.flags ? slice_of(entry.value, entry.value_bytes) : slice_of(page, 0),
    };
    return true;
}

void dense_value_at(const uint8_t *page, size_t page_bytes, unsigned index, struct leaf_value *out)
{
    (void)page_bytes;
    *out = (struct leaf_value){ .bytes = slice_of(page, 0) };
    if (!dense_has_values(page))
        return;
    unsigned runs = dense_runs(page);
    unsigned run = dense_run_of(page, index);
    const uint8_t *at = page + slot_at(page, runs, run);
    struct dense_entry entry;
    unsigned i = dense_ordinal(page, runs, run);
    do
        at = dense_parse(at, dense_flags(page), &entry);
    while (i++ < index);
    out->bytes = slice_of(entry.value, entry.value_bytes);
}

/* ---- iteration --------------------------------------------------------------------------- */

static void iter_decode(struct leaf_iter *iter)
{
    struct dense_entry entry;
    iter->at = dense_parse(iter->at, dense_flags(iter->page), &entry);
    memcpy(iter->decoded + entry.shared, entry.suffix, entry.suffix_bytes);
    iter->suffix = slice_of(iter->decoded, entry.shared + entry.suffix_bytes);
    iter->value = (struct leaf_value){ .bytes = slice_of(entry.value, entry.value_bytes) };
}

static void iter_enter_run(struct leaf_iter *iter, unsigned run)
{
    unsigned runs = dense_runs(iter->page);
    assert(run < runs);
    iter->run = run;
    iter->index = dense_ordinal(iter->page, runs, run);
    iter->run_left = dense_run_last(iter->page, runs, run) - iter->index - 1;
    iter->at = iter->page + slot_at(iter->page, runs, run);
    iter_decode(iter);
}

void dense_iter_next(struct leaf_iter *iter)
{
    if (iter->run_left == 0) {
        iter_enter_run(iter, iter->run + 1);
        return;
    }
    iter->run_left--;
    iter->index++;
    iter_decode(iter);
}

void dense_iter_seek(struct leaf_iter *iter, unsigned index)
{
    iter_enter_run(iter, dense_run_of(iter->page, index));
    while (iter->index < index)
        dense_iter_next(iter);
}

void dense_iter_enter(struct leaf_iter *iter, const struct leaf_place *place, sombra_slice key)
{
    unsigned runs = dense_runs(iter->page);
    assert(place->run < runs && place->matched + iter->prefix.bytes <= key.bytes);
    iter->run = place->run;
    iter->index = place->index;
    iter->run_left = dense_run_last(iter->page, runs, place->run) - place->index - 1;
    iter->at = place->at;
    /* Of the entry before, only what the next one shares matters: that is in the key as well. */
    memcpy(iter->decoded, (const uint8_t *)key.data + iter->prefix.bytes, place->matched);
    iter_decode(iter);
}

/* ---- batches ----------------------------------------------------------------------------- */

/* What a batch read goes on with. */
struct reader {
    const uint8_t *at;       /* the next entry */
    const uint8_t *before;   /* the key before it, decoded; 16 bytes are readable */
    const uint8_t *page_end; /* nothing is read behind it */
    uint8_t *room, *room_end;
    unsigned flags; /* of the page */
};

/* Decodes one entry into the room; false = it does not fit there. */
static inline bool reader_step(struct reader *reader, struct kv_entry *out_entry)
{
    struct dense_entry entry;
    const uint8_t *next = dense_parse(reader->at, reader->flags, &entry);
    size_t bytes = entry.shared + entry.suffix_bytes;
    uint8_t *to = reader->room;
    size_t left = (size_t)(reader->room_end - to);
    if (LIKELY(left >= 48 && entry.shared <= 16 && entry.suffix_bytes <= 16 &&
               reader->page_end - entry.suffix >= 16)) {
        copy_16(to, reader->before);
        copy_16(to + entry.shared, entry.suffix);
    } else {
        if (bytes > left)
            return false;
        memcpy(to, reader->before, entry.shared);
        memcpy(to + entry.shared, entry.suffix, entry.suffix_bytes);
    }
    out_entry->key = slice_of(to, bytes);
    out_entry->value = slice_of(entry.value, entry.value_bytes);
    /* The key stays readable as 16 bytes: what follows it is room, or it ends the batch. */
    reader->before = to;
    reader->room = to + bytes;
    reader->at = next;
    return true;
}

unsigned dense_read(const uint8_t *page, size_t page_bytes, unsigned index,
                    struct leaf_batch *batch)
{
    unsigned count = cells_count(page);
    unsigned capacity = batch->capacity;
    if (index >= count || capacity == 0)
        return 0;
    unsigned runs = dense_runs(page);
    const struct leaf_place *place = batch->place;
    bool has_place = place && place->at && place->index == index;
    unsigned run = has_place ? place->run : dense_run_of(page, index);
    struct dense_key key;
    struct reader reader = {
        .at = has_place ? place->at : page + slot_at(page, runs, run),
        .before = key.data,
        .page_end = page + page_bytes,
        .room = batch->room,
        .room_end = batch->room + batch->room_bytes,
        .flags = dense_flags(page),
    };
    if (has_place)
        memcpy(key.data, (const uint8_t *)batch->place_key.data + cells_prefix_bytes(page),
               place->matched);
    for (unsigned i = has_place ? index : dense_ordinal(page, runs, run); i < index; i++) {
        struct dense_entry entry;
        reader.at = dense_parse(reader.at, reader.flags, &entry);
        dense_key_apply(&key, &entry);
    }
    unsigned read = 0;
    struct kv_entry *to = batch->entries + (batch->is_backward ? capacity - 1 : 0);
    ptrdiff_t step = batch->is_backward ? -1 : 1;
    for (;;) {
        unsigned last = dense_run_last(page, runs, run);
        unsigned end = last - index < capacity - read ? last : index + (capacity - read);
        for (; index < end; index++, read++, to += step)
            if (!reader_step(&reader, to))
                return read;
        if (read == capacity || ++run == runs)
            return read;
        reader.at = page + slot_at(page, runs, run);
    }
}
