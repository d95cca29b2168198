/* SPDX-License-Identifier: MIT */
/* Random lists of steps over random small graphs, beside a reference that walks arrays. Rows are
 * compared as sorted lists, and in order where the language says one. The same graphs with and
 * without indexes must give the same. */
#include "query_fixture.h"

#include <limits.h>

enum { NODES_MAX = 9, EDGES_MAX = 16, ROWS_MAX = 6000, ROUNDS = 700, CASES_A_ROUND = 10 };

struct ref_edge {
    uint64_t src, dst;
    unsigned type; /* 0 A, 1 B */
    int64_t weight;
};
struct ref_row {
    uint64_t id; /* node, or edge */
    uint64_t from;
    unsigned depth;
};
struct ref_rows {
    size_t count;
    bool is_edge, is_ordered, has_overflowed, has_depth;
    struct ref_row rows[ROWS_MAX];
};

static size_t node_count, edge_count;
static int64_t ages[NODES_MAX + 1]; /* -1 = none */
static bool is_red[NODES_MAX + 1];  /* has label Red */
static struct ref_edge edges[EDGES_MAX + 1];
static struct random source;
static struct ref_rows rows, made, spare;
static char steps[4000];
static size_t steps_bytes;

static uint64_t below(uint64_t bound)
{
    return random_below(&source, bound);
}

static void say(const char *format, ...) SOMBRA_PRINTF(1, 2);
static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(steps + steps_bytes, sizeof steps - steps_bytes, format, arguments);
    va_end(arguments);
    steps_bytes += (size_t)bytes;
    assert_true(steps_bytes < sizeof steps);
}

/* ---- the graph --------------------------------------------------------------------------- */

static void make_graph(struct fixture *f)
{
    const sombra_slice red = text("Red");
    node_count = 1 + below(NODES_MAX);
    edge_count = below(EDGES_MAX + 1);
    for (size_t i = 1; i <= node_count; i++) {
        sombra_node_id node;
        ages[i] = below(4) ? (int64_t)below(5) : -1;
        is_red[i] = below(2);
        sombra_slice properties = NOTHING;
        if (ages[i] >= 0) /* half of them as floats */
            properties = below(2) ? value_text("{age = %" PRId64 "}", ages[i])
                                  : value_text("{age = %" PRId64 ".0}", ages[i]);
        assert_ok(graph_node_create(&f->txn, &red, is_red[i], properties, &node));
        assert_int_equal(node, i);
    }
    for (size_t i = 1; i <= edge_count; i++) {
        struct graph_edge ends = { .src = 1 + below(node_count), .dst = 1 + below(node_count) };
        sombra_edge_id edge;
        edges[i] = (struct ref_edge){ ends.src, ends.dst, (unsigned)below(2), (int64_t)below(4) };
        assert_ok(graph_edge_create(&f->txn, &ends, text(edges[i].type ? "B" : "A"),
                                    value_text("{w = %" PRId64 "}", edges[i].weight), &edge));
        assert_int_equal(edge, i);
    }
}

static void make_indexes(struct fixture *f)
{
    static const struct {
        const char *subject, *property;
        bool is_edge;
    } rules[] = { { "Red", "age", false }, { "A", "w", true } };
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        const sombra_rule rule = { .struct_bytes = sizeof rule,
                                   .kind = SOMBRA_RULE_INDEX,
                                   .is_edge = rules[i].is_edge,
                                   .subject = text(rules[i].subject),
                                   .property_count = 1,
                                   .properties = { text(rules[i].property) } };
        uint32_t id;
        assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
    }
}

/* ---- steps and what they give ------------------------------------------------------------ */

static void add(struct ref_rows *to, struct ref_row row)
{
    if (to->count == ROWS_MAX)
        to->has_overflowed = true;
    else
        to->rows[to->count++] = row;
}

static void begin_made(bool is_edge)
{
    made.count = 0;
    made.is_edge = is_edge;
    made.is_ordered = false;
    made.has_overflowed = rows.has_overflowed;
    made.has_depth = rows.has_depth;
}

static void take_made(void)
{
    memcpy(&rows, &made, offsetof(struct ref_rows, rows) + made.count * sizeof *made.rows);
}

static void random_source(void)
{
    begin_made(false);
    made.has_depth = true;
    switch (below(5)) {
    case 0: {
        size_t count = below(4);
        say("{'ids', {");
        for (size_t i = 0; i < count; i++) {
            uint64_t id = 1 + below(node_count + 1);
            say("%" PRIu64 ", ", id);
            if (id <= node_count)
                add(&made, (struct ref_row){ .id = id });
        }
        say("}}");
        break;
    }
    case 1:
        say("{'all'}");
        for (size_t i = 1; i <= node_count; i++)
            add(&made, (struct ref_row){ .id = i });
        break;
    case 2:
    case 3:
        say("{'label', 'Red'}");
        for (size_t i = 1; i <= node_count; i++) {
            if (is_red[i])
                add(&made, (struct ref_row){ .id = i });
        }
        break;
    default:
        say("{'edges', 'A'}");
        made.is_edge = true;
        for (size_t i = 1; i <= edge_count; i++) {
            if (edges[i].type == 0)
                add(&made, (struct ref_row){ .id = i });
        }
    }
    made.is_ordered = true;
    take_made();
}

/* The other end, or 0 if the edge does not lead on from the node that way. */
static uint64_t other_end(const struct ref_edge *edge, uint64_t node, bool out, bool in)
{
    if (out && edge->src == node)
        return edge->dst;
    return in && edge->dst == node ? edge->src : 0;
}

struct ref_walk {
    bool out, in;
    int type;          /* -1 = any */
    int64_t least;     /* of the weight; 0 = any */
    int64_t age_below; /* of nodes reached; 0 = any */
    unsigned min, max;
    enum { NONE, EDGES, NODES } unique;
};

static uint64_t follow(const struct ref_walk *walk, size_t edge, uint64_t node)
{
    const struct ref_edge *at = &edges[edge];
    uint64_t to = other_end(at, node, walk->out, walk->in);
    if (to && ((walk->type >= 0 && at->type != (unsigned)walk->type) || at->weight < walk->least ||
               (walk->age_below && (ages[to] < 0 || ages[to] >= walk->age_below))))
        to = 0;
    return to;
}

static void walk_on(const struct ref_walk *walk, uint64_t node, unsigned hop, unsigned depth,
                    uint32_t used)
{
    if (hop >= walk->min)
        add(&made, (struct ref_row){ .id = node, .depth = depth + hop });
    if (hop == walk->max || made.has_overflowed)
        return;
    for (size_t i = 1; i <= edge_count; i++) {
        uint64_t to = follow(walk, i, node);
        if (to && !(walk->unique == EDGES && (used >> i & 1)))
            walk_on(walk, to, hop + 1, depth, used | 1u << i);
    }
}

static void search(const struct ref_walk *walk, uint64_t node, unsigned depth)
{
    unsigned found[NODES_MAX + 1];
    for (size_t i = 0; i <= node_count; i++)
        found[i] = UINT_MAX;
    found[node] = 0;
    for (unsigned hop = 0; hop < walk->max; hop++) {
        for (uint64_t from = 1; from <= node_count; from++) {
            for (size_t i = 1; found[from] == hop && i <= edge_count; i++) {
                uint64_t to = follow(walk, i, from);
                if (to && found[to] == UINT_MAX)
                    found[to] = hop + 1;
            }
        }
    }
    for (uint64_t i = 1; i <= node_count; i++) {
        if (found[i] != UINT_MAX && found[i] >= walk->min)
            add(&made, (struct ref_row){ .id = i, .depth = depth + found[i] });
    }
}

static void random_walk(void)
{
    static const char *const uniques[] = { "none", "edges", "nodes" };
    unsigned way = (unsigned)below(3);
    struct ref_walk walk = { .out = way != 1,
                             .in = way != 0,
                             .type = (int)below(3) - 1,
                             .least = below(3) ? 0 : (int64_t)below(4),
                             .age_below = below(4) ? 0 : 3,
                             .min = 1,
                             .max = 1 };
    if (below(2)) {
        walk.min = (unsigned)below(3);
        walk.max = walk.min + (unsigned)below(2);
    }
    walk.unique = below(2) ? NONE : below(2) ? EDGES : NODES;
    say(", {'%s', {min = %u, max = %u, unique = '%s'",
        way == 0   ? "out"
        : way == 1 ? "into"
                   : "both",
        walk.min, walk.max, uniques[walk.unique]);
    if (walk.type >= 0)
        say(", types = {'%s'}", walk.type ? "B" : "A");
    if (walk.least)
        say(", where = {w = {ge = %" PRId64 "}}", walk.least);
    if (walk.age_below)
        say(", nodes = {age = {lt = %" PRId64 "}}", walk.age_below);
    say("}}");
    begin_made(false);
    for (size_t i = 0; i < rows.count; i++) {
        if (walk.unique == NODES)
            search(&walk, rows.rows[i].id, rows.rows[i].depth);
        else
            walk_on(&walk, rows.rows[i].id, 0, rows.rows[i].depth, 0);
    }
    take_made();
}

static void random_edges(void)
{
    unsigned way = (unsigned)below(3);
    say(", {'%s', {edges = true}}", way == 0 ? "out" : way == 1 ? "into" : "both");
    begin_made(true);
    for (size_t i = 0; i < rows.count; i++) {
        for (size_t e = 1; e <= edge_count; e++) {
            if (other_end(&edges[e], rows.rows[i].id, way != 1, way != 0))
                add(&made, (struct ref_row){
                               .id = e, .from = rows.rows[i].id, .depth = rows.rows[i].depth + 1 });
        }
    }
    take_made();
}

static void random_end(void)
{
    static const char *const names[] = { "source", "target", "other" };
    /* Distinct edges keep one of the nodes they were walked from. */
    unsigned end = (unsigned)below(rows.has_depth ? 3 : 2);
    say(", {'%s'}", names[end]);
    begin_made(false);
    made.is_ordered = rows.is_ordered;
    for (size_t i = 0; i < rows.count; i++) {
        const struct ref_row *row = &rows.rows[i];
        const struct ref_edge *edge = &edges[row->id];
        uint64_t from = row->from ? row->from : edge->src;
        uint64_t id = end == 0   ? edge->src
                      : end == 1 ? edge->dst
                                 : (from == edge->src ? edge->dst : edge->src);
        add(&made, (struct ref_row){ .id = id, .depth = row->depth });
    }
    take_made();
}

static int64_t value_of(const struct ref_row *row)
{
    return rows.is_edge ? edges[row->id].weight : ages[row->id];
}

/* A predicate on the age or the weight. */
static void random_where(void)
{
    const char *name = rows.is_edge ? "w" : "age";
    const unsigned kind = (unsigned)below(6);
    const int64_t a = (int64_t)below(5), b = a + (int64_t)below(3);
    size_t kept = 0;
    switch (kind) {
    case 0:
        say(", {'where', {%s = %" PRId64 "}}", name, a);
        break;
    case 1:
        say(", {'where', {%s = {ge = %" PRId64 ", lt = %" PRId64 ".0}}}", name, a, b);
        break;
    case 2:
        say(", {'where', {%s = {any_of = {%" PRId64 ", %" PRId64 ".0}}}}", name, a, b);
        break;
    case 3:
        say(", {'where', {%s = {exists = true}, ['#id'] = {gt = %" PRId64 "}}}", name, a);
        break;
    case 4:
        say(", {'where', {'not', {%s = {le = %" PRId64 "}}}}", name, a);
        break;
    default:
        say(", {'where', {'or', {%s = %" PRId64 "}, {%s = {gt = %" PRId64 "}}}}", name, a, name, b);
    }
    for (size_t i = 0; i < rows.count; i++) {
        const int64_t value = value_of(&rows.rows[i]);
        const bool is_there = value >= 0;
        bool holds = kind == 0   ? value == a
                     : kind == 1 ? is_there && value >= a && value < b
                     : kind == 2 ? is_there && (value == a || value == b)
                     : kind == 3 ? is_there && rows.rows[i].id > (uint64_t)a
                     : kind == 4 ? !(is_there && value <= a)
                                 : is_there && (value == a || value > b);
        if (holds)
            rows.rows[kept++] = rows.rows[i];
    }
    rows.count = kept;
}

static void random_distinct(void)
{
    size_t kept = 0;
    say(", {'distinct'}");
    for (size_t i = 0; i < rows.count; i++) {
        size_t at = 0;
        while (at < kept && rows.rows[at].id != rows.rows[i].id)
            at++;
        if (at == kept)
            rows.rows[kept++] = rows.rows[i];
    }
    rows.count = kept;
    /* Which of the walks to an edge or node it is says how deep. */
    rows.has_depth = false;
}

static int row_order(const struct ref_row *a, const struct ref_row *b, int key)
{
    if (key == 1) { /* by value, what is missing last */
        uint64_t left = (uint64_t)value_of(a), right = (uint64_t)value_of(b);
        if (left != right)
            return left < right ? -1 : 1;
    } else if (key == 2) { /* descending */
        uint64_t left = (uint64_t)value_of(a), right = (uint64_t)value_of(b);
        if (left != right)
            return left > right ? -1 : 1;
    } else if (key == 3 && a->id != b->id) {
        return a->id > b->id ? -1 : 1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

static void random_order(void)
{
    const char *name = rows.is_edge ? "w" : "age";
    int key = (int)below(4);
    if (key == 0)
        say(", {'order', {'#id'}}");
    else if (key == 3)
        say(", {'order', {'-#id'}}");
    else
        say(", {'order', {'%s%s'}}", key == 2 ? "-" : "", name);
    for (size_t i = 1; i < rows.count; i++) { /* stable */
        struct ref_row row = rows.rows[i];
        size_t at = i;
        for (; at > 0 && row_order(&row, &rows.rows[at - 1], key) < 0; at--)
            rows.rows[at] = rows.rows[at - 1];
        rows.rows[at] = row;
    }
    /* The same node at several depths: they come in no order the language names. */
    bool was_ordered = rows.is_ordered;
    rows.is_ordered = true;
    for (size_t i = 1; !was_ordered && i < rows.count; i++)
        rows.has_depth = rows.has_depth && rows.rows[i].id != rows.rows[i - 1].id;
}

static void random_bounds(void)
{
    size_t skip = below(3), limit = below(6);
    say(", {'skip', %zu}, {'limit', %zu}", skip, limit);
    rows.count -= skip < rows.count ? skip : rows.count;
    memmove(rows.rows, rows.rows + skip, rows.count * sizeof *rows.rows);
    rows.count = limit < rows.count ? limit : rows.count;
}

static void random_except(void)
{
    uint64_t id = 1 + below(NODES_MAX);
    size_t kept = 0;
    say(", {'except', {%" PRIu64 "}}", id);
    for (size_t i = 0; i < rows.count; i++) {
        if (rows.rows[i].id != id)
            rows.rows[kept++] = rows.rows[i];
    }
    rows.count = kept;
}

/* The rows, and one hop from each. */
static void random_union(void)
{
    say(", {'union', [], {{'out'}}}");
    begin_made(false);
    for (size_t i = 0; i < rows.count; i++)
        add(&made, rows.rows[i]);
    const struct ref_walk walk = { .out = true, .type = -1, .min = 1, .max = 1 };
    for (size_t i = 0; i < rows.count; i++)
        walk_on(&walk, rows.rows[i].id, 0, rows.rows[i].depth, 0);
    take_made();
}

static void random_optional(void)
{
    say(", {'optional', {{'out', {types = {'B'}}}}}");
    begin_made(false);
    const struct ref_walk walk = { .out = true, .type = 1, .min = 1, .max = 1 };
    for (size_t i = 0; i < rows.count; i++) {
        size_t before = made.count;
        walk_on(&walk, rows.rows[i].id, 0, rows.rows[i].depth, 0);
        if (made.count == before)
            add(&made, rows.rows[i]);
    }
    take_made();
}

/* Two rounds of one hop out, all rows of both. */
static void random_repeat(void)
{
    const bool is_unique = below(2);
    say(", {'repeat', {{'out'}}, {max = 2, emit = 'all', unique = '%s'}}",
        is_unique ? "nodes" : "none");
    begin_made(false);
    const struct ref_walk walk = { .out = true, .type = -1, .min = 1, .max = 2 };
    for (size_t i = 0; i < rows.count; i++) {
        if (is_unique)
            search(&walk, rows.rows[i].id, rows.rows[i].depth);
        else
            walk_on(&walk, rows.rows[i].id, 0, rows.rows[i].depth, 0);
    }
    take_made();
}

static void random_step(void)
{
    switch (below(rows.is_edge ? 7 : 11)) {
    case 0:
    case 1:
        random_where();
        break;
    case 2:
        random_distinct();
        break;
    case 3:
        random_order();
        break;
    case 4:
        if (rows.is_ordered)
            random_bounds();
        break;
    case 5:
        random_except();
        break;
    case 6:
        if (rows.is_edge)
            random_end();
        else
            random_edges();
        break;
    case 7:
        random_union();
        break;
    case 8:
        if (below(2))
            random_optional();
        else
            random_repeat();
        break;
    default:
        random_walk();
    }
}

/* ---- comparison -------------------------------------------------------------------------- */

static bool compares_depth;

static int by_id(const void *a, const void *b)
{
    const struct ref_row *left = a, *right = b;
    if (left->id != right->id)
        return left->id > right->id ? 1 : -1;
    if (!compares_depth)
        return 0;
    return (left->depth > right->depth) - (left->depth < right->depth);
}

static void read_rows(struct query *query, struct ref_rows *out)
{
    out->count = 0;
    for (;;) {
        const sombra_row *batch;
        size_t count;
        assert_ok(query_next(query, &batch, &count));
        if (count == 0)
            return;
        for (size_t i = 0; i < count; i++)
            add(out, (struct ref_row){ .id = batch[i].id, .depth = batch[i].depth });
    }
}

static void compare(struct fixture *f)
{
    const sombra_slice encoded = value_text("{%s}", steps);
    uint64_t count;
    struct query *query = query_begin(f, encoded);
    read_rows(query, &spare);
    query_end(query);
    if (!rows.is_ordered) {
        compares_depth = rows.has_depth;
        qsort(rows.rows, rows.count, sizeof *rows.rows, by_id);
        qsort(spare.rows, spare.count, sizeof *spare.rows, by_id);
    }
    bool is_same = spare.count == rows.count;
    for (size_t i = 0; is_same && i < rows.count; i++)
        is_same = spare.rows[i].id == rows.rows[i].id &&
                  (!rows.has_depth || spare.rows[i].depth == rows.rows[i].depth);
    if (!is_same) {
        print_error("{%s}\nwanted:", steps);
        for (size_t i = 0; i < rows.count; i++)
            print_error(" %" PRIu64 "@%u", rows.rows[i].id, rows.rows[i].depth);
        print_error("\nhave:");
        for (size_t i = 0; i < spare.count; i++)
            print_error(" %" PRIu64 "@%u", spare.rows[i].id, spare.rows[i].depth);
        print_error("\nedges:");
        for (size_t i = 1; i <= edge_count; i++)
            print_error(" %" PRIu64 ">%" PRIu64 "%s%" PRId64, edges[i].src, edges[i].dst,
                        edges[i].type ? "B" : "A", edges[i].weight);
        fail_msg("rows differ");
    }
    query = query_begin(f, encoded);
    assert_ok(query_count(query, &count));
    query_end(query);
    if (count != rows.count)
        fail_msg("{%s}: counts %" PRIu64 ", has %zu rows", steps, count, rows.count);
}

static void test_queries__give_what_the_reference_gives(void **state)
{
    struct fixture *f = *state;
    uint64_t cases = 0;
    random_seed(&source, test_seed());
    for (unsigned round = 0; round < ROUNDS; round++) {
        make_graph(f);
        if (round % 3)
            make_indexes(f);
        for (unsigned i = 0; i < CASES_A_ROUND; i++) {
            steps_bytes = 0;
            memset(&rows, 0, offsetof(struct ref_rows, rows));
            random_source();
            for (uint64_t left = below(6); left > 0; left--)
                random_step();
            if (rows.has_overflowed)
                continue;
            compare(f);
            cases++;
        }
        values_release();
        rollback(f); /* ids begin at 1 again */
        begin_write(f);
    }
    assert_true(cases >= 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queries__give_what_the_reference_gives, query_setup,
                                        query_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
