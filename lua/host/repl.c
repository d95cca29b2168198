/* SPDX-License-Identifier: MIT */
/* A line is tried as an expression, then as a statement; while the text is an unfinished
 * statement more lines are read. Ctrl-C at the prompt drops the text typed so far. */
#include "repl.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "interrupt.h"
#include "script.h"

enum line_outcome { LINE_READ, LINE_INTERRUPTED, LINE_END };

static void print_prompt(lua_State *L, bool is_first)
{
    const int top = lua_gettop(L);
    const char *text = NULL;

    if (lua_getglobal(L, is_first ? "_PROMPT" : "_PROMPT2") != LUA_TNIL)
        text = luaL_tolstring(L, -1, NULL);
    fputs(text != NULL ? text : is_first ? "> " : ">> ", stdout);
    fflush(stdout);
    lua_settop(L, top);
}

/* Pushes the line without its end. LINE_READ only pushes. */
static enum line_outcome push_line(lua_State *L)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool was_interrupted;

    interrupt_begin(L);
    errno = 0;
    length = getline(&line, &capacity, stdin);
    was_interrupted = interrupt_end(L);
    if (was_interrupted || (length < 0 && errno == EINTR)) {
        clearerr(stdin);
        free(line);
        return LINE_INTERRUPTED;
    }
    if (length < 0) {
        free(line);
        return LINE_END;
    }
    if (length > 0 && line[length - 1] == '\n')
        length--;
    lua_pushlstring(L, line, (size_t)length);
    free(line);
    return LINE_READ;
}

static bool is_unfinished(lua_State *L, int load_status)
{
    static const char mark[] = "<eof>";
    size_t length;
    const char *message;

    if (load_status != LUA_ERRSYNTAX)
        return false;
    message = lua_tolstring(L, -1, &length);
    return length >= sizeof mark - 1 &&
           memcmp(message + length - (sizeof mark - 1), mark, sizeof mark - 1) == 0;
}

/* The text is at index 1. Pushes the function, or the error message. */
static int load_text(lua_State *L)
{
    size_t length;
    const char *text = lua_tolstring(L, 1, &length);
    const char *expression = text[0] == '=' ? text + 1 : text; /* "=x" of Lua 5.2 and before */
    const char *statement = lua_pushfstring(L, "return %s", expression);
    int status = luaL_loadbuffer(L, statement, strlen(statement), "=stdin");

    if (status != LUA_OK) {
        lua_pop(L, 1);
        status = luaL_loadbuffer(L, text, length, "=stdin");
    }
    lua_remove(L, 2);
    return status;
}

/* Leaves the function, or an error message, alone on the stack. */
static enum line_outcome push_chunk(lua_State *L, int *out_status)
{
    enum line_outcome outcome;
    int status;

    lua_settop(L, 0);
    print_prompt(L, true);
    outcome = push_line(L);
    if (outcome != LINE_READ)
        return outcome;
    for (;;) {
        status = load_text(L);
        if (!is_unfinished(L, status))
            break;
        lua_settop(L, 1);
        print_prompt(L, false);
        outcome = push_line(L);
        if (outcome != LINE_READ)
            return outcome;
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_concat(L, 3);
    }
    lua_remove(L, 1);
    *out_status = status;
    return LINE_READ;
}

static void print_results(lua_State *L)
{
    const int count = lua_gettop(L);

    if (count == 0)
        return;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        script_print_error("too many results to print");
        return;
    }
    lua_getglobal(L, "print");
    lua_insert(L, 1);
    (void)script_report(L, script_call(L, count, 0));
}

void repl_run(lua_State *L)
{
    for (;;) {
        int status = LUA_OK;
        const enum line_outcome outcome = push_chunk(L, &status);
        enum host_exit code = HOST_EXIT_ERROR;

        if (outcome == LINE_END)
            break;
        if (outcome == LINE_INTERRUPTED) {
            fputc('\n', stdout);
            continue;
        }
        if (status == LUA_OK)
            code = script_call(L, 0, LUA_MULTRET);
        if (code == HOST_EXIT_OK)
            print_results(L);
        else
            (void)script_report(L, code);
    }
    lua_settop(L, 0);
    fputc('\n', stdout);
    fflush(stdout);
}
