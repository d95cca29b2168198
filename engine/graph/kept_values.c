/* SPDX-License-Identifier: MIT */
#include "kept_ends.h"

/* What all entries begin with. */
struct kept_head {
    uint64_t node;
    uint32_t property;
    uint32_t generation;
};
static_assert(offsetof(struct kept_head, generation) == offsetof(struct kept_value, generation) &&
                  offsetof(struct kept_head, generation) == offsetof(struct kept_ends, generation),
              "entries are of a generation");

static const struct {
    size_t entry_bytes;
    size_t capacity_min; /* so that some growths later it has KEPT_BYTES_MAX */
} kinds[KEPT_KINDS] = {
    [KEPT_BY_NODE] = { sizeof(struct kept_value), KEPT_CAPACITY_MIN },
    [KEPT_BY_VALUE] = { sizeof(struct kept_value), KEPT_CAPACITY_MIN },
    [KEPT_ENDS] = { sizeof(struct kept_ends), KEPT_CAPACITY_MIN / 2 },
};

static size_t capacity_of(const struct kept_values *kept)
{
    return kept->at ? kept->mask + 1 : 0;
}

static size_t bytes_of(const struct kept_values *kept, size_t capacity)
{
    return capacity * kinds[kept->kind].entry_bytes;
}

static void bytes_give(struct graph *graph, size_t bytes)
{
    atomic_fetch_sub_explicit(&graph->kept_bytes, bytes, memory_order_relaxed);
}

static bool bytes_take(struct graph *graph, size_t bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&graph->kept_bytes, bytes, memory_order_relaxed);
    if (before + bytes <= KEPT_BYTES_ALL)
        return true;
    bytes_give(graph, bytes);
    return false;
}

static void release(struct graph *graph, struct kept_values *kept)
{
    if (kept->at)
        bytes_give(graph, bytes_of(kept, capacity_of(kept)));
    mem_free(kept->at);
    *kept = (struct kept_values){ .at = NULL, .kind = kept->kind };
}

void kept_values_release(struct graph_txn *txn)
{
    release(txn->graph, &txn->kept);
    release(txn->graph, &txn->found);
    release(txn->graph, &txn->ends);
}

/* The place in a table of the same kind. */
static void *slot_of(const struct kept_values *kept, const void *entry)
{
    const struct kept_head *head = entry;
    const struct kept_value *value = entry;
    switch (kept->kind) {
    case KEPT_BY_VALUE:
        return kept_found_slot(kept, value->property, kept_words_of(value->bytes, value->length));
    case KEPT_ENDS:
        return kept_ends_slot(kept, head->node, head->property);
    default:
        return kept_value_slot(kept, head->node, head->property);
    }
}

/* A larger table with what is kept of this version, or all as it was. */
static void grow(struct graph *graph, struct kept_values *kept)
{
    enum { LINE_BYTES = 64 }; /* an entry lies in one, or in as few as it can */
    const size_t old_capacity = capacity_of(kept);
    const size_t capacity = kept->at ? old_capacity * KEPT_GROWS : kinds[kept->kind].capacity_min;
    const size_t bytes = bytes_of(kept, capacity), entry_bytes = bytes_of(kept, 1);
    struct kept_values grown = *kept;
    assert(bytes <= KEPT_BYTES_MAX);
    if (!bytes_take(graph, bytes))
        return;
    grown.at = mem_alloc_aligned(LINE_BYTES, bytes);
    if (!grown.at) {
        bytes_give(graph, bytes);
        return;
    }
    memset(grown.at, 0, bytes);
    grown.mask = capacity - 1;
    for (size_t i = 0; i < old_capacity; i++) {
        const struct kept_head *head = (const void *)((const char *)kept->at + i * entry_bytes);
        if (head->generation == kept->generation)
            memcpy(slot_of(&grown, head), head, entry_bytes);
    }
    bytes_give(graph, bytes_of(kept, old_capacity));
    mem_free(kept->at);
    *kept = grown;
}

/* Once a sixteenth of the table was pushed out, it is too small: what is pushed out is read again.
 */
void kept_values_push(struct graph *graph, struct kept_values *kept)
{
    if (++kept->pushed >= capacity_of(kept) / 16) {
        kept->pushed = 0;
        if (bytes_of(kept, capacity_of(kept)) * KEPT_GROWS <= KEPT_BYTES_MAX)
            grow(graph, kept);
    }
}

/* ---- does it pay? -------------------------------------------------------------------------- */

/* KEPT_READS were kept. */
static void judge(struct kept_values *kept)
{
    if (kept->hits * KEPT_PAYS >= KEPT_READS)
        kept->pause = 0;
    else
        kept->pause = u64_min(u64_max(2 * kept->pause, KEPT_READS), KEPT_PAUSE_MAX);
    kept->hits = 0;
}

bool kept_values_think(struct graph *graph, struct kept_values *kept)
{
    if (kept->is_on) {
        judge(kept);
        kept->is_on = kept->pause == 0;
        kept->left = kept->is_on ? KEPT_READS : kept->pause;
        return kept->is_on;
    }
    if (!kept->at)
        grow(graph, kept);
    kept->is_on = kept->at != NULL;
    kept->left = kept->is_on && kept->rest ? kept->rest : KEPT_READS;
    kept->rest = 0;
    return kept->is_on;
}

static void begin(struct kept_values *kept, uint64_t version)
{
    if (version == 0 || version == kept->version)
        return;
    if (kept->is_on)
        kept->rest = kept->left;
    if (kept->is_on || kept->rest || kept->pause == 0) {
        kept->is_on = false;
        kept->left = KEPT_READS_BEFORE;
    } /* else it makes a pause, of whatever versions */
    kept->version = version;
    if (UNLIKELY(++kept->generation == 0)) { /* entries of all generations look like new ones */
        if (kept->at)
            memset(kept->at, 0, bytes_of(kept, capacity_of(kept)));
        kept->generation = 1;
    }
}

void kept_values_begin(struct graph_txn *txn)
{
    begin(&txn->kept, txn->version);
    txn->found.kind = KEPT_BY_VALUE;
    begin(&txn->found, txn->version);
    txn->ends.kind = KEPT_ENDS;
    begin(&txn->ends, txn->version);
}
