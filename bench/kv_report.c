/* SPDX-License-Identifier: MIT */
/* The results as tables and as JSON. A ratio is the median over the rounds of ours / peer, each
 * pair measured one after the other. */
#include "kv.h"

#include <stdio.h>

typedef double (*figure_fn)(const struct line *line, const struct result *result);

static enum unit unit_of(const struct line *line)
{
    return line->workload ? line->workload->unit : UNIT_RATE;
}

/* Operations a second, bytes, or the factor. */
static double rate(const struct line *line, const struct result *result)
{
    bool is_rate = unit_of(line) == UNIT_RATE;
    return is_rate ? result->operations / result->wall_s : result->operations;
}

/* CPU nanoseconds an operation, of all the process's threads. */
static double cpu_ns(const struct line *line, const struct result *result)
{
    (void)line;
    return result->cpu_s / result->operations * 1e9;
}

struct summary {
    double median, spread; /* half of the range, as a part of the median */
};

static struct summary summarise(const struct line *line, size_t kind, figure_fn figure)
{
    double values[ROUNDS_MAX];
    for (size_t round = 0; round < line->rounds; round++)
        values[round] = figure(line, &line->results[kind][round]);
    double middle = median(values, line->rounds); /* sorts */
    double range = values[line->rounds - 1] - values[0];
    return (struct summary){ middle, middle > 0 ? range / 2 / middle : 0 };
}

/* 0: there is none. A peer whose pages the kernel writes back when it likes may have written no
 * byte. */
static double ratio(const struct line *line, size_t peer, figure_fn figure)
{
    double values[ROUNDS_MAX];
    for (size_t round = 0; round < line->rounds; round++) {
        double theirs = figure(line, &line->results[peer][round]);
        if (!(theirs > 0))
            return 0;
        values[round] = figure(line, &line->results[0][round]) / theirs;
    }
    return median(values, line->rounds);
}

static void table(const struct report *report, const char *title, figure_fn figure, bool has_all)
{
    char text[AMOUNT_BYTES];
    printf("| %-20s |", title);
    for (size_t kind = 0; kind < report->kind_count; kind++)
        printf(kind ? " %-11s | ratio |" : " %-11s |", report->kinds[kind]->name);
    printf("\n|----------------------|");
    for (size_t kind = 0; kind < report->kind_count; kind++)
        printf(kind ? "------------:|------:|" : "------------:|");
    printf("\n");
    for (size_t i = 0; i < report->line_count; i++) {
        const struct line *line = &report->lines[i];
        if (unit_of(line) != UNIT_RATE && !has_all)
            continue;
        printf("| %-20s |", line->workload->name);
        for (size_t kind = 0; kind < report->kind_count; kind++) {
            struct summary summary = summarise(line, kind, figure);
            printf(" %6s ±%2.0f%% |", amount(summary.median, text), summary.spread * 100);
            double against = kind ? ratio(line, kind, figure) : 0;
            if (against > 0)
                printf(" %5.2f |", against);
            else if (kind)
                printf("       |");
        }
        printf("\n");
    }
}

static void cuts(const struct report *report)
{
    for (size_t i = 0; i < report->line_count; i++)
        if (report->lines[i].results[0][0].is_cut)
            printf("\n%s was ended after %.0f seconds.\n", report->lines[i].workload->name,
                   report->plan->line_seconds);
}

void report_table(const struct report *report)
{
    char text[AMOUNT_BYTES];
    printf("%" PRIu32 " records; operations a second (size: bytes; written: bytes for a byte put), "
           "median of the rounds; ratio = ours / peer (size, written: less is better)\n\n",
           report->plan->count);
    table(report, "workload", rate, true);
    cuts(report);
    const struct line *raw = &report->raw;
    if (raw->rounds) {
        struct summary summary = summarise(raw, 0, rate);
        printf("\nAppend of 200 bytes and fdatasync, file of zeros: %s/s ±%.0f%%\n",
               amount(summary.median, text), summary.spread * 100);
    }
}

void report_settings(const struct report *report)
{
    printf("\nWhere a store has them: cache of %zu MiB, memtables of %zu MiB.\n",
           tuning.cache_bytes / MiB, tuning.memtable_bytes / MiB);
    for (size_t kind = 0; kind < report->kind_count; kind++)
        printf("- %s: %s\n", report->kinds[kind]->name, report->kinds[kind]->settings);
}

void report_cpu_table(const struct report *report)
{
    printf(
        "\nCPU nanoseconds an operation, all threads of the process; ratio = ours / peer (less is "
        "better)\n\n");
    table(report, "workload, CPU ns", cpu_ns, false);
}

/* One store of one line: its summary, then each round. Sums as text: they have 64 bits. */
static void json_store(FILE *file, const struct line *line, size_t kind)
{
    struct summary summary = summarise(line, kind, rate);
    fprintf(file, "{\"median\": %.6g, \"spread\": %.4f", summary.median, summary.spread);
    if (unit_of(line) == UNIT_RATE)
        fprintf(file, ", \"cpu_ns\": %.6g", summarise(line, kind, cpu_ns).median);
    double against = kind ? ratio(line, kind, rate) : 0;
    if (against > 0)
        fprintf(file, ", \"ratio\": %.4f", against);
    fprintf(file, ", \"rounds\": [");
    for (size_t round = 0; round < line->rounds; round++) {
        const struct result *result = &line->results[kind][round];
        fprintf(file, "%s{\"operations\": %.6f, \"wall_s\": %.6f, \"cpu_s\": %.6f, ",
                round ? ", " : "", result->operations, result->wall_s, result->cpu_s);
        fprintf(file,
                "\"read_bytes\": %" PRIu64 ", \"written_bytes\": %" PRIu64
                ", \"major_faults\": %" PRIu64 ", ",
                result->io.read_bytes, result->io.written_bytes, result->io.major_faults);
        if (result->is_cut)
            fprintf(file, "\"is_cut\": true}");
        else
            fprintf(file, "\"sum\": \"%016" PRIx64 "\"}", result->sum_wanted ? 0 : result->sum);
    }
    fprintf(file, "]}");
}

static void json_line(FILE *file, const struct report *report, const struct line *line)
{
    static const char *const units[] = {
        [UNIT_RATE] = "operations/s", [UNIT_BYTES] = "bytes", [UNIT_FACTOR] = "bytes/byte"
    };
    fprintf(file, "  {\"name\": \"%s\", \"unit\": \"%s\", \"stores\": {", line->workload->name,
            units[unit_of(line)]);
    for (size_t kind = 0; kind < report->kind_count; kind++) {
        fprintf(file, "%s\n    \"%s\": ", kind ? "," : "", report->kinds[kind]->name);
        json_store(file, line, kind);
    }
    fprintf(file, "}}");
}

void report_json(const struct report *report, const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        die("%s: cannot write", path);
    fprintf(file,
            "{\"records\": %" PRIu32 ", \"cache_bytes\": %zu, \"memtable_bytes\": %zu,\n"
            " \"stores\": [",
            report->plan->count, tuning.cache_bytes, tuning.memtable_bytes);
    for (size_t kind = 0; kind < report->kind_count; kind++)
        fprintf(file, "%s{\"name\": \"%s\", \"settings\": \"%s\"}", kind ? ",\n  " : "",
                report->kinds[kind]->name, report->kinds[kind]->settings);
    fprintf(file, "],\n \"lines\": [\n");
    for (size_t i = 0; i < report->line_count; i++) {
        fputs(i ? ",\n" : "", file);
        json_line(file, report, &report->lines[i]);
    }
    fprintf(file, "]");
    if (report->raw.rounds) {
        fprintf(file, ",\n \"raw_append\": ");
        json_store(file, &report->raw, 0);
    }
    fprintf(file, "}\n");
    if (fclose(file))
        die("%s: cannot write", path);
}
