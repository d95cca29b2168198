/* SPDX-License-Identifier: MIT */
/* sandbox: a Lua state of its own for code that is not trusted, with limits that the code can
 * neither see nor swallow. It knows nothing of databases.
 *
 * A sandbox is a fresh lua_State with an allow-list of libraries (library.c), an allocator with a
 * cap, and a count hook. A limit that is hit kills the sandbox for good: every further instruction
 * raises, memory does not grow any more, and the caller judges by the flag, never by an error's
 * text, so that pcall, xpcall, coroutines and __close change nothing. C code of the library that
 * loops reports its work by sandbox_tick, for the hook does not see it.
 *
 * Not covered: bugs of the Lua VM itself that text can reach. Who runs hostile code of many tenants
 * wants a process and its limits around this.
 *
 * Threads: one at a time.
 * Ownership: the state and all in it belong to the sandbox, and end with it.
 */
#ifndef SOMBRA_SANDBOX_H
#define SOMBRA_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

struct sandbox;

enum sandbox_end {
    SANDBOX_LIVES = 0,
    SANDBOX_TIME,         /* the deadline passed */
    SANDBOX_INSTRUCTIONS, /* VM instructions and the work of library functions */
    SANDBOX_MEMORY,       /* in all, or of one block */
    SANDBOX_COLLISIONS,   /* keys of a table that were chosen to collide */
    SANDBOX_INTERRUPTED,  /* its watch said so */
};

/* 0 = the default. */
struct sandbox_limits {
    uint64_t time_us;      /* from sandbox_start on; default 1 s */
    uint64_t instructions; /* default: none but time */
    size_t memory_bytes;   /* default 64 MiB */
    size_t block_bytes;    /* of one string or table part; default 20 MiB */
    bool is_unlimited;     /* none of these: for debugging what is trusted */
};

enum { SANDBOX_SOURCE_BYTES_MAX = 1 << 20 };

/* NULL if there is no memory. `seed` is that of math.random; `has_clock`: os.time and the like are
 * there. */
struct sandbox *sandbox_new(const struct sandbox_limits *limits, uint64_t seed, bool has_clock);
/* The same with what `prepare` does to a state that has a clock: it is called once, without
 * arguments, and its state is copied for every sandbox after that; so what it makes must not depend
 * on the moment. Of the userdata that are made later, the first one's finalizer need not run: its
 * maker sees to what it stands for. */
struct sandbox *sandbox_new_prepared(const struct sandbox_limits *limits, uint64_t seed,
                                     lua_CFunction prepare);
void sandbox_free(struct sandbox *sandbox); /* NULL is a no-op */

lua_State *sandbox_state(struct sandbox *sandbox);
/* The sandbox of a state; NULL for any other state than a sandbox's is not promised: only for
 * functions that were registered in one. */
struct sandbox *sandbox_of(lua_State *L);

/* Starts the clock of the limits. Work before, by the owner, is not counted. */
void sandbox_start(struct sandbox *sandbox);
/* Pushes the chunk of the text, or the message of what is wrong with it; a Lua status. Bytecode and
 * sources over SANDBOX_SOURCE_BYTES_MAX are refused. */
int sandbox_load(lua_State *L, const char *text, size_t bytes, const char *name);
/* lua_pcall with a traceback in string errors: "message\nstack traceback: ...". Also an error if
 * the sandbox was killed though the call returned. */
int sandbox_call(struct sandbox *sandbox, int arguments, int results);

/* Library functions: `work` steps of about a nanosecond were done, or will be. Raises when a limit
 * is hit. */
void sandbox_tick(lua_State *L, uint64_t work);
/* The same for a call that takes its time and knows not how much. */
void sandbox_look(lua_State *L);
/* Raises if so many bytes cannot be one block. */
void sandbox_check_block(lua_State *L, uint64_t bytes, const char *what);

/* `watch` is asked where the clock is looked at; true ends the sandbox. It raises nothing, and
 * leaves the sandbox alone. */
void sandbox_set_watch(struct sandbox *sandbox, bool (*watch)(void *context), void *context);
/* Asks it, and tells whether it ever said so. */
bool sandbox_is_interrupted(struct sandbox *sandbox);
/* Has a limit been hit, or is one now? For work outside of the state, which cannot raise. */
bool sandbox_is_over(struct sandbox *sandbox);

/* While its owner waits, the clock stands still. */
void sandbox_pause(struct sandbox *sandbox);
void sandbox_go_on(struct sandbox *sandbox);
/* What is left of the limits, for a sandbox whose work this one will be charged with. */
void sandbox_left(const struct sandbox *sandbox, struct sandbox_limits *out_left);
uint64_t sandbox_work(const struct sandbox *sandbox); /* in ticks, since the start */

/* Would so much be within the limit? */
bool sandbox_has_memory(const struct sandbox *sandbox, size_t bytes);
/* Memory that is not the state's counts, too: false if it is more than is left, and the sandbox is
 * dead then. What was taken is given back while the sandbox is there. */
bool sandbox_take_memory(struct sandbox *sandbox, size_t bytes);
void sandbox_give_memory(struct sandbox *sandbox, size_t bytes);
enum sandbox_end sandbox_end_of(const struct sandbox *sandbox);
/* "the procedure ran longer than 0.25 s", and so on; `subject` is its noun. Written to `text`. */
void sandbox_explain(const struct sandbox *sandbox, const char *subject, char *text, size_t bytes);
size_t sandbox_memory(const struct sandbox *sandbox); /* bytes in use */

/* ---- for the files of this folder ----------------------------------------------------------- */

/* Opens the allow-list into a fresh state; raises. (library.c) */
void sandbox_open_libraries(lua_State *L, uint64_t seed, bool has_clock);
/* Each pushes its table. */
void sandbox_open_string(lua_State *L);  /* string.c */
void sandbox_open_pattern(lua_State *L); /* adds find, match, gmatch, gsub to the table on top */
void sandbox_open_table(lua_State *L);   /* table.c */
/* tostring without addresses; pushes a string. */
void sandbox_tostring(lua_State *L, int index);
/* Replaces the function `name` of the table on top by one that ticks the length of its string
 * arguments first. */
void sandbox_tick_strings(lua_State *L, const char *name);
bool sandbox_is_killed(lua_State *L);

#endif
