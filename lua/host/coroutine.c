/* SPDX-License-Identifier: MIT */
/* coroutine.resume, wrap and close as the Lua 5.4 manual has them, noting the running state for
 * interrupt.c around everything that runs Lua code on another state. */
#include "interrupt.h"

#include <lauxlib.h>
#include <lualib.h>

enum { RESULT_IS_ERROR = -1 };

/* Closes pending to-be-closed variables, which runs Lua code on `coroutine`. */
static int reset_noted(lua_State *L, lua_State *coroutine)
{
    lua_State *before = interrupt_enter(coroutine);
#if defined(LUA_VERSION_RELEASE_NUM) && LUA_VERSION_RELEASE_NUM >= 50406
    int status = lua_closethread(coroutine, L);
#else
    int status = lua_resetthread(coroutine);
    (void)L;
#endif

    (void)interrupt_enter(before);
    return status;
}

/* The top `argument_count` values of L go in. Leaves the results on L and returns their number,
 * or leaves the error value and returns RESULT_IS_ERROR. */
static int resume_noted(lua_State *L, lua_State *coroutine, int argument_count)
{
    lua_State *before;
    int status;
    int result_count = 0;

    if (!lua_checkstack(coroutine, argument_count)) {
        lua_pushliteral(L, "too many arguments to resume");
        return RESULT_IS_ERROR;
    }
    lua_xmove(L, coroutine, argument_count);
    before = interrupt_enter(coroutine);
    status = lua_resume(coroutine, L, argument_count, &result_count);
    (void)interrupt_enter(before);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(coroutine, L, 1);
        return RESULT_IS_ERROR;
    }
    if (!lua_checkstack(L, result_count + 1)) {
        lua_pop(coroutine, result_count);
        lua_pushliteral(L, "too many results to resume");
        return RESULT_IS_ERROR;
    }
    lua_xmove(coroutine, L, result_count);
    return result_count;
}

static lua_State *check_coroutine(lua_State *L)
{
    lua_State *coroutine = lua_tothread(L, 1);

    luaL_argexpected(L, coroutine, 1, "thread");
    return coroutine;
}

static int coroutine_resume(lua_State *L)
{
    lua_State *coroutine = check_coroutine(L);
    int count = resume_noted(L, coroutine, lua_gettop(L) - 1);
    const bool has_failed = count == RESULT_IS_ERROR;

    if (has_failed)
        count = 1;
    lua_pushboolean(L, !has_failed);
    lua_insert(L, -(count + 1));
    return count + 1;
}

/* The function that coroutine.wrap returns. */
static int call_wrapped(lua_State *L)
{
    lua_State *coroutine = lua_tothread(L, lua_upvalueindex(1));
    int count = resume_noted(L, coroutine, lua_gettop(L));
    int status;

    if (count != RESULT_IS_ERROR)
        return count;
    status = lua_status(coroutine);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = reset_noted(L, coroutine);
        lua_xmove(coroutine, L, 1); /* closing may have replaced the error */
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int coroutine_wrap(lua_State *L)
{
    lua_State *coroutine;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    coroutine = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, coroutine, 1);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

/* "running" and "normal" coroutines are in the middle of a call and cannot be closed. */
static const char *name_if_active(lua_State *L, lua_State *coroutine)
{
    lua_Debug activation;

    if (L == coroutine)
        return "running";
    if (lua_status(coroutine) == LUA_OK && lua_getstack(coroutine, 0, &activation))
        return "normal";
    return NULL;
}

static int coroutine_close(lua_State *L)
{
    lua_State *coroutine = check_coroutine(L);
    const char *active = name_if_active(L, coroutine);

    if (active != NULL)
        return luaL_error(L, "cannot close a %s coroutine", active);
    if (reset_noted(L, coroutine) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(coroutine, L, 1);
    return 2;
}

void interrupt_open_coroutines(lua_State *L)
{
    static const luaL_Reg functions[] = { { "resume", coroutine_resume },
                                          { "wrap", coroutine_wrap },
                                          { "close", coroutine_close },
                                          { NULL, NULL } };

    lua_getglobal(L, LUA_COLIBNAME);
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
