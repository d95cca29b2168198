/* SPDX-License-Identifier: MIT */
/* varint: variable-length unsigned integers, two encodings.
 *
 * LEB128 (7 bits a byte, low group first) for lengths inside records: 1 to 10 bytes.
 * Ordered: memcmp order of encodings is numeric order, so it can stand inside keys. The count of
 * leading one bits of the first byte is the number of bytes that follow (UTF-8's idea without
 * the continuation marks): 7 bits in 1 byte, 14 in 2, 21 in 3, ... 56 in 8, 64 in 9.
 * Decoders take the end of the input and return NULL for bytes that are cut short, too long for
 * 64 bits, or (ordered) not the shortest form.
 */
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include <stdint.h>

enum { VARINT_BYTES_MAX = 10, ORDERED_BYTES_MAX = 9 };

/* Both return the address behind the last byte written. */
uint8_t *varint_put_slow(uint8_t *at, uint64_t value);
static inline uint8_t *varint_put(uint8_t *at, uint64_t value)
{
    if (value < 0x80) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value >= 0x4000)
        return varint_put_slow(at, value);
    at[0] = (uint8_t)(value | 0x80);
    at[1] = (uint8_t)(value >> 7);
    return at + 2;
}
uint8_t *ordered_put_slow(uint8_t *at, uint64_t value);
static inline uint8_t *ordered_put(uint8_t *at, uint64_t value)
{
    if (value < 0x80) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value < 1u << 14) {
        at[0] = (uint8_t)(0x80 | value >> 8);
        at[1] = (uint8_t)value;
        return at + 2;
    }
    if (value >= 1u << 21)
        return ordered_put_slow(at, value);
    at[0] = (uint8_t)(0xc0 | value >> 16);
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)value;
    return at + 3;
}

const uint8_t *varint_get_slow(const uint8_t *at, const uint8_t *end, uint64_t *out_value);

static inline const uint8_t *varint_get(const uint8_t *at, const uint8_t *end, uint64_t *out_value)
{
    if (at < end && *at < 0x80) {
        *out_value = *at;
        return at + 1;
    }
    return varint_get_slow(at, end, out_value);
}

const uint8_t *ordered_get(const uint8_t *at, const uint8_t *end, uint64_t *out_value);

unsigned varint_bytes(uint64_t value);
unsigned ordered_bytes(uint64_t value);

/* Signed values as unsigned ones of small magnitude: 0, -1, 1, -2 -> 0, 1, 2, 3. */
static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}
static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

#endif
