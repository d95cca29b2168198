/* SPDX-License-Identifier: MIT */
#include "rows.h"

/* The 4 bytes behind the prefix, zeros where there are less. */
static inline uint32_t head_of(const uint8_t *key, size_t key_bytes, size_t prefix_bytes)
{
    uint8_t bytes[4] = { 0 };
    if (LIKELY(key_bytes >= prefix_bytes + sizeof bytes))
        return get_be32(key + prefix_bytes);
    if (key_bytes > prefix_bytes)
        memcpy(bytes, key + prefix_bytes, key_bytes - prefix_bytes);
    return get_be32(bytes);
}

/* ---- unpack ------------------------------------------------------------------------------ */

/* Few bytes are copied faster as so many: behind the last entry there is room for it. */
enum { COPY_BYTES = 16 };

/* What a block takes but its keys and values. */
static size_t fixed_bytes(uint32_t count, bool is_wide)
{
    size_t place_bytes = is_wide ? 2 * sizeof(uint32_t) : 2 * sizeof(uint16_t);
    return COPY_BYTES + sizeof(struct rows_head) + (size_t)count * sizeof(uint32_t) +
           ((size_t)count + 1) * place_bytes;
}

size_t rows_bytes_max(uint32_t entries)
{
    return fixed_bytes(entries, true) + TABLE_DATA_BYTES_MAX + TABLE_DATA_KEYS_MAX;
}

size_t rows_bytes(const struct block *block)
{
    struct block_entry entry;
    const uint8_t *at = block->data;
    size_t bytes = 0;
    for (uint32_t i = 0; i < block->entries; i++, at = entry.next) {
        block_entry_at(at, &entry);
        bytes += entry.shared + entry.rest.bytes + entry.value.bytes;
    }
    assert(at == block->heads);
    return fixed_bytes(block->entries, bytes > UINT16_MAX) + bytes;
}

static inline void place_put(const struct rows *rows, uint32_t at, uint32_t key, uint32_t size)
{
    void *place = (void *)(uintptr_t)rows_place(rows, at);
    if (UNLIKELY(rows->is_wide)) {
        ((uint32_t *)place)[0] = key;
        ((uint32_t *)place)[1] = size;
    } else {
        ((uint16_t *)place)[0] = (uint16_t)key;
        ((uint16_t *)place)[1] = (uint16_t)size;
    }
}

static void samples_take(struct rows_head *head, const uint32_t *heads)
{
    head->step = (head->count + ROWS_SAMPLES - 1) / ROWS_SAMPLES;
    for (uint32_t i = 0; i < ROWS_SAMPLES; i++)
        head->samples[i] = i * head->step < head->count ? heads[i * head->step] : UINT32_MAX;
}

void rows_unpack(const struct block *block, uint8_t *to, size_t to_bytes)
{
    struct rows_head *head = (struct rows_head *)(void *)to;
    uint32_t count = block->entries, prefix_bytes = (uint32_t)block->prefix.bytes;
    uint32_t *heads = (uint32_t *)(void *)(head + 1);
    *head = (struct rows_head){ .count = count,
                                .prefix_bytes = (uint16_t)prefix_bytes,
                                .is_wide = to_bytes - fixed_bytes(count, false) > UINT16_MAX };
    struct rows rows;
    rows_open(&rows, to);
    uint8_t *bytes = (uint8_t *)(uintptr_t)rows.bytes, *key = bytes;
    const uint8_t *at = block->data, *before = bytes;
    struct block_entry entry;
    if (prefix_bytes > 0 && prefix_bytes <= ROWS_PREFIX_BYTES)
        memcpy(head->prefix, block->prefix.data, prefix_bytes);
    for (uint32_t i = 0; i < count; i++, at = entry.next) {
        block_entry_at(at, &entry);
        size_t key_bytes = entry.shared + entry.rest.bytes;
        assert(key_bytes <= KV_KEY_BYTES_MAX);
        if (LIKELY(entry.shared <= COPY_BYTES))
            memmove(key, before,
                    COPY_BYTES); /* what is too much is overwritten or behind the end */
        else
            memcpy(key, before, entry.shared);
        /* The value stands behind the rest of the key on disk as well. */
        memcpy(key + entry.shared, entry.rest.data, entry.rest.bytes + entry.value.bytes);
        heads[i] = head_of(key, key_bytes, prefix_bytes);
        place_put(&rows, i, (uint32_t)(key - bytes),
                  (uint32_t)key_bytes | (uint32_t)entry.kind << ROWS_KIND_SHIFT);
        before = key;
        key += key_bytes + entry.value.bytes;
    }
    assert(key + COPY_BYTES == to + to_bytes);
    place_put(&rows, count, (uint32_t)(key - bytes), 0);
    samples_take(head, heads);
}

/* ---- find -------------------------------------------------------------------------------- */

/* First of heads [low, high) that is not below `head`; without a branch that could be mispredicted,
 * which compilers make of a choice. The next one is one of two: both are on the way. */
static inline uint32_t heads_not_below(const struct rows *rows, uint32_t low, uint32_t high,
                                       uint32_t head)
{
    const uint32_t *base = rows->heads + low;
    uint32_t count = high - low;
    if (count == 0)
        return low;
    while (count > 1) {
        uint32_t half = count / 2;
        __builtin_prefetch(base + half / 2);
        __builtin_prefetch(base + half + half / 2);
        base += half & -(uint32_t)(base[half - 1] < head);
        count -= half;
    }
    return (uint32_t)(base - rows->heads) + (*base < head);
}

/* Orders the key at `at` and `key`, whose heads are equal. Where both end within their heads
 * nothing but zeros can differ: their lengths tell. */
static inline int tie_order(const struct rows *rows, uint32_t at, sombra_slice key)
{
    uint32_t bytes = rows_key_bytes(rows, at);
    size_t most = (size_t)rows->prefix_bytes + sizeof(uint32_t);
    if (bytes <= most && key.bytes <= most)
        return (bytes > key.bytes) - (bytes < key.bytes);
    return slice_compare(slice_of(rows->bytes + rows_key_at(rows, at), bytes), key);
}

/* Among the entries from `low` on whose heads are equal to that of `key`: the first not below. */
static uint32_t ties_find(const struct rows *rows, sombra_slice key, uint32_t head, uint32_t low,
                          bool *out_is_equal)
{
    uint32_t high = low, step = 1;
    *out_is_equal = false;
    /* All before `low` are < key; that at `high`, if any, is >= key. */
    while (high < rows->count && rows->heads[high] == head) {
        int order = tie_order(rows, high, key);
        if (order >= 0) {
            *out_is_equal = order == 0;
            break;
        }
        low = high + 1;
        high = rows->count - high > step ? high + step : rows->count;
        step *= 2;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = rows->heads[middle] > head ? 1 : tie_order(rows, middle, key);
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
            *out_is_equal = order == 0;
        }
    }
    return low;
}

/* True where the key does not begin with the prefix: then *out_at is the answer. */
static inline bool is_outside(const struct rows *rows, sombra_slice key, uint32_t *out_at)
{
    size_t bytes = size_min(key.bytes, rows->prefix_bytes);
    int order = 0;
    if (LIKELY(bytes <= sizeof(uint64_t))) { /* a loop of few bytes beats a call */
        const uint8_t *a = key.data, *b = rows->prefix;
        for (size_t i = 0; i < bytes && order == 0; i++)
            order = (int)a[i] - (int)b[i];
    } else {
        order = memcmp(key.data, rows->prefix, bytes);
    }
    if (LIKELY(order == 0 && bytes == rows->prefix_bytes))
        return false;
    *out_at = order > 0 ? rows->count : 0;
    return true;
}

/* The samples tell between which two the head is. */
static inline void aim_at(const struct rows *rows, sombra_slice key, struct rows_aim *out)
{
    uint32_t below = 0;
    out->low = 0;
    out->is_outside = is_outside(rows, key, &out->high);
    if (out->is_outside) {
        out->low = out->high;
        return;
    }
    out->head = head_of(key.data, key.bytes, rows->prefix_bytes);
    for (unsigned i = 0; i < ROWS_SAMPLES; i++)
        below += rows->samples[i] < out->head;
    out->high = below * rows->step < rows->count ? below * rows->step : rows->count;
    if (below > 0)
        out->low = (below - 1) * rows->step + 1;
}

void rows_aim(const struct rows *rows, sombra_slice key, struct rows_aim *out)
{
    enum { LINE_BYTES = 64 };
    aim_at(rows, key, out);
    const char *end = (const char *)(rows->heads + out->high);
    for (const char *at = (const char *)(rows->heads + out->low); at < end; at += LINE_BYTES)
        __builtin_prefetch(at);
    __builtin_prefetch(end);
}

static inline uint32_t find_head(const struct rows *rows, const struct rows_aim *aim)
{
    return heads_not_below(rows, aim->low, aim->high, aim->head);
}

uint32_t rows_find_head(const struct rows *rows, const struct rows_aim *aim)
{
    uint32_t at = aim->is_outside ? aim->high : find_head(rows, aim);
    __builtin_prefetch(rows_place(rows, at));
    return at;
}

uint32_t rows_find_at(const struct rows *rows, sombra_slice key, const struct rows_aim *aim,
                      uint32_t head_at, bool *out_is_equal)
{
    *out_is_equal = false;
    if (aim->is_outside || head_at == rows->count || rows->heads[head_at] != aim->head)
        return head_at;
    return ties_find(rows, key, aim->head, head_at, out_is_equal);
}

uint32_t rows_find(const struct rows *rows, sombra_slice key, bool *out_is_equal)
{
    struct rows_aim aim;
    bool is_equal = false;
    aim_at(rows, key, &aim);
    uint32_t at = aim.high;
    if (!aim.is_outside) {
        __builtin_prefetch(rows_place(rows, aim.low + rows->step / 2));
        at = find_head(rows, &aim);
        if (at < rows->count && rows->heads[at] == aim.head)
            at = ties_find(rows, key, aim.head, at, &is_equal);
    }
    if (out_is_equal)
        *out_is_equal = is_equal;
    return at;
}

uint32_t rows_find_from(const struct rows *rows, sombra_slice key, uint32_t from)
{
    uint32_t at, step = 1, low = from, high = from;
    bool is_equal;
    assert(from <= rows->count);
    if (is_outside(rows, key, &at))
        return at < from ? from : at;
    uint32_t head = head_of(key.data, key.bytes, rows->prefix_bytes);
    while (high < rows->count && rows->heads[high] < head) {
        low = high + 1;
        high = rows->count - high > step ? high + step : rows->count;
        step *= 2;
    }
    at = heads_not_below(rows, low, high, head);
    return at < rows->count && rows->heads[at] == head ? ties_find(rows, key, head, at, &is_equal)
                                                       : at;
}
