/* SPDX-License-Identifier: MIT */
/* Versions, edits, the table cache and sources of runs, on fake tables. */
#include "lsm_fake_table.h"

#include <stdio.h>

struct rig {
    struct table_cache *cache;
    struct random random;
};

static int set_up_open(void **state, unsigned open_max)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct table_context context = { .os = NULL };
    assert_non_null(rig);
    mem_test_fail_at(0, false);
    fake_open_limit = UINT64_MAX;
    fake_dropped = 0;
    assert_ok(table_cache_new(&context, "/store", open_max, &rig->cache));
    random_seed(&rig->random, fake_seed());
    *state = rig;
    return 0;
}

static int set_up(void **state)
{
    return set_up_open(state, 8);
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(table_cache_open_count(rig->cache), 0);
    assert_int_equal(table_cache_memory_bytes(rig->cache), 0);
    table_cache_free(rig->cache);
    fake_forget_all();
    assert_int_equal(fake_open_now, 0);
    assert_int_equal(mem_test_live(), 0);
    free(rig);
    return 0;
}

/* ---- edits against a model ----------------------------------------------------------------- */

enum { MODEL_MAX = 64, KEYS = 1000, CHANGES_MAX = 8 };

struct model_table {
    unsigned level;
    uint64_t run, number;
    struct fake_key low, end;
};
struct model {
    struct model_table tables[MODEL_MAX];
    size_t count;
    uint64_t next_number, next_run;
};

/* An edit and the memory of its keys. */
struct draft {
    struct edit edit;
    struct edit_table added[CHANGES_MAX];
    uint64_t removed[CHANGES_MAX];
    struct model model; /* after it */
};

static bool fits(const struct model *model, const struct model_table *table)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_table *other = &model->tables[i];
        if (other->level == table->level && other->run == table->run &&
            memcmp(&other->low, &table->end, 4) < 0 && memcmp(&table->low, &other->end, 4) < 0)
            return false;
    }
    return true;
}

static void draft_add(struct draft *draft, const struct model_table *table)
{
    struct model *model = &draft->model;
    if (model->count == MODEL_MAX || draft->edit.added_count == CHANGES_MAX || !fits(model, table))
        return;
    struct model_table *kept = &model->tables[model->count++];
    *kept = *table;
    draft->edit.added_count++;
}

/* The keys lie in the model, which must have its final place by now. */
static void draft_finish(struct draft *draft)
{
    struct model *model = &draft->model;
    for (size_t i = 0; i < draft->edit.added_count; i++) {
        const struct model_table *table =
            &model->tables[model->count - draft->edit.added_count + i];
        draft->added[i] =
            fake_table(table->level, table->run, table->number, &table->low, &table->end);
    }
    draft->edit.added = draft->added;
    draft->edit.removed = draft->removed;
}

static void draft_make(struct draft *draft, const struct model *model, struct random *random)
{
    memset(&draft->edit, 0, sizeof draft->edit);
    draft->model = *model;
    size_t removals = (size_t)random_below(random, 4);
    struct model_table moved[CHANGES_MAX];
    size_t moved_count = 0;
    for (size_t i = 0; i < removals && draft->model.count > 0; i++) {
        size_t at = (size_t)random_below(random, draft->model.count);
        draft->removed[draft->edit.removed_count++] = draft->model.tables[at].number;
        moved[moved_count++] = draft->model.tables[at];
        draft->model.tables[at] = draft->model.tables[--draft->model.count];
    }
    for (size_t i = 0; i < moved_count; i++) {
        if (random_below(random, 2))
            continue;
        moved[i].level = 1 + (unsigned)random_below(random, LSM_LEVELS - 1);
        moved[i].run = 0;
        draft_add(draft, &moved[i]);
    }
    uint64_t run = draft->model.next_run++;
    unsigned level = (unsigned)random_below(random, 4);
    for (uint64_t i = random_below(random, 5); i > 0; i--) {
        uint32_t low = (uint32_t)random_below(random, KEYS);
        struct model_table table = { .level = level,
                                     .run = level ? 0 : run,
                                     .number = draft->model.next_number++,
                                     .low = fake_key_of(low),
                                     .end = fake_key_of(low + 1 +
                                                        (uint32_t)random_below(random, 50)) };
        draft_add(draft, &table);
    }
    draft_finish(draft);
}

static void expect_model(const struct version *version, const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        uint64_t bytes = 0;
        assert_true(run->count > 0);
        if (i > 0) {
            const struct version_run *newer = &version->runs[i - 1];
            assert_true(newer->level < run->level ||
                        (newer->level == 0 && run->level == 0 && newer->number > run->number));
        }
        for (size_t k = 0; k < run->count; k++) {
            const struct table_meta *meta = &run->tables[k]->meta;
            const struct model_table *table = NULL;
            for (size_t m = 0; m < model->count; m++)
                if (model->tables[m].number == meta->number)
                    table = &model->tables[m];
            assert_non_null(table);
            assert_int_equal(table->level, run->level);
            assert_int_equal(table->run, run->number);
            assert_true(slice_equal(meta->low, fake_slice(&table->low)));
            assert_true(slice_equal(meta->end, fake_slice(&table->end)));
            assert_true(k == 0 || slice_compare(run->tables[k - 1]->meta.end, meta->low) <= 0);
            bytes += meta->file_bytes;
            count++;
        }
        assert_int_equal(bytes, run->bytes);
    }
    assert_int_equal(count, model->count);
}

static void expect_find(const struct version *version, uint32_t value)
{
    struct fake_key key = fake_key_of(value);
    for (size_t i = 0; i < version->count; i++) {
        const struct version_run *run = &version->runs[i];
        size_t expected = 0;
        while (expected < run->count &&
               slice_compare(run->tables[expected]->meta.end, fake_slice(&key)) <= 0)
            expected++;
        assert_int_equal(version_run_find(run, fake_slice(&key)), expected);
    }
}

/* One thing wrong with a sound edit. False where this edit cannot have it. */
static bool spoil(struct draft *draft, const struct model *before, unsigned kind,
                  struct fake_key *spare)
{
    struct edit *edit = &draft->edit;
    struct edit_table *last = edit->added_count ? &edit->added[edit->added_count - 1] : NULL;
    switch (kind) {
    case 0: /* removes what is not there */
        if (edit->removed_count == CHANGES_MAX)
            return false;
        edit->removed[edit->removed_count++] = before->next_number + 1000;
        return true;
    case 1: /* removes twice */
        if (edit->removed_count == 0)
            return false;
        edit->removed[edit->removed_count] = edit->removed[0];
        edit->removed_count++;
        return true;
    case 2: /* adds twice */
        if (!last || edit->added_count == CHANGES_MAX)
            return false;
        edit->added[edit->added_count] = *last;
        edit->added[edit->added_count++].level = LSM_LEVELS - 1 - last->level % 2;
        return true;
    case 3:
        if (last)
            last->level = LSM_LEVELS;
        return last != NULL;
    case 4:
        if (last) {
            last->level = 2;
            last->run = 1;
        }
        return last != NULL;
    case 5:
        if (last)
            last->meta.end = last->meta.low;
        return last != NULL;
    case 6:
        if (last)
            last->meta.number = 0;
        return last != NULL;
    case 7:
        if (last)
            last->meta.deletes = last->meta.entries + 1;
        return last != NULL;
    case 8: /* overlaps */
        if (!last || edit->added_count == CHANGES_MAX)
            return false;
        *spare = fake_key_of(KEYS * 2);
        edit->added[edit->added_count] = *last;
        edit->added[edit->added_count].meta.number = before->next_number + 1000;
        edit->added[edit->added_count++].meta.end = fake_slice(spare);
        return true;
    case 9: /* is there already */
        if (!last || before->count == 0)
            return false;
        for (size_t i = 0; i < edit->removed_count; i++)
            if (edit->removed[i] == before->tables[0].number)
                return false;
        last->meta.number = before->tables[0].number;
        return true;
    default: /* moves, and is another */
        if (!last || edit->removed_count == 0 || last->meta.number == edit->removed[0])
            return false;
        for (size_t i = 0; i < edit->added_count; i++)
            if (edit->added[i].meta.number == edit->removed[0])
                return false;
        last->meta.number = edit->removed[0];
        last->meta.seq_max++;
        return true;
    }
}
enum { SPOILS = 11 };

static void test_version__random_edits_do_what_a_model_does(void **state)
{
    struct rig *rig = *state;
    struct model model = { .next_number = 1, .next_run = 1 };
    static struct draft draft;
    struct version *version;
    assert_ok(version_empty(rig->cache, 5, &version));
    for (uint64_t i = 0; i < 3000; i++) {
        struct version *next;
        draft_make(&draft, &model, &rig->random);
        assert_ok(version_apply(version, rig->cache, &draft.edit, &next));
        expect_model(version, &model); /* the old one is as it was */
        expect_model(next, &draft.model);
        assert_int_equal(next->number, 5 + i + 1);
        expect_find(next, (uint32_t)random_below(&rig->random, KEYS + 60));
        version_unref(version);
        version = next;
        model = draft.model;
    }
    version_unref(version);
}

static void test_version__contradicting_edit_is_corrupt_and_changes_nothing(void **state)
{
    struct rig *rig = *state;
    struct model model = { .next_number = 1, .next_run = 1 };
    static struct draft draft;
    struct version *version;
    uint64_t refused[SPOILS] = { 0 };
    assert_ok(version_empty(rig->cache, 1, &version));
    for (uint64_t i = 0; i < 3000; i++) {
        struct version *next = NULL;
        struct fake_key spare;
        unsigned kind = (unsigned)(i % SPOILS);
        draft_make(&draft, &model, &rig->random);
        if (spoil(&draft, &model, kind, &spare)) {
            uint64_t live = mem_test_live();
            if (version_apply(version, rig->cache, &draft.edit, &next) != SOMBRA_CORRUPT)
                fail_msg("spoiled edit %u is taken", kind);
            assert_int_equal(mem_test_live(), live);
            expect_model(version, &model);
            refused[kind]++;
        } else {
            assert_ok(version_apply(version, rig->cache, &draft.edit, &next));
            version_unref(version);
            version = next;
            model = draft.model;
        }
        draft_make(&draft, &model, &rig->random);
        assert_ok(version_apply(version, rig->cache, &draft.edit, &next));
        version_unref(version);
        version = next;
        model = draft.model;
    }
    for (unsigned kind = 0; kind < SPOILS; kind++)
        if (refused[kind] == 0)
            fail_msg("edit %u never happened", kind);
    version_unref(version);
}

static void test_version__out_of_memory_changes_nothing(void **state)
{
    struct rig *rig = *state;
    struct model model = { .next_number = 1, .next_run = 1 };
    static struct draft draft;
    struct version *version, *next = NULL;
    assert_ok(version_empty(rig->cache, 1, &version));
    while (draft.edit.added_count < 3)
        draft_make(&draft, &model, &rig->random);
    sombra_err err = SOMBRA_NOMEM;
    uint64_t live = mem_test_live(), nth;
    for (nth = 1; err == SOMBRA_NOMEM; nth++) {
        mem_test_fail_at(nth, false);
        err = version_apply(version, rig->cache, &draft.edit, &next);
        mem_test_fail_at(0, false);
        assert_true(err == SOMBRA_OK || mem_test_live() == live);
    }
    assert_ok(err);
    assert_true(nth > 4);
    expect_model(next, &draft.model);
    version_unref(next);
    version_unref(version);
}

static void test_version__levels_add_up(void **state)
{
    struct rig *rig = *state;
    struct fake_key a = fake_key_of(1), b = fake_key_of(2), c = fake_key_of(3);
    struct edit_table added[] = { fake_table(0, 1, 1, &a, &b), fake_table(0, 2, 2, &a, &c),
                                  fake_table(3, 0, 3, &a, &b), fake_table(3, 0, 4, &b, &c) };
    struct edit edit = { .added = added, .added_count = COUNT_OF(added) };
    struct kv_level_stats level[KV_LEVELS_MAX];
    struct version *empty, *version;
    assert_ok(version_empty(rig->cache, 1, &empty));
    assert_ok(version_apply(empty, rig->cache, &edit, &version));
    version_levels(version, level);
    assert_int_equal(level[0].runs, 2);
    assert_int_equal(level[0].tables, 2);
    assert_int_equal(level[3].runs, 1);
    assert_int_equal(level[3].tables, 2);
    assert_int_equal(level[3].bytes, 103 + 104);
    assert_int_equal(level[3].entries, 13 + 14);
    assert_int_equal(level[3].deletes, 3 + 4);
    assert_int_equal(level[1].tables, 0);
    version_unref(empty);
    version_unref(version);
}

/* ---- the end of tables --------------------------------------------------------------------- */

struct told {
    uint64_t number, since, count;
};

static void tell(void *context, const struct version_table *table)
{
    struct told *told = context;
    *told = (struct told){ .number = table->meta.number,
                           .since = table->obsolete_since,
                           .count = told->count + 1 };
}

static void test_version__obsolete_table_is_told_when_its_last_version_goes(void **state)
{
    struct rig *rig = *state;
    struct told told = { .count = 0 };
    struct fake_key a = fake_key_of(1), b = fake_key_of(2), c = fake_key_of(3);
    struct edit_table added[] = { fake_table(0, 1, 1, &a, &b), fake_table(0, 1, 2, &b, &c) };
    uint64_t number = 2;
    struct edit first = { .added = added, .added_count = 2 };
    struct edit second = { .removed = &number, .removed_count = 1 };
    struct version *empty, *full, *less;
    struct version_table *table = NULL;
    unsigned level = 9;
    table_cache_on_obsolete(rig->cache, tell, &told);
    assert_ok(version_empty(rig->cache, 1, &empty));
    assert_ok(version_apply(empty, rig->cache, &first, &full));
    assert_ok(version_apply(full, rig->cache, &second, &less));
    assert_true(version_find(full, 2, &table, &level));
    assert_int_equal(level, 0);
    assert_false(version_find(less, 2, NULL, NULL));
    table->obsolete_since = less->number;
    atomic_store(&table->is_obsolete, true);
    version_ref(full);
    version_unref(full);
    assert_int_equal(told.count, 0);
    version_unref(full);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.number, 2);
    assert_int_equal(told.since, less->number);
    version_unref(less); /* table 1 closes and stays */
    version_unref(empty);
    assert_int_equal(told.count, 1);
    assert_int_equal(fake_dropped, 1);
}

static void test_version__moved_table_stays_the_same_and_open(void **state)
{
    struct rig *rig = *state;
    struct fake_key a = fake_key_of(1), b = fake_key_of(2);
    struct edit_table low = fake_table(0, 1, 1, &a, &b), high = fake_table(1, 0, 1, &a, &b);
    uint64_t number = 1;
    struct edit first = { .added = &low, .added_count = 1 };
    struct edit second = {
        .added = &high, .added_count = 1, .removed = &number, .removed_count = 1
    };
    struct version *empty, *before, *after;
    struct table *open;
    assert_ok(version_empty(rig->cache, 1, &empty));
    assert_ok(version_apply(empty, rig->cache, &first, &before));
    assert_ok(version_apply(before, rig->cache, &second, &after));
    assert_ptr_equal(before->runs[0].tables[0], after->runs[0].tables[0]);
    assert_int_equal(after->runs[0].level, 1);
    assert_ok(version_table_open(before->runs[0].tables[0], &open));
    table_unref(open);
    version_unref(before);
    version_unref(empty);
    assert_int_equal(fake_open_now, 1);
    version_unref(after);
}

/* ---- the table cache ----------------------------------------------------------------------- */

/* A run of `count` tables, [10 i, 10 i + 10) of level 1. */
static struct version *make_run(struct rig *rig, size_t count, const bool *has_ranges)
{
    struct edit_table *added = calloc(count, sizeof *added);
    struct fake_key *keys = calloc(count + 1, sizeof *keys);
    struct version *empty, *version;
    for (size_t i = 0; i <= count; i++)
        keys[i] = fake_key_of((uint32_t)i * 10);
    for (size_t i = 0; i < count; i++) {
        added[i] = fake_table(1, 0, i + 1, &keys[i], &keys[i + 1]);
        added[i].meta.range_count = has_ranges && has_ranges[i];
    }
    struct edit edit = { .added = added, .added_count = count };
    assert_ok(version_empty(rig->cache, 1, &empty));
    assert_ok(version_apply(empty, rig->cache, &edit, &version));
    version_unref(empty);
    free(added);
    free(keys);
    return version;
}

static void test_table_cache__holds_so_many_open_and_no_more(void **state)
{
    struct rig *rig = *state;
    struct version *version = make_run(rig, 50, NULL);
    uint64_t total = fake_open_total;
    for (int i = 0; i < 2000; i++) {
        struct table *table;
        assert_ok(
            version_table_open(version->runs[0].tables[random_below(&rig->random, 50)], &table));
        table_unref(table);
        assert_true(fake_open_now <= 8);
        assert_int_equal(fake_open_now, table_cache_open_count(rig->cache));
    }
    assert_true(fake_open_total - total > 100);
    for (int i = 0; i < 200; i++) {
        struct table *table;
        total = i == 100 ? fake_open_total : total;
        assert_ok(version_table_open(version->runs[0].tables[i % 8], &table));
        table_unref(table);
    }
    assert_int_equal(fake_open_total, total); /* what is in use stays */
    version_unref(version);
}

static void test_table_cache__table_in_use_outlives_its_eviction(void **state)
{
    struct rig *rig = *state;
    struct version *version = make_run(rig, 50, NULL);
    struct table *kept, *table;
    assert_ok(version_table_open(version->runs[0].tables[0], &kept));
    for (size_t i = 1; i < 50; i++) {
        assert_ok(version_table_open(version->runs[0].tables[i], &table));
        table_unref(table);
    }
    version_unref(version);
    assert_int_equal(fake_open_now, 1);
    assert_int_equal(table_memory_bytes(kept), FAKE_MEMORY_BYTES + 1);
    table_unref(kept);
}

static void test_table_cache__gives_files_up_where_the_machine_has_fewer(void **state)
{
    struct rig *rig = *state;
    struct version *version = make_run(rig, 50, NULL);
    struct table *table;
    fake_open_limit = 3;
    for (size_t i = 0; i < 50; i++) {
        assert_ok(version_table_open(version->runs[0].tables[i], &table));
        table_unref(table);
    }
    fake_open_limit = 0;
    assert_fails(SOMBRA_LIMIT, version_table_open(version->runs[0].tables[0], &table));
    fake_open_limit = UINT64_MAX;
    fake_open_fail_at = 1;
    assert_fails(SOMBRA_IO, version_table_open(version->runs[0].tables[0], &table));
    assert_non_null(strstr(diag_text(), "open table 000001"));
    version_unref(version);
}

struct worker {
    struct os_thread thread;
    struct version *version;
    uint64_t seed;
};

static void *open_and_close(void *argument)
{
    struct worker *worker = argument;
    struct random random;
    random_seed(&random, worker->seed);
    for (int i = 0; i < 20000; i++) {
        struct table *table;
        uint64_t at = random_below(&random, i % 2 ? 2 : 6);
        if (version_table_open(worker->version->runs[0].tables[at], &table) != SOMBRA_OK)
            abort();
        if (table_memory_bytes(table) != FAKE_MEMORY_BYTES + at + 1)
            abort();
        table_unref(table);
    }
    return NULL;
}

static int set_up_two(void **state)
{
    return set_up_open(state, 2);
}

static void test_table_cache__threads_open_while_others_evict(void **state)
{
    struct rig *rig = *state;
    struct version *version = make_run(rig, 6, NULL);
    struct worker workers[4];
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){ .version = version, .seed = random_u64(&rig->random) };
        assert_ok(os_thread_start(&workers[i].thread, open_and_close, &workers[i]));
    }
    for (size_t i = 0; i < COUNT_OF(workers); i++)
        os_thread_join(&workers[i].thread);
    assert_true(fake_open_now <= 2);
    version_unref(version);
}

/* ---- sources of runs ----------------------------------------------------------------------- */

enum { RUN_TABLES = 20 };

struct run_model {
    struct fake_key keys[RUN_TABLES * 10];
    size_t count;
    bool hides[RUN_TABLES * 10 + 10]; /* by key */
};

/* Tables with entries, with ranges, with both, with neither near a key. */
static struct version *make_filled(struct rig *rig, struct run_model *model)
{
    bool has_ranges[RUN_TABLES];
    memset(model, 0, sizeof *model);
    for (size_t i = 0; i < RUN_TABLES; i++) {
        struct fake_file file = { .keys = calloc(10, sizeof *file.keys),
                                  .ranges = calloc(2, sizeof *file.ranges) };
        uint64_t density = random_below(&rig->random, 3);
        for (uint32_t k = 0; k < 10; k++)
            if (random_below(&rig->random, 2) < density) {
                struct fake_key key = fake_key_of((uint32_t)i * 10 + k);
                file.keys[file.count++] = key;
                model->keys[model->count++] = key;
            }
        has_ranges[i] = random_below(&rig->random, 3) == 0;
        if (has_ranges[i]) {
            uint32_t low = (uint32_t)(i * 10 + random_below(&rig->random, 9));
            uint32_t end = low + 1 + (uint32_t)random_below(&rig->random, (i + 1) * 10 - low);
            file.range_count = 1;
            file.ranges[0] = fake_key_of(low);
            file.ranges[1] = fake_key_of(end);
            for (uint32_t k = low; k < end; k++)
                model->hides[k] = true;
        }
        fake_file_put(i + 1, file);
    }
    return make_run(rig, RUN_TABLES, has_ranges);
}

static void expect_at(const struct source *source, const struct run_model *model, size_t at)
{
    assert_int_equal(source->is_valid, at < model->count);
    if (source->is_valid)
        assert_true(slice_equal(source->entry.key, fake_slice(&model->keys[at])));
}

static void read_some(struct source *source, const struct run_model *model, size_t *at,
                      struct random *random)
{
    struct lsm_entry entries[6];
    size_t count = 99;
    struct fake_key key = fake_key_of((uint32_t)random_below(random, RUN_TABLES * 10));
    sombra_slice before = random_below(random, 2) ? fake_slice(&key) : slice_of("", 0);
    size_t capacity = 1 + (size_t)random_below(random, COUNT_OF(entries));
    bool may = before.bytes == 0 || slice_compare(fake_slice(&model->keys[*at]), before) < 0;
    assert_ok(source->ops->read(source, before, entries, capacity, &count));
    assert_true(count <= capacity && (count > 0) == may);
    for (size_t i = 0; i < count; i++) {
        assert_true(slice_equal(entries[i].key, fake_slice(&model->keys[*at + i])));
        assert_true(before.bytes == 0 || slice_compare(entries[i].key, before) < 0);
    }
    *at += count;
}

static void step(struct source *source, const struct run_model *model, size_t *at,
                 struct random *random)
{
    struct fake_key key = fake_key_of((uint32_t)random_below(random, RUN_TABLES * 10 + 5));
    sombra_slice wanted = random_below(random, 8) ? fake_slice(&key) : slice_of("", 0);
    uint64_t what = source->is_valid ? random_below(random, 8) : random_below(random, 2);
    size_t lower = 0;
    while (lower < model->count && slice_compare(fake_slice(&model->keys[lower]), wanted) < 0)
        lower++;
    if (what == 0) {
        assert_ok(source->ops->seek_ge(source, wanted));
        *at = lower;
    } else if (what == 1) {
        assert_ok(source->ops->seek_lt(source, wanted));
        *at = (wanted.bytes ? lower : model->count) - 1;
    } else if (what < 4) {
        assert_ok(source->ops->next(source));
        ++*at;
    } else if (what < 6) {
        assert_ok(source->ops->previous(source));
        --*at;
    } else {
        read_some(source, model, at, random);
    }
    expect_at(source, model, *at);
}

static void expect_hides(struct source *source, const struct run_model *model, uint32_t value)
{
    struct fake_key key = fake_key_of(value);
    sombra_slice low, end;
    if (!source->ops->hides)
        return;
    bool hides = source->ops->hides(source, fake_slice(&key), &low, &end);
    assert_int_equal(hides, model->hides[value]);
    if (hides) {
        assert_true(slice_compare(low, fake_slice(&key)) <= 0);
        assert_true(slice_compare(fake_slice(&key), end) < 0);
    }
}

static void test_run_source__moves_like_one_sorted_array(void **state)
{
    struct rig *rig = *state;
    static struct run_model model;
    for (int round = 0; round < 60; round++) {
        struct version *version = make_filled(rig, &model);
        struct source *source;
        size_t at = SIZE_MAX;
        assert_ok(version_run_source(&version->runs[0], true, &source));
        assert_false(source->is_valid);
        for (int i = 0; i < 300; i++) {
            step(source, &model, &at, &rig->random);
            expect_hides(source, &model, (uint32_t)random_below(&rig->random, RUN_TABLES * 10));
        }
        source_close(source);
        version_unref(version);
        fake_forget_all();
    }
}

static void test_run_source__failed_open_is_an_error_and_no_end(void **state)
{
    struct rig *rig = *state;
    static struct run_model model;
    struct version *version = make_filled(rig, &model);
    uint64_t live = mem_test_live();
    for (uint64_t nth = 1; nth < 200; nth++) {
        struct source *source = NULL;
        size_t seen = 0;
        fake_open_fail_at = nth;
        sombra_err err = version_run_source(&version->runs[0], false, &source);
        if (!err)
            err = source->ops->seek_ge(source, slice_of("", 0));
        while (!err && source->is_valid) {
            seen++;
            err = source->ops->next(source);
        }
        bool has_failed = fake_open_fail_at == 0;
        fake_open_fail_at = 0;
        source_close(source);
        assert_int_equal(err, has_failed ? SOMBRA_IO : SOMBRA_OK);
        assert_true(has_failed || seen == model.count);
    }
    version_unref(version);
    assert_true(mem_test_live() < live);
}

static void test_run_source__no_tables_give_nothing(void **state)
{
    (void)state;
    struct source *source;
    assert_ok(version_tables_source(NULL, 0, true, &source));
    assert_ok(source->ops->seek_ge(source, slice_of("", 0)));
    assert_false(source->is_valid);
    assert_ok(source->ops->seek_lt(source, slice_of("", 0)));
    assert_false(source->is_valid);
    assert_null(source->ops->hides);
    source_close(source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(version__random_edits_do_what_a_model_does),
        TEST(version__contradicting_edit_is_corrupt_and_changes_nothing),
        TEST(version__out_of_memory_changes_nothing),
        TEST(version__levels_add_up),
        TEST(version__obsolete_table_is_told_when_its_last_version_goes),
        TEST(version__moved_table_stays_the_same_and_open),
        TEST(table_cache__holds_so_many_open_and_no_more),
        TEST(table_cache__table_in_use_outlives_its_eviction),
        TEST(table_cache__gives_files_up_where_the_machine_has_fewer),
        cmocka_unit_test_setup_teardown(test_table_cache__threads_open_while_others_evict,
                                        set_up_two, tear_down),
        TEST(run_source__moves_like_one_sorted_array),
        TEST(run_source__failed_open_is_an_error_and_no_end),
        TEST(run_source__no_tables_give_nothing),
    };
    mem_test_live(); /* counting begins */
    return cmocka_run_group_tests_name("lsm_version", tests, NULL, NULL);
}
