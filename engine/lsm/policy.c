/* SPDX-License-Identifier: MIT */
/* What is merged next, from a version and the running jobs alone.
 *
 * Sizes of levels follow the last one, upwards (Dong et al., "Optimizing space amplification in
 * RocksDB", CIDR 2017), so that at most 1/ratio of the data lies above the last level.
 */
#include "compaction.h"

enum {
    EXPAND_TABLES = 10, /* a job takes at most so many tables' bytes of the upper level */
    MOVE_TABLES = 64,   /* tables moved by one edit */
    SMALL_MERGE = 2,    /* level 0 so much smaller than what it would rewrite stays in level 0 */
    LAST = LSM_LEVELS - 1,
};

/* ---- small questions ----------------------------------------------------------------------- */

static bool table_is_free(const struct version_table *table)
{
    return !atomic_load_explicit(&table->is_compacting, memory_order_relaxed);
}

static bool tables_are_free(const struct version_run *run, size_t first, size_t count)
{
    assert(first + count <= run->count);
    for (size_t i = first; i < first + count; i++)
        if (!table_is_free(run->tables[i]))
            return false;
    return true;
}

static bool run_is_free(const struct version_run *run)
{
    return tables_are_free(run, 0, run->count);
}

static bool table_has_many_deletes(const struct table_meta *meta)
{
    return meta->range_count > 0 || meta->deletes > meta->entries / 2;
}

static bool run_has_many_deletes(const struct version_run *run)
{
    uint64_t entries = 0, deletes = 0;
    for (size_t i = 0; i < run->count; i++) {
        if (run->tables[i]->meta.range_count > 0)
            return true;
        entries += run->tables[i]->meta.entries;
        deletes += run->tables[i]->meta.deletes;
    }
    return deletes > entries / 2;
}

static uint64_t tables_bytes(const struct version_run *run, size_t first, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = first; i < first + count; i++)
        bytes += run->tables[i]->meta.file_bytes;
    return bytes;
}

size_t policy_overlap(const struct version_run *run, sombra_slice low, sombra_slice end,
                      size_t *out_first)
{
    size_t first = 0, above = run->count;
    while (first < above) {
        size_t middle = first + (above - first) / 2;
        if (slice_compare(run->tables[middle]->meta.end, low) > 0)
            above = middle;
        else
            first = middle + 1;
    }
    size_t count = 0;
    while (first + count < run->count &&
           slice_compare(run->tables[first + count]->meta.low, end) < 0)
        count++;
    *out_first = first;
    return count;
}

static bool overlaps_anything(const struct version *version, size_t first_run, sombra_slice low,
                              sombra_slice end)
{
    size_t first;
    for (size_t i = first_run; i < version->count; i++)
        if (policy_overlap(&version->runs[i], low, end, &first) > 0)
            return true;
    return false;
}

static bool is_in_the_way(const struct policy_input *input, unsigned first_level, unsigned level,
                          sombra_slice low, sombra_slice end)
{
    for (size_t i = 0; i < input->span_count; i++) {
        const struct compaction_span *span = &input->spans[i];
        if (span->level > 0 && span->first_level <= level && first_level <= span->level &&
            slice_compare(span->low, end) < 0 && slice_compare(low, span->end) < 0)
            return true;
    }
    return false;
}

/* Runs of level 0 stand first. */
static size_t level0_runs(const struct version *version)
{
    size_t count = 0;
    while (count < version->count && version->runs[count].level == 0)
        count++;
    return count;
}

/* Index of the run of a level >= 1; version->count when the level is empty. */
static size_t run_of_level(const struct version *version, unsigned level)
{
    size_t i = 0;
    while (i < version->count && version->runs[i].level != level)
        i++;
    return i;
}

/* ---- building a pick ----------------------------------------------------------------------- */

static void pick_reset(struct pick *pick, unsigned level, uint64_t run, double score)
{
    memset(pick, 0, sizeof(*pick));
    pick->level = level;
    pick->run = run;
    pick->score = score;
}

/* Inputs come newest first. */
static void pick_add(struct pick *pick, const struct version *version, size_t run, size_t first,
                     size_t count)
{
    assert(run < version->count && first + count <= version->runs[run].count);
    if (count == 0)
        return;
    assert(pick->input_count < COMPACTION_INPUTS_MAX);
    assert(pick->input_count == 0 || pick->inputs[pick->input_count - 1].run < run);
    struct version_table *const *tables = version->runs[run].tables + first;
    sombra_slice low = tables[0]->meta.low, end = tables[count - 1]->meta.end;
    if (pick->input_count == 0 || slice_compare(low, pick->low) < 0)
        pick->low = low;
    if (pick->input_count == 0 || slice_compare(end, pick->end) > 0)
        pick->end = end;
    pick->inputs[pick->input_count++] =
        (struct compaction_input){ .run = run, .first = first, .count = count };
    pick->bytes += tables_bytes(&version->runs[run], first, count);
}

/* ---- levels -------------------------------------------------------------------------------- */

void policy_levels(const struct version *version, const struct lsm_options *options,
                   struct policy_levels *out)
{
    assert(options->level_ratio >= 2 && options->level_bytes > 0);
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < version->count; i++)
        out->bytes[version->runs[i].level] += version->runs[i].bytes;
    out->runs = level0_runs(version);
    uint64_t largest = options->level_bytes;
    unsigned first = LAST; /* that has something */
    for (unsigned level = LAST; level >= 1; level--) {
        largest = u64_max(largest, out->bytes[level]);
        if (out->bytes[level] > 0)
            first = level;
    }
    unsigned base = LAST;
    out->target[LAST] = largest;
    while (base > 1 && out->target[base] / options->level_ratio >= options->level_bytes) {
        out->target[base - 1] = out->target[base] / options->level_ratio;
        base--;
    }
    /* What lies above the base, of times when there was more data, is newer than the base: level 0
     * must not pass it. */
    out->base = base < first ? base : first;
}

static bool is_due_for_deletes(const struct policy_levels *levels, unsigned level,
                               const struct table_meta *meta)
{
    return level < LAST && level >= levels->base && table_has_many_deletes(meta);
}

/* Takes tables of level `level` at `first` and what they overlap below. False where something is in
 * the way. */
static bool pick_tables(const struct policy_input *input, size_t run, size_t first, size_t count,
                        struct pick *out)
{
    const struct version *version = input->version;
    const struct version_run *upper = &version->runs[run];
    unsigned below = upper->level + 1;
    assert(upper->level >= 1 && below < LSM_LEVELS);
    double score = out->score;
    pick_reset(out, below, 0, score);
    pick_add(out, version, run, first, count);
    size_t lower = run_of_level(version, below), lower_first = 0, lower_count = 0;
    if (lower < version->count)
        lower_count = policy_overlap(&version->runs[lower], out->low, out->end, &lower_first);
    if (lower_count > 0) {
        if (!tables_are_free(&version->runs[lower], lower_first, lower_count))
            return false;
        pick_add(out, version, lower, lower_first, lower_count);
    }
    if (!tables_are_free(upper, first, count) ||
        is_in_the_way(input, upper->level, below, out->low, out->end))
        return false;
    out->is_move = lower_count == 0;
    for (size_t i = first; out->is_move && i < first + count; i++) {
        const struct table_meta *meta = &upper->tables[i]->meta;
        /* Deletes with nothing older below them are not worth a move: writing drops them. */
        if ((meta->deletes > 0 || meta->range_count > 0) &&
            !overlaps_anything(version, run + 1, meta->low, meta->end))
            out->is_move = false;
    }
    return true;
}

/* More tables of the upper level for the same tables of the lower one cost nothing more below. */
static void pick_expand(const struct policy_input *input, size_t run, size_t first,
                        struct pick *pick)
{
    const struct version_run *upper = &input->version->runs[run];
    uint64_t bytes_max = EXPAND_TABLES * input->options->table_bytes;
    size_t lower_count = pick->input_count > 1 ? pick->inputs[1].count : 0;
    uint64_t lower_bytes = lower_count ? pick->bytes - tables_bytes(upper, first, 1) : 0;
    for (size_t count = 2; first + count <= upper->count; count++) {
        struct pick wider = *pick;
        if (!pick_tables(input, run, first, count, &wider) || wider.is_move != pick->is_move)
            return;
        size_t wider_count = wider.input_count > 1 ? wider.inputs[1].count : 0;
        if (wider_count != lower_count)
            return;
        if (pick->is_move ? count > MOVE_TABLES : wider.bytes - lower_bytes > bytes_max)
            return;
        *pick = wider;
    }
}

/* The table of a level whose push down rewrites least below for each of its bytes. */
static bool pick_level(const struct policy_input *input, const struct policy_levels *levels,
                       unsigned level, bool only_deletes, struct pick *out)
{
    size_t run = run_of_level(input->version, level);
    if (run == input->version->count || level >= LAST)
        return false;
    const struct version_run *upper = &input->version->runs[run];
    struct pick candidate = *out;
    double best_cost = 0;
    size_t best = upper->count;
    for (size_t i = 0; i < upper->count; i++) {
        const struct table_meta *meta = &upper->tables[i]->meta;
        bool has_deletes = is_due_for_deletes(levels, level, meta);
        if ((only_deletes && !has_deletes) || !pick_tables(input, run, i, 1, &candidate))
            continue;
        double own = (double)u64_max(meta->file_bytes, 1);
        double cost = ((double)candidate.bytes - own) / own;
        if (has_deletes)
            cost /= 4;
        if (best == upper->count || cost < best_cost) {
            best = i;
            best_cost = cost;
        }
    }
    if (best == upper->count || !pick_tables(input, run, best, 1, out))
        return false;
    pick_expand(input, run, best, out);
    return true;
}

/* ---- level 0 ------------------------------------------------------------------------------- */

/* Age-contiguous free runs of like size, the newest such; at least `width`. With `by_largest` a run
 * is compared with the largest of those before it and not with all of them together: tiers, in
 * which each byte is written once. */
static bool pick_like_sizes(const struct policy_input *input, size_t runs, size_t width,
                            bool by_largest, struct pick *out)
{
    const struct version *version = input->version;
    assert(runs <= version->count && width >= 2);
    for (size_t start = 0; start + width <= runs; start++) {
        uint64_t like = 0;
        size_t end = start;
        while (end < runs && end - start < COMPACTION_INPUTS_MAX &&
               run_is_free(&version->runs[end]) &&
               (end == start || version->runs[end].bytes <= like + like / 2)) {
            uint64_t bytes = version->runs[end].bytes;
            like = by_largest ? u64_max(like, bytes) : like + bytes;
            end++;
        }
        if (end - start < width)
            continue;
        pick_reset(out, version->runs[start].level, version->runs[start].number, out->score);
        for (size_t i = start; i < end; i++)
            pick_add(out, version, i, 0, version->runs[i].count);
        return true;
    }
    return false;
}

/* The oldest run of level 0 goes down as it is where it meets nothing. Small ones do not, or many
 * short sessions would leave many small tables. */
static bool pick_level0_move(const struct policy_input *input, const struct policy_levels *levels,
                             struct pick *out)
{
    const struct version *version = input->version;
    size_t oldest = levels->runs - 1;
    const struct version_run *run = &version->runs[oldest];
    if (!run_is_free(run) || run->bytes < input->options->table_bytes / 4 ||
        run->count > MOVE_TABLES)
        return false;
    pick_reset(out, levels->base, 0, out->score);
    pick_add(out, version, oldest, 0, run->count);
    size_t base = run_of_level(version, levels->base), first;
    if (base < version->count &&
        policy_overlap(&version->runs[base], out->low, out->end, &first) > 0)
        return false;
    if (is_in_the_way(input, 0, levels->base, out->low, out->end))
        return false;
    if (run_has_many_deletes(run) && !overlaps_anything(version, oldest + 1, out->low, out->end))
        return false;
    out->is_move = true;
    return true;
}

/* The neighbours in the base level of a small merge are taken along where they are small too. */
static void widen_over_small(const struct policy_input *input, const struct version_run *base,
                             uint64_t bytes, size_t *first, size_t *count)
{
    uint64_t small = input->options->table_bytes / 2;
    if (bytes >= input->options->table_bytes)
        return;
    if (*first > 0 && base->tables[*first - 1]->meta.file_bytes < small &&
        table_is_free(base->tables[*first - 1])) {
        (*first)--;
        (*count)++;
    }
    size_t next = *first + *count;
    if (next < base->count && base->tables[next]->meta.file_bytes < small &&
        table_is_free(base->tables[next]))
        (*count)++;
}

/* All free runs of level 0, from the oldest on, with what they overlap in the base level.
 * *out_is_small: they are much smaller than that. */
static bool pick_level0_base(const struct policy_input *input, const struct policy_levels *levels,
                             struct pick *out, bool *out_is_small)
{
    const struct version *version = input->version;
    size_t begin = levels->runs;
    while (begin > 0 && run_is_free(&version->runs[begin - 1]) &&
           levels->runs - begin < COMPACTION_INPUTS_MAX - 1)
        begin--;
    if (begin == levels->runs)
        return false;
    pick_reset(out, levels->base, 0, out->score);
    for (size_t i = begin; i < levels->runs; i++)
        pick_add(out, version, i, 0, version->runs[i].count);
    uint64_t upper_bytes = out->bytes;
    size_t base = run_of_level(version, levels->base), first = 0, count = 0;
    if (base < version->count) {
        const struct version_run *run = &version->runs[base];
        count = policy_overlap(run, out->low, out->end, &first);
        uint64_t overlap = tables_bytes(run, first, count);
        *out_is_small = upper_bytes * SMALL_MERGE < overlap;
        widen_over_small(input, run, upper_bytes + overlap, &first, &count);
        if (!tables_are_free(run, first, count))
            return false;
        pick_add(out, version, base, first, count);
    }
    return !is_in_the_way(input, 0, levels->base, out->low, out->end);
}

static bool pick_level0(const struct policy_input *input, const struct policy_levels *levels,
                        struct pick *out)
{
    unsigned weight = 0, free_runs = 0;
    for (size_t i = 0; i < levels->runs; i++)
        if (run_is_free(&input->version->runs[i])) {
            weight += run_has_many_deletes(&input->version->runs[i]) ? 2 : 1;
            free_runs++;
        }
    unsigned due = input->options->level0_compact ? input->options->level0_compact : 1;
    if (weight < due)
        return false;
    size_t width = size_max(due, 2);
    double score = (double)weight / due;
    out->score = score;
    if (pick_level0_move(input, levels, out))
        return true;
    struct pick down = { .score = score };
    bool is_small = false;
    bool has_way = pick_level0_base(input, levels, &down, &is_small);
    out->score = score;
    size_t runs_max = input->options->level0_slow / 2;
    if (is_small && levels->runs <= runs_max) {
        if (levels->runs == runs_max && pick_like_sizes(input, levels->runs, width, true, out))
            return true;
        if (weight == free_runs) /* what was deleted need not wait for more of its size */
            return false;
    }
    if (has_way) {
        *out = down;
        return true;
    }
    /* The way down is taken: fewer runs are the next best thing. */
    return pick_like_sizes(input, levels->runs, width, false, out);
}

/* ---- tiered -------------------------------------------------------------------------------- */

static bool pick_runs(const struct policy_input *input, size_t first, size_t count,
                      struct pick *out)
{
    const struct version *version = input->version;
    if (count < 2 || count > COMPACTION_INPUTS_MAX)
        return false;
    const struct version_run *newest = &version->runs[first];
    pick_reset(out, newest->level, newest->number, out->score);
    for (size_t i = first; i < first + count; i++) {
        if (!run_is_free(&version->runs[i]))
            return false;
        pick_add(out, version, i, 0, version->runs[i].count);
    }
    return true;
}

/* Runs in levels >= 1, of times when the store was leveled, are the oldest runs. */
static bool pick_tiered(const struct policy_input *input, struct pick *out)
{
    const struct version *version = input->version;
    size_t due = size_max(input->options->level0_compact, 2);
    if (version->count < due)
        return false;
    uint64_t newer = 0;
    for (size_t i = 0; i + 1 < version->count; i++)
        newer += version->runs[i].bytes;
    double score = (double)version->count / (double)due;
    out->score = score;
    if (newer > version->runs[version->count - 1].bytes && pick_runs(input, 0, version->count, out))
        return true;
    out->score = score;
    if (pick_like_sizes(input, version->count, 2, false, out))
        return true;
    out->score = score;
    size_t count = size_min(version->count - due + 2, version->count);
    return pick_runs(input, 0, size_min(count, COMPACTION_INPUTS_MAX), out);
}

/* ---- what is asked ------------------------------------------------------------------------- */

static double level_score(const struct policy_input *input, const struct policy_levels *levels,
                          unsigned level)
{
    size_t run = run_of_level(input->version, level);
    if (run == input->version->count)
        return 0;
    uint64_t bytes = 0; /* that no job takes down already */
    for (size_t i = 0; i < input->version->runs[run].count; i++)
        if (table_is_free(input->version->runs[run].tables[i]))
            bytes += input->version->runs[run].tables[i]->meta.file_bytes;
    if (bytes == 0)
        return 0;
    if (levels->target[level] == 0)
        return 1 + (double)bytes / (double)input->options->level_bytes;
    /* Strictly more than the target: a level just full is not due. */
    return bytes > levels->target[level] ? (double)bytes / (double)levels->target[level] : 0;
}

bool policy_pick(const struct policy_input *input, struct pick *out)
{
    struct pick pick;
    pick_reset(&pick, 0, 0, 0);
    bool found = false;
    if (input->options->style == LSM_TIERED) {
        found = pick_tiered(input, &pick);
        if (found)
            *out = pick;
        return found;
    }
    struct policy_levels levels;
    policy_levels(input->version, input->options, &levels);
    found = levels.runs > 0 && pick_level0(input, &levels, &pick);
    bool is_tried[LSM_LEVELS] = { false };
    while (!found) {
        unsigned level = 0;
        for (unsigned i = 1; i < LAST; i++) {
            double score = is_tried[i] ? 0 : level_score(input, &levels, i);
            if (score >= 1 && (level == 0 || score > pick.score)) {
                level = i;
                pick.score = score;
            }
        }
        if (level == 0)
            break;
        is_tried[level] = true;
        found = pick_level(input, &levels, level, false, &pick);
    }
    for (unsigned level = 1; !found && level < LAST; level++) {
        pick.score = 0.5;
        found = pick_level(input, &levels, level, true, &pick);
    }
    if (found)
        *out = pick;
    return found;
}

bool policy_pick_all(const struct version *version, uint64_t newest_run, struct pick *out)
{
    size_t begin = version->count;
    while (begin > 0 && version->count - begin < COMPACTION_INPUTS_MAX &&
           (version->runs[begin - 1].level > 0 || version->runs[begin - 1].number <= newest_run))
        begin--;
    if (begin == version->count)
        return false;
    struct pick pick;
    pick_reset(&pick, LAST, 0, 1);
    uint64_t deletes = 0;
    for (size_t i = begin; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        for (size_t j = 0; j < run->count; j++)
            deletes += run->tables[j]->meta.deletes + run->tables[j]->meta.range_count;
        pick_add(&pick, version, i, 0, run->count);
    }
    if (pick.input_count == 0 ||
        (pick.input_count == 1 && deletes == 0 && version->runs[begin].level == LAST))
        return false;
    *out = pick;
    return true;
}

unsigned policy_flush_level(const struct policy_input *input, sombra_slice low, sombra_slice end,
                            uint64_t bytes)
{
    const struct version *version = input->version;
    if (input->options->style == LSM_TIERED || bytes < input->options->table_bytes / 4)
        return 0;
    struct policy_levels levels;
    policy_levels(version, input->options, &levels);
    for (size_t i = 0; i < version->count && version->runs[i].level <= levels.base; i++) {
        size_t first;
        if (policy_overlap(&version->runs[i], low, end, &first) > 0)
            return 0;
    }
    return is_in_the_way(input, 0, levels.base, low, end) ? 0 : levels.base;
}

uint64_t policy_debt(const struct version *version, const struct lsm_options *options)
{
    struct policy_levels levels;
    policy_levels(version, options, &levels);
    uint64_t debt = 0;
    if (options->style == LSM_TIERED) {
        if (version->count >= size_max(options->level0_compact, 2))
            for (size_t i = 0; i + 1 < version->count; i++)
                debt += version->runs[i].bytes;
        return debt;
    }
    uint64_t carried = 0; /* what comes down from above */
    if (levels.runs >= options->level0_compact) {
        debt = levels.bytes[0] + levels.bytes[levels.base];
        carried = levels.bytes[0];
    }
    for (unsigned level = levels.base; level < LAST; level++) {
        uint64_t bytes = levels.bytes[level] + carried;
        carried = bytes > levels.target[level] ? bytes - levels.target[level] : 0;
        debt += carried *
                (1 + u64_min(options->level_ratio, levels.bytes[level + 1] / u64_max(bytes, 1)));
    }
    return debt;
}
