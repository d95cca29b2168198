/* SPDX-License-Identifier: MIT */
/* A dump shows what stands in the files, damaged ones too, and changes nothing. */
#include "btree_fixture.h"

#include "btree/meta_format.h"

#include <inttypes.h>
#include <stdio.h>

enum { PAGE_BYTES = 4096 };

static struct btree_options small_options(void)
{
    return (struct btree_options){ .page_bytes = PAGE_BYTES,
                                   .map_bytes_max = TEST_MAP_BYTES,
                                   .no_background = true };
}

struct lines {
    struct buf text; /* each with a line end */
    uint64_t count, count_max;
};

static bool take_line(void *context, const char *line)
{
    struct lines *lines = context;
    expect_ok(buf_append(&lines->text, line, strlen(line)));
    expect_ok(buf_append(&lines->text, "\n", 1));
    return ++lines->count != lines->count_max;
}

/* The dump's lines as text, ended by a zero byte; the caller releases them. */
static struct lines dump(struct store *store, enum btree_dump_what what, uint64_t page,
                         sombra_err expected)
{
    struct lines lines = { .text = BUF_INIT };
    assert_int_equal(btree_dump(store->os, store->path, what, page, take_line, &lines), expected);
    expect_ok(buf_append(&lines.text, "", 1));
    return lines;
}

static const char *text_of(const struct lines *lines)
{
    return (const char *)lines->text.data;
}

static uint64_t count_of(const struct lines *lines, const char *part)
{
    uint64_t count = 0;
    for (const char *at = text_of(lines); (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* The number behind `name` in the first line that has it. */
static uint64_t number_of(const struct lines *lines, const char *name)
{
    const char *at = strstr(text_of(lines), name);
    assert_non_null(at);
    return strtoull(at + strlen(name), NULL, 10);
}

static void fill(struct kv *kv)
{
    struct kv_txn *txn = kv_begin_write(kv);
    kv_put_numbers(txn, 0, 2000, 40, 0);
    put_sized(txn, "large", 1, 3 * PAGE_BYTES);
    kv_commit_ok(txn);
}

static void store_fill(struct store *store)
{
    struct btree_options options = small_options();
    store_init(store, &options);
    fill(store->kv);
    store_close(store);
}

static void test_dump__tree_has_every_page_and_entry(void **state)
{
    (void)state;
    struct store store;
    store_fill(&store);
    struct lines meta = dump(&store, BTREE_DUMP_META, 0, SOMBRA_OK);
    assert_int_equal(count_of(&meta, "meta slot="), 2);
    assert_int_equal(count_of(&meta, "newest=true"), 1);
    assert_int_equal(count_of(&meta, "log_state=clean"), 2);

    struct lines tree = dump(&store, BTREE_DUMP_TREE, 0, SOMBRA_OK);
    assert_int_equal(number_of(&tree, "entries="), 2001);
    assert_int_equal(count_of(&tree, "problem="), 0);
    uint64_t entries = 0, values = 0;
    for (const char *at = text_of(&tree); (at = strstr(at, "page number=")) != NULL; at++) {
        struct lines page = dump(&store, BTREE_DUMP_PAGE,
                                 strtoull(at + strlen("page number="), NULL, 10), SOMBRA_OK);
        entries += count_of(&page, "entry index=");
        values += count_of(&page, "overflow=");
        assert_int_equal(count_of(&page, "entry index=") + count_of(&page, "child index="),
                         number_of(&page, "count="));
        buf_release(&page.text);
    }
    assert_int_equal(entries, 2001);
    assert_int_equal(values, 1);
    buf_release(&tree.text);
    buf_release(&meta.text);
    store_release(&store);
}

static void test_dump__log_has_the_records_behind_the_checkpoint(void **state)
{
    (void)state;
    struct btree_options options = small_options();
    struct store store;
    store_init(&store, &options);
    struct lines log = dump(&store, BTREE_DUMP_LOG, 0, SOMBRA_OK);
    assert_string_equal(text_of(&log), "log state=clean\n");
    buf_release(&log.text);
    store_use_log(store.kv);
    for (uint64_t i = 0; i < 3; i++) {
        struct kv_txn *txn = kv_begin_write(store.kv);
        put_sized(txn, "a", i, 8);
        put_sized(txn, "b", i, 8);
        expect_ok(kv_delete_range(txn, (struct kv_range){ .low = slice_str("b") }, NULL));
        kv_commit_ok(txn);
    }
    log = dump(&store, BTREE_DUMP_LOG, 0, SOMBRA_OK);
    assert_int_equal(count_of(&log, "record half="), number_of(&log, "records="));
    assert_int_equal(count_of(&log, " puts=2 deletes=0 range_deletes=1"), 3);
    assert_int_equal(count_of(&log, "problem="), 0);
    buf_release(&log.text);
    store_release(&store);
}

static void test_dump__damage_is_a_line_and_the_rest_goes_on(void **state)
{
    (void)state;
    struct store store;
    struct buf bytes = BUF_INIT;
    store_fill(&store);
    struct lines tree = dump(&store, BTREE_DUMP_TREE, 0, SOMBRA_OK);
    uint64_t pages = count_of(&tree, "page number=");
    const char *leaf = strstr(text_of(&tree), " level=0 ");
    while (strncmp(leaf, "page number=", strlen("page number=")) != 0)
        leaf--;
    uint64_t number = strtoull(leaf + strlen("page number="), NULL, 10);
    assert_true(file_load(store.path, &bytes));
    bytes.data[number * PAGE_BYTES + 1000] ^= 1;
    bytes.data[META_SLOT_BYTES + META_TXN] ^= 1;
    file_store(store.path, buf_slice(&bytes));
    buf_release(&tree.text);

    tree = dump(&store, BTREE_DUMP_TREE, 0, SOMBRA_OK);
    assert_int_equal(count_of(&tree, "page number="), pages);
    assert_int_equal(count_of(&tree, "problem="), 1);
    struct lines meta = dump(&store, BTREE_DUMP_META, 0, SOMBRA_OK);
    assert_non_null(strstr(text_of(&meta), "meta number=1 problem="));
    buf_release(&meta.text);
    buf_release(&tree.text);

    memset(bytes.data, 'x', META_AREA_BYTES);
    file_store(store.path, buf_slice(&bytes));
    meta = dump(&store, BTREE_DUMP_META, 0, SOMBRA_OK);
    assert_int_equal(count_of(&meta, "problem="), 2);
    tree = dump(&store, BTREE_DUMP_TREE, 0, SOMBRA_CORRUPT);
    assert_int_equal(tree.count, 0);
    buf_release(&meta.text);
    buf_release(&tree.text);
    buf_release(&bytes);
    store_release(&store);
}

/* Every byte of a tree page changed, one at a time, its checksum made right again by nobody. */
static void test_dump__survives_any_damage_of_a_page(void **state)
{
    (void)state;
    struct store store;
    struct buf bytes = BUF_INIT;
    store_fill(&store);
    struct lines meta = dump(&store, BTREE_DUMP_META, 0, SOMBRA_OK);
    uint64_t root = number_of(&meta, "root=");
    assert_true(file_load(store.path, &bytes));
    for (size_t at = 0; at < PAGE_BYTES; at += 7) {
        bytes.data[root * PAGE_BYTES + at] ^= 0xff;
        file_store(store.path, buf_slice(&bytes));
        struct lines page = dump(&store, BTREE_DUMP_PAGE, root, SOMBRA_OK);
        assert_true(page.count >= 1);
        buf_release(&page.text);
        bytes.data[root * PAGE_BYTES + at] ^= 0xff;
    }
    buf_release(&meta.text);
    buf_release(&bytes);
    store_release(&store);
}

static void test_dump__of_what_is_not_there_fails(void **state)
{
    (void)state;
    struct store store;
    store_fill(&store);
    struct lines none = dump(&store, BTREE_DUMP_PAGE, 0, SOMBRA_NOT_FOUND);
    buf_release(&none.text);
    none = dump(&store, BTREE_DUMP_PAGE, UINT64_C(1) << 40, SOMBRA_NOT_FOUND);
    buf_release(&none.text);
    struct lines one = { .text = BUF_INIT, .count_max = 1 };
    assert_int_equal(btree_dump(store.os, store.path, BTREE_DUMP_TREE, 0, take_line, &one),
                     SOMBRA_CANCELLED);
    assert_int_equal(one.count, 1);
    buf_release(&one.text);
    assert_int_equal(btree_dump(store.os, "/no/such/file", BTREE_DUMP_META, 0, take_line, &one),
                     SOMBRA_NOT_FOUND);
    store_release(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump__tree_has_every_page_and_entry),
        cmocka_unit_test(test_dump__log_has_the_records_behind_the_checkpoint),
        cmocka_unit_test(test_dump__damage_is_a_line_and_the_rest_goes_on),
        cmocka_unit_test(test_dump__survives_any_damage_of_a_page),
        cmocka_unit_test(test_dump__of_what_is_not_there_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
