/* SPDX-License-Identifier: MIT */
/* range_set: sorted, disjoint ranges. */
#include "source.h"

#include <assert.h>

void range_set_release(struct range_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        mem_free((void *)set->ranges[i].low.data);
    mem_free(set->ranges);
    *set = (struct range_set)RANGE_SET_INIT;
}

/* First range whose end is > `key`, or >= where `touches`. */
static size_t range_set_first(const struct range_set *set, sombra_slice key, bool touches)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = slice_compare(set->ranges[middle].high, key);
        if (order > 0 || (touches && order == 0))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Both bounds in one block, which begins with `low`'s bytes. */
static sombra_err range_copy(struct kv_range_bytes *to, sombra_slice low, sombra_slice high)
{
    uint8_t *bytes = mem_alloc(low.bytes + high.bytes);
    if (!bytes)
        return diag_nomem("a range", low.bytes + high.bytes);
    if (low.bytes)
        memcpy(bytes, low.data, low.bytes);
    memcpy(bytes + low.bytes, high.data, high.bytes);
    to->low = slice_of(bytes, low.bytes);
    to->high = slice_of(bytes + low.bytes, high.bytes);
    return SOMBRA_OK;
}

static sombra_err range_set_reserve(struct range_set *set)
{
    if (set->count < set->capacity)
        return SOMBRA_OK;
    size_t capacity = size_max(4, 2 * set->capacity);
    struct kv_range_bytes *ranges = mem_realloc(set->ranges, capacity * sizeof *ranges);
    if (!ranges)
        return diag_nomem("ranges", capacity * sizeof *ranges);
    set->ranges = ranges;
    set->capacity = capacity;
    return SOMBRA_OK;
}

sombra_err range_set_add(struct range_set *set, sombra_slice low, sombra_slice high)
{
    assert(slice_compare(low, high) < 0);
    size_t first = range_set_first(set, low, true), end = first;
    while (end < set->count && slice_compare(set->ranges[end].low, high) <= 0)
        end++;
    if (end > first) {
        if (slice_compare(set->ranges[first].low, low) < 0)
            low = set->ranges[first].low;
        if (slice_compare(set->ranges[end - 1].high, high) > 0)
            high = set->ranges[end - 1].high;
    }
    struct kv_range_bytes joined;
    sombra_err err = range_set_reserve(set);
    if (!err)
        err = range_copy(&joined, low, high);
    if (err)
        return err;
    for (size_t i = first; i < end; i++)
        mem_free((void *)set->ranges[i].low.data);
    memmove(set->ranges + first + 1, set->ranges + end, (set->count - end) * sizeof *set->ranges);
    set->ranges[first] = joined;
    set->count = set->count - (end - first) + 1;
    assert(set->count <= set->capacity);
    return SOMBRA_OK;
}

const struct kv_range_bytes *range_set_find(const struct range_set *set, sombra_slice key)
{
    size_t at = range_set_first(set, key, false);
    if (at == set->count || slice_compare(set->ranges[at].low, key) > 0)
        return NULL;
    return &set->ranges[at];
}
