/* SPDX-License-Identifier: MIT */
/* What the checker's files share: the graph of dependencies. */
#ifndef KV_SERIAL_INTERNAL_H
#define KV_SERIAL_INTERNAL_H

#include "kv_serial.h"

enum serial_edge_kind {
    SERIAL_WW,
    SERIAL_WR,
    SERIAL_RW,
    SERIAL_TIME_EDGE,
    SERIAL_DURABLE_EDGE,
};

struct serial_edge {
    uint32_t from, to;
    enum serial_edge_kind kind;
};

/* Of one key: version n is the list's first n elements. */
struct serial_versions {
    uint64_t count;
    uint32_t *writers; /* of element n */
    uint64_t *chains;  /* of version n; count + 1 of them */
};

/* A version that the transaction in hand read, its own appends left out. */
struct serial_base {
    uint32_t key;
    uint64_t count;
};

struct serial_checker {
    const struct serial_history *history;
    struct serial_finding *finding;
    struct element *elements; /* all appends, by id */
    size_t element_count;
    bool *is_listed;  /* per element: it is there at the end */
    bool *has_effect; /* per transaction: one of its elements is */
    struct serial_versions *versions;
    struct serial_base *bases; /* of the transaction in hand */
    uint32_t base_count;
    struct serial_edge *edges;
    size_t edge_count, edge_capacity;
    uint32_t node_count; /* the transactions, and behind them moments */
};

/* Notes the first finding; false. */
bool serial_found(struct serial_checker *checker, enum serial_anomaly anomaly, const char *format,
                  ...) SOMBRA_PRINTF(3, 4);
void *serial_alloc(size_t count, size_t bytes); /* zeroed; ends the program when memory is out */
/* None from a node to itself. */
void serial_edge(struct serial_checker *checker, uint32_t from, uint32_t to,
                 enum serial_edge_kind kind);
bool serial_cycles_check(struct serial_checker *checker);

#endif
