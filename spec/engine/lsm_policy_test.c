/* SPDX-License-Identifier: MIT */
/* What compaction does next, from shapes alone: no file is touched. Keys are numbers below 100,000;
 * shapes are drawn as tables of numbers. */
#include "lsm/compaction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RUNS_MAX = 200, TABLES_MAX = 4000, JOBS_MAX = 4, TABLE_BYTES = 1000 };

struct shape_table {
    struct version_table table;
    uint8_t low[8], end[8];
};
/* A version that a test changes in place. */
struct shape {
    struct version version;
    struct version_run runs[RUNS_MAX];
};

static const struct lsm_options leveled = {
    .table_bytes = TABLE_BYTES,
    .level_bytes = 10 * TABLE_BYTES,
    .level_ratio = 10,
    .level0_compact = 4,
    .level0_slow = 12,
    .level0_stop = 24,
    .memtable_bytes = 2 * TABLE_BYTES,
};

static uint64_t number_of(sombra_slice key)
{
    uint64_t number = 0;
    for (size_t i = 0; i < 8; i++)
        number = number << 8 | ((const uint8_t *)key.data)[i];
    return number;
}

static sombra_slice key_of(uint8_t *to, uint64_t number)
{
    for (size_t i = 0; i < 8; i++)
        to[i] = (uint8_t)(number >> (56 - 8 * i));
    return slice_of(to, 8);
}

static void shape_init(struct shape *shape)
{
    memset(shape, 0, sizeof(*shape));
    shape->version.runs = shape->runs;
}

static struct version_run *shape_run(struct shape *shape, unsigned level, uint64_t number)
{
    size_t at = 0;
    while (at < shape->version.count &&
           (shape->runs[at].level < level ||
            (shape->runs[at].level == level && shape->runs[at].number > number)))
        at++;
    if (at < shape->version.count && shape->runs[at].level == level &&
        shape->runs[at].number == number)
        return &shape->runs[at];
    assert_true(shape->version.count < RUNS_MAX);
    memmove(shape->runs + at + 1, shape->runs + at,
            (shape->version.count - at) * sizeof(shape->runs[0]));
    shape->version.count++;
    shape->runs[at] = (struct version_run){ .level = level, .number = number };
    shape->runs[at].tables = calloc(TABLES_MAX, sizeof(struct version_table *));
    assert_non_null(shape->runs[at].tables);
    return &shape->runs[at];
}

static void run_put(struct version_run *run, struct version_table *table)
{
    size_t at = 0;
    while (at < run->count && slice_compare(run->tables[at]->meta.low, table->meta.low) < 0)
        at++;
    assert_true(at == 0 || slice_compare(run->tables[at - 1]->meta.end, table->meta.low) <= 0);
    assert_true(at == run->count || slice_compare(table->meta.end, run->tables[at]->meta.low) <= 0);
    assert_true(run->count < TABLES_MAX);
    memmove(run->tables + at + 1, run->tables + at, (run->count - at) * sizeof(run->tables[0]));
    run->tables[at] = table;
    run->count++;
    run->bytes += table->meta.file_bytes;
    run->has_ranges |= table->meta.range_count > 0;
}

static struct version_table *shape_add(struct shape *shape, unsigned level, uint64_t number,
                                       uint64_t low, uint64_t end, uint64_t bytes)
{
    struct shape_table *table = calloc(1, sizeof(*table));
    assert_non_null(table);
    table->table.meta = (struct table_meta){ .file_bytes = bytes,
                                             .entries = bytes,
                                             .low = key_of(table->low, low),
                                             .end = key_of(table->end, end) };
    run_put(shape_run(shape, level, number), &table->table);
    return &table->table;
}

static void shape_remove(struct shape *shape, struct version_table *table)
{
    for (size_t i = 0; i < shape->version.count; i++) {
        struct version_run *run = &shape->runs[i];
        for (size_t j = 0; j < run->count; j++) {
            if (run->tables[j] != table)
                continue;
            run->bytes -= table->meta.file_bytes;
            memmove(run->tables + j, run->tables + j + 1,
                    (--run->count - j) * sizeof(run->tables[0]));
            if (run->count == 0) {
                free(run->tables);
                memmove(run, run + 1, (--shape->version.count - i) * sizeof(*run));
            }
            return;
        }
    }
    fail_msg("a removed table was not there");
}

static void shape_release(struct shape *shape)
{
    for (size_t i = 0; i < shape->version.count; i++) {
        for (size_t j = 0; j < shape->runs[i].count; j++)
            free(container_of(shape->runs[i].tables[j], struct shape_table, table));
        free(shape->runs[i].tables);
    }
}

static bool pick(const struct shape *shape, const struct lsm_options *options, struct pick *out)
{
    struct policy_input input = { .version = &shape->version, .options = options };
    return policy_pick(&input, out);
}

static size_t tables_of(const struct pick *pick)
{
    size_t count = 0;
    for (size_t i = 0; i < pick->input_count; i++)
        count += pick->inputs[i].count;
    return count;
}

/* ---- shapes in, picks out ------------------------------------------------------------------ */

static void test_policy__an_empty_store_has_nothing_to_do(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct pick out;
    assert_false(pick(&shape, &leveled, &out));
    assert_false(policy_pick_all(&shape.version, UINT64_MAX, &out));
    assert_int_equal(policy_debt(&shape.version, &leveled), 0);
}

static void test_policy__three_runs_wait_and_four_go_to_the_last_level(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct pick out;
    shape_add(&shape, LSM_LEVELS - 1, 0, 0, 20, 1500);
    for (uint64_t run = 1; run <= 3; run++)
        shape_add(&shape, 0, run, 10, 900, 1500);
    assert_false(pick(&shape, &leveled, &out));
    shape_add(&shape, 0, 4, 0, 500, 1500);
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, LSM_LEVELS - 1);
    assert_int_equal(out.run, 0);
    assert_int_equal(out.input_count, 5);
    assert_int_equal(out.bytes, 7500);
    assert_int_equal(number_of(out.low), 0);
    assert_int_equal(number_of(out.end), 900);
    assert_int_equal(shape.runs[out.inputs[0].run].number, 4);
    assert_int_equal(shape.runs[out.inputs[3].run].number, 1);
    shape_release(&shape);
}

static void test_policy__the_oldest_run_moves_down_where_it_meets_nothing(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    for (uint64_t run = 1; run <= 4; run++)
        shape_add(&shape, 0, run, 10, 900, 1500);
    struct pick out;
    assert_true(pick(&shape, &leveled, &out));
    assert_true(out.is_move);
    assert_int_equal(out.input_count, 1);
    assert_int_equal(shape.runs[out.inputs[0].run].number, 1);
    assert_int_equal(out.level, LSM_LEVELS - 1);
    shape_release(&shape);
}

static void test_policy__level_0_takes_what_it_overlaps_and_no_more(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    for (uint64_t run = 1; run <= 4; run++)
        shape_add(&shape, 0, run, 250, 450, 1500);
    for (uint64_t i = 0; i < 9; i++)
        shape_add(&shape, 6, 0, i * 100, i * 100 + 100, 1000);
    struct pick out;
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.input_count, 5);
    assert_int_equal(out.inputs[4].first, 2);
    assert_int_equal(out.inputs[4].count, 3);
    shape_release(&shape);
}

static void test_policy__targets_follow_the_last_level(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct policy_levels levels;
    shape_add(&shape, 6, 0, 0, 1000, 99 * TABLE_BYTES);
    policy_levels(&shape.version, &leveled, &levels);
    assert_int_equal(levels.base, 6);
    shape_add(&shape, 6, 0, 1000, 2000, 1000 * TABLE_BYTES);
    policy_levels(&shape.version, &leveled, &levels);
    assert_int_equal(levels.base, 4);
    assert_int_equal(levels.target[5], 109900);
    assert_int_equal(levels.target[4], 10990);
    assert_int_equal(levels.target[3], 0);
    /* What is left in a higher level is not passed. */
    shape_add(&shape, 2, 0, 0, 10, 500);
    policy_levels(&shape.version, &leveled, &levels);
    assert_int_equal(levels.base, 2);
    struct pick out;
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 3);
    assert_true(out.is_move);
    shape_release(&shape);
}

static void test_policy__the_table_with_the_least_below_goes_down(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    for (uint64_t i = 0; i < 200; i++)
        shape_add(&shape, 6, 0, i * 100, i * 100 + 100, 1000);
    for (uint64_t i = 0; i < 21; i++) /* the 8th lies over two tables, the others over nine */
        shape_add(&shape, 5, 0, i * 900, i * 900 + (i == 7 ? 200 : 900), 1000);
    struct pick out;
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 6);
    assert_int_equal(out.inputs[0].first, 7);
    assert_int_equal(out.inputs[0].count, 1);
    assert_int_equal(out.inputs[1].count, 2);
    shape_release(&shape);
}

static void test_policy__tables_over_a_gap_are_moved_unless_a_delete_would_end(void **state)
{
    (void)state;
    for (int has_deletes = 0; has_deletes <= 1; has_deletes++) {
        struct shape shape;
        shape_init(&shape);
        shape_add(&shape, 6, 0, 50000, 60000, 200 * TABLE_BYTES);
        for (uint64_t i = 0; i < 21; i++)
            shape_add(&shape, 5, 0, i * 100, i * 100 + 100, 1000)->meta.deletes =
                has_deletes ? 1 : 0;
        struct pick out;
        assert_true(pick(&shape, &leveled, &out));
        assert_int_equal(out.is_move, !has_deletes);
        assert_int_equal(out.level, 6);
        shape_release(&shape);
    }
}

static void test_policy__tables_full_of_deletes_go_down_before_their_level_is_full(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    shape_add(&shape, 6, 0, 0, 60000, 200 * TABLE_BYTES);
    shape_add(&shape, 5, 0, 0, 10, 1000);
    struct version_table *table = shape_add(&shape, 5, 0, 10, 20, 1000);
    struct pick out;
    assert_false(pick(&shape, &leveled, &out));
    table->meta.range_count = 1;
    assert_true(pick(&shape, &leveled, &out));
    assert_true(out.score < 1);
    assert_int_equal(out.inputs[0].first, 1);
    assert_int_equal(out.input_count, 2);
    shape_release(&shape);
}

static void test_policy__level_0_merges_within_itself_while_the_way_down_is_taken(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct version_table *busy = shape_add(&shape, 6, 0, 0, 60000, 5000);
    for (uint64_t run = 1; run <= 6; run++)
        shape_add(&shape, 0, run, 0, 900, 1500);
    atomic_store(&busy->is_compacting, true);
    atomic_store(&shape.runs[5].tables[0]->is_compacting, true);
    struct pick out;
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 0);
    assert_int_equal(out.run, 6); /* takes the place of the newest */
    assert_int_equal(out.input_count, 5);
    shape_release(&shape);
}

static void test_policy__small_runs_over_much_data_stay_in_level_0(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    shape_add(&shape, 6, 0, 0, 60000, 50000);
    struct pick out;
    for (uint64_t run = 1; run <= 6; run++) {
        assert_false(pick(&shape, &leveled, &out));
        shape_add(&shape, 0, run, 0, 900, 100);
    }
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 0);
    assert_int_equal(out.run, 6);
    assert_int_equal(out.input_count, 6);
    shape_release(&shape);
}

/* So that a byte is written once for each size of runs, and once with the level below when level 0
 * has come to half of it, or to too many runs. */
static void test_policy__runs_over_much_data_merge_in_tiers(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct pick out;
    shape_add(&shape, 6, 0, 0, 60000, 50000);
    shape_add(&shape, 0, 1, 0, 900, 600); /* six that were merged */
    for (uint64_t run = 2; run <= 6; run++) {
        assert_false(pick(&shape, &leveled, &out));
        shape_add(&shape, 0, run, 0, 900, 100);
    }
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 0);
    assert_int_equal(out.run, 6);
    assert_int_equal(out.input_count, 5);
    shape_release(&shape);

    shape_init(&shape); /* too many */
    shape_add(&shape, 6, 0, 0, 60000, 50000);
    for (uint64_t run = 1; run <= 6; run++) {
        assert_false(pick(&shape, &leveled, &out));
        shape_add(&shape, 0, run, 0, 60000, UINT64_C(2) << (2 * (6 - run)));
    }
    assert_false(pick(&shape, &leveled, &out));
    shape_add(&shape, 0, 7, 0, 900, 1);
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 6);
    assert_int_equal(out.input_count, 8);
    shape_release(&shape);

    shape_init(&shape); /* half of it */
    shape_add(&shape, 6, 0, 0, 60000, 50000);
    shape_add(&shape, 0, 1, 0, 60000, 20000);
    shape_add(&shape, 0, 2, 0, 60000, 4000);
    shape_add(&shape, 0, 3, 0, 60000, 500);
    shape_add(&shape, 0, 4, 0, 60000, 499);
    assert_false(pick(&shape, &leveled, &out));
    shape_add(&shape, 0, 5, 0, 60000, 1);
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 6);
    shape_release(&shape);

    shape_init(&shape); /* deletes do not wait */
    shape_add(&shape, 6, 0, 0, 60000, 50000);
    for (uint64_t run = 1; run <= 2; run++)
        shape_add(&shape, 0, run, 0, 900, run)->meta.range_count = 1;
    assert_true(pick(&shape, &leveled, &out));
    assert_int_equal(out.level, 6);
    shape_release(&shape);
}

static void test_policy__a_running_job_keeps_others_from_its_keys(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    for (uint64_t run = 1; run <= 4; run++)
        shape_add(&shape, 0, run, 0, 900, 1500);
    uint8_t low[8], end[8];
    struct compaction_span span = {
        .first_level = 5, .level = 6, .low = key_of(low, 899), .end = key_of(end, 2000)
    };
    struct policy_input input = {
        .version = &shape.version, .options = &leveled, .spans = &span, .span_count = 1
    };
    struct pick out;
    assert_true(policy_pick(&input, &out));
    assert_int_equal(out.level, 0);
    key_of(low, 900);
    assert_true(policy_pick(&input, &out));
    assert_int_equal(out.level, 6);
    shape_release(&shape);
}

static void test_policy__a_flush_goes_straight_down_only_where_it_meets_nothing(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    uint8_t low[8], end[8];
    struct policy_input input = { .version = &shape.version, .options = &leveled };
    sombra_slice from = key_of(low, 100), to = key_of(end, 200);
    assert_int_equal(policy_flush_level(&input, from, to, 2000), 6);
    assert_int_equal(policy_flush_level(&input, from, to, 100), 0); /* small */
    shape_add(&shape, 6, 0, 0, 100, 1000);
    shape_add(&shape, 0, 1, 200, 300, 1000);
    assert_int_equal(policy_flush_level(&input, from, to, 2000), 6);
    shape_add(&shape, 0, 2, 199, 300, 1000);
    assert_int_equal(policy_flush_level(&input, from, to, 2000), 0);
    shape_release(&shape);
    shape_init(&shape);
    struct compaction_span span = { .first_level = 0, .level = 6, .low = from, .end = to };
    input.spans = &span;
    input.span_count = 1;
    assert_int_equal(policy_flush_level(&input, from, to, 2000), 0);
}

static void test_policy__tiers_of_like_size_merge_and_all_of_them_when_space_is_lost(void **state)
{
    (void)state;
    struct lsm_options options = leveled;
    options.style = LSM_TIERED;
    struct shape shape;
    shape_init(&shape);
    struct pick out;
    shape_add(&shape, 0, 1, 0, 900, 90000);
    shape_add(&shape, 0, 2, 0, 900, 9000);
    shape_add(&shape, 0, 3, 0, 900, 1000);
    assert_false(pick(&shape, &options, &out));
    shape_add(&shape, 0, 4, 0, 900, 1000);
    assert_true(pick(&shape, &options, &out));
    assert_int_equal(out.input_count, 2);
    assert_int_equal(out.level, 0);
    assert_int_equal(out.run, 4);
    shape_add(&shape, 0, 5, 0, 900, 80000);
    assert_true(pick(&shape, &options, &out));
    assert_int_equal(out.input_count, 5);
    assert_int_equal(out.run, 5);
    shape_release(&shape);
}

static void test_policy__compact_all_takes_what_was_there(void **state)
{
    (void)state;
    struct shape shape;
    shape_init(&shape);
    struct pick out;
    shape_add(&shape, 6, 0, 0, 900, 1000);
    assert_false(policy_pick_all(&shape.version, UINT64_MAX, &out));
    shape_add(&shape, 5, 0, 0, 900, 1000);
    shape_add(&shape, 0, 7, 0, 900, 1000);
    shape_add(&shape, 0, 8, 0, 900, 1000);
    assert_true(policy_pick_all(&shape.version, 7, &out));
    assert_int_equal(out.input_count, 3);
    assert_int_equal(out.level, 6);
    shape_release(&shape);
}

/* ---- random histories ---------------------------------------------------------------------- */

struct sim_job {
    bool is_running;
    struct pick pick;
    struct version_table *tables[TABLES_MAX];
    size_t count;
    struct compaction_span span;
    uint8_t low[8], end[8];
};
struct sim {
    struct shape shape;
    struct lsm_options options;
    struct random random;
    struct sim_job jobs[JOBS_MAX];
    uint64_t next_run;
};

static bool is_input(const struct sim_job *job, const struct version_table *table)
{
    for (size_t i = 0; i < job->count; i++)
        if (job->tables[i] == table)
            return true;
    return false;
}

/* No input passes a table that stays, has keys of it and is older: that would become the newer. */
static void check_ages(const struct sim *sim, const struct sim_job *job)
{
    const struct version *version = &sim->shape.version;
    const struct pick *out = &job->pick;
    for (size_t n = 0; n < out->input_count; n++) {
        const struct compaction_input *in = &out->inputs[n];
        size_t last = out->inputs[out->input_count - 1].run;
        for (size_t i = in->run + 1; i < version->count; i++) {
            const struct version_run *run = &version->runs[i];
            if (i > last && (run->level > out->level || out->level == 0))
                break;
            for (size_t j = 0; j < run->count; j++)
                for (size_t k = in->first; k < in->first + in->count; k++) {
                    const struct table_meta *stays = &run->tables[j]->meta,
                                            *goes = &version->runs[in->run].tables[k]->meta;
                    if (!is_input(job, run->tables[j]))
                        assert_true(slice_compare(stays->end, goes->low) <= 0 ||
                                    slice_compare(goes->end, stays->low) <= 0);
                }
        }
    }
    if (out->level == 0 || sim->options.style == LSM_TIERED)
        assert_true(out->run == version->runs[out->inputs[0].run].number);
    else
        assert_true(out->level >= version->runs[out->inputs[out->input_count - 1].run].level);
}

static bool sim_start(struct sim *sim)
{
    struct compaction_span spans[JOBS_MAX];
    struct sim_job *job = NULL;
    size_t count = 0;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (sim->jobs[i].is_running)
            spans[count++] = sim->jobs[i].span;
        else
            job = &sim->jobs[i];
    }
    if (!job)
        return false;
    struct policy_input input = { .version = &sim->shape.version,
                                  .options = &sim->options,
                                  .spans = spans,
                                  .span_count = count };
    if (!policy_pick(&input, &job->pick))
        return false;
    job->is_running = true;
    job->count = 0;
    for (size_t i = 0; i < job->pick.input_count; i++) {
        const struct compaction_input *in = &job->pick.inputs[i];
        for (size_t j = in->first; j < in->first + in->count; j++) {
            struct version_table *table = sim->shape.runs[in->run].tables[j];
            assert_false(atomic_load(&table->is_compacting));
            atomic_store(&table->is_compacting, true);
            job->tables[job->count++] = table;
        }
    }
    assert_true(job->count == tables_of(&job->pick));
    check_ages(sim, job);
    job->span =
        (struct compaction_span){ .first_level = sim->shape.runs[job->pick.inputs[0].run].level,
                                  .level = job->pick.level,
                                  .low = key_of(job->low, number_of(job->pick.low)),
                                  .end = key_of(job->end, number_of(job->pick.end)) };
    job->pick.low = job->span.low;
    job->pick.end = job->span.end;
    return true;
}

/* run_put checks that outputs overlap nothing. */
static void sim_finish(struct sim *sim, struct sim_job *job)
{
    const struct pick *out = &job->pick;
    struct shape *shape = &sim->shape;
    job->is_running = false;
    for (size_t i = 0; i < job->count; i++)
        shape_remove(shape, job->tables[i]);
    for (size_t i = 0; i < job->count; i++) {
        if (out->is_move) {
            atomic_store(&job->tables[i]->is_compacting, false);
            run_put(shape_run(shape, out->level, out->run), job->tables[i]);
        } else {
            free(container_of(job->tables[i], struct shape_table, table));
        }
    }
    uint64_t low = number_of(out->low), width = number_of(out->end) - low;
    uint64_t parts = u64_min(out->bytes / sim->options.table_bytes + 1, width);
    for (uint64_t i = 0; !out->is_move && i < parts; i++)
        shape_add(shape, out->level, out->run, low + width * i / parts,
                  low + width * (i + 1) / parts, out->bytes / parts + 1);
}

static void sim_flush(struct sim *sim)
{
    uint64_t width = 1 + random_below(&sim->random, random_below(&sim->random, 8) ? 99999 : 50);
    uint64_t low = random_below(&sim->random, 100001 - width);
    uint64_t bytes = 1 + random_below(&sim->random, sim->options.memtable_bytes);
    struct compaction_span spans[JOBS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (sim->jobs[i].is_running)
            spans[count++] = sim->jobs[i].span;
    struct policy_input input = { .version = &sim->shape.version,
                                  .options = &sim->options,
                                  .spans = spans,
                                  .span_count = count };
    uint8_t low_key[8], end_key[8];
    unsigned level =
        policy_flush_level(&input, key_of(low_key, low), key_of(end_key, low + width), bytes);
    struct version_table *table =
        shape_add(&sim->shape, level, level ? 0 : sim->next_run++, low, low + width, bytes);
    table->meta.deletes = random_below(&sim->random, 4) ? 0 : bytes;
    table->meta.range_count = random_below(&sim->random, 10) ? 0 : 1;
}

static void sim_run(uint64_t seed, enum lsm_compaction_style style)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    assert_non_null(sim);
    shape_init(&sim->shape);
    random_seed(&sim->random, seed);
    sim->options = leveled;
    sim->options.style = style;
    sim->options.level_ratio = 2 + (unsigned)random_below(&sim->random, 9);
    sim->options.level0_compact = 1 + (unsigned)random_below(&sim->random, 6);
    sim->next_run = 1;
    unsigned steps = 200 + (unsigned)random_below(&sim->random, 400);
    for (unsigned i = 0; i < steps; i++) {
        struct sim_job *job = &sim->jobs[random_below(&sim->random, JOBS_MAX)];
        uint64_t choice = random_below(&sim->random, 4);
        if (choice == 0 && sim->shape.version.count < RUNS_MAX - 10)
            sim_flush(sim);
        else if (choice == 1 && job->is_running)
            sim_finish(sim, job);
        else
            (void)sim_start(sim);
    }
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (sim->jobs[i].is_running)
            sim_finish(sim, &sim->jobs[i]);
    unsigned picks = 0;
    while (sim_start(sim)) {
        assert_true(++picks < 20000); /* ends */
        for (size_t i = 0; i < JOBS_MAX; i++)
            if (sim->jobs[i].is_running)
                sim_finish(sim, &sim->jobs[i]);
    }
    struct policy_levels levels;
    policy_levels(&sim->shape.version, &sim->options, &levels);
    /* Few runs over much more data wait for others. */
    assert_true(levels.runs <=
                size_max(size_max(sim->options.level0_compact, 2), sim->options.level0_slow / 2));
    if (style == LSM_LEVELED)
        for (unsigned level = 1; level < LSM_LEVELS; level++)
            assert_true(levels.bytes[level] <= levels.target[level]);
    shape_release(&sim->shape);
    free(sim);
}

static void test_policy__random_histories_keep_the_order_of_ages_and_come_to_rest(void **state)
{
    (void)state;
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20261121;
    print_message("SOMBRA_SEED=%llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 60; i++) {
        sim_run(seed + i, LSM_LEVELED);
        sim_run(seed + i, LSM_TIERED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy__an_empty_store_has_nothing_to_do),
        cmocka_unit_test(test_policy__three_runs_wait_and_four_go_to_the_last_level),
        cmocka_unit_test(test_policy__the_oldest_run_moves_down_where_it_meets_nothing),
        cmocka_unit_test(test_policy__level_0_takes_what_it_overlaps_and_no_more),
        cmocka_unit_test(test_policy__targets_follow_the_last_level),
        cmocka_unit_test(test_policy__the_table_with_the_least_below_goes_down),
        cmocka_unit_test(test_policy__tables_over_a_gap_are_moved_unless_a_delete_would_end),
        cmocka_unit_test(test_policy__tables_full_of_deletes_go_down_before_their_level_is_full),
        cmocka_unit_test(test_policy__level_0_merges_within_itself_while_the_way_down_is_taken),
        cmocka_unit_test(test_policy__small_runs_over_much_data_stay_in_level_0),
        cmocka_unit_test(test_policy__runs_over_much_data_merge_in_tiers),
        cmocka_unit_test(test_policy__a_running_job_keeps_others_from_its_keys),
        cmocka_unit_test(test_policy__a_flush_goes_straight_down_only_where_it_meets_nothing),
        cmocka_unit_test(test_policy__tiers_of_like_size_merge_and_all_of_them_when_space_is_lost),
        cmocka_unit_test(test_policy__compact_all_takes_what_was_there),
        cmocka_unit_test(test_policy__random_histories_keep_the_order_of_ages_and_come_to_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
