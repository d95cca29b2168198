/* SPDX-License-Identifier: MIT */
/* What paths cost: weights of edges, and estimates of the rest of the way. */
#include "paths_internal.h"

#include <math.h>

static const double earth_km = 6371.0;

/* ---- options ----------------------------------------------------------------------------- */

static sombra_err parse_function(struct query_run *run, const char *option,
                                 const sombra_value *value, uint32_t *out_function)
{
    if (!run->options.cost)
        return diag_fail(SOMBRA_INVALID, "option '%s' is a function, and the query has none",
                         option);
    if (value->as.integer < 0 || value->as.integer > UINT32_MAX)
        return diag_fail(SOMBRA_INVALID, "option '%s': %" PRId64 " is no function", option,
                         value->as.integer);
    *out_function = (uint32_t)value->as.integer;
    return SOMBRA_OK;
}

static sombra_err parse_weight(struct query_run *run, const sombra_value *options,
                               struct costs *costs)
{
    sombra_value value;
    sombra_err err = sombra_value_member(options, slice_str("weight"), &value);
    if (err || value.kind == SOMBRA_NULL)
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    if (value.kind == SOMBRA_INTEGER) {
        costs->has_function = true;
        return parse_function(run, "weight", &value, &costs->function);
    }
    if (value.kind != SOMBRA_STRING)
        return diag_fail(SOMBRA_INVALID,
                         "option 'weight' is a %s; give the name of a property or a function",
                         sombra_kind_name(value.kind));
    costs->has_property = true;
    return diag_wrap(
        graph_name_find(run->txn, SOMBRA_NAME_PROPERTY, value.as.string, &costs->property),
        "option 'weight'");
}

static sombra_err bad_heuristic(void)
{
    return diag_fail(SOMBRA_INVALID, "option 'heuristic' takes a function, {\"haversine\", "
                                     "latitude, longitude} or {\"euclidean\", x, y}");
}

static sombra_err parse_heuristic(struct query_run *run, const sombra_value *options,
                                  struct costs *costs)
{
    sombra_value value, parts[3];
    sombra_value_cursor cursor;
    sombra_err err = sombra_value_member(options, slice_str("heuristic"), &value);
    if (err || value.kind == SOMBRA_NULL)
        return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
    if (value.kind == SOMBRA_INTEGER) {
        costs->heuristic = HEURISTIC_FUNCTION;
        return parse_function(run, "heuristic", &value, &costs->heuristic_function);
    }
    if (value.kind != SOMBRA_LIST || value.count != COUNT_OF(parts))
        return bad_heuristic();
    sombra_value_enter(&value, &cursor);
    for (size_t i = 0; !err && i < COUNT_OF(parts); i++) {
        bool found = false;
        err = sombra_value_next(&cursor, NULL, &parts[i], &found);
        if (!err && (!found || parts[i].kind != SOMBRA_STRING))
            err = bad_heuristic();
    }
    if (err)
        return err;
    if (slice_equal(parts[0].as.string, slice_str("haversine")))
        costs->heuristic = HEURISTIC_HAVERSINE;
    else if (slice_equal(parts[0].as.string, slice_str("euclidean")))
        costs->heuristic = HEURISTIC_EUCLIDEAN;
    else
        return bad_heuristic();
    for (size_t i = 0; !err && i < COUNT_OF(costs->axes); i++)
        err = diag_wrap(graph_name_find(run->txn, SOMBRA_NAME_PROPERTY, parts[i + 1].as.string,
                                        &costs->axes[i]),
                        "option 'heuristic'");
    return err;
}

sombra_err costs_parse(struct query_run *run, const sombra_value *options, struct costs *out_costs)
{
    struct costs costs = { .default_cost = 1, .scale = 1 };
    sombra_err err = parse_weight(run, options, &costs);
    if (!err)
        err = option_number(options, "weight_default", &costs.default_cost);
    if (!err && costs.default_cost < 0)
        err = diag_fail(SOMBRA_INVALID, "option 'weight_default' must not be negative");
    if (!err)
        err = parse_heuristic(run, options, &costs);
    if (!err)
        err = option_number(options, "scale", &costs.scale);
    if (!err && costs.scale < 0)
        err = diag_fail(SOMBRA_INVALID, "option 'scale' must not be negative");
    if (!err)
        *out_costs = costs;
    return err;
}

/* ---- weights ----------------------------------------------------------------------------- */

static sombra_err weight_of_property(const struct costs *costs, const struct fan *fan,
                                     const struct graph_hop *hop, size_t index, double *out_cost)
{
    sombra_record record;
    sombra_slice encoded;
    sombra_value value;
    *out_cost = costs->default_cost;
    if (costs->property == 0)
        return SOMBRA_OK;
    sombra_err err = fan_record(fan, index, &record);
    if (!err)
        err = graph_record_find(&record, costs->property, &encoded);
    if (err == SOMBRA_NOT_FOUND)
        return SOMBRA_OK;
    if (!err)
        err = sombra_value_decode(encoded, &value);
    if (err)
        return err;
    if (value.kind == SOMBRA_INTEGER)
        *out_cost = (double)value.as.integer;
    else if (value.kind == SOMBRA_FLOAT)
        *out_cost = value.as.real;
    else
        return diag_fail(SOMBRA_INVALID, "the weight of edge %" PRIu64 " is a %s; give a number",
                         hop->edge, sombra_kind_name(value.kind));
    return SOMBRA_OK;
}

sombra_err costs_of_hop(const struct costs *costs, struct query_run *run, const struct fan *fan,
                        const struct graph_hop *hop, size_t index, double *out_cost)
{
    double cost = costs->default_cost;
    sombra_err err = SOMBRA_OK;
    if (costs->has_property)
        err = weight_of_property(costs, fan, hop, index, &cost);
    else if (costs->has_function)
        err = diag_wrap(run->options.cost(run->options.context, costs->function, hop->edge, &cost),
                        "weight of edge %" PRIu64, hop->edge);
    if (err)
        return err;
    if (!(cost >= 0 && isfinite(cost)))
        return diag_fail(SOMBRA_INVALID,
                         "the weight of edge %" PRIu64 " is %g; give a finite number, not negative",
                         hop->edge, cost);
    *out_cost = cost;
    return SOMBRA_OK;
}

/* ---- estimates --------------------------------------------------------------------------- */

/* *out_found false: the node lacks one of the two, or it is no number. */
static sombra_err place_of(const struct costs *costs, struct query_run *run, uint64_t node,
                           double out_place[2], bool *out_found)
{
    sombra_record record;
    *out_found = false;
    if (costs->axes[0] == 0 || costs->axes[1] == 0)
        return SOMBRA_OK;
    sombra_err err = graph_node_get(run->txn, node, &record);
    for (size_t i = 0; !err && i < 2; i++) {
        sombra_slice encoded;
        sombra_value value;
        err = graph_record_find(&record, costs->axes[i], &encoded);
        if (!err)
            err = sombra_value_decode(encoded, &value);
        if (err)
            break;
        if (value.kind != SOMBRA_INTEGER && value.kind != SOMBRA_FLOAT)
            return SOMBRA_OK;
        out_place[i] = value.kind == SOMBRA_INTEGER ? (double)value.as.integer : value.as.real;
        if (!isfinite(out_place[i]))
            return SOMBRA_OK;
    }
    *out_found = !err;
    return err == SOMBRA_NOT_FOUND ? SOMBRA_OK : err;
}

static double haversine_km(const double a[2], const double b[2])
{
    const double radian = 0.017453292519943295;
    double up = sin((b[0] - a[0]) * radian / 2), along = sin((b[1] - a[1]) * radian / 2);
    double square = up * up + cos(a[0] * radian) * cos(b[0] * radian) * along * along;
    return 2 * earth_km * asin(fmin(1, sqrt(fmax(0, square))));
}

sombra_err costs_aim(struct costs *costs, struct query_run *run, uint64_t to)
{
    costs->has_target = false;
    if (costs->heuristic < HEURISTIC_HAVERSINE)
        return SOMBRA_OK;
    return place_of(costs, run, to, costs->target, &costs->has_target);
}

/* Nothing is known of a node without a place: 0 never overestimates. */
sombra_err costs_estimate(const struct costs *costs, struct query_run *run, uint64_t node,
                          double *out_cost)
{
    double place[2], cost = 0;
    bool found = false;
    sombra_err err = SOMBRA_OK;
    if (costs->heuristic == HEURISTIC_FUNCTION) {
        err = run->options.cost(run->options.context, costs->heuristic_function, node, &cost);
        if (err)
            return diag_wrap(err, "heuristic of node %" PRIu64, node);
        if (!(cost >= 0 && isfinite(cost)))
            return diag_fail(SOMBRA_INVALID,
                             "the heuristic of node %" PRIu64
                             " is %g; give a finite number, not negative",
                             node, cost);
    } else if (costs->has_target) {
        err = place_of(costs, run, node, place, &found);
        if (!err && found && costs->heuristic == HEURISTIC_HAVERSINE)
            cost = haversine_km(place, costs->target) * costs->scale;
        else if (!err && found)
            cost = hypot(place[0] - costs->target[0], place[1] - costs->target[1]) * costs->scale;
    }
    if (!err)
        *out_cost = cost;
    return err;
}
