/* SPDX-License-Identifier: MIT */
/* The checker of histories: each anomaly, made by hand, is found and named, and what is legal
 * passes.
 *
 * A history is written as a text, one transaction a line:
 *   <begin> <begun> <commit> <end> <flags> <operations>
 * flags: w writes, r reads, a aborted, u unknown outcome, d durable, c after a power cut.
 * operations: +x5 appends 5 to x; x:1,2 reads the list 1, 2 (x: the empty one); ~0 undoes the
 * appends from operation 0 on. The lists at the end: x=1,2.
 */
#include "kv_check.h"
#include "kv_serial.h"

#include <ctype.h>
#include <stdlib.h>

enum { TXNS = 16, OPS = 8, KEYS = 3, ELEMENTS = 16 };

struct written {
    struct serial_history history;
    struct serial_txn txns[TXNS];
    struct serial_op ops[TXNS][OPS];
    struct serial_list lists[KEYS];
    uint64_t ids[KEYS][ELEMENTS];
};

static uint32_t key_parse(const char **at)
{
    assert_true(**at >= 'x' && **at < 'x' + KEYS);
    return (uint32_t)(*(*at)++ - 'x');
}

static uint64_t number_parse(const char **at)
{
    char *end;
    uint64_t number = strtoull(*at, &end, 10);
    assert_ptr_not_equal(end, *at);
    *at = end;
    return number;
}

/* A list up to the next blank. */
static uint64_t list_parse(const char **at, uint64_t ids[ELEMENTS])
{
    uint64_t count = 0;
    while (isdigit((unsigned char)**at)) {
        assert_true(count < ELEMENTS);
        ids[count++] = number_parse(at);
        *at += **at == ',';
    }
    return count;
}

static void op_parse(const char **at, struct serial_op *op)
{
    uint64_t ids[ELEMENTS];
    if (**at == '~') {
        ++*at;
        *op = (struct serial_op){ .kind = SERIAL_UNDO, .count = number_parse(at) };
    } else if (**at == '+') {
        ++*at;
        op->kind = SERIAL_APPEND;
        op->key = key_parse(at);
        op->id = number_parse(at);
    } else {
        op->kind = SERIAL_READ;
        op->key = key_parse(at);
        assert_int_equal(*(*at)++, ':');
        op->count = list_parse(at, ids);
        for (uint64_t i = 0; i < op->count; i++)
            op->chain = serial_chain(op->chain, ids[i]);
    }
}

static void txn_parse(struct written *written, const char **at)
{
    size_t t = written->history.count++;
    assert_true(t < TXNS);
    struct serial_txn *txn = &written->txns[t];
    txn->outcome = SERIAL_COMMITTED;
    txn->ops = written->ops[t];
    txn->begin_ns = number_parse(at);
    txn->begun_ns = number_parse(at);
    txn->commit_ns = number_parse(at);
    txn->end_ns = number_parse(at);
    *at += strspn(*at, " ");
    for (; isalpha((unsigned char)**at); ++*at) {
        txn->is_write |= **at == 'w';
        txn->is_durable |= **at == 'd';
        txn->is_after_cut |= **at == 'c';
        if (**at == 'a')
            txn->outcome = SERIAL_ABORTED;
        if (**at == 'u')
            txn->outcome = SERIAL_UNKNOWN;
    }
    *at += strspn(*at, " ");
    while (**at && **at != '\n') {
        assert_true(txn->op_count < OPS);
        op_parse(at, &txn->ops[txn->op_count++]);
        *at += strspn(*at, " ");
    }
}

static void expect_anomaly(enum serial_anomaly anomaly, const char *lists, const char *lines)
{
    struct written *written = calloc(1, sizeof *written);
    assert_non_null(written);
    written->history =
        (struct serial_history){ .txns = written->txns, .lists = written->lists, .keys = KEYS };
    for (uint32_t key = 0; key < KEYS; key++)
        written->lists[key].ids = written->ids[key];
    while (*lists) {
        uint32_t key = key_parse(&lists);
        assert_int_equal(*lists++, '=');
        written->lists[key].count = list_parse(&lists, written->ids[key]);
        lists += strspn(lists, " ");
    }
    for (; *lines; lines += *lines == '\n')
        txn_parse(written, &lines);
    struct serial_finding finding;
    bool is_right = serial_check(&written->history, &finding);
    if (finding.anomaly != anomaly)
        print_error("expected '%s', found '%s'\n", serial_anomaly_text(anomaly), finding.text);
    assert_int_equal(finding.anomaly, anomaly);
    assert_int_equal(is_right, anomaly == SERIAL_NONE);
    free(written);
}

/* ---- what is legal ----------------------------------------------------------------------- */

static void test_serial__histories_of_one_after_the_other_pass(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_NONE, "", "");
    expect_anomaly(SERIAL_NONE, "x=1,2 y=3",
                   "10 11 12 13 w x: +x1 x:1\n"
                   "20 21 22 23 w x:1 +x2 y: +y3\n"
                   "30 31 32 33 r x:1,2 y:3 z:");
}

static void test_serial__snapshot_may_be_old_while_its_reader_lives(void **state)
{
    (void)state;
    /* Begun before, read after; and begun at the same time, seen or not. */
    expect_anomaly(SERIAL_NONE, "x=1",
                   "1 5 30 31 r x:\n"
                   "10 11 12 13 w +x1\n"
                   "12 14 20 21 r x:1\n"
                   "12 14 20 21 r x:");
}

static void test_serial__aborted_rolled_back_and_unknown_writes_may_be_missing(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_NONE, "x=4",
                   "10 11 12 13 wa +x1 x:1\n"
                   "20 21 22 0 wu +x2\n"
                   "30 31 32 33 w +x3 x:3 ~0 x: +x4 x:4");
    expect_anomaly(SERIAL_NONE, "x=2",
                   "20 21 22 0 wu +x2\n"
                   "30 31 32 33 r x:2");
}

static void test_serial__power_cut_may_take_what_was_not_durable(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_NONE, "x=1,2,3",
                   "10 11 12 13 wd +x1\n"
                   "20 21 22 23 w x:1 +x2\n"
                   "30 31 32 33 w x:1,2 +x3\n"
                   "40 41 41 41 rc x:1");
}

/* Commit 1 is in the log at 22, where a power cut leaves it, and to be seen from 28 on only; a
 * reader of what is durable that begins meanwhile, and a second power cut, are without it. */
static void test_serial__power_cut_may_leave_a_commit_that_nobody_saw(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_NONE, "x=1",
                   "10 11 20 29 wd +x1\n"
                   "22 23 23 23 rc x:1\n"
                   "24 25 26 26 rd x:\n"
                   "27 28 28 28 rc x:");
}

/* ---- what is not ------------------------------------------------------------------------- */

static void test_serial__lists_that_do_not_fit_the_writes_are_found(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_FOREIGN, "x=1,9", "10 11 12 13 w +x1");
    expect_anomaly(SERIAL_FOREIGN, "x=1,1", "10 11 12 13 w +x1");
    expect_anomaly(SERIAL_FOREIGN, "y=1", "10 11 12 13 w +x1");
    expect_anomaly(SERIAL_LOST_APPEND, "x=", "10 11 12 13 w +x1");
    expect_anomaly(SERIAL_ABORTED_WRITE, "x=1", "10 11 12 13 wa +x1");
    expect_anomaly(SERIAL_ABORTED_WRITE, "x=1", "10 11 12 13 w +x1 ~0");
    expect_anomaly(SERIAL_PARTIAL, "x=1", "10 11 12 13 w +x1 +y2");
    expect_anomaly(SERIAL_PARTIAL, "x=1", "10 11 12 0 wu +x1 +y2");
}

static void test_serial__reads_of_what_was_never_there_are_found(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_OWN_WRITES, "x=1", "10 11 12 13 w +x1 x:");
    expect_anomaly(SERIAL_UNREPEATABLE, "x=1",
                   "10 11 12 13 w +x1\n"
                   "9 15 16 17 r x: x:1");
    expect_anomaly(SERIAL_ABORTED_READ, "x=1",
                   "1 2 3 4 w +x1\n"
                   "10 11 12 13 wa +x2\n"
                   "20 21 22 23 r x:1,2");
    expect_anomaly(SERIAL_ABORTED_READ, "x=2",
                   "10 11 12 13 w +x1 ~0 +x2\n"
                   "10 14 22 23 r x:1");
    expect_anomaly(SERIAL_NO_VERSION, "x=1,2",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 w +x2\n"
                   "30 31 32 33 r x:2");
    expect_anomaly(SERIAL_INTERMEDIATE_READ, "x=1,2",
                   "10 11 12 13 w +x1 +x2\n"
                   "10 14 15 16 r x:1");
}

static void test_serial__write_cycles_are_g0(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_G0, "x=1,3 y=4,2",
                   "10 11 12 23 w +x1 +y2\n"
                   "10 12 13 24 w +x3 +y4");
}

static void test_serial__two_turns_at_a_time_are_found(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_TWO_WRITERS, "x=1 y=2",
                   "10 11 15 16 w +x1\n"
                   "10 12 17 18 w +y2");
}

static void test_serial__circular_information_flow_is_g1c(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_G1C, "x=1 y=2",
                   "10 11 12 30 w +x1 y:2\n"
                   "10 12 13 30 w +y2 x:1");
}

static void test_serial__read_skew_is_g_single(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_G_SINGLE, "x=1 y=2",
                   "10 11 12 13 w +x1 +y2\n"
                   "10 14 15 16 r x: y:2");
}

static void test_serial__lost_update_is_g_single(void **state)
{
    (void)state;
    /* Both read version 0 and append: the second did not see the first. */
    expect_anomaly(SERIAL_G_SINGLE, "x=1,2",
                   "10 11 12 30 w x: +x1\n"
                   "10 12 13 30 w x: +x2 x:2");
}

static void test_serial__write_skew_is_g2(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_G2, "x=1 y=2",
                   "10 11 12 30 w x: y: +x1\n"
                   "10 12 13 30 w x: y: +y2");
}

/* Two readers see two independent writes in different orders. */
static void test_serial__long_fork_is_g2(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_G2, "x=1 y=2",
                   "10 11 12 30 w +x1\n"
                   "10 12 13 30 w +y2\n"
                   "9 31 32 33 r x:1 y:\n"
                   "9 31 32 33 r x: y:2");
}

static void test_serial__stale_and_early_reads_are_found_by_time(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_TIME, "x=1",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 r x:");
    /* A snapshot that was taken before the commit was asked for. */
    expect_anomaly(SERIAL_TIME, "x=1",
                   "10 11 22 23 w +x1\n"
                   "20 21 40 41 r x:1");
    /* The first commit is missing, the second is there: not in this order. */
    expect_anomaly(SERIAL_TIME, "x=1 y=2",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 w +y2\n"
                   "11 24 25 26 r x: y:2");
}

static void test_serial__lost_durable_writes_and_reads_are_found(void **state)
{
    (void)state;
    expect_anomaly(SERIAL_LOST_DURABLE, "x=1,2",
                   "10 11 12 13 wd +x1\n"
                   "20 21 22 23 w x:1 +x2\n"
                   "40 41 41 41 rc x:");
    /* It was seen by a durable reader. */
    expect_anomaly(SERIAL_LOST_DURABLE, "x=1",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 rd x:1\n"
                   "40 41 41 41 rc x:");
    /* Something later was durable, and what survives is no prefix. */
    expect_anomaly(SERIAL_LOST_DURABLE, "x=1 y=2",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 wd +y2\n"
                   "40 41 41 41 rc x: y:");
    expect_anomaly(SERIAL_G_SINGLE, "x=1 y=2",
                   "10 11 12 13 w +x1\n"
                   "20 21 22 23 w x:1 +y2\n"
                   "40 41 41 41 rc x: y:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial__histories_of_one_after_the_other_pass),
        cmocka_unit_test(test_serial__snapshot_may_be_old_while_its_reader_lives),
        cmocka_unit_test(test_serial__aborted_rolled_back_and_unknown_writes_may_be_missing),
        cmocka_unit_test(test_serial__power_cut_may_take_what_was_not_durable),
        cmocka_unit_test(test_serial__power_cut_may_leave_a_commit_that_nobody_saw),
        cmocka_unit_test(test_serial__lists_that_do_not_fit_the_writes_are_found),
        cmocka_unit_test(test_serial__reads_of_what_was_never_there_are_found),
        cmocka_unit_test(test_serial__write_cycles_are_g0),
        cmocka_unit_test(test_serial__two_turns_at_a_time_are_found),
        cmocka_unit_test(test_serial__circular_information_flow_is_g1c),
        cmocka_unit_test(test_serial__read_skew_is_g_single),
        cmocka_unit_test(test_serial__lost_update_is_g_single),
        cmocka_unit_test(test_serial__write_skew_is_g2),
        cmocka_unit_test(test_serial__long_fork_is_g2),
        cmocka_unit_test(test_serial__stale_and_early_reads_are_found_by_time),
        cmocka_unit_test(test_serial__lost_durable_writes_and_reads_are_found),
    };
    return cmocka_run_group_tests_name("serializability checker", tests, NULL, NULL);
}
