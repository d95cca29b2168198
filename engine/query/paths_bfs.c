/* SPDX-License-Identifier: MIT */
/* Paths of least edges: breadth first from both ends, a whole level of the smaller side at a time.
 *
 * Let the sides have walked f and b levels without touching. Then every node within f edges of the
 * start is on the one side, every node within b edges of the end on the other, and no path has
 * fewer than f + b + 1 edges. So the first node that the next level has in common with the other
 * side lies on a path of least edges, and it lies on the other side's last level. For all paths the
 * level is finished: each of them crosses it in just one such node.
 *
 * A node keeps the links over which its level was reached (one, or all of them); paths are read off
 * them like the figures of a counter, so that they are made one by one however many there are.
 */
#include "paths_internal.h"

/* What both sides know of a node, in one place: to look for it on its own side and on the other is
 * one search. */
struct spot {
    uint64_t id;        /* 0 = a free slot */
    uint32_t places[2]; /* by side: 1 + its index into nodes; 0 = not known */
};

enum {
    REFUSED = UINT32_MAX, /* a place: walk->nodes does not take it */
    SPOTS_FIRST = 1024,
    SPOTS_GROWTH = 4,
};

struct link {
    uint64_t edge;
    uint32_t parent; /* index into nodes */
    uint32_t next;   /* another link of the same node; 0 = none */
};

struct side {
    struct fan *fan;
    uint64_t *nodes;
    uint32_t *firsts; /* of each node: its first link; 0 for the end itself */
    size_t count, node_capacity, first_capacity;
    struct link *links; /* index 0 is unused */
    size_t link_count, link_capacity;
    size_t level_at; /* where the last level begins */
    uint32_t depth;
    uint64_t *level; /* a copy of it, since nodes move while it is walked */
    size_t level_capacity;
    uint32_t *trail; /* of all paths: the links of this one */
    size_t trail_count, trail_capacity;
};

struct meeting {
    uint32_t nodes[2];
};

struct bfs {
    struct query_run *run;
    const struct walk *walk;
    uint32_t max;
    bool collects;
    struct side sides[2]; /* from the start, from the end */
    struct spot *spots;   /* open addressing, at most half full */
    size_t spot_count, spot_capacity;
    struct meeting *meetings;
    size_t meeting_count, meeting_capacity;
    size_t meeting;  /* the one whose paths come next */
    bool has_trails; /* they stand on a path of it */
};

/* ---- lifecycle --------------------------------------------------------------------------- */

sombra_err bfs_new(struct query_run *run, const struct walk *walk, uint32_t max, bool collects,
                   struct bfs **out_bfs)
{
    struct bfs *bfs = mem_zalloc(sizeof *bfs);
    if (!bfs)
        return diag_nomem("a search", sizeof *bfs);
    bfs->run = run;
    bfs->walk = walk;
    bfs->max = max;
    bfs->collects = collects;
    sombra_err err = fan_new(run, walk, false, false, &bfs->sides[0].fan);
    if (!err)
        err = fan_new(run, walk, true, false, &bfs->sides[1].fan);
    if (err) {
        bfs_free(bfs);
        return err;
    }
    *out_bfs = bfs;
    return SOMBRA_OK;
}

void bfs_free(struct bfs *bfs)
{
    if (!bfs)
        return;
    for (size_t i = 0; i < COUNT_OF(bfs->sides); i++) {
        struct side *side = &bfs->sides[i];
        fan_free(side->fan);
        run_free(bfs->run, &side->nodes, &side->node_capacity, sizeof *side->nodes);
        run_free(bfs->run, &side->firsts, &side->first_capacity, sizeof *side->firsts);
        run_free(bfs->run, &side->links, &side->link_capacity, sizeof *side->links);
        run_free(bfs->run, &side->level, &side->level_capacity, sizeof *side->level);
        run_free(bfs->run, &side->trail, &side->trail_capacity, sizeof *side->trail);
    }
    run_free(bfs->run, &bfs->spots, &bfs->spot_capacity, sizeof *bfs->spots);
    run_free(bfs->run, &bfs->meetings, &bfs->meeting_capacity, sizeof *bfs->meetings);
    mem_free(bfs);
}

/* ---- spots ------------------------------------------------------------------------------- */

/* The node's, or the free one where it would stand. */
static inline struct spot *spot_of(const struct bfs *bfs, uint64_t id)
{
    const size_t mask = bfs->spot_capacity - 1;
    size_t at = (size_t)hash_u64(id) & mask;
    while (bfs->spots[at].id && bfs->spots[at].id != id)
        at = (at + 1) & mask;
    return &bfs->spots[at];
}

static sombra_err spots_grow(struct bfs *bfs, size_t capacity)
{
    struct spot *old = bfs->spots;
    size_t old_capacity = bfs->spot_capacity;
    sombra_err err = run_charge(bfs->run, (int64_t)(capacity * sizeof *old));
    if (err)
        return err;
    struct spot *spots = mem_zalloc(capacity * sizeof *spots);
    if (!spots) {
        run_refund(bfs->run, capacity * sizeof *spots);
        return diag_nomem("nodes of paths", capacity * sizeof *spots);
    }
    bfs->spots = spots;
    bfs->spot_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].id)
            *spot_of(bfs, old[i].id) = old[i];
    }
    run_free(bfs->run, &old, &old_capacity, sizeof *old);
    return SOMBRA_OK;
}

/* Room for `more` nodes. */
static inline sombra_err spots_reserve(struct bfs *bfs, size_t more)
{
    size_t capacity = size_max(bfs->spot_capacity, SPOTS_FIRST);
    while (capacity / 2 < bfs->spot_count + more)
        capacity *= SPOTS_GROWTH;
    return LIKELY(capacity == bfs->spot_capacity) ? SOMBRA_OK : spots_grow(bfs, capacity);
}

static void spots_clear(struct bfs *bfs)
{
    if (bfs->spot_count)
        memset(bfs->spots, 0, bfs->spot_capacity * sizeof *bfs->spots);
    bfs->spot_count = 0;
}

/* ---- sides ------------------------------------------------------------------------------- */

/* Room for `more` nodes, each with a link, on one side. */
static sombra_err side_reserve(struct bfs *bfs, struct side *side, size_t more)
{
    sombra_err err = spots_reserve(bfs, more);
    while (!err && side->node_capacity < side->count + more)
        err = run_room_slow(bfs->run, &side->nodes, &side->node_capacity, sizeof *side->nodes,
                            "nodes of paths");
    while (!err && side->first_capacity < side->count + more)
        err = run_room_slow(bfs->run, &side->firsts, &side->first_capacity, sizeof *side->firsts,
                            "nodes of paths");
    while (!err && side->link_capacity < side->link_count + more)
        err = run_room_slow(bfs->run, &side->links, &side->link_capacity, sizeof *side->links,
                            "links of paths");
    return err;
}

/* These three: room is reserved. */
static inline void add_link(struct side *side, uint32_t node, uint32_t parent, uint64_t edge)
{
    assert(side->link_count < side->link_capacity);
    side->links[side->link_count] =
        (struct link){ .edge = edge, .parent = parent, .next = side->firsts[node] };
    side->firsts[node] = (uint32_t)side->link_count++;
}

static inline void take_spot(struct bfs *bfs, struct spot *spot, uint64_t node,
                             const struct side *side, uint32_t place)
{
    bfs->spot_count += spot->id == 0;
    spot->id = node;
    spot->places[side == &bfs->sides[1]] = place;
}

static inline uint32_t add_node(struct bfs *bfs, struct side *side, struct spot *spot,
                                uint64_t node)
{
    uint32_t index = (uint32_t)side->count++;
    assert(side->count <= side->node_capacity && side->count <= side->first_capacity);
    side->nodes[index] = node;
    side->firsts[index] = 0;
    take_spot(bfs, spot, node, side, index + 1);
    return index;
}

static sombra_err begin_side(struct bfs *bfs, struct side *side, uint64_t node)
{
    side->count = 0;
    side->link_count = 1;
    side->level_at = 0;
    side->depth = 0;
    sombra_err err = side_reserve(bfs, side, 1);
    if (!err)
        (void)add_node(bfs, side, spot_of(bfs, node), node);
    return err;
}

static sombra_err add_meeting(struct bfs *bfs, const struct side *side, uint32_t mine,
                              uint32_t others)
{
    bool is_start = side == &bfs->sides[0];
    sombra_err err = run_room(bfs->run, &bfs->meetings, bfs->meeting_count, &bfs->meeting_capacity,
                              sizeof *bfs->meetings, "meetings of paths");
    if (!err)
        bfs->meetings[bfs->meeting_count++] =
            (struct meeting){ { is_start ? mine : others, is_start ? others : mine } };
    return err;
}

/* An edge from the last level's `parent` to a node that this side did not know. */
static inline sombra_err reach(struct bfs *bfs, struct side *side, struct spot *spot,
                               const struct graph_hop *hop, uint32_t parent)
{
    const uint32_t others = spot->places[side == &bfs->sides[0]];
    const bool meets = others != 0 && others != REFUSED;
    /* The other side knows its nodes to be taken, or to be the end of the path. */
    if (UNLIKELY(bfs->walk->nodes) && !meets) {
        bool takes = true;
        sombra_err err = walk_takes_node(bfs->walk, bfs->run, hop->node, &takes);
        if (err)
            return err;
        if (!takes) {
            take_spot(bfs, spot, hop->node, side, REFUSED);
            return SOMBRA_OK;
        }
    }
    uint32_t index = add_node(bfs, side, spot, hop->node);
    add_link(side, index, parent, hop->edge);
    return UNLIKELY(meets) ? add_meeting(bfs, side, index, others - 1) : SOMBRA_OK;
}

static sombra_err walk_hops(struct bfs *bfs, struct side *side, const struct graph_hop *hops,
                            size_t count, size_t level_end)
{
    const bool is_back = side == &bfs->sides[1];
    sombra_err err = run_ticks(bfs->run, (uint32_t)count);
    if (!err)
        err = side_reserve(bfs, side, count);
    for (size_t i = 0; !err && i < count; i++) {
        uint32_t parent = (uint32_t)(side->level_at + hops[i].source);
        struct spot *spot = spot_of(bfs, hops[i].node);
        const uint32_t place = spot->places[is_back];
        if (!place)
            err = reach(bfs, side, spot, &hops[i], parent);
        else if (UNLIKELY(bfs->collects) && place != REFUSED && place > level_end)
            add_link(side, place - 1, parent, hops[i].edge);
        if (bfs->meeting_count && !bfs->collects)
            break;
    }
    return err;
}

static sombra_err walk_level(struct bfs *bfs, struct side *side)
{
    size_t level_end = side->count, level_count = level_end - side->level_at;
    sombra_err err = SOMBRA_OK;
    while (!err && side->level_capacity < level_count)
        err = run_room(bfs->run, &side->level, side->level_capacity, &side->level_capacity,
                       sizeof *side->level, "a level of nodes");
    if (err)
        return err;
    memcpy(side->level, side->nodes + side->level_at, level_count * sizeof *side->level);
    fan_open_gently(side->fan, side->level, level_count);
    for (;;) {
        const struct graph_hop *hops;
        size_t count;
        err = fan_next(side->fan, &hops, &count);
        if (err || count == 0)
            break;
        err = walk_hops(bfs, side, hops, count, level_end);
        if (err || (bfs->meeting_count && !bfs->collects))
            break;
    }
    side->level_at = level_end;
    side->depth++;
    return err;
}

/* ---- search ------------------------------------------------------------------------------ */

sombra_err bfs_begin(struct bfs *bfs, uint64_t from, uint64_t to)
{
    struct side *start = &bfs->sides[0], *end = &bfs->sides[1];
    assert(from != to);
    bfs->meeting_count = bfs->meeting = 0;
    bfs->has_trails = false;
    spots_clear(bfs);
    sombra_err err = begin_side(bfs, start, from);
    if (!err)
        err = begin_side(bfs, end, to);
    while (!err && bfs->meeting_count == 0) {
        size_t ahead = start->count - start->level_at, back = end->count - end->level_at;
        if (ahead == 0 || back == 0 || start->depth + end->depth >= bfs->max)
            break;
        err = ahead <= back ? walk_level(bfs, start) : walk_level(bfs, end);
    }
    return err;
}

/* ---- paths ------------------------------------------------------------------------------- */

/* Fills the trail from place `at` on with first links, down to the side's end. */
static sombra_err fill_trail(struct bfs *bfs, struct side *side, uint32_t node)
{
    for (uint32_t link = side->firsts[node]; link; link = side->firsts[side->links[link].parent]) {
        sombra_err err = run_room(bfs->run, &side->trail, side->trail_count, &side->trail_capacity,
                                  sizeof *side->trail, "a path");
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

sombra_err bfs_next(struct bfs *bfs, struct path *path, bool *out_found)
{
    sombra_err err = run_tick(bfs->run);
    *out_found = false;
    if (err)
        return err;
    err = advance(bfs, out_found);
    return err || !*out_found ? err : read_path(bfs, path);
}
