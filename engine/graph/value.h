/* SPDX-License-Identifier: MIT */
/* value: what the graph asks of encoded values beyond the public reader and builder.
 *
 * Threads: plain data.
 */
#ifndef GRAPH_VALUE_H
#define GRAPH_VALUE_H

#include "base/base.h"
#include "sombra/value.h"

#include "value_format.h"

/* 10^0 to 10^15, each of them exact. */
extern const double value_powers_of_ten[VALUE_DECIMAL_DIGITS_MAX + 1];

/* Reads the value at the front of `from`; *out_bytes is its length. CORRUPT. */
sombra_err value_read(sombra_slice from, uint32_t depth, sombra_value *out_value,
                      size_t *out_bytes) SOMBRA_MUST_CHECK;

/* Bytes of a value by its tag, which says so of most; 0: not the tag alone. (value.c) */
extern const uint8_t value_lengths[256];

/* Bytes of the value at `at` as its tag has it, without a look at what is inside; 0 if it is cut
 * short or no value. (value.c) */
size_t value_length_slow(const uint8_t *at, size_t left);
static inline size_t value_length(const uint8_t *at, size_t left)
{
    size_t bytes = left ? value_lengths[*at] : 1;
    if (UNLIKELY(bytes == 0))
        return value_length_slow(at, left);
    return LIKELY(bytes <= left) ? bytes : 0;
}

/* sombra_value_next that lends the element's encoded bytes as well. */
sombra_err value_next_encoded(sombra_value_cursor *cursor, sombra_slice *out_key,
                              sombra_slice *out_encoded, bool *out_found) SOMBRA_MUST_CHECK;

/* sombra_value_member that lends the member's encoded bytes as well. */
sombra_err value_member(const sombra_value *map, sombra_slice key, sombra_value *out_value,
                        sombra_slice *out_encoded) SOMBRA_MUST_CHECK;

/* Opens the map that `encoded` must be (an empty slice is an empty map): INVALID, since it comes
 * from the caller. */
sombra_err value_open_map(sombra_slice encoded, sombra_value_cursor *out_cursor) SOMBRA_MUST_CHECK;

/* The same without proving what is in it: for a walk by value_next_proved, which proves each
 * element as it comes, so that what was walked to its end is proved. Both give INVALID. */
sombra_err value_open_map_unproved(sombra_slice encoded,
                                   sombra_value_cursor *out_cursor) SOMBRA_MUST_CHECK;
sombra_err value_next_proved(sombra_value_cursor *cursor, sombra_slice *out_key,
                             sombra_slice *out_encoded, bool *out_found) SOMBRA_MUST_CHECK;

/* The encoded value; returns how many bytes it is. (value_build.c) */
enum { VALUE_NUMBER_BYTES_MAX = 9 };
size_t value_put_integer(uint8_t *to, int64_t value);
size_t value_put_float(uint8_t *to, double value);
size_t value_put_string(uint8_t *to, sombra_slice string);
static inline size_t value_string_bytes(size_t bytes)
{
    return bytes + (bytes <= VALUE_STRING_SHORT_MAX ? 1 : 1 + varint_bytes(bytes));
}

/* The memory that it holds. (value_build.c) */
size_t value_builder_bytes(const sombra_value_builder *builder);

/* The bytes that the builder makes of the value today: `encoded` itself, or in `builder` (which is
 * reset) what replaces numbers of an older form. Equal values have equal canonical bytes. CORRUPT,
 * NOMEM. (value_build.c) */
sombra_err value_canonical(sombra_value_builder *builder, sombra_slice encoded,
                           sombra_slice *out_encoded) SOMBRA_MUST_CHECK;

/* The order of indexes over two decoded values, whole: -1, 0, 1. Booleans < numbers (by value
 * across integer and float, exactly; NaN last, equal to itself) < strings < lists < maps; null (and
 * what is missing) after all. Elements of lists and maps, likewise. CORRUPT. (value_order.c) */
sombra_err value_order(const sombra_value *a, const sombra_value *b,
                       int *out_order) SOMBRA_MUST_CHECK;

#endif
