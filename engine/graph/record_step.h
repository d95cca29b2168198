/* SPDX-License-Identifier: MIT */
/* The steps over the labels and the properties of a record, for record.c and record_build.c:
 * inline, for one is taken for each property of each record that is read or changed.
 */
#ifndef GRAPH_RECORD_STEP_H
#define GRAPH_RECORD_STEP_H

#include "graph_internal.h"

/* CORRUPT: what of it is. */
sombra_err record_damaged(const char *what) SOMBRA_MUST_CHECK;

/* A number of `*at`, at most `max`; NULL for anything else. */
static inline const uint8_t *record_number(const uint8_t *at, const uint8_t *end, uint64_t max,
                                           uint32_t *out_number)
{
    uint64_t number;
    at = varint_get(at, end, &number);
    if (!at || number > max)
        return NULL;
    *out_number = (uint32_t)number;
    return at;
}

/* As graph_record_next_label. */
static inline sombra_err record_step_label(sombra_record *record, uint32_t *out_label,
                                           bool *out_found)
{
    uint32_t label;
    if (record->labels_left == 0) {
        *out_found = false;
        return SOMBRA_OK;
    }
    const uint8_t *at = record_number(record->label_at, record->end, UINT32_MAX, &label);
    if (!at || label <= record->label_last)
        return record_damaged("labels are not ascending");
    record->label_at = at;
    record->label_last = label;
    record->labels_left--;
    *out_label = label;
    *out_found = true;
    return SOMBRA_OK;
}

/* The name whose value is next in a record without lengths; turns to the one behind it. */
static inline uint32_t record_compact_step(sombra_record *record)
{
    uint32_t name = record->property_next;
    uint64_t mask = record->property_mask;
    if (mask) {
        unsigned gap = (unsigned)__builtin_ctzll(mask);
        record->property_next = name + 1 + gap;
        record->property_mask = mask >> gap >> 1;
    }
    return name;
}

/* Most names and lengths are so small. False = look closer. */
static inline bool record_read_small(const uint8_t **at, const uint8_t *end, uint32_t *out_name,
                                     uint32_t *out_bytes)
{
    const uint8_t *from = *at;
    if (UNLIKELY(end - from < 3 || from[0] >= 0x80 || (from[1] >= 0x80 && from[2] >= 0x80)))
        return false;
    bool is_long = from[1] >= 0x80;
    *out_name = from[0];
    *out_bytes = is_long ? (from[1] & 0x7fu) | (uint32_t)from[2] << 7 : from[1];
    *at = from + 2 + is_long;
    return true;
}

/* As graph_record_next_property. */
static inline __attribute__((always_inline)) sombra_err
record_step(sombra_record *record, uint32_t *out_name, sombra_slice *out_value, bool *out_found)
{
    uint32_t name, bytes;
    if (record->properties_left == 0) {
        if (record->property_at != record->end)
            return record_damaged("bytes behind the last property");
        *out_found = false;
        return SOMBRA_OK;
    }
    const uint8_t *at = record->property_at;
    if (record->property_next == 0 && LIKELY(record_read_small(&at, record->end, &name, &bytes))) {
        if (UNLIKELY(name <= record->property_last))
            return record_damaged("names of properties are not ascending");
        if (UNLIKELY(bytes > (size_t)(record->end - at)))
            return record_damaged("a property is cut short");
    } else if (record->property_next) {
        bytes = (uint32_t)value_length(at, (size_t)(record->end - at));
        if (bytes == 0)
            return record_damaged("a property is cut short");
        name = record_compact_step(record);
    } else {
        at = record_number(at, record->end, UINT32_MAX, &name);
        if (!at || name <= record->property_last)
            return record_damaged("names of properties are not ascending");
        at = record_number(at, record->end, UINT32_MAX, &bytes);
        if (!at || bytes > (size_t)(record->end - at))
            return record_damaged("a property is cut short");
    }
    record->property_at = at + bytes;
    record->property_last = name;
    record->properties_left--;
    *out_name = name;
    *out_value = slice_of(at, bytes);
    *out_found = true;
    return SOMBRA_OK;
}

#endif
