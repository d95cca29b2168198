/* SPDX-License-Identifier: MIT */
/* Keys of bucket entries as bytes whose order is the order of the keys (graph_format.h). */
#include "graph_internal.h"

static uint8_t *put_integer(uint8_t *at, int64_t integer)
{
    uint64_t bits = (uint64_t)integer;
    uint64_t magnitude = integer < 0 ? ~bits : bits; /* below zero: -1 has 0, in one byte */
    unsigned bytes = magnitude ? (71 - (unsigned)__builtin_clzll(magnitude)) / 8 : integer < 0;
    *at++ = (uint8_t)(integer < 0 ? ENTRY_ZERO - bytes : ENTRY_ZERO + bytes);
    for (unsigned left = bytes; left > 0; left--)
        *at++ = (uint8_t)(bits >> (8 * (left - 1)));
    return at;
}

sombra_err entry_key_of(sombra_bucket_id bucket, const sombra_key *key, struct entry_key *out)
{
    assert(key);
    uint8_t *at = out->bytes;
    *at++ = TAG_ENTRY;
    at = ordered_put(at, bucket);
    if (key->is_integer) {
        at = put_integer(at, key->integer);
    } else {
        if (key->string.bytes > SOMBRA_KEY_BYTES_MAX)
            return diag_fail(SOMBRA_LIMIT, "a key of %zu bytes; at most %d", key->string.bytes,
                             SOMBRA_KEY_BYTES_MAX);
        *at++ = ENTRY_STRING;
        if (key->string.bytes)
            memcpy(at, key->string.data, key->string.bytes);
        at += key->string.bytes;
    }
    out->length = (size_t)(at - out->bytes);
    assert(out->length <= ENTRY_KEY_BYTES_MAX);
    return SOMBRA_OK;
}

sombra_err entry_key_read(sombra_slice bytes, sombra_key *out_key)
{
    const uint8_t *at = bytes.data;
    if (bytes.bytes == 0)
        return corrupt_key(bytes, "entry of a bucket");
    unsigned head = *at++;
    if (head == ENTRY_STRING) {
        *out_key = sombra_key_string(at, bytes.bytes - 1);
        return SOMBRA_OK;
    }
    if (head < ENTRY_ZERO - 8 || head > ENTRY_ZERO + 8)
        return corrupt_key(bytes, "entry of a bucket");
    unsigned count = head < ENTRY_ZERO ? ENTRY_ZERO - head : head - ENTRY_ZERO;
    uint64_t bits = head < ENTRY_ZERO ? UINT64_MAX : 0;
    if (bytes.bytes - 1 != count)
        return corrupt_key(bytes, "entry of a bucket");
    for (unsigned i = 0; i < count; i++)
        bits = bits << 8 | at[i];
    *out_key = sombra_key_integer((int64_t)bits);
    return SOMBRA_OK;
}

/* Raises *low to at least `key`, or above it when `above`. The smallest key above another one is
 * itself and a zero byte. */
static void bound_low(struct entry_key *low, const struct entry_key *key, bool above)
{
    struct entry_key at = *key;
    if (above)
        at.bytes[at.length++] = 0;
    if (slice_compare(slice_of(at.bytes, at.length), slice_of(low->bytes, low->length)) > 0)
        *low = at;
}

/* Lowers *high, the first key that does not belong. */
static void bound_high(struct entry_key *high, const struct entry_key *key, bool belongs)
{
    struct entry_key at = *key;
    if (belongs)
        at.bytes[at.length++] = 0;
    if (slice_compare(slice_of(at.bytes, at.length), slice_of(high->bytes, high->length)) < 0)
        *high = at;
}

static sombra_err whole_bucket(sombra_bucket_id bucket, struct entry_key *low,
                               struct entry_key *high)
{
    struct graph_key prefix = key_of_bucket(bucket);
    memcpy(low->bytes, prefix.bytes, prefix.length);
    low->length = prefix.length;
    high->length = kv_prefix_end(key_slice(&prefix), high->bytes).bytes;
    assert(high->length > 0); /* the tag is not ff */
    return SOMBRA_OK;
}

static sombra_err bound_prefix(sombra_bucket_id bucket, sombra_slice prefix, struct entry_key *low,
                               struct entry_key *high)
{
    struct entry_key from, to;
    sombra_key key = sombra_key_string(prefix.data, prefix.bytes);
    sombra_err err = entry_key_of(bucket, &key, &from);
    if (err)
        return err;
    to.length = kv_prefix_end(slice_of(from.bytes, from.length), to.bytes).bytes;
    bound_low(low, &from, false);
    bound_high(high, &to, false);
    return SOMBRA_OK;
}

sombra_err entry_range(sombra_bucket_id bucket, const sombra_key_range *range,
                       struct entry_key *low, struct entry_key *high, bool *out_is_empty)
{
    struct entry_key key;
    sombra_err err = whole_bucket(bucket, low, high);
    if ((range->ge && range->gt) || (range->le && range->lt))
        return diag_fail(SOMBRA_INVALID, "give one of ge and gt, and one of le and lt");
    if (!err && (range->ge || range->gt)) {
        err = entry_key_of(bucket, range->ge ? range->ge : range->gt, &key);
        if (!err)
            bound_low(low, &key, range->gt != NULL);
    }
    if (!err && (range->le || range->lt)) {
        err = entry_key_of(bucket, range->le ? range->le : range->lt, &key);
        if (!err)
            bound_high(high, &key, range->le != NULL);
    }
    if (!err && range->prefix.bytes)
        err = bound_prefix(bucket, range->prefix, low, high);
    if (!err)
        *out_is_empty = slice_compare(slice_of(low->bytes, low->length),
                                      slice_of(high->bytes, high->length)) >= 0;
    return err;
}
