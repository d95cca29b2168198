/* SPDX-License-Identifier: MIT */
#include "search_internal.h"

enum { SLOTS_FIRST = 64 };

static void place(struct id_map *map, uint64_t id, uint32_t value)
{
    size_t mask = map->capacity - 1, at = (size_t)hash_u64(id) & mask;
    while (map->slots[at].id && map->slots[at].id != id)
        at = (at + 1) & mask;
    map->count += !map->slots[at].id;
    map->slots[at] = (struct id_map_slot){ .id = id, .value = value };
}

static sombra_err grow(struct query_run *run, struct id_map *map)
{
    struct id_map old = *map;
    size_t capacity = old.capacity ? old.capacity * 2 : SLOTS_FIRST;
    size_t bytes = capacity * sizeof *map->slots;
    sombra_err err = run_charge(run, (int64_t)bytes);
    if (err)
        return err;
    struct id_map_slot *slots = mem_zalloc(bytes);
    if (!slots) {
        run_refund(run, bytes);
        return diag_nomem("a map of ids", bytes);
    }
    *map = (struct id_map){ .slots = slots, .capacity = capacity };
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id)
            place(map, old.slots[i].id, old.slots[i].value);
    }
    id_map_release(run, &old);
    return SOMBRA_OK;
}

sombra_err id_map_put(struct query_run *run, struct id_map *map, uint64_t id, uint32_t value)
{
    assert(id != 0);
    if (UNLIKELY(map->count >= map->capacity / 2)) {
        sombra_err err = grow(run, map);
        if (err)
            return err;
    }
    place(map, id, value);
    return SOMBRA_OK;
}

void id_map_clear(struct id_map *map)
{
    if (map->count)
        memset(map->slots, 0, map->capacity * sizeof *map->slots);
    map->count = 0;
}

void id_map_release(struct query_run *run, struct id_map *map)
{
    run_refund(run, map->capacity * sizeof *map->slots);
    mem_free(map->slots);
    *map = (struct id_map){ .slots = NULL };
}
