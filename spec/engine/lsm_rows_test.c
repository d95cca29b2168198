/* SPDX-License-Identifier: MIT */
/* Blocks of few entries, of many heads alike, of long prefixes: every search of one equals that of
 * a list.
 */
#include "lsm_store.h"

#include "lsm/table/block_build.h"
#include "lsm/table/rows.h"

#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 300, KEY_MAX = 1024, SHAPES = 8 };

struct list {
    size_t count;
    struct {
        size_t bytes;
        uint8_t data[KEY_MAX];
    } keys[ENTRIES_MAX];
};

static uint64_t dice_state;

static uint64_t dice(uint64_t end)
{
    dice_state = hash_u64(dice_state + 1);
    return dice_state % end;
}

static sombra_slice list_key(const struct list *list, size_t i)
{
    return slice_of(list->keys[i].data, list->keys[i].bytes);
}

static int key_compare(const void *a, const void *b)
{
    size_t a_bytes, b_bytes;
    memcpy(&a_bytes, a, sizeof a_bytes);
    memcpy(&b_bytes, b, sizeof b_bytes);
    return slice_compare(slice_of((const uint8_t *)a + sizeof a_bytes, a_bytes),
                         slice_of((const uint8_t *)b + sizeof b_bytes, b_bytes));
}

static size_t key_make(unsigned shape, uint8_t to[KEY_MAX])
{
    static const size_t prefixes[SHAPES] = { 0, 0, 3, 19, 20, 21, 24, 1000 };
    static const uint8_t letters[] = { 0x00, 0xff, 'a', 0xfe };
    size_t prefix = prefixes[shape];
    memset(to, 'p', prefix);
    size_t bytes = prefix + 1 + dice(shape == 0 ? 4 : shape == 1 ? 1024 : 24);
    for (size_t i = prefix; i < bytes; i++)
        to[i] = shape % 2 && i < prefix + 4 ? 0xff : letters[dice(sizeof letters)];
    if (shape == 1 && dice(2))
        return KEY_MAX - dice(2) > bytes ? bytes : KEY_MAX;
    return bytes;
}

static void list_make(struct list *list, unsigned shape, size_t count)
{
    list->count = 0;
    for (size_t tries = 0; tries < 4 * count; tries++) {
        if (list->count == count)
            break;
        list->keys[list->count].bytes = key_make(shape, list->keys[list->count].data);
        list->count++;
        qsort(list->keys, list->count, sizeof list->keys[0], key_compare);
        for (size_t i = 1; i < list->count; i++)
            if (slice_equal(list_key(list, i - 1), list_key(list, i))) {
                memmove(&list->keys[i], &list->keys[i + 1],
                        (list->count - i - 1) * sizeof list->keys[0]);
                list->count--;
            }
    }
}

static size_t list_find(const struct list *list, sombra_slice key)
{
    size_t i = 0;
    while (i < list->count && slice_compare(list_key(list, i), key) < 0)
        i++;
    return i;
}

static bool list_has(const struct list *list, sombra_slice key)
{
    size_t i = list_find(list, key);
    return i < list->count && slice_equal(list_key(list, i), key);
}

static sombra_err many_each(void *context, size_t index, const sombra_slice *value)
{
    ((bool *)context)[index] = value != NULL;
    return SOMBRA_OK;
}

static void expect_list(struct kv *kv, const struct list *list, unsigned shape)
{
    enum { PROBES = 60 };
    static uint8_t probes[PROBES][KEY_MAX];
    sombra_slice keys[PROBES], value;
    bool has[PROBES];
    struct kv_txn *txn = kv_begin_read(kv);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (size_t i = 0; i < PROBES; i++) {
        if (i % 2 && list->count) {
            keys[i] = list_key(list, dice(list->count));
            memcpy(probes[i], keys[i].data, keys[i].bytes);
            size_t bytes = keys[i].bytes;
            if (dice(3) == 0 && bytes > 1)
                bytes--;
            else if (dice(3) == 0)
                probes[i][bytes - 1]++;
            keys[i] = slice_of(probes[i], bytes);
        } else {
            keys[i] =
                slice_of(probes[i], key_make(dice(9) ? shape : (unsigned)dice(SHAPES), probes[i]));
        }
        size_t at = list_find(list, keys[i]);
        sombra_err err = kv_get(txn, keys[i], &value);
        assert_int_equal(err, list_has(list, keys[i]) ? SOMBRA_OK : SOMBRA_NOT_FOUND);
        if (!err)
            assert_true(slice_equal(value, keys[i]));
        bool found;
        expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, keys[i], &found));
        assert_int_equal(found, at < list->count);
        if (found)
            assert_true(slice_equal(cursor->entry.key, list_key(list, at)));
        if (!list_has(list, keys[i]))
            at--;
        expect_ok(kv_cursor_move(cursor, KV_SEEK_LE, keys[i], &found));
        assert_int_equal(found, at != SIZE_MAX);
        if (found)
            assert_true(slice_equal(cursor->entry.key, list_key(list, at)));
    }
    kv_cursor_close(cursor);
    for (int sorted = 0; sorted < 2; sorted++) {
        size_t count = 1 + dice(PROBES);
        expect_ok(kv_get_many(txn, keys, count, many_each, has));
        for (size_t i = 0; i < count; i++)
            assert_int_equal(has[i], list_has(list, keys[i]));
        for (size_t i = 1; i < PROBES; i++) /* ascending the next time */
            for (size_t j = i; j > 0 && slice_compare(keys[j - 1], keys[j]) > 0; j--) {
                sombra_slice kept = keys[j];
                keys[j] = keys[j - 1];
                keys[j - 1] = kept;
            }
    }
    kv_abort(txn);
}

static void put_list(struct kv *kv, const struct list *list)
{
    static struct kv_entry entries[ENTRIES_MAX];
    for (size_t i = 0; i < list->count; i++)
        entries[i] = (struct kv_entry){ list_key(list, i), list_key(list, i) };
    for (size_t part = 0; part < 2; part++) {
        /* Every other one first, so that the second falls between. */
        size_t count = 0;
        for (size_t i = part; i < list->count; i += 2)
            entries[count++] = (struct kv_entry){ list_key(list, i), list_key(list, i) };
        struct kv_txn *txn = kv_begin_write(kv);
        expect_ok(kv_put_many(txn, entries, count));
        if (dice(3) == 0) {
            kv_abort(txn);
            txn = kv_begin_write(kv);
            expect_ok(kv_put_many(txn, entries, count));
        }
        expect_ok(kv_commit(txn, KV_OFF));
    }
}

static void test_rows__every_search_equals_that_of_a_list(void **state)
{
    (void)state;
    static const size_t counts[] = { 1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 48, 49, 129, 257, 300 };
    static struct list list;
    dice_state = kv_test_seed("rows");
    for (unsigned shape = 0; shape < SHAPES; shape++)
        for (size_t c = 0; c < COUNT_OF(counts); c++) {
            struct lsm_store store;
            list_make(&list, shape, counts[c]);
            lsm_store_init_simulated(&store, &(struct lsm_options){ .create = true,
                                                                    .block_bytes = 64 * KiB,
                                                                    .no_background = true });
            put_list(store.kv, &list);
            expect_list(store.kv, &list, shape); /* in memory */
            struct kv_maintenance job = { .kind = dice(2) ? KV_CHECKPOINT : KV_COMPACT };
            expect_ok(kv_maintain(store.kv, &job));
            for (int again = 0; again < 3; again++)
                expect_list(store.kv, &list, shape);
            lsm_store_release(&store);
        }
}

/* Places are of 2 bytes as long as those tell where the last value ends. */
static void test_rows__entries_are_whole_around_the_bound_of_small_places(void **state)
{
    enum { ENTRIES = 40, KEY_BYTES = 8, VALUE_BYTES = 1600, FIXED_BYTES = 16 + 96 };
    (void)state;
    for (size_t total = UINT16_MAX - 1; total <= UINT16_MAX + 2; total++) {
        struct block_builder builder;
        struct block block;
        struct rows rows;
        struct lsm_entry entry;
        sombra_slice raw;
        static uint8_t values[2 * VALUE_BYTES];
        size_t left = total;
        block_builder_init(&builder, 16);
        for (size_t i = 0; i < ENTRIES; i++) {
            uint8_t key[KEY_BYTES];
            size_t bytes = i + 1 < ENTRIES ? VALUE_BYTES : left - KEY_BYTES;
            put_be64(key, i);
            memset(values, (int)i, bytes);
            sombra_slice in = slice_of(key, KEY_BYTES);
            expect_ok(block_builder_add(&builder, (size_t)block_builder_shared(&builder, in), in,
                                        ENTRY_PUT, slice_of(values, bytes)));
            left -= KEY_BYTES + bytes;
        }
        expect_ok(block_builder_finish(&builder, &raw));
        expect_ok(block_check(raw, &block_rules_data));
        block_open(&block, raw, &block_rules_data);
        size_t place_bytes = total > UINT16_MAX ? 8 : 4;
        assert_int_equal(rows_bytes(&block),
                         FIXED_BYTES + 4 * ENTRIES + place_bytes * (ENTRIES + 1) + total);
        uint8_t *to = mem_alloc(rows_bytes(&block));
        rows_unpack(&block, to, rows_bytes(&block));
        rows_open(&rows, to);
        size_t sum = 0;
        for (uint32_t i = 0; i < ENTRIES; i++) {
            rows_entry(&rows, i, &entry);
            assert_int_equal(get_be64(entry.key.data), i);
            assert_int_equal(entry.kind, ENTRY_PUT);
            assert_int_equal(((const uint8_t *)entry.value.data)[entry.value.bytes - 1], i);
            sum += entry.key.bytes + entry.value.bytes;
        }
        assert_int_equal(sum, total);
        mem_free(to);
        block_builder_release(&builder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows__every_search_equals_that_of_a_list),
        cmocka_unit_test(test_rows__entries_are_whole_around_the_bound_of_small_places),
    };
    return cmocka_run_group_tests_name("lsm, searches of blocks", tests, NULL, NULL);
}
