/* SPDX-License-Identifier: MIT */
/* What a child process of a test asserts by: cmocka's own would go on in the parent's tests. */
#ifndef SPEC_CHILD_H
#define SPEC_CHILD_H

#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

static inline _Noreturn void die(const char *what, sombra_err err)
{
    fprintf(stderr, "process %d: %s: %s (%s)\n", (int)getpid(), what, sombra_err_name(err),
            sombra_err_message());
    _exit(1);
}

#define must(call)                    \
    do {                              \
        sombra_err err_must = (call); \
        if (err_must)                 \
            die(#call, err_must);     \
    } while (0)

#define must_be(fact)                           \
    do {                                        \
        if (!(fact)) {                          \
            die("not true: " #fact, SOMBRA_OK); \
        }                                       \
    } while (0)

#endif
