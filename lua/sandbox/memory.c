/* SPDX-License-Identifier: MIT */
#include "sandbox_internal.h"

#include <assert.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAITING_MAX = 8,   /* sandboxes; as many as calls nest */
    USERDATA_LEFT = 1, /* the one of which its maker says that it needs no finalizer */
    CLASS_NONE = ARENA_CLASSES,
    LONG_BLOCK_BYTES = 64 << 10, /* a thousand instructions that fill such blocks take too long */
};

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ARENA 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ARENA 0
#endif
#endif
#ifndef HAS_ARENA
#define HAS_ARENA 1
#endif

/* ---- limits ------------------------------------------------------------------------------ */

bool sandbox_has_memory(const struct sandbox *sandbox, size_t bytes)
{
    const struct sandbox_limits *limits = &sandbox->limits;
    if (!sandbox->is_started || limits->is_unlimited)
        return true;
    return bytes <= limits->memory_bytes && sandbox->memory <= limits->memory_bytes - bytes;
}

static bool is_refused(struct sandbox *sandbox, size_t growth, size_t bytes)
{
    const struct sandbox_limits *limits = &sandbox->limits;
    if (!sandbox->is_started || limits->is_unlimited)
        return false;
    if (sandbox->end != SANDBOX_LIVES) {
        bool is_much = growth > sandbox->last_bytes;
        sandbox->last_bytes -= is_much ? 0 : growth;
        return is_much;
    }
    return bytes > limits->block_bytes || !sandbox_has_memory(sandbox, growth);
}

/* Lua asks again after an emergency collection. A second refusal in a row is the end: a script that
 * catches the error and goes on would only make the collector work. One that lives from what such
 * collections free makes a thousand of them before the hook looks at the clock. */
static void *refuse(struct sandbox *sandbox, size_t bytes)
{
    if (sandbox->refused == bytes && sandbox->end == SANDBOX_LIVES)
        sandbox->end = SANDBOX_MEMORY;
    else if (sandbox->end == SANDBOX_LIVES && sandbox_is_late(sandbox))
        sandbox->end = SANDBOX_TIME;
    sandbox->refused = bytes;
    return NULL;
}

/* An instruction that makes a table anew, or a C function that fills a buffer, takes milliseconds,
 * and the hook comes only after a thousand of them: here each comes by. */
static bool is_past_its_time(struct sandbox *sandbox, size_t bytes)
{
    if (bytes < LONG_BLOCK_BYTES || !sandbox->is_started || sandbox->limits.is_unlimited ||
        sandbox->end != SANDBOX_LIVES || !sandbox_is_late(sandbox))
        return false;
    sandbox->end = SANDBOX_TIME;
    return true;
}

bool sandbox_take_memory(struct sandbox *sandbox, size_t bytes)
{
    if (!sandbox_has_memory(sandbox, bytes)) {
        if (sandbox->end == SANDBOX_LIVES)
            sandbox->end = SANDBOX_MEMORY;
        return false;
    }
    sandbox->memory += bytes;
    return true;
}

void sandbox_give_memory(struct sandbox *sandbox, size_t bytes)
{
    assert(bytes <= sandbox->memory);
    sandbox->memory -= bytes;
}

/* ---- the arena --------------------------------------------------------------------------- */

static unsigned class_of(size_t bytes)
{
    if (bytes <= (size_t)ARENA_STEPS * ARENA_STEP)
        return (unsigned)((bytes + ARENA_STEP - 1) / ARENA_STEP) - 1;
    size_t room = (size_t)ARENA_STEPS * ARENA_STEP * 2;
    for (unsigned i = ARENA_STEPS; i < ARENA_CLASSES; i++, room *= 2) {
        if (bytes <= room)
            return i;
    }
    return CLASS_NONE;
}

static size_t class_bytes(unsigned class)
{
    return class < ARENA_STEPS ? (class + (size_t)1) * ARENA_STEP
                               : (size_t)ARENA_STEPS * ARENA_STEP << (class - ARENA_STEPS + 1);
}

static bool is_inside(const struct sandbox_arena *arena, const void *block)
{
    return arena->base && (uintptr_t)block - (uintptr_t)arena->base < ARENA_BYTES;
}

static void *block_new(struct sandbox_arena *arena, size_t bytes)
{
    unsigned class = arena->base ? class_of(bytes) : CLASS_NONE;
    if (class != CLASS_NONE) {
        void *block = arena->free_blocks[class];
        if (block) {
            memcpy(&arena->free_blocks[class], block, sizeof block);
            return block;
        }
        if (class_bytes(class) <= ARENA_BYTES - arena->used) {
            block = arena->base + arena->used;
            arena->used += class_bytes(class);
            return block;
        }
    }
    void *block = malloc(bytes);
    arena->outside += block != NULL;
    return block;
}

/* `bytes` is the size that Lua knows: at most that of the block. */
static void block_free(struct sandbox_arena *arena, void *block, size_t bytes)
{
    if (!is_inside(arena, block)) {
        arena->outside -= block != NULL;
        free(block);
        return;
    }
    unsigned class = class_of(bytes);
    memcpy(block, &arena->free_blocks[class], sizeof block);
    arena->free_blocks[class] = block;
}

static void *block_resize(struct sandbox_arena *arena, void *block, size_t old, size_t bytes)
{
    if (!block)
        return block_new(arena, bytes);
    if (!is_inside(arena, block))
        return realloc(block, bytes);
    if (class_of(old) == class_of(bytes))
        return block;
    void *moved = block_new(arena, bytes);
    if (moved) {
        memcpy(moved, block, old < bytes ? old : bytes);
        block_free(arena, block, old);
    }
    return moved;
}

void *sandbox_allocate(void *context, void *block, size_t old_bytes, size_t bytes)
{
    struct sandbox *sandbox = context;
    struct sandbox_arena *arena = &sandbox->arena;
    size_t old = block ? old_bytes : 0; /* for new blocks it is a type */
    if (bytes == 0) {
        if (block) {
            (void)flood_note(&sandbox->flood, &(struct flood_block){ block, old },
                             &(struct flood_block){ NULL, 0 });
            block_free(arena, block, old);
        }
        sandbox->memory -= old;
        return NULL;
    }
    /* Lua takes for granted that shrinking cannot fail. */
    if (bytes > old && is_refused(sandbox, bytes - old, bytes))
        return refuse(sandbox, bytes);
    if (bytes > old && is_past_its_time(sandbox, bytes))
        return NULL;
    if (!block && sandbox->is_started && !sandbox->limits.is_unlimited &&
        flood_is_coming(&sandbox->flood, bytes)) {
        sandbox->end = SANDBOX_COLLISIONS;
        return NULL;
    }
    void *moved = block_resize(arena, block, old, bytes);
    if (!moved && bytes > old)
        return refuse(sandbox, bytes);
    if (!moved)
        moved = block;
    if (!flood_note(&sandbox->flood, &(struct flood_block){ block, old },
                    &(struct flood_block){ moved, bytes }) &&
        !block) {
        block_free(arena, moved, bytes);
        return refuse(sandbox, bytes);
    }
    arena->userdata += !block && old_bytes == LUA_TUSERDATA;
    if (!block && old_bytes == LUA_TSTRING)
        sandbox_note_string(sandbox, bytes);
    if (bytes > old)
        sandbox->refused = 0;
    sandbox->memory += bytes - old;
    return moved;
}

void arena_open(struct sandbox *sandbox)
{
    if (HAS_ARENA)
        sandbox->arena.base = malloc(ARENA_BYTES);
}

void arena_close(struct sandbox *sandbox)
{
    flood_release(&sandbox->flood);
    free(sandbox->image.bytes);
    free(sandbox->arena.base);
}

/* ---- images ------------------------------------------------------------------------------ */

/* Tried only, for in a child of fork() it may be held by a thread that is not there: who does not
 * get it does without an image that waits. */
static pthread_mutex_t waiting_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sandbox *waiting; /* under the lock */
static size_t waiting_count;    /* under the lock */

void image_make(struct sandbox *sandbox, lua_CFunction prepare)
{
    const struct sandbox_arena *arena = &sandbox->arena;
    struct sandbox_image *image = &sandbox->image;
    if (!arena->base || arena->outside)
        return;
    image->bytes = malloc(arena->used);
    if (!image->bytes)
        return;
    memcpy(image->bytes, arena->base, arena->used);
    image->arena = *arena;
    image->L = sandbox->L;
    image->memory = sandbox->memory;
    image->prepare = prepare;
}

static void image_begin(struct sandbox *sandbox)
{
    struct sandbox_image image = sandbox->image;
    flood_release(&sandbox->flood);
    memcpy(image.arena.base, image.bytes, image.arena.used);
    *sandbox = (struct sandbox){
        .L = image.L, .memory = image.memory, .arena = image.arena, .image = image
    };
}

struct sandbox *image_take(lua_CFunction prepare)
{
    if (pthread_mutex_trylock(&waiting_lock) != 0)
        return NULL;
    struct sandbox **at = &waiting;
    while (*at && (*at)->image.prepare != prepare)
        at = &(*at)->image.next;
    struct sandbox *sandbox = *at;
    if (sandbox) {
        *at = sandbox->image.next;
        waiting_count--;
    }
    pthread_mutex_unlock(&waiting_lock);
    if (sandbox)
        image_begin(sandbox);
    return sandbox;
}

bool image_may_drop(const struct sandbox *sandbox)
{
    const struct sandbox_arena *arena = &sandbox->arena;
    return sandbox->image.bytes && arena->outside == 0 &&
           arena->userdata <= sandbox->image.arena.userdata + USERDATA_LEFT;
}

bool image_put(struct sandbox *sandbox)
{
    bool is_kept = false;
    if (!sandbox->image.bytes || pthread_mutex_trylock(&waiting_lock) != 0)
        return false;
    if (waiting_count < WAITING_MAX) {
        sandbox->image.next = waiting;
        waiting = sandbox;
        waiting_count++;
        is_kept = true;
    }
    pthread_mutex_unlock(&waiting_lock);
    return is_kept;
}

/* A module may be unloaded, and is with the state that loaded it. */
__attribute__((destructor)) static void free_waiting(void)
{
    while (waiting) {
        struct sandbox *sandbox = waiting;
        waiting = sandbox->image.next;
        arena_close(sandbox);
        free(sandbox);
    }
    waiting_count = 0;
}
