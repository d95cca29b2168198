/* SPDX-License-Identifier: MIT */
/* page_exercise: everything that can be done with a page that page_validate accepted, for damaged
 * pages: whatever the bytes say, no call may reach outside the image, and what comes out of a
 * change must be valid again. Images are exact heap blocks, so that a sanitizer sees every step
 * outside. Shared by the validation test and the fuzz target.
 */
#ifndef PAGE_EXERCISE_H
#define PAGE_EXERCISE_H

#include "btree/page/page.h"

#include <stdio.h>
#include <stdlib.h>

enum { EXERCISE_ID = 7, EXERCISE_CHANGES = 40 };

struct exercise {
    size_t page_bytes;
    struct random random;
    uint8_t *images[6];
    uint8_t *value; /* leaf_inline_max bytes */
};

static inline void exercise_require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "page_exercise: %s\n", what);
    abort();
}

static inline void exercise_require_valid(uint8_t *page, size_t page_bytes, const char *what)
{
    page_set_identity(page, EXERCISE_ID, 1);
    if (page_validate(page, page_bytes, EXERCISE_ID, true) == SOMBRA_OK)
        return;
    fprintf(stderr, "page_exercise: after %s: %s\n", what, sombra_err_message());
    abort();
}

/* A key of the page, or one near it, or any. Returns its length. */
static inline size_t exercise_key(struct exercise *exercise, const uint8_t *page, uint8_t *to)
{
    struct random *random = &exercise->random;
    unsigned count = page_count(page);
    size_t bytes = 0;
    if (page_kind(page) != PAGE_BRANCH && count > 0)
        bytes = leaf_key_at(page, exercise->page_bytes, (unsigned)random_below(random, count), to);
    else if (page_kind(page) == PAGE_BRANCH && count > 1)
        bytes = branch_separator(page, exercise->page_bytes,
                                 1 + (unsigned)random_below(random, count - 1), to);
    uint64_t change = random_below(random, 6);
    if (bytes == 0 || change == 0) {
        bytes = 1 + random_below(random, random_below(random, 4) ? 20 : KV_KEY_BYTES_MAX);
        for (size_t i = 0; i < bytes; i++)
            to[i] = (uint8_t)random_u64(random);
    } else if (change == 1 && bytes > 1) {
        bytes--;
    } else if (change == 2 && bytes < KV_KEY_BYTES_MAX) {
        to[bytes++] = (uint8_t)random_u64(random);
    } else if (change == 3) {
        to[random_below(random, bytes)]++;
    }
    return bytes;
}

static inline struct leaf_value exercise_value(struct exercise *exercise)
{
    struct random *random = &exercise->random;
    uint64_t form = random_below(random, 8);
    if (form == 0)
        return (struct leaf_value){ .overflow = 9, .overflow_bytes = 100000 };
    size_t most = form == 1 ? leaf_inline_max(exercise->page_bytes) : form < 4 ? 130 : 0;
    return (struct leaf_value){ .bytes =
                                    slice_of(exercise->value, random_below(random, most + 1)) };
}

/* Sums what it reads, so that every byte is touched. */
static inline uint64_t exercise_sum(sombra_slice s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s.bytes; i++)
        sum += ((const uint8_t *)s.data)[i];
    return sum;
}

static inline uint64_t exercise_leaf_reads(const uint8_t *page, size_t page_bytes)
{
    unsigned count = page_count(page);
    uint8_t key[KV_KEY_BYTES_MAX], room[KV_KEY_BYTES_MAX + 100];
    struct leaf_value value;
    struct kv_entry entries[32];
    struct leaf_batch batch = {
        .entries = entries, .capacity = 32, .room = room, .room_bytes = sizeof room
    };
    struct leaf_iter iter;
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned index;
        size_t bytes = leaf_key_at(page, page_bytes, i, key);
        exercise_require(bytes >= 1 && bytes <= KV_KEY_BYTES_MAX, "a key's length");
        exercise_require(leaf_find(page, page_bytes, slice_of(key, bytes), &index) && index == i,
                         "a key of the page is not found");
        leaf_value_at(page, page_bytes, i, &value);
        sum += exercise_sum(value.bytes);
    }
    for (unsigned i = 0; i < count;) {
        unsigned read = leaf_read(page, page_bytes, i, &batch);
        exercise_require(read > 0, "a batch of none");
        for (unsigned k = 0; k < read; k++)
            sum += exercise_sum(batch.prefix) + exercise_sum(entries[k].key) +
                   exercise_sum(entries[k].value);
        i += read;
    }
    if (count == 0)
        return sum;
    leaf_iter_seek(&iter, page, page_bytes, 0);
    do
        sum += exercise_sum(iter.suffix) + exercise_sum(iter.value.bytes);
    while (leaf_iter_next(&iter));
    exercise_require(iter.index == count - 1, "a walk ends early");
    return sum;
}

/* The words of up to 20 keys from `index` on, given by the page's other reads. */
static inline void exercise_words(struct exercise *exercise, const uint8_t *page, unsigned index)
{
    enum { WORDS = 20 };
    struct random *random = &exercise->random;
    size_t page_bytes = exercise->page_bytes;
    uint8_t key[KV_KEY_BYTES_MAX], within[KV_KEY_BYTES_MAX], bytes[WORDS];
    uint64_t words[WORDS];
    size_t key_bytes = leaf_key_at(page, page_bytes, index, within);
    size_t kept = key_bytes > 8 && random_below(random, 4) ? key_bytes - 1 - random_below(random, 8)
                                                           : key_bytes;
    struct leaf_words from = { .within = slice_of(within, kept > 0 ? kept : 1),
                               .words = words,
                               .bytes = bytes };
    struct leaf_place place;
    (void)leaf_find_place(page, page_bytes, from.within, &place);
    unsigned at = place.index, count = page_count(page);
    from.place = random_below(random, 3) ? &place : NULL;
    exercise_require(at <= index, "the place of a start of a key is behind the key");
    if (!from.place && at < count) { /* what is before is a key that begins so, or nothing is */
        key_bytes = leaf_key_at(page, page_bytes, at, key);
        from.before = slice_of(key, key_bytes);
        at++;
    }
    while (at < count) {
        from.capacity = 1 + random_below(random, WORDS);
        unsigned read = leaf_read_words(page, page_bytes, at, &from);
        exercise_require(read <= from.capacity, "more words than there is room for");
        bool goes_on = read == from.capacity || (!from.is_over && !from.is_long);
        exercise_require(!goes_on || read == from.capacity || at + read == count,
                         "words end before the leaf");
        for (unsigned i = 0; i < read + (at + read < count && read < from.capacity); i++) {
            key_bytes = leaf_key_at(page, page_bytes, at + i, key);
            sombra_slice rest = slice_of(key + from.within.bytes, 0);
            bool is_within = key_bytes >= from.within.bytes &&
                             memcmp(key, from.within.data, from.within.bytes) == 0;
            uint8_t word[KV_WORD_BYTES] = { 0 };
            rest.bytes = is_within ? key_bytes - from.within.bytes : 0;
            if (i == read) {
                exercise_require(from.is_over == !is_within, "words are over, or are not");
                exercise_require(from.is_long == (rest.bytes > KV_WORD_BYTES), "a long word");
                break;
            }
            exercise_require(is_within && rest.bytes == bytes[i], "a word's length");
            memcpy(word, rest.data, rest.bytes);
            exercise_require(get_be64(word) == words[i], "a word");
        }
        if (!goes_on || read == 0)
            break;
        at += read;
        key_bytes = leaf_key_at(page, page_bytes, at - 1, key);
        from.before = slice_of(key, key_bytes);
        from.place = NULL;
    }
}

/* The other ways to look for keys. */
static inline uint64_t exercise_leaf_searches(struct exercise *exercise, const uint8_t *page)
{
    enum { SEARCHES = 12, SEEKS = 4 };
    struct random *random = &exercise->random;
    size_t page_bytes = exercise->page_bytes;
    unsigned count = page_count(page), index;
    uint8_t keys[SEEKS][KV_KEY_BYTES_MAX];
    struct page_key page_keys[SEEKS];
    struct leaf_seek seeks[SEEKS];
    struct leaf_value value, same;
    struct leaf_place place;
    struct leaf_iter iter;
    uint64_t sum = 0;
    for (unsigned i = 0; i < SEARCHES && count > 0; i++) {
        for (unsigned k = 0; k < SEEKS; k++) {
            size_t bytes = exercise_key(exercise, page, keys[k]);
            page_keys[k] = page_key_of(slice_of(keys[k], bytes));
            seeks[k] = (struct leaf_seek){ .page = page, .key = &page_keys[k] };
        }
        leaf_seeks_begin(seeks, SEEKS, page_bytes);
        leaf_seeks_fetch(seeks, SEEKS);
        for (unsigned k = 0; k < SEEKS; k++) {
            sombra_slice key = page_keys[k].bytes;
            bool is_there = leaf_find(page, page_bytes, key, &index);
            exercise_require(leaf_seek_end(&seeks[k], page_bytes, &value) == is_there, "a seek");
            exercise_require(leaf_get(page, page_bytes, key, &same) == is_there, "a get");
            exercise_require(leaf_find_place(page, page_bytes, key, &place) == is_there &&
                                 place.index == index,
                             "a place");
            if (is_there) {
                exercise_require(slice_equal(value.bytes, same.bytes), "values differ");
                sum += exercise_sum(value.bytes);
            }
            if (index == count)
                continue;
            leaf_iter_enter(&iter, page, page_bytes, &place, key);
            exercise_require(iter.index == index, "an entered walk");
            sum += exercise_sum(iter.suffix) + exercise_sum(iter.value.bytes);
            sombra_slice high = page_keys[(k + 1) % SEEKS].bytes;
            if (slice_compare(key, high) < 0) {
                (void)leaf_find(page, page_bytes, high, &index);
                exercise_require(leaf_find_end(page, page_bytes, &place, key, high) == index,
                                 "an end");
            }
        }
        exercise_words(exercise, page, (unsigned)random_below(random, count));
    }
    return sum;
}

/* All of the page's entries as a row of leaves. */
static inline void exercise_leaf_row(struct exercise *exercise, const uint8_t *page)
{
    size_t page_bytes = exercise->page_bytes;
    unsigned count = page_count(page);
    if (count == 0 || count > 2000)
        return;
    struct leaf_entry *entries = mem_alloc(count * sizeof *entries);
    uint16_t *shared = mem_alloc(count * sizeof *shared);
    uint8_t *keys = mem_alloc((size_t)count * KV_KEY_BYTES_MAX);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *key = keys + (size_t)i * KV_KEY_BYTES_MAX;
        entries[i].key = slice_of(key, leaf_key_at(page, page_bytes, i, key));
        leaf_value_at(page, page_bytes, i, &entries[i].value);
        shared[i] = i == 0 ? 0 : (uint16_t)slice_common_prefix(entries[i - 1].key, entries[i].key);
    }
    struct leaf_row row = {
        .entries = entries, .shared = shared, .count = count, .page_bytes = page_bytes
    };
    size_t fill_bytes = page_bytes - random_below(&exercise->random, page_bytes / 2);
    for (unsigned first = 0; first < count;) {
        struct leaf_cut cut;
        leaf_row_cut(&row, first, fill_bytes, &cut);
        leaf_row_build(&row, &cut, exercise->images[1]);
        exercise_require_valid(exercise->images[1], page_bytes, "a row");
        exercise_require(page_count(exercise->images[1]) == cut.count, "a row's entries");
        first += cut.count;
    }
    mem_free(entries);
    mem_free(shared);
    mem_free(keys);
}

/* Splits, then fills and merges what came out. The page goes on as the left part. */
static inline void exercise_leaf_split(struct exercise *exercise, uint8_t *page, unsigned index,
                                       sombra_slice key, const struct leaf_value *value,
                                       bool replaces)
{
    size_t page_bytes = exercise->page_bytes;
    unsigned count = page_count(page) + (replaces ? 0 : 1);
    struct leaf_split split = { .left = exercise->images[1],
                                .middle = exercise->images[2],
                                .right = exercise->images[3],
                                .replaces = replaces };
    struct leaf_split filled = { .left = exercise->images[4],
                                 .middle = exercise->images[2],
                                 .right = exercise->images[5] };
    leaf_split(page, page_bytes, index, key, value, &split);
    unsigned total = page_count(split.left);
    exercise_require_valid(split.left, page_bytes, "a split, left");
    if (split.pages == 3) {
        exercise_require_valid(split.middle, page_bytes, "a split, middle");
        total += page_count(split.middle);
    }
    if (split.pages >= 2) {
        exercise_require_valid(split.right, page_bytes, "a split, right");
        total += page_count(split.right);
    }
    exercise_require(total == count, "a split loses entries");
    if (split.pages == 2) {
        if (leaf_fill(split.left, split.right, page_bytes, page_bytes, &filled)) {
            exercise_require_valid(filled.left, page_bytes, "a filled leaf");
            exercise_require_valid(filled.right, page_bytes, "what is left of its neighbour");
        }
        if (leaf_merge(split.left, split.right, page_bytes, exercise->images[2]))
            exercise_require_valid(exercise->images[2], page_bytes, "a merge");
    }
    page_copy(page, split.left, page_bytes);
}

static inline void exercise_leaf_change(struct exercise *exercise, uint8_t *page)
{
    size_t page_bytes = exercise->page_bytes;
    struct random *random = &exercise->random;
    unsigned count = page_count(page);
    if (count > 0 && random_below(random, 3) == 0) {
        unsigned first = (unsigned)random_below(random, count);
        unsigned most = random_below(random, 4) ? 1 : count - first;
        leaf_remove(page, page_bytes, first, first + 1 + (unsigned)random_below(random, most));
        exercise_require_valid(page, page_bytes, "a removal");
        return;
    }
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t bytes = exercise_key(exercise, page, key);
    struct leaf_value value = exercise_value(exercise);
    unsigned index;
    bool is_there = leaf_find(page, page_bytes, slice_of(key, bytes), &index);
    bool did_fit = is_there ? leaf_replace(page, page_bytes, index, &value)
                            : leaf_insert(page, page_bytes, index, slice_of(key, bytes), &value);
    exercise_require_valid(page, page_bytes, "an insert");
    if (!did_fit)
        exercise_leaf_split(exercise, page, index, slice_of(key, bytes), &value, is_there);
}

static inline uint64_t exercise_branch_reads(const uint8_t *page, size_t page_bytes)
{
    unsigned count = page_count(page);
    uint8_t key[KV_KEY_BYTES_MAX];
    uint64_t sum = branch_entries_before(page, page_bytes, count);
    for (unsigned i = 0; i < count; i++) {
        sum += branch_child(page, page_bytes, i) + branch_entries(page, page_bytes, i);
        if (i == 0)
            continue;
        size_t bytes = branch_separator(page, page_bytes, i, key);
        exercise_require(bytes >= 1 && bytes <= KV_KEY_BYTES_MAX, "a separator's length");
        exercise_require(branch_find(page, page_bytes, slice_of(key, bytes)) == i,
                         "a separator is not found");
    }
    return sum;
}

static inline void exercise_branch_split(struct exercise *exercise, uint8_t *page, unsigned index,
                                         sombra_slice key)
{
    size_t page_bytes = exercise->page_bytes;
    struct branch_split split = { .left = exercise->images[1], .right = exercise->images[2] };
    uint8_t *merged = exercise->images[5];
    branch_split(page, page_bytes, index, key, (struct branch_child){ 5, 6 }, &split);
    exercise_require_valid(split.left, page_bytes, "a branch split, left");
    exercise_require_valid(split.right, page_bytes, "a branch split, right");
    exercise_require(page_count(split.left) + page_count(split.right) == page_count(page) + 1,
                     "a branch split loses children");
    if (branch_merge(split.left, slice_of(split.separator, split.separator_bytes), split.right,
                     page_bytes, merged))
        exercise_require_valid(merged, page_bytes, "a branch merge");
    page_copy(page, split.left, page_bytes);
}

static inline void exercise_branch_change(struct exercise *exercise, uint8_t *page)
{
    size_t page_bytes = exercise->page_bytes;
    struct random *random = &exercise->random;
    unsigned count = page_count(page);
    if (count > 1 && random_below(random, 3) == 0) {
        unsigned first = (unsigned)random_below(random, count);
        branch_remove(page, page_bytes, first, first + 1);
        exercise_require_valid(page, page_bytes, "a branch removal");
        return;
    }
    uint8_t key[KV_KEY_BYTES_MAX], at_key[KV_KEY_BYTES_MAX];
    sombra_slice separator = slice_of(key, exercise_key(exercise, page, key));
    unsigned at = branch_find(page, page_bytes, separator);
    branch_set_child(page, page_bytes, at, 11, 12);
    if (at > 0) {
        size_t bytes = branch_separator(page, page_bytes, at, at_key);
        if (slice_equal(slice_of(at_key, bytes), separator))
            return;
        if (random_below(random, 3) == 0) { /* at < key < at + 1: a legal successor */
            (void)branch_replace_separator(page, page_bytes, at, separator);
            exercise_require_valid(page, page_bytes, "a separator's change");
            return;
        }
    }
    bool did_fit =
        branch_insert(page, page_bytes, at + 1, separator, (struct branch_child){ 5, 6 });
    exercise_require_valid(page, page_bytes, "a branch insert");
    if (!did_fit)
        exercise_branch_split(exercise, page, at + 1, separator);
}

/* `page` was accepted under EXERCISE_ID. */
static inline void page_exercise(const uint8_t *page, size_t page_bytes, uint64_t seed)
{
    struct exercise exercise = { .page_bytes = page_bytes };
    bool is_branch = page_kind(page) == PAGE_BRANCH;
    random_seed(&exercise.random, seed);
    uint64_t sum =
        is_branch ? exercise_branch_reads(page, page_bytes) : exercise_leaf_reads(page, page_bytes);
    for (unsigned i = 0; i < 6; i++)
        exercise.images[i] = mem_alloc_aligned(8, page_bytes);
    exercise.value = mem_zalloc(leaf_inline_max(page_bytes));
    uint8_t *copy = exercise.images[0];
    page_copy(copy, page, page_bytes);
    exercise_require_valid(copy, page_bytes, "a copy");
    if (!is_branch) {
        sum += exercise_leaf_searches(&exercise, copy);
        exercise_leaf_row(&exercise, copy);
    }
    for (unsigned i = 0; i < EXERCISE_CHANGES; i++) {
        if (is_branch)
            exercise_branch_change(&exercise, copy);
        else
            exercise_leaf_change(&exercise, copy);
    }
    if (!is_branch)
        sum += exercise_leaf_searches(&exercise, copy);
    sum ^=
        is_branch ? exercise_branch_reads(copy, page_bytes) : exercise_leaf_reads(copy, page_bytes);
    exercise_require(sum != UINT64_MAX, "the sums use what was read");
    for (unsigned i = 0; i < 6; i++)
        mem_free(exercise.images[i]);
    mem_free(exercise.value);
}

#endif
