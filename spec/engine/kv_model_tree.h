/* SPDX-License-Identifier: MIT */
/* The model's map: an immutable, counted treap whose priorities are hashes of the keys, so that its
 * shape depends on nothing but its content. Every change copies the path to it and gives a new
 * root; roots are references. Part of kv_model.c, which alone includes it.
 */
#ifndef KV_MODEL_TREE_H
#define KV_MODEL_TREE_H

#include "kv/kv.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

struct record {
    _Atomic uint64_t refs;
    uint64_t priority;
    size_t key_bytes;
    size_t value_bytes;
    uint8_t bytes[]; /* key, value */
};

struct node { /* immutable */
    _Atomic uint64_t refs;
    struct record *record;
    struct node *left, *right;
    uint64_t count; /* of the subtree */
};

static void *must_alloc(size_t bytes)
{
    void *memory = calloc(1, size_max(bytes, 1));
    if (!memory)
        abort();
    return memory;
}

/* ---- the treap --------------------------------------------------------------------------- */

static struct record *record_new(sombra_slice key, sombra_slice value)
{
    struct record *record = must_alloc(sizeof *record + key.bytes + value.bytes);
    atomic_init(&record->refs, 1);
    record->priority = hash_bytes(key.data, key.bytes, 0);
    record->key_bytes = key.bytes;
    record->value_bytes = value.bytes;
    memcpy(record->bytes, key.data, key.bytes);
    if (value.bytes)
        memcpy(record->bytes + key.bytes, value.data, value.bytes);
    return record;
}

static void record_unref(struct record *record)
{
    if (atomic_fetch_sub(&record->refs, 1) == 1)
        free(record);
}

static sombra_slice record_key(const struct record *record)
{
    return slice_of(record->bytes, record->key_bytes);
}

static sombra_slice record_value(const struct record *record)
{
    return slice_of(record->bytes + record->key_bytes, record->value_bytes);
}

static uint64_t node_count(const struct node *node)
{
    return node ? node->count : 0;
}

static struct node *node_ref(struct node *node)
{
    if (node)
        atomic_fetch_add(&node->refs, 1);
    return node;
}

static void node_unref(struct node *node)
{
    if (!node || atomic_fetch_sub(&node->refs, 1) != 1)
        return;
    node_unref(node->left);
    node_unref(node->right);
    record_unref(node->record);
    free(node);
}

/* Takes over the references to left and right, adds one to record. */
static struct node *node_new(struct record *record, struct node *left, struct node *right)
{
    struct node *node = must_alloc(sizeof *node);
    atomic_fetch_add(&record->refs, 1);
    atomic_init(&node->refs, 1);
    node->record = record;
    node->left = left;
    node->right = right;
    node->count = node_count(left) + 1 + node_count(right);
    return node;
}

/* New trees of the keys below `key` and of the others. */
static void tree_split(struct node *tree, sombra_slice key, struct node **out_low,
                       struct node **out_high)
{
    struct node *low, *high;
    if (!tree) {
        *out_low = *out_high = NULL;
    } else if (slice_compare(record_key(tree->record), key) < 0) {
        tree_split(tree->right, key, &low, &high);
        *out_low = node_new(tree->record, node_ref(tree->left), low);
        *out_high = high;
    } else {
        tree_split(tree->left, key, &low, &high);
        *out_low = low;
        *out_high = node_new(tree->record, high, node_ref(tree->right));
    }
}

/* Takes over both references; every key of `low` is below those of `high`. */
static struct node *tree_join(struct node *low, struct node *high)
{
    if (!low || !high)
        return low ? low : high;
    struct node *joined;
    if (low->record->priority > high->record->priority) {
        joined = node_new(low->record, node_ref(low->left), tree_join(node_ref(low->right), high));
        node_unref(low);
    } else {
        joined =
            node_new(high->record, tree_join(low, node_ref(high->left)), node_ref(high->right));
        node_unref(high);
    }
    return joined;
}

static struct node *tree_put(struct node *tree, struct record *record)
{
    if (!tree)
        return node_new(record, NULL, NULL);
    int order = slice_compare(record_key(record), record_key(tree->record));
    if (order == 0)
        return node_new(record, node_ref(tree->left), node_ref(tree->right));
    if (record->priority > tree->record->priority) {
        struct node *low, *high;
        tree_split(tree, record_key(record), &low, &high);
        return node_new(record, low, high);
    }
    if (order < 0)
        return node_new(tree->record, tree_put(tree->left, record), node_ref(tree->right));
    return node_new(tree->record, node_ref(tree->left), tree_put(tree->right, record));
}

/* `key` is in the tree. */
static struct node *tree_remove(struct node *tree, sombra_slice key)
{
    int order = slice_compare(key, record_key(tree->record));
    if (order == 0)
        return tree_join(node_ref(tree->left), node_ref(tree->right));
    if (order < 0)
        return node_new(tree->record, tree_remove(tree->left, key), node_ref(tree->right));
    return node_new(tree->record, node_ref(tree->left), tree_remove(tree->right, key));
}

static const struct record *tree_find(const struct node *tree, sombra_slice key)
{
    while (tree) {
        int order = slice_compare(key, record_key(tree->record));
        if (order == 0)
            return tree->record;
        tree = order < 0 ? tree->left : tree->right;
    }
    return NULL;
}

/* How many keys are below `key`, or at it too if `and_equal`. */
static uint64_t tree_rank(const struct node *tree, sombra_slice key, bool and_equal)
{
    uint64_t below = 0;
    while (tree) {
        int order = slice_compare(record_key(tree->record), key);
        if (order < 0 || (order == 0 && and_equal)) {
            below += node_count(tree->left) + 1;
            tree = tree->right;
        } else {
            tree = tree->left;
        }
    }
    return below;
}

static const struct record *tree_select(const struct node *tree, uint64_t index)
{
    assert(index < node_count(tree));
    for (;;) {
        uint64_t left = node_count(tree->left);
        if (index == left)
            return tree->record;
        if (index < left) {
            tree = tree->left;
        } else {
            index -= left + 1;
            tree = tree->right;
        }
    }
}

/* The indexes [*out_first, *out_last) of the keys of a range; equal when it holds none. */
static void tree_range(const struct node *tree, struct kv_range range, uint64_t *out_first,
                       uint64_t *out_last)
{
    uint64_t first = range.low.bytes ? tree_rank(tree, range.low, false) : 0;
    uint64_t last = range.high.bytes ? tree_rank(tree, range.high, false) : node_count(tree);
    *out_first = first;
    *out_last = u64_max(first, last);
}

#endif
