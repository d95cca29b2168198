/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <assert.h>

uint8_t *varint_put_slow(uint8_t *at, uint64_t value)
{
    assert(at);
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

const uint8_t *varint_get_slow(const uint8_t *at, const uint8_t *end, uint64_t *out_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at < end; shift += 7) {
        uint64_t group = *at & 0x7f;
        if (shift == 63 && group > 1)
            return NULL;
        value |= group << shift;
        if (*at++ < 0x80) {
            *out_value = value;
            return at;
        }
    }
    return NULL;
}

static unsigned bit_count(uint64_t value)
{
    return 64 - (unsigned)__builtin_clzll(value | 1);
}

unsigned varint_bytes(uint64_t value)
{
    return (bit_count(value) + 6) / 7;
}

unsigned ordered_bytes(uint64_t value)
{
    unsigned bytes = varint_bytes(value);
    return bytes > 8 ? ORDERED_BYTES_MAX : bytes;
}

uint8_t *ordered_put_slow(uint8_t *at, uint64_t value)
{
    unsigned following = ordered_bytes(value) - 1;
    uint64_t ones = 0xff00u >> following; /* the low byte counts */
    uint64_t high = following == 8 ? 0 : value >> (8 * following);
    assert(at);
    *at++ = (uint8_t)(ones | high);
    for (unsigned left = following; left > 0; left--)
        *at++ = (uint8_t)(value >> (8 * (left - 1)));
    return at;
}

const uint8_t *ordered_get(const uint8_t *at, const uint8_t *end, uint64_t *out_value)
{
    if (at >= end)
        return NULL;
    uint8_t first = *at++;
    unsigned following = (unsigned)__builtin_clz(~((unsigned)first << 24));
    if ((size_t)(end - at) < following)
        return NULL;
    if (following == 0) {
        *out_value = first;
        return at;
    }
    uint64_t value = first & (0x7fu >> following);
    if ((size_t)(end - at) >= sizeof(uint64_t)) {
        /* One load instead of a loop; two shifts, as one of 64 is undefined. */
        unsigned bits = 8 * following;
        value = (value << (bits - 1) << 1) | get_be64(at) >> (64 - bits);
        at += following;
    } else {
        for (unsigned i = 0; i < following; i++)
            value = value << 8 | *at++;
    }
    if (ordered_bytes(value) != following + 1)
        return NULL;
    *out_value = value;
    return at;
}
