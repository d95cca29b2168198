/* SPDX-License-Identifier: MIT */
/* What a query keeps for the next one: the fixture runs one after the other on the same handle. */
#include "query_fixture.h"

#include "base/random.h"

/* Nodes A 1 to 4 with unique i, g and s, edges E from each to the next. */
static int setup(void **state)
{
    query_setup(state);
    struct fixture *f = *state;
    const sombra_slice label = text("A");
    for (uint64_t i = 1; i <= 4; i++) {
        sombra_node_id node;
        assert_ok(graph_node_create(
            &f->txn, &label, 1,
            value_text("{i = %" PRIu64 ", g = %" PRIu64 ", s = 'n%" PRIu64 "'}", i, i % 2, i),
            &node));
        values_release();
    }
    for (uint64_t i = 1; i < 4; i++) {
        const struct graph_edge ends = { .src = i, .dst = i + 1 };
        sombra_edge_id edge;
        assert_ok(graph_edge_create(&f->txn, &ends, text("E"), value_text("{i = 2}"), &edge));
    }
    const sombra_rule rule = { .struct_bytes = sizeof rule,
                               .kind = SOMBRA_RULE_UNIQUE,
                               .subject = text("A"),
                               .property_count = 1,
                               .properties = { text("i") } };
    uint32_t id;
    assert_ok(graph_rule_create(&f->txn, &rule, NULL, &id));
    commit(f);
    begin_read(f);
    return 0;
}

static void test_steps__are_taken_again_with_other_constants(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *where, *rows;
    } cases[] = {
        { "{i = 2}", "3@1" },
        { "{i = 3}", "4@1" },
        { "{i = 3.0}", "4@1" },
        { "{i = '3'}", "" },
        { "{i = true}", "" },
        { "{i = 1000000007}", "" },
        { "{i = {eq = 1}}", "2@1" },
        { "{i = {ge = 2}}", "3@1 4@1" },
        { "{i = {any_of = {1, 2}}}", "2@1 3@1" },
        { "{s = 'n1'}", "2@1" },
        { "{s = 'a string that is much longer than the one before, and than what is kept for it'}",
          "" },
        { "{s = 'n3'}", "4@1" },
        { "{g = 1, s = 'n1'}", "2@1" },
        { "{g = 1, s = 'n3'}", "4@1" },
        { "{g = 0, s = 'n3'}", "" },
        { "{['#id'] = 2}", "3@1" },
        { "{['#id'] = 1}", "2@1" },
        { "{'not', {i = 1}}", "3@1 4@1" },
        { "{'and', {i = 1}}", "2@1" },
        { "{}", "2@1 3@1 4@1" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t j = 0; j < COUNT_OF(cases); j++) {
            assert_rows(f, cases[i].rows, "{{'label', 'A'}, {'where', %s}, {'out', {types = 'E'}}}",
                        cases[i].where);
            assert_rows(f, cases[j].rows, "{{'label', 'A'}, {'where', %s}, {'out', {types = 'E'}}}",
                        cases[j].where);
        }
    }
    assert_refused(f, "eq takes a value", "{{'label', 'A'}, {'where', {i = null}}}");
}

static void test_a_step__is_made_anew_behind_other_rows(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        assert_rows(f, "2", "{{'all'}, {'where', {i = 2}}}");
        assert_rows(f, "1 2 3", "{{'edges'}, {'where', {i = 2}}}");
        assert_rows(f, "3@1", "{{'ids', {2}}, {'out'}}");
        assert_rows(f, "4@1", "{{'ids', {3}}, {'out'}}");
        assert_rows(f, "", "{{'ids', {0}}, {'out'}}");
        assert_rows(f, "", "{{'ids', {-2}}, {'out'}}");
        assert_rows(f, "3@1", "{{'ids', {2}}, {'out'}}");
        assert_rows(f, "", "{{'ids', {9007199254740993}}, {'out'}}");
        assert_refused(f, "id 1 must be", "{{'ids', {'2'}}, {'out'}}");
        assert_rows(f, "3@1 3@1", "{{'ids', {2, 2}}, {'out'}}");
        assert_rows(f, "", "{{'ids', {}}, {'out'}}");
        assert_rows(f, "2", "{{'edge_ids', {2}}}");
        assert_rows(f, "3", "{{'edge_ids', {3}}}");
        assert_rows(f, "1", "{{'ids', {1, 2}}, {'limit', 1}}");
        assert_rows(f, "1 2", "{{'ids', {1, 2}}, {'limit', 2}}");
        assert_refused(f, "step 2 (source)", "{{'all'}, {'source'}}");
        assert_rows(f, "1 2 3", "{{'edges'}, {'source'}}");
    }
}

static void test_paths__are_taken_again_with_other_ends(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *options, *rows;
    } cases[] = {
        { "{from = 1, to = 3}", "{1 1 2 2 3}" },
        { "{from = 2, to = 3}", "{2 2 3}" },
        { "{from = 3, to = 2}", "" },
        { "{from = 2, to = 2}", "{2}" },
        { "{from = 1, to = 300}", "" },
        { "{from = 70000, to = 1}", "" },
        { "{from = 1, to = 3, max = 1}", "" },
        { "{from = 1, to = 2, max = 1}", "{1 1 2}" },
        { "{from = 1, to = 3, types = 'E'}", "{1 1 2 2 3}" },
        { "{from = 2, to = 4, types = {'E'}}", "{2 2 3 3 4}" },
        { "{from = 2, kind = 'all_shortest', to = 3}", "{2 2 3}" },
        { "{from = 3, kind = 'all_shortest', to = 4}", "{3 3 4}" },
        { "{direction = 'into', from = 3, to = 1}", "{3 2 2 1 1}" },
        { "{direction = 'into', from = 2, to = 1}", "{2 1 1}" },
        { "{from = {1, 2}, to = 3}", "{1 1 2 2 3} {2 2 3}" },
        { "{from = 1, to = 3, nodes = {i = 1}}", "" },
        { "{from = 1, kind = 'weighted', to = 2}", "{1 1 2}" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t j = 0; j < COUNT_OF(cases); j++) {
            assert_rows(f, cases[i].rows, "{{'paths', %s}}", cases[i].options);
            assert_rows(f, cases[j].rows, "{{'paths', %s}}", cases[j].options);
        }
        assert_refused(f, "takes the id of a node", "{{'paths', {from = 0, to = 3}}}");
        assert_refused(f, "takes the id of a node", "{{'paths', {from = 1, to = '3'}}}");
        assert_refused(f, "unknown option 'two'", "{{'paths', {from = 1, two = 3}}}");
        assert_refused(f, "option 'k' is for", "{{'paths', {from = 1, k = 2, to = 3}}}");
    }
}

static void test_names__that_were_missing_are_looked_for_again(void **state)
{
    struct fixture *f = *state;
    static const char *const steps[] = {
        "{{'label', 'A'}, {'where', {late = 1}}}",
        "{{'ids', {1}}, {'out', {types = 'LATE'}}}",
        "{{'ids', {1}}, {'where', {'label', 'Late'}}}",
        "{{'ids', {1}}, {'select', {'late'}}}",
        "{{'paths', {from = 1, to = 4, types = 'LATE'}}}",
    };
    static const char *const before[] = { "", "", "", "{}", "" };
    static const char *const after[] = { "1", "4@1", "1", "{late=1}", "{1 4 4}" };
    const struct graph_edge ends = { .src = 1, .dst = 4 };
    sombra_edge_id edge;
    bool changed;
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        assert_rows(f, before[i], "%s", steps[i]);
    rollback(f);
    begin_write(f);
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        assert_rows(f, before[i], "%s", steps[i]);
    assert_ok(graph_node_add_label(&f->txn, 1, text("Late"), &changed));
    assert_ok(graph_node_change(&f->txn, 1, value_text("{late = 1}"), GRAPH_MERGE));
    assert_ok(graph_edge_create(&f->txn, &ends, text("LATE"), NOTHING, &edge));
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        assert_rows(f, after[i], "%s", steps[i]);
}

/* Its id is the next name's, then. */
static void test_names__of_a_transaction_that_is_undone_are_forgotten(void **state)
{
    struct fixture *f = *state;
    const char *steps = "{{'label', 'A'}, {'where', {mine = 1}}}";
    rollback(f);
    begin_write(f);
    assert_ok(graph_node_change(&f->txn, 1, value_text("{mine = 1}"), GRAPH_MERGE));
    assert_rows(f, "1", "%s", steps);
    assert_rows(f, "1", "%s", steps);
    rollback(f);
    begin_write(f);
    assert_ok(graph_node_change(&f->txn, 2, value_text("{other = 1}"), GRAPH_MERGE));
    assert_rows(f, "", "%s", steps);
    commit(f);
    begin_read(f);
    assert_rows(f, "", "%s", steps);
    assert_rows(f, "2", "{{'label', 'A'}, {'where', {other = 1}}}");
}

/* What an opened query gives: its failure, or its ids. */
static void outcome(struct query *query, struct fixture *f, const sombra_slice *steps, size_t count,
                    char *text, size_t bytes)
{
    const struct query_steps each = { .items = steps, .count = count };
    const sombra_row *rows;
    size_t row_count = 1, used = 0;
    sombra_err err = query_open_steps(query, &f->txn, &each, &query_options, &query_environment);
    while (!err && row_count) {
        err = query_next(query, &rows, &row_count);
        for (size_t i = 0; !err && i < row_count; i++)
            used += (size_t)snprintf(text + used, bytes - used, "%" PRIu64 " ", rows[i].id);
    }
    snprintf(text + used, bytes - used, "%s: %s", sombra_err_name(err),
             err ? sombra_err_message() : "");
    query_close(query);
}

/* Steps that differ from the kept ones in any one byte give what they give to a new query. */
static void check_bytes(struct fixture *f, struct query *kept, const sombra_slice good[2],
                        size_t which)
{
    for (size_t at = 0; at < good[which].bytes; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            static char wanted[1000], have[1000];
            uint8_t other[100];
            struct query *fresh;
            assert_true(good[which].bytes <= sizeof other);
            memcpy(other, good[which].data, good[which].bytes);
            other[at] = (uint8_t)byte;
            sombra_slice bad[] = { good[0], good[1] };
            bad[which] = slice_of(other, good[which].bytes);
            outcome(kept, f, good, 2, have, sizeof have);
            outcome(kept, f, bad, 2, have, sizeof have);
            assert_ok(query_new(&fresh));
            outcome(fresh, f, bad, 2, wanted, sizeof wanted);
            query_release(fresh);
            assert_string_equal(have, wanted);
        }
    }
}

static void test_a_step__that_is_nearly_the_kept_one_is_not_taken_for_it(void **state)
{
    struct fixture *f = *state;
    struct query *kept = query_take();
    const sombra_slice ids[] = { value_text("{'ids', {2}}"), value_text("{'out'}") };
    const sombra_slice label[] = { value_text("{'label', 'A'}"),
                                   value_text("{'where', {g = 1, i = 300, s = 'n1'}}") };
    const sombra_slice paths[] = { value_text("{'paths', {from = 1, to = 300, types = 'E'}}"),
                                   value_text("{'limit', 1}") };
    const sombra_slice one[] = { value_text("{'label', 'A'}"), value_text("{'where', {i = 300}}") };
    const sombra_slice name[] = { value_text("{'label', 'A'}"),
                                  value_text("{'where', {s = 'n1'}}") };
    check_bytes(f, kept, one, 1);
    check_bytes(f, kept, name, 1);
    check_bytes(f, kept, label, 1);
    check_bytes(f, kept, label, 0);
    check_bytes(f, kept, ids, 0);
    check_bytes(f, kept, paths, 0);
    query_end(kept);
}

/* A constant within a map of its own, that is one byte longer than the map says. */
static void test_a_constant__does_not_outgrow_the_maps_around_it(void **state)
{
    struct fixture *f = *state;
    static char have[1000];
    struct query *kept = query_take();
    const sombra_slice label = value_text("{'label', 'A'}");
    const sombra_slice where = value_text("{'where', {s = {eq = 'n1'}}}");
    const sombra_slice good[] = { label, where };
    uint8_t bytes[100];
    assert_true(where.bytes < sizeof bytes);
    memcpy(bytes, where.data, where.bytes);
    bytes[where.bytes] = '1';
    bytes[where.bytes - 3]++; /* the string */
    bytes[1]++;               /* the list */
    bytes[3 + 6 + 1]++;       /* the map around the map */
    const sombra_slice bad[] = { label, slice_of(bytes, where.bytes + 1) };
    outcome(kept, f, good, 2, have, sizeof have);
    outcome(kept, f, bad, 2, have, sizeof have);
    assert_non_null(strstr(have, "invalid"));
    query_end(kept);
}

/* ---- a kept search beside a new one ----------------------------------------------------- */

enum { RANDOM_ROUNDS = 5000 };

struct bytes {
    size_t count;
    uint8_t at[400];
};

static void put(struct bytes *to, const void *from, size_t count)
{
    assert_true(count <= sizeof to->at - to->count);
    memcpy(to->at + to->count, from, count);
    to->count += count;
}

static void put_text(struct bytes *to, const char *literal)
{
    put(to, literal, strlen(literal));
}

/* A number in one of the forms that readers take, or what is none. */
static void put_number(struct bytes *to, struct random *source)
{
    static const uint8_t others[][5] = { { 0x10 }, { 0x00 }, { 0x02 }, { 0x31, 'x' }, { 0x87 } };
    const uint64_t number =
        random_below(source, 12) ? 1 + random_below(source, 6) : random_below(source, 70000);
    uint8_t bytes[9] = { 0 };
    const unsigned form = (unsigned)random_below(source, 24);
    for (unsigned i = 0; i < 8; i++)
        bytes[1 + i] = (uint8_t)(number >> 8 * i);
    if (form == 0) {
        const uint8_t *other = others[random_below(source, COUNT_OF(others))];
        put(to, other, other[0] == 0x31 ? 2 : 1);
    } else if (form < 4 && number < 0x2000) {
        const uint8_t two[] = { (uint8_t)(0x60 + (number >> 8)), (uint8_t)number };
        put(to, two, sizeof two);
    } else {
        const unsigned least = number < 0x80 ? 1 : number < 0x8000 ? 2 : 3;
        const unsigned length =
            form < 12 ? least : least + (unsigned)random_below(source, 9 - least);
        bytes[0] = (uint8_t)(0x10 + length);
        put(to, bytes, 1 + length);
    }
}

static void put_head(struct bytes *to, struct random *source, uint8_t tag, size_t body,
                     size_t count)
{
    if (random_below(source, 40) == 0)
        body += random_below(source, 3) - 1;
    if (random_below(source, 40) == 0)
        count += random_below(source, 3) - 1;
    const uint8_t small[] = { tag, (uint8_t)body, (uint8_t)count };
    const uint8_t large[] = { (uint8_t)(tag + 3),
                              (uint8_t)body,
                              (uint8_t)(body >> 8),
                              0,
                              0,
                              (uint8_t)count,
                              (uint8_t)(count >> 8),
                              0,
                              0 };
    if (random_below(source, 20) == 0)
        put(to, large, sizeof large);
    else
        put(to, small, sizeof small);
}

static void put_key(struct bytes *to, const char *key)
{
    const uint8_t length = (uint8_t)strlen(key);
    put(to, &length, 1);
    put_text(to, key);
}

static void put_string(struct bytes *to, const char *string)
{
    const uint8_t tag = (uint8_t)(0x30 + strlen(string));
    put(to, &tag, 1);
    put_text(to, string);
}

/* A step "paths" with options that are often sound. */
static void random_paths(struct bytes *step, struct random *source)
{
    static const char *const directions[] = { "out", "into", "both", "left" };
    static const char *const kinds_of[] = { "shortest", "all_shortest", "weighted", "short" };
    static const char *const types[] = { "E", "F", "G", "" };
    struct bytes body = { 0 }, options = { 0 }, list = { 0 };
    size_t count = 0;
    if (random_below(source, 3) == 0) {
        put_key(&body, "direction");
        put_string(&body, directions[random_below(source, random_below(source, 8) ? 3 : 4)]);
        count++;
    }
    if (random_below(source, 40)) {
        put_key(&body, "from");
        put_number(&body, source);
        count++;
    }
    if (random_below(source, 3) == 0) {
        put_key(&body, "kind");
        put_string(&body, kinds_of[random_below(source, random_below(source, 8) ? 2 : 4)]);
        count++;
    }
    if (random_below(source, 3) == 0) {
        put_key(&body, "max");
        put_number(&body, source);
        count++;
    }
    for (int i = 0; i < (random_below(source, 40) ? 1 : 2); i++) {
        put_key(&body, "to");
        put_number(&body, source);
        count++;
    }
    if (random_below(source, 3) == 0) {
        put_key(&body, "types");
        put_string(&body, types[random_below(source, random_below(source, 8) ? 3 : 4)]);
        count++;
    }
    put_head(&options, source, 0x51, body.count, count);
    put(&options, body.at, body.count);
    put_string(&list, "paths");
    put(&list, options.at, options.count);
    *step = (struct bytes){ 0 };
    put_head(step, source, 0x41, list.count, 2);
    put(step, list.at, list.count);
    if (random_below(source, 30) == 0)
        step->at[random_below(source, step->count)] = (uint8_t)random_below(source, 256);
    if (random_below(source, 60) == 0)
        step->count--;
}

static void paths_outcome(struct query *query, struct fixture *f, sombra_slice steps, char *out,
                          size_t bytes)
{
    const struct query_steps whole = { .whole = steps };
    const sombra_row *rows;
    size_t count = 1, used = 0;
    sombra_err err = query_open_steps(query, &f->txn, &whole, &query_options, &query_environment);
    while (!err && count) {
        err = query_next(query, &rows, &count);
        for (size_t i = 0; !err && i < count; i++)
            used += (size_t)snprintf(out + used, bytes - used, "%" PRIu64 "@%u %g %s ", rows[i].id,
                                     rows[i].depth, rows[i].cost, text_of_value(rows[i].value));
    }
    snprintf(out + used, bytes - used, "%s: %s", sombra_err_name(err),
             err ? sombra_err_message() : "");
    query_close(query);
}

static void random_change(struct fixture *f, struct random *source)
{
    static const char *const types[] = { "E", "F", "G" };
    const struct graph_edge ends = { .src = 1 + random_below(source, 6),
                                     .dst = 1 + random_below(source, 6) };
    sombra_edge_id edge;
    uint64_t node = 1 + random_below(source, 6);
    sombra_err err;
    if (random_below(source, 8) == 0)
        err = graph_node_delete(&f->txn, node, true);
    else
        err =
            graph_edge_create(&f->txn, &ends, text(types[random_below(source, 3)]), NOTHING, &edge);
    (void)err;
}

static void test_random_paths__are_those_of_a_new_query(void **state)
{
    struct fixture *f = *state;
    static char have[20000], wanted[20000];
    struct random source;
    struct query *kept = query_take();
    random_seed(&source, test_seed());
    bool is_write = false;
    size_t sound = 0;
    for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
        struct bytes step, whole = { 0 };
        struct query *fresh;
        if (random_below(&source, 50) == 0) {
            if (is_write && random_below(&source, 2))
                commit(f);
            else
                rollback(f);
            is_write = random_below(&source, 2);
            if (is_write)
                begin_write(f);
            else
                begin_read(f);
        }
        if (is_write && random_below(&source, 4) == 0)
            random_change(f, &source);
        random_paths(&step, &source);
        put_head(&whole, &source, 0x41, step.count, 1);
        put(&whole, step.at, step.count);
        paths_outcome(kept, f, slice_of(whole.at, whole.count), have, sizeof have);
        assert_ok(query_new(&fresh));
        paths_outcome(fresh, f, slice_of(whole.at, whole.count), wanted, sizeof wanted);
        query_release(fresh);
        assert_string_equal(have, wanted);
        sound += strstr(have, "ok: ") != NULL;
    }
    assert_true(sound > RANDOM_ROUNDS / 4); /* else it tests refusals alone */
    query_end(kept);
}

/* Each allocation of a search fails, of one that is made and of one that takes other nodes. */
static void test_memory_that_is_out__leaves_paths_that_can_be_asked(void **state)
{
    struct fixture *f = *state;
    static const char *const cases[] = {
        "{{'paths', {from = 1, to = 4}}}",
        "{{'paths', {from = 2, to = 4, types = {'E', 'F'}}}}",
        "{{'paths', {from = 1, kind = 'all_shortest', to = 300}}}",
        "{{'paths', {from = {1}, to = 4}}}",
        "{{'paths', {from = 1, to = 4}}, {'limit', 1}}",
    };
    static char have[1000], wanted[1000];
    struct query *query = query_take();
    for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(cases); i++) {
        const sombra_slice before = value_text("%s", cases[i / COUNT_OF(cases)]);
        const sombra_slice now = value_text("%s", cases[i % COUNT_OF(cases)]);
        bool is_out = true;
        for (uint64_t nth = 1; is_out; nth++) {
            if (nth % 2)
                paths_outcome(query, f, before, have, sizeof have);
            mem_test_fail_at(nth, nth % 3 == 0);
            paths_outcome(query, f, now, have, sizeof have);
            mem_test_fail_at(0, false);
            is_out = strstr(have, "ok: ") == NULL;
            assert_true(!is_out || strstr(have, "out of memory"));
            paths_outcome(query, f, now, wanted, sizeof wanted);
            assert_true(is_out || strcmp(have, wanted) == 0);
            assert_non_null(strstr(wanted, "ok: "));
        }
    }
    query_end(query);
}

static void test_a_unique_index__leaves_nothing_to_ask_of_what_it_pins(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *steps, *plan, *rows;
    } cases[] = {
        { "{'where', {i = 2}}", "index(i: equal)", "2" },
        { "{'where', {i = {eq = 2}}}", "index(i: equal)", "2" },
        { "{'where', {i = 2.0}}", "index(i: equal)", "2" },
        { "{'where', {i = 9}}", "index(i: equal)", "" },
        { "{'where', {}}, {'where', {i = 2}}", "index(i: equal)", "2" },
        { "{'where', {i = 2, g = 0}}", "where <- index(i: equal)", "2" },
        { "{'where', {i = 2, g = 1}}", "where <- index(i: equal)", "" },
        { "{'where', {i = 2, ['#depth'] = 1}}", "where <- index(i: equal)", "" },
        { "{'where', {i = {eq = 2, lt = 2}}}", "where <- index(i: equal)", "" },
        { "{'where', {'and', {i = 2}, {'label', 'B'}}}", "where <- index(i: equal)", "" },
        { "{'where', {i = 2}}, {'where', {g = 1}}", "where <- index(i: equal)", "" },
        { "{'where', {i = 2}}, {'where', {i = 3}}", "where <- index(i: equal)", "" },
        { "{'where', {g = 0}}, {'where', {i = 2}}", "where <- where <- index(i: equal)", "2" },
        { "{'where', {i = 2}}, {'limit', 1}, {'where', {i = 3}}",
          "where <- limit(skip 0, limit 1) <- index(i: equal)", "" },
        { "{'where', {i = 2}}, {'order', {'g'}}, {'where', {i = 3}}",
          "where <- sort(1 keys) <- index(i: equal)", "" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_string_equal(plan_text(f, "{{'label', 'A'}, %s}", cases[i].steps), cases[i].plan);
        assert_rows(f, cases[i].rows, "{{'label', 'A'}, %s}", cases[i].steps);
    }
}

/* Steps behind the first few are not kept: each had a block of 4 KiB to itself, and a long list
 * hundreds of megabytes. */
static void test_a_long_list__takes_memory_by_what_it_says(void **state)
{
    enum { COUNT = 3000, ALLOCATIONS_MAX = 100 };
    struct fixture *f = *state;
    static sombra_slice steps[COUNT];
    static char have[1000];
    struct query *query = query_take();
    steps[0] = value_text("{'label', 'A'}");
    const sombra_slice limit = value_text("{'limit', 3}"), where = value_text("{'where', {g = 1}}");
    for (size_t i = 1; i < COUNT; i++)
        steps[i] = limit;
    steps[COUNT - 1] = where;
    mem_test_fail_at(0, false);
    const uint64_t made = mem_test_allocations(), live = mem_test_live();
    outcome(query, f, steps, COUNT, have, sizeof have);
    assert_string_equal(have, "1 3 ok: ");
    assert_true(mem_test_allocations() - made < ALLOCATIONS_MAX);
    assert_true(mem_test_live() - live < ALLOCATIONS_MAX);
    query_end(query);
}

/* Some of them kept, some not, and each of their allocations fails. */
static void test_memory_that_is_out__leaves_a_query_that_can_be_asked(void **state)
{
    struct fixture *f = *state;
    static const char *const values[] = { "{i = 1}", "{i = 2}", "{i = {ge = 1}, s = 'n3'}" };
    static char have[1000], wanted[1000];
    struct query *query = query_take();
    sombra_slice steps[13], others[13];
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        steps[i] = value_text("{'where', %s}", values[i % 2 ? 0 : 2]);
        others[i] = value_text("{'where', {g = %zu}}", i % 2);
    }
    steps[0] = others[0] = value_text("{'label', 'A'}");
    steps[3] = value_text("{'out', {types = 'E', where = {i = 2}}}");
    steps[11] = others[11] = value_text("{'path'}");
    steps[12] = others[12] = value_text("{'limit', 9}");
    bool is_out = true;
    for (uint64_t nth = 1; is_out; nth++) {
        outcome(query, f, others, 13, have, sizeof have);
        assert_string_equal(have, "ok: ");
        mem_test_fail_at(nth, false);
        outcome(query, f, steps, 13, have, sizeof have);
        is_out = strstr(have, "ok: ") == NULL;
        mem_test_fail_at(0, false);
        assert_true(!is_out || strstr(have, "out of memory"));
        outcome(query, f, steps, 13, wanted, sizeof wanted);
        assert_string_equal(wanted, "ok: ");
    }
    query_end(query);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, query_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_steps__are_taken_again_with_other_constants),
        TEST(test_a_step__is_made_anew_behind_other_rows),
        TEST(test_paths__are_taken_again_with_other_ends),
        TEST(test_names__that_were_missing_are_looked_for_again),
        TEST(test_names__of_a_transaction_that_is_undone_are_forgotten),
        TEST(test_a_step__that_is_nearly_the_kept_one_is_not_taken_for_it),
        TEST(test_a_constant__does_not_outgrow_the_maps_around_it),
        TEST(test_random_paths__are_those_of_a_new_query),
        TEST(test_memory_that_is_out__leaves_paths_that_can_be_asked),
        TEST(test_a_unique_index__leaves_nothing_to_ask_of_what_it_pins),
        TEST(test_a_long_list__takes_memory_by_what_it_says),
        TEST(test_memory_that_is_out__leaves_a_query_that_can_be_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
