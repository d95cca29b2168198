/* SPDX-License-Identifier: MIT */
/* Many keys at once: a group of them goes down the tree level by level, so that the memory one of
 * them waits for comes while the others are looked at. Keys that ascend are mostly near each other
 * in each branch: the search for one begins where that for the one before ended. */
#include "btree_internal.h"

enum { GROUP = 16 };

/* Where the keys of a group are on their way. */
struct lookups {
    const sombra_slice *keys;
    size_t count;
    page_id ids[GROUP];
    const uint8_t *pages[GROUP];
    struct leaf_seek seeks[GROUP];
};

/* What is looked at first in a leaf: its header, and its prefix at the page's end. Any number may
 * be given. */
PREFETCHER leaf_fetch(const struct btree_txn *txn, page_id id)
{
    const struct pager *pager = &txn->btree->pager;
    if (UNLIKELY(id >= txn->snapshot.page_count))
        return;
    const uint8_t *page = pager_page(pager, id);
    __builtin_prefetch(page);
    __builtin_prefetch(page + pager->page_bytes - 1);
}

/* One level down. */
static sombra_err group_step(struct btree_txn *txn, struct lookups *group, unsigned level)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    page_id last = 0, child = 0;
    const uint8_t *page = NULL;
    unsigned index = 0;
    for (size_t i = 0; i < group->count; i++) {
        if (group->ids[i] == last) {
            index = branch_find_near(page, page_bytes, group->keys[i], index);
        } else {
            sombra_err err = tree_page(txn, group->ids[i], level, &page);
            if (UNLIKELY(err))
                return err;
            last = group->ids[i];
            index = branch_find(page, page_bytes, group->keys[i]);
        }
        page_id before = child;
        child = branch_child(page, page_bytes, index);
        if (child != before)
            level > 1 ? tree_prefetch(txn, child) : leaf_fetch(txn, child);
        group->ids[i] = child;
    }
    return SOMBRA_OK;
}

/* In the leaves: what stands where is asked for step by step. */
static sombra_err group_find(struct btree_txn *txn, struct lookups *group)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    for (size_t i = 0; i < group->count; i++) {
        sombra_err err = tree_page(txn, group->ids[i], 0, &group->pages[i]);
        if (UNLIKELY(err))
            return err;
        leaf_seek_begin(&group->seeks[i], group->pages[i], page_bytes, group->keys[i]);
    }
    for (size_t i = 0; i < group->count; i++)
        leaf_seek_fetch(&group->seeks[i], group->pages[i]);
    return SOMBRA_OK;
}

static sombra_err group_give(struct btree_txn *txn, const struct lookups *group, size_t first,
                             kv_value_fn each, void *context)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < group->count; i++) {
        struct leaf_value found;
        sombra_slice value;
        bool is_there =
            leaf_seek_end(&group->seeks[i], group->pages[i], page_bytes, group->keys[i], &found);
        if (is_there)
            err = tree_value(txn, &found, &value);
        if (!err)
            err = each(context, first + i, is_there ? &value : NULL);
    }
    return err;
}

/* Where memory is short: the filters are asked, then the leaves are that are needed, all at once.
 */
static sombra_err group_give_short(struct btree_txn *txn, struct lookups *group, size_t first,
                                   kv_value_fn each, void *context)
{
    const struct pager *pager = &txn->btree->pager;
    enum filter_answer answers[GROUP];
    page_id brought = 0;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < group->count; i++) {
        const uint8_t *branch;
        err = tree_page(txn, group->ids[i], 1, &branch);
        if (err)
            break;
        unsigned index = branch_find(branch, pager->page_bytes, group->keys[i]);
        page_id leaf = branch_child(branch, pager->page_bytes, index);
        answers[i] = tree_ask_filter(txn, branch, leaf, group->keys[i]);
        group->ids[i] = leaf;
        if (answers[i] == FILTER_NO || leaf == brought || leaf >= txn->snapshot.page_count)
            continue;
        memory_bring(pager, leaf, 1);
        brought = leaf;
    }
    for (size_t i = 0; !err && i < group->count; i++) {
        sombra_slice value;
        err = tree_get_asked(txn, group->ids[i], answers[i], group->keys[i], &value);
        if (!err || err == SOMBRA_NOT_FOUND)
            err = each(context, first + i, err ? NULL : &value);
    }
    return err;
}

/* From the root to its values. */
static sombra_err group_get(struct btree_txn *txn, struct lookups *group, size_t first,
                            kv_value_fn each, void *context)
{
    unsigned level = (unsigned)txn->snapshot.depth - 1;
    bool is_short = level && pager_has_mode(&txn->btree->pager, PAGER_SHORT);
    sombra_err err = SOMBRA_OK;
    for (; !err && level > is_short; level--)
        err = group_step(txn, group, level);
    if (UNLIKELY(is_short))
        return err ? err : group_give_short(txn, group, first, each, context);
    if (!err)
        err = group_find(txn, group);
    return err ? err : group_give(txn, group, first, each, context);
}

static sombra_err keys_check(const sombra_slice *keys, size_t count)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < count; i++)
        err = keys[i].bytes - 1 < KV_KEY_BYTES_MAX ? SOMBRA_OK : kv_check_key(keys[i]);
    return err;
}

sombra_err btree_get_many(struct kv_txn *kv_txn, const sombra_slice *keys, size_t count,
                          kv_value_fn each, void *context)
{
    struct btree_txn *txn = txn_of(kv_txn);
    sombra_err err = keys_check(keys, count);
    if (!err)
        err = txn_check(txn);
    const unsigned depth = (unsigned)txn->snapshot.depth;
    for (size_t i = 0; !err && depth == 0 && i < count; i++)
        err = each(context, i, NULL);
    for (size_t first = 0; !err && depth && first < count; first += GROUP) {
        struct lookups group;
        group.keys = keys + first;
        group.count = size_min(count - first, GROUP);
        for (size_t i = 0; i < group.count; i++)
            group.ids[i] = txn->snapshot.root;
        err = group_get(txn, &group, first, each, context);
    }
    return err;
}
