/* SPDX-License-Identifier: MIT */
/* Reading dense leaves; dense_format.h draws them. A lookup finds the run by its heads and then
 * walks it without decoding keys: of each entry it needs only how much it shares with its
 * neighbour.
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
    dense_parse(page + slot_at(page, runs, run), dense_has_values(page), &entry);
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
    bool has_values;
    bool is_inside; /* 8 bytes are readable from each byte of the run on */
};

/* One entry: is it below what is wanted? Then on to the next. An entry that shares more than is
 * matched with its neighbour differs where the neighbour did: still smaller. One that shares less
 * is greater there. */
static bool run_pass(struct run_walk *walk, const struct wanted *wanted, bool *out_found)
{
    struct dense_entry entry;
    const uint8_t *next = dense_parse(walk->at, walk->has_values, &entry);
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
                                                           const bool has_values)
{
    const uint8_t *at = walk->at, *is_plain = entry_plain[0];
    const size_t matched = walk->matched;
    unsigned left = walk->last - walk->index;
    for (; left > 0; left--) {
        const size_t form = *at, shared = form >> 4;
        if (UNLIKELY(!is_plain[form]) || shared < matched ||
            (shared == matched && at[has_values ? 2 : 1] >= first))
            break;
        /* Not by a table: where the next entry begins is what the loop waits for. */
        at += (has_values ? 2 + (size_t)at[1] : 1) + (form & 15);
    }
    walk->index = walk->last - left;
    walk->at = at;
}

/* As run_pass again and again, by words: true when the entry that is wanted or one above it was
 * met, or the run's end. Short suffixes as words with zeros behind them are in the order of the
 * suffixes, unless they are equal. */
static inline __attribute__((always_inline)) bool run_pass_words(struct run_walk *walk,
                                                                 const struct wanted *wanted,
                                                                 const bool has_values,
                                                                 bool *out_found)
{
    uint64_t rest = get_be64(wanted->data + walk->matched);
    for (;;) {
        run_skip(walk, (uint8_t)(rest >> 56), has_values);
        if (walk->index == walk->last)
            return true;
        const uint8_t *at = walk->at, *suffix = at + (has_values ? 2 : 1);
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
        walk->at = suffix + bytes + (has_values ? at[1] : 0);
        walk->index++;
    }
}

/* To the first entry that is not below what is wanted; true if it is that. */
static bool run_find(struct run_walk *walk, const struct wanted *wanted)
{
    const bool has_words = wanted->is_padded && walk->is_inside;
    bool is_found = false;
    while (walk->index < walk->last) {
        if (has_words && (walk->has_values ? run_pass_words(walk, wanted, true, &is_found)
                                           : run_pass_words(walk, wanted, false, &is_found)))
            break;
        if (!run_pass(walk, wanted, &is_found))
            break;
    }
    return is_found;
}

/* Asks for the run before it is read: runs lie in descending order, so that no processor expects
 * the next one, and where an entry begins is known only when the one before was read. */
static inline void run_prefetch(const uint8_t *at, const uint8_t *end)
{
    enum { LINE_BYTES = 64, LINES_MAX = 12 };
    if (end - at > LINES_MAX * LINE_BYTES)
        end = at + LINES_MAX * LINE_BYTES;
    for (; at < end; at += LINE_BYTES)
        __builtin_prefetch(at);
}

/* The run whose first key is <= `suffix`, from its beginning. */
static inline struct run_walk run_begin(const uint8_t *page, size_t page_bytes, unsigned run)
{
    unsigned runs = dense_runs(page);
    const uint8_t *at = page + slot_at(page, runs, run);
    run_prefetch(at, page + dense_run_end(page, page_bytes, runs, run));
    return (struct run_walk){
        .at = at,
        .index = dense_ordinal(page, runs, run),
        .last = dense_run_last(page, runs, run),
        .has_values = dense_has_values(page),
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
    (void)dense_parse(walk.at, walk.has_values, &entry);
    *out = (struct leaf_value){
        .bytes = walk.has_values ? slice_of(entry.value, entry.value_bytes) : slice_of(page, 0),
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
        at = dense_parse(at, true, &entry);
    while (i++ < index);
    out->bytes = slice_of(entry.value, entry.value_bytes);
}

/* ---- iteration --------------------------------------------------------------------------- */

static void iter_decode(struct leaf_iter *iter)
{
    struct dense_entry entry;
    iter->at = dense_parse(iter->at, dense_has_values(iter->page), &entry);
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

void dense_iter_previous(struct leaf_iter *iter)
{
    assert(iter->index > 0);
    dense_iter_seek(iter, iter->index - 1);
}

/* ---- batches ----------------------------------------------------------------------------- */

/* 16 bytes at once, read before written: the areas may overlap. */
static inline void copy_16(uint8_t *to, const uint8_t *from)
{
    uint64_t words[2];
    memcpy(words, from, sizeof words);
    memcpy(to, words, sizeof words);
}

/* What a batch read goes on with. */
struct reader {
    const uint8_t *at;       /* the next entry */
    const uint8_t *before;   /* the key before it, decoded; 16 bytes are readable */
    const uint8_t *page_end; /* nothing is read behind it */
    uint8_t *room, *room_end;
    bool has_values;
};

/* Decodes one entry into the room; false = it does not fit there. */
static inline bool reader_step(struct reader *reader, struct kv_entry *out_entry)
{
    struct dense_entry entry;
    const uint8_t *next = dense_parse(reader->at, reader->has_values, &entry);
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
        .has_values = dense_has_values(page),
    };
    if (has_place)
        memcpy(key.data, (const uint8_t *)batch->place_key.data + cells_prefix_bytes(page),
               place->matched);
    for (unsigned i = has_place ? index : dense_ordinal(page, runs, run); i < index; i++) {
        struct dense_entry entry;
        reader.at = dense_parse(reader.at, reader.has_values, &entry);
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

/* ---- keys as words ----------------------------------------------------------------------- */

enum word_answer { WORD_READ, WORD_OVER, WORD_LONG };

/* The word of an entry, given that of the one before; `is_first`: what that was is not known, only
 * that the entry shares no more with it than with `match` and the word. */
static inline __attribute__((always_inline)) enum word_answer
word_step(const struct word_frame *frame, const struct dense_entry *entry, const bool is_first,
          const uint8_t *page_end, uint64_t *word, size_t *out_bytes)
{
    size_t shared = entry->shared, from = 0;
    if (is_first && shared < frame->match_bytes) {
        from = frame->match_bytes - shared;
        if (!cells_key_has_prefix(slice_of(entry->suffix, entry->suffix_bytes),
                                  slice_of(frame->match + shared, from)))
            return WORD_OVER;
        shared = frame->match_bytes;
    }
    if (shared < frame->match_bytes)
        return WORD_OVER;
    size_t kept = shared - frame->match_bytes + frame->rest_bytes;
    size_t own = entry->suffix_bytes - from;
    if (UNLIKELY(kept + own > KV_WORD_BYTES))
        return WORD_LONG;
    uint64_t read = word_read(entry->suffix + from, own, page_end);
    *word = kept < KV_WORD_BYTES ? (*word & word_mask(kept)) | read >> (8 * kept) : *word;
    *out_bytes = kept + own;
    return WORD_READ;
}

/* What the next entry may share of the one before: the first of its bytes behind `within`. */
static uint64_t word_before(const struct leaf_words *words)
{
    const uint8_t *before = words->before.data;
    size_t bytes = words->before.bytes - words->within.bytes;
    assert(words->before.bytes >= words->within.bytes);
    before += words->within.bytes;
    return word_read(before, size_min(bytes, KV_WORD_BYTES), before + bytes);
}

/* Where the entry `index` of the run is. */
static const uint8_t *entry_at(const uint8_t *page, unsigned run, unsigned index)
{
    unsigned runs = dense_runs(page);
    const uint8_t *at = page + slot_at(page, runs, run);
    struct dense_entry entry;
    for (unsigned i = dense_ordinal(page, runs, run); i < index; i++)
        at = dense_parse(at, dense_has_values(page), &entry);
    return at;
}

/* Entries of one run as long as they are of the usual kind: lengths in one byte, wanted, of few
 * bytes. *at and *word move on; how many. */
static inline __attribute__((always_inline)) size_t
words_of_run_by(const struct word_frame *frame, const uint8_t **at, size_t most,
                const bool has_values, const uint8_t *page_end, uint64_t *word, uint64_t *words,
                uint8_t *bytes)
{
    const size_t head_bytes = has_values ? 2 : 1;
    const size_t match_bytes = frame->match_bytes, rest_bytes = frame->rest_bytes;
    if (UNLIKELY(match_bytes >= DENSE_NIBBLE_MAX))
        return 0;
    /* `kept` is not above this if what is shared is wanted, and told by its nibble. */
    const size_t kept_max =
        size_min(KV_WORD_BYTES, DENSE_NIBBLE_MAX - 1 - match_bytes + rest_bytes);
    const uint8_t *entry = *at, *last = page_end - 8 - head_bytes;
    uint64_t key = *word;
    size_t i = 0;
    for (; i < most && entry <= last; i++) {
        const size_t own = *entry & 15, kept = (size_t)(*entry >> 4) - match_bytes + rest_bytes;
        const size_t length = kept + own;
        if (UNLIKELY(kept > kept_max || length > KV_WORD_BYTES))
            break;
        const uint8_t *suffix = entry + head_bytes;
        const uint64_t read = get_be64(suffix) & word_mask(own);
        key = (key & word_mask(kept)) | read >> (8 * (kept & 7));
        words[i] = key;
        bytes[i] = (uint8_t)length;
        entry = suffix + own + (has_values ? entry[1] : 0);
    }
    *at = entry;
    *word = key;
    return i;
}

/* Functions of their own, so that the loops have the registers. */
static __attribute__((noinline)) size_t words_of_run(const struct word_frame *frame,
                                                     const uint8_t **at, size_t most,
                                                     const uint8_t *page_end, uint64_t *word,
                                                     uint64_t *words, uint8_t *bytes)
{
    return words_of_run_by(frame, at, most, false, page_end, word, words, bytes);
}

static __attribute__((noinline)) size_t words_of_valued_run(const struct word_frame *frame,
                                                            const uint8_t **at, size_t most,
                                                            const uint8_t *page_end, uint64_t *word,
                                                            uint64_t *words, uint8_t *bytes)
{
    return words_of_run_by(frame, at, most, true, page_end, word, words, bytes);
}

/* What a reader of words goes on with. */
struct words_reader {
    struct word_frame frame;
    const uint8_t *page_end;
    const uint8_t *at; /* the next entry */
    uint64_t word;     /* of the one before, as far as it matters */
    bool has_values;
    bool is_first; /* see word_step */
};

/* Up to `most` entries of one run. */
static size_t words_read_run(struct words_reader *reader, size_t most, uint64_t *words,
                             uint8_t *bytes, enum word_answer *out_answer)
{
    const struct word_frame *frame = &reader->frame;
    size_t read = 0;
    *out_answer = WORD_READ;
    while (read < most) {
        struct dense_entry entry;
        size_t length = 0;
        const uint8_t *next = dense_parse(reader->at, reader->has_values, &entry);
        *out_answer =
            word_step(frame, &entry, reader->is_first, reader->page_end, &reader->word, &length);
        if (*out_answer != WORD_READ)
            break;
        reader->at = next;
        reader->is_first = false;
        words[read] = reader->word;
        bytes[read++] = (uint8_t)length;
        read += (reader->has_values ? words_of_valued_run : words_of_run)(
            frame, &reader->at, most - read, reader->page_end, &reader->word, words + read,
            bytes + read);
    }
    return read;
}

unsigned dense_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                          struct leaf_words *words)
{
    struct words_reader reader = { .page_end = page + page_bytes,
                                   .has_values = dense_has_values(page),
                                   .is_first = true };
    if (!word_frame_init(&reader.frame, cells_prefix(page, page_bytes), words->within)) {
        words->is_over = true;
        return 0;
    }
    const struct leaf_place *place = words->place;
    const bool has_place = place && place->at;
    const unsigned runs = dense_runs(page);
    const size_t most = size_min(words->capacity, cells_count(page) - index);
    unsigned run = has_place ? place->run : dense_run_of(page, index);
    const bool is_begin = place || index == dense_ordinal(page, runs, run);
    enum word_answer answer = WORD_READ;
    size_t read = 0;
    reader.at = has_place ? place->at : entry_at(page, run, index);
    reader.word = is_begin ? reader.frame.rest_word : word_before(words);
    for (;;) {
        size_t of_run = dense_run_last(page, runs, run) - (index + read);
        if (run + 1 < runs && of_run < most - read)
            run_prefetch(page + slot_at(page, runs, run + 1), page + slot_at(page, runs, run));
        read += words_read_run(&reader, size_min(of_run, most - read), words->words + read,
                               words->bytes + read, &answer);
        if (answer != WORD_READ || read == most)
            break;
        reader.at = page + slot_at(page, runs, ++run);
        reader.word = reader.frame.rest_word;
        reader.is_first = true;
    }
    words->is_over = answer == WORD_OVER;
    words->is_long = answer == WORD_LONG;
    return (unsigned)read;
}

/* ---- validation -------------------------------------------------------------------------- */

/* Like dense_parse, within [at, end); a text says what is wrong. */
static inline const char *entry_check(const uint8_t *page, const uint8_t *at, const uint8_t *end,
                                      bool has_values, struct dense_entry *out)
{
    size_t more;
    size_t key_bytes_max = KV_KEY_BYTES_MAX - cells_prefix_bytes(page);
    if (at >= end)
        return "a run ends before its last entry";
    out->shared = *at >> 4;
    out->suffix_bytes = *at++ & 15;
    if (UNLIKELY(out->shared == DENSE_NIBBLE_MAX)) {
        at = length_get_checked(at, end, &more);
        if (!at)
            return "an entry's shared length is not well formed";
        out->shared += more;
    }
    if (UNLIKELY(out->suffix_bytes == DENSE_NIBBLE_MAX)) {
        at = length_get_checked(at, end, &more);
        if (!at)
            return "an entry's suffix length is not well formed";
        out->suffix_bytes += more;
    }
    out->value_bytes = 0;
    if (has_values) {
        if (at >= end || *at > DENSE_VALUE_BYTES_MAX)
            return "an entry's value length is out of bounds";
        out->value_bytes = *at++;
    }
    if (out->shared + out->suffix_bytes > key_bytes_max)
        return "a key is longer than 1024 bytes";
    if (out->suffix_bytes + out->value_bytes > (size_t)(end - at))
        return "an entry reaches past its run";
    out->suffix = at;
    out->value = at + out->suffix_bytes;
    return NULL;
}

/* The entry follows `before` in its run: greater, and not one byte more could be shared. */
static inline const char *order_check(const struct dense_entry *entry,
                                      const struct dense_key *before)
{
    if (entry->shared > before->bytes)
        return "an entry shares more than the key before it has";
    if (entry->suffix_bytes == 0)
        return "keys are not in ascending order";
    if (entry->shared < before->bytes && entry->suffix[0] <= before->data[entry->shared])
        return "keys are not in ascending order, or an entry shares less than it could";
    return NULL;
}

static const char *first_check(const uint8_t *page, unsigned run, const struct dense_entry *entry,
                               const struct dense_key *before)
{
    if (entry->shared != 0)
        return "the first entry of a run shares bytes";
    if (head_at(page + CELLS_HEADS, run) != head_of(entry->suffix, entry->suffix_bytes))
        return "a head differs from its key";
    if (run == 0 && entry->suffix_bytes + cells_prefix_bytes(page) == 0)
        return "a key of no bytes";
    if (run > 0 &&
        slice_compare(dense_key_slice(before), slice_of(entry->suffix, entry->suffix_bytes)) >= 0)
        return "runs are not in ascending order";
    return NULL;
}

static sombra_err run_validate(const uint8_t *page, size_t page_bytes, unsigned run,
                               struct dense_key *key)
{
    unsigned runs = dense_runs(page);
    unsigned first = dense_ordinal(page, runs, run);
    unsigned last = dense_run_last(page, runs, run);
    const uint8_t *at = page + slot_at(page, runs, run);
    const uint8_t *end = page + dense_run_end(page, page_bytes, runs, run);
    const bool has_values = dense_has_values(page);
    for (unsigned i = first; i < last; i++) {
        struct dense_entry entry;
        const char *wrong = entry_check(page, at, end, has_values, &entry);
        if (!wrong)
            wrong = i == first ? first_check(page, run, &entry, key) : order_check(&entry, key);
        if (wrong)
            return page_corrupt(page, (size_t)(at - page), wrong);
        if (LIKELY(entry.suffix_bytes <= 16 && page + page_bytes - entry.suffix >= 16 &&
                   entry.shared <= sizeof key->data - 16)) {
            copy_16(key->data + entry.shared, entry.suffix);
            key->bytes = entry.shared + entry.suffix_bytes;
        } else {
            dense_key_apply(key, &entry);
        }
        at = entry.value + entry.value_bytes;
    }
    if (at != end)
        return page_corrupt(page, (size_t)(at - page), "a run is longer than its entries");
    return SOMBRA_OK;
}

/* Offsets fall, ordinals rise, and runs are as long as they may be. */
static sombra_err runs_validate(const uint8_t *page, size_t page_bytes)
{
    unsigned runs = dense_runs(page);
    unsigned count = cells_count(page);
    size_t end = cells_top(page, page_bytes);
    if ((runs == 0) != (count == 0) || runs > count)
        return page_corrupt(page, DENSE_RUNS, "runs do not go with the number of entries");
    for (unsigned run = 0; run < runs; run++) {
        size_t offset = slot_at(page, runs, run);
        unsigned first = dense_ordinal(page, runs, run);
        unsigned last = dense_run_last(page, runs, run);
        size_t slot = CELLS_HEADS + 4 * (size_t)runs + 2 * (size_t)run;
        if (offset >= end || offset < cells_low(page))
            return page_corrupt(page, slot, "a run is out of its place");
        if ((run == 0 && first != 0) || last <= first || last > count ||
            last - first > 2 * DENSE_INTERVAL)
            return page_corrupt(page, slot + 2 * (size_t)runs, "a run's ordinal is out of bounds");
        end = offset;
    }
    if (end != cells_low(page) || cells_holes(page) != 0)
        return page_corrupt(page, CELLS_LOW, "the runs do not fill their area");
    return SOMBRA_OK;
}

sombra_err dense_validate(const uint8_t *page, size_t page_bytes)
{
    sombra_err err = cells_validate_area(page, page_bytes, dense_arrays_end(page));
    if (!err && (page[DENSE_FLAGS] & ~DENSE_VALUES) != 0)
        err = page_corrupt(page, DENSE_FLAGS, "unknown flags");
    if (!err)
        err = runs_validate(page, page_bytes);
    struct dense_key key;
    key.bytes = 0;
    for (unsigned run = 0; !err && run < dense_runs(page); run++)
        err = run_validate(page, page_bytes, run, &key);
    return err;
}
