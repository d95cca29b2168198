/* SPDX-License-Identifier: MIT */
/* What a transaction sees of a range: a merge of the memtables of its view and of the tables that
 * overlap the range. Tables whose prefix filter says that they have nothing of it are left out.
 */
#include "lsm_internal.h"

/* Sources as they are opened, newest first. */
struct opening {
    struct lsm_txn *txn;
    struct kv_range range;
    sombra_slice prefix; /* of all keys in the range, by the store's extractor; empty = none */
    struct source **sources;
    size_t count;
    size_t hiding;    /* sources from this one on hide nothing */
    bool has_deletes; /* maybe */
    bool is_trusted;  /* no filter is asked: the last lookups found what they sought */
};

void lsm_run_overlap(const struct version_run *run, struct kv_range range, size_t *out_first,
                     size_t *out_end)
{
    size_t first = range.low.bytes ? version_run_find(run, range.low) : 0, end = run->count;
    if (range.high.bytes && first < run->count &&
        slice_compare(range.high, run->tables[first]->meta.end) <= 0) {
        end = first + (slice_compare(run->tables[first]->meta.low, range.high) < 0);
    } else if (range.high.bytes) {
        end = version_run_find(run, range.high);
        if (end < run->count && slice_compare(run->tables[end]->meta.low, range.high) < 0)
            end++;
    }
    *out_first = first;
    *out_end = size_max(first, end);
}

/* Of all keys of the range, if they have one in common. */
static sombra_slice range_prefix(const struct lsm *lsm, struct kv_range range)
{
    const sombra_slice none = slice_of(NULL, 0);
    if (!lsm->options.prefix.bytes || range.low.bytes == 0)
        return none;
    sombra_slice prefix = slice_of(range.low.data, lsm->options.prefix.bytes(range.low));
    if (prefix.bytes == 0 || prefix.bytes > KV_KEY_BYTES_MAX)
        return none;
    assert(prefix.bytes <= range.low.bytes);
    uint8_t bytes[KV_KEY_BYTES_MAX];
    sombra_slice end = kv_prefix_end(prefix, bytes);
    if (end.bytes == 0) /* all 0xff: no key is behind those with it */
        return prefix;
    return range.high.bytes && slice_compare(range.high, end) <= 0 ? prefix : none;
}

static sombra_err table_is_wanted(const struct opening *opening, const struct version_run *run,
                                  size_t at, bool *out_is_wanted)
{
    *out_is_wanted = true;
    if (opening->prefix.bytes == 0 || opening->is_trusted || run->tables[at]->meta.range_count > 0)
        return SOMBRA_OK;
    struct table *open, *owned;
    sombra_err err = version_table_borrow(run, at, &open, &owned);
    if (err)
        return err;
    *out_is_wanted = table_may_have_prefix(open, opening->prefix);
    table_unref(owned);
    return SOMBRA_OK;
}

static sombra_err one_table(const struct version_run *run, size_t at, struct source **out_source)
{
    struct table *open, *owned;
    sombra_err err = version_table_borrow(run, at, &open, &owned);
    if (err)
        return err;
    err = table_source(open, true, out_source);
    table_unref(owned);
    return err;
}

static sombra_err run_add(struct opening *opening, const struct version_run *run)
{
    size_t first, end;
    lsm_run_overlap(run, opening->range, &first, &end);
    bool is_wanted = false;
    sombra_err err = SOMBRA_OK;
    for (; !err && first < end; first++) {
        err = table_is_wanted(opening, run, first, &is_wanted);
        if (err || is_wanted)
            break;
    }
    for (is_wanted = false; !err && first + 1 < end; end--) {
        err = table_is_wanted(opening, run, end - 1, &is_wanted);
        if (err || is_wanted)
            break;
    }
    if (err || first == end)
        return err;
    struct source **to = &opening->sources[opening->count];
    err = end - first == 1 ? one_table(run, first, to)
                           : version_tables_source(run->tables + first, end - first, true, to);
    if (err)
        return err;
    if (opening->sources[opening->count++]->ops->hides)
        opening->hiding = opening->count;
    for (; first < end && !opening->has_deletes; first++)
        opening->has_deletes = run->tables[first]->meta.deletes > 0;
    return SOMBRA_OK;
}

static sombra_err memtables_add(struct opening *opening)
{
    const struct lsm_txn *txn = opening->txn;
    for (size_t i = 0; i < txn->view->count; i++) {
        struct memtable *memtable = txn->view->memtables[i];
        /* What others write into an empty one is newer than a reader's snapshot. */
        if (memtable_is_empty(memtable) && !(txn->txn.is_write && i == 0))
            continue;
        sombra_err err = memtable_source(memtable, txn->seq, &opening->sources[opening->count]);
        if (err)
            return err;
        opening->count++;
        opening->has_deletes = true;
        if (memtable_has_ranges(memtable))
            opening->hiding = opening->count;
    }
    return SOMBRA_OK;
}

sombra_err lsm_range_source(struct lsm_txn *txn, struct kv_range range, struct source **out_source)
{
    enum { USUAL = 24 };
    const struct version *version = txn->view->version;
    struct source *usual[USUAL];
    struct opening opening = { .txn = txn, .range = range, .sources = usual };
    assert(!lsm_range_is_empty(range));
    size_t most = txn->view->count + version->count;
    if (most > USUAL) {
        opening.sources = mem_alloc(most * sizeof(struct source *));
        if (!opening.sources)
            return diag_nomem("the sources of a range", most * sizeof(struct source *));
    }
    opening.is_trusted = lsm_has_one_run(txn) && lsm_is_trusted(txn);
    if (!opening.is_trusted)
        opening.prefix = range_prefix(lsm_of(txn->txn.kv), range);
    sombra_err err = memtables_add(&opening);
    for (size_t i = 0; !err && i < version->count; i++)
        err = run_add(&opening, &version->runs[i]);
    if (!err && opening.count == 1 && !opening.has_deletes) {
        *out_source = opening.sources[0];
    } else if (!err) {
        err = merge_open(opening.sources, opening.count, true, range, out_source);
        if (!err)
            merge_limit_hiding(*out_source, opening.hiding);
        if (!err)
            merge_count_deletes(*out_source, txn->txn.kv->metrics);
        if (!err && txn->txn.is_write)
            merge_follow_writes(*out_source);
    } else {
        for (size_t i = 0; i < opening.count; i++)
            source_close(opening.sources[i]);
    }
    if (opening.sources != usual)
        mem_free(opening.sources);
    return err;
}
