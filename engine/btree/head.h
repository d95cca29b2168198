/* SPDX-License-Identifier: MIT */
/* head: the newest commit and who reads what, in memory that the processes of a store share.
 * Private to the folder.
 */
#ifndef BTREE_HEAD_H
#define BTREE_HEAD_H

#include "pages_internal.h"

/* One committed state. */
struct snapshot {
    page_id root; /* 0 = empty */
    uint64_t txn;
    uint64_t lsn;
    uint64_t page_count;
    uint64_t entries;
    uint64_t depth; /* levels; 0 = empty */
    /* Where the log goes on behind it; the half is the lowest bit of the link's word. */
    uint64_t log_epoch, log_offset, log_link_and_half;
};

/* Who holds something: (generation << 16 | entry + 1); 0 = nobody. An entry's generation rises with
 * each process that claims it, so that a dead process's word is never taken for a living one's. */
typedef uint64_t owner_word;

/* A lock in shared memory: taken by compare-and-swap, waited for by futex, taken over from the
 * dead. */
struct shared_lock {
    _Atomic owner_word owner;
    _Atomic uint32_t sequence; /* of releases: the futex */
    _Atomic uint32_t waiters;
};

struct head_slot {
    _Atomic uint64_t txn; /* 0 = free; a snapshot that may be read */
    _Atomic uint64_t since_ns;
    uint64_t padding[6]; /* a cache line of its own */
};

/* A process that has the store open. It holds the lock of byte LOCK_ENTRIES + its number on the
 * lock file: that, and nothing else, says that it lives. */
struct head_entry {
    _Atomic uint64_t generation;
    _Atomic uint32_t sync_inflight; /* syncs begun and not yet known to have succeeded */
    _Atomic uint32_t process_id;    /* for people */
    _Atomic uint64_t normal_lsn; /* its newest KV_NORMAL commit since its last background sync; 0 =
                                    none. If it dies, another process syncs that */
    uint64_t padding[5];
};

/* The shared memory of a store: the mapped lock file, or private memory without a file. No
 * pointers. It is made anew by the first process that attaches; its content is never believed
 * before. */
struct head {
    _Atomic uint64_t magic; /* HEAD_MAGIC once it is made */
    uint64_t device, inode; /* of the database file */
    uint64_t layout_bytes;
    _Atomic uint64_t
        sequence; /* of publications; the newest descriptor is ring[sequence % HEAD_RING] */
    _Atomic owner_word editor; /* changes pages of the newest commit where they are (edit.c); 0 =
                                  nobody, and who pins meanwhile waits */
    _Atomic uint64_t durable_lsn;
    _Atomic uint64_t pinned_meta;      /* txn of the durable checkpoint */
    _Atomic uint64_t pinned_intent;    /* txn of the checkpoint being written; 0 = none */
    _Atomic uint64_t intent_sequence;  /* of the meta record it will write */
    _Atomic uint64_t durable_meta;     /* the durable meta record: sequence << 1 | slot, in one */
    _Atomic uint32_t poisoned;         /* a sync or an append failed: no more writes */
    _Atomic uint32_t blocks_used;      /* blocks above were never taken */
    _Atomic uint32_t has_logs;         /* the logs exist, and a durable meta says so */
    _Atomic uint32_t editor_waits;     /* who pinned and had to wait for an editor */
    _Atomic uint64_t joins;            /* processes that attached to those that were */
    _Atomic uint64_t next_txn;         /* the writer's: greater than any number used */
    _Atomic uint64_t half_last_lsn[2]; /* newest record of each half of the log */
    _Atomic uint64_t half_end[2];      /* where its records end, once it is not the active one */
    struct shared_lock writer;
    _Atomic uint32_t
        writer_is_brief; /* held for a checkpoint's first steps: waited for, whatever the timeout */
    _Atomic uint32_t writer_passes; /* turns taken without waiting while somebody waited */
    struct shared_lock checkpoint;
    _Atomic uint32_t blocks_backed; /* never falls; blocks_used is never more */
    uint32_t padding;
    /* The first process, while it has done so little that it has no background thread, or one that
     * could not get one: KV_NORMAL commits beside it are synced at once, for it would not see to
     * them if their process died. */
    _Atomic owner_word threadless;
    /* How long a half of the log may grow, as the process allows it that allows most. Never falls:
     * what one has logged another must be able to append to. */
    _Atomic uint64_t log_bytes_max;
    uint64_t padding_of_line[5];
    _Atomic uint64_t ring[HEAD_RING][16];
    struct head_entry entries[HEAD_ENTRIES];
    _Atomic owner_word blocks[HEAD_BLOCKS];
    /* The lock file ends behind those of `blocks_backed` blocks: to touch others is fatal. */
    struct head_slot slots[HEAD_SLOTS];
};

static inline uint64_t head_meta_sequence(const struct head *head)
{
    return atomic_load(&head->durable_meta) >> 1;
}
/* From now on the meta record `sequence`, of `txn`, may be on the disk without being the durable
 * one: who finds this and nobody behind it finishes it (intent_finish). */
static inline void head_intend(struct head *head, uint64_t sequence, uint64_t txn)
{
    atomic_store(&head->intent_sequence, sequence);
    atomic_store(&head->pinned_intent, txn);
}
void head_publish(struct head *head, const struct snapshot *snapshot);
void head_newest(const struct head *head, struct snapshot *out);
/* Takes a slot of this process and pins the newest snapshot in it. LIMIT when all slots are taken.
 */
sombra_err head_pin(struct btree *btree, uint64_t now_ns, unsigned *out_slot,
                    struct snapshot *out) SOMBRA_MUST_CHECK;
void head_unpin(struct head *head, unsigned slot);
/* All pinned txns, ascending, duplicates removed; returns how many (<= HEAD_SLOTS + 2). */
size_t head_pinned(struct head *head, uint64_t *out_txns);
/* The newest of them; 0 = none. */
uint64_t head_newest_pinned(const struct head *head);
/* A write or sync failed: no more writes, in no process. Reports it. */
void head_poison(struct btree *btree);
sombra_err head_check_writable(const struct head *head) SOMBRA_MUST_CHECK;

static inline unsigned snapshot_half(const struct snapshot *snapshot)
{
    return (unsigned)(snapshot->log_link_and_half & 1);
}
static inline struct wal_position snapshot_position(const struct snapshot *snapshot)
{
    return (struct wal_position){ .epoch = snapshot->log_epoch,
                                  .offset = snapshot->log_offset,
                                  .link = (uint32_t)(snapshot->log_link_and_half >> 1) };
}
static inline void snapshot_set_position(struct snapshot *snapshot, struct wal_position position,
                                         unsigned half)
{
    snapshot->log_epoch = position.epoch;
    snapshot->log_offset = position.offset;
    snapshot->log_link_and_half = (uint64_t)position.link << 1 | half;
}

#endif
