/* SPDX-License-Identifier: MIT */
/* Counting. Entries of an lsm store are not counted where they lie, for a newer source may replace
 * or hide any of them: an exact count reads them, unless one run alone has the range. An estimate
 * adds up what indexes say.
 */
#include "lsm_internal.h"

enum {
    COUNT_ENTRIES = 128, /* read at once */
    ESTIMATE_EXACT = 64, /* ranges that have no more in any source are counted */
};

static sombra_slice slice_max(sombra_slice a, sombra_slice b)
{
    return slice_compare(a, b) < 0 ? b : a;
}

/* ---- count ------------------------------------------------------------------------------- */

/* Adds the puts of the source in the range, until *count is `limit` (0 = none). */
static sombra_err source_count(struct source *source, struct kv_range range, uint64_t limit,
                               uint64_t *count)
{
    struct lsm_entry entries[COUNT_ENTRIES];
    sombra_err err = source->ops->seek_ge(source, range.low);
    while (!err && source->is_valid && (limit == 0 || *count < limit)) {
        size_t capacity = COUNT_ENTRIES, got = 0;
        if (limit)
            capacity = (size_t)u64_min(capacity, limit - *count);
        err = source->ops->read(source, range.high, entries, capacity, &got);
        if (err || got == 0)
            break;
        for (size_t i = 0; i < got; i++)
            *count += entries[i].kind != ENTRY_DELETE;
    }
    return err;
}

static sombra_err range_count(struct lsm_txn *txn, struct kv_range range, uint64_t limit,
                              uint64_t *count)
{
    struct source *source;
    sombra_err err = lsm_range_source(txn, range, &source);
    if (err)
        return err;
    err = source_count(source, range, limit, count);
    source_close(source);
    return err;
}

/* The tables of the only run that has something in the range; *out_run = NULL if there are more, or
 * memtables. Its deletes and ranges have nothing left to hide. */
static void run_alone(const struct lsm_txn *txn, struct kv_range range,
                      const struct version_run **out_run, size_t *out_first, size_t *out_end)
{
    const struct version *version = txn->view->version;
    *out_run = NULL;
    for (size_t i = 0; i < txn->view->count; i++)
        if (!memtable_is_empty(txn->view->memtables[i]))
            return;
    const struct version_run *alone = NULL;
    for (size_t i = 0; i < version->count; i++) {
        size_t first, end;
        lsm_run_overlap(&version->runs[i], range, &first, &end);
        if (first == end)
            continue;
        if (alone)
            return;
        alone = &version->runs[i];
        *out_first = first;
        *out_end = end;
    }
    *out_run = alone;
}

/* A table of a run that is alone in the range. Tables that lie in it whole and have no deletes say
 * how many entries they have; the others are read. */
static sombra_err table_count(struct version_table *table, struct kv_range range, uint64_t limit,
                              uint64_t *count)
{
    const struct table_meta *meta = &table->meta;
    bool is_inside = slice_compare(range.low, meta->low) <= 0 &&
                     (range.high.bytes == 0 || slice_compare(meta->end, range.high) <= 0);
    if (is_inside && meta->deletes == 0) {
        *count += meta->entries;
        return SOMBRA_OK;
    }
    struct source *source;
    sombra_err err = version_tables_source(&table, 1, true, &source);
    if (err)
        return err;
    struct kv_range part = { slice_max(range.low, meta->low), range.high };
    err = source_count(source, part, limit, count);
    source_close(source);
    return err;
}

sombra_err lsm_count(struct kv_txn *kv_txn, struct kv_range range, uint64_t limit,
                     uint64_t *out_count)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    uint64_t count = 0;
    sombra_err err = SOMBRA_OK;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (lsm_range_is_empty(range)) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    const struct version_run *run;
    size_t first = 0, end = 0;
    run_alone(txn, range, &run, &first, &end);
    if (run)
        for (; !err && first < end && (limit == 0 || count < limit); first++)
            err = table_count(run->tables[first], range, limit, &count);
    else
        err = range_count(txn, range, limit, &count);
    if (err)
        return err;
    *out_count = limit ? u64_min(count, limit) : count;
    return SOMBRA_OK;
}

/* ---- estimate ---------------------------------------------------------------------------- */

struct estimate {
    uint64_t entries; /* of all sources, deletes and replaced ones too */
    uint64_t deletes; /* of these, about */
};

/* A table at a border of the range. */
static sombra_err table_estimate(struct version_table *table, struct kv_range range,
                                 struct estimate *estimate)
{
    const struct table_meta *meta = &table->meta;
    struct table *open;
    sombra_err err = version_table_open(table, &open);
    if (err)
        return err;
    bool has_low = slice_compare(range.low, meta->low) > 0;
    bool has_high = range.high.bytes && slice_compare(range.high, meta->end) < 0;
    uint64_t low = has_low ? table_rank(open, range.low) : 0;
    uint64_t high = has_high ? table_rank(open, range.high) : meta->entries;
    table_unref(open);
    uint64_t entries = high > low ? u64_min(high - low, meta->entries) : 0;
    estimate->entries += entries;
    if (meta->deletes)
        estimate->deletes +=
            (uint64_t)((double)meta->deletes * (double)entries / (double)meta->entries);
    return SOMBRA_OK;
}

static sombra_err run_estimate(const struct version_run *run, struct kv_range range,
                               struct estimate *estimate)
{
    size_t first = 0, end = 0;
    lsm_run_overlap(run, range, &first, &end);
    sombra_err err = SOMBRA_OK;
    for (size_t i = first; !err && i < end; i++) {
        const struct table_meta *meta = &run->tables[i]->meta;
        if (i == first || i + 1 == end) {
            err = table_estimate(run->tables[i], range, estimate);
            continue;
        }
        estimate->entries += meta->entries;
        estimate->deletes += meta->deletes;
    }
    return err;
}

/* What a source hides at the beginning of the range does not count in older ones: `low` moves
 * behind it. What is hidden further on is estimated as if it were there. */
struct older {
    struct kv_range range;
    struct buf low;  /* bytes of range.low, once it moved */
    bool is_nothing; /* all of it is hidden */
};

static sombra_err older_trim(struct older *older, struct source *source)
{
    static const uint8_t first_key[1] = { 0 };
    sombra_err err = SOMBRA_OK;
    while (!err && !older->is_nothing) {
        sombra_slice low = older->range.low, hidden_low, hidden_end;
        if (low.bytes == 0)
            low = slice_of(first_key, sizeof first_key);
        if (!source->ops->hides || !source->ops->hides(source, low, &hidden_low, &hidden_end))
            break;
        older->is_nothing =
            hidden_end.bytes == 0 ||
            (older->range.high.bytes && slice_compare(hidden_end, older->range.high) >= 0);
        err = buf_set(&older->low, hidden_end);
        if (!err)
            older->range.low = buf_slice(&older->low);
    }
    source_close(source);
    return err;
}

static sombra_err memtable_trim(struct memtable *memtable, uint64_t seq, struct older *older)
{
    struct source *source;
    if (LIKELY(!memtable_has_ranges(memtable)))
        return SOMBRA_OK;
    sombra_err err = memtable_source(memtable, seq, &source);
    return err ? err : older_trim(older, source);
}

static sombra_err run_trim(const struct version_run *run, struct older *older)
{
    size_t first = 0, end = 0;
    struct source *source;
    lsm_run_overlap(run, older->range, &first, &end);
    while (first < end && run->tables[first]->meta.range_count == 0)
        first++;
    if (first == end)
        return SOMBRA_OK;
    sombra_err err = version_tables_source(&run->tables[first], end - first, true, &source);
    return err ? err : older_trim(older, source);
}

/* From the newest source to the oldest. */
static sombra_err sources_estimate(const struct lsm_txn *txn, struct older *older,
                                   struct estimate *estimate)
{
    const struct view *view = txn->view;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && !older->is_nothing && i < view->count; i++) {
        struct memtable *memtable = view->memtables[i];
        estimate->entries +=
            u64_min(memtable_estimate(memtable, older->range.low, older->range.high),
                    memtable_entries(memtable));
        err = memtable_trim(memtable, txn->seq, older);
    }
    for (size_t i = 0; !err && !older->is_nothing && i < view->version->count; i++) {
        err = run_estimate(&view->version->runs[i], older->range, estimate);
        if (!err)
            err = run_trim(&view->version->runs[i], older);
    }
    return err;
}

sombra_err lsm_estimate(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_count)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    struct estimate estimate = { .entries = 0 };
    struct older older = { .range = range, .low = BUF_INIT };
    uint64_t count = 0;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (lsm_range_is_empty(range)) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    sombra_err err = sources_estimate(txn, &older, &estimate);
    buf_release(&older.low);
    if (err)
        return err;
    /* A delete is no entry, and most often takes one away. */
    if (estimate.entries > 2 * estimate.deletes)
        count = estimate.entries - 2 * estimate.deletes;
    if (estimate.entries <= ESTIMATE_EXACT) {
        count = 0;
        err = range_count(txn, range, 2 * ESTIMATE_EXACT, &count);
        if (err)
            return err;
    }
    *out_count = count;
    return SOMBRA_OK;
}
