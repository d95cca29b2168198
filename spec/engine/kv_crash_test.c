/* SPDX-License-Identifier: MIT */
/* The crash tests themselves: a small store that keeps every promise passes them, and each way of
 * breaking one is found. The store is the model with a journal: every commit appends its whole
 * content as one checksummed record; opening writes the last whole record to a fresh file.
 */
#include "kv_check.h"
#include "kv_crash.h"
#include "kv_model.h"

#include <stdlib.h>

enum sin {
    SIN_NONE,
    SIN_NO_SYNC,           /* commits are acknowledged before they are durable */
    SIN_NO_CHECKSUM,       /* a torn record counts */
    SIN_NO_DIRECTORY_SYNC, /* the file's name is not durable */
    SIN_NO_REWRITE,        /* what recovery read may be in the page cache only */
    SIN_SYNCS_AGAIN,       /* goes on after a failed sync */
    SIN_KEEPS_A_BLOCK,     /* leaks when memory is short */
};

enum { RECORD_CRC = 0, RECORD_BYTES = 4, RECORD_HEADER = 12 };

struct journal {
    enum sin sin;
    struct os *os;
    struct os_file *file;
    uint64_t offset; /* of the next record */
    bool is_poisoned;
    bool is_loading; /* what the model commits is from the file */
};

static sombra_err append_entry(struct buf *record, const struct kv_entry *entry)
{
    sombra_err err = buf_append_varint(record, entry->key.bytes);
    if (!err)
        err = buf_append_varint(record, entry->value.bytes);
    if (!err)
        err = buf_append_slice(record, entry->key);
    return err ? err : buf_append_slice(record, entry->value);
}

static sombra_err build_record(struct kv_txn *txn, struct buf *record)
{
    struct kv_cursor *cursor;
    uint8_t *header;
    bool found = true;
    sombra_err err = buf_extend(record, RECORD_HEADER, &header);
    if (err)
        return err;
    expect_ok(kv_cursor_open(txn, (struct kv_range){ { 0 }, { 0 } }, &cursor));
    while (!err && found) {
        expect_ok(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found));
        if (found)
            err = append_entry(record, &cursor->entry);
    }
    kv_cursor_close(cursor);
    if (err)
        return err;
    put_le64(record->data + RECORD_BYTES, record->bytes);
    uint32_t crc = crc32_update(0, record->data + RECORD_BYTES, record->bytes - RECORD_BYTES);
    put_le32(record->data + RECORD_CRC, crc);
    return SOMBRA_OK;
}

/* A failed sync is the last one: what it lost no later one brings back. */
static sombra_err journal_sync(struct journal *journal)
{
    if (journal->sin == SIN_NO_SYNC)
        return SOMBRA_OK;
    if (journal->is_poisoned)
        return diag_fail(SOMBRA_IO, "a sync failed before: reopen the store");
    sombra_err err = os_sync(journal->file);
    journal->is_poisoned = err && journal->sin != SIN_SYNCS_AGAIN;
    return journal->is_poisoned ? SOMBRA_IO : err ? SOMBRA_LIMIT : SOMBRA_OK;
}

static struct buf kept = BUF_INIT; /* what SIN_KEEPS_A_BLOCK forgot to release */

static sombra_err journal_commit(struct journal *journal, struct kv_txn *txn,
                                 enum kv_durability durability)
{
    struct buf record = BUF_INIT;
    if (journal->is_poisoned)
        return diag_fail(SOMBRA_IO, "a sync failed before: reopen the store");
    sombra_err err = build_record(txn, &record);
    if (err && journal->sin == SIN_KEEPS_A_BLOCK && !kept.data) {
        kept = record;
        return err;
    }
    if (!err)
        err = os_write(journal->file, journal->offset, record.data, record.bytes);
    if (!err && (durability == KV_FULL || durability == KV_GROUP))
        err = journal_sync(journal);
    if (!err)
        journal->offset += record.bytes;
    buf_release(&record);
    return err;
}

static sombra_err journal_hook(void *context, enum kv_model_event event, struct kv_txn *txn,
                               enum kv_durability durability)
{
    struct journal *journal = context;
    if (journal->is_loading)
        return SOMBRA_OK;
    if (event == KV_MODEL_COMMIT)
        return journal_commit(journal, txn, durability);
    sombra_err err = journal_sync(journal);
    if (event == KV_MODEL_CLOSE) {
        os_close(journal->file);
        free(journal);
    }
    return err;
}

/* ---- recovery ---------------------------------------------------------------------------- */

/* The length of the whole record at the beginning of `rest`; 0 if there is none. */
static uint64_t record_bytes(const struct journal *journal, sombra_slice rest)
{
    const uint8_t *at = rest.data;
    if (rest.bytes < RECORD_HEADER)
        return 0;
    uint64_t bytes = get_le64(at + RECORD_BYTES);
    if (bytes < RECORD_HEADER || bytes > rest.bytes)
        return 0;
    uint32_t crc = crc32_update(0, at + RECORD_BYTES, bytes - RECORD_BYTES);
    bool is_whole = crc == get_le32(at + RECORD_CRC);
    return is_whole || journal->sin == SIN_NO_CHECKSUM ? bytes : 0;
}

static sombra_slice last_record(struct journal *journal, sombra_slice content)
{
    sombra_slice last = slice_of(NULL, 0);
    uint64_t bytes;
    journal->offset = 0;
    while ((bytes = record_bytes(journal, slice_from(content, journal->offset))) > 0) {
        last = slice_of((const uint8_t *)content.data + journal->offset, bytes);
        journal->offset += bytes;
    }
    return last;
}

static void load_record(struct kv *kv, sombra_slice record)
{
    if (record.bytes == 0)
        return;
    const uint8_t *at = (const uint8_t *)record.data + RECORD_HEADER;
    const uint8_t *end = (const uint8_t *)record.data + record.bytes;
    struct kv_txn *txn = kv_begin_write(kv);
    while (at && at < end) {
        uint64_t key_bytes, value_bytes;
        at = varint_get(at, end, &key_bytes);
        at = at ? varint_get(at, end, &value_bytes) : NULL;
        if (!at || key_bytes > (uint64_t)(end - at) ||
            value_bytes > (uint64_t)(end - at) - key_bytes)
            break; /* a torn record of the store that has no checksums */
        if (kv_put(txn, slice_of(at, key_bytes), slice_of(at + key_bytes, value_bytes)))
            break;
        at += key_bytes + value_bytes;
    }
    kv_commit_ok(txn);
}

/* A fresh file with that record alone, durable, under the journal's name. */
static sombra_err rewrite(struct journal *journal, sombra_slice record)
{
    unsigned flags = OS_WRITE | OS_CREATE;
    sombra_err err = os_open(journal->os, "store-new", flags, 0600, &journal->file);
    if (!err)
        err = os_truncate(journal->file, 0);
    if (!err)
        err = os_write(journal->file, 0, record.data, record.bytes);
    if (!err)
        err = os_sync(journal->file);
    if (!err)
        err = os_rename(journal->os, "store-new", "store");
    if (!err && journal->sin != SIN_NO_DIRECTORY_SYNC)
        err = os_sync_directory_of(journal->os, "store");
    journal->offset = record.bytes;
    return err;
}

static sombra_err read_all(struct os_file *file, struct buf *content)
{
    uint64_t bytes;
    uint8_t *at;
    sombra_err err = os_size(file, &bytes);
    if (!err)
        err = buf_extend(content, bytes, &at);
    return err ? err : os_read(file, 0, at, bytes);
}

static sombra_err recover(struct journal *journal, struct buf *content)
{
    struct os_file *old = NULL;
    sombra_err err = os_open(journal->os, "store", OS_WRITE, 0600, &old);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    if (!err)
        err = read_all(old, content);
    else
        err = SOMBRA_OK;
    sombra_slice record = last_record(journal, buf_slice(content));
    if (!err && old && journal->sin == SIN_NO_REWRITE) {
        journal->file = old;
        return SOMBRA_OK;
    }
    if (!err)
        err = rewrite(journal, record);
    os_close(old);
    return err;
}

static sombra_err open_journal(void *context, struct os *os, struct kv **out_kv)
{
    struct journal *journal = calloc(1, sizeof *journal);
    assert_non_null(journal);
    journal->sin = *(const enum sin *)context;
    journal->os = os;
    struct buf content = BUF_INIT;
    sombra_err err = recover(journal, &content);
    if (err) {
        os_close(journal->file);
        free(journal);
    } else {
        struct kv_model_options options = { .hook = journal_hook, .context = journal };
        uint64_t offset = journal->offset;
        journal->is_loading = true;
        expect_ok(kv_model_open(&options, out_kv));
        load_record(*out_kv, last_record(journal, buf_slice(&content)));
        journal->is_loading = false;
        journal->offset = offset;
    }
    buf_release(&content);
    return err;
}

/* ---- facts ------------------------------------------------------------------------------- */

typedef bool (*crash_test_fn)(const struct kv_crash_driver *driver, uint64_t seed);

static bool passes(enum sin sin, crash_test_fn test, uint64_t seed, FILE *report)
{
    const struct kv_crash_driver driver = {
        .name = "journal", .context = &sin, .open = open_journal, .report = report
    };
    return test(&driver, seed);
}

static void expect_found(enum sin sin, crash_test_fn test, const char *said)
{
    char text[8000];
    FILE *report = tmpfile();
    assert_non_null(report);
    assert_false(passes(sin, test, 1, report));
    rewind(report);
    text[fread(text, 1, sizeof text - 1, report)] = 0;
    fclose(report);
    if (!strstr(text, said))
        print_error("'%s' is not in:\n%s", said, text);
    assert_non_null(strstr(text, said));
}

static void test_crash__store_that_keeps_its_promises_passes(void **state)
{
    (void)state;
    uint64_t seed = kv_test_seed("journal");
    assert_true(passes(SIN_NONE, kv_crash_power_cuts, seed, stderr));
    assert_true(passes(SIN_NONE, kv_crash_faults, seed, stderr));
    assert_true(passes(SIN_NONE, kv_crash_allocations, seed, stderr));
}

static void test_crash__missing_sync_is_found(void **state)
{
    (void)state;
    expect_found(SIN_NO_SYNC, kv_crash_power_cuts, "expected");
}

static void test_crash__missing_checksum_is_found(void **state)
{
    (void)state;
    expect_found(SIN_NO_CHECKSUM, kv_crash_power_cuts, "corrupt");
}

static void test_crash__missing_sync_of_the_name_is_found(void **state)
{
    (void)state;
    expect_found(SIN_NO_DIRECTORY_SYNC, kv_crash_power_cuts, "commit 0 found");
}

static void test_crash__recovery_that_trusts_the_page_cache_is_found(void **state)
{
    (void)state;
    expect_found(SIN_NO_REWRITE, kv_crash_power_cuts, "after one more power cut");
}

static void test_crash__going_on_after_a_failed_sync_is_found(void **state)
{
    (void)state;
    expect_found(SIN_SYNCS_AGAIN, kv_crash_faults, "then a power cut");
}

static void test_crash__leak_at_a_failed_allocation_is_found(void **state)
{
    (void)state;
    expect_found(SIN_KEEPS_A_BLOCK, kv_crash_allocations, "blocks leak");
    buf_release(&kept);
}

int main(void)
{
    unsetenv("SOMBRA_SHARE"); /* what is planted here is found by whole samples only */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__store_that_keeps_its_promises_passes),
        cmocka_unit_test(test_crash__missing_sync_is_found),
        cmocka_unit_test(test_crash__missing_checksum_is_found),
        cmocka_unit_test(test_crash__missing_sync_of_the_name_is_found),
        cmocka_unit_test(test_crash__recovery_that_trusts_the_page_cache_is_found),
        cmocka_unit_test(test_crash__going_on_after_a_failed_sync_is_found),
        cmocka_unit_test(test_crash__leak_at_a_failed_allocation_is_found),
    };
    return cmocka_run_group_tests_name("kv_crash", tests, NULL, NULL);
}
