/* SPDX-License-Identifier: MIT */
/* edit: a commit of one put that changes pages where they are, instead of copies.
 *
 * The put is held until the transaction does anything else, or commits: its place is found, its
 * pages are proved and there is room for it. Private to the folder.
 */
#ifndef BTREE_EDIT_H
#define BTREE_EDIT_H

#include "btree_internal.h"

/* May the transaction's first put, at the end of this path, be held? The rest is the caller's. */
bool edit_wants(struct btree_txn *txn, const struct tree_path *path);
/* Steps 1 to 5 of a commit (txn.c), if the pages are nobody else's; *out_done false: they are, and
 * nothing has happened. */
sombra_err edit_commit(struct btree_txn *txn, bool *out_done) SOMBRA_MUST_CHECK;

/* Makes the held put as any other, in copies. A failure is the transaction's. */
sombra_err tree_held_settle(struct btree_txn *txn) SOMBRA_MUST_CHECK;

#endif
