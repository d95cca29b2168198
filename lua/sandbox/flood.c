/* SPDX-License-Identifier: MIT */
/* Hash flooding. Lua puts a number into a table's hash part by its remainder modulo (size - 1), for
 * all to know: a script can choose keys of which none collide until the table grows, and all do
 * when it has. Lua then walks a chain for each of them, in one instruction: half a minute for
 * 200,000 keys, with no hook on the way.
 *
 * So the allocator looks. A growing table asks for its new hash part while the old one, full, is
 * still there: among the big blocks in use that could be hash parts, some random entries are read,
 * and the remainders of their number keys counted. Where too many are the same, the new block is
 * refused. Strings need no look: their hash is seeded anew in every process.
 *
 * This reads what Lua keeps to itself, the layout of a table's entry, which is the same in all
 * releases of 5.4. Another layout would make it see nothing, or refuse; it reads only inside of
 * blocks of the allocator's own.
 */
#include "sandbox_internal.h"

#include <stdatomic.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An entry: value 8 bytes, its type 1, the key's type 1, padding 2, next 4, the key 8. */
enum {
    ENTRY_KEY_TYPE = 9,
    ENTRY_KEY = 16,
    ENTRY_BYTES = 24,
    KEY_INTEGER = LUA_TNUMBER,          /* LUA_VNUMINT */
    KEY_FLOAT = LUA_TNUMBER | (1 << 4), /* LUA_VNUMFLT */
    ENTRIES_MIN = 1 << 12,              /* of a table worth a look */
    BYTES_MIN = ENTRIES_MIN * ENTRY_BYTES,
    SAMPLES = 4096,
    COUNTERS = 8192, /* the remainders are spread over these */
    SAME_MAX = 24,   /* of the samples; by chance it is 7 */
};

/* The number of entries, if it could be a hash part: they are powers of two. */
static size_t entries_of(size_t bytes)
{
    size_t entries = bytes / ENTRY_BYTES;
    bool is_one =
        bytes % ENTRY_BYTES == 0 && entries >= ENTRIES_MIN && (entries & (entries - 1)) == 0;
    return is_one ? entries : 0;
}

static size_t find(const struct flood_list *list, const void *block)
{
    size_t i = 0;
    while (i < list->count && list->items[i].block != block)
        i++;
    return i;
}

bool flood_note(struct flood_list *list, const struct flood_block *old,
                const struct flood_block *now)
{
    if (old->bytes >= BYTES_MIN) {
        size_t at = find(list, old->block);
        if (at < list->count)
            list->items[at] = list->items[--list->count];
    }
    if (now->bytes < BYTES_MIN || !entries_of(now->bytes))
        return true;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct flood_block *grown = realloc(list->items, capacity * sizeof *grown);
        if (!grown)
            return false;
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = *now;
    return true;
}

void flood_release(struct flood_list *list)
{
    free(list->items);
    *list = (struct flood_list){ .items = NULL };
}

/* As Lua's, before the remainder is taken. */
static uint64_t hash_of_float(double number)
{
    int exponent;
    number = frexp(number, &exponent) * -(double)INT_MIN;
    if (!(number >= -9.2e18 && number < 9.2e18))
        return 0;
    unsigned hash = (unsigned)exponent + (unsigned)(int64_t)number;
    return hash <= (unsigned)INT_MAX ? hash : ~hash;
}

/* False if the entry's key is no number. */
static bool read_key(const uint8_t *entry, uint64_t *out_hash)
{
    if (entry[ENTRY_KEY_TYPE] == KEY_INTEGER) {
        memcpy(out_hash, entry + ENTRY_KEY, sizeof *out_hash);
        return true;
    }
    if (entry[ENTRY_KEY_TYPE] == KEY_FLOAT) {
        double number;
        memcpy(&number, entry + ENTRY_KEY, sizeof number);
        *out_hash = hash_of_float(number);
        return true;
    }
    return false;
}

static bool would_collide(const struct flood_block *from, size_t entries, uint64_t *random)
{
    uint8_t counts[COUNTERS] = { 0 };
    size_t from_entries = from->bytes / ENTRY_BYTES;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t hash;
        *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t at = (size_t)(*random >> 33) & (from_entries - 1);
        if (!read_key(from->block + at * ENTRY_BYTES, &hash))
            continue;
        uint64_t remainder = hash % ((entries - 1) | 1);
        if (++counts[remainder * UINT64_C(0x9e3779b97f4a7c15) >> 51] > SAME_MAX)
            return true;
    }
    return false;
}

bool flood_is_coming(const struct flood_list *list, size_t bytes)
{
    static _Atomic uint64_t calls;
    size_t entries = list->count && bytes >= BYTES_MIN ? entries_of(bytes) : 0;
    if (!entries)
        return false;
    uint64_t random =
        (uint64_t)(uintptr_t)list->items * 31 +
        atomic_fetch_add_explicit(&calls, UINT64_C(0x9e3779b97f4a7c15), memory_order_relaxed);
    for (size_t i = 0; i < list->count; i++) {
        if (would_collide(&list->items[i], entries, &random))
            return true;
    }
    return false;
}
