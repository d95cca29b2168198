/* SPDX-License-Identifier: MIT */
/* The memtable against a list of everything that was ever done to it. */
#include "lsm_memtable_fixture.h"

#include <inttypes.h>
#include <stdio.h>

enum { KEYS = 240, HISTORY_MAX = 900, VALUE_BYTES_MAX = 40 };

/* ---- model ------------------------------------------------------------------------------- */

enum act { ACT_PUT, ACT_DELETE, ACT_RANGE };

struct change {
    enum act act;
    uint64_t seq;
    unsigned key, end; /* end: of a range; keys [key, end); KEYS = open */
    uint32_t value;    /* its number, which gives its bytes */
};
struct model {
    struct random random;
    uint8_t keys[KEYS][24];
    size_t key_bytes[KEYS];
    struct change history[HISTORY_MAX];
    size_t count;
    uint64_t seq; /* newest commit */
    struct memtable *memtable;
    const struct change *seen[KEYS]; /* by model_look: the last change that a snapshot sees */
    bool is_hidden[KEYS];
};

static sombra_slice key_at(const struct model *model, unsigned index)
{
    return index < KEYS ? slice_of(model->keys[index], model->key_bytes[index]) : slice_of("", 0);
}

static sombra_slice value_of(uint32_t number, char text[VALUE_BYTES_MAX])
{
    int bytes = snprintf(text, VALUE_BYTES_MAX, "%" PRIu32 "%.*s", number, (int)(number % 23),
                         "......................");
    return slice_of(text, (size_t)bytes);
}

static int order_keys(const void *a, const void *b)
{
    return slice_compare(slice_of((const uint8_t *)a + 1, *(const uint8_t *)a),
                         slice_of((const uint8_t *)b + 1, *(const uint8_t *)b));
}

/* Short, long and alike: ties of heads, keys that are prefixes of others, zeros at the end. */
static void keys_make(struct model *model)
{
    uint8_t keys[KEYS][25];
    static const char *const stems[] = { "", "a", "stemstem", "stemstemstem", "\0\0\0\0\0\0\0" };
    static const size_t stem_bytes[] = { 0, 1, 8, 12, 7 };
    for (unsigned i = 0; i < KEYS;) {
        size_t stem = random_below(&model->random, COUNT_OF(stems)), bytes = stem_bytes[stem];
        memcpy(keys[i] + 1, stems[stem], bytes);
        for (uint64_t more = 1 + random_below(&model->random, 10); more > 0; more--)
            keys[i][1 + bytes++] = (uint8_t)random_below(&model->random, 4);
        keys[i][0] = (uint8_t)bytes;
        bool is_new = true;
        for (unsigned j = 0; j < i; j++)
            is_new = is_new && order_keys(keys[i], keys[j]) != 0;
        i += is_new;
    }
    qsort(keys, KEYS, sizeof keys[0], order_keys);
    for (unsigned i = 0; i < KEYS; i++) {
        model->key_bytes[i] = keys[i][0];
        memcpy(model->keys[i], keys[i] + 1, keys[i][0]);
    }
}

static void model_init(struct model *model, uint64_t round)
{
    memset(model, 0, sizeof *model);
    random_seed(&model->random, seed() + round);
    keys_make(model);
    assert_ok(memtable_new(&model->memtable));
}

static void model_look(struct model *model, uint64_t seq)
{
    memset(model->seen, 0, sizeof model->seen);
    memset(model->is_hidden, 0, sizeof model->is_hidden);
    for (const struct change *change = model->history; change < model->history + model->count;
         change++) {
        unsigned end = change->act == ACT_RANGE ? change->end : change->key + 1;
        for (unsigned key = change->key; key < end && change->seq <= seq; key++) {
            model->seen[key] = change;
            model->is_hidden[key] |= change->act == ACT_RANGE;
        }
    }
}

static sombra_err model_do(struct model *model, const struct change *change)
{
    char text[VALUE_BYTES_MAX];
    sombra_err err;
    if (change->act == ACT_RANGE)
        err = memtable_delete_range(model->memtable, change->seq,
                                    change->key ? key_at(model, change->key) : slice_of("", 0),
                                    key_at(model, change->end));
    else
        err = memtable_put(
            model->memtable, change->seq, change->act == ACT_PUT ? ENTRY_PUT : ENTRY_DELETE,
            key_at(model, change->key),
            change->act == ACT_PUT ? value_of(change->value, text) : slice_of("", 0));
    if (!err)
        model->history[model->count++] = *change;
    return err;
}

static struct change change_make(struct model *model, uint64_t seq)
{
    struct change change = { .seq = seq };
    uint64_t dice = random_below(&model->random, 20);
    change.act = dice == 0 ? ACT_RANGE : dice < 5 ? ACT_DELETE : ACT_PUT;
    change.key = (unsigned)random_below(&model->random, KEYS);
    change.value = (uint32_t)random_u64(&model->random);
    if (change.act == ACT_RANGE) {
        if (random_below(&model->random, 8) == 0)
            change.key = 0;
        change.end = change.key + 1 + (unsigned)random_below(&model->random, 30);
        if (change.end > KEYS || random_below(&model->random, 8) == 0)
            change.end = KEYS;
    }
    return change;
}

/* ---- comparison -------------------------------------------------------------------------- */

/* The entry that a source shall give: a put or a delete; NULL = none, or a delete that a range
 * hides as well. */
static const struct change *model_entry(const struct model *model, unsigned key)
{
    const struct change *change = model->seen[key];
    return change && change->act != ACT_RANGE ? change : NULL;
}

static void expect_entry(const struct model *model, const struct change *want,
                         const struct lsm_entry *entry)
{
    char text[VALUE_BYTES_MAX];
    assert_true(slice_equal(entry->key, key_at(model, want->key)));
    assert_int_equal(entry->kind, want->act == ACT_PUT ? ENTRY_PUT : ENTRY_DELETE);
    assert_true(slice_equal(entry->value,
                            want->act == ACT_PUT ? value_of(want->value, text) : slice_of("", 0)));
}

/* Is it a delete for what a range deletes anyway? */
static bool is_buried(const struct model *model, const struct lsm_entry *entry)
{
    for (unsigned key = 0; key < KEYS; key++)
        if (slice_equal(entry->key, key_at(model, key)))
            return entry->kind == ENTRY_DELETE && model->seen[key]->act == ACT_RANGE;
    return false;
}

static void expect_walk(const struct model *model, struct source *source, bool is_forward)
{
    sombra_err (*step)(struct source *) = is_forward ? source->ops->next : source->ops->previous;
    assert_ok((is_forward ? source->ops->seek_ge : source->ops->seek_lt)(source, slice_of("", 0)));
    for (unsigned i = 0; i < KEYS; i++) {
        const struct change *want = model_entry(model, is_forward ? i : KEYS - 1 - i);
        if (!want)
            continue;
        while (source->is_valid && is_buried(model, &source->entry))
            assert_ok(step(source));
        assert_true(source->is_valid);
        expect_entry(model, want, &source->entry);
        assert_ok(step(source));
    }
    while (source->is_valid && is_buried(model, &source->entry))
        assert_ok(step(source));
    assert_false(source->is_valid);
}

static void expect_read(struct model *model, struct source *source)
{
    struct lsm_entry entries[17];
    unsigned key = (unsigned)random_below(&model->random, KEYS);
    unsigned end = key + 1 + (unsigned)random_below(&model->random, KEYS - key);
    size_t capacity = 1 + random_below(&model->random, COUNT_OF(entries)), count;
    assert_ok(source->ops->seek_ge(source, key_at(model, key)));
    while (source->is_valid) {
        bool is_in = end == KEYS || slice_compare(source->entry.key, key_at(model, end)) < 0;
        assert_ok(source->ops->read(source, key_at(model, end), entries, capacity, &count));
        assert_int_equal(count > 0, is_in);
        if (count == 0)
            break;
        for (size_t i = 0; i < count; i++) {
            if (is_buried(model, &entries[i]))
                continue;
            while (!model_entry(model, key))
                key++;
            assert_true(key < end);
            expect_entry(model, model_entry(model, key++), &entries[i]);
        }
    }
    for (; key < end; key++)
        assert_null(model_entry(model, key));
}

static void expect_hides(const struct model *model, struct source *source, unsigned key)
{
    sombra_slice low, end, other_low, other_end;
    bool hides = source->ops->hides(source, key_at(model, key), &low, &end);
    assert_int_equal(hides, model->is_hidden[key]);
    if (!hides)
        return;
    for (unsigned i = 0; i < KEYS; i++)
        if (slice_compare(low, key_at(model, i)) <= 0 && slice_compare(key_at(model, i), end) < 0)
            assert_true(model->is_hidden[i]);
        else if (i + 1 == key || i == key)
            assert_false(model->is_hidden[i]);
    if (end.bytes <= 1024)
        assert_false(source->ops->hides(source, end, &other_low, &other_end));
}

static void expect_gets(const struct model *model, uint64_t seq)
{
    char text[VALUE_BYTES_MAX];
    for (unsigned key = 0; key < KEYS; key++) {
        const struct change *want = model->seen[key];
        sombra_slice value;
        enum lookup got = memtable_get(model->memtable, seq, key_at(model, key), &value);
        assert_int_equal(got, !want                  ? LOOKUP_ABSENT
                              : want->act == ACT_PUT ? LOOKUP_FOUND
                                                     : LOOKUP_DELETED);
        if (got == LOOKUP_FOUND)
            assert_true(slice_equal(value, value_of(want->value, text)));
    }
}

static void expect_snapshot(struct model *model, uint64_t seq)
{
    struct source *source;
    model_look(model, seq);
    expect_gets(model, seq);
    assert_ok(memtable_source(model->memtable, seq, &source));
    expect_walk(model, source, true);
    expect_walk(model, source, false);
    for (unsigned i = 0; i < 4; i++)
        expect_read(model, source);
    for (unsigned key = (unsigned)random_below(&model->random, 4); key < KEYS; key += 4)
        expect_hides(model, source, key);
    for (unsigned key = 0; key < KEYS; key += 7) { /* seeks between and on entries */
        assert_ok(source->ops->seek_lt(source, key_at(model, key ? key : 1)));
        if (source->is_valid)
            assert_true(slice_compare(source->entry.key, key_at(model, key ? key : 1)) < 0);
        assert_ok(source->ops->seek_ge(source, key_at(model, key)));
        if (source->is_valid)
            assert_true(slice_compare(source->entry.key, key_at(model, key)) >= 0);
        if (model_entry(model, key))
            expect_entry(model, model_entry(model, key), &source->entry);
    }
    source_close(source);
}

/* ---- tests ------------------------------------------------------------------------------- */

static void transaction_run(struct model *model)
{
    uint64_t seq = model->seq + 1;
    size_t begun = model->count, kept = begun;
    struct memtable_mark start = memtable_mark(model->memtable), savepoint = start;
    for (uint64_t i = 1 + random_below(&model->random, 12); i > 0; i--) {
        struct change change = change_make(model, seq);
        assert_ok(model_do(model, &change));
        uint64_t dice = random_below(&model->random, 12);
        if (dice == 0) {
            savepoint = memtable_mark(model->memtable);
            kept = model->count;
        } else if (dice == 1) {
            memtable_rollback(model->memtable, savepoint);
            model->count = kept;
        }
    }
    if (random_below(&model->random, 10) == 0)
        expect_snapshot(model, seq);
    if (random_below(&model->random, 4) == 0) {
        memtable_rollback(model->memtable, start);
        model->count = begun;
        return;
    }
    memtable_settle(model->memtable);
    model->seq = seq;
}

static void test_memtable__says_what_its_history_says(void **state)
{
    (void)state;
    static struct model model;
    printf("seed %" PRIu64 "\n", seed());
    for (uint64_t round = 0; round < 5; round++) {
        model_init(&model, round);
        while (model.count < HISTORY_MAX - 20) {
            transaction_run(&model);
            if (random_below(&model.random, 10) == 0)
                expect_snapshot(&model, random_below(&model.random, model.seq + 2));
        }
        expect_snapshot(&model, model.seq);
        memtable_unref(model.memtable);
    }
}

static void test_memtable__failed_allocation_changes_nothing(void **state)
{
    (void)state;
    static struct model model;
    mem_test_fail_at(0, false);
    uint64_t live = mem_test_live();
    for (uint64_t round = 1; round < 60; round++) {
        model_init(&model, round);
        mem_test_fail_at(round, true);
        for (unsigned i = 0; i < 400; i++) {
            struct change change = change_make(&model, model.seq + 1);
            struct memtable_mark mark = memtable_mark(model.memtable);
            sombra_err err = model_do(&model, &change);
            if (err) {
                assert_int_equal(err, SOMBRA_NOMEM);
                assert_int_equal(memtable_mark(model.memtable).changes, mark.changes);
                mem_test_fail_at(0, false);
                expect_snapshot(&model, model.seq + 1);
                assert_ok(model_do(&model, &change));
                mem_test_fail_at(1 + random_below(&model.random, 3), true);
            }
            if (random_below(&model.random, 20) == 0) {
                memtable_settle(model.memtable);
                model.seq++;
            }
        }
        mem_test_fail_at(0, false);
        expect_snapshot(&model, model.seq + 1);
        memtable_unref(model.memtable);
        assert_int_equal(mem_test_live(), live);
    }
    struct memtable *memtable = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_test_fail_at(nth, false);
        assert_fails(SOMBRA_NOMEM, memtable_new(&memtable));
        assert_null(memtable);
    }
    mem_test_fail_at(0, false);
    assert_int_equal(mem_test_live(), live);
}

static void expect_numbers(struct memtable *memtable, uint64_t count)
{
    struct source *source;
    struct lsm_entry entries[100];
    uint64_t want = 0;
    size_t got;
    assert_ok(memtable_source(memtable, 1, &source));
    assert_ok(source->ops->seek_ge(source, slice_of("", 0)));
    while (source->is_valid) {
        assert_ok(source->ops->read(source, slice_of("", 0), entries, 100, &got));
        for (size_t i = 0; i < got; i++)
            assert_int_equal(number_of(entries[i].key), want++);
    }
    assert_int_equal(want, count);
    assert_ok(source->ops->seek_lt(source, slice_of("", 0)));
    for (; source->is_valid; want--) {
        assert_int_equal(number_of(source->entry.key), want - 1);
        assert_ok(source->ops->previous(source));
    }
    assert_int_equal(want, 0);
    source_close(source);
}

/* Deep trees, by each way of splitting. */
static void test_memtable__fills_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    size_t bytes[4];
    for (unsigned way = 0; way < 4; way++) {
        struct memtable *memtable;
        assert_ok(memtable_new(&memtable));
        assert_true(memtable_is_empty(memtable));
        for (uint64_t i = 0; i < COUNT; i++) {
            uint64_t numbers[4] = { i, COUNT - 1 - i, i * 7919 % COUNT,
                                    i % 2 ? COUNT / 2 + i / 2 : i / 2 };
            put_number(memtable, 1, numbers[way], i);
            put_number(memtable, 1, numbers[way], i + 1);
        }
        assert_int_equal(memtable_entries(memtable), COUNT);
        expect_numbers(memtable, COUNT);
        uint8_t low[16] = "prefix__", high[16] = "prefix__";
        put_be64(low + 8, COUNT / 4);
        put_be64(high + 8, COUNT / 2);
        uint64_t estimate = memtable_estimate(memtable, slice_of(low, 16), slice_of(high, 16));
        assert_in_range(estimate, COUNT / 16, COUNT);
        put_be64(high + 8, COUNT / 4 + 20);
        assert_int_equal(memtable_estimate(memtable, slice_of(low, 16), slice_of(high, 16)), 20);
        bytes[way] = memtable_bytes(memtable);
        memtable_rollback(memtable, (struct memtable_mark){ 0 });
        assert_true(memtable_is_empty(memtable));
        expect_numbers(memtable, 0);
        memtable_settle(memtable);
        assert_true(memtable_bytes(memtable) < bytes[way]);
        memtable_unref(memtable);
    }
    assert_true(bytes[0] <= bytes[2] && bytes[1] <= bytes[2]);
}

/* Runs of keys that ascend, over all of the space, among keys that are there, and over themselves:
 * what is there is what single puts leave. */
static void test_memtable__ascending_runs_are_as_single_puts(void **state)
{
    (void)state;
    enum { COUNT = 20000, STEPS = 5 };
    const uint64_t first[STEPS] = { 1, 0, COUNT / 2, 3, 2 }, step[STEPS] = { 4, 8, 1, 4, 2 };
    struct memtable *memtable;
    sombra_slice value;
    assert_ok(memtable_new(&memtable));
    for (unsigned i = 0; i < STEPS; i++) {
        put_ascending(memtable, i + 1, first[i], step[i],
                      (COUNT - first[i] + step[i] - 1) / step[i]);
        for (uint64_t number = 0; number < COUNT; number++) {
            uint8_t key[16] = "prefix__";
            bool is_there = false;
            for (unsigned j = 0; j <= i; j++)
                is_there |= number >= first[j] && (number - first[j]) % step[j] == 0;
            put_be64(key + 8, number);
            enum lookup got = memtable_get(memtable, i + 1, slice_of(key, 16), &value);
            assert_int_equal(got, is_there ? LOOKUP_FOUND : LOOKUP_ABSENT);
            assert_true(!is_there || get_le64(value.data) == number);
        }
    }
    memtable_unref(memtable);
}

/* A leaf that is filled in order is not replaced: the nodes of 14 keys take 256 bytes and their
 * part of the inner ones, and not twice that. */
static void test_memtable__ordered_fill_makes_each_leaf_once(void **state)
{
    (void)state;
    enum { COUNT = 400000, RECORD_BYTES = 48, NODE_BYTES_MAX = 28 };
    struct memtable *memtable;
    assert_ok(memtable_new(&memtable));
    put_ascending(memtable, 1, 0, 1, COUNT);
    memtable_settle(memtable);
    expect_numbers(memtable, COUNT);
    assert_true(memtable_bytes(memtable) < COUNT * (size_t)(RECORD_BYTES + NODE_BYTES_MAX));
    memtable_unref(memtable);
}

/* The same for keys that come before others, as the rows of a table do behind which another lies:
 * leaves were cut in their middle there, and half of each stayed empty. */
static void test_memtable__ordered_fill_before_others_packs_its_leaves(void **state)
{
    (void)state;
    enum { COUNT = 400000, OTHERS = 5, RECORD_BYTES = 48, NODE_BYTES_MAX = 28 };
    struct memtable *memtable;
    assert_ok(memtable_new(&memtable));
    put_ascending(memtable, 1, COUNT, 1, OTHERS);
    put_ascending(memtable, 1, 0, 1, COUNT);
    memtable_settle(memtable);
    expect_numbers(memtable, COUNT + OTHERS);
    assert_true(memtable_bytes(memtable) < COUNT * (size_t)(RECORD_BYTES + NODE_BYTES_MAX));
    memtable_unref(memtable);
}

/* Runs of any length among others: a leaf is cut behind a run's last key, wherever that stands. */
static void test_memtable__runs_may_come_anywhere(void **state)
{
    (void)state;
    enum { RUNS = 2000, LENGTH_MAX = 40 };
    static uint64_t first[RUNS + 1];
    struct random random;
    random_seed(&random, seed());
    for (unsigned round = 0; round < 5; round++) {
        struct memtable *memtable;
        unsigned order[RUNS];
        assert_ok(memtable_new(&memtable));
        for (unsigned i = 0; i < RUNS; i++) {
            first[i + 1] = first[i] + 1 + random_below(&random, LENGTH_MAX);
            unsigned at = (unsigned)random_below(&random, i + 1);
            order[i] = order[at];
            order[at] = i;
        }
        for (unsigned i = 0; i < RUNS; i++)
            put_ascending(memtable, 1, first[order[i]], 1, first[order[i] + 1] - first[order[i]]);
        expect_numbers(memtable, first[RUNS]);
        memtable_unref(memtable);
    }
}

/* Two flushes of the halves would take about as long, however keys and values are spread. */
static void test_memtable__middle_parts_the_work(void **state)
{
    (void)state;
    enum { COUNT = 40000, LARGE = 2000 };
    struct memtable *memtable;
    uint8_t key[16] = "prefix__", bytes[LARGE] = { 0 };
    assert_ok(memtable_new(&memtable));
    put_number(memtable, 1, 0, 0);
    assert_int_equal(memtable_middle(memtable).bytes, 0);
    put_ascending(memtable, 1, 0, 1, COUNT);
    uint64_t middle = number_of(memtable_middle(memtable));
    assert_in_range(middle, COUNT * 4 / 10, COUNT * 6 / 10);
    for (uint64_t i = COUNT; i < COUNT + COUNT / 4; i++) {
        put_be64(key + 8, i);
        assert_ok(memtable_put(memtable, 1, ENTRY_PUT, slice_of(key, 16), slice_of(bytes, LARGE)));
    }
    /* 40,000 of 24 bytes, and 10,000 of 2,016, which take seventeen times as long each. */
    middle = number_of(memtable_middle(memtable));
    assert_in_range(middle, COUNT + COUNT * 5 / 100, COUNT + COUNT * 14 / 100);
    memtable_unref(memtable);
}

static void test_memtable__takes_values_of_any_size(void **state)
{
    (void)state;
    struct memtable *memtable;
    static const size_t sizes[] = { 0, 1, 4096, 300 * 1024, 5 * 1024 * 1024 };
    uint8_t *value = calloc(1, sizes[COUNT_OF(sizes) - 1]);
    assert_non_null(value);
    assert_ok(memtable_new(&memtable));
    for (uint8_t i = 0; i < COUNT_OF(sizes); i++) {
        memset(value, i, sizes[i]);
        assert_ok(memtable_put(memtable, 1, ENTRY_PUT, slice_of(&i, 1), slice_of(value, sizes[i])));
    }
    for (uint8_t i = 0; i < COUNT_OF(sizes); i++) {
        sombra_slice got;
        memset(value, i, sizes[i]);
        assert_int_equal(memtable_get(memtable, 1, slice_of(&i, 1), &got), LOOKUP_FOUND);
        assert_true(slice_equal(got, slice_of(value, sizes[i])));
    }
    assert_true(memtable_bytes(memtable) >= sizes[3] + sizes[4]);
    free(value);
    memtable_unref(memtable);
}

static void test_memtable__cursor_of_the_writer_survives_its_writes(void **state)
{
    (void)state;
    struct memtable *memtable;
    struct source *source;
    assert_ok(memtable_new(&memtable));
    for (uint64_t i = 0; i < 100; i++)
        put_number(memtable, 1, 10 * i, 0);
    assert_ok(memtable_source(memtable, 2, &source));
    assert_ok(source->ops->seek_ge(source, slice_of("", 0)));
    uint64_t before = 0;
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(source->is_valid);
        uint64_t at = number_of(source->entry.key);
        assert_true(at % 10 != 0 || at == 0 || at == before + 10 || at - before < 10);
        for (uint64_t j = 1; j < 10; j++) /* splits the leaf it stands in */
            put_number(memtable, 2, at / 10 * 10 + j, j);
        while (source->is_valid && number_of(source->entry.key) < (i + 1) * 10)
            assert_ok(source->ops->next(source));
        before = at;
    }
    assert_false(source->is_valid);
    source_close(source);
    memtable_unref(memtable);
}

/* ---- range sets -------------------------------------------------------------------------- */

static void test_range_set__is_the_union_of_what_was_added(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, seed());
    for (unsigned round = 0; round < 200; round++) {
        struct range_set set = RANGE_SET_INIT;
        bool has[66] = { false };
        for (unsigned i = 0; i < 12; i++) {
            uint8_t low = (uint8_t)random_below(&random, 60);
            uint8_t high = (uint8_t)(low + 1 + random_below(&random, 5));
            if (round % 2) {
                mem_test_fail_at(1, true);
                sombra_err err = range_set_add(&set, slice_of(&low, 1), slice_of(&high, 1));
                mem_test_fail_at(0, false);
                assert_int_equal(err, SOMBRA_NOMEM);
            }
            assert_ok(range_set_add(&set, slice_of(&low, 1), slice_of(&high, 1)));
            memset(has + low, true, (size_t)(high - low));
            for (uint8_t key = 0; key < 66; key++) {
                const struct kv_range_bytes *range = range_set_find(&set, slice_of(&key, 1));
                assert_int_equal(range != NULL, has[key]);
                if (!range)
                    continue;
                uint8_t from = *(const uint8_t *)range->low.data;
                uint8_t to = *(const uint8_t *)range->high.data;
                assert_true(from <= key && key < to && !has[to] && (from == 0 || !has[from - 1]));
            }
        }
        range_set_release(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memtable__failed_allocation_changes_nothing),
        cmocka_unit_test(test_memtable__says_what_its_history_says),
        cmocka_unit_test(test_memtable__fills_in_any_order),
        cmocka_unit_test(test_memtable__ascending_runs_are_as_single_puts),
        cmocka_unit_test(test_memtable__ordered_fill_makes_each_leaf_once),
        cmocka_unit_test(test_memtable__ordered_fill_before_others_packs_its_leaves),
        cmocka_unit_test(test_memtable__runs_may_come_anywhere),
        cmocka_unit_test(test_memtable__middle_parts_the_work),
        cmocka_unit_test(test_memtable__takes_values_of_any_size),
        cmocka_unit_test(test_memtable__cursor_of_the_writer_survives_its_writes),
        cmocka_unit_test(test_range_set__is_the_union_of_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
