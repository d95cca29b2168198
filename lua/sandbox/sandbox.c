/* SPDX-License-Identifier: MIT */
#include "sandbox_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>

enum {
    HOOK_INSTRUCTIONS = 1000,        /* between two looks at the clock */
    HOOK_INSTRUCTIONS_MIN = 5,       /* where one may compare strings of many megabytes */
    HOOK_INSTRUCTIONS_THREADS = 100, /* where there are several threads */
    LONG_STRING_BYTES = 64 << 10,    /* a thousand instructions with those are not too long */
    TICK_WORK = 20000,               /* about as long */
    WORK_OF_INSTRUCTION = 8,         /* what one VM instruction weighs in ticks */
    TRACEBACK_BYTES_MAX = 1 << 14    /* of an error's text that gets a traceback */
};

static const struct sandbox_limits defaults = { .time_us = 1000000,
                                                .memory_bytes = (size_t)64 << 20,
                                                .block_bytes = (size_t)20 << 20 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

struct sandbox *sandbox_of(lua_State *L)
{
    return *(struct sandbox **)lua_getextraspace(L);
}

lua_State *sandbox_state(struct sandbox *sandbox)
{
    return sandbox->L;
}

bool sandbox_is_killed(lua_State *L)
{
    return sandbox_of(L)->end != SANDBOX_LIVES;
}

/* ---- memory ------------------------------------------------------------------------------ */

void sandbox_check_block(lua_State *L, uint64_t bytes, const char *what)
{
    const struct sandbox *sandbox = sandbox_of(L);
    if (!sandbox->limits.is_unlimited && bytes > sandbox->limits.block_bytes)
        luaL_error(L, "%s: the result would be longer than %I bytes", what,
                   (lua_Integer)sandbox->limits.block_bytes);
}

size_t sandbox_memory(const struct sandbox *sandbox)
{
    return sandbox->memory;
}

/* ---- time and work ----------------------------------------------------------------------- */

static void hook(lua_State *L, lua_Debug *event);

bool sandbox_is_late(const struct sandbox *sandbox)
{
    return sandbox->deadline_ns && now_ns() >= sandbox->deadline_ns;
}

bool sandbox_is_interrupted(struct sandbox *sandbox)
{
    if (sandbox->end == SANDBOX_LIVES && sandbox->watch && sandbox->watch(sandbox->watch_context))
        sandbox->end = SANDBOX_INTERRUPTED;
    return sandbox->end == SANDBOX_INTERRUPTED;
}

bool sandbox_is_over(struct sandbox *sandbox)
{
    if (sandbox->end != SANDBOX_LIVES)
        return true;
    if (sandbox_is_late(sandbox))
        sandbox->end = SANDBOX_TIME;
    else if (sandbox->work_max && sandbox->work >= sandbox->work_max)
        sandbox->end = SANDBOX_INSTRUCTIONS;
    else
        (void)sandbox_is_interrupted(sandbox);
    return sandbox->end != SANDBOX_LIVES;
}

/* Raises if the sandbox is dead, or is to die now. */
static void look(lua_State *L, struct sandbox *sandbox)
{
    if (!sandbox_is_over(sandbox))
        return;
    /* From here on every instruction comes by, in this thread and, for they have a hook of their
     * own, soon in the others. */
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
    lua_pushliteral(L, "killed");
    lua_error(L);
}

static void hook(lua_State *L, lua_Debug *event)
{
    struct sandbox *sandbox = sandbox_of(L);
    int instructions = lua_gethookcount(L);
    (void)event;
    sandbox->work += (uint64_t)instructions * WORK_OF_INSTRUCTION;
    look(L, sandbox);
    if (instructions != sandbox->hook_instructions)
        lua_sethook(L, hook, LUA_MASKCOUNT, sandbox->hook_instructions);
}

/* To set a hook is to begin its count anew, so that it is done seldom. */
static void hook_often(struct sandbox *sandbox, lua_State *L, int instructions)
{
    if (!sandbox->is_started || sandbox->limits.is_unlimited || sandbox->end != SANDBOX_LIVES)
        return;
    if (instructions < sandbox->hook_instructions)
        sandbox->hook_instructions = instructions;
    if (sandbox->hook_instructions < lua_gethookcount(L))
        lua_sethook(L, hook, LUA_MASKCOUNT, sandbox->hook_instructions);
}

void sandbox_note_thread(lua_State *L)
{
    hook_often(sandbox_of(L), L, HOOK_INSTRUCTIONS_THREADS);
}

void sandbox_note_string(struct sandbox *sandbox, size_t bytes)
{
    int instructions = HOOK_INSTRUCTIONS;
    while (bytes > LONG_STRING_BYTES && instructions > HOOK_INSTRUCTIONS_MIN) {
        instructions /= 2;
        bytes /= 2;
    }
    /* Which thread runs is not known here; the others learn of it at their next hook. */
    if (instructions < sandbox->hook_instructions)
        hook_often(sandbox, sandbox->L, instructions);
}

void sandbox_tick(lua_State *L, uint64_t work)
{
    struct sandbox *sandbox = sandbox_of(L);
    if (__builtin_add_overflow(sandbox->work, work, &sandbox->work))
        sandbox->work = UINT64_MAX;
    if (sandbox->end == SANDBOX_LIVES && sandbox->work < sandbox->tick_at)
        return;
    sandbox->tick_at =
        sandbox->work > UINT64_MAX - TICK_WORK ? UINT64_MAX : sandbox->work + TICK_WORK;
    if (sandbox->is_started)
        look(L, sandbox);
}

void sandbox_look(lua_State *L)
{
    struct sandbox *sandbox = sandbox_of(L);
    if (!sandbox->is_started)
        return;
    /* A few milliseconds behind, for a fifth of the price. */
    uint64_t now = clock_ns(CLOCK_MONOTONIC_COARSE);
    bool is_late = sandbox->deadline_ns && now >= sandbox->deadline_ns;
    bool is_due = now != sandbox->asked_ns; /* the watch is asked once a tick of that clock */
    sandbox->asked_ns = now;
    if (is_late || sandbox->end != SANDBOX_LIVES || (is_due && sandbox_is_interrupted(sandbox)))
        look(L, sandbox);
}

void sandbox_set_watch(struct sandbox *sandbox, bool (*watch)(void *context), void *context)
{
    sandbox->watch = watch;
    sandbox->watch_context = context;
}

enum sandbox_end sandbox_end_of(const struct sandbox *sandbox)
{
    return sandbox->end;
}

void sandbox_explain(const struct sandbox *sandbox, const char *subject, char *text, size_t bytes)
{
    const struct sandbox_limits *limits = &sandbox->limits;
    switch (sandbox->end) {
    case SANDBOX_TIME:
        snprintf(text, bytes, "%s ran longer than its limit of %g s", subject,
                 (double)limits->time_us / 1e6);
        return;
    case SANDBOX_INSTRUCTIONS:
        snprintf(text, bytes, "%s did more than its limit of %llu instructions", subject,
                 (unsigned long long)limits->instructions);
        return;
    case SANDBOX_MEMORY:
        snprintf(text, bytes, "%s needed more than its limit of %zu bytes of memory (%zu at once)",
                 subject, limits->memory_bytes, limits->block_bytes);
        return;
    case SANDBOX_COLLISIONS:
        snprintf(text, bytes, "%s filled a table with keys that collide", subject);
        return;
    case SANDBOX_INTERRUPTED:
        snprintf(text, bytes, "%s was interrupted", subject);
        return;
    case SANDBOX_LIVES:
        break;
    }
    snprintf(text, bytes, "%s hit no limit", subject);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static void limits_set(struct sandbox *sandbox, const struct sandbox_limits *limits)
{
    struct sandbox_limits *own = &sandbox->limits;
    *own = limits ? *limits : defaults;
    if (own->time_us == 0)
        own->time_us = defaults.time_us;
    if (own->memory_bytes == 0)
        own->memory_bytes = defaults.memory_bytes;
    if (own->block_bytes == 0)
        own->block_bytes = defaults.block_bytes;
    if (own->block_bytes > own->memory_bytes)
        own->block_bytes = own->memory_bytes;
}

static int open_libraries(lua_State *L)
{
    const uint64_t *seed = lua_touserdata(L, 1);
    sandbox_open_libraries(L, *seed, lua_toboolean(L, 2));
    return 0;
}

static int seed_random(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sandbox_seed_key);
    lua_insert(L, 1);
    lua_call(L, 2, 0);
    return 0;
}

static bool state_open(struct sandbox *sandbox, uint64_t seed, bool has_clock)
{
    sandbox->L = lua_newstate(sandbox_allocate, sandbox);
    if (!sandbox->L)
        return false;
    /* New threads of the state get a copy. */
    *(struct sandbox **)lua_getextraspace(sandbox->L) = sandbox;
    lua_pushcfunction(sandbox->L, open_libraries);
    lua_pushlightuserdata(sandbox->L, &seed);
    lua_pushboolean(sandbox->L, has_clock);
    return lua_pcall(sandbox->L, 2, 0, 0) == LUA_OK;
}

struct sandbox *sandbox_new(const struct sandbox_limits *limits, uint64_t seed, bool has_clock)
{
    struct sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox)
        return NULL;
    limits_set(sandbox, limits);
    if (!state_open(sandbox, seed, has_clock)) {
        sandbox_free(sandbox);
        return NULL;
    }
    return sandbox;
}

/* Makes the state that the image is taken of. */
static bool prepare_state(struct sandbox *sandbox, lua_CFunction prepare)
{
    if (!state_open(sandbox, 0, true))
        return false;
    lua_pushcfunction(sandbox->L, prepare);
    if (lua_pcall(sandbox->L, 0, 0, 0) != LUA_OK)
        return false;
    lua_gc(sandbox->L, LUA_GCCOLLECT);
    return true;
}

struct sandbox *sandbox_new_prepared(const struct sandbox_limits *limits, uint64_t seed,
                                     lua_CFunction prepare)
{
    struct sandbox *sandbox = image_take(prepare);
    if (!sandbox) {
        sandbox = calloc(1, sizeof *sandbox);
        if (!sandbox)
            return NULL;
        limits_set(sandbox, NULL);
        arena_open(sandbox);
        if (!prepare_state(sandbox, prepare)) {
            sandbox_free(sandbox);
            return NULL;
        }
        image_make(sandbox, prepare);
    }
    limits_set(sandbox, limits);
    lua_pushcfunction(sandbox->L, seed_random);
    lua_pushinteger(sandbox->L, (lua_Integer)seed);
    lua_pushinteger(sandbox->L, (lua_Integer)(seed >> 32));
    if (lua_pcall(sandbox->L, 2, 0, 0) != LUA_OK) {
        sandbox_free(sandbox);
        return NULL;
    }
    return sandbox;
}

void sandbox_free(struct sandbox *sandbox)
{
    if (!sandbox)
        return;
    if (sandbox->L && !image_may_drop(sandbox))
        lua_close(sandbox->L);
    if (image_put(sandbox))
        return;
    arena_close(sandbox);
    free(sandbox);
}

void sandbox_start(struct sandbox *sandbox)
{
    const struct sandbox_limits *limits = &sandbox->limits;
    sandbox->is_started = true;
    sandbox->last_bytes = SANDBOX_LAST_BYTES;
    sandbox->work = 0;
    sandbox->tick_at = TICK_WORK;
    sandbox->deadline_ns = 0;
    sandbox->work_max = 0;
    sandbox->hook_instructions = HOOK_INSTRUCTIONS * (limits->is_unlimited ? 10 : 1);
    if (limits->is_unlimited) { /* it can still be cancelled */
        lua_sethook(sandbox->L, hook, LUA_MASKCOUNT, sandbox->hook_instructions);
        return;
    }
    uint64_t time_ns;
    if (!__builtin_mul_overflow(limits->time_us, UINT64_C(1000), &time_ns) &&
        time_ns < UINT64_MAX / 2)
        sandbox->deadline_ns = now_ns() + time_ns;
    if (limits->instructions &&
        __builtin_mul_overflow(limits->instructions, (uint64_t)WORK_OF_INSTRUCTION,
                               &sandbox->work_max))
        sandbox->work_max = UINT64_MAX;
    lua_sethook(sandbox->L, hook, LUA_MASKCOUNT, sandbox->hook_instructions);
}

void sandbox_pause(struct sandbox *sandbox)
{
    if (!sandbox->paused_ns)
        sandbox->paused_ns = now_ns();
}

void sandbox_go_on(struct sandbox *sandbox)
{
    if (sandbox->paused_ns && sandbox->deadline_ns)
        sandbox->deadline_ns += now_ns() - sandbox->paused_ns;
    sandbox->paused_ns = 0;
}

uint64_t sandbox_work(const struct sandbox *sandbox)
{
    return sandbox->work;
}

void sandbox_left(const struct sandbox *sandbox, struct sandbox_limits *out_left)
{
    struct sandbox_limits left = sandbox->limits;
    if (sandbox->deadline_ns) {
        uint64_t now = now_ns();
        left.time_us = sandbox->deadline_ns > now ? (sandbox->deadline_ns - now) / 1000 : 0;
        left.time_us += left.time_us == 0; /* 0 would be the default */
    }
    if (sandbox->work_max) {
        uint64_t work = sandbox->work < sandbox->work_max ? sandbox->work_max - sandbox->work : 0;
        left.instructions = work / WORK_OF_INSTRUCTION + 1;
    }
    left.memory_bytes -= sandbox->memory < left.memory_bytes ? sandbox->memory : 0;
    *out_left = left;
}

/* ---- code -------------------------------------------------------------------------------- */

/* The compiler has no hook, and takes a time for some texts that is not in proportion to them: it
 * gets them in pieces, between which the clock is looked at. */
struct pieces {
    const char *text;
    size_t bytes;
};

static const char *next_piece(lua_State *L, void *context, size_t *out_bytes)
{
    enum { PIECE_BYTES = 4096 };
    struct pieces *left = context;
    const char *piece = left->text;
    sandbox_look(L);
    *out_bytes = left->bytes < PIECE_BYTES ? left->bytes : PIECE_BYTES;
    left->text += *out_bytes;
    left->bytes -= *out_bytes;
    return piece;
}

int sandbox_compile(lua_State *L, const char *text, size_t bytes, const char *name)
{
    struct pieces pieces = { text, bytes };
    return lua_load(L, next_piece, &pieces, name, "t");
}

int sandbox_load(lua_State *L, const char *text, size_t bytes, const char *name)
{
    if (bytes > SANDBOX_SOURCE_BYTES_MAX && !sandbox_of(L)->limits.is_unlimited) {
        lua_pushfstring(L, "the source is longer than %d bytes", SANDBOX_SOURCE_BYTES_MAX);
        return LUA_ERRSYNTAX;
    }
    return sandbox_compile(L, text, bytes, name);
}

/* Errors that are strings get a traceback; others pass, for they may carry more. */
static int add_traceback(lua_State *L)
{
    if (sandbox_is_killed(L))
        return 1;
    if (lua_type(L, 1) == LUA_TSTRING && lua_rawlen(L, 1) <= TRACEBACK_BYTES_MAX)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int sandbox_call(struct sandbox *sandbox, int arguments, int results)
{
    lua_State *L = sandbox->L;
    int function = lua_gettop(L) - arguments;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, function);
    int status = lua_pcall(L, arguments, results, function);
    lua_remove(L, function);
    if (sandbox->end != SANDBOX_LIVES && status == LUA_OK) {
        lua_settop(L, function - 1);
        lua_pushnil(L);
        status = LUA_ERRRUN;
    }
    return status;
}
