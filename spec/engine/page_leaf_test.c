/* SPDX-License-Identifier: MIT */
/* Leaves of both kinds against a sorted array. */
#include "page_fixture.h"

#include "btree/page/dense_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const size_t page_sizes[] = { 4096, 8192, 16384, 65536 };

static uint64_t seed;

struct images {
    uint8_t *page, *left, *middle, *right;
};

static struct images images_new(size_t page_bytes)
{
    struct images images = { page_image(page_bytes), page_image(page_bytes), page_image(page_bytes),
                             page_image(page_bytes) };
    page_init(images.page, page_bytes, PAGE_LEAF, 0, 7, 1);
    return images;
}

static void images_free(struct images *images)
{
    mem_free(images->page);
    mem_free(images->left);
    mem_free(images->middle);
    mem_free(images->right);
}

static struct leaf_split split_for(const struct images *images)
{
    struct leaf_split split;
    memset(&split, 0, sizeof split);
    split.left = images->left;
    split.middle = images->middle;
    split.right = images->right;
    return split;
}

/* low < separator <= high, and no shorter start of `high` would do. */
static void assert_separates(const struct model *model, unsigned cut, const uint8_t *separator,
                             size_t bytes)
{
    sombra_slice low = model->entries[cut - 1].key, high = model->entries[cut].key;
    assert_true(slice_compare(low, slice_of(separator, bytes)) < 0);
    assert_true(slice_compare(slice_of(separator, bytes), high) <= 0);
    assert_true(bytes == 1 || slice_compare(slice_of(separator, bytes - 1), low) <= 0);
}

/* The pages of a split are the model, cut in pieces. */
static void assert_split_equals(const struct model *model, const struct leaf_split *split)
{
    size_t page_bytes = model->page_bytes;
    unsigned cut = page_count(split->left);
    assert_page_valid(split->left, page_bytes);
    assert_leaf_equals(split->left, page_bytes, model, 0, cut);
    if (split->pages == 1) {
        assert_int_equal(cut, model->count);
        return;
    }
    assert_in_range(cut, 1, model->count - 1);
    assert_separates(model, cut, split->separator, split->separator_bytes);
    if (split->pages == 3) {
        unsigned middle = page_count(split->middle);
        assert_in_range(cut + middle, cut + 1, model->count - 1);
        assert_page_valid(split->middle, page_bytes);
        assert_leaf_equals(split->middle, page_bytes, model, cut, cut + middle);
        cut += middle;
        assert_separates(model, cut, split->separator2, split->separator2_bytes);
    }
    assert_page_valid(split->right, page_bytes);
    assert_leaf_equals(split->right, page_bytes, model, cut, model->count);
}

/* Goes on with one of the pages of a split, at random; sometimes merges two, or fills one from the
 * other, before. */
static void follow_split(struct images *images, struct model *model, struct leaf_split *split)
{
    size_t page_bytes = model->page_bytes;
    unsigned left = page_count(split->left);
    if (split->pages == 1) {
        page_copy(images->page, images->left, page_bytes);
        return;
    }
    unsigned right = page_count(split->right);
    if (split->pages == 2) {
        /* `page` is free now: it takes a merge, and the middle image one half of a filling. */
        uint8_t *other = page_image(page_bytes);
        struct leaf_split filled = { .left = images->page,
                                     .middle = other,
                                     .right = images->middle };
        size_t fill_bytes = page_bytes - random_below(&model->random, page_bytes / 2);
        if (leaf_fill(split->left, split->right, page_bytes, fill_bytes, &filled)) {
            assert_int_equal(filled.pages, 2);
            assert_true(page_count(filled.left) > left);
            assert_true(page_used(filled.left, page_bytes) <= page_bytes);
            assert_split_equals(model, &filled);
        }
        if (leaf_merge(split->left, split->right, page_bytes, other)) {
            assert_page_valid(other, page_bytes);
            assert_leaf_equals(other, page_bytes, model, 0, model->count);
        }
        mem_free(other);
    }
    if (random_below(&model->random, 2)) {
        page_copy(images->page, images->left, page_bytes);
        model_remove(model, left, model->count);
    } else {
        page_copy(images->page, images->right, page_bytes);
        model_remove(model, 0, model->count - right);
    }
}

static void put_entry(struct images *images, struct model *model, sombra_slice key,
                      struct leaf_value value)
{
    size_t page_bytes = model->page_bytes;
    unsigned index, model_index;
    bool is_there = model_find(model, key, &model_index);
    assert_int_equal(leaf_find(images->page, page_bytes, key, &index), is_there);
    assert_int_equal(index, model_index);
    bool did_fit = is_there ? leaf_replace(images->page, page_bytes, index, &value)
                            : leaf_insert(images->page, page_bytes, index, key, &value);
    if (!did_fit) {
        assert_page_valid(images->page, page_bytes);
        assert_leaf_equals(images->page, page_bytes, model, 0, model->count);
        struct leaf_split split = split_for(images);
        split.replaces = is_there;
        leaf_split(images->page, page_bytes, index, key, &value, &split);
        if (is_there)
            model->entries[index].value = value;
        else
            model_insert(model, index, key, value);
        assert_split_equals(model, &split);
        follow_split(images, model, &split);
        return;
    }
    if (is_there)
        model->entries[index].value = value;
    else
        model_insert(model, index, key, value);
}

static void put_random(struct images *images, struct model *model)
{
    sombra_slice key = model_random_key(model);
    if (model->count > 0 && random_below(&model->random, 4) == 0)
        key = model->entries[random_below(&model->random, model->count)].key;
    put_entry(images, model, key, model_random_value(model));
}

static void remove_random(struct images *images, struct model *model)
{
    if (model->count == 0)
        return;
    unsigned first = (unsigned)random_below(&model->random, model->count);
    unsigned most = random_below(&model->random, 20) ? 1 : 40;
    unsigned last = first + (unsigned)random_below(&model->random, most) + 1;
    if (last > model->count)
        last = model->count;
    leaf_remove(images->page, model->page_bytes, first, last);
    model_remove(model, first, last);
}

static void run_random(enum key_set set, size_t page_bytes, unsigned steps)
{
    struct model model;
    model_init(&model, set, page_bytes, seed + set * 7 + page_bytes);
    struct images images = images_new(page_bytes);
    unsigned removes_in_10 = 2;
    unsigned check_every = (unsigned)(page_bytes / 256);
    for (unsigned step = 0; step < steps; step++) {
        if (random_below(&model.random, 300) == 0)
            removes_in_10 = (unsigned)random_below(&model.random, 8);
        if (random_below(&model.random, 10) < removes_in_10)
            remove_random(&images, &model);
        else
            put_random(&images, &model);
        if (step % check_every == 0) {
            assert_page_valid(images.page, page_bytes);
            assert_leaf_equals(images.page, page_bytes, &model, 0, model.count);
        }
    }
    images_free(&images);
    model_release(&model);
}

static void test_leaf__random_operations_equal_a_sorted_array(void **state)
{
    (void)state;
    for (size_t size = 0; size < COUNT_OF(page_sizes); size++)
        for (unsigned set = 0; set < KEYS_SETS; set++)
            run_random((enum key_set)set, page_sizes[size], 6000);
}

/* ---- sequential loads -------------------------------------------------------------------- */

static sombra_slice nth_key(enum key_set set, unsigned n, uint8_t to[64])
{
    if (set == KEYS_DECIMAL) {
        snprintf((char *)to, 64, "%016u", n);
        return slice_of(to, 16);
    }
    uint8_t *at = to;
    *at++ = 0x05;
    at = ordered_put(at, n / 12);
    *at++ = 1;
    at = ordered_put(at, 20000 + (n % 12) * 5000);
    at = ordered_put(at, 100000 + n * 7 % 900000);
    return slice_of(to, (size_t)(at - to));
}

/* Loads entries in order from one side; *out_fill is the mean use of the pages left behind. */
static void load_in_order(enum key_set set, size_t page_bytes, bool descends, double *out_fill,
                          double *out_entry_bytes)
{
    enum { ENTRIES = 20000 };
    static const uint8_t zeros[100];
    struct leaf_value value = { .bytes = slice_of(zeros, set == KEYS_DECIMAL ? 100 : 0) };
    struct images images = images_new(page_bytes);
    uint64_t used = 0, entries = 0, pages = 0;
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint8_t text[64];
        sombra_slice key = nth_key(set, descends ? ENTRIES - i : i, text);
        unsigned index;
        assert_false(leaf_find(images.page, page_bytes, key, &index));
        if (leaf_insert(images.page, page_bytes, index, key, &value))
            continue;
        struct leaf_split split = split_for(&images);
        leaf_split(images.page, page_bytes, index, key, &value, &split);
        assert_in_range(split.pages, 1, 2);
        uint8_t *done = descends ? split.right : split.left;
        uint8_t *next = descends ? split.left : split.right;
        if (split.pages == 1)
            next = split.left;
        assert_page_valid(next, page_bytes);
        if (split.pages == 2) {
            assert_page_valid(done, page_bytes);
            used += page_used(done, page_bytes);
            entries += page_count(done);
            pages++;
        }
        page_copy(images.page, next, page_bytes);
    }
    *out_fill = (double)used / (double)(pages * page_bytes);
    *out_entry_bytes = (double)(pages * page_bytes) / (double)entries;
    images_free(&images);
}

static void test_leaf__sequential_loads_leave_full_pages(void **state)
{
    (void)state;
    for (size_t size = 0; size < COUNT_OF(page_sizes); size++)
        for (unsigned set = 0; set <= KEYS_ADJACENCY; set++)
            for (unsigned descends = 0; descends < 2; descends++) {
                double fill, entry_bytes;
                load_in_order((enum key_set)set, page_sizes[size], descends, &fill, &entry_bytes);
                assert_true(fill > 0.96);
                assert_true(set != KEYS_ADJACENCY || entry_bytes <= 8.0);
            }
}

/* ---- splits that need care --------------------------------------------------------------- */

/* A dense leaf, full, and in its middle an entry that no dense leaf takes. */
static void test_leaf__big_entry_in_a_full_dense_leaf_gets_a_page_of_its_own(void **state)
{
    (void)state;
    unsigned threes = 0;
    for (size_t size = 0; size < COUNT_OF(page_sizes); size++) {
        size_t page_bytes = page_sizes[size];
        struct model model;
        model_init(&model, KEYS_ADJACENCY, page_bytes, seed + size);
        struct images images = images_new(page_bytes);
        uint8_t text[64];
        for (unsigned i = 0;; i++) {
            sombra_slice key = arena_copy(&model.arena, nth_key(KEYS_ADJACENCY, 2 * i, text));
            struct leaf_value none = { .bytes = slice_of(text, 0) };
            unsigned index = model.count;
            if (leaf_insert(images.page, page_bytes, index, key, &none)) {
                model_insert(&model, index, key, none);
                continue;
            }
            if (page_kind(images.page) == PAGE_DENSE)
                break;
            struct leaf_split split = split_for(&images);
            leaf_split(images.page, page_bytes, index, key, &none, &split);
            assert_int_equal(split.pages, 1);
            model_insert(&model, index, key, none);
            page_copy(images.page, split.left, page_bytes);
        }
        /* 2 * i + 1 shares its destination with its neighbours; the tail makes it long. */
        for (unsigned tail = 0; tail <= 900; tail += 300) {
            uint8_t big_key[KV_KEY_BYTES_MAX];
            sombra_slice near = nth_key(KEYS_ADJACENCY, model.count | 1, text);
            memcpy(big_key, near.data, near.bytes);
            memset(big_key + near.bytes, 'x', tail);
            uint8_t *big_value = mem_zalloc(leaf_inline_max(page_bytes));
            struct leaf_value value = { .bytes = slice_of(big_value, leaf_inline_max(page_bytes)) };
            sombra_slice key = arena_copy(&model.arena, slice_of(big_key, near.bytes + tail));
            unsigned index;
            assert_false(leaf_find(images.page, page_bytes, key, &index));
            assert_false(leaf_insert(images.page, page_bytes, index, key, &value));
            struct leaf_split split = split_for(&images);
            leaf_split(images.page, page_bytes, index, key, &value, &split);
            model_insert(&model, index, key, value);
            assert_split_equals(&model, &split);
            threes += split.pages == 3;
            model_remove(&model, index, index + 1);

            /* The same bytes for an entry that is there already. */
            split.replaces = true;
            leaf_split(images.page, page_bytes, index, model.entries[index].key, &value, &split);
            struct leaf_value before = model.entries[index].value;
            model.entries[index].value = value;
            assert_split_equals(&model, &split);
            model.entries[index].value = before;
            mem_free(big_value);
        }
        images_free(&images);
        model_release(&model);
    }
    assert_true(threes > 0);
}

static void test_leaf__two_largest_entries_share_the_smallest_page(void **state)
{
    (void)state;
    for (size_t size = 0; size < COUNT_OF(page_sizes); size++) {
        size_t page_bytes = page_sizes[size];
        struct images images = images_new(page_bytes);
        uint8_t key[KV_KEY_BYTES_MAX];
        uint8_t *bytes = mem_zalloc(leaf_inline_max(page_bytes));
        struct leaf_value value = { .bytes = slice_of(bytes, leaf_inline_max(page_bytes)) };
        for (unsigned i = 0; i < 2; i++) {
            memset(key, (int)i + 1, sizeof key);
            assert_true(leaf_insert(images.page, page_bytes, i, slice_of(key, sizeof key), &value));
        }
        assert_page_valid(images.page, page_bytes);
        mem_free(bytes);
        images_free(&images);
    }
}

static void test_leaf__append_takes_only_what_belongs_behind_the_last_entry(void **state)
{
    (void)state;
    struct images images = images_new(4096);
    struct leaf_value value = { .bytes = slice_str("value") };
    unsigned index;
    assert_false(leaf_append(images.page, 4096, slice_str("key 0100"), &value)); /* empty */
    assert_true(leaf_insert(images.page, 4096, 0, slice_str("key 0100"), &value));
    assert_true(leaf_insert(images.page, 4096, 1, slice_str("key 0200"), &value));
    assert_false(leaf_append(images.page, 4096, slice_str("key 0150"), &value));
    assert_false(leaf_append(images.page, 4096, slice_str("key 0200"), &value));
    assert_false(leaf_append(images.page, 4096, slice_str("other"), &value)); /* another prefix */
    assert_int_equal(page_count(images.page), 2);
    assert_true(leaf_append(images.page, 4096, slice_str("key 0300"), &value));
    assert_page_valid(images.page, 4096);
    assert_true(leaf_find(images.page, 4096, slice_str("key 0300"), &index));
    assert_int_equal(index, 2);
    images_free(&images);
}

static void test_leaf__emptied_page_takes_any_entry(void **state)
{
    (void)state;
    for (unsigned set = 0; set < KEYS_SETS; set++) {
        struct model model;
        model_init(&model, (enum key_set)set, 4096, seed + set);
        struct images images = images_new(4096);
        for (unsigned i = 0; i < 2000; i++)
            put_entry(&images, &model, model_random_key(&model), model_random_value(&model));
        leaf_remove(images.page, 4096, 0, model.count);
        model_remove(&model, 0, model.count);
        assert_page_valid(images.page, 4096);
        assert_leaf_equals(images.page, 4096, &model, 0, 0);
        for (unsigned i = 0; i < 5; i++)
            put_entry(&images, &model, model_random_key(&model), model_random_value(&model));
        assert_page_valid(images.page, 4096);
        assert_leaf_equals(images.page, 4096, &model, 0, model.count);
        images_free(&images);
        model_release(&model);
    }
}

/* The identity is the caller's to set: a checkpoint may store the seal of `page` meanwhile. */
static void copy_page(const struct images *images, uint8_t *to, size_t page_bytes)
{
    page_copy(to, images->page, page_bytes);
    page_set_identity(to, page_number(images->page), page_txn(images->page));
}

static void test_leaf__copies_leave_out_holes_that_are_many(void **state)
{
    (void)state;
    unsigned packed = 0;
    for (unsigned set = 0; set < KEYS_SETS; set++) {
        struct model model;
        model_init(&model, (enum key_set)set, 8192, seed + set);
        struct images images = images_new(8192);
        for (unsigned i = 0; i < 400; i++)
            put_entry(&images, &model, model_random_key(&model), model_random_value(&model));
        while (model.count > 0) {
            unsigned index = (unsigned)random_below(&model.random, model.count);
            leaf_remove(images.page, 8192, index, index + 1);
            model_remove(&model, index, index + 1);
            copy_page(&images, images.left, 8192);
            assert_page_valid(images.left, 8192);
            assert_leaf_equals(images.left, 8192, &model, 0, model.count);
            assert_int_equal(page_used(images.left, 8192), page_used(images.page, 8192));
            if (page_kind(images.page) != PAGE_LEAF)
                continue;
            assert_true(get_le32(images.left + CELLS_HOLES) <= 8192 / 5);
            packed += get_le32(images.page + CELLS_HOLES) > 8192 / 5;
        }
        images_free(&images);
        model_release(&model);
    }
    assert_true(packed > 0);
}

/* Keys that have nothing in common: the first run ends where the page does, and in the largest page
 * no slot can say so while the run goes. */
static void test_leaf__first_run_of_the_largest_page_can_be_removed(void **state)
{
    (void)state;
    enum { KEYS = 256 };
    uint8_t keys[KEYS][2], *page = page_image(PAGE_BYTES_MAX);
    struct leaf_entry entries[KEYS];
    uint16_t shared[KEYS] = { 0 };
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i][0] = (uint8_t)i;
        keys[i][1] = 0;
        entries[i] = (struct leaf_entry){ .key = slice_of(keys[i], 2) };
    }
    struct leaf_row row = { entries, shared, KEYS, PAGE_BYTES_MAX };
    struct leaf_cut cut;
    leaf_row_cut(&row, 0, PAGE_BYTES_MAX, &cut);
    assert_int_equal(cut.count, KEYS);
    leaf_row_build(&row, &cut, page);
    assert_int_equal(page_kind(page), PAGE_DENSE);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned index;
        assert_true(leaf_find(page, PAGE_BYTES_MAX, entries[i].key, &index));
        assert_int_equal(index, 0);
        leaf_remove(page, PAGE_BYTES_MAX, 0, 1);
        assert_page_valid(page, PAGE_BYTES_MAX);
        assert_int_equal(page_count(page), KEYS - 1 - i);
    }
    mem_free(page);
}

/* ---- lengths of values ------------------------------------------------------------------- */

enum { VALUED = 200, USUAL_BYTES = 6 };

/* A dense leaf of keys in order, built as of a row: values of so many bytes, the first `unusual`
 * one less. */
static void build_valued(uint8_t *page, unsigned unusual, unsigned bytes)
{
    static const uint8_t zeros[USUAL_BYTES];
    uint8_t keys[VALUED][64];
    struct leaf_entry entries[VALUED];
    uint16_t shared[VALUED] = { 0 };
    for (unsigned i = 0; i < VALUED; i++) {
        entries[i] = (struct leaf_entry){
            .key = nth_key(KEYS_ADJACENCY, i, keys[i]),
            .value.bytes = slice_of(zeros, i < unusual ? bytes - 1 : bytes),
        };
        if (i > 0)
            shared[i] = (uint16_t)slice_common_prefix(entries[i - 1].key, entries[i].key);
    }
    struct leaf_row row = { entries, shared, VALUED, 8192 };
    struct leaf_cut cut;
    leaf_row_cut(&row, 0, 8192, &cut);
    assert_int_equal(cut.count, VALUED);
    leaf_row_build(&row, &cut, page);
    assert_int_equal(page_used(page, 8192), cut.bytes);
    assert_page_valid(page, 8192);
    assert_int_equal(page_kind(page), PAGE_DENSE);
}

static void test_leaf__usual_length_of_values_is_told_once(void **state)
{
    (void)state;
    static const uint8_t zeros[100];
    uint8_t *page = page_image(8192), *bare = page_image(8192), key[64];
    struct leaf_value value = { .bytes = slice_of(zeros, USUAL_BYTES) };
    build_valued(bare, 0, 0);
    const size_t without = page_used(bare, 8192);
    build_valued(page, 0, USUAL_BYTES);
    assert_int_equal(page_used(page, 8192), without + VALUED * USUAL_BYTES);
    build_valued(page, 1, USUAL_BYTES);
    assert_int_equal(page_used(page, 8192), without + VALUED * USUAL_BYTES - 1 + 2);
    /* Where half are unusual, each tells its own. */
    build_valued(page, VALUED / 2, USUAL_BYTES);
    assert_int_equal(page_used(page, 8192), without + VALUED * USUAL_BYTES - VALUED / 2 + VALUED);

    build_valued(page, 0, USUAL_BYTES);
    size_t used = page_used(page, 8192);
    sombra_slice last = nth_key(KEYS_ADJACENCY, VALUED - 1, key);
    key[last.bytes] = 1; /* one byte more, in the same run */
    sombra_slice next = slice_of(key, last.bytes + 1);
    assert_true(leaf_insert(page, 8192, VALUED, next, &value));
    assert_int_equal(page_used(page, 8192), used + 2 + USUAL_BYTES);
    value.bytes = slice_of(zeros, 100);
    assert_true(leaf_replace(page, 8192, VALUED, &value));
    assert_int_equal(page_used(page, 8192), used + 2 + 2 + 100);
    value.bytes = slice_of(zeros, USUAL_BYTES);
    assert_true(leaf_replace(page, 8192, VALUED, &value));
    assert_int_equal(page_used(page, 8192), used + 2 + USUAL_BYTES);
    assert_page_valid(page, 8192);
    mem_free(page);
    mem_free(bare);
}

/* All entries of a leaf get values of another length; then more come until it splits. */
static void test_leaf__split_chooses_another_usual_length(void **state)
{
    (void)state;
    static const uint8_t zeros[3];
    struct images images = images_new(8192);
    struct leaf_split split = split_for(&images);
    struct leaf_value value = { .bytes = slice_of(zeros, sizeof zeros) };
    uint8_t key[64];
    build_valued(images.page, 0, USUAL_BYTES);
    assert_int_equal(images.page[DENSE_FLAGS], USUAL_BYTES << DENSE_USUAL_SHIFT | DENSE_VALUES);
    for (unsigned i = 0; i < VALUED; i++)
        assert_true(leaf_replace(images.page, 8192, i, &value));
    sombra_slice middle = nth_key(KEYS_ADJACENCY, VALUED / 2, key);
    sombra_slice next = slice_of(key, middle.bytes + 2);
    unsigned more = 0;
    do
        put_be16(key + middle.bytes, (uint16_t)more);
    while (leaf_insert(images.page, 8192, VALUED / 2 + 1 + more++, next, &value));
    leaf_split(images.page, 8192, VALUED / 2 + more, next, &value, &split);
    assert_int_equal(split.pages, 2);
    assert_int_equal(split.left[DENSE_FLAGS], sizeof zeros << DENSE_USUAL_SHIFT | DENSE_VALUES);
    assert_int_equal(split.right[DENSE_FLAGS], sizeof zeros << DENSE_USUAL_SHIFT | DENSE_VALUES);
    assert_page_valid(split.left, 8192);
    assert_page_valid(split.right, 8192);
    images_free(&images);
}

/* A leaf that is nearly full of values, which change their lengths by little. */
static void test_leaf__values_that_change_their_length_leave_the_others(void **state)
{
    (void)state;
    enum { ENTRIES = 14, LENGTH = 550, ROUNDS = 4000 };
    uint8_t *page = page_image(8192), key[2] = "k", bytes[LENGTH + 40];
    size_t lengths[ENTRIES];
    uint8_t fills[ENTRIES];
    unsigned shrunk = 0, grown = 0, moved = 0;
    struct random random;
    random_seed(&random, seed);
    page_init(page, 8192, PAGE_LEAF, 0, 9, 1);
    for (unsigned i = 0; i < ENTRIES; i++) {
        key[1] = (uint8_t)i;
        lengths[i] = LENGTH;
        fills[i] = (uint8_t)i;
        memset(bytes, fills[i], LENGTH);
        assert_true(leaf_insert(page, 8192, i, slice_of(key, 2),
                                &(struct leaf_value){ .bytes = slice_of(bytes, LENGTH) }));
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned i = (unsigned)random_below(&random, ENTRIES);
        size_t length = lengths[i] - 12 + random_below(&random, 25);
        size_t used = page_used(page, 8192), low = page_cells_low(page);
        if (length < LENGTH - 200 || length > sizeof bytes)
            length = LENGTH;
        uint8_t fill = (uint8_t)random_below(&random, 256);
        memset(bytes, fill, length);
        bool did_fit =
            leaf_replace(page, 8192, i, &(struct leaf_value){ .bytes = slice_of(bytes, length) });
        assert_page_valid(page, 8192);
        if (!did_fit) {
            assert_int_equal(page_used(page, 8192), used);
            assert_true(used + length - lengths[i] > 8192);
            continue;
        }
        assert_int_equal(page_used(page, 8192), used + length - lengths[i]);
        shrunk += length < lengths[i] && page_cells_low(page) == low;
        grown += length > lengths[i] && page_cells_low(page) == low - (length - lengths[i]);
        moved += length > lengths[i] && page_cells_low(page) != low - (length - lengths[i]);
        lengths[i] = length;
        fills[i] = fill;
        for (unsigned j = 0; j < ENTRIES; j++) {
            struct leaf_value value;
            key[1] = (uint8_t)j;
            assert_true(leaf_get(page, 8192, slice_of(key, 2), &value));
            assert_int_equal(value.bytes.bytes, lengths[j]);
            memset(bytes, fills[j], lengths[j]);
            assert_memory_equal(value.bytes.data, bytes, lengths[j]);
        }
    }
    assert_true(shrunk > ROUNDS / 8 && grown > ROUNDS / 16 && moved > 10);
    mem_free(page);
}

int main(void)
{
    seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf__random_operations_equal_a_sorted_array),
        cmocka_unit_test(test_leaf__sequential_loads_leave_full_pages),
        cmocka_unit_test(test_leaf__big_entry_in_a_full_dense_leaf_gets_a_page_of_its_own),
        cmocka_unit_test(test_leaf__two_largest_entries_share_the_smallest_page),
        cmocka_unit_test(test_leaf__append_takes_only_what_belongs_behind_the_last_entry),
        cmocka_unit_test(test_leaf__emptied_page_takes_any_entry),
        cmocka_unit_test(test_leaf__copies_leave_out_holes_that_are_many),
        cmocka_unit_test(test_leaf__first_run_of_the_largest_page_can_be_removed),
        cmocka_unit_test(test_leaf__usual_length_of_values_is_told_once),
        cmocka_unit_test(test_leaf__split_chooses_another_usual_length),
        cmocka_unit_test(test_leaf__values_that_change_their_length_leave_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
