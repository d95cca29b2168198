/* SPDX-License-Identifier: MIT */
/* Records in all their forms: with a head or with lengths, of this format and of those before. */
#include "graph_fixture.h"
#include "graph/graph_internal.h"

enum { NAMES = 200 };

/* "p001" has the id 1 and so on. */
static sombra_slice name_at(uint32_t id)
{
    static char name[8];
    snprintf(name, sizeof name, "p%03u", id);
    return text(name);
}

static void make_names(struct fixture *f)
{
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    for (uint32_t id = 1; id <= NAMES; id++) {
        sombra_slice name = name_at(id);
        sombra_value_push_key(f->builder, name.data, name.bytes);
        sombra_value_push_integer(f->builder, id);
    }
    sombra_value_end_map(f->builder);
    sombra_slice map;
    sombra_node_id node;
    assert_ok(sombra_value_finish(f->builder, &map));
    assert_ok(graph_node_create(&f->txn, NULL, 0, map, &node));
    assert_int_equal(node, 1);
}

static sombra_slice stored(struct fixture *f, sombra_node_id node)
{
    struct graph_key key = key_1(TAG_NODE, node);
    sombra_slice value;
    assert_ok(kv_get(f->txn.kv, key_slice(&key), &value));
    return value;
}

static void store(struct fixture *f, sombra_node_id node, sombra_slice record)
{
    struct graph_key key = key_1(TAG_NODE, node);
    assert_ok(kv_put(f->txn.kv, key_slice(&key), record));
}

/* Values of many tags; of name `id` when `salt` was given. */
static void push_value(sombra_value_builder *to, uint32_t id, uint64_t salt, size_t text_bytes)
{
    static const char letters[300] = "text";
    switch ((id + salt) % 6) {
    case 0:
        sombra_value_push_float(to, (double)id / 100);
        return;
    case 1:
        sombra_value_push_string(to, letters, text_bytes);
        return;
    case 2:
        sombra_value_push_boolean(to, id & 1);
        return;
    case 3:
        sombra_value_begin_list(to);
        sombra_value_push_integer(to, id);
        sombra_value_end_list(to);
        return;
    case 4:
        sombra_value_push_float(to, 1.0 / (3 + id));
        return;
    default:
        sombra_value_push_integer(to, (int64_t)id * 1000);
    }
}

/* Every name is found with its value or not at all, and the walk meets those that are there. */
static void assert_record(struct fixture *f, sombra_node_id node, const bool *wanted, uint64_t salt,
                          size_t text_bytes)
{
    sombra_record record, walk;
    sombra_value_builder *builder;
    assert_ok(sombra_value_builder_new(&builder));
    assert_ok(graph_node_get(&f->txn, node, &record));
    walk = record;
    uint32_t count = 0;
    for (uint32_t id = 1; id <= NAMES; id++) {
        sombra_slice value, expected, walked;
        uint32_t name;
        bool found;
        sombra_slice whole = stored(f, node);
        if (!wanted[id]) {
            assert_err(graph_record_find(&record, id, &value), SOMBRA_NOT_FOUND);
            assert_err(graph_record_value(whole, true, id, &value), SOMBRA_NOT_FOUND);
            continue;
        }
        count++;
        sombra_value_builder_reset(builder);
        push_value(builder, id, salt, text_bytes);
        assert_ok(sombra_value_finish(builder, &expected));
        assert_ok(graph_record_find(&record, id, &value));
        assert_true(slice_equal(value, expected));
        assert_ok(graph_record_value(whole, true, id, &value));
        assert_true(slice_equal(value, expected));
        assert_ok(graph_record_next_property(&walk, &name, &walked, &found));
        assert_true(found && name == id && slice_equal(walked, expected));
        /* A record that was walked in part finds what is left. */
        assert_err(graph_record_find(&walk, id, &value), SOMBRA_NOT_FOUND);
    }
    uint32_t name;
    sombra_slice value;
    bool found = true;
    assert_ok(graph_record_next_property(&walk, &name, &value, &found));
    assert_false(found);
    assert_int_equal(record.property_count, count);
    sombra_value_builder_free(builder);
}

static sombra_slice wanted_map(struct fixture *f, const bool *wanted, uint64_t salt,
                               size_t text_bytes)
{
    sombra_slice map;
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    for (uint32_t id = 1; id <= NAMES; id++) {
        sombra_slice name = name_at(id);
        if (!wanted[id])
            continue;
        sombra_value_push_key(f->builder, name.data, name.bytes);
        push_value(f->builder, id, salt, text_bytes);
    }
    sombra_value_end_map(f->builder);
    assert_ok(sombra_value_finish(f->builder, &map));
    return map;
}

static sombra_node_id node_with(struct fixture *f, const bool *wanted, uint64_t salt,
                                size_t text_bytes)
{
    sombra_node_id node;
    sombra_slice map = wanted_map(f, wanted, salt, text_bytes);
    assert_ok(graph_node_create(&f->txn, NULL, 0, map, &node));
    return node;
}

static void test_record__heads_are_as_short_as_names_allow(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint32_t names[6];
        const char *head;
        size_t head_bytes;
    } cases[] = {
        { { 1 }, "\x80", 1 },          { { 1, 2 }, "\x81", 1 },
        { { 6, 7 }, "\x95", 1 },       { { 16, 17, 18, 19 }, "\xbf", 1 },
        { { 17, 18 }, "\xd0\x01", 2 }, { { 1, 2, 3, 4, 5 }, "\xc0\x0f", 2 },
        { { 1, 3 }, "\xc0\x02", 2 },   { { 63 }, "\xfe\x00", 2 },
        { { 64 }, "\xff\x40\x00", 3 }, { { 150, 151 }, "\xff\x96\x01\x01", 4 },
        { { 1, 38 }, NULL, 0 }, /* a mask longer than two lengths */
        { { 1, 66 }, NULL, 0 }, /* further apart than a mask has bits */
    };
    begin_write(f);
    make_names(f);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        bool wanted[NAMES + 1] = { false };
        uint32_t count = 0;
        for (; count < COUNT_OF(cases[i].names) && cases[i].names[count]; count++)
            wanted[cases[i].names[count]] = true;
        sombra_node_id node = node_with(f, wanted, 3, 5);
        const uint8_t *at = stored(f, node).data;
        if (cases[i].head_bytes)
            assert_memory_equal(at + 1, cases[i].head, cases[i].head_bytes);
        else
            assert_int_equal(at[1], count);
        assert_record(f, node, wanted, 3, 5);
    }
    assert_sound(f);
}

static void test_record__any_set_of_names_and_sizes_is_read_back(void **state)
{
    struct fixture *f = *state;
    struct random random;
    unsigned compact = 0, with_lengths = 0;
    random_seed(&random, test_seed());
    begin_write(f);
    make_names(f);
    for (int i = 0; i < 400; i++) {
        bool wanted[NAMES + 1] = { false };
        uint32_t first = 1 + (uint32_t)random_below(&random, NAMES);
        uint32_t span = 1 + (uint32_t)random_below(&random, i % 2 ? 8 : NAMES);
        for (uint32_t id = first; id <= NAMES && id < first + span; id++)
            wanted[id] = random_below(&random, 3) > 0;
        wanted[first] = true;
        uint64_t salt = random_u64(&random) % 6;
        size_t text_bytes = random_below(&random, i % 3 ? 20 : 300);
        sombra_node_id node = node_with(f, wanted, salt, text_bytes);
        bool is_compact = ((const uint8_t *)stored(f, node).data)[1] >= 0x80;
        *(is_compact ? &compact : &with_lengths) += 1;
        assert_record(f, node, wanted, salt, text_bytes);
    }
    assert_true(compact > 50 && with_lengths > 50);
    assert_sound(f);
}

/* What looks for one value without opening the record says the same as what opens it. */
static void assert_same_value(sombra_slice record, uint32_t name)
{
    sombra_record opened;
    sombra_slice expected = NOTHING, value = NOTHING;
    sombra_err wanted = graph_record_open(record, true, &opened);
    if (!wanted)
        wanted = graph_record_find(&opened, name, &expected);
    assert_int_equal(graph_record_value(record, true, name, &value), wanted);
    if (!wanted)
        assert_true(value.data == expected.data && value.bytes == expected.bytes);
}

typedef void (*damaged_fn)(struct fixture *f, const uint8_t *record, size_t bytes, size_t at);

/* Visits a record of the names 3 to 9 without 5 as damage may leave it: each time another byte,
 * `at`, is another one. */
static void each_damaged_record(struct fixture *f, damaged_fn visit)
{
    static const uint8_t others[] = { 0, 1, 2, 0x7f, 0x80, 0xff };
    uint8_t bytes[1024];
    bool wanted[NAMES + 1] = { false };
    begin_write(f);
    make_names(f);
    for (uint32_t id = 3; id <= 9; id++)
        wanted[id] = id != 5;
    for (size_t text_bytes = 20; text_bytes <= 270; text_bytes += 250) {
        sombra_slice record = stored(f, node_with(f, wanted, 4, text_bytes));
        const size_t record_bytes = record.bytes; /* what it lends ends with the next write */
        assert_true(record_bytes > 0 && record_bytes < sizeof bytes);
        memcpy(bytes, record.data, record_bytes);
        for (size_t at = 0; at < record_bytes; at++) {
            for (size_t i = 0; i < COUNT_OF(others); i++) {
                uint8_t saved = bytes[at];
                bytes[at] = others[i];
                visit(f, bytes, record_bytes, at);
                bytes[at] = saved;
            }
        }
    }
    rollback(f);
}

static void expect_same_values(struct fixture *f, const uint8_t *record, size_t bytes, size_t at)
{
    (void)f;
    for (uint32_t name = 2; name <= 10; name++) {
        assert_same_value(slice_of(record, bytes), name);
        assert_same_value(slice_of(record, at + 1), name);
    }
}

static void test_record__one_value_of_damaged_bytes_is_what_the_walk_says(void **state)
{
    each_damaged_record(*state, expect_same_values);
}

/* A record longer than one with a head may be, whose properties are not, has one nevertheless. */
static void test_record__head_behind_many_labels_is_known(void **state)
{
    enum { LABELS = 100 };
    struct fixture *f = *state;
    sombra_slice labels[LABELS], value;
    char texts[LABELS][8];
    sombra_node_id node;
    begin_write(f);
    make_names(f);
    for (int i = 0; i < LABELS; i++) {
        snprintf(texts[i], sizeof texts[i], "L%03d", i);
        labels[i] = text(texts[i]);
    }
    bool wanted[NAMES + 1] = { false };
    for (uint32_t id = 1; id <= 12; id++)
        wanted[id] = id != 5;
    assert_ok(graph_node_create(&f->txn, labels, LABELS, NOTHING, &node));
    const size_t label_bytes = stored(f, node).bytes;
    assert_ok(graph_node_change(&f->txn, node, wanted_map(f, wanted, 3, 80), GRAPH_MERGE));
    const sombra_slice both = stored(f, node);
    assert_true(both.bytes > 256 && both.bytes - label_bytes < 256);
    assert_true(((const uint8_t *)both.data)[label_bytes] >= 0x80);
    for (uint32_t name = 1; name <= 13; name++)
        assert_same_value(both, name);
    assert_ok(graph_record_value(both, true, 1, &value));
    assert_sound(f);
}

/* Names are numbered as they were made, and given in the order of their texts. */
static void test_record__many_properties_stand_in_the_order_of_their_names(void **state)
{
    enum { COUNT = 60 };
    struct fixture *f = *state;
    sombra_node_id node;
    sombra_slice map;
    begin_write(f);
    for (uint32_t id = COUNT; id > 0; id--)
        assert_ok(graph_node_create(&f->txn, NULL, 0,
                                    map_of(f, "i", (const char *)name_at(id).data, 1), &node));
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    for (uint32_t id = 1; id <= COUNT; id++) {
        sombra_slice name = name_at(id);
        sombra_value_push_key(f->builder, name.data, name.bytes);
        sombra_value_push_integer(f->builder, id);
    }
    sombra_value_end_map(f->builder);
    assert_ok(sombra_value_finish(f->builder, &map));
    assert_ok(graph_node_create(&f->txn, NULL, 0, map, &node));
    for (uint32_t id = 1; id <= COUNT; id++) {
        sombra_slice value;
        sombra_value decoded;
        uint32_t name;
        assert_ok(graph_name_find(&f->txn, SOMBRA_NAME_PROPERTY, name_at(id), &name));
        assert_int_equal(name, COUNT + 1 - id);
        assert_ok(graph_record_value(stored(f, node), true, name, &value));
        assert_ok(sombra_value_decode(value, &decoded));
        assert_int_equal(decoded.as.integer, id);
    }
    assert_sound(f);
}

/* ---- changed in part ----------------------------------------------------------------------- */

/* A node as it is to be: salts[id] is 0 where there is no such property. */
struct wanted_node {
    uint64_t salts[NAMES + 1];
    size_t text_bytes[NAMES + 1];
};

/* Those of `names` that are among the properties, and nulls for the others. */
static sombra_slice encode_wanted(struct fixture *f, const struct wanted_node *node,
                                  const bool *names)
{
    sombra_slice map;
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    for (uint32_t id = 1; id <= NAMES; id++) {
        sombra_slice name = name_at(id);
        if (names ? !names[id] : !node->salts[id])
            continue;
        sombra_value_push_key(f->builder, name.data, name.bytes);
        if (node->salts[id])
            push_value(f->builder, id, node->salts[id], node->text_bytes[id]);
        else
            sombra_value_push_null(f->builder);
    }
    sombra_value_end_map(f->builder);
    assert_ok(sombra_value_finish(f->builder, &map));
    return map;
}

/* Byte for byte what a node has that was made with these properties at once. */
static void assert_built(struct fixture *f, sombra_node_id node, const struct wanted_node *wanted)
{
    static const sombra_slice labels[] = { { "L1", 2 }, { "L2", 2 } };
    sombra_node_id whole;
    assert_ok(graph_node_create(&f->txn, labels, 2, encode_wanted(f, wanted, NULL), &whole));
    sombra_slice lent = stored(f, node);
    uint8_t *bytes = malloc(lent.bytes + 1);
    assert_non_null(bytes);
    memcpy(bytes, lent.data, lent.bytes);
    sombra_slice changed = slice_of(bytes, lent.bytes), expected = stored(f, whole);
    assert_int_equal(changed.bytes, expected.bytes);
    assert_memory_equal(changed.data, expected.data, expected.bytes);
    free(bytes);
    assert_ok(graph_node_delete(&f->txn, whole, true));
}

static void random_property(struct random *random, struct wanted_node *node, uint32_t id)
{
    static const size_t sizes[] = { 0, 3, 20, 110, 130, 270 };
    node->salts[id] = random_below(random, 4) ? 1 + random_below(random, 100) : 0;
    node->text_bytes[id] = sizes[random_below(random, COUNT_OF(sizes))];
}

static void test_record__changed_in_part_is_what_is_built_at_once(void **state)
{
    static const sombra_slice labels[] = { { "L2", 2 }, { "L1", 2 } };
    struct fixture *f = *state;
    struct random random;
    unsigned forms[2][2] = { { 0 } };
    random_seed(&random, test_seed());
    begin_write(f);
    make_names(f);
    for (int i = 0; i < 60; i++) {
        struct wanted_node wanted = { 0 };
        sombra_node_id node;
        uint32_t span = i % 3 ? 12 : NAMES;
        uint32_t first = 1 + (uint32_t)random_below(&random, NAMES - span + 1);
        assert_ok(graph_node_create(&f->txn, labels, 2, NOTHING, &node));
        for (int change = 0; change < 25; change++) {
            bool names[NAMES + 1] = { false };
            bool was_compact =
                stored(f, node).bytes > 3 && ((const uint8_t *)stored(f, node).data)[3] >= 0x80;
            for (uint64_t left = random_below(&random, change % 5 ? 3 : 9) + 1; left > 0; left--) {
                uint32_t id = first + (uint32_t)random_below(&random, span);
                names[id] = true;
                random_property(&random, &wanted, id);
            }
            assert_ok(
                graph_node_change(&f->txn, node, encode_wanted(f, &wanted, names), GRAPH_MERGE));
            assert_built(f, node, &wanted);
            bool is_compact =
                stored(f, node).bytes > 3 && ((const uint8_t *)stored(f, node).data)[3] >= 0x80;
            forms[was_compact][is_compact]++;
            uint32_t removed = first + (uint32_t)random_below(&random, span);
            wanted.salts[removed] = 0;
            assert_ok(graph_node_remove_property(&f->txn, node, name_at(removed)));
            assert_built(f, node, &wanted);
        }
    }
    assert_true(forms[0][0] > 50 && forms[0][1] > 5 && forms[1][0] > 5 && forms[1][1] > 50);
    assert_sound(f);
}

/* Numbers with a byte too many are read, and written anew as short as they can be. */
static void test_record__lengths_with_bytes_too_many_do_not_last(void **state)
{
    struct fixture *f = *state;
    uint8_t record[400] = { 0, 2, 0x83, 0x00, 2, 0x11, 5 };
    begin_write(f);
    make_names(f);
    /* p003, p004: an integer of a byte, a string of 300 and its head. */
    memcpy(record + 7, "\x04\xaf\x82\x00\x3f\xac\x02", 7);
    memset(record + 14, 'x', 300);
    store(f, 1, slice_of(record, 314));
    assert_ok(graph_node_change(&f->txn, 1, map_of(f, "i", "p005", 7), GRAPH_MERGE));
    sombra_slice changed = stored(f, 1);
    assert_memory_equal(changed.data, "\x00\x03\x03\x02\x11\x05\x04\xaf\x02", 9);
}

/* What the walk over the record says of it. False: it is damaged. */
static bool walk_values(sombra_slice bytes, sombra_slice *values, bool *out_are_plain)
{
    sombra_record walk;
    *out_are_plain = true;
    for (uint32_t id = 0; id <= NAMES; id++)
        values[id] = NOTHING;
    if (graph_record_open(bytes, true, &walk))
        return false;
    for (;;) {
        uint32_t name, label;
        sombra_slice value;
        bool found;
        while (walk.labels_left)
            if (graph_record_next_label(&walk, &label, &found))
                return false;
        if (graph_record_next_property(&walk, &name, &value, &found))
            return false;
        if (!found)
            return true;
        if (name <= NAMES)
            values[name] = value;
        if (name > NAMES || value_length(value.data, value.bytes) != value.bytes)
            *out_are_plain = false; /* no value: another form of the record would lose it */
    }
}

static void assert_changed_as_walked(struct fixture *f, const uint8_t *record, size_t bytes,
                                     uint32_t name)
{
    sombra_slice before[NAMES + 1], after[NAMES + 1];
    uint8_t *copy = malloc(bytes + 1); /* so that a sanitizer sees its end */
    bool are_plain, unused;
    assert_non_null(copy);
    memcpy(copy, record, bytes);
    bool is_sound = walk_values(slice_of(copy, bytes), before, &are_plain);
    store(f, 1, slice_of(copy, bytes));
    char text_name[8];
    snprintf(text_name, sizeof text_name, "p%03u", name);
    sombra_err err = graph_node_change(&f->txn, 1, map_of(f, "i", text_name, 1), GRAPH_MERGE);
    assert_int_equal(err, is_sound ? SOMBRA_OK : SOMBRA_CORRUPT);
    if (is_sound && are_plain) {
        assert_true(walk_values(stored(f, 1), after, &unused));
        for (uint32_t id = 1; id <= NAMES; id++)
            if (id != name)
                assert_true(slice_equal(before[id], after[id]));
        assert_true(slice_equal(after[name], slice_of("\x11\x01", 2)) || after[name].bytes == 2);
    }
    free(copy);
}

static void expect_changes_as_walked(struct fixture *f, const uint8_t *record, size_t bytes,
                                     size_t at)
{
    for (uint32_t name = 2; name <= 10; name += 3 + (uint32_t)(at % 2)) {
        assert_changed_as_walked(f, record, bytes, name);
        assert_changed_as_walked(f, record, at + 1, name);
    }
}

static void test_record__change_of_damaged_bytes_says_what_the_walk_says(void **state)
{
    each_damaged_record(*state, expect_changes_as_walked);
}

/* Format 2 wrote doubles whole, and a length for each value. */
static const uint8_t older_record[] = {
    0, 2, 1, 9, 0x28, 0xae, 0x47, 0xe1, 0x7a, 0x14, 0xae, 0xd7, 0x3f, 2, 2, 0x11, 5,
};

static void make_older(struct fixture *f)
{
    struct graph_key counters = key_begin(TAG_COUNTERS);
    begin_write(f);
    make_names(f);
    commit(f);
    begin_write(f);
    assert_ok(kv_put(f->txn.kv, key_slice(&counters), slice_of("\x01\x02\x01\x01", 4)));
    store(f, 1, slice_of(older_record, sizeof older_record));
    commit(f);
}

static void test_record__of_an_older_format_is_read_and_changed(void **state)
{
    struct fixture *f = *state;
    struct graph_key counters = key_begin(TAG_COUNTERS);
    sombra_slice value;
    make_older(f);
    begin_read(f);
    assert_string_equal(node_text(f, 1), "p001=0.370000 p002=5");
    assert_sound(f);
    rollback(f);
    begin_write(f);
    assert_ok(graph_node_change(&f->txn, 1, map_of(f, "i", "p003", 7), GRAPH_MERGE));
    assert_string_equal(node_text(f, 1), "p001=0.370000 p002=5 p003=7");
    assert_memory_equal(stored(f, 1).data, "\x00\x82\x28", 3);
    commit(f);
    begin_read(f);
    assert_ok(kv_get(f->txn.kv, key_slice(&counters), &value));
    assert_memory_equal(value.data, "\x04\x02\x01\x01\x00", 5);
    assert_sound(f);
    rollback(f);
}

static void test_record__the_first_write_of_any_kind_raises_the_format(void **state)
{
    struct fixture *f = *state;
    struct graph_key counters = key_begin(TAG_COUNTERS);
    sombra_slice value;
    uint64_t mark;
    make_older(f);
    begin_write(f);
    assert_err(graph_node_change(&f->txn, 99, NOTHING, GRAPH_MERGE), SOMBRA_NOT_FOUND);
    commit(f);
    begin_read(f);
    assert_ok(kv_get(f->txn.kv, key_slice(&counters), &value));
    assert_int_equal(*(const uint8_t *)value.data, GRAPH_FORMAT_PLAIN); /* nothing was written */
    rollback(f);
    begin_write(f);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    assert_ok(graph_node_change(&f->txn, 1, map_of(f, "f", "p001", 0.25), GRAPH_MERGE));
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_ok(graph_node_change(&f->txn, 1, map_of(f, "f", "p001", 0.5), GRAPH_MERGE));
    commit(f);
    begin_read(f);
    assert_ok(kv_get(f->txn.kv, key_slice(&counters), &value));
    assert_int_equal(*(const uint8_t *)value.data, GRAPH_FORMAT);
    assert_string_equal(node_text(f, 1), "p001=0.500000 p002=5");
    rollback(f);
}

static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

/* As format 3 packed them; 0 if they do not fit. */
static size_t ends_pack(const struct graph_edge *edge, uint8_t *to)
{
    static const unsigned type_bits[] = { 0, 3, 6, 16 };
    unsigned source = bits_of(edge->src), target = bits_of(edge->dst), code = 0;
    uint8_t *at = to;
    while (code < COUNT_OF(type_bits) && (edge->type - 1) >> type_bits[code])
        code++;
    if (code == COUNT_OF(type_bits) || source > ENDS_SOURCE_BITS_MAX ||
        source + type_bits[code] + target > 64)
        return 0;
    uint64_t number =
        edge->src | (uint64_t)(edge->type - 1) << source | edge->dst << (source + type_bits[code]);
    for (; number; number >>= 8)
        *at++ = (uint8_t)number;
    *at++ = (uint8_t)(ENDS_PACKED | code << ENDS_TYPE_SHIFT | (source - 1));
    return (size_t)(at - to);
}

/* Of every width, in the form of format 3 and in that of formats 1 and 2. */
static void test_ends__of_older_formats_are_read(void **state)
{
    (void)state;
    struct random random;
    unsigned packed = 0;
    random_seed(&random, test_seed());
    for (int i = 0; i < 20000; i++) {
        const struct graph_edge ends = {
            .src = 1 + (random_u64(&random) >> (1 + random_below(&random, 63))),
            .dst = 1 + (random_u64(&random) >> (1 + random_below(&random, 63))),
            .type = 1 + (uint32_t)(random_u64(&random) >> (32 + random_below(&random, 32))) / 2
        };
        struct graph_edge read = { 0 };
        uint8_t value[3 * VARINT_BYTES_MAX], *at = value;
        size_t bytes = ends_pack(&ends, value);
        if (bytes) {
            packed++;
            assert_ok(edge_ends_read(slice_of(value, bytes), &read));
            assert_true(read.src == ends.src && read.dst == ends.dst && read.type == ends.type);
        }
        at = varint_put(at, ends.src);
        at = varint_put(at, ends.type);
        at = varint_put(at, ends.dst);
        read = (struct graph_edge){ 0 };
        assert_ok(edge_ends_read(slice_of(value, (size_t)(at - value)), &read));
        assert_true(read.src == ends.src && read.dst == ends.dst && read.type == ends.type);
    }
    assert_true(packed > 1000);
}

static void test_ends__hostile_bytes_are_corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } cases[] = {
        { "", 0 },
        { "\x80", 1 },                                      /* a head and no number */
        { "\x02\x80", 2 },                                  /* source 0 */
        { "\x01\x80", 2 },                                  /* target 0 */
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80", 10 }, /* a number of 9 bytes */
        { "\xff\xff\xff\xff\x9f", 5 },                      /* the source takes all */
        { "\x01\x01", 2 },                                  /* no target */
        { "\x01\x01\x01\x01", 4 },                          /* a number too many */
        { "\x01\x80\x80\x80\x80\x10\x01", 7 },              /* a type of 33 bits */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct graph_edge read = { 0 };
        if (edge_ends_read(slice_of(cases[i].bytes, cases[i].count), &read) != SOMBRA_CORRUPT)
            fail_msg("case %zu was accepted", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(test_record__heads_are_as_short_as_names_allow),
        TEST(test_record__any_set_of_names_and_sizes_is_read_back),
        TEST(test_record__one_value_of_damaged_bytes_is_what_the_walk_says),
        TEST(test_record__head_behind_many_labels_is_known),
        TEST(test_record__many_properties_stand_in_the_order_of_their_names),
        TEST(test_record__changed_in_part_is_what_is_built_at_once),
        TEST(test_record__lengths_with_bytes_too_many_do_not_last),
        TEST(test_record__change_of_damaged_bytes_says_what_the_walk_says),
        TEST(test_record__of_an_older_format_is_read_and_changed),
        TEST(test_record__the_first_write_of_any_kind_raises_the_format),
        TEST(test_ends__of_older_formats_are_read),
        TEST(test_ends__hostile_bytes_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
