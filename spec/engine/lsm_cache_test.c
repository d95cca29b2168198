/* SPDX-License-Identifier: MIT */
#include "lsm/table/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { BLOCK_BYTES = 1000 };

static uint64_t seed_of(void)
{
    const char *text = getenv("SOMBRA_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
    printf("SOMBRA_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static struct cache *new_cache(size_t bytes_max, struct kv_metrics *metrics)
{
    struct cache *cache;
    assert_int_equal(cache_new(bytes_max, metrics, &cache), SOMBRA_OK);
    return cache;
}

/* The content of a block tells its name. */
static struct cache_block *add(struct cache *cache, uint64_t table, uint64_t offset, size_t bytes)
{
    uint8_t *data;
    struct cache_block *block;
    assert_int_equal(cache_block_new(cache, bytes, &data, &block), SOMBRA_OK);
    assert_true(bytes >= 16);
    memset(data, 0xaa, bytes);
    put_le64(data, table);
    put_le64(data + 8, offset);
    return cache_add(cache, table, offset, block);
}

static void check_block(const struct cache_block *block, uint64_t table, uint64_t offset)
{
    assert_int_equal(get_le64(block->data), table);
    assert_int_equal(get_le64(block->data + 8), offset);
}

static bool holds(struct cache *cache, uint64_t table, uint64_t offset)
{
    struct cache_block *block = cache_get(cache, table, offset);
    if (block)
        check_block(block, table, offset);
    cache_release(cache, block);
    return block != NULL;
}

static void test_cache__gives_what_was_added_under_its_name(void **state)
{
    struct kv_metrics metrics = { 0 };
    struct cache *cache = new_cache(MiB, &metrics);
    (void)state;
    assert_null(cache_get(cache, 1, 2));
    struct cache_block *block = add(cache, 1, 2, BLOCK_BYTES);
    struct cache_block *again = cache_get(cache, 1, 2);
    assert_ptr_equal(again, block);
    assert_int_equal(again->bytes, BLOCK_BYTES);
    check_block(again, 1, 2);
    assert_false(holds(cache, 2, 1));
    cache_release(cache, again);
    cache_release(cache, block);
    cache_release(cache, NULL);
    assert_int_equal(kv_metrics_count(&metrics, KV_COUNTER_CACHE_HITS), 1);
    assert_int_equal(kv_metrics_count(&metrics, KV_COUNTER_CACHE_MISSES), 2);
    cache_free(cache);
}

static void test_cache__second_block_of_a_name_gives_the_first(void **state)
{
    struct cache *cache = new_cache(MiB, NULL);
    (void)state;
    struct cache_block *first = add(cache, 7, 0, BLOCK_BYTES);
    size_t bytes = cache_bytes(cache);
    struct cache_block *second = add(cache, 7, 0, BLOCK_BYTES);
    assert_ptr_equal(first, second);
    assert_int_equal(cache_bytes(cache), bytes);
    cache_release(cache, first);
    check_block(second, 7, 0);
    cache_release(cache, second);
    cache_free(cache);
}

static void test_cache__stays_within_its_bound(void **state)
{
    struct kv_metrics metrics = { 0 };
    struct cache *cache = new_cache(100 * BLOCK_BYTES, &metrics);
    size_t kept = 0;
    (void)state;
    for (uint64_t i = 0; i < 5000; i++) {
        cache_release(cache, add(cache, i % 7, i, 16 + (size_t)(i % BLOCK_BYTES)));
        assert_true(cache_bytes(cache) <= 100 * BLOCK_BYTES);
    }
    for (uint64_t i = 0; i < 5000; i++)
        kept += holds(cache, i % 7, i);
    assert_true(kept > 50);
    assert_int_equal(kv_metrics_count(&metrics, KV_COUNTER_CACHE_EVICTIONS), 5000 - kept);
    cache_free(cache);
}

static void test_cache__used_blocks_outlive_unused_ones(void **state)
{
    struct cache *cache = new_cache(200 * BLOCK_BYTES, NULL);
    size_t hot = 0;
    (void)state;
    for (uint64_t i = 0; i < 20; i++)
        cache_release(cache, add(cache, 1, i, BLOCK_BYTES));
    for (uint64_t i = 0; i < 4000; i++) {
        cache_release(cache, add(cache, 2, i, BLOCK_BYTES));
        (void)holds(cache, 1, i % 20);
    }
    for (uint64_t i = 0; i < 20; i++)
        hot += holds(cache, 1, i);
    assert_int_equal(hot, 20);
    cache_free(cache);
}

static void test_cache__blocks_in_use_stay_and_the_excess_goes_with_them(void **state)
{
    enum { COUNT = 300 };
    static struct cache_block *blocks[COUNT];
    struct cache *cache = new_cache(50 * BLOCK_BYTES, NULL);
    (void)state;
    for (uint64_t i = 0; i < COUNT; i++)
        blocks[i] = add(cache, 1, i, BLOCK_BYTES);
    assert_true(cache_bytes(cache) >= (size_t)COUNT * BLOCK_BYTES);
    for (uint64_t i = 0; i < COUNT; i++) {
        check_block(blocks[i], 1, i);
        cache_release(cache, blocks[i]);
    }
    assert_true(cache_bytes(cache) <= 50 * BLOCK_BYTES);
    cache_free(cache);
}

static void test_cache__charged_memory_takes_the_place_of_blocks(void **state)
{
    struct cache *cache = new_cache(100 * BLOCK_BYTES, NULL);
    (void)state;
    for (uint64_t i = 0; i < 90; i++)
        cache_release(cache, add(cache, 1, i, BLOCK_BYTES));
    cache_charge(cache, 60 * BLOCK_BYTES);
    assert_true(cache_bytes(cache) <= 100 * BLOCK_BYTES);
    assert_true(cache_bytes(cache) >= 60 * BLOCK_BYTES);
    cache_charge(cache, 60 * BLOCK_BYTES); /* more than the bound: a quarter of it is blocks' */
    assert_true(cache_bytes(cache) > 120 * BLOCK_BYTES);
    assert_true(cache_bytes(cache) <= 145 * BLOCK_BYTES);
    for (uint64_t i = 0; i < 30; i++)
        cache_release(cache, add(cache, 2, i, BLOCK_BYTES));
    assert_true(cache_bytes(cache) <= 145 * BLOCK_BYTES);
    struct cache_block *block = cache_get(cache, 2, 29);
    assert_non_null(block);
    check_block(block, 2, 29);
    cache_release(cache, block);
    cache_charge(cache, -120 * BLOCK_BYTES);
    assert_true(cache_bytes(cache) <= 25 * BLOCK_BYTES);
    cache_free(cache);
}

/* While all blocks are in use nobody looks for one to evict; who lets go of one gives it up. */
static void test_cache__blocks_in_use_go_when_they_are_released(void **state)
{
    enum { COUNT = 60, ROOM = 20 };
    struct kv_metrics metrics = { 0 };
    struct cache *cache = new_cache(ROOM * BLOCK_BYTES, &metrics);
    struct cache_block *blocks[COUNT], *again[COUNT];
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            blocks[i] = add(cache, 1, i, BLOCK_BYTES);
            again[i] = cache_get(cache, 1, i);
            assert_ptr_equal(again[i], blocks[i]);
        }
        for (uint64_t i = 0; i < COUNT; i++)
            cache_release(cache, again[i]);
        assert_true(cache_bytes(cache) >= COUNT * BLOCK_BYTES);
        for (uint64_t i = COUNT; i-- > 0;) {
            check_block(blocks[i], 1, i);
            cache_release(cache, blocks[i]);
        }
        assert_true(cache_bytes(cache) <= ROOM * BLOCK_BYTES);
        assert_true(cache_bytes(cache) > 0);
    }
    cache_release(cache, add(cache, 2, 0, BLOCK_BYTES)); /* there is a clock again */
    assert_true(cache_has(cache, 2, 0));
    cache_free(cache);
}

/* As a lookup does it. */
static void offer(struct cache *cache, uint64_t table, uint64_t offset)
{
    uint8_t *data;
    struct cache_block *block;
    assert_int_equal(cache_block_new(cache, BLOCK_BYTES, &data, &block), SOMBRA_OK);
    put_le64(data, table);
    put_le64(data + 8, offset);
    block = cache_offer(cache, table, offset, block);
    check_block(block, table, offset);
    cache_release(cache, block);
}

static void test_cache__a_full_one_keeps_what_is_offered_twice(void **state)
{
    enum { ROOM = 200 };
    struct kv_metrics metrics = { 0 };
    struct cache *cache = new_cache(ROOM * BLOCK_BYTES, &metrics);
    size_t kept = 0, once = 0;
    (void)state;
    for (uint64_t i = 0; i < ROOM / 2; i++) /* there is room: once is enough */
        offer(cache, 1, i);
    for (uint64_t i = 0; i < ROOM / 2; i++)
        assert_true(holds(cache, 1, i));
    for (uint64_t i = 0; i < ROOM; i++)
        cache_release(cache, add(cache, 2, i, BLOCK_BYTES));
    uint64_t evictions = kv_metrics_count(&metrics, KV_COUNTER_CACHE_EVICTIONS);
    for (uint64_t i = 0; i < 50 * ROOM; i++) {
        offer(cache, 3, i);
        once += holds(cache, 3, i);
        assert_true(cache_bytes(cache) <= ROOM * BLOCK_BYTES);
    }
    assert_true(once < ROOM); /* marks that look alike */
    assert_true(kv_metrics_count(&metrics, KV_COUNTER_CACHE_EVICTIONS) - evictions <= once);
    for (uint64_t i = 0; i < ROOM / 2; i++) {
        offer(cache, 4, i);
        offer(cache, 4, i);
        kept += holds(cache, 4, i);
    }
    assert_int_equal(kept, ROOM / 2);
    cache_free(cache);
}

static void test_cache__forgets_the_blocks_of_a_table(void **state)
{
    struct cache *cache = new_cache(8 * MiB, NULL);
    (void)state;
    for (uint64_t i = 0; i < 3000; i++)
        cache_release(cache, add(cache, i % 3, i, BLOCK_BYTES));
    struct cache_block *held = cache_get(cache, 1, 1);
    size_t before = cache_bytes(cache);
    cache_drop_table(cache, 1);
    assert_true(cache_bytes(cache) < before - 900 * BLOCK_BYTES);
    check_block(held, 1, 1); /* lives until it is released */
    cache_release(cache, held);
    for (uint64_t i = 0; i < 3000; i++)
        assert_true(holds(cache, i % 3, i) == (i % 3 != 1));
    cache_free(cache);
}

static void test_cache__without_memory_blocks_are_just_not_kept(void **state)
{
    struct cache *cache;
    uint8_t *data;
    struct cache_block *block;
    (void)state;
    (void)mem_test_live(); /* counting begins */
    for (uint64_t nth = 1; nth <= 65; nth++) {
        mem_test_fail_at(nth, false);
        assert_int_equal(cache_new(MiB, NULL, &cache), SOMBRA_NOMEM);
    }
    mem_test_fail_at(0, false);
    cache = new_cache(64 * MiB, NULL);
    size_t kept = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        assert_int_equal(cache_block_new(cache, 100, &data, &block), SOMBRA_OK);
        put_le64(data, 1);
        put_le64(data + 8, i);
        mem_test_fail_at(1, true); /* its shard cannot grow */
        cache_release(cache, cache_add(cache, 1, i, block));
        mem_test_fail_at(0, false);
        kept += holds(cache, 1, i);
    }
    assert_true(kept > 1000 && kept < 10000);
    mem_test_fail_at(1, false);
    assert_int_equal(cache_block_new(cache, 100, &data, &block), SOMBRA_NOMEM);
    assert_int_equal(cache_block_new(cache, SIZE_MAX - 8, &data, &block), SOMBRA_NOMEM);
    cache_free(cache);
    assert_int_equal(mem_test_live(), 0);
}

/* ---- threads ----------------------------------------------------------------------------- */

enum { THREADS = 4, STEPS = 20000, NAMES = 400 };

struct worker {
    struct os_thread thread;
    struct cache *cache;
    uint64_t seed;
    uint64_t wrong;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct cache_block *held[8] = { NULL };
    struct random random;
    random_seed(&random, worker->seed);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t table = random_below(&random, 4);
        uint64_t offset = random_below(&random, NAMES);
        size_t at = step % COUNT_OF(held);
        uint8_t *data;
        struct cache_block *block = cache_get(worker->cache, table, offset);
        if (!block && !cache_block_new(worker->cache, 64, &data, &block)) {
            put_le64(data, table);
            put_le64(data + 8, offset);
            block = offset % 2 ? cache_offer(worker->cache, table, offset, block)
                               : cache_add(worker->cache, table, offset, block);
        }
        if (!block || get_le64(block->data) != table || get_le64(block->data + 8) != offset)
            worker->wrong++;
        cache_release(worker->cache, held[at]);
        held[at] = block;
        if (step % 1000 == 0)
            cache_drop_table(worker->cache, table);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        cache_release(worker->cache, held[i]);
    return NULL;
}

static void test_cache__threads_get_whole_blocks_within_the_bound(void **state)
{
    static struct worker workers[THREADS];
    struct cache *cache = new_cache(80 * KiB, NULL);
    uint64_t seed = seed_of();
    (void)state;
    for (uint64_t i = 0; i < THREADS; i++) {
        workers[i].cache = cache;
        workers[i].seed = seed * THREADS + i;
        assert_int_equal(os_thread_start(&workers[i].thread, work, &workers[i]), SOMBRA_OK);
    }
    for (size_t i = 0; i < THREADS; i++) {
        os_thread_join(&workers[i].thread);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_true(cache_bytes(cache) <= 80 * KiB);
    cache_free(cache); /* asserts that nothing is in use */
}

static void test_cache__another_bound_holds_at_once(void **state)
{
    (void)state;
    struct cache *cache = new_cache(100 * BLOCK_BYTES, NULL);
    for (uint64_t i = 0; i < 80; i++)
        cache_release(cache, add(cache, 1, i, BLOCK_BYTES));
    assert_true(cache_bytes(cache) >= 80 * BLOCK_BYTES);
    assert_false(cache_is_short(cache));
    cache_limit(cache, 10 * BLOCK_BYTES, true);
    assert_true(cache_bytes(cache) <= 10 * BLOCK_BYTES);
    assert_true(cache_is_short(cache));
    cache_limit(cache, 100 * BLOCK_BYTES, false);
    for (uint64_t i = 0; i < 80; i++)
        cache_release(cache, add(cache, 1, i, BLOCK_BYTES));
    assert_true(cache_bytes(cache) >= 80 * BLOCK_BYTES);
    assert_false(cache_is_short(cache));
    cache_free(cache);
}

/* ---- read-around ------------------------------------------------------------------------- */

static void test_cache__read_around_ends_where_it_does_not_pay(void **state)
{
    (void)state;
    struct cache *cache;
    assert_int_equal(cache_new(1 * MiB, NULL, &cache), SOMBRA_OK);
    unsigned windows = 0, steps = 0;
    for (unsigned got; (got = cache_may_read_around(cache, false)) > 0; steps++) {
        assert_in_range(got, 1, CACHE_AROUND_MAX);
        assert_true(got == 1 || steps > 0);
        windows += got;
        assert_true(steps < 1000000);
    }
    assert_in_range(windows, 100, 10000); /* it has never paid */
    assert_int_equal(cache_may_read_around(cache, true), 0);
    assert_int_equal(cache_may_read_around(cache, false), 1); /* earned by that */
    for (int i = 0; i < 1000; i++)
        assert_int_equal(cache_may_read_around(cache, true), 0);
    assert_int_equal(cache_may_read_around(cache, false), CACHE_AROUND_MAX);
    cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache__gives_what_was_added_under_its_name),
        cmocka_unit_test(test_cache__second_block_of_a_name_gives_the_first),
        cmocka_unit_test(test_cache__stays_within_its_bound),
        cmocka_unit_test(test_cache__used_blocks_outlive_unused_ones),
        cmocka_unit_test(test_cache__blocks_in_use_stay_and_the_excess_goes_with_them),
        cmocka_unit_test(test_cache__charged_memory_takes_the_place_of_blocks),
        cmocka_unit_test(test_cache__blocks_in_use_go_when_they_are_released),
        cmocka_unit_test(test_cache__a_full_one_keeps_what_is_offered_twice),
        cmocka_unit_test(test_cache__forgets_the_blocks_of_a_table),
        cmocka_unit_test(test_cache__without_memory_blocks_are_just_not_kept),
        cmocka_unit_test(test_cache__threads_get_whole_blocks_within_the_bound),
        cmocka_unit_test(test_cache__another_bound_holds_at_once),
        cmocka_unit_test(test_cache__read_around_ends_where_it_does_not_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
