/* SPDX-License-Identifier: MIT */
/* btree_fixture: what the tests of the btree engine share: a store in a directory of its own or on
 * a simulated machine, its files as bytes, and what its content should be. Failures end the test.
 */
#ifndef BTREE_FIXTURE_H
#define BTREE_FIXTURE_H

#include "btree/btree.h"
#include "kv_check.h"
#include "os/os_sim.h"

#include <stdlib.h>

/* Address space of the small stores of the tests: opening is then cheap. */
#define TEST_MAP_BYTES (256 * MiB)

enum { STORE_FILES = 3 }; /* the database and the two halves of its log */

struct store {
    struct btree_options options;
    struct os_sim *sim; /* NULL = real files */
    struct os *os;
    char directory[64]; /* of real files */
    char path[96];
    struct kv *kv; /* NULL = closed */
};

/* Makes and opens a new, empty store. `options` may be NULL; create is implied. */
void store_init(struct store *store, const struct btree_options *options);
void store_init_simulated(struct store *store, const struct btree_options *options);
/* Closes it if it is open and removes everything. */
void store_release(struct store *store);
void store_open(struct store *store);
void store_close(struct store *store);
void store_reopen(struct store *store);
/* The path of file `index`: database, log 0, log 1. */
void store_file_path(const struct store *store, size_t index, char to[112]);

/* A whole file; false if there is none. */
bool file_load(const char *path, struct buf *out);
void file_store(const char *path, sombra_slice bytes);
/* Copies the store's files, open or not, as a kill of the process would leave them. */
void store_copy(const struct store *store, struct store *to);

/* Commits a transaction that changes no content. The first commit of an open may go beside the log:
 * what follows is logged. */
void store_use_log(struct kv *kv);

struct kv_stats store_stats(struct kv *kv, bool walk);
/* Every page is exactly one of meta area, tree, value, map, free and pending: verify says so, and
 * the counts of kv_stats add up. */
void store_expect_exact(struct kv *kv);

/* ---- content ----------------------------------------------------------------------------- */

/* Sets one number below a text key, and adds `value_bytes` of pattern behind it. */
void put_sized(struct kv_txn *txn, const char *key, uint64_t seed, size_t value_bytes);
void expect_sized(struct kv_txn *txn, const char *key, uint64_t seed, size_t value_bytes);
#define CONTENT_DIFFERS "forward, backward and counted content differ"
/* Digest of the whole content, or the error that reading it gave. Reads forward and backward, and
 * counts; CORRUPT with the text CONTENT_DIFFERS when these disagree. */
sombra_err content_digest(struct kv *kv, uint64_t *out_digest);
/* Runs verify; *out_problems counts findings. */
sombra_err verify_count(struct kv *kv, uint64_t *out_problems);

/* ---- power cuts -------------------------------------------------------------------------- */

/* Cuts of the power between two calls of a simulated machine, while no content changes. */
struct power_cuts {
    struct store *store;
    uint64_t digest;  /* of the content, then and behind each cut */
    uint64_t random;  /* which calls, what the medium keeps */
    uint64_t percent; /* of the calls */
    uint64_t cuts;
};

/* From here on a share of the calls of the store's machine is where another's power fails: it opens
 * the store, has the same content and an exact account of its pages. `salt` is added to
 * SOMBRA_SEED. The store is to stay where it is. */
void power_cuts_begin(struct power_cuts *cuts, struct store *store, uint64_t salt);
/* There was one at least. */
void power_cuts_end(struct power_cuts *cuts);

/* SOMBRA_SHARE of a test that is short enough to run whole from a share of 30 on. */
uint64_t test_share_percent(void);
bool test_is_long(void); /* SOMBRA_LONG is set */

#endif
