/* SPDX-License-Identifier: MIT */
/* os_sim_names: the calls of the simulated system that work on names. */
#include "os_sim_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

/* ---- names ------------------------------------------------------------------------------- */

int sim_stat_path(struct os *os, const char *path, struct os_stat *out_stat)
{
    struct os_sim *sim = sim_enter(os);
    struct sim_inode *inode = NULL;
    int result = sim_process_of(os)->is_dead ? -EIO : disk_find(&sim->disk, path, &inode);
    if (result == 0)
        *out_stat = sim_stat_of(sim, inode);
    return sim_leave(sim, result);
}

static bool is_inside(struct sim_disk *disk, const struct sim_inode *directory,
                      const struct sim_inode *ancestor)
{
    while (directory != ancestor && directory->index != SIM_ROOT)
        directory = disk->inodes[directory->parent];
    return directory == ancestor;
}

/* May `inode` take the name of `target`? */
static int check_replace(const struct sim_inode *inode, const struct sim_inode *target)
{
    if (target->is_directory && !inode->is_directory)
        return -EISDIR;
    if (!target->is_directory && inode->is_directory)
        return -ENOTDIR;
    return target->is_directory && target->names.count > 0 ? -ENOTEMPTY : 0;
}

static int rename_names(struct sim_disk *disk, const char *from, const char *to)
{
    char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
    struct sim_inode *from_directory, *to_directory;
    int result = disk_walk(disk, from, &from_directory, from_name);
    if (result == 0)
        result = disk_walk(disk, to, &to_directory, to_name);
    if (result < 0)
        return result;
    struct sim_inode *inode = directory_get(disk, from_directory, from_name);
    struct sim_inode *target = directory_get(disk, to_directory, to_name);
    if (!inode)
        return -ENOENT;
    if (inode == target)
        return 0; /* two names of one file: rename does nothing */
    if (inode->is_directory && is_inside(disk, to_directory, inode))
        return -EINVAL;
    if (target)
        result = check_replace(inode, target);
    if (result < 0)
        return result;
    if (from_directory == to_directory) {
        directory_change(disk, from_directory, from_name, to_name, inode, false);
    } else {
        directory_change(disk, to_directory, NULL, to_name, inode, false);
        directory_change(disk, from_directory, from_name, NULL, inode, true);
    }
    return 0;
}

int sim_rename(struct os *os, const char *from, const char *to)
{
    int fault;
    struct os_sim *sim = sim_enter_mutating(
        os, (struct os_sim_event){ .call = OS_SIM_RENAME, .path = from }, &fault);
    return sim_leave(sim, fault ? fault : rename_names(&sim->disk, from, to));
}

static int link_name(struct sim_disk *disk, const char *from, const char *to)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory, *inode;
    int result = disk_find(disk, from, &inode);
    if (result == 0)
        result = disk_walk(disk, to, &directory, name);
    if (result < 0)
        return result;
    if (directory_get(disk, directory, name))
        return -EEXIST;
    if (inode->is_directory)
        return -EPERM;
    directory_change(disk, directory, NULL, name, inode, false);
    return 0;
}

int sim_link(struct os *os, const char *from, const char *to)
{
    int fault;
    struct os_sim *sim =
        sim_enter_mutating(os, (struct os_sim_event){ .call = OS_SIM_LINK, .path = from }, &fault);
    return sim_leave(sim, fault ? fault : link_name(&sim->disk, from, to));
}

static int unlink_name(struct sim_disk *disk, const char *path)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory, *inode = NULL;
    int result = disk_find_in(disk, path, &directory, name, &inode);
    if (result < 0)
        return result;
    if (inode->is_directory)
        return -EISDIR;
    directory_change(disk, directory, name, NULL, inode, false);
    return 0;
}

int sim_unlink(struct os *os, const char *path)
{
    int fault;
    struct os_sim *sim = sim_enter_mutating(
        os, (struct os_sim_event){ .call = OS_SIM_UNLINK, .path = path }, &fault);
    return sim_leave(sim, fault ? fault : unlink_name(&sim->disk, path));
}

static int make_directory(struct sim_disk *disk, const char *path)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory;
    int result = disk_walk(disk, path, &directory, name);
    if (result < 0)
        return result;
    if (directory_get(disk, directory, name))
        return -EEXIST;
    directory_change(disk, directory, NULL, name, inode_new(disk, true), false);
    return 0;
}

int sim_make_directory(struct os *os, const char *path, unsigned mode)
{
    (void)mode;
    int fault;
    struct os_sim *sim = sim_enter_mutating(
        os, (struct os_sim_event){ .call = OS_SIM_MAKE_DIRECTORY, .path = path }, &fault);
    return sim_leave(sim, fault ? fault : make_directory(&sim->disk, path));
}

static int remove_directory(struct sim_disk *disk, const char *path)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory, *inode = NULL;
    int result = disk_find_in(disk, path, &directory, name, &inode);
    if (result < 0)
        return result;
    if (!inode->is_directory)
        return -ENOTDIR;
    if (inode->index == SIM_ROOT)
        return -EBUSY;
    if (inode->names.count > 0)
        return -ENOTEMPTY;
    directory_change(disk, directory, name, NULL, inode, false);
    return 0;
}

int sim_remove_directory(struct os *os, const char *path)
{
    int fault;
    struct os_sim *sim = sim_enter_mutating(
        os, (struct os_sim_event){ .call = OS_SIM_UNLINK, .path = path }, &fault);
    return sim_leave(sim, fault ? fault : remove_directory(&sim->disk, path));
}

int sim_sync_directory(struct os *os, const char *path)
{
    int fault;
    struct os_sim *sim = sim_enter_mutating(
        os, (struct os_sim_event){ .call = OS_SIM_SYNC_DIRECTORY, .path = path }, &fault);
    struct sim_inode *inode = NULL;
    int result = disk_find(&sim->disk, path, &inode);
    if (result == 0 && !inode->is_directory)
        result = -ENOTDIR;
    if (result == 0)
        result = sim_sync_inode(sim_process_of(os), inode, fault);
    if (result == 0)
        disk_collect(&sim->disk);
    return sim_leave(sim, result);
}

/* Puts "/" and the directory's path in front of what stands at `tail` in a buffer. */
static char *prepend_path(struct sim_disk *disk, const struct sim_inode *directory,
                          const char *buffer, char *tail)
{
    while (directory->index != SIM_ROOT) {
        const struct sim_inode *parent = disk->inodes[directory->parent];
        const char *text = NULL;
        for (size_t i = 0; i < parent->names.count; i++) {
            if (parent->names.list[i].inode == directory->index)
                text = parent->names.list[i].text;
        }
        assert(text);
        size_t bytes = strlen(text);
        if ((size_t)(tail - buffer) < bytes + 1)
            return NULL;
        tail -= bytes;
        memcpy(tail, text, bytes);
        *--tail = '/';
        directory = parent;
    }
    return tail;
}

static int resolve_path(struct sim_disk *disk, const char *path, char *to)
{
    char name[NAME_MAX + 1];
    struct sim_inode *directory;
    int result = disk_walk(disk, path, &directory, name);
    if (result < 0)
        return result;
    struct sim_inode *inode = directory_get(disk, directory, name);
    bool is_directory = inode && inode->is_directory;
    char buffer[PATH_MAX];
    char *tail = buffer + sizeof buffer - 1;
    *tail = '\0';
    if (is_directory) {
        directory = inode;
    } else {
        tail -= strlen(name);
        memcpy(tail, name, strlen(name));
        *--tail = '/';
    }
    tail = prepend_path(disk, directory, buffer, tail);
    if (!tail)
        return -ENAMETOOLONG;
    memcpy(to, *tail ? tail : "/", *tail ? strlen(tail) + 1 : 2);
    return 0;
}

int sim_resolve(struct os *os, const char *path, char *to)
{
    struct os_sim *sim = sim_enter(os);
    return sim_leave(sim, sim_process_of(os)->is_dead ? -EIO : resolve_path(&sim->disk, path, to));
}

int sim_list(struct os *os, const char *path, sombra_err (*each)(void *context, const char *name),
             void *context, sombra_err *out_err)
{
    struct os_sim *sim = sim_enter(os);
    struct sim_inode *inode = NULL;
    int result = sim_process_of(os)->is_dead ? -EIO : disk_find(&sim->disk, path, &inode);
    if (result == 0 && !inode->is_directory)
        result = -ENOTDIR;
    if (result < 0)
        return sim_leave(sim, result);
    struct sim_names names = names_copy(&inode->names); /* `each` may call the machine */
    sim_unlock_machine(sim);
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; i < names.count && !err; i++)
        err = each(context, names.list[i].text);
    names_release(&names);
    *out_err = err;
    return 0;
}
