/* SPDX-License-Identifier: MIT */
/* os: files, mappings, locks, threads and clocks, behind one table of operations.
 *
 * The table (`struct os_ops`, in os_ops.h) is the raw system: short transfers and EINTR happen
 * there. The functions of this header are what the engine calls: they repeat short and
 * interrupted transfers and turn errno into a code and a text that names the file.
 * Two systems exist: os_posix() and the simulated, failing one of the tests (os_sim.h).
 *
 * Promise relied on (strict POSIX): a sync of a file saves its data and size, a sync of a
 * directory saves names, nothing else is ordered, unsynced writes tear at 512 bytes, and a failed
 * sync has lost the data for good.
 *
 * Threads: a `struct os_file` may be used by several threads, except for close.
 * Errors: IO with errno's text; NOT_FOUND (open, unlink of a missing file), EXISTS, READONLY
 * (EACCES, EPERM, EROFS), LIMIT (ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE: the text says which), BUSY
 * (locks), NOMEM.
 */
#ifndef OS_H
#define OS_H

#include "base/base.h"

#include <pthread.h>
#include <inttypes.h>
#include <stdatomic.h>

struct os;      /* a system: posix or simulated */
struct os_file; /* an open file */

/* The real one; a constant, never freed. */
struct os *os_posix(void);

/* ---- files ------------------------------------------------------------------------------- */

enum os_open_flag {
    OS_READ = 0,
    OS_WRITE = 1,  /* read and write */
    OS_CREATE = 2, /* with OS_WRITE: make it if it is missing */
    OS_EXCLUSIVE =
        4,         /* with OS_CREATE: fail with EXISTS if it is there; symlinks are not followed */
    OS_RANDOM = 8, /* advise: no read-ahead by the system */
    OS_NO_FOLLOW = 16, /* fail if the last name is a symbolic link */
};

/* `mode` counts only for a new file (0600 unless the user asked otherwise). Always close-on-exec.
 * *out_file keeps a copy of `path` for its error texts. */
sombra_err os_open(struct os *os, const char *path, unsigned flags, unsigned mode,
                   struct os_file **out_file) SOMBRA_MUST_CHECK;
void os_close(struct os_file *file); /* NULL is a no-op */
const char *os_file_path(const struct os_file *file);

/* Reads exactly `bytes`; the file's end before that is CORRUPT ("... is cut short"). */
sombra_err os_read(struct os_file *file, uint64_t offset, void *to, size_t bytes) SOMBRA_MUST_CHECK;
/* Reads up to `bytes`; fewer only at the end of the file. */
sombra_err os_read_some(struct os_file *file, uint64_t offset, void *to, size_t bytes,
                        size_t *out_bytes) SOMBRA_MUST_CHECK;
/* Advice: this range is likely to be read soon, and may be fetched by one access of the medium.
 * Waits for nothing. */
void os_read_ahead(struct os_file *file, uint64_t offset, uint64_t bytes);
/* Advice: reads will jump about, so that nothing is fetched but what they ask for; or not any more.
 */
void os_advise_random(struct os_file *file, bool is_random);
sombra_err os_write(struct os_file *file, uint64_t offset, const void *from,
                    size_t bytes) SOMBRA_MUST_CHECK;
struct os_iovec {
    const void *data;
    size_t bytes;
};
/* Gathered write at one offset, in as few system calls as possible. */
sombra_err os_write_gather(struct os_file *file, uint64_t offset, const struct os_iovec *parts,
                           size_t count) SOMBRA_MUST_CHECK;
/* Advice: begins to write the range's changed pages to the medium, so that their memory can be had
 * again soon. Promises nothing; a failure is told by the next sync. */
void os_write_out(struct os_file *file, uint64_t offset, uint64_t bytes);
/* Advice: the range's pages, as far as they are written out, are not needed in memory. */
void os_forget(struct os_file *file, uint64_t offset, uint64_t bytes);
/* Writes zeros over [offset, offset + bytes), growing the file where it ends inside. */
sombra_err os_write_zeros(struct os_file *file, uint64_t offset, uint64_t bytes) SOMBRA_MUST_CHECK;

/* fdatasync: data and size are durable when it returns OK. Never call it again on a file after
 * it failed: a second success proves nothing. */
sombra_err os_sync(struct os_file *file) SOMBRA_MUST_CHECK;
sombra_err os_size(struct os_file *file, uint64_t *out_bytes) SOMBRA_MUST_CHECK;
sombra_err os_truncate(struct os_file *file, uint64_t bytes) SOMBRA_MUST_CHECK;
/* Backs [offset, offset + bytes) with real space and grows the file to its end if shorter
 * (posix_fallocate's promise); UNSUPPORTED where the file system has no such call, so that the
 * caller writes zeros. */
sombra_err os_allocate(struct os_file *file, uint64_t offset, uint64_t bytes) SOMBRA_MUST_CHECK;
/* Gives the space of the range back; reads give zeros. UNSUPPORTED where it cannot. */
sombra_err os_punch(struct os_file *file, uint64_t offset, uint64_t bytes) SOMBRA_MUST_CHECK;

struct os_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t links; /* hard links */
};
sombra_err os_identify(struct os_file *file, struct os_identity *out) SOMBRA_MUST_CHECK;
bool os_identity_is_same(const struct os_identity *a, const struct os_identity *b); /* one file */
/* True where allocated space is a promise that a mapped store relies on (ext4, tmpfs, xfs without
 * reflinks): elsewhere a store may die of SIGBUS on a full disk and pages are written with
 * os_write. */
bool os_can_store_mapped(struct os_file *file);
/* True where other machines may have the file open as well (NFS, SMB, 9p, cluster file systems):
 * they see neither this machine's shared memory nor, mostly, its locks. False in doubt. */
bool os_is_network(struct os_file *file);

/* ---- names ------------------------------------------------------------------------------- */

sombra_err os_identify_path(struct os *os, const char *path,
                            struct os_identity *out) SOMBRA_MUST_CHECK;
/* *out_is_same: the name it was opened by leads to the file still. NOT_FOUND: nothing has it. */
sombra_err os_check_name(struct os_file *file, bool *out_is_same) SOMBRA_MUST_CHECK;
sombra_err os_rename(struct os *os, const char *from,
                     const char *to) SOMBRA_MUST_CHECK; /* replaces */
/* Gives `from` the second name `to` and fails with EXISTS if there is one: publishing a new file
 * that must not replace another. */
sombra_err os_link(struct os *os, const char *from, const char *to) SOMBRA_MUST_CHECK;
sombra_err os_unlink(struct os *os, const char *path) SOMBRA_MUST_CHECK;
sombra_err os_make_directory(struct os *os, const char *path, unsigned mode) SOMBRA_MUST_CHECK;
/* An empty one; IO where something is in it. */
sombra_err os_remove_directory(struct os *os, const char *path) SOMBRA_MUST_CHECK;
/* Makes the names in the directory that holds `path` durable. */
sombra_err os_sync_directory_of(struct os *os, const char *path) SOMBRA_MUST_CHECK;
/* The path with every symbolic link resolved, malloc'ed by mem_*; for a file that does not exist
 * yet its directory is resolved. */
sombra_err os_resolve(struct os *os, const char *path, char **out_path) SOMBRA_MUST_CHECK;
/* Calls `each` for every name in the directory but "." and ".."; stops at the first error. */
sombra_err os_list_directory(struct os *os, const char *path,
                             sombra_err (*each)(void *context, const char *name),
                             void *context) SOMBRA_MUST_CHECK;

/* ---- mappings ---------------------------------------------------------------------------- */

/* Maps [offset, offset + bytes) shared; the range may reach beyond the file's end, where no byte
 * may be touched before the file has grown. Not inherited by fork and left out of core dumps. */
sombra_err os_map(struct os_file *file, uint64_t offset, size_t bytes, bool writable,
                  void **out_address) SOMBRA_MUST_CHECK;
void os_unmap(struct os_file *file, void *address, size_t bytes);
/* Brings [address, address + bytes) of a mapping of `file` (at `offset`) into memory, so that an
 * error of the medium is an IO error here and not a signal later. */
sombra_err os_map_populate(struct os_file *file, uint64_t offset, void *address,
                           size_t bytes) SOMBRA_MUST_CHECK;
/* Takes the file's pages out of a mapping, all at once and whoever stores to it meanwhile; the next
 * access brings them back, with everything that was stored. Before a sync: else that makes each of
 * them read-only, and tells every processor of each one by itself. Before os_forget: the system
 * keeps pages that are mapped. */
void os_map_let_go(struct os_file *file, void *address, size_t bytes);

/* Advice for a mapping of a file: accesses will jump about, or not any more. */
void os_map_advise_random(struct os_file *file, void *address, size_t bytes, bool is_random);

/* Of a page of memory: what a mapped store needs space for at once. */
size_t os_page_bytes(void);

/* Anonymous memory in whole pages, zeroed lazily; for databases without a file. NOMEM. */
sombra_err os_reserve_anonymous(size_t bytes, void **out_address) SOMBRA_MUST_CHECK;
void os_release_anonymous(void *address, size_t bytes);

/* How much the system could hold of this process's files in memory now: what is free or can be
 * freed, what it holds of them already included, within the limits of the control groups that the
 * process is in. UINT64_MAX: not known. It takes some 100 microseconds. */
uint64_t os_memory_bytes(struct os *os);

/* ---- locks: byte ranges, owned by the open file description (OFD), not by the process ------ */

enum os_lock_kind { OS_LOCK_SHARED, OS_LOCK_EXCLUSIVE };
/* BUSY at once if another description holds a conflicting one. Released by unlock and by close. */
sombra_err os_lock(struct os_file *file, uint64_t offset, uint64_t bytes,
                   enum os_lock_kind kind) SOMBRA_MUST_CHECK;
/* The same, tried again for up to `timeout_ms`. */
sombra_err os_lock_wait(struct os_file *file, uint64_t offset, uint64_t bytes,
                        enum os_lock_kind kind, uint64_t timeout_ms) SOMBRA_MUST_CHECK;
void os_unlock(struct os_file *file, uint64_t offset, uint64_t bytes);
/* Would another description's lock refuse this one? One's own locks never count. */
sombra_err os_lock_is_held(struct os_file *file, uint64_t offset, uint64_t bytes,
                           enum os_lock_kind kind, bool *out_held) SOMBRA_MUST_CHECK;

/* ---- clocks, randomness ------------------------------------------------------------------ */

uint64_t os_monotonic_ns(struct os *os);
/* The same clock, a few milliseconds behind at most, for a tenth of the cost. */
uint64_t os_coarse_ns(struct os *os);
uint64_t os_wall_ns(struct os *os); /* since 1970, UTC */
void os_sleep_us(struct os *os, uint64_t us);
/* Unpredictable bytes from the system. */
sombra_err os_random(struct os *os, void *to, size_t bytes) SOMBRA_MUST_CHECK;
uint64_t os_process_id(void);

/* ---- threads (never simulated) ----------------------------------------------------------- */

struct os_mutex {
    pthread_mutex_t handle;
};
struct os_condition {
    pthread_cond_t handle; /* on the monotonic clock */
};
struct os_thread {
    pthread_t handle;
};

sombra_err os_mutex_init(struct os_mutex *mutex) SOMBRA_MUST_CHECK;
void os_mutex_release(struct os_mutex *mutex);
void os_mutex_lock(struct os_mutex *mutex);
void os_mutex_unlock(struct os_mutex *mutex);
sombra_err os_condition_init(struct os_condition *condition) SOMBRA_MUST_CHECK;
void os_condition_release(struct os_condition *condition);
/* False when `timeout_ms` passed first; UINT64_MAX waits for ever. Spurious wake-ups happen. */
bool os_condition_wait(struct os_condition *condition, struct os_mutex *mutex, uint64_t timeout_ms);
void os_condition_broadcast(struct os_condition *condition);
sombra_err os_thread_start(struct os_thread *thread, void *(*run)(void *),
                           void *argument) SOMBRA_MUST_CHECK;
void os_thread_join(struct os_thread *thread);
/* Lets other threads that are ready run first. */
void os_thread_yield(void);

/* Waits while *word == expected, at most timeout_ms (futex); shared between processes when the word
 * lies in a shared mapping. Returns on wake, timeout, signal or at once if the word differs. */
void os_word_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ms);
void os_word_wake(_Atomic uint32_t *word, unsigned count);
/* The same for a word that no other process sees, which costs less, and at most timeout_ns
 * (UINT64_MAX: for ever), which the system may round up by some 50 microseconds. */
void os_own_word_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void os_own_word_wake(_Atomic uint32_t *word, unsigned count);

/* What this process has open, claims, fork(). */
#include "os_registry.h"

#endif
