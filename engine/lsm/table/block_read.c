/* SPDX-License-Identifier: MIT */
#include "block_read.h"

const struct block_rules block_rules_data = {
    .interval = TABLE_RESTART_ENTRIES,
    .key_bytes_min = 1,
    .key_bytes_max = KV_KEY_BYTES_MAX,
    .is_data = true,
};
const struct block_rules block_rules_index = {
    .interval = 1,
    .key_bytes_min = 1,
    .key_bytes_max = KV_KEY_BYTES_MAX,
};
const struct block_rules block_rules_ranges = {
    .interval = 1,
    .key_bytes_min = 0,
    .key_bytes_max = TABLE_BOUND_BYTES_MAX,
};

/* The first 8 bytes of `rest`, zeros behind it, as a number. */
static inline uint64_t head_of(sombra_slice rest)
{
    uint8_t bytes[TABLE_HEAD_BYTES] = { 0 };
    if (LIKELY(rest.bytes >= TABLE_HEAD_BYTES))
        return get_be64(rest.data);
    if (rest.bytes > 0)
        memcpy(bytes, rest.data, rest.bytes);
    return get_be64(bytes);
}

static inline uint64_t head_at(const struct block *block, uint32_t restart)
{
    return get_be64(block->heads + (size_t)restart * TABLE_HEAD_BYTES);
}

/* ---- check ------------------------------------------------------------------------------- */

static sombra_err broken(size_t at, const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "byte %zu of the block: %s", at, what);
}

/* At most 5 bytes, at most 32 bits: what block_varint reads without looking at an end. */
static const uint8_t *varint_checked(const uint8_t *at, const uint8_t *end, uint32_t *out_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; at < end && shift < 35; shift += 7) {
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out_value = (uint32_t)value;
            return value <= UINT32_MAX ? at : NULL;
        }
    }
    return NULL;
}

static sombra_err check_trailer(sombra_slice raw, const struct block_rules *rules,
                                struct block *out)
{
    const uint8_t *data = raw.data;
    if (raw.bytes < TABLE_TRAILER_BYTES || raw.bytes > UINT32_MAX)
        return broken(0, "its length cannot be");
    const uint8_t *trailer = data + raw.bytes - TABLE_TRAILER_BYTES;
    size_t left = raw.bytes - TABLE_TRAILER_BYTES;
    uint32_t restarts = get_le32(trailer + TABLE_TRAILER_RESTARTS);
    uint32_t entries = get_le32(trailer + TABLE_TRAILER_ENTRIES);
    if (restarts == 0 || entries == 0 || restarts > left / (TABLE_HEAD_BYTES + TABLE_PLACE_BYTES) ||
        entries > left / TABLE_ENTRY_BYTES_MIN || restarts != (entries - 1) / rules->interval + 1)
        return broken(left, "counts of entries and restarts that cannot be");
    *out = (struct block){
        .data = data,
        .places = trailer - (size_t)restarts * TABLE_PLACE_BYTES,
        .restarts = restarts,
        .entries = entries,
        .interval = rules->interval,
    };
    out->heads = out->places - (size_t)restarts * TABLE_HEAD_BYTES;
    return SOMBRA_OK;
}

/* Decodes the entry at `at` if all of it lies before `end`. */
static inline __attribute__((always_inline)) bool entry_checked(const uint8_t *at,
                                                                const uint8_t *end,
                                                                const struct block_rules *rules,
                                                                struct block_entry *out)
{
    uint32_t shared, unshared, packed;
    if (!(at = varint_checked(at, end, &shared)) || !(at = varint_checked(at, end, &unshared)) ||
        !(at = varint_checked(at, end, &packed)))
        return false;
    size_t left = (size_t)(end - at), value_bytes = packed >> 2;
    unsigned kind = packed & 3;
    if (unshared > left || value_bytes > left - unshared)
        return false;
    if (kind != ENTRY_PUT &&
        !(rules->is_data && ((kind == ENTRY_DELETE && value_bytes == 0) ||
                             (kind == ENTRY_LARGE && value_bytes == TABLE_LARGE_BYTES))))
        return false;
    *out = (struct block_entry){
        .shared = shared,
        .rest = slice_of(at, unshared),
        .value = slice_of(at + unshared, value_bytes),
        .kind = (enum entry_kind)kind,
        .next = at + unshared + value_bytes,
    };
    return true;
}

/* The key before, to which each next one is applied. */
enum { COPY_BYTES = 16 }; /* few bytes are copied faster as so many */
struct key_walk {
    size_t bytes;
    uint8_t data[TABLE_BOUND_BYTES_MAX + COPY_BYTES];
};

static inline void key_set(struct key_walk *key, const struct block_entry *entry,
                           const uint8_t *end)
{
    const uint8_t *rest = entry->rest.data;
    if (LIKELY(entry->rest.bytes <= COPY_BYTES && end - rest >= COPY_BYTES))
        memcpy(key->data + entry->shared, rest, COPY_BYTES);
    else if (entry->rest.bytes > 0)
        memcpy(key->data + entry->shared, rest, entry->rest.bytes);
    key->bytes = entry->shared + entry->rest.bytes;
}

/* Does the entry's key follow, sharing exactly what both have in common? At a restart it shares
 * nothing on disk, whatever it has in common. */
static bool key_follows(const struct key_walk *key, const struct block_entry *entry,
                        const struct block_rules *rules, bool is_restart, bool is_first)
{
    const uint8_t *rest = entry->rest.data;
    if (entry->shared > key->bytes || entry->rest.bytes > rules->key_bytes_max - entry->shared ||
        entry->shared + entry->rest.bytes < rules->key_bytes_min)
        return false;
    if (is_restart)
        return entry->shared == 0 &&
               (is_first || slice_compare(entry->rest, slice_of(key->data, key->bytes)) > 0);
    return entry->rest.bytes > 0 &&
           (entry->shared == key->bytes || rest[0] > key->data[entry->shared]);
}

/* The heads and the prefix need the first and the last key: they come after the walk. */
static sombra_err check_heads(const struct block *block, const struct key_walk *last)
{
    const uint8_t *trailer = block->places + (size_t)block->restarts * TABLE_PLACE_BYTES;
    uint32_t prefix_bytes = get_le32(trailer + TABLE_TRAILER_PREFIX_BYTES);
    struct block_entry entry;
    block_entry_at(block->data, &entry);
    if (prefix_bytes != slice_common_prefix(entry.rest, slice_of(last->data, last->bytes)))
        return broken((size_t)(trailer - block->data), "wrong length of the common prefix");
    for (uint32_t restart = 0; restart < block->restarts; restart++) {
        block_entry_at(block_restart(block, restart), &entry);
        if (head_at(block, restart) != head_of(slice_from(entry.rest, prefix_bytes)))
            return broken((size_t)(block->heads - block->data) + restart * TABLE_HEAD_BYTES,
                          "a head is not that of its key");
    }
    return SOMBRA_OK;
}

sombra_err block_check(sombra_slice raw, const struct block_rules *rules)
{
    struct block block = { 0 };
    struct key_walk key;
    struct block_entry entry;
    sombra_err err = check_trailer(raw, rules, &block);
    if (err)
        return err;
    const uint8_t *at = block.data;
    key.bytes = 0;
    for (uint32_t index = 0; index < block.entries; index++) {
        size_t offset = (size_t)(at - block.data);
        uint32_t restart = index / rules->interval;
        bool is_restart = index % rules->interval == 0;
        if (is_restart && get_le32(block.places + (size_t)restart * TABLE_PLACE_BYTES) != offset)
            return broken(offset, "a restart is not where its entry is");
        if (!entry_checked(at, block.heads, rules, &entry))
            return broken(offset, "an entry that cannot be");
        if (!key_follows(&key, &entry, rules, is_restart, index == 0))
            return broken(offset, "a key that does not follow the one before");
        key_set(&key, &entry, block.heads);
        at = entry.next;
    }
    if (at != block.heads)
        return broken((size_t)(at - block.data), "bytes behind the last entry");
    return check_heads(&block, &key);
}

/* ---- read -------------------------------------------------------------------------------- */

void block_open(struct block *block, sombra_slice raw, const struct block_rules *rules)
{
    const uint8_t *data = raw.data, *trailer = data + raw.bytes - TABLE_TRAILER_BYTES;
    struct block_entry first;
    assert(raw.bytes > TABLE_TRAILER_BYTES);
    block->data = data;
    block->restarts = get_le32(trailer + TABLE_TRAILER_RESTARTS);
    block->entries = get_le32(trailer + TABLE_TRAILER_ENTRIES);
    block->interval = rules->interval;
    block->places = trailer - (size_t)block->restarts * TABLE_PLACE_BYTES;
    block->heads = block->places - (size_t)block->restarts * TABLE_HEAD_BYTES;
    block_entry_at(data, &first);
    block->prefix = slice_of(first.rest.data, get_le32(trailer + TABLE_TRAILER_PREFIX_BYTES));
    assert(block->prefix.bytes <= first.rest.bytes);
}

/* Bytes that two slices have in common from `from` on, which both have. */
static inline size_t common_from(sombra_slice a, sombra_slice b, size_t from)
{
    const uint8_t *x = a.data, *y = b.data;
    size_t bytes = size_min(a.bytes, b.bytes), at = from;
    for (; at + 8 <= bytes; at += 8) {
        uint64_t differs = get_le64(x + at) ^ get_le64(y + at);
        if (differs)
            return at + (unsigned)__builtin_ctzll(differs) / 8;
    }
    while (at < bytes && x[at] == y[at])
        at++;
    return at;
}

enum { FETCHED_HEADS = 4 * 64 / TABLE_HEAD_BYTES }; /* so many lie in few lines */

/* First of `count` numbers that is not below `head`; without a branch that could be mispredicted.
 */
static inline uint32_t heads_not_below(const struct block *block, uint64_t head)
{
    const uint8_t *base = block->heads;
    uint32_t count = block->restarts;
    while (count > 1) {
        uint32_t half = count / 2;
        const uint8_t *middle = base + (size_t)half * TABLE_HEAD_BYTES;
        if (count > FETCHED_HEADS) { /* the next one is one of two: both are on the way */
            __builtin_prefetch(base + (size_t)(half / 2) * TABLE_HEAD_BYTES);
            __builtin_prefetch(middle + (size_t)(half / 2) * TABLE_HEAD_BYTES);
        }
        base = get_be64(middle - TABLE_HEAD_BYTES) < head ? middle : base;
        count -= half;
    }
    uint32_t at = (uint32_t)((size_t)(base - block->heads) / TABLE_HEAD_BYTES);
    return at + (get_be64(base) < head);
}

/* How many restarts have keys <= `key`, which begins with the block's prefix. */
static uint32_t restarts_up_to(const struct block *block, sombra_slice key)
{
    uint64_t head = head_of(slice_from(key, block->prefix.bytes));
    uint32_t low = heads_not_below(block, head), high = low;
    struct block_entry entry;
    /* Heads that are equal do not tell; they stand together. */
    for (uint32_t step = 1; high < block->restarts && head_at(block, high) == head; step *= 2) {
        block_entry_at(block_restart(block, high), &entry);
        if (slice_compare(entry.rest, key) > 0)
            break;
        low = high + 1;
        if (block->restarts - high <= step) {
            high = block->restarts;
            break;
        }
        high += step;
    }
    /* All before `low` are <= key; that at `high`, if any, is > key. */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool is_up_to = head_at(block, middle) == head;
        if (is_up_to) {
            block_entry_at(block_restart(block, middle), &entry);
            is_up_to = slice_compare(entry.rest, key) <= 0;
        }
        if (is_up_to)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Behind the entry at spot->at, whose key is < `key`, to the first one that is not, within the
 * interval. No key is put together: how much the key before had in common with `key` and how much
 * an entry shares with it tell the order, but for the bytes where both are equal. */
static void scan_interval(const struct block *block, sombra_slice key, size_t common,
                          struct block_spot *spot)
{
    struct block_entry entry;
    uint32_t end =
        (uint32_t)u64_min(((uint64_t)spot->restart + 1) * block->interval, block->entries);
    block_entry_at(spot->at, &entry);
    for (spot->index++; spot->index < end; spot->index++) {
        const uint8_t *at = entry.next;
        block_entry_at(at, &entry);
        if (entry.shared > common)
            continue; /* differs from `key` where the one before did */
        spot->at = at;
        if (entry.shared < common)
            return; /* greater than the one before at a byte that `key` has in common with that */
        sombra_slice rest = slice_from(key, common);
        size_t same = common_from(entry.rest, rest, 0);
        if (same == rest.bytes) {
            spot->is_equal = same == entry.rest.bytes;
            return;
        }
        if (same < entry.rest.bytes &&
            ((const uint8_t *)entry.rest.data)[same] > ((const uint8_t *)rest.data)[same])
            return;
        common += same;
    }
    spot->at = entry.next;
    if (spot->restart + 1 < block->restarts)
        spot->restart++;
    if (spot->index == block->entries)
        spot->at = NULL;
}

/* Where every entry is a restart, heads alone decide unless they tie; then keys do. `key` begins
 * with the block's prefix. */
static void find_restart(const struct block *block, sombra_slice key, struct block_spot *out_spot)
{
    uint64_t head = head_of(slice_from(key, block->prefix.bytes));
    uint32_t index = heads_not_below(block, head);
    if (index < block->restarts && head_at(block, index) == head) {
        struct block_entry entry = { 0 };
        uint32_t up_to = restarts_up_to(block, key);
        if (up_to > index)
            block_entry_at(block_restart(block, up_to - 1), &entry);
        out_spot->is_equal = up_to > index && slice_equal(entry.rest, key);
        index = out_spot->is_equal ? up_to - 1 : up_to;
    }
    bool is_end = index == block->restarts;
    out_spot->index = index;
    out_spot->restart = is_end ? index - 1 : index;
    out_spot->at = is_end ? NULL : block_restart(block, index);
}

void block_find(const struct block *block, sombra_slice key, struct block_spot *out_spot)
{
    struct block_entry entry;
    *out_spot = (struct block_spot){ .at = block->data };
    size_t common = common_from(key, block->prefix, 0);
    if (UNLIKELY(common < block->prefix.bytes)) {
        if (common == key.bytes ||
            ((const uint8_t *)key.data)[common] < ((const uint8_t *)block->prefix.data)[common])
            return;
        *out_spot = (struct block_spot){ .index = block->entries, .restart = block->restarts - 1 };
        return;
    }
    if (block->interval == 1) {
        find_restart(block, key, out_spot);
        return;
    }
    uint32_t restarts = restarts_up_to(block, key);
    if (restarts == 0)
        return;
    out_spot->restart = restarts - 1;
    out_spot->index = out_spot->restart * block->interval;
    out_spot->at = block_restart(block, out_spot->restart);
    block_entry_at(out_spot->at, &entry);
    common = common_from(entry.rest, key, block->prefix.bytes);
    assert(common == entry.rest.bytes || common < key.bytes);
    if (common == entry.rest.bytes && common == key.bytes)
        out_spot->is_equal = true;
    else
        scan_interval(block, key, common, out_spot);
}

/* ---- look up, unchecked bytes ------------------------------------------------------------ */

static sombra_err restart_checked(const struct block *block, uint32_t restart,
                                  struct block_entry *out_entry)
{
    uint32_t place = get_le32(block->places + (size_t)restart * TABLE_PLACE_BYTES);
    size_t end = (size_t)(block->heads - block->data);
    assert(restart < block->restarts);
    if (place >= end ||
        !entry_checked(block->data + place, block->heads, &block_rules_data, out_entry) ||
        out_entry->shared != 0 || out_entry->rest.bytes - 1 >= KV_KEY_BYTES_MAX)
        return broken(size_min(place, end), "a restart that cannot be");
    return SOMBRA_OK;
}

static sombra_err prefix_checked(struct block *block)
{
    struct block_entry entry;
    const uint8_t *trailer = block->places + (size_t)block->restarts * TABLE_PLACE_BYTES;
    uint32_t bytes = get_le32(trailer + TABLE_TRAILER_PREFIX_BYTES);
    sombra_err err = restart_checked(block, 0, &entry);
    if (!err && bytes > entry.rest.bytes)
        err = broken((size_t)(trailer - block->data), "wrong length of the common prefix");
    if (!err)
        block->prefix = slice_of(entry.rest.data, bytes);
    return err;
}

/* How many restarts have keys <= `key`, which begins with the block's prefix; *out_entry: the last
 * of them, if any. */
static sombra_err restarts_checked(const struct block *block, sombra_slice key, uint32_t *out_count,
                                   struct block_entry *out_entry)
{
    uint64_t head = head_of(slice_from(key, block->prefix.bytes));
    uint32_t low = heads_not_below(block, head), high = block->restarts;
    sombra_err err = SOMBRA_OK;
    while (!err && low < high) {
        uint32_t middle = head_at(block, low) == head ? low + (high - low) / 2 : low;
        bool is_up_to = head_at(block, middle) == head;
        struct block_entry entry = { 0 };
        if (is_up_to)
            err = restart_checked(block, middle, &entry);
        if (!err && is_up_to && slice_compare(entry.rest, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_count = low;
    return err || low == 0 ? err : restart_checked(block, low - 1, out_entry);
}

/* From a restart, whose key is <= `key`, to the first entry that is not below it: as
 * scan_interval. */
static sombra_err interval_checked(const struct block *block, sombra_slice key, uint32_t left,
                                   struct block_entry *entry, bool *out_is_found)
{
    size_t common = common_from(entry->rest, key, 0);
    *out_is_found = common == key.bytes && common == entry->rest.bytes;
    while (!*out_is_found && --left > 0) {
        const uint8_t *at = entry->next;
        if (!entry_checked(at, block->heads, &block_rules_data, entry))
            return broken((size_t)(at - block->data), "an entry that cannot be");
        if (entry->shared > common)
            continue;
        sombra_slice rest = slice_from(key, common);
        size_t same = entry->shared == common ? common_from(entry->rest, rest, 0) : 0;
        *out_is_found = entry->shared == common && same == rest.bytes && same == entry->rest.bytes;
        if (entry->shared < common || same == rest.bytes ||
            (same < entry->rest.bytes &&
             ((const uint8_t *)entry->rest.data)[same] > ((const uint8_t *)rest.data)[same]))
            return SOMBRA_OK;
        common += same;
    }
    return SOMBRA_OK;
}

sombra_err block_lookup(sombra_slice raw, sombra_slice key, bool *out_is_found,
                        struct block_entry *out_entry)
{
    struct block block = { 0 };
    struct block_entry entry = { 0 };
    uint32_t restarts = 0;
    bool is_found = false;
    sombra_err err = check_trailer(raw, &block_rules_data, &block);
    if (!err)
        err = prefix_checked(&block);
    if (!err && slice_has_prefix(key, block.prefix))
        err = restarts_checked(&block, key, &restarts, &entry);
    if (!err && restarts > 0) {
        uint32_t from = (restarts - 1) * block.interval;
        uint32_t entries = (uint32_t)u64_min(block.interval, block.entries - from);
        err = interval_checked(&block, key, entries, &entry, &is_found);
    }
    if (err)
        return err;
    if (is_found)
        *out_entry = entry;
    *out_is_found = is_found;
    return SOMBRA_OK;
}
