/* SPDX-License-Identifier: MIT */
/* page_fixture: key sets, and a sorted array that leaf pages are compared with. Shared by the page
 * tests and the layout benchmark's checks.
 */
#ifndef PAGE_FIXTURE_H
#define PAGE_FIXTURE_H

#include "btree/page/page.h"

enum key_set {
    KEYS_DECIMAL,   /* 16 decimal digits, values of 100 bytes */
    KEYS_ADJACENCY, /* [tag][dst][type][src][edge], no values */
    KEYS_INDEX,     /* [tag][index][number or short string][node], no values */
    KEYS_EDGE,      /* [tag][edge], short values */
    KEYS_LONG,      /* up to 1024 bytes with shared prefixes, values up to the inline limit */
    KEYS_MIXED,     /* adjacency keys, of which a few have values, some large */
    KEYS_USUAL,     /* as edge, but most values have the same length */
    KEYS_NESTED,    /* keys that are prefixes of each other, bytes 0x00 and 0xff */
    KEYS_SETS,
};

extern const char *const key_set_names[KEYS_SETS];

struct entry {
    sombra_slice key;
    struct leaf_value value;
};

/* A sorted array of entries whose bytes live in the arena. */
struct model {
    struct arena arena;
    struct random random;
    enum key_set set;
    size_t page_bytes;
    struct entry *entries;
    unsigned count, capacity;
};

void model_init(struct model *model, enum key_set set, size_t page_bytes, uint64_t seed);
void model_release(struct model *model);
/* A random key and value of the model's set; the bytes live as long as the model. */
sombra_slice model_random_key(struct model *model);
struct leaf_value model_random_value(struct model *model);
bool model_find(const struct model *model, sombra_slice key, unsigned *out_index);
void model_insert(struct model *model, unsigned index, sombra_slice key, struct leaf_value value);
void model_remove(struct model *model, unsigned first, unsigned last);

/* The leaf holds entries [first, last) of the model, by every way of reading it. */
void assert_leaf_equals(const uint8_t *page, size_t page_bytes, const struct model *model,
                        unsigned first, unsigned last);
/* Seals, validates, and validates a copy of the used bytes. */
void assert_page_valid(uint8_t *page, size_t page_bytes);
void assert_same_value(const struct leaf_value *a, const struct leaf_value *b);

uint8_t *page_image(size_t page_bytes); /* aligned, filled with 0xa5; free with mem_free */
/* SOMBRA_SEED, or a new seed, printed. */
uint64_t test_seed(void);

#endif
