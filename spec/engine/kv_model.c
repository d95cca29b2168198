/* SPDX-License-Identifier: MIT */
/* A version of the map is a root of the immutable tree in kv_model_tree.h: a snapshot or a
 * savepoint is one more reference to a root, and cursors and counts are order statistics. */
#include "kv_model.h"
#include "kv_model_tree.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct model {
    struct kv kv;
    struct kv_metrics metrics;
    struct kv_model_options options;
    pthread_mutex_t mutex;
    pthread_cond_t writer_left; /* on the monotonic clock */
    /* the rest is under the mutex */
    struct node *root; /* newest commit */
    struct model_txn *readers;
    bool has_writer;
    pthread_t writer_thread; /* while has_writer */
    bool is_poisoned;        /* a commit failed with IO */
    uint64_t txn, commits, checkpoints;
    uint64_t calls, fail_at; /* fail when calls reaches fail_at; 0 = never */
    sombra_err fail_code;
};

/* A copy that the caller may look at until it is taken back. */
struct loan {
    uint8_t *bytes;
    size_t count;
};

struct savepoint {
    uint64_t mark;
    struct node *root;
};

struct model_txn {
    struct kv_txn txn;
    struct node *root;
    struct loan loan; /* of the last get */
    struct model_cursor *cursors;
    struct savepoint *savepoints; /* marks ascend */
    size_t savepoint_count;
    uint64_t last_mark;
    sombra_err failure; /* of a write: nothing but abort and rollback from then on */
    uint64_t number;    /* readers: the commit they see */
    uint64_t began_ms;
    struct model_txn *next, **link; /* in model.readers */
};

enum place { PLACE_FRESH, PLACE_BEFORE, PLACE_AT, PLACE_BEHIND };

struct model_cursor {
    struct kv_cursor cursor;
    struct loan low, high; /* the bounds; never lent */
    enum place place;
    struct loan at; /* PLACE_AT: the key, which may be deleted by now; never lent */
    struct loan entry, batch;
    struct model_cursor *next, **link; /* in model_txn.cursors */
};

static const struct kv_ops model_ops;

static struct model *model_of(struct kv *kv)
{
    assert(kv->ops == &model_ops);
    return container_of(kv, struct model, kv);
}

static struct model_txn *txn_of(struct kv_txn *txn)
{
    assert(txn->ops == &model_ops);
    return container_of(txn, struct model_txn, txn);
}

static struct model_cursor *cursor_of(struct kv_cursor *cursor)
{
    assert(cursor->ops == &model_ops);
    return container_of(cursor, struct model_cursor, cursor);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- loans ------------------------------------------------------------------------------- */

static void loan_end(struct loan *loan)
{
    if (loan->bytes)
        memset(loan->bytes, 0xdd, loan->count);
    free(loan->bytes);
    *loan = (struct loan){ 0 };
}

static uint8_t *loan_begin(struct loan *loan, size_t bytes)
{
    loan_end(loan);
    loan->bytes = must_alloc(bytes);
    loan->count = bytes;
    return loan->bytes;
}

/* `s` may lie in the loan's former bytes. */
static void loan_set(struct loan *loan, sombra_slice s)
{
    struct loan fresh = { 0 };
    uint8_t *bytes = loan_begin(&fresh, s.bytes);
    if (s.bytes)
        memcpy(bytes, s.data, s.bytes);
    loan_end(loan);
    *loan = fresh;
}

static sombra_slice loan_slice(const struct loan *loan)
{
    return slice_of(loan->bytes, loan->count);
}

/* ---- calls ------------------------------------------------------------------------------- */

/* Counts the call and fails it if a test asked for that. */
static sombra_err call_injected(struct model *model)
{
    pthread_mutex_lock(&model->mutex);
    model->calls++;
    sombra_err code = model->fail_at == model->calls ? model->fail_code : SOMBRA_OK;
    pthread_mutex_unlock(&model->mutex);
    return code ? diag_fail(code, "model: failure injected by the test") : SOMBRA_OK;
}

static sombra_err txn_refuses(const struct model_txn *t)
{
    return t->failure
               ? diag_fail(t->failure, "the transaction failed before: abort it or roll back to a "
                                       "savepoint")
               : SOMBRA_OK;
}

static sombra_err read_enter(struct model_txn *t)
{
    sombra_err err = txn_refuses(t);
    return err ? err : call_injected(model_of(t->txn.kv));
}

static sombra_err write_enter(struct model_txn *t)
{
    if (!t->txn.is_write)
        return diag_fail(SOMBRA_READONLY, "write in a read transaction");
    assert(pthread_equal(model_of(t->txn.kv)->writer_thread, pthread_self()));
    sombra_err err = txn_refuses(t);
    if (err)
        return err;
    err = call_injected(model_of(t->txn.kv));
    if (err == SOMBRA_IO || err == SOMBRA_NOMEM || err == SOMBRA_CORRUPT)
        t->failure = err;
    return err;
}

/* After a write no cursor's bytes may be used any more. */
static void txn_recall(struct model_txn *t)
{
    loan_end(&t->loan);
    for (struct model_cursor *c = t->cursors; c; c = c->next) {
        loan_end(&c->entry);
        loan_end(&c->batch);
        c->cursor.entry = (struct kv_entry){ 0 };
        c->cursor.is_positioned = false;
    }
}

static void txn_take_root(struct model_txn *t, struct node *root)
{
    node_unref(t->root);
    t->root = root;
    txn_recall(t);
}

static sombra_err call_hook(struct model *model, enum kv_model_event event, struct kv_txn *txn,
                            enum kv_durability durability)
{
    kv_model_hook_fn hook = model->options.hook;
    return hook ? hook(model->options.context, event, txn, durability) : SOMBRA_OK;
}

/* ---- transactions ------------------------------------------------------------------------ */

/* Under the mutex. False when the time was up first. */
static bool writer_wait(struct model *model, uint64_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t limit_ms = u64_min(timeout_ms, UINT64_C(1000) * 86400 * 365);
    uint64_t ns = (uint64_t)until.tv_nsec + limit_ms % 1000 * 1000000;
    until.tv_sec += (time_t)(limit_ms / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    int result = 0;
    while (model->has_writer && result != ETIMEDOUT && timeout_ms > 0)
        result = pthread_cond_timedwait(&model->writer_left, &model->mutex, &until);
    return !model->has_writer;
}

static sombra_err writer_enter(struct model *model, uint64_t timeout_ms)
{
    if (model->is_poisoned)
        return diag_fail(SOMBRA_IO, "a commit failed: reopen the store to write again");
    if (model->has_writer && pthread_equal(model->writer_thread, pthread_self()))
        return diag_fail(SOMBRA_BUSY, "this thread has a write transaction open already");
    if (!writer_wait(model, timeout_ms))
        return diag_fail(SOMBRA_BUSY, "another write transaction is open");
    if (model->is_poisoned)
        return diag_fail(SOMBRA_IO, "a commit failed: reopen the store to write again");
    model->has_writer = true;
    model->writer_thread = pthread_self();
    return SOMBRA_OK;
}

static sombra_err model_begin(struct kv *kv, const struct kv_begin_options *options,
                              struct kv_txn **out_txn)
{
    struct model *model = model_of(kv);
    assert(options && out_txn);
    sombra_err err = SOMBRA_OK;
    if (options->needs_durable)
        err = call_hook(model, KV_MODEL_DURABLE_READ, NULL, KV_DURABILITY_STORE);
    if (err)
        return err;
    struct model_txn *t = must_alloc(sizeof *t);
    t->txn = (struct kv_txn){ .ops = &model_ops, .kv = kv, .is_write = options->is_write };
    pthread_mutex_lock(&model->mutex);
    if (options->is_write) {
        err = writer_enter(model, options->busy_timeout_ms);
    } else {
        t->next = model->readers;
        t->link = &model->readers;
        if (t->next)
            t->next->link = &t->next;
        model->readers = t;
    }
    t->root = err ? NULL : node_ref(model->root);
    t->number = model->txn;
    pthread_mutex_unlock(&model->mutex);
    t->began_ms = now_ms();
    if (err)
        free(t);
    else
        *out_txn = &t->txn;
    return err;
}

/* Under the mutex. */
static void txn_leave(struct model *model, struct model_txn *t)
{
    if (t->txn.is_write) {
        assert(model->has_writer && pthread_equal(model->writer_thread, pthread_self()));
        model->has_writer = false;
        pthread_cond_signal(&model->writer_left);
        return;
    }
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
}

static void txn_free(struct model_txn *t)
{
    assert(!t->cursors); /* cursors are closed before their transaction ends */
    loan_end(&t->loan);
    for (size_t i = 0; i < t->savepoint_count; i++)
        node_unref(t->savepoints[i].root);
    free(t->savepoints);
    node_unref(t->root);
    free(t);
}

static sombra_err model_commit(struct kv_txn *txn, enum kv_durability durability)
{
    struct model_txn *t = txn_of(txn);
    struct model *model = model_of(txn->kv);
    assert(durability >= KV_DURABILITY_STORE && durability <= KV_OFF);
    sombra_err err = txn_refuses(t);
    if (!err && txn->is_write)
        err = call_injected(model);
    if (!err && txn->is_write)
        err = call_hook(model, KV_MODEL_COMMIT, txn, durability);
    pthread_mutex_lock(&model->mutex);
    if (!err && txn->is_write) {
        struct node *former = model->root;
        model->root = t->root;
        t->root = former;
        model->txn++;
        model->commits++;
        kv_metrics_add(&model->metrics, KV_COUNTER_COMMITS, 1);
    }
    model->is_poisoned = model->is_poisoned || (err == SOMBRA_IO && !t->failure);
    txn_leave(model, t);
    pthread_mutex_unlock(&model->mutex);
    txn_free(t);
    return err;
}

static void model_abort(struct kv_txn *txn)
{
    struct model_txn *t = txn_of(txn);
    struct model *model = model_of(txn->kv);
    pthread_mutex_lock(&model->mutex);
    txn_leave(model, t);
    pthread_mutex_unlock(&model->mutex);
    txn_free(t);
}

static void savepoint_push(struct model_txn *t, uint64_t *out_mark)
{
    size_t bytes = (t->savepoint_count + 1) * sizeof *t->savepoints;
    struct savepoint *more = realloc(t->savepoints, bytes);
    if (!more)
        abort();
    t->savepoints = more;
    t->last_mark++;
    more[t->savepoint_count].mark = t->last_mark;
    more[t->savepoint_count].root = node_ref(t->root);
    t->savepoint_count++;
    *out_mark = t->last_mark;
}

static void savepoints_cut(struct model_txn *t, size_t count)
{
    while (t->savepoint_count > count)
        node_unref(t->savepoints[--t->savepoint_count].root);
}

static sombra_err model_savepoint(struct kv_txn *txn, enum kv_savepoint_action action,
                                  uint64_t *mark)
{
    struct model_txn *t = txn_of(txn);
    assert(mark);
    if (!txn->is_write)
        return diag_fail(SOMBRA_READONLY, "savepoint in a read transaction");
    sombra_err err = action == KV_SAVEPOINT_ROLLBACK ? SOMBRA_OK : read_enter(t);
    if (err)
        return err;
    loan_end(&t->loan);
    if (action == KV_SAVEPOINT_SET) {
        savepoint_push(t, mark);
        return SOMBRA_OK;
    }
    size_t index = 0;
    while (index < t->savepoint_count && t->savepoints[index].mark != *mark)
        index++;
    if (index == t->savepoint_count)
        return diag_fail(SOMBRA_INVALID, "savepoint %llu is not set", (unsigned long long)*mark);
    if (action == KV_SAVEPOINT_RELEASE) {
        savepoints_cut(t, index);
        return SOMBRA_OK;
    }
    assert(action == KV_SAVEPOINT_ROLLBACK);
    savepoints_cut(t, index + 1);
    txn_take_root(t, node_ref(t->savepoints[index].root));
    t->failure = SOMBRA_OK;
    return SOMBRA_OK;
}

/* ---- read and write ---------------------------------------------------------------------- */

static sombra_err model_get(struct kv_txn *txn, sombra_slice key, sombra_slice *out_value)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = read_enter(t);
    if (!err)
        err = kv_check_key(key);
    if (err)
        return err;
    const struct record *record = tree_find(t->root, key);
    loan_end(&t->loan);
    if (!record)
        return SOMBRA_NOT_FOUND;
    loan_set(&t->loan, record_value(record));
    *out_value = loan_slice(&t->loan);
    return SOMBRA_OK;
}

static sombra_err model_put(struct kv_txn *txn, sombra_slice key, sombra_slice value)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = write_enter(t);
    if (!err)
        err = kv_check_key(key);
    if (!err)
        err = kv_check_value(value);
    if (err)
        return err;
    struct record *record = record_new(key, value);
    txn_take_root(t, tree_put(t->root, record));
    record_unref(record);
    return SOMBRA_OK;
}

static sombra_err model_remove(struct kv_txn *txn, sombra_slice key)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = write_enter(t);
    if (!err)
        err = kv_check_key(key);
    if (err)
        return err;
    if (!tree_find(t->root, key))
        return SOMBRA_NOT_FOUND;
    txn_take_root(t, tree_remove(t->root, key));
    return SOMBRA_OK;
}

static sombra_err model_remove_range(struct kv_txn *txn, struct kv_range range,
                                     uint64_t *out_removed)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = write_enter(t);
    if (err)
        return err;
    uint64_t first, last;
    tree_range(t->root, range, &first, &last);
    if (first < last) {
        struct node *low = NULL, *rest = node_ref(t->root), *high = NULL, *middle;
        if (range.low.bytes) {
            node_unref(rest);
            tree_split(t->root, range.low, &low, &rest);
        }
        middle = rest;
        if (range.high.bytes) {
            tree_split(rest, range.high, &middle, &high);
            node_unref(rest);
        }
        assert(node_count(middle) == last - first);
        node_unref(middle);
        txn_take_root(t, tree_join(low, high));
    }
    if (out_removed)
        *out_removed = last - first;
    return SOMBRA_OK;
}

static sombra_err model_count(struct kv_txn *txn, struct kv_range range, uint64_t limit,
                              uint64_t *out_count)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = read_enter(t);
    if (err)
        return err;
    uint64_t first, last;
    tree_range(t->root, range, &first, &last);
    loan_end(&t->loan);
    *out_count = limit ? u64_min(limit, last - first) : last - first;
    return SOMBRA_OK;
}

static sombra_err model_estimate(struct kv_txn *txn, struct kv_range range, uint64_t *out_count)
{
    return model_count(txn, range, 0, out_count);
}

/* ---- cursors ----------------------------------------------------------------------------- */

static sombra_err model_cursor_open(struct kv_txn *txn, struct kv_range range,
                                    struct kv_cursor **out_cursor)
{
    struct model_txn *t = txn_of(txn);
    sombra_err err = read_enter(t);
    if (err)
        return err;
    struct model_cursor *c = must_alloc(sizeof *c);
    c->cursor = (struct kv_cursor){ .ops = &model_ops, .txn = txn };
    loan_set(&c->low, range.low);
    loan_set(&c->high, range.high);
    c->place = PLACE_FRESH;
    c->next = t->cursors;
    c->link = &t->cursors;
    if (c->next)
        c->next->link = &c->next;
    t->cursors = c;
    loan_end(&t->loan);
    *out_cursor = &c->cursor;
    return SOMBRA_OK;
}

/* The index in the whole tree that a motion leads to, which lies within [first, last) if there is
 * such a key. first - 1 may wrap around; it is never within. */
static uint64_t cursor_target(const struct model_cursor *c, const struct node *root, uint64_t first,
                              uint64_t last, enum kv_motion motion, sombra_slice key)
{
    switch (motion) {
    case KV_FIRST:
        return first;
    case KV_LAST:
        return last - 1;
    case KV_NEXT:
        if (c->place == PLACE_AT)
            return tree_rank(root, loan_slice(&c->at), true);
        return c->place == PLACE_BEHIND ? last : first;
    case KV_PREVIOUS:
        if (c->place == PLACE_AT)
            return tree_rank(root, loan_slice(&c->at), false) - 1;
        return c->place == PLACE_BEFORE ? first - 1 : last - 1;
    case KV_SEEK_GE:
        return u64_max(first, tree_rank(root, key, false));
    case KV_SEEK_LE: {
        uint64_t behind = u64_min(last, tree_rank(root, key, true));
        return behind - 1;
    }
    }
    assert(false);
    return last;
}

static bool motion_is_forward(enum kv_motion motion)
{
    return motion == KV_FIRST || motion == KV_NEXT || motion == KV_SEEK_GE;
}

static sombra_err model_cursor_move(struct kv_cursor *cursor, enum kv_motion motion,
                                    sombra_slice key, bool *out_found)
{
    struct model_cursor *c = cursor_of(cursor);
    struct model_txn *t = txn_of(cursor->txn);
    sombra_err err = read_enter(t);
    if (err)
        return err;
    uint64_t first, last;
    struct kv_range range = { loan_slice(&c->low), loan_slice(&c->high) };
    tree_range(t->root, range, &first, &last);
    uint64_t target = cursor_target(c, t->root, first, last, motion, key);
    bool found = target >= first && target < last;
    loan_end(&t->loan);
    loan_end(&c->batch);
    loan_end(&c->entry);
    cursor->entry = (struct kv_entry){ 0 };
    cursor->is_positioned = found;
    *out_found = found;
    if (!found) {
        c->place = motion_is_forward(motion) ? PLACE_BEHIND : PLACE_BEFORE;
        return SOMBRA_OK;
    }
    const struct record *record = tree_select(t->root, target);
    c->place = PLACE_AT;
    loan_set(&c->at, record_key(record));
    loan_set(&c->entry, slice_of(record->bytes, record->key_bytes + record->value_bytes));
    cursor->entry.key = slice_of(c->entry.bytes, record->key_bytes);
    cursor->entry.value = slice_from(loan_slice(&c->entry), record->key_bytes);
    return SOMBRA_OK;
}

/* Fills the batch with copies of `count` records from index `at`, going up or down. */
static void batch_fill(struct model_cursor *c, const struct node *root, uint64_t at, uint64_t count,
                       bool is_forward, struct kv_batch *batch)
{
    const struct record *near = tree_select(root, at);
    const struct record *far = tree_select(root, is_forward ? at + count - 1 : at - (count - 1));
    size_t prefix = slice_common_prefix(record_key(near), record_key(far));
    size_t bytes = prefix;
    for (uint64_t i = 0; i < count; i++) {
        const struct record *record = tree_select(root, is_forward ? at + i : at - i);
        bytes += record->key_bytes - prefix + record->value_bytes;
    }
    uint8_t *to = loan_begin(&c->batch, bytes);
    memcpy(to, near->bytes, prefix);
    batch->prefix = slice_of(to, prefix);
    to += prefix;
    for (uint64_t i = 0; i < count; i++) {
        const struct record *record = tree_select(root, is_forward ? at + i : at - i);
        size_t suffix = record->key_bytes - prefix;
        memcpy(to, record->bytes + prefix, suffix + record->value_bytes);
        batch->entries[i].key = slice_of(to, suffix);
        batch->entries[i].value = slice_of(to + suffix, record->value_bytes);
        to += suffix + record->value_bytes;
    }
    batch->count = count;
}

static sombra_err model_cursor_read(struct kv_cursor *cursor, enum kv_motion direction,
                                    struct kv_batch *batch)
{
    struct model_cursor *c = cursor_of(cursor);
    struct model_txn *t = txn_of(cursor->txn);
    assert(direction == KV_NEXT || direction == KV_PREVIOUS);
    assert(batch->capacity >= 1);
    bool found;
    sombra_err err = model_cursor_move(cursor, direction, slice_of(NULL, 0), &found);
    if (err)
        return err;
    batch->count = 0;
    batch->prefix = slice_of(NULL, 0);
    if (!found)
        return SOMBRA_OK;
    uint64_t first, last;
    struct kv_range range = { loan_slice(&c->low), loan_slice(&c->high) };
    tree_range(t->root, range, &first, &last);
    uint64_t at = tree_rank(t->root, loan_slice(&c->at), false);
    bool is_forward = direction == KV_NEXT;
    uint64_t count = u64_min(batch->capacity, is_forward ? last - at : at - first + 1);
    size_t batch_max = model_of(cursor->txn->kv)->options.batch_entries_max;
    if (batch_max)
        count = u64_min(count, batch_max);
    batch_fill(c, t->root, at, count, is_forward, batch);
    /* The position is told by the batch; the entry says the same for those who look there. */
    const struct record *stop = tree_select(t->root, is_forward ? at + count - 1 : at - count + 1);
    loan_set(&c->at, record_key(stop));
    loan_set(&c->entry, slice_of(stop->bytes, stop->key_bytes + stop->value_bytes));
    cursor->entry.key = slice_of(c->entry.bytes, stop->key_bytes);
    cursor->entry.value = slice_from(loan_slice(&c->entry), stop->key_bytes);
    return SOMBRA_OK;
}

static void model_cursor_close(struct kv_cursor *cursor)
{
    struct model_cursor *c = cursor_of(cursor);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    loan_end(&c->low);
    loan_end(&c->high);
    loan_end(&c->at);
    loan_end(&c->entry);
    loan_end(&c->batch);
    free(c);
}

/* ---- maintenance ------------------------------------------------------------------------- */

static void model_stats(struct model *model, struct kv_stats *out)
{
    pthread_mutex_lock(&model->mutex);
    struct kv_stats stats = {
        .entries = node_count(model->root),
        .txn = model->txn,
        .lsn = model->txn,
        .durable_lsn = model->txn,
        .checkpoints = model->checkpoints,
        .commits = model->commits,
        .refuses_writes = model->is_poisoned,
    };
    for (struct model_txn *t = model->readers; t; t = t->next) {
        bool is_oldest = stats.readers == 0 || t->number <= stats.oldest_reader_txn;
        stats.readers++;
        if (is_oldest) {
            stats.oldest_reader_txn = t->number;
            stats.oldest_reader_age_ms = now_ms() - t->began_ms;
        }
    }
    pthread_mutex_unlock(&model->mutex);
    *out = stats;
}

struct verify_walk {
    struct kv_maintenance *job;
    uint64_t done, total;
    const struct record *before;
    bool is_cancelled;
};

static void verify_report(struct verify_walk *walk, const char *message)
{
    struct kv_problem problem = { .code = SOMBRA_CORRUPT, .message = message };
    walk->job->problems++;
    if (walk->job->problem)
        walk->job->problem(walk->job->context, &problem);
}

static void verify_node(struct verify_walk *walk, const struct node *node)
{
    if (!node)
        return;
    verify_node(walk, node->left);
    if (walk->is_cancelled)
        return;
    if (walk->before && slice_compare(record_key(walk->before), record_key(node->record)) >= 0)
        verify_report(walk, "keys are out of order");
    if (node->count != node_count(node->left) + 1 + node_count(node->right))
        verify_report(walk, "a count is wrong");
    walk->before = node->record;
    walk->done++;
    if (walk->job->progress && !walk->job->progress(walk->job->context, walk->done, walk->total))
        walk->is_cancelled = true;
    else
        verify_node(walk, node->right);
}

static sombra_err model_verify(struct model *model, struct kv_maintenance *job)
{
    pthread_mutex_lock(&model->mutex);
    struct node *root = node_ref(model->root);
    pthread_mutex_unlock(&model->mutex);
    struct verify_walk walk = { .job = job, .total = node_count(root) };
    job->problems = 0;
    verify_node(&walk, root);
    node_unref(root);
    return walk.is_cancelled ? diag_fail(SOMBRA_CANCELLED, "verify was cancelled") : SOMBRA_OK;
}

static sombra_err model_maintain(struct kv *kv, struct kv_maintenance *job)
{
    struct model *model = model_of(kv);
    switch (job->kind) {
    case KV_STATS:
        model_stats(model, &job->stats);
        return SOMBRA_OK;
    case KV_CHECKPOINT:
        pthread_mutex_lock(&model->mutex);
        model->checkpoints++;
        kv_metrics_add(&model->metrics, KV_COUNTER_CHECKPOINTS, 1);
        pthread_mutex_unlock(&model->mutex);
        return call_hook(model, KV_MODEL_CHECKPOINT, NULL, KV_DURABILITY_STORE);
    case KV_VERIFY:
        return model_verify(model, job);
    case KV_COMPACT:
    case KV_BACKUP:
    case KV_REFRESH:
        break;
    }
    return diag_fail(SOMBRA_UNSUPPORTED, "the model has no file: nothing to compact or back up");
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static sombra_err model_close(struct kv *kv)
{
    struct model *model = model_of(kv);
    pthread_mutex_lock(&model->mutex);
    bool is_used = model->has_writer || model->readers;
    pthread_mutex_unlock(&model->mutex);
    if (is_used)
        return diag_fail(SOMBRA_BUSY, "transactions are open: end them before closing the store");
    sombra_err err = call_hook(model, KV_MODEL_CLOSE, NULL, KV_DURABILITY_STORE);
    node_unref(model->root);
    pthread_cond_destroy(&model->writer_left);
    pthread_mutex_destroy(&model->mutex);
    free(model);
    return err;
}

static const struct kv_ops model_ops = {
    .name = "model",
    .close = model_close,
    .begin = model_begin,
    .commit = model_commit,
    .abort = model_abort,
    .savepoint = model_savepoint,
    .get = model_get,
    .put = model_put,
    .remove = model_remove,
    .remove_range = model_remove_range,
    .count = model_count,
    .estimate = model_estimate,
    .cursor_open = model_cursor_open,
    .cursor_move = model_cursor_move,
    .cursor_read = model_cursor_read,
    .cursor_close = model_cursor_close,
    .maintain = model_maintain,
};

sombra_err kv_model_open(const struct kv_model_options *options, struct kv **out_kv)
{
    struct model *model = must_alloc(sizeof *model);
    model->kv = (struct kv){ .ops = &model_ops, .metrics = &model->metrics };
    if (options)
        model->options = *options;
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&model->mutex, NULL) || pthread_condattr_init(&attributes) ||
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) ||
        pthread_cond_init(&model->writer_left, &attributes))
        abort();
    pthread_condattr_destroy(&attributes);
    *out_kv = &model->kv;
    return SOMBRA_OK;
}

void kv_model_fail_at(struct kv *kv, uint64_t nth, sombra_err code)
{
    struct model *model = model_of(kv);
    pthread_mutex_lock(&model->mutex);
    model->fail_at = nth ? model->calls + nth : 0;
    model->fail_code = code;
    pthread_mutex_unlock(&model->mutex);
}

uint64_t kv_model_calls(struct kv *kv)
{
    struct model *model = model_of(kv);
    pthread_mutex_lock(&model->mutex);
    uint64_t calls = model->calls;
    pthread_mutex_unlock(&model->mutex);
    return calls;
}
