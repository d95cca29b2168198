/* SPDX-License-Identifier: MIT */
/* os_sim: a simulated machine whose disk forgets, tears, fails and rots on request. For tests.
 *
 * A machine (`struct os_sim`) has one file tree and any number of simulated processes; each process
 * is a `struct os` for the engine. Per file the machine keeps
 *   - the page cache: a memfd, so that mappings, SIGBUS behind the end and holes are the kernel's;
 *   - the durable image: what a power cut cannot take;
 *   - the changes between them, in order: sectors, sizes and (for directories) names.
 * A sync of a file moves its sectors and size into the durable image, a sync of a directory its
 * names, nothing else does. Stores through a mapping are found by comparing 512-byte sectors
 * whenever the file is synced or unmapped and whenever an image of the machine is taken.
 *
 * A crash is taken as an image: os_sim_crash gives a new machine, as it would boot after a power
 * cut at this moment, and leaves the old one running. With a hook that is called before every
 * mutating call a test cuts one run at every call:
 *
 *     static void cut(void *context, struct os_sim *sim, const struct os_sim_event *event) {
 *         for (int v = 0; v < OS_SIM_VARIANTS; v++) {
 *             struct os_sim *after = os_sim_crash(sim, v, event->number);
 *             ... open the database on os_sim_start(after), check it, close it ...
 *             os_sim_free(after);
 *         }
 *     }
 *
 * A mutating call is one that creates, writes, syncs, truncates, allocates, punches, renames,
 * links, unlinks (directories too), makes a directory or syncs one. They are counted from 1, over
 * the whole machine.
 *
 * Ownership: a process lives as long as its machine. Everything opened on a machine must be closed
 * before os_sim_free, by killed processes too (their closes are safe and change nothing).
 * Memory comes from malloc, not mem_*: the machine plays the kernel, which the tests of failing
 * allocations must neither fail nor count. When it is out, the test program aborts.
 *
 * Threads: real ones; every function may be called from any, also from the hook.
 *
 * Not simulated: symbolic links, permissions.
 */
#ifndef OS_SIM_H
#define OS_SIM_H

#include "os.h"

struct os_sim;

/* ---- machines and processes -------------------------------------------------------------- */

struct os_sim_options {
    uint64_t seed;            /* of os_random and of the order of nothing else */
    bool lacks_allocate;      /* os_allocate and os_punch are UNSUPPORTED */
    bool lacks_mapped_stores; /* os_can_store_mapped is false */
    bool is_network;          /* os_is_network is true, and so the above */
    bool lacks_populate;      /* os_map_populate falls back to reading */
};

/* An empty disk with a root directory; relative paths begin there too. NULL options are zeros. */
struct os_sim *os_sim_new(const struct os_sim_options *options);
void os_sim_free(struct os_sim *sim); /* NULL is a no-op */

/* A new process on the machine. */
struct os *os_sim_start(struct os_sim *sim);
/* The process dies before its n-th mutating call from now (1 = the next; 0 = it lives on). */
void os_sim_stop_at(struct os *process, uint64_t nth);
/* It dies now: its locks are released, every later call of its own fails with EIO, its mappings
 * turn private, so that nothing it still stores reaches anybody. The page cache stays: processes
 * started before or after see what a process sees after a neighbour's SIGKILL. */
void os_sim_kill(struct os *process);
bool os_sim_is_dead(struct os *process);

/* ---- power cuts -------------------------------------------------------------------------- */

/* X(NAME, text). What survives, of everything not yet synced. */
#define OS_SIM_VARIANT_LIST(X)                                \
    X(NOTHING, "nothing unsynced")                            \
    X(ALL, "everything")                                      \
    X(LAST_ONLY, "the last change only")                      \
    X(ALL_BUT_LAST, "all but the last change")                \
    X(LAST_TORN, "all, the last write torn at a sector")      \
    X(NAMES_ONLY, "names, no data and no sizes")              \
    X(DATA_ONLY, "data and sizes, no names")                  \
    X(SIZES_ONLY, "names and sizes, no data")                 \
    X(DATA_WITHOUT_SIZES, "names and data, no sizes")         \
    X(NEWER_HALF, "the newer half of the changes")            \
    X(OLDER_PART, "the changes up to a random one")           \
    X(RANDOM_WRITES, "each change by chance")                 \
    X(RANDOM_SECTORS, "each sector, size and name by chance") \
    X(RANDOM_NAMES, "data and sizes, each name by chance")    \
    X(RANDOM_FILES, "each file and directory as a whole by chance")

enum os_sim_variant {
#define OS_SIM_VARIANT_ENUM(name, text) OS_SIM_##name,
    OS_SIM_VARIANT_LIST(OS_SIM_VARIANT_ENUM)
#undef OS_SIM_VARIANT_ENUM
        OS_SIM_VARIANTS
};

const char *os_sim_variant_name(enum os_sim_variant variant);

/* The machine after a power cut now: a new one, without processes, hooks, faults or unsynced
 * changes. A sector that survives holds what the page cache held when the surviving change was
 * made, also what other changes had put there before. The same history and seed give the same disk.
 */
struct os_sim *os_sim_crash(struct os_sim *sim, enum os_sim_variant variant, uint64_t seed);
/* The machine as it is: page cache, durable images and unsynced changes; no process, no lock, no
 * hook, no fault. As if all its processes were killed, while the old machine goes on. */
struct os_sim *os_sim_clone(struct os_sim *sim);

/* ---- watching ---------------------------------------------------------------------------- */

enum os_sim_call {
    OS_SIM_CREATE,
    OS_SIM_WRITE,
    OS_SIM_SYNC,
    OS_SIM_TRUNCATE,
    OS_SIM_ALLOCATE,
    OS_SIM_PUNCH,
    OS_SIM_RENAME,
    OS_SIM_LINK,
    OS_SIM_UNLINK,
    OS_SIM_MAKE_DIRECTORY,
    OS_SIM_SYNC_DIRECTORY,
    OS_SIM_CALLS,
};

const char *os_sim_call_name(enum os_sim_call call);

struct os_sim_event {
    enum os_sim_call call;
    uint64_t number;    /* of the call, from 1, over the machine's life */
    const char *path;   /* as opened, or the (first) path of the call; lives for the hook's time */
    uint64_t offset;    /* of write, allocate, punch */
    uint64_t bytes;     /* of write, allocate, punch; the new size of truncate */
    struct os *process; /* who calls */
};

typedef void (*os_sim_hook_fn)(void *context, struct os_sim *sim, const struct os_sim_event *event);
/* Called before every mutating call, before it is known whether a fault strikes; NULL for none. The
 * machine is not locked meanwhile. The hook may look at, clone, crash, kill and fail; calls of the
 * machine's own processes that change something would call it again. */
void os_sim_set_hook(struct os_sim *sim, os_sim_hook_fn hook, void *context);

uint64_t os_sim_calls(struct os_sim *sim);  /* mutating calls begun so far */
uint64_t os_sim_faults(struct os_sim *sim); /* faults that struck so far */
/* Changes that a power cut could still take; stores through mappings count when they are found. */
uint64_t os_sim_unsynced(struct os_sim *sim);

/* ---- faults ------------------------------------------------------------------------------ */

enum os_sim_fault_kind {
    /* The call fails and changes nothing; but a sync that fails has lost the file's (directory's)
     * unsynced changes: the page cache keeps them, they count as clean, no later sync saves
     * them. */
    OS_SIM_EIO,
    /* The same, for calls that take space or save what took it; unlink, punch and the sync of a
     * directory are spared. */
    OS_SIM_ENOSPC,
    /* Interrupted before it did anything; strikes once. */
    OS_SIM_EINTR,
    /* A write transfers half, at least a byte. A sync saves the older half of the changes, loses
     * the others and fails with EIO. Other calls are spared. */
    OS_SIM_SHORT,
};

struct os_sim_fault {
    enum os_sim_fault_kind kind;
    uint64_t nth;   /* strikes at the n-th mutating call from now that `calls` names; >= 1 */
    bool is_sticky; /* and at all such calls after it; not with EINTR */
    unsigned calls; /* bits 1u << enum os_sim_call; 0 = all calls */
};

/* Replaces the fault in force; NULL removes it. */
void os_sim_fail(struct os_sim *sim, const struct os_sim_fault *fault);
/* The same for all kinds of call; nth 0 removes the fault. */
void os_sim_fail_at(struct os_sim *sim, uint64_t nth, enum os_sim_fault_kind kind, bool is_sticky);

/* ---- rot --------------------------------------------------------------------------------- */

/* Flips bits of one stored byte: in the page cache, on the disk and in unsynced changes. False if
 * there is no such file or byte. */
bool os_sim_flip(struct os_sim *sim, const char *path, uint64_t offset, uint8_t bits);
/* Reads and populates that touch the range fail with EIO from now on (mapped loads do not); 0 bytes
 * heals the file. One range per file. False if there is no such file. */
bool os_sim_break(struct os_sim *sim, const char *path, uint64_t offset, uint64_t bytes);

#endif
