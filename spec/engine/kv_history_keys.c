/* SPDX-License-Identifier: MIT */
#include "kv_history_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t *room_for(struct buf *to, size_t bytes)
{
    uint8_t *at;
    buf_reset(to);
    if (buf_extend(to, bytes, &at) != SOMBRA_OK)
        abort();
    return at;
}

static void fill_random(uint64_t seed, uint8_t *to, size_t bytes)
{
    struct random random;
    random_seed(&random, hash_u64(seed));
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)random_u64(&random);
}

/* Tag, node; or tag, node, type, node. */
static void graph_key(struct random *random, struct buf *to)
{
    bool is_edge = random_below(random, 2);
    uint8_t *at = room_for(to, is_edge ? 18 : 9);
    at[0] = (uint8_t)(1 + random_below(random, 4));
    put_be64(at + 1, random_below(random, 250));
    if (!is_edge)
        return;
    at[9] = (uint8_t)random_below(random, 2);
    put_be64(at + 10, random_below(random, 25));
}

static void long_key(struct random *random, struct buf *to)
{
    uint64_t which = random_below(random, 80);
    size_t bytes = 1 + (size_t)(hash_u64(which) % KV_KEY_BYTES_MAX);
    fill_random(which, room_for(to, bytes), bytes);
}

static void alike_long_key(struct random *random, struct buf *to)
{
    uint64_t which = random_below(random, 150);
    size_t bytes = which % 3 ? KV_KEY_BYTES_MAX : 300;
    uint8_t *at = room_for(to, bytes);
    memset(at, 'p', bytes);
    put_be16(at + bytes - 2, (uint16_t)which);
}

sombra_slice history_key(struct random *random, struct buf *to)
{
    uint64_t kind = random_below(random, 32);
    char text[40];
    if (kind < 14) {
        graph_key(random, to);
    } else if (kind < 20) {
        int bytes = snprintf(text, sizeof text, "%" PRIu64, random_below(random, 2500));
        memcpy(room_for(to, (size_t)bytes), text, (size_t)bytes);
    } else if (kind < 26) {
        uint64_t number = random_below(random, 600);
        int bytes = snprintf(text, sizeof text, "city/population/%05" PRIu64, number);
        memcpy(room_for(to, (size_t)bytes), text, (size_t)bytes);
    } else if (kind < 28) {
        long_key(random, to);
    } else if (kind < 30) {
        alike_long_key(random, to);
    } else {
        size_t bytes = 1 + (size_t)random_below(random, 2);
        fill_random(random_below(random, 200), room_for(to, bytes), bytes);
    }
    return buf_slice(to);
}

static size_t value_bytes(struct random *random)
{
    uint64_t dice = random_below(random, 1000);
    if (dice < 250)
        return 0;
    if (dice < 700)
        return (size_t)random_below(random, 40);
    if (dice < 880)
        return (size_t)random_below(random, 400);
    if (dice < 960)
        return (size_t)random_below(random, 3000);
    if (dice < 998)
        return (size_t)random_below(random, 16 * KiB);
    return 100 * KiB + (size_t)random_below(random, 10);
}

sombra_slice history_value(struct random *random, struct buf *to)
{
    size_t bytes = value_bytes(random);
    uint8_t *at = room_for(to, bytes + 8);
    for (size_t i = 0; i < bytes; i += 8)
        put_le64(at + i, random_u64(random));
    to->bytes = bytes;
    return buf_slice(to);
}

struct kv_range history_range(struct random *random, struct buf *low, struct buf *high)
{
    uint64_t kind = random_below(random, 10);
    history_key(random, low);
    history_key(random, high);
    if (kind < 6) { /* a prefix; its end may not exist */
        low->bytes = 1 + (size_t)random_below(random, low->bytes);
        uint8_t end[KV_KEY_BYTES_MAX];
        if (buf_set(high, kv_prefix_end(buf_slice(low), end)) != SOMBRA_OK)
            abort();
    } else if (kind < 9 && slice_compare(buf_slice(low), buf_slice(high)) > 0) {
        struct buf swapped = *low;
        *low = *high;
        *high = swapped;
    }
    struct kv_range range = { buf_slice(low), buf_slice(high) };
    if (random_below(random, 12) == 0)
        range.low.bytes = 0;
    if (random_below(random, 12) == 0)
        range.high.bytes = 0;
    return range;
}
