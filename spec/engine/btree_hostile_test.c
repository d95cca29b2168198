/* SPDX-License-Identifier: MIT */
/* Files that were damaged, cut, swapped or made by somebody else: an error that says where, or the
 * very same answers; never a crash, never another answer.
 *
 * SOMBRA_LONG=1 flips every byte; else pages' heads, both metas and a sample by the printed seed.
 */
#include "btree_fixture.h"

#include "btree/meta_format.h"
#include "btree/page/page.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, HEAD_BYTES = 80 };

static struct btree_options small_options(void)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .no_background = true };
}

/* A closed database with pages of all kinds in as few pages as that takes. */
struct victim {
    struct store store;
    struct buf bytes; /* of the closed file */
    uint64_t digest;
    uint64_t seed;
    uint64_t pages_unread; /* free, or the map of pending pages: who opens anew needs no such map */
    bool is_forged;        /* checksums are sound: a wrong count is only verify's to find */
};

static void fill_all_kinds(struct kv *kv)
{
    uint8_t key[8];
    struct kv_txn *txn = kv_begin_write(kv);
    for (uint64_t i = 0; i < 400; i++) /* dense: short keys, no values */
        expect_ok(kv_put(txn, kv_number_key(i, key), slice_of(NULL, 0)));
    for (unsigned i = 0; i < 24; i++) { /* general: values of different sizes */
        char name[32];
        snprintf(name, sizeof name, "name %u of a longer key", i * 7919u);
        put_sized(txn, name, i, 40 + i * 11);
    }
    put_sized(txn, "one page of value", 100, 2000);
    put_sized(txn, "more pages of value", 101, 6000);
    kv_commit_ok(txn);
    struct kv_stats stats = store_stats(kv, true);
    assert_true(stats.pages_branch > 0 && stats.pages_leaf > 0);
    assert_true(stats.pages_leaf_dense > 0 && stats.pages_overflow == 3);
}

static int victim_make(void **state)
{
    struct victim *victim = *state;
    struct btree_options options = small_options();
    store_init(&victim->store, &options);
    fill_all_kinds(victim->store.kv);
    expect_ok(content_digest(victim->store.kv, &victim->digest));
    store_reopen(&victim->store);
    victim->pages_unread = store_stats(victim->store.kv, false).pages_free + 1;
    store_close(&victim->store);
    assert_true(file_load(victim->store.path, &victim->bytes));
    return 0;
}

static int victim_release(void **state)
{
    struct victim *victim = *state;
    store_release(&victim->store);
    buf_release(&victim->bytes);
    return 0;
}

/* ---- the check --------------------------------------------------------------------------- */

static void expect_clear_text(const struct victim *victim, const char *what)
{
    const char *text = sombra_err_message();
    if (victim->is_forged && strcmp(text, CONTENT_DIFFERS) == 0)
        return;
    if (!strstr(text, victim->store.path) ||
        !(strstr(text, "page") || strstr(text, "meta") || strstr(text, "not a sombra database") ||
          strstr(text, "is missing")))
        fail_msg("%s: the text does not say where: %s", what, text);
}

static bool is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_INVALID || err == SOMBRA_UNSUPPORTED;
}

/* True if the store gave an error. */
static bool expect_error_or_same(struct victim *victim, const char *what)
{
    struct kv *kv;
    sombra_err err = btree_open(os_posix(), victim->store.path, &victim->store.options, &kv);
    if (err) {
        if (!is_damage(err))
            fail_msg("%s: open: %s: %s", what, sombra_err_name(err), sombra_err_message());
        expect_clear_text(victim, what);
        return true;
    }
    uint64_t digest = 0, problems = 0;
    sombra_err read_err = content_digest(kv, &digest);
    if (read_err) {
        if (read_err != SOMBRA_CORRUPT)
            fail_msg("%s: read: %s: %s", what, sombra_err_name(read_err), sombra_err_message());
        expect_clear_text(victim, what);
    } else if (digest != victim->digest) {
        fail_msg("%s: another content was read", what);
    }
    err = verify_count(kv, &problems);
    if (err || (read_err && problems == 0))
        fail_msg("%s: verify: %s, %" PRIu64 " problems, read: %s", what, sombra_err_name(err),
                 problems, sombra_err_name(read_err));
    expect_ok(kv_close(kv));
    return read_err || problems;
}

static void poke(const struct victim *victim, uint64_t offset, const uint8_t *bytes, size_t count)
{
    struct os_file *file;
    expect_ok(os_open(os_posix(), victim->store.path, OS_WRITE, 0, &file));
    expect_ok(os_write(file, offset, bytes, count));
    os_close(file);
}

static void restore(const struct victim *victim)
{
    file_store(victim->store.path, buf_slice(&victim->bytes));
}

static void expect_untouched(const struct victim *victim, const char *what, sombra_slice want)
{
    struct buf now = BUF_INIT;
    assert_true(file_load(victim->store.path, &now));
    if (!slice_equal(buf_slice(&now), want))
        fail_msg("%s: the file was changed", what);
    buf_release(&now);
}

/* ---- flips ------------------------------------------------------------------------------- */

static bool is_flipped(const struct victim *victim, uint64_t offset)
{
    uint64_t in_page = offset % PAGE_BYTES;
    bool is_head = in_page < HEAD_BYTES || (offset < META_AREA_BYTES && in_page < META_BYTES);
    return test_is_long() || is_head || hash_u64(victim->seed + offset) % 8 == 0;
}

static void test_hostile__every_flipped_byte_is_found_or_harmless(void **state)
{
    struct victim *victim = *state;
    uint64_t flips = 0, found = 0, blind_pages = 0;
    for (uint64_t offset = 0; offset < victim->bytes.bytes; offset++) {
        if (!is_flipped(victim, offset))
            continue;
        uint8_t was = victim->bytes.data[offset];
        const uint8_t to[] = { (uint8_t)(was ^ 0xff), (uint8_t)(was ^ 1), 0 };
        unsigned ways = test_is_long() ? 3 : offset % PAGE_BYTES < HEAD_BYTES ? 2 : 1;
        for (unsigned i = 0; i < ways; i++) {
            if (to[i] == was)
                continue;
            char what[80];
            snprintf(what, sizeof what, "page %" PRIu64 ", byte %" PRIu64 ": %02x for %02x",
                     offset / PAGE_BYTES, offset % PAGE_BYTES, to[i], was);
            poke(victim, offset, &to[i], 1);
            bool is_found = expect_error_or_same(victim, what);
            found += is_found;
            flips++;
            bool is_number = i == 0 && offset % PAGE_BYTES == PAGE_NUMBER;
            blind_pages += is_number && offset >= META_AREA_BYTES && !is_found;
        }
        poke(victim, offset, &was, 1);
    }
    expect_untouched(victim, "flips", buf_slice(&victim->bytes));
    print_message("%" PRIu64 " flips, %" PRIu64 " noticed, in %zu pages, %" PRIu64 " unread\n",
                  flips, found, victim->bytes.bytes / PAGE_BYTES, blind_pages);
    /* Checksums leave out free pages, and what follows a value in its last page. */
    assert_true(blind_pages <= victim->pages_unread);
}

static void test_hostile__damaged_maps_are_never_written_by(void **state)
{
    /* A flipped map must not make a writer take pages that are in use. */
    struct victim *victim = *state;
    unsigned refused = 0;
    for (uint64_t page = 2; page < victim->bytes.bytes / PAGE_BYTES; page++) {
        uint8_t kind = victim->bytes.data[page * PAGE_BYTES + PAGE_KIND];
        if (kind != PAGE_SPACE && kind != PAGE_SPACE_MAP)
            continue;
        for (unsigned at = 8; at < 72; at += 3) {
            uint8_t to = victim->bytes.data[page * PAGE_BYTES + at] ^ 0x5a;
            poke(victim, page * PAGE_BYTES + at, &to, 1);
            struct kv *kv;
            expect_ok(btree_open(os_posix(), victim->store.path, &victim->store.options, &kv));
            struct kv_txn *txn;
            sombra_err err = kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, &txn);
            if (!err) { /* a page that no longer belongs to the database */
                put_sized(txn, "more", 1, 5000);
                kv_commit_ok(txn);
                store_expect_exact(kv);
            } else if (err != SOMBRA_CORRUPT) {
                fail_msg("%s: %s", sombra_err_name(err), sombra_err_message());
            }
            refused += err != SOMBRA_OK;
            uint64_t digest;
            if (err) {
                expect_ok(content_digest(kv, &digest));
                assert_int_equal(digest, victim->digest);
            }
            expect_ok(kv_close(kv));
            restore(victim);
        }
    }
    assert_true(refused > 0);
}

/* ---- whole pages ------------------------------------------------------------------------- */

static void test_hostile__swapped_pages_are_found(void **state)
{
    struct victim *victim = *state;
    uint64_t pages = victim->bytes.bytes / PAGE_BYTES;
    uint64_t blind = 0;
    const uint8_t *data = victim->bytes.data;
    for (uint64_t a = 0; a < pages; a++) {
        for (uint64_t b = a + 1; b < pages; b++) {
            char what[64];
            snprintf(what, sizeof what, "pages %" PRIu64 " and %" PRIu64 " swapped", a, b);
            poke(victim, a * PAGE_BYTES, data + b * PAGE_BYTES, PAGE_BYTES);
            poke(victim, b * PAGE_BYTES, data + a * PAGE_BYTES, PAGE_BYTES);
            bool is_found = expect_error_or_same(victim, what);
            /* The two metas may stand either way round. */
            blind += a > 1 && !is_found;
            restore(victim);
        }
    }
    assert_true(blind <= victim->pages_unread * (victim->pages_unread - 1) / 2);
}

static void test_hostile__every_truncation_is_found(void **state)
{
    struct victim *victim = *state;
    for (size_t bytes = 0; bytes < victim->bytes.bytes; bytes += 512) {
        char what[64];
        snprintf(what, sizeof what, "cut to %zu bytes", bytes);
        file_store(victim->store.path, slice_of(victim->bytes.data, bytes));
        if (!expect_error_or_same(victim, what))
            fail_msg("%s: not noticed", what);
        expect_untouched(victim, what, slice_of(victim->bytes.data, bytes));
    }
    restore(victim);
}

static void test_hostile__bytes_behind_the_end_are_harmless(void **state)
{
    struct victim *victim = *state;
    uint8_t rubbish[3000];
    memset(rubbish, 0xa5, sizeof rubbish);
    poke(victim, victim->bytes.bytes, rubbish, sizeof rubbish);
    assert_false(expect_error_or_same(victim, "rubbish behind the end"));
    store_open(&victim->store);
    struct kv_txn *txn = kv_begin_write(victim->store.kv);
    put_sized(txn, "more", 1, 30000);
    kv_commit_ok(txn);
    store_expect_exact(victim->store.kv);
    store_close(&victim->store);
    restore(victim);
}

/* ---- other files ------------------------------------------------------------------------- */

static void expect_refused(const struct victim *victim, sombra_slice bytes, sombra_err want,
                           const char *text)
{
    struct kv *kv;
    file_store(victim->store.path, bytes);
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        struct btree_options options = victim->store.options;
        options.is_readonly = readonly;
        expect_err(want, btree_open(os_posix(), victim->store.path, &options, &kv));
        if (!strstr(sombra_err_message(), text) ||
            !strstr(sombra_err_message(), victim->store.path))
            fail_msg("the text should say \"%s\": %s", text, sombra_err_message());
        expect_untouched(victim, text, bytes);
    }
}

static void test_hostile__files_that_are_no_database_are_refused_untouched(void **state)
{
    struct victim *victim = *state;
    struct buf bytes = BUF_INIT;
    expect_refused(victim, slice_of("", 0), SOMBRA_INVALID, "not a sombra database");
    expect_refused(victim, slice_str("a text"), SOMBRA_INVALID, "not a sombra database");
    expect_refused(victim, slice_of(victim->bytes.data, 256), SOMBRA_INVALID, "not a sombra");
    uint8_t *at;
    expect_ok(buf_extend(&bytes, 40000, &at));
    memset(at, 0, 40000);
    expect_refused(victim, buf_slice(&bytes), SOMBRA_INVALID, "not a sombra database");
    for (size_t i = 0; i < 40000; i++)
        at[i] = (uint8_t)("a text, and long\n"[i % 17]);
    expect_refused(victim, buf_slice(&bytes), SOMBRA_INVALID, "not a sombra database");
    kv_pattern(&bytes, victim->seed, 40000);
    expect_refused(victim, buf_slice(&bytes), SOMBRA_INVALID, "not a sombra database");
    buf_release(&bytes);
    restore(victim);
}

static void test_hostile__directory_is_no_database(void **state)
{
    struct victim *victim = *state;
    struct kv *kv;
    for (unsigned readonly = 0; readonly < 2; readonly++) {
        struct btree_options options = victim->store.options;
        options.is_readonly = readonly;
        sombra_err err = btree_open(os_posix(), victim->store.directory, &options, &kv);
        assert_int_not_equal(err, SOMBRA_OK);
        assert_non_null(strstr(sombra_err_message(), victim->store.directory));
    }
}

static void meta_seal(uint8_t *meta)
{
    put_le32(meta + META_CRC, crc32_update(0, meta, META_CRC));
}

static void test_hostile__newer_format_in_either_meta_is_refused_untouched(void **state)
{
    struct victim *victim = *state;
    for (unsigned slots = 1; slots < 4; slots++) {
        struct buf bytes = BUF_INIT;
        expect_ok(buf_set(&bytes, buf_slice(&victim->bytes)));
        for (unsigned slot = 0; slot < META_SLOTS; slot++) {
            uint8_t *meta = bytes.data + slot * META_SLOT_BYTES;
            if (!((slots >> slot) & 1))
                continue;
            put_le32(meta + META_VERSION, META_FORMAT_VERSION + 1);
            /* A newer format may use the rest as it likes. */
            memset(meta + META_SEQUENCE, 0x77, META_CRC - META_SEQUENCE);
            meta_seal(meta);
        }
        expect_refused(victim, buf_slice(&bytes), SOMBRA_UNSUPPORTED, "format version 2");
        buf_release(&bytes);
    }
    restore(victim);
}

/* A field of the meta record that a sound checksum covers. */
struct meta_lie {
    const char *name;
    unsigned offset;
    uint64_t value;
    bool is_wide;
};

static void test_hostile__metas_that_lie_are_found(void **state)
{
    struct victim *victim = *state;
    static const struct meta_lie lies[] = {
        { "page size 0", META_PAGE_BYTES, 0, false },
        { "page size 12288", META_PAGE_BYTES, 12288, false },
        { "page size 8192", META_PAGE_BYTES, 8192, false },
        { "root in the meta area", META_ROOT, 1, true },
        { "root behind the end", META_ROOT, UINT64_C(1) << 40, true },
        { "root of another kind", META_ROOT, 2, true },
        { "no root", META_ROOT, 0, true },
        { "depth 0", META_DEPTH, 0, false },
        { "depth 1", META_DEPTH, 1, false },
        { "depth 24", META_DEPTH, 24, false },
        { "depth 1000", META_DEPTH, 1000, false },
        { "more entries", META_ENTRIES, 1 << 20, true },
        { "page count 0", META_PAGE_COUNT, 0, true },
        { "page count beyond the file", META_PAGE_COUNT, UINT64_C(1) << 47, true },
        { "unknown log state", META_LOG_STATE, 9, false },
        { "log in use, but missing", META_LOG_STATE, META_LOG_IN_USE, false },
        { "maps at page 1", META_SPACE_DIRECTORY, 1, true },
        { "maps behind the end", META_SPACE_DIRECTORY, UINT64_C(1) << 40, true },
        { "txn before its pages", META_TXN, 1, true },
    };
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct buf bytes = BUF_INIT;
        expect_ok(buf_set(&bytes, buf_slice(&victim->bytes)));
        for (unsigned slot = 0; slot < META_SLOTS; slot++) {
            uint8_t *meta = bytes.data + slot * META_SLOT_BYTES;
            if (lies[i].is_wide)
                put_le64(meta + lies[i].offset, lies[i].value);
            else
                put_le32(meta + lies[i].offset, (uint32_t)lies[i].value);
            meta_seal(meta);
        }
        file_store(victim->store.path, buf_slice(&bytes));
        victim->is_forged = true;
        if (!expect_error_or_same(victim, lies[i].name))
            fail_msg("%s: not noticed", lies[i].name);
        victim->is_forged = false;
        buf_release(&bytes);
    }
    restore(victim);
}

/* ---- leaves that lie ----------------------------------------------------------------------- */

/* Where a leaf says that a value of `value_bytes` begins: its page's number, then the bytes. */
static size_t reference_find(const struct victim *victim, uint64_t value_bytes)
{
    const struct buf *bytes = &victim->bytes;
    for (size_t at = META_AREA_BYTES; at + 16 <= bytes->bytes; at++) {
        uint8_t kind = bytes->data[at - at % PAGE_BYTES + PAGE_KIND];
        uint64_t id = get_le64(bytes->data + at);
        if (kind == PAGE_LEAF && get_le64(bytes->data + at + 8) == value_bytes && id > 1 &&
            id < bytes->bytes / PAGE_BYTES)
            return at;
    }
    fail_msg("no leaf refers to a value of %" PRIu64 " bytes", value_bytes);
    return 0;
}

/* A value that was never read: neither its page number nor its length is proved when it is replaced
 * or deleted. */
static void test_hostile__value_beyond_the_end_is_neither_read_nor_freed(void **state)
{
    struct victim *victim = *state;
    static const char key[] = "more pages of value";
    static const uint64_t lies[][2] = {
        { 1, 6000 },       { UINT64_C(1) << 40, 6000 }, { UINT64_MAX, 6000 }, { 4, 1 << 29 },
        { 4, UINT64_MAX }, { 4, UINT64_C(1) << 63 },    { 1 << 20, 6000 },
    };
    size_t at = reference_find(victim, 6000);
    size_t page = at - at % PAGE_BYTES;
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        uint8_t leaf[PAGE_BYTES];
        memcpy(leaf, victim->bytes.data + page, PAGE_BYTES);
        put_le64(leaf + at % PAGE_BYTES, lies[i][0]);
        put_le64(leaf + at % PAGE_BYTES + 8, lies[i][1]);
        page_seal(leaf, PAGE_BYTES);
        poke(victim, page, leaf, PAGE_BYTES);
        store_open(&victim->store);
        struct kv_txn *txn = kv_begin_read(victim->store.kv);
        sombra_slice value;
        expect_err(SOMBRA_CORRUPT, kv_get(txn, slice_str(key), &value));
        expect_clear_text(victim, "get");
        kv_abort(txn);
        txn = kv_begin_write(victim->store.kv);
        uint64_t mark;
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_SET, &mark));
        expect_err(SOMBRA_CORRUPT, kv_put(txn, slice_str(key), slice_str("short")));
        expect_clear_text(victim, "put");
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        expect_err(SOMBRA_CORRUPT, kv_delete(txn, slice_str(key)));
        expect_ok(kv_savepoint(txn, KV_SAVEPOINT_ROLLBACK, &mark));
        expect_err(SOMBRA_CORRUPT, kv_delete_range(txn, (struct kv_range){ 0 }, NULL));
        kv_abort(txn);
        store_close(&victim->store);
        restore(victim);
    }
}

int main(void)
{
    struct victim victim = { .bytes = BUF_INIT, .seed = kv_test_seed("btree, hostile files") };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile__every_flipped_byte_is_found_or_harmless),
        cmocka_unit_test(test_hostile__damaged_maps_are_never_written_by),
        cmocka_unit_test(test_hostile__swapped_pages_are_found),
        cmocka_unit_test(test_hostile__every_truncation_is_found),
        cmocka_unit_test(test_hostile__bytes_behind_the_end_are_harmless),
        cmocka_unit_test(test_hostile__files_that_are_no_database_are_refused_untouched),
        cmocka_unit_test(test_hostile__directory_is_no_database),
        cmocka_unit_test(test_hostile__newer_format_in_either_meta_is_refused_untouched),
        cmocka_unit_test(test_hostile__metas_that_lie_are_found),
        cmocka_unit_test(test_hostile__value_beyond_the_end_is_neither_read_nor_freed),
    };
    struct CMUnitTest with_state[COUNT_OF(tests)];
    for (size_t i = 0; i < COUNT_OF(tests); i++) {
        with_state[i] = tests[i];
        with_state[i].initial_state = &victim;
        with_state[i].setup_func = NULL;
    }
    void *state = &victim;
    victim_make(&state);
    int failed = cmocka_run_group_tests_name("btree, hostile files", with_state, NULL, NULL);
    victim_release(&state);
    return failed;
}
