/* SPDX-License-Identifier: MIT */
/* The source "paths": a search for each pair of `from` and `to`, in this order, when its rows are
 * asked for. */
#include "paths_internal.h"

enum path_kind { KIND_SHORTEST, KIND_ALL_SHORTEST, KIND_K_SHORTEST, KIND_WEIGHTED };
static const char *const kinds[] = { "shortest", "all_shortest", "k_shortest", "weighted", NULL };

struct paths {
    struct operator head;
    enum path_kind kind;
    struct walk walk;
    struct costs costs;
    struct id_list from, to;
    uint64_t ends[2]; /* of a pair: what `from` and `to` point to */
    size_t pair;      /* the next one */
    bool is_in_pair;  /* more of it may come */
    struct path path;
    struct row_values values;
    struct bfs *bfs;
    struct cheapest *cheapest;
    struct yen *yen;
};

static struct paths *paths_of(struct operator* op)
{
    return container_of(op, struct paths, head);
}

/* ---- paths ------------------------------------------------------------------------------- */

sombra_err path_push(struct query_run *run, struct path *path, uint64_t id)
{
    sombra_err err =
        run_room(run, &path->ids, path->count, &path->capacity, sizeof *path->ids, "a path");
    if (!err)
        path->ids[path->count++] = id;
    return err;
}

sombra_err path_push_cost(struct query_run *run, struct path *path, double cost)
{
    sombra_err err = run_room(run, &path->costs, path->cost_count, &path->cost_capacity,
                              sizeof *path->costs, "a path");
    if (!err)
        path->costs[path->cost_count++] = cost;
    return err;
}

sombra_err path_begin(struct query_run *run, struct path *path, uint64_t node)
{
    path->count = path->cost_count = 0;
    sombra_err err = path_push(run, path, node);
    return err ? err : path_push_cost(run, path, 0);
}

void path_reverse(struct path *path, size_t from, size_t costs_from)
{
    for (size_t i = from, j = path->count; i + 1 < j; i++) {
        uint64_t id = path->ids[--j];
        path->ids[j] = path->ids[i];
        path->ids[i] = id;
    }
    for (size_t i = costs_from, j = path->cost_count; i + 1 < j; i++) {
        double cost = path->costs[--j];
        path->costs[j] = path->costs[i];
        path->costs[i] = cost;
    }
}

void path_release(struct query_run *run, struct path *path)
{
    run_free(run, &path->ids, &path->capacity, sizeof *path->ids);
    run_free(run, &path->costs, &path->cost_capacity, sizeof *path->costs);
    path->count = path->cost_count = 0;
}

/* ---- one pair ---------------------------------------------------------------------------- */

/* From a node to itself leads the empty path, whatever is asked for. */
static sombra_err empty_path(struct paths *paths, uint64_t node, bool *out_found)
{
    bool exists = false;
    sombra_err err = graph_node_exists(paths->head.run->txn, node, &exists);
    if (!err && exists)
        err = path_begin(paths->head.run, &paths->path, node);
    *out_found = !err && exists;
    return err;
}

static sombra_err only_weighted(struct paths *paths, uint64_t from, uint64_t to, bool *out_found)
{
    sombra_err err = path_begin(paths->head.run, &paths->path, from);
    return err ? err : cheapest_find(paths->cheapest, to, NULL, &paths->path, out_found);
}

/* The first path of a pair; *has_more: others may follow. */
static sombra_err begin_pair(struct paths *paths, uint64_t from, uint64_t to, bool *out_found,
                             bool *out_more)
{
    sombra_err err = SOMBRA_OK;
    *out_more = false;
    if (from == to)
        return empty_path(paths, from, out_found);
    if (paths->cheapest)
        err = costs_aim(&paths->costs, paths->head.run, to);
    if (err)
        return err;
    switch (paths->kind) {
    case KIND_WEIGHTED:
        return only_weighted(paths, from, to, out_found);
    case KIND_K_SHORTEST:
        *out_more = true;
        err = yen_begin(paths->yen, from, to);
        return err ? err : yen_next(paths->yen, &paths->path, out_found);
    default:
        *out_more = paths->kind == KIND_ALL_SHORTEST;
        err = bfs_begin(paths->bfs, from, to);
        return err ? err : bfs_next(paths->bfs, &paths->path, out_found);
    }
}

static sombra_err next_path(struct paths *paths, bool *out_found)
{
    sombra_err err = SOMBRA_OK;
    *out_found = false;
    while (!err && !*out_found) {
        if (paths->is_in_pair) {
            err = paths->kind == KIND_K_SHORTEST ? yen_next(paths->yen, &paths->path, out_found)
                                                 : bfs_next(paths->bfs, &paths->path, out_found);
            paths->is_in_pair = *out_found;
            continue;
        }
        size_t from = paths->pair / size_max(paths->to.count, 1);
        if (from >= paths->from.count || paths->to.count == 0)
            break;
        size_t to = paths->pair++ % paths->to.count;
        err = run_tick(paths->head.run);
        if (!err)
            err = begin_pair(paths, paths->from.items[from], paths->to.items[to], out_found,
                             &paths->is_in_pair);
        paths->is_in_pair = paths->is_in_pair && *out_found;
    }
    return err;
}

/* ---- operator ---------------------------------------------------------------------------- */

static sombra_err add_row(struct paths *paths, struct row_batch *batch)
{
    const struct path *path = &paths->path;
    sombra_value_builder *builder = paths->values.builder;
    const struct row row = {
        .id = path->ids[path->count - 1],
        .depth = (uint32_t)path_edges(path),
        .cost = path_cost(path),
    };
    /* A failure sticks to the builder and is said when the row is added. */
    (void)sombra_value_begin_list(builder);
    for (size_t i = 0; i < path->count; i++)
        (void)sombra_value_push_integer(builder, (int64_t)path->ids[i]);
    (void)sombra_value_end_list(builder);
    return row_values_add(&paths->values, batch, &row);
}

static sombra_err paths_next(struct operator* op, struct row_batch *out)
{
    struct paths *paths = paths_of(op);
    bool found = true;
    sombra_err err = SOMBRA_OK;
    row_values_begin(&paths->values, out);
    while (!err && found && out->count < paths->values.batch_max) {
        err = next_path(paths, &found);
        if (!err && found)
            err = add_row(paths, out);
    }
    if (!err)
        row_values_end(&paths->values, out);
    return err;
}

static void paths_free(struct operator* op)
{
    struct paths *paths = paths_of(op);
    struct query_run *run = op->run;
    yen_free(paths->yen);
    cheapest_free(paths->cheapest);
    bfs_free(paths->bfs);
    path_release(run, &paths->path);
    row_values_release(&paths->values);
    if (paths->from.items != &paths->ends[0]) {
        id_list_release(run, &paths->from);
        id_list_release(run, &paths->to);
    }
    walk_release(&paths->walk);
    search_operator_free(op, sizeof *paths);
}

static sombra_err paths_describe(struct operator* op)
{
    const struct paths *paths = paths_of(op);
    op->estimate = (double)paths->from.count * (double)paths->to.count;
    operator_describe(op, "%s, %zu x %zu nodes", kinds[paths->kind], paths->from.count,
                      paths->to.count);
    return SOMBRA_OK;
}

/* ---- options ----------------------------------------------------------------------------- */

static const char *const option_names[] = {
    "from", "to", "kind",   "types",          "direction", "where", "nodes",
    "max",  "k",  "weight", "weight_default", "heuristic", "scale", NULL,
};
/* By their places there, as options_given has it: what is not there need not be looked for. */
enum {
    GIVEN_KIND = 1 << 2,
    GIVEN_MAX = 1 << 7,
    GIVEN_K = 1 << 8,
    GIVEN_COSTS = 0xf << 9,
};

static sombra_err parse_ends(struct paths *paths, const sombra_value *options)
{
    struct query_run *run = paths->head.run;
    bool has_from = false, has_to = false;
    sombra_err err = option_ids(run, options, "from", &paths->from, &has_from);
    if (!err)
        err = option_ids(run, options, "to", &paths->to, &has_to);
    if (!err && (!has_from || !has_to))
        err = diag_fail(SOMBRA_INVALID, "option '%s' is missing; give the id of a node, or a list",
                        has_from ? "to" : "from");
    return err;
}

/* What only some kinds take is refused for the others: it would be ignored in silence. */
static sombra_err refuse_unused(const struct paths *paths, const sombra_value *options,
                                uint32_t given)
{
    static const char *const of_costs[] = { "weight", "weight_default", "heuristic", "scale" };
    bool has_costs = paths->kind == KIND_WEIGHTED || paths->kind == KIND_K_SHORTEST;
    bool found = false;
    sombra_slice unused;
    sombra_err err = SOMBRA_OK;
    bool looks = !has_costs && (given & GIVEN_COSTS);
    for (size_t i = 0; !err && !found && looks && i < COUNT_OF(of_costs); i++) {
        err = option_encoded(options, of_costs[i], &unused, &found);
        if (!err && found)
            return diag_fail(SOMBRA_INVALID, "option '%s' is for weighted and k_shortest paths",
                             of_costs[i]);
    }
    if (!err && (given & GIVEN_K))
        err = option_encoded(options, "k", &unused, &found);
    if (!err && found && paths->kind != KIND_K_SHORTEST)
        err = diag_fail(SOMBRA_INVALID, "option 'k' is for k_shortest paths");
    else if (!err && !found && paths->kind == KIND_K_SHORTEST)
        err = diag_fail(SOMBRA_INVALID, "option 'k' is missing: how many paths?");
    return err;
}

static sombra_err make_search(struct paths *paths, uint32_t max, uint32_t k)
{
    struct query_run *run = paths->head.run;
    if (paths->kind == KIND_SHORTEST || paths->kind == KIND_ALL_SHORTEST)
        return bfs_new(run, &paths->walk, max, paths->kind == KIND_ALL_SHORTEST, &paths->bfs);
    sombra_err err = cheapest_new(run, &paths->walk, &paths->costs, max, &paths->cheapest);
    if (!err && paths->kind == KIND_K_SHORTEST)
        err = yen_new(run, paths->cheapest, k, &paths->yen);
    return err;
}

static sombra_err parse(struct paths *paths, const sombra_value *options)
{
    struct query_run *run = paths->head.run;
    unsigned kind = KIND_SHORTEST;
    uint32_t max = UINT32_MAX, k = 0, given;
    sombra_err err = options_given(options, option_names, &given);
    if (!err)
        err = parse_ends(paths, options);
    if (!err && (given & GIVEN_KIND))
        err = option_choice(options, "kind", kinds, &kind);
    paths->kind = (enum path_kind)kind;
    if (!err)
        err = refuse_unused(paths, options, given);
    if (!err && (given & GIVEN_MAX))
        err = option_count(options, "max", UINT32_MAX - 1, &max);
    if (!err && (given & GIVEN_K))
        err = option_count(options, "k", UINT32_MAX - 1, &k);
    if (!err)
        err = walk_parse(run->txn, options, SOMBRA_OUT, &paths->walk);
    if (!err && (paths->kind == KIND_WEIGHTED || paths->kind == KIND_K_SHORTEST))
        err = costs_parse(run, options, &paths->costs);
    return err ? err : make_search(paths, max, k);
}

/* Without its options. */
static sombra_err operator_new(struct query_run *run, struct paths **out_paths)
{
    static const struct operator_ops ops = {
        .name = "paths",
        .next = paths_next,
        .free = paths_free,
        .describe = paths_describe,
    };
    sombra_err err = search_operator_new(run, &ops, sizeof **out_paths, SOMBRA_ROW_PATH, out_paths);
    return err ? err : row_values_init(&(*out_paths)->values, run);
}

sombra_err paths_pair_new(struct query_run *run, const struct paths_pair *pair,
                          struct operator** out)
{
    struct paths *paths = NULL;
    sombra_err err = operator_new(run, &paths);
    if (!err) {
        paths->kind = pair->collects ? KIND_ALL_SHORTEST : KIND_SHORTEST;
        paths->ends[0] = pair->nodes[0];
        paths->ends[1] = pair->nodes[1];
        paths->from = (struct id_list){ .items = &paths->ends[0], .count = 1 };
        paths->to = (struct id_list){ .items = &paths->ends[1], .count = 1 };
        err = bfs_new(run, &pair->walk, pair->max, pair->collects, &paths->bfs);
    }
    if (err) {
        if (paths)
            paths_free(&paths->head);
        return err;
    }
    *out = &paths->head;
    return SOMBRA_OK;
}

sombra_err paths_new(struct query_run *run, const sombra_value *options, struct operator** out)
{
    struct paths *paths = NULL;
    sombra_err err = operator_new(run, &paths);
    if (!err)
        err = parse(paths, options);
    if (err) {
        if (paths)
            paths_free(&paths->head);
        return err;
    }
    *out = &paths->head;
    return SOMBRA_OK;
}
