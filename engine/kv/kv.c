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
