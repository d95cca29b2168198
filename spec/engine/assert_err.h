/* SPDX-License-Identifier: MIT */
/* assert_err: what tests ask of a call that may fail. For the main thread: cmocka's asserts end the
 * test by a jump. */
#ifndef ASSERT_ERR_H
#define ASSERT_ERR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

#define assert_ok(call)                                                               \
    do {                                                                              \
        sombra_err err_of_call = (call);                                              \
        if (err_of_call)                                                              \
            fail_msg("%s: %s: %s", #call, sombra_err_name(err_of_call), diag_text()); \
    } while (0)

#define assert_fails(code, call)                                                  \
    do {                                                                          \
        sombra_err err_of_call = (call);                                          \
        if (err_of_call != (code))                                                \
            fail_msg("%s: %s instead of %s", #call, sombra_err_name(err_of_call), \
                     sombra_err_name(code));                                      \
    } while (0)

#endif
