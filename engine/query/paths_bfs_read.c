/* SPDX-License-Identifier: MIT */
/* Paths of least edges, read off what a search left (paths_bfs.c): from where the sides met to both
 * ends. Of all paths one follows the other like the figures of a counter, so that they are made one
 * by one however many there are.
 */
#include "paths_bfs_internal.h"

/* ---- of all paths, or through chosen nodes ------------------------------------------------ */

static inline uint32_t first_link(const struct bfs *bfs, const struct side *side, uint32_t node)
{
    return bfs->collects ? side->firsts[node] : node;
}

/* Fills the trail from place `at` on with first links, down to the side's end. */
static sombra_err fill_trail(struct bfs *bfs, struct side *side, uint32_t node)
{
    for (uint32_t link = first_link(bfs, side, node); link;
         link = first_link(bfs, side, side->links[link].parent)) {
        sombra_err err = bfs_reserve(bfs, &side->trail, side->trail_count + 1,
                                     &side->trail_capacity, sizeof *side->trail);
        if (err)
            return err;
        side->trail[side->trail_count++] = link;
    }
    return SOMBRA_OK;
}

static sombra_err first_trail(struct bfs *bfs, struct side *side, uint32_t node)
{
    side->trail_count = 0;
    return fill_trail(bfs, side, node);
}

static sombra_err next_trail(struct bfs *bfs, struct side *side, bool *out_found)
{
    size_t at = side->trail_count;
    while (at > 0 && side->links[side->trail[at - 1]].next == 0)
        at--;
    *out_found = at > 0;
    if (at == 0)
        return SOMBRA_OK;
    uint32_t link = side->links[side->trail[at - 1]].next;
    side->trail[at - 1] = link;
    side->trail_count = at;
    return fill_trail(bfs, side, side->links[link].parent);
}

/* From the start to the meeting, then on to the end. */
static sombra_err read_path(struct bfs *bfs, struct path *path)
{
    const struct side *start = &bfs->sides[0], *end = &bfs->sides[1];
    uint32_t node = bfs->meetings[bfs->meeting].nodes[0];
    sombra_err err = path_begin(bfs->run, path, start->nodes[node]);
    for (size_t i = 0; !err && i < start->trail_count; i++) {
        const struct link *link = &start->links[start->trail[i]];
        err = path_push(bfs->run, path, link->edge);
        if (!err)
            err = path_push(bfs->run, path, start->nodes[link->parent]);
    }
    if (!err)
        path_reverse(path, 0, 0);
    for (size_t i = 0; !err && i < end->trail_count; i++) {
        const struct link *link = &end->links[end->trail[i]];
        err = path_push(bfs->run, path, link->edge);
        if (!err)
            err = path_push(bfs->run, path, end->nodes[link->parent]);
    }
    return err;
}

/* To the next path of this meeting, or the first of the next one. */
static sombra_err advance(struct bfs *bfs, bool *out_found)
{
    struct side *start = &bfs->sides[0], *end = &bfs->sides[1];
    bool found = false;
    sombra_err err = SOMBRA_OK;
    if (bfs->has_trails) {
        const struct meeting *at = &bfs->meetings[bfs->meeting];
        err = next_trail(bfs, end, &found);
        if (!err && !found) {
            err = next_trail(bfs, start, &found);
            if (!err && found)
                err = first_trail(bfs, end, at->nodes[1]);
        }
        if (err || found) {
            *out_found = found;
            return err;
        }
        bfs->meeting++;
    }
    bfs->has_trails = bfs->meeting < bfs->meeting_count;
    *out_found = bfs->has_trails;
    if (!bfs->has_trails)
        return SOMBRA_OK;
    err = first_trail(bfs, start, bfs->meetings[bfs->meeting].nodes[0]);
    return err ? err : first_trail(bfs, end, bfs->meetings[bfs->meeting].nodes[1]);
}

/* ---- of a plain search -------------------------------------------------------------------- */

/* On to the side's end. */
static sombra_err push_way(struct bfs *bfs, const struct side *side, uint32_t node,
                           struct path *path)
{
    const struct stretch *stretch = side->stretches + side->stretch_count;
    sombra_err err = SOMBRA_OK;
    while (!err && node > 0) {
        uint64_t edge = 0;
        do /* parents come before */
            stretch--;
        while (stretch->first > node);
        err = graph_ends_edge(side->edges[node], stretch->form, &edge);
        if (!err)
            err = path_push(bfs->run, path, edge);
        node = stretch->parent;
        if (!err)
            err = path_push(bfs->run, path, side->nodes[node]);
    }
    return err;
}

/* The only one. */
static sombra_err read_plain_path(struct bfs *bfs, struct path *path)
{
    const struct side *start = &bfs->sides[0], *end = &bfs->sides[1];
    const struct meeting *at = &bfs->meetings[bfs->meeting++];
    path->count = path->cost_count = 0; /* edges have no cost here */
    sombra_err err = path_push(bfs->run, path, start->nodes[at->nodes[0]]);
    if (!err)
        err = push_way(bfs, start, at->nodes[0], path);
    if (!err)
        path_reverse(path, 0, 0);
    return err ? err : push_way(bfs, end, at->nodes[1], path);
}

/* ---- of any ------------------------------------------------------------------------------ */

sombra_err bfs_next(struct bfs *bfs, struct path *path, bool *out_found)
{
    sombra_err err = run_tick(bfs->run);
    *out_found = false;
    if (err)
        return err;
    if (bfs->is_plain) {
        *out_found = bfs->meeting < bfs->meeting_count;
        return *out_found ? read_plain_path(bfs, path) : SOMBRA_OK;
    }
    err = advance(bfs, out_found);
    return err || !*out_found ? err : read_path(bfs, path);
}
