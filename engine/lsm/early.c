/* SPDX-License-Identifier: MIT */
/* Tables of what a long transaction has put, made while it goes on.
 *
 * A transaction that is in no log is committed by the flush of its memtable (lsm_memtable_commit).
 * Such transactions load, and put long rows of ascending keys to which they do not come back. So
 * what a row has left behind is a PIECE: keys [low, high), which a thread of its own puts into
 * tables. The memtable keeps all of it: whoever reads it sees no difference, and a piece to which
 * something is written after all, or whose writes are taken back, is not used. The commit makes
 * tables of what lies between the pieces, and its edit names them all. What the memtable had when
 * it turned out that the transaction is long is cut into pieces as well, one for each first byte of
 * keys: what is put next is most likely of another kind.
 *
 * Pieces know neither their level nor that of a run: the edit says it. What lies below them may
 * move deeper meanwhile, or go, but nothing older comes to it: full memtables would, so there are
 * none when the first piece is made, and while the transaction has the turn none can be added.
 *
 * Threads: the transaction's, and the one that writes pieces. It reads the memtable beside the
 * writer as any reader does; the transaction does not end before it.
 */
#include "compaction.h"
#include "write_internal.h"

#include <stdlib.h>

enum {
    PIECE_PART = 4,     /* a piece has table_bytes / PIECE_PART, of keys and values, or more */
    PIECE_PART_MIN = 8, /* and where its row ended, at least 1 / PIECE_PART_MIN of that */
    ALL_PART = 8,       /* and an eighth of what came before: so there are not many */
    STALE_MAX = 2,      /* pieces made in vain: no more are made */
};

struct piece {
    struct flush_part part; /* its keys are `low` and `high` */
    struct buf low, high;
    enum { PIECE_WAITS, PIECE_RUNS, PIECE_DONE } state; /* early->mutex */
    bool is_stale;            /* changed since, or not made: not to be used. The transaction's */
    bool is_kept;             /* the tables stay */
    _Atomic bool is_given_up; /* nobody wants it any more, or it failed: it has no tables then */
    struct piece *next;       /* older */
};

struct lsm_early {
    struct lsm *lsm;
    struct memtable *memtable; /* referenced */
    struct version *version;   /* referenced */
    uint64_t seq;
    enum codec_id codec;
    unsigned stale_count;
    bool has_thread;
    struct os_thread thread;

    /* The row that is being put; has_row false: none. */
    bool has_row;
    struct buf low, high; /* its first and last key */
    uint64_t bytes, entries;
    uint64_t bytes_before; /* of all pieces */

    struct piece **settled; /* those to use, by key */
    struct flush_part **parts;
    size_t settled_count;

    struct os_mutex mutex; /* guards what follows, and the states of pieces */
    struct os_condition changed;
    struct piece *pieces; /* newest first */
    bool is_ending;
};

/* ---- the thread -------------------------------------------------------------------------- */

/* The oldest that waits. Mutex held. */
static struct piece *piece_take(struct lsm_early *early)
{
    struct piece *oldest = NULL;
    for (struct piece *piece = early->pieces; piece; piece = piece->next)
        if (piece->state == PIECE_WAITS)
            oldest = piece;
    if (oldest)
        oldest->state = PIECE_RUNS;
    return oldest;
}

/* Its tables go at once: they may be all the space that the commit needs. Mutex held. */
static void piece_unmake(struct piece *piece)
{
    assert(piece->state == PIECE_DONE && !piece->is_kept);
    table_output_release(&piece->part.output, false);
}

/* Mutex held on entry and return, free meanwhile. */
static void piece_run(struct lsm_early *early, struct piece *piece)
{
    os_mutex_unlock(&early->mutex);
    flush_part_run(&piece->part, false);
    os_mutex_lock(&early->mutex);
    piece->state = PIECE_DONE;
    if (atomic_load(&piece->is_given_up))
        piece_unmake(piece);
    os_condition_broadcast(&early->changed);
}

static void *early_main(void *argument)
{
    struct lsm_early *early = argument;
    os_mutex_lock(&early->mutex);
    while (!early->is_ending) {
        struct piece *piece = piece_take(early);
        if (piece)
            piece_run(early, piece);
        else
            os_condition_wait(&early->changed, &early->mutex, UINT64_MAX);
    }
    os_mutex_unlock(&early->mutex);
    return NULL;
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static void piece_free(struct piece *piece)
{
    source_close(piece->part.source);
    table_output_release(&piece->part.output, piece->is_kept);
    buf_release(&piece->low);
    buf_release(&piece->high);
    mem_free(piece);
}

static void early_free(struct lsm_early *early)
{
    while (early->pieces) {
        struct piece *piece = early->pieces;
        early->pieces = piece->next;
        piece_free(piece);
    }
    version_unref(early->version);
    memtable_unref(early->memtable);
    buf_release(&early->low);
    buf_release(&early->high);
    mem_free(early->settled);
    mem_free(early->parts);
    os_condition_release(&early->changed);
    os_mutex_release(&early->mutex);
    mem_free(early);
}

static sombra_err early_new(struct lsm_txn *txn, struct lsm_early **out_early)
{
    struct lsm *lsm = lsm_of(txn->txn.kv);
    struct lsm_early *early = mem_zalloc(sizeof *early);
    if (!early)
        return diag_nomem("tables made early", sizeof *early);
    sombra_err err = os_mutex_init(&early->mutex);
    if (err) {
        mem_free(early);
        return err;
    }
    err = os_condition_init(&early->changed);
    if (err) {
        os_mutex_release(&early->mutex);
        mem_free(early);
        return err;
    }
    early->lsm = lsm;
    early->memtable = lsm->writer->active;
    memtable_ref(early->memtable);
    early->version = txn->view->version;
    version_ref(early->version);
    early->seq = txn->seq;
    early->codec = early->version->count == 0 ? lsm->bottom_codec : lsm->codec;
    early->low = early->high = (struct buf)BUF_INIT;
    *out_early = early;
    return SOMBRA_OK;
}

void lsm_early_end(struct lsm_txn *txn)
{
    struct lsm_early *early = txn->write->early;
    txn->write->early = NULL;
    os_mutex_lock(&early->mutex);
    early->is_ending = true;
    for (struct piece *piece = early->pieces; piece; piece = piece->next)
        atomic_store(&piece->is_given_up, true);
    os_condition_broadcast(&early->changed);
    os_mutex_unlock(&early->mutex);
    if (early->has_thread)
        os_thread_join(&early->thread);
    early_free(early);
}

/* ---- pieces ------------------------------------------------------------------------------ */

static sombra_err piece_new(struct lsm_early *early, struct piece **out_piece)
{
    struct piece *piece = mem_zalloc(sizeof *piece);
    if (!piece)
        return diag_nomem("a piece of a memtable", sizeof *piece);
    piece->low = piece->high = (struct buf)BUF_INIT;
    sombra_err err = buf_set(&piece->low, buf_slice(&early->low));
    if (!err)
        err = buf_set(&piece->high, buf_slice(&early->high));
    if (!err)
        err = buf_append_u8(&piece->high, 0); /* the last key's successor */
    if (!err)
        err = memtable_source(early->memtable, UINT64_MAX, &piece->part.source);
    piece->part.output = (struct table_output){
        .lsm = early->lsm,
        .codec = early->codec,
        .seq_max = early->seq,
        .entries_hint = early->entries,
        .version = early->version,
        .from = BUF_INIT,
    };
    if (err) {
        piece_free(piece);
        return err;
    }
    piece->part.lsm = early->lsm;
    piece->part.low = buf_slice(&piece->low);
    piece->part.high = buf_slice(&piece->high);
    piece->part.is_given_up = &piece->is_given_up;
    *out_piece = piece;
    return SOMBRA_OK;
}

/* What the row has is a piece now. */
static sombra_err row_cut(struct lsm_early *early)
{
    struct piece *piece = NULL;
    sombra_err err = piece_new(early, &piece);
    if (err)
        return err;
    early->has_row = false;
    early->bytes_before += early->bytes;
    if (!early->has_thread)
        early->has_thread = os_thread_start(&early->thread, early_main, early) == SOMBRA_OK;
    os_mutex_lock(&early->mutex);
    piece->next = early->pieces;
    early->pieces = piece;
    os_condition_broadcast(&early->changed);
    os_mutex_unlock(&early->mutex);
    return SOMBRA_OK;
}

static uint64_t piece_bytes(const struct lsm_early *early)
{
    return u64_max(early->lsm->options.table_bytes / PIECE_PART, early->bytes_before / ALL_PART);
}

/* Keys that differ in their first byte are of different kinds: something else may come between. */
static bool row_goes_on(const struct lsm_early *early, sombra_slice low)
{
    sombra_slice high = buf_slice(&early->high);
    if (!early->has_row || *(const uint8_t *)low.data != *(const uint8_t *)high.data ||
        slice_compare(high, low) >= 0)
        return false;
    for (const struct piece *piece = early->pieces; piece; piece = piece->next)
        if (!piece->is_stale && slice_compare(high, piece->part.high) < 0 &&
            slice_compare(piece->part.low, low) < 0)
            return false; /* a piece lies between */
    return true;
}

static sombra_err row_add(struct lsm_early *early, sombra_slice low, sombra_slice high,
                          size_t count, uint64_t bytes)
{
    sombra_err err = SOMBRA_OK;
    if (!row_goes_on(early, low)) {
        bool is_left = early->has_row && (slice_compare(buf_slice(&early->high), low) < 0 ||
                                          slice_compare(high, buf_slice(&early->low)) < 0);
        if (is_left && early->bytes >= piece_bytes(early) / PIECE_PART_MIN)
            err = row_cut(early);
        early->has_row = false;
        early->bytes = early->entries = 0;
        if (!err)
            err = buf_set(&early->low, low);
    }
    if (!err)
        err = buf_set(&early->high, high);
    if (err)
        return err;
    early->has_row = true;
    early->bytes += bytes;
    early->entries += count;
    return early->bytes >= piece_bytes(early) ? row_cut(early) : SOMBRA_OK;
}

/* ---- what the transaction tells ---------------------------------------------------------- */

/* What is there already. */
static sombra_err kinds_cut(struct lsm_early *early, struct source *source)
{
    const struct memtable *memtable = early->memtable;
    uint64_t all = u64_max(memtable_entries(memtable), 1);
    sombra_err err = source->ops->seek_ge(source, slice_of(NULL, 0));
    while (!err && source->is_valid) {
        uint8_t kind = *(const uint8_t *)source->entry.key.data, next = (uint8_t)(kind + 1);
        sombra_slice end = slice_of(&next, kind < UINT8_MAX);
        early->entries = memtable_estimate(memtable, source->entry.key, end);
        early->bytes = early->entries * (memtable_bytes(memtable) / all);
        err = buf_set(&early->low, source->entry.key);
        if (!err)
            err = source->ops->seek_lt(source, end);
        if (!err)
            err = buf_set(&early->high, source->entry.key);
        if (!err && early->bytes >= piece_bytes(early) / PIECE_PART_MIN)
            err = row_cut(early);
        if (err || end.bytes == 0)
            break;
        err = source->ops->seek_ge(source, end);
    }
    return err;
}

static sombra_err early_begin(struct lsm_txn *txn)
{
    struct source *source = NULL;
    sombra_err err = early_new(txn, &txn->write->early);
    if (!err)
        err = memtable_source(txn->write->early->memtable, UINT64_MAX, &source);
    if (!err)
        err = kinds_cut(txn->write->early, source);
    source_close(source);
    return err;
}

static bool is_worth_it(const struct lsm_txn *txn)
{
    const struct lsm *lsm = lsm_of(txn->txn.kv);
    return !lsm->options.no_background && txn->view->count == 1 &&
           !memtable_has_ranges(lsm->writer->active);
}

void lsm_early_begin(struct lsm_txn *txn)
{
    char text[DIAG_TEXT_BYTES];
    assert(txn->write->is_unlogged);
    if (txn->write->early || !is_worth_it(txn))
        return;
    diag_save(text);
    if (early_begin(txn))
        diag_restore(text);
}

void lsm_early_put(struct lsm_txn *txn, sombra_slice low, sombra_slice high, size_t count,
                   uint64_t bytes)
{
    struct lsm_early *early = txn->write->early;
    char text[DIAG_TEXT_BYTES];
    assert(txn->write->is_unlogged && count > 0);
    if (!early) {
        lsm_early_begin(txn); /* with what was just put */
        return;
    }
    if (early->stale_count >= STALE_MAX || memtable_has_ranges(early->memtable))
        return; /* it would be in vain */
    diag_save(text);
    if (row_add(early, low, high, count, bytes)) {
        early->has_row = false;
        diag_restore(text);
    }
}

static void piece_drop(struct lsm_early *early, struct piece *piece)
{
    if (piece->is_stale)
        return;
    piece->is_stale = true;
    early->stale_count++;
    os_mutex_lock(&early->mutex);
    atomic_store(&piece->is_given_up, true);
    if (piece->state == PIECE_WAITS)
        piece->state = PIECE_DONE;
    if (piece->state == PIECE_DONE)
        piece_unmake(piece);
    os_mutex_unlock(&early->mutex);
}

void lsm_early_touch(struct lsm_txn *txn, sombra_slice low, sombra_slice high)
{
    struct lsm_early *early = txn->write->early;
    assert(early);
    for (struct piece *piece = early->pieces; piece; piece = piece->next)
        if (slice_compare(low, piece->part.high) < 0 && slice_compare(high, piece->part.low) >= 0)
            piece_drop(early, piece);
}

void lsm_early_forget(struct lsm_txn *txn)
{
    struct lsm_early *early = txn->write->early;
    if (!early)
        return;
    early->has_row = false;
    for (struct piece *piece = early->pieces; piece; piece = piece->next)
        piece_drop(early, piece);
}

/* ---- what the flush asks ----------------------------------------------------------------- */

static int piece_order(const void *a, const void *b)
{
    const struct piece *const *left = a, *const *right = b;
    return slice_compare((*left)->part.low, (*right)->part.low);
}

/* Pieces that failed are flushed with the rest: what was in the way may be gone, or says so. */
static size_t pieces_leave_out(struct lsm_early *early)
{
    size_t count = 0;
    os_mutex_lock(&early->mutex);
    for (struct piece *piece = early->pieces; piece; piece = piece->next) {
        if (piece->state == PIECE_DONE && piece->part.outcome.err)
            piece->is_stale = true;
        count += !piece->is_stale;
    }
    os_mutex_unlock(&early->mutex);
    return count;
}

void lsm_early_settle(struct lsm_early *early, struct flush_part *const **out_parts,
                      size_t *out_count)
{
    assert(early->settled_count == 0);
    size_t count = pieces_leave_out(early);
    assert(count == 0 || !memtable_has_ranges(early->memtable)); /* see lsm_early_forget */
    *out_count = 0;
    if (count == 0)
        return;
    early->settled = mem_alloc(count * sizeof(struct piece *));
    early->parts = mem_alloc(count * sizeof(struct flush_part *));
    if (!early->settled || !early->parts)
        return; /* then all is flushed as if there were no pieces */
    for (struct piece *piece = early->pieces; piece; piece = piece->next)
        if (!piece->is_stale)
            early->settled[early->settled_count++] = piece;
    assert(early->settled_count == count);
    qsort(early->settled, count, sizeof(struct piece *), piece_order);
    for (size_t i = 0; i < count; i++) {
        early->parts[i] = &early->settled[i]->part;
        assert(i == 0 || slice_compare(early->parts[i - 1]->high, early->parts[i]->low) <= 0);
    }
    *out_parts = early->parts;
    *out_count = count;
}

sombra_err lsm_early_finish(struct lsm_early *early)
{
    const struct share_outcome *worst = &(struct share_outcome){ .err = SOMBRA_OK };
    os_mutex_lock(&early->mutex);
    for (struct piece *piece; (piece = piece_take(early));)
        piece_run(early, piece);
    for (size_t i = 0; i < early->settled_count; i++) {
        while (early->settled[i]->state != PIECE_DONE)
            os_condition_wait(&early->changed, &early->mutex, UINT64_MAX);
        worst = share_worse(worst, &early->parts[i]->outcome);
    }
    os_mutex_unlock(&early->mutex);
    return share_tell(worst);
}

void lsm_early_keep(struct lsm_early *early)
{
    for (size_t i = 0; i < early->settled_count; i++)
        early->settled[i]->is_kept = true;
}
