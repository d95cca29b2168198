/* SPDX-License-Identifier: MIT */
/* Keys of index entries (graph_format.h): values as bytes whose order is that of value_order. */
#include "index_internal.h"

#include <math.h>

/* ---- numbers ----------------------------------------------------------------------------- */

static uint8_t *put_big_endian(uint8_t *at, uint64_t bits, unsigned bytes, uint8_t flip)
{
    for (unsigned left = bytes; left > 0; left--)
        *at++ = (uint8_t)((uint8_t)(bits >> (8 * (left - 1))) ^ flip);
    return at;
}

static uint64_t bits_of(double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

/* Magnitudes from 2^63 on: all of them are floats, or equal to one. */
static uint8_t *put_huge(uint8_t *at, double magnitude, bool is_negative)
{
    assert(magnitude >= 0x1p63);
    *at++ = is_negative ? INDEX_NUMBER_LOW : INDEX_NUMBER_HIGH;
    return put_big_endian(at, bits_of(magnitude), 8, is_negative ? 0xff : 0);
}

static uint8_t *put_magnitude(uint8_t *at, uint64_t whole, double rest, bool is_negative)
{
    assert(whole <= INT64_MAX && rest >= 0 && rest < 1);
    uint64_t doubled = whole << 1 | (rest > 0);
    unsigned bytes = doubled ? (71 - (unsigned)__builtin_clzll(doubled)) / 8 : 0;
    uint8_t flip = is_negative ? 0xff : 0;
    *at++ = (uint8_t)(is_negative ? INDEX_ZERO - bytes : INDEX_ZERO + bytes);
    at = put_big_endian(at, doubled, bytes, flip);
    return rest > 0 ? put_big_endian(at, bits_of(rest), 8, flip) : at;
}

uint8_t *index_put_integer(uint8_t *at, int64_t integer)
{
    if (integer == INT64_MIN)
        return put_huge(at, 0x1p63, true);
    return put_magnitude(at, (uint64_t)(integer < 0 ? -integer : integer), 0, integer < 0);
}

static uint8_t *put_real(uint8_t *at, double real)
{
    double magnitude = fabs(real);
    if (isnan(real)) {
        *at++ = INDEX_NAN;
        return at;
    }
    if (magnitude >= 0x1p63)
        return put_huge(at, magnitude, real < 0);
    uint64_t whole = (uint64_t)magnitude;
    return put_magnitude(at, whole, magnitude - (double)whole, real < 0);
}

/* ---- strings, lists, maps ---------------------------------------------------------------- */

/* Zero bytes become 00 ff, so that 00 01 behind the string is below all that could go on. */
static sombra_err append_text(struct buf *to, sombra_slice text, bool ends)
{
    sombra_err err = buf_reserve(to, 2 * text.bytes + 2);
    if (err)
        return err;
    const uint8_t *from = text.data, *end = text.bytes ? from + text.bytes : from;
    uint8_t *at = to->data + to->bytes;
    while (from < end) {
        const uint8_t *zero = memchr(from, 0, (size_t)(end - from));
        size_t plain = (size_t)((zero ? zero : end) - from);
        memcpy(at, from, plain);
        at += plain;
        from += plain;
        if (zero) {
            *at++ = 0;
            *at++ = 0xff;
            from++;
        }
    }
    if (ends) {
        *at++ = 0;
        *at++ = 1;
    }
    to->bytes = (size_t)(at - to->data);
    return SOMBRA_OK;
}

/* The depth of the recursion is bounded: the reader refuses what is nested deeper than
 * SOMBRA_VALUE_DEPTH_MAX. */
static sombra_err append_container(struct buf *to, const sombra_value *value)
{
    sombra_value_cursor cursor;
    bool is_map = value->kind == SOMBRA_MAP;
    sombra_value_enter(value, &cursor);
    sombra_err err = buf_append_u8(to, is_map ? INDEX_MAP : INDEX_LIST);
    while (!err) {
        sombra_slice key = { NULL, 0 };
        sombra_value element;
        bool found = false;
        err = sombra_value_next(&cursor, &key, &element, &found);
        if (err || !found)
            break;
        if (is_map)
            err = buf_append_u8(to, INDEX_MEMBER);
        if (!err && is_map)
            err = append_text(to, key, true);
        if (!err)
            err = index_append_value(to, &element);
    }
    return err ? err : buf_append_u8(to, INDEX_END);
}

sombra_err index_append_string(struct buf *to, sombra_slice string)
{
    sombra_err err = buf_append_u8(to, INDEX_STRING);
    return err ? err : append_text(to, string, true);
}

sombra_err index_append_value(struct buf *to, const sombra_value *value)
{
    sombra_err err = buf_reserve(to, INDEX_NUMBER_BYTES_MAX);
    if (err)
        return err;
    uint8_t *at = to->data + to->bytes;
    switch (value->kind) {
    case SOMBRA_BOOLEAN:
        return buf_append_u8(to, value->as.boolean ? INDEX_TRUE : INDEX_FALSE);
    case SOMBRA_INTEGER:
        to->bytes = (size_t)(index_put_integer(at, value->as.integer) - to->data);
        return SOMBRA_OK;
    case SOMBRA_FLOAT:
        to->bytes = (size_t)(put_real(at, value->as.real) - to->data);
        return SOMBRA_OK;
    case SOMBRA_STRING:
        return index_append_string(to, value->as.string);
    case SOMBRA_LIST:
    case SOMBRA_MAP:
        return append_container(to, value);
    case SOMBRA_NULL:
        break;
    }
    return buf_append_u8(to, INDEX_NULL);
}

sombra_err index_append(struct buf *to, sombra_slice encoded)
{
    sombra_value value;
    sombra_err err = sombra_value_decode(encoded, &value);
    return err ? err : index_append_value(to, &value);
}

sombra_err index_append_prefix(struct buf *to, sombra_slice prefix)
{
    sombra_err err = buf_append_u8(to, INDEX_STRING);
    return err ? err : append_text(to, prefix, false);
}

sombra_err index_values(const struct graph_rule *index, const sombra_record *record, struct buf *to,
                        enum index_membership *out_membership)
{
    buf_reset(to);
    return index_append_values(index, record, to, out_membership);
}

sombra_err index_append_values(const struct graph_rule *index, const sombra_record *record,
                               struct buf *to, enum index_membership *out_membership)
{
    enum index_membership membership = INDEX_COMPLETE;
    for (size_t i = 0; i < index->property_count; i++) {
        sombra_slice value;
        sombra_err err = graph_record_find(record, index->properties[i], &value);
        if (err == SOMBRA_NOT_FOUND) {
            membership = i == 0 ? INDEX_OUTSIDE : INDEX_PARTIAL;
            err = buf_append_u8(to, INDEX_MISSING);
        } else if (!err) {
            err = index_append(to, value);
        }
        if (err)
            return err;
        if (membership == INDEX_OUTSIDE)
            break;
    }
    *out_membership = membership;
    return SOMBRA_OK;
}

/* ---- keys -------------------------------------------------------------------------------- */

static uint64_t hash_fnv1a(sombra_slice bytes)
{
    const uint8_t *at = bytes.data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.bytes; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint8_t *key_put_values(uint8_t *at, uint32_t rule, sombra_slice values)
{
    bool is_cut = values.bytes > INDEX_CUT_BYTES;
    size_t bytes = is_cut ? INDEX_CUT_BYTES : values.bytes;
    at = key_put_1(at, TAG_INDEX, rule);
    if (bytes)
        memcpy(at, values.data, bytes);
    at += bytes;
    return is_cut ? put_big_endian(at, hash_fnv1a(values), INDEX_HASH_BYTES, 0) : at;
}

void index_key_values(uint32_t rule, sombra_slice values, struct index_key *out)
{
    out->length = (size_t)(key_put_values(out->bytes, rule, values) - out->bytes);
}

uint8_t *index_key_put(uint8_t *at, uint32_t rule, sombra_slice values, uint64_t id)
{
    assert(rule > 0 && id > 0 && values.bytes > 0);
    uint8_t *from = key_put_values(at, rule, values), *end = ordered_put(from, id);
    unsigned cut = values.bytes > INDEX_CUT_BYTES ? INDEX_TRAILER_CUT : 0;
    *end = (uint8_t)((unsigned)(end - from) | cut);
    assert(end + 1 - at <= INDEX_KEY_BYTES_MAX);
    return end + 1;
}

void index_key_of(uint32_t rule, sombra_slice values, uint64_t id, struct index_key *out)
{
    out->length = (size_t)(index_key_put(out->bytes, rule, values, id) - out->bytes);
}

sombra_err index_entry_read(sombra_slice key, size_t prefix_bytes, struct index_entry *out_entry)
{
    const uint8_t *bytes = key.data;
    size_t length = key.bytes;
    struct index_entry entry = { 0 };
    if (length <= prefix_bytes)
        return corrupt_key(key, "rule, values, id, trailer");
    unsigned trailer = bytes[--length];
    size_t id_bytes = trailer & ~(unsigned)INDEX_TRAILER_CUT;
    entry.is_cut = trailer & INDEX_TRAILER_CUT;
    size_t hash_bytes = entry.is_cut ? INDEX_HASH_BYTES : 0;
    if (length - prefix_bytes < id_bytes + hash_bytes)
        return corrupt_key(key, "rule, values, id, trailer");
    const uint8_t *end = bytes + length;
    if (ordered_get(end - id_bytes, end, &entry.id) != end || entry.id == 0)
        return corrupt_key(key, "rule, values, id, trailer");
    length -= id_bytes + hash_bytes;
    entry.values = slice_of(bytes + prefix_bytes, length - prefix_bytes);
    if (entry.is_cut ? entry.values.bytes != INDEX_CUT_BYTES
                     : entry.values.bytes > INDEX_CUT_BYTES || entry.values.bytes == 0)
        return corrupt_key(key, "rule, values, id, trailer");
    *out_entry = entry;
    return SOMBRA_OK;
}
