/* SPDX-License-Identifier: MIT */
#include "lsm_fake_table.h"

#include <stdio.h>
#include <time.h>

struct table {
    _Atomic uint32_t refs;
    uint64_t number;
};

static struct fake_file files[FAKE_FILES_MAX];
_Atomic uint64_t fake_open_now, fake_open_total, fake_dropped, fake_open_fail_at;
_Atomic uint64_t fake_open_limit = UINT64_MAX;

void fake_file_put(uint64_t number, struct fake_file file)
{
    assert_true(number < FAKE_FILES_MAX);
    free(files[number].keys);
    free(files[number].ranges);
    files[number] = file;
}

void fake_forget_all(void)
{
    for (uint64_t i = 0; i < FAKE_FILES_MAX; i++)
        fake_file_put(i, (struct fake_file){ .keys = NULL });
}

uint64_t fake_seed(void)
{
    const char *text = getenv("SOMBRA_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : hash_u64((uint64_t)time(NULL));
    printf("SOMBRA_SEED=%" PRIu64 "\n", seed);
    return seed;
}

struct edit_table fake_table(unsigned level, uint64_t run, uint64_t number,
                             const struct fake_key *low, const struct fake_key *end)
{
    return (struct edit_table){ .level = level,
                                .run = run,
                                .meta = { .number = number,
                                          .file_bytes = 100 + number,
                                          .entries = 10 + number % 7,
                                          .deletes = number % 5,
                                          .seq_max = number,
                                          .low = fake_slice(low),
                                          .end = fake_slice(end) } };
}

/* ---- table.h ------------------------------------------------------------------------------ */

sombra_err table_open(const struct table_context *context, const char *path,
                      const struct table_meta *meta, struct table **out_table)
{
    (void)context;
    const char *name = strrchr(path, '/');
    assert_non_null(name);
    uint64_t number = strtoull(name + 1, NULL, 10);
    if (fake_open_fail_at && atomic_fetch_sub(&fake_open_fail_at, 1) == 1)
        return diag_fail(SOMBRA_IO, "the fake fails");
    if (fake_open_now >= fake_open_limit)
        return diag_fail(SOMBRA_LIMIT, "the fake has too many files");
    struct table *table = mem_alloc(sizeof *table);
    if (!table)
        return diag_nomem("fake table", sizeof *table);
    if (meta && meta->number != number)
        abort();
    atomic_init(&table->refs, 1);
    table->number = number;
    fake_open_now++;
    fake_open_total++;
    *out_table = table;
    return SOMBRA_OK;
}

void table_ref(struct table *table)
{
    if (atomic_fetch_add(&table->refs, 1) == 0)
        abort();
}

void table_unref(struct table *table)
{
    if (!table || atomic_fetch_sub(&table->refs, 1) != 1)
        return;
    fake_open_now--;
    mem_free(table);
}

size_t table_memory_bytes(const struct table *table)
{
    return FAKE_MEMORY_BYTES + table->number;
}

bool table_hides(struct table *table, sombra_slice key, sombra_slice *out_low,
                 sombra_slice *out_end)
{
    const struct fake_file *file = &files[table->number];
    for (size_t i = 0; i < file->range_count; i++) {
        sombra_slice low = fake_slice(&file->ranges[2 * i]);
        sombra_slice end = fake_slice(&file->ranges[2 * i + 1]);
        if (slice_compare(low, key) <= 0 && slice_compare(key, end) < 0) {
            *out_low = low;
            *out_end = end;
            return true;
        }
    }
    return false;
}

struct fake_source {
    struct source source;
    struct fake_file file;
    struct fake_key copy[8]; /* what read gave: gone with the source */
    size_t at;
};

static sombra_err show(struct fake_source *fake, size_t at)
{
    fake->at = at;
    fake->source.is_valid = at < fake->file.count;
    if (fake->source.is_valid)
        fake->source.entry = (struct lsm_entry){ .key = fake_slice(&fake->file.keys[at]) };
    return SOMBRA_OK;
}

static size_t find(const struct fake_source *fake, sombra_slice key)
{
    size_t at = 0;
    while (at < fake->file.count && slice_compare(fake_slice(&fake->file.keys[at]), key) < 0)
        at++;
    return at;
}

static sombra_err fake_seek_ge(struct source *source, sombra_slice key)
{
    struct fake_source *fake = container_of(source, struct fake_source, source);
    return show(fake, find(fake, key));
}

static sombra_err fake_seek_lt(struct source *source, sombra_slice key)
{
    struct fake_source *fake = container_of(source, struct fake_source, source);
    return show(fake, (key.bytes ? find(fake, key) : fake->file.count) - 1);
}

static sombra_err fake_next(struct source *source)
{
    struct fake_source *fake = container_of(source, struct fake_source, source);
    assert_true(source->is_valid);
    return show(fake, fake->at + 1);
}

static sombra_err fake_previous(struct source *source)
{
    struct fake_source *fake = container_of(source, struct fake_source, source);
    assert_true(source->is_valid);
    return show(fake, fake->at - 1);
}

static sombra_err fake_read(struct source *source, sombra_slice before, struct lsm_entry *entries,
                            size_t capacity, size_t *out_count)
{
    struct fake_source *fake = container_of(source, struct fake_source, source);
    size_t count = 0;
    assert_true(source->is_valid);
    while (count < capacity && count < COUNT_OF(fake->copy) && source->is_valid &&
           (before.bytes == 0 || slice_compare(source->entry.key, before) < 0)) {
        fake->copy[count] = fake->file.keys[fake->at];
        entries[count] = (struct lsm_entry){ .key = fake_slice(&fake->copy[count]) };
        count++;
        (void)!show(fake, fake->at + 1);
    }
    *out_count = count;
    return SOMBRA_OK;
}

static void fake_close(struct source *source)
{
    mem_free(container_of(source, struct fake_source, source));
}

sombra_err table_source(struct table *table, bool fill_cache, struct source **out_source)
{
    static const struct source_ops ops = {
        .seek_ge = fake_seek_ge,
        .seek_lt = fake_seek_lt,
        .next = fake_next,
        .previous = fake_previous,
        .read = fake_read,
        .hides = NULL,
        .close = fake_close,
    };
    (void)fill_cache;
    struct fake_source *fake = mem_zalloc(sizeof *fake);
    if (!fake)
        return diag_nomem("fake source", sizeof *fake);
    fake->source.ops = &ops;
    fake->file = files[table->number];
    *out_source = &fake->source;
    return SOMBRA_OK;
}

/* ---- cache.h ------------------------------------------------------------------------------ */

void cache_drop_table(struct cache *cache, uint64_t table)
{
    (void)cache, (void)table;
    fake_dropped++;
}
