/* SPDX-License-Identifier: MIT */
/* lua/host/memory.c: the allocator of the program's Lua state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>

#include "memory.h"

enum { BLOCKS = 300, OPERATIONS = 200000, LONGEST_BYTES = 1200 };

static uint64_t random_state = 7;
static size_t random_below(size_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random_state >> 33) % limit;
}

struct block {
    unsigned char *at;
    size_t bytes;
    unsigned char mark; /* what it is full of */
};

static void check(const struct block *block)
{
    for (size_t i = 0; i < block->bytes; i++)
        assert_int_equal(block->mark, block->at[i]);
}

/* Blocks that overlap would show each other's marks. */
static void test_blocks_of_all_sizes_keep_their_bytes(void **state)
{
    static struct block blocks[BLOCKS];
    (void)state;
    for (size_t i = 0; i < OPERATIONS; i++) {
        struct block *block = &blocks[random_below(BLOCKS)];
        const size_t bytes = random_below(4) ? random_below(LONGEST_BYTES) : 0;
        check(block);
        block->at = memory_allocate(NULL, block->at, block->at ? block->bytes : LUA_TTABLE, bytes);
        assert_true((block->at != NULL) == (bytes > 0));
        assert_int_equal(0, (uintptr_t)block->at % 16);
        const size_t kept = bytes < block->bytes ? bytes : block->bytes;
        for (size_t k = 0; k < kept; k++)
            assert_int_equal(block->mark, block->at[k]);
        block->bytes = bytes;
        block->mark = (unsigned char)i;
        if (bytes)
            memset(block->at, block->mark, bytes);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        (void)memory_allocate(NULL, blocks[i].at, blocks[i].bytes, 0);
}

static void test_a_state_lives_and_ends(void **state)
{
    (void)state;
    lua_State *L = memory_new_state();
    assert_non_null(L);
    luaL_openlibs(L);
    assert_int_equal(LUA_OK, luaL_dostring(L, "local kept = {}\n"
                                              "for i = 1, 200000 do\n"
                                              "  kept[i % 1000] = {i, ('x'):rep(i % 700), {}}\n"
                                              "end\n"
                                              "collectgarbage()\n"
                                              "for i = 0, 999 do\n"
                                              "  assert(#kept[i][2] == kept[i][1] % 700)\n"
                                              "end"));
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_of_all_sizes_keep_their_bytes),
        cmocka_unit_test(test_a_state_lives_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
