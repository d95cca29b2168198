/* SPDX-License-Identifier: MIT */
/* What the reading files of tables share: the open table and its blocks. */
#ifndef LSM_TABLE_READ_H
#define LSM_TABLE_READ_H

#include "block_read.h"
#include "filter.h"
#include "rows.h"
#include "table_internal.h"

/* What is fetched along with a block: table_load. */
#define TABLE_WINDOW_BYTES ((uint64_t)128 * KiB)

/* A block that stays in memory as long as its table. */
struct table_part {
    uint8_t *memory; /* NULL = the table has no such block */
    size_t memory_bytes;
    sombra_slice raw;
};

struct table_handle {
    uint64_t offset, bytes;
};

/* A data block as the index knows it, where one line of memory tells all. */
struct table_spot {
    uint64_t offset;
    uint32_t bytes, entries;
};

/* What the properties say. Slices live as long as the block. */
struct table_properties {
    struct table_meta meta; /* but for file_bytes */
    uint64_t large, key_bytes, value_bytes;
    uint64_t data_blocks, value_blocks;
    uint64_t body_bytes; /* data and value blocks */
    struct table_handle ranges, filter, prefix_filter, index;
    uint32_t block_bytes, filter_bits;
    sombra_slice prefix_name;
};

struct table {
    struct table_context context;
    struct os_file *file;
    _Atomic uint32_t refs;
    struct table_properties properties;
    struct table_part parts[8];  /* by enum table_block_kind */
    struct block index;          /* entries = 0: no data block */
    struct table_spot *spots;    /* one for each entry of the index */
    struct block ranges;         /* entries = 0: hides nothing */
    struct filter filter;        /* count = 0: none */
    struct filter prefix_filter; /* count = 0: none, or of another extractor */
    _Atomic uint64_t *around;    /* a bit for each window of the file that was fetched so */
    _Atomic uint32_t loaded;     /* the data block read last */
    _Atomic bool is_random;      /* as the file was advised */
    size_t memory_bytes;
};

static inline bool table_window_was_read(const struct table *table, uint64_t window)
{
    return atomic_load_explicit(&table->around[window / 64], memory_order_relaxed) >> window % 64 &
           1;
}

/* The value of an index entry. */
struct table_place {
    struct table_handle handle;
    uint64_t entries_before;
};
static inline struct table_place table_place_of(sombra_slice value)
{
    const uint8_t *at = value.data;
    return (struct table_place){
        .handle = { .offset = get_le64(at + TABLE_INDEX_HANDLE + TABLE_HANDLE_OFFSET),
                    .bytes = get_le64(at + TABLE_INDEX_HANDLE + TABLE_HANDLE_SIZE) },
        .entries_before = get_le64(at + TABLE_INDEX_ENTRIES_BEFORE),
    };
}
static inline struct table_place table_place_at(const struct table *table, uint32_t index)
{
    struct block_entry entry;
    assert(index < table->index.entries);
    block_entry_at(block_restart(&table->index, index), &entry);
    return table_place_of(entry.value);
}
static inline struct table_handle table_handle_at(const struct table *table, uint32_t index)
{
    assert(index < table->index.entries);
    return (struct table_handle){ table->spots[index].offset, table->spots[index].bytes };
}
static inline uint64_t table_entries_in(const struct table *table, uint32_t index)
{
    assert(index < table->index.entries);
    return table->spots[index].entries;
}

/* ---- blocks (table_block.c) -------------------------------------------------------------- */

struct table_block_header {
    uint32_t raw_bytes, stored_bytes;
    uint8_t codec, kind;
};
/* The header at `offset`, of which `left` bytes of the file follow from there on; the lengths are
 * then within them and the maximum of the kind. No checksum yet. */
sombra_err table_header_check(struct os_file *file, uint64_t offset, uint64_t left,
                              const uint8_t *header,
                              struct table_block_header *out) SOMBRA_MUST_CHECK;
/* `bytes` is a whole block of this kind and nothing behind it; its checksum holds. */
sombra_err table_block_check(struct os_file *file, uint64_t offset, sombra_slice bytes,
                             enum table_block_kind kind,
                             struct table_block_header *out) SOMBRA_MUST_CHECK;
/* Decompresses a whole data block, checks its inside and unpacks it: *out_block is struct rows'
 * memory. `entries` = 0: any count. The block is not in the cache and has one reference. */
sombra_err table_data_open(struct os_file *file, struct cache *cache, uint64_t offset,
                           sombra_slice bytes, uint64_t entries,
                           struct cache_block **out_block) SOMBRA_MUST_CHECK;
/* Where memory is short, the system is to fetch nothing but what is asked for: says so, once, and
 * takes it back. Is it short? */
bool table_advise(struct table *table);
/* Blocks that table_load will be asked for: as cache_fetch_slot and cache_fetch_entry. */
static inline void table_fetch_slot(const struct table *table, uint32_t index)
{
    cache_fetch_slot(table->context.cache, table->properties.meta.number,
                     table->spots[index].offset);
}
static inline void table_fetch_entry(const struct table *table, uint32_t index)
{
    cache_fetch_entry(table->context.cache, table->properties.meta.number,
                      table->spots[index].offset);
}
/* A data block of the index, from the cache or the file. The `ahead` blocks behind it are likely to
 * be wanted next: they may be read along. */
sombra_err table_load(struct table *table, uint32_t index, uint32_t ahead,
                      struct cache_block **out_block) SOMBRA_MUST_CHECK;
/* The entry with `key`, if there is one, in the data block of the index that would have it:
 * *out_entry points into *out_block (NULL where none is found). A block that the cache declines is
 * not unpacked for it. */
sombra_err table_lookup(struct table *table, uint32_t index, sombra_slice key,
                        struct lsm_entry *out_entry,
                        struct cache_block **out_block) SOMBRA_MUST_CHECK;

/* A value out of line. */
struct table_large {
    uint64_t offset, value_bytes, stored;
};
/* CORRUPT where it cannot be within this table. */
sombra_err table_large_check(const struct table *table, sombra_slice reference,
                             struct table_large *out) SOMBRA_MUST_CHECK;
/* table_copy_large for a reference that may be damaged, of a file without a table. `end`: where
 * blocks end. */
sombra_err table_large_walk(struct os_file *file, const struct table_large *large,
                            sombra_err (*each)(void *context, const struct table_piece *piece),
                            void *context) SOMBRA_MUST_CHECK;
sombra_err table_large_parse(struct os_file *file, uint64_t end, sombra_slice reference,
                             struct table_large *out) SOMBRA_MUST_CHECK;
/* For walks: decompresses each piece behind the others in the struct buf `context`. */
sombra_err table_large_append(void *context, const struct table_piece *piece);

#endif
