/* SPDX-License-Identifier: MIT */
/* table_writer: what it writes is what table_format.h draws, read here by hand from the bytes; and
 * what fails leaves no file. */
#include "table_bytes.h"

#include "lsm/table/table_internal.h"
#include "os/os_sim.h"

/* ---- an old table, of which large values are copied --------------------------------------- */

/* Its blocks are made up: two of them, packed with a codec of no build. */
struct table {
    sombra_err fails; /* of the copy */
};

sombra_err table_copy_large(struct table *table, sombra_slice reference,
                            sombra_err (*each)(void *context, const struct table_piece *piece),
                            void *context)
{
    assert_string_equal(reference.data, "the old reference");
    if (table->fails)
        return diag_fail(table->fails, "the old table");
    struct table_piece first = { TABLE_VALUE_PIECE, (enum codec_id)9, slice_str("first stored") };
    struct table_piece second = { 5, CODEC_NONE, slice_str("whole") };
    sombra_err err = each(context, &first);
    return err ? err : each(context, &second);
}

/* ---- what is written ---------------------------------------------------------------------- */

static size_t prefix_of_eight(sombra_slice key)
{
    return key.bytes >= 8 ? 8 : 0;
}

static struct table_writer_options options_of(enum codec_id codec, size_t block_bytes)
{
    return (struct table_writer_options){
        .codec = codec,
        .block_bytes = block_bytes,
        .filter_bits = 10,
        .prefix = { .name = "eight", .bytes = prefix_of_eight },
        .entries_hint = 100,
        .mode = 0600,
    };
}

static struct table_writer *open_writer(struct os *os, const struct table_writer_options *options)
{
    struct table_writer *writer = NULL;
    assert_ok(table_writer_open(os, "t.sst", 7, options, &writer));
    return writer;
}

static sombra_err add_all(struct table_writer *writer, const struct model *model)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < model->count; i++)
        err = table_writer_add(writer, &model->entries[i]);
    return err;
}

static void put(struct table_writer *writer, const char *key, const char *value)
{
    assert_ok(table_writer_add(
        writer, &(struct lsm_entry){ .key = slice_str(key), .value = slice_str(value) }));
}

/* ---- tests -------------------------------------------------------------------------------- */

static void test_writer__every_byte_is_where_the_header_draws_it(void **state)
{
    (void)state;
    static const size_t block_bytes[] = { 1 * KiB, 16 * KiB, 1 * MiB };
    uint64_t seed = test_seed();
    struct model model = MODEL_INIT;
    model_fill(&model, 3000, seed);
    for (unsigned codec = 0; codec < CODECS; codec++) {
        for (size_t i = 0; codec_is_there(codec) && i < COUNT_OF(block_bytes); i++) {
            struct os_sim *sim = os_sim_new(NULL);
            struct os *os = os_sim_start(sim);
            struct table_writer_options options = options_of(codec, block_bytes[i]);
            struct table_writer *writer = open_writer(os, &options);
            struct table_meta meta;
            assert_ok(add_all(writer, &model));
            uint64_t bytes_before = table_writer_bytes(writer);
            assert_ok(table_writer_finish(writer, 4242, &meta));
            assert_true(bytes_before <= meta.file_bytes || codec != CODEC_NONE);

            struct parsed parsed = parse(os, "t.sst");
            struct walk walk = check_body(&parsed, &model, size_max(512, block_bytes[i] / 4));
            assert_true(walk.large > 0);
            check_filters(&parsed, &model);
            check_properties(&parsed, &model, &walk);
            check_meta(&parsed, &meta);
            assert_true(slice_equal(parsed.low, model.entries[0].key));
            assert_true(slice_equal(parsed.prefix_name, slice_str("eight")));
            assert_int_equal(property(&parsed, TABLE_PROPERTY_RANGES), 0);
            parsed_release(&parsed);
            table_writer_close(writer);
            os_sim_free(sim);
        }
    }
    model_release(&model);
}

static void test_writer__a_small_table_is_these_bytes(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 4 * KiB);
    options.filter_bits = 0;
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    put(writer, "apple", "red");
    put(writer, "apricot", "");
    assert_ok(table_writer_add(writer,
                               &(struct lsm_entry){ .key = slice_str("b"), .kind = ENTRY_DELETE }));
    assert_ok(table_writer_finish(writer, 1, &meta));

    struct parsed parsed = parse(os, "t.sst");
    static const char data[] = "\x00\x05\x0c"
                               "applered"
                               "\x02\x05\x00"
                               "ricot"
                               "\x00\x01\x01"
                               "b"
                               "apple\0\0\0"
                               "\0\0\0\0"
                               "\1\0\0\0\3\0\0\0\0\0\0\0";
    assert_int_equal(get_le32(parsed.file.data), sizeof data - 1);
    assert_memory_equal(parsed.file.data + 16, data, sizeof data - 1);
    size_t body = 16 + sizeof data - 1;
    assert_int_equal(property(&parsed, TABLE_PROPERTY_BODY_BYTES), body);
    assert_int_equal(parsed.index.offset, body); /* nothing lies between */
    assert_int_equal(parsed.properties.offset, parsed.index.next);
    assert_int_equal(parsed.filter.next, 0);
    assert_true(slice_equal(parsed.low, slice_str("apple")));
    assert_true(slice_equal(parsed.end, slice_of("b", 2)));
    parsed_release(&parsed);
    table_writer_close(writer);
    os_sim_free(sim);
}

static void test_writer__separators_are_short(void **state)
{
    (void)state;
    /* Two entries fill a block. */
    static const struct {
        const char *first, *last, *separator; /* from the next row's first */
    } rows[] = {
        { "a", "abcdefgh", "abd" },
        { "abduction", "bbbbbb", "c" },
        { "cat\xff\xff", "caulk", "cav" },
        { "cavern", "d\xff\xff", "d\xff\xff" },
        { "e", "eezz", "f" },
        { "h", "hkeyname", "hl" },
        { "i", "i\xff", "i\xff" },
        { "i\xff\x01", "j\xffq", "j\xffr" },
        { "k", "kz", "kz" },
    };
    char value[501];
    memset(value, 'x', 500);
    value[500] = 0;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put(writer, rows[i].first, value);
        put(writer, rows[i].last, value);
    }
    assert_ok(table_writer_finish(writer, 1, &meta));
    struct parsed parsed = parse(os, "t.sst");
    uint32_t count = 0;
    struct parsed_entry *index = entries_of(buf_slice(&parsed.index.raw), 1, &count);
    assert_int_equal(count, COUNT_OF(rows));
    for (uint32_t i = 0; i < count; i++)
        assert_true(slice_equal(key_of(&index[i]), slice_str(rows[i].separator)));
    free(index);
    parsed_release(&parsed);
    table_writer_close(writer);
    os_sim_free(sim);
}

static void check_ranges(const struct parsed *parsed, const char *const (*want)[2], uint32_t count)
{
    uint32_t found = 0;
    struct parsed_entry *ranges = entries_of(buf_slice(&parsed->ranges.raw), 1, &found);
    assert_int_equal(found, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(ranges[i].kind, ENTRY_PUT);
        assert_true(slice_equal(key_of(&ranges[i]), slice_str(want[i][0])));
        assert_true(slice_equal(ranges[i].value, slice_str(want[i][1])));
    }
    free(ranges);
}

static void test_writer__hidden_ranges_widen_the_bounds_and_join(void **state)
{
    (void)state;
    static const char *const want[][2] = { { "", "c" }, { "d", "f" }, { "x", "z" } };
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    assert_ok(table_writer_hide(writer, slice_str(""), slice_str("c")));
    put(writer, "keykeykey", "value");
    assert_ok(table_writer_hide(writer, slice_str("d"), slice_str("e")));
    assert_ok(table_writer_hide(writer, slice_str("e"), slice_str("f"))); /* touches */
    put(writer, "l", "value");
    assert_ok(table_writer_hide(writer, slice_str("x"), slice_str("z")));
    assert_ok(table_writer_finish(writer, 4242, &meta));
    struct parsed parsed = parse(os, "t.sst");
    check_ranges(&parsed, want, 3);
    check_meta(&parsed, &meta);
    assert_int_equal(meta.range_count, 3);
    assert_true(slice_equal(meta.low, slice_str("")));
    assert_true(slice_equal(meta.end, slice_str("z")));
    parsed_release(&parsed);
    table_writer_close(writer);
    os_sim_free(sim);
}

static void test_writer__a_table_may_hide_ranges_only(void **state)
{
    (void)state;
    static const char *const want[][2] = { { "m", "n" } };
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    assert_ok(table_writer_hide(writer, slice_str("m"), slice_str("n")));
    assert_ok(table_writer_finish(writer, 4242, &meta));
    struct parsed parsed = parse(os, "t.sst");
    check_ranges(&parsed, want, 1);
    check_meta(&parsed, &meta);
    assert_int_equal(parsed.ranges.offset, 0);
    assert_int_equal(parsed.index.next, 0);
    assert_int_equal(parsed.filter.next, 0);
    assert_true(slice_equal(meta.low, slice_str("m")));
    assert_true(slice_equal(meta.end, slice_str("n")));
    parsed_release(&parsed);
    table_writer_close(writer);
    os_sim_free(sim);
}

static void test_writer__large_values_are_copied_as_they_are_stored(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_ZLIB, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    struct table old = { SOMBRA_OK };
    put(writer, "a", "before");
    assert_ok(table_writer_add(writer, &(struct lsm_entry){ .key = slice_str("big"),
                                                            .value = slice_str("the old reference"),
                                                            .kind = ENTRY_LARGE,
                                                            .table = &old }));
    assert_ok(table_writer_finish(writer, 4242, &meta));
    struct parsed parsed = parse(os, "t.sst");
    struct block first = block_at(&parsed.file, 0), second = block_at(&parsed.file, first.next);
    struct block data = block_at(&parsed.file, second.next);
    uint32_t count = 0;
    struct parsed_entry *entries = entries_of(buf_slice(&data.raw), 16, &count);
    assert_true(slice_equal(first.stored, slice_str("first stored")));
    assert_int_equal(first.codec, 9);
    assert_int_equal(get_le32(parsed.file.data), TABLE_VALUE_PIECE);
    assert_true(slice_equal(second.stored, slice_str("whole")));
    assert_int_equal(second.kind, TABLE_BLOCK_VALUE);
    assert_int_equal(count, 2);
    const uint8_t *reference = entries[1].value.data;
    assert_int_equal(entries[1].kind, ENTRY_LARGE);
    assert_int_equal(get_le64(reference), 0);
    assert_int_equal(get_le64(reference + 8), TABLE_VALUE_PIECE + 5);
    assert_int_equal(get_le64(reference + 16), second.next);
    assert_int_equal(property(&parsed, TABLE_PROPERTY_VALUE_BYTES), TABLE_VALUE_PIECE + 5 + 6);
    assert_int_equal(property(&parsed, TABLE_PROPERTY_VALUE_BLOCKS), 2);
    free(entries);
    buf_release(&second.raw);
    buf_release(&data.raw);
    parsed_release(&parsed);
    table_writer_close(writer);
    os_sim_free(sim);
}

static bool is_there(struct os *os)
{
    struct os_identity identity;
    sombra_err err = os_identify_path(os, "t.sst", &identity);
    assert_true(err == SOMBRA_OK || err == SOMBRA_NOT_FOUND);
    return err == SOMBRA_OK;
}

static void test_writer__a_failing_copy_fails_the_table(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table old = { SOMBRA_CORRUPT };
    assert_fails(
        SOMBRA_CORRUPT,
        table_writer_add(writer, &(struct lsm_entry){ .key = slice_str("big"),
                                                      .value = slice_str("the old reference"),
                                                      .kind = ENTRY_LARGE,
                                                      .table = &old }));
    assert_text_has("write table 000007: the old table");
    table_writer_close(writer);
    assert_text_has("write table 000007: the old table");
    assert_false(is_there(os));
    os_sim_free(sim);
}

static void test_writer__what_does_not_ascend_is_corrupt(void **state)
{
    (void)state;
    static const char *const keys[] = { "", "a", "bb", "bc", "bca" };
    for (size_t i = 0; i < COUNT_OF(keys) - 1; i++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct os *os = os_sim_start(sim);
        struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
        struct table_writer *writer = open_writer(os, &options);
        struct lsm_entry entry = { .key = slice_str(keys[i]) };
        put(writer, "bc", "");
        assert_fails(SOMBRA_CORRUPT, table_writer_add(writer, &entry));
        assert_text_has("do not ascend");
        table_writer_close(writer);
        os_sim_free(sim);
    }
}

static void test_writer__ranges_that_overlap_or_are_empty_are_corrupt(void **state)
{
    (void)state;
    static const char *const ranges[][2] = {
        { "c", "d" }, { "b", "z" }, { "e", "e" }, { "f", "e" }, { "", "" }
    };
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        struct os_sim *sim = os_sim_new(NULL);
        struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
        struct table_writer *writer = open_writer(os_sim_start(sim), &options);
        assert_ok(table_writer_hide(writer, slice_str("b"), slice_str("d")));
        assert_fails(SOMBRA_CORRUPT,
                     table_writer_hide(writer, slice_str(ranges[i][0]), slice_str(ranges[i][1])));
        table_writer_close(writer);
        os_sim_free(sim);
    }
}

static void test_writer__an_empty_table_is_refused_and_leaves_no_file(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    assert_fails(SOMBRA_INVALID, table_writer_finish(writer, 4242, &meta));
    assert_true(is_there(os));
    table_writer_close(writer);
    assert_false(is_there(os));
    os_sim_free(sim);
}

static void test_writer__without_finish_no_file_stays(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    put(writer, "a", "b");
    table_writer_close(writer);
    assert_false(is_there(os));
    table_writer_close(NULL);
    os_sim_free(sim);
}

static void test_writer__a_file_that_is_there_stays_as_it_is(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct os_file *file = open_file(os, "t.sst", OS_WRITE | OS_CREATE);
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = NULL;
    assert_ok(os_write(file, 0, "mine", 4));
    assert_fails(SOMBRA_EXISTS, table_writer_open(os, "t.sst", 7, &options, &writer));
    assert_null(writer);
    assert_true(is_there(os));
    assert_int_equal(size_of(file), 4);
    os_close(file);
    os_sim_free(sim);
}

static void test_writer__syncs_once_at_the_end(void **state)
{
    (void)state;
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct model model = MODEL_INIT;
    struct table_writer_options options = options_of(CODEC_NONE, 1 * KiB);
    struct table_writer *writer = open_writer(os, &options);
    struct table_meta meta;
    model_fill(&model, 1600, 3);
    assert_ok(add_all(writer, &model));
    assert_ok(table_writer_finish(writer, 4242, &meta));
    /* Create, sync, and about a write for each 256 KiB. */
    assert_true(os_sim_calls(sim) <= 2 + meta.file_bytes / (256 * KiB) + 1);
    table_writer_close(writer);
    /* The caller syncs the name; the data survives every power cut then. */
    assert_ok(os_sync_directory_of(os, "t.sst"));
    struct os_sim *after = os_sim_crash(sim, OS_SIM_NOTHING, 0);
    struct parsed parsed = parse(os_sim_start(after), "t.sst");
    check_body(&parsed, &model, 512);
    parsed_release(&parsed);
    os_sim_free(after);
    os_sim_free(sim);
    model_release(&model);
}

/* ---- faults ------------------------------------------------------------------------------- */

/* The whole life of a table; where it fails no file stays and nothing is leaked. */
static sombra_err write_once(struct os *os, const struct model *model)
{
    struct table_writer_options options = options_of(CODEC_NONE, 4 * KiB);
    struct table_writer *writer = NULL;
    struct table_meta meta;
    sombra_err err = table_writer_open(os, "t.sst", 7, &options, &writer);
    if (!err)
        err = table_writer_hide(writer, slice_str("hide"), slice_str("hidf"));
    if (!err)
        err = add_all(writer, model);
    if (!err)
        err = table_writer_finish(writer, 4242, &meta);
    table_writer_close(writer);
    return err;
}

static void test_writer__every_failing_call_leaves_no_file(void **state)
{
    (void)state;
    static const struct {
        enum os_sim_fault_kind kind;
        bool is_sticky;
        sombra_err err; /* OK: the call is repeated, and all succeeds */
    } faults[] = { { OS_SIM_EIO, false, SOMBRA_IO },
                   { OS_SIM_ENOSPC, false, SOMBRA_LIMIT },
                   { OS_SIM_ENOSPC, true, SOMBRA_LIMIT },
                   { OS_SIM_EINTR, false, SOMBRA_OK } };
    struct model model = MODEL_INIT;
    model_fill(&model, 600, 5);
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        for (uint64_t nth = 1;; nth++) {
            struct os_sim *sim = os_sim_new(NULL);
            struct os *os = os_sim_start(sim);
            os_sim_fail_at(sim, nth, faults[i].kind, faults[i].is_sticky);
            sombra_err err = write_once(os, &model);
            bool struck = os_sim_faults(sim) > 0;
            assert_int_equal(err, struck ? faults[i].err : SOMBRA_OK);
            assert_int_equal(is_there(os), err == SOMBRA_OK);
            os_sim_free(sim);
            if (!struck) {
                assert_true(nth > 4); /* create, two writes, sync */
                break;
            }
        }
    }
    model_release(&model);
}

static void test_writer__short_writes_are_continued(void **state)
{
    (void)state;
    struct model model = MODEL_INIT;
    model_fill(&model, 600, 5);
    struct os_sim_fault fault = {
        .kind = OS_SIM_SHORT, .nth = 1, .is_sticky = true, .calls = 1u << OS_SIM_WRITE
    };
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    os_sim_fail(sim, &fault);
    assert_ok(write_once(os, &model));
    assert_true(os_sim_faults(sim) > 0);
    struct parsed parsed = parse(os, "t.sst");
    check_body(&parsed, &model, 1 * KiB);
    parsed_release(&parsed);
    os_sim_free(sim);
    model_release(&model);
}

static void test_writer__every_failing_allocation_leaves_no_file(void **state)
{
    (void)state;
    struct model model = MODEL_INIT;
    model_fill(&model, 600, 5);
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    uint64_t live = mem_test_live();
    for (uint64_t nth = 1;; nth++) {
        mem_test_fail_at(nth, false);
        sombra_err err = write_once(os, &model);
        mem_test_fail_at(0, false);
        assert_int_equal(mem_test_live(), live);
        assert_int_equal(is_there(os), err == SOMBRA_OK);
        if (!err) {
            assert_true(nth > 10);
            break;
        }
        assert_int_equal(err, SOMBRA_NOMEM);
    }
    os_sim_free(sim);
    model_release(&model);
}

int main(void)
{
    mem_test_live(); /* counting begins */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer__every_byte_is_where_the_header_draws_it),
        cmocka_unit_test(test_writer__a_small_table_is_these_bytes),
        cmocka_unit_test(test_writer__separators_are_short),
        cmocka_unit_test(test_writer__hidden_ranges_widen_the_bounds_and_join),
        cmocka_unit_test(test_writer__a_table_may_hide_ranges_only),
        cmocka_unit_test(test_writer__large_values_are_copied_as_they_are_stored),
        cmocka_unit_test(test_writer__a_failing_copy_fails_the_table),
        cmocka_unit_test(test_writer__what_does_not_ascend_is_corrupt),
        cmocka_unit_test(test_writer__ranges_that_overlap_or_are_empty_are_corrupt),
        cmocka_unit_test(test_writer__an_empty_table_is_refused_and_leaves_no_file),
        cmocka_unit_test(test_writer__without_finish_no_file_stays),
        cmocka_unit_test(test_writer__a_file_that_is_there_stays_as_it_is),
        cmocka_unit_test(test_writer__syncs_once_at_the_end),
        cmocka_unit_test(test_writer__every_failing_call_leaves_no_file),
        cmocka_unit_test(test_writer__short_writes_are_continued),
        cmocka_unit_test(test_writer__every_failing_allocation_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
