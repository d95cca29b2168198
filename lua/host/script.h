/* SPDX-License-Identifier: MIT */
/* Running Lua code for the host: calls with a message handler, Ctrl-C and an exit code. */
#ifndef HOST_SCRIPT_H
#define HOST_SCRIPT_H

#include <stdbool.h>

#include <lua.h>

#include "arguments.h"

/* The process's exit codes: documented in lua/sombra/cli/commands.lua and docs/host.md.
 * A command has one more, 5. */
enum host_exit {
    HOST_EXIT_OK = 0,
    HOST_EXIT_ERROR = 1, /* an error in Lua */
    HOST_EXIT_USAGE = 2,
    HOST_EXIT_DATABASE = 3,     /* a database cannot be opened, or is damaged */
    HOST_EXIT_LIMIT = 4,        /* a limit was reached */
    HOST_EXIT_INTERRUPTED = 130 /* 128 + SIGINT */
};

/* Prints `message` to stderr as this program's. */
void script_print_error(const char *message);

/* Calls the function below `argument_count` arguments. On failure one string takes the place of
 * the results: the error's text with a traceback. */
enum host_exit script_call(lua_State *L, int argument_count, int result_count);

/* Prints and pops the string that a failed call left. Returns `code`. */
enum host_exit script_report(lua_State *L, enum host_exit code);

/* Each loads and runs one thing, and reports its failure. */
enum host_exit script_run_text(lua_State *L, const char *text, const char *chunk_name);
enum host_exit script_run_file(lua_State *L, const char *path_or_null); /* NULL: stdin */
enum host_exit script_run_environment(lua_State *L);                    /* LUA_INIT_5_4, LUA_INIT */
enum host_exit script_require(lua_State *L, const char *module);        /* "mod" or "global=mod" */

/* Sets the global `arg`. */
void script_set_arguments(lua_State *L, const struct arguments *arguments);
/* Runs the script of the command line with its words as `...`. */
enum host_exit script_run_main(lua_State *L, const struct arguments *arguments);

#endif
