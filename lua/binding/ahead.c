/* SPDX-License-Identifier: MIT */
/* Properties read ahead, in loops over neighbours:
 *
 *   for node in tx:out(a) do ... tx:get(node, "name") ... end
 *
 * A transaction that only reads sees one state of the database, so that a value may be read before
 * it is asked for; and many at once cost half of as many one by one. The first get of a loop is as
 * any other. If the loop's next node is asked for the same property, that of the nodes behind it is
 * read with it: at most AHEAD_FIRST, then at most VALUES_CHUNK, and only where the first value was
 * small.
 *
 * What was read belongs to one batch of one iterator; there is one such place for each database's
 * handle, so loops that ask for several properties in turn have nothing of it.
 */
#include "binding.h"

#include <stdlib.h>
#include <string.h>

enum { AHEAD_FIRST = 16, AHEAD_BYTES = 2048, AHEAD_NAME = 32, SMALL_BYTES = 64 };

struct ahead {
    const void *iterator; /* NULL: nothing is known */
    size_t first;         /* number of the first node in the iterator's batch */
    size_t count;         /* of values; 0 = only that `first` was asked for, and had a small one */
    size_t name_bytes;
    char name[AHEAD_NAME];
    struct {
        uint16_t offset, bytes;
        bool is_there;
    } values[VALUES_CHUNK];
    char bytes[AHEAD_BYTES];
};

void ahead_forget(struct db_handle *db, const void *iterator)
{
    if (db->ahead && db->ahead->iterator == iterator)
        db->ahead->iterator = NULL;
}

void ahead_free(struct ahead *ahead)
{
    free(ahead);
}

static bool is_of(const struct ahead *ahead, const void *iterator, sombra_slice name)
{
    return ahead->iterator == iterator && ahead->name_bytes == name.bytes &&
           memcmp(ahead->name, name.data, name.bytes) == 0;
}

/* The value of node `at` of the batch, if it is there. */
static bool has_value(const struct ahead *ahead, size_t at, sombra_slice *out_value)
{
    size_t i = at - ahead->first;
    if (i >= ahead->count)
        return false;
    *out_value =
        (sombra_slice){ ahead->values[i].is_there ? ahead->bytes + ahead->values[i].offset : NULL,
                        ahead->values[i].bytes };
    return true;
}

/* Reads the property of node `at` and of those behind it. Failures are not told: the value that is
 * asked for is read by itself then. */
static void fill(struct ahead *ahead, struct tx_handle *tx, size_t at, sombra_slice name)
{
    uint64_t nodes[VALUES_CHUNK];
    sombra_slice values[VALUES_CHUNK];
    size_t most = ahead->count ? VALUES_CHUNK : AHEAD_FIRST;
    size_t count = iterator_nodes(tx->iterator, at, nodes, most);
    size_t bytes = 0;
    ahead->first = at;
    ahead->count = 0;
    if (sombra_node_property_many(tx->txn, nodes, count, name, values))
        return;
    for (size_t i = 0; i < count && values[i].bytes <= AHEAD_BYTES - bytes; i++) {
        ahead->values[i].is_there = values[i].data != NULL;
        ahead->values[i].offset = (uint16_t)bytes;
        ahead->values[i].bytes = (uint16_t)values[i].bytes;
        if (values[i].bytes)
            memcpy(ahead->bytes + bytes, values[i].data, values[i].bytes);
        bytes += values[i].bytes;
        ahead->count++;
    }
}

/* A value was read by itself: is it worth to read the next ones ahead? */
static void note(struct db_handle *db, const void *iterator, size_t at, sombra_slice name,
                 sombra_slice value)
{
    if (!db->ahead)
        db->ahead = calloc(1, sizeof *db->ahead);
    struct ahead *ahead = db->ahead;
    if (!ahead)
        return;
    ahead->iterator = value.bytes <= SMALL_BYTES ? iterator : NULL;
    ahead->first = at;
    ahead->count = 0;
    ahead->name_bytes = name.bytes;
    memcpy(ahead->name, name.data, name.bytes);
}

sombra_err ahead_get(struct tx_handle *tx, uint64_t node, sombra_slice name,
                     sombra_slice *out_value)
{
    size_t at;
    *out_value = (sombra_slice){ NULL, 0 };
    bool may = name.bytes <= AHEAD_NAME && iterator_is_at(tx->iterator, node, &at);
    if (may && tx->db->ahead && is_of(tx->db->ahead, tx->iterator, name)) {
        if (has_value(tx->db->ahead, at, out_value))
            return SOMBRA_OK;
        if (at > tx->db->ahead->first)
            fill(tx->db->ahead, tx, at, name);
        if (has_value(tx->db->ahead, at, out_value))
            return SOMBRA_OK;
    }
    sombra_err err = sombra_node_property(tx->txn, node, name, out_value);
    if (may && (!err || err == SOMBRA_NOT_FOUND))
        note(tx->db, tx->iterator, at, name, *out_value);
    return err;
}
