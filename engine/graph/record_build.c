/* SPDX-License-Identifier: MIT */
/* Records of nodes and edges (graph_format.h), built in txn->record: of what is given, and of what
 * an older record has besides.
 */
#include "record_step.h"

#include <stdlib.h>

/* ---- what is given ----------------------------------------------------------------------- */

sombra_err record_property_add(struct graph_txn *txn, const struct graph_property *property)
{
    if (txn->property_count == txn->property_capacity) {
        size_t capacity = size_max(32, txn->property_capacity * 2);
        struct graph_property *grown = mem_realloc(txn->properties, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("the properties of a record", capacity * sizeof *grown);
        txn->properties = grown;
        txn->property_capacity = capacity;
    }
    txn->properties[txn->property_count++] = *property;
    return SOMBRA_OK;
}

static int property_order(const void *a, const void *b)
{
    uint32_t left = ((const struct graph_property *)a)->name;
    uint32_t right = ((const struct graph_property *)b)->name;
    return (left > right) - (left < right);
}

/* Insertion sort for the usual handful, which often comes nearly in order. */
static void properties_sort(struct graph_property *properties, size_t count)
{
    if (count > 24) {
        qsort(properties, count, sizeof *properties, property_order);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct graph_property moved = properties[i];
        size_t at = i;
        for (; at > 0 && properties[at - 1].name > moved.name; at--)
            properties[at] = properties[at - 1];
        properties[at] = moved;
    }
}

/* Walks the given map and proves it; keys and values go to txn->properties. */
static sombra_err walk_given(struct graph_txn *txn, sombra_slice given)
{
    sombra_value_cursor cursor;
    sombra_err err = value_open_map_unproved(given, &cursor);
    txn->property_count = 0;
    while (!err) {
        bool found = false;
        struct graph_property property = { 0 };
        err = value_next_proved(&cursor, &property.key, &property.value, &found);
        if (err || !found)
            break;
        property.is_null = *(const uint8_t *)property.value.data == 0;
        err = record_property_add(txn, &property);
    }
    return err;
}

/* The name that the map before had in this place, if this is the same: then it is not looked up. */
static sombra_err intern(struct graph_txn *txn, struct record_names *names, size_t place,
                         struct graph_property *property)
{
    struct record_name *seen = names && place < RECORD_NAMES ? &names->at[place] : NULL;
    if (seen && seen->id && slice_equal(seen->text, property->key)) {
        property->name = seen->id;
        return SOMBRA_OK;
    }
    sombra_err err = graph_name_intern(txn, SOMBRA_NAME_PROPERTY, property->key, &property->name);
    if (!err && seen)
        *seen = (struct record_name){ .text = property->key, .id = property->name };
    return err;
}

/* Collects the given properties in txn->properties, in the order of their names' ids. A null's name
 * is looked up but not made: what does not exist cannot be removed. Names are made when all of the
 * map is known to be sound. */
static sombra_err collect(struct graph_txn *txn, struct record_names *names, sombra_slice given)
{
    size_t kept = 0;
    sombra_err err = walk_given(txn, given);
    for (size_t i = 0; !err && i < txn->property_count; i++) {
        struct graph_property property = txn->properties[i];
        if (property.is_null)
            err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, property.key, &property.name);
        else
            err = intern(txn, names, i, &property);
        if (!err && property.name)
            txn->properties[kept++] = property;
    }
    txn->property_count = kept;
    if (!err)
        properties_sort(txn->properties, txn->property_count);
    return err;
}

/* What the properties that are not null come to. */
struct sum {
    size_t count;
    size_t value_bytes;
    uint32_t first, last; /* names */
    uint64_t mask;        /* bit i: there is the name first + 1 + i; if last <= first + 64 */
};

/* Names ascend. */
static inline void sum_add(struct sum *sum, uint32_t name, size_t value_bytes)
{
    assert(name > sum->last);
    if (sum->count++ == 0)
        sum->first = name;
    else if (name - sum->first <= 64)
        sum->mask |= UINT64_C(1) << (name - sum->first - 1);
    sum->last = name;
    sum->value_bytes += value_bytes;
}

static struct sum sum_properties(const struct graph_txn *txn)
{
    struct sum sum = { 0 };
    for (size_t i = 0; i < txn->property_count; i++) {
        const struct graph_property *property = &txn->properties[i];
        if (!property->is_null)
            sum_add(&sum, property->name, property->value.bytes);
    }
    return sum;
}

/* Returns the bytes of the head; 0: these properties are better off without. */
static size_t head_encode(const struct sum *sum, uint8_t to[HEAD_BYTES_MAX])
{
    uint8_t *at = to;
    bool has_gap = sum->last - sum->first >= sum->count;
    if (sum->last - sum->first > 64 || sum->first > UINT32_MAX - 64)
        return 0;
    if (!has_gap && sum->first <= HEAD_FIRST_MAX && sum->count <= 1 + HEAD_FOLLOWING_MAX) {
        *at++ = (uint8_t)(HEAD_COMPACT | (sum->first - 1) << 2 | (sum->count - 1));
    } else {
        bool is_long = sum->first > HEAD_FIRST_LONG;
        *at++ = (uint8_t)(HEAD_MASK | (is_long ? HEAD_FIRST_LONG : sum->first - 1));
        at = is_long ? varint_put(at, sum->first) : at;
        at = varint_put(at, sum->mask);
    }
    size_t bytes = (size_t)(at - to);
    bool is_better = bytes <= 1 + 2 * sum->count; /* a wide gap makes a long mask */
    return is_better && bytes + sum->value_bytes <= COMPACT_BYTES_MAX ? bytes : 0;
}

size_t record_head(const struct graph_txn *txn, uint8_t to[HEAD_BYTES_MAX])
{
    const struct sum sum = sum_properties(txn);
    return sum.count ? head_encode(&sum, to) : 0;
}

/* What the bytes behind the labels are written with: room for all was made. */
struct writer {
    uint8_t *at;
    bool has_head; /* names are in it, and values have no lengths */
};

/* Behind txn->record; what the properties come to is not nothing. */
static sombra_err writer_begin(struct graph_txn *txn, const struct sum *sum, struct writer *out)
{
    struct buf *to = &txn->record;
    uint8_t head[HEAD_BYTES_MAX];
    size_t head_bytes = head_encode(sum, head);
    sombra_err err =
        buf_reserve(to, VARINT_BYTES_MAX + sum->count * 2 * VARINT_BYTES_MAX + sum->value_bytes);
    if (err)
        return err;
    uint8_t *at = to->data + to->bytes;
    for (size_t i = 0; i < head_bytes; i++)
        *at++ = head[i];
    if (!head_bytes)
        at = varint_put(at, sum->count);
    *out = (struct writer){ .at = at, .has_head = head_bytes > 0 };
    return SOMBRA_OK;
}

static sombra_err writer_end(struct graph_txn *txn, const struct writer *writer)
{
    struct buf *to = &txn->record;
    to->bytes = (size_t)(writer->at - to->data);
    assert(to->bytes <= to->capacity);
    if (to->bytes > SOMBRA_VALUE_BYTES_MAX)
        return diag_fail(SOMBRA_LIMIT, "a record of %zu bytes; at most %d", to->bytes,
                         SOMBRA_VALUE_BYTES_MAX);
    return SOMBRA_OK;
}

static void write_bytes(struct writer *writer, const uint8_t *from, const uint8_t *end)
{
    size_t bytes = (size_t)(end - from);
    if (bytes == 0)
        return;
    memcpy(writer->at, from, bytes);
    writer->at += bytes;
}

static void write_property(struct writer *writer, uint32_t name, sombra_slice value)
{
    const uint8_t *from = value.data;
    if (!writer->has_head) {
        writer->at = varint_put(writer->at, name);
        writer->at = varint_put(writer->at, value.bytes);
    }
    write_bytes(writer, from, from + value.bytes);
}

sombra_err record_append_properties(struct graph_txn *txn)
{
    const struct sum sum = sum_properties(txn);
    struct writer writer;
    if (sum.count == 0)
        return SOMBRA_OK;
    sombra_err err = writer_begin(txn, &sum, &writer);
    if (err)
        return err;
    for (size_t i = 0; i < txn->property_count; i++) {
        const struct graph_property *property = &txn->properties[i];
        if (!property->is_null)
            write_property(&writer, property->name, property->value);
    }
    return writer_end(txn, &writer);
}

/* ---- merge --------------------------------------------------------------------------------- */

/* The collected properties and those of the record before that they leave. */
struct merge {
    sombra_record old; /* where its properties begin; decoded as it is written */
    struct sum sum;
    bool is_tight;  /* no name or length takes more bytes than it must */
    bool is_copied; /* both records are of one form: what stays is written as it stands */
};

/* The bytes that a property takes in a record with lengths. */
static inline size_t listed_bytes(uint32_t name, size_t value_bytes)
{
    size_t bytes = name < 0x80 && value_bytes < 0x80
                       ? 2
                       : (size_t)varint_bytes(name) + varint_bytes(value_bytes);
    return bytes + value_bytes;
}

/* Proves all of `old`, and notes for each collected property what it takes the place of. */
static sombra_err merge_begin(struct graph_txn *txn, const sombra_record *old, struct merge *merge)
{
    struct graph_property *given = txn->properties, *end = given + txn->property_count;
    sombra_record walk = *old;
    *merge = (struct merge){ .old = *old, .is_tight = true };
    for (;;) {
        const uint8_t *from = walk.property_at;
        uint32_t name = UINT32_MAX;
        sombra_slice value;
        bool found = false;
        sombra_err err = record_step(&walk, &name, &value, &found);
        if (err)
            return err;
        for (; given < end && (!found || given->name < name); given++) {
            given->from = given->to = from;
            if (!given->is_null)
                sum_add(&merge->sum, given->name, given->value.bytes);
        }
        if (!found)
            return SOMBRA_OK;
        if (given < end && given->name == name) {
            given->from = from;
            given->to = walk.property_at;
            if (!given->is_null)
                sum_add(&merge->sum, name, given->value.bytes);
            given++;
            continue;
        }
        sum_add(&merge->sum, name, value.bytes);
        if (!old->property_next &&
            (size_t)(walk.property_at - from) != listed_bytes(name, value.bytes))
            merge->is_tight = false;
    }
}

/* Writes what is left of `old` up to `from`, and passes by the rest up to `to`. */
static sombra_err write_decoded(sombra_record *old, const uint8_t *from, const uint8_t *to,
                                struct writer *writer)
{
    while (old->property_at < to) {
        bool stays = old->property_at < from;
        uint32_t name = 0;
        sombra_slice value = { 0 };
        bool found = false;
        sombra_err err = record_step(old, &name, &value, &found);
        if (err)
            return err;
        assert(found);
        if (stays)
            write_property(writer, name, value);
    }
    return SOMBRA_OK;
}

/* Each given property takes its place between what stays of `old`. */
static sombra_err write_merged(const struct graph_txn *txn, struct merge *merge,
                               struct writer *writer)
{
    const struct graph_property *given = txn->properties, *end = given + txn->property_count;
    const uint8_t *from = merge->old.property_at;
    for (; given < end; given++) {
        if (LIKELY(merge->is_copied)) {
            write_bytes(writer, from, given->from);
        } else {
            sombra_err err = write_decoded(&merge->old, given->from, given->to, writer);
            if (err)
                return err;
        }
        if (!given->is_null)
            write_property(writer, given->name, given->value);
        from = given->to;
    }
    if (UNLIKELY(!merge->is_copied))
        return write_decoded(&merge->old, merge->old.end, merge->old.end, writer);
    write_bytes(writer, from, merge->old.end);
    return SOMBRA_OK;
}

/* Appends to txn->record the collected properties, and those of `old` that are not among them. */
static sombra_err append_merged(struct graph_txn *txn, const sombra_record *old)
{
    struct merge merge;
    struct writer writer;
    sombra_err err = merge_begin(txn, old, &merge);
    if (err || merge.sum.count == 0)
        return err;
    err = writer_begin(txn, &merge.sum, &writer);
    if (err)
        return err;
    merge.is_copied = merge.is_tight && writer.has_head == (old->property_next != 0);
    err = write_merged(txn, &merge, &writer);
    return err ? err : writer_end(txn, &writer);
}

sombra_err record_begin_labels(struct graph_txn *txn, const uint32_t *labels, size_t count)
{
    buf_reset(&txn->record);
    sombra_err err = buf_append_varint(&txn->record, count);
    for (size_t i = 0; !err && i < count; i++) {
        assert(labels[i] > 0 && (i == 0 || labels[i - 1] < labels[i]));
        err = buf_append_varint(&txn->record, labels[i]);
    }
    return err;
}

/* The head of a record: the labels as they are in `old`. */
static sombra_err copy_labels(struct graph_txn *txn, sombra_record *old)
{
    buf_reset(&txn->record);
    sombra_err err = buf_append_varint(&txn->record, old->label_count);
    while (!err) {
        uint32_t label = 0;
        bool found = false;
        err = record_step_label(old, &label, &found);
        if (err || !found)
            break;
        err = buf_append_varint(&txn->record, label);
    }
    return err;
}

sombra_err record_build(struct graph_txn *txn, sombra_record *old, bool is_node, sombra_slice given,
                        enum graph_change change)
{
    sombra_err err = collect(txn, NULL, given);
    if (!err && is_node && old)
        err = copy_labels(txn, old);
    else if (!err && !is_node)
        buf_reset(&txn->record);
    if (err)
        return err;
    return old && change == GRAPH_MERGE ? append_merged(txn, old) : record_append_properties(txn);
}

sombra_err record_append_new(struct graph_txn *txn, struct record_names *names, sombra_slice given)
{
    sombra_err err = collect(txn, names, given);
    return err ? err : record_append_properties(txn);
}

sombra_err record_build_without(struct graph_txn *txn, sombra_record *old, bool is_node,
                                uint32_t name)
{
    const struct graph_property removed = { .name = name, .is_null = true };
    txn->property_count = 0;
    sombra_err err = record_property_add(txn, &removed);
    if (!err && is_node)
        err = copy_labels(txn, old);
    else if (!err)
        buf_reset(&txn->record);
    return err ? err : append_merged(txn, old);
}
