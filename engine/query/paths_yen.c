/* SPDX-License-Identifier: MIT */
/* The k loopless paths of least cost (Yen 1971), with Lawler's saving.
 *
 * Every path but the best leaves some better one at some node. So from each path given, at each of
 * its nodes, the cheapest path is sought that goes the same way up to there and then takes an edge
 * that no path given before with that same beginning takes. The cheapest of all those candidates
 * is the next path. A path deviates from the one it was found from at a known place, and what lies
 * before that place has been sought already (Lawler): so no candidate is found twice.
 */
#include "paths_internal.h"

struct found {
    struct path path;
    size_t deviates_at; /* index of the node from which on it is new */
    bool is_given;
};

struct yen {
    struct query_run *run;
    struct cheapest *cheapest;
    uint32_t k, given_count;
    uint64_t to;
    struct found *found; /* given ones and candidates */
    size_t found_count, found_capacity;
    size_t last; /* the one given last */
    struct bans bans;
};

sombra_err yen_new(struct query_run *run, struct cheapest *cheapest, uint32_t k,
                   struct yen **out_yen)
{
    struct yen *yen = mem_zalloc(sizeof *yen);
    if (!yen)
        return diag_nomem("a search", sizeof *yen);
    yen->run = run;
    yen->cheapest = cheapest;
    yen->k = k;
    *out_yen = yen;
    return SOMBRA_OK;
}

static void forget(struct yen *yen)
{
    for (size_t i = 0; i < yen->found_count; i++)
        path_release(yen->run, &yen->found[i].path);
    yen->found_count = 0;
    yen->given_count = 0;
}

void yen_free(struct yen *yen)
{
    if (!yen)
        return;
    forget(yen);
    run_free(yen->run, &yen->found, &yen->found_capacity, sizeof *yen->found);
    id_map_release(yen->run, &yen->bans.nodes);
    id_map_release(yen->run, &yen->bans.edges);
    mem_free(yen);
}

/* ---- candidates -------------------------------------------------------------------------- */

/* *path is taken over, and empty then, also on failure. */
static sombra_err add_found(struct yen *yen, struct path *path, size_t deviates_at)
{
    sombra_err err = run_room(yen->run, &yen->found, yen->found_count, &yen->found_capacity,
                              sizeof *yen->found, "candidates of paths");
    if (err)
        path_release(yen->run, path);
    else
        yen->found[yen->found_count++] =
            (struct found){ .path = *path, .deviates_at = deviates_at };
    *path = (struct path){ .ids = NULL };
    return err;
}

/* The first `nodes` nodes of a path, with the edges between them. */
static sombra_err copy_beginning(struct yen *yen, const struct path *from, size_t nodes,
                                 struct path *to)
{
    sombra_err err = path_begin(yen->run, to, from->ids[0]);
    for (size_t i = 1; !err && i < 2 * nodes - 1; i++)
        err = path_push(yen->run, to, from->ids[i]);
    for (size_t i = 1; !err && i < nodes; i++)
        err = path_push_cost(yen->run, to, from->costs[i]);
    return err;
}

/* The nodes of the beginning but its last; the edges by which given paths with this beginning go
 * on. */
static sombra_err set_bans(struct yen *yen, const struct path *path, size_t at)
{
    sombra_err err = SOMBRA_OK;
    id_map_clear(&yen->bans.nodes);
    id_map_clear(&yen->bans.edges);
    for (size_t i = 0; !err && i < at; i++)
        err = id_map_put(yen->run, &yen->bans.nodes, path->ids[2 * i], 1);
    for (size_t i = 0; !err && i < yen->found_count; i++) {
        const struct path *other = &yen->found[i].path;
        if (yen->found[i].is_given && other->count > 2 * at + 1 &&
            memcmp(other->ids, path->ids, (2 * at + 1) * sizeof *path->ids) == 0)
            err = id_map_put(yen->run, &yen->bans.edges, other->ids[2 * at + 1], 1);
    }
    return err;
}

static sombra_err seek_deviations(struct yen *yen)
{
    size_t nodes = yen->found[yen->last].path.count / 2; /* all but the last */
    for (size_t at = yen->found[yen->last].deviates_at; at < nodes; at++) {
        /* found moves when a candidate is added */
        const struct path *last = &yen->found[yen->last].path;
        struct path path = { .ids = NULL };
        bool found = false;
        sombra_err err = set_bans(yen, last, at);
        if (!err)
            err = copy_beginning(yen, last, at + 1, &path);
        if (!err)
            err = cheapest_find(yen->cheapest, yen->to, &yen->bans, &path, &found);
        if (!err && found)
            err = add_found(yen, &path, at);
        path_release(yen->run, &path);
        if (err)
            return err;
    }
    return SOMBRA_OK;
}

/* ---- search ------------------------------------------------------------------------------ */

sombra_err yen_begin(struct yen *yen, uint64_t from, uint64_t to)
{
    struct path path = { .ids = NULL };
    bool found = false;
    forget(yen);
    yen->to = to;
    sombra_err err = path_begin(yen->run, &path, from);
    if (!err && yen->k)
        err = cheapest_find(yen->cheapest, to, NULL, &path, &found);
    if (!err && found)
        err = add_found(yen, &path, 0);
    path_release(yen->run, &path);
    return err;
}

static bool comes_before(const struct path *a, const struct path *b)
{
    double left = path_cost(a), right = path_cost(b);
    return left != right ? left < right : a->count < b->count;
}

sombra_err yen_next(struct yen *yen, struct path *path, bool *out_found)
{
    size_t best = SIZE_MAX;
    sombra_err err = SOMBRA_OK;
    *out_found = false;
    if (yen->given_count == yen->k)
        return SOMBRA_OK;
    if (yen->given_count)
        err = seek_deviations(yen);
    for (size_t i = 0; i < yen->found_count; i++) {
        if (!yen->found[i].is_given &&
            (best == SIZE_MAX || comes_before(&yen->found[i].path, &yen->found[best].path)))
            best = i;
    }
    if (err || best == SIZE_MAX)
        return err;
    yen->found[best].is_given = true;
    yen->last = best;
    yen->given_count++;
    const struct path *given = &yen->found[best].path;
    err = copy_beginning(yen, given, (given->count + 1) / 2, path);
    *out_found = !err;
    return err;
}
