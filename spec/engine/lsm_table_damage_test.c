/* SPDX-License-Identifier: MIT */
/* What a table gives when its file is damaged, cannot be read, or memory is out. */
#include "lsm_table_fixture.h"

struct world {
    struct os_sim *sim;
    struct os *os;
    struct cache *cache;
    struct table_model model;
    struct table_context context;
    uint64_t file_bytes;
};

static void world_open(struct world *world, enum codec_id codec, size_t count)
{
    struct random random;
    *world = (struct world){ .sim = os_sim_new(NULL) };
    world->os = os_sim_start(world->sim);
    random_seed(&random, seed_of_test() + count);
    model_fill(&world->model, &random, count, 3000, 8);
    const struct table_writer_options options = {
        .codec = codec, .block_bytes = KiB, .filter_bits = 10, .prefix = model_prefix, .mode = 0600
    };
    model_write(&world->model, world->os, "1.sst", &options, 1);
    assert_ok(cache_new(16 * MiB, NULL, &world->cache));
    world->context =
        (struct table_context){ .os = world->os, .cache = world->cache, .prefix = model_prefix };
    struct os_file *file = open_file(world->os, "1.sst", OS_READ);
    world->file_bytes = size_of(file);
    os_close(file);
}

static void world_close(struct world *world)
{
    cache_free(world->cache);
    model_release(&world->model);
    os_sim_free(world->sim);
}

/* INVALID: not what was written. */
static sombra_err compare(struct table *table, const struct lsm_entry *entry,
                          const struct item *item)
{
    struct buf large = BUF_INIT;
    sombra_slice value = entry->value;
    sombra_err err = SOMBRA_OK;
    if (entry->kind == ENTRY_LARGE) {
        err = table_read_large(table, entry->value, &large);
        value = buf_slice(&large);
    }
    if (!err && (!slice_equal(entry->key, item->key) || !slice_equal(value, item->value) ||
                 (entry->kind == ENTRY_DELETE) != item->is_delete))
        err = SOMBRA_INVALID;
    buf_release(&large);
    return err;
}

/* All entries both ways; what is given must be what was written. */
static sombra_err scan(struct world *world, struct table *table, bool fill_cache)
{
    struct source *source;
    size_t at = 0, count = world->model.count;
    sombra_err err = table_source(table, fill_cache, &source);
    if (err)
        return err;
    err = source->ops->seek_ge(source, slice_of(NULL, 0));
    while (!err && source->is_valid) {
        struct lsm_entry entries[5];
        size_t given = 0;
        err = source->ops->read(source, slice_of(NULL, 0), entries, 5, &given);
        for (size_t i = 0; i < given && !err; i++, at++) {
            assert_true(at < count);
            err = compare(table, &entries[i], &world->model.items[at]);
        }
    }
    if (!err && at != count)
        err = SOMBRA_INVALID;
    if (!err)
        err = source->ops->seek_lt(source, slice_of(NULL, 0));
    for (; !err && source->is_valid; at--) {
        if (!slice_equal(source->entry.key, world->model.items[at - 1].key))
            err = SOMBRA_INVALID;
        if (!err)
            err = source->ops->previous(source);
    }
    source_close(source);
    return err;
}

static sombra_err get_all(struct world *world, struct table *table)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < world->model.count && !err; i++) {
        const struct item *item = &world->model.items[i];
        enum lookup lookup = LOOKUP_ABSENT;
        struct table_value value = { .block = NULL };
        err =
            table_get(table, item->key, &(uint64_t){ table_key_hash(item->key) }, &lookup, &value);
        if (!err && lookup != (item->is_delete ? LOOKUP_DELETED : LOOKUP_FOUND))
            err = SOMBRA_INVALID;
        cache_release(world->cache, value.block);
    }
    return err;
}

static sombra_err use(struct world *world)
{
    struct table *table;
    sombra_err err = table_open(&world->context, "1.sst", NULL, &table);
    if (err)
        return err;
    err = get_all(world, table);
    if (!err)
        err = scan(world, table, false);
    if (!err)
        err = scan(world, table, true);
    table_unref(table);
    cache_drop_table(world->cache, 1);
    return err;
}

static sombra_err verify(struct world *world, uint64_t *out_problems)
{
    struct table *table;
    sombra_err err = table_open(&world->context, "1.sst", NULL, &table);
    if (err)
        return err;
    err = table_verify(table, NULL, NULL, out_problems);
    table_unref(table);
    return err;
}

struct salvaged {
    struct world *world;
    size_t at, count;
};

/* Only what was written, in order. */
static sombra_err take(void *context, const struct lsm_entry *entry, sombra_slice large_value)
{
    struct salvaged *salvaged = context;
    const struct table_model *model = &salvaged->world->model;
    size_t at = model_find(model, entry->key);
    assert_true(at >= salvaged->at && at < model->count);
    assert_true(slice_equal(model->items[at].key, entry->key));
    assert_int_equal(model->items[at].is_delete, entry->kind == ENTRY_DELETE);
    assert_true(slice_equal(entry->kind == ENTRY_LARGE ? large_value : entry->value,
                            model->items[at].value));
    salvaged->at = at + 1;
    salvaged->count++;
    return SOMBRA_OK;
}

static void check_every_flip(enum codec_id codec)
{
    struct world world;
    world_open(&world, codec, 60);
    assert_ok(use(&world));
    for (uint64_t at = 0; at < world.file_bytes; at++) {
        uint64_t problems = 0, lost = 0;
        struct salvaged salvaged = { .world = &world };
        assert_true(os_sim_flip(world.sim, "1.sst", at, (uint8_t)(1u << at % 8)));
        sombra_err err = use(&world);
        if (err != SOMBRA_CORRUPT)
            fail_msg("byte %" PRIu64 ": %s", at, sombra_err_name(err));
        assert_text_has("1.sst: ");
        if (at % 7 == 0) { /* these read the whole file each time */
            err = verify(&world, &problems);
            assert_true(err == SOMBRA_CORRUPT || (!err && problems > 0));
            assert_ok(table_salvage(&world.context, "1.sst", take, &salvaged, &lost));
            assert_true(salvaged.count + 30 > world.model.count); /* a block or two */
        }
        assert_true(os_sim_flip(world.sim, "1.sst", at, (uint8_t)(1u << at % 8)));
    }
    assert_ok(use(&world));
    world_close(&world);
}

static void test_table__every_flipped_byte_is_noticed(void **state)
{
    (void)state;
    check_every_flip(CODEC_NONE);
    check_every_flip(CODEC_ZLIB);
}

static void test_table__every_cut_is_noticed(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, CODEC_NONE, 60);
    struct os_file *file = open_file(world.os, "1.sst", OS_WRITE);
    for (uint64_t bytes = world.file_bytes; bytes-- > 0;) {
        struct salvaged salvaged = { .world = &world };
        uint64_t lost = 0;
        assert_ok(os_truncate(file, bytes));
        assert_fails(SOMBRA_CORRUPT, use(&world));
        if (bytes % 16 == 0)
            assert_ok(table_salvage(&world.context, "1.sst", take, &salvaged, &lost));
    }
    os_close(file);
    world_close(&world);
}

static void test_table__salvage_finds_the_blocks_behind_damage(void **state)
{
    struct world world;
    uint64_t lost = 0;
    struct salvaged salvaged = { .world = &world };
    (void)state;
    world_open(&world, CODEC_NONE, 600);
    for (uint64_t at = world.file_bytes / 3; at < world.file_bytes / 3 + 5000; at++)
        assert_true(os_sim_flip(world.sim, "1.sst", at, 0xff));
    for (uint64_t at = world.file_bytes - 300; at < world.file_bytes; at++)
        assert_true(os_sim_flip(world.sim, "1.sst", at, 0xff));
    assert_fails(SOMBRA_CORRUPT, use(&world));
    assert_ok(table_salvage(&world.context, "1.sst", take, &salvaged, &lost));
    assert_int_equal(lost, 2);
    assert_true(salvaged.at == world.model.count);
    assert_true(salvaged.count > world.model.count / 2 && salvaged.count < world.model.count);
    world_close(&world);
}

static void test_table__unreadable_bytes_are_an_io_failure(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, CODEC_NONE, 60);
    (void)mem_test_live();
    uint64_t live = 0;
    for (uint64_t at = 0; at < world.file_bytes; at += 37) {
        uint64_t lost = 0, problems = 0;
        struct salvaged salvaged = { .world = &world };
        assert_true(os_sim_break(world.sim, "1.sst", at, 1));
        assert_fails(SOMBRA_IO, use(&world));
        sombra_err err = verify(&world, &problems);
        assert_true(err == SOMBRA_IO || (!err && problems > 0));
        assert_ok(table_salvage(&world.context, "1.sst", take, &salvaged, &lost));
        assert_true(os_sim_break(world.sim, "1.sst", 0, 0));
        cache_drop_table(world.cache, 1);
        if (at > 0)
            assert_int_equal(mem_test_live(), live);
        live = mem_test_live();
    }
    assert_ok(use(&world));
    world_close(&world);
}

static void test_table__every_failed_allocation_is_survived(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, CODEC_ZLIB, 60);
    assert_ok(use(&world)); /* what threads keep for themselves is there from now on */
    uint64_t live = mem_test_live();
    bool is_over = false;
    for (uint64_t nth = 1; !is_over; nth++) {
        uint64_t problems = 0, lost = 0;
        struct salvaged salvaged = { .world = &world };
        uint64_t before = mem_test_allocations();
        mem_test_fail_at(nth, false);
        sombra_err err = use(&world);
        sombra_err err_verify = err ? err : verify(&world, &problems);
        sombra_err err_salvage =
            err_verify ? err_verify
                       : table_salvage(&world.context, "1.sst", take, &salvaged, &lost);
        is_over = err_salvage == SOMBRA_OK && mem_test_allocations() - before < nth;
        mem_test_fail_at(0, false);
        if (err_salvage && err_salvage != SOMBRA_NOMEM)
            fail_msg("allocation %" PRIu64 ": %s: %s", nth, sombra_err_name(err_salvage),
                     diag_text());
        cache_drop_table(world.cache, 1);
        assert_int_equal(mem_test_live(), live);
        if (nth > 20000)
            fail_msg("no end");
    }
    world_close(&world);
}

int main(void)
{
    (void)mem_test_live(); /* counting begins before the first block */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table__every_flipped_byte_is_noticed),
        cmocka_unit_test(test_table__every_cut_is_noticed),
        cmocka_unit_test(test_table__salvage_finds_the_blocks_behind_damage),
        cmocka_unit_test(test_table__unreadable_bytes_are_an_io_failure),
        cmocka_unit_test(test_table__every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
