/* SPDX-License-Identifier: MIT */
/* version: counting, finding, and the next version of one and an edit.
 *
 * A version is one block of memory: the struct, its runs, the pointers to the tables of all runs
 * one behind the other, and those to the open ones that it holds. An edit merges the old version's
 * tables, which are in order, with the few that it adds, sorted first: O(tables) with a binary
 * search among the edit's numbers each.
 *
 * Edits come from the manifest too, so all that may be wrong with one is CORRUPT and no assert.
 */
#include "lsm/version.h"

#include <assert.h>
#include <stdlib.h>

enum { HELD_TABLES_MAX = 64 }; /* of a version that keeps its tables open */

/* ---- tables ------------------------------------------------------------------------------- */

static void table_ref_shared(struct version_table *table)
{
    uint32_t before = atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    assert(before > 0 && before < UINT32_MAX);
    (void)before;
}

static void table_release(struct version_table *table)
{
    uint32_t before = atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    table_cache_forget(table);
    if (atomic_load_explicit(&table->is_obsolete, memory_order_acquire))
        table_cache_tell_obsolete(table);
    mem_free(table);
}

static sombra_err table_new(struct table_cache *cache, const struct table_meta *meta,
                            struct version_table **out_table)
{
    size_t bytes = sizeof(struct version_table) + meta->low.bytes + meta->end.bytes;
    struct version_table *table = mem_zalloc(bytes);
    if (!table)
        return diag_nomem("table of a version", bytes);
    uint8_t *keys = (uint8_t *)(table + 1);
    table->meta = *meta;
    table->cache = cache;
    atomic_init(&table->refs, 1);
    if (meta->low.bytes)
        memcpy(keys, meta->low.data, meta->low.bytes);
    memcpy(keys + meta->low.bytes, meta->end.data, meta->end.bytes);
    table->meta.low = slice_of(keys, meta->low.bytes);
    table->meta.end = slice_of(keys + meta->low.bytes, meta->end.bytes);
    *out_table = table;
    return SOMBRA_OK;
}

/* ---- versions ----------------------------------------------------------------------------- */

static sombra_err version_new(uint64_t number, size_t runs_max, size_t tables_max,
                              struct version **out_version)
{
    size_t bytes = sizeof(struct version) + runs_max * sizeof(struct version_run) +
                   tables_max * (sizeof(struct version_table *) + sizeof(struct table *));
    struct version *version = mem_zalloc(bytes);
    if (!version)
        return diag_nomem("version", bytes);
    atomic_init(&version->refs, 1);
    version->number = number;
    version->runs = (struct version_run *)(void *)(version + 1);
    *out_version = version;
    return SOMBRA_OK;
}

sombra_err version_empty(struct table_cache *cache, uint64_t number, struct version **out_version)
{
    assert(cache && out_version);
    (void)cache;
    return version_new(number, 0, 0, out_version);
}

void version_ref(struct version *version)
{
    uint32_t before = atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
    assert(before > 0 && before < UINT32_MAX);
    (void)before;
}

void version_unref(struct version *version)
{
    if (!version)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        for (size_t k = 0; k < run->count; k++) {
            if (run->held)
                table_unref(atomic_load_explicit(&run->held[k], memory_order_relaxed));
            table_release(run->tables[k]);
        }
    }
    mem_free(version);
}

/* ---- find --------------------------------------------------------------------------------- */

size_t version_run_find(const struct version_run *run, sombra_slice key)
{
    size_t low = 0, high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(run->tables[middle]->meta.end, key) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    assert(low <= run->count);
    return low;
}

bool version_find(const struct version *version, uint64_t number, struct version_table **out_table,
                  unsigned *out_level)
{
    assert(version);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        for (size_t k = 0; k < run->count; k++) {
            if (run->tables[k]->meta.number != number)
                continue;
            if (out_table)
                *out_table = run->tables[k];
            if (out_level)
                *out_level = run->level;
            return true;
        }
    }
    return false;
}

void version_levels(const struct version *version, struct kv_level_stats level[KV_LEVELS_MAX])
{
    static_assert((int)LSM_LEVELS <= (int)KV_LEVELS_MAX, "stats have room for every level");
    assert(version && level);
    memset(level, 0, KV_LEVELS_MAX * sizeof *level);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        struct kv_level_stats *stats = &level[run->level];
        stats->runs++;
        stats->tables += run->count;
        stats->bytes += run->bytes;
        for (size_t k = 0; k < run->count; k++) {
            stats->entries += run->tables[k]->meta.entries;
            stats->deletes += run->tables[k]->meta.deletes;
        }
    }
}

/* ---- an edit, checked and in order --------------------------------------------------------- */

/* A number of the edit; sorted by it. */
struct change {
    uint64_t number;
    bool is_seen; /* of a removed one: the old version has it */
};

/* A table of the next version and its place; sorted by place. */
struct placed {
    unsigned level;
    uint64_t run;
    struct version_table *table; /* referenced once set */
    const struct table_meta *meta;
};

struct apply {
    struct table_cache *cache;
    struct version *next;
    struct version_table **tables; /* the next version's, filled one by one */
    _Atomic(struct table *) *held; /* its room for open ones, or NULL */
    struct change *removed;
    size_t removed_count;
    struct change *added;
    struct placed *placed; /* of the edit */
    size_t added_count;
};

static int change_order(const void *a, const void *b)
{
    uint64_t x = ((const struct change *)a)->number, y = ((const struct change *)b)->number;
    return (x > y) - (x < y);
}

/* Newest run first, keys ascending in it. */
static int place_order(unsigned level, uint64_t run, sombra_slice low, const struct placed *other)
{
    if (level != other->level)
        return level < other->level ? -1 : 1;
    if (run != other->run)
        return run > other->run ? -1 : 1;
    return slice_compare(low, other->meta->low);
}

static int placed_order(const void *a, const void *b)
{
    const struct placed *x = a;
    return place_order(x->level, x->run, x->meta->low, b);
}

static struct change *change_find(struct change *changes, size_t count, uint64_t number)
{
    struct change key = { .number = number };
    if (count == 0 || number < changes[0].number || number > changes[count - 1].number)
        return NULL; /* nearly always */
    return bsearch(&key, changes, count, sizeof key, change_order);
}

static sombra_err changes_sort(struct change *changes, size_t count, const char *what)
{
    if (count > 1)
        qsort(changes, count, sizeof *changes, change_order);
    for (size_t i = 1; i < count; i++)
        if (changes[i - 1].number == changes[i].number)
            return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " is %s twice by one edit",
                             changes[i].number, what);
    return SOMBRA_OK;
}

static sombra_err check_added(const struct edit_table *added)
{
    const struct table_meta *meta = &added->meta;
    if (added->level >= LSM_LEVELS || (added->level > 0 && added->run != 0))
        return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " in run %" PRIu64 " of level %u",
                         meta->number, added->run, added->level);
    if (meta->number == 0 || meta->file_bytes == 0 || meta->deletes > meta->entries)
        return diag_fail(SOMBRA_CORRUPT,
                         "table %06" PRIu64 " of %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64
                         " entries deleted",
                         meta->number, meta->file_bytes, meta->deletes, meta->entries);
    if (slice_compare(meta->low, meta->end) >= 0)
        return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " ends before it begins", meta->number);
    return SOMBRA_OK;
}

static bool meta_equal(const struct table_meta *a, const struct table_meta *b)
{
    return a->number == b->number && a->file_bytes == b->file_bytes && a->entries == b->entries &&
           a->deletes == b->deletes && a->range_count == b->range_count &&
           a->seq_max == b->seq_max && slice_equal(a->low, b->low) && slice_equal(a->end, b->end);
}

static sombra_err apply_init(struct apply *apply, const struct edit *edit)
{
    size_t counts = edit->removed_count + edit->added_count;
    size_t bytes = counts * sizeof(struct change) + edit->added_count * sizeof(struct placed);
    uint8_t *memory = mem_zalloc(bytes);
    if (!memory)
        return diag_nomem("edit", bytes);
    apply->placed = (struct placed *)(void *)memory;
    apply->removed = (struct change *)(void *)(apply->placed + edit->added_count);
    apply->removed_count = edit->removed_count;
    apply->added = apply->removed + edit->removed_count;
    apply->added_count = edit->added_count;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < edit->removed_count; i++)
        apply->removed[i].number = edit->removed[i];
    for (size_t i = 0; !err && i < edit->added_count; i++) {
        const struct edit_table *added = &edit->added[i];
        apply->added[i].number = added->meta.number;
        apply->placed[i] =
            (struct placed){ .level = added->level, .run = added->run, .meta = &added->meta };
        err = check_added(added);
    }
    if (!err)
        err = changes_sort(apply->removed, apply->removed_count, "removed");
    if (!err)
        err = changes_sort(apply->added, apply->added_count, "added");
    if (!err && apply->added_count > 1)
        qsort(apply->placed, apply->added_count, sizeof *apply->placed, placed_order);
    return err;
}

static void apply_release(struct apply *apply)
{
    for (size_t i = 0; i < apply->added_count; i++)
        if (apply->placed[i].table)
            table_release(apply->placed[i].table);
    version_unref(apply->next);
    mem_free(apply->placed); /* the block's beginning */
}

/* Table `number` is removed and added: the edit's entry takes it over. */
static sombra_err move_table(struct apply *apply, struct version_table *table)
{
    for (size_t i = 0; i < apply->added_count; i++) {
        struct placed *placed = &apply->placed[i];
        if (placed->meta->number != table->meta.number)
            continue;
        if (!meta_equal(placed->meta, &table->meta))
            return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " is moved and not the same",
                             table->meta.number);
        table_ref_shared(table);
        placed->table = table;
        return SOMBRA_OK;
    }
    assert(false); /* the number is among the added ones */
    return SOMBRA_OK;
}

/* Looks at every table of the old version: removed ones must be there, added ones must not. */
static sombra_err check_old(struct apply *apply, const struct version *old)
{
    size_t seen = 0;
    for (size_t i = 0; i < old->count; i++) {
        for (size_t k = 0; k < old->runs[i].count; k++) {
            struct version_table *table = old->runs[i].tables[k];
            uint64_t number = table->meta.number;
            struct change *removed = change_find(apply->removed, apply->removed_count, number);
            bool is_added = change_find(apply->added, apply->added_count, number) != NULL;
            if (is_added && !removed)
                return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " is added again", number);
            if (removed) {
                removed->is_seen = true;
                seen++;
            }
            sombra_err err = is_added ? move_table(apply, table) : SOMBRA_OK;
            if (err)
                return err;
        }
    }
    for (size_t i = 0; seen < apply->removed_count && i < apply->removed_count; i++)
        if (!apply->removed[i].is_seen)
            return diag_fail(SOMBRA_CORRUPT, "table %06" PRIu64 " is removed and was not there",
                             apply->removed[i].number);
    return SOMBRA_OK;
}

/* Puts `table` behind the others, taking over the reference on success. */
static sombra_err append_table(struct apply *apply, unsigned level, uint64_t run_number,
                               struct version_table *table)
{
    struct version *next = apply->next;
    struct version_run *run = next->count ? &next->runs[next->count - 1] : NULL;
    if (!run || run->level != level || run->number != run_number) {
        struct version_table **tables = run ? run->tables + run->count : apply->tables;
        run = &next->runs[next->count++];
        *run = (struct version_run){ .level = level, .number = run_number, .tables = tables };
        if (apply->held)
            run->held = apply->held + (tables - apply->tables);
    }
    const struct version_table *before = run->count ? run->tables[run->count - 1] : NULL;
    if (before && slice_compare(before->meta.end, table->meta.low) > 0)
        return diag_fail(SOMBRA_CORRUPT,
                         "tables %06" PRIu64 " and %06" PRIu64 " overlap in a run of level %u",
                         before->meta.number, table->meta.number, level);
    run->tables[run->count++] = table;
    run->bytes += table->meta.file_bytes;
    run->has_ranges |= table->meta.range_count > 0;
    return SOMBRA_OK;
}

static sombra_err append_added(struct apply *apply, struct placed *placed)
{
    sombra_err err = SOMBRA_OK;
    if (!placed->table)
        err = table_new(apply->cache, placed->meta, &placed->table);
    if (!err)
        err = append_table(apply, placed->level, placed->run, placed->table);
    if (!err)
        placed->table = NULL; /* the version's now */
    return err;
}

static sombra_err append_old(struct apply *apply, const struct version_run *run,
                             struct version_table *table)
{
    table_ref_shared(table);
    sombra_err err = append_table(apply, run->level, run->number, table);
    if (err)
        table_release(table);
    return err;
}

static sombra_err merge_tables(struct apply *apply, const struct version *old)
{
    size_t next = 0; /* of the added ones */
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < old->count; i++) {
        const struct version_run *run = &old->runs[i];
        for (size_t k = 0; !err && k < run->count; k++) {
            struct version_table *table = run->tables[k];
            if (change_find(apply->removed, apply->removed_count, table->meta.number))
                continue;
            while (!err && next < apply->added_count &&
                   place_order(run->level, run->number, table->meta.low, &apply->placed[next]) > 0)
                err = append_added(apply, &apply->placed[next++]);
            if (!err)
                err = append_old(apply, run, table);
        }
    }
    while (!err && next < apply->added_count)
        err = append_added(apply, &apply->placed[next++]);
    return err;
}

static size_t table_count(const struct version *version)
{
    size_t count = 0;
    for (size_t i = 0; i < version->count; i++)
        count += version->runs[i].count;
    return count;
}

sombra_err version_apply(const struct version *old, struct table_cache *cache,
                         const struct edit *edit, struct version **out_version)
{
    assert(old && cache && edit && out_version);
    assert(old->number < UINT64_MAX);
    struct apply apply = { .cache = cache };
    size_t runs_max = old->count + edit->added_count;
    size_t tables_max = table_count(old) + edit->added_count;
    sombra_err err = apply_init(&apply, edit);
    if (!err)
        err = check_old(&apply, old);
    if (!err)
        err = version_new(old->number + 1, runs_max, tables_max, &apply.next);
    if (!err) {
        apply.tables = (struct version_table **)(void *)(apply.next->runs + runs_max);
        if (tables_max <= size_min(HELD_TABLES_MAX, table_cache_open_max(cache) / 2))
            apply.held = (_Atomic(struct table *) *)(void *)(apply.tables + tables_max);
        err = merge_tables(&apply, old);
    }
    if (!err) {
        *out_version = apply.next;
        apply.next = NULL;
    }
    apply_release(&apply);
    return err;
}
