/* SPDX-License-Identifier: MIT */
/* What the tests of graph/ share: a graph on a store, one transaction at a time, and short
 * words for values. Every helper fails the test when a call does not give what it must. */
#ifndef GRAPH_FIXTURE_H
#define GRAPH_FIXTURE_H

#include "graph/graph.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct fixture {
    struct kv *kv;
    struct graph graph;
    struct graph_txn txn;
    sombra_value_builder *builder;
};

/* The store under the graph: graph_fixture_model.c has the model, other programs their own. */
sombra_err fixture_open_store(struct kv **out_kv);

/* For cmocka: *state is a struct fixture with no transaction open. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

#define assert_ok(call) assert_string_equal_or_text(sombra_err_name(call), "ok", __FILE__, __LINE__)
#define assert_err(call, code) \
    assert_string_equal_or_text(sombra_err_name(call), sombra_err_name(code), __FILE__, __LINE__)
void assert_string_equal_or_text(const char *have, const char *want, const char *file, int line);

void begin_read(struct fixture *f);
void begin_write(struct fixture *f);
void commit(struct fixture *f);
void rollback(struct fixture *f);

static inline sombra_slice text(const char *t)
{
    return slice_str(t);
}
#define NOTHING slice_of(NULL, 0)

/* An encoded map: for each letter of `kinds` a key and a value: i int, f double, s const char *,
 * b int, n nothing, l an empty list, m an empty map. Lives until the next call. */
sombra_slice map_of(struct fixture *f, const char *kinds, ...);

/* Reads: the text of all labels joined by commas; all properties as name=value, joined by spaces.
 * In a buffer that the next call overwrites. */
const char *labels_text(struct fixture *f, sombra_node_id node);
const char *node_text(struct fixture *f, sombra_node_id node);
const char *edge_text(struct fixture *f, sombra_edge_id edge);
const char *record_text(struct fixture *f, sombra_record *record);

sombra_node_id node_new(struct fixture *f, const char *label); /* NULL = none */
sombra_edge_id edge_new(struct fixture *f, sombra_node_id src, const char *type,
                        sombra_node_id dst);

/* "type:node/edge" of each, joined by spaces; '>' or '<' in front says out or in. */
const char *neighbours_text(struct fixture *f, sombra_node_id node,
                            const sombra_neighbours_options *options);
uint64_t degree_of(struct fixture *f, sombra_node_id node, sombra_direction direction,
                   const char *type);
uint64_t nodes_of(struct fixture *f, const char *label); /* NULL = all */
uint64_t edges_of(struct fixture *f, const char *type);

/* Fails the test with its findings if the graph is not sound. Needs an open transaction. */
void assert_sound(struct fixture *f);
uint64_t problems_of(struct fixture *f, char *out_first, size_t bytes);

uint64_t test_seed(void); /* from SOMBRA_SEED or the clock; printed */

#endif
