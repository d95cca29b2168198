/* SPDX-License-Identifier: MIT */
/* varint, endian, slice, checksum, hash and random: known answers, round trips, bad bytes. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <cmocka.h>

static uint64_t test_seed(void)
{
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 20240607;
    printf("SOMBRA_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* Every power of two and its neighbours, then random values of every magnitude. */
static uint64_t interesting(struct random *random, size_t i)
{
    if (i < 192)
        return (UINT64_C(1) << (i / 3)) + (uint64_t)(i % 3) - 1;
    return random_u64(random) >> random_below(random, 64);
}

enum { INTERESTING_COUNT = 20000 };

/* ---- varint ------------------------------------------------------------------------------ */

static void test_varint__round_trip_and_length(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, test_seed());
    for (size_t i = 0; i < INTERESTING_COUNT; i++) {
        uint8_t bytes[VARINT_BYTES_MAX];
        uint64_t value = interesting(&random, i);
        uint64_t decoded = ~value;
        uint8_t *end = varint_put(bytes, value);
        assert_int_equal(end - bytes, varint_bytes(value));
        assert_ptr_equal(varint_get(bytes, end, &decoded), end);
        assert_int_equal(decoded, value);
        for (const uint8_t *cut = bytes; cut < end; cut++)
            assert_null(varint_get(bytes, cut, &decoded));
    }
}

static void test_varint__known_bytes(void **state)
{
    (void)state;
    uint8_t bytes[VARINT_BYTES_MAX];
    assert_ptr_equal(varint_put(bytes, 0), bytes + 1);
    assert_memory_equal(bytes, "\x00", 1);
    assert_ptr_equal(varint_put(bytes, 300), bytes + 2);
    assert_memory_equal(bytes, "\xac\x02", 2);
    assert_ptr_equal(varint_put(bytes, UINT64_MAX), bytes + 10);
    assert_memory_equal(bytes, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
}

static void test_varint__more_than_64_bits_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00",
        "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const uint8_t *bytes = (const uint8_t *)bad[i];
        uint64_t value = 42;
        assert_null(varint_get(bytes, bytes + 11, &value));
        assert_int_equal(value, 42);
    }
}

static void test_ordered__round_trip_and_length(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, test_seed());
    for (size_t i = 0; i < INTERESTING_COUNT; i++) {
        uint8_t bytes[ORDERED_BYTES_MAX];
        uint64_t value = interesting(&random, i);
        uint64_t decoded = ~value;
        uint8_t *end = ordered_put(bytes, value);
        assert_int_equal(end - bytes, ordered_bytes(value));
        assert_ptr_equal(ordered_get(bytes, end, &decoded), end);
        assert_int_equal(decoded, value);
        for (const uint8_t *cut = bytes; cut < end; cut++)
            assert_null(ordered_get(bytes, cut, &decoded));

        /* With bytes behind it the decoder loads eight at once. */
        uint8_t followed[ORDERED_BYTES_MAX + 8];
        memset(followed, 0xee, sizeof followed);
        const uint8_t *behind = ordered_put(followed, value);
        decoded = ~value;
        assert_ptr_equal(ordered_get(followed, followed + sizeof followed, &decoded), behind);
        assert_int_equal(decoded, value);
    }
}

static void test_ordered__byte_order_is_numeric_order(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, test_seed());
    for (size_t i = 0; i < INTERESTING_COUNT; i++) {
        uint8_t left_bytes[ORDERED_BYTES_MAX];
        uint8_t right_bytes[ORDERED_BYTES_MAX];
        uint64_t left = interesting(&random, i);
        uint64_t right = i % 2 ? left + 1 : interesting(&random, INTERESTING_COUNT);
        sombra_slice a = slice_of(left_bytes, (size_t)(ordered_put(left_bytes, left) - left_bytes));
        sombra_slice b =
            slice_of(right_bytes, (size_t)(ordered_put(right_bytes, right) - right_bytes));
        int order = slice_compare(a, b);
        assert_int_equal((order > 0) - (order < 0), (left > right) - (left < right));
    }
}

static void test_ordered__lengths_at_the_borders(void **state)
{
    (void)state;
    assert_int_equal(ordered_bytes(0), 1);
    for (unsigned bytes = 1; bytes <= 8; bytes++) {
        assert_int_equal(ordered_bytes((UINT64_C(1) << (7 * bytes)) - 1), bytes);
        assert_int_equal(ordered_bytes(UINT64_C(1) << (7 * bytes)), bytes + 1);
    }
    assert_int_equal(ordered_bytes(UINT64_MAX), 9);
}

/* One value must have one encoding, or equal keys could differ in bytes. */
static void test_ordered__longer_form_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
    } bad[] = {
        { "\x80\x7f", 2 },
        { "\xc0\x3f\xff", 3 },
        { "\xe0\x00\x00\x05", 4 },
        { "\xfe\x00\xff\xff\xff\xff\xff\xff", 8 },
        { "\xff\x00\xff\xff\xff\xff\xff\xff\xff", 9 },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const uint8_t *bytes = (const uint8_t *)bad[i].bytes;
        uint64_t value = 42;
        assert_null(ordered_get(bytes, bytes + bad[i].count, &value));
        assert_int_equal(value, 42);
    }
}

static void test_zigzag__small_magnitude_is_small(void **state)
{
    (void)state;
    static const int64_t values[] = { 0, -1, 1, -2, 2, INT64_MAX, INT64_MIN };
    static const uint64_t expected[] = { 0, 1, 2, 3, 4, UINT64_MAX - 1, UINT64_MAX };
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        assert_int_equal(zigzag(values[i]), expected[i]);
        assert_int_equal(unzigzag(expected[i]), values[i]);
    }
}

/* ---- endian ------------------------------------------------------------------------------ */

static void test_endian__bytes_stand_as_named(void **state)
{
    (void)state;
    uint8_t bytes[9] = { 0 };
    put_le64(bytes + 1, UINT64_C(0x0102030405060708));
    assert_memory_equal(bytes + 1, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_int_equal(get_le64(bytes + 1), UINT64_C(0x0102030405060708));
    put_be64(bytes + 1, UINT64_C(0x0102030405060708));
    assert_memory_equal(bytes + 1, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_int_equal(get_be32(bytes + 1), 0x01020304);
    assert_int_equal(get_be16(bytes + 1), 0x0102);
    assert_int_equal(get_le32(bytes + 1), 0x04030201);
    assert_int_equal(get_le16(bytes + 1), 0x0201);
}

static void test_endian__48_bits_touch_six_bytes(void **state)
{
    (void)state;
    uint8_t bytes[8] = { 0, 0, 0, 0, 0, 0, 0x77, 0 };
    put_le48(bytes, UINT64_C(0xA1B2C3D4E5F6));
    assert_memory_equal(bytes, "\xf6\xe5\xd4\xc3\xb2\xa1\x77", 7);
    assert_int_equal(get_le48(bytes), UINT64_C(0xA1B2C3D4E5F6));
}

/* ---- slice ------------------------------------------------------------------------------- */

static void test_slice__order_is_bytes_then_length(void **state)
{
    (void)state;
    static const char *const ascending[] = { "", "a", "aa", "ab", "b", "\x80", "\xff" };
    for (size_t i = 0; i < COUNT_OF(ascending); i++)
        for (size_t j = 0; j < COUNT_OF(ascending); j++) {
            int order = slice_compare(slice_str(ascending[i]), slice_str(ascending[j]));
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(slice_equal(slice_str(ascending[i]), slice_str(ascending[j])), i == j);
        }
    assert_true(slice_equal(slice_of(NULL, 0), slice_str("")));
}

static void test_slice__prefix_is_found_at_any_length(void **state)
{
    (void)state;
    uint8_t left[70];
    uint8_t right[70];
    for (size_t same = 0; same < sizeof left; same++) {
        memset(left, 0x55, sizeof left);
        memcpy(right, left, sizeof right);
        right[same] = 0x54;
        assert_int_equal(slice_common_prefix(slice_of(left, 70), slice_of(right, 70)), same);
        for (size_t bytes = 0; bytes <= 70; bytes++)
            assert_int_equal(slice_common_prefix(slice_of(left, bytes), slice_of(right, 70)),
                             size_min(bytes, same));
        assert_true(slice_has_prefix(slice_of(left, 70), slice_of(right, same)));
        assert_false(slice_has_prefix(slice_of(left, 70), slice_of(right, same + 1)));
    }
    assert_int_equal(slice_common_prefix(slice_of(NULL, 0), slice_str("x")), 0);
    assert_false(slice_has_prefix(slice_str("a"), slice_str("ab")));
}

/* ---- checksum, hash, random -------------------------------------------------------------- */

static void test_crc32__check_value(void **state)
{
    (void)state;
    assert_int_equal(crc32_update(0, "123456789", 9), 0xCBF43926);
}

static void test_crc32__parts_give_the_sum_of_the_whole(void **state)
{
    (void)state;
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)hash_u64(i);
    uint32_t whole = crc32_update(0, bytes, sizeof bytes);
    for (size_t split = 0; split <= sizeof bytes; split++) {
        uint32_t crc = crc32_update(0, bytes, split);
        crc = crc32_update(crc, NULL, 0);
        assert_int_equal(crc32_update(crc, bytes + split, sizeof bytes - split), whole);
    }
}

/* Bit by bit, as the polynomial is defined. */
static uint32_t crc32_slow(uint32_t crc, const uint8_t *bytes, size_t count)
{
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

/* From where one way of computing ends to where the next begins, at any address, and continued. */
static void test_crc32__all_lengths_are_as_defined(void **state)
{
    (void)state;
    enum { BYTES_MAX = 1300, PLACES = 33 };
    static uint8_t bytes[BYTES_MAX + PLACES];
    uint64_t random = 42;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((random = hash_u64(random + i)) >> 20);
    for (size_t count = 0; count <= BYTES_MAX; count += count % 64 < 2 ? 1 : 31) {
        const uint8_t *at = bytes + count % PLACES;
        uint32_t begin = count % 2 ? (uint32_t)hash_u64(count) : 0;
        assert_int_equal(crc32_update(begin, at, count), crc32_slow(begin, at, count));
    }
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32_update(0, bytes, BYTES_MAX), crc32_slow(0, bytes, BYTES_MAX));
}

static void test_hash__every_bit_of_input_counts(void **state)
{
    (void)state;
    uint8_t bytes[40] = { 0 };
    uint64_t plain = hash_bytes(bytes, sizeof bytes, 7);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_not_equal(hash_bytes(bytes, sizeof bytes, 7), plain);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(hash_bytes(bytes, sizeof bytes, 7), plain);
    assert_int_not_equal(hash_bytes(bytes, sizeof bytes, 8), plain);
    for (size_t count = 0; count < sizeof bytes; count++)
        assert_int_not_equal(hash_bytes(bytes, count, 7), plain);
}

static void test_hash__low_bits_spread_sequential_keys(void **state)
{
    (void)state;
    uint32_t buckets[256] = { 0 };
    for (uint32_t i = 0; i < 25600; i++) {
        uint8_t key[16] = { 'k' };
        put_le32(key + 9, i);
        buckets[hash_bytes(key, sizeof key, 0) & 0xff]++;
    }
    for (size_t i = 0; i < COUNT_OF(buckets); i++)
        assert_in_range(buckets[i], 50, 170);
}

/* The first outputs of the published splitmix64 for the seed 1234567. */
static void test_random__is_splitmix64(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 1234567);
    assert_int_equal(random_u64(&random), UINT64_C(6457827717110365317));
    assert_int_equal(random_u64(&random), UINT64_C(3203168211198807973));
}

static void test_random__below_reaches_every_value_and_no_other(void **state)
{
    (void)state;
    struct random random;
    uint32_t seen[10] = { 0 };
    random_seed(&random, test_seed());
    for (size_t i = 0; i < 10000; i++)
        seen[random_below(&random, 10)]++;
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        assert_in_range(seen[i], 800, 1200);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(random_below(&random, 1), 0);
        assert_true(random_below(&random, UINT64_MAX) < UINT64_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varint__round_trip_and_length),
        cmocka_unit_test(test_varint__known_bytes),
        cmocka_unit_test(test_varint__more_than_64_bits_is_refused),
        cmocka_unit_test(test_ordered__round_trip_and_length),
        cmocka_unit_test(test_ordered__byte_order_is_numeric_order),
        cmocka_unit_test(test_ordered__lengths_at_the_borders),
        cmocka_unit_test(test_ordered__longer_form_is_refused),
        cmocka_unit_test(test_zigzag__small_magnitude_is_small),
        cmocka_unit_test(test_endian__bytes_stand_as_named),
        cmocka_unit_test(test_endian__48_bits_touch_six_bytes),
        cmocka_unit_test(test_slice__order_is_bytes_then_length),
        cmocka_unit_test(test_slice__prefix_is_found_at_any_length),
        cmocka_unit_test(test_crc32__check_value),
        cmocka_unit_test(test_crc32__parts_give_the_sum_of_the_whole),
        cmocka_unit_test(test_crc32__all_lengths_are_as_defined),
        cmocka_unit_test(test_hash__every_bit_of_input_counts),
        cmocka_unit_test(test_hash__low_bits_spread_sequential_keys),
        cmocka_unit_test(test_random__is_splitmix64),
        cmocka_unit_test(test_random__below_reaches_every_value_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
