/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"

#include <inttypes.h>

static sombra_bucket_id bucket_new(struct fixture *f, const char *name)
{
    sombra_bucket_id bucket;
    const sombra_bucket_options options = { .create = true };
    assert_ok(graph_bucket_open(&f->txn, text(name), &options, &bucket));
    return bucket;
}

static sombra_slice integer_value(struct fixture *f, int64_t integer)
{
    sombra_slice encoded;
    sombra_value_builder_reset(f->builder);
    sombra_value_push_integer(f->builder, integer);
    assert_ok(sombra_value_finish(f->builder, &encoded));
    return encoded;
}

static int64_t integer_of(sombra_slice encoded)
{
    sombra_value value;
    assert_ok(sombra_value_decode(encoded, &value));
    assert_int_equal(value.kind, SOMBRA_INTEGER);
    return value.as.integer;
}

static sombra_key skey(const char *t)
{
    return sombra_key_string(t, strlen(t));
}

static void put(struct fixture *f, sombra_bucket_id bucket, sombra_key key, int64_t value)
{
    assert_ok(graph_bucket_put(&f->txn, bucket, &key, integer_value(f, value)));
}

/* The keys of a scan joined by spaces. */
static const char *scan_text(struct fixture *f, sombra_bucket_id bucket, sombra_key_range range)
{
    static char out[4096];
    struct graph_scan scan = { 0 };
    size_t used = 0;
    out[0] = 0;
    assert_ok(graph_scan_open(&scan, &f->txn, bucket, &range));
    for (;;) {
        sombra_key key;
        sombra_slice value;
        bool found;
        assert_ok(graph_scan_next(&scan, &key, &value, &found));
        if (!found)
            break;
        if (key.is_integer)
            used += (size_t)snprintf(out + used, sizeof out - used, "%s%" PRId64, used ? " " : "",
                                     key.integer);
        else
            used += (size_t)snprintf(out + used, sizeof out - used, "%s'%.*s'", used ? " " : "",
                                     (int)key.string.bytes, (const char *)key.string.data);
    }
    graph_scan_close(&scan);
    graph_scan_release(&scan);
    return out;
}

static void test_bucket__gets_what_was_put(void **state)
{
    struct fixture *f = *state;
    sombra_slice value;
    bool deleted;
    begin_write(f);
    sombra_bucket_id bucket = bucket_new(f, "sessions");
    put(f, bucket, skey("u:1"), 7);
    put(f, bucket, sombra_key_integer(42), 8);
    put(f, bucket, skey("42"), 9);
    put(f, bucket, skey(""), 10);
    put(f, bucket, skey("u:1"), 11);
    commit(f);
    begin_write(f);
    sombra_key key = skey("u:1");
    assert_ok(graph_bucket_get(&f->txn, bucket, &key, &value));
    assert_int_equal(integer_of(value), 11);
    key = sombra_key_integer(42);
    assert_ok(graph_bucket_get(&f->txn, bucket, &key, &value));
    assert_int_equal(integer_of(value), 8);
    key = skey("");
    assert_ok(graph_bucket_get(&f->txn, bucket, &key, &value));
    assert_int_equal(integer_of(value), 10);
    assert_ok(graph_bucket_delete(&f->txn, bucket, &key, &deleted));
    assert_true(deleted);
    assert_ok(graph_bucket_delete(&f->txn, bucket, &key, &deleted));
    assert_false(deleted);
    assert_err(graph_bucket_get(&f->txn, bucket, &key, &value), SOMBRA_NOT_FOUND);
    assert_sound(f);
}

static void test_bucket__integers_come_before_strings_in_numeric_order(void **state)
{
    struct fixture *f = *state;
    static const int64_t integers[] = { 0,         1,      -1,     255,           256,
                                        -256,      -257,   65535,  65536,         INT64_MAX,
                                        INT64_MIN, -65536, -65537, INT64_MIN + 1, 4294967296 };
    begin_write(f);
    sombra_bucket_id bucket = bucket_new(f, "b"), neighbour = bucket_new(f, "c");
    put(f, neighbour, skey("not mine"), 0);
    put(f, bucket, skey("b"), 0);
    put(f, bucket, skey("aa"), 0);
    put(f, bucket, skey("a"), 0);
    for (size_t i = 0; i < COUNT_OF(integers); i++)
        put(f, bucket, sombra_key_integer(integers[i]), 0);
    assert_string_equal(scan_text(f, bucket, (sombra_key_range){ 0 }),
                        "-9223372036854775808 -9223372036854775807 -65537 -65536 -257 -256 -1 0 1 "
                        "255 256 65535 65536 4294967296 9223372036854775807 'a' 'aa' 'b'");
    assert_sound(f);
}

static void test_bucket__ranges_bound_scans_counts_and_deletes(void **state)
{
    struct fixture *f = *state;
    begin_write(f);
    sombra_bucket_id b = bucket_new(f, "b");
    for (int i = -3; i <= 3; i++)
        put(f, b, sombra_key_integer(i), i);
    static const char *const strings[] = { "u", "u:", "u:1", "u:2", "u;", "v" };
    for (size_t i = 0; i < COUNT_OF(strings); i++)
        put(f, b, skey(strings[i]), 0);
    sombra_key one = sombra_key_integer(1), minus = sombra_key_integer(-1), u1 = skey("u:1");
    const struct {
        sombra_key_range range;
        const char *want;
        uint64_t count;
    } cases[] = {
        { { .ge = &minus, .le = &one }, "-1 0 1", 3 },
        { { .gt = &minus, .lt = &one }, "0", 1 },
        { { .gt = &one, .le = &u1 }, "2 3 'u' 'u:' 'u:1'", 5 },
        { { .ge = &one, .lt = &minus }, "", 0 },
        { { .gt = &one, .lt = &one }, "", 0 },
        { { .ge = &one, .le = &one }, "1", 1 },
        { { .prefix = slice_of("u:", 2) }, "'u:' 'u:1' 'u:2'", 3 },
        { { .prefix = slice_of("u:", 2), .gt = &u1 }, "'u:2'", 1 },
        { { .prefix = slice_of("u:", 2), .reverse = true }, "'u:2' 'u:1' 'u:'", 3 },
        { { .prefix = slice_of("u:", 2), .le = &one }, "", 0 },
        { { .prefix = slice_of("\xff\xff", 2) }, "", 0 },
        { { .limit = 2 }, "-3 -2", 2 },
        { { .limit = 2, .reverse = true }, "'v' 'u;'", 2 },
        { { .le = &minus, .reverse = true }, "-1 -2 -3", 3 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t count;
        assert_string_equal(scan_text(f, b, cases[i].range), cases[i].want);
        assert_ok(graph_bucket_count(&f->txn, b, &cases[i].range, &count));
        assert_int_equal(count, cases[i].count);
    }
    uint64_t deleted;
    const sombra_key_range both = { .ge = &one, .gt = &one };
    assert_err(graph_bucket_count(&f->txn, b, &both, &deleted), SOMBRA_INVALID);
    const sombra_key_range limited = { .limit = 1 };
    assert_err(graph_bucket_delete_range(&f->txn, b, &limited, &deleted), SOMBRA_INVALID);
    const sombra_key_range from_one = { .ge = &one, .lt = &u1 };
    assert_ok(graph_bucket_delete_range(&f->txn, b, &from_one, &deleted));
    assert_int_equal(deleted, 5);
    assert_string_equal(scan_text(f, b, (sombra_key_range){ 0 }),
                        "-3 -2 -1 0 'u:1' 'u:2' 'u;' 'v'");
}

static void test_bucket__keys_too_long_and_values_not_encoded_are_refused(void **state)
{
    struct fixture *f = *state;
    char bytes[SOMBRA_KEY_BYTES_MAX + 1];
    memset(bytes, 0xff, sizeof bytes);
    begin_write(f);
    sombra_bucket_id b = bucket_new(f, "b");
    sombra_key key = sombra_key_string(bytes, sizeof bytes);
    assert_err(graph_bucket_put(&f->txn, b, &key, integer_value(f, 1)), SOMBRA_LIMIT);
    key.string.bytes--;
    assert_ok(graph_bucket_put(&f->txn, b, &key, integer_value(f, 1)));
    assert_err(graph_bucket_put(&f->txn, b, &key, slice_of("\xee", 1)), SOMBRA_INVALID);
    assert_err(graph_bucket_put(&f->txn, b, &key, NOTHING), SOMBRA_INVALID);
    const sombra_key_range whole = { .ge = &key, .le = &key, .prefix = key.string };
    uint64_t count;
    assert_ok(graph_bucket_count(&f->txn, b, &whole, &count));
    assert_int_equal(count, 1);
    assert_sound(f);
}

static void test_bucket__entries_may_change_while_they_are_scanned(void **state)
{
    struct fixture *f = *state;
    for (int reverse = 0; reverse < 2; reverse++) {
        struct graph_scan scan = { 0 };
        int seen = 0;
        begin_write(f);
        sombra_bucket_id b = bucket_new(f, "b");
        for (int i = 0; i < 300; i++)
            put(f, b, sombra_key_integer(i * 10), i);
        const sombra_key_range range = { .reverse = reverse };
        assert_ok(graph_scan_open(&scan, &f->txn, b, &range));
        for (;;) {
            sombra_key key;
            sombra_slice value;
            bool found;
            assert_ok(graph_scan_next(&scan, &key, &value, &found));
            if (!found)
                break;
            assert_int_equal(key.integer, reverse ? 2990 - seen / 2 * 10 + (seen % 2 ? -1 : 0)
                                                  : seen / 2 * 10 + (seen % 2 ? 1 : 0));
            bool is_old = key.integer % 10 == 0;
            assert_ok(graph_bucket_delete(&f->txn, b, &key, NULL));
            if (is_old) /* one more, right where the scan goes next */
                put(f, b, sombra_key_integer(key.integer + (reverse ? -1 : 1)), 0);
            seen++;
        }
        assert_int_equal(seen, 600);
        graph_scan_close(&scan);
        graph_scan_release(&scan);
        rollback(f);
    }
}

static void test_bucket__names_are_listed_made_and_dropped(void **state)
{
    struct fixture *f = *state;
    sombra_bucket_id bucket;
    sombra_slice name = NOTHING, value;
    bool found;
    begin_write(f);
    const sombra_bucket_options none = { 0 }, fresh = { .must_create = true };
    const sombra_bucket_options internal = { .create = true, .is_internal = true };
    assert_err(graph_bucket_open(&f->txn, text("b"), &none, &bucket), SOMBRA_NOT_FOUND);
    assert_ok(graph_bucket_open(&f->txn, text("b"), &fresh, &bucket));
    assert_err(graph_bucket_open(&f->txn, text("b"), &fresh, &bucket), SOMBRA_EXISTS);
    assert_err(graph_bucket_open(&f->txn, text("sombra.x"), &fresh, &bucket), SOMBRA_INVALID);
    assert_err(graph_bucket_open(&f->txn, text("x"), &internal, &bucket), SOMBRA_INVALID);
    assert_ok(graph_bucket_open(&f->txn, text("sombra.x"), &internal, &bucket));
    assert_err(graph_bucket_open(&f->txn, NOTHING, &fresh, &bucket), SOMBRA_INVALID);
    sombra_bucket_id a = bucket_new(f, "a");
    put(f, a, skey("k"), 1);
    char listed[64] = "";
    for (;;) {
        char after[32];
        snprintf(after, sizeof after, "%.*s", (int)name.bytes, (const char *)name.data);
        assert_ok(graph_bucket_next(&f->txn, text(after), &name, &bucket, &found));
        if (!found)
            break;
        strncat(listed, (const char *)name.data, name.bytes);
        strcat(listed, " ");
    }
    assert_string_equal(listed, "a b sombra.x ");
    assert_ok(graph_bucket_drop(&f->txn, a));
    sombra_key key = skey("k");
    assert_err(graph_bucket_get(&f->txn, a, &key, &value), SOMBRA_NOT_FOUND);
    assert_err(graph_bucket_put(&f->txn, a, &key, integer_value(f, 1)), SOMBRA_NOT_FOUND);
    assert_err(graph_bucket_drop(&f->txn, a), SOMBRA_NOT_FOUND);
    assert_true(bucket_new(f, "a") > a);
    assert_sound(f);
    commit(f);
    begin_read(f);
    assert_err(graph_bucket_open(&f->txn, text("new"), &fresh, &bucket), SOMBRA_READONLY);
    assert_sound(f);
}

static void test_bucket__one_made_before_a_rollback_is_gone_after_it(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    begin_write(f);
    assert_ok(graph_txn_savepoint(&f->txn, &mark));
    sombra_bucket_id b = bucket_new(f, "b");
    sombra_key key = skey("k");
    put(f, b, key, 1);
    assert_ok(graph_txn_rollback_to(&f->txn, mark));
    assert_err(graph_bucket_put(&f->txn, b, &key, integer_value(f, 1)), SOMBRA_NOT_FOUND);
    assert_true(bucket_new(f, "b") > b);
    assert_sound(f);
}

static void test_bucket__many_keys_are_read_in_one_sweep(void **state)
{
    struct fixture *f = *state;
    const sombra_key keys[] = { skey("b"), sombra_key_integer(7),  skey("missing"),      skey("b"),
                                skey(""),  sombra_key_integer(-7), sombra_key_integer(8) };
    sombra_slice values[COUNT_OF(keys)];
    begin_write(f);
    sombra_bucket_id before = bucket_new(f, "before"), bucket = bucket_new(f, "things");
    sombra_bucket_id after = bucket_new(f, "after");
    put(f, before, skey("missing"), 99);
    put(f, after, sombra_key_integer(8), 99);
    put(f, bucket, skey("b"), 1);
    put(f, bucket, sombra_key_integer(7), 2);
    put(f, bucket, skey(""), 3);
    put(f, bucket, sombra_key_integer(-7), 4);
    assert_ok(graph_bucket_get_many(&f->txn, bucket, keys, COUNT_OF(keys), values));
    const int64_t want[COUNT_OF(keys)] = { 1, 2, 0, 1, 3, 4, 0 };
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        if (want[i])
            assert_int_equal(integer_of(values[i]), want[i]);
        else
            assert_null(values[i].data);
    }
    assert_ok(graph_bucket_get_many(&f->txn, bucket, keys, 0, NULL));
    assert_err(graph_bucket_get_many(&f->txn, bucket + 100, keys, 1, values), SOMBRA_NOT_FOUND);
    commit(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        TEST(test_bucket__gets_what_was_put),
        TEST(test_bucket__many_keys_are_read_in_one_sweep),
        TEST(test_bucket__integers_come_before_strings_in_numeric_order),
        TEST(test_bucket__ranges_bound_scans_counts_and_deletes),
        TEST(test_bucket__keys_too_long_and_values_not_encoded_are_refused),
        TEST(test_bucket__entries_may_change_while_they_are_scanned),
        TEST(test_bucket__names_are_listed_made_and_dropped),
        TEST(test_bucket__one_made_before_a_rollback_is_gone_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
