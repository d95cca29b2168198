/* SPDX-License-Identifier: MIT */
/* edit: a commit of puts, or of deletes, that changes pages where they are, instead of copies.
 *
 * They are held until the transaction does anything else, or commits: their places are found, their
 * pages are proved and there is room. Private to the folder.
 */
#ifndef BTREE_EDIT_H
#define BTREE_EDIT_H

#include "btree_internal.h"

/* May the transaction's first put, at the end of this path, be held? The rest is the caller's. Also
 * says whether those that follow may be. */
bool edit_wants(struct btree_txn *txn, const struct tree_path *path);
/* Steps 1 to 5 of a commit (txn.c), if the pages are nobody else's; *out_done false: they are, and
 * nothing has happened. */
sombra_err edit_commit(struct btree_txn *txn, bool *out_done) SOMBRA_MUST_CHECK;
/* Makes the held put as any other, in copies. A failure is the transaction's. */
sombra_err tree_held_settle(struct btree_txn *txn) SOMBRA_MUST_CHECK;

/* ---- edit_many.c: many puts, or deletes ---------------------------------------------------- */

enum edit_answer {
    EDIT_AT_ONCE,  /* the put is to be made as ever; nothing is held */
    EDIT_MAY_HOLD, /* it may be held, if edit_many_takes it, or made as ever beside what is */
    EDIT_DONE,     /* it stands for one of its key that is held */
};

/* Before a put that is not the transaction's first, of a key and a value that were checked. */
sombra_err edit_many_put(struct btree_txn *txn, sombra_slice key, sombra_slice value,
                         enum edit_answer *out_answer) SOMBRA_MUST_CHECK;
/* Holds it, if that may be; the path leads to its place, and it was logged at txn->held.redo_at.
 * `old` is the value that it replaces, or NULL. */
bool edit_many_takes(struct btree_txn *txn, const struct tree_path *path, sombra_slice key,
                     const struct leaf_value *value, const struct leaf_value *old);

/* May the transaction hold a delete of this key? False also if it holds one: then they are to be
 * settled (txn_check), and the key looked for again. */
bool edit_many_may(struct btree_txn *txn, sombra_slice key);
/* May this entry's delete be held? */
bool edit_many_wants(struct btree_txn *txn, const struct tree_path *path, unsigned index);
/* It was logged at `redo_at`. */
void edit_many_hold(struct btree_txn *txn, const struct tree_path *path, sombra_slice key,
                    size_t redo_at);
/* As edit_commit; may have made some as ever. Else the rest is to be settled. */
sombra_err edit_many_commit(struct btree_txn *txn, bool *out_done) SOMBRA_MUST_CHECK;
/* Makes what is held as ever. After a failure the transaction has failed, or what was not made is
 * held still: the next call tries again. */
sombra_err edit_many_settle(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* The same in the middle of the transaction: no more is held in it, and in some that follow. */
sombra_err edit_many_break_off(struct btree_txn *txn) SOMBRA_MUST_CHECK;
/* They are rolled back. */
void edit_many_forget(struct btree_txn *txn);
void edit_many_release(struct btree_txn *txn);

/* ---- for both -------------------------------------------------------------------------------- */

/* Is this process alone, are pages written where they are, and has no pause begun? */
bool edit_is_possible(struct btree_txn *txn);
/* Can the page be changed where it is, if it is nobody else's? One that has a checksum cannot; one
 * that another process wrote may lie where this one could not write yet, and is made ready. */
bool edit_may_store(struct btree_txn *txn, page_id id, const uint8_t *page);
/* Has a reader waited for an edit? Then the next commits copy. */
bool edit_must_pause(struct btree *btree);
/* Says that there is an editor, unless somebody has pages of transaction `oldest` or newer ones.
 * Whoever begins to read from now on waits for edit_end. */
bool edit_begin(struct btree *btree, uint64_t oldest);
void edit_end(struct btree *btree);

#endif
