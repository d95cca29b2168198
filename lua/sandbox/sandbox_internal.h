/* SPDX-License-Identifier: MIT */
/* What sandbox.c and memory.c share: the sandbox itself, its arena, and the image of its first
 * state.
 *
 * Opening a state (libraries, metatables) takes some fifty microseconds, which is more than most
 * procedures run. So it is done once: the first blocks of a state come from an arena, the open
 * state's bytes are kept beside it, and the next call begins by copying them back to where they
 * were. Nothing survives a call: every byte that the state can reach is written anew. The end of a
 * call need not free what is in the arena, unless finalizers have to run or blocks lie outside.
 */
#ifndef SANDBOX_INTERNAL_H
#define SANDBOX_INTERNAL_H

#include "sandbox.h"

enum {
    ARENA_BYTES = 256 << 10,
    ARENA_STEP = 16,     /* between size classes, and what every block is aligned to */
    ARENA_STEPS = 32,    /* classes of this kind; behind them the size doubles */
    ARENA_DOUBLINGS = 4, /* up to 8 KiB; longer blocks are malloc's */
    ARENA_CLASSES = ARENA_STEPS + ARENA_DOUBLINGS,
};

/* Blocks for the start of a state. Freed ones are used again for the same class; when it is full,
 * malloc goes on. No base = there is none. */
struct sandbox_arena {
    uint8_t *base;
    size_t used;
    void *free_blocks[ARENA_CLASSES]; /* each begins with the address of the next */
    size_t outside;                   /* blocks of malloc in use */
    size_t userdata;                  /* made, ever */
};

struct sandbox_image {
    uint8_t *bytes; /* of arena.used bytes; NULL = none was taken */
    lua_State *L;
    lua_CFunction prepare;
    struct sandbox_arena arena;
    size_t memory;
    struct sandbox *next; /* of those that wait */
};

/* ---- flood.c: tables whose keys collide ------------------------------------------------------ */

/* Blocks that may be the hash part of a big table; begins as zeros. */
struct flood_block {
    const uint8_t *block;
    size_t bytes;
};
struct flood_list {
    struct flood_block *items;
    size_t count, capacity;
};

/* Whether Lua asks for a block of so many bytes to grow a table into, and keys of some big table
 * would collide in it. */
bool flood_is_coming(const struct flood_list *list, size_t bytes);
/* After a block came, moved or went. False if there is no memory. */
bool flood_note(struct flood_list *list, const struct flood_block *old,
                const struct flood_block *now);
void flood_release(struct flood_list *list);

/* A refusal costs a whole collection. A dead sandbox gets what it asks for in the few instructions
 * that are left to it, unless it is much. */
enum { SANDBOX_LAST_BYTES = 1 << 20 };

struct sandbox {
    lua_State *L;
    struct sandbox_limits limits;
    uint64_t deadline_ns;  /* 0 = none */
    uint64_t paused_ns;    /* when the clock was stopped; 0 = it runs */
    uint64_t work;         /* done, in ticks */
    uint64_t work_max;     /* 0 = none */
    uint64_t tick_at;      /* of `work`: the next look at the clock */
    int hook_instructions; /* between two hooks: fewer where single ones may take long */
    size_t memory;
    struct sandbox_arena arena;
    struct sandbox_image image;
    struct flood_list flood;
    size_t refused;    /* bytes of the request refused last; 0 = the last one was served */
    size_t last_bytes; /* that a dead one still gets */
    bool is_started;
    enum sandbox_end end;
    bool (*watch)(void *context); /* NULL = none */
    void *watch_context;
    uint64_t asked_ns; /* the coarse clock when sandbox_look asked it last */
};

/* Whether its time is over. (sandbox.c) */
bool sandbox_is_late(const struct sandbox *sandbox);
/* A string of so many bytes, or another thread, is about to be: instructions of which nobody counts
 * the time (strings that differ at their ends are compared, by strcoll for each of their zeros) may
 * come, and so the hook does oftener. */
void sandbox_note_string(struct sandbox *sandbox, size_t bytes);
void sandbox_note_thread(lua_State *L);
/* Compiles text, of any length, and looks at the clock meanwhile. A Lua status. */
int sandbox_compile(lua_State *L, const char *text, size_t bytes, const char *name);

/* Its address is the registry key of math.randomseed, which scripts do not have. (library.c) */
extern const char sandbox_seed_key;

/* ---- memory.c --------------------------------------------------------------------------- */

void *sandbox_allocate(void *context, void *block, size_t old_bytes, size_t bytes);

/* Before the state; does nothing if there is no memory, or under AddressSanitizer, which is to see
 * every block. */
void arena_open(struct sandbox *sandbox);
void arena_close(struct sandbox *sandbox);

/* Keeps the open state as the one to begin with. Without memory, nothing is kept. */
void image_make(struct sandbox *sandbox, lua_CFunction prepare);
/* A sandbox that waits, begun anew; NULL if there is none. Threads: any. */
struct sandbox *image_take(lua_CFunction prepare);
/* Whether the state can be left as it is: no finalizer has anything to do, no block is outside. */
bool image_may_drop(const struct sandbox *sandbox);
/* Lets it wait; false if it has no image, or enough wait. */
bool image_put(struct sandbox *sandbox);

#endif
