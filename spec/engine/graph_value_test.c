/* SPDX-License-Identifier: MIT */
#include "base/base.h"
#include "graph/value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static sombra_value_builder *b;

static int setup(void **state)
{
    (void)state;
    return sombra_value_builder_new(&b) != SOMBRA_OK;
}

static int teardown(void **state)
{
    (void)state;
    sombra_value_builder_free(b);
    return 0;
}

static sombra_slice finish(void)
{
    sombra_slice encoded;
    assert_int_equal(sombra_value_finish(b, &encoded), SOMBRA_OK);
    assert_int_equal(sombra_value_validate(encoded), SOMBRA_OK);
    return encoded;
}

static sombra_value decode(sombra_slice encoded)
{
    sombra_value value;
    assert_int_equal(sombra_value_decode(encoded, &value), SOMBRA_OK);
    return value;
}

static void test_value__integers_survive_at_every_width(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int delta = -2; delta <= 2; delta++) {
            int64_t up = (int64_t)((UINT64_C(1) << shift) + (uint64_t)(int64_t)delta);
            int64_t down = (int64_t)(0 - (uint64_t)up);
            sombra_value_builder_reset(b);
            sombra_value_push_integer(b, up);
            sombra_value at = decode(finish());
            assert_int_equal(at.kind, SOMBRA_INTEGER);
            assert_true(at.as.integer == up);
            sombra_value_builder_reset(b);
            sombra_value_push_integer(b, down);
            assert_true(decode(finish()).as.integer == down);
        }
    }
    sombra_value_builder_reset(b);
    sombra_value_push_integer(b, 0);
    assert_int_equal(finish().bytes, 1);
    sombra_value_builder_reset(b);
    sombra_value_push_integer(b, -128);
    assert_int_equal(finish().bytes, 2);
    static const struct {
        int64_t value;
        size_t bytes;
    } lengths[] = { { 127, 2 },  { 128, 2 },  { 2024, 2 },  { 8191, 2 },
                    { 8192, 3 }, { -129, 3 }, { 32767, 3 }, { 32768, 4 } };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        sombra_value_builder_reset(b);
        sombra_value_push_integer(b, lengths[i].value);
        assert_int_equal(finish().bytes, lengths[i].bytes);
        assert_int_equal(decode(finish()).as.integer, lengths[i].value);
    }
    sombra_value_builder_reset(b);
    sombra_value_push_integer(b, 2024);
    assert_memory_equal(finish().data, "\x67\xe8", 2);
}

static void test_value__floats_survive_bit_for_bit(void **state)
{
    (void)state;
    uint64_t nan_bits = UINT64_C(0x7ff8dead00000001);
    double payload;
    memcpy(&payload, &nan_bits, sizeof payload);
    const double cases[] = { 0.0,   -0.0,    1.0,      0.5,       0.1,
                             1e300, -1e-310, INFINITY, -INFINITY, 3.4028234663852886e38,
                             1e39,  payload };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        sombra_value_builder_reset(b);
        sombra_value_push_float(b, cases[i]);
        sombra_value value = decode(finish());
        assert_int_equal(value.kind, SOMBRA_FLOAT);
        assert_memory_equal(&value.as.real, &cases[i], sizeof cases[i]);
    }
    sombra_value_builder_reset(b);
    sombra_value_push_float(b, 0x1.8p-100);
    assert_int_equal(finish().bytes, 5);
}

static void assert_float(double value)
{
    sombra_value_builder_reset(b);
    sombra_value_push_float(b, value);
    sombra_slice encoded = finish();
    assert_true(encoded.bytes <= 9);
    sombra_value read = decode(encoded);
    assert_int_equal(read.kind, SOMBRA_FLOAT);
    assert_memory_equal(&read.as.real, &value, sizeof value);
}

static void test_value__floats_of_few_digits_are_short(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *bytes;
        size_t count;
    } cases[] = {
        { 0, "\x80", 1 },
        { 3, "\x81\x03", 2 },
        { -1, "\x81\xff", 2 },
        { 0.37, "\x91\x25", 2 },
        { -0.37, "\x91\xdb", 2 },
        { 1.5, "\x89\x0f", 2 },
        { 1.234, "\x9a\xd2\x04", 3 },
        { 1e-15, "\xf9\x01", 2 },
        { 123456.789, "\x9c\x15\xcd\x5b\x07", 5 },
        { 70368744177663, "\x86\xff\xff\xff\xff\xff\x3f", 7 },
        { 1099511627776, "\x24\x00\x00\x80\x53", 5 }, /* 2^40: shorter so */
        { -0.0, "\x24\x00\x00\x00\x80", 5 },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        sombra_value_builder_reset(b);
        sombra_value_push_float(b, cases[i].value);
        assert_int_equal(finish().bytes, cases[i].count);
        assert_memory_equal(finish().data, cases[i].bytes, cases[i].count);
        assert_float(cases[i].value);
    }
}

static void test_value__older_forms_of_numbers_are_read_and_made_new(void **state)
{
    (void)state;
    static const uint8_t whole[] = { 0x28, 0xae, 0x47, 0xe1, 0x7a, 0x14, 0xae, 0xd7, 0x3f };
    static const uint8_t half[] = { 0x24, 0, 0, 0, 0x3f };
    static const uint8_t nested[] = { 0x41, 15,   3, 0x11, 7, 0x51, 7,    1, 1,
                                      'k',  0x24, 0, 0,    0, 0x3f, 0x41, 0, 0 };
    static const uint8_t nested_new[] = { 0x41, 12,  3,    0x11, 7,    0x51, 4, 1,
                                          1,    'k', 0x89, 5,    0x41, 0,    0 };
    sombra_slice out;
    assert_true(decode(slice_of(half, sizeof half)).as.real == 0.5);
    assert_int_equal(value_canonical(b, slice_of(half, sizeof half), &out), SOMBRA_OK);
    assert_true(slice_equal(out, slice_of("\x89\x05", 2)));
    assert_true(decode(slice_of("\x12\xe8\x07", 3)).as.integer == 2024);
    assert_int_equal(value_canonical(b, slice_of("\x12\xe8\x07", 3), &out), SOMBRA_OK);
    assert_true(slice_equal(out, slice_of("\x67\xe8", 2)));
    assert_true(decode(slice_of(whole, sizeof whole)).as.real == 0.37);
    assert_int_equal(value_canonical(b, slice_of(whole, sizeof whole), &out), SOMBRA_OK);
    assert_true(slice_equal(out, slice_of("\x91\x25", 2)));
    sombra_slice older = slice_of(nested, sizeof nested);
    assert_int_equal(value_canonical(b, older, &out), SOMBRA_OK);
    assert_true(slice_equal(out, slice_of(nested_new, sizeof nested_new)));
    /* What has no such float stays where it is; damage is told. */
    assert_int_equal(value_canonical(b, slice_of(nested_new, sizeof nested_new), &older),
                     SOMBRA_OK);
    assert_ptr_equal(older.data, nested_new);
    assert_int_equal(value_canonical(b, slice_of("\x41\x01\x01\x03", 4), &out), SOMBRA_CORRUPT);
}

static void test_value__an_integer_is_not_a_float(void **state)
{
    (void)state;
    sombra_value_push_integer(b, 1);
    assert_int_equal(decode(finish()).kind, SOMBRA_INTEGER);
    sombra_value_builder_reset(b);
    sombra_value_push_float(b, 1);
    assert_int_equal(decode(finish()).kind, SOMBRA_FLOAT);
}

static void test_value__strings_of_all_lengths_survive(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0, 1, 14, 15, 127, 128, 16383, 16384, 100000 };
    char *bytes = malloc(100000);
    for (size_t i = 0; i < 100000; i++)
        bytes[i] = (char)(i * 31);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        sombra_value_builder_reset(b);
        sombra_value_push_string(b, bytes, lengths[i]);
        sombra_value value = decode(finish());
        assert_int_equal(value.kind, SOMBRA_STRING);
        assert_int_equal(value.as.string.bytes, lengths[i]);
        if (lengths[i])
            assert_memory_equal(value.as.string.data, bytes, lengths[i]);
    }
    free(bytes);
}

static void test_value__empty_list_and_empty_map_differ(void **state)
{
    (void)state;
    sombra_value_begin_list(b);
    sombra_value_end_list(b);
    assert_int_equal(decode(finish()).kind, SOMBRA_LIST);
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    sombra_value_end_map(b);
    assert_int_equal(decode(finish()).kind, SOMBRA_MAP);
}

static void push_keys(const char *keys)
{
    sombra_value_begin_map(b);
    for (; *keys; keys++) {
        sombra_value_push_key(b, keys, 1);
        sombra_value_push_integer(b, *keys);
    }
    sombra_value_end_map(b);
}

static void test_value__a_map_has_the_same_bytes_in_any_order(void **state)
{
    (void)state;
    uint8_t first[100];
    push_keys("abcdefg");
    sombra_slice encoded = finish();
    size_t bytes = encoded.bytes;
    memcpy(first, encoded.data, bytes);
    sombra_value_builder_reset(b);
    push_keys("gbafdec");
    encoded = finish();
    assert_int_equal(encoded.bytes, bytes);
    assert_memory_equal(encoded.data, first, bytes);
    sombra_value map = decode(encoded), member;
    assert_int_equal(map.count, 7);
    assert_int_equal(sombra_value_member(&map, slice_str("f"), &member), SOMBRA_OK);
    assert_int_equal(member.as.integer, 'f');
    assert_int_equal(sombra_value_member(&map, slice_str("x"), &member), SOMBRA_NOT_FOUND);
}

static void test_value__a_key_given_twice_is_refused(void **state)
{
    (void)state;
    sombra_slice unused;
    push_keys("abca");
    assert_int_equal(sombra_value_finish(b, &unused), SOMBRA_INVALID);
    assert_non_null(strstr(sombra_err_message(), "\"a\" twice"));
    sombra_value_builder_reset(b);
    push_keys("aa");
    assert_int_equal(sombra_value_finish(b, &unused), SOMBRA_INVALID);
}

static void test_value__the_first_failure_sticks_until_reset(void **state)
{
    (void)state;
    sombra_slice unused;
    assert_int_equal(sombra_value_push_key(b, "k", 1), SOMBRA_INVALID);
    assert_int_equal(sombra_value_push_integer(b, 1), SOMBRA_INVALID);
    assert_int_equal(sombra_value_finish(b, &unused), SOMBRA_INVALID);
    assert_non_null(strstr(sombra_err_message(), "no key can stand here"));
    sombra_value_builder_reset(b);
    sombra_value_push_integer(b, 1);
    assert_int_equal(decode(finish()).as.integer, 1);
}

static void test_value__misuse_of_the_builder_is_refused(void **state)
{
    (void)state;
    sombra_slice unused;
    assert_int_equal(sombra_value_finish(b, &unused), SOMBRA_INVALID);
    sombra_value_push_null(b);
    assert_int_equal(sombra_value_push_null(b), SOMBRA_INVALID);
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    assert_int_equal(sombra_value_push_integer(b, 1), SOMBRA_INVALID);
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    assert_int_equal(sombra_value_end_list(b), SOMBRA_INVALID);
    sombra_value_builder_reset(b);
    sombra_value_begin_map(b);
    sombra_value_push_key(b, "k", 1);
    assert_int_equal(sombra_value_end_map(b), SOMBRA_INVALID);
    sombra_value_builder_reset(b);
    sombra_value_begin_list(b);
    assert_int_equal(sombra_value_finish(b, &unused), SOMBRA_INVALID);
}

static void test_value__nesting_ends_at_64(void **state)
{
    (void)state;
    for (int i = 0; i < SOMBRA_VALUE_DEPTH_MAX; i++)
        assert_int_equal(sombra_value_begin_list(b), SOMBRA_OK);
    sombra_value_push_integer(b, 7);
    for (int i = 0; i < SOMBRA_VALUE_DEPTH_MAX; i++)
        assert_int_equal(sombra_value_end_list(b), SOMBRA_OK);
    sombra_slice deepest = finish();
    sombra_value_builder *other;
    assert_int_equal(sombra_value_builder_new(&other), SOMBRA_OK);
    assert_int_equal(sombra_value_push_encoded(other, deepest), SOMBRA_OK);
    sombra_value_builder_reset(other);
    sombra_value_begin_list(other);
    assert_int_equal(sombra_value_push_encoded(other, deepest), SOMBRA_LIMIT);
    sombra_value_builder_free(other);
    sombra_value_builder_reset(b);
    for (int i = 0; i < SOMBRA_VALUE_DEPTH_MAX; i++)
        assert_int_equal(sombra_value_begin_map(b), SOMBRA_OK), sombra_value_push_key(b, "k", 1);
    assert_int_equal(sombra_value_begin_map(b), SOMBRA_LIMIT);
}

/* Bytes nested 65 deep are damage, whatever the lengths say. */
static void test_value__deeper_bytes_are_corrupt(void **state)
{
    (void)state;
    uint8_t bytes[3 * 70];
    size_t levels = 65;
    for (size_t i = 0; i < levels; i++) {
        bytes[3 * i] = 0x41;
        bytes[3 * i + 1] = (uint8_t)(3 * (levels - 1 - i));
        bytes[3 * i + 2] = i + 1 < levels;
    }
    assert_int_equal(sombra_value_validate(slice_of(bytes, 3 * levels)), SOMBRA_CORRUPT);
    assert_int_equal(sombra_value_validate(slice_of(bytes + 3, 3 * (levels - 1))), SOMBRA_OK);
}

static void test_value__bodies_longer_than_255_bytes_survive(void **state)
{
    (void)state;
    sombra_value_begin_map(b);
    for (int i = 999; i >= 0; i--) {
        char key[16];
        int bytes = snprintf(key, sizeof key, "key%03d", i);
        sombra_value_push_key(b, key, (size_t)bytes);
        sombra_value_begin_list(b);
        for (int n = 0; n < i % 7 * 50; n++)
            sombra_value_push_integer(b, n * i);
        sombra_value_end_list(b);
    }
    sombra_value_end_map(b);
    sombra_value map = decode(finish()), list, element;
    sombra_value_cursor entries, elements;
    sombra_value_enter(&map, &entries);
    bool found;
    assert_int_equal(map.count, 1000);
    for (int i = 0; i < 1000; i++) {
        sombra_slice key;
        char want[16];
        snprintf(want, sizeof want, "key%03d", i);
        assert_int_equal(sombra_value_next(&entries, &key, &list, &found), SOMBRA_OK);
        assert_true(found && slice_equal(key, slice_str(want)));
        assert_int_equal(list.count, i % 7 * 50);
        sombra_value_enter(&list, &elements);
        for (int n = 0; n < i % 7 * 50; n++) {
            assert_int_equal(sombra_value_next(&elements, NULL, &element, &found), SOMBRA_OK);
            assert_true(found && element.as.integer == n * i);
        }
        assert_int_equal(sombra_value_next(&elements, NULL, &element, &found), SOMBRA_OK);
        assert_false(found);
    }
    assert_int_equal(sombra_value_next(&entries, NULL, &list, &found), SOMBRA_OK);
    assert_false(found);
}

static void test_value__hostile_bytes_are_corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } cases[] = {
        { "", 0 },           /* nothing */
        { "\x03", 1 },       /* unknown tag */
        { "\x19", 1 },       /* integer of 9 bytes */
        { "\x12\x01", 2 },   /* cut integer */
        { "\x28\0\0\0", 4 }, /* cut float */
        { "\x92\x01", 2 },   /* cut decimal */
        { "\x67", 1 },       /* cut short integer */
        { "\x87\0\0\0\0\0\0\0", 8 },
        { "\xff\0\0\0\0\0\0\0", 8 }, /* decimals of 7 bytes */
        { "\x33"
          "ab",
          3 },                                                      /* cut string */
        { "\x3f\xff\xff\xff\xff\x0f", 6 },                          /* string of 4 GiB */
        { "\x3f\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12 }, /* length over 64 bits */
        { "\0\0", 2 },                                              /* bytes behind the value */
        { "\x41\x05\x01\0", 4 },                                    /* body beyond the end */
        { "\x41\x01\x02\0", 4 },                                    /* more elements than bytes */
        { "\x41\x02\x01\0\0", 5 }, /* bytes behind the last element */
        { "\x44\xff\xff\xff\xff\0\0\0\0", 9 },
        { "\x51\x04\x02\0\0\0\0", 7 }, /* the same key twice */
        { "\x51\x06\x02\x01"
          "b\0\x01"
          "a\0",
          9 },                       /* keys out of order */
        { "\x51\x02\x01\x09\0", 5 }, /* key beyond the body */
        { "\x51\x01\x01\0", 4 },     /* an entry needs two bytes */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        sombra_slice bytes = slice_of(cases[i].bytes, cases[i].count);
        if (sombra_value_validate(bytes) != SOMBRA_CORRUPT)
            fail_msg("case %zu was accepted", i);
    }
}

/* ---- random ------------------------------------------------------------------------------ */

static void push_random(struct random *random, unsigned depth)
{
    char bytes[40];
    unsigned kind = (unsigned)random_below(random, depth < 4 ? 7 : 5);
    if (kind == 0)
        sombra_value_push_null(b);
    if (kind == 1)
        sombra_value_push_boolean(b, random_below(random, 2));
    if (kind == 2)
        sombra_value_push_integer(b, (int64_t)(random_u64(random) >> random_below(random, 64)));
    if (kind == 3)
        sombra_value_push_float(b, (double)random_below(random, 1000) / (depth % 2 ? 3 : 100));
    if (kind == 4)
        sombra_value_push_string(b, bytes, random_below(random, sizeof bytes));
    if (kind == 5) {
        sombra_value_begin_list(b);
        for (uint64_t n = random_below(random, 8); n > 0; n--)
            push_random(random, depth + 1);
        sombra_value_end_list(b);
    }
    if (kind == 6) {
        sombra_value_begin_map(b);
        uint64_t step = 1 + random_below(random, 5), key = random_below(random, 31);
        for (uint64_t n = random_below(random, 8); n > 0; n--) {
            key = (key + step) % 31; /* prime: no key comes twice */
            sombra_value_push_key(b, &key, 1);
            push_random(random, depth + 1);
        }
        sombra_value_end_map(b);
    }
}

/* Writes what a reader sees with a second builder. */
static void copy(sombra_value_builder *to, const sombra_value *value)
{
    sombra_value_cursor cursor;
    sombra_value element;
    sombra_slice key;
    bool found;
    switch (value->kind) {
    case SOMBRA_NULL:
        sombra_value_push_null(to);
        return;
    case SOMBRA_BOOLEAN:
        sombra_value_push_boolean(to, value->as.boolean);
        return;
    case SOMBRA_INTEGER:
        sombra_value_push_integer(to, value->as.integer);
        return;
    case SOMBRA_FLOAT:
        sombra_value_push_float(to, value->as.real);
        return;
    case SOMBRA_STRING:
        sombra_value_push_string(to, value->as.string.data, value->as.string.bytes);
        return;
    default:
        break;
    }
    bool is_map = value->kind == SOMBRA_MAP;
    if (is_map)
        sombra_value_begin_map(to);
    else
        sombra_value_begin_list(to);
    sombra_value_enter(value, &cursor);
    for (;;) {
        assert_int_equal(sombra_value_next(&cursor, &key, &element, &found), SOMBRA_OK);
        if (!found)
            break;
        if (is_map)
            sombra_value_push_key(to, key.data, key.bytes);
        copy(to, &element);
    }
    if (is_map)
        sombra_value_end_map(to);
    else
        sombra_value_end_list(to);
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("seed %llu (SOMBRA_SEED repeats it)\n", (unsigned long long)seed);
    return seed;
}

static void test_value__what_is_read_builds_the_same_bytes(void **state)
{
    (void)state;
    struct random random;
    sombra_value_builder *other;
    random_seed(&random, seed_of_run());
    assert_int_equal(sombra_value_builder_new(&other), SOMBRA_OK);
    for (int i = 0; i < 3000; i++) {
        sombra_slice again;
        sombra_value_builder_reset(b);
        push_random(&random, 0);
        sombra_slice encoded = finish();
        sombra_value value = decode(encoded);
        sombra_value_builder_reset(other);
        copy(other, &value);
        assert_int_equal(sombra_value_finish(other, &again), SOMBRA_OK);
        assert_true(slice_equal(encoded, again));
    }
    sombra_value_builder_free(other);
}

static double neighbour_of(double value, uint64_t step)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits += step;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* Decimals of all lengths, their neighbours, which have none as short, and any bits at all. */
static void test_value__any_float_survives_bit_for_bit(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, seed_of_run());
    for (int i = 0; i < 30000; i++) {
        int64_t number = (int64_t)(random_u64(&random) >> random_below(&random, 64));
        double power = value_powers_of_ten[random_below(&random, VALUE_DECIMAL_DIGITS_MAX + 1)];
        double decimal = (double)(i % 2 ? number : -number) / power;
        uint64_t bits = random_u64(&random);
        double any;
        memcpy(&any, &bits, sizeof any);
        assert_float(decimal);
        assert_float(neighbour_of(decimal, 1));
        assert_float(neighbour_of(decimal, UINT64_MAX));
        assert_float(decimal * power);
        assert_float(any);
    }
}

/* Damaged bytes are read in a block of their exact length, so that a sanitizer sees one byte too
 * many; and what is accepted must be readable to its end. */
static void test_value__damaged_bytes_never_mislead_the_reader(void **state)
{
    (void)state;
    struct random random;
    unsigned accepted = 0, refused = 0;
    sombra_value_builder *other;
    random_seed(&random, seed_of_run());
    assert_int_equal(sombra_value_builder_new(&other), SOMBRA_OK);
    for (int i = 0; i < 20000; i++) {
        sombra_value_builder_reset(b);
        push_random(&random, 0);
        sombra_slice encoded = finish();
        size_t bytes = encoded.bytes - (random_below(&random, 4) == 0 && encoded.bytes > 1);
        uint8_t *damaged = malloc(bytes);
        memcpy(damaged, encoded.data, bytes);
        for (uint64_t n = random_below(&random, 3); n > 0; n--)
            damaged[random_below(&random, bytes)] = (uint8_t)random_u64(&random);
        sombra_err err = sombra_value_validate(slice_of(damaged, bytes));
        if (err) {
            assert_int_equal(err, SOMBRA_CORRUPT);
            refused++;
        } else {
            sombra_value value = decode(slice_of(damaged, bytes));
            sombra_value_builder_reset(other);
            copy(other, &value);
            accepted++;
        }
        free(damaged);
    }
    sombra_value_builder_free(other);
    assert_true(accepted > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_value__integers_survive_at_every_width),
        TEST(test_value__floats_survive_bit_for_bit),
        TEST(test_value__floats_of_few_digits_are_short),
        TEST(test_value__older_forms_of_numbers_are_read_and_made_new),
        TEST(test_value__any_float_survives_bit_for_bit),
        TEST(test_value__an_integer_is_not_a_float),
        TEST(test_value__strings_of_all_lengths_survive),
        TEST(test_value__empty_list_and_empty_map_differ),
        TEST(test_value__a_map_has_the_same_bytes_in_any_order),
        TEST(test_value__a_key_given_twice_is_refused),
        TEST(test_value__the_first_failure_sticks_until_reset),
        TEST(test_value__misuse_of_the_builder_is_refused),
        TEST(test_value__nesting_ends_at_64),
        TEST(test_value__deeper_bytes_are_corrupt),
        TEST(test_value__bodies_longer_than_255_bytes_survive),
        TEST(test_value__hostile_bytes_are_corrupt),
        TEST(test_value__what_is_read_builds_the_same_bytes),
        TEST(test_value__damaged_bytes_never_mislead_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
