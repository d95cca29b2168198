/* SPDX-License-Identifier: MIT */
/* Both integer decoders over arbitrary bytes: they end inside the input, and what the ordered one
 * accepts is byte for byte what its encoder writes. */
#include "base/base.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void decode_leb128(const uint8_t *at, const uint8_t *end)
{
    uint8_t shortest[VARINT_BYTES_MAX];
    uint64_t value = 0;
    const uint8_t *behind;
    while ((behind = varint_get(at, end, &value)) != NULL) {
        require(behind > at && behind <= end && behind - at <= VARINT_BYTES_MAX);
        require(varint_put(shortest, value) - shortest <= behind - at);
        at = behind;
    }
}

static void decode_ordered(const uint8_t *at, const uint8_t *end)
{
    uint8_t again[ORDERED_BYTES_MAX];
    uint64_t value = 0;
    const uint8_t *behind;
    while ((behind = ordered_get(at, end, &value)) != NULL) {
        require(behind > at && behind <= end);
        require(ordered_put(again, value) - again == behind - at);
        require(memcmp(again, at, (size_t)(behind - at)) == 0);
        at = behind;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    decode_leb128(data, data + bytes);
    decode_ordered(data, data + bytes);
    return 0;
}
