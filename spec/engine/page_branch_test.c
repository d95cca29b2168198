/* SPDX-License-Identifier: MIT */
/* Branches against an array of children. */
#include "page_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const size_t page_sizes[] = { 4096, 8192, 16384, 65536 };

static uint64_t seed;

struct child {
    sombra_slice separator; /* left of it; unused in the first */
    page_id page;
    uint64_t entries;
};

/* What a branch should hold; the bytes are the key model's. */
struct branch_model {
    struct model keys;
    struct child *children;
    unsigned count, capacity;
};

static void children_insert(struct branch_model *model, unsigned index, struct child child)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity ? 2 * model->capacity : 64;
        model->children = mem_realloc(model->children, model->capacity * sizeof *model->children);
        assert_non_null(model->children);
    }
    memmove(model->children + index + 1, model->children + index,
            (model->count - index) * sizeof *model->children);
    model->children[index] = child;
    model->count++;
}

static void children_remove(struct branch_model *model, unsigned first, unsigned last)
{
    memmove(model->children + first, model->children + last,
            (model->count - last) * sizeof *model->children);
    model->count -= last - first;
}

static struct child random_child(struct branch_model *model)
{
    struct random *random = &model->keys.random;
    return (struct child){
        .page = 100 + random_below(random, (UINT64_C(1) << 48) - 100),
        .entries = random_below(random, UINT64_C(1) << 48),
    };
}

/* Number of separators <= key. */
static unsigned child_for(const struct branch_model *model, sombra_slice key)
{
    unsigned low = 0, high = model->count - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (slice_compare(model->children[middle + 1].separator, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keys at, just below and just above separators, in order or not. */
static void assert_many_as_one(const uint8_t *page, const struct branch_model *model,
                               unsigned first, unsigned last)
{
    enum { MANY = 16 };
    static uint8_t bytes[MANY][KV_KEY_BYTES_MAX];
    const size_t page_bytes = model->keys.page_bytes;
    struct page_key keys[MANY];
    page_id children[MANY];
    for (unsigned i = first + 1, kind = 0; i < last; kind++) {
        size_t count = 0;
        bool ascend = true;
        for (; i < last && count < MANY; i += 1 + kind % 9, count++) {
            sombra_slice key = model->children[i].separator;
            memcpy(bytes[count], key.data, key.bytes);
            if ((i + kind) % 3 == 1 && key.bytes < KV_KEY_BYTES_MAX)
                bytes[count][key.bytes++] = 7;
            else if ((i + kind) % 3 == 2)
                bytes[count][key.bytes - 1]--;
            keys[count] = page_key_of(slice_of(bytes[count], key.bytes));
            ascend = ascend && (count == 0 || keys[count].word > keys[count - 1].word);
        }
        for (size_t k = 0; kind % 4 == 3 && k < count / 2; k++) {
            struct page_key swapped = keys[k];
            keys[k] = keys[count - 1 - k];
            keys[count - 1 - k] = swapped;
            ascend = false;
        }
        branch_find_many(page, page_bytes, keys, count, ascend, children);
        for (size_t k = 0; k < count; k++) {
            unsigned index = branch_find(page, page_bytes, keys[k].bytes);
            assert_int_equal(children[k], branch_child(page, page_bytes, index));
        }
    }
}

static void assert_branch_equals(uint8_t *page, const struct branch_model *model, unsigned first,
                                 unsigned last)
{
    size_t page_bytes = model->keys.page_bytes;
    uint8_t separator[KV_KEY_BYTES_MAX];
    uint64_t before = 0;
    assert_page_valid(page, page_bytes);
    assert_int_equal(page_count(page), last - first);
    assert_int_equal(page_level(page), 3);
    assert_true(page_used(page, page_bytes) <= page_bytes);
    for (unsigned i = first; i < last; i++) {
        const struct child *child = &model->children[i];
        assert_int_equal(branch_child(page, page_bytes, i - first), child->page);
        assert_int_equal(branch_entries(page, page_bytes, i - first), child->entries);
        assert_int_equal(branch_entries_before(page, page_bytes, i - first), before);
        before += child->entries;
        if (i == first)
            continue;
        size_t bytes = branch_separator(page, page_bytes, i - first, separator);
        assert_true(slice_equal(slice_of(separator, bytes), child->separator));
        assert_int_equal(branch_find(page, page_bytes, child->separator), i - first);
    }
    assert_int_equal(branch_entries_before(page, page_bytes, last - first), before);
    assert_many_as_one(page, model, first, last);
}

struct images {
    uint8_t *page, *left, *right, *spare;
};

static void check_merge(struct images *images, struct branch_model *model, unsigned left_count)
{
    sombra_slice between = model->children[left_count].separator;
    if (branch_merge(images->left, between, images->right, model->keys.page_bytes, images->spare))
        assert_branch_equals(images->spare, model, 0, model->count);
}

static void insert_child(struct images *images, struct branch_model *model, unsigned index,
                         struct child child)
{
    size_t page_bytes = model->keys.page_bytes;
    const struct branch_child of_page = { child.page, child.entries };
    bool did_fit = branch_insert(images->page, page_bytes, index, child.separator, of_page);
    if (did_fit) {
        children_insert(model, index, child);
        return;
    }
    assert_true(model->count >= 3);
    assert_branch_equals(images->page, model, 0, model->count);
    struct branch_split split = { .left = images->left, .right = images->right };
    branch_split(images->page, page_bytes, index, child.separator, of_page, &split);
    children_insert(model, index, child);
    unsigned cut = page_count(images->left);
    assert_in_range(cut, 2, model->count - 2);
    assert_branch_equals(images->left, model, 0, cut);
    assert_branch_equals(images->right, model, cut, model->count);
    assert_true(slice_equal(slice_of(split.separator, split.separator_bytes),
                            model->children[cut].separator));
    check_merge(images, model, cut);
    if (random_below(&model->keys.random, 2)) {
        page_copy(images->page, images->left, page_bytes);
        children_remove(model, cut, model->count);
    } else {
        page_copy(images->page, images->right, page_bytes);
        children_remove(model, 0, cut);
    }
}

static void insert_random(struct images *images, struct branch_model *model)
{
    struct child child = random_child(model);
    child.separator = model_random_key(&model->keys);
    unsigned at = child_for(model, child.separator);
    assert_int_equal(branch_find(images->page, model->keys.page_bytes, child.separator), at);
    if (at > 0 && slice_equal(model->children[at].separator, child.separator))
        return;
    insert_child(images, model, at + 1, child);
}

static void change_random(struct images *images, struct branch_model *model)
{
    struct random *random = &model->keys.random;
    size_t page_bytes = model->keys.page_bytes;
    unsigned index = (unsigned)random_below(random, model->count);
    struct child child = random_child(model);
    branch_set_child(images->page, page_bytes, index, child.page, child.entries);
    model->children[index].page = child.page;
    model->children[index].entries = child.entries;
    if (index == 0)
        return;
    sombra_slice separator = model_random_key(&model->keys);
    bool is_in_order =
        (index == 1 || slice_compare(model->children[index - 1].separator, separator) < 0) &&
        (index + 1 == model->count ||
         slice_compare(separator, model->children[index + 1].separator) < 0);
    if (is_in_order && branch_replace_separator(images->page, page_bytes, index, separator))
        model->children[index].separator = separator;
}

static void remove_random(struct images *images, struct branch_model *model)
{
    struct random *random = &model->keys.random;
    unsigned most = random_below(random, 20) ? 1 : 10;
    unsigned first = (unsigned)random_below(random, model->count);
    unsigned last = first + 1 + (unsigned)random_below(random, most);
    if (last > model->count)
        last = model->count;
    if (last - first == model->count)
        return;
    branch_remove(images->page, model->keys.page_bytes, first, last);
    children_remove(model, first, last);
}

static void run_random(enum key_set set, size_t page_bytes, unsigned steps)
{
    struct branch_model model = { .count = 0 };
    struct images images = { page_image(page_bytes), page_image(page_bytes), page_image(page_bytes),
                             page_image(page_bytes) };
    model_init(&model.keys, set, page_bytes, seed + set * 7 + page_bytes);
    page_init(images.page, page_bytes, PAGE_BRANCH, 3, 9, 1);
    struct child left = random_child(&model), right = random_child(&model);
    right.separator = model_random_key(&model.keys);
    branch_build(images.page, page_bytes, (struct branch_child){ left.page, left.entries },
                 right.separator, (struct branch_child){ right.page, right.entries });
    children_insert(&model, 0, left);
    children_insert(&model, 1, right);
    unsigned removes_in_10 = 1;
    for (unsigned step = 0; step < steps; step++) {
        if (random_below(&model.keys.random, 200) == 0)
            removes_in_10 = (unsigned)random_below(&model.keys.random, 7);
        uint64_t dice = random_below(&model.keys.random, 10);
        if (dice < removes_in_10)
            remove_random(&images, &model);
        else if (dice < 8)
            insert_random(&images, &model);
        else
            change_random(&images, &model);
        if (step % (page_bytes / 512) == 0)
            assert_branch_equals(images.page, &model, 0, model.count);
    }
    mem_free(images.page);
    mem_free(images.left);
    mem_free(images.right);
    mem_free(images.spare);
    mem_free(model.children);
    model_release(&model.keys);
}

static void test_branch__random_operations_equal_an_array(void **state)
{
    (void)state;
    for (size_t size = 0; size < COUNT_OF(page_sizes); size++)
        for (unsigned set = 0; set < KEYS_SETS; set++)
            run_random((enum key_set)set, page_sizes[size], 4000);
}

/* Separators of full length with nothing in common: the least that a branch must hold. */
static void test_branch__holds_four_children_of_longest_separators(void **state)
{
    (void)state;
    uint8_t *page = page_image(4096), *left = page_image(4096), *right = page_image(4096);
    uint8_t keys[8][KV_KEY_BYTES_MAX];
    for (unsigned i = 0; i < 8; i++)
        memset(keys[i], (int)(16 * i + 1), sizeof keys[i]);
    for (unsigned newcomer = 0; newcomer < 4; newcomer++) {
        page_init(page, 4096, PAGE_BRANCH, 1, 9, 1);
        /* Keys 1, 3, 5 stand; 0, 2, 4 or 6 comes and forces a split. */
        branch_build(page, 4096, (struct branch_child){ 100, 1 }, slice_of(keys[1], 1024),
                     (struct branch_child){ 101, 1 });
        assert_true(
            branch_insert(page, 4096, 2, slice_of(keys[3], 1024), (struct branch_child){ 102, 1 }));
        assert_true(
            branch_insert(page, 4096, 3, slice_of(keys[5], 1024), (struct branch_child){ 103, 1 }));
        assert_int_equal(page_count(page), 4);
        sombra_slice key = slice_of(keys[2 * newcomer], 1024);
        unsigned index = branch_find(page, 4096, key) + 1;
        assert_int_equal(index, newcomer + 1);
        const struct branch_child child = { 104, 1 };
        assert_false(branch_insert(page, 4096, index, key, child));
        struct branch_split split = { .left = left, .right = right };
        branch_split(page, 4096, index, key, child, &split);
        assert_int_equal(page_count(left) + page_count(right), 5);
        assert_in_range(page_count(left), 2, 3);
        assert_int_equal(split.separator_bytes, 1024);
        assert_page_valid(left, 4096);
        assert_page_valid(right, 4096);
    }
    mem_free(page);
    mem_free(left);
    mem_free(right);
}

static void test_branch__sequential_loads_leave_full_branches(void **state)
{
    (void)state;
    for (unsigned descends = 0; descends < 2; descends++) {
        uint8_t *page = page_image(8192), *left = page_image(8192), *right = page_image(8192);
        double used = 0;
        unsigned pages = 0;
        page_init(page, 8192, PAGE_BRANCH, 1, 9, 1);
        branch_build(page, 8192, (struct branch_child){ 100, 1 }, slice_str("500000000"),
                     (struct branch_child){ 101, 1 });
        for (unsigned i = 1; i < 20000; i++) {
            char text[16];
            snprintf(text, sizeof text, "%09u", descends ? 500000000 - i : 500000000 + i);
            sombra_slice key = slice_str(text);
            unsigned index = branch_find(page, 8192, key) + 1;
            const struct branch_child child = { 200 + i, 1 };
            if (branch_insert(page, 8192, index, key, child))
                continue;
            struct branch_split split = { .left = left, .right = right };
            branch_split(page, 8192, index, key, child, &split);
            used += (double)page_used(descends ? right : left, 8192) / 8192;
            pages++;
            page_copy(page, descends ? left : right, 8192);
        }
        assert_true(pages > 10);
        assert_true(used / pages > 0.97);
        mem_free(page);
        mem_free(left);
        mem_free(right);
    }
}

int main(void)
{
    seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_branch__random_operations_equal_an_array),
        cmocka_unit_test(test_branch__holds_four_children_of_longest_separators),
        cmocka_unit_test(test_branch__sequential_loads_leave_full_branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
