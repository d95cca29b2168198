/* SPDX-License-Identifier: MIT */
/* Finding a node by the values of an index, and writing what is found or else made. */
#include "index_internal.h"
#include "kept_ends.h"

/* ---- find -------------------------------------------------------------------------------- */

/* Which of what is given has the name; `count` if none has. */
static inline size_t position_of(const struct graph_property *given, size_t count, uint32_t name)
{
    size_t at = 0;
    while (at < count && given[at].name != name)
        at++;
    return at;
}

/* An index of just these properties, in any order, that is ready? */
static inline bool covers(const struct graph_rule *index, const struct graph_property *given,
                          size_t count)
{
    bool does = rule_is_index(index) && index->is_ready && index->property_count == count;
    for (size_t i = 0; does && i < count; i++)
        does = position_of(given, count, index->properties[i]) < count;
    return does;
}

static sombra_err refuse_null(void)
{
    return diag_fail(SOMBRA_INVALID, "a null is not found by an index");
}

/* What `values` asks for, by name ids. *out_exist false: a name does not exist. */
static sombra_err read_values(struct graph_txn *txn, sombra_slice values,
                              struct graph_property given[SOMBRA_INDEX_PROPERTIES],
                              size_t *out_count, bool *out_exist)
{
    sombra_value_cursor cursor;
    size_t count = 0;
    bool exist = true;
    sombra_err err = value_open_map_unproved(values, &cursor);
    while (!err) {
        sombra_slice key;
        struct graph_property property = { 0 };
        bool found = false;
        err = value_next_proved(&cursor, &key, &property.value, &found);
        if (err || !found)
            break;
        if (count == SOMBRA_INDEX_PROPERTIES)
            return diag_fail(SOMBRA_INVALID, "an index has at most %d properties",
                             SOMBRA_INDEX_PROPERTIES);
        if (*(const uint8_t *)property.value.data == 0)
            return refuse_null();
        err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, key, &property.name);
        exist = exist && property.name;
        given[count++] = property;
    }
    if (!err && count == 0)
        err = diag_fail(SOMBRA_INVALID, "no property is given to find by");
    *out_count = count;
    *out_exist = exist;
    return err;
}

static sombra_err refuse_uncovered(sombra_slice label, bool is_unique)
{
    return diag_fail(
        SOMBRA_INVALID, "\"%.*s\" has no %s of just these properties that is ready; %s",
        (int)size_min(label.bytes, 60), (const char *)label.data,
        is_unique ? "unique index" : "index", is_unique ? "make one" : "make one, or use a query");
}

/* The index of the label that has exactly the properties of what is given, a unique one if there
 * is. `exist`: all of their names do. */
static sombra_err find_index(struct graph_txn *txn, sombra_slice label,
                             const struct graph_property *given, size_t given_count, bool exist,
                             bool must_be_unique, const struct graph_rule **out_index)
{
    const struct graph_rule *rules = NULL, *index = NULL;
    size_t count = 0;
    uint32_t subject = 0;
    sombra_err err = graph_name_find(txn, SOMBRA_NAME_LABEL, label, &subject);
    if (!err && exist && subject)
        err = graph_rules_of(txn, false, subject, &rules, &count);
    for (const struct graph_rule *rule = rules; !err && count > 0; rule++, count--) {
        bool is_better = rule->kind == SOMBRA_RULE_UNIQUE || (!must_be_unique && !index);
        if (is_better && covers(rule, given, given_count))
            index = rule;
    }
    if (!err && !index)
        err = refuse_uncovered(label, must_be_unique);
    if (!err)
        *out_index = index;
    return err;
}

/* Behind the values of an entry stand the id and its length, which most often make one word.
 * *out_is_read false: not so. */
static sombra_err first_word(struct graph_txn *txn, sombra_slice prefix, uint64_t *out_id,
                             bool *out_is_read)
{
    struct kv_cursor *cursor;
    uint64_t word = 0, id = 0;
    uint8_t bytes = 0;
    struct kv_words words = {
        .within = prefix, .seeks = true, .capacity = 1, .words = &word, .bytes = &bytes
    };
    sombra_err err = kv_cursor_open(txn->kv, (struct kv_range){ .low = { NULL, 0 } }, &cursor);
    if (err)
        return err;
    err = kv_cursor_words(cursor, &words);
    kv_cursor_close(cursor);
    if (err)
        return err;
    size_t left = bytes;
    *out_is_read = words.count == 0 ? words.is_last
                                    : word_take(&word, &left, &id) && left == 1 && id != 0 &&
                                          word >> 56 == bytes - 1u;
    *out_id = id;
    return SOMBRA_OK;
}

/* The first entry of a range of keys; *out_id 0 = there is none. Values that are cut in keys are
 * for a scan. */
static sombra_err first_entry(struct graph_txn *txn, const struct index_key *prefix,
                              size_t prefix_bytes, uint64_t *out_id)
{
    uint8_t high[KV_KEY_BYTES_MAX];
    struct kv_cursor *cursor;
    struct index_entry entry = { 0 };
    bool found = false;
    sombra_err err = SOMBRA_OK;
    if (kv_has_words(txn->kv))
        err = first_word(txn, index_key_slice(prefix), out_id, &found);
    if (err || found)
        return err;
    struct kv_range range = { index_key_slice(prefix),
                              kv_prefix_end(index_key_slice(prefix), high) };
    err = kv_cursor_open(txn->kv, range, &cursor);
    if (err)
        return err;
    err = kv_cursor_move(cursor, KV_FIRST, slice_of(NULL, 0), &found);
    if (!err && found)
        err = index_entry_read(cursor->entry.key, prefix_bytes, &entry);
    kv_cursor_close(cursor);
    if (!err)
        *out_id = entry.id;
    return err;
}

static sombra_err first_scanned(struct graph_txn *txn, const struct graph_rule *index,
                                sombra_slice values, uint64_t *out_id)
{
    struct graph_index_scan *scan;
    const uint64_t *ids;
    size_t count = 0;
    sombra_err err = index_open_equal(txn, index, values, &scan);
    if (err)
        return err;
    err = graph_index_next(scan, &ids, &count);
    if (!err)
        *out_id = count ? ids[0] : 0;
    graph_index_close(scan);
    return err;
}

static sombra_err first_stored(struct graph_txn *txn, const struct graph_rule *index,
                               sombra_slice values, uint64_t *out_id)
{
    struct index_key prefix;
    if (UNLIKELY(values.bytes > INDEX_CUT_BYTES))
        return first_scanned(txn, index, values, out_id);
    index_key_values(index->id, values, &prefix);
    return first_entry(txn, &prefix, key_of_index(index->id).length, out_id);
}

/* The first entry whose values are these bytes; *out_id 0 = there is none. Readers keep what they
 * found by small ones. */
static sombra_err find_values(struct graph_txn *txn, const struct graph_rule *index,
                              sombra_slice values, uint64_t *out_id)
{
    if (values.bytes > KEPT_VALUE_BYTES || !kept_values_wanted(txn, &txn->found, 1))
        return first_stored(txn, index, values, out_id);
    const struct kept_value *kept = kept_found(&txn->found, index->id, values);
    if (LIKELY(kept)) {
        txn->found.hits++;
        *out_id = kept->node;
        if (!index->is_edge)
            kept_ends_fetch(&txn->ends, kept->node);
        return SOMBRA_OK;
    }
    sombra_err err = first_stored(txn, index, values, out_id);
    if (!err)
        kept_found_add(txn, index->id, values, *out_id);
    return err;
}

sombra_err graph_index_find(struct graph_txn *txn, const struct graph_rule *index,
                            const sombra_slice *equal, uint64_t *out_id)
{
    struct buf *bytes = &txn->record; /* nothing is under construction */
    sombra_err err = SOMBRA_OK;
    assert(rule_is_index(index) && index->is_ready);
    buf_reset(bytes);
    for (size_t i = 0; !err && i < index->property_count; i++)
        err = index_append(bytes, equal[i]);
    return err ? err : find_values(txn, index, buf_slice(bytes), out_id);
}

/* *out_node 0 = there is none. */
static sombra_err find_node(struct graph_txn *txn, sombra_slice label, sombra_slice values,
                            bool must_be_unique, sombra_node_id *out_node)
{
    struct graph_property given[SOMBRA_INDEX_PROPERTIES];
    sombra_slice equal[SOMBRA_INDEX_PROPERTIES];
    const struct graph_rule *index;
    size_t count = 0;
    bool exist = false;
    sombra_err err = read_values(txn, values, given, &count, &exist);
    if (!err)
        err = find_index(txn, label, given, count, exist, must_be_unique, &index);
    for (size_t i = 0; !err && i < count; i++)
        equal[i] = given[position_of(given, count, index->properties[i])].value;
    return err ? err : graph_index_find(txn, index, equal, out_node);
}

/* By one property, whose value needs not be encoded. */
static sombra_err find_by(struct graph_txn *txn, sombra_slice label, sombra_slice property,
                          const sombra_value *value, sombra_node_id *out_node)
{
    struct graph_property given;
    const struct graph_rule *index;
    struct buf *bytes = &txn->record; /* nothing is under construction */
    sombra_err err = txn_check_read(txn);
    if (!err && value->kind - 1u >= SOMBRA_MAP)
        err = refuse_null();
    buf_reset(bytes);
    if (!err)
        err = index_append_value(bytes, value);
    if (err)
        return err;
    kept_found_fetch(&txn->found, buf_slice(bytes)); /* while the index is looked for */
    err = graph_name_find(txn, SOMBRA_NAME_PROPERTY, property, &given.name);
    if (!err)
        err = find_index(txn, label, &given, 1, given.name != 0, false, &index);
    return err ? err : find_values(txn, index, buf_slice(bytes), out_node);
}

/* `node` 0 = there is none. */
static inline sombra_err give_found(sombra_err err, sombra_node_id node, sombra_node_id *out_node)
{
    if (UNLIKELY(err))
        return diag_wrap(err, "find a node");
    if (node == 0)
        return SOMBRA_NOT_FOUND;
    *out_node = node;
    return SOMBRA_OK;
}

sombra_err graph_node_find(struct graph_txn *txn, sombra_slice label, sombra_slice values,
                           sombra_node_id *out_node)
{
    sombra_node_id node = 0;
    sombra_err err = txn_check_read(txn);
    if (!err)
        err = find_node(txn, label, values, false, &node);
    return give_found(err, node, out_node);
}

sombra_err graph_node_find_by(struct graph_txn *txn, sombra_slice label, sombra_slice property,
                              const sombra_value *value, sombra_node_id *out_node)
{
    sombra_node_id node = 0;
    sombra_err err = find_by(txn, label, property, value, &node);
    return give_found(err, node, out_node);
}

/* ---- upsert ------------------------------------------------------------------------------ */

static bool is_nothing(sombra_slice properties)
{
    sombra_value value;
    return properties.bytes == 0 || (!sombra_value_decode(properties, &value) &&
                                     value.kind == SOMBRA_MAP && value.count == 0);
}

/* A record of the key's properties, then the others merged into it: one write. */
static sombra_err create_merged(struct graph_txn *txn, sombra_slice label, sombra_slice key,
                                sombra_slice properties, sombra_node_id *out_node)
{
    uint32_t id;
    size_t count;
    sombra_record old;
    sombra_err err = node_labels(txn, &label, 1, &id, &count);
    if (!err)
        err = record_begin_labels(txn, &id, 1);
    if (!err)
        err = record_build(txn, NULL, true, key, GRAPH_REPLACE);
    if (!err)
        err = buf_set(&txn->old, buf_slice(&txn->record));
    if (!err)
        err = graph_record_open(buf_slice(&txn->old), true, &old);
    if (!err)
        err = record_build(txn, &old, true, properties, GRAPH_MERGE);
    return err ? err : node_create_built(txn, &id, 1, out_node);
}

sombra_err graph_node_upsert(struct graph_txn *txn, sombra_slice label, sombra_slice key,
                             sombra_slice properties, sombra_node_id *out_node, bool *out_created)
{
    sombra_node_id node = 0;
    sombra_err err = txn_check_write(txn);
    if (!err)
        err = find_node(txn, label, key, true, &node);
    bool creates = !err && node == 0;
    if (creates)
        err = create_merged(txn, label, key, properties, &node);
    else if (!err && !is_nothing(properties))
        err = graph_node_change(txn, node, properties, GRAPH_MERGE);
    if (err)
        return diag_wrap(err, "upsert a node");
    *out_node = node;
    *out_created = creates;
    return SOMBRA_OK;
}

sombra_err graph_edge_upsert(struct graph_txn *txn, const struct graph_edge *ends,
                             sombra_slice type, sombra_slice properties, sombra_edge_id *out_edge,
                             bool *out_created)
{
    sombra_edge_id edge = 0;
    sombra_err err = txn_check_write(txn);
    if (!err && type.bytes == 0)
        err = diag_fail(SOMBRA_INVALID, "an edge needs a type");
    if (!err)
        err = graph_edge_find(txn, ends->src, type, ends->dst, &edge);
    bool creates = err == SOMBRA_NOT_FOUND;
    if (creates)
        err = graph_edge_create(txn, ends, type, properties, &edge);
    else if (!err && !is_nothing(properties))
        err = graph_edge_change(txn, edge, properties, GRAPH_MERGE);
    if (err)
        return diag_wrap(err, "upsert an edge");
    *out_edge = edge;
    *out_created = creates;
    return SOMBRA_OK;
}
