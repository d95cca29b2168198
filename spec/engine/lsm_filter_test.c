/* SPDX-License-Identifier: MIT */
/* filter: no key that was added is denied; few others are granted. */
#include <stdio.h>

#include "os_fixture.h"

#include "lsm/table/filter.h"

static uint64_t hash_of(const char *kind, uint64_t number)
{
    char key[40];
    int bytes = snprintf(key, sizeof key, "%s%llu", kind, (unsigned long long)number);
    return filter_hash(slice_of(key, (size_t)bytes));
}

/* The filter of keys "in0" to "in<count-1>", in *out_bytes. */
static struct filter filter_of(uint64_t count, unsigned bits, uint8_t **out_bytes)
{
    struct filter_builder builder = FILTER_BUILDER_INIT;
    struct filter filter;
    for (uint64_t i = 0; i < count; i++)
        assert_ok(filter_builder_add(&builder, hash_of("in", i)));
    size_t bytes = filter_builder_bytes(&builder, bits);
    *out_bytes = mem_alloc_aligned(TABLE_FILTER_LINE_BYTES, bytes);
    assert_non_null(*out_bytes);
    memset(*out_bytes, 0xa5, bytes);
    filter_builder_finish(&builder, bits, *out_bytes);
    filter_builder_release(&builder);
    assert_ok(filter_open(slice_of(*out_bytes, bytes), &filter));
    return filter;
}

/* Of `asked` keys that are not in it, granted ones, for a hundred thousand. */
static uint64_t granted_of(const struct filter *filter, uint64_t asked)
{
    uint64_t granted = 0;
    for (uint64_t i = 0; i < asked; i++)
        granted += filter_has(filter, hash_of("out", i));
    return granted * 100000 / asked;
}

static void test_filter__no_key_that_was_added_is_denied(void **state)
{
    (void)state;
    static const uint64_t counts[] = { 1, 2, 50, 51, 1000, 20000 };
    static const unsigned bits[] = { 1, 2, 5, 10, 17, 32 };
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        for (size_t j = 0; j < COUNT_OF(bits); j++) {
            uint8_t *bytes;
            struct filter filter = filter_of(counts[i], bits[j], &bytes);
            for (uint64_t key = 0; key < counts[i]; key++)
                assert_true(filter_has(&filter, hash_of("in", key)));
            mem_free(bytes);
        }
    }
}

static void test_filter__few_others_are_granted(void **state)
{
    (void)state;
    /* Keys are fixed, so the rates are. At 10 bits 0.95 % are expected, 0.82 % of a filter without
     * lines. */
    static const struct {
        unsigned bits;
        uint64_t granted_max; /* of 100000 */
    } rates[] = { { 1, 68000 }, { 5, 11000 }, { 10, 1100 }, { 16, 130 }, { 32, 10 } };
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        uint8_t *bytes;
        struct filter filter = filter_of(50000, rates[i].bits, &bytes);
        uint64_t granted = granted_of(&filter, 200000);
        print_message("%u bits: %llu of 100000\n", rates[i].bits, (unsigned long long)granted);
        assert_true(granted <= rates[i].granted_max);
        mem_free(bytes);
    }
}

static void test_filter__its_bytes_never_change(void **state)
{
    (void)state;
    /* Tables on disk have this: the hash, the line, the bits, the tail. */
    assert_true(filter_hash(slice_str("")) == UINT64_C(0x2D06800538D394C2));
    assert_true(filter_hash(slice_str("sombra")) == UINT64_C(0xA58ED2792078AF05));
    uint8_t *bytes;
    struct filter filter = filter_of(1000, 10, &bytes);
    size_t length = (size_t)filter.count * TABLE_FILTER_LINE_BYTES + TABLE_FILTER_TAIL_BYTES;
    assert_int_equal(filter.count, 20);
    assert_int_equal(filter.probes, 6);
    assert_memory_equal(bytes + length - 8, "\x01\x06\0\0\x14\0\0\0", 8);
    assert_int_equal(crc32_update(0, bytes, length), 0xF030ABF2);
    mem_free(bytes);
}

static void test_filter__a_wrong_tail_is_corrupt(void **state)
{
    (void)state;
    uint8_t *bytes;
    struct filter filter = filter_of(1000, 10, &bytes), other;
    size_t length = (size_t)filter.count * TABLE_FILTER_LINE_BYTES + TABLE_FILTER_TAIL_BYTES;
    for (size_t cut = 0; cut < length; cut++)
        assert_fails(SOMBRA_CORRUPT, filter_open(slice_of(bytes, cut), &other));
    assert_fails(SOMBRA_CORRUPT, filter_open(slice_of(NULL, 0), &other));
    for (size_t at = length - TABLE_FILTER_TAIL_BYTES; at < length; at++) {
        if (at == length - TABLE_FILTER_TAIL_BYTES + TABLE_FILTER_PROBES)
            continue;
        bytes[at] ^= 0x40;
        assert_fails(SOMBRA_CORRUPT, filter_open(slice_of(bytes, length), &other));
        bytes[at] ^= 0x40;
    }
    uint8_t *probes = bytes + length - TABLE_FILTER_TAIL_BYTES + TABLE_FILTER_PROBES;
    for (unsigned wrong = 0; wrong < 256; wrong++) {
        *probes = (uint8_t)wrong;
        bool fits = wrong >= 1 && wrong <= FILTER_PROBES_MAX;
        assert_int_equal(filter_open(slice_of(bytes, length), &other),
                         fits ? SOMBRA_OK : SOMBRA_CORRUPT);
    }
    mem_free(bytes);
}

static void test_filter__a_large_promise_is_not_believed(void **state)
{
    (void)state;
    struct filter_builder builder = FILTER_BUILDER_INIT;
    assert_ok(filter_builder_reserve(&builder, UINT64_MAX));
    assert_true(builder.capacity <= 1 << 20);
    /* A filter larger than its block may be has fewer bits for a key. */
    builder.count = (size_t)1 << 40;
    assert_true(filter_builder_bytes(&builder, 10) <= TABLE_META_BYTES_MAX);
    assert_true(filter_builder_bytes(&builder, 10) > TABLE_META_BYTES_MAX - 128);
    filter_builder_release(&builder);
}

static void test_filter__without_memory_nothing_is_lost(void **state)
{
    (void)state;
    struct filter_builder builder = FILTER_BUILDER_INIT;
    uint64_t live = mem_test_live();
    for (uint64_t i = 0; i < 1024; i++)
        assert_ok(filter_builder_add(&builder, i));
    mem_test_fail_at(1, false);
    assert_fails(SOMBRA_NOMEM, filter_builder_add(&builder, 1024));
    assert_int_equal(builder.count, 1024);
    assert_ok(filter_builder_add(&builder, 1024));
    for (uint64_t i = 0; i <= 1024; i++)
        assert_true(builder.hashes[i] == i);
    filter_builder_release(&builder);
    assert_int_equal(mem_test_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter__no_key_that_was_added_is_denied),
        cmocka_unit_test(test_filter__few_others_are_granted),
        cmocka_unit_test(test_filter__its_bytes_never_change),
        cmocka_unit_test(test_filter__a_wrong_tail_is_corrupt),
        cmocka_unit_test(test_filter__a_large_promise_is_not_believed),
        cmocka_unit_test(test_filter__without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
