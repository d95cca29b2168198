/* SPDX-License-Identifier: MIT */
/* batch: many nodes or edges at once; and encoded maps beside each other. */
#ifndef BINDING_BATCH_H
#define BINDING_BATCH_H

#include "binding.h"

/* Encoded maps, one behind the other, since the builder holds one. In C memory: to make a userdata
 * grow could run a finalizer while the builder's bytes are still needed. */
struct row {
    size_t at, bytes;
    uint64_t src, dst;
};
struct rows {
    char *data;
    size_t bytes, capacity;
    struct row *items;
    size_t count, item_capacity;
    void *argument; /* what the engine takes */
};

/* Pushes them; they are released at the latest when the calling function ends. */
struct rows *rows_push(lua_State *L);
/* The bytes are copied; they move when the next are added. */
struct row *rows_add(lua_State *L, struct rows *rows, sombra_slice encoded);

int tx_create_many(lua_State *L);
int tx_link_many(lua_State *L);

#endif
