/* SPDX-License-Identifier: MIT */
/* layout: the page formats against each other and against LMDB's layout, on three key sets and
 * three page sizes. Trees of page images in memory, with no file, no transaction, no checks.
 *
 *   get     ns a random lookup, value included, in a tree loaded to 70 % full pages
 *   scan    ns an entry, all of the full tree, in batches of 64 (plain: slot by slot)
 *   insert  ns a random insert into a growing tree, splits included
 *   check   ns a page of page_validate, checksum included (all pages of the full tree)
 *   bytes   a page's bytes over its entries, leaves and branches, loaded in order to full pages,
 *           and after the random inserts
 *
 * CPU time, median of 3 rounds. `layout [records]`; the default is 1,000,000.
 */
#include "btree/page/leaf_internal.h"
#include "layout_plain.h"
#include "measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ROUNDS = 3, DEPTH_MAX = 12, BATCH = 64, KEY_BYTES_MAX = 32 };

/* ---- keys -------------------------------------------------------------------------------- */

enum key_set { KEYS_DECIMAL, KEYS_ADJACENCY, KEYS_INDEX, KEYS_SETS };

static const char *const key_set_names[KEYS_SETS] = { "decimal+100", "adjacency", "index" };

struct keys {
    uint8_t (*bytes)[KEY_BYTES_MAX]; /* length in the last byte */
    uint32_t count;
};

static sombra_slice key_at(const struct keys *keys, uint32_t index)
{
    return slice_of(keys->bytes[index], keys->bytes[index][KEY_BYTES_MAX - 1]);
}

static size_t key_make(enum key_set set, struct random *random, uint32_t n, uint32_t count,
                       uint8_t *to)
{
    uint8_t *at = to;
    switch (set) {
    case KEYS_DECIMAL: {
        char text[24];
        snprintf(text, sizeof text, "%016" PRIu32, n);
        memcpy(to, text, 16);
        return 16;
    }
    case KEYS_ADJACENCY: /* (dst, type, src, edge): edges numbered by source, 11.5 a node */
        *at++ = 0x05;
        at = ordered_put(at, random_below(random, (uint64_t)count * 2 / 23));
        *at++ = 1;
        at = ordered_put(at, (uint64_t)n * 2 / 23);
        at = ordered_put(at, n);
        return (size_t)(at - to);
    default:
        *at++ = 0x08;
        *at++ = (uint8_t)(1 + n % 2);
        if (n % 2) {
            *at++ = 0x10;
            put_be64(at, UINT64_C(0x8000000000000000) + random_below(random, 50000) * 1000);
            at += 8;
        } else {
            *at++ = 0x20;
            for (uint64_t i = 4 + random_below(random, 7); i > 0; i--)
                *at++ = (uint8_t)('a' + random_below(random, 26));
            *at++ = 0;
        }
        at = ordered_put(at, n);
        return (size_t)(at - to);
    }
}

static int key_order(const void *a, const void *b)
{
    const uint8_t *left = a, *right = b;
    return slice_compare(slice_of(left, left[KEY_BYTES_MAX - 1]),
                         slice_of(right, right[KEY_BYTES_MAX - 1]));
}

/* Sorted and distinct: all sets have the record's number in the key. */
static struct keys keys_new(enum key_set set, uint32_t count)
{
    struct keys keys = { calloc(count, KEY_BYTES_MAX), count };
    struct random random;
    random_seed(&random, 42);
    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = key_make(set, &random, i, count, keys.bytes[i]);
        keys.bytes[i][KEY_BYTES_MAX - 1] = (uint8_t)bytes;
    }
    qsort(keys.bytes, count, KEY_BYTES_MAX, key_order);
    return keys;
}

/* The same in random order, so that probing reads them one after the other. */
static struct keys keys_shuffled(const struct keys *keys)
{
    struct keys shuffled = { malloc((size_t)keys->count * KEY_BYTES_MAX), keys->count };
    struct random random;
    memcpy(shuffled.bytes, keys->bytes, (size_t)keys->count * KEY_BYTES_MAX);
    random_seed(&random, 7);
    for (uint32_t i = keys->count - 1; i > 0; i--) {
        uint8_t swap[KEY_BYTES_MAX];
        uint32_t other = (uint32_t)random_below(&random, i + 1);
        memcpy(swap, shuffled.bytes[i], KEY_BYTES_MAX);
        memcpy(shuffled.bytes[i], shuffled.bytes[other], KEY_BYTES_MAX);
        memcpy(shuffled.bytes[other], swap, KEY_BYTES_MAX);
    }
    return shuffled;
}

/* ---- layouts ----------------------------------------------------------------------------- */

enum layout { LAYOUT_PLAIN, LAYOUT_GENERAL, LAYOUT_DENSE, LAYOUT_AUTO, LAYOUTS };

static const char *const layout_names[LAYOUTS] = { "plain", "general", "dense", "auto" };

struct tree {
    enum layout layout;
    size_t page_bytes;
    uint8_t *base; /* page i at base + i * page_bytes */
    uint32_t pages;
    uint32_t root;
    unsigned depth; /* branches above the leaves */
    uint8_t *scratch[3];
};

static const size_t region_bytes = (size_t)4 << 30;

static uint8_t *page_at(const struct tree *tree, uint64_t id)
{
    return tree->base + id * tree->page_bytes;
}

static void leaf_empty(const struct tree *tree, uint8_t *page)
{
    if (tree->layout == LAYOUT_PLAIN)
        plain_init(page, tree->page_bytes);
    else
        page_init(page, tree->page_bytes, PAGE_LEAF, 0, 1, 1);
}

static void tree_init(struct tree *tree, enum layout layout, size_t page_bytes)
{
    *tree = (struct tree){ .layout = layout, .page_bytes = page_bytes, .pages = 2, .root = 1 };
    tree->base = mmap(NULL, region_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tree->base == MAP_FAILED)
        abort();
    for (unsigned i = 0; i < 3; i++)
        tree->scratch[i] = mem_alloc_aligned(64, page_bytes);
    leaf_empty(tree, page_at(tree, 1));
}

static void tree_release(struct tree *tree)
{
    munmap(tree->base, region_bytes);
    for (unsigned i = 0; i < 3; i++)
        mem_free(tree->scratch[i]);
}

/* A dense leaf of one entry; only a build makes dense leaves. */
static void dense_begin(const struct tree *tree, uint8_t *page, sombra_slice key,
                        const struct leaf_value *value)
{
    struct leaf_source source;
    struct leaf_measure measure;
    page_init(tree->scratch[0], tree->page_bytes, PAGE_LEAF, 0, 1, 1);
    leaf_source_init(&source, tree->scratch[0], NULL, tree->page_bytes);
    leaf_source_add(&source, 0, key, value, false);
    leaf_measure(&source, 0, 1, &measure);
    dense_build(&source, 0, 1, &measure, page);
}

static bool leaf_put(const struct tree *tree, uint8_t *page, unsigned *out_index, sombra_slice key,
                     const struct leaf_value *value)
{
    size_t page_bytes = tree->page_bytes;
    if (tree->layout == LAYOUT_PLAIN) {
        plain_find(page, key, out_index);
        return plain_insert(page, *out_index, key, value->bytes);
    }
    leaf_find(page, page_bytes, key, out_index);
    if (tree->layout == LAYOUT_DENSE && page_count(page) == 0) {
        dense_begin(tree, page, key, value);
        return true;
    }
    return leaf_insert(page, page_bytes, *out_index, key, value);
}

/* Entries [first, last) in the tree's own kind, whatever the policy would say. */
static void build_forced(const struct tree *tree, const struct leaf_source *source, unsigned first,
                         unsigned last, uint8_t *to)
{
    struct leaf_measure measure;
    leaf_measure(source, first, last, &measure);
    if (tree->layout == LAYOUT_DENSE)
        dense_build(source, first, last, &measure, to);
    else
        general_build(source, first, last, measure.prefix_bytes, to);
}

/* Splits `page` with the entry into scratch 0 and 1; false: rebuilt as one page, in scratch 0. */
static bool leaf_cut(struct tree *tree, const uint8_t *page, unsigned index, sombra_slice key,
                     const struct leaf_value *value, uint8_t *separator, size_t *out_bytes)
{
    struct leaf_split split = { .left = tree->scratch[0],
                                .right = tree->scratch[1],
                                .middle = tree->scratch[2] };
    size_t page_bytes = tree->page_bytes;
    if (tree->layout == LAYOUT_AUTO) {
        leaf_split(page, page_bytes, index, key, value, &split);
        if (split.pages == 3)
            abort();
        memcpy(separator, split.separator, split.separator_bytes);
        *out_bytes = split.separator_bytes;
        return split.pages == 2;
    }
    sombra_slice low, high;
    uint8_t low_key[KV_KEY_BYTES_MAX], high_key[KV_KEY_BYTES_MAX];
    if (tree->layout == LAYOUT_PLAIN) {
        unsigned cut = (plain_count(page) + 1) / 2;
        plain_split(page, page_bytes, index, key, value->bytes, cut, split.left, split.right);
        low = plain_key(split.left, cut - 1);
        high = plain_key(split.right, 0);
    } else {
        struct leaf_source source;
        leaf_source_init(&source, page, NULL, page_bytes);
        leaf_source_add(&source, index, key, value, false);
        build_forced(tree, &source, 0, source.count / 2, split.left);
        build_forced(tree, &source, source.count / 2, source.count, split.right);
        low = slice_of(low_key, leaf_key_at(split.left, page_bytes, source.count / 2 - 1, low_key));
        high = slice_of(high_key, leaf_key_at(split.right, page_bytes, 0, high_key));
    }
    *out_bytes = slice_common_prefix(low, high) + 1;
    memcpy(separator, high.data, *out_bytes);
    return true;
}

/* ---- branches ---------------------------------------------------------------------------- */

/* Plain branches: the child is the value; the first key is empty. */
static unsigned child_index(const struct tree *tree, const uint8_t *page, sombra_slice key)
{
    if (tree->layout != LAYOUT_PLAIN)
        return branch_find(page, tree->page_bytes, key);
    unsigned index;
    return plain_find(page, key, &index) ? index : index - 1;
}

static uint64_t child_at(const struct tree *tree, const uint8_t *page, unsigned index)
{
    if (tree->layout != LAYOUT_PLAIN)
        return branch_child(page, tree->page_bytes, index);
    return get_le48(plain_value(page, index).data);
}

static void branch_begin(const struct tree *tree, uint8_t *page, unsigned level, uint64_t left,
                         sombra_slice separator, uint64_t right)
{
    uint8_t id[6];
    if (tree->layout != LAYOUT_PLAIN) {
        page_init(page, tree->page_bytes, PAGE_BRANCH, level, 1, 1);
        branch_build(page, tree->page_bytes, (struct branch_child){ left, 1 }, separator,
                     (struct branch_child){ right, 1 });
        return;
    }
    plain_init(page, tree->page_bytes);
    put_le48(id, left);
    plain_insert(page, 0, slice_of(NULL, 0), slice_of(id, 6));
    put_le48(id, right);
    plain_insert(page, 1, separator, slice_of(id, 6));
}

/* A page that a split made, behind its separator. */
struct new_page {
    uint32_t id;
    size_t separator_bytes;
    uint8_t separator[KV_KEY_BYTES_MAX];
};

/* Adds a child; true = the branch was split, *out_right is its right half. */
static bool branch_add(struct tree *tree, uint32_t id, unsigned index, sombra_slice separator,
                       uint64_t child, struct new_page *out_right)
{
    uint8_t *page = page_at(tree, id);
    size_t page_bytes = tree->page_bytes;
    uint8_t bytes[6];
    put_le48(bytes, child);
    bool is_plain = tree->layout == LAYOUT_PLAIN;
    if (is_plain
            ? plain_insert(page, index, separator, slice_of(bytes, 6))
            : branch_insert(page, page_bytes, index, separator, (struct branch_child){ child, 1 }))
        return false;
    out_right->id = tree->pages++;
    uint8_t *right = page_at(tree, out_right->id);
    if (is_plain) {
        unsigned count = plain_count(page) + 1;
        unsigned cut = index + 1 == count ? count - 2 : count / 2;
        plain_split(page, page_bytes, index, separator, slice_of(bytes, 6), cut, tree->scratch[0],
                    right);
        sombra_slice first = plain_key(right, 0);
        memcpy(out_right->separator, first.data, first.bytes);
        out_right->separator_bytes = first.bytes;
        memcpy(page, tree->scratch[0], page_bytes);
        return true;
    }
    struct branch_split split = { .left = tree->scratch[0], .right = right };
    branch_split(page, page_bytes, index, separator, (struct branch_child){ child, 1 }, &split);
    memcpy(out_right->separator, split.separator, split.separator_bytes);
    out_right->separator_bytes = split.separator_bytes;
    page_copy(page, tree->scratch[0], page_bytes);
    return true;
}

/* ---- tree -------------------------------------------------------------------------------- */

struct path {
    uint32_t pages[DEPTH_MAX];
    unsigned indexes[DEPTH_MAX];
};

static uint8_t *tree_descend(const struct tree *tree, sombra_slice key, struct path *path)
{
    uint64_t id = tree->root;
    for (unsigned i = 0; i < tree->depth; i++) {
        uint8_t *page = page_at(tree, id);
        path->pages[i] = (uint32_t)id;
        path->indexes[i] = child_index(tree, page, key);
        id = child_at(tree, page, path->indexes[i]);
    }
    path->pages[tree->depth] = (uint32_t)id;
    return page_at(tree, id);
}

/* A new page stands right of the one at the end of the path. */
static void tree_add_page(struct tree *tree, const struct path *path, sombra_slice separator,
                          uint32_t child)
{
    struct new_page right[2];
    for (unsigned i = tree->depth; i-- > 0;) {
        struct new_page *made = &right[i % 2];
        if (!branch_add(tree, path->pages[i], path->indexes[i] + 1, separator, child, made))
            return;
        separator = slice_of(made->separator, made->separator_bytes);
        child = made->id;
    }
    uint32_t root = tree->pages++;
    branch_begin(tree, page_at(tree, root), tree->depth + 1, tree->root, separator, child);
    tree->root = root;
    tree->depth++;
}

static void tree_insert(struct tree *tree, sombra_slice key, const struct leaf_value *value)
{
    struct path path;
    uint8_t *page = tree_descend(tree, key, &path);
    unsigned index;
    if (leaf_put(tree, page, &index, key, value))
        return;
    uint8_t separator[KV_KEY_BYTES_MAX];
    size_t bytes;
    bool is_split = leaf_cut(tree, page, index, key, value, separator, &bytes);
    memcpy(page, tree->scratch[0], tree->page_bytes);
    if (!is_split)
        return;
    uint32_t right = tree->pages++;
    memcpy(page_at(tree, right), tree->scratch[1], tree->page_bytes);
    tree_add_page(tree, &path, slice_of(separator, bytes), right);
}

static void tree_load(struct tree *tree, const struct keys *keys, const struct leaf_value *value,
                      double fill)
{
    size_t most = (size_t)((double)tree->page_bytes * fill);
    sombra_slice before = slice_of(NULL, 0);
    for (uint32_t i = 0; i < keys->count; i++) {
        sombra_slice key = key_at(keys, i);
        struct path path;
        uint8_t *page = tree_descend(tree, key, &path);
        unsigned index;
        size_t used = tree->layout == LAYOUT_PLAIN ? plain_used(page, tree->page_bytes)
                                                   : page_used(page, tree->page_bytes);
        /* The policy makes dense leaves when a general one is full. */
        bool is_general = tree->layout == LAYOUT_AUTO && page_kind(page) == PAGE_LEAF;
        if ((used < most || is_general) && leaf_put(tree, page, &index, key, value)) {
            before = key;
            continue;
        }
        if (tree->layout == LAYOUT_AUTO && fill >= 1) {
            tree_insert(tree, key, value);
            before = key;
            continue;
        }
        if (is_general) {
            uint8_t separator[KV_KEY_BYTES_MAX];
            size_t bytes;
            if (!leaf_cut(tree, page, index, key, value, separator, &bytes)) {
                memcpy(page, tree->scratch[0], tree->page_bytes);
                before = key;
                continue;
            }
        }
        uint32_t right = tree->pages++;
        leaf_empty(tree, page_at(tree, right));
        leaf_put(tree, page_at(tree, right), &index, key, value);
        size_t bytes = slice_common_prefix(before, key) + 1;
        tree_add_page(tree, &path, slice_of(key.data, bytes), right);
        before = key;
    }
}

static uint64_t tree_get_all(const struct tree *tree, const struct keys *keys)
{
    uint64_t sum = 0;
    struct path path;
    for (uint32_t i = 0; i < keys->count; i++) {
        sombra_slice key = key_at(keys, i);
        const uint8_t *page = tree_descend(tree, key, &path);
        unsigned index;
        if (tree->layout == LAYOUT_PLAIN) {
            if (!plain_find(page, key, &index))
                abort();
            sombra_slice value = plain_value(page, index);
            sum += value.bytes ? *(const uint8_t *)value.data : 1;
            continue;
        }
        struct leaf_value value;
        if (!leaf_find(page, tree->page_bytes, key, &index))
            abort();
        leaf_value_at(page, tree->page_bytes, index, &value);
        sum += value.bytes.bytes ? *(const uint8_t *)value.bytes.data : 1;
    }
    return sum;
}

static uint64_t leaf_scan(const struct tree *tree, const uint8_t *page)
{
    uint64_t sum = 0;
    if (tree->layout == LAYOUT_PLAIN) {
        unsigned count = plain_count(page);
        for (unsigned i = 0; i < count; i++)
            sum += plain_key(page, i).bytes + plain_value(page, i).bytes;
        return sum;
    }
    uint8_t room[BATCH * KEY_BYTES_MAX + KV_KEY_BYTES_MAX];
    struct kv_entry entries[BATCH];
    struct leaf_batch batch = {
        .entries = entries, .capacity = BATCH, .room = room, .room_bytes = sizeof room
    };
    for (unsigned index = 0;;) {
        unsigned read = leaf_read(page, tree->page_bytes, index, &batch);
        if (read == 0)
            return sum;
        for (unsigned i = 0; i < read; i++)
            sum += batch.prefix.bytes + entries[i].key.bytes + entries[i].value.bytes;
        index += read;
    }
}

static uint64_t tree_scan(const struct tree *tree, uint64_t id, unsigned depth)
{
    const uint8_t *page = page_at(tree, id);
    if (depth == tree->depth)
        return leaf_scan(tree, page);
    unsigned count = tree->layout == LAYOUT_PLAIN ? plain_count(page) : page_count(page);
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += tree_scan(tree, child_at(tree, page, i), depth + 1);
    return sum;
}

/* ---- measuring --------------------------------------------------------------------------- */

static double entry_bytes(const struct tree *tree, uint32_t count)
{
    return (double)(tree->pages - 1) * (double)tree->page_bytes / count;
}

/* ns a page; 0 for the plain layout, which has no checks. */
static double check_pages(const struct tree *tree)
{
    if (tree->layout == LAYOUT_PLAIN)
        return 0;
    for (uint32_t id = 1; id < tree->pages; id++) {
        page_set_identity(page_at(tree, id), id, 1);
        page_seal(page_at(tree, id), tree->page_bytes);
    }
    double begin = cpu_s();
    for (uint32_t id = 1; id < tree->pages; id++)
        if (page_validate(page_at(tree, id), tree->page_bytes, id, false) != SOMBRA_OK)
            abort();
    return (cpu_s() - begin) * 1e9 / (tree->pages - 1);
}

static volatile uint64_t sink;

static void measure(enum layout layout, size_t page_bytes, enum key_set set,
                    const struct keys *sorted, const struct keys *shuffled)
{
    static const uint8_t zeros[100];
    struct leaf_value value = { .bytes = slice_of(zeros, set == KEYS_DECIMAL ? 100 : 0) };
    double get[ROUNDS], scan[ROUNDS], insert[ROUNDS], check[ROUNDS];
    struct tree tree;

    tree_init(&tree, layout, page_bytes);
    tree_load(&tree, sorted, &value, 0.7);
    sink += tree_get_all(&tree, shuffled);
    for (unsigned round = 0; round < ROUNDS; round++) {
        double begin = cpu_s();
        sink += tree_get_all(&tree, shuffled);
        get[round] = (cpu_s() - begin) * 1e9 / shuffled->count;
    }
    tree_release(&tree);

    tree_init(&tree, layout, page_bytes);
    tree_load(&tree, sorted, &value, 1);
    double full_bytes = entry_bytes(&tree, sorted->count);
    uint64_t total = tree_scan(&tree, tree.root, 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        double begin = cpu_s();
        if (tree_scan(&tree, tree.root, 0) != total)
            abort();
        scan[round] = (cpu_s() - begin) * 1e9 / sorted->count;
        check[round] = check_pages(&tree);
    }
    tree_release(&tree);

    double random_bytes = 0;
    uint32_t inserts = shuffled->count / 2;
    for (unsigned round = 0; round < ROUNDS; round++) {
        tree_init(&tree, layout, page_bytes);
        double begin = cpu_s();
        for (uint32_t i = 0; i < inserts; i++)
            tree_insert(&tree, key_at(shuffled, i), &value);
        insert[round] = (cpu_s() - begin) * 1e9 / inserts;
        random_bytes = entry_bytes(&tree, inserts);
        tree_release(&tree);
    }
    printf("| %-11s | %2zu KiB | %-7s | %5.0f | %5.1f | %6.0f | %6.0f | %6.2f | %6.2f |\n",
           key_set_names[set], page_bytes / KiB, layout_names[layout], median(get, ROUNDS),
           median(scan, ROUNDS), median(insert, ROUNDS), median(check, ROUNDS), full_bytes,
           random_bytes);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const size_t page_sizes[] = { 4 * KiB, 8 * KiB, 16 * KiB };
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    if (count < 1000) {
        fprintf(stderr, "usage: layout [records >= 1000]\n");
        return 1;
    }
    printf(
        "| keys        | page   | layout  |   get |  scan | insert |  check |  bytes | random |\n");
    printf(
        "|-------------|--------|---------|-------|-------|--------|--------|--------|--------|\n");
    for (unsigned set = 0; set < KEYS_SETS; set++) {
        struct keys sorted = keys_new((enum key_set)set, count);
        struct keys shuffled = keys_shuffled(&sorted);
        for (size_t size = 0; size < COUNT_OF(page_sizes); size++)
            for (unsigned layout = 0; layout < LAYOUTS; layout++)
                measure((enum layout)layout, page_sizes[size], (enum key_set)set, &sorted,
                        &shuffled);
        free(sorted.bytes);
        free(shuffled.bytes);
    }
    return 0;
}
