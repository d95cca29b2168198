/* SPDX-License-Identifier: MIT */
/* files: which files there are, edits, and the end of files.
 *
 * The order of an edit is what a crash may find: tables synced (by who wrote them), their names
 * synced, the manifest's record synced, and only then the views change and anything is unlinked.
 * After a crash anywhere the manifest names only whole files, and files that it does not name are
 * strays, removed by the next open.
 *
 * A table that no view has any more may still be read by another process, whose version is older
 * than the one that dropped it: that shows as a lock (LOCK_VERSIONS). Such files wait in a list
 * and are tried again with the next edit and at the end.
 */
#include "lsm/lsm_internal.h"
#include "lsm/manifest_format.h"
#include "paths.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* A file that waits for readers of other processes. */
struct lsm_obsolete {
    uint64_t number;
    uint64_t made_in; /* the version that it came with */
    uint64_t since;   /* the version that dropped it */
    struct lsm_obsolete *next;
};

/* ---- names -------------------------------------------------------------------------------- */

char *lsm_table_path(const struct lsm *lsm, uint64_t number)
{
    return lsm_path_of_table(lsm->directory, number);
}

char *lsm_log_path(const struct lsm *lsm, uint64_t base_seq)
{
    return lsm_path_of_log(lsm->directory, base_seq);
}

uint64_t lsm_take_number(struct lsm *lsm)
{
    os_mutex_lock(&lsm->mutex);
    uint64_t number = lsm->next_number++;
    os_mutex_unlock(&lsm->mutex);
    assert(number > 0);
    return number;
}

/* ---- the place ---------------------------------------------------------------------------- */

bool lsm_was_replaced(const struct lsm *lsm)
{
    char text[DIAG_TEXT_BYTES];
    bool has_name = true;
    if (!lsm->lock)
        return false;
    diag_save(text);
    sombra_err err = os_check_name(lsm->lock, &has_name);
    diag_restore(text);
    return err == SOMBRA_NOT_FOUND || (!err && !has_name);
}

sombra_err lsm_check_place(struct lsm *lsm)
{
    if (LIKELY(!lsm_was_replaced(lsm)))
        return SOMBRA_OK;
    return lsm_fail(lsm, diag_fail(SOMBRA_CONFLICT,
                                   "%s was moved or replaced while it was open: nothing more is "
                                   "written to it",
                                   lsm->directory));
}

sombra_err lsm_unlink(struct lsm *lsm, const char *path)
{
    return lsm_was_replaced(lsm) ? SOMBRA_OK : os_unlink(lsm->os, path);
}

/* Best effort: a file that stays is a stray for the next open. The thread's text is kept. */
static void unlink_quietly(struct lsm *lsm, char *path)
{
    char text[DIAG_TEXT_BYTES];
    if (!path)
        return;
    diag_save(text);
    sombra_err err = lsm_unlink(lsm, path);
    (void)err;
    diag_restore(text);
    mem_free(path);
}

/* ---- readers of other processes ------------------------------------------------------------ */

sombra_err lsm_version_pin_begin(struct lsm *lsm)
{
    if (!lsm->lock)
        return SOMBRA_OK;
    return diag_wrap(os_lock(lsm->lock, LOCK_VERSIONS, 1, OS_LOCK_SHARED), "pin all versions");
}

void lsm_version_pin_end(struct lsm *lsm)
{
    if (lsm->lock)
        os_unlock(lsm->lock, LOCK_VERSIONS, 1);
}

sombra_err lsm_version_pin(struct lsm *lsm, uint64_t number)
{
    if (!lsm->lock)
        return SOMBRA_OK;
    return diag_wrap(os_lock(lsm->lock, LOCK_VERSIONS + 1 + number, 1, OS_LOCK_SHARED),
                     "pin version %" PRIu64, number);
}

void lsm_version_unpin(struct lsm *lsm, uint64_t first, uint64_t end)
{
    if (lsm->lock && first < end)
        os_unlock(lsm->lock, LOCK_VERSIONS + 1 + first, end - first);
}

/* May a reader of another process have a version of [made_in, since)? True in doubt. Who reads the
 * manifest is asked for first: by then it may have a pin. */
static bool is_pinned(struct lsm *lsm, uint64_t made_in, uint64_t since)
{
    bool is_held = false;
    char text[DIAG_TEXT_BYTES];
    if (!lsm->lock)
        return false;
    diag_save(text);
    sombra_err err = os_lock_is_held(lsm->lock, LOCK_VERSIONS, 1, OS_LOCK_EXCLUSIVE, &is_held);
    if (!err && !is_held && made_in < since)
        err = os_lock_is_held(lsm->lock, LOCK_VERSIONS + 1 + made_in, since - made_in,
                              OS_LOCK_EXCLUSIVE, &is_held);
    diag_restore(text);
    return err || is_held;
}

/* ---- the end of tables --------------------------------------------------------------------- */

static void defer(struct lsm *lsm, struct lsm_obsolete file)
{
    struct lsm_obsolete *obsolete = mem_alloc(sizeof *obsolete);
    if (!obsolete)
        return; /* a stray for the next open */
    *obsolete = file;
    os_mutex_lock(&lsm->mutex);
    obsolete->next = lsm->obsolete;
    lsm->obsolete = obsolete;
    os_mutex_unlock(&lsm->mutex);
}

static void table_end(struct lsm *lsm, uint64_t number, uint64_t made_in, uint64_t since)
{
    if (is_pinned(lsm, made_in, since))
        defer(lsm, (struct lsm_obsolete){ .number = number, .made_in = made_in, .since = since });
    else
        unlink_quietly(lsm, lsm_table_path(lsm, number));
}

void lsm_table_obsolete(void *context, const struct version_table *table)
{
    table_end(context, table->meta.number, table->made_in, table->obsolete_since);
}

static struct lsm_obsolete *take_obsolete(struct lsm *lsm)
{
    os_mutex_lock(&lsm->mutex);
    struct lsm_obsolete *list = lsm->obsolete;
    lsm->obsolete = NULL;
    os_mutex_unlock(&lsm->mutex);
    return list;
}

static void give_obsolete(struct lsm *lsm, struct lsm_obsolete *obsolete)
{
    os_mutex_lock(&lsm->mutex);
    obsolete->next = lsm->obsolete;
    lsm->obsolete = obsolete;
    os_mutex_unlock(&lsm->mutex);
}

void lsm_purge(struct lsm *lsm, bool is_end)
{
    struct lsm_obsolete *list = take_obsolete(lsm), *next;
    for (; list; list = next) {
        next = list->next;
        bool must_stay = is_pinned(lsm, list->made_in, list->since);
        if (!must_stay)
            unlink_quietly(lsm, lsm_table_path(lsm, list->number));
        if (must_stay && !is_end)
            give_obsolete(lsm, list);
        else
            mem_free(list);
    }
}

/* ---- edits -------------------------------------------------------------------------------- */

/* What is at hand while an edit is made. */
struct editing {
    struct view *old;  /* the view before, referenced */
    struct view *view; /* the next one, empty until it is published */
    struct version *version;
    struct manifest_state state; /* what holds after it */
};

void lsm_totals(struct lsm *lsm, uint64_t out_totals[TOTAL_COUNT])
{
    static const enum kv_counter counters[TOTAL_COUNT] = {
        [TOTAL_COMMIT_BYTES] = KV_COUNTER_COMMIT_BYTES,
        [TOTAL_LOG_BYTES] = KV_COUNTER_LOG_BYTES,
        [TOTAL_FLUSH_BYTES] = KV_COUNTER_FLUSH_BYTES,
        [TOTAL_COMPACTION_BYTES] = KV_COUNTER_COMPACTION_WRITE_BYTES,
        [TOTAL_FILTER_SKIPS] = KV_COUNTER_FILTER_SKIPS,
        [TOTAL_FILTER_FALSE] = KV_COUNTER_FILTER_FALSE,
        [TOTAL_STALLS] = KV_COUNTER_STALLS,
        [TOTAL_STALL_NS] = KV_COUNTER_STALL_NS,
    };
    os_mutex_lock(&lsm->mutex);
    memcpy(out_totals, lsm->totals_before, sizeof lsm->totals_before);
    os_mutex_unlock(&lsm->mutex);
    for (size_t i = 0; i < TOTAL_COUNT; i++)
        out_totals[i] += kv_metrics_count(&lsm->metrics, counters[i]);
}

static struct manifest_state state_after(struct lsm *lsm, const struct edit *edit,
                                         const struct version *version)
{
    struct manifest_state state = lsm->state;
    os_mutex_lock(&lsm->mutex);
    state.next_number = lsm->next_number;
    state.next_run = lsm->next_run;
    os_mutex_unlock(&lsm->mutex);
    state.version = version->number;
    state.seq = u64_max(state.seq, edit->seq);
    state.log_seq = u64_max(state.log_seq, edit->log_seq);
    state.is_clean = lsm->state.is_clean && !edit->begins_log;
    lsm_totals(lsm, state.totals);
    return state;
}

sombra_err lsm_sync_names(struct lsm *lsm)
{
    /* Nothing is allocated: what a commit has appended cannot be taken back. */
    char path[PATH_MAX];
    int bytes = snprintf(path, sizeof path, "%s/MANIFEST", lsm->directory);
    if (bytes < 0 || (size_t)bytes >= sizeof path)
        return diag_fail(SOMBRA_LIMIT, "%s: the path is too long", lsm->directory);
    /* What one failed sync lost, no other tells: they go one after the other. */
    os_mutex_lock(&lsm->names_mutex);
    sombra_err err = lsm_check_writable(lsm);
    if (!err) {
        err = os_sync_directory_of(lsm->os, path);
        if (err && err != SOMBRA_NOMEM)
            err = lsm_fail(lsm, err);
    }
    os_mutex_unlock(&lsm->names_mutex);
    return err;
}

static bool edit_removes(const struct edit *edit, uint64_t number)
{
    for (size_t i = 0; i < edit->removed_count; i++)
        if (edit->removed[i] == number)
            return true;
    return false;
}

/* No earlier version has them: readers of those do not keep them. */
static void mark_made(const struct version *version, const struct edit *edit)
{
    for (size_t i = 0; i < edit->added_count; i++) {
        struct version_table *table = NULL;
        uint64_t number = edit->added[i].meta.number;
        if (!edit_removes(edit, number) && version_find(version, number, &table, NULL))
            table->made_in = version->number;
    }
}

/* Everything that may fail. */
static sombra_err prepare(struct lsm *lsm, const struct edit *edit, struct editing *editing)
{
    sombra_err err = view_new(&editing->view);
    if (!err)
        err = version_apply(editing->old->version, lsm->tables, edit, &editing->version);
    if (err)
        return err;
    mark_made(editing->version, edit);
    if (edit->added_count > 0 || edit->log_seq > 0 || edit->begins_log)
        err = lsm_sync_names(lsm);
    if (err)
        return err;
    editing->state = state_after(lsm, edit, editing->version);
    /* The first edit of an open is a whole manifest: what was read may be page cache. */
    err = manifest_is_written(lsm->manifest)
              ? manifest_commit(lsm->manifest, edit, &editing->state)
              : manifest_rewrite(lsm->manifest, &editing->state, editing->version);
    if (err && manifest_has_failed(lsm->manifest))
        err = lsm_fail(lsm, err);
    return err;
}

/* lsm->mutex is held: the memtables of now, which are not those of when the edit began. */
static void publish(struct lsm *lsm, struct editing *editing, const struct lsm_full *flushed)
{
    struct memtable *memtables[VIEW_MEMTABLES_MAX];
    const struct view *now = lsm->view;
    size_t count = 0;
    if (flushed && flushed->successor) {
        memtables[count++] = flushed->successor;
        lsm_logs_add(lsm, flushed->successor_log);
        /* Before the view: who has that sees these tables, and must know the commit they hold. */
        atomic_store(&lsm->durable_seq, flushed->seq_max);
        atomic_store_explicit(&lsm->seq, flushed->seq_max, memory_order_release);
    }
    for (size_t i = 0; i < now->count; i++)
        if (!flushed || now->memtables[i] != flushed->memtable)
            memtables[count++] = now->memtables[i];
    assert(now->version == editing->old->version); /* only edits change it, one at a time */
    view_put(lsm, editing->view, memtables, count, editing->version);
    editing->view = NULL;
}

static bool edit_adds(const struct edit *edit, uint64_t number)
{
    for (size_t i = 0; i < edit->added_count; i++)
        if (edit->added[i].meta.number == number)
            return true;
    return false;
}

/* The old version still has the tables: none can have gone yet. */
static void mark_obsolete(const struct editing *editing, const struct edit *edit)
{
    for (size_t i = 0; i < edit->removed_count; i++) {
        struct version_table *table = NULL;
        if (edit_adds(edit, edit->removed[i])) /* it moved */
            continue;
        bool is_found = version_find(editing->old->version, edit->removed[i], &table, NULL);
        assert(is_found);
        if (!is_found)
            continue;
        table->obsolete_since = editing->version->number;
        atomic_store_explicit(&table->is_obsolete, true, memory_order_release);
    }
}

/* A rewrite that fails cleanly is tried again with the next edit. */
static void rewrite_if_due(struct lsm *lsm, const struct version *version)
{
    char text[DIAG_TEXT_BYTES];
    if (!manifest_has_outgrown(lsm->manifest))
        return;
    diag_save(text);
    sombra_err err = manifest_rewrite(lsm->manifest, &lsm->state, version);
    if (err && manifest_has_failed(lsm->manifest))
        err = lsm_fail(lsm, err);
    diag_restore(text);
}

sombra_err lsm_edit(struct lsm *lsm, const struct edit *edit, const struct lsm_full *flushed)
{
    assert(lsm && edit);
    struct editing editing = { .old = NULL };
    os_mutex_lock(&lsm->manifest_mutex);
    editing.old = view_acquire(lsm);
    sombra_err err = lsm_check_writable(lsm);
    if (!err)
        err = lsm_check_place(lsm);
    if (!err)
        err = prepare(lsm, edit, &editing);
    if (!err) {
        lsm->state = editing.state;
        mark_obsolete(&editing, edit);
        os_mutex_lock(&lsm->mutex);
        publish(lsm, &editing, flushed);
        os_mutex_unlock(&lsm->mutex);
        rewrite_if_due(lsm, editing.version);
        if (UNLIKELY(lsm->strays.count > 0))
            lsm_strays_remove(lsm);
    }
    os_mutex_unlock(&lsm->manifest_mutex);

    view_release(editing.view);
    view_release(editing.old); /* may close and unlink tables */
    if (!err)
        lsm_memory_adapt(lsm, editing.version);
    version_unref(editing.version);
    if (err)
        return diag_wrap(err, "change the tables of %s", lsm->directory);
    lsm_pool_sweep(lsm);
    if (edit->log_seq > 0)
        lsm_logs_drop(lsm, edit->log_seq);
    lsm_purge(lsm, false);
    return SOMBRA_OK;
}

/* ---- strays ------------------------------------------------------------------------------- */

/* The number that a name was made of; false for names that are not ours. */
static bool name_number(const char *name, const char *suffix, int digits, uint64_t *out_number)
{
    char again[LSM_PATH_BYTES_EXTRA];
    char *end;
    if (name[0] < '0' || name[0] > '9')
        return false;
    uint64_t number = strtoull(name, &end, 10);
    (void)snprintf(again, sizeof again, "%0*" PRIu64 "%s", digits, number, suffix);
    if (strcmp(again, name) != 0)
        return false;
    *out_number = number;
    return true;
}

struct strays_search {
    struct lsm *lsm;
    const struct version *version;
};

static sombra_err add_stray(struct lsm_strays *strays, uint64_t number, bool is_log)
{
    if (strays->count == strays->capacity) {
        size_t capacity = size_max(16, strays->capacity * 2);
        struct lsm_stray *grown = mem_realloc(strays->files, capacity * sizeof *grown);
        if (!grown)
            return diag_nomem("a list of files", capacity * sizeof *grown);
        strays->files = grown;
        strays->capacity = capacity;
    }
    strays->files[strays->count++] = (struct lsm_stray){ .number = number, .is_log = is_log };
    return SOMBRA_OK;
}

static sombra_err judge_name(void *context, const char *name)
{
    const struct strays_search *search = context;
    struct lsm *lsm = search->lsm;
    uint64_t number;
    if (name_number(name, ".log", 20, &number))
        return add_stray(&lsm->strays, number, true);
    if (!name_number(name, ".sst", 6, &number) || version_find(search->version, number, NULL, NULL))
        return SOMBRA_OK;
    os_mutex_lock(&lsm->mutex); /* the file may have to stay */
    if (number < MANIFEST_NUMBER_MAX)
        lsm->next_number = u64_max(lsm->next_number, number + 1);
    os_mutex_unlock(&lsm->mutex);
    return add_stray(&lsm->strays, number, false);
}

sombra_err lsm_strays_find(struct lsm *lsm)
{
    assert(lsm && lsm->view);
    struct view *view = view_acquire(lsm);
    struct strays_search search = { .lsm = lsm, .version = view->version };
    lsm->strays.count = 0;
    sombra_err err = os_list_directory(lsm->os, lsm->directory, judge_name, &search);
    view_release(view);
    return diag_wrap(err, "look for files of a crash in %s", lsm->directory);
}

bool lsm_strays_newest_log(const struct lsm *lsm, uint64_t *out_base_seq)
{
    bool is_there = false;
    for (size_t i = 0; i < lsm->strays.count; i++) {
        const struct lsm_stray *stray = &lsm->strays.files[i];
        if (!stray->is_log || (is_there && stray->number < *out_base_seq))
            continue;
        *out_base_seq = stray->number;
        is_there = true;
    }
    return is_there;
}

void lsm_strays_remove(struct lsm *lsm)
{
    struct lsm_strays *strays = &lsm->strays;
    size_t kept = 0;
    assert(manifest_is_written(lsm->manifest));
    for (size_t i = 0; i < strays->count; i++) {
        struct lsm_stray stray = strays->files[i];
        if (!stray.is_log)
            table_end(lsm, stray.number, 0, lsm->state.version);
        else if (stray.number < lsm->state.log_seq)
            unlink_quietly(lsm, lsm_log_path(lsm, stray.number));
        else
            strays->files[kept++] = stray;
    }
    strays->count = kept;
}
