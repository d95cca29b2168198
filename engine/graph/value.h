/* SPDX-License-Identifier: MIT */
/* value: what the graph asks of encoded values beyond the public reader and builder.
 *
 * Threads: plain data.
 */
#ifndef GRAPH_VALUE_H
#define GRAPH_VALUE_H

#include "base/base.h"
#include "sombra/value.h"

/* Reads the value at the front of `from`; *out_bytes is its length. CORRUPT. */
sombra_err value_read(sombra_slice from, uint32_t depth, sombra_value *out_value,
                      size_t *out_bytes) SOMBRA_MUST_CHECK;

/* sombra_value_next that lends the element's encoded bytes as well. */
sombra_err value_next_encoded(sombra_value_cursor *cursor, sombra_slice *out_key,
                              sombra_slice *out_encoded, bool *out_found) SOMBRA_MUST_CHECK;

/* Opens the map that `encoded` must be (an empty slice is an empty map): INVALID, since it comes
 * from the caller. */
sombra_err value_open_map(sombra_slice encoded, sombra_value_cursor *out_cursor) SOMBRA_MUST_CHECK;

/* The same without proving what is in it: for a walk by value_next_proved, which proves each
 * element as it comes, so that what was walked to its end is proved. Both give INVALID. */
sombra_err value_open_map_unproved(sombra_slice encoded,
                                   sombra_value_cursor *out_cursor) SOMBRA_MUST_CHECK;
sombra_err value_next_proved(sombra_value_cursor *cursor, sombra_slice *out_key,
                             sombra_slice *out_encoded, bool *out_found) SOMBRA_MUST_CHECK;

/* The order of indexes over two decoded values, whole: -1, 0, 1. Booleans < numbers (by value
 * across integer and float, exactly; NaN last, equal to itself) < strings < lists < maps; null (and
 * what is missing) after all. Elements of lists and maps, likewise. CORRUPT. (value_order.c) */
sombra_err value_order(const sombra_value *a, const sombra_value *b,
                       int *out_order) SOMBRA_MUST_CHECK;

#endif
