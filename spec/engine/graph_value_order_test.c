/* SPDX-License-Identifier: MIT */
#include "graph/value.h"
#include "value_fixture.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static sombra_value_builder *b;
static struct arena arena = ARENA_INIT;

static int setup(void **state)
{
    (void)state;
    return sombra_value_builder_new(&b) != SOMBRA_OK;
}

static int teardown(void **state)
{
    (void)state;
    sombra_value_builder_free(b);
    arena_release(&arena);
    values_release();
    return 0;
}

/* What was pushed, decoded; its bytes live as long as the arena. */
static sombra_value finish(void)
{
    sombra_slice encoded;
    sombra_value value;
    assert_int_equal(sombra_value_finish(b, &encoded), SOMBRA_OK);
    encoded = arena_copy(&arena, encoded);
    assert_non_null(encoded.data);
    assert_int_equal(sombra_value_decode(encoded, &value), SOMBRA_OK);
    sombra_value_builder_reset(b);
    return value;
}

static int order(const sombra_value *x, const sombra_value *y)
{
    int order = 9;
    assert_int_equal(value_order(x, y, &order), SOMBRA_OK);
    assert_in_range(order + 1, 0, 2);
    return order;
}

static void test_order__values_ascend_as_listed(void **state)
{
    (void)state;
    /* Those on one line, separated by |, are equal. */
    static const char *const lines[] = {
        "false",
        "true",
        "-inf",
        "-1.7976931348623157e308",
        "-9223372036854777856.0",
        "-9223372036854775808 | -9223372036854775808.0",
        "-9223372036854775807",
        "-9007199254740993",
        "-9007199254740992 | -9007199254740992.0",
        "-2.5",
        "-2 | -2.0",
        "-1.5",
        "-4.9e-324",
        "0 | 0.0 | -0.0",
        "4.9e-324",
        "0.5",
        "1 | 1.0",
        "1.5",
        "2",
        "9007199254740991",
        "9007199254740992 | 9007199254740992.0",
        "9007199254740993",
        "9223372036854774784.0",
        "9223372036854775807",
        "9223372036854775808.0",
        "inf",
        "nan",
        "''",
        "'A'",
        "'AA'",
        "'B'",
        "'a'",
        "[]",
        "{false}",
        "{1, 1} | {1.0, 1}",
        "{1, 1, 0}",
        "{1, 2}",
        "{2}",
        "{nan}",
        "{''}",
        "{[]}",
        "{{1}}",
        "{{}}",
        "{null}",
        "{null, null}",
        "{}",
        "{a = 1} | {a = 1.0}",
        "{a = 1, b = 1}",
        "{a = 2}",
        "{a = null}",
        "{aa = 0}",
        "{b = 0}",
        "null",
    };
    enum { LINES = COUNT_OF(lines) };
    sombra_value values[LINES][3];
    int counts[LINES] = { 0 };
    for (int i = 0; i < LINES; i++) {
        char line[80], *rest = NULL;
        snprintf(line, sizeof line, "%s", lines[i]);
        for (char *at = strtok_r(line, "|", &rest); at; at = strtok_r(NULL, "|", &rest))
            values[i][counts[i]++] = value_decoded("%s", at);
    }
    for (int i = 0; i < LINES; i++) {
        for (int j = 0; j < LINES; j++) {
            for (int x = 0; x < counts[i]; x++) {
                for (int y = 0; y < counts[j]; y++) {
                    if (order(&values[i][x], &values[j][y]) != (i > j) - (i < j))
                        fail_msg("%s against %s", lines[i], lines[j]);
                }
            }
        }
    }
}

static void push_random(struct random *random, int depth)
{
    static const double reals[] = { 0.0,    -0.0,  1.0,    -1.0, 0.5,      0x1p53,   0x1p53 + 2,
                                    0x1p63, 1e300, -1e300, NAN,  INFINITY, -INFINITY };
    static const int64_t integers[] = {
        0, 1, -1, (INT64_C(1) << 53), (INT64_C(1) << 53) + 1, INT64_MAX, INT64_MIN, INT64_MIN + 1
    };
    switch (random_below(random, depth > 2 ? 5 : 7)) {
    case 0:
        sombra_value_push_boolean(b, random_below(random, 2));
        break;
    case 1:
        sombra_value_push_integer(b, integers[random_below(random, COUNT_OF(integers))]);
        break;
    case 2:
        sombra_value_push_float(b, reals[random_below(random, COUNT_OF(reals))]);
        break;
    case 3:
        sombra_value_push_string(b, "aab\xff", random_below(random, 5));
        break;
    case 4:
        sombra_value_push_null(b);
        break;
    case 5:
        sombra_value_begin_list(b);
        for (uint64_t n = random_below(random, 3); n > 0; n--)
            push_random(random, depth + 1);
        sombra_value_end_list(b);
        break;
    default:
        sombra_value_begin_map(b);
        for (uint64_t i = 0; i < 2; i++) {
            if (random_below(random, 2)) {
                sombra_value_push_key(b, i ? "y" : "x", 1);
                push_random(random, depth + 1);
            }
        }
        sombra_value_end_map(b);
        break;
    }
}

static void test_order__is_total(void **state)
{
    (void)state;
    enum { VALUES = 120 };
    static sombra_value values[VALUES];
    static int8_t orders[VALUES][VALUES];
    const char *given = getenv("SOMBRA_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    struct random random;
    print_message("seed %" PRIu64 " (SOMBRA_SEED repeats it)\n", seed);
    random_seed(&random, seed);
    for (int i = 0; i < VALUES; i++) {
        push_random(&random, 0);
        values[i] = finish();
    }
    for (int i = 0; i < VALUES; i++) {
        for (int j = 0; j < VALUES; j++)
            orders[i][j] = (int8_t)order(&values[i], &values[j]);
    }
    for (int i = 0; i < VALUES; i++) {
        assert_int_equal(orders[i][i], 0);
        for (int j = 0; j < VALUES; j++) {
            assert_int_equal(orders[i][j], -orders[j][i]);
            for (int k = 0; k < VALUES; k++) {
                if (orders[i][j] <= 0 && orders[j][k] <= 0)
                    assert_true(orders[i][k] <= 0);
                if (orders[i][j] == 0 && orders[j][k] == 0)
                    assert_int_equal(orders[i][k], 0);
            }
        }
    }
}

static void test_order__damage_inside_a_list_is_found(void **state)
{
    (void)state;
    static const uint8_t good[] = { 0x41, 1, 1, 0x10 }, bad[] = { 0x41, 1, 1, 0x77 };
    sombra_value x, y;
    int unused;
    assert_int_equal(sombra_value_decode(slice_of(good, sizeof good), &x), SOMBRA_OK);
    assert_int_equal(sombra_value_decode(slice_of(bad, sizeof bad), &y), SOMBRA_OK);
    assert_int_equal(value_order(&x, &y, &unused), SOMBRA_CORRUPT);
    assert_int_equal(value_order(&y, &x, &unused), SOMBRA_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order__values_ascend_as_listed),
        cmocka_unit_test(test_order__is_total),
        cmocka_unit_test(test_order__damage_inside_a_list_is_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
