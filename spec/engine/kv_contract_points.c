/* SPDX-License-Identifier: MIT */
/* Facts about single entries, ranges removed or counted, and the limits of keys and values. */
#include "kv_contract.h"
#include "kv_check.h"
#include "kv_model.h"

static struct kv *store_of(void **state)
{
    return ((struct kv_contract *)*state)->kv;
}

/* ---- values ------------------------------------------------------------------------------ */

static void test_kv__new_store_is_empty(void **state)
{
    struct kv_txn *txn = kv_begin_read(store_of(state));
    kv_expect_words(txn, NULL, NULL, "");
    kv_expect_missing(txn, "a");
    kv_abort(txn);
}

static void test_kv__empty_value_is_not_a_missing_one(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    expect_ok(kv_put(txn, slice_str("a"), slice_of(NULL, 0)));
    kv_expect_value(txn, slice_str("a"), slice_of(NULL, 0));
    kv_expect_missing(txn, "b");
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    kv_expect_value(txn, slice_str("a"), slice_of(NULL, 0));
    kv_commit_ok(txn);
}

static void test_kv__put_replaces(void **state)
{
    static const size_t sizes[] = { 10, 0, 3000, 5, 100000, 99999, 20, 70000, 0 };
    struct buf value = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct kv_txn *txn = kv_begin_write(store_of(state));
        kv_pattern(&value, i, sizes[i]);
        expect_ok(kv_put(txn, slice_str("key"), buf_slice(&value)));
        kv_expect_value(txn, slice_str("key"), buf_slice(&value));
        kv_expect_words(txn, NULL, NULL, "key");
        kv_commit_ok(txn);
        txn = kv_begin_read(store_of(state));
        kv_expect_value(txn, slice_str("key"), buf_slice(&value));
        kv_abort(txn);
    }
    buf_release(&value);
    kv_expect_sound(store_of(state));
}

static const size_t value_sizes[] = {
    0,     1,     2,     7,     8,     100,   499,   500,   900,   1000,  1023,  1024,
    1025,  1365,  2000,  2047,  2048,  2049,  4000,  4032,  4064,  4071,  4072,  4073,
    4080,  4095,  4096,  4097,  8143,  8168,  8191,  8192,  8193,  12288, 16383, 16384,
    16385, 24576, 32767, 32768, 40000, 65511, 65512, 65535, 65536, 65537, 70000, 1048576,
};

static void expect_value_sizes(struct kv *kv)
{
    struct buf value = BUF_INIT;
    uint8_t key[8];
    struct kv_txn *txn = kv_begin_read(kv);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    for (size_t i = 0; i < COUNT_OF(value_sizes); i++) {
        bool found;
        kv_pattern(&value, i, value_sizes[i]);
        kv_expect_value(txn, kv_number_key(i, key), buf_slice(&value));
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, kv_number_key(i, key)));
        assert_true(slice_equal(cursor->entry.value, buf_slice(&value)));
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
    buf_release(&value);
}

static void test_kv__values_of_all_sizes_come_back_whole(void **state)
{
    struct kv_contract *contract = *state;
    struct buf value = BUF_INIT;
    uint8_t key[8];
    struct kv_txn *txn = kv_begin_write(contract->kv);
    for (size_t i = 0; i < COUNT_OF(value_sizes); i++) {
        kv_pattern(&value, i, value_sizes[i]);
        expect_ok(kv_put(txn, kv_number_key(i, key), buf_slice(&value)));
        kv_expect_value(txn, kv_number_key(i, key), buf_slice(&value));
    }
    kv_commit_ok(txn);
    expect_value_sizes(contract->kv);
    if (kv_contract_reopen(contract))
        expect_value_sizes(contract->kv);
    kv_expect_sound(contract->kv);
    buf_release(&value);
}

static void test_kv__one_value_may_be_very_large(void **state)
{
    struct kv_contract *contract = *state;
    struct buf value = BUF_INIT;
    /* Sanitizers, which sample less, spend minutes on the bytes of the full size. */
    kv_pattern(&value, 64, (kv_test_number("SOMBRA_SHARE", 100) < 30 ? 8 : 64) * MiB);
    struct kv_txn *txn = kv_begin_write(contract->kv);
    kv_put_words(txn, "a z");
    expect_ok(kv_put(txn, slice_str("large"), buf_slice(&value)));
    kv_expect_value(txn, slice_str("large"), buf_slice(&value));
    kv_commit_ok(txn);
    kv_contract_reopen(contract);
    txn = kv_begin_write(contract->kv);
    kv_expect_value(txn, slice_str("large"), buf_slice(&value));
    kv_expect_words(txn, NULL, NULL, "a large z");
    kv_delete_text(txn, "large");
    kv_expect_words(txn, NULL, NULL, "a z");
    kv_commit_ok(txn);
    kv_expect_sound(contract->kv);
    buf_release(&value);
}

static void test_kv__value_over_the_limit_is_invalid(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_text(txn, "a", "1");
    /* The length alone decides; the bytes are not looked at. */
    sombra_slice huge = slice_of("x", (size_t)KV_VALUE_BYTES_MAX + 1);
    expect_err(SOMBRA_INVALID, kv_put(txn, slice_str("a"), huge));
    expect_err(SOMBRA_INVALID, kv_put(txn, slice_str("b"), huge));
    kv_expect_text(txn, "a", "1");
    kv_put_text(txn, "c", "3");
    kv_expect_words(txn, NULL, NULL, "a c");
    kv_commit_ok(txn);
}

/* ---- many at once ------------------------------------------------------------------------ */

/* Numbers from `first` on by `stride`, the value of each as many bytes of a pattern. */
static void put_many_numbers(struct kv_txn *txn, uint64_t first, uint64_t stride, size_t count,
                             const struct buf *value)
{
    struct kv_entry entries[3000];
    uint8_t keys[3000][8];
    assert_true(count <= COUNT_OF(entries));
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct kv_entry){ .key = kv_number_key(first + stride * i, keys[i]),
                                        .value = buf_slice(value) };
    expect_ok(kv_put_many(txn, entries, count));
}

static void expect_same(struct kv_txn *txn, struct kv_txn *expected)
{
    uint64_t entries, expected_entries;
    uint64_t digest = kv_digest(expected, kv_text_range(NULL, NULL), &expected_entries);
    assert_int_equal(kv_digest(txn, kv_text_range(NULL, NULL), &entries), digest);
    assert_int_equal(entries, expected_entries);
}

static void test_kv__entries_put_at_once_stand_among_others(void **state)
{
    /* First, stride, count, bytes: a load, between its keys, over them, few here and there, at both
     * ends, long values, and over those. */
    static const uint64_t puts[][4] = {
        { 100000, 10, 3000, 12 }, { 100005, 10, 3000, 0 }, { 100000, 5, 2000, 40 },
        { 100001, 700, 80, 7 },   { 0, 1, 2000, 3 },       { 900000, 1, 3000, 100 },
        { 100002, 10, 20, 9000 }, { 100002, 5, 40, 5 },    { 100003, 1000, 30, 2500 },
        { 99000, 2, 3000, 1 },
    };
    struct kv_contract *contract = *state;
    struct kv *model;
    struct buf value = BUF_INIT;
    expect_ok(kv_model_open(NULL, &model));
    for (size_t i = 0; i < COUNT_OF(puts); i++) {
        const uint64_t *put = puts[i];
        struct kv_txn *txn = kv_begin_write(contract->kv), *expected = kv_begin_write(model);
        kv_pattern(&value, i, (size_t)put[3]);
        put_many_numbers(txn, put[0], put[1], (size_t)put[2], &value);
        put_many_numbers(expected, put[0], put[1], (size_t)put[2], &value);
        expect_same(txn, expected);
        kv_commit_ok(expected);
        kv_commit_ok(txn);
        kv_expect_sound(contract->kv);
    }
    kv_contract_reopen(contract);
    struct kv_txn *txn = kv_begin_read(contract->kv), *expected = kv_begin_read(model);
    expect_same(txn, expected);
    kv_abort(txn);
    kv_abort(expected);
    expect_ok(kv_close(model));
    buf_release(&value);
}

static void test_kv__entries_put_at_once_must_ascend(void **state)
{
    struct kv_entry entries[] = {
        { slice_str("b"), slice_str("1") },
        { slice_str("c"), slice_str("2") },
        { slice_str("c"), slice_str("3") },
    };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    expect_err(SOMBRA_INVALID, kv_put_many(txn, entries, COUNT_OF(entries)));
    entries[2].key = slice_str("bb");
    expect_err(SOMBRA_INVALID, kv_put_many(txn, entries, COUNT_OF(entries)));
    entries[2].key = slice_of("", 0);
    expect_err(SOMBRA_INVALID, kv_put_many(txn, entries, COUNT_OF(entries)));
    kv_expect_words(txn, NULL, NULL, "");
    expect_ok(kv_put_many(txn, entries, 0));
    expect_ok(kv_put_many(txn, entries, 2));
    kv_expect_words(txn, NULL, NULL, "b c");
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    expect_err(SOMBRA_READONLY, kv_put_many(txn, entries, 2));
    kv_abort(txn);
}

/* ---- keys -------------------------------------------------------------------------------- */

/* What get_many gives, held against get. */
struct many_got {
    const sombra_slice *keys;
    size_t next, found, stop;
    uint64_t digest;
};

static sombra_err many_each(void *context, size_t index, const sombra_slice *value)
{
    struct many_got *got = context;
    assert_int_equal(index, got->next++);
    if (index == got->stop)
        return SOMBRA_CANCELLED;
    got->found += value != NULL;
    sombra_slice none = slice_of(NULL, 0);
    got->digest = kv_entry_digest(got->digest, got->keys[index], value ? *value : none) + !value;
    return SOMBRA_OK;
}

static void expect_many(struct kv_txn *txn, const sombra_slice *keys, size_t count)
{
    struct many_got got = { .keys = keys, .stop = SIZE_MAX };
    struct many_got expected = { .keys = keys, .stop = SIZE_MAX };
    expect_ok(kv_get_many(txn, keys, count, many_each, &got));
    for (size_t i = 0; i < count; i++) {
        sombra_slice value;
        sombra_err err = kv_get(txn, keys[i], &value);
        assert_true(err == SOMBRA_OK || err == SOMBRA_NOT_FOUND);
        expect_ok(many_each(&expected, i, err ? NULL : &value));
    }
    assert_int_equal(got.next, count);
    assert_int_equal(got.found, expected.found);
    assert_true(got.digest == expected.digest);
}

/* Numbers without gaps and with them, few and many a leaf, values that a leaf does not hold. */
static void put_for_many(struct kv_txn *txn)
{
    kv_put_numbers(txn, 0, 2000, 40, 1);
    kv_put_numbers(txn, 5000, 7000, 3, 1);
    kv_put_numbers(txn, 1 << 16, (1 << 16) + 300, 500, 1);
    kv_put_numbers(txn, 1 << 24, (1 << 24) + 12, 30000, 1);
    for (uint64_t i = 0; i < 700; i++)
        kv_put_numbers(txn, 100000 + 37 * i, 100001 + 37 * i, 60, 1);
    kv_put_words(txn, "a aa ab b ba bb bba bbb c");
}

static void many_in(struct kv_txn *txn)
{
    enum { COUNT = 200 };
    static const uint64_t bases[] = { 0, 4990, 6990, 1 << 16, 1 << 24, 100000, 120000 };
    static const char *const words[] = { "a", "ac", "bb", "bbbb", "", "z" };
    struct random random = { kv_test_seed("get_many") };
    for (size_t round = 0; round < 60; round++) {
        uint8_t bytes[COUNT][8];
        sombra_slice keys[COUNT];
        uint64_t base = bases[round % COUNT_OF(bases)], at = base;
        for (size_t i = 0; i < COUNT; i++) {
            at = round % 3 ? at + random_below(&random, 40) : base + random_below(&random, 3000);
            keys[i] = kv_number_key(at, bytes[i]);
            const char *word = words[random_below(&random, COUNT_OF(words))];
            if (round % 5 == 4 && *word)
                keys[i] = slice_str(word);
        }
        expect_many(txn, keys, random_below(&random, COUNT + 1));
    }
}

static void test_kv__many_keys_are_got_as_one_by_one(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    many_in(txn);
    put_for_many(txn);
    many_in(txn);
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    many_in(txn);
    kv_abort(txn);
}

static void test_kv__an_error_of_the_caller_ends_many_gets(void **state)
{
    const sombra_slice keys[] = { slice_str("a"), slice_str("x"), slice_str("b") };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    for (size_t stop = 0; stop < COUNT_OF(keys); stop++) {
        struct many_got got = { .keys = keys, .stop = stop };
        expect_err(SOMBRA_CANCELLED, kv_get_many(txn, keys, COUNT_OF(keys), many_each, &got));
        assert_int_equal(got.next, stop + 1);
        kv_put_words(txn, "a b");
    }
    kv_abort(txn);
}

struct kept {
    sombra_slice values[800];
    uint64_t digests[800]; /* of what they were when they were got */
    size_t count;
};

static sombra_err kept_each(void *context, size_t index, const sombra_slice *value)
{
    struct kept *kept = context;
    (void)index;
    assert_non_null(value);
    kept->digests[kept->count] = kv_entry_digest(0, slice_str("kept"), *value);
    kept->values[kept->count++] = *value;
    return SOMBRA_OK;
}

/* Of an engine that keeps them: beside a writer that puts, deletes, commits and has checkpoints
 * made. */
static void test_kv__kept_values_live_until_the_reader_ends(void **state)
{
    enum { COUNT = 400, ROUNDS = 3 };
    static uint8_t keys[COUNT][8];
    static struct kept kept;
    sombra_slice slices[COUNT], value;
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    assert_false(txn->keeps_values);
    put_for_many(txn);
    kv_commit_ok(txn);
    struct kv_txn *reader = kv_begin_read(kv);
    kept.count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        slices[i] = kv_number_key(i < 12 ? (1 << 24) + i : 5 * i, keys[i]);
        expect_ok(kv_get(reader, slices[i], &value));
        expect_ok(kept_each(&kept, i, &value));
    }
    expect_ok(kv_get_many(reader, slices, COUNT, kept_each, &kept));
    for (size_t round = 0; reader->keeps_values && round < ROUNDS; round++) {
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        txn = kv_begin_write(kv);
        kv_put_numbers(txn, 0, 2000, 41 + round, 2);
        kv_put_numbers(txn, 1 << 24, (1 << 24) + 12, 29999, 2);
        expect_ok(kv_delete(txn, slices[100 + round]));
        kv_commit_ok(txn);
        expect_ok(kv_maintain(kv, &job));
    }
    for (size_t i = 0; reader->keeps_values && i < kept.count; i++)
        assert_true(kept.digests[i] == kv_entry_digest(0, slice_str("kept"), kept.values[i]));
    kv_abort(reader);
}

static void test_kv__keys_have_1_to_1024_bytes(void **state)
{
    uint8_t key[KV_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key);
    struct kv_txn *txn = kv_begin_write(store_of(state));
    expect_ok(kv_put(txn, slice_of(key, 1), slice_str("one")));
    expect_ok(kv_put(txn, slice_of(key, KV_KEY_BYTES_MAX), slice_str("most")));
    expect_err(SOMBRA_INVALID, kv_put(txn, slice_of(key, 0), slice_str("none")));
    expect_err(SOMBRA_INVALID, kv_put(txn, slice_of(key, sizeof key), slice_str("more")));
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    kv_expect_value(txn, slice_of(key, 1), slice_str("one"));
    kv_expect_value(txn, slice_of(key, KV_KEY_BYTES_MAX), slice_str("most"));
    uint64_t count;
    expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &count));
    assert_int_equal(count, 2);
    kv_abort(txn);
}

/* A key outside the limits cannot be there: both answers say so. */
static void test_kv__impossible_keys_are_never_found(void **state)
{
    uint8_t key[KV_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key);
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b");
    const sombra_slice keys[] = { slice_of(NULL, 0), slice_of(key, sizeof key) };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        sombra_slice value;
        sombra_err err = kv_get(txn, keys[i], &value);
        assert_true(err == SOMBRA_INVALID || err == SOMBRA_NOT_FOUND);
        err = kv_delete(txn, keys[i]);
        assert_true(err == SOMBRA_INVALID || err == SOMBRA_NOT_FOUND);
    }
    kv_expect_words(txn, NULL, NULL, "a b");
    kv_commit_ok(txn);
}

static void test_kv__many_keys_of_the_greatest_length(void **state)
{
    uint8_t key[KV_KEY_BYTES_MAX];
    struct kv_txn *txn = kv_begin_write(store_of(state));
    for (unsigned i = 0; i < 300; i++) {
        /* Alike to the last two bytes, or different from the first on. */
        memset(key, i % 2 ? 'x' : (int)(i % 251), sizeof key);
        put_be16(key + sizeof key - 2, (uint16_t)i);
        expect_ok(kv_put(txn, slice_of(key, sizeof key), slice_of(&i, sizeof i)));
    }
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    for (unsigned i = 0; i < 300; i++) {
        memset(key, i % 2 ? 'x' : (int)(i % 251), sizeof key);
        put_be16(key + sizeof key - 2, (uint16_t)i);
        kv_expect_value(txn, slice_of(key, sizeof key), slice_of(&i, sizeof i));
    }
    kv_abort(txn);
    kv_expect_sound(store_of(state));
}

/* memcmp order, shorter first on a tie: { 0 } < { 0, 0 } < { 0, 1 } < { 1 } < { 0x7f } < { 0x80 }
 * < { 0xff } < { 0xff, 0xff }. */
static void test_kv__order_is_that_of_unsigned_bytes(void **state)
{
    static const sombra_slice keys[] = {
        { "\x00", 1 }, { "\x00\x00", 2 }, { "\x00\x01", 2 }, { "\x01", 1 },
        { "\x7f", 1 }, { "\x80", 1 },     { "\xff", 1 },     { "\xff\xff", 2 },
    };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    for (size_t i = COUNT_OF(keys); i > 0; i--)
        expect_ok(kv_put(txn, keys[i * 5 % COUNT_OF(keys)], slice_str("v")));
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        bool found;
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        assert_true(slice_equal(cursor->entry.key, keys[i]));
    }
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__arguments_may_be_bytes_the_store_lent(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    struct buf value = BUF_INIT;
    kv_pattern(&value, 7, 20000);
    kv_put_words(txn, "a b c d");
    expect_ok(kv_put(txn, slice_str("large"), buf_slice(&value)));
    sombra_slice lent;
    expect_ok(kv_get(txn, slice_str("large"), &lent));
    expect_ok(kv_put(txn, slice_str("a"), lent));
    kv_expect_value(txn, slice_str("a"), buf_slice(&value));
    struct kv_cursor *cursor;
    bool found;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, slice_str("b"), &found));
    assert_true(found);
    expect_ok(kv_delete(txn, cursor->entry.key));
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    expect_ok(kv_put(txn, cursor->entry.key, cursor->entry.key));
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    expect_ok(kv_cursor_move(cursor, KV_SEEK_LE, cursor->entry.key, &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, slice_str("d")));
    kv_cursor_close(cursor);
    kv_expect_words(txn, NULL, NULL, "a c d large");
    kv_expect_text(txn, "c", "c");
    kv_commit_ok(txn);
    buf_release(&value);
}

/* ---- delete ------------------------------------------------------------------------------ */

static void test_kv__delete_of_a_missing_key_says_so(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    expect_err(SOMBRA_NOT_FOUND, kv_delete(txn, slice_str("a")));
    kv_put_words(txn, "a c");
    expect_err(SOMBRA_NOT_FOUND, kv_delete(txn, slice_str("b")));
    kv_delete_text(txn, "a");
    expect_err(SOMBRA_NOT_FOUND, kv_delete(txn, slice_str("a")));
    kv_expect_words(txn, NULL, NULL, "c");
    kv_commit_ok(txn);
}

static void test_kv__everything_can_be_deleted_one_by_one(void **state)
{
    enum { COUNT = 3000 };
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, COUNT, 60, 0);
    kv_commit_ok(txn);
    txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t key[8];
        uint64_t count;
        expect_ok(kv_delete(txn, kv_number_key(i * 7 % COUNT, key)));
        if (i % 100 == 0) {
            expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &count));
            assert_int_equal(count, COUNT - 1 - i);
        }
    }
    kv_expect_words(txn, NULL, NULL, "");
    kv_put_words(txn, "again");
    kv_commit_ok(txn);
    txn = kv_begin_read(kv);
    kv_expect_words(txn, NULL, NULL, "again");
    kv_abort(txn);
    kv_expect_sound(kv);
}

struct removal {
    const char *low, *high;
    uint64_t removed;
    const char *left;
};

static void test_kv__delete_range_takes_low_and_leaves_high(void **state)
{
    static const struct removal cases[] = {
        { "b", "d", 2, "a d e" },     { "b", "b", 0, "a b c d e" },  { "d", "b", 0, "a b c d e" },
        { NULL, "c", 2, "c d e" },    { "c", NULL, 3, "a b" },       { NULL, NULL, 5, "" },
        { "aa", "cc", 2, "a d e" },   { "f", NULL, 0, "a b c d e" }, { NULL, "a", 0, "a b c d e" },
        { NULL, "aa", 1, "b c d e" }, { "e", "f", 1, "a b c d" },    { "bb", "c", 0, "a b c d e" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct kv_txn *txn = kv_begin_write(store_of(state));
        kv_put_words(txn, "a b c d e");
        uint64_t removed = 99;
        struct kv_range range = kv_text_range(cases[i].low, cases[i].high);
        expect_ok(kv_delete_range(txn, range, i % 2 ? &removed : NULL));
        if (i % 2)
            assert_int_equal(removed, cases[i].removed);
        kv_expect_words(txn, NULL, NULL, cases[i].left);
        kv_abort(txn);
    }
}

static void test_kv__delete_range_of_many_entries_leaves_the_others(void **state)
{
    enum { COUNT = 6000 };
    static const uint64_t bounds[][2] = { { 2000, 2001 }, { 100, 101 }, { 3000, 3900 },
                                          { 2500, 5999 }, { 1, 1000 },  { 0, COUNT } };
    struct kv *kv = store_of(state);
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, COUNT, 40, 5);
    kv_put_numbers(txn, 2400, 2410, 50000, 5);
    kv_commit_ok(txn);
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        uint8_t low[8], high[8];
        struct kv_range range = { kv_number_key(bounds[i][0], low),
                                  kv_number_key(bounds[i][1], high) };
        uint64_t removed, inside, before, after;
        struct kv_range all = kv_text_range(NULL, NULL);
        txn = kv_begin_write(kv);
        expect_ok(kv_count(txn, range, 0, &inside));
        expect_ok(kv_count(txn, all, 0, &before));
        uint64_t digest_below = kv_digest(txn, (struct kv_range){ all.low, range.low }, NULL);
        uint64_t digest_above = kv_digest(txn, (struct kv_range){ range.high, all.high }, NULL);
        expect_ok(kv_delete_range(txn, range, &removed));
        assert_int_equal(removed, inside);
        expect_ok(kv_count(txn, all, 0, &after));
        assert_int_equal(after, before - removed);
        expect_ok(kv_count(txn, range, 0, &inside));
        assert_int_equal(inside, 0);
        assert_true(kv_digest(txn, (struct kv_range){ all.low, range.low }, NULL) == digest_below);
        assert_true(kv_digest(txn, (struct kv_range){ range.high, all.high }, NULL) ==
                    digest_above);
        kv_commit_ok(txn);
        kv_expect_sound(kv);
    }
}

/* ---- count and estimate ------------------------------------------------------------------ */

static void test_kv__count_is_exact_on_every_range(void **state)
{
    enum { COUNT = 5000 };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t key[8];
        expect_ok(kv_put(txn, kv_number_key(i * 2, key), slice_of(NULL, 0)));
    }
    struct random random;
    random_seed(&random, 42);
    for (unsigned round = 0; round < 500; round++) {
        uint8_t low[8], high[8];
        uint64_t from = random_below(&random, 2 * COUNT + 10);
        uint64_t to = random_below(&random, 2 * COUNT + 10);
        struct kv_range range = { kv_number_key(from, low), kv_number_key(to, high) };
        uint64_t first = u64_min((from + 1) / 2, COUNT), last = u64_min((to + 1) / 2, COUNT);
        uint64_t counted;
        expect_ok(kv_count(txn, range, 0, &counted));
        assert_int_equal(counted, last > first ? last - first : 0);
    }
    kv_commit_ok(txn);
}

static void test_kv__count_with_a_limit_stops_there(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e f");
    for (uint64_t limit = 1; limit < 9; limit++) {
        uint64_t counted;
        expect_ok(kv_count(txn, kv_text_range(NULL, NULL), limit, &counted));
        /* "May stop": an engine that counts for free may tell the whole number. */
        assert_true(counted == 6 || counted == u64_min(limit, 6));
        assert_true(counted >= u64_min(limit, 6));
        expect_ok(kv_count(txn, kv_text_range("c", "c"), limit, &counted));
        assert_int_equal(counted, 0);
    }
    kv_abort(txn);
}

static void test_kv__estimate_is_sane(void **state)
{
    enum { COUNT = 4000 };
    struct kv_contract *contract = *state;
    struct kv_txn *txn = kv_begin_write(contract->kv);
    uint64_t estimate;
    expect_ok(kv_estimate(txn, kv_text_range(NULL, NULL), &estimate));
    assert_int_equal(estimate, 0);
    kv_put_numbers(txn, 0, COUNT, 30, 0);
    kv_commit_ok(txn);
    txn = kv_begin_read(contract->kv);
    for (uint64_t width = 1; width <= COUNT; width *= 2) {
        uint8_t low[8], high[8];
        struct kv_range range = { kv_number_key(COUNT - width, low), kv_number_key(COUNT, high) };
        expect_ok(kv_estimate(txn, range, &estimate));
        if (contract->driver->is_counted)
            assert_int_equal(estimate, width);
        /* Else: right in size for wide ranges, never more than there is. */
        assert_true(estimate <= COUNT);
        assert_true(width < 1000 || (estimate >= width / 4 && estimate <= width * 4));
    }
    kv_abort(txn);
}

const struct kv_fact kv_contract_points[] = {
    KV_FACT(test_kv__new_store_is_empty),
    KV_FACT(test_kv__empty_value_is_not_a_missing_one),
    KV_FACT(test_kv__put_replaces),
    KV_FACT(test_kv__values_of_all_sizes_come_back_whole),
    KV_FACT(test_kv__one_value_may_be_very_large),
    KV_FACT(test_kv__value_over_the_limit_is_invalid),
    KV_FACT(test_kv__entries_put_at_once_stand_among_others),
    KV_FACT(test_kv__entries_put_at_once_must_ascend),
    KV_FACT(test_kv__many_keys_are_got_as_one_by_one),
    KV_FACT(test_kv__an_error_of_the_caller_ends_many_gets),
    KV_FACT(test_kv__kept_values_live_until_the_reader_ends),
    KV_FACT(test_kv__keys_have_1_to_1024_bytes),
    KV_FACT(test_kv__impossible_keys_are_never_found),
    KV_FACT(test_kv__many_keys_of_the_greatest_length),
    KV_FACT(test_kv__order_is_that_of_unsigned_bytes),
    KV_FACT(test_kv__arguments_may_be_bytes_the_store_lent),
    KV_FACT(test_kv__delete_of_a_missing_key_says_so),
    KV_FACT(test_kv__everything_can_be_deleted_one_by_one),
    KV_FACT(test_kv__delete_range_takes_low_and_leaves_high),
    KV_FACT(test_kv__delete_range_of_many_entries_leaves_the_others),
    KV_FACT(test_kv__count_is_exact_on_every_range),
    KV_FACT(test_kv__count_with_a_limit_stops_there),
    KV_FACT(test_kv__estimate_is_sane),
    { .name = NULL },
};
