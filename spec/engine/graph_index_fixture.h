/* SPDX-License-Identifier: MIT */
/* What the tests of indexes share: rules in few words, an order of values that owes nothing to the
 * engine's, and scans as text. */
#ifndef GRAPH_INDEX_FIXTURE_H
#define GRAPH_INDEX_FIXTURE_H

#include "graph_fixture.h"

/* "Person(name,email)"; edges of a type: ">KNOWS(since)". */
sombra_rule rule_from(sombra_rule_kind kind, const char *words);
uint32_t rule_new(struct fixture *f, sombra_rule_kind kind, const char *words);
/* The rule as a transaction has it; fails the test if there is none. */
const struct graph_rule *rule_get(struct fixture *f, uint32_t id);
uint64_t entries_of(struct fixture *f, uint32_t rule);

/* -1, 0, 1; of missing values, which have no bytes, too. */
int reference_order(sombra_slice a, sombra_slice b);

/* All ids of a range, in order; the count. */
size_t scan_ids(struct fixture *f, uint32_t rule, const struct graph_index_range *range,
                bool reverse, uint64_t *out_ids, size_t capacity);

/* An encoded value, kept until the test ends (a ring of 1,024): kinds as map_of. */
sombra_slice value_of(struct fixture *f, const char *kind, ...);
sombra_slice value_keep(sombra_slice encoded);

/* Nodes with the label "Person". */
extern const sombra_slice person;
uint64_t person_new(struct fixture *f, sombra_slice properties);
sombra_err person_try(struct fixture *f, sombra_slice properties);
void persons_new(struct fixture *f, int count);        /* key = 0, 1 ...; even = 0 or 1 */
uint64_t find(struct fixture *f, sombra_slice values); /* 0 = none */

void assert_no_rules(struct fixture *f);
void assert_violation(struct fixture *f, uint32_t rule, const char *property, uint64_t id);

/* 600 letters and one more: longer than what a key holds. Lives for eight calls. */
char *long_text(char last);

#endif
