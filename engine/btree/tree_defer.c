/* SPDX-License-Identifier: MIT */
/* Puts that wait for each other where memory is short.
 *
 * The leaf that a put changes is often not in memory then, and one access of the medium after the
 * other is slow. So a put is logged and noted, its leaf asked for, and the next one comes; when
 * there are many, or the transaction does anything else (txn_check), all are put in their order,
 * and most leaves are there. A failure then is the transaction's, which can only be rolled back.
 */
#include "tree_write_internal.h"

enum {
    DEFERRED_MAX = 512,
    DEFERRED_BYTES_MAX = 256 << 10,
    ENTRY_EXTRA_BYTES = 16, /* that a leaf needs for an entry, about, beside key and value */
};

static sombra_slice key_of(const struct btree_txn *txn, const struct deferred_put *put)
{
    return slice_of(txn->deferred.bytes.data + put->at, put->key_bytes);
}

static sombra_slice value_of(const struct btree_txn *txn, const struct deferred_put *put)
{
    return slice_of(txn->deferred.bytes.data + put->at + put->key_bytes, put->value_bytes);
}

void tree_defer_forget(struct btree_txn *txn)
{
    txn->deferred.count = 0;
    buf_reset(&txn->deferred.bytes);
    txn->care &= (unsigned)~TXN_DEFERRED;
}

void tree_defer_release(struct btree_txn *txn)
{
    buf_release(&txn->deferred.bytes);
    mem_free(txn->deferred.puts);
    txn->deferred = (struct deferred){ .bytes = BUF_INIT };
}

/* ---- fetching ----------------------------------------------------------------------------- */

static void page_bring(struct btree_txn *txn, page_id id)
{
    if (id < txn->btree->space.page_count && !pager_dirty_find(&txn->btree->pager, id))
        memory_bring(&txn->btree->pager, id, 1);
}

/* The lowest branch on the way to the key, as the tree is now; NULL: there is none, or it cannot be
 * read, which is told when the put comes to it. */
static const uint8_t *branch_of(struct btree_txn *txn, sombra_slice key, unsigned *out_index)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    page_id id = txn->snapshot.root;
    const uint8_t *page = NULL;
    for (unsigned level = (unsigned)txn->snapshot.depth; level-- > 1;) {
        if (tree_page(txn, id, level, &page))
            return NULL;
        *out_index = branch_find(page, page_bytes, key);
        id = branch_child(page, page_bytes, *out_index);
    }
    return page;
}

/* Until the puts are put nothing changes the tree: the leaves stay these. */
static void leaf_bring(struct btree_txn *txn, struct deferred_put *put)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    unsigned index = 0;
    const uint8_t *branch = branch_of(txn, key_of(txn, put), &index);
    if (!branch)
        return;
    put->leaf = branch_child(branch, page_bytes, index);
    put->left = index > 0 ? branch_child(branch, page_bytes, index - 1) : 0;
    put->right = index + 1 < page_count(branch) ? branch_child(branch, page_bytes, index + 1) : 0;
    page_bring(txn, put->leaf);
}

/* A leaf without room for the put looks whether its neighbours have some. */
static void neighbours_bring(struct btree_txn *txn, const struct deferred_put *put)
{
    size_t page_bytes = txn->btree->pager.page_bytes;
    const uint8_t *leaf;
    if (!put->leaf || tree_page(txn, put->leaf, 0, &leaf) ||
        page_used(leaf, page_bytes) + put->key_bytes + put->value_bytes + ENTRY_EXTRA_BYTES <=
            page_bytes)
        return;
    if (put->left)
        page_bring(txn, put->left);
    if (put->right)
        page_bring(txn, put->right);
}

/* ---- putting ------------------------------------------------------------------------------ */

/* False: it cannot be noted, and is to be put at once. */
static bool note(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    struct deferred *deferred = &txn->deferred;
    if (!deferred->puts)
        deferred->puts = mem_alloc(DEFERRED_MAX * sizeof *deferred->puts);
    size_t at = deferred->bytes.bytes;
    if (!deferred->puts || buf_append_slice(&deferred->bytes, key))
        return false;
    if (buf_append_slice(&deferred->bytes, value)) {
        deferred->bytes.bytes = at;
        return false;
    }
    deferred->puts[deferred->count++] = (struct deferred_put){
        .at = at, .key_bytes = (uint32_t)key.bytes, .value_bytes = (uint32_t)value.bytes
    };
    txn->care |= TXN_DEFERRED;
    return true;
}

/* Room for one more, if there is to be one; the slices are not looked at before they were checked.
 */
static sombra_err put_check(struct btree_txn *txn, sombra_slice key, sombra_slice value)
{
    bool is_usable = !(txn->care & TXN_FAILED) &&
                     !atomic_load_explicit(&txn->btree->is_forked, memory_order_relaxed);
    sombra_err err = txn->kv.is_write && is_usable ? SOMBRA_OK : tree_check_writable(txn);
    if (!err)
        err = kv_check_key(key);
    return err ? err : kv_check_value(value);
}

sombra_err tree_defer_put(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                          bool *out_is_deferred)
{
    struct deferred *deferred = &txn->deferred;
    bool is_long = value.bytes > leaf_inline_max(txn->btree->pager.page_bytes);
    *out_is_deferred = false;
    if (deferred->is_settling)
        return SOMBRA_OK;
    sombra_err err = put_check(txn, key, value);
    if (!err &&
        (is_long || deferred->count == DEFERRED_MAX || deferred->bytes.bytes > DEFERRED_BYTES_MAX))
        err = tree_defer_settle(txn);
    if (err || is_long || txn->snapshot.depth == 0)
        return err;
    /* Before the redo: without memory for the note nothing has happened. */
    size_t count = deferred->count, bytes = deferred->bytes.bytes;
    unsigned care = txn->care;
    if (!note(txn, key, value))
        return tree_defer_settle(txn);
    err = redo_put(txn, key, value);
    if (err) {
        deferred->count = count;
        deferred->bytes.bytes = bytes;
        txn->care = care;
        return err;
    }
    leaf_bring(txn, &deferred->puts[count]);
    txn->generation++;
    txn->given_bytes += key.bytes + value.bytes;
    txn->is_changed = true;
    *out_is_deferred = true;
    return SOMBRA_OK;
}

sombra_err tree_defer_settle(struct btree_txn *txn)
{
    sombra_err err = SOMBRA_OK;
    /* Logged and counted they are. */
    bool is_replay = txn->is_replay;
    uint64_t given_bytes = txn->given_bytes;
    txn->deferred.is_settling = txn->is_replay = true;
    for (size_t i = 0; i < txn->deferred.count; i++)
        neighbours_bring(txn, &txn->deferred.puts[i]);
    for (size_t i = 0; i < txn->deferred.count && !err; i++) {
        const struct deferred_put *put = &txn->deferred.puts[i];
        err = btree_put(&txn->kv, key_of(txn, put), value_of(txn, put));
    }
    txn->deferred.is_settling = false;
    txn->is_replay = is_replay;
    txn->given_bytes = given_bytes;
    tree_defer_forget(txn);
    return tree_broken(txn, err);
}
