/* SPDX-License-Identifier: MIT */
/* Point lookups: the memtables of the view, then its runs, newest first, until one of them knows
 * the key.
 */
#include "lsm_internal.h"

enum { LARGE_KEPT_BYTES = 1 << 20 }; /* of a buffer for values out of line, between lookups */

/* What a lookup found. */
struct found {
    enum lookup lookup;
    struct table_value value; /* a memtable's has no block */
    struct table *table;      /* referenced if the value is out of line; else NULL */
};

static sombra_err table_find(const struct version_run *run, size_t at, sombra_slice key,
                             uint64_t key_hash, struct found *found)
{
    struct table *table;
    sombra_err err = version_table_open(run->tables[at], &table);
    if (UNLIKELY(err))
        return err;
    struct table_value value = { .block = NULL };
    enum lookup lookup = LOOKUP_ABSENT;
    err = table_get(table, key, key_hash, &lookup, &value);
    sombra_slice low, end;
    if (!err && lookup == LOOKUP_ABSENT && run->has_ranges && table_hides(table, key, &low, &end))
        lookup = LOOKUP_DELETED;
    if (!err) {
        found->lookup = lookup;
        found->value = value;
    }
    if (!err && lookup == LOOKUP_FOUND && UNLIKELY(value.is_large))
        found->table = table;
    else
        table_unref(table);
    return err;
}

static sombra_err runs_find(const struct version *version, sombra_slice key, struct found *found)
{
    uint64_t key_hash = table_key_hash(key);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        size_t at = version_run_find(run, key);
        if (at == run->count || slice_compare(key, run->tables[at]->meta.low) < 0)
            continue;
        sombra_err err = table_find(run, at, key, key_hash, found);
        if (UNLIKELY(err) || found->lookup != LOOKUP_ABSENT)
            return err;
    }
    return SOMBRA_OK;
}

/* `found` is empty. */
static sombra_err find(const struct lsm_txn *txn, sombra_slice key, struct found *found)
{
    const struct view *view = txn->view;
    assert(found->lookup == LOOKUP_ABSENT && !found->table);
    for (size_t i = 0; i < view->count; i++) {
        found->lookup = memtable_get(view->memtables[i], txn->seq, key, &found->value.value);
        if (found->lookup != LOOKUP_ABSENT)
            return SOMBRA_OK;
    }
    return view->version->count ? runs_find(view->version, key, found) : SOMBRA_OK;
}

static struct cache *cache_of(const struct lsm_txn *txn)
{
    return lsm_of(txn->txn.kv)->cache;
}

/* The value of a reference, into the transaction's buffer. */
static sombra_err large_read(struct lsm_txn *txn, const struct found *found, sombra_slice *out)
{
    assert(found->table && found->value.is_large);
    if (txn->large.capacity > LARGE_KEPT_BYTES)
        buf_release(&txn->large);
    sombra_err err = table_read_large(found->table, found->value.value, &txn->large);
    if (err)
        return err;
    *out = buf_slice(&txn->large);
    return SOMBRA_OK;
}

static void found_release(const struct lsm_txn *txn, struct found *found)
{
    table_unref(found->table);
    if (found->value.block)
        cache_release(cache_of(txn), found->value.block);
}

sombra_err lsm_get(struct kv_txn *kv_txn, sombra_slice key, sombra_slice *out_value)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    if (UNLIKELY(key.bytes - 1 >= KV_KEY_BYTES_MAX))
        return kv_check_key(key);
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    struct found found = { .lookup = LOOKUP_ABSENT };
    sombra_err err = find(txn, key, &found);
    if (!err && found.lookup != LOOKUP_FOUND)
        err = SOMBRA_NOT_FOUND;
    if (err) {
        found_release(txn, &found);
        return err;
    }
    if (UNLIKELY(found.value.is_large)) {
        err = large_read(txn, &found, out_value);
        found_release(txn, &found);
        return err;
    }
    /* The key may be bytes of the block held so far: that goes last. */
    struct cache_block *old = txn->got.block;
    txn->got = found.value;
    if (old)
        cache_release(cache_of(txn), old);
    *out_value = found.value.value;
    return SOMBRA_OK;
}

sombra_err lsm_has(struct lsm_txn *txn, sombra_slice key, bool *out_has)
{
    if (UNLIKELY(key.bytes - 1 >= KV_KEY_BYTES_MAX))
        return kv_check_key(key);
    struct found found = { .lookup = LOOKUP_ABSENT };
    sombra_err err = find(txn, key, &found);
    bool has = found.lookup == LOOKUP_FOUND;
    found_release(txn, &found);
    if (err)
        return err;
    *out_has = has;
    return SOMBRA_OK;
}
