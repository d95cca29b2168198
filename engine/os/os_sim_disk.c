/* SPDX-License-Identifier: MIT */
/* os_sim_disk: page cache, durable images and the changes between them.
 *
 * A change of data keeps whole sectors as the page cache held them after the call, not the bytes of
 * the call: a disk writes sectors, so a later write that survives brings earlier bytes of its
 * sector along, and any subset of the changes is a disk that can exist.
 */
#include "os_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024 };

/* ---- changes ----------------------------------------------------------------------------- */

static struct sim_change *change_add(struct sim_inode *inode, enum sim_change_kind kind,
                                     uint64_t sequence)
{
    assert(inode->change_count == 0 ||
           inode->changes[inode->change_count - 1].sequence <= sequence);
    if (inode->change_count == inode->change_capacity) {
        inode->change_capacity = inode->change_capacity * 2 + 8;
        inode->changes = sim_grow(inode->changes, inode->change_capacity * sizeof *inode->changes);
    }
    struct sim_change *change = &inode->changes[inode->change_count++];
    *change = (struct sim_change){ .kind = kind, .sequence = sequence };
    return change;
}

static void changes_clear(struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        free(inode->changes[i].data);
        free(inode->changes[i].gone);
        free(inode->changes[i].come);
    }
    inode->change_count = 0;
}

static void changes_copy(const struct sim_inode *from, struct sim_inode *to)
{
    for (size_t i = 0; i < from->change_count; i++) {
        const struct sim_change *change = &from->changes[i];
        struct sim_change *copy = change_add(to, change->kind, change->sequence);
        *copy = *change;
        copy->data = change->data ? sim_copy(change->data, change->bytes) : NULL;
        copy->gone = sim_text(change->gone);
        copy->come = sim_text(change->come);
    }
}

/* ---- inodes ------------------------------------------------------------------------------ */

struct sim_inode *inode_make(uint32_t index, bool is_directory)
{
    struct sim_inode *inode = sim_alloc(sizeof *inode);
    inode->index = index;
    inode->is_directory = is_directory;
    inode->memfd = -1;
    return inode;
}

struct sim_inode *inode_new(struct sim_disk *disk, bool is_directory)
{
    disk->inodes = sim_grow(disk->inodes, (disk->inode_count + 1) * sizeof *disk->inodes);
    struct sim_inode *inode = inode_make(disk->inode_count, is_directory);
    disk->inodes[disk->inode_count++] = inode;
    return inode;
}

static void inode_free(struct sim_inode *inode)
{
    if (!inode)
        return;
    if (inode->memfd >= 0)
        (void)close(inode->memfd);
    changes_clear(inode);
    free(inode->changes);
    image_release(&inode->durable);
    image_release(&inode->seen);
    names_release(&inode->names);
    names_release(&inode->durable_names);
    free(inode->locks);
    free(inode);
}

static void cache_read(const struct sim_inode *inode, uint64_t offset, uint8_t *to, uint64_t bytes)
{
    ssize_t got = pread(inode->memfd, to, bytes, (off_t)offset);
    if (got < 0) {
        perror("os_sim: read of a memfd");
        abort();
    }
    memset(to + got, 0, bytes - (uint64_t)got);
}

static void cache_write(const struct sim_inode *inode, uint64_t offset, const uint8_t *from,
                        uint64_t bytes)
{
    if (pwrite(inode->memfd, from, bytes, (off_t)offset) != (ssize_t)bytes) {
        perror("os_sim: write of a memfd");
        abort();
    }
}

static bool is_zeros(const uint8_t *data, uint64_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

static void cache_make(struct sim_inode *inode, uint64_t bytes)
{
    assert(inode->memfd < 0 && !inode->is_directory);
    inode->memfd = memfd_create("os_sim", MFD_CLOEXEC);
    if (inode->memfd < 0 || ftruncate(inode->memfd, (off_t)bytes) != 0) {
        perror("os_sim: memfd");
        abort();
    }
}

void inode_load(struct sim_inode *inode)
{
    if (inode->memfd >= 0)
        return;
    assert(inode->change_count == 0);
    const struct sim_image *image = &inode->durable;
    cache_make(inode, image->bytes);
    for (uint64_t offset = 0; offset < image->bytes; offset += CHUNK_BYTES) {
        uint64_t bytes = u64_min(image->bytes - offset, CHUNK_BYTES);
        if (!is_zeros(image->data + offset, bytes)) /* zeros stay holes: images are many */
            cache_write(inode, offset, image->data + offset, bytes);
    }
}

static void change_add_size(struct sim_disk *disk, struct sim_inode *inode, uint64_t bytes)
{
    change_add(inode, SIM_CHANGE_SIZE, disk->sequence)->bytes = bytes;
    inode->saved_bytes = bytes;
}

/* Data that are written bring the size back that a failed sync lost, as far as they reach. */
static void change_add_sectors(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                               const uint8_t *data, uint64_t bytes)
{
    const uint64_t end = u64_min(offset + bytes, inode->bytes);
    assert(offset % SIM_SECTOR_BYTES == 0 && bytes % SIM_SECTOR_BYTES == 0);
    struct sim_change *change = change_add(inode, SIM_CHANGE_DATA, disk->sequence);
    change->offset = offset;
    change->bytes = bytes;
    change->data = sim_copy(data, bytes);
    if (inode->writable_maps > 0)
        image_put(&inode->seen, offset, data, bytes);
    if (inode->saved_bytes < end)
        change_add_size(disk, inode, end);
}

static void inode_changed(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                          uint64_t bytes, uint64_t file_bytes)
{
    assert(inode->memfd >= 0);
    disk->sequence++;
    if (bytes > 0) {
        uint64_t first = offset / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
        uint64_t end = u64_align_up(offset + bytes, SIM_SECTOR_BYTES);
        uint8_t *sectors = sim_grow(NULL, end - first);
        cache_read(inode, first, sectors, end - first);
        change_add_sectors(disk, inode, first, sectors, end - first);
        free(sectors);
    }
    if (file_bytes != inode->bytes) {
        change_add_size(disk, inode, file_bytes);
        if (inode->writable_maps > 0)
            image_resize(&inode->seen, file_bytes);
        inode->bytes = file_bytes;
    }
}

void inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                 const struct iovec *parts, int count, uint64_t bytes)
{
    uint64_t done = 0;
    for (int i = 0; i < count && done < bytes; i++) {
        uint64_t part = u64_min(parts[i].iov_len, bytes - done);
        cache_write(inode, offset + done, parts[i].iov_base, part);
        done += part;
    }
    assert(done == bytes);
    inode_changed(disk, inode, offset, bytes, u64_max(inode->bytes, offset + bytes));
}

void inode_resize(struct sim_disk *disk, struct sim_inode *inode, uint64_t bytes)
{
    if (ftruncate(inode->memfd, (off_t)bytes) != 0) {
        perror("os_sim: resize of a memfd");
        abort();
    }
    inode_changed(disk, inode, 0, 0, bytes);
}

void inode_punch(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset, uint64_t bytes)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(inode->memfd, mode, (off_t)offset, (off_t)bytes) != 0) {
        perror("os_sim: punch of a memfd");
        abort();
    }
    if (offset < inode->bytes)
        inode_changed(disk, inode, offset, u64_min(bytes, inode->bytes - offset), inode->bytes);
}

/* Records the sectors of one page that differ from what was seen, run by run: a store is known by
 * the page it dirtied and the sectors it changed, and by nothing else. */
static void scan_page(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                      const uint8_t *page)
{
    const uint8_t *seen = inode->seen.data + offset;
    uint64_t at = 0;
    while (at < SIM_PAGE_BYTES) {
        uint64_t end = at;
        while (end < SIM_PAGE_BYTES && memcmp(seen + end, page + end, SIM_SECTOR_BYTES) != 0)
            end += SIM_SECTOR_BYTES;
        if (end > at) {
            disk->sequence++;
            change_add_sectors(disk, inode, offset + at, page + at, end - at);
            seen = inode->seen.data + offset;
        }
        at = end + SIM_SECTOR_BYTES;
    }
}

void inode_scan(struct sim_disk *disk, struct sim_inode *inode)
{
    if (inode->writable_maps == 0)
        return;
    uint8_t *chunk = sim_grow(NULL, CHUNK_BYTES);
    image_reserve(&inode->seen, u64_align_up(inode->bytes, CHUNK_BYTES));
    for (uint64_t offset = 0; offset < inode->bytes; offset += CHUNK_BYTES) {
        cache_read(inode, offset, chunk, CHUNK_BYTES);
        /* what lies behind the size is no part of the file, whatever the last page holds */
        if (inode->bytes - offset < CHUNK_BYTES)
            memset(chunk + (inode->bytes - offset), 0, CHUNK_BYTES - (inode->bytes - offset));
        if (memcmp(inode->seen.data + offset, chunk, CHUNK_BYTES) == 0)
            continue;
        for (uint64_t page = 0; page < CHUNK_BYTES; page += SIM_PAGE_BYTES)
            scan_page(disk, inode, offset + page, chunk + page);
    }
    free(chunk);
}

/* Drops from the page cache what a failed sync lost: clean pages may go at any time, and read back
 * they are what the disk has. Done where a file gets its first writable mapping, since a store of
 * the very bytes that were lost would dirty a page and yet show no difference to the scan. */
static void inode_evict_lost(struct sim_inode *inode)
{
    struct sim_image disk = image_copy(&inode->durable);
    for (size_t i = 0; i < inode->change_count; i++)
        image_apply(&disk, &inode->changes[i]);
    image_resize(&disk, inode->bytes);
    image_reserve(&disk, u64_align_up(inode->bytes, SIM_PAGE_BYTES));
    uint8_t page[SIM_PAGE_BYTES];
    for (uint64_t offset = 0; offset < inode->bytes; offset += sizeof page) {
        uint64_t bytes = u64_min(sizeof page, inode->bytes - offset);
        cache_read(inode, offset, page, bytes);
        if (memcmp(page, disk.data + offset, bytes) != 0)
            cache_write(inode, offset, disk.data + offset, bytes);
    }
    image_release(&disk);
}

void inode_map_writable(struct sim_inode *inode)
{
    assert(inode->memfd >= 0);
    if (inode->writable_maps++ > 0)
        return;
    inode_evict_lost(inode);
    image_resize(&inode->seen, inode->bytes);
    for (uint64_t offset = 0; offset < inode->bytes; offset += CHUNK_BYTES)
        cache_read(inode, offset, inode->seen.data + offset,
                   u64_min(CHUNK_BYTES, inode->bytes - offset));
}

void inode_unmap_writable(struct sim_disk *disk, struct sim_inode *inode)
{
    assert(inode->writable_maps > 0);
    inode_scan(disk, inode);
    if (--inode->writable_maps == 0)
        image_release(&inode->seen);
}

void inode_settle(struct sim_inode *inode, size_t count)
{
    assert(count <= inode->change_count);
    for (size_t i = 0; i < count; i++) {
        if (inode->is_directory)
            names_apply(&inode->durable_names, &inode->changes[i]);
        else
            image_apply(&inode->durable, &inode->changes[i]);
    }
    image_finish(&inode->durable);
    if (count < inode->change_count)
        inode->saved_bytes = inode->durable.bytes;
    changes_clear(inode);
}

static void flip_image(struct sim_image *image, uint64_t offset, uint8_t bits)
{
    if (offset < image->bytes)
        image->data[offset] ^= bits;
}

void inode_flip(struct sim_inode *inode, uint64_t offset, uint8_t bits)
{
    assert(offset < inode->bytes);
    inode_load(inode);
    uint8_t byte;
    cache_read(inode, offset, &byte, 1);
    byte ^= bits;
    cache_write(inode, offset, &byte, 1);
    flip_image(&inode->durable, offset, bits);
    flip_image(&inode->seen, offset, bits);
    for (size_t i = 0; i < inode->change_count; i++) {
        struct sim_change *change = &inode->changes[i];
        if (change->kind == SIM_CHANGE_DATA && offset >= change->offset &&
            offset - change->offset < change->bytes)
            change->data[offset - change->offset] ^= bits;
    }
}

/* ---- paths ------------------------------------------------------------------------------- */

struct sim_inode *directory_get(struct sim_disk *disk, struct sim_inode *directory,
                                const char *name)
{
    assert(directory->is_directory);
    if (strcmp(name, "") == 0 || strcmp(name, ".") == 0)
        return directory;
    if (strcmp(name, "..") == 0)
        return disk->inodes[directory->parent];
    const struct sim_name *found = names_find(&directory->names, name);
    return found ? disk->inodes[found->inode] : NULL;
}

int disk_walk(struct sim_disk *disk, const char *path, struct sim_inode **out_directory,
              char *out_name)
{
    if (*path == '\0')
        return -ENOENT;
    struct sim_inode *directory = disk->inodes[SIM_ROOT];
    for (;;) {
        path += strspn(path, "/");
        size_t bytes = strcspn(path, "/");
        if (bytes > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(out_name, path, bytes);
        out_name[bytes] = '\0';
        path += bytes;
        if (path[strspn(path, "/")] == '\0') {
            *out_directory = directory;
            return 0;
        }
        directory = directory_get(disk, directory, out_name);
        if (!directory)
            return -ENOENT;
        if (!directory->is_directory)
            return -ENOTDIR;
    }
}

int disk_find_in(struct sim_disk *disk, const char *path, struct sim_inode **out_directory,
                 char *out_name, struct sim_inode **out_inode)
{
    int result = disk_walk(disk, path, out_directory, out_name);
    if (result < 0)
        return result;
    struct sim_inode *inode = directory_get(disk, *out_directory, out_name);
    if (!inode)
        return -ENOENT;
    *out_inode = inode;
    return 0;
}

int disk_find(struct sim_disk *disk, const char *path, struct sim_inode **out_inode)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory;
    return disk_find_in(disk, path, &directory, name, out_inode);
}

void directory_change(struct sim_disk *disk, struct sim_inode *directory, const char *gone,
                      const char *come, struct sim_inode *inode, bool is_second_part)
{
    assert(directory->is_directory && (gone || come));
    if (!is_second_part)
        disk->sequence++;
    struct sim_change *change = change_add(directory, SIM_CHANGE_NAME, disk->sequence);
    change->gone = sim_text(gone);
    change->come = sim_text(come);
    change->inode = inode->index;

    const struct sim_name *replaced = come ? names_find(&directory->names, come) : NULL;
    if (replaced)
        disk->inodes[replaced->inode]->links--;
    if (gone)
        inode->links--;
    if (come)
        inode->links++;
    names_apply(&directory->names, change);
    if (come && inode->is_directory)
        inode->parent = directory->index;
}

/* ---- collecting what cannot be reached --------------------------------------------------- */

static void mark_names(bool *is_reachable, const struct sim_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        is_reachable[names->list[i].inode] = true;
}

void disk_collect(struct sim_disk *disk)
{
    bool *is_reachable = sim_alloc(disk->inode_count * sizeof *is_reachable);
    is_reachable[SIM_ROOT] = true;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        if (!inode)
            continue;
        if (inode->opens > 0)
            is_reachable[i] = true;
        mark_names(is_reachable, &inode->names);
        mark_names(is_reachable, &inode->durable_names);
        for (size_t k = 0; inode->is_directory && k < inode->change_count; k++)
            is_reachable[inode->changes[k].inode] = true;
    }
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (!is_reachable[i]) {
            inode_free(disk->inodes[i]);
            disk->inodes[i] = NULL;
        }
    }
    free(is_reachable);
}

/* ---- disks ------------------------------------------------------------------------------- */

/* Devices differ, so that a file of a crash image is never taken for the same file of another
 * machine in this program. */
static uint64_t device_next(void)
{
    static _Atomic uint64_t devices = 0x51d0000;
    return atomic_fetch_add(&devices, 1);
}

void disk_init(struct sim_disk *disk)
{
    *disk = (struct sim_disk){ .device = device_next() };
    struct sim_inode *root = inode_new(disk, true);
    assert(root->index == SIM_ROOT);
    root->links = 1;
}

void disk_release(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++)
        inode_free(disk->inodes[i]);
    free(disk->inodes);
    *disk = (struct sim_disk){ 0 };
}

void disk_scan(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i] && !disk->inodes[i]->is_directory)
            inode_scan(disk, disk->inodes[i]);
    }
}

/* An empty disk with room for the same inode indexes. */
void disk_init_like(const struct sim_disk *disk, struct sim_disk *out_disk)
{
    *out_disk = (struct sim_disk){ .device = device_next(),
                                   .sequence = disk->sequence,
                                   .inode_count = disk->inode_count };
    out_disk->inodes = sim_alloc(disk->inode_count * sizeof(struct sim_inode *));
}

static struct sim_inode *inode_clone(const struct sim_inode *inode)
{
    struct sim_inode *copy = inode_make(inode->index, inode->is_directory);
    copy->links = inode->links;
    copy->bytes = inode->bytes;
    copy->saved_bytes = inode->saved_bytes;
    copy->bad_offset = inode->bad_offset;
    copy->bad_bytes = inode->bad_bytes;
    copy->parent = inode->parent;
    copy->durable = image_copy(&inode->durable);
    copy->names = names_copy(&inode->names);
    copy->durable_names = names_copy(&inode->durable_names);
    changes_copy(inode, copy);
    if (inode->memfd < 0)
        return copy;
    cache_make(copy, inode->bytes);
    uint8_t *chunk = sim_grow(NULL, CHUNK_BYTES);
    for (uint64_t offset = 0; offset < inode->bytes; offset += CHUNK_BYTES) {
        uint64_t bytes = u64_min(inode->bytes - offset, CHUNK_BYTES);
        cache_read(inode, offset, chunk, bytes);
        if (!is_zeros(chunk, bytes))
            cache_write(copy, offset, chunk, bytes);
    }
    free(chunk);
    return copy;
}

void disk_clone(struct sim_disk *disk, struct sim_disk *out_disk)
{
    disk_scan(disk);
    disk_init_like(disk, out_disk);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i])
            out_disk->inodes[i] = inode_clone(disk->inodes[i]);
    }
    /* open files without a name end with their processes */
    disk_collect(out_disk);
}
