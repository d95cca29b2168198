/* SPDX-License-Identifier: MIT */
/* A database file of any bytes: open, read, scan and verify answer or refuse, never crash; and what
 * verify finds nothing wrong with can be written to, and is sound afterwards.
 *
 * The first byte of the input says what the rest is:
 *   r  the file itself
 *   s  the file, whose metas and pages are then given the checksums that fit
 *   h  pokes into page heads and metas, p pokes anywhere: four bytes each (page, two of the offset,
 *      value) on a small database with pages of every kind, which then gets its checksums; a corpus
 *      of plain text can hold them
 */
#include "btree/btree.h"
#include "os/os_sim.h"

#include "btree/meta_format.h"
#include "btree/overflow_format.h"
#include "btree/page/page_format.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { PAGE_BYTES = 4096, FILE_BYTES_MAX = 1 << 20 };

static void require(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "btree_open_fuzz: not so: %s (%s)\n", what, diag_text());
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

static struct btree_options options_of(bool create)
{
    return (struct btree_options){
        .create = create, .page_bytes = PAGE_BYTES, .map_bytes_max = 64 * MiB, .no_background = true
    };
}

/* ---- the file ----------------------------------------------------------------------------- */

static void put_pattern(struct kv_txn *txn, const char *name, unsigned number, size_t bytes)
{
    static const uint8_t value[10000] = { 1, 2, 3 };
    char key[64];
    snprintf(key, sizeof key, "%s %u", name, number);
    REQUIRE(kv_put(txn, slice_str(key), slice_of(value, bytes)) == SOMBRA_OK);
}

static void base_fill(struct kv *kv)
{
    struct kv_txn *txn;
    REQUIRE(kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, &txn) == SOMBRA_OK);
    for (unsigned i = 0; i < 300; i++) {
        uint8_t key[4];
        put_be32(key, i * 3);
        REQUIRE(kv_put(txn, slice_of(key, 4), slice_of(NULL, 0)) == SOMBRA_OK);
    }
    for (unsigned i = 0; i < 20; i++)
        put_pattern(txn, "an entry", i, i * 20);
    put_pattern(txn, "large", 1, 3000);
    put_pattern(txn, "large", 2, 9000);
    REQUIRE(kv_commit(txn, KV_DURABILITY_STORE) == SOMBRA_OK);
}

/* The small database, made once. */
static sombra_slice base_file(void)
{
    static uint8_t image[FILE_BYTES_MAX];
    static size_t image_bytes;
    if (image_bytes)
        return slice_of(image, image_bytes);
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    struct btree_options options = options_of(true);
    struct kv *kv;
    REQUIRE(btree_open(os, "base", &options, &kv) == SOMBRA_OK);
    base_fill(kv);
    REQUIRE(kv_close(kv) == SOMBRA_OK);
    struct os_file *file;
    uint64_t bytes;
    REQUIRE(os_open(os, "base", OS_READ, 0, &file) == SOMBRA_OK);
    REQUIRE(os_size(file, &bytes) == SOMBRA_OK && bytes <= sizeof image);
    REQUIRE(os_read(file, 0, image, (size_t)bytes) == SOMBRA_OK);
    os_close(file);
    os_sim_free(sim);
    image_bytes = (size_t)bytes;
    return slice_of(image, image_bytes);
}

static void poke(uint8_t *file, size_t bytes, const uint8_t *data, size_t data_bytes, bool heads)
{
    for (size_t i = 0; i + 4 <= data_bytes; i += 4) {
        size_t page = data[i] % (bytes / PAGE_BYTES);
        size_t in_head = data[i + 1] % (size_t)(page < META_SLOTS ? META_BYTES : 64);
        size_t anywhere = (data[i + 1] * (size_t)131 + data[i + 2]) % PAGE_BYTES;
        file[page * PAGE_BYTES + (heads ? in_head : anywhere)] = data[i + 3];
    }
}

/* Returns the bytes that the page, or the run of a value, takes. */
static size_t page_seal_any(uint8_t *file, size_t bytes, size_t at)
{
    uint8_t *page = file + at;
    size_t covered = PAGE_BYTES - PAGE_NUMBER;
    if (page[PAGE_KIND] == PAGE_OVERFLOW) {
        uint64_t value_bytes = get_le64(page + OVERFLOW_VALUE_BYTES);
        if (value_bytes <= bytes - at - OVERFLOW_AT)
            covered = OVERFLOW_AT - PAGE_NUMBER + (size_t)value_bytes;
    }
    put_le32(page + PAGE_SEAL, PAGE_SEALED);
    put_le32(page + PAGE_CRC, crc32_update(0, page + PAGE_NUMBER, covered));
    return (size_t)u64_align_up(PAGE_NUMBER + covered, PAGE_BYTES);
}

static void seal(uint8_t *file, size_t bytes)
{
    for (size_t slot = 0; slot < META_SLOTS && bytes >= META_AREA_BYTES; slot++) {
        uint8_t *meta = file + slot * META_SLOT_BYTES;
        memcpy(meta + META_MAGIC, META_MAGIC_BYTES, 8);
        put_le32(meta + META_VERSION, META_FORMAT_VERSION);
        put_le32(meta + META_CRC, crc32_update(0, meta, META_CRC));
    }
    for (size_t at = META_AREA_BYTES; at + PAGE_BYTES <= bytes;)
        at += page_seal_any(file, bytes, at);
}

/* ---- reading it --------------------------------------------------------------------------- */

static bool is_damage(sombra_err err)
{
    return err == SOMBRA_CORRUPT || err == SOMBRA_INVALID || err == SOMBRA_UNSUPPORTED ||
           err == SOMBRA_LIMIT || err == SOMBRA_NOMEM;
}

/* A damaged tree may be a graph with more paths than pages. */
enum { STEPS_MAX = 5000 };

static void scan(struct kv_txn *txn, enum kv_motion direction)
{
    struct kv_cursor *cursor;
    REQUIRE(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor) == SOMBRA_OK);
    uint64_t sum = 0;
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        bool found = false;
        sombra_err err = kv_cursor_move(cursor, direction, slice_of(NULL, 0), &found);
        REQUIRE(!err || err == SOMBRA_CORRUPT);
        if (err || !found)
            break;
        const struct kv_entry *entry = &cursor->entry;
        sum += hash_bytes(entry->key.data, entry->key.bytes, 1);
        sum += entry->value.bytes ? hash_bytes(entry->value.data, entry->value.bytes, 1) : 0;
        sombra_slice value;
        if (i % 16 == 0 && entry->key.bytes) {
            err = kv_get(txn, entry->key, &value);
            REQUIRE(!err || err == SOMBRA_CORRUPT || err == SOMBRA_NOT_FOUND);
        }
    }
    kv_cursor_close(cursor);
    struct kv_entry entries[50];
    struct kv_batch batch = { .entries = entries, .capacity = COUNT_OF(entries) };
    REQUIRE(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor) == SOMBRA_OK);
    for (unsigned i = 0; i < STEPS_MAX / 50; i++) {
        sombra_err err = kv_cursor_read(cursor, direction, &batch);
        REQUIRE(!err || err == SOMBRA_CORRUPT);
        if (err || batch.count == 0)
            break;
        for (size_t k = 0; k < batch.count; k++)
            sum += hash_bytes(entries[k].key.data, entries[k].key.bytes, 2);
    }
    kv_cursor_close(cursor);
    /* Every byte lent is looked at, and the compiler may not leave it out. */
    REQUIRE(sum != UINT64_C(0x123456789abcdef));
}

static void read_all(struct kv *kv)
{
    struct kv_txn *txn;
    REQUIRE(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn) == SOMBRA_OK);
    scan(txn, KV_NEXT);
    scan(txn, KV_PREVIOUS);
    uint64_t count;
    struct kv_range range = { slice_str("an"), slice_str("m") };
    sombra_err err = kv_count(txn, range, 0, &count);
    REQUIRE(!err || err == SOMBRA_CORRUPT);
    kv_abort(txn);
}

static uint64_t problems_of(struct kv *kv)
{
    struct kv_maintenance job = { .kind = KV_VERIFY };
    sombra_err err = kv_maintain(kv, &job);
    REQUIRE(!err || is_damage(err));
    return job.problems + (err != SOMBRA_OK);
}

static void write_some(struct kv *kv)
{
    struct kv_txn *txn;
    sombra_err err = kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, &txn);
    if (err) {
        REQUIRE(is_damage(err));
        return;
    }
    for (unsigned i = 0; i < 20; i++)
        put_pattern(txn, "an entry", i, 600 - i * 20);
    put_pattern(txn, "large", 1, 10000);
    put_pattern(txn, "large", 2, 1);
    uint8_t low[4];
    put_be32(low, 100);
    struct kv_range range = { slice_of(low, 4), slice_str("an") };
    REQUIRE(kv_delete_range(txn, range, NULL) == SOMBRA_OK);
    REQUIRE(kv_commit(txn, KV_DURABILITY_STORE) == SOMBRA_OK);
    REQUIRE(problems_of(kv) == 0);
}

static void file_write(struct os *os, const uint8_t *bytes, size_t count)
{
    struct os_file *file;
    REQUIRE(os_open(os, "store", OS_WRITE | OS_CREATE, 0600, &file) == SOMBRA_OK);
    REQUIRE(os_write(file, 0, bytes, count) == SOMBRA_OK);
    os_close(file);
}

static void open_and_use(const uint8_t *bytes, size_t count, bool is_untouched)
{
    struct os_sim *sim = os_sim_new(NULL);
    struct os *os = os_sim_start(sim);
    file_write(os, bytes, count);
    struct btree_options options = options_of(false);
    struct kv *kv;
    sombra_err err = btree_open(os, "store", &options, &kv);
    if (err) {
        REQUIRE(is_damage(err) && !is_untouched);
        os_sim_free(sim);
        return;
    }
    read_all(kv);
    bool is_sound = problems_of(kv) == 0;
    REQUIRE(is_sound || !is_untouched);
    if (is_sound) {
        write_some(kv);
        REQUIRE(kv_close(kv) == SOMBRA_OK);
        REQUIRE(btree_open(os, "store", &options, &kv) == SOMBRA_OK);
        REQUIRE(problems_of(kv) == 0);
    }
    REQUIRE(kv_close(kv) == SOMBRA_OK);
    os_sim_free(sim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0 || bytes > FILE_BYTES_MAX)
        return 0;
    bool is_poked = data[0] == 'h' || data[0] == 'p';
    sombra_slice from = is_poked ? base_file() : slice_of(data + 1, bytes - 1);
    uint8_t *file = malloc(from.bytes + 1);
    REQUIRE(file != NULL);
    memcpy(file, from.data, from.bytes);
    if (is_poked)
        poke(file, from.bytes, data + 1, bytes - 1, data[0] == 'h');
    if (data[0] != 'r')
        seal(file, from.bytes);
    open_and_use(file, from.bytes, is_poked && bytes < 5);
    free(file);
    return 0;
}
