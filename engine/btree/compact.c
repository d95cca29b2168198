/* SPDX-License-Identifier: MIT */
/* Compaction: the file becomes about as long as what is in it needs, while everybody goes on.
 *
 * A round:
 *   1 choose where the file could end: the pages in use, and a little more
 *   2 level by level from the root, in short write transactions (steps): push the entries of
 *     sparse neighbours together, copy what lies behind that end to the lowest free pages
 *     (tree_pack.c). A step changes no entry: its log record is a page list and the operation MOVE
 *   3 a checkpoint: what was left behind is needed by nobody any more (but old readers)
 *   4 a second one forgets the free pages at the end, and says so in the log and the meta record
 *   5 the file is cut there if this process is alone and no snapshot is older; else a hole is
 *     punched, and the last close cuts
 * until a round gains little. To pack takes free pages, for which the file may grow: if it ends
 * longer than was chosen, rounds follow that pack nothing. Where values found no gap that is long
 * enough, the next round clears the pages before the end for them. When free pages run out in step
 * 2, a checkpoint frees those of the steps before; if that does not help, an old reader has them,
 * and the round ends early.
 *
 * At the last close, step 2 without packing between two checkpoints, the second of which is the
 * closing one.
 *
 * Cancelled or failed anywhere, what was done stays.
 */
#include "upkeep.h"

enum {
    ROUNDS_MAX = 16,
    SETTLES_MAX = 3,  /* rounds behind those, that only move */
    SLACK_PAGES = 8,  /* left free at least, */
    SLACK_SHARE = 64, /* and this part of what is in use */
    GAIN_SHARE = 64,  /* a round that gains less is the last */
    GAIN_PAGES = 4,
    SHARE_ASKED = 16,    /* pack when it saves one page of so many: on request, */
    SHARE_AUTOMATIC = 3, /* and by itself, where inserts may need the room again */
    SHORTAGES_MAX = 16,  /* checkpoints for free pages in a round */
    GROWTH_PAGES = 256,  /* room to pack a file that has no free page */
    GROWTH_SHARE = 16,
    STEP_PAUSE_US = 100, /* for those who wait for the turn */
    STEP_PAUSE_US_MAX = 20000,
};

struct compact {
    struct btree *btree;
    struct kv_maintenance *job;
    struct kv_maintenance waiting; /* for others, by who asked for it */
    bool is_automatic;             /* then nobody has asked */
    uint32_t free_ppm_least;       /* of the file, for an automatic one to begin */
    bool is_closing;               /* nobody waits, and the checkpoint that follows cuts the file */
    bool is_idle;                  /* there is too little to gain to begin */
    bool is_clearing;              /* the round makes room for values that found none in the last */
    uint64_t runs_stuck;           /* in the last round that moved values */
    struct pack pack;
    struct compact_report report;
    uint64_t pages_used;  /* when it began */
    uint64_t pages_least; /* the shortest that the file has been */
    uint64_t tail_pages;  /* that are free at its end */
    unsigned shortages;   /* of free pages, in this round */
    uint64_t step_us;     /* how long the last step held the turn */
};

static sombra_err progress(const struct compact *compact)
{
    const struct kv_maintenance *job = compact->job;
    uint64_t done = compact->pack.pages_seen;
    /* Most need two rounds, and a third that finds nothing. */
    uint64_t total = u64_max(3 * compact->pages_used, done);
    if (!job->progress || job->progress(job->context, done, total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED,
                     "cancelled after %" PRIu64 " pages were moved; what was done stays",
                     compact->report.pages_moved);
}

/* ---- one step ---------------------------------------------------------------------------- */

/* Has the turn. When values found no gap that is long enough, the pages before the end make room:
 * what they leave is one, for the round after. */
static void ends_choose(struct compact *compact)
{
    struct pack *pack = &compact->pack;
    struct space *space = &compact->btree->space;
    space_reclaim(space);
    space_drop_reserve(space);
    uint64_t used = space->page_count - space->free_count;
    uint64_t most = compact->pages_used ? u64_max(compact->report.pages_before, used) : UINT64_MAX;
    pack->run_end =
        u64_min(u64_min(space->page_count, most), used + SLACK_PAGES + used / SLACK_SHARE);
    if (compact->is_clearing)
        pack->run_end = space_clearable(space, pack->run_end);
    pack->tree_end = pack->run_end;
    pack->runs_stuck = 0;
    if (compact->pages_used)
        return;
    compact->pages_used = used;
    compact->report.free_before_ppm = (uint32_t)(space->free_count * 1000000 / space->page_count);
    compact->report.pages_before = compact->pages_least = space->page_count;
    pack->page_count_max =
        space->page_count + u64_max(GROWTH_PAGES, space->page_count / GROWTH_SHARE);
    /* Much may be free and wait for a reader: then nothing can be done. */
    compact->is_idle =
        compact->is_automatic &&
        (space->free_count << compact->btree->pager.page_shift < COMPACT_UNUSED_BYTES_MIN ||
         compact->report.free_before_ppm < compact->free_ppm_least);
}

/* A write transaction that changes pages and no entry. `place` NULL: only chooses the ends. */
static sombra_err step_with_turn(struct compact *compact, struct btree_txn *txn,
                                 struct pack_place *place)
{
    struct btree *btree = compact->btree;
    if (!place) {
        ends_choose(compact);
        compact->tail_pages = btree->space.page_count - space_free_end(&btree->space);
        if (compact->is_closing)
            space_move_maps(&btree->space, compact->pack.tree_end);
        return SOMBRA_OK;
    }
    sombra_err err = tree_pack_step(txn, &compact->pack, place);
    if (!err && btree->space.change_count) {
        err = redo_move(txn);
        if (!err)
            err = txn_commit_logged(txn, false);
    }
    if (err)
        txn_undo_all(txn);
    return err;
}

static bool goes_on(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return !progress(context);
}

/* Who asked for it may end the wait for another's transaction, which has no bound. */
static const struct kv_maintenance *asked(const struct compact *compact)
{
    return compact->is_automatic ? NULL : &compact->waiting;
}

static sombra_err turn_wait(const struct compact *compact, owner_word *out_dead)
{
    struct kv_wait wait = kv_wait_begin(asked(compact), os_monotonic_ns(os_posix()));
    const struct gate_wish wish = { .timeout_ms = UINT64_MAX, .is_brief = true, .wait = &wait };
    return gate_enter_as(compact->btree, &wish, out_dead);
}

static sombra_err step_run(struct compact *compact, struct pack_place *place)
{
    struct btree *btree = compact->btree;
    owner_word dead;
    sombra_err err = turn_wait(compact, &dead);
    if (err)
        return err;
    uint64_t begun_ns = os_monotonic_ns(btree->os);
    struct btree_txn *txn;
    err = txn_start_write(btree, dead, &txn);
    if (err) {
        gate_leave(btree);
        return err;
    }
    uint64_t moved = compact->pack.pages_moved;
    err = step_with_turn(compact, txn, place);
    txn_end_write(txn);
    compact->step_us = (os_monotonic_ns(btree->os) - begun_ns) / 1000;
    if (!err)
        compact->report.pages_moved += compact->pack.pages_moved - moved;
    return err;
}

/* The automatic one takes no more than every second moment. */
static void step_pause(const struct compact *compact)
{
    uint64_t pause_us = STEP_PAUSE_US;
    if (compact->is_closing)
        return;
    if (compact->is_automatic)
        pause_us = u64_max(pause_us, u64_min(compact->step_us, STEP_PAUSE_US_MAX));
    os_sleep_us(compact->btree->os, pause_us);
}

/* ---- rounds ------------------------------------------------------------------------------ */

/* Free pages ran out before the place. A checkpoint frees those of the steps before, once a place;
 * then old readers have them, and the round goes on as far as it can without. */
static sombra_err shortage(struct compact *compact, bool is_again)
{
    compact->shortages++;
    compact->pack.is_starved = is_again || compact->shortages >= SHORTAGES_MAX;
    return compact->pack.is_starved ? SOMBRA_OK : checkpoint_run(compact->btree, asked(compact));
}

static sombra_err level_run(struct compact *compact, unsigned level)
{
    struct pack_place place = { .level = level };
    struct pack_place short_at = { .is_done = true };
    while (!place.is_done) {
        sombra_err err = step_run(compact, &place);
        if (!err)
            err = progress(compact);
        if (!err && compact->pack.is_short) {
            bool is_again = !short_at.is_done && short_at.key_bytes == place.key_bytes &&
                            memcmp(short_at.key, place.key, place.key_bytes) == 0;
            short_at = place;
            err = shortage(compact, is_again);
        }
        if (err)
            return err;
        step_pause(compact);
    }
    return SOMBRA_OK;
}

static sombra_err levels_run(struct compact *compact)
{
    struct snapshot newest;
    head_newest(compact->btree->head, &newest);
    compact->pack.is_starved = false;
    compact->shortages = 0;
    sombra_err err = SOMBRA_OK;
    for (unsigned level = (unsigned)newest.depth; level-- > 0 && !err;)
        err = level_run(compact, level);
    return err;
}

/* ---- the end of the file ------------------------------------------------------------------ */

/* Nobody but this process, and in it no snapshot that saw a longer file. */
static sombra_err cut_or_punch(struct btree *btree, uint64_t page_count, uint64_t file_bytes)
{
    uint64_t *pinned = btree->space.pinned;
    size_t count = head_pinned(btree->head, pinned);
    uint64_t keep_bytes = page_count << btree->pager.page_shift;
    bool is_alone = false;
    sombra_err err = SOMBRA_OK;
    if (count && pinned[0] >= btree->meta.snapshot.txn)
        err = shared_hold_alone(btree, &is_alone);
    if (err)
        return err;
    if (!is_alone) {
        err = os_punch(btree->file, keep_bytes, file_bytes - keep_bytes);
        return err == SOMBRA_UNSUPPORTED ? SOMBRA_OK : err;
    }
    err = os_truncate(btree->file, keep_bytes);
    shared_open_done(btree);
    if (!err)
        pager_forget_behind(&btree->pager, page_count, file_bytes);
    return err;
}

/* The space behind the last page goes back to the file system: the durable meta record and the
 * newest commit, and with them everything that could still be recovered, end before. */
static sombra_err tail_give_back(const struct compact *compact)
{
    struct btree *btree = compact->btree;
    sombra_err err = checkpoint_pause(btree, asked(compact));
    if (err)
        return err;
    uint64_t file_bytes = 0;
    err = head_check_writable(btree->head);
    if (!err)
        err = os_size(btree->file, &file_bytes);
    uint64_t page_count = u64_max(btree->space.page_count, btree->meta.snapshot.page_count);
    if (!err && page_count << btree->pager.page_shift < file_bytes)
        err = cut_or_punch(btree, page_count, file_bytes);
    checkpoint_resume(btree);
    return err;
}

/* Steps 3 to 5. */
static sombra_err round_finish(struct compact *compact)
{
    struct btree *btree = compact->btree;
    compact->report.maps_end = compact->pack.tree_end;
    compact->report.is_whole = false;
    sombra_err err = checkpoint_run_cutting(btree, &compact->report, asked(compact));
    compact->report.is_whole = true;
    if (!err)
        err = checkpoint_run_cutting(btree, &compact->report, asked(compact));
    return err ? err : tail_give_back(compact);
}

/* What a file of so many pages must gain for a round to be worth it. */
static uint64_t gain_least(uint64_t page_count)
{
    return u64_max(GAIN_PAGES, page_count / GAIN_SHARE);
}

static uint64_t page_count_now(const struct compact *compact)
{
    struct snapshot newest;
    head_newest(compact->btree->head, &newest);
    return newest.page_count;
}

/* Another round may be worth it. */
static bool round_gained(struct compact *compact, uint64_t saved)
{
    struct pack *pack = &compact->pack;
    uint64_t now = page_count_now(compact);
    uint64_t least = gain_least(now);
    bool gained = now + least <= compact->pages_least || saved >= least;
    compact->pages_least = u64_min(compact->pages_least, now);
    if (compact->is_clearing) {
        compact->is_clearing = false;
        return true;
    }
    compact->is_clearing = pack->runs_stuck && pack->runs_stuck < compact->runs_stuck;
    compact->runs_stuck = pack->runs_stuck;
    return gained || compact->is_clearing;
}

static sombra_err round_run(struct compact *compact, bool *out_gains)
{
    struct pack *pack = &compact->pack;
    uint64_t saved = pack->pages_saved;
    uint64_t moved = pack->pages_moved;
    sombra_err err = step_run(compact, NULL);
    if (err || compact->is_idle)
        return err;
    err = levels_run(compact);
    uint64_t least = gain_least(compact->pages_least);
    if (err)
        return err;
    /* An older snapshot may have kept an earlier one from cutting the file. */
    if (pack->pages_moved == moved && compact->tail_pages < least)
        return tail_give_back(compact);
    err = round_finish(compact);
    if (!err)
        *out_gains = round_gained(compact, pack->pages_saved - saved);
    return err;
}

static sombra_err settle(struct compact *compact)
{
    uint64_t before = UINT64_MAX, now = page_count_now(compact);
    sombra_err err = SOMBRA_OK;
    compact->pack.gain_share = 0;
    for (int i = 0;
         i < SETTLES_MAX && !err && now < before &&
         (now >= compact->pack.tree_end + gain_least(now) || now > compact->report.pages_before);
         i++) {
        bool gains = false;
        before = now;
        err = round_run(compact, &gains);
        now = page_count_now(compact);
    }
    return err;
}

static sombra_err compact_run(struct compact *compact)
{
    sombra_err err = progress(compact);
    /* What the commits so far have freed can then be used. */
    if (!err)
        err = checkpoint_run(compact->btree, asked(compact));
    bool gains = true;
    compact->runs_stuck = UINT64_MAX;
    for (int i = 0; i < ROUNDS_MAX && gains && !err; i++) {
        gains = false;
        err = round_run(compact, &gains);
    }
    if (!err && !compact->is_idle)
        err = settle(compact);
    /* Snapshots that kept the last round from cutting the file may end here. Who cancels now
     * cancels nothing else. */
    if (!err && !compact->is_idle && progress(compact) == SOMBRA_OK)
        err = tail_give_back(compact);
    return err;
}

/* ---- one at a time ----------------------------------------------------------------------- */

static bool slot_enter(struct btree *btree, bool waits)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    btree->compact_waiters += waits;
    while (waits && atomic_load(&btree->compacts))
        (void)os_condition_wait(&btree->checkpoint_changed, &btree->checkpoint_mutex, UINT64_MAX);
    btree->compact_waiters -= waits;
    bool is_mine = !atomic_load(&btree->compacts);
    if (is_mine)
        atomic_store(&btree->compacts, 1);
    os_mutex_unlock(&btree->checkpoint_mutex);
    return is_mine;
}

static void slot_leave(struct btree *btree)
{
    os_mutex_lock(&btree->checkpoint_mutex);
    atomic_store(&btree->compacts, 0);
    os_condition_broadcast(&btree->checkpoint_changed);
    os_mutex_unlock(&btree->checkpoint_mutex);
}

static sombra_err compact_measured(struct compact *compact)
{
    struct btree *btree = compact->btree;
    uint64_t begin_ns = os_monotonic_ns(btree->os);
    sombra_err err = compact_run(compact);
    uint64_t bytes = compact->pack.pages_moved << btree->pager.page_shift;
    if (err || !bytes)
        return err; /* nothing was worth it */
    uint64_t ns = os_monotonic_ns(btree->os) - begin_ns;
    kv_metrics_add(&btree->metrics, KV_COUNTER_COMPACTIONS, 1);
    kv_metrics_add(&btree->metrics, KV_COUNTER_COMPACTION_READ_BYTES, bytes);
    kv_metrics_add(&btree->metrics, KV_COUNTER_COMPACTION_WRITE_BYTES, bytes);
    kv_metrics_time(&btree->metrics, KV_HISTOGRAM_COMPACTION_NS, ns);
    kv_metrics_report(&btree->metrics,
                      &(struct kv_event){ .kind = KV_EVENT_COMPACTION,
                                          .duration_ns = ns,
                                          .bytes_read = bytes,
                                          .bytes_written = bytes,
                                          .text = "pages were packed and moved into gaps" });
    return SOMBRA_OK;
}

sombra_err btree_compact(struct btree *btree, struct kv_maintenance *job)
{
    if (btree->options.is_readonly)
        return diag_fail(SOMBRA_READONLY, "%s was opened read-only", btree->path);
    if (!btree->file)
        return SOMBRA_OK;
    struct compact compact = { .btree = btree, .job = job, .pack = { .gain_share = SHARE_ASKED } };
    compact.waiting = (struct kv_maintenance){ .progress = goes_on, .context = &compact };
    (void)slot_enter(btree, true);
    sombra_err err = compact_measured(&compact);
    slot_leave(btree);
    return err;
}

static sombra_err automatic(struct btree *btree, struct kv_maintenance *job, bool is_resting)
{
    struct compact compact = { .btree = btree,
                               .job = job,
                               .is_automatic = true,
                               .free_ppm_least =
                                   is_resting ? COMPACT_REST_PPM : COMPACT_WATERMARK_PPM,
                               .report = { .is_resting = is_resting },
                               .pack = { .gain_share = SHARE_AUTOMATIC } };
    if (!slot_enter(btree, false))
        return SOMBRA_OK;
    sombra_err err = compact_measured(&compact);
    slot_leave(btree);
    return err == SOMBRA_CANCELLED ? SOMBRA_OK : err;
}

sombra_err compact_automatic(struct btree *btree, struct kv_maintenance *job)
{
    return automatic(btree, job, false);
}

/* ---- at the close ------------------------------------------------------------------------ */

bool compact_closing_is_due(const struct btree *btree)
{
    enum { USED_BYTES_MAX = 512 << 20, UNUSED_DIVISOR = 3, LOG_DIVISOR = 2 };
    struct snapshot newest;
    head_newest(btree->head, &newest);
    unsigned shift = btree->pager.page_shift;
    uint64_t used = atomic_load_explicit(&btree->pages_used, memory_order_relaxed);
    uint64_t unused = newest.page_count - u64_min(used, newest.page_count);
    uint64_t logged = kv_metrics_count(&btree->metrics, KV_COUNTER_LOG_BYTES);
    /* Else the account is not the newest. */
    bool is_mine = atomic_load(&btree->head->sequence) == btree->newest_sequence;
    return is_mine && unused << shift >= COMPACT_UNUSED_BYTES_MIN &&
           unused >= newest.page_count / UNUSED_DIVISOR && used << shift <= USED_BYTES_MAX &&
           logged >= (used << shift) / LOG_DIVISOR && !pager_has_mode(&btree->pager, PAGER_SHORT);
}

sombra_err compact_closing(struct btree *btree)
{
    struct kv_maintenance job = { .kind = KV_COMPACT };
    struct compact compact = { .btree = btree, .job = &job, .is_closing = true };
    (void)slot_enter(btree, true);
    /* What only the last one needs is free then. */
    sombra_err err = checkpoint_run(btree, NULL);
    if (!err)
        err = step_run(&compact, NULL);
    if (!err)
        err = levels_run(&compact);
    slot_leave(btree);
    return err;
}

/* ---- at rest ----------------------------------------------------------------------------- */

static bool is_much(const struct btree *btree, uint64_t unused, uint64_t page_count)
{
    return unused << btree->pager.page_shift >= COMPACT_UNUSED_BYTES_MIN &&
           unused * 1000000 / page_count >= COMPACT_REST_PPM;
}

/* Has the turn: counts anew what readers that have ended since gave free. */
static bool much_is_unused(struct btree *btree, struct compact_rest *rest)
{
    struct space *space = &btree->space;
    uint64_t pins = space_pins(space);
    if (pins == rest->pins)
        return false;
    rest->pins = pins;
    space_reclaim(space);
    account_note(btree, &btree->newest);
    return is_much(btree, space_unused(space) - space->read_count, space->page_count);
}

static bool rest_look(struct btree *btree, struct compact_rest *rest)
{
    owner_word dead;
    if (gate_enter_brief(btree, 0, &dead))
        return false;
    /* Else another process wrote last, and this is for it to do. */
    bool is_mine = atomic_load(&btree->head->sequence) == btree->newest_sequence;
    struct snapshot newest;
    sombra_err err = head_check_writable(btree->head);
    if (!err && (is_mine || dead))
        err = turn_take(btree, dead, &newest);
    bool is_due = !err && is_mine && much_is_unused(btree, rest);
    gate_leave(btree);
    return is_due;
}

/* So much in the time that makes a rest. Pages that are moved drive out of memory what readers come
 * for; where there is room for both nothing is counted. */
static bool much_is_read(const struct btree *btree, uint64_t leaves_before)
{
    enum { MUCH_LEAVES = 256 };
    uint64_t leaves = atomic_load_explicit(&btree->leaves_read, memory_order_relaxed);
    return leaves - leaves_before > MUCH_LEAVES;
}

bool compact_rest_is_due(struct btree *btree, struct compact_rest *rest)
{
    uint64_t now_ns = os_monotonic_ns(btree->os);
    uint64_t commits = kv_metrics_count(&btree->metrics, KV_COUNTER_COMMITS);
    if (commits != rest->commits || much_is_read(btree, rest->leaves))
        *rest = (struct compact_rest){ .commits = commits,
                                       .leaves = atomic_load(&btree->leaves_read),
                                       .since_ns = now_ns,
                                       .next_ns = rest->next_ns };
    if (!commits || btree->options.no_auto_compact || now_ns < rest->next_ns ||
        now_ns - rest->since_ns < btree->rest_ms * 1000000)
        return false;
    uint64_t unused = atomic_load_explicit(&btree->pages_free, memory_order_relaxed) +
                      atomic_load_explicit(&btree->pages_pending, memory_order_relaxed);
    struct snapshot newest;
    head_newest(btree->head, &newest);
    return is_much(btree, unused, newest.page_count) && rest_look(btree, rest);
}

struct rest_job {
    struct btree *btree;
    struct kv_maintenance *job;
    uint64_t commits;
    uint64_t leaves, leaves_ns; /* leaves_read, and when that was */
};

static bool rest_lasts(void *context, uint64_t done, uint64_t total)
{
    struct rest_job *at = context;
    struct btree *btree = at->btree;
    if (kv_metrics_count(&btree->metrics, KV_COUNTER_COMMITS) != at->commits ||
        much_is_read(btree, at->leaves))
        return false;
    uint64_t now_ns = os_monotonic_ns(btree->os);
    if (now_ns - at->leaves_ns >= btree->rest_ms * 1000000) {
        at->leaves = atomic_load(&btree->leaves_read);
        at->leaves_ns = now_ns;
    }
    return at->job->progress(at->job->context, done, total);
}

sombra_err compact_resting(struct btree *btree, struct compact_rest *rest,
                           struct kv_maintenance *job)
{
    enum { AGAIN_S = 60, AGAIN_TIMES = 16 };
    uint64_t begin_ns = os_monotonic_ns(btree->os);
    struct rest_job at = { .btree = btree,
                           .job = job,
                           .commits = rest->commits,
                           .leaves = atomic_load(&btree->leaves_read),
                           .leaves_ns = begin_ns };
    struct kv_maintenance resting = *job;
    resting.progress = rest_lasts;
    resting.context = &at;
    sombra_err err = automatic(btree, &resting, true);
    /* Work in bursts needs the room again: little time is spent on taking it away in between. */
    uint64_t end_ns = os_monotonic_ns(btree->os);
    rest->next_ns =
        end_ns + u64_max(AGAIN_S * UINT64_C(1000000000), AGAIN_TIMES * (end_ns - begin_ns));
    return err;
}
