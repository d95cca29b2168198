/* SPDX-License-Identifier: MIT */
/* lsm_table_fixture: random tables and the sorted array that they must equal. */
#ifndef LSM_TABLE_FIXTURE_H
#define LSM_TABLE_FIXTURE_H

#include "os_fixture.h"

#include "lsm/table/table.h"
#include "os/os_sim.h"

struct item {
    sombra_slice key, value; /* the model's */
    bool is_delete;
};

struct table_model {
    struct item *items; /* ascending */
    size_t count;
    struct range_pair {
        sombra_slice low, high;
    } ranges[16];
    size_t range_count;
    struct arena arena;
};

enum { MODEL_PREFIX_BYTES = 2 };
extern const struct lsm_prefix model_prefix; /* keys of fewer bytes have none */

/* `count` keys or a few less, of an alphabet that makes long common prefixes; some values out of
 * line; with `range_count` <= 16 hidden ranges. */
void model_fill(struct table_model *model, struct random *random, size_t count,
                size_t value_bytes_max, size_t range_count);
void model_release(struct table_model *model);
/* First item with key >= `key`. */
size_t model_find(const struct table_model *model, sombra_slice key);
/* A key of the model, one near it, or any. Lives until the next call. */
sombra_slice random_key(const struct table_model *model, struct random *random);

/* Writes the model as the table `number` at `path`. */
void model_write(const struct table_model *model, struct os *os, const char *path,
                 const struct table_writer_options *options, uint64_t number);

/* Is the entry that item? Reads values out of line. */
bool entry_is(struct table *table, const struct lsm_entry *entry, const struct item *item);

uint64_t seed_of_test(void);

#endif
