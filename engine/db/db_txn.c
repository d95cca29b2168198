/* SPDX-License-Identifier: MIT */
/* Transactions and their children. */
#include "db_internal.h"

static sombra_err refuse_inherited(const sombra_db *db)
{
    return diag_fail(SOMBRA_INVALID, "%s was opened before fork(): the child must open it again",
                     sombra_db_path(db));
}

sombra_err txn_refuse(const sombra_txn *txn)
{
    return txn && txn->graph.kv ? refuse_inherited(txn->db)
                                : diag_fail(SOMBRA_INVALID, "the transaction is over");
}

/* ---- lists ------------------------------------------------------------------------------- */

static void txn_link(sombra_txn **list, sombra_txn *txn)
{
    txn->next = *list;
    txn->link = list;
    if (txn->next)
        txn->next->link = &txn->next;
    *list = txn;
}

static void txn_unlink(sombra_txn *txn)
{
    *txn->link = txn->next;
    if (txn->next)
        txn->next->link = txn->link;
    txn->next = NULL;
    txn->link = NULL;
}

static void child_link(struct child **list, struct child *child)
{
    child->next = *list;
    child->link = list;
    if (child->next)
        child->next->link = &child->next;
    *list = child;
}

static void child_unlink(struct child *child)
{
    *child->link = child->next;
    if (child->next)
        child->next->link = child->link;
    child->next = NULL;
    child->link = NULL;
}

/* ---- children ---------------------------------------------------------------------------- */

static const size_t child_bytes[CHILD_KINDS] = {
    [CHILD_NEIGHBOURS] = sizeof(struct sombra_neighbours),
    [CHILD_IDS] = sizeof(struct sombra_ids),
    [CHILD_SCAN] = sizeof(struct sombra_scan),
    [CHILD_QUERY] = sizeof(struct sombra_query),
};

sombra_err child_new(sombra_txn *txn, enum child_kind kind, void **out_child)
{
    struct child *child = txn->spare[kind];
    assert(txn->graph.kv);
    if (child) {
        child_unlink(child);
        txn->spare_count[kind]--;
    } else {
        child = mem_zalloc(child_bytes[kind]);
        if (!child)
            return diag_nomem("an iterator", child_bytes[kind]);
        child->kind = kind;
    }
    child->txn = txn;
    child_link(&txn->children, child);
    *out_child = child;
    return SOMBRA_OK;
}

static void child_close_graph(struct child *child)
{
    if (child->kind == CHILD_NEIGHBOURS)
        graph_neighbours_close(&container_of(child, struct sombra_neighbours, child)->graph);
    else if (child->kind == CHILD_IDS)
        graph_ids_close(&container_of(child, struct sombra_ids, child)->graph);
    else if (child->kind == CHILD_SCAN)
        graph_scan_close(&container_of(child, struct sombra_scan, child)->graph);
    else if (container_of(child, struct sombra_query, child)->query)
        query_close(container_of(child, struct sombra_query, child)->query);
}

static void child_free(struct child *child)
{
    if (child->kind == CHILD_NEIGHBOURS)
        graph_neighbours_release(&container_of(child, struct sombra_neighbours, child)->graph);
    else if (child->kind == CHILD_SCAN)
        graph_scan_release(&container_of(child, struct sombra_scan, child)->graph);
    else if (child->kind == CHILD_QUERY)
        query_release(container_of(child, struct sombra_query, child)->query);
    mem_free(child);
}

void child_close(struct child *child)
{
    sombra_txn *txn = child->txn;
    if (!txn) {
        child_free(child);
        return;
    }
    if (UNLIKELY(os_is_inherited(txn->fork_number)))
        return;
    child_close_graph(child);
    child_unlink(child);
    child->txn = NULL;
    if (txn->spare_count[child->kind] == SPARE_CHILDREN_MAX) {
        child_free(child);
        return;
    }
    child_link(&txn->spare[child->kind], child);
    txn->spare_count[child->kind]++;
}

void children_cut(sombra_txn *txn)
{
    while (txn->children) {
        struct child *child = txn->children;
        child_close_graph(child);
        child_unlink(child);
        child->txn = NULL;
    }
}

void children_free_spare(sombra_txn *txn)
{
    for (unsigned kind = 0; kind < CHILD_KINDS; kind++) {
        while (txn->spare[kind]) {
            struct child *child = txn->spare[kind];
            child_unlink(child);
            child_free(child);
        }
        txn->spare_count[kind] = 0;
    }
}

/* ---- begin ------------------------------------------------------------------------------- */

/* A handle in the database's list, new or used before; it has no transaction yet. A thread that
 * reads by itself gets the same one each time, and what that has kept. */
static sombra_err handle_new(sombra_db *db, sombra_txn **out_txn)
{
    sombra_txn *ready = atomic_exchange_explicit(&db->ready, NULL, memory_order_acquire);
    if (LIKELY(ready)) {
        ready->db = db;
        *out_txn = ready;
        return SOMBRA_OK;
    }
    os_mutex_lock(&db->mutex);
    sombra_txn *txn = db->spare_txns;
    if (LIKELY(txn)) {
        txn_unlink(txn);
        db->spare_count--;
    } else {
        txn = mem_zalloc(sizeof *txn);
    }
    if (txn)
        txn_link(&db->txns, txn);
    os_mutex_unlock(&db->mutex);
    if (!txn)
        return diag_nomem("a transaction handle", sizeof *txn);
    txn->db = db;
    txn->fork_number = db->fork_number;
    *out_txn = txn;
    return SOMBRA_OK;
}

static void handle_put_away(sombra_db *db, sombra_txn *txn)
{
    os_mutex_lock(&db->mutex);
    txn_unlink(txn);
    bool is_kept = db->spare_count < SPARE_TXNS_MAX;
    if (is_kept) {
        txn_link(&db->spare_txns, txn);
        db->spare_count++;
    }
    os_mutex_unlock(&db->mutex);
    if (!is_kept)
        txn_free(txn);
}

/* Keeps a listed handle whose transaction is over for the next begin, or frees it. */
static void handle_keep(sombra_db *db, sombra_txn *txn)
{
    sombra_txn *none = NULL;
    txn->db = NULL;
    if (UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &db->ready, &none, txn, memory_order_release, memory_order_relaxed)))
        handle_put_away(db, txn);
}

void txn_unready(sombra_db *db)
{
    sombra_txn *ready = atomic_exchange_explicit(&db->ready, NULL, memory_order_acquire);
    if (ready)
        handle_put_away(db, ready);
}

sombra_err sombra_txn_begin(sombra_db *db, const sombra_txn_options *given, sombra_txn **out_txn)
{
    sombra_txn_options options;
    sombra_txn *txn = NULL;
    struct kv_txn *kv;
    assert(db && out_txn);
    sombra_err err = options_read(given, &options, sizeof options);
    if (err)
        return err;
    if (UNLIKELY(os_is_inherited(db->fork_number)))
        return refuse_inherited(db);
    if (options.is_write && db->is_readonly)
        return diag_fail(SOMBRA_READONLY, "the database was opened for reading only");
    struct kv_begin_options begin = { .is_write = options.is_write,
                                      .needs_durable = options.needs_durable,
                                      .busy_timeout_ms = options.busy_timeout_ms,
                                      .waits_on = options.waits_on,
                                      .context = options.context };
    if (options.busy_timeout_ms == 0)
        begin.busy_timeout_ms = db->busy_timeout_ms;
    else if (options.busy_timeout_ms == SOMBRA_WAIT_NOT)
        begin.busy_timeout_ms = 0;
    err = handle_new(db, &txn);
    if (err)
        return err;
    err = kv_begin(db->kv, &begin, &kv);
    if (err) {
        handle_keep(db, txn);
        return diag_wrap(err, "begin");
    }
    graph_txn_begin(&txn->graph, &db->graph, kv);
    txn->is_write = options.is_write;
    atomic_fetch_add_explicit(&db->txn_count, 1, memory_order_relaxed);
    *out_txn = txn;
    return SOMBRA_OK;
}

/* ---- end --------------------------------------------------------------------------------- */

static void count_down(sombra_db *db)
{
    atomic_fetch_sub_explicit(&db->txn_count, 1, memory_order_relaxed);
}

sombra_err sombra_txn_commit(sombra_txn *txn, sombra_durability durability)
{
    sombra_err err = txn_live(txn);
    if (err) {
        sombra_txn_abort(txn); /* the parent's, which is over in the child by this */
        return err;
    }
    if (durability > SOMBRA_DURABILITY_OFF) {
        sombra_txn_abort(txn);
        return diag_fail(SOMBRA_INVALID, "durability %d is none of full, group, normal, off",
                         (int)durability);
    }
    size_t left = graph_changes_left(&txn->graph);
    if (left) {
        sombra_txn_abort(txn);
        return diag_fail(SOMBRA_INVALID,
                         "%zu changes wait for triggers: take them with sombra_change_next before "
                         "the commit, as Lua's does",
                         left);
    }
    children_cut(txn); /* their cursors must be closed before the kv transaction ends */
    err = graph_txn_flush(&txn->graph);
    if (err) {
        char text[DIAG_TEXT_BYTES];
        diag_save(text);
        kv_abort(txn->graph.kv);
        diag_restore(text);
    } else {
        err = kv_commit(txn->graph.kv, (enum kv_durability)durability);
    }
    graph_txn_end(&txn->graph, err == SOMBRA_OK);
    count_down(txn->db);
    return diag_wrap(err, "commit");
}

void sombra_txn_abort(sombra_txn *txn)
{
    if (!txn || !txn->graph.kv)
        return;
    if (UNLIKELY(os_is_inherited(txn->fork_number))) {
        txn->graph.kv = NULL;
        return;
    }
    children_cut(txn);
    kv_abort(txn->graph.kv);
    graph_txn_end(&txn->graph, false);
    count_down(txn->db);
}

void txn_orphan(sombra_txn *txn)
{
    assert(txn->db);
    sombra_txn_abort(txn);
    graph_txn_unlearn(&txn->graph);
    txn_unlink(txn);
    txn->db = NULL;
}

void txn_free(sombra_txn *txn)
{
    assert(!txn->graph.kv && !txn->children);
    children_free_spare(txn);
    graph_txn_release(&txn->graph);
    mem_free(txn);
}

void sombra_txn_close(sombra_txn *txn)
{
    if (!txn)
        return;
    sombra_txn_abort(txn);
    sombra_db *db = txn->db;
    if (!db) {
        txn_free(txn);
        return;
    }
    if (LIKELY(!os_is_inherited(txn->fork_number)))
        handle_keep(db, txn);
}

bool sombra_txn_is_open(const sombra_txn *txn)
{
    return txn && txn->graph.kv;
}

bool sombra_txn_set_readonly(sombra_txn *txn, bool is_readonly)
{
    bool before = txn->graph.is_readonly;
    txn->graph.is_readonly = is_readonly;
    return before;
}

sombra_txn_poll sombra_txn_set_poll(sombra_txn *txn, sombra_txn_poll poll)
{
    sombra_txn_poll before = txn->graph.poll;
    txn->graph.poll = poll;
    return before;
}

bool sombra_txn_is_write(const sombra_txn *txn)
{
    return txn && txn->is_write;
}

/* ---- savepoints -------------------------------------------------------------------------- */

sombra_err sombra_txn_savepoint(sombra_txn *txn, uint64_t *out_mark)
{
    sombra_err err = txn_live(txn);
    return err ? err : diag_wrap(graph_txn_savepoint(&txn->graph, out_mark), "savepoint");
}

sombra_err sombra_txn_rollback_to(sombra_txn *txn, uint64_t mark)
{
    sombra_err err = txn_live(txn);
    return err ? err : diag_wrap(graph_txn_rollback_to(&txn->graph, mark), "rollback to savepoint");
}

sombra_err sombra_txn_release(sombra_txn *txn, uint64_t mark)
{
    sombra_err err = txn_live(txn);
    return err ? err : diag_wrap(graph_txn_forget(&txn->graph, mark), "release savepoint");
}
