/* SPDX-License-Identifier: MIT */
/* Logs of any bytes: opening answers OK or CORRUPT, a reader and the next writer find the same, and
 * what was recovered is in order and stays.
 *
 * An input that begins with 'r' is the payload of one record. Any other is a recipe, in pairs of an
 * operation and an argument (step), for a chain of logs whose records are sealed, so that mutations
 * get past the checksums.
 */
#include "lsm/log_format.h"
#include "lsm/lsm.h"
#include "os/os_sim.h"
#include "wal/wal_format.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { LOG_BYTES_MAX = 1 << 15, LOGS_MAX = 6 };

static void require(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "lsm_log_fuzz: not so: %s (%s)\n", what, diag_text());
    abort();
}
#define REQUIRE(condition) require(condition, #condition)

/* ---- a store that was not closed ----------------------------------------------------------- */

static struct os_sim *base;

static void base_release(void)
{
    os_sim_free(base);
}

static void base_init(void)
{
    struct lsm_options options = { .create = true, .no_background = true };
    struct kv *kv;
    if (base)
        return;
    struct os_sim *sim = os_sim_new(NULL);
    REQUIRE(lsm_open(os_sim_start(sim), "data", &options, &kv) == SOMBRA_OK);
    struct kv_txn *txn; /* the first commit makes the log */
    REQUIRE(kv_begin(kv, &(struct kv_begin_options){ .is_write = true }, &txn) == SOMBRA_OK);
    REQUIRE(kv_put(txn, slice_of("k", 1), slice_of("v", 1)) == SOMBRA_OK);
    REQUIRE(kv_commit(txn, KV_OFF) == SOMBRA_OK);
    base = os_sim_clone(sim);
    REQUIRE(kv_close(kv) == SOMBRA_OK);
    os_sim_free(sim);
    REQUIRE(os_unlink(os_sim_start(base), "data/00000000000000000000.log") == SOMBRA_OK);
    atexit(base_release);
}

/* ---- recipes ------------------------------------------------------------------------------- */

struct recipe {
    struct os *os;
    struct buf file, payload;
    uint64_t log_base, lsn, durable_lsn;
    uint32_t link;
    unsigned logs;
    uint8_t last; /* argument of the step before */
    bool is_cut;  /* the log ends with half a record */
};

static uint8_t *extend(struct buf *buf, size_t bytes)
{
    uint8_t *at;
    REQUIRE(buf_extend(buf, bytes, &at) == SOMBRA_OK);
    if (bytes)
        memset(at, 0, bytes);
    return at;
}

static void log_end(struct recipe *recipe)
{
    char path[64];
    struct os_file *file;
    if (recipe->is_cut)
        recipe->file.bytes -= size_min(recipe->file.bytes, 24);
    snprintf(path, sizeof path, "data/%020" PRIu64 ".log", recipe->log_base);
    REQUIRE(os_open(recipe->os, path, OS_WRITE | OS_CREATE, 0600, &file) == SOMBRA_OK);
    extend(&recipe->file, 4096);
    REQUIRE(os_write(file, 0, recipe->file.data, recipe->file.bytes) == SOMBRA_OK);
    os_close(file);
    buf_reset(&recipe->file);
    recipe->logs++;
    recipe->link = 0;
    recipe->is_cut = false;
}

static void record_end(struct recipe *recipe, bool is_mark)
{
    uint64_t offset = recipe->file.bytes;
    size_t payload_bytes = is_mark ? 0 : recipe->payload.bytes;
    uint8_t *at = extend(&recipe->file, (size_t)((WAL_HEADER_BYTES + payload_bytes + 7) & ~7ULL));
    recipe->lsn += !is_mark;
    put_le32(at + WAL_PAYLOAD_BYTES, (uint32_t)payload_bytes);
    put_le64(at + WAL_EPOCH, recipe->log_base + 1);
    put_le64(at + WAL_LSN, recipe->lsn);
    put_le64(at + WAL_OFFSET, offset);
    put_le64(at + WAL_DURABLE_LSN, recipe->durable_lsn);
    put_le32(at + WAL_LINK, recipe->link);
    put_le32(at + WAL_KIND, is_mark ? WAL_KIND_MARK : WAL_KIND_LEADER);
    if (payload_bytes)
        memcpy(at + WAL_HEADER_BYTES, recipe->payload.data, payload_bytes);
    recipe->link = crc32_update(0, at + WAL_PAYLOAD_BYTES,
                                WAL_HEADER_BYTES - WAL_PAYLOAD_BYTES + payload_bytes);
    put_le32(at + WAL_CRC, recipe->link);
    if (!is_mark)
        buf_reset(&recipe->payload);
}

/* The payload as a short record, behind another one of the log. */
static void short_record_end(struct recipe *recipe)
{
    uint8_t header[WAL_HEADER_BYTES] = { 0 };
    size_t bytes = recipe->payload.bytes, offset = recipe->file.bytes;
    if (offset == 0 || bytes > UINT16_MAX) {
        record_end(recipe, false);
        return;
    }
    uint8_t *at = extend(&recipe->file, WAL_SHORT_HEADER_BYTES + ((bytes + 7) & ~(size_t)7));
    recipe->lsn++;
    put_le16(at + WAL_SHORT_PAYLOAD_BYTES, (uint16_t)bytes);
    at[WAL_SHORT_LSN] = (uint8_t)recipe->lsn;
    at[WAL_SHORT_TAG] = WAL_SHORT_TAG_VALUE;
    memcpy(header + WAL_PAYLOAD_BYTES, at + WAL_PAYLOAD_BYTES, 4);
    put_le64(header + WAL_EPOCH, recipe->log_base + 1);
    put_le64(header + WAL_LSN, recipe->lsn);
    put_le64(header + WAL_OFFSET, offset);
    put_le32(header + WAL_LINK, recipe->link);
    put_le32(header + WAL_KIND, WAL_KIND_SHORT);
    uint32_t crc = crc32_update(0, header + WAL_PAYLOAD_BYTES, sizeof header - WAL_PAYLOAD_BYTES);
    if (bytes) {
        memcpy(at + WAL_SHORT_HEADER_BYTES, recipe->payload.data, bytes);
        crc = crc32_update(crc, recipe->payload.data, bytes);
    }
    recipe->link = crc;
    put_le32(at + WAL_CRC, crc);
    buf_reset(&recipe->payload);
}

/* An operation with keys of one byte and more, by the argument; sound. */
static void operation(struct recipe *recipe, uint8_t op, uint8_t argument)
{
    uint8_t bytes[8] = { op, 2, 0, 'k', argument, 0 };
    size_t used = 5;
    if (op == KV_REDO_DELETE) {
        memmove(bytes + 2, bytes + 3, 2);
        used = 4;
    } else if (op == KV_REDO_DELETE_RANGE) {
        bytes[2] = argument % 5 ? 2 : 0;
        bytes[5] = 'k';
        bytes[6] = (uint8_t)(argument + argument % 7 + 1);
        used = bytes[2] ? 7 : 5;
    } else { /* the value is what was there before, as far as it goes */
        size_t value_bytes = size_min(argument % 9, recipe->payload.bytes);
        bytes[2] = (uint8_t)value_bytes;
        memcpy(extend(&recipe->payload, used), bytes, used);
        memset(extend(&recipe->payload, value_bytes), argument, value_bytes);
        return;
    }
    memcpy(extend(&recipe->payload, used), bytes, used);
}

static void step(struct recipe *recipe, uint8_t what, uint8_t argument)
{
    switch (what % 10) {
    case 0: /* d n x: the record ends; 13579... make it short */
        if (argument % 2)
            short_record_end(recipe);
        else
            record_end(recipe, false);
        break;
    case 1: /* e o y */
        operation(recipe, KV_REDO_PUT, argument);
        break;
    case 2: /* f p z */
        operation(recipe, KV_REDO_DELETE, argument);
        break;
    case 3: /* g q */
        operation(recipe, KV_REDO_DELETE_RANGE, argument);
        break;
    case 4: /* h r: any byte */
        *extend(&recipe->payload, 1) = argument;
        break;
    case 5: /* i s: what later records know as durable */
        recipe->durable_lsn = recipe->lsn > argument % 4 ? recipe->lsn - argument % 4 : 0;
        break;
    case 6: /* j t: a mark */
        record_end(recipe, true);
        break;
    case 7: /* a k u: the next log, maybe with a gap */
        if (recipe->logs + 1 < LOGS_MAX) {
            log_end(recipe);
            recipe->lsn += argument % 5 == 4;
            recipe->log_base = recipe->lsn;
        }
        break;
    case 8: /* b l v: rot in the log so far */
        if (recipe->file.bytes)
            recipe->file.data[(recipe->last * 256u + argument) % recipe->file.bytes] ^= 0x40;
        break;
    default: /* c m w: it ends in the middle of its last record */
        recipe->is_cut = true;
        break;
    }
    recipe->last = argument;
}

static void logs_make(struct os *os, const uint8_t *data, size_t bytes)
{
    struct recipe recipe = { .os = os, .file = BUF_INIT, .payload = BUF_INIT };
    if (data[0] == 'r') {
        if (bytes > 1)
            memcpy(extend(&recipe.payload, bytes - 1), data + 1, bytes - 1);
        record_end(&recipe, false);
    } else {
        for (size_t i = 0; i + 1 < bytes && recipe.file.bytes < LOG_BYTES_MAX; i += 2)
            step(&recipe, data[i], data[i + 1]);
    }
    log_end(&recipe);
    buf_release(&recipe.file);
    buf_release(&recipe.payload);
}

/* ---- reading them -------------------------------------------------------------------------- */

static uint64_t content_check(struct kv *kv)
{
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    struct buf last = BUF_INIT;
    uint64_t digest = 1, count = 0, counted = 0;
    bool found;
    REQUIRE(kv_begin(kv, &(struct kv_begin_options){ 0 }, &txn) == SOMBRA_OK);
    REQUIRE(kv_cursor_open(txn, (struct kv_range){ 0 }, &cursor) == SOMBRA_OK);
    for (;; count++) {
        REQUIRE(kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found) == SOMBRA_OK);
        if (!found)
            break;
        const struct kv_entry *entry = &cursor->entry;
        REQUIRE(entry->key.bytes >= 1 && entry->key.bytes <= KV_KEY_BYTES_MAX);
        REQUIRE(count == 0 || slice_compare(buf_slice(&last), entry->key) < 0);
        REQUIRE(buf_set(&last, entry->key) == SOMBRA_OK);
        digest = digest * 31 + crc32_update(0, entry->key.data, entry->key.bytes);
        if (entry->value.bytes)
            digest = digest * 31 + crc32_update(0, entry->value.data, entry->value.bytes);
    }
    kv_cursor_close(cursor);
    REQUIRE(kv_count(txn, (struct kv_range){ 0 }, 0, &counted) == SOMBRA_OK);
    REQUIRE(counted == count);
    kv_abort(txn);
    buf_release(&last);
    return digest;
}

static sombra_err open_check(struct os_sim *sim, bool is_readonly, uint64_t *out_digest)
{
    struct lsm_options options = { .is_readonly = is_readonly, .no_background = true };
    struct kv *kv;
    sombra_err err = lsm_open(os_sim_start(sim), "data", &options, &kv);
    REQUIRE(err == SOMBRA_OK || err == SOMBRA_CORRUPT);
    if (err)
        return err;
    *out_digest = content_check(kv);
    REQUIRE(kv_close(kv) == SOMBRA_OK);
    return SOMBRA_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t read = 0, recovered = 0, again = 0;
    if (bytes == 0 || bytes > LOG_BYTES_MAX)
        return 0;
    base_init();
    struct os_sim *sim = os_sim_clone(base);
    logs_make(os_sim_start(sim), data, bytes);
    sombra_err err = open_check(sim, true, &read);
    REQUIRE(open_check(sim, false, &recovered) == err);
    REQUIRE(open_check(sim, true, &again) == err);
    REQUIRE(read == recovered && recovered == again);
    os_sim_free(sim);
    return 0;
}
