/* SPDX-License-Identifier: MIT */
/* Where memory is short: a small cache, nothing fetched but what is asked for, the same answers. */
#include "lsm_store.h"
#include "os/os_ops.h"

#include <stdatomic.h>
#include <stdio.h>

enum { ENTRIES = 6000, VALUE_BYTES = 300, MEMORY_BYTES = 1 << 20 };

/* The real system, which notes what it was advised. */
struct noting {
    struct os os;
    struct os_ops ops;
    _Atomic uint64_t memory_bytes;
    _Atomic uint32_t random_files; /* advised so, less those where it was taken back */
    _Atomic uint64_t ahead_bytes;
};

static struct noting *noting_of(struct os *os)
{
    return container_of(os, struct noting, os);
}

static uint64_t memory_noted(struct os *os)
{
    return atomic_load(&noting_of(os)->memory_bytes);
}

static void random_noted(struct os *os, int fd, bool is_random)
{
    (void)fd;
    atomic_fetch_add(&noting_of(os)->random_files, is_random ? 1 : UINT32_MAX);
}

static void ahead_noted(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)fd;
    (void)offset;
    atomic_fetch_add(&noting_of(os)->ahead_bytes, bytes);
}

static void noting_init(struct noting *noting, uint64_t memory_bytes)
{
    *noting = (struct noting){ .ops = *os_posix()->ops };
    noting->ops.memory_bytes = memory_noted;
    noting->ops.advise_random = random_noted;
    noting->ops.read_ahead = ahead_noted;
    noting->os.ops = &noting->ops;
    atomic_init(&noting->memory_bytes, memory_bytes);
}

static struct lsm_options options_of(uint64_t memory_bytes)
{
    return (struct lsm_options){ .create = true,
                                 .durability = KV_OFF,
                                 .memtable_bytes = 256 * KiB,
                                 .block_bytes = 4 * KiB,
                                 .codec = LSM_CODEC_NONE,
                                 .cache_bytes = 64 * MiB,
                                 .memory_bytes = memory_bytes,
                                 .no_background = true };
}

static sombra_slice key_of(unsigned number, char to[16])
{
    return slice_of(to, (size_t)snprintf(to, 16, "%08u", number));
}

static void fill(struct kv *kv, unsigned from, unsigned to)
{
    struct buf value = BUF_INIT;
    struct kv_begin_options begin = { .is_write = true };
    struct kv_txn *txn;
    char key[16];
    expect_ok(kv_begin(kv, &begin, &txn));
    for (unsigned i = from; i < to; i++)
        expect_ok(kv_put(txn, key_of(i * 7919 % ENTRIES, key), kv_pattern(&value, i, VALUE_BYTES)));
    expect_ok(kv_commit(txn, KV_DURABILITY_STORE));
    buf_release(&value);
}

static void fill_all(struct kv *kv)
{
    struct kv_maintenance flush = { .kind = KV_CHECKPOINT }, compact = { .kind = KV_COMPACT };
    for (unsigned i = 0; i < ENTRIES; i += 500)
        fill(kv, i, i + 500);
    expect_ok(kv_maintain(kv, &flush));
    expect_ok(kv_maintain(kv, &compact));
}

static uint64_t cache_bytes_of(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_STATS };
    expect_ok(kv_maintain(kv, &job));
    return job.stats.cache_bytes;
}

static void get_all(struct kv *kv)
{
    struct buf value = BUF_INIT;
    struct kv_txn *txn;
    sombra_slice got;
    char key[16];
    expect_ok(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn));
    for (unsigned i = 0; i < ENTRIES; i++) {
        expect_ok(kv_get(txn, key_of(i * 7919 % ENTRIES, key), &got));
        assert_true(slice_equal(got, kv_pattern(&value, i, VALUE_BYTES)));
    }
    kv_abort(txn);
    buf_release(&value);
}

static void scan_all(struct kv *kv, enum kv_motion direction)
{
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    bool found = true;
    char key[16];
    expect_ok(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn));
    expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
    for (unsigned i = 0; i < ENTRIES; i++) {
        unsigned number = direction == KV_NEXT ? i : ENTRIES - 1 - i;
        expect_ok(kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, key_of(number, key)));
    }
    expect_ok(kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found));
    assert_false(found);
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void store_init(struct lsm_store *store, struct noting *noting,
                       const struct lsm_options *options)
{
    lsm_store_init(store, options);
    lsm_store_close(store);
    store->os = &noting->os;
    lsm_store_open(store);
}

static void test_lsm__with_ample_memory_the_cache_is_as_large_as_its_option(void **state)
{
    (void)state;
    struct noting noting;
    struct lsm_store store;
    struct lsm_options options = options_of(0);
    noting_init(&noting, GiB);
    store_init(&store, &noting, &options);
    fill_all(store.kv);
    get_all(store.kv);
    assert_true(cache_bytes_of(store.kv) > ENTRIES * VALUE_BYTES);
    assert_int_equal(atomic_load(&noting.random_files), 0);
    lsm_store_release(&store);
}

static void test_lsm__where_memory_is_short_the_cache_is_small(void **state)
{
    (void)state;
    struct noting noting;
    struct lsm_store store;
    struct lsm_options options = options_of(MEMORY_BYTES);
    noting_init(&noting, GiB); /* the option counts */
    store_init(&store, &noting, &options);
    fill_all(store.kv);
    atomic_store(&noting.ahead_bytes, 0);
    get_all(store.kv);
    assert_true(cache_bytes_of(store.kv) <= MEMORY_BYTES);
    assert_true(atomic_load(&noting.random_files) > 0);
    assert_int_equal(atomic_load(&noting.ahead_bytes), 0); /* nothing around a block */
    lsm_store_release(&store);
}

/* Compactions and scans still are told to the system, which is to read nothing ahead by itself. */
static void test_lsm__where_memory_is_short_a_scan_reads_ahead_once(void **state)
{
    (void)state;
    struct noting noting;
    struct lsm_store store;
    struct lsm_options options = options_of(MEMORY_BYTES);
    noting_init(&noting, GiB);
    store_init(&store, &noting, &options);
    fill_all(store.kv);
    const enum kv_motion directions[] = { KV_NEXT, KV_PREVIOUS };
    for (size_t i = 0; i < COUNT_OF(directions); i++) {
        atomic_store(&noting.ahead_bytes, 0);
        scan_all(store.kv, directions[i]);
        assert_in_range(atomic_load(&noting.ahead_bytes), ENTRIES * VALUE_BYTES * 3 / 4,
                        ENTRIES * VALUE_BYTES * 5 / 4);
    }
    lsm_store_release(&store);
}

static void test_lsm__memory_that_is_short_no_more_is_used_again(void **state)
{
    (void)state;
    enum { SYSTEM_BYTES = 80 << 20, LARGE_BYTES = 100000, LARGES = 250 };
    struct noting noting;
    struct lsm_store store;
    struct lsm_options options = options_of(0);
    noting_init(&noting, SYSTEM_BYTES);
    store_init(&store, &noting, &options);
    fill_all(store.kv);
    get_all(store.kv);
    assert_int_equal(atomic_load(&noting.random_files), 0);
    atomic_store(&noting.memory_bytes, 40 * MiB);
    fill_all(store.kv);
    get_all(store.kv);
    assert_true(cache_bytes_of(store.kv) <= 40 * MiB / 16 + 512 * KiB);
    assert_true(atomic_load(&noting.random_files) > 0);
    atomic_store(&noting.memory_bytes, GiB);
    fill_all(store.kv);
    get_all(store.kv);
    assert_true(cache_bytes_of(store.kv) > ENTRIES * VALUE_BYTES);
    lsm_store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lsm__with_ample_memory_the_cache_is_as_large_as_its_option),
        cmocka_unit_test(test_lsm__where_memory_is_short_the_cache_is_small),
        cmocka_unit_test(test_lsm__where_memory_is_short_a_scan_reads_ahead_once),
        cmocka_unit_test(test_lsm__memory_that_is_short_no_more_is_used_again),
    };
    return cmocka_run_group_tests_name("lsm_memory", tests, NULL, NULL);
}
