/* SPDX-License-Identifier: MIT */
/* What interrupts Lua code while C is at work in its place: a hook of C on the state, as the host's
 * Ctrl-C sets one. Whoever takes long looks for it now and then.
 *
 * A hook of debug.sethook is Lua code, which may do what it likes to the database and to the
 * transaction: it runs no sooner than the caller does. Finalizers wait as well: a batch may be in
 * the middle, and they could end its transaction.
 */
#include "binding.h"

#include <lualib.h>

static const char scripts_hook; /* the registry's key */

/* Sets debug.sethook, which is on top, on a thread of no other use, to see what hook it is to C. */
static lua_Hook find_hook(lua_State *L)
{
    lua_State *thread = lua_newthread(L);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -4); /* any function */
    lua_pushliteral(L, "");
    lua_pushinteger(L, 1);
    lua_call(L, 4, 0);
    lua_Hook hook = lua_gethook(thread);
    lua_sethook(thread, NULL, 0, 0);
    lua_pop(L, 1);
    return hook;
}

void hook_register(lua_State *L)
{
    const int top = lua_gettop(L);
    lua_Hook *hook = lua_newuserdatauv(L, sizeof *hook, 0);
    *hook = NULL;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &scripts_hook);
    if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE &&
        lua_getfield(L, -1, LUA_DBLIBNAME) == LUA_TTABLE) {
        lua_getfield(L, -1, "sethook");
        if (lua_iscfunction(L, -1))
            *hook = find_hook(L);
    }
    lua_settop(L, top);
}

/* Protected. Argument: what the place is called. The hook gets an instruction to run at. */
static int run_hook(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &scripts_hook);
    const lua_Hook *of_scripts = lua_touserdata(L, -1);
    if (of_scripts && lua_gethook(L) == *of_scripts)
        return 0;
    /* Where the debug library came after this module: does this thread have such a hook, or had
     * one before another took its place? */
    if (of_scripts && !*of_scripts &&
        lua_getfield(L, LUA_REGISTRYINDEX, "_HOOKKEY") == LUA_TTABLE) {
        lua_pushthread(L);
        if (lua_rawget(L, -2) != LUA_TNIL)
            return 0;
    }
    if (luaL_loadbuffer(L, "return", 6, lua_touserdata(L, 1)) != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

bool hook_ends(lua_State *L, const char *place)
{
    if (LIKELY(!lua_gethook(L)) || !lua_checkstack(L, 5))
        return false;
    bool collects = lua_gc(L, LUA_GCISRUNNING);
    (void)lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, run_hook);
    lua_pushlightuserdata(L, (void *)(uintptr_t)place);
    bool is_raised = lua_pcall(L, 1, 0, 0) != LUA_OK;
    if (collects)
        (void)lua_gc(L, LUA_GCRESTART);
    return is_raised;
}

bool hook_waits_on(void *context)
{
    struct watch *watch = context;
    watch->is_raised = watch->is_raised || hook_ends(watch->L, "=database");
    return !watch->is_raised;
}

/* ---- writes of many ----------------------------------------------------------------------- */

static sombra_err ask_hook(void *context)
{
    struct watch *watch = context;
    watch->is_raised = watch->is_raised || hook_ends(watch->L, "=batch");
    return watch->is_raised ? SOMBRA_CANCELLED : SOMBRA_OK;
}

void watch_begin(lua_State *L, struct tx_handle *tx, struct watch *watch)
{
    *watch = (struct watch){ .L = L, .tx = tx };
    if (!tx->is_sandboxed) /* else its procedure is asked, and that asks this */
        watch->before = sombra_txn_set_poll(tx->txn, (sombra_txn_poll){ ask_hook, watch });
}

void watch_end(struct watch *watch)
{
    if (!watch->tx->is_sandboxed)
        (void)sombra_txn_set_poll(watch->tx->txn, watch->before);
    if (UNLIKELY(watch->is_raised))
        lua_error(watch->L);
}
