/* SPDX-License-Identifier: MIT */
/* Ctrl-C for Lua code, in whichever coroutine it runs.
 *
 * A signal handler cannot tell which lua_State is running, and a hook costs every instruction.
 * So the host's coroutine functions note the running state in a global (two stores a resume),
 * and the handler sets a hook on just that state. Nothing is paid until Ctrl-C comes.
 *
 * The first Ctrl-C raises "interrupted!" once: the script may catch it and clean up. The second
 * raises it at every instruction until the script has unwound, so no pcall loop survives it. The
 * third gives SIGINT back to the system, which ends the process (for C code that polls nothing,
 * and for finalizers, in which Lua runs no hook).
 *
 * Threads: one Lua state, on the thread that called interrupt_begin; a signal taken by another
 * thread is passed on to that one.
 */
#ifndef HOST_INTERRUPT_H
#define HOST_INTERRUPT_H

#include <stdbool.h>

#include <lua.h>

/* Replaces coroutine.resume, wrap and close by ones that note the running state. */
void interrupt_open_coroutines(lua_State *L);

/* From here SIGINT raises an error in `L` or its coroutines. */
void interrupt_begin(lua_State *L);

/* SIGINT means again what it did before. True when one came since interrupt_begin; without a
 * begin this does nothing. */
bool interrupt_end(lua_State *L);

/* Whether one came since interrupt_begin. */
bool interrupt_was_pressed(void);

/* Between the two SIGINT does not end the process where it finds no begin .. end, as between the
 * lines of a prompt; nor does it start a call again that it finds blocked. */
void interrupt_hold(void);
void interrupt_release(void);

/* Whether one came so since this was last asked. */
bool interrupt_came_late(void);

/* For the coroutine functions: `running` is what Lua is about to run. Returns what ran before. */
lua_State *interrupt_enter(lua_State *running);

#endif
