/* SPDX-License-Identifier: MIT */
#include "lsm/table/table_format.h"
#include "lsm_table_fixture.h"

#include <stdio.h>

struct world {
    struct os_sim *sim;
    struct os *os;
    struct cache *cache;
    struct kv_metrics metrics;
    struct random random;
    struct table_model model;
    struct table_writer_options options;
    struct table_context context;
    struct table *table;
};

static void world_open(struct world *world, uint64_t seed, size_t count, size_t value_bytes_max)
{
    static const enum codec_id codecs[] = { CODEC_NONE, CODEC_ZLIB, CODEC_LZ4, CODEC_ZSTD };
    *world = (struct world){ .sim = os_sim_new(NULL) };
    world->os = os_sim_start(world->sim);
    random_seed(&world->random, seed);
    assert_ok(cache_new(seed % 3 ? 16 * MiB : 20 * KiB, &world->metrics, &world->cache));
    size_t ranges = count == 0 || random_below(&world->random, 2) ? 16 : 0; /* not without both */
    model_fill(&world->model, &world->random, count, value_bytes_max, ranges);
    world->options = (struct table_writer_options){
        .codec = codecs[seed % COUNT_OF(codecs)],
        .block_bytes = KiB << random_below(&world->random, 5),
        .filter_bits = random_below(&world->random, 4) ? 10 : 0,
        .mode = 0600,
    };
    if (!codec_is_there(world->options.codec))
        world->options.codec = CODEC_ZLIB;
    if (random_below(&world->random, 2))
        world->options.prefix = model_prefix;
    model_write(&world->model, world->os, "1.sst", &world->options, 1);
    world->context = (struct table_context){
        .os = world->os,
        .cache = world->cache,
        .metrics = &world->metrics,
        .prefix = model_prefix,
    };
    assert_ok(table_open(&world->context, "1.sst", NULL, &world->table));
}

static void world_close(struct world *world)
{
    table_unref(world->table);
    cache_free(world->cache);
    model_release(&world->model);
    os_sim_free(world->sim);
}

/* ---- lookups ----------------------------------------------------------------------------- */

static void check_get(struct world *world, struct table *table, sombra_slice key)
{
    const struct table_model *model = &world->model;
    size_t at = model_find(model, key);
    const struct item *item =
        at < model->count && slice_equal(model->items[at].key, key) ? &model->items[at] : NULL;
    enum lookup lookup = LOOKUP_ABSENT;
    struct table_value value = { .block = NULL };
    assert_ok(table_get(table, key, &(uint64_t){ table_key_hash(key) }, &lookup, &value));
    if (!item || item->is_delete) {
        assert_int_equal(lookup, item ? LOOKUP_DELETED : LOOKUP_ABSENT);
        return;
    }
    assert_int_equal(lookup, LOOKUP_FOUND);
    assert_true(entry_is(table,
                         &(struct lsm_entry){ .key = key,
                                              .value = value.value,
                                              .kind = value.is_large ? ENTRY_LARGE : ENTRY_PUT,
                                              .table = table },
                         item));
    cache_release(world->cache, value.block);
}

static void check_hides(struct world *world, struct table *table, sombra_slice key)
{
    const struct table_model *model = &world->model;
    sombra_slice low, end;
    for (size_t i = 0; i < model->range_count; i++)
        if (slice_compare(key, model->ranges[i].low) >= 0 &&
            slice_compare(key, model->ranges[i].high) < 0) {
            assert_true(table_hides(table, key, &low, &end));
            assert_true(slice_equal(low, model->ranges[i].low));
            assert_true(slice_equal(end, model->ranges[i].high));
            return;
        }
    assert_false(table_hides(table, key, &low, &end));
}

static void check_lookups(struct world *world, struct table *table)
{
    const struct table_model *model = &world->model;
    uint64_t block = 0; /* entries of the largest block, at most */
    for (size_t i = 0; i < model->count; i++)
        check_get(world, table, model->items[i].key);
    for (size_t i = 0; i < 500; i++) {
        sombra_slice key = random_key(model, &world->random);
        check_get(world, table, key);
        check_hides(world, table, key);
        size_t at = model_find(model, key);
        uint64_t rank = table_rank(table, key);
        block = world->options.block_bytes / 3 + 1;
        assert_true(rank <= at + block && at <= rank + block);
        if (key.bytes >= MODEL_PREFIX_BYTES) {
            sombra_slice prefix = slice_of(key.data, MODEL_PREFIX_BYTES);
            size_t first = model_find(model, prefix);
            if (first < model->count && slice_has_prefix(model->items[first].key, prefix))
                assert_true(table_may_have_prefix(table, prefix));
        }
    }
    assert_int_equal(table_rank(table, slice_of(NULL, 0)), model->count);
}

/* ---- scans ------------------------------------------------------------------------------- */

/* The source stands at item `at` (count = nowhere). */
static void check_position(struct world *world, struct table *table, const struct source *source,
                           size_t at)
{
    assert_int_equal(source->is_valid, at < world->model.count);
    if (source->is_valid)
        assert_true(entry_is(table, &source->entry, &world->model.items[at]));
}

static size_t check_read(struct world *world, struct table *table, struct source *source, size_t at)
{
    struct lsm_entry entries[40];
    size_t count = 0, capacity = 1 + (size_t)random_below(&world->random, COUNT_OF(entries));
    sombra_slice before = slice_of(NULL, 0);
    size_t end = world->model.count;
    if (random_below(&world->random, 2)) {
        before = random_key(&world->model, &world->random);
        end = model_find(&world->model, before);
    }
    assert_ok(source->ops->read(source, before, entries, capacity, &count));
    assert_true(count <= capacity);
    assert_true(at < end ? count >= 1 : count == 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(at + i < end);
        assert_true(entry_is(table, &entries[i], &world->model.items[at + i]));
    }
    return at + count;
}

static void check_walk(struct world *world, struct table *table, bool fill_cache)
{
    const struct table_model *model = &world->model;
    struct source *source;
    size_t at = model->count;
    assert_ok(table_source(table, fill_cache, &source));
    assert_false(source->is_valid);
    for (size_t step = 0; step < 3000; step++) {
        uint64_t what = random_below(&world->random, source->is_valid ? 40 : 2);
        sombra_slice key = random_below(&world->random, 10) ? random_key(model, &world->random)
                                                            : slice_of(NULL, 0);
        if (what == 0) {
            assert_ok(source->ops->seek_ge(source, key));
            at = model_find(model, key);
        } else if (what == 1) {
            assert_ok(source->ops->seek_lt(source, key));
            at = key.bytes ? model_find(model, key) : model->count;
            at = at > 0 ? at - 1 : model->count;
        } else if (what < 10) {
            at = check_read(world, table, source, at);
        } else if (what < 26) {
            assert_ok(source->ops->next(source));
            at++;
        } else {
            assert_ok(source->ops->previous(source));
            at = at > 0 ? at - 1 : model->count;
        }
        check_position(world, table, source, at);
    }
    source_close(source);
}

static void check_scans(struct world *world, struct table *table, bool fill_cache)
{
    size_t count = world->model.count, at = 0;
    struct source *source;
    assert_ok(table_source(table, fill_cache, &source));
    assert_ok(source->ops->seek_ge(source, slice_of(NULL, 0)));
    for (; source->is_valid; at++) {
        check_position(world, table, source, at);
        assert_ok(source->ops->next(source));
    }
    assert_int_equal(at, count);
    assert_ok(source->ops->seek_lt(source, slice_of(NULL, 0)));
    for (; source->is_valid; at--) {
        check_position(world, table, source, at - 1);
        assert_ok(source->ops->previous(source));
    }
    assert_int_equal(at, 0);
    assert_ok(source->ops->seek_ge(source, slice_of(NULL, 0)));
    while (source->is_valid) {
        struct lsm_entry entries[7];
        size_t given = 0;
        assert_ok(source->ops->read(source, slice_of(NULL, 0), entries, 7, &given));
        for (size_t i = 0; i < given; i++)
            assert_true(entry_is(table, &entries[i], &world->model.items[at + i]));
        at += given;
    }
    assert_int_equal(at, count);
    source_close(source);
}

/* ---- copies, verify, salvage ------------------------------------------------------------- */

static void copy_table(struct world *world, struct table *from, const char *path, uint64_t number,
                       const struct table_writer_options *options)
{
    struct table_writer *writer;
    struct table_meta meta;
    struct source *source;
    assert_ok(table_writer_open(world->os, path, number, options, &writer));
    for (size_t i = 0; i < world->model.range_count; i++)
        assert_ok(
            table_writer_hide(writer, world->model.ranges[i].low, world->model.ranges[i].high));
    assert_ok(table_source(from, false, &source));
    assert_ok(source->ops->seek_ge(source, slice_of(NULL, 0)));
    while (source->is_valid) {
        struct lsm_entry entries[16];
        size_t count = 0;
        assert_ok(source->ops->read(source, slice_of(NULL, 0), entries, 16, &count));
        for (size_t i = 0; i < count; i++)
            assert_ok(table_writer_add(writer, &entries[i]));
    }
    source_close(source);
    assert_ok(table_writer_finish(writer, 78, &meta));
    table_writer_close(writer);
}

static void print_problem(void *context, const struct kv_problem *problem)
{
    (void)context;
    print_error("%s: %s\n", sombra_err_name(problem->code), problem->message);
}

struct salvaged {
    struct world *world;
    size_t at;
};

static sombra_err check_salvaged(void *context, const struct lsm_entry *entry,
                                 sombra_slice large_value)
{
    struct salvaged *salvaged = context;
    const struct item *item = &salvaged->world->model.items[salvaged->at++];
    assert_true(salvaged->at <= salvaged->world->model.count);
    assert_true(slice_equal(entry->key, item->key));
    assert_int_equal(entry->kind == ENTRY_DELETE, item->is_delete);
    assert_true(slice_equal(entry->kind == ENTRY_LARGE ? large_value : entry->value, item->value));
    return SOMBRA_OK;
}

static void check_whole(struct world *world, struct table *table, const char *path)
{
    uint64_t problems = 1, lost = 1;
    struct salvaged salvaged = { .world = world };
    assert_ok(table_verify(table, print_problem, NULL, &problems));
    assert_int_equal(problems, 0);
    assert_ok(table_salvage(&world->context, path, check_salvaged, &salvaged, &lost));
    assert_int_equal(lost, 0);
    assert_int_equal(salvaged.at, world->model.count);
}

static void test_table__equals_a_sorted_array(void **state)
{
    uint64_t seed = seed_of_test() * 1000;
    (void)state;
    for (uint64_t i = 0; i < 24; i++) {
        struct world world;
        struct table *copied;
        size_t count = i == 0 ? 0 : i < 6 ? (size_t)1 << (i - 1) : 1500;
        world_open(&world, seed + i, count, 1 + 12 * KiB);
        check_lookups(&world, world.table);
        check_scans(&world, world.table, true);
        check_scans(&world, world.table, false);
        if (count > 0) {
            check_walk(&world, world.table, true);
            check_walk(&world, world.table, false);
        }
        check_whole(&world, world.table, "1.sst");
        struct table_writer_options options = world.options;
        options.codec = CODEC_ZLIB;
        options.block_bytes = 16 * KiB;
        copy_table(&world, world.table, "2.sst", 2, &options);
        assert_ok(table_open(&world.context, "2.sst", NULL, &copied));
        check_lookups(&world, copied);
        check_scans(&world, copied, true);
        check_whole(&world, copied, "2.sst");
        table_unref(copied);
        world_close(&world);
    }
}

static void test_table__values_of_several_pieces_are_read_and_copied(void **state)
{
    struct world world;
    struct table *copied;
    (void)state;
    world_open(&world, seed_of_test() + 5, 60, 5 * MiB);
    check_scans(&world, world.table, true);
    check_whole(&world, world.table, "1.sst");
    copy_table(&world, world.table, "2.sst", 2, &world.options);
    assert_ok(table_open(&world.context, "2.sst", NULL, &copied));
    check_scans(&world, copied, false);
    check_whole(&world, copied, "2.sst");
    table_unref(copied);
    world_close(&world);
}

static void test_table__is_only_opened_as_the_one_that_is_known(void **state)
{
    struct world world;
    struct table *again;
    (void)state;
    world_open(&world, seed_of_test(), 100, 100);
    const struct table_meta meta = *table_meta(world.table);
    assert_int_equal(meta.number, 1);
    assert_int_equal(meta.seq_max, 77);
    assert_int_equal(meta.entries, world.model.count);
    assert_ok(table_open(&world.context, "1.sst", &meta, &again));
    table_unref(again);
    for (size_t i = 0; i < 8; i++) {
        struct table_meta other = meta;
        uint64_t *const fields[] = { &other.number,  &other.file_bytes,  &other.entries,
                                     &other.deletes, &other.range_count, &other.seq_max };
        if (i < COUNT_OF(fields))
            ++*fields[i];
        else if (i == 6)
            other.low = slice_str("other");
        else
            other.end = slice_str("other");
        assert_fails(SOMBRA_CORRUPT, table_open(&world.context, "1.sst", &other, &again));
        assert_text_has("1.sst");
    }
    assert_fails(SOMBRA_NOT_FOUND, table_open(&world.context, "3.sst", NULL, &again));
    world_close(&world);
}

static void test_table__filters_spare_blocks_and_are_counted(void **state)
{
    struct world world;
    uint64_t seed = 1;
    (void)state;
    for (;; seed++) { /* one with both filters */
        world_open(&world, seed, 1000, 60);
        if (world.options.filter_bits && world.options.prefix.bytes)
            break;
        world_close(&world);
    }
    enum lookup lookup;
    struct table_value value;
    for (uint32_t i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "b%u", i);
        assert_ok(table_get(world.table, slice_str(text),
                            &(uint64_t){ table_key_hash(slice_str(text)) }, &lookup, &value));
        assert_int_equal(lookup, LOOKUP_ABSENT);
    }
    assert_int_equal(kv_metrics_count(&world.metrics, KV_COUNTER_FILTER_CHECKS), 1000);
    uint64_t skips = kv_metrics_count(&world.metrics, KV_COUNTER_FILTER_SKIPS);
    assert_true(skips > 950);
    assert_int_equal(kv_metrics_count(&world.metrics, KV_COUNTER_FILTER_FALSE), 1000 - skips);
    assert_true(kv_metrics_count(&world.metrics, KV_COUNTER_CACHE_MISSES) <= 1000 - skips);
    assert_false(table_may_have_prefix(world.table, slice_str("zz"))); /* no key begins so */
    assert_int_equal(kv_metrics_count(&world.metrics, KV_COUNTER_PREFIX_SKIPS), 1);
    table_unref(world.table);
    world.context.prefix.name = "another";
    assert_ok(table_open(&world.context, "1.sst", NULL, &world.table));
    assert_true(table_may_have_prefix(world.table, slice_str("zz")));
    world_close(&world);
}

/* Entries given until the end or an error. */
static sombra_err scan(struct table *table, size_t *out_count)
{
    struct source *source;
    struct lsm_entry entries[100];
    size_t got;
    assert_ok(table_source(table, true, &source));
    sombra_err err = source->ops->seek_ge(source, slice_str(""));
    *out_count = 0;
    while (!err && source->is_valid) {
        err = source->ops->read(source, slice_str(""), entries, COUNT_OF(entries), &got);
        *out_count += got;
    }
    source_close(source);
    return err;
}

static void test_table__scans_read_several_blocks_at_once(void **state)
{
    struct world world;
    uint64_t seed = 1;
    size_t count;
    (void)state;
    do { /* with a cache that a scan's blocks take no large part of */
        world_open(&world, seed, 20000, 60);
        if (world.options.block_bytes == KiB && seed % 3)
            break;
        world_close(&world);
    } while (seed++ < 100);
    assert_ok(scan(world.table, &count));
    assert_int_equal(count, world.model.count);
    uint64_t reads = kv_metrics_count(&world.metrics, KV_COUNTER_CACHE_MISSES);
    uint64_t blocks = reads + kv_metrics_count(&world.metrics, KV_COUNTER_CACHE_HITS);
    assert_true(blocks > 200);
    assert_in_range(reads, 1, blocks / 8);
    assert_ok(scan(world.table, &count)); /* all are in the cache now */
    assert_int_equal(kv_metrics_count(&world.metrics, KV_COUNTER_CACHE_MISSES), reads);
    world_close(&world);
}

/* What is read along may be damaged: that is said to who comes there. */
static void test_table__damage_ahead_of_a_scan_is_found_where_it_is(void **state)
{
    struct world world;
    uint64_t seed = 1;
    size_t all, count, before = 0;
    (void)state;
    for (;; seed++) {
        world_open(&world, seed, 5000, 20);
        if (world.options.block_bytes == KiB && seed % 3)
            break;
        world_close(&world);
    }
    assert_ok(scan(world.table, &all));
    uint64_t file_bytes = table_meta(world.table)->file_bytes;
    for (uint64_t part = 1; part < 10; part++) {
        struct table_meta meta = *table_meta(world.table);
        struct os_file *file;
        struct table *table;
        uint8_t byte;
        uint64_t at = file_bytes / 2 * part / 10; /* the filters and the index stand at the end */
        assert_ok(os_open(world.os, "1.sst", OS_WRITE, 0, &file));
        assert_ok(os_read(file, at, &byte, 1));
        byte ^= 1;
        assert_ok(os_write(file, at, &byte, 1));
        cache_drop_table(world.cache, meta.number);
        assert_ok(table_open(&world.context, "1.sst", &meta, &table));
        assert_fails(SOMBRA_CORRUPT, scan(table, &count));
        assert_in_range(count, before, all - 1);
        before = count;
        table_unref(table);
        byte ^= 1;
        assert_ok(os_write(file, at, &byte, 1));
        os_close(file);
    }
    assert_true(before > all / 4);
    world_close(&world);
}

/* The most that a writer's blocks unpack to: long keys that differ in their last bytes only. A
 * reader, which bounds what it allocates, must take them. */
static void test_table__the_densest_blocks_are_read(void **state)
{
    enum { KEYS = 40000 };
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    const struct table_writer_options options = { .block_bytes = TABLE_BLOCK_BYTES_MAX };
    struct table_context context = { .os = os };
    struct table_writer *writer;
    struct table_meta meta;
    struct table *table;
    struct source *source;
    uint8_t key[KV_KEY_BYTES_MAX] = { 0 };
    (void)state;
    assert_ok(table_writer_open(os, "table", 1, &options, &writer));
    for (uint32_t i = 0; i < KEYS; i++) {
        put_be32(key + sizeof key - 4, i);
        assert_ok(table_writer_add(writer, &(struct lsm_entry){ .key = slice_of(key, sizeof key),
                                                                .value = slice_of(key, 1) }));
    }
    assert_ok(table_writer_finish(writer, 1, &meta));
    table_writer_close(writer);
    assert_ok(cache_new(64 * MiB, NULL, &context.cache));
    assert_ok(table_open(&context, "table", NULL, &table));
    assert_ok(table_source(table, true, &source));
    assert_ok(source->ops->seek_ge(source, slice_of(key, 0)));
    uint32_t count = 0;
    while (source->is_valid) {
        const uint8_t *at = source->entry.key.data;
        assert_int_equal(get_be32(at + sizeof key - 4), count++);
        assert_ok(source->ops->next(source));
    }
    assert_int_equal(count, KEYS);
    assert_in_range(cache_bytes(context.cache), 1, 64 * MiB);
    source_close(source);
    table_unref(table);
    cache_free(context.cache);
    os_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table__equals_a_sorted_array),
        cmocka_unit_test(test_table__values_of_several_pieces_are_read_and_copied),
        cmocka_unit_test(test_table__is_only_opened_as_the_one_that_is_known),
        cmocka_unit_test(test_table__filters_spare_blocks_and_are_counted),
        cmocka_unit_test(test_table__scans_read_several_blocks_at_once),
        cmocka_unit_test(test_table__damage_ahead_of_a_scan_is_found_where_it_is),
        cmocka_unit_test(test_table__the_densest_blocks_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
