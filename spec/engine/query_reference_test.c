/* SPDX-License-Identifier: MIT */
/* Searches on real data against the answers that came with it: SOMBRA_SHARED, or ../shared/data
 * beside the project. Where that is absent there is nothing to compare with. The larger graph only
 * with SOMBRA_LONG. */
#include "query_search_fixture.h"

#include <math.h>

static char place[500];

static FILE *open_data(const char *name)
{
    const char *shared = getenv("SOMBRA_SHARED");
    snprintf(place, sizeof place, "%s/%s", shared ? shared : SOURCE_DIR "/../shared/data", name);
    return fopen(place, "r");
}

/* The numbers behind a key of a JSON file, up to the next bracket or name. */
static size_t reference(const char *file, const char *key, double *to, size_t max)
{
    static char text[1 << 16];
    char quoted[60];
    FILE *in = open_data(file);
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = 0;
    fclose(in);
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    char *at = strstr(text, quoted), *end;
    assert_non_null(at);
    at += strlen(quoted);
    size_t count = 0;
    for (; count < max; count++, at = end) {
        at += strspn(at, " \n[,");
        to[count] = strtod(at, &end);
        if (end == at)
            break;
    }
    return count;
}

/* Splits a line of CSV in place. */
static size_t split(char *line, char **fields, size_t max)
{
    size_t count = 0;
    char *to = line;
    bool is_quoted = false;
    fields[count++] = line;
    for (char *at = line; *at && *at != '\n' && *at != '\r'; at++) {
        if (*at == '"') {
            is_quoted = !is_quoted;
        } else if (*at == ',' && !is_quoted) {
            *to++ = 0;
            if (count == max)
                break;
            fields[count++] = to;
        } else {
            *to++ = *at;
        }
    }
    *to = 0;
    return count;
}

/* ---- air routes -------------------------------------------------------------------------- */

static sombra_node_id airports[4096]; /* by the file's id */
static char codes[4096][4];

static sombra_node_id airport(const char *code)
{
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        if (strcmp(codes[i], code) == 0)
            return airports[i];
    }
    fail_msg("no airport %s", code);
    return 0;
}

static void load_routes(struct fixture *f)
{
    char line[2000], *fields[16];
    FILE *nodes = open_data("air-routes/air-routes-latest-nodes.csv");
    FILE *edges = open_data("air-routes/air-routes-latest-edges.csv");
    sombra_slice label = text("airport");
    assert_true(nodes && edges);
    memset(airports, 0, sizeof airports);
    while (fgets(line, sizeof line, nodes)) {
        size_t id = strtoull(line, NULL, 10);
        if (split(line, fields, 16) < 14 || strcmp(fields[1], "airport") != 0)
            continue;
        assert_in_range(id, 1, COUNT_OF(airports) - 1);
        snprintf(codes[id], sizeof codes[id], "%s", fields[3]);
        assert_ok(graph_node_create(
            &f->txn, &label, 1,
            map_of(f, "sff", "code", fields[3], "lat", atof(fields[12]), "lon", atof(fields[13])),
            &airports[id]));
    }
    while (fgets(line, sizeof line, edges)) {
        struct graph_edge ends = { 0 };
        sombra_edge_id edge;
        if (split(line, fields, 16) < 5 || strcmp(fields[3], "route") != 0)
            continue;
        ends.src = airports[strtoull(fields[1], NULL, 10)];
        ends.dst = airports[strtoull(fields[2], NULL, 10)];
        assert_ok(graph_edge_create(&f->txn, &ends, text("route"),
                                    map_of(f, "i", "dist", atoi(fields[4])), &edge));
    }
    fclose(nodes);
    fclose(edges);
}

static void check_route(char **fields)
{
    const struct search_row *rows;
    char ends[100];
    snprintf(ends, sizeof ends, "from = %" PRIu64 ", to = %" PRIu64, airport(fields[0]),
             airport(fields[1]));
    size_t hops = strtoull(fields[2], NULL, 10);
    assert_int_equal(search_rows(paths_new, &rows, "{%s}", ends), 1);
    assert_int_equal(rows[0].depth, hops);
    assert_int_equal(search_rows(paths_new, &rows, "{%s, kind = 'all_shortest'}", ends),
                     strtoull(fields[3], NULL, 10));
    assert_int_equal(search_rows(paths_new, &rows, "{%s, max = %zu}", ends, hops - 1), 0);
    assert_int_equal(
        search_rows(paths_new, &rows, "{%s, kind = 'weighted', weight = 'dist'}", ends), 1);
    assert_true(rows[0].cost == atof(fields[4]));
    /* Miles; a little less, since the distances are rounded and the earth is no ball. */
    assert_int_equal(search_rows(paths_new, &rows,
                                 "{%s, kind = 'weighted', weight = 'dist', scale = 0.61, heuristic "
                                 "= {'haversine', 'lat', 'lon'}}",
                                 ends),
                     1);
    assert_true(rows[0].cost == atof(fields[4]));
    size_t count =
        search_rows(paths_new, &rows, "{%s, kind = 'k_shortest', k = 3, weight = 'dist'}", ends);
    assert_true(count > 0 && rows[0].cost == atof(fields[4]));
    for (size_t i = 1; i < count; i++)
        assert_true(rows[i].cost >= rows[i - 1].cost);
}

static int64_t number_of(const struct search_row *row, const char *key)
{
    sombra_value record, value;
    assert_ok(sombra_value_decode(row->value, &record));
    assert_ok(sombra_value_member(&record, text(key), &value));
    return value.kind == SOMBRA_INTEGER ? value.as.integer : (int64_t)value.count;
}

static void check_levels(const char *file, sombra_node_id source)
{
    const struct search_row *rows;
    double levels[64], sum = 0;
    size_t count = reference(file, "bfs", levels, COUNT_OF(levels));
    assert_true(count > 5);
    for (size_t depth = 0; depth < count; depth++) {
        sum += levels[depth];
        assert_int_equal(
            search_rows(subgraph_new, &rows, "{roots = %" PRIu64 ", depth = %zu}", source, depth),
            1);
        assert_int_equal(number_of(&rows[0], "nodes"), sum);
    }
    assert_int_equal(search_rows(subgraph_new, &rows, "{roots = %" PRIu64 "}", source), 1);
    assert_int_equal(number_of(&rows[0], "nodes"), sum);
}

static void check_greatest_degrees(const char *file)
{
    const struct search_row *rows;
    double most;
    assert_int_equal(reference(file, "max_out", &most, 1), 1);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'hubs', k = 1, direction = 'out'}"),
                     1);
    assert_int_equal(number_of(&rows[0], "degree"), most);
    assert_int_equal(reference(file, "max_in", &most, 1), 1);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'hubs', k = 1, direction = 'into'}"),
                     1);
    assert_int_equal(number_of(&rows[0], "degree"), most);
}

static void test_reference__air_routes(void **state)
{
    static const char file[] = "air-routes.json";
    const struct search_row *rows;
    char line[500], *fields[6];
    double expected;
    FILE *paths = open_data("air-routes-paths.csv");
    if (!paths) {
        print_message("no %s\n", place);
        skip();
    }
    load_routes(*state);
    assert_non_null(fgets(line, sizeof line, paths));
    while (fgets(line, sizeof line, paths)) {
        assert_int_equal(split(line, fields, 6), 6);
        check_route(fields);
    }
    fclose(paths);
    check_levels(file, airport("AAA"));
    check_greatest_degrees(file);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'labels'}"), 1);
    reference(file, "nodes", &expected, 1);
    assert_int_equal(number_of(&rows[0], "nodes"), expected);
    assert_int_equal(search_rows(statistics_new, &rows, "{of = 'types'}"), 1);
    reference(file, "edges_distinct", &expected, 1);
    assert_int_equal(number_of(&rows[0], "edges"), expected);
}

/* ---- slashdot ---------------------------------------------------------------------------- */

static void test_reference__slashdot(void **state)
{
    enum { NODES = 82168 };
    struct fixture *f = *state;
    char command[600];
    unsigned src, dst;
    FILE *data = open_data("slashdot0902/soc-Slashdot0902.txt.gz");
    if (!data || !getenv("SOMBRA_LONG")) {
        print_message("no %s, or no SOMBRA_LONG\n", place);
        skip();
    }
    fclose(data);
    snprintf(command, sizeof command, "gzip -dc '%s' | grep -v '^#'", place);
    data = popen(command, "r");
    assert_non_null(data);
    sombra_node_id first = node_new(f, NULL);
    for (size_t i = 1; i < NODES; i++)
        node_new(f, NULL);
    while (fscanf(data, "%u %u", &src, &dst) == 2) {
        if (src != dst) /* as the reference has it */
            edge_new(f, first + src, "E", first + dst);
    }
    pclose(data);
    check_levels("slashdot0902.json", first);
    check_greatest_degrees("slashdot0902.json");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, search_setup, search_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reference__air_routes),
        TEST(test_reference__slashdot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
