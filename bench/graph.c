/* SPDX-License-Identifier: MIT */
/* graph: sombra beside SQLite as a graph store, on the same CSV files, in turns.
 *
 *   graph [--engine btree|lsm] [--edges N | --snap EDGELIST] [--rounds N] [--only line,...]
 *         [--folder PATH] [--data FOLDER] [--json FILE] [--make]
 *
 * The graph is an R-MAT of 1,000,000 edges and a tenth of that of nodes, with a fixed seed, or that
 * of an edge list. Each round loads every store anew, then runs line after line, every store in
 * turn, so that a ratio compares neighbours in time. The CSV files and cases are written to --data,
 * by default to --folder; --make only does that.
 */
#include "graph.h"

#include <assert.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DURABLE_MAX = 200,
    BULK = 100000,
    CODE_READS = 10000,
    READERS = 128,
    READER_READS = 1000,
    RECORD_BYTES = 200
};

/* What the cases of a line return, all together, for the two graphs of docs/benchmarks.md; 0 = no
 * sum is known. */
struct line_info {
    const char *name;
    const char *unit;
    size_t count_max;
    uint64_t snap_sum, rmat_sum;
};

static const struct line_info line_infos[LINES] = {
    [LINE_LOAD] = { "load", "loads/s", 0, 0, 0 },
    [LINE_FILE] = { "file", "bytes", 0, 0, 0 },
    [LINE_MEMORY] = { "memory of reads", "bytes", 0, 0, 0 },
    [LINE_LOOKUP] = { "lookup", "/s", 10000, 491168, 489038 },
    [LINE_HOP1] = { "hop1", "/s", 2000, 22903, 34577 },
    [LINE_HOP1_IDS] = { "hop1, property id", "/s", 2000, 22903, 34577 },
    [LINE_HOP2] = { "hop2", "/s", 300, 347750, 861983 },
    [LINE_HOP3] = { "hop3", "/s", 100, 1447363, 3407800 },
    [LINE_WITHIN3] = { "within3", "/s", 100, 1455204, 3410562 },
    [LINE_PATH] = { "sp", "pairs/s", 100, 411, 326 },
    [LINE_INSERT] = { "insert, durable", "/s", DURABLE_MAX, 0, 0 },
    [LINE_UPDATE] = { "update, durable", "/s", DURABLE_MAX, 0, 0 },
    [LINE_EDGE] = { "edge, durable", "/s", DURABLE_MAX, 0, 0 },
    [LINE_UPSERT] = { "upsert, durable", "/s", DURABLE_MAX, 0, 0 },
    [LINE_BULK] = { "bulk insert", "nodes/s", 0, 0, 0 },
    [LINE_CODE_SMALL] = { "code 5k/20k", "records/s", 0, 0, 0 },
    [LINE_CODE_SMALL_WARM] = { "code 5k/20k warm", "/s", 0, 0, 0 },
    [LINE_CODE_SMALL_READ] = { "code 5k/20k reads", "/s", 0, 0, 0 },
    [LINE_CODE_SMALL_FILE] = { "code 5k/20k file", "bytes", 0, 0, 0 },
    [LINE_CODE] = { "code 50k/200k", "records/s", 0, 0, 0 },
    [LINE_CODE_WARM] = { "code 50k/200k warm", "/s", 0, 0, 0 },
    [LINE_CODE_READ] = { "code 50k/200k reads", "/s", 0, 0, 0 },
    [LINE_CODE_FILE] = { "code 50k/200k file", "bytes", 0, 0, 0 },
    [LINE_CODE_UPDATE] = { "code updates", "/s", 0, 0, 0 },
    [LINE_CODE_READERS] = { "code, 128 readers", "reads/s", 0, 0, 0 },
};

struct result {
    double rate, cpu_ns; /* of one operation; both 0 = did not take part */
    uint64_t sum;
};

struct settings {
    const char *snap, *only, *folder, *data, *json;
    const char *engine;
    /* A loaded store to read, for the memory that takes, and its kind: this program's own use. */
    const char *reads;
    const struct graph_kind *kind;
    size_t rounds, edges;
    bool only_makes;
};

struct bench {
    struct settings settings;
    struct graph_data data;
    struct items upsert;
    void *stores[KINDS_MAX];
    char paths[KINDS_MAX][600];
    struct result results[LINES][KINDS_MAX][ROUNDS_MAX];
    struct raw_file raw;
    size_t record_bytes;                          /* of the log record written last */
    struct result raw_results[LINES][ROUNDS_MAX]; /* beside the durable lines */
    size_t round;
};

static const struct graph_kind *const kinds[KINDS_MAX] = { &kind_sombra, &kind_sqlite,
                                                           &kind_sqlite_bare };

/* ---- files -------------------------------------------------------------------- */

static void path_remove(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char file[900];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    if (folder)
        closedir(folder);
    rmdir(path);
    static const char *const ends[] = { "", "-wal", "-shm", "-journal", "-lock", "-log0", "-log1" };
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        char file[700];
        snprintf(file, sizeof file, "%s%s", path, ends[i]);
        unlink(file);
    }
}

/* Of the closed store: its one file, or the files of its folder. */
static double path_bytes(const char *path)
{
    struct stat status;
    double bytes = 0;
    if (stat(path, &status))
        die("%s: no such file", path);
    DIR *folder = opendir(path);
    if (!folder)
        return (double)status.st_size;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char file[900];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (stat(file, &status) == 0 && S_ISREG(status.st_mode))
            bytes += (double)status.st_size;
    }
    closedir(folder);
    return bytes;
}

/* ---- lines ------------------------------------------------------------------------------- */

static struct result *result_of(struct bench *bench, enum line line, size_t kind)
{
    return &bench->results[line][kind][bench->round];
}

/* `operations` from the two clocks' readings until now. */
static struct result measured(double operations, double wall_from, double cpu_from)
{
    return (struct result){ .rate = operations / (wall_s() - wall_from),
                            .cpu_ns = (cpu_s() - cpu_from) * 1e9 / operations };
}

/* What was returned must be what the first store returned, and what is known of the graph. */
static void sum_check(const struct bench *bench, enum line line, size_t kind)
{
    const struct line_info *info = &line_infos[line];
    uint64_t sum = bench->results[line][kind][bench->round].sum;
    uint64_t wanted = bench->settings.snap                  ? info->snap_sum
                      : bench->settings.edges == RMAT_EDGES ? info->rmat_sum
                                                            : 0;
    if (sum != bench->results[line][0][bench->round].sum)
        die("%s: %s and %s returned different data", info->name, kinds[0]->name, kinds[kind]->name);
    if (wanted && sum != wanted)
        fprintf(stderr, "graph: %s: %s gives %" PRIu64 ", not %" PRIu64 "\n", info->name,
                kinds[kind]->name, sum, wanted);
}

static void run_line(struct bench *bench, enum line line, const struct items *items)
{
    const struct line_info *info = &line_infos[line];
    size_t count = size_min(items->count, info->count_max);
    if (!list_has(bench->settings.only, info->name))
        return;
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        uint64_t sum = 0;
        if (!kinds[kind]->run[line])
            continue;
        /* What a line needs is in memory, in whatever order the lines come. */
        for (size_t i = 0; line != LINE_HOP3 && line != LINE_WITHIN3 && i < count; i++)
            (void)kinds[kind]->run[line](bench->stores[kind], &items->items[i]);
        double wall = wall_s(), cpu = cpu_s();
        for (size_t i = 0; i < count; i++)
            sum += kinds[kind]->run[line](bench->stores[kind], &items->items[i]);
        struct result *result = result_of(bench, line, kind);
        *result = measured((double)count, wall, cpu);
        result->sum = sum;
        sum_check(bench, line, kind);
    }
}

/* The first store's operations take turns with raw appends of as many bytes as its log took: the
 * disk has the same pace for both. Not all stores in turns: what one leaves to the file system's
 * journal, the sync of the next waits for. The rate is that of the median operation. */
static void run_durable_kind(struct bench *bench, enum line line, const struct items *items,
                             size_t kind)
{
    double seconds[2][DURABLE_MAX], cpu[2] = { 0 };
    uint64_t sum = 0, (*log_bytes)(void *) = kinds[kind]->log_bytes;
    size_t count = size_min(items->count, DURABLE_MAX);
    void *store = bench->stores[kind];
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = log_bytes ? log_bytes(store) : 0;
        double wall_from = wall_s(), cpu_from = cpu_s();
        sum += kinds[kind]->run[line](store, &items->items[i]);
        seconds[0][i] = wall_s() - wall_from;
        cpu[0] += cpu_s() - cpu_from;
        if (!log_bytes)
            continue;
        /* Where a checkpoint began another log, the record was as the one before. */
        uint64_t now_bytes = log_bytes(store);
        if (now_bytes > bytes && now_bytes - bytes <= RAW_RECORD_BYTES_MAX)
            bench->record_bytes = (size_t)(now_bytes - bytes);
        wall_from = wall_s();
        cpu_from = cpu_s();
        raw_append(&bench->raw, bench->record_bytes);
        seconds[1][i] = wall_s() - wall_from;
        cpu[1] += cpu_s() - cpu_from;
    }
    *result_of(bench, line, kind) = (struct result){ .rate = 1 / median(seconds[0], count),
                                                     .cpu_ns = cpu[0] * 1e9 / (double)count,
                                                     .sum = sum };
    if (log_bytes)
        bench->raw_results[line][bench->round] =
            (struct result){ .rate = 1 / median(seconds[1], count),
                             .cpu_ns = cpu[1] * 1e9 / (double)count };
    sum_check(bench, line, kind);
}

static void run_durable(struct bench *bench, enum line line, const struct items *items)
{
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        if (list_has(bench->settings.only, line_infos[line].name) && kinds[kind]->run[line])
            run_durable_kind(bench, line, items, kind);
    }
}

static void run_load(struct bench *bench)
{
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        double wall = wall_s(), cpu = cpu_s();
        kinds[kind]->load(bench->paths[kind], bench->settings.data);
        *result_of(bench, LINE_LOAD, kind) = measured(1, wall, cpu);
        result_of(bench, LINE_FILE, kind)->rate = path_bytes(bench->paths[kind]);
    }
}

/* Of the stores as they were loaded. */
static void run_memory(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    if (!list_has(settings->only, line_infos[LINE_MEMORY].name))
        return;
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        struct result *result = result_of(bench, LINE_MEMORY, kind);
        const char *const arguments[] = {
            "graph",  "--engine",        settings->engine, "--data",           settings->data,
            "--kind", kinds[kind]->name, "--reads",        bench->paths[kind], NULL
        };
        result->rate = memory_bytes(arguments, &result->sum);
    }
}

static void run_bulk(struct bench *bench)
{
    uint64_t first = bench->data.ids[bench->data.id_count - 1] + 1000000;
    if (!list_has(bench->settings.only, "bulk insert"))
        return;
    struct node_row *rows = data_new_rows(first, BULK);
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        double wall = wall_s(), cpu = cpu_s();
        kinds[kind]->bulk(bench->stores[kind], rows, BULK);
        *result_of(bench, LINE_BULK, kind) = measured(BULK, wall, cpu);
    }
    free(rows);
}

struct reader {
    pthread_t thread;
    const struct graph_kind *kind;
    void *store;
    size_t first, nodes;
    uint64_t sum;
};

static void *reader_run(void *opaque)
{
    struct reader *reader = opaque;
    for (size_t i = 0; i < READER_READS; i++)
        reader->sum +=
            reader->kind->code_read(reader->store, 17 * (reader->first + i) % reader->nodes);
    return NULL;
}

/* Each reader opens the store itself. */
static void run_readers(struct bench *bench, size_t kind, size_t nodes)
{
    static struct reader readers[READERS];
    struct result *result = result_of(bench, LINE_CODE_READERS, kind);
    uint64_t sum = 0;
    for (size_t i = 0; i < READERS; i++)
        readers[i] = (struct reader){ .kind = kinds[kind],
                                      .store = kinds[kind]->open(bench->paths[kind]),
                                      .first = i * 311,
                                      .nodes = nodes };
    double wall = wall_s(), cpu = cpu_s();
    for (size_t i = 0; i < READERS; i++)
        if (pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]))
            die("no thread");
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        sum += readers[i].sum;
    }
    *result = measured(READERS * READER_READS, wall, cpu);
    result->sum = sum;
    for (size_t i = 0; i < READERS; i++)
        kinds[kind]->close(readers[i].store);
    if (sum != result_of(bench, LINE_CODE_READERS, 0)->sum)
        die("the readers of %s and %s saw different data", kinds[0]->name, kinds[kind]->name);
}

static void run_code_reads(struct bench *bench, enum line line, size_t kind, void *store,
                           size_t nodes)
{
    struct result *result = result_of(bench, line, kind);
    uint64_t sum = 0;
    double wall = wall_s(), cpu = cpu_s();
    for (size_t i = 0; i < CODE_READS; i++)
        sum += kinds[kind]->code_read(store, 17 * i % nodes);
    *result = measured(CODE_READS, wall, cpu);
    result->sum = sum;
    sum_check(bench, line, kind);
}

/* The published workload; `load` is followed by its lines for reads and the file. Reads are done
 * twice: by the handle that has just committed, which is what was published, and by one that has
 * just been opened. */
static void run_code(struct bench *bench, enum line load, size_t nodes, size_t edges)
{
    if (!list_has(bench->settings.only, line_infos[load].name))
        return;
    struct code_row *rows = data_code_rows(nodes);
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        const char *path = bench->paths[kind];
        if (!kinds[kind]->code_load)
            continue;
        double wall = wall_s(), cpu = cpu_s();
        void *store = kinds[kind]->code_load(path, rows, nodes, edges);
        double wall_reads = wall_s(), cpu_reads = cpu_s();
        run_code_reads(bench, load + 1, kind, store, nodes);
        wall += wall_s() - wall_reads;
        cpu += cpu_s() - cpu_reads;
        kinds[kind]->close(store);
        *result_of(bench, load, kind) = measured((double)(nodes + edges), wall, cpu);
        result_of(bench, load + 3, kind)->rate = path_bytes(path);
        store = kinds[kind]->open(path);
        run_code_reads(bench, load + 2, kind, store, nodes);
        if (load == LINE_CODE) {
            wall = wall_s();
            cpu = cpu_s();
            kinds[kind]->code_update(store, nodes, CODE_READS);
            *result_of(bench, LINE_CODE_UPDATE, kind) = measured(CODE_READS, wall, cpu);
            run_readers(bench, kind, nodes);
        }
        kinds[kind]->close(store);
        path_remove(path);
    }
    free(rows);
}

static void run_round(struct bench *bench)
{
    const struct graph_data *data = &bench->data;
    run_load(bench);
    run_memory(bench);
    for (size_t kind = 0; kind < KINDS_MAX; kind++)
        bench->stores[kind] = kinds[kind]->open(bench->paths[kind]);
    run_line(bench, LINE_LOOKUP, &data->lookup);
    run_line(bench, LINE_HOP1, &data->hop1);
    run_line(bench, LINE_HOP1_IDS, &data->hop1);
    run_line(bench, LINE_HOP2, &data->hop2);
    run_line(bench, LINE_HOP3, &data->hop3);
    run_line(bench, LINE_WITHIN3, &data->hop3);
    run_line(bench, LINE_PATH, &data->pairs);
    raw_open(&bench->raw, bench->settings.folder);
    bench->record_bytes = RECORD_BYTES;
    run_durable(bench, LINE_INSERT, &data->insert);
    run_durable(bench, LINE_UPDATE, &data->update);
    run_durable(bench, LINE_EDGE, &data->edge);
    run_durable(bench, LINE_UPSERT, &bench->upsert);
    raw_close(&bench->raw);
    run_bulk(bench);
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        kinds[kind]->close(bench->stores[kind]);
        path_remove(bench->paths[kind]);
    }
    run_code(bench, LINE_CODE_SMALL, 5000, 20000);
    run_code(bench, LINE_CODE, 50000, 200000);
}

/* ---- the report -------------------------------------------------------------------------- */

static double figure(const struct result *result, bool is_cpu)
{
    return is_cpu ? result->cpu_ns : result->rate;
}

static void print_figures(const struct bench *bench, enum line line, bool is_cpu)
{
    size_t rounds = bench->settings.rounds;
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        double values[ROUNDS_MAX], ratios[ROUNDS_MAX], low = 0, high = 0;
        char text[AMOUNT_BYTES];
        for (size_t round = 0; round < rounds; round++) {
            double ours = figure(&bench->results[line][0][round], is_cpu);
            values[round] = figure(&bench->results[line][kind][round], is_cpu);
            ratios[round] = is_cpu ? values[round] / ours : ours / values[round];
            low = round == 0 || values[round] < low ? values[round] : low;
            high = values[round] > high ? values[round] : high;
        }
        double middle = median(values, rounds);
        if (middle <= 0)
            printf(kind ? "             |       |" : "             |");
        else
            printf(" %6s ±%2.0f%% |", amount(middle, text), (high - low) / 2 / middle * 100);
        if (kind && middle > 0)
            printf(" %5.2f |", median(ratios, rounds));
    }
}

static void print_table(const struct bench *bench, bool is_cpu)
{
    printf("| %-19s | %-9s |", is_cpu ? "CPU ns an operation" : "line", is_cpu ? "" : "unit");
    for (size_t kind = 0; kind < KINDS_MAX; kind++)
        printf(kind ? " %-11s | ratio |" : " %-11s |", kinds[kind]->name);
    printf("\n|---------------------|-----------|");
    for (size_t kind = 0; kind < KINDS_MAX; kind++)
        printf(kind ? "------------:|------:|" : "------------:|");
    printf("\n");
    for (enum line line = 0; line < LINES; line++) {
        if (figure(&bench->results[line][0][0], is_cpu) <= 0)
            continue;
        printf("| %-19s | %-9s |", line_infos[line].name, is_cpu ? "" : line_infos[line].unit);
        print_figures(bench, line, is_cpu);
        printf("\n");
    }
}

/* How far the durable lines are from what the disk gives. */
static void print_raw(const struct bench *bench)
{
    size_t rounds = bench->settings.rounds;
    printf(
        "\nBeside a raw append and sync of as many bytes as the log record, in the same turns\n\n"
        "| line                | %-11s | raw         | ratio |\n"
        "|---------------------|------------:|------------:|------:|\n",
        kinds[0]->name);
    for (enum line line = 0; line < LINES; line++) {
        double ours[ROUNDS_MAX], raw[ROUNDS_MAX], ratios[ROUNDS_MAX];
        char texts[2][AMOUNT_BYTES];
        if (bench->raw_results[line][0].rate <= 0)
            continue;
        for (size_t round = 0; round < rounds; round++) {
            ours[round] = bench->results[line][0][round].rate;
            raw[round] = bench->raw_results[line][round].rate;
            ratios[round] = ours[round] / raw[round];
        }
        printf("| %-19s | %11s | %11s | %5.2f |\n", line_infos[line].name,
               amount(median(ours, rounds), texts[0]), amount(median(raw, rounds), texts[1]),
               median(ratios, rounds));
    }
}

static void report(const struct bench *bench)
{
    printf("%s: %zu nodes, %zu edges; median of %zu rounds ± half their range; ratio = ours / peer "
           "(bytes: less is better)\n\n",
           bench->settings.snap ? "edge list" : "rmat", bench->data.id_count,
           bench->data.edge_count, bench->settings.rounds);
    print_table(bench, false);
    printf("\nCPU of all threads; ratio = peer / ours\n\n");
    print_table(bench, true);
    print_raw(bench);
    printf("\nSums of what was returned:");
    for (enum line line = LINE_LOOKUP; line <= LINE_PATH; line++)
        printf(" %s %" PRIu64 "%s", line_infos[line].name, bench->results[line][0][0].sum,
               line < LINE_PATH ? "," : "\n\n");
    for (size_t kind = 0; kind < KINDS_MAX; kind++)
        printf("- %s: %s\n", kinds[kind]->name, kinds[kind]->settings);
}

/* `results` of a line: a row of rounds for each kind. */
static void json_stores(FILE *file, const struct result (*results)[ROUNDS_MAX], size_t rounds)
{
    const char *comma = "";
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        double rates[ROUNDS_MAX], ratios[ROUNDS_MAX], cpu[ROUNDS_MAX];
        if (results[kind][0].rate <= 0)
            continue;
        for (size_t round = 0; round < rounds; round++) {
            rates[round] = results[kind][round].rate;
            cpu[round] = results[kind][round].cpu_ns;
            ratios[round] = results[0][round].rate / rates[round];
        }
        fprintf(file, "%s\n    \"%s\": {\"median\": %.6g, \"cpu_ns\": %.6g, \"ratio\": %.4f}",
                comma, kinds[kind]->name, median(rates, rounds), median(cpu, rounds),
                median(ratios, rounds));
        comma = ",";
    }
}

/* As kv's, without the rounds. */
static void report_json(const struct bench *bench)
{
    size_t rounds = bench->settings.rounds;
    FILE *file = fopen(bench->settings.json, "w");
    if (!file)
        die("%s: cannot write", bench->settings.json);
    fprintf(file, "{\"records\": %zu, \"stores\": [", bench->data.edge_count);
    for (size_t kind = 0; kind < KINDS_MAX; kind++)
        fprintf(file, "%s{\"name\": \"%s\", \"settings\": \"%s\"}", kind ? ",\n  " : "",
                kinds[kind]->name, kinds[kind]->settings);
    fprintf(file, "],\n \"lines\": [");
    const char *comma = "";
    for (enum line line = 0; line < LINES; line++) {
        if (bench->results[line][0][0].rate <= 0)
            continue;
        bool is_size = strcmp(line_infos[line].unit, "bytes") == 0;
        fprintf(file, "%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"stores\": {", comma,
                line_infos[line].name, is_size ? "bytes" : "operations/s");
        json_stores(file, bench->results[line], rounds);
        fprintf(file, "}}");
        comma = ",";
    }
    fprintf(file, "]}\n");
    if (fclose(file))
        die("%s: cannot write", bench->settings.json);
}

/* ---- the command ------------------------------------------------------------------------- */

static const char usage[] =
    "usage: graph [--engine btree|lsm] [--edges N | --snap EDGELIST] [--rounds N]\n"
    "             [--only line,...] [--folder PATH] [--data FOLDER] [--json FILE] [--make]";

static const struct graph_kind *kind_named(const char *name)
{
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        if (strcmp(kinds[kind]->name, name) == 0)
            return kinds[kind];
    }
    die("%s", usage);
}

static struct settings settings_read(int argc, char **argv)
{
    struct settings settings = {
        .folder = ".", .engine = "btree", .kind = kinds[0], .rounds = 3, .edges = RMAT_EDGES
    };
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--make") == 0) {
            settings.only_makes = true;
            continue;
        }
        if (i + 1 == argc)
            die("%s", usage);
        const char *value = argv[++i];
        if (strcmp(word, "--engine") == 0)
            settings.engine = value;
        else if (strcmp(word, "--kind") == 0)
            settings.kind = kind_named(value);
        else if (strcmp(word, "--reads") == 0)
            settings.reads = value;
        else if (strcmp(word, "--edges") == 0)
            settings.edges = strtoul(value, NULL, 10);
        else if (strcmp(word, "--json") == 0)
            settings.json = value;
        else if (strcmp(word, "--snap") == 0)
            settings.snap = value;
        else if (strcmp(word, "--rounds") == 0)
            settings.rounds = strtoul(value, NULL, 10);
        else if (strcmp(word, "--only") == 0)
            settings.only = value;
        else if (strcmp(word, "--folder") == 0)
            settings.folder = value;
        else if (strcmp(word, "--data") == 0)
            settings.data = value;
        else
            die("%s", usage);
    }
    if (settings.rounds < 1 || settings.rounds > ROUNDS_MAX || settings.edges < RMAT_EDGES_MIN)
        die("%s", usage);
    if (!settings.data)
        settings.data = settings.folder;
    return settings;
}

/* Half of the nodes are there, half are new. */
static void upserts_choose(struct bench *bench)
{
    const struct graph_data *data = &bench->data;
    bench->upsert.count = data->update.count;
    bench->upsert.items = calloc(bench->upsert.count, sizeof *bench->upsert.items);
    if (!bench->upsert.items)
        die("out of memory");
    for (size_t i = 0; i < bench->upsert.count; i++) {
        bench->upsert.items[i] = data->update.items[i];
        if (i % 2)
            bench->upsert.items[i].a = data->insert.items[i].a + data->insert.count;
    }
}

/* Lines have commas in their names: what is none cannot be told, but that there is none at all. */
static void only_check(const char *only)
{
    bool is_known = only == NULL;
    for (enum line line = 0; line < LINES; line++)
        is_known = is_known || list_has(only, line_infos[line].name);
    if (is_known)
        return;
    fprintf(stderr, "graph: lines are");
    for (enum line line = 0; line < LINES; line++)
        fprintf(stderr, "%s '%s'", line ? "," : "", line_infos[line].name);
    fprintf(stderr, "\n");
    die("--only %s: none of these", only);
}

int main(int argc, char **argv)
{
    struct bench *bench = calloc(1, sizeof *bench);
    if (!bench)
        die("out of memory");
    bench->settings = settings_read(argc, argv);
    graph_engine(bench->settings.engine);
    if (bench->settings.reads)
        return memory_child(bench->settings.kind, bench->settings.reads, bench->settings.data);
    only_check(bench->settings.only);
    if (bench->settings.snap)
        data_snap(&bench->data, bench->settings.snap);
    else
        data_rmat(&bench->data, bench->settings.edges);
    data_write(&bench->data, bench->settings.data);
    if (bench->settings.only_makes)
        return 0;
    upserts_choose(bench);
    for (size_t kind = 0; kind < KINDS_MAX; kind++) {
        snprintf(bench->paths[kind], sizeof bench->paths[kind], "%s/graph-bench-%zu-%d.db",
                 bench->settings.folder, kind, (int)getpid());
        path_remove(bench->paths[kind]);
    }
    for (; bench->round < bench->settings.rounds; bench->round++) {
        fprintf(stderr, "graph: round %zu ...\n", bench->round + 1);
        run_round(bench);
    }
    report(bench);
    if (bench->settings.json)
        report_json(bench);
    return 0;
}
