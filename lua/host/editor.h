/* SPDX-License-Identifier: MIT */
/* Lines typed at a terminal, edited with libedit: history, completion, Ctrl-C.
 *
 * An entry of the history is what was remembered as one, newlines included, in memory and in the
 * file: $SOMBRA_HISTORY, or sombra/history in $XDG_STATE_HOME (~/.local/state). Each is appended
 * when it is made, so that sessions side by side keep all of theirs.
 *
 * Threads: the main one. There is one editor in a process.
 */
#ifndef HOST_EDITOR_H
#define HOST_EDITOR_H

#include <lua.h>

enum editor_outcome { EDITOR_LINE, EDITOR_INTERRUPTED, EDITOR_END };

/* Pushes the completion of the text before the cursor, at the top of the stack, which it replaces:
 * what is to be inserted, and a text to show, or nil. Called protected. */
typedef int (*editor_complete_fn)(lua_State *L);

struct editor;

/* NULL where lines cannot be edited: standard input or output is no terminal, or a dumb one. */
struct editor *editor_open(lua_State *L, editor_complete_fn complete);
/* NULL is a no-op. */
void editor_close(struct editor *editor);

/* Pushes the text typed, without its end. EDITOR_LINE only pushes. */
enum editor_outcome editor_read(struct editor *editor, const char *prompt);
/* Adds to the history, unless it is blank or the same as the last one. */
void editor_remember(struct editor *editor, const char *text);

#endif
