/* SPDX-License-Identifier: MIT */
/* Many point lookups at once: a group of keys goes through each source together, step by step, so
 * that what one key waits for from memory (a line of a filter, a block) comes while the others are
 * looked at. A table is borrowed and a block is held once for neighbours that fall into it.
 *
 * Each step is the one of get.c; what is found is the same.
 */
#include "lsm_internal.h"
#include "lsm/table/table_read.h"

enum { GROUP_KEYS = 16 };

/* One key of a group. */
struct wanted {
    sombra_slice key;
    enum lookup lookup;
    bool is_large; /* the value is out of line: it is got alone */
    bool is_hashed;
    uint64_t hash;
    sombra_slice value;
};

/* A key that a table of the run at hand may have. */
struct probe {
    struct wanted *wanted;
    struct table *table;
    const struct filter *filter; /* to be asked; NULL = none */
    uint32_t index;              /* of the block that would have it; NO_BLOCK = none has */
    bool is_as_before;           /* the same block as the probe before that has one */
    struct rows_aim aim;         /* where in the block to look */
    uint32_t head_at;            /* where there keys begin that may be it */
    struct cache_block *block;   /* NULL = none */
    struct rows rows;            /* of it */
};
#define NO_BLOCK UINT32_MAX

struct group {
    struct lsm_txn *txn;
    struct wanted wanted[GROUP_KEYS];
    size_t count, left; /* not known yet */
    struct probe probes[GROUP_KEYS];
    size_t probe_count;
    struct table *owned[GROUP_KEYS]; /* tables of the run at hand, referenced */
    size_t owned_count;
    struct cache_block **held; /* blocks that values lie in; room for `held_max` */
    size_t held_count, held_max;
    struct cache_block *held_few[2 * GROUP_KEYS];
    uint32_t filter_checks, filter_skips, filter_false;
};

/* ---- memtables --------------------------------------------------------------------------- */

static void memtables_find(struct group *group)
{
    const struct lsm_txn *txn = group->txn;
    for (size_t i = 0; i < txn->view->count && group->left > 0; i++) {
        const struct memtable *memtable = txn->view->memtables[i];
        if (memtable_is_empty(memtable))
            continue;
        for (size_t k = 0; k < group->count; k++) {
            struct wanted *wanted = &group->wanted[k];
            if (wanted->lookup != LOOKUP_ABSENT)
                continue;
            wanted->lookup = memtable_get(memtable, txn->seq, wanted->key, &wanted->value);
            group->left -= wanted->lookup != LOOKUP_ABSENT;
        }
    }
}

/* ---- one run ----------------------------------------------------------------------------- */

static bool table_spans(const struct version_table *table, sombra_slice key)
{
    return slice_compare(key, table->meta.low) >= 0 && slice_compare(key, table->meta.end) < 0;
}

/* Which tables are asked for which keys; their lines of filters are on the way. */
static sombra_err run_probe(struct group *group, const struct version_run *run, bool asks_filter)
{
    struct table *table = NULL;
    size_t at = 0; /* of `table` */
    group->probe_count = 0;
    for (size_t k = 0; k < group->count; k++) {
        struct wanted *wanted = &group->wanted[k];
        if (wanted->lookup != LOOKUP_ABSENT)
            continue;
        if (!table || !table_spans(run->tables[at], wanted->key)) {
            size_t found = version_run_find(run, wanted->key);
            if (found == run->count || slice_compare(wanted->key, run->tables[found]->meta.low) < 0)
                continue;
            struct table *owned;
            sombra_err err = version_table_borrow(run, found, &table, &owned);
            if (UNLIKELY(err))
                return err;
            if (owned)
                group->owned[group->owned_count++] = owned;
            at = found;
        }
        struct probe *probe = &group->probes[group->probe_count++];
        probe->wanted = wanted;
        probe->table = table;
        probe->filter = NULL;
        probe->block = NULL;
        if (!asks_filter || table->filter.count == 0)
            continue;
        if (!wanted->is_hashed)
            wanted->hash = table_key_hash(wanted->key);
        wanted->is_hashed = true;
        probe->filter = &table->filter;
        __builtin_prefetch(filter_line(probe->filter, wanted->hash));
    }
    return SOMBRA_OK;
}

/* Does the block at `index` have the first key that is not below `key`, given that it has that of a
 * smaller one? */
static bool is_same_block(const struct table *table, uint32_t index, sombra_slice before,
                          sombra_slice key)
{
    struct block_entry entry;
    block_entry_at(block_restart(&table->index, index), &entry);
    return slice_compare(before, key) <= 0 && slice_compare(key, entry.rest) <= 0;
}

/* Which blocks; their places in the cache are on the way. */
static void run_ask(struct group *group)
{
    const struct probe *last = NULL; /* the one that has a block */
    for (size_t k = 0; k < group->probe_count; k++) {
        struct probe *probe = &group->probes[k];
        struct table *table = probe->table;
        struct block_spot spot;
        probe->index = NO_BLOCK;
        if (probe->filter) {
            group->filter_checks++;
            if (!filter_has(probe->filter, probe->wanted->hash)) {
                group->filter_skips++;
                probe->filter = NULL;
                continue;
            }
        }
        if (table->index.entries == 0)
            continue;
        probe->is_as_before =
            last && last->table == table &&
            is_same_block(table, last->index, last->wanted->key, probe->wanted->key);
        if (probe->is_as_before) {
            probe->index = last->index;
            continue;
        }
        block_find(&table->index, probe->wanted->key, &spot);
        if (!spot.at)
            continue;
        probe->index = spot.index;
        table_fetch_slot(table, spot.index);
        last = probe;
    }
}

/* The blocks. */
static sombra_err run_load(struct group *group)
{
    struct cache_block *last = NULL;
    for (size_t k = 0; k < group->probe_count; k++) {
        const struct probe *probe = &group->probes[k];
        if (probe->index != NO_BLOCK && !probe->is_as_before)
            table_fetch_entry(probe->table, probe->index);
    }
    for (size_t k = 0; k < group->probe_count; k++) {
        struct probe *probe = &group->probes[k];
        if (probe->index == NO_BLOCK)
            continue;
        if (!probe->is_as_before) {
            assert(group->held_count < group->held_max);
            sombra_err err = table_load(probe->table, probe->index, 0, &last);
            if (UNLIKELY(err))
                return err;
            group->held[group->held_count++] = last;
        }
        probe->block = last;
    }
    return SOMBRA_OK;
}

/* Where in the blocks; what is compared there is on the way. */
static void run_place(struct group *group)
{
    enum { LINE_BYTES = 64 };
    for (size_t k = 0; k < group->probe_count; k++) {
        struct probe *probe = &group->probes[k];
        if (!probe->block)
            continue;
        rows_open(&probe->rows, probe->block->data);
        rows_aim(&probe->rows, probe->wanted->key, &probe->aim);
    }
    for (size_t k = 0; k < group->probe_count; k++) {
        struct probe *probe = &group->probes[k];
        if (probe->block)
            probe->head_at = rows_find_head(&probe->rows, &probe->aim);
    }
    for (size_t k = 0; k < group->probe_count; k++) {
        const struct probe *probe = &group->probes[k];
        if (!probe->block || probe->head_at == probe->rows.count)
            continue;
        const char *at = rows_key(&probe->rows, probe->head_at).data;
        __builtin_prefetch(at);
        __builtin_prefetch(at + LINE_BYTES); /* the value is behind it */
    }
}

static void run_find(struct group *group, bool has_ranges)
{
    run_place(group);
    for (size_t k = 0; k < group->probe_count; k++) {
        struct probe *probe = &group->probes[k];
        struct wanted *wanted = probe->wanted;
        bool is_equal = false;
        if (probe->block) {
            uint32_t at =
                rows_find_at(&probe->rows, wanted->key, &probe->aim, probe->head_at, &is_equal);
            if (is_equal) {
                struct lsm_entry entry;
                rows_entry(&probe->rows, at, &entry);
                wanted->lookup = entry.kind == ENTRY_DELETE ? LOOKUP_DELETED : LOOKUP_FOUND;
                wanted->is_large = entry.kind == ENTRY_LARGE;
                wanted->value = entry.value;
            }
        }
        group->filter_false += probe->filter && !is_equal;
        sombra_slice low, end;
        if (!is_equal && has_ranges && table_hides(probe->table, wanted->key, &low, &end))
            wanted->lookup = LOOKUP_DELETED;
        group->left -= wanted->lookup != LOOKUP_ABSENT;
    }
}

static sombra_err run_get(struct group *group, const struct version_run *run, bool is_last)
{
    struct lsm_txn *txn = group->txn;
    sombra_err err = run_probe(group, run, !(is_last && lsm_is_trusted(txn)));
    if (!err) {
        run_ask(group);
        err = run_load(group);
    }
    if (!err)
        run_find(group, run->has_ranges);
    for (size_t k = 0; !err && is_last && k < group->probe_count; k++)
        lsm_trust(txn, group->probes[k].wanted->lookup != LOOKUP_ABSENT);
    while (group->owned_count > 0)
        table_unref(group->owned[--group->owned_count]);
    return err;
}

/* ---- a group ----------------------------------------------------------------------------- */

static void group_count(struct group *group)
{
    struct kv_metrics *metrics = group->txn->txn.kv->metrics;
    if (group->filter_checks)
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_CHECKS, group->filter_checks);
    if (group->filter_skips)
        kv_metrics_add_striped(metrics, KV_COUNTER_FILTER_SKIPS, group->filter_skips);
    if (group->filter_false)
        kv_metrics_add(metrics, KV_COUNTER_FILTER_FALSE, group->filter_false);
    group->filter_checks = group->filter_skips = group->filter_false = 0;
}

static sombra_err group_find(struct group *group)
{
    const struct version *version = group->txn->view->version;
    sombra_err err = SOMBRA_OK;
    group->left = group->count;
    memtables_find(group);
    for (size_t i = 0; !err && group->left > 0 && i < version->count; i++)
        err = run_get(group, &version->runs[i], i + 1 == version->count);
    group_count(group);
    return err;
}

/* `first`: the index of the group's first key. */
static sombra_err group_give(struct group *group, size_t first, kv_value_fn each, void *context)
{
    sombra_err err = SOMBRA_OK;
    for (size_t k = 0; !err && k < group->count; k++) {
        const struct wanted *wanted = &group->wanted[k];
        sombra_slice value = wanted->value;
        bool is_found = wanted->lookup == LOOKUP_FOUND;
        if (UNLIKELY(is_found && wanted->is_large))
            err = lsm_get(&group->txn->txn, wanted->key, &value);
        if (!err)
            err = each(context, first + k, is_found ? &value : NULL);
    }
    return err;
}

static void group_release(struct group *group)
{
    struct cache *cache = lsm_of(group->txn->txn.kv)->cache;
    while (group->held_count > 0)
        cache_release(cache, group->held[--group->held_count]);
}

sombra_err lsm_get_many(struct kv_txn *kv_txn, const sombra_slice *keys, size_t count,
                        kv_value_fn each, void *context)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    struct group group;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    group.txn = txn;
    group.held = group.held_few;
    group.held_max = COUNT_OF(group.held_few);
    group.held_count = group.owned_count = 0;
    group.filter_checks = group.filter_skips = group.filter_false = 0;
    /* A key may hold a block of each run: one that has it not, by a filter's mistake. */
    size_t most = GROUP_KEYS * txn->view->version->count;
    if (most > group.held_max) {
        group.held = mem_alloc(most * sizeof(struct cache_block *));
        if (!group.held)
            return diag_nomem("blocks of many keys", most * sizeof(struct cache_block *));
        group.held_max = most;
    }
    sombra_err err = SOMBRA_OK;
    for (size_t first = 0; !err && first < count; first += group.count) {
        group.count = size_min(count - first, GROUP_KEYS);
        for (size_t k = 0; !err && k < group.count; k++) {
            group.wanted[k] = (struct wanted){ .key = keys[first + k], .lookup = LOOKUP_ABSENT };
            err = kv_check_key(keys[first + k]);
        }
        if (!err)
            err = group_find(&group);
        if (!err)
            err = group_give(&group, first, each, context);
        group_release(&group);
    }
    if (group.held != group.held_few)
        mem_free(group.held);
    return err;
}
