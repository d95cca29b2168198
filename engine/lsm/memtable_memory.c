/* SPDX-License-Identifier: MIT */
/* The memory of a memtable: blocks that go with it, and nodes that are used again. */
#include "memtable_internal.h"

/* ---- blocks ------------------------------------------------------------------------------ */

enum { CHUNK_ALIGNMENT = NODE_ALIGNMENT };
static const size_t chunk_bytes_min = 4 * KiB, chunk_bytes_max = 1 * MiB;

struct memtable_chunk {
    struct memtable_chunk *next;
    uint8_t padding[CHUNK_ALIGNMENT - sizeof(struct memtable_chunk *)];
};
static_assert(sizeof(struct memtable_chunk) == CHUNK_ALIGNMENT, "blocks begin aligned");

void memtable_arena_init(struct memtable_arena *arena, size_t alignment, _Atomic size_t *bytes)
{
    assert(alignment <= CHUNK_ALIGNMENT);
    *arena = (struct memtable_arena){ .alignment = alignment, .bytes = bytes };
}

void memtable_arena_release(struct memtable_arena *arena)
{
    for (struct memtable_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        mem_free(chunk);
    }
    arena->chunks = NULL;
    arena->at = arena->end = NULL;
}

static struct memtable_chunk *chunk_new(struct memtable_arena *arena, size_t bytes)
{
    struct memtable_chunk *chunk = mem_alloc_aligned(CHUNK_ALIGNMENT, bytes);
    if (!chunk)
        return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    atomic_fetch_add_explicit(arena->bytes, bytes, memory_order_relaxed);
    if (bytes == chunk_bytes_max)
        mem_populate(chunk, bytes);
    return chunk;
}

/* Chunks double, so that small memtables stay small. */
sombra_err memtable_arena_reserve(struct memtable_arena *arena, size_t bytes)
{
    if ((size_t)(arena->end - arena->at) >= bytes)
        return SOMBRA_OK;
    size_t chunk_bytes =
        size_min(size_max(2 * arena->chunk_bytes, chunk_bytes_min), chunk_bytes_max);
    while (chunk_bytes < bytes + sizeof(struct memtable_chunk))
        chunk_bytes *= 2;
    struct memtable_chunk *chunk = chunk_new(arena, chunk_bytes);
    if (!chunk)
        return diag_nomem("a memtable", chunk_bytes);
    arena->chunk_bytes = chunk_bytes;
    arena->at = (uint8_t *)(chunk + 1);
    arena->end = (uint8_t *)chunk + chunk_bytes;
    return SOMBRA_OK;
}

/* A block that would waste much of a chunk gets one of its own. */
void *memtable_arena_alloc(struct memtable_arena *arena, size_t bytes)
{
    bytes = (size_t)u64_align_up(bytes, arena->alignment);
    if (bytes > chunk_bytes_max / 4 && (size_t)(arena->end - arena->at) < bytes) {
        struct memtable_chunk *chunk = chunk_new(arena, sizeof *chunk + bytes);
        return chunk ? chunk + 1 : NULL;
    }
    if (memtable_arena_reserve(arena, bytes))
        return NULL;
    void *block = arena->at;
    arena->at += bytes;
    return block;
}

/* ---- nodes ------------------------------------------------------------------------------- */

/* What a dead node holds once it may be used again. */
struct free_node {
    struct free_node *next;
};

static struct free_node **free_list(struct memtable_nodes *nodes, bool is_leaf)
{
    return &nodes->free[is_leaf];
}

void *memtable_nodes_alloc(struct memtable_nodes *nodes, bool is_leaf, size_t bytes)
{
    struct free_node **list = free_list(nodes, is_leaf);
    struct free_node *node = *list;
    if (!node)
        return memtable_arena_alloc(&nodes->arena, bytes);
    *list = node->next;
    return node;
}

/* Without memory to remember it, the node goes with the memtable. */
void memtable_nodes_retire(struct memtable_nodes *nodes, struct tree_node *node)
{
    struct node_list *dead = &nodes->dead;
    if (dead->count == dead->capacity) {
        size_t capacity = size_max(64, 2 * dead->capacity);
        struct tree_node **grown = mem_realloc(dead->nodes, capacity * sizeof(struct tree_node *));
        if (!grown)
            return;
        atomic_fetch_add_explicit(nodes->arena.bytes, (capacity - dead->capacity) * sizeof *grown,
                                  memory_order_relaxed);
        dead->nodes = grown;
        dead->capacity = capacity;
    }
    dead->nodes[dead->count++] = node;
}

static void list_free(struct memtable_nodes *nodes, struct node_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct free_node **to = free_list(nodes, list->nodes[i]->level == 0);
        struct free_node *node = (void *)list->nodes[i];
        node->next = *to;
        *to = node;
    }
    list->count = 0;
}

void memtable_nodes_reuse(struct memtable_nodes *nodes, uint64_t next_seq, uint64_t oldest_seq)
{
    if (oldest_seq >= nodes->waiting_seq)
        list_free(nodes, &nodes->waiting);
    if (nodes->waiting.count == 0) {
        struct node_list empty = nodes->waiting;
        nodes->waiting = nodes->dead;
        nodes->dead = empty;
        nodes->waiting_seq = next_seq;
    }
    if (oldest_seq >= nodes->waiting_seq)
        list_free(nodes, &nodes->waiting);
    nodes->dead_asked = nodes->dead.count;
}

void memtable_nodes_release(struct memtable_nodes *nodes)
{
    memtable_arena_release(&nodes->arena);
    mem_free(nodes->dead.nodes);
    mem_free(nodes->waiting.nodes);
}
