/* SPDX-License-Identifier: MIT */
/* endian: fixed-width integers at any address. Little-endian on disk; big-endian where byte order
 * must be numeric order. */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define ENDIAN_LE(bits, value) __builtin_bswap##bits(value)
#define ENDIAN_BE(bits, value) (value)
#else
#define ENDIAN_LE(bits, value) (value)
#define ENDIAN_BE(bits, value) __builtin_bswap##bits(value)
#endif

#define ENDIAN_ACCESSORS(bits)                                      \
    static inline uint##bits##_t get_le##bits(const void *at)       \
    {                                                               \
        uint##bits##_t value;                                       \
        memcpy(&value, at, sizeof value);                           \
        return ENDIAN_LE(bits, value);                              \
    }                                                               \
    static inline void put_le##bits(void *at, uint##bits##_t value) \
    {                                                               \
        value = ENDIAN_LE(bits, value);                             \
        memcpy(at, &value, sizeof value);                           \
    }                                                               \
    static inline uint##bits##_t get_be##bits(const void *at)       \
    {                                                               \
        uint##bits##_t value;                                       \
        memcpy(&value, at, sizeof value);                           \
        return ENDIAN_BE(bits, value);                              \
    }                                                               \
    static inline void put_be##bits(void *at, uint##bits##_t value) \
    {                                                               \
        value = ENDIAN_BE(bits, value);                             \
        memcpy(at, &value, sizeof value);                           \
    }

ENDIAN_ACCESSORS(16)
ENDIAN_ACCESSORS(32)
ENDIAN_ACCESSORS(64)
#undef ENDIAN_ACCESSORS

/* 48-bit little-endian: page numbers and entry counts on disk. */
static inline uint64_t get_le48(const void *at)
{
    return (uint64_t)get_le32(at) | ((uint64_t)get_le16((const uint8_t *)at + 4) << 32);
}

static inline void put_le48(void *at, uint64_t value)
{
    put_le32(at, (uint32_t)value);
    put_le16((uint8_t *)at + 4, (uint16_t)(value >> 32));
}

#endif
