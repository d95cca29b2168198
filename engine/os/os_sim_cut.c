/* SPDX-License-Identifier: MIT */
/* os_sim_cut: power cuts. Which changes a variant lets survive, and the disk they make. */
#include "os_sim_internal.h"

#include <assert.h>

struct cut {
    enum os_sim_variant variant;
    struct random random;
    uint64_t last;      /* sequence of the newest change */
    uint64_t last_data; /* of the newest change of data */
    uint64_t bound;     /* NEWER_HALF: kept above; OLDER_PART: kept up to it */
    bool keeps_inode;   /* RANDOM_FILES: the coin of the inode at hand */
};

static bool coin(struct cut *cut)
{
    return random_below(&cut->random, 2) == 1;
}

static struct cut cut_make(const struct sim_disk *disk, enum os_sim_variant variant, uint64_t seed)
{
    struct cut cut = { .variant = variant };
    random_seed(&cut.random, seed);
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        for (size_t k = 0; inode && k < inode->change_count; k++) {
            const struct sim_change *change = &inode->changes[k];
            first = u64_min(first, change->sequence);
            cut.last = u64_max(cut.last, change->sequence);
            if (change->kind == SIM_CHANGE_DATA)
                cut.last_data = u64_max(cut.last_data, change->sequence);
        }
    }
    if (first != UINT64_MAX && variant == OS_SIM_NEWER_HALF)
        cut.bound = first + (cut.last - first + 1) / 2 - 1;
    if (first != UINT64_MAX && variant == OS_SIM_OLDER_PART)
        cut.bound = first - 1 + random_below(&cut.random, cut.last - first + 2);
    return cut;
}

/* Whether a change survives; what survives of a torn one is cut_tear's. */
static bool cut_keeps(struct cut *cut, const struct sim_change *change)
{
    switch (cut->variant) {
    case OS_SIM_NOTHING:
        return false;
    case OS_SIM_ALL:
        return true;
    case OS_SIM_LAST_ONLY:
        return change->sequence == cut->last;
    case OS_SIM_ALL_BUT_LAST:
        return change->sequence != cut->last;
    case OS_SIM_LAST_TORN:
        return true;
    case OS_SIM_NAMES_ONLY:
        return change->kind == SIM_CHANGE_NAME;
    case OS_SIM_DATA_ONLY:
        return change->kind != SIM_CHANGE_NAME;
    case OS_SIM_SIZES_ONLY:
        return change->kind != SIM_CHANGE_DATA;
    case OS_SIM_DATA_WITHOUT_SIZES:
        return change->kind != SIM_CHANGE_SIZE;
    case OS_SIM_NEWER_HALF:
        return change->sequence > cut->bound;
    case OS_SIM_OLDER_PART:
        return change->sequence <= cut->bound;
    case OS_SIM_RANDOM_WRITES:
        return coin(cut);
    case OS_SIM_RANDOM_SECTORS:
        return change->kind == SIM_CHANGE_DATA || coin(cut);
    case OS_SIM_RANDOM_NAMES:
        return change->kind != SIM_CHANGE_NAME || coin(cut);
    case OS_SIM_RANDOM_FILES:
        return cut->keeps_inode;
    case OS_SIM_VARIANTS:
        break;
    }
    assert(false);
    return false;
}

static void put_sectors(struct sim_image *image, const struct sim_change *change, uint64_t first,
                        uint64_t end)
{
    for (uint64_t sector = first; sector < end; sector++)
        image_put(image, change->offset + sector * SIM_SECTOR_BYTES,
                  change->data + sector * SIM_SECTOR_BYTES, SIM_SECTOR_BYTES);
}

/* The last write got as far as some sector, from its start or from its end. */
static void cut_tear(struct cut *cut, struct sim_image *image, const struct sim_change *change)
{
    uint64_t sectors = change->bytes / SIM_SECTOR_BYTES;
    uint64_t kept = random_below(&cut->random, sectors + (sectors == 1));
    if (coin(cut))
        put_sectors(image, change, 0, kept);
    else
        put_sectors(image, change, sectors - kept, sectors);
}

static void cut_file(struct cut *cut, const struct sim_inode *inode, struct sim_inode *copy)
{
    copy->durable = image_copy(&inode->durable);
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *change = &inode->changes[i];
        if (!cut_keeps(cut, change))
            continue;
        bool is_data = change->kind == SIM_CHANGE_DATA;
        if (is_data && cut->variant == OS_SIM_LAST_TORN && change->sequence == cut->last_data)
            cut_tear(cut, &copy->durable, change);
        else if (is_data && cut->variant == OS_SIM_RANDOM_SECTORS)
            for (uint64_t s = 0; s < change->bytes / SIM_SECTOR_BYTES; s++)
                put_sectors(&copy->durable, change, s, s + coin(cut));
        else
            image_apply(&copy->durable, change);
    }
    image_finish(&copy->durable);
    copy->bytes = copy->saved_bytes = copy->durable.bytes;
}

static void cut_inode(struct cut *cut, const struct sim_disk *disk, uint32_t index,
                      struct sim_disk *out_disk);

static void cut_directory(struct cut *cut, const struct sim_disk *disk,
                          const struct sim_inode *inode, struct sim_disk *out_disk)
{
    struct sim_inode *copy = out_disk->inodes[inode->index];
    struct sim_names kept = names_copy(&inode->durable_names);
    for (size_t i = 0; i < inode->change_count; i++) {
        if (cut_keeps(cut, &inode->changes[i]))
            names_apply(&kept, &inode->changes[i]);
    }
    for (size_t i = 0; i < kept.count; i++) {
        const struct sim_name *name = &kept.list[i];
        bool is_second = out_disk->inodes[name->inode] != NULL;
        if (is_second && disk->inodes[name->inode]->is_directory)
            continue; /* half of a move between directories: it stays where it was met first */
        if (!is_second)
            cut_inode(cut, disk, name->inode, out_disk);
        struct sim_inode *child = out_disk->inodes[name->inode];
        child->links++;
        if (child->is_directory)
            child->parent = copy->index;
        names_set(&copy->names, name->text, name->inode);
    }
    names_release(&kept);
    copy->durable_names = names_copy(&copy->names);
}

static void cut_inode(struct cut *cut, const struct sim_disk *disk, uint32_t index,
                      struct sim_disk *out_disk)
{
    const struct sim_inode *inode = disk->inodes[index];
    assert(inode && !out_disk->inodes[index]);
    struct sim_inode *copy = inode_make(index, inode->is_directory);
    out_disk->inodes[index] = copy;
    copy->bad_offset = inode->bad_offset;
    copy->bad_bytes = inode->bad_bytes;
    if (cut->variant == OS_SIM_RANDOM_FILES)
        cut->keeps_inode = coin(cut);
    if (inode->is_directory)
        cut_directory(cut, disk, inode, out_disk);
    else
        cut_file(cut, inode, copy);
}

void disk_crash(struct sim_disk *disk, enum os_sim_variant variant, uint64_t seed,
                struct sim_disk *out_disk)
{
    disk_scan(disk);
    struct cut cut = cut_make(disk, variant, seed);
    disk_init_like(disk, out_disk);
    cut_inode(&cut, disk, SIM_ROOT, out_disk);
    out_disk->inodes[SIM_ROOT]->links = 1;
}
