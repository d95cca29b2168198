/* SPDX-License-Identifier: MIT */
/* page_internal: what the page kinds share: header fields, head search, cells. Private to the page
 * files of btree/. Everything here trusts the image.
 */
#ifndef BTREE_PAGE_INTERNAL_H
#define BTREE_PAGE_INTERNAL_H

#include "branch_format.h"
#include "leaf_format.h"
#include "page.h"

/* So many heads are compared at once; of more the range is halved first. */
enum { HEADS_WINDOW = 16 };

/* ---- header fields ----------------------------------------------------------------------- */

static inline unsigned cells_count(const uint8_t *page)
{
    return get_le16(page + CELLS_COUNT);
}
static inline void cells_set_count(uint8_t *page, unsigned count)
{
    assert(count <= UINT16_MAX);
    put_le16(page + CELLS_COUNT, (uint16_t)count);
}
static inline size_t cells_prefix_bytes(const uint8_t *page)
{
    return get_le16(page + CELLS_PREFIX_BYTES);
}
/* The cell area ends where the prefix begins. */
static inline size_t cells_top(const uint8_t *page, size_t page_bytes)
{
    return page_bytes - cells_prefix_bytes(page);
}
static inline sombra_slice cells_prefix(const uint8_t *page, size_t page_bytes)
{
    size_t bytes = cells_prefix_bytes(page);
    return slice_of(page + page_bytes - bytes, bytes);
}
static inline size_t cells_low(const uint8_t *page)
{
    return get_le32(page + CELLS_LOW);
}
static inline void cells_set_low(uint8_t *page, size_t low)
{
    put_le32(page + CELLS_LOW, (uint32_t)low);
}
static inline size_t cells_holes(const uint8_t *page)
{
    return get_le32(page + CELLS_HOLES);
}
static inline void cells_set_holes(uint8_t *page, size_t holes)
{
    put_le32(page + CELLS_HOLES, (uint32_t)holes);
}

/* Prefixes are short: no call for them, and no loop for most. Words overlap where their bytes do
 * not add up. */
static inline bool cells_key_has_prefix(sombra_slice key, sombra_slice prefix)
{
    const uint8_t *a = key.data, *b = prefix.data;
    size_t left = prefix.bytes;
    if (UNLIKELY(key.bytes < left))
        return false;
    if (LIKELY(left < 4)) {
        if (left == 0)
            return true;
        size_t middle = left / 2, last = left - 1;
        return ((a[0] ^ b[0]) | (a[middle] ^ b[middle]) | (a[last] ^ b[last])) == 0;
    }
    if (left < 8)
        return ((get_le32(a) ^ get_le32(b)) | (get_le32(a + left - 4) ^ get_le32(b + left - 4))) ==
               0;
    uint64_t differs = get_le64(a + left - 8) ^ get_le64(b + left - 8);
    for (; left > 8; left -= 8, a += 8, b += 8)
        differs |= get_le64(a) ^ get_le64(b);
    return differs == 0;
}

/* ---- heads ------------------------------------------------------------------------------- */

/* Of fewer than 4 bytes each is in its place, some of them twice. */
static inline uint32_t head_of(const uint8_t *bytes, size_t count)
{
    if (LIKELY(count >= 4))
        return get_be32(bytes);
    if (UNLIKELY(count == 0))
        return 0;
    size_t middle = count / 2, last = count - 1;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[middle] << (24 - 8 * middle) |
           (uint32_t)bytes[last] << (24 - 8 * last);
}

static inline uint32_t head_at(const uint8_t *heads, unsigned index)
{
    return get_le32(heads + 4 * (size_t)index);
}

#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
typedef uint32_t head_lanes __attribute__((vector_size(16)));

static inline head_lanes head_load(const uint8_t *at)
{
    head_lanes lanes;
    memcpy(&lanes, at, sizeof lanes);
    return lanes;
}

/* The sum of a few small numbers. */
static inline unsigned lanes_sum(head_lanes lanes)
{
    uint64_t pairs[2];
    memcpy(pairs, &lanes, sizeof pairs);
    const uint64_t sum = pairs[0] + pairs[1];
    return (unsigned)(sum + (sum >> 32));
}

/* How many of HEADS_WINDOW heads are below `head`. */
static inline unsigned heads_window_below(const uint8_t *heads, uint32_t head)
{
    const head_lanes wanted = { head, head, head, head };
    const head_lanes below =
        (head_lanes)(head_load(heads) < wanted) + (head_lanes)(head_load(heads + 16) < wanted) +
        (head_lanes)(head_load(heads + 32) < wanted) + (head_lanes)(head_load(heads + 48) < wanted);
    static_assert(HEADS_WINDOW == 16, "four times four");
    return lanes_sum(-below);
}
/* How many of fewer than HEADS_WINDOW heads are. What is read behind them lies in the page as well:
 * there are slots and cells for each. */
static inline unsigned heads_few_below(const uint8_t *heads, unsigned count, uint32_t head)
{
    const head_lanes wanted = { head, head, head, head }, most = { count, count, count, count };
    head_lanes total = { 0, 0, 0, 0 }, index = { 0, 1, 2, 3 };
    for (unsigned i = 0; i < count; i += 4, index += 4)
        total +=
            (head_lanes)(head_load(heads + 4 * (size_t)i) < wanted) & (head_lanes)(index < most);
    return lanes_sum(-total);
}
#else
static inline unsigned heads_few_below(const uint8_t *heads, unsigned count, uint32_t head)
{
    unsigned total = 0;
    for (unsigned i = 0; i < count; i++)
        total += head_at(heads, i) < head;
    return total;
}
static inline unsigned heads_window_below(const uint8_t *heads, uint32_t head)
{
    unsigned total = 0;
    for (unsigned i = 0; i < HEADS_WINDOW; i++)
        total += head_at(heads, i) < head;
    return total;
}
#endif

/* How many of the ascending `heads` are below `head`: halving without branches to a window, all of
 * which are compared. What it has beside the half that is left is told apart as well. */
static inline unsigned heads_below(const uint8_t *heads, unsigned count, uint32_t head)
{
    unsigned base = 0, left = count;
    if (count < HEADS_WINDOW)
        return heads_few_below(heads, count, head);
    while (left > HEADS_WINDOW) {
        unsigned half = left / 2;
        base += half & (0u - (head_at(heads, base + half - 1) < head));
        left -= half;
    }
    base = base < count - HEADS_WINDOW ? base : count - HEADS_WINDOW;
    return base + heads_window_below(heads + 4 * (size_t)base, head);
}

/* The same for who knows how many are below a head near by: from the distance of the two heads
 * there follows about where it is, if they are as far from each other everywhere. */
static inline unsigned heads_below_near(const uint8_t *heads, unsigned count, uint32_t head,
                                        unsigned near)
{
    if (near == 0 || near >= count || count < HEADS_WINDOW)
        return heads_below(heads, count, head);
    const uint32_t low = head_at(heads, near - 1), high = head_at(heads, near);
    if (UNLIKELY(head < low || high == low))
        return heads_below(heads, count, head);
    const uint32_t steps = (head - low) / (high - low);
    if (UNLIKELY(steps >= count - near))
        return heads_below(heads + 4 * (size_t)near, count - near, head) + near;
    unsigned from = near + steps;
    from = from < HEADS_WINDOW / 2 ? 0 : from - HEADS_WINDOW / 2;
    from = from < count - HEADS_WINDOW ? from : count - HEADS_WINDOW;
    const unsigned below = heads_window_below(heads + 4 * (size_t)from, head);
    if (LIKELY((below > 0 || from == 0) && (below < HEADS_WINDOW || from + HEADS_WINDOW == count)))
        return from + below;
    return heads_below(heads, count, head);
}

/* How the prefix of a page lies in the words of keys. */
struct key_frame {
    uint64_t prefix, mask;
    size_t prefix_bytes;
    size_t rest_max; /* of a longer key not all of the head is in its word */
    unsigned shift;  /* bits in front of the head */
};
static inline struct key_frame key_frame_of(const uint8_t *page, size_t page_bytes)
{
    const size_t bytes = cells_prefix_bytes(page);
    if (UNLIKELY(bytes - 1 >= 7)) /* none: each key's first bytes are its head; or too long */
        return (struct key_frame){ .rest_max = bytes ? 0 : SIZE_MAX };
    const unsigned shift = 8 * (unsigned)bytes;
    return (struct key_frame){ .prefix = get_be64(page + page_bytes - 8) << (64 - shift),
                               .mask = ~(UINT64_MAX >> shift),
                               .prefix_bytes = bytes,
                               .rest_max = bytes <= 4 ? KV_KEY_BYTES_MAX : 8 - bytes,
                               .shift = shift };
}
/* Has the key the prefix, and does its word say what follows? */
static inline bool key_frame_has(const struct key_frame *frame, const struct page_key *key)
{
    return LIKELY(((key->word ^ frame->prefix) & frame->mask) == 0 &&
                  key->bytes.bytes - frame->prefix_bytes <= frame->rest_max);
}
static inline uint32_t key_frame_head(const struct key_frame *frame, const struct page_key *key)
{
    return (uint32_t)(key->word << frame->shift >> 32);
}

/* Heads and slots are two arrays that abut: one place is opened or closed in both at once.
 * `tail_bytes` is what stands behind the slots and moves with them. */
void slots_insert(uint8_t *page, unsigned count, unsigned index, uint32_t head, size_t offset,
                  size_t tail_bytes);
void slots_remove(uint8_t *page, unsigned count, unsigned first, unsigned last, size_t tail_bytes);

static inline size_t slot_at(const uint8_t *page, unsigned count, unsigned index)
{
    return get_le16(page + CELLS_HEADS + 4 * (size_t)count + 2 * (size_t)index);
}
static inline void slot_set(uint8_t *page, unsigned count, unsigned index, size_t offset)
{
    assert(offset <= UINT16_MAX);
    put_le16(page + CELLS_HEADS + 4 * (size_t)count + 2 * (size_t)index, (uint16_t)offset);
}

/* ---- lengths in cells: LEB128 of at most 3 bytes ------------------------------------------ */

static inline const uint8_t *length_get(const uint8_t *at, size_t *out_length)
{
    size_t length = *at++;
    if (UNLIKELY(length >= 0x80)) {
        length = (length & 0x7f) | (size_t)(*at & 0x7f) << 7;
        if (UNLIKELY(*at++ >= 0x80))
            length |= (size_t)(*at++ & 0x7f) << 14;
    }
    *out_length = length;
    return at;
}
static inline size_t length_bytes(size_t length)
{
    return length < 0x80 ? 1 : length < 0x4000 ? 2 : 3;
}
static inline uint8_t *length_put(uint8_t *at, size_t length)
{
    for (; length >= 0x80; length >>= 7)
        *at++ = (uint8_t)(length | 0x80);
    *at++ = (uint8_t)length;
    return at;
}
/* The checked form for validators: NULL when cut short, over 3 bytes, or not the shortest form. */
const uint8_t *length_get_checked(const uint8_t *at, const uint8_t *end, size_t *out_length);

/* ---- validation -------------------------------------------------------------------------- */

/* Which bytes of a page are already part of a cell. Cells mostly stand one beside the other, in
 * their order: what is taken is then one stretch, and only what does not join it needs a bit for
 * each byte. */
struct byte_map {
    size_t low, high; /* the stretch taken last */
    bool has_bits;    /* others are in `words` */
    size_t page_bytes;
    uint64_t words[PAGE_BYTES_MAX / 64];
};
static inline void byte_map_init(struct byte_map *map, size_t page_bytes)
{
    map->low = map->high = SIZE_MAX;
    map->has_bits = false;
    map->page_bytes = page_bytes;
}
bool byte_map_take_slow(struct byte_map *map, size_t offset, size_t bytes);
/* False if one of the bytes [offset, offset + bytes) was taken before. */
static inline bool byte_map_take(struct byte_map *map, size_t offset, size_t bytes)
{
    assert(bytes > 0 && offset + bytes <= PAGE_BYTES_MAX);
    if (LIKELY(!map->has_bits && offset + bytes == map->low)) {
        map->low = offset;
        return true;
    }
    if (!map->has_bits && offset == map->high) {
        map->high += bytes;
        return true;
    }
    return byte_map_take_slow(map, offset, bytes);
}

/* "page 12: offset 40: what" */
sombra_err page_corrupt(const uint8_t *page, size_t offset, const char *what);
/* Bounds of arrays (`arrays_end`), cell area and prefix. */
sombra_err cells_validate_area(const uint8_t *page, size_t page_bytes, size_t arrays_end);

sombra_err general_validate(const uint8_t *page, size_t page_bytes) SOMBRA_MUST_CHECK;
sombra_err dense_validate(const uint8_t *page, size_t page_bytes) SOMBRA_MUST_CHECK;
sombra_err branch_validate(const uint8_t *page, size_t page_bytes) SOMBRA_MUST_CHECK;

/* page_copy of a general leaf that leaves its holes out (general.c). */
void general_copy_packed(uint8_t *to, const uint8_t *from, size_t page_bytes);
/* End of what is used at the front of a tree page. */
size_t page_arrays_end(const uint8_t *page);
/* Makes `bytes` of free space between the arrays and the cells, if need be by `compact`, which lays
 * the cells anew without holes; false = there is not so much. */
static inline bool cells_make_space(uint8_t *page, size_t page_bytes, size_t bytes,
                                    void (*compact)(uint8_t *page, size_t page_bytes))
{
    size_t gap = cells_low(page) - page_arrays_end(page);
    if (LIKELY(gap >= bytes))
        return true;
    if (gap + cells_holes(page) < bytes)
        return false;
    compact(page, page_bytes);
    return true;
}
size_t dense_arrays_end(const uint8_t *page);

#endif
