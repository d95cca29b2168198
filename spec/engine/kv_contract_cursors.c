/* SPDX-License-Identifier: MIT */
/* Facts about cursors: bounds, motions, batches, writes underneath, and how long bytes live. */
#include "kv_contract.h"
#include "kv_check.h"

static struct kv *store_of(void **state)
{
    return ((struct kv_contract *)*state)->kv;
}

static struct kv_cursor *open_text(struct kv_txn *txn, const char *low, const char *high)
{
    struct kv_cursor *cursor = NULL;
    expect_ok(kv_cursor_open(txn, kv_text_range(low, high), &cursor));
    assert_non_null(cursor);
    assert_ptr_equal(cursor->txn, txn);
    assert_false(cursor->is_positioned);
    return cursor;
}

/* Moves, and expects that key, or nothing found if `want` is NULL. Keys stand for their values. */
static void move_to(struct kv_cursor *cursor, enum kv_motion motion, const char *key,
                    const char *want)
{
    bool found = !want;
    expect_ok(kv_cursor_move(cursor, motion, slice_str(key ? key : ""), &found));
    assert_int_equal(found, want != NULL);
    assert_int_equal(cursor->is_positioned, found);
    if (!want)
        return;
    sombra_slice got = cursor->entry.key;
    if (!slice_equal(got, slice_str(want)))
        print_error("stands on '%.*s', expected '%s'\n", (int)got.bytes, (const char *)got.data,
                    want);
    assert_true(slice_equal(got, slice_str(want)));
    assert_true(slice_equal(cursor->entry.value, slice_str(want)));
}

/* ---- motions ----------------------------------------------------------------------------- */

struct motion_case {
    const char *low, *high;
    enum kv_motion motion;
    const char *key;
    const char *want;
};

static const struct motion_case motion_cases[] = {
    { NULL, NULL, KV_FIRST, NULL, "b" },    { NULL, NULL, KV_LAST, NULL, "h" },
    { "c", NULL, KV_FIRST, NULL, "d" },     { "d", NULL, KV_FIRST, NULL, "d" },
    { NULL, "f", KV_LAST, NULL, "d" },      { NULL, "g", KV_LAST, NULL, "f" },
    { "i", NULL, KV_FIRST, NULL, NULL },    { NULL, "b", KV_LAST, NULL, NULL },
    { "c", "d", KV_FIRST, NULL, NULL },     { "c", "d", KV_LAST, NULL, NULL },
    { "d", "d", KV_FIRST, NULL, NULL },     { "f", "d", KV_FIRST, NULL, NULL },
    { "f", "d", KV_LAST, NULL, NULL },      { NULL, NULL, KV_NEXT, NULL, "b" },
    { NULL, NULL, KV_PREVIOUS, NULL, "h" }, { "c", "g", KV_NEXT, NULL, "d" },
    { "c", "g", KV_PREVIOUS, NULL, "f" },   { "c", "d", KV_NEXT, NULL, NULL },
    { "c", "d", KV_PREVIOUS, NULL, NULL },  { NULL, NULL, KV_SEEK_GE, "d", "d" },
    { NULL, NULL, KV_SEEK_GE, "c", "d" },   { NULL, NULL, KV_SEEK_GE, "da", "f" },
    { NULL, NULL, KV_SEEK_GE, "a", "b" },   { NULL, NULL, KV_SEEK_GE, "h", "h" },
    { NULL, NULL, KV_SEEK_GE, "ha", NULL }, { NULL, NULL, KV_SEEK_LE, "d", "d" },
    { NULL, NULL, KV_SEEK_LE, "e", "d" },   { NULL, NULL, KV_SEEK_LE, "da", "d" },
    { NULL, NULL, KV_SEEK_LE, "z", "h" },   { NULL, NULL, KV_SEEK_LE, "b", "b" },
    { NULL, NULL, KV_SEEK_LE, "a", NULL },  { "c", "g", KV_SEEK_GE, "a", "d" },
    { "c", "g", KV_SEEK_GE, "f", "f" },     { "c", "g", KV_SEEK_GE, "g", NULL },
    { "c", "f", KV_SEEK_GE, "e", NULL },    { "c", "g", KV_SEEK_LE, "z", "f" },
    { "c", "h", KV_SEEK_LE, "h", "f" },     { "d", "h", KV_SEEK_LE, "d", "d" },
    { "d", "h", KV_SEEK_LE, "c", NULL },    { "c", "h", KV_SEEK_LE, "c", NULL },
    { "c", "d", KV_SEEK_LE, "c", NULL },    { "f", "d", KV_SEEK_GE, "e", NULL },
    { "f", "d", KV_SEEK_LE, "e", NULL },
};

static void test_kv__motions_stay_within_the_bounds(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "b d f h");
    for (size_t i = 0; i < COUNT_OF(motion_cases); i++) {
        const struct motion_case *c = &motion_cases[i];
        struct kv_cursor *cursor = open_text(txn, c->low, c->high);
        move_to(cursor, c->motion, c->key, c->want);
        kv_cursor_close(cursor);
    }
    kv_abort(txn);
}

static void test_kv__no_motion_finds_anything_in_an_empty_store(void **state)
{
    struct kv_txn *txn = kv_begin_read(store_of(state));
    struct kv_cursor *cursor = open_text(txn, NULL, NULL);
    for (int motion = KV_FIRST; motion <= KV_SEEK_LE; motion++)
        move_to(cursor, (enum kv_motion)motion, "a", NULL);
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__closing_no_cursor_is_allowed(void **state)
{
    (void)state;
    kv_cursor_close(NULL);
}

static void test_kv__cursor_that_ran_off_an_end_turns_round(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e");
    struct kv_cursor *cursor = open_text(txn, "b", "e");
    move_to(cursor, KV_FIRST, NULL, "b");
    move_to(cursor, KV_PREVIOUS, NULL, NULL);
    move_to(cursor, KV_PREVIOUS, NULL, NULL);
    move_to(cursor, KV_NEXT, NULL, "b");
    move_to(cursor, KV_NEXT, NULL, "c");
    move_to(cursor, KV_NEXT, NULL, "d");
    move_to(cursor, KV_NEXT, NULL, NULL);
    move_to(cursor, KV_NEXT, NULL, NULL);
    move_to(cursor, KV_PREVIOUS, NULL, "d");
    move_to(cursor, KV_PREVIOUS, NULL, "c");
    move_to(cursor, KV_SEEK_GE, "e", NULL);
    move_to(cursor, KV_NEXT, NULL, NULL);
    move_to(cursor, KV_PREVIOUS, NULL, "d");
    move_to(cursor, KV_SEEK_LE, "a", NULL);
    move_to(cursor, KV_PREVIOUS, NULL, NULL);
    move_to(cursor, KV_NEXT, NULL, "b");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__cursor_turns_round_on_every_key(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d");
    struct kv_cursor *cursor = open_text(txn, NULL, NULL);
    move_to(cursor, KV_SEEK_GE, "b", "b");
    move_to(cursor, KV_NEXT, NULL, "c");
    move_to(cursor, KV_PREVIOUS, NULL, "b");
    move_to(cursor, KV_PREVIOUS, NULL, "a");
    move_to(cursor, KV_NEXT, NULL, "b");
    move_to(cursor, KV_LAST, NULL, "d");
    move_to(cursor, KV_PREVIOUS, NULL, "c");
    move_to(cursor, KV_FIRST, NULL, "a");
    move_to(cursor, KV_NEXT, NULL, "b");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

/* A btree's cursor that came from a leaf of one entry, after a write, read the first of the next
 * leaf where it had found that one. */
static void test_kv__step_from_the_one_entry_that_is_left_before_long_ones(void **state)
{
    enum { SHORT = 300, LONG = 20 };
    uint8_t first[8], low[8], high[8];
    struct buf value = BUF_INIT;
    for (size_t bytes = 400; bytes < 700; bytes += 13) { /* some fill a page, and nothing joins */
        struct kv_txn *txn = kv_begin_write(store_of(state));
        struct kv_cursor *cursor;
        bool found;
        for (uint64_t i = 0; i < SHORT + LONG; i++)
            expect_ok(
                kv_put(txn, kv_number_key(i, low), kv_pattern(&value, i, i < SHORT ? 0 : bytes)));
        expect_ok(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor));
        expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, kv_number_key(0, first), &found));
        assert_true(found);
        struct kv_range range = { kv_number_key(1, low), kv_number_key(SHORT, high) };
        expect_ok(kv_delete_range(txn, range, NULL));
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found && slice_equal(cursor->entry.key, range.high));
        assert_int_equal(cursor->entry.value.bytes, bytes);
        kv_cursor_close(cursor);
        kv_abort(txn);
    }
    buf_release(&value);
}

static void test_kv__cursor_keeps_a_copy_of_its_bounds(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e");
    char low[] = "b", high[] = "d";
    struct kv_cursor *cursor = open_text(txn, low, high);
    low[0] = 'a';
    high[0] = 'z';
    move_to(cursor, KV_FIRST, NULL, "b");
    move_to(cursor, KV_LAST, NULL, "c");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__several_cursors_do_not_disturb_each_other(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e");
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    struct kv_cursor *up = open_text(txn, NULL, NULL), *down = open_text(txn, NULL, "e");
    move_to(up, KV_NEXT, NULL, "a");
    move_to(down, KV_PREVIOUS, NULL, "d");
    move_to(up, KV_NEXT, NULL, "b");
    struct kv_cursor *third = open_text(txn, "c", NULL);
    move_to(third, KV_FIRST, NULL, "c");
    move_to(down, KV_PREVIOUS, NULL, "c");
    kv_cursor_close(down);
    move_to(up, KV_NEXT, NULL, "c");
    move_to(third, KV_NEXT, NULL, "d");
    kv_cursor_close(up);
    kv_cursor_close(third);
    kv_abort(txn);
}

/* ---- batches ----------------------------------------------------------------------------- */

/* Walks the range by batches of at most `capacity` and, beside it, by moves: the same entries. */
static void expect_batches_like_moves(struct kv_txn *txn, struct kv_range range,
                                      enum kv_motion direction, size_t capacity)
{
    struct kv_entry entries[1000];
    struct kv_batch batch = { .entries = entries, .capacity = capacity };
    struct kv_cursor *by_batch, *by_move;
    expect_ok(kv_cursor_open(txn, range, &by_batch));
    expect_ok(kv_cursor_open(txn, range, &by_move));
    bool found = true;
    while (found) {
        expect_ok(kv_cursor_read(by_batch, direction, &batch));
        assert_true(batch.count <= capacity);
        for (size_t i = 0; i < size_max(batch.count, 1); i++) {
            expect_ok(kv_cursor_move(by_move, direction, slice_of(NULL, 0), &found));
            assert_int_equal(found, batch.count > 0);
            if (!found)
                break;
            assert_int_equal(batch.prefix.bytes + entries[i].key.bytes, by_move->entry.key.bytes);
            assert_true(slice_has_prefix(by_move->entry.key, batch.prefix));
            assert_true(
                slice_equal(slice_from(by_move->entry.key, batch.prefix.bytes), entries[i].key));
            assert_true(slice_equal(by_move->entry.value, entries[i].value));
        }
    }
    kv_cursor_close(by_batch);
    kv_cursor_close(by_move);
}

static void put_mixed_entries(struct kv_txn *txn)
{
    struct buf value = BUF_INIT;
    struct random random;
    random_seed(&random, 11);
    kv_put_numbers(txn, 0, 2000, 0, 0);
    kv_put_numbers(txn, 5000, 5100, 700, 0);
    kv_put_numbers(txn, 6000, 6010, 30000, 0);
    kv_put_numbers(txn, 7000, 8500, 50, 0);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t key[KV_KEY_BYTES_MAX];
        size_t bytes = 1 + random_below(&random, sizeof key);
        memset(key, 'a' + (int)(i % 7), sizeof key);
        if (bytes > 2)
            put_le16(key + bytes - 2, (uint16_t)(i + 1));
        kv_pattern(&value, i, random_below(&random, 300));
        expect_ok(kv_put(txn, slice_of(key, bytes), buf_slice(&value)));
    }
    buf_release(&value);
}

static void test_kv__batches_agree_with_moves(void **state)
{
    static const size_t capacities[] = { 1, 2, 7, 64, 1000 };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    put_mixed_entries(txn);
    uint8_t low[8], high[8];
    const struct kv_range ranges[] = {
        kv_text_range(NULL, NULL),
        { kv_number_key(1990, low), kv_number_key(6005, high) },
        kv_text_range("b", "c"),
        kv_text_range("x", NULL),
    };
    for (size_t i = 0; i < COUNT_OF(capacities); i++)
        for (size_t j = 0; j < COUNT_OF(ranges); j++) {
            expect_batches_like_moves(txn, ranges[j], KV_NEXT, capacities[i]);
            expect_batches_like_moves(txn, ranges[j], KV_PREVIOUS, capacities[i]);
        }
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    expect_batches_like_moves(txn, ranges[0], KV_NEXT, 100);
    expect_batches_like_moves(txn, ranges[0], KV_PREVIOUS, 100);
    kv_abort(txn);
}

/* Reads at most `capacity` in one call; the words read, in the order they came. */
static void read_to(struct kv_cursor *cursor, enum kv_motion direction, size_t capacity,
                    const char *want)
{
    struct kv_entry entries[8];
    struct kv_batch batch = { .entries = entries, .capacity = capacity };
    struct buf words = BUF_INIT;
    expect_ok(kv_cursor_read(cursor, direction, &batch));
    for (size_t i = 0; i < batch.count; i++) {
        if (i)
            expect_ok(buf_append_u8(&words, ' '));
        expect_ok(buf_append_slice(&words, batch.prefix));
        expect_ok(buf_append_slice(&words, entries[i].key));
    }
    expect_ok(buf_append_u8(&words, 0));
    assert_string_equal((const char *)words.data, want);
    buf_release(&words);
}

static void test_kv__batch_leaves_the_cursor_on_its_last_entry(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e f");
    struct kv_cursor *cursor = open_text(txn, NULL, NULL);
    read_to(cursor, KV_NEXT, 1, "a");
    move_to(cursor, KV_NEXT, NULL, "b");
    read_to(cursor, KV_NEXT, 1, "c");
    read_to(cursor, KV_PREVIOUS, 1, "b");
    move_to(cursor, KV_PREVIOUS, NULL, "a");
    move_to(cursor, KV_SEEK_GE, "e", "e");
    read_to(cursor, KV_PREVIOUS, 1, "d");
    read_to(cursor, KV_NEXT, 1, "e");
    kv_delete_text(txn, "e");
    read_to(cursor, KV_NEXT, 1, "f");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__empty_batch_is_the_end_like_a_move_that_finds_none(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c");
    struct kv_cursor *cursor = open_text(txn, NULL, NULL);
    move_to(cursor, KV_LAST, NULL, "c");
    read_to(cursor, KV_NEXT, 4, "");
    read_to(cursor, KV_NEXT, 4, "");
    move_to(cursor, KV_PREVIOUS, NULL, "c");
    move_to(cursor, KV_FIRST, NULL, "a");
    read_to(cursor, KV_PREVIOUS, 4, "");
    read_to(cursor, KV_NEXT, 1, "a");
    kv_cursor_close(cursor);
    cursor = open_text(txn, "b", "b");
    read_to(cursor, KV_NEXT, 4, "");
    read_to(cursor, KV_PREVIOUS, 4, "");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

/* ---- writes underneath ------------------------------------------------------------------- */

static void test_kv__cursor_steps_on_from_its_deleted_key(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "a b c d e");
    struct kv_cursor *cursor = open_text(txn, NULL, NULL);
    move_to(cursor, KV_SEEK_GE, "c", "c");
    kv_delete_text(txn, "c");
    move_to(cursor, KV_NEXT, NULL, "d");
    kv_delete_text(txn, "d");
    move_to(cursor, KV_PREVIOUS, NULL, "b");
    kv_delete_text(txn, "a");
    kv_delete_text(txn, "b");
    move_to(cursor, KV_PREVIOUS, NULL, NULL);
    move_to(cursor, KV_NEXT, NULL, "e");
    kv_delete_text(txn, "e");
    move_to(cursor, KV_NEXT, NULL, NULL);
    kv_cursor_close(cursor);
    kv_abort(txn);
}

static void test_kv__cursor_sees_what_is_put_around_it(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "b f");
    struct kv_cursor *cursor = open_text(txn, "b", "g");
    move_to(cursor, KV_FIRST, NULL, "b");
    kv_put_words(txn, "a d g");
    move_to(cursor, KV_NEXT, NULL, "d");
    kv_put_words(txn, "c e");
    move_to(cursor, KV_NEXT, NULL, "e");
    move_to(cursor, KV_PREVIOUS, NULL, "d");
    move_to(cursor, KV_PREVIOUS, NULL, "c");
    kv_put_text(txn, "d", "d");
    move_to(cursor, KV_LAST, NULL, "f");
    kv_delete_text(txn, "c");
    kv_put_words(txn, "c");
    move_to(cursor, KV_SEEK_LE, "c", "c");
    kv_cursor_close(cursor);
    kv_abort(txn);
}

/* Fresh means before the first of what there is when it moves. */
static void test_kv__fresh_cursor_sees_what_is_put_before_it_moves(void **state)
{
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_words(txn, "c");
    struct kv_cursor *up = open_text(txn, NULL, NULL), *down = open_text(txn, NULL, NULL);
    kv_put_words(txn, "a b d e");
    move_to(up, KV_NEXT, NULL, "a");
    move_to(down, KV_PREVIOUS, NULL, "e");
    kv_cursor_close(up);
    kv_cursor_close(down);
    kv_abort(txn);
}

static void test_kv__cursor_survives_splits_and_merges(void **state)
{
    enum { COUNT = 4000 };
    struct kv_txn *txn = kv_begin_write(store_of(state));
    kv_put_numbers(txn, COUNT, COUNT + 10, 100, 0);
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
    uint8_t key[8];
    bool found;
    expect_ok(kv_cursor_move(cursor, KV_SEEK_GE, kv_number_key(COUNT + 5, key), &found));
    assert_true(found);
    kv_put_numbers(txn, 0, COUNT, 100, 0);
    kv_put_numbers(txn, COUNT + 10, 2 * COUNT, 100, 0);
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, kv_number_key(COUNT + 6, key)));
    struct kv_range all_but_ends = { kv_number_key(1, (uint8_t[8]){ 0 }),
                                     kv_number_key(2 * COUNT - 1, (uint8_t[8]){ 0 }) };
    uint64_t removed;
    expect_ok(kv_delete_range(txn, all_but_ends, &removed));
    assert_int_equal(removed, 2 * COUNT - 2);
    expect_ok(kv_cursor_move(cursor, KV_PREVIOUS, slice_of(NULL, 0), &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, kv_number_key(0, key)));
    expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
    assert_true(found);
    assert_true(slice_equal(cursor->entry.key, kv_number_key(2 * COUNT - 1, key)));
    kv_cursor_close(cursor);
    kv_commit_ok(txn);
    kv_expect_sound(store_of(state));
}

/* The loop that every caller writes: walk and delete what is found. */
static void test_kv__walk_may_delete_every_entry_it_finds(void **state)
{
    enum { COUNT = 3000 };
    for (int direction = KV_NEXT; direction <= KV_PREVIOUS; direction++) {
        struct kv_txn *txn = kv_begin_write(store_of(state));
        kv_put_numbers(txn, 0, COUNT, 50, 0);
        struct kv_cursor *cursor;
        expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &cursor));
        uint64_t visited = 0;
        bool found;
        for (;;) {
            expect_ok(kv_cursor_move(cursor, (enum kv_motion)direction, slice_of(NULL, 0), &found));
            if (!found)
                break;
            uint64_t number = get_be64(cursor->entry.key.data);
            assert_int_equal(number, direction == KV_NEXT ? visited : COUNT - 1 - visited);
            uint8_t key[8];
            if (number % 3)
                expect_ok(kv_delete(txn, kv_number_key(number, key)));
            visited++;
        }
        assert_int_equal(visited, COUNT);
        kv_cursor_close(cursor);
        uint64_t left;
        expect_ok(kv_count(txn, kv_text_range(NULL, NULL), 0, &left));
        assert_int_equal(left, COUNT / 3);
        kv_commit_ok(txn);
        kv_expect_sound(store_of(state));
    }
}

/* ---- lifetime of bytes ------------------------------------------------------------------- */

/* What reads may a cursor's bytes survive? All of its transaction but its own moves. */
static void test_kv__cursor_bytes_survive_other_reads(void **state)
{
    static const size_t sizes[] = { 5, 600, 3000, 9000, 70000 };
    struct buf value = BUF_INIT;
    struct kv_txn *txn = kv_begin_write(store_of(state));
    uint8_t key[8];
    for (uint64_t i = 0; i < 200; i++) {
        kv_pattern(&value, i, sizes[i % COUNT_OF(sizes)]);
        expect_ok(kv_put(txn, kv_number_key(i, key), buf_slice(&value)));
    }
    kv_commit_ok(txn);
    txn = kv_begin_read(store_of(state));
    struct kv_cursor *held, *other;
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &held));
    expect_ok(kv_cursor_open(txn, kv_text_range(NULL, NULL), &other));
    for (uint64_t i = 0; i < 10; i++) {
        bool found;
        expect_ok(kv_cursor_move(held, KV_NEXT, slice_of(NULL, 0), &found));
        assert_true(found);
        for (uint64_t j = 0; j < 60; j++) {
            sombra_slice got, wanted = kv_number_key((i * 31 + j * 7) % 200, key);
            expect_ok(kv_get(txn, wanted, &got));
            expect_ok(kv_cursor_move(other, j % 2 ? KV_NEXT : KV_SEEK_GE, wanted, &found));
        }
        kv_pattern(&value, i, sizes[i % COUNT_OF(sizes)]);
        assert_true(slice_equal(held->entry.key, kv_number_key(i, key)));
        assert_true(slice_equal(held->entry.value, buf_slice(&value)));
    }
    kv_cursor_close(held);
    kv_cursor_close(other);
    kv_abort(txn);
    buf_release(&value);
}

/* A snapshot's bytes do not move when later transactions rewrite everything. */
static void test_kv__snapshot_bytes_survive_later_commits(void **state)
{
    static const size_t sizes[] = { 5, 3000, 70000 };
    struct kv *kv = store_of(state);
    struct buf value = BUF_INIT;
    uint8_t key[8];
    struct kv_txn *writer = kv_begin_write(kv), *readers[COUNT_OF(sizes)];
    for (uint64_t i = 0; i < COUNT_OF(sizes); i++)
        kv_put_numbers(writer, i * 50, i * 50 + 50, sizes[i], 1);
    kv_commit_ok(writer);
    struct kv_cursor *cursors[COUNT_OF(sizes)];
    for (uint64_t i = 0; i < COUNT_OF(sizes); i++) {
        bool found;
        readers[i] = kv_begin_read(kv);
        expect_ok(kv_cursor_open(readers[i], kv_text_range(NULL, NULL), &cursors[i]));
        expect_ok(kv_cursor_move(cursors[i], KV_SEEK_GE, kv_number_key(i * 50 + 7, key), &found));
        assert_true(found);
    }
    for (uint64_t round = 2; round < 8; round++) {
        writer = kv_begin_write(kv);
        for (uint64_t i = 0; i < COUNT_OF(sizes); i++)
            kv_put_numbers(writer, i * 50, i * 50 + 50, sizes[(i + round) % 3], round * 1000);
        kv_commit_ok(writer);
    }
    for (uint64_t i = 0; i < COUNT_OF(sizes); i++) {
        kv_pattern(&value, i * 50 + 7 + 1, sizes[i]);
        assert_true(slice_equal(cursors[i]->entry.key, kv_number_key(i * 50 + 7, key)));
        assert_true(slice_equal(cursors[i]->entry.value, buf_slice(&value)));
        kv_cursor_close(cursors[i]);
        kv_abort(readers[i]);
    }
    buf_release(&value);
    kv_expect_sound(kv);
}

const struct kv_fact kv_contract_cursors[] = {
    KV_FACT(test_kv__motions_stay_within_the_bounds),
    KV_FACT(test_kv__no_motion_finds_anything_in_an_empty_store),
    KV_FACT(test_kv__closing_no_cursor_is_allowed),
    KV_FACT(test_kv__cursor_that_ran_off_an_end_turns_round),
    KV_FACT(test_kv__cursor_turns_round_on_every_key),
    KV_FACT(test_kv__step_from_the_one_entry_that_is_left_before_long_ones),
    KV_FACT(test_kv__cursor_keeps_a_copy_of_its_bounds),
    KV_FACT(test_kv__several_cursors_do_not_disturb_each_other),
    KV_FACT(test_kv__batches_agree_with_moves),
    KV_FACT(test_kv__batch_leaves_the_cursor_on_its_last_entry),
    KV_FACT(test_kv__empty_batch_is_the_end_like_a_move_that_finds_none),
    KV_FACT(test_kv__cursor_steps_on_from_its_deleted_key),
    KV_FACT(test_kv__cursor_sees_what_is_put_around_it),
    KV_FACT(test_kv__fresh_cursor_sees_what_is_put_before_it_moves),
    KV_FACT(test_kv__cursor_survives_splits_and_merges),
    KV_FACT(test_kv__walk_may_delete_every_entry_it_finds),
    KV_FACT(test_kv__cursor_bytes_survive_other_reads),
    KV_FACT(test_kv__snapshot_bytes_survive_later_commits),
    { .name = NULL },
};
