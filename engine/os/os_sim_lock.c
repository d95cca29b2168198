/* SPDX-License-Identifier: MIT */
/* os_sim_lock: byte-range locks with the rules of Linux's OFD locks. */
#include "os_sim_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

bool lock_conflicts(const struct sim_inode *inode, int fd, uint64_t offset, uint64_t bytes,
                    short type)
{
    assert(bytes > 0 && type != F_UNLCK);
    uint64_t last = offset + (bytes - 1);
    for (size_t i = 0; i < inode->lock_count; i++) {
        const struct sim_lock *lock = &inode->locks[i];
        bool overlaps = lock->first <= last && offset <= lock->last;
        if (lock->fd != fd && overlaps && (lock->is_exclusive || type == F_WRLCK))
            return true;
    }
    return false;
}

static void add(struct sim_inode *inode, struct sim_lock lock)
{
    assert(lock.first <= lock.last);
    inode->locks = sim_grow(inode->locks, (inode->lock_count + 1) * sizeof *inode->locks);
    inode->locks[inode->lock_count++] = lock;
}

static void remove_at(struct sim_inode *inode, size_t index)
{
    assert(index < inode->lock_count);
    inode->locks[index] = inode->locks[--inode->lock_count];
}

void lock_set(struct sim_inode *inode, int fd, uint64_t offset, uint64_t bytes, short type)
{
    assert(bytes > 0);
    uint64_t last = offset + (bytes - 1);
    size_t i = 0;
    while (i < inode->lock_count) {
        struct sim_lock old = inode->locks[i];
        if (old.fd != fd || old.first > last || offset > old.last) {
            i++;
            continue;
        }
        /* what stands out on either side stays; it does not overlap and is passed over above */
        remove_at(inode, i);
        if (old.first < offset)
            add(inode, (struct sim_lock){ fd, old.is_exclusive, old.first, offset - 1 });
        if (old.last > last)
            add(inode, (struct sim_lock){ fd, old.is_exclusive, last + 1, old.last });
    }
    if (type != F_UNLCK)
        add(inode, (struct sim_lock){ fd, type == F_WRLCK, offset, last });
}

void lock_drop_all(struct sim_inode *inode, int fd)
{
    for (size_t i = 0; i < inode->lock_count;) {
        if (inode->locks[i].fd == fd)
            remove_at(inode, i);
        else
            i++;
    }
}
