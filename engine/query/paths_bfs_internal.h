/* SPDX-License-Identifier: MIT */
/* A search of paths_bfs.c, whose paths paths_bfs_read.c reads off.
 */
#ifndef PATHS_BFS_INTERNAL_H
#define PATHS_BFS_INTERNAL_H

#include "paths_internal.h"

/* What both sides know of a node, in one place: to look for it on its own side and on the other is
 * one search. */
struct spot {
    uint64_t id;
    uint32_t places[2]; /* by side: 1 + its index into nodes; 0 = not known */
};

/* An edge over which a node was reached, from one of the level before. */
struct link {
    uint64_t edge;
    uint32_t parent; /* index into nodes */
    uint32_t next;   /* of all paths only: another link of the same node; 0 = none */
};

/* Nodes that were reached from one, one after the other. */
struct stretch {
    uint32_t first, parent; /* indexes into nodes; it ends where the next one begins */
    enum graph_edge_form form;
};

/* What was found from one of the two ends. */
struct side {
    struct fan *fan;
    uint64_t *nodes;
    uint64_t *edges; /* of a plain search: over which each node was reached, but the end itself */
    struct stretch *stretches;
    size_t edge_capacity, stretch_count, stretch_capacity;
    uint32_t *firsts; /* of all paths: the first link of each node; 0 for the end itself */
    size_t count, node_capacity, first_capacity;
    /* Of a search that is not plain; index 0 is unused; of one path: the others are those of the
     * nodes. */
    struct link *links;
    size_t link_count, link_capacity;
    size_t level_at; /* where the last level begins */
    uint32_t depth;
    uint64_t *level; /* a copy of it, since nodes move while it is walked */
    size_t level_capacity;
    uint32_t *trail; /* of all paths: the links of this one */
    size_t trail_count, trail_capacity;
};

/* A node that both sides know. */
struct meeting {
    uint32_t nodes[2]; /* by side: its index there */
};

struct bfs {
    struct query_run *run;
    const struct walk *walk;
    uint32_t max;
    bool collects;
    bool is_plain;        /* looks for one path through any nodes */
    struct side sides[2]; /* from the start, from the end */
    /* Which side knows a node, in a byte for each id: all that a plain search asks, if ids are
     * small. Spots are for the others. */
    bool has_marks;     /* the run's; clear outside of bfs_begin */
    size_t mark_ids;    /* so many of them are charged; a power of two, or 0 */
    struct spot *spots; /* index 0 is that of no node */
    size_t spot_count, spot_capacity;
    uint32_t *slots; /* indexes of spots by id; open addressing, at most half full */
    size_t slot_capacity;
    unsigned slot_shift;          /* of a hash: so many of its high bits are a slot */
    struct meeting first_meeting; /* all there is of a plain search */
    struct meeting *meetings;
    size_t meeting_count, meeting_capacity;
    size_t meeting;  /* the one whose paths come next */
    bool has_trails; /* they stand on a path of it */
    size_t arena_bytes;
};

/* Makes room for more items. `array` is the address of the pointer to them. LIMIT, NOMEM. */
sombra_err bfs_grow(struct bfs *bfs, void *array, size_t *capacity,
                    size_t item_bytes) SOMBRA_MUST_CHECK;
/* Room for `count` items in all. */
static inline sombra_err bfs_reserve(struct bfs *bfs, void *array, size_t count, size_t *capacity,
                                     size_t item_bytes)
{
    sombra_err err = SOMBRA_OK;
    while (!err && UNLIKELY(*capacity < count))
        err = bfs_grow(bfs, array, capacity, item_bytes);
    return err;
}

#endif
