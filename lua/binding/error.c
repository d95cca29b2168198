/* SPDX-License-Identifier: MIT */
/* Error objects: {code, message, where, retryable, trace, cause, ...detail}.
 *
 * `tostring` gives "file:line: message [code]" and `..` works with text on either side, so that
 * an error object can stand wherever a message was expected.
 */
#include "binding.h"

#include <string.h>

static bool is_retryable(sombra_err code)
{
    return code == SOMBRA_BUSY;
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

/* Turns the text on top of the stack into an error object. */
static void wrap_message(lua_State *L, sombra_err code)
{
    luaL_checkstack(L, 6, "error object");
    lua_createtable(L, 0, 5);
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    set_text(L, "code", sombra_err_name(code));
    lua_pushboolean(L, is_retryable(code));
    lua_setfield(L, -2, "retryable");
    luaL_where(L, 1);
    lua_setfield(L, -2, "where");
    luaL_traceback(L, L, NULL, 1);
    lua_setfield(L, -2, "trace");
    luaL_setmetatable(L, ERROR_NAME);
}

void error_push(lua_State *L, sombra_err code)
{
    /* The text is copied before anything that may run a finalizer, which may fail itself. */
    const char *text = sombra_err_message();
    if (code == SOMBRA_NOMEM && !strstr(text, "memory"))
        text = "out of memory"; /* on this side: the engine's text is of something before */
    lua_pushstring(L, text);
    wrap_message(L, code);
}

int error_raise(lua_State *L, sombra_err code)
{
    error_push(L, code);
    return lua_error(L);
}

void error_push_text(lua_State *L, sombra_err code, const char *text)
{
    lua_pushstring(L, text);
    wrap_message(L, code);
}

int error_raise_text(lua_State *L, sombra_err code, const char *text)
{
    error_push_text(L, code, text);
    return lua_error(L);
}

int error_results(lua_State *L, sombra_err code)
{
    error_push(L, code);
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
}

/* A field of the error object at `index` as text, without metamethods; "" if it is none. */
static const char *push_field_text(lua_State *L, int index, const char *name)
{
    index = lua_absindex(L, index);
    lua_pushstring(L, name);
    lua_rawget(L, index);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
    }
    return lua_tostring(L, -1);
}

static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *where = push_field_text(L, 1, "where");
    const char *message = push_field_text(L, 1, "message");
    const char *code = push_field_text(L, 1, "code");
    lua_pushfstring(L, "%s%s [%s]", where, message, code);
    return 1;
}

static int error_concat(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

void error_register(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        { "__tostring", error_tostring },
        { "__concat", error_concat },
        { NULL, NULL },
    };
    luaL_newmetatable(L, ERROR_NAME);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
