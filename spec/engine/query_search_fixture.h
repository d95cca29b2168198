/* SPDX-License-Identifier: MIT */
/* For the tests of sources that search the whole graph: a source alone, without a plan, over a
 * graph that is written down in a line. */
#ifndef QUERY_SEARCH_FIXTURE_H
#define QUERY_SEARCH_FIXTURE_H

#include "graph_fixture.h"
#include "query/query_internal.h"
#include "value_fixture.h"

#include <inttypes.h>

typedef sombra_err (*source_fn)(struct query_run *run, const sombra_value *options,
                                struct operator** out);

extern struct query_run search_run; /* of the open transaction */
extern _Atomic uint32_t search_is_cancelled;

/* For cmocka; a write transaction is open. */
int search_setup(void **state);
int search_teardown(void **state);

/* "A>B 5, B>C": edges of type E between nodes made when first named, with the weight w behind the
 * blank if there is one. "A>B:T": of type T. Node A has the property name = "A". Edges have the ids
 * 1, 2, ... in this order. */
void graph_of(struct fixture *f, const char *edges);
sombra_node_id node_named(const char *name); /* 0 = none; names are single letters */

struct search_row {
    uint64_t id;
    uint32_t depth;
    double cost;
    sombra_slice value;
};
/* All rows of a source; they live until the next call. Fails the test on an error. */
size_t search_rows(source_fn source, const struct search_row **out_rows, const char *format, ...)
    SOMBRA_PRINTF(3, 4);
/* How it ends: the error of opening or reading. */
sombra_err search_error(source_fn source, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* The rows as text, joined by "; ": paths as A-1-B (names of nodes, ids of edges), nodes by name,
 * records as values. Lives until the next call. */
const char *search_text(source_fn source, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* Opens and reads it with the n-th allocation failing, for each n there is; nothing must leak. */
void search_survives_failed_allocations(source_fn source, const char *options);
/* Cancelled, and bounded in memory, it must say so. */
void search_obeys_its_bounds(source_fn source, const char *options);

#endif
