/* SPDX-License-Identifier: MIT */
/* Paths of least edges: breadth first from both ends, a whole level of the smaller side at a time.
 *
 * Let the sides have walked f and b levels without touching. Then every node within f edges of the
 * start is on the one side, every node within b edges of the end on the other, and no path has
 * fewer than f + b + 1 edges. So the first node that the next level has in common with the other
 * side lies on a path of least edges, and it lies on the other side's last level. For all paths the
 * level is finished: each of them crosses it in just one such node.
 *
 * Most searches are for one path through any nodes. Those keep of a node what the store's key says
 * of the edge, as it was read, and for each stretch of nodes whose edges they came over: only what
 * is on the path is taken apart. Others keep the links over which a node's level was reached, one
 * or all of them.
 */
#include "paths_bfs_internal.h"

enum {
    REFUSED = UINT32_MAX, /* a place: walk->nodes does not take it */
    SLOTS_FIRST = 1024,
    SLOTS_GROWTH = 4,
    MARKS_FIRST = 1 << 14, /* ids */
    MARKS_MAX = 1 << 18,
    MARKS_CLEAR_BYTES = 32, /* to clear so many is as fast as to clear the mark of one node */
    ITEMS_FIRST_BYTES = 8192,
    NODES_FIRST = 1024, /* of a plain search */
    STRETCHES_FIRST = 512,
    ARENA_BYTES_MAX = 64 * 1024, /* of an array: longer ones are freed when they grow */
};

/* Ids that follow one another are spread evenly (Knuth's multiplicative hash). */
#define SLOT_FACTOR UINT64_C(0x9E3779B97F4A7C15)

/* ---- lifecycle --------------------------------------------------------------------------- */

/* Memory for an array. Short ones are the arena's, which the next query of the handle finds there:
 * most searches allocate nothing. */
static sombra_err array_new(struct bfs *bfs, size_t bytes, void **out_array)
{
    sombra_err err = run_charge(bfs->run, (int64_t)bytes);
    if (err)
        return err;
    *out_array = bytes > ARENA_BYTES_MAX ? mem_alloc(bytes) : arena_alloc(&bfs->run->arena, bytes);
    if (!*out_array) {
        run_refund(bfs->run, bytes);
        return diag_nomem("a search", bytes);
    }
    if (bytes <= ARENA_BYTES_MAX)
        bfs->arena_bytes += bytes;
    return SOMBRA_OK;
}

/* What the arena has stays charged until the end: it is still there. */
static void array_free(struct bfs *bfs, void *array, size_t bytes)
{
    if (bytes <= ARENA_BYTES_MAX)
        return;
    run_refund(bfs->run, bytes);
    mem_free(array);
}

/* `array` goes through memcpy, for it may point to a pointer of any type. */
sombra_err bfs_grow(struct bfs *bfs, void *array, size_t *capacity, size_t item_bytes)
{
    void *old, *grown = NULL;
    size_t more = *capacity ? 2 * *capacity : ITEMS_FIRST_BYTES / item_bytes;
    if (more >= UINT32_MAX / 2)
        return diag_fail(SOMBRA_LIMIT, "a search of more than %zu steps", *capacity);
    sombra_err err = array_new(bfs, more * item_bytes, &grown);
    if (err)
        return err;
    memcpy(&old, array, sizeof old);
    if (*capacity)
        memcpy(grown, old, *capacity * item_bytes);
    array_free(bfs, old, *capacity * item_bytes);
    memcpy(array, &grown, sizeof grown);
    *capacity = more;
    return SOMBRA_OK;
}

/* The arrays of a plain search, as they are at first, at once. */
static sombra_err plain_arrays(struct bfs *bfs)
{
    struct plain_arrays {
        uint64_t nodes[NODES_FIRST], edges[NODES_FIRST], level[NODES_FIRST];
        struct stretch stretches[STRETCHES_FIRST];
    } * arrays;
    void *memory;
    static_assert(2 * sizeof *arrays <= ARENA_BYTES_MAX, "nobody frees them one by one");
    sombra_err err = array_new(bfs, COUNT_OF(bfs->sides) * sizeof *arrays, &memory);
    arrays = err ? NULL : memory;
    for (size_t i = 0; !err && i < COUNT_OF(bfs->sides); i++) {
        struct side *side = &bfs->sides[i];
        side->nodes = arrays[i].nodes;
        side->edges = arrays[i].edges;
        side->level = arrays[i].level;
        side->node_capacity = side->edge_capacity = side->level_capacity = NODES_FIRST;
        side->stretches = arrays[i].stretches;
        side->stretch_capacity = STRETCHES_FIRST;
    }
    return err;
}

sombra_err bfs_new(struct query_run *run, const struct walk *walk, uint32_t max, bool collects,
                   struct bfs **out_bfs)
{
    struct bfs *bfs = arena_alloc(&run->arena, sizeof *bfs);
    if (!bfs)
        return diag_nomem("a search", sizeof *bfs);
    *bfs = (struct bfs){ .run = NULL };
    bfs->run = run;
    bfs->walk = walk;
    bfs->max = max;
    bfs->collects = collects;
    bfs->is_plain = !collects && !walk->nodes;
    bfs->meetings = &bfs->first_meeting;
    bfs->meeting_capacity = 1;
    sombra_err err = bfs->is_plain ? plain_arrays(bfs) : SOMBRA_OK;
    if (!err)
        err = fan_new(run, walk, false, false, &bfs->sides[0].fan);
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
        array_free(bfs, side->nodes, side->node_capacity * sizeof *side->nodes);
        array_free(bfs, side->edges, side->edge_capacity * sizeof *side->edges);
        array_free(bfs, side->stretches, side->stretch_capacity * sizeof *side->stretches);
        array_free(bfs, side->firsts, side->first_capacity * sizeof *side->firsts);
        array_free(bfs, side->links, side->link_capacity * sizeof *side->links);
        array_free(bfs, side->level, side->level_capacity * sizeof *side->level);
        array_free(bfs, side->trail, side->trail_capacity * sizeof *side->trail);
    }
    array_free(bfs, bfs->spots, bfs->spot_capacity * sizeof *bfs->spots);
    array_free(bfs, bfs->slots, bfs->slot_capacity * sizeof *bfs->slots);
    array_free(bfs, bfs->meetings, bfs->meeting_capacity * sizeof *bfs->meetings);
    run_refund(bfs->run, bfs->arena_bytes + bfs->mark_ids);
}

/* ---- spots ------------------------------------------------------------------------------- */

/* The slot of the node, or the free one (0) that would be. */
static inline uint32_t *slot_of(const struct bfs *bfs, uint64_t id)
{
    const size_t mask = bfs->slot_capacity - 1;
    size_t at = (size_t)(id * SLOT_FACTOR >> bfs->slot_shift);
    while (bfs->slots[at] && bfs->spots[bfs->slots[at]].id != id)
        at = (at + 1) & mask;
    return &bfs->slots[at];
}

static sombra_err slots_grow(struct bfs *bfs, size_t capacity)
{
    void *memory;
    sombra_err err = array_new(bfs, capacity * sizeof *bfs->slots, &memory);
    if (err)
        return err;
    memset(memory, 0, capacity * sizeof *bfs->slots);
    array_free(bfs, bfs->slots, bfs->slot_capacity * sizeof *bfs->slots);
    bfs->slots = memory;
    bfs->slot_capacity = capacity;
    bfs->slot_shift = (unsigned)__builtin_clzll(capacity) + 1;
    for (size_t i = 1; i < bfs->spot_count; i++)
        *slot_of(bfs, bfs->spots[i].id) = (uint32_t)i;
    return SOMBRA_OK;
}

/* Room for `more` nodes. */
static inline sombra_err spots_reserve(struct bfs *bfs, size_t more)
{
    const size_t count = bfs->spot_count + more;
    size_t capacity = size_max(bfs->slot_capacity, SLOTS_FIRST);
    sombra_err err = bfs_reserve(bfs, &bfs->spots, count, &bfs->spot_capacity, sizeof *bfs->spots);
    while (capacity / 2 < count)
        capacity *= SLOTS_GROWTH;
    return LIKELY(err || capacity == bfs->slot_capacity) ? err : slots_grow(bfs, capacity);
}

static sombra_err spots_clear(struct bfs *bfs)
{
    if (bfs->spot_count > 1)
        memset(bfs->slots, 0, bfs->slot_capacity * sizeof *bfs->slots);
    bfs->spot_count = 1;
    sombra_err err = spots_reserve(bfs, 1);
    if (!err)
        bfs->spots[0] = (struct spot){ .id = 0 };
    return err;
}

/* ---- marks ------------------------------------------------------------------------------- */

static sombra_err marks_grow(struct marks *marks, size_t ids)
{
    uint8_t *of_ids = mem_zalloc(ids);
    if (!of_ids)
        return diag_nomem("a search", ids);
    if (marks->of_ids)
        memcpy(of_ids, marks->of_ids, marks->capacity);
    mem_free(marks->of_ids);
    *marks = (struct marks){ of_ids, ids };
    return SOMBRA_OK;
}

/* For all ids below `ids`, which is at most MARKS_MAX. What the run has kept is charged as if it
 * were new: a bound on memory does not depend on what ran before. */
static sombra_err marks_reserve(struct bfs *bfs, uint64_t ids)
{
    struct marks *marks = &bfs->run->marks;
    size_t wanted = size_max(bfs->mark_ids, MARKS_FIRST);
    assert(ids <= MARKS_MAX);
    while (wanted < ids)
        wanted *= 2;
    if (LIKELY(wanted == bfs->mark_ids))
        return SOMBRA_OK;
    const size_t more_bytes = wanted - bfs->mark_ids;
    sombra_err err = run_charge(bfs->run, (int64_t)more_bytes);
    if (err)
        return err;
    if (wanted > marks->capacity)
        err = marks_grow(marks, wanted);
    if (err)
        run_refund(bfs->run, more_bytes);
    else
        bfs->mark_ids = wanted;
    return err;
}

static inline uint8_t mark_of(const struct bfs *bfs, const struct side *side)
{
    return side == &bfs->sides[0] ? 1 : 2;
}

static sombra_err marks_begin(struct bfs *bfs, uint64_t from, uint64_t to)
{
    const bool fits = bfs->is_plain && (from | to) < MARKS_MAX;
    sombra_err err = fits ? marks_reserve(bfs, (from | to) + 1) : spots_clear(bfs);
    bfs->has_marks = fits && !err;
    return err;
}

/* Of all nodes that the sides know; most searches know few. */
static void marks_clear(struct bfs *bfs)
{
    uint8_t *marks = bfs->run->marks.of_ids;
    if (bfs->sides[0].count + bfs->sides[1].count > bfs->mark_ids / MARKS_CLEAR_BYTES) {
        memset(marks, 0, bfs->mark_ids);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(bfs->sides); i++) {
        const uint64_t *nodes = bfs->sides[i].nodes;
        const size_t count = bfs->sides[i].count;
        for (size_t node = 0; node < count; node++)
            marks[nodes[node]] = 0;
    }
}

/* ---- sides ------------------------------------------------------------------------------- */

/* Room for `more` nodes, reached from one, on one side. */
static sombra_err side_reserve_plain(struct bfs *bfs, struct side *side, size_t more)
{
    const size_t nodes = side->count + more;
    sombra_err err = bfs->has_marks ? SOMBRA_OK : spots_reserve(bfs, more);
    if (!err)
        err = bfs_reserve(bfs, &side->nodes, nodes, &side->node_capacity, sizeof *side->nodes);
    if (!err)
        err = bfs_reserve(bfs, &side->edges, nodes, &side->edge_capacity, sizeof *side->edges);
    if (!err)
        err = bfs_reserve(bfs, &side->stretches, side->stretch_count + 1, &side->stretch_capacity,
                          sizeof *side->stretches);
    return err;
}

/* Room for `more` nodes, each with a link, on one side. */
static sombra_err side_reserve(struct bfs *bfs, struct side *side, size_t more)
{
    const size_t nodes = side->count + more, links = side->link_count + more;
    sombra_err err = spots_reserve(bfs, more);
    if (!err)
        err = bfs_reserve(bfs, &side->nodes, nodes, &side->node_capacity, sizeof *side->nodes);
    if (!err && bfs->collects)
        err = bfs_reserve(bfs, &side->firsts, nodes, &side->first_capacity, sizeof *side->firsts);
    if (!err)
        err = bfs_reserve(bfs, &side->links, links, &side->link_capacity, sizeof *side->links);
    return err;
}

/* These three: room is reserved. */
static inline void add_link(const struct bfs *bfs, struct side *side, uint32_t node,
                            uint32_t parent, uint64_t edge)
{
    assert(side->link_count < side->link_capacity);
    assert(bfs->collects || side->link_count == node);
    side->links[side->link_count] = (struct link){ .edge = edge,
                                                   .parent = parent,
                                                   .next = bfs->collects ? side->firsts[node] : 0 };
    if (bfs->collects)
        side->firsts[node] = (uint32_t)side->link_count;
    side->link_count++;
}

static inline void take_spot(struct bfs *bfs, uint32_t *slot, uint64_t node,
                             const struct side *side, uint32_t place)
{
    if (*slot == 0) {
        assert(bfs->spot_count < bfs->spot_capacity);
        bfs->spots[bfs->spot_count] = (struct spot){ .id = node };
        *slot = (uint32_t)bfs->spot_count++;
    }
    bfs->spots[*slot].places[side == &bfs->sides[1]] = place;
}

static inline uint32_t add_node(struct bfs *bfs, struct side *side, uint32_t *slot, uint64_t node)
{
    uint32_t index = (uint32_t)side->count++;
    assert(side->count <= side->node_capacity);
    side->nodes[index] = node;
    if (bfs->collects)
        side->firsts[index] = 0;
    take_spot(bfs, slot, node, side, index + 1);
    return index;
}

static sombra_err begin_side(struct bfs *bfs, struct side *side, uint64_t node)
{
    side->count = 0;
    side->link_count = 1;
    side->stretch_count = 0;
    side->level_at = 0;
    side->depth = 0;
    sombra_err err = bfs->is_plain ? side_reserve_plain(bfs, side, 1) : side_reserve(bfs, side, 1);
    if (!err && !bfs->has_marks) {
        (void)add_node(bfs, side, slot_of(bfs, node), node);
    } else if (!err) {
        bfs->run->marks.of_ids[node] |= mark_of(bfs, side);
        side->nodes[side->count++] = node;
    }
    return err;
}

/* An id that is too large for marks was met: spots know from now on what the marks knew. */
static sombra_err marks_leave(struct bfs *bfs)
{
    marks_clear(bfs);
    bfs->has_marks = false;
    sombra_err err = spots_clear(bfs);
    if (!err)
        err = spots_reserve(bfs, bfs->sides[0].count + bfs->sides[1].count);
    for (size_t i = 0; !err && i < COUNT_OF(bfs->sides); i++) {
        const struct side *side = &bfs->sides[i];
        for (size_t node = 0; node < side->count; node++)
            take_spot(bfs, slot_of(bfs, side->nodes[node]), side->nodes[node], side,
                      (uint32_t)node + 1);
    }
    return err;
}

static sombra_err add_meeting(struct bfs *bfs, const struct side *side, uint32_t mine,
                              uint32_t others)
{
    bool is_start = side == &bfs->sides[0];
    sombra_err err = bfs_reserve(bfs, &bfs->meetings, bfs->meeting_count + 1,
                                 &bfs->meeting_capacity, sizeof *bfs->meetings);
    if (!err)
        bfs->meetings[bfs->meeting_count++] =
            (struct meeting){ { is_start ? mine : others, is_start ? others : mine } };
    return err;
}

/* An edge from the last level's `parent` to a node that this side did not know. */
static inline sombra_err reach(struct bfs *bfs, struct side *side, uint32_t *slot,
                               const struct graph_hop *hop, uint32_t parent)
{
    const uint32_t others = bfs->spots[*slot].places[side == &bfs->sides[0]];
    const bool meets = others != 0 && others != REFUSED;
    /* The other side knows its nodes to be taken, or to be the end of the path. */
    if (UNLIKELY(bfs->walk->nodes) && !meets) {
        bool takes = true;
        sombra_err err = walk_takes_node(bfs->walk, bfs->run, hop->node, &takes);
        if (err)
            return err;
        if (!takes) {
            take_spot(bfs, slot, hop->node, side, REFUSED);
            return SOMBRA_OK;
        }
    }
    uint32_t index = add_node(bfs, side, slot, hop->node);
    add_link(bfs, side, index, parent, hop->edge);
    return UNLIKELY(meets) ? add_meeting(bfs, side, index, others - 1) : SOMBRA_OK;
}

/* The nodes from `first` on were reached over these edges; room is reserved. */
static inline void add_stretch(struct side *side, size_t first, const struct graph_ends *ends)
{
    assert(side->stretch_count < side->stretch_capacity);
    if (side->count > first)
        side->stretches[side->stretch_count++] =
            (struct stretch){ (uint32_t)first, (uint32_t)side->level_at + ends->source,
                              ends->form };
}

/* As walk_hops for one path through any nodes, which most searches are for: of each node the first
 * edge is kept, and the first that meets the other side ends it. */
static sombra_err walk_ends_plain(struct bfs *bfs, struct side *side, const struct graph_ends *ends)
{
    const unsigned own = side == &bfs->sides[1];
    const size_t first = side->count;
    struct spot *spots = bfs->spots;
    size_t spot_count = bfs->spot_count, node = first;
    uint32_t others = 0;
    for (size_t i = 0; i < ends->count; i++) {
        const uint64_t id = ends->nodes[i];
        uint32_t *slot = slot_of(bfs, id);
        if (*slot == 0) {
            spots[spot_count].id = id;
            spots[spot_count].places[1 - own] = 0;
            *slot = (uint32_t)spot_count++;
        } else {
            if (spots[*slot].places[own])
                continue;
            others = spots[*slot].places[1 - own];
        }
        side->nodes[node] = id;
        side->edges[node] = ends->edges[i];
        spots[*slot].places[own] = (uint32_t)++node;
        if (others)
            break;
    }
    bfs->spot_count = spot_count;
    side->count = node;
    add_stretch(side, first, ends);
    return others ? add_meeting(bfs, side, (uint32_t)node - 1, others - 1) : SOMBRA_OK;
}

/* The same by marks. A function of its own, so that the loop has the registers. */
static __attribute__((noinline)) sombra_err walk_ends_marked(struct bfs *bfs, struct side *side,
                                                             const struct graph_ends *ends)
{
    const uint8_t own = mark_of(bfs, side);
    const struct side *other = &bfs->sides[own & 1];
    const uint64_t *ids = ends->nodes, *id_edges = ends->edges;
    const size_t first = side->count, count = ends->count;
    uint8_t *marks = bfs->run->marks.of_ids;
    uint64_t *nodes = side->nodes, *edges = side->edges;
    size_t node = first, others = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t id = ids[i];
        assert(id < bfs->mark_ids);
        const uint8_t before = marks[id];
        marks[id] = before | own;
        /* Written in any case, there is room: nobody can tell which nodes are new. */
        nodes[node] = id;
        edges[node] = id_edges[i];
        node += !(before & own);
        if (UNLIKELY(before == (own ^ 3))) {
            others = other->count; /* it is on the last level */
            while (other->nodes[others - 1] != id)
                others--;
            break;
        }
    }
    side->count = node;
    add_stretch(side, first, ends);
    return others ? add_meeting(bfs, side, (uint32_t)node - 1, (uint32_t)others - 1) : SOMBRA_OK;
}

/* Room for the ends among the marks, or none of them from now on. */
static inline sombra_err marks_fit(struct bfs *bfs, const struct graph_ends *ends)
{
    if (LIKELY(!bfs->has_marks || ends->node_bits < bfs->mark_ids))
        return SOMBRA_OK;
    return ends->node_bits < MARKS_MAX ? marks_reserve(bfs, ends->node_bits + 1) : marks_leave(bfs);
}

static sombra_err walk_ends(struct bfs *bfs, struct side *side, const struct graph_ends *ends)
{
    sombra_err err = run_ticks(bfs->run, (uint32_t)ends->count);
    if (!err)
        err = marks_fit(bfs, ends);
    if (!err)
        err = side_reserve_plain(bfs, side, ends->count);
    if (err)
        return err;
    return bfs->has_marks ? walk_ends_marked(bfs, side, ends) : walk_ends_plain(bfs, side, ends);
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
        uint32_t *slot = slot_of(bfs, hops[i].node);
        const uint32_t place = bfs->spots[*slot].places[is_back];
        if (!place)
            err = reach(bfs, side, slot, &hops[i], parent);
        else if (UNLIKELY(bfs->collects) && place != REFUSED && place > level_end)
            add_link(bfs, side, place - 1, parent, hops[i].edge);
        if (bfs->meeting_count && !bfs->collects)
            break;
    }
    return err;
}

/* What the fan reads at once; *out_count: how many edges. */
static sombra_err walk_some_ends(struct bfs *bfs, struct side *side, size_t *out_count)
{
    const struct graph_ends *ends;
    sombra_err err = fan_next_ends(side->fan, &ends);
    *out_count = ends->count;
    return err || ends->count == 0 ? err : walk_ends(bfs, side, ends);
}

static sombra_err walk_some_hops(struct bfs *bfs, struct side *side, size_t level_end,
                                 size_t *out_count)
{
    const struct graph_hop *hops;
    sombra_err err = fan_next(side->fan, &hops, out_count);
    return err || *out_count == 0 ? err : walk_hops(bfs, side, hops, *out_count, level_end);
}

static sombra_err walk_level(struct bfs *bfs, struct side *side)
{
    size_t level_end = side->count, level_count = level_end - side->level_at;
    sombra_err err =
        bfs_reserve(bfs, &side->level, level_count, &side->level_capacity, sizeof *side->level);
    if (err)
        return err;
    memcpy(side->level, side->nodes + side->level_at, level_count * sizeof *side->level);
    fan_open_gently(side->fan, side->level, level_count);
    size_t count = 1;
    while (!err && count && (bfs->collects || bfs->meeting_count == 0))
        err = bfs->is_plain ? walk_some_ends(bfs, side, &count)
                            : walk_some_hops(bfs, side, level_end, &count);
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
    start->count = end->count = 0;
    sombra_err err = marks_begin(bfs, from, to);
    if (!err)
        err = begin_side(bfs, start, from);
    if (!err)
        err = begin_side(bfs, end, to);
    while (!err && bfs->meeting_count == 0) {
        size_t ahead = start->count - start->level_at, back = end->count - end->level_at;
        if (ahead == 0 || back == 0 || start->depth + end->depth >= bfs->max)
            break;
        err = ahead <= back ? walk_level(bfs, start) : walk_level(bfs, end);
    }
    if (bfs->has_marks)
        marks_clear(bfs);
    return err;
}
