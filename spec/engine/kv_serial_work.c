/* SPDX-License-Identifier: MIT */
#include "kv_serial_work.h"
#include "kv_check.h"
#include "os/os.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ELEMENTS_LIMIT = 4096 };

/* ---- the log ----------------------------------------------------------------------------- */

static size_t log_bytes(const struct serial_log *log, size_t *out_txns_at, size_t *out_ops_at)
{
    size_t txns = (size_t)log->sessions * log->txns_each;
    *out_txns_at = u64_align_up(sizeof *log + log->sessions * sizeof log->counts[0], 64);
    *out_ops_at = *out_txns_at + txns * sizeof *log->txns;
    return *out_ops_at + txns * SERIAL_OPS_MAX * sizeof *log->ops;
}

struct serial_log *serial_log_new(uint32_t sessions, uint32_t txns_each, uint32_t elements_max)
{
    struct serial_log shape = { .sessions = sessions, .txns_each = txns_each };
    size_t txns_at, ops_at, bytes = log_bytes(&shape, &txns_at, &ops_at);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    struct serial_log *log = (struct serial_log *)(void *)memory;
    log->sessions = sessions;
    log->txns_each = txns_each;
    log->elements_max = elements_max;
    log->txns = (struct serial_txn *)(void *)(memory + txns_at);
    log->ops = (struct serial_op *)(void *)(memory + ops_at);
    return log;
}

void serial_log_free(struct serial_log *log)
{
    size_t txns_at, ops_at;
    munmap(log, log_bytes(log, &txns_at, &ops_at));
}

uint32_t serial_log_keys(const struct serial_log *log)
{
    uint32_t last = 0;
    for (size_t i = 0; i < SERIAL_SLOTS; i++)
        last = (uint32_t)u64_max(last, atomic_load(&log->generations[i]));
    return (last + 1) * SERIAL_SLOTS;
}

/* ---- a session --------------------------------------------------------------------------- */

struct session {
    struct serial_log *log;
    struct kv *kv;
    uint32_t number;
    struct random random;
    struct kv_txn *txn;
    struct serial_txn *record;
    uint64_t next_id;
    uint8_t list[ELEMENTS_LIMIT * 8];
};

static uint64_t now_ns(void)
{
    return os_monotonic_ns(os_posix());
}

static bool by_chance(struct session *session, uint64_t one_in)
{
    return random_below(&session->random, one_in) == 0;
}

static uint32_t some_key(struct session *session)
{
    uint32_t slot = (uint32_t)random_below(&session->random, SERIAL_SLOTS);
    return atomic_load(&session->log->generations[slot]) * SERIAL_SLOTS + slot;
}

static struct serial_op *record_op(struct session *session, enum serial_op_kind kind, uint32_t key)
{
    struct serial_op *op = &session->record->ops[session->record->op_count];
    *op = (struct serial_op){ .kind = kind, .key = key };
    return op;
}

/* An operation counts when it is whole: the process may be killed at any instruction. */
static void op_done(struct session *session)
{
    atomic_signal_fence(memory_order_seq_cst);
    session->record->op_count++;
}

static bool is_full(const struct session *session, uint32_t wanted)
{
    return session->record->op_count + wanted > SERIAL_OPS_MAX;
}

static sombra_err list_note(struct session *session, uint32_t key, sombra_slice value)
{
    struct serial_op *op = record_op(session, SERIAL_READ, key);
    if (value.bytes % 8 || value.bytes > sizeof session->list)
        return diag_fail(SOMBRA_CORRUPT, "list %u has %zu bytes", key, value.bytes);
    op->count = value.bytes / 8;
    for (size_t i = 0; i < op->count; i++)
        op->chain = serial_chain(op->chain, get_le64((const uint8_t *)value.data + i * 8));
    op_done(session);
    return SOMBRA_OK;
}

static sombra_err list_get(struct session *session, uint32_t key, size_t *out_bytes)
{
    uint8_t to[8];
    sombra_slice value = slice_of(NULL, 0);
    sombra_err err = kv_get(session->txn, kv_number_key(key, to), &value);
    if (err && err != SOMBRA_NOT_FOUND)
        return err;
    err = list_note(session, key, value);
    if (!err && value.bytes)
        memcpy(session->list, value.data, value.bytes);
    *out_bytes = value.bytes;
    return err;
}

/* The lists of one generation, by a cursor: also those that are not there. */
static sombra_err lists_walk(struct session *session)
{
    uint8_t low[8], high[8];
    uint32_t first = atomic_load(&session->log->generations[0]) * SERIAL_SLOTS;
    uint32_t key = first, end = first + SERIAL_SLOTS;
    struct kv_range range = { kv_number_key(first, low), kv_number_key(end, high) };
    struct kv_cursor *cursor;
    sombra_err err = kv_cursor_open(session->txn, range, &cursor);
    bool found = !err;
    if (err)
        return err;
    while (!err && found) {
        err = kv_cursor_move(cursor, KV_NEXT, slice_of(NULL, 0), &found);
        uint32_t at = !err && found ? (uint32_t)get_be64(cursor->entry.key.data) : end;
        for (; !err && key < at; key++)
            err = list_note(session, key, slice_of(NULL, 0));
        if (!err && found) {
            err = list_note(session, at, cursor->entry.value);
            key = at + 1;
        }
    }
    kv_cursor_close(cursor);
    return err;
}

static sombra_err append(struct session *session, uint32_t key)
{
    size_t bytes = 0;
    uint8_t to[8];
    sombra_err err = list_get(session, key, &bytes);
    if (err)
        return err;
    if (bytes + 8 > sizeof session->list)
        return diag_fail(SOMBRA_LIMIT, "list %u is full", key);
    if (bytes / 8 >= session->log->elements_max) {
        uint32_t generation = key / SERIAL_SLOTS;
        atomic_compare_exchange_strong(&session->log->generations[key % SERIAL_SLOTS], &generation,
                                       generation + 1);
    }
    uint64_t id = (uint64_t)session->number << 32 | session->next_id++;
    put_le64(session->list + bytes, id);
    struct serial_op *op = record_op(session, SERIAL_APPEND, key);
    op->id = id;
    op_done(session);
    return kv_put(session->txn, kv_number_key(key, to), slice_of(session->list, bytes + 8));
}

static sombra_err read_some(struct session *session, uint64_t count)
{
    sombra_err err = SOMBRA_OK;
    size_t bytes;
    for (uint64_t i = 0; i < count && !err && !is_full(session, 1); i++)
        err = list_get(session, some_key(session), &bytes);
    return err;
}

static sombra_err append_some(struct session *session, uint64_t count)
{
    sombra_err err = SOMBRA_OK;
    for (uint64_t i = 0; i < count && !err && !is_full(session, 2); i++)
        err = append(session, some_key(session));
    return err;
}

static sombra_err append_and_undo(struct session *session)
{
    uint64_t mark;
    sombra_err err = kv_savepoint(session->txn, KV_SAVEPOINT_SET, &mark);
    uint32_t from = session->record->op_count;
    if (!err)
        err = append_some(session, 2);
    if (!err)
        err = kv_savepoint(session->txn, KV_SAVEPOINT_ROLLBACK, &mark);
    if (!err) {
        record_op(session, SERIAL_UNDO, 0)->count = from;
        op_done(session);
    }
    return err;
}

/* ---- transactions ------------------------------------------------------------------------ */

static sombra_err begin(struct session *session, bool is_write)
{
    struct serial_txn *record = session->record;
    record->session = session->number;
    record->is_write = is_write;
    record->is_durable = !is_write && by_chance(session, 4);
    struct kv_begin_options options = { .is_write = is_write,
                                        .needs_durable = record->is_durable,
                                        .busy_timeout_ms = 60000 };
    record->begin_ns = now_ns();
    atomic_fetch_add(&session->log->counts[session->number], 1);
    sombra_err err = kv_begin(session->kv, &options, &session->txn);
    record->begun_ns = now_ns();
    return err;
}

static sombra_err read_txn(struct session *session)
{
    sombra_err err = begin(session, false);
    if (err)
        return diag_wrap(err, "begin");
    uint64_t dice = random_below(&session->random, 4);
    if (dice == 0)
        err = lists_walk(session);
    if (!err)
        err = read_some(session, 1 + dice * 2);
    session->record->commit_ns = now_ns();
    kv_abort(session->txn);
    session->record->end_ns = now_ns();
    session->record->outcome = SERIAL_COMMITTED;
    return diag_wrap(err, "read");
}

static sombra_err write_body(struct session *session)
{
    sombra_err err = read_some(session, random_below(&session->random, 3));
    if (!err)
        err = append_some(session, 1 + random_below(&session->random, 3));
    if (!err && by_chance(session, 8))
        err = append_and_undo(session);
    if (!err && by_chance(session, 4))
        err = append_some(session, 1);
    return err ? err : read_some(session, random_below(&session->random, 2));
}

static sombra_err write_txn(struct session *session)
{
    static const enum kv_durability durabilities[] = { KV_OFF, KV_NORMAL, KV_FULL, KV_GROUP };
    struct serial_txn *record = session->record;
    sombra_err err = begin(session, true);
    if (err)
        return diag_wrap(err, "begin to write");
    err = write_body(session);
    if (err || by_chance(session, 10)) {
        record->commit_ns = now_ns();
        kv_abort(session->txn);
        return diag_wrap(err, "write");
    }
    enum kv_durability durability = durabilities[random_below(&session->random, 4)];
    record->outcome = SERIAL_UNKNOWN;
    record->commit_ns = now_ns();
    err = kv_commit(session->txn, durability);
    if (err)
        return diag_wrap(err, "commit");
    record->end_ns = now_ns();
    record->is_durable = durability == KV_FULL || durability == KV_GROUP;
    atomic_signal_fence(memory_order_seq_cst);
    record->outcome = SERIAL_COMMITTED;
    return SOMBRA_OK;
}

static sombra_err one_txn(struct session *session)
{
    struct serial_log *log = session->log;
    size_t index = (size_t)session->number * log->txns_each + log->counts[session->number];
    session->record = &log->txns[index];
    session->record->ops = &log->ops[index * SERIAL_OPS_MAX];
    sombra_err err = by_chance(session, 2) ? read_txn(session) : write_txn(session);
    if (!err && by_chance(session, 100)) {
        struct kv_maintenance job = { .kind = KV_CHECKPOINT };
        err = diag_wrap(kv_maintain(session->kv, &job), "checkpoint");
    }
    return err;
}

bool serial_work(struct serial_log *log, struct kv *kv, uint32_t number, uint32_t count,
                 uint64_t seed)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        abort();
    *session = (struct session){ .log = log, .kv = kv, .number = number, .next_id = 1 };
    random_seed(&session->random, hash_u64(seed + number));
    sombra_err err = SOMBRA_OK;
    for (uint32_t i = 0; i < count && i < log->txns_each && !err; i++)
        err = one_txn(session);
    if (err && atomic_fetch_add(&log->failures, 1) == 0)
        snprintf(log->failure, sizeof log->failure, "session %u: %s: %.200s", number,
                 sombra_err_name(err), sombra_err_message());
    free(session);
    return !err;
}

/* ---- what is there at the end ------------------------------------------------------------ */

struct serial_list *serial_lists_read(struct kv *kv, uint32_t keys)
{
    struct serial_list *lists = calloc(keys, sizeof *lists);
    assert_non_null(lists);
    struct kv_txn *txn = kv_begin_read(kv);
    for (uint32_t key = 0; key < keys; key++) {
        uint8_t to[8];
        sombra_slice value = slice_of(NULL, 0);
        sombra_err err = kv_get(txn, kv_number_key(key, to), &value);
        if (err != SOMBRA_NOT_FOUND)
            expect_ok(err);
        assert_int_equal(value.bytes % 8, 0);
        lists[key].count = value.bytes / 8;
        lists[key].ids = calloc(value.bytes + 1, 1);
        assert_non_null(lists[key].ids);
        for (uint64_t i = 0; i < lists[key].count; i++)
            lists[key].ids[i] = get_le64((const uint8_t *)value.data + i * 8);
    }
    kv_abort(txn);
    return lists;
}

void serial_lists_free(struct serial_list *lists, uint32_t keys)
{
    for (uint32_t key = 0; key < keys; key++)
        free(lists[key].ids);
    free(lists);
}

struct serial_txn serial_lists_txn(const struct serial_list *lists, uint32_t keys)
{
    struct serial_txn txn = { .outcome = SERIAL_COMMITTED, .op_count = keys };
    txn.ops = calloc(keys, sizeof *txn.ops);
    assert_non_null(txn.ops);
    for (uint32_t key = 0; key < keys; key++) {
        txn.ops[key] =
            (struct serial_op){ .kind = SERIAL_READ, .key = key, .count = lists[key].count };
        for (uint64_t i = 0; i < lists[key].count; i++)
            txn.ops[key].chain = serial_chain(txn.ops[key].chain, lists[key].ids[i]);
    }
    return txn;
}

bool serial_log_check(const struct serial_log *log, const struct serial_txn *extra,
                      size_t extra_count, struct serial_list *lists)
{
    struct serial_history history = { .lists = lists, .keys = serial_log_keys(log) };
    size_t total = extra_count, operations = 0;
    for (uint32_t s = 0; s < log->sessions; s++)
        total += atomic_load(&log->counts[s]);
    history.txns = calloc(total ? total : 1, sizeof *history.txns);
    assert_non_null(history.txns);
    for (uint32_t s = 0; s < log->sessions; s++)
        for (uint32_t i = 0; i < atomic_load(&log->counts[s]); i++)
            history.txns[history.count++] = log->txns[(size_t)s * log->txns_each + i];
    for (size_t i = 0; i < extra_count; i++)
        history.txns[history.count++] = extra[i];
    for (size_t i = 0; i < history.count; i++)
        operations += history.txns[i].op_count;
    struct serial_finding finding;
    bool is_right = serial_check(&history, &finding);
    if (!is_right)
        print_error("%s\n", finding.text);
    if (atomic_load(&log->failures)) {
        print_error("%s\n", log->failure);
        is_right = false;
    }
    print_message("%zu transactions of %u sessions, %zu operations on %u keys\n", history.count,
                  log->sessions, operations, history.keys);
    free(history.txns);
    return is_right;
}
