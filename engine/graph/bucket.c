/* SPDX-License-Identifier: MIT */
#include "graph_internal.h"

#include <stdlib.h>

#define INTERNAL_PREFIX "sombra."

/* ---- buckets ----------------------------------------------------------------------------- */

static sombra_err check_name(sombra_slice name, bool is_internal)
{
    sombra_slice internal = slice_str(INTERNAL_PREFIX);
    if (name.bytes == 0 || name.bytes > SOMBRA_NAME_BYTES_MAX)
        return diag_fail(name.bytes ? SOMBRA_LIMIT : SOMBRA_INVALID,
                         "the name of a bucket has %zu bytes; give 1 to %d", name.bytes,
                         SOMBRA_NAME_BYTES_MAX);
    if (slice_has_prefix(name, internal) != is_internal)
        return diag_fail(SOMBRA_INVALID,
                         is_internal ? "an internal bucket's name begins with \"%s\""
                                     : "names of buckets that begin with \"%s\" are reserved",
                         INTERNAL_PREFIX);
    return SOMBRA_OK;
}

static size_t name_key(sombra_slice name, uint8_t *to)
{
    to[0] = TAG_BUCKET_BY_NAME;
    memcpy(to + 1, name.data, name.bytes);
    return 1 + name.bytes;
}

static sombra_err read_id(sombra_slice value, sombra_bucket_id *out_bucket)
{
    uint64_t id = 0;
    const uint8_t *at = value.data, *end = at + value.bytes;
    if (!at || varint_get(at, end, &id) != end || id == 0)
        return diag_fail(SOMBRA_CORRUPT, "the id of a bucket is damaged");
    *out_bucket = id;
    return SOMBRA_OK;
}

static sombra_err make(struct graph_txn *txn, sombra_slice name, sombra_bucket_id *out_bucket)
{
    uint8_t by_name[1 + SOMBRA_NAME_BYTES_MAX], value[VARINT_BYTES_MAX];
    sombra_bucket_id bucket = 0;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = txn_take_id(&txn->next_bucket, "buckets", &bucket);
    if (err)
        return err;
    struct graph_key by_id = key_1(TAG_BUCKET, bucket);
    size_t value_bytes = (size_t)(varint_put(value, bucket) - value);
    txn_note_plain_write(txn);
    txn->counters_dirty = true;
    err = kv_put(txn->kv, slice_of(by_name, name_key(name, by_name)), slice_of(value, value_bytes));
    if (!err)
        err = kv_put(txn->kv, key_slice(&by_id), name);
    if (err)
        return txn_break(txn, err);
    *out_bucket = bucket;
    return SOMBRA_OK;
}

sombra_err graph_bucket_open(struct graph_txn *txn, sombra_slice name,
                             const sombra_bucket_options *options, sombra_bucket_id *out_bucket)
{
    uint8_t key[1 + SOMBRA_NAME_BYTES_MAX];
    sombra_slice value;
    sombra_bucket_id bucket = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = check_name(name, options->is_internal);
    if (!err)
        err = kv_get(txn->kv, slice_of(key, name_key(name, key)), &value);
    if (!err && options->must_create)
        return diag_fail(SOMBRA_EXISTS, "bucket \"%.*s\" exists already", (int)name.bytes,
                         (const char *)name.data);
    if (!err)
        err = read_id(value, &bucket);
    else if (err == SOMBRA_NOT_FOUND && (options->create || options->must_create))
        err = make(txn, name, &bucket);
    else if (err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_NOT_FOUND, "there is no bucket \"%.*s\"", (int)name.bytes,
                         (const char *)name.data);
    if (err)
        return diag_wrap(err, "open bucket \"%.*s\"", (int)name.bytes, (const char *)name.data);
    txn->known_bucket = bucket;
    *out_bucket = bucket;
    return SOMBRA_OK;
}

sombra_err bucket_check(struct graph_txn *txn, sombra_bucket_id bucket)
{
    struct graph_key key = key_1(TAG_BUCKET, bucket);
    bool exists = false;
    if (LIKELY(bucket == txn->known_bucket && bucket != 0))
        return SOMBRA_OK;
    sombra_err err = txn_has(txn, &key, &exists);
    if (!err && !exists)
        err = diag_fail(SOMBRA_NOT_FOUND, "there is no bucket %" PRIu64 " (any more)", bucket);
    if (!err)
        txn->known_bucket = bucket;
    return err;
}

sombra_err graph_bucket_next(struct graph_txn *txn, sombra_slice after, sombra_slice *out_name,
                             sombra_bucket_id *out_bucket, bool *out_found)
{
    struct graph_key prefix = key_begin(TAG_BUCKET_BY_NAME);
    struct key_span span;
    struct kv_cursor *cursor;
    bool found = false;
    uint8_t from[1 + SOMBRA_NAME_BYTES_MAX + 1];
    sombra_bucket_id bucket = 0;
    sombra_slice name = { NULL, 0 };
    sombra_err err = txn_check_read(txn);
    if (!err && after.bytes > SOMBRA_NAME_BYTES_MAX)
        err = diag_fail(SOMBRA_LIMIT, "the name of a bucket has %zu bytes", after.bytes);
    if (err)
        return err;
    struct kv_range range = span_of(&prefix, &span);
    if (after.bytes) {
        size_t bytes = name_key(after, from);
        from[bytes++] = 0;
        range.low = slice_of(from, bytes);
    }
    err = kv_cursor_open(txn->kv, range, &cursor);
    if (err)
        return err;
    err = kv_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found);
    if (!err && found)
        err = read_id(cursor->entry.value, &bucket);
    if (!err && found)
        err = txn_lend(txn, slice_from(cursor->entry.key, 1), &name);
    kv_cursor_close(cursor);
    if (err)
        return err;
    if (found) {
        *out_name = name;
        *out_bucket = bucket;
    }
    *out_found = found;
    return SOMBRA_OK;
}

sombra_err graph_bucket_drop(struct graph_txn *txn, sombra_bucket_id bucket)
{
    struct graph_key entries = key_of_bucket(bucket), by_id = key_1(TAG_BUCKET, bucket);
    struct key_span span;
    uint8_t by_name[1 + SOMBRA_NAME_BYTES_MAX];
    size_t by_name_bytes = 0;
    sombra_slice name;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = kv_get(txn->kv, key_slice(&by_id), &name);
    if (err == SOMBRA_NOT_FOUND)
        return diag_fail(SOMBRA_NOT_FOUND, "there is no bucket %" PRIu64, bucket);
    if (!err && (name.bytes == 0 || name.bytes > SOMBRA_NAME_BYTES_MAX))
        err = diag_fail(SOMBRA_CORRUPT, "the name of bucket %" PRIu64 " has %zu bytes", bucket,
                        name.bytes);
    if (err)
        return err;
    by_name_bytes = name_key(name, by_name);
    txn_note_plain_write(txn);
    txn->known_bucket = 0;
    err = kv_delete_range(txn->kv, span_of(&entries, &span), NULL);
    if (!err)
        err = kv_delete(txn->kv, slice_of(by_name, by_name_bytes));
    if (!err)
        err = kv_delete(txn->kv, key_slice(&by_id));
    return err ? diag_wrap(txn_break(txn, err), "drop bucket %" PRIu64, bucket) : SOMBRA_OK;
}

/* ---- entries ----------------------------------------------------------------------------- */

sombra_err graph_bucket_get(struct graph_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                            sombra_slice *out_value)
{
    struct entry_key at;
    sombra_slice value;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_key_of(bucket, key, &at);
    if (!err)
        err = kv_get(txn->kv, slice_of(at.bytes, at.length), &value);
    return err ? err : txn_lend_value(txn, value, out_value);
}

struct wanted {
    const sombra_key *key;
    size_t index; /* where it stands in the caller's list */
    size_t offset, bytes;
    bool is_there;
};

static int wanted_compare(const void *a, const void *b)
{
    const sombra_key *left = ((const struct wanted *)a)->key,
                     *right = ((const struct wanted *)b)->key;
    if (left->is_integer != right->is_integer)
        return left->is_integer ? -1 : 1;
    if (left->is_integer)
        return (left->integer > right->integer) - (left->integer < right->integer);
    return slice_compare(left->string, right->string);
}

/* Values are gathered in the transaction's memory, by offsets: it moves as it grows. */
static sombra_err wanted_read(struct graph_txn *txn, sombra_bucket_id bucket,
                              struct kv_cursor *cursor, struct wanted *wanted, size_t count)
{
    struct entry_key at;
    for (size_t i = 0; i < count; i++) {
        struct wanted *one = &wanted[i];
        bool found = false;
        if (i > 0 && wanted_compare(&wanted[i - 1], one) == 0) {
            one->offset = wanted[i - 1].offset;
            one->bytes = wanted[i - 1].bytes;
            one->is_there = wanted[i - 1].is_there;
            continue;
        }
        sombra_err err = entry_key_of(bucket, one->key, &at);
        sombra_slice key = slice_of(at.bytes, at.length);
        if (!err)
            err = kv_cursor_move(cursor, KV_SEEK_GE, key, &found);
        one->is_there = !err && found && slice_equal(cursor->entry.key, key);
        one->offset = txn->read.bytes;
        one->bytes = one->is_there ? cursor->entry.value.bytes : 0;
        if (one->is_there)
            err = buf_append_slice(&txn->read, cursor->entry.value);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

sombra_err graph_bucket_get_many(struct graph_txn *txn, sombra_bucket_id bucket,
                                 const sombra_key *keys, size_t count, sombra_slice *out_values)
{
    struct graph_key prefix = key_1(TAG_ENTRY, bucket);
    struct key_span span;
    struct kv_cursor *cursor;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (err || count == 0)
        return err;
    struct wanted *wanted =
        count <= SIZE_MAX / sizeof *wanted ? mem_zalloc(count * sizeof *wanted) : NULL;
    if (!wanted)
        return diag_nomem("a list of keys", count);
    for (size_t i = 0; i < count; i++) {
        wanted[i].key = &keys[i];
        wanted[i].index = i;
    }
    qsort(wanted, count, sizeof *wanted, wanted_compare);
    err = kv_cursor_open(txn->kv, span_of(&prefix, &span), &cursor);
    if (!err) {
        txn->lent++;
        buf_reset(&txn->read);
        err = wanted_read(txn, bucket, cursor, wanted, count);
        kv_cursor_close(cursor);
    }
    for (size_t i = 0; i < count && !err; i++)
        out_values[wanted[i].index] =
            wanted[i].is_there ? slice_of(txn->read.data + wanted[i].offset, wanted[i].bytes)
                               : slice_of(NULL, 0);
    mem_free(wanted);
    return err;
}

/* A write of one key: what fails with these codes leaves the store's transaction unusable. */
static sombra_err break_if_fatal(struct graph_txn *txn, sombra_err err)
{
    bool is_fatal = err == SOMBRA_IO || err == SOMBRA_NOMEM || err == SOMBRA_CORRUPT;
    return is_fatal ? txn_break(txn, err) : err;
}

sombra_err graph_bucket_put(struct graph_txn *txn, sombra_bucket_id bucket, const sombra_key *key,
                            sombra_slice value)
{
    struct entry_key at;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_key_of(bucket, key, &at);
    if (!err && sombra_value_validate(value))
        err = diag_wrap(diag_fail(SOMBRA_INVALID, "%s", diag_text()), "not an encoded value");
    if (!err && value.bytes > SOMBRA_VALUE_BYTES_MAX)
        err = diag_fail(SOMBRA_LIMIT, "a value of %zu bytes; at most %d", value.bytes,
                        SOMBRA_VALUE_BYTES_MAX);
    if (err)
        return err;
    txn_note_plain_write(txn);
    return break_if_fatal(txn, kv_put(txn->kv, slice_of(at.bytes, at.length), value));
}

sombra_err graph_bucket_delete(struct graph_txn *txn, sombra_bucket_id bucket,
                               const sombra_key *key, bool *out_deleted)
{
    struct entry_key at;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_key_of(bucket, key, &at);
    if (err)
        return err;
    txn_note_plain_write(txn);
    err = kv_delete(txn->kv, slice_of(at.bytes, at.length));
    if (err && err != SOMBRA_NOT_FOUND)
        return break_if_fatal(txn, err);
    if (out_deleted)
        *out_deleted = err == SOMBRA_OK;
    return SOMBRA_OK;
}

sombra_err graph_bucket_count(struct graph_txn *txn, sombra_bucket_id bucket,
                              const sombra_key_range *range, uint64_t *out_count)
{
    struct entry_key low, high;
    bool is_empty = false;
    uint64_t count = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_range(bucket, range, &low, &high, &is_empty);
    if (!err && !is_empty)
        err = kv_count(
            txn->kv,
            (struct kv_range){ slice_of(low.bytes, low.length), slice_of(high.bytes, high.length) },
            range->limit, &count);
    if (err)
        return err;
    *out_count = range->limit ? u64_min(count, range->limit) : count;
    return SOMBRA_OK;
}

sombra_err graph_bucket_delete_range(struct graph_txn *txn, sombra_bucket_id bucket,
                                     const sombra_key_range *range, uint64_t *out_deleted)
{
    struct entry_key low, high;
    bool is_empty = false;
    uint64_t deleted = 0;
    sombra_err err = txn_check_write(txn);
    if (!err && range->limit)
        err = diag_fail(SOMBRA_INVALID, "deleting a range takes no limit");
    if (!err)
        err = bucket_check(txn, bucket);
    if (!err)
        err = entry_range(bucket, range, &low, &high, &is_empty);
    if (err)
        return err;
    struct kv_range keys = { slice_of(low.bytes, low.length), slice_of(high.bytes, high.length) };
    txn_note_plain_write(txn);
    if (!is_empty)
        err = break_if_fatal(txn, kv_delete_range(txn->kv, keys, &deleted));
    if (!err && out_deleted)
        *out_deleted = deleted;
    return err;
}
