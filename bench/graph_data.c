/* SPDX-License-Identifier: MIT */
/* The graph and its cases. All randomness is splitmix64 with fixed seeds, so that any language can
 * make the same files again. */
#include "graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RMAT_DEGREE = 10,
    RMAT_SEED = 42,
    LOOKUPS = 20000,
    HOP1S = 5000,
    HOP2S = 1000,
    HOP3S = 100,
    PAIRS = 100,
    WRITES = 5000,
};

static void *checked(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

/* ---- random numbers ---------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static uint64_t draw_next(uint64_t *state)
{
    uint64_t out = mix(*state);
    *state += UINT64_C(0x9E3779B97F4A7C15);
    return out;
}

static uint64_t draw_below(uint64_t *state, uint64_t bound)
{
    return draw_next(state) % bound;
}

/* ---- a set of edges ---------------------------------------------------------------------- */

struct pair_set {
    uint64_t *slots; /* key + 1; 0 = free */
    size_t mask;
};

static void set_init(struct pair_set *set, size_t count_max)
{
    size_t slots = 64;
    while (slots < count_max * 2)
        slots *= 2;
    set->slots = checked(calloc(slots, sizeof *set->slots));
    set->mask = slots - 1;
}

/* False: it was there. */
static bool set_add(struct pair_set *set, uint64_t src, uint64_t dst)
{
    uint64_t key = (src << 32 | dst) + 1;
    size_t at = mix(key) & set->mask;
    for (; set->slots[at]; at = (at + 1) & set->mask) {
        if (set->slots[at] == key)
            return false;
    }
    set->slots[at] = key;
    return true;
}

/* ---- graphs ------------------------------------------------------------------------------ */

/* Both ends by `bits` draws of a quadrant, four draws from each random word. */
static struct pair rmat_draw(uint64_t *random, unsigned bits)
{
    static const double a = 0.57, b = 0.19, c = 0.19;
    const uint64_t first = (uint64_t)(a * 65536), second = (uint64_t)((a + b) * 65536),
                   third = (uint64_t)((a + b + c) * 65536);
    struct pair pair = { 0, 0 };
    uint64_t word = 0;
    for (unsigned bit = 0; bit < bits; bit++, word >>= 16) {
        if (bit % 4 == 0)
            word = draw_next(random);
        uint64_t quadrant = word & 65535;
        bool is_lower = quadrant >= second;
        bool is_right = quadrant >= third || (quadrant >= first && quadrant < second);
        pair.src = pair.src << 1 | is_lower;
        pair.dst = pair.dst << 1 | is_right;
    }
    return pair;
}

void data_rmat(struct graph_data *data, size_t edge_count)
{
    size_t node_count = edge_count / RMAT_DEGREE;
    unsigned bits = 1;
    while ((size_t)1 << bits < node_count)
        bits++;
    uint64_t random = RMAT_SEED;
    struct pair_set seen;
    uint64_t *shuffled = checked(malloc(node_count * sizeof *shuffled));
    set_init(&seen, edge_count);
    data->ids = checked(malloc(node_count * sizeof *data->ids));
    data->edges = checked(malloc(edge_count * sizeof *data->edges));
    data->id_count = node_count;
    while (data->edge_count < edge_count) {
        struct pair pair = rmat_draw(&random, bits);
        if (pair.src < node_count && pair.dst < node_count && pair.src != pair.dst &&
            set_add(&seen, pair.src, pair.dst))
            data->edges[data->edge_count++] = pair;
    }
    free(seen.slots);
    /* Degree says nothing about the id. */
    for (size_t i = 0; i < node_count; i++)
        data->ids[i] = shuffled[i] = i;
    random = RMAT_SEED + 1;
    for (size_t i = node_count - 1; i > 0; i--) {
        size_t j = draw_below(&random, i + 1);
        uint64_t id = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = id;
    }
    for (size_t i = 0; i < edge_count; i++)
        data->edges[i] =
            (struct pair){ shuffled[data->edges[i].src], shuffled[data->edges[i].dst] };
    free(shuffled);
}

static int id_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted, each once; how many. */
static size_t ids_sort(uint64_t *ids, size_t count)
{
    size_t kept = 0;
    qsort(ids, count, sizeof *ids, id_compare);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || ids[i] != ids[i - 1])
            ids[kept++] = ids[i];
    }
    return kept;
}

static char *file_read(const char *path, size_t *out_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die("%s: %s", path, strerror(errno));
    long bytes = ftell(file);
    rewind(file);
    char *text = checked(malloc((size_t)bytes + 1));
    if (fread(text, 1, (size_t)bytes, file) != (size_t)bytes)
        die("%s: cannot read", path);
    fclose(file);
    text[bytes] = 0;
    *out_bytes = (size_t)bytes;
    return text;
}

void data_snap(struct graph_data *data, const char *path)
{
    size_t bytes, lines = 1, ends = 0;
    char *text = file_read(path, &bytes);
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    struct pair_set seen;
    set_init(&seen, lines);
    data->ids = checked(malloc(lines * 2 * sizeof *data->ids));
    data->edges = checked(malloc(lines * sizeof *data->edges));
    for (char *at = text; *at;) {
        char *next = strchr(at, '\n');
        next = next ? next + 1 : at + strlen(at);
        if (*at != '#' && next > at + 1) {
            struct pair pair;
            pair.src = strtoull(at, &at, 10);
            pair.dst = strtoull(at, NULL, 10);
            data->ids[ends++] = pair.src;
            data->ids[ends++] = pair.dst;
            if (pair.src != pair.dst && set_add(&seen, pair.src, pair.dst))
                data->edges[data->edge_count++] = pair;
        }
        at = next;
    }
    data->id_count = ids_sort(data->ids, ends);
    free(seen.slots);
    free(text);
    if (data->edge_count == 0)
        die("%s: no lines of two numbers: is it compressed?", path);
}

/* ---- cases ------------------------------------------------------------------------------- */

static void items_init(struct items *items, size_t count)
{
    items->items = checked(calloc(count, sizeof *items->items));
    items->count = count;
}

static void items_choose(struct items *items, size_t count, uint64_t seed, const uint64_t *ids,
                         size_t id_count)
{
    items_init(items, count);
    for (size_t i = 0; i < count; i++)
        items->items[i].a = ids[draw_below(&seed, id_count)];
}

static void edges_choose(struct graph_data *data)
{
    uint64_t random = 14;
    size_t count = 0;
    struct pair_set have;
    set_init(&have, data->edge_count + WRITES);
    for (size_t i = 0; i < data->edge_count; i++)
        (void)set_add(&have, data->edges[i].src, data->edges[i].dst);
    items_init(&data->edge, WRITES);
    while (count < WRITES) {
        uint64_t src = data->ids[draw_below(&random, data->id_count)];
        uint64_t dst = data->ids[draw_below(&random, data->id_count)];
        if (src != dst && set_add(&have, src, dst))
            data->edge.items[count++] = (struct item){ src, dst, 2000 + draw_below(&random, 25) };
    }
    free(have.slots);
}

static void cases_choose(struct graph_data *data)
{
    uint64_t random;
    uint64_t *sources = checked(malloc(data->edge_count * sizeof *sources));
    uint64_t *targets = checked(malloc(data->edge_count * sizeof *targets));
    for (size_t i = 0; i < data->edge_count; i++) {
        sources[i] = data->edges[i].src;
        targets[i] = data->edges[i].dst;
    }
    size_t source_count = ids_sort(sources, data->edge_count);
    size_t target_count = ids_sort(targets, data->edge_count);
    items_choose(&data->lookup, LOOKUPS, 7, data->ids, data->id_count);
    items_choose(&data->hop1, HOP1S, 8, sources, source_count);
    items_choose(&data->hop2, HOP2S, 9, sources, source_count);
    items_choose(&data->hop3, HOP3S, 10, sources, source_count);
    items_init(&data->pairs, PAIRS);
    random = 11;
    for (size_t i = 0; i < PAIRS; i++) {
        data->pairs.items[i].a = sources[draw_below(&random, source_count)];
        data->pairs.items[i].b = targets[draw_below(&random, target_count)];
    }
    items_init(&data->update, WRITES);
    random = 12;
    for (size_t i = 0; i < WRITES; i++) {
        data->update.items[i].a = data->ids[draw_below(&random, data->id_count)];
        data->update.items[i].b = 18 + draw_below(&random, 63);
    }
    items_init(&data->insert, WRITES);
    random = 13;
    for (size_t i = 0; i < WRITES; i++)
        data->insert.items[i] =
            (struct item){ data->ids[data->id_count - 1] + 1 + i, 18 + draw_below(&random, 63), 0 };
    edges_choose(data);
    free(sources);
    free(targets);
}

/* ---- files ------------------------------------------------------------------------------- */

static FILE *file_make(const char *folder, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file)
        die("%s: %s", path, strerror(errno));
    return file;
}

static void items_write(const struct items *items, int columns, const char *folder,
                        const char *name)
{
    FILE *file = file_make(folder, name);
    for (size_t i = 0; i < items->count; i++) {
        fprintf(file, "%" PRIu64, items->items[i].a);
        if (columns > 1)
            fprintf(file, " %" PRIu64, items->items[i].b);
        if (columns > 2)
            fprintf(file, " %" PRIu64, items->items[i].c);
        fputc('\n', file);
    }
    if (fclose(file))
        die("%s/%s: cannot write", folder, name);
}

void data_write(struct graph_data *data, const char *folder)
{
    cases_choose(data);
    FILE *file = file_make(folder, "nodes.csv");
    fprintf(file, "id,name,age,city,score\n");
    for (size_t i = 0; i < data->id_count; i++) {
        uint64_t id = data->ids[i], h = mix(id);
        fprintf(file, "%" PRIu64 ",user%07" PRIu64 ",%" PRIu64 ",city%02" PRIu64 ",%.2f\n", id, id,
                18 + h % 63, (h >> 8) % 100, (double)((h >> 20) % 10000) / 100);
    }
    if (fclose(file))
        die("%s: cannot write", folder);
    file = file_make(folder, "edges.csv");
    fprintf(file, "src,dst,since,weight\n");
    for (size_t i = 0; i < data->edge_count; i++) {
        struct pair edge = data->edges[i];
        uint64_t h = mix(edge.src * 1000003 + edge.dst);
        fprintf(file, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.3f\n", edge.src, edge.dst,
                2000 + h % 25, 1 + (double)((h >> 8) % 1000) / 1000);
    }
    if (fclose(file))
        die("%s: cannot write", folder);
    items_write(&data->lookup, 1, folder, "w_lookup.txt");
    items_write(&data->hop1, 1, folder, "w_hop1.txt");
    items_write(&data->hop2, 1, folder, "w_hop2.txt");
    items_write(&data->hop3, 1, folder, "w_hop3.txt");
    items_write(&data->pairs, 2, folder, "w_pairs.txt");
    items_write(&data->update, 2, folder, "w_update.txt");
    items_write(&data->insert, 2, folder, "w_insert.txt");
    items_write(&data->edge, 3, folder, "w_edge.txt");
}

void csv_open(struct csv *csv, const char *folder, const char *name)
{
    char path[600];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    csv->bytes = file_read(path, &bytes);
    csv->end = csv->bytes + bytes;
    const char *line = strchr(csv->bytes, '\n');
    csv->at = line ? line + 1 : csv->end;
}

void csv_close(struct csv *csv)
{
    free(csv->bytes);
}

static uint64_t csv_integer(struct csv *csv)
{
    uint64_t value = 0;
    for (; *csv->at >= '0' && *csv->at <= '9'; csv->at++)
        value = value * 10 + (uint64_t)(*csv->at - '0');
    csv->at++;
    return value;
}

/* Of few digits, so that one division gives the nearest double. */
static double csv_decimal(struct csv *csv)
{
    uint64_t digits = 0, unit = 1;
    bool is_fraction = false;
    for (; *csv->at == '.' || (*csv->at >= '0' && *csv->at <= '9'); csv->at++) {
        if (*csv->at == '.') {
            is_fraction = true;
            continue;
        }
        digits = digits * 10 + (uint64_t)(*csv->at - '0');
        unit *= is_fraction ? 10 : 1;
    }
    csv->at++;
    return (double)digits / (double)unit;
}

static sombra_slice csv_text(struct csv *csv)
{
    const char *start = csv->at;
    while (csv->at < csv->end && *csv->at != ',')
        csv->at++;
    return (sombra_slice){ start, (size_t)(csv->at++ - start) };
}

bool csv_node(struct csv *csv, struct node_row *out_row)
{
    if (csv->at >= csv->end)
        return false;
    out_row->id = csv_integer(csv);
    out_row->name = csv_text(csv);
    out_row->age = (int64_t)csv_integer(csv);
    out_row->city = csv_text(csv);
    out_row->score = csv_decimal(csv);
    return true;
}

bool csv_edge(struct csv *csv, struct edge_row *out_row)
{
    if (csv->at >= csv->end)
        return false;
    out_row->src = csv_integer(csv);
    out_row->dst = csv_integer(csv);
    out_row->since = (int64_t)csv_integer(csv);
    out_row->weight = csv_decimal(csv);
    return true;
}

/* ---- rows that are made up --------------------------------------------------------------- */

struct node_row data_new_row(uint64_t id, int64_t age)
{
    static char name[32];
    int bytes = snprintf(name, sizeof name, "user%07" PRIu64, id);
    return (struct node_row){ .id = id,
                              .name = { name, (size_t)bytes },
                              .city = { "city00", 6 },
                              .age = age,
                              .score = (double)(id % 100) / 4 };
}

/* The slice's bytes at *at, which moves behind them. */
static sombra_slice text_keep(sombra_slice text, char **at)
{
    sombra_slice kept = { *at, text.bytes };
    memcpy(*at, text.data, text.bytes);
    *at += text.bytes;
    return kept;
}

/* Room for so many rows, and behind them for their texts. */
static void *rows_new(size_t count, size_t row_bytes, size_t texts_bytes_max)
{
    void *rows = malloc(count * (row_bytes + texts_bytes_max));
    if (!rows)
        die("out of memory");
    return rows;
}

struct node_row *data_new_rows(uint64_t first, size_t count)
{
    enum { TEXTS_BYTES_MAX = 40 };
    struct node_row *rows = rows_new(count, sizeof *rows, TEXTS_BYTES_MAX);
    char *texts = (char *)(rows + count);
    for (size_t i = 0; i < count; i++) {
        rows[i] = data_new_row(first + i, (int64_t)(18 + i % 63));
        rows[i].name = text_keep(rows[i].name, &texts);
        rows[i].city = text_keep(rows[i].city, &texts);
    }
    return rows;
}

static sombra_slice text_of(const char *text)
{
    return (sombra_slice){ text, strlen(text) };
}

/* Its texts live until the next call. */
static struct code_row code_row(uint64_t index)
{
    static char name[32], path[64], code[600], metadata[96];
    size_t at = 0;
    snprintf(name, sizeof name, "function_%" PRIu64, index);
    snprintf(path, sizeof path, "src/module_%" PRIu64 "/file_%" PRIu64 ".lua", index % 97,
             index % 1009);
    snprintf(metadata, sizeof metadata, "{\"complexity\":%" PRIu64 ",\"exported\":%s}", index % 23,
             index % 2 ? "true" : "false");
    for (uint64_t line = 0; at < 400; line++)
        at += (size_t)snprintf(code + at, sizeof code - at,
                               "local value_%" PRIu64 " = compute(%" PRIu64 ", %" PRIu64 ")\n",
                               line, index * 31 + line, mix(index + line) % 100000);
    return (struct code_row){ .name = text_of(name),
                              .file_path = text_of(path),
                              .code_text = { code, at },
                              .language = text_of("lua"),
                              .metadata = text_of(metadata),
                              .start_line = (int64_t)(index % 5000),
                              .end_line = (int64_t)(index % 5000 + 20) };
}

struct code_row *data_code_rows(size_t count)
{
    enum { TEXTS_BYTES_MAX = 800 };
    struct code_row *rows = rows_new(count, sizeof *rows, TEXTS_BYTES_MAX);
    char *texts = (char *)(rows + count);
    for (size_t i = 0; i < count; i++) {
        struct code_row *row = &rows[i];
        *row = code_row(i);
        row->name = text_keep(row->name, &texts);
        row->file_path = text_keep(row->file_path, &texts);
        row->code_text = text_keep(row->code_text, &texts);
        row->language = text_keep(row->language, &texts);
        row->metadata = text_keep(row->metadata, &texts);
    }
    return rows;
}
