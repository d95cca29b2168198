/* SPDX-License-Identifier: MIT */
/* Labels and properties of a node or edge, as Lua tables.
 *
 * The engine's bytes live until the next read on the transaction, and building a table may run a
 * finalizer that reads. So the record is packed into a buffer first: on the C stack as a rule, into
 * a userdata if it is long. Making the userdata may run a finalizer too; hence the record is read
 * again after it.
 */
#include "binding.h"

#include <string.h>

enum { PACK_INLINE_BYTES = 2048 };

/* Packed: for each label, and for each property twice (name, value), a 4-byte length and the bytes.
 * `needed` counts on when the buffer is full. */
struct pack {
    unsigned char *data;
    size_t capacity;
    size_t needed;
};

static void pack_add(struct pack *pack, sombra_slice bytes)
{
    uint32_t length = (uint32_t)bytes.bytes; /* at most SOMBRA_VALUE_BYTES_MAX */
    size_t at = pack->needed;
    pack->needed += sizeof length + bytes.bytes;
    if (pack->needed > pack->capacity)
        return;
    memcpy(pack->data + at, &length, sizeof length);
    if (bytes.bytes)
        memcpy(pack->data + at + sizeof length, bytes.data, bytes.bytes);
}

static const unsigned char *unpack(const unsigned char *at, sombra_slice *out_bytes)
{
    uint32_t length;
    memcpy(&length, at, sizeof length);
    *out_bytes = (sombra_slice){ .data = at + sizeof length, .bytes = length };
    return at + sizeof length + length;
}

static sombra_err pack_record(struct pack *pack, sombra_record *record, bool has_labels)
{
    sombra_name name;
    sombra_slice value;
    bool is_found = has_labels;
    pack->needed = 0;
    while (is_found) {
        sombra_err err = sombra_record_next_label(record, &name, &is_found);
        if (err)
            return err;
        if (is_found)
            pack_add(pack, name.text);
    }
    for (;;) {
        sombra_err err = sombra_record_next_property(record, &name, &value, &is_found);
        if (err || !is_found)
            return err;
        pack_add(pack, name.text);
        pack_add(pack, value);
    }
}

static const unsigned char *set_labels(lua_State *L, const unsigned char *at, uint32_t count)
{
    lua_createtable(L, (int)count, 0);
    value_mark_list(L);
    for (uint32_t i = 1; i <= count; i++) {
        sombra_slice label;
        at = unpack(at, &label);
        lua_pushlstring(L, label.data, label.bytes);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "labels");
    return at;
}

static void set_props(lua_State *L, const unsigned char *at, uint32_t count)
{
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 0; i < count; i++) {
        sombra_slice name, value;
        at = unpack(at, &name);
        at = unpack(at, &value);
        lua_pushlstring(L, name.data, name.bytes);
        value_push(L, value);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "props");
}

sombra_err record_set_fields(lua_State *L, struct tx_handle *tx, uint64_t id, record_read_fn read,
                             bool has_labels)
{
    unsigned char inlined[PACK_INLINE_BYTES];
    struct pack pack = { .data = inlined, .capacity = sizeof inlined };
    int table = lua_gettop(L);
    sombra_record record;
    uint32_t label_count, property_count;
    for (;;) {
        if (!tx_is_open(tx))
            tx_raise_over(L, tx);
        sombra_err err = read(tx->txn, id, &record);
        if (err == SOMBRA_NOT_FOUND)
            return err;
        label_count = has_labels ? record.label_count : 0;
        property_count = record.property_count;
        if (!err)
            err = pack_record(&pack, &record, has_labels);
        if (err)
            error_raise(L, err);
        if (pack.needed <= pack.capacity)
            break;
        lua_settop(L, table);
        pack.capacity = pack.needed;
        pack.data = lua_newuserdatauv(L, pack.capacity, 0);
    }
    lua_pushvalue(L, table);
    const unsigned char *at = pack.data;
    if (has_labels)
        at = set_labels(L, at, label_count);
    set_props(L, at, property_count);
    lua_settop(L, table);
    return SOMBRA_OK;
}
