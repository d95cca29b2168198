/* SPDX-License-Identifier: MIT */
/* mem, buf and arena: growth, limits, and every allocation failing in turn; copies. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int forget_failures(void **state)
{
    (void)state;
    mem_test_fail_at(0, false);
    return 0;
}

/* ---- mem --------------------------------------------------------------------------------- */

static void test_mem__zero_bytes_is_a_block(void **state)
{
    (void)state;
    void *blocks[] = { mem_alloc(0), mem_zalloc(0), mem_realloc(NULL, 0),
                       mem_alloc_aligned(64, 0) };
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        assert_non_null(blocks[i]);
        mem_free(blocks[i]);
    }
}

static void test_mem__zalloc_gives_zeros(void **state)
{
    (void)state;
    uint8_t *dirty = mem_alloc(512);
    memset(dirty, 0xa5, 512);
    mem_free(dirty);
    uint8_t *bytes = mem_zalloc(512);
    for (size_t i = 0; i < 512; i++)
        assert_int_equal(bytes[i], 0);
    mem_free(bytes);
}

static void test_mem__aligned_block_is_aligned(void **state)
{
    (void)state;
    for (size_t alignment = sizeof(void *); alignment <= 65536; alignment *= 2) {
        void *memory = mem_alloc_aligned(alignment, alignment + 1);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % alignment, 0);
        mem_free(memory);
    }
}

static void test_mem__impossible_size_is_refused(void **state)
{
    (void)state;
    assert_null(mem_alloc(SIZE_MAX));
    assert_null(mem_zalloc((size_t)PTRDIFF_MAX + 1));
    assert_null(mem_alloc_aligned(64, SIZE_MAX - 63));
    void *memory = mem_alloc(8);
    assert_null(mem_realloc(memory, SIZE_MAX));
    mem_free(memory);
}

/* In steps that are below, at and above the size from which blocks are laid out otherwise. */
static void test_mem__grown_block_keeps_its_bytes(void **state)
{
    (void)state;
    static const size_t steps[] = { 1, 1000, (2 << 20) - 1, 2 << 20, 5 << 20, 3 << 20, 100 };
    uint64_t before = mem_test_live();
    uint8_t *block = NULL;
    size_t bytes = 0;
    for (size_t step = 0; step < COUNT_OF(steps); step++) {
        block = mem_grow(block, bytes, steps[step]);
        assert_non_null(block);
        for (size_t i = 0; i < size_min(bytes, steps[step]); i += 97)
            assert_int_equal(block[i], (uint8_t)(i * 31));
        bytes = steps[step];
        for (size_t i = 0; i < bytes; i++)
            block[i] = (uint8_t)(i * 31);
    }
    assert_int_equal(mem_test_live(), before + 1);
    mem_free(block);
    assert_int_equal(mem_test_live(), before);
}

static void test_mem__grow_that_fails_leaves_the_block(void **state)
{
    (void)state;
    static const size_t sizes[] = { 100, 4 << 20 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *block = mem_grow(NULL, 0, 10);
        assert_non_null(block);
        memset(block, 0x5a, 10);
        mem_test_fail_at(1, false);
        assert_null(mem_grow(block, 10, sizes[i]));
        mem_test_fail_at(0, false);
        for (size_t at = 0; at < 10; at++)
            assert_int_equal(block[at], 0x5a);
        mem_free(block);
    }
    assert_null(mem_grow(NULL, 0, SIZE_MAX));
    assert_null(mem_grow(NULL, 0, (size_t)PTRDIFF_MAX - 1));
}

static void test_mem__live_counts_blocks(void **state)
{
    (void)state;
    uint64_t before = mem_test_live();
    void *grown = mem_realloc(NULL, 10);
    void *other = mem_zalloc(10);
    assert_int_equal(mem_test_live(), before + 2);
    grown = mem_realloc(grown, 4000);
    assert_int_equal(mem_test_live(), before + 2);
    mem_free(grown);
    mem_free(other);
    mem_free(NULL);
    assert_int_equal(mem_test_live(), before);
}

static void test_mem__nth_allocation_fails_once(void **state)
{
    (void)state;
    mem_test_fail_at(2, false);
    void *first = mem_alloc(1);
    assert_non_null(first);
    assert_null(mem_realloc(first, 100));
    void *third = mem_alloc(1);
    assert_non_null(third);
    mem_free(first);
    mem_free(third);
}

static void test_mem__sticky_failure_stays_until_switched_off(void **state)
{
    (void)state;
    uint64_t before = mem_test_allocations();
    mem_test_fail_at(1, true);
    assert_null(mem_alloc(1));
    assert_null(mem_zalloc(1));
    assert_null(mem_alloc_aligned(16, 1));
    assert_int_equal(mem_test_allocations(), before + 3);
    mem_test_fail_at(0, false);
    void *memory = mem_alloc(1);
    assert_non_null(memory);
    mem_free(memory);
}

/* ---- buf --------------------------------------------------------------------------------- */

static void test_buf__appends_build_the_bytes(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    uint8_t *at = NULL;
    assert_int_equal(buf_append(&buf, "abc", 3), SOMBRA_OK);
    assert_int_equal(buf_append(&buf, NULL, 0), SOMBRA_OK);
    assert_int_equal(buf_append_u8(&buf, 'd'), SOMBRA_OK);
    assert_int_equal(buf_append_varint(&buf, 300), SOMBRA_OK);
    assert_int_equal(buf_append_slice(&buf, slice_str("xyz")), SOMBRA_OK);
    assert_int_equal(buf_extend(&buf, 2, &at), SOMBRA_OK);
    memcpy(at, "!?", 2);
    assert_true(slice_equal(buf_slice(&buf), slice_of("abcd\xac\x02xyz!?", 11)));
    buf_release(&buf);
    assert_null(buf.data);
}

static void test_buf__growth_keeps_content(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(buf_append_u8(&buf, (uint8_t)(i * 7)), SOMBRA_OK);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], (uint8_t)(i * 7));
    size_t capacity = buf.capacity;
    buf_reset(&buf);
    assert_int_equal(buf.capacity, capacity);
    assert_int_equal(buf.bytes, 0);
    buf_release(&buf);
}

static void test_buf__set_from_its_own_bytes(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    assert_int_equal(buf_set(&buf, slice_str("0123456789")), SOMBRA_OK);
    assert_int_equal(buf_set(&buf, slice_of(buf.data + 2, 8)), SOMBRA_OK);
    assert_true(slice_equal(buf_slice(&buf), slice_str("23456789")));
    assert_int_equal(buf_set(&buf, slice_of(NULL, 0)), SOMBRA_OK);
    assert_int_equal(buf.bytes, 0);
    buf_release(&buf);
}

static void test_buf__set_grows_a_full_buffer(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    char large[1000];
    memset(large, 'L', sizeof large);
    assert_int_equal(buf_set(&buf, slice_str("small")), SOMBRA_OK);
    assert_int_equal(buf_set(&buf, slice_of(large, sizeof large)), SOMBRA_OK);
    assert_true(slice_equal(buf_slice(&buf), slice_of(large, sizeof large)));
    buf_release(&buf);
}

static void test_buf__failed_growth_changes_nothing(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT;
    char large[1000] = { 0 };
    uint8_t *at = NULL;
    assert_int_equal(buf_set(&buf, slice_str("kept")), SOMBRA_OK);
    size_t capacity = buf.capacity;
    mem_test_fail_at(1, true);
    assert_int_equal(buf_reserve(&buf, 1000), SOMBRA_NOMEM);
    assert_int_equal(buf_extend(&buf, 1000, &at), SOMBRA_NOMEM);
    assert_int_equal(buf_append(&buf, large, sizeof large), SOMBRA_NOMEM);
    assert_int_equal(buf_set(&buf, slice_of(large, sizeof large)), SOMBRA_NOMEM);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX), SOMBRA_NOMEM);
    assert_int_equal(buf_reserve(&buf, SIZE_MAX - 4), SOMBRA_NOMEM);
    assert_null(at);
    assert_int_equal(buf.capacity, capacity);
    assert_true(slice_equal(buf_slice(&buf), slice_str("kept")));
    buf_release(&buf);
}

/* By steps, to 40 MiB: so few are the copies. Where there is no room for so much it doubles. */
static void test_buf__large_growth_is_seldom_copied(void **state)
{
    (void)state;
    const size_t step_bytes = 256 << 10, all_bytes = 40 << 20, copied_from_bytes = 2 << 20;
    for (unsigned fails = 0; fails < 2; fails++) {
        struct buf buf = BUF_INIT;
        unsigned moves = 0;
        while (buf.bytes < all_bytes) {
            uint8_t *at;
            size_t capacity = buf.capacity;
            if (fails)
                mem_test_fail_at(1, false);
            sombra_err err = buf_extend(&buf, step_bytes, &at);
            mem_test_fail_at(0, false);
            assert_true(err == SOMBRA_OK || buf.capacity < copied_from_bytes);
            if (err)
                assert_int_equal(buf_extend(&buf, step_bytes, &at), SOMBRA_OK);
            moves += capacity >= copied_from_bytes && buf.capacity > capacity;
        }
        assert_in_range(moves, fails ? 4 : 1, fails ? 5 : 2);
        buf_release(&buf);
    }
}

/* ---- arena ------------------------------------------------------------------------------- */

/* Blocks of random sizes, each filled with its number: none may overlap another or move. */
static void test_arena__blocks_are_aligned_and_disjoint(void **state)
{
    (void)state;
    enum { BLOCKS = 2000 };
    static struct {
        uint8_t *at;
        size_t bytes;
    } blocks[BLOCKS];
    struct arena arena = ARENA_INIT;
    struct random random;
    random_seed(&random, 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = (size_t)random_below(&random, i % 50 == 0 ? 100000 : 200);
        blocks[i].bytes = bytes;
        blocks[i].at = arena_alloc(&arena, bytes);
        assert_non_null(blocks[i].at);
        assert_int_equal((uintptr_t)blocks[i].at % 16, 0);
        memset(blocks[i].at, (int)(i & 0xff), bytes);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        for (size_t at = 0; at < blocks[i].bytes; at++)
            assert_int_equal(blocks[i].at[at], i & 0xff);
    arena_release(&arena);
}

static void test_arena__zero_bytes_is_a_block(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    void *first = arena_alloc(&arena, 0);
    void *second = arena_alloc(&arena, 0);
    assert_non_null(first);
    assert_ptr_not_equal(first, second);
    assert_non_null(arena_copy(&arena, slice_of(NULL, 0)).data);
    arena_release(&arena);
}

static void test_arena__release_returns_every_block(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    uint64_t live = mem_test_live();
    for (size_t bytes = 1; bytes < 1000000; bytes *= 3)
        assert_non_null(arena_alloc(&arena, bytes));
    assert_true(arena.bytes_total >= 700000);
    arena_release(&arena);
    assert_int_equal(mem_test_live(), live);
    assert_int_equal(arena.bytes_total, 0);
    arena_release(&arena);
}

static void test_arena__reset_keeps_one_chunk_for_reuse(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    uint64_t live = mem_test_live();
    arena_reset(&arena);
    for (size_t i = 0; i < 5000; i++)
        assert_non_null(arena_alloc(&arena, 100));
    arena_reset(&arena);
    assert_int_equal(mem_test_live(), live + 1);
    uint64_t allocations = mem_test_allocations();
    for (size_t i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&arena, 100));
    assert_int_equal(mem_test_allocations(), allocations);
    arena_release(&arena);
}

static void test_arena__small_blocks_go_on_beside_a_large_one(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    uint8_t *before = arena_alloc(&arena, 16);
    assert_non_null(arena_alloc(&arena, 500000));
    uint8_t *after = arena_alloc(&arena, 16);
    assert_ptr_equal(after, before + 16);
    arena_release(&arena);
}

static void test_arena__failed_allocation_leaves_it_usable(void **state)
{
    (void)state;
    struct arena arena = ARENA_INIT;
    mem_test_fail_at(1, false);
    assert_null(arena_alloc(&arena, 10));
    sombra_slice copy = arena_copy(&arena, slice_str("kept"));
    assert_true(slice_equal(copy, slice_str("kept")));
    mem_test_fail_at(1, true);
    assert_null(arena_alloc(&arena, 1000000));
    assert_null(arena_copy(&arena, slice_of(NULL, PTRDIFF_MAX)).data);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_true(slice_equal(copy, slice_str("kept")));
    arena_release(&arena);
}

/* ---- copy -------------------------------------------------------------------------------- */

static void expect_copied(size_t to_offset, size_t from_offset, size_t bytes)
{
    enum { ROOM = 8192 + 256 };
    static uint8_t from[ROOM], to[ROOM], expected[ROOM];
    for (size_t i = 0; i < ROOM; i++) {
        from[i] = (uint8_t)(i * 167 + i / 256);
        to[i] = expected[i] = 0xA5;
    }
    for (size_t i = 0; i < bytes; i++)
        expected[to_offset + i] = from[from_offset + i];
    copy_wide(to + to_offset, from + from_offset, bytes);
    assert_memory_equal(to, expected, ROOM);
}

static void test_copy__any_length_at_any_place(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= 700; bytes++)
        expect_copied(bytes % 67, bytes % 61, bytes);
    for (size_t offset = 0; offset < 64; offset++) {
        expect_copied(offset, 63 - offset, 8192);
        expect_copied(offset, offset, 4096 + offset);
    }
}

#define ALLOCATION_TEST(name) cmocka_unit_test_teardown(name, forget_failures)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALLOCATION_TEST(test_mem__zero_bytes_is_a_block),
        ALLOCATION_TEST(test_mem__zalloc_gives_zeros),
        ALLOCATION_TEST(test_mem__aligned_block_is_aligned),
        ALLOCATION_TEST(test_mem__impossible_size_is_refused),
        ALLOCATION_TEST(test_mem__grown_block_keeps_its_bytes),
        ALLOCATION_TEST(test_mem__grow_that_fails_leaves_the_block),
        ALLOCATION_TEST(test_mem__live_counts_blocks),
        ALLOCATION_TEST(test_mem__nth_allocation_fails_once),
        ALLOCATION_TEST(test_mem__sticky_failure_stays_until_switched_off),
        ALLOCATION_TEST(test_buf__appends_build_the_bytes),
        ALLOCATION_TEST(test_buf__growth_keeps_content),
        ALLOCATION_TEST(test_buf__set_from_its_own_bytes),
        ALLOCATION_TEST(test_buf__set_grows_a_full_buffer),
        ALLOCATION_TEST(test_buf__failed_growth_changes_nothing),
        ALLOCATION_TEST(test_buf__large_growth_is_seldom_copied),
        ALLOCATION_TEST(test_arena__blocks_are_aligned_and_disjoint),
        ALLOCATION_TEST(test_arena__zero_bytes_is_a_block),
        ALLOCATION_TEST(test_arena__release_returns_every_block),
        ALLOCATION_TEST(test_arena__reset_keeps_one_chunk_for_reuse),
        ALLOCATION_TEST(test_arena__small_blocks_go_on_beside_a_large_one),
        ALLOCATION_TEST(test_arena__failed_allocation_leaves_it_usable),
        cmocka_unit_test(test_copy__any_length_at_any_place),
    };
    mem_test_fail_at(0, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
