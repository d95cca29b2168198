/* SPDX-License-Identifier: MIT */
/* The published head and the readers' slots, in memory that the processes of a store share. A
 * reader takes no lock, and waits for nobody but an editor (edit.c), for a microsecond:
 *
 *   1 read the sequence, copy its descriptor   2 store the descriptor's txn in a slot
 *   3 if there is an editor, wait for it       4 read the sequence again: equal, or from 1
 *
 * and a writer publishes before it scans the slots. All of these are sequentially consistent, so
 * that either the writer sees the slot, or the reader sees the newer head and repeats: a page is
 * never reused under a snapshot that was being taken. A descriptor torn by HEAD_RING publications
 * fails step 4.
 */
#include "btree_internal.h"

static_assert(sizeof(struct snapshot) == HEAD_SNAPSHOT_WORDS * sizeof(uint64_t),
              "a descriptor is words");
static_assert(sizeof(struct head_slot) == 64 && offsetof(struct head, slots) % 64 == 0 &&
                  offsetof(struct head, entries) % 64 == 0,
              "a slot is a cache line");

void head_publish(struct head *head, const struct snapshot *snapshot)
{
    uint64_t sequence = atomic_load_explicit(&head->sequence, memory_order_relaxed) + 1;
    uint64_t words[HEAD_SNAPSHOT_WORDS];
    memcpy(words, snapshot, sizeof words);
    _Atomic uint64_t *to = head->ring[sequence % HEAD_RING];
    for (size_t i = 0; i < HEAD_SNAPSHOT_WORDS; i++)
        atomic_store_explicit(&to[i], words[i], memory_order_relaxed);
    atomic_store(&head->sequence, sequence);
}

static uint64_t descriptor_copy(const struct head *head, struct snapshot *out)
{
    uint64_t sequence = atomic_load(&head->sequence);
    uint64_t words[HEAD_SNAPSHOT_WORDS];
    const _Atomic uint64_t *from = head->ring[sequence % HEAD_RING];
    for (size_t i = 0; i < HEAD_SNAPSHOT_WORDS; i++)
        words[i] = atomic_load_explicit(&from[i], memory_order_acquire);
    memcpy(out, words, sizeof words);
    return sequence;
}

void head_newest(const struct head *head, struct snapshot *out)
{
    uint64_t sequence;
    do
        sequence = descriptor_copy(head, out);
    while (atomic_load(&head->sequence) != sequence);
}

/* Where this thread found a slot last: the next search begins there. */
static _Thread_local unsigned slot_hint;

static bool slot_claim(struct head *head, unsigned index, uint64_t txn)
{
    uint64_t empty = 0;
    return atomic_load_explicit(&head->slots[index].txn, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong(&head->slots[index].txn, &empty, txn);
}

static bool own_slot_find(struct btree *btree, uint64_t txn, unsigned *out_index)
{
    const struct attachment *attachment = &btree->attachment;
    uint32_t count = atomic_load(&attachment->block_count);
    for (uint32_t i = 0; i < count; i++) {
        unsigned first = attachment->blocks[i] * HEAD_BLOCK_SLOTS;
        for (unsigned index = first; index < first + HEAD_BLOCK_SLOTS; index++) {
            if (slot_claim(btree->head, index, txn)) {
                *out_index = index;
                return true;
            }
        }
    }
    return false;
}

static sombra_err slot_find(struct btree *btree, uint64_t txn, unsigned *out_index)
{
    struct head *head = btree->head;
    unsigned hint = slot_hint;
    owner_word owner =
        atomic_load_explicit(&head->blocks[hint / HEAD_BLOCK_SLOTS], memory_order_relaxed);
    if (LIKELY(owner == btree->attachment.self) && slot_claim(head, hint, txn)) {
        *out_index = hint;
        return SOMBRA_OK;
    }
    while (!own_slot_find(btree, txn, out_index)) {
        uint32_t count = atomic_load(&btree->attachment.block_count);
        sombra_err err = SOMBRA_OK;
        os_mutex_lock(&btree->attachment.blocks_mutex);
        /* Another thread may have been faster. */
        if (count == atomic_load(&btree->attachment.block_count))
            err = shared_claim_block(btree);
        os_mutex_unlock(&btree->attachment.blocks_mutex);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* After the slot was set: an editor that began before may not have seen it. It is done within a
 * microsecond, unless another thread has its processor. One that died in the middle of it was alone
 * (edit.c), and whoever came then looked after that (shared_attach). */
static inline void editor_wait(struct head *head)
{
    enum { SPINS = 200, SLEEP_US = 20 };
    if (LIKELY(!atomic_load(&head->editor)))
        return;
    atomic_fetch_add_explicit(&head->editor_waits, 1, memory_order_relaxed);
    for (unsigned i = 0; atomic_load(&head->editor); i++)
        if (i >= SPINS)
            os_sleep_us(os_posix(), SLEEP_US);
}

sombra_err head_pin(struct btree *btree, uint64_t now_ns, unsigned *out_slot, struct snapshot *out)
{
    struct head *head = btree->head;
    struct snapshot snapshot;
    uint64_t sequence = descriptor_copy(head, &snapshot);
    unsigned index;
    sombra_err err = slot_find(btree, snapshot.txn ? snapshot.txn : 1, &index);
    if (err)
        return err;
    for (;;) {
        editor_wait(head);
        if (LIKELY(atomic_load(&head->sequence) == sequence))
            break;
        sequence = descriptor_copy(head, &snapshot);
        atomic_store(&head->slots[index].txn, snapshot.txn ? snapshot.txn : 1);
    }
    atomic_store_explicit(&head->slots[index].since_ns, now_ns, memory_order_relaxed);
    slot_hint = index;
    *out_slot = index;
    *out = snapshot;
    return SOMBRA_OK;
}

void head_unpin(struct head *head, unsigned slot)
{
    assert(slot < HEAD_SLOTS && atomic_load(&head->slots[slot].txn) != 0);
    atomic_store_explicit(&head->slots[slot].txn, 0, memory_order_release);
}

static void txns_insert(uint64_t *txns, size_t *count, uint64_t txn)
{
    size_t at = *count;
    while (at > 0 && txns[at - 1] > txn)
        at--;
    if (at > 0 && txns[at - 1] == txn)
        return;
    memmove(txns + at + 1, txns + at, (*count - at) * sizeof *txns);
    txns[at] = txn;
    (*count)++;
}

size_t head_pinned(struct head *head, uint64_t *out_txns)
{
    size_t count = 0;
    /* The intent first: a checkpoint becomes the durable one before it stops being intended. */
    uint64_t intent = atomic_load(&head->pinned_intent);
    uint64_t durable = atomic_load(&head->pinned_meta);
    uint64_t pinned[] = { intent, durable };
    for (size_t i = 0; i < COUNT_OF(pinned); i++)
        if (pinned[i])
            txns_insert(out_txns, &count, pinned[i]);
    uint32_t used = atomic_load(&head->blocks_used) * HEAD_BLOCK_SLOTS;
    for (uint32_t i = 0; i < used; i++) {
        uint64_t txn = atomic_load(&head->slots[i].txn);
        if (txn)
            txns_insert(out_txns, &count, txn);
    }
    return count;
}

uint64_t head_newest_pinned(const struct head *head)
{
    /* The intent first, as above. */
    uint64_t newest = atomic_load(&head->pinned_intent);
    newest = u64_max(newest, atomic_load(&head->pinned_meta));
    uint32_t used = atomic_load(&head->blocks_used) * HEAD_BLOCK_SLOTS;
    for (uint32_t i = 0; i < used; i++)
        newest = u64_max(newest, atomic_load(&head->slots[i].txn));
    return newest;
}

void head_poison(struct btree *btree)
{
    if (atomic_exchange(&btree->head->poisoned, 1))
        return;
    char text[DIAG_TEXT_BYTES]; /* of the failure: listeners leave it as it is */
    diag_save(text);
    kv_metrics_report(&btree->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_FAILURE,
                                          .text = "a write or sync failed: nothing more is written "
                                                  "until the database is reopened" });
    diag_restore(text);
}

sombra_err head_check_writable(const struct head *head)
{
    if (LIKELY(!atomic_load_explicit(&head->poisoned, memory_order_relaxed)))
        return SOMBRA_OK;
    return diag_fail(
        SOMBRA_IO,
        "a write or sync of the log or the database failed before: nothing more is written; "
        "close every handle and open the database again to recover it");
}
