/* SPDX-License-Identifier: MIT */
/* os: the engine's view of a system. Repeats what was short or interrupted, and turns -errno into
 * a code and a text that names the file. */
#include "os_ops.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    GATHER_MAX = 64,              /* parts of one system call; longer lists take several */
    ZERO_BLOCK_BYTES = 64 * 1024, /* one shared block of zeros ... */
    ZERO_BLOCKS = 16,             /* ... named so many times in one call */
    LOCK_POLL_US_MIN = 200,
    LOCK_POLL_US_MAX = 10000,
};

struct os_file {
    struct os *os;
    int fd;
    char path[]; /* as the caller named it, for texts */
};

/* ---- errno to code and text -------------------------------------------------------------- */

struct errno_row {
    int code;
    sombra_err err;
    const char *text; /* NULL: the system's own */
};

static const struct errno_row errno_rows[] = {
    { ENOENT, SOMBRA_NOT_FOUND, NULL },
    { EEXIST, SOMBRA_EXISTS, NULL },
    { EACCES, SOMBRA_READONLY, "permission denied" },
    { EPERM, SOMBRA_READONLY, "operation not permitted" },
    { EROFS, SOMBRA_READONLY, "the file system is read-only" },
    { ENOMEM, SOMBRA_NOMEM, "out of memory or address space (ENOMEM: see ulimit -v)" },
    { ENOSPC, SOMBRA_LIMIT, "the disk is full (ENOSPC)" },
    { EDQUOT, SOMBRA_LIMIT, "the disk quota is used up (EDQUOT)" },
    { EFBIG, SOMBRA_LIMIT, "the file may not grow so large (EFBIG: file system or ulimit -f)" },
    { EMFILE, SOMBRA_LIMIT, "this process has too many open files (EMFILE: see ulimit -n)" },
    { ENFILE, SOMBRA_LIMIT, "the system has too many open files (ENFILE)" },
};

/* `code` is a negative answer of an operation; the format says what was tried. */
static sombra_err fail_errno(int64_t code, const char *path, const char *format, ...)
    SOMBRA_PRINTF(3, 4);

static sombra_err fail_errno(int64_t code, const char *path, const char *format, ...)
{
    assert(code < 0 && path);
    char what[96];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);

    char buffer[128];
    const char *text = strerror_r((int)-code, buffer, sizeof buffer);
    sombra_err err = SOMBRA_IO;
    for (size_t i = 0; i < COUNT_OF(errno_rows); i++) {
        if (errno_rows[i].code == -code) {
            err = errno_rows[i].err;
            text = errno_rows[i].text ? errno_rows[i].text : text;
        }
    }
    return diag_fail(err, "%s: %s: %s", path, what, text);
}

/* Repeats a call that answers like a system call until it is not interrupted. */
#define RETRY(result, call) \
    do                      \
        (result) = (call);  \
    while ((result) == -EINTR)

static sombra_err check(int64_t result, const char *path, const char *what)
{
    return result < 0 ? fail_errno(result, path, "%s", what) : SOMBRA_OK;
}

/* ---- files: lifecycle -------------------------------------------------------------------- */

sombra_err os_open(struct os *os, const char *path, unsigned flags, unsigned mode,
                   struct os_file **out_file)
{
    assert(os && path && out_file);
    assert(!(flags & OS_CREATE) || (flags & OS_WRITE));
    assert(!(flags & OS_EXCLUSIVE) || (flags & OS_CREATE));
    size_t path_bytes = strlen(path) + 1;
    struct os_file *file = mem_alloc(sizeof *file + path_bytes);
    if (!file)
        return diag_nomem("an open file", sizeof *file + path_bytes);
    int fd;
    RETRY(fd, os->ops->open(os, path, flags, mode));
    if (fd < 0) {
        mem_free(file);
        return fail_errno(fd, path, "open%s", flags & OS_WRITE ? " for writing" : "");
    }
    file->os = os;
    file->fd = fd;
    memcpy(file->path, path, path_bytes);
    *out_file = file;
    return SOMBRA_OK;
}

void os_close(struct os_file *file)
{
    if (!file)
        return;
    file->os->ops->close(file->os, file->fd);
    mem_free(file);
}

const char *os_file_path(const struct os_file *file)
{
    return file->path;
}

/* ---- files: read ------------------------------------------------------------------------- */

sombra_err os_read_some(struct os_file *file, uint64_t offset, void *to, size_t bytes,
                        size_t *out_bytes)
{
    assert(to || bytes == 0);
    assert(offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    size_t done = 0;
    while (done < bytes) {
        int64_t got;
        RETRY(got, file->os->ops->read(file->os, file->fd, offset + done, (uint8_t *)to + done,
                                       bytes - done));
        if (got < 0)
            return fail_errno(got, file->path, "read %zu bytes at %" PRIu64, bytes, offset);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    assert(done <= bytes);
    *out_bytes = done;
    return SOMBRA_OK;
}

sombra_err os_read(struct os_file *file, uint64_t offset, void *to, size_t bytes)
{
    size_t done = 0;
    sombra_err err = os_read_some(file, offset, to, bytes, &done);
    if (!err && done < bytes)
        err = diag_fail(SOMBRA_CORRUPT,
                        "%s is cut short: %zu bytes wanted at %" PRIu64 ", %zu are there",
                        file->path, bytes, offset, done);
    return err;
}

void os_advise_random(struct os_file *file, bool is_random)
{
    if (file->os->ops->advise_random)
        file->os->ops->advise_random(file->os, file->fd, is_random);
}

void os_write_out(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    if (file->os->ops->write_out)
        file->os->ops->write_out(file->os, file->fd, offset, bytes);
}

void os_forget(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    if (file->os->ops->forget)
        file->os->ops->forget(file->os, file->fd, offset, bytes);
}

void os_read_ahead(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    assert(offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    if (file->os->ops->read_ahead)
        file->os->ops->read_ahead(file->os, file->fd, offset, bytes);
}

/* ---- files: write ------------------------------------------------------------------------ */

/* Drops `done` transferred bytes from the front of parts[*first ...]. */
static void parts_advance(struct iovec *parts, size_t count, size_t *first, size_t done)
{
    while (*first < count && done >= parts[*first].iov_len) {
        done -= parts[*first].iov_len;
        (*first)++;
    }
    if (done > 0) {
        assert(*first < count);
        parts[*first].iov_base = (uint8_t *)parts[*first].iov_base + done;
        parts[*first].iov_len -= done;
    }
}

/* Writes all of at most GATHER_MAX parts; uses them up. */
static sombra_err write_parts(struct os_file *file, uint64_t offset, struct iovec *parts,
                              size_t count, uint64_t bytes)
{
    assert(count <= GATHER_MAX);
    assert(offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    size_t first = 0;
    uint64_t done = 0;
    while (done < bytes) {
        int64_t wrote;
        RETRY(wrote, file->os->ops->write(file->os, file->fd, offset + done, parts + first,
                                          (int)(count - first)));
        if (wrote == 0)
            wrote = -EIO; /* accepting nothing for ever must not become a loop */
        if (wrote < 0)
            return fail_errno(wrote, file->path, "write %" PRIu64 " bytes at %" PRIu64, bytes,
                              offset);
        done += (uint64_t)wrote;
        parts_advance(parts, count, &first, (size_t)wrote);
    }
    assert(done == bytes);
    return SOMBRA_OK;
}

static struct iovec iovec_of(const void *data, size_t bytes)
{
    /* The system's type serves reads too, hence no const. */
    return (struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = bytes };
}

sombra_err os_write(struct os_file *file, uint64_t offset, const void *from, size_t bytes)
{
    assert(from || bytes == 0);
    struct iovec part = iovec_of(from, bytes);
    return write_parts(file, offset, &part, 1, bytes);
}

sombra_err os_write_gather(struct os_file *file, uint64_t offset, const struct os_iovec *parts,
                           size_t count)
{
    struct iovec batch[GATHER_MAX];
    size_t next = 0;
    while (next < count) {
        size_t batch_count = 0;
        uint64_t bytes = 0;
        for (; next < count && batch_count < GATHER_MAX; next++) {
            assert(parts[next].data || parts[next].bytes == 0);
            bytes += parts[next].bytes;
            batch[batch_count++] = iovec_of(parts[next].data, parts[next].bytes);
        }
        sombra_err err = write_parts(file, offset, batch, batch_count, bytes);
        if (err)
            return err;
        offset += bytes;
    }
    return SOMBRA_OK;
}

sombra_err os_write_zeros(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    static uint8_t
        zeros[ZERO_BLOCK_BYTES]; /* never written; not const, to stay out of the binary */
    struct iovec batch[ZERO_BLOCKS];
    static_assert(ZERO_BLOCKS <= GATHER_MAX, "one call takes them all");
    while (bytes > 0) {
        size_t count = 0;
        uint64_t batch_bytes = 0;
        while (count < ZERO_BLOCKS && batch_bytes < bytes) {
            size_t part = (size_t)u64_min(bytes - batch_bytes, ZERO_BLOCK_BYTES);
            batch[count++] = iovec_of(zeros, part);
            batch_bytes += part;
        }
        sombra_err err = write_parts(file, offset, batch, count, batch_bytes);
        if (err)
            return err;
        offset += batch_bytes;
        bytes -= batch_bytes;
    }
    return SOMBRA_OK;
}

sombra_err os_sync(struct os_file *file)
{
    int result;
    RETRY(result, file->os->ops->sync(file->os, file->fd));
    return check(result, file->path, "sync");
}

sombra_err os_truncate(struct os_file *file, uint64_t bytes)
{
    assert(bytes <= INT64_MAX);
    int result;
    RETRY(result, file->os->ops->truncate(file->os, file->fd, bytes));
    return result < 0 ? fail_errno(result, file->path, "truncate to %" PRIu64 " bytes", bytes)
                      : SOMBRA_OK;
}

/* Both forms of fallocate share their "not here". */
static sombra_err range_result(int result, const struct os_file *file, const char *what,
                               uint64_t offset, uint64_t bytes)
{
    if (result == -EOPNOTSUPP || result == -ENOSYS)
        return diag_fail(SOMBRA_UNSUPPORTED, "%s: the file system cannot %s a range", file->path,
                         what);
    if (result < 0)
        return fail_errno(result, file->path, "%s %" PRIu64 " bytes at %" PRIu64, what, bytes,
                          offset);
    return SOMBRA_OK;
}

sombra_err os_allocate(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    assert(bytes > 0 && offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    int result;
    RETRY(result, file->os->ops->allocate(file->os, file->fd, offset, bytes));
    return range_result(result, file, "allocate", offset, bytes);
}

sombra_err os_punch(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    assert(bytes > 0 && offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    int result;
    RETRY(result, file->os->ops->punch(file->os, file->fd, offset, bytes));
    return range_result(result, file, "punch", offset, bytes);
}

/* ---- files: what they are ---------------------------------------------------------------- */

sombra_err os_size(struct os_file *file, uint64_t *out_bytes)
{
    struct os_stat stat;
    int result = file->os->ops->stat(file->os, file->fd, &stat);
    if (result < 0)
        return fail_errno(result, file->path, "stat");
    *out_bytes = stat.bytes;
    return SOMBRA_OK;
}

sombra_err os_identify(struct os_file *file, struct os_identity *out)
{
    struct os_stat stat;
    int result = file->os->ops->stat(file->os, file->fd, &stat);
    if (result < 0)
        return fail_errno(result, file->path, "stat");
    *out = stat.identity;
    return SOMBRA_OK;
}

bool os_identity_is_same(const struct os_identity *a, const struct os_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

static bool file_system_has(struct os_file *file, enum os_file_system_bit bit)
{
    int bits = file->os->ops->file_system(file->os, file->fd);
    return bits > 0 && (bits & (int)bit);
}

bool os_can_store_mapped(struct os_file *file)
{
    return file_system_has(file, OS_STORES_MAPPED);
}

bool os_is_network(struct os_file *file)
{
    return file_system_has(file, OS_NETWORK);
}

/* ---- names ------------------------------------------------------------------------------- */

sombra_err os_identify_path(struct os *os, const char *path, struct os_identity *out)
{
    assert(path && out);
    struct os_stat stat;
    int result;
    RETRY(result, os->ops->stat_path(os, path, &stat));
    if (result < 0)
        return fail_errno(result, path, "stat");
    *out = stat.identity;
    return SOMBRA_OK;
}

sombra_err os_check_name(struct os_file *file, bool *out_is_same)
{
    struct os_identity ours, named;
    sombra_err err = os_identify(file, &ours);
    if (!err)
        err = os_identify_path(file->os, file->path, &named);
    *out_is_same = !err && os_identity_is_same(&ours, &named);
    return err;
}

sombra_err os_rename(struct os *os, const char *from, const char *to)
{
    assert(from && to);
    int result;
    RETRY(result, os->ops->rename(os, from, to));
    return result < 0 ? fail_errno(result, from, "rename to %s", to) : SOMBRA_OK;
}

sombra_err os_link(struct os *os, const char *from, const char *to)
{
    assert(from && to);
    int result;
    RETRY(result, os->ops->link(os, from, to));
    /* EEXIST speaks of the new name, everything else of the pair */
    if (result == -EEXIST)
        return fail_errno(result, to, "give this name to a new file");
    return result < 0 ? fail_errno(result, from, "link to %s", to) : SOMBRA_OK;
}

sombra_err os_unlink(struct os *os, const char *path)
{
    assert(path);
    int result;
    RETRY(result, os->ops->unlink(os, path));
    return check(result, path, "unlink");
}

sombra_err os_make_directory(struct os *os, const char *path, unsigned mode)
{
    assert(path);
    int result;
    RETRY(result, os->ops->make_directory(os, path, mode));
    return check(result, path, "make directory");
}

sombra_err os_remove_directory(struct os *os, const char *path)
{
    assert(path);
    int result;
    RETRY(result, os->ops->remove_directory(os, path));
    return check(result, path, "remove directory");
}

sombra_err os_sync_directory_of(struct os *os, const char *path)
{
    assert(path);
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == path ? 1 : slash ? (size_t)(slash - path) : 1;
    char directory[PATH_MAX]; /* a commit may come here, which cannot fail for want of memory */
    if (bytes >= sizeof directory)
        return fail_errno(-ENAMETOOLONG, path, "sync directory");
    memcpy(directory, slash ? path : ".", bytes);
    directory[bytes] = '\0';
    int result;
    RETRY(result, os->ops->sync_directory(os, directory));
    return check(result, directory, "sync directory");
}

sombra_err os_resolve(struct os *os, const char *path, char **out_path)
{
    assert(path && out_path);
    char resolved[PATH_MAX];
    int result;
    RETRY(result, os->ops->resolve(os, path, resolved));
    if (result == -ENOENT) /* the last name may be missing: it is what stands before it */
        return diag_fail(SOMBRA_NOT_FOUND, "%s: the directory for it is not there", path);
    if (result < 0)
        return fail_errno(result, path, "resolve");
    size_t bytes = strlen(resolved) + 1;
    char *copy = mem_alloc(bytes);
    if (!copy)
        return diag_nomem("a path", bytes);
    memcpy(copy, resolved, bytes);
    *out_path = copy;
    return SOMBRA_OK;
}

sombra_err os_list_directory(struct os *os, const char *path,
                             sombra_err (*each)(void *context, const char *name), void *context)
{
    assert(path && each);
    sombra_err err = SOMBRA_OK;
    int result = os->ops->list(os, path, each, context, &err);
    if (result < 0)
        return fail_errno(result, path, "list directory");
    return err;
}

/* ---- mappings ---------------------------------------------------------------------------- */

sombra_err os_map(struct os_file *file, uint64_t offset, size_t bytes, bool writable,
                  void **out_address)
{
    assert(bytes > 0 && offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    void *address = NULL;
    int result = file->os->ops->map(file->os, file->fd, offset, bytes, writable, &address);
    if (result < 0)
        return fail_errno(result, file->path, "map %zu bytes at %" PRIu64, bytes, offset);
    assert(address);
    *out_address = address;
    return SOMBRA_OK;
}

void os_unmap(struct os_file *file, void *address, size_t bytes)
{
    if (address)
        file->os->ops->unmap(file->os, address, bytes);
}

/* Where the system cannot populate: a read of the same range meets the same bad sectors. */
static sombra_err populate_by_reading(struct os_file *file, uint64_t offset, size_t bytes)
{
    uint8_t piece[64 * 1024];
    for (size_t done = 0; done < bytes; done += sizeof piece) {
        sombra_err err = os_read(file, offset + done, piece, size_min(bytes - done, sizeof piece));
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

sombra_err os_map_populate(struct os_file *file, uint64_t offset, void *address, size_t bytes)
{
    assert(address || bytes == 0);
    if (bytes == 0)
        return SOMBRA_OK;
    int result;
    RETRY(result, file->os->ops->populate(file->os, file->fd, offset, address, bytes));
    if (result == -EINVAL || result == -ENOSYS)
        return populate_by_reading(file, offset, bytes);
    if (result == -EFAULT || result == -EHWPOISON)
        result = -EIO; /* "the access would have raised a signal": not a bad pointer of ours */
    return result < 0
               ? fail_errno(result, file->path, "read %zu mapped bytes at %" PRIu64, bytes, offset)
               : SOMBRA_OK;
}

void os_map_let_go(struct os_file *file, void *address, size_t bytes)
{
    assert(address || bytes == 0);
    if (bytes && file->os->ops->let_go)
        file->os->ops->let_go(file->os, address, bytes);
}

void os_map_advise_random(struct os_file *file, void *address, size_t bytes, bool is_random)
{
    if (file->os->ops->map_advise_random)
        file->os->ops->map_advise_random(file->os, address, bytes, is_random);
}

size_t os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

sombra_err os_reserve_anonymous(size_t bytes, void **out_address)
{
    assert(bytes > 0 && out_address);
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED)
        return diag_nomem("anonymous memory", bytes);
    *out_address = address;
    return SOMBRA_OK;
}

void os_release_anonymous(void *address, size_t bytes)
{
    if (!address)
        return;
    int result = munmap(address, bytes);
    assert(result == 0);
    (void)result;
}

uint64_t os_memory_bytes(struct os *os)
{
    return os->ops->memory_bytes ? os->ops->memory_bytes(os) : UINT64_MAX;
}

/* ---- locks ------------------------------------------------------------------------------- */

static short lock_type(enum os_lock_kind kind)
{
    assert(kind == OS_LOCK_SHARED || kind == OS_LOCK_EXCLUSIVE);
    return kind == OS_LOCK_SHARED ? F_RDLCK : F_WRLCK;
}

sombra_err os_lock(struct os_file *file, uint64_t offset, uint64_t bytes, enum os_lock_kind kind)
{
    assert(bytes > 0);
    int result;
    RETRY(result, file->os->ops->lock(file->os, file->fd, offset, bytes, lock_type(kind)));
    if (result == -EAGAIN)
        return diag_fail(SOMBRA_BUSY, "%s: bytes %" PRIu64 " + %" PRIu64 " are locked by another",
                         file->path, offset, bytes);
    return result < 0
               ? fail_errno(result, file->path, "lock %" PRIu64 " bytes at %" PRIu64, bytes, offset)
               : SOMBRA_OK;
}

sombra_err os_lock_wait(struct os_file *file, uint64_t offset, uint64_t bytes,
                        enum os_lock_kind kind, uint64_t timeout_ms)
{
    struct os *os = file->os;
    uint64_t start_ns = os_monotonic_ns(os);
    uint64_t pause_us = LOCK_POLL_US_MIN;
    for (;;) {
        sombra_err err = os_lock(file, offset, bytes, kind);
        if (err != SOMBRA_BUSY)
            return err;
        /* whole milliseconds passed: no multiplication that UINT64_MAX could overflow */
        uint64_t passed_us = (os_monotonic_ns(os) - start_ns) / 1000;
        if (passed_us / 1000 >= timeout_ms)
            return diag_wrap(err, "waited %" PRIu64 " ms", timeout_ms);
        os_sleep_us(os, pause_us);
        pause_us = u64_min(pause_us * 2, LOCK_POLL_US_MAX);
    }
}

void os_unlock(struct os_file *file, uint64_t offset, uint64_t bytes)
{
    assert(bytes > 0);
    /* Releasing can fail only for want of memory to split a range; close releases it then. */
    (void)file->os->ops->lock(file->os, file->fd, offset, bytes, F_UNLCK);
}

sombra_err os_lock_is_held(struct os_file *file, uint64_t offset, uint64_t bytes,
                           enum os_lock_kind kind, bool *out_held)
{
    assert(bytes > 0 && out_held);
    int result = file->os->ops->lock_is_held(file->os, file->fd, offset, bytes, lock_type(kind));
    if (result < 0)
        return fail_errno(result, file->path, "test the lock at %" PRIu64, offset);
    *out_held = result == 1;
    return SOMBRA_OK;
}

/* ---- clocks, randomness ------------------------------------------------------------------ */

uint64_t os_monotonic_ns(struct os *os)
{
    return os->ops->monotonic_ns(os);
}

uint64_t os_coarse_ns(struct os *os)
{
    return os->ops->coarse_ns(os);
}

uint64_t os_wall_ns(struct os *os)
{
    return os->ops->wall_ns(os);
}

void os_sleep_us(struct os *os, uint64_t us)
{
    os->ops->sleep_us(os, us);
}

sombra_err os_random(struct os *os, void *to, size_t bytes)
{
    assert(to || bytes == 0);
    size_t done = 0;
    while (done < bytes) {
        int64_t got;
        RETRY(got, os->ops->random(os, (uint8_t *)to + done, bytes - done));
        if (got <= 0)
            return fail_errno(got ? got : -EIO, "random bytes", "read %zu", bytes);
        done += (size_t)got;
    }
    return SOMBRA_OK;
}
