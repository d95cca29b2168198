/* SPDX-License-Identifier: MIT */
/* os_posix: Linux behind the table of os_ops.h. No policy here: one call each, errno negated. */
#include "os_ops.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

/* Older headers lack them; the kernel answers EINVAL where it does not know them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

enum { SYMLINKS_MAX = 40 /* as the kernel follows */ };

static int or_errno(int result)
{
    return result < 0 ? -errno : result;
}

/* ---- files ------------------------------------------------------------------------------- */

/* A program whose standard output was closed would print into the file that got its number. Such a
 * number is given to what can be neither read nor written, and kept so. -1 with errno. */
static int away_from_standard(int fd)
{
    if (LIKELY(fd > STDERR_FILENO))
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int failure = errno;
    int nothing = open("/", O_PATH | O_CLOEXEC); /* EBADF for reads and writes */
    if (nothing < 0 || dup3(nothing, fd, O_CLOEXEC) < 0)
        (void)close(fd);
    if (nothing > STDERR_FILENO)
        (void)close(nothing);
    errno = failure;
    return moved;
}

static int posix_open(struct os *os, const char *path, unsigned flags, unsigned mode)
{
    (void)os;
    /* Of a pipe that somebody gives as a database the open would wait for a writer; to files it is
     * nothing. */
    int bits = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (flags & OS_WRITE ? O_RDWR : O_RDONLY);
    if (flags & OS_CREATE)
        bits |= O_CREAT;
    if (flags & OS_EXCLUSIVE)
        bits |= O_EXCL | O_NOFOLLOW;
    if (flags & OS_NO_FOLLOW)
        bits |= O_NOFOLLOW;
    int fd = open(path, bits, (mode_t)mode);
    if (fd >= 0)
        fd = away_from_standard(fd);
    if (fd < 0)
        return -errno;
    if (flags & OS_RANDOM)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* advice may be refused */
    return fd;
}

static void posix_close(struct os *os, int fd)
{
    (void)os;
    /* Linux has released the descriptor whatever close answers; a second call could hit another. */
    (void)close(fd);
}

static int64_t posix_read(struct os *os, int fd, uint64_t offset, void *to, size_t bytes)
{
    (void)os;
    ssize_t done = pread(fd, to, bytes, (off_t)offset);
    return done < 0 ? -errno : done;
}

static int64_t posix_write(struct os *os, int fd, uint64_t offset, const struct iovec *parts,
                           int count)
{
    (void)os;
    ssize_t done = pwritev(fd, parts, count, (off_t)offset);
    return done < 0 ? -errno : done;
}

static void posix_read_ahead(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)os;
    (void)posix_fadvise(fd, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
}

static void posix_advise_random(struct os *os, int fd, bool is_random)
{
    (void)os;
    (void)posix_fadvise(fd, 0, 0, is_random ? POSIX_FADV_RANDOM : POSIX_FADV_NORMAL);
}

/* Without the flags that wait: those would take note of an earlier failed write, which the next
 * fdatasync of the descriptor then would not tell. */
static void posix_write_out(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)os;
    (void)sync_file_range(fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

static void posix_forget(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)os;
    (void)posix_fadvise(fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}

static int posix_sync(struct os *os, int fd)
{
    (void)os;
    return or_errno(fdatasync(fd));
}

static int posix_truncate(struct os *os, int fd, uint64_t bytes)
{
    (void)os;
    return or_errno(ftruncate(fd, (off_t)bytes));
}

static int posix_allocate(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)os;
    /* Not posix_fallocate: glibc imitates it by writing where the file system cannot, and that
     * races with writers. */
    return or_errno(fallocate(fd, 0, (off_t)offset, (off_t)bytes));
}

static int posix_punch(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    (void)os;
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return or_errno(fallocate(fd, mode, (off_t)offset, (off_t)bytes));
}

static struct os_stat stat_from(const struct stat *stat)
{
    return (struct os_stat){
        .identity = { .device = (uint64_t)stat->st_dev,
                      .inode = (uint64_t)stat->st_ino,
                      .links = (uint64_t)stat->st_nlink },
        .bytes = (uint64_t)stat->st_size,
    };
}

static int posix_stat(struct os *os, int fd, struct os_stat *out_stat)
{
    (void)os;
    struct stat found;
    if (fstat(fd, &found) != 0)
        return -errno;
    *out_stat = stat_from(&found);
    return 0;
}

/* What xfs answers to XFS_IOC_FSGEOMETRY_V1, as far as it is looked at. */
struct xfs_geometry {
    uint32_t before_flags[23];
    uint32_t flags;
    uint32_t behind_flags[4];
};
static_assert(sizeof(struct xfs_geometry) == 112, "the size is part of the call's number");
#define XFS_GEOMETRY          _IOR('X', 100, struct xfs_geometry)
#define XFS_GEOMETRY_REFLINKS (UINT32_C(1) << 20)

/* A plain copy of a file may share its blocks where reflinks are possible, and a store to a shared
 * block needs new space. */
static bool xfs_has_reflinks(int fd)
{
    struct xfs_geometry geometry = { .flags = 0 };
    return ioctl(fd, XFS_GEOMETRY, &geometry) != 0 || (geometry.flags & XFS_GEOMETRY_REFLINKS);
}

/* Numbers of file systems whose files other machines may have open. Overlays and FUSE are not
 * among them: containers live on the one, and what is behind the other nobody tells. */
static const uint32_t network_magics[] = {
    0x6969,     /* nfs */
    0x517b,     /* smb */
    0xff534d42, /* cifs */
    0xfe534d42, /* smb2 */
    0x01021997, /* 9p */
    0x5346414f, /* afs (OpenAFS) */
    0x6b414653, /* afs */
    0x73757245, /* coda */
    0x564c,     /* ncp */
    0x00c36400, /* ceph */
    0x7461636f, /* ocfs2 */
    0x01161970, /* gfs2 */
    0x0bd00bd0, /* lustre */
    0x19830326, /* beegfs */
    0x47504653, /* gpfs */
    0xaad7aaea, /* panfs */
    0x013111a8, /* ibrix */
};

static int posix_file_system(struct os *os, int fd)
{
    (void)os;
    struct statfs found;
    if (fstatfs(fd, &found) != 0)
        return -errno;
    uint32_t magic = (uint32_t)found.f_type;
    if (magic == EXT4_SUPER_MAGIC /* ext2 and ext3 share the number */ || magic == TMPFS_MAGIC ||
        (magic == XFS_SUPER_MAGIC && !xfs_has_reflinks(fd)))
        return OS_STORES_MAPPED;
    for (size_t i = 0; i < COUNT_OF(network_magics); i++)
        if (magic == network_magics[i])
            return OS_NETWORK;
    return 0;
}

/* ---- names ------------------------------------------------------------------------------- */

static int posix_stat_path(struct os *os, const char *path, struct os_stat *out_stat)
{
    (void)os;
    struct stat found;
    if (stat(path, &found) != 0)
        return -errno;
    *out_stat = stat_from(&found);
    return 0;
}

static int posix_rename(struct os *os, const char *from, const char *to)
{
    (void)os;
    return or_errno(rename(from, to));
}

static int posix_link(struct os *os, const char *from, const char *to)
{
    (void)os;
    return or_errno(link(from, to));
}

static int posix_unlink(struct os *os, const char *path)
{
    (void)os;
    return or_errno(unlink(path));
}

static int posix_make_directory(struct os *os, const char *path, unsigned mode)
{
    (void)os;
    return or_errno(mkdir(path, (mode_t)mode));
}

static int posix_remove_directory(struct os *os, const char *path)
{
    (void)os;
    return or_errno(rmdir(path));
}

static int posix_sync_directory(struct os *os, const char *directory)
{
    (void)os;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = or_errno(fsync(fd));
    (void)close(fd);
    return result;
}

/* Resolves the directory of `path` and puts its last name behind. */
static int resolve_missing(const char *path, char *to)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -ENOENT; /* names a directory, which is not there */
    int length = slash == path ? 1 : slash ? (int)(slash - path) : 0;
    int printed = snprintf(directory, sizeof directory, "%.*s", length, slash ? path : "");
    if (printed < 0 || printed >= PATH_MAX)
        return -ENAMETOOLONG;
    if (!realpath(slash ? directory : ".", to))
        return -errno;
    size_t used = strlen(to);
    bool ends_in_slash = used > 0 && to[used - 1] == '/';
    printed = snprintf(to + used, PATH_MAX - used, "%s%s", ends_in_slash ? "" : "/", name);
    return printed < 0 || (size_t)printed >= PATH_MAX - used ? -ENAMETOOLONG : 0;
}

/* `to` holds a resolved directory and a last name that is a symbolic link to a file not yet there:
 * makes `next` the path it points to. 0 when it is no link. */
static int follow_dangling(const char *to, char *next)
{
    char target[PATH_MAX];
    ssize_t length = readlink(to, target, sizeof target - 1);
    if (length < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    target[length] = '\0';
    const char *slash = strrchr(to, '/');
    assert(slash);
    int directory = target[0] == '/' ? 0 : (int)(slash - to) + 1;
    int printed = snprintf(next, PATH_MAX, "%.*s%s", directory, to, target);
    return printed < 0 || printed >= PATH_MAX ? -ENAMETOOLONG : 1;
}

static int posix_resolve(struct os *os, const char *path, char *to)
{
    (void)os;
    char next[PATH_MAX];
    for (int followed = 0; followed < SYMLINKS_MAX; followed++) {
        if (realpath(path, to))
            return 0;
        if (errno != ENOENT)
            return -errno;
        int result = resolve_missing(path, to);
        if (result == 0)
            result = follow_dangling(to, next);
        if (result <= 0)
            return result;
        path = next;
    }
    return -ELOOP;
}

static int posix_list(struct os *os, const char *path,
                      sombra_err (*each)(void *context, const char *name), void *context,
                      sombra_err *out_err)
{
    (void)os;
    DIR *directory = opendir(path);
    if (!directory)
        return -errno;
    sombra_err err = SOMBRA_OK;
    int result = 0;
    while (!err) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            result = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            err = each(context, entry->d_name);
    }
    (void)closedir(directory);
    *out_err = err;
    return result;
}

/* ---- mappings ---------------------------------------------------------------------------- */

static int posix_map(struct os *os, int fd, uint64_t offset, size_t bytes, bool is_writable,
                     void **out_address)
{
    (void)os;
    int protection = is_writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *address = mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (address == MAP_FAILED)
        return -errno;
    if (madvise(address, bytes, MADV_DONTFORK) != 0) {
        int result = -errno;
        (void)munmap(address, bytes);
        return result;
    }
    (void)madvise(address, bytes, MADV_DONTDUMP); /* smaller dumps; nothing depends on it */
    *out_address = address;
    return 0;
}

static void posix_unmap(struct os *os, void *address, size_t bytes)
{
    (void)os;
    int result = munmap(address, bytes);
    assert(result == 0);
    (void)result;
}

int os_posix_populate(void *address, size_t bytes)
{
    uintptr_t page_bytes = os_page_bytes();
    uintptr_t first = (uintptr_t)address & ~(page_bytes - 1);
    uintptr_t end = ((uintptr_t)address + bytes + page_bytes - 1) & ~(page_bytes - 1);
    assert(first < end);
    return or_errno(
        madvise((char *)address - ((uintptr_t)address - first), end - first, MADV_POPULATE_READ));
}

static int posix_populate(struct os *os, int fd, uint64_t offset, void *address, size_t bytes)
{
    (void)os;
    (void)fd;
    (void)offset;
    return os_posix_populate(address, bytes);
}

static void posix_let_go(struct os *os, void *address, size_t bytes)
{
    (void)os;
    /* Locked memory refuses, and then it stays as it is. */
    (void)madvise(address, bytes, MADV_DONTNEED);
}

static void posix_map_advise_random(struct os *os, void *address, size_t bytes, bool is_random)
{
    (void)os;
    (void)madvise(address, bytes, is_random ? MADV_RANDOM : MADV_NORMAL);
}

static uint64_t posix_memory_bytes(struct os *os)
{
    (void)os;
    return os_posix_memory_bytes("");
}

/* ---- locks ------------------------------------------------------------------------------- */

static struct flock flock_of(uint64_t offset, uint64_t bytes, short type)
{
    assert(bytes > 0 && offset <= INT64_MAX && bytes - 1 <= INT64_MAX - offset);
    return (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)offset,
        .l_len = (off_t)bytes,
        .l_pid = 0, /* demanded for OFD locks */
    };
}

static int posix_lock(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    (void)os;
    struct flock lock = flock_of(offset, bytes, type);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno; /* POSIX lets a conflict be either */
}

static int posix_lock_is_held(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    (void)os;
    struct flock lock = flock_of(offset, bytes, type);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

/* ---- clocks, randomness ------------------------------------------------------------------ */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    int result = clock_gettime(clock, &now);
    assert(result == 0);
    (void)result;
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t posix_monotonic_ns(struct os *os)
{
    (void)os;
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_coarse_ns(struct os *os)
{
    (void)os;
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

static uint64_t posix_wall_ns(struct os *os)
{
    (void)os;
    return clock_ns(CLOCK_REALTIME);
}

static void posix_sleep_us(struct os *os, uint64_t us)
{
    (void)os;
    struct timespec left = { .tv_sec = (time_t)(us / 1000000),
                             .tv_nsec = (long)(us % 1000000) * 1000 };
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

static int64_t posix_random(struct os *os, void *to, size_t bytes)
{
    (void)os;
    ssize_t done = getrandom(to, bytes, 0);
    return done < 0 ? -errno : done;
}

/* ---- the table --------------------------------------------------------------------------- */

static const struct os_ops posix_ops = {
    .name = "posix",
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .read_ahead = posix_read_ahead,
    .advise_random = posix_advise_random,
    .write_out = posix_write_out,
    .forget = posix_forget,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .allocate = posix_allocate,
    .punch = posix_punch,
    .stat = posix_stat,
    .file_system = posix_file_system,
    .stat_path = posix_stat_path,
    .rename = posix_rename,
    .link = posix_link,
    .unlink = posix_unlink,
    .make_directory = posix_make_directory,
    .remove_directory = posix_remove_directory,
    .sync_directory = posix_sync_directory,
    .resolve = posix_resolve,
    .list = posix_list,
    .map = posix_map,
    .unmap = posix_unmap,
    .populate = posix_populate,
    .map_advise_random = posix_map_advise_random,
    .memory_bytes = posix_memory_bytes,
    .let_go = posix_let_go,
    .lock = posix_lock,
    .lock_is_held = posix_lock_is_held,
    .monotonic_ns = posix_monotonic_ns,
    .coarse_ns = posix_coarse_ns,
    .wall_ns = posix_wall_ns,
    .sleep_us = posix_sleep_us,
    .random = posix_random,
};

struct os *os_posix(void)
{
    static struct os posix = { .ops = &posix_ops };
    return &posix;
}
