/* SPDX-License-Identifier: MIT */
#include "compaction.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BATCH_ENTRIES = 64,
    BATCH_SHORT_ENTRIES = 8,
    CHECK_ENTRIES = 1024, /* between two looks at cancel, rate and progress */
    SHARD_TABLES = 4,     /* output tables that are worth a thread of their own */
    HELP_WAIT_MS = 100,   /* how often the owner reports progress while helpers work */
};

static struct version_table *const *input_tables(const struct compaction_job *job, size_t input)
{
    const struct compaction_input *in = &job->pick.inputs[input];
    assert(in->run < job->version->count);
    return job->version->runs[in->run].tables + in->first;
}

/* ---- shares -------------------------------------------------------------------------------- */

void share_note(struct share_outcome *outcome, sombra_err err, _Atomic bool *is_given_up)
{
    outcome->err = err;
    if (err) {
        diag_save(outcome->text);
        atomic_store(is_given_up, true);
    }
}

const struct share_outcome *share_worse(const struct share_outcome *a,
                                        const struct share_outcome *b)
{
    return b->err && (!a->err || a->err == SOMBRA_CANCELLED) ? b : a;
}

sombra_err share_tell(const struct share_outcome *outcome)
{
    if (outcome->err)
        diag_restore(outcome->text);
    return outcome->err;
}

/* ---- one shard ----------------------------------------------------------------------------- */

static sombra_err open_merge(const struct compaction_job *job, struct source **out_source)
{
    struct source *sources[COMPACTION_INPUTS_MAX];
    size_t count = 0;
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < job->pick.input_count; i++) {
        err = version_tables_source(input_tables(job, i), job->pick.inputs[i].count, false,
                                    &sources[count]);
        if (!err)
            count++;
    }
    if (!err)
        return merge_open(sources, count, false, (struct kv_range){ 0 }, out_source);
    for (size_t i = 0; i < count; i++)
        source_close(sources[i]);
    return err;
}

static sombra_err check_progress(struct compaction_job *job, bool is_owner)
{
    struct kv_maintenance *maintenance = job->maintenance;
    if (atomic_load(&job->lsm->background->is_stopping))
        return diag_fail(SOMBRA_CANCELLED, "the store is being closed");
    if (atomic_load(&job->is_given_up))
        return diag_fail(SOMBRA_CANCELLED, "another part of the compaction failed");
    uint64_t done = atomic_load_explicit(&job->entries_done, memory_order_relaxed);
    if (is_owner && maintenance && maintenance->progress &&
        !maintenance->progress(maintenance->context, done, job->entries))
        return diag_fail(SOMBRA_CANCELLED, "the compaction was cancelled");
    return SOMBRA_OK;
}

/* Sources that take turns at every other entry give short batches, and a batch costs a search for
 * its end: then entries are taken one by one, until the next look. */
static sombra_err copy_some(struct table_output *output, struct source *source, sombra_slice high,
                            size_t *out_count)
{
    struct lsm_entry entries[BATCH_ENTRIES];
    size_t given = 0, count = 0;
    sombra_err err = source->ops->read(source, high, entries, BATCH_ENTRIES, &given);
    for (size_t i = 0; !err && i < given; i++)
        err = table_output_add(output, &entries[i]);
    if (given < BATCH_SHORT_ENTRIES)
        count = CHECK_ENTRIES / 4;
    for (; !err && given > 0 && count > 0 && source->is_valid; count--, given++) {
        if (high.bytes && slice_compare(source->entry.key, high) >= 0)
            break;
        err = table_output_add(output, &source->entry);
        if (!err)
            err = source->ops->next(source);
    }
    *out_count = given;
    return err;
}

static sombra_err copy_entries(struct compaction_job *job, struct compaction_shard *shard,
                               struct source *source, bool is_owner)
{
    struct table_output *output = &shard->output;
    size_t unchecked = 0;
    uint64_t paid = 0;
    sombra_err err = source->ops->seek_ge(source, shard->low);
    while (!err && source->is_valid) {
        size_t count = 0;
        err = copy_some(output, source, shard->high, &count);
        if (err || count == 0)
            break;
        unchecked += count;
        if (unchecked < CHECK_ENTRIES)
            continue;
        atomic_fetch_add_explicit(&job->entries_done, unchecked, memory_order_relaxed);
        unchecked = 0;
        uint64_t written = table_output_bytes(output);
        background_pay(job->lsm, written > paid ? written - paid : 0);
        paid = u64_max(paid, written);
        err = check_progress(job, is_owner);
    }
    return err ? err : table_output_finish(output, shard->high);
}

static void output_prepare(const struct compaction_job *job, struct table_output *output)
{
    const struct version *version = job->version;
    const struct pick *pick = &job->pick;
    *output = (struct table_output){
        .lsm = job->lsm,
        .level = pick->level,
        .run = pick->run,
        .version = version,
        .older = pick->inputs[pick->input_count - 1].run + 1,
        .ranges = &job->ranges,
        .from = BUF_INIT,
    };
    for (size_t i = 0; i < pick->input_count; i++)
        for (size_t j = 0; j < pick->inputs[i].count; j++)
            output->seq_max = u64_max(output->seq_max, input_tables(job, i)[j]->meta.seq_max);
    output->entries_hint = job->entries;
    if (pick->bytes > job->lsm->options.table_bytes)
        output->entries_hint =
            (uint64_t)((double)job->entries * (double)job->lsm->options.table_bytes /
                       (double)pick->bytes);
    bool is_last = output->older == version->count || pick->level == LSM_LEVELS - 1;
    output->codec = is_last ? job->lsm->bottom_codec : job->lsm->codec;
    for (size_t i = 0; pick->level > 0 && i < version->count; i++)
        if (version->runs[i].level == pick->level + 1)
            output->below = &version->runs[i];
}

void compaction_run_shard(struct compaction_job *job, size_t index, bool is_owner)
{
    assert(index < job->shard_count);
    struct compaction_shard *shard = &job->shards[index];
    struct source *source = NULL;
    output_prepare(job, &shard->output);
    sombra_err err = check_progress(job, is_owner);
    if (!err)
        err = table_output_init(&shard->output, shard->low);
    if (!err)
        err = open_merge(job, &source);
    if (!err)
        err = copy_entries(job, shard, source, is_owner);
    source_close(source);
    share_note(&shard->outcome, err, &job->is_given_up);
}

/* ---- parts --------------------------------------------------------------------------------- */

struct part {
    sombra_slice low;
    uint64_t bytes;
};

static int part_compare(const void *a, const void *b)
{
    return slice_compare(((const struct part *)a)->low, ((const struct part *)b)->low);
}

/* Cuts the keys where tables of the inputs begin, into parts of about the same bytes. */
static sombra_err plan_shards(struct compaction_job *job)
{
    const struct lsm_options *options = &job->lsm->options;
    uint64_t tables = job->pick.bytes / u64_max(options->table_bytes, 1);
    size_t wanted = (size_t)u64_min(tables / SHARD_TABLES, options->threads);
    if (wanted < 1 || options->no_background)
        wanted = 1;
    size_t count = 0, filled = 0;
    for (size_t i = 0; i < job->pick.input_count; i++)
        count += job->pick.inputs[i].count;
    job->shards = mem_zalloc(wanted * sizeof(job->shards[0]));
    struct part *parts = mem_alloc(count * sizeof(parts[0]));
    if (!job->shards || !parts) {
        mem_free(parts);
        return diag_nomem("the parts of a compaction", count * sizeof(parts[0]));
    }
    for (size_t i = 0; i < job->pick.input_count; i++)
        for (size_t j = 0; j < job->pick.inputs[i].count; j++)
            parts[filled++] = (struct part){ .low = input_tables(job, i)[j]->meta.low,
                                             .bytes = input_tables(job, i)[j]->meta.file_bytes };
    assert(filled == count);
    qsort(parts, count, sizeof(parts[0]), part_compare);
    uint64_t before = 0;
    job->shard_count = 1;
    for (size_t i = 0; i < count; i++) {
        struct compaction_shard *last = &job->shards[job->shard_count - 1];
        if (job->shard_count < wanted && before * wanted >= job->pick.bytes * job->shard_count &&
            slice_compare(parts[i].low, last->low) > 0 && i > 0) {
            last->high = parts[i].low;
            job->shards[job->shard_count++].low = parts[i].low;
        }
        before += parts[i].bytes;
    }
    mem_free(parts);
    return SOMBRA_OK;
}

static sombra_err collect_ranges(struct compaction_job *job)
{
    sombra_err err = SOMBRA_OK;
    for (size_t i = 0; !err && i < job->pick.input_count; i++)
        for (size_t j = 0; !err && j < job->pick.inputs[i].count; j++) {
            struct version_table *table = input_tables(job, i)[j];
            job->entries += table->meta.entries;
            if (table->meta.range_count == 0)
                continue;
            struct table *open = NULL;
            err = version_table_open(table, &open);
            for (uint64_t k = 0; !err && k < table->meta.range_count; k++) {
                sombra_slice low, high;
                table_range(open, (size_t)k, &low, &high);
                err = range_set_add(&job->ranges, low, high);
            }
            table_unref(open);
        }
    return err;
}

/* ---- the job ------------------------------------------------------------------------------- */

/* The owner takes part after part as idle threads do, then waits for theirs. */
static void run_shards(struct compaction_job *job)
{
    struct lsm *lsm = job->lsm;
    os_mutex_lock(&lsm->mutex);
    job->shard_next = 0;
    job->shards_left = job->shard_count;
    if (job->shard_count > 1)
        os_condition_broadcast(&lsm->background->wake);
    while (job->shards_left > 0) {
        if (job->shard_next == job->shard_count) {
            os_condition_wait(&lsm->changed, &lsm->mutex, HELP_WAIT_MS);
            os_mutex_unlock(&lsm->mutex);
            if (check_progress(job, true) != SOMBRA_OK)
                atomic_store(&job->is_given_up, true);
            os_mutex_lock(&lsm->mutex);
            continue;
        }
        size_t index = job->shard_next++;
        os_mutex_unlock(&lsm->mutex);
        compaction_run_shard(job, index, true);
        os_mutex_lock(&lsm->mutex);
        job->shards_left--;
    }
    os_mutex_unlock(&lsm->mutex);
}

static sombra_err shards_outcome(const struct compaction_job *job)
{
    const struct share_outcome *worst = &(struct share_outcome){ .err = SOMBRA_OK };
    for (size_t i = 0; i < job->shard_count; i++)
        worst = share_worse(worst, &job->shards[i].outcome);
    return share_tell(worst);
}

static sombra_err job_edit(struct compaction_job *job, uint64_t *out_written)
{
    size_t added = 0, removed = 0, inputs = 0;
    for (size_t i = 0; i < job->shard_count; i++)
        added += job->shards[i].output.count;
    for (size_t i = 0; i < job->pick.input_count; i++)
        inputs += job->pick.inputs[i].count;
    if (job->pick.is_move)
        added = inputs;
    struct edit edit = { .added = mem_alloc(added * sizeof(struct edit_table)),
                         .added_count = added,
                         .removed = mem_alloc(inputs * sizeof(uint64_t)),
                         .removed_count = inputs };
    sombra_err err = edit.added && edit.removed
                         ? SOMBRA_OK
                         : diag_nomem("an edit", added * sizeof(struct edit_table));
    uint64_t written = 0;
    added = 0;
    for (size_t i = 0; !err && i < job->pick.input_count; i++)
        for (size_t j = 0; j < job->pick.inputs[i].count; j++) {
            const struct table_meta *meta = &input_tables(job, i)[j]->meta;
            edit.removed[removed++] = meta->number;
            edit.seq = u64_max(edit.seq, meta->seq_max);
            if (job->pick.is_move)
                edit.added[added++] = (struct edit_table){ .level = job->pick.level,
                                                           .run = job->pick.run,
                                                           .meta = *meta };
        }
    for (size_t i = 0; !err && i < job->shard_count; i++) {
        const struct table_output *output = &job->shards[i].output;
        if (output->count > 0)
            memcpy(edit.added + added, output->tables, output->count * sizeof(edit.added[0]));
        added += output->count;
        written += output->bytes;
    }
    if (!err)
        err = lsm_edit(job->lsm, &edit, NULL);
    mem_free(edit.added);
    mem_free(edit.removed);
    if (!err)
        *out_written = written;
    return err;
}

static void report(const struct compaction_job *job, uint64_t begun_ns, uint64_t written)
{
    struct kv_metrics *metrics = &job->lsm->metrics;
    uint64_t duration_ns = os_monotonic_ns(job->lsm->os) - begun_ns;
    size_t tables = 0;
    for (size_t i = 0; i < job->pick.input_count; i++)
        tables += job->pick.inputs[i].count;
    kv_metrics_add(metrics, KV_COUNTER_COMPACTIONS, 1);
    kv_metrics_time(metrics, KV_HISTOGRAM_COMPACTION_NS, duration_ns);
    if (job->pick.is_move) {
        kv_metrics_add(metrics, KV_COUNTER_TABLES_MOVED, tables);
    } else {
        kv_metrics_add(metrics, KV_COUNTER_COMPACTION_READ_BYTES, job->pick.bytes);
        kv_metrics_add(metrics, KV_COUNTER_COMPACTION_WRITE_BYTES, written);
    }
    char text[160];
    snprintf(text, sizeof text, "%zu tables, %" PRIu64 " bytes, %s level %u as %" PRIu64 " bytes",
             tables, job->pick.bytes, job->pick.is_move ? "moved to" : "merged into",
             job->pick.level, job->pick.is_move ? job->pick.bytes : written);
    struct kv_event event = { .kind = KV_EVENT_COMPACTION,
                              .duration_ns = duration_ns,
                              .bytes_read = job->pick.is_move ? 0 : job->pick.bytes,
                              .bytes_written = written,
                              .count = tables,
                              .level = job->pick.level,
                              .text = text };
    kv_metrics_report(metrics, &event);
}

sombra_err compaction_run(struct compaction_job *job)
{
    assert(job->pick.input_count > 0 && !job->shards);
    uint64_t begun_ns = os_monotonic_ns(job->lsm->os), written = 0;
    sombra_err err = SOMBRA_OK;
    if (!job->pick.is_move) {
        err = collect_ranges(job);
        if (!err)
            err = plan_shards(job);
        if (!err) {
            run_shards(job);
            err = shards_outcome(job);
        }
    }
    if (!err)
        err = job_edit(job, &written);
    if (!err)
        report(job, begun_ns, written);
    /* A manifest whose state is unknown may name the outputs: the next open decides. */
    bool is_kept = !err || atomic_load(&job->lsm->is_failed);
    for (size_t i = 0; i < job->shard_count; i++)
        table_output_release(&job->shards[i].output, is_kept);
    mem_free(job->shards);
    job->shards = NULL;
    job->shard_count = 0;
    range_set_release(&job->ranges);
    return diag_wrap(err, "compact into level %u", job->pick.level);
}
