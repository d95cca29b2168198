/* SPDX-License-Identifier: MIT */
/* The small words of tests that use the public API as a program does: calls that must succeed or
 * fail, a folder of the test's own, transactions. For the main thread, or a forked child's.
 */
#ifndef DB_FIXTURE_H
#define DB_FIXTURE_H

#include "base/base.h"
#include "sombra/sombra.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NOTHING ((sombra_slice){ NULL, 0 })

static inline void expect(sombra_err have, sombra_err want, const char *file, int line)
{
    if (have != want)
        print_error("line %d: %s\n", line, sombra_err_message());
    _assert_int_equal((uintmax_t)have, (uintmax_t)want, file, line);
}
#define OK(call)        expect(call, SOMBRA_OK, __FILE__, __LINE__)
#define ERR(call, code) expect(call, code, __FILE__, __LINE__)

/* A new folder in the current one; its name, made of the test's, goes to `to`. 0 = it is there. */
static inline int folder_make(char *to, size_t to_bytes, const char *test)
{
    snprintf(to, to_bytes, "%s.XXXXXX", test);
    return mkdtemp(to) ? 0 : -1;
}

/* With all that is in it. 0 = it is gone. */
static inline int folder_remove(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline sombra_txn *begin(sombra_db *db, bool is_write)
{
    sombra_txn *txn;
    sombra_txn_options options = SOMBRA_TXN_OPTIONS_INIT;
    options.is_write = is_write;
    OK(sombra_txn_begin(db, &options, &txn));
    return txn;
}

static inline void commit(sombra_txn *txn)
{
    OK(sombra_txn_commit(txn, SOMBRA_DURABILITY_DEFAULT));
    sombra_txn_close(txn);
}

#endif
