/* SPDX-License-Identifier: MIT */
#include "names.h"
#include "graph_internal.h"

enum { TABLE_CAPACITY_MIN = 64, IDS_CAPACITY_MIN = 64 };

struct graph_name_table {
    struct graph_name_table *older;
    size_t capacity; /* a power of two; at most half is used */
    _Atomic(struct graph_name *) slots[];
};

/* ---- find -------------------------------------------------------------------------------- */

struct graph_name *graph_names_by_text(struct graph_names *names, sombra_name_kind kind,
                                       sombra_slice text)
{
    struct graph_name_table *table = atomic_load_explicit(&names->by_text, memory_order_acquire);
    if (!table)
        return NULL;
    size_t at = hash_bytes(text.data, text.bytes, (uint64_t)kind);
    for (;; at++) {
        struct graph_name *name =
            atomic_load_explicit(&table->slots[at & (table->capacity - 1)], memory_order_acquire);
        if (!name)
            return NULL;
        if (name->kind == kind && name->bytes == text.bytes &&
            memcmp(name->text, text.data, text.bytes) == 0)
            return name;
    }
}

/* ---- add --------------------------------------------------------------------------------- */

sombra_err graph_name_new(sombra_name_kind kind, uint32_t id, sombra_slice text,
                          struct graph_name **out_name)
{
    assert(text.bytes >= 1 && text.bytes <= SOMBRA_NAME_BYTES_MAX);
    struct graph_name *name = mem_alloc(sizeof *name + text.bytes);
    if (!name)
        return diag_nomem("a name", sizeof *name + text.bytes);
    name->next = NULL;
    name->id = id;
    name->kind = (uint8_t)kind;
    name->bytes = (uint16_t)text.bytes;
    memcpy(name->text, text.data, text.bytes);
    *out_name = name;
    return SOMBRA_OK;
}

static void table_put(struct graph_name_table *table, struct graph_name *name)
{
    size_t at = hash_bytes(name->text, name->bytes, name->kind);
    while (atomic_load_explicit(&table->slots[at & (table->capacity - 1)], memory_order_relaxed))
        at++;
    atomic_store_explicit(&table->slots[at & (table->capacity - 1)], name, memory_order_release);
}

static sombra_err table_grow(struct graph_names *names)
{
    struct graph_name_table *old = atomic_load_explicit(&names->by_text, memory_order_relaxed);
    size_t capacity = old ? old->capacity : TABLE_CAPACITY_MIN;
    if (old && (names->count + 1) * 2 <= capacity)
        return SOMBRA_OK;
    while ((names->count + 1) * 2 > capacity)
        capacity *= 2;
    size_t bytes = sizeof *old + capacity * sizeof old->slots[0];
    struct graph_name_table *table = mem_zalloc(bytes);
    if (!table)
        return diag_nomem("names by text", bytes);
    table->older = old;
    table->capacity = capacity;
    for (struct graph_name *name = names->newest; name; name = name->next)
        table_put(table, name);
    atomic_store_explicit(&names->by_text, table, memory_order_release);
    return SOMBRA_OK;
}

/* Ids are dense in a sound store. One far beyond the count is left out: it is found in the store
 * each time, and a hostile file cannot ask for a table of 2^32 slots. */
static sombra_err ids_grow(struct graph_names *names, const struct graph_name *name)
{
    struct graph_name_ids *old =
        atomic_load_explicit(&names->by_id[name->kind], memory_order_relaxed);
    size_t capacity = old ? old->capacity : 0;
    if (name->id < capacity || name->id >= 4 * (names->count + IDS_CAPACITY_MIN))
        return SOMBRA_OK;
    capacity = size_max(IDS_CAPACITY_MIN, (size_t)name->id * 2);
    size_t bytes = sizeof *old + capacity * sizeof old->slots[0];
    struct graph_name_ids *ids = mem_zalloc(bytes);
    if (!ids)
        return diag_nomem("names by id", bytes);
    ids->older = old;
    ids->capacity = capacity;
    for (size_t i = 0; old && i < old->capacity; i++)
        atomic_store_explicit(&ids->slots[i],
                              atomic_load_explicit(&old->slots[i], memory_order_relaxed),
                              memory_order_relaxed);
    atomic_store_explicit(&names->by_id[name->kind], ids, memory_order_release);
    return SOMBRA_OK;
}

sombra_err graph_names_add(struct graph_names *names, struct graph_name *name)
{
    assert(name->kind > 0 && name->kind < GRAPH_NAME_KINDS && name->id > 0);
    sombra_err err = table_grow(names);
    if (!err)
        err = ids_grow(names, name);
    if (err)
        return err;
    name->next = names->newest;
    names->newest = name;
    names->count++;
    struct graph_name_ids *ids =
        atomic_load_explicit(&names->by_id[name->kind], memory_order_relaxed);
    if (ids && name->id < ids->capacity)
        atomic_store_explicit(&ids->slots[name->id], name, memory_order_release);
    table_put(atomic_load_explicit(&names->by_text, memory_order_relaxed), name);
    return SOMBRA_OK;
}

/* ---- remove ------------------------------------------------------------------------------ */

static void tables_free(struct graph_names *names)
{
    struct graph_name_table *table = atomic_load(&names->by_text);
    while (table) {
        struct graph_name_table *older = table->older;
        mem_free(table);
        table = older;
    }
    atomic_store(&names->by_text, NULL);
    for (unsigned kind = 0; kind < GRAPH_NAME_KINDS; kind++) {
        struct graph_name_ids *ids = atomic_load(&names->by_id[kind]);
        while (ids) {
            struct graph_name_ids *older = ids->older;
            mem_free(ids);
            ids = older;
        }
        atomic_store(&names->by_id[kind], NULL);
    }
}

struct graph_name *graph_names_cut(struct graph_names *names, size_t count)
{
    if (names->count <= count)
        return NULL;
    struct graph_name *taken = names->newest, *last = NULL;
    for (; names->count > count; names->count--) {
        last = names->newest;
        names->newest = last->next;
    }
    last->next = NULL;
    /* What is left goes into the slots again: an open-addressed table cannot lose single names. */
    struct graph_name_table *table = atomic_load(&names->by_text);
    for (size_t i = 0; i < table->capacity; i++)
        atomic_store(&table->slots[i], NULL);
    for (struct graph_name *name = names->newest; name; name = name->next)
        table_put(table, name);
    for (struct graph_name *name = taken; name; name = name->next) {
        struct graph_name_ids *ids = atomic_load(&names->by_id[name->kind]);
        if (ids && name->id < ids->capacity)
            atomic_store(&ids->slots[name->id], NULL);
    }
    return taken;
}

void graph_name_list_free(struct graph_name *newest)
{
    while (newest) {
        struct graph_name *next = newest->next;
        mem_free(newest);
        newest = next;
    }
}

void graph_names_release(struct graph_names *names)
{
    graph_name_list_free(names->newest);
    names->newest = NULL;
    names->count = 0;
    tables_free(names);
}
