/* SPDX-License-Identifier: MIT */
/* kv_check: the small words that the tests of kv stores are written in. Everything here ends the
 * running cmocka test when it finds something wrong, so it is for the main thread only.
 */
#ifndef KV_CHECK_H
#define KV_CHECK_H

#include "kv/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* The call must give that code; else the test fails with the code and text it gave. */
#define expect_ok(call)        kv_expect_code((call), SOMBRA_OK, #call, __FILE__, __LINE__)
#define expect_err(want, call) kv_expect_code((call), (want), #call, __FILE__, __LINE__)
void kv_expect_code(sombra_err got, sombra_err want, const char *call, const char *file, int line);

/* SOMBRA_SEED, or one from the clock; printed with `what` so that it can be given again. */
uint64_t kv_test_seed(const char *what);
/* The environment's number, or `otherwise`. */
uint64_t kv_test_number(const char *name, uint64_t otherwise);

/* ---- transactions ------------------------------------------------------------------------ */

struct kv_txn *kv_begin_read(struct kv *kv);
struct kv_txn *kv_begin_write(struct kv *kv); /* waits up to ten seconds */
void kv_commit_ok(struct kv_txn *txn);
/* What is committed is durable then: an empty commit that is to be, full or in a group; a
 * transaction that needs what it reads to be, of a reader or a writer. */
enum { KV_DURABLE_WAYS = 4 };
void kv_make_durable(struct kv *kv, unsigned way);

/* ---- content ----------------------------------------------------------------------------- */

void kv_put_text(struct kv_txn *txn, const char *key, const char *value);
/* The same in a transaction of its own. */
void kv_put_one(struct kv *kv, const char *key, const char *value, enum kv_durability durability);
void kv_delete_text(struct kv_txn *txn, const char *key);
/* Puts each of the words, separated by blanks, as a key whose value is the word too. */
void kv_put_words(struct kv_txn *txn, const char *words);
void kv_expect_value(struct kv_txn *txn, sombra_slice key, sombra_slice value);
void kv_expect_text(struct kv_txn *txn, const char *key, const char *value);
void kv_expect_one(struct kv *kv, const char *key, const char *value); /* in one of its own */
void kv_expect_missing(struct kv_txn *txn, const char *key);
/* NULL or "" = no bound. */
struct kv_range kv_text_range(const char *low, const char *high);
/* Walks the range both ways, by moves and by batches, and counts it: the words in order. */
void kv_expect_words(struct kv_txn *txn, const char *low, const char *high, const char *words);

/* Key of 8 big-endian bytes. */
sombra_slice kv_number_key(uint64_t number, uint8_t to[8]);
/* Fills `buf` with `bytes` bytes that only `seed` determines. */
sombra_slice kv_pattern(struct buf *buf, uint64_t seed, size_t bytes);
/* Numbers [first, last) as keys, each with a pattern of `value_bytes` seeded by number + salt. */
void kv_put_numbers(struct kv_txn *txn, uint64_t first, uint64_t last, size_t value_bytes,
                    uint64_t salt);

/* Digest of everything in the range, order included, and how many entries there are. */
uint64_t kv_digest(struct kv_txn *txn, struct kv_range range, uint64_t *out_entries);
/* The same of all that is committed; `out_entries` may be NULL. */
uint64_t kv_committed_digest(struct kv *kv, uint64_t *out_entries);
uint64_t kv_entry_digest(uint64_t digest, sombra_slice key, sombra_slice value);
/* Runs KV_VERIFY and fails on the first problem, printing them all. */
void kv_expect_sound(struct kv *kv);

#endif
