/* SPDX-License-Identifier: MIT */
/* codec: what goes in comes out; what was damaged is CORRUPT and touches nothing beyond. */
#include "os_fixture.h"

#include "lsm/write_internal.h"

enum { TEXT_BYTES = 100000 };

/* Compressible, not trivially. */
static void text_fill(struct buf *to, size_t bytes, uint64_t seed)
{
    static const char *const words[] = {
        "node ", "edge ", "0x1f", "name=", "the ", "\n", "value "
    };
    struct random random;
    random_seed(&random, seed);
    buf_reset(to);
    while (to->bytes < bytes) {
        const char *word = words[random_below(&random, COUNT_OF(words))];
        assert_ok(buf_append(to, word, strlen(word)));
    }
    to->bytes = bytes;
}

static void noise_fill(struct buf *to, size_t bytes, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    buf_reset(to);
    while (to->bytes < bytes)
        assert_ok(buf_append_u8(to, (uint8_t)random_u64(&random)));
}

/* Every codec of the build, the packed form of `raw`; false if it did not pack. */
static bool packs(enum codec_id codec, const struct buf *raw, struct buf *packed)
{
    enum codec_id used = CODECS;
    buf_reset(packed);
    assert_ok(codec_compress(codec, buf_slice(raw), packed, &used));
    assert_true(used == codec || used == CODEC_NONE);
    return used != CODEC_NONE;
}

static void test_codec__every_codec_gives_back_what_it_got(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 2, 7, 8, 9, 63, 64, 500, 4096, 65537, TEXT_BYTES };
    struct buf raw = BUF_INIT, packed = BUF_INIT;
    for (unsigned codec = 0; codec < CODECS; codec++) {
        for (size_t i = 0; codec_is_there(codec) && i < COUNT_OF(sizes); i++) {
            enum codec_id used = CODECS;
            text_fill(&raw, sizes[i], i);
            assert_ok(buf_set(&packed, slice_str("before")));
            assert_ok(codec_compress(codec, buf_slice(&raw), &packed, &used));
            assert_memory_equal(packed.data, "before", 6);
            uint8_t *out = mem_alloc(sizes[i]);
            assert_ok(codec_decompress(used, slice_from(buf_slice(&packed), 6), out, sizes[i]));
            assert_memory_equal(out, raw.data, sizes[i]);
            mem_free(out);
            if (codec != CODEC_NONE && sizes[i] >= 500)
                assert_true(used == codec && packed.bytes - 6 <= sizes[i] - sizes[i] / 8);
        }
    }
    buf_release(&raw);
    buf_release(&packed);
}

static void test_codec__what_saves_too_little_is_kept_as_it_is(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, packed = BUF_INIT;
    noise_fill(&raw, 20000, 7);
    for (unsigned codec = 0; codec < CODECS; codec++) {
        if (!codec_is_there(codec))
            continue;
        assert_false(packs(codec, &raw, &packed));
        assert_true(slice_equal(buf_slice(&raw), buf_slice(&packed)));
    }
    /* A tenth of it is zeros: still too little. */
    memset(raw.data + 18000, 0, 2000);
    assert_false(packs(CODEC_ZLIB, &raw, &packed));
    memset(raw.data + 15000, 0, 5000);
    assert_true(packs(CODEC_ZLIB, &raw, &packed));
    buf_release(&raw);
    buf_release(&packed);
}

static void test_codec__nothing_stays_nothing(void **state)
{
    (void)state;
    struct buf packed = BUF_INIT;
    uint8_t out = 1;
    for (unsigned codec = 0; codec < CODECS; codec++) {
        enum codec_id used = CODECS;
        if (!codec_is_there(codec))
            continue;
        assert_ok(codec_compress(codec, slice_of("", 0), &packed, &used));
        assert_int_equal(used, CODEC_NONE);
        assert_int_equal(packed.bytes, 0);
    }
    assert_ok(codec_decompress(CODEC_NONE, buf_slice(&packed), &out, 0));
    assert_int_equal(out, 1);
    buf_release(&packed);
}

static void test_codec__a_size_that_lies_is_corrupt(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, packed = BUF_INIT;
    text_fill(&raw, 5000, 1);
    static const size_t lies[] = { 0, 1, 2500, 4999, 5001, 10000 };
    for (unsigned codec = 0; codec < CODECS; codec++) {
        if (!codec_is_there(codec))
            continue;
        packs(codec, &raw, &packed);
        for (size_t i = 0; i < COUNT_OF(lies); i++) {
            /* Exactly so long, for the sanitizer to see a byte too many. */
            uint8_t *out = mem_alloc(lies[i]);
            assert_fails(SOMBRA_CORRUPT, codec_decompress(codec, buf_slice(&packed), out, lies[i]));
            mem_free(out);
        }
    }
    buf_release(&raw);
    buf_release(&packed);
}

static void test_codec__cut_bytes_are_corrupt(void **state)
{
    (void)state;
    struct buf raw = BUF_INIT, packed = BUF_INIT;
    text_fill(&raw, 3000, 2);
    uint8_t *out = mem_alloc(3000);
    for (unsigned codec = 0; codec < CODECS; codec++) {
        if (!codec_is_there(codec))
            continue;
        packs(codec, &raw, &packed);
        for (size_t bytes = 0; bytes < packed.bytes; bytes += 1 + packed.bytes / 300) {
            uint8_t *cut = mem_alloc(bytes);
            if (bytes)
                memcpy(cut, packed.data, bytes);
            assert_fails(SOMBRA_CORRUPT, codec_decompress(codec, slice_of(cut, bytes), out, 3000));
            mem_free(cut);
        }
        /* And one too many. */
        assert_ok(buf_append_u8(&packed, 0));
        assert_fails(SOMBRA_CORRUPT, codec_decompress(codec, buf_slice(&packed), out, 3000));
    }
    mem_free(out);
    buf_release(&raw);
    buf_release(&packed);
}

static void test_codec__garbage_is_corrupt_or_other_bytes_of_the_size(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    struct random random;
    random_seed(&random, seed);
    struct buf raw = BUF_INIT, packed = BUF_INIT, noise = BUF_INIT;
    text_fill(&raw, 2000, seed);
    uint8_t *out = mem_alloc(2000);
    for (unsigned codec = 1; codec < CODECS; codec++) {
        unsigned refused = 0;
        if (!codec_is_there(codec))
            continue;
        packs(codec, &raw, &packed);
        for (unsigned round = 0; round < 400; round++) {
            sombra_slice input;
            if (round % 2) {
                noise_fill(&noise, 1 + random_below(&random, 300), random_u64(&random));
                input = buf_slice(&noise);
            } else {
                packs(codec, &raw, &packed);
                packed.data[random_below(&random, packed.bytes)] ^=
                    (uint8_t)(1 + random_below(&random, 255));
                input = buf_slice(&packed);
            }
            sombra_err err = codec_decompress(codec, input, out, 2000);
            assert_true(err == SOMBRA_OK || err == SOMBRA_CORRUPT);
            refused += err == SOMBRA_CORRUPT;
        }
        assert_true(refused >= 200);
    }
    mem_free(out);
    buf_release(&raw);
    buf_release(&packed);
    buf_release(&noise);
}

static void test_codec__unknown_ones_are_unsupported(void **state)
{
    (void)state;
    uint8_t out[4];
    struct buf packed = BUF_INIT;
    static const unsigned ids[] = { CODECS, 77, 255, UINT32_MAX };
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        enum codec_id codec = (enum codec_id)ids[i], used = CODEC_NONE;
        assert_false(codec_is_there(codec));
        assert_string_equal(codec_name(codec), "unknown");
        assert_fails(SOMBRA_UNSUPPORTED, codec_decompress(codec, slice_of("abcd", 4), out, 4));
        assert_fails(SOMBRA_UNSUPPORTED,
                     codec_compress(codec, slice_of("abcd", 4), &packed, &used));
    }
    buf_release(&packed);
}

static enum codec_id codec_of_option(enum lsm_codec option)
{
    struct lsm_options options;
    enum codec_id codec = CODECS, bottom = CODECS;
    assert_ok(
        lsm_options_complete(&(struct lsm_options){ .codec = option }, &options, &codec, &bottom));
    assert_int_equal(codec, bottom);
    return codec;
}

static void option_fails(sombra_err code, enum lsm_codec option)
{
    struct lsm_options options;
    enum codec_id codec, bottom;
    assert_fails(code, lsm_options_complete(&(struct lsm_options){ .bottom_codec = option },
                                            &options, &codec, &bottom));
}

static void test_codec__options_mean_what_the_build_has(void **state)
{
    (void)state;
    assert_int_equal(codec_of_option(LSM_CODEC_DEFAULT),
                     codec_is_there(CODEC_LZ4) ? CODEC_LZ4 : CODEC_NONE);
    assert_int_equal(codec_of_option(LSM_CODEC_NONE), CODEC_NONE);
    assert_int_equal(codec_of_option(LSM_CODEC_ZLIB), CODEC_ZLIB);
    assert_string_equal(codec_name(CODEC_ZLIB), "zlib");
    if (codec_is_there(CODEC_ZSTD))
        assert_int_equal(codec_of_option(LSM_CODEC_ZSTD), CODEC_ZSTD);
    else
        option_fails(SOMBRA_UNSUPPORTED, LSM_CODEC_ZSTD);
    option_fails(SOMBRA_INVALID, (enum lsm_codec)99);
}

static void *pack_and_unpack(void *argument)
{
    struct buf raw = BUF_INIT, packed = BUF_INIT;
    size_t *failures = argument;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned codec = 0; codec < CODECS; codec++) {
            enum codec_id used;
            uint8_t out[1500];
            if (!codec_is_there(codec))
                continue;
            text_fill(&raw, sizeof out, round);
            buf_reset(&packed);
            if (codec_compress(codec, buf_slice(&raw), &packed, &used) ||
                codec_decompress(used, buf_slice(&packed), out, sizeof out) ||
                memcmp(out, raw.data, sizeof out) != 0)
                ++*failures;
        }
    }
    buf_release(&raw);
    buf_release(&packed);
    return NULL;
}

static void test_codec__threads_do_not_meet(void **state)
{
    (void)state;
    struct os_thread threads[4];
    size_t failures[4] = { 0 };
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_ok(os_thread_start(&threads[i], pack_and_unpack, &failures[i]));
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        os_thread_join(&threads[i]);
        assert_int_equal(failures[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec__every_codec_gives_back_what_it_got),
        cmocka_unit_test(test_codec__what_saves_too_little_is_kept_as_it_is),
        cmocka_unit_test(test_codec__nothing_stays_nothing),
        cmocka_unit_test(test_codec__a_size_that_lies_is_corrupt),
        cmocka_unit_test(test_codec__cut_bytes_are_corrupt),
        cmocka_unit_test(test_codec__garbage_is_corrupt_or_other_bytes_of_the_size),
        cmocka_unit_test(test_codec__unknown_ones_are_unsupported),
        cmocka_unit_test(test_codec__options_mean_what_the_build_has),
        cmocka_unit_test(test_codec__threads_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
