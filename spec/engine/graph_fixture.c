/* SPDX-License-Identifier: MIT */
#include "graph_fixture.h"

#include <inttypes.h>
#include <time.h>

static char output[1 << 16];

static void say(const char *format, ...)
{
    size_t used = strlen(output);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(output + used, sizeof output - used, format, arguments);
    va_end(arguments);
}

void assert_string_equal_or_text(const char *have, const char *want, const char *file, int line)
{
    if (strcmp(have, want) != 0)
        print_error("%s (%s)\n", have, sombra_err_message());
    _assert_string_equal(have, want, file, line);
}

int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_ok(fixture_open_store(&f->kv));
    assert_ok(graph_init(&f->graph));
    assert_ok(sombra_value_builder_new(&f->builder));
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->txn.kv)
        rollback(f);
    graph_txn_release(&f->txn);
    graph_release(&f->graph);
    sombra_value_builder_free(f->builder);
    assert_ok(kv_close(f->kv));
    free(f);
    return 0;
}

static void begin(struct fixture *f, bool is_write)
{
    struct kv_txn *kv;
    assert_ok(kv_begin(f->kv, &(struct kv_begin_options){ .is_write = is_write }, &kv));
    graph_txn_begin(&f->txn, &f->graph, kv);
}

void begin_read(struct fixture *f)
{
    begin(f, false);
}

void begin_write(struct fixture *f)
{
    begin(f, true);
}

void commit(struct fixture *f)
{
    assert_ok(graph_txn_flush(&f->txn));
    assert_ok(kv_commit(f->txn.kv, KV_DURABILITY_STORE));
    graph_txn_end(&f->txn, true);
}

void rollback(struct fixture *f)
{
    kv_abort(f->txn.kv);
    graph_txn_end(&f->txn, false);
}

/* ---- values ------------------------------------------------------------------------------ */

static void push(sombra_value_builder *b, char kind, va_list *arguments)
{
    const char *s;
    switch (kind) {
    case 'i':
        sombra_value_push_integer(b, va_arg(*arguments, int));
        break;
    case 'f':
        sombra_value_push_float(b, va_arg(*arguments, double));
        break;
    case 's':
        s = va_arg(*arguments, const char *);
        sombra_value_push_string(b, s, strlen(s));
        break;
    case 'b':
        sombra_value_push_boolean(b, va_arg(*arguments, int));
        break;
    case 'n':
        sombra_value_push_null(b);
        break;
    case 'l':
        sombra_value_begin_list(b);
        sombra_value_end_list(b);
        break;
    case 'm':
        sombra_value_begin_map(b);
        sombra_value_end_map(b);
        break;
    default:
        fail_msg("unknown kind %c", kind);
    }
}

sombra_slice map_of(struct fixture *f, const char *kinds, ...)
{
    sombra_slice encoded;
    va_list arguments;
    va_start(arguments, kinds);
    sombra_value_builder_reset(f->builder);
    sombra_value_begin_map(f->builder);
    for (; *kinds; kinds++) {
        const char *key = va_arg(arguments, const char *);
        sombra_value_push_key(f->builder, key, strlen(key));
        push(f->builder, *kinds, &arguments);
    }
    sombra_value_end_map(f->builder);
    va_end(arguments);
    assert_ok(sombra_value_finish(f->builder, &encoded));
    return encoded;
}

static void say_value(sombra_slice encoded)
{
    sombra_value v;
    assert_ok(sombra_value_decode(encoded, &v));
    switch (v.kind) {
    case SOMBRA_NULL:
        say("null");
        break;
    case SOMBRA_BOOLEAN:
        say(v.as.boolean ? "true" : "false");
        break;
    case SOMBRA_INTEGER:
        say("%" PRId64, v.as.integer);
        break;
    case SOMBRA_FLOAT:
        say("%#g", v.as.real);
        break;
    case SOMBRA_STRING:
        say("'%.*s'", (int)v.as.string.bytes, (const char *)v.as.string.data);
        break;
    case SOMBRA_LIST:
        say("list(%u)", v.count);
        break;
    case SOMBRA_MAP:
        say("map(%u)", v.count);
        break;
    }
}

/* ---- reads ------------------------------------------------------------------------------- */

static void say_name(struct fixture *f, sombra_name_kind kind, uint32_t id)
{
    sombra_name name;
    assert_ok(graph_name_by_id(&f->txn, kind, id, &name));
    say("%.*s", (int)name.text.bytes, (const char *)name.text.data);
}

const char *labels_text(struct fixture *f, sombra_node_id node)
{
    sombra_record record;
    output[0] = 0;
    assert_ok(graph_node_get(&f->txn, node, &record));
    for (;;) {
        uint32_t label;
        bool found;
        assert_ok(graph_record_next_label(&record, &label, &found));
        if (!found)
            return output;
        say(output[0] ? "," : "");
        say_name(f, SOMBRA_NAME_LABEL, label);
    }
}

const char *record_text(struct fixture *f, sombra_record *record)
{
    uint32_t count = 0;
    output[0] = 0;
    for (;; count++) {
        uint32_t name;
        sombra_slice value;
        bool found;
        assert_ok(graph_record_next_property(record, &name, &value, &found));
        if (!found)
            break;
        say(output[0] ? " " : "");
        say_name(f, SOMBRA_NAME_PROPERTY, name);
        say("=");
        say_value(value);
    }
    assert_int_equal(count, record->property_count);
    return output;
}

const char *node_text(struct fixture *f, sombra_node_id node)
{
    sombra_record record;
    assert_ok(graph_node_get(&f->txn, node, &record));
    return record_text(f, &record);
}

const char *edge_text(struct fixture *f, sombra_edge_id edge)
{
    sombra_record record;
    struct graph_edge ends;
    assert_ok(graph_edge_ends(&f->txn, edge, &ends));
    assert_ok(graph_edge_record(&f->txn, &ends, &record));
    return record_text(f, &record);
}

const char *neighbours_text(struct fixture *f, sombra_node_id node,
                            const sombra_neighbours_options *options)
{
    struct graph_neighbours *n = calloc(1, sizeof *n);
    output[0] = 0;
    assert_ok(graph_neighbours_open(n, &f->txn, node, options));
    for (;;) {
        const sombra_neighbour *batch;
        size_t count;
        assert_ok(graph_neighbours_next(n, &batch, &count));
        for (size_t i = 0; i < count; i++) {
            say("%s%c", output[0] ? " " : "", batch[i].is_out ? '>' : '<');
            say_name(f, SOMBRA_NAME_TYPE, batch[i].type);
            say(":%" PRIu64 "/%" PRIu64, batch[i].node, batch[i].edge);
        }
        if (count == 0)
            break;
    }
    graph_neighbours_close(n);
    graph_neighbours_release(n);
    free(n);
    return output;
}

uint64_t degree_of(struct fixture *f, sombra_node_id node, sombra_direction direction,
                   const char *type)
{
    uint64_t degree = 0;
    assert_ok(graph_degree(&f->txn, node, direction, type ? text(type) : NOTHING, &degree));
    return degree;
}

uint64_t nodes_of(struct fixture *f, const char *label)
{
    uint64_t count = 0;
    assert_ok(graph_node_count(&f->txn, label ? text(label) : NOTHING, &count));
    return count;
}

uint64_t edges_of(struct fixture *f, const char *type)
{
    uint64_t count = 0;
    assert_ok(graph_edge_count(&f->txn, type ? text(type) : NOTHING, &count));
    return count;
}

/* ---- writes ------------------------------------------------------------------------------ */

sombra_node_id node_new(struct fixture *f, const char *label)
{
    sombra_node_id node;
    sombra_slice name = label ? text(label) : NOTHING;
    assert_ok(graph_node_create(&f->txn, &name, label ? 1 : 0, NOTHING, &node));
    return node;
}

sombra_edge_id edge_new(struct fixture *f, sombra_node_id src, const char *type, sombra_node_id dst)
{
    sombra_edge_id edge;
    struct graph_edge ends = { .src = src, .dst = dst };
    assert_ok(graph_edge_create(&f->txn, &ends, text(type), NOTHING, &edge));
    return edge;
}

/* ---- check ------------------------------------------------------------------------------- */

struct findings {
    char *first;
    size_t bytes;
};

static void keep_first(void *context, sombra_err code, const char *message)
{
    struct findings *findings = context;
    assert_int_equal(code, SOMBRA_CORRUPT);
    if (findings->bytes && !findings->first[0])
        snprintf(findings->first, findings->bytes, "%s", message);
}

uint64_t problems_of(struct fixture *f, char *out_first, size_t bytes)
{
    struct findings findings = { out_first, bytes };
    struct graph_check check = { .problem = keep_first, .context = &findings };
    if (bytes)
        out_first[0] = 0;
    assert_ok(graph_verify(&f->txn, &check));
    return check.problems;
}

void assert_sound(struct fixture *f)
{
    char first[DIAG_TEXT_BYTES];
    if (problems_of(f, first, sizeof first))
        fail_msg("the graph is not sound: %s", first);
}

uint64_t test_seed(void)
{
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("seed %" PRIu64 " (SOMBRA_SEED repeats it)\n", seed);
    return seed;
}
