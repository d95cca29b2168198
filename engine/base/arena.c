/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>

#if HAS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)   ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

enum { BLOCK_ALIGN = 16, CHUNK_BYTES_MIN = 4096, CHUNK_BYTES_MAX = 256 * 1024 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t bytes; /* with this header */
    _Alignas(BLOCK_ALIGN) uint8_t blocks[];
};
static_assert(sizeof(struct arena_chunk) == offsetof(struct arena_chunk, blocks),
              "blocks begin right behind the header");

static void free_chunks(struct arena *arena, struct arena_chunk *from)
{
    while (from) {
        struct arena_chunk *older = from->older;
        assert(arena->bytes_total >= from->bytes);
        arena->bytes_total -= from->bytes;
        mem_free(from);
        from = older;
    }
}

/* AddressSanitizer then reports the use of a block behind its end and after a reset. */
static void take_free_bytes(struct arena *arena, uint8_t *next, size_t left)
{
    ASAN_POISON_MEMORY_REGION(next, left);
    arena->next = next;
    arena->left = left;
}

void arena_release(struct arena *arena)
{
    free_chunks(arena, arena->chunks);
    assert(arena->bytes_total == 0);
    *arena = (struct arena)ARENA_INIT;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *newest = arena->chunks;
    if (!newest)
        return;
    free_chunks(arena, newest->older);
    newest->older = NULL;
    take_free_bytes(arena, newest->blocks, newest->bytes - sizeof *newest);
    assert(arena->bytes_total == newest->bytes);
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t bytes)
{
    struct arena_chunk *chunk = mem_alloc_aligned(BLOCK_ALIGN, bytes);
    if (!chunk)
        return NULL;
    chunk->bytes = bytes;
    arena->bytes_total += bytes;
    return chunk;
}

/* A block of its own chunk goes behind the newest one, whose free bytes stay in use. */
static void *alloc_alone(struct arena *arena, size_t bytes)
{
    struct arena_chunk *chunk = add_chunk(arena, bytes + sizeof *chunk);
    if (!chunk)
        return NULL;
    chunk->older = arena->chunks->older;
    arena->chunks->older = chunk;
    return chunk->blocks;
}

static bool begin_chunk(struct arena *arena, size_t bytes)
{
    struct arena_chunk *chunk = add_chunk(arena, bytes);
    if (!chunk)
        return false;
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    take_free_bytes(arena, chunk->blocks, bytes - sizeof *chunk);
    return true;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > PTRDIFF_MAX - sizeof(struct arena_chunk) - BLOCK_ALIGN)
        return NULL;
    size_t taken = (size_t)u64_align_up(bytes ? bytes : 1, BLOCK_ALIGN);
    if (UNLIKELY(taken > arena->left)) {
        /* As large as everything before it, so that the number of chunks stays logarithmic. */
        size_t usual = size_max(CHUNK_BYTES_MIN, size_min(arena->bytes_total, CHUNK_BYTES_MAX));
        if (arena->chunks && taken > usual / 4)
            return alloc_alone(arena, bytes);
        if (!begin_chunk(arena, size_max(usual, taken + sizeof(struct arena_chunk))))
            return NULL;
    }
    uint8_t *block = arena->next;
    assert(taken <= arena->left);
    assert((uintptr_t)block % BLOCK_ALIGN == 0);
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
    arena->next += taken;
    arena->left -= taken;
    return block;
}

sombra_slice arena_copy(struct arena *arena, sombra_slice s)
{
    void *copy = arena_alloc(arena, s.bytes);
    if (!copy)
        return slice_of(NULL, 0);
    if (s.bytes)
        memcpy(copy, s.data, s.bytes);
    return slice_of(copy, s.bytes);
}
