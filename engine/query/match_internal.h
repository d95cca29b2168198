/* SPDX-License-Identifier: MIT */
/* Patterns (match.c, match_parse.c): named nodes and the edges between them.
 */
#ifndef MATCH_INTERNAL_H
#define MATCH_INTERNAL_H

#include "search_internal.h"

enum { MATCH_NODES_MAX = 64, MATCH_EDGES_MAX = 128 };

struct match_node {
    sombra_slice name;
    bool is_hidden;         /* the name begins with '#': not in the rows */
    sombra_slice steps;     /* encoded: a source that gives the nodes that fit by themselves */
    struct predicate *fits; /* labels and where; NULL = all */
    struct id_list ids;     /* ascending; only with has_ids */
    bool has_ids;
    double estimate; /* nodes that fit */
};

struct match_edge {
    unsigned from, to;   /* indexes of nodes */
    sombra_slice as;     /* empty = not in the rows */
    struct walk walk;    /* as seen from `from` */
    sombra_slice *types; /* their names; the arena's */
    size_t type_count;
    double fan; /* edges a node has of these, about */
};

enum match_distinct { MATCH_DISTINCT_EDGES, MATCH_DISTINCT_NODES, MATCH_DISTINCT_NONE };

struct pattern {
    struct match_node nodes[MATCH_NODES_MAX];
    struct match_edge edges[MATCH_EDGES_MAX];
    unsigned node_count, edge_count;
    uint64_t node_total; /* nodes of the graph */
    enum match_distinct distinct;
};

/* `value` is the second element of the step. What it made is released also after a failure. */
sombra_err pattern_parse(struct query_run *run, const sombra_value *value,
                         struct pattern *pattern) SOMBRA_MUST_CHECK;
void pattern_release(struct query_run *run, struct pattern *pattern);

#endif
