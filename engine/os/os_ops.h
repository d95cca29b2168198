/* SPDX-License-Identifier: MIT */
/* os_ops: the raw system under os.h, as a table that the posix and the simulated system fill.
 *
 * Every operation answers like a Linux system call without errno: a count or 0, or -errno. It may
 * transfer less than asked, and it may be interrupted (-EINTR): os.c repeats. A descriptor is a
 * small number that only its own system understands.
 *
 * Private to os/ and to its tests.
 */
#ifndef OS_OPS_H
#define OS_OPS_H

#include "os.h"

#include <sys/uio.h>

struct os_stat {
    struct os_identity identity;
    uint64_t bytes;
};

/* What is known of a file's file system. */
enum os_file_system_bit {
    OS_STORES_MAPPED = 1, /* allocated space is a promise that a mapped store relies on */
    OS_NETWORK = 2,       /* other machines may have the file too, without sharing its memory */
};

struct os_ops {
    const char *name;

    /* files; `flags` are those of os.h */
    int (*open)(struct os *os, const char *path, unsigned flags, unsigned mode);
    void (*close)(struct os *os, int fd);
    int64_t (*read)(struct os *os, int fd, uint64_t offset, void *to, size_t bytes);
    int64_t (*write)(struct os *os, int fd, uint64_t offset, const struct iovec *parts, int count);
    /* Advice, may be NULL: this range is likely to be read soon. */
    void (*read_ahead)(struct os *os, int fd, uint64_t offset, uint64_t bytes);
    /* More advice, each may be NULL: os.h says what. */
    void (*advise_random)(struct os *os, int fd, bool is_random);
    void (*write_out)(struct os *os, int fd, uint64_t offset, uint64_t bytes);
    void (*forget)(struct os *os, int fd, uint64_t offset, uint64_t bytes);
    int (*sync)(struct os *os, int fd);
    int (*truncate)(struct os *os, int fd, uint64_t bytes);
    int (*allocate)(struct os *os, int fd, uint64_t offset, uint64_t bytes);
    int (*punch)(struct os *os, int fd, uint64_t offset, uint64_t bytes);
    int (*stat)(struct os *os, int fd, struct os_stat *out_stat);
    int (*file_system)(struct os *os, int fd); /* bits of os_file_system_bit */

    /* names */
    int (*stat_path)(struct os *os, const char *path, struct os_stat *out_stat);
    int (*rename)(struct os *os, const char *from, const char *to);
    int (*link)(struct os *os, const char *from, const char *to);
    int (*unlink)(struct os *os, const char *path);
    int (*make_directory)(struct os *os, const char *path, unsigned mode);
    int (*remove_directory)(struct os *os, const char *path);
    int (*sync_directory)(struct os *os, const char *directory);
    /* Writes at most PATH_MAX bytes to `to`, the closing zero among them. */
    int (*resolve)(struct os *os, const char *path, char *to);
    /* An error of `each` ends the listing, which then answers 0, and lands in *out_err. */
    int (*list)(struct os *os, const char *path,
                sombra_err (*each)(void *context, const char *name), void *context,
                sombra_err *out_err);

    /* mappings */
    int (*map)(struct os *os, int fd, uint64_t offset, size_t bytes, bool is_writable,
               void **out_address);
    void (*unmap)(struct os *os, void *address, size_t bytes);
    /* -EINVAL or -ENOSYS: not known here, os.c reads the range instead. */
    int (*populate)(struct os *os, int fd, uint64_t offset, void *address, size_t bytes);
    /* Advice, may be NULL: the mapping need not hold its pages just now. */
    void (*let_go)(struct os *os, void *address, size_t bytes);

    /* Advice, may be NULL. */
    void (*map_advise_random)(struct os *os, void *address, size_t bytes, bool is_random);
    /* May be NULL: nobody knows. */
    uint64_t (*memory_bytes)(struct os *os);

    /* locks; `type` is F_RDLCK, F_WRLCK or F_UNLCK; -EAGAIN when another description conflicts */
    int (*lock)(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type);
    int (*lock_is_held)(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type);

    /* clocks, randomness */
    uint64_t (*monotonic_ns)(struct os *os);
    uint64_t (*coarse_ns)(struct os *os);
    uint64_t (*wall_ns)(struct os *os);
    void (*sleep_us)(struct os *os, uint64_t us);
    int64_t (*random)(struct os *os, void *to, size_t bytes);
};

/* The head of every system. */
struct os {
    const struct os_ops *ops;
};

/* The real madvise, for systems whose mappings are the kernel's. */
int os_posix_populate(void *address, size_t bytes);

/* What posix answers to memory_bytes, with the system's files below `root` ("" = the real ones). */
uint64_t os_posix_memory_bytes(const char *root);

#endif
