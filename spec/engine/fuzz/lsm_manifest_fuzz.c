/* SPDX-License-Identifier: MIT */
/* A manifest of any bytes: reading answers OK, CORRUPT or UNSUPPORTED, and what it accepts is a
 * version in order.
 *
 * An input that begins with 'r' is the file itself. Any other is a recipe, in pairs of an operation
 * and an argument (step), for records that are sealed, so that mutations get past the checksums.
 */
#include "lsm/manifest.h"
#include "lsm/manifest_format.h"
#include "wal/wal_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FILE_BYTES_MAX = 1 << 18 };

static void require(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "lsm_manifest_fuzz: not so: %s (%s)\n", what, diag_text());
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

/* ---- tables are never opened here: what the table cache calls ------------------------------- */

sombra_err table_open(const struct table_context *context, const char *path,
                      const struct table_meta *meta, struct table **out_table)
{
    (void)context, (void)path, (void)meta, (void)out_table;
    abort();
}
void table_ref(struct table *table)
{
    (void)table;
    abort();
}
void table_unref(struct table *table)
{
    REQUIRE(table == NULL);
}
size_t table_memory_bytes(const struct table *table)
{
    (void)table;
    abort();
}
void cache_charge(struct cache *cache, int64_t bytes)
{
    (void)cache, (void)bytes;
    abort();
}
void cache_drop_table(struct cache *cache, uint64_t table)
{
    (void)cache, (void)table;
    abort(); /* nothing is obsolete */
}

/* ---- the file ------------------------------------------------------------------------------ */

static struct {
    int fd;
    char directory[64];
    char path[96];
} place = { .fd = -1 };

static void place_release(void)
{
    unlink(place.path);
    rmdir(place.directory);
}

static void place_init(void)
{
    char target[64];
    if (place.fd >= 0)
        return;
    place.fd = memfd_create("manifest", MFD_CLOEXEC);
    REQUIRE(place.fd >= 0);
    snprintf(place.directory, sizeof place.directory, "/tmp/lsm_manifest_XXXXXX");
    REQUIRE(mkdtemp(place.directory) != NULL);
    snprintf(place.path, sizeof place.path, "%s/MANIFEST", place.directory);
    snprintf(target, sizeof target, "/proc/self/fd/%d", place.fd);
    REQUIRE(symlink(target, place.path) == 0);
    atexit(place_release);
}

/* ---- recipes ------------------------------------------------------------------------------- */

struct recipe {
    struct buf file;
    struct buf removed, tables; /* of the record that is made */
    uint64_t removed_count, added_count;
    uint64_t lsn, number, run;
    uint32_t link;
    uint8_t poke_at, poke_bits; /* of the record's payload */
    uint8_t cut;
    struct {
        bool is_set;
        uint8_t offset, value;
    } head; /* a byte of the header, replaced */
};

static uint8_t *extend(struct buf *buf, size_t bytes)
{
    uint8_t *at;
    REQUIRE(buf_extend(buf, bytes, &at) == SOMBRA_OK);
    memset(at, 0, bytes);
    return at;
}

static void add_table(struct recipe *recipe, unsigned level, uint8_t low)
{
    uint8_t *at = extend(&recipe->tables, MANIFEST_TABLE_BYTES + 3);
    put_le64(at + MANIFEST_TABLE_NUMBER, ++recipe->number);
    put_le64(at + MANIFEST_TABLE_FILE_BYTES, 1000);
    put_le64(at + MANIFEST_TABLE_ENTRIES, 5);
    put_le64(at + MANIFEST_TABLE_RUN, level ? 0 : recipe->run);
    put_le32(at + MANIFEST_TABLE_LEVEL, level);
    put_le32(at + MANIFEST_TABLE_LOW_BYTES, 1);
    put_le32(at + MANIFEST_TABLE_END_BYTES, 2);
    at[MANIFEST_TABLE_BYTES] = low;
    at[MANIFEST_TABLE_BYTES + 1] = low;
    recipe->added_count++;
}

static void make_payload(struct recipe *recipe, struct buf *payload)
{
    uint8_t *at = extend(payload, MANIFEST_HEADER_BYTES);
    memcpy(at + MANIFEST_MAGIC, MANIFEST_MAGIC_TEXT, MANIFEST_FORMAT);
    put_le32(at + MANIFEST_FORMAT, MANIFEST_FORMAT_VERSION);
    put_le32(at + MANIFEST_KIND, recipe->lsn == 1 ? MANIFEST_KIND_WHOLE : MANIFEST_KIND_EDIT);
    put_le64(at + MANIFEST_VERSION, 10 + recipe->lsn);
    put_le64(at + MANIFEST_NEXT_NUMBER, recipe->number + 1);
    put_le64(at + MANIFEST_NEXT_RUN, recipe->run + 1);
    put_le64(at + MANIFEST_SEQ, recipe->lsn);
    put_le64(at + MANIFEST_LOG_SEQ, recipe->lsn / 2);
    put_le64(at + MANIFEST_REMOVED_COUNT, recipe->removed_count);
    put_le64(at + MANIFEST_ADDED_COUNT, recipe->added_count);
    if (recipe->head.is_set)
        at[recipe->head.offset % MANIFEST_HEADER_BYTES] = recipe->head.value;
    REQUIRE(buf_append_slice(payload, buf_slice(&recipe->removed)) == SOMBRA_OK);
    REQUIRE(buf_append_slice(payload, buf_slice(&recipe->tables)) == SOMBRA_OK);
    size_t behind = payload->bytes - MANIFEST_HEADER_BYTES;
    if (behind)
        payload->data[MANIFEST_HEADER_BYTES + recipe->poke_at % behind] ^= recipe->poke_bits;
    payload->bytes -= size_min(recipe->cut, payload->bytes);
}

static void end_record(struct recipe *recipe)
{
    struct buf payload = BUF_INIT;
    recipe->lsn++;
    recipe->run++;
    make_payload(recipe, &payload);
    uint64_t offset = recipe->file.bytes;
    uint8_t *at = extend(&recipe->file, (size_t)wal_record_bytes(payload.bytes));
    put_le32(at + WAL_PAYLOAD_BYTES, (uint32_t)payload.bytes);
    put_le64(at + WAL_EPOCH, 99);
    put_le64(at + WAL_LSN, recipe->lsn);
    put_le64(at + WAL_OFFSET, offset);
    put_le64(at + WAL_DURABLE_LSN, recipe->lsn - 1);
    put_le32(at + WAL_LINK, recipe->link);
    put_le32(at + WAL_KIND, WAL_KIND_RECORD);
    if (payload.bytes)
        memcpy(at + WAL_HEADER_BYTES, payload.data, payload.bytes);
    recipe->link = crc32_update(0, at + WAL_PAYLOAD_BYTES,
                                WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + payload.bytes);
    put_le32(at + WAL_CRC, recipe->link);
    buf_release(&payload);
    buf_reset(&recipe->removed);
    buf_reset(&recipe->tables);
    recipe->removed_count = recipe->added_count = 0;
    recipe->poke_bits = recipe->cut = 0;
    recipe->head.is_set = false;
}

static void step(struct recipe *recipe, uint8_t operation, uint8_t argument)
{
    switch (operation % 8) {
    case 0: /* h p x: the record ends */
        end_record(recipe);
        break;
    case 1: /* a i q y: a table of level 0 */
        add_table(recipe, 0, argument);
        break;
    case 2: /* b j r z: a table of another level */
        add_table(recipe, 1 + argument % 4, argument);
        break;
    case 3: /* c k s: a table goes; its number counts from the newest */
        put_le64(extend(&recipe->removed, 8), recipe->number - argument % 8);
        recipe->removed_count++;
        break;
    case 4: /* d l t: where a bit is flipped behind the header */
        recipe->poke_at = argument;
        break;
    case 5: /* e m u: which bits */
        recipe->poke_bits = argument;
        break;
    case 6: /* f n v: a byte of the header, with the argument of the flip */
        recipe->head.is_set = true;
        recipe->head.offset = argument;
        recipe->head.value = recipe->poke_at;
        break;
    default: /* g o w: cut short */
        recipe->cut = argument;
        break;
    }
}

static void make_file(const uint8_t *data, size_t bytes)
{
    struct recipe recipe = { .file = BUF_INIT, .removed = BUF_INIT, .tables = BUF_INIT };
    for (size_t i = 0; i + 1 < bytes && recipe.file.bytes < FILE_BYTES_MAX; i += 2)
        step(&recipe, data[i], data[i + 1]);
    end_record(&recipe);
    REQUIRE(pwrite(place.fd, recipe.file.data, recipe.file.bytes, 0) == (ssize_t)recipe.file.bytes);
    buf_release(&recipe.file);
    buf_release(&recipe.removed);
    buf_release(&recipe.tables);
}

/* ---- reading it ---------------------------------------------------------------------------- */

static void check_run(const struct version_run *run, const struct manifest_state *state)
{
    uint64_t bytes = 0;
    REQUIRE(run->count > 0 && run->level < LSM_LEVELS);
    REQUIRE(run->level == 0 || run->number == 0);
    for (size_t i = 0; i < run->count; i++) {
        const struct table_meta *meta = &run->tables[i]->meta;
        REQUIRE(meta->number > 0 && meta->number < state->next_number);
        REQUIRE(slice_compare(meta->low, meta->end) < 0);
        REQUIRE(i == 0 || slice_compare(run->tables[i - 1]->meta.end, meta->low) <= 0);
        bytes += meta->file_bytes;
    }
    REQUIRE(bytes == run->bytes);
}

static void check_version(const struct version *version, const struct manifest_state *state)
{
    REQUIRE(version->number == state->version);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        check_run(run, state);
        REQUIRE(i == 0 || run[-1].level < run->level ||
                (run->level == 0 && run[-1].level == 0 && run[-1].number > run->number));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct table_context context = { .os = os_posix() };
    struct table_cache *cache;
    struct version *version;
    struct manifest_state state;
    if (bytes == 0 || bytes > FILE_BYTES_MAX)
        return 0;
    place_init();
    REQUIRE(ftruncate(place.fd, 0) == 0);
    if (data[0] == 'r')
        REQUIRE(pwrite(place.fd, data + 1, bytes - 1, 0) == (ssize_t)bytes - 1);
    else
        make_file(data, bytes);
    REQUIRE(table_cache_new(&context, place.directory, 4, &cache) == SOMBRA_OK);
    sombra_err err = manifest_read(os_posix(), place.directory, cache, &state, &version);
    REQUIRE(err == SOMBRA_OK || err == SOMBRA_CORRUPT || err == SOMBRA_UNSUPPORTED);
    if (!err) {
        check_version(version, &state);
        version_unref(version);
    }
    table_cache_free(cache);
    return 0;
}
