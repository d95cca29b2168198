/* SPDX-License-Identifier: MIT */
/* The total order of values: what `order` sorts by and what comparisons and indexes agree with. */
#include "value.h"

#include <assert.h>
#include <math.h>

/* Integer and float share a rank, since they compare by value. */
static int rank_of(sombra_kind kind)
{
    switch (kind) {
    case SOMBRA_BOOLEAN:
        return 0;
    case SOMBRA_INTEGER:
    case SOMBRA_FLOAT:
        return 1;
    case SOMBRA_STRING:
        return 2;
    case SOMBRA_LIST:
        return 3;
    case SOMBRA_MAP:
        return 4;
    case SOMBRA_NULL:
        break;
    }
    return 5;
}

static int order_reals(double a, double b)
{
    if (UNLIKELY(isnan(a) || isnan(b)))
        return !!isnan(a) - !!isnan(b);
    return (a > b) - (a < b);
}

/* Exact: the float is split into a whole number, which int64 holds, and a rest; to turn the integer
 * into a float instead would make 2^53 + 1 equal to 2^53. */
static int order_integer_real(int64_t a, double b)
{
    if (isnan(b) || b >= 0x1p63)
        return -1;
    if (b < -0x1p63)
        return 1;
    int64_t whole = (int64_t)b;
    if (a != whole)
        return a < whole ? -1 : 1;
    double rest = b - (double)whole;
    return (rest < 0) - (rest > 0);
}

static int order_numbers(const sombra_value *a, const sombra_value *b)
{
    if (a->kind == SOMBRA_INTEGER && b->kind == SOMBRA_INTEGER)
        return (a->as.integer > b->as.integer) - (a->as.integer < b->as.integer);
    if (a->kind == SOMBRA_FLOAT && b->kind == SOMBRA_FLOAT)
        return order_reals(a->as.real, b->as.real);
    if (a->kind == SOMBRA_INTEGER)
        return order_integer_real(a->as.integer, b->as.real);
    return -order_integer_real(b->as.integer, a->as.real);
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

/* Lists and maps, element by element; what ends first comes first. The depth of the recursion is
 * bounded, because the reader refuses values nested deeper than SOMBRA_VALUE_DEPTH_MAX. */
static sombra_err order_containers(const sombra_value *a, const sombra_value *b, int *out_order)
{
    sombra_value_cursor left, right;
    sombra_value_enter(a, &left);
    sombra_value_enter(b, &right);
    for (;;) {
        sombra_slice left_key = { NULL, 0 }, right_key = { NULL, 0 };
        sombra_value x, y;
        bool has_left = false, has_right = false;
        int order = 0;
        sombra_err err = sombra_value_next(&left, &left_key, &x, &has_left);
        if (!err)
            err = sombra_value_next(&right, &right_key, &y, &has_right);
        if (err)
            return err;
        if (!has_left || !has_right) {
            *out_order = has_left - has_right;
            return SOMBRA_OK;
        }
        order = sign(slice_compare(left_key, right_key));
        if (order == 0)
            err = value_order(&x, &y, &order);
        if (err)
            return err;
        if (order != 0) {
            *out_order = order;
            return SOMBRA_OK;
        }
    }
}

sombra_err value_order(const sombra_value *a, const sombra_value *b, int *out_order)
{
    assert(a && b && out_order);
    int left = rank_of(a->kind), right = rank_of(b->kind);
    if (left != right) {
        *out_order = left < right ? -1 : 1;
        return SOMBRA_OK;
    }
    switch (a->kind) {
    case SOMBRA_BOOLEAN:
        *out_order = a->as.boolean - b->as.boolean;
        return SOMBRA_OK;
    case SOMBRA_INTEGER:
    case SOMBRA_FLOAT:
        *out_order = order_numbers(a, b);
        return SOMBRA_OK;
    case SOMBRA_STRING:
        *out_order = sign(slice_compare(a->as.string, b->as.string));
        return SOMBRA_OK;
    case SOMBRA_LIST:
    case SOMBRA_MAP:
        return order_containers(a, b, out_order);
    case SOMBRA_NULL:
        break;
    }
    *out_order = 0;
    return SOMBRA_OK;
}
