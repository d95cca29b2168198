/* SPDX-License-Identifier: MIT */
/* The header that all pages share, the seal, and the parts of validation common to all kinds. */
#include "page.h"
#include "page_internal.h"

#include <inttypes.h>

static inline bool is_page_size(size_t page_bytes)
{
    return page_bytes >= PAGE_BYTES_MIN && page_bytes <= PAGE_BYTES_MAX &&
           (page_bytes & (page_bytes - 1)) == 0;
}

static bool is_tree_kind(enum page_kind kind)
{
    return kind == PAGE_LEAF || kind == PAGE_DENSE || kind == PAGE_BRANCH;
}

/* ---- header ------------------------------------------------------------------------------ */

void page_init(uint8_t *page, size_t page_bytes, enum page_kind kind, unsigned level, page_id id,
               uint64_t txn)
{
    assert(is_page_size(page_bytes));
    assert(level <= PAGE_LEVEL_MAX);
    assert((level == 0) == (kind != PAGE_BRANCH));

    memset(page, 0, CELLS_HEADS);
    page[PAGE_KIND] = (uint8_t)kind;
    page[PAGE_LEVEL] = (uint8_t)level;
    page_set_identity(page, id, txn);
    if (is_tree_kind(kind))
        cells_set_low(page, page_bytes);
}

void page_set_identity(uint8_t *page, page_id id, uint64_t txn)
{
    assert(id >> 48 == 0);
    put_le64(page + PAGE_CRC, 0);
    put_le48(page + PAGE_NUMBER, id);
    put_le64(page + PAGE_TXN, txn);
}

/* ---- seal -------------------------------------------------------------------------------- */

static uint32_t page_checksum(const uint8_t *page, size_t page_bytes)
{
    return crc32_update(0, page + PAGE_NUMBER, page_bytes - PAGE_NUMBER);
}

void page_seal(uint8_t *page, size_t page_bytes)
{
    assert(is_page_size(page_bytes));
    assert(((uintptr_t)page & 7) == 0);

    uint64_t word = (uint64_t)PAGE_SEALED << 32 | page_checksum(page, page_bytes);
    /* One store: a reader beside it sees the page unsealed or sealed, never half. */
    __atomic_store_n((uint64_t *)(void *)(page + PAGE_CRC), ENDIAN_LE(64, word), __ATOMIC_RELEASE);
}

static uint64_t page_seal_word(const uint8_t *page)
{
    assert(((uintptr_t)page & 7) == 0);
    uint64_t word =
        __atomic_load_n((const uint64_t *)(const void *)(page + PAGE_CRC), __ATOMIC_ACQUIRE);
    return ENDIAN_LE(64, word);
}

bool page_is_sealed(const uint8_t *page)
{
    return page_seal_word(page) >> 32 == PAGE_SEALED;
}

/* ---- used bytes -------------------------------------------------------------------------- */

size_t page_arrays_end(const uint8_t *page)
{
    size_t count = cells_count(page);
    switch (page_kind(page)) {
    case PAGE_LEAF:
        return CELLS_HEADS + LEAF_SLOT_BYTES * count;
    case PAGE_DENSE:
        return dense_arrays_end(page);
    case PAGE_BRANCH:
        if (count == 0)
            return CELLS_HEADS;
        return CELLS_HEADS + BRANCH_SLOT_BYTES * (count - 1) + 2 * BRANCH_CHILD_BYTES * count;
    default:
        assert(is_tree_kind(page_kind(page)));
        return PAGE_HEADER_BYTES;
    }
}

unsigned page_count(const uint8_t *page)
{
    assert(is_tree_kind(page_kind(page)));
    return cells_count(page);
}

size_t page_cells_low(const uint8_t *page)
{
    assert(is_tree_kind(page_kind(page)));
    return cells_low(page);
}

size_t page_used(const uint8_t *page, size_t page_bytes)
{
    assert(is_tree_kind(page_kind(page)));
    return page_arrays_end(page) + (page_bytes - cells_low(page)) - cells_holes(page);
}

/* Of a leaf from which entries are removed one by one, a copy each time, the copies are most of
 * the price. */
enum { HOLES_SHARE = 5 };

void page_copy(uint8_t *to, const uint8_t *from, size_t page_bytes)
{
    assert(is_tree_kind(page_kind(from)));
    if (UNLIKELY(page_kind(from) == PAGE_LEAF && cells_holes(from) > page_bytes / HOLES_SHARE)) {
        general_copy_packed(to, from, page_bytes);
        return;
    }
    size_t low = cells_low(from);
    /* Not the seal, which a checkpoint may store meanwhile. */
    copy_wide(to + PAGE_NUMBER, from + PAGE_NUMBER, page_arrays_end(from) - PAGE_NUMBER);
    copy_wide(to + low, from + low, page_bytes - low);
}

/* ---- arrays of heads and slots ----------------------------------------------------------- */

void slots_insert(uint8_t *page, unsigned count, unsigned index, uint32_t head, size_t offset,
                  size_t tail_bytes)
{
    assert(index <= count);
    uint8_t *heads = page + CELLS_HEADS;
    uint8_t *slots = heads + 4 * (size_t)count;
    size_t behind = 2 * (size_t)(count - index) + tail_bytes;
    /* From the back, so that nothing is overwritten before it moved. */
    memmove(slots + 2 * (size_t)index + 6, slots + 2 * (size_t)index, behind);
    memmove(slots + 4, slots, 2 * (size_t)index);
    memmove(heads + 4 * (size_t)index + 4, heads + 4 * (size_t)index, 4 * (size_t)(count - index));
    put_le32(heads + 4 * (size_t)index, head);
    slot_set(page, count + 1, index, offset);
}

void slots_remove(uint8_t *page, unsigned count, unsigned first, unsigned last, size_t tail_bytes)
{
    assert(first <= last && last <= count);
    size_t removed = last - first;
    uint8_t *heads = page + CELLS_HEADS;
    uint8_t *slots = heads + 4 * (size_t)count;
    memmove(heads + 4 * (size_t)first, heads + 4 * (size_t)last, 4 * (size_t)(count - last));
    memmove(slots - 4 * removed, slots, 2 * (size_t)first);
    memmove(slots - 4 * removed + 2 * (size_t)first, slots + 2 * (size_t)last,
            2 * (size_t)(count - last) + tail_bytes);
}

/* ---- validation -------------------------------------------------------------------------- */

sombra_err page_corrupt(const uint8_t *page, size_t offset, const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ", offset %zu: %s", page_number(page), offset,
                     what);
}

const uint8_t *length_get_checked(const uint8_t *at, const uint8_t *end, size_t *out_length)
{
    size_t length = 0;
    for (unsigned shift = 0; shift <= 14; shift += 7) {
        if (at >= end)
            return NULL;
        uint8_t byte = *at++;
        length |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0)
                return NULL;
            *out_length = length;
            return at;
        }
    }
    return NULL;
}

/* Takes them; true if one was taken. */
static bool bits_take(struct byte_map *map, size_t offset, size_t bytes)
{
    uint64_t taken = 0;
    while (bytes > 0) {
        size_t bit = offset % 64;
        size_t here = size_min(bytes, 64 - bit);
        /* cppcheck-suppress shiftTooManyBits ; here > 0 */
        uint64_t mask = (UINT64_MAX >> (64 - here)) << bit;
        taken |= map->words[offset / 64] & mask;
        map->words[offset / 64] |= mask;
        offset += here;
        bytes -= here;
    }
    return taken != 0;
}

bool byte_map_take_slow(struct byte_map *map, size_t offset, size_t bytes)
{
    if (map->low == SIZE_MAX) {
        map->low = offset;
        map->high = offset + bytes;
        return true;
    }
    if (!map->has_bits) {
        memset(map->words, 0, map->page_bytes / 8);
        map->has_bits = true;
        (void)bits_take(map, map->low, map->high - map->low);
    }
    return !bits_take(map, offset, bytes);
}

sombra_err cells_validate_area(const uint8_t *page, size_t page_bytes, size_t arrays_end)
{
    size_t prefix_bytes = cells_prefix_bytes(page);
    size_t low = cells_low(page);
    if (prefix_bytes > KV_KEY_BYTES_MAX)
        return page_corrupt(page, CELLS_PREFIX_BYTES, "the prefix is longer than a key may be");
    if (low > page_bytes - prefix_bytes)
        return page_corrupt(page, CELLS_LOW, "the cell area begins behind its end");
    if (arrays_end > low)
        return page_corrupt(page, CELLS_COUNT, "the slots reach into the cell area");
    if (cells_holes(page) > page_bytes - prefix_bytes - low)
        return page_corrupt(page, CELLS_HOLES, "more holes than cell area");
    return SOMBRA_OK;
}

static sombra_err validate_header(const uint8_t *page, page_id id)
{
    unsigned level = page_level(page);
    if (page_number(page) != id)
        return diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ", offset %d: it says it is page %" PRIu64,
                         id, PAGE_NUMBER, page_number(page));
    if (!is_tree_kind(page_kind(page)))
        return page_corrupt(page, PAGE_KIND, "not a tree page");
    if (level > PAGE_LEVEL_MAX || (level == 0) != (page_kind(page) != PAGE_BRANCH))
        return page_corrupt(page, PAGE_LEVEL, "the level does not go with the kind");
    return SOMBRA_OK;
}

static sombra_err validate_seal(const uint8_t *page, size_t page_bytes, page_id id,
                                bool may_be_unsealed)
{
    uint64_t word = page_seal_word(page);
    if (word == 0 && may_be_unsealed)
        return SOMBRA_OK;
    if (word >> 32 != PAGE_SEALED)
        return diag_fail(SOMBRA_CORRUPT, "page %" PRIu64 ", offset %d: no checksum", id, PAGE_SEAL);
    uint32_t sum = page_checksum(page, page_bytes);
    if ((uint32_t)word != sum)
        return diag_fail(SOMBRA_CORRUPT,
                         "page %" PRIu64 ", offset 0: checksum %08" PRIx32 ", expected %08" PRIx32,
                         id, (uint32_t)word, sum);
    return SOMBRA_OK;
}

sombra_err page_validate(const uint8_t *page, size_t page_bytes, page_id id, bool may_be_unsealed)
{
    assert(is_page_size(page_bytes));
    assert(id != 0);

    sombra_err err = validate_seal(page, page_bytes, id, may_be_unsealed);
    if (!err)
        err = validate_header(page, id);
    if (err)
        return err;
    switch (page_kind(page)) {
    case PAGE_LEAF:
        return general_validate(page, page_bytes);
    case PAGE_DENSE:
        return dense_validate(page, page_bytes);
    default:
        return branch_validate(page, page_bytes);
    }
}
