/* SPDX-License-Identifier: MIT */
#include "layout_plain.h"

#include <assert.h>

/* count u16, then low u32 (start of the cells); slots from 24 on, as our headers have 24 bytes. */
enum { PLAIN_COUNT = 16, PLAIN_LOW = 20, PLAIN_SLOTS = 24, PLAIN_CELL_BYTES = 4 };

void plain_init(uint8_t *page, size_t page_bytes)
{
    put_le16(page + PLAIN_COUNT, 0);
    put_le32(page + PLAIN_LOW, (uint32_t)page_bytes);
}

unsigned plain_count(const uint8_t *page)
{
    return get_le16(page + PLAIN_COUNT);
}

size_t plain_used(const uint8_t *page, size_t page_bytes)
{
    return PLAIN_SLOTS + 2 * (size_t)plain_count(page) + page_bytes - get_le32(page + PLAIN_LOW);
}

static const uint8_t *cell_at(const uint8_t *page, unsigned index)
{
    return page + get_le16(page + PLAIN_SLOTS + 2 * (size_t)index);
}

sombra_slice plain_key(const uint8_t *page, unsigned index)
{
    const uint8_t *cell = cell_at(page, index);
    return slice_of(cell + PLAIN_CELL_BYTES, get_le16(cell));
}

sombra_slice plain_value(const uint8_t *page, unsigned index)
{
    const uint8_t *cell = cell_at(page, index);
    return slice_of(cell + PLAIN_CELL_BYTES + get_le16(cell), get_le16(cell + 2));
}

bool plain_find(const uint8_t *page, sombra_slice key, unsigned *out_index)
{
    unsigned low = 0, high = plain_count(page);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = slice_compare(plain_key(page, middle), key);
        if (order == 0) {
            *out_index = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_index = low;
    return false;
}

bool plain_insert(uint8_t *page, unsigned index, sombra_slice key, sombra_slice value)
{
    unsigned count = plain_count(page);
    size_t low = get_le32(page + PLAIN_LOW);
    size_t bytes = PLAIN_CELL_BYTES + key.bytes + value.bytes;
    uint8_t *slots = page + PLAIN_SLOTS;
    if (low < PLAIN_SLOTS + 2 * (size_t)(count + 1) + bytes)
        return false;
    low -= bytes;
    put_le16(page + low, (uint16_t)key.bytes);
    put_le16(page + low + 2, (uint16_t)value.bytes);
    if (key.bytes > 0)
        memcpy(page + low + PLAIN_CELL_BYTES, key.data, key.bytes);
    if (value.bytes > 0)
        memcpy(page + low + PLAIN_CELL_BYTES + key.bytes, value.data, value.bytes);
    memmove(slots + 2 * (size_t)index + 2, slots + 2 * (size_t)index, 2 * (size_t)(count - index));
    put_le16(slots + 2 * (size_t)index, (uint16_t)low);
    put_le16(page + PLAIN_COUNT, (uint16_t)(count + 1));
    put_le32(page + PLAIN_LOW, (uint32_t)low);
    return true;
}

void plain_split(const uint8_t *page, size_t page_bytes, unsigned index, sombra_slice key,
                 sombra_slice value, unsigned cut, uint8_t *left, uint8_t *right)
{
    unsigned count = plain_count(page) + 1;
    plain_init(left, page_bytes);
    plain_init(right, page_bytes);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *to = i < cut ? left : right;
        unsigned from = i > index ? i - 1 : i;
        sombra_slice k = i == index ? key : plain_key(page, from);
        sombra_slice v = i == index ? value : plain_value(page, from);
        bool did_fit = plain_insert(to, plain_count(to), k, v);
        assert(did_fit);
        (void)did_fit;
    }
}
