/* SPDX-License-Identifier: MIT */
/* version_source: the tables of a run as one source, each opened when the position reaches it.
 *
 * Tables that hide ranges are opened at once and stay so: whether a key is hidden may be asked
 * anywhere, and the answer cannot fail. Of the others one is open, and after a read that ended a
 * table that one too, until the next call: the entries given lie in it.
 */
#include "lsm/version.h"

#include <assert.h>

/* A table that hides ranges. */
struct hiding {
    struct version_table *slot;
    struct table *table;
};

struct run_source {
    struct source source;
    struct version_table *const *tables;
    size_t count;
    bool fill_cache;

    size_t at;                /* of the open one; anything while inner is NULL */
    struct table *table;      /* referenced */
    struct source *inner;     /* over it */
    struct table *last_table; /* what the last read gave lies here; NULL if in `table` */
    struct source *last_inner;

    size_t hiding_count;
    struct hiding hiding[]; /* in order */
};

static struct run_source *run_source_of(struct source *source)
{
    return container_of(source, struct run_source, source);
}

/* ---- which table -------------------------------------------------------------------------- */

static void last_release(struct run_source *run)
{
    source_close(run->last_inner);
    table_unref(run->last_table);
    run->last_inner = NULL;
    run->last_table = NULL;
}

static void inner_release(struct run_source *run)
{
    source_close(run->inner);
    table_unref(run->table);
    run->inner = NULL;
    run->table = NULL;
}

/* Makes table `at` the open one; keeps it if it is. */
static sombra_err enter(struct run_source *run, size_t at)
{
    assert(at < run->count);
    if (run->inner && run->at == at)
        return SOMBRA_OK;
    inner_release(run);
    sombra_err err = version_table_open(run->tables[at], &run->table);
    if (!err)
        err = table_source(run->table, run->fill_cache, &run->inner);
    if (err)
        inner_release(run);
    run->at = at;
    return err;
}

/* First table that ends behind `key`, or count. */
static size_t find_end(const struct run_source *run, sombra_slice key)
{
    struct version_run all = { .tables = (struct version_table **)(uintptr_t)run->tables,
                               .count = run->count };
    return version_run_find(&all, key);
}

/* How many tables begin before `key`. */
static size_t count_before(const struct run_source *run, sombra_slice key)
{
    size_t low = 0, high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(run->tables[middle]->meta.low, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- moving ------------------------------------------------------------------------------- */

/* Shows what the inner source stands on. On an error nothing is valid. */
static sombra_err settle(struct run_source *run, sombra_err err)
{
    run->source.is_valid = !err && run->inner && run->inner->is_valid;
    if (run->source.is_valid)
        run->source.entry = run->inner->entry;
    return err;
}

static const sombra_slice no_key = { .data = "", .bytes = 0 };

/* Tables may hold hidden ranges and no entry: goes on to the first that has one. */
static sombra_err forward_from(struct run_source *run, size_t at)
{
    sombra_err err = SOMBRA_OK;
    for (; !err && at < run->count; at++) {
        err = enter(run, at);
        if (!err)
            err = run->inner->ops->seek_ge(run->inner, no_key);
        if (!err && run->inner->is_valid)
            break;
    }
    return err;
}

static sombra_err backward_from(struct run_source *run, size_t end)
{
    sombra_err err = SOMBRA_OK;
    for (; !err && end > 0; end--) {
        err = enter(run, end - 1);
        if (!err)
            err = run->inner->ops->seek_lt(run->inner, no_key);
        if (!err && run->inner->is_valid)
            break;
    }
    return err;
}

static sombra_err run_seek_ge(struct source *source, sombra_slice key)
{
    struct run_source *run = run_source_of(source);
    size_t at = key.bytes ? find_end(run, key) : 0;
    source->is_valid = false;
    last_release(run);
    if (at == run->count)
        return SOMBRA_OK;
    sombra_err err = enter(run, at);
    if (!err)
        err = run->inner->ops->seek_ge(run->inner, key);
    if (!err && !run->inner->is_valid)
        err = forward_from(run, at + 1);
    return settle(run, err);
}

static sombra_err run_seek_lt(struct source *source, sombra_slice key)
{
    struct run_source *run = run_source_of(source);
    size_t end = key.bytes ? count_before(run, key) : run->count;
    source->is_valid = false;
    last_release(run);
    if (end == 0)
        return SOMBRA_OK;
    sombra_err err = enter(run, end - 1);
    if (!err)
        err = run->inner->ops->seek_lt(run->inner, key);
    if (!err && !run->inner->is_valid)
        err = backward_from(run, end - 1);
    return settle(run, err);
}

static sombra_err run_next(struct source *source)
{
    struct run_source *run = run_source_of(source);
    assert(source->is_valid && run->inner->is_valid);
    last_release(run);
    sombra_err err = run->inner->ops->next(run->inner);
    if (!err && !run->inner->is_valid)
        err = forward_from(run, run->at + 1);
    return settle(run, err);
}

static sombra_err run_previous(struct source *source)
{
    struct run_source *run = run_source_of(source);
    assert(source->is_valid && run->inner->is_valid);
    last_release(run);
    sombra_err err = run->inner->ops->previous(run->inner);
    if (!err && !run->inner->is_valid)
        err = backward_from(run, run->at);
    return settle(run, err);
}

static sombra_err run_read(struct source *source, sombra_slice before, struct lsm_entry *entries,
                           size_t capacity, size_t *out_count)
{
    struct run_source *run = run_source_of(source);
    assert(source->is_valid && run->inner->is_valid && capacity > 0);
    last_release(run);
    sombra_err err = run->inner->ops->read(run->inner, before, entries, capacity, out_count);
    if (!err && !run->inner->is_valid) {
        run->last_inner = run->inner;
        run->last_table = run->table;
        run->inner = NULL;
        run->table = NULL;
        err = forward_from(run, run->at + 1);
    }
    return settle(run, err);
}

static sombra_err run_words(struct source *source, sombra_slice before, struct kv_words *words)
{
    struct run_source *run = run_source_of(source);
    assert(source->is_valid && run->inner->is_valid);
    last_release(run);
    sombra_err err = run->inner->ops->words(run->inner, before, words);
    if (!err && !run->inner->is_valid)
        err = forward_from(run, run->at + 1);
    return settle(run, err);
}

/* ---- ranges ------------------------------------------------------------------------------- */

static bool run_hides(struct source *source, sombra_slice key, sombra_slice *out_low,
                      sombra_slice *out_end)
{
    struct run_source *run = run_source_of(source);
    size_t low = 0, high = run->hiding_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(run->hiding[middle].slot->meta.end, key) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == run->hiding_count || slice_compare(run->hiding[low].slot->meta.low, key) > 0)
        return false;
    return table_hides(run->hiding[low].table, key, out_low, out_end);
}

/* ---- lifecycle ---------------------------------------------------------------------------- */

static void run_close(struct source *source)
{
    struct run_source *run = run_source_of(source);
    last_release(run);
    inner_release(run);
    for (size_t i = 0; i < run->hiding_count; i++)
        table_unref(run->hiding[i].table);
    mem_free(run);
}

static const struct source_ops plain_ops = {
    .seek_ge = run_seek_ge,
    .seek_lt = run_seek_lt,
    .next = run_next,
    .previous = run_previous,
    .read = run_read,
    .words = run_words,
    .hides = NULL,
    .close = run_close,
};
static const struct source_ops hiding_ops = {
    .seek_ge = run_seek_ge,
    .seek_lt = run_seek_lt,
    .next = run_next,
    .previous = run_previous,
    .read = run_read,
    .words = run_words,
    .hides = run_hides,
    .close = run_close,
};

sombra_err version_tables_source(struct version_table *const *tables, size_t count, bool fill_cache,
                                 struct source **out_source)
{
    assert((tables || count == 0) && out_source);
    size_t hiding_count = 0;
    for (size_t i = 0; i < count; i++)
        hiding_count += tables[i]->meta.range_count > 0;
    size_t bytes = sizeof(struct run_source) + hiding_count * sizeof(struct hiding);
    struct run_source *run = mem_zalloc(bytes);
    if (!run)
        return diag_nomem("source of a run", bytes);
    run->source.ops = hiding_count ? &hiding_ops : &plain_ops;
    run->tables = tables;
    run->count = count;
    run->fill_cache = fill_cache;
    for (size_t i = 0; i < count; i++) {
        if (tables[i]->meta.range_count == 0)
            continue;
        struct hiding *hiding = &run->hiding[run->hiding_count];
        hiding->slot = tables[i];
        sombra_err err = version_table_open(tables[i], &hiding->table);
        if (err) {
            run_close(&run->source);
            return err;
        }
        run->hiding_count++;
    }
    assert(run->hiding_count == hiding_count);
    *out_source = &run->source;
    return SOMBRA_OK;
}

sombra_err version_run_source(const struct version_run *run, bool fill_cache,
                              struct source **out_source)
{
    assert(run);
    return version_tables_source(run->tables, run->count, fill_cache, out_source);
}
