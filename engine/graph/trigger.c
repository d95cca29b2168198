/* SPDX-License-Identifier: MIT */
/* Changes that triggers wait to hear of, in the order of the writes. They live in memory, for as
 * long as the transaction: a commit needs all of them taken.
 */
#include "index_internal.h"

enum {
    GENERATIONS_MAX = 16,  /* triggers that set each other off */
    SET_OFF_MAX = 1000000, /* changes of theirs: a few each, 16 deep, would never end */
};

struct noted_change {
    uint32_t rule;
    sombra_event event;
    bool is_edge;
    unsigned generation; /* 0: written by the transaction itself */
    uint64_t id;
    size_t before_at, before_bytes; /* the record before, among the bytes */
};

struct graph_changes {
    struct noted_change *items;
    size_t count, capacity;
    size_t taken;        /* of the first */
    size_t set_off;      /* of those taken, changes that procedures made */
    unsigned generation; /* of what is written now */
    struct buf bytes;
    sombra_value_builder *builder; /* of the change that was taken last */
    sombra_value_builder *comparer;
    struct buf compared;
};

size_t changes_count(const struct graph_txn *txn)
{
    return txn->changes ? txn->changes->count : 0;
}

size_t graph_changes_left(const struct graph_txn *txn)
{
    return txn->changes ? txn->changes->count - txn->changes->taken : 0;
}

void changes_cut(struct graph_txn *txn, size_t count)
{
    struct graph_changes *changes = txn->changes;
    if (!changes || changes->count < count)
        return;
    changes->count = count;
    changes->taken = size_min(changes->taken, count);
    if (count == 0) {
        changes->generation = 0;
        changes->set_off = 0;
        buf_reset(&changes->bytes);
    } else {
        const struct noted_change *last = &changes->items[count - 1];
        changes->bytes.bytes = last->before_at + last->before_bytes;
    }
}

void changes_free(struct graph_changes *changes)
{
    if (!changes)
        return;
    sombra_value_builder_free(changes->builder);
    sombra_value_builder_free(changes->comparer);
    buf_release(&changes->compared);
    buf_release(&changes->bytes);
    mem_free(changes->items);
    mem_free(changes);
}

static sombra_err changes_room(struct graph_txn *txn)
{
    struct graph_changes *changes = txn->changes;
    if (!changes) {
        changes = txn->changes = mem_zalloc(sizeof *changes);
        if (!changes)
            return diag_nomem("changes for triggers", sizeof *changes);
    }
    if (changes->count < changes->capacity)
        return SOMBRA_OK;
    size_t capacity = size_max(32, changes->capacity * 2);
    struct noted_change *grown = mem_realloc(changes->items, capacity * sizeof *grown);
    if (!grown)
        return diag_nomem("changes for triggers", capacity * sizeof *grown);
    changes->items = grown;
    changes->capacity = capacity;
    return SOMBRA_OK;
}

static sombra_slice section_of(const sombra_record *record)
{
    return slice_of(record->properties, (size_t)(record->end - record->properties));
}

static sombra_err values_equal(struct graph_changes *changes, sombra_slice a, sombra_slice b,
                               bool *out_equal)
{
    sombra_err err = SOMBRA_OK;
    if (slice_equal(a, b)) {
        *out_equal = true;
        return SOMBRA_OK;
    }
    if (!changes->comparer)
        err = sombra_value_builder_new(&changes->comparer);
    if (!err)
        err = value_canonical(changes->comparer, a, &a);
    if (!err)
        err = buf_set(&changes->compared, a);
    if (!err)
        err = value_canonical(changes->comparer, b, &b);
    if (!err)
        *out_equal = slice_equal(buf_slice(&changes->compared), b);
    return err;
}

/* Of two records that nobody has walked yet. A label that came or went beside the trigger's own, or
 * a write of what was there, changes no property; nor does a newer form of the same values. */
static sombra_err properties_equal(struct graph_changes *changes, const sombra_record *before,
                                   const sombra_record *after, bool *out_equal)
{
    sombra_record a = *before, b = *after;
    bool is_equal = slice_equal(section_of(&a), section_of(&b)), found = !is_equal;
    sombra_err err = SOMBRA_OK;
    if (!is_equal)
        is_equal = a.property_count == b.property_count;
    while (!err && is_equal && found) {
        uint32_t a_name = 0, b_name = 0;
        sombra_slice a_value = { NULL, 0 }, b_value = { NULL, 0 };
        err = graph_record_next_property(&a, &a_name, &a_value, &found);
        if (!err)
            err = graph_record_next_property(&b, &b_name, &b_value, &found);
        if (!err && a_name != b_name)
            is_equal = false;
        else if (!err && found)
            err = values_equal(changes, a_value, b_value, &is_equal);
    }
    if (!err)
        *out_equal = is_equal;
    return err;
}

sombra_err change_note(struct graph_txn *txn, const struct graph_rule *trigger, uint64_t id,
                       const sombra_record *before, const sombra_record *after)
{
    sombra_event event = !before  ? SOMBRA_EVENT_CREATE
                         : !after ? SOMBRA_EVENT_DELETE
                                  : SOMBRA_EVENT_UPDATE;
    bool is_equal = false;
    assert(before || after);
    if (!(trigger->events & (uint32_t)event))
        return SOMBRA_OK;
    sombra_err err = changes_room(txn);
    if (!err && before && after)
        err = properties_equal(txn->changes, before, after, &is_equal);
    if (err || is_equal)
        return err;
    struct graph_changes *changes = txn->changes;
    struct noted_change change = { .rule = trigger->id,
                                   .event = event,
                                   .is_edge = trigger->is_edge,
                                   .generation = changes->generation,
                                   .id = id,
                                   .before_at = changes->bytes.bytes };
    if (before && before->property_count) {
        err = buf_append_slice(&changes->bytes, section_of(before));
        change.before_bytes = changes->bytes.bytes - change.before_at;
    }
    if (!err)
        changes->items[changes->count++] = change;
    return err;
}

/* The properties before, as a map by name. */
static sombra_err push_before(struct graph_txn *txn, const struct noted_change *change,
                              sombra_slice *out_map)
{
    struct graph_changes *changes = txn->changes;
    sombra_value_builder *builder = changes->builder;
    sombra_record record;
    sombra_slice bytes = { NULL, 0 };
    if (change->before_bytes)
        bytes = slice_of(changes->bytes.data + change->before_at, change->before_bytes);
    sombra_err err = graph_record_open(bytes, false, &record);
    sombra_value_builder_reset(builder);
    (void)sombra_value_begin_map(builder);
    while (!err) {
        uint32_t id;
        sombra_name name;
        sombra_slice value;
        bool found;
        err = graph_record_next_property(&record, &id, &value, &found);
        if (err || !found)
            break;
        err = graph_name_by_id(txn, SOMBRA_NAME_PROPERTY, id, &name);
        if (err)
            break;
        (void)sombra_value_push_key(builder, name.text.data, name.text.bytes);
        (void)sombra_value_push_encoded(builder, value);
    }
    (void)sombra_value_end_map(builder);
    return err ? err : sombra_value_finish(builder, out_map);
}

static sombra_err change_fill(struct graph_txn *txn, const struct noted_change *noted,
                              const struct graph_rule *trigger, sombra_change *out_change)
{
    sombra_name subject, procedure;
    sombra_change change = {
        .rule = noted->rule, .event = noted->event, .is_edge = noted->is_edge, .id = noted->id
    };
    sombra_err err = graph_name_by_id(txn, noted->is_edge ? SOMBRA_NAME_TYPE : SOMBRA_NAME_LABEL,
                                      trigger->subject, &subject);
    if (!err)
        err = graph_name_by_id(txn, SOMBRA_NAME_PROPERTY, trigger->properties[0], &procedure);
    if (!err && noted->event != SOMBRA_EVENT_CREATE)
        err = push_before(txn, noted, &change.before);
    if (err)
        return err;
    change.subject = subject.text;
    change.procedure = procedure.text;
    *out_change = change;
    return SOMBRA_OK;
}

sombra_err graph_change_next(struct graph_txn *txn, sombra_change *out_change, bool *out_found)
{
    struct graph_changes *changes = txn->changes;
    sombra_err err = txn_check_write(txn); /* loads the rules */
    if (!err && changes && !changes->builder)
        err = sombra_value_builder_new(&changes->builder);
    while (!err && changes && changes->taken < changes->count) {
        const struct noted_change noted = changes->items[changes->taken];
        const struct graph_rule *trigger = rules_by_id(txn, noted.rule);
        if (!trigger) { /* dropped since */
            changes->taken++;
            continue;
        }
        if (noted.generation >= GENERATIONS_MAX)
            return diag_fail(SOMBRA_LIMIT, "triggers set each other off more than %d deep",
                             GENERATIONS_MAX);
        if (changes->set_off >= SET_OFF_MAX)
            return diag_fail(SOMBRA_LIMIT, "triggers set each other off more than %d times",
                             SET_OFF_MAX);
        err = change_fill(txn, &noted, trigger, out_change);
        if (err)
            break;
        changes->taken++;
        changes->set_off += noted.generation > 0;
        changes->generation = noted.generation + 1;
        *out_found = true;
        return SOMBRA_OK;
    }
    if (err)
        return diag_wrap(err, "changes for triggers");
    changes_cut(txn, 0);
    *out_found = false;
    return SOMBRA_OK;
}
