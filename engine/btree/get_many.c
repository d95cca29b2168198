/* SPDX-License-Identifier: MIT */
/* Many keys at once: a group of them goes down the tree level by level, so that the memory one of
 * them waits for comes while the others are looked at. Those that meet on a page are looked for
 * together; where they ascend the search for one begins where that for the one before ended. */
#include "btree_internal.h"

enum { GROUP = 16 };

/* Where the keys of a group are on their way. */
struct lookups {
    size_t count;
    bool ascend; /* by their words, each above the one before */
    struct page_key keys[GROUP];
    page_id ids[GROUP];
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

/* One level down: those that stand on one page, together. */
static sombra_err group_step(struct btree_txn *txn, struct lookups *group, unsigned level)
{
    const size_t page_bytes = txn->btree->pager.page_bytes, count = group->count;
    page_id *ids = group->ids, last = 0;
    for (size_t i = 0, end; i < count; i = end) {
        const uint8_t *page;
        const page_id id = ids[i];
        sombra_err err = tree_page(txn, id, level, &page);
        if (UNLIKELY(err))
            return err;
        for (end = i + 1; end < count && ids[end] == id;)
            end++;
        branch_find_many(page, page_bytes, group->keys + i, end - i, group->ascend, ids + i);
    }
    for (const page_id *id = ids; id < ids + count; id++) {
        if (*id != last)
            level > 1 ? tree_prefetch(txn, *id) : leaf_fetch(txn, *id);
        last = *id;
    }
    return SOMBRA_OK;
}

/* In the leaves: what stands where is asked for step by step. */
static sombra_err group_find(struct btree_txn *txn, struct lookups *group)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    for (size_t i = 0; i < group->count; i++) {
        struct leaf_seek *seek = &group->seeks[i];
        sombra_err err = tree_page(txn, group->ids[i], 0, &seek->page);
        if (UNLIKELY(err))
            return err;
        seek->key = &group->keys[i];
    }
    leaf_seeks_begin(group->seeks, group->count, page_bytes);
    leaf_seeks_fetch(group->seeks, group->count);
    return SOMBRA_OK;
}

static sombra_err group_give(struct btree_txn *txn, const struct lookups *group, size_t first,
                             kv_value_fn each, void *context)
{
    const size_t page_bytes = txn->btree->pager.page_bytes;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < group->count; i++) {
        struct leaf_value found;
        if (!leaf_seek_end(&group->seeks[i], page_bytes, &found)) {
            err = each(context, first + i, NULL);
            continue;
        }
        if (UNLIKELY(found.overflow))
            err = tree_value(txn, &found, &found.bytes);
        if (!err)
            err = each(context, first + i, &found.bytes);
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
        unsigned index = branch_find(branch, pager->page_bytes, group->keys[i].bytes);
        page_id leaf = branch_child(branch, pager->page_bytes, index);
        answers[i] = tree_ask_filter(txn, branch, leaf, group->keys[i].bytes);
        group->ids[i] = leaf;
        if (answers[i] == FILTER_NO || leaf == brought || leaf >= txn->snapshot.page_count)
            continue;
        memory_bring(pager, leaf, 1);
        brought = leaf;
    }
    for (size_t i = 0; !err && i < group->count; i++) {
        sombra_slice value;
        err = tree_get_asked(txn, group->ids[i], answers[i], group->keys[i].bytes, &value);
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

static sombra_err group_set(struct lookups *group, const sombra_slice *keys, size_t count,
                            page_id root)
{
    uint64_t last = 0;
    bool ascend = true;
    for (size_t i = 0; i < count; i++) {
        if (UNLIKELY(keys[i].bytes - 1 >= KV_KEY_BYTES_MAX))
            return kv_check_key(keys[i]);
        group->keys[i] = page_key_of(keys[i]);
        group->ids[i] = root;
        ascend = ascend && (i == 0 || group->keys[i].word > last);
        last = group->keys[i].word;
    }
    group->count = count;
    group->ascend = ascend;
    return SOMBRA_OK;
}

sombra_err btree_get_many(struct kv_txn *kv_txn, const sombra_slice *keys, size_t count,
                          kv_value_fn each, void *context)
{
    struct btree_txn *txn = txn_of(kv_txn);
    struct lookups group;
    sombra_err err = txn_check(txn);
    for (size_t first = 0; !err && first < count; first += GROUP) {
        err = group_set(&group, keys + first, size_min(count - first, GROUP), txn->snapshot.root);
        if (!err && LIKELY(txn->snapshot.depth))
            err = group_get(txn, &group, first, each, context);
        for (size_t i = 0; !err && txn->snapshot.depth == 0 && i < group.count; i++)
            err = each(context, first + i, NULL);
    }
    return err;
}
