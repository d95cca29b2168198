/* SPDX-License-Identifier: MIT */
/* os_sim_image: the data structures of the simulated disk: bytes, names, and how a change is laid
 * upon them. */
#include "os_sim_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- memory ------------------------------------------------------------------------------ */

static void *or_abort(void *memory)
{
    if (!memory) {
        (void)fprintf(stderr, "os_sim: out of memory\n");
        abort();
    }
    return memory;
}

void *sim_alloc(size_t bytes)
{
    return or_abort(calloc(1, bytes ? bytes : 1));
}

void *sim_grow(void *memory, size_t bytes)
{
    return or_abort(realloc(memory, bytes ? bytes : 1));
}

char *sim_text(const char *text)
{
    return text ? or_abort(strdup(text)) : NULL;
}

uint8_t *sim_copy(const uint8_t *data, uint64_t bytes)
{
    uint8_t *copy = sim_grow(NULL, bytes);
    memcpy(copy, data, bytes);
    return copy;
}

/* ---- images ------------------------------------------------------------------------------ */

void image_reserve(struct sim_image *image, uint64_t bytes)
{
    if (bytes <= image->capacity)
        return;
    uint64_t capacity =
        u64_align_up(u64_max(bytes, image->capacity + image->capacity / 2), SIM_SECTOR_BYTES);
    image->data = sim_grow(image->data, capacity);
    memset(image->data + image->capacity, 0, capacity - image->capacity);
    image->capacity = capacity;
}

/* Cutting makes zeros, so that growing again shows zeros. */
void image_resize(struct sim_image *image, uint64_t bytes)
{
    image_reserve(image, bytes);
    if (bytes < image->bytes)
        memset(image->data + bytes, 0, image->bytes - bytes);
    image->bytes = bytes;
}

struct sim_image image_copy(const struct sim_image *image)
{
    uint64_t capacity = u64_align_up(image->bytes, SIM_SECTOR_BYTES);
    assert(capacity <= image->capacity);
    struct sim_image copy = { .bytes = image->bytes, .capacity = capacity };
    if (capacity > 0)
        copy.data = sim_copy(image->data, capacity); /* zeros behind the size among it */
    return copy;
}

void image_release(struct sim_image *image)
{
    free(image->data);
    *image = (struct sim_image){ 0 };
}

void image_put(struct sim_image *image, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
    image_reserve(image, offset + bytes);
    memcpy(image->data + offset, data, bytes);
}

/* Sectors may lie behind the size for a while; once all changes are in, they are nothing. */
void image_finish(struct sim_image *image)
{
    if (image->capacity > image->bytes)
        memset(image->data + image->bytes, 0, image->capacity - image->bytes);
}

/* ---- names ------------------------------------------------------------------------------- */

struct sim_name *names_find(const struct sim_names *names, const char *text)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->list[i].text, text) == 0)
            return &names->list[i];
    }
    return NULL;
}

void names_set(struct sim_names *names, const char *text, uint32_t inode)
{
    struct sim_name *name = names_find(names, text);
    if (!name) {
        names->list = sim_grow(names->list, (names->count + 1) * sizeof *names->list);
        name = &names->list[names->count++];
        name->text = sim_text(text);
    }
    name->inode = inode;
}

static void names_remove(struct sim_names *names, const char *text)
{
    struct sim_name *name = names_find(names, text);
    assert(name);
    size_t index = (size_t)(name - names->list);
    free(name->text);
    names->count--;
    memmove(name, name + 1, (names->count - index) * sizeof *name);
}

struct sim_names names_copy(const struct sim_names *names)
{
    struct sim_names copy = { 0 };
    for (size_t i = 0; i < names->count; i++)
        names_set(&copy, names->list[i].text, names->list[i].inode);
    return copy;
}

void names_release(struct sim_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].text);
    free(names->list);
    *names = (struct sim_names){ 0 };
}

void names_apply(struct sim_names *names, const struct sim_change *change)
{
    assert(change->kind == SIM_CHANGE_NAME);
    const struct sim_name *gone = change->gone ? names_find(names, change->gone) : NULL;
    if (gone && gone->inode == change->inode)
        names_remove(names, change->gone);
    if (change->come)
        names_set(names, change->come, change->inode);
}

/* ---- changes ------------------------------------------------------------------------------ */

void image_apply(struct sim_image *image, const struct sim_change *change)
{
    assert(change->kind != SIM_CHANGE_NAME);
    if (change->kind == SIM_CHANGE_SIZE)
        image_resize(image, change->bytes);
    else
        image_put(image, change->offset, change->data, change->bytes);
}
