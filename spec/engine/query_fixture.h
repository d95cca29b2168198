/* SPDX-License-Identifier: MIT */
/* For the tests of step lists: steps and rows as text, and a graph in a line. */
#ifndef QUERY_FIXTURE_H
#define QUERY_FIXTURE_H

#include "graph_fixture.h"
#include "query/query.h"
#include "value_fixture.h"

#include <inttypes.h>

extern sombra_query_options query_options; /* of all queries; zeroed by setup */
extern _Atomic uint32_t query_is_cancelled;
extern const struct query_environment query_environment;

/* For cmocka; a write transaction is open. */
int query_setup(void **state);
int query_teardown(void **state);

/* A closed one, which query_end takes back: the one that was ended before, with what it keeps. */
struct query *query_take(void);
/* A query that is open until query_end. Steps as value_text has them. */
struct query *query_begin(struct fixture *f, sombra_slice steps);
void query_end(struct query *query);

/* All rows as text, joined by blanks: ids of nodes and edges with "@depth" behind them if it is not
 * 0, values of paths and records. Lives until the next call. */
const char *rows_text(struct fixture *f, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* The number that query_count gives. */
uint64_t rows_count(struct fixture *f, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* How opening or reading it ends; the text is sombra_err_message(). */
sombra_err query_error(struct fixture *f, const char *format, ...) SOMBRA_PRINTF(2, 3);
/* The plan as text: "operator(detail) <- operator(detail) <- ..." from the last to the source. */
const char *plan_text(struct fixture *f, const char *format, ...) SOMBRA_PRINTF(2, 3);

#define assert_rows(f, want, ...) assert_string_equal(rows_text(f, __VA_ARGS__), want)
/* INVALID, with this in its text. */
void assert_refused(struct fixture *f, const char *text, const char *format, ...)
    SOMBRA_PRINTF(3, 4);

#endif
