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
    struct table *table;      /* that a value out of line is in */
    struct table *owned;      /* referenced for it; else NULL */
};

/* A table of a run that may have a key. */
struct candidate {
    const struct version_run *run;
    size_t at;
};

/* `hash`: of the key; NULL = the filter is not asked. */
static sombra_err table_find(struct candidate in, sombra_slice key, const uint64_t *hash,
                             struct found *found)
{
    struct table *table, *owned;
    sombra_err err = version_table_borrow(in.run, in.at, &table, &owned);
    if (UNLIKELY(err))
        return err;
    struct table_value value = { .block = NULL };
    enum lookup lookup = LOOKUP_ABSENT;
    err = table_get(table, key, hash, &lookup, &value);
    sombra_slice low, end;
    if (!err && lookup == LOOKUP_ABSENT && in.run->has_ranges &&
        table_hides(table, key, &low, &end))
        lookup = LOOKUP_DELETED;
    if (!err) {
        found->lookup = lookup;
        found->value = value;
    }
    if (!err && lookup == LOOKUP_FOUND && UNLIKELY(value.is_large)) {
        found->table = table;
        found->owned = owned;
    } else if (UNLIKELY(owned)) {
        table_unref(owned);
    }
    return err;
}

/* The next table from run *at on that may have the key; false = there is none. */
static inline bool candidate_next(const struct version *version, sombra_slice key, size_t *at,
                                  struct candidate *out)
{
    for (; *at < version->count; ++*at) {
        const struct version_run *run = &version->runs[*at];
        size_t table = version_run_find(run, key);
        if (table == run->count || slice_compare(key, run->tables[table]->meta.low) < 0)
            continue;
        *out = (struct candidate){ run, table };
        ++*at;
        return true;
    }
    return false;
}

static sombra_err runs_find(struct lsm_txn *txn, sombra_slice key, struct found *found)
{
    const struct version *version = txn->view->version;
    struct candidate now, next;
    uint64_t hash = 0;
    size_t at = 0;
    bool is_next = candidate_next(version, key, &at, &now), is_hashed = false;
    while (is_next) {
        is_next = candidate_next(version, key, &at, &next);
        bool is_trusted = !is_next && lsm_is_trusted(txn);
        if (!is_trusted && !is_hashed) {
            hash = table_key_hash(key);
            is_hashed = true;
        }
        sombra_err err = table_find(now, key, is_trusted ? NULL : &hash, found);
        if (UNLIKELY(err))
            return err;
        if (!is_next)
            lsm_trust(txn, found->lookup != LOOKUP_ABSENT);
        if (found->lookup != LOOKUP_ABSENT)
            return SOMBRA_OK;
        now = next;
    }
    return SOMBRA_OK;
}

/* `found` is empty. */
static sombra_err find(struct lsm_txn *txn, sombra_slice key, struct found *found)
{
    const struct view *view = txn->view;
    assert(found->lookup == LOOKUP_ABSENT && !found->table);
    for (size_t i = 0; i < view->count; i++) {
        /* What was committed before the snapshot is seen to be there. */
        if (memtable_is_empty(view->memtables[i]))
            continue;
        found->lookup = memtable_get(view->memtables[i], txn->seq, key, &found->value.value);
        if (found->lookup != LOOKUP_ABSENT)
            return SOMBRA_OK;
    }
    return view->version->count ? runs_find(txn, key, found) : SOMBRA_OK;
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
    if (UNLIKELY(found->owned))
        table_unref(found->owned);
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
