/* SPDX-License-Identifier: MIT */
/* kv: an engine beside its peers, on the same records, in turns: btree beside LMDB, SQLite and
 * WiredTiger, lsm beside LevelDB and RocksDB.
 *
 *   kv [--lsm] [--cold] [--limited S] [--quick] [--rounds N] [--seconds S] [--operations N]
 *      [--cache MIB] [--memtable MIB] [--table MIB] [--log MIB] [--stores a,b]
 *      [--only workload,...] [--cpu] [--folder PATH] [--json FILE] [records]
 *
 * Each round runs every store once, one after the other, so that a ratio compares neighbours in
 * time. --quick is 100,000 records; the default is 1,000,000. --operations bounds those of each
 * workload that is no fill. --stores takes any, of either engine. --cold: each read workload begins
 * with its store just opened and nothing of it in the page cache. --only still runs what a workload
 * stands on. --cpu adds a table of CPU time, which neighbours on the machine disturb less.
 * --limited: one round of one store, for a process with little memory: batched writes, then reads
 * of the same store; a line ends after S seconds and says so, and nothing follows a fill that did.
 * --table and --log scale what else bounds memory: table files, btree's log between checkpoints.
 */
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS = 1000000, RECORDS_QUICK = 100000, RECORDS_MIN = 10000, ROUNDS = 5 };

struct settings {
    uint32_t count, operations;
    size_t rounds;
    double sync_seconds;
    double line_seconds;       /* 0 = not --limited */
    const char *stores, *only; /* comma-separated lists; NULL = all */
    const char *folder, *json;
    bool has_cpu;
    bool is_lsm;
    bool is_cold;
};

/* ---- rounds ------------------------------------------------------------------------------ */

static void run(const struct workload *workload, struct bench_store *store, const struct plan *plan,
                struct result *out_result)
{
    struct result result = { 0 };
    workload->run(store, plan, &result);
    if (result.sum_wanted && result.sum != result.sum_wanted)
        die("%s, %s: what it holds is not what was committed", workload->name, store->kind->name);
    *out_result = result;
}

/* Everything that was returned is the same as the first store's. */
static void sums_agree(const struct report *report, const struct line *line, size_t round)
{
    for (size_t kind = 1; kind < report->kind_count; kind++)
        if (!line->results[0][round].sum_wanted &&
            line->results[kind][round].sum != line->results[0][round].sum)
            die("%s: %s and %s returned different data", line->workload->name,
                report->kinds[0]->name, report->kinds[kind]->name);
}

/* Of a store that did not hold what the next line stands on nothing follows. */
static bool is_cut(const struct line *line)
{
    return line->rounds == 0 || line->results[0][line->rounds - 1].is_cut;
}

static size_t group_needed(const struct workload_group *group, const char *only)
{
    size_t needed = 0;
    for (size_t i = 0; i < group->count; i++)
        if (list_has(only, group->workloads[i].name))
            needed = i + 1;
    return needed;
}

/* A new store for each round and kind; `stores` are those of the last round, still open. */
static void rounds_write(const struct settings *settings, struct report *report,
                         const struct workload_group *group, size_t count, struct line *lines,
                         struct bench_store *stores)
{
    for (size_t round = 0; round < settings->rounds; round++) {
        for (size_t kind = 0; kind < report->kind_count; kind++) {
            store_open(&stores[kind], report->kinds[kind], settings->folder, group->is_durable);
            for (size_t i = 0; i < count && !(i && is_cut(&lines[i - 1])); i++) {
                run(&group->workloads[i], &stores[kind], report->plan,
                    &lines[i].results[kind][round]);
                lines[i].rounds = round + 1;
            }
            if (group->writing && round + 1 == settings->rounds)
                continue;
            store_close(&stores[kind]);
            store_delete(&stores[kind]);
        }
        if (group->has_raw) {
            raw_appends(settings->folder, report->plan->sync_seconds,
                        &report->raw.results[0][round]);
            report->raw.rounds = round + 1;
        }
        for (size_t i = 0; i < count; i++)
            sums_agree(report, &lines[i], round);
    }
}

static void rounds_read(const struct settings *settings, struct report *report, struct line *line,
                        struct bench_store *stores)
{
    for (size_t round = 0; round < settings->rounds; round++) {
        for (size_t kind = 0; kind < report->kind_count; kind++) {
            if (settings->is_cold)
                store_cool(&stores[kind], false);
            run(line->workload, &stores[kind], report->plan, &line->results[kind][round]);
        }
        line->rounds = round + 1;
        sums_agree(report, line, round);
    }
}

static void group_run(const struct settings *settings, struct report *report,
                      const struct workload_group *group)
{
    size_t needed = group_needed(group, settings->only);
    if (!needed)
        return;
    struct bench_store stores[KINDS_MAX];
    struct line *lines = calloc(needed, sizeof *lines);
    if (!lines)
        die("out of memory");
    for (size_t i = 0; i < needed; i++)
        lines[i] = (struct line){ .workload = &group->workloads[i] };
    fprintf(stderr, "kv: %s ...\n", group->workloads[0].name);
    size_t writing = group->writing ? size_min(group->writing, needed) : needed;
    rounds_write(settings, report, group, writing, lines, stores);
    if (group->writing) {
        bool goes_on = needed > writing && !is_cut(&lines[writing - 1]);
        for (size_t kind = 0; kind < report->kind_count && goes_on; kind++)
            if (report->kinds[kind]->settle)
                report->kinds[kind]->settle(stores[kind].store);
        sync();
        for (size_t i = writing; i < needed && goes_on; i++) {
            fprintf(stderr, "kv: %s ...\n", lines[i].workload->name);
            if (list_has(settings->only, lines[i].workload->name))
                rounds_read(settings, report, &lines[i], stores);
        }
        for (size_t kind = 0; kind < report->kind_count; kind++) {
            store_close(&stores[kind]);
            store_delete(&stores[kind]);
        }
    }
    for (size_t i = 0; i < needed; i++)
        if (lines[i].rounds && list_has(settings->only, lines[i].workload->name))
            report->lines[report->line_count++] = lines[i];
    free(lines);
}

/* A word of --only that is no workload would be left out in silence; the names are all said then.
 */
static void only_check(const char *only)
{
    size_t left = only ? strlen(only) + 1 : 0;
    for (size_t i = 0; only && i < workload_group_count; i++)
        for (size_t j = 0; j < workload_groups[i].count; j++)
            if (list_has(only, workload_groups[i].workloads[j].name))
                left -= strlen(workload_groups[i].workloads[j].name) + 1;
    if (left == 0)
        return;
    fprintf(stderr, "kv: workloads are");
    for (size_t i = 0; i < workload_group_count; i++)
        for (size_t j = 0; j < workload_groups[i].count; j++)
            fprintf(stderr, " %s", workload_groups[i].workloads[j].name);
    fprintf(stderr, "\n");
    die("--only %s: one of these is none, or stands twice", only);
}

/* ---- the command ------------------------------------------------------------------------- */

static const char usage[] =
    "usage: kv [--lsm] [--cold] [--limited S] [--quick] [--rounds N] [--seconds S]\n"
    "          [--operations N] [--cache MIB] [--memtable MIB] [--table MIB] [--log MIB]\n"
    "          [--stores a,b] [--only workload,...] [--cpu] [--folder PATH] [--json FILE]\n"
    "          [records >= 10000]";

static const char *value_of(char **argv, int argc, int *at)
{
    if (*at + 1 >= argc)
        die("%s needs a value\n%s", argv[*at], usage);
    return argv[++*at];
}

static size_t number_of(char **argv, int argc, int *at)
{
    return strtoul(value_of(argv, argc, at), NULL, 10);
}

static struct settings settings_read(int argc, char **argv)
{
    struct settings settings = {
        .count = RECORDS, .rounds = ROUNDS, .sync_seconds = 2, .folder = "."
    };
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--lsm") == 0)
            settings.is_lsm = true;
        else if (strcmp(word, "--cold") == 0)
            settings.is_cold = true;
        else if (strcmp(word, "--quick") == 0)
            settings.count = RECORDS_QUICK;
        else if (strcmp(word, "--cpu") == 0)
            settings.has_cpu = true;
        else if (strcmp(word, "--rounds") == 0)
            settings.rounds = number_of(argv, argc, &i);
        else if (strcmp(word, "--operations") == 0)
            settings.operations = (uint32_t)number_of(argv, argc, &i);
        else if (strcmp(word, "--cache") == 0)
            tuning.cache_bytes = number_of(argv, argc, &i) * MiB;
        else if (strcmp(word, "--memtable") == 0)
            tuning.memtable_bytes = number_of(argv, argc, &i) * MiB;
        else if (strcmp(word, "--table") == 0)
            tuning.table_bytes = number_of(argv, argc, &i) * MiB;
        else if (strcmp(word, "--log") == 0)
            tuning.log_bytes = number_of(argv, argc, &i) * MiB;
        else if (strcmp(word, "--limited") == 0)
            settings.line_seconds = strtod(value_of(argv, argc, &i), NULL);
        else if (strcmp(word, "--seconds") == 0)
            settings.sync_seconds = strtod(value_of(argv, argc, &i), NULL);
        else if (strcmp(word, "--stores") == 0)
            settings.stores = value_of(argv, argc, &i);
        else if (strcmp(word, "--only") == 0)
            settings.only = value_of(argv, argc, &i);
        else if (strcmp(word, "--folder") == 0)
            settings.folder = value_of(argv, argc, &i);
        else if (strcmp(word, "--json") == 0)
            settings.json = value_of(argv, argc, &i);
        else
            settings.count = (uint32_t)strtoul(word, NULL, 10);
    }
    if (settings.count < RECORDS_MIN || settings.rounds < 1 || settings.rounds > ROUNDS_MAX)
        die("%s", usage);
    if (settings.line_seconds > 0)
        settings.rounds = 1;
    if (!settings.operations || settings.operations > settings.count)
        settings.operations = settings.count;
    return settings;
}

int main(int argc, char **argv)
{
    /* Those of btree, then those of lsm. */
    enum { OF_BTREE = 5 };
    static const struct store_kind *const all[KINDS_MAX] = { &kind_sombra,        &kind_lmdb,
                                                             &kind_lmdb_writemap, &kind_sqlite,
                                                             &kind_wiredtiger,    &kind_lsm,
                                                             &kind_leveldb,       &kind_rocksdb };
    struct settings settings = settings_read(argc, argv);
    const struct store_kind *kinds[KINDS_MAX];
    struct report report = { .kinds = kinds };
    for (size_t i = 0; i < KINDS_MAX; i++) {
        bool is_wanted = settings.stores || settings.is_lsm == (i >= OF_BTREE);
        if (all[i] && is_wanted && list_has(settings.stores, all[i]->name))
            kinds[report.kind_count++] = all[i];
    }
    if (report.kind_count == 0) {
        fprintf(stderr, "kv: stores of this build are");
        for (size_t i = 0; i < KINDS_MAX; i++)
            fprintf(stderr, "%s%s", all[i] ? " " : "", all[i] ? all[i]->name : "");
        fprintf(stderr, "\n");
        die("--stores %s: none of these", settings.stores ? settings.stores : "(all)");
    }
    only_check(settings.only);
    if (settings.line_seconds > 0 && report.kind_count != 1)
        die("--limited is for one store a process: --stores NAME");
    size_t line_count = workload_group_limited.count;
    for (size_t i = 0; i < workload_group_count; i++)
        line_count += workload_groups[i].count;
    report.lines = calloc(line_count, sizeof *report.lines);
    if (!report.lines)
        die("out of memory");
    data_init();
    struct plan plan;
    plan_init(&plan, settings.count, settings.operations, settings.sync_seconds);
    plan.line_seconds = settings.line_seconds;
    report.plan = &plan;
    if (plan.line_seconds > 0)
        group_run(&settings, &report, &workload_group_limited);
    for (size_t i = 0; i < workload_group_count && !(plan.line_seconds > 0); i++)
        group_run(&settings, &report, &workload_groups[i]);
    report_table(&report);
    if (settings.has_cpu)
        report_cpu_table(&report);
    report_settings(&report);
    if (settings.json)
        report_json(&report, settings.json);
    plan_release(&plan);
    free(report.lines);
    return 0;
}
