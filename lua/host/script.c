/* SPDX-License-Identifier: MIT */
#include "script.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "interrupt.h"

void script_print_error(const char *message)
{
    fflush(stdout); /* so that the two streams stay in order on a terminal and in a file */
    fprintf(stderr, "sombra: %s\n", message);
    fflush(stderr);
}

/* Pushes the field `name` of the table at `index` without its metamethods, "" unless a string. */
static const char *push_text_field(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, index) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
    }
    return lua_tostring(L, -1);
}

/* Only sombra's error objects have a `code`, and those of sombra.open a `path`; any other value is
 * an error in Lua. */
static enum host_exit exit_of_error(lua_State *L, int index)
{
    enum host_exit exit_code = HOST_EXIT_ERROR;
    const char *code;
    const char *path;

    if (lua_type(L, index) != LUA_TTABLE)
        return exit_code;
    code = push_text_field(L, index, "code");
    path = push_text_field(L, index, "path");
    if (strcmp(code, "limit") == 0)
        exit_code = HOST_EXIT_LIMIT;
    else if (strcmp(code, "io") == 0 || strcmp(code, "corrupt") == 0 ||
             strcmp(code, "unsupported") == 0 || (code[0] != '\0' && path[0] != '\0'))
        exit_code = HOST_EXIT_DATABASE;
    lua_pop(L, 2);
    return exit_code;
}

static void push_error_text(lua_State *L, int index)
{
    if (lua_isstring(L, index))
        lua_pushvalue(L, index);
    else if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL)
        (void)luaL_tolstring(L, index, NULL);
    else
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
}

/* sombra's error objects carry the stack of the place where they were made, which the present one
 * no longer shows once the error was caught and thrown again. */
static bool push_own_trace(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE)
        return false;
    if (push_text_field(L, index, "trace")[0] != '\0')
        return true;
    lua_pop(L, 1);
    return false;
}

/* Message handler; its upvalue is where the exit code goes. */
static int on_error(lua_State *L)
{
    enum host_exit *out_code = lua_touserdata(L, lua_upvalueindex(1));

    lua_settop(L, 1);
    *out_code = exit_of_error(L, 1);
    push_error_text(L, 1);
    if (push_own_trace(L, 1)) {
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_concat(L, 3);
    } else {
        luaL_traceback(L, L, lua_tostring(L, -1), 1);
    }
    return 1;
}

/* Protected, because a memory error while the text is made must not end the process. */
enum host_exit script_call(lua_State *L, int argument_count, int result_count)
{
    enum host_exit code = HOST_EXIT_ERROR;
    const int handler_index = lua_gettop(L) - argument_count;
    int status;

    assert(handler_index >= 1);
    lua_pushlightuserdata(L, &code);
    lua_pushcclosure(L, on_error, 1);
    lua_insert(L, handler_index);
    interrupt_begin(L);
    status = lua_pcall(L, argument_count, result_count, handler_index);
    if (interrupt_end(L) && status != LUA_OK)
        code = HOST_EXIT_INTERRUPTED;
    lua_remove(L, handler_index);
    return status == LUA_OK ? HOST_EXIT_OK : code;
}

enum host_exit script_report(lua_State *L, enum host_exit code)
{
    const char *message;

    if (code == HOST_EXIT_OK)
        return code;
    message = lua_tostring(L, -1);
    script_print_error(message != NULL ? message : "(error message is not a string)");
    lua_pop(L, 1);
    return code;
}

static enum host_exit run_loaded(lua_State *L, int load_status)
{
    return script_report(L, load_status == LUA_OK ? script_call(L, 0, 0) : HOST_EXIT_ERROR);
}

enum host_exit script_run_text(lua_State *L, const char *text, const char *chunk_name)
{
    return run_loaded(L, luaL_loadbuffer(L, text, strlen(text), chunk_name));
}

enum host_exit script_run_file(lua_State *L, const char *path_or_null)
{
    return run_loaded(L, luaL_loadfile(L, path_or_null));
}

enum host_exit script_run_environment(lua_State *L)
{
    const char *name = "LUA_INIT" LUA_VERSUFFIX;
    const char *text = getenv(name);
    char chunk_name[32];

    if (text == NULL) {
        name = "LUA_INIT";
        text = getenv(name);
    }
    if (text == NULL)
        return HOST_EXIT_OK;
    if (text[0] == '@')
        return script_run_file(L, text + 1);
    (void)snprintf(chunk_name, sizeof chunk_name, "=%s", name);
    return script_run_text(L, text, chunk_name);
}

enum host_exit script_require(lua_State *L, const char *module)
{
    const char *equals = strchr(module, '=');
    const char *name = equals != NULL ? equals + 1 : module;
    enum host_exit code;

    if (equals != NULL)
        lua_pushlstring(L, module, (size_t)(equals - module));
    else
        lua_pushstring(L, module);
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    code = script_call(L, 1, 1);
    if (code != HOST_EXIT_OK) {
        lua_remove(L, -2);
        return script_report(L, code);
    }
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
    lua_pop(L, 1);
    return HOST_EXIT_OK;
}

void script_set_arguments(lua_State *L, const struct arguments *arguments)
{
    /* Without a script, argv[0] itself is arg[0]. */
    const int origin = arguments->script_index < arguments->argc ? arguments->script_index : 0;

    lua_createtable(L, arguments->argc - origin, origin + 1);
    for (int index = 0; index < arguments->argc; index++) {
        lua_pushstring(L, arguments->argv[index]);
        lua_rawseti(L, -2, index - origin);
    }
    lua_setglobal(L, "arg");
}

/* `...` comes from the table `arg`, as in `lua`, since -e or LUA_INIT may have changed it. */
static int push_script_arguments(lua_State *L)
{
    int count;

    if (lua_getglobal(L, "arg") != LUA_TTABLE)
        return luaL_error(L, "'arg' is not a table");
    count = (int)luaL_len(L, -1);
    luaL_checkstack(L, count + 3, "too many arguments to script");
    for (int index = 1; index <= count; index++)
        lua_rawgeti(L, -index, index);
    lua_remove(L, -(count + 1));
    return count;
}

enum host_exit script_run_main(lua_State *L, const struct arguments *arguments)
{
    const char *path = arguments->argv[arguments->script_index];
    const bool is_after_dashes = strcmp(arguments->argv[arguments->script_index - 1], "--") == 0;

    if (strcmp(path, "-") == 0 && !is_after_dashes)
        path = NULL;
    if (luaL_loadfile(L, path) != LUA_OK)
        return script_report(L, HOST_EXIT_ERROR);
    return script_report(L, script_call(L, push_script_arguments(L), 0));
}
