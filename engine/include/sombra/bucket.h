/* SPDX-License-Identifier: MIT */
/* bucket: named, ordered key-value maps in the same transactions as the graph.
 *
 * A key is a 64-bit integer or a string of 0 to SOMBRA_KEY_BYTES_MAX bytes. Integers come before
 * strings; integers are in numeric order, strings in byte order. A value is any encoded value
 * (value.h), null included.
 *
 * A bucket is known by its id, a number that is never used twice; it is good for as long as the
 * bucket exists, in any transaction. Names are 1 to SOMBRA_NAME_BYTES_MAX bytes; those that begin
 * with "sombra." are the library's own and are reached only with `is_internal`.
 *
 * Errors common to all: INVALID (over, wrong argument), NOT_FOUND (no such bucket), CORRUPT, IO,
 * NOMEM; for writes READONLY and LIMIT.
 */
#ifndef SOMBRA_BUCKET_H
#define SOMBRA_BUCKET_H

#include "db.h"
#include "value.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SOMBRA_KEY_BYTES_MAX = 1000 };

typedef uint64_t sombra_bucket_id; /* 0 = none */

typedef struct sombra_key {
    bool is_integer;
    int64_t integer;     /* if is_integer */
    sombra_slice string; /* else */
} sombra_key;

static inline sombra_key sombra_key_integer(int64_t integer)
{
    sombra_key key = { true, integer, { NULL, 0 } };
    return key;
}
static inline sombra_key sombra_key_string(const void *data, size_t bytes)
{
    sombra_key key = { false, 0, { data, bytes } };
    return key;
}

/* ---- buckets ----------------------------------------------------------------------------- */

typedef struct sombra_bucket_options {
    size_t struct_bytes;
    bool create;      /* make it if it is missing */
    bool must_create; /* EXISTS if it is there */
    bool is_internal; /* the name begins with "sombra." */
} sombra_bucket_options;

#define SOMBRA_BUCKET_OPTIONS_INIT                    \
    {                                                 \
        .struct_bytes = sizeof(sombra_bucket_options) \
    }

/* `options` may be NULL. NOT_FOUND, EXISTS. */
SOMBRA_API sombra_err sombra_bucket_open(sombra_txn *txn, sombra_slice name,
                                         const sombra_bucket_options *options,
                                         sombra_bucket_id *out_bucket) SOMBRA_MUST_CHECK;
/* The bucket whose name follows `after` (empty = the first) in byte order, internal ones
 * too. *out_name lives until the next read on the transaction. *out_found false = no more. */
SOMBRA_API sombra_err sombra_bucket_next(sombra_txn *txn, sombra_slice after,
                                         sombra_slice *out_name, sombra_bucket_id *out_bucket,
                                         bool *out_found) SOMBRA_MUST_CHECK;
/* Removes the bucket and all that is in it. */
SOMBRA_API sombra_err sombra_bucket_drop(sombra_txn *txn,
                                         sombra_bucket_id bucket) SOMBRA_MUST_CHECK;

/* ---- entries ----------------------------------------------------------------------------- */

/* NOT_FOUND, without a text. The value lives until the next read on the transaction; writes do not
 * disturb it. */
SOMBRA_API sombra_err sombra_bucket_get(sombra_txn *txn, sombra_bucket_id bucket,
                                        const sombra_key *key,
                                        sombra_slice *out_value) SOMBRA_MUST_CHECK;
/* The values of `count` keys in one sweep over the bucket, whatever their order: out_values[i] is
 * that of keys[i], and its data NULL where the key is not there. All live until the next read on
 * the transaction; writes do not disturb them. */
SOMBRA_API sombra_err sombra_bucket_get_many(sombra_txn *txn, sombra_bucket_id bucket,
                                             const sombra_key *keys, size_t count,
                                             sombra_slice *out_values) SOMBRA_MUST_CHECK;
/* Inserts or replaces. INVALID if `value` is not a sound encoded value; LIMIT. */
SOMBRA_API sombra_err sombra_bucket_put(sombra_txn *txn, sombra_bucket_id bucket,
                                        const sombra_key *key,
                                        sombra_slice value) SOMBRA_MUST_CHECK;
/* *out_deleted (may be NULL) is false if it was not there, which is no error. */
SOMBRA_API sombra_err sombra_bucket_delete(sombra_txn *txn, sombra_bucket_id bucket,
                                           const sombra_key *key,
                                           bool *out_deleted) SOMBRA_MUST_CHECK;

/* Bounds and prefix hold together; a range that holds nothing is no error. Of ge and gt, and of le
 * and lt, at most one may be set. */
typedef struct sombra_key_range {
    size_t struct_bytes;
    const sombra_key *ge; /* NULL = no such bound */
    const sombra_key *gt;
    const sombra_key *le;
    const sombra_key *lt;
    sombra_slice prefix; /* string keys only that begin with it; empty = no prefix */
    uint64_t limit;      /* scan: 0 = none; count: stop there; delete_range: must be 0 */
    bool reverse;        /* scan: highest first */
} sombra_key_range;

#define SOMBRA_KEY_RANGE_INIT                    \
    {                                            \
        .struct_bytes = sizeof(sombra_key_range) \
    }

/* `range` NULL is the whole bucket, in both. Exact; O(log n) on btree, O(n) on lsm. */
SOMBRA_API sombra_err sombra_bucket_count(sombra_txn *txn, sombra_bucket_id bucket,
                                          const sombra_key_range *range,
                                          uint64_t *out_count) SOMBRA_MUST_CHECK;
/* *out_deleted may be NULL. */
SOMBRA_API sombra_err sombra_bucket_delete_range(sombra_txn *txn, sombra_bucket_id bucket,
                                                 const sombra_key_range *range,
                                                 uint64_t *out_deleted) SOMBRA_MUST_CHECK;

typedef struct sombra_scan sombra_scan;

/* Copies the range. Freed by sombra_scan_close. */
SOMBRA_API sombra_err sombra_scan_open(sombra_txn *txn, sombra_bucket_id bucket,
                                       const sombra_key_range *range,
                                       sombra_scan **out_scan) SOMBRA_MUST_CHECK;
/* The next entry; *out_found false = no more. Key and value live until the next call on this scan
 * or the next write in the transaction; after a write the scan goes on behind the last key it
 * gave, and sees what was written. */
SOMBRA_API sombra_err sombra_scan_next(sombra_scan *scan, sombra_key *out_key,
                                       sombra_slice *out_value, bool *out_found) SOMBRA_MUST_CHECK;
SOMBRA_API void sombra_scan_close(sombra_scan *scan); /* NULL is a no-op */

#ifdef __cplusplus
}
#endif

#endif
