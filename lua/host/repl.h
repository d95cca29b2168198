/* SPDX-License-Identifier: MIT */
/* The prompt: reads Lua from the standard input, runs it, prints the results. */
#ifndef HOST_REPL_H
#define HOST_REPL_H

#include <lua.h>

/* Runs until the end of input. Errors are printed and do not end it. */
void repl_run(lua_State *L);

#endif
