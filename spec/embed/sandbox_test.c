/* SPDX-License-Identifier: MIT */
/* The sandbox by itself: every allocation failing in turn, states that begin as copies, and keys
 * that collide. What scripts may and may not do is in spec/lua/sandbox_spec.lua.
 */
#include "sandbox/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include <cmocka.h>

/* ---- allocations of this program ---------------------------------------------------------- */

static long fail_at; /* 1 = the next; 0 = none */
static bool is_counting;
static long live;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void __wrap_free(void *block);

static bool is_failing(void)
{
    return fail_at > 0 && --fail_at == 0;
}
static void *counted(void *block)
{
    live += is_counting && block;
    return block;
}
void *__wrap_malloc(size_t bytes)
{
    return is_failing() ? NULL : counted(__real_malloc(bytes));
}
void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_failing() ? NULL : counted(__real_calloc(count, bytes));
}
void *__wrap_realloc(void *block, size_t bytes)
{
    if (is_failing())
        return NULL;
    return block ? __real_realloc(block, bytes) : counted(__real_realloc(block, bytes));
}
void __wrap_free(void *block)
{
    live -= is_counting && block;
    __real_free(block);
}

/* ---- runs --------------------------------------------------------------------------------- */

static int prepare(lua_State *L)
{
    lua_pushinteger(L, 42);
    lua_setglobal(L, "answer");
    return 0;
}

struct run {
    const char *text;
    uint64_t time_us; /* 0 = a minute */
    char result[64];
    enum sandbox_end end;
    lua_Integer count; /* what the program has left in that global */
};

/* A Lua status; -1 if there was no memory for a sandbox. */
static int run(struct run *run, bool is_prepared)
{
    struct sandbox_limits limits = { .time_us = run->time_us ? run->time_us : 60000000,
                                     .memory_bytes = 8 << 20 };
    struct sandbox *sandbox =
        is_prepared ? sandbox_new_prepared(&limits, 7, prepare) : sandbox_new(&limits, 7, true);
    run->result[0] = '\0';
    if (!sandbox)
        return -1;
    sandbox_start(sandbox);
    lua_State *L = sandbox_state(sandbox);
    int status = sandbox_load(L, run->text, strlen(run->text), "=test");
    if (status == LUA_OK)
        status = sandbox_call(sandbox, 0, 1);
    if (lua_type(L, -1) == LUA_TSTRING)
        strncat(run->result, lua_tostring(L, -1), sizeof run->result - 1);
    run->end = sandbox_end_of(sandbox);
    lua_getglobal(L, "count");
    run->count = lua_tointeger(L, -1);
    sandbox_free(sandbox);
    return status;
}

static const char *const programs[] = {
    "return 'done'",
    "local t = {} for i = 1, 2000 do t[i] = ('x'):rep(i % 50) .. i end return #table.concat(t) > 0 "
    "and 'done'",
    "local t = {} for i = 1, 40 do t[i] = coroutine.wrap(function(...) coroutine.yield(...) end) "
    "t[i](i) end "
    "return 'done'",
    "for i = 1, 30 do pcall(error, { i }) load('return ' .. i)() string.format('%s %d', i, i) end "
    "return (('abc'):rep(200):gsub('b', '%0%0')):sub(1, 0) .. 'done'",
    "local t = {} for i = 1, 5000 do t[i * 7] = i end for i = 1, 5000 do t[i * 7] = nil end return "
    "'done'",
};
enum { PROGRAM_COUNT = sizeof programs / sizeof programs[0] };

/* Every allocation that a program makes from nothing fails once. */
static void test_sandbox__survives_each_failed_allocation(void **state)
{
    (void)state;
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        struct run r = { .text = programs[i] };
        assert_int_equal(run(&r, false), LUA_OK);
        assert_string_equal(r.result, "done");
        long step = 1, n = 1;
        for (bool is_over = false; !is_over; n += step) {
            live = 0;
            is_counting = true;
            fail_at = n;
            int status = run(&r, false);
            is_over = fail_at > 0;
            fail_at = 0;
            is_counting = false;
            assert_int_equal(live, 0);
            if (status == LUA_OK) /* Lua collects and asks again */
                assert_string_equal(r.result, "done");
            if (n > 400) /* of the opening, and the start of the program, every one */
                step = 1 + n / 100;
        }
        assert_true(n > 200);
    }
}

/* From a cold start, and from an image. */
static void test_sandbox__survives_them_when_it_begins_as_a_copy(void **state)
{
    (void)state;
    for (int i = 0; i < PROGRAM_COUNT; i++) {
        struct run r = { .text = programs[i] };
        for (long n = 1; n < 40; n++) {
            fail_at = n;
            int status = run(&r, true);
            fail_at = 0;
            if (status == LUA_OK)
                assert_string_equal(r.result, "done");
        }
        assert_int_equal(run(&r, true), LUA_OK);
        assert_string_equal(r.result, "done");
    }
}

static void test_sandbox__begins_anew_each_time(void **state)
{
    struct run r = { .text = "string.leak = (string.leak or 0) + 1 answer = answer + 1 "
                             "getmetatable = nil return answer .. ' ' .. string.leak" };
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(run(&r, true), LUA_OK);
        assert_string_equal(r.result, "43 1");
    }
    r.text = "local t = {} while true do t[#t + 1] = {} end";
    assert_int_not_equal(run(&r, true), LUA_OK);
    assert_int_not_equal(r.end, SANDBOX_LIVES);
    r.text = "return tostring(answer)";
    assert_int_equal(run(&r, true), LUA_OK);
    assert_string_equal(r.result, "42");
}

static void test_sandbox__refuses_keys_that_collide(void **state)
{
    struct run r;
    (void)state;
    static const char *const floods[] = {
        "local t = {} for i = 1, (1 << 13) + 2 do t[i * ((1 << 14) - 1)] = i end return 'done'",
        "local t = {} for i = 1, (1 << 15) + 2 do t[-i * ((1 << 16) - 1)] = i end return 'done'",
    };
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        r = (struct run){ .text = floods[i] };
        assert_int_not_equal(run(&r, true), LUA_OK);
        assert_int_equal(r.end, SANDBOX_COLLISIONS);
    }
    r = (struct run){ .text =
                          "local t = {} for i = 1, 30000 do t[i * 65536] = i t['k' .. i] = i end "
                          "return 'done'" };
    assert_int_equal(run(&r, true), LUA_OK);
}

/* An instruction that fills a long buffer, or makes a large table anew, takes milliseconds, and the
 * hook comes after a thousand of them: here it is late already when the first block is made. */
static void test_sandbox__is_not_late_where_instructions_make_long_blocks(void **state)
{
    struct run r = { .time_us = 1,
                     .text = "count = 0 for i = 1, 10 do string.pack('c100000', '') "
                             "count = count + 1 end" };
    (void)state;
    assert_int_not_equal(run(&r, true), LUA_OK);
    assert_int_equal(r.end, SANDBOX_TIME);
    assert_int_equal(r.count, 0);
}

static void test_sandbox__counts_memory_that_is_not_the_states(void **state)
{
    const struct sandbox_limits limits = { .time_us = 60000000, .memory_bytes = 8 << 20 };
    struct sandbox *sandbox = sandbox_new(&limits, 7, true);
    (void)state;
    assert_non_null(sandbox);
    sandbox_start(sandbox);
    const size_t before = sandbox_memory(sandbox);
    assert_true(sandbox_take_memory(sandbox, 7 << 20));
    assert_int_equal(sandbox_memory(sandbox), before + (7 << 20));
    assert_false(sandbox_has_memory(sandbox, 1 << 20));
    sandbox_give_memory(sandbox, 1 << 20);
    assert_true(sandbox_has_memory(sandbox, 1 << 20));
    assert_int_equal(sandbox_end_of(sandbox), SANDBOX_LIVES);
    assert_false(sandbox_take_memory(sandbox, 3 << 20));
    assert_int_equal(sandbox_end_of(sandbox), SANDBOX_MEMORY);
    sandbox_give_memory(sandbox, 6 << 20);
    sandbox_free(sandbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox__survives_each_failed_allocation),
        cmocka_unit_test(test_sandbox__survives_them_when_it_begins_as_a_copy),
        cmocka_unit_test(test_sandbox__begins_anew_each_time),
        cmocka_unit_test(test_sandbox__refuses_keys_that_collide),
        cmocka_unit_test(test_sandbox__is_not_late_where_instructions_make_long_blocks),
        cmocka_unit_test(test_sandbox__counts_memory_that_is_not_the_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
