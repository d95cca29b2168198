/* SPDX-License-Identifier: MIT */
/* Salvage: every readable entry of a damaged file, in a new one.
 *
 *   1 scan all pages: which are sound, of what kind and transaction
 *   2 choose the tree: the newest sound meta record's; without one, that of the newest page
 *   3 walk it; a page that is damaged loses a range of keys
 *   4 fill lost ranges from sound leaves that nothing leads to any more
 *   5 apply the log, if the meta record that it follows is the one that was taken
 *   6 publish the new file
 *
 * Which leaves step 4 believes: a file holds older generations of its pages, for a change is always
 * made to a copy. A leaf that is damaged itself, below a sound branch, is replaced by none: the
 * branch names it. Below a damaged branch: where the space maps are sound they say which pages the
 * tree uses: only those count, and nothing old comes back. Where a map is damaged too, leaves are
 * taken newest transaction first, none newer than the tree, and the keys between a leaf's first and
 * last are that leaf's alone: an older one adds nothing there. What was deleted at the edge of a
 * newer leaf, and the older form of a newer leaf that is damaged too, may then come back; the
 * report counts all entries from such leaves as uncertain.
 *
 * The source is opened for reading only. Errors of the medium are damage like any other.
 */
#include "salvage_internal.h"

#include <stdio.h>

/* ---- findings ---------------------------------------------------------------------------- */

void salvage_problem(struct salvage *salvage, sombra_err code, page_id page)
{
    if (salvage->is_trial) {
        salvage->trial_damage++;
        return;
    }
    char text[DIAG_TEXT_BYTES];
    diag_save(text);
    salvage->report.problems++;
    if (page)
        salvage->report.pages_damaged++;
    if (salvage->options.problem)
        salvage->options.problem(
            salvage->options.context,
            &(struct kv_problem){ .code = code, .page = page, .message = text });
}

sombra_err salvage_progress(struct salvage *salvage)
{
    uint64_t total = 2 * salvage->page_count;
    salvage->done = u64_min(salvage->done + 1, total);
    if (!salvage->options.progress || salvage->done % 64 != 1 ||
        salvage->options.progress(salvage->options.context, salvage->done, total))
        return SOMBRA_OK;
    return diag_fail(SOMBRA_CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " pages",
                     salvage->done, total);
}

sombra_err salvage_read_tree(struct salvage *salvage, page_id id, uint8_t *to)
{
    if (id < salvage->first_page || id >= salvage->page_count)
        return diag_fail(SOMBRA_CORRUPT,
                         "page %" PRIu64 " is referenced, but the file has %" PRIu64 " pages", id,
                         salvage->page_count);
    sombra_err err = os_read(salvage->file, id * salvage->page_bytes, to, salvage->page_bytes);
    return err ? err : page_validate(to, salvage->page_bytes, id, false);
}

/* ---- the job ----------------------------------------------------------------------------- */

/* Says that it reads, then looks whether anybody may write: of two that come at once one gives way.
 */
static sombra_err source_open(struct salvage *salvage)
{
    bool is_held = false;
    sombra_err err = os_open(salvage->os, salvage->path, OS_READ, 0, &salvage->file);
    if (!err)
        err = os_lock(salvage->file, LOCK_CREATION, 1, OS_LOCK_SHARED);
    if (!err)
        err = os_lock(salvage->file, LOCK_SLOTLESS, 1, OS_LOCK_SHARED);
    if (!err)
        err = os_lock_is_held(salvage->file, LOCK_WRITERS, 1, OS_LOCK_EXCLUSIVE, &is_held);
    if (err == SOMBRA_BUSY || is_held)
        return diag_fail(SOMBRA_BUSY, "%s is open for writing: close it first", salvage->path);
    return err;
}

static void lost_text(const struct lost_range *range, char low[80], char high[80])
{
    const uint8_t *keys[] = { range->keys, range->keys + range->low_bytes };
    const size_t bytes[] = { range->low_bytes, range->high_bytes };
    char *const to[] = { low, high };
    static const char *const unbounded[] = { "the first", "the last" };
    for (unsigned side = 0; side < 2; side++) {
        enum { SHOWN = 16 };
        char *at = to[side];
        if (!bytes[side]) {
            strcpy(at, unbounded[side]);
            continue;
        }
        *at++ = '"';
        for (size_t i = 0; i < size_min(bytes[side], SHOWN); i++) {
            uint8_t byte = keys[side][i];
            bool is_plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
            at += snprintf(at, 5, is_plain ? "%c" : "\\x%02x", byte);
        }
        strcpy(at, bytes[side] > SHOWN ? "...\"" : "\"");
    }
}

static void ranges_report(struct salvage *salvage)
{
    for (size_t i = 0; i < salvage->range_count; i++) {
        const struct lost_range *range = &salvage->ranges[i];
        /* Beside a guessed root there may have been nothing. */
        if (range->found >= range->entries && (range->is_counted || range->found == 0))
            continue;
        char low[80], high[80];
        lost_text(range, low, high);
        if (range->is_counted) {
            salvage->report.ranges_lost++;
            (void)diag_fail(SOMBRA_CORRUPT,
                            "keys from %s to %s: %" PRIu64 " of %" PRIu64 " entries are lost", low,
                            high, range->entries - range->found, range->entries);
        } else {
            (void)diag_fail(SOMBRA_CORRUPT,
                            "keys from %s to %s: %" PRIu64
                            " entries were found; how many are lost is not known",
                            low, high, range->found);
        }
        salvage_problem(salvage, SOMBRA_CORRUPT, 0);
    }
}

static void lost_count(struct salvage *salvage)
{
    struct btree_salvage_report *report = &salvage->report;
    uint64_t expected = salvage->state.entries;
    uint64_t lost = report->values_lost;
    for (size_t i = 0; i < salvage->range_count; i++) {
        const struct lost_range *range = &salvage->ranges[i];
        lost += range->entries > range->found ? range->entries - range->found : 0;
    }
    uint64_t missing = expected > report->entries ? expected - report->entries : 0;
    report->entries_lost = u64_max(lost, missing);
    report->is_lost_exact = !salvage->state.is_guess && report->entries_uncertain == 0;
}

static sombra_err entries_salvage(struct salvage *salvage)
{
    sombra_err err = salvage_walk(salvage);
    if (!err)
        err = salvage_unreached(salvage);
    if (err)
        return err;
    ranges_report(salvage);
    lost_count(salvage);
    return salvage_log(salvage);
}

static sombra_err salvage_run(struct salvage *salvage, const char *to)
{
    sombra_err err = source_open(salvage);
    if (!err)
        err = salvage_scan(salvage);
    if (!err)
        err = target_open(&salvage->target, salvage->os, to, salvage->page_bytes,
                          salvage->options.mode);
    if (!err)
        err = entries_salvage(salvage);
    if (!err)
        err = target_publish(&salvage->target);
    return err;
}

static void salvage_release(struct salvage *salvage)
{
    target_release(&salvage->target);
    for (size_t i = 0; i < salvage->range_count; i++)
        mem_free(salvage->ranges[i].keys);
    mem_free(salvage->ranges);
    mem_free(salvage->facts);
    mem_free(salvage->images);
    buf_release(&salvage->value);
    os_close(salvage->file);
}

sombra_err btree_salvage(struct os *os, const char *path, const char *to,
                         const struct btree_salvage_options *options,
                         struct btree_salvage_report *out_report)
{
    assert(os && path && to && out_report);
    struct salvage *salvage = mem_zalloc(sizeof *salvage);
    if (!salvage)
        return diag_nomem("a salvage", sizeof *salvage);
    salvage->os = os;
    salvage->path = path;
    if (options)
        salvage->options = *options;
    sombra_err err = salvage_run(salvage, to);
    if (!err)
        *out_report = salvage->report;
    salvage_release(salvage);
    mem_free(salvage);
    return diag_wrap(err, "repair %s", path);
}
