/* SPDX-License-Identifier: MIT */
/* source: a sorted stream of entries, and what a merge wants of it. Memtables, runs of tables and
 * merges are sources.
 *
 * A source holds each key once: a put or a delete (a tombstone). Sources have an age order; a newer
 * one's entry for a key hides the older ones'. Beside its entries a source may hide whole ranges of
 * keys in all OLDER sources (range tombstones); its own entries are never hidden by its own ranges.
 *
 * Ownership: a source belongs to who made it; its bytes (entries) live until it moves or closes.
 * What it reads (memtable, tables) is kept alive by its maker.
 * Threads: one at a time.
 */
#ifndef LSM_SOURCE_H
#define LSM_SOURCE_H

#include "kv/kv.h"

enum entry_kind {
    ENTRY_PUT = 0,
    ENTRY_DELETE = 1,
    ENTRY_LARGE = 2, /* a put whose value stands out of line in its table: `value` is the reference,
                        table_read_large reads it. Only tables have it, and only sources over them
                        give it; compactions copy it as it is */
};

struct lsm_entry {
    sombra_slice key;
    sombra_slice value;
    enum entry_kind kind;
    struct table *table; /* ENTRY_LARGE: whose reference it is; else NULL */
};

/* Answer of a point lookup in one source. */
enum lookup {
    LOOKUP_ABSENT,  /* ask older sources */
    LOOKUP_FOUND,   /* a put */
    LOOKUP_DELETED, /* a tombstone or a hiding range: ask no further */
};

struct source;
struct source_ops {
    /* First entry with key >= `key` (an empty key: the first of all); is_valid false = none. */
    sombra_err (*seek_ge)(struct source *source, sombra_slice key);
    /* Last entry with key < `key` (an empty key: the last of all). */
    sombra_err (*seek_lt)(struct source *source, sombra_slice key);
    /* From a valid position. */
    sombra_err (*next)(struct source *source);
    sombra_err (*previous)(struct source *source);
    /* From a valid position: gives the current entry and those behind it with key < `before` (empty
     * = no bound), up to `capacity` (>= 1), and moves behind the last one given. The entries' bytes
     * live until the next call. May give fewer although there are more; at least one if the current
     * one is < before, else none. */
    sombra_err (*read)(struct source *source, sombra_slice before, struct lsm_entry *entries,
                       size_t capacity, size_t *out_count);
    /* Does it hide `key` in older sources? *out_end := where hiding ends (exclusive), *out_low :=
     * where it begins; they live as long as the source. NULL = it never hides. */
    bool (*hides)(struct source *source, sombra_slice key, sombra_slice *out_low,
                  sombra_slice *out_end);
    /* NULL, or as `read`, of keys that begin with words->within: what is behind that in them goes
     * behind the words that are there. Stops before a key with more than KV_WORD_BYTES left, and
     * says so (is_long); then, as on an error, it is not known where it stands. At least one, or
     * is_long. */
    sombra_err (*words)(struct source *source, sombra_slice before, struct kv_words *words);
    void (*close)(struct source *source); /* frees it */
};
struct source {
    const struct source_ops *ops;
    struct lsm_entry entry; /* while is_valid */
    bool is_valid;
};

/* What is behind the first `skip` bytes of a key as a number, and how many bytes that is; false
 * where there are more than KV_WORD_BYTES, or the key is shorter. */
static inline bool source_word(const uint8_t *key, size_t key_bytes, size_t skip, uint64_t *to,
                               uint8_t *to_bytes)
{
    const size_t own = key_bytes - skip;
    if (LIKELY(own - 1 < KV_WORD_BYTES && key_bytes >= KV_WORD_BYTES)) {
        *to = get_be64(key + key_bytes - KV_WORD_BYTES) << 8 * (KV_WORD_BYTES - own);
    } else if (own <= KV_WORD_BYTES) {
        uint8_t bytes[KV_WORD_BYTES] = { 0 };
        if (own)
            memcpy(bytes, key + skip, own);
        *to = get_be64(bytes);
    } else {
        return false;
    }
    *to_bytes = (uint8_t)own;
    return true;
}

static inline void source_close(struct source *source)
{
    if (source)
        source->ops->close(source);
}

/* ---- ranges ------------------------------------------------------------------------------ */

/* Sorted, disjoint, not empty ranges [low, high); in a range set no bound is open. */
struct range_set {
    struct kv_range_bytes *ranges;
    size_t count, capacity;
};
struct kv_range_bytes {
    sombra_slice low, high; /* bytes are the set's */
};
#define RANGE_SET_INIT                            \
    {                                             \
        .ranges = NULL, .count = 0, .capacity = 0 \
    }
void range_set_release(struct range_set *set);
/* Adds [low, high), joining what overlaps or touches. NOMEM: nothing changed. */
sombra_err range_set_add(struct range_set *set, sombra_slice low,
                         sombra_slice high) SOMBRA_MUST_CHECK;
/* The range that has `key`, or NULL. */
const struct kv_range_bytes *range_set_find(const struct range_set *set, sombra_slice key);

#endif
