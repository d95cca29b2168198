/* SPDX-License-Identifier: MIT */
/* The oldest full memtable becomes tables of level 0. One filled far beyond its bound is cut in two
 * by its keys, and a thread of its own writes the second part; of one that a long transaction has
 * filled, some may be in tables already (early.c), and what is left lies between those. The edit
 * that names the tables says as well from where on logs are needed: then the memtable leaves the
 * view, and its log goes.
 */
#include "compaction.h"

#include <stdio.h>

enum { FLUSH_ENTRIES = 64, FLUSH_CHECK_ENTRIES = 4096, FLUSH_PARTS_USUAL = 2 };

/* One memtable on its way. */
struct flush {
    struct lsm *lsm;
    struct lsm_full *full;
    bool syncs;
    struct version *version;
    struct range_set ranges;
    struct buf low, end; /* of all keys and ranges */
    struct compaction_span span;
    unsigned level;           /* where the tables go */
    uint64_t run;             /* its number, in level 0 */
    struct source *all;       /* of the keys */
    struct flush_part *parts; /* by key */
    size_t part_count;
    struct flush_part usual[FLUSH_PARTS_USUAL];
    struct flush_part *const *early; /* by key, between the parts; the transaction's */
    size_t early_count;
    bool is_shared;           /* by two threads */
    _Atomic size_t next_part; /* the next to be taken */
    _Atomic bool is_given_up; /* a part failed, or KV_NORMAL */
    bool is_helper_done;      /* lsm->mutex */
};

/* ---- bounds -------------------------------------------------------------------------------- */

static sombra_err find_bounds(struct flush *flush)
{
    struct source *source = flush->all;
    sombra_slice none = slice_of(NULL, 0);
    sombra_err err = source->ops->seek_lt(source, none);
    if (!err && source->is_valid) {
        /* The end is the successor of the last key. */
        err = buf_set(&flush->end, source->entry.key);
        if (!err)
            err = buf_append_u8(&flush->end, 0);
    }
    if (!err)
        err = source->ops->seek_ge(source, none);
    if (!err && source->is_valid)
        err = buf_set(&flush->low, source->entry.key);
    if (err || flush->ranges.count == 0)
        return err;
    sombra_slice low = flush->ranges.ranges[0].low;
    sombra_slice high = flush->ranges.ranges[flush->ranges.count - 1].high;
    if (flush->end.bytes == 0 || slice_compare(low, buf_slice(&flush->low)) < 0)
        err = buf_set(&flush->low, low);
    if (!err && slice_compare(high, buf_slice(&flush->end)) > 0)
        err = buf_set(&flush->end, high);
    return err;
}

/* A memtable that one transaction has filled far beyond its bound is as much work as several: two
 * threads share it. Others leave the second processor to who writes meanwhile. */
static sombra_slice plan_middle(const struct flush *flush)
{
    const struct memtable *memtable = flush->full->memtable;
    const struct lsm_options *options = &flush->lsm->options;
    if (!options->no_background && memtable_bytes(memtable) / 3 > options->memtable_bytes / 2)
        return memtable_middle(memtable);
    return slice_of(NULL, 0);
}

static void plan_halves(struct flush *flush)
{
    sombra_slice middle = plan_middle(flush);
    flush->part_count = middle.bytes ? 2 : 1;
    flush->parts[0].high = middle;
    flush->parts[1].low = middle;
    flush->is_shared = middle.bytes > 0;
}

/* A part for [low, high), unless there is nothing. */
static sombra_err part_add(struct flush *flush, sombra_slice low, sombra_slice high)
{
    struct source *all = flush->all;
    sombra_err err = all->ops->seek_ge(all, low);
    if (!err && all->is_valid && (high.bytes == 0 || slice_compare(all->entry.key, high) < 0)) {
        flush->parts[flush->part_count].low = low;
        flush->parts[flush->part_count++].high = high;
    }
    return err;
}

/* Two, where the middle lies in it. */
static sombra_err gap_add(struct flush *flush, sombra_slice low, sombra_slice high,
                          sombra_slice middle)
{
    bool is_cut = middle.bytes && slice_compare(low, middle) < 0 &&
                  (high.bytes == 0 || slice_compare(middle, high) < 0);
    sombra_err err = part_add(flush, low, is_cut ? middle : high);
    return !err && is_cut ? part_add(flush, middle, high) : err;
}

/* What the tables that were made early have not. Two threads share it where it is the most. */
static sombra_err plan_gaps(struct flush *flush)
{
    size_t bytes = (flush->early_count + 2) * sizeof(struct flush_part);
    sombra_slice low = slice_of(NULL, 0), middle = plan_middle(flush);
    const struct memtable *memtable = flush->full->memtable;
    uint64_t left = memtable_entries(memtable);
    sombra_err err = SOMBRA_OK;
    flush->parts = mem_zalloc(bytes);
    if (!flush->parts)
        return diag_nomem("the parts of a flush", bytes);
    for (size_t i = 0; !err && i < flush->early_count; i++) {
        err = gap_add(flush, low, flush->early[i]->low, middle);
        low = flush->early[i]->high;
        left -= u64_min(left, memtable_estimate(memtable, flush->early[i]->low, low));
    }
    flush->is_shared = middle.bytes && left > memtable_entries(memtable) / 2;
    return err ? err : gap_add(flush, low, slice_of(NULL, 0), middle);
}

static sombra_err plan_parts(struct flush *flush)
{
    flush->parts = flush->usual;
    if (flush->full->early)
        lsm_early_settle(flush->full->early, &flush->early, &flush->early_count);
    if (flush->early_count > 0)
        return plan_gaps(flush);
    plan_halves(flush);
    return SOMBRA_OK;
}

static sombra_err flush_open(struct flush *flush)
{
    struct memtable *memtable = flush->full->memtable;
    sombra_err err = memtable_source(memtable, UINT64_MAX, &flush->all);
    if (!err)
        err = plan_parts(flush);
    for (size_t i = 0; !err && i < flush->part_count; i++) {
        flush->parts[i].lsm = flush->lsm;
        flush->parts[i].is_given_up = &flush->is_given_up;
        err = memtable_source(memtable, UINT64_MAX, &flush->parts[i].source);
    }
    if (!err && memtable_has_ranges(memtable))
        err = memtable_ranges(memtable, UINT64_MAX, &flush->ranges);
    return err ? err : find_bounds(flush);
}

/* ---- place --------------------------------------------------------------------------------- */

/* The level is chosen and guarded by a span in one step, or a compaction could put older data over
 * it. */
static void choose_place(struct flush *flush)
{
    struct lsm *lsm = flush->lsm;
    struct lsm_background *background = lsm->background;
    os_mutex_lock(&lsm->mutex);
    flush->version = lsm->view->version;
    version_ref(flush->version);
    struct policy_input input = { .version = flush->version,
                                  .options = &lsm->options,
                                  .spans = background->spans,
                                  .span_count = background->span_count };
    sombra_slice low = buf_slice(&flush->low), end = buf_slice(&flush->end);
    unsigned level = policy_flush_level(&input, low, end, memtable_bytes(flush->full->memtable));
    flush->span =
        (struct compaction_span){ .level = level, .low = low, .end = end, .owner = flush };
    flush->level = level;
    flush->run = level == 0 ? lsm->next_run++ : 0;
    background_span_add(lsm, &flush->span);
    os_mutex_unlock(&lsm->mutex);
    for (size_t i = 0; i < flush->part_count; i++)
        flush->parts[i].output = (struct table_output){
            .lsm = lsm,
            .level = level,
            .run = flush->run,
            .codec = level == LSM_LEVELS - 1 ? lsm->bottom_codec : lsm->codec,
            .seq_max = flush->full->seq_max,
            .entries_hint = memtable_entries(flush->full->memtable) / flush->part_count,
            .version = flush->version,
            .ranges = &flush->ranges,
            .from = BUF_INIT,
        };
}

/* ---- write --------------------------------------------------------------------------------- */

static sombra_err check_progress(const struct flush_part *part, bool syncs)
{
    uint64_t wait_ms;
    if (atomic_load(&part->lsm->background->is_stopping))
        return diag_fail(SOMBRA_CANCELLED, "the store is being closed");
    if (atomic_load(part->is_given_up))
        return diag_fail(SOMBRA_CANCELLED, "another part of the flush failed");
    return syncs ? lsm_sync_due(part->lsm, &wait_ms) : SOMBRA_OK;
}

static sombra_err part_write(struct flush_part *part, bool syncs)
{
    struct lsm_entry entries[FLUSH_ENTRIES];
    struct source *source = part->source;
    size_t unchecked = 0;
    sombra_err err = table_output_init(&part->output, part->low);
    if (!err)
        err = source->ops->seek_ge(source, part->low);
    while (!err && source->is_valid) {
        size_t count = 0;
        err = source->ops->read(source, part->high, entries, FLUSH_ENTRIES, &count);
        if (count == 0)
            break;
        for (size_t i = 0; !err && i < count; i++)
            err = table_output_add(&part->output, &entries[i]);
        unchecked += count;
        if (!err && unchecked >= FLUSH_CHECK_ENTRIES) {
            unchecked = 0;
            err = check_progress(part, syncs);
        }
    }
    return err ? err : table_output_finish(&part->output, part->high);
}

void flush_part_run(struct flush_part *part, bool syncs)
{
    share_note(&part->outcome, part_write(part, syncs), part->is_given_up);
}

/* Takes parts while there are any. */
static void parts_write(struct flush *flush, bool syncs)
{
    size_t at;
    while (!atomic_load(&flush->is_given_up) &&
           (at = atomic_fetch_add(&flush->next_part, 1)) < flush->part_count)
        flush_part_run(&flush->parts[at], syncs);
}

static void *helper_main(void *argument)
{
    struct flush *flush = argument;
    struct lsm *lsm = flush->lsm;
    parts_write(flush, false);
    os_mutex_lock(&lsm->mutex);
    flush->is_helper_done = true;
    os_condition_broadcast(&lsm->changed);
    os_mutex_unlock(&lsm->mutex);
    return NULL;
}

/* While the helper takes longer, KV_NORMAL is kept, or the flush given up. */
static sombra_err helper_wait(struct flush *flush)
{
    struct lsm *lsm = flush->lsm;
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&lsm->mutex);
    while (!err && !flush->is_helper_done) {
        uint64_t wait_ms = UINT64_MAX;
        os_mutex_unlock(&lsm->mutex);
        err = lsm_sync_due(lsm, &wait_ms);
        os_mutex_lock(&lsm->mutex);
        if (!err && !flush->is_helper_done)
            os_condition_wait(&lsm->changed, &lsm->mutex,
                              u64_min(wait_ms, lsm->options.sync_interval_ms));
    }
    os_mutex_unlock(&lsm->mutex);
    return err;
}

/* The thread that made tables early goes on with those that wait meanwhile. */
static sombra_err flush_write(struct flush *flush)
{
    struct os_thread helper;
    struct share_outcome waited = { .err = SOMBRA_OK };
    const struct share_outcome *worst = &waited;
    bool has_helper = flush->is_shared && os_thread_start(&helper, helper_main, flush) == SOMBRA_OK;
    parts_write(flush, flush->syncs);
    if (has_helper && flush->syncs && !atomic_load(&flush->is_given_up))
        share_note(&waited, helper_wait(flush), &flush->is_given_up);
    if (has_helper)
        os_thread_join(&helper);
    for (size_t i = 0; i < flush->part_count; i++)
        worst = share_worse(worst, &flush->parts[i].outcome);
    if (worst->err || flush->early_count == 0)
        return share_tell(worst);
    return lsm_early_finish(flush->full->early);
}

/* The number before the first record of the oldest log that is needed after this flush. At close
 * there is no newer log: then the last one, since the one that the manifest names must be there. */
static uint64_t next_log(struct lsm *lsm, uint64_t seq)
{
    os_mutex_lock(&lsm->mutex);
    const struct lsm_log *log = lsm->logs;
    while (log && log->next && log->base_seq < seq)
        log = log->next;
    uint64_t base_seq = log ? log->base_seq : seq;
    os_mutex_unlock(&lsm->mutex);
    return base_seq;
}

/* Of the parts, then of those that were early. */
static size_t outputs_count(const struct flush *flush)
{
    return flush->part_count + flush->early_count;
}
static const struct table_output *output_at(const struct flush *flush, size_t at)
{
    return at < flush->part_count ? &flush->parts[at].output
                                  : &flush->early[at - flush->part_count]->output;
}

static size_t tables_count(const struct flush *flush)
{
    size_t count = 0;
    for (size_t i = 0; i < outputs_count(flush); i++)
        count += output_at(flush, i)->count;
    return count;
}

static sombra_err flush_commit(struct flush *flush)
{
    size_t count = tables_count(flush), filled = 0;
    const struct lsm_full *full = flush->full;
    struct edit edit = { .added = mem_alloc(count * sizeof(struct edit_table)),
                         .added_count = count,
                         .log_seq = full->successor_log ? full->seq_max
                                                        : next_log(flush->lsm, full->seq_max),
                         .seq = full->seq_max,
                         .begins_log = full->successor_log != NULL };
    if (!edit.added)
        return diag_nomem("an edit", count * sizeof(struct edit_table));
    for (size_t i = 0; i < outputs_count(flush); i++) {
        const struct table_output *output = output_at(flush, i);
        for (size_t k = 0; k < output->count; k++) {
            edit.added[filled] = output->tables[k];
            edit.added[filled].level = flush->level; /* nobody knew it of early ones */
            edit.added[filled++].run = flush->run;
        }
    }
    sombra_err err = lsm_edit(flush->lsm, &edit, flush->full);
    mem_free(edit.added);
    return err;
}

static void flush_report(const struct flush *flush, uint64_t begun_ns)
{
    struct lsm *lsm = flush->lsm;
    uint64_t duration_ns = os_monotonic_ns(lsm->os) - begun_ns, bytes = 0;
    size_t tables = tables_count(flush);
    for (size_t i = 0; i < outputs_count(flush); i++)
        bytes += output_at(flush, i)->bytes;
    kv_metrics_add(&lsm->metrics, KV_COUNTER_FLUSHES, 1);
    kv_metrics_add(&lsm->metrics, KV_COUNTER_FLUSH_BYTES, bytes);
    kv_metrics_time(&lsm->metrics, KV_HISTOGRAM_FLUSH_NS, duration_ns);
    char text[160];
    snprintf(text, sizeof text, "%" PRIu64 " entries, %zu tables, %" PRIu64 " bytes to level %u",
             memtable_entries(flush->full->memtable), tables, bytes, flush->level);
    struct kv_event event = { .kind = KV_EVENT_FLUSH,
                              .duration_ns = duration_ns,
                              .bytes_written = bytes,
                              .count = tables,
                              .level = flush->level,
                              .text = text };
    kv_metrics_report(&lsm->metrics, &event);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static sombra_err flush_run(struct flush *flush)
{
    uint64_t begun_ns = os_monotonic_ns(flush->lsm->os);
    sombra_err err = flush_open(flush);
    if (!err) {
        choose_place(flush);
        err = flush_write(flush);
        if (!err)
            err = flush_commit(flush);
        if (!err)
            flush_report(flush, begun_ns);
    }
    bool is_kept = !err || atomic_load(&flush->lsm->is_failed);
    for (size_t i = 0; i < flush->part_count; i++) {
        source_close(flush->parts[i].source);
        table_output_release(&flush->parts[i].output, is_kept);
    }
    if (flush->parts != flush->usual)
        mem_free(flush->parts);
    if (flush->early_count > 0 && is_kept)
        lsm_early_keep(flush->full->early);
    source_close(flush->all);
    range_set_release(&flush->ranges);
    return diag_wrap(err, "flush a memtable");
}

static void take_off_queue(struct lsm *lsm, struct lsm_full *full)
{
    lsm->background->flush_failure.in_row = 0;
    assert(lsm->full_oldest == full && lsm->full_count > 0);
    lsm->full_oldest = full->next;
    if (!lsm->full_oldest)
        lsm->full_newest = NULL;
    lsm->full_count--;
}

/* One of the queue is no longer in it when it is flushed. Mutex held on entry, free on return. */
static sombra_err flush_one(struct lsm *lsm, struct lsm_full *full, bool syncs)
{
    struct lsm_background *background = lsm->background;
    assert(!background->is_flushing);
    background->is_flushing = true;
    struct flush flush = { .lsm = lsm,
                           .full = full,
                           .syncs = syncs,
                           .ranges = RANGE_SET_INIT,
                           .low = BUF_INIT,
                           .end = BUF_INIT };
    os_mutex_unlock(&lsm->mutex);
    sombra_err err = flush_run(&flush);
    os_mutex_lock(&lsm->mutex);
    if (flush.version)
        background_span_remove(lsm, &flush);
    background->is_flushing = false;
    if (!full->successor && !err)
        take_off_queue(lsm, full);
    else if (!full->successor && err != SOMBRA_CANCELLED)
        background_note_failure(&background->flush_failure, err);
    os_condition_broadcast(&lsm->changed);
    os_mutex_unlock(&lsm->mutex);
    version_unref(flush.version);
    buf_release(&flush.low);
    buf_release(&flush.end);
    return err;
}

sombra_err flush_oldest(struct lsm *lsm, bool syncs)
{
    struct lsm_full *full = lsm->full_oldest;
    assert(full);
    sombra_err err = flush_one(lsm, full, syncs);
    if (!err) {
        memtable_unref(full->memtable);
        mem_free(full);
        lsm_memory_trim(lsm);
    }
    os_mutex_lock(&lsm->mutex);
    return err;
}

sombra_err lsm_flush_active(struct lsm *lsm, struct lsm_full *full)
{
    assert(full->successor && full->successor_log);
    os_mutex_lock(&lsm->mutex);
    assert(!lsm->full_oldest);
    return flush_one(lsm, full, false);
}

static sombra_err flush_queue(struct lsm *lsm)
{
    sombra_err err = SOMBRA_OK;
    os_mutex_lock(&lsm->mutex);
    uint64_t seq = lsm->full_newest ? lsm->full_newest->seq_max : 0;
    while (!err && lsm->full_oldest && lsm->full_oldest->seq_max <= seq) {
        if (lsm->background->is_flushing)
            os_condition_wait(&lsm->changed, &lsm->mutex, UINT64_MAX);
        else
            err = flush_oldest(lsm, false);
    }
    os_mutex_unlock(&lsm->mutex);
    return err;
}

sombra_err lsm_flush_full(struct lsm *lsm)
{
    if (lsm->background) {
        sombra_err err = flush_queue(lsm);
        if (!err)
            lsm_background_wake(lsm); /* level 0 has grown */
        return err;
    }
    /* While it is opened or closed nothing runs beside this thread. */
    sombra_err err = lsm_background_start(lsm);
    if (!err) {
        err = flush_queue(lsm);
        lsm_background_stop(lsm);
    }
    return err;
}
