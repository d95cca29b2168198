/* SPDX-License-Identifier: MIT */
/* Facts about merges, over sources that are arrays and overwrite their bytes as soon as they may.
 * What a merge must give is worked out key by key from the arrays. */
#include "kv_check.h"
#include "lsm/lsm_internal.h"

#include <stdlib.h>

enum { KEYS = 60, SOURCES_MAX = 12, RANGES_MAX = 3, CAPACITY_MAX = 20, VALUE_BYTES = 24 };

/* ---- sources over arrays ----------------------------------------------------------------- */

struct lent {
    struct lent *next;
    size_t bytes;
    uint8_t data[];
};

struct array {
    struct source source;
    struct world *world;
    unsigned age;        /* 0 = newest */
    unsigned keys[KEYS]; /* numbers, ascending */
    bool is_delete[KEYS];
    size_t count, at;               /* at = count: no position */
    unsigned ranges[RANGES_MAX][2]; /* key numbers, half-open; KEYS = behind all */
    size_t range_count;
    struct lent *lent;
};

struct world {
    struct random random;
    uint64_t calls, fail_at; /* the n-th call of any source fails; 0 = none */
    unsigned open;
    size_t count;
    struct array *arrays[SOURCES_MAX];
    uint8_t key_bytes[KEYS + 1][40]; /* one more: behind all */
    size_t key_sizes[KEYS + 1];
};

static sombra_slice key_of(const struct world *world, unsigned number)
{
    return slice_of(world->key_bytes[number], world->key_sizes[number]);
}

static sombra_slice value_of(unsigned number, unsigned age, uint8_t to[VALUE_BYTES])
{
    int bytes = snprintf((char *)to, VALUE_BYTES, "value %u of %u", number, age);
    return slice_of(to, (size_t)bytes);
}

/* Every call ends the life of what the source lent before. */
static void array_take_back(struct array *array)
{
    while (array->lent) {
        struct lent *lent = array->lent;
        array->lent = lent->next;
        memset(lent->data, 0xee, lent->bytes);
        free(lent);
    }
}

static sombra_slice array_lend(struct array *array, sombra_slice bytes)
{
    struct lent *lent = malloc(sizeof *lent + bytes.bytes);
    assert_non_null(lent);
    lent->bytes = bytes.bytes;
    lent->next = array->lent;
    array->lent = lent;
    if (bytes.bytes)
        memcpy(lent->data, bytes.data, bytes.bytes);
    return slice_of(lent->data, bytes.bytes);
}

static struct lsm_entry array_entry(struct array *array, size_t at)
{
    uint8_t value[VALUE_BYTES];
    unsigned number = array->keys[at];
    return (struct lsm_entry){
        .key = array_lend(array, key_of(array->world, number)),
        .value = array_lend(array, array->is_delete[at] ? slice_of(NULL, 0)
                                                        : value_of(number, array->age, value)),
        .kind = array->is_delete[at] ? ENTRY_DELETE : ENTRY_PUT,
    };
}

static sombra_err array_called(struct array *array)
{
    array_take_back(array);
    array->source.is_valid = false;
    if (++array->world->calls == array->world->fail_at)
        return diag_fail(SOMBRA_IO, "call %u fails as asked", (unsigned)array->world->calls);
    return SOMBRA_OK;
}

static sombra_err array_show(struct array *array, size_t at)
{
    array->at = at;
    array->source.is_valid = at < array->count;
    if (array->source.is_valid)
        array->source.entry = array_entry(array, at);
    return SOMBRA_OK;
}

static size_t array_find(const struct array *array, sombra_slice key)
{
    size_t at = 0;
    while (at < array->count && slice_compare(key_of(array->world, array->keys[at]), key) < 0)
        at++;
    return at;
}

static struct array *array_of(struct source *source)
{
    return container_of(source, struct array, source);
}

static sombra_err array_seek_ge(struct source *source, sombra_slice key)
{
    size_t at = array_find(array_of(source), key);
    sombra_err err = array_called(array_of(source));
    return err ? err : array_show(array_of(source), at);
}

static sombra_err array_seek_lt(struct source *source, sombra_slice key)
{
    struct array *array = array_of(source);
    size_t behind = key.bytes ? array_find(array, key) : array->count;
    sombra_err err = array_called(array);
    return err ? err : array_show(array, behind ? behind - 1 : array->count);
}

static sombra_err array_next(struct source *source)
{
    assert_true(source->is_valid);
    sombra_err err = array_called(array_of(source));
    return err ? err : array_show(array_of(source), array_of(source)->at + 1);
}

static sombra_err array_previous(struct source *source)
{
    struct array *array = array_of(source);
    assert_true(source->is_valid);
    sombra_err err = array_called(array);
    return err ? err : array_show(array, array->at ? array->at - 1 : array->count);
}

static sombra_err array_read(struct source *source, sombra_slice before, struct lsm_entry *entries,
                             size_t capacity, size_t *out_count)
{
    struct array *array = array_of(source);
    assert_true(source->is_valid);
    sombra_err err = array_called(array);
    if (err)
        return err;
    size_t end = before.bytes ? array_find(array, before) : array->count;
    size_t count = 0, most = 1 + random_below(&array->world->random, capacity);
    while (array->at + count < end && count < most) {
        entries[count] = array_entry(array, array->at + count);
        count++;
    }
    *out_count = count;
    return array_show(array, array->at + count);
}

static bool array_hides(struct source *source, sombra_slice key, sombra_slice *out_low,
                        sombra_slice *out_end)
{
    struct array *array = array_of(source);
    for (size_t i = 0; i < array->range_count; i++) {
        sombra_slice low = key_of(array->world, array->ranges[i][0]);
        sombra_slice end = key_of(array->world, array->ranges[i][1]);
        if (slice_compare(low, key) > 0 || slice_compare(key, end) >= 0)
            continue;
        *out_low = low;
        *out_end = end;
        return true;
    }
    return false;
}

static void array_close(struct source *source)
{
    struct array *array = array_of(source);
    array_take_back(array);
    array->world->open--;
    free(array);
}

static const struct source_ops array_ops = { .seek_ge = array_seek_ge,
                                             .seek_lt = array_seek_lt,
                                             .next = array_next,
                                             .previous = array_previous,
                                             .read = array_read,
                                             .close = array_close };
static const struct source_ops array_hiding_ops = { .seek_ge = array_seek_ge,
                                                    .seek_lt = array_seek_lt,
                                                    .next = array_next,
                                                    .previous = array_previous,
                                                    .read = array_read,
                                                    .hides = array_hides,
                                                    .close = array_close };

/* ---- worlds ------------------------------------------------------------------------------ */

/* Many keys are alike in their first eight bytes; some are the beginning of others. */
static void world_make_keys(struct world *world)
{
    for (unsigned i = 0; i <= KEYS; i++) {
        int bytes = snprintf((char *)world->key_bytes[i], sizeof world->key_bytes[i], "%s%02u%.*s",
                             i < 30 ? "alike in front " : "k", i / 2, i % 2 ? 3 : 0, "\1xy");
        world->key_sizes[i] = (size_t)bytes;
        if (i == 0)
            world->key_sizes[i] = 1;
        assert_true(i == 0 || slice_compare(key_of(world, i - 1), key_of(world, i)) < 0);
    }
}

static struct array *world_add(struct world *world, bool hides)
{
    struct array *array = calloc(1, sizeof *array);
    assert_non_null(array);
    array->source.ops = hides ? &array_hiding_ops : &array_ops;
    array->world = world;
    array->age = (unsigned)world->count;
    world->arrays[world->count++] = array;
    world->open++;
    return array;
}

static void world_fill(struct world *world, size_t sources, bool hides)
{
    struct random *random = &world->random;
    world->count = 0;
    for (size_t i = 0; i < sources; i++) {
        struct array *array = world_add(world, hides && random_below(random, 2));
        uint64_t of = 1 + random_below(random, 6), deletes = random_below(random, 4);
        unsigned from = (unsigned)random_below(random, KEYS);
        unsigned to = from + (unsigned)random_below(random, KEYS);
        for (unsigned key = 0; key < KEYS; key++) {
            bool is_inside = random_below(random, 3) ? true : key >= from && key < to;
            if (!is_inside || random_below(random, of))
                continue;
            array->is_delete[array->count] = random_below(random, 4) < deletes;
            array->keys[array->count++] = key;
        }
        unsigned end = 0;
        while (array->source.ops->hides && array->range_count < RANGES_MAX && end < KEYS) {
            unsigned low = end + (unsigned)random_below(random, KEYS - end);
            end = low + 1 + (unsigned)random_below(random, KEYS - low);
            array->ranges[array->range_count][0] = low;
            array->ranges[array->range_count++][1] = end;
        }
    }
}

/* What the merge must give, in order. */
struct model {
    struct {
        unsigned key, age;
        bool is_delete;
    } entries[KEYS];
    size_t count;
};

static void model_add(struct model *model, const struct world *world, unsigned key,
                      bool drops_deletes)
{
    for (size_t i = 0; i < world->count; i++) {
        struct array *array = world->arrays[i];
        sombra_slice low, end;
        for (size_t j = 0; j < array->count; j++) {
            if (array->keys[j] != key)
                continue;
            if (array->is_delete[j] && drops_deletes)
                return;
            model->entries[model->count].key = key;
            model->entries[model->count].age = array->age;
            model->entries[model->count++].is_delete = array->is_delete[j];
            return;
        }
        if (array_hides(&array->source, key_of(world, key), &low, &end))
            return;
    }
}

static void model_make(struct model *model, const struct world *world, bool drops_deletes)
{
    model->count = 0;
    for (unsigned key = 0; key < KEYS; key++)
        model_add(model, world, key, drops_deletes);
}

static struct source *world_merge(struct world *world, bool drops_deletes)
{
    struct source *sources[SOURCES_MAX], *merge = NULL;
    for (size_t i = 0; i < world->count; i++)
        sources[i] = &world->arrays[i]->source;
    expect_ok(merge_open(sources, world->count, drops_deletes, (struct kv_range){ 0 }, &merge));
    return merge;
}

static void expect_entry(const struct world *world, const struct model *model, size_t at,
                         const struct lsm_entry *entry)
{
    uint8_t value[VALUE_BYTES];
    assert_true(at < model->count);
    unsigned key = model->entries[at].key;
    assert_true(slice_equal(entry->key, key_of(world, key)));
    assert_int_equal(entry->kind, model->entries[at].is_delete ? ENTRY_DELETE : ENTRY_PUT);
    sombra_slice want = model->entries[at].is_delete ? slice_of(NULL, 0)
                                                     : value_of(key, model->entries[at].age, value);
    assert_true(slice_equal(entry->value, want));
}

static void expect_at(const struct world *world, const struct model *model, size_t at,
                      const struct source *merge)
{
    assert_int_equal(merge->is_valid, at < model->count);
    if (merge->is_valid)
        expect_entry(world, model, at, &merge->entry);
}

/* ---- random walks ------------------------------------------------------------------------ */

struct walk {
    struct world *world;
    struct model model;
    struct source *merge;
    size_t at; /* model.count = no position */
};

static size_t model_find(const struct walk *walk, sombra_slice key)
{
    size_t at = 0;
    while (at < walk->model.count &&
           slice_compare(key_of(walk->world, walk->model.entries[at].key), key) < 0)
        at++;
    return at;
}

/* A key, one just behind it, or none. */
static sombra_slice walk_key(struct walk *walk, uint8_t to[64])
{
    struct random *random = &walk->world->random;
    if (random_below(random, 8) == 0)
        return slice_of(NULL, 0);
    sombra_slice key = key_of(walk->world, (unsigned)random_below(random, KEYS + 1));
    memcpy(to, key.data, key.bytes);
    to[key.bytes] = 0;
    return slice_of(to, key.bytes + random_below(random, 2));
}

static sombra_err walk_read(struct walk *walk)
{
    struct lsm_entry entries[CAPACITY_MAX];
    uint8_t bytes[64];
    sombra_slice before = walk_key(walk, bytes);
    size_t capacity = 1 + random_below(&walk->world->random, CAPACITY_MAX), count = 0;
    sombra_err err = walk->merge->ops->read(walk->merge, before, entries, capacity, &count);
    if (err)
        return err;
    size_t end = before.bytes ? model_find(walk, before) : walk->model.count;
    assert_true(count <= capacity);
    assert_true(walk->at >= end ? count == 0 : count > 0 && count <= end - walk->at);
    for (size_t i = 0; i < count; i++)
        expect_entry(walk->world, &walk->model, walk->at + i, &entries[i]);
    walk->at += count;
    return SOMBRA_OK;
}

static sombra_err walk_seek(struct walk *walk, bool is_backward)
{
    uint8_t bytes[64];
    sombra_slice key = walk_key(walk, bytes);
    size_t at = model_find(walk, key), count = walk->model.count;
    if (is_backward) {
        if (key.bytes == 0)
            at = count;
        walk->at = at ? at - 1 : count;
        return walk->merge->ops->seek_lt(walk->merge, key);
    }
    walk->at = at;
    return walk->merge->ops->seek_ge(walk->merge, key);
}

static sombra_err walk_step(struct walk *walk)
{
    uint64_t what = random_below(&walk->world->random, 12);
    if (!walk->merge->is_valid || what < 2)
        return walk_seek(walk, random_below(&walk->world->random, 2));
    if (what < 5)
        return walk_read(walk);
    if (what < 9) {
        walk->at++;
        return walk->merge->ops->next(walk->merge);
    }
    walk->at = walk->at ? walk->at - 1 : walk->model.count;
    return walk->merge->ops->previous(walk->merge);
}

static void expect_hides(struct walk *walk)
{
    uint8_t bytes[64];
    sombra_slice key = walk_key(walk, bytes), low, end;
    bool want = false,
         got = walk->merge->ops->hides && walk->merge->ops->hides(walk->merge, key, &low, &end);
    for (size_t i = 0; i < walk->world->count; i++) {
        sombra_slice a, b;
        struct source *source = &walk->world->arrays[i]->source;
        if (!source->ops->hides || !source->ops->hides(source, key, &a, &b))
            continue;
        want = true;
        assert_true(got && slice_compare(low, a) <= 0 && slice_compare(b, end) <= 0);
    }
    assert_int_equal(got, want);
    assert_true(!got || (slice_compare(low, key) <= 0 && slice_compare(key, end) < 0));
}

static void walk_randomly(struct world *world, size_t sources, bool hides, bool drops_deletes)
{
    struct walk walk = { .world = world };
    world_fill(world, sources, hides);
    model_make(&walk.model, world, drops_deletes);
    walk.merge = world_merge(world, drops_deletes);
    walk.at = walk.model.count;
    for (unsigned i = 0; i < 150; i++) {
        expect_ok(walk_step(&walk));
        expect_at(world, &walk.model, walk.at, walk.merge);
        if (i % 4 == 0)
            expect_hides(&walk);
    }
    source_close(walk.merge);
    assert_int_equal(world->open, 0);
}

static void test_merge__gives_the_newest_of_each_key_in_order(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    random_seed(&world.random, kv_test_seed("merges"));
    for (unsigned round = 0; round < 600; round++)
        walk_randomly(&world, round % (SOURCES_MAX + 1), round & 1, round & 2);
}

static void test_merge__has_failed_until_it_is_sought_when_a_source_fails(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    random_seed(&world.random, kv_test_seed("failing sources"));
    unsigned failures = 0; /* of all rounds: sources without keys make few calls */
    for (unsigned round = 0; round < 200; round++) {
        struct walk walk = { .world = &world };
        world_fill(&world, 2 + round % 5, round & 1);
        model_make(&walk.model, &world, true);
        walk.merge = world_merge(&world, true);
        for (unsigned i = 0; i < 100; i++) {
            world.fail_at = world.calls + 1 + random_below(&world.random, 10);
            sombra_err err = walk_step(&walk);
            if (!err) {
                expect_at(&world, &walk.model, walk.at, walk.merge);
                continue;
            }
            expect_err(SOMBRA_IO, err);
            assert_false(walk.merge->is_valid);
            failures++;
        }
        world.fail_at = 0;
        source_close(walk.merge);
    }
    assert_true(failures > 0);
    assert_int_equal(world.open, 0);
}

/* Where a batch's bytes would not live on, they are copied: the one allocation of a read. */
static void test_merge__loses_nothing_when_memory_is_out(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    random_seed(&world.random, kv_test_seed("no memory"));
    mem_test_fail_at(1, true);
    world_fill(&world, 3, true);
    struct source *sources[] = { &world.arrays[0]->source, &world.arrays[1]->source,
                                 &world.arrays[2]->source };
    struct source *merge;
    expect_err(SOMBRA_NOMEM, merge_open(sources, 3, false, (struct kv_range){ 0 }, &merge));
    assert_int_equal(world.open, 0);
    unsigned failures = 0;
    for (unsigned round = 0; round < 200; round++) {
        struct walk walk = { .world = &world };
        mem_test_fail_at(0, false);
        world_fill(&world, 4, true);
        model_make(&walk.model, &world, true);
        walk.merge = world_merge(&world, true);
        mem_test_fail_at(1, true);
        for (unsigned i = 0; i < 100; i++) {
            sombra_err err = walk_step(&walk);
            if (!err) {
                expect_at(&world, &walk.model, walk.at, walk.merge);
                continue;
            }
            expect_err(SOMBRA_NOMEM, err);
            assert_false(walk.merge->is_valid);
            failures++;
        }
        source_close(walk.merge);
    }
    mem_test_fail_at(0, false);
    assert_true(failures > 0);
    assert_int_equal(mem_test_live(), 0);
}

/* ---- costs ------------------------------------------------------------------------------- */

static void test_merge__of_one_source_is_that_source(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    world_fill(&world, 1, true);
    assert_ptr_equal(world_merge(&world, false), &world.arrays[0]->source);
    source_close(&world.arrays[0]->source);
}

/* A run between two keys of another is read by batches, not entry by entry. */
static void test_merge__asks_a_dominating_source_for_batches(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    struct array *few = world_add(&world, false), *many = world_add(&world, false);
    few->keys[few->count++] = 1;
    few->keys[few->count++] = 50;
    for (unsigned key = 2; key < 45; key++)
        many->keys[many->count++] = key;
    struct source *merge = world_merge(&world, false);
    struct lsm_entry entries[KEYS];
    expect_ok(merge->ops->seek_ge(merge, slice_of(NULL, 0)));
    size_t read = 0;
    uint64_t calls = world.calls;
    while (merge->is_valid) {
        size_t count;
        expect_ok(merge->ops->read(merge, slice_of(NULL, 0), entries, KEYS, &count));
        read += count;
    }
    assert_int_equal(read, 45);
    assert_in_range(world.calls - calls, 1, 35);
    source_close(merge);
}

/* Sources that take turns are not asked for batches of one: these are put together. */
static void test_merge__gives_long_batches_of_sources_that_take_turns(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    struct array *even = world_add(&world, false), *odd = world_add(&world, false);
    for (unsigned key = 0; key < 40; key += 2) {
        even->keys[even->count++] = key;
        odd->keys[odd->count++] = key + 1;
    }
    struct source *merge = world_merge(&world, false);
    struct lsm_entry entries[KEYS];
    expect_ok(merge->ops->seek_ge(merge, slice_of(NULL, 0)));
    size_t read = 0;
    unsigned batches = 0;
    for (; merge->is_valid; batches++) {
        size_t count;
        expect_ok(merge->ops->read(merge, slice_of(NULL, 0), entries, KEYS, &count));
        for (size_t i = 1; i < count; i++)
            assert_true(slice_compare(entries[i - 1].key, entries[i].key) < 0);
        read += count;
    }
    assert_int_equal(read, 40);
    assert_true(batches <= 3);
    source_close(merge);
}

/* A seek forward moves only the sources that stand before the key. */
static void test_merge__seeks_near_with_the_sources_that_must(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    struct array *near = world_add(&world, false), *far = world_add(&world, false);
    for (unsigned key = 1; key < 10; key++)
        near->keys[near->count++] = key;
    far->keys[far->count++] = 30;
    struct source *merge = world_merge(&world, false);
    expect_ok(merge->ops->seek_ge(merge, key_of(&world, 1)));
    uint64_t calls = world.calls;
    expect_ok(merge->ops->seek_ge(merge, key_of(&world, 5)));
    assert_true(slice_equal(merge->entry.key, key_of(&world, 5)));
    assert_int_equal(world.calls, calls + 1);
    source_close(merge);
}

/* Deletes of whole ranges cost one seek of what they hide, however many entries that are. */
static void test_merge__seeks_over_what_is_hidden(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    struct array *newer = world_add(&world, true), *older = world_add(&world, false);
    newer->ranges[newer->range_count][0] = 5;
    newer->ranges[newer->range_count++][1] = 55;
    for (unsigned key = 4; key < KEYS; key++)
        older->keys[older->count++] = key;
    struct source *merge = world_merge(&world, false);
    expect_ok(merge->ops->seek_ge(merge, slice_of(NULL, 0)));
    uint64_t calls = world.calls;
    expect_ok(merge->ops->next(merge));
    assert_true(slice_equal(merge->entry.key, key_of(&world, 55)));
    assert_int_equal(world.calls, calls + 2);
    calls = world.calls;
    expect_ok(merge->ops->previous(merge));
    assert_true(slice_equal(merge->entry.key, key_of(&world, 4)));
    assert_int_equal(world.calls, calls + 3); /* the other one turns round too */
    source_close(merge);
}

/* Where a scan finds nothing, the deletes behind its bounds are nothing to it. */
static void test_merge__passes_no_deletes_by_outside_of_its_range(void **state)
{
    (void)state;
    struct world world = { .open = 0 };
    world_make_keys(&world);
    struct array *newer = world_add(&world, false), *older = world_add(&world, false);
    for (unsigned key = 0; key < KEYS; key++) {
        newer->is_delete[newer->count] = key != 20;
        newer->keys[newer->count++] = key;
        older->keys[older->count++] = key;
    }
    const struct kv_range within = { .low = key_of(&world, 18), .high = key_of(&world, 22) };
    struct source *sources[] = { &newer->source, &older->source }, *merge;
    expect_ok(merge_open(sources, 2, true, within, &merge));
    expect_ok(merge->ops->seek_ge(merge, within.low));
    assert_true(slice_equal(merge->entry.key, key_of(&world, 20)));
    expect_ok(merge->ops->next(merge));
    assert_false(merge->is_valid);
    assert_true(world.calls < 16);
    uint64_t calls = world.calls;
    expect_ok(merge->ops->seek_lt(merge, within.high));
    assert_true(slice_equal(merge->entry.key, key_of(&world, 20)));
    expect_ok(merge->ops->previous(merge));
    assert_false(merge->is_valid);
    assert_true(world.calls < calls + 16);
    expect_ok(merge->ops->seek_ge(merge, key_of(&world, 19))); /* it may be sought again */
    assert_true(slice_equal(merge->entry.key, key_of(&world, 20)));
    source_close(merge);
    assert_int_equal(world.open, 0);
}

int main(void)
{
    mem_test_fail_at(0, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge__gives_the_newest_of_each_key_in_order),
        cmocka_unit_test(test_merge__has_failed_until_it_is_sought_when_a_source_fails),
        cmocka_unit_test(test_merge__loses_nothing_when_memory_is_out),
        cmocka_unit_test(test_merge__of_one_source_is_that_source),
        cmocka_unit_test(test_merge__asks_a_dominating_source_for_batches),
        cmocka_unit_test(test_merge__gives_long_batches_of_sources_that_take_turns),
        cmocka_unit_test(test_merge__seeks_near_with_the_sources_that_must),
        cmocka_unit_test(test_merge__seeks_over_what_is_hidden),
        cmocka_unit_test(test_merge__passes_no_deletes_by_outside_of_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
