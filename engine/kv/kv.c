/* SPDX-License-Identifier: MIT */
#include "kv.h"

#include <assert.h>
#include <inttypes.h>

sombra_slice kv_prefix_end(sombra_slice prefix, uint8_t *to)
{
    assert(prefix.bytes <= KV_KEY_BYTES_MAX);
    assert(to);
    const uint8_t *from = prefix.data;
    size_t bytes = prefix.bytes;
    while (bytes > 0 && from[bytes - 1] == 0xff)
        bytes--;
    if (bytes == 0)
        return slice_of(NULL, 0);
    memmove(to, from, bytes); /* the caller may raise a prefix in place */
    to[bytes - 1]++;
    return slice_of(to, bytes);
}

sombra_err kv_check_key(sombra_slice key)
{
    if (key.bytes == 0)
        return diag_fail(SOMBRA_INVALID, "key is empty: keys have 1 to %d bytes", KV_KEY_BYTES_MAX);
    if (key.bytes > KV_KEY_BYTES_MAX)
        return diag_fail(SOMBRA_INVALID, "key of %zu bytes is too long: keys have 1 to %d bytes",
                         key.bytes, KV_KEY_BYTES_MAX);
    assert(key.data);
    return SOMBRA_OK;
}

sombra_err kv_check_value(sombra_slice value)
{
    if (value.bytes > KV_VALUE_BYTES_MAX)
        return diag_fail(SOMBRA_INVALID,
                         "value of %zu bytes is too large: values have 0 to %d bytes", value.bytes,
                         KV_VALUE_BYTES_MAX);
    assert(value.data || value.bytes == 0);
    return SOMBRA_OK;
}

sombra_err kv_get_many(struct kv_txn *txn, const sombra_slice *keys, size_t count, kv_value_fn each,
                       void *context)
{
    assert(each && (keys || count == 0));
    if (txn->ops->get_many)
        return txn->ops->get_many(txn, keys, count, each, context);
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < count; i++) {
        sombra_slice value;
        err = txn->ops->get(txn, keys[i], &value);
        if (!err || err == SOMBRA_NOT_FOUND)
            err = each(context, i, err ? NULL : &value);
    }
    return err;
}

sombra_err kv_cursor_words(struct kv_cursor *cursor, struct kv_words *words)
{
    const sombra_slice within = words->within;
    assert(within.bytes > 0 && within.bytes <= KV_KEY_BYTES_MAX && words->capacity > 0);
    if (cursor->ops->cursor_words)
        return cursor->ops->cursor_words(cursor, words);
    bool found = false;
    size_t count = 0;
    words->count = 0;
    words->is_last = words->is_long = false;
    sombra_err err = words->seeks ? kv_cursor_move(cursor, KV_SEEK_GE, within, &found)
                                  : kv_cursor_move(cursor, KV_NEXT, within, &found);
    for (;; err = kv_cursor_move(cursor, KV_NEXT, within, &found)) {
        if (err)
            return err;
        if (!found || !slice_has_prefix(cursor->entry.key, within)) {
            words->is_last = true;
            break;
        }
        sombra_slice rest = slice_from(cursor->entry.key, within.bytes);
        words->is_long = rest.bytes > KV_WORD_BYTES;
        if (words->is_long || count == words->capacity)
            break;
        uint8_t word[KV_WORD_BYTES] = { 0 };
        if (rest.bytes)
            memcpy(word, rest.data, rest.bytes);
        words->words[count] = get_be64(word);
        words->bytes[count++] = (uint8_t)rest.bytes;
    }
    words->count = count;
    /* Back to where the next one is found by a step. */
    bool is_ahead = !words->is_last && (count > 0 || !words->seeks);
    return is_ahead ? kv_cursor_move(cursor, KV_PREVIOUS, within, &found) : SOMBRA_OK;
}

sombra_err kv_check_range(struct kv_range range)
{
    size_t bytes = size_max(range.low.bytes, range.high.bytes);
    if (bytes > KV_KEY_BYTES_MAX)
        return diag_fail(SOMBRA_INVALID, "a range bound of %zu bytes: keys have at most %d", bytes,
                         KV_KEY_BYTES_MAX);
    return SOMBRA_OK;
}

sombra_err kv_bounds_set(struct kv_bounds *bounds, struct kv_range range)
{
    sombra_err err = kv_check_range(range);
    if (err)
        return err;
    bounds->low_bytes = range.low.bytes;
    bounds->high_bytes = range.high.bytes;
    if (range.low.bytes)
        memcpy(bounds->low, range.low.data, range.low.bytes);
    if (range.high.bytes)
        memcpy(bounds->high, range.high.data, range.high.bytes);
    return SOMBRA_OK;
}

/* Before the first of them is put. */
static sombra_err entries_check(const struct kv_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sombra_err err = kv_check_key(entries[i].key);
        if (!err)
            err = kv_check_value(entries[i].value);
        if (!err && i > 0 && slice_compare(entries[i - 1].key, entries[i].key) >= 0)
            err = diag_fail(SOMBRA_INVALID, "its key is not above the one before");
        if (err)
            return diag_wrap(err, "entry %zu of %zu", i + 1, count);
    }
    return SOMBRA_OK;
}

sombra_err kv_put_many(struct kv_txn *txn, const struct kv_entry *entries, size_t count)
{
    assert(entries || count == 0);
    sombra_err err = entries_check(entries, count);
    if (!err && txn->ops->put_many)
        return txn->ops->put_many(txn, entries, count);
    for (size_t i = 0; !err && i < count; i++)
        err = kv_put(txn, entries[i].key, entries[i].value);
    return err;
}
