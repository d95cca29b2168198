/* SPDX-License-Identifier: MIT */
/* A compiled predicate, between predicate_parse.c, which makes it, and predicate.c, which asks it.
 *
 * It is a tree of tests in one array, linked by index: tests[0] is the whole. Property tests read
 * slots, one for each property id that the predicate looks at, ascending, so that one pass over a
 * record fills them all.
 */
#ifndef PREDICATE_INTERNAL_H
#define PREDICATE_INTERNAL_H

#include "query_internal.h"

enum test_kind {
    TEST_EQ,
    TEST_NE,
    TEST_LT,
    TEST_LE,
    TEST_GT,
    TEST_GE,
    TEST_ANY_OF,
    TEST_EXISTS,
    TEST_PREFIX,
    TEST_SUFFIX,
    TEST_CONTAINS,
    /* of the list form */
    TEST_AND,
    TEST_OR,
    TEST_NOT,
    TEST_LABEL,
};
enum { TEST_OPERATORS = TEST_CONTAINS + 1 };

/* What a test looks at. */
enum test_subject {
    SUBJECT_PROPERTY,
    SUBJECT_ID,
    SUBJECT_DEPTH,
    SUBJECT_TYPE,
    SUBJECT_LABELS,
    SUBJECT_SOURCE,
    SUBJECT_TARGET,
};

enum { SLOT_NONE = UINT16_MAX, PREDICATE_SLOTS_MAX = 32 };

struct test {
    uint8_t kind, subject;
    bool wants;         /* EXISTS: there or not there */
    uint16_t slot;      /* of a property; SLOT_NONE: it is looked for by itself */
    uint32_t name_id;   /* of the property or label; 0: it did not exist when this was made */
    uint32_t child;     /* AND, OR, NOT: index of the first; 0 = none */
    uint32_t next;      /* the next one of the same parent; 0 = none */
    sombra_slice name;  /* of the property, subject or label */
    sombra_value value; /* to compare with */
    sombra_value *set;  /* ANY_OF: ascending, each once, no NaN */
    size_t set_count;
};

struct predicate {
    struct test *tests;
    size_t test_count, test_capacity;
    struct condition *conditions;
    size_t condition_count, condition_capacity;
    size_t slot_count;
    uint32_t slots[PREDICATE_SLOTS_MAX]; /* property ids, ascending */
    bool needs_record;
};

/* Is it a kind that compares with the other? */
static inline bool kinds_compare(sombra_kind a, sombra_kind b)
{
    if (a == SOMBRA_FLOAT)
        a = SOMBRA_INTEGER;
    if (b == SOMBRA_FLOAT)
        b = SOMBRA_INTEGER;
    return a == b && a != SOMBRA_NULL;
}
static inline bool value_is_nan(const sombra_value *value)
{
    return value->kind == SOMBRA_FLOAT && value->as.real != value->as.real;
}

#endif
