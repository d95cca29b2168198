/* SPDX-License-Identifier: MIT */
/* sombra: the program. It reads the command line as `lua` 5.4 does, runs what it says, or one of
 * the commands that are written in Lua (sombra.cli), and turns the outcome into an exit code. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lauxlib.h>

#include "arguments.h"
#include "interrupt.h"
#include "repl.h"
#include "script.h"
#include "state.h"

static enum host_exit run_options(lua_State *L, const struct arguments *arguments)
{
    enum host_exit code = HOST_EXIT_OK;
    const char *value;
    int index = 1;
    char letter;

    while (code == HOST_EXIT_OK && (letter = arguments_next(arguments, &index, &value)) != 0) {
        if (letter == 'e')
            code = script_run_text(L, value, "=(command line)");
        else if (letter == 'l')
            code = script_require(L, value);
        else if (letter == 'W')
            lua_warning(L, "@on", 0);
    }
    return code;
}

static enum host_exit run_input(lua_State *L, const struct arguments *arguments)
{
    const bool has_script = arguments->script_index < arguments->argc;
    enum host_exit code = HOST_EXIT_OK;

    if (has_script)
        code = script_run_main(L, arguments);
    if (code != HOST_EXIT_OK)
        return code;
    if (arguments->is_interactive) {
        repl_run(L);
    } else if (!has_script && !arguments->has_statement && !arguments->prints_version) {
        if (!isatty(STDIN_FILENO))
            return script_run_file(L, NULL);
        arguments_print_version();
        repl_run(L);
    }
    return code;
}

static enum host_exit run_script(lua_State *L, const struct arguments *arguments)
{
    enum host_exit code = HOST_EXIT_OK;

    if (!arguments->ignores_environment)
        code = script_run_environment(L);
    if (code == HOST_EXIT_OK)
        code = run_options(L, arguments);
    if (code == HOST_EXIT_OK)
        code = run_input(L, arguments);
    return code;
}

/* One argument, one result. A Ctrl-C that came too late to end this ends what was to follow. */
static enum host_exit call_before(lua_State *L)
{
    enum host_exit code = script_call(L, 1, 1);

    if (code == HOST_EXIT_OK && interrupt_was_pressed()) {
        lua_pop(L, 1);
        lua_pushliteral(L, "interrupted!");
        code = HOST_EXIT_INTERRUPTED;
    }
    return code;
}

/* Leaves the function `name` of sombra.cli on the stack, or the text of a failure. */
static enum host_exit push_command_function(lua_State *L, const char *name)
{
    enum host_exit code;

    lua_getglobal(L, "require");
    lua_pushliteral(L, "sombra.cli");
    code = call_before(L);
    if (code != HOST_EXIT_OK)
        return code;
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    return code;
}

/* Whether the first word is a command. Else it leaves the text of a failure. */
static enum host_exit find_command(lua_State *L, const char *word, bool *out_is_command)
{
    enum host_exit code = push_command_function(L, "is_command");

    if (code != HOST_EXIT_OK)
        return code;
    lua_pushstring(L, word);
    code = call_before(L);
    if (code == HOST_EXIT_OK) {
        *out_is_command = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    return code;
}

/* Runs the words from `first` on as a command. The prompt of `shell` is shown here, because Lua
 * code that waits for Ctrl-C cannot run inside a call that does. */
static enum host_exit run_command(lua_State *L, const struct arguments *arguments, int first)
{
    enum host_exit code = push_command_function(L, "main");

    if (code != HOST_EXIT_OK)
        return script_report(L, code);
    lua_createtable(L, arguments->argc - first, 0);
    for (int index = first; index < arguments->argc; index++) {
        lua_pushstring(L, arguments->argv[index]);
        lua_rawseti(L, -2, index - first + 1);
    }
    code = script_call(L, 1, 2);
    if (code != HOST_EXIT_OK)
        return script_report(L, code);
    code = (enum host_exit)lua_tointeger(L, -2);
    if (lua_toboolean(L, -1)) {
        lua_settop(L, 0);
        code = script_run_environment(L);
        repl_run(L);
    }
    return code;
}

static enum host_exit print_help(lua_State *L)
{
    static char program[] = "sombra";
    static char word[] = "help";
    char *argv[] = { program, word, NULL };
    const struct arguments arguments = { .argc = 2, .argv = argv };

    return run_command(L, &arguments, 1);
}

/* Everything that needs the state, under one protected call. Returns the exit code. */
static int run_protected(lua_State *L)
{
    const struct arguments *arguments = lua_touserdata(L, 1);
    enum host_exit code = HOST_EXIT_OK;
    bool is_command = false;

    luaL_checkversion(L);
    lua_settop(L, 0);
    state_open_libraries(L, arguments->ignores_environment);
    script_set_arguments(L, arguments);
    if (!arguments->prints_help && arguments->may_be_command)
        code = find_command(L, arguments->argv[1], &is_command);
    if (code != HOST_EXIT_OK)
        (void)script_report(L, code);
    else if (arguments->prints_help)
        code = print_help(L);
    else if (is_command)
        code = run_command(L, arguments, 1);
    else
        code = run_script(L, arguments);
    lua_settop(L, 0);
    lua_pushinteger(L, code);
    return 1;
}

static int run(struct arguments *arguments)
{
    lua_State *L = luaL_newstate();
    int code = HOST_EXIT_ERROR;

    if (L == NULL) {
        script_print_error("cannot create the Lua state: not enough memory");
        return code;
    }
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, arguments);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        code = (int)lua_tointeger(L, -1);
    else
        (void)script_report(L, HOST_EXIT_ERROR);
    lua_close(L);
    return code;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    const char *bad_word = NULL;

    /* A file at the limit of `ulimit -f` is to be an error of the write, and not the end. */
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 1)
        return HOST_EXIT_USAGE; /* started with an empty argument list: no arg[0] to give */
    if (!arguments_parse(argc, argv, &arguments, &bad_word)) {
        const bool needs_value = (bad_word[1] == 'e' || bad_word[1] == 'l') && bad_word[2] == '\0';

        fprintf(stderr, "sombra: %s '%s'; see sombra --help\n",
                needs_value ? "a value is needed after" : "unrecognized option", bad_word);
        return HOST_EXIT_USAGE;
    }
    if (arguments.prints_version && !arguments.prints_help)
        arguments_print_version();
    return arguments.ends_after_version && !arguments.prints_help ? HOST_EXIT_OK : run(&arguments);
}
