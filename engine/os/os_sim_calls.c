/* SPDX-License-Identifier: MIT */
/* os_sim_calls: files, mappings, locks and clocks of the simulated system, and its table. */
#include "os_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* 2026-01-01: when machines boot */
#define SIM_WALL_ZERO_NS UINT64_C(1767225600000000000)

static struct sim_description *description_at(struct os_sim *sim, int fd)
{
    assert(fd >= 0 && (size_t)fd < sim->description_count);
    assert(sim->descriptions[fd].process);
    return &sim->descriptions[fd];
}

/* The machine's mutex is not held: a description lasts until its close, but the table may move. */
static const char *path_at(struct os *os, int fd)
{
    struct os_sim *sim = sim_process_of(os)->sim;
    sim_lock_machine(sim);
    const char *path = description_at(sim, fd)->path;
    sim_unlock_machine(sim);
    return path;
}

/* Of a file or a directory: saves its changes, or loses them. */
int sim_sync_inode(const struct sim_process *process, struct sim_inode *inode, int fault)
{
    if (process->is_dead || fault == -EINTR)
        return fault;
    if (!inode->is_directory)
        inode_scan(&process->sim->disk, inode);
    size_t saved = fault < 0                  ? 0
                   : fault == SIM_FAULT_SHORT ? inode->change_count / 2
                                              : inode->change_count;
    inode_settle(inode, saved);
    return fault == SIM_FAULT_SHORT ? -EIO : fault;
}

struct os_stat sim_stat_of(const struct os_sim *sim, const struct sim_inode *inode)
{
    return (struct os_stat){
        .identity = { .device = sim->disk.device,
                      .inode = (uint64_t)inode->index + 1,
                      .links = inode->links },
        .bytes = inode->bytes,
    };
}

/* ---- files: open and close --------------------------------------------------------------- */

static int description_new(struct os_sim *sim, struct sim_process *process, struct sim_inode *inode,
                           const char *path, bool is_writable)
{
    size_t fd = 0;
    while (fd < sim->description_count && sim->descriptions[fd].process)
        fd++;
    if (fd == sim->description_count)
        sim->descriptions =
            sim_grow(sim->descriptions, ++sim->description_count * sizeof *sim->descriptions);
    inode_load(inode);
    inode->opens++;
    sim->descriptions[fd] = (struct sim_description){
        .process = process, .inode = inode, .is_writable = is_writable, .path = sim_text(path)
    };
    return (int)fd;
}

/* The file to open, or -errno; -ENOENT when it may be created. */
static int open_existing(struct os_sim *sim, const char *path, unsigned flags,
                         struct sim_inode **out_inode)
{
    int result = disk_find(&sim->disk, path, out_inode);
    if (result == 0 && (flags & OS_EXCLUSIVE))
        return -EEXIST;
    if (result == 0 && (*out_inode)->is_directory)
        return -EISDIR;
    return result;
}

static int create_file(struct os_sim *sim, const char *path, struct sim_inode **out_inode)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory;
    int result = disk_walk(&sim->disk, path, &directory, name);
    if (result < 0)
        return result;
    *out_inode = inode_new(&sim->disk, false);
    directory_change(&sim->disk, directory, NULL, name, *out_inode, false);
    return 0;
}

static int sim_open(struct os *os, const char *path, unsigned flags, unsigned mode)
{
    (void)mode;
    struct sim_process *process = sim_process_of(os);
    struct os_sim *sim = sim_enter(os);
    struct sim_inode *inode = NULL;
    int result = process->is_dead ? -EIO : open_existing(sim, path, flags, &inode);
    if (result == -ENOENT && (flags & OS_CREATE)) {
        sim_unlock_machine(sim);
        sim = sim_enter_mutating(os, (struct os_sim_event){ .call = OS_SIM_CREATE, .path = path },
                                 &result);
        if (result == 0) /* another thread may have been first */
            result = open_existing(sim, path, flags, &inode);
        if (result == -ENOENT)
            result = create_file(sim, path, &inode);
    }
    if (result == 0)
        result = description_new(sim, process, inode, path, flags & OS_WRITE);
    return sim_leave(sim, result);
}

static void sim_close(struct os *os, int fd)
{
    struct os_sim *sim = sim_enter(os);
    struct sim_description *description = description_at(sim, fd);
    lock_drop_all(description->inode, fd);
    description->inode->opens--;
    free(description->path);
    *description = (struct sim_description){ .process = NULL };
    sim_unlock_machine(sim);
}

/* ---- files: contents --------------------------------------------------------------------- */

static bool is_bad(const struct sim_inode *inode, uint64_t offset, uint64_t bytes)
{
    return inode->bad_bytes > 0 && offset < inode->bad_offset + inode->bad_bytes &&
           inode->bad_offset < offset + bytes;
}

static int64_t sim_read(struct os *os, int fd, uint64_t offset, void *to, size_t bytes)
{
    struct os_sim *sim = sim_enter(os);
    const struct sim_inode *inode = description_at(sim, fd)->inode;
    int64_t result = -EIO;
    if (!sim_process_of(os)->is_dead && !is_bad(inode, offset, bytes)) {
        result = pread(inode->memfd, to, bytes, (off_t)offset);
        if (result < 0)
            result = -errno;
    }
    sim_unlock_machine(sim);
    return result;
}

static int64_t sim_write(struct os *os, int fd, uint64_t offset, const struct iovec *parts,
                         int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    struct os_sim_event event = {
        .call = OS_SIM_WRITE, .path = path_at(os, fd), .offset = offset, .bytes = bytes
    };
    int fault;
    struct os_sim *sim = sim_enter_mutating(os, event, &fault);
    const struct sim_description *description = description_at(sim, fd);
    if (fault == 0 && !description->is_writable)
        fault = -EBADF;
    if (fault == SIM_FAULT_SHORT)
        bytes = bytes > 1 ? bytes / 2 : bytes;
    if (fault >= 0 && bytes > 0)
        inode_write(&sim->disk, description->inode, offset, parts, count, bytes);
    sim_unlock_machine(sim);
    return fault < 0 ? fault : (int64_t)bytes;
}

static int sim_sync(struct os *os, int fd)
{
    struct os_sim_event event = { .call = OS_SIM_SYNC, .path = path_at(os, fd) };
    int fault;
    struct os_sim *sim = sim_enter_mutating(os, event, &fault);
    return sim_leave(sim,
                     sim_sync_inode(sim_process_of(os), description_at(sim, fd)->inode, fault));
}

static int sim_truncate(struct os *os, int fd, uint64_t bytes)
{
    struct os_sim_event event = { .call = OS_SIM_TRUNCATE,
                                  .path = path_at(os, fd),
                                  .bytes = bytes };
    int fault;
    struct os_sim *sim = sim_enter_mutating(os, event, &fault);
    const struct sim_description *description = description_at(sim, fd);
    if (fault == 0 && !description->is_writable)
        fault = -EINVAL; /* what ftruncate says to a read-only descriptor */
    if (fault == 0)
        inode_resize(&sim->disk, description->inode, bytes);
    return sim_leave(sim, fault);
}

static int sim_allocate(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    if (sim_process_of(os)->sim->options.lacks_allocate)
        return -EOPNOTSUPP;
    struct os_sim_event event = {
        .call = OS_SIM_ALLOCATE, .path = path_at(os, fd), .offset = offset, .bytes = bytes
    };
    int fault;
    struct os_sim *sim = sim_enter_mutating(os, event, &fault);
    const struct sim_description *description = description_at(sim, fd);
    if (fault == 0 && !description->is_writable)
        fault = -EBADF;
    if (fault == 0 && offset + bytes > description->inode->bytes)
        inode_resize(&sim->disk, description->inode, offset + bytes);
    return sim_leave(sim, fault);
}

static int sim_punch(struct os *os, int fd, uint64_t offset, uint64_t bytes)
{
    if (sim_process_of(os)->sim->options.lacks_allocate)
        return -EOPNOTSUPP;
    struct os_sim_event event = {
        .call = OS_SIM_PUNCH, .path = path_at(os, fd), .offset = offset, .bytes = bytes
    };
    int fault;
    struct os_sim *sim = sim_enter_mutating(os, event, &fault);
    const struct sim_description *description = description_at(sim, fd);
    if (fault == 0 && !description->is_writable)
        fault = -EBADF;
    if (fault == 0)
        inode_punch(&sim->disk, description->inode, offset, bytes);
    return sim_leave(sim, fault);
}

static int sim_stat(struct os *os, int fd, struct os_stat *out_stat)
{
    struct os_sim *sim = sim_enter(os);
    if (sim_process_of(os)->is_dead)
        return sim_leave(sim, -EIO);
    *out_stat = sim_stat_of(sim, description_at(sim, fd)->inode);
    return sim_leave(sim, 0);
}

static int sim_file_system(struct os *os, int fd)
{
    (void)fd;
    const struct os_sim_options *options = &sim_process_of(os)->sim->options;
    if (options->is_network)
        return OS_NETWORK;
    return options->lacks_mapped_stores ? 0 : OS_STORES_MAPPED;
}

/* ---- mappings ---------------------------------------------------------------------------- */

static int sim_map(struct os *os, int fd, uint64_t offset, size_t bytes, bool is_writable,
                   void **out_address)
{
    struct os_sim *sim = sim_enter(os);
    const struct sim_description *description = description_at(sim, fd);
    if (sim_process_of(os)->is_dead)
        return sim_leave(sim, -EIO);
    if (is_writable && !description->is_writable)
        return sim_leave(sim, -EACCES);
    struct sim_inode *inode = description->inode;
    void *address = mmap(NULL, bytes, is_writable ? PROT_READ | PROT_WRITE : PROT_READ,
                         MAP_SHARED | MAP_NORESERVE, inode->memfd, (off_t)offset);
    if (address == MAP_FAILED)
        return sim_leave(sim, -errno);
    inode->opens++;
    if (is_writable)
        inode_map_writable(inode);
    sim->mappings = sim_grow(sim->mappings, (sim->mapping_count + 1) * sizeof *sim->mappings);
    sim->mappings[sim->mapping_count++] = (struct sim_mapping){
        .address = address,
        .bytes = bytes,
        .offset = offset,
        .process = sim_process_of(os),
        .inode = inode,
        .is_writable = is_writable,
    };
    *out_address = address;
    return sim_leave(sim, 0);
}

static void sim_unmap(struct os *os, void *address, size_t bytes)
{
    struct os_sim *sim = sim_enter(os);
    size_t i = 0;
    while (i < sim->mapping_count && sim->mappings[i].address != address)
        i++;
    assert(i < sim->mapping_count && sim->mappings[i].bytes == bytes);
    (void)bytes;
    sim_mapping_remove(sim, i);
    sim_unlock_machine(sim);
}

static int sim_populate(struct os *os, int fd, uint64_t offset, void *address, size_t bytes)
{
    struct os_sim *sim = sim_enter(os);
    int result = 0;
    if (sim_process_of(os)->is_dead)
        result = -EIO;
    else if (sim->options.lacks_populate)
        result = -EINVAL;
    else if (is_bad(description_at(sim, fd)->inode, offset, bytes))
        result = -EFAULT; /* what the kernel says where a load would raise SIGBUS */
    sim_unlock_machine(sim);
    return result < 0 ? result : os_posix_populate(address, bytes);
}

/* ---- locks ------------------------------------------------------------------------------- */

static int sim_lock(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    struct os_sim *sim = sim_enter(os);
    const struct sim_description *description = description_at(sim, fd);
    if (sim_process_of(os)->is_dead)
        return sim_leave(sim, -EIO);
    if (type == F_WRLCK && !description->is_writable)
        return sim_leave(sim, -EBADF);
    if (type != F_UNLCK && lock_conflicts(description->inode, fd, offset, bytes, type))
        return sim_leave(sim, -EAGAIN);
    lock_set(description->inode, fd, offset, bytes, type);
    return sim_leave(sim, 0);
}

static int sim_lock_is_held(struct os *os, int fd, uint64_t offset, uint64_t bytes, short type)
{
    struct os_sim *sim = sim_enter(os);
    if (sim_process_of(os)->is_dead)
        return sim_leave(sim, -EIO);
    return sim_leave(sim, lock_conflicts(description_at(sim, fd)->inode, fd, offset, bytes, type));
}

/* ---- clocks, randomness ------------------------------------------------------------------ */

static uint64_t sim_monotonic_ns(struct os *os)
{
    struct os_sim *sim = sim_enter(os);
    uint64_t now_ns = sim->now_ns;
    sim_unlock_machine(sim);
    return now_ns;
}

static uint64_t sim_wall_ns(struct os *os)
{
    return SIM_WALL_ZERO_NS + sim_monotonic_ns(os);
}

static void sim_sleep_us(struct os *os, uint64_t us)
{
    struct os_sim *sim = sim_enter(os);
    sim->now_ns += us * 1000;
    sim_unlock_machine(sim);
    (void)sched_yield(); /* whoever is waited for is a real thread */
}

static int64_t sim_random(struct os *os, void *to, size_t bytes)
{
    struct os_sim *sim = sim_enter(os);
    uint8_t *at = to;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)random_u64(&sim->random);
    sim_unlock_machine(sim);
    return (int64_t)bytes;
}

/* ---- the table --------------------------------------------------------------------------- */

const struct os_ops sim_ops = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .truncate = sim_truncate,
    .allocate = sim_allocate,
    .punch = sim_punch,
    .stat = sim_stat,
    .file_system = sim_file_system,
    .stat_path = sim_stat_path,
    .rename = sim_rename,
    .link = sim_link,
    .unlink = sim_unlink,
    .make_directory = sim_make_directory,
    .remove_directory = sim_remove_directory,
    .sync_directory = sim_sync_directory,
    .resolve = sim_resolve,
    .list = sim_list,
    .map = sim_map,
    .unmap = sim_unmap,
    .populate = sim_populate,
    .lock = sim_lock,
    .lock_is_held = sim_lock_is_held,
    .monotonic_ns = sim_monotonic_ns,
    .coarse_ns = sim_monotonic_ns,
    .wall_ns = sim_wall_ns,
    .sleep_us = sim_sleep_us,
    .random = sim_random,
};
