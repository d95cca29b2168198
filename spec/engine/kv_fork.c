/* SPDX-License-Identifier: MIT */
#include "kv_fork.h"
#include "kv_check.h"

#include <string.h>

void kv_fork_open(struct kv *kv, struct kv_inherited *out)
{
    bool found;
    *out = (struct kv_inherited){ .kv = kv,
                                  .reader = kv_begin_read(kv),
                                  .writer = kv_begin_write(kv) };
    kv_put_text(out->writer, "a", "b");
    expect_ok(kv_cursor_open(out->reader, (struct kv_range){ 0 }, &out->cursor));
    expect_ok(kv_cursor_move(out->cursor, KV_FIRST, slice_of(NULL, 0), &found));
    assert_true(found);
}

static sombra_err maintain(struct kv *kv, enum kv_maintenance_kind kind)
{
    struct kv_maintenance job = { .kind = kind };
    return kv_maintain(kv, &job);
}

int kv_fork_refusals(const struct kv_inherited *has)
{
    struct kv_range all = { 0 };
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    struct kv_entry entry;
    struct kv_batch batch = { .entries = &entry, .capacity = 1 };
    sombra_slice key = slice_str("a"), value;
    uint64_t number = 0;
    bool found;
    int call = 0;
#define REFUSED(what)                                                            \
    do {                                                                         \
        call++;                                                                  \
        if ((what) != SOMBRA_INVALID || !strstr(sombra_err_message(), "fork()")) \
            return call;                                                         \
    } while (0)
    REFUSED(kv_begin(has->kv, &(struct kv_begin_options){ 0 }, &txn));
    REFUSED(kv_begin(has->kv, &(struct kv_begin_options){ .is_write = true }, &txn));
    for (unsigned i = 0; i < 2; i++) {
        struct kv_txn *of = i ? has->writer : has->reader;
        REFUSED(kv_get(of, key, &value));
        REFUSED(kv_count(of, all, 0, &number));
        REFUSED(kv_estimate(of, all, &number));
        /* At the latest its first step. */
        sombra_err err = kv_cursor_open(of, all, &cursor);
        bool is_open = !err;
        if (is_open)
            err = kv_cursor_move(cursor, KV_FIRST, key, &found);
        REFUSED(err);
        if (is_open)
            kv_cursor_close(cursor);
    }
    REFUSED(kv_cursor_move(has->cursor, KV_NEXT, key, &found));
    REFUSED(kv_cursor_read(has->cursor, KV_NEXT, &batch));
    REFUSED(kv_put(has->writer, key, key));
    REFUSED(kv_delete(has->writer, key));
    REFUSED(kv_delete_range(has->writer, all, &number));
    REFUSED(kv_savepoint(has->writer, KV_SAVEPOINT_SET, &number));
    for (int kind = KV_STATS; kind <= KV_REFRESH; kind++)
        REFUSED(maintain(has->kv, (enum kv_maintenance_kind)kind));
    REFUSED(kv_commit(has->writer, KV_FULL));
    kv_cursor_close(has->cursor);
    kv_abort(has->reader);
#undef REFUSED
    call++;
    if (kv_close(has->kv)) /* ends the child's part, and touches nothing */
        return call;
    return 0;
}
