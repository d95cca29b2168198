/* SPDX-License-Identifier: MIT */
/* Stored procedures and triggers from C. */
#include "sombra/procedure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
    sombra_db *db;
    sombra_procedures *procedures;
    sombra_value_builder *builder;
};

static sombra_slice text(const char *t)
{
    return (sombra_slice){ t, strlen(t) };
}

static void expect(sombra_err have, sombra_err want, const struct fixture *f, int line)
{
    if (have != want)
        print_error("line %d: %s, %s\n", line, sombra_err_name(have),
                    sombra_procedures_message(f->procedures));
    _assert_int_equal((uintmax_t)have, (uintmax_t)want, __FILE__, line);
}
#define OK(call)        expect(call, SOMBRA_OK, f, __LINE__)
#define ERR(call, code) expect(call, code, f, __LINE__)

static void assert_message(const struct fixture *f, const char *part)
{
    if (!strstr(sombra_procedures_message(f->procedures), part))
        fail_msg("'%s' is not in '%s'", part, sombra_procedures_message(f->procedures));
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = *state = &fixture;
    sombra_options options = SOMBRA_OPTIONS_INIT;
    options.create = true;
    if (sombra_open(":memory:", &options, &f->db) || sombra_value_builder_new(&f->builder))
        return -1;
    return sombra_procedures_open(f->db, &f->procedures) ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    sombra_procedures_close(f->procedures);
    sombra_value_builder_free(f->builder);
    return sombra_close(f->db) ? -1 : 0;
}

static sombra_slice numbers(struct fixture *f, int64_t a, int64_t b)
{
    sombra_slice encoded;
    sombra_value_builder_reset(f->builder);
    (void)sombra_value_begin_list(f->builder);
    (void)sombra_value_push_integer(f->builder, a);
    (void)sombra_value_push_integer(f->builder, b);
    (void)sombra_value_end_list(f->builder);
    OK(sombra_value_finish(f->builder, &encoded));
    return encoded;
}

static sombra_txn *begin(struct fixture *f, bool is_write)
{
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = is_write;
    OK(sombra_txn_begin(f->db, &options, &txn));
    return txn;
}

static uint64_t nodes_of(struct fixture *f, const char *label)
{
    uint64_t count;
    sombra_txn *txn = begin(f, false);
    OK(sombra_node_count(txn, text(label), &count));
    sombra_txn_close(txn);
    return count;
}

/* The integers of a result, and where it ends. */
static size_t read_numbers(struct fixture *f, sombra_slice list, int64_t *to, size_t capacity)
{
    sombra_value value;
    sombra_value_cursor cursor;
    size_t count = 0;
    bool found;
    OK(sombra_value_decode(list, &value));
    assert_int_equal(value.kind, SOMBRA_LIST);
    sombra_value_enter(&value, &cursor);
    for (;;) {
        OK(sombra_value_next(&cursor, NULL, &value, &found));
        if (!found)
            return count;
        assert_true(count < capacity);
        to[count++] = value.kind == SOMBRA_INTEGER ? value.as.integer : -1;
    }
}

static const char add[] =
    "return { name = 'add', mode = 'write', params = { { 'a', 'integer' }, { 'b', 'integer' } },\n"
    "  run = function(tx, p)\n"
    "    tx:create('Sum', { value = p.a + p.b })\n"
    "    if p.b == 0 then return nil, 'no zero' end\n"
    "    if p.b < 0 then error { code = 'negative', message = 'below zero' } end\n"
    "    if p.b > 100 then while true do end end\n"
    "    return p.a + p.b, nil, p.a\n"
    "  end }";

static void test_procedure__takes_and_gives_encoded_values(void **state)
{
    struct fixture *f = *state;
    int64_t values[4];
    sombra_procedure_result result = SOMBRA_PROCEDURE_RESULT_INIT;
    OK(sombra_procedure_define(f->procedures, NULL, text(add)));
    OK(sombra_procedure_define(f->procedures, NULL, text(add)));
    OK(sombra_procedure_call(f->procedures, NULL, text("add"), numbers(f, 3, 4), NULL, &result));
    assert_false(result.is_refusal);
    assert_int_equal(read_numbers(f, result.values, values, 4), 3);
    assert_true(values[0] == 7 && values[1] == -1 && values[2] == 3);
    OK(sombra_procedure_call(f->procedures, NULL, text("add@1"), numbers(f, 3, 0), NULL, &result));
    assert_true(result.is_refusal);
    assert_int_equal(read_numbers(f, result.values, values, 4), 2);
    assert_int_equal(nodes_of(f, "Sum"), 1);
}

static void test_procedure__that_fails_says_why_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    sombra_procedures *p = f->procedures;
    sombra_procedure_options options = SOMBRA_PROCEDURE_OPTIONS_INIT;
    sombra_slice none = { NULL, 0 };
    options.time_ms = 20;
    OK(sombra_procedure_define(p, NULL, text(add)));
    ERR(sombra_procedure_call(p, NULL, text("add"), numbers(f, 1, -1), NULL, NULL), SOMBRA_INVALID);
    assert_message(f, "procedure 'add': below zero [negative]");
    ERR(sombra_procedure_call(p, NULL, text("add"), numbers(f, 1, 101), &options, NULL),
        SOMBRA_LIMIT);
    assert_message(f, "[limit]");
    ERR(sombra_procedure_call(p, NULL, text("add"), none, NULL, NULL), SOMBRA_INVALID);
    assert_message(f, "parameter 'a' is missing");
    ERR(sombra_procedure_call(p, NULL, text("other"), none, NULL, NULL), SOMBRA_NOT_FOUND);
    ERR(sombra_procedure_call(p, NULL, text("no name"), none, NULL, NULL), SOMBRA_INVALID);
    ERR(sombra_procedure_define(p, NULL, text("return 1")), SOMBRA_INVALID);
    ERR(sombra_procedure_define(p, NULL, text("return { name = 'add', exports = {} }")),
        SOMBRA_EXISTS);
    assert_int_equal(nodes_of(f, "Sum"), 0);
}

static void test_procedure__in_a_transaction_undoes_its_own_part(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    sombra_slice none = { NULL, 0 }, label = text("Sum");
    sombra_txn *txn = begin(f, true);
    OK(sombra_procedure_define(f->procedures, txn, text(add)));
    OK(sombra_node_create(txn, &label, 1, none, &node));
    ERR(sombra_procedure_call(f->procedures, txn, text("add"), numbers(f, 1, -1), NULL, NULL),
        SOMBRA_INVALID);
    OK(sombra_procedure_call(f->procedures, txn, text("add"), numbers(f, 1, 1), NULL, NULL));
    assert_true(sombra_txn_is_open(txn));
    OK(sombra_procedures_commit(f->procedures, txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    assert_int_equal(nodes_of(f, "Sum"), 2);
    txn = begin(f, false);
    ERR(sombra_procedure_call(f->procedures, txn, text("add"), numbers(f, 1, 1), NULL, NULL),
        SOMBRA_READONLY);
    sombra_txn_close(txn);
}

static void test_commit__runs_triggers_and_obeys_them(void **state)
{
    struct fixture *f = *state;
    sombra_node_id node;
    uint32_t id;
    sombra_slice none = { NULL, 0 }, label = text("Sum"), other = text("Other");
    sombra_rule rule = SOMBRA_RULE_INIT;
    rule.kind = SOMBRA_RULE_TRIGGER;
    rule.subject = label;
    rule.property_count = 1;
    rule.properties[0] = text("watch");
    rule.events = SOMBRA_EVENT_CREATE;
    OK(sombra_procedure_define(
        f->procedures, NULL,
        text("return { name = 'watch', mode = 'write', run = function(tx, change)\n"
             "  if not tx:get(change.id, 'value') then return nil, 'it has no value' end\n"
             "  tx:create('Seen')\nend }")));
    OK(sombra_procedure_define(f->procedures, NULL, text(add)));
    sombra_txn *txn = begin(f, true);
    OK(sombra_rule_create(txn, &rule, NULL, &id));
    OK(sombra_procedures_commit(f->procedures, txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
    txn = begin(f, true);
    OK(sombra_node_create(txn, &other, 1, none, &node));
    OK(sombra_node_create(txn, &label, 1, none, &node));
    ERR(sombra_procedures_commit(f->procedures, txn, SOMBRA_DURABILITY_DEFAULT), SOMBRA_CONSTRAINT);
    assert_message(f, "it has no value");
    assert_false(sombra_txn_is_open(txn));
    ERR(sombra_procedures_commit(f->procedures, txn, SOMBRA_DURABILITY_DEFAULT), SOMBRA_INVALID);
    sombra_txn_close(txn);
    assert_int_equal(nodes_of(f, "Other"), 0);
    OK(sombra_procedure_call(f->procedures, NULL, text("add"), numbers(f, 1, 1), NULL, NULL));
    assert_int_equal(nodes_of(f, "Seen"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_procedure__takes_and_gives_encoded_values),
        TEST(test_procedure__that_fails_says_why_and_leaves_nothing),
        TEST(test_procedure__in_a_transaction_undoes_its_own_part),
        TEST(test_commit__runs_triggers_and_obeys_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
