/* SPDX-License-Identifier: MIT */
/* Keys of dense leaves, read as words: the bytes behind what all of them begin with, eight of them
 * at the most. An entry's word is that of the one before with other bytes at its end, so that no
 * key is put together.
 */
#include "dense_internal.h"

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
        at = dense_parse(at, dense_flags(page), &entry);
    return at;
}

/* What a reader of words goes on with. */
struct words_reader {
    struct word_frame frame;
    const uint8_t *page_end;
    const uint8_t *at; /* the next entry */
    uint64_t word;     /* of the one before, as far as it matters */
    unsigned flags;    /* of the page */
    bool is_first;     /* see word_step */
};

/* Entries of one run as long as they are of the plain kind: lengths in one byte, wanted, of few
 * bytes, 8 readable from each suffix on. The reader moves on; how many. */
static inline __attribute__((always_inline)) size_t
words_of_run_by(struct words_reader *reader, size_t most, const enum dense_lengths lengths,
                uint64_t *words, uint8_t *bytes)
{
    const size_t usual = lengths == LENGTHS_USUAL ? dense_usual_bytes(reader->flags) : 0;
    const size_t head_bytes = lengths == LENGTHS_EACH ? 2 : 1;
    const size_t match_bytes = reader->frame.match_bytes, rest_bytes = reader->frame.rest_bytes;
    if (UNLIKELY(match_bytes >= DENSE_NIBBLE_MAX))
        return 0;
    /* `kept` is not above this if what is shared is wanted, and told by its nibble. */
    const size_t kept_max =
        size_min(KV_WORD_BYTES, DENSE_NIBBLE_MAX - 1 - match_bytes + rest_bytes);
    const uint8_t *entry = reader->at;
    uint64_t key = reader->word;
    size_t i = 0;
    for (; i < most; i++) {
        size_t own = *entry & 15, kept = (size_t)(*entry >> 4) - match_bytes + rest_bytes;
        size_t length = kept + own, value_bytes = lengths == LENGTHS_EACH ? entry[1] : usual;
        const uint8_t *suffix = entry + head_bytes;
        if (UNLIKELY(kept > kept_max || length > KV_WORD_BYTES)) {
            if (lengths != LENGTHS_USUAL || *entry != DENSE_UNUSUAL)
                break;
            own = entry[2] & 15;
            kept = (size_t)(entry[2] >> 4) - match_bytes + rest_bytes;
            length = kept + own;
            value_bytes = entry[1];
            suffix += DENSE_UNUSUAL_BYTES;
            if (kept > kept_max || length > KV_WORD_BYTES)
                break;
        }
        const uint64_t read = get_be64(suffix) & word_mask(own);
        key = (key & word_mask(kept)) | read >> (8 * (kept & 7));
        words[i] = key;
        bytes[i] = (uint8_t)length;
        entry = suffix + own + value_bytes;
    }
    reader->at = entry;
    reader->word = key;
    return i;
}

/* Functions of their own, so that the loops have the registers. */
static __attribute__((noinline)) size_t words_of_bare_run(struct words_reader *reader, size_t most,
                                                          uint64_t *words, uint8_t *bytes)
{
    return words_of_run_by(reader, most, LENGTHS_NONE, words, bytes);
}

static __attribute__((noinline)) size_t words_of_told_run(struct words_reader *reader, size_t most,
                                                          uint64_t *words, uint8_t *bytes)
{
    return words_of_run_by(reader, most, LENGTHS_EACH, words, bytes);
}

static __attribute__((noinline)) size_t words_of_usual_run(struct words_reader *reader, size_t most,
                                                           uint64_t *words, uint8_t *bytes)
{
    return words_of_run_by(reader, most, LENGTHS_USUAL, words, bytes);
}

/* Up to `most` that come without a closer look. */
static inline size_t words_read_plain(struct words_reader *reader, size_t most, uint64_t *words,
                                      uint8_t *bytes)
{
    switch (dense_lengths_of(reader->flags)) {
    case LENGTHS_NONE:
        return words_of_bare_run(reader, most, words, bytes);
    case LENGTHS_EACH:
        return words_of_told_run(reader, most, words, bytes);
    default:
        return words_of_usual_run(reader, most, words, bytes);
    }
}

/* Up to `most` entries of one run; of those behind the first `plain_most`, each needs a closer
 * look.
 */
static size_t words_read_run(struct words_reader *reader, size_t most, size_t plain_most,
                             uint64_t *words, uint8_t *bytes, enum word_answer *out_answer)
{
    const struct word_frame *frame = &reader->frame;
    size_t read = 0;
    *out_answer = WORD_READ;
    while (read < most) {
        struct dense_entry entry;
        size_t length = 0;
        const uint8_t *next = dense_parse(reader->at, reader->flags, &entry);
        *out_answer =
            word_step(frame, &entry, reader->is_first, reader->page_end, &reader->word, &length);
        if (*out_answer != WORD_READ)
            break;
        reader->at = next;
        reader->is_first = false;
        words[read] = reader->word;
        bytes[read++] = (uint8_t)length;
        if (read < plain_most)
            read += words_read_plain(reader, plain_most - read, words + read, bytes + read);
    }
    return read;
}

/* How many of the last entries of the run are too near to the page's end for 8 bytes to be readable
 * from their suffixes on. An entry has two bytes or more; what stands before a suffix, three or
 * less, and then the entry has four. */
static inline size_t words_near_end(const uint8_t *page, size_t page_bytes, unsigned runs,
                                    unsigned run)
{
    enum { NEAR_END_MAX = 4 };
    return dense_run_end(page, page_bytes, runs, run) + 8 <= page_bytes ? 0 : NEAR_END_MAX;
}

unsigned dense_read_words(const uint8_t *page, size_t page_bytes, unsigned index,
                          struct leaf_words *words)
{
    struct words_reader reader = { .page_end = page + page_bytes,
                                   .flags = dense_flags(page),
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
        const size_t near_end = words_near_end(page, page_bytes, runs, run);
        const size_t of_read = size_min(of_run, most - read);
        if (run + 1 < runs && of_run < most - read)
            dense_run_prefetch(page + slot_at(page, runs, run + 1),
                               page + slot_at(page, runs, run));
        read += words_read_run(&reader, of_read,
                               of_run > near_end ? size_min(of_run - near_end, of_read) : 0,
                               words->words + read, words->bytes + read, &answer);
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
