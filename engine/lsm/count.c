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

/* ---- what is hidden ---------------------------------------------------------------------- */

/* What newer sources hide of the range does not count in older ones: those are asked for the gaps
 * between. The first HIDDEN_MAX hidden ranges are known, others are estimated as if they were
 * there. */
enum { HIDDEN_MAX = 32 };
struct older {
    struct kv_range range;
    struct range_set hidden;
    unsigned known;
};

/* Adds [low, end), as far as it lies in the range. False in *out_goes_on: what comes behind does
 * not, or enough is known. */
static sombra_err hidden_add(struct older *older, sombra_slice low, sombra_slice end,
                             bool *out_goes_on)
{
    struct kv_range range = older->range;
    bool is_behind = range.high.bytes && slice_compare(low, range.high) >= 0;
    bool is_last = is_behind || (range.high.bytes && slice_compare(end, range.high) >= 0);
    *out_goes_on = !is_last && ++older->known < HIDDEN_MAX;
    if (is_behind)
        return SOMBRA_OK;
    return range_set_add(&older->hidden, slice_max(low, range.low), is_last ? range.high : end);
}

static sombra_err memtable_hides_too(struct memtable *memtable, uint64_t seq, struct older *older)
{
    sombra_slice from = older->range.low, low, end;
    bool goes_on = memtable_has_ranges(memtable) && older->known < HIDDEN_MAX;
    sombra_err err = SOMBRA_OK;
    while (!err && goes_on && memtable_next_range(memtable, seq, from, &low, &end)) {
        err = hidden_add(older, low, end, &goes_on);
        from = end;
    }
    return err;
}

static sombra_err table_hides_too(struct version_table *table, struct older *older)
{
    sombra_slice from = older->range.low, low, end;
    struct table *open;
    bool goes_on = older->known < HIDDEN_MAX;
    sombra_err err = version_table_open(table, &open);
    if (err)
        return err;
    while (!err && goes_on && table_next_range(open, from, &low, &end)) {
        err = hidden_add(older, low, end, &goes_on);
        from = end;
    }
    table_unref(open);
    return err;
}

static sombra_err run_hides_too(const struct version_run *run, struct older *older)
{
    size_t first = 0, end = 0;
    sombra_err err = SOMBRA_OK;
    lsm_run_overlap(run, older->range, &first, &end);
    for (; !err && first < end; first++)
        if (run->tables[first]->meta.range_count > 0)
            err = table_hides_too(run->tables[first], older);
    return err;
}

/* The gap before hidden range `index`, or behind the last one; false: there is none. */
static bool older_gap(const struct older *older, size_t index, struct kv_range *out)
{
    const struct range_set *hidden = &older->hidden;
    out->low = index > 0 ? hidden->ranges[index - 1].high : older->range.low;
    out->high = index < hidden->count ? hidden->ranges[index].low : older->range.high;
    return index < hidden->count ? slice_compare(out->low, out->high) < 0
                                 : !lsm_range_is_empty(*out);
}

static void memtable_entries_add(const struct memtable *memtable, const struct older *older,
                                 struct estimate *estimate)
{
    struct kv_range gap;
    uint64_t entries = 0;
    for (size_t i = 0; i <= older->hidden.count; i++)
        if (older_gap(older, i, &gap))
            entries += memtable_estimate(memtable, gap.low, gap.high);
    estimate->entries += u64_min(entries, memtable_entries(memtable));
}

static sombra_err run_entries_add(const struct version_run *run, const struct older *older,
                                  struct estimate *estimate)
{
    struct kv_range gap;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i <= older->hidden.count; i++)
        if (older_gap(older, i, &gap))
            err = run_estimate(run, gap, estimate);
    return err;
}

/* From the newest source to the oldest. */
static sombra_err sources_estimate(const struct lsm_txn *txn, struct older *older,
                                   struct estimate *estimate)
{
    const struct view *view = txn->view;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < view->count; i++) {
        memtable_entries_add(view->memtables[i], older, estimate);
        err = memtable_hides_too(view->memtables[i], txn->seq, older);
    }
    for (size_t i = 0; !err && i < view->version->count; i++) {
        err = run_entries_add(&view->version->runs[i], older, estimate);
        if (!err)
            err = run_hides_too(&view->version->runs[i], older);
    }
    return err;
}

sombra_err lsm_estimate(struct kv_txn *kv_txn, struct kv_range range, uint64_t *out_count)
{
    struct lsm_txn *txn = lsm_txn_of(kv_txn);
    struct estimate estimate = { .entries = 0 };
    struct older older = { .range = range, .hidden = RANGE_SET_INIT };
    uint64_t count = 0;
    if (lsm_txn_is_unusable(txn))
        return lsm_txn_refuse(txn);
    if (lsm_range_is_empty(range)) {
        *out_count = 0;
        return SOMBRA_OK;
    }
    sombra_err err = sources_estimate(txn, &older, &estimate);
    range_set_release(&older.hidden);
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
