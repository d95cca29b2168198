/* SPDX-License-Identifier: MIT */
#include "query_search_fixture.h"

struct query_run search_run;
_Atomic uint32_t search_is_cancelled;

static sombra_node_id nodes[128];
static struct arena values = ARENA_INIT;
static struct search_row *rows;
static size_t row_count, row_capacity;
static char output[1 << 16];

int search_setup(void **state)
{
    fixture_setup(state);
    struct fixture *f = *state;
    search_run = (struct query_run){
        .txn = &f->txn,
        .environment = { .is_cancelled = &search_is_cancelled },
    };
    search_is_cancelled = 0;
    memset(nodes, 0, sizeof nodes);
    begin_write(f);
    return 0;
}

int search_teardown(void **state)
{
    run_release(&search_run);
    arena_release(&values);
    free(rows);
    rows = NULL;
    row_capacity = 0;
    values_release();
    return fixture_teardown(state);
}

/* ---- graphs ------------------------------------------------------------------------------ */

sombra_node_id node_named(const char *name)
{
    return nodes[(unsigned char)*name & 127];
}

static sombra_node_id node_for(struct fixture *f, char name)
{
    sombra_node_id *node = &nodes[(unsigned char)name & 127];
    if (!*node)
        assert_ok(graph_node_create(&f->txn, NULL, 0, value_text("{name = '%c'}", name), node));
    return *node;
}

void graph_of(struct fixture *f, const char *edges)
{
    for (const char *at = edges; *at;) {
        struct graph_edge ends = { 0 };
        sombra_edge_id edge;
        char type[20] = "E";
        int length = 0;
        double weight;
        ends.src = node_for(f, *at++);
        if (*at != '>') { /* a node alone */
            at += strspn(at, ", ");
            continue;
        }
        ends.dst = node_for(f, at[1]);
        at += 2;
        if (*at == ':') {
            sscanf(at, ":%19[A-Z]%n", type, &length);
            at += length;
        }
        sombra_slice properties = NOTHING;
        if (sscanf(at, " %lf%n", &weight, &length) == 1) {
            at += length;
            properties = weight == (double)(int64_t)weight
                             ? value_text("{w = %" PRId64 "}", (int64_t)weight)
                             : value_text("{w = %.17g}", weight);
        }
        assert_ok(graph_edge_create(&f->txn, &ends, text(type), properties, &edge));
        at += strspn(at, ", ");
    }
}

/* ---- rows -------------------------------------------------------------------------------- */

static void keep(const struct row *row)
{
    if (row_count == row_capacity) {
        row_capacity = row_capacity ? row_capacity * 2 : 256;
        rows = realloc(rows, row_capacity * sizeof *rows);
        assert_non_null(rows);
    }
    sombra_slice value = row->value.bytes ? arena_copy(&values, row->value) : row->value;
    rows[row_count++] = (struct search_row){
        .id = row->id, .depth = row->depth, .cost = row->cost, .value = value
    };
}

/* `keeps` the rows. */
static sombra_err run_source(source_fn source, const sombra_value *options, bool keeps,
                             sombra_row_kind *out_kind)
{
    static struct row_batch batch;
    struct operator* op;
    size_t memory = search_run.memory_used;
    sombra_err err = source(&search_run, options, &op);
    assert_true(!err || search_run.memory_used == memory);
    if (err)
        return err;
    if (out_kind)
        *out_kind = op->kind;
    do {
        err = operator_next(op, &batch);
        for (size_t i = 0; !err && keeps && i < batch.count; i++)
            keep(&batch.rows[i]);
    } while (!err && batch.count);
    if (!err) {
        assert_ok(operator_next(op, &batch)); /* the end is for ever */
        assert_int_equal(batch.count, 0);
    }
    op->ops->free(op);
    assert_int_equal(search_run.memory_used, memory);
    return err;
}

static sombra_value read_options(const char *format, va_list arguments)
{
    char text[8192];
    vsnprintf(text, sizeof text, format, arguments);
    return value_decoded("%s", text);
}

size_t search_rows(source_fn source, const struct search_row **out_rows, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sombra_value options = read_options(format, arguments);
    va_end(arguments);
    arena_reset(&values);
    row_count = 0;
    assert_ok(run_source(source, &options, true, NULL));
    *out_rows = rows;
    return row_count;
}

sombra_err search_error(source_fn source, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    sombra_value options = read_options(format, arguments);
    va_end(arguments);
    return run_source(source, &options, false, NULL);
}

static size_t say_name(struct fixture *f, size_t used, uint64_t node)
{
    (void)f;
    for (size_t i = 0; i < COUNT_OF(nodes); i++) {
        if (nodes[i] == node)
            return used + (size_t)snprintf(output + used, sizeof output - used, "%c", (char)i);
    }
    return used + (size_t)snprintf(output + used, sizeof output - used, "%" PRIu64, node);
}

static size_t say_path(size_t used, sombra_slice encoded)
{
    sombra_value path, id;
    sombra_value_cursor cursor;
    bool found = true, is_node = true;
    assert_ok(sombra_value_decode(encoded, &path));
    assert_int_equal(path.kind, SOMBRA_LIST);
    sombra_value_enter(&path, &cursor);
    for (uint32_t i = 0; i < path.count; i++, is_node = !is_node) {
        assert_ok(sombra_value_next(&cursor, NULL, &id, &found));
        assert_int_equal(id.kind, SOMBRA_INTEGER);
        if (is_node)
            used = say_name(NULL, used, (uint64_t)id.as.integer);
        else
            used += (size_t)snprintf(output + used, sizeof output - used, "-%" PRId64 "-",
                                     id.as.integer);
    }
    assert_false(is_node);
    return used;
}

const char *search_text(source_fn source, const char *format, ...)
{
    sombra_row_kind kind = SOMBRA_ROW_NODE;
    size_t used = 0;
    va_list arguments;
    va_start(arguments, format);
    sombra_value options = read_options(format, arguments);
    va_end(arguments);
    arena_reset(&values);
    row_count = 0;
    assert_ok(run_source(source, &options, true, &kind));
    output[0] = 0;
    for (size_t i = 0; i < row_count; i++) {
        used += (size_t)snprintf(output + used, sizeof output - used, "%s", i ? "; " : "");
        if (kind == SOMBRA_ROW_PATH)
            used = say_path(used, rows[i].value);
        else if (kind == SOMBRA_ROW_RECORD)
            used += (size_t)snprintf(output + used, sizeof output - used, "%s",
                                     text_of_value(rows[i].value));
        else
            used = say_name(NULL, used, rows[i].id);
    }
    return output;
}

/* ---- what must hold for every source -------------------------------------------------------- */

void search_survives_failed_allocations(source_fn source, const char *options_text)
{
    sombra_value options = value_decoded("%s", options_text);
    sombra_err err = SOMBRA_NOMEM;
    assert_ok(run_source(source, &options, false, NULL));
    uint64_t count = 0;
    for (uint64_t n = 1; err; n++, count++) {
        run_release(&search_run);
        uint64_t live = mem_test_live();
        mem_test_fail_at(n, false);
        err = run_source(source, &options, false, NULL);
        mem_test_fail_at(0, false);
        run_release(&search_run);
        if (err)
            assert_err(err, SOMBRA_NOMEM);
        if (mem_test_live() != live)
            fail_msg("allocation %" PRIu64 ": %" PRIu64 " blocks before, %" PRIu64 " after", n,
                     live, mem_test_live());
        assert_in_range(n, 1, 5000);
    }
    assert_true(count > 2);
}

void search_obeys_its_bounds(source_fn source, const char *options_text)
{
    sombra_value options = value_decoded("%s", options_text);
    search_is_cancelled = 1;
    search_run.ticks = 255; /* the next one looks */
    assert_err(run_source(source, &options, false, NULL), SOMBRA_CANCELLED);
    search_is_cancelled = 0;
    sombra_err err = SOMBRA_LIMIT;
    size_t limits = 0;
    for (size_t bytes = 500; err; bytes += 500, limits++) {
        search_run.options.memory_max = bytes;
        err = run_source(source, &options, false, NULL);
        if (err)
            assert_err(err, SOMBRA_LIMIT);
    }
    assert_true(limits > 1);
    search_run.options.memory_max = 0;
}
