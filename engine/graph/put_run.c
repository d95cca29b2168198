/* SPDX-License-Identifier: MIT */
/* Entries in the order of their keys, collected and handed to the store many at once. */
#include "index_internal.h"

enum {
    RUN_ENTRIES_MAX = 4096,
    /* Of the memory for keys and values: the usual entry, and the longest. */
    RUN_ENTRY_BYTES = 64,
    RUN_SPARE_BYTES = GRAPH_KEY_BYTES_MAX + PUT_RUN_VALUE_BYTES_MAX,
};

static_assert((int)RUN_SPARE_BYTES > (int)INDEX_KEY_BYTES_MAX &&
                  (int)PUT_RUN_VALUE_BYTES_MAX > (int)EDGE_BLOCK_BYTES_MAX,
              "every entry has room");

sombra_err put_run_init(struct put_run *run, struct graph_txn *txn, size_t count)
{
    size_t capacity = size_min(size_max(count, 1), RUN_ENTRIES_MAX);
    size_t bytes = capacity * RUN_ENTRY_BYTES + RUN_SPARE_BYTES;
    *run = (struct put_run){ .txn = txn,
                             .capacity = capacity,
                             .bytes_last = bytes - RUN_SPARE_BYTES,
                             .entries = mem_alloc(capacity * sizeof *run->entries),
                             .bytes = mem_alloc(bytes) };
    return run->entries && run->bytes ? SOMBRA_OK : diag_nomem("entries of a batch", bytes);
}

void put_run_release(struct put_run *run)
{
    mem_free(run->entries);
    mem_free(run->bytes);
}

sombra_err put_run_flush(struct put_run *run)
{
    size_t count = run->count;
    run->count = run->bytes_used = 0;
    sombra_err err = txn_ask(run->txn);
    return err ? err : kv_put_many(run->txn->kv, run->entries, count);
}

sombra_err put_run_add(struct put_run *run, sombra_slice key, sombra_slice value, bool copies_value)
{
    uint8_t *to;
    assert(key.bytes + (copies_value ? value.bytes : 0) <= RUN_SPARE_BYTES);
    sombra_err err = put_run_begin(run, &to);
    if (err)
        return err;
    memcpy(to, key.data, key.bytes);
    put_run_end(run, to + key.bytes, value);
    if (copies_value && value.bytes) {
        to += key.bytes;
        memcpy(to, value.data, value.bytes);
        run->entries[run->count - 1].value.data = to;
        run->bytes_used += value.bytes;
    }
    return SOMBRA_OK;
}
