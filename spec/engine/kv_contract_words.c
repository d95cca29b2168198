/* SPDX-License-Identifier: MIT */
/* Facts about keys read as numbers: they agree with moves, whatever stands between two reads. */
#include "kv_check.h"
#include "kv_contract.h"

static struct kv *store_of(void **state)
{
    return ((struct kv_contract *)*state)->kv;
}

enum { KEY_BYTES_MAX = 24, READ_MAX = 40 };

/* Keys of few different bytes, so that they share beginnings of all lengths, and some have more
 * behind them than a word holds. */
static sombra_slice random_key(struct random *random, uint8_t to[KEY_BYTES_MAX])
{
    static const uint8_t bytes[] = { 0, 1, 2, 0x7f, 0xff };
    size_t length = 2 + random_below(random, random_below(random, 20) == 0 ? 20 : 9);
    for (size_t i = 0; i < length; i++)
        to[i] =
            i < 2 ? (uint8_t)random_below(random, 4) : bytes[random_below(random, COUNT_OF(bytes))];
    return slice_of(to, length);
}

/* Short values mostly, which go into dense leaves; some that do not. */
static void put_random(struct kv_txn *txn, struct random *random, size_t count, size_t value_max)
{
    uint8_t key[KEY_BYTES_MAX];
    struct buf value = BUF_INIT;
    for (size_t i = 0; i < count; i++)
        expect_ok(kv_put(txn, random_key(random, key),
                         kv_pattern(&value, i, random_below(random, value_max + 1))));
    buf_release(&value);
}

/* Reads what begins with `within`, a random number of keys at a time, and holds each against the
 * next one by moves. `between` happens after each read. */
struct reading {
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    struct random *random;
    void (*between)(const struct reading *reading, sombra_slice last);
};

/* The next key with `within` behind `last` (empty: the first). */
static bool key_expected(struct kv_cursor *cursor, sombra_slice within, sombra_slice last)
{
    bool found = false;
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, last.bytes ? last : within, &found));
    if (found && last.bytes && slice_equal(cursor->entry.key, last))
        expect_ok(kv_cursor_move(cursor, KV_NEXT, within, &found));
    return found && slice_has_prefix(cursor->entry.key, within);
}

static void expect_word(sombra_slice key, sombra_slice within, uint64_t word, size_t bytes)
{
    uint8_t expected[KV_WORD_BYTES] = { 0 };
    sombra_slice rest = slice_from(key, within.bytes);
    assert_int_equal(bytes, rest.bytes);
    if (rest.bytes)
        memcpy(expected, rest.data, rest.bytes);
    assert_true(word == get_be64(expected));
}

static size_t read_all(const struct reading *reading, sombra_slice within)
{
    uint64_t numbers[READ_MAX];
    uint8_t bytes[READ_MAX], key[KV_KEY_BYTES_MAX];
    struct kv_words words = { .within = within, .seeks = true, .words = numbers, .bytes = bytes };
    struct kv_cursor *moves;
    size_t total = 0, last = 0;
    bool found;
    expect_ok(kv_cursor_open(reading->txn, (struct kv_range){ .low = { NULL, 0 } }, &moves));
    do {
        words.capacity = 1 + random_below(reading->random, READ_MAX);
        expect_ok(kv_cursor_words(reading->cursor, &words));
        assert_true(words.count <= words.capacity);
        assert_true(words.count || words.is_last || words.is_long);
        for (size_t i = 0; i < words.count; i++) {
            assert_true(key_expected(moves, within, slice_of(key, last)));
            expect_word(moves->entry.key, within, numbers[i], bytes[i]);
            last = moves->entry.key.bytes;
            memcpy(key, moves->entry.key.data, last);
        }
        total += words.count;
        found = key_expected(moves, within, slice_of(key, last));
        if (words.is_last)
            assert_false(found);
        if (words.is_long)
            assert_true(found && moves->entry.key.bytes > within.bytes + KV_WORD_BYTES);
        if (words.is_long) {
            bool is_first = words.seeks && words.count == 0;
            expect_ok(
                kv_cursor_move(reading->cursor, is_first ? KV_SEEK_GE : KV_NEXT, within, &found));
            assert_true(found && slice_equal(reading->cursor->entry.key, moves->entry.key));
            last = moves->entry.key.bytes;
            memcpy(key, moves->entry.key.data, last);
            total++;
        }
        words.seeks = false;
        if (reading->between && !words.is_last)
            reading->between(reading, slice_of(key, last));
    } while (!words.is_last);
    kv_cursor_close(moves);
    return total;
}

/* A cursor goes from one beginning to the next, most of them near the one before. */
static size_t read_many(struct reading *reading, size_t rounds)
{
    uint8_t within[KEY_BYTES_MAX];
    size_t total = 0;
    expect_ok(
        kv_cursor_open(reading->txn, (struct kv_range){ .low = { NULL, 0 } }, &reading->cursor));
    for (size_t i = 0; i < rounds; i++) {
        size_t bytes = random_key(reading->random, within).bytes;
        bytes = 1 + random_below(reading->random, size_min(bytes, 5));
        total += read_all(reading, slice_of(within, bytes));
    }
    kv_cursor_close(reading->cursor);
    return total;
}

static void test_kv__words_agree_with_moves(void **state)
{
    static const struct {
        size_t keys, value_max;
    } fills[] = { { 3000, 0 }, { 3000, 30 }, { 600, 300 }, { 40, 20000 } };
    struct random random = { kv_test_seed("words") };
    size_t total = 0;
    for (size_t i = 0; i < COUNT_OF(fills); i++) {
        struct kv_txn *txn = kv_begin_write(store_of(state));
        expect_ok(kv_delete_range(txn, kv_text_range(NULL, NULL), NULL));
        put_random(txn, &random, fills[i].keys, fills[i].value_max);
        struct reading reading = { .txn = txn, .random = &random };
        total += read_many(&reading, 60);
        kv_commit_ok(txn);
        reading.txn = kv_begin_read(store_of(state));
        total += read_many(&reading, 60);
        kv_abort(reading.txn);
    }
    assert_true(total > 1000);
}

/* Two families of keys that have nothing in common, which meet in a leaf, each with a beginning as
 * long as what a leaf tells in one byte, or a bit more or less. */
static void test_kv__words_stand_behind_long_beginnings(void **state)
{
    enum { STEM_MIN = 12, STEM_MAX = 18, TAILS = 1024 };
    struct random random = { kv_test_seed("words") };
    for (size_t stem = STEM_MIN; stem <= STEM_MAX; stem++) {
        uint8_t key[STEM_MAX + 2];
        struct kv_txn *txn = kv_begin_write(store_of(state));
        struct reading reading = { .txn = txn, .random = &random };
        expect_ok(kv_delete_range(txn, kv_text_range(NULL, NULL), NULL));
        for (size_t i = 0; i < 2 * TAILS; i++) {
            memset(key, i < TAILS ? 'a' : 'b', stem);
            key[stem] = (uint8_t)(i % TAILS / 32);
            key[stem + 1] = (uint8_t)(i % 32);
            expect_ok(kv_put(txn, slice_of(key, stem + 2), slice_of(NULL, 0)));
        }
        expect_ok(kv_cursor_open(txn, (struct kv_range){ .low = { NULL, 0 } }, &reading.cursor));
        for (unsigned family = 0; family < 2; family++) {
            memset(key, family ? 'b' : 'a', stem);
            assert_int_equal(read_all(&reading, slice_of(key, stem)), TAILS);
        }
        kv_cursor_close(reading.cursor);
        kv_commit_ok(txn);
    }
}

/* Deletes the key it stands on, or another, or puts some. */
static void write_between(const struct reading *reading, sombra_slice last)
{
    uint8_t key[KEY_BYTES_MAX];
    uint64_t dice = random_below(reading->random, 4);
    if (dice == 0 && last.bytes)
        expect_ok(kv_delete(reading->txn, last));
    else if (dice == 1)
        put_random(reading->txn, reading->random, 1 + random_below(reading->random, 30), 20);
    else if (dice == 2)
        (void)kv_delete(reading->txn, random_key(reading->random, key));
}

static void test_kv__words_go_on_behind_the_last_key_across_writes(void **state)
{
    struct random random = { kv_test_seed("words") };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    put_random(txn, &random, 2000, 20);
    struct reading reading = { .txn = txn, .random = &random, .between = write_between };
    assert_true(read_many(&reading, 150) > 150);
    kv_abort(txn);
}

static void test_kv__no_word_is_read_where_no_key_begins_so(void **state)
{
    uint64_t word;
    uint8_t bytes;
    struct kv_cursor *cursor;
    struct kv_words words = { .seeks = true, .capacity = 1, .words = &word, .bytes = &bytes };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    static const char *const missing[] = { "a", "bc", "c", "da", "e" };
    for (size_t i = 0; i < 2 * COUNT_OF(missing); i++) {
        if (i == COUNT_OF(missing))
            kv_put_words(txn, "ba bb d");
        words.within = slice_str(missing[i % COUNT_OF(missing)]);
        expect_ok(kv_cursor_words(cursor, &words));
        assert_int_equal(words.count, 0);
        assert_true(words.is_last && !words.is_long);
    }
    words.within = slice_str("d");
    expect_ok(kv_cursor_words(cursor, &words));
    assert_int_equal(words.count, 1);
    assert_true(word == 0 && bytes == 0);
    kv_cursor_close(cursor);
    kv_abort(txn);
}

const struct kv_fact kv_contract_words[] = {
    KV_FACT(test_kv__words_agree_with_moves),
    KV_FACT(test_kv__words_stand_behind_long_beginnings),
    KV_FACT(test_kv__words_go_on_behind_the_last_key_across_writes),
    KV_FACT(test_kv__no_word_is_read_where_no_key_begins_so),
    { .name = NULL },
};
