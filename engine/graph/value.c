/* SPDX-License-Identifier: MIT */
#include "value.h"
#include "value_format.h"

#include <assert.h>
#include <inttypes.h>

const double value_powers_of_ten[VALUE_DECIMAL_DIGITS_MAX + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

const char *sombra_kind_name(sombra_kind kind)
{
    static const char *const names[] = {
        [SOMBRA_NULL] = "null",   [SOMBRA_BOOLEAN] = "boolean", [SOMBRA_INTEGER] = "integer",
        [SOMBRA_FLOAT] = "float", [SOMBRA_STRING] = "string",   [SOMBRA_LIST] = "list",
        [SOMBRA_MAP] = "map",
    };
    return (size_t)kind < COUNT_OF(names) ? names[kind] : "unknown";
}

static sombra_err cut_short(const char *what, size_t have, size_t need)
{
    return diag_fail(SOMBRA_CORRUPT, "value: %s needs %zu bytes and has %zu", what, need, have);
}

/* Two's complement, little-endian, of 0 to 8 bytes. */
static int64_t signed_get(const uint8_t *at, unsigned bytes)
{
    if (bytes == 0)
        return 0;
    uint64_t number = (uint64_t)(int64_t)(int8_t)at[bytes - 1];
    for (unsigned left = bytes - 1; left > 0; left--)
        number = number << 8 | at[left - 1];
    return (int64_t)number;
}

static sombra_err read_integer(const uint8_t *at, size_t left, sombra_value *value, size_t *length)
{
    unsigned bytes = *at & 0x0fu;
    if (left - 1 < bytes)
        return cut_short("integer", left - 1, bytes);
    value->kind = SOMBRA_INTEGER;
    value->as.integer = signed_get(at + 1, bytes);
    *length = 1 + bytes;
    return SOMBRA_OK;
}

static sombra_err read_decimal(const uint8_t *at, size_t left, sombra_value *value, size_t *length)
{
    unsigned bytes = *at & 7u, digits = *at >> 3 & 15u;
    if (bytes > VALUE_DECIMAL_BYTES_MAX)
        return diag_fail(SOMBRA_CORRUPT, "value: unknown tag 0x%02x", *at);
    if (left - 1 < bytes)
        return cut_short("decimal", left - 1, bytes);
    value->kind = SOMBRA_FLOAT;
    value->as.real = (double)signed_get(at + 1, bytes) / value_powers_of_ten[digits];
    *length = 1 + bytes;
    return SOMBRA_OK;
}

static sombra_err read_float(const uint8_t *at, size_t left, sombra_value *value, size_t *length)
{
    size_t bytes = *at == VALUE_FLOAT_4 ? 4 : 8;
    if (left - 1 < bytes)
        return cut_short("float", left - 1, bytes);
    if (bytes == 4) {
        uint32_t bits = get_le32(at + 1);
        float real;
        memcpy(&real, &bits, sizeof real);
        value->as.real = (double)real;
    } else {
        uint64_t bits = get_le64(at + 1);
        memcpy(&value->as.real, &bits, sizeof bits);
    }
    value->kind = SOMBRA_FLOAT;
    *length = 1 + bytes;
    return SOMBRA_OK;
}

static sombra_err read_string(const uint8_t *at, size_t left, sombra_value *value, size_t *length)
{
    const uint8_t *end = at + left, *text = at + 1;
    uint64_t bytes = *at & 0x0fu;
    if (*at == VALUE_STRING_LONG) {
        text = varint_get(at + 1, end, &bytes);
        if (!text)
            return cut_short("length of a string", left - 1, VARINT_BYTES_MAX);
    }
    if (bytes > (size_t)(end - text))
        return diag_fail(SOMBRA_CORRUPT, "value: string of %" PRIu64 " bytes has %zu", bytes,
                         (size_t)(end - text));
    value->kind = SOMBRA_STRING;
    value->as.string = slice_of(text, (size_t)bytes);
    *length = (size_t)(text - at) + (size_t)bytes;
    return SOMBRA_OK;
}

static sombra_err read_container(const uint8_t *at, size_t left, sombra_value *value,
                                 size_t *length)
{
    bool is_small = (*at & 0x0fu) == 1;
    size_t head = is_small ? VALUE_HEAD_1 : VALUE_HEAD_4;
    if (left < head)
        return cut_short("head of a list or map", left, head);
    size_t bytes = is_small ? at[1] : get_le32(at + 1);
    uint32_t count = is_small ? at[2] : get_le32(at + 5);
    if (bytes > left - head)
        return cut_short("list or map", left - head, bytes);
    bool is_map = (*at & 0xf0u) == (VALUE_MAP_1 & 0xf0u);
    /* An element takes a byte or more, an entry two: readers size tables by the count. */
    if (count > bytes / (is_map ? 2 : 1))
        return diag_fail(SOMBRA_CORRUPT, "value: %" PRIu32 " elements in %zu bytes", count, bytes);
    if (value->depth >= SOMBRA_VALUE_DEPTH_MAX)
        return diag_fail(SOMBRA_CORRUPT, "value: nested more than %d deep", SOMBRA_VALUE_DEPTH_MAX);
    value->kind = is_map ? SOMBRA_MAP : SOMBRA_LIST;
    value->count = count;
    value->as.body = slice_of(at + head, bytes);
    *length = head + bytes;
    return SOMBRA_OK;
}

sombra_err value_read(sombra_slice from, uint32_t depth, sombra_value *out_value, size_t *out_bytes)
{
    const uint8_t *at = from.data;
    if (from.bytes == 0)
        return cut_short("tag", 0, 1);
    sombra_value value = { .kind = SOMBRA_NULL, .depth = depth };
    size_t length = 1;
    sombra_err err = SOMBRA_OK;
    unsigned tag = *at;
    if (tag >= VALUE_STRING && tag <= VALUE_STRING_LONG) {
        err = read_string(at, from.bytes, &value, &length);
    } else if (tag >= VALUE_INTEGER && tag <= VALUE_INTEGER + 8) {
        err = read_integer(at, from.bytes, &value, &length);
    } else if (tag >= VALUE_INTEGER_SHORT && tag < VALUE_DECIMAL) {
        if (from.bytes < 2)
            return cut_short("integer", 0, 1);
        value.kind = SOMBRA_INTEGER;
        value.as.integer = (int64_t)(tag - VALUE_INTEGER_SHORT) << 8 | at[1];
        length = 2;
    } else if (tag >= VALUE_DECIMAL) {
        err = read_decimal(at, from.bytes, &value, &length);
    } else if (tag == VALUE_FLOAT_4 || tag == VALUE_FLOAT_8) {
        err = read_float(at, from.bytes, &value, &length);
    } else if (tag == VALUE_FALSE || tag == VALUE_TRUE) {
        value.kind = SOMBRA_BOOLEAN;
        value.as.boolean = tag == VALUE_TRUE;
    } else if (tag == VALUE_LIST_1 || tag == VALUE_LIST_4 || tag == VALUE_MAP_1 ||
               tag == VALUE_MAP_4) {
        err = read_container(at, from.bytes, &value, &length);
    } else if (tag != VALUE_NULL) {
        err = diag_fail(SOMBRA_CORRUPT, "value: unknown tag 0x%02x", tag);
    }
    if (err)
        return err;
    assert(length <= from.bytes);
    *out_value = value;
    *out_bytes = length;
    return SOMBRA_OK;
}

/* What is no value has one here or none: value_read tells. */
#define LENGTHS_8(from)                                                                         \
    [from] = 1, [from + 1] = 2, [from + 2] = 3, [from + 3] = 4, [from + 4] = 5, [from + 5] = 6, \
    [from + 6] = 7, [from + 7] = 8
const uint8_t value_lengths[256] = {
    [VALUE_NULL... VALUE_INTEGER - 1] = 1,
    LENGTHS_8(VALUE_INTEGER),
    [VALUE_INTEGER + 8] = 9,
    LENGTHS_8(VALUE_STRING),
    [VALUE_STRING + 8] = 9,
    [VALUE_STRING + 9] = 10,
    [VALUE_STRING + 10] = 11,
    [VALUE_STRING + 11] = 12,
    [VALUE_STRING + 12] = 13,
    [VALUE_STRING + 13] = 14,
    [VALUE_STRING + 14] = 15,
    [VALUE_INTEGER_SHORT... VALUE_DECIMAL - 1] = 2,
    LENGTHS_8(VALUE_DECIMAL),
    LENGTHS_8(VALUE_DECIMAL + 8),
    LENGTHS_8(VALUE_DECIMAL + 16),
    LENGTHS_8(VALUE_DECIMAL + 24),
    LENGTHS_8(VALUE_DECIMAL + 32),
    LENGTHS_8(VALUE_DECIMAL + 40),
    LENGTHS_8(VALUE_DECIMAL + 48),
    LENGTHS_8(VALUE_DECIMAL + 56),
    LENGTHS_8(VALUE_DECIMAL + 64),
    LENGTHS_8(VALUE_DECIMAL + 72),
    LENGTHS_8(VALUE_DECIMAL + 80),
    LENGTHS_8(VALUE_DECIMAL + 88),
    LENGTHS_8(VALUE_DECIMAL + 96),
    LENGTHS_8(VALUE_DECIMAL + 104),
    LENGTHS_8(VALUE_DECIMAL + 112),
    LENGTHS_8(VALUE_DECIMAL + 120),
};

size_t value_length_slow(const uint8_t *at, size_t left)
{
    sombra_value value;
    size_t bytes;
    return value_read(slice_of(at, left), 0, &value, &bytes) ? 0 : bytes;
}

/* Short strings and integers, whose tags say all. */
static inline bool decode_plain(sombra_slice encoded, sombra_value *out_value)
{
    const uint8_t *at = encoded.data;
    unsigned tag = encoded.bytes ? *at : VALUE_NULL;
    if (tag >= VALUE_STRING && tag < VALUE_STRING_LONG) {
        if (encoded.bytes != 1 + tag - VALUE_STRING)
            return false;
        out_value->kind = SOMBRA_STRING;
        out_value->as.string = slice_of(at + 1, tag - VALUE_STRING);
    } else if (tag == VALUE_STRING_LONG) { /* of less than 2^14 bytes */
        if (encoded.bytes < 3 || (at[1] >= 0x80 && at[2] >= 0x80))
            return false;
        size_t head = at[1] >= 0x80 ? 3 : 2;
        size_t bytes = head == 3 ? (at[1] & 0x7fu) | (size_t)at[2] << 7 : at[1];
        if (encoded.bytes != head + bytes)
            return false;
        out_value->kind = SOMBRA_STRING;
        out_value->as.string = slice_of(at + head, bytes);
    } else if (tag >= VALUE_INTEGER && tag <= VALUE_INTEGER + 8) {
        if (encoded.bytes != 1 + tag - VALUE_INTEGER)
            return false;
        out_value->kind = SOMBRA_INTEGER;
        out_value->as.integer = signed_get(at + 1, tag - VALUE_INTEGER);
    } else if (tag >= VALUE_INTEGER_SHORT && tag < VALUE_DECIMAL && encoded.bytes == 2) {
        out_value->kind = SOMBRA_INTEGER;
        out_value->as.integer = (int64_t)(tag - VALUE_INTEGER_SHORT) << 8 | at[1];
    } else {
        return false;
    }
    out_value->count = out_value->depth = 0;
    return true;
}

sombra_err sombra_value_decode(sombra_slice encoded, sombra_value *out_value)
{
    assert(out_value);
    sombra_value value;
    size_t bytes;
    if (LIKELY(decode_plain(encoded, out_value)))
        return SOMBRA_OK;
    sombra_err err = value_read(encoded, 0, &value, &bytes);
    if (err)
        return err;
    if (bytes != encoded.bytes)
        return diag_fail(SOMBRA_CORRUPT, "value: %zu bytes behind its end", encoded.bytes - bytes);
    *out_value = value;
    return SOMBRA_OK;
}

void sombra_value_enter(const sombra_value *container, sombra_value_cursor *out_cursor)
{
    assert(container && out_cursor);
    *out_cursor = (sombra_value_cursor){ .is_map = container->kind == SOMBRA_MAP };
    if (container->kind != SOMBRA_MAP && container->kind != SOMBRA_LIST)
        return;
    const sombra_slice body = container->as.body;
    out_cursor->next = body.data; /* may be NULL: an empty one that no decoder gave */
    out_cursor->end = body.bytes ? out_cursor->next + body.bytes : out_cursor->next;
    out_cursor->left = container->count;
    out_cursor->depth = container->depth + 1;
}

/* The key at `at`, which must be above the one before; NULL and a text if it is not. */
static const uint8_t *read_key(const sombra_value_cursor *cursor, sombra_slice *key)
{
    uint64_t bytes;
    const uint8_t *at = varint_get(cursor->next, cursor->end, &bytes);
    if (!at || bytes > (size_t)(cursor->end - at)) {
        (void)diag_fail(SOMBRA_CORRUPT, "value: the key of a map is cut short");
        return NULL;
    }
    *key = slice_of(at, (size_t)bytes);
    if (cursor->has_key && slice_compare(cursor->key, *key) >= 0) {
        (void)diag_fail(SOMBRA_CORRUPT, "value: the keys of a map are out of order");
        return NULL;
    }
    return at + bytes;
}

static sombra_err next_element(sombra_value_cursor *cursor, sombra_slice *out_key,
                               sombra_value *out_value, sombra_slice *out_encoded, bool *out_found)
{
    assert(cursor && out_found);
    if (cursor->left == 0) {
        if (cursor->next != cursor->end)
            return diag_fail(SOMBRA_CORRUPT, "value: %zu bytes behind the last element",
                             (size_t)(cursor->end - cursor->next));
        *out_found = false;
        return SOMBRA_OK;
    }
    const uint8_t *at = cursor->next;
    sombra_slice key = { NULL, 0 };
    if (cursor->is_map) {
        at = read_key(cursor, &key);
        if (!at)
            return SOMBRA_CORRUPT;
    }
    size_t bytes;
    sombra_err err =
        value_read(slice_of(at, (size_t)(cursor->end - at)), cursor->depth, out_value, &bytes);
    if (err)
        return err;
    cursor->next = at + bytes;
    cursor->left--;
    cursor->key = key;
    cursor->has_key = cursor->is_map;
    if (out_key && cursor->is_map)
        *out_key = key;
    if (out_encoded)
        *out_encoded = slice_of(at, bytes);
    *out_found = true;
    return SOMBRA_OK;
}

sombra_err sombra_value_next(sombra_value_cursor *cursor, sombra_slice *out_key,
                             sombra_value *out_value, bool *out_found)
{
    assert(out_value);
    return next_element(cursor, out_key, out_value, NULL, out_found);
}

sombra_err value_next_encoded(sombra_value_cursor *cursor, sombra_slice *out_key,
                              sombra_slice *out_encoded, bool *out_found)
{
    sombra_value value;
    return next_element(cursor, out_key, &value, out_encoded, out_found);
}

sombra_err sombra_value_validate(sombra_slice encoded)
{
    /* One cursor a level: depth is bounded, so hostile nesting cannot exhaust the stack. */
    sombra_value_cursor levels[SOMBRA_VALUE_DEPTH_MAX];
    unsigned open = 0;
    sombra_value value;
    sombra_err err = sombra_value_decode(encoded, &value);
    if (err)
        return err;
    if (value.kind == SOMBRA_LIST || value.kind == SOMBRA_MAP)
        sombra_value_enter(&value, &levels[open++]);
    while (open > 0) {
        bool found = false;
        err = sombra_value_next(&levels[open - 1], NULL, &value, &found);
        if (err)
            return err;
        if (!found) {
            open--;
        } else if (value.kind == SOMBRA_LIST || value.kind == SOMBRA_MAP) {
            assert(open < SOMBRA_VALUE_DEPTH_MAX);
            sombra_value_enter(&value, &levels[open++]);
        }
    }
    return SOMBRA_OK;
}

/* What is wrong with bytes of the caller's is an argument's fault. */
static sombra_err refuse_given(void)
{
    return diag_wrap(diag_fail(SOMBRA_INVALID, "%s", diag_text()), "properties");
}

sombra_err value_open_map_unproved(sombra_slice encoded, sombra_value_cursor *out_cursor)
{
    sombra_value value;
    const uint8_t *at = encoded.data;
    assert(out_cursor);
    if (encoded.bytes == 0) {
        *out_cursor = (sombra_value_cursor){ .is_map = true };
        return SOMBRA_OK;
    }
    if (LIKELY(encoded.bytes >= VALUE_HEAD_1 && at[0] == VALUE_MAP_1 &&
               encoded.bytes == VALUE_HEAD_1 + (size_t)at[1] && at[2] <= at[1] / 2)) {
        *out_cursor = (sombra_value_cursor){ .is_map = true,
                                             .next = at + VALUE_HEAD_1,
                                             .end = at + encoded.bytes,
                                             .left = at[2],
                                             .depth = 1 };
        return SOMBRA_OK;
    }
    if (sombra_value_decode(encoded, &value))
        return refuse_given();
    if (value.kind != SOMBRA_MAP)
        return diag_fail(SOMBRA_INVALID, "properties are a %s; give a map",
                         sombra_kind_name(value.kind));
    sombra_value_enter(&value, out_cursor);
    return SOMBRA_OK;
}

/* Length of a value that its tag proves: neither a list nor a map, nor a long string or a float. 0
 * = look closer. */
static inline size_t plain_length(const uint8_t *at, size_t left)
{
    unsigned tag = *at;
    size_t bytes = 0;
    if (tag >= VALUE_STRING && tag < VALUE_STRING_LONG)
        bytes = tag - VALUE_STRING + 1;
    else if (tag >= VALUE_INTEGER && tag <= VALUE_INTEGER + 8)
        bytes = tag - VALUE_INTEGER + 1;
    else if (tag >= VALUE_INTEGER_SHORT && tag < VALUE_DECIMAL)
        bytes = 2;
    else if (tag >= VALUE_DECIMAL && (tag & 7) <= VALUE_DECIMAL_BYTES_MAX)
        bytes = (tag & 7) + 1;
    else if (tag <= VALUE_TRUE)
        bytes = 1;
    return bytes <= left ? bytes : 0;
}

static inline bool key_is_above(sombra_slice key, sombra_slice before)
{
    if (key.bytes && before.bytes && *(const uint8_t *)key.data != *(const uint8_t *)before.data)
        return *(const uint8_t *)key.data > *(const uint8_t *)before.data;
    return slice_compare(before, key) < 0;
}

enum member_answer { MEMBER_HERE, MEMBER_ABSENT, MEMBER_UNCLEAR };

/* To the member's value, past those before it, whose bytes are only counted; a key above it says
 * that there is none. MEMBER_UNCLEAR where that takes a closer look: the cursor then stands before
 * what was not passed. */
static enum member_answer pass_to_member(sombra_value_cursor *cursor, sombra_slice key,
                                         sombra_slice *out_rest)
{
    while (cursor->left && cursor->next < cursor->end) {
        size_t left = (size_t)(cursor->end - cursor->next), bytes = *cursor->next;
        const sombra_slice at = slice_of(cursor->next + 1, bytes);
        if (bytes >= 0x80 || left < 1 + bytes + 1 ||
            (cursor->has_key && !key_is_above(at, cursor->key)))
            return MEMBER_UNCLEAR;
        const uint8_t *value = cursor->next + 1 + bytes;
        left -= 1 + bytes;
        if (slice_equal(at, key)) {
            *out_rest = slice_of(value, left);
            return MEMBER_HERE;
        }
        if (key_is_above(at, key))
            return MEMBER_ABSENT;
        size_t length = value_length(value, left);
        if (length == 0)
            return MEMBER_UNCLEAR;
        cursor->next = value + length;
        cursor->key = at;
        cursor->has_key = true;
        cursor->left--;
    }
    return MEMBER_UNCLEAR;
}

sombra_err value_member(const sombra_value *map, sombra_slice key, sombra_value *out_value,
                        sombra_slice *out_encoded)
{
    sombra_value_cursor cursor;
    sombra_slice rest;
    size_t bytes = 0;
    assert(map && out_value);
    sombra_value_enter(map, &cursor);
    enum member_answer answer =
        cursor.is_map ? pass_to_member(&cursor, key, &rest) : MEMBER_UNCLEAR;
    if (answer == MEMBER_ABSENT)
        return SOMBRA_NOT_FOUND;
    if (answer == MEMBER_HERE) {
        sombra_err err = value_read(rest, cursor.depth, out_value, &bytes);
        *out_encoded = slice_of(rest.data, bytes);
        return err;
    }
    for (;;) {
        sombra_slice at, encoded;
        sombra_value value;
        bool found = false;
        sombra_err err = next_element(&cursor, &at, &value, &encoded, &found);
        if (err)
            return err;
        if (!found || !cursor.is_map)
            return SOMBRA_NOT_FOUND;
        if (slice_equal(at, key)) {
            *out_value = value;
            *out_encoded = encoded;
            return SOMBRA_OK;
        }
    }
}

sombra_err sombra_value_member(const sombra_value *map, sombra_slice key, sombra_value *out_value)
{
    sombra_slice unused;
    return value_member(map, key, out_value, &unused);
}

/* The next entry of a map, if its key is short and its value plain. */
static inline bool next_plain(sombra_value_cursor *cursor, sombra_slice *out_key,
                              sombra_slice *out_encoded)
{
    size_t left = (size_t)(cursor->end - cursor->next);
    if (cursor->left == 0 || !cursor->is_map || left == 0)
        return false;
    size_t key_bytes = *cursor->next;
    sombra_slice key = slice_of(cursor->next + 1, key_bytes);
    if (key_bytes >= 0x80 || left < 1 + key_bytes + 1 ||
        (cursor->has_key && !key_is_above(key, cursor->key)))
        return false;
    const uint8_t *at = cursor->next + 1 + key_bytes;
    size_t bytes = plain_length(at, left - 1 - key_bytes);
    if (bytes == 0)
        return false;
    cursor->next = at + bytes;
    cursor->left--;
    cursor->key = *out_key = key;
    cursor->has_key = true;
    *out_encoded = slice_of(at, bytes);
    return true;
}

sombra_err value_next_proved(sombra_value_cursor *cursor, sombra_slice *out_key,
                             sombra_slice *out_encoded, bool *out_found)
{
    sombra_value value;
    if (LIKELY(next_plain(cursor, out_key, out_encoded))) {
        *out_found = true;
        return SOMBRA_OK;
    }
    sombra_err err = next_element(cursor, out_key, &value, out_encoded, out_found);
    if (!err && *out_found && (value.kind == SOMBRA_LIST || value.kind == SOMBRA_MAP))
        err = sombra_value_validate(*out_encoded);
    return err ? refuse_given() : SOMBRA_OK;
}

sombra_err value_open_map(sombra_slice encoded, sombra_value_cursor *out_cursor)
{
    assert(out_cursor);
    if (encoded.bytes && sombra_value_validate(encoded))
        return refuse_given();
    return value_open_map_unproved(encoded, out_cursor);
}
