/* SPDX-License-Identifier: MIT */
/* table: an immutable sorted file of entries ("NNNNNN.sst"). table_format.h draws its bytes.
 *
 * Data blocks with prefix-compressed keys and restart points; large values in blocks of their own;
 * a Bloom filter over whole keys and one over prefixes; hidden ranges (range tombstones); an index
 * with shortened separators and the count of entries before each block; properties; a footer. Each
 * block carries its codec, raw size and a CRC-32 over what is on disk, checked before anything is
 * decompressed.
 *
 * Each key stands once in a table. All bytes of the file are hostile: a reader gives CORRUPT with
 * file and offset, and never reads or allocates more than the file's size and the fixed maxima
 * allow.
 *
 * Threads: a writer is one thread's; an open table any number's. A source: one at a time.
 */
#ifndef LSM_TABLE_H
#define LSM_TABLE_H

#include "cache.h"
#include "codec.h"
#include "prefix.h"
#include "source.h"

/* A table as versions and the manifest know it. All keys of it, and all ranges it hides, lie in
 * [low, end); `end` of a last key k is k followed by a zero byte. */
struct table_meta {
    uint64_t number; /* names the file; never used twice */
    uint64_t file_bytes;
    uint64_t entries;      /* puts and deletes */
    uint64_t deletes;      /* of these */
    uint64_t range_count;  /* hidden ranges */
    uint64_t seq_max;      /* newest commit whose changes are in it */
    sombra_slice low, end; /* bytes are the meta's owner's */
};

/* ---- write ------------------------------------------------------------------------------- */

struct table_writer;

struct table_writer_options {
    enum codec_id codec;
    size_t block_bytes;
    unsigned filter_bits; /* 0 = none */
    struct lsm_prefix prefix;
    uint64_t entries_hint; /* 0 = unknown */
    unsigned mode;
};

/* Makes a new file (EXISTS if it is there). */
sombra_err table_writer_open(struct os *os, const char *path, uint64_t number,
                             const struct table_writer_options *options,
                             struct table_writer **out_writer) SOMBRA_MUST_CHECK;
/* Keys ascending. ENTRY_LARGE copies the stored blocks of entry->table as they are. */
sombra_err table_writer_add(struct table_writer *writer,
                            const struct lsm_entry *entry) SOMBRA_MUST_CHECK;
/* A range hidden in older sources; in ascending order, disjoint; independent of add's order. */
sombra_err table_writer_hide(struct table_writer *writer, sombra_slice low,
                             sombra_slice high) SOMBRA_MUST_CHECK;
/* Bytes written and buffered so far. */
uint64_t table_writer_bytes(const struct table_writer *writer);
/* Writes the rest and syncs the file; its name is not synced yet (the caller syncs the directory
 * once for all tables of a job). out_meta's slices live until table_writer_close. */
sombra_err table_writer_finish(struct table_writer *writer, uint64_t seq_max,
                               struct table_meta *out_meta) SOMBRA_MUST_CHECK;
/* Without finish before, or after a failed one, the file is unlinked. NULL is a no-op. */
void table_writer_close(struct table_writer *writer);

/* ---- read -------------------------------------------------------------------------------- */

/* What all tables of a store share. */
struct table_context {
    struct os *os;
    struct cache *cache;
    struct kv_metrics *metrics;
    struct lsm_prefix prefix;
};

struct table;

/* Opens the file, reads footer, properties, index, filter and ranges. `meta`, if given, must agree
 * with the file (CORRUPT). refs = 1. NOT_FOUND, CORRUPT, UNSUPPORTED, IO, NOMEM. */
sombra_err table_open(const struct table_context *context, const char *path,
                      const struct table_meta *meta, struct table **out_table) SOMBRA_MUST_CHECK;
void table_ref(struct table *table);
void table_unref(struct table *table); /* NULL is a no-op */
/* As the file says it; slices live as long as the table. */
const struct table_meta *table_meta(const struct table *table);
size_t table_memory_bytes(const struct table *table); /* index, filters, ranges */

/* What a lookup found, and what keeps its bytes alive. */
struct table_value {
    sombra_slice value;
    struct cache_block *block; /* holds it; released by who got it (cache_release) */
    bool is_large;             /* `value` is the reference of a value out of line */
};
/* Hash of a key for the filters: computed once for all tables of a lookup. */
uint64_t table_key_hash(sombra_slice key);
/* DELETED for a tombstone of its own; ranges it hides count for older tables only and are asked
 * with table_hides. `hash` is that of the key, or NULL: the filter is not asked. */
sombra_err table_get(struct table *table, sombra_slice key, const uint64_t *hash,
                     enum lookup *out_lookup, struct table_value *out_value) SOMBRA_MUST_CHECK;
/* False when no key of the table has this prefix (of the store's extractor); true in doubt. */
bool table_may_have_prefix(struct table *table, sombra_slice prefix);
/* The hidden range that has `key`, or the first behind it; false: there is none. The bytes live as
 * long as the table. */
bool table_next_range(struct table *table, sombra_slice key, sombra_slice *out_low,
                      sombra_slice *out_end);
/* See source.h. */
bool table_hides(struct table *table, sombra_slice key, sombra_slice *out_low,
                 sombra_slice *out_end);
/* Hidden range number `index` < table_meta()->range_count, ascending. Lives as long as the table.
 */
void table_range(struct table *table, size_t index, sombra_slice *out_low, sombra_slice *out_high);
/* Bytes of a value out of line, read into `to` (replaced). */
sombra_err table_read_large(struct table *table, sombra_slice reference,
                            struct buf *to) SOMBRA_MUST_CHECK;
/* How long the value of a reference is, without reading it. CORRUPT. */
sombra_err table_large_bytes(struct table *table, sombra_slice reference,
                             uint64_t *out_bytes) SOMBRA_MUST_CHECK;
/* Entries with keys < `key` (empty = all), from the index: exact but for the block of the key. */
uint64_t table_rank(struct table *table, sombra_slice key);

/* Keeps the table. `fill_cache` false: blocks read are not kept (compactions, backups). */
sombra_err table_source(struct table *table, bool fill_cache,
                        struct source **out_source) SOMBRA_MUST_CHECK;

/* ---- check ------------------------------------------------------------------------------- */

/* Reads every block and compares all with each other: order, bounds, counts, filters, references,
 * unused bytes. Findings go to `problem`; fails only where the walk cannot go on. */
sombra_err table_verify(struct table *table,
                        void (*problem)(void *context, const struct kv_problem *problem),
                        void *context, uint64_t *out_problems) SOMBRA_MUST_CHECK;
/* Salvage: gives every entry of every sound data block of a damaged file, in file order, without
 * index or footer. */
sombra_err table_salvage(const struct table_context *context, const char *path,
                         sombra_err (*each)(void *context, const struct lsm_entry *entry,
                                            sombra_slice large_value),
                         void *each_context, uint64_t *out_blocks_lost) SOMBRA_MUST_CHECK;

#endif
