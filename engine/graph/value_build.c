/* SPDX-License-Identifier: MIT */
/* The builder writes elements as they come. A list or map reserves the short head and makes room
 * for the long one when it ends with more than 255 bytes. A map whose keys did not come in order
 * is put in order when it ends: `entries` remembers where each of its entries begins. */
#include "value.h"
#include "value_format.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

/* One open list or map. */
struct level {
    size_t head;          /* offset of its tag */
    size_t entries_first; /* map: index of its first entry */
    uint32_t count;       /* elements begun */
    bool is_map;
    bool wants_value; /* map: a key was pushed */
    bool is_ordered;  /* map: every key so far is above the one before */
};

struct entry {
    uint32_t offset; /* of the key's length, in bytes */
    uint32_t key_bytes;
    uint32_t key_offset; /* of the key, from offset */
    uint32_t bytes;      /* key and value; set when the map ends */
};

struct sombra_value_builder {
    sombra_err failed;
    char text[DIAG_TEXT_BYTES]; /* of the failure */
    bool is_whole;              /* a value stands at depth 0 */
    unsigned open;              /* levels */
    struct level levels[SOMBRA_VALUE_DEPTH_MAX];
    struct buf bytes;
    struct buf scratch; /* a map's body while it is put in order */
    struct entry *entries;
    size_t entry_count, entry_capacity;
};

sombra_err sombra_value_builder_new(sombra_value_builder **out_builder)
{
    assert(out_builder);
    sombra_value_builder *builder = mem_zalloc(sizeof *builder);
    if (!builder)
        return diag_nomem("a value builder", sizeof *builder);
    *out_builder = builder;
    return SOMBRA_OK;
}

void sombra_value_builder_free(sombra_value_builder *builder)
{
    if (!builder)
        return;
    buf_release(&builder->bytes);
    buf_release(&builder->scratch);
    mem_free(builder->entries);
    mem_free(builder);
}

size_t value_builder_bytes(const sombra_value_builder *builder)
{
    return sizeof *builder + builder->bytes.capacity + builder->scratch.capacity +
           builder->entry_capacity * sizeof *builder->entries;
}

void sombra_value_builder_reset(sombra_value_builder *builder)
{
    assert(builder);
    buf_reset(&builder->bytes);
    builder->failed = SOMBRA_OK;
    builder->is_whole = false;
    builder->open = 0;
    builder->entry_count = 0;
}

/* The first failure sticks, with its text. */
static sombra_err stick(sombra_value_builder *builder, sombra_err err)
{
    if (err && !builder->failed) {
        builder->failed = err;
        diag_save(builder->text);
    }
    return err;
}

static sombra_err stuck(const sombra_value_builder *builder)
{
    diag_restore(builder->text);
    return builder->failed;
}

static struct level *top(sombra_value_builder *builder)
{
    return builder->open ? &builder->levels[builder->open - 1] : NULL;
}

static sombra_err too_long(void)
{
    return diag_fail(SOMBRA_LIMIT, "value: longer than %d bytes", SOMBRA_VALUE_BYTES_MAX);
}

/* It has one value more. A map counts its keys. */
static inline void level_count(struct level *level)
{
    level->count += !level->is_map;
    level->wants_value = false;
}

/* buf_extend, for what mostly fits. */
static inline sombra_err extend(struct buf *buf, size_t more, uint8_t **out_at)
{
    if (UNLIKELY(more > buf->capacity - buf->bytes))
        return buf_extend(buf, more, out_at);
    *out_at = buf->data + buf->bytes;
    buf->bytes += more;
    return SOMBRA_OK;
}

/* Makes room for one value of `bytes` bytes where the next value belongs. */
static sombra_err begin_value(sombra_value_builder *builder, size_t bytes, uint8_t **out_at)
{
    struct level *level = top(builder);
    if (builder->failed)
        return stuck(builder);
    if (!level && builder->is_whole)
        return stick(builder, diag_fail(SOMBRA_INVALID, "value: a second whole value was pushed"));
    if (level && level->is_map && !level->wants_value)
        return stick(builder, diag_fail(SOMBRA_INVALID, "value: a key must come first in a map"));
    if (bytes > SOMBRA_VALUE_BYTES_MAX - builder->bytes.bytes)
        return stick(builder, too_long());
    sombra_err err = extend(&builder->bytes, bytes, out_at);
    if (err)
        return stick(builder, err);
    if (!level)
        builder->is_whole = true;
    else
        level_count(level);
    return SOMBRA_OK;
}

static sombra_err push_tag(sombra_value_builder *builder, uint8_t tag)
{
    uint8_t *at;
    sombra_err err = begin_value(builder, 1, &at);
    if (!err)
        *at = tag;
    return err;
}

sombra_err sombra_value_push_null(sombra_value_builder *builder)
{
    return push_tag(builder, VALUE_NULL);
}

sombra_err sombra_value_push_boolean(sombra_value_builder *builder, bool value)
{
    return push_tag(builder, value ? VALUE_TRUE : VALUE_FALSE);
}

/* Bytes that hold the number: the bits that differ from the sign, and the sign. */
static unsigned signed_bytes(int64_t value)
{
    uint64_t folded = (uint64_t)(value ^ (value >> 63));
    unsigned bits = folded ? 65 - (unsigned)__builtin_clzll(folded) : 1;
    return value == 0 ? 0 : (bits + 7) / 8;
}

static void signed_put(uint8_t *at, int64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)((uint64_t)value >> (8 * i));
}

size_t value_put_integer(uint8_t *to, int64_t value)
{
    if (value >= VALUE_INTEGER_SHORT_MIN && value <= VALUE_INTEGER_SHORT_MAX) {
        to[0] = (uint8_t)(VALUE_INTEGER_SHORT + (value >> 8));
        to[1] = (uint8_t)value;
        return 2;
    }
    unsigned bytes = signed_bytes(value);
    to[0] = (uint8_t)(VALUE_INTEGER + bytes);
    signed_put(to + 1, value, bytes);
    return 1 + bytes;
}

static sombra_err push_encoded(sombra_value_builder *builder, const uint8_t *encoded, size_t bytes)
{
    uint8_t *at;
    sombra_err err = begin_value(builder, bytes, &at);
    if (!err)
        memcpy(at, encoded, bytes);
    return err;
}

/* Integers are pushed many at a time: where nothing is in the way they are written in place. */
sombra_err sombra_value_push_integer(sombra_value_builder *builder, int64_t value)
{
    struct level *level = top(builder);
    struct buf *to = &builder->bytes;
    if (LIKELY(level && !builder->failed && level->is_map == level->wants_value &&
               to->capacity - to->bytes >= VALUE_NUMBER_BYTES_MAX &&
               to->bytes <= SOMBRA_VALUE_BYTES_MAX - VALUE_NUMBER_BYTES_MAX)) {
        to->bytes += value_put_integer(to->data + to->bytes, value);
        level_count(level);
        return SOMBRA_OK;
    }
    uint8_t encoded[VALUE_NUMBER_BYTES_MAX];
    return push_encoded(builder, encoded, value_put_integer(encoded, value));
}

static int64_t nearest(double magnitude)
{
    return (int64_t)(magnitude + 0.5);
}

/* The decimal of the fewest digits that is `value` to the bit: *out_number / 10^*out_digits.
 *
 * If v is the double nearest to n / 10^d and n < 2^47, then v * 10^d is off n by less than 2^-4, so
 * that rounding it finds n; and the same number with more digits, n * 10^k below 2^47, is found as
 * well. So one try with the most digits tells those that have no decimal. */
static bool find_decimal(double value, int64_t *out_number, unsigned *out_digits)
{
    const double *powers = value_powers_of_ten;
    double magnitude = fabs(value);
    uint64_t bits;
    if (value == 0) {
        *out_number = 0;
        *out_digits = 0;
        return !signbit(value);
    }
    if (!(magnitude < 0x1p47 && magnitude >= 1e-15))
        return false;
    memcpy(&bits, &magnitude, sizeof bits);
    int exponent = (int)(bits >> 52) - 1022; /* magnitude < 2^exponent */
    int most = (47 - exponent) * 77 / 256;   /* a little below log10(2) */
    most = most < VALUE_DECIMAL_DIGITS_MAX ? most : VALUE_DECIMAL_DIGITS_MAX;
    if ((double)nearest(magnitude * powers[most]) / powers[most] != magnitude)
        return false;
    unsigned digits = 0;
    while ((double)nearest(magnitude * powers[digits]) / powers[digits] != magnitude)
        digits++;
    assert(digits <= (unsigned)most);
    int64_t number = nearest(magnitude * powers[digits]);
    *out_number = value < 0 ? -number : number;
    *out_digits = digits;
    return true;
}

size_t value_put_float(uint8_t *to, double value)
{
    /* Only numbers: a NaN's payload would not survive, an infinity need not be short. */
    bool is_short = fabs(value) <= (double)FLT_MAX && (double)(float)value == value;
    size_t bytes = is_short ? 5 : VALUE_NUMBER_BYTES_MAX;
    int64_t number;
    unsigned digits;
    if (find_decimal(value, &number, &digits) && 1 + signed_bytes(number) < bytes) {
        unsigned number_bytes = signed_bytes(number);
        assert(number_bytes <= VALUE_DECIMAL_BYTES_MAX);
        to[0] = (uint8_t)(VALUE_DECIMAL | digits << 3 | number_bytes);
        signed_put(to + 1, number, number_bytes);
        return 1 + number_bytes;
    }
    if (is_short) {
        float real = (float)value;
        uint32_t bits;
        memcpy(&bits, &real, sizeof bits);
        to[0] = VALUE_FLOAT_4;
        put_le32(to + 1, bits);
    } else {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        to[0] = VALUE_FLOAT_8;
        put_le64(to + 1, bits);
    }
    return bytes;
}

sombra_err sombra_value_push_float(sombra_value_builder *builder, double value)
{
    uint8_t encoded[VALUE_NUMBER_BYTES_MAX];
    return push_encoded(builder, encoded, value_put_float(encoded, value));
}

size_t value_put_string(uint8_t *to, sombra_slice string)
{
    uint8_t *at = to;
    if (string.bytes <= VALUE_STRING_SHORT_MAX) {
        *at++ = (uint8_t)(VALUE_STRING + string.bytes);
    } else {
        *at = VALUE_STRING_LONG;
        at = varint_put(at + 1, string.bytes);
    }
    if (string.bytes)
        memcpy(at, string.data, string.bytes);
    return (size_t)(at - to) + string.bytes;
}

sombra_err sombra_value_push_string(sombra_value_builder *builder, const void *data, size_t bytes)
{
    assert(data || bytes == 0);
    uint8_t *at = NULL;
    if (bytes > SOMBRA_VALUE_BYTES_MAX)
        bytes = SOMBRA_VALUE_BYTES_MAX; /* begin_value refuses it, and the sum cannot wrap */
    sombra_err err = begin_value(builder, value_string_bytes(bytes), &at);
    if (!err)
        (void)value_put_string(at, slice_of(data, bytes));
    return err;
}

/* Containers of `encoded` may not end up deeper than the limit. */
static sombra_err check_encoded(sombra_slice encoded, unsigned depth)
{
    sombra_value value;
    sombra_err err = sombra_value_validate(encoded);
    if (err)
        return diag_fail(SOMBRA_INVALID, "%s", diag_text());
    err = sombra_value_decode(encoded, &value);
    assert(!err);
    if (value.kind != SOMBRA_LIST && value.kind != SOMBRA_MAP)
        return SOMBRA_OK;
    sombra_value_cursor levels[SOMBRA_VALUE_DEPTH_MAX];
    unsigned open = 0;
    value.depth = depth;
    if (depth < SOMBRA_VALUE_DEPTH_MAX)
        sombra_value_enter(&value, &levels[open++]);
    else
        err = SOMBRA_LIMIT;
    while (!err && open > 0) {
        bool found = false;
        err = sombra_value_next(&levels[open - 1], NULL, &value, &found);
        if (!err && !found)
            open--;
        else if (!err && (value.kind == SOMBRA_LIST || value.kind == SOMBRA_MAP))
            sombra_value_enter(&value, &levels[open++]);
    }
    /* The bytes are sound, so only the depth can fail. */
    return err ? diag_fail(SOMBRA_LIMIT, "value: nested more than %d deep", SOMBRA_VALUE_DEPTH_MAX)
               : SOMBRA_OK;
}

sombra_err sombra_value_push_encoded(sombra_value_builder *builder, sombra_slice encoded)
{
    uint8_t *at;
    if (builder->failed)
        return stuck(builder);
    sombra_err err = check_encoded(encoded, builder->open);
    if (err)
        return stick(builder, err);
    err = begin_value(builder, encoded.bytes, &at);
    if (!err)
        memcpy(at, encoded.data, encoded.bytes);
    return err;
}

static sombra_err begin_container(sombra_value_builder *builder, bool is_map)
{
    uint8_t *at;
    if (builder->failed)
        return stuck(builder);
    if (builder->open == SOMBRA_VALUE_DEPTH_MAX)
        return stick(builder, diag_fail(SOMBRA_LIMIT, "value: nested more than %d deep",
                                        SOMBRA_VALUE_DEPTH_MAX));
    size_t head = builder->bytes.bytes;
    sombra_err err = begin_value(builder, VALUE_HEAD_1, &at);
    if (err)
        return err;
    memset(at, 0, VALUE_HEAD_1);
    builder->levels[builder->open++] = (struct level){
        .head = head, .entries_first = builder->entry_count, .is_map = is_map, .is_ordered = true
    };
    return SOMBRA_OK;
}

sombra_err sombra_value_begin_list(sombra_value_builder *builder)
{
    return begin_container(builder, false);
}

sombra_err sombra_value_begin_map(sombra_value_builder *builder)
{
    return begin_container(builder, true);
}

/* Closes the top level: the body is complete behind the short head. */
static sombra_err end_container(sombra_value_builder *builder)
{
    struct level *level = top(builder);
    size_t body = builder->bytes.bytes - level->head - VALUE_HEAD_1;
    bool is_small = body <= VALUE_BODY_1_MAX;
    if (!is_small) {
        const size_t more = VALUE_HEAD_4 - VALUE_HEAD_1;
        uint8_t *unused;
        if (more > SOMBRA_VALUE_BYTES_MAX - builder->bytes.bytes)
            return stick(builder, too_long());
        sombra_err err = buf_extend(&builder->bytes, more, &unused);
        if (err)
            return stick(builder, err);
        uint8_t *from = builder->bytes.data + level->head + VALUE_HEAD_1;
        memmove(from + more, from, body);
    }
    uint8_t *at = builder->bytes.data + level->head;
    if (is_small) {
        at[0] = level->is_map ? VALUE_MAP_1 : VALUE_LIST_1;
        at[1] = (uint8_t)body;
        at[2] = (uint8_t)level->count;
    } else {
        at[0] = level->is_map ? VALUE_MAP_4 : VALUE_LIST_4;
        put_le32(at + 1, (uint32_t)body);
        put_le32(at + 5, level->count);
    }
    builder->open--;
    return SOMBRA_OK;
}

sombra_err sombra_value_end_list(sombra_value_builder *builder)
{
    struct level *level = top(builder);
    if (builder->failed)
        return stuck(builder);
    if (!level || level->is_map)
        return stick(builder, diag_fail(SOMBRA_INVALID, "value: no list is open here"));
    return end_container(builder);
}

static sombra_err entries_grow(sombra_value_builder *builder)
{
    size_t capacity = size_max(32, builder->entry_capacity * 2);
    struct entry *grown = mem_realloc(builder->entries, capacity * sizeof *grown);
    if (!grown)
        return diag_nomem("the keys of a map", capacity * sizeof *grown);
    builder->entries = grown;
    builder->entry_capacity = capacity;
    return SOMBRA_OK;
}

static sombra_slice entry_key(const struct entry *entry, const uint8_t *base)
{
    return slice_of(base + entry->offset + entry->key_offset, entry->key_bytes);
}

/* Is the newest key above the one before? Mostly their first bytes tell. */
static inline bool ascends(const sombra_value_builder *builder)
{
    const struct entry *last = &builder->entries[builder->entry_count - 1];
    sombra_slice before = entry_key(last - 1, builder->bytes.data);
    sombra_slice key = entry_key(last, builder->bytes.data);
    if (before.bytes && key.bytes) {
        uint8_t left = *(const uint8_t *)before.data, right = *(const uint8_t *)key.data;
        if (left != right)
            return left < right;
    }
    return slice_compare(before, key) < 0;
}

sombra_err sombra_value_push_key(sombra_value_builder *builder, const void *data, size_t bytes)
{
    struct level *level = top(builder);
    assert(data || bytes == 0);
    if (builder->failed)
        return stuck(builder);
    if (!level || !level->is_map || level->wants_value)
        return stick(builder, diag_fail(SOMBRA_INVALID, "value: no key can stand here"));
    size_t offset = builder->bytes.bytes;
    if (bytes > SOMBRA_VALUE_BYTES_MAX ||
        bytes + VARINT_BYTES_MAX > SOMBRA_VALUE_BYTES_MAX - offset)
        return stick(builder, too_long());
    bool is_short = LIKELY(bytes < 128); /* its length is one byte */
    size_t length_bytes = is_short ? 1 : varint_bytes(bytes);
    uint8_t *at;
    sombra_err err = extend(&builder->bytes, length_bytes + bytes, &at);
    if (!err && UNLIKELY(builder->entry_count == builder->entry_capacity))
        err = entries_grow(builder);
    if (err)
        return stick(builder, err);
    builder->entries[builder->entry_count++] =
        (struct entry){ .offset = (uint32_t)offset,
                        .key_bytes = (uint32_t)bytes,
                        .key_offset = (uint32_t)length_bytes };
    if (is_short)
        *at++ = (uint8_t)bytes;
    else
        at = varint_put(at, bytes);
    if (bytes)
        memcpy(at, data, bytes);
    if (level->count > 0 && level->is_ordered)
        level->is_ordered = ascends(builder);
    level->count++;
    level->wants_value = true;
    return SOMBRA_OK;
}

static int entry_order(const void *a, const void *b, void *base)
{
    return slice_compare(entry_key(a, base), entry_key(b, base));
}

/* By insertion for the usual handful. */
static void entries_sort(struct entry *entries, size_t count, uint8_t *base)
{
    if (count > 16) {
        qsort_r(entries, count, sizeof *entries, entry_order, base);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct entry moved = entries[i];
        size_t at = i;
        for (; at > 0 && entry_order(&entries[at - 1], &moved, base) > 0; at--)
            entries[at] = entries[at - 1];
        entries[at] = moved;
    }
}

/* Puts the entries of the top level in the order of their keys. */
static sombra_err order_map(sombra_value_builder *builder, const struct level *level)
{
    struct entry *entries = builder->entries + level->entries_first;
    size_t body = level->head + VALUE_HEAD_1;
    for (uint32_t i = 0; i < level->count; i++) {
        size_t end = i + 1 < level->count ? entries[i + 1].offset : builder->bytes.bytes;
        entries[i].bytes = (uint32_t)(end - entries[i].offset);
    }
    entries_sort(entries, level->count, builder->bytes.data);
    buf_reset(&builder->scratch);
    sombra_err err = buf_reserve(&builder->scratch, builder->bytes.bytes - body);
    for (uint32_t i = 0; !err && i < level->count; i++) {
        const uint8_t *from = builder->bytes.data + entries[i].offset;
        if (i > 0 && entry_order(&entries[i - 1], &entries[i], builder->bytes.data) == 0)
            return diag_fail(SOMBRA_INVALID, "value: a map has the key \"%.*s\" twice",
                             (int)size_min(entries[i].key_bytes, 100),
                             (const char *)from + entries[i].key_offset);
        err = buf_append(&builder->scratch, from, entries[i].bytes);
    }
    if (!err && builder->scratch.bytes)
        memcpy(builder->bytes.data + body, builder->scratch.data, builder->scratch.bytes);
    return err;
}

sombra_err sombra_value_end_map(sombra_value_builder *builder)
{
    struct level *level = top(builder);
    if (builder->failed)
        return stuck(builder);
    if (!level || !level->is_map || level->wants_value)
        return stick(builder, diag_fail(SOMBRA_INVALID, "value: no map can end here"));
    sombra_err err = level->is_ordered ? SOMBRA_OK : order_map(builder, level);
    if (err)
        return stick(builder, err);
    builder->entry_count = level->entries_first;
    return end_container(builder);
}

sombra_err sombra_value_finish(sombra_value_builder *builder, sombra_slice *out_encoded)
{
    assert(builder && out_encoded);
    if (builder->failed)
        return stuck(builder);
    if (builder->open > 0 || !builder->is_whole)
        return diag_fail(SOMBRA_INVALID, builder->open ? "value: a list or map is still open"
                                                       : "value: nothing was pushed");
    *out_encoded = buf_slice(&builder->bytes);
    return SOMBRA_OK;
}

/* ---- canonical bytes --------------------------------------------------------------------- */

static bool number_is_canonical(const sombra_value *value, sombra_slice encoded)
{
    uint8_t wanted[VALUE_NUMBER_BYTES_MAX];
    size_t bytes = value->kind == SOMBRA_FLOAT ? value_put_float(wanted, value->as.real)
                                               : value_put_integer(wanted, value->as.integer);
    return slice_equal(slice_of(wanted, bytes), encoded);
}

static sombra_err find_old_number(sombra_slice encoded, bool *out_found)
{
    sombra_value_cursor levels[SOMBRA_VALUE_DEPTH_MAX];
    unsigned open = 0;
    sombra_value value;
    bool is_old = false;
    sombra_err err = sombra_value_decode(encoded, &value);
    for (bool found = true; !err && !is_old;) {
        if (found && (value.kind == SOMBRA_FLOAT || value.kind == SOMBRA_INTEGER))
            is_old = !number_is_canonical(&value, encoded);
        else if (found && (value.kind == SOMBRA_LIST || value.kind == SOMBRA_MAP))
            sombra_value_enter(&value, &levels[open++]);
        else if (!found)
            open--;
        if (open == 0)
            break;
        err = value_next_encoded(&levels[open - 1], NULL, &encoded, &found);
        if (!err && found)
            err = sombra_value_decode(encoded, &value);
        value.depth = open;
    }
    if (!err)
        *out_found = is_old;
    return err;
}

/* Pushes the value, which is sound, element by element. */
static sombra_err push_again(sombra_value_builder *builder, sombra_slice encoded)
{
    sombra_value_cursor levels[SOMBRA_VALUE_DEPTH_MAX];
    unsigned open = 0;
    sombra_value value;
    sombra_err err = sombra_value_decode(encoded, &value);
    for (bool found = true; !err;) {
        bool is_map = found ? value.kind == SOMBRA_MAP : levels[open - 1].is_map;
        if (found && value.kind == SOMBRA_FLOAT) {
            (void)sombra_value_push_float(builder, value.as.real);
        } else if (found && value.kind == SOMBRA_INTEGER) {
            (void)sombra_value_push_integer(builder, value.as.integer);
        } else if (found && (is_map || value.kind == SOMBRA_LIST)) {
            (void)(is_map ? sombra_value_begin_map(builder) : sombra_value_begin_list(builder));
            sombra_value_enter(&value, &levels[open++]);
        } else if (found) {
            (void)sombra_value_push_encoded(builder, encoded);
        } else {
            (void)(is_map ? sombra_value_end_map(builder) : sombra_value_end_list(builder));
            open--;
        }
        if (open == 0)
            break;
        sombra_slice key;
        err = value_next_encoded(&levels[open - 1], &key, &encoded, &found);
        if (!err && found) {
            err = sombra_value_decode(encoded, &value);
            value.depth = open;
            if (levels[open - 1].is_map)
                (void)sombra_value_push_key(builder, key.data, key.bytes);
        }
    }
    return err;
}

sombra_err value_canonical(sombra_value_builder *builder, sombra_slice encoded,
                           sombra_slice *out_encoded)
{
    bool has_old = false;
    sombra_err err = find_old_number(encoded, &has_old);
    if (!err && has_old) {
        sombra_value_builder_reset(builder);
        err = push_again(builder, encoded);
        if (!err)
            err = sombra_value_finish(builder, &encoded);
    }
    if (!err)
        *out_encoded = encoded;
    return err;
}
