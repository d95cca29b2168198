/* SPDX-License-Identifier: MIT */
/* Cycles in the graph of dependencies: one pass says that there is none; when there is one, passes
 * over fewer kinds of edges say which anomaly it is. */
#include "kv_serial_internal.h"

#include <stdio.h>
#include <stdlib.h>

void serial_edge(struct serial_checker *checker, uint32_t from, uint32_t to,
                 enum serial_edge_kind kind)
{
    if (from == to)
        return;
    if (checker->edge_count == checker->edge_capacity) {
        checker->edge_capacity = checker->edge_capacity * 2 + 64;
        checker->edges = realloc(checker->edges, checker->edge_capacity * sizeof *checker->edges);
        if (!checker->edges)
            abort();
    }
    checker->edges[checker->edge_count++] = (struct serial_edge){ from, to, kind };
}

static int edge_order(const void *a, const void *b)
{
    const struct serial_edge *left = a, *right = b;
    return (left->from > right->from) - (left->from < right->from);
}

static bool is_in(const struct serial_edge *edge, unsigned kinds)
{
    return kinds >> edge->kind & 1;
}

/* Edges in the order of `from`; first[n] is node n's first. */
static uint32_t *edges_index(struct serial_checker *checker)
{
    uint32_t *first = serial_alloc(checker->node_count + 1, sizeof *first);
    if (checker->edge_count)
        qsort(checker->edges, checker->edge_count, sizeof *checker->edges, edge_order);
    size_t e = 0;
    for (uint32_t node = 0; node <= checker->node_count; node++) {
        while (e < checker->edge_count && checker->edges[e].from < node)
            e++;
        first[node] = (uint32_t)e;
    }
    return first;
}

/* Takes away, again and again, what nothing leads to. True when something is left: the nodes with
 * degrees, each of which another one leads to. */
static bool has_cycle(struct serial_checker *checker, const uint32_t *first, unsigned kinds,
                      uint32_t *degrees)
{
    uint32_t *stack = serial_alloc(checker->node_count, sizeof *stack);
    size_t depth = 0, taken = 0;
    memset(degrees, 0, checker->node_count * sizeof *degrees);
    for (size_t e = 0; e < checker->edge_count; e++)
        degrees[checker->edges[e].to] += is_in(&checker->edges[e], kinds);
    for (uint32_t node = 0; node < checker->node_count; node++)
        if (degrees[node] == 0)
            stack[depth++] = node;
    while (depth > 0) {
        uint32_t node = stack[--depth];
        taken++;
        for (uint32_t e = first[node]; e < first[node + 1]; e++)
            if (is_in(&checker->edges[e], kinds) && --degrees[checker->edges[e].to] == 0)
                stack[depth++] = checker->edges[e].to;
    }
    free(stack);
    return taken < checker->node_count;
}

/* ---- what it is -------------------------------------------------------------------------- */

/* An edge that leads to `node` from what is left. */
static const struct serial_edge *edge_to(const struct serial_checker *checker, uint32_t node,
                                         unsigned kinds, const uint32_t *degrees)
{
    for (size_t e = 0; e < checker->edge_count; e++)
        if (checker->edges[e].to == node && is_in(&checker->edges[e], kinds) &&
            degrees[checker->edges[e].from] > 0)
            return &checker->edges[e];
    return NULL;
}

static void edge_describe(const struct serial_checker *checker, const struct serial_edge *edge,
                          char *text, size_t bytes)
{
    static const char *const names[] = { "ww", "wr", "rw", "time", "durable" };
    size_t used = strlen(text);
    if (edge->from < checker->history->count)
        snprintf(text + used, bytes - used, " T%u -%s->", edge->from, names[edge->kind]);
    else if (edge->to < checker->history->count)
        snprintf(text + used, bytes - used, " -%s->", names[edge->kind]);
}

/* Walks back from any node that is left until one comes twice. */
static bool cycle_report(struct serial_checker *checker, enum serial_anomaly anomaly,
                         unsigned kinds, const uint32_t *degrees)
{
    const struct serial_edge **path = serial_alloc(checker->node_count, sizeof(void *));
    uint32_t *seen_at = serial_alloc(checker->node_count, sizeof *seen_at);
    uint32_t node = 0, length = 0;
    while (degrees[node] == 0)
        node++;
    while (seen_at[node] == 0) {
        seen_at[node] = length + 1;
        path[length] = edge_to(checker, node, kinds, degrees);
        node = path[length++]->from;
    }
    char text[500] = "";
    uint32_t end = seen_at[node] - 1;
    for (uint32_t i = length; i-- > end;)
        if (strlen(text) < sizeof text - 60)
            edge_describe(checker, path[i], text, sizeof text);
    free(path);
    free(seen_at);
    return serial_found(checker, anomaly, "%s again the first", text);
}

static bool reaches(const struct serial_checker *checker, const uint32_t *first, uint32_t from,
                    uint32_t to, unsigned kinds)
{
    uint32_t *stack = serial_alloc(checker->node_count, sizeof *stack);
    bool *is_seen = serial_alloc(checker->node_count, sizeof *is_seen);
    size_t depth = 0;
    stack[depth++] = from;
    is_seen[from] = true;
    while (depth > 0 && !is_seen[to]) {
        uint32_t node = stack[--depth];
        for (uint32_t e = first[node]; e < first[node + 1]; e++) {
            uint32_t next = checker->edges[e].to;
            if (!is_in(&checker->edges[e], kinds) || is_seen[next])
                continue;
            is_seen[next] = true;
            stack[depth++] = next;
        }
    }
    bool found = is_seen[to];
    free(stack);
    free(is_seen);
    return found;
}

enum {
    WRITES = 1u << SERIAL_WW,
    INFORMATION = WRITES | 1u << SERIAL_WR,
    DEPENDENCIES = INFORMATION | 1u << SERIAL_RW,
    TIMES = DEPENDENCIES | 1u << SERIAL_TIME_EDGE,
    ALL_EDGES = TIMES | 1u << SERIAL_DURABLE_EDGE,
};

/* A cycle with a single rw edge? */
static bool has_single(const struct serial_checker *checker, const uint32_t *first,
                       const uint32_t *degrees)
{
    for (size_t e = 0; e < checker->edge_count; e++) {
        const struct serial_edge *edge = &checker->edges[e];
        if (edge->kind == SERIAL_RW && degrees[edge->from] > 0 && degrees[edge->to] > 0 &&
            reaches(checker, first, edge->to, edge->from, INFORMATION))
            return true;
    }
    return false;
}

static bool cycle_classify(struct serial_checker *checker, const uint32_t *first, uint32_t *degrees)
{
    if (has_cycle(checker, first, WRITES, degrees))
        return cycle_report(checker, SERIAL_G0, WRITES, degrees);
    if (has_cycle(checker, first, INFORMATION, degrees))
        return cycle_report(checker, SERIAL_G1C, INFORMATION, degrees);
    if (has_cycle(checker, first, DEPENDENCIES, degrees))
        return cycle_report(checker,
                            has_single(checker, first, degrees) ? SERIAL_G_SINGLE : SERIAL_G2,
                            DEPENDENCIES, degrees);
    if (has_cycle(checker, first, TIMES, degrees))
        return cycle_report(checker, SERIAL_TIME, TIMES, degrees);
    (void)has_cycle(checker, first, ALL_EDGES, degrees);
    return cycle_report(checker, SERIAL_LOST_DURABLE, ALL_EDGES, degrees);
}

bool serial_cycles_check(struct serial_checker *checker)
{
    uint32_t *first = edges_index(checker);
    uint32_t *degrees = serial_alloc(checker->node_count, sizeof *degrees);
    bool is_right =
        !has_cycle(checker, first, ALL_EDGES, degrees) || cycle_classify(checker, first, degrees);
    free(first);
    free(degrees);
    return is_right;
}
