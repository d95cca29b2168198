/* SPDX-License-Identifier: MIT */
/* table_bytes: reads tables by hand, by the drawing in table_format.h and not by the engine's
 * reader, and compares them with a model. What does not fit fails the test. */
#ifndef TABLE_BYTES_H
#define TABLE_BYTES_H

#include "os_fixture.h"

#include "lsm/table/table.h"
#include "lsm/table/table_format.h"

/* ---- what a table should hold ------------------------------------------------------------- */

struct model {
    struct lsm_entry *entries;
    size_t count, capacity;
    struct arena arena;
};
#define MODEL_INIT                                                      \
    {                                                                   \
        .entries = NULL, .count = 0, .capacity = 0, .arena = ARENA_INIT \
    }
/* Ascending keys with common beginnings; deletes; values of many lengths. */
void model_fill(struct model *model, size_t count, uint64_t seed);
void model_release(struct model *model);

/* ---- blocks ------------------------------------------------------------------------------- */

struct block {
    uint64_t offset, next; /* of the block behind it */
    unsigned kind;
    enum codec_id codec;
    sombra_slice stored;
    struct buf raw;
};
/* Its header is checked; raw stays empty where the build lacks the codec. */
struct block block_at(const struct buf *file, uint64_t offset);

struct parsed_entry {
    uint8_t key[TABLE_BOUND_BYTES_MAX];
    size_t key_bytes;
    unsigned kind;
    sombra_slice value;
};
sombra_slice key_of(const struct parsed_entry *entry);
/* All entries of a sorted block, of which everything is checked; freed by the caller. */
struct parsed_entry *entries_of(sombra_slice raw, uint32_t interval, uint32_t *out_count);

/* ---- tables ------------------------------------------------------------------------------- */

struct parsed {
    struct buf file;
    const uint8_t *footer;
    struct block properties, index, filter, prefix_filter, ranges;
    sombra_slice low, end, prefix_name;
};
struct parsed parse(struct os *os, const char *path);
void parsed_release(struct parsed *parsed);
uint64_t property(const struct parsed *parsed, size_t offset);

/* What a walk over the blocks from the front counted. */
struct walk {
    uint64_t data_blocks, value_blocks, large;
};
struct walk check_body(const struct parsed *parsed, const struct model *model, size_t inline_bytes);
void check_filters(const struct parsed *parsed, const struct model *model);
void check_properties(const struct parsed *parsed, const struct model *model,
                      const struct walk *walk);
void check_meta(const struct parsed *parsed, const struct table_meta *meta);

#endif
