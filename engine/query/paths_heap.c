/* SPDX-License-Identifier: MIT */
/* The heap of the weighted searches: four children a node, so that it is half as deep as with two.
 */
#include "paths_internal.h"

enum { WAYS = 4 };

static bool comes_before(const struct waiting *a, const struct waiting *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return a->hops != b->hops ? a->hops < b->hops : a->index < b->index;
}

sombra_err cost_heap_push(struct query_run *run, struct cost_heap *heap, struct waiting item)
{
    sombra_err err = run_room(run, &heap->items, heap->count, &heap->capacity, sizeof *heap->items,
                              "a search by cost");
    if (err)
        return err;
    size_t at = heap->count++;
    while (at > 0 && comes_before(&item, &heap->items[(at - 1) / WAYS])) {
        heap->items[at] = heap->items[(at - 1) / WAYS];
        at = (at - 1) / WAYS;
    }
    heap->items[at] = item;
    return SOMBRA_OK;
}

struct waiting cost_heap_pop(struct cost_heap *heap)
{
    assert(heap->count > 0);
    struct waiting *items = heap->items, top = items[0], item = items[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t best = at * WAYS + 1, end = size_min(best + WAYS, heap->count);
        if (best >= heap->count)
            break;
        for (size_t i = best + 1; i < end; i++) {
            if (comes_before(&items[i], &items[best]))
                best = i;
        }
        if (!comes_before(&items[best], &item))
            break;
        items[at] = items[best];
        at = best;
    }
    items[at] = item;
    return top;
}

void cost_heap_release(struct query_run *run, struct cost_heap *heap)
{
    run_free(run, &heap->items, &heap->capacity, sizeof *heap->items);
    heap->count = 0;
}
