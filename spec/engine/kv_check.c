/* SPDX-License-Identifier: MIT */
#include "kv_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

void kv_expect_code(sombra_err got, sombra_err want, const char *call, const char *file, int line)
{
    if (got == want)
        return;
    print_error("%s\n    gave %s (%s), expected %s\n", call, sombra_err_name(got),
                got ? sombra_err_message() : "", sombra_err_name(want));
    _fail(file, line);
}

uint64_t kv_test_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t kv_test_seed(const char *what)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = hash_u64((uint64_t)now.tv_sec * 1000000007 + (uint64_t)now.tv_nsec) >> 16;
    seed = kv_test_number("SOMBRA_SEED", seed);
    print_message("%s: SOMBRA_SEED=%" PRIu64 "\n", what, seed);
    return seed;
}

/* ---- transactions ------------------------------------------------------------------------ */

struct kv_txn *kv_begin_read(struct kv *kv)
{
    struct kv_txn *txn = NULL;
    expect_ok(kv_begin(kv, &(struct kv_begin_options){ .is_write = false }, &txn));
    assert_non_null(txn);
    assert_false(txn->is_write);
    assert_ptr_equal(txn->kv, kv);
    return txn;
}

struct kv_txn *kv_begin_write(struct kv *kv)
{
    struct kv_txn *txn = NULL;
    struct kv_begin_options options = { .is_write = true, .busy_timeout_ms = 10000 };
    expect_ok(kv_begin(kv, &options, &txn));
    assert_non_null(txn);
    assert_true(txn->is_write);
    assert_ptr_equal(txn->kv, kv);
    return txn;
}

void kv_commit_ok(struct kv_txn *txn)
{
    expect_ok(kv_commit(txn, KV_DURABILITY_STORE));
}

void kv_make_durable(struct kv *kv, unsigned way)
{
    const bool needs_durable = way >= 2;
    const struct kv_begin_options options = { .is_write = way != 2,
                                              .needs_durable = needs_durable,
                                              .busy_timeout_ms = 10000 };
    struct kv_txn *txn;
    assert_true(way < KV_DURABLE_WAYS);
    expect_ok(kv_begin(kv, &options, &txn));
    if (needs_durable)
        kv_abort(txn);
    else
        expect_ok(kv_commit(txn, way == 0 ? KV_FULL : KV_GROUP));
}

/* ---- content ----------------------------------------------------------------------------- */

void kv_put_text(struct kv_txn *txn, const char *key, const char *value)
{
    expect_ok(kv_put(txn, slice_str(key), slice_str(value)));
}

void kv_put_one(struct kv *kv, const char *key, const char *value, enum kv_durability durability)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_text(txn, key, value);
    expect_ok(kv_commit(txn, durability));
}

void kv_delete_text(struct kv_txn *txn, const char *key)
{
    expect_ok(kv_delete(txn, slice_str(key)));
}

/* The next word at *at, moving *at behind it; empty at the end. */
static sombra_slice word_next(const char **at)
{
    const char *from = *at + strspn(*at, " ");
    size_t bytes = strcspn(from, " ");
    *at = from + bytes;
    return slice_of(from, bytes);
}

void kv_put_words(struct kv_txn *txn, const char *words)
{
    for (sombra_slice word = word_next(&words); word.bytes; word = word_next(&words))
        expect_ok(kv_put(txn, word, word));
}

void kv_expect_value(struct kv_txn *txn, sombra_slice key, sombra_slice value)
{
    sombra_slice got;
    expect_ok(kv_get(txn, key, &got));
    assert_int_equal(got.bytes, value.bytes);
    assert_true(slice_equal(got, value));
}

void kv_expect_text(struct kv_txn *txn, const char *key, const char *value)
{
    kv_expect_value(txn, slice_str(key), slice_str(value));
}

void kv_expect_one(struct kv *kv, const char *key, const char *value)
{
    struct kv_txn *txn = kv_begin_read(kv);
    kv_expect_text(txn, key, value);
    kv_abort(txn);
}

void kv_expect_missing(struct kv_txn *txn, const char *key)
{
    sombra_slice got = slice_of("untouched", 9);
    expect_err(SOMBRA_NOT_FOUND, kv_get(txn, slice_str(key), &got));
    assert_int_equal(got.bytes, 9);
}

struct kv_range kv_text_range(const char *low, const char *high)
{
    return (struct kv_range){ slice_str(low ? low : ""), slice_str(high ? high : "") };
}

static void append_word(struct buf *words, bool is_front, sombra_slice prefix, sombra_slice rest)
{
    struct buf joined = BUF_INIT;
    if (!is_front && words->bytes) {
        expect_ok(buf_append_slice(&joined, buf_slice(words)));
        expect_ok(buf_append_u8(&joined, ' '));
    }
    expect_ok(buf_append_slice(&joined, prefix));
    expect_ok(buf_append_slice(&joined, rest));
    if (is_front && words->bytes) {
        expect_ok(buf_append_u8(&joined, ' '));
        expect_ok(buf_append_slice(&joined, buf_slice(words)));
    }
    buf_release(words);
    *words = joined;
}

static void walk_by_moves(struct kv_txn *txn, struct kv_range range, enum kv_motion direction,
                          struct buf *words)
{
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, range, &cursor));
    for (;;) {
        bool found;
        expect_ok(kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found));
        if (!found)
            break;
        assert_true(cursor->is_positioned);
        append_word(words, direction == KV_PREVIOUS, slice_of(NULL, 0), cursor->entry.key);
    }
    kv_cursor_close(cursor);
}

static void walk_by_batches(struct kv_txn *txn, struct kv_range range, enum kv_motion direction,
                            struct buf *words)
{
    struct kv_entry entries[3];
    struct kv_batch batch = { .entries = entries, .capacity = COUNT_OF(entries) };
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, range, &cursor));
    for (;;) {
        expect_ok(kv_cursor_read(cursor, direction, &batch));
        if (batch.count == 0)
            break;
        for (size_t i = 0; i < batch.count; i++)
            append_word(words, direction == KV_PREVIOUS, batch.prefix, entries[i].key);
    }
    kv_cursor_close(cursor);
}

static void expect_joined(struct buf *words, const char *want, const char *how)
{
    expect_ok(buf_append_u8(words, 0));
    if (strcmp((const char *)words->data, want) != 0)
        print_error("walked by %s\n", how);
    assert_string_equal((const char *)words->data, want);
    buf_release(words);
    *words = (struct buf)BUF_INIT;
}

void kv_expect_words(struct kv_txn *txn, const char *low, const char *high, const char *words)
{
    struct kv_range range = kv_text_range(low, high);
    struct buf walked = BUF_INIT;
    walk_by_moves(txn, range, KV_NEXT, &walked);
    expect_joined(&walked, words, "next");
    walk_by_moves(txn, range, KV_PREVIOUS, &walked);
    expect_joined(&walked, words, "previous");
    walk_by_batches(txn, range, KV_NEXT, &walked);
    expect_joined(&walked, words, "batches forward");
    walk_by_batches(txn, range, KV_PREVIOUS, &walked);
    expect_joined(&walked, words, "batches backward");
    uint64_t counted, expected = 0;
    for (const char *at = words; word_next(&at).bytes;)
        expected++;
    expect_ok(kv_count(txn, range, 0, &counted));
    assert_int_equal(counted, expected);
}

sombra_slice kv_number_key(uint64_t number, uint8_t to[8])
{
    put_be64(to, number);
    return slice_of(to, 8);
}

sombra_slice kv_pattern(struct buf *buf, uint64_t seed, size_t bytes)
{
    struct random random;
    random_seed(&random, hash_u64(seed + 1));
    buf_reset(buf);
    uint8_t *at;
    expect_ok(buf_extend(buf, u64_align_up(bytes, 8), &at));
    for (size_t i = 0; i < bytes; i += 8)
        put_le64(at + i, random_u64(&random));
    buf->bytes = bytes;
    return buf_slice(buf);
}

void kv_put_numbers(struct kv_txn *txn, uint64_t first, uint64_t last, size_t value_bytes,
                    uint64_t salt)
{
    struct buf value = BUF_INIT;
    uint8_t key[8];
    for (uint64_t n = first; n < last; n++) {
        kv_pattern(&value, n + salt, value_bytes);
        expect_ok(kv_put(txn, kv_number_key(n, key), buf_slice(&value)));
    }
    buf_release(&value);
}

uint64_t kv_entry_digest(uint64_t digest, sombra_slice key, sombra_slice value)
{
    digest = hash_u64(digest + key.bytes * 3 + value.bytes * 5 + 1);
    digest = hash_bytes(key.data, key.bytes, digest);
    return value.bytes ? hash_bytes(value.data, value.bytes, digest) : digest;
}

uint64_t kv_digest(struct kv_txn *txn, struct kv_range range, uint64_t *out_entries)
{
    struct kv_cursor *cursor;
    expect_ok(kv_cursor_open(txn, range, &cursor));
    uint64_t digest = 0, entries = 0;
    for (;;) {
        bool found;
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (!found)
            break;
        digest = kv_entry_digest(digest, cursor->entry.key, cursor->entry.value);
        entries++;
    }
    kv_cursor_close(cursor);
    if (out_entries)
        *out_entries = entries;
    return digest;
}

uint64_t kv_committed_digest(struct kv *kv, uint64_t *out_entries)
{
    uint64_t entries;
    struct kv_txn *txn = kv_begin_read(kv);
    uint64_t digest = kv_digest(txn, (struct kv_range){ 0 }, &entries);
    kv_abort(txn);
    if (out_entries)
        *out_entries = entries;
    return digest;
}

static void print_problem(void *context, const struct kv_problem *problem)
{
    (void)context;
    print_error("verify: page %" PRIu64 ": %s: %s\n", problem->page, sombra_err_name(problem->code),
                problem->message);
}

void kv_expect_sound(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_VERIFY, .problem = print_problem };
    expect_ok(kv_maintain(kv, &job));
    assert_int_equal(job.problems, 0);
}
