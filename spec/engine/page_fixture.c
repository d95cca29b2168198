/* SPDX-License-Identifier: MIT */
#include "page_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

const char *const key_set_names[KEYS_SETS] = { "decimal", "adjacency", "index", "edge",
                                               "long",    "mixed",     "usual", "nested" };

uint64_t test_seed(void)
{
    const char *text = getenv("SOMBRA_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed =
        text ? strtoull(text, NULL, 10) : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
    print_message("SOMBRA_SEED=%" PRIu64 "\n", seed);
    return seed;
}

uint8_t *page_image(size_t page_bytes)
{
    uint8_t *page = mem_alloc_aligned(64, page_bytes);
    assert_non_null(page);
    memset(page, 0xa5, page_bytes);
    return page;
}

void model_init(struct model *model, enum key_set set, size_t page_bytes, uint64_t seed)
{
    *model = (struct model){ .arena = ARENA_INIT, .set = set, .page_bytes = page_bytes };
    random_seed(&model->random, seed);
}

void model_release(struct model *model)
{
    arena_release(&model->arena);
    mem_free(model->entries);
}

/* ---- keys and values --------------------------------------------------------------------- */

static size_t key_decimal(struct random *random, uint8_t *to)
{
    char text[32];
    snprintf(text, sizeof text, "%016" PRIu64, random_below(random, 1000000));
    memcpy(to, text, 16);
    return 16;
}

static size_t key_adjacency(struct random *random, uint8_t *to)
{
    uint8_t *at = to;
    *at++ = 0x05;
    at = ordered_put(at, random_below(random, 3) ? 20000 + random_below(random, 40)
                                                 : random_below(random, 82000));
    *at++ = (uint8_t)random_below(random, 3);
    at = ordered_put(at, random_below(random, 82000));
    at = ordered_put(at, random_below(random, 1500000));
    return (size_t)(at - to);
}

static size_t key_index(struct random *random, uint8_t *to)
{
    uint8_t *at = to;
    *at++ = 0x08;
    *at++ = (uint8_t)random_below(random, 4);
    if (random_below(random, 2)) {
        *at++ = 0x10;
        put_be64(at, UINT64_C(0xc000000000000000) + random_below(random, 100000) * 4096);
        at += 8;
    } else {
        *at++ = 0x20;
        for (uint64_t i = 3 + random_below(random, 9); i > 0; i--)
            *at++ = (uint8_t)('a' + random_below(random, 26));
        *at++ = 0;
    }
    at = ordered_put(at, random_below(random, 100000));
    return (size_t)(at - to);
}

static size_t key_edge(struct random *random, uint8_t *to)
{
    to[0] = 0x06;
    return (size_t)(ordered_put(to + 1, random_below(random, 200000)) - to);
}

static size_t key_long(struct random *random, uint8_t *to)
{
    static const size_t shares[] = { 0, 3, 17, 130, 500, 900, 1000 };
    size_t shared = shares[random_below(random, COUNT_OF(shares))];
    uint64_t family = random_below(random, 3);
    size_t bytes = 1 + random_below(random, 8) + shared;
    if (random_below(random, 6) == 0)
        bytes = shared + 1 + random_below(random, KV_KEY_BYTES_MAX - shared);
    memset(to, 'p' + (int)family, shared);
    for (size_t i = shared; i < bytes; i++)
        to[i] = (uint8_t)random_u64(random);
    return bytes;
}

static size_t key_nested(struct random *random, uint8_t *to)
{
    static const uint8_t alphabet[] = { 0x00, 0x00, 0xff, 0x01, 0xff };
    size_t bytes = 1 + random_below(random, random_below(random, 8) ? 12 : 40);
    for (size_t i = 0; i < bytes; i++)
        to[i] = alphabet[random_below(random, sizeof alphabet)];
    return bytes;
}

sombra_slice model_random_key(struct model *model)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    size_t (*const makers[KEYS_SETS])(struct random *, uint8_t *) = {
        key_decimal, key_adjacency, key_index, key_edge,
        key_long,    key_adjacency, key_edge,  key_nested,
    };
    size_t bytes = makers[model->set](&model->random, key);
    assert_in_range(bytes, 1, KV_KEY_BYTES_MAX);
    return arena_copy(&model->arena, slice_of(key, bytes));
}

static struct leaf_value value_of_bytes(struct model *model, size_t bytes)
{
    uint8_t *data = arena_alloc(&model->arena, bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)random_u64(&model->random);
    return (struct leaf_value){ .bytes = slice_of(data, bytes) };
}

struct leaf_value model_random_value(struct model *model)
{
    struct random *random = &model->random;
    switch (model->set) {
    case KEYS_DECIMAL:
        return value_of_bytes(model, 100);
    case KEYS_EDGE:
        return value_of_bytes(model, 7 + random_below(random, 3));
    case KEYS_LONG:
        if (random_below(random, 5) == 0)
            return (struct leaf_value){
                .overflow = 2 + random_below(random, UINT64_C(1) << 40),
                .overflow_bytes = 1 + random_below(random, 1000000),
            };
        if (random_below(random, 4) == 0)
            return value_of_bytes(model,
                                  random_below(random, leaf_inline_max(model->page_bytes) + 1));
        return value_of_bytes(model, random_below(random, 20));
    case KEYS_MIXED:
        if (random_below(random, 50))
            return value_of_bytes(model, random_below(random, 10) ? 0 : random_below(random, 9));
        return value_of_bytes(model, random_below(random, leaf_inline_max(model->page_bytes) + 1));
    case KEYS_USUAL:
        if (random_below(random, 10))
            return value_of_bytes(model, 6);
        return value_of_bytes(model, random_below(random, random_below(random, 4) ? 8 : 128));
    case KEYS_NESTED:
        return value_of_bytes(model, random_below(random, 4) ? 0 : random_below(random, 127));
    default:
        return value_of_bytes(model, 0);
    }
}

/* ---- the sorted array -------------------------------------------------------------------- */

bool model_find(const struct model *model, sombra_slice key, unsigned *out_index)
{
    unsigned low = 0, high = model->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (slice_compare(model->entries[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_index = low;
    return low < model->count && slice_equal(model->entries[low].key, key);
}

void model_insert(struct model *model, unsigned index, sombra_slice key, struct leaf_value value)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity ? 2 * model->capacity : 256;
        model->entries = mem_realloc(model->entries, model->capacity * sizeof *model->entries);
        assert_non_null(model->entries);
    }
    memmove(model->entries + index + 1, model->entries + index,
            (model->count - index) * sizeof *model->entries);
    model->entries[index] = (struct entry){ key, value };
    model->count++;
}

void model_remove(struct model *model, unsigned first, unsigned last)
{
    memmove(model->entries + first, model->entries + last,
            (model->count - last) * sizeof *model->entries);
    model->count -= last - first;
}

/* ---- comparison -------------------------------------------------------------------------- */

void assert_same_value(const struct leaf_value *a, const struct leaf_value *b)
{
    assert_int_equal(a->overflow, b->overflow);
    assert_int_equal(a->overflow_bytes, b->overflow_bytes);
    if (!a->overflow)
        assert_true(slice_equal(a->bytes, b->bytes));
}

static void assert_split_key(sombra_slice prefix, sombra_slice suffix, sombra_slice key)
{
    assert_int_equal(prefix.bytes + suffix.bytes, key.bytes);
    assert_true(slice_has_prefix(key, prefix));
    assert_true(slice_equal(slice_from(key, prefix.bytes), suffix));
}

static void assert_points_equal(const uint8_t *page, size_t page_bytes, const struct model *model,
                                unsigned first, unsigned last)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    for (unsigned i = first; i < last; i++) {
        const struct entry *entry = &model->entries[i];
        unsigned index;
        struct leaf_value value;
        assert_true(leaf_find(page, page_bytes, entry->key, &index));
        assert_int_equal(index, i - first);
        leaf_value_at(page, page_bytes, index, &value);
        assert_same_value(&value, &entry->value);
        size_t bytes = leaf_key_at(page, page_bytes, index, key);
        assert_true(slice_equal(slice_of(key, bytes), entry->key));
    }
}

/* Reads from places and ends looked for from them are as those by index. */
static void assert_places_equal(const uint8_t *page, size_t page_bytes, const struct model *model,
                                unsigned first, unsigned last)
{
    uint8_t room[2 * KV_KEY_BYTES_MAX];
    for (unsigned i = first; i < last; i++) {
        const sombra_slice key = model->entries[i].key;
        struct leaf_place place;
        struct leaf_value value;
        struct leaf_iter iter;
        struct kv_entry entries[2];
        assert_true(leaf_get(page, page_bytes, key, &value));
        assert_same_value(&value, &model->entries[i].value);
        assert_true(leaf_find_place(page, page_bytes, key, &place));
        assert_int_equal(place.index, i - first);
        for (unsigned far = 1; i + far < last; far *= 3)
            assert_int_equal(
                leaf_find_end(page, page_bytes, &place, key, model->entries[i + far].key),
                i - first + far);
        leaf_iter_enter(&iter, page, page_bytes, &place, key);
        for (unsigned k = i; k < last && k < i + 3; k++) {
            assert_split_key(iter.prefix, iter.suffix, model->entries[k].key);
            assert_same_value(&iter.value, &model->entries[k].value);
            assert_int_equal(leaf_iter_next(&iter), k + 1 < last);
        }
        struct leaf_batch batch = { .entries = entries,
                                    .capacity = 2,
                                    .place = &place,
                                    .place_key = key,
                                    .room = room,
                                    .room_bytes = sizeof room };
        unsigned read = leaf_read(page, page_bytes, place.index, &batch);
        assert_true(read > 0);
        for (unsigned k = 0; k < read; k++)
            assert_split_key(batch.prefix, entries[k].key, model->entries[i + k].key);
        if (key.bytes == KV_KEY_BYTES_MAX)
            continue;
        /* The key right behind it. */
        memcpy(room, key.data, key.bytes);
        room[key.bytes] = 0;
        const sombra_slice behind = slice_of(room, key.bytes + 1);
        bool is_there = i + 1 < last && slice_equal(behind, model->entries[i + 1].key);
        assert_int_equal(leaf_get(page, page_bytes, behind, &value), is_there);
        assert_int_equal(leaf_find_end(page, page_bytes, &place, key, behind), i - first + 1);
        assert_int_equal(leaf_find_place(page, page_bytes, behind, &place), is_there);
        assert_int_equal(place.index, i - first + 1);
        if (i + 1 == last)
            continue;
        leaf_iter_enter(&iter, page, page_bytes, &place, behind);
        assert_split_key(iter.prefix, iter.suffix, model->entries[i + 1].key);
    }
}

static void assert_walks_equal(const uint8_t *page, size_t page_bytes, const struct model *model,
                               unsigned first, unsigned last)
{
    struct leaf_iter iter;
    unsigned i = first;
    leaf_iter_seek(&iter, page, page_bytes, 0);
    do {
        assert_int_equal(iter.index, i - first);
        assert_split_key(iter.prefix, iter.suffix, model->entries[i].key);
        assert_same_value(&iter.value, &model->entries[i].value);
        i++;
    } while (leaf_iter_next(&iter));
    assert_int_equal(i, last);
    while (i-- > first) {
        leaf_iter_seek(&iter, page, page_bytes, i - first);
        assert_split_key(iter.prefix, iter.suffix, model->entries[i].key);
        assert_same_value(&iter.value, &model->entries[i].value);
    }
}

static void assert_batches_equal(const uint8_t *page, size_t page_bytes, const struct model *model,
                                 unsigned first, unsigned last, unsigned capacity)
{
    uint8_t room[2 * KV_KEY_BYTES_MAX];
    struct kv_entry entries[64];
    assert_true(capacity <= 64);
    unsigned i = first;
    for (;;) {
        /* Both ways round in turn. */
        struct leaf_batch batch = { .entries = entries,
                                    .capacity = capacity,
                                    .is_backward = (i - first) % 2 != 0,
                                    .room = room,
                                    .room_bytes = sizeof room };
        unsigned read = leaf_read(page, page_bytes, i - first, &batch);
        if (read == 0)
            break;
        for (unsigned k = 0; k < read; k++, i++) {
            assert_true(i < last);
            const struct kv_entry *entry = &entries[batch.is_backward ? capacity - 1 - k : k];
            struct leaf_value value = { .bytes = entry->value };
            if (!entry->value.data) {
                assert_true(batch.has_overflows);
                leaf_value_at(page, page_bytes, i - first, &value);
            }
            assert_split_key(batch.prefix, entry->key, model->entries[i].key);
            assert_same_value(&value, &model->entries[i].value);
        }
    }
    assert_int_equal(i, last);
}

enum { MANY = 16 };

/* A key of the model, or one near it that mostly is not there. */
static sombra_slice near_key(const struct model *model, unsigned index, unsigned kind,
                             uint8_t bytes[KV_KEY_BYTES_MAX])
{
    sombra_slice key = model->entries[index].key;
    memcpy(bytes, key.data, key.bytes);
    if (kind == 1 && key.bytes < KV_KEY_BYTES_MAX)
        bytes[key.bytes++] = 0;
    else if (kind == 2)
        bytes[key.bytes - 1]++;
    else if (kind == 3 && key.bytes > 1)
        key.bytes--;
    return slice_of(bytes, key.bytes);
}

static void assert_many_equal(const uint8_t *page, size_t page_bytes, const struct model *model,
                              unsigned first, unsigned last)
{
    static uint8_t bytes[MANY][KV_KEY_BYTES_MAX];
    struct page_key keys[MANY];
    struct leaf_seek seeks[MANY];
    for (unsigned i = first, kind = 0; i < last; kind++) {
        size_t count = 0;
        for (; i < last && count < MANY; i += 1 + kind % 7, count++) {
            keys[count] = page_key_of(near_key(model, i, (kind + i) % 4, bytes[count]));
            seeks[count] = (struct leaf_seek){ .page = page, .key = &keys[count] };
        }
        leaf_seeks_begin(seeks, count, page_bytes);
        leaf_seeks_fetch(seeks, count);
        for (size_t k = 0; k < count; k++) {
            struct leaf_value one, many;
            bool is_there = leaf_get(page, page_bytes, keys[k].bytes, &one);
            assert_int_equal(leaf_seek_end(&seeks[k], page_bytes, &many), is_there);
            if (is_there)
                assert_same_value(&one, &many);
        }
    }
}

void assert_leaf_equals(const uint8_t *page, size_t page_bytes, const struct model *model,
                        unsigned first, unsigned last)
{
    assert_int_equal(page_count(page), last - first);
    assert_true(page_used(page, page_bytes) <= page_bytes);
    assert_batches_equal(page, page_bytes, model, first, last, 1 + (last - first) % 64);
    if (first == last)
        return;
    assert_points_equal(page, page_bytes, model, first, last);
    assert_places_equal(page, page_bytes, model, first, last);
    assert_walks_equal(page, page_bytes, model, first, last);
    assert_many_equal(page, page_bytes, model, first, last);
}

static void validate_or_fail(const uint8_t *page, size_t page_bytes)
{
    sombra_err err = page_validate(page, page_bytes, page_number(page), false);
    if (err)
        fail_msg("%s: %s", sombra_err_name(err), sombra_err_message());
}

void assert_page_valid(uint8_t *page, size_t page_bytes)
{
    page_set_identity(page, 77, 5);
    page_seal(page, page_bytes);
    validate_or_fail(page, page_bytes);
    uint8_t *copy = page_image(page_bytes);
    page_copy(copy, page, page_bytes);
    page_seal(copy, page_bytes);
    validate_or_fail(copy, page_bytes);
    mem_free(copy);
}
