/* SPDX-License-Identifier: MIT */
/* os_sim_internal: the parts of the simulated system, which reads downward in this header: the gate
 * (os_sim.c), the calls (os_sim_calls.c, os_sim_names.c), the disk (os_sim_disk.c, os_sim_cut.c),
 * bytes and names (os_sim_image.c), locks (os_sim_lock.c).
 *
 * Threads: everything here happens under the machine's mutex.
 * Ownership: a machine owns its inodes by index; index 0 is the root directory. An inode's index
 * never changes, also not in clones and crash images, so that names are (text, index).
 */
#ifndef OS_SIM_INTERNAL_H
#define OS_SIM_INTERNAL_H

#include "os_ops.h"
#include "os_sim.h"

enum {
    SIM_SECTOR_BYTES = 512,
    SIM_PAGE_BYTES = 4096,
    SIM_ROOT = 0, /* inode index of the root directory */
};

/* Bytes of a file in memory; zeros behind `bytes`. */
struct sim_image {
    uint8_t *data;     /* NULL while capacity is 0 */
    uint64_t bytes;    /* the file's size */
    uint64_t capacity; /* multiple of the sector */
};

struct sim_name {
    char *text;
    uint32_t inode;
};

struct sim_names {
    struct sim_name *list;
    size_t count;
};

enum sim_change_kind {
    SIM_CHANGE_DATA, /* whole sectors */
    SIM_CHANGE_SIZE,
    SIM_CHANGE_NAME, /* in a directory: one name goes, one comes, or both (rename) at once */
};

struct sim_change {
    enum sim_change_kind kind;
    uint64_t sequence; /* order over the whole machine; the changes of one call share it */
    uint64_t offset;   /* DATA: multiple of the sector */
    uint64_t bytes;    /* DATA: multiple of the sector; SIZE: the new size */
    uint8_t *data;     /* DATA */
    char *gone;        /* NAME: may be NULL; counts only while it names `inode` */
    char *come;        /* NAME: may be NULL */
    uint32_t inode;    /* NAME */
};

struct sim_lock {
    int fd; /* the description that holds it */
    bool is_exclusive;
    uint64_t first, last; /* both inside */
};

struct sim_inode {
    bool is_directory;
    uint32_t index;
    uint64_t links; /* names in the page cache */
    uint64_t opens; /* descriptions and mappings */

    struct sim_change *changes; /* not yet durable, oldest first */
    size_t change_count, change_capacity;

    /* files */
    uint64_t bytes;           /* size in the page cache */
    uint64_t saved_bytes;     /* the disk's once the changes are saved: a failed sync may have lost
                                 the rest */
    int memfd;                /* the page cache; -1 before the first open: then it equals durable */
    struct sim_image durable; /* what a power cut leaves in any case */
    struct sim_image seen;    /* while mapped writable: durable plus changes, to find stores by */
    uint64_t writable_maps;
    uint64_t bad_offset, bad_bytes; /* unreadable; none if bad_bytes is 0 */
    struct sim_lock *locks;
    size_t lock_count;

    /* directories */
    uint32_t parent;
    struct sim_names names, durable_names;
};

struct sim_disk {
    uint64_t device;
    uint64_t sequence; /* of the last change */
    struct sim_inode **inodes;
    uint32_t inode_count;
};

struct sim_process {
    struct os os;
    struct os_sim *sim;
    bool is_dead;
    uint64_t stop_in; /* dies before its n-th mutating call; 0 = never */
    struct sim_process *next;
};

struct sim_description {
    struct sim_process *process; /* NULL: a free number */
    struct sim_inode *inode;
    bool is_writable;
    char *path;
};

struct sim_mapping {
    void *address;
    size_t bytes;
    uint64_t offset;
    struct sim_process *process;
    struct sim_inode *inode;
    bool is_writable;
    bool is_private; /* its process was killed */
};

struct os_sim {
    pthread_mutex_t mutex; /* over everything below */
    struct os_sim_options options;
    struct sim_disk disk;
    struct sim_process *processes;
    struct sim_description *descriptions;
    size_t description_count;
    struct sim_mapping *mappings;
    size_t mapping_count;
    uint64_t calls, faults;
    os_sim_hook_fn hook;
    void *hook_context;
    struct os_sim_fault fault; /* nth == 0: none; else calls left, 1 = the next */
    struct random random;
    uint64_t now_ns;
};

/* ---- os_sim.c: the gate ------------------------------------------------------------------- */

/* What a mutating call is told beside 0 and -errno: do half. */
enum { SIM_FAULT_SHORT = 1 };

struct sim_process *sim_process_of(struct os *os);
void sim_lock_machine(struct os_sim *sim);
void sim_unlock_machine(struct os_sim *sim);
/* Every call of a process begins with one of these two and answers with the machine locked. */
struct os_sim *sim_enter(struct os *os);
/* For mutating calls: counts, calls the hook (unlocked), kills, and draws the fault. */
struct os_sim *sim_enter_mutating(struct os *os, struct os_sim_event event, int *out_fault);
int sim_leave(struct os_sim *sim, int result); /* unlocks; returns `result` */
void sim_mapping_remove(struct os_sim *sim, size_t index);

/* ---- os_sim_calls.c, os_sim_names.c ------------------------------------------------------- */

extern const struct os_ops sim_ops;
/* Of a file or a directory: saves its changes, or loses them, as `fault` says. */
int sim_sync_inode(const struct sim_process *process, struct sim_inode *inode, int fault);
struct os_stat sim_stat_of(const struct os_sim *sim, const struct sim_inode *inode);

int sim_stat_path(struct os *os, const char *path, struct os_stat *out_stat);
int sim_rename(struct os *os, const char *from, const char *to);
int sim_link(struct os *os, const char *from, const char *to);
int sim_unlink(struct os *os, const char *path);
int sim_make_directory(struct os *os, const char *path, unsigned mode);
int sim_remove_directory(struct os *os, const char *path);
int sim_sync_directory(struct os *os, const char *path);
int sim_resolve(struct os *os, const char *path, char *to);
int sim_list(struct os *os, const char *path, sombra_err (*each)(void *context, const char *name),
             void *context, sombra_err *out_err);

/* ---- os_sim_image.c: memory (aborts the program when it is out), bytes, names -------------- */

void *sim_alloc(size_t bytes); /* zeroed */
void *sim_grow(void *memory, size_t bytes);
char *sim_text(const char *text); /* NULL stays NULL */
uint8_t *sim_copy(const uint8_t *data, uint64_t bytes);

void image_reserve(struct sim_image *image, uint64_t bytes);
/* Cutting makes zeros, so that growing again shows zeros. */
void image_resize(struct sim_image *image, uint64_t bytes);
struct sim_image image_copy(const struct sim_image *image);
void image_release(struct sim_image *image);
/* May lie behind the size: changes of data and size come in any order. */
void image_put(struct sim_image *image, uint64_t offset, const uint8_t *data, uint64_t bytes);
void image_apply(struct sim_image *image, const struct sim_change *change);
/* Once all changes are in, what lies behind the size is nothing. */
void image_finish(struct sim_image *image);

struct sim_name *names_find(const struct sim_names *names, const char *text);
void names_set(struct sim_names *names, const char *text, uint32_t inode);
struct sim_names names_copy(const struct sim_names *names);
void names_release(struct sim_names *names);
void names_apply(struct sim_names *names, const struct sim_change *change);

/* ---- os_sim_disk.c, os_sim_cut.c: disks --------------------------------------------------- */

void disk_init(struct sim_disk *disk); /* with an empty root */
void disk_release(struct sim_disk *disk);
/* An empty disk with room for the same inode indexes, not even a root. */
void disk_init_like(const struct sim_disk *disk, struct sim_disk *out_disk);
void disk_scan(struct sim_disk *disk); /* inode_scan of all files */
void disk_clone(struct sim_disk *disk, struct sim_disk *out_disk);
void disk_crash(struct sim_disk *disk, enum os_sim_variant variant, uint64_t seed,
                struct sim_disk *out_disk);

/* ---- files ------------------------------------------------------------------------------- */

struct sim_inode *inode_make(uint32_t index, bool is_directory);
struct sim_inode *inode_new(struct sim_disk *disk, bool is_directory);
/* Makes the page cache real; every call on the contents needs it. */
void inode_load(struct sim_inode *inode);
/* `bytes` of the parts; fewer than they hold when the write is short. */
void inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                 const struct iovec *parts, int count, uint64_t bytes);
void inode_resize(struct sim_disk *disk, struct sim_inode *inode, uint64_t bytes);
void inode_punch(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset, uint64_t bytes);
/* Finds stores through mappings. */
void inode_scan(struct sim_disk *disk, struct sim_inode *inode);
void inode_map_writable(struct sim_inode *inode);
void inode_unmap_writable(struct sim_disk *disk, struct sim_inode *inode);
/* Makes the first `count` changes durable and forgets the others: they are lost. */
void inode_settle(struct sim_inode *inode, size_t count);
void inode_flip(struct sim_inode *inode, uint64_t offset, uint8_t bits);

/* ---- names ------------------------------------------------------------------------------- */

/* Splits a path into its directory and last name (NAME_MAX + 1 bytes); "" names the root. */
int disk_walk(struct sim_disk *disk, const char *path, struct sim_inode **out_directory,
              char *out_name);
/* The same, and the inode of that name, which must be there. */
int disk_find_in(struct sim_disk *disk, const char *path, struct sim_inode **out_directory,
                 char *out_name, struct sim_inode **out_inode);
/* 0 and the inode, or -ENOENT and so on. */
int disk_find(struct sim_disk *disk, const char *path, struct sim_inode **out_inode);
struct sim_inode *directory_get(struct sim_disk *disk, struct sim_inode *directory,
                                const char *name);
/* One change of a directory in the page cache: `gone` and `come` as in sim_change. Begins a new
 * sequence unless told that it is a second part. */
void directory_change(struct sim_disk *disk, struct sim_inode *directory, const char *gone,
                      const char *come, struct sim_inode *inode, bool is_second_part);
/* Frees what no name, open file, durable name or change can reach any more. */
void disk_collect(struct sim_disk *disk);

/* ---- os_sim_lock.c: byte ranges, owned by descriptions ------------------------------------- */

/* Would a lock of another description refuse this one? `type` as in os_ops.h. */
bool lock_conflicts(const struct sim_inode *inode, int fd, uint64_t offset, uint64_t bytes,
                    short type);
/* Replaces what `fd` holds in the range; F_UNLCK leaves nothing. */
void lock_set(struct sim_inode *inode, int fd, uint64_t offset, uint64_t bytes, short type);
void lock_drop_all(struct sim_inode *inode, int fd);

#endif
