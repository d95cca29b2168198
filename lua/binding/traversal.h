/* SPDX-License-Identifier: MIT */
/* traversal: the Lua side of queries, shared by the traversal_*.c files of this folder.
 *
 * A sombra.traversal is a list of steps (docs/query.md): every method gives a new one, so that any
 * of them can be kept and gone on from. It runs when rows are asked for.
 *
 * User values of one: 1 its transaction (nil in a body, the inner list of optional, union and
 * repeating), 2 the list of steps, 3 the list of functions that its steps call by number, 4 the
 * bounds of a run or nil. A body shares the list of functions of the traversal that it becomes a
 * part of.
 */
#ifndef BINDING_TRAVERSAL_H
#define BINDING_TRAVERSAL_H

#include "binding.h"

#define TRAVERSAL_NAME "sombra.traversal"

enum { TRAVERSAL_TX = 1, TRAVERSAL_STEPS = 2, TRAVERSAL_FUNCTIONS = 3, TRAVERSAL_BOUNDS = 4 };

struct traversal {
    struct tx_handle *tx; /* kept alive by user value 1; NULL in a body */
    lua_Integer count;    /* of its steps: the table may have more, of those that went on from it */
};

/* Argument 1 as a traversal. */
struct traversal *traversal_self(lua_State *L);
/* Argument 1 as one that can run: of an open transaction. */
struct traversal *traversal_to_run(lua_State *L);
/* Pushes an empty one; tx at `tx_index` (0 = a body), functions at `functions` (0 = a new list). */
void traversal_push_empty(lua_State *L, int tx_index, int functions);
/* Pushes a traversal with the steps and functions of the one at `index` and one more step: the
 * table on top, which is popped. */
void traversal_extend(lua_State *L, int index);
/* Pushes the one at `index` with other bounds: the table at `bounds`. */
void traversal_push_bounded(lua_State *L, int index, int bounds);
/* Pushes its steps as a list of their own. */
void traversal_push_steps(lua_State *L, int index);
/* Its steps encoded; the bytes live until the next encoding. */
sombra_slice traversal_encode(lua_State *L, int index);
/* Keeps the function at `index` in the list of functions at `functions`; its number from 1. */
lua_Integer traversal_keep_function(lua_State *L, int functions, int index);

extern const luaL_Reg tx_traversal_methods[];   /* tx:from and others */
extern const luaL_Reg traversal_step_methods[]; /* traversal_build.c */
extern const luaL_Reg traversal_run_methods[];  /* traversal_run.c */

void traversal_register(lua_State *L);
void cursor_register(lua_State *L); /* traversal_run.c */

/* Turns the pattern options at `index` (as of tx:match) into the step's second element, pushed.
 * (traversal_match.c) */
void match_push_pattern(lua_State *L, int index);

#endif
