/* SPDX-License-Identifier: MIT */
/* Records of nodes and edges (graph_format.h), read in place. */
#include "record_step.h"
#include "names.h"

/* ---- properties and labels --------------------------------------------------------------- */

sombra_err record_damaged(const char *what)
{
    return diag_fail(SOMBRA_CORRUPT, "record of a node or edge: %s", what);
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
        at = record_number(at, record->end, UINT32_MAX - 64, &record->property_next);
    at = at ? varint_get(at, record->end, &record->property_mask) : NULL;
    record->property_count = 1 + bits_count(record->property_mask);
    return at && record->property_next ? at : NULL;
}

sombra_err graph_record_open(sombra_slice bytes, bool is_node, sombra_record *out_record)
{
    const uint8_t *at = bytes.data, *end = at ? at + bytes.bytes : NULL;
    sombra_record record = { .end = end };
    if (is_node) {
        at = at ? record_number(at, end, bytes.bytes, &record.label_count) : NULL;
        if (!at)
            return record_damaged("the number of labels");
        record.label_at = at;
        for (uint32_t i = 0; i < record.label_count; i++) {
            uint32_t label = 0;
            at = record_number(at, end, UINT32_MAX, &label);
            if (!at)
                return record_damaged("a label");
        }
    }
    record.properties = at;
    if (at != end) {
        bool is_compact = *at >= HEAD_COMPACT && end - at <= COMPACT_BYTES_MAX;
        at = is_compact ? read_head(at, &record)
                        : record_number(at, end, bytes.bytes / 2, &record.property_count);
        if (!at || record.property_count == 0)
            return record_damaged("the number of properties");
    }
    record.property_at = at;
    record.labels_left = record.label_count;
    record.properties_left = record.property_count;
    *out_record = record;
    return SOMBRA_OK;
}

sombra_err graph_record_next_label(sombra_record *record, uint32_t *out_label, bool *out_found)
{
    return record_step_label(record, out_label, out_found);
}

sombra_err graph_record_next_property(sombra_record *record, uint32_t *out_name,
                                      sombra_slice *out_value, bool *out_found)
{
    return record_step(record, out_name, out_value, out_found);
}

sombra_err graph_record_next_named(struct graph_txn *txn, sombra_record *record,
                                   sombra_name *out_name, sombra_slice *out_value, bool *out_found)
{
    uint32_t id = 0;
    sombra_slice value;
    bool found = false;
    sombra_err err = record_step(record, &id, &value, &found);
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
            return record_damaged("a property is cut short");
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
