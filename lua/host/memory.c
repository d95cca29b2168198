/* SPDX-License-Identifier: MIT */
/* Small blocks come out of slabs, one behind the other, and go to a list of their size, which the
 * next one is taken from. Lua says how long a block is when it gives it back, so that none needs a
 * header. Longer ones are malloc's.
 *
 * Slabs are never given back: a script that once had a million small tables keeps their memory for
 * others of these sizes. */
#include "memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP_BYTES = 16,
    SMALL_BYTES_MAX = 512,
    CLASSES = SMALL_BYTES_MAX / STEP_BYTES + 1, /* class 0: nobody's */
    SLAB_BYTES = 64 * 1024,
};

/* With the sanitizer each block is malloc's: it is to see what is used after its end. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_SLABS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SLABS false
#endif
#endif
#ifndef HAS_SLABS
#define HAS_SLABS true
#endif

struct free_block {
    struct free_block *next;
};
static struct free_block *free_blocks[CLASSES];
static char *slab; /* what is left of the newest one */
static size_t slab_bytes;

static inline bool is_small(size_t bytes)
{
    return HAS_SLABS && bytes <= SMALL_BYTES_MAX;
}
static inline size_t class_of(size_t bytes)
{
    return (bytes + STEP_BYTES - 1) / STEP_BYTES;
}

static void give(void *block, size_t class)
{
    struct free_block *free_block = block;
    free_block->next = free_blocks[class];
    free_blocks[class] = free_block;
}

static void *cut(size_t class)
{
    const size_t bytes = class * STEP_BYTES;
    if (slab_bytes < bytes) {
        char *more = malloc(SLAB_BYTES);
        if (!more)
            return NULL;
        if (slab_bytes) /* a multiple of the step, below that of this class */
            give(slab, slab_bytes / STEP_BYTES);
        slab = more;
        slab_bytes = SLAB_BYTES;
    }
    void *block = slab;
    slab += bytes;
    slab_bytes -= bytes;
    return block;
}

static void *take(size_t bytes)
{
    if (!is_small(bytes))
        return malloc(bytes);
    struct free_block *block = free_blocks[class_of(bytes)];
    if (!block)
        return cut(class_of(bytes));
    free_blocks[class_of(bytes)] = block->next;
    return block;
}

static void end(void *block, size_t bytes)
{
    if (is_small(bytes))
        give(block, class_of(bytes));
    else
        free(block);
}

void *memory_allocate(void *context, void *block, size_t old_bytes, size_t bytes)
{
    (void)context;
    if (!block) /* old_bytes is what it will be */
        return bytes ? take(bytes) : NULL;
    if (bytes == 0) {
        end(block, old_bytes);
        return NULL;
    }
    if (!is_small(old_bytes) && !is_small(bytes))
        return realloc(block, bytes);
    if (is_small(old_bytes) && is_small(bytes) && class_of(old_bytes) == class_of(bytes))
        return block;
    void *moved = take(bytes);
    if (!moved) /* Lua takes for granted that a block can become shorter: this is long enough */
        return bytes <= old_bytes ? block : NULL;
    memcpy(moved, block, old_bytes < bytes ? old_bytes : bytes);
    end(block, old_bytes);
    return moved;
}

/* ---- what luaL_newstate does besides ------------------------------------------------------ */

static int panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    (void)fprintf(stderr, "PANIC: unprotected error in call to Lua API (%s)\n",
                  text ? text : "error object is not a string");
    return 0; /* and Lua ends the process */
}

static struct {
    bool is_on;
    bool is_continued; /* the next part is of the same message */
} warnings;

static void warn(void *context, const char *part, int is_continued)
{
    (void)context;
    if (!warnings.is_continued && !is_continued && *part == '@') {
        if (strcmp(part, "@on") == 0 || strcmp(part, "@off") == 0)
            warnings.is_on = strcmp(part, "@on") == 0;
        return;
    }
    if (warnings.is_on)
        (void)fprintf(stderr, "%s%s%s", warnings.is_continued ? "" : "Lua warning: ", part,
                      is_continued ? "" : "\n");
    warnings.is_continued = is_continued;
}

lua_State *memory_new_state(void)
{
    lua_State *L = lua_newstate(memory_allocate, NULL);
    if (L) {
        lua_atpanic(L, panic);
        lua_setwarnf(L, warn, NULL);
    }
    return L;
}
