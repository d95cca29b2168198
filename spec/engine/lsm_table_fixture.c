/* SPDX-License-Identifier: MIT */
#include "lsm_table_fixture.h"

#include <stdio.h>

static size_t two_bytes(sombra_slice key)
{
    return key.bytes >= MODEL_PREFIX_BYTES ? MODEL_PREFIX_BYTES : 0;
}
const struct lsm_prefix model_prefix = { .name = "two", .bytes = two_bytes };

uint64_t seed_of_test(void)
{
    const char *text = getenv("SOMBRA_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
    printf("SOMBRA_SEED=%" PRIu64 "\n", seed);
    return seed;
}

static sombra_slice copy(struct arena *arena, const void *data, size_t bytes)
{
    uint8_t *to = arena_alloc(arena, bytes + 1); /* never NULL */
    assert_non_null(to);
    if (bytes)
        memcpy(to, data, bytes);
    return slice_of(to, bytes);
}

static size_t make_key(struct random *random, uint8_t *to)
{
    static const char *const starts[] = { "", "a", "user/", "user/000000000000", "\xff\xff" };
    const char *start = starts[random_below(random, COUNT_OF(starts))];
    size_t bytes = strlen(start);
    size_t more = 1 + (size_t)random_below(random, random_below(random, 50) ? 12 : 900);
    memcpy(to, start, bytes);
    for (size_t i = 0; i < more; i++)
        to[bytes++] = (uint8_t) "\0\1abc\xff"[random_below(random, 6)];
    return bytes;
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct item *)a)->key, ((const struct item *)b)->key);
}

static void make_ranges(struct table_model *model, struct random *random, size_t range_count)
{
    sombra_slice after = slice_of(NULL, 0);
    uint8_t key[1024];
    for (size_t i = 0; i < range_count; i++) {
        struct range_pair pair;
        pair.low = copy(&model->arena, key, make_key(random, key));
        pair.high = copy(&model->arena, key, make_key(random, key));
        if (slice_compare(pair.low, after) > 0 && slice_compare(pair.low, pair.high) < 0) {
            model->ranges[model->range_count++] = pair;
            after = pair.high;
        }
    }
}

void model_fill(struct table_model *model, struct random *random, size_t count,
                size_t value_bytes_max, size_t range_count)
{
    uint8_t key[1024];
    *model = (struct table_model){ .arena = ARENA_INIT };
    model->items = mem_zalloc((count + 1) * sizeof *model->items);
    assert_non_null(model->items);
    uint8_t *value = mem_alloc(size_max(value_bytes_max, 80));
    assert_non_null(value);
    for (size_t i = 0; i < count; i++) {
        struct item *item = &model->items[i];
        size_t bytes =
            (size_t)random_below(random, random_below(random, 40) ? 80 : value_bytes_max);
        uint64_t mask = random_below(random, 2) ? 3 : 255; /* compresses well or not */
        item->key = copy(&model->arena, key, make_key(random, key));
        item->is_delete = random_below(random, 8) == 0;
        for (size_t at = 0; at < bytes; at++)
            value[at] = (uint8_t)(random_u64(random) & mask);
        item->value = copy(&model->arena, value, item->is_delete ? 0 : bytes);
    }
    mem_free(value);
    qsort(model->items, count, sizeof *model->items, by_key);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !slice_equal(model->items[i].key, model->items[model->count - 1].key))
            model->items[model->count++] = model->items[i];
    make_ranges(model, random, range_count);
}

void model_release(struct table_model *model)
{
    mem_free(model->items);
    arena_release(&model->arena);
}

size_t model_find(const struct table_model *model, sombra_slice key)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(model->items[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

sombra_slice random_key(const struct table_model *model, struct random *random)
{
    static uint8_t key[1100];
    size_t bytes;
    if (model->count == 0 || random_below(random, 4) == 0) {
        bytes = make_key(random, key);
    } else {
        sombra_slice near = model->items[random_below(random, model->count)].key;
        bytes = near.bytes;
        memcpy(key, near.data, bytes);
        uint64_t change = random_below(random, 4);
        if (change == 1)
            key[bytes - 1]++;
        else if (change == 2 && bytes < KV_KEY_BYTES_MAX)
            key[bytes++] = 0;
        else if (change == 3 && bytes > 1)
            bytes = 1 + (size_t)random_below(random, bytes);
    }
    return slice_of(key, bytes);
}

void model_write(const struct table_model *model, struct os *os, const char *path,
                 const struct table_writer_options *options, uint64_t number)
{
    struct table_writer *writer;
    struct table_meta meta;
    assert_ok(table_writer_open(os, path, number, options, &writer));
    for (size_t i = 0; i < model->range_count; i++)
        assert_ok(table_writer_hide(writer, model->ranges[i].low, model->ranges[i].high));
    for (size_t i = 0; i < model->count; i++) {
        const struct item *item = &model->items[i];
        assert_ok(table_writer_add(
            writer, &(struct lsm_entry){ .key = item->key,
                                         .value = item->value,
                                         .kind = item->is_delete ? ENTRY_DELETE : ENTRY_PUT }));
    }
    assert_ok(table_writer_finish(writer, 77, &meta));
    table_writer_close(writer);
}

bool entry_is(struct table *table, const struct lsm_entry *entry, const struct item *item)
{
    if (!slice_equal(entry->key, item->key) || (entry->kind == ENTRY_DELETE) != item->is_delete)
        return false;
    if (entry->kind != ENTRY_LARGE)
        return slice_equal(entry->value, item->value);
    struct buf value = BUF_INIT;
    uint64_t bytes = 0;
    bool is_same = entry->table == table && !table_large_bytes(table, entry->value, &bytes) &&
                   bytes == item->value.bytes && !table_read_large(table, entry->value, &value) &&
                   slice_equal(buf_slice(&value), item->value);
    buf_release(&value);
    return is_same;
}
