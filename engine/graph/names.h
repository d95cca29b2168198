/* SPDX-License-Identifier: MIT */
/* names: a set of names, found by text and by id.
 *
 * Threads: find by any, beside one that adds; reset and release by one alone.
 */
#ifndef GRAPH_NAMES_H
#define GRAPH_NAMES_H

#include "graph.h"

#include <assert.h>

struct graph_name *graph_names_by_text(struct graph_names *names, sombra_name_kind kind,
                                       sombra_slice text);
struct graph_name_ids {
    struct graph_name_ids *older;
    size_t capacity;
    _Atomic(struct graph_name *) slots[];
};
static inline struct graph_name *graph_names_by_id(struct graph_names *names, sombra_name_kind kind,
                                                   uint32_t id)
{
    assert(kind > 0 && (unsigned)kind < GRAPH_NAME_KINDS);
    struct graph_name_ids *ids = atomic_load_explicit(&names->by_id[kind], memory_order_acquire);
    if (!ids || id >= ids->capacity)
        return NULL;
    return atomic_load_explicit(&ids->slots[id], memory_order_acquire);
}

/* A name that is in no set yet; freed with mem_free. NOMEM. */
sombra_err graph_name_new(sombra_name_kind kind, uint32_t id, sombra_slice text,
                          struct graph_name **out_name) SOMBRA_MUST_CHECK;
/* The set owns it from now on. NOMEM: then it does not. */
sombra_err graph_names_add(struct graph_names *names, struct graph_name *name) SOMBRA_MUST_CHECK;
/* Takes the newest names off until `count` are left, and gives them back as a list. */
struct graph_name *graph_names_cut(struct graph_names *names, size_t count);
void graph_names_release(struct graph_names *names);
void graph_name_list_free(struct graph_name *newest);

#endif
