/* SPDX-License-Identifier: MIT */
/* The processes of one store. They share the mapped lock file `<path>-lock` (struct head); each
 * holds the lock of one byte of it, which the system drops when the process dies, however it dies,
 * and by that alone the others know.
 *
 * The open byte is held while a process attaches, recovers, detaches: who holds it and finds no
 * other byte held is alone. Locks belong to open file descriptions: closing another handle of the
 * file drops nothing.
 */
#include "btree_internal.h"

enum {
    HEAD_MAGIC_LAYOUT = 5,
    WAIT_SLICE_MS = 10,
    SWEEP_INTERVAL_MS = 20,
    BLOCK_BYTES = HEAD_BLOCK_SLOTS * sizeof(struct head_slot),
    BACK_BYTES = 64 << 10, /* whole pages of memory: a store wants the space of all of its page */
};
#define HEAD_MAGIC (UINT64_C(0x736f6d6272610000) + HEAD_MAGIC_LAYOUT)

static owner_word word_of(unsigned entry, uint64_t generation)
{
    return generation << 16 | (entry + 1);
}
static unsigned entry_of(owner_word owner)
{
    return (unsigned)(owner & 0xffff) - 1;
}

/* ---- slots ------------------------------------------------------------------------------- */

static void block_clear(struct head *head, unsigned block)
{
    for (unsigned i = 0; i < HEAD_BLOCK_SLOTS; i++)
        atomic_store(&head->slots[block * HEAD_BLOCK_SLOTS + i].txn, 0);
    atomic_store(&head->blocks[block], 0);
}

/* Where the first `count` blocks end in the lock file. */
static uint64_t block_end(uint64_t count)
{
    return offsetof(struct head, slots) + count * BLOCK_BYTES;
}

/* How many of them end before `end`. */
static uint32_t blocks_before(uint64_t end)
{
    return (uint32_t)u64_min((end - block_end(0)) / BLOCK_BYTES, HEAD_BLOCKS);
}

/* The file ends behind the backed blocks: to touch others is a SIGBUS, and so is a store to a page
 * that gets no space on a full disk. So the space is there before anybody looks at the block. */
static sombra_err blocks_back(struct btree *btree, unsigned block)
{
    enum { BACK_WAIT_MS = 10000 };
    struct head *head = btree->head;
    struct os_file *file = btree->attachment.file;
    if (LIKELY(!file || block < atomic_load(&head->blocks_backed)))
        return SOMBRA_OK;
    sombra_err err = os_lock_wait(file, LOCK_SLOTS, 1, OS_LOCK_EXCLUSIVE, BACK_WAIT_MS);
    if (err)
        return err;
    uint64_t from = block_end(atomic_load(&head->blocks_backed));
    uint64_t end = u64_min(u64_align_up(block_end(block + 1), BACK_BYTES), sizeof *head);
    if (from < end) {
        err = os_allocate(file, from, end - from);
        if (err == SOMBRA_UNSUPPORTED)
            err = os_write_zeros(file, from, end - from);
        if (!err)
            atomic_store(&head->blocks_backed, blocks_before(end));
    }
    os_unlock(file, LOCK_SLOTS, 1);
    return diag_wrap(err, "make more reader slots");
}

/* The block of a dead owner: becomes one's own first, so that nobody else clears slots that were
 * handed on. */
static void block_bury(struct btree *btree, unsigned block, owner_word dead)
{
    if (atomic_compare_exchange_strong(&btree->head->blocks[block], &dead, btree->attachment.self))
        block_clear(btree->head, block);
}

/* One's entry may have belonged to a process that died: its blocks carry an older generation. */
static void blocks_bury_of_entry(struct btree *btree)
{
    for (unsigned block = 0; block < HEAD_BLOCKS; block++) {
        owner_word owner = atomic_load(&btree->head->blocks[block]);
        if (owner && owner != btree->attachment.self && entry_of(owner) == btree->attachment.entry)
            block_bury(btree, block, owner);
    }
}

sombra_err shared_claim_block(struct btree *btree)
{
    struct head *head = btree->head;
    struct attachment *attachment = &btree->attachment;
    sombra_err err = SOMBRA_OK;
    for (int round = 0; round < 2; round++) {
        for (unsigned block = 0; block < HEAD_BLOCKS; block++) {
            owner_word nobody = 0;
            if (atomic_load_explicit(&head->blocks[block], memory_order_relaxed) != 0)
                continue;
            err = blocks_back(btree, block);
            if (err)
                break; /* nor is there space for those above */
            /* The high-water mark rises before a slot of the block is used. */
            uint32_t used = atomic_load(&head->blocks_used);
            while (used < block + 1 &&
                   !atomic_compare_exchange_weak(&head->blocks_used, &used, block + 1))
                ;
            if (!atomic_compare_exchange_strong(&head->blocks[block], &nobody, attachment->self))
                continue;
            uint32_t count = atomic_load(&attachment->block_count);
            attachment->blocks[count] = (uint16_t)block;
            atomic_store(&attachment->block_count, count + 1);
            return SOMBRA_OK;
        }
        shared_sweep(btree);
    }
    if (err)
        return err;
    return diag_fail(SOMBRA_LIMIT, "all %d reader slots are taken: end some read transactions",
                     HEAD_SLOTS);
}

/* ---- life and death ---------------------------------------------------------------------- */

bool shared_is_alive(struct btree *btree, owner_word owner)
{
    if (owner == btree->attachment.self)
        return true;
    unsigned entry = entry_of(owner);
    if (entry >= HEAD_ENTRIES ||
        word_of(entry, atomic_load(&btree->head->entries[entry].generation)) != owner)
        return false;
    if (entry == btree->attachment.entry || !btree->attachment.file)
        return false;
    bool is_held = true;
    sombra_err err = os_lock_is_held(btree->attachment.file, LOCK_ENTRIES + entry, 1,
                                     OS_LOCK_EXCLUSIVE, &is_held);
    return err || is_held; /* in doubt it lives */
}

uint32_t shared_process_id(const struct btree *btree, owner_word owner)
{
    unsigned entry = entry_of(owner);
    return entry < HEAD_ENTRIES ? atomic_load(&btree->head->entries[entry].process_id) : 0;
}

/* A failed write-back is told once to every open description of the file. So the living ask again,
 * through their own: that a neighbour died while it waited for the disk is no reason to stop. */
static void inflight_settle(struct btree *btree, struct head_entry *entry)
{
    uint32_t inflight = atomic_load(&entry->sync_inflight);
    if (!inflight || btree->options.is_readonly)
        return;
    bool has_logs = atomic_load(&btree->head->has_logs);
    if (has_logs && !logs_are_open(&btree->logs))
        return; /* the next writer does it */
    shared_sync_begin(btree);
    sombra_err err = os_sync(btree->file);
    for (unsigned half = 0; half < LOG_HALVES && !err && has_logs; half++)
        err = wal_sync(btree->logs.halves[half]);
    shared_sync_end(btree, err);
    if (!err)
        (void)atomic_compare_exchange_strong(&entry->sync_inflight, &inflight, 0);
}

void shared_check_inflight(struct btree *btree, owner_word dead)
{
    inflight_settle(btree, &btree->head->entries[entry_of(dead)]);
}

static void entries_settle(struct btree *btree)
{
    for (unsigned i = 0; i < HEAD_ENTRIES; i++) {
        struct head_entry *entry = &btree->head->entries[i];
        if (LIKELY(!atomic_load(&entry->sync_inflight)))
            continue;
        if (!shared_is_alive(btree, word_of(i, atomic_load(&entry->generation))))
            inflight_settle(btree, entry);
    }
}

void shared_sweep(struct btree *btree)
{
    struct head *head = btree->head;
    if (!btree->attachment.file)
        return;
    uint64_t now_ns = os_monotonic_ns(btree->os);
    if (now_ns - btree->attachment.last_sweep_ns < SWEEP_INTERVAL_MS * UINT64_C(1000000) &&
        btree->attachment.last_sweep_ns)
        return;
    btree->attachment.last_sweep_ns = now_ns;
    uint32_t used = atomic_load(&head->blocks_used);
    owner_word last = 0;
    bool last_lives = true;
    for (uint32_t block = 0; block < used; block++) {
        owner_word owner = atomic_load(&head->blocks[block]);
        if (!owner || owner == btree->attachment.self)
            continue;
        if (owner != last)
            last_lives = shared_is_alive(btree, owner);
        last = owner;
        if (last_lives)
            continue;
        block_bury(btree, block, owner);
    }
    entries_settle(btree);
}

uint64_t shared_note_normal(struct btree *btree, uint64_t lsn)
{
    _Atomic uint64_t *normal_lsn = shared_normal_lsn(btree);
    uint64_t seen = atomic_load(normal_lsn);
    while (seen < lsn && !atomic_compare_exchange_weak(normal_lsn, &seen, lsn))
        ;
    return seen;
}

uint64_t shared_dead_normal_lsn(struct btree *btree)
{
    uint64_t durable_lsn = atomic_load(&btree->head->durable_lsn);
    uint64_t newest = 0;
    for (unsigned i = 0; i < HEAD_ENTRIES; i++) {
        struct head_entry *entry = &btree->head->entries[i];
        uint64_t lsn = atomic_load_explicit(&entry->normal_lsn, memory_order_relaxed);
        if (lsn > durable_lsn && lsn > newest &&
            !shared_is_alive(btree, word_of(i, atomic_load(&entry->generation))))
            newest = lsn;
    }
    return newest;
}

bool shared_beside_threadless(struct btree *btree)
{
    _Atomic owner_word *threadless = &btree->head->threadless;
    owner_word owner = atomic_load_explicit(threadless, memory_order_relaxed);
    if (LIKELY(!owner || owner == btree->attachment.self))
        return false;
    bool is_alive = shared_is_alive(btree, owner);
    if (!is_alive)
        (void)atomic_compare_exchange_strong(threadless, &owner, 0);
    return is_alive;
}

/* ---- locks in shared memory -------------------------------------------------------------- */

sombra_err shared_lock_enter(struct btree *btree, struct shared_lock *lock,
                             const struct gate_wish *wish, owner_word *out_dead,
                             bool *out_has_waited)
{
    uint64_t timeout_ms = wish->timeout_ms;
    owner_word self = btree->attachment.self;
    owner_word owner = 0;
    *out_dead = 0;
    if (LIKELY(atomic_compare_exchange_strong(&lock->owner, &owner, self)))
        return SOMBRA_OK;
    uint64_t begin_ns = os_monotonic_ns(os_posix());
    for (;;) {
        uint32_t sequence = atomic_load(&lock->sequence);
        owner = atomic_load(&lock->owner);
        if (owner == 0) {
            if (atomic_compare_exchange_strong(&lock->owner, &owner, self))
                return SOMBRA_OK;
            continue;
        }
        if (!shared_is_alive(btree, owner)) {
            owner_word dead = owner;
            if (atomic_compare_exchange_strong(&lock->owner, &owner, self)) {
                *out_dead = dead;
                return SOMBRA_OK;
            }
            continue;
        }
        uint64_t waited_ms = (os_monotonic_ns(os_posix()) - begin_ns) / 1000000;
        bool is_brief = lock == &btree->head->writer && atomic_load(&btree->head->writer_is_brief);
        if (waited_ms >= timeout_ms && !is_brief)
            return diag_fail(SOMBRA_BUSY,
                             "another process (%" PRIu32 ") was writing for %" PRIu64
                             " ms (busy timeout)",
                             shared_process_id(btree, owner), timeout_ms);
        sombra_err err = gate_wish_ask(wish);
        if (err)
            return err;
        atomic_fetch_add(&lock->waiters, 1);
        os_word_wait(&lock->sequence, sequence,
                     is_brief ? 1 : u64_min(WAIT_SLICE_MS, timeout_ms - waited_ms));
        atomic_fetch_sub(&lock->waiters, 1);
        if (out_has_waited)
            *out_has_waited = true;
    }
}

void shared_lock_leave(struct shared_lock *lock)
{
    atomic_store_explicit(&lock->owner, 0, memory_order_release);
    atomic_fetch_add(&lock->sequence, 1);
    if (atomic_load(&lock->waiters))
        os_word_wake(&lock->sequence, 1);
}

/* ---- syncs ------------------------------------------------------------------------------- */

void shared_sync_begin(struct btree *btree)
{
    atomic_fetch_add(&btree->head->entries[btree->attachment.entry].sync_inflight, 1);
}

void shared_sync_end(struct btree *btree, sombra_err err)
{
    if (err)
        head_poison(btree);
    atomic_fetch_sub(&btree->head->entries[btree->attachment.entry].sync_inflight, 1);
}

sombra_err shared_sync(struct btree *btree, struct os_file *file)
{
    shared_sync_begin(btree);
    sombra_err err = os_sync(file);
    shared_sync_end(btree, err);
    return err;
}

/* ---- attach ------------------------------------------------------------------------------ */

static sombra_err head_map(struct btree *btree)
{
    void *address = NULL;
    sombra_err err = os_map(btree->attachment.file, 0, sizeof *btree->head, true, &address);
    if (!err)
        btree->head = address;
    return err;
}

/* Nobody else is attached: whatever the file holds is history. It gets room for everything but the
 * slots, and for a few of those; for all of them where space is a promise only to who writes. */
static sombra_err head_make(struct btree *btree)
{
    struct os_file *file = btree->attachment.file;
    uint64_t backed = u64_align_up(block_end(1), os_page_bytes());
    if (backed > sizeof *btree->head || !os_can_store_mapped(file))
        backed = sizeof *btree->head;
    uint64_t bytes = 0;
    sombra_err err = os_size(file, &bytes);
    if (!err && bytes > 0)
        err = os_truncate(file, 0);
    if (!err)
        err = os_write_zeros(file, 0, backed);
    if (!err)
        err = head_map(btree);
    if (err)
        return err;
    atomic_store(&btree->head->blocks_backed, blocks_before(backed));
    btree->head->device = btree->identity.device;
    btree->head->inode = btree->identity.inode;
    btree->head->layout_bytes = sizeof *btree->head;
    return SOMBRA_OK;
}

static sombra_err head_join(struct btree *btree)
{
    uint64_t bytes = 0;
    sombra_err err = os_size(btree->attachment.file, &bytes);
    if (!err && (bytes < block_end(1) || bytes > sizeof *btree->head))
        err = diag_fail(SOMBRA_UNSUPPORTED,
                        "%s: another version of sombra has %s open (its lock file has %" PRIu64
                        " bytes, expected %zu at most): close it first",
                        os_file_path(btree->attachment.file), btree->path, bytes,
                        sizeof *btree->head);
    if (!err)
        err = head_map(btree);
    if (err)
        return err;
    if (atomic_load(&btree->head->magic) != HEAD_MAGIC ||
        btree->head->layout_bytes != sizeof *btree->head)
        return diag_fail(SOMBRA_UNSUPPORTED,
                         "%s: another version of sombra has %s open: close it first",
                         os_file_path(btree->attachment.file), btree->path);
    if (btree->head->device != btree->identity.device ||
        btree->head->inode != btree->identity.inode)
        return diag_fail(
            SOMBRA_CONFLICT,
            "%s was moved or replaced while another process has it open under this name: "
            "close every handle first",
            btree->path);
    return SOMBRA_OK;
}

static sombra_err entry_claim(struct btree *btree)
{
    struct attachment *attachment = &btree->attachment;
    for (unsigned entry = 0; entry < HEAD_ENTRIES; entry++) {
        sombra_err err = os_lock(attachment->file, LOCK_ENTRIES + entry, 1, OS_LOCK_EXCLUSIVE);
        if (err == SOMBRA_BUSY)
            continue;
        if (err)
            return err;
        struct head_entry *at = &btree->head->entries[entry];
        /* Those who knew it alive settle that. */
        bool is_unsynced = atomic_load(&at->normal_lsn) > atomic_load(&btree->head->durable_lsn);
        if (atomic_load(&at->sync_inflight) || is_unsynced) {
            os_unlock(attachment->file, LOCK_ENTRIES + entry, 1);
            continue;
        }
        uint64_t generation = atomic_fetch_add(&at->generation, 1) + 1;
        atomic_store(&at->process_id, (uint32_t)os_process_id());
        atomic_store(&at->normal_lsn, 0);
        attachment->entry = entry;
        attachment->self = word_of(entry, generation);
        blocks_bury_of_entry(btree);
        return SOMBRA_OK;
    }
    return diag_fail(SOMBRA_LIMIT, "%s: %d processes have it open already", btree->path,
                     HEAD_ENTRIES);
}

/* Opens the lock file and takes the open byte, of the file that has the name then. */
static sombra_err lock_open(struct btree *btree, const char *path, uint64_t timeout_ms)
{
    struct attachment *attachment = &btree->attachment;
    for (;;) {
        sombra_err err =
            os_open(btree->os, path, OS_WRITE | OS_CREATE, btree->options.mode, &attachment->file);
        if (err)
            return err; /* not found, too: then it cannot be made, and another try does not help */
        err = os_lock_wait(attachment->file, LOCK_OPEN, 1, OS_LOCK_EXCLUSIVE, timeout_ms);
        bool has_name = false;
        if (!err)
            err = os_check_name(attachment->file, &has_name);
        if (!err && has_name)
            return SOMBRA_OK;
        os_close(attachment->file);
        attachment->file = NULL;
        if (err && err != SOMBRA_NOT_FOUND)
            return err;
    }
}

/* Both sides set their byte and then look for the other's: at least one of two that come at once
 * gives way. */
static sombra_err sides_exclude(struct btree *btree, uint64_t mine, uint64_t theirs,
                                const char *who)
{
    bool is_held = false;
    sombra_err err = os_lock(btree->file, mine, 1, OS_LOCK_SHARED);
    if (!err)
        err = os_lock_is_held(btree->file, theirs, 1, OS_LOCK_EXCLUSIVE, &is_held);
    if (err || !is_held)
        return err;
    os_unlock(btree->file, mine, 1);
    return diag_fail(SOMBRA_BUSY, "%s is open %s", btree->path, who);
}

/* Both set their byte and then look for others, as above. */
static sombra_err names_exclude(struct btree *btree)
{
    struct attachment *attachment = &btree->attachment;
    const uint64_t count = UINT64_C(1) << LOCK_NAME_BITS;
    struct os_identity lock;
    sombra_err err = os_identify(attachment->file, &lock);
    if (err)
        return err;
    uint64_t at = hash_u64(hash_u64(lock.device) ^ lock.inode) % count;
    bool is_held = false;
    err = os_lock(btree->file, LOCK_NAMES + at, 1, OS_LOCK_SHARED);
    if (err)
        return err;
    attachment->name_byte = LOCK_NAMES + at;
    if (at > 0)
        err = os_lock_is_held(btree->file, LOCK_NAMES, at, OS_LOCK_EXCLUSIVE, &is_held);
    if (!err && !is_held && at + 1 < count)
        err = os_lock_is_held(btree->file, LOCK_NAMES + at + 1, count - at - 1, OS_LOCK_EXCLUSIVE,
                              &is_held);
    if (!err && is_held)
        err = diag_fail(SOMBRA_CONFLICT,
                        "%s is open under another name (renamed, or mounted twice), or its lock "
                        "file was removed: close it there first",
                        btree->path);
    return err;
}

static void name_leave(struct btree *btree)
{
    if (btree->attachment.name_byte)
        os_unlock(btree->file, btree->attachment.name_byte, 1);
    btree->attachment.name_byte = 0;
}

/* A reader that may not write the lock file cannot say what it reads: it keeps writers out instead.
 */
static sombra_err attach_slotless(struct btree *btree)
{
    sombra_err err =
        sides_exclude(btree, LOCK_SLOTLESS, LOCK_WRITERS,
                      "for writing, and this process may not write the lock file beside it");
    return err ? err : shared_private(btree);
}

/* With its entry, where others are attached: whoever changes pages where they are (edit.c) is
 * alone, and learns by this that it no longer is. A change that it had begun is waited for.
 * *out_joined false: it died in the middle of it, and what it left is for the recovery of who is
 * first. */
static sombra_err join(struct btree *btree, uint64_t timeout_ms, bool *out_joined)
{
    struct head *head = btree->head;
    enum { LOOK_US = 50, LONG_MS = 1000 };
    uint64_t begin_ns = os_monotonic_ns(os_posix());
    *out_joined = true;
    if (btree->attachment.is_first)
        return SOMBRA_OK;
    btree->edits.joins = UINT64_MAX;
    atomic_fetch_add(&head->joins, 1);
    for (;;) {
        owner_word editor = atomic_load(&head->editor);
        if (!editor)
            return SOMBRA_OK;
        *out_joined = shared_is_alive(btree, editor) || atomic_load(&head->editor) != editor;
        if (!*out_joined)
            return SOMBRA_OK;
        /* It takes a microsecond, unless the process was stopped in it. */
        if ((os_monotonic_ns(os_posix()) - begin_ns) / 1000000 > u64_max(timeout_ms, LONG_MS))
            return diag_fail(SOMBRA_BUSY, "%s: another process (%" PRIu32 ") is in a commit",
                             btree->path, shared_process_id(btree, editor));
        os_sleep_us(os_posix(), LOOK_US);
    }
}

/* What an attempt to join has. */
static void head_leave(struct btree *btree)
{
    if (!btree->head)
        return;
    os_unlock(btree->attachment.file, LOCK_ENTRIES + btree->attachment.entry, 1);
    os_unmap(btree->attachment.file, btree->head, sizeof *btree->head);
    btree->head = NULL;
    btree->edits = (struct edits){ 0 };
}

sombra_err shared_attach(struct btree *btree, uint64_t timeout_ms)
{
    struct attachment *attachment = &btree->attachment;
    char *path = path_with(btree->path, "-lock");
    if (!path)
        return diag_nomem("the lock file's path", strlen(btree->path));
    sombra_err err = lock_open(btree, path, timeout_ms);
    mem_free(path);
    if (err == SOMBRA_READONLY && btree->options.is_readonly)
        return attach_slotless(btree);
    if (!err && !btree->options.is_readonly)
        err = sides_exclude(
            btree, LOCK_WRITERS, LOCK_SLOTLESS,
            "read-only by a process that may not write the lock file: it must close first");
    if (!err)
        err = names_exclude(btree);
    if (err)
        return diag_wrap(err, "lock %s", btree->path);
    bool has_joined = false;
    do {
        bool is_held = true;
        head_leave(btree);
        err = os_lock_is_held(attachment->file, LOCK_ENTRIES, HEAD_ENTRIES, OS_LOCK_EXCLUSIVE,
                              &is_held);
        attachment->is_first = !is_held;
        if (!err)
            err = attachment->is_first ? head_make(btree) : head_join(btree);
        if (!err)
            err = entry_claim(btree);
        if (!err)
            err = join(btree, timeout_ms, &has_joined);
    } while (!err && !has_joined);
    return err;
}

void shared_open_done(struct btree *btree)
{
    if (!btree->attachment.file)
        return;
    atomic_store(&btree->head->magic, HEAD_MAGIC);
    os_unlock(btree->attachment.file, LOCK_OPEN, 1);
}

sombra_err shared_begin_close(struct btree *btree, bool *out_is_last)
{
    enum { CLOSE_WAIT_MS = 10000 };
    *out_is_last = true;
    if (!btree->attachment.file)
        return SOMBRA_OK;
    bool is_held = true;
    sombra_err err =
        os_lock_wait(btree->attachment.file, LOCK_OPEN, 1, OS_LOCK_EXCLUSIVE, CLOSE_WAIT_MS);
    if (!err)
        err = os_lock_is_held(btree->attachment.file, LOCK_ENTRIES, HEAD_ENTRIES, OS_LOCK_EXCLUSIVE,
                              &is_held);
    *out_is_last = !err && !is_held;
    return err;
}

sombra_err shared_hold_alone(struct btree *btree, bool *out_is_alone)
{
    assert(btree->attachment.file);
    bool is_held = true;
    sombra_err err = os_lock(btree->attachment.file, LOCK_OPEN, 1, OS_LOCK_EXCLUSIVE);
    if (err == SOMBRA_BUSY) {
        *out_is_alone = false;
        return SOMBRA_OK;
    }
    if (!err)
        err = os_lock_is_held(btree->attachment.file, LOCK_ENTRIES, HEAD_ENTRIES, OS_LOCK_EXCLUSIVE,
                              &is_held);
    if (err || is_held)
        shared_open_done(btree);
    if (!err)
        *out_is_alone = !is_held;
    return err;
}

/* Best effort: the next process to attach makes a new one anyway. Not that of a store which has
 * this one's name by now. */
static void lock_file_unlink(struct btree *btree)
{
    struct os_file *file = btree->attachment.file;
    bool has_name = false;
    sombra_err err = os_check_name(file, &has_name);
    if (!err && has_name)
        err = os_unlink(btree->os, os_file_path(file));
    (void)err;
}

void shared_detach(struct btree *btree, bool removes_file)
{
    struct attachment *attachment = &btree->attachment;
    if (!attachment->file) {
        if (btree->head)
            os_release_anonymous(btree->head, sizeof *btree->head);
        btree->head = NULL;
        return;
    }
    if (btree->head) {
        for (uint32_t i = 0; i < atomic_load(&attachment->block_count); i++)
            block_clear(btree->head, attachment->blocks[i]);
        os_unmap(attachment->file, btree->head, sizeof *btree->head);
        btree->head = NULL;
    }
    /* Before the lock file goes: the next one is another file. */
    name_leave(btree);
    if (removes_file)
        lock_file_unlink(btree);
    os_close(attachment->file); /* and with it the locks */
    attachment->file = NULL;
}

sombra_err shared_private(struct btree *btree)
{
    void *head = NULL;
    sombra_err err = os_reserve_anonymous(sizeof *btree->head, &head);
    if (err)
        return err;
    btree->head = head;
    btree->attachment.is_first = true;
    btree->attachment.self = word_of(0, 1);
    atomic_store(&btree->head->entries[0].generation, 1);
    atomic_store(&btree->head->entries[0].process_id, (uint32_t)os_process_id());
    return SOMBRA_OK;
}
