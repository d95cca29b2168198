/* SPDX-License-Identifier: MIT */
/* Records of nodes and edges (graph_format.h): read in place, or built in txn->record. */
#include "graph_internal.h"
#include "names.h"

#include <stdlib.h>

/* ---- read -------------------------------------------------------------------------------- */

static sombra_err damaged(const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "record of a node or edge: %s", what);
}

/* A number of `*at`, at most `max`; NULL for anything else. */
static const uint8_t *read_number(const uint8_t *at, const uint8_t *end, uint64_t max,
                                  uint32_t *out_number)
{
    uint64_t number;
    at = varint_get(at, end, &number);
    if (!at || number > max)
        return NULL;
    *out_number = (uint32_t)number;
    return at;
}

/* Without a call: the processor's own is not of every x86. */
static inline unsigned bits_count(uint64_t bits)
{
    bits -= bits >> 1 & UINT64_C(0x5555555555555555);
    bits = (bits & UINT64_C(0x3333333333333333)) + (bits >> 2 & UINT64_C(0x3333333333333333));
    bits = (bits + (bits >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(bits * UINT64_C(0x0101010101010101) >> 56);
}

/* The names of properties that have no lengths: property_next is set. NULL = they are damaged. */
static const uint8_t *read_head(const uint8_t *at, sombra_record *record)
{
    unsigned head = *at++;
    if (head < HEAD_MASK) {
        record->property_next = (head >> 2 & (HEAD_FIRST_MAX - 1)) + 1;
        record->property_mask = (1u << (head & HEAD_FOLLOWING_MAX)) - 1;
        record->property_count = (head & HEAD_FOLLOWING_MAX) + 1;
        return at;
    }
    record->property_next = (head & HEAD_FIRST_LONG) + 1;
    if ((head & HEAD_FIRST_LONG) == HEAD_FIRST_LONG)
        at = read_number(at, record->end, UINT32_MAX - 64, &record->property_next);
    at = at ? varint_get(at, record->end, &record->property_mask) : NULL;
    record->property_count = 1 + bits_count(record->property_mask);
    return at && record->property_next ? at : NULL;
}

sombra_err graph_record_open(sombra_slice bytes, bool is_node, sombra_record *out_record)
{
    const uint8_t *at = bytes.data, *end = at ? at + bytes.bytes : NULL;
    sombra_record record = { .end = end };
    if (is_node) {
        at = at ? read_number(at, end, bytes.bytes, &record.label_count) : NULL;
        if (!at)
            return damaged("the number of labels");
        record.label_at = at;
        for (uint32_t i = 0; i < record.label_count; i++) {
            uint32_t label = 0;
            at = read_number(at, end, UINT32_MAX, &label);
            if (!at)
                return damaged("a label");
        }
    }
    record.properties = at;
    if (at != end) {
        bool is_compact = *at >= HEAD_COMPACT && end - at <= COMPACT_BYTES_MAX;
        at = is_compact ? read_head(at, &record)
                        : read_number(at, end, bytes.bytes / 2, &record.property_count);
        if (!at || record.property_count == 0)
            return damaged("the number of properties");
    }
    record.property_at = at;
    record.labels_left = record.label_count;
    record.properties_left = record.property_count;
    *out_record = record;
    return SOMBRA_OK;
}

sombra_err graph_record_next_label(sombra_record *record, uint32_t *out_label, bool *out_found)
{
    uint32_t label;
    if (record->labels_left == 0) {
        *out_found = false;
        return SOMBRA_OK;
    }
    const uint8_t *at = read_number(record->label_at, record->end, UINT32_MAX, &label);
    if (!at || label <= record->label_last)
        return damaged("labels are not ascending");
    record->label_at = at;
    record->label_last = label;
    record->labels_left--;
    *out_label = label;
    *out_found = true;
    return SOMBRA_OK;
}

/* The name whose value is next in a record without lengths; turns to the one behind it. */
static inline uint32_t compact_step(sombra_record *record)
{
    uint32_t name = record->property_next;
    uint64_t mask = record->property_mask;
    if (mask) {
        unsigned gap = (unsigned)__builtin_ctzll(mask);
        record->property_next = name + 1 + gap;
        record->property_mask = mask >> gap >> 1;
    }
    return name;
}

/* Most names and lengths are so small. False = look closer. */
static inline bool read_small(const uint8_t **at, const uint8_t *end, uint32_t *out_name,
                              uint32_t *out_bytes)
{
    const uint8_t *from = *at;
    if (UNLIKELY(end - from < 3 || from[0] >= 0x80 || (from[1] >= 0x80 && from[2] >= 0x80)))
        return false;
    bool is_long = from[1] >= 0x80;
    *out_name = from[0];
    *out_bytes = is_long ? (from[1] & 0x7fu) | (uint32_t)from[2] << 7 : from[1];
    *at = from + 2 + is_long;
    return true;
}

static inline __attribute__((always_inline)) sombra_err
next_property(sombra_record *record, uint32_t *out_name, sombra_slice *out_value, bool *out_found)
{
    uint32_t name, bytes;
    if (record->properties_left == 0) {
        if (record->property_at != record->end)
            return damaged("bytes behind the last property");
        *out_found = false;
        return SOMBRA_OK;
    }
    const uint8_t *at = record->property_at;
    if (record->property_next == 0 && LIKELY(read_small(&at, record->end, &name, &bytes))) {
        if (UNLIKELY(name <= record->property_last))
            return damaged("names of properties are not ascending");
        if (UNLIKELY(bytes > (size_t)(record->end - at)))
            return damaged("a property is cut short");
    } else if (record->property_next) {
        bytes = (uint32_t)value_length(at, (size_t)(record->end - at));
        if (bytes == 0)
            return damaged("a property is cut short");
        name = compact_step(record);
    } else {
        at = read_number(at, record->end, UINT32_MAX, &name);
        if (!at || name <= record->property_last)
            return damaged("names of properties are not ascending");
        at = read_number(at, record->end, UINT32_MAX, &bytes);
        if (!at || bytes > (size_t)(record->end - at))
            return damaged("a property is cut short");
    }
    record->property_at = at + bytes;
    record->property_last = name;
    record->properties_left--;
    *out_name = name;
    *out_value = slice_of(at, bytes);
    *out_found = true;
    return SOMBRA_OK;
}

sombra_err graph_record_next_property(sombra_record *record, uint32_t *out_name,
                                      sombra_slice *out_value, bool *out_found)
{
    return next_property(record, out_name, out_value, out_found);
}

sombra_err graph_record_next_named(struct graph_txn *txn, sombra_record *record,
                                   sombra_name *out_name, sombra_slice *out_value, bool *out_found)
{
    uint32_t id = 0;
    sombra_slice value;
    bool found = false;
    sombra_err err = next_property(record, &id, &value, &found);
    if (LIKELY(!err && found)) {
        const struct graph_name *name = NULL;
        if (LIKELY(txn->made.count == 0))
            name = graph_names_by_id(&txn->graph->names, SOMBRA_NAME_PROPERTY, id);
        if (LIKELY(name != NULL))
            *out_name = (sombra_name){ .id = id, .text = slice_of(name->text, name->bytes) };
        else
            err = graph_name_of_record(txn, SOMBRA_NAME_PROPERTY, id, out_name);
    }
    if (UNLIKELY(err))
        return err;
    if (found)
        *out_value = value;
    *out_found = found;
    return SOMBRA_OK;
}

/* The head tells how many values to skip. */
static sombra_err compact_find(const sombra_record *record, uint32_t name, sombra_slice *out_value)
{
    const uint8_t *at = record->property_at;
    uint32_t first = record->property_next, skipped = 0;
    if (record->properties_left == 0 || name < first)
        return SOMBRA_NOT_FOUND;
    if (name > first) {
        uint32_t bit = name - first - 1;
        if (bit >= 64 || !(record->property_mask >> bit & 1))
            return SOMBRA_NOT_FOUND;
        uint64_t below = (UINT64_C(1) << bit) - 1;
        skipped = 1 + bits_count(record->property_mask & below);
    }
    for (;;) {
        size_t bytes = value_length(at, (size_t)(record->end - at));
        if (bytes == 0)
            return damaged("a property is cut short");
        if (skipped-- == 0) {
            *out_value = slice_of(at, bytes);
            return SOMBRA_OK;
        }
        at += bytes;
    }
}

sombra_err graph_record_find(const sombra_record *record, uint32_t name, sombra_slice *out_value)
{
    sombra_record walk = *record;
    if (record->property_next)
        return compact_find(record, name, out_value);
    for (;;) {
        uint32_t at;
        sombra_slice value;
        bool found = false;
        sombra_err err = graph_record_next_property(&walk, &at, &value, &found);
        if (err)
            return err;
        if (!found || at > name)
            return SOMBRA_NOT_FOUND;
        if (at == name) {
            *out_value = value;
            return SOMBRA_OK;
        }
    }
}

/* As compact_find, of a record of one-byte numbers: most are so. False = look closer. */
static inline bool find_plain(sombra_slice bytes, bool is_node, uint32_t name,
                              sombra_slice *out_value, bool *out_found)
{
    const uint8_t *at = bytes.data, *end = at + bytes.bytes;
    if (UNLIKELY(bytes.bytes < 4 || bytes.bytes > COMPACT_BYTES_MAX))
        return false;
    for (unsigned labels = is_node ? *at++ : 0; labels > 0; labels--) {
        if (UNLIKELY(labels >= 0x80 || end - at < 4 || *at++ >= 0x80))
            return false;
    }
    unsigned head = *at++, mask, first = (head & HEAD_FIRST_LONG) + 1;
    if (head >= HEAD_MASK) {
        mask = *at++;
        if (UNLIKELY(first > HEAD_FIRST_LONG || mask >= 0x80))
            return false;
    } else {
        first = (head >> 2 & (HEAD_FIRST_MAX - 1)) + 1;
        mask = (1u << (head & HEAD_FOLLOWING_MAX)) - 1;
        if (UNLIKELY(head < HEAD_COMPACT))
            return false;
    }
    /* A bit for each name from the first on, and the one that is wanted. */
    mask = mask << 1 | 1;
    *out_found = name - first < 8 && (mask >> (name - first) & 1);
    if (!*out_found)
        return true;
    for (mask &= (1u << (name - first)) - 1; at < end; mask &= mask - 1) {
        size_t length = value_length(at, (size_t)(end - at));
        if (UNLIKELY(length == 0))
            return false;
        if (mask == 0) {
            *out_value = slice_of(at, length);
            return true;
        }
        at += length;
    }
    return false;
}

/* The same of a record with lengths, whose names are one-byte numbers. */
static inline bool find_listed(sombra_slice bytes, bool is_node, uint32_t name,
                               sombra_slice *out_value, bool *out_found)
{
    const uint8_t *at = bytes.data, *end = at + bytes.bytes;
    if (UNLIKELY(bytes.bytes <= COMPACT_BYTES_MAX))
        return false;
    for (unsigned labels = is_node ? *at++ : 0; labels > 0; labels--) {
        if (UNLIKELY(labels >= 0x80 || *at++ >= 0x80))
            return false;
    }
    if (UNLIKELY(end - at <= COMPACT_BYTES_MAX)) /* it may have a head */
        return false;
    unsigned count = *at++, last = 0;
    if (UNLIKELY(count >= 0x80))
        return false;
    for (; count > 0; count--) {
        uint64_t length = 0;
        unsigned listed = at < end ? *at++ : 0;
        if (UNLIKELY(listed >= 0x80 || listed <= last))
            return false;
        at = varint_get(at, end, &length);
        if (UNLIKELY(!at || length > (size_t)(end - at)))
            return false;
        if (listed >= name) {
            *out_found = listed == name;
            if (*out_found)
                *out_value = slice_of(at, (size_t)length);
            return true;
        }
        at += length;
        last = listed;
    }
    *out_found = false;
    return at == end;
}

sombra_err graph_record_value(sombra_slice bytes, bool is_node, uint32_t name,
                              sombra_slice *out_value)
{
    bool found = false;
    sombra_record record;
    if (LIKELY(find_plain(bytes, is_node, name, out_value, &found) ||
               find_listed(bytes, is_node, name, out_value, &found)))
        return found ? SOMBRA_OK : SOMBRA_NOT_FOUND;
    sombra_err err = graph_record_open(bytes, is_node, &record);
    return err ? err : graph_record_find(&record, name, out_value);
}

/* ---- one property of many records ---------------------------------------------------------- */

/* What such a record begins with, up to its first value, as far as a word shows it. */
static void finder_learn(struct record_finder *finder, sombra_slice bytes)
{
    const uint8_t *at = bytes.data;
    sombra_record record;
    finder->mask = 0;
    if (bytes.bytes < sizeof finder->form || graph_record_open(bytes, finder->is_node, &record) ||
        !record.property_next)
        return;
    const size_t head_bytes = (size_t)(record.property_at - at);
    const uint32_t first = record.property_next, gap = finder->name - first - 1;
    if (head_bytes > sizeof finder->form)
        return;
    finder->head_bytes = (uint8_t)head_bytes;
    finder->skipped = 0;
    finder->is_there = finder->name == first ||
                       (finder->name > first && gap < 64 && (record.property_mask >> gap & 1));
    if (finder->is_there && finder->name != first)
        finder->skipped =
            (uint8_t)(1 + bits_count(record.property_mask & ((UINT64_C(1) << gap) - 1)));
    finder->mask = UINT64_MAX >> (64 - 8 * head_bytes);
    finder->form = get_le64(at) & finder->mask;
}

sombra_err record_finder_value_slow(struct record_finder *finder, sombra_slice bytes,
                                    sombra_slice *out_value)
{
    sombra_err err = graph_record_value(bytes, finder->is_node, finder->name, out_value);
    if (!err || err == SOMBRA_NOT_FOUND)
        finder_learn(finder, bytes);
    return err;
}

sombra_err record_prove(sombra_record *record, record_name_check name_check, void *context)
{
    for (;;) {
        uint32_t name;
        sombra_slice value;
        bool found = false;
        sombra_err err = graph_record_next_property(record, &name, &value, &found);
        if (err || !found)
            return err;
        err = name_check(context, name);
        if (!err)
            err = diag_wrap(sombra_value_validate(value), "property %" PRIu32, name);
        if (err)
            return err;
    }
}

/* ---- build ------------------------------------------------------------------------------- */

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
        sombra_err err = next_property(&walk, &name, &value, &found);
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
        sombra_err err = next_property(old, &name, &value, &found);
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
        err = graph_record_next_label(old, &label, &found);
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
