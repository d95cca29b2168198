/* SPDX-License-Identifier: MIT */
/* memtable: the newest entries, sorted, in memory; one writer beside readers that take no lock.
 *
 * A B+tree of small nodes in an arena. A slot, once written, never changes its key; an order word
 * (a permutation, as in Masstree: Mao, Kohler, Morris 2012) that is stored last publishes new
 * slots. A full node is replaced by two new ones; the old one stays as it was while readers may be
 * in it. Each key has a chain of versions, newest first, every one with the sequence number of
 * its transaction.
 *
 * The writing transaction writes here at once, under the number that its commit will publish:
 * readers, whose snapshot is older, pass over it. An abort or a rollback to a savepoint takes
 * versions off their chains again; a key without a version is no entry. So the writer reads its own
 * writes as any reader does, with its own number.
 *
 * Invariant: a reader with snapshot S sees, of each key, the first version of the chain whose
 * number is <= S; a range tombstone numbered T hides versions older than T (a version with number T
 * itself was written after it: memtable_delete_range turns what the same transaction wrote before
 * into deletes).
 *
 * Threads: writer calls from one thread at a time; readers from any, beside it. ref and unref from
 * any.
 */
#ifndef LSM_MEMTABLE_H
#define LSM_MEMTABLE_H

#include "lsm/table/source.h"

struct memtable;

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err memtable_new(struct memtable **out_memtable) SOMBRA_MUST_CHECK; /* refs = 1 */
void memtable_ref(struct memtable *memtable);
void memtable_unref(struct memtable *memtable); /* NULL is a no-op */

/* ---- write ------------------------------------------------------------------------------- */

/* Sets `key` under `seq`, which is never smaller than one before. Key and value are copied.
 * kind: ENTRY_PUT or ENTRY_DELETE. NOMEM: nothing changed. */
sombra_err memtable_put(struct memtable *memtable, uint64_t seq, enum entry_kind kind,
                        sombra_slice key, sombra_slice value) SOMBRA_MUST_CHECK;
/* Puts a key above the one that memtable_put or memtable_put_next was called for last, and with
 * success: faster where no other key lies between. */
sombra_err memtable_put_next(struct memtable *memtable, uint64_t seq, sombra_slice key,
                             sombra_slice value) SOMBRA_MUST_CHECK;
/* Hides every older version in the range (bounds may be open), here and in older sources. */
sombra_err memtable_delete_range(struct memtable *memtable, uint64_t seq, sombra_slice low,
                                 sombra_slice high) SOMBRA_MUST_CHECK;

/* Where the undo list stands. Changes since then can be undone until memtable_settle. */
struct memtable_mark {
    size_t changes;
};
struct memtable_mark memtable_mark(const struct memtable *memtable);
/* Never fails. */
void memtable_rollback(struct memtable *memtable, struct memtable_mark mark);
/* Forgets the undo list: what was written stays. */
void memtable_settle(struct memtable *memtable);

/* Between transactions. Enough of the tree was replaced to ask who may still be in it, and make
 * what nobody is in new nodes. `next_seq` is greater than the number of every commit; no reader of
 * the memtable has a snapshot below `oldest_seq` (UINT64_MAX: there is no reader). */
bool memtable_has_waste(const struct memtable *memtable);
void memtable_reuse_nodes(struct memtable *memtable, uint64_t next_seq, uint64_t oldest_seq);

/* ---- read -------------------------------------------------------------------------------- */

/* The newest version of `key` visible at `seq`. *out_value lives as long as the memtable. DELETED
 * also where a visible range tombstone hides it, here or in older sources. */
enum lookup memtable_get(const struct memtable *memtable, uint64_t seq, sombra_slice key,
                         sombra_slice *out_value);
/* A source of what is visible at `seq`. The memtable must be kept alive. Its position survives
 * writes: next and previous go on from the key it stood on. They may pass over keys that the same
 * transaction added after the last seek; what it sees of ranges follows its writes at once. */
sombra_err memtable_source(struct memtable *memtable, uint64_t seq,
                           struct source **out_source) SOMBRA_MUST_CHECK;
/* Adds the ranges that it hides in older sources, as of `seq`, to the set. */
sombra_err memtable_ranges(struct memtable *memtable, uint64_t seq,
                           struct range_set *set) SOMBRA_MUST_CHECK;
/* What it hides in older sources from `from` on, as of `seq`: the stretch that has `from`, or the
 * next one. False: there is none. The bytes live as long as the memtable. */
bool memtable_next_range(const struct memtable *memtable, uint64_t seq, sombra_slice from,
                         sombra_slice *out_low, sombra_slice *out_end);
/* Guess of the entries in the range, in O(log n); bounds may be open. */
uint64_t memtable_estimate(const struct memtable *memtable, sombra_slice low, sombra_slice high);

/* A key with about half of the work of a flush before it, as samples of entries say; empty: there
 * are few. It lives as long as the memtable. Not beside writes. */
sombra_slice memtable_middle(const struct memtable *memtable);

size_t memtable_bytes(const struct memtable *memtable);     /* memory taken */
uint64_t memtable_entries(const struct memtable *memtable); /* keys, whatever their versions */
bool memtable_has_ranges(const struct memtable *memtable);
bool memtable_is_empty(const struct memtable *memtable); /* neither entries nor ranges */

#endif
