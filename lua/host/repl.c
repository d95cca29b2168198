/* SPDX-License-Identifier: MIT */
/* A line is tried as an expression, then as a statement; while the text is an unfinished
 * statement more lines are read. Ctrl-C at the prompt drops the text typed so far. What is shown,
 * completed and done for ".help" is in lua/sombra/cli/prompt.lua. */
#include "repl.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "editor.h"
#include "interrupt.h"
#include "pager.h"
#include "script.h"

#define PROMPT_MODULE "sombra.cli.prompt"

/* Pushes the function `name` of sombra.cli.prompt, which knows what is shown and completed. */
static void push_prompt_function(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, PROMPT_MODULE);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

static int complete(lua_State *L)
{
    push_prompt_function(L, "complete");
    lua_insert(L, 1);
    lua_call(L, 1, 2);
    return 2;
}

/* Pushes _PROMPT or _PROMPT2 as text. */
static const char *push_prompt(lua_State *L, bool is_first)
{
    if (lua_getglobal(L, is_first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL)
        lua_pushstring(L, is_first ? "> " : ">> ");
    else
        (void)luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    return lua_tostring(L, -1);
}

/* Without a terminal. Pushes the line without its end; EDITOR_LINE only pushes. */
static enum editor_outcome read_plain(lua_State *L, const char *prompt)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool was_interrupted;

    fputs(prompt, stdout);
    fflush(stdout);
    interrupt_begin(L);
    errno = 0;
    length = getline(&line, &capacity, stdin);
    was_interrupted = interrupt_end(L);
    if (was_interrupted || (length < 0 && errno == EINTR)) {
        clearerr(stdin);
        free(line);
        return EDITOR_INTERRUPTED;
    }
    if (length < 0) {
        free(line);
        return EDITOR_END;
    }
    if (length > 0 && line[length - 1] == '\n')
        length--;
    lua_pushlstring(L, line, (size_t)length);
    free(line);
    return EDITOR_LINE;
}

/* Pushes one line. EDITOR_LINE only pushes. */
static enum editor_outcome push_line(lua_State *L, struct editor *editor, bool is_first)
{
    const char *prompt = push_prompt(L, is_first);
    const enum editor_outcome outcome =
        editor != NULL ? editor_read(editor, prompt) : read_plain(L, prompt);

    lua_remove(L, outcome == EDITOR_LINE ? -2 : -1);
    return outcome;
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

/* Leaves the text at index 1, and the function or an error message at index 2. */
static enum editor_outcome push_chunk(lua_State *L, struct editor *editor, int *out_status)
{
    enum editor_outcome outcome;

    lua_settop(L, 0);
    outcome = push_line(L, editor, true);
    while (outcome == EDITOR_LINE) {
        *out_status = load_text(L);
        if (!is_unfinished(L, *out_status))
            break;
        lua_settop(L, 1);
        outcome = push_line(L, editor, false);
        if (outcome == EDITOR_LINE) {
            lua_pushliteral(L, "\n");
            lua_insert(L, -2);
            lua_concat(L, 3);
        }
    }
    return outcome;
}

/* Calls a function of sombra.cli.prompt with all that is on the stack; what it returns is printed.
 */
static void print_with(lua_State *L, const char *name)
{
    const int count = lua_gettop(L);
    enum host_exit code;
    const char *text;
    size_t bytes;

    if (!lua_checkstack(L, LUA_MINSTACK)) {
        script_print_error("too many results to print");
        return;
    }
    push_prompt_function(L, name);
    lua_insert(L, 1);
    code = script_call(L, count, 1);
    if (code != HOST_EXIT_OK) {
        (void)script_report(L, code);
        return;
    }
    text = lua_tolstring(L, -1, &bytes);
    if (text != NULL)
        pager_print(text, bytes);
}

/* ".help" and the like; Lua has no line that begins so. */
static bool is_command(const char *text)
{
    return text[0] == '.' && isalpha((unsigned char)text[1]);
}

static void run_chunk(lua_State *L, int status)
{
    enum host_exit code = HOST_EXIT_ERROR;

    lua_remove(L, 1);
    if (status == LUA_OK)
        code = script_call(L, 0, LUA_MULTRET);
    if (code != HOST_EXIT_OK)
        (void)script_report(L, code);
    else if (lua_gettop(L) > 0)
        print_with(L, "show");
}

void repl_run(lua_State *L)
{
    struct editor *editor = editor_open(L, complete);

    interrupt_hold();
    for (;;) {
        int status = LUA_OK;
        const enum editor_outcome outcome = push_chunk(L, editor, &status);

        (void)interrupt_came_late(); /* what came before this line was not meant for it */
        if (outcome == EDITOR_END)
            break;
        if (outcome == EDITOR_INTERRUPTED) {
            fputc('\n', stdout);
            continue;
        }
        if (editor != NULL)
            editor_remember(editor, lua_tostring(L, 1));
        if (!is_command(lua_tostring(L, 1))) {
            run_chunk(L, status);
        } else if (strcmp(lua_tostring(L, 1), ".quit") == 0) {
            break;
        } else {
            lua_settop(L, 1);
            print_with(L, "command");
        }
    }
    interrupt_release();
    editor_close(editor);
    lua_settop(L, 0);
    fputc('\n', stdout);
    fflush(stdout);
}
