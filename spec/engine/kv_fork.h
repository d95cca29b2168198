/* SPDX-License-Identifier: MIT */
/* kv_fork: what a child of fork() has of a store that its parent opened, and that each call on it
 * is refused. */
#ifndef KV_FORK_H
#define KV_FORK_H

#include "kv/kv.h"

struct kv_inherited {
    struct kv *kv;
    struct kv_txn *reader, *writer;
    struct kv_cursor *cursor; /* of the reader, at its first entry */
};

/* In the parent, of a store that is not empty; the writer has put "a". Ends the test if it fails.
 */
void kv_fork_open(struct kv *kv, struct kv_inherited *out);
/* In the child: the number of the first call that was not refused; 0 = all were. Closes it all. */
int kv_fork_refusals(const struct kv_inherited *has);

#endif
