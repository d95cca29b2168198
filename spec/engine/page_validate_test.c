/* SPDX-License-Identifier: MIT */
/* What page_validate refuses, and that what it accepts can be used without fear. */
#include "page_exercise.h"
#include "page_fixture.h"

#include "btree/page/branch_format.h"
#include "btree/page/dense_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { PAGE_BYTES = 4096 };

static uint64_t seed;

/* ---- valid pages to damage --------------------------------------------------------------- */

enum sample {
    SAMPLE_GENERAL,
    SAMPLE_LONG,
    SAMPLE_DENSE,
    SAMPLE_DENSE_VALUES,
    SAMPLE_DENSE_USUAL,
    SAMPLE_BRANCH,
    SAMPLES
};

static const enum key_set sample_sets[SAMPLES] = { KEYS_DECIMAL, KEYS_LONG,  KEYS_ADJACENCY,
                                                   KEYS_EDGE,    KEYS_USUAL, KEYS_INDEX };

static void fill_leaf(uint8_t *page, struct model *model)
{
    struct leaf_split split = { .left = page_image(PAGE_BYTES),
                                .middle = page_image(PAGE_BYTES),
                                .right = page_image(PAGE_BYTES) };
    page_init(page, PAGE_BYTES, PAGE_LEAF, 0, EXERCISE_ID, 1);
    /* The lies below need four entries after the removal. */
    for (unsigned i = 0; i < 1500 || page_count(page) < 6; i++) {
        sombra_slice key = model_random_key(model);
        struct leaf_value value = model_random_value(model);
        unsigned index;
        if (leaf_find(page, PAGE_BYTES, key, &index))
            continue;
        if (leaf_insert(page, PAGE_BYTES, index, key, &value))
            continue;
        leaf_split(page, PAGE_BYTES, index, key, &value, &split);
        page_copy(page, split.left, PAGE_BYTES);
    }
    leaf_remove(page, PAGE_BYTES, page_count(page) / 3, page_count(page) / 3 + 2);
    mem_free(split.left);
    mem_free(split.middle);
    mem_free(split.right);
}

static void fill_branch(uint8_t *page, struct model *model)
{
    page_init(page, PAGE_BYTES, PAGE_BRANCH, 2, EXERCISE_ID, 1);
    branch_build(page, PAGE_BYTES, (struct branch_child){ 100, 1 }, model_random_key(model),
                 (struct branch_child){ 101, 1 });
    for (unsigned i = 0; i < 100; i++) {
        sombra_slice key = model_random_key(model);
        unsigned at = branch_find(page, PAGE_BYTES, key);
        uint8_t here[KV_KEY_BYTES_MAX];
        if (at > 0 &&
            slice_equal(slice_of(here, branch_separator(page, PAGE_BYTES, at, here)), key))
            continue;
        if (!branch_insert(page, PAGE_BYTES, at + 1, key, (struct branch_child){ 200 + i, 3 }))
            break;
    }
    branch_remove(page, PAGE_BYTES, 5, 7);
}

static uint8_t *sample_new(enum sample sample)
{
    static const enum page_kind kinds[SAMPLES] = { PAGE_LEAF,  PAGE_LEAF,  PAGE_DENSE,
                                                   PAGE_DENSE, PAGE_DENSE, PAGE_BRANCH };
    struct model model;
    uint8_t *page = page_image(PAGE_BYTES);
    model_init(&model, sample_sets[sample], PAGE_BYTES, seed + sample);
    if (sample == SAMPLE_BRANCH)
        fill_branch(page, &model);
    else
        fill_leaf(page, &model);
    model_release(&model);
    assert_int_equal(page_kind(page), kinds[sample]);
    if (sample == SAMPLE_DENSE_VALUES)
        assert_int_equal(page[DENSE_FLAGS], DENSE_VALUES);
    if (sample == SAMPLE_DENSE_USUAL)
        assert_int_equal(page[DENSE_FLAGS], 6 << DENSE_USUAL_SHIFT | DENSE_VALUES);
    page_set_identity(page, EXERCISE_ID, 1);
    page_seal(page, PAGE_BYTES);
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, false), SOMBRA_OK);
    return page;
}

/* ---- flips ------------------------------------------------------------------------------- */

static void test_validate__every_flip_of_a_sealed_page_is_corrupt(void **state)
{
    (void)state;
    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        uint8_t *page = sample_new((enum sample)sample);
        for (size_t i = 0; i < PAGE_BYTES; i++) {
            uint8_t bit = (uint8_t)(1u << (i % 8));
            page[i] ^= bit;
            assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, false), SOMBRA_CORRUPT);
            page[i] ^= bit;
        }
        mem_free(page);
    }
}

static void test_validate__flipped_unsealed_page_is_refused_or_safe(void **state)
{
    (void)state;
    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        uint8_t *page = sample_new((enum sample)sample);
        unsigned refused = 0, accepted = 0;
        page_set_identity(page, EXERCISE_ID, 1);
        for (size_t i = PAGE_NUMBER; i < PAGE_BYTES; i++)
            for (unsigned bit = 0; bit < 8; bit++) {
                page[i] ^= (uint8_t)(1u << bit);
                if (page_validate(page, PAGE_BYTES, EXERCISE_ID, true) != SOMBRA_OK) {
                    refused++;
                } else if (accepted++ % 16 == 0) {
                    page_exercise(page, PAGE_BYTES, seed + i);
                }
                page[i] ^= (uint8_t)(1u << bit);
            }
        assert_true(refused > 100);
        assert_true(accepted > 100);
        mem_free(page);
    }
}

/* Several bytes at once, in the header and the arrays, where it hurts most. */
static void test_validate__scrambled_unsealed_page_is_refused_or_safe(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, seed);
    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        uint8_t *page = sample_new((enum sample)sample);
        uint8_t *copy = page_image(PAGE_BYTES);
        page_set_identity(page, EXERCISE_ID, 1);
        for (unsigned round = 0; round < 3000; round++) {
            memcpy(copy, page, PAGE_BYTES);
            for (uint64_t changes = 1 + random_below(&random, 4); changes > 0; changes--) {
                size_t most = random_below(&random, 2) ? 200 : PAGE_BYTES - PAGE_KIND;
                copy[PAGE_KIND + random_below(&random, most)] = (uint8_t)random_u64(&random);
            }
            if (page_validate(copy, PAGE_BYTES, EXERCISE_ID, true) == SOMBRA_OK)
                page_exercise(copy, PAGE_BYTES, seed + round);
        }
        mem_free(page);
        mem_free(copy);
    }
}

/* ---- single lies, each the only one of its page ------------------------------------------- */

static size_t slot_offset(const uint8_t *page, unsigned slots, unsigned index)
{
    (void)page;
    return CELLS_HEADS + 4 * (size_t)slots + 2 * (size_t)index;
}

static void lie_number(uint8_t *page)
{
    put_le48(page + PAGE_NUMBER, EXERCISE_ID + 1);
}
static void lie_kind(uint8_t *page)
{
    page[PAGE_KIND] = PAGE_OVERFLOW;
}
static void lie_level(uint8_t *page)
{
    page[PAGE_LEVEL] = page[PAGE_LEVEL] ? 0 : 1;
}
static void lie_level_max(uint8_t *page)
{
    page[PAGE_LEVEL] = PAGE_LEVEL_MAX + 1;
}
static void lie_count(uint8_t *page)
{
    put_le16(page + CELLS_COUNT, (uint16_t)(get_le16(page + CELLS_COUNT) + 1));
}
static void lie_count_huge(uint8_t *page)
{
    put_le16(page + CELLS_COUNT, 0xffff);
}
static void lie_prefix(uint8_t *page)
{
    put_le16(page + CELLS_PREFIX_BYTES, (uint16_t)(get_le16(page + CELLS_PREFIX_BYTES) + 1));
}
static void lie_prefix_huge(uint8_t *page)
{
    put_le16(page + CELLS_PREFIX_BYTES, 1025);
}
static void lie_low(uint8_t *page)
{
    put_le32(page + CELLS_LOW, get_le32(page + CELLS_LOW) - 1);
}
static void lie_low_huge(uint8_t *page)
{
    put_le32(page + CELLS_LOW, 0xfffffff0);
}
static void lie_holes(uint8_t *page)
{
    put_le32(page + CELLS_HOLES, get_le32(page + CELLS_HOLES) + 1);
}
static void lie_reserved(uint8_t *page)
{
    page[LEAF_ZERO + 2] |= 0x80;
}
static void lie_head(uint8_t *page)
{
    page[CELLS_HEADS + 4]++;
}

/* Keys in the wrong order: two slots and their heads change places. */
static void lie_order(uint8_t *page)
{
    unsigned slots = page_count(page) - (page_kind(page) == PAGE_BRANCH ? 1 : 0);
    uint8_t *heads = page + CELLS_HEADS, *offsets = page + slot_offset(page, slots, 0);
    uint32_t head = get_le32(heads + 8);
    uint16_t offset = get_le16(offsets + 4);
    put_le32(heads + 8, get_le32(heads + 12));
    put_le16(offsets + 4, get_le16(offsets + 6));
    put_le32(heads + 12, head);
    put_le16(offsets + 6, offset);
}
static void lie_slot(uint8_t *page)
{
    unsigned slots = page_count(page) - (page_kind(page) == PAGE_BRANCH ? 1 : 0);
    put_le16(page + slot_offset(page, slots, 1), (uint16_t)CELLS_HEADS);
}
static void lie_same_cell_twice(uint8_t *page)
{
    unsigned slots = page_count(page) - (page_kind(page) == PAGE_BRANCH ? 1 : 0);
    put_le16(page + slot_offset(page, slots, 1), get_le16(page + slot_offset(page, slots, 0)));
}
static void lie_child_none(uint8_t *page)
{
    unsigned count = page_count(page);
    put_le48(page + CELLS_HEADS + BRANCH_SLOT_BYTES * (size_t)(count - 1) + 6, 0);
}
static void lie_child_self(uint8_t *page)
{
    unsigned count = page_count(page);
    put_le48(page + CELLS_HEADS + BRANCH_SLOT_BYTES * (size_t)(count - 1) + 6, EXERCISE_ID);
}
static void lie_no_children(uint8_t *page)
{
    put_le16(page + CELLS_COUNT, 0);
}
static void lie_runs(uint8_t *page)
{
    put_le16(page + DENSE_RUNS, (uint16_t)(get_le16(page + DENSE_RUNS) - 1));
}
static void lie_runs_none(uint8_t *page)
{
    put_le16(page + DENSE_RUNS, 0);
}
static void lie_flags(uint8_t *page)
{
    page[DENSE_FLAGS] ^= DENSE_VALUES;
}
static void lie_flags_unknown(uint8_t *page)
{
    page[DENSE_FLAGS] |= 2;
}
static void lie_ordinal(uint8_t *page)
{
    unsigned runs = get_le16(page + DENSE_RUNS);
    uint8_t *ordinals = page + CELLS_HEADS + 6 * (size_t)runs;
    put_le16(ordinals + 2, (uint16_t)(get_le16(ordinals + 2) + 1));
}
static void lie_ordinal_first(uint8_t *page)
{
    unsigned runs = get_le16(page + DENSE_RUNS);
    put_le16(page + CELLS_HEADS + 6 * (size_t)runs, 1);
}
static void lie_run_offset(uint8_t *page)
{
    unsigned runs = get_le16(page + DENSE_RUNS);
    uint8_t *offset = page + CELLS_HEADS + 4 * (size_t)runs + 2;
    put_le16(offset, (uint16_t)(get_le16(offset) + 1));
}
static void lie_first_shares(uint8_t *page)
{
    unsigned runs = get_le16(page + DENSE_RUNS);
    page[get_le16(page + CELLS_HEADS + 4 * (size_t)runs + 2)] ^= 0x10;
}

enum {
    ON_LEAF = 1,
    ON_DENSE = 2,
    ON_BRANCH = 4,
    ON_CELLS = ON_LEAF | ON_BRANCH,
    ON_ALL = ON_LEAF | ON_DENSE | ON_BRANCH
};

static const struct lie {
    const char *name;
    void (*tell)(uint8_t *page);
    unsigned on;
} lies[] = {
    { "number", lie_number, ON_ALL },
    { "kind", lie_kind, ON_ALL },
    { "level", lie_level, ON_ALL },
    { "level_max", lie_level_max, ON_ALL },
    { "count", lie_count, ON_ALL },
    { "count_huge", lie_count_huge, ON_ALL },
    { "prefix", lie_prefix, ON_ALL },
    { "prefix_huge", lie_prefix_huge, ON_ALL },
    { "low", lie_low, ON_ALL },
    { "low_huge", lie_low_huge, ON_ALL },
    { "holes", lie_holes, ON_ALL },
    { "reserved", lie_reserved, ON_ALL },
    { "head", lie_head, ON_ALL },
    { "order", lie_order, ON_CELLS },
    { "slot", lie_slot, ON_CELLS },
    { "same_cell_twice", lie_same_cell_twice, ON_CELLS },
    { "child_none", lie_child_none, ON_BRANCH },
    { "child_self", lie_child_self, ON_BRANCH },
    { "no_children", lie_no_children, ON_BRANCH },
    { "runs", lie_runs, ON_DENSE },
    { "runs_none", lie_runs_none, ON_DENSE },
    { "flags", lie_flags, ON_DENSE },
    { "flags_unknown", lie_flags_unknown, ON_DENSE },
    { "ordinal", lie_ordinal, ON_DENSE },
    { "ordinal_first", lie_ordinal_first, ON_DENSE },
    { "run_offset", lie_run_offset, ON_DENSE },
    { "first_shares", lie_first_shares, ON_DENSE },
};

static void test_validate__a_sealed_lie_is_corrupt(void **state)
{
    (void)state;
    for (unsigned sample = 0; sample < SAMPLES; sample++)
        for (size_t i = 0; i < COUNT_OF(lies); i++) {
            uint8_t *page = sample_new((enum sample)sample);
            enum page_kind kind = page_kind(page);
            unsigned on = kind == PAGE_LEAF ? ON_LEAF : kind == PAGE_DENSE ? ON_DENSE : ON_BRANCH;
            if (lies[i].on & on) {
                lies[i].tell(page);
                page_seal(page, PAGE_BYTES);
                if (page_validate(page, PAGE_BYTES, EXERCISE_ID, false) != SOMBRA_CORRUPT)
                    fail_msg("%s on sample %u is accepted", lies[i].name, sample);
            }
            mem_free(page);
        }
}

/* A dense leaf of one run, of keys that begin with 'a' and have no prefix. */
static void dense_by_hand(uint8_t *page, unsigned flags, unsigned count, const char *run,
                          size_t bytes)
{
    size_t low = PAGE_BYTES - bytes;
    page_init(page, PAGE_BYTES, PAGE_DENSE, 0, EXERCISE_ID, 1);
    put_le16(page + CELLS_COUNT, (uint16_t)count);
    put_le32(page + CELLS_LOW, (uint32_t)low);
    put_le16(page + DENSE_RUNS, 1);
    page[DENSE_FLAGS] = (uint8_t)flags;
    put_le32(page + CELLS_HEADS, UINT32_C(0x61) << 24);
    put_le16(page + CELLS_HEADS + 4, (uint16_t)low);
    put_le16(page + CELLS_HEADS + 6, 0);
    memcpy(page + low, run, bytes);
}

static void test_validate__lengths_of_values_are_told_in_one_way(void **state)
{
    (void)state;
    enum { USUAL_1 = 1 << DENSE_USUAL_SHIFT | DENSE_VALUES };
    static const struct {
        unsigned flags, count;
        const char *run;
        size_t bytes;
        sombra_err expected;
    } cases[] = {
#define RUN(text) text, sizeof(text) - 1
        { 0, 2,
          RUN("\x01"
              "a"
              "\x01"
              "b"),
          SOMBRA_OK },
        { DENSE_VALUES, 2,
          RUN("\x01\x01"
              "a1"
              "\x01\x02"
              "b22"),
          SOMBRA_OK },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\x01"
              "b2"),
          SOMBRA_OK },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x02\x01"
              "b22"),
          SOMBRA_OK },
        { USUAL_1, 2,
          RUN("\xf0\x00\x01"
              "a"
              "\x01"
              "b2"),
          SOMBRA_OK },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x01\x01"
              "b2"),
          SOMBRA_CORRUPT }, /* that is usual */
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x02\xf0\x02\x01"
              "b22"),
          SOMBRA_CORRUPT },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x03\x01"
              "b22"),
          SOMBRA_CORRUPT },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x00\x01"),
          SOMBRA_CORRUPT },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0\x00"),
          SOMBRA_CORRUPT },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\xf0"),
          SOMBRA_CORRUPT },
        { USUAL_1, 2,
          RUN("\x01"
              "a1"
              "\x01"
              "b"),
          SOMBRA_CORRUPT },
        { DENSE_VALUES, 2,
          RUN("\x01\x01"
              "a1"
              "\xf0\x02\x01\x02"
              "b22"),
          SOMBRA_CORRUPT },
        { 0, 2,
          RUN("\x01"
              "a"
              "\xf0\x00\x01"
              "b"),
          SOMBRA_CORRUPT },
        { 1 << DENSE_USUAL_SHIFT, 2,
          RUN("\x01"
              "a1"
              "\x01"
              "b2"),
          SOMBRA_CORRUPT },
#undef RUN
    };
    uint8_t *page = page_image(PAGE_BYTES);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        dense_by_hand(page, cases[i].flags, cases[i].count, cases[i].run, cases[i].bytes);
        if (page_validate(page, PAGE_BYTES, EXERCISE_ID, true) != cases[i].expected)
            fail_msg("case %zu", i);
        if (cases[i].expected == SOMBRA_OK)
            page_exercise(page, PAGE_BYTES, seed + i);
    }
    /* A value of 128 bytes: its length has no place in the flags. */
    char run[3 + 1 + 128] = "\xf0\x80\x01"
                            "a";
    dense_by_hand(page, USUAL_1, 1, run, sizeof run);
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_CORRUPT);
    run[1] = 127;
    dense_by_hand(page, USUAL_1, 1, run, sizeof run - 1);
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_OK);
    mem_free(page);
}

static void test_validate__overflow_reference_must_make_sense(void **state)
{
    (void)state;
    static const struct leaf_value wrong[] = {
        { .overflow = UINT64_C(1) << 48, .overflow_bytes = 5000 },
        { .overflow = EXERCISE_ID, .overflow_bytes = 5000 },
        { .overflow = 12, .overflow_bytes = 0 },
        { .overflow = 12, .overflow_bytes = (uint64_t)KV_VALUE_BYTES_MAX + 1 },
    };
    uint8_t *page = page_image(PAGE_BYTES);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        page_init(page, PAGE_BYTES, PAGE_LEAF, 0, EXERCISE_ID, 1);
        assert_true(leaf_insert(page, PAGE_BYTES, 0, slice_str("key"), &wrong[i]));
        assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_CORRUPT);
    }
    struct leaf_value right = { .overflow = 12, .overflow_bytes = KV_VALUE_BYTES_MAX };
    page_init(page, PAGE_BYTES, PAGE_LEAF, 0, EXERCISE_ID, 1);
    assert_true(leaf_insert(page, PAGE_BYTES, 0, slice_str("key"), &right));
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_OK);
    mem_free(page);
}

static void test_validate__unsealed_page_needs_leave(void **state)
{
    (void)state;
    uint8_t *page = sample_new(SAMPLE_GENERAL);
    assert_true(page_is_sealed(page));
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_OK);
    page_set_identity(page, EXERCISE_ID, 2);
    assert_false(page_is_sealed(page));
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, true), SOMBRA_OK);
    assert_int_equal(page_validate(page, PAGE_BYTES, EXERCISE_ID, false), SOMBRA_CORRUPT);
    mem_free(page);
}

int main(void)
{
    seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validate__every_flip_of_a_sealed_page_is_corrupt),
        cmocka_unit_test(test_validate__flipped_unsealed_page_is_refused_or_safe),
        cmocka_unit_test(test_validate__scrambled_unsealed_page_is_refused_or_safe),
        cmocka_unit_test(test_validate__a_sealed_lie_is_corrupt),
        cmocka_unit_test(test_validate__lengths_of_values_are_told_in_one_way),
        cmocka_unit_test(test_validate__overflow_reference_must_make_sense),
        cmocka_unit_test(test_validate__unsealed_page_needs_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
